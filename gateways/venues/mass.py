"""MASS_CANCEL at a simulated venue: all live orders in a scope are cancelled, each with a report of its own.

It takes its way like every other request, so it comes behind the orders that were sent before it. A scope is what a
venue knows from the orders: all, an instrument, a client, a strategy, a trader, an account. The record's fields are
kept in an order's request slot: px is the scope, qty what it means.

Worst case: one pass over all orders that the venue ever had. What finds no free message slot goes on when there is one,
and a second mass cancel of the venue waits for that.
"""

from __future__ import annotations

from engine.core.scopes import concerns, target_of
from engine.jit import kernel
from engine.record.records import ExecType, Reason, Template
from gateways.inbox import Inbox
from gateways.venues.fills import end
from gateways.venues.flight import room
from gateways.venues.orders import live
from gateways.venues.state import Exchange

_CANCELED, _MASS = int(ExecType.CANCELED), int(Reason.MASS_CANCEL)
_T_MASS = int(Template.MASS_CANCEL)


@kernel
def write_mass(ex: Exchange, inbox: Inbox, at: int, slot: int) -> None:
    """Put the MASS_CANCEL at unit `at` into a request slot."""
    mass, request = inbox.mass_cancel[at], ex.requests[slot]
    scope = int(mass.scope)
    request.order_id = mass.request_id
    request.parent_id = 0
    request.cl_ord_id[0] = 0
    request.cl_ord_id[1] = 0
    request.px = scope
    request.qty = target_of(scope, int(mass.client_id), int(mass.instrument_id), int(mass.target))
    request.min_qty = 0
    request.display_qty = 0
    request.instrument_id = mass.instrument_id
    request.ttl_ms = 0
    request.side = 0
    request.ord_type = 0
    request.tif = 0
    request.capacity = 0
    request.short_sale = 0
    request["flags"] = 0
    request.client_id = mass.client_id
    request.account_id = 0
    request.trader_id = 0
    request.desk_id = 0
    request.algo_id = 0


@kernel
def begin_mass(ex: Exchange, message: int, now_ns: int) -> bool:
    """A MASS_CANCEL is executed; False where another of its venue is not done."""
    request = ex.requests[message]
    venue = ex.venues[int(request.venue_id)]
    if venue.mass_at >= 0:
        return False
    venue.mass_at, venue.mass_end = 0, ex.core[0].count
    venue.mass_scope, venue.mass_target = request.px, request.qty
    go_on(ex, int(request.venue_id), now_ns)
    return True


@kernel
def go_on(ex: Exchange, v: int, now_ns: int) -> None:
    """Go on with a venue's mass cancel, as far as there is room for its reports."""
    venue = ex.venues[v]
    scope, target = int(venue.mass_scope), int(venue.mass_target)
    while venue.mass_at >= 0:
        if venue.mass_at == venue.mass_end:
            venue.mass_at = -1
            return
        row = int(venue.mass_at)
        order = ex.orders[row]
        if order.venue_id == v and live(int(order.ord_status)) and concerns(scope, target, order):
            if room(ex) < 1:
                ex.core[0].sweeping = 1
                return
            end(ex, row, _CANCELED, _MASS, _T_MASS, now_ns)
        venue.mass_at += 1
