"""Nothing that is missing is taken for good: time without clock samples, alerts never sent, what is not listed."""

from __future__ import annotations

import pickle
from collections import Counter

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.ids import CHILD_BIT
from engine.io.journal_reader import JournalReader
from engine.record.records import ControlAction, Reason, RiskRule, Template
from engine.run import manifest
from engine.run.commit import commit
from engine.run.config import Retention
from replay.compliance import parts_alerts, profile, quality
from replay.compliance.beside import ClockLine, excursions
from replay.compliance.document import Input
from replay.compliance.make import make
from replay.compliance.profile import load, names
from replay.compliance.rare import Thinned
from replay.compliance.runs import Pass
from replay.compliance.stressed import SIX_MONTHS_NS, Recorded, Stressed, texts
from replay.compliance.tally import OUTSIDE, RARE, UNKNOWN
from replay.stress.structs import Stress
from replay.watch.journaled import JournalAlerts
from replay.watch.names import Names, UtcClock
from replay.watch.tail import templates
from tests.replay.made import BASE, START_NS, Made, alert_log, clock_log, sample, small
from tests.replay.test_compliance import a_stress_test

pytestmark = pytest.mark.timeout(600)
S = 1_000_000_000
DAY_NS = 86_400 * S
FILE = Input(run="stress", name="stress.json", size=1, sha256="0")


def table(report, name):
    """Rows of a table as dicts; none where it is not there."""
    found = [t for part in report.parts for t in part.tables if t.id == name]
    return [dict(zip([c.key for c in found[0].columns], row, strict=True)) for row in found[0].rows] if found else []


def left_out(report):
    return {row["what"]: row["n"] for row in table(report, "13.1")}


def run_id(run_dir):
    with JournalReader(run_dir) as reader:
        return reader.run_id.hex()


# Citations.


def test_what_no_part_answers_is_no_citation_and_is_said_not_to_be_covered(run_dir, tmp_path, monkeypatch):
    for name in names():
        for rule in load(name).rules:
            assert rule.parts or (not rule.verified and "not covered" in rule.asks), (name, rule.id)
    text = (profile.FOLDER / "us.toml").read_text(encoding="utf-8")
    assert text.count("parts = [10]") == 1
    (tmp_path / "us.toml").write_text(text.replace("parts = [10]", "parts = []"), encoding="utf-8")
    monkeypatch.setattr(profile, "FOLDER", tmp_path)
    report = make([run_dir], "us", replays=0)
    row = next(row for row in table(report, "0.2") if row["rule"] == "execution")
    assert row["parts"] == "none: not covered"
    assert "605" not in row["citation"]
    assert any("execution" in text for text in report.parts[0].missing)


# The clock.


def line(at_ns, good=True, **more):
    offset_ns = 0 if good else 99
    return ClockLine(realtime_ns=at_ns, clock_ns=at_ns, source="x", offset_ns=offset_ns, error_bound_ns=0, **more)


@given(st.dictionaries(st.integers(0, 60), st.booleans(), max_size=20), st.integers(1, 6), st.integers(0, 30))
def test_excursions_are_those_of_a_slow_reading(samples, every, begin):
    lines = [line(at, samples[at]) for at in sorted(samples)]
    found = excursions(lines, 10, every, begin)
    assert (found[1:, 0] >= found[:-1, 1]).all()
    for at in range(begin, 70):
        before = max((t for t in samples if t <= at), default=None)
        after = min((t for t in samples if t > at), default=None)
        if before is None or after is None or after - before > 2 * every:
            wanted = UNKNOWN
        else:
            wanted = 0 if samples[before] and samples[after] else OUTSIDE
        assert [int(k) for b, e, k in found if b <= at < e] == ([wanted] if wanted else []), at


def test_gaps_are_measured_by_the_clock_that_nobody_sets():
    set_forward = [line(1 * S, monotonic_ns=5 * S), line(100 * S, monotonic_ns=6 * S)]
    assert [int(row[2]) for row in excursions(set_forward, 10, S, 1 * S)] == [UNKNOWN]  # behind the last one
    asleep = [line(1 * S, monotonic_ns=5 * S), line(2 * S, monotonic_ns=50 * S)]
    assert excursions(asleep, 10, S, 1 * S)[0].tolist()[0] == 1 * S
    another_boot = [line(1 * S, monotonic_ns=500 * S), line(2 * S, monotonic_ns=1 * S)]
    assert excursions(another_boot, 10, S, 1 * S)[0].tolist()[0] == 1 * S


def seconds(folder, count=100):
    """A run with an order a second."""
    made = Made(folder)
    for n in range(count):
        made.input(Template.ORDER_NEW, START_NS + n * S, START_NS + n * S - 500, qty=100)
        made.stages(1_000)
    return made.close()


def test_the_cover_has_the_hosts_tuning_and_the_commit(tmp_path):
    for n, cpus in enumerate(("3", "3", "")):
        host = {"boot": {"isolcpus": cpus, "parameters": {"nohz": "on"}}, "kernel": {"watchdog": None}}
        made = Made(tmp_path / f"run{n}", host=host)
        made.input(Template.ORDER_NEW, START_NS + n * 3600 * S, qty=100)
        made.close()
    made = Made(tmp_path / "run3")
    made.input(Template.ORDER_NEW, START_NS + 4 * 3600 * S, qty=100)
    report = make([tmp_path / f"run{n}" for n in range(3)], "eu-2026", replays=0)
    rows = [(row["section"], row["fact"], row["value"], row["runs"]) for row in table(report, "0.5")]
    assert rows == [
        ("boot", "isolcpus", "3", "R1, R2"), ("boot", "isolcpus", "not set", "R3"),
        ("boot", "parameters", '{"nohz": "on"}', "all"), ("kernel", "watchdog", "unknown", "all"),
    ]  # fmt: skip
    assert {row["commit"] for row in table(report, "0.3")} == {commit() or None}
    assert not any("how the machine was set up" in text for text in report.parts[0].missing)
    report = make([made.close()], "eu-2026", replays=0)
    assert any(text.startswith("R1: how the machine was set up is not on") for text in report.parts[0].missing)
    assert "0.5" not in {table.id for table in report.parts[0].tables}


def test_what_retention_lets_go_is_said(tmp_path):
    for name, hours in (("all", 0), ("some", 48)):
        made = Made(tmp_path / name, retention=Retention(hours=hours))
        made.input(Template.ORDER_NEW, START_NS, qty=100)
        made.output(Template.ALERT, code=Reason.SEQUENCE_GAP, order_id=17)
        part = make([made.close()], "eu-2026", replays=0).parts[1]
        told = [text for text in part.missing if "[retention]" in text]
        assert len(told) == (hours > 0)
        assert all("hours = 48" in text and "first frame that is here is 0" in text for text in told)
    (row,) = table(make([tmp_path / "all"], "eu-2026", replays=0), "1.1")
    assert row["gaps"] == 1


def test_time_without_samples_is_unknown_and_its_latencies_are_marked(tmp_path):
    run = seconds(tmp_path / "run")
    clock_log(run, run_id(run), [sample(START_NS + n * S, 0, 0) for n in (*range(10, 41), *range(60, 81))])
    report = make([run], "eu-2026", replays=0)
    rows = [(row["kind"], row["begin"] - START_NS, row["end"] - START_NS) for row in table(report, "6.2")]
    assert rows == [("unknown", 0, 10 * S), ("unknown", 40 * S, 60 * S), ("unknown", 80 * S, 99 * S)]
    (row,) = table(report, "6.1")
    assert (row["gaps"], row["excursions"], row["inside"]) == (3, 0, 52)
    assert (row["share"], row["share_outside"], row["share_unknown"]) == (50 / 99, 0, 49 / 99)
    found = {(row["measure"], row["kind"]): row["n"] for row in table(report, "6.3")}
    assert found == {("service", "unknown"): 10 + 20 + 20, ("response", "unknown"): 10 + 20 + 20}


def test_an_empty_clock_log_is_no_log(tmp_path):
    run = seconds(tmp_path / "run", 3)
    clock_log(run, run_id(run), [])
    part = make([run], "eu-2026", replays=0).parts[6]
    assert any(text.startswith("R1: no clock.jsonl lies beside the run, or it has no sample") for text in part.missing)


# Alerts that were never sent.


def told(kind, code, count, source="journal"):
    row = {"event_ns": START_NS, "sent_ns": START_NS + 1_000, "code": code, "kind": kind, "severity": "warning"}
    return row | {"count": count, "source": source}


def test_events_without_an_alert_are_counted(tmp_path):
    made = Made(tmp_path / "run")
    for n in range(1, 4):
        made.order(n, START_NS + n * 1_000)
        made.output(Template.RISK_BLOCK, rule=RiskRule.COLLAR, order_id=n, value=7, limit=5)
    made.output(Template.ALERT, code=Reason.SEQUENCE_GAP, order_id=17)
    made.input(Template.CONTROL, START_NS + 9_000, action=ControlAction.KILL_ON, actor_id=1001)
    made.input(Template.MALFORMED, START_NS + 9_500, reason=Reason.WRONG_LENGTH)
    run = made.close()
    lines = [told("limit", "COLLAR", 2), told("gap", "SEQUENCE_GAP", 1), told("kill", "KILL_ON", 5, "elsewhere")]
    alert_log(run, run_id(run), lines)
    report = make([small(tmp_path / "without", 3, day=1), run], "eu-2026", replays=0)
    found = {(row["kind"], row["code"]): (row["journaled"], row["sent"], row["unsent"]) for row in table(report, "9.5")}
    assert found == {
        ("limit", "COLLAR"): (3, 2, 1),
        ("gap", "SEQUENCE_GAP"): (1, 1, 0),
        ("kill", "KILL_ON"): (1, 0, 1),
        ("refusal", "WRONG_LENGTH"): (1, 0, 1),
    }
    assert {row["run"] for row in table(report, "9.5")} == {"R1"}


def test_what_is_counted_is_what_the_watch_alerts(run_dir):
    (run,) = Pass([run_dir], 100_000).read().runs
    wanted: Counter[tuple[str, str]] = Counter()
    with JournalReader(run_dir) as reader:
        config = manifest.from_bytes(reader.manifest).read_config()
        alerts = JournalAlerts(Names(config), UtcClock(config))
        for chunk in reader.chunks():
            for event in alerts.look(chunk, templates(chunk), lambda *_: -1):
                wanted[event.kind, event.code] += event.times
    counted = parts_alerts.journaled(run)
    assert counted
    assert {key: n for key, n in counted.items() if key[0] != "reject"} == {
        key: n for key, n in wanted.items() if key[0] != "reject"
    }


# What is not listed is counted.


def test_runs_that_are_not_drawn_are_counted(tmp_path):
    paths = []
    for n in range(10):
        made = Made(tmp_path / f"run{n}")
        made.input(Template.ORDER_NEW, START_NS + n * DAY_NS, qty=100)
        for k in range(2):
            at_ns = START_NS + n * DAY_NS + k
            made.observe(Template.CLOCK_SAMPLE, clock_ns=at_ns, realtime_ns=at_ns)
        paths.append(made.close())
        clock_log(paths[n], run_id(paths[n]), [sample(START_NS + n * DAY_NS, 5, 5)])
    report = make(paths, "uk", replays=0)
    for key in ("6.a", "6.b"):
        (figure,) = [f for f in report.parts[6].figures if f.id == key]
        assert len(figure.lines) == 8
        assert any(f"Figure {key} draws the first 8 of 10 runs" in text for text in report.parts[6].texts)
        assert left_out(report)[f"runs that figure {key} does not draw"] == 2


def test_rows_that_are_not_listed_are_counted(tmp_path):
    run = seconds(tmp_path / "run", 330)
    rows = [sample(START_NS + n * S, 0 if n % 3 else 10**9, 0) for n in range(330)]
    clock_log(run, run_id(run), rows)
    late = [{"event_ns": START_NS, "sent_ns": START_NS + 6 * S + n, "code": "COLLAR"} for n in range(103)]
    alert_log(run, run_id(run), late)
    report = make([run], "eu-2026", replays=0)
    (stretches,) = [t for t in report.parts[6].tables if t.id == "6.2"]
    assert len(stretches.rows) == 100
    # Each third sample is bad, and the last two are good: 110 stretches.
    assert "The first 100 of 110" in stretches.note
    assert left_out(report)["stretches that table 6.2 does not list"] == 10
    (lates,) = [t for t in report.parts[9].tables if t.id == "9.3"]
    assert len(lates.rows) == 100
    assert "The first 100 of 103" in lates.note
    assert left_out(report)["late alerts that table 9.3 does not list"] == 3


def test_records_that_are_not_listed_are_counted(tmp_path):
    made = Made(tmp_path / "run")
    made.order(1, START_NS)
    for n in range(2_003):
        made.output(Template.RISK_BLOCK, rule=RiskRule.COLLAR, order_id=n, value=7, limit=5)
    found = left_out(make([made.close()], "uk", replays=0))
    assert found["records beyond the first 2,000 of a kind a run, not listed in parts 7 and 8"] == 3
    assert found["blocks that table 8.2 does not list"] == 1_800


def test_clock_samples_are_thinned_and_not_cut(tmp_path):
    made = Made(tmp_path / "run")
    count = 4_501
    for n in range(count):
        at_ns = START_NS + n * S
        # An input a second at first, then three: the first 2,000 samples know nothing of those.
        for k in range(1 if n < 2_000 else 3):
            made.input(Template.ORDER_NEW, at_ns + k, qty=100)
        if n % 50 == 0:
            made.stages(1_000)
        made.observe(Template.CLOCK_SAMPLE, clock_ns=at_ns, realtime_ns=0)  # not sampled: in no figure
        made.observe(Template.CLOCK_SAMPLE, clock_ns=at_ns, realtime_ns=at_ns + 7 * n)
    report = make([made.close()], "uk", replays=0)
    (row,) = [row for row in table(report, "5.1") if "corrected" in row["measure"]]
    # Behind the first sample and up to the last.
    inputs = 1_999 + 3 * (count - 2_000)
    assert row["measure"] == f"service, corrected for an input each {(4_500 * S + 7 * 4_500) // inputs:,} ns"
    (figure,) = [f for f in report.parts[6].figures if f.id == "6.b"]
    (drawn,) = figure.lines
    assert (drawn.x[0], drawn.y[0]) == (0, 0)
    assert (drawn.x[-1], drawn.y[-1]) == (4_500, 7 * 4_500)
    # Each fourth of 4,501 is 1,126.
    assert left_out(report)["samples of both clocks that figure 6.b does not look at"] == count - 1_126
    assert left_out(report)["records beyond the first 2,000 of a kind a run, not listed in parts 7 and 8"] == 0
    assert any("the first, the last, and between them" in text for text in report.parts[6].texts)


def test_a_clock_log_leaves_its_figures_and_not_its_lines(tmp_path):
    run = seconds(tmp_path / "run", 1_000)
    rows = []
    for n in range(1_000):
        bound_ns = 3_000 + n % 11 if n % 89 else None
        offset_ns = (n * n) % 1_777 - 900 if n % 97 != 5 else None
        rows.append(sample(START_NS + n * S, offset_ns, bound_ns, step_ns=n // 999, source="ab"[n % 2]))
    clock_log(run, run_id(run), rows)
    report = make([run], "eu-2026", replays=0)
    (told,) = table(report, "6.1")
    known = [row for row in rows if row["offset_ns"] is not None and row["error_bound_ns"] is not None]
    assert (told["samples"], told["sources"], told["steps"]) == (1_000, "a, b", 1)
    assert told["unknown"] == 1_000 - len(known) > 0
    assert told["inside"] == len(known)
    assert told["worst_offset_ns"] == max(abs(row["offset_ns"]) for row in known)
    assert told["worst_bound_ns"] == max(row["error_bound_ns"] for row in known)
    assert told["widest_gap_ns"] == S
    (figure,) = [f for f in report.parts[6].figures if f.id == "6.a"]
    offsets = [row["offset_ns"] for row in rows if row["offset_ns"] is not None]
    assert len(figure.lines[0].x) <= 400
    drawn = [float(value or 0) for value in figure.lines[0].y]
    assert (min(drawn), max(drawn)) == (min(offsets), max(offsets))
    (facts,) = Pass([run], 100_000).read().runs
    assert len(pickle.dumps(facts.beside.clock)) < 8_000


@given(st.lists(st.integers(1, 3_000), min_size=1, max_size=6))
def test_thinning_does_not_depend_on_how_records_come(parts):
    whole, cut, at = Thinned(), Thinned(), 0
    rows = np.zeros(sum(parts), dtype=RARE)
    rows["seq"] = np.arange(len(rows))
    whole.add(rows["seq"], rows)
    for n in parts:
        cut.add(rows["seq"][at : at + n], rows[at : at + n])
        at += n
    wanted, found = whole.kept(), cut.kept()
    assert wanted is not None
    assert found is not None
    assert found.rows.tolist() == found.seq.tolist() == wanted.rows.tolist()
    step = 1
    while -(-len(rows) // step) > 2_000:
        step *= 2
    assert found.rows.tolist() == sorted({*range(0, len(rows), step), len(rows) - 1})
    assert found.total == len(rows)


def test_execution_quality_leaves_out_single_runs_and_names_them(tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "MOST_ORDERS", 20)
    paths = [small(tmp_path / f"run{n}", orders, day=n) for n, orders in enumerate((8, 21, 12))]
    made = Made(tmp_path / "orphan")
    made.order(1, START_NS + 3 * DAY_NS)
    child = {"order_id": BASE | CHILD_BIT | 2, "parent_id": BASE | 99, "qty": 5}
    made.output(Template.ORDER_NEW, venue_id=0, stream_id=1, **child)
    paths.append(made.close())
    report = make(paths, "uk", replays=0)
    told = report.parts[10].missing
    assert len(told) == 2
    assert told[0].startswith("R2: execution quality against quotes is left out: the run has 21 orders at venues")
    assert told[1].startswith("R4: 1 orders at venues have no client's order on the journal")
    tables = {t.id: t for t in report.parts[10].tables}
    assert [s.run for s in tables["10.1"].source] == ["R1", "R2", "R3", "R4"]
    for key in ("10.3", "10.4", "10.5", "10.6"):
        assert [s.run for s in tables[key].source] == ["R1", "R3"], key
    alone = make([paths[0], paths[2]], "uk", replays=0)
    assert table(report, "10.3") == table(alone, "10.3") != []
    assert left_out(report)["runs that tables 10.3 to 10.6 leave out (part 10 says why)"] == 2


# Stress, against the most that was recorded.


@pytest.mark.parametrize(
    ("peak", "span_ns", "words"),
    [
        (
            258,
            3_600 * S,
            [
                "516 messages/s",
                "held were 518 messages/s, venues' reports counted: reached.",
                "not of six months",
                "3,600.000 s",
            ],
        ),
        (260, 3_600 * S, ["520 messages/s", ": not reached."]),
        (258, SIX_MONTHS_NS, [": reached."]),
        (0, 0, ["cannot be said"]),
    ],
)
def test_a_stress_test_is_held_to_the_peak_of_the_runs(peak, span_ns, words):
    test = msgspec.convert(a_stress_test(), Stress)
    (said,) = texts([Stressed(FILE, test)], 2.0, Recorded({S: peak, S // 10: peak}, START_NS, START_NS + span_ns))
    for word in words:
        assert word in said
    assert ("six months" in said) == (0 < span_ns < SIX_MONTHS_NS)


def test_a_shorter_interval_is_held_to_a_shorter_window():
    test = msgspec.structs.replace(msgspec.convert(a_stress_test(), Stress), interval_ms=250)
    (said,) = texts([Stressed(FILE, test)], 2.0, Recorded({S: 100, S // 10: 100, S // 100: 50}, START_NS, START_NS + S))
    assert "within 100.000 ms comes to 1,000 messages/s" in said
    assert "not reached" in said
