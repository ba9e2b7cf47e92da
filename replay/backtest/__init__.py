"""Backtests: a recorded feed through the engine's own `step`, journal and simulated venues, in virtual time.

    from replay import backtest

    result = backtest.run("desk.toml", ["quotes.csv.gz", "trades.csv.gz"], run_dir="runs/bt", orders=500)
    result.fills().to_pandas()

`run` plays a day and makes a run directory of a live run's shape; `read` opens one that is there, a live run's too. The
tables (Arrow) and their columns are in docs/backtest.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from engine.errors import UsageError
from gateways.orders.parents import Parent
from replay.backtest.compare import compare
from replay.backtest.host import BacktestError, Progress, Watch
from replay.backtest.outcome import Losses, Outcome
from replay.backtest.play import prepare
from replay.backtest.results import Result
from replay.backtest.settings import changed, load

__all__ = ("BacktestError", "Losses", "Outcome", "Parent", "Progress", "Result", "compare", "read", "run", "sweep")


def run(
    config: str | Path,
    feeds: Sequence[str | Path] = (),
    *,
    run_dir: str | Path | None = None,
    parents: str | Path | Sequence[Parent] | None = None,
    signal: Any = None,
    orders: int | None = None,
    seed: int | None = None,
    synthetic: int | None = None,
    progress: Watch | None = None,
) -> Result:
    """Play a recorded day; the result, with nothing but the journal written yet (`Result.write` makes the files).

    config: a TOML file (docs/backtest.toml). What else is given takes the place of what it says: `feeds` the files of
    the day, `run_dir` the directory to make, `parents` a CSV file or parents as they are, `signal` a CSV or Parquet
    file of the positions that are wanted, or a table of them (pyarrow, pandas), `orders` how many the seed draws: one
    of these three; `synthetic` is the seed of a synthetic day, in the place of files. `progress` is called a few times
    a second. UsageError and what derives from it (ConfigError, FeedError, ParentError): something given cannot be.
    BacktestError: it could not go on.
    """
    listed = None if parents is None or isinstance(parents, str | Path) else list(parents)
    file = parents if isinstance(parents, str | Path) else None
    named = signal if isinstance(signal, str | Path) else None
    told = changed(load(config), parents=file, signal=named, orders=orders, seed=seed)
    table = None
    if signal is not None and named is None:
        if parents is not None or orders is not None:
            raise UsageError("a signal and other orders: give one of them; a signal is where parents come from")
        table = signal if isinstance(signal, pa.Table) else pa.table(signal)
        told = changed(told, orders=0)
    with prepare(told, feeds, run_dir, listed, table, synthetic) as host:
        return Result(host.run_dir, host.run(progress))


def read(run_dir: str | Path) -> Result:
    """The results of a run that is there. Its methods raise JournalError where there is none."""
    return Result(run_dir)


def sweep(
    config: str | Path,
    grid: Mapping[str, Sequence[Any]],
    days: Sequence[str | Path] = (),
    *,
    seeds: Iterable[int] | None = None,
    workers: int | None = None,
    ray: str | None = None,
    out: str | Path | None = None,
    keep: bool = False,
    progress: Callable[[Any], None] | None = None,
) -> pa.Table:
    """Play every combination of values over every day and seed; a row a cell, the columns in docs/backtest.md.

    grid: key -> values, such as {"routing.sweep.max_rounds": [1, 2, 4]}, keys as `tickroute sweep --grid` takes them.
    days: files, folders or patterns; without any, the feeds of the file. seeds: without any, that of the file. workers:
    processes, by default this process's CPUs. ray: address of a Ray cluster, or "local". out: a directory for the
    Parquet file, the page and the histograms; without one nothing is left. keep: each cell's run directory stays in
    it. progress: called a few times a second with a `replay.sweep.local.Now`.

    A cell that failed is a row with its error. UsageError and what derives from it: what was asked cannot be.
    SweepError: it could not go on.
    """
    from replay.sweep.run import plan
    from replay.sweep.run import sweep as play

    made = plan(config, grid, days, seeds)
    with tempfile.TemporaryDirectory(prefix="tickroute-") as folder:
        where = Path(out) if out is not None else Path(folder)
        return play(made, where, workers=workers, ray=ray, keep=keep, watch=progress).table
