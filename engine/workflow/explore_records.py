"""The records that exploration puts in: each with all of its fields but those that depend on the moment."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

from engine.record.records import ControlAction, ExecType, OrdStatus, OrdType, Reason, Side, Template, blank
from engine.workflow.explore_account import Options

#: Sessions of the small world: the client's, then one a venue.
CLIENT: Final = 0
#: ClOrdID of the parent.
NAME: Final = 7


class Kind(IntEnum):
    """What happens. Of a child, unless it says otherwise."""

    ACK = 0
    FILL_LOT = 1
    FILL_ALL = 2
    REJECT = 3
    CANCELED = 4
    CANCELED_AHEAD = 5
    EXPIRED = 6
    CANCEL_REJECT = 7
    STATUS_LIVE = 8
    STATUS_ENDED = 9
    FILL_TWICE = 10
    END_TWICE = 11
    OVERFILL = 12
    BUST = 13
    CORRECT = 14
    # Of a venue.
    DOWN = 16
    UP = 17
    RESTART = 18
    GOOD_QUOTE = 19
    BAD_QUOTE = 20
    CLEAR = 21
    # Of the client.
    CANCEL = 24
    REPLACE = 25
    PAUSE = 26
    RESUME = 27
    # Of time.
    TIMER = 28
    DAY_END = 29


_REPORTS = {
    Kind.ACK: (Template.ACK, ExecType.NEW, OrdStatus.NEW, Reason.NONE),
    Kind.FILL_LOT: (Template.FILL, ExecType.TRADE, OrdStatus.PARTIALLY_FILLED, Reason.NONE),
    Kind.REJECT: (Template.REJECT, ExecType.REJECTED, OrdStatus.REJECTED, Reason.UNKNOWN_ORDER),
    Kind.CANCELED: (Template.ACK, ExecType.CANCELED, OrdStatus.CANCELED, Reason.NONE),
    Kind.EXPIRED: (Template.ACK, ExecType.EXPIRED, OrdStatus.EXPIRED, Reason.NONE),
    Kind.CANCEL_REJECT: (Template.CANCEL_REJECT, ExecType.NEW, OrdStatus.NEW, Reason.ORDER_TERMINAL),
    Kind.STATUS_LIVE: (Template.ACK, ExecType.ORDER_STATUS, OrdStatus.NEW, Reason.NONE),
    Kind.STATUS_ENDED: (Template.ACK, ExecType.ORDER_STATUS, OrdStatus.CANCELED, Reason.NONE),
}


class Record:
    """A record with most of its fields set, and where its other fields are, in words."""

    def __init__(self, template: Template, **fields: Any) -> None:
        row = blank(template)
        for name, value in fields.items():
            row[name] = (value, 0) if row.dtype[name].shape else value
        self.raw = row.tobytes()
        self.size = len(self.raw)


class Records:
    """All records of one exploration, ready to be copied into the event buffer."""

    def __init__(self, options: Options, venue_count: int) -> None:
        self._options = options
        o, venues = options, range(venue_count)
        self.reports = {
            kind: [
                Record(
                    template, venue_id=v, stream_id=1 + v, exec_type=exec_type, ord_status=status, reason=reason,
                    side=o.side, liquidity=2 if template == Template.FILL else 0, peer_id=1,
                )
                for v in venues
            ]
            for kind, (template, exec_type, status, reason) in _REPORTS.items()
        }  # fmt: skip
        for kind, template, exec_type in (
            (Kind.BUST, Template.BUST, ExecType.TRADE_CANCEL),
            (Kind.CORRECT, Template.CORRECT, ExecType.TRADE_CORRECT),
        ):
            self.reports[kind] = [
                Record(template, venue_id=v, stream_id=1 + v, exec_type=exec_type, side=o.side) for v in venues
            ]
        self.timer = Record(Template.TIMER)
        self.hellos = [Record(Template.SESSION_UP, stream_id=n, session_id=n) for n in range(1 + venue_count)]
        self.downs = [Record(Template.SESSION_DOWN, stream_id=1 + v, reason=Reason.PEER_SILENT) for v in venues]
        first = [px for px, _ in o.quotes]
        self.quotes = {lots * 16 + v: self.quote(v, first[v], lots) for v in venues for lots in o.good_lots}
        self.bad = [self.quote(v, o.far_px, 1) for v in venues]
        self.clears = [
            Record(Template.CLEAR, venue_id=v, stream_id=v, stream_epoch=1, instrument_id=-1) for v in venues
        ]
        order = {
            "stream_id": CLIENT, "cl_ord_id": NAME, "side": o.side, "qty": o.qty, "px": o.limit_px, "tif": o.tif,
            "ord_type": OrdType.LIMIT,
        }  # fmt: skip
        mine = {"stream_id": CLIENT, "cl_ord_id": NAME}
        self.requests: dict[tuple[Kind | None, int], Record] = {
            (None, 0): Record(Template.ORDER_NEW, **order),
            (Kind.CANCEL, 0): Record(Template.ORDER_CANCEL, **mine),
            (Kind.PAUSE, 0): Record(Template.CONTROL, **mine, action=ControlAction.PAUSE),
            (Kind.RESUME, 0): Record(Template.CONTROL, **mine, action=ControlAction.RESUME),
        }
        for qty in o.new_qtys:
            self.requests[Kind.REPLACE, qty] = Record(Template.ORDER_REPLACE, **{**order, "qty": qty})

    def quote(self, venue: int, px: int, lots: int) -> Record:
        """A venue's quote on the side that the parent takes from, and a bid (or offer) of 1 far from it."""
        own, other = ("ask", "bid") if self._options.side == Side.BUY else ("bid", "ask")
        away = -100 if self._options.side == Side.BUY else 100
        sides = {f"{own}_px": px, f"{own}_qty": lots, f"{other}_px": self._options.limit_px + away, f"{other}_qty": 1}
        return Record(Template.QUOTE, venue_id=venue, stream_id=venue, stream_epoch=1, **sides)
