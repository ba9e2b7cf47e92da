"""A strategy that replaces its children all the time, at venues that bust, correct and cancel: both sides agree.

Latency is longer than the strategy's patience, so two replaces are under way at once, and cross executions, busts,
corrections, cancels and one another. In the end every child is to the engine what it is to its venue.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engine.core.ids import child_slot
from engine.core.state import COUNTERS
from engine.jit import JIT
from engine.record.records import OrdStatus, Tif
from gateways.feeds import synthetic
from gateways.feeds.names import Names
from replay.report.measure import measure
from tests.replay.desk import Desk, config, parents

STRATEGY = Path(__file__).with_name("nudge.py")
FAULTS = {"bust_ppm": 200_000, "correct_ppm": 300_000, "unsolicited_ppm": 100_000, "reject_ppm": 20_000}

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(JIT, reason="a strategy of its own compiles for a minute; as plain Python it runs at once"),
]


@pytest.mark.parametrize(("seed", "faults"), [(1, {}), (2, FAULTS)])
def test_children_are_to_the_engine_what_they_are_to_their_venues(tmp_path, seed, faults):
    agree(tmp_path, seed, faults, orders=8)


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(3, 23))
def test_so_they_are_on_many_days(tmp_path, seed):
    agree(tmp_path, seed, FAULTS, orders=24)


def agree(tmp_path, seed, faults, orders):
    """Play a day of so many orders, and hold engine, venues and journal against each other."""
    made = config(str(tmp_path / "run"), strategy=str(STRATEGY))
    quiet = dict.fromkeys(("reject_ppm", "partial_ppm", "lost_order_ppm", "lost_ack_ppm"), 0)
    made = msgspec.structs.replace(
        made,
        simulation=msgspec.structs.replace(made.simulation, seed=seed, **{**quiet, **faults}),
        venue=[msgspec.structs.replace(venue, latency_us=3000 + 100 * n) for n, venue in enumerate(made.venue)],
    )
    day = synthetic.generate(seed=seed, names=Names.of(made), quotes=300, trades=100)
    desk = Desk(made, tmp_path / "run")
    asked = parents(day, orders, seed=seed)
    for _, row in asked:
        if "tif" in (row.dtype.names or ()):
            row["tif"] = Tif.DAY  # so that all end with the day
    desk.play(day, asked)
    desk.close()
    state, ex = desk.state, desk.exchange
    counted = {name: int(state.counts[n]) for n, name in enumerate(COUNTERS)}
    venues = ex.venues
    assert counted["replaces_sent"] > 10 * orders
    assert int(venues["cancel_rejects"].sum()) > 0
    assert (counted["overfills"], int(state.core[0].live_children), int(state.core[0].unknown_children)) == (0, 0, 0)
    assert counted["workflow_failures"] == 0
    for name in ("busts", "corrects", "fills"):
        assert counted[name] == int(venues[name].sum())
    assert (counted["busts"] + counted["corrects"] > 0) == bool(faults)
    seen = 0
    for order in ex.orders[: int(ex.core[0].count)]:
        c = child_slot(state, int(order.order_id))
        if c < 0:
            continue  # its slot was taken again
        seen += 1
        child, terms = state.children[c], state.child_orders[c]
        assert (child.cum_qty, child.busted_qty) == (order.cum_qty, order.busted_qty)
        assert OrdStatus(int(child.ord_status)) == OrdStatus(int(order.ord_status))
        if OrdStatus(int(child.ord_status)) == OrdStatus.FILLED:
            assert (terms.px, terms.qty) == (order.px, order.qty)
    assert seen >= orders
    told = measure(tmp_path / "run")
    assert told.verify is not None
    assert told.verify.result == "identical"
    assert told.shares.adds_up
    assert told.agrees_with_core
    assert 0 < told.outcome.replaces <= counted["replaces_sent"], "the risk gate stopped some"
