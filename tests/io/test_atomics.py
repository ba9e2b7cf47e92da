"""Atomics, copies, clocks and CRC32C against their plain twins, across threads, and across processes by the cache."""

from __future__ import annotations

import mmap
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.io import atomics, crc_table, twins
from engine.jit import BOUNDSCHECK, JIT, ROOT, kernel

pytestmark = pytest.mark.kernel


@kernel
def spin_until(address: int, value: int) -> int:
    """Rounds until the word has a value: hangs for ever where the load is hoisted out of the loop."""
    rounds = 0
    while atomics.load_acquire(address) != value:
        rounds += 1
    return rounds


@kernel
def out_of_bounds(array: Any, index: int) -> int:
    return int(array[index])


@pytest.mark.skipif(JIT and not BOUNDSCHECK, reason="jitted code checks no bounds: the other two runs are for that")
def test_this_run_checks_bounds() -> None:
    with pytest.raises(IndexError):
        out_of_bounds(np.zeros(4, dtype=np.int64), 4)


def test_zeros_are_written_over_so_many_bytes() -> None:
    words = np.full(20, -1, dtype=np.int64)
    atomics.zero_64(words.ctypes.data + 8)
    assert words.tolist() == [-1] + [0] * 8 + [-1] * 11
    words[:] = -1
    atomics.zero_128(words.ctypes.data + 12)
    assert words.view(np.int32).tolist() == [-1] * 3 + [0] * 32 + [-1] * 5


def test_loads_and_stores_have_their_width_and_sign() -> None:
    words = np.array([-2, 0x1234_5678_9ABC_DEF0, -1], dtype=np.int64)
    base = int(atomics.address_of(words))
    assert base == words.ctypes.data
    assert atomics.load_acquire(base) == atomics.load_i64(base) == -2
    assert atomics.load_i32_acquire(base) == atomics.load_i32(base) == -2
    assert atomics.load_u16(base) == 0xFFFE
    assert atomics.load_u8(base) == 0xFE
    assert atomics.load_i64(base + 4) == twins.load_i64(base + 4)
    assert atomics.load_u16_be(base + 7) == 0xFFF0
    assert atomics.load_u32_be(base + 5) == twins.load_u32_be(base + 5) == 0xFFFFFFF0
    assert atomics.load_i64_be(base + 9) == int.from_bytes(words.tobytes()[9:17], "big", signed=True) < 0
    assert atomics.load_i64_be(base + 1) == twins.load_i64_be(base + 1) < 0
    atomics.store_i32_release(base + 8, -7)
    assert words[1] == 0x1234_5678_FFFF_FFF9
    atomics.store_release(base + 8, -(2**63))
    atomics.store_i64(base + 12, 0)
    assert words.tolist() == [-2, 0, -(2**32)]


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 127, 128, 129, 4096])
def test_copy_copies_n_bytes_and_no_more(n: int) -> None:
    source = np.random.default_rng(n).integers(1, 256, 4200, dtype=np.uint8)
    target = np.zeros(4200, dtype=np.uint8)
    atomics.copy(target.ctypes.data + 8, source.ctypes.data, n)
    assert target[8 : 8 + n].tolist() == source[:n].tolist()
    assert not target[:8].any()
    assert not target[8 + n :].any()


def test_a_flag_that_another_thread_sets_is_seen() -> None:
    flag = np.zeros(8, dtype=np.int64)
    atomics.load_acquire(flag.ctypes.data)
    spinner = threading.Thread(target=spin_until, args=(flag.ctypes.data, 1))
    spinner.start()
    time.sleep(0.05)
    assert spinner.is_alive()
    atomics.store_release(flag.ctypes.data, 1)
    spinner.join(10)
    assert not spinner.is_alive()


def test_clocks_agree_with_pythons() -> None:
    for ours, theirs in ((atomics.monotonic_ns, time.monotonic_ns), (atomics.realtime_ns, time.time_ns)):
        ours()
        before, now, after = theirs(), ours(), theirs()
        assert before <= now <= after
    first = atomics.tsc()
    atomics.nap(2_000_000)
    assert atomics.tsc() > first


def test_nap_sleeps_and_the_hints_return() -> None:
    atomics.nap(1)
    start = time.monotonic_ns()
    atomics.nap(3_000_000)
    assert time.monotonic_ns() - start >= 3_000_000
    atomics.sched_yield()
    atomics.cpu_pause()
    atomics.fence_acquire()
    atomics.fence_release()


def test_leading_zeros_is_the_width_above_the_highest_bit() -> None:
    for value in [0, 1, 2, 3, 2**31, 2**32, 2**62, -1, -(2**63)]:
        assert atomics.leading_zeros(value) == twins.leading_zeros(value)


def test_crc32c_of_the_published_vectors() -> None:
    """RFC 3720, B.4, and the check value of the CRC catalogue."""
    vectors = {
        b"123456789": 0xE3069283,
        bytes(32): 0x8A9136AA,
        b"\xff" * 32: 0x62A8AB43,
        bytes(range(32)): 0x46DD794E,
        b"": 0,
    }
    for data, expected in vectors.items():
        buffer = np.frombuffer(data + b"\0", dtype=np.uint8).copy()
        assert atomics.crc32c(0, buffer.ctypes.data, len(data)) == expected
        assert twins.crc32c_bytes(0, data) == expected


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2**32 - 1), st.integers(0, 300))
def test_crc32c_equals_its_twin_and_continues(data: bytes, seed: int, cut: int) -> None:
    cut = min(cut, len(data))
    buffer = np.frombuffer(data + b"\0", dtype=np.uint8).copy()
    whole = atomics.crc32c(seed, buffer.ctypes.data, len(data))
    assert whole == twins.crc32c_bytes(seed, data)
    head = atomics.crc32c(seed, buffer.ctypes.data, cut)
    assert whole == atomics.crc32c(head, buffer.ctypes.data + cut, len(data) - cut)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(-(2**63), 2**63 - 1))
def test_the_table_equals_the_bytewise_crc(crc: int, word: int) -> None:
    assert crc_table.crc32c_u64(crc, word) == twins.crc32c_u64(crc, word)
    assert crc_table.crc32c_u8(crc, word & 0xFF) == twins.crc32c_u8(crc, word & 0xFF)


_CHILD = """
import engine.jit, numpy as np
from engine.io import atomics as a
b = np.frombuffer(b"123456789-", dtype=np.uint8).copy()
assert a.crc32c(0, b.ctypes.data, 9) == 0xE3069283
assert a.CRC_INSTRUCTION is {expected}
a.monotonic_ns(), a.tsc(), a.copy(b.ctypes.data, b.ctypes.data + 5, 5), a.store_release(a.address_of(b), 1)
stats = [f.stats for f in (a.crc32c, a.monotonic_ns, a.tsc, a.copy, a.store_release)]
print(sum(sum(s.cache_hits.values()) for s in stats), sum(sum(s.cache_misses.values()) for s in stats))
"""


def _child(cache: Path, expected: bool, **settings: str) -> list[int]:
    env = {**os.environ, "TICKROUTE_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT), **settings}
    code = _CHILD.format(expected=expected)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()]


@pytest.mark.skipif(not JIT, reason="nothing is compiled, so nothing is cached")
def test_kernels_are_loaded_from_the_cache_by_the_next_process(tmp_path: Path) -> None:
    assert _child(tmp_path, atomics.CRC_INSTRUCTION) == [0, 5]
    assert _child(tmp_path, atomics.CRC_INSTRUCTION) == [5, 0]


@pytest.mark.skipif(not JIT, reason="the interpreter uses the table anyway")
def test_a_cpu_without_the_instruction_gets_the_table(tmp_path: Path) -> None:
    assert _child(tmp_path, False, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="") == [0, 5]


def test_thread_usage_is_what_the_system_says_of_this_thread():
    usage = np.zeros(18, dtype=np.int64)
    before = resource.getrusage(resource.RUSAGE_THREAD)
    fresh = np.frombuffer(mmap.mmap(-1, 1 << 23), dtype=np.uint8)  # new to the process, whatever was freed before
    fresh[::4096] = 1  # each page faults at its first touch
    assert atomics.thread_usage(usage.ctypes.data) == 0
    after = resource.getrusage(resource.RUSAGE_THREAD)
    assert before.ru_minflt + 2 <= usage[8] <= after.ru_minflt
    assert before.ru_majflt <= usage[9] <= after.ru_majflt
