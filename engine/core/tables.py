"""Arrays of the state: aligned, zeroed and touched; which of them the risk gate has, and which the undo log."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.core.limits import UNDO_ROWS, UNDO_WORDS, Limits
from engine.core.rows import (
    ACCOUNT,
    AMEND,
    CHILD,
    CORE,
    EXPOSURE,
    INSTRUMENT,
    OVERRIDE,
    PARENT,
    PERIOD,
    QUOTE_SLOT,
    RATE,
    RECENT_ORDER,
    UNDO,
    WORD,
)  # fmt: skip
from engine.core.rules import (
    CURRENCIES,
    INSTRUMENTS,
    LIMIT_STRIDE,
    OVERRIDES,
    P_INSTRUMENTS,
    RATE_INSTRUMENTS,
    RECENT,
)  # fmt: skip
from engine.record import records as r


def aligned(count: int, dtype: np.dtype[Any]) -> np.ndarray:
    """Zeroed array whose first element begins a cache line; writing the zeros makes its pages present."""
    size = count * dtype.itemsize
    raw = np.empty(size + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    raw[:] = 0
    return raw[start : start + size].view(dtype)


def risk_tables(limits: Limits, children: int) -> dict[str, np.ndarray]:
    """What the risk gate has, see engine.core.rules for the places."""
    words = np.dtype("<i8")
    return {
        "limits": aligned(INSTRUMENTS + LIMIT_STRIDE * limits.instruments, words),
        "permits": aligned(P_INSTRUMENTS + limits.instruments, words),
        "rates": aligned(RATE_INSTRUMENTS + limits.instruments, RATE),
        "periods": aligned(limits.instruments, PERIOD),
        "exposures": aligned(limits.accounts * limits.instruments, EXPOSURE),
        "accounts": aligned(limits.accounts * CURRENCIES, ACCOUNT),
        "reserves": aligned(children, words),
        "overrides": aligned(OVERRIDES, OVERRIDE),
        "recent": aligned(RECENT, RECENT_ORDER),
        "recent_index": aligned(2 * RECENT, words),
    }


def undo_tables(counters: int) -> dict[str, np.ndarray]:
    """The undo log: room for what one step may change, see engine.core.limits."""
    return {
        "undo": aligned(1, UNDO),
        "undo_core": aligned(1, CORE),
        "undo_counts": aligned(counters, np.dtype("<i8")),
        "undo_at": aligned(4 * UNDO_ROWS, np.dtype("<i8")),
        "undo_parents": aligned(UNDO_ROWS, PARENT),
        "undo_parent_orders": aligned(1, r.ORDER),
        "undo_children": aligned(UNDO_ROWS, CHILD),
        "undo_child_orders": aligned(UNDO_ROWS, r.ORDER),
        "undo_amends": aligned(UNDO_ROWS, AMEND),
        "undo_instruments": aligned(UNDO_ROWS, INSTRUMENT),
        "undo_quotes": aligned(UNDO_ROWS, QUOTE_SLOT),
        "undo_words": aligned(UNDO_WORDS, WORD),
    }
