"""Touches that are derived as levels are played, from the venues' books, are those that fitting derives beforehand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from engine.jit import JIT
from engine.record.records import OrdType, Side, Tif
from engine.run import manifest
from gateways.formats.fit import Target
from gateways.orders.parents import Parent
from gateways.venues.latency import TABLE
from perf.backtest_feed import binance_lines
from perf.backtest_ours import config_text
from replay.backtest import host as host_file
from replay.backtest.play import prepare
from replay.backtest.settings import load
from replay.backtest.streams import Stream
from replay.verify import verify
from tests.backtest.desk import frames

FEED = '[backtest]\nfeed_latency_us = {us}\n[[backtest.feed]]\nfile = "{file}"\nvenue = "USDM"\n'
KINDS = ((Side.BUY, Tif.IOC), (Side.SELL, Tif.IOC), (Side.BUY, Tif.DAY), (Side.SELL, Tif.DAY))
UPDATES = 400 if JIT else 60


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """A file of levels, and the quotes that fitting derives from it."""
    path = tmp_path_factory.mktemp("levels") / "usdm.gz"
    binance_lines(path, UPDATES)
    settings = settings_of(path.parent, path, 0)
    state = manifest.make(settings.config, 1, 0).initial_state()
    target = Target.of(settings.config, [int(px) for px in state.instruments["max_px"]])
    return path, Stream(path, settings.backtest.feed[0], target, depth=True).quotes()


def settings_of(folder, path, us):
    toml = folder / "bt.toml"
    toml.write_text(config_text(folder / "run", FEED.format(us=us, file=path)), encoding="utf-8")
    return load(toml)


def parents(quotes):
    """Orders through the touch and some ticks behind it, in turn."""
    found = []
    for n, row in enumerate(quotes[:: max(len(quotes) // 40, 1)]):
        side, tif = KINDS[n % 4]
        px = int(row["ask_px"]) + 5 if (side == Side.BUY) == (tif == Tif.IOC) else int(row["bid_px"]) - 5
        px += 0 if tif == Tif.IOC else (3 if side == Side.BUY else -3)
        found.append(Parent(f"P{n}", 0, side, 40, px, OrdType.LIMIT, tif, 0, int(row["ts_event_ns"])))
    return found


def played(folder, lines, us, latencies=()):
    """Frames, what is told of the file, the number of derived quotes and the room for them of a run."""
    folder.mkdir()
    path, quotes = lines
    settings = settings_of(folder, path, us)
    with prepare(settings, parents=parents(quotes)) as host:
        if len(latencies):
            host.course = type(host.course)(**host.course.arrays() | {"latencies": latencies})
        host.run()
        derived, slots = int(host.course.line[0].derived), len(host.course.touches)
    told = json.loads((folder / "run" / "backtest.json").read_bytes())["feeds"][0]
    return frames(folder / "run"), told, derived, slots


@pytest.mark.parametrize(("us", "drawn"), [(0, False), (1_500, False), (200_000, False), (0, True)])
def test_they_are_the_quotes_of_fitting(tmp_path, lines, monkeypatch, us, drawn):
    """With no latency, one that quotes overtake, one under which many wait, and drawn ones: frame for frame."""
    latencies = np.sort(np.random.default_rng(2).integers(1_000, 90_000_000, TABLE)) if drawn else ()
    monkeypatch.setattr(host_file, "TOUCHES", 2)
    mine, told, derived, slots = played(tmp_path / "mine", lines, us, latencies)
    monkeypatch.setattr(Stream, "follows", np.zeros(0, dtype=np.int64))
    theirs, other, none, _ = played(tmp_path / "theirs", lines, us, latencies)
    assert mine == theirs
    assert derived > 20
    assert none == 0
    assert slots > 2 if us == 200_000 or drawn else slots >= 2
    assert told == other | {"clamped": told["clamped"], "negative": told["negative"]}
    if JIT:
        assert verify(tmp_path / "mine" / "run").result == "identical"
