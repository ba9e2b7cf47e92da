"""The whole desk under faults with every control on and near: kills, recoveries, lost sessions."""

from __future__ import annotations

import pytest

from engine.run import config as c
from replay.simulate.run import simulate

pytestmark = [pytest.mark.kernel, pytest.mark.torture]
NEAR = {
    "period_collar_bps": 200,
    "fat_finger_bps": 1000,
    "max_position": "6000",
    "gross_notional": "600000",
    "net_notional": "500000",
    "session_rate": 60,
    "strategy_rate": 80,
    "instrument_rate": 80,
    "duplicate_ms": 30,
    "repeated_executions": 60,
}


@pytest.mark.parametrize("faults", ["all", "sessions", "venues", "hostile"])
@pytest.mark.parametrize("seed", range(300, 310))
def test_all_invariants_hold_with_every_control_on(monkeypatch, seed, faults):
    monkeypatch.setattr(c, "ALL_OFF", {**c.ALL_OFF, **NEAR})
    result = simulate(seed, faults)
    assert not result.failed, f"{result.rule}: {result.seen}"
