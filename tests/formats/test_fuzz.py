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
from gateways.formats.source import Source
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


def read(path: Any) -> tuple[int, FeedError | None]:
    """Units of records that a file gives, and the error that it ends with; nothing else may be raised."""
    units, begun = 0, time.monotonic()
    try:
        with known.open_file(path) as reader:
            for batch in reader.batches():
                units += int(batch.used[0])
                assert time.monotonic() - begun < PATIENCE_S
            assert reader.counts.messages >= 0
    except FeedError as error:
        return units, error
    assert time.monotonic() - begun < PATIENCE_S
    return units, None


def fuzz(tmp_path: Any, name: str, rounds: int, size: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    data = cut_of(name, size)
    for n in range(rounds):
        path = tmp_path / NAMES[n % len(NAMES)]
        path.write_bytes(hurt(data, draw))
        _, error = read(path)
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
        read(path)


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
