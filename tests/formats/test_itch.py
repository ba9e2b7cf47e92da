"""ITCH 5.0 files: every message type as an independent reading has it; damage is told with its place."""

from __future__ import annotations

import re
import struct
from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.record.records import Flag, Template
from gateways.feeds.report import FeedError
from gateways.formats.batch import taken
from gateways.formats.inspection import inspect
from gateways.formats.itch import ItchReader, day_of_name, market_of_name, new_york_midnight_ns
from gateways.formats.itch_kernels import LENGTHS
from gateways.formats.known import open_file
from gateways.formats.source import Source
from tests.feeds_path import feed_path
from tests.formats.itch_twin import BODIES, HEAD, Twin, midnight_ns, records_of, split

pytestmark = pytest.mark.kernel
DAY = date(2019, 12, 30)
_LETTERS = {"side": b"BS", "print": b"YN", "state": b"HPQT", "market": b"QBX", "action": b"HT", "event": b"OSQMEC"}
#: Letters of one-byte fields that matter, by type and place among the type's fields.
_MEANT = {"A1": "side", "F1": "side", "C3": "print", "H1": "state", "h1": "market", "h2": "action", "S0": "event"}


def read(path, **options):
    """All records of a file (bytes) and its reader."""
    block, units = options.pop("block", None), options.pop("units", 4096)
    with ItchReader(path, **options) as reader:
        if block:
            reader.source.close()
            reader.source = Source(path, block)
        return b"".join(taken(batch).tobytes() for batch in reader.batches(units)), reader


def framed(messages):
    return b"".join(struct.pack(">H", len(m)) + m for m in messages)


@st.composite
def messages(draw, kinds=tuple(BODIES)):
    kind = draw(st.sampled_from(kinds))
    locate = draw(st.integers(1, 6))
    stock = b"%-8s" % draw(st.sampled_from([b"S%d" % locate, b"S%d" % (locate % 3)]))
    body = []
    for n, code in enumerate(_codes(BODIES[kind])):
        if code == "8s":
            body.append(stock)
        elif code.endswith("s"):
            body.append(draw(st.binary(min_size=int(code[:-1]), max_size=int(code[:-1]))))
        elif code == "c":
            letters = _LETTERS[_MEANT[f"{kind}{n}"]] if f"{kind}{n}" in _MEANT else b" AZ"
            body.append(bytes([draw(st.sampled_from(letters))]))
        else:
            body.append(draw(st.integers(0, 2 ** (31 if code == "I" else 62)) | st.just(0)))
    head = struct.pack(HEAD, kind.encode(), locate, 7, draw(st.integers(0, 86_399 * 10**9)).to_bytes(6, "big"))
    return head + struct.pack(BODIES[kind], *body)


def _codes(layout):
    """A struct layout, code by code."""
    out, number = [], ""
    for letter in layout[1:]:
        number += letter if letter.isdigit() else ""
        if not letter.isdigit():
            out.append(number + letter)
            number = ""
    return out


def test_lengths_are_those_of_the_specifications_fields():
    assert {kind: 11 + struct.calcsize(body) for kind, body in BODIES.items()} == LENGTHS


@settings(max_examples=40)
@given(st.lists(messages(), max_size=60), st.integers(1, 300), st.integers(8, 40))
def test_every_type_is_as_an_independent_reading_has_it(tmp_path_factory, made, block, units):
    path = tmp_path_factory.mktemp("itch") / "12302019.NASDAQ_ITCH50"
    path.write_bytes(framed(made))
    twin = Twin(midnight_ns(DAY))
    for message in made:
        twin.take(message)
    data, reader = read(path, block=block, units=units)
    assert records_of(data)[0] == twin.records
    assert [i.symbol for i in reader.instruments] == twin.symbols
    assert {n: i.lot_qty for n, i in enumerate(reader.instruments) if i.lot_qty} == {
        n: lot for n, lot in twin.lots.items() if lot
    }
    assert reader.counts.by_type == dict(Counter(chr(m[0]) for m in made))
    assert not reader.counts.skipped


def test_the_recorded_thousand(tmp_path):
    path = feed_path("itch", "12302019_first1000.NASDAQ_ITCH50")
    raw = path.read_bytes()
    made = split(raw)
    twin = Twin(midnight_ns(DAY))
    for message in made:
        twin.take(message)
    with open_file(path) as reader:
        assert (reader.format, reader.venues) == ("itch", ["XNAS"])
        data = b"".join(taken(batch).tobytes() for batch in reader.batches())
        assert reader.progress == 1
    assert reader.counts.messages == len(made) == 1000
    assert reader.counts.by_type == dict(Counter(chr(m[0]) for m in made))
    found, rest = records_of(data)
    assert found == twin.records
    assert set(rest) == {(0, 0)}
    assert [i.symbol for i in reader.instruments] == twin.symbols
    assert {(i.px_decimals, i.qty_decimals) for i in reader.instruments} == {(4, 0)}
    packed = tmp_path / "12302019.zst"
    packed.write_bytes(zstandard.compress(raw))
    assert read(packed, block=100, units=8)[0] == data


def test_inspect_counts_what_is_executed_on_the_book_too():
    """E, C that is to be printed, P and Q, message by message, by symbol."""
    path = feed_path("itch", "12302019_first1000.NASDAQ_ITCH50")
    twin = Twin(midnight_ns(DAY))
    for message in split(path.read_bytes()):
        twin.take(message)
    must: dict[str, list[int]] = {symbol: [0, 0] for symbol in twin.symbols}
    executed = 0
    for template, instrument, _, *values in twin.records:
        qty = 0
        if template == Template.TRADE:
            qty = values[2]
        elif template == Template.ORDER_DELTA and values[1] == 3 and values[2] != Flag.NOT_PRINTED:
            qty, executed = values[4], executed + 1
        if qty:
            must[twin.symbols[instrument]][0] += 1
            must[twin.symbols[instrument]][1] += qty
    assert executed > 10
    assert {row.symbol: [row.trades, row.volume] for row in inspect(path).instruments} == must


def test_a_cut_at_any_byte_gives_what_was_before_it(tmp_path):
    made = [struct.pack(HEAD, b"D", 1, 0, bytes(6)) + struct.pack(">Q", n) for n in range(3)]
    raw, path = framed(made), tmp_path / "file"
    for size in range(1, len(raw)):
        path.write_bytes(raw[:size])
        whole = size // 21
        got: list[bytes] = []
        with ItchReader(path) as reader:
            if size % 21:
                with pytest.raises(FeedError, match="ends within a message") as caught:
                    got.extend(taken(b).tobytes() for b in reader.batches())
                assert caught.value.offset == 21 * whole
            else:
                got.extend(taken(b).tobytes() for b in reader.batches())
        assert reader.counts.messages == whole == len(b"".join(got)) // 128


@settings(max_examples=20)
@given(st.data())
def test_types_that_give_no_record_are_on_the_page_with_a_reason(tmp_path_factory, data):
    page = (Path(__file__).resolve().parents[2] / "docs" / "feeds.md").read_text(encoding="utf-8")
    table = page.partition("| ITCH |")[2].partition("\n\n")[0]
    told = dict(re.findall(r"^\| `(.)` [^|]*\| (.+) \|$", table, re.MULTILINE))
    assert set(told) == set(LENGTHS) - set("AFECXDUPQHhRS")
    assert min(map(len, told.values())) > 20
    made = [
        struct.pack(HEAD, kind.encode(), 1, 0, bytes(6)) + data.draw(st.binary(min_size=size, max_size=size))
        for kind in told
        for size in [LENGTHS[kind] - struct.calcsize(HEAD)]
    ]
    path = tmp_path_factory.mktemp("itch") / "file"
    path.write_bytes(framed(made))
    records, reader = read(path)
    assert records == b""
    assert reader.counts.by_type == dict.fromkeys(told, 1)
    assert reader.counts.skipped == {}


@settings(max_examples=60)
@given(st.lists(messages(), min_size=1, max_size=8), st.data())
def test_flipped_bits_are_refused_or_counted(tmp_path_factory, made, data):
    raw = bytearray(framed(made))
    bit = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[bit // 8] ^= 1 << bit % 8
    path = tmp_path_factory.mktemp("itch") / "file"
    path.write_bytes(raw)
    wrong = None
    with ItchReader(path) as reader:
        try:
            list(reader.batches())
        except FeedError as error:
            wrong = error
    assert reader.counts.messages == len(made) if wrong is None else 0 <= wrong.offset <= len(raw)


def test_an_unknown_type_is_counted_and_a_wrong_length_refused(tmp_path):
    path = tmp_path / "file"
    known = struct.pack(HEAD, b"D", 1, 0, bytes(6)) + bytes(8)
    path.write_bytes(framed([known, b"z" + bytes(29), known]))
    data, reader = read(path)
    assert len(data) == 256
    assert reader.counts.by_type == {"D": 2, "z": 1}
    assert reader.counts.skipped == {"unknown message type": 1}
    assert reader.counts.examples == {"unknown message type": "byte 21"}
    path.write_bytes(framed([known, known + b"\0"]))
    with pytest.raises(FeedError, match="at byte 21: a message of type 'D' cannot be 20 bytes long, it has 19"):
        read(path)
    path.write_bytes(framed([known, b"z" + bytes(300)]))
    with pytest.raises(FeedError, match="at byte 21: a message of type 'z' cannot be 301 bytes long"):
        read(path)
    path.write_bytes(framed([known]) + b"\0\0")
    assert len(read(path)[0]) == 128
    path.write_bytes(framed([known]) + b"\0\0\0")
    with pytest.raises(FeedError, match="at byte 23: data follow"):
        read(path)


def test_a_side_that_is_none_is_skipped(tmp_path):
    path = tmp_path / "file"
    message = struct.pack(HEAD, b"A", 1, 0, bytes(6)) + struct.pack(BODIES["A"], 1, b"?", 5, b"X       ", 7)
    path.write_bytes(framed([message]))
    data, reader = read(path)
    assert not data
    assert reader.counts.skipped == {"a side or quantity that cannot be": 1}


def test_an_operational_halt_outlasts_a_trading_action(tmp_path):
    path = tmp_path / "file"

    def status(body):
        return struct.pack(HEAD, body[:1], 4, 0, bytes(6)) + b"ABC     " + body[1:]

    made = [status(b) for b in (b"hQH", b"HT     ", b"hBT", b"hQT", b"HQ IPO1", b"HP LUDP", b"HT     ")]
    path.write_bytes(framed(made))
    rows = records_of(read(path)[0])[0]
    assert [row[3] for row in rows] == [1, 1, 0, 3, 1, 0]
    assert rows[3][5].to_bytes(4, "little") == b"IPO1"


@pytest.mark.parametrize(
    ("name", "day", "market"),
    [
        ("12302019.NASDAQ_ITCH50.gz", date(2019, 12, 30), "XNAS"),
        ("20191230.BX_ITCH_50.gz", date(2019, 12, 30), "XBOS"),
        ("S081321-v50.txt.gz", date(2021, 8, 13), "XNAS"),
        ("2020-01-30.PSX_ITCH_50", date(2020, 1, 30), "XPSX"),
        ("feed_99999999.bin", None, "XNAS"),
    ],
)
def test_day_and_market_are_the_names(name, day, market):
    assert (day_of_name(name), market_of_name(name)) == (day, market)


@settings(max_examples=300)
@given(st.dates(date(1990, 1, 1), date(2037, 12, 31)))
@example(date(2019, 3, 10))
@example(date(2019, 3, 11))
@example(date(2019, 11, 3))
@example(date(2019, 11, 4))
@example(date(2006, 10, 29))
def test_new_yorks_midnight_is_the_time_zone_databases(day):
    assert new_york_midnight_ns(day) == midnight_ns(day)


def test_the_given_day_comes_before_the_names(tmp_path):
    path = tmp_path / "12302019"
    path.write_bytes(framed([struct.pack(HEAD, b"D", 1, 0, (1).to_bytes(6, "big")) + bytes(8)]))
    rows = records_of(read(path, day=date(2020, 7, 1))[0])[0]
    assert np.datetime64(rows[0][2], "ns") == np.datetime64("2020-07-01T04:00:00.000000001")
