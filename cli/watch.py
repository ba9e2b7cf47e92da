"""The watch beside an engine: started by `tickroute run`, again where it dies, and given time at the end.

It is `python -m replay.watch.main`, a process in a session of its own, off the loop's core like this one, and says what
it has to say in RUN_DIR/watch.log. The engine never waits for it; only the end of the command does, a little.

Worst case: a watch that dies again and again is started again once in AGAIN_S; what it missed it then reads.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from engine.run.config import Config

#: Between two starts.
AGAIN_S: Final = 2.0
#: How long the end of a run waits for its last alerts.
_LAST_S: Final = 5.0


class Watching:
    """The watch of one run. `start`, then `poll` now and then, then `stop` when the journal is closed."""

    def __init__(self, config: Config) -> None:
        import msgspec

        from replay.watch.main import SETTINGS

        sections = msgspec.to_builtins(config)
        self._run_dir = Path(config.engine.run_dir).resolve()
        settings = json.dumps({name: sections[name] for name in SETTINGS}, separators=(",", ":"))
        self._command = [sys.executable, "-m", "replay.watch.main", str(self._run_dir), "--settings", settings]
        self._command += ["--parent", str(os.getpid())]
        self._process: subprocess.Popen[bytes] | None = None
        self._began_s = 0.0

    def start(self) -> None:
        """Start it. Without memory or disk for a process there is none, and the engine goes on."""
        from engine.jit import ROOT

        self._began_s = time.monotonic()
        path = os.pathsep.join([str(ROOT), *sys.path[1:]])
        with contextlib.suppress(OSError), (self._run_dir / "watch.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT,
                env=os.environ | {"PYTHONPATH": path}, start_new_session=True,
            )  # fmt: skip

    def poll(self) -> None:
        """Start it again where it has ended."""
        dead = self._process is None or self._process.poll() is not None
        if dead and time.monotonic() - self._began_s > AGAIN_S:
            self.start()

    def stop(self) -> None:
        """Give it the time to tell what is left, then end it. Twice is once."""
        if self._process is None:
            return
        try:
            self._process.wait(_LAST_S)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LAST_S)
        self._process = None
