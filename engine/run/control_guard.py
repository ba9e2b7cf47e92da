"""What stands before each command: rates, repetitions, counts, and the log of all that was asked and refused.

    RUN_DIR/control.log   a JSON object a line, chained (`engine.io.chained`), for its owner alone: when, who (as the
                          kernel or the key says), what, and what came of it

Everything is bounded: so many commands a second from one peer, so many remembered ids, so many lines of refusals a
second; what is beyond is refused or left out of the log, and counted in both cases. What stops trading has a rate of
its own: nothing else that somebody sends uses it up.

Worst case: a disk that is full costs lines of the log, not commands; the next line says how many.
"""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.io.chained import ChainedLog
from engine.run.control_people import Peer
from engine.run.control_wire import REPLAY_S, Request, Why

LOG: Final = "control.log"
#: What stops something.
URGENT: Final = frozenset({"halt", "cancel-all"})
#: Outcomes of which so many a second are logged, and at once; all others are commands, which have rates already.
_BOUNDED: Final = ("refused", "error", "dropped")
_LINES_A_S: Final = 50
_IDS: Final = 65_536
_PEERS: Final = 1024


class Refused(Exception):
    """A message that is not acted upon."""

    def __init__(self, why: Why, text: str) -> None:
        super().__init__(text)
        self.why, self.text = why, text


class Bucket:
    """So many a second, and as many at once."""

    def __init__(self, a_second: float) -> None:
        self._rate = self._left = float(a_second)
        self._at_s = time.monotonic()

    def take(self) -> bool:
        """Whether one more is within the rate."""
        now_s = time.monotonic()
        self._left = min(self._left + (now_s - self._at_s) * self._rate, self._rate)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Guard:
    """Rates and repetitions."""

    def __init__(self, commands_per_s: int) -> None:
        self._rate = commands_per_s
        self._buckets: OrderedDict[tuple[str, bool], Bucket] = OrderedDict()
        #: Ids of requests and when they came (monotonic): of those that are urgent, and of the others. They stay until
        #: room is needed: a clock that was set back makes no old request new.
        self._seen: dict[bool, OrderedDict[str, float]] = {True: OrderedDict(), False: OrderedDict()}
        self._began_s = time.monotonic()

    def within_rate(self, peer: Peer, *, urgent: bool = False) -> None:
        """Refused where a peer has sent too much; each has rates of its own, so that nobody uses up another's."""
        key = peer.key, urgent
        bucket = self._buckets.setdefault(key, Bucket(self._rate))
        self._buckets.move_to_end(key)
        if len(self._buckets) > _PEERS:
            self._buckets.popitem(last=False)
        if not bucket.take():
            raise Refused(Why.TOO_MANY, f"more than {self._rate} messages a second; wait a second")

    def first_time(self, request: Request) -> None:
        """Refused where a request was seen before, or is so old that it may have been.

        How long we have been here is no matter of the time of day: a clock that is set back keeps nobody from a halt.
        """
        now_s = time.monotonic()
        age_s = (time.time_ns() - request.sent_ns) / 1e9
        if abs(age_s) > REPLAY_S or age_s > now_s - self._began_s + 1:
            raise Refused(Why.REPLAYED, f"sent {age_s:.1f} s ago; {REPLAY_S} s is the most, and not before this server")
        seen = self._seen[request.command in URGENT]
        if request.id in seen:
            raise Refused(Why.REPLAYED, f"id {request.id} has been used")
        if len(seen) >= _IDS:
            if now_s - next(iter(seen.values())) < 2 * REPLAY_S:
                raise Refused(Why.TOO_MANY, f"more than {_IDS} requests in {2 * REPLAY_S} s")
            seen.popitem(last=False)
        seen[request.id] = now_s


class Log:
    """Appends lines to RUN_DIR/control.log, and counts what they say. OSError where there can be no such file."""

    def __init__(self, run_dir: Path, run_id: str) -> None:
        self._log = ChainedLog(run_dir / LOG, run_id, 0o600)
        self._bucket = Bucket(_LINES_A_S)
        #: How often each thing was said: "taken", and the reasons of refusals.
        self.counts: Counter[str] = Counter()
        self.left_out = 0

    def write(self, outcome: str, peer: Peer | None, text: str, request: Request | None = None, **more: Any) -> None:
        """One line."""
        self.counts[outcome] += 1
        if outcome.startswith(_BOUNDED) and not self._bucket.take():
            self.left_out += 1
            return
        line: dict[str, Any] = {
            "time": dt.datetime.now(dt.UTC).isoformat(timespec="microseconds"),
            "realtime_ns": time.time_ns(),
            "outcome": outcome,
            "count": self.counts[outcome],
            "sender": peer.key if peer is not None else "",
            "peer": peer.text if peer is not None else "",
            "person": peer.actor.name if peer is not None and peer.actor is not None else "",
            "text": text,
            **more,
        }
        if request is not None:
            line["request"] = msgspec.to_builtins(request)
        if self.left_out:
            line["lines_left_out"] = self.left_out
        try:
            self._log.append(line)
            self.left_out = 0
        except OSError:
            self.left_out += 1

    def close(self) -> None:
        """Close the file."""
        self._log.close()
