"""The kernels of the simulated venues against their plain twin, on generated days; and what holds in any day."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.record.records import DTYPES, REPORT, OrdStatus, Template, from_text16
from engine.run.config import Simulation
from gateways.inbox import out_slots
from gateways.venues import exchange
from gateways.venues.state import NEVER, RESERVE, create
from tests.venues.days import days, long_day, rows_of
from tests.venues.naive import NaiveExchange
from tests.venues.world import config, faulty, packed

pytestmark = pytest.mark.kernel

IDS = ("peer_id", "exec_id", "exec_ref_id")
FIELDS = [n for n in (REPORT.names or ()) if not n.startswith(("stream", "ts_recv", "block", "schema", "version"))]
#: Of a bust or correction.
CHANGE = DTYPES[Template.BUST]
CHANGED = [n for n in (CHANGE.names or ()) if not n.startswith(("stream", "ts_recv", "block", "schema", "version"))]
CHANGES = (Template.BUST, Template.CORRECT)
END = 10**15


def readable(reports):
    """Reports as tuples of plain values."""
    for r in reports:
        names = FIELDS
        if r["template_id"] in CHANGES:
            r, names = np.frombuffer(r.tobytes(), CHANGE)[0], CHANGED
        yield tuple(from_text16(r[n]) if n in IDS else int(r[n]) for n in names)


class Driver:
    """Runs a day through the kernels, taking the reports whenever the out-buffer is full."""

    def __init__(self, cfg, out=64, flight=1 << 10, **more):
        self.ex = create(cfg, flight=flight, **more)
        self.out = out_slots(out)
        self.taken = []

    def take(self):
        n = int(self.ex.core["out_count"][0])
        self.taken += [r.copy() for r in self.out[:n]]
        self.ex.core["out_count"] = 0

    def run(self, rows, batch=5):
        pending = []
        for template, row in [*rows, ("flush", None)]:
            if template not in ("down", "flush"):
                pending.append(row)
            if pending and (template in ("down", "flush") or len(pending) == batch):
                self.feed(pending)
                pending = []
            if template == "down":
                exchange.sweep(self.ex, row, exchange.SWEEP_ALL)
        while not exchange.advance(self.ex, self.out, END):
            self.take()
        self.take()
        return list(readable(self.taken))

    def feed(self, rows):
        inbox, units = packed(rows)
        at, idle = 0, 0
        while at < units:
            before, at = at, exchange.ingest(self.ex, inbox, at, units, 0, self.out)
            self.take()
            if at == before:  # no message slot: let the first message go
                idle += 1
                exchange.advance(self.ex, self.out, exchange.next_due(self.ex))
                assert idle < 1000


def twin_run(cfg, rows):
    twin = NaiveExchange(cfg, create(cfg))
    for template, row in rows:
        if template == "down":
            twin.sweep(row, day_only=False)
        else:
            twin.ingest(row[0])
    twin.advance(END)
    return [tuple(r[n] for n in (CHANGED if r["template_id"] in CHANGES else FIELDS)) for r in twin.reports]


def check_memory(ex):
    """Every message slot is free, no order is lost from the lists or in them twice."""
    core = ex.core[0]
    assert (core.queued, core.reserved, core.free) == (0, 0, len(ex.reports) - 1)
    free, k = 0, int(core.second_head)
    while k >= 0:
        free, k = free + 1, int(ex.seconds[k].row)
    assert free == len(ex.seconds)
    seen = set()
    for pair in ex.pairs:
        for head in (pair.bids, pair.asks):
            before, row = -1, int(head)
            while row >= 0:
                o = ex.orders[row]
                assert row not in seen
                assert (o.prev, o.resting) == (before, 1)
                seen.add(row)
                before, row = row, int(o.next)
    assert seen == {n for n in range(core.count) if ex.orders[n].resting}
    for o in ex.orders[: core.count]:
        assert (o.ord_status in (OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED)) == bool(o.resting)
        assert o.cum_qty >= 0
        assert o.leaves_qty in (0, o.qty - o.cum_qty - o.busted_qty)


@given(days)
def test_kernels_do_what_the_twin_does(day):
    driver, cfg = Driver(config()), config()
    assert driver.run(rows_of(day)) == twin_run(cfg, rows_of(day))
    check_memory(driver.ex)


@given(days, st.integers(0, 5))
def test_also_with_faults(day, seed):
    cfg = config(faulty(300_000, seed))
    driver = Driver(cfg)
    assert driver.run(rows_of(day)) == twin_run(cfg, rows_of(day))
    check_memory(driver.ex)


@pytest.mark.parametrize("seed", range(12))
def test_also_on_long_days(seed):
    cfg = config(faulty(50_000 * (seed % 2), seed, orders=256))
    day = long_day(seed)
    driver = Driver(cfg)
    assert driver.run(rows_of(day)) == twin_run(cfg, rows_of(day))
    check_memory(driver.ex)


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(100, 400))
def test_also_on_many_longer_days(seed):
    cfg = config(faulty(20_000 * (seed % 3), seed, orders=1024))
    day = long_day(seed, count=3000, ids=900)
    assert Driver(cfg).run(rows_of(day)) == twin_run(cfg, rows_of(day))


@given(days)
def test_also_when_the_table_is_full(day):
    cfg = config(Simulation(orders=3))
    assert Driver(cfg).run(rows_of(day)) == twin_run(cfg, rows_of(day))


@given(days, st.integers(1, 3), st.integers(1, 7))
def test_cutting_into_batches_changes_nothing(day, out, batch):
    cfg = config()
    assert Driver(cfg, out=out).run(rows_of(day), batch=batch) == Driver(cfg).run(rows_of(day))


@given(days, st.integers(1 + RESERVE, 9))
def test_few_message_slots_delay_but_lose_nothing(day, flight):
    """What comes out differs (fills are put off, requests wait), but each order's story is whole."""
    driver = Driver(config(), flight=flight)
    reports = driver.run(rows_of(day))
    check_memory(driver.ex)
    assert len({r[FIELDS.index("exec_id")] for r in reports}) == len(reports)
    told: dict[int, int] = defaultdict(int)
    for r in reports:
        named = dict(zip(FIELDS, r, strict=True))
        if named["template_id"] == Template.FILL:
            told[named["order_id"]] += named["last_qty"]
    core = driver.ex.core[0]
    for o in driver.ex.orders[: core.count]:
        assert told[int(o.order_id)] == o.cum_qty


@given(days)
def test_fills_never_exceed_what_was_shown(day):
    """Between two changes of a side of a quote, fills that take it are no more than it showed; quantities add up."""
    cfg = config()
    reports = [dict(zip(FIELDS, r, strict=True)) for r in Driver(cfg).run(rows_of(day))]
    shown = defaultdict(list)  # (venue, instrument, side) -> [(time, size)] at each change
    for template, row in rows_of(day):
        if template == Template.QUOTE and row["ts_event_ns"][0] >= 0:
            key = int(row["venue_id"][0]), int(row["instrument_id"][0])
            shown[key].append(int(row["bid_qty"][0]) + int(row["ask_qty"][0]))
        if template == Template.TRADE:
            shown[int(row["venue_id"][0]), int(row["instrument_id"][0])].append(2 * int(row["qty"][0]))
    filled: dict[tuple[int, int], int] = defaultdict(int)
    for r in reports:
        if r["template_id"] == Template.FILL:
            filled[r["venue_id"], r["instrument_id"]] += r["last_qty"]
            assert r["last_qty"] > 0
        if r["ord_status"] in (OrdStatus.CANCELED, OrdStatus.EXPIRED, OrdStatus.FILLED):
            assert r["leaves_qty"] == 0
    for key, qty in filled.items():
        assert qty <= sum(shown[key])


def test_nothing_is_due_in_an_empty_exchange():
    assert exchange.next_due(create(config())) == NEVER
