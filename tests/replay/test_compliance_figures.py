"""The figures of the compliance report against answers that were worked out by hand, or by another program."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.io.histogram import HIGHEST, LENGTH, record
from engine.io.journal_reader import JournalReader
from engine.record.records import ControlAction, ExecType, OrdStatus, Reason, Scope, Template
from replay.compliance import quantiles, tally
from replay.compliance.document import moment, shown, span
from replay.compliance.make import make
from replay.compliance.parts_orders import legal
from replay.compliance.quantiles import Histogram, corrected, quantile, quotable, spread
from tests.replay.made import BASE, START_NS, Made, alert_log, clock_log, sample, small

pytestmark = pytest.mark.timeout(600)


def table(report, name):
    """Rows of a table as dicts; None where it is not there."""
    found = [t for part in report.parts for t in part.tables if t.id == name]
    return [dict(zip([c.key for c in found[0].columns], row, strict=True)) for row in found[0].rows] if found else None


def missing(report, part):
    return " ".join(report.parts[part].missing)


def run_id(run_dir):
    with JournalReader(run_dir) as reader:
        return reader.run_id.hex()


def histogram(values):
    counts = np.zeros(LENGTH, dtype=np.int64)
    for value in values:
        if 0 <= value <= HIGHEST:
            record(counts, int(value))
    below, above = sum(v < 0 for v in values), sum(v > HIGHEST for v in values)
    return Histogram(counts[: tally.CELLS], min(values), max(values), below, above)


# Times are cut, never rounded.


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_999, "1.999 µs"),
        (999_999, "999.999 µs"),
        (1_999_999, "1.999 ms"),
        (999_999_999, "999.999 ms"),
        (1_999_999_999, "1.999 s"),
        (59_999_999_999, "59.999 s"),
        (-1_999_999, "-1.999 ms"),
    ],
)
def test_spans_are_cut(ns, text):
    assert span(ns) == text
    assert shown(ns, "ns") == text


@pytest.mark.parametrize(
    ("digits", "text"),
    [
        (9, "2018-01-02 14:30:00.999999999"),
        (6, "2018-01-02 14:30:00.999999"),
        (3, "2018-01-02 14:30:00.999"),
        (0, "2018-01-02 14:30:00"),
    ],
)
def test_moments_are_cut(digits, text):
    assert moment(1_514_903_400_999_999_999, digits) == text


# Percentiles and their intervals.


def test_no_percentile_has_fewer_than_ten_values_beyond_it():
    assert quotable(20, 50.0)
    assert not quotable(19, 50.0)
    assert quotable(10_000, 99.9)
    assert not quotable(9_999, 99.9)
    assert quotable(100_000, 99.99)
    assert not quotable(99_999, 99.99)
    told = spread(histogram(range(1, 100)))
    assert told.quantiles[0].value_ns == 50
    assert told.quantiles[1] == quantiles.NONE
    assert (told.n, told.lowest_ns, told.highest_ns) == (99, 1, 99)


@given(st.lists(st.integers(-1000, 2000), min_size=20, max_size=60))
def test_a_percentile_is_the_value_of_its_rank(values):
    found = histogram(values)
    told = quantile(found, np.cumsum(found.cells), 50.0)
    assert told.value_ns is not None
    exact = sorted(values)[math.ceil(len(values) / 2) - 1]
    if exact >= 0:
        assert told.value_ns == exact
    else:
        assert told.value_ns < 0
    assert spread(found).lowest_ns == min(values)


def test_intervals_are_those_of_resampling():
    draws = np.random.default_rng(3)
    values = draws.integers(0, 2000, 400)
    found = histogram(values.tolist())
    told = quantile(found, np.cumsum(found.cells), 90.0)
    resampled = np.sort(draws.choice(values, (4000, 400)), axis=1)[:, 360 - 1]
    low, high = np.percentile(resampled, (2.5, 97.5))
    assert abs(told.low_ns - low) <= 25
    assert abs(told.high_ns - high) <= 25
    assert told == quantile(found, np.cumsum(found.cells), 90.0)


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=30), st.integers(1, 500))
def test_corrected_figures_are_as_hdr_histograms_java_has_them(values, interval_ns):
    added = list(values)
    for value in values:  # recordSingleValueWithExpectedInterval
        missing_value = value - interval_ns
        while missing_value >= interval_ns:
            added.append(missing_value)
            missing_value -= interval_ns
    assert corrected(histogram(values), interval_ns).cells.tolist() == histogram(added).cells.tolist()


# Coordinated omission: an order each millisecond; at the thirtieth the loop stands still for 50 ms.


@pytest.fixture(scope="module")
def stalled(tmp_path_factory):
    made = Made(tmp_path_factory.mktemp("stalled") / "run")
    service, stall = 10_000, 50_000_000
    free_ns, responses = 0, []
    for n in range(1, 101):
        planned_ns = START_NS + n * 1_000_000
        taken_ns = max(planned_ns, free_ns)
        total_ns = stall if n == 30 else service
        free_ns = taken_ns + total_ns
        responses.append(free_ns - planned_ns)
        made.input(Template.ORDER_NEW, taken_ns, planned_ns, qty=100)
        made.stages(total_ns)
    return make([made.close()], "eu-2026", replays=0), responses


def test_response_time_holds_the_wait_that_service_time_omits(stalled):
    report, responses = stalled
    service, _, response = (row for row in table(report, "5.1") if "corrected" not in row["measure"])
    assert service["n"] == response["n"] == 100
    assert (service["min_ns"], service["max_ns"]) == (10_000, 50_000_000)
    assert int(service["p90_ns"].split()[0]) < 10_010
    assert (response["min_ns"], response["max_ns"]) == (min(responses), max(responses)) == (10_000, 50_000_000)
    wanted = sorted(responses)[89]
    assert wanted > 30_000_000
    assert int(response["p90_ns"].split()[0]) == pytest.approx(wanted, rel=0.001)


def test_with_the_feed_as_clock_there_is_no_response_time(tmp_path):
    made = Made(tmp_path / "run", clock="feed")
    made.order(1, START_NS)
    report = make([made.close()], "eu-2026", replays=0)
    assert not [row for row in table(report, "5.1") if row["measure"].startswith("response")]
    assert "no response time" in missing(report, 5)


# Clocks.


@pytest.fixture(scope="module")
def clocks(tmp_path_factory):
    """Two runs: one whose sources' clock is ahead, with logs beside it; one without logs."""
    folder = tmp_path_factory.mktemp("clocks")
    made = Made(folder / "a")
    for n in range(40):
        at_ns = START_NS + n * 1_000_000_000
        made.input(Template.ORDER_NEW, at_ns, at_ns + (5_000 if n % 4 == 0 else -5_000), qty=100)
        made.stages(1_000 + n)
    a = made.close()
    rows = [sample(START_NS + n * 1_000_000_000 - 1, 1_000, 2_000) for n in range(41)]
    rows[10]["offset_ns"] = 500_000
    rows[11]["error_bound_ns"] = None
    rows[20]["synchronised"] = False
    clock_log(a, run_id(a), rows)
    alerts = [{"event_ns": START_NS, "sent_ns": START_NS + d, "code": "COLLAR"} for d in (1_000, 2_000_000, 6 * 10**9)]
    alert_log(a, run_id(a), alerts)
    return make([small(folder / "b", 8, day=1), a], "eu-2026", replays=0)


def test_negative_latencies_are_listed_and_not_clipped(clocks):
    response = next(row for row in table(clocks, "5.1") if row["measure"].startswith("response"))
    assert response["negative"] == 10
    assert response["min_ns"] == -4_000
    listed = table(clocks, "6.4")
    assert [row["value_ns"] for row in listed if row["what"] == "response"] == [-4_000 + 4 * k for k in range(10)]
    assert {row["run"] for row in listed} == {"R1"}
    assert all(row["seq"] > 0 for row in listed)


def test_clock_excursions_mark_the_latencies_within_them(clocks):
    day_ns = 86_400_000_000_000
    assert [(row["run"], row["kind"], row["begin"], row["end"]) for row in table(clocks, "6.2")] == [
        ("R1", "outside", START_NS + 9 * 10**9 - 1, START_NS + 12 * 10**9 - 1),
        ("R1", "outside", START_NS + 19 * 10**9 - 1, START_NS + 21 * 10**9 - 1),
        ("R2", "unknown", START_NS + day_ns + 1_000_000, START_NS + day_ns + 8_000_000),
    ]
    row, without = table(clocks, "6.1")
    assert (row["samples"], row["inside"], row["unknown"], row["excursions"]) == (41, 38, 1, 2)
    assert (row["share_outside"], row["share_unknown"], row["gaps"]) == (5 / 39, 0, 0)
    assert (without["share"], without["share_unknown"], without["gaps"]) == (0, 1, 1)
    found = {(row["measure"], row["kind"]): row["n"] for row in table(clocks, "6.3")}
    assert found["service", "outside"] == found["response", "outside"] == 5
    assert found["service", "unknown"] == 8 + 6  # of the run without a log: all of it
    assert "R2: no clock.jsonl" in missing(clocks, 6)


def test_alerts_are_held_to_five_seconds(clocks):
    (row,) = table(clocks, "9.2")
    assert (row["alerts"], row["late"], row["max_ns"]) == (3, 1, 6 * 10**9)
    assert [late["delay_ns"] for late in table(clocks, "9.3")] == [6 * 10**9]
    assert "R2: no alerts.jsonl" in missing(clocks, 9)


# Orders, controls, gaps.


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A run in which things happen that must not, and commands."""
    made = Made(tmp_path_factory.mktemp("odd") / "run")
    for n in (1, 2, 3):
        made.order(n, START_NS + n * 1_000)
    made.fill(1, START_NS + 10_000)
    # The venue calls the filled order new again: illegal. Order 2's fill is told with a CumQty that does not follow.
    child = BASE | (1 << 39)
    made.input(Template.ACK, START_NS + 20_000, order_id=child | 1, exec_type=ExecType.NEW, ord_status=OrdStatus.NEW,
               venue_id=0)  # fmt: skip
    made.output(Template.FILL, order_id=BASE | 2, last_qty=10, cum_qty=60, exec_type=ExecType.TRADE,
                ord_status=OrdStatus.PARTIALLY_FILLED)  # fmt: skip
    made.output(Template.ACK, order_id=BASE | 2, cum_qty=50, exec_type=ExecType.ORDER_STATUS,
                ord_status=OrdStatus.PARTIALLY_FILLED)  # fmt: skip
    made.input(Template.FILL, START_NS + 21_000, order_id=child | 99, last_qty=5, exec_type=ExecType.TRADE, venue_id=0)
    made.input(Template.FILL, START_NS + 22_000, order_id=child | 2, last_qty=5, exec_type=ExecType.TRADE, venue_id=0)
    made.output(Template.REFUSAL, input_template=Template.FILL, reason=Reason.DUPLICATE_EXEC)
    made.input(Template.CONTROL, START_NS + 23_000, action=ControlAction.KILL_ON, scope=Scope.ALL, actor_id=1001)
    made.input(Template.LIMIT_CHANGE, START_NS + 24_000, rule=2, scope=Scope.INSTRUMENT, old_value=-1, value=9,
               actor_id=1001, actor_2=1002, request_id=3, expires_ns=START_NS + 10**9)  # fmt: skip
    made.output(Template.CONTROL_REPORT, rule=2, scope=Scope.INSTRUMENT, value=9, old_value=5, request_id=3)
    made.output(Template.RISK_BLOCK, rule=4, order_id=BASE | 3, value=7, limit=5)
    made.input(Template.SESSION_DOWN, START_NS + 25_000, stream_id=1, session_id=1, reason=Reason.PEER_SILENT)
    made.output(Template.ALERT, code=Reason.SEQUENCE_GAP, order_id=17)
    return make([made.close()], "us", replays=0)


def test_illegal_transitions_orphans_and_breaks_are_found(odd):
    found = {row["what"]: row["n"] for row in table(odd, "11.0")}
    assert found["illegal transitions"] == 1
    assert found["orphans: reports of unknown orders"] == 1
    assert found["breaks: CumQty is not the one before and LastQty"] == 1
    assert found["breaks: CumQty fell without a bust or correction"] == 1
    assert found["breaks: a venue's last CumQty is not the sum of its executions"] == 1
    (bad,) = [row for row in table(odd, "11.1") if row["legal"] == "NO"]
    assert (bad["side"], bad["before"], bad["after"], bad["n"]) == ("venue", "filled", "new", 1)
    assert {row["what"] for row in table(odd, "11.3")} == {"orphan", "CumQty fell", "CumQty jumped"}


def test_a_refused_report_is_not_booked(odd):
    venue = table(odd, "10.1")[0]
    assert (venue["orders"], venue["fills"], venue["filled"]) == (3, 1, 100)
    assert {"record": "FILL", "reason": "duplicate exec", "n": 1} in table(odd, "7.6")


def test_money_is_of_one_currency_and_orders_of_their_own_strategy(tmp_path):
    made = Made(tmp_path / "run", currencies=("USD", "EUR"))
    for n, (algo, instrument) in enumerate(((0, 0), (0, 1), (3, 1), (3, 1)), 1):
        made.order(n, START_NS + n * 1_000, qty=100 * n, algo_id=algo, instrument_id=instrument)
        made.fill(n, START_NS + 10_000 + n, qty=100 * n, instrument_id=instrument)
    report = make([made.close()], "uk", replays=0)
    (name,) = {row["strategy"] for row in table(report, "10.1") if "#" not in row["strategy"]}
    found = {
        (row["strategy"], row["currency"]): (row["orders"], row["routed"], row["filled"], row["money"])
        for row in table(report, "10.1")
    }
    # A price of 100.
    assert found == {
        (name, "USD"): (1, 100, 100, 10_000),
        (name, "EUR"): (1, 200, 200, 20_000),
        (f"{name}#3", "EUR"): (2, 700, 700, 70_000),
    }
    assert {row["strategy"]: row["n"] for row in table(report, "3.3")} == {name: 4, f"{name}#3": 4}
    (figure,) = [f for f in report.parts[10].figures if f.id == "10.a"]
    assert [(line.name, line.y) for line in figure.lines] == [("routed", [200, 100, 700]), ("filled", [200, 100, 700])]


def test_controls_are_told_with_who_gave_them(odd):
    (command,) = table(odd, "8.3")
    assert (command["what"], command["scope"], command["actor"]) == ("kill on", "all", "uid 1001")
    (change,) = table(odd, "8.5")
    assert (change["kind"], change["new"], change["second"]) == ("override", "9", "uid 1002")
    assert (change["old"], change["outcome"]) == ("5", "made")
    (block,) = table(odd, "8.1")
    assert block == {"rule": "collar", "n": 1}


def test_orders_in_flight_at_a_disconnect(odd):
    (down,) = table(odd, "7.1")
    assert (down["what"], down["session"], down["reason"]) == ("down", "venues", "peer silent")
    assert down["in_flight"] == 3  # orders 2 and 3, and the one that its venue called new again
    assert table(odd, "7.2")[0]["about"] == 17


def test_legal_transitions():
    assert legal("none", "new", "new")
    assert legal("filled", "canceled", "trade cancel")
    assert legal("canceled", "canceled", "trade")
    assert not legal("filled", "new", "new")
    assert not legal("canceled", "partially filled", "trade")
    assert not legal("partially filled", "new", "new")
    assert not legal("new", "pending new", "pending new")


# Months of runs, and runs with nothing in them.


def test_months_of_runs_add_up_exactly(tmp_path):
    paths = [small(tmp_path / f"run{n}", 20 + n, day=n) for n in range(4)]
    alone = [make([path], "uk", replays=0) for path in paths]
    whole = make(paths[::-1], "uk", replays=0)
    assert [run.name for run in whole.runs] == [path.name for path in paths]

    def total(report, name, column):
        return sum(row[column] for row in table(report, name))

    for name, column in (("3.1", "n"), ("3.4", "n"), ("4.1", "n"), ("10.1", "filled"), ("11.1", "n"), ("1.3", "n")):
        assert total(whole, name, column) == sum(total(report, name, column) for report in alone) > 0
    assert len({row["begin"] for row in table(whole, "4.1")}) == 4


def test_parts_without_data_say_why(tmp_path):
    report = make([Made(tmp_path / "empty").close()], "eu-2026", replays=0)
    assert len(report.parts) == 14
    for number in (3, 4, 5, 6, 7, 8, 9, 10, 12):
        assert report.parts[number].missing, number
