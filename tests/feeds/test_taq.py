"""The TAQ reader: exact against an independent reading with Decimal, and definite about everything it cannot use."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.jit import JIT
from engine.record.records import Flag, Template
from gateways.feeds import taq
from gateways.feeds.names import Names, Symbol
from gateways.feeds.report import FeedError
from gateways.formats import text as text_kernels
from tests.feeds_path import feed_path

pytestmark = pytest.mark.kernel

NAMES = Names.listed()
QUOTE_ROW = "2018-01-02 14:30:00.000000001,N,157.01,2,157.03,3,XXX"
TRADE_ROW = "2018-01-02 14:30:00.000000001,N,XXX,,100,157.02,0"


def write(path: Path, header: str, rows: list[str]) -> Path:
    path.write_text("\n".join([header, *rows, ""]))
    return path


def quotes_of(tmp_path: Path, rows: list[str], names: Names = NAMES):
    return taq.read_day(write(tmp_path / "quotes.csv", taq.QUOTE_COLUMNS, rows), None, names)


def trades_of(tmp_path: Path, rows: list[str], names: Names = NAMES):
    return taq.read_day(None, write(tmp_path / "trades.csv", taq.TRADE_COLUMNS, rows), names)


def as_bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)


def naive_ns(text: str) -> int:
    whole, _, fraction = text.partition(".")
    seconds = int(datetime.strptime(whole, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp())
    return seconds * 10**9 + int(fraction.ljust(9, "0") or 0)


#: What each letter of COND says of a trade, as the plans of the tapes (CTA, UTP) describe them.
CONDITIONS: dict[str, int] = {"I": Flag.ODD_LOT}
CONDITIONS.update(dict.fromkeys("O56X", Flag.AUCTION))
CONDITIONS.update(dict.fromkeys("QM", Flag.OFF_BOOK | Flag.NOT_PRINTED))
CONDITIONS.update(dict.fromkeys("ABCDGHKLNPRSUVWZ123479", Flag.OFF_BOOK))


def naive_flags(code: str, cond: str) -> int:
    """Flags of a trade of a venue code and conditions."""
    flags = Flag.OFF_BOOK if code == "D" else 0
    for letter in cond:
        flags |= CONDITIONS.get(letter, 0)
    return int(flags)


def naive_day(quotes: Path, trades: Path, names: Names) -> list[tuple[int, ...]]:
    """The day by plain Python and Decimal: rows (time, venue, seq of the venue, prices and sizes, flags)."""
    rows: list[tuple[int, str, int, int, tuple[int, ...]]] = []
    for n, line in enumerate(gzip.decompress(trades.read_bytes()).decode().splitlines()[1:]):
        dt, ex, _, cond, size, price, corr = line.split(",")
        px = Decimal(price) * 10**4
        if ex in names.venues and px == int(px) and int(corr) == 0:
            rows.append((naive_ns(dt), ex, 0, n, (int(px), int(size), naive_flags(ex, cond))))
    for n, line in enumerate(gzip.decompress(quotes.read_bytes()).decode().splitlines()[1:]):
        dt, ex, bid, bid_size, ask, ask_size, _ = line.split(",")
        sides = [(int(Decimal(p) * 10**4), 100 * int(s)) for p, s in ((bid, bid_size), (ask, ask_size))]
        flat = [x if side[0] and side[1] else 0 for side in sides for x in side]
        rows.append((naive_ns(dt), ex, 1, n, tuple(flat)))
    rows.sort(key=lambda row: row[:4])
    seqs = dict.fromkeys(names.venues, 0)
    out: list[tuple[int, ...]] = []
    for time, ex, _, _, numbers in rows:
        seqs[ex] += 1
        out.append((time, names.venues[ex], seqs[ex], *numbers))
    return out


@pytest.mark.skipif(not JIT, reason="100,000 rows take plain kernels too long; the made-up files are for them")
@pytest.mark.parametrize("codes", ["NYBPTZKXVJAM", "DMAJVXKZTPBYN"])
def test_the_captured_day_equals_a_plain_reading(codes: str) -> None:
    quotes, trades = (feed_path("taq", f"XXX_2018-01-02_{kind}.csv.gz") for kind in ("quotes", "trades"))
    names = Names.listed(codes)
    day, report = taq.read_day(quotes, trades, names)
    prefix = ("ts_event_ns", "venue_id", "stream_seq")
    got: list[tuple[int, ...]] = [()] * day.count
    for template, fields in (
        (Template.QUOTE, ("bid_px", "bid_qty", "ask_px", "ask_qty")),
        (Template.TRADE, ("px", "qty", "flags")),
    ):
        records = day.records(template)
        assert np.array_equal(records["stream_id"], records["venue_id"])
        assert not records["stream_epoch"].any()
        assert not records["ts_recv_ns"].any()
        columns = [records[name].tolist() for name in prefix + fields]
        for at, *row in zip(day.positions(template).tolist(), *columns, strict=True):
            got[at] = tuple(row)
    assert got == naive_day(quotes, trades, names)
    assert report.rows == 106_155
    assert report.quotes == 66_693
    assert report.trades == (39_462 if "D" in codes else 26_848)
    assert report.rows == report.records + report.total_skipped
    assert (report.no_bid, report.no_offer) == (27, 45)


def test_a_price_finer_than_the_decimals_is_counted_and_never_rounded(tmp_path: Path) -> None:
    rows = [QUOTE_ROW, QUOTE_ROW.replace("157.01", "157.01005"), QUOTE_ROW.replace("157.03", "157.030000")]
    day, report = quotes_of(tmp_path, rows)
    assert day.records(Template.QUOTE)["ask_px"].tolist() == [1_570_300, 1_570_300]
    assert report.skipped == {"price does not fit the instrument's decimals": 1}
    assert report.examples == {"price does not fit the instrument's decimals": "quotes.csv:3: 157.01005"}
    assert "quotes.csv:3: 157.01005" in "\n".join(report.lines())


def test_sides_without_price_or_size_are_empty(tmp_path: Path) -> None:
    rows = [QUOTE_ROW.replace("157.01", "0.0"), QUOTE_ROW.replace(",3,", ",0,")]
    day, report = quotes_of(tmp_path, rows)
    sides = [[int(q[f]) for f in ("bid_px", "bid_qty", "ask_px", "ask_qty")] for q in day.records(Template.QUOTE)]
    assert sides == [[0, 0, 1_570_300, 300], [1_570_100, 200, 0, 0]]
    assert (report.no_bid, report.no_offer) == (1, 1)


def test_crossed_and_locked_quotes_pass_and_are_counted(tmp_path: Path) -> None:
    day, report = quotes_of(tmp_path, [QUOTE_ROW.replace("157.03", "157.01"), QUOTE_ROW.replace("157.03", "156")])
    assert (day.count, report.locked, report.crossed) == (2, 1, 1)


def test_what_cannot_be_used_is_counted_by_reason(tmp_path: Path) -> None:
    rows = [TRADE_ROW, TRADE_ROW.replace(",N,", ",D,"), TRADE_ROW.replace("XXX", "YYY")]
    rows += [TRADE_ROW[:-1] + "8", TRADE_ROW.replace("157.02", "0.0")]
    day, report = trades_of(tmp_path, rows)
    assert day.count == 1
    assert report.total_skipped == 4
    assert len(report.skipped) == 4
    assert sorted(report.examples.values()) == [
        "trades.csv:3: D",
        "trades.csv:4: YYY",
        "trades.csv:5: 8",
        f"trades.csv:6: {rows[4]}",
    ]


def test_off_exchange_trades_are_marked_where_d_is_configured(tmp_path: Path) -> None:
    rows = [TRADE_ROW.replace(",N,", ",D,"), TRADE_ROW.replace(",,", ",F I,")]
    day, _ = trades_of(tmp_path, rows, Names.listed("ND"))
    trades = day.records(Template.TRADE)
    assert trades["venue_id"].tolist() == [1, 0]  # the venue's code breaks the tie of time: D before N
    assert trades["flags"].tolist() == [Flag.OFF_BOOK, Flag.ODD_LOT]


PRINTED_ELSEWHERE = Flag.OFF_BOOK | Flag.NOT_PRINTED


@pytest.mark.parametrize(
    ("cond", "flags"),
    [
        ("", 0), ("@", 0), ("F", 0), ("FTI", Flag.ODD_LOT), ("O", Flag.AUCTION), (" 6", Flag.AUCTION),
        ("5", Flag.AUCTION), ("X", Flag.AUCTION), ("Q", PRINTED_ELSEWHERE), ("@  M", PRINTED_ELSEWHERE),
        ("Z", Flag.OFF_BOOK), (" 4 W", Flag.OFF_BOOK), ("UI", Flag.OFF_BOOK | Flag.ODD_LOT), ("@ 7V", Flag.OFF_BOOK),
    ],
)  # fmt: skip
def test_sale_conditions_say_which_prints_traded_against_the_book(tmp_path: Path, cond: str, flags: int) -> None:
    day, report = trades_of(tmp_path, [TRADE_ROW.replace(",,", f",{cond},")])
    assert day.records(Template.TRADE)["flags"].tolist() == [flags]
    assert report.off_book == bool(flags & Flag.OFF_BOOK)


def test_every_condition_is_as_the_tapes_describe_it(tmp_path: Path) -> None:
    letters = "@ABCDEFGHIKLMNOPQRSTUVWXYZ123456789"
    day, _ = trades_of(tmp_path, [TRADE_ROW.replace(",,", f",{letter},") for letter in letters])
    assert day.records(Template.TRADE)["flags"].tolist() == [naive_flags("N", letter) for letter in letters]


def test_symbols_have_their_own_decimals(tmp_path: Path) -> None:
    names = Names({"N": 0}, {"XXX": Symbol(1, 2), "BTC": Symbol(0, 9, 3)})
    rows = [QUOTE_ROW, QUOTE_ROW.replace("XXX", "BTC").replace("157.03", "157.123456789")]
    day, _ = quotes_of(tmp_path, rows, names)
    quotes = day.records(Template.QUOTE)
    assert quotes["instrument_id"].tolist() == [1, 0]
    assert quotes["ask_px"].tolist() == [15_703, 157_123_456_789]
    assert quotes["bid_qty"].tolist() == [200, 200_000]


BAD_ROWS = [
    (QUOTE_ROW.replace(",XXX", ""), "7 fields"),
    (QUOTE_ROW + ",", "7 fields"),
    ("", "7 fields"),
    (QUOTE_ROW.replace("01-02", "02-30"), "DT is no time"),
    (QUOTE_ROW.replace("14:30", "24:30"), "DT is no time"),
    (QUOTE_ROW.replace(".000000001", ".0000000010"), "DT is no time"),
    (QUOTE_ROW.replace("14:30", "14:29"), "before the row above"),
    (QUOTE_ROW.replace("157.01", "157.x1"), "decimal"),
    (QUOTE_ROW.replace("157.01", "-157.01"), "decimal"),
    (QUOTE_ROW.replace("157.01", "1e3"), "decimal"),
    (QUOTE_ROW.replace("157.01", "1571234567890.0"), "decimal"),
    (QUOTE_ROW.replace("157.03", ""), "decimal"),
    (QUOTE_ROW.replace(",2,", ",-2,"), "whole number"),
    (QUOTE_ROW.replace(",2,", ",2.5,"), "whole number"),
    (QUOTE_ROW.replace(",2,", ",1000000000,"), "whole number"),
]


@pytest.mark.parametrize(("row", "why"), BAD_ROWS)
def test_a_malformed_row_names_file_line_and_remedy(tmp_path: Path, row: str, why: str) -> None:
    with pytest.raises(FeedError, match=why) as caught:
        quotes_of(tmp_path, [QUOTE_ROW, row, QUOTE_ROW])
    assert caught.value.line == 3
    assert caught.value.path.endswith("quotes.csv")
    assert caught.value.remedy
    assert "quotes.csv:3" in str(caught.value)


def test_damaged_files_are_errors(tmp_path: Path) -> None:
    good = gzip.compress((taq.QUOTE_COLUMNS + "\n" + (QUOTE_ROW + "\n") * 500).encode())
    path = tmp_path / "quotes.csv.gz"
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 0xFF
    for raw in (good[:-20], good[: len(good) // 2], bytes(flipped)):
        path.write_bytes(raw)
        with pytest.raises(FeedError, match="gzip") as caught:
            taq.read_day(path, None, NAMES)
        assert caught.value.line > 0
    path.write_bytes(good)
    assert taq.read_day(path, None, NAMES)[0].count == 500


def test_missing_cut_or_wrong_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="No such file"):
        taq.read_day(tmp_path / "none.csv", None, NAMES)
    with pytest.raises(FeedError, match="columns must be"):
        taq.read_day(None, write(tmp_path / "q.csv", taq.QUOTE_COLUMNS, [QUOTE_ROW]), NAMES)
    cut = tmp_path / "cut.csv"
    cut.write_text(f"{taq.QUOTE_COLUMNS}\n{QUOTE_ROW}\n{QUOTE_ROW[:-1]}")
    with pytest.raises(FeedError, match="cut") as caught:
        taq.read_day(cut, None, NAMES)
    assert caught.value.line == 3
    cut.write_bytes(taq.QUOTE_COLUMNS.encode() + b"\n" + b"x" * 10_000)
    with pytest.raises(FeedError, match="longer than"):
        taq.read_day(cut, None, NAMES)


def test_blocks_and_line_ends_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [QUOTE_ROW.replace("157.01", f"157.{n:02d}") for n in range(100)]
    expected, _ = quotes_of(tmp_path, rows)
    (tmp_path / "dos.csv").write_bytes("\r\n".join([taq.QUOTE_COLUMNS, *rows, ""]).encode())
    assert bytes(taq.read_day(tmp_path / "dos.csv", None, NAMES)[0].data) == bytes(expected.data)
    monkeypatch.setattr(taq, "_BLOCK", 100)
    assert bytes(quotes_of(tmp_path, rows)[0].data) == bytes(expected.data)
    with pytest.raises(FeedError) as caught:
        quotes_of(tmp_path, [*rows, "bad"])
    assert caught.value.line == 102


@given(st.decimals(min_value=0, max_value=10**9 - 1, places=9), st.integers(0, 9), st.integers(0, 9))
def test_decimals_are_exact(value: Decimal, places: int, decimals: int) -> None:
    text = f"{value:.{places}f}"
    exact = Decimal(text) * 10**decimals
    got = text_kernels.decimal(as_bytes(text), 0, len(text), decimals)
    assert got == (int(exact) if exact == int(exact) else text_kernels.TOO_FINE)


@given(st.text(alphabet="0123456789.-+eE ", max_size=12))
def test_decimals_refuse_what_is_no_number(text: str) -> None:
    got = text_kernels.decimal(as_bytes(text + ","), 0, len(text), 4)
    whole, _, fraction = text.partition(".")
    well_formed = whole.isdigit() and (fraction.isdigit() if "." in text else True)
    assert (got == text_kernels.MALFORMED) == (not well_formed or int(whole) >= 10**12)


@given(st.integers(0, 7_289_654_399), st.integers(0, 9), st.integers(0, 10**9 - 1))
def test_times_are_exact(second: int, places: int, fraction: int) -> None:
    text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S") + (
        f".{fraction:09d}"[: 1 + places] if places else ""
    )
    assert text_kernels.time_ns(as_bytes(text), 0, len(text)) == naive_ns(text)
