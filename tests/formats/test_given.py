"""What a person says of a file that it does not say itself: taken, noted where missing, refused where it cannot be."""

from __future__ import annotations

import json
import struct
from datetime import date

import pytest

from cli.main import main
from engine.errors import UsageError
from gateways.formats import itch, tardis
from gateways.formats.inspection import inspect
from gateways.formats.itch import new_york_midnight_ns
from gateways.formats.known import Given, open_file
from tests.feeds_path import feed_path
from tests.formats.itch_twin import HEAD
from tests.formats.reading import read

DELETE = struct.pack(HEAD, b"D", 1, 0, (7).to_bytes(6, "big")) + struct.pack(">Q", 5)
DAY = date(2019, 12, 30)


@pytest.fixture
def nameless(tmp_path):
    """An ITCH file whose name says nothing."""
    path = tmp_path / "feed"
    path.write_bytes(struct.pack(">H", len(DELETE)) + DELETE)
    return path


def told(capsys, *arguments):
    """What `tickroute feed inspect` finds."""
    capsys.readouterr()
    assert main(["feed", "inspect", *map(str, arguments), "--json", "-"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_day_that_nobody_says_is_noted(nameless, capsys, tmp_path):
    found = told(capsys, nameless)
    assert found["notes"] == [itch.NO_DAY]
    assert found["first_ns"] == new_york_midnight_ns(date(1970, 1, 1)) + 7
    assert main(["feed", "inspect", str(nameless)]) == 0
    assert "note: the day is said by neither" in " ".join(capsys.readouterr().out.split())
    assert main(["feed", "convert", str(nameless), str(tmp_path / "day.rec")]) == 0
    assert "note: the day is said by neither" in " ".join(capsys.readouterr().out.split())
    assert told(capsys, tmp_path / "day.rec")["notes"] == [itch.NO_DAY]


def test_a_day_and_a_market_that_are_said(nameless, capsys, tmp_path):
    found = told(capsys, nameless, "--day", "2019-12-30", "--market", "XBOS")
    assert (found["notes"], found["venues"]) == ([], ["XBOS"])
    assert found["first_ns"] == new_york_midnight_ns(DAY) + 7
    out = tmp_path / "day.rec"
    assert main(["feed", "convert", str(nameless), str(out), "--day", "2019-12-30", "--market", "XPSX"]) == 0
    assert told(capsys, out)["venues"] == ["XPSX"]
    assert read(open_file(out))[0][3] == new_york_midnight_ns(DAY) + 7


def test_decimals_that_are_said(tmp_path, capsys):
    path = tmp_path / "trades.csv"
    header = list(tardis.COLUMNS)[1]
    path.write_text(f"{header}\nbinance,BTCUSDT,1,2,3,buy,61000.25,0.125\n")
    assert [row[-2:] for row in read(open_file(path))] == [(6_100_025_000_000, 12_500_000)]
    assert [row[-2:] for row in read(open_file(path, Given(decimals=(2, 3))))] == [(6_100_025, 125)]
    (row,) = told(capsys, path, "--decimals", "2,3")["instruments"]
    assert (row["px_decimals"], row["qty_decimals"], row["volume"]) == (2, 3, 125)


def test_a_symbol_that_is_said(capsys, tmp_path):
    path = tmp_path / "orders.csv"
    path.write_text("34200.5,1,7,100,5853300,1\n")
    unsaid = [note.partition(" is ")[0] for note in inspect(path).notes]
    assert unsaid == ["the day", "the symbol", "the book at the begin"]
    found = told(capsys, path, "--symbol", "AAPL", "--day", "2012-06-21")
    assert [row["symbol"] for row in found["instruments"]] == ["AAPL"]
    assert [note.partition(" is ")[0] for note in found["notes"]] == ["the book at the begin"]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--day", "2019-13-40", "--day '2019-13-40': is no day; write it as 2019-12-30"),
        ("--market", "XNYS", "--market 'XNYS': must be one of XNAS, XBOS, XPSX"),
        ("--decimals", "2", "--decimals '2': must be two numbers from 0 to 9"),
        ("--decimals", "2,10", "--decimals '2,10': must be two numbers from 0 to 9"),
        ("--product", "swap", "--product 'swap': must be one of spot, usdm, coinm"),
        ("--symbol", "", "--symbol '': is empty"),
        ("--decimals", "2,3", "decimals (2, 3): a file of itch tells that itself; only day, market can be said of it"),
    ],
)
def test_what_cannot_be_said_is_refused(nameless, capsys, tmp_path, option, value, words):
    for command in (["inspect", str(nameless)], ["convert", str(nameless), str(tmp_path / "out.rec")]):
        assert main(["feed", *command, option, value]) == 2
        assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out.rec").exists()


def test_a_capture_of_iex_says_its_day_itself():
    with pytest.raises(UsageError, match="a capture of IEX tells both itself"):
        open_file(feed_path("iex", "TOPS16.pcapng.gz"), Given(day=DAY))
    path = next(iter(sorted(feed_path("pcap", "nasdaq-itch-5.0").glob("*.pcap"))))
    with open_file(path, Given(day=DAY, market="XBOS")) as reader:
        list(reader.batches())
        assert reader.venues == ["XBOS"]
    with pytest.raises(UsageError, match="market 'XNYS' has no ITCH that is read; XNAS, XBOS, XPSX have"):
        open_file(path, Given(market="XNYS"))
