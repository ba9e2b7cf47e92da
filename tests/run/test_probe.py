"""The measurements are bounded, plausible, and see a stall that is put before them."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from engine.run import checks, probe
from engine.run.host import default_core

pytestmark = pytest.mark.kernel


def test_measure_is_bounded_and_complete(tmp_path):
    begin = time.monotonic()
    found = probe.measure(default_core(), 0.05, tmp_path)
    assert time.monotonic() - begin < 30
    assert list(tmp_path.iterdir()) == []
    gaps = found["clock_gaps"]
    assert gaps["reads"] > 100
    assert 0 < gaps["read_ns"] < 100_000
    assert 0 <= gaps["lost_percent"] <= 100
    counts = [gaps[f"over_{limit}_ns"] for limit in probe.GAPS_NS]
    assert counts == sorted(counts, reverse=True)
    for name in ("system_call", "fsync", "zmq_round_trip"):
        assert 0 < found[name]["p50_ns"] <= found[name]["max_ns"]
    verdicts = checks.check(found, 0, checks.MEASURED)
    assert len(verdicts) == len(checks.MEASURED)
    assert {row.verdict for row in verdicts} <= {"ok", "warn"}
    json.dumps(found)


def test_spin_counts_gaps_by_size(monkeypatch):
    """Unjitted, the clock can be replaced: four readings 50 ns apart but for one stall of 20 us."""
    readings = iter([0, 50, 100, 20_100, 20_150, 20_200])
    monkeypatch.setattr(probe, "monotonic_ns", lambda: next(readings))
    found = np.zeros(7, dtype=np.int64)
    plain = getattr(probe.spin, "py_func", probe.spin)
    plain(20_200, np.array(probe.GAPS_NS), found)
    assert found.tolist() == [5, 20_000, 20_000, 1, 1, 0, 0]


def test_percentiles_that_the_count_does_not_bear_are_left_out():
    assert probe.percentiles([3, 1, 2]) == {"p50_ns": 2, "max_ns": 3, "n": 3}
    assert probe.percentiles(list(range(1000)))["p99_ns"] == 990


def test_rates_name_what_came():
    assert probe._rates({"a": 1, "b": 5}, {"a": 3, "b": 5, "c": 9}, 2_000_000_000) == {"c": 4.5, "a": 1.0}
    assert probe._rates(None, {}, 1) == {}
