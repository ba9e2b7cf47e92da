"""An engine as a process, with a feed, a venue session and a client that are plain peers in the test's own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import zmq

from engine.core.state import State
from engine.io.stats_file import StatsReader
from engine.record import records as r
from engine.run.config import load
from tests.faults.kills import Hatchery, alive, desk_toml, make_sockets
from tests.run.engine_peers import Feed, Peer
from tests.run.lives import rerun

T = r.Template
#: A busy machine is no failure.
WAIT_S = 60.0


class Bench:
    """One engine of the demonstration's configuration, on the monotonic clock. `start` it."""

    def __init__(
        self,
        folder: Path,
        hatchery: Hatchery,
        changes: Sequence[tuple[str, str]] = (),
        *,
        feed: bool = True,
        spoil: tuple[str, str] | None = None,
    ) -> None:
        """`spoil`: (module, function) that fails with EIO in the engine once the file `broken` is there."""
        folder.mkdir()
        self.broken = folder / "broken"
        self._spoil = (*spoil, str(self.broken)) if spoil else None
        self.folder, self.run_dir, self.hatchery = folder, folder / "run", hatchery
        self.processes = make_sockets()
        self.toml = desk_toml(folder, self.processes.sockets, 7)
        text = self.toml.read_text(encoding="utf-8")
        # Tests send what is alike within milliseconds.
        for old, new in (("duplicate_ms = 10\n", 'duplicate_ms = "off"\n'), *changes):
            assert old in text, old
            text = text.replace(old, new)
        self.toml.write_text(text, encoding="utf-8")
        self.config = load(self.toml)
        self.context = zmq.Context()
        self.pid = self.lives = 0
        self.peers: list[Peer] = []
        self.feed: Feed | None = None
        self.seen: dict[int, list[Any]] = {}
        self._reader: StatsReader | None = None
        #: What its lives are forked with beside that (see hatchery.Wish), and options of their command.
        self.wishes: dict[str, Any] = {}
        self.options: tuple[str, ...] = ()
        self._feeds = feed

    def start(self, *, peers: bool = True) -> None:
        """Fork the engine; with `peers`, wait until feed, client (session 0) and venue (session 1) are heard."""
        self.fork()
        if self._feeds and self.feed is None:
            self.feed = Feed(self.config, self.context, wait_s=WAIT_S)
        if peers and not self.peers:
            self.peers = [Peer(self.config, n, self.context) for n in (0, 1)]
            self.wait(lambda: self.gauge("sessions_up") == 2)

    def fork(self) -> int:
        """Another engine on this run directory, dead or alive the one before."""
        self.lives += 1
        told = self.folder / f"engine-{self.lives}.json"
        command = ("run", str(self.toml), "--json", str(told), *self.options)
        self.pid = self.hatchery.fork(*command, log=self._log(), spoil=self._spoil, **self.wishes)
        self._forget()
        return self.pid

    def _log(self) -> Path:
        return self.folder / f"engine-{self.lives}.log"

    def said(self) -> str:
        return self._log().read_text(encoding="utf-8") if self._log().exists() else ""

    @property
    def client(self) -> Peer:
        return self.peers[0]

    @property
    def venue(self) -> Peer:
        return self.peers[1]

    def _forget(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def gauge(self, name: str) -> int:
        """A figure of the engine's stats file; 0 where it has none yet."""
        if self._reader is None:
            with contextlib.suppress(Exception):
                self._reader = StatsReader(self.run_dir / "stats")
                if self._reader.pid != self.pid:
                    self._forget()
        return int(self._reader.counters()[name]) if self._reader is not None else 0

    def wait(self, done: Callable[[], Any], seconds: float = WAIT_S, silent: Sequence[int] = ()) -> Any:
        """Wait until `done()` is something, with the hearts of all peers but those of sessions `silent` beating."""
        until_s = time.monotonic() + seconds
        while True:
            for peer in self.peers:
                if peer.session not in silent:
                    peer.beat()
            if found := done():
                return found
            assert time.monotonic() < until_s, f"it did not happen in time:\n{self.said()}"
            time.sleep(0.001)

    def pause(self, seconds: float, silent: Sequence[int] = ()) -> None:
        until_s = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() > until_s, silent=silent)

    def take(self, peer: Peer, template: T, count: int = 1) -> list[Any]:
        """Wait until a peer has had `count` records of a kind; returns these and forgets them."""
        seen = self.seen.setdefault(peer.session, [])

        def there() -> list[Any]:
            seen.extend(peer.got())
            found = [record for record in seen if record.template_id == template]
            return found if len(found) >= count else []

        found: list[Any] = self.wait(there)
        self.seen[peer.session] = [record for record in seen if record.template_id != template]
        return found

    def quote(self, venue: int = 0, bid: int = 1_569_900, ask: int = 1_570_000, qty: int = 300) -> None:
        assert self.feed is not None
        before = self.gauge("quotes")
        self.feed.quote(venue, bid, ask, qty)
        self.wait(lambda: self.gauge("quotes") > before)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def alive(self) -> bool:
        return alive(self.pid)

    def gone(self) -> None:
        """Wait for the engine's end."""
        self.wait(lambda: not alive(self.pid))

    def stop(self) -> dict[str, int]:
        """SIGTERM, its end, and its last figures."""
        self.signal(signal.SIGTERM)
        self.gone()
        told = self.folder / f"engine-{self.lives}.json"
        assert told.exists(), self.said()
        figures: dict[str, int] = json.loads(told.read_text(encoding="utf-8"))["figures"]
        return figures

    def state(self) -> State:
        """The state at the end of the journal, every output compared."""
        return rerun(self.run_dir)

    def close(self) -> None:
        if self.pid and alive(self.pid):
            self.signal(signal.SIGKILL)
            self.gone()
        self._forget()
        for peer in self.peers:
            peer.close()
        if self.feed is not None:
            self.feed.close()
        self.context.term()
        self.processes.__exit__(None)
