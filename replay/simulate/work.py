"""What a venue's gateway does with an order by itself: executions, ends, busts, corrections, and reports that lie.

`what` of a `work` event names it, `n` picks the order (and what of it), `fill` is a share in parts per thousand.
"""

from __future__ import annotations

from typing import Any

from engine.record.records import ExecType, Liquidity, Template
from replay.simulate.setup import Setup
from replay.simulate.venues import Gateway, Order

_ADDED = int(Liquidity.ADDED)
#: What is done to orders that are live; `late` to those that ended; the others to any.
_LIVE = ("fill", "over", "cancel", "expire", "again", "restate")


def work(gateway: Gateway, setup: Setup, event: dict[str, Any]) -> bool:
    """Let a gateway do something; False where it has no order to do it with."""
    what, n, fill = event["what"], int(event["n"]), int(event.get("fill", 0))
    if what == "stray":
        return _stray(gateway, setup, event)
    orders = list(gateway.orders.values())
    if what in _LIVE or what == "late":
        orders = [order for order in orders if order.live == (what in _LIVE)]
    elif what in ("bust", "correct"):
        orders = [order for order in orders if any(execution.stands for execution in order.executions)]
    return bool(orders) and _do(gateway, orders[n % len(orders)], what, n, fill) is not False


def _do(gateway: Gateway, order: Order, what: str, n: int, fill: int) -> bool | None:
    if what == "fill":
        gateway.execute(order, max(order.leaves * fill // 1000, 1), _ADDED)
    elif what == "over":
        gateway.execute(order, order.leaves + max(order.qty * fill // 1000, 1), _ADDED)
    elif what == "cancel":
        gateway.end(order, ExecType.CANCELED)
    elif what == "expire":
        gateway.end(order, ExecType.EXPIRED)
    elif what == "again":
        gateway.report(Template.ACK, order, exec_type=ExecType.NEW)
    elif what == "late":
        return gateway.late(order, fill)
    elif what == "repeat":
        return gateway.repeat(order, n)
    elif what == "restate":
        _restate(gateway, order, n, fill)
    else:
        _change(gateway, order, what, n, fill)
    return None


def _change(gateway: Gateway, order: Order, what: str, n: int, fill: int) -> None:
    """Bust one of an order's executions, or correct it: less, more, or at another price."""
    standing = [execution for execution in order.executions if execution.stands]
    old = standing[n % len(standing)]
    qty = 0 if what == "bust" else max(old.qty * 2 * fill // 1000, 1)
    px = old.px if what == "bust" else max(old.px + n % 7 - 3, 1)
    gateway.change(order, old, qty, px, first=n % 2 == 0)


def _restate(gateway: Gateway, order: Order, n: int, fill: int) -> None:
    """Leave a part of an order, or more than there was; sometimes at another price."""
    leaves = max(order.leaves * fill // 1000, 1)
    if n % 4 == 0:
        leaves += order.leaves
    gateway.restate(order, leaves, max(order.px + n % 3 - 1, 1))


def _stray(gateway: Gateway, setup: Setup, event: dict[str, Any]) -> bool:
    """Report on an order that nobody gave to that venue."""
    orders, n = list(gateway.orders.values()), int(event["n"])
    if n % 2 == 0 or not orders:
        gateway.stray(gateway.session % setup.venues, 0, 0, event["template"])
        return True
    order = orders[n % len(orders)]
    venue = (order.venue + 1) % setup.venues
    gateway.stray(venue, int(order.request["instrument_id"]), order.order_id, event["template"])
    return True
