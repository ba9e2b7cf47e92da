"""Plays one streamed file as `tickroute backtest` does, and says what memory the process took at most.

    python -m perf.backtest_memory FOLDER FILE

`peak` is the most anonymous memory that was seen, fifty times a second: what is mapped of files (the journal's
segments, the kernels' cache) is not in it. A first play of a few updates has compiled and loaded all kernels.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Final

from perf.backtest_feed import binance_lines
from perf.backtest_ours import config_text
from replay import backtest

_EVERY_S: Final = 0.02


def play(folder: Path, file: Path, name: str) -> int:
    """Play a file; the records that it had for the engine."""
    path = folder / f"{name}.toml"
    feed = f'[[backtest.feed]]\nfile = "{file}"\nvenue = "USDM"\nsymbol = "BTCUSDT"\ntouch = "book"\n'
    path.write_text(config_text(folder / f"run-{name}", "[backtest]\norders = 50\n" + feed), encoding="utf-8")
    outcome = backtest.run(path).outcome
    assert outcome is not None
    return outcome.inputs


class Peak(threading.Thread):
    """Looks at the anonymous memory of this process while it works."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self._stop_it = 0, threading.Event()

    def run(self) -> None:
        """Look until `stop`."""
        while not self._stop_it.wait(_EVERY_S):
            self.peak = max(self.peak, anonymous())

    def stop(self) -> int:
        """The most that was seen, bytes."""
        self._stop_it.set()
        self.join()
        return max(self.peak, anonymous())


def anonymous() -> int:
    """Resident memory of this process that no file is behind, bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    """See the module."""
    folder, file = Path(sys.argv[1]), Path(sys.argv[2])
    warm = folder / f"warm-{file.stem}.gz"
    binance_lines(warm, 200)
    play(folder, warm, warm.stem)
    seen = Peak()
    seen.start()
    inputs = play(folder, file, file.stem)
    print(json.dumps({"peak": seen.stop(), "inputs": inputs}), flush=True)


if __name__ == "__main__":
    main()
