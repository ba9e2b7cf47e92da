"""Finding things by identifier: orders by our id, by the client's id, and executions already seen.

Our ids carry their slot (see state.py). Clients' ids and execution ids are found in open-addressing tables with linear
probing, twice as large as what they hold, with backward-shift deletion, so there are no tombstones and a probe stays
short. The remembered executions are a ring: the newest `executions` of them are known, and an older one is forgotten.
Worst case: a cluster as long as the table is full; at half load the mean probe is 1.5.
"""

from __future__ import annotations

from typing import Any

from engine.core.state import NONE, State
from engine.jit import kernel

#: Bit of an order id's counter that says "child".
CHILD_BIT = 1 << 39
_COUNTER = CHILD_BIT - 1
#: The two indices that `_close_hole` knows how to hash.
_CLIENT_IDS, _EXECUTIONS = 0, 1


@kernel
def mix(a: int, b: int, c: int) -> int:
    """A hash of three words, non-negative, the same jitted and not (all arithmetic stays within 63 bits)."""
    h = (a ^ (a >> 31)) & 0x7FFFFFFF
    h = (h * 48271 + (b & 0x7FFFFFFF)) & 0x3FFFFFFFFFFF
    h = ((h ^ (h >> 15)) * 48271 + ((b >> 31) & 0x7FFFFFFF)) & 0x3FFFFFFFFFFF
    h = ((h ^ (h >> 15)) * 48271 + ((a >> 31) & 0x7FFFFFFF)) & 0x3FFFFFFFFFFF
    h = ((h ^ (h >> 15)) * 48271 + (c & 0x7FFFFFFF)) & 0x3FFFFFFFFFFF
    return h ^ (h >> 17)


@kernel
def parent_slot(state: State, order_id: int) -> int:
    """Slot of the parent with this id; NONE where it is unknown or its slot has been taken again."""
    slot = order_id & _COUNTER & (len(state.parents) - 1)
    if order_id > 0 and order_id & CHILD_BIT == 0 and state.parent_orders[slot].order_id == order_id:
        return slot
    return NONE


@kernel
def child_slot(state: State, order_id: int) -> int:
    """Slot of the child with this id; NONE where it is unknown or its slot has been taken again."""
    slot = order_id & _COUNTER & (len(state.children) - 1)
    if order_id > 0 and order_id & CHILD_BIT != 0 and state.child_orders[slot].order_id == order_id:
        return slot
    return NONE


@kernel
def in_use(state: State, c: int) -> bool:
    """Whether slot c of the children holds a child, or held one that has ended."""
    return bool(state.child_orders[c].order_id != 0)


@kernel
def slot_of_parent(state: State, c: int) -> int:
    """Slot of child c's parent, by the parent's id; another order may have that slot once the parent has ended."""
    return int(state.child_orders[c].parent_id) & _COUNTER & (len(state.parents) - 1)


@kernel
def _client_hash(state: State, p: int) -> int:
    order = state.parent_orders[p]
    return mix(int(order.cl_ord_id[0]), int(order.cl_ord_id[1]), int(state.parents[p].session))


@kernel
def find_client_id(state: State, session: int, word0: int, word1: int) -> int:
    """Slot of the parent that this session named so; NONE where there is none."""
    mask = len(state.id_index) - 1
    place = mix(word0, word1, session) & mask
    while state.id_index[place] != NONE:
        p = int(state.id_index[place])
        order = state.parent_orders[p]
        if order.cl_ord_id[0] == word0 and order.cl_ord_id[1] == word1 and state.parents[p].session == session:
            return p
        place = (place + 1) & mask
    return NONE


@kernel
def add_client_id(state: State, p: int) -> None:
    """Enter parent p under its session and ClOrdID."""
    mask = len(state.id_index) - 1
    place = _client_hash(state, p) & mask
    while state.id_index[place] != NONE:
        place = (place + 1) & mask
    state.id_index[place] = p


@kernel
def drop_client_id(state: State, p: int) -> None:
    """Take parent p out of the table, and close the hole that it leaves."""
    mask = len(state.id_index) - 1
    hole = _client_hash(state, p) & mask
    while state.id_index[hole] != p:
        if state.id_index[hole] == NONE:
            return
        hole = (hole + 1) & mask
    _close_hole(state, state.id_index, _CLIENT_IDS, hole)


@kernel
def _exec_hash(state: State, e: int) -> int:
    row = state.execs[e]
    return mix(int(row.word0), int(row.word1), int(row.venue))


@kernel
def find_execution(state: State, venue: int, word0: int, word1: int) -> int:
    """Row of an execution, bust or correction by its ExecID; NONE where it is not remembered."""
    mask = len(state.exec_index) - 1
    place = mix(word0, word1, venue) & mask
    while state.exec_index[place] != NONE:
        e = int(state.exec_index[place])
        row = state.execs[e]
        if row.word0 == word0 and row.word1 == word1 and row.venue == venue:
            return e
        place = (place + 1) & mask
    return NONE


@kernel
def remember_execution(state: State, venue: int, word0: int, word1: int) -> int:
    """Enter an execution id that is not there, in place of the oldest one where the table is full; returns its row."""
    core = state.core[0]
    e = int(core.exec_head)
    if core.exec_count == len(state.execs):
        _forget_execution(state, e)
    else:
        core.exec_count += 1
    core.exec_head = (e + 1) & (len(state.execs) - 1)
    row = state.execs[e]
    row.word0 = word0
    row.word1 = word1
    row.venue = venue
    row.next = NONE
    mask = len(state.exec_index) - 1
    place = mix(word0, word1, venue) & mask
    while state.exec_index[place] != NONE:
        place = (place + 1) & mask
    state.exec_index[place] = e
    return e


@kernel
def _forget_execution(state: State, e: int) -> None:
    mask = len(state.exec_index) - 1
    hole = _exec_hash(state, e) & mask
    while state.exec_index[hole] != e:
        hole = (hole + 1) & mask
    _close_hole(state, state.exec_index, _EXECUTIONS, hole)


@kernel
def _close_hole(state: State, index: Any, which: int, hole: int) -> None:
    """Empty a place of `index`: what was probed past it moves back, so that each entry is still found from its home."""
    mask = len(index) - 1
    place = hole
    while True:
        place = (place + 1) & mask
        other = int(index[place])
        if other == NONE:
            break
        home = (_client_hash(state, other) if which == _CLIENT_IDS else _exec_hash(state, other)) & mask
        if (place - home) & mask >= (place - hole) & mask:
            index[hole] = other
            hole = place
    index[hole] = NONE
