"""The kernel that goes through a window of DBN records; what each schema becomes is in `dbn_orders`, `dbn_levels`.

DBN marks the last record of an event (LAST); ours carry MORE until then. A record with LAST may give none of ours, as
the cancel after a fill does: then the one before it is the event's last. So the last level or order of an event that is
not over (`open` of its slot, a unit of the batch + 1) is not given out before it is known what it is.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.jit import kernel
from engine.record.records import SBE_HEADER_SIZE, UNIT, Flag, Template
from gateways.formats.batch import MOST, Batch, new_status, room
from gateways.formats.dbn_layout import (
    CMBP_1,
    DEFINITION,
    HEADER,
    MBO,
    MBP_0,
    MBP_10,
    STATUS,
    SYMBOL_MAPPING,
    TCBBO,
    TS_OUT,
    WORD,
)
from gateways.formats.dbn_levels import mbp_1, mbp_10
from gateways.formats.dbn_orders import mbo
from gateways.formats.dbn_state import (
    DAMAGED,
    FULL,
    LATEST_NS,
    MORE,
    MOST_LEVELS,
    NEW_SLOT,
    TOLD,
    DbnState,
    find_slot,
    i64,
    slot_key,
    trade,
    u16,
    u32,
)

Array = np.ndarray[Any, np.dtype[Any]]
_SNAPSHOT: Final = int(Flag.SNAPSHOT)
_MORE_OF_EVENT: Final = int(Flag.MORE)
_F_LAST, _F_SNAPSHOT, _F_BAD_BOOK = 128, 32, 4
_LEVEL, _DELTA = int(Template.LEVEL), int(Template.ORDER_DELTA)
#: StatusAction -> INSTRUMENT_STATUS.status, -1 where it says nothing of that.
_STATUSES: Final = (-1, 3, 3, -1, 3, 3, -1, 0, 1, 1, 1, -1, 2, 2, -1, 2)


@kernel
def _time(value_ns: int) -> int:
    """A time as DBN has it; 0 where it is undefined, or later than int64 holds."""
    return min(max(value_ns, 0), LATEST_NS)


@kernel
def _look(state: DbnState, data: Array, at: int, rtype: int) -> int:
    """What all schemas have, into `now`; the slot, or -1 where the host has to make one, or one for another day."""
    slot = find_slot(state.slots, slot_key(u16(data, at + 2), u32(data, at + 4)))
    row, now = state.slots[slot], state.now[0]
    event_ns = _time(i64(data, at + 8))
    recv_at, flags_at, seq_at = 32, 30, 44
    if rtype == MBO:
        recv_at, flags_at, seq_at = 40, 36, 52
    elif rtype == STATUS:
        recv_at, flags_at = 16, -1
    recv_ns = _time(i64(data, at + recv_at))
    index_ns = recv_ns if recv_ns > 0 else event_ns
    if int(row.key) == 0 or index_ns < int(row.begin_ns) or index_ns >= int(row.end_ns):
        return -1
    bits = int(data[at + flags_at]) if flags_at >= 0 else 0
    now.venue = int(row.venue)
    now.dense = int(row.dense)
    now.unit = int(row.unit)
    now.event_ns = event_ns
    now.recv_ns = recv_ns
    now.seq = 0 if rtype == STATUS or rtype == CMBP_1 or rtype == TCBBO else u32(data, at + seq_at)
    now.mark = _SNAPSHOT if bits & _F_SNAPSHOT else 0
    now.slot = slot
    now.last = 1 if bits & _F_LAST else 0
    if flags_at >= 0:
        broken = 1 if bits & _F_BAD_BOOK else 0
        if broken > int(row.broken):
            state.heads[0].gaps += 1
        row.broken = broken
    return slot


@kernel
def _status(state: DbnState, data: Array, at: int, batch: Batch) -> None:
    action = u16(data, at + 24)
    status = _STATUSES[action] if action < len(_STATUSES) else -1
    if status >= 0:
        now = state.now[0]
        i = new_status(batch, int(now.venue), int(now.dense), int(now.event_ns), int(now.recv_ns), status)
        batch.status[i].reason = u16(data, at + 26)


@kernel
def _mark(batch: Batch, unit: int, more: bool) -> None:
    """Say of the level or order at a unit whether more of its event follows."""
    if batch.head[unit].template_id == _LEVEL:
        bits = int(batch.level[unit]["flags"]) & ~_MORE_OF_EVENT
        batch.level[unit]["flags"] = bits | (_MORE_OF_EVENT if more else 0)
    else:
        bits = int(batch.delta[unit]["flags"]) & ~_MORE_OF_EVENT
        batch.delta[unit]["flags"] = bits | (_MORE_OF_EVENT if more else 0)


@kernel
def end_event(state: DbnState, slot: int, batch: Batch) -> None:
    """What a slot told last was the last of its event."""
    row = state.slots[slot]
    if int(row.open) > 0:
        _mark(batch, int(row.open) - 1, False)
    row.open = 0


@kernel
def end_events(state: DbnState, batch: Batch) -> None:
    """No event goes on."""
    for slot in range(len(state.slots)):
        end_event(state, slot, batch)


@kernel
def _begin_event(state: DbnState, batch: Batch) -> None:
    """An event of another time, or a snapshot that has ended, ends without LAST too."""
    now = state.now[0]
    row = state.slots[int(now.slot)]
    snapshot = int(now.mark) & _SNAPSHOT
    if int(row.open) > 0 and (snapshot != int(row.snapshot) or (snapshot == 0 and now.event_ns != row.open_ns)):
        end_event(state, int(now.slot), batch)
    row.open_ns, row.snapshot = now.event_ns, snapshot


@kernel
def _go_on(state: DbnState, first: int, batch: Batch) -> None:
    """What the record gave, from unit `first` on, is of an event that goes on, or ends with it."""
    row, i = state.slots[int(state.now[0].slot)], first
    while i < batch.used[0]:
        template = int(batch.head[i].template_id)
        if template == _LEVEL or template == _DELTA:
            _mark(batch, i, True)
            row.open = i + 1
        i += (int(batch.head[i].block_length) + SBE_HEADER_SIZE) // UNIT
    if state.now[0].last != 0:
        end_event(state, int(state.now[0].slot), batch)


@kernel
def held_from(state: DbnState, batch: Batch) -> int:
    """The unit from which on a full batch is not given out yet; an event that fills all of it is taken for over."""
    while True:
        least, of = int(batch.used[0]), -1
        for slot in range(len(state.slots)):
            if 0 < int(state.slots[slot].open) <= least:
                least, of = int(state.slots[slot].open) - 1, slot
        if least > 0 or of < 0:
            return least
        end_event(state, of, batch)


@kernel
def carry(state: DbnState, first: int, batch: Batch, end: int) -> None:
    """Move units first .. end - 1 to the beginning of a batch that was given out: they are all that it holds now."""
    for n in range(8 * (end - first)):
        batch.words[n] = batch.words[8 * first + n]
    batch.used[0] = end - first
    for slot in range(len(state.slots)):
        if int(state.slots[slot].open) > 0:
            state.slots[slot].open -= first


@kernel
def _one(state: DbnState, data: Array, at: int, rtype: int, batch: Batch) -> int:
    """One record whose schema gives some of ours; MORE, or what the host has to do before it is taken."""
    slot = _look(state, data, at, rtype)
    if slot < 0:
        return NEW_SLOT
    _begin_event(state, batch)
    first, code = int(batch.used[0]), _give(state, data, at, rtype, slot, batch)
    if code == MORE:
        _go_on(state, first, batch)
    return code


@kernel
def _give(state: DbnState, data: Array, at: int, rtype: int, slot: int, batch: Batch) -> int:
    if rtype == MBO:
        return mbo(state, data, at, slot, batch)
    if rtype == MBP_10:
        return mbp_10(state, data, at, slot, batch)
    if rtype == MBP_0:
        trade(state, at, i64(data, at + 16), u32(data, at + 24), int(data[at + 29]), batch)
    elif rtype == STATUS:
        _status(state, data, at, batch)
    elif rtype == CMBP_1 or rtype == TCBBO:
        return mbp_1(state, data, at, slot, 0, batch)
    else:
        return mbp_1(state, data, at, slot, 1, batch)
    return MORE


@kernel
def decode(state: DbnState, data: Array, at: int, end: int, batch: Batch) -> int:
    """Records of data[at:end]; where it stopped, and why in `state.heads[0].code`.

    MORE: the rest is no whole record. FULL: the batch has no room. NEW_*: the host has to make a slot, a ladder or
    room for orders, and call again from there. TOLD: a definition or a symbol mapping, for the host to take. DAMAGED:
    no record of DBN can be like this.
    """
    code = MORE
    while at + HEADER <= end:
        size, rtype = int(data[at]) * WORD, int(data[at + 1])
        known = int(state.sizes[rtype])
        if size < HEADER or known < 0 or (known > 0 and size != known and size != known + TS_OUT):
            code = DAMAGED
            break
        if at + size > end:
            break
        if rtype == DEFINITION or rtype == SYMBOL_MAPPING:
            code = TOLD
            break
        if known > 0:
            if not room(batch, MOST_LEVELS if rtype == MBP_10 else MOST):
                code = FULL
                break
            code = _one(state, data, at, rtype, batch)
            if code != MORE:
                break
        state.types[rtype] += 1
        at += size
    state.heads[0].code = code
    return at
