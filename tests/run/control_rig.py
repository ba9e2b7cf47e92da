"""A control server with its two rings, and a test in the place of the loop: what is pushed is seen, answers are given.

`knock` is a peer as a process of its own, under another uid where the test is root; it knows nothing but a socket.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine.io.ring import CONSUMER, PRODUCER, Ring, ring_pop, ring_push
from engine.record.records import DTYPES, ControlAction, Scope, Template, blank
from engine.run import links
from engine.run.config_control import Control
from engine.run.control import ControlRing
from engine.run.control_server import ControlServer
from tests.core.world import make_config

#: A peer: connects, sends each line of its input as one packet, prints what is answered until it hears nothing more.
_PEER = """
import os, socket, sys
if len(sys.argv) > 3:
    uid = int(sys.argv[3])
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect(sys.argv[1])
s.settimeout(float(sys.argv[2]))
for line in sys.stdin.buffer.read().split(b"\\n"):
    if not line: continue
    s.send(line)
    try:
        while True:
            raw = s.recv(65536)
            if not raw: break
            sys.stdout.buffer.write(raw + b"\\n")
            if any(state in raw for state in (b'"done"', b'"refused"', b'"waiting"')): break
    except (TimeoutError, OSError):
        pass
"""


#: Of the run that the server takes commands for.
RUN_ID = "00112233445566778899aabbccddeeff"


class Rig:
    """One server. `seen` takes what reached the control ring; `answer` says what a loop would say."""

    def __init__(self, **control: Any) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="tr-"))
        os.chmod(self.home, 0o755)
        config = msgspec.structs.replace(make_config(), control=Control(**control))
        self._commands = Ring.create(self.home / links.CONTROL_RING, 64, CONSUMER)
        self._answers = Ring.create(self.home / links.ANSWERS_RING, 64, PRODUCER)
        self.ring = ControlRing(self.home)
        self.clock_ns = 1_000
        self.server = ControlServer(config, self.home, self.ring, lambda: self.clock_ns, run_id=RUN_ID)
        self.server.start()
        self._raw = blank(Template.CONTROL)

    def seen(self) -> list[Any]:
        """The records that came, as records."""
        found = []
        while (n := ring_pop(self._commands.address, self._raw.ctypes.data)) > 0:
            raw = np.frombuffer(self._raw.tobytes()[:n], np.uint8)
            found.append(raw.view(DTYPES[Template(int(raw[2:4].view("<u2")[0]))])[0])
        return found

    def answer(self, command: Any, **fields: Any) -> None:
        """A CONTROL_REPORT to a command."""
        report = blank(Template.CONTROL_REPORT)
        report["request_id"], report["finished"] = command.request_id, 1
        if command.template_id == Template.LIMIT_CHANGE:
            report["rule"], report["scope"], report["value"] = command.rule, command.scope, command.value
            report["target"] = command.instrument_id if command.scope == Scope.INSTRUMENT else command.target
        else:
            cancel = command.template_id == Template.MASS_CANCEL
            report["action"] = ControlAction.CANCEL if cancel else command.action
        for name, value in fields.items():
            report[name] = value
        assert ring_push(self._answers.address, report.ctypes.data, report.dtype.itemsize) == 1

    def counts(self) -> dict[str, int]:
        """What the server counted."""
        return dict(self.server.log.counts)

    def log(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        return [json.loads(line) for line in (self.home / "control.log").read_text().splitlines()]

    def knock(self, *packets: bytes, uid: int | None = None, wait_s: float = 2.0) -> list[dict[str, Any]]:
        """Send packets as another process (and user); its answers."""
        command = [sys.executable, "-c", _PEER, str(self.server.path), str(wait_s)]
        command += [] if uid is None else [str(uid)]
        done = subprocess.run(command, input=b"\n".join(packets), capture_output=True, timeout=60, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def close(self) -> None:
        """End."""
        self.server.stop()
        self.ring.close()
        self._commands.close()
        self._answers.close()
