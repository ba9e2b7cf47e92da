"""What `convert` writes an hftbacktest event file with: one instrument at one venue of whatever a feed has.

Which one is asked for by symbol and by venue; where either is left out there must be only one that it can be.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import UsageError
from gateways.feeds.report import FeedError
from gateways.formats.batch import Batch
from gateways.formats.blocks import Named
from gateways.formats.npz_write import NpzRows, NpzTold, save
from gateways.formats.recorded_kernels import Filling

_VENUE = 1 << 32


class NpzSink:
    """An event file that is being written: there when it was finished, and not before."""

    def __init__(self, path: str | Path, symbol: str = "", venue: str = "") -> None:
        self.path = Path(path)
        self._symbol, self._venue = symbol, venue
        self._pair: tuple[int, int] | None = None
        self._rows: NpzRows | None = None
        #: Records of others, from before the first of the instrument.
        self._before = 0

    @property
    def told(self) -> NpzTold:
        """What became of the records."""
        return self._rows.told if self._rows is not None else NpzTold()

    def block(self, block: Batch, filling: Filling, names: Named) -> None:
        """Take the records of a block. UsageError where more than one instrument or venue can be meant."""
        starts = filling.starts[: int(filling.row[0]["records"])]
        venues = np.asarray(block.head["venue_id"])[starts].astype(np.int64)
        instruments = np.asarray(block.trade["instrument_id"])[starts].astype(np.int64)
        for pair in np.unique((venues * _VENUE + instruments)[instruments >= 0]):
            self._meet(int(pair) // _VENUE, int(pair) % _VENUE, names)
        if self._rows is None:
            self._before += len(starts)
        else:
            self._rows.take(block)

    def _meet(self, venue: int, instrument: int, names: Named) -> None:
        """A venue and instrument of which there are records."""
        row = names.instruments[instrument]
        if self._symbol not in ("", row.symbol) or self._venue not in ("", names.venues[venue]):
            return
        if self._pair is None:
            self._pair = venue, instrument
            self._rows = NpzRows(row.px_decimals, row.qty_decimals, instrument, venue)
            self._rows.others = self._before
        elif self._pair != (venue, instrument):
            first, other = self._name(*self._pair, names), self._name(venue, instrument, names)
            text = f"an .npz holds one instrument of one venue, and the feed has {first} and {other}"
            raise UsageError(f"{self.path}: {text}; say which with --instrument and --venue")

    def _name(self, venue: int, instrument: int, names: Named) -> str:
        return f"{names.instruments[instrument].symbol} at {names.venues[venue]}"

    def finish(self, names: Named, about: dict[str, Any]) -> int:
        """Sort the rows and put the file in its place; its bytes. It tells nothing of where it came from.

        UsageError where what was asked for is not in the feed, FeedError where nothing is. OSError as it comes.
        """
        if self._rows is None:
            if not names.instruments or not (self._symbol or self._venue):
                raise FeedError(about["file"], 0, "", "has no records of an instrument", "name a file that has some")
            symbols = ", ".join(dict.fromkeys(row.symbol for row in names.instruments[:6]))
            asked = " at ".join(name for name in (self._symbol, self._venue) if name)
            text = f"the feed has no records of {asked}; it has {symbols} at {', '.join(names.venues[:6])}"
            raise UsageError(f"{self.path}: {text}; name one of these with --instrument and --venue")
        return save(self.path, self._rows.sorted())

    def abandon(self) -> None:
        """Leave nothing behind, unless it was finished. Twice is once."""
        if self._rows is not None:
            self._rows.let_go()
