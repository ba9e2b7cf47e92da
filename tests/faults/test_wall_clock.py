"""The time of day is set while the engine runs: by seconds and by an hour, forward and back, and while it is dead.

Engine and watch take their time of day from a `Wall`; nothing else on the machine hears of it.
"""

from __future__ import annotations

import itertools
import signal
import time

import msgspec
import numpy as np
import pytest

from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.jit import JIT
from engine.record import records as r
from engine.run.control_client import dial
from engine.run.control_wire import new_request
from replay.report.measure import measure
from replay.verify import verify
from replay.watch.chained import rows
from replay.watch.clock_sampler import CLOCK_FILE
from replay.watch.summary import read_alerts
from tests.faults.kills import alive
from tests.faults.wall_clock import POSSIBLE, Wall
from tests.run.engine_peers import ack, order

pytestmark = pytest.mark.skipif(not (JIT and POSSIBLE), reason="compiled processes, whose clock is replaced on x86-64")
T, S, X = r.Template, r.OrdStatus, r.ExecType
#: An order that nobody answers is cancelled after so long; how late that may be on a busy machine.
TIMEOUT_S, LATE_S = 0.6, 1.0
CHANGES = (
    ("child_timeout_ms = 1000", "child_timeout_ms = 600"),
    ("[[feed]]", '[clock]\nevery_ms = 200\ntolerance_us = 1000\nsources = ["chrony"]\n\n[[feed]]'),
)
#: A clock that is synchronised, as `chronyc -c tracking` says it.
CHRONY = "A29FC87B,ntp.example,3,1700000000.1,0.000000106,-0.0,0.00001,12.3,0.001,0.02,0.00002,0.00001,64.2,Normal"
#: Seconds by which the clock is set in the first life, while the engine is dead, and in the second.
FIRST, DEAD, SECOND = (3600, -7200), -2, (5, -3600)


def chrony(folder):
    """A folder with a program in the place of chronyc."""
    folder.mkdir()
    program = folder / "chronyc"
    program.write_text(f"#!/bin/sh\necho {CHRONY}\n")
    program.chmod(0o755)
    return folder


def unanswered(it, wall, name, step_s):
    """An order that the venue does not answer, a clock that is set meanwhile, and a person's command after it."""
    it.quote(0, qty=300)
    it.client.send(order(name, r.Side.BUY, 300, 1_570_000))
    child = it.take(it.venue, T.ORDER_NEW)[0]
    came_s = time.monotonic()
    it.pause(0.3)
    wall.step(step_s)
    cancel = it.take(it.venue, T.ORDER_CANCEL)[0]
    waited_s = time.monotonic() - came_s
    assert cancel.order_id == child.order_id
    assert TIMEOUT_S - 0.2 < waited_s < TIMEOUT_S + LATE_S, f"cancelled after {waited_s:.3f} s, set by {step_s} s"
    it.venue.send(ack(child, X.CANCELED, S.CANCELED))
    it.wait(lambda: it.gauge("live_parents") == 0)
    with dial(it.run_dir) as line:
        asked = msgspec.structs.replace(new_request("cancel-all"), sent_ns=wall.time_ns())
        last = list(line.ask(asked, 10))[-1]
    assert (last.state, last.why) == ("done", ""), f"the clock set by {step_s} s: {last.text}"
    it.pause(0.7)  # a clock sample a second


def told_times(run_dir):
    """The engine's times in the order of the journal; CLOCK_SAMPLEs; when each order left and its cancel."""
    times, samples = [], []
    left: dict[int, dict[int, int]] = {T.ORDER_NEW: {}, T.ORDER_CANCEL: {}}
    with JournalReader(run_dir) as reader:
        for frame in reader.frames():
            if frame.kind not in (Kind.INPUT, Kind.OUTPUT, Kind.OBSERVATION):
                continue
            record = frame.payload.view(r.DTYPES[T(int(frame.payload.view("<u2")[1]))])[0]
            times.append(int(record["ts_recv_ns" if frame.kind == Kind.INPUT else "ts_event_ns"]))
            if record["template_id"] == T.CLOCK_SAMPLE:
                samples.append((int(record["clock_ns"]), int(record["realtime_ns"])))
            elif frame.kind == Kind.OUTPUT and record["template_id"] in left and record["venue_id"] >= 0:
                left[record["template_id"]][int(record["order_id"])] = times[-1]
    return np.array(times), np.array(samples), left


def steps_of(differences_ns):
    """Whole seconds by which a clock was set, where it was."""
    seconds = [round(int(ns) / 1e9, 1) for ns in differences_ns]
    return [round(value) for value in seconds if abs(value) > 0.5]


def check_journal(it, wanted):
    """No time of the journal fell, each time-out took its time, and the samples show each step."""
    times, samples, left = told_times(it.run_dir)
    assert (np.diff(times) >= 0).all(), "a time of the journal ran backwards"
    assert steps_of(np.diff(samples[:, 1] - samples[:, 0])) == wanted
    assert left[T.ORDER_NEW].keys() == left[T.ORDER_CANCEL].keys()
    for order_id, left_ns in left[T.ORDER_NEW].items():
        waited_s = (left[T.ORDER_CANCEL][order_id] - left_ns) / 1e9
        assert TIMEOUT_S <= waited_s < TIMEOUT_S + LATE_S, f"order {order_id} was cancelled after {waited_s:.3f} s"
    assert verify(it.run_dir).result == "identical"


def check_watch(it, wanted):
    """Each step is a line of evidence and an alert; the lines before and behind it are good."""
    with JournalReader(it.run_dir) as reader:
        lines = list(rows(it.run_dir / CLOCK_FILE, reader.run_id.hex()))
    assert steps_of(line["step_ns"] for line in lines) == wanted
    stepped = [line for line in lines if abs(line["step_ns"]) > 500_000_000]
    assert all(not line["within"] and "STEP" in line["why"] for line in stepped)
    assert all(two["clock_ns"] > one["clock_ns"] for one, two in itertools.pairwise(lines))
    told = [row for row in read_alerts(it.run_dir).rows if row["code"] == "CLOCK_EXCURSION"]
    raised = [row for row in told if row["state"] == "raised" and "STEP" in row["text"]]
    assert len(raised) == len(wanted)
    assert told[-1]["state"] == "cleared"


def check_intervals(it):
    """Latencies by interval: each as long as it was."""
    lines = [line.split(",") for line in (it.run_dir / "latency.hlog").read_text().splitlines() if line[:4] == "Tag="]
    assert len(lines) > 2
    for _, begin_s, length_s, *_ in lines:
        assert float(begin_s) >= 0, "an interval before the start"
        assert 0 < float(length_s) < 10, f"an interval of {length_s} s"


def check_report(it):
    """The run took as long as it took."""
    told = measure(it.run_dir, check=False)
    assert 1 < told.run.seconds < 60
    assert told.series is not None
    assert 0 < told.series.bin_s * len(told.series.count) < 60


def test_a_time_of_day_that_is_set_moves_no_timer_and_no_time_of_the_journal_and_is_told(bench, tmp_path):
    wall, it = Wall(tmp_path / "wall"), bench(*CHANGES)
    it.wishes, it.options = {"wall": wall.path}, ("--no-watch",)
    it.start()
    watch = it.hatchery.fork(
        "replay.watch.main", str(it.run_dir), log=it.folder / "watch.log", wall=wall.path,
        programs=chrony(tmp_path / "programs"),
    )  # fmt: skip
    it.wait(lambda: (it.run_dir / CLOCK_FILE).exists() and (it.run_dir / CLOCK_FILE).read_bytes().count(b"\n") > 1)
    for n, step_s in enumerate(FIRST):
        unanswered(it, wall, f"A{n}", step_s)
    it.signal(signal.SIGKILL)
    it.gone()
    wall.step(DEAD)
    it.fork()
    for peer in it.peers:
        peer.epoch, peer.seq = peer.epoch + 1, 0
        peer.hello()
    it.wait(lambda: it.gauge("sessions_up") == 2)
    before = it.gauge("quotes")
    it.wait(lambda: it.pause(0.05) or it.feed.quote(0, 1_569_900, 1_570_000) or it.gauge("quotes") > before)
    it.pause(1.1)  # a clock sample before the clock is set again
    for n, step_s in enumerate(SECOND):
        unanswered(it, wall, f"B{n}", step_s)
    figures = it.stop()
    it.wait(lambda: not alive(watch))
    assert (figures["timeouts"], figures["refusals"]) == (len(FIRST) + len(SECOND), 0)
    check_journal(it, [*FIRST, DEAD, *SECOND])
    check_watch(it, [*FIRST, DEAD, *SECOND])
    check_intervals(it)
    check_report(it)
