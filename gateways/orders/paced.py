"""Requests that leave when they are due, on several sessions, whatever becomes of those before: for stress tests.

Nothing waits for an answer. What the engine says is taken off its hands, and its hellos and heartbeats keep the
sessions alive; nobody looks at the rest.

Worst case: some hundred thousand requests a second on one core. What leaves late is counted, and so is a full queue,
which delays all that comes after.
"""

from __future__ import annotations

from typing import Any, Final

from engine.io.atomics import address_of, cpu_pause, monotonic_ns, nap
from engine.jit import kernel
from engine.record.records import RECORD_MAX, SBE_HEADER_SIZE, UNIT
from gateways.inbox import Array, Inbox, table, units_of, whole
from gateways.session import Sessions, admit, keep, receive, transmit

#: Bytes of the largest message that is taken.
MAX_MESSAGE: Final = 65536
_KEEP_NS: Final = 1_000_000
#: A sleep ends so much later than it was asked to.
_SLACK_NS: Final = 60_000
_BLOCKED_NAP_NS: Final = 50_000

PLAY: Final = table("""
next       i8  the request that leaves next
stop       i8  how many there are
origin_ns  i8  CLOCK_MONOTONIC at which due times begin
offset_ns  i8  the engine's clock less CLOCK_MONOTONIC
kept_ns    i8  when the sessions were last looked after
waiting    i8  1: a full queue keeps the next one
blocked    i8  counted: requests that a full queue kept
late_ns    i8  the longest that one left after it was due
reports    i8  counted: records that came
""")


@kernel
def take_reports(s: Sessions, inbox: Inbox, play: Any, row: int) -> None:
    """Take what has come on a session: its hellos and heartbeats count, the rest is let go."""
    n = int(receive(s, row, address_of(inbox.head), MAX_MESSAGE))
    while n > 0:
        if whole(inbox, 0, n):
            at = 0
            while at < n // UNIT:
                admit(s, row, inbox, at, monotonic_ns())
                play.reports += 1
                at += int(units_of(inbox, at))
        n = int(receive(s, row, address_of(inbox.head), MAX_MESSAGE))


@kernel
def send_next(s: Sessions, play: Any, rows: Array, due_ns: Array, lines: Array, now_ns: int) -> bool:
    """Send the next request; False where its session takes nothing now."""
    n = int(play.next)
    row, line = rows[n], int(lines[n])
    link = s.links[line]
    due = int(play.origin_ns + due_ns[n])
    row.stream_epoch = link.epoch
    row.stream_seq = link.seq_out + 1
    row.ts_event_ns = due + play.offset_ns
    size = int(row.block_length) + SBE_HEADER_SIZE
    if not transmit(s, line, address_of(rows) + n * RECORD_MAX, size, now_ns):
        play.blocked += 1 - play.waiting
        play.waiting = 1
        return False
    link.seq_out += 1
    play.next = n + 1
    play.waiting = 0
    play.late_ns = max(int(play.late_ns), now_ns - due)
    return True


@kernel
def run_slice(s: Sessions, inbox: Inbox, state: Array, rows: Array, due_ns: Array, lines: Array, slice_ns: int) -> None:
    """Send what is due, and look after the sessions once a millisecond, for `slice_ns`. state: PLAY (1)."""
    play = state[0]
    now_ns = monotonic_ns()
    end_ns = now_ns + slice_ns
    while now_ns < end_ns:
        if now_ns - play.kept_ns >= _KEEP_NS:
            play.kept_ns = now_ns
            for row in range(len(s.links)):
                keep(s, row, now_ns)
                take_reports(s, inbox, play, row)
        wait_ns = min(end_ns, int(play.kept_ns) + _KEEP_NS) - now_ns
        if play.next < play.stop:
            due = int(play.origin_ns + due_ns[int(play.next)])
            if due <= now_ns:
                wait_ns = 0 if send_next(s, play, rows, due_ns, lines, now_ns) else _BLOCKED_NAP_NS + _SLACK_NS
            else:
                wait_ns = min(wait_ns, due - now_ns)
        if wait_ns > 2 * _SLACK_NS:
            nap(wait_ns - _SLACK_NS)
        elif wait_ns > 0:
            cpu_pause()
        now_ns = monotonic_ns()
