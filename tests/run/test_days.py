"""The calendar, the ROLL that the loop puts when it is due, and a live engine whose day rolls over and is killed."""

from __future__ import annotations

import datetime as dt
import json
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pytest

from engine.core.day import day_now
from engine.core.state import NEVER
from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.jit import JIT
from engine.record import records as r
from engine.record.units import day_of, day_text
from engine.run import config as c
from engine.run.assemble import assemble
from engine.run.bind import bind
from engine.run.days import DAY_NS, next_day, roll_at, time_of_day_ns
from engine.run.reference import build_state, trading_day
from engine.run.rehearse import scratch_journal
from replay.state.reach import reach
from replay.state.view import past
from replay.verify import verify
from tests.replay.desk import config as desk_config
from tests.run.engine_peers import ack, fill, make_config, order, wait_for
from tests.run.lives import Lives, children, rerun
from tests.run.test_engine import Desk

T = r.Template
HOUR_NS = 3_600_000_000_000


@pytest.mark.kernel
@pytest.mark.parametrize("day", ["2018-01-02", "2018-01-05", "2018-01-06", "2018-02-28", "2019-12-31"])
def test_the_next_trading_day_is_that_of_the_calendar(day):
    date = dt.date.fromisoformat(day)
    number = (date - dt.date(1970, 1, 1)).days
    following = date + dt.timedelta(days=1)
    assert next_day(number, 1) == number + 1
    while following.weekday() >= 5:
        following += dt.timedelta(days=1)
    assert next_day(number, 0) == (following - dt.date(1970, 1, 1)).days


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("roll", "day_end", "later"),
    [("22:00:00", "21:00:00", 0), ("22:00:00", "", 0), ("00:00:00", "", 1), ("00:00:00", "21:00:00", 1),
     ("21:00:00", "21:00:00", 1), ("06:00:00", "21:00:00", 1)],
)  # fmt: skip
def test_a_day_ends_at_its_roll_time_after_its_day_end(roll, day_end, later):
    at = time_of_day_ns(roll)
    assert roll_at(100, at, time_of_day_ns(day_end)) == (100 + later) * DAY_NS + at


@pytest.mark.kernel
def test_without_a_roll_time_no_day_ends():
    assert time_of_day_ns("") == -1
    assert roll_at(100, -1, 21 * HOUR_NS) == NEVER


class Clocked:
    """An assembled loop on the feed's clock, turned by hand, with a journal in memory."""

    def __init__(self, **day: object) -> None:
        settings = msgspec.structs.replace(desk_config(), day=c.Day(**day))  # type: ignore[arg-type]
        table, self.memory = scratch_journal()
        self.state = build_state(settings, trading_day(settings), 1)
        self.loop = assemble(settings, self.state, table, stream_epoch=1, clock_offset_ns=0, tsc_mul=1)
        self.cycle = bind(settings.routing.strategy).loop.duty_cycle
        self.midnight_ns = day_now(self.state) * DAY_NS

    def at(self, ns: int) -> int:
        """Turn once at a time of the first day; the inputs taken."""
        self.loop.wiring.line[0]["feed_clock_ns"] = self.midnight_ns + ns
        return int(self.cycle(*self.loop))


@pytest.mark.kernel
def test_the_loop_rolls_once_when_the_clock_is_there():
    it = Clocked(roll="22:00:00")
    first = day_now(it.state)  # a Tuesday
    assert it.at(22 * HOUR_NS - 1) == 0
    assert it.at(22 * HOUR_NS) == 1
    assert it.at(22 * HOUR_NS + 1) == 0
    assert day_now(it.state) == first + 1
    assert int(it.state.params[0]["day_end_ns"]) == (first + 1) * DAY_NS + 21 * HOUR_NS
    assert it.at(46 * HOUR_NS) == 1
    assert (day_now(it.state), it.state.core[0]["rolls"]) == (first + 2, 2)


@pytest.mark.kernel
def test_an_engine_that_was_away_rolls_once_to_the_day_that_it_is():
    it = Clocked(roll="22:00:00")
    first = day_now(it.state)
    assert it.at((24 * 3 + 23) * HOUR_NS) == 1  # Friday evening is Monday already
    assert (day_now(it.state), it.state.core[0]["rolls"]) == (first + 6, 1)
    assert it.at((24 * 5 + 1) * HOUR_NS) == 0
    weekends = Clocked(roll="22:00:00", weekends=True)
    weekends.at((24 * 3 + 23) * HOUR_NS)
    assert day_now(weekends.state) == first + 4


@pytest.mark.kernel
def test_a_loop_without_a_roll_time_stays_on_its_day():
    it = Clocked()
    first = day_now(it.state)
    assert it.at(1000 * 24 * HOUR_NS) == 0
    assert day_now(it.state) == first


def soon(seconds: float) -> tuple[str, str]:
    """(trading day, roll time) of a roll in so many seconds."""
    at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    return at.date().isoformat(), f"{at:%H:%M:%S}"


def roll_now(line):
    """Make it the time at which the day rolls over: a start may take any time, and the roll is to come after orders."""
    roll_ns = int(line.clock_ns) % DAY_NS
    line.roll_ns = roll_ns
    line.roll_at_ns = int(line.clock_ns) - int(line.clock_ns) % DAY_NS + roll_ns


@pytest.mark.skipif(not JIT, reason="the loop needs the GIL released, which only compiled code does")
def test_a_live_engine_rolls_over(tmp_path, sockets):
    day = soon(0)[0]
    settings = make_config(tmp_path / "run", sockets)
    engine = msgspec.structs.replace(settings.engine, trading_day=day)
    settings = msgspec.structs.replace(settings, engine=engine, day=c.Day(weekends=True))
    desk = Desk(tmp_path / "run", sockets, "zmq", config=settings)
    try:
        first = (dt.date.fromisoformat(day) - dt.date(1970, 1, 1)).days
        desk.feed.quote(0, 1_569_900, 1_570_000)
        wait_for(lambda: desk.engine.gauge("quotes") == 1, desk.client, desk.venue)
        desk.client.send(order("DAY", r.Side.BUY, 500, 1_569_900, r.Tif.DAY))
        desk.client.send(order("GTC", r.Side.BUY, 500, 1_569_900, r.Tif.GTC))
        desk.client.send(order("TAKE", r.Side.BUY, 200, 1_570_000))
        (child,) = desk.take(desk.venue, T.ORDER_NEW)
        assert day_of(int(child.order_id)) == first, "sent before the roll"
        roll_now(desk.engine.loop.wiring.line[0])
        expired = desk.take(desk.client, T.ACK, 4)[-1]
        assert (r.from_text16(expired.peer_id), expired.ord_status) == ("DAY", r.OrdStatus.EXPIRED)
        assert expired.reason == r.Reason.DAY_END
        desk.venue.send(fill(child, 1))
        assert r.from_text16(desk.take(desk.client, T.FILL)[0].peer_id) == "TAKE"
        with ThreadPoolExecutor(1) as pool:  # kernels are loaded first, and meanwhile the peers' hearts beat
            reached = pool.submit(reach, tmp_path / "run")
            wait_for(reached.done, desk.client, desk.venue, seconds=120)
        now = past(reached.result(), "")
        assert (now.lineage.live, now.trading_day, now.torn) == (True, day_text(first + 1), False)
        assert [p.cl_ord_id for p in now.parents] == ["GTC"]
        desk.feed.quote(1, 1_569_800, 1_569_900)
        (today,) = desk.take(desk.venue, T.ORDER_NEW)
        assert day_of(int(today.order_id)) == first + 1
        desk.client.send(order("DAY", r.Side.BUY, 100, 1_569_900, r.Tif.DAY))  # the same name, on another day
        assert desk.take(desk.client, T.ACK)[0].exec_type == r.ExecType.NEW
        desk.venue.send(ack(today, r.ExecType.CANCELED, r.OrdStatus.CANCELED))
    finally:
        desk.stop()
    assert verify(tmp_path / "run").result == "identical"
    then = past(reach(tmp_path / "run"), "")
    assert not then.lineage.live
    assert then.trading_day == (dt.date.fromisoformat(day) + dt.timedelta(days=1)).isoformat()
    assert [(p.qty, p.bought_qty, p.fills) for p in then.positions] == [("200", "200", 1)], "booked after the roll"


@pytest.mark.skipif(not JIT, reason="the loop needs the GIL released, which only compiled code does")
def test_a_run_is_recovered_across_a_roll(tmp_path):
    day, roll = soon(10)
    changes = {
        'trading_day = "2030-01-02"': f'trading_day = "{day}"',
        "[capacity]": f'[day]\nroll = "{roll}"\nweekends = true\n\n[capacity]',
    }
    began = time.monotonic()
    with Lives(tmp_path, 5, **changes) as lives:
        lives.start()
        lives.turn_for(max(11 - (time.monotonic() - began), 1))
        lives.turn_until(lambda: rolls(lives.run_dir) == 1, 60)
        lives.turn_for(0.5)
        lives.kill()
        lives.start()
        lives.turn_for(0.5)
        venues = lives.finish()
    assert rolls(lives.run_dir) == 1, "it is not rolled again by a recovery"
    state = rerun(lives.run_dir)
    ours = children(lives.run_dir)
    assert len(ours) == len(set(ours))
    assert venues["orders"] == venues["distinct_orders"] <= len(ours)
    assert (int(state.core[0].live_parents), int(state.core[0].live_children)) == (0, 0)
    assert day_now(state) == (dt.date.fromisoformat(day) - dt.date(1970, 1, 1)).days + 1
    bought = sum(int(o.cum_qty) * (1 if o.side == r.Side.BUY else -1) for o in lives.client.orders.values())
    assert int(state.positions["qty"].sum()) == bought
    assert verify(lives.run_dir).result == "identical"
    assert json.loads((lives.run_dir / "engine-2.json").read_text(encoding="utf-8"))


def rolls(run_dir):
    """How many ROLL inputs a journal has so far."""
    found = 0
    with JournalReader(run_dir, live=True) as reader:
        while (chunk := reader.read()) is not None:
            for row in np.flatnonzero(chunk.rows["kind"] == Kind.INPUT):
                found += int(chunk.payload(int(row)).view("<u2")[1]) == T.ROLL
    return found
