"""The lists of what rests at venues that show it, held to a walk over all children."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.core.state import NONE
from engine.record.records import Tif

if TYPE_CHECKING:
    from tests.core.invariants import Facts


def own(f: Facts) -> None:
    """What rests at a venue that shows it is in its instrument's list there, once, and nothing else is."""
    stride, state = f.params["venue_stride"], f.state
    heads, after, ahead = state.own, state.children["own_next"], state.children["own_prev"]
    for slot, head in enumerate(heads.tolist()):
        mine, before, c = [], NONE, head
        while c != NONE:
            assert ahead[c] == before
            mine.append(c)
            before, c = c, int(after[c])
            assert len(mine) <= len(f.children)
        there = [
            n for n in f.live
            if f.child_orders[n]["instrument_id"] * stride + f.child_orders[n]["venue_id"] == slot
            and f.child_orders[n]["tif"] not in (Tif.IOC, Tif.FOK)
            and state.venues[f.child_orders[n]["venue_id"]]["shows_own"]
        ]  # fmt: skip
        assert sorted(mine) == there
