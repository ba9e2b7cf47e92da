"""Binance's recorded streams: every record as a slow reading has it, and what happens where update ids do not join."""

from __future__ import annotations

import gzip
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import UsageError
from engine.jit import JIT
from gateways.feeds.report import FeedError
from gateways.formats import binance, binance_book, known
from gateways.formats.batch import make_batch, taken
from gateways.formats.binance_kernels import take_message
from gateways.formats.inspection import inspect
from gateways.formats.known import open_file
from tests.feeds_path import feed_path
from tests.formats.naive_binance import Naive
from tests.formats.reading import fuzzed, in_blocks, read, tuples

pytestmark = pytest.mark.kernel

FILES = {
    "spot_btcusdt_20240808.gz": ("BINANCE", "BTCUSDT", {"depthUpdate": 3451, "trade": 9757, "bookTicker": 28040}),
    "usdm_btcusdt_20240808.gz": ("BINANCE_USDM", "BTCUSDT", {"depthUpdate": 6551, "trade": 21313, "bookTicker": 66089}),
    "cm_btcusd_perp_20240808.gz":
        ("BINANCE_COINM", "BTCUSD_PERP", {"depthUpdate": 26847, "trade": 2286, "bookTicker": 19136}),
}  # fmt: skip


def first_lines(name, count):
    with gzip.open(feed_path("binance", name), "rt") as file:
        return list(itertools.islice(file, count))


def write(folder, lines):
    path = folder / "file"
    path.write_text("".join(lines))
    return path


def naive(lines, spot, symbols):
    slow = Naive(spot, symbols)
    for line in lines:
        slow.read(line)
    return slow


def agree(reader, slow, got):
    """Whether the counts are those of the slow reading too."""
    assert got == slow.rows
    counts = reader.counts
    assert {name: n for name, n in counts.by_type.items() if n} == slow.counts
    assert (counts.gaps, counts.lost, counts.repeated) == (slow.gaps, slow.lost, slow.repeated)
    held = counts.skipped.get(binance.Binance.SKIPS[binance_book.SKIP_VOID], 0)
    assert held == slow.held_back


@pytest.mark.parametrize("name", FILES)
def test_every_record_is_as_a_slow_reading_has_it(tmp_path, name):
    venue, symbol, _ = FILES[name]
    lines = first_lines(name, 6000 if JIT else 500)
    path = write(tmp_path, lines)
    reader = open_file(path)
    assert (reader.format, reader.venues, reader.instruments[0].symbol) == ("binance", [venue], symbol)
    slow = naive(lines, venue == "BINANCE", [symbol])
    agree(reader, slow, read(reader))
    assert reader.counts.notes == []
    short = write(tmp_path, lines[:300])
    assert in_blocks(binance.open_file(short), 777, 9) == naive(lines[:300], venue == "BINANCE", [symbol]).rows


@pytest.mark.torture
@pytest.mark.parametrize("name", FILES)
def test_the_whole_file_is_as_a_slow_reading_has_it(name):
    venue, symbol, by_type = FILES[name]
    reader = open_file(feed_path("binance", name))
    slow = naive(first_lines(name, None), venue == "BINANCE", [symbol])
    agree(reader, slow, read(reader))
    assert slow.counts == by_type | {"snapshot": 1}
    assert slow.gaps == slow.repeated == 0


@pytest.mark.skipif(not JIT, reason="whole files are read by compiled kernels only")
@pytest.mark.parametrize("name", FILES)
def test_all_messages_of_a_file_are_counted(name):
    reader = open_file(feed_path("binance", name))
    with reader:
        units = sum(int(batch.used[0]) for batch in reader.batches())
    assert reader.counts.by_type == FILES[name][2] | {"snapshot": 1}
    assert units > reader.counts.messages
    assert (reader.counts.gaps, reader.counts.lost, reader.counts.repeated) == (0, 0, 0)
    assert reader.progress == 1.0


def depth(number, first, last, prev, bids, asks, symbol="ABCUSDT"):
    body = {"e": "depthUpdate", "E": 1700000000000 + number, "s": symbol, "U": first, "u": last, "pu": prev}
    return line(number, {**body, "b": bids, "a": asks})


def line(number, body, wrapped=False):
    text = json.dumps({"stream": "x", "data": body} if wrapped else body, separators=(",", ":"))
    return f"{1700000000_000000000 + number * 1000} {text}\n"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["depth"] * 6 + ["snapshot", "trade", "aggTrade", "ticker"]), st.integers(0, 6),
        st.integers(1, 3),
        st.lists(st.tuples(st.integers(1, 99), st.integers(0, 3)), max_size=4), st.integers(0, 1), st.booleans(),
        st.sampled_from([0, 0, 0, 0, 1, -2]),
    ), max_size=40,
)  # fmt: skip


@settings(max_examples=60)
@given(STEPS, st.booleans(), st.integers(1, 300))
def test_made_up_streams_with_holes_repeats_and_snapshots(tmp_path_factory, steps, spot, block):
    """Two instruments on one file; ids jump now and then, snapshots are now too old and now ahead."""
    ids, trades, lines = [100, 500], 50, []
    for number, (kind, back, span, pairs, which, wrapped, jump) in enumerate(steps):
        symbol = ("ABCUSDT", "XYZUSDT")[which]
        shown = [[f"{px}.50", f"{qty}.00000000"] for px, qty in pairs]
        stamps = {"E": 1700000000000 + number, "T": 1700000000001 + number}
        if kind == "depth":
            prev = ids[which] + jump
            ids[which] = max(prev + span, 1)
            body = {"e": "depthUpdate", **stamps, "s": symbol, "U": prev + 1, "u": ids[which], "pu": prev}
            body |= {"b": shown[:2], "a": shown[2:]}
        elif kind == "snapshot":
            body = {"lastUpdateId": ids[which] - back + 2, "symbol": symbol, "bids": shown[:2], "asks": shown[2:]}
            body["bids"] = [[px, "7"] for px, _ in body["bids"]]
            body["asks"] = [[px, "7"] for px, _ in body["asks"]]
            wrapped = False
        elif kind == "ticker":
            body = {"u": ids[which], "s": symbol, "b": "1.5", "B": "2", "a": "2.00", "A": "1e-05"}
        else:
            trades += 1 + jump
            body = {"e": kind, **stamps, "s": symbol, "t" if kind == "trade" else "a": trades, "p": "2.5", "q": "0.5"}
            body |= {"m": bool(back % 2), "X": "MARKET" if back < 5 else "ADL"}
        lines.append(line(number, body, wrapped))
    path = write(tmp_path_factory.mktemp("binance"), lines)
    reader = binance.Binance(path)
    reader.lines.cursor[binance_book.PRODUCT] = 0 if spot else 1
    slow = naive(lines, spot, list(dict.fromkeys(symbols_in_order(lines))))
    agree(reader, slow, in_blocks(reader, block, 9))


def symbols_in_order(lines):
    """Symbols of streams as the file names them, then those of snapshots alone."""
    found = [json.loads(text.split(" ", 1)[1]) for text in lines]
    found = [body.get("data", body) for body in found]
    return [body["s"] for body in found if "s" in body] + [body["symbol"] for body in found if "symbol" in body]


def test_a_book_without_a_snapshot_goes_on_when_the_store_is_full(tmp_path):
    each, count = 200, binance_book.HELD_LEVELS // 201 + 3
    pairs = [[str(n + 1), "1"] for n in range(each)]
    lines = [depth(n, n + 1, n + 1, n, pairs, []) for n in range(1, count)]
    reader = binance.Binance(write(tmp_path, lines))
    got = read(reader)
    assert len(got) == each * (count - 1)
    reasons = binance.Binance.SKIPS
    assert reader.counts.skipped[reasons[binance_book.SKIP_RESUMED]] == 1
    assert reader.counts.skipped[reasons[binance_book.SKIP_VOID]] < count - 1
    assert reader.counts.messages == count - 1


def test_an_update_that_does_not_fit_makes_a_gap(tmp_path):
    snapshot = line(0, {"lastUpdateId": 10, "symbol": "ABCUSDT", "bids": [["1", "2"]], "asks": []})
    lines = [snapshot, depth(1, 11, 11, 10, [["1.000000001", "1"]], []), depth(2, 12, 12, 11, [["1", "1"]], [])]
    reader = binance.Binance(write(tmp_path, lines))
    assert [row[0] for row in read(reader)] == ["CLEAR", "LEVEL", "CLEAR"]
    assert reader.counts.gaps == 1
    assert reader.counts.skipped["price or quantity does not fit the decimals"] == 1


def test_a_snapshot_that_could_be_of_several_instruments_is_skipped(tmp_path):
    rows = [depth(1, 1, 1, 0, [], []), depth(2, 1, 1, 0, [], [], "XYZUSDT")]
    rows.append(line(3, {"lastUpdateId": 10, "bids": [], "asks": []}))
    rows.append(line(4, {"result": None, "id": 3}))
    rows.append(line(5, {"e": "kline", "s": "ABCUSDT"}, wrapped=True))
    reader = binance.Binance(write(tmp_path, rows))
    assert read(reader) == []
    assert reader.counts.skipped["snapshot does not name its instrument, and the file has several"] == 1
    assert reader.counts.by_type == {"depthUpdate": 2, "snapshot": 1, "other": 2}


def test_lines_that_do_not_say_whose_they_are_are_noted_or_told(tmp_path):
    """An aggTrade of USD-M says nothing of its product; one of spot does, by its M."""
    trade = '1 {"e":"aggTrade","E":2,"a":1,"s":"BTCUSDT","p":"3","q":"4","f":1,"l":1,"T":2,"m":true%s}'
    path = write(tmp_path, ["172316125408789156" + trade % ""])
    reader = known.open_file(path)
    assert (len(read(reader)), reader.venues) == (1, ["BINANCE"])
    assert reader.counts.notes == [
        "nothing says of which product the lines are, and they are taken as spot's: say it with --product"
    ]
    assert inspect(path).notes == reader.counts.notes
    for product, venue in zip(binance.PRODUCTS, binance.VENUES, strict=True):
        reader = known.open_file(path, known.Given(product=product))
        assert (len(read(reader)), reader.venues, reader.counts.notes) == (1, [venue], [])
    for line in (trade % ',"M":true', '1 {"lastUpdateId":5,"E":1,"T":1,"bids":[],"asks":[]}'):
        reader = known.open_file(write(tmp_path, ["172316125408789156" + line]))
        read(reader)
        assert (reader.venues, reader.counts.notes) == (["BINANCE_USDM" if "last" in line else "BINANCE"], [])
    with pytest.raises(UsageError, match=r"product 'swap' is none of Binance's"):
        known.open_file(path, known.Given(product="swap"))


def test_a_message_off_a_socket_is_taken_by_the_same_kernel(tmp_path):
    reader = binance.Binance(write(tmp_path, [depth(0, 1, 1, 0, [], [])]))
    raw = b'{"e":"trade","E":1,"T":2,"s":"ABCUSDT","t":9,"p":"1.5","q":"2","X":"MARKET","m":true}'
    batch = make_batch(16)
    assert take_message(reader.lines, np.frombuffer(raw, np.uint8), 0, len(raw), 77, batch)
    assert tuples(taken(batch)) == [("TRADE", 0, 0, 2_000_000, 77, 9, 128, 150_000_000, 200_000_000)]
    reader.close()


BAD = [
    ('{"e":"trade"', "JSON"), ('{"e":"depthUpdate","E":1,"s":"A","U":1,"u":1,"b":[["x","1"]],"a":[]}', "decimal"),
    ('{"e":"depthUpdate","E":1,"s":"A","u":1,"b":[],"a":[]}', "member"),
    ('{"e":"trade","s":"A","t":1,"p":"1","q":"1"}', "member"),
    ('{"e":"trade","s":"A","t":1,"p":"1.","q":"1","m":true}', "decimal"), ("[1]", "JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "why"), BAD)
def test_a_bad_message_is_refused_with_its_line(tmp_path, text, why):
    path = write(tmp_path, [line(1, {"id": 1}), f"1700000000000000001 {text}\n"])
    with binance.Binance(path) as reader, pytest.raises(FeedError, match=why) as caught:
        list(reader.batches())
    assert (caught.value.line, caught.value.offset > 20) == (2, True)


def test_a_cut_or_changed_file_is_refused_or_counted(tmp_path):
    lines = [text for text in first_lines("usdm_btcusdt_20240808.gz", 60) if len(text) < 4000][:40]
    fuzzed(tmp_path, "".join(lines).encode(), binance.Binance)
