"""Stress tests: peaks and intervals against plain counting, verdicts by hand, and one through real processes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.main import main
from engine.io import histogram
from engine.record.records import Template
from engine.run import config as c
from gateways.feeds import synthetic
from gateways.feeds.names import Names
from replay.stress import interval as intervals
from replay.stress.judge import Played, Taken, rate_of
from replay.stress.pictures import page
from replay.stress.settings import as_toml, settings_of
from replay.stress.structs import Stress
from tests.replay.desk import config, record_day

# The first test of a worker compiles the core where the cache is empty.
pytestmark = pytest.mark.timeout(900)
MS = 1_000_000


@given(st.lists(st.integers(0, 300), min_size=1, max_size=40), st.sampled_from([1, 10, 100]))
def test_peaks_are_what_counting_says(offsets, window_ms):
    times = np.sort(np.array(offsets, dtype=np.int64) * MS // 2)
    found = intervals.peak(times, window_ms)
    counts = [sum(begin <= t < begin + window_ms * MS for t in times.tolist()) for begin in times.tolist()]
    assert found.messages == max(counts)
    assert found.begin_ns == times[counts.index(max(counts))]
    assert found.per_s == found.messages * 1000 / window_ms


@pytest.fixture(scope="module")
def day():
    return synthetic.generate(3, Names.of(config()), quotes=400, trades=100)


def test_an_interval_begins_with_the_books_as_they_were(day):
    begin, end = int(day.times[200]), int(day.times[300])
    part = intervals.of_day(day, begin, end)
    assert part.records == int(((day.times >= begin) & (day.times < end)).sum())
    quotes = day.records(Template.QUOTE)
    for venue in range(len(day.names.venues)):
        before = quotes[(quotes["venue_id"] == venue) & (quotes["ts_event_ns"] < begin)]
        mine = part.opening[part.opening["venue_id"] == venue]
        assert len(mine) == min(len(before), 1)
        if len(before):
            assert mine["bid_px"][0] == before["bid_px"][-1]
            assert mine["ask_px"][0] == before["ask_px"][-1]


def test_faster_is_the_same_in_less_time(day):
    begin, end = int(day.times[200]), int(day.times[300])
    part = intervals.of_day(day, begin, end)
    played, start = intervals.faster(part, 4.0, 3)
    counted = played.times[played.times >= start]
    assert len(counted) == 3 * part.records
    inside = day.times[(day.times >= begin) & (day.times < end)]
    expected = np.concatenate([begin + ((inside - begin + n * (end - begin)) / 4.0).astype(np.int64) for n in range(3)])
    assert counted.tolist() == expected.tolist()
    assert intervals.copies_for(part, 4.0, 2 * (end - begin) / 4e9, 1 << 30) == 2
    assert intervals.copies_for(part, 4.0, 1e9, 2 * part.records + 1) == 2


def test_a_runs_interval_is_what_its_engine_had(run_dir):
    settings = config()
    times = intervals.times_of_run(run_dir, settings)
    assert (np.diff(times) >= 0).all()
    begin, end = int(times[100]), int(times[300])
    part = intervals.of_run(run_dir, settings, begin, end)
    wanted = int(((times >= begin) & (times < end)).sum())
    assert 0 < part.records <= wanted
    assert all(((rows["ts_event_ns"] >= begin) & (rows["ts_event_ns"] < end)).all() for rows in part.parts)
    assert (part.opening["ts_event_ns"] < begin).all()


def played(records, blocked=0, late_ns=0, **more):
    return Played(
        times=2.0, epoch=1, origin_ns=0, first_ns=0, begin_ns=0, records=records, planned_ns=records * MS,
        blocked=blocked, blocked_s=0.0, sender_late_ns=late_ns, service=histogram.empty(), tries=1, **more,
    )  # fmt: skip


def rate(facts, due, taken, bound_ns, asked=()):
    """The row of a rate; `asked` are the places of clients' requests."""
    is_request = np.isin(np.arange(len(due)), asked)
    return rate_of(facts, Taken(due, taken, is_request, Counter()), bound_ns)


def test_a_rate_that_held_by_hand():
    due = np.arange(4) * MS
    row = rate(played(4), due, due + np.array([1, 2, 3, 4]) * 1000, bound_ns=5000)
    assert row.held
    assert (row.response.max_ns, row.response.p50_ns) == (4000, None)
    assert (row.backlog_most, row.backlog_last, row.planned_per_s) == (0, 1, 1000.0)


@pytest.mark.parametrize(
    ("facts", "taken", "said"),
    [
        ({}, 4, "a backlog grew"),
        ({"blocked": 3}, 4, "a full queue stopped the sender"),
        ({"late_ns": 6000}, 4, "the sender itself"),
        ({"blocked": 3, "venues_behind": 5000}, 4, "the simulated venues were 5,000 messages behind"),
        ({}, 3, "1 of 4 records were not taken in"),
    ],
)
def test_a_rate_that_did_not_hold_says_why(facts, taken, said):
    due = np.arange(4) * MS
    row = rate(played(4, **facts), due[:taken], due[:taken] + 7000, bound_ns=5000)
    assert not row.held
    assert said in row.why


def test_one_stall_counts_for_all_that_came_due_meanwhile():
    """The engine stands still for 50 ms in the middle of 1,000 records, a millisecond apart: 50 of them are late."""
    due = np.arange(1000) * MS
    taken = np.maximum(due + 1000, np.where(due >= 500 * MS, 550 * MS, 0))
    row = rate(played(1000), due, taken, bound_ns=10 * MS)
    assert (row.response.max_ns, row.response.p99_ns) == (50 * MS, 40 * MS)
    assert row.backlog_most == 50
    assert not row.held


def test_nothing_taken_in_is_told():
    row = rate(played(4), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), bound_ns=1)
    assert (row.taken, row.held, row.backlog_most) == (0, False, 4)


def test_requests_are_held_to_the_bound_by_themselves():
    """Twenty late requests among 100,000 quotes are in no percentile of all records."""
    due = np.arange(100_000) * 1000
    late = np.arange(20) * 5000
    taken = due + np.where(np.isin(np.arange(len(due)), late), 7 * MS, 100)
    row = rate(played(len(due), requests=20), due, taken, bound_ns=5 * MS, asked=late)
    assert row.response.p99_9_ns == 100
    assert (row.request_response.count, row.request_response.max_ns) == (20, 7 * MS)
    assert not row.held
    assert "response to clients' requests of 7.000 ms" in row.why


def test_a_request_that_overtakes_does_not_disturb_the_backlog():
    """Feeds and clients come over different links: what was due first may be taken in second."""
    row = rate(played(3, requests=1), np.array([2, 1, 3]) * MS, np.array([4, 5, 6]) * MS, 10 * MS, asked=[0])
    assert (row.backlog_most, row.backlog_last, row.seconds) == (2, 3, 0.005)


def test_the_engine_under_test_reaches_no_production_endpoint(tmp_path):
    settings = settings_of(config(), tmp_path / "run", Path("/tmp/sockets"), -1)
    path = tmp_path / "s.toml"
    path.write_text(as_toml(settings))
    assert c.load(path) == settings
    text = path.read_text()
    assert "ipc:///unused" not in text
    assert {row.calendar for row in settings.venue} == {""}
    assert settings.engine.clock == "monotonic"
    assert {row.endpoint for row in settings.feed} == {"ipc:///tmp/sockets/feed"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{folder}"], 2, "is a directory without a journal"),
        (["{folder}/no.csv"], 1, "cannot be read"),
        (["{run}", "{run}"], 2, "is played alone"),
        (["{run}", "--rates", "1,x"], 2, "--rates"),
        (["{run}", "--orders", "p.csv"], 2, "whose own clients' orders are played"),
        (["{run}", "--out", "{folder}"], 2, "is there already"),
    ],
)
def test_wrong_use(run_dir, tmp_path, capsys, arguments, code, said):
    given_ = [text.format(folder=tmp_path, run=run_dir) for text in arguments]
    assert main(["stress", *given_]) == code
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.torture
def test_a_run_is_played_faster_and_faster(tmp_path):
    run_dir = tmp_path / "run"
    record_day(run_dir, quotes=600, trades=150, orders=300)
    where = ["--json", str(tmp_path / "s.json"), "--html", str(tmp_path / "s.html")]
    speeds = ["--interval", "3600000", "--rates", "4000,8000", "--seconds", "1", "--bound-ms", "2000"]
    code = main(["stress", str(run_dir), *speeds, *where])
    found = msgspec.json.decode((tmp_path / "s.json").read_bytes(), type=Stress)
    assert code == 0
    assert [row.times for row in found.rates] == [4000.0, 8000.0]
    assert found.venues == "simulated"
    assert found.interval_requests > 0
    for row in found.rates:
        assert row.requests > 0
        assert row.request_response is not None
        assert row.request_response.count == row.requests
        assert row.orders_sent > 0
        assert row.reports > 0
        assert row.venues_behind < 1000
        assert row.taken == row.records == row.response.count
        assert row.service.count >= row.records
        assert row.response.max_ns is not None
        assert row.response.max_ns > 0
        assert row.planned_per_s == pytest.approx(found.interval_per_s * row.times, rel=0.01)
    assert found.headroom == 8000.0
    text = (tmp_path / "s.html").read_text()
    assert "<svg" in text
    assert text == page(found)
    assert json.loads((tmp_path / "s.json").read_bytes())["peaks"][0]["window_ms"] == 1000
