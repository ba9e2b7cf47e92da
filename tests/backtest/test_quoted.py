"""What the market was, held to the engine's own books: halts, clears, gaps, restarts, and records that it refused."""

from __future__ import annotations

import random
from itertools import pairwise

import msgspec
import numpy as np
import pytest

from engine.record.records import Flag, Reason, Template, blank
from engine.run import config as c
from replay.backtest.quoted import NEEDED, counted, of_instrument
from replay.backtest.tape import Tape, touches_of
from replay.quality.market import touches
from replay.report.gather import gather_parts
from tests.replay import desk

_SECOND = 10**9
_VENUES = 3


class Market:
    """Random market data of three venues in two stocks, taken in by an engine: its touch after each record."""

    def __init__(self, engine: desk.Desk, rnd: random.Random) -> None:
        self.engine, self.rnd = engine, rnd
        self.epochs, self.seqs = [1] * _VENUES, [0] * _VENUES
        self.shown: list[tuple[int, list[tuple[int, int]]]] = []
        self.seen: set[str] = set()

    def play(self, count: int) -> None:
        for _ in range(count):
            self.engine.until(self.engine.now_ns + self.rnd.choice((1, _SECOND, 5 * _SECOND)))
            self._one()
            self.shown.append((self.engine.now_ns, [self._touch(n) for n in range(2)]))

    def _one(self) -> None:
        rnd, venue = self.rnd, self.rnd.randrange(_VENUES)
        kind = rnd.choices(("quote", "clear", "status", "trade"), (20, 1, 3, 2))[0]
        templates = {"quote": Template.QUOTE, "clear": Template.CLEAR, "trade": Template.TRADE}
        record = blank(templates.get(kind, Template.INSTRUMENT_STATUS))
        record["venue_id"], record["stream_id"], record["instrument_id"] = venue, venue, rnd.randrange(2)
        if kind == "quote":
            bid = 1_000_000 + 100 * rnd.randrange(5)
            record["bid_px"], record["ask_px"] = bid, bid + 100 * rnd.choice((-1, 0, 1, 2, 3))
            record["bid_qty"], record["ask_qty"] = rnd.choice((0, 100, 200)), rnd.choice((0, 100, 200))
            record["flags"] = rnd.choice((0,) * 9 + (Flag.CLOSED,))
            if rnd.random() < 0.05:
                record["bid_qty"] = -1
                self.seen.add("refused")
        elif kind == "clear":
            record["instrument_id"], record["reason"] = rnd.choice((-1, 0, 1)), Reason.DAY_END
        elif kind == "status":
            record["status"] = rnd.choice((0, 0, 1, 2, 3))
        else:
            record["px"], record["qty"] = 1_000_000, rnd.choice((100, 200))
        self.seen.add(kind)
        step = rnd.choices(("next", "gap", "again", "restart"), (30, 1, 1, 1))[0]
        self.seen.add(step)
        if step == "restart":
            self.epochs[venue], self.seqs[venue] = self.epochs[venue] + 1, 0
        self.seqs[venue] += {"next": 1, "gap": 3, "again": 0, "restart": 1}[step]
        record["stream_epoch"], record["stream_seq"] = self.epochs[venue], self.seqs[venue]
        self.engine.take(record)

    def _touch(self, instrument: int) -> tuple[int, int]:
        """The best over quotes that the core takes for good; (0, 0) where it is one-sided or crossed."""
        params, now_ns = self.engine.state.params[0], int(self.engine.state.core[0]["now_ns"])
        first = instrument * int(params["venue_stride"])
        rows = self.engine.state.quotes[first : first + int(params["n_venues"])]
        good = [r for r in rows if r["valid"] > 0 and now_ns - r["ts_ns"] <= params["stale_ns"]]
        bid = max((int(r["bid_px"]) for r in good if r["bid_qty"] > 0), default=0)
        ask = min((int(r["ask_px"]) for r in good if r["ask_qty"] > 0), default=0)
        return (bid, ask) if 0 < bid <= ask else (0, 0)


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("quoted") / "run"
    settings = desk.config(str(run_dir), stale_ms=40_000)
    two = [settings.instrument[0], c.Instrument(symbol="YYY", mic="XNYS", px_decimals=4, tick_table="us")]
    settings = msgspec.structs.replace(
        settings, instrument=two, capacity=msgspec.structs.replace(settings.capacity, instruments=2)
    )
    engine = desk.Desk(settings, run_dir)
    engine.now_ns = 1_514_900_000 * _SECOND
    market = Market(engine, random.Random(4))
    market.play(1500)
    engine.close()
    assert market.seen == {"quote", "clear", "status", "trade", "refused", "next", "gap", "again", "restart"}
    return run_dir, settings, market.shown


@pytest.mark.parametrize("instrument", [0, 1])
def test_the_tape_shows_what_the_engine_had(played, instrument):
    run_dir, _, shown = played
    times = np.array([at_ns for at_ns, _ in shown])
    must = np.array([touch[instrument] for _, touch in shown], dtype=float) / 10_000
    bid, ask = Tape(run_dir).touches(instrument, times)
    assert np.nan_to_num(bid).tolist() == must[:, 0].tolist()
    assert np.nan_to_num(ask).tolist() == must[:, 1].tolist()
    assert 200 < np.isfinite(bid).sum() < 1300


@pytest.mark.parametrize("rows", [1, 5, 1 << 15])
def test_so_does_a_pass_in_parts(played, rows):
    run_dir, settings, shown = played
    times = np.array([at_ns for at_ns, _ in shown])
    parts = list(counted(gather_parts(run_dir, NEEDED, rows=rows)))
    for (quotes, trades, until_ns), (later, more, _) in pairwise(parts):
        assert all(part["ts_recv_ns"].max(initial=0) <= until_ns for part in (quotes, trades))
        assert all(part["ts_recv_ns"].min(initial=1 << 62) >= until_ns for part in (later, more))
    whole = np.concatenate([quotes for quotes, _, _ in parts])
    for n in range(2):
        venues = [(mine := of_instrument(whole, n))[mine["venue_id"] == v] for v in range(_VENUES)]
        bid, ask, good = touches_of(venues, times, settings.routing.stale_ms * 1_000_000)
        assert [touch[n] for _, touch in shown] == list(
            zip(np.where(good, bid, 0), np.where(good, ask, 0), strict=True)
        )


def test_execution_quality_has_the_same(played):
    run_dir, settings, shown = played
    times = np.array([at_ns for at_ns, _ in shown])
    found = touches(run_dir, settings, {0: times, 1: times})
    for n in range(2):
        told = list(zip(found[n].bid.tolist(), found[n].ask.tolist(), strict=True))
        assert told == [touch[n] for _, touch in shown]
