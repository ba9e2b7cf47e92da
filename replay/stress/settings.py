"""The configuration of the engine under test: the one that is tested, in a place of its own.

Endpoints are private ones, the clock is monotonic, nothing is written beside the journal. Limits of [risk] that add up
over time (rates, positions, exposures, repeated executions) are as high as they go: the same orders come many times,
and a latched strategy would be no load. The gate looks at them all the same. Duplicates are off, since all are. What an
order may be by itself (quantity, notional, collars, permissions) stays as it is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.core.rules import EXPOSURE_DECIMALS, EXPOSURE_MAX
from engine.run.config import Config, Feed, Risk

_MOST: Final = 1_000_000_000
#: Clients and venues are threads of a process that also prepares the next rate: their silence then is nobody's loss.
_PATIENCE_MS: Final = 10_000


def settings_of(config: Config, run_dir: Path, sockets: Path, core: int) -> Config:
    """The configuration of the engine under test."""
    replace = msgspec.structs.replace
    engine = replace(
        config.engine,
        run_dir=str(run_dir),
        core=core,
        io_cores=[],
        clock="monotonic",
        shadow=False,
        trading_day="",
        peer_timeout_ms=max(config.engine.peer_timeout_ms, _PATIENCE_MS),
    )
    feed = replace(config.feed[0], endpoint=f"ipc://{sockets}/feed") if config.feed else None
    return replace(
        config,
        engine=engine,
        orders=replace(config.orders, endpoint=f"ipc://{sockets}/orders"),
        feed=[feed] if feed is not None else [_feed(sockets)],
        session=[replace(row, endpoint="zmq") for row in config.session],
        venue=[replace(row, calendar="") for row in config.venue],
        routing=replace(config.routing, day_end=""),
        risk=_lifted(config),
        day=replace(config.day, roll=""),
        snapshots=replace(config.snapshots, every_s=0),
        alerts=replace(config.alerts, endpoint=""),
        drop_copy=replace(config.drop_copy, endpoint=""),
    )


def _lifted(config: Config) -> Risk:
    """[risk] whose limits on what adds up are out of the way of orders that come again and again."""
    risk, replace = config.risk, msgspec.structs.replace
    digits = max((row.qty_decimals for row in config.instrument), default=0)
    most: dict[str, Any] = {
        "max_position": str(EXPOSURE_MAX // 10**digits),
        "gross_notional": str(EXPOSURE_MAX // 10**EXPOSURE_DECIMALS),
        "net_notional": str(EXPOSURE_MAX // 10**EXPOSURE_DECIMALS),
        **dict.fromkeys(("session_rate", "strategy_rate", "instrument_rate", "repeated_executions"), _MOST),
    }
    return replace(
        risk,
        **{name: value for name, value in most.items() if getattr(risk, name) != "off"},
        duplicate_ms="off",
        instrument=[replace(row, max_position=None, instrument_rate=None) for row in risk.instrument],
        session=[],
        strategy=[],
        account=[],
    )


def _feed(sockets: Path) -> Feed:
    return Feed(name="day", endpoint=f"ipc://{sockets}/feed")


def as_toml(config: Config) -> str:
    """A configuration as TOML: tables of values, each of which JSON writes as TOML does."""
    plain, lines = msgspec.to_builtins(config), []
    for name, value in plain.items():
        rows, mark = ([value], f"[{name}]") if isinstance(value, dict) else (value, f"[[{name}]]")
        for row in rows:
            lines += [mark, *(f"{key} = {_value(entry)}" for key, entry in row.items() if entry is not None), ""]
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        pairs = ", ".join(f"{json.dumps(k)} = {_value(v)}" for k, v in value.items() if v is not None)
        return f"{{ {pairs} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value)
