"""What must hold of the risk gate's sums after each step: they are what the children's rows and the positions say.

Summed up anew from nothing, over all live children: that each order counts before it is sent (RTS 6 Art. 15(2)) is that
this holds at the end of the very step that sends it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from engine.core.exposure import reserved_of
from engine.core.rules import CURRENCIES, EXPOSURE_UNIT, RATE_SLOTS
from engine.core.state import NEVER, NONE
from engine.record.records import Side


def exposures(f: Any) -> None:
    """Reserves are what the children may yet execute, exposures their sums, and accounts the sums of those."""
    state, width = f.state, len(f.state.instruments)
    sums: dict[int, Counter[str]] = {}
    for n, child in enumerate(f.children):
        order, held = f.child_orders[n], reserved_of(state, n)
        if n not in f.live:
            assert held == (0, 0), "what has ended reserves nothing"
            continue
        raised = max([order["qty"], *f.amends(n, "qty")]) - order["qty"]
        qty, px = child["leaves_qty"] + raised, max([order["px"], *f.amends(n, "px")])
        row = state.instruments[order["instrument_id"]]
        money = px * qty * int(row.notional_mul) // int(row.notional_div)
        assert held == (qty, -(-money // EXPOSURE_UNIT))
        side = "buy" if order["side"] == Side.BUY else "sell"
        mine = sums.setdefault(order["account_id"] * width + order["instrument_id"], Counter())
        mine[f"{side}_qty"] += qty
        mine[f"{side}_money"] += held[1]
    accounts: dict[int, Counter[str]] = {}
    for place, row in enumerate(state.exposures):
        found = sums.get(place, Counter())
        for name in ("buy_qty", "sell_qty", "buy_money", "sell_money"):
            assert row[name] == found[name], f"{name} is the sum of what was reserved"
        value = int(row.value)
        assert row.worst == max(abs(value + found["buy_money"]), abs(value - found["sell_money"]))
        assert state.positions[place].qty != 0 or value == 0, "flat is worth nothing"
        currency = int(state.instruments[place % width].currency_slot)
        account = accounts.setdefault(place // width * CURRENCIES + currency, Counter())
        account["gross"] += int(row.worst)
        account["long"] += value + found["buy_money"]
        account["short"] += value - found["sell_money"]
    for n, row in enumerate(state.accounts):
        for name in ("gross", "long", "short"):
            assert row[name] == accounts.get(n, Counter())[name]
        assert row.gross_peak >= row.gross
        assert row.long_peak >= row.long
        assert row.short_peak <= row.short


def furthest(f: Any, reached: dict[int, tuple[int, int]]) -> None:
    """Positions with what works at venues: the furthest of all steps so far (`reached`, by place) is what is kept."""
    for place, row in enumerate(f.state.exposures):
        held, (long, short) = int(f.state.positions[place].qty), reached.get(place, (0, 0))
        reached[place] = max(long, held + int(row.buy_qty)), max(short, int(row.sell_qty) - held)
        assert (row.buy_peak, row.sell_peak) == reached[place]


def rates(f: Any) -> None:
    """A rate's total is what its slots hold."""
    for row in f.state.rates:
        assert row.total == sum(row.counts.tolist())
        assert min(row.counts.tolist()) >= 0
        assert len(row.counts) == RATE_SLOTS


def overrides(f: Any) -> None:
    """The next end of an override is known, an override holds, and no limit has two."""
    rows = [row for row in f.state.overrides if row.place != NONE]
    assert f.core["override_due_ns"] == min((int(row.expires_ns) for row in rows), default=NEVER)
    assert len({int(row.place) for row in rows}) == len(rows)
    for row in rows:
        assert f.state.limits[int(row.place)] == row.value
