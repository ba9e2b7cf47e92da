"""Our side of `perf backtest`: a process that plays the day again each time it is told to.

    python -m perf.backtest_ours FOLDER noop|routing REPETITIONS CORE depth|touch

FOLDER holds `day.npy` (perf.backtest_feed). When all is compiled and warm it prints a line of JSON, and another one for
each line that it reads. A play is the backtest that `tickroute backtest` runs: fitting, books, the journal on a disk,
`step`, the simulated venue, its reports, one process and one core. What is not timed: the events are in memory
beforehand (as they are for the peer), the survey of the file, and making the run directory. With `depth` the simulated
venue matches against all levels, as hftbacktest does; with `touch` against the best ones ([simulation] depth = false).

With `routing` an order comes each 100 ms, in turn an immediate buy and sell through the touch, and a resting buy and
sell half a dollar behind it, which the client cancels 100 ms later.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.record.records import UNIT, OrdType, Side, Template, Tif
from engine.run import manifest
from gateways.formats.batch import Batch
from gateways.formats.fit import Fitted, Target, Wanted
from gateways.formats.reader import Instrument, Reader
from gateways.orders.parents import Parent
from perf.backtest_feed import Repetitions, batches_of, repeated
from perf.desk import CONTROLS_OFF
from replay.backtest.host import Feed, Host, Terms
from replay.backtest.play import resolved
from replay.backtest.settings import Settings, load
from replay.backtest.streams import NO_END, Stream

Array = np.ndarray[Any, np.dtype[Any]]
#: Between two orders, and from one to its cancellation.
STEP_NS: Final = 100_000_000
#: Units of price (a tick, 0.1) that an order goes through the touch, or stays behind it.
AWAY_PX: Final = 5
LATENCY_US: Final = 2_000
_KINDS: Final = ((Side.BUY, Tif.IOC), (Side.SELL, Tif.IOC), (Side.BUY, Tif.DAY), (Side.SELL, Tif.DAY))

_TOML = """
[engine]
run_dir = "{run_dir}"
trading_day = "2024-08-08"
[journal]
segment_mib = 64
[routing]
strategy = "strategies.sweep"
stale_ms = 60000
child_timeout_ms = 5000
[routing.sweep]
rest = "venue"
post_venue = "USDM"
[risk]
max_qty = "5000"
max_notional = "1000000000"
collar_bps = 1000
reference_age_ms = 3600000
{controls}[[session]]
name = "desk"
role = "client"
[[session]]
name = "binance"
role = "venue"
[[tick_table]]
name = "dime"
rows = [["0", "0.1"]]
[[instrument]]
symbol = "BTCUSDT"
px_decimals = 1
qty_decimals = 3
lot = "0.001"
tick_table = "dime"
[[venue]]
mic = "USDM"
code = "U"
session = "binance"
take_bps = "5"
make_bps = "2"
latency_us = {latency_us}
lot = "0.001"
"""


def config_text(run_dir: Path, more: str = "") -> str:
    """The configuration of one venue and one instrument, `more` before its tables."""
    return more + _TOML.format(run_dir=run_dir, latency_us=LATENCY_US, controls=CONTROLS_OFF)


class _Fitted(Fitted):
    """Over events in memory."""

    def __init__(self, parts: Sequence[Batch], instrument: Instrument, target: Target, depth: bool) -> None:
        self._parts, self._instrument = parts, instrument
        super().__init__("day", target, Wanted(venue="USDM", touch="book"), play=True, depth=depth)

    def open(self) -> Reader:
        """The events as a reader gives them."""
        return Repetitions(Path(os.devnull), self._parts, self._instrument)


class _Stream(Stream):
    """The same, as a backtest plays it."""

    def __init__(self, fitted: Fitted) -> None:
        self._fitted = fitted
        self.begin_ns, self.end_ns = 0, NO_END


class Player:
    """A day in memory, and what is done with it."""

    def __init__(self, folder: Path, mode: str, times: int, depth: bool) -> None:
        about = json.loads((folder / "day.json").read_bytes())
        words = np.load(folder / "day.npy")
        self.folder, self.mode, self.times = folder, mode, times
        self.instrument = Instrument(about["symbol"], about["px_decimals"], about["qty_decimals"])
        self.span_ns, self.first_ns = int(about["span_ns"]), int(words[0, 3])
        self.laid = repeated(words, self.span_ns, times)
        self.count = len(words) * times
        self._toml = folder / f"{mode}-{os.getpid()}.toml"
        self._run_dir = folder / f"run-{mode}-{os.getpid()}"
        more = "" if depth else "[simulation]\ndepth = false\n"
        self._toml.write_text(config_text(self._run_dir, more), encoding="utf-8")
        self.settings: Settings = load(self._toml)
        self._parts = list(batches_of(self.laid))
        self.quotes = self._stream(list(batches_of(repeated(words, 0, 1)))).quotes()

    def _stream(self, parts: Sequence[Batch]) -> _Stream:
        state = manifest.make(self.settings.config, 1, 0).initial_state()
        target = Target.of(self.settings.config, [int(px) for px in state.instruments["max_px"]])
        return _Stream(_Fitted(parts, self.instrument, target, self.settings.config.simulation.depth))

    def play(self, most: int = 0) -> dict[str, Any]:
        """The whole day once, or its first `most` events."""
        stream = self._stream(list(batches_of(self.laid[: (most + 1) * UNIT])) if most else self._parts)
        chunks = stream.chunks()
        chunk = next(chunks)
        first_ns = int(chunk.view("<i8")[3])
        config = resolved(self.settings, first_ns, self._run_dir)
        parents = self._parents(most or self.count) if self.mode == "routing" else []
        shutil.rmtree(self._run_dir, ignore_errors=True)
        gc.collect()
        feed = Feed(chain([chunk], chunks), first_ns, stream.size, stream.follows)
        with Host(config, feed, parents, Terms(0, 1_000_000_000)) as host:
            _with_cancels(host)
            began = time.process_time()
            outcome = host.run()
            cpu_s = time.process_time() - began
        frames = sum(path.stat().st_size for path in (self._run_dir / "journal").iterdir())
        shutil.rmtree(self._run_dir)
        last = self.quotes[-1]
        return {
            "events": most or self.count, "cpu_s": cpu_s, "wall_s": outcome.seconds, "inputs": outcome.inputs,
            "outputs": outcome.outputs, "orders": len(parents), "reports": outcome.reports, "journal": frames,
            "bid": int(last["bid_px"]) / 10, "ask": int(last["ask_px"]) / 10,
        }  # fmt: skip

    def _parents(self, count: int) -> list[Parent]:
        """An order each STEP_NS, at the touch as it is then."""
        per = self.count // self.times
        end_ns = self.first_ns + count * self.span_ns // per
        at = np.arange(self.first_ns + 10 * STEP_NS, end_ns, STEP_NS)
        within = self.first_ns + (at - self.first_ns) % self.span_ns
        rows = self.quotes[np.maximum(np.searchsorted(self.quotes["ts_event_ns"], within, side="right") - 1, 0)]
        found = []
        for n, (at_ns, bid, ask) in enumerate(zip(at.tolist(), rows["bid_px"], rows["ask_px"], strict=True)):
            side, tif = _KINDS[n % 4]
            px = int(ask) + AWAY_PX if (side == Side.BUY) == (tif == Tif.IOC) else int(bid) - AWAY_PX
            found.append(Parent(f"P{n}", 0, side, 1, px, OrdType.LIMIT, tif, 0, at_ns))
        return found


def _with_cancels(host: Host) -> None:
    """Give each resting order of the course its client's cancellation, a step later."""
    orders = host.course.parents
    rest = orders[orders["tif"] == Tif.DAY].copy()
    rest["template_id"] = Template.ORDER_CANCEL
    rest["ts_event_ns"] += STEP_NS
    both = np.concatenate([orders, rest])
    arrays = host.course.arrays() | {"parents": both[np.argsort(both["ts_event_ns"], kind="stable")]}
    host.course = type(host.course)(**arrays)


def main() -> None:
    """See the module."""
    folder, mode, times, core = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if core >= 0:
        os.sched_setaffinity(0, {core})
    player = Player(folder, mode, times, sys.argv[5] == "depth")
    print(json.dumps(player.play(min(player.count, 50_000))), flush=True)
    for _ in sys.stdin:
        print(json.dumps(player.play()), flush=True)


if __name__ == "__main__":
    main()
