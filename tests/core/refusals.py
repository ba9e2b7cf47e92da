"""What a refusal must leave alone: the state without its counters and without the places of its streams."""

from __future__ import annotations

import hashlib
from typing import Any

from engine.core.state import State

#: Fields that move when a record arrives, refused or not: numbers of streams, and of what is answered.
PLACES = {
    "sessions": ("epoch_in", "seq_in", "seq_out", "gaps"),
    "venues": ("feed_epoch", "feed_seq", "feed_gaps", "feed_lost"),
    "core": ("now_ns", "gated"),
}


def fingerprint(state: State) -> str:
    """SHA-256 over what no refused record may change."""
    digest = hashlib.sha256()
    for name, array in state.arrays().items():
        if name in ("counts", "refusals", "scratch"):
            continue
        kept: Any = array
        if name in PLACES:
            kept = array.copy()
            for field in PLACES[name]:
                kept[field] = 0
        digest.update(kept.tobytes())
    return digest.hexdigest()
