"""One cell of a sweep: one combination of values over one day with one seed, played and read.

What comes of it is small (some numbers, three histograms, the journal's hash), so that it travels between processes and
hosts as JSON. The run directory goes when it is read, unless it is to be kept.

Histograms are HDR counts (engine.io.histogram), index and count of what is not zero, so that those of many cells add up
exactly: `order_to_fill` is ns of virtual time from an order's arrival to each of its fills; `slippage_cost` and
`slippage_gain` what each fill lost or gained against the mid-point at arrival, in thousandths of a basis point.

Worst case: a backtest's, and one pass over its journal more.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from engine.errors import TickrouteError
from engine.io import histogram
from engine.jit import ROOT, source_hash
from engine.run.config import Config
from replay.backtest.host import Progress
from replay.backtest.outcome import Losses
from replay.backtest.play import prepare
from replay.backtest.results import Result
from replay.backtest.settings import Backtest, Settings

HISTOGRAMS: Final = ("order_to_fill", "slippage_cost", "slippage_gain")
#: Steps of a slippage histogram in a basis point.
PER_BPS: Final = 1000

#: Called with the share of the feed that is played, and the inputs so far.
Watch = Callable[[float, int], None]


class Cell(msgspec.Struct, frozen=True):
    """What is to be played: `number` in the sweep, and its settings; `run_dir` is made, and removed unless `keep`."""

    number: int
    config: Config
    backtest: Backtest
    run_dir: str
    keep: bool = False


class Done(msgspec.Struct, frozen=True):
    """What came of a cell: `error` is empty where it was played. `figures` are columns of the table by name."""

    number: int
    error: str = ""
    figures: dict[str, float | int | str | None] = {}
    histograms: dict[str, list[tuple[int, int]]] = {}
    seconds: float = 0.0
    sources: str = ""


@cache
def sources() -> str:
    """Hex digest over every source that decides what a cell comes to: kernels, and what reads their journal."""
    digest = hashlib.sha256(source_hash().encode())
    for path in sorted((ROOT / "replay").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _Enough(Exception):
    """All that a backtest needs is compiled."""


def play(cell: Cell, watch: Watch | None = None) -> Done:
    """Play a cell; what goes wrong is in the result, and its run directory is left to be looked at."""
    began = time.perf_counter()
    shutil.rmtree(cell.run_dir, ignore_errors=True)  # what a worker that died left behind
    try:
        figures, histograms = _figures(_played(cell, watch))
    except TickrouteError as error:
        return Done(cell.number, str(error), seconds=time.perf_counter() - began, sources=sources())
    except Exception as error:  # noqa: BLE001  one cell's bug is no reason to lose the others
        text = f"unexpected {type(error).__name__}: {error}; this is a bug in tickroute"
        return Done(cell.number, text, seconds=time.perf_counter() - began, sources=sources())
    if not cell.keep:
        shutil.rmtree(cell.run_dir, ignore_errors=True)
    return Done(cell.number, "", figures, histograms, time.perf_counter() - began, sources())


def warm(cell: Cell) -> Done:
    """Compile, or load, all kernels that a cell needs: its beginning, played and thrown away."""

    def enough(share: float, inputs: int) -> None:
        raise _Enough

    try:
        _played(cell, enough)
    except _Enough:
        Result(cell.run_dir).summary()
    except TickrouteError as error:
        return Done(cell.number, str(error), sources=sources())
    finally:
        shutil.rmtree(cell.run_dir, ignore_errors=True)
    return Done(cell.number, sources=sources())


def _played(cell: Cell, watch: Watch | None) -> Result:
    with prepare(Settings(cell.config, cell.backtest), (), cell.run_dir) as host:
        size = max(host.feed.size, 1)

        def look(now: Progress) -> None:
            assert watch is not None
            watch(min(now.taken / size, 1.0), now.inputs)

        return Result(host.run_dir, host.run(look if watch is not None else None))


def _figures(result: Result) -> tuple[dict[str, float | int | str | None], dict[str, list[tuple[int, int]]]]:
    told = result.summary()
    quantity, ordered = told["quantity"], told["quantity"]["ordered"]
    venues = result.venues()
    histograms = _histograms(result.tables.orders, result.fills())
    times = histogram.summary(dense(histograms["order_to_fill"]), (50.0, 99.0)).rows
    done = result.outcome
    losses = done.losses if done is not None else Losses()
    figures: dict[str, float | int | str | None] = {
        "inputs": told["inputs"],
        "parents": sum(told["parents"].values()),
        "children": told["children"],
        "fills": told["fills"],
        "ordered_qty": ordered,
        "filled_qty": quantity["filled"],
        "fill_rate": quantity["filled"] / ordered if ordered else None,
        "notional": told["notional"],
        "fees": told["fees"],
        "shortfall_bps": told["shortfall_bps"],
        "shortfall_with_fees_bps": told["shortfall_with_fees_bps"],
        "rejects": sum(venues["rejects"].to_pylist()),
        "timeouts": sum(venues["timeouts"].to_pylist()),
        **losses._asdict(),
        "broken": ", ".join(losses.broken) or None,
        "order_to_fill_p50_ns": times[0].value_ns if times else None,
        "order_to_fill_p99_ns": times[1].value_ns if times else None,
        "journal_hash": result.journal_hash(),
        "state_hash": done.state_hash if done is not None else None,
    }
    return figures, histograms


def _histograms(orders: pa.Table, fills: pa.Table) -> dict[str, list[tuple[int, int]]]:
    counts = {name: histogram.empty() for name in HISTOGRAMS}
    arrived = dict(zip(orders["order_id"].to_pylist(), _ns(orders["time"]), strict=True))
    columns = (fills[name].to_pylist() for name in ("parent_id", "side", "notional", "shortfall"))
    for at_ns, parent, side, notional, shortfall in zip(_ns(fills["time"]), *columns, strict=True):
        histogram.record(counts["order_to_fill"], at_ns - arrived[parent])
        base = notional - (1 if side == "BUY" else -1) * (shortfall or 0.0)
        if shortfall is not None and base > 0:
            cost = round(shortfall / base * 1e4 * PER_BPS)
            histogram.record(counts["slippage_cost" if cost >= 0 else "slippage_gain"], abs(cost))
    return {name: sparse(cells) for name, cells in counts.items()}


def _ns(column: Any) -> list[int]:
    return list(column.cast(pa.int64()).to_pylist())


def sparse(counts: Any) -> list[tuple[int, int]]:
    """A histogram as (index, count) of what is not zero."""
    used = np.flatnonzero(counts)
    return list(zip(used.tolist(), counts[used].tolist(), strict=True))


def dense(pairs: list[tuple[int, int]]) -> Any:
    """The histogram (int64 counts) of such pairs."""
    counts = histogram.empty()
    for index, count in pairs:
        counts[index] += count
    return counts


def where_kept(out: Path, number: int) -> Path:
    """The run directory of a cell."""
    return out / "cells" / f"{number:05d}"
