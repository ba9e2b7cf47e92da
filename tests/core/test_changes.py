"""Executions: once each, busted, corrected, late; and terms that a venue changes unasked."""

from __future__ import annotations

import pytest

from engine.core.state import CANCELED, FILLED, RESTING
from engine.record.records import ExecType, Liquidity, OrdStatus, Reason, Template
from engine.run import config as c
from tests.core.scenes import posted, taking
from tests.core.world import MS, VENUES, World, children, kinds, make_config, of, reasons, reports

pytestmark = pytest.mark.kernel


def alerts(outputs):
    return [Reason(int(row.code)) for row in of(outputs, Template.ALERT)]


def told(outputs, template):
    """(last_qty, last_px, cum_qty, leaves_qty, ord_status) of what the client is told."""
    (row,) = of(outputs, template)
    return row.last_qty, row.last_px, row.cum_qty, row.leaves_qty, OrdStatus(int(row.ord_status)).name


def sums(w):
    """The child's and the parent's (CumQty, busted), and the position (quantity, cost)."""
    child, parent = w.state.children[1 & (len(w.state.children) - 1)], w.parent("a")[1]
    position = w.state.positions[0]
    return (
        (int(child.cum_qty), int(child.busted_qty)),
        (int(parent.cum_qty), int(parent.busted_qty)),
        (int(position.qty), int(position.cost)),
    )


CENT = 10**7


# ---- busts


def test_bust_of_a_part_that_still_works():
    w, child = posted()
    (first,) = of(w.fill(child, 40, exec_id="e1"), Template.FILL)
    outputs = w.bust(child, "e1")
    assert alerts(outputs) == [Reason.BUSTED]
    assert told(outputs, Template.BUST) == (0, 0, 0, 60, "NEW")
    assert tuple(of(outputs, Template.BUST)[0].exec_ref_id) == tuple(first.exec_id)
    assert children(outputs) == [], "it is not routed again by itself"
    order, row = w.row(child)
    assert (OrdStatus(int(row.ord_status)).name, row.leaves_qty) == ("NEW", 60)
    assert sums(w) == ((0, 40), (0, 40), (0, 0))
    assert order.qty == row.cum_qty + row.leaves_qty + row.busted_qty


def test_bust_of_what_is_filled_leaves_it_ended():
    w, child = posted()
    w.fill(child, exec_id="e1")
    assert w.parent("a")[1].phase == FILLED
    outputs = w.bust(child, "e1")
    assert told(outputs, Template.BUST) == (0, 0, 0, 0, "CANCELED")
    assert OrdStatus(int(w.row(child)[1].ord_status)).name == "CANCELED"
    assert children(outputs) == []
    assert sums(w) == ((0, 100), (0, 100), (0, 0))


def test_rest_of_a_parent_of_which_a_part_was_busted_ends_it_cancelled():
    w, child = posted()
    w.fill(child, 40, exec_id="e1")
    w.bust(child, "e1")
    outputs = w.fill(child, 60)
    assert reports(outputs)[-1] == ("ACK", "a", "4", "4")
    assert w.parent("a")[1].phase == CANCELED
    assert w.parent("a")[1].reason == Reason.BUSTED


def test_client_may_raise_an_order_of_which_a_part_was_busted():
    w, child = posted()
    w.fill(child, 40, exec_id="e1")
    w.bust(child, "e1")
    w.replace("a", 140, 10_000)
    (again,) = children(w.done(child))
    assert again.qty == 100, "what was busted stays a part of the order"


def test_bust_of_an_overfill_relieves_it_first():
    w, child = taking()
    w.fill(child, 60, exec_id="e1")
    w.fill(child, 60, exec_id="e2")
    assert w.counter("qty_overfilled") == 20
    w.bust(child, "e2")
    assert w.counter("qty_overfilled") == 0
    assert sums(w) == ((60, 40), (60, 40), (60, 60 * 10_000 * CENT))


def test_bust_of_a_child_whose_parents_slot_was_taken_again_moves_the_position():
    w = World(make_config(capacity={"parents": 2}))
    w.offers((0, 10_000, 100))
    (child,) = children(w.new("a"))
    w.fill(child, exec_id="e1")
    for name in ("b", "d", "e"):
        w.new(name, px=9_000)
    assert w.state.positions[0].qty == 100
    outputs = w.bust(child, "e1")
    assert kinds(outputs) == ["ALERT"], "nobody is left to be told"
    assert w.state.positions[0].qty == 0


# ---- corrections


@pytest.mark.parametrize(
    ("qty", "px", "child", "parent", "leaves"),
    [
        (40, 9_990, (40, 0), (40, 0), 60),
        (30, 10_000, (30, 10), (30, 10), 60),
        (55, 10_000, (55, 0), (55, 0), 45),
    ],
)
def test_correction_of_price_and_quantity(qty, px, child, parent, leaves):
    w, order = posted()
    w.fill(order, 40, exec_id="e1")
    outputs = w.correct(order, "e1", qty, px)
    assert alerts(outputs) == [Reason.CORRECTED]
    assert told(outputs, Template.CORRECT) == (qty, px, qty, leaves, "PARTIALLY_FILLED")
    assert sums(w) == (child, parent, (qty, qty * px * CENT))
    assert w.row(order)[1].leaves_qty == leaves


def test_correction_that_completes_an_order_ends_it():
    w, child = posted()
    w.fill(child, 40, exec_id="e1")
    outputs = w.correct(child, "e1", 100, 10_000)
    assert told(outputs, Template.CORRECT) == (100, 10_000, 100, 0, "FILLED")
    assert w.parent("a")[1].phase == FILLED


def test_corrections_and_a_bust_of_one_execution_by_any_of_its_ids():
    w, child = posted()
    w.fill(child, 40, exec_id="e1")
    w.correct(child, "e1", 50, 10_000, exec_id="c1")
    w.correct(child, "e1", 30, 9_990, exec_id="c2")
    assert sums(w)[0] == (30, 20)
    w.correct(child, "c1", 45, 9_980, exec_id="c3")
    assert sums(w)[2] == (45, 45 * 9_980 * CENT)
    w.bust(child, "c2")
    assert sums(w)[2] == (0, 0)
    assert reasons(w.bust(child, "c3")) == [Reason.BUSTED]
    assert reasons(w.correct(child, "e1", 10, 10_000)) == [Reason.BUSTED]


def test_correction_changes_fees_by_its_liquidity():
    venues = (c.Venue(mic="XA", code="A", session="v1", take_fee="0.0030", make_fee="-0.0020"), *VENUES[1:])
    w = World(make_config(venues))
    w.offers((0, 10_000, 100))
    (child,) = children(w.new("a"))
    w.fill(child, 100, exec_id="e1", liquidity=Liquidity.REMOVED)
    assert w.state.positions[0].fee == 300_000_000
    w.correct(child, "e1", 100, 10_000, liquidity=Liquidity.ADDED)
    assert w.state.positions[0].fee == -200_000_000
    assert w.parent("a")[1].fee == -200_000_000


# ---- once each


def test_exec_ids_are_idempotent_whatever_they_came_with():
    w, child = posted()
    w.fill(child, 40, exec_id="e1")
    w.bust(child, "e1", exec_id="b1")
    before = w.hash()
    for again in (
        lambda: w.fill(child, 40, exec_id="e1"),
        lambda: w.fill(child, 40, exec_id="b1"),
        lambda: w.bust(child, "e1", exec_id="b1"),
        lambda: w.bust(child, "e1", exec_id="e1"),
        lambda: w.correct(child, "e1", 30, 10_000, exec_id="b1"),
    ):
        outputs = again()
        assert reasons(outputs) == [Reason.DUPLICATE_EXEC]
        assert kinds(outputs) == ["REFUSAL"]
        assert sums(w) == ((0, 40), (0, 40), (0, 0))
    assert w.hash() != before, "refusals are counted"


def test_same_exec_id_of_another_venue_is_another_execution():
    w = World()
    w.offers((0, 10_000, 50), (1, 10_000, 50))
    one, two = children(w.new("a"))
    w.fill(one, 50, exec_id="e1")
    w.fill(two, 50, exec_id="e1")
    outputs = w.bust(two, "e1")
    assert told(outputs, Template.BUST)[2:] == (50, 0, "CANCELED")
    assert (w.row(one)[1].cum_qty, w.row(two)[1].cum_qty) == (50, 0)


@pytest.mark.parametrize("template", ["BUST", "CORRECT"])
def test_change_of_an_execution_that_is_not_known_changes_nothing_and_alerts(template):
    w, child = posted()
    w.fill(child, 40, exec_id="e1")
    kind = {"exec_ref_id": "e9", "exec_id": "b1", "last_qty": 10, "last_px": 10_000}
    outputs = w.report(Template[template], child, **kind)
    assert (reasons(outputs), alerts(outputs)) == ([Reason.UNKNOWN_EXEC], [Reason.UNKNOWN_EXEC])
    assert sums(w)[0] == (40, 0)
    # The same ExecRefID on another order, or in another instrument, is another's.
    other = {"order_id": int(child.order_id) + 1}, {"instrument_id": 1}
    for which in other:
        assert reasons(w.report(Template[template], child, **{**kind, "exec_ref_id": "e1", **which})) == [
            Reason.UNKNOWN_EXEC
        ]


def test_late_execution_can_be_busted_too():
    w, child = taking()
    w.done(child)
    assert w.parent("a")[1].phase == RESTING
    outputs = w.fill(child, 40, exec_id="e1")
    assert alerts(outputs) == [Reason.ORDER_TERMINAL]
    w.bust(child, "e1")
    assert sums(w) == ((0, 40), (0, 40), (0, 0))


# ---- unasked


def test_cancel_that_nobody_asked_for_gives_the_rest_back_and_alerts():
    w, child = posted()
    w.fill(child, 40)
    outputs = w.done(child, cum=40)
    assert alerts(outputs) == [Reason.UNSOLICITED]
    assert [row.qty for row in children(outputs)] == [60], "what is left is the parent's again, and is routed"


def test_restatement_downward_gives_the_difference_back():
    w, child = posted()
    outputs = w.report(Template.ACK, child, exec_type=ExecType.RESTATED, leaves_qty=70, last_px=9_990)
    assert alerts(outputs) == [Reason.UNSOLICITED]
    order, row = w.row(child)
    assert (order.qty, order.px, row.leaves_qty) == (70, 9_990, 70)
    assert w.parent("a")[1].live_qty == 70


def test_restatement_upward_is_taken_back():
    w, child = posted()
    outputs = w.report(Template.ACK, child, exec_type=ExecType.RESTATED, leaves_qty=150, last_px=10_000)
    assert alerts(outputs) == [Reason.UNSOLICITED]
    assert len(of(outputs, Template.ORDER_CANCEL)) == 1
    assert w.row(child)[1].leaves_qty == 100, "nobody asked for more"


# ---- replaces of children, and what crosses them


def test_replace_is_not_promised_twice():
    w, child = posted()
    px = int(child.px)
    assert [row.qty for row in w.amend(child, px, 60)] == [60]
    assert w.amend(child, px, 101) == [], "more than its parent has to give"
    assert [row.qty for row in w.amend(child, px, 100)] == [100]
    assert w.amend(child, px, 90) == [], "two are unanswered"
    w.replaced(child, px, 0, 60)
    assert (w.row(child)[1].leaves_qty, w.row(child)[1].amends) == (60, 1)
    w.replaced(child, px, 0, 100)
    assert (w.row(child)[1].leaves_qty, w.row(child)[1].amends) == (100, 0)


def test_fill_beyond_the_old_terms_says_that_a_raise_has_taken_effect():
    w, child = posted()
    px = int(child.px)
    w.amend(child, px, 60)
    w.replaced(child, px, 0, 60)
    w.amend(child, px, 100)
    outputs = w.fill(child, 90)
    assert alerts(outputs) == []
    order, row = w.row(child)
    assert (order.qty, row.cum_qty, row.leaves_qty, row.amends) == (100, 90, 10, 0)
    assert reasons(w.replace_reject(child, Reason.SIMULATED)) == [Reason.NOT_IN_ORDER]


def test_cancel_beats_a_replace_that_is_unanswered():
    w, child = posted()
    w.amend(child, int(child.px), 60)
    w.cancel("a")
    assert OrdStatus(int(w.row(child)[1].ord_status)).name == "PENDING_CANCEL"
    w.replaced(child, int(child.px), 0, 60)
    assert OrdStatus(int(w.row(child)[1].ord_status)).name == "PENDING_CANCEL"
    assert reports(w.done(child)) == [("ACK", "a", "4", "4")]


def test_unanswered_replace_is_asked_about_then_cancelled():
    w, child = posted()
    w.amend(child, int(child.px), 60)
    assert kinds(w.advance(500 * MS)) == ["ALERT", "STATUS_REQUEST"]
    assert kinds(w.advance(500 * MS)) == ["ORDER_CANCEL"]


@pytest.mark.parametrize(("leaves", "qty"), [(60, 60), (100, 100)])
def test_status_settles_an_unanswered_replace(leaves, qty):
    w, child = posted()
    w.amend(child, int(child.px), 60)
    w.advance(500 * MS)
    w.status(child, OrdStatus.NEW, leaves_qty=leaves, last_px=int(child.px))
    order, row = w.row(child)
    assert (order.qty, row.leaves_qty, row.amends, OrdStatus(int(row.ord_status)).name) == (qty, leaves, 0, "NEW")


def test_replace_that_meets_an_order_that_has_ended_is_asked_about():
    w, child = posted()
    w.amend(child, int(child.px), 60)
    w.replace_reject(child, Reason.ORDER_TERMINAL)
    assert w.row(child)[1].amends == 0
    assert kinds(w.advance(500 * MS)) == ["ALERT", "STATUS_REQUEST"]
    w.status(child, OrdStatus.CANCELED)
    assert w.state.core[0].live_children == 1, "what it gave back is posted again"


def test_terms_that_are_told_again_change_nothing():
    """A venue sends again what was not acknowledged: the old terms do not come back."""
    w, child = posted()
    px = int(child.px)
    w.amend(child, px, 60)
    w.replaced(child, px, 0, 60, exec_id="r1")
    w.amend(child, px, 90)
    assert reasons(w.replaced(child, px, 0, 60, exec_id="r1")) == [Reason.DUPLICATE_EXEC]
    assert w.row(child)[1].amends == 1
    w.replaced(child, px, 0, 90, exec_id="r2")
    for again, leaves in (("r1", 60), ("r2", 90)):
        assert reasons(w.replaced(child, px, 0, leaves, exec_id=again)) == [Reason.DUPLICATE_EXEC]
    order, row = w.row(child)
    assert (order.qty, row.leaves_qty, row.cancels, w.parent("a")[1].live_qty) == (90, 90, 0, 90)
    w.amend(child, px, 70)
    w.replace_reject(child, Reason.SIMULATED, exec_id="r3")
    w.amend(child, px, 80)
    assert reasons(w.replace_reject(child, Reason.SIMULATED, exec_id="r3")) == [Reason.DUPLICATE_EXEC]
    assert w.row(child)[1].amends == 1, "the second replace is not what was refused"
