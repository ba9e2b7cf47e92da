"""What simulated venues think better of: busts, corrections, cancels unasked; and what crosses a replace."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from engine.record.records import DTYPES, ExecType, OrdStatus, Reason, Template, Tif, from_text16
from engine.run.config import Simulation
from tests.venues.test_exchange import MS, US, Venues, brief, cancel, replace, trade
from tests.venues.world import config, order, quote

pytestmark = pytest.mark.kernel


def changed(reports):
    """The busts and corrections among reports, as records of their own kind."""
    kinds = (Template.BUST, Template.CORRECT)
    return [np.frombuffer(r.tobytes(), DTYPES[Template.BUST])[0] for r in reports if r.template_id in kinds]


def sure(fault):
    """A configuration in which a fault is certain."""
    return config(msgspec.structs.replace(Simulation(orders=8), **{fault: 1_000_000}))


def test_bust_takes_an_execution_back_and_the_order_stays_ended():
    venues = Venues(sure("bust_ppm"))
    _, filled, *_ = venues.send(quote(99, 50, 100, 30), order(7, 100, 30))
    (bust,) = changed(venues.send(until_ns=60 * MS))
    assert (bust.template_id, bust.exec_type) == (Template.BUST, ExecType.TRADE_CANCEL)
    assert from_text16(bust.exec_ref_id) == from_text16(filled.exec_id)
    assert from_text16(bust.exec_id) > from_text16(filled.exec_id)
    assert (bust.last_qty, bust.cum_qty, bust.leaves_qty, bust.ord_status) == (0, 0, 0, OrdStatus.CANCELED)
    assert MS <= bust.ts_event_ns - filled.ts_event_ns < 50 * MS


def test_busted_quantity_does_not_come_back_not_even_by_a_replace():
    venues = Venues(sure("bust_ppm"))
    venues.send(quote(99, 50, 100, 10), order(7, 100, 30, tif=Tif.DAY))
    (bust,) = changed(venues.send(until_ns=60 * MS))
    assert (bust.cum_qty, bust.leaves_qty, bust.ord_status) == (0, 20, OrdStatus.NEW)
    assert brief(venues.send(replace(7, 98, 25, tif=Tif.DAY))) == ["ACK 50 0@98 0+15"]
    assert brief(venues.send(replace(7, 98, 5, tif=Tif.DAY))) == ["ACK 54 0@98 0+0"]


def test_corrections_are_of_three_kinds():
    """Over many orders: a better price, less quantity, more quantity out of the leaves; sums hold in each."""
    venues, kinds = Venues(config(Simulation(orders=64, correct_ppm=1_000_000))), set()
    for n in range(1, 41):
        now_ns = int(venues.ex.core["clock_ns"][0])
        rows = quote(99, 50, 100, 10 + n % 2, now_ns), order(n, 100, 30, now_ns, tif=Tif.DAY)
        _, filled = venues.send(*rows, until_ns=now_ns + 10 * US)
        (told,) = changed(venues.send(until_ns=now_ns + 60 * MS))
        row = venues.ex.orders[n - 1]
        assert row.cum_qty + row.leaves_qty + row.busted_qty == 30
        assert (told.cum_qty, told.leaves_qty) == (row.cum_qty, row.leaves_qty)
        more = int(told.last_qty - filled.last_qty)
        assert (more == 0) == (told.last_px == 99)
        assert (row.busted_qty, row.leaves_qty) == (max(-more, 0), 30 - filled.last_qty - max(more, 0))
        kinds.add((more > 0) - (more < 0))
        venues.send(cancel(n, now_ns + 60 * MS))
    assert kinds == {-1, 0, 1}


def test_resting_order_is_cancelled_unasked():
    venues = Venues(sure("unsolicited_ppm"))
    venues.send(quote(99, 50, 100, 10), order(7, 98, 30, tif=Tif.DAY))
    (ended,) = venues.send(until_ns=60 * MS)
    assert (ended.exec_type, ended.ord_status, ended.request) == (ExecType.CANCELED, OrdStatus.CANCELED, 0)
    (late,) = venues.send(replace(7, 98, 20, tif=Tif.DAY))
    assert (late.template_id, late.reason) == (Template.CANCEL_REJECT, Reason.ORDER_TERMINAL)


def test_order_that_ended_before_is_not_cancelled_unasked():
    venues = Venues(sure("unsolicited_ppm"))
    venues.send(quote(99, 50, 100, 10), order(7, 98, 30, tif=Tif.DAY), until_ns=10 * US)
    assert len(venues.send(cancel(7, 10 * US), until_ns=20 * US)) == 1
    assert venues.send(until_ns=60 * MS) == []


def test_full_table_of_second_thoughts_spares_the_rest():
    venues = Venues(sure("bust_ppm"))
    venues.ex.core["second_head"] = -1
    venues.send(quote(99, 50, 100, 30), order(7, 100, 30))
    assert venues.send(until_ns=60 * MS) == []
    assert venues.ex.venues[0].spared == 1


# ---- races of replaces


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("replace", "cancel", ["ACK 50 0@98 0+20", "ACK 44 0@98 0+0"]),
        ("cancel", "replace", ["ACK 44 0@98 0+0", "CANCEL_REJECT 84 0@98 0+0"]),
        ("trade", "replace", ["FILL F2 30@98 30+0", "CANCEL_REJECT 82 0@98 30+0"]),
        ("replace", "trade", ["ACK 50 0@98 0+20", "FILL F2 20@98 20+0"]),
    ],
)
def test_replace_and_what_crosses_it(first, second, said):
    venues = Venues()
    venues.send(quote(97, 50, 100, 10), order(7, 98, 30, tif=Tif.DAY))
    rows = {
        "replace": replace(7, 98, 20, 10 * MS, tif=Tif.DAY),
        "cancel": cancel(7, 10 * MS),
        "trade": trade(97, 100, 10 * MS + (US - 1 if first == "trade" else US + 1)),
    }
    # The trade is on the tape while the replace is on its way.
    sent = (rows["replace"], rows["trade"]) if first == "trade" else (rows[first], rows[second])
    assert brief(venues.send(*sent)) == said
