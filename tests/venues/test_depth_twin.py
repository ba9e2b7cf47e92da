"""Matching against recorded levels and orders, and queues: the kernels against their plain twin; what always holds."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.jit import JIT
from engine.record.records import Flag, Side, Template
from engine.run.config import Simulation
from gateways.venues import exchange
from gateways.venues.state import Depth, create
from tests.venues import days as d
from tests.venues.naive import NaiveExchange
from tests.venues.test_exchange_twin import CHANGED, CHANGES, END, FIELDS, Driver, Steps, check_memory, check_print
from tests.venues.world import config, faulty

pytestmark = pytest.mark.kernel

SMALL = Depth(orders=64, far=64, taken=64)
#: A quarter of what the profile asks for: these are many.
FEWER = settings(max_examples=max(settings().max_examples // 4, 20))
ALL = ("worst", "proportional", "exact")


def configured(queue, ppm=0, seed=1, orders=64):
    simulation = faulty(ppm, seed, orders) if ppm else Simulation(orders=orders)
    return config(msgspec.structs.replace(simulation, queue=queue))


#: The first venue trades from 1 to 2 ms, and from 3 ms on; the second until 2.5 ms; the third always.
HOURS = ([(1_000_000, 2_000_000), (3_000_000, 10**16)], [(0, 2_500_000)], None)


def both(cfg, rows, **more):
    """What the kernels report, and the twin."""
    driver = Driver(cfg, depth=SMALL, **more)
    found = driver.run(rows)
    twin = NaiveExchange(cfg, create(cfg, depth=SMALL, **more))
    for template, row in rows:
        if template == "down":
            twin.sweep(row, day_only=False)
        else:
            twin.ingest(row[0])
    twin.advance(END)
    if not more:
        check_memory(driver.ex)
    check_taken(driver.ex, twin)
    names = [CHANGED if r["template_id"] in CHANGES else FIELDS for r in twin.reports]
    return found, [tuple(r[n] for n in name) for r, name in zip(twin.reports, names, strict=True)]


def check_taken(ex, twin):
    """Every row of `taken` is in one list; what was taken is the twin's."""
    rows, k = set(), int(ex.core[0].taken_head)
    while k >= 0:
        rows.add(k)
        k = int(ex.taken[k].next)
    instruments = len(twin.config.instrument)
    for side, first in enumerate(ex.taken_of):
        k, mine = int(first), {}
        while k >= 0:
            assert k not in rows
            rows.add(k)
            mine[abs(int(ex.taken[k].rank))] = int(ex.taken[k].qty)
            k = int(ex.taken[k].next)
        depth = twin.markets[side // 2 // instruments][side // 2 % instruments].depth
        theirs = {px: q for (s, px), q in depth.taken.items() if (s == Side.SELL) == side % 2 and q > 0}
        assert {px: qty for px, qty in mine.items() if qty > 0} == theirs
    assert len(rows) == len(ex.taken)


@pytest.mark.parametrize("queue", ["worst", "proportional"])
@FEWER
@given(d.days_of_levels)
def test_levels(queue, day):
    found, expected = both(configured(queue), list(d.rows_of(day)))
    assert found == expected


@pytest.mark.parametrize("queue", ALL)
@FEWER
@given(d.days_of_orders)
def test_orders(queue, day):
    found, expected = both(configured(queue), list(d.rows_of(day)))
    assert found == expected


@pytest.mark.parametrize("queue", ALL)
@FEWER
@given(d.days_of_orders)
def test_queues_of_orders(queue, day):
    found, expected = both(configured(queue), list(d.rows_of(d.calm(day))))
    assert found == expected


@FEWER
@given(d.days_of_levels)
def test_queues_of_levels(day):
    found, expected = both(configured("proportional"), list(d.rows_of(d.calm(day))))
    assert found == expected


@FEWER
@given(d.days_of_orders)
def test_trading_hours(day):
    cfg, rows = configured("exact"), list(d.rows_of(d.calm(day)))
    found, expected = both(cfg, rows, trading_hours=HOURS)
    assert found == expected


@FEWER
@given(d.days)
def test_quotes_alone_with_a_proportional_queue(day):
    found, expected = both(configured("proportional"), list(d.rows_of(day)))
    assert found == expected


@pytest.mark.parametrize("queue", ALL)
@pytest.mark.parametrize("seed", range(4))
def test_long_days(queue, seed):
    kinds = d.LEVELS if seed % 2 and queue != "exact" else d.ORDERS
    cfg = configured(queue, 30_000 * (seed % 3), seed, orders=256)
    day = d.long_day(seed, count=800, kinds=kinds)
    found, expected = both(cfg, list(d.rows_of(d.calm(day) if seed >= 2 else day)))
    assert found == expected


@pytest.mark.parametrize("queue", ALL)
def test_a_print_fills_no_more_than_it_traded(queue):
    steps = Steps(configured(queue, orders=256), depth=SMALL)
    for template, row in d.rows_of(d.calm(d.long_day(1, count=800, kinds=d.ORDERS))):
        if template == "down":
            exchange.sweep(steps.ex, row, exchange.SWEEP_ALL)
        elif template == Template.TRADE:
            steps.step(clock=int(row["ts_event_ns"][0]))
            check_print(steps, row[0])
        else:
            steps.step(row)


@pytest.mark.skipif(not JIT, reason="six long days; the twin is held to shorter ones in every mode")
def test_the_queue_decides():
    """The three differ, and who waits for trades alone is not filled sooner than who counts cancels too."""
    # what is cancelled all at once waits for nothing; what is not printed moves nobody
    printed = {name: values for name, values in d.DELTA.items() if name != "match_id"} | {"flags": [0, 0, 0, Flag.MORE]}
    shown = d.PRINT | {"flags": d.PRINT["flags"][:-1]}  # nor does what was printed before
    changed = {id(d.DELTA): printed, id(d.PRINT): shown}
    kinds = [
        (weight, kind, changed.get(id(fields), fields))
        for weight, kind, fields in d.ORDERS
        if kind != Template.MASS_CANCEL
    ]
    days = [list(d.rows_of(d.calm(d.long_day(seed, count=800, kinds=kinds)))) for seed in range(6)]
    filled = {}
    for queue in ALL:
        cfg = configured(queue, orders=256)
        filled[queue] = [_added(Driver(cfg, depth=SMALL).run(day)) for day in days]
    assert filled["worst"] != filled["proportional"] != filled["exact"] != filled["worst"]
    assert sum(filled["worst"]) < sum(filled["proportional"])


def _added(reports):
    """Quantity that was filled while it rested."""
    rows = [dict(zip(FIELDS, r, strict=True)) for r in reports]
    return sum(r["last_qty"] for r in rows if r["template_id"] == Template.FILL and r["liquidity"] == 1)


@pytest.mark.torture
@pytest.mark.parametrize("queue", ALL)
@pytest.mark.parametrize("seed", range(100, 200))
def test_many_longer_days(queue, seed):
    kinds = d.LEVELS if seed % 2 and queue != "exact" else d.ORDERS
    cfg = configured(queue, 20_000 * (seed % 3), seed, orders=1024)
    found, expected = both(cfg, list(d.rows_of(d.long_day(seed, count=3000, ids=900, kinds=kinds))))
    assert found == expected


@FEWER
@given(d.days_of_orders, st.integers(1, 3), st.integers(1, 7))
def test_cutting_into_batches_changes_nothing(day, out, batch):
    cfg, rows = configured("exact"), list(d.rows_of(day))
    assert Driver(cfg, out=out, depth=SMALL).run(rows, batch=batch) == Driver(cfg, depth=SMALL).run(rows)
