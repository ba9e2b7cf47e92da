"""A running engine: makes or recovers a run, rehearses, starts the loop's thread, and stops it in order.

    RUN_DIR/journal/      the journal; its first frame is the manifest
    RUN_DIR/stats         the shared stats file (`tickroute status` reads it)
    RUN_DIR/control.sock  commands from people (see control_server); RUN_DIR/control.log what they asked
    RUN_DIR/control.ring  commands into the loop; RUN_DIR/answers.ring what it says to them
    RUN_DIR/latency.hlog  histograms by interval and stage, written by the main thread
    RUN_DIR/*.hgrm        percentile distribution a stage, at the end
    RUN_DIR/halted.txt    why the engine stopped itself, where it did
    RUN_DIR/lock          held for as long as the engine lives: one engine a run
    RUN_DIR/snapshots/    the state now and then, written by a process of its own (see follow)
    RUN_DIR/follow.log    what that process says
    RUN_DIR/lives/N/      stats and histograms of the run's life N, where it has had more than one

The main thread keeps out of the loop's memory: it sets the stop flag with an atomic store, pushes control records into
the ring, and reads the stats file like any onlooker. The control server is a thread of its
own. Everything is compiled, loaded and rehearsed before the loop starts.

Worst case: `stop` waits at most GRACE_S for live children to end; what is left live then is said and stays on the
journal.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from engine.errors import TickrouteError
from engine.io import histogram
from engine.io.atomics import monotonic_ns, realtime_ns, store_release
from engine.io.journal_birth import set_unborn_aside
from engine.io.journal_sync import Syncer
from engine.io.journal_writer import JournalWriter
from engine.io.run_lock import RunLock
from engine.io.stats_file import StatsWriter
from engine.record.records import ControlAction, Reason
from engine.run import manifest, positions
from engine.run.assemble import assemble, calibrate_tsc, plain_figures
from engine.run.backlog import Backlog
from engine.run.beside import Beside
from engine.run.bind import bind
from engine.run.config import Config
from engine.run.control import ControlRing, control_record, mass_cancel_record
from engine.run.control_server import ControlServer
from engine.run.disk_watch import AGAIN_S, DiskWatch
from engine.run.halt import Halt, halt, write_text
from engine.run.host import tuning
from engine.run.life import Life, first_life
from engine.run.links import Links
from engine.run.mirror import Mirror
from engine.run.publish import PUBLISHED, SPACING, publish
from engine.run.recover import Progress, Recovery, go_on, has_run, keep_life, recover, resume
from engine.run.reference import build_state, trading_day
from engine.run.rehearse import rehearse
from engine.run.shadow import check
from engine.run.wiring import FLAG_HALT, FLAG_STOP, PROGRESS, STAGES

#: How long a stop waits for live children.
GRACE_S = 2.0
#: Between two intervals of latency.hlog.
INTERVAL_S = 1.0


class EngineError(TickrouteError):
    """The engine cannot start; the message names what is in the way and the remedy."""


class Engine:
    """One engine over one run directory. `start`, then `poll` now and then, then `stop`."""

    def __init__(
        self,
        config: Config,
        *,
        halted: bool = False,
        use_snapshots: bool = True,
        progress: Progress | None = None,
    ) -> None:
        """Make the run directory or recover the run that is in it, open links, compile and rehearse.

        Nothing is sent or received yet. `halted` goes on with a run that had stopped itself; `use_snapshots=False`
        drives the whole journal; `progress` is called with (segment, offset) of it while a run is recovered.
        """
        check(config)
        self.config = config
        self.run_dir = Path(config.engine.run_dir)
        self._cores = os.sched_getaffinity(0)
        #: The run as it was found; None where this process began it.
        self.recovery: Recovery | None = None
        with ExitStack() as stack:
            stack.callback(os.sched_setaffinity, 0, self._cores)
            self._lock = stack.enter_context(self._lock_run_dir())
            _leave(config.engine.core)
            set_unborn_aside(self.run_dir)
            if has_run(self.run_dir):
                self.recovery = recover(config, halted=halted, use_snapshots=use_snapshots, progress=progress)
            self._open(stack)
            self._closing = stack.pop_all()

    def _open(self, stack: ExitStack) -> None:
        config = self.config
        self.bound = self.recovery.start.rerun.bound if self.recovery else bind(config.routing.strategy)
        tsc_mul = calibrate_tsc()
        self.rehearsed = rehearse(config, self.bound, tsc_mul)
        openings = self._openings()
        self.beside = Beside(config, self.run_dir)
        stack.callback(self.beside.close)  # before the journal is opened: it is closed after that
        self.life = self._begin(stack)
        self.syncer = Syncer(self.run_dir, self.journal.table) if config.journal.durability == "disk" else None
        if self.syncer is not None:
            stack.callback(self.syncer.stop)
            self.syncer.start()
        self.links = Links(config, self.run_dir)
        stack.callback(self.links.close)
        figures = plain_figures()
        self._published, self._hist = figures.published, figures.hist.reshape(len(STAGES), -1)
        self._mirror = Mirror(figures, self.stats)
        stack.callback(self._mirror.stop)
        self.loop = assemble(
            config,
            self.recovery.state if self.recovery else self.manifest.initial_state(),
            self.journal.table,
            stream_epoch=self.manifest.stream_epoch,
            clock_offset_ns=self.life.clock_offset_ns,
            tsc_mul=tsc_mul,
            links=self.links.rows,
            figures=figures,
            sync=self.syncer.table if self.syncer is not None else None,
        )
        line = self.loop.wiring.line[0]
        line.router = self.links.router
        line.first_session = self.links.first_session
        self.backlog = Backlog(self.run_dir, self.loop.wiring)
        stack.callback(self.backlog.stop)
        if self.recovery is not None:
            go_on(self.recovery, self.life, self.loop, self.bound.pump)
        self._enter(openings)
        self._control = ControlRing(self.run_dir)
        stack.callback(self._control.close)
        self.server = ControlServer(
            config, self.run_dir, self._control, lambda: self.gauge("clock_ns"), run_id=self.journal.run_id.hex()
        )
        stack.callback(self.server.stop)
        self._disk = DiskWatch(self.journal, self.syncer, config.journal.min_free_mib)
        self._killed_s = 0.0
        self._halting: tuple[Reason, str] | None = None
        self._thread: threading.Thread | None = None
        #: How the engine stopped itself; None where it did not.
        self.halted: Halt | None = None
        self._offset_ns = realtime_ns() - monotonic_ns()
        self._interval_ns = self._time_ns()
        self._hlog = histogram.IntervalLog(self.run_dir / "latency.hlog", self._interval_ns)
        self._last = np.zeros_like(self._hist)
        self.pinned = False

    def _openings(self) -> list[positions.Opening]:
        """The positions to open with, of a run that has not had an order yet."""
        if self.recovery is not None:
            state = self.recovery.state
            return positions.read(self.config, state) if state.core[0].next_parent == 1 else []
        return positions.read(self.config, build_state(self.config, trading_day(self.config), 1))

    def _enter(self, openings: list[positions.Opening]) -> None:
        """Take the opening positions in, at the time that it is."""
        line = self.loop.wiring.line[0]
        if self.config.engine.clock == "monotonic":
            line.clock_ns = max(int(line.clock_ns), monotonic_ns() + self.life.clock_offset_ns)
        positions.enter(openings, self.loop, self.bound.pump)

    def _begin(self, stack: ExitStack) -> Life:
        """Make stats file and journal, or take the journal up again; returns the life that begins."""
        if self.recovery is not None:
            keep_life(self.run_dir, self.recovery.life.number)
        self.stats = StatsWriter(
            self.run_dir / "stats", {name: name.replace("_", " ") for name in PUBLISHED}, {"progress": PROGRESS}, STAGES
        )
        stack.callback(self.stats.close)
        synced = self.config.journal.durability == "disk"
        if self.recovery is not None:
            self.manifest = self.recovery.manifest
            self.journal, life = resume(self.recovery, self.run_dir, self._lock, synced=synced)
        else:
            offset = 0 if self.config.engine.clock == "feed" else realtime_ns() - monotonic_ns()
            host = tuning(self.config.engine.core)
            self.manifest = manifest.make(self.config, int(time.time()), offset, host=host)
            text = manifest.to_bytes(self.manifest)
            size = self.config.journal.segment_mib << 20
            self.journal = JournalWriter(self.run_dir, size, text, lock=self._lock, synced=synced)
            life = first_life(self.manifest)
        stack.callback(self.journal.close)
        return life

    def _lock_run_dir(self) -> RunLock:
        try:
            return RunLock(self.run_dir)
        except OSError as error:
            raise EngineError(
                f"engine.run_dir = {str(self.run_dir)!r}: {error.strerror}; name one that can be made"
            ) from error

    def start(self) -> None:
        """Start the loop's thread, on its core where one is configured."""
        self.backlog.start()
        self._mirror.start()
        gc.collect()
        gc.freeze()
        self._thread = threading.Thread(target=self._run, name="tickroute-loop", daemon=True)
        self._thread.start()
        self.server.start()

    def _run(self) -> None:
        if self.config.engine.core >= 0:
            # 0 is the calling thread: only the loop moves to its core.
            os.sched_setaffinity(0, {self.config.engine.core})
            self.pinned = True
        try:
            self.bound.loop.run_loop(*self.loop)
        except Exception as error:  # noqa: BLE001  whatever the core raised, what lives is cancelled
            self._halt(Reason.BROKEN_INVARIANT, error)
        if self._halting is not None and self.halted is None:
            self._halt(*self._halting)

    def _halt(self, reason: Reason, error: BaseException | str) -> None:
        self.halted = halt(self.loop, self.bound.pump, reason, error)
        write_text(self.run_dir, self.halted, error)

    @property
    def running(self) -> bool:
        """Whether the loop's thread is alive."""
        return self._thread is not None and self._thread.is_alive()

    def poll(self) -> None:
        """Main thread, a few times a second: heartbeat, control thread, disk, interval log, follower."""
        self.stats.beat(monotonic_ns())
        self.server.revive()
        self._watch_disk()
        with contextlib.suppress(OSError):  # a full disk costs what they write, not the engine
            self.beside.poll()
            now = self._time_ns()
            if now - self._interval_ns >= INTERVAL_S * 1e9:
                self._log_interval(now)

    def _watch_disk(self) -> None:
        """Set the kill flag where the disk is full, and halt where it is broken."""
        found = self._disk.look()
        if found is None or not self.running:
            return
        if found.halt:
            self._halting = self._halting or (found.reason, found.why)
            store_release(self.loop.wiring.flags.ctypes.data + FLAG_STOP, FLAG_HALT)
        elif self.gauge("killed") == 0 and time.monotonic() - self._killed_s > AGAIN_S:
            self._killed_s = time.monotonic()
            self.control(control_record(ControlAction.KILL_ON, value=found.reason))

    def _time_ns(self) -> int:
        """The time of day as it would be had nobody set the clock since the start: intervals are measured by it."""
        return monotonic_ns() + self._offset_ns

    def _log_interval(self, now: int) -> None:
        """Append what was measured since the last interval, a line a stage."""
        counts = self._hist.copy()
        for n, stage in enumerate(STAGES):
            if counts[n].sum() > self._last[n].sum():
                self._hlog.write(stage, counts[n] - self._last[n], self._interval_ns, now)
        self._last = counts
        self._interval_ns = now

    def cancel_all(self) -> None:
        """Push a mass cancel of everything into the loop."""
        self.control(mass_cancel_record())

    def control(self, record: np.ndarray) -> None:
        """Push one control record (a 1-element array) into the loop; ControlError where that cannot be."""
        self._control.push(record)

    def gauge(self, name: str) -> int:
        """A published figure now."""
        return int(self._published[SPACING * self.stats.counter_index[name]])

    def stop(self, *, cancel: bool = True) -> dict[str, int]:
        """Cancel what is live, wait for it a little, stop the loop, close all; returns the final figures."""
        if self.running and cancel and self.gauge("live_parents") > 0:
            self.cancel_all()
            until = time.monotonic() + GRACE_S
            while self.gauge("live_parents") > 0 and time.monotonic() < until and self.running:
                time.sleep(0.005)
        store_release(self.loop.wiring.flags.ctypes.data + FLAG_STOP, 1)
        if self._thread is not None:
            self._thread.join()
        final = self._final_figures()
        with contextlib.suppress(OSError):  # a full disk
            self._log_interval(self._time_ns())
            self._hlog.close()
            for n, stage in enumerate(STAGES):
                if self._hist[n].sum():
                    histogram.write_hgrm(self.run_dir / f"{stage}.hgrm", self._hist[n])
        self.journal.close(in_order=not self.loop.wiring.line[0].cut)
        self.close()
        return final

    def _final_figures(self) -> dict[str, int]:
        publish(self.loop.state, self.loop.wiring)
        return {name: self.gauge(name) for name in PUBLISHED}

    def close(self) -> None:
        """Give everything back, this thread's cores among it. The loop must not be running."""
        self._closing.close()


def _leave(core: int) -> None:
    """Move this thread, and with it every helper that it starts, off the loop's core, where there is another."""
    others = os.sched_getaffinity(0) - {core}
    if core >= 0 and others:
        os.sched_setaffinity(0, others)
