"""A loop without sockets for `core` and `steady`: bound, rehearsed, over a real journal in a folder that is removed.

`opened` makes it, `Bench.play` feeds it. The journal's helpers stay on the other cores than the one that the caller
has. TMPDIR decides on which disk the journal lies. `settle` waits until the journal's two next segments are prepared,
so that a chunk that fits into one is not measured waiting for a disk.

Worst case: the disk is so slow that the journal's helper needs seconds a segment; `settle` gives up after PATIENCE_S.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from engine.errors import TickrouteError
from engine.io.atomics import load_acquire, tsc
from engine.io.journal import READY
from engine.io.journal_sync import Syncer
from engine.io.journal_writer import JournalWriter
from engine.jit import CACHE_DIR
from engine.record.records import DTYPES, Template
from engine.run import manifest
from engine.run.assemble import Loop, assemble, calibrate_tsc, nowhere
from engine.run.bind import Bound, bind
from engine.run.config import Config
from engine.run.inbox import drop_local, free_slot, put
from engine.run.rehearse import rehearse
from engine.run.wiring import STAGES
from gateways.feeds.names import Names
from gateways.feeds.recording import Recording
from perf import desk, rig
from replay.written import write_out

PATIENCE_S = 60.0
#: Files of ours with kernels that a driver calls.
_CALLEES = ("rig", "unjournaled")
#: A client's order after this many records of the day.
ORDER_EVERY = 200


class BenchError(TickrouteError):
    """A benchmark that could not be carried out; the message says why."""


class Bench:
    """An assembled loop and the rig that feeds it."""

    def __init__(self, config: Config, bound: Bound, driver: ModuleType, loop: Loop, journal: JournalWriter) -> None:
        self.config, self.bound, self.driver, self.loop, self.journal = config, bound, driver, loop, journal
        self.rig: rig.Rig | None = None

    def load(self, day: Recording, every: int = ORDER_EVERY) -> None:
        """Take up a day to play from its beginning."""
        self.rig = rig.make(self.loop, day, len(self.config.session), every)
        for session in range(len(self.config.session)):
            self._hello(session)
        row = self.rig.line[0]
        row.client_seq = row.venue_seq = 1

    def _hello(self, session: int) -> None:
        state, events, outbox, w = self.loop
        i = free_slot(w)
        put(events, w, i, int(Template.SESSION_UP), DTYPES[Template.SESSION_UP].itemsize)
        record = events.session[i]
        record.stream_id, record.session_id = session, session
        record.stream_epoch, record.stream_seq = 1, 1
        w.links[session].up = 1
        self.bound.pump.pump(state, events, i, outbox, w, tsc())
        drop_local(w)

    def play(self, records: int) -> int:
        """Feed that many records of the day at full speed; returns the events that were pumped."""
        assert self.rig is not None, "load a day first"
        return int(self.driver.play(*self.loop, self.rig, records))

    def pace(self, records: int, interval_ns: int) -> int:
        """Feed that many records of the day, one every `interval_ns`; returns the events that were pumped."""
        assert self.rig is not None, "load a day first"
        return int(self.driver.pace(*self.loop, self.rig, records, interval_ns))

    def settle(self) -> None:
        """Wait until the journal has its two next segments; BenchError where it does not get them."""
        address = int(self.journal.table.ctypes.data) + READY
        until = time.monotonic() + PATIENCE_S
        while not (load_acquire(address) and load_acquire(address + 8)):
            if time.monotonic() > until:
                why = f"errno {self.journal.error}" if self.journal.error else "the disk is too slow"
                raise BenchError(f"{self.journal.run_dir}: no journal segment in {PATIENCE_S:g} s ({why})")
            time.sleep(0.001)

    def check(self) -> None:
        """BenchError where the input was not taken as it should be: figures of refusals are figures of nothing."""
        state = self.loop.state
        if int(state.refusals.sum()) or int(state.core[0].unknown_children):
            found = {n: int(count) for n, count in enumerate(state.refusals) if count}
            raise BenchError(f"the engine refused records of the benchmark (reason: count) {found}: a bug in perf/")


@contextlib.contextmanager
def opened(
    core: int, segment_mib: int = 64, *, journaled: bool = True, synced: bool = False, controls: str = desk.CONTROLS
) -> Iterator[Bench]:
    """A Bench in a temporary folder; inside, the calling thread has `core` for itself (-1: any).

    `journaled=False`: it plays without journaling, see `bind_driver`. `synced`: with durability `disk`. `controls`:
    the rules of the risk gate, as they stand in the file.
    """
    allowed = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory(prefix="tickroute-perf-") as folder:
        path = desk.write(Path(folder), segment_mib=segment_mib, controls=controls)
        config = desk.read(path)
        bound = bind(config.routing.strategy)
        driver = bind_driver(config.routing.strategy, journaled=journaled)
        tsc_mul = calibrate_tsc()
        rehearse(config, bound, tsc_mul)
        others = allowed - {core}
        if core >= 0 and others:
            os.sched_setaffinity(0, others)
        first = manifest.make(config, 1, 0)
        run_dir = Path(config.engine.run_dir)
        journal = JournalWriter(run_dir, segment_mib << 20, manifest.to_bytes(first), synced=synced)
        syncer = Syncer(run_dir, journal.table) if synced else None
        try:
            if syncer is not None:
                syncer.start()
            if core >= 0:
                os.sched_setaffinity(0, {core})
            links = rig.links_for(config, nowhere(config))
            loop = assemble(
                config,
                first.initial_state(),
                journal.table,
                stream_epoch=1,
                clock_offset_ns=0,
                tsc_mul=tsc_mul,
                links=links,
                sync=syncer.table if syncer is not None else None,
            )
            yield Bench(config, bound, driver, loop, journal)
        finally:
            os.sched_setaffinity(0, allowed)
            if syncer is not None:
                syncer.stop()
            journal.close()


def bind_driver(strategy: str, name: str = "drive", *, journaled: bool = True) -> ModuleType:
    """Module `perf.NAME` with the loop's functions in it being those that `strategy` is bound into.

    It is written out and compiled once for each text of it; the strategy must have been bound. Without a journal, the
    loop's own files are written out once more, with `perf.unjournaled` in the place of the journal.
    """
    package = "bound_" + strategy.replace(".", "_")
    modules = {part: f"{package}.{part}" for part in ("loop", "pump", "turn")}
    if not journaled:
        for part in ("pump", "loop"):
            text = Path(str(importlib.import_module(f"{package}.{part}").__file__)).read_text(encoding="utf-8")
            text = text.replace("from engine.run.journaling import", "from perf.unjournaled import")
            text = text.replace(f"from {package}.pump import", f"from {modules['pump']} import")
            modules[part] = _written(part, text)
    text = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    text = text.replace("from engine.workflow.null_tables import", f"from {package}.tables import")
    for part, module in modules.items():
        text = text.replace(f"from engine.run.{part} import", f"from {module} import")
    return importlib.import_module(_written(name, text))


def _written(name: str, text: str) -> str:
    """Write a module among the compiled kernels; its name, which differs with each text."""
    callees = [Path(__file__).with_name(f"{part}.py") for part in _CALLEES]
    return write_out(CACHE_DIR, f"perf_{name}", text, callees)


def days(config: Config, short: bool) -> list[tuple[str, Recording]]:
    """The days to play, by name: the captured one where it is here, and the synthetic one."""
    names = Names.of(config)
    found: list[tuple[str, Recording]] = []
    captured = None if short else desk.captured_day(names)
    if captured is not None:
        found.append(("captured", captured))
    found.append(("synthetic", desk.synthetic_day(names, *((4_000, 1_000) if short else ()))))
    return found


def stages(loop: Loop) -> np.ndarray[Any, Any]:
    """The loop's histograms, a row a stage."""
    hist: np.ndarray[Any, Any] = loop.wiring.hist.reshape(len(STAGES), -1)
    return hist
