"""A disk that is full, fails or cannot sync, under a live engine: cancel-only, or a halt, and never a signal.

The full disk is a file system of some MiB of its own where this user may mount one, else a limit on the size of files,
which fails in the same places (EFBIG).
"""

from __future__ import annotations

import contextlib
import resource
import subprocess

import pytest

from cli.main import main
from engine.jit import JIT
from engine.record import records as r
from replay.verify import verify
from tests.faults.test_soak import Load
from tests.run.engine_peers import ack, order

pytestmark = pytest.mark.skipif(not JIT, reason="the engine is a compiled process")
T, S, X = r.Template, r.OrdStatus, r.ExecType
PATIENT = ("peer_timeout_ms = 500", "peer_timeout_ms = 5000")
SMALL = ("segment_mib = 1\n", "segment_mib = 1\nmin_free_mib = 0\n")
DISK = ("segment_mib = 1\n", 'segment_mib = 1\nmin_free_mib = 0\ndurability = "disk"\n')


class Full:
    """Makes the engine's disk full, and lets it have room again."""

    def __init__(self, it):
        self.it, self.filler = it, it.run_dir / "filler"
        it.run_dir.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(it.run_dir)]
        self.mounted = False
        with contextlib.suppress(OSError):
            self.mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0

    def fill(self):
        if not self.mounted:
            resource.prlimit(self.it.pid, resource.RLIMIT_FSIZE, (1 << 19, resource.RLIM_INFINITY))
            return
        with contextlib.suppress(OSError), self.filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free(self):
        if not self.mounted:
            resource.prlimit(self.it.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        else:
            self.filler.unlink()

    def close(self):
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.it.run_dir)], check=False)


def until(it, load, done):
    """Quotes go on, so that segments are used up, until something is so."""

    def turn():
        load.run(it, 0.02, 5_000)
        return done()

    it.wait(turn)


def is_end(report):
    """Whether a report says that an order has ended without having been routed."""
    return report.template_id == T.REJECT or (
        report.template_id == T.ACK and report.ord_status in (S.CANCELED, S.REJECTED)
    )


def live_child(it, name):
    """An order that is at the venue."""
    it.quote(0)
    it.client.send(order(name, r.Side.BUY, 300, 1_570_000))
    child = it.take(it.venue, T.ORDER_NEW)[0]
    it.venue.send(ack(child, X.NEW, S.NEW))
    return child


def test_a_full_disk_is_cancel_only_until_there_is_room_and_somebody_says_so(bench):
    it = bench(SMALL, PATIENT)
    disk = Full(it)
    try:
        it.start()
        load = Load(it, quotes=5_000)
        disk.fill()
        until(it, load, lambda: it.gauge("killed") == r.Reason.DISK_FULL)
        it.client.send(order("no", r.Side.BUY, 300, 1_600_000))
        it.wait(lambda: [x for x in it.client.got() if is_end(x)])
        assert it.gauge("children_sent") == 0
        disk.free()
        it.wait(lambda: main(["resume", str(it.run_dir)]) == 0 and it.gauge("killed") == 0)
        it.feed.epoch, it.feed.seqs = 2, dict.fromkeys(it.feed.seqs, 0)
        live_child(it, "yes")
        figures = it.stop()
        assert figures["journal_stalls"] == 0
        assert verify(it.run_dir).result == "identical"
    finally:
        it.close()
        disk.close()


@pytest.mark.parametrize(
    ("changes", "spoil"),
    [((DISK,), ("engine.io.journal_sync", "fdatasync")), ((SMALL,), ("engine.io.journal_keeper", "allocate"))],
    ids=["a sync fails", "EIO at a segment"],
)
def test_a_broken_disk_halts_the_engine_which_cancels_what_lives_and_never_tries_again(bench, changes, spoil):
    it = bench(*changes, PATIENT, spoil=spoil)
    it.start()
    load = Load(it, quotes=5_000)
    child = live_child(it, "lives")
    it.broken.touch()
    until(it, load, lambda: it.gauge("halted") == r.Reason.DISK_ERROR or not it.alive())
    it.gone()
    said = " ".join(it.said().split())
    assert "halted" in said
    assert (it.run_dir / "halted.txt").exists()
    if changes == (SMALL,):
        assert it.take(it.venue, T.ORDER_CANCEL)[0].order_id == child.order_id
    it.broken.unlink()
    it.fork()  # it does not go on by itself
    it.gone()
    assert "--after-halt" in it.said()
    assert verify(it.run_dir).result == "identical"
