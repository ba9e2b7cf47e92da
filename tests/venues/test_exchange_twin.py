"""The kernels of the simulated venues against their plain twin, on generated days; and what holds in any day."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.record.records import DTYPES, REPORT, OrdStatus, Side, Template, from_text16
from engine.run.config import Simulation
from gateways.inbox import out_slots
from gateways.venues import exchange
from gateways.venues.state import NEVER, RESERVE, create
from tests.venues.days import calm, days, long_day, rows_of
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


class Steps:
    """A day record by record; after each step `filled` has what it filled, by row of the order table."""

    def __init__(self, cfg, **more):
        self.ex, self.out = create(cfg, **more), out_slots(256)
        self.before = np.zeros(len(self.ex.orders), dtype=np.int64)

    def step(self, *rows, clock=0):
        if rows:
            inbox, units = packed(list(rows))
            assert exchange.ingest(self.ex, inbox, 0, units, 0, self.out) == units
        else:
            assert exchange.advance(self.ex, self.out, clock)
        self.ex.core["out_count"] = 0
        now = self.ex.orders["cum_qty"].copy()
        filled, self.before = now - self.before, now
        assert (filled >= 0).all()
        return {int(row): int(filled[row]) for row in np.flatnonzero(filled)}

    def place(self, row):
        """(venue, instrument, whether it buys)."""
        o = self.ex.orders[row]
        return int(o.venue_id), int(o.instrument_id), o.side == Side.BUY

    def line(self, venue, instrument, buys):
        """(row, price, queue ahead) of our resting orders of a side, the first to be filled first."""
        pair = self.ex.pairs[venue * int(self.ex.core[0].instruments) + instrument]
        row, found = int(pair.bids if buys else pair.asks), []
        while row >= 0:
            o = self.ex.orders[row]
            found.append((row, int(o.px), int(o.queue_ahead)))
            row = int(o.next)
        return found


def check_print(steps, row):
    """What a print fills of a side, and the queue before the last of these, is not more than it traded."""
    where = int(row["venue_id"]), int(row["instrument_id"])
    known = 0 <= where[0] < len(steps.ex.venues) and 0 <= where[1] < int(steps.ex.core[0].instruments)
    lines = {buys: steps.line(*where, buys) for buys in (True, False)} if known else {}
    filled = steps.step(np.array([row]))
    for buys, line in lines.items():
        mine, ahead = 0, 0
        for n, px, queue in line:
            mine += filled.get(n, 0)
            if n in filled and px == row["px"]:
                ahead = max(ahead, queue)
        assert mine + ahead <= row["qty"], f"{mine} filled and {ahead} ahead of them, of a print of {row['qty']}"
        assert {n for n, *_ in line} >= {n for n in filled if steps.place(n)[2] == buys}


def check_shown(rows):
    """Of a print; and between two changes of a side of a quote, fills that take it are no more than it showed."""
    steps = Steps(config(Simulation(orders=256)))
    shown: dict[tuple[int, int, bool], list[int]] = {}  # (venue, instrument, buys take it): price, size, filled of it

    def take(filled):
        for row, qty in filled.items():
            side = shown.get(steps.place(row))
            assert side is not None
            side[2] += qty
            assert side[2] <= side[1]

    for template, row in rows:
        if template == "down":
            exchange.sweep(steps.ex, row, exchange.SWEEP_ALL)
            continue
        if Template.QUOTE <= template <= Template.CLEAR:
            take(steps.step(clock=int(row["ts_event_ns"][0])))
        if template == Template.TRADE:
            check_print(steps, row[0])
            continue
        filled = steps.step(row)
        for n, pair in enumerate(steps.ex.pairs):
            where = n // int(steps.ex.core[0].instruments), n % int(steps.ex.core[0].instruments)
            for buys, side in ((True, [pair.ask_px, pair.ask_shown]), (False, [pair.bid_px, pair.bid_shown])):
                if shown.get((*where, buys), [None, None])[:2] != side:
                    shown[*where, buys] = [*side, 0]
        take(filled)
    take(steps.step(clock=END))


@given(days)
def test_fills_never_exceed_what_was_shown(day):
    check_shown(rows_of(day))


@pytest.mark.parametrize("seed", range(6))
def test_fills_never_exceed_what_was_shown_on_long_days(seed):
    check_shown(rows_of(calm(long_day(seed, count=600))))


def test_nothing_is_due_in_an_empty_exchange():
    assert exchange.next_due(create(config())) == NEVER
