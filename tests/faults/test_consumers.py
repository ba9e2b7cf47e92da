"""A consumer that stands still while reports for it go on: nobody else is kept waiting, and in the end it has each one.

TICKROUTE_STILL_S sets how long the long test's consumer stands still (60).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.jit import JIT, ROOT
from engine.record import records as r
from gateways.orders.client import OrderClient
from tests.run.test_again import reports_on

pytestmark = pytest.mark.skipif(not JIT, reason="the engine is a compiled process")
OTHER = ("[[tick_table]]", '[[session]]\nname = "other"\nrole = "client"\n\n[[tick_table]]')
MANY = 4000
#: Orders that the other client sends to and fro before, and meanwhile.
TURNS = 150


def resident_kib(pid: int) -> int:
    """Memory of a process that is in no file: its own."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(text.split("RssAnon:")[1].split()[0])


def turns(client: OrderClient, name: str, count: int) -> np.ndarray:
    """Round trips (ns) of orders that are refused for want of a market, one after another."""
    found = []
    for n in range(count):
        began = time.monotonic_ns()
        one = client.new(f"{name}{n}", instrument_id=0, side=r.Side.BUY, qty=100, px=1_570_000, tif=r.Tif.IOC)
        assert client.wait(lambda: not one.is_open, 30)  # noqa: B023  it is called at once
        found.append(time.monotonic_ns() - began)
        client.poll()  # or `wait` would carry all reports so far along
    return np.array(found)


def stand_still(it, seconds):
    it.start(peers=False)
    file = it.folder / "reports"
    endpoint = it.config.orders.endpoint
    with OrderClient(endpoint, "other", 0, peer_timeout_ms=500) as other:
        other.connect(60)
        before = turns(other, "B", TURNS)
        command = [sys.executable, "-m", "tests.run.report_taker", endpoint, "desk", str(file), "1", str(MANY)]
        taker = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        try:
            assert taker.stdout is not None
            memory = resident_kib(it.pid)
            assert taker.stdout.readline() == "sent\n"
            taker.send_signal(signal.SIGSTOP)
            until_s = time.monotonic() + seconds
            meanwhile = turns(other, "M", TURNS)
            while time.monotonic() < until_s:
                meanwhile = np.concatenate([meanwhile, turns(other, f"N{len(meanwhile)}-", TURNS)])
            grown = resident_kib(it.pid) - memory
            taker.send_signal(signal.SIGCONT)
            assert other.wait(lambda: file.stat().st_size >= 128 * MANY, 60)
        finally:
            taker.kill()
            taker.communicate()
    return file.read_bytes(), reports_on(it.run_dir, 0), before, meanwhile, grown


def hold(it, seconds, most):
    data, stream, before, meanwhile, grown = stand_still(it, seconds)
    written = [data[at : at + 128] for at in range(0, len(data) // 128 * 128, 128)]
    figures = it.stop()
    one, other = (np.percentile(side, 99.9) / 1e6 for side in (before, meanwhile))
    print(f"{len(stream)} reports kept for {seconds} s; others' p99.9 {one:.2f} ms before, {other:.2f} ms meanwhile, "
          f"memory + {grown} KiB")  # fmt: skip
    assert len(stream) == MANY
    assert written == stream
    assert (figures["records_gone"], figures["dropped"]) == (0, 0)
    assert figures["resent"] > 0, "it was kept waiting long enough to miss something"
    assert grown < 64 << 10
    assert np.median(meanwhile) < most * np.median(before)
    with JournalReader(it.run_dir) as reader:
        outputs = sum(int((chunk.rows["kind"] == Kind.OUTPUT).sum()) for chunk in reader.chunks())
    assert outputs == figures["outputs"]


def test_a_client_that_stands_still_keeps_nobody_waiting_and_misses_nothing(bench):
    hold(bench(OTHER, feed=False), 1.5, most=3.0)


@pytest.mark.torture
@pytest.mark.timeout(0)
def test_a_client_that_stands_still_for_a_minute(bench):
    hold(bench(OTHER, feed=False), float(os.environ.get("TICKROUTE_STILL_S", "60")), most=1.1)
