"""Files of other formats are played: fitted, merged in time, a run that verifies; and what must be asked for."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from engine.record.records import Template
from gateways.feeds.files import kind_of
from gateways.feeds.names import Names
from gateways.feeds.recording import build
from gateways.feeds.report import FeedError
from gateways.feeds.synthetic import generate
from gateways.formats.convert import convert
from gateways.formats.known import UNTOLD, Given
from replay import backtest
from replay.backtest.merge import Part, merged
from replay.backtest.play import files_of
from replay.backtest.settings import load
from replay.backtest.terms import feeds_of
from replay.verify import verify
from tests.backtest.test_merge import _unnumbered
from tests.feeds_path import feed_path

DOCS = Path(__file__).resolve().parents[2] / "docs"
EXAMPLE = DOCS / "backtest-btc.toml"
FILES = ("spot_btcusdt_20240808.gz", "usdm_btcusdt_20240808.gz", "cm_btcusd_perp_20240808.gz")
LINES = 6000


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The first lines of the three files, under their names."""
    folder = tmp_path_factory.mktemp("btc")
    for name in FILES:
        with gzip.open(feed_path("binance", name)) as file:
            text = b"".join(line for line, _ in zip(file, range(LINES), strict=False))
        (folder / name).write_bytes(text)
    return [folder / name for name in FILES]


@pytest.fixture(scope="module")
def played(files, tmp_path_factory):
    return backtest.run(EXAMPLE, files, run_dir=tmp_path_factory.mktemp("runs") / "one", orders=60)


def test_three_products_are_routed_each_to_its_venue(played):
    verdict = verify(played.run_dir)
    assert verdict.result == "identical"
    summary = played.summary()
    assert summary["quantity"]["adds_up"]
    assert summary["quantity"]["ordered"] is None, "coins and contracts are not added up"
    assert set(summary["quantities"]) == {"BTCUSDT", "BTCUSDT-PERP", "BTCUSD-PERP"}
    for symbol, told in summary["quantities"].items():
        orders = [row for row in played.orders().to_pylist() if row["symbol"] == symbol]
        assert told["ordered"] == pytest.approx(sum(row["qty"] for row in orders))
        assert told["filled"] == pytest.approx(sum(row["filled_qty"] for row in orders))
    assert summary["refusals"] == summary["alerts"] == {}
    assert sum(summary["parents"].values()) == 60
    pairs = set(zip(played.children()["symbol"].to_pylist(), played.children()["mic"].to_pylist(), strict=True))
    assert pairs == {("BTCUSDT", "SPOT"), ("BTCUSDT-PERP", "USDM"), ("BTCUSD-PERP", "COINM")}
    assert played.fills().num_rows > 20
    for symbol, px in zip(played.fills()["symbol"].to_pylist(), played.fills()["px"].to_pylist(), strict=True):
        assert 61_000 < px < 62_500, symbol


def test_three_products_are_reported(played, tmp_path, capsys):
    page, figures = tmp_path / "r.html", tmp_path / "r.json"
    assert main(["report", str(played.run_dir), "--html", str(page), "--json", str(figures)]) == 0
    found = json.loads(figures.read_bytes())
    assert found["verify"]["result"] == "identical"
    assert found["parents"]["sent"] == 60
    fills = {row["mic"]: row["fills"] for row in found["outcome"]["venues"]}
    told = played.fills()["mic"].to_pylist()
    assert fills == {mic: told.count(mic) for mic in ("SPOT", "USDM", "COINM")}
    assert [row["file"] for row in found["played"]] == list(FILES)
    assert [row["skew_ns"] for row in found["played"]] == [1_274_761_454] * 3
    text = page.read_text(encoding="utf-8")
    assert all(name in text for name in (*FILES, "BTCUSDT-PERP: price and fills"))
    assert "verify: identical" in capsys.readouterr().out


def test_what_was_fitted_is_written_down(played):
    rows = feeds_of(played.run_dir)
    assert [Path(row["file"]).name for row in rows] == list(FILES)
    kinds = played.summary()["by_kind"]
    # A CLEAR of each file's snapshot; another of each venue is the backtest's own.
    assert sum(row["given"] for row in rows) == kinds["QUOTE"] + kinds["TRADE"] + kinds["CLEAR"] - 3
    for row in rows:
        assert (row["format"], row["skew_ns"], row["negative"], row["clamped"]) == ("binance", 1_274_761_454, 0, 0)
        assert row["deep"] > 1000  # depth, for the venues alone: these files have quotes of their own
        void = "the book is void: held until a snapshot comes"
        assert set(row["skipped"]) - {void} <= {"price or quantity is finer than the instrument's decimals"}


def test_the_order_of_files_decides_nothing(played, files, tmp_path):
    again = backtest.run(EXAMPLE, files[::-1], run_dir=tmp_path / "run", orders=60)
    assert again.journal_hash() == played.journal_hash()


def test_what_was_converted_plays_as_its_source_does(played, files, tmp_path):
    for file in files:
        convert(file, tmp_path / file.name, skew=1_274_761_454)
    text = EXAMPLE.read_text(encoding="utf-8").replace("skew = 1_274_761_454\n", "")
    (tmp_path / "bt.toml").write_text(text, encoding="utf-8")
    recordings = [tmp_path / file.name for file in files]
    again = backtest.run(tmp_path / "bt.toml", recordings, run_dir=tmp_path / "run", orders=60)
    assert again.journal_hash() == played.journal_hash()
    assert {row["format"] for row in feeds_of(again.run_dir)} == {"tickroute"}
    with pytest.raises(FeedError, match="a recording in blocks, which is played by itself"):
        kind_of(recordings[0])


def test_a_clock_that_is_behind_is_refused(files, tmp_path, capsys):
    text = EXAMPLE.read_text(encoding="utf-8").replace("skew = 1_274_761_454\n", "", 1)
    (tmp_path / "bt.toml").write_text(text, encoding="utf-8")
    assert main(["backtest", str(tmp_path / "bt.toml"), *map(str, files), "--out", str(tmp_path / "run")]) == 1
    told = capsys.readouterr().err
    assert "clock is behind the source's by at least 1.2" in told
    assert "skew = 127" in told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('venue = "SPOT"', 'venue = "SPIT"', "backtest.feed[0].venue = 'SPIT': is not configured; SPOT, S, USDM"),
        ('symbol = "BTCUSDT"', 'symbol = "ETH"', "backtest.feed[0].symbol = 'ETH': is not configured"),
        ("skew = 1_274_761_454", 'skew = "yes"', "backtest.feed[0].skew"),
        ("skew = 1_274_761_454", 'touch = "best"', "backtest.feed[0].touch"),
        ("skew = 1_274_761_454", 'day = "2024-13-08"', "backtest.feed[0].day = '2024-13-08': month must be in 1..12"),
        ("skew = 1_274_761_454", 'day = "8.8.2024"', "backtest.feed[0].day"),
        ("skew = 1_274_761_454", 'market = "XNYS"', "backtest.feed[0].market"),
        ("skew = 1_274_761_454", "decimals = [2]", "backtest.feed[0].decimals"),
        ("skew = 1_274_761_454", "decimals = [2, 10]", "backtest.feed[0].decimals = [2, 10]: must be a list of 2"),
        ("skew = 1_274_761_454", 'product = "swap"', "backtest.feed[0].product"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path, capsys, old, new, words):
    text = EXAMPLE.read_text(encoding="utf-8")
    (tmp_path / "bt.toml").write_text(text.replace(old, new, 1), encoding="utf-8")
    assert main(["backtest", str(tmp_path / "bt.toml"), "none.gz"]) == 2
    told = capsys.readouterr().err.replace('"', "'")
    assert words in told
    assert "bt.toml:" in told


def test_what_a_file_does_not_say_is_given_to_its_reader(tmp_path):
    said = 'day = "2024-08-08"\nmarket = "XBOS"\ndecimals = [2, 5]\nproduct = "usdm"'
    text = EXAMPLE.read_text(encoding="utf-8").replace("skew = 1_274_761_454", said, 1)
    (tmp_path / "bt.toml").write_text(text, encoding="utf-8")
    rows = load(tmp_path / "bt.toml").backtest.feed
    assert rows[0].given == Given(dt.date(2024, 8, 8), "XBOS", None, (2, 5), "usdm")
    assert not rows[0].plain
    assert rows[1].given == UNTOLD


def test_files_of_the_command_line_keep_what_is_said_of_them(tmp_path):
    told = load(EXAMPLE).backtest
    named = files_of(told, [tmp_path / FILES[2], tmp_path / "other"])
    assert [(row.file, row.venue) for row in named] == [
        (str(tmp_path / FILES[2]), "COINM"),
        (str(tmp_path / "other"), ""),
    ]
    assert [row.symbol for row in files_of(told)] == ["BTCUSDT", "BTCUSDT-PERP", "BTCUSD-PERP"]


@pytest.mark.parametrize(("stretch", "size"), [(1, 1), (7, 3), (1 << 14, 50)])
def test_feeds_in_many_parts_are_the_day(stretch, size):
    names = Names.listed("NYBP", ("AA", "BB"))
    day = generate(1, names, quotes=300, trades=100)
    rows = [day.records(Template.QUOTE), day.records(Template.TRADE)]
    for part in rows:
        part["ts_event_ns"] //= 10**11  # many of one time
        part["ts_event_ns"] *= 10**11
    whole = build(rows[::-1], names)
    feeds = [_parts(build([part[part["venue_id"] == v]], names), size) for part in rows[::-1] for v in range(4)]
    laid = np.concatenate(list(merged(feeds, stretch, names.ranks())))
    assert np.array_equal(_unnumbered(laid), _unnumbered(whole.data))


def _parts(day, size):
    for low in range(0, day.count, size):
        offsets = day.offsets[low : low + size + 1]
        data = day.data[int(offsets[0]) : int(offsets[-1])]
        yield Part(data, offsets - offsets[0], day.times[low : low + size])
