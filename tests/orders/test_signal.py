"""Signals: positions that are wanted become parent orders, exactly, and what is wrong is told with its row."""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.record.records import OrdType, Side, Tif
from engine.run import config as c
from gateways.orders.parents import ParentError
from gateways.orders.signal_file import read_signal

MIDNIGHT_NS = int(dt.datetime(2018, 1, 2, tzinfo=dt.UTC).timestamp()) * 10**9
HOUR_NS = 3600 * 10**9


def settings():
    return c.Config(
        engine=c.Engine(run_dir="unused", clock="feed", trading_day="2018-01-02"),
        orders=c.Orders(endpoint="ipc:///unused"),
        feed=[c.Feed(name="recorded", endpoint="ipc:///unused2")],
        session=[c.Session(name="desk", role="client"), c.Session(name="venue", role="venue")],
        venue=[c.Venue(mic="XNYS", code="N", session="venue")],
        instrument=[
            c.Instrument(symbol="AAA", px_decimals=4),
            c.Instrument(symbol="BTC", px_decimals=2, qty_decimals=3),
        ],
        capacity=c.Capacity(accounts=3),
        risk=c.Risk(**c.ALL_OFF, max_qty="20000", max_notional="20000000", collar_bps=500, reference_age_ms=600_000),
    )


def written(tmp_path, text):
    path = tmp_path / "signal.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_differences_of_targets_become_orders(tmp_path):
    path = written(
        tmp_path,
        "at,symbol,target,px,ord_type,tif,account\n"
        "14:30:00,AAA,1000,,,IOC,\n"
        "14:30:00,BTC,-0.25,61000.5,,,\n"
        "\n"
        "14:31:00.5,AAA,1000,,,,\n"
        "+3600,AAA,400,157.25,,,\n"
        "2018-01-02T16:00:00.000000001,AAA,-200,,MARKET,FOK,\n"
        "2018-01-02 17:00:00Z,AAA,5,,,,2\n",
    )
    found = read_signal(path, settings(), MIDNIGHT_NS + 14 * HOUR_NS)
    assert [(p.cl_ord_id, p.instrument_id, p.side, p.qty, p.px, p.ord_type, p.tif, p.account_id) for p in found] == [
        ("S000002", 0, Side.BUY, 1000, 0, OrdType.MARKET, Tif.IOC, 0),
        ("S000003", 1, Side.SELL, 250, 6_100_050, OrdType.LIMIT, Tif.DAY, 0),
        ("S000006", 0, Side.SELL, 600, 1_572_500, OrdType.LIMIT, Tif.DAY, 0),
        ("S000007", 0, Side.SELL, 600, 0, OrdType.MARKET, Tif.FOK, 0),
        ("S000008", 0, Side.BUY, 5, 0, OrdType.MARKET, Tif.DAY, 2),
    ]
    hours = [14 * HOUR_NS + HOUR_NS // 2] * 2 + [15 * HOUR_NS, 16 * HOUR_NS + 1, 17 * HOUR_NS]
    assert [p.at_ns - MIDNIGHT_NS for p in found] == hours


def test_the_first_difference_is_to_what_is_held(tmp_path):
    path = written(tmp_path, "at,symbol,target,account\n09:00:00,AAA,100,1\n09:00:01,AAA,100,0\n09:00:02,BTC,-1,1\n")
    found = read_signal(path, settings(), 0, {(1, 0): 150, (0, 0): 100, (1, 1): -2000})
    assert [(p.account_id, p.side, p.qty) for p in found] == [(1, Side.SELL, 50), (1, Side.BUY, 1000)]


def test_orders_add_up_to_the_targets(tmp_path):
    draw = random.Random(7)
    rows, text = [], "at,symbol,target,account\n"
    for n in range(500):
        symbol, account = draw.choice(["AAA", "BTC"]), draw.randrange(3)
        target = Decimal(draw.randrange(-5000, 5000)) / (1000 if symbol == "BTC" else 1)
        rows.append((symbol, account, target))
        text += f"+{n},{symbol},{target},{account}\n"
    held: dict[tuple[int, int], int] = {}
    found = {p.cl_ord_id: p for p in read_signal(written(tmp_path, text), settings(), MIDNIGHT_NS)}
    for n, (symbol, account, target) in enumerate(rows):
        key = account, ("AAA", "BTC").index(symbol)
        order = found.pop(f"S{n + 2:06d}", None)
        if order is not None:
            assert (order.account_id, order.instrument_id, order.at_ns) == (*key, MIDNIGHT_NS + n * 10**9)
            held[key] = held.get(key, 0) + (order.qty if order.side == Side.BUY else -order.qty)
        assert held.get(key, 0) == target * (1000 if symbol == "BTC" else 1)
    assert found == {}


@pytest.mark.parametrize("kind", ["parquet", "table"])
def test_parquet_and_tables(tmp_path, kind):
    times = [MIDNIGHT_NS + n * HOUR_NS for n in (9, 10, 11)]
    table = pa.table(
        {
            "at": pa.array(times, pa.timestamp("ns", "UTC")),
            "symbol": pa.array(["AAA", "BTC", "AAA"]).dictionary_encode(),
            "target": pa.array([100.0, 0.125, -3.0]),
            "px": pa.array([157.25, None, None]),
        }
    )
    signal = table
    if kind == "parquet":
        signal = tmp_path / "signal"
        pq.write_table(table, signal)
    found = read_signal(signal, settings())
    assert [(p.cl_ord_id, p.at_ns, p.side, p.qty, p.px) for p in found] == [
        ("S000001", times[0], Side.BUY, 100, 1_572_500),
        ("S000002", times[1], Side.BUY, 125, 0),
        ("S000003", times[2], Side.SELL, 103, 0),
    ]
    plain = pa.table({"at": times, "symbol": ["AAA"] * 3, "target": pa.array([1, 2, 2], pa.int32())})
    assert [p.at_ns for p in read_signal(plain, settings())] == times[:2]
    exact = pa.table({"at": times[:1], "symbol": ["BTC"], "target": pa.array([Decimal("1.500")], pa.decimal128(9, 3))})
    assert [p.qty for p in read_signal(exact, settings())] == [1500]
    naive = pa.table({"at": pa.array([1_514_883_600_000], pa.timestamp("ms")), "symbol": ["AAA"], "target": [1]})
    assert [p.at_ns for p in read_signal(naive, settings())] == [1_514_883_600_000_000_000]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("10:00:00,AAA,1.5\n", ":2: column target = '1.5': value '1.5' has 1 decimals, and 0 can be held"),
        ("10:00:00,AAA,\n", ":2: column target = '': "),
        ("10:00:00,ZZZ,1\n", ":2: column symbol = 'ZZZ': allowed are the instruments of the configuration, AAA, BTC"),
        ("noon,AAA,1\n", ":2: column at = 'noon': a time of day in UTC"),
        ("2018-01-02T25:00:00,AAA,1\n", "column at = '2018-01-02T25:00:00': a time UTC like 2018-01-02T14:30:00.250"),
        ("10:00:01,AAA,1\n10:00:00,AAA,2\n", ":3: column at = '10:00:00': it is before the row above it"),
        ("10:00:00,AAA\n", ":2: 2 columns, the header has 3"),
        ("10:00:00,AAA,x\n10:00:00,YYY,1\n", ":2: column target = 'x'"),
    ],
)
def test_what_is_wrong_is_told_with_its_row(tmp_path, rows, said):
    path = written(tmp_path, "at,symbol,target\n" + rows)
    with pytest.raises(ParentError) as caught:
        read_signal(path, settings())
    assert f"{path}{said}" in str(caught.value) or said in str(caught.value)
    assert str(path) in str(caught.value)


def test_all_mistakes_at_once_and_of_tables(tmp_path):
    header = "at,symbol,target,px,ord_type,tif,account\n"
    path = written(tmp_path, header + "1,AAA,1,0,,,\n2,AAA,2,1,MARKET,,\n3,AAA,3,,,XX,9\n")
    with pytest.raises(ParentError) as caught:
        read_signal(path, settings())
    told = str(caught.value)
    assert "column px = '0': a number above 0 is needed" in told
    assert "column px = '1': a market order has no price" in told
    assert "column tif = 'XX': allowed are DAY" in told
    assert "column account = '9': an account from 0 to 2" in told
    table = pa.table({"at": [1, 2], "symbol": ["AAA", "AAA"], "target": [1.0, 0.1 + 0.2]})
    with pytest.raises(ParentError, match=r"signal:2: column target = '0.30000000000000004'"):
        read_signal(table, settings())
    for text, said in (("at,symbol\n", "lacks 'target'"), ("at,symbol,target,qty\n", "has the unknown 'qty'")):
        with pytest.raises(ParentError, match=said):
            read_signal(written(tmp_path, text), settings())
    with pytest.raises(ParentError, match="cannot be read"):
        read_signal(tmp_path / "none", settings())
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ParentError, match="neither CSV in UTF-8 nor Parquet"):
        read_signal(tmp_path / "cut.parquet", settings())
