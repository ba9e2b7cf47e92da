"""The simulated venues beside an engine in shadow mode: one process, looked after, and ended with the engine.

It is `tickroute venues CONFIG --shadow`, in a session of its own, so that a Ctrl-C reaches it through us and in order:
the engine's last cancels are still answered. Its input is a pipe that closes when this process ends, however it ends,
and then it ends too. A process that dies is started again, and its session goes down and up as a venue's would.

Worst case: venues that die again and again are started again once in AGAIN_S.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from engine.run.config import Config
from engine.run.shadow import folder_of

#: Between two starts.
AGAIN_S = 5.0
_GRACE_S = 8.0


class ShadowVenues:
    """See the module. `start`, then `poll` now and then, then `stop`. `restarts` counts."""

    def __init__(self, config: Config, path: Path, out: Console) -> None:
        self.restarts = 0
        self._path, self._out = path.resolve(), out
        self._folder = folder_of(config)
        self._new = not self._folder.exists()
        self._folder.mkdir(parents=True, exist_ok=True)  # the engine makes its rings there
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0.0

    @property
    def log(self) -> Path:
        """What the process says."""
        return self._folder / "venues.log"

    def forget(self) -> None:
        """No engine came up: a folder that was not there before goes again."""
        if self._new:
            shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, config: Config) -> None:
        """Start the process; the rings of the engine must be there, or come soon."""
        run_dir, figures = config.engine.run_dir, str(self._folder / "venues.json")
        command = [sys.executable, "-m", "cli.main", "venues", str(self._path), "--shadow", str(run_dir)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--json", figures], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.PIPE,
                start_new_session=True,
            )  # fmt: skip
        self._config, self._began = config, time.monotonic()
        if not self.restarts:
            self._out.print(f"[bold yellow]shadow[/]: orders go to simulated venues; {self.log}", soft_wrap=True)

    def poll(self) -> None:
        """Start it again where it has ended."""
        assert self._process is not None
        code = self._process.poll()
        if code is not None and time.monotonic() - self._began > AGAIN_S:
            self.restarts += 1
            self._out.print(f"[yellow]the simulated venues ended with code {code}[/] and are started again: {self.log}")
            self._hang_up()
            self.start(self._config)

    def stop(self) -> None:
        """Ask the process to end, wait, and insist. Twice is once."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._hang_up()
        self._process = None

    def _hang_up(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()


@contextlib.contextmanager
def forgotten_on_error(venues: ShadowVenues | None) -> Iterator[None]:
    """Where an engine does not come up, there was no shadow either."""
    try:
        yield
    except BaseException:
        if venues is not None:
            venues.forget()
        raise
