"""Which files make up which day of a sweep.

What is named may be a file, a folder (all its files) or a glob; "a.gz,b.gz" is one day of these files. Of the others
those are one day whose names have the same date (2018-01-02, 20180102 or 2018_01_02), and a file without a date is a
day by itself. What `[[backtest.feed]]` says of a file is said of its name on every date.

Worst case: a folder is listed, never walked; files that are none of a feed are refused before anything runs.
"""

from __future__ import annotations

import datetime as dt
import glob
import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from engine.errors import UsageError
from gateways.feeds.files import kind_of
from gateways.feeds.report import FeedError
from gateways.formats.known import MODULES
from gateways.formats.source import head_of
from replay.backtest.settings import Backtest, FeedFile

_DATE: Final = re.compile(r"(?<!\d)(\d{4})([-_]?)(\d{2})\2(\d{2})(?!\d)")


class Day(NamedTuple):
    """One day: its name, its files in full, and what kinds of files they are, sorted."""

    name: str
    files: tuple[str, ...]
    kinds: tuple[str, ...]


def find(named: Sequence[str | Path], settings: Backtest) -> list[Day]:
    """The days, by name; without any name the one of the configuration. UsageError, FeedError."""
    if not named:
        files = [*settings.feeds, *(row.file for row in settings.feed)]
        if not files:
            raise UsageError("there is no day: name its files with --days, or in backtest.feeds of the configuration")
        return [_day(name_of(files[0]), files)]
    days: dict[str, list[str]] = {}
    for item in named:
        parts = str(item).split(",") if not Path(item).exists() else [str(item)]
        found = [path for part in parts for path in _files(part.strip())]
        for path in found:
            key = name_of(found[0] if len(parts) > 1 else path)
            if path not in days.setdefault(key, []):
                days[key].append(path)
    return [_day(name, days[name]) for name in sorted(days)]


def name_of(path: str | Path) -> str:
    """The date in a file's name, YYYY-MM-DD; else the name without its endings."""
    found = _dated(Path(path).name)
    return found.isoformat() if found else Path(path).name.split(".")[0]


def told(backtest: Backtest, day: Day) -> Backtest:
    """The settings of a backtest over a day: what is said of a file goes by its name, whatever the date in it."""
    rows = {_undated(row.file): row for row in backtest.feed}
    feed = [msgspec.structs.replace(rows.get(_undated(path), FeedFile(path)), file=path) for path in day.files]
    return msgspec.structs.replace(backtest, feeds=[], feed=feed)


def _files(text: str) -> list[str]:
    path = Path(text)
    if path.is_dir():
        found = [item for item in sorted(path.iterdir()) if item.is_file() and not item.name.startswith(".")]
    elif path.exists():
        found = [path]
    else:
        found = [Path(item) for item in sorted(glob.glob(text, recursive=True)) if Path(item).is_file()]
    if not found:
        raise UsageError(f"--days {text}: there is no such file, folder or pattern; check the path")
    return [str(item.resolve()) for item in found]


def _day(name: str, files: list[str]) -> Day:
    return Day(name, tuple(files), tuple(sorted({_kind(path) for path in files})))


def _kind(path: str) -> str:
    """What a file is, as far as its first bytes say. FeedError: of no known format."""
    try:
        return kind_of(path)
    except FeedError:
        head = head_of(path)
    for name in MODULES:
        if import_module(f"gateways.formats.{name}").recognises(head):
            return name
    shown = head[:40].decode("ascii", errors="replace")
    raise FeedError(
        path, 0, shown, "is of no known format", f"leave it out of --days, or name one of: {', '.join(MODULES)}"
    )


def _dated(name: str) -> dt.date | None:
    for found in _DATE.finditer(name):
        try:
            return dt.date(int(found[1]), int(found[3]), int(found[4]))
        except ValueError:
            continue
    return None


def _undated(path: str) -> str:
    return _DATE.sub("*", Path(path).name)
