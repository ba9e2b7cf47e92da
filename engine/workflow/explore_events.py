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
from typing import Final

import numpy as np

from engine.core.state import NEVER, make_outbox, view_events
from engine.core.step import next_deadline
from engine.record.records import (
    DTYPES,
    OrdStatus,
    Template,
    Tif,
)
from engine.workflow import explore_account as a
from engine.workflow.explore_memory import FAR_NS, Arena
from engine.workflow.explore_records import CLIENT, Kind, Record, Records

START_NS: Final = 1_000_000_000_000_000


#: What is sure to happen, sooner or later: time, a venue that comes back and answers what it is asked, and reports what
#: it owes; at last the client, who can cancel what else would rest for ever.
SURE: Final = frozenset({Kind.UP, Kind.STATUS_LIVE, Kind.STATUS_ENDED, Kind.CANCEL, Kind.TIMER, Kind.DAY_END})

_SAME_RECORD = {
    Kind.FILL_ALL: Kind.FILL_LOT,
    Kind.FILL_TWICE: Kind.FILL_LOT,
    Kind.OVERFILL: Kind.FILL_LOT,
    Kind.CANCELED_AHEAD: Kind.CANCELED,
    Kind.END_TWICE: Kind.CANCELED,
}
_QUOTE_BUDGETS = {
    Kind.GOOD_QUOTE: a.GOOD_QUOTES_LEFT,
    Kind.BAD_QUOTE: a.BAD_QUOTES_LEFT,
    Kind.CLEAR: a.CLEARS_LEFT,
}
_END_STATUS = {
    a.E_FILLED: OrdStatus.FILLED,
    a.E_CANCELED: OrdStatus.CANCELED,
    a.E_EXPIRED: OrdStatus.EXPIRED,
    a.E_REJECTED: OrdStatus.REJECTED,
}


def code_of(kind: Kind, arg: int = 0) -> int:
    """An event as one small number; `arg` is a child, a venue (with lots in the higher bits) or a quantity."""
    return int(kind) << 8 | arg


def kind_of(code: int) -> Kind:
    """The kind of an event's number."""
    return Kind(code >> 8)


def _word(template: Template, field: str) -> int:
    return int(DTYPES[template].fields[field][1]) // 8  # type: ignore[index]


_SEQ, _EVENT_NS, _RECV_NS = (_word(Template.ACK, name) for name in ("stream_seq", "ts_event_ns", "ts_recv_ns"))
_ORDER_ID, _EXEC_ID, _LAST_PX, _LAST_QTY, _CUM, _LEAVES = (
    _word(Template.ACK, name) for name in ("order_id", "exec_id", "last_px", "last_qty", "cum_qty", "leaves_qty")
)
_CHANGE_ID, _REF_ID = _word(Template.BUST, "exec_id"), _word(Template.BUST, "exec_ref_id")
#: ExecIDs of changes lie that far above those of what they change.
_CHANGED: Final = 1 << 16
_ORD_STATUS = int(DTYPES[Template.ACK].fields["ord_status"][1])  # type: ignore[index]
_EPOCH = int(DTYPES[Template.ACK].fields["stream_epoch"][1]) // 4  # type: ignore[index]


class World:
    """The event buffer, the outbox and the account, around an Arena."""

    def __init__(self, arena: Arena, options: a.Options) -> None:
        self.arena, self.options = arena, options
        self.ghost = options.ghost()
        self.buffer = np.zeros(192, dtype=np.uint8)
        self.input = view_events(self.buffer)
        self.outbox = make_outbox()
        self._bytes = self.buffer.data
        self._words = self._bytes.cast("q")
        self._halves = self._bytes.cast("i")
        self.venues = int(arena.state.params[0].n_venues)
        self._up = [arena.place("sessions", 1 + v, "up") // 4 for v in range(self.venues)]
        self._seq = [arena.place("sessions", n, "seq_in") // 8 for n in range(1 + self.venues)]
        self._epoch = [arena.place("sessions", n, "epoch_in") // 8 for n in range(1 + self.venues)]
        self._feed = [arena.place("venues", v, "feed_seq") // 8 for v in range(self.venues)]
        slots = range(len(arena.state.children))
        self._child_px = [arena.place("child_orders", c, "px") // 8 for c in slots]
        self._child_tif = [arena.place("child_orders", c, "tif") for c in slots]
        self.child_base = 0
        self.day_end_ns = int(arena.state.params[0].day_end_ns)
        self.records = Records(options, self.venues)

    # ---- what may happen

    def events(self) -> list[int]:
        """The numbers of all events that are possible now."""
        g = self.ghost
        found: list[int] = []
        for n in range(g[a.CHILDREN]):
            self._child_events(n, found)
        trouble = g[a.TROUBLES_LEFT] > 0
        for v in range(self.venues):
            if self.arena.halves[self._up[v]] == 0:
                found.append(code_of(Kind.UP, v))
            elif trouble:
                if g[a.DOWNS_LEFT]:
                    found.append(code_of(Kind.DOWN, v))
                if g[a.RESTARTS_LEFT]:
                    found.append(code_of(Kind.RESTART, v))
            if not g[a.TOLD] and trouble:
                if g[a.GOOD_QUOTES_LEFT]:
                    found += [code_of(Kind.GOOD_QUOTE, lots * 16 + v) for lots in self.options.good_lots]
                if g[a.BAD_QUOTES_LEFT]:
                    found.append(code_of(Kind.BAD_QUOTE, v))
                if g[a.CLEARS_LEFT]:
                    found.append(code_of(Kind.CLEAR, v))
        self._client_events(found)
        due = int(next_deadline(self.arena.state))
        if due - self.arena.now_ns < FAR_NS:
            found.append(code_of(Kind.TIMER))
        if self.arena.now_ns < self.day_end_ns < NEVER and self.options.tif == Tif.DAY and not g[a.TOLD]:
            found.append(code_of(Kind.DAY_END))
        return found

    def _child_events(self, n: int, found: list[int]) -> None:
        g, at = self.ghost, a.child_at(n)
        asked, done, owed = g[at + a.ASKED], g[at + a.HEARD], g[at + a.OWED]
        trouble = g[a.TROUBLES_LEFT] > 0
        again = trouble and g[a.DUPLICATES_LEFT] > 0
        if g[at + a.ENDED] == a.LIVE:
            rest = g[at + a.QTY] - done
            if not asked & a.ACKED or again:
                found.append(code_of(Kind.ACK, n))
            found.append(code_of(Kind.FILL_LOT, n))
            if rest > 1:
                found.append(code_of(Kind.FILL_ALL, n))
            if done == 0:
                found.append(code_of(Kind.REJECT, n))
            found += [code_of(Kind.CANCELED, n), code_of(Kind.CANCELED_AHEAD, n)]
            if self._rests(at) or (trouble and g[a.EXPIRIES_LEFT]):
                found.append(code_of(Kind.EXPIRED, n))
            if asked & a.STATUS_ASKED:
                found += [code_of(Kind.STATUS_LIVE, n), code_of(Kind.STATUS_ENDED, n)]
        else:
            if owed:
                found.append(code_of(Kind.FILL_LOT, n))
            if asked & a.STATUS_ASKED:
                found.append(code_of(Kind.STATUS_ENDED, n))
            if again and not owed:
                found += [code_of(Kind.END_TWICE, n), code_of(Kind.ACK, n)]
                if not asked & a.CANCEL_ASKED:
                    found.append(code_of(Kind.CANCEL_REJECT, n))
                if not asked & a.STATUS_ASKED:
                    found.append(code_of(Kind.STATUS_ENDED, n))
            if g[a.LIES_LEFT] and not owed and trouble and not g[a.BUSTED]:
                found.append(code_of(Kind.OVERFILL, n))
        if asked & a.CANCEL_ASKED:
            found.append(code_of(Kind.CANCEL_REJECT, n))
        if done and again:
            found.append(code_of(Kind.FILL_TWICE, n))
        if done and trouble and g[a.BUSTS_LEFT] and not g[a.LIED] and not g[at + a.UNDONE]:
            found.append(code_of(Kind.BUST, n))
            if g[at + a.LAST] > 1:
                found.append(code_of(Kind.CORRECT, n))

    def _client_events(self, found: list[int]) -> None:
        g = self.ghost
        if g[a.TOLD]:
            return
        if g[a.CANCEL] == 0 and g[a.CANCELS_LEFT]:
            found.append(code_of(Kind.CANCEL))
        if g[a.TROUBLES_LEFT] > 0:
            if g[a.PAUSES_LEFT]:
                found.append(code_of(Kind.PAUSE))
            if g[a.REPLACE] == 0 and g[a.REPLACES_LEFT]:
                found += [code_of(Kind.REPLACE, qty) for qty in self.options.new_qtys]
        if g[a.RESUMES_LEFT]:
            found.append(code_of(Kind.RESUME))

    # ---- making it happen

    def put(self, code: int) -> None:
        """Write an event's record into the buffer, and what it means into the account."""
        kind, arg = Kind(code >> 8), code & 255
        if kind < Kind.BUST:
            self._report(kind, arg)
        elif kind <= Kind.CORRECT:
            self._change(kind, arg)
        elif kind <= Kind.CLEAR:
            self._of_venue(kind, arg)
        elif kind <= Kind.RESUME:
            self._of_client(kind, arg)
        else:
            due = self.day_end_ns if kind == Kind.DAY_END else int(next_deadline(self.arena.state))
            self._write(self.records.timer, -1, max(due, self.arena.now_ns))
            self._words[_word(Template.TIMER, "deadline_ns")] = due

    def _write(self, record: Record, session: int, now_ns: int = 0) -> None:
        self._bytes[: record.size] = record.raw
        words = self._words
        words[_EVENT_NS] = words[_RECV_NS] = now_ns or self.arena.now_ns
        if session >= 0:
            words[_SEQ] = self.arena.words[self._seq[session]] + 1
            self._halves[_EPOCH] = self.arena.words[self._epoch[session]]

    def _report(self, kind: Kind, n: int) -> None:
        g, at, words = self.ghost, a.child_at(n), self._words
        venue = g[at + a.VENUE]
        self._write(
            self.records.reports[_SAME_RECORD.get(kind, kind) if kind != Kind.END_TWICE else Kind.CANCELED][venue],
            1 + venue,
        )
        words[_ORDER_ID] = self.child_base | g[at + a.NUMBER]
        qty = 0
        if kind in (Kind.FILL_LOT, Kind.FILL_ALL, Kind.OVERFILL):
            qty = g[at + a.QTY] - g[at + a.HEARD] if kind == Kind.FILL_ALL else 1
            self._execute(kind, at, qty)
        elif kind == Kind.FILL_TWICE:
            qty = g[at + a.LAST]
            a.spend(g, a.DUPLICATES_LEFT)
        elif kind == Kind.CANCELED_AHEAD:
            g[at + a.OWED] = 1
            g[at + a.ENDED] = a.E_FILLED if g[at + a.HEARD] + 1 == g[at + a.QTY] else a.E_CANCELED
        elif kind == Kind.END_TWICE:
            a.spend(g, a.DUPLICATES_LEFT)
        else:
            self._answer(kind, at)
        cum = g[at + a.HEARD] + (g[at + a.OWED] if g[at + a.ENDED] else 0)
        if kind in (Kind.FILL_LOT, Kind.FILL_ALL, Kind.OVERFILL, Kind.FILL_TWICE):
            cum = g[at + a.HEARD]
            words[_EXEC_ID] = (n + 1) * 256 + cum
            words[_LAST_PX] = self._px(at)
            words[_LAST_QTY] = qty
        words[_CUM] = cum - g[at + a.UNDONE]
        words[_LEAVES] = 0 if g[at + a.ENDED] else g[at + a.QTY] - cum
        if kind in (Kind.STATUS_ENDED, Kind.END_TWICE):
            self.buffer[_ORD_STATUS] = _END_STATUS[g[at + a.ENDED]]
        elif kind == Kind.STATUS_LIVE and cum > 0:
            self.buffer[_ORD_STATUS] = OrdStatus.PARTIALLY_FILLED

    def _change(self, kind: Kind, n: int) -> None:
        """A venue takes its last execution of a child back, or all of it but a lot less."""
        g, at, words = self.ghost, a.child_at(n), self._words
        self._write(self.records.reports[kind][g[at + a.VENUE]], 1 + g[at + a.VENUE])
        stands = g[at + a.LAST] - 1 if kind == Kind.CORRECT else 0
        words[_ORDER_ID] = self.child_base | g[at + a.NUMBER]
        words[_REF_ID] = (n + 1) * 256 + g[at + a.HEARD]
        words[_CHANGE_ID] = words[_REF_ID] + _CHANGED
        words[_LAST_PX], words[_LAST_QTY] = self._px(at), stands
        a.undo(g, at, g[at + a.LAST] - stands)
        words[_CUM] = g[at + a.HEARD] - g[at + a.UNDONE]

    def _px(self, at: int) -> int:
        """Limit of a child."""
        return int(self.arena.words[self._child_px[self.ghost[at + a.NUMBER] & (len(self._child_px) - 1)]])

    def _rests(self, at: int) -> bool:
        """Whether a child may rest at its venue; one that is immediate may not."""
        tif = self.arena.bytes[self._child_tif[self.ghost[at + a.NUMBER] & (len(self._child_tif) - 1)]]
        return tif != Tif.IOC and tif != Tif.FOK

    def _execute(self, kind: Kind, at: int, qty: int) -> None:
        """A venue executes `qty`, and says so."""
        g = self.ghost
        g[at + a.HEARD] += qty
        g[at + a.LAST] = qty
        if kind == Kind.OVERFILL:
            g[a.LIED] += qty
            a.spend(g, a.LIES_LEFT)
        elif g[at + a.ENDED]:
            g[at + a.OWED] -= qty
        elif g[at + a.HEARD] == g[at + a.QTY]:
            g[at + a.ENDED] = a.E_FILLED

    def _answer(self, kind: Kind, at: int) -> None:
        """What an answer without an execution means. One that nobody waits for comes late, or twice."""
        g, asked = self.ghost, self.ghost[at + a.ASKED]
        if kind == Kind.ACK:
            if g[at + a.ENDED] or asked & a.ACKED:
                a.spend(g, a.DUPLICATES_LEFT)
            else:
                g[at + a.ASKED] |= a.ACKED
        elif kind == Kind.REJECT:
            g[at + a.ENDED] = a.E_REJECTED
        elif kind == Kind.CANCELED:
            g[at + a.ENDED] = a.E_CANCELED
        elif kind == Kind.EXPIRED:
            g[at + a.ENDED] = a.E_EXPIRED
            if not self._rests(at):
                a.spend(g, a.EXPIRIES_LEFT)
        elif not asked & (a.CANCEL_ASKED if kind == Kind.CANCEL_REJECT else a.STATUS_ASKED):
            a.spend(g, a.DUPLICATES_LEFT)
        elif kind == Kind.CANCEL_REJECT:
            g[at + a.ASKED] &= ~a.CANCEL_ASKED
        else:
            g[at + a.ASKED] &= ~a.STATUS_ASKED
            if kind == Kind.STATUS_ENDED and g[at + a.ENDED] == a.LIVE:
                g[at + a.ENDED] = a.E_CANCELED

    def _of_venue(self, kind: Kind, arg: int) -> None:
        g, v = self.ghost, arg & 15
        if kind >= Kind.GOOD_QUOTE:
            record = (
                self.records.quotes[arg]
                if kind == Kind.GOOD_QUOTE
                else (self.records.bad[v] if kind == Kind.BAD_QUOTE else self.records.clears[v])
            )
            self._write(record, -1)
            self._words[_SEQ] = self.arena.words[self._feed[v]] + 1
            a.spend(
                g, {Kind.GOOD_QUOTE: a.GOOD_QUOTES_LEFT, Kind.BAD_QUOTE: a.BAD_QUOTES_LEFT}.get(kind, a.CLEARS_LEFT)
            )
            return
        if kind == Kind.DOWN:
            self._write(self.records.downs[v], -1)
            a.spend(g, a.DOWNS_LEFT)
            return
        self._write(self.records.hellos[1 + v], 1 + v)
        if kind == Kind.RESTART:
            self._halves[_EPOCH] += 1
            self._words[_SEQ] = 1
            a.spend(g, a.RESTARTS_LEFT)

    def _of_client(self, kind: Kind, arg: int) -> None:
        g = self.ghost
        self._write(self.records.requests[kind, arg], CLIENT)
        if kind == Kind.CANCEL:
            g[a.CANCEL] = a.OPEN
        elif kind == Kind.REPLACE:
            g[a.REPLACE], g[a.NEW_QTY] = a.OPEN, arg
            a.spend(g, a.REPLACES_LEFT)
        else:
            g[a.CONTROLS] += 1
            if kind == Kind.PAUSE:
                a.spend(g, a.PAUSES_LEFT)
                g[a.RESUMES_LEFT] += 1
            else:
                g[a.RESUMES_LEFT] -= 1

    def put_back(self, kind: Kind, c: int) -> None:
        """Write that the child in slot c is rejected or cancelled, whatever the account says of it."""
        order, cum_qty = self.arena.arrays["child_orders"][c], int(self.arena.arrays["children"]["cum_qty"][c])
        venue = int(order["venue_id"])
        self._write(self.records.reports[Kind.CANCELED if cum_qty else kind][venue], 1 + venue)
        self._words[_ORDER_ID] = int(order["order_id"])
        self._words[_CUM], self._words[_LEAVES] = cum_qty, 0

    # ---- before it

    def prologue(self) -> Iterator[None]:
        """Write, one after another, the records up to the parent's ORDER_NEW; the caller steps after each."""
        r = self.records
        for session in range(1 + self.venues):
            self._write(r.hellos[session], session, START_NS)
            self._halves[_EPOCH] = 1
            yield
        for v, (px, lots) in enumerate(self.options.quotes):
            self._write(r.quote(v, px, lots), -1)
            self._words[_SEQ] = 1
            yield
        self._write(r.requests[None, 0], CLIENT)
        yield
