"""A whole sweep: grid, days and seeds to cells, these to workers, and what comes of them to files.

    OUT/sweep.parquet   a row a cell             OUT/sweep.html   the combinations compared
    OUT/sweep.hlog      histograms by combination, added over days and seeds (HdrHistogram's log)
    OUT/cells/NNNNN     run directories: of cells that failed, and of all with `keep`

Everything that can be wrong with what was asked is found before a worker starts. What is left in between when a sweep
is broken off are the cells' directories, and these are removed.

Worst case: results of all cells are in memory, some kilobytes each.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow as pa

from engine.errors import UsageError
from engine.io.histogram import IntervalLog
from replay.backtest.settings import Settings
from replay.sweep import cluster, compare, local, table
from replay.sweep.cell import Cell, sources, where_kept
from replay.sweep.days import Day, find, told
from replay.sweep.grid import Axis, Variant, variants
from replay.sweep.local import Ended, Watch
from replay.sweep.page import Facts, page

#: Cells of a sweep, at the most.
MOST_CELLS: Final = 1_000_000


class Plan(NamedTuple):
    """What a sweep plays: the combinations, days and seeds; cell n is the n-th of their product, in this order."""

    config: str
    axes: list[Axis]
    variants: list[Variant]
    days: list[Day]
    seeds: list[int]

    @property
    def size(self) -> int:
        """Cells."""
        return len(self.variants) * len(self.days) * len(self.seeds)

    def places(self) -> Iterator[tuple[int, Day, int]]:
        """(combination, day, seed) of each cell."""
        return product(range(len(self.variants)), self.days, self.seeds)


class Swept(NamedTuple):
    """What came of it: the table, and the combinations, the cheapest first."""

    plan: Plan
    table: pa.Table
    rows: list[compare.Row]
    failed: list[tuple[int, str, int, str]]
    retries: int


def plan(
    config: str | Path,
    grid: Mapping[str, Sequence[Any]],
    days: Sequence[str | Path] = (),
    seeds: Iterable[int] | None = None,
) -> Plan:
    """What is to be played. ConfigError, GridError, UsageError, FeedError: something asked for cannot be."""
    axes, found = variants(config, grid)
    backtest = found[0].settings.backtest
    simulated = found[0].settings.config.simulation.seed
    numbers = list(seeds) if seeds is not None else [backtest.seed if backtest.seed is not None else simulated]
    if not numbers or len(set(numbers)) < len(numbers) or min(numbers) < 0 or max(numbers) >= 1 << 62:
        raise UsageError(f"seeds {numbers}: give each once, from 0 to 2^62 - 1, and at least one")
    told_days = find(days, backtest)
    made = Plan(str(config), axes, found, told_days, numbers)
    if made.size > MOST_CELLS:
        raise UsageError(f"{made.size:,} cells; {MOST_CELLS:,} are the most: give fewer values, days or seeds")
    return made


def cells_of(made: Plan, out: Path, keep: bool = False) -> list[Cell]:
    """The cells of a plan, in order; each has a run directory below `out`."""
    cells = []
    for number, (n, day, seed) in enumerate(made.places()):
        settings = made.variants[n].settings
        config = settings.config
        if len(made.days) > 1:  # each day is its own feed's
            config = msgspec.structs.replace(config, engine=msgspec.structs.replace(config.engine, trading_day=""))
        backtest = msgspec.structs.replace(told(settings.backtest, day), seed=seed)
        cells.append(Cell(number, config, backtest, str(where_kept(out, number)), keep))
    return cells


def warm_ones(made: Plan, cells: Sequence[Cell]) -> list[Cell]:
    """Cells that between them need every kernel: one a strategy and a set of file formats."""
    found: dict[tuple[str, tuple[str, ...]], Cell] = {}
    for cell, (_, day, _) in zip(cells, made.places(), strict=True):
        found.setdefault((cell.config.routing.strategy, day.kinds), cell)
    return list(found.values())


def sweep(
    made: Plan,
    out: Path,
    *,
    workers: int | None = None,
    ray: str | None = None,
    keep: bool = False,
    watch: Watch | None = None,
) -> Swept:
    """Play a plan and write OUT. `workers`: processes (by default this process's CPUs), or cells at a time on Ray.

    UsageError: OUT holds a sweep, Ray is not there. SweepError: it cannot go on. A cell that failed is a row.
    """
    if (out / "sweep.parquet").exists():
        raise UsageError(f"{out}: a sweep is there already; name another directory, or remove it")
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers: one is the least")
    if ray is not None:
        cluster.check(ray)
        cluster.imported()
    out.mkdir(parents=True, exist_ok=True)
    out = out.resolve()
    cells = cells_of(made, out, keep and ray is None)
    warm = warm_ones(made, cells)
    try:
        if ray is not None:
            ended = list(cluster.run(cells, warm, ray, workers, watch))
        else:
            ended = list(local.run(cells, warm, workers or len(os.sched_getaffinity(0)), watch))
    except BaseException:
        if not keep:
            shutil.rmtree(out / "cells", ignore_errors=True)
        raise
    return _written(made, out, sorted(ended, key=lambda one: one.done.number))


def _written(made: Plan, out: Path, ended: Sequence[Ended]) -> Swept:
    places = list(made.places())
    rows = [
        table.row_of(made.axes, made.variants[n].values, day.name, seed, one)
        for one, (n, day, seed) in zip(ended, places, strict=True)
    ]
    told_rows = compare.rows(
        [variant.values for variant in made.variants],
        [(n, day.name, seed, one.done) for one, (n, day, seed) in zip(ended, places, strict=True)],
    )
    failed = [(row["cell"], row["day"], row["seed"], row["error"]) for row in rows if row["error"]]
    retries = sum(one.attempts - 1 for one in ended)
    whole = table.make(made.axes, rows)
    with IntervalLog(out / "sweep.hlog", 0) as log:
        for row in sorted(told_rows, key=lambda row: row.number):
            for name, counts in row.histograms.items():
                log.write(f"{name}.{row.number}", counts, 0, 0)
    facts = Facts(
        config=made.config,
        strategy=_strategies(variant.settings for variant in made.variants),
        days=tuple(day.name for day in made.days),
        seeds=tuple(made.seeds),
        failed=tuple(failed),
        retries=retries,
        sources=sources(),
    )
    (out / "sweep.html").write_text(page(made.axes, told_rows, facts), encoding="utf-8")
    table.write(whole, out / "sweep.parquet")
    if (out / "cells").is_dir() and not any((out / "cells").iterdir()):
        (out / "cells").rmdir()
    return Swept(made, whole, told_rows, failed, retries)


def _strategies(settings: Iterable[Settings]) -> str:
    return ", ".join(dict.fromkeys(one.config.routing.strategy for one in settings))
