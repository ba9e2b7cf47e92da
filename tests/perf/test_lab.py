"""The harness of `perf wire` by itself: which quote an order is counted for."""

from __future__ import annotations

import pytest

from engine.io.ring import PRODUCER, Ring
from engine.record.records import RECORD_MAX, Template
from perf import lab

pytestmark = pytest.mark.kernel


@pytest.fixture
def harness(tmp_path):
    """A lab over rings of its own; nobody is at their other ends."""
    bench, events = lab.make(lab.SHM, 1)
    rings = [Ring.create(tmp_path / name, 1024, side) for name, side in (("feed", PRODUCER), ("out", PRODUCER))]
    bench.line[0].feed, bench.line[0].orders_tx = (ring.address for ring in rings)
    bench.line[0].marked_every = 1
    yield bench, events
    for ring in rings:
        ring.close()


def answer(events, quote_px, instrument):
    order = events.order[0]
    order.template_id, order.block_length = int(Template.ORDER_NEW), RECORD_MAX - 8
    order.instrument_id, order.px, order.qty = instrument, quote_px, 1


def test_an_order_is_counted_for_the_quote_that_set_it_off(harness):
    bench, events = harness
    line = bench.line[0]
    prices = []
    for k in range(2 * lab.INSTRUMENTS):
        lab._quote(bench, k, 1_000 + k)
        prices.append(int(bench.quote[0]["ask_px"]))
    assert line.open == 2 * lab.INSTRUMENTS
    assert len(set(prices)) == len(prices), "each mark is known by its price"
    newer = lab.INSTRUMENTS + 5
    answer(events, prices[5], 5)
    lab._order(bench, events, 0, 50_000)
    assert line.open == 2 * lab.INSTRUMENTS - 1
    left = bench.tags[5 * lab.MARKS : 6 * lab.MARKS]
    assert left[left > 0].tolist() == [1_000 + newer], "the newer mark is still open"
    answer(events, prices[newer], 5)
    lab._order(bench, events, 0, 60_000)
    assert bench.tags[5 * lab.MARKS : 6 * lab.MARKS].max() == 0


def test_an_order_that_no_mark_set_off_is_counted_for_none(harness):
    bench, events = harness
    lab._quote(bench, 0, 1_000)
    for px in (lab.LIMIT_PX - lab.TICK_PX, lab.LIMIT_PX + lab.TICK_PX, 0):
        answer(events, px, 0)
        lab._order(bench, events, 0, 50_000)
    assert bench.line[0].open == 1
    assert bench.hist.sum() == 0
    assert bench.line[0].received == 3


def test_marks_set_parents_off_and_other_quotes_do_not(harness):
    bench, _ = harness
    bench.line[0].marked_every = 4
    for k in range(4 * lab.MARKS):
        lab._quote(bench, k, 1_000 + k)
        quote = bench.quote[0]
        assert quote["bid_px"] < quote["ask_px"], "no quote is crossed in itself"
        assert (quote["ask_px"] <= lab.LIMIT_PX) == (k % 4 == 0)
