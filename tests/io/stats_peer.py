"""The writing process of the stats tests: `python -m tests.io.stats_peer PATH`, until it is killed.

Every word of its record `whole` carries the number of the write, so that a torn one shows; `halves` counts the same
in its error log and in a counter.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from engine.io import histogram
from engine.io.atomics import copy, load_acquire
from engine.io.stats import RECORD_HEAD, note_error, read_record, write_begin, write_end
from engine.io.stats_file import StatsWriter
from engine.jit import JIT, kernel

WORDS = 64
WHOLE = np.dtype([(f"word_{i}", "<i8") for i in range(WORDS)])


@kernel
def write_whole(lock: int, words: Any, number: int) -> None:
    """One write of the record, word by word."""
    write_begin(lock)
    for i in range(WORDS):
        words[i] = number
    write_end(lock)


@kernel
def write_on(lock: int, words: Any, errors: Any, counters: Any, histograms: Any, stop: Any, now_ns: int) -> None:
    """Write until stop[0], with a pause of up to a microsecond after each write, in which readers come through."""
    number = 0
    flag = stop.ctypes.data
    while load_acquire(flag) == 0:
        number += 1
        pause = number * 2654435761 % 4294967296 >> 22
        while pause > 0 and load_acquire(flag) == 0:
            pause -= 1
        write_whole(lock, words, number)
        if number % 64 == 0:
            note_error(errors, 1 + number // 64 % 3, number, now_ns + number)
            counters[0].value += 1
            histogram.record(histograms[0], number)


@kernel
def count_torn(lock: int, words: Any, reads: int) -> int:
    """Read the record `reads` times: how many came torn or older than the one before."""
    address = words.ctypes.data
    torn, done, last = 0, 0, 0
    while done < reads:
        if read_record(lock, RECORD_HEAD, address, WORDS * 8) == 0:
            continue
        done += 1
        for i in range(WORDS):
            if words[i] != words[0]:
                torn += 1
        if words[0] < last:
            torn += 1
        last = words[0]
    return torn


@kernel
def count_torn_unasked(lock: int, words: Any, reads: int) -> int:
    """The same without a look at the lock: what a reader that does not ask would see."""
    torn = 0
    for _ in range(reads):
        copy(words.ctypes.data, lock + RECORD_HEAD, WORDS * 8)
        for i in range(WORDS):
            if words[i] != words[0]:
                torn += 1
                break
    return torn


def make(path: str) -> StatsWriter:
    """A writer with one of each."""
    return StatsWriter(path, {"writes": "records written / 64"}, {"whole": WHOLE}, ["stage"], errors=8)


def main(path: str) -> None:
    """Write until killed."""
    writer = make(path)
    slot = writer.records["whole"]
    words = slot.fields.view(np.int64)
    stop = np.zeros(1, dtype=np.int64)
    if JIT:
        stop[0] = 1
        write_on(slot.lock, words, writer.errors, writer.counters, writer.histograms, stop, time.monotonic_ns())
        stop[0] = 0
    print("ready", flush=True)
    write_on(slot.lock, words, writer.errors, writer.counters, writer.histograms, stop, time.monotonic_ns())


if __name__ == "__main__":
    main(sys.argv[1])
