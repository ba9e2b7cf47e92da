"""Venues that bust, correct and cancel unasked, an engine that is killed meanwhile: all agree on what stands."""

from __future__ import annotations

import time

import pytest

from engine.core.state import COUNTERS
from engine.jit import JIT
from engine.record.records import OrdStatus
from replay.verify import verify
from tests.run.lives import Lives, rerun

pytestmark = pytest.mark.skipif(not JIT, reason="engine and venues are compiled processes")

FAULTS = "bust_ppm = 150000\ncorrect_ppm = 250000\nunsolicited_ppm = 200000"


def day(folder, seed, **changes):
    """A day of some seconds with a kill in it: (venues' counters, client, state at the end, counters of the core)."""
    with Lives(folder, seed, **{"reject_ppm = 10000": FAULTS, **changes}) as lives:
        assert (lives.config.simulation.bust_ppm, lives.config.simulation.unsolicited_ppm) == (150_000, 200_000)
        lives.start()
        lives.turn_for(1.5)
        lives.kill()
        time.sleep(0.2)  # what is busted now is told to the next life
        lives.start()
        lives.turn_for(1.5)
        lives.client.mass_cancel()
        lives.turn_until(lives._all_ended, 60.0, orders=False)
        until = time.monotonic() + 0.3  # second thoughts come within 50 ms of the last execution
        lives.turn_until(lambda: time.monotonic() > until, 5.0, orders=False)
        venues, client = lives.finish(), lives.client
        state = rerun(lives.run_dir)
        verdict = verify(lives.run_dir)
    assert verdict.result == "identical"
    return venues, client, state, {name: int(state.counts[n]) for n, name in enumerate(COUNTERS)}


def agree(venues, client, state, counted):
    """Venues, engine and client on busts and corrections, every order, and the position."""
    for name in ("busts", "corrects", "fills"):
        assert counted[name] == venues[name] > 0, name
    assert client.counters()["busts"] == venues["busts"]
    assert client.counters()["corrects"] == venues["corrects"]
    assert venues["unsolicited"] > 0
    row = state.instruments[0]
    book = {text.tobytes(): n for n, text in enumerate(state.parent_orders["cl_ord_id"]) if text[0]}
    busted = money = qty = 0
    for name, order in client.orders.items():
        slot = book.get(name.encode().ljust(16, b"\0"))
        if slot is None:
            assert order.ord_status == OrdStatus.REJECTED
            continue
        parent = state.parents[slot]
        assert (order.ord_status, order.cum_qty) == (parent.ord_status, parent.cum_qty), name
        assert (order.filled_qty, order.busted_qty) == (parent.cum_qty, parent.busted_qty), name
        assert order.notional * int(row.notional_mul) // int(row.notional_div) == parent.notional, name
        busted += order.busted_qty
        qty += order.signed_qty
        money += int(parent.notional) if order.signed_qty > 0 else -int(parent.notional)
    assert busted == counted["qty_busted"] > 0
    position = state.positions[0]
    ((mine, cost),) = client.positions().values()
    assert mine == qty == position.qty
    assert cost * int(row.notional_mul) // int(row.notional_div) == money == position.cost


def test_client_engine_and_venues_agree_on_what_stands(tmp_path):
    agree(*day(tmp_path, 5, **{'rest = "engine"': 'rest = "venue"'}))
