"""A State that exploration can save, restore and name: all of its arrays in one buffer, and a hash of what decides.

`Arena` copies a State into one buffer, so that saving it is copying some kilobytes, and restoring it the same. `name`
is a hash over everything that decides what the core does next, and over nothing else: two paths that lead to one name
are one state. What does not decide: counters, numbers of streams, times that nothing compares (the rest is taken
relative to now, and is cut off where it makes no more difference), the places in the heap of timers (their order
counts), and which executions are remembered (the explorer's own account says which of them may come again).

A column that this file does not know is part of the name: a core that grows may cost states, but none is lost.

Worst case: a strategy that compares a time which is left out here, such as the age of an order, is explored for one
age only.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import numpy as np

from engine.core.state import State
from engine.workflow.explore_account import TERMINAL

#: Arrays that a step does not write, or that nothing reads to decide. Rules of the risk gate that are off write none,
#: and in the small world all are off that may be.
_STILL: Final = (
    "params",
    "parameters",
    "ticks",
    "lots",
    "refusals",
    "scratch",
    "limits",
    "permits",
    "overrides",
    "rates",
    "periods",
    "recent",
    "recent_index",
)
#: Arrays that are saved but are no part of a name. What is reserved decides nothing there either.
_UNNAMED: Final = (
    "counts", "positions", "execs", "exec_index", "timer_at", "timer_arm", "timer_owner", "timer_pos", "exposures",
    "accounts", "reserves",
)  # fmt: skip
#: Fields that are no part of a name, by array.
_UNNAMED_FIELDS: Final = {
    "core": "now_ns arm_seq exec_head exec_count gated",
    "venues": "feed_epoch feed_seq feed_gaps feed_lost",
    "sessions": "epoch_in seq_in seq_out gaps",
    "instruments": "reference_ns trade_ns",
    "parent_orders": "stream_seq stream_epoch ts_event_ns ts_recv_ns",
    "child_orders": "stream_seq stream_epoch ts_event_ns ts_recv_ns",
    "parents": "arrival_ns",
    "children": "sent_ns",
    "quotes": "ts_ns",
}
#: What of a child that has ended decides nothing more.
_OVER: Final = "cancels reason next venue_order"
#: A deadline that is further away than this is "some day": the end of the trading day is.
FAR_NS: Final = 3600 * 1_000_000_000
_WORD = 8


class Arena:
    """One State in one buffer. `state` is for `step`; `words`, `halves` and `bytes` view the same memory quickly."""

    def __init__(self, state: State) -> None:
        arrays = state.arrays()
        moving = [name for name in arrays if name not in _STILL and not name.startswith("undo") and name != "sessions"]
        order = [*moving, "sessions", *(name for name in arrays if name not in moving and name != "sessions")]
        self.offsets: dict[str, int] = {}
        end = 0
        for name in order:
            self.offsets[name] = end
            end += -(-arrays[name].nbytes // 64) * 64
        raw = np.zeros(end + 64, dtype=np.uint8)
        self.memory = raw[-raw.ctypes.data % 64 :][:end]
        views = {}
        for name in arrays:
            array = arrays[name]
            views[name] = np.ndarray(array.shape, array.dtype, self.memory.data, self.offsets[name])
            views[name][:] = array
        self.state = State(**views)
        self.arrays = views
        self.words = self.memory.data.cast("B").cast("q")
        self.halves = self.memory.data.cast("B").cast("i")
        self.bytes = self.memory.data.cast("B").cast("b")
        sessions = int(state.params[0].n_sessions)
        self.saved_bytes = self.offsets["sessions"] + -(-sessions * arrays["sessions"].itemsize // 64) * 64
        self._saved = self.memory.data[: self.saved_bytes]
        self._now = self.place("core", 0, "now_ns") // _WORD
        self._timer_count = self.place("core", 0, "timer_count") // _WORD
        self._make_mask()

    def place(self, array: str, row: int, field: str) -> int:
        """Offset of a field in the buffer, in bytes."""
        dtype: Any = self.arrays[array].dtype
        return int(self.offsets[array] + row * dtype.itemsize + dtype.fields[field][1])

    def has(self, array: str, field: str) -> bool:
        """Whether this core's array has such a column."""
        return field in (self.arrays[array].dtype.names or ())

    def save(self) -> bytes:
        """All that a step may have changed."""
        return bytes(self._saved)

    def restore(self, saved: bytes) -> None:
        """Make the State what it was."""
        self._saved[:] = saved

    @property
    def now_ns(self) -> int:
        """The engine's clock."""
        return self.words[self._now]

    def name(self, ghost: bytearray) -> bytes:
        """16 bytes that stand for everything that decides the future; `ghost` is the explorer's own account."""
        np.take(self._all, self._kept, out=self._picked)
        np.bitwise_and(self._picked, self._mask, out=self._picked)
        words, now = self.words, self.words[self._now]
        times = []
        for status_at, cancels_at, row, over, no_cancels in self._children:
            if self.bytes[status_at] in TERMINAL:
                row &= over
            elif self.bytes[cancels_at] > self._last_cancel:
                row &= no_cancels
                times.append(status_at)
        for at, limit in self._ages:
            age = now - words[at]
            times.append(age if age < limit else limit)
        count = words[self._timer_count]
        if count > 0:
            at, arm, owner = self._timers
            rows = [(words[at + n], words[arm + n], self.halves[owner + n]) for n in range(count)]
            rows.sort()
            for due, _, who in rows:
                times.append(FAR_NS if due - now > FAR_NS else min(max(due - now, 0), self._patience_ns))
                times.append(who)
        digest = blake2b(self._picked.data, digest_size=16)
        digest.update(repr(times).encode())
        digest.update(ghost)
        return digest.digest()

    def _make_mask(self) -> None:
        """Which words of the saved bytes are part of a name, and which of their bits."""
        mask = np.zeros(self.saved_bytes, dtype=np.uint8)
        for name, array in self.arrays.items():
            begin = self.offsets[name]
            if name in _UNNAMED or begin >= self.saved_bytes:
                continue
            mask[begin : begin + array.nbytes] = 255
            for field in _UNNAMED_FIELDS.get(name, "").split():
                if not self.has(name, field):
                    continue
                size = array.dtype.fields[field][0].itemsize  # type: ignore[index]
                for row in range(len(array)):
                    at = self.place(name, row, field)
                    mask[at : at + size] = 0
        words = mask.view("<i8")
        self._all = self.memory[: self.saved_bytes].view("<i8")
        self._kept = np.flatnonzero(words)
        self._mask = words[self._kept]
        self._picked = np.zeros(len(self._kept), dtype=np.int64)
        params, arrays = self.state.params[0], self.arrays
        ages = [("quotes", n, "ts_ns", int(params.stale_ns)) for n in range(len(arrays["quotes"]))]
        for n in range(len(arrays["instruments"])):
            ages += [("instruments", n, field, int(params.reference_age_ns)) for field in ("reference_ns", "trade_ns")]
        # A limit that is never reached makes no difference: such a time is young for ever.
        self._ages = [
            (self.place(array, row, field) // _WORD, limit + 1) for array, row, field, limit in ages if limit < FAR_NS
        ]
        self._last_cancel = int(params.max_cancels)
        self._patience_ns = 2 * int(params.child_timeout_ns)
        self._children = [self._child(slot) for slot in range(len(arrays["children"]))]
        self._timers = (
            self.offsets["timer_at"] // _WORD,
            self.offsets["timer_arm"] // _WORD,
            self.offsets["timer_owner"] // 4,
        )

    def _child(self, slot: int) -> tuple[int, int, np.ndarray, np.ndarray, np.ndarray]:
        """(place of its status, of its cancels, its part of a name, masks of it without what is over, and cancels)."""
        size = self.arrays["children"].dtype.itemsize
        begin = self.offsets["children"] + slot * size
        masks = []
        for fields in (_OVER, "cancels"):
            mask = np.full(size, 255, dtype=np.uint8)
            for field in fields.split():
                at = self.place("children", slot, field) - begin
                mask[at : at + self.arrays["children"].dtype.fields[field][0].itemsize] = 0  # type: ignore[index]
            masks.append(mask.view("<i8"))
        words = slice(*np.searchsorted(self._kept, (begin // _WORD, (begin + size) // _WORD)))
        over, no_cancels = (mask[self._kept[words] - begin // _WORD] for mask in masks)
        places = (self.place("children", slot, name) for name in ("ord_status", "cancels"))
        return (next(places), next(places), self._picked[words], over, no_cancels)
