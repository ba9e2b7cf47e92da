"""Plays a recorded day to subscribers, at its own pace, faster, or as fast as they can take it.

It binds one ZeroMQ XPUB socket to all its ipc:// and tcp:// endpoints and is the producer of a shared-memory ring for
each shm:// endpoint. It waits until so many subscriptions are there, plays, says the day's end with one CLEAR a venue
(instrument -1, reason DAY_END), and lets the clock run on for a while so that the subscribers' timers still fire.

Nothing is dropped: where a subscriber is full, everybody waits for it, and the records are late (`lag_max_s`).
`ts_event_ns` stays the recorded time. CLOCK_SAMPLE records (stream -1, sequence 0) go out alone, at least every 0.5 ms,
so that a SUB socket can pick them by the first four bytes; the first four bytes of any other message are those of its
first record. A gap longer than `skip_gaps_over_s` is cut to that length: the clock runs so far, then jumps to the next
record, and timers of the hours between fire at the jump.

Every record carries the life's `stream_epoch`: the first whole second after the player was made, and nothing is sent
before that second. So a player that is restarted at once still has a larger epoch than the one before it.

ZeroMQ's own heartbeats are off on feeds, on both ends: a subscriber whose queue is full reads none, so a slow one would
be cut off, and libzmq 4.3.5 then aborts its process (libzmq issues 3937, 4364, 4767). For the same reason a player does
not hang up while subscribers are there: what a full queue has not read is lost with the connection. `close` waits until
they have left, `linger_s` at most.

Worst case: a subscriber that is connected and never reads stops the feed for all; progress says who. One that is still
behind when `linger_s` is over loses the end. A sleeping player is late by up to 0.1 ms; one that spins (`spin=True`) is
not, and takes a core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zmq

from engine.errors import TickrouteError, UsageError
from engine.io.atomics import monotonic_ns
from engine.io.ring import PRODUCER, Ring, ring_peer_age_ns
from engine.io.zmq import address, make_context, open_socket
from engine.record.records import DTYPES, RECORD_MAX, Reason, Template, blank
from gateways.feeds import player_kernels as k
from gateways.feeds.recording import Recording

SHM = "shm://"
#: Slots of a feed's ring: about a second of a busy day, 2 MB.
RING_SLOTS = 16_384
SAMPLE_EVERY_NS = 500_000
SLICE_NS = 10_000_000
#: Messages that wait for a slow subscriber on our side (ZeroMQ, its socket and the subscriber hold more).
HIGH_WATER = 4096
#: A subscriber on a ring is there if it beat this recently.
_ALIVE_NS = 2_000_000_000
_PROGRESS_EVERY_S = 0.2
_RATE_MAX = 1000
#: At rate 0 the clock after the day's end goes in this many steps.
_TAIL_STEPS = 200


class PlayError(TickrouteError):
    """A day that cannot be played on; the message names endpoint, value and remedy."""


@dataclass(frozen=True)
class Progress:
    """How far the player is. `phase`: waiting, playing, blocked (a subscriber is full), or done."""

    phase: str
    #: Of the recorded time (at rate 0: of the records), 0 to 1.
    fraction: float
    records_per_s: float
    eta_s: float
    clock_ns: int
    subscribers: int
    #: Endpoint of the subscriber that is waited for; empty where none is.
    waits_for: str = ""


@dataclass(frozen=True)
class PlayReport:
    """What was played. `complete` is False where it was stopped before the end."""

    records: int
    messages: int
    samples: int
    #: With the time after the day's end; the rate is without it.
    seconds: float
    records_per_s: float
    #: Times and seconds that a full subscriber made everybody wait, and the latest that a record was (real time).
    blocked: int
    blocked_s: float
    lag_max_s: float
    subscribers: int
    epoch: int
    complete: bool


class Player:
    """A recording and the endpoints it is published on. Use as a context manager; `run` plays once.

    rate: 1 is the recorded pace, N is N times it (at most 1000), 0 is as fast as it goes. subscribers: subscriptions
    (a subscriber has as many as it has prefixes) and ring readers to wait for. epoch: see above; one that is given must
    be larger than in the publisher's last life. UsageError for values out of range; LinkError or RingError where an
    endpoint is not to be had.
    """

    def __init__(
        self,
        day: Recording,
        endpoints: Sequence[str],
        *,
        rate: float = 1.0,
        subscribers: int = 1,
        wait_s: float = 30.0,
        tail_s: float = 5.0,
        skip_gaps_over_s: float = 0.0,
        batch: int = 16,
        spin: bool = False,
        epoch: int | None = None,
        ring_slots: int = RING_SLOTS,
        high_water: int = HIGH_WATER,
        linger_s: float = 5.0,
    ) -> None:
        if not 0 <= rate <= _RATE_MAX or 0 < rate < 1e-3:
            raise UsageError(f"rate {rate}: must be 0 (as fast as it goes) or from 0.001 to {_RATE_MAX}")
        if not 1 <= batch <= 256 or min(wait_s, tail_s, skip_gaps_over_s, linger_s, subscribers) < 0:
            raise UsageError(f"batch {batch} must be 1 to 256; times and subscribers must not be negative")
        if not endpoints or not day.count:
            raise UsageError(f"{len(endpoints)} endpoints, {day.count} records: nothing to publish, or nowhere to")
        self.day = day
        self.endpoints = list(endpoints)
        self.epoch = int(time.time()) + 1 if epoch is None else epoch
        self._not_before_s = self.epoch if epoch is None else 0
        self._subscriptions = 0
        self._wanted, self._wait_s, self._linger_s = subscribers, wait_s, linger_s
        self._stopped = False
        self._gaps = _Gaps(day.times, int(skip_gaps_over_s * 1e9))
        self._state = _new_state(day, rate, batch, spin, self.epoch, int(skip_gaps_over_s * 1e9), int(tail_s * 1e9))
        self._segments = _segments(day, int(tail_s * 1e9))
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._rings: list[Ring] = []
        try:
            self._open(ring_slots, high_water)
        except BaseException:
            self.close()
            raise
        self._outlet = _new_outlet(batch, self._rings)
        # A slice of no length compiles the kernels, or loads them: not while the clock runs.
        k.run_slice(self._state, self._segments[0][0], self._outlet, 0)

    def __enter__(self) -> Player:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close(0.0 if kind or self._stopped else self._linger_s)

    def _open(self, ring_slots: int, high_water: int) -> None:
        plain = [endpoint for endpoint in self.endpoints if not endpoint.startswith(SHM)]
        if plain:
            self._context = make_context()
            socket = open_socket(self._context, "xpub", plain[0], bind=True, high_water=high_water, heartbeat_ms=0)
            self._socket = socket
            # Each subscription counts, also a second one to the same prefix.
            socket.set(zmq.XPUB_VERBOSER, 1)
            for endpoint in plain[1:]:
                socket.bind(endpoint)
            self._state["socket"] = address(socket)
        for endpoint in self.endpoints:
            if endpoint.startswith(SHM):
                self._rings.append(Ring.create(endpoint.removeprefix(SHM), ring_slots, PRODUCER))

    @property
    def origin_ns(self) -> int:
        """CLOCK_MONOTONIC, ns, at which the first record was due; 0 before `run`. Cut gaps move it."""
        return int(self._state[0].origin_real_ns)

    def count_subscribers(self) -> int:
        """Subscriptions on the socket and live readers of rings, now."""
        now_ns = monotonic_ns()
        readers = sum(ring_peer_age_ns(ring.address, PRODUCER, now_ns) < _ALIVE_NS for ring in self._rings)
        return self._count_subscriptions() + readers

    def _count_subscriptions(self) -> int:
        while self._socket is not None:
            try:
                message = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            self._subscriptions += {1: 1, 0: -1}.get(message[0] if message else -1, 0)
        return self._subscriptions

    def stop(self) -> None:
        """End `run` within a slice: for signal handlers and other threads."""
        self._stopped = True

    def run(self, progress: Callable[[Progress], None] | None = None) -> PlayReport:
        """Wait for the subscribers, play the day and its end, and say what was played.

        `progress` is called about every 0.2 s. PlayError where too few subscribers come in time, or a sink breaks.
        """
        self._wait(progress)
        play = self._state[0]
        began_s = told_s = played_s = time.monotonic()
        play.origin_real_ns = monotonic_ns()
        complete = not self._stopped
        for segment, until_ns in self._segments:
            play.next_i, play.until_ns = 0, until_ns
            status = k.RUNNING
            while status == k.RUNNING and not self._stopped:
                status = k.run_slice(self._state, segment, self._outlet, SLICE_NS)
                if status < 0:
                    raise PlayError(f"{self._sink()}: cannot be written to (errno {-status}); restart both sides")
                if progress and time.monotonic() - told_s >= _PROGRESS_EVERY_S:
                    told_s = time.monotonic()
                    progress(self._progress(segment, told_s - began_s))
            complete = status == k.DONE
            if segment is self._segments[0][0]:
                played_s = time.monotonic()
        report = self._report(time.monotonic() - began_s, played_s - began_s, complete)
        if progress:
            rate = report.records_per_s
            progress(Progress("done", float(complete), rate, 0.0, int(play.clock_ns), report.subscribers))
        return report

    def _wait(self, progress: Callable[[Progress], None] | None) -> None:
        deadline_s = time.monotonic() + self._wait_s
        while (found := self.count_subscribers()) < self._wanted and not self._stopped:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise PlayError(
                    f"{', '.join(self.endpoints)}: {found} of {self._wanted} subscribers came within "
                    f"{self._wait_s:g} s; start the others, wait longer, or ask for fewer"
                )
            if progress:
                progress(Progress("waiting", 0.0, 0.0, left_s, self.day.first_ns, found))
            time.sleep(min(0.05, left_s))
        while (early_s := self._not_before_s - time.time()) > 0 and not self._stopped:
            time.sleep(min(early_s, 0.05))

    def _sink(self) -> str:
        """The endpoint that the message in hand goes to next."""
        rings = [endpoint for endpoint in self.endpoints if endpoint.startswith(SHM)]
        at = int(self._state[0].sink)
        return rings[at - 1] if at else ", ".join(e for e in self.endpoints if not e.startswith(SHM))

    def _progress(self, segment: k.Segment, elapsed_s: float) -> Progress:
        play = self._state[0]
        sent = int(play.sent_records)
        if play.rate_ppm == 0:
            fraction = sent / self.day.count
            eta_s = elapsed_s / fraction * (1 - fraction) if fraction else 0.0
        else:
            first = segment is self._segments[0][0]
            left_ns = self._gaps.left_ns(int(play.clock_ns), int(play.next_i)) if first else 0
            fraction = 1 - left_ns / max(self._gaps.total_ns, 1)
            eta_s = left_ns * k.UNIT_RATE / int(play.rate_ppm) / 1e9
        blocked = play.blocked_since_ns > 0
        return Progress(
            "blocked" if blocked else "playing",
            min(fraction, 1.0),
            sent / max(elapsed_s, 1e-9),
            eta_s,
            int(play.clock_ns),
            self.count_subscribers(),
            self._sink() if blocked else "",
        )

    def _report(self, seconds: float, played_s: float, complete: bool) -> PlayReport:
        play = self._state[0]
        records = int(play.sent_records)
        lag_s = int(play.lag_max_ns) * k.UNIT_RATE / max(int(play.rate_ppm), 1) / 1e9 if play.rate_ppm else 0.0
        return PlayReport(
            records,
            int(play.sent_messages),
            int(play.samples),
            seconds,
            records / max(played_s, 1e-9),
            int(play.blocked),
            int(play.blocked_ns) / 1e9,
            lag_s,
            self.count_subscribers(),
            self.epoch,
            complete,
        )

    def close(self, linger_s: float = 0.0) -> None:
        """Hang up once the socket's subscribers have left, or after `linger_s`. Idempotent."""
        if self._socket is not None:
            deadline_s = time.monotonic() + linger_s
            while (
                (left_s := deadline_s - time.monotonic()) > 0 and self._count_subscriptions() > 0 and not self._stopped
            ):
                time.sleep(min(0.01, left_s))
            self._socket.close(linger=int(linger_s * 1000))
            self._socket = None
        if self._context is not None:
            self._context.term()
            self._context = None
        for ring in self._rings:
            ring.close()
        self._rings = []


class _Gaps:
    """Recorded time that is left to play where gaps longer than `skip_ns` are cut to it (0 cuts none)."""

    def __init__(self, times: np.ndarray, skip_ns: int) -> None:
        gaps = np.diff(times)
        self._at = np.flatnonzero(gaps > skip_ns) + 1 if skip_ns else np.zeros(0, dtype=np.int64)
        # cut[j]: what is cut from the j-th long gap on
        self._cut = np.append(np.cumsum((gaps[self._at - 1] - skip_ns)[::-1])[::-1], 0)
        self._last_ns = int(times[-1])
        self.total_ns = self.left_ns(int(times[0]), 0)

    def left_ns(self, clock_ns: int, next_i: int) -> int:
        """From a recorded time, with `next_i` the next record to play."""
        ahead = int(np.searchsorted(self._at, next_i))
        return max(self._last_ns - clock_ns - int(self._cut[ahead]), 0)


def _new_state(day: Recording, rate: float, batch: int, spin: bool, epoch: int, skip_ns: int, tail_ns: int) -> Any:
    state = np.zeros(1, dtype=k.PLAY)
    state["epoch"], state["batch"], state["spin"] = epoch, batch, spin
    state["rate_ppm"] = round(rate * k.UNIT_RATE)
    state["skip_ns"], state["sample_every_ns"] = skip_ns, SAMPLE_EVERY_NS
    state["step_ns"] = max(tail_ns // _TAIL_STEPS, 1)
    state["origin_rec_ns"] = state["clock_ns"] = day.first_ns
    return state


def _segments(day: Recording, tail_ns: int) -> list[tuple[k.Segment, int]]:
    """The day until its last record, then its end: a CLEAR for each venue and the tail of the clock."""
    venues = len(day.names.venues)
    clears = blank(Template.CLEAR, venues)
    clears["stream_id"] = clears["venue_id"] = np.arange(venues)
    clears["stream_seq"] = day.last_seqs() + 1
    clears["ts_event_ns"] = day.last_ns
    clears["instrument_id"] = -1
    clears["reason"] = Reason.DAY_END
    size = DTYPES[Template.CLEAR].itemsize
    data, offsets = clears.view(np.uint8), np.arange(venues + 1, dtype=np.int64) * size
    times = np.full(venues, day.last_ns, dtype=np.int64)
    for array in (data, offsets, times):
        array.flags.writeable = False
    ending = k.Segment(data, offsets, times)
    return [(k.Segment(day.data, day.offsets, day.times), day.last_ns), (ending, day.last_ns + tail_ns)]


def _new_outlet(batch: int, rings: list[Ring]) -> k.Outlet:
    buffer = np.zeros(batch * RECORD_MAX, dtype=np.uint8)
    addresses = np.array([ring.address for ring in rings], dtype=np.int64)
    return k.Outlet(buffer, buffer.view("<i4"), blank(Template.CLOCK_SAMPLE), addresses)


def play(
    day: Recording,
    endpoints: Sequence[str],
    *,
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> PlayReport:
    """Publish a day once, with `Player`'s options, and wait until its subscribers have left (or `linger_s`)."""
    with Player(day, endpoints, **options) as player:
        return player.run(progress)
