"""Depth, queues, reserve orders, halts and hours of simulated venues, one example each; and who is declared first."""

from __future__ import annotations

import datetime as dt
import random

import msgspec
import pytest
from hypothesis import given, settings

from engine.record.records import RECORD_MAX, Flag, Liquidity, Reason, Side, Template, Tif
from engine.run.config import ConfigError, Engine, Simulation
from gateways.inbox import out_slots, units_of
from gateways.venues.exchange import ingest, ingest_depth
from gateways.venues.hours import sessions
from gateways.venues.state import RESERVE, Depth, create
from tests.venues import days as d
from tests.venues.test_depth_twin import HOURS, SMALL
from tests.venues.test_exchange import MS, Venues, brief, cancel
from tests.venues.test_exchange_twin import FIELDS, Driver
from tests.venues.test_latency import drawn, files
from tests.venues.world import VENUES, config, order, packed, quote, record

pytestmark = pytest.mark.kernel

REST = {"tif": Tif.DAY}
__all__ = ["files"]  # a fixture


def level(side, px, qty, ts_event_ns=0, **more):
    return record(Template.LEVEL, side=side, action=1, px=px, qty=qty, ts_event_ns=ts_event_ns, **more)


def delta(action, number, ts_event_ns=0, **more):
    return record(Template.ORDER_DELTA, action=action, venue_order=number, ts_event_ns=ts_event_ns, **more)


def add(number, side, px, qty, ts_event_ns=0, **more):
    return delta(0, number, ts_event_ns, side=side, px=px, qty=qty, **more)


def trade(px, qty, ts_event_ns=0, **more):
    return record(Template.TRADE, px=px, qty=qty, ts_event_ns=ts_event_ns, **more)


def status(what, ts_event_ns=0):
    return record(Template.INSTRUMENT_STATUS, status=what, ts_event_ns=ts_event_ns)


def venues(queue="worst", **more):
    return Venues(config(Simulation(orders=64, queue=queue)), depth=SMALL, **more)


def fills(reports):
    return [(int(r.last_px), int(r.last_qty)) for r in reports if r.template_id == Template.FILL]


def reasons(reports):
    return [Reason(int(r.reason)).name for r in reports]


ASKS = [level(Side.SELL, 101, 10), level(Side.SELL, 102, 20), level(Side.SELL, 104, 30)]


def test_an_order_takes_level_after_level():
    v = venues()
    v.send(*ASKS)
    assert brief(v.send(order(1, 102, 50))) == ["ACK 00 0@102 0+50", "FILL F1 10@101 10+40", "FILL F1 20@102 30+20",
                                                "ACK 44 0@102 30+0"]  # fmt: skip
    assert fills(v.send(order(2, 104, 20))) == [(104, 20)]  # what was taken stays taken
    assert fills(v.send(level(Side.SELL, 101, 4), order(3, 104, 20))) == [(104, 10)]  # it lost only what we took
    assert fills(v.send(level(Side.SELL, 101, 9), order(4, 104, 20))) == [(101, 5)]  # and this is new


def test_all_or_none_looks_at_all_levels():
    v = venues()
    v.send(*ASKS)
    assert fills(v.send(order(1, 102, 40, tif=Tif.FOK))) == []
    assert fills(v.send(order(2, 104, 40, min_qty=40))) == [(101, 10), (102, 20), (104, 10)]
    assert fills(v.send(order(3, 104, 30, tif=Tif.FOK))) == []
    assert fills(v.send(order(4, 104, 20, tif=Tif.FOK))) == [(104, 20)]


def test_a_quote_is_a_newer_word_on_levels():
    v = venues()
    v.send(*ASKS, quote(100, 5, 102, 15))
    assert fills(v.send(order(1, 104, 60))) == [(102, 15), (104, 30)]


@pytest.mark.parametrize(("queue", "ahead"), [("worst", 30), ("proportional", 15), ("exact", 30)])
def test_what_brings_an_order_forward(queue, ahead):
    """Behind 40 of two orders; 10 of the first are cancelled, and all 40 of one that came later; then 42 trade.

    worst: no more than what the level still shows. proportional: 40 - 10 * 40 / 80, and that - 40 * 35 / 70.
    """
    v = venues(queue)
    v.send(add(1, Side.BUY, 100, 20), add(2, Side.BUY, 100, 20), order(9, 100, 30, **REST))
    v.send(add(3, Side.BUY, 100, 40, 20 * MS))
    v.send(delta(4, 1, 30 * MS, qty=10), delta(2, 3, 30 * MS))
    found = v.send(trade(100, 42, 40 * MS, flags=Flag.AGGRESSOR_SELL))
    assert fills(found) == [(100, 42 - ahead)]


def test_a_trade_and_its_executions_are_one():
    v = venues("exact")
    v.send(add(1, Side.BUY, 100, 20), order(9, 100, 30, **REST))
    v.send(add(2, Side.BUY, 100, 40, 20 * MS))
    told = [trade(100, 25, 30 * MS, flags=Flag.AGGRESSOR_SELL)]
    told += [delta(3, 1, 30 * MS, qty=20), delta(3, 2, 30 * MS, qty=5)]
    assert fills(v.send(*told)) == [(100, 5)]
    assert fills(v.send(delta(3, 2, 60 * MS, qty=7))) == [(100, 7)]  # nobody told this one


def test_an_execution_that_is_not_printed_fills_nobody():
    """A cross at the order's own price (ITCH C, not printable): its volume is the cross's."""
    v = venues("exact")
    v.send(add(1, Side.BUY, 100, 20), order(9, 100, 30, **REST), add(2, Side.BUY, 100, 40, 20 * MS))
    crossed = [delta(3, 1, 30 * MS, qty=20, flags=Flag.NOT_PRINTED), delta(3, 2, 30 * MS, qty=5, exec_px=100,
                                                                           flags=Flag.NOT_PRINTED)]  # fmt: skip
    assert fills(v.send(*crossed)) == []
    assert fills(v.send(delta(3, 2, 40 * MS, qty=5))) == [(100, 5)]  # the 20 before it are gone


@pytest.mark.parametrize("own", [{"flags": Flag.PRINT}, {"match_id": 4}, {"flags": Flag.PRINT, "match_id": 4}])
def test_a_hidden_trade_is_not_the_execution_of_an_order(own):
    """ITCH: P and E of one time and price are two prints; LOBSTER: 5 and 4. Old recordings have the number alone."""
    v = venues("exact")
    v.send(add(1, Side.BUY, 100, 20, 10 * MS), order(9, 101, 30, **REST))
    told = [trade(101, 5, 30 * MS, flags=Flag.AGGRESSOR_SELL), add(2, Side.BUY, 101, 7, 30 * MS)]
    told += [delta(3, 2, 30 * MS, qty=7, **own)]
    assert fills(v.send(*told)) == [(101, 5), (101, 7)]


def test_the_trade_of_an_execution_prints_once():
    """It follows the execution, and fills nobody where that did; at a touch alone it is a trade like others."""
    v = venues("exact")
    v.send(add(1, Side.BUY, 100, 20), order(9, 100, 30, **REST), add(2, Side.BUY, 100, 40, 20 * MS))
    marks = Flag.PRINT | Flag.AGGRESSOR_SELL
    for number, qty, time, filled in ((1, 20, 30, []), (2, 5, 40, [(100, 5)]), (2, 7, 50, [(100, 7)])):
        told = [delta(3, number, time * MS, qty=qty, flags=Flag.PRINT), trade(100, qty, time * MS, flags=marks)]
        assert fills(v.send(*told)) == filled
    assert fills(v.send(trade(100, 4, 60 * MS, flags=Flag.AGGRESSOR_SELL), delta(3, 2, 60 * MS, qty=4))) == [(100, 4)]
    v = venues("worst")
    v.send(quote(100, 20, 101, 20), order(9, 100, 30, **REST))
    assert fills(v.send(trade(100, 25, 30 * MS, flags=marks))) == [(100, 5)]


def test_exact_is_refused_where_there_are_no_orders():
    v = venues("exact")
    v.send(quote(100, 10, 101, 10))
    assert reasons(v.send(order(1, 100, 10, **REST))) == ["UNSUPPORTED"]
    assert fills(v.send(order(2, 101, 10))) == [(101, 10)]


def test_a_reserve_order_hides_behind_what_is_displayed():
    v = venues()
    v.send(level(Side.BUY, 100, 20), order(1, 100, 50, display_qty=10, **REST))
    assert fills(v.send(trade(100, 25, 20 * MS), level(Side.BUY, 100, 0, 20 * MS))) == [(100, 5)]
    v.send(level(Side.BUY, 100, 30, 40 * MS))  # others come behind the five that are left of the ten
    assert fills(v.send(trade(100, 8, 60 * MS), level(Side.BUY, 100, 27, 60 * MS))) == [(100, 5)]
    assert fills(v.send(trade(100, 20, 80 * MS), level(Side.BUY, 100, 7, 80 * MS))) == []  # the next ten: at the end
    assert fills(v.send(trade(100, 20, 100 * MS), level(Side.BUY, 100, 0, 100 * MS)))[0][0] == 100


def test_a_print_through_the_price_takes_what_is_hidden():
    v = venues()
    v.send(level(Side.BUY, 100, 20), order(1, 100, 50, display_qty=10, **REST))
    assert fills(v.send(trade(99, 60, 20 * MS))) == [(100, 50)]


def whose(reports):
    """Fills as (order, price, quantity)."""
    return [(int(r.order_id), int(r.last_px), int(r.last_qty)) for r in reports if r.template_id == Template.FILL]


@pytest.mark.parametrize("shown", [level(Side.BUY, 100, 100), quote(100, 100, 110, 10)], ids=["level", "quote"])
def test_two_orders_do_not_both_have_what_one_print_left(shown):
    v = venues()
    v.send(shown, order(1, 100, 50, **REST), order(2, 100, 50, **REST))
    assert whose(v.send(trade(100, 150, 20 * MS))) == [(1, 100, 50)]
    assert whose(v.send(trade(100, 40, 40 * MS))) == [(2, 100, 40)]


@pytest.mark.parametrize("shown", [level(Side.BUY, 100, 100), quote(100, 100, 110, 10)], ids=["level", "quote"])
def test_what_our_better_order_takes_of_a_print_brings_nobody_forward(shown):
    v = venues()
    v.send(shown, order(1, 100, 50, **REST), order(2, 101, 50, **REST))
    assert whose(v.send(trade(100, 160, 20 * MS))) == [(2, 101, 50), (1, 100, 10)]


def test_what_one_order_hides_is_behind_what_another_shows():
    """60 trade: 20 of others, 10 that each of ours shows, and 20 of the first's hidden 40."""
    v = venues()
    v.send(level(Side.BUY, 100, 20), order(1, 100, 50, display_qty=10, **REST), order(2, 100, 10, **REST))
    assert whose(v.send(trade(100, 60, 20 * MS))) == [(1, 100, 30), (2, 100, 10)]


@pytest.mark.parametrize(("display", "reason"), [(60, "IMPOSSIBLE_QTY"), (-10, "IMPOSSIBLE_QTY")])
def test_impossible_displayed_quantities(display, reason):
    assert reasons(venues().send(order(1, 100, 50, display_qty=display, **REST))) == [reason]


def test_a_halt_fills_nobody():
    v = venues()
    v.send(*ASKS, order(1, 100, 10, **REST), status(1, 20 * MS))
    assert reasons(v.send(order(2, 104, 10))) == ["TRADING_HALTED"]
    assert reasons(v.send(order(3, 102, 10, **REST))) == ["NONE"]  # it rests
    assert fills(v.send(trade(99, 50, 60 * MS))) == []
    assert fills(v.send(status(3, 80 * MS), trade(99, 50, 80 * MS))) == []
    assert fills(v.send(status(0, 100 * MS))) == [(101, 10)]  # it takes when trading goes on
    assert reasons(v.send(status(2, 120 * MS), order(4, 99, 10, 120 * MS, **REST))) == ["MARKET_CLOSED"]
    assert reasons(v.send(cancel(1, 120 * MS))) == ["CLIENT_REQUEST"]


def test_who_came_in_a_halt_takes_and_who_was_there_is_taken():
    """Both would have 99, the older order first: it was in the book, and sells come to it."""
    v = venues()
    v.send(*ASKS, order(1, 100, 10, **REST), status(1, 20 * MS))
    v.send(order(2, 100, 10, **REST), level(Side.SELL, 99, 15, 25 * MS))
    reports = v.send(status(0, 60 * MS))
    assert whose(reports) == [(1, 100, 10), (2, 99, 5)]
    assert [int(r.liquidity) for r in reports] == [Liquidity.ADDED, Liquidity.REMOVED]


def test_an_order_that_waited_takes_level_after_level():
    v = venues()
    v.send(order(1, 102, 50, **REST))
    assert fills(v.send(*(level(Side.SELL, 100 + n, 10, 20 * MS, flags=Flag.MORE * (n < 4)) for n in (2, 1, 4)))) == [
        (101, 10),
        (102, 10),
    ]


def test_all_or_none_also_where_the_venue_runs_out_of_room():
    """One level can be remembered as taken: of the second nothing is taken, and fill-or-kill takes nothing at all."""
    v = Venues(config(Simulation(orders=64)), depth=SMALL._replace(taken=1))
    v.send(*ASKS)
    assert fills(v.send(order(1, 102, 30, tif=Tif.FOK))) == []
    assert fills(v.send(order(2, 102, 30, min_qty=20))) == []
    assert fills(v.send(order(3, 102, 30))) == [(101, 10)]
    assert int(v.ex.core[0].curbed) == 3


def test_a_sweep_leaves_the_message_slots_that_are_not_its_own():
    v = Venues(config(Simulation(orders=64)), depth=SMALL, flight=1 + RESERVE)
    v.send(*ASKS)
    assert brief(v.send(order(1, 104, 60))) == ["ACK 00 0@104 0+60", "FILL F1 10@101 10+50", "ACK 44 0@104 10+0"]
    assert (int(v.ex.core[0].free), int(v.ex.core[0].curbed)) == (1 + RESERVE, 1)


def test_a_book_that_found_no_room_is_counted_when_it_is_cleared():
    v = venues()
    v.send(*ASKS)
    v.ex.books.books["broken"][0] = 1
    assert fills(v.send(order(1, 104, 20))) == []
    v.send(record(Template.CLEAR, ts_event_ns=20 * MS), level(Side.SELL, 101, 10, 20 * MS))
    assert fills(v.send(order(2, 104, 20, 30 * MS))) == [(101, 10)]
    assert [int(n) for n in v.ex.pairs["broke"][:2]] == [1, 0]


def test_the_print_of_an_auction_fills_nobody():
    v = venues()
    v.send(level(Side.BUY, 100, 5), order(1, 101, 10, **REST))
    assert fills(v.send(trade(100, 500, 20 * MS, flags=Flag.AUCTION))) == []
    assert fills(v.send(trade(100, 500, 40 * MS))) == [(101, 10)]


def test_a_calendar_says_when_a_venue_trades():
    """XNYS on Friday 2018-11-23: from 9:30 to 13:00 in New York, and not before Monday again."""
    pytest.importorskip("exchange_calendars")
    nyse = msgspec.structs.replace(VENUES[0], calendar="XNYS")
    cfg = config(venues=(nyse, *VENUES[1:]), engine=Engine(run_dir="unused", trading_day="2018-11-23"))

    def at(text):
        return int(dt.datetime.fromisoformat(text + "+00:00").timestamp()) * 10**9

    v = Venues(cfg, depth=Depth(64, 64, 64))
    early, opened, late, monday = map(at, ("2018-11-23T14:29:59", "2018-11-23T14:30:00", "2018-11-23T18:00:00",
                                           "2018-11-26T14:30:00"))  # fmt: skip
    assert reasons(v.send(order(1, 100, 10, early, **REST), until_ns=early + MS)) == ["MARKET_CLOSED"]
    assert reasons(v.send(order(2, 100, 10, opened, **REST), until_ns=opened + MS)) == ["NONE"]
    assert reasons(v.send(order(3, 100, 10, opened + MS, tif=Tif.GTC), until_ns=opened + 2 * MS)) == ["NONE"]
    assert reasons(v.send(order(4, 100, 10, late), until_ns=late + MS)) == ["DAY_END", "MARKET_CLOSED"]
    assert fills(v.send(trade(99, 50, late + 2 * MS))) == []
    assert fills(v.send(trade(99, 50, monday))) == [(100, 10)]
    assert reasons(v.send(order(5, 100, 10, late, venue_id=1, **REST), until_ns=monday + 99 * MS)) == ["NONE"]


def test_a_calendar_that_is_none():
    pytest.importorskip("exchange_calendars")
    with pytest.raises(ConfigError, match='venue X: calendar = "XNOW": is no calendar of exchange-calendars; it has'):
        sessions("XNOW", 0, "venue X: calendar")


def test_a_lunch_break_is_closed():
    pytest.importorskip("exchange_calendars")
    day = int(dt.datetime(2024, 5, 7, tzinfo=dt.UTC).timestamp())
    mine = [(a, b) for a, b in sessions("XHKG", day) if a // 10**9 // 86_400 == day // 86_400]
    hours = [[dt.datetime.fromtimestamp(ns / 1e9, dt.UTC).strftime("%H:%M") for ns in pair] for pair in mine]
    assert hours == [["01:30", "04:00"], ["05:00", "08:00"]]


def backwards(rows):
    """The day as it is where venues and instruments are declared in the reverse order."""
    for kind, row in rows:
        if kind == "down":
            yield kind, len(VENUES) - 1 - row
            continue
        again = row.copy()
        if 0 <= again["venue_id"][0] < len(VENUES):
            again["venue_id"] = len(VENUES) - 1 - again["venue_id"]
        if again["instrument_id"][0] in (0, 1):
            again["instrument_id"] = 1 - again["instrument_id"]
        yield kind, again


def named(reports, order_of):
    """Reports by what they say, with venue and instrument by name."""
    found = []
    for report in reports:
        row = dict(zip(FIELDS, report, strict=True))
        row["venue_id"] = VENUES[::order_of][row["venue_id"]].mic
        row["instrument_id"] = "XY"[::order_of][row["instrument_id"]] if row["instrument_id"] in (0, 1) else "none"
        found.append(tuple(row.values()))
    return found


@pytest.mark.parametrize("queue", ["proportional", "exact"])
@settings(max_examples=25)
@given(day=d.days_of_orders)
def test_the_order_of_declaration_decides_nothing(files, queue, day):
    """With depth, queues, reserve orders, halts, hours and drawn latencies, at the level of every report."""
    cfg = drawn(files, Simulation(orders=64, queue=queue, partial_ppm=100_000, seed=3))
    turned = msgspec.structs.replace(cfg, venue=cfg.venue[::-1], instrument=cfg.instrument[::-1])
    rows = list(d.rows_of(day))
    mine = Driver(cfg, depth=SMALL, trading_hours=HOURS).run(rows)
    theirs = Driver(turned, depth=SMALL, trading_hours=HOURS[::-1]).run(list(backwards(rows)))
    assert named(mine, 1) == named(theirs, -1)


@pytest.mark.parametrize("seed", range(4))
def test_levels_in_a_run_do_what_each_by_itself_does(seed):
    """`ingest_depth`, which a backtest takes, beside `ingest`: orders of ours rest and have taken among the levels."""
    dice, exchanges = random.Random(seed), []
    rows, now = [], 1_000_000
    for n in range(400):
        now += dice.randrange(1_500)
        if n % 20 == 10:
            side, px = dice.choice(((Side.BUY, 99), (Side.SELL, 102), (Side.BUY, 103), (Side.SELL, 98)))
            tif = dice.choice((Tif.DAY, Tif.IOC))
            rows.append(order(n, px, 30, now, side=side, tif=tif, display_qty=10 if tif == Tif.DAY else 0))
        side = dice.choice((Side.BUY, Side.SELL))
        px = 100 + dice.randrange(-4, 4) if side == Side.BUY else 101 + dice.randrange(-3, 5)
        more = Flag.MORE if dice.random() < 0.6 else 0
        more |= Flag.SNAPSHOT if dice.random() < 0.1 else 0
        away = dice.choice((-5_000, 70, 4_000, 900_000)) if dice.random() < 0.2 else 0
        what = {"instrument_id": dice.choice((0, 0, 0, 0, 0, 0, 1, 5)), "venue_id": dice.choice((0, 0, 0, 0, 0, 1, 7))}
        rows.append(
            level(side if dice.random() < 0.97 else 0, px + away, 10 * dice.randrange(5), now, flags=more, **what)
        )
        if dice.random() < 0.02:
            rows.append(level(Side.BUY, 99, 10, now - 700))
    inbox, units = packed(rows)
    for in_runs, whole in ((False, 0), (True, 0), (True, 1)):
        ex = create(config(Simulation(orders=64, queue="proportional")), epoch=1, depth=SMALL)
        out, at, seen = out_slots(256), 0, b""
        while at < units:
            if in_runs:
                at = int(ingest_depth(ex, inbox, at, units, 1 << 60, whole))
            if at < units:
                at = int(ingest(ex, inbox, at, at + units_of(inbox, at), 0, out))
            seen += out[: int(ex.core[0].out_count)].tobytes()
            ex.core[0].out_count = 0
        told = [array.tobytes() for name, array in ex.arrays().items() if name != "reports"]
        books = [array.tobytes() for array in ex.books.arrays().values()]
        exchanges.append((seen, told, books))
    assert exchanges[0] == exchanges[1] == exchanges[2]
    assert len(exchanges[0][0]) > 20 * RECORD_MAX
