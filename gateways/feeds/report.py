"""How reading a feed went: the error that stops it, and the counts of what was read and what was skipped.

Nothing is dropped in silence. What makes a file untrustworthy (damage, wrong columns, time running backwards) is a
`FeedError`; what merely cannot be used (a venue that is not configured, a price finer than the instrument's decimals)
is counted by reason, and the first row of each reason is kept with its line and value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engine.errors import TickrouteError


class FeedError(TickrouteError):
    """A feed or recording that cannot be used. Names the file, the line or byte, the value and the remedy.

    `line` is 0 where there is none; `offset` the byte of what the file holds, -1 where none is meant. Of a packed file
    that is the byte as unpacked, and `packed` how many of its own bytes had been read by then; -1 of a plain one.
    """

    def __init__(
        self, path: str | Path, line: int, value: str, why: str, remedy: str, *, offset: int = -1, packed: int = -1
    ) -> None:
        self.path = str(path)
        self.line = line
        self.value = value
        self.why = why
        self.remedy = remedy
        self.offset = offset
        self.packed = packed
        where = f"{path}:{line}" if line else f"{path}"
        if offset >= 0:
            where += f" at byte {offset}"
            if packed >= 0:
                where += f" as unpacked (within the first {packed} bytes of the file)"
        shown = f" (found {value!r})" if value else ""
        super().__init__(f"{where}: {why}{shown}; {remedy}")


@dataclass
class ReadReport:
    """Counts of one read. `rows` is all data rows: quotes, trades and skipped rows add up to it."""

    files: list[str] = field(default_factory=list)
    rows: int = 0
    quotes: int = 0
    trades: int = 0
    #: Rows that gave no record, by reason.
    skipped: dict[str, int] = field(default_factory=dict)
    #: The first skipped row of each reason: "file:line: value".
    examples: dict[str, str] = field(default_factory=dict)
    #: Quotes whose own bid is above (crossed) or at (locked) their own offer; they are passed on.
    crossed: int = 0
    locked: int = 0
    no_bid: int = 0
    no_offer: int = 0
    off_book: int = 0
    odd_lots: int = 0
    #: Times of the first and last record, ns since 1970 UTC; 0 where there is none.
    first_ns: int = 0
    last_ns: int = 0
    #: Venue code -> (quotes, trades).
    by_venue: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def records(self) -> int:
        """Records that were read."""
        return self.quotes + self.trades

    def lines(self) -> list[str]:
        """The report as lines of text for people."""
        out = list(self.files)
        skipped = self.total_skipped
        out.append(f"rows {self.rows:,}: {self.quotes:,} quotes, {self.trades:,} trades, {skipped:,} skipped")
        for reason, count in sorted(self.skipped.items(), key=lambda item: -item[1]):
            out.append(f"  skipped {count:,}: {reason}, first at {self.examples.get(reason, '?')}")
        if self.records:
            first, last = (np.datetime64(t, "ns") for t in (self.first_ns, self.last_ns))
            out.append(f"from {first} to {last} UTC")
        out.append(
            f"quotes without bid {self.no_bid:,}, without offer {self.no_offer:,}, "
            f"locked {self.locked:,}, crossed {self.crossed:,}"
        )
        out.append(f"trades off book {self.off_book:,}, odd lots {self.odd_lots:,}")
        out.extend(f"  {code:>4}  {q:>9,} quotes  {t:>9,} trades" for code, (q, t) in self.by_venue.items())
        return out

    @property
    def total_skipped(self) -> int:
        """Rows skipped for any reason."""
        return sum(self.skipped.values())

    def count_quotes(self, quotes: np.ndarray) -> None:
        """Count what QUOTE records of shape (n,) show: sides missing, locked, crossed."""
        bid, ask = quotes["bid_qty"] > 0, quotes["ask_qty"] > 0
        both = bid & ask
        self.quotes += len(quotes)
        self.no_bid += int(np.count_nonzero(~bid))
        self.no_offer += int(np.count_nonzero(~ask))
        self.locked += int(np.count_nonzero(both & (quotes["bid_px"] == quotes["ask_px"])))
        self.crossed += int(np.count_nonzero(both & (quotes["bid_px"] > quotes["ask_px"])))

    def count_venues(self, codes: list[str], quotes: np.ndarray, trades: np.ndarray) -> None:
        """Fill `by_venue` and the time span from QUOTE and TRADE records whose venue_id indexes `codes`."""
        q = np.bincount(quotes["venue_id"], minlength=len(codes))
        t = np.bincount(trades["venue_id"], minlength=len(codes))
        self.by_venue = {code: (int(q[i]), int(t[i])) for i, code in enumerate(codes)}
        ends = [(int(a["ts_event_ns"][0]), int(a["ts_event_ns"][-1])) for a in (quotes, trades) if len(a)]
        if ends:
            self.first_ns, self.last_ns = min(e[0] for e in ends), max(e[1] for e in ends)
