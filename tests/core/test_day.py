"""The trading day rolls over: what is carried, what expires, whose ids are whose; and positions to open with."""

from __future__ import annotations

import pytest

from engine.core.day import day_now
from engine.core.state import COUNTERS, PAUSED, RESTING
from engine.record.records import OrdStatus, PositionFlag, Reason, Template
from engine.record.units import day_of
from tests.core.scenes import last_report, posted, resting, sent, taking
from tests.core.world import GTC, IOC, SECOND, SELL, START_NS, World, children, make_config, of, reasons, reports

pytestmark = pytest.mark.kernel

DAY = 17533  # 2018-01-02


def test_a_resting_day_order_expires_and_a_gtc_order_goes_on():
    w = resting()
    w.new("stays", tif=GTC)
    outputs = w.roll()
    assert reports(outputs) == [("ACK", "a", "C", "C")]
    assert last_report(outputs).reason == Reason.DAY_END
    assert [(row.code, row.value) for row in of(outputs, Template.ALERT)] == [(Reason.DAY_END, DAY + 1)]
    assert w.parent("stays")[1].phase == RESTING
    assert sent(w.quote(1, 9_900, 1, 10_000, 50)) == [(1, 50, 10_000)]


def test_ids_of_new_orders_are_of_the_new_day():
    w = resting(tif=GTC)
    w.roll(3)
    assert day_now(w.state) == DAY + 3
    w.offers((0, 10_000, 300))
    outputs = w.new("b", qty=10)
    order = w.parent("b")[0]
    assert day_of(order.order_id) == day_of(children(outputs)[-1].order_id) == DAY + 3
    assert day_of(w.parent("a")[0].order_id) == DAY
    (mine,) = {int(row.parent_id) for row in children(outputs)}
    assert mine == order.order_id


def test_what_lives_at_a_venue_is_cancelled_first_and_comes_back_with_its_report_alone():
    w, child = posted()
    outputs = w.roll()
    assert [row.order_id for row in of(outputs, Template.ORDER_CANCEL)] == [child.order_id]
    assert reports(outputs) == []
    assert w.parent("a")[1].live_qty == 100
    w.fill(child, 30)
    outputs = w.done(child, 30)
    assert reports(outputs) == [("ACK", "a", "C", "C")]
    last = last_report(outputs)
    assert (last.cum_qty, last.leaves_qty, last.reason) == (30, 0, Reason.DAY_END)
    assert (w.counter("qty_ordered"), w.counter("qty_filled"), w.counter("qty_canceled")) == (100, 30, 70)


def test_a_child_whose_venue_is_silent_keeps_its_parent_open_across_the_roll():
    w, child = posted()
    w.silent(2)
    assert reports(w.roll()) == []
    assert (w.state.core[0].unknown_children, w.state.core[0].live_parents) == (1, 1)
    assert w.state.core[0].old_execs == 1
    w.up(2)
    w.drain()
    outputs = w.status(child, OrdStatus.CANCELED)
    assert reports(outputs) == [("ACK", "a", "C", "C")]
    assert w.state.core[0].old_execs == 0


def test_a_paused_day_order_expires_too():
    w = resting()
    w.pause("a")
    assert w.parent("a")[1].phase == PAUSED
    assert reports(w.roll()) == [("ACK", "a", "C", "C")]


def test_a_cl_ord_id_may_be_used_again_on_another_day_unless_its_order_is_open():
    w = resting()
    w.new("open", tif=GTC, px=9_950)
    assert w.cancel("a") != []
    assert reports(w.new("a")) == [("ACK", "a", "I", "4")]  # today it is the same order again
    w.roll()
    assert reports(w.new("a", px=9_960)) == [("ACK", "a", "0", "0")]
    assert reports(w.new("open", tif=GTC, px=9_950)) == [("ACK", "open", "I", "0")]
    w.new("open", px=1)
    assert w.refused(Reason.DUPLICATE_ORDER) == 1
    assert reports(w.cancel("a")) == [("ACK", "a", "4", "4")]


def test_positions_are_carried_and_what_is_summed_a_day_begins_at_zero():
    w, child = taking(100)
    w.fill(child)
    before = w.state.positions[0].copy()
    assert (before.qty, before.bought_qty, before.fills) == (100, 100, 1)
    w.roll()
    after = w.state.positions[0]
    assert (after.qty, after.cost) == (before.qty, before.cost)
    assert (after.bought_qty, after.sold_qty, after.fee, after.fills) == (0, 0, 0, 0)
    assert [name for name in COUNTERS if w.counter(name)] == ["alerts"]
    assert w.state.refusals.sum() == 0


def test_what_is_open_counts_as_accepted_and_ordered_on_the_new_day():
    w = resting(tif=GTC, qty=70)
    w.roll()
    assert (w.counter("parents_accepted"), w.counter("qty_ordered")) == (1, 70)
    w.cancel("a")
    assert (w.counter("parents_canceled"), w.counter("qty_canceled")) == (1, 70)


def test_executions_are_remembered_until_nothing_lives_and_then_forgotten():
    w, child = taking(100)
    w.offers((1, 10_000, 40))
    (other,) = children(w.new("stays", qty=40, tif=GTC))
    w.fill(child, exec_id="E1")
    w.roll()
    assert (w.state.core[0].live_children, w.state.core[0].exec_count) == (1, 1)
    assert reasons(w.fill(child, exec_id="E1")) == [Reason.DUPLICATE_EXEC]
    w.fill(other, exec_id="E2")
    assert (w.state.core[0].live_children, w.state.core[0].exec_count) == (0, 0)
    # Nobody can say any more whether it was booked: it is refused, and the position stays.
    qty = int(w.state.positions[0].qty)
    assert reasons(w.fill(child, exec_id="E1")) == [Reason.UNKNOWN_ORDER]
    assert reasons(w.bust(child, "E1")) == [Reason.UNKNOWN_EXEC]
    assert int(w.state.positions[0].qty) == qty


def test_an_exec_id_of_yesterday_is_another_execution_today():
    w, child = taking(100)
    w.fill(child, exec_id="E1")
    w.roll()
    w.offers((0, 10_000, 100))
    (today,) = children(w.new("b"))
    assert reports(w.fill(today, exec_id="E1")) == [("FILL", "b", "F", "2")]


def test_a_bust_across_the_roll_while_something_lives():
    w, child = posted()
    w.fill(child, 30, exec_id="E1")
    w.roll()
    assert w.state.core[0].exec_count == 1
    outputs = w.bust(child, "E1")
    assert [row.template_id for row in of(outputs, Template.BUST)] == [Template.BUST]
    assert (w.state.positions[0].qty, w.counter("qty_filled"), w.counter("qty_busted")) == (0, -30, 30)


@pytest.mark.parametrize("days", [0, -1])
def test_a_day_that_is_not_later_is_refused(days):
    w = resting()
    outputs = w.roll(days)
    assert reasons(outputs) == [Reason.NOT_IN_ORDER]
    (row,) = of(outputs, Template.REFUSAL)
    assert (row.value, row.limit) == (DAY + days, DAY)
    assert w.parent("a")[1].phase == RESTING


def test_a_day_order_that_comes_after_its_days_end_is_not_routed():
    w = World(make_config(routing={"day_end": "14:30:10"}))
    w.now_ns += 10 * SECOND
    w.quote(0, 9_900, 100, 10_000, 100)
    outputs = w.new("late")
    assert reports(outputs) == [("ACK", "late", "0", "0"), ("ACK", "late", "C", "C")]
    assert last_report(outputs).reason == Reason.DAY_END
    assert children(outputs) == []
    assert sent(w.new("immediate", tif=IOC)) == [(0, 100, 10_000)]
    assert w.drain() == []


def test_a_day_order_whose_market_moves_before_its_timer_fires_is_not_routed():
    """As after a stall: what came meanwhile is read before the time is looked at."""
    w = World(make_config(routing={"day_end": "14:30:10"}))
    w.quote(0, 9_900, 100, 10_100, 100)
    w.new("a")
    w.new("stays", tif=GTC)
    assert w.parent("a")[1].phase == RESTING
    w.now_ns += 11 * SECOND
    outputs = w.quote(0, 9_900, 100, 10_000, 300)
    assert ("ACK", "a", "C", "C") in reports(outputs)
    assert [int(row.parent_id) for row in children(outputs)] == [int(w.parent("stays")[0].order_id)]


def test_only_the_driver_rolls():
    w = World()
    outputs = w.on_session(Template.ROLL, 0, trading_day=DAY + 1)
    assert reasons(outputs) == [Reason.UNKNOWN_SESSION]
    assert day_now(w.state) == DAY


def test_the_new_day_has_an_end_of_its_own():
    w = World(make_config(routing={"day_end": "14:30:10"}))
    w.quote(0, 9_900, 100, 10_100, 100)
    end_ns = START_NS + 100 * SECOND
    w.roll(1, end_ns)
    w.new("b")
    assert reports(w.advance(50 * SECOND)) == []
    assert reports(w.advance(50 * SECOND)) == [("ACK", "b", "C", "C")]


def test_two_rolls_in_a_row_and_a_wave_larger_than_an_outbox():
    w = World(make_config(capacity={"parents": 512, "children": 512}), check=False)
    w.quote(0, 9_900, 100, 10_100, 100)
    for n in range(300):
        w.new(n + 1, qty=1, px=9_950)
    told = reports(w.roll()) + reports(w.roll())
    assert told == [("ACK", name, "C", "C") for _, name, _, _ in told]
    assert len(told) == 300
    assert (w.state.core[0].live_parents, w.state.core[0].rolls) == (0, 2)


def test_an_immediate_order_is_not_touched():
    w, child = taking(100, tif=IOC)
    assert reports(w.roll()) == []
    assert reports(w.fill(child)) == [("FILL", "a", "F", "2")]


# ---- opening positions


def test_a_position_is_loaded_at_its_average_price_or_cost():
    w = World()
    assert w.load(qty=100, px=10_050) == []
    assert w.load(qty=-30, px=-3_000_123, account_id=1, instrument_id=1, flags=int(PositionFlag.COST)) == []
    assert (w.state.positions[0].qty, w.state.positions[0].cost) == (100, 10_050 * 10**9)
    row = w.state.positions[1 * len(w.state.instruments) + 1]
    assert (row.qty, row.cost, row.fills) == (-30, -3_000_123, 0)
    w.offers((0, 10_000, 40))
    (child,) = children(w.new("a", qty=40))
    w.fill(child)
    assert (w.state.positions[0].qty, w.state.positions[0].cost) == (140, 14_050 * 10**9)


def test_a_short_position_brought_money():
    w = World()
    w.load(qty=-100, px=10_000)
    assert w.state.positions[0].cost == -10_000 * 10**9
    w.load(qty=0, px=0)
    assert (w.state.positions[0].qty, w.state.positions[0].cost) == (0, 0)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"instrument_id": 2}, Reason.UNKNOWN_INSTRUMENT),
        ({"instrument_id": -1}, Reason.UNKNOWN_INSTRUMENT),
        ({"account_id": 2}, Reason.UNKNOWN_ACCOUNT),
        ({"account_id": -1}, Reason.UNKNOWN_ACCOUNT),
        ({"qty": 1 << 54}, Reason.IMPOSSIBLE_QTY),
        ({"px": -1}, Reason.IMPOSSIBLE_PRICE),
        ({"px": 1 << 51}, Reason.IMPOSSIBLE_PRICE),
        ({"qty": 1 << 53, "px": 1_000_000}, Reason.OVERFLOW),
        ({"px": (1 << 62) + 1, "flags": 1}, Reason.OVERFLOW),
        ({"flags": 2}, Reason.UNSUPPORTED),
    ],
)
def test_a_position_that_cannot_be_is_refused(fields, reason):
    w = World()
    assert reasons(w.load(**{"qty": 1, "px": 1, **fields})) == [reason]
    assert not any(w.state.positions["qty"])


def test_a_position_comes_before_the_first_order():
    w = World()
    w.quote(0, 9_900, 100, 10_100, 100)
    w.new("a", side=SELL, px=10_200)
    assert reasons(w.load(qty=1, px=1)) == [Reason.NOT_IN_ORDER]
    w.roll()
    assert reasons(w.load(qty=1, px=1)) == [Reason.NOT_IN_ORDER]
