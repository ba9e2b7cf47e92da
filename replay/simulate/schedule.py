"""From a seed to events: a scheduler over virtual time that lets things happen to a world, well or badly.

It draws from counter-based random numbers (gateways/feeds/draws.py), one lane a subject, so the same seed gives the
same events on every machine and in every mode. What it drew is in the events; the world itself draws nothing.

Every record that the world puts on a wire gets an arrival here, with a latency, and perhaps a loss, a duplicate, or a
place in the queue that is not its own.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from engine.record.records import Template
from gateways.feeds.draws import below, draw, exponential
from replay.simulate.profiles import Profile
from replay.simulate.setup import CLIENTS, MS, Setup
from replay.simulate.world import Event, World

_MID: Final = 10_000
_SIDES: Final = ("buy", "buy", "sell", "sell", "sell_short")
_TIFS: Final = ("day", "day", "gtc", "ioc", "fok")
_ASKS: Final = ("new", "new", "new", "cancel", "replace", "replace", "pause", "resume", "status", "again", "mass")
_WORK: Final = ("fill", "fill", "fill", "cancel", "expire", "again")
#: Work that a profile asks for by its own chance.
_RARE: Final = ("late", "over", "stray", "repeat", "bust", "correct", "restate")
#: Lanes of the random numbers.
_SETUP, _MARKET, _CLIENTS, _WIRES, _VENUES, _MACHINE = range(1, 7)


class Dice:
    """Draws of one lane, in order."""

    def __init__(self, seed: int, lane: int) -> None:
        self._seed, self._lane, self._count = seed, lane, 0
        self._spare: list[int] = []

    def word(self) -> int:
        """32 random bits."""
        if not self._spare:
            self._count += 1
            self._spare = [int(word) for word in draw(self._seed, self._lane, self._count, self._seed >> 32)]
        return self._spare.pop()

    def below(self, n: int) -> int:
        """A whole number from 0 to n - 1."""
        return int(below(self.word(), n))

    def chance(self, permille: int) -> bool:
        """True with a probability in parts per thousand."""
        return permille > 0 and self.below(1000) < permille

    def wait_ns(self, mean_ns: int) -> int:
        """A waiting time with this mean."""
        return 1 + int(exponential(self.word(), mean_ns))

    def one(self, *choices: Any) -> Any:
        """One of the choices."""
        return choices[self.below(len(choices))]


def _hello(session: int) -> Iterator[Event]:
    """The event of a peer that comes up."""
    return iter([{"do": "up", "session": session}])


def draw_setup(seed: int, strategy: str) -> Setup:
    """The desk of a seed."""
    dice = Dice(seed, _SETUP)
    return Setup(
        strategy=strategy,
        venues=2 + dice.below(3),
        gateways=1 + dice.below(2),
        instruments=1 + dice.below(2),
        parents=dice.one(4, 8, 16),
        children=dice.one(8, 16, 32),
        executions=dice.one(8, 32, 64),
        max_rounds=1 + dice.below(4),
        rest=dice.one("engine", "venue"),
        stale_ms=dice.one(20, 100, 1000),
        child_timeout_ms=dice.one(5, 20, 50),
        max_cancels=1 + dice.below(2),
        collar_bps=dice.one(50, 300),
        day_end_s=dice.one(1, 3600),
        durability=dice.one("process", "process", "disk"),
        segment_bytes=dice.one(8192, 16384, 65536),
    )


class Schedule:
    """The events of a seed, one after another, as the world that they happen to asks for them."""

    def __init__(self, seed: int, profile: Profile, world: World) -> None:
        self.world, self.setup, self.profile = world, world.setup, profile
        self._heap: list[tuple[int, int, Callable[[], Iterator[Event]]]] = []
        self._count = 0
        self._now = 0
        self._dice = {lane: Dice(seed, lane) for lane in (_MARKET, _CLIENTS, _WIRES, _VENUES, _MACHINE)}
        self._due = [[0, 0] for _ in range(self.setup.sessions)]
        #: Until when each peer reads nothing.
        self._silent = [0] * self.setup.sessions
        self._mids = [_MID] * self.setup.instruments
        self._cls = [0] * CLIENTS
        for session in range(self.setup.sessions):
            self._at(0, partial(_hello, session))
        for venue in range(self.setup.venues):
            self._repeat(profile.quote_ms * self.setup.venues, _MARKET, partial(self._quote, venue))
        self._repeat(profile.ask_ms, _CLIENTS, self._ask)
        self._repeat(profile.work_ms, _VENUES, self._work)
        self._repeat(profile.publisher_ms, _MARKET, self._publisher)
        self._repeat(profile.halt_ms, _MARKET, self._halt)
        self._repeat(profile.down_ms, _WIRES, self._down)
        self._repeat(profile.clock_ms, _MACHINE, self._clock)
        self._repeat(profile.stall_ms, _MACHINE, self._stall)
        self._repeat(profile.silent_ms, _WIRES, self._silence)
        self._repeat(profile.skew_ms, _MACHINE, self._skew)
        self._repeat(profile.snapshot_ms, _MACHINE, lambda: iter([{"do": "snapshot"}]))
        self._repeat(profile.die_ms, _MACHINE, self._die)
        self._repeat(profile.full_ms, _MACHINE, self._full)
        self._repeat(profile.fail_ms, _MACHINE, self._fail)
        self._repeat(profile.control_ms, _MACHINE, self._control)
        if self.setup.durability == "disk":
            self._repeat(2, _MACHINE, lambda: iter([{"do": "sync"}]))

    def events(self, inputs: int) -> Iterator[Event]:
        """Events until the engine has taken so many inputs; each must have been applied when the next is asked for."""
        while self.world.inputs < inputs and self._count < 20 * inputs:
            self._wires()
            at, _, make = heapq.heappop(self._heap)
            self._now = max(self._now, at, self.world.now)
            for event in make():
                yield {"at": self._now, **event}

    # ---- time

    def _at(self, at: int, make: Callable[[], Iterator[Event]]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, make))

    def _repeat(self, mean_ms: int, lane: int, make: Callable[[], Iterator[Event]]) -> None:
        """Let something happen again and again, so many ms apart on average."""
        if mean_ms == 0:
            return

        def again() -> Iterator[Event]:
            yield from make()
            self._at(self._now + self._dice[lane].wait_ns(mean_ms * MS), again)

        self._at(self._dice[lane].wait_ns(mean_ms * MS), again)

    # ---- wires

    def _wires(self) -> None:
        """Give each record that was put on a wire an arrival."""
        for session, wire in enumerate(self.world.wires):
            for way, flight in enumerate((wire.to_engine, wire.to_peer)):
                while self._due[session][way] < len(flight):
                    self._due[session][way] += 1
                    at = self._now + 50_000 + self._dice[_WIRES].wait_ns(MS)
                    self._at(at, partial(self._arrival, session, way))

    def _silence(self) -> Iterator[Event]:
        """A peer reads nothing, for some tens of ms or for seconds."""
        dice = self._dice[_WIRES]
        session = dice.below(self.setup.sessions)
        self._silent[session] = self._now + dice.wait_ns(dice.one(30, 200, 5000) * MS)
        yield {"do": "silent", "session": session}

    def _arrival(self, session: int, way: int, slow: bool = False) -> Iterator[Event]:
        dice, profile = self._dice[_WIRES], self.profile
        if way == 1 and self._now < self._silent[session]:
            self._at(self._silent[session], partial(self._arrival, session, way, slow))
            return
        if not slow and dice.chance(profile.slow):
            at = self._now + dice.wait_ns(dice.one(10, 100, 2000) * MS)
            self._at(at, partial(self._arrival, session, way, slow=True))
            return
        self._due[session][way] = max(self._due[session][way] - 1, 0)
        event: Event = {"session": session}
        if slow:
            event["slow"] = 1
        if dice.chance(profile.reordered):
            event["k"] = 1 + dice.below(dice.one(4, 1000))
        if dice.chance(profile.lost):
            yield {"do": "lose", "way": "out" if way else "in", **event}
            return
        if dice.chance(profile.twice):
            event["keep"] = 1
            self._due[session][way] += 1
            self._at(self._now + dice.wait_ns(5 * MS), lambda: self._arrival(session, way))
        if way == 0:
            yield {"do": "deliver", **event}
        elif session < CLIENTS:
            yield {"do": "hear", **event}
        else:
            yield {"do": "take", **event, **self._answer()}

    def _answer(self) -> Event:
        """What a venue makes of the request that it reads next."""
        dice, profile = self._dice[_VENUES], self.profile
        answer: Event = {"fill": dice.one(0, 0, 1000, 1000, 1000, dice.below(1000))}
        for name in ("reject", "mute", "hold"):
            if dice.chance(getattr(profile, name)):
                answer[name] = 1
        return answer

    def _down(self) -> Iterator[Event]:
        dice = self._dice[_WIRES]
        session = dice.below(self.setup.sessions)
        lost = {"lost_in": dice.one(0, 0, 1, 3), "lost_out": dice.one(0, 0, 1, 3)}
        yield {"do": "down", "session": session, "noticed": dice.one(0, 1, 1), **lost}
        if dice.chance(200):
            yield {"do": "peer", "session": session}
        self._at(self._now + dice.wait_ns(30 * MS), lambda: iter([{"do": "up", "session": session}]))

    # ---- the market

    def _quote(self, venue: int) -> Iterator[Event]:
        dice, profile = self._dice[_MARKET], self.profile
        instrument = dice.below(self.setup.instruments)
        self._mids[instrument] = max(1000, self._mids[instrument] + dice.below(21) - 10)
        mid = self._mids[instrument] + (dice.below(400) - 200 if dice.chance(60) else 0)
        where = {"venue": venue, "instrument": instrument}
        if dice.chance(40):
            yield {"do": dice.one("clear", "trade"), **where, "px": mid, "qty": 100}
            return
        bid, ask = mid - 1 - dice.below(12), mid + 1 + dice.below(12)
        if dice.chance(10):
            bid, ask = ask, bid
        sizes = {"bid_qty": 100 * dice.below(6), "ask_qty": 100 * dice.below(6)}
        way = "now"
        if dice.chance(profile.feed_lost):
            way = "lost"
        elif dice.chance(profile.feed_late):
            way = "late"
        elif dice.chance(profile.feed_twice):
            way = "twice"
        yield {"do": "quote", **where, "bid_px": bid, "ask_px": ask, **sizes, "way": way}
        if way in ("late", "twice"):
            k = {"k": dice.below(1000)} if dice.chance(300) else {}
            self._at(self._now + dice.wait_ns(20 * MS), lambda: iter([{"do": "feed", "venue": venue, **k}]))

    def _publisher(self) -> Iterator[Event]:
        yield {"do": "publisher", "venue": self._dice[_MARKET].below(self.setup.venues)}

    def _halt(self) -> Iterator[Event]:
        dice = self._dice[_MARKET]
        where = {"venue": dice.below(self.setup.venues), "instrument": dice.below(self.setup.instruments)}
        yield {"do": "halt", **where}
        self._at(self._now + dice.wait_ns(60 * MS), lambda: iter([{"do": "open", **where}]))

    # ---- clients

    def _ask(self) -> Iterator[Event]:
        dice = self._dice[_CLIENTS]
        client = dice.below(CLIENTS)
        what = dice.one(*_ASKS)
        if what == "mass" and not dice.chance(100):
            what = "new"
        event: Event = {"do": "ask", "client": client, "what": what}
        if what == "new":
            self._cls[client] += 1
            event["cl"] = f"{'ab'[client]}{self._cls[client]}"
            event.update(side=dice.one(*_SIDES), tif=dice.one(*_TIFS), instrument=dice.below(self.setup.instruments))
            if client == 0 and dice.chance(300):
                event["account"] = 1
        elif what != "mass":
            event["cl"] = f"{'ab'[client]}{max(self._cls[client] - dice.below(4), 1)}"
        if what in ("new", "replace"):
            event["qty"] = 100 * (1 + dice.below(12)) if not dice.chance(30) else 6000
            mid = self._mids[event.get("instrument", 0)]
            event["px"] = 0 if dice.chance(150) else mid + dice.below(61) - 30
        yield event

    # ---- venues

    def _work(self) -> Iterator[Event]:
        dice, profile = self._dice[_VENUES], self.profile
        session = CLIENTS + dice.below(self.setup.gateways)
        event: Event = {"do": "work", "session": session, "n": dice.below(1000), "what": dice.one(*_WORK)}
        for name in _RARE:
            if dice.chance(getattr(profile, name)):
                event["what"] = name
        if event["what"] == "stray":
            event["template"] = int(dice.one(Template.FILL, Template.ACK, Template.REJECT, Template.CANCEL_REJECT))
        event["fill"] = dice.below(1001)
        yield event

    # ---- the machine

    def _skew(self) -> Iterator[Event]:
        dice = self._dice[_MACHINE]
        off_ns = dice.one(-1, 1) * dice.wait_ns(dice.one(1, 100, 1_200_000) * MS)
        yield {"do": "skew", "session": dice.below(self.setup.sessions), "ns": dice.one(0, off_ns)}

    def _clock(self) -> Iterator[Event]:
        dice = self._dice[_MACHINE]
        yield {"do": "clock", "ns": dice.one(-1, 1) * dice.wait_ns(dice.one(1, 100, 3_600_000) * MS)}

    def _stall(self) -> Iterator[Event]:
        dice = self._dice[_MACHINE]
        yield {"do": "stall", "ns": min(MS + dice.wait_ns(dice.one(1, 30, 1000, 20_000) * MS), 60_000 * MS)}

    def _die(self) -> Iterator[Event]:
        dice = self._dice[_MACHINE]
        if dice.chance(250):
            yield {"do": "die", "now": 1}
        else:
            yield {"do": "die", "frames": dice.below(6), "torn": dice.below(170), "sent": dice.below(3)}
        restart: Event = {"do": "restart"}
        if dice.chance(500):
            restart["pages"] = sorted({dice.below(6) for _ in range(dice.below(3))})
            restart["sectors"] = sorted({dice.below(24) for _ in range(dice.below(4))})
            restart["stale"] = dice.below(2)
        if dice.chance(300):
            restart["flips"] = [dice.word() for _ in range(1 + dice.below(3))]
        if dice.chance(200):
            restart["snap"] = dice.word()
        at = self._now + 20 * MS + dice.wait_ns(20 * MS)
        self._at(at, lambda: self._restart(restart))

    def _fail(self) -> Iterator[Event]:
        """The disk fails; an operator starts the engine again, and lifts the kill flag sooner or later."""
        dice = self._dice[_MACHINE]
        yield {"do": "eio"}
        at = self._now + 20 * MS + dice.wait_ns(20 * MS)
        self._at(at, lambda: self._restart({"do": "restart"}))
        self._at(at + dice.wait_ns(60 * MS), lambda: iter([{"do": "control", "what": "live"}]))

    def _restart(self, event: Event) -> Iterator[Event]:
        dice = self._dice[_MACHINE]
        yield event
        for session in range(self.setup.sessions):
            at = self._now + dice.wait_ns(10 * MS)
            self._at(at, partial(_hello, session))

    def _full(self) -> Iterator[Event]:
        told = self._dice[_MACHINE].below(2)
        yield {"do": "disk", "full": 1, "told": told}
        at = self._now + self._dice[_MACHINE].wait_ns(30 * MS)
        self._at(at, lambda: iter([{"do": "disk", "full": 0, "told": told}]))

    def _control(self) -> Iterator[Event]:
        yield {"do": "control", "what": "kill"}
        at = self._now + self._dice[_MACHINE].wait_ns(50 * MS)
        self._at(at, lambda: iter([{"do": "control", "what": "live"}]))
