"""The process that is the venues in a demonstration, a test or a rehearsal: recorded feed in, orders in, reports out.

It subscribes to the feed, dials into the engine with the name of each venue session, and serves all venues of these
sessions with one simulated exchange. The work is done by `desk.run_slice`, nopython, in slices of 2 ms, between which
Python looks for signals and rings. With `engine.clock = "feed"` the feed is the clock, else the time of day is.

    counters = run_venues(config)                      # until SIGTERM or SIGINT
    with SimulatedVenues(config) as venues:            # or step by step, in a test
        venues.run(seconds=1.0)

Worst case: a signal is noticed after one slice. With `idle = "park"` the first message after a pause is late by the
time that it takes to wake a thread (about 50 µs), on a ring by up to 0.2 ms.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Collection, Sequence
from types import FrameType
from typing import Any, Final

import zmq as pyzmq

from engine.errors import UsageError
from engine.io import zmq
from engine.io.atomics import address_of, monotonic_ns
from engine.io.ring import CONSUMER, Ring
from engine.record.records import UNIT, Reason, SessionFlag, Template, blank
from engine.run.config import Config, Session
from gateways.session import RING, SHM, ZMQ, Port, make_sessions, transmit
from gateways.venues import desk as desk_kernels
from gateways.venues.record import VenueRecord
from gateways.venues.state import Depth, create

SLICE_NS: Final = 2_000_000
#: Slots of the ring of a shm:// feed.
FEED_SLOTS: Final = 1 << 14
#: Longest sleep of a parked process.
_PARK_NS: Final = 1_000_000
_RING_NAP_S: Final = 0.0002
_IDLE: Final = {"spin": desk_kernels.SPIN, "yield": desk_kernels.YIELD, "park": desk_kernels.PARK}
_COUNTED: Final = (
    "orders",
    "acks",
    "fills",
    "filled_qty",
    "rejects",
    "cancel_rejects",
    "lost",
    "muted",
    "phantoms",
    "unsolicited",
    "busts",
    "corrects",
)


class SimulatedVenues:
    """All simulated venues of some sessions of a configuration. A context manager; `run` does the work.

    feeds: endpoints of the feed (a ring has one reader, so on shm:// this is not the engine's own); None is [[feed]].
    sessions: names of the venue sessions to serve; None is all. epoch: start in seconds, larger than that of any life
    before; None is now. record: see `VenueRecord`. UsageError, SessionError, LinkError, RingError: what cannot be had.
    """

    def __init__(
        self,
        config: Config,
        feeds: Sequence[str] | None = None,
        sessions: Collection[str] | None = None,
        *,
        idle: str | None = None,
        epoch: int | None = None,
        stop: threading.Event | None = None,
        record: str | None = None,
    ) -> None:
        self.config = config
        feeds = [feed.endpoint for feed in config.feed] if feeds is None else list(feeds)
        self._served = _served(config, sessions)
        self.epoch = int(time.time()) if epoch is None else epoch
        cancels = config.simulation.cancel_on_disconnect
        can = SessionFlag.CANCELS_ON_DISCONNECT if cancels else 0
        can |= SessionFlag.MASS_CANCEL if config.simulation.mass_cancel else 0
        depth = Depth(orders=1 << 16, far=1 << 14, taken=1 << 12) if config.simulation.depth else None
        self.exchange = create(config, self._served, epoch=self.epoch, depth=depth)
        self.sessions = make_sessions(
            len(config.session),
            epoch=self.epoch,
            heartbeat_ms=config.engine.heartbeat_ms,
            timeout_ms=config.engine.peer_timeout_ms,
            capability=can,
        )
        self.desk, self._inbox = desk_kernels.make_desk(len(config.session), len(feeds))
        row = self.desk.desk[0]
        row.feed_clock = int(config.engine.clock == "feed")
        row.offset_ns = desk_kernels.clock_offset()
        row.idle, row.cancels = _IDLE[idle or config.engine.idle], int(cancels)
        self._ports: list[Port] = []
        self._feed_sockets: list[pyzmq.Socket[bytes]] = []
        self._feed_rings: list[Ring] = []
        self._stop = stop or threading.Event()
        self._record = VenueRecord(record, config, self.epoch) if record else None
        self._slice(0)  # compiles or loads the kernels before anybody can talk to us
        self._context = zmq.make_context(io_cores=config.engine.io_cores)
        try:
            self._open(feeds)
        except BaseException:
            self.close()
            raise

    def _open(self, feeds: Sequence[str]) -> None:
        for row, endpoint in zip(self.desk.feeds, feeds, strict=True):
            if endpoint.startswith(SHM):
                ring = Ring.create(endpoint.removeprefix(SHM), FEED_SLOTS, CONSUMER)
                self._feed_rings.append(ring)
                row.transport, row.ring = RING, ring.address
            else:
                socket = zmq.open_socket(self._context, "sub", endpoint, heartbeat_ms=0)
                self._feed_sockets.append(socket)
                row.transport, row.socket = ZMQ, zmq.address(socket)
        for n, session in self._rows():
            endpoint = self.config.orders.endpoint if session.endpoint == "zmq" else session.endpoint
            self._ports.append(Port(self.sessions, n, endpoint, session.name, self._context))
        self._poller = pyzmq.Poller()
        for socket in [*self._feed_sockets, *(port.socket for port in self._ports if port.socket is not None)]:
            self._poller.register(socket, pyzmq.POLLIN)
        self._polls = len(self._feed_sockets) + sum(port.socket is not None for port in self._ports)

    def _rows(self) -> list[tuple[int, Session]]:
        """The sessions that we serve, with their indices."""
        return [(n, session) for n, session in enumerate(self.config.session) if session.name in self._served]

    def __enter__(self) -> SimulatedVenues:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _slice(self, slice_ns: int) -> int:
        return int(desk_kernels.run_slice(self.exchange, self.sessions, self.desk, self._inbox, slice_ns))

    @property
    def clock_ns(self) -> int:
        """Venue time."""
        return int(self.exchange.core["clock_ns"][0])

    @property
    def up(self) -> bool:
        """Whether the engine has answered on every session."""
        return all(self.sessions.links["up"][n] == 1 for n, _ in self._rows())

    def stop(self) -> None:
        """End `run` after its slice: for signal handlers and other threads."""
        self._stop.set()

    def run(self, seconds: float | None = None, until: Callable[[], bool] | None = None) -> None:
        """Work until `stop`, for `seconds`, or until `until()` says so between two slices."""
        deadline_ns = monotonic_ns() + int(seconds * 1e9) if seconds is not None else None
        parks = self.desk.desk["idle"][0] == desk_kernels.PARK
        while not self._stop.is_set() and not (until is not None and until()):
            now_ns = monotonic_ns()
            if deadline_ns is not None and now_ns >= deadline_ns:
                break
            due_ns = self._slice(SLICE_NS)
            if self._record is not None:
                self._record.look(self.desk)
            if parks and monotonic_ns() - now_ns < SLICE_NS:
                self._park(min(due_ns, _PARK_NS))
            for port in self._ports:
                port.attach()

    def _park(self, most_ns: int) -> None:
        rings = bool(self._feed_rings) or self._polls < len(self._feed_sockets) + len(self._ports)
        if rings or most_ns < _PARK_NS:
            time.sleep(min(most_ns / 1e9, _RING_NAP_S))
        else:
            self._poller.poll(1)

    def counters(self) -> dict[str, Any]:
        """What happened so far, as plain data: by venue (MIC), by session, and in all."""
        ex, desk, links = self.exchange, self.desk.desk[0], self.sessions.links
        venues = {
            venue.mic: {name: int(ex.venues[name][v]) for name in _COUNTED}
            for v, venue in enumerate(self.config.venue)
            if venue.session in self._served
        }
        total = {name: sum(venue[name] for venue in venues.values()) for name in _COUNTED}
        names = ("up", "ups", "downs", "restarts", "received", "duplicates", "gaps", "sent", "unsent", "seq_out")
        return {
            **total,
            "clock_ns": self.clock_ns,
            "feed_messages": int(desk.feed_messages),
            "malformed": int(desk.malformed),
            "refused": int(ex.core["refused"][0]),
            "distinct_orders": int(ex.core["count"][0]),
            "postponed": int(ex.core["postponed"][0]),
            "recorded": self._record.count if self._record is not None else 0,
            "venues": venues,
            "sessions": {
                session.name: {name: int(links[name][n]) for name in names}
                | {"unacknowledged": int(self.desk.logs["appended"][n] - self.desk.logs["acked"][n])}
                for n, session in self._rows()
            },
        }

    def close(self) -> None:
        """Say goodbye on each session and hang up. Idempotent."""
        if self._record is not None:
            self._record.close()
        for n, _ in self._rows():
            if self.sessions.links["up"][n] == 1:
                self._say_goodbye(n)
        for port in self._ports:
            port.close()
        for socket in self._feed_sockets:
            socket.close(linger=0)
        self.desk.feeds["transport"] = 0
        for ring in self._feed_rings:
            ring.close()
        self._ports, self._feed_sockets, self._feed_rings = [], [], []
        self._context.term()

    def _say_goodbye(self, n: int) -> None:
        link, down = self.sessions.links[n], blank(Template.SESSION_DOWN)
        down["stream_epoch"], down["stream_seq"] = link.epoch, link.seq_out + 1
        down["session_id"], down["reason"] = n, Reason.DAY_END
        if transmit(self.sessions, n, address_of(down), UNIT, monotonic_ns()):
            link.seq_out += 1


def _served(config: Config, wanted: Collection[str] | None) -> list[str]:
    """Names of the venue sessions to serve, in the order of the configuration."""
    names = [session.name for session in config.session if session.role == "venue"]
    unknown = sorted(set(wanted or ()) - set(names))
    if unknown or not names:
        raise UsageError(f"no venue session {', '.join(unknown) or 'at all'}: the configuration has {names or 'none'}")
    return [name for name in names if wanted is None or name in wanted]


def run_venues(
    config: Config,
    feed_endpoint: str | Sequence[str] | None = None,
    sessions: Collection[str] | None = None,
    *,
    idle: str | None = None,
    on_ready: Callable[[SimulatedVenues], None] | None = None,
    seconds: float | None = None,
    record: str | None = None,
) -> dict[str, Any]:
    """Be the venues of a configuration until SIGTERM or SIGINT (or for `seconds`); returns the counters.

    feed_endpoint: one or more, see `SimulatedVenues`; record: see `VenueRecord`. on_ready is called when everything is
    connected and compiled.
    In another thread than the main one signals are the caller's affair.
    """
    feeds = [feed_endpoint] if isinstance(feed_endpoint, str) else feed_endpoint
    stop = threading.Event()
    before: dict[int, Any] = {}

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with SimulatedVenues(config, feeds, sessions, idle=idle, stop=stop, record=record) as venues:
            if on_ready is not None:
                on_ready(venues)
            venues.run(seconds)
            return venues.counters()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
