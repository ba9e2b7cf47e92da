"""Every format, hurt in every way: what is damaged ends with a FeedError that names its place, or with counts."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from gateways.feeds.report import FeedError
from gateways.formats import known
from gateways.formats.npz_kernels import EVENT
from gateways.formats.source import Source, packing_of
from tests.feeds_path import feed_path

pytestmark = pytest.mark.kernel
#: Format -> a real file of it.
FILES: dict[str, tuple[str, ...]] = {
    "dbn": ("dbn", "esh4-glbx-mdp3-20231225.mbo.dbn.zst"),
    "dbn levels": ("dbn", "fixtures", "test_data.mbp-10.v3.dbn.zst"),
    "dbn definitions": ("dbn", "fixtures", "multi-frame.definition.v1.dbn.frag.zst"),
    "npz": (),
    "itch": ("itch", "12302019_first1000.NASDAQ_ITCH50"),
    "taq": ("taq", "XXX_2018-01-02_trades.csv.gz"),
    "taq quotes": ("taq", "XXX_2018-01-02_quotes.csv.gz"),
    "lobster": ("lobster", "AAPL_2012-06-21_34200000_57600000_message_10.csv"),
    "lobster book": ("lobster", "AAPL_2012-06-21_34200000_57600000_orderbook_10.csv"),
    "binance": ("binance", "spot_btcusdt_20240808.gz"),
    "binance usdm": ("binance", "usdm_btcusdt_20240808.gz"),
    "binance coinm": ("binance", "cm_btcusd_perp_20240808.gz"),
    "bitstamp": ("bitstamp", "2015-05-01.log.xz"),
    "pcap nasdaq": ("pcap", "nasdaq-itch-5.0", "Multiple.Packets.pcap"),
    "tardis": (),
    "tardis trades": (),
    "tardis quotes": (),
    "tardis books": (),
    "pcap": ("iex", "TOPS16.pcapng.gz"),
}
#: Formats of text, a line a message.
LINES = ("taq", "lobster", "binance", "bitstamp", "tardis")
#: A wrong extension tells nothing: the content does.
NAMES = ("file.bin", "file.csv", "file.dbn.zst", "file.gz", "message.csv")
#: Seconds that reading a cut of a file may take, with kernels that are compiled, on a busy machine.
PATIENCE_S = 60


#: What a row of each of Tardis.dev's files has behind its times.
TARDIS: dict[str, tuple[str, Callable[[int], str]]] = {
    "tardis": ("is_snapshot,side,price,amount", lambda n: f"{str(n < 5).lower()},bid,{100 + n % 7}.5,{n}"),
    "tardis trades": ("id,side,price,amount", lambda n: f"{n},{('buy', 'sell', 'unknown')[n % 3]},1{n}.25,{n + 1}e-3"),
    "tardis quotes": (
        "ask_amount,ask_price,bid_price,bid_amount",
        lambda n: f"{n + 1},10{n % 9}.5,10{n % 9}.25,7" if n % 5 else ",,100.5,1",
    ),
    "tardis books": (
        ",".join(f"asks[{n}].price,asks[{n}].amount,bids[{n}].price,bids[{n}].amount" for n in range(2)),
        lambda n: f"10{n % 9}.5,{n + 1},10{n % 9}.25,{n + 2},11{n % 7},3,9{n % 7},4" if n % 6 else ",,99.5,1,,,99,2",
    ),
}


def cut_of(name: str, size: int) -> bytes:
    if name in TARDIS:
        columns, row = TARDIS[name]
        head = f"exchange,symbol,timestamp,local_timestamp,{columns}\n"
        lines = (f"bitmex,XBTUSD,{10**15 + n},{10**15 + n // 3 + 9},{row(n)}\n" for n in range(80))
        return (head + "".join(lines)).encode()
    if name == "npz":
        rows = np.zeros(size // 64, EVENT)
        rows["ev"], rows["px"], rows["qty"] = np.arange(len(rows)) % 14 | 3 << 30 | 1 << 29, 1.5, 2.0
        memory = io.BytesIO()
        np.savez(memory, data=rows)
        return memory.getvalue()
    with Source(feed_path(*FILES[name]), block=size) as source:
        return source.more(0)[:size].tobytes()


def hurt(data: bytes, draw: np.random.Generator) -> bytes:
    """A copy that is cut, or has bits flipped, bytes overwritten, a part left out or twice."""
    bad = bytearray(data)
    kind, at = int(draw.integers(6)), int(draw.integers(len(data)))
    if kind == 0:
        return bytes(bad[:at])
    if kind == 1:
        for _ in range(int(draw.integers(1, 20))):
            bad[int(draw.integers(len(bad)))] ^= 1 << int(draw.integers(8))
    elif kind == 2:
        bad[at : at + 40] = draw.integers(0, 256, len(bad[at : at + 40]), dtype=np.uint8).tobytes()
    elif kind == 3:
        bad[at] = int(draw.choice([0, 255, 127, 128, 10, 44, 34]))
    elif kind == 4:
        del bad[at : at + int(draw.integers(1, 60))]
    else:
        bad[at:at] = bad[at : at + int(draw.integers(1, 60))]
    return bytes(bad)


def read(path: Any, data: bytes | None = None) -> tuple[int, FeedError | None]:
    """Units of records that a file gives, and the error that it ends with; nothing else may be raised.

    data: what the file holds, unpacked. Without an error every message of it has been counted, as `framed` sees them.
    """
    units, begun = 0, time.monotonic()
    try:
        with known.open_file(path) as reader:
            for batch in reader.batches():
                units += int(batch.used[0])
                assert time.monotonic() - begun < PATIENCE_S
            counts = reader.counts
    except FeedError as error:
        return units, error
    assert time.monotonic() - begun < PATIENCE_S
    assert all(n > 0 for n in (*counts.by_type.values(), *counts.skipped.values(), *counts.passed_over.values()))
    assert set(counts.examples) == set(counts.skipped), "of each reason the first is shown"
    if data is not None:
        messages = framed(reader.format, data)
        assert messages is not None, "what ends within a message is refused"
        assert messages < 0 or counts.messages == messages
    return units, None


def framed(name: str, data: bytes) -> int | None:
    """How many messages there are, by their lengths or lines alone; None where the last is cut, -1 of captures."""
    if name == "itch":
        return _walk(data, 0, lambda at: 2 + int.from_bytes(data[at : at + 2], "big"), 2)
    if name == "dbn":
        at = 8 + int.from_bytes(data[4:8], "little") if data[:3] == b"DBN" else 0
        return _walk(data, at, lambda at: 4 * data[at], 0)
    if name == "hftbacktest":
        with np.load(io.BytesIO(data)) as arrays:
            return len(arrays[arrays.files[0]])
    if name.endswith("pcap"):
        return _captured(data)
    *lines, rest = data.split(b"\n")
    if name in ("taq", "tardis"):
        return None if rest else len(lines) - 1
    assert name in ("lobster", "lobster_orderbook", "binance", "bitstamp")
    return len(lines) + (1 if rest else 0)


def _walk(data: bytes, at: int, size_at: Callable[[int], int], end_mark: int) -> int | None:
    """Messages from `at` on; one of the size of `end_mark` ends them."""
    found = 0
    while at < len(data):
        size = size_at(at)
        if size == end_mark:
            return found
        at, found = at + size, found + 1
    return found if at == len(data) else None


def _captured(data: bytes) -> int | None:
    if data[:4] == b"\n\r\r\n":
        order = "little" if data[8:12] == b"\x4d\x3c\x2b\x1a" else "big"
        return -1 if _walk(data, 0, lambda at: _word(data, at + 4, order), 0) is not None else None
    order = "little" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else "big"
    return -1 if _walk(data, 24, lambda at: 16 + _word(data, at + 8, order), 0) is not None else None


def _word(data: bytes, at: int, order: Any) -> int:
    return int.from_bytes(data[at : at + 4], order)


def fuzz(tmp_path: Any, name: str, rounds: int, size: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    data = cut_of(name, size)
    for n in range(rounds):
        path = tmp_path / NAMES[n % len(NAMES)]
        bad = hurt(data, draw)
        path.write_bytes(bad)
        _, error = read(path, bad)
        if error is not None:
            assert str(path) in str(error), n
            assert error.why, n
            assert error.offset >= 0 or error.line > 0, (n, str(error))


@pytest.mark.parametrize("name", FILES)
def test_what_is_hurt_is_told_or_counted(tmp_path, name):
    if name.split()[0] not in known.MODULES:
        pytest.skip(f"{name} is no format that is known yet")
    fuzz(tmp_path, name, 40, 6000, 7)


@pytest.mark.torture
@pytest.mark.parametrize("name", FILES)
def test_what_is_hurt_is_told_or_counted_for_long(tmp_path, name):
    if name.split()[0] not in known.MODULES:
        pytest.skip(f"{name} is no format that is known yet")
    fuzz(tmp_path, name, 5000, 200_000, 11)


@pytest.mark.parametrize("name", FILES)
def test_the_bytes_as_they_are_packed_hurt_too(tmp_path, name):
    if name.split()[0] not in known.MODULES:
        pytest.skip(f"{name} is no format that is known yet")
    packed = feed_path(*FILES[name]).read_bytes()[:20_000] if FILES[name] else cut_of(name, 20_000)
    draw = np.random.default_rng(3)
    for n in range(6):
        path = tmp_path / NAMES[n % len(NAMES)]
        path.write_bytes(hurt(packed[: 2000 + 500 * n], draw))
        _, error = read(path)
        assert error is not None or not packing_of(packed) or len(packed) <= 2000 + 500 * n, "it was cut"


@pytest.mark.parametrize("name", FILES)
def test_a_cut_between_messages_gives_those_before_it_and_a_cut_within_one_is_refused(tmp_path, name):
    data, draw = cut_of(name, 6000), np.random.default_rng(17)
    path = tmp_path / "file"
    path.write_bytes(
        data if name.startswith("npz") else data[: data.rfind(b"\n") + 1] if name.split()[0] in LINES else data
    )
    with known.open_file(path) as reader:
        kind = reader.format
    whole = within = 0
    for n in range(60):
        at = int(draw.integers(len(data) // 3, len(data)))
        if name.split()[0] in LINES and n % 2:
            at = data.rfind(b"\n", 0, at) + 1
        elif name == "itch" and n % 2:
            at = _boundary(data, at)
        bad = data[:at]
        path.write_bytes(bad)
        messages = None if kind == "hftbacktest" else framed(kind, bad)
        if kind.startswith("lobster") or kind in ("binance", "bitstamp"):  # a last line needs no newline
            line = bad[bad.rfind(b"\n") + 1 :]
            # Of a row of a book nobody can tell that its last number is cut.
            if line and data[at : at + 1] != b"\n" and not (kind == "lobster_orderbook" and line.count(b",") == 39):
                messages = None
        _, error = read(path)
        assert (error is None) == (messages is not None), (at, str(error))
        whole, within = whole + (error is None), within + (error is not None)
    assert within > 10
    assert whole > 10 or name.split()[0] not in (*LINES, "itch")


def _boundary(data: bytes, at: int) -> int:
    """Where the message of ITCH begins that a place lies in."""
    begin = 0
    while begin + 2 + int.from_bytes(data[begin : begin + 2], "big") <= at:
        begin += 2 + int.from_bytes(data[begin : begin + 2], "big")
    return begin


@pytest.mark.parametrize("name", FILES)
def test_the_good_part_of_each_gives_records(tmp_path, name):
    """What is hurt above is of the format that its name says, and more than a refusal of its first byte."""
    data = cut_of(name, 6000)
    path = tmp_path / "file"
    path.write_bytes(data if name == "npz" else data[: data.rfind(b"\n") + 1] if name.split()[0] in LINES else data)
    units, error = read(path)
    assert error is None or "ends within" in str(error), str(error)
    assert units > 0 or name == "dbn definitions"


def test_every_format_says_what_it_is_and_noise_is_refused(tmp_path):
    draw = np.random.default_rng(5)
    for n in range(60):
        path = tmp_path / "noise"
        path.write_bytes(draw.integers(0, 256, 1 + 70 * n, dtype=np.uint8).tobytes())
        assert read(path)[1] is not None
    for module in known.MODULES:
        assert not import_module(f"gateways.formats.{module}").recognises(b"")
