"""The follower as a child of the engine's process: started when the first snapshot is due, and again where it died.

It is niced, has the cores of the main thread (not the loop's), and writes what it says to RUN_DIR/follow.log. The
engine never waits for it while it runs: a follower that cannot go on costs snapshots and nothing else.

Worst case: `close` waits LAST_S for a last snapshot. A follower that was killed leaves a draft, which the next removes.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from engine.jit import ROOT
from engine.run.config import Config

#: How long a stop waits for the last snapshot.
LAST_S: Final = 5.0
_NICE: Final = 10


class Beside:
    """The follower of one run. `poll` it from the main thread; `close` it when the journal is closed."""

    def __init__(self, config: Config, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._every_s = config.snapshots.every_s
        self._arguments = [
            *("--every", str(self._every_s)),
            *("--keep", str(config.snapshots.keep)),
            *("--keep-mib", str(config.retention.mib)),
            *("--keep-hours", str(config.retention.hours)),
            *("--parent", str(os.getpid())),
        ]
        self._due_s = time.monotonic() + self._every_s if self._every_s else float("inf")
        #: Its process, once there is one.
        self.process: subprocess.Popen[bytes] | None = None

    def poll(self) -> None:
        """Start it where that is due."""
        now_s = time.monotonic()
        if now_s < self._due_s:
            return
        self._due_s = now_s + self._every_s
        if self.process is None or self.process.poll() is not None:
            self._start()

    def _start(self) -> None:
        command = [sys.executable, "-m", "engine.run.follow", str(self._run_dir.resolve()), *self._arguments]
        with contextlib.suppress(OSError), (self._run_dir / "follow.log").open("ab") as log:  # no memory, no disk
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])},
                start_new_session=True,
            )
            os.setpriority(os.PRIO_PROCESS, self.process.pid, _NICE)

    def close(self) -> None:
        """Give it the time for a last snapshot, then end it."""
        if self.process is None:
            return
        try:
            self.process.wait(LAST_S)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(LAST_S)
        self._due_s = float("inf")
