"""Latencies that are sampled from a histogram file: the file as a table of quantiles, and the draw from it.

A table has the quantiles (n + 1/2) / TABLE of what was measured, in ns, so a number that the dice draw evenly becomes a
latency by one look (the inverse of the distribution). Files are HdrHistogram's: .hlog, its intervals added up by tag,
in ns, as `tickroute run` writes them by stage; .hgrm, a distribution by percentile, in microseconds, as it writes them.

Worst case: what happened less often than once in 2 x TABLE times is not drawn; the file's maximum may be such.
"""

from __future__ import annotations

import math
import re
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from engine.run.config import ConfigError

Array = np.ndarray[Any, np.dtype[Any]]
#: Quantiles of a table; a power of two.
TABLE: Final = 1 << 14
#: A draw has 63 bits.
SHIFT: Final = 63 - 14
_MICROSECOND_NS: Final = 1000
_HGRM_ROW: Final = re.compile(r"\s*([0-9.]+)\s+([01](?:\.[0-9]+)?)\s+([0-9]+)(?:\s|$)")


def quantiles(path: str | Path, tag: str = "", key: str = "latency") -> Array:
    """The table (int64[TABLE], ns, ascending) of a file; `key` is what names it in errors.

    ConfigError: it cannot be read, is no histogram, is empty, has no such tag, or several and none was named.
    """
    path = Path(path)
    written = path.stat().st_mtime_ns if path.exists() else 0
    return _quantiles(path, written, tag, key)


@lru_cache(maxsize=64)
def _quantiles(path: Path, written_ns: int, tag: str, key: str) -> Array:
    """`quantiles`, once for a file as it was written then."""
    if path.suffix == ".hlog":
        values, counts = _of_hlog(path, tag, key)
    elif path.suffix == ".hgrm":
        if tag:
            raise ConfigError(f'{key}_tag = "{tag}": {path} is an .hgrm, which has no tags; leave it out')
        values, counts = _of_hgrm(path, key)
    else:
        raise ConfigError(f"{key} = {path}: is named neither .hlog nor .hgrm; give a file of HdrHistogram's")
    if not len(counts) or counts.sum() <= 0:
        what = f"has no values of tag {tag}" if tag else "has no values"
        raise ConfigError(f"{key} = {path}: {what}; give one that measured some")
    sums = np.cumsum(counts)
    wanted = ((2 * np.arange(TABLE, dtype=np.int64) + 1) * int(sums[-1]) + 2 * TABLE - 1) // (2 * TABLE)
    if path.suffix == ".hgrm":  # a row for some percentiles alone: between them it rises evenly
        return np.interp(wanted, sums, values).astype(np.int64)
    return values[np.searchsorted(sums, np.maximum(wanted, 1))]


def _of_hlog(path: Path, tag: str, key: str) -> tuple[Array, Array]:
    """Values (ns, the middle of each cell) and how often each was, over all intervals of a tag."""
    found: dict[str, dict[int, int]] = {}
    try:
        with closing(HistogramLogReader(str(path), HdrHistogram(1, 3_600_000_000_000, 3))) as reader:
            while (interval := reader.get_next_interval_histogram()) is not None:
                cells = found.setdefault(interval.get_tag() or "", {})
                for item in interval.get_recorded_iterator():
                    value = int(item.value_iterated_to)
                    low = int(interval.get_lowest_equivalent_value(value))
                    middle = low + (int(interval.get_highest_equivalent_value(value)) - low) // 2
                    cells[middle] = cells.get(middle, 0) + int(item.count_at_value_iterated_to)
    except OSError as error:
        raise ConfigError(f"{key} = {path}: cannot be read: {error.strerror}; name an .hlog file") from error
    except Exception as error:
        raise ConfigError(f"{key} = {path}: is no histogram log: {error}; name an .hlog file") from error
    if not found:
        raise ConfigError(f"{key} = {path}: has no intervals; give one that measured some")
    if tag not in found and (tag or len(found) != 1):
        tags = ", ".join(sorted(filter(None, found))) or "none"
        what = f'has no tag "{tag}"' if tag else "has several tags"
        raise ConfigError(f"{key} = {path}: {what}; it has {tags}; name one as {key}_tag")
    cells = found[tag] if tag in found else next(iter(found.values()))
    values = np.array(sorted(cells), dtype=np.int64)
    return values, np.array([cells[int(value)] for value in values], dtype=np.int64)


def _of_hgrm(path: Path, key: str) -> tuple[Array, Array]:
    """The rows of a percentile distribution: its values, and how many more than the row before each counts."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{key} = {path}: cannot be read: {error}; name an .hgrm file") from error
    rows = [match for match in map(_HGRM_ROW.match, lines) if match]
    if not rows:
        raise ConfigError(f"{key} = {path}: has no row of value, percentile and count; name an .hgrm file")
    values = np.array([math.floor(float(row[1]) * _MICROSECOND_NS + 0.5) for row in rows], dtype=np.int64)
    sums = np.array([int(row[3]) for row in rows], dtype=np.int64)
    if (np.diff(values) < 0).any() or (np.diff(sums) < 0).any():
        raise ConfigError(f"{key} = {path}: its values or counts fall from row to row; name one as it was written")
    return values, np.diff(sums, prepend=0)
