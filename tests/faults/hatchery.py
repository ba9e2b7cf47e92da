"""A process with every kernel loaded, which forks a `tickroute` process for each line that it is given.

    python -m tests.faults.hatchery CONFIG.toml

A line of standard input is JSON: {"argv": ["run", "desk.toml"], "log": PATH, "state": PATH or null, "die": NAME or
null, "spoil": [module, function, PATH] or null}. The process number of the fork is written to standard output. `state`:
where the fork writes (last frame, hash of the state) as recovery found them. `die`: a point of POINTS or BIRTHS, at
which the fork kills itself (SIGKILL). `spoil`: a function that fails with EIO once PATH is there.

A start from nothing loads numba and the kernels, some seconds of CPU; a fork has them. What runs in it is the command
itself, from its arguments on. The forks die with this process.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from cli.main import main as tickroute
from engine.core.state import state_hash
from engine.run import config as configs
from engine.run import daemon
from engine.run.recover import recover
from gateways.venues.simulated import SimulatedVenues

#: Where a fork can be told to die: name -> (module, function, before or after it). All are on the way of a start.
POINTS = {
    "before-recover": ("engine.run.daemon", "recover", "before"),
    "after-recover": ("engine.run.daemon", "recover", "after"),
    "after-keeping-the-last-life": ("engine.run.daemon", "keep_life", "after"),
    "before-resume": ("engine.run.daemon", "resume", "before"),
    "before-torn-bytes-go-aside": ("engine.io.journal_writer", "set_aside", "before"),
    "after-torn-bytes-went-aside": ("engine.io.journal_writer", "set_aside", "after"),
    "after-snapshots-went-aside": ("engine.run.snapshot", "set_aside", "after"),
    "before-the-recovered-frame": ("engine.run.recover", "write_life", "before"),
    "after-the-recovered-frame": ("engine.run.recover", "write_life", "after"),
    "before-the-recovered-input": ("engine.run.daemon", "go_on", "before"),
    "after-the-recovered-input": ("engine.run.daemon", "go_on", "after"),
}
#: As above, on the way of a run's very first start.
BIRTHS = {
    "before-the-first-chain": ("engine.io.journal_writer", "Chain", "before"),
    "after-the-first-chain": ("engine.io.journal_writer", "Chain", "after"),
    "before-the-first-segment": ("engine.io.journal_keeper", "allocate", "before"),
    "after-the-first-segment": ("engine.io.journal_keeper", "allocate", "after"),
    "before-the-first-header": ("engine.io.journal_writer", "begin_segment", "before"),
    "after-the-first-header": ("engine.io.journal_writer", "begin_segment", "after"),
    "before-the-manifest": ("engine.io.journal_writer", "append", "before"),
    "after-the-manifest": ("engine.io.journal_writer", "append", "after"),
}
_PDEATHSIG = 1


def _at(name: str) -> None:
    """Have this process die at a point."""
    module_name, function, when = (POINTS | BIRTHS)[name]
    module = importlib.import_module(module_name)
    original = getattr(module, function)

    def dying(*args: Any, **kwargs: Any) -> Any:
        if when == "after":
            original(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(module, function, dying)


def _spoiled(module_name: str, function: str, flag: str) -> None:
    """From the moment that file `flag` is there, a function fails as a broken disk makes it fail."""
    module = importlib.import_module(module_name)
    original = getattr(module, function)

    def failing(*args: Any, **kwargs: Any) -> Any:
        if os.path.exists(flag):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return original(*args, **kwargs)

    setattr(module, function, failing)


def _noted(recover: Callable[..., Any], path: Path) -> Callable[..., Any]:
    """`recover` that writes down what it found."""

    def noting(*args: Any, **kwargs: Any) -> Any:
        found = recover(*args, **kwargs)
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps([found.end.last_seq, state_hash(found.state)]))
        draft.replace(path)
        return found

    return noting


def _live(parent: int, wish: dict[str, Any]) -> int:
    """Be the process that was wished for."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        return 1
    log = os.open(wish["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if wish.get("state"):
        setattr(daemon, "recover", _noted(recover, Path(wish["state"])))  # noqa: B010  it is not daemon's own
    if wish.get("die"):
        _at(wish["die"])
    if wish.get("spoil"):
        _spoiled(*wish["spoil"])
    return tickroute(wish["argv"])


def warm(config: configs.Config) -> None:
    """Load every kernel: a run of its own is started, ended, recovered and ended, and the venues are made once."""
    folder = Path(tempfile.mkdtemp(prefix="tickroute-warm-"))
    change = msgspec.structs.replace
    mine = change(
        config,
        engine=change(config.engine, run_dir=str(folder / "run")),
        orders=change(config.orders, endpoint=f"ipc://{folder}/o"),
        feed=[change(feed, endpoint=f"ipc://{folder}/f{n}") for n, feed in enumerate(config.feed)],
    )
    try:
        for _ in range(2):
            engine = daemon.Engine(mine)
            engine.start()
            engine.stop()
        with SimulatedVenues(mine) as venues:
            venues.run(0.01)
    finally:
        shutil.rmtree(folder)
    assert len(os.listdir("/proc/self/task")) == 1, "only a process of one thread can be forked"


def main(path: str) -> None:
    """Warm up, say so, and fork."""
    warm(configs.load(path))
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    parent = os.getpid()
    print("ready", flush=True)
    for line in sys.stdin:
        wish = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = _live(parent, wish)
            except BaseException:  # noqa: BLE001  whatever it is, the fork must not go on as its parent
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        print(pid, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
