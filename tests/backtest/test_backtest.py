"""A backtest: the order of things is the naive one's, two are one, and a run that the other commands read."""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from engine.io.histogram import IntervalLog, empty, record
from engine.io.journal_format import Kind
from engine.jit import BOUNDSCHECK
from engine.record.records import DTYPES, OrdStatus, Template
from gateways.orders.parents import generate_parents
from gateways.venues.latency import quantiles
from replay.backtest.host import BacktestError
from replay.backtest.play import resolved
from replay.backtest.schemas import SCHEMAS
from replay.backtest.settings import Backtest, Settings
from replay.verify import verify
from tests.backtest import desk
from tests.backtest.naive import Naive

#: SHA-256 over all frames of the seeded backtest: it changes with what the engine or the venues do, and says why then.
JOURNAL = "53cd9357264aebbc865cef604cd151a2b53ce905e39fcc8e7920e4ce20c9c9b0"


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """One backtest; the tests of this file only read it."""
    return desk.play(desk.config(tmp_path_factory.mktemp("runs") / "one"))


@pytest.mark.kernel
@pytest.mark.skipif(
    BOUNDSCHECK, reason="another compilation of half a minute; plain Python checks the bounds of it too"
)
def test_the_journal_of_the_seeded_backtest(tmp_path):
    assert desk.play(desk.config(tmp_path / "run")).journal_hash() == JOURNAL


@pytest.mark.parametrize(("latency_us", "chunk"), [(0, 1 << 20), (50, 1000), (3_000_000, 4096)])
def test_the_order_of_things_is_the_naive_one(tmp_path, latency_us, chunk):
    settings = desk.config(tmp_path / "run")
    day = desk.day_of(settings)
    slow = Naive(settings, day, generate_parents(day, settings, 40, 5), latency_us * 1000, 10 * desk.SECOND)
    slow.run()
    desk.play(settings, latency_us=latency_us, chunk=chunk, day=day)
    found = desk.frames(tmp_path / "run")
    assert len(found) == len(slow.frames)
    for n, (mine, theirs) in enumerate(zip(found, slow.frames, strict=True)):
        assert mine == theirs, f"frame {n}"


@pytest.fixture(scope="module")
def wire(tmp_path_factory):
    """A live run's log of latencies, say."""
    path = tmp_path_factory.mktemp("wire") / "live.hlog"
    log = IntervalLog(path, 10**18)
    counts = empty()
    for value in np.random.default_rng(1).lognormal(12, 1, 5000).astype(np.int64):
        record(counts, int(value))
    log.write("wire", counts, 10**18, 10**18 + 1)
    log.close()
    return path


def drawing(settings, wire):
    """The same with drawn latencies at the venue BATY, and queues that move by cancels too."""
    venues = [
        msgspec.structs.replace(row, latency=str(wire), latency_tag="wire") if row.mic == "BATY" else row
        for row in settings.venue
    ]
    simulation = msgspec.structs.replace(settings.simulation, queue="proportional")
    return msgspec.structs.replace(settings, venue=venues, simulation=simulation)


def test_drawn_latencies_are_the_naive_ones(tmp_path, wire):
    """Of the feed and of a venue's orders and reports; nothing overtakes."""
    settings = drawing(desk.config(tmp_path / "run"), wire)
    latencies = [int(ns) for ns in quantiles(wire, "wire")]
    day = desk.day_of(settings)
    slow = Naive(settings, day, generate_parents(day, settings, 40, 5), 0, 10 * desk.SECOND, latencies)
    slow.run()
    desk.play(settings, latencies=latencies, day=day)
    assert desk.frames(tmp_path / "run") == slow.frames


def test_two_runs_are_one(tmp_path, played):
    again = desk.play(desk.config(tmp_path / "a" / "run_with_a_longer_name"))
    assert again.journal_hash() == played.journal_hash()
    assert again.outcome is not None
    assert again.outcome._replace(seconds=0) == played.outcome._replace(seconds=0)
    other = desk.play(desk.config(tmp_path / "b"), latency_us=51)
    assert other.journal_hash() != played.journal_hash()


def test_the_order_of_the_configuration_decides_nothing(tmp_path, played):
    same_fills(played, desk.play(desk.config(tmp_path / "run", order=-1)))


def test_nor_with_drawn_latencies_and_queues(tmp_path, wire):
    latencies = quantiles(wire, "wire")
    runs = [
        desk.play(drawing(desk.config(tmp_path / str(order), order=order), wire), latencies=latencies)
        for order in (1, -1)
    ]
    same_fills(*runs)


def same_fills(played, backwards):
    """What was executed, and what came of the orders, whatever the order of venues, instruments and sessions."""
    columns = ["time", "venue_time", "cl_ord_id", "symbol", "mic", "side", "qty", "px", "liquidity", "fee", "shortfall"]
    rows = played.fills().select(columns)
    assert len(rows) > 20
    assert len(set(played.fills()["mic"].to_pylist())) > 2
    for name in columns:
        assert _plain(rows[name]) == _plain(backwards.fills()[name]), name
    for name in ("cl_ord_id", "symbol", "status", "filled_qty", "children", "shortfall_bps"):
        assert _plain(played.orders()[name]) == _plain(backwards.orders()[name]), name


def _plain(column):
    """A column as comparable values: words for dictionaries, integers for times."""
    if str(column.type).startswith("timestamp"):
        column = column.cast("int64")
    return column.to_pylist()


def test_it_verifies(played):
    verdict = verify(played.run_dir)
    assert verdict.result == "identical"
    assert verdict.inputs == played.outcome.inputs
    assert verdict.outputs == played.outcome.outputs
    assert verdict.state_hash == played.outcome.state_hash


def test_a_report_reads_it(played):
    from replay.report.measure import measure

    measures = measure(played.run_dir)
    assert measures.shares.adds_up
    assert measures.agrees_with_core
    assert measures.parents.sent == measures.parents.terminal == 40
    assert measures.outcome.fees == pytest.approx(sum(played.fills()["fee"].to_pylist()))
    assert {row.what for row in measures.outcome.refusals} == set()


def test_an_order_of_it_is_explained(played, capsys):
    from cli.main import main

    best = max(played.orders()["cl_ord_id"].to_pylist(), key=lambda name: _fills(played, name))
    assert main(["explain", str(played.run_dir), best]) == 0
    told = capsys.readouterr().out
    assert f"{best} from desk" in told
    assert "best net price" in told


def _fills(result, cl_ord_id):
    return result.fills()["cl_ord_id"].to_pylist().count(cl_ord_id)


def test_the_tables_are_what_the_journal_says(played):
    """A slow reading: from records to sums, one by one."""
    inputs = [data for kind, data in desk.frames(played.run_dir) if kind == Kind.INPUT]
    records = [np.frombuffer(data, dtype=DTYPES[Template(data[2])])[0] for data in inputs]
    fills = [r for r in records if r["template_id"] == Template.FILL]
    busted = {bytes(r["exec_ref_id"]) for r in records if r["template_id"] == Template.BUST}
    standing = [0 if bytes(r["exec_id"]) in busted else int(r["last_qty"]) for r in fills]
    assert busted
    table = played.fills()
    assert table["qty"].to_pylist() == standing
    assert table["px"].to_pylist() == [int(r["last_px"]) / 10_000 for r in fills]
    assert table["time"].cast("int64").to_pylist() == [int(r["ts_recv_ns"]) for r in fills]
    assert table["exec_id"].to_pylist() == [bytes(r["exec_id"]).rstrip(b"\0").decode() for r in fills]
    orders, children = played.orders(), played.children()
    by_parent = dict(zip(orders["cl_ord_id"].to_pylist(), orders["filled_qty"].to_pylist(), strict=True))
    for name, filled in by_parent.items():
        mine = [q for q, c in zip(standing, table["cl_ord_id"].to_pylist(), strict=True) if c == name]
        assert sum(mine) == filled
    assert sum(children["filled_qty"].to_pylist()) == sum(standing)
    held: dict[str, float] = {}
    for side, symbol, qty in zip(*(table[n].to_pylist() for n in ("side", "symbol", "qty")), strict=True):
        held[symbol] = held.get(symbol, 0) + (qty if side == "BUY" else -qty)
    positions = played.positions()
    assert dict(zip(positions["symbol"].to_pylist(), positions["qty"].to_pylist(), strict=True)) == held
    for row in (dict(zip(orders.column_names, values, strict=True)) for values in zip(*_columns(orders), strict=True)):
        if row["filled_qty"] and row["arrival_mid"]:
            sign = 1 if row["side"] == "BUY" else -1
            cost = sign * (row["avg_px"] - row["arrival_mid"]) / row["arrival_mid"] * 1e4
            assert row["shortfall_bps"] == pytest.approx(cost, abs=1e-6)


def test_a_child_has_the_status_of_its_last_report_and_a_bust_is_one(played):
    inputs = [data for kind, data in desk.frames(played.run_dir) if kind == Kind.INPUT]
    records = [np.frombuffer(data, dtype=DTYPES[Template(data[2])])[0] for data in inputs]
    last = {int(r["order_id"]): r for r in records if Template.ACK <= r["template_id"] <= Template.CORRECT}
    rows = played.children().select(["order_id", "status", "filled_qty"]).to_pylist()
    for row in rows:
        report = last.get(row["order_id"])
        status = OrdStatus.PENDING_NEW if report is None else OrdStatus(int(report["ord_status"]))
        assert row["status"] == status.name, row
    gone = [row for row in rows if row["order_id"] in last and last[row["order_id"]]["template_id"] == Template.BUST]
    assert any(row["filled_qty"] == 0 for row in gone)
    assert not any(row["status"] == "FILLED" and row["filled_qty"] == 0 for row in rows)


def _columns(table):
    return [_plain(table[name]) for name in table.column_names]


def test_parquet_has_the_columns_that_are_documented(tmp_path, played):
    files = played.write(tmp_path)
    assert {path.stem for path in files} == set(SCHEMAS)
    for path in files:
        table = pq.read_table(path)
        assert table.schema.names == SCHEMAS[path.stem].names
        assert table.schema.types == SCHEMAS[path.stem].types
        assert all(field.metadata[b"doc"] for field in table.schema)


def test_a_notebook_shows_the_summary(played):
    shown = played._repr_html_()
    assert shown.startswith("<table><tr><th>instruments</th><td>AAA, BBB</td></tr>")
    assert f"{played.summary()['shortfall_bps']:+.2f} bps" in shown
    assert str(played.run_dir) in shown


def test_without_orders_nothing_is_sent(tmp_path):
    result = desk.play(desk.config(tmp_path / "run"), orders=0)
    assert result.outcome is not None
    assert result.outcome.parents == result.outcome.reports == 0
    assert result.fills().num_rows == result.orders().num_rows == result.positions().num_rows == 0
    assert result.summary()["shortfall_bps"] is None


def test_a_run_is_not_written_over(played):
    with pytest.raises(BacktestError, match="a run is there already"):
        desk.play(desk.config(played.run_dir))


@pytest.mark.parametrize("ours", [False, True])
def test_a_recorded_feed_has_nothing_of_ours_in_it_but_a_runs_own_has(tmp_path, ours):
    config = desk.config(tmp_path / "run")
    config = msgspec.structs.replace(
        config, venue=[msgspec.structs.replace(row, shows_own=True) for row in config.venue]
    )
    found = resolved(Settings(config, Backtest(feed=[])), 1_514_900_000 * desk.SECOND, None, ours=ours)
    assert {row.shows_own for row in found.venue} == {ours}
