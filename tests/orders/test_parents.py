"""Parents from files and generated ones: what is read back, what is refused and how it is told, what lies where."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from engine.record.records import Flag, OrdType, Side, Template, Tif, blank
from engine.run.config import Engine, Instrument, Routing, TickTable, Venue
from gateways.feeds.names import Names
from gateways.feeds.recording import build
from gateways.orders.parents import Market, Parent, ParentError, generate_parents
from gateways.orders.parents_file import read_parents, write_parents
from tests.venues.world import config

DAY_NS = 17533 * 86400 * 10**9  # 2018-01-02
OPEN_NS, CLOSE_NS = DAY_NS + int(14.5 * 3600e9), DAY_NS + 21 * 3600 * 10**9


def day_config(**more):
    venues = tuple(Venue(mic=f"MIC{c}", code=c, session="alpha") for c in "NPT")
    return config(
        venues=venues,
        engine=Engine(run_dir="unused", trading_day="2018-01-02", clock="feed"),
        routing=Routing(stale_ms=5000, day_end="21:00:00"),
        **more,
    )


def recorded_day(cfg, count=4000, seed=1):
    """A day of quotes around 156.00, every few seconds from open to close, of all venues; and a few before."""
    rng = np.random.default_rng(seed)
    rows = blank(Template.QUOTE, count)
    rows["ts_event_ns"] = np.sort(rng.integers(OPEN_NS, CLOSE_NS, count))
    rows["ts_event_ns"][:10] = DAY_NS + 10**9 * np.arange(10)
    rows["venue_id"] = np.arange(count) % 3
    rows["bid_px"] = 15600 + rng.integers(-3, 1, count)
    rows["ask_px"] = 15602 + rng.integers(0, 4, count)
    rows["bid_qty"] = rows["ask_qty"] = 100 * rng.integers(1, 4, count)
    return build([rows], Names.of(cfg))


def test_generated_parents_are_the_same_each_time_and_follow_the_seed():
    cfg = day_config()
    day = recorded_day(cfg)
    first = generate_parents(day, cfg, 50, 7)
    assert first == generate_parents(day, cfg, 50, 7)
    assert first != generate_parents(day, cfg, 50, 8)
    assert [p.cl_ord_id for p in first] == [f"P{n:06d}" for n in range(1, 51)]


def test_generated_parents_are_spread_and_mixed():
    cfg = day_config()
    day = recorded_day(cfg, 20000)
    parents = generate_parents(day, cfg, 400, 7)
    market = Market(day.records(Template.QUOTE), 3, 5 * 10**9)
    times = np.array([p.at_ns for p in parents])
    assert (np.diff(times) >= 0).all()
    assert times[0] >= OPEN_NS
    assert times[-1] <= CLOSE_NS
    hours = np.histogram(times, bins=13, range=(OPEN_NS, CLOSE_NS))[0]
    assert hours.min() > 10
    sides, tifs = Counter(p.side for p in parents), Counter(p.tif for p in parents)
    assert min(sides.values()) > 150
    assert min(tifs[tif] for tif in (Tif.IOC, Tif.DAY, Tif.FOK)) > 20
    assert len({p.qty for p in parents}) > 5
    where: Counter[str] = Counter()
    for p in parents:
        best = market.best(p.at_ns)
        assert best is not None
        edge = p.px - best.ask_px if p.side == Side.BUY else best.bid_px - p.px
        width = best.ask_px - best.bid_px
        where["through" if edge > 0 else "at" if edge == 0 else "inside" if edge > -width else "outside"] += 1
        assert 0 < p.qty * p.px <= 1_000_000 * 100
        assert p.ord_type == OrdType.LIMIT
    assert min(where[place] for place in ("through", "at", "inside", "outside")) > 20


def test_limits_are_on_ticks_and_sizes_in_lots():
    instruments = [Instrument(symbol="XXX", px_decimals=2, lot="100", tick_table="nickels")]
    cfg = day_config()
    cfg = type(cfg)(
        **{name: getattr(cfg, name) for name in cfg.__struct_fields__ if name not in ("instrument", "tick_table")},
        instrument=instruments,
        tick_table=[TickTable(name="nickels", rows=[("0", "0.01"), ("1", "0.05")])],
    )
    parents = generate_parents(recorded_day(cfg), cfg, 100, 1)
    assert all(p.px % 5 == 0 and p.qty % 100 == 0 for p in parents)


def test_market_is_open_only_when_fresh_and_not_crossed():
    rows = blank(Template.QUOTE, 5)
    rows["ts_event_ns"] = [0, 1000, 2000, 3000, 4000]
    rows["venue_id"] = [0, 1, 1, 1, 1]
    rows["bid_px"], rows["ask_px"] = 10, 12
    rows["bid_px"][2] = 12
    rows["bid_qty"] = rows["ask_qty"] = 5
    rows["flags"][3] = Flag.CLOSED
    market = Market(rows, 3, 4500)
    assert market.best(500) is None, "one venue is not a market"
    assert market.best(1000) == (10, 12)
    assert market.best(2500) is None, "locked"
    assert market.best(3500) is None, "closed"
    assert market.best(4500) == (10, 12)
    assert market.best(4501) is None, "the first quote is too old"
    assert market.usual_qty == 5


def test_a_day_without_a_market_is_an_error():
    cfg = day_config()
    rows = blank(Template.QUOTE, 2)
    rows["ts_event_ns"], rows["venue_id"], rows["bid_qty"], rows["bid_px"] = OPEN_NS, 0, 1, 1
    with pytest.raises(ParentError, match=r"XXX: no moment .*stale_ms \(it is 5000\)"):
        generate_parents(build([rows], Names.of(cfg)), cfg, 1, 1)
    with pytest.raises(ParentError, match="no quotes"):
        generate_parents(build([], Names.of(cfg)), cfg, 1, 1)


def test_what_is_written_is_read_back(tmp_path):
    cfg = day_config()
    parents = generate_parents(recorded_day(cfg), cfg, 30, 3)
    parents.append(Parent("M", 1, Side.SELL_SHORT, 5, 0, OrdType.MARKET, Tif.IOC, 3, 0))
    parents.append(Parent("D", 1, Side.BUY, 50, 700, min_qty=20, display_qty=10))
    write_parents(tmp_path / "p.csv", parents, cfg)
    assert read_parents(tmp_path / "p.csv", cfg) == parents


def test_defaults_and_times(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text(
        "symbol,cl_ord_id,qty,side,px,at\nXXX,A,100,buy,1.5,14:30:00.25\n\nYYY,B,1,SELL,2,+0.5\nXXX,C,7,BUY,3,\n"
    )
    a, b, c = read_parents(path, day_config(), start_ns=1000)
    assert a == Parent("A", 0, Side.BUY, 100, 150, at_ns=OPEN_NS + 250_000_000)
    assert (b.instrument_id, b.at_ns, b.px) == (1, 500_001_000, 200)
    assert (c.at_ns, c.ord_type, c.tif, c.account_id) == (0, OrdType.LIMIT, Tif.DAY, 0)


BAD = """cl_ord_id,symbol,side,qty,px,ord_type,tif,account,at
A,XXX,BUY,100,1.50,LIMIT,DAY,0,
A,XXX,BUY,100,1.50,LIMIT,DAY,0,
name-of-17-letters,XXX,BUY,100,1.50,LIMIT,DAY,0,
B,ZZZ,BUY,100,1.50,LIMIT,DAY,0,
C,XXX,bye,0,1.505,LIMIT,DAY,0,
D,XXX,BUY,100,,LIMIT,DAY,0,
E,XXX,BUY,100,1.5,MARKET,DAY,0,
F,XXX,BUY,100,1.5,STOP,WEEK,16,25:00
G,XXX,BUY,100,1.5
H,XXX,BUY,x,1.5,LIMIT,DAY,-1,+soon
"""


def test_everything_wrong_is_told_at_once(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text(BAD)
    with pytest.raises(ParentError) as caught:
        read_parents(path, day_config())
    told = str(caught.value).splitlines()
    expected = [
        (3, "column cl_ord_id = 'A': line 2 has it already"),
        (4, "column cl_ord_id = 'name-of-17-letters': 1 to 16 ASCII characters"),
        (5, "column symbol = 'ZZZ': allowed are the instruments of the configuration, XXX, YYY"),
        (6, "column side = 'bye': allowed are BUY, SELL, SELL_SHORT"),
        (6, "column qty = '0': a number above 0"),
        (6, "column px = '1.505': value '1.505' has 3 decimals, and 2 can be held"),
        (7, "column px = '': value '' is no decimal number"),
        (8, "column px = '1.5': a market order has no price"),
        (9, "column ord_type = 'STOP': allowed are MARKET, LIMIT"),
        (9, "column tif = 'WEEK': allowed are DAY, GTC, IOC, FOK"),
        (9, "column account = '16': an account from 0 to 15"),
        (9, "column at = '25:00': a time of day in UTC"),
        (10, "5 columns, the header has 9"),
        (11, "column qty = 'x'"),
        (11, "column account = '-1'"),
        (11, "column at = '+soon'"),
    ]
    assert len(told) == len(expected)
    for line, (number, text) in zip(told, expected, strict=True):
        assert line.startswith(f"{path}:{number}: "), line
        assert text in line, line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks 'cl_ord_id', 'symbol', 'side', 'qty': allowed are"),
        ("cl_ord_id,symbol,side,qty,price,qty\n", "has the unknown 'price'; repeats 'qty'"),
        ('cl_ord_id,symbol,side,qty\n"A', "is no CSV file"),
    ],
)
def test_files_that_are_no_parents(tmp_path, text, message):
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(ParentError, match=message):
        read_parents(path, day_config())
    with pytest.raises(ParentError, match="cannot be read"):
        read_parents(tmp_path / "none.csv", day_config())
