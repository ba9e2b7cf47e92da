"""`tickroute run` whose memory can be spoiled: `python -m tests.run.spoiled_engine RUN_DIR SOCKETS OPTIONS ...`.

When the file RUN_DIR/spoil appears, the first live child's row is overwritten from outside the loop, as a stray write
or a flipped bit would. Everything else is the command itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from cli.main import main
from engine.run import config, daemon
from tests.run.engine_peers import make_config


class Spoiled(daemon.Engine):
    """An engine with a hand in its memory."""

    def poll(self) -> None:
        super().poll()
        mark = self.run_dir / "spoil"
        if mark.exists():
            children = self.loop.state.children
            children["cum_qty"][np.flatnonzero(children["leaves_qty"])[0]] = -5
            mark.unlink()


if __name__ == "__main__":
    made = make_config(Path(sys.argv[1]), Path(sys.argv[2]))
    setattr(config, "load", lambda _: made)  # noqa: B010  a test replaces it
    daemon.Engine = Spoiled  # type: ignore[misc]
    sys.exit(main(["run", "made.toml", *sys.argv[3:]]))
