"""Nasdaq TotalView-ITCH 5.0 files: messages with a two-byte big-endian length in front of each, plain or packed.

ITCH tells times as ns since New York's midnight; the day is the caller's, else the file name's (12302019, 20191230,
S123019), else 1970-01-01, and that is noted. The market (Nasdaq, BX, PSX) is the caller's or the file name's as well.
Prices have four decimals.

An unknown type is skipped and counted. A known type of another length, or a length beyond 255, means that the lengths
cannot be trusted any more: FeedError with the place. A length of 0 ends a file; nothing may follow it.

Worst case: in a file that begins within the day an instrument is "#1234", by its stock locate, until an order or a
trade tells its symbol.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from engine.errors import UsageError
from gateways.feeds.report import FeedError
from gateways.formats.batch import Batch, make_batch
from gateways.formats.itch_kernels import BAD_MESSAGE, END_MARK, FULL, LENGTHS, MORE, SKIPS, Itch, decode, make_itch
from gateways.formats.reader import Counts, Reader
from gateways.formats.symbols import Names, make_symbols

PX_DECIMALS: Final = 4
#: What a file can be told, as `known.Given` names it.
TAKES: Final = ("day", "market")
#: What is noted where nobody says the day.
NO_DAY: Final = "the day is said by neither the file's name nor a person (--day): times are those of 1970-01-01"
#: Market -> its letter in operational halts, and what a file's name calls it.
MARKETS: Final = {"XNAS": ("Q", "NASDAQ"), "XBOS": ("B", "BX"), "XPSX": ("X", "PSX")}
#: Batches that stay in the second-level cache.
UNITS: Final = 1 << 12
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS: Final = (
    (re.compile(r"(?<!\d)(\d\d)(\d\d)((?:19|20)\d\d)(?!\d)"), "mdY"),
    (re.compile(r"(?<!\d)((?:19|20)\d\d)-?(\d\d)-?(\d\d)(?!\d)"), "Ymd"),
    (re.compile(r"\bS(\d\d)(\d\d)(\d\d)(?!\d)"), "mdy"),
)


def _sunday(year: int, month: int, nth: int) -> date:
    """The nth Sunday of a month; the last one where nth is 0."""
    if nth == 0:
        following = date(year + month // 12, month % 12 + 1, 1)
        return following - timedelta(days=(following.weekday() + 1) % 7 or 7)
    first = date(year, month, 1)
    return first + timedelta(days=(6 - first.weekday()) % 7 + 7 * (nth - 1))


def new_york_midnight_ns(day: date) -> int:
    """New York's midnight of a day, ns UTC: daylight time by the rules since 1987 (clocks change after midnight)."""
    begins, ends = (3, 2), (11, 1)
    if day.year < 2007:
        begins, ends = (4, 1), (10, 0)
    summer = _sunday(day.year, *begins) < day <= _sunday(day.year, *ends)
    midnight = datetime(day.year, day.month, day.day, 4 if summer else 5, tzinfo=UTC)
    return (midnight - _EPOCH) // timedelta(seconds=1) * 1_000_000_000


def new_york_day(ns: int) -> date:
    """The day in New York at a time in ns UTC, by standard time (ITCH is silent from 23 to 1)."""
    return (_EPOCH + timedelta(seconds=ns // 1_000_000_000, hours=-5)).date()


def day_of_name(name: str) -> date | None:
    """The day that a file's name tells, or None."""
    for pattern, order in _DAYS:
        for match in pattern.finditer(name):
            parts = dict(zip(order, map(int, match.groups()), strict=True))
            try:
                return date(parts.get("Y", 2000 + parts.get("y", 0)), parts["m"], parts["d"])
            except ValueError:
                continue
    return None


def market_of_name(name: str) -> str:
    """The market that a file's name tells; Nasdaq where it tells none."""
    words = re.split(r"[^A-Z]+", name.upper())
    return next((market for market, (_, word) in MARKETS.items() if word in words), "XNAS")


def take_counts(itch: Itch, counts: Counts) -> None:
    """Write what the kernel counted so far into a reader's counts."""
    for kind in np.flatnonzero(itch.counts):
        name = chr(kind) if 32 < kind < 127 else f"0x{kind:02x}"
        counts.by_type[name] = int(itch.counts[kind])
    for code, reason in enumerate(SKIPS):
        if itch.skipped[code]:
            counts.skipped[reason] = int(itch.skipped[code])
            counts.examples[reason] = f"byte {itch.first[code]}"


def recognises(head: bytes) -> bool:
    """Whether a file begins with up to three messages of the right lengths for their types."""
    at = 0
    for n in range(3):
        length = int.from_bytes(head[at : at + 2], "big")
        if length == 0 or at + 2 + length > len(head):
            return n > 0
        if LENGTHS.get(chr(head[at + 2])) != length:
            return False
        at += 2 + length
    return True


def open_file(path: str | Path, day: date | None = None, market: str | None = None) -> Reader:
    """A reader of a length-framed ITCH 5.0 file."""
    return ItchReader(path, day, market and known_market(path, market))


def known_market(path: str | Path, market: str) -> str:
    """The market; UsageError where there is none of this name."""
    if market not in MARKETS:
        raise UsageError(f"{path}: market {market!r} has no ITCH that is read; {', '.join(MARKETS)} have")
    return market


class ItchReader(Reader):
    """A length-framed file. `day` and `market` (XNAS, XBOS, XPSX) are the file name's where they are not given."""

    format = "itch"

    def __init__(self, path: str | Path, day: date | None = None, market: str | None = None) -> None:
        super().__init__(path)
        name = self.path.name
        market = market or market_of_name(name)
        self.venues.append(market)
        self._symbols = make_symbols()
        self._names = Names(self._symbols, self.instruments, PX_DECIMALS)
        self._itch = make_itch(1, MARKETS[market][0])
        day = day or day_of_name(name)
        if day is None:
            self.counts.notes.append(NO_DAY)
            day = date(1970, 1, 1)
        self._itch.state[0].midnight_ns = new_york_midnight_ns(day)

    def batches(self, units: int = UNITS) -> Iterator[Batch]:
        """Batches of up to `units` units of 64 bytes; else as `Reader.batches`."""
        batch, state, at = make_batch(units), self._itch.state[0], 0
        while not self.source.ended:
            window = self.source.more(at)
            state.window_at, at, state.status = self.source.offset, 0, FULL
            while state.status == FULL:
                at = int(decode(self._itch, self._symbols, window, at, len(window), batch))
                take_counts(self._itch, self.counts)
                self._names.update()
                if batch.used[0]:
                    yield batch
                    batch.used[0] = 0
            if state.status != MORE:
                self._ended(window, at)
                return
        if at < len(window):
            raise self.source.wrong(at, "", "the file ends within a message", "fetch it again")

    def _ended(self, window: np.ndarray, at: int) -> None:
        """The kernel says that nothing more is to be read: rightly, or FeedError."""
        if self._itch.state[0].status == BAD_MESSAGE:
            length = int.from_bytes(window[at : at + 2].tobytes(), "big")
            raise _broken(self, at, chr(window[at + 2]), length)
        assert self._itch.state[0].status == END_MARK
        if at == len(window):
            window, at = self.source.more(at), 0
        if at < len(window):
            raise self.source.wrong(at, "", "data follow the length 0 that ends a file", "cut it there, or fetch it")


def _broken(reader: Reader, at: int, kind: str, length: int) -> FeedError:
    right = LENGTHS.get(kind)
    why = f"a message of type {kind!r} cannot be {length} bytes long"
    why += f", it has {right}" if right else ""
    return reader.source.wrong(at, "", why + ": the lengths are damaged", "fetch it again")
