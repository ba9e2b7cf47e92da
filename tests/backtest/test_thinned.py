"""However many quotes a run has, what is kept of them for drawing and for percentiles is bounded, and even."""

from __future__ import annotations

import numpy as np
import pytest

from engine.record.records import Template
from replay.backtest import thinned
from replay.backtest.journaled import JournalFeed
from replay.backtest.measured import measured
from replay.backtest.thinned import Thinned
from tests.backtest import desk


@pytest.mark.parametrize("sizes", [[1] * 100, [100], [7, 0, 50, 43]])
def test_every_so_many_th_of_all_is_kept(monkeypatch, sizes):
    monkeypatch.setattr(thinned, "MOST", 10)
    found, at = Thinned(np.dtype(np.int64)), 0
    for size in sizes:
        found.take(np.arange(at, at + size))
        assert len(found.rows) <= 10
        at += size
    assert (found.seen, found.stride) == (100, 16)
    assert found.rows.tolist() == [0, 16, 32, 48, 64, 80, 96]


def test_few_are_all_kept(monkeypatch):
    monkeypatch.setattr(thinned, "MOST", 10)
    found = Thinned(np.dtype(np.int64))
    found.take(np.arange(10))
    assert (found.rows.tolist(), found.seen, found.stride) == (list(range(10)), 10, 1)


def test_the_quotes_of_a_run_are_thinned_and_its_latency_is_measured(tmp_path, monkeypatch):
    settings = desk.config(tmp_path / "run")
    result = desk.play(settings, orders=0, latency_us=50)
    day = desk.day_of(settings)
    count = len(day.positions(Template.QUOTE))
    feed = JournalFeed(result.run_dir, settings, 50_000)
    whole = feed.quotes()
    assert len(whole) == count > 400
    monkeypatch.setattr(thinned, "MOST", 100)
    few = feed.quotes()
    assert 50 < len(few) <= 100
    assert few.tobytes() == whole[:: -(-count // len(few))].tobytes()
    told = measured(result.run_dir).feed
    assert told is not None
    assert (told.count, told.p50_ns, told.p99_ns) == (count, 50_000, 50_000)
