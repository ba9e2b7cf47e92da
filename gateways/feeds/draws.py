"""Random numbers that are the same on every machine, for kernels: Threefry-2x32 with 20 rounds, counter-based.

A draw is a pure function of (seed, lane, counter, place): there is no state, so a lane can be drawn in any order and
one more draw in one lane changes nothing in another. All arithmetic is on int64 with 32-bit values, so nothing
overflows and the jitted and the plain functions agree bit by bit. Floats and libm are not used.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011); its known answers are in the tests.
Worst case: about 20 ns a draw; it is no cryptography.
"""

from __future__ import annotations

from engine.jit import kernel

_MASK = 0xFFFFFFFF
_PARITY = 0x1BD11BDA
#: ln 2 in units of 2^-16.
_LN2_Q16 = 45426


@kernel
def mix(a: int, b: int, rotation: int) -> tuple[int, int]:
    """One Threefry round."""
    a = (a + b) & _MASK
    b = ((b << rotation) | (b >> (32 - rotation))) & _MASK
    return a, b ^ a


@kernel
def four(a: int, b: int, group: int) -> tuple[int, int]:
    """Four rounds with the rotations of an even or an odd group."""
    if group % 2 == 0:
        a, b = mix(a, b, 13)
        a, b = mix(a, b, 15)
        a, b = mix(a, b, 26)
        return mix(a, b, 6)
    a, b = mix(a, b, 17)
    a, b = mix(a, b, 29)
    a, b = mix(a, b, 16)
    return mix(a, b, 24)


@kernel
def draw(seed: int, lane: int, counter: int, place: int) -> tuple[int, int]:
    """Two independent uniform numbers in [0, 2^32). All arguments count modulo 2^32."""
    k0, k1 = seed & _MASK, lane & _MASK
    k2 = _PARITY ^ k0 ^ k1
    a, b = ((counter & _MASK) + k0) & _MASK, ((place & _MASK) + k1) & _MASK
    for group in range(5):
        a, b = four(a, b, group)
        # Key words rotate: (k1, k2), (k2, k0), (k0, k1), ...
        turn = group % 3
        first = k1 if turn == 0 else (k2 if turn == 1 else k0)
        second = k2 if turn == 0 else (k0 if turn == 1 else k1)
        a = (a + first) & _MASK
        b = (b + second + group + 1) & _MASK
    return a, b


@kernel
def below(word: int, n: int) -> int:
    """A 32-bit uniform number scaled to [0, n), n < 2^31."""
    return (word * n) >> 32


@kernel
def neg_log2_q16(word: int) -> int:
    """-log2((word + 1) / 2^32) in units of 2^-16, by repeated squaring: 0 to 32 * 2^16."""
    x = word + 1
    whole = 0
    while x < 1 << 31:
        x <<= 1
        whole += 1
    if x >= 1 << 32:
        return 0
    # x is in [2^31, 2^32): one bit of log2(x / 2^31) a squaring, of 31-bit mantissas so that squares fit.
    x >>= 1
    bits = 0
    for _ in range(16):
        x = (x * x) >> 30
        bits <<= 1
        if x >= 1 << 31:
            bits |= 1
            x >>= 1
    return ((whole + 1) << 16) - bits


@kernel
def exponential(word: int, mean: int) -> int:
    """An exponentially distributed whole number with this mean (below 2^42)."""
    return (neg_log2_q16(word) * _LN2_Q16 >> 16) * mean >> 16


@kernel
def log_sizes(first: int, second: int, spread_q16: int) -> int:
    """A whole number from 1, roughly log-normal with median near 1: 2^(|z| * spread), z a sum of four uniforms.

    first, second: 32-bit uniforms; spread_q16: spread of the exponent, in units of 2^-16.
    """
    total = (first & 0xFFFF) + (first >> 16) + (second & 0xFFFF) + (second >> 16)
    z = total - 0x1FFFE
    exponent = (z if z > 0 else -z) * spread_q16 >> 16
    return ((65536 + (exponent & 0xFFFF)) << (exponent >> 16)) >> 16
