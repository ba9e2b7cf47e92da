"""A TAQ file as a feed that is read as it is played: the records of `gateways.feeds.taq`, some ten thousand at a time.

The file is gone through once beforehand, for its span and what becomes of its rows, so that what is wrong with it is
known before anything is played. Its records come in the order of a recording of it, with the same numbers: by time,
then by venue, then as the file has them.

Worst case: many rows of one moment are one part, whatever their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from engine.record.records import DTYPES, Template, blank
from gateways.feeds.names import Names
from gateways.feeds.recording import build
from gateways.feeds.report import ReadReport
from gateways.feeds.taq import blocks_of
from replay.backtest.merge import Part
from replay.backtest.thinned import quotes_of
from replay.backtest.window import Array

#: Quotes that parents are drawn from, at the most: all of a busy stock's day.
MOST_QUOTES: Final = 1 << 20


class TaqFeed:
    """One file of quotes or of trades. FeedError where it cannot be read, or is damaged, out of order or cut."""

    def __init__(self, path: str | Path, kind: str, names: Names) -> None:
        """kind: as `gateways.feeds.files.kind_of` has it."""
        self._path, self._names = Path(path), names
        self._template = Template.TRADE if kind == "taq trades" else Template.QUOTE
        #: The part that is played: from <= time < to, ns.
        self.begin_ns, self.end_ns = 0, 1 << 62
        #: Records, and times of the first and the last; 0 where there is none.
        self.count, self.first_ns, self.last_ns = 0, 0, 0
        #: What became of its rows.
        self.report = ReadReport()
        for rows in self._blocks(self.report):
            if len(rows):
                self.first_ns = self.first_ns or int(rows["ts_event_ns"][0])
                self.last_ns = int(rows["ts_event_ns"][-1])
            self.count += len(rows)
            if self._template == Template.QUOTE:
                self.report.count_quotes(rows)
            else:
                self.report.trades += len(rows)

    def _blocks(self, report: ReadReport) -> Iterator[Array]:
        return blocks_of(self._path, self._template, self._names, report)

    @property
    def size(self) -> int:
        """Bytes of its records."""
        return self.count * DTYPES[self._template].itemsize

    def parts(self) -> Iterator[Part]:
        """The records that are played; all of one time are in one part."""
        held, seqs = blank(self._template, 0), np.zeros(len(self._names.venues), dtype=np.int64)
        for rows in self._blocks(ReadReport()):
            low, high = (int(n) for n in np.searchsorted(rows["ts_event_ns"], [self.begin_ns, self.end_ns]))
            held = np.concatenate((held, rows[low:high]))
            if not len(held):
                continue
            whole = int(np.searchsorted(held["ts_event_ns"], held["ts_event_ns"][-1]))
            if whole:
                yield self._part(held[:whole], seqs)
                held = held[whole:]
            if high < len(rows):
                break
        if len(held):
            yield self._part(held, seqs)

    def _part(self, rows: Array, seqs: Array) -> Part:
        day = build([rows], self._names, seqs)
        seqs += np.bincount(rows["venue_id"], minlength=len(seqs))
        return Part(day.data, day.offsets, day.times)

    def quotes(self) -> Array:
        """QUOTE records of the part that is played, thinned evenly where there are more than `MOST_QUOTES`."""
        return quotes_of(self.parts(), MOST_QUOTES)
