"""Rows of an event file beside their slow twin, over records of all kinds in any order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.record.records import Flag, Side
from gateways.formats.batch import make_batch, new_clear, new_delta, new_level, new_quote, new_status, new_trade
from gateways.formats.npz_kernels import EVENT
from gateways.formats.npz_rows import make_orders
from gateways.formats.npz_write import NpzRows
from tests.formats.npz_twin import Twin

KINDS = ("quote", "trade", "level", "clear", "status", "delta", "delta", "delta")
record = st.fixed_dictionaries({
    "kind": st.sampled_from(KINDS),
    "venue": st.sampled_from((0, 0, 0, 1)),
    "instrument": st.sampled_from((3, 3, 3, 4, -1)),
    "times": st.sampled_from(((5, 9), (9, 5), (0, 7), (7, 0), (0, 0), (10**18, 10**18 + 1))),
    "side": st.sampled_from((int(Side.BUY), int(Side.SELL), 0)),
    "action": st.integers(0, 5),
    "flags": st.sampled_from((0, int(Flag.SNAPSHOT), int(Flag.AGGRESSOR_BUY), int(Flag.AGGRESSOR_SELL))),
    "px": st.integers(-5, 5) | st.integers(0, 2**60),
    "qty": st.integers(0, 9) | st.integers(0, 2**52),
    "exec_px": st.integers(0, 3),
    "number": st.integers(0, 12) | st.integers(-(2**63), 2**63 - 1),
    "new_number": st.integers(0, 12),
})  # fmt: skip
MAKERS: dict[str, Callable[..., Any]] = {
    "trade": new_trade,
    "level": new_level,
    "clear": new_clear,
    "status": new_status,
    "delta": new_delta,
}


def add(batch, r):
    args = (r["venue"], r["instrument"], *r["times"])
    if r["kind"] == "quote":
        row = batch.quote[new_quote(batch, *args)]
        row["bid_px"], row["bid_qty"], row["ask_px"], row["ask_qty"] = r["px"], r["qty"], r["exec_px"], r["number"] & 7
        return
    i = MAKERS[r["kind"]](batch, *args, *((0,) if r["kind"] in ("clear", "status") else ()))
    if r["kind"] in ("trade", "level", "delta"):
        row = getattr(batch, r["kind"])[i]
        for name in ("side", "action", "flags", "px", "qty"):
            if name in row.dtype.names:
                row[name] = r[name]
    if r["kind"] == "delta":
        row["venue_order"], row["new_order"], row["exec_px"] = r["number"], r["new_number"], r["exec_px"]


@pytest.mark.kernel
@given(st.lists(st.lists(record, max_size=40), max_size=4), st.sampled_from((0, 3)), st.sampled_from((0, -6)))
def test_rows_are_those_of_the_twin(parts, latency_ns, skew_ns):
    mine, twin = NpzRows(2, 1, 3, 0, latency_ns, skew_ns), Twin(2, 1, 3, 0, latency_ns, skew_ns)
    mine._orders = make_orders(2)  # it grows on the way
    expected = []
    for part in parts:
        batch = make_batch(2 * len(part) + 2)
        for r in part:
            add(batch, r)
        mine.take(batch)
        expected += twin.rows(batch)
    rows = np.concatenate(mine._parts) if parts else np.zeros(0, EVENT)
    assert rows.tolist() == expected
    assert dataclasses.asdict(mine.told) == dataclasses.asdict(twin.told)


def test_a_status_is_no_event():
    batch = make_batch()
    new_status(batch, 0, 3, 5, 6, 0)
    rows = NpzRows(0, 0, 3, 0)
    rows.take(batch)
    assert rows.told.other_kind == 1
    assert len(rows.sorted()) == 0
