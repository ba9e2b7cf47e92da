"""The other process of the ring tests: `python -m tests.io.ring_peer ROLE PATH COUNT [PATH_BACK]`.

produce: push records numbered on from what the ring has seen, until COUNT in all. consume: pop COUNT, check each, and
print the number of the first. echo: push back on PATH_BACK what comes on PATH, COUNT times. stay: attach as the
producer, beat, and wait.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from engine.io.ring import CONSUMER, PRODUCER, Ring, ring_beat, ring_pop, ring_push
from engine.jit import kernel

WORDS = 16


@kernel
def fill(record, number):
    """A 128-byte record whose words all carry one number, so that a torn one shows."""
    record[0] = 120
    for word in range(1, WORDS):
        record[word] = number * WORDS + word


@kernel
def number_of(record):
    """The number of a whole record; -1 where words disagree."""
    number = record[1] // WORDS
    for word in range(1, WORDS):
        if record[word] != number * WORDS + word:
            return -1
    return number


@kernel
def produce(ring, record, address, first, count):
    """Push records first .. count - 1, spinning while the ring is full; -1 where it breaks."""
    for number in range(first, count):
        fill(record, number)
        status = 0
        while status == 0:
            status = ring_push(ring, address, 128)
        if status < 0:
            return -1
    return 0


@kernel
def consume(ring, record, address, first, count):
    """Pop until `count` records were seen; the number at which they are torn or not dense, or -1 for none."""
    number = first
    while number < count:
        n = ring_pop(ring, address)
        if n == 0:
            continue
        if n != 128 or number_of(record) != number:
            return number
        number += 1
    return -1


@kernel
def echo(ring, ring_back, address, count):
    """Push back `count` records."""
    done = 0
    while done < count:
        n = ring_pop(ring, address)
        if n > 0:
            while ring_push(ring_back, address, n) == 0:
                pass
            done += 1


def main(role: str, path: str, count: int, path_back: str = "") -> None:
    """Attach, say so on a line of standard output, and play the role."""
    record = np.zeros(WORDS, dtype=np.int64)
    address = record.ctypes.data
    ring = Ring.attach(path, CONSUMER if role in ("consume", "echo") else PRODUCER)
    print("ready", flush=True)
    if role == "produce":
        assert produce(ring.address, record, address, ring.pushed, count) == 0
    elif role == "consume":
        first = ring.popped
        assert consume(ring.address, record, address, first, count) == -1
        print(first, flush=True)
    elif role == "echo":
        back = Ring.attach(path_back, PRODUCER)
        echo(ring.address, back.address, address, count)
    else:
        while True:
            ring_beat(ring.address, PRODUCER, time.monotonic_ns())
            time.sleep(0.001)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
