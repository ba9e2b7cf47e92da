"""Load that goes on: no page faults and no growth in the loop once it is warm, no message lost, late or twice.

TICKROUTE_SOAK_S sets the length of the long test (3600), TICKROUTE_SOAK_IDLE how its loop idles (spin).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import zmq

from cli.demo_config import VENUES
from engine.io import histogram
from engine.io.stats_file import StatsReader
from engine.jit import JIT
from gateways.feeds.names import Names
from gateways.feeds.synthetic import generate
from tests.faults.test_consumers import resident_kib

pytestmark = pytest.mark.skipif(not JIT, reason="the engine is a compiled process")
#: Records in a message.
BATCH = 50
#: Minor faults that the loop may have on a machine that is not its own: at first, and each second. Where the helper
#: that keeps the journal's pages populated has to wait for its core, what was written back meanwhile faults.
FAULTS, FAULTS_PER_S = 64, 0.02


class Load:
    """A synthetic day, again and again, at a rate; sequence numbers go on."""

    def __init__(self, bench, quotes=20_000):
        day = generate(1, Names.listed([code for code, *_ in VENUES]), quotes=quotes, trades=quotes // 4)
        self.offsets, self.data = day.offsets, day.data.copy()
        starts = day.offsets[:-1] // 8
        self.words, self.halves = self.data.view("<i8"), self.data.view("<i4")
        self.starts, self.round = starts, day.last_seqs()
        self.streams = self.data.view("<i2")[day.offsets[:-1] // 2 + 6]
        self.at = self.sent = 0
        self.socket = bench.feed._socket
        self.socket.set(zmq.XPUB_NODROP, 1)
        self.halves[2 * starts + 2] = bench.feed.epoch

    def message(self):
        stop = min(self.at + BATCH, len(self.starts))
        self.words[self.starts[self.at : stop] + 3] = time.time_ns()
        self.socket.send(self.data[self.offsets[self.at] : self.offsets[stop]].tobytes())
        self.sent += stop - self.at
        self.at = stop
        if stop == len(self.starts):
            self.at = 0
            self.words[self.starts + 2] += self.round[self.streams]

    def run(self, bench, seconds, per_s, *, drain=False):
        """Send for so long; how many records. `drain`: take what the peers are sent, and forget it."""
        began = time.monotonic()
        first = self.sent
        while (passed := time.monotonic() - began) < seconds:
            while self.sent - first < passed * per_s:
                self.message()
            for peer in bench.peers:
                peer.beat()
                if drain:
                    peer.got()
            time.sleep(0.0005)
        return self.sent - first


def threads(pid):
    """CPU ticks, minor and major page faults of each thread of a process, by its number."""
    rows = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        words = (task / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
        rows[task.name] = np.array([int(words[11]) + int(words[12]), int(words[7]), int(words[9])])
    return rows


def loop_faults(before, after):
    """(minor, major) page faults of the thread that worked most meanwhile, which is the loop."""
    spent = [after[task] - before[task] for task in before.keys() & after.keys()]
    return max(spent, key=lambda row: int(row[0]))[1:]


def soak(it, seconds, per_s):
    it.start()
    load = Load(it)
    # The journal's window; and ZeroMQ's allocator, whose memory grows for some minutes.
    # Heartbeats that nobody takes would be a queue that grows in the engine.
    load.run(it, max(min(2.0, seconds / 2), seconds / 12), per_s, drain=True)
    it.wait(lambda: it.gauge("quotes") + it.gauge("trades") == load.sent)
    before_all, memory, cycles = threads(it.pid), resident_kib(it.pid), it.gauge("cycles")
    reader = StatsReader(it.run_dir / "stats")
    measured = []
    for _ in range(4):
        before = reader.histogram("total").copy()
        load.run(it, seconds / 4, per_s, drain=True)
        found = histogram.summary(reader.histogram("total") - before, (99.9,))
        measured.append(found.rows[0].value_ns if found.rows else 0)
    reader.close()
    it.wait(lambda: it.gauge("quotes") + it.gauge("trades") == load.sent)
    minor, major = loop_faults(before_all, threads(it.pid))
    grown = resident_kib(it.pid) - memory
    print(f"{load.sent} records in {seconds} s, {it.gauge('cycles') - cycles} cycles: {minor} minor and {major} major "
          f"faults, memory + {grown} KiB, p99.9 by quarter {measured} ns")  # fmt: skip
    figures = it.stop()
    assert (figures["gaps"], figures["malformed"], figures["journal_stalls"]) == (0, 0, 0)
    assert figures["quotes"] + figures["trades"] == load.sent
    assert major == 0
    assert minor <= FAULTS + FAULTS_PER_S * seconds
    assert grown < 16 << 10
    return measured


def test_some_seconds_of_load_lose_nothing_and_fault_nothing(bench):
    soak(bench(("segment_mib = 1\n", "segment_mib = 16\n")), 3.0, 10_000)


@pytest.mark.torture
@pytest.mark.timeout(0)
def test_an_hour_at_a_hundred_thousand_a_second(bench):
    idle = os.environ.get("TICKROUTE_SOAK_IDLE", "spin")
    changes = (("segment_mib = 1\n", "segment_mib = 64\n"), ('idle = "park"', f'idle = "{idle}"'))
    kept = ("[[feed]]", "[snapshots]\nevery_s = 60\n\n[retention]\nmib = 4096\n\n[[feed]]")
    measured = soak(bench(*changes, kept), float(os.environ.get("TICKROUTE_SOAK_S", "3600")), 100_000)
    assert measured[-1] <= 1.1 * measured[0]
