"""One thread of another process, instruction by instruction, and the end of that process between two of them.

`Traced(tid)` stops the thread where it is (ptrace; the other threads go on), `step` has it execute one instruction.
Nothing is put into the traced program: where it has got to is seen in what it has written (`tests.faults.tape`).

Worst case: a hundred thousand instructions a second, a thousandth of the thread's own pace. The thread of the test
that attached is the only one that may step, and all of it is undone by `kill`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess

_SINGLESTEP, _DETACH, _SEIZE, _INTERRUPT = 9, 17, 0x4206, 0x4207
_WALL = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_ptrace = _libc.ptrace
_ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_ptrace.restype = ctypes.c_long


def _ask(request: int, tid: int, data: int = 0) -> None:
    if _ptrace(request, tid, None, data) < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"ptrace {request:#x} of thread {tid}: {os.strerror(error)}")


class Traced:
    """A thread that stands still from now on. OSError where the machine does not let us (EPERM)."""

    def __init__(self, tid: int) -> None:
        self.tid, self.steps = tid, 0
        _ask(_SEIZE, tid)
        _ask(_INTERRUPT, tid)
        self._wait()

    def _wait(self) -> None:
        _, status = os.waitpid(self.tid, _WALL)
        assert os.WIFSTOPPED(status), f"thread {self.tid} has ended: {status:#x}"
        self._signal = os.WSTOPSIG(status)

    def step(self) -> None:
        """One instruction; a system call is one, however long it takes."""
        passed_on = 0 if self._signal == signal.SIGTRAP else self._signal
        _ask(_SINGLESTEP, self.tid, passed_on)
        self._wait()
        self.steps += 1

    def let_go(self) -> None:
        """Let the thread go on by itself; this is over then."""
        _ask(_DETACH, self.tid)

    def kill(self, pid: int) -> None:
        """End the whole process (SIGKILL) before the next instruction."""
        os.kill(pid, signal.SIGKILL)
        while True:
            _, status = os.waitpid(self.tid, _WALL)
            if not os.WIFSTOPPED(status):
                assert os.WIFSIGNALED(status)
                assert os.WTERMSIG(status) == signal.SIGKILL
                return


def can_trace() -> bool:
    """Whether this machine lets a process trace its own children."""
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            _ask(_SEIZE, child.pid)
        except OSError:
            return False
        finally:
            child.kill()
        return True
