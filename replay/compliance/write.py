"""A report in the forms that people and programs take: HTML, PDF, JSON, and Parquet with a dictionary of columns.

Each form is the same bytes for the same report. Parquet is a folder: a file a table, `dictionary.parquet` with every
column's meaning, and `report.json`, the whole document. Percentiles become three columns there, with their interval.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

import msgspec

from replay.compliance.document import RAW, Column, Report, Table, canonical

FORMATS: Final = ("html", "pdf", "json", "parquet")
_INTEGERS: Final = {"int", "ns", "time", "bytes", RAW}
_FLOATS: Final = {"share", "money", "bps", "qty", "qty1", "number"}


def rendered(report: Report, form: str) -> dict[str, bytes]:
    """File name -> bytes of a report in a form; "" is the one file of those that are one file."""
    if form == "html":
        from replay.compliance.html import page

        return {"": page(report).encode()}
    if form == "pdf":
        from replay.compliance.pdf import document

        return {"": document(report)}
    if form == "json":
        return {"": msgspec.json.format(canonical(report), indent=2) + b"\n"}
    return _parquet(report)


def _parquet(report: Report) -> dict[str, bytes]:
    import pyarrow as pa

    files = {"report.json": msgspec.json.format(canonical(report), indent=2) + b"\n"}
    meanings: list[dict[str, str]] = []
    for part in report.parts:
        for table in part.tables:
            name = f"table_{table.id.replace('.', '_')}.parquet"
            files[name] = _bytes(_arrow(table))
            meanings += [_meaning(name, table, c, suffix) for c in table.columns for suffix in _suffixes(c)]
    files["dictionary.parquet"] = _bytes(pa.Table.from_pylist(meanings))
    return files


def _suffixes(c: Column) -> tuple[str, ...]:
    return ("", "_low", "_high") if c.kind == "interval" else ("",)


def _key(c: Column, suffix: str) -> str:
    """p99_ns with the suffix _low is p99_low_ns: the unit stays last."""
    return f"{c.key.removesuffix('_ns')}{suffix}_ns" if suffix else c.key


def _meaning(name: str, table: Table, c: Column, suffix: str) -> dict[str, str]:
    end = {"_low": "; lower end of its interval", "_high": "; upper end of its interval"}.get(suffix, "")
    row = {"file": name, "table": table.title, "column": _key(c, suffix), "unit": c.unit, "meaning": c.doc + end}
    return row | {"type": _type(c)}


def _type(c: Column) -> str:
    if c.kind in _INTEGERS or c.kind == "interval":
        return "int64"
    return "double" if c.kind in _FLOATS else "string"


def _arrow(table: Table) -> Any:
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for n, c in enumerate(table.columns):
        cells = [row[n] for row in table.rows]
        if c.kind == "interval":
            split = [str(cell).split() if cell is not None else [] for cell in cells]
            for k, suffix in enumerate(_suffixes(c)):
                values = [int(row[k]) if row else None for row in split]
                columns[_key(c, suffix)] = pa.array(values, type=pa.int64())
        else:
            kind = {"int64": pa.int64(), "double": pa.float64(), "string": pa.string()}[_type(c)]
            columns[c.key] = pa.array(cells, type=kind)
    source = "; ".join(f"{s.run} {s.first_seq} {s.last_seq}" for s in table.source)
    return pa.table(columns).replace_schema_metadata({"title": table.title, "id": table.id, "source": source})


def _bytes(table: Any) -> bytes:
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", store_schema=True)
    return out.getvalue()


def read_report(path: Path) -> Report:
    """The document in a report's file or folder: HTML, JSON or Parquet. ValueError where there is none."""
    from replay.compliance.html import BEGIN, END

    file = path / "report.json" if path.is_dir() else path
    data = file.read_bytes()
    if data.lstrip()[:1] == b"{":
        text = data
    else:
        _, begin, rest = data.partition(BEGIN.encode())
        text, end, _ = rest.partition(END.encode())
        if not begin or not end:
            raise ValueError(f"{file}: holds no report of tickroute's")
        text = text.replace(b"<\\/", b"</")
    try:
        return msgspec.json.decode(text, type=Report)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{file}: its data cannot be read: {error}") from error
