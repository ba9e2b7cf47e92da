"""Writes records as one Parquet table, a row group a block: all kinds in one file, in the order of the feed.

A row is a record; a column that its kind does not have is null. `kind`, `venue`, `symbol` and `side` are names, times
are UTC to the nanosecond (null where the source has none), all else is as in the record: prices and quantities are
integers of the instrument's units, whose decimals are in the file's metadata under `tickroute`, as JSON.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.record.records import DTYPES, FIELDS, PREFIX, Side, Template
from gateways.formats.batch import Batch
from gateways.formats.blocks import Named
from gateways.formats.recorded_kernels import Filling
from gateways.formats.recorded_write import beside

#: Units of a row group: 8 MiB of records.
UNITS: Final = 1 << 17
#: Kind -> the member of a batch that views it.
_VIEWS: Final = {
    Template.QUOTE: "quote", Template.TRADE: "trade", Template.LEVEL: "level", Template.ORDER_DELTA: "delta",
    Template.CLEAR: "clear", Template.INSTRUMENT_STATUS: "status",
}  # fmt: skip
_HEADER: Final = ("block_length", "template_id", "schema_id", "version")
_NAME: Final = pa.dictionary(pa.int32(), pa.string())
_TIME: Final = pa.timestamp("ns", tz="UTC")
_SIDES: Final = [side.name for side in Side]


def _docs() -> dict[str, str]:
    """Column -> what it says, of all fields that a kind of market data has, the prefix first; none is reserved."""
    rows = [*PREFIX, *(field for template in _VIEWS for field in FIELDS[template])]
    return {f.name: f.doc for f in reversed(rows) if f.name not in (*_HEADER, "reserved")}


def _type(name: str) -> Any:
    if name == "side":
        return _NAME
    if name.startswith("ts_"):
        return _TIME
    sizes = [t.fields[name][0].itemsize for t in map(DTYPES.__getitem__, _VIEWS) if name in (t.fields or {})]  # type: ignore[index]
    return pa.int64() if max(sizes) == 8 else pa.int32()


def _fields() -> list[Any]:
    docs = _docs()
    docs["status"] += "; of an instrument"
    names = [field.name for field in PREFIX if field.name in docs]
    names += [name for template in _VIEWS for name in DTYPES[template].names or () if name in docs]
    found = [
        pa.field("kind", _NAME, metadata={"doc": "the kind of record, see docs/wire.md"}),
        pa.field("venue", _NAME, metadata={"doc": "the venue's name in the source"}),
        pa.field("symbol", _NAME, metadata={"doc": "the instrument's symbol in the source; null for all instruments"}),
    ]
    return found + [pa.field(n, _type(n), metadata={"doc": docs[n]}) for n in dict.fromkeys(names)]


SCHEMA: Final = pa.schema(_fields())


class ParquetSink:
    """A Parquet file that is being written: there when it was finished, and not before."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._partial = beside(self.path)
        self._file = self._partial.open("wb")
        self._writer = pq.ParquetWriter(self._file, SCHEMA, compression="zstd")

    def block(self, block: Batch, filling: Filling, names: Named) -> None:
        """Write one block as a row group. OSError as the system gives it."""
        self._writer.write_table(table_of(block, filling, names), row_group_size=UNITS)

    def finish(self, names: Named, about: dict[str, Any]) -> int:
        """Write names and decimals as metadata, and put the file in its place; its bytes."""
        instruments = [row._asdict() for row in names.instruments]
        told = {"venues": list(names.venues), "instruments": instruments, "about": about}
        self._writer.add_key_value_metadata({"tickroute": json.dumps(told)})
        self._writer.close()
        self._file.close()
        size = self._partial.stat().st_size
        self._partial.replace(self.path)
        return size

    def abandon(self) -> None:
        """Leave nothing behind, unless it was finished. Twice is once."""
        # A disk that is full is full for what is still in the buffer too: it has been told already.
        for file in (self._writer, self._file):
            with suppress(OSError):
                file.close()
        self._partial.unlink(missing_ok=True)


def table_of(block: Batch, filling: Filling, names: Named) -> Any:
    """The records of a block as an Arrow table of SCHEMA. ValueError for a kind that is no market data."""
    starts = filling.starts[: int(filling.row[0]["records"])]
    kinds = np.asarray(block.head["template_id"])[starts]
    values = {f.name: np.zeros(len(starts), np.int64) for f in SCHEMA}
    absent = {f.name: np.ones(len(starts), bool) for f in SCHEMA}
    for kind in np.unique(kinds):
        template = Template(int(kind))
        if template not in _VIEWS:
            raise ValueError(f"{template.name} is no market data: it has no place in a Parquet file")
        where = np.flatnonzero(kinds == kind)
        rows = np.asarray(getattr(block, _VIEWS[template]))[starts[where]]
        for name in set(rows.dtype.names or ()) & set(values):
            values[name][where] = rows[name]
            absent[name][where] = False
    return pa.table([_column(f, values, absent, kinds, names) for f in SCHEMA], schema=SCHEMA)


def _column(field: Any, values: Any, absent: Any, kinds: Any, names: Named) -> Any:
    name = field.name
    if name == "kind":
        return _named(kinds, kinds < 0, [t.name for t in _VIEWS], [int(t) for t in _VIEWS])
    if name in ("venue", "symbol"):
        numbers = values["venue_id" if name == "venue" else "instrument_id"]
        texts = list(names.venues) if name == "venue" else [row.symbol for row in names.instruments]
        return _named(numbers, numbers < 0, texts, range(len(texts)))
    if name == "side":
        return _named(values[name], absent[name], _SIDES, [int(side) for side in Side])
    if name.startswith("ts_"):
        return pa.array(values[name], mask=absent[name] | (values[name] == 0)).cast(_TIME)
    return pa.array(values[name], mask=absent[name]).cast(field.type)


def _named(numbers: Any, absent: Any, texts: list[str], codes: Any) -> Any:
    """Numbers as the texts of their codes; null where absent, or of no code."""
    codes = np.asarray(codes, dtype=np.int64)
    # Only what occurs goes into the dictionary: a feed of ten thousand symbols would write all of them a row group.
    used, places = np.unique(numbers, return_inverse=True)
    found = np.searchsorted(codes, used) if len(codes) else np.zeros(len(used), np.int64)
    known = (found < len(codes)) & (codes[np.minimum(found, len(codes) - 1)] == used) if len(codes) else used != used
    words = pa.array([texts[int(n)] if good else "" for n, good in zip(found, known, strict=True)], pa.string())
    mask = absent | ~known[places]
    return pa.DictionaryArray.from_arrays(pa.array(places.astype(np.int32), mask=mask), words)
