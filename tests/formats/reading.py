"""Reading a file to its end, as plain tuples that a slow reading can be compared with."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.record.records import DTYPES, UNIT, Template
from gateways.feeds.report import FeedError
from gateways.formats.batch import taken

_COMMON = ("venue_id", "instrument_id", "ts_event_ns", "ts_recv_ns", "stream_seq")
#: The fields of a tuple, by kind; the kind's name is before them.
FIELDS = {
    Template.QUOTE: (*_COMMON, "flags", "bid_px", "bid_qty", "ask_px", "ask_qty"),
    Template.TRADE: (*_COMMON, "flags", "px", "qty"),
    Template.LEVEL: (*_COMMON, "flags", "side", "action", "px", "qty"),
    Template.ORDER_DELTA: (*_COMMON, "flags", "side", "action", "px", "qty", "venue_order"),
    Template.CLEAR: (*_COMMON, "reason"),
    Template.INSTRUMENT_STATUS: (*_COMMON, "status"),
}
_PLACES = {t: [DTYPES[t].names.index(n) for n in names] for t, names in FIELDS.items()}  # type: ignore[union-attr]


def tuples(data: np.ndarray[Any, Any]) -> list[tuple[Any, ...]]:
    """Records, as bytes one behind the other, as tuples (kind, *FIELDS[kind])."""
    found, at, raw = [], 0, data.tobytes()
    while at < len(raw):
        template = Template(int.from_bytes(raw[at + 2 : at + 4], "little"))
        row = np.frombuffer(raw, DTYPES[template], 1, at)[0].item()
        found.append((template.name, *(row[n] for n in _PLACES[template])))
        at += DTYPES[template].itemsize
        assert at % UNIT == 0
    return found


def read(reader: Any) -> list[tuple[Any, ...]]:
    """All records of a reader, which is closed."""
    with reader:
        return [row for batch in reader.batches() for row in tuples(taken(batch))]


def read_until_refused(reader: Any) -> tuple[list[tuple[Any, ...]], FeedError | None]:
    """The records before what is wrong with a file, and the error; None where nothing is."""
    found: list[tuple[Any, ...]] = []
    error = None
    with reader:
        try:
            for batch in reader.batches():
                found += tuples(taken(batch))
        except FeedError as caught:
            error = caught
    assert error is None or error.line > 0 or error.offset >= 0
    return found, error


def in_blocks(reader: Any, block: int, units: int) -> list[tuple[Any, ...]]:
    """All records, read in small blocks into small batches."""
    reader.source._block = block
    reader._units = units
    return read(reader)


def fuzzed(tmp_path: Any, data: bytes, make: Any, flips: int = 60) -> None:
    """Cut a good file anywhere, and flip bits of it: a FeedError with its place or a reading with exact counts."""
    whole, ends = read(make(_written(tmp_path, data))), {n for n in range(len(data)) if data[n : n + 1] == b"\n"}
    rng = np.random.default_rng(len(data))
    for cut in sorted(set(rng.integers(0, len(data), flips).tolist()) | {0, len(data) - 1}):
        found, error = read_until_refused(make(_written(tmp_path, data[:cut])))
        assert found == whole[: len(found)]
        assert error is not None or cut == 0 or cut in ends or cut - 1 in ends
    for place in rng.integers(0, len(data), flips):
        changed = bytearray(data)
        changed[place] ^= 1 << int(rng.integers(0, 8))
        reader = make(_written(tmp_path, bytes(changed)))
        _, error = read_until_refused(reader)
        lines = changed.count(b"\n") + (changed[-1:] != b"\n")
        assert error is not None or reader.counts.messages == lines - getattr(reader, "header_lines", 0)


def _written(tmp_path: Any, data: bytes) -> Any:
    path = tmp_path / "AAPL_2012-06-21_34200000_57600000_message_10.csv"
    path.write_bytes(data)
    return path
