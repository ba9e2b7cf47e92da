"""Executions that orders alone tell of, in backtests: they are in the market's VWAP, and venues do what they did."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date

import numpy as np
import pytest

from cli.main import main
from engine.record.records import Flag, Template
from gateways.formats.batch import make_batch
from gateways.formats.convert import convert
from gateways.formats.fit import Fitted
from replay import backtest
from tests.backtest.test_depth import AAPL, LOBSTER, played, rows_of
from tests.feeds_path import feed_path
from tests.formats import itch_made
from tests.formats.itch_twin import midnight_ns
from tests.formats.test_watch import records_of

ITCH = {**AAPL, "day_end": "23:59:59"}
MIDNIGHT_NS = midnight_ns(date(2019, 12, 30))
#: They take, and they rest at and behind the touch.
PARENTS = [
    (f"14:30:{2 + n:02}", "BUY" if n % 2 else "SELL", 100 + 50 * (n % 3), px, tif)
    for n, (px, tif) in enumerate(
        [
            ("300.05", "DAY"),
            ("299.99", "DAY"),
            ("299.90", "IOC"),
            ("299.98", "DAY"),
            ("300.01", "DAY"),
            ("300.10", "DAY"),
        ]
        * 6
    )
]
#: The same for LOBSTER's three quarters of a minute.
SLOW_PARENTS = [
    (f"13:30:{n:02}", "SELL" if n % 2 else "BUY", 50, px, "DAY")
    for n, px in enumerate(("585.50", "585.50", "585.40", "585.60", "585.30", "585.70") * 5, start=2)
]


def feed_of(path, rest=""):
    return f"[[backtest.feed]]\nfile = '{path}'\n{rest}"


def slow_vwap(trades, begin_ns, end_ns):
    mine = [(px, qty) for ns, px, qty in trades if begin_ns <= ns <= end_ns]
    return sum(px * qty for px, qty in mine) / sum(qty for _, qty in mine) / 10_000 if mine else None


def held(result, trades):
    """Hold the orders' VWAP to the trades (UTC ns, price, quantity); how many had one."""
    known, columns = 0, ("time", "last_fill")
    times = [result.orders()[name].cast("int64").to_pylist() for name in columns]
    tape = result.tape.against_vwap(result.tables.orders)["vwap"].to_pylist()
    for begin, end, vwap, whole in zip(*times, result.orders()["vwap"].to_pylist(), tape, strict=True):
        slow = None if end is None else slow_vwap(trades, begin, end)
        assert vwap == pytest.approx(slow) if slow is not None else vwap is None
        assert whole == pytest.approx(slow) if slow is not None else whole is None
        known += slow is not None
    return known


@pytest.fixture(scope="module")
def minute(tmp_path_factory):
    """A made minute of ITCH, its file, and what a backtest of it came to."""
    folder, messages = tmp_path_factory.mktemp("minute"), itch_made.minute(5)
    path = itch_made.write(folder, messages)
    result = played(folder, "run", [path], PARENTS, feed=feed_of(path), simulation="queue = 'exact'", **ITCH)
    return messages, path, result


def test_the_vwap_is_that_of_all_that_was_printed(minute):
    messages, _, result = minute
    trades = [(MIDNIGHT_NS + ns, px, qty) for ns, px, qty in itch_made.traded(messages)]
    assert held(result, trades) > 15
    summary = result.summary()
    assert summary["without_vwap"] == []
    assert summary["by_kind"]["TRADE"] == len(trades)
    assert len(trades) > 3 * sum(m[:1] in (b"P", b"Q") for m in messages)


def test_a_recording_of_the_file_is_the_file(minute, tmp_path):
    _, path, result = minute
    convert(path, tmp_path / "day.rec")
    recorded = tmp_path / "day.rec"
    again = played(tmp_path, "run", [recorded], PARENTS, feed=feed_of(recorded), simulation="queue = 'exact'", **ITCH)
    assert again.journal_hash() == result.journal_hash()
    assert again.orders().equals(result.orders())


def test_the_report_of_it_and_of_a_run_of_its_run(minute, tmp_path):
    _, _, result = minute
    figures = tmp_path / "r.json"
    assert main(["report", str(result.run_dir), "--json", str(figures)]) == 0
    trading = json.loads(figures.read_bytes())["trading"]
    assert trading["without_vwap"] == []
    with_vwap = result.orders().num_rows - result.orders()["vwap"].null_count
    assert {row["name"]: row["orders"] for row in trading["benchmarks"]}["VWAP until the last fill"] == with_vwap > 15


@pytest.mark.parametrize("queue", ["worst", "proportional", "exact"])
@pytest.mark.parametrize("kind", ["itch", "lobster"])
def test_the_venues_fill_what_they_filled_without_these_trades(minute, tmp_path, monkeypatch, kind, queue):
    path, feed, terms, parents = minute[1], feed_of(minute[1]), ITCH, PARENTS
    if kind == "lobster":
        path, terms = feed_path("lobster", LOBSTER), AAPL
        feed = feed_of(path, "venue = 'XNAS'\nsymbol = 'AAPL'\n")
        parents = SLOW_PARENTS
    simulation = f"depth = true\nqueue = '{queue}'"
    new = played(tmp_path, "new", [path], parents, feed=feed, simulation=simulation, **terms)
    whole, left_out = Fitted.batches, Counter[int]()

    def without(self, *args, **options):
        for batch in whole(self, *args, **options):
            out = make_batch(len(batch.head))
            for record in records_of(batch):
                if record["template_id"] == Template.TRADE and record["flags"] & Flag.PRINT:
                    left_out[int(record["venue_id"])] += 1
                    continue
                record["stream_seq"] -= left_out[int(record["venue_id"])]
                at, words = 8 * int(out.used[0]), np.frombuffer(record.tobytes(), np.int64)
                out.words[at : at + len(words)] = words
                out.used[0] += len(words) // 8
            yield out

    monkeypatch.setattr(Fitted, "batches", without)
    old = played(tmp_path, "old", [path], parents, feed=feed, simulation=simulation, **terms)
    told = [result.summary()["by_kind"]["TRADE"] for result in (new, old)]
    assert told[0] - told[1] == left_out[0] > 50
    fills = [
        rows_of(result.fills(), "venue_time", "exec_id", "side", "px", "qty", "liquidity") for result in (new, old)
    ]
    assert fills[0] == fills[1]
    assert sum(row[-1] == "ADDED" for row in fills[0]) > 5
    names = [n for n in new.children().schema.names if n != "journal_seq"]
    assert new.children().select(names).equals(old.children().select(names))
    assert new.positions().equals(old.positions())


def test_lobster_as_its_rows_say(tmp_path):
    path = feed_path("lobster", LOBSTER)
    feed = feed_of(path, "venue = 'XNAS'\nsymbol = 'AAPL'\n")
    result = played(tmp_path, "run", [path], SLOW_PARENTS, feed=feed, simulation="depth = true", **AAPL)
    day_ns, trades = midnight_ns(date(2012, 6, 21)), []
    for line in path.read_text().splitlines():
        time, kind, _, qty, px, _ = line.split(",")
        if kind in "456":
            seconds, _, part = time.partition(".")
            trades.append((day_ns + int(seconds) * 10**9 + int(part.ljust(9, "0")), int(px), int(qty)))
    assert held(result, trades) > 5
    assert result.summary()["without_vwap"] == []


def test_where_an_execution_has_no_price_there_is_no_vwap(tmp_path, capsys):
    """One of an order that nobody added: trades are not all that was traded, and the average is not the market's."""
    messages = itch_made.minute(5, 1000)
    path = itch_made.write(tmp_path, [*messages[:500], itch_made.unknown(itch_made.OPEN_NS + 499 * 20_000_000)])
    result = played(tmp_path, "untold", [path], PARENTS[:6], feed=feed_of(path), simulation="depth = true", **ITCH)
    assert result.orders()["last_fill"].null_count < 4
    assert result.summary()["by_kind"]["TRADE"] > 0
    for table in (result.orders(), result.tape.against_vwap(result.tables.orders)):
        assert set(table["vwap"].to_pylist() + table["against_vwap_bps"].to_pylist()) == {None}
    assert result.summary()["without_vwap"] == ["AAPL"]
    [told] = json.loads((result.run_dir / "backtest.json").read_bytes())["feeds"]
    assert (told["untold"], told["dangling"], told["by_orders"]) == (1, 1, ["AAPL"])
    figures, page = tmp_path / "r.json", tmp_path / "r.html"
    assert main(["report", str(result.run_dir), "--json", str(figures), "--html", str(page)]) == 0
    trading = json.loads(figures.read_bytes())["trading"]
    assert trading["without_vwap"] == ["AAPL"]
    assert {row["name"]: row["orders"] for row in trading["benchmarks"]}["VWAP until the last fill"] == 0
    assert "No VWAP of AAPL: the feed tells executions by orders" in page.read_text(encoding="utf-8")
    again = tmp_path / "again"
    assert main(["backtest", str(result.run_dir), "--out", str(again)]) == 0
    assert "vwap      none of AAPL" in capsys.readouterr().out
    assert backtest.read(again).summary()["without_vwap"] == ["AAPL"]


def test_without_depth_they_print_as_other_trades_do(minute, tmp_path):
    """A venue that has the touch alone sees no order executed: what rests there fills by trades."""
    messages, path, _ = minute
    result = played(tmp_path, "touch", [path], PARENTS, feed=feed_of(path), simulation="depth = false", **ITCH)
    executed = {MIDNIGHT_NS + int.from_bytes(m[5:11], "big") for m in messages if m[:1] in (b"E", b"C")}
    times = result.fills()["venue_time"].cast("int64").to_pylist()
    added = [at for at, kind in zip(times, result.fills()["liquidity"].to_pylist(), strict=True) if kind == "ADDED"]
    assert executed & set(added)
