"""The column dictionary: every column of the exports, its type, unit, meaning, and the record and field it is from.

The rows are in columns.txt. docs/quality-columns.md is made from them (`python -m replay.quality.columns`), and a test
holds the page and the files to it. `RECORD.field` is a record of docs/wire.md; `in` was journaled as an input, `out`
as an output.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa

#: Prices and quantities are exact: the journal's integers with nine decimals.
EXACT: Final = pa.decimal128(38, 9)
_TYPES: Final[dict[str, Any]] = {
    "text": pa.string(),
    "time": pa.timestamp("ns", tz="UTC"),
    "integer": pa.int64(),
    "exact": EXACT,
    "number": pa.float64(),
    "yes/no": pa.bool_(),
}


class Column(NamedTuple):
    """One column; `source` is empty where it is arithmetic over many records, which `meaning` says."""

    name: str
    type: str
    unit: str
    meaning: str
    source: str


def _read(path: Path) -> dict[str, tuple[Column, ...]]:
    """Sections of the file beside this one: [table], then a line a column."""
    found: dict[str, list[Column]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            rows = found[line.strip("[]")] = []
        elif line and not line.startswith("#"):
            rows.append(Column(*(part.strip() for part in line.split("|"))))
    return {name: tuple(rows) for name, rows in found.items()}


_TEXT: Final = _read(Path(__file__).with_suffix(".txt"))
_EVENT: Final = _TEXT["event"]

ORDER_RECORDS: Final = _EVENT + _TEXT["order_records"]

CAT_EVENTS: Final = _EVENT + _TEXT["cat_events"]

#: Of every table of `replay.quality.structs.Row`; `by` columns come before them.
_BY: Final = {
    "venue": "MIC of the venue",
    "strategy": "routing strategy",
    "client": "session and client_id",
    "symbol": "symbol",
    "currency": "ISO 4217: of all money and prices in the row",
    "category": "kind of order, of the buckets' file",
    "size": "size of order, of the buckets' file",
}
_FIGURES: Final = _TEXT["figures"]
_LATER: Final = _TEXT["later"]
_COVERED: Final = _TEXT["covered"]
_WITHIN: Final = Column(
    "within_{ms}ms_qty", "number", "shares or coins", "executed in this bucket of time since receipt, up to {ms} ms",
    "FILL.ts_recv_ns, in ORDER_NEW.ts_recv_ns",
)  # fmt: skip
_LATEST: Final = Column("later_qty", "number", "shares or coins", "executed later than that", "FILL.ts_recv_ns")
TOP_VENUES: Final = _TEXT["top_venues"]
#: Table of rows -> its dimensions, and what the table is.
ROWS: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "venues": (("venue", "currency"), "orders sent to each venue"),
    "venue_strategies": (("venue", "strategy", "currency"), "the same by strategy"),
    "venue_clients": (("venue", "client", "currency"), "the same by client: the shape of Rule 606(b)(3)"),
    "routed": (("category", "venue", "currency"), "the same by kind of order: the shape of Rule 606(a)"),
    "strategies": (("strategy", "currency"), "clients' orders by strategy"),
    "clients": (("client", "currency"), "clients' orders by client"),
    "covered": (("symbol", "currency", "category", "size"), "clients' orders: the shape of Rule 605"),
}
RECORDS: Final = {
    "order_records": (
        ORDER_RECORDS,
        "each order, a row a record: the shape of RTS 24 and of RTS 6, Annex II",
    ),
    "cat_events": (CAT_EVENTS, "the same in the shape of CAT's industry member events"),
}


def of_rows(table: str, horizons_ms: list[int], times_ms: list[int]) -> tuple[Column, ...]:
    """Columns of a table of rows."""
    by = tuple(Column(name, "text", "", _BY[name], "configuration, ORDER_NEW") for name in ROWS[table][0])
    later = [_with(column, ms) for ms in horizons_ms for column in _LATER]
    if table != "covered":
        return (*by, *_FIGURES, *later)
    within = [_with(_WITHIN, ms) for ms in times_ms]
    return (*by, *_FIGURES, *later, *_COVERED, *within, _LATEST)


def _with(column: Column, ms: int) -> Column:
    return column._replace(name=column.name.format(ms=ms), meaning=column.meaning.format(ms=ms))


def schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The Arrow schema: each field has the dictionary's row as metadata."""
    return pa.schema(
        [
            pa.field(c.name, _TYPES[c.type], metadata={"unit": c.unit, "meaning": c.meaning, "source": c.source})
            for c in columns
        ]
    )


def page() -> str:
    """docs/quality-columns.md, for the default buckets."""
    from replay.quality.settings import load

    buckets, _ = load()
    lines = ["# Columns of the exports of `tickroute quality`", ""]
    lines += [f"Made from `replay/quality/columns.py`; do not edit. {_TYPE_TEXT}", ""]
    tables = {name: (columns, text) for name, (columns, text) in RECORDS.items()}
    tables |= {name: (of_rows(name, buckets.horizons_ms, buckets.times_ms), text) for name, (_, text) in ROWS.items()}
    tables["top_venues"] = (TOP_VENUES, "venues by class of instruments: the shape of RTS 28")
    for name, (columns, text) in tables.items():
        lines += [f"## {name}", "", f"{text[0].upper()}{text[1:]}.", "", "| column | type | unit | meaning | source |"]
        lines += ["|---|---|---|---|---|"]
        lines += [f"| {c.name} | {c.type} | {c.unit} | {c.meaning} | {c.source} |" for c in columns]
        lines += [""]
    return "\n".join(lines)


_TYPE_TEXT: Final = (
    "Types: text (string), time (timestamp of nanoseconds, UTC), integer (int64), exact (decimal of 38 digits, nine "
    "after the point), number (double), yes/no (boolean). An empty field is null: it is not known, or does not apply. "
    "Columns of horizons and times are named by the buckets' file."
)

if __name__ == "__main__":
    print(page(), end="")
