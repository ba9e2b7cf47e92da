"""An engine that is killed between two given instructions of its loop, and what must be so afterwards.

`Strikes` sends an order that several venues' sweep answers, follows the loop's thread instruction by instruction
(`tracer`) until what it has written (`tape`) says that it is at the point, and ends the process there (SIGKILL). The
venue is honest: it executes what reaches it, once, and says what it knows when it is asked. An uninterrupted run
(`Shadow`) follows the journal through all lives.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.record import records as r
from replay.verify import verify
from tests.faults.bench import Bench
from tests.faults.kills import Shadow
from tests.faults.tape import NOTHING, Seen, Tape
from tests.faults.tracer import Traced
from tests.run.engine_peers import ack, fill, order
from tests.run.lives import children, crcs, place

T, S, X = r.Template, r.OrdStatus, r.ExecType
#: Venues that display, what each displays, and the price.
VENUES, SHOWN, PX = 3, 200, 1_570_000
#: Bytes of a quote's frame and of an order's.
FRAME = 160
#: More instructions than an order takes, many times over.
_MOST = 3_000_000
_QUOTES = 500
Point = Callable[[Tape], bool]


def _input(seen: Seen) -> bool:
    return seen.kind == Kind.INPUT and seen.template == T.ORDER_NEW


def _output(seen: Seen, *, last: bool) -> bool:
    return seen.kind == Kind.OUTPUT and seen.template > 0 and seen.last == last


#: Where the loop is, on the way of one order.
POINTS: Final[dict[str, Point]] = {
    "half-of-the-input": lambda t: _input(t.begun),
    "behind-the-input": lambda t: _input(t.whole),
    "half-of-the-first-output": lambda t: _output(t.begun, last=False) and t.begun.batch_index == 0,
    "behind-the-first-output": lambda t: _output(t.whole, last=False),
    "half-of-the-last-output": lambda t: _output(t.begun, last=True),
    "behind-the-last-output": lambda t: _output(t.whole, last=True),
    "behind-the-send": lambda t: t.whole.kind == Kind.OBSERVATION and t.whole.template == T.STAGES,
}
#: Points before the outputs are whole: none may have left, and the batch is told to be torn.
TORN: Final = tuple(POINTS)[1:5]
#: Where the loop is as a segment ends, on the same way.
ROLLING: Final[dict[str, Point]] = {
    "half-of-the-pad": lambda t: t.begun.kind == Kind.PAD,
    "behind-the-pad": lambda t: t.whole.kind == Kind.PAD and t.rolls == 0,
    "behind-the-end": lambda t: t.ended,
    "half-of-the-header": lambda t: t.in_header,
    "behind-the-header": lambda t: t.rolls > 0,
    "half-of-the-first-frame": lambda t: t.rolls > 0 and t.begun.template > 0,
    "behind-the-first-frame": lambda t: t.rolls > 0 and t.whole.kind != Kind.PAD,
}
#: Room in the segment (at least, and less than) when the order comes: it does not fit; its outputs do not; the second.
ROOMS: Final = {"at the input": (32, FRAME), "at the batch": (32 + FRAME, 2 * FRAME),
                "in the batch": (32 + 2 * FRAME, 3 * FRAME)}  # fmt: skip


class Strikes:
    """One run of many lives. `strike` ends one at a point and begins the next, `finish` holds all to each other."""

    def __init__(self, it: Bench) -> None:
        self.it = it
        self.shadow: Shadow | None = None
        #: Orders that came to the venue, by their id, and the numbers of their executions.
        self.orders: dict[int, Any] = {}
        self.told: dict[int, int] = {}
        self.number = 0
        self.ends: dict[int, int] = {}
        self._begin(it.start)

    def _begin(self, start: Callable[[], Any], die: str = "") -> None:
        """A life, with its loop's thread and what its recovery found written down."""
        life = self.it.lives + 1
        self._found, self._thread = self.it.folder / f"found-{life}.json", self.it.folder / f"loop-{life}"
        self.it.wishes = {"state": self._found, "thread": self._thread, "die": die}
        start()

    def _quotes(self, venue: int, count: int) -> None:
        feed = self.it.feed
        assert feed is not None
        records = np.repeat(r.blank(T.QUOTE), count)
        records["venue_id"] = records["stream_id"] = venue
        records["stream_epoch"] = feed.epoch
        records["stream_seq"] = feed.seqs[venue] + 1 + np.arange(count)
        records["ts_event_ns"] = time.time_ns()
        records["bid_px"], records["ask_px"] = PX - 100, PX
        records["bid_qty"] = records["ask_qty"] = SHOWN
        feed.seqs[venue] += count
        feed.raw(records.tobytes())

    def market(self) -> None:
        """Each venue displays something; said again until the engine, which may just have come, has heard it."""
        for venue in range(VENUES):
            before, said_s = self.it.gauge("quotes"), 0.0

            def heard() -> bool:
                nonlocal said_s
                if time.monotonic() - said_s > 0.1:
                    said_s = time.monotonic()
                    self._quotes(venue, 1)  # noqa: B023  it is called at once
                return self.it.gauge("quotes") > before  # noqa: B023  it is called at once

            self.it.wait(heard)

    def fill_up(self, least: int, most: int) -> None:
        """Quotes until at least `least` and less than `most` bytes are left of the segment that is written."""
        tape = Tape(self.it.run_dir)
        try:
            until_s = time.monotonic() + 60
            while not least <= tape.room < most:
                assert time.monotonic() < until_s, f"{tape.room} bytes are left"
                # 0 where quotes alone do not hit it: the next clock sample is of another size. It also comes between,
                # so the last quotes go apart.
                count = (tape.room - least) // FRAME if tape.room >= most else 1
                count = min(count if count <= 40 else count - 20, _QUOTES)
                before = self.it.gauge("quotes")
                if count:
                    self._quotes(0, count)
                self.it.wait(lambda: self.it.gauge("quotes") >= before + count)  # noqa: B023  it is called at once
                self.it.pause(0.002)
                tape.look()
        finally:
            tape.close()

    def _follow(self, room: tuple[int, int] | None) -> tuple[Traced, Tape]:
        """The loop stopped, with so much room in its segment."""
        while True:
            if room is not None:
                self.fill_up(*room)
            traced = Traced(int(self._thread.read_text()))
            tape = Tape(self.it.run_dir)
            if room is None or tape.room < room[1]:
                tape.whole = NOTHING
                return traced, tape
            tape.close()
            traced.let_go()  # a clock sample came between, and the segment is another

    def strike(
        self, point: Point, *, more: int = 0, pause_s: float = 0.0, room: tuple[int, int] | None = None
    ) -> list[Any]:
        """Send an order, end the engine at a point and `more` instructions, and begin the next life.

        `room`: what is left of the segment then. Returns the orders that had reached the venue. AssertionError where
        anything is not as it must be.
        """
        it = self.it
        traced, tape = self._follow(room)
        try:
            self.number += 1
            it.client.send(order(f"K{self.number:05d}", r.Side.BUY, VENUES * SHOWN, PX))
            while not point(tape):
                assert traced.steps < _MOST, f"not reached: {tape.whole}, {tape.begun}"
                traced.step()
                tape.look()
            for _ in range(more):
                traced.step()
            time.sleep(pause_s)
            tape.look()
        finally:
            traced.kill(it.pid)
        last_seq = tape.whole.seq
        tape.close()
        reached = self.dead(last_seq)
        self.go_on()
        return reached

    def kill(self) -> None:
        """kill -9 of the engine, wherever it is, and the next life."""
        self.it.signal(signal.SIGKILL)
        self.dead()
        self.go_on()

    def dead(self, last_seq: int = -1) -> list[Any]:
        """Wait for the engine's end, and see how its journal ends; orders that had reached the venue."""
        self.it.gone()
        reached = self._reached()
        seq, crc = place(self.it.run_dir)
        assert last_seq in (seq, -1), f"frame {last_seq} was whole, and the journal ends at {seq}"
        self.ends[seq] = crc
        self.follow().note()
        return reached

    def follow(self) -> Shadow:
        """The uninterrupted run, with all that is there."""
        self.shadow = self.shadow or Shadow(self.it.run_dir)
        self.shadow.follow()
        return self.shadow

    def trade(self, until: Callable[[], bool]) -> None:
        """Quotes, and an order now and then, until something is so."""
        turns, until_s = 0, time.monotonic() + 60
        while not until():
            assert time.monotonic() < until_s, self.it.said()
            self._quotes(turns % VENUES, _QUOTES // 5)
            if turns % 10 == 0:
                self.number += 1
                self.it.client.send(order(f"K{self.number:05d}", r.Side.BUY, VENUES * SHOWN, PX))
            self.venue()
            for peer in self.it.peers:
                peer.beat()
            turns += 1
            time.sleep(0.002)

    def go_on(self, die: str = "") -> None:
        """The next life: recovered as an uninterrupted run has it, and each open order brought to its end.

        `die`: the point at which that life ends, which may be soon.
        """
        it = self.it
        self._begin(it.fork, die)
        for peer in it.peers:
            peer.epoch, peer.seq = peer.epoch + 1, 0
            peer.hello()
        it.wait(lambda: self._settled() or (die and not it.alive()))
        if not it.alive():
            return
        seq, state = json.loads(self._found.read_text())
        assert self.shadow is not None
        assert self.shadow.hashes[seq] == state, f"life {it.lives} recovered another state at frame {seq}"
        assert (it.gauge("live_children"), it.gauge("unknown_children")) == (0, 0)

    def _settled(self) -> bool:
        self.venue()
        return self.it.gauge("sessions_up") == 2 and self.it.gauge("live_parents") == 0

    def _reached(self) -> list[Any]:
        """Orders that came to the venue before the engine's end; it cannot answer any more."""
        time.sleep(0.02)
        found = [record for record in self.it.venue.got() if record.template_id == T.ORDER_NEW]
        for one in found:
            self._take(one)
        return found

    def _take(self, one: Any) -> None:
        assert one.order_id not in self.orders, f"order {one.order_id} came twice"
        self.orders[int(one.order_id)] = one

    def venue(self) -> bool:
        """What an honest venue does with what has come."""
        for record in self.it.venue.got():
            if record.template_id == T.ORDER_NEW:
                self._take(record)
                self._tell(int(record.order_id))
            elif record.template_id == T.STATUS_REQUEST and int(record.order_id) in self.orders:
                one = self.orders[int(record.order_id)]
                self._tell(int(record.order_id))
                self.it.venue.send(ack(one, X.ORDER_STATUS, S.FILLED, one.qty))
            elif record.template_id == T.STATUS_REQUEST:
                report = r.blank(T.REJECT)
                for name in ("order_id", "venue_id", "instrument_id"):
                    report[name] = record[name]
                report["reason"] = r.Reason.UNKNOWN_ORDER
                self.it.venue.send(report)
        return True

    def _tell(self, known: int) -> None:
        """Its execution; the engine may have died before it heard of it, so it can be the same once more."""
        number = self.told.setdefault(known, len(self.told) + 1)
        self.it.venue.send(fill(self.orders[known], number))

    def finish(self) -> None:
        """End in order; venue, journal, recoveries and an uninterrupted run agree."""
        it = self.it
        figures = it.stop()
        shadow = self.follow()
        core = shadow.run.state.core[0]
        assert (int(core.live_parents), int(core.live_children), int(core.unknown_children)) == (0, 0, 0)
        assert self.told.keys() == self.orders.keys(), "an order at the venue was never asked about"
        assert figures["qty_filled"] == sum(int(one.qty) for one in self.orders.values())
        with JournalReader(it.run_dir) as reader:
            first = reader.read(1)
        assert first is not None
        first_seq = int(first.rows["seq"][0])
        ends = {seq: crc for seq, crc in self.ends.items() if seq >= first_seq}
        assert crcs(it.run_dir, set(ends)) == ends, "a committed frame was lost"
        if first_seq == 0:
            ours = children(it.run_dir)
            assert len(ours) == len(set(ours)), "an order id was given twice"
            assert self.orders.keys() <= set(ours), "an order came from nowhere"
        verdict = verify(it.run_dir)
        assert (verdict.result, verdict.ending) == ("identical", "closed")
        assert verdict.state_hash == shadow.run.hash()

    def close(self) -> None:
        if self.shadow is not None:
            self.shadow.reader.close()
