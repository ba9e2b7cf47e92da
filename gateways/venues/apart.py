"""The kernels of the simulated venues that are compiled once and called by name, see engine.apart.

What executes an order and the three entrances of the machine are called from many places, up to a backtest's driver and
the venues' own loop: each would have all of it linked and optimised again. `state.create` settles them, and nothing can
call a kernel of the venues before there is an Exchange. The books' own kernels are not among them: who inspects a feed
calls those too, and has no Exchange.

Worst case: a call that is not inlined, a nanosecond or two; some three for an order that reaches its venue.
"""

from __future__ import annotations

from engine.apart import member, set_apart
from gateways.inbox import Inbox
from gateways.venues import depth, exchange, matching, orders, queue
from gateways.venues.state import Exchange


def settle() -> None:
    """Compile or load them; a second time does nothing. Inner ones come first."""
    reports = member(Exchange, "reports")
    set_apart(queue.trade_through, Exchange, *[int] * 4)
    set_apart(queue.after_fall, Exchange, *[int] * 5)
    set_apart(matching.take, Exchange, int, int)
    set_apart(matching.cross, Exchange, int, int)
    set_apart(orders.on_new, Exchange, int, int)
    set_apart(orders.on_replace, Exchange, int, int)
    set_apart(depth.on_delta, Exchange, Inbox, int, int, int)
    set_apart(depth.on_level, Exchange, Inbox, int, int)
    set_apart(exchange.submit, Exchange, Inbox, int)
    set_apart(exchange.advance, Exchange, reports, int)
    set_apart(exchange.ingest, Exchange, Inbox, int, int, int, reports)
    set_apart(exchange.ingest_depth, Exchange, Inbox, *[int] * 4)
