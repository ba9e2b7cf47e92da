"""An interrupt in a function that C code called is not lost; a process of its own, for the timer is the process's."""

from __future__ import annotations

import subprocess
import sys

from engine.jit import ROOT

PROGRAM = """
import ctypes, signal, sys, time
from cli.interrupts import heeded

swallowed = 0

@ctypes.CFUNCTYPE(None)
def called_by_c():
    global swallowed
    swallowed += 1
    signal.raise_signal(signal.SIGINT)

try:
    with heeded():
        called_by_c()
        print("went on", swallowed, flush=True)
        time.sleep(20)
    print("slept")
except KeyboardInterrupt:
    print("stopped")
"""


def test_an_interrupt_that_is_swallowed_comes_again():
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n") == ["went on 1", "stopped", ""]
