"""What every benchmark hands back: rows of one shape, with the machine and the commit that they were measured on.

A row's figures are a distribution (`p50`, `p99`, `p99_9`, `max` over `n` values), or a single figure, which then stands
in `p50` (a rate: the median of its rounds). `baseline` is the same figure of what it is compared with, and `ratio` is
ours / baseline: below 1 is ahead for times, above 1 for rates. `reach` is the aim, for the ratio where there is one,
else for the figure; `met` says whether it was reached. What does not apply is None.

Worst case: `commit` is None where neither git nor an installed version can name what runs.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine.io.histogram import summary
from engine.run.host import Facts, host_facts

#: Called with what is being done and how far it is (0 to 1).
Progress = Callable[[str, float], None]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a benchmark's table; see the module's text for what stands where."""

    name: str
    unit: str
    p50: float | None = None
    p99: float | None = None
    p99_9: float | None = None
    max: float | None = None
    n: int | None = None
    baseline: float | None = None
    ratio: float | None = None
    reach: float | None = None
    met: bool | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What `tickroute perf NAME --json FILE` writes."""

    bench: str
    host: Facts
    commit: str | None
    rows: list[Row]
    #: What a reader of the figures must know: the input, the length, what was left out and why.
    notes: list[str] = []


def result(bench: str, rows: Sequence[Row], notes: Sequence[str], core: int = -1) -> Result:
    """A Result with the facts about this machine and the commit filled in."""
    return Result(bench=bench, host=host_facts(core), commit=commit(), rows=list(rows), notes=list(notes))


def spread(name: str, unit: str, counts: np.ndarray, **more: Any) -> Row:
    """A row of the percentiles of a histogram (engine.io.histogram)."""
    found = summary(counts, (50.0, 99.0, 99.9, 100.0))
    if not found.rows:
        return Row(name=name, unit=unit, n=0, **more)
    p50, p99, p99_9, most = (float(row.value_ns) for row in found.rows)
    return Row(name=name, unit=unit, p50=p50, p99=p99, p99_9=p99_9, max=most, n=found.total, **more)


def at_most(row: Row, reach: float, figure: float | None = None) -> Row:
    """The row with an aim: its ratio, else `figure`, else its p50, is to be at most `reach`."""
    found = row.ratio if row.ratio is not None else figure if figure is not None else row.p50
    return msgspec.structs.replace(row, reach=reach, met=None if found is None else found <= reach)


def at_least(row: Row, reach: float) -> Row:
    """The row with an aim: its ratio, else its p50, is to be at least `reach`."""
    found = row.ratio if row.ratio is not None else row.p50
    return msgspec.structs.replace(row, reach=reach, met=None if found is None else found >= reach)


def commit() -> str | None:
    """The git commit of the sources (with "+" where they were changed since), else the installed version."""
    root = Path(__file__).resolve().parent.parent
    git = ["git", "-C", str(root)]
    try:
        name = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
        status = [*git, "status", "--porcelain", "--untracked-files=no"]
        changed = subprocess.run(status, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        try:
            return metadata.version("tickroute")
        except metadata.PackageNotFoundError:
            return None
    return name.stdout.strip() + ("+" if changed.stdout.strip() else "")
