"""Ten thousand seeds, compiled: every invariant holds in each. `tickroute simulate --seeds A..B` runs others.

A failure names the command that runs it again and makes it short.
"""

from __future__ import annotations

import time

import pytest

from replay.simulate.run import simulate

pytestmark = [pytest.mark.kernel, pytest.mark.torture]
#: Seeds of each profile, in blocks that processes can share.
SEEDS = {"all": 4000, "hostile": 2000, "reports": 1000, "venues": 1000, "sessions": 1000, "machine": 500, "disk": 500}
BLOCK = 250
assert sum(SEEDS.values()) == 10_000


@pytest.mark.parametrize(
    ("faults", "first"), [(faults, first) for faults, count in SEEDS.items() for first in range(0, count, BLOCK)]
)
def test_every_invariant_holds(faults: str, first: int):
    began = time.perf_counter()
    for seed in range(first, first + BLOCK):
        result = simulate(seed, faults)
        told = f"{result.rule}: {result.seen}: tickroute simulate --seed {seed} --profile {faults}"
        assert not result.failed, told
    print(f"{faults} {first}..{first + BLOCK - 1}: {BLOCK / (time.perf_counter() - began):.1f} seeds/s")
