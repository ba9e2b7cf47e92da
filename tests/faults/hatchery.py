"""A process with every kernel loaded, which forks a `tickroute` process for each line that it is given.

    python -m tests.faults.hatchery CONFIG.toml

A line of standard input is JSON, a `Wish`; the process number of the fork is written to standard output. A start from
nothing loads numba and the kernels, some seconds of CPU; a fork has them. What runs in it is the command itself, from
its arguments on. The forks die with this process.
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
import threading
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
from tests.faults.points import die_at
from tests.faults.wall_clock import hang

_PDEATHSIG = 1


class Wish(msgspec.Struct, kw_only=True):
    """What a fork is to be."""

    #: Arguments of `tickroute`; or a module, by its dotted name, and those of its `main`.
    argv: list[str]
    #: Where it says what it has to say.
    log: str
    #: Where it writes (last frame, hash of the state) as recovery found them.
    state: str = ""
    #: A point (`tests.faults.points`) at which it kills itself.
    die: str = ""
    #: (module, function, PATH): the function fails with EIO once PATH is there.
    spoil: tuple[str, str, str] | None = None
    #: Where it writes the number of the loop's thread.
    thread: str = ""
    #: A `Wall` that its time of day hangs on.
    wall: str = ""
    #: A folder in which it looks for programs first.
    programs: str = ""


def _spoiled(module_name: str, function: str, flag: str) -> None:
    """From the moment that file `flag` is there, a function fails as a broken disk makes it fail."""
    module = importlib.import_module(module_name)
    original = getattr(module, function)

    def failing(*args: Any, **kwargs: Any) -> Any:
        if os.path.exists(flag):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return original(*args, **kwargs)

    setattr(module, function, failing)


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(path)


def _noted(recover: Callable[..., Any], path: Path) -> Callable[..., Any]:
    """`recover` that writes down what it found."""

    def noting(*args: Any, **kwargs: Any) -> Any:
        found = recover(*args, **kwargs)
        _write(path, json.dumps([found.end.last_seq, state_hash(found.state)]))
        return found

    return noting


def _told(run: Callable[[Any], None], path: Path) -> Callable[[Any], None]:
    """The loop's thread that says first which one it is."""

    def telling(engine: Any) -> None:
        _write(path, str(threading.get_native_id()))
        run(engine)

    return telling


def _prepare(wish: Wish) -> None:
    """Put in place what is wished for."""
    if wish.wall:
        hang(wish.wall)
    if wish.programs:
        os.environ["PATH"] = f"{wish.programs}:{os.environ['PATH']}"
    if wish.state:
        setattr(daemon, "recover", _noted(recover, Path(wish.state)))  # noqa: B010  it is not daemon's own
    if wish.thread:
        setattr(daemon.Engine, "_run", _told(daemon.Engine._run, Path(wish.thread)))  # noqa: B010  a test replaces it
    if wish.die:
        die_at(wish.die)
    if wish.spoil:
        _spoiled(*wish.spoil)


def _live(parent: int, wish: Wish) -> int:
    """Be the process that was wished for."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        return 1
    log = os.open(wish.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _prepare(wish)
    name, *arguments = wish.argv
    if "." in name:
        return int(importlib.import_module(name).main(arguments))
    return tickroute(wish.argv)


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
        wish = msgspec.json.decode(line, type=Wish)
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
