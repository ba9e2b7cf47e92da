"""Rings against a deque, at their edges, across real processes that restart and die, and files that are no rings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.io import ring as module
from engine.io.atomics import load_i64, store_i64
from engine.io.ring import (
    CONSUMER,
    NEVER_NS,
    PRODUCER,
    Ring,
    RingError,
    ring_beat,
    ring_depth,
    ring_peer_age_ns,
    ring_peer_epoch,
    ring_pop,
    ring_push,
)
from engine.jit import JIT, ROOT
from tests.io import ring_peer

pytestmark = pytest.mark.kernel


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A ring's path in shared memory, where there is some."""
    shm = Path("/dev/shm")
    where = (shm if shm.is_dir() else tmp_path) / f"tickroute-test-{os.getpid()}-{time.monotonic_ns()}"
    yield where
    where.unlink(missing_ok=True)


def record(number: int, size: int = 64) -> np.ndarray:
    row = np.full(size, number % 251, dtype=np.uint8)
    row[:2] = [size - 8, 0]
    return row


def peer(role: str, path: Path, count: int, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.io.ring_peer", role, str(path), str(count), *more]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    output = process.stdout.read()  # not communicate: what came with the line before is in this reader's buffer
    process.stdout.close()
    assert process.wait(60) == 0
    return output


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([64, 128, 40])), max_size=80))
def test_a_ring_is_a_bounded_queue(operations):
    path = Path(f"/dev/shm/tickroute-test-queue-{os.getpid()}")
    path.unlink(missing_ok=True)
    producer, consumer = Ring.create(path, 4, PRODUCER), Ring.attach(path, CONSUMER)
    twin: deque[bytes] = deque()
    target = np.zeros(128, dtype=np.uint8)
    try:
        for number, (push, size) in enumerate(operations):
            if push:
                row = record(number, size)
                assert ring_push(producer.address, row.ctypes.data, size) == (len(twin) < 4)
                if len(twin) < 4:
                    twin.append(row.tobytes())
            else:
                n = ring_pop(consumer.address, target.ctypes.data)
                assert target[:n].tobytes() == (twin.popleft() if twin else b"")
            assert ring_depth(producer.address) == len(twin) == producer.pushed - consumer.popped
    finally:
        producer.close()
        consumer.close()
        path.unlink()


def test_only_whole_records_go_in_and_none_longer_than_a_slot_comes_out(path):
    producer, consumer = Ring.create(path, 2, PRODUCER), Ring.attach(path, CONSUMER)
    row = record(1)
    assert ring_push(producer.address, row.ctypes.data, 63) == -1
    row[:2] = [121, 0]
    assert ring_push(producer.address, row.ctypes.data, 129) == -1
    row = record(1)
    assert ring_push(producer.address, row.ctypes.data, 64) == 1
    # What a foreign producer might write: a length beyond the slot.
    store_i64(producer.address + 4096, 0xFFFF)
    guarded = np.zeros(192, dtype=np.uint8)
    assert ring_pop(consumer.address, guarded.ctypes.data) == 128
    assert not guarded[128:].any()
    producer.close()
    consumer.close()


def test_impossible_indices_are_refused(path):
    producer, consumer = Ring.create(path, 2, PRODUCER), Ring.attach(path, CONSUMER)
    row = record(1)
    for tail in (-1, 3):
        store_i64(consumer.address + module._TAIL, tail)
        assert ring_pop(consumer.address, row.ctypes.data) == -1
    store_i64(consumer.address + module._TAIL, 2)
    store_i64(consumer.address + module._HEAD, 3)
    assert ring_push(producer.address, row.ctypes.data, 64) == -1
    producer.close()
    consumer.close()


def test_beats_ages_and_epochs(path):
    consumer = Ring.create(path, 2, CONSUMER)
    now_ns = time.monotonic_ns()
    assert ring_peer_age_ns(consumer.address, CONSUMER, now_ns) == NEVER_NS
    assert ring_peer_epoch(consumer.address, CONSUMER) == 0
    for life in (1, 2, 3):
        producer = Ring.attach(path, PRODUCER)
        assert producer.epoch == ring_peer_epoch(consumer.address, CONSUMER) == life
        ring_beat(producer.address, PRODUCER, now_ns)
        assert ring_peer_age_ns(consumer.address, CONSUMER, now_ns + 5) == 5
        assert ring_peer_age_ns(consumer.address, CONSUMER, now_ns - 5) == 0
        assert ring_peer_age_ns(producer.address, PRODUCER, time.monotonic_ns()) < 60_000_000_000
        producer.close()
        producer.close()
        assert ring_peer_age_ns(consumer.address, CONSUMER, now_ns) == NEVER_NS
    consumer.close()


def test_a_restarted_consumer_goes_on_where_it_stopped_or_discards(path):
    producer, consumer = Ring.create(path, 8, PRODUCER), Ring.attach(path, CONSUMER)
    target = np.zeros(128, dtype=np.uint8)
    for number in range(6):
        assert ring_push(producer.address, record(number).ctypes.data, 64) == 1
    assert ring_pop(consumer.address, target.ctypes.data) == 64
    consumer.close()
    consumer = Ring.attach(path, CONSUMER)
    assert ring_pop(consumer.address, target.ctypes.data) == 64
    assert target[8] == 1
    assert consumer.discard() == 4
    assert ring_pop(consumer.address, target.ctypes.data) == 0
    assert ring_push(producer.address, record(9).ctypes.data, 64) == 1
    assert ring_pop(consumer.address, target.ctypes.data) == 64
    assert target[8] == 9
    with pytest.raises(RingError, match="only the consumer"):
        producer.discard()
    producer.close()
    consumer.close()


def test_create_takes_up_a_ring_that_is_there_and_a_side_has_one_holder(path):
    first = Ring.create(path, 4, PRODUCER)
    consumer = Ring.create(path, 4, CONSUMER)
    with pytest.raises(RingError, match=f"process {os.getpid()} is the producer already"):
        Ring.create(path, 4, PRODUCER)
    ring_push(first.address, record(1).ctypes.data, 64)
    first.close()
    again = Ring.create(path, 4, PRODUCER)
    assert (again.epoch, again.pushed) == (2, 1)
    again.close()
    with pytest.raises(RingError, match="has 4 slots, 8 are wanted"):
        Ring.create(path, 8, PRODUCER)
    consumer.close()


@pytest.mark.parametrize("slots", [0, 1, 3, 100, 1 << 25])
def test_the_number_of_slots_is_a_power_of_two(path, slots):
    with pytest.raises(RingError, match="power of two"):
        Ring.create(path, slots, PRODUCER)


def test_files_that_are_no_rings_are_refused_and_left_alone(path):
    with pytest.raises(RingError, match="start the side that creates it first"):
        Ring.attach(path, CONSUMER)
    with pytest.raises(RingError, match="side 2"):
        Ring.attach(path, 2)
    with pytest.raises(RingError, match="folder that exists"):
        Ring.create(path / "sub" / "ring", 4, PRODUCER)
    for content in (b"", b"x", bytes(8192), b"TICKRING"):
        path.write_bytes(content)
        with pytest.raises(RingError, match=str(path)):
            Ring.create(path, 4, PRODUCER)
        assert path.read_bytes() == content
    path.unlink()
    Ring.create(path, 4, PRODUCER).close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(RingError, match="cut short"):
        Ring.attach(path, CONSUMER)
    path.write_bytes(whole[:8] + b"\2" + whole[9:])
    with pytest.raises(RingError, match="version 2, this is 1"):
        Ring.attach(path, CONSUMER)


def test_two_processes_exchange_dense_whole_records(path):
    count = 200_000 if JIT else 2_000
    ring = Ring.create(path, 1024, PRODUCER)
    child = peer("consume", path, count)
    row = np.zeros(16, dtype=np.int64)
    assert ring_peer.produce(ring.address, row, row.ctypes.data, 0, count) == 0
    assert finish(child) == "0\n"
    assert ring.popped == ring.pushed == count
    ring.close()


def test_a_killed_and_restarted_producer_corrupts_nothing(path):
    count = 400_000 if JIT else 20_000
    ring = Ring.create(path, 1024, CONSUMER)
    row = np.zeros(16, dtype=np.int64)
    seen, lives = 0, 0
    while seen < count:
        lives += 1
        child = peer("produce", path, count)
        assert ring_peer_epoch(ring.address, CONSUMER) == lives
        # The first lives are short; the last one finishes.
        target = count if lives > 3 else min(seen + lives * 1000, count)
        assert ring_peer.consume(ring.address, row, row.ctypes.data, seen, target) == -1
        seen = target
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert child.stdout is not None
        child.stdout.close()
        waiting = int(ring_depth(ring.address))
        assert ring_peer.consume(ring.address, row, row.ctypes.data, seen, seen + waiting) == -1
        seen += waiting
    assert lives >= 3
    ring.close()


def test_a_killed_consumer_frees_its_side_and_its_successor_loses_nothing(path):
    ring = Ring.create(path, 64, PRODUCER)
    row = np.zeros(16, dtype=np.int64)
    child = peer("consume", path, 1_000_000_000)
    assert ring_peer.produce(ring.address, row, row.ctypes.data, 0, 500) == 0
    child.send_signal(signal.SIGKILL)
    child.communicate()
    popped = ring.popped
    assert ring_peer.produce(ring.address, row, row.ctypes.data, 500, popped + 64) == 0
    assert ring_push(ring.address, row.ctypes.data, 128) == 0
    child = peer("consume", path, popped + 64)
    assert finish(child) == f"{popped}\n"
    ring.close()


def test_a_peer_that_stops_beating_shows_by_its_age(path):
    ring = Ring.create(path, 64, CONSUMER)
    child = peer("stay", path, 0)
    time.sleep(0.05)
    assert ring_peer_age_ns(ring.address, CONSUMER, time.monotonic_ns()) < 10_000_000_000
    child.send_signal(signal.SIGSTOP)
    time.sleep(0.05)
    first = ring_peer_age_ns(ring.address, CONSUMER, time.monotonic_ns())
    time.sleep(0.05)
    assert ring_peer_age_ns(ring.address, CONSUMER, time.monotonic_ns()) >= first + 50_000_000
    # Stopped is not dead: its side is still taken.
    with pytest.raises(RingError, match=f"process {child.pid} is the producer already"):
        Ring.attach(path, PRODUCER)
    child.kill()
    child.communicate()
    Ring.attach(path, PRODUCER).close()
    assert load_i64(ring.address) == module.MAGIC
    ring.close()
