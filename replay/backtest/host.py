"""One backtest: makes the run directory, lets virtual time pass through the kernel, and ends it in order.

    hellos of all sessions and opening positions; the feed, parents, timers; a CLEAR of each venue when the feed ends;
    the end of the day and a tail; a mass cancel of what is still open; the journal is closed.

The run directory is a live run's: journal with its manifest, stats file. Nothing in the journal comes from a clock of
this machine, so the same configuration, feed and parents give the same frames.

Worst case: the disk is slower than the engine, which then waits for its next segment.
"""

from __future__ import annotations

import datetime as dt
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np

from engine.core.limits import MAX_SESSIONS
from engine.core.state import state_hash
from engine.errors import TickrouteError
from engine.io.atomics import address_of, monotonic_ns
from engine.io.journal import append
from engine.io.journal_format import LAST, Kind
from engine.io.journal_writer import JournalWriter
from engine.io.mapping import aligned_zeros
from engine.io.stats_file import StatsWriter
from engine.record.records import UNIT, Reason, Template, blank, text16
from engine.run import manifest, positions
from engine.run.assemble import Figures, Loop, assemble
from engine.run.bind import bind
from engine.run.config import Config
from engine.run.control import mass_cancel_record
from engine.run.halt import halt, write_text
from engine.run.publish import PUBLISHED, publish
from engine.run.wiring import L_INPUTS, L_OUTPUTS, PROGRESS, STAGES
from gateways.inbox import out_slots, view_inbox
from gateways.orders.parents import Parent, ParentError
from gateways.venues.ids import splitmix64
from gateways.venues.state import Depth, create
from replay.backtest import course as course_file
from replay.backtest import drive as drive_file
from replay.backtest.course import LINE, REPORTS, Course, make_touches, with_more_touches
from replay.backtest.outcome import Losses, Outcome, losses_of
from replay.backtest.window import Array, Window
from replay.written import bind_file

#: What the kernel's file imports of its own floor.
COMPANIONS: Final = {"replay.backtest.course": Path(course_file.__file__)}
#: Things that happen between two looks of the host.
SLICE: Final = 1 << 18
#: Quotes that may be under way to the engine, at first.
TOUCHES: Final = 1 << 12
#: Later than all times.
NO_END: Final = 1 << 61
_SECOND_NS: Final = 1_000_000_000
#: Time after the last cancel in which what lives may still end.
_GRACE_S: Final = 60
_PATIENCE_S: Final = 60.0


class BacktestError(TickrouteError):
    """A backtest that cannot go on; the message says what, where, and what to do."""


class Progress(NamedTuple):
    """How far a backtest is: bytes of the feed taken, inputs journaled, virtual time."""

    taken: int
    inputs: int
    now_ns: int


Watch = Callable[[Progress], None]


class Feed(NamedTuple):
    """What is played: chunks as `window` has them, the time of the first record (ns), and their bytes, about.

    follows: by venue * instruments + instrument, 1 where quotes are to be derived from the levels; empty is nowhere.
    """

    chunks: Iterator[Array]
    first_ns: int
    size: int
    follows: Array = np.zeros(0, dtype=np.int64)


class Terms(NamedTuple):
    """What a backtest has beside its run's configuration, in ns."""

    feed_latency_ns: int = 0
    tail_ns: int = 10 * _SECOND_NS
    #: Quantiles of the feed's latency (gateways.venues.latency), in its place; empty is none.
    feed_latencies: Array = np.zeros(0, dtype=np.int64)

    @property
    def longest_ns(self) -> int:
        """The longest that a record takes to the engine."""
        return int(self.feed_latencies[-1]) if len(self.feed_latencies) else self.feed_latency_ns


class Host:
    """See the module. `run` once, then `close`; a context manager, which removes the run where Ctrl-C ends it.

    `config` names an empty run directory and a day.
    """

    def __init__(self, config: Config, feed: Feed, parents: list[Parent], terms: Terms) -> None:
        self.config, self.feed, self.terms = config, feed, terms
        self.run_dir = Path(config.engine.run_dir)
        self.bound = bind(config.routing.strategy)
        self.drive = bind_file(self.bound, Path(drive_file.__file__), "backtest", COMPANIONS.values())
        self.epoch = max(feed.first_ns // _SECOND_NS, 1)
        orders = _parent_records(config, parents, feed.first_ns)
        with ExitStack() as stack:
            self._open(stack)
            self._closing = stack.pop_all()
        self.course = self._course(orders)
        codes = sorted(range(len(config.venue)), key=lambda v: config.venue[v].code)
        self.window = Window(feed.chunks, lambda last_ns: _clears(codes, max(last_ns, feed.first_ns)))
        self._seconds = 0.0
        #: Called when all is over, with what the venues lost known.
        self.then: Callable[[], None] = lambda: None

    def _open(self, stack: ExitStack) -> None:
        if (self.run_dir / "journal").exists():
            raise BacktestError(f"{self.run_dir}: a run is there already; name another directory, or remove it")
        self._there = self.run_dir.exists()
        self.run_dir.mkdir(parents=True, exist_ok=True)
        try:
            self._fill(stack)
        except BaseException:
            stack.close()
            self._discard()
            raise

    def _discard(self) -> None:
        """Remove what was made: half a backtest is not to be taken for a whole one, and can be had again."""
        names = ("journal", "stats", "lock", "backtest.json", "halted.txt")
        for path in [self.run_dir / name for name in names] if self._there else [self.run_dir]:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _fill(self, stack: ExitStack) -> None:
        """All that a run has before it begins; where it fails, `_open` removes what was made."""
        config = self.config
        run = msgspec.structs.replace(
            manifest.make(config, self.epoch, 0),
            started_utc=dt.datetime.fromtimestamp(self.epoch, dt.UTC).isoformat(timespec="seconds"),
            boot_id="0" * 32,
        )
        state = run.initial_state()
        self._openings = positions.read(config, state)
        words = {name: name.replace("_", " ") for name in PUBLISHED}
        self.stats = StatsWriter(self.run_dir / "stats", words, {"progress": PROGRESS}, STAGES)
        stack.callback(self.stats.close)
        self.journal = JournalWriter(self.run_dir, config.journal.segment_mib << 20, manifest.to_bytes(run))
        stack.callback(self.journal.close)
        figures = Figures(
            published=self.stats.counters.view("<i8"),
            hist=self.stats.histograms.reshape(-1),
            progress=self.stats.records["progress"].fields,
            progress_lock=np.zeros(1, dtype=np.int64),
        )
        self.loop: Loop = assemble(
            config, state, self.journal.table, stream_epoch=self.epoch, clock_offset_ns=0, tsc_mul=1, figures=figures
        )
        self.sent = view_inbox(self.loop.outbox.words.view(np.uint8))
        flight = min(max(1 << 15, 8 * config.capacity.children), 1 << 20)
        depth = Depth() if config.simulation.depth else None
        self.exchange = create(config, epoch=self.epoch, flight=flight, depth=depth)

    def _course(self, orders: Array) -> Course:
        touches, self._touches = make_touches(TOUCHES if len(self.feed.follows) else 1)
        course = Course(
            line=aligned_zeros(1, LINE),
            follows=self.feed.follows,
            touches=touches,
            places=np.zeros(len(touches), dtype=np.int64),
            parents=orders,
            reports=out_slots(REPORTS),
            session_seqs=aligned_zeros(MAX_SESSIONS, np.dtype("<i8")),
            feed_seqs=aligned_zeros(len(self.config.venue), np.dtype("<i8")),
            latencies=self.terms.feed_latencies,
        )
        line = course.line[0]
        line.touch_address = address_of(touches)
        line.latency_ns, line.epoch = self.terms.feed_latency_ns, self.epoch
        line.now_ns, line.seed = self.feed.first_ns, splitmix64(self.config.simulation.seed)
        return course

    def run(self, watch: Watch | None = None) -> Outcome:
        """Play the feed to its end; `watch` is called a few times a second. BacktestError where it cannot go on."""
        line = self.course.line[0]
        began = time.perf_counter()
        try:
            self._begin()
            self._go(0)
            began = time.perf_counter()  # all is compiled or loaded by now
            self._until(NO_END, watch)
            if self.loop.state.core[0].live_parents > 0:
                line.now_ns = max(int(line.now_ns), int(line.end_ns))
                self._take(mass_cancel_record())
                self._until(int(line.now_ns) + _GRACE_S * _SECOND_NS, watch)
        except BacktestError:
            raise
        except (AssertionError, IndexError, OverflowError, ZeroDivisionError) as error:
            halted = halt(self.loop, self.bound.pump, Reason.BROKEN_INVARIANT, error)
            write_text(self.run_dir, halted, error)
            raise BacktestError(
                f"{self.run_dir}: the core raised at input {halted.input_seq}: {halted.why}; halted.txt has the place"
            ) from error
        self._sample()
        publish(self.loop.state, self.loop.wiring)
        self._seconds = time.perf_counter() - began
        self.then()
        return self._outcome()

    def losses(self) -> Losses:
        """What the venues could not do so far."""
        return losses_of(self.exchange, self.config)

    def _begin(self) -> None:
        """Clock, hellos in the order of the sessions' names, opening positions."""
        self.loop.wiring.line[0].clock_ns = self.feed.first_ns
        self._sample()
        for index in sorted(range(len(self.config.session)), key=lambda n: self.config.session[n].name):
            hello = blank(Template.SESSION_UP)
            hello["session_id"] = index
            self._take(hello, index)
        for row in self._openings:
            load = blank(Template.POSITION_LOAD)
            load["account_id"], load["instrument_id"] = row.account, row.instrument
            load["qty"], load["px"], load["flags"] = row.qty, row.px, row.flags
            self._take(load)

    def _take(self, record: Array, session: int = -1) -> None:
        """Take a record of the driver's own in, now."""
        state, events, outbox, w = self.loop
        record["ts_event_ns"] = self.course.line[0].now_ns
        events.words[: record.nbytes // 8] = record.view("<i8")
        why = self.drive.tell(state, events, outbox, self.sent, w, self.exchange, self.course, session)
        if why != self.drive.WORKED:
            raise self._wrong(why)

    def _until(self, end_ns: int, watch: Watch | None) -> None:
        """Let time pass up to `end_ns`, or (NO_END) as long as the feed goes on, and then to its end."""
        d, line = self.drive, self.course.line[0]
        line.end_ns = end_ns
        while True:
            why = self._go(SLICE)
            if why == d.OVER:
                break
            if why == d.NEED_DATA:
                self.window.refill(line)
                if self.window.finished and line.end_ns == NO_END:
                    line.end_ns = self._end_ns()
            elif why == d.NEED_SEGMENT:
                self._await_segment()
            elif why == d.NEED_TOUCHES:
                self.course, self._touches = with_more_touches(self.course)
            elif why != d.WORKED:
                raise self._wrong(why)
            self._look(watch)
        self._look(watch)

    def _go(self, most: int) -> int:
        state, events, outbox, w = self.loop
        market, feed = self.window.market, self.window.feed
        touches, ex = self._touches, self.exchange
        return int(self.drive.go(state, market, feed, touches, events, outbox, self.sent, w, ex, self.course, most))

    def _end_ns(self) -> int:
        """When a feed that has come to its end is over: its last record, the end of its day, and the tail."""
        over_ns = max(int(self.course.line[0].last_ns), self.feed.first_ns) + self.terms.longest_ns
        day_end_ns = int(self.loop.state.params[0].day_end_ns)
        if day_end_ns < over_ns + 86_400 * _SECOND_NS:
            over_ns = max(over_ns, day_end_ns)
        return over_ns + self.terms.tail_ns

    def _look(self, watch: Watch | None) -> None:
        publish(self.loop.state, self.loop.wiring)
        self.stats.beat(monotonic_ns())
        if watch is not None:
            watch(Progress(self.window.taken, self._inputs(), int(self.course.line[0].now_ns)))

    def _inputs(self) -> int:
        return int(self.loop.wiring.counters[L_INPUTS])

    def _wrong(self, why: int) -> BacktestError:
        line = self.course.line[0]
        at = dt.datetime.fromtimestamp(int(line.now_ns) / 1e9, dt.UTC).isoformat()
        if why == self.drive.DISORDER:
            return BacktestError(f"the feed's time runs backwards after {at}; sort its records by time")
        return BacktestError(
            f"more than {len(self.exchange.reports) - 1:,} messages were under way to and from the venues at {at}; "
            "lower the venues' latencies, or raise capacity.children"
        )

    def _await_segment(self) -> None:
        until = time.monotonic() + _PATIENCE_S
        before = self.journal.room
        while self.journal.room <= before:
            if self.journal.error or time.monotonic() > until:
                why = f"errno {self.journal.error}" if self.journal.error else f"none in {_PATIENCE_S:g} s"
                raise BacktestError(f"{self.run_dir}: no journal segment ({why}); free space on its disk")
            time.sleep(0.0005)

    def _sample(self) -> None:
        """A clock sample, as the loop writes them; here the engine's clock is the real time, and nothing ticks."""
        sample = blank(Template.CLOCK_SAMPLE)
        for name in ("ts_event_ns", "clock_ns", "realtime_ns"):
            sample[name] = self.loop.wiring.line[0].clock_ns
        append(self.journal.table, int(Kind.OBSERVATION), LAST, 0, -1, int(address_of(sample)), UNIT)

    def _outcome(self) -> Outcome:
        line = self.course.line[0]
        return Outcome(
            market=int(line.market_inputs),
            reports=int(line.report_inputs),
            timers=int(line.timer_inputs),
            parents=int(line.parent_inputs),
            inputs=self._inputs(),
            outputs=int(self.loop.wiring.counters[L_OUTPUTS]),
            first_ns=self.feed.first_ns,
            last_ns=int(line.now_ns),
            seconds=self._seconds,
            state_hash=state_hash(self.loop.state),
            losses=self.losses(),
        )

    def close(self) -> None:
        """Close journal and stats file. Twice is once."""
        self._closing.close()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close()
        if kind is KeyboardInterrupt:
            self._discard()


def _parent_records(config: Config, parents: list[Parent], first_ns: int) -> Array:
    """The parents as ORDER_NEW records on their sessions, by time; parents of one time in their own order."""
    records = blank(Template.ORDER_NEW, len(parents))
    by_account: dict[int, int] = {}
    for index, session in reversed(list(enumerate(config.session))):
        if session.role == "client":
            by_account.update(dict.fromkeys(session.accounts or [0], index))
    for row, parent in zip(records, sorted(parents, key=lambda p: p.at_ns), strict=True):
        if parent.account_id not in by_account:
            text = f"{parent.cl_ord_id}: account {parent.account_id} is no client session's"
            raise ParentError(f"{text}; add it to the accounts of a [[session]]")
        row["cl_ord_id"] = text16(parent.cl_ord_id)
        row["side"], row["px"], row["qty"] = parent.side, parent.px, parent.qty
        row["min_qty"], row["display_qty"] = parent.min_qty, parent.display_qty
        row["ord_type"], row["tif"], row["capacity"] = parent.ord_type, parent.tif, ord("A")
        row["instrument_id"], row["account_id"] = parent.instrument_id, parent.account_id
        row["stream_id"] = by_account[parent.account_id]
        row["ts_event_ns"] = max(parent.at_ns, first_ns)
    return records


def _clears(venues: list[int], at_ns: int) -> Array:
    """The feed's last word: a CLEAR of each venue, in the order of their codes."""
    records = blank(Template.CLEAR, len(venues))
    records["instrument_id"], records["reason"] = -1, Reason.DAY_END
    records["venue_id"] = records["stream_id"] = venues
    records["ts_event_ns"] = at_ns
    return records.view(np.uint8)
