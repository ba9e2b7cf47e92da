"""Recorded depth in backtests: orders of real days at venues that match against their books, and rest in queues."""

from __future__ import annotations

import json
import shutil
from bisect import bisect_right
from importlib.metadata import version
from pathlib import Path

import pytest

from cli.main import main
from engine.run import manifest
from perf.desk import CONTROLS_OFF
from replay import backtest
from replay.report.gather import gather
from replay.verify import verify
from tests.feeds_path import feed_path

HEAD = """
[backtest]
tail_s = 5
{feed}
[engine]
run_dir = "run"
[capacity]
parents = 1024
children = 4096
[journal]
segment_mib = 4
[routing]
stale_ms = 1000000
child_timeout_ms = 10000000
day_end = "{day_end}"
[routing.sweep]
rest = "venue"
[risk]
max_qty = "100000"
max_notional = "1000000000"
collar_bps = 1000
reference_age_ms = 1000000
{controls}[simulation]
seed = 1
{simulation}
[[session]]
name = "desk"
role = "client"
[[session]]
name = "venues"
role = "venue"
[[tick_table]]
name = "ticks"
rows = [["0", "{tick}"]]
[[instrument]]
symbol = "{symbol}"
px_decimals = {decimals}
lot = "1"
tick_table = "ticks"
[[venue]]
mic = "{mic}"
code = "{mic}"
session = "venues"
take_fee = "0.0030"
make_fee = "-0.0020"
latency_us = 500
lot = "1"
"""
AAPL = {"symbol": "AAPL", "mic": "XNAS", "tick": "0.01", "decimals": 4, "day_end": "20:00:00"}
LOBSTER = "AAPL_2012-06-21_34200000_57600000_message_10.csv"
BOOK = LOBSTER.replace("message", "orderbook")


def played(folder, name, files, parents, **what):
    """A run of a day of `what`, with parents as (at, side, quantity, price, time in force)."""
    return play(folder, name, HEAD.format(controls=CONTROLS_OFF, **what), what["symbol"], files, parents)


def play(folder, name, text, symbol, files, parents):
    (folder / "bt.toml").write_text(text, encoding="utf-8")
    lines = ["cl_ord_id,symbol,side,qty,px,ord_type,tif,account,at"]
    for n, (at, side, qty, px, tif) in enumerate(parents):
        lines.append(f"P{n:04},{symbol},{side},{qty},{px},LIMIT,{tif},0,{at}")
    (folder / "parents.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    result = backtest.run(folder / "bt.toml", files, run_dir=folder / name, parents=folder / "parents.csv")
    assert verify(result.run_dir).result == "identical"
    summary = result.summary()
    assert summary["quantity"]["adds_up"]
    return result


def rows_of(table, *names):
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


def levels_at(path, since_s):
    """Offers of a LOBSTER message file at a time: {price: quantity}, from orders that the file itself began with."""
    orders: dict[str, list[float]] = {}
    levels: dict[float, float] = {}
    with path.open(encoding="ascii") as file:
        for line in file:
            time, kind, number, size, px, side = line.split(",")
            if float(time) > since_s:
                break
            if side.strip() != "-1" or kind not in "1234":
                continue
            if kind == "1":
                orders[number] = [int(px) / 10_000, int(size)]
            elif number in orders:
                orders[number][1] -= orders[number][1] if kind == "3" else int(size)
    for px, qty in orders.values():
        levels[px] = levels.get(px, 0) + qty
    return {px: qty for px, qty in sorted(levels.items()) if qty > 0}


def test_an_order_sweeps_the_recorded_levels(tmp_path):
    """The remainder of a large order is posted at its limit and takes level after level, each at its own price.

    Without the opening book: the orders of the messages alone.
    """
    path = Path(shutil.copy(feed_path("lobster", LOBSTER), tmp_path))
    feed = f"[[backtest.feed]]\nfile = '{path}'\nvenue = 'XNAS'\nsymbol = 'AAPL'\n"
    parents = [("13:30:02", "BUY", 800, "587.95", "DAY"), ("13:30:09", "SELL", 100, "585.60", "DAY")]
    result = played(tmp_path, "exact", [path], parents, feed=feed, simulation="queue = 'exact'", **AAPL)
    fills = rows_of(result.fills(), "cl_ord_id", "px", "qty", "liquidity")
    swept, left = [], 800
    for px, qty in levels_at(path, 34202.0015).items():
        swept.append((px, min(qty, left)))
        left -= swept[-1][1]
        if left == 0:
            break
    assert len(swept) > 5
    assert [row[1:3] for row in fills if row[0] == "P0000"] == swept
    assert {row[1:2] + row[3:] for row in fills if row[0] == "P0001"} == {(585.6, "ADDED")}
    assert result.orders()["status"].to_pylist() == ["FILLED", "FILLED"]


def test_the_queue_of_a_day_of_orders(tmp_path):
    """ES order by order: the three queues fill alike in the end, and each at its own moments."""
    path = feed_path("dbn", "esh4-glbx-mdp3-20231225.mbo.dbn.zst")
    feed = f"[[backtest.feed]]\nfile = '{path}'\nvenue = 'XCME'\nsymbol = 'ES'\n"
    es = {"symbol": "ES", "mic": "XCME", "tick": "0.25", "decimals": 2, "day_end": "23:59:59"}
    parents = [
        (f"23:{n // 4 % 60:02}:{n % 4 * 15:02}", *(("BUY", 3, "4809.75"), ("SELL", 3, "4810.50"))[n % 2], "DAY")
        for n in range(200)
    ]
    moments = {}
    for queue in ("worst", "proportional", "exact"):
        result = played(tmp_path, queue, [path], parents, feed=feed, simulation=f"queue = '{queue}'", **es)
        fills = result.fills()
        added = [row for row in rows_of(fills, "side", "px", "liquidity") if row[2] == "ADDED"]
        assert len(added) > 50
        assert set(added) == {("BUY", 4809.75, "ADDED"), ("SELL", 4810.5, "ADDED")}
        moments[queue] = fills["venue_time"].cast("int64").to_pylist()
        held = dict(rows_of(result.positions(), "symbol", "qty"))
        signed = sum(qty if side == "BUY" else -qty for side, qty in rows_of(fills, "side", "qty"))
        assert held == {"ES": signed}
    assert result.summary()["without_vwap"] == []
    known = [(vwap, status) for vwap, status in rows_of(result.orders(), "vwap", "status") if vwap is not None]
    assert len(known) > 50
    assert all(4800.25 <= vwap <= 4811.75 for vwap, _ in known), "between the day's lowest trade and its highest"
    assert moments["worst"] != moments["proportional"] != moments["exact"] != moments["worst"]


def test_orders_outside_the_hours_are_rejected(tmp_path):
    """The evening of 25 December 2023: CME has opened at 23:00 UTC, New York's stock exchange is closed."""
    pytest.importorskip("exchange_calendars")
    path = feed_path("dbn", "esh4-glbx-mdp3-20231225.mbo.dbn.zst")
    feed = f"[[backtest.feed]]\nfile = '{path}'\nvenue = 'XCME'\nsymbol = 'ES'\n"
    es = {"symbol": "ES", "mic": "XCME", "tick": "0.25", "decimals": 2, "day_end": "23:59:59"}
    text = HEAD.format(controls=CONTROLS_OFF, feed=feed, simulation="queue = 'exact'", **es)
    parents = [("23:00:01", "BUY", 1, "4811.00", "IOC")]
    for calendar, status in (("XNYS", "REJECTED"), ("CMES", "FILLED")):
        result = play(tmp_path, calendar, text + f'calendar = "{calendar}"\n', "ES", [path], parents)
        assert set(result.children()["status"].to_pylist()) == {status}
        kept = manifest.from_bytes(gather(result.run_dir, {}).manifest)
        assert kept.versions["exchange-calendars"] == version("exchange-calendars")


def test_an_exact_queue_needs_orders(tmp_path, capsys):
    path = feed_path("lobster", BOOK)
    feed = f"[[backtest.feed]]\nfile = '{path}'\nvenue = 'XNAS'\nsymbol = 'AAPL'\n"
    (tmp_path / "bt.toml").write_text(
        HEAD.format(controls=CONTROLS_OFF, feed=feed, simulation="queue = 'exact'", **AAPL), encoding="utf-8"
    )
    assert main(["backtest", str(tmp_path / "bt.toml"), "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert "simulation.queue = 'exact'" in told.replace('"', "'")
    assert "has no orders, only quotes or levels (AAPL)" in " ".join(told.split())


def test_an_order_takes_what_the_opening_book_shows(tmp_path):
    """Half a second into the day: the offers of the row of the order book at that time, from orders of before it."""
    path = Path(feed_path("lobster", LOBSTER))
    times = [float(line.split(",")[0]) for line in path.read_text().splitlines()]
    books = path.with_name(BOOK).read_text().splitlines()
    row = [int(x) for x in books[bisect_right(times, 34200.5005) - 1].split(",")]
    shown = [(px / 10_000, qty) for px, qty in zip(row[0::4], row[1::4], strict=True)]
    feed = f"[[backtest.feed]]\nfile = '{path}'\nvenue = 'XNAS'\nsymbol = 'AAPL'\n"
    wanted = sum(qty for _, qty in shown[:3])
    parents = [("13:30:00.5", "BUY", wanted, f"{shown[2][0]:.2f}", "DAY")]
    result = played(tmp_path, "opening", [path], parents, feed=feed, simulation="queue = 'exact'", **AAPL)
    assert rows_of(result.fills(), "px", "qty") == shown[:3]
    told = json.loads((result.run_dir / "backtest.json").read_text())
    assert told["feeds"][0]["notes"] == [f"the book at the begin is the first row of {BOOK}: 20 levels"]


def test_without_depth_the_touch_alone_is_there(tmp_path):
    path = Path(shutil.copy(feed_path("lobster", LOBSTER), tmp_path))
    feed = f"[[backtest.feed]]\nfile = '{path}'\nvenue = 'XNAS'\nsymbol = 'AAPL'\n"
    parents = [("13:30:02", "BUY", 800, "587.95", "DAY")]
    result = played(tmp_path, "touch", [path], parents, feed=feed, simulation="depth = false", **AAPL)
    assert len(set(result.fills()["venue_time"].cast("int64").to_pylist())) > 2  # one touch at a time
