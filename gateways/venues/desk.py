"""The simulated venues' loop, nopython: feed and orders in, time passes, reports out.

One `turn` takes what has come from the feed, then what has come from the engine, lets the venues act, and sends what
they report. Each session has a log of its reports, a ring of slots: appended, then sent with the session's next
numbers, then let go when the engine's heartbeat says that it has seen them. When the engine is lost, sending starts
again at the oldest report that it has not acknowledged, with new numbers and the same ExecIDs.

Worst case: while a log is full of reports that could not be sent, the venues stand still, the feed too. That takes
`LOG` reports without an engine.
"""

from __future__ import annotations

from typing import Final

from engine.io import zmq
from engine.io.atomics import address_of, copy, cpu_pause, monotonic_ns, realtime_ns, sched_yield
from engine.io.mapping import aligned_zeros
from engine.io.ring import CONSUMER, ring_beat, ring_pop
from engine.jit import kernel
from engine.memory import Memory, memory, packed
from engine.record.records import RECORD_MAX, REPORT, UNIT
from gateways.inbox import Array, Inbox, make_inbox, table, units_of, whole
from gateways.session import RING, ZMQ, Sessions, admit, keep, receive, transmit
from gateways.venues.exchange import SWEEP_ALL, advance, ingest, next_due, sweep
from gateways.venues.state import Exchange

#: Reports that a session's log holds; a power of two.
LOG: Final = 1 << 15
#: Reports in one message.
_BATCH: Final = 64
#: Messages that are taken from one link in one turn.
_DRAIN: Final = 64
MAX_MESSAGE: Final = 65536
_AREA: Final = MAX_MESSAGE // UNIT
#: What to do when there is nothing to do.
SPIN, YIELD, PARK = 0, 1, 2
_KEEP_NS: Final = 1_000_000


DESK: Final = table("""
feed_clock     i8  1: the feed is the clock; 0: offset_ns + CLOCK_MONOTONIC is
offset_ns      i8  what makes CLOCK_MONOTONIC the time of day
idle           i8  SPIN, YIELD or PARK
cancels        i8  1: resting orders of a lost session are cancelled
kept_ns        i8  when the sessions were last looked after
filed          i8  reports of the out-buffer that are in a log already
turns          i8  counted
feed_messages  i8  counted
malformed      i8  counted: messages that were no whole records
""")
FEED: Final = table("""
transport      i8  ABSENT, ZMQ or RING
socket         i8  address of the SUB
ring           i8  address of the ring
first          i8  unit of the inbox where the records that wait begin
stop           i8  unit where they end
""")
#: Positions count from the start; report n of a session is in its slot n modulo LOG.
LOG_ROW: Final = table("""
appended       i8  reports that were written
sent           i8  of these, handed to the transport
acked          i8  of these, seen by the engine: their slots are free
downs          i8  the link's count when we last looked
first          i8  unit of the inbox where the requests that wait begin
stop           i8  unit where they end
forgotten      i8  counted: sent, and overwritten before the engine said that it saw them
""")


@memory
class Desk(Memory):
    """The loop's own memory."""

    LAYOUT = packed(desk=DESK, feeds=FEED, logs=LOG_ROW, slots=REPORT, out=REPORT)
    desk: Array  # one row
    feeds: Array
    logs: Array  # a row a session
    slots: Array  # LOG a session
    out: Array  # where the exchange puts its reports


def make_desk(sessions: int, feeds: int) -> tuple[Desk, Inbox]:
    """A desk for so many sessions and feeds, and its inbox: an area of MAX_MESSAGE bytes for each feed and session."""
    desk = Desk(
        desk=aligned_zeros(1, DESK),
        feeds=aligned_zeros(feeds, FEED),
        logs=aligned_zeros(sessions, LOG_ROW),
        slots=aligned_zeros(sessions * LOG, REPORT),
        out=aligned_zeros(1024, REPORT),
    )
    return desk, make_inbox((feeds + sessions) * MAX_MESSAGE)


@kernel
def clock_offset() -> int:
    """CLOCK_REALTIME minus CLOCK_MONOTONIC, ns, from the closest of 64 pairs of readings (about 50 ns)."""
    closest_ns, offset_ns = 1 << 62, 0
    for _ in range(64):
        before_ns = monotonic_ns()
        now_ns = realtime_ns()
        apart_ns = monotonic_ns() - before_ns
        if apart_ns < closest_ns:
            closest_ns, offset_ns = apart_ns, now_ns - before_ns - apart_ns // 2
    return int(offset_ns)


@kernel
def venue_time(d: Desk) -> int:
    """Venue time, ns; 0 where the feed is the clock."""
    if d.desk[0].feed_clock == 1:
        return 0
    return int(monotonic_ns() + d.desk[0].offset_ns)


@kernel
def file_reports(ex: Exchange, d: Desk) -> bool:
    """Move the reports of the out-buffer to their sessions' logs; False where a log has no room."""
    desk, core = d.desk[0], ex.core[0]
    while desk.filed < core.out_count:
        report = d.out[desk.filed]
        session = int(ex.venues[int(report.venue_id)].session)
        log = d.logs[session]
        if log.appended - log.acked == LOG:
            if log.sent == log.acked:
                return False
            log.acked += 1
            log.forgotten += 1
        d.slots[session * LOG + (log.appended & (LOG - 1))] = report
        log.appended += 1
        desk.filed += 1
    desk.filed, core.out_count = 0, 0
    return True


@kernel
def _feed_message(d: Desk, row: int, address: int) -> int:
    feed = d.feeds[row]
    if feed.transport == ZMQ:
        n = int(zmq.recv(feed.socket, address, MAX_MESSAGE))
        return 1 if n > MAX_MESSAGE else max(n, 0)
    if feed.transport == RING:
        return max(int(ring_pop(feed.ring, address)), 0)
    return 0


@kernel
def _consume(ex: Exchange, d: Desk, inbox: Inbox, first: int, stop: int) -> int:
    """Let the exchange take records; returns the unit of the first that must wait (for a log or a message slot)."""
    at = first
    while at < stop and file_reports(ex, d):
        before = at
        at = int(ingest(ex, inbox, at, stop, venue_time(d), d.out))
        if at == before and ex.core[0].out_count == 0:
            break
    return at


@kernel
def take_feed(ex: Exchange, d: Desk, inbox: Inbox, row: int) -> int:
    """Take what has come on a feed; returns the number of messages."""
    feed, count, base = d.feeds[row], 0, row * _AREA
    while count < _DRAIN:
        if feed.first == feed.stop:
            n = _feed_message(d, row, address_of(inbox.head) + base * UNIT)
            if n == 0:
                break
            count += 1
            if not whole(inbox, base, n):
                d.desk[0].malformed += 1
                continue
            feed.first, feed.stop = base, base + n // UNIT
        feed.first = _consume(ex, d, inbox, int(feed.first), int(feed.stop))
        if feed.first < feed.stop:
            break
    d.desk[0].feed_messages += count
    return count


@kernel
def take_orders(ex: Exchange, s: Sessions, d: Desk, inbox: Inbox, row: int) -> int:
    """Take what has come on a session; returns the number of messages."""
    log, count, base = d.logs[row], 0, (len(d.feeds) + row) * _AREA
    while count < _DRAIN:
        if log.first == log.stop:
            n = receive(s, row, address_of(inbox.head) + base * UNIT, MAX_MESSAGE)
            if n == 0:
                break
            count += 1
            if not whole(inbox, base, n):
                d.desk[0].malformed += 1
                continue
            log.first, log.stop = base, _admitted(s, row, inbox, base, base + n // UNIT)
        log.first = _consume(ex, d, inbox, int(log.first), int(log.stop))
        if log.first < log.stop:
            break
    return count


@kernel
def _admitted(s: Sessions, row: int, inbox: Inbox, first: int, stop: int) -> int:
    """Keep the records of a message that are for the venues and close up; returns the unit where they end."""
    now_ns, kept, at = monotonic_ns(), first, first
    base = address_of(inbox.head)
    while at < stop:
        length = units_of(inbox, at)
        if admit(s, row, inbox, at, now_ns):
            for unit in range(length if kept < at else 0):
                copy(base + (kept + unit) * UNIT, base + (at + unit) * UNIT, UNIT)
            kept += length
        at += length
    return kept


@kernel
def send_reports(s: Sessions, d: Desk, row: int) -> int:
    """Send what a session's log holds; returns how many reports left."""
    link, log, count = s.links[row], d.logs[row], 0
    if link.downs != log.downs:
        log.downs = link.downs
        log.sent = log.acked
    while log.acked < log.sent and d.slots[row * LOG + (log.acked & (LOG - 1))].stream_seq <= link.acked_seq:
        log.acked += 1
    while link.up == 1 and log.sent < log.appended:
        place = log.sent & (LOG - 1)
        n = min(log.appended - log.sent, LOG - place, _BATCH if link.transport == ZMQ else 1)
        first = row * LOG + place
        for k in range(n):
            report = d.slots[first + k]
            report.stream_epoch, report.stream_seq = link.epoch, link.seq_out + 1 + k
        if not transmit(s, row, address_of(d.slots) + first * RECORD_MAX, n * RECORD_MAX, monotonic_ns()):
            break
        link.seq_out += n
        log.sent += n
        count += n
    return count


@kernel
def look_after(ex: Exchange, s: Sessions, d: Desk) -> None:
    """Once a millisecond: hellos, heartbeats, silent engines."""
    desk, now_ns = d.desk[0], monotonic_ns()
    if now_ns - desk.kept_ns < _KEEP_NS:
        return
    desk.kept_ns = now_ns
    for row in range(len(d.feeds)):
        if d.feeds[row].transport == RING:
            ring_beat(d.feeds[row].ring, CONSUMER, now_ns)
    for row in range(len(s.links)):
        keep(s, row, now_ns)
        if desk.cancels == 1 and s.links[row].downs != d.logs[row].downs:
            for v in range(len(ex.venues)):
                if ex.venues[v].session == row:
                    sweep(ex, v, SWEEP_ALL)


@kernel
def turn(ex: Exchange, s: Sessions, d: Desk, inbox: Inbox) -> int:
    """One round; returns how much was done (messages and reports). inbox: see `make_desk`."""
    work = 0
    d.desk[0].turns += 1
    look_after(ex, s, d)
    if file_reports(ex, d):
        for row in range(len(d.feeds)):
            work += take_feed(ex, d, inbox, row)
        for row in range(len(s.links)):
            work += take_orders(ex, s, d, inbox, row)
        while file_reports(ex, d) and not advance(ex, d.out, venue_time(d)):
            pass
        file_reports(ex, d)
    for row in range(len(s.links)):
        work += send_reports(s, d, row)
    return work


@kernel
def run_slice(ex: Exchange, s: Sessions, d: Desk, inbox: Inbox, slice_ns: int) -> int:
    """Turns for `slice_ns`, or (PARK) until nothing is to do; returns the ns until something is due at the venues."""
    until_ns = monotonic_ns() + slice_ns
    desk = d.desk[0]
    while monotonic_ns() < until_ns:
        work = turn(ex, s, d, inbox)
        if work == 0:
            if desk.idle == PARK:
                break
            if desk.idle == YIELD:
                sched_yield()
            else:
                cpu_pause()
    if desk.feed_clock == 1:
        return 1_000_000_000
    return int(max(next_due(ex) - venue_time(d), 0))
