"""Reports: the numbers against a slow reading of the same journal, the page, and the command."""

from __future__ import annotations

import json
import re
import shutil
from fractions import Fraction

import pytest

from cli.main import main
from engine.core.state import COUNTERS
from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.record.records import DTYPES, ExecType, Liquidity, OrdStatus, Side, Template
from engine.run import manifest
from engine.run.rerun import Rerun
from replay.report.measure import measure, utc
from replay.report.pages import page

# The first test of a worker compiles the core where the cache is empty.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def measured(run_dir):
    return measure(run_dir)


@pytest.fixture(scope="module")
def final(run_dir):
    """The run's state after its last input."""
    with JournalReader(run_dir) as reader:
        rerun = Rerun(manifest.from_bytes(reader.manifest))
        for chunk in reader.chunks():
            assert rerun.feed(chunk) is None
        return rerun.state


def records(run_dir):
    """(kind, seq, input_seq, record) of every frame but the manifest, one by one."""
    with JournalReader(run_dir) as reader:
        for frame in reader.frames():
            if frame.kind in (Kind.INPUT, Kind.OUTPUT):
                template = Template(int(frame.payload.view("<u2")[1]))
                yield frame.kind, template, frame.input_seq, frame.payload.view(DTYPES[template])[0]


def naive_cost(run_dir):
    """(touch, mid) in bps over two-sided arrivals, with exact fractions, the slow way."""
    parent_of: dict[int, tuple[int, int]] = {}
    arrival: dict[int, tuple[int, int]] = {}
    slip, base, mid_slip, mid_base = (Fraction(0) for _ in range(4))
    fills = []
    for kind, template, _, row in records(run_dir):
        if (kind, template) == (Kind.OUTPUT, Template.ORDER_NEW):
            parent_of[int(row["order_id"])] = (int(row["parent_id"]), int(row["side"]))
        elif (kind, template) == (Kind.OUTPUT, Template.DECISION):
            arrival.setdefault(int(row["parent_id"]), (int(row["bid_px"]), int(row["ask_px"])))
        elif (kind, template) == (Kind.INPUT, Template.FILL):
            fills.append(row)
    for row in fills:
        parent, side = parent_of[int(row["order_id"])]
        bid, ask = arrival[parent]
        if not 0 < bid <= ask:
            continue
        sign, touch = (1, ask) if side == Side.BUY else (-1, bid)
        px, qty, mid = int(row["last_px"]), int(row["last_qty"]), Fraction(bid + ask, 2)
        slip, base = slip + sign * (px - touch) * qty, base + touch * qty
        mid_slip, mid_base = mid_slip + sign * (px - mid) * qty, mid_base + mid * qty
    return float(slip / base * 10_000), float(mid_slip / mid_base * 10_000)


def test_parents_and_quantities_are_the_cores(measured, final):
    counts = dict(zip(COUNTERS, final.counts.tolist(), strict=True))
    states = measured.parents.by_state
    assert states["filled"] == counts["parents_filled"]
    assert states["cancelled"] == counts["parents_canceled"]
    assert states["expired"] == counts["parents_expired"]
    assert measured.parents.sent == sum(states.values()) == 30
    assert measured.shares.filled == counts["qty_filled"] > 0
    assert measured.shares.cancelled == counts["qty_canceled"] > 0
    assert measured.shares.rejected >= counts["qty_rejected"] > 0
    assert measured.shares.adds_up
    assert measured.agrees_with_core
    assert sum(measured.parents.fresh.values()) == counts["parents_accepted"]
    assert measured.feed.messages == 600 + 150 + 12
    assert measured.feed.gaps == 0


def test_replaced_orders_are_counted_with_their_new_quantity(run_dir, measured):
    replaced = [row for _, t, _, row in records(run_dir) if t == Template.ACK and row["exec_type"] == ExecType.REPLACED]
    assert replaced
    first = sum(int(r["qty"]) for k, t, _, r in records(run_dir) if (k, t) == (Kind.INPUT, Template.ORDER_NEW))
    assert measured.shares.ordered > first


def test_fees_and_positions_are_the_cores(measured, final):
    assert measured.outcome.fees == int(final.positions["fee"].sum()) / 1e9
    assert sum(venue.fills for venue in measured.outcome.venues) == int(final.positions["fills"].sum())
    assert sum(venue.filled for venue in measured.outcome.venues) == measured.shares.filled
    assert sum(venue.fees for venue in measured.outcome.venues) == pytest.approx(measured.outcome.fees)
    assert sum(row.count for row in measured.outcome.refusals) == int(final.refusals.sum())


def test_cost_is_that_of_a_slow_reading(run_dir, measured):
    touch, mid = naive_cost(run_dir)
    assert measured.cost.touch_bps == pytest.approx(touch, abs=1e-4)
    assert measured.cost.mid_bps == pytest.approx(mid, abs=1e-4)
    assert measured.cost_bps == measured.cost.touch_bps


def test_latencies_are_of_every_event(measured):
    assert measured.latency_source == "stats"
    assert measured.latency_ns["total"].count == measured.verify.inputs
    for row in measured.latency_ns.values():
        assert row.min <= row.p50 <= row.p90 <= row.p99 <= row.p99_9 <= row.p99_99 <= row.max
    for points in measured.curves.values():
        assert points == sorted(points)
    assert sum(measured.series.count) > 0
    assert measured.series.clock == "real time"


def test_without_a_stats_file_the_observations_speak(run_dir, tmp_path):
    shutil.copytree(run_dir / "journal", tmp_path / "bare" / "journal")
    found = measure(tmp_path / "bare", check=False)
    assert found.latency_source == "observations"
    assert found.series is not None
    assert found.latency_ns["total"].count == sum(found.series.count) > 0
    assert found.loop is None
    assert found.verify is None
    assert found.run.host == "not recorded"
    assert "not verified" in page(found)


def test_the_page_needs_nothing_else_and_is_the_same_each_time(measured):
    text = page(measured)
    assert text == page(measured)
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#)""", text)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert text.count("<svg") == 3
    assert "verify: identical" in text
    assert measured.lineage.segments[0].sha256 in text


def test_the_command(run_dir, tmp_path, capsys):
    html = tmp_path / "day.html"
    assert main(["report", str(run_dir), "--json", "-", "--html", str(html)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["shares"]["adds_up"]
    assert set(told["latency_ns"]["total"]) >= {"count", "p50", "p99", "p99_9", "max"}
    assert html.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert main(["report", str(run_dir), "--no-verify"]) == 0
    said = capsys.readouterr().out
    assert "adds up" in said
    assert "left out" in said
    assert main(["report", str(tmp_path / "nothing")]) == 3


def test_times_are_truncated():
    assert utc(1_514_903_400_999_999_999) == "2018-01-02T14:30:00.999999Z"
    assert utc(0) == ""


def test_fills_in_the_fixture_are_of_both_kinds_of_report(run_dir):
    """The day is worth reporting on: fills that removed, rejects, and orders in every end state but one."""
    seen = {(int(r["ord_status"])) for k, t, _, r in records(run_dir) if k == Kind.OUTPUT and t == Template.ACK}
    assert {OrdStatus.CANCELED, OrdStatus.EXPIRED} <= seen
    assert any(t == Template.FILL and r["liquidity"] == Liquidity.REMOVED for _, t, _, r in records(run_dir))
