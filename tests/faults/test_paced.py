"""A mass cancel at a venue's pace, by processes: the engine stands still in the middle of it, or a feed saturates it.

Engine, venue and the person's command are processes. The pace is held twice: by the engine's clock, exactly, and by
when the cancels came to the venue.
"""

from __future__ import annotations

import json
import signal
import time

import numpy as np
import pytest

from engine.io.journal_format import FRAME_HEADER, Kind
from engine.io.journal_reader import JournalReader
from engine.jit import JIT
from engine.record import records as r
from replay.verify import verify
from tests.faults import test_soak
from tests.faults.kills import alive
from tests.run.engine_peers import Peer, order

pytestmark = pytest.mark.skipif(not JIT, reason="the engine is a compiled process")
T = r.Template
#: Orders, what the venue allows a second, and at once.
MANY, RATE, BURST = 400, 400, 20
EVERY_NS = -(-1_000_000_000 // RATE)
#: How much closer together cancels may come to a venue's process than they left, on a busy machine.
JITTER_NS = 250_000_000
#: How late a mass cancel may be in all, and in going on after a stop.
LATE_S, AGAIN_S = 1.5, 0.6
CHANGES = (
    ('role = "venue"\n', f'role = "venue"\nmessages_per_s = {RATE}\nburst = {BURST}\n'),
    ('rest = "engine"', 'rest = "venue"\npost_venue = "XNYS"'),
    ("segment_mib = 1\n", "segment_mib = 16\n"),
)
#: Records of the feed that wait in front of the loop.
WAITING, A_MESSAGE = 200_000, 1000


def over_ns(times_ns):
    """By how much, at worst, so many messages were ahead of one every EVERY_NS; BURST of these are allowed."""
    used_ns = worst_ns = 0
    for now_ns in times_ns:
        used_ns = max(used_ns, int(now_ns)) + EVERY_NS
        worst_ns = max(worst_ns, used_ns - int(now_ns))
    return worst_ns


def cancels_on(run_dir):
    """(order ids, engine times) of the cancels that the journal has."""
    ids, times = [], []
    with JournalReader(run_dir) as reader:
        for chunk in reader.chunks():
            words = chunk.memory.view("<i8")
            at = (chunk.rows["offset"][chunk.rows["kind"] == Kind.OUTPUT] + FRAME_HEADER) // 8
            for n in at[(words[at] >> 16) & 0xFFFF == T.ORDER_CANCEL]:
                record = words[n : n + r.RECORD_MAX // 8].view(r.ORDER)[0]
                ids.append(int(record["order_id"]))
                times.append(int(record["ts_event_ns"]))
    return ids, times


class Flood:
    """A feed that always has more than the loop can take."""

    def __init__(self, it, monkeypatch):
        monkeypatch.setattr(test_soak, "BATCH", A_MESSAGE)
        self.it, self.load, self.least = it, test_soak.Load(it), WAITING

    def go_on(self):
        waiting = self.load.sent - self.it.gauge("quotes") - self.it.gauge("trades")
        self.least = min(self.least, waiting)
        while waiting < WAITING:
            self.load.message()
            waiting += A_MESSAGE


class Desk:
    """An engine, a venue with resting orders, and a client. `came` is what the venue has written down."""

    def __init__(self, it, hatchery):
        self.it, self.file = it, it.folder / "cancels"
        it.start(peers=False)
        it.peers = [Peer(it.config, 0, it.context)]
        log = it.folder / "venue.log"
        self.venue = hatchery.fork("tests.faults.resting_venue", str(it.toml), "1", str(self.file), log=log)
        it.wait(lambda: it.gauge("sessions_up") == 2)
        it.quote(0)
        for n in range(MANY):
            it.client.send(order(f"R{n:05d}", r.Side.BUY, 100, 1_569_000, r.Tif.DAY))
        it.wait(lambda: it.gauge("live_children") == MANY and it.gauge("work_queue") == 0)
        it.pause(MANY / RATE + 0.2)  # the orders themselves used the venue's limit

    def came(self):
        return np.fromfile(self.file, dtype="<i8").reshape(-1, 2)

    def cancel(self, hatchery, turn, stop_s):
        """The command as a process, and the engine's stop (ns, ns) in the middle; its last answer."""
        it, said = self.it, self.it.folder / "cancelled.json"
        command = ("cancel-all", str(it.run_dir), "--wait", "60", "--json", str(said))
        pid = hatchery.fork(*command, log=it.folder / "command.log")
        stopped_ns = (0, 0)

        def done():
            nonlocal stopped_ns
            turn()
            if stop_s and not stopped_ns[0] and self.file.stat().st_size >= 16 * 3 * BURST:
                it.signal(signal.SIGSTOP)
                began_ns, until_s = time.monotonic_ns(), time.monotonic() + stop_s
                it.wait(lambda: time.monotonic() > until_s)
                stopped_ns = began_ns, time.monotonic_ns()
                it.signal(signal.SIGCONT)
            return not alive(pid)

        it.wait(done)
        assert said.exists(), (it.folder / "command.log").read_text()
        return stopped_ns, json.loads(said.read_text())


def check_pace(journaled_ns, came_ns, stopped_ns):
    """The venue's limit was held, by both clocks; nothing came in the stop, and it went on soon behind it."""
    assert over_ns(journaled_ns) <= BURST * EVERY_NS
    apart_ns = np.array(journaled_ns)[RATE + BURST - 1 :] - np.array(journaled_ns)[: -(RATE + BURST - 1)]
    assert (apart_ns >= 1_000_000_000).all(), "more than the limit in a second"
    ahead_ns = over_ns(came_ns) - BURST * EVERY_NS
    assert ahead_ns <= JITTER_NS, f"cancels came {ahead_ns / 1e6:.0f} ms ahead of the pace"
    begin_ns, end_ns = stopped_ns
    if end_ns:
        assert not ((came_ns > begin_ns + JITTER_NS) & (came_ns < end_ns)).any(), "it did not stand still"
        behind_ns = came_ns[came_ns >= end_ns]
        assert behind_ns.size > MANY // 4, "it stood still when all was done"
        assert behind_ns[0] - end_ns < AGAIN_S * 1e9


def paced(bench, hatchery, monkeypatch, stop_s, *, flooded):
    it = bench(*CHANGES)
    desk = Desk(it, hatchery)
    flood = Flood(it, monkeypatch) if flooded else None
    if flood is not None:
        until_s = time.monotonic() + 0.3
        it.wait(lambda: flood.go_on() or time.monotonic() > until_s)
        flood.least = WAITING
    stopped_ns, told = desk.cancel(hatchery, flood.go_on if flood else lambda: None, stop_s)
    came = desk.came()
    assert len(came) == MANY
    assert len(set(came[:, 0].tolist())) == MANY, "a cancel was sent twice"
    assert told["done"], told
    report = told["reports"][-1]
    counts = {name: report[name] for name in ("live_children", "cancels", "acknowledged", "finished", "reason")}
    assert counts == {"live_children": MANY, "cancels": MANY, "acknowledged": MANY, "finished": 1, "reason": "NONE"}
    took_s, needed_s = (report["last_cancel_ns"] - report["command_ns"]) / 1e9, (MANY - BURST) / RATE
    print(f"{took_s:.3f} s, the limit needs {needed_s:.3f} s and the stop was {stop_s} s")
    assert took_s < needed_s + stop_s + LATE_S
    if flood is not None:
        print(f"at least {flood.least} records waited; {it.gauge('feed_waits')} waits, {it.gauge('stalls')} stalls")
        assert flood.least > A_MESSAGE, "the feed did not saturate it"
    figures = it.stop()
    assert (figures["timeouts"], figures["live_children"], figures["send_errors"]) == (0, 0, 0)
    ids, times_ns = cancels_on(it.run_dir)
    assert sorted(ids) == sorted(came[:, 0].tolist())
    check_pace(times_ns, came[:, 1], stopped_ns)
    assert verify(it.run_dir).result == "identical"


def test_a_mass_cancel_of_an_engine_that_stood_still_goes_on_at_its_pace(bench, hatchery, monkeypatch):
    """Longer than a child's time-out: those that were answered meanwhile are not cancelled again."""
    paced(bench, hatchery, monkeypatch, 1.3, flooded=False)


def test_a_mass_cancel_under_a_feed_that_saturates_the_engine_keeps_its_pace(bench, hatchery, monkeypatch):
    paced(bench, hatchery, monkeypatch, 0.0, flooded=True)


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.parametrize("flooded", [False, True])
@pytest.mark.parametrize("stop_s", [0.02, 0.1, 0.3, 0.7, 2.0, 5.0])
def test_a_mass_cancel_and_stops_of_every_length(bench, hatchery, monkeypatch, stop_s, flooded):
    paced(bench, hatchery, monkeypatch, stop_s, flooded=flooded)
