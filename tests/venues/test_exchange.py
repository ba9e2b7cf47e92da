"""The rules of the simulated venues, one example each: what is sent, and what comes back."""

from __future__ import annotations

import msgspec
import pytest

from engine.record.records import (
    Liquidity,
    OrdStatus,
    OrdType,
    Reason,
    Side,
    Template,
    Tif,
    from_text16,
)
from engine.run.config import Faults, Simulation, Venue
from gateways.inbox import out_slots
from gateways.venues import exchange
from gateways.venues.state import create
from tests.venues.world import config, order, packed, quote, record

pytestmark = pytest.mark.kernel

US = 1000
MS = 1_000_000


class Venues:
    """An exchange, and the reports it gives, a list of short readable tuples."""

    def __init__(self, cfg=None, sessions=None, **more):
        self.ex = create(cfg or config(), sessions, **more)
        self.out = out_slots(256)

    def send(self, *rows, until_ns=0):
        """Take records, let 10 ms pass (or all until `until_ns`), return the reports as records."""
        inbox, units = packed(list(rows))
        assert exchange.ingest(self.ex, inbox, 0, units, 0, self.out) == units
        assert exchange.advance(self.ex, self.out, until_ns or int(self.ex.core["clock_ns"][0]) + 10 * MS)
        reports = self.out[: self.ex.core["out_count"][0]].copy()
        self.ex.core["out_count"] = 0
        return list(reports)


def brief(reports):
    """Kind, ExecType and OrdStatus, last, cum + leaves: "FILL F2 100@10 300+0" is a fill that ends an order."""
    return [
        f"{Template(r.template_id).name} {chr(r.exec_type)}{chr(r.ord_status)} "
        f"{r.last_qty}@{r.last_px} {r.cum_qty}+{r.leaves_qty}"
        for r in reports
    ]


def cancel(order_id, ts_event_ns=0, **more):
    return record(Template.ORDER_CANCEL, order_id=order_id, ts_event_ns=ts_event_ns, **more)


def replace(order_id, px, qty, ts_event_ns=0, **more):
    row = order(order_id, px, qty, ts_event_ns, **more)
    row["template_id"] = Template.ORDER_REPLACE
    return row


def trade(px, qty, ts_event_ns=0, **more):
    return record(Template.TRADE, px=px, qty=qty, ts_event_ns=ts_event_ns, **more)


def test_ioc_takes_what_is_shown_and_the_rest_is_cancelled():
    reports = Venues().send(quote(99, 50, 100, 30), order(7, 101, 50, client_id=3))
    assert brief(reports) == ["ACK 00 0@101 0+50", "FILL F1 30@100 30+20", "ACK 44 0@101 30+0"]
    ack, fill, end = reports
    assert (ack.request, fill.request, end.request) == (Template.ORDER_NEW, 0, 0)
    assert (fill.liquidity, end.reason, fill.client_id) == (Liquidity.REMOVED, Reason.NOT_MARKETABLE, 3)
    assert {from_text16(r.peer_id) for r in reports} == {"NO00000000000001"}
    assert [from_text16(r.exec_id) for r in reports] == [f"NE0000000000000{n}" for n in (1, 2, 3)]


def test_latency_is_paid_on_the_way_in_and_on_the_way_out():
    venues = Venues()
    assert venues.send(quote(99, 50, 100, 30), order(7, 100, 30, ts_event_ns=5), until_ns=5 + 2 * US - 1) == []
    reports = venues.send(until_ns=5 + 2 * US)
    assert [int(r.ts_event_ns) for r in reports] == [5 + US, 5 + US]


def test_a_quote_at_the_time_of_execution_comes_too_late():
    late, early = quote(99, 50, 90, 30, ts_event_ns=US), quote(99, 50, 90, 30, ts_event_ns=US - 1)
    assert brief(Venues().send(order(7, 100, 30), late))[-1].startswith("ACK 44")
    assert brief(Venues().send(order(7, 100, 30), early))[-1] == "FILL F2 30@90 30+0"


def test_shown_size_is_used_up_until_that_side_changes():
    venues = Venues()
    venues.send(quote(99, 50, 100, 30), order(1, 100, 20))
    assert brief(venues.send(order(2, 100, 20)))[1] == "FILL F1 10@100 10+10"
    bid_only = quote(98, 40, 100, 30)
    assert len(venues.send(bid_only, order(3, 100, 20))) == 2
    assert brief(venues.send(quote(98, 40, 100, 20), order(4, 100, 20)))[1] == "FILL F2 20@100 20+0"


def test_sells_take_the_bid():
    reports = Venues().send(quote(99, 50, 100, 30), order(1, 98, 60, side=Side.SELL_SHORT))
    assert brief(reports)[1] == "FILL F1 50@99 50+10"


def test_fok_is_all_or_nothing():
    venues = Venues()
    reports = venues.send(quote(99, 50, 100, 30), order(1, 100, 31, tif=Tif.FOK))
    assert brief(reports) == ["ACK 00 0@100 0+31", "ACK 44 0@100 0+0"]
    assert reports[1].reason == Reason.FOK_NOT_FILLABLE
    assert brief(venues.send(order(2, 100, 30, tif=Tif.FOK)))[1] == "FILL F2 30@100 30+0"


def test_min_qty_fills_that_much_or_nothing():
    venues = Venues()
    assert brief(venues.send(quote(99, 50, 100, 30), order(1, 100, 60, min_qty=31)))[1] == "ACK 44 0@100 0+0"
    assert brief(venues.send(order(2, 100, 60, min_qty=30)))[1] == "FILL F1 30@100 30+30"


def test_market_order_takes_any_price():
    reports = Venues().send(quote(99, 50, 100, 30), order(1, 0, 30, ord_type=OrdType.MARKET))
    assert brief(reports)[1] == "FILL F2 30@100 30+0"


def test_remainder_of_a_day_order_rests_and_fills_when_the_quote_locks_it():
    venues = Venues()
    assert len(venues.send(quote(99, 50, 100, 30), order(1, 100, 80, tif=Tif.DAY))) == 2
    (fill,) = venues.send(quote(99, 50, 98, 40))
    assert brief([fill]) == ["FILL F1 40@100 70+10"]
    assert fill.liquidity == Liquidity.ADDED


def test_resting_order_waits_for_the_queue_before_it():
    venues = Venues()
    venues.send(quote(99, 50, 101, 30), order(1, 99, 20, tif=Tif.DAY))
    assert venues.send(trade(99, 45)) == []
    assert brief(venues.send(trade(99, 10))) == ["FILL F1 5@99 5+15"]
    assert brief(venues.send(trade(99, 100))) == ["FILL F2 15@99 20+0"]


def test_a_print_through_the_price_fills_at_once_and_at_most_its_own_quantity():
    venues = Venues()
    venues.send(quote(99, 50, 101, 30), order(1, 99, 20, tif=Tif.DAY), order(2, 98, 20, tif=Tif.DAY))
    assert brief(venues.send(trade(97, 25))) == ["FILL F2 20@99 20+0", "FILL F1 5@98 5+15"]


def test_an_order_that_improves_the_price_has_no_queue_before_it():
    venues = Venues()
    venues.send(quote(99, 50, 101, 30), order(1, 100, 20, tif=Tif.DAY))
    assert brief(venues.send(trade(100, 5))) == ["FILL F1 5@100 5+15"]


def test_an_order_behind_the_touch_queues_when_its_price_is_shown():
    venues = Venues()
    venues.send(quote(99, 50, 101, 30), order(1, 98, 20, tif=Tif.DAY))
    assert venues.send(trade(98, 500)) == []
    assert venues.send(quote(98, 70, 101, 30), trade(98, 70)) == []
    assert brief(venues.send(trade(98, 5))) == ["FILL F1 5@98 5+15"]


def test_better_prices_fill_first_then_earlier_orders():
    venues = Venues()
    day = {"tif": Tif.DAY}
    rows = [order(1, 98, 10, **day), order(2, 99, 10, **day), order(3, 98, 10, **day), order(4, 99, 10, **day)]
    venues.send(quote(90, 1, 101, 30), *rows)
    assert [int(r.order_id) for r in venues.send(quote(90, 1, 98, 35))] == [2, 4, 1, 3]


def test_post_only_is_refused_when_it_would_take():
    venues = Venues()
    (report,) = venues.send(quote(99, 50, 100, 30), order(1, 100, 10, tif=Tif.DAY, flags=2))
    assert (report.template_id, report.reason) == (Template.REJECT, Reason.CROSSED_QUOTE)
    assert len(venues.send(order(2, 99, 10, tif=Tif.DAY, flags=2))) == 1
    (refused,) = venues.send(replace(2, 100, 10, tif=Tif.DAY, flags=2))
    assert (refused.template_id, refused.reason) == (Template.CANCEL_REJECT, Reason.CROSSED_QUOTE)


def test_time_to_live():
    late = order(1, 100, 10, ts_event_ns=0, ttl_ms=1)
    assert len(Venues().send(quote(99, 50, 100, 30, ts_event_ns=MS), late)) == 2, "the last moment counts"
    (report,) = Venues().send(quote(99, 50, 100, 30, ts_event_ns=MS + 1), late)
    assert (report.template_id, report.reason) == (Template.REJECT, Reason.TTL_EXPIRED)
    assert report.ord_status == OrdStatus.REJECTED
    _, expired = Venues().send(quote(99, 50, 101, 30), order(1, 99, 10, tif=Tif.DAY, ttl_ms=1))
    assert (chr(expired.exec_type), expired.reason, expired.ts_event_ns) == ("C", Reason.TTL_EXPIRED, MS + 1)


def test_impossible_times_do_no_harm():
    venues = Venues()
    venues.send(quote(99, 50, 100, 30))
    assert len(venues.send(order(1, 100, 10, ts_event_ns=-(2**63), ttl_ms=2**31 - 1))) == 2
    assert venues.send(order(2, 100, 10, ts_event_ns=2**63 - 1, ttl_ms=2**31 - 1)) == []


def test_cancel():
    venues = Venues()
    venues.send(quote(99, 50, 101, 30), order(1, 99, 20, tif=Tif.DAY))
    done, late, unknown = venues.send(cancel(1), cancel(1), cancel(2))
    assert brief([done, late]) == ["ACK 44 0@99 0+0", "CANCEL_REJECT 84 0@99 0+0"]
    assert (done.reason, done.request) == (Reason.CLIENT_REQUEST, Template.ORDER_CANCEL)
    assert (late.reason, unknown.reason) == (Reason.ORDER_TERMINAL, Reason.UNKNOWN_ORDER)
    assert (unknown.template_id, unknown.ord_status) == (Template.CANCEL_REJECT, OrdStatus.REJECTED)
    assert venues.send(trade(90, 100)) == []


def test_a_request_at_another_venue_does_not_find_the_order():
    venues = Venues()
    venues.send(quote(99, 50, 101, 30), order(1, 99, 20, tif=Tif.DAY))
    (report,) = venues.send(cancel(1, venue_id=1))
    assert (report.template_id, report.reason) == (Template.CANCEL_REJECT, Reason.UNKNOWN_ORDER)


def test_replace_changes_price_and_total_quantity_and_loses_the_queue():
    venues = Venues()
    venues.send(quote(99, 50, 101, 30), order(1, 99, 20, tif=Tif.DAY))
    venues.send(trade(99, 55))
    (done,) = venues.send(replace(1, 99, 30, tif=Tif.DAY))
    assert brief([done]) == ["ACK 51 0@99 5+25"]
    assert venues.send(trade(99, 50)) == []
    assert brief(venues.send(replace(1, 101, 30, tif=Tif.DAY))) == ["ACK 51 0@101 5+25", "FILL F2 25@101 30+0"]


def test_replace_to_what_is_filled_already_ends_the_order():
    """FIX order state C.3.b and c: Replaced with OrdStatus Filled, leaves 0; less than cum means cum."""
    for qty in (5, 1):
        venues = Venues()
        venues.send(quote(99, 50, 101, 30), order(1, 99, 20, tif=Tif.DAY))
        venues.send(trade(99, 55))
        assert brief(venues.send(replace(1, 99, qty, tif=Tif.DAY))) == ["ACK 52 0@99 5+0"]
        (late,) = venues.send(replace(1, 99, 30, tif=Tif.DAY))
        assert (late.reason, chr(late.ord_status)) == (Reason.ORDER_TERMINAL, "2")


def test_status_request():
    venues = Venues()
    status = record(Template.STATUS_REQUEST, order_id=1)
    (never,) = venues.send(status)
    assert (never.template_id, never.reason) == (Template.REJECT, Reason.UNKNOWN_ORDER)
    venues.send(quote(99, 50, 100, 30), order(1, 100, 40))
    assert brief(venues.send(status)) == ["ACK I4 0@100 30+0"]


def test_the_same_order_again_is_answered_with_its_status():
    venues = Venues()
    first = venues.send(quote(99, 50, 100, 30), order(1, 100, 30))
    (again,) = venues.send(order(1, 100, 30))
    assert brief([again]) == ["ACK I2 0@100 30+0"]
    assert list(again.peer_id) == list(first[0].peer_id)
    (other,) = venues.send(order(1, 100, 31))
    assert (other.template_id, other.reason) == (Template.REJECT, Reason.DUPLICATE_ORDER)


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        ("BAD_SIDE", {"side": 0}),
        ("BAD_ORD_TYPE", {"ord_type": 0}),
        ("BAD_TIF", {"tif": 1}),
        ("BAD_TIF", {"tif": Tif.DAY, "ord_type": OrdType.MARKET}),
        ("IMPOSSIBLE_PRICE", {"px": 0}),
        ("IMPOSSIBLE_QTY", {"qty": 0}),
        ("IMPOSSIBLE_QTY", {"min_qty": 1000}),
        ("ODD_LOT", {"venue_id": 1, "qty": 15}),
        ("BAD_TICK", {"venue_id": 2, "px": 101}),
        ("UNKNOWN_INSTRUMENT", {"instrument_id": 2}),
        ("MISSING_ID", {"order_id": 0}),
    ],
)
def test_rejects(reason, fields):
    row = order(1, 100, 20)
    for name, value in fields.items():
        row[name] = value
    (report,) = Venues().send(row)
    assert (report.template_id, report.reason) == (Template.REJECT, Reason[reason])
    assert (report.cum_qty, report.leaves_qty, report.ord_status) == (0, 0, OrdStatus.REJECTED)


def test_tick_table_goes_by_price():
    accepted = Venues().send(order(1, 99, 20, venue_id=2), order(2, 110, 20, venue_id=2))
    assert [Template(r.template_id).name for r in accepted[::2]] == ["ACK", "ACK"]


def test_a_full_table_refuses():
    venues = Venues(config(Simulation(orders=1)))
    *_, report = venues.send(order(1, 100, 20), order(2, 100, 20))
    assert (report.template_id, report.reason, report.order_id) == (Template.REJECT, Reason.TABLE_FULL, 2)


def test_day_end_expires_day_orders_only():
    venues = Venues()
    day, gtc = order(1, 99, 20, tif=Tif.DAY), order(2, 99, 20, tif=Tif.GTC)
    venues.send(quote(99, 50, 101, 30), day, gtc, order(3, 99, 20, tif=Tif.DAY, venue_id=1))
    (report,) = venues.send(record(Template.CLEAR, instrument_id=-1, reason=Reason.DAY_END))
    assert (report.order_id, chr(report.exec_type), report.reason) == (1, "C", Reason.DAY_END)
    assert venues.send(order(4, 101, 10))[1].last_qty == 0, "the books are void"


def test_disconnect_cancels_all_at_the_venue():
    venues = Venues()
    rows = [order(n, 99, 20, tif=Tif.GTC, venue_id=n % 2) for n in (1, 2, 3)]
    venues.send(*rows)
    exchange.sweep(venues.ex, 1, exchange.SWEEP_ALL)
    reports = venues.send()
    assert [(int(r.order_id), Reason(r.reason).name) for r in reports] == [(1, "VENUE_DOWN"), (3, "VENUE_DOWN")]


def always(fault):
    return config(msgspec.structs.replace(Simulation(orders=8), **{fault: 1_000_000}))


def test_fault_reject():
    (report,) = Venues(always("reject_ppm")).send(quote(99, 50, 100, 30), order(1, 100, 20))
    assert (report.template_id, report.reason) == (Template.REJECT, Reason.SIMULATED)


def test_fault_lost_order_is_unknown_afterwards():
    venues = Venues(always("lost_order_ppm"))
    assert venues.send(quote(99, 50, 100, 30), order(1, 100, 20)) == []
    (report,) = venues.send(record(Template.STATUS_REQUEST, order_id=1))
    assert report.reason == Reason.UNKNOWN_ORDER


def test_fault_lost_acknowledgements_leave_executions_and_status():
    venues = Venues(always("lost_ack_ppm"))
    assert brief(venues.send(quote(99, 50, 100, 30), order(1, 100, 40))) == ["FILL F1 30@100 30+10"]
    assert venues.send(cancel(1)) == []
    assert brief(venues.send(record(Template.STATUS_REQUEST, order_id=1))) == ["ACK I4 0@100 30+0"]


def test_fault_phantom_quote_leaves_a_part():
    filled = []
    for n in range(1, 9):
        venues = Venues(config(Simulation(orders=8, partial_ppm=1_000_000)))
        reports = venues.send(quote(99, 50, 100, 1000), order(n, 100, 1000))
        filled.append(int(reports[-1].cum_qty))
        assert len(venues.send(order(n + 20, 100, 1))) == 2, "what was not found is gone"
    assert all(0 <= qty < 1000 for qty in filled)
    assert len(set(filled)) > 4


def test_faults_are_the_venues_own_and_follow_the_seed():
    own = Venue(mic="XNYS", code="N", session="alpha", simulation=Faults(reject_ppm=500_000))
    calm = Venue(mic="BATS", code="Z", session="alpha")

    def rejected(seed, *venues):
        cfg = config(Simulation(orders=256, seed=seed), venues=venues)
        place = [v.mic for v in venues].index("XNYS")
        rows = [order(n, 100, 20, venue_id=n % 2) for n in range(1, 101)]
        at = {int(r.order_id) for r in Venues(cfg).send(*rows) if r.template_id == Template.REJECT}
        assert {n % 2 for n in at} == {place}
        return at

    assert 15 < len(rejected(1, own, calm)) < 35
    assert rejected(1, own, calm) == rejected(1, own, calm)
    assert rejected(1, own, calm) != rejected(2, own, calm)
    assert len(rejected(1, calm, own)) > 15


def test_only_the_sessions_asked_for_are_served():
    venues = Venues(sessions=["beta"])
    reports = venues.send(quote(99, 50, 100, 30, venue_id=2), order(1, 100, 20), order(2, 90, 20, venue_id=2))
    assert {int(r.order_id) for r in reports} == {2}
    assert (venues.ex.core["refused"][0], venues.ex.core["ignored"][0]) == (1, 0)


def test_a_restart_on_the_same_day_repeats_no_id():
    reports = Venues(epoch=86400 * 20000 + 36005).send(order(1, 100, 20))
    assert from_text16(reports[0].exec_id) == "NE00036005000001"


def test_full_out_buffer_stops_the_machine():
    venues = Venues()
    venues.out = out_slots(2)
    inbox, units = packed([quote(99, 50, 100, 30), order(1, 100, 50), order(2, 90, 10)])
    assert exchange.ingest(venues.ex, inbox, 0, units, 0, venues.out) == units
    got = []
    while not exchange.advance(venues.ex, venues.out, MS):
        got += brief(venues.out[: venues.ex.core["out_count"][0]])
        venues.ex.core["out_count"] = 0
    got += brief(venues.out[: venues.ex.core["out_count"][0]])
    assert len(got) == 5
    assert got[:3] == brief(Venues().send(quote(99, 50, 100, 30), order(1, 100, 50)))


def test_monotonic_mode_goes_by_the_time_given():
    venues = Venues()
    inbox, units = packed([quote(99, 50, 100, 30, ts_event_ns=10**18), order(1, 100, 50)])
    exchange.ingest(venues.ex, inbox, 0, units, 5000, venues.out)
    assert venues.ex.core["clock_ns"][0] == 5000
