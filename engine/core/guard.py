"""Invariants of the core that are held while it runs: a broken one raises, and the driver halts the engine.

Checked where quantity moves, on the rows that moved: a few loads a report of a venue. A step of a strategy that would
send more than is left of its parent is that step's failure, and undone like every other (`engine.run.turn`).

Worst case: a row that no report touches may be wrong for long; `tickroute verify` still finds it.
"""

from __future__ import annotations

from engine.core.children import terminal
from engine.core.emit import left_of
from engine.core.ids import child_slot
from engine.core.reports import parent_of
from engine.core.state import NONE, State
from engine.jit import kernel


@kernel
def check_report(state: State, order_id: int) -> None:
    """After a report on the child with this id: its quantity, its parent's and the counts of what lives add up."""
    c = child_slot(state, order_id)
    if c == NONE:
        return
    child, core = state.children[c], state.core[0]
    assert child.cum_qty >= 0 and child.busted_qty >= 0, "a child executed less than nothing"  # noqa: PT018  one thing is said
    if terminal(int(child.ord_status)):
        assert child.leaves_qty == 0, "a child that has ended has leaves"
    else:
        left = int(state.child_orders[c].qty) - int(child.cum_qty) - int(child.busted_qty)
        assert child.leaves_qty == max(left, 0), "leaves of a child are not ordered - executed - busted"
    p = parent_of(state, c)
    if p != NONE:
        parent = state.parents[p]
        assert parent.live_qty >= 0, "a parent has less than nothing at venues"
        assert parent.live_children > 0 or parent.live_qty == 0, "a parent has quantity at venues and no child there"
    assert 0 <= core.live_children <= len(state.children), "the count of live children"
    assert 0 <= core.unknown_children <= core.live_children, "the count of unknown children"
    assert 0 <= core.live_parents <= len(state.parents), "the count of live parents"


@kernel
def check_step(state: State, p: int, live_qty: int) -> None:
    """After a step of parent p, which had `live_qty` at venues before it: it has not sent more than was left."""
    now = int(state.parents[p].live_qty)
    assert now <= live_qty or now <= left_of(state, p), "a step sent more than was left"
