"""What waits for the disk: records to peers, kept in order until their frames are durable (durability `disk`).

`hold` takes the records of a step that are for a session, once they are on the journal, and says what it wants synced.
`release` sends what has become durable since, but for orders whose time to live is over by then (`send_waited`). The
loop never waits for the disk: it goes on taking in and deciding, and only the answers are late by a sync.

Worst case: the disk is slower than the answers come. Once less than ROOM is left, the loop takes in no more messages
(they wait in their transports; counted as `sync_stalls`) and no timer fires, while heartbeats go on, and orders that
were not sent are still told to the core; should one step's records not fit even so, it waits in `hold`.
"""

from __future__ import annotations

from engine.core.limits import OUTBOX
from engine.core.state import Events
from engine.io.atomics import copy, cpu_pause, load_acquire, monotonic_ns, nap, store_release
from engine.io.journal_sync import DURABLE, WANTED
from engine.jit import kernel
from engine.record.records import RECORD_MAX, Template
from engine.run.answer import answer
from engine.run.send import send_waited, session_in, template_in
from engine.run.wiring import FLAG_HALT, FLAG_STOP, L_SYNC_STALLS, Wiring

#: Records that may wait: 2 MiB; and the room that must be left before more is taken in.
CAPACITY = 16384
ROOM = 4 * OUTBOX
_CANCEL = int(Template.ORDER_CANCEL)
_FLUSH_NS = 2_000_000_000


@kernel
def hold(events: Events, w: Wiring, count: int) -> int:
    """Keep those of the `count` outbox records that are for a session; returns how many they are."""
    held = w.held[0]
    flags = w.flags.ctypes.data
    while held.count + count > len(w.held_seqs) and load_acquire(flags + FLAG_STOP) == 0:
        if release(events, w) == 0:
            cpu_pause()
    if held.count + count > len(w.held_seqs):
        return 0  # stopped: it is on the journal, and as after a crash it was not sent
    kept, source, target = 0, int(w.line[0].outbox_address), w.held_words.ctypes.data
    for k in range(count):
        session = session_in(source + k * RECORD_MAX)
        if session >= 0:
            place = int((held.head + held.count) & (len(w.held_seqs) - 1))
            copy(target + place * RECORD_MAX, source + k * RECORD_MAX, RECORD_MAX)
            w.held_seqs[place] = w.output_seqs[k]
            w.links[int(w.line[0].first_session) + session].held += 1
            held.count += 1
            kept += 1
        else:
            answer(w, source + k * RECORD_MAX)
    store_release(w.sync.ctypes.data + WANTED, w.output_seqs[count - 1])
    return kept


@kernel
def crowded(w: Wiring) -> bool:
    """Whether so much waits for the disk that nothing more is to be taken in; counted when it begins."""
    held = w.held[0]
    if len(w.held_seqs) == 0 or len(w.held_seqs) - held.count >= ROOM:
        held.crowded = 0
        return False
    if held.crowded == 0:
        held.crowded = 1
        w.counters[L_SYNC_STALLS] += 1
    return True


@kernel
def has_room(w: Wiring) -> bool:
    """Whether all that one more step can make would fit."""
    return bool(len(w.held_seqs) - w.held[0].count >= OUTBOX)


@kernel
def release(events: Events, w: Wiring) -> int:
    """Send what is durable, at most an outbox of it and no further than the buffer's end; how many wait no more."""
    held = w.held[0]
    if held.count == 0:
        return 0
    durable = load_acquire(w.sync.ctypes.data + DURABLE)
    head, most = int(held.head), min(int(held.count), OUTBOX, len(w.held_seqs) - int(held.head))
    n = 0
    while n < most and w.held_seqs[head + n] <= durable:
        n += 1
    if n > 0:
        _send(events, w, head, n)
    return n


@kernel
def _send(events: Events, w: Wiring, head: int, n: int) -> None:
    """Send n records from place `head`, the oldest, on, and forget them."""
    first = w.held_words.ctypes.data + head * RECORD_MAX
    for k in range(n):
        w.links[int(w.line[0].first_session) + session_in(first + k * RECORD_MAX)].held -= 1
    send_waited(events, w, first, w.held_seqs.ctypes.data + head * 8, n)
    held = w.held[0]
    held.head = (head + n) & (len(w.held_seqs) - 1)
    held.count -= n


@kernel
def flush(events: Events, w: Wiring, cancels_only: int) -> int:
    """At the end of a run: send what becomes durable within two seconds; how many records are left.

    `cancels_only`: the disk is broken, and nothing will. Cancels go out all the same, and the rest never.
    """
    held = w.held[0]
    until = monotonic_ns() + _FLUSH_NS
    while held.count > 0 and cancels_only == 0 and load_acquire(w.flags.ctypes.data + FLAG_STOP) != FLAG_HALT:
        if release(events, w) == 0:
            if monotonic_ns() > until:
                break
            nap(100_000)
    if cancels_only == 0:
        return int(held.count)
    left = 0
    while held.count > 0:
        head = int(held.head)
        first = w.held_words.ctypes.data + head * RECORD_MAX
        if template_in(first) == _CANCEL:
            _send(events, w, head, 1)
        else:
            w.links[int(w.line[0].first_session) + session_in(first)].held -= 1
            held.head = (head + 1) & (len(w.held_seqs) - 1)
            held.count -= 1
            left += 1
    return left


@kernel
def durable_seq(w: Wiring) -> int:
    """The last frame that is on the disk; -1 with durability `process`, which does not ask."""
    return load_acquire(w.sync.ctypes.data + DURABLE) if len(w.held_seqs) > 0 else -1


assert CAPACITY & (CAPACITY - 1) == 0
assert CAPACITY > 2 * ROOM
