"""The simulated world: one engine, its peers and feeds, a clock and a disk, and `apply`, which makes one event happen.

An event is a dict: `at`, its virtual time in ns since the start, `do`, what happens, and what that needs. Nothing here
is random: the same events give the same journal. An event that finds nothing to act upon (an empty wire, an order that
is not there) does nothing, so any part of a list of events is a list of events, and a failing run can be shrunk.

Timers are not events: before each event the engine is told of the deadlines that passed, as its driver would do.

    do       what
    quote    venue, instrument, bid_px, bid_qty, ask_px, ask_qty, way: now | lost | late | twice
    trade, clear, halt, open   venue, instrument (and px, qty), way
    feed     venue, k, keep    a market-data record that was late arrives (k-th in flight; keep: it stays, a duplicate)
    publisher  venue           its publisher restarts
    ask      client, what, cl, ...   a client asks (clients.py)
    deliver  session, k, keep  the k-th record in flight to the engine arrives
    take     session, k, keep, fill, reject, mute, hold   a gateway reads a request, and what it makes of it (venues.py)
    hear     session, k, keep  a client reads a report
    lose     session, way: in | out, k    a record in flight is lost
    work     session, n, what, fill       a gateway does something with its n-th order (work.py)
    silent   session                      a peer reads nothing for a while
    skew     session, ns                  a peer's clock is off
    snapshot                              the follower writes one
    down     session, noticed, lost_in, lost_out   a session breaks; up  it is there again; peer  its peer restarts
    die      frames, torn, sent | now     the process dies at the next input, or now
    restart  pages, sectors, stale, flips, snap   a new one recovers the journal: what the disk lost, counted from the
                                          first byte not synced; bits that flip; what is wrong with the snapshot
    clock    ns    the driver's clock steps; stall  ns  the engine's process stands still
    disk     full, told  no further segment, or again;  sync  the disk has all
    control  what: kill | live, value     the control link
    eio      the disk fails: the engine halts
    bytes    session, hex                 a record that is none
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, TypeAlias

from engine.core.state import state_hash
from engine.record.records import ControlAction, Reason, Template
from engine.run.stall import AWAY_NS, PATIENCE_NS
from replay.simulate.clients import Client
from replay.simulate.driver import Death, Engine
from replay.simulate.faults import families
from replay.simulate.invariants import Invariants
from replay.simulate.market import Publisher
from replay.simulate.network import Peer, Wire
from replay.simulate.reboot import Found
from replay.simulate.setup import CLIENTS, START_NS, Setup
from replay.simulate.venues import Gateway
from replay.simulate.violation import Violation, must
from replay.simulate.wire import pack
from replay.simulate.work import work

#: One thing that happens.
Event: TypeAlias = dict[str, Any]
#: Timers that may fall due between two events.
_TIMERS: Final = 5000
#: Records that a client's queue holds.
_QUEUE: Final = 40


class World:
    """See the module."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.now = 0
        self.skew_ns = 0
        #: Until then no timer fires, for the engine stood still before.
        self.patient_until = 0
        #: How often each family of faults took place (faults.py).
        self.faults: Counter[str] = Counter()
        #: How far each peer's clock is off.
        self.skews = [0] * setup.sessions
        self.wires = [Wire() for _ in range(setup.sessions)]
        self._seen: list[tuple[int, bytes, list[bytes]]] = []
        self.engine = Engine(setup, self._to_peer, self._note, self.faults)
        self.ledger = Invariants(setup, self.engine.state)
        self.clients = [Client(n, self.wires[n]) for n in range(CLIENTS)]
        self.gateways = [
            Gateway(n, self.wires[n], lambda venue, exec_id: self.ledger.remembers(venue, exec_id), self.faults)
            for n in range(CLIENTS, setup.sessions)
        ]
        self.peers: list[Peer] = [*self.clients, *self.gateways]
        self.publishers = [Publisher(v) for v in range(setup.venues)]
        self.inputs = 0

    # ---- the engine's side

    def _to_peer(self, session: int, data: bytes) -> bool:
        if session < CLIENTS and len(self.wires[session].to_peer) >= _QUEUE:
            return False
        self.wires[session].to_peer.append(data)
        return True

    def _note(self, seq: int, data: bytes, outputs: list[bytes]) -> None:
        self.inputs += 1
        self._seen.append((seq, data, outputs))
        self.ledger.step(data, outputs, self.engine.state)

    def _read_clock(self) -> None:
        self.engine.read_clock(START_NS + self.now + self.skew_ns)

    def give(self, data: bytes) -> bool:
        """An input for the engine, now; False where it is not there to take it."""
        self._read_clock()
        template = int.from_bytes(data[2:4], "little")
        session = int.from_bytes(data[12:14], "little", signed=True)
        if template == Template.SESSION_UP and self.engine.ready:
            self.engine.hello(session, data)
        elif template == Template.SESSION_DOWN and self.engine.ready:
            self.engine.goodbye(session)
        return self.engine.take(data)

    def pass_time(self, until: int) -> None:
        """Let time pass, with a TIMER input at each deadline on the way; after a stall with the loop's patience."""
        for _ in range(_TIMERS):
            if not self.engine.ready:
                break
            waits = self.now < self.patient_until
            due = self.engine.deadline_ns(waits=waits) - START_NS - self.skew_ns
            if waits and self.patient_until <= min(due, until):
                self.now = self.patient_until
                continue
            if due > until:
                break
            self.now = max(self.now, due)
            self._read_clock()
            if not self.engine.timer(waits=waits):
                break
        else:
            raise Violation("timers come to an end", f"{_TIMERS} of them, the next at {due}")
        self.now = max(self.now, until)

    # ---- events

    def apply(self, event: Event) -> None:
        """Make one event happen. Violation where an invariant breaks."""
        self.pass_time(int(event["at"]))
        for peer, skew_ns in zip(self.peers, self.skews, strict=True):
            peer.now_ns = START_NS + self.now + skew_ns
        self.engine.catch_up()
        do = getattr(self, "_" + event["do"])
        if do(event) is not False:
            self.faults.update(families(event))

    def _publish(self, event: Event, data: bytes) -> None:
        way = event.get("way", "now")
        if way in ("late", "twice"):
            self.publishers[event["venue"]].flight.append(data)
        if way in ("now", "twice"):
            self.give(data)

    def _publisher_at(self, event: Event) -> Publisher:
        publisher = self.publishers[event["venue"]]
        publisher.now_ns = START_NS + self.now
        return publisher

    def _quote(self, event: Event) -> None:
        sides = [int(event[key]) for key in ("bid_px", "bid_qty", "ask_px", "ask_qty")]
        self._publish(event, self._publisher_at(event).quote(event["instrument"], *sides))

    def _trade(self, event: Event) -> None:
        self._publish(event, self._publisher_at(event).trade(event["instrument"], event["px"], event["qty"]))

    def _clear(self, event: Event) -> None:
        self._publish(event, self._publisher_at(event).clear(event["instrument"]))

    def _halt(self, event: Event) -> None:
        self._publish(event, self._publisher_at(event).status(event["instrument"], 1))

    def _open(self, event: Event) -> None:
        self._publish(event, self._publisher_at(event).status(event["instrument"], 0))

    def _feed(self, event: Event) -> bool:
        data = _pick(self.publishers[event["venue"]].flight, event)
        return data is not None and self.give(data)

    def _publisher(self, event: Event) -> None:
        self.publishers[event["venue"]].restart()

    def _ask(self, event: Event) -> None:
        cl = event.get("cl", "")
        if event["what"] == "again" and self._forgotten(event["client"], cl):
            return
        self.clients[event["client"]].ask(event["what"], cl, event)

    def _forgotten(self, client: int, cl: str) -> bool:
        """Whether the engine had this order and no longer knows it: a repetition would be a new order."""
        parents = [p for p in self.ledger.parents.values() if p.session == client and str(p) == f"parent {cl}"]
        return any(not self.ledger.holds_parent(parent) for parent in parents)

    def _deliver(self, event: Event) -> bool:
        if self.engine.alive and not self.engine.ready:
            return False  # it stands still: what is in flight waits
        data = _pick(self.wires[event["session"]].to_engine, event)
        if data is not None:
            session = int(event["session"])
            self.give(data[:12] + session.to_bytes(2, "little", signed=True) + data[14:])
            if self.engine.alive and self.peers[session].up:
                self.peers[session].forget(*self.engine.seen(session))  # by a heartbeat
        return data is not None

    def _take(self, event: Event) -> bool:
        data = _pick(self.wires[event["session"]].to_peer, event)
        if data is not None:
            self.gateways[event["session"] - CLIENTS].take(data, event)
        return data is not None

    def _hear(self, event: Event) -> bool:
        data = _pick(self.wires[event["session"]].to_peer, event)
        if data is not None:
            self.clients[event["session"]].hear(data)
        return data is not None

    def close(self) -> None:
        """Remove what is on the real disk."""
        self.engine.resending.close()

    def _lose(self, event: Event) -> bool:
        wire = self.wires[event["session"]]
        return _pick(wire.to_engine if event["way"] == "in" else wire.to_peer, event) is not None

    def _work(self, event: Event) -> bool:
        return work(self.gateways[event["session"] - CLIENTS], self.setup, event)

    def _silent(self, event: Event) -> None:
        """The scheduler holds what is in flight to this peer back."""

    def _skew(self, event: Event) -> None:
        self.skews[event["session"]] = int(event["ns"])

    def _snapshot(self, _event: Event) -> bool:
        return self.engine.snapshot()

    def _down(self, event: Event) -> None:
        session = event["session"]
        wire, peer = self.wires[session], self.peers[session]
        peer.break_off()
        for flight, lost in ((wire.to_engine, event["lost_in"]), (wire.to_peer, event["lost_out"])):
            if lost:
                del flight[-lost:]
        if event.get("noticed") and self.engine.ready and self.engine.linked[session]:
            silent = {"stream_id": session, "session_id": session, "reason": int(Reason.PEER_SILENT)}
            self.give(pack(Template.SESSION_DOWN, **silent))

    def _up(self, event: Event) -> None:
        session = event["session"]
        peer = self.peers[session]
        line: Any = self.engine.state.sessions[session]
        # A hello is said again until the engine has heard it.
        if self.engine.alive and not (peer.up and self.engine.linked[session] and line.up):
            peer.connect(int(line.epoch_in), int(line.seq_in))

    def _peer(self, event: Event) -> None:
        self.peers[event["session"]].restart()

    def _die(self, event: Event) -> None:
        if event.get("now"):
            self.engine.kill()
        elif self.engine.alive:
            self.engine.death = Death(event["frames"], event["torn"], event["sent"])

    def _restart(self, event: Event) -> None:
        if self.engine.alive:
            return
        for peer in self.peers:
            peer.break_off()
        self.engine.disk.full = False  # with a full disk it would not start
        found = Found(*(event[key] if key in event else Found._field_defaults[key] for key in Found._fields))
        self.faults["pages"] += self.setup.durability == "disk" and bool(found.pages or found.sectors)
        self.faults["stale"] += self.setup.durability == "disk" and found.stale and bool(found.pages or found.sectors)
        self.engine.recover(found, self._recovered)

    def _recovered(self, last_seq: int) -> None:
        """The journal has been recovered up to a frame, and the engine has its state back."""
        lost = [row for row in self._seen if row[0] > last_seq]
        if lost:
            self._seen = [row for row in self._seen if row[0] <= last_seq]
            self.ledger = Invariants(self.setup, self.engine.state)
            for _, data, outputs in self._seen:
                self.ledger.step(data, outputs, None)
        else:
            now = state_hash(self.engine.state)
            must(now == self.engine.hash_at_death, "recovery gives the state back", "the state's hash is another")
        self.ledger.whole(self.engine.state)

    def _clock(self, event: Event) -> None:
        self.skew_ns += int(event["ns"])

    def _stall(self, event: Event) -> None:
        self.now += int(event["ns"])
        if event["ns"] > AWAY_NS:
            self.patient_until = self.now + min(int(event["ns"]), PATIENCE_NS)

    def _disk(self, event: Event) -> None:
        """A disk that is nearly full makes the driver stop all orders; with room again it lets them go."""
        if event.get("told"):
            self._control({"what": "kill" if event["full"] else "live", "value": int(Reason.DISK_FULL)})
        self._read_clock()
        self.engine.disk_full(bool(event["full"]))

    def _sync(self, _event: Event) -> None:
        if self.engine.alive:
            self._read_clock()
            self.engine.synced()

    def _control(self, event: Event) -> None:
        action = ControlAction.KILL_ON if event["what"] == "kill" else ControlAction.KILL_OFF
        value = int(event.get("value", 0))
        self.give(pack(Template.CONTROL, action=int(action), client_id=-1, instrument_id=-1, value=value))

    def _eio(self, _event: Event) -> bool:
        return self.engine.halt()

    def _bytes(self, event: Event) -> None:
        self.give(bytes.fromhex(event["hex"]))


def _pick(flight: list[bytes], event: Event) -> bytes | None:
    """Take the k-th record in flight, or the last; `keep` leaves it there. None where nothing is in flight."""
    if not flight:
        return None
    k = min(int(event.get("k", 0)), len(flight) - 1)
    return flight[k] if event.get("keep") else flight.pop(k)
