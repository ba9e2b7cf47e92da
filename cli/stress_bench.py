"""The processes of a stress test: an engine of its own, `tickroute run`; feed, clients and venues are in this one.

The engine runs the configuration that is tested (`replay.stress.settings`), with a journal in a folder of its own, no
snapshots, no process beside it, and sockets of its own; so nothing reaches a production endpoint. One engine takes
every rate, each in a stream epoch of its own, by which the journal tells them apart. Clients and simulated venues are
threads, nopython between short slices, where there are orders to play.

Worst case: player, clients, venues and engine share what cores there are; where the player or the clients are late by
themselves, or the venues behind, the result says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from cli.demo_processes import DemoError, Processes
from engine.io.stats_file import StatsError, StatsReader
from engine.run.config import Config
from gateways.feeds.player import Player, PlayReport
from gateways.feeds.player import Progress as Played
from gateways.feeds.recording import Recording
from gateways.venues.simulated import SimulatedVenues
from replay.stress import judge
from replay.stress.desk import Desk
from replay.stress.requests import Load, cancel_all
from replay.stress.settings import as_toml, settings_of

#: The engine may have to compile first.
_READY_S: Final = 1800.0
#: Clients and venues of an engine that runs.
_UP_S: Final = 60.0
#: Between two rates, for what lives to be cancelled.
_SETTLE_S: Final = 3.0
_NAME: Final = "engine"
_TOTAL: Final = "total"


class Turn(NamedTuple):
    """One rate, to be played once: the day, the requests beside it, and when its first record that counts is due."""

    times: float
    tries: int
    day: Recording
    load: Load
    begin_ns: int
    #: How long it is planned to take: the interval's length by the rate, so often as it is played.
    planned_ns: int


class Venues:
    """The simulated venues of a configuration, in a thread until `close`."""

    def __init__(self, config: Config) -> None:
        self._venues = SimulatedVenues(config, idle="park")
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="stress-venues", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._venues.run()
        except BaseException as error:  # noqa: BLE001  told by `check`
            self._error = error

    @property
    def up(self) -> bool:
        """Whether the engine has answered."""
        return self._venues.up

    @property
    def feed_messages(self) -> int:
        """Messages of the feed that they have taken."""
        return int(self._venues.desk.desk["feed_messages"][0])

    def check(self) -> None:
        """DemoError where the thread has ended by an error."""
        if self._error is not None:
            raise DemoError(f"the simulated venues of the test ended: {self._error!r}") from self._error

    def close(self) -> None:
        """Say goodbye and hang up."""
        self._venues.stop()
        self._thread.join()
        self._venues.close()


class Bench:
    """An engine that waits for feeds, and with `orders` its clients and venues. Use as a context manager.

    `play` sends one day to it. DemoError where the engine does not come up, or dies.
    """

    def __init__(
        self, config: Config, folder: Path, *, core: int = -1, spin: bool = False, orders: bool = False
    ) -> None:
        self._processes = Processes(folder)
        self.run_dir, self._spin, self._orders = folder / "run", spin, orders
        self.config = settings_of(config, self.run_dir, self._processes.sockets, core)
        #: Sessions of clients, as the configuration numbers them.
        self.clients = [n for n, row in enumerate(config.session) if row.role == "client"]
        self._reader: StatsReader | None = None
        self._desk: Desk | None = None
        self._venues: Venues | None = None

    def __enter__(self) -> Bench:
        path = self._processes.out / "stress.toml"
        path.write_text(as_toml(self.config), encoding="utf-8")
        self._processes.start(_NAME, "run", str(path), "--no-watch", "--no-snapshots")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._processes.__exit__(None)

    def ready(self) -> None:
        """Wait until the engine runs, and with orders until clients and venues are connected."""
        until = time.monotonic() + _READY_S
        while time.monotonic() < until:
            self.check()
            if self._processes.ended(_NAME):
                break
            try:
                self._reader = StatsReader(self.run_dir / "stats")
            except StatsError:
                time.sleep(0.05)
                continue
            if self._reader.counters()["cycles"]:
                return self._dial_in()
            self._reader.close()
            time.sleep(0.05)
        raise DemoError(f"the engine did not come up within {_READY_S:g} s:\n{self._processes.said(_NAME)}")

    def _dial_in(self) -> None:
        if not self._orders:
            return
        config = self.config
        if config.venue:
            self._venues = Venues(config)
        self._desk = Desk(
            config.orders.endpoint,
            [config.session[n].name for n in self.clients],
            heartbeat_ms=config.engine.heartbeat_ms,
            peer_timeout_ms=config.engine.peer_timeout_ms,
        )
        if not self._until(lambda: self._all_up, _UP_S):
            raise DemoError(f"clients and venues of the test did not connect to the engine within {_UP_S:g} s")

    @property
    def _all_up(self) -> bool:
        return all(one is None or one.up for one in (self._desk, self._venues))

    def _until(self, done: Callable[[], bool], seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not done():
            if time.monotonic() > until:
                return False
            self.check()
            time.sleep(0.01)
        return True

    def check(self) -> None:
        """DemoError where a part of the test has died."""
        self._processes.check()
        for one in (self._desk, self._venues):
            if one is not None:
                one.check()

    def stop(self) -> None:
        """Close the engine's journal, and the engine; then clients and venues."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if _NAME in self._processes.names:
            self._processes.stop(_NAME)
        for one in (self._desk, self._venues):
            if one is not None:
                one.close()
        self._desk = self._venues = None

    def play(
        self,
        turn: Turn,
        offset_ns: int,
        tell: Callable[[Played], None],
        look: Callable[[judge.Played], judge.Taken],
    ) -> tuple[judge.Played, judge.Taken]:
        """Send a day, and what clients ask for, each at its time, and let `look` see what the engine takes in.

        `offset_ns`: the engine's clock less CLOCK_MONOTONIC.
        """
        assert self._reader is not None, "wait until it is ready"
        self._until(lambda: self._all_up, _UP_S)
        before = self._reader.histogram(_TOTAL)
        day, seen = turn.day, self._venues.feed_messages if self._venues is not None else 0
        load = turn.load._replace(sessions=np.searchsorted(self.clients, turn.load.sessions))
        numbers = self._desk.numbers if self._desk is not None else []
        subscribers = 1 + (self._venues is not None)
        with Player(
            day, [self.config.feed[0].endpoint], subscribers=subscribers, wait_s=60.0, tail_s=0.05, spin=self._spin,
            linger_s=0.0,
        ) as player:  # fmt: skip

            def origin() -> int:
                # Due times count from the begin of the interval, the player's from its first record.
                return player.origin_ns + turn.begin_ns - day.first_ns if player.origin_ns else 0

            if self._desk is not None:
                self._desk.play(load, origin, offset_ns)
            report = player.run(tell)
            if self._desk is not None:
                self._until(lambda: self._desk is None or self._desk.finished, _UP_S)
            behind = report.messages - (self._venues.feed_messages - seen) if self._venues else 0
            played = self._played(turn, player.origin_ns, report, numbers, behind)
            taken = look(played)
        self.check()
        return played._replace(service=self._reader.histogram(_TOTAL) - before), taken

    def _played(self, turn: Turn, origin_ns: int, report: PlayReport, numbers: list[int], behind: int) -> judge.Played:
        day, load = turn.day, turn.load
        counted = np.isin(day.data.view("<u2")[day.offsets[:-1] // 2 + 1], judge.COUNTED)
        late_ns, blocked = int(report.lag_max_s * 1e9), report.blocked
        if self._desk is not None:
            late_ns, blocked = max(late_ns, self._desk.sent.late_ns), blocked + self._desk.sent.blocked
        return judge.Played(
            times=turn.times,
            epoch=report.epoch,
            origin_ns=origin_ns,
            first_ns=day.first_ns,
            begin_ns=turn.begin_ns,
            records=int((counted & (day.times >= turn.begin_ns)).sum()) + len(load.rows),
            planned_ns=turn.planned_ns,
            blocked=blocked,
            blocked_s=report.blocked_s,
            sender_late_ns=late_ns,
            service=np.zeros(0, dtype=np.int64),
            tries=turn.tries,
            requests=len(load.rows),
            numbers=dict(zip(self.clients, numbers, strict=False)),
            desk_epoch=self._desk.epoch if self._desk is not None else 0,
            venues_behind=max(behind, 0),
        )

    def settle(self) -> None:
        """Have the clients cancel all that they have, and wait until it has ended, or a while."""
        if self._desk is None or self._reader is None:
            return
        desk, reader = self._desk, self._reader
        desk.play(cancel_all(range(len(self.clients))), time.monotonic_ns)
        self._until(lambda: desk.finished and not reader.counters()["live_parents"], _SETTLE_S)
