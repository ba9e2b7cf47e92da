"""A slow, obvious backtest: a list of what is due, sorted again at each step. What the kernel is held to.

It takes the engine's own `step` and the venues' own kernels, and none of the backtest's: what it checks is the order of
things, their times and numbers, and that each input and output is written down once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.core.limits import OUTBOX
from engine.core.state import make_outbox, view_events
from engine.core.step import next_deadline
from engine.io.journal_format import Kind
from engine.record.records import (
    DTYPES,
    RECORD_MAX,
    SBE_HEADER_SIZE,
    UNIT,
    OrdType,
    Reason,
    Template,
    blank,
    text16,
)
from engine.run import manifest
from engine.run.bind import bind
from engine.run.config import Config
from engine.run.control import mass_cancel_record
from gateways.feeds.recording import Recording
from gateways.inbox import out_slots, view_inbox
from gateways.orders.parents import Parent
from gateways.venues import exchange
from gateways.venues.ids import draw, splitmix64
from gateways.venues.state import create

VENUE, FEED, ENGINE, PARENT, TIMER = range(5)


class Naive:
    """Plays a day; `frames` is what a journal should say."""

    def __init__(
        self,
        config: Config,
        day: Recording,
        parents: list[Parent],
        latency_ns: int,
        tail_ns: int,
        latencies: list[int] | None = None,
    ) -> None:
        self.latencies, self.last_market = latencies or [], 0
        self.config, self.day, self.latency_ns = config, day, latency_ns
        self.epoch = day.first_ns // 10**9
        self.state = manifest.make(config, self.epoch, 0).initial_state()
        self.step = bind(config.routing.strategy).step
        self.buffer = np.zeros(3 * UNIT, dtype=np.uint8)
        self.events, self.outbox = view_events(self.buffer), make_outbox(OUTBOX)
        self.exchange = create(config, epoch=self.epoch)
        self.now = day.first_ns
        self.frames: list[tuple[Kind, bytes]] = []
        self.numbers: dict[Any, int] = {}
        codes = sorted(range(len(config.venue)), key=lambda v: config.venue[v].code)
        self.records = [self._record(n) for n in range(day.count)] + [self._clear(v) for v in codes]
        self.parents = sorted(parents, key=lambda parent: parent.at_ns)
        self.end = day.last_ns + (latencies[-1] if latencies else latency_ns) + tail_ns

    def _record(self, n: int) -> np.ndarray:
        raw = self.day.data[int(self.day.offsets[n]) : int(self.day.offsets[n + 1])]
        return raw.view(DTYPES[Template(int(raw.view("<u2")[1]))]).copy()

    def _clear(self, venue: int) -> np.ndarray:
        clear = blank(Template.CLEAR)
        clear["venue_id"], clear["instrument_id"], clear["reason"] = venue, -1, Reason.DAY_END
        clear["ts_event_ns"] = self.day.last_ns
        return clear

    def run(self) -> None:
        """All of it."""
        self._sample()
        for session in sorted(range(len(self.config.session)), key=lambda n: self.config.session[n].name):
            hello = blank(Template.SESSION_UP)
            hello["session_id"], hello["ts_event_ns"] = session, self.now
            self.take(hello, session)
        self.seen = self.told = self.sent = 0
        self._until(self.end)
        if self.state.core[0].live_parents > 0:
            self.now = self.end
            cancel = mass_cancel_record()
            cancel["ts_event_ns"] = self.now
            self.take(cancel)
            self._until(self.now + 60 * 10**9)
        self._sample()

    def _until(self, end: int) -> None:
        """All that is due until then."""
        while True:
            due: list[tuple[int, int]] = [(int(exchange.next_due(self.exchange)), VENUE)]
            due.append((int(next_deadline(self.state)), TIMER))
            if self.seen < len(self.records):
                due.append((int(self.records[self.seen]["ts_event_ns"][0]), FEED))
            if self.told < self.seen:
                due.append((self._arrival(self.records[self.told]), ENGINE))
            if self.sent < len(self.parents):
                due.append((self.parents[self.sent].at_ns, PARENT))
            at, what = min(due)
            if at > end:
                break
            self.now = max(self.now, at)
            if what == VENUE:
                self.reports(at)
            elif what == FEED:
                self.feed(self.records[self.seen])
                self.seen += 1
            elif what == ENGINE:
                self.last_market = at
                self.market(self.records[self.told])
                self.told += 1
            elif what == PARENT:
                self.parent(self.parents[self.sent])
                self.sent += 1
            else:
                timer = blank(Template.TIMER)
                timer["deadline_ns"], timer["ts_event_ns"] = at, self.now
                self.take(timer)

    def _arrival(self, record: np.ndarray) -> int:
        """When a record reaches the engine."""
        sent = int(record["ts_event_ns"][0])
        if not self.latencies:
            return sent + self.latency_ns
        number = self.numbers.get(("feed", int(record["venue_id"][0])), 0)
        drawn = draw(splitmix64(self.config.simulation.seed), sent, number) * len(self.latencies) >> 63
        return max(sent + self.latencies[drawn], self.last_market)

    def reports(self, at: int) -> None:
        """What the venues have to say at a time."""
        out = out_slots(256)
        assert exchange.advance(self.exchange, out, at)
        count = int(self.exchange.core[0]["out_count"])
        self.exchange.core[0]["out_count"] = 0
        for n in range(count):
            self.take(out[n : n + 1].copy(), int(self.state.venues[int(out[n]["venue_id"])].session))

    def feed(self, record: np.ndarray) -> None:
        """A record reaches its venue."""
        inbox = np.zeros(3 * UNIT, dtype=np.uint8)
        inbox[: record.nbytes] = record.view(np.uint8)
        units = record.nbytes // UNIT
        assert exchange.ingest(self.exchange, view_inbox(inbox), 0, units, 0, out_slots(1)) == units
        assert self.exchange.core[0]["out_count"] == 0

    def market(self, record: np.ndarray) -> None:
        """A record reaches the engine."""
        again = record.copy()
        venue = int(again["venue_id"][0])
        number = self.numbers["feed", venue] = self.numbers.get(("feed", venue), 0) + 1
        again["stream_id"], again["stream_epoch"], again["stream_seq"] = venue, self.epoch, number
        self.take(again)

    def parent(self, parent: Parent) -> None:
        """A client's order reaches the engine."""
        order = blank(Template.ORDER_NEW)
        order["cl_ord_id"], order["side"], order["qty"] = text16(parent.cl_ord_id), parent.side, parent.qty
        order["px"], order["tif"], order["ord_type"] = parent.px, parent.tif, OrdType.LIMIT
        order["instrument_id"], order["capacity"], order["ts_event_ns"] = parent.instrument_id, ord("A"), parent.at_ns
        self.take(order, next(n for n, session in enumerate(self.config.session) if session.role == "client"))

    def take(self, record: np.ndarray, session: int = -1) -> None:
        """Through `step`, and what comes of it to the venues."""
        if session >= 0:
            self.numbers[session] = self.numbers.get(session, 0) + 1
            record["stream_id"], record["stream_epoch"] = session, self.epoch
            record["stream_seq"] = self.numbers[session]
        record["ts_recv_ns"] = self.now
        self.frames.append((Kind.INPUT, record.tobytes()))
        self.buffer[: record.nbytes] = record.view(np.uint8)
        count = int(self.step(self.state, self.events, 0, self.outbox))
        raw = self.outbox.words.view(np.uint8)
        for k in range(count):
            size = int(self.outbox.head[k]["block_length"]) + SBE_HEADER_SIZE
            data = raw[k * RECORD_MAX : k * RECORD_MAX + size].tobytes()
            self.frames.append((Kind.OUTPUT, data))
            template, to = int(self.outbox.head[k]["template_id"]), int(self.outbox.head[k]["stream_id"])
            if to >= 0 and self.config.session[to].role == "venue" and 16 <= template <= 20:
                inbox = np.zeros(3 * UNIT, dtype=np.uint8)
                inbox[:size] = np.frombuffer(data, dtype=np.uint8)
                assert exchange.submit(self.exchange, view_inbox(inbox), 0)

    def _sample(self) -> None:
        sample = blank(Template.CLOCK_SAMPLE)
        for name in ("ts_event_ns", "clock_ns", "realtime_ns"):
            sample[name] = self.now
        self.frames.append((Kind.OBSERVATION, sample.tobytes()))
