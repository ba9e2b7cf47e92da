"""TAQ files with nobody to say which venues and symbols there are: every row as csv and Decimal read it."""

from __future__ import annotations

import csv
import gzip
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from engine.jit import JIT
from gateways.feeds.report import FeedError
from gateways.feeds.taq import QUOTE_COLUMNS, TRADE_COLUMNS
from gateways.formats.inspection import inspect
from gateways.formats.known import open_file
from tests.feeds.test_taq import naive_flags
from tests.feeds_path import feed_path
from tests.formats.reading import in_blocks, read, read_until_refused

pytestmark = pytest.mark.kernel

QUOTES = f"""{QUOTE_COLUMNS}
2018-01-02 14:30:00.000000001,N,10.01,2,10.02,3,AAA
2018-01-02 14:30:00.000000001,P,0,0,10.02,3,AAA
2018-01-02 14:30:00.5,N,1.000001,1,1.5,7,BBB.PR
2018-01-02 14:30:01,NN,10.01,2,10.02,3,AAA
2018-01-02 14:30:02,Z,10.01,2,10.0200001,3,AAA
2018-01-02 14:30:03,Z,10.01,2,10.02,3,A-SYMBOL-THAT-IS-LONG
2018-01-02 14:30:04,Z,10.01,2,10.02,3,CCC
"""
TRADES = f"""{TRADE_COLUMNS}
2018-01-02 14:30:00,D,AAA,@  I,7,10.0151,0
2018-01-02 14:30:00,N,AAA,@,100,10.01,0
2018-01-02 14:30:01,N,AAA,@,100,10.01,1
2018-01-02 14:30:02,K,BBB,@,0,10.01,0
2018-01-02 14:30:03,N,AAA,O,100,10.01,0
2018-01-02 14:30:03,N,AAA,@  M,100,10.01,0
2018-01-02 14:30:04,P,AAA, 4 Z,100,10.01,0
"""


def ns(text: str) -> int:
    whole, _, part = text.partition(".")
    seconds = datetime.strptime(whole, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    return int(seconds) * 10**9 + int(part.ljust(9, "0"))


def naive(text: str) -> tuple[list[Any], list[str], list[str], int]:
    """Records, venues, symbols, and how many rows give none."""
    rows: list[Any] = []
    venues, symbols, skipped = [], [], 0
    for row in csv.DictReader(text.splitlines()):
        code, symbol = row["EX"], row["SYMBOL"]
        if len(code) == 1 and code not in venues:
            venues.append(code)
        if len(symbol) <= 16 and symbol not in symbols:
            symbols.append(symbol)
        prices = [Decimal(row[name]).scaleb(6) for name in ("BID", "OFR", "PRICE") if name in row]
        fine = any(px != int(px) for px in prices)
        empty = "PRICE" in row and int(row["SIZE"]) == 0
        if code not in venues or symbol not in symbols or fine or empty or row.get("CORR", "0") != "0":
            skipped += 1
            continue
        common = (venues.index(code), symbols.index(symbol), ns(row["DT"]), 0, 0)
        if "PRICE" in row:
            rows.append(("TRADE", *common, naive_flags(code, row["COND"]), int(prices[0]), int(row["SIZE"])))
        else:
            sizes = [100 * int(row["BIDSIZ"]), 100 * int(row["OFRSIZ"])]
            bid, ask = ((int(px), size) if px and size else (0, 0) for px, size in zip(prices, sizes, strict=True))
            rows.append(("QUOTE", *common, 0, *bid, *ask))
    return rows, venues, symbols, skipped


@pytest.mark.parametrize("text", [QUOTES, TRADES], ids=["quotes", "trades"])
@pytest.mark.parametrize("block", [1, 77, 1 << 20])
def test_every_row_is_as_csv_and_decimal_read_it(tmp_path, text, block):
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(text.encode()))
    reader = open_file(path)
    rows, venues, symbols, skipped = naive(text)
    assert in_blocks(reader, block, 9) == rows
    assert (reader.venues, [row.symbol for row in reader.instruments]) == (venues, symbols)
    assert reader.counts.messages == text.count("\n") - 1
    assert sum(reader.counts.skipped.values()) == skipped > 0
    assert all(path.name in example for example in reader.counts.examples.values())


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("2018-01-02 14:30:03,N,10.01,2,10.02,3,AAA\n", "before the row above"),
        ("2018-01-02 14:30:05,N,10.01,2,10.02,3\n", "7 fields"),
        ("2018-01-02T14:30:05,N,10.01,2,10.02,3,AAA\n", "no time of the form"),
        ("2018-01-02 14:30:05,N,-10.01,2,10.02,3,AAA\n", "no plain positive decimal"),
        ("2018-01-02 14:30:05,N,10.01,2,10.02,3,AA", "cut"),
        ("x" * 5000 + "\n", "7 fields"),
        ("x" * 5000, "longer than 4096"),
    ],
)
def test_what_is_wrong_ends_it_with_its_line_behind_the_good_part(tmp_path, row, why):
    path = tmp_path / "file"
    path.write_text(QUOTES + row)
    found, error = read_until_refused(open_file(path))
    assert found == naive(QUOTES)[0]
    assert error is not None
    assert error.line == 9
    assert why in str(error)


def test_a_header_alone_is_a_file_without_records(tmp_path):
    path = tmp_path / "file"
    path.write_text(TRADE_COLUMNS + "\r\n")
    assert read(open_file(path)) == []
    path.write_text(TRADE_COLUMNS.lower() + "\n")
    with pytest.raises(FeedError, match="no known format"):
        open_file(path)


@pytest.mark.skipif(not JIT, reason="100,000 rows take plain kernels too long; the made-up files are for them")
@pytest.mark.parametrize("kind", ["quotes", "trades"])
def test_the_real_day_is_read_whole(kind):
    path = feed_path("taq", f"XXX_2018-01-02_{kind}.csv.gz")
    with gzip.open(path, "rb") as file:
        rows = file.read().count(b"\n") - 1
    found = inspect(path)
    assert found.messages == rows == sum(found.records.values()) + sum(found.skipped.values())
    assert sorted(found.venues) == sorted("NYBPTZKXVJAM" + "D" * (kind == "trades"))
    assert [row.symbol for row in found.instruments[:1]] == ["XXX"]
