"""One engine a run, and venues that go away in each state that an order can be in."""

from __future__ import annotations

import signal

import numpy as np
import pytest

from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.jit import JIT
from engine.record import records as r
from tests.run.engine_peers import ack, fill, order

pytestmark = pytest.mark.skipif(not JIT, reason="the engine is a compiled process")
T, S, X = r.Template, r.OrdStatus, r.ExecType
#: A peer is silent for so long and is down; that is seen within SEEN_S where the loop had its core. How much later that
#: may be, more often than not, on a busy machine.
SILENCE_S, SEEN_S, LATE_S = 0.25, 0.3, 0.5
#: An order id that nobody has.
STRAY = 7
FAST = (("peer_timeout_ms = 500", "peer_timeout_ms = 250"), ("child_timeout_ms = 1000", "child_timeout_ms = 60000"))


def test_a_second_engine_is_refused_while_the_first_lives_and_goes_on_when_it_is_dead(bench):
    it = bench()
    it.start()
    first = it.pid
    for _ in range(3):
        it.fork()
        it.gone()
        assert f"error: {it.run_dir}: process {first} works on this run (last heartbeat" in " ".join(it.said().split())
        assert not (it.folder / f"engine-{it.lives}.json").exists()
    it.pid = first
    it._forget()
    it.quote()
    it.client.send(order("A1", r.Side.BUY, 300, 1_570_000))
    child = it.take(it.venue, T.ORDER_NEW)[0]  # nobody disturbed it
    it.signal(signal.SIGSTOP)  # alive, if not at work: its silence is no death
    it.fork()
    it.gone()
    assert "works on this run" in " ".join(it.said().split())
    it.pid = first
    it.signal(signal.SIGKILL)
    it.gone()
    it.fork()  # at once
    for peer in it.peers:
        peer.epoch, peer.seq = peer.epoch + 1, 0
        peer.hello()
    assert it.take(it.venue, T.STATUS_REQUEST)[0].order_id == child.order_id
    assert "life 2 of" in it.said()
    it.venue.send(fill(child, 1))
    it.venue.send(ack(child, X.ORDER_STATUS, S.FILLED, 300))
    it.wait(lambda: it.gauge("live_parents") == 0)
    assert it.stop()["qty_filled"] == 300
    assert [int(x.template_id) for x in it.venue.got() if x.template_id == T.ORDER_NEW] == []


#: What the venue had told of its order of 300 before it went, whether the client had asked for its end, what it did
#: while it was away, and what it says of it when it is back: (reports, cancelled, fills meanwhile, last status).
STATES = {
    "sent, not answered, executed": ((), False, (300,), S.FILLED),
    "sent, never arrived": ((), False, (), None),
    "acknowledged, executed in two": ((S.NEW,), False, (100, 200), S.FILLED),
    "acknowledged, cancelled by the venue": ((S.NEW,), False, (), S.CANCELED),
    "acknowledged, it lives": ((S.NEW,), False, (), S.NEW),
    "partly filled, it lives": ((S.NEW, 100), False, (), S.PARTIALLY_FILLED),
    "partly filled, executed": ((S.NEW, 100), False, (200,), S.FILLED),
    "partly filled, cancelled by the venue": ((S.NEW, 100), False, (50,), S.CANCELED),
    "cancel pending, executed": ((S.NEW,), True, (300,), S.FILLED),
    "cancel pending, cancelled": ((S.NEW,), True, (), S.CANCELED),
    "cancel pending, it lives": ((S.NEW,), True, (), S.NEW),
    "filled": ((S.NEW, 300), False, (), S.FILLED),
    "refused": ((S.REJECTED,), False, (), S.REJECTED),
}


def truth(case):
    """What the venue executed in a case, before and while it was away."""
    told, _, fills, _ = STATES[case]
    return sum(int(what) for what in told if not isinstance(what, S)) + sum(fills)


class Venue:
    """What the venue knows of one order, and its reports."""

    def __init__(self, bench, child, number):
        self.bench, self.child, self.number, self.cum, self.executions = bench, child, number, 0, 0

    def say(self, what):
        if what == S.NEW:
            self.bench.venue.send(ack(self.child, X.NEW, S.NEW))
        elif what == S.REJECTED:
            report = r.blank(T.REJECT)
            for name in ("order_id", "venue_id", "instrument_id"):
                report[name] = self.child[name]
            report["reason"] = r.Reason.SIMULATED
            self.bench.venue.send(report)
        else:
            self.execute(int(what))

    def execute(self, qty):
        self.cum += qty
        self.executions += 1
        self.bench.venue.send(fill(self.child, 1000 * self.number + self.executions, qty))

    def answer(self, status):
        """What it says when it is asked."""
        if status is None or status == S.REJECTED:
            report = r.blank(T.REJECT)
            for name in ("order_id", "venue_id", "instrument_id"):
                report[name] = self.child[name]
            report["reason"] = r.Reason.UNKNOWN_ORDER
            self.bench.venue.send(report)
        else:
            self.bench.venue.send(ack(self.child, X.ORDER_STATUS, status, self.cum))


def stray():
    """A venue's report on an order that there is not: the journal has it with the time at which it was heard."""
    report = r.blank(T.REJECT)
    report["order_id"], report["reason"] = STRAY, r.Reason.UNKNOWN_ORDER
    return report


def silences(run_dir):
    """Seconds from each stray report, the last that was heard of the venue, to the SESSION_DOWN behind it.

    Both are the engine's own stamps, of its one clock.
    """
    heard, found = 0, []
    with JournalReader(run_dir) as reader:
        for frame in reader.frames():
            if frame.kind != Kind.INPUT:
                continue
            template = T(int.from_bytes(frame.payload[2:4].tobytes(), "little"))
            if template in (T.REJECT, T.SESSION_DOWN):
                record = np.frombuffer(frame.payload.tobytes(), r.DTYPES[template], 1)[0]
                if template == T.REJECT and record["order_id"] == STRAY:
                    heard = int(record["ts_recv_ns"])
                elif template == T.SESSION_DOWN and record["session_id"] == 1 and heard:
                    assert record["reason"] == r.Reason.PEER_SILENT
                    found.append((int(record["ts_recv_ns"]) - heard) / 1e9)
                    heard = 0
    return found


def test_a_venue_that_goes_away_in_each_state_of_an_order_is_reconciled(bench):
    """Seen in 300 ms; nothing is sent to it and nothing released until it has said where each order stands."""
    it = bench(*FAST)
    it.start()
    total, starved = 0, []
    for n, case in enumerate(STATES):
        told, cancelled, meanwhile, last = STATES[case]
        it.quote(0)
        it.client.send(order(f"C{n}", r.Side.BUY, 300, 1_570_000))
        venue = Venue(it, it.take(it.venue, T.ORDER_NEW)[0], n)
        for what in told:
            venue.say(what)
        if cancelled:
            record = r.blank(T.ORDER_CANCEL)
            record["cl_ord_id"] = r.text16(f"C{n}")
            it.client.send(record)
            # Its child is immediate, and ends by itself: the cancel waits for that.
            while it.take(it.client, T.ACK)[-1].ord_status != S.PENDING_CANCEL:
                pass
        ended = bool(told) and told[-1] in (300, S.REJECTED)
        it.wait(lambda: it.gauge("live_children") == (0 if ended else 1))  # noqa: B023  it is called at once
        stalls = it.gauge("stalls")
        it.venue.send(stray())
        it.wait(lambda: it.gauge("sessions_up") == 1, silent=[1])
        starved.append(it.gauge("stalls") > stalls)
        sent = it.gauge("children_sent")
        assert it.gauge("unknown_children") == (0 if ended else 1), case
        # Nothing goes there, and what it has is not given to anybody else.
        it.client.send(order(f"D{n}", r.Side.BUY, 100, 1_570_000))
        it.pause(0.02, silent=[1])
        assert it.gauge("children_sent") == sent, case
        assert it.gauge("live_children") == (0 if ended else 1), case
        it.venue.hello()
        if not ended:
            asked = it.take(it.venue, T.STATUS_REQUEST)
            assert [x.order_id for x in asked] == [venue.child.order_id], case
            for qty in meanwhile:
                venue.execute(qty)
            venue.answer(last)
            if last in (S.NEW, S.PARTIALLY_FILLED):
                assert it.take(it.venue, T.ORDER_CANCEL)[0].order_id == venue.child.order_id, case
                it.venue.send(ack(venue.child, X.CANCELED, S.CANCELED, venue.cum))
        it.wait(lambda: it.gauge("live_children") == 0 and it.gauge("live_parents") == 0)
        total += truth(case)
        assert (it.gauge("qty_filled"), venue.cum) == (total, truth(case)), case
    it.stop()
    seen = silences(it.run_dir)
    fair = [span for span, without in zip(seen, starved, strict=True) if not without]
    print(f"silence was seen after {1e3 * max(seen):.0f} ms at the most; after {1e3 * max(fair, default=0):.0f} ms in "
          f"the {len(fair)} of {len(seen)} cases in which the loop had its core")  # fmt: skip
    assert all(span < SEEN_S for span in fair)
    assert SILENCE_S - 0.01 < min(seen) < SEEN_S
    assert sorted(seen)[len(seen) // 2] < SEEN_S + LATE_S
    state = it.state()
    assert int(state.core[0].unknown_children) == 0
    cum = {r.from_text16(row["cl_ord_id"]): int(state.parents[n].cum_qty) for n, row in enumerate(state.parent_orders)}
    assert {case: cum[f"C{n}"] for n, case in enumerate(STATES)} == {case: truth(case) for case in STATES}
