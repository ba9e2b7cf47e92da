"""A signal as parent orders: at which time which position is wanted, from a CSV or Parquet file, or an Arrow table.

Columns, named in the header: at, symbol, target, px, ord_type, tif, account. `target` is the position that is wanted
from then on, in shares (coins), below 0 where it is short. A row becomes a parent for the difference to the target
before it, of the same account and symbol; the first one's is to the opening position, 0 where there is none. No
difference is no order. What was not executed of earlier rows is not looked at: a signal says what is wanted, and not
what is held.

All after target may be missing or empty: a limit order where there is a price, else a market order, for the day, of
account 0. `at` is a time of day in UTC (14:30:00.250), an offset in seconds from the feed's begin (+12.5), or a time
with its day (2018-01-02T14:30:00.250); in Parquet also a timestamp (UTC where it has no zone) or ns since 1970. Rows
are in the order of their times. Parents are named S000002 and so on by their lines, or rows of a table; a sale is SELL,
also below 0.

Numbers are exact: what the instrument's decimals cannot hold is refused, a double that is no such number as well. All
that is wrong is told at once, each with file, row, column, value and what is allowed.
"""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from engine.record.records import OrdType, Side, Tif
from engine.record.units import UnitError, to_units
from engine.run.config import Config
from gateways.orders.parents import Parent, ParentError
from gateways.orders.parents_file import Table, member, nothing, positive

COLUMNS: Final = ("at", "symbol", "target", "px", "ord_type", "tif", "account")
REQUIRED: Final = COLUMNS[:3]
#: (account, instrument) -> position in units.
Positions = Mapping[tuple[int, int], int]
_MAGIC: Final = b"PAR1"
_REMEDY: Final = "name a CSV or Parquet file of at, symbol, target"


def read_signal(
    signal: Path | str | pa.Table, config: Config, start_ns: int = 0, opening: Positions | None = None
) -> list[Parent]:
    """The parents of a signal, in its order. `start_ns` is what offsets in `at` count from. ParentError."""
    name = "signal" if isinstance(signal, pa.Table) else str(signal)
    try:
        header, rows = _rows(signal)
        _check_header(name, header)
        reader = _Signal(name, config, header, start_ns, opening or {})
        parents = [reader.order(line, values) for line, values in rows]
    except OSError as error:
        raise ParentError(f"{name}: cannot be read: {error.strerror or error}; {_REMEDY}") from error
    except (csv.Error, UnicodeDecodeError, pa.ArrowException) as error:
        raise ParentError(f"{name}: is neither CSV in UTF-8 nor Parquet: {error}; {_REMEDY}") from error
    reader.complain()
    return [parent for parent in parents if parent is not None]


def _rows(signal: Path | str | pa.Table) -> tuple[list[str], Iterator[tuple[int, dict[str, str] | int]]]:
    """The header, and (line or row, cells as text by column); a number of cells where it is not the header's."""
    if isinstance(signal, pa.Table):
        return signal.column_names, _of_table(signal)
    with Path(signal).open("rb") as file:
        if file.read(4) == _MAGIC:
            table = pq.read_table(signal)
            return table.column_names, _of_table(table)
    with Path(signal).open(newline="", encoding="utf-8-sig") as text:
        lines = csv.reader(text, strict=True)
        header = [name.strip() for name in next(lines, [])]
        found: list[tuple[int, dict[str, str] | int]] = []
        for row in lines:
            if any(cell.strip() for cell in row):
                cells = dict(zip(header, (cell.strip() for cell in row), strict=False))
                found.append((lines.line_num, cells if len(row) == len(header) else len(row)))
    return header, iter(found)


def _of_table(table: pa.Table) -> Iterator[tuple[int, dict[str, str] | int]]:
    """The rows of a table, from 1."""
    columns = {name: _texts(table[name]) for name in COLUMNS if name in table.column_names}
    for n in range(table.num_rows):
        yield n + 1, {name: column[n] for name, column in columns.items()}


def _texts(column: pa.ChunkedArray) -> list[str]:
    """Cells as text: timestamps as ns since 1970, doubles as the shortest text that is the same double."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    elif pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("ns", kind.tz)).cast(pa.int64())
    return ["" if value is None else _text(value) for value in column.to_pylist()]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{int(value)}" if value.is_integer() and abs(value) < 1 << 53 else repr(value)
    return format(value, "f") if hasattr(value, "as_tuple") else str(value)


def _check_header(name: str, header: list[str]) -> None:
    missing = [column for column in REQUIRED if column not in header]
    strange = [column for column in header if column not in COLUMNS]
    twice = sorted({column for column in header if header.count(column) > 1})
    found = (("lacks", missing), ("has the unknown", strange), ("repeats", twice))
    what = [f"{word} {', '.join(map(repr, names))}" for word, names in found if names]
    if what:
        raise ParentError(f"{name}:1: the header {'; '.join(what)}: allowed are {', '.join(COLUMNS)}")


class _Signal(Table):
    """Turns rows into parents, and collects what is wrong with them."""

    def __init__(self, name: str, config: Config, header: list[str], start_ns: int, opening: Positions) -> None:
        super().__init__(name, config, header, start_ns)
        self._config, self._targets = config, dict(opening)
        self._last_ns = 0

    def order(self, line: int, values: dict[str, str] | int) -> Parent | None:
        """The parent of a row; None where its target is the one before, or something is wrong with it."""
        self.line, before = line, len(self.problems)
        if isinstance(values, int):
            self.problems.append(f"{self.path}:{line}: {values} columns, the header has {len(self.header)}")
            return None
        number = self.read("symbol", values, self.symbol)
        place = self._config.instrument[number or 0]
        target = self.read("target", values, lambda text: _position(text, place.qty_decimals))
        default = OrdType.LIMIT if values.get("px") else OrdType.MARKET
        ord_type = self.read("ord_type", values, lambda text: member(OrdType, text), default)
        if ord_type == OrdType.MARKET:
            px = self.read("px", values, nothing, 0)
        else:
            px = self.read("px", values, lambda text: positive(text, place.px_decimals))
        tif = self.read("tif", values, lambda text: member(Tif, text), Tif.DAY)
        account = self.read("account", values, self.account, 0)
        at_ns = self.read("at", values, self._at)
        if len(self.problems) != before:
            return None
        key = account, number
        change, self._targets[key] = target - self._targets.get(key, 0), target
        if not change:
            return None
        side = Side.BUY if change > 0 else Side.SELL
        return Parent(f"S{line:06d}", number, side, abs(change), px, ord_type, tif, account, at_ns)

    def _at(self, text: str) -> int:
        ns = self._time(text)
        if ns < self._last_ns:
            raise ValueError("it is before the row above it; rows in the order of their times are allowed")
        self._last_ns = ns
        return ns

    def _time(self, text: str) -> int:
        if text.isascii() and text.isdigit():
            return int(text)
        if "T" not in text and " " not in text:
            return self.when(text)
        whole, _, fraction = text.removesuffix("Z").replace(" ", "T", 1).partition(".")
        try:
            moment = dt.datetime.fromisoformat(whole)
            if moment.tzinfo is not None or (fraction and not (fraction.isdigit() and len(fraction) <= 9)):
                raise ValueError(text)
        except ValueError as error:
            raise ValueError("a time UTC like 2018-01-02T14:30:00.250 is allowed") from error
        seconds = int(moment.replace(tzinfo=dt.UTC).timestamp())
        return seconds * 1_000_000_000 + int(fraction.ljust(9, "0") or 0)


def _position(text: str, decimals: int) -> int:
    try:
        return to_units(text, decimals)
    except UnitError as error:
        raise ValueError(str(error)) from error
