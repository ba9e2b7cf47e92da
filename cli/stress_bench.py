"""The processes of a stress test: an engine of its own, `tickroute run`, and the player of feeds in this one.

The engine runs the configuration that is tested, with a journal in a folder of its own, no snapshots, no process
beside it, the monotonic clock, and the feed and the orders on sockets of its own; so nothing reaches a production
endpoint. One engine takes every rate, each in a stream epoch of its own, by which the journal tells them apart.

Worst case: player and engine share what cores there are; where the player is late by itself, the result says so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from cli.demo_processes import DemoError, Processes
from engine.io.stats_file import StatsError, StatsReader
from engine.run.config import Config
from gateways.feeds.player import Player
from gateways.feeds.player import Progress as Played
from gateways.feeds.recording import Recording
from replay.stress import judge

#: The engine may have to compile first.
_READY_S: Final = 1800.0
#: Without progress of the engine for so long, what has not come is not waited for.
_PATIENCE_S: Final = 3.0
_NAME: Final = "engine"
_TOTAL: Final = "total"


def settings_of(config: Config, run_dir: Path, sockets: Path, core: int) -> Config:
    """The configuration of the engine under test."""
    replace = msgspec.structs.replace
    engine = replace(
        config.engine, run_dir=str(run_dir), core=core, io_cores=[], clock="monotonic", shadow=False, trading_day=""
    )
    feed = replace(config.feed[0], endpoint=f"ipc://{sockets}/feed") if config.feed else None
    return replace(
        config,
        engine=engine,
        orders=replace(config.orders, endpoint=f"ipc://{sockets}/orders"),
        feed=[feed] if feed is not None else [_feed(sockets)],
        session=[replace(row, endpoint="zmq") for row in config.session],
        routing=replace(config.routing, day_end=""),
        day=replace(config.day, roll=""),
        snapshots=replace(config.snapshots, every_s=0),
        alerts=replace(config.alerts, endpoint=""),
        drop_copy=replace(config.drop_copy, endpoint=""),
    )


def _feed(sockets: Path) -> Any:
    from engine.run.config import Feed

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


class Bench:
    """An engine that waits for feeds. Use as a context manager; `play` sends one day to it.

    DemoError where the engine does not come up, or dies.
    """

    def __init__(self, config: Config, folder: Path, *, core: int = -1, spin: bool = False) -> None:
        self._processes = Processes(folder)
        self.run_dir, self._spin = folder / "run", spin
        self.config = settings_of(config, self.run_dir, self._processes.sockets, core)
        self._reader: StatsReader | None = None

    def __enter__(self) -> Bench:
        path = self._processes.out / "stress.toml"
        path.write_text(as_toml(self.config), encoding="utf-8")
        self._processes.start(_NAME, "run", str(path), "--no-watch", "--no-snapshots")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._processes.__exit__(None)

    def ready(self) -> None:
        """Wait until the engine runs."""
        until = time.monotonic() + _READY_S
        while time.monotonic() < until:
            self._processes.check()
            if self._processes.ended(_NAME):
                break
            try:
                self._reader = StatsReader(self.run_dir / "stats")
            except StatsError:
                time.sleep(0.05)
                continue
            if self._reader.counters()["cycles"]:
                return
            self._reader.close()
            time.sleep(0.05)
        raise DemoError(f"the engine did not come up within {_READY_S:g} s:\n{self._processes.said(_NAME)}")

    def stop(self) -> None:
        """Close the engine's journal, and the engine."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if _NAME in self._processes.names:
            self._processes.stop(_NAME)

    def play(
        self, day: Recording, times: float, begin_ns: int, tries: int, tell: Callable[[Played], None]
    ) -> judge.Played:
        """Send a day at its own pace and wait until the engine has taken it in."""
        assert self._reader is not None, "wait until it is ready"
        before = self._reader.histogram(_TOTAL)
        inputs = self._reader.counters()["inputs"]
        counted = np.isin(day.data.view("<u2")[day.offsets[:-1] // 2 + 1], judge.COUNTED) & (day.times >= begin_ns)
        endpoint = self.config.feed[0].endpoint
        with Player(day, [endpoint], subscribers=1, wait_s=60.0, tail_s=0.05, spin=self._spin, linger_s=0.0) as player:
            report = player.run(tell)
            origin_ns = player.origin_ns
            self._drain(inputs + day.count)
        self._processes.check()
        return judge.Played(
            times=times,
            epoch=report.epoch,
            origin_ns=origin_ns,
            first_ns=day.first_ns,
            begin_ns=begin_ns,
            records=int(counted.sum()),
            planned_ns=max(day.last_ns - begin_ns, 1),
            blocked=report.blocked,
            blocked_s=report.blocked_s,
            sender_late_ns=int(report.lag_max_s * 1e9),
            service=self._reader.histogram(_TOTAL) - before,
            tries=tries,
        )

    def _drain(self, wanted: int) -> None:
        """Wait until the engine has taken in so many inputs, or takes in no more."""
        assert self._reader is not None
        last, since = -1, time.monotonic()
        while (now := self._reader.counters()["inputs"]) < wanted:
            if now != last:
                last, since = now, time.monotonic()
            if time.monotonic() - since > _PATIENCE_S:
                return
            self._processes.check()
            time.sleep(0.01)
