"""The feeds of the simulation: each venue's publisher, its true books, and what is in flight from it."""

from __future__ import annotations

from engine.record.records import Reason, Template
from replay.simulate.wire import Record, pack


class Publisher:
    """One venue's market data: numbered from 1 in its life, `flight` in the order of publication."""

    def __init__(self, venue: int) -> None:
        self.venue = venue
        self.epoch, self.seq = 1, 0
        #: instrument -> the quote as it was last published.
        self.books: dict[int, Record] = {}
        self.flight: list[bytes] = []
        self.now_ns = 0

    def quote(self, instrument: int, bid_px: int, bid_qty: int, ask_px: int, ask_qty: int) -> bytes:
        """Publish a best bid and offer."""
        self.books[instrument] = {"bid_px": bid_px, "bid_qty": bid_qty, "ask_px": ask_px, "ask_qty": ask_qty}
        return self._next(Template.QUOTE, instrument_id=instrument, **self.books[instrument])

    def trade(self, instrument: int, px: int, qty: int) -> bytes:
        """Publish a trade."""
        return self._next(Template.TRADE, instrument_id=instrument, px=px, qty=qty)

    def clear(self, instrument: int) -> bytes:
        """Say that a book is void, or (-1) that all are."""
        for n in [instrument] if instrument >= 0 else list(self.books):
            self.books.pop(n, None)
        return self._next(Template.CLEAR, instrument_id=instrument, reason=int(Reason.SEQUENCE_GAP))

    def status(self, instrument: int, status: int) -> bytes:
        """Halt (1) or open (0) an instrument."""
        return self._next(Template.INSTRUMENT_STATUS, instrument_id=instrument, status=status)

    def restart(self) -> None:
        """Begin a new life."""
        self.epoch += 1
        self.seq = 0

    def _next(self, template: int, **fields: int) -> bytes:
        self.seq += 1
        return pack(
            template,
            stream_epoch=self.epoch,
            stream_id=self.venue,
            stream_seq=self.seq,
            venue_id=self.venue,
            ts_event_ns=self.now_ns,
            **fields,
        )
