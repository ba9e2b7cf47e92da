"""Captures, MoldUDP64 and IEX-TP: packets of every kind, numbers, and messages as an independent reading has them."""

from __future__ import annotations

import gzip
import struct
from collections import Counter
from datetime import date
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.jit import JIT
from engine.record.records import Flag, Template
from gateways.feeds.report import FeedError
from gateways.formats import iex_kernels
from gateways.formats.batch import taken
from gateways.formats.inspection import inspect
from gateways.formats.known import open_file
from gateways.formats.source import Source
from tests.feeds_path import feed_path
from tests.formats.itch_twin import HEAD, Twin, midnight_ns, records_of
from tests.formats.packets_twin import pcap, pcapng, udp

pytestmark = pytest.mark.kernel
T0 = 1_692_709_976_000_059_094
DELETE = struct.pack(HEAD, b"D", 4, 0, (5).to_bytes(6, "big"))


def read(path, block=0, units=4096):
    with open_file(path) as reader:
        if block:
            reader.source.close()
            reader.source = Source(path, block)
        return b"".join(taken(batch).tobytes() for batch in reader.batches(units)), reader  # type: ignore[call-arg]


def mold(seq, messages, session=b"000010059B", count=None):
    body = b"".join(struct.pack(">H", len(m)) + m for m in messages)
    return struct.pack(">10sQH", session, seq, len(messages) if count is None else count) + body


def deletes(first, count):
    return [DELETE + struct.pack(">Q", n) for n in range(first, first + count)]


def orders(data):
    return [row[8] for row in records_of(data)[0]]


WRITERS: dict[str, Any] = {
    "pcap ns": pcap,
    "pcap us": partial(pcap, ns=False),
    "pcap ns big": partial(pcap, order=">"),
    "pcapng ns": pcapng,
    "pcapng big us": partial(pcapng, order=">", resolution=6),
    "pcapng 2^-20": partial(pcapng, resolution=128 + 20),
    "pcapng 2^-30": partial(pcapng, resolution=128 + 30),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_packets_of_every_kind(tmp_path, writer):
    made = [
        udp(b"", tags=1),
        udp(mold(1, deletes(1, 2))),
        udp(mold(3, deletes(3, 1)), tags=2),
        udp(mold(4, deletes(4, 1)), options=3),
        udp(mold(5, deletes(5, 1)), six=True, tags=1),
        udp(mold(6, deletes(6, 1)), protocol=6),
        udp(mold(6, deletes(6, 1)), fragment=0x2000),
        udp(mold(6, deletes(6, 1)))[:60],
        b"\1" * 12 + b"\x08\x06" + bytes(28),
        udp(mold(6, deletes(6, 1))) + bytes(5),
    ]
    path = tmp_path / "file"
    path.write_bytes(WRITERS[writer]([(T0 + 1000 * n, packet) for n, packet in enumerate(made)]))
    data, reader = read(path)
    assert orders(data) == [1, 2, 3, 4, 5, 6]
    _, rest = records_of(data)
    assert [seq for seq, _ in rest] == [1, 2, 3, 4, 5, 6]
    unit = {"pcap us": 1000, "pcapng big us": 1000, "pcapng 2^-20": 955, "pcapng 2^-30": 2}.get(writer, 1)
    assert all(0 <= T0 + 1000 * n - ns < unit for n, (_, ns) in zip((1, 1, 2, 3, 4, 9), rest, strict=True))
    assert reader.counts.by_type == {"D": 6}
    passed = {"TCP packet": 1, "not IP packet": 1, "IP fragment packet": 1, "empty UDP packet": 1}
    assert reader.counts.passed_over == passed
    assert reader.counts.skipped == {"a packet that is cut": 1}
    assert (reader.counts.gaps, reader.counts.repeated) == (0, 0)
    assert read(path, block=33, units=8)[0] == data


def test_numbers_of_sessions(tmp_path):
    other = b"000010059C"
    made = [
        mold(10, deletes(1, 3)),
        mold(10, deletes(1, 3)),
        mold(12, deletes(3, 3)),
        mold(1, deletes(90, 1), other),
        mold(15, []),
        mold(20, deletes(7, 1)),
        mold(2, [], other, 0xFFFF),
        mold(15, deletes(8, 1)),
    ]
    path = tmp_path / "file"
    path.write_bytes(pcap([(T0, udp(payload)) for payload in made]))
    data, reader = read(path, units=9)
    assert orders(data) == [1, 2, 3, 4, 5, 90, 7]
    assert (reader.counts.gaps, reader.counts.lost, reader.counts.repeated) == (1, 5, 5)
    assert reader.counts.by_type == {"D": 12}
    assert reader.counts.passed_over == {"heartbeat": 1, "end of session": 1}
    assert reader.venues == ["XNAS", "XNAS-000010059C"]
    assert len(reader.instruments) == 2
    assert records_of(data)[0][0][2] == midnight_ns(date(2023, 8, 22)) + 5


def test_a_damaged_packet_ends_with_itself(tmp_path):
    broken = bytearray(mold(2, deletes(2, 2)))
    broken[20] = 9
    path = tmp_path / "file"
    path.write_bytes(pcap([(T0, udp(p)) for p in (mold(1, deletes(1, 1)), bytes(broken), mold(4, deletes(4, 1)))]))
    data, reader = read(path)
    assert orders(data) == [1, 4]
    assert reader.counts.skipped == {"messages that do not fit their packet": 1}
    assert reader.counts.gaps == 0


@pytest.mark.parametrize("writer", ["pcap ns", "pcapng ns"])
def test_a_cut_capture_gives_what_was_before(tmp_path, writer):
    packets = [(T0, udp(mold(n, deletes(n, 1)))) for n in (1, 2)]
    raw, first = WRITERS[writer](packets), len(WRITERS[writer](packets[:1]))
    path = tmp_path / "file"
    for size in range(first, len(raw)):
        path.write_bytes(raw[:size])
        got: list[bytes] = []
        with open_file(path) as reader:
            if size > first:
                with pytest.raises(FeedError, match="ends within a packet") as caught:
                    got.extend(taken(b).tobytes() for b in reader.batches())
                assert caught.value.offset == first
            else:
                got.extend(taken(b).tobytes() for b in reader.batches())
        assert orders(b"".join(got)) == [1]


@settings(max_examples=60)
@given(st.data(), st.sampled_from(["pcap ns", "pcapng ns", "pcapng 2^-30"]))
def test_flipped_bits_end_in_an_error_or_in_counts(tmp_path_factory, data, writer):
    raw = bytearray(WRITERS[writer]([(T0, udp(mold(n, deletes(n, 1)))) for n in (1, 2, 3)]))
    bit = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[bit // 8] ^= 1 << bit % 8
    path = tmp_path_factory.mktemp("pcap") / "file"
    path.write_bytes(raw)
    try:
        _, reader = read(path)
    except FeedError as error:
        assert str(path) in str(error)  # noqa: PT017  a capture may be read whole as well
    else:
        counts = reader.counts
        assert counts.messages + sum(counts.skipped.values()) + sum(counts.passed_over.values()) >= 2


def test_recorded_nasdaq_packets():
    folder = feed_path("pcap", "nasdaq-itch-5.0").parent
    total = 0
    for path in sorted(folder.glob("nasdaq-itch*/*.pcap")):
        raw, at, messages = path.read_bytes(), 24, []
        twin = Twin(midnight_ns(date(2023, 8, 22)))
        while at < len(raw):
            (size,) = struct.unpack_from("<I", raw, at + 8)
            payload = raw[at + 16 + 46 : at + 16 + size]
            at, place = at + 16 + size, 20
            while place < len(payload):
                (length,) = struct.unpack_from(">H", payload, place)
                messages.append(payload[place + 2 : place + 2 + length])
                place += 2 + length
        for message in messages:
            twin.take(message)
        data, reader = read(path)
        assert records_of(data)[0] == twin.records
        assert reader.counts.by_type == dict(Counter(chr(m[0]) for m in messages))
        assert [i.symbol for i in reader.instruments if i.symbol[0] != "#"] == [s for s in twin.symbols if s[0] != "#"]
        total += len(messages)
    assert total == 117


def test_order_entry_is_no_market_data():
    for path in feed_path("pcap", "nasdaq-ouch-5.0").glob("*.pcap"):
        with pytest.raises(FeedError, match=r"holds no market data that is known \(found '1 TCP'\)"):
            open_file(path)


def iex_messages(raw):
    """(sequence, receive time, message) of a pcap file of IEX-TP."""
    at, found = 24, []
    while at + 16 <= len(raw):
        seconds, us, size = struct.unpack_from("<III", raw, at)
        payload = raw[at + 16 + 42 : at + 16 + size]
        length, count, _, seq = struct.unpack_from("<HHqq", payload, 12)
        place, at = 40, at + 16 + size
        for n in range(count):
            (length,) = struct.unpack_from("<H", payload, place)
            found.append((seq + n, seconds * 10**9 + us * 1000, payload[place + 2 : place + 2 + length]))
            place += 2 + length
    return found


def iex_records(messages):
    """What their records must say."""
    symbols: dict[str, int] = {}
    halts: dict[int, tuple[bool, int]] = {}
    records: list[tuple[Any, ...]] = []
    for _, _, m in messages:
        kind, mark, ns = struct.unpack_from("<cBq", m)
        if kind == b"S":
            records += [(Template.CLEAR, -1, ns, 0, 33)] if mark == ord("C") else []
            continue
        symbol = m[10:18].decode().rstrip()
        i = symbols.setdefault(symbol, len(symbols))
        if kind == b"Q":
            bid_qty, bid, ask, ask_qty = struct.unpack_from("<IqqI", m, 18)
            sides = (bid if bid_qty else 0, bid_qty, ask if ask_qty else 0, ask_qty)
            records.append((Template.QUOTE, i, ns, 2 if mark & 128 else 0, *sides))
        elif kind == b"T":
            qty, px, _ = struct.unpack_from("<Iqq", m, 18)
            records.append((Template.TRADE, i, ns, (8 if mark & 32 else 0) | (256 if mark & 8 else 0), px, qty))
        elif kind in b"85":
            qty, px = struct.unpack_from("<Iq", m, 18)
            side = ord("1") if kind == b"8" else ord("2")
            records.append((Template.LEVEL, i, ns, side, 1 if qty else 2, 0 if mark & 1 else 32, px, qty))
        elif kind in b"HO":
            operational, status = halts.get(i, (False, 0))
            if kind == b"O":
                operational = mark == ord("O")
            else:
                status = {"T": 0, "O": 3, "P": 3}.get(chr(mark), 1)
            halts[i] = operational, status
            reason = int.from_bytes(m[18:22], "little") if kind == b"H" else 0
            records.append((Template.INSTRUMENT_STATUS, i, ns, 1 if operational else status, 0, reason))
    return records, list(symbols)


def test_the_recorded_iex_day(tmp_path):
    raw = gzip.decompress(feed_path("iex", "TOPS16.pcapng.gz").read_bytes())
    path = tmp_path / "file"
    path.write_bytes(raw if JIT else _first_packets(raw, 400))
    messages = iex_messages(path.read_bytes())
    data, reader = read(path)
    expected, symbols = iex_records(messages)
    found, rest = records_of(data)
    assert found == expected
    assert reader.counts.messages == len(messages)
    assert len(messages) == 57_674 or not JIT
    assert [i.symbol for i in reader.instruments] == symbols
    assert (reader.counts.gaps, reader.counts.repeated, reader.counts.skipped) == (0, 0, {})
    assert reader.counts.by_type == dict(Counter(chr(m[0]) for _, _, m in messages))
    assert set(rest) <= {(seq, ns) for seq, ns, _ in messages}
    assert len(rest) > 100


def _first_packets(raw, count):
    at = 24
    for _ in range(count):
        at += 16 + int.from_bytes(raw[at + 8 : at + 12], "little")
    return raw[:at]


def iex_packet(seq, offset, messages, protocol=0x8004):
    body = b"".join(struct.pack("<H", len(m)) + m for m in messages)
    return struct.pack("<BBHIIHHqqq", 1, 0, protocol, 1, 7, len(body), len(messages), offset, seq, T0) + body


@settings(max_examples=40)
@given(st.data())
def test_every_iex_type(tmp_path_factory, data):
    made = []
    for n in range(data.draw(st.integers(1, 25))):
        kind = data.draw(st.sampled_from(list(iex_kernels.LENGTHS)))
        length = iex_kernels.LENGTHS[kind]
        mark = data.draw(st.sampled_from([*b"COTPHMN", 0, 1, 8, 32, 40, 128]))
        head = struct.pack("<cBq", kind.encode(), mark, T0 + n) + b"%-8s" % data.draw(st.sampled_from([b"A", b"B.X"]))
        body = data.draw(st.binary(min_size=length, max_size=length)) if n % 2 else bytes(length)
        made.append((head + body)[:length])
    half = len(made) // 2
    sizes = sum(2 + len(m) for m in made[:half])
    payloads = [iex_packet(1, 0, made[:half]), iex_packet(1 + half, sizes, made[half:], 0x8004)]
    path = tmp_path_factory.mktemp("iex") / "file"
    path.write_bytes(pcapng([(T0, udp(p)) for p in payloads]))
    records, reader = read(path, block=50, units=8)
    expected, symbols = iex_records([(0, 0, m) for m in made])
    assert records_of(records)[0] == expected
    assert [i.symbol for i in reader.instruments] == symbols
    assert reader.counts.by_type == dict(Counter(chr(m[0]) for m in made))
    assert (reader.counts.gaps, reader.counts.skipped) == (0, {})


def test_a_cross_of_iex_is_an_auction(tmp_path):
    made = [struct.pack("<cBq8sIqq", b"T", mark, T0, b"A       ", 7, 10_000, 1) for mark in (0, 8, 0x28, 0x30)]
    path = tmp_path / "file"
    path.write_bytes(pcap([(T0, udp(iex_packet(1, 0, made)))]))
    with open_file(path) as reader:
        flags = [int(row["flags"]) for batch in reader.batches() for row in batch.trade[: int(batch.used[0])]]
    assert flags == [0, Flag.AUCTION, Flag.AUCTION | Flag.ODD_LOT, Flag.ODD_LOT]


def test_iex_numbers_and_bytes(tmp_path):
    halt = struct.pack("<cBq8s", b"O", ord("O"), T0, b"A       ")
    made = [iex_packet(1, 0, [halt]), iex_packet(1, 0, [halt]), iex_packet(4, 60, [halt]), iex_packet(5, 90, [halt])]
    path = tmp_path / "file"
    path.write_bytes(pcap([(T0, udp(p)) for p in [*made, b"nothing of it", iex_packet(6, 110, [halt], 0x9000)]]))
    data, reader = read(path)
    assert len(data) == 3 * 64
    assert (reader.counts.gaps, reader.counts.lost, reader.counts.repeated) == (2, 2, 1)
    assert reader.counts.by_type == {"O": 4}
    assert reader.counts.skipped == {"a packet without a header": 1}
    assert reader.counts.passed_over == inspect(path).passed_over == {"packet of another protocol": 1}
