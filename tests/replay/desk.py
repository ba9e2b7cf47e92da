"""A desk for tests: a synthetic day, parents and simulated venues played through the core, with or without a journal.

`Desk(config).play(...)` drives `step` itself; with a run directory it pumps the same inputs through the assembled loop,
so that a journal and a stats file come out like a live run's. Time is the feed's: venues answer after their latency,
timers fire when they are due, ties go to the venues. The same arguments give the same inputs and outputs, in any mode.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine.core.limits import OUTBOX
from engine.core.state import make_outbox, view_events
from engine.core.step import next_deadline
from engine.io.atomics import monotonic_ns, realtime_ns, tsc
from engine.io.journal_format import LAST
from engine.io.journal_sync import Syncer
from engine.io.journal_writer import JournalWriter
from engine.io.mapping import aligned_zeros
from engine.io.stats_file import StatsWriter
from engine.record.records import (
    DTYPES,
    RECORD_MAX,
    SBE_HEADER_SIZE,
    UNIT,
    ControlAction,
    OrdType,
    Reason,
    Side,
    Template,
    Tif,
    blank,
    text16,
)
from engine.run import config as c
from engine.run import manifest
from engine.run.assemble import Figures, assemble, calibrate_tsc
from engine.run.bind import bind
from engine.run.held import flush
from engine.run.journaling import OBSERVATION, journal
from engine.run.publish import PUBLISHED, publish
from engine.run.reference import build_state
from engine.run.rehearse import scratch_journal
from engine.run.wiring import PROGRESS, STAGES
from gateways.feeds import synthetic
from gateways.feeds.draws import below, draw
from gateways.feeds.names import TAQ_CODES, Names
from gateways.feeds.recording import Recording
from gateways.inbox import out_slots, view_inbox
from gateways.venues import exchange
from gateways.venues.state import create

DAY = "2018-01-02"
_MICS = {
    "N": "XNYS", "Y": "BATY", "B": "XBOS", "P": "ARCX", "T": "XNAS", "Z": "BATS", "K": "EDGX", "X": "XPSX",
    "V": "IEXG", "J": "EDGA", "A": "XASE", "M": "XCHI",
}  # fmt: skip
#: (take, make) in dollars a share: the usual, the inverted, the flat.
_FEES = {"Y": ("-0.0005", "0.0018"), "B": ("-0.0004", "0.0020"), "J": ("-0.0002", "0.0015"), "V": ("0.0009", "0.0009")}
_CLIENT = 0


def config(run_dir: str = "unused", **routing: Any) -> c.Config:
    """Twelve venues on one session, one client, one stock with penny ticks; more faults than any desk would bear."""
    settings: dict[str, Any] = {"stale_ms": 60_000, "day_end": "21:00:00", "child_timeout_ms": 1000} | routing
    return c.Config(
        engine=c.Engine(run_dir=run_dir, clock="feed", trading_day=DAY),
        orders=c.Orders(endpoint="ipc:///unused"),
        feed=[],
        session=[c.Session(name="desk", role="client"), c.Session(name="venues", role="venue")],
        venue=[
            c.Venue(
                mic=_MICS[code],
                code=code,
                session="venues",
                take_fee=_FEES.get(code, ("0.0030", ""))[0],
                make_fee=_FEES.get(code, ("", "-0.0020"))[1],
                latency_us=100 + 10 * index,
            )
            for index, code in enumerate(TAQ_CODES)
        ],
        instrument=[c.Instrument(symbol="XXX", mic="XNYS", px_decimals=4, tick_table="us", odd_lots=True)],
        tick_table=[c.TickTable(name="us", rows=[("0", "0.0001"), ("1", "0.01")])],
        capacity=c.Capacity(instruments=1, venues=12, parents=512, children=2048, executions=4096, accounts=1),
        journal=c.Journal(segment_mib=1),
        routing=c.Routing(**settings),
        risk=c.Risk(**c.ALL_OFF, max_qty="20000", max_notional="2000000", collar_bps=500, reference_age_ms=600_000),
        simulation=c.Simulation(
            seed=7, orders=1 << 13, reject_ppm=50_000, partial_ppm=100_000, lost_order_ppm=20_000, lost_ack_ppm=20_000
        ),
    )


def parents(day: Recording, count: int, seed: int = 1) -> list[tuple[int, np.ndarray]]:
    """(time, record) of a client's requests over a day: mixed orders, replaces, cancels, pauses and bad ones."""
    span = day.last_ns - day.first_ns
    bids = day.records(Template.QUOTE)
    found = []
    for n in range(count):
        word, other = draw(seed, 900, n, 0)
        kind, px_word = draw(seed, 900, n, 1)
        at = day.first_ns + span // 50 + below(word, 1 << 16) * (span * 9 // 10 >> 16)
        row = bids[min(int(np.searchsorted(bids["ts_event_ns"], at)), len(bids) - 1)]
        side = Side.BUY if other & 1 else Side.SELL
        mid = (int(row["bid_px"]) + int(row["ask_px"])) // 200 * 100
        px = mid + (1 if side == Side.BUY else -1) * 100 * (below(px_word, 12) - 4)
        tif = [Tif.IOC, Tif.IOC, Tif.DAY, Tif.DAY, Tif.FOK, Tif.GTC][below(kind, 6)]
        order = _order(Template.ORDER_NEW, n, side, px, 100 * (1 + below(other, 30)), tif)
        if n % 6 == 5:  # a dollar and a half away: it expires
            order["px"] += -15_000 if side == Side.BUY else 15_000
            order["tif"] = tif = Tif.DAY
        if n % 37 == 11:
            order["px"] += 1  # off its tick
        if n % 29 == 12:
            order["qty"] = 30_000  # beyond risk.max_qty
        found.append((at, order))
        if tif in (Tif.DAY, Tif.GTC):
            found += _requests(n, at, span, order)
    return sorted(found, key=lambda item: item[0])


def _order(template: Template, n: int, side: int, px: int, qty: int, tif: int) -> np.ndarray:
    order = blank(template)
    order["cl_ord_id"] = text16(f"P{n:06d}")
    order["side"], order["px"], order["qty"], order["tif"] = side, px, qty, tif
    order["ord_type"], order["capacity"] = OrdType.LIMIT, ord("A")
    return order


def _requests(n: int, at: int, span: int, order: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """What the client asks for later: every fourth is replaced, every fifth cancelled, every seventh paused."""
    if n % 4 == 0:
        again = order.copy()
        again["template_id"] = Template.ORDER_REPLACE
        again["qty"] += 500
        again["px"] += 100
        yield at + span // 100, again
    if n % 5 == 0:
        cancel = order.copy()
        cancel["template_id"] = Template.ORDER_CANCEL
        yield at + span // 20, cancel
    if n % 7 == 0:
        for step, action in enumerate((ControlAction.PAUSE, ControlAction.RESUME)):
            control = blank(Template.CONTROL)
            control["cl_ord_id"] = order["cl_ord_id"]
            control["action"] = action
            yield at + (1 + step) * span // 200, control


class Desk:
    """One engine and its venues. With `run_dir` everything is journaled there; `close` ends it in order."""

    def __init__(self, settings: c.Config, run_dir: Path | None = None) -> None:
        self.config = settings
        self.bound = bind(settings.routing.strategy)
        self.exchange = create(settings, flight=1 << 12)
        self._out = out_slots(256)
        self._buffer = np.zeros(2 * UNIT + UNIT, dtype=np.uint8)
        self._inbox = view_inbox(self._buffer)
        self._numbers = [0] * len(settings.session)
        self.now_ns = 0
        self.digest = hashlib.sha256()
        self.inputs = self.outputs = 0
        self.writer: JournalWriter | None = None
        if run_dir is None:
            self.state = build_state(settings, dt.date.fromisoformat(DAY), 1)
            self._memory = aligned_zeros(3 * UNIT, np.dtype(np.uint8))
            self.events, self.outbox = view_events(self._memory), make_outbox(OUTBOX)
        else:
            self._open(run_dir)
        for session in range(len(settings.session)):
            self.take(blank(Template.SESSION_UP), session)

    def _open(self, run_dir: Path) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        run = manifest.make(msgspec.structs.replace(self.config), 1, 0)
        self.stats = StatsWriter(run_dir / "stats", {name: name for name in PUBLISHED}, {"progress": PROGRESS}, STAGES)
        self.writer = JournalWriter(run_dir, self.config.journal.segment_mib << 20, manifest.to_bytes(run))
        self.syncer = None
        if self.config.journal.durability == "disk":
            self.syncer = Syncer(run_dir, self.writer.table)
            self.syncer.start()
        self.state = run.initial_state()
        loop = assemble(
            self.config,
            self.state,
            self.writer.table,
            stream_epoch=1,
            clock_offset_ns=0,
            tsc_mul=calibrate_tsc(),
            figures=Figures(
                published=self.stats.counters.view("<i8"),
                hist=self.stats.histograms.reshape(-1),
                progress=self.stats.records["progress"].fields,
                progress_lock=np.zeros(1, dtype=np.int64),
            ),
            sync=self.syncer.table if self.syncer is not None else None,
        )
        self.events, self.outbox, self.wiring = loop.events, loop.outbox, loop.wiring
        self._memory = self.events.words.view(np.uint8)
        self._warm_up()

    def _warm_up(self) -> None:
        """Compile the pump before anything is timed: one record that changes nothing, on a journal in memory."""
        table, memory = scratch_journal()
        loop = assemble(self.config, build_state(self.config, dt.date.fromisoformat(DAY), 1), table,
                        stream_epoch=1, clock_offset_ns=0, tsc_mul=1)  # fmt: skip
        self.bound.pump.pump(loop.state, loop.events, 0, loop.outbox, loop.wiring, tsc())
        assert len(memory)

    def take(self, record: np.ndarray, session: int = -1) -> int:
        """Give one record to the core at `now_ns`, numbered on its session; returns the number of outputs."""
        size = record.dtype.itemsize
        head = self.events.head[0]
        self._memory[:size] = record.view(np.uint8)[:size]
        head["ts_recv_ns"] = self.now_ns
        if session >= 0:
            self._numbers[session] += 1
            head["stream_id"], head["stream_epoch"], head["stream_seq"] = session, 1, self._numbers[session]
        if self.writer is None:
            self.bound.step(self.state, self.events, 0, self.outbox)
        else:
            self.wiring.line[0]["clock_ns"] = self.now_ns
            self.bound.pump.pump(self.state, self.events, 0, self.outbox, self.wiring, tsc())
        self.inputs += 1
        return self._give()

    def _give(self) -> int:
        """Hash the outputs, and hand child orders to the venues."""
        count = int(self.outbox.count[0])
        raw = self.outbox.words.view(np.uint8)
        for k in range(count):
            size = int(self.outbox.head[k]["block_length"]) + SBE_HEADER_SIZE
            record = raw[k * RECORD_MAX : k * RECORD_MAX + size]
            self.digest.update(record.tobytes())
            head = self.outbox.head[k]
            if Template.ORDER_NEW <= head["template_id"] <= Template.STATUS_REQUEST and head["stream_id"] != _CLIENT:
                self._buffer[:RECORD_MAX] = record
                assert exchange.submit(self.exchange, self._inbox, 0)
        self.outputs += count
        return count

    def until(self, time_ns: int) -> None:
        """Let venues answer and timers fire up to a time."""
        while True:
            due, deadline = int(exchange.next_due(self.exchange)), int(next_deadline(self.state))
            first = min(due, deadline)
            if first > time_ns:
                break
            self.now_ns = max(self.now_ns, first)
            if due <= deadline:
                exchange.advance(self.exchange, self._out, due)
                self._reports()
            else:
                timer = blank(Template.TIMER)
                timer["deadline_ns"] = deadline
                self.take(timer)
        self.now_ns = max(self.now_ns, time_ns)

    def _reports(self) -> None:
        count = int(self.exchange.core[0]["out_count"])
        reports = self._out[:count].copy()
        self.exchange.core[0]["out_count"] = 0
        for n in range(count):
            venue = int(reports[n]["venue_id"])
            self.take(reports[n : n + 1], int(self.exchange.venues[venue]["session"]))

    def play(self, day: Recording, requests: list[tuple[int, np.ndarray]]) -> str:
        """Play a day with a client's requests, then its end; SHA-256 over all outputs so far, in hex."""
        waiting = iter(requests)
        at, request = next(waiting, (1 << 62, None))
        starts = day.offsets.tolist()
        for n, time_ns in enumerate(day.times.tolist()):
            while at <= time_ns and request is not None:
                self.until(at)
                self.take(request, _CLIENT)
                at, request = next(waiting, (1 << 62, None))
            self.until(time_ns)
            self._market(day.data[starts[n] : starts[n + 1]])
            if n % 1024 == 0:
                self._sample()
        self._end(day)
        return self.digest.hexdigest()

    def _market(self, raw: np.ndarray) -> None:
        kind = DTYPES[Template(int(raw.view("<u2")[1]))]
        self._buffer[: len(raw)] = raw
        taken = exchange.ingest(self.exchange, self._inbox, 0, len(raw) // UNIT, 0, self._out)
        assert taken == len(raw) // UNIT
        self.take(raw.view(kind))

    def _end(self, day: Recording) -> None:
        """The feed's last word is a CLEAR for each venue; then the day ends."""
        for venue in range(len(self.config.venue)):
            clear = blank(Template.CLEAR)
            clear["instrument_id"], clear["venue_id"], clear["stream_id"] = -1, venue, venue
            clear["stream_seq"] = int((day_venues(day) == venue).sum()) + 1
            clear["reason"], clear["ts_event_ns"] = Reason.DAY_END, self.now_ns
            self._market(clear.view(np.uint8))
        end_ns = int(self.state.params[0]["day_end_ns"])
        self.until(end_ns + 10_000_000_000)
        self._sample()

    def _sample(self) -> None:
        """A clock sample on the journal, as the loop's housekeeping writes them."""
        if self.writer is None:
            return
        sample = self.wiring.sample[0]
        sample["ts_event_ns"] = sample["clock_ns"] = self.now_ns
        sample["realtime_ns"], sample["tsc"] = realtime_ns(), tsc()
        journal(self.wiring, OBSERVATION, LAST, 0, -1, int(self.wiring.sample.ctypes.data), UNIT)

    def close(self) -> None:
        """Publish the last figures and close the journal."""
        if self.writer is not None:
            assert flush(self.events, self.wiring, 0) == 0
            if self.syncer is not None:
                self.syncer.stop()
            publish(self.state, self.wiring)
            self.stats.beat(monotonic_ns())
            self.writer.close()
            self.stats.close()


def day_venues(day: Recording) -> np.ndarray:
    """Venue of each record of a day."""
    venues: np.ndarray = day.data.view("<i2")[day.offsets[:-1] // 2 + 7]
    return venues


def record_day(
    run_dir: Path, quotes: int = 4000, trades: int = 1000, orders: int = 80, durability: Any = "process", **routing: Any
) -> Desk:
    """A whole journaled run of a synthetic day in `run_dir`; returns the closed desk."""
    settings = config(str(run_dir), **routing)
    settings = msgspec.structs.replace(
        settings, journal=msgspec.structs.replace(settings.journal, durability=durability)
    )
    day = synthetic.generate(seed=1, names=Names.of(settings), quotes=quotes, trades=trades)
    desk = Desk(settings, run_dir)
    desk.play(day, parents(day, orders))
    desk.close()
    return desk
