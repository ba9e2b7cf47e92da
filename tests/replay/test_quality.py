"""Execution quality: against a slow reading of the same journal, by hand, and however runs are cut and added up."""

from __future__ import annotations

import json
from fractions import Fraction

import msgspec
import pytest

from cli.main import main
from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.record.records import DTYPES, Flag, Side, Template
from engine.run import manifest
from replay.quality.measure import measure
from replay.quality.read import NEEDED
from replay.report.gather import gather
from replay.report.orders import Book

# The first test of a worker compiles the core where the cache is empty.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def measured(run_dir):
    return measure([run_dir])


class Slow:
    """A run read record by record into plain lists, and asked in plain Python."""

    def __init__(self, run_dir):
        self.quotes, self.children, self.fills, self.rejects = [], {}, [], []
        self.arrivals: dict[int, tuple[int, int]] = {}
        decisions, refused = {}, set()
        with JournalReader(run_dir) as reader:
            for frame in reader.frames():
                if frame.kind not in (Kind.INPUT, Kind.OUTPUT):
                    continue
                template = Template(int(frame.payload.view("<u2")[1]))
                row = frame.payload.view(DTYPES[template])[0]
                match frame.kind, template:
                    case Kind.INPUT, Template.QUOTE:
                        self.quotes.append(row.copy())
                    case Kind.INPUT, Template.FILL:
                        self.fills.append((frame.seq, row.copy()))
                    case Kind.INPUT, Template.REJECT:
                        self.rejects.append((frame.seq, row.copy()))
                    case Kind.INPUT, (Template.BUST | Template.CORRECT):
                        pytest.fail("this reading takes executions as they came")
                    case Kind.OUTPUT, Template.REFUSAL:
                        refused.add(frame.input_seq)
                    case Kind.OUTPUT, Template.DECISION:
                        found = int(row["bid_px"]), int(row["ask_px"])
                        decisions[int(row["parent_id"])] = (frame.input_seq, found)
                        self.arrivals.setdefault(int(row["parent_id"]), found)
                    case Kind.OUTPUT, Template.ORDER_NEW:
                        seq, found = decisions.get(int(row["parent_id"]), (-1, (0, 0)))
                        self.children[int(row["order_id"])] = row.copy(), found if seq == frame.input_seq else (0, 0)
        self.fills = [row for seq, row in self.fills if seq not in refused]
        self.rejects = [row for seq, row in self.rejects if seq not in refused]

    def touch(self, at_ns, stale_ns):
        """(bid, ask) at a time, or None."""
        last = {}
        for row in self.quotes:
            if row["ts_recv_ns"] <= at_ns:
                last[int(row["venue_id"])] = row
        bids, asks = [], []
        for row in last.values():
            both = row["bid_qty"] > 0 and row["ask_qty"] > 0
            if at_ns - row["ts_recv_ns"] > stale_ns or row["flags"] & Flag.CLOSED:
                continue
            if both and row["bid_px"] > row["ask_px"]:
                continue
            bids += [int(row["bid_px"])] if row["bid_qty"] > 0 else []
            asks += [int(row["ask_px"])] if row["ask_qty"] > 0 else []
        if not bids or not asks or not 0 < max(bids) <= min(asks):
            return None
        return max(bids), min(asks)


@pytest.fixture(scope="module")
def slow(run_dir):
    return Slow(run_dir)


def spread_figures(fills):
    """(effective, quoted, improved qty, net improvement bps) of (sign, px, qty, bid, ask), in exact fractions."""
    known = [row for row in fills if 0 < row[3] <= row[4]]
    qty = sum(row[2] for row in known)
    effective = sum(2 * sign * (px - Fraction(bid + ask, 2)) * n for sign, px, n, bid, ask in known)
    quoted = sum((ask - bid) * n for _, _, n, bid, ask in known)
    gains = [(sign * ((ask if sign > 0 else bid) - px), n) for sign, px, n, bid, ask in known]
    base = sum(Fraction(bid + ask, 2) * n for *_, n, bid, ask in known)
    improved = sum(n for gain, n in gains if gain > 0)
    return float(effective / qty / 10_000), float(quoted / qty / 10_000), improved, float(
        sum(gain * n for gain, n in gains) / base * 10_000
    )  # fmt: skip


def test_venues_are_those_of_a_slow_reading(measured, slow):
    mics = measured_mics(measured)
    assert len(mics) > 5
    for venue, row in mics.items():
        children = [c for c, _ in slow.children.values() if int(c["venue_id"]) == venue]
        fills = [f for f in slow.fills if int(f["venue_id"]) == venue]
        assert row.orders == len(children)
        assert row.ordered_qty == sum(int(c["qty"]) for c in children)
        assert row.filled_qty == sum(int(f["last_qty"]) for f in fills)
        assert row.rejects == sum(int(r["venue_id"]) == venue for r in slow.rejects)
        assert sum(row.rejects_by_reason.values()) == row.rejects
        assert row.added_qty + row.removed_qty == row.filled_qty
        told = [fill_facts(f, slow) for f in fills]
        if any(0 < bid <= ask for *_, bid, ask in told):
            effective, quoted, improved, net = spread_figures(told)
            assert row.spreads.effective_spread == pytest.approx(effective, abs=1e-12)
            assert row.spreads.quoted_spread == pytest.approx(quoted, abs=1e-12)
            assert row.spreads.improved_qty == improved
            assert row.spreads.net_improvement_bps == pytest.approx(net, abs=1e-9)
        s = row.spreads
        assert s.improved_qty + s.at_quote_qty + s.outside_qty == s.qty
        assert s.mid_qty + s.near_qty + s.far_qty + s.inside_near_qty + s.inside_far_qty == s.qty


def measured_mics(measured):
    """Venue index -> row."""
    from tests.replay.desk import config

    order = [venue.mic for venue in config().venue]
    return {order.index(row.by["venue"]): row for row in measured.venues}


def fill_facts(fill, slow):
    child, (bid, ask) = slow.children[int(fill["order_id"])]
    return 1 if child["side"] == Side.BUY else -1, int(fill["last_px"]), int(fill["last_qty"]), bid, ask


def test_markouts_are_those_of_a_slow_reading(measured, slow):
    for n, horizon_ms in enumerate(measured.horizons_ms):
        value, base, qty = Fraction(0), Fraction(0), 0
        for fill in slow.fills:
            touch = slow.touch(int(fill["ts_recv_ns"]) + horizon_ms * 1_000_000, 60_000_000_000)
            if touch is not None:
                sign, px, size, *_ = fill_facts(fill, slow)
                value += 2 * sign * (px - Fraction(sum(touch), 2)) * size
                base, qty = base + px * size, qty + size
        found = measured.strategies[0].spreads.later[n]
        assert found.qty == qty > 0
        assert found.realized_spread == pytest.approx(float(value / qty / 10_000), abs=1e-12)
        assert found.markout_bps == pytest.approx(float(-value / 2 / base * 10_000), abs=1e-9)


def test_orders_are_measured_against_their_arrival(measured, slow):
    told = []
    for fill in slow.fills:
        child, _ = slow.children[int(fill["order_id"])]
        sign, px, qty, *_ = fill_facts(fill, slow)
        told.append((sign, px, qty, *slow.arrivals[int(child["parent_id"])]))
    effective, quoted, improved, _ = spread_figures(told)
    row = measured.strategies[0]
    assert row.spreads.effective_spread == pytest.approx(effective, abs=1e-12)
    assert row.spreads.quoted_spread == pytest.approx(quoted, abs=1e-12)
    assert row.spreads.improved_qty == improved


def test_every_division_adds_up_to_the_same(measured):
    whole = measured.strategies[0]
    for divided in (
        measured.venues, measured.venue_strategies, measured.venue_clients, measured.routed, measured.clients,
        [row.row for row in measured.covered],
    ):  # fmt: skip
        assert sum(row.filled_qty for row in divided) == whole.filled_qty > 0
        assert sum(row.fees for row in divided) == pytest.approx(whole.fees)
    for row in measured.covered:
        assert sum(row.within_qty) == row.row.filled_qty
    assert sum(measured.refused_orders.values()) > 0
    shares = [row for row in measured.top_venues if row.currency == "USD"]
    assert [row.rank for row in shares] == list(range(1, len(shares) + 1))
    assert sum(row.volume_percent for row in shares) <= 100.0 + 1e-9


def test_runs_add_up_exactly_in_any_order(run_dir, measured):
    twice = measure([run_dir, run_dir])
    for one, two in zip(measured.venues, twice.venues, strict=True):
        assert two.fees == pytest.approx(2 * one.fees)
        assert (two.orders, two.filled_qty) == (2 * one.orders, 2 * one.filled_qty)
        assert two.spreads.effective_spread == one.spreads.effective_spread


def test_command(run_dir, tmp_path, capsys):
    assert main(["quality", str(run_dir), "--json", str(tmp_path / "q.json")]) == 0
    text = capsys.readouterr().out
    assert "By venue" in text
    assert "XNYS USD" in text
    told = json.loads((tmp_path / "q.json").read_bytes())
    assert told == msgspec.to_builtins(measure([run_dir]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("horizons_ms = [50, 5]", "must ascend"),
        ('[[size]]\nname = "x"\nleast_lots = "1"', 'begins at "0"'),
        ("horizon_ms = [1]", "unknown key"),
    ],
)
def test_wrong_buckets_are_wrong_use(run_dir, tmp_path, capsys, text, said):
    path = tmp_path / "b.toml"
    base = 'times_ms = [1]\n[[category]]\nname = "all"\n'
    size = '[[size]]\nname = "all"\nleast_lots = "0"\n' if "[[size]]" not in text else ""
    whole = text if "horizon" in text else "horizons_ms = [50]"
    path.write_text(whole + "\n" + base + size + ("" if "horizon" in text else text))
    assert main(["quality", str(run_dir), "--buckets", str(path)]) == 2
    assert said in capsys.readouterr().err


def test_amounts_are_converted_at_the_references_rate(run_dir, measured, tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('[fx]\ninto = "EUR"\nas_of = "2018-01-02"\nrate.USD = "0.8125"\n')
    found = measure([run_dir], reference=path)
    assert (found.converted_into, found.converted_as_of) == ("EUR", "2018-01-02")
    for row in found.venues:
        assert row.notional_converted == pytest.approx(row.notional * 0.8125)
        assert row.fees_converted == pytest.approx(row.fees * 0.8125)
    assert found.reference is not None
    assert len(found.reference.sha256) == 64
    path.write_text('[fx]\ninto = "EUR"\nrate.GBP = "1.1"\n')
    found = measure([run_dir], reference=path)
    assert found.venues[0].notional_converted is None
    assert found.missing["amounts without a rate of fx.rate.USD"] == 1
    assert measured.venues[0].notional_converted is None


def test_orders_whose_clients_order_is_gone_are_left_out_and_counted(run_dir):
    found = gather(run_dir, NEEDED)
    run = manifest.from_bytes(found.manifest)
    book = Book(found, run.read_config(), run.initial_state())
    assert book.drop_orphans() == 0
    parents = book.children["parent_id"]
    gone = parents[0]
    before, lost = len(book.fills), int((parents[book.fill_child] == gone).sum())
    book.ids = book.ids[book.ids != gone]
    assert book.drop_orphans() == (parents == gone).sum() > 0
    assert len(book.fills) == len(book.fill_money) == len(book.fill_fee) == before - lost
    assert (book.children["order_id"][book.fill_child] == book.fills["order_id"]).all()
    assert gone not in book.children["parent_id"]


def test_no_journal_is_said(tmp_path, capsys):
    assert main(["quality", str(tmp_path)]) == 3
    assert "there is no journal" in capsys.readouterr().err
