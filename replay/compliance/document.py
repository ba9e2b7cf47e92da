"""A report before it is a page: parts with texts, tables and figures, as plain values.

JSON, Parquet, HTML and PDF are all written from this one document, so they cannot differ in a figure. A cell is an
integer, a text, a float or None; its column says what it is and in which unit, and `shown` is the one place that turns
it into text. Times are cut, never rounded. Every table and figure names the journal ranges that it follows from.

Worst case: a document is some hundred kilobytes, however long the journals are.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

FORMAT: Final = 1
Cell = int | float | str | None
#: A kind of column for programs alone: the number of a record, whose text is in another column. No page shows it.
RAW: Final = "raw"


class Struct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """Base: immutable, named arguments."""


class Source(Struct, frozen=True):
    """A range of a journal, both ends in it: `run` is the label of part 1."""

    run: str
    first_seq: int
    last_seq: int


class Column(Struct, frozen=True):
    """A column: its key in data, its heading, what kind of cell it has (see `shown`), its unit, and what it says."""

    key: str
    label: str
    kind: str
    doc: str
    unit: str = ""


class Table(Struct, frozen=True):
    """A table; `rows` hold a cell a column. `id` is unique in the document; `note` is printed under it."""

    id: str
    title: str
    columns: list[Column]
    rows: list[list[Cell]]
    source: list[Source]
    note: str = ""


class Line(Struct, frozen=True):
    """A line of a figure."""

    name: str
    x: list[float]
    y: list[float | None]


class Figure(Struct, frozen=True):
    """A picture, as the numbers that it is drawn from. `kind`: lines, bars or points (the timestamp diagram)."""

    id: str
    title: str
    kind: str
    lines: list[Line]
    source: list[Source]
    x_label: str = ""
    y_label: str = ""
    x_scale: str = "linear"
    y_scale: str = "linear"
    x_kind: str = "number"
    y_kind: str = "number"
    #: Horizontal lines: (value, name).
    marks: list[tuple[float, str]] = []
    names: list[str] = []


class Part(Struct, frozen=True):
    """One of the fourteen. `missing` says what is not here, and why."""

    number: int
    title: str
    texts: list[str]
    tables: list[Table]
    figures: list[Figure]
    missing: list[str]


class Input(Struct, frozen=True):
    """A file that the report follows from."""

    run: str
    name: str
    size: int
    sha256: str


class RunRange(Struct, frozen=True):
    """A run of the report: its range, its chain's head, and how much of it is sealed (-1: nothing)."""

    label: str
    name: str
    run_id: str
    first_seq: int
    last_seq: int
    head_crc: str
    chain_head: str
    sealed_to: int


class Options(Struct, frozen=True):
    """What a report was asked for: the same options on the same input give the same bytes."""

    profile: str
    replays: int
    seals: list[str]
    #: The public key that seals had to be signed by; empty where any would do.
    seal_key: str = ""


class Report(Struct, frozen=True):
    """A whole report. `figures_sha256` is the hash of `parts` as canonical JSON."""

    format: int
    product: str
    version: str
    build_hash: str
    source_hash: str
    report_hash: str
    libraries: dict[str, str]
    options: Options
    title: str
    subtitle: str
    runs: list[RunRange]
    inputs: list[Input]
    parts: list[Part]
    figures_sha256: str


def canonical(value: Any) -> bytes:
    """A value as JSON that is the same bytes for the same value."""
    return msgspec.json.encode(value, order="deterministic")


def column(key: str, label: str, kind: str, doc: str, unit: str = "") -> Column:
    """A Column."""
    return Column(key=key, label=label, kind=kind, doc=doc, unit=unit or _UNITS.get(kind, ""))


_UNITS: Final = {"ns": "ns", "time": "ns since 1970, engine clock", "share": "1", "bps": "bps", "bytes": "bytes"}


def visible(report: Report) -> Report:
    """A report as pages show it: without the columns that are for programs alone."""
    replace = msgspec.structs.replace
    parts = [replace(part, tables=[_visible(table) for table in part.tables]) for part in report.parts]
    return replace(report, parts=parts)


def _visible(table: Table) -> Table:
    kept = [n for n, c in enumerate(table.columns) if c.kind != RAW]
    if len(kept) == len(table.columns):
        return table
    columns = [table.columns[n] for n in kept]
    return msgspec.structs.replace(table, columns=columns, rows=[[row[n] for n in kept] for row in table.rows])


def shown(cell: Cell, kind: str) -> str:
    """A cell as people read it; empty for None."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if kind == "ns":
        return span(int(cell))
    if kind == "time":
        return moment(int(cell))
    if kind == "share":
        return f"{cell * 100:.2f} %"
    if kind == "money":
        return f"{cell:,.2f}"
    if kind == "bps":
        return f"{cell:+.2f}"
    if kind == "qty":
        return f"{cell:,.0f}" if float(cell).is_integer() else f"{cell:,.8f}".rstrip("0")
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.3f}"


def span(ns: int) -> str:
    """A span of time with three decimals of its unit, cut and never rounded: 999 ns, 1.999 µs, 12.345 ms, 3.000 s."""
    sign, ns = ("-", -ns) if ns < 0 else ("", ns)
    if ns < 1000:
        return f"{sign}{ns} ns"
    for unit, size in (("µs", 1000), ("ms", 1_000_000)):
        if ns < size * 1000:
            return f"{sign}{ns // size}.{ns % size * 1000 // size:03d} {unit}"
    return f"{sign}{ns // 1_000_000_000:,}.{ns % 1_000_000_000 // 1_000_000:03d} s"


def moment(ns: int, digits: int = 9) -> str:
    """UTC of ns since 1970 with `digits` decimals (0 to 9), cut and never rounded; empty for 0."""
    import datetime as dt

    if not ns:
        return ""
    whole, rest = divmod(ns, 1_000_000_000)
    fraction = f"{rest:09d}"[:digits]
    text = f"{dt.datetime.fromtimestamp(whole, dt.UTC):%Y-%m-%d %H:%M:%S}"
    return f"{text}.{fraction}" if digits else text


def ranges(source: list[Source]) -> str:
    """The ranges that something follows from, in one line."""
    if not source:
        return "no journal"
    if len(source) <= 3:
        return "; ".join(f"{s.run} frames {s.first_seq:,} to {s.last_seq:,}" for s in source)
    return f"{source[0].run} to {source[-1].run}, each from its first to its last frame as table 1.1 has them"
