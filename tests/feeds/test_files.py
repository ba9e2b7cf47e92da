"""Days from files of any kind, recognised by what is in them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from gateways.feeds import recording, taq
from gateways.feeds.files import kind_of, read_files
from gateways.feeds.names import Names
from gateways.feeds.report import FeedError
from tests.feeds.test_taq import QUOTE_ROW, TRADE_ROW, write
from tests.feeds_path import feed_path

NAMES = Names.listed()


def test_files_are_recognised_by_their_content(tmp_path: Path) -> None:
    quotes = write(tmp_path / "a.bin", taq.QUOTE_COLUMNS, [QUOTE_ROW])
    trades = tmp_path / "b.bin"
    trades.write_bytes(gzip.compress(f"{taq.TRADE_COLUMNS}\r\n{TRADE_ROW}\r\n".encode()))
    day, report = read_files([trades, quotes], NAMES)
    day.save(tmp_path / "c.bin")
    assert [kind_of(tmp_path / f"{x}.bin") for x in "abc"] == ["taq quotes", "taq trades", "recording"]
    again, counted = read_files([tmp_path / "c.bin"], NAMES)
    assert bytes(again.data) == bytes(day.data)
    assert (counted.quotes, counted.trades, counted.by_venue) == (report.quotes, report.trades, report.by_venue)
    assert read_files([quotes], NAMES)[0].count == 1


def test_a_captured_day_survives_being_recorded(tmp_path: Path) -> None:
    files = [feed_path("taq", f"XXX_2018-01-02_{kind}.csv.gz") for kind in ("quotes", "trades")]
    day, report = read_files(files, Names.listed([*"NYBPTZKXVJAMD"]))
    day.save(tmp_path / "day")
    again, counted = read_files([tmp_path / "day"], Names.listed([*"NYBPTZKXVJAMD"]))
    assert bytes(again.data) == bytes(day.data)
    assert counted.lines()[2:] == report.lines()[3:]
    with pytest.raises(FeedError, match="recorded with venues"):
        read_files([tmp_path / "day"], NAMES)


def test_files_that_do_not_make_up_a_day_are_refused(tmp_path: Path) -> None:
    quotes = write(tmp_path / "q.csv", taq.QUOTE_COLUMNS, [QUOTE_ROW])
    day = tmp_path / "day"
    recording.build([], NAMES).save(day)
    for paths in ([], [quotes, quotes], [day, quotes]):
        with pytest.raises(FeedError, match="do not make up a day"):
            read_files(paths, NAMES)
    (tmp_path / "x").write_text("time,price\n")
    with pytest.raises(FeedError, match="no known format"):
        read_files([tmp_path / "x"], NAMES)
    (tmp_path / "x").write_bytes(gzip.compress(b"time")[:12])
    with pytest.raises(FeedError, match="gzip"):
        read_files([tmp_path / "x"], NAMES)
    with pytest.raises(FeedError, match="No such file"):
        read_files([tmp_path / "none"], NAMES)
