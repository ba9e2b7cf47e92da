"""The demonstration's processes: engine, venues and feed, each `tickroute` itself, each with a log.

A process that dies is an error that shows the end of its log. Whatever happens, leaving the context ends what was
started here (SIGTERM, and SIGKILL after some seconds), by process id, and removes the sockets' folder.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

from engine.errors import TickrouteError

_GRACE_S = 8.0
_LOG_LINES = 12


class DemoError(TickrouteError):
    """A part of the demonstration failed; the message names it and shows what it said last."""


class Processes:
    """Subprocesses by name. `sockets` is a new folder with a short path."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.sockets = Path(tempfile.mkdtemp(prefix="tickroute-"))
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        for name in reversed(list(self._running)):
            self.stop(name)
        shutil.rmtree(self.sockets, ignore_errors=True)

    def start(self, name: str, *arguments: str) -> None:
        """Start `tickroute ARGUMENTS`; what it prints goes to OUT/NAME.log. It is in a session of its own, so that
        a Ctrl-C reaches it only through us, in order.
        """
        with (self.out / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", "cli.main", *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd=Path(__file__).resolve().parent.parent,
            )

    @property
    def names(self) -> list[str]:
        """Those that were started and not stopped."""
        return list(self._running)

    def check(self) -> None:
        """DemoError where one of them has died with an error."""
        for name, process in self._running.items():
            if process.poll() not in (None, 0):
                raise DemoError(f"the {name} process ended with code {process.returncode}:\n{self.said(name)}")

    def said(self, name: str) -> str:
        """The last lines of a process's log."""
        text = (self.out / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-_LOG_LINES:])

    def ended(self, name: str) -> bool:
        """Whether a process has ended by itself."""
        return self._running[name].poll() is not None

    def kill(self, name: str) -> None:
        """End a process at once, as a crash does (SIGKILL)."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def stop(self, name: str, grace_s: float = _GRACE_S) -> None:
        """Ask a process to end, wait, and insist."""
        process = self._running.pop(name)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            until = time.monotonic() + grace_s
            while process.poll() is None and time.monotonic() < until:
                time.sleep(0.02)
            if process.poll() is None:
                process.kill()
        process.wait()
