"""Strategies of other kinds than `sweep` among faults: one that waits, from a file of the user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.jit import JIT
from replay.simulate.run import simulate

POUNCE = Path(__file__).resolve().parents[2] / "strategies" / "pounce.py"
pytestmark = [pytest.mark.kernel, pytest.mark.skipif(JIT, reason="another strategy compiles for half a minute")]


@pytest.mark.parametrize(("seed", "faults"), [(0, "all"), (11, "all"), (1, "hostile"), (2, "venues")])
def test_a_strategy_that_waits_holds(seed, faults, tmp_path):
    # Seed 11 has a fill-or-kill order that is replaced while it waits, seed 0 a restart that asks for the file again.
    file = tmp_path / "pounce.py"
    file.write_text(POUNCE.read_text(encoding="utf-8"), encoding="utf-8")
    done = simulate(seed, faults, str(file))
    assert not done.failed, f"{done.rule}: {done.seen}"
