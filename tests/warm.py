"""Compile what most tests need, once a mode: `python -m tests.warm`, for `make test` on a machine with an empty cache.

The two test workers of a mode would else both compile the core. Run at the same time for the two compiled modes, one a
core, this takes a quarter of the time that it saves. A test that needs more compiles it itself.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from engine.run.bind import bind
from engine.run.rehearse import rehearse
from gateways import session
from gateways.venues.simulated import SimulatedVenues
from perf.bench import bind_driver
from tests.modes import actual_mode
from tests.run.engine_peers import make_config


def main() -> None:
    """Rehearse an engine, venues, a client and the benchmarks' driver."""
    with tempfile.TemporaryDirectory(prefix="tr-") as folder:
        config = make_config(Path(folder) / "run", Path(folder))
        bound = bind(config.routing.strategy)
        rehearse(config, bound, 1)
        session.rehearse()
        with SimulatedVenues(config, [f"ipc://{folder}/feed"]) as venues:
            venues.run(seconds=0.01)
        bind_driver(config.routing.strategy, journaled=True)
    print(f"kernels are compiled: {actual_mode()}")


if __name__ == "__main__":
    main()
