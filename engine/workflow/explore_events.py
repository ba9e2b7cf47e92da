"""What may happen to one parent at a moment, and the record that says so.

`World.events` lists the events that are possible: what each child's venue may truthfully report (and one lie), what was
sent twice or comes late, sessions, the client's requests, quotes, time. `World.put` writes an event's record into the
event buffer and what it means into the account; `World.hear` reads what the core sends.

A venue decides as late as it can: whether an order was executed or ended is settled when the engine is told, because
before that nothing else depends on it. So silence, loss and delay need no events of their own: a report that has not
come yet is any of these. Time moves by TIMER records alone, to the next deadline or to the end of the day.

Worst case: an event is some twenty machine words; a state has about a dozen.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Any, Final

import numpy as np

from engine.core.state import NEVER, make_outbox, view_events
from engine.core.step import next_deadline
from engine.record.records import (
    DTYPES,
    RECORD_MAX,
    ControlAction,
    ExecType,
    OrdStatus,
    OrdType,
    Reason,
    Side,
    Template,
    Tif,
    blank,
)
from engine.workflow.explore_account import (
    ACKED,
    ANSWERED,
    BAD_QUOTES_LEFT,
    CANCEL,
    CANCEL_ASKED,
    CANCELS_LEFT,
    CHILDREN,
    CLEARS_LEFT,
    CONTROLS,
    DOWNS_LEFT,
    DUPLICATES_LEFT,
    E_CANCELED,
    E_EXPIRED,
    E_FILLED,
    E_REJECTED,
    ENDED,
    GOOD_QUOTES_LEFT,
    HEARD,
    LAST,
    LIED,
    LIES_LEFT,
    LIVE,
    NEW_QTY,
    OPEN,
    OWED,
    PAUSES_LEFT,
    QTY,
    REPLACE,
    REPLACES_LEFT,
    RESTARTS_LEFT,
    RESUMES_LEFT,
    ASKED,
    NUMBER,
    STATUS_ASKED,
    TOLD,
    TROUBLES_LEFT,
    VENUE,
    Options,
    child_at,
    spend,
)
from engine.workflow.explore_memory import FAR_NS, Arena

#: Sessions of the small world: the client's, then one a venue.
CLIENT: Final = 0
#: ClOrdID of the parent.
NAME: Final = 7
START_NS: Final = 1_000_000_000_000_000


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


#: What is sure to happen, sooner or later: time, a venue that comes back and answers what it is asked, and reports what
#: it owes; at last the client, who can cancel what else would rest for ever.
SURE: Final = frozenset({Kind.UP, Kind.STATUS_LIVE, Kind.STATUS_ENDED, Kind.CANCEL, Kind.TIMER, Kind.DAY_END})

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
_SAME_RECORD = {
    Kind.FILL_ALL: Kind.FILL_LOT,
    Kind.FILL_TWICE: Kind.FILL_LOT,
    Kind.OVERFILL: Kind.FILL_LOT,
    Kind.CANCELED_AHEAD: Kind.CANCELED,
}
_END_STATUS = {
    E_FILLED: OrdStatus.FILLED,
    E_CANCELED: OrdStatus.CANCELED,
    E_EXPIRED: OrdStatus.EXPIRED,
    E_REJECTED: OrdStatus.REJECTED,
}


def code_of(kind: Kind, arg: int = 0) -> int:
    """An event as one small number; `arg` is a child, a venue (with lots in the higher bits) or a quantity."""
    return int(kind) << 8 | arg


def kind_of(code: int) -> Kind:
    """The kind of an event's number."""
    return Kind(code >> 8)


class _Record:
    """A record with most of its fields set, and where its other fields are, in words."""

    def __init__(self, template: Template, **fields: Any) -> None:
        row = blank(template)
        for name, value in fields.items():
            row[name] = (value, 0) if row.dtype[name].shape else value
        self.raw = row.tobytes()
        self.size = len(self.raw)


def _word(template: Template, field: str) -> int:
    return int(DTYPES[template].fields[field][1]) // 8  # type: ignore[index]


_SEQ, _EVENT_NS, _RECV_NS = (_word(Template.ACK, name) for name in ("stream_seq", "ts_event_ns", "ts_recv_ns"))
_ORDER_ID, _EXEC_ID, _LAST_PX, _LAST_QTY, _CUM, _LEAVES = (
    _word(Template.ACK, name) for name in ("order_id", "exec_id", "last_px", "last_qty", "cum_qty", "leaves_qty")
)
_ORD_STATUS = int(DTYPES[Template.ACK].fields["ord_status"][1])  # type: ignore[index]
_EPOCH = int(DTYPES[Template.ACK].fields["stream_epoch"][1]) // 4  # type: ignore[index]


class World:
    """The event buffer, the outbox and the account, around an Arena."""

    def __init__(self, arena: Arena, options: Options) -> None:
        self.arena, self.options = arena, options
        self.ghost = options.ghost()
        self.buffer = np.zeros(192, dtype=np.uint8)
        self.input = view_events(self.buffer)
        self.outbox = make_outbox()
        self._bytes = memoryview(self.buffer)
        self._words = self._bytes.cast("q")
        self._halves = self._bytes.cast("i")
        self.venues = int(arena.state.params[0].n_venues)
        self._up = [arena.place("sessions", 1 + v, "up") // 4 for v in range(self.venues)]
        self._seq = [arena.place("sessions", n, "seq_in") // 8 for n in range(1 + self.venues)]
        self._epoch = [arena.place("sessions", n, "epoch_in") // 8 for n in range(1 + self.venues)]
        self._feed = [arena.place("venues", v, "feed_seq") // 8 for v in range(self.venues)]
        self._child_px = [arena.place("child_orders", c, "px") // 8 for c in range(len(arena.state.children))]
        self.child_base = 0
        self.day_end_ns = int(arena.state.params[0].day_end_ns)
        self._make_records()

    # ---- what may happen

    def events(self) -> list[int]:
        """The numbers of all events that are possible now."""
        g = self.ghost
        found: list[int] = []
        for n in range(g[CHILDREN]):
            self._child_events(n, found)
        trouble = g[TROUBLES_LEFT] > 0
        for v in range(self.venues):
            if self.arena.halves[self._up[v]] == 0:
                found.append(code_of(Kind.UP, v))
            elif trouble:
                if g[DOWNS_LEFT]:
                    found.append(code_of(Kind.DOWN, v))
                if g[RESTARTS_LEFT]:
                    found.append(code_of(Kind.RESTART, v))
            if not g[TOLD] and trouble:
                if g[GOOD_QUOTES_LEFT]:
                    found += [code_of(Kind.GOOD_QUOTE, lots * 16 + v) for lots in self.options.good_lots]
                if g[BAD_QUOTES_LEFT]:
                    found.append(code_of(Kind.BAD_QUOTE, v))
                if g[CLEARS_LEFT]:
                    found.append(code_of(Kind.CLEAR, v))
        self._client_events(found)
        due = int(next_deadline(self.arena.state))
        if due - self.arena.now_ns < FAR_NS:
            found.append(code_of(Kind.TIMER))
        if self.arena.now_ns < self.day_end_ns < NEVER and self.options.tif == Tif.DAY and not g[TOLD]:
            found.append(code_of(Kind.DAY_END))
        return found

    def _child_events(self, n: int, found: list[int]) -> None:
        g, at = self.ghost, child_at(n)
        asked, done, owed = g[at + ASKED], g[at + HEARD], g[at + OWED]
        trouble = g[TROUBLES_LEFT] > 0
        if g[at + ENDED] == LIVE:
            rest = g[at + QTY] - done
            if not asked & ACKED:
                found.append(code_of(Kind.ACK, n))
            found.append(code_of(Kind.FILL_LOT, n))
            if rest > 1:
                found.append(code_of(Kind.FILL_ALL, n))
            if done == 0:
                found.append(code_of(Kind.REJECT, n))
            found += [code_of(Kind.CANCELED, n), code_of(Kind.CANCELED_AHEAD, n)]
            if asked & STATUS_ASKED:
                found += [code_of(Kind.STATUS_LIVE, n), code_of(Kind.STATUS_ENDED, n)]
        else:
            if owed:
                found.append(code_of(Kind.FILL_LOT, n))
            if asked & STATUS_ASKED:
                found.append(code_of(Kind.STATUS_ENDED, n))
            if g[DUPLICATES_LEFT] and trouble:
                found.append(code_of(Kind.END_TWICE, n))
            if g[LIES_LEFT] and not owed and trouble:
                found.append(code_of(Kind.OVERFILL, n))
        if asked & CANCEL_ASKED:
            found.append(code_of(Kind.CANCEL_REJECT, n))
        if done and g[DUPLICATES_LEFT] and trouble:
            found.append(code_of(Kind.FILL_TWICE, n))

    def _client_events(self, found: list[int]) -> None:
        g = self.ghost
        if g[TOLD]:
            return
        if g[CANCEL] == 0 and g[CANCELS_LEFT]:
            found.append(code_of(Kind.CANCEL))
        if g[TROUBLES_LEFT] > 0:
            if g[PAUSES_LEFT]:
                found.append(code_of(Kind.PAUSE))
            if g[REPLACE] == 0 and g[REPLACES_LEFT]:
                found += [code_of(Kind.REPLACE, qty) for qty in self.options.new_qtys]
        if g[RESUMES_LEFT]:
            found.append(code_of(Kind.RESUME))

    # ---- making it happen

    def put(self, code: int) -> None:
        """Write an event's record into the buffer, and what it means into the account."""
        kind, arg = Kind(code >> 8), code & 255
        if kind <= Kind.CORRECT:
            self._report(kind, arg)
        elif kind <= Kind.CLEAR:
            self._of_venue(kind, arg)
        elif kind <= Kind.RESUME:
            self._of_client(kind, arg)
        else:
            due = self.day_end_ns if kind == Kind.DAY_END else int(next_deadline(self.arena.state))
            self._write(self._timer, -1, max(due, self.arena.now_ns))
            self._words[_word(Template.TIMER, "deadline_ns")] = due

    def _write(self, record: _Record, session: int, now_ns: int = 0) -> None:
        self._bytes[: record.size] = record.raw
        words = self._words
        words[_EVENT_NS] = words[_RECV_NS] = now_ns or self.arena.now_ns
        if session >= 0:
            words[_SEQ] = self.arena.words[self._seq[session]] + 1
            self._halves[_EPOCH] = self.arena.words[self._epoch[session]]

    def _report(self, kind: Kind, n: int) -> None:
        g, at, words = self.ghost, child_at(n), self._words
        venue = g[at + VENUE]
        self._write(self._reports[_SAME_RECORD.get(kind, kind) if kind != Kind.END_TWICE else Kind.CANCELED][venue],
                    1 + venue)
        words[_ORDER_ID] = self.child_base | g[at + NUMBER]
        qty = 0
        if kind in (Kind.FILL_LOT, Kind.FILL_ALL, Kind.OVERFILL):
            qty = g[at + QTY] - g[at + HEARD] if kind == Kind.FILL_ALL else 1
            self._execute(kind, at, qty)
        elif kind == Kind.FILL_TWICE:
            qty = g[at + LAST]
            spend(g, DUPLICATES_LEFT)
        elif kind == Kind.CANCELED_AHEAD:
            g[at + OWED] = 1
            g[at + ENDED] = E_FILLED if g[at + HEARD] + 1 == g[at + QTY] else E_CANCELED
        elif kind == Kind.END_TWICE:
            spend(g, DUPLICATES_LEFT)
        else:
            self._answer(kind, at)
        cum = g[at + HEARD] + (g[at + OWED] if g[at + ENDED] else 0)
        if kind in (Kind.FILL_LOT, Kind.FILL_ALL, Kind.OVERFILL, Kind.FILL_TWICE):
            cum = g[at + HEARD]
            words[_EXEC_ID] = (n + 1) * 256 + cum
            words[_LAST_PX] = self.arena.words[self._child_px[g[at + NUMBER] & (len(self._child_px) - 1)]]
            words[_LAST_QTY] = qty
        words[_CUM] = cum
        words[_LEAVES] = 0 if g[at + ENDED] else g[at + QTY] - cum
        if kind in (Kind.STATUS_ENDED, Kind.END_TWICE):
            self.buffer[_ORD_STATUS] = _END_STATUS[g[at + ENDED]]
        elif kind == Kind.STATUS_LIVE and cum > 0:
            self.buffer[_ORD_STATUS] = OrdStatus.PARTIALLY_FILLED

    def _execute(self, kind: Kind, at: int, qty: int) -> None:
        """A venue executes `qty`, and says so."""
        g = self.ghost
        g[at + HEARD] += qty
        g[at + LAST] = qty
        if kind == Kind.OVERFILL:
            g[LIED] += qty
            spend(g, LIES_LEFT)
        elif g[at + ENDED]:
            g[at + OWED] -= qty
        elif g[at + HEARD] == g[at + QTY]:
            g[at + ENDED] = E_FILLED

    def _answer(self, kind: Kind, at: int) -> None:
        """What an answer without an execution means."""
        g = self.ghost
        if kind == Kind.ACK:
            g[at + ASKED] |= ACKED
        elif kind == Kind.REJECT:
            g[at + ENDED] = E_REJECTED
        elif kind == Kind.CANCELED:
            g[at + ENDED] = E_CANCELED
        elif kind == Kind.CANCEL_REJECT:
            g[at + ASKED] &= ~CANCEL_ASKED
        else:
            g[at + ASKED] &= ~STATUS_ASKED
            if kind == Kind.STATUS_ENDED and g[at + ENDED] == LIVE:
                g[at + ENDED] = E_CANCELED

    def _of_venue(self, kind: Kind, arg: int) -> None:
        g, v = self.ghost, arg & 15
        if kind >= Kind.GOOD_QUOTE:
            record = self._quotes[arg] if kind == Kind.GOOD_QUOTE else (
                self._bad[v] if kind == Kind.BAD_QUOTE else self._clears[v]
            )
            self._write(record, -1)
            self._words[_SEQ] = self.arena.words[self._feed[v]] + 1
            spend(g, {Kind.GOOD_QUOTE: GOOD_QUOTES_LEFT, Kind.BAD_QUOTE: BAD_QUOTES_LEFT}.get(kind, CLEARS_LEFT))
            return
        if kind == Kind.DOWN:
            self._write(self._downs[v], -1)
            spend(g, DOWNS_LEFT)
            return
        self._write(self._hellos[1 + v], 1 + v)
        if kind == Kind.RESTART:
            self._halves[_EPOCH] += 1
            self._words[_SEQ] = 1
            spend(g, RESTARTS_LEFT)

    def _of_client(self, kind: Kind, arg: int) -> None:
        g = self.ghost
        self._write(self._requests[kind, arg], CLIENT)
        if kind == Kind.CANCEL:
            g[CANCEL] = OPEN
        elif kind == Kind.REPLACE:
            g[REPLACE], g[NEW_QTY] = OPEN, arg
            spend(g, REPLACES_LEFT)
        else:
            g[CONTROLS] += 1
            if kind == Kind.PAUSE:
                spend(g, PAUSES_LEFT)
                g[RESUMES_LEFT] += 1
            else:
                g[RESUMES_LEFT] -= 1

    # ---- before it

    def prologue(self) -> Iterator[None]:
        """Write, one after another, the records up to the parent's ORDER_NEW; the caller steps after each."""
        for session in range(1 + self.venues):
            self._write(self._hellos[session], session, START_NS)
            self._halves[_EPOCH] = 1
            yield
        for v, (px, lots) in enumerate(self.options.quotes):
            self._write(self._quote(v, px, lots), -1)
            self._words[_SEQ] = 1
            yield
        self._write(self._requests[None, 0], CLIENT)
        yield

    def _quote(self, venue: int, px: int, lots: int) -> _Record:
        own, other = ("ask", "bid") if self.options.side == Side.BUY else ("bid", "ask")
        away = -100 if self.options.side == Side.BUY else 100
        sides = {f"{own}_px": px, f"{own}_qty": lots, f"{other}_px": self.options.limit_px + away, f"{other}_qty": 1}
        return _Record(Template.QUOTE, venue_id=venue, stream_id=venue, stream_epoch=1, **sides)

    def _make_records(self) -> None:
        o, venues = self.options, range(self.venues)
        self._reports = {
            kind: [
                _Record(
                    template, venue_id=v, stream_id=1 + v, exec_type=exec_type, ord_status=status, reason=reason,
                    side=o.side, liquidity=2 if template == Template.FILL else 0, peer_id=1,
                )
                for v in venues
            ]
            for kind, (template, exec_type, status, reason) in _REPORTS.items()
        }  # fmt: skip
        self._timer = _Record(Template.TIMER)
        self._hellos = [_Record(Template.SESSION_UP, stream_id=n, session_id=n) for n in range(1 + self.venues)]
        self._downs = [_Record(Template.SESSION_DOWN, stream_id=1 + v, reason=Reason.PEER_SILENT) for v in venues]
        first = [px for px, _ in o.quotes]
        self._quotes = {lots * 16 + v: self._quote(v, first[v], lots) for v in venues for lots in o.good_lots}
        self._bad = [self._quote(v, o.far_px, 1) for v in venues]
        self._clears = [
            _Record(Template.CLEAR, venue_id=v, stream_id=v, stream_epoch=1, instrument_id=-1) for v in venues
        ]
        order = {
            "stream_id": CLIENT, "cl_ord_id": NAME, "side": o.side, "qty": o.qty, "px": o.limit_px, "tif": o.tif,
            "ord_type": OrdType.LIMIT,
        }  # fmt: skip
        mine = {"stream_id": CLIENT, "cl_ord_id": NAME}
        self._requests: dict[tuple[Kind | None, int], _Record] = {
            (None, 0): _Record(Template.ORDER_NEW, **order),
            (Kind.CANCEL, 0): _Record(Template.ORDER_CANCEL, **mine),
            (Kind.PAUSE, 0): _Record(Template.CONTROL, **mine, action=ControlAction.PAUSE),
            (Kind.RESUME, 0): _Record(Template.CONTROL, **mine, action=ControlAction.RESUME),
        }
        for qty in o.new_qtys:
            self._requests[Kind.REPLACE, qty] = _Record(Template.ORDER_REPLACE, **{**order, "qty": qty})


assert RECORD_MAX <= 128
assert ANSWERED > OPEN
