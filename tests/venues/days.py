"""Generated days for the simulated venues: short ones by hypothesis, which shrinks them, and long ones from a seed.

Both draw from the same tables: `GOOD` orders meet each other and the quotes, `WILD` ones break a rule or two.
A day is a list of (template or "down", fields); `rows_of` turns it into records with times.
"""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st

from engine.record.records import Flag, OrdType, Reason, Scope, Side, Template, Tif
from tests.venues.world import record

PX = [99, 100, 100, 101, 98, 102, 110]
QTY = [20, 50, 100, 10, 0, 15]
STEP = [0, 1, 500, 3000, 600_000]
PLACE: dict[str, list[int]] = {"venue_id": [0, 0, 0, 1, 2], "instrument_id": [0, 0, 0, 1]}
GOOD: dict[str, list[int]] = {
    "venue_id": [0, 0, 0, 1],
    "instrument_id": [0],
    "order_id": list(range(1, 13)),
    "px": PX,
    "qty": [10, 20, 30, 60],
    "side": [Side.BUY, Side.SELL],
    "tif": [Tif.DAY, Tif.DAY, Tif.IOC, Tif.GTC, Tif.FOK],
    "ord_type": [OrdType.LIMIT],
    "flags": [0, 0, 0, 2],
    "min_qty": [0, 0, 0, 20],
    "ttl_ms": [0, 0, 0, 1],
    "display_qty": [0, 0, 0, 10],
    "client_id": [0, 1],
    "algo_id": [0, 0, 1],
    "trader_id": [0, 1],
    "account_id": [0, 1],
}
WILD: dict[str, list[int]] = {
    "venue_id": [0, 0, 1, 2, 2, 3, -1],
    "instrument_id": [0, 0, 0, 1, 2, -1],
    "order_id": list(range(13)),
    "px": [100, 105, 110, 0, -1],
    "qty": [10, 60, 15, 0, -10],
    "min_qty": [0, 0, 20, -1],
    "side": [*Side, 9],
    "ord_type": [OrdType.LIMIT, OrdType.MARKET, 7],
    "tif": [*Tif, 1],
    "client_id": [0, 1, 2, 3],
    "display_qty": [0, 0, 10, 15, -10],
}
QUOTE: dict[str, list[int]] = {
    **PLACE,
    "bid_px": [99, 98, 100, 101, 0],
    "bid_qty": QTY,
    "ask_px": [101, 102, 100, 99, 0],
    "ask_qty": QTY,
    "flags": [0] * 9 + [Flag.CLOSED],
}
TRADE: dict[str, list[int]] = {**PLACE, "px": PX, "qty": QTY, "flags": [0] * 4 + [Flag.OFF_BOOK]}
CLEAR: dict[str, list[int]] = {
    "venue_id": [0, 1, 2],
    "instrument_id": [-1, 0, 1, 5],
    "reason": [Reason.NONE, Reason.DAY_END],
}
MASS: dict[str, list[int]] = {
    "venue_id": [0, 0, 1, 2, 3],
    "scope": [Scope.ALL, Scope.INSTRUMENT, Scope.CLIENT, Scope.STRATEGY, Scope.TRADER, Scope.ACCOUNT, Scope.VENUE],
    "instrument_id": [0, 1],
    "client_id": [0, 1],
    "target": [0, 1],
    "request_id": [0, 7],
}
LEVEL: dict[str, list[int]] = {
    **PLACE,
    "side": [Side.BUY, Side.SELL],
    "action": [0, 1, 1, 2],
    "px": [96, 97, 98, 99, 100, 101, 102, 103],
    "qty": [*QTY, 30],
    "flags": [0, 0, 0, Flag.MORE],
}
DELTA: dict[str, list[int]] = {
    **PLACE,
    "side": [Side.BUY, Side.SELL],
    "action": [0, 0, 0, 1, 2, 3, 3, 4, 5],
    "px": [97, 98, 99, 100, 101, 102],
    "qty": [10, 20, 30, 60],
    "venue_order": [1, 2, 3, 4, 5, 6, 7, 0],
    "new_order": [8, 9, 3],
    "exec_px": [0, 0, 0, 0, 100],
    "match_id": [0, 0, 5],
    "flags": [0, 0, 0, 0, Flag.MORE, Flag.NOT_PRINTED, Flag.PRINT],
}
PRINT = {**TRADE, "flags": [0, 0, 0, Flag.AGGRESSOR_BUY, Flag.AGGRESSOR_SELL, Flag.OFF_BOOK, Flag.AUCTION, Flag.PRINT]}
#: (how often in the long days, kind, fields)
KINDS: list[tuple[int, Any, dict[str, list[int]]]] = [
    (30, Template.ORDER_NEW, GOOD),
    (25, Template.QUOTE, QUOTE),
    (15, Template.TRADE, TRADE),
    (6, Template.ORDER_CANCEL, GOOD),
    (8, Template.ORDER_REPLACE, GOOD),
    (4, Template.STATUS_REQUEST, GOOD),
    (4, Template.ORDER_NEW, WILD),
    (2, Template.ORDER_REPLACE, WILD),
    (2, Template.ORDER_CANCEL, WILD),
    (1, Template.CLEAR, CLEAR),
    (1, "down", {"venue": [0, 1, 2]}),
    (1, Template.MASS_CANCEL, MASS),
]


STATUS: dict[str, list[int]] = {
    "venue_id": [0, 1],
    "instrument_id": [0, 0, 0, 1, -1],
    "status": [0, 0, 0, 1, 2, 3],
}
HALTS = (3, Template.INSTRUMENT_STATUS, STATUS)
#: Days with levels, and with orders.
LEVELS = [(40, Template.LEVEL, LEVEL), (6, Template.TRADE, PRINT), HALTS, *KINDS]
ORDERS = [(50, Template.ORDER_DELTA, DELTA), (6, Template.TRADE, PRINT), HALTS, *KINDS]


def _strategy(kind, fields):
    drawn = {name: st.sampled_from(values) for name, values in {"step": STEP, **fields}.items()}
    return st.tuples(st.just(kind), st.fixed_dictionaries(drawn))


#: Short days, for hypothesis.
days = st.lists(st.one_of(*(_strategy(kind, fields) for _, kind, fields in KINDS)), max_size=60)
days_of_levels = st.lists(st.one_of(*(_strategy(kind, fields) for _, kind, fields in LEVELS)), max_size=60)
days_of_orders = st.lists(st.one_of(*(_strategy(kind, fields) for _, kind, fields in ORDERS)), max_size=60)


def long_day(seed, count=400, ids=150, kinds=KINDS):
    """A day of `count` events from a seed, with order ids 1 to `ids`, mostly rising."""
    rng = random.Random(seed)
    weights = [weight for weight, *_ in kinds]
    newest = 1
    day: list[tuple[object, dict[str, int]]] = []
    terms: dict[int, dict[str, int]] = {}
    for _, kind, fields in rng.choices(kinds, weights, k=count):
        drawn = {name: rng.choice(values) for name, values in {"step": STEP, **fields}.items()}
        if kind == Template.ORDER_NEW and rng.random() < 0.9:
            newest = newest % ids + 1
        if "order_id" in drawn and fields is GOOD:
            drawn["order_id"] = newest if kind == Template.ORDER_NEW else max(1, newest - rng.randrange(8))
            known = terms.setdefault(drawn["order_id"], drawn)
            if rng.random() < 0.9:  # the terms that a request may not change
                drawn.update({name: known[name] for name in ("side", "tif", "venue_id")})
        day.append((kind, drawn))
    return day


def calm(day):
    """The day with buys below sells, so that what rests is not crossed at once, and queues decide."""
    for kind, fields in day:
        if "side" in fields and "px" in fields:
            px = 98 + fields["px"] % 3 + (3 if fields["side"] == Side.SELL else 0)
            fields = fields | {"px": px}
        elif kind == Template.TRADE:
            fields = fields | {"px": 100 + fields["px"] % 2}
        yield kind, fields


def rows_of(day):
    """("down", venue) or (template, record) in order, with their times."""
    clock_ns = 0
    for kind, fields in day:
        if kind == "down":
            yield kind, fields["venue"]
            continue
        clock_ns += fields["step"]
        yield kind, record(kind, ts_event_ns=clock_ns, **{k: v for k, v in fields.items() if k != "step"})
