"""The player's loop: what is due goes out, in slices of bounded length so that signals work in between.

One message at a time is in hand: a batch of records that are due, or one clock sample. It goes to the ZeroMQ socket
first and then, record by record, into each ring; where one of them is full the message stays in hand, and the next
round tries again at that very place. So nothing is lost, nothing comes twice, and a slice can end anywhere.

The recorded clock is `origin_rec_ns + (now - origin_real_ns) * rate`, in integers that do not drift. It never falls and
never passes a record that has not been sent. At rate 0 it is the time of the last record in hand.
"""

from __future__ import annotations

import errno
from typing import NamedTuple

import numpy as np

from engine.io.atomics import address_of, copy, cpu_pause, monotonic_ns, nap
from engine.io.ring import PRODUCER, ring_beat, ring_push
from engine.io.zmq import EAGAIN, EINTR, send
from engine.jit import kernel

#: What a slice answers: more to do, or all sent; a negative number is -errno.
RUNNING, DONE = 0, 1
_DELIVERED, _BLOCKED = 1, 0
_BROKEN_RING = -int(errno.EBADMSG)
#: rate_ppm of the recorded pace.
UNIT_RATE = 1_000_000
#: A sleep takes about 50 us longer than asked, so it ends this much early and the rest is spun.
_SLACK_NS = 80_000
_BLOCKED_NAP_NS = 50_000

_FIELDS = (
    "socket",  # address of the XPUB socket; 0 where there is none
    "epoch",  # stamped on every record
    "batch",  # most records in a message
    "rate_ppm",  # recorded ns per million real ns; 0 is as fast as it goes
    "skip_ns",  # gaps between records are cut to this; 0 cuts none
    "sample_every_ns",  # real time between clock samples
    "spin",  # 1: never sleep
    "step_ns",  # at rate 0: what a clock sample after the last record adds
    "until_ns",  # recorded time at which the segment ends
    "origin_rec_ns",
    "origin_real_ns",
    "clock_ns",  # recorded time now
    "sampled_ns",  # the recorded time last announced
    "last_sample_ns",  # real time of that
    "next_i",  # next record of the segment
    "pending_bytes",  # the message in hand
    "pending_records",
    "sink",  # where it goes next: 0 the socket, then the rings
    "sink_bytes",  # how much of it the ring has
    "sent_records",
    "sent_messages",
    "samples",
    "blocked",  # times that a full sink made it wait
    "blocked_ns",
    "blocked_since_ns",
    "lag_max_ns",  # the latest that a record was, recorded time
)
#: The player's state: one element, all int64.
PLAY = np.dtype((np.record, [(name, "<i8") for name in _FIELDS]))


class Segment(NamedTuple):
    """Records to play: uint8 data, int64 offsets (n + 1) and times (n), as in a Recording."""

    data: np.ndarray
    offsets: np.ndarray
    times: np.ndarray


class Outlet(NamedTuple):
    """Where they go: uint8 buffer of the message in hand, its int32 view, one blank CLOCK_SAMPLE, ring addresses."""

    buffer: np.ndarray
    words: np.ndarray
    sample: np.ndarray
    rings: np.ndarray


@kernel
def scaled(duration_ns: int, numerator: int, denominator: int) -> int:
    """duration * numerator // denominator without overflow, for rates to a thousandfold and durations of years."""
    return duration_ns // denominator * numerator + duration_ns % denominator * numerator // denominator


@kernel
def push_batch(play: np.record, base: int, ring: int, words: np.ndarray) -> int:
    """Push what is left of the message in hand, record by record."""
    while play.sink_bytes < play.pending_bytes:
        size = (int(words[int(play.sink_bytes) // 4]) & 0xFFFF) + 8
        pushed = ring_push(ring, base + int(play.sink_bytes), size)
        if pushed == 0:
            return _BLOCKED
        if pushed < 0:
            return _BROKEN_RING
        play.sink_bytes += size
    play.sink_bytes = 0
    return _DELIVERED


@kernel
def deliver(play: np.record, outlet: Outlet) -> int:
    """Hand on the message in hand: _DELIVERED, _BLOCKED (try again), or -errno."""
    base = address_of(outlet.buffer)
    if play.sink == 0:
        if play.socket != 0:
            sent = send(int(play.socket), base, int(play.pending_bytes), 0)
            if sent in (-EAGAIN, -EINTR):
                return _BLOCKED
            if sent < 0:
                return sent
        play.sink = 1
    while play.sink <= len(outlet.rings):
        status = push_batch(play, base, int(outlet.rings[int(play.sink) - 1]), outlet.words)
        if status != _DELIVERED:
            return status
        play.sink += 1
    play.sink = 0
    play.sent_records += play.pending_records
    play.sent_messages += 1
    play.pending_bytes = 0
    return _DELIVERED


@kernel
def take_sample(play: np.record, outlet: Outlet, now_ns: int, clock_ns: int) -> None:
    """Put a clock sample in hand."""
    row = outlet.sample[0]
    row.stream_epoch = play.epoch
    row.ts_event_ns = clock_ns
    row.clock_ns = clock_ns
    copy(address_of(outlet.buffer), address_of(outlet.sample), 64)
    play.pending_bytes = 64
    play.pending_records = 0
    play.samples += 1
    play.sampled_ns = clock_ns
    play.last_sample_ns = now_ns


@kernel
def take_batch(play: np.record, segment: Segment, outlet: Outlet, due_ns: int) -> None:
    """Put the records that are due (at least one) in hand, stamped with the epoch."""
    first = int(play.next_i)
    last = first + 1
    most = min(first + int(play.batch), len(segment.times))
    while last < most and segment.times[last] <= due_ns:
        last += 1
    low, high = int(segment.offsets[first]), int(segment.offsets[last])
    copy(address_of(outlet.buffer), address_of(segment.data) + low, high - low)
    for i in range(first, last):
        outlet.words[(int(segment.offsets[i]) - low) // 4 + 2] = play.epoch
    if play.rate_ppm == 0:
        play.clock_ns = segment.times[last - 1]
    elif due_ns - segment.times[first] > play.lag_max_ns:
        play.lag_max_ns = due_ns - segment.times[first]
    play.next_i = last
    play.pending_bytes = high - low
    play.pending_records = last - first


@kernel
def advance(play: np.record, segment: Segment, now_ns: int) -> None:
    """Set the recorded clock: on by the pace, over a gap that is cut, or at rate 0 to the next record."""
    n, i = len(segment.times), int(play.next_i)
    if play.rate_ppm == 0:
        if i < n:
            play.clock_ns = segment.times[i]
        elif now_ns - play.last_sample_ns >= play.sample_every_ns and play.sampled_ns == play.clock_ns:
            play.clock_ns = min(int(play.clock_ns + play.step_ns), int(play.until_ns))
        return
    elapsed_ns = now_ns - int(play.origin_real_ns)
    clock_ns = int(play.origin_rec_ns) + scaled(elapsed_ns, int(play.rate_ppm), UNIT_RATE)
    if play.skip_ns > 0 and 0 < i < n:
        before_ns, after_ns = int(segment.times[i - 1]), int(segment.times[i])
        cut = after_ns - before_ns > play.skip_ns
        if cut and before_ns + play.skip_ns <= clock_ns < after_ns:
            play.origin_rec_ns = after_ns
            play.origin_real_ns = now_ns
            clock_ns = after_ns
    play.clock_ns = clock_ns if i < n or clock_ns < play.until_ns else play.until_ns


@kernel
def next_due_ns(play: np.record, segment: Segment) -> int:
    """Real time at which something happens next: a record, a cut gap, the end, or a clock sample."""
    sample_ns = int(play.last_sample_ns + play.sample_every_ns)
    if play.rate_ppm == 0:
        return sample_ns
    i = int(play.next_i)
    target_ns = int(play.until_ns)
    if i < len(segment.times):
        target_ns = int(segment.times[i])
        if play.skip_ns > 0 and i > 0:
            target_ns = min(target_ns, int(segment.times[i - 1] + play.skip_ns))
    # One more than the quotient: at that time the clock has reached the target.
    ahead_ns = scaled(target_ns - int(play.origin_rec_ns), UNIT_RATE, int(play.rate_ppm)) + 1
    return min(sample_ns, int(play.origin_real_ns) + ahead_ns)


@kernel
def wait_blocked(play: np.record, now_ns: int) -> None:
    """Account for a full sink and give its reader the core."""
    if play.blocked_since_ns == 0:
        play.blocked_since_ns = now_ns
        play.blocked += 1
    nap(_BLOCKED_NAP_NS)


@kernel
def run_slice(state: np.ndarray, segment: Segment, outlet: Outlet, slice_ns: int) -> int:
    """Play for at most about `slice_ns`: RUNNING, DONE (all of the segment is sent), or -errno.

    state: PLAY (1). Records are sent when the clock has reached their time; a clock sample goes out every
    `sample_every_ns`, and at the end of the segment where the clock has moved on since the last one.
    """
    play = state[0]
    now_ns = monotonic_ns()
    end_ns = now_ns + slice_ns
    for i in range(len(outlet.rings)):
        ring_beat(int(outlet.rings[i]), PRODUCER, now_ns)
    while now_ns < end_ns:
        if play.pending_bytes > 0:
            status = deliver(play, outlet)
            if status < 0:
                return status
            if status == _BLOCKED:
                wait_blocked(play, now_ns)
                now_ns = monotonic_ns()
                continue
            if play.blocked_since_ns > 0:
                play.blocked_ns += now_ns - play.blocked_since_ns
                play.blocked_since_ns = 0
        advance(play, segment, now_ns)
        i, n = int(play.next_i), len(segment.times)
        reached_ns = int(play.clock_ns) if i == n else min(int(play.clock_ns), int(segment.times[i]))
        ended = i == n and play.clock_ns >= play.until_ns
        if ended and reached_ns == play.sampled_ns:
            return DONE
        if ended or now_ns - play.last_sample_ns >= play.sample_every_ns:
            take_sample(play, outlet, now_ns, reached_ns)
        elif i < n and segment.times[i] <= play.clock_ns:
            take_batch(play, segment, outlet, int(play.clock_ns) if play.rate_ppm > 0 else 1 << 62)
        else:
            wait_ns = min(next_due_ns(play, segment), end_ns) - now_ns
            if play.spin == 0 and wait_ns > 2 * _SLACK_NS:
                nap(wait_ns - _SLACK_NS)
            else:
                cpu_pause()
        now_ns = monotonic_ns()
    return RUNNING
