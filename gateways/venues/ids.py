"""Two small kernels of a simulated venue: its identifiers, and its dice.

Identifiers are a prefix (the venue's code and a letter) and a decimal counter that fills the rest of the 16 bytes.
Dice are not a stream but a hash: what happens to an order depends on the seed, the venue, the order's id and the
question asked, never on when the order came or on what came before it. So a run over real sockets, whose order of
arrival varies, sees the same faults as a backtest of it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.jit import JIT, kernel

ID_BYTES: Final = 16
MILLION: Final = 1_000_000


def _splitmix64(state: int) -> Any:
    z = np.uint64(state) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64((z ^ (z >> np.uint64(31))) >> np.uint64(1))


def _splitmix64_plain(state: int) -> int:
    mask = 0xFFFFFFFFFFFFFFFF
    z = (int(state) + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return (z ^ (z >> 31)) >> 1


#: splitmix64 (Steele, Lea, Flood 2014) of an int64, without its lowest bit: 0 <= result < 2**63.
splitmix64 = kernel(_splitmix64) if JIT else _splitmix64_plain


@kernel
def draw(seed: int, key: int, question: int) -> int:
    """A number 0 <= n < 2**63 that depends on its three arguments (int64) alone."""
    return splitmix64(splitmix64(seed ^ question) ^ key)


@kernel
def happens(seed: int, key: int, question: int, ppm: int) -> bool:
    """Whether an event of probability `ppm` / 1,000,000 happens to `key`."""
    return ppm > 0 and draw(seed, key, question) % MILLION < ppm


@kernel
def write_id(words: np.ndarray, prefix: int, length: int, number: int) -> None:
    """Write `number` in decimal, right-aligned with leading zeros, behind a prefix into two words (16 bytes).

    words: int64[2]; prefix: the prefix's bytes, little-endian; length: how many they are (1 to 7); digits that do not
    fit are dropped from the left.
    """
    low, high = prefix, 0
    rest = number
    for position in range(15, 7, -1):
        high |= (48 + rest % 10) << (8 * (position - 8))
        rest //= 10
    for position in range(7, length - 1, -1):
        low |= (48 + rest % 10) << (8 * position)
        rest //= 10
    words[0] = low
    words[1] = high
