"""Compile what most tests need: `python -m tests.warm core|formats`, for `make test` on a machine with an empty cache.

The two test workers of a mode would else both compile the same kernels. Run at the same time for all modes and parts,
this takes half of the time that it saves. A test that needs more compiles it itself.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

import pytest

from engine.jit import BOUNDSCHECK
from engine.run.bind import bind
from engine.run.rehearse import rehearse
from gateways import session
from gateways.feeds.report import FeedError
from gateways.formats.batch import make_batch
from gateways.formats.known import open_file
from gateways.formats.watch import make_feed_books, make_watch, watch_batch
from gateways.venues.apart import settle
from gateways.venues.simulated import SimulatedVenues
from perf.bench import bind_driver
from replay.verify import verify
from tests.backtest import desk
from tests.core.world import World
from tests.formats.test_fuzz import FILES, cut_of
from tests.modes import actual_mode
from tests.run.engine_peers import make_config


def formats(folder: Path) -> None:
    """Read a piece of a file of each format that is there, and look at what is read."""
    watch, books, out = make_watch(), make_feed_books(orders=64), make_batch(1 << 15)
    for n, name in enumerate(FILES):
        path = folder / f"piece-{n}"
        with contextlib.suppress(pytest.skip.Exception, FeedError):
            path.write_bytes(cut_of(name, 6000))
            with open_file(path) as reader:
                for batch in reader.batches():
                    out.used[0] = 0
                    watch_batch(watch, books, batch, out, 1)


def core(folder: Path) -> None:
    """Rehearse an engine, venues, a client and the benchmarks' driver, play a backtest and verify it.

    With bounds checks: the core and the venues' kernels, which is what those tests are of.
    """
    if BOUNDSCHECK:
        World()
        settle()
        return
    config = make_config(folder / "run", folder)
    bound = bind(config.routing.strategy)
    rehearse(config, bound, 1)
    session.rehearse()
    with SimulatedVenues(config, [f"ipc://{folder}/feed"]) as venues:
        venues.run(seconds=0.01)
    bind_driver(config.routing.strategy, journaled=True)
    verify(desk.play(desk.config(folder / "backtest")).run_dir)


def main(part: str) -> None:
    """Compile a part."""
    with tempfile.TemporaryDirectory(prefix="tr-") as folder:
        {"core": core, "formats": formats}[part](Path(folder))
    print(f"kernels are compiled: {part}, {actual_mode()}")


if __name__ == "__main__":
    main(sys.argv[1])
