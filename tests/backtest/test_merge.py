"""Several feeds as one: the bytes of the day that has them all, however small the stretches."""

from __future__ import annotations

import numpy as np
import pytest

from engine.record.records import Template
from gateways.feeds.names import Names
from gateways.feeds.recording import Recording, build
from gateways.feeds.synthetic import generate
from replay.backtest.merge import merged
from replay.backtest.play import parts_of
from replay.backtest.settings import Backtest


@pytest.mark.parametrize("stretch", [1, 7, 1 << 14])
def test_a_day_in_parts_is_the_day(stretch):
    names = Names.listed("NYBP", ("AA", "BB"))
    day = generate(1, names, quotes=700, trades=200)
    quotes, trades = day.records(Template.QUOTE), day.records(Template.TRADE)
    quotes["ts_event_ns"] //= 10**10  # many of one time
    trades["ts_event_ns"] //= 10**10
    quotes["ts_event_ns"] *= 10**10
    trades["ts_event_ns"] *= 10**10
    whole = build([trades, quotes], names)
    assert len(np.unique(whole.times)) < whole.count // 2
    parts = [build([rows[rows["venue_id"] == v]], names) for rows in (trades, quotes) for v in range(4)]
    laid = np.concatenate(list(merged(parts, stretch)))
    assert np.array_equal(_unnumbered(laid), _unnumbered(whole.data))


def _unnumbered(data):
    """Records as words, without the numbers that a part gives them."""
    words = np.array(data).view("<i8")
    at = 0
    while at < len(words):
        words[at + 2] = 0
        at += ((int(words[at]) & 0xFFFF) + 8) // 8
    return words


def test_a_part_of_the_time():
    names = Names.listed("NY")
    days = [generate(seed, names, quotes=300, trades=50) for seed in (1, 2)]
    when = "2018-01-02T16:00:00"
    early = parts_of(days, Backtest(end=when))
    late = parts_of(days, Backtest(begin="16:00:00"))
    assert sum(day.count for day in early + late) == 700
    assert max(day.last_ns for day in early) < min(day.first_ns for day in late)
    assert all(isinstance(day, Recording) and int(day.offsets[-1]) == len(day.data) for day in early + late)
