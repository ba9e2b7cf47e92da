"""Files of one venue that share their times: prints come first, and how the files are listed decides nothing."""

from __future__ import annotations

from itertools import groupby, permutations

import numpy as np

from engine.io.journal_format import Kind
from engine.record.records import DTYPES, Template
from tests.backtest import desk
from tests.backtest.test_depth import played

_T0 = 1_700_000_000_000_000
_COIN = {"symbol": "COIN", "mic": "XXXX", "tick": "0.01", "decimals": 2, "day_end": "23:59:59"}


def _write(path, columns, rows):
    head = f"exchange,symbol,timestamp,local_timestamp,{columns}\n"
    path.write_text(head + "".join(f"x,COIN,{_T0 + us},{_T0 + us + 5},{row}\n" for us, row in rows))
    return path


def files(folder):
    """The name of the book comes before that of the trades. Every second of them shares a microsecond."""
    levels = [(0, f"true,bid,{100 - n / 100:.2f},{50 + n}") for n in range(5)]
    levels += [(0, f"true,ask,{100.01 + n / 100:.2f},{50 + n}") for n in range(5)]
    trades = []
    for n in range(200):
        us = 1_000_000 + 10_000 * n
        levels.append((us, f"false,bid,100.00,{40 + n % 23}"))
        trades.append((us if n % 2 else us + 3, f"{n},sell,100.00,{1 + n % 9}"))
    book = _write(folder / "a_incremental_book_L2.csv", "is_snapshot,side,price,amount", levels)
    return [book, _write(folder / "b_trades.csv", "id,side,price,amount", trades)]


def test_the_order_of_two_files_of_one_venue_decides_nothing(tmp_path):
    listed = files(tmp_path)
    feed = "".join(f"[[backtest.feed]]\nfile = '{path}'\nvenue = 'XXXX'\nsymbol = 'COIN'\n" for path in listed)
    parents = [(f"22:13:{21 + n % 2:02}.{n % 10}", "BUY", 5, "100.00", "DAY") for n in range(10)]
    hashes = []
    for n, order in enumerate(permutations(listed)):
        result = played(tmp_path, f"run{n}", list(order), parents, feed=feed, simulation="queue = 'worst'", **_COIN)
        hashes.append(result.journal_hash())
        assert result.fills().num_rows > 5
        assert prints_first(result.run_dir) == [True] * 100
    assert len(set(hashes)) == 1


def prints_first(run_dir):
    """Of each time with a print and a quote on the journal: whether the print came first."""
    inputs = (data for kind, data in desk.frames(run_dir) if kind == Kind.INPUT)
    records = [np.frombuffer(data, DTYPES[Template(data[2])])[0] for data in inputs]
    market = [r for r in records if r["template_id"] in (Template.QUOTE, Template.TRADE)]
    found = []
    for _, rows in groupby(market, key=lambda r: int(r["ts_event_ns"])):
        kinds = [int(r["template_id"]) for r in rows]
        if len(set(kinds)) == 2:
            found.append(kinds[0] == Template.TRADE)
    return found
