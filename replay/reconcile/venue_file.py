"""A venue's record of executions as a file: CSV or Parquet, one row an execution, bust or correction.

    exec_id, side, qty, px        must be there: side BUY, SELL, SELL_SHORT (or 1, 2, 5); decimals, as text or integers
    kind                          FILL (or absent), BUST, CORRECT
    exec_ref_id                   what a BUST or CORRECT is of
    mic, symbol                   may be absent where one venue is chosen, where the run has one instrument
    order_id, time_ns             may be absent: orders are then not compared, ages not known

Columns of other names are named by `columns`. A file is read whole or not at all: every row that cannot be understood
is told with its line, and nothing is reconciled against half a record.

Worst case: a file of a gigabyte takes some minutes and several gigabytes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from engine.errors import UsageError
from engine.record.records import Side, Template
from engine.record.units import UnitError, to_units
from engine.run.config import Config
from replay.reconcile.ledger import Entry

#: Columns, and whether they must be there.
COLUMNS: Final = {
    "kind": False, "exec_id": True, "exec_ref_id": False, "mic": False, "symbol": False, "order_id": False,
    "side": True, "qty": True, "px": True, "time_ns": False,
}  # fmt: skip
_KINDS: Final = {kind.name: kind for kind in (Template.FILL, Template.BUST, Template.CORRECT)}
_SIDES: Final = {name: side.name for side in Side for name in (side.name, chr(side))}
_MOST_BYTES: Final = 4 << 30
#: Problems that are told of one file.
_TOLD: Final = 10
_ID_MAX: Final = 16


class VenueFileError(UsageError):
    """A file that cannot be reconciled against; the message names file, line, value and what is allowed."""


def read(
    path: Path,
    config: Config,
    columns: Mapping[str, str],
    venues: list[str],
    progress: Callable[[int], None] | None = None,
) -> list[Entry]:
    """The entries of a file. `columns` maps our names to the file's; `venues`: MICs, of which others are left out.

    VenueFileError: not there, no such format, columns that are missing, rows that cannot be understood.
    """
    unknown = sorted(columns.keys() - COLUMNS.keys())
    if unknown:
        raise VenueFileError(f"--column {unknown[0]}: must be one of {', '.join(COLUMNS)}")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise VenueFileError(f"{path}: {path.stat().st_size} bytes; {_MOST_BYTES} is the most")
        rows = _parquet(path) if _is_parquet(path) else _csv(path)
        return _entries(path, rows, config, columns, venues, progress)
    except OSError as error:
        raise VenueFileError(
            f"{path}: cannot be read: {error.strerror or error}; name a CSV or Parquet file"
        ) from error


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row by column); the first is (1, the columns)."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise VenueFileError(f"{path}: no UTF-8 at byte {error.start}; save it as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        yield 1, dict.fromkeys(names)
        for row in reader:
            if not row:
                continue
            if len(row) != len(names):
                raise VenueFileError(f"{path}, line {reader.line_num}: {len(row)} columns, the header has {len(names)}")
            yield reader.line_num, dict(zip(names, row, strict=True))
    except csv.Error as error:
        raise VenueFileError(f"{path}, line {reader.line_num}: no CSV: {error}") from error


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """As `_csv`; lines are rows from 2 on, as if there were a header."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        yield 1, dict.fromkeys(file.schema_arrow.names)
        number = 1
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, ValueError, OverflowError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise VenueFileError(f"{path}: no Parquet that can be read: {said[:200]}") from error


def _entries(
    path: Path,
    rows: Iterable[tuple[int, dict[str, Any]]],
    config: Config,
    columns: Mapping[str, str],
    venues: list[str],
    progress: Callable[[int], None] | None,
) -> list[Entry]:
    lines = iter(rows)
    _, header = next(lines)
    names = {ours: columns.get(ours, ours) for ours in COLUMNS}
    missing = [names[ours] for ours, needed in COLUMNS.items() if needed and names[ours] not in header]
    missing += [named for ours, named in columns.items() if named not in header and named not in missing]
    if missing:
        there = ", ".join(map(str, header)) or "none"
        raise VenueFileError(f"{path}: no column {', '.join(missing)}; there are: {there[:300]} (--column NAME=COLUMN)")
    reader = _Rows(config, names, venues)
    found: list[Entry] = []
    problems: list[str] = []
    for line, row in lines:
        try:
            entry = reader.entry(row)
            if not venues or entry.mic in venues:
                found.append(entry)
        except (ValueError, UnitError) as error:
            problems.append(f"{path}, line {line}: {error}")
            if len(problems) > _TOLD:
                problems[-1] = "and maybe more; put them right, and run it again"
                break
        if progress is not None and line % 4096 == 0:
            progress(line)
    if problems:
        raise VenueFileError("\n".join(problems))
    return found


class _Rows:
    """Makes entries of rows; ValueError or UnitError with what is wrong."""

    def __init__(self, config: Config, names: Mapping[str, str], venues: list[str]) -> None:
        self._names = names
        self._instruments = {row.symbol: row for row in config.instrument}
        self._mics = {row.mic for row in config.venue}
        self._only_mic = venues[0] if len(venues) == 1 else ""
        self._only_symbol = config.instrument[0].symbol if len(config.instrument) == 1 else ""

    def entry(self, row: Mapping[str, Any]) -> Entry:
        """One row."""
        kind = self._choice(row, "kind", _KINDS, "FILL")
        mic = self._text(row, "mic") or self._only_mic
        if mic not in self._mics:
            raise ValueError(f"mic {mic!r}: must be one of {', '.join(sorted(self._mics))}, or choose one with --venue")
        symbol = self._text(row, "symbol") or self._only_symbol
        instrument = self._instruments.get(symbol)
        if instrument is None:
            raise ValueError(f"symbol {symbol!r}: must be an instrument of the run")
        exec_id, ref_id = (self._id(row, name) for name in ("exec_id", "exec_ref_id"))
        if kind == Template.FILL and not exec_id:
            raise ValueError("exec_id is empty: an execution is known by it")
        if kind != Template.FILL and not ref_id:
            raise ValueError(f"exec_ref_id is empty: a {kind.name} names the execution that it is of")
        bust = kind == Template.BUST
        return Entry(
            template=kind, mic=mic, exec_id=exec_id, ref_id=ref_id, symbol=symbol,
            order_id=self._whole(row, "order_id"), time_ns=self._whole(row, "time_ns"),
            side=self._choice(row, "side", _SIDES, ""),
            qty=0 if bust else self._units(row, "qty", instrument.qty_decimals),
            px=0 if bust else self._units(row, "px", instrument.px_decimals),
        )  # fmt: skip

    def _text(self, row: Mapping[str, Any], name: str) -> str:
        value = row.get(self._names[name])
        return "" if value is None else str(value).strip()

    def _choice(self, row: Mapping[str, Any], name: str, known: Mapping[str, Any], default: str) -> Any:
        text = self._text(row, name).upper() or default
        if text not in known:
            raise ValueError(f"{name} {text[:40]!r}: must be one of {', '.join(known)}")
        return known[text]

    def _id(self, row: Mapping[str, Any], name: str) -> str:
        text = self._text(row, name)
        if len(text) > 2 * _ID_MAX + 4 or not text.isascii() or not text.isprintable():
            raise ValueError(f"{name} {text[:40]!r}: must be printable ASCII, {_ID_MAX} letters at most")
        return text

    def _whole(self, row: Mapping[str, Any], name: str) -> int | None:
        text = self._text(row, name)
        if not text:
            return None
        if not text.isascii() or not text.isdigit() or len(text) > 19:
            raise ValueError(f"{name} {text[:40]!r}: must be a whole number")
        return int(text)

    def _units(self, row: Mapping[str, Any], name: str, decimals: int) -> int:
        value = row.get(self._names[name])
        if isinstance(value, float):
            raise ValueError(f"{name} {value!r}: a binary fraction is not exact; give text, a decimal or an integer")
        units = to_units(format(value, "f") if hasattr(value, "as_tuple") else self._text(row, name), decimals, name)
        if units < 0 or (name == "qty" and units == 0):
            raise ValueError(f"{name} {self._text(row, name)!r}: must be above 0")
        return units
