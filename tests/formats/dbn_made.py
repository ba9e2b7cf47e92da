"""Made-up DBN for the tests: bytes of metadata and records, and generators of messages of every kind."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import strategies as st

from gateways.formats import dbn
from gateways.formats.batch import make_batch
from gateways.formats.source import Source
from tests.formats.dbn_twin import UNDEF, Msg, given


def preamble(version=2, mappings=(), schema=0, stype=(1, 0), ts_out=0):
    """Prelude and metadata; `mappings` are (symbol, [(first day, day after, other name)])."""
    length = 22 if version == 1 else 71

    def text(value, size=length):
        return value.encode().ljust(size, b"\0")

    body = text("GLBX.MDP3", 16) + struct.pack("<HQQQ", schema, 10, 20, 0) + b"\0" * (8 * (version == 1))
    body += bytes((*stype, ts_out)) + (struct.pack("<H", length) if version > 1 else b"")
    body += b"\0" * (47 if version == 1 else 53) + struct.pack("<IIII", 0, 0, 0, 0) + struct.pack("<I", len(mappings))
    for symbol, spans in mappings:
        body += text(symbol) + struct.pack("<I", len(spans))
        body += b"".join(struct.pack("<II", a, b) + text(other) for a, b, other in spans)
    return b"DBN" + bytes((version,)) + struct.pack("<I", len(body)) + body


def packed(m, ts_out=b""):
    """The bytes of a message."""
    tail = b"" if m.rtype != 160 else struct.pack("<QqIBBccQiI", m.order_id, m.price, m.size, m.flags, 0,
        m.action.encode(), m.side.encode(), m.ts_recv, 0, m.sequence)  # fmt: skip
    if not tail:
        seq = 0 if m.rtype in (177, 194) else m.sequence
        tail = struct.pack(
            "<qIccBBQiI", m.price, m.size, m.action.encode(), m.side.encode(), m.flags, 0, m.ts_recv, 0, seq
        )
        tail += b"".join(struct.pack("<qqIIII", *level) for level in m.levels)
    tail += ts_out
    return struct.pack("<BBHIQ", 4 + len(tail) // 4, m.rtype, m.publisher_id, m.instrument_id, m.ts_event) + tail


def written(tmp_path, data, name="file.dbn"):
    """A file of these bytes."""
    path = tmp_path / name
    path.write_bytes(data)
    return path


NANO = 1_700_000_000 * 10**9
prices = st.sampled_from([UNDEF, 10**9, 2 * 10**9, 25 * 10**7, -5 * 10**8, 7, 3 * 10**9])
heads = {
    "publisher_id": st.sampled_from([1, 2, 900]),
    "instrument_id": st.sampled_from([5, 6, 2**32 - 1]),
    "ts_event": st.sampled_from([NANO, NANO + 5, 2**64 - 1]),
    "ts_recv": st.sampled_from([NANO + 9, NANO + 11, 2**64 - 1]),
    "sequence": st.integers(0, 2**32 - 1),
    "side": st.sampled_from("ABN"),
    "size": st.sampled_from([0, 1, 2, 3, 5, 2**32 - 1]),
    "price": prices,
}
flags = st.sampled_from([0, 128, 32, 40, 64, 16, 130])
none = st.just(())
orders = st.builds(Msg, rtype=st.just(160), action=st.sampled_from("AAAACCFFMRTNX"), flags=flags,
    order_id=st.sampled_from([1, 2, 3, 2**64 - 1]), levels=none, **heads)  # fmt: skip
trades = st.builds(Msg, rtype=st.just(0), action=st.just("T"), flags=flags, order_id=st.just(0), levels=none, **heads)
pair = st.tuples(prices, prices, st.integers(0, 3), st.integers(0, 3), st.integers(0, 9), st.integers(0, 9))
quotes = st.builds(Msg, rtype=st.sampled_from([1, 197]), action=st.sampled_from("ACMRT"), flags=flags,
    order_id=st.just(0), levels=st.tuples(pair), **heads)  # fmt: skip
plain_pair = pair.map(lambda p: (*p[:4], 0, 0))
consolidated = st.builds(Msg, rtype=st.sampled_from([177, 194]), action=st.sampled_from("AT"), flags=flags,
    order_id=st.just(0), levels=st.tuples(plain_pair), **heads).map(lambda m: m._replace(sequence=0))  # fmt: skip


@st.composite
def ladders(draw):
    """A record with ten levels a side, best first, shorter ones ended by no price."""
    sides = []
    for sign in (-1, 1):
        steps = draw(st.lists(st.integers(1, 3), max_size=10))
        levels, px = [], 100
        for step in steps:
            px += sign * step
            levels.append((px * 10**9, draw(st.integers(1, 4))))
        sides.append(levels + [(UNDEF, 0)] * (10 - len(levels)))
    shown = tuple((b[0], a[0], b[1], a[1], 1, 1) for b, a in zip(*sides, strict=True))
    return draw(
        st.builds(Msg, rtype=st.just(10), action=st.sampled_from("ACMRT"), flags=flags, levels=st.just(shown), **heads)
    )


def read(path, block=1 << 20, units=1 << 14, **options):
    """Records, their (venue, instrument), and the reader, with blocks and batches of a size."""
    reader = dbn.open_file(path, **options)
    with reader:
        reader.source.close()
        reader.source = Source(path, block=block)
        reader.batch = make_batch(units)
        got, where = given(reader.batches())
    return got, where, reader


def mbo(**fields):
    """An order's message, with these fields otherwise."""
    usual: dict[str, Any] = {
        "rtype": 160,
        "publisher_id": 1,
        "instrument_id": 5,
        "ts_event": NANO,
        "ts_recv": NANO + 9,
        "sequence": 1,
    }
    usual |= {"action": "A", "side": "B", "flags": 0, "price": 10**9, "size": 1, "order_id": 1}
    return Msg(**(usual | fields))


def other(rtype, size, instrument=5, text=b"", at=16):
    """A record of zeros but for a text at a place."""
    body = bytearray(size)
    body[:16] = struct.pack("<BBHIQ", size // 4, rtype, 1, instrument, NANO)
    body[at : at + len(text)] = text
    return bytes(body)
