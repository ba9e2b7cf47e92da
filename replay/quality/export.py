"""Writing the exports: a CSV and a Parquet file a table, whole or not at all, run after run.

Both have the same rows and columns (`replay.quality.columns`). Parquet is zstd; its fields carry unit, meaning and
source. CSV has a header, empty fields for null, and times in ISO 8601 with nine digits.

Worst case: memory is that of the run with the most orders; the files grow a run at a time under temporary names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from replay.quality import columns as c
from replay.quality.events import read_events
from replay.quality.records import Tables
from replay.quality.reference import Reference
from replay.quality.structs import Covered, Quality, Row

if TYPE_CHECKING:
    from replay.quality.measure import Begin


class Files:
    """The files of one table, in one folder or two."""

    def __init__(self, name: str, wanted: pa.Schema, csv: Path | None, parquet: Path | None, stack: ExitStack) -> None:
        self._schema = wanted
        self._csv: Any = None
        self._parquet: Any = None
        if csv is not None:
            path = stack.enter_context(_whole(csv / f"{name}.csv"))
            flat = pa.schema([_flat(field) for field in wanted])
            self._csv = stack.enter_context(pyarrow.csv.CSVWriter(path, flat))
        if parquet is not None:
            path = stack.enter_context(_whole(parquet / f"{name}.parquet"))
            self._parquet = stack.enter_context(pq.ParquetWriter(path, wanted, compression="zstd"))

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        if self._parquet is not None:
            self._parquet.write_table(table)
        if self._csv is not None:
            flat = pa.schema([_flat(field) for field in self._schema])
            values = [_as_text(table[f.name]) if _is_text(f.type) else table[f.name] for f in self._schema]
            self._csv.write_table(pa.Table.from_arrays(values, schema=flat))


def export(
    found: Quality, runs: list[Path], reference: Reference, csv: Path | None, parquet: Path | None, begin: Begin | None
) -> list[Path]:
    """Write every table of `found` and the records of its runs; the files. OSError with the file's name.

    JournalError, ManifestError, ConfigError: a run cannot be read.
    """
    for folder in (csv, parquet):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    names = [*c.RECORDS, *c.ROWS, "top_venues"]
    with ExitStack() as stack:
        files = {name: Files(name, c.schema(columns), csv, parquet, stack) for name, (columns, _) in c.RECORDS.items()}
        for path in runs:
            tables = Tables(read_events(path, begin(path) if begin is not None else None), reference)
            files["order_records"].write(tables.order_records())
            files["cat_events"].write(tables.cat_events())
        for name in c.ROWS:
            columns = c.of_rows(name, found.horizons_ms, found.times_ms)
            Files(name, c.schema(columns), csv, parquet, stack).write(_rows(getattr(found, name), columns, found))
        shares = pa.Table.from_pylist(msgspec.to_builtins(found.top_venues), schema=c.schema(c.TOP_VENUES))
        Files("top_venues", c.schema(c.TOP_VENUES), csv, parquet, stack).write(shares)
    folders = [(csv, "csv"), (parquet, "parquet")]
    return [folder / f"{name}.{end}" for folder, end in folders if folder is not None for name in names]


def _rows(rows: list[Any], columns: tuple[c.Column, ...], found: Quality) -> pa.Table:
    flat = [_of_row(row.row) | _of_covered(row, found) if isinstance(row, Covered) else _of_row(row) for row in rows]
    return pa.Table.from_pylist(flat, schema=c.schema(columns))


def _of_row(row: Row) -> dict[str, Any]:
    """A row with its columns' names."""
    told = msgspec.to_builtins(row)
    spreads = told.pop("spreads")
    later = spreads.pop("later")
    told = {**told.pop("by"), **told, "known_qty": spreads.pop("qty"), **spreads}
    told["rejects_by_reason"] = json.dumps(row.rejects_by_reason, sort_keys=True)
    for part in later:
        ms = part["horizon_ms"]
        told[f"qty_{ms}ms"] = part["qty"]
        told[f"realized_spread_{ms}ms"] = part["realized_spread"]
        told[f"realized_bps_{ms}ms"] = part["realized_spread_bps"]
        told[f"markout_bps_{ms}ms"] = part["markout_bps"]
    return told


def _of_covered(row: Covered, found: Quality) -> dict[str, Any]:
    within = {f"within_{ms}ms_qty": qty for ms, qty in zip(found.times_ms, row.within_qty, strict=False)}
    return {"cancelled_qty": row.cancelled_qty, **within, "later_qty": row.within_qty[-1]}


def _flat(field: pa.Field) -> pa.Field:
    """As CSV has it: times and exact numbers as text, so that neither is written otherwise than in full."""
    return pa.field(field.name, pa.string()) if _is_text(field.type) else field


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_decimal(kind))


def _as_text(values: pa.ChunkedArray) -> Any:
    if pa.types.is_timestamp(values.type):
        return pc.strftime(values, format="%Y-%m-%dT%H:%M:%SZ")
    different = values.combine_chunks().dictionary_encode() if values.num_chunks else values
    if not len(different):
        return pa.array([], type=pa.string())
    names = pa.array([f"{value:f}" for value in different.dictionary.to_pylist()], type=pa.string())
    return names.take(different.indices)


@contextmanager
def _whole(path: Path) -> Iterator[str]:
    """A temporary name, which becomes `path` when all went well and is gone when it did not."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield str(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
