"""The rehearsal: before anything trades, every kernel is compiled or loaded, and run until it is warm.

A second state is built from the same configuration, with a journal in plain memory and no links, and a scripted session
is pumped through it: quotes, parents of all kinds, fills, rejects, timers. Then the loop itself runs once with its stop
flag set. Only after that does the host start the loop's thread, so no order can leave before.

Worst case: with an empty kernel cache this takes the compiler's time, about a minute; with a warm one, some
milliseconds beyond loading.
"""

from __future__ import annotations

import numpy as np

from engine.io.atomics import tsc
from engine.io.journal import JOURNAL, begin_segment
from engine.io.mapping import aligned_zeros
from engine.record import records as r
from engine.run.assemble import Loop, assemble
from engine.run.bind import Bound
from engine.run.config import Config
from engine.run.held import flush
from engine.run.inbox import drop_local, free_slot, put
from engine.run.reference import build_state, trading_day
from engine.run.wiring import FLAG_STOP

_SCRATCH_JOURNAL = 4 << 20
#: Rounds of the script: enough for branch predictors and caches, few enough to be unnoticed.
ROUNDS = 64
_START_NS = 1_000_000_000_000


def scratch_journal(size: int = _SCRATCH_JOURNAL) -> tuple[np.ndarray, np.ndarray]:
    """(table, memory) of a journal in plain memory; it has one segment and is never full in a rehearsal."""
    table, memory = aligned_zeros(1, JOURNAL), aligned_zeros(size // 8, np.dtype("<i8"))
    table[0]["segment_bytes"] = size
    begin_segment(table, int(memory.ctypes.data), 0)
    return table, memory


def rehearse(config: Config, bound: Bound, tsc_mul: int) -> int:
    """Run the script; returns the number of events that it pumped. Raises AssertionError where it did not route."""
    table, memory = scratch_journal()
    state = build_state(config, trading_day(config), 1)
    loop = assemble(config, state, table, stream_epoch=1, clock_offset_ns=0, tsc_mul=tsc_mul)
    script = _Script(loop, bound)
    for index, session in enumerate(config.session):
        script.send(r.Template.SESSION_UP, stream_id=index, stream_epoch=1, stream_seq=script.number(index))
        assert session.name
    for turn in range(ROUNDS):
        script.round(config, turn)
    loop.wiring.flags[FLAG_STOP // 8] = 1
    bound.loop.run_loop(*loop)
    loop.wiring.flags[FLAG_STOP // 8] = 0
    bound.loop.duty_cycle(*loop)
    flush(loop.events, loop.wiring, 0)  # what a halt calls from here
    assert len(memory)
    return script.pumped


class _Script:
    """Puts records into the local inbox of an assembled loop and pumps them."""

    def __init__(self, loop: Loop, bound: Bound) -> None:
        self.loop, self.bound = loop, bound
        self.pumped = 0
        self._numbers: dict[int, int] = {}
        self._now = _START_NS

    def number(self, stream: int) -> int:
        self._numbers[stream] = self._numbers.get(stream, 0) + 1
        return self._numbers[stream]

    def send(self, template: r.Template, **values: int) -> None:
        state, events, outbox, w = self.loop
        self._now += 1_000_000
        w.line[0].clock_ns = self._now
        i = free_slot(w)
        assert i >= 0
        put(events, w, i, int(template), r.DTYPES[template].itemsize)
        view = {
            r.Template.QUOTE: events.quote,
            r.Template.SESSION_UP: events.session,
            r.Template.ORDER_NEW: events.order,
            r.Template.ORDER_CANCEL: events.order,
        }.get(template, events.report)
        if template == r.Template.TIMER:
            view = events.timer
        for name, value in values.items():
            if name in ("cl_ord_id", "exec_id"):
                view[i][name][0] = value
            else:
                view[i][name] = value
        self.bound.pump.pump(state, events, i, outbox, w, tsc())
        drop_local(w)
        self.pumped += 1

    def round(self, config: Config, turn: int) -> None:
        """Quotes on all venues, one parent a side, an answer to each child, a timer."""
        state = self.loop.state
        lot = int(state.instruments[0].lot_qty)
        mid = min(1_000_000, int(state.instruments[0].max_px) // 2) // 10_000 * 10_000
        for venue in range(len(config.venue)):
            self.send(
                r.Template.QUOTE,
                venue_id=venue,
                stream_id=venue,
                stream_epoch=1,
                stream_seq=self.number(1000 + venue),
                bid_px=mid - 100,
                bid_qty=3 * lot,
                ask_px=mid + 100,
                ask_qty=3 * lot,
            )
        clients = [n for n, session in enumerate(config.session) if session.role == "client"]
        for client in clients[:1]:
            for side in (r.Side.BUY, r.Side.SELL):
                self._order(client, 2 * turn + int(side == r.Side.BUY) + 1, int(side), mid, lot)
        self.send(r.Template.TIMER, deadline_ns=self._now)

    def _order(self, client: int, number: int, side: int, mid: int, lot: int) -> None:
        self.send(
            r.Template.ORDER_NEW,
            stream_id=client,
            stream_epoch=1,
            stream_seq=self.number(client),
            cl_ord_id=number,
            px=mid + (10_000 if side == r.Side.BUY else -10_000),
            qty=4 * lot,
            side=side,
            ord_type=int(r.OrdType.LIMIT),
            tif=int(r.Tif.IOC),
        )
        self._answer()

    def _answer(self) -> None:
        """Fill the live children."""
        state = self.loop.state
        for slot in np.flatnonzero(state.children["leaves_qty"]):
            child = state.children[slot]
            order = state.child_orders[slot]
            session = int(state.venues[int(order.venue_id)].session)
            number = self.number(session)
            self.send(
                r.Template.FILL,
                stream_id=session,
                stream_epoch=1,
                stream_seq=number,
                venue_id=int(order.venue_id),
                order_id=int(order.order_id),
                instrument_id=int(order.instrument_id),
                exec_id=number,
                last_px=int(order.px),
                last_qty=int(child.leaves_qty),
                liquidity=2,
            )
