"""Parent orders from a CSV file, and to one.

Columns, named in the header: cl_ord_id, symbol, side, qty, px, ord_type, tif, account, at, min_qty, display_qty. All
after px may be missing or empty: a limit order for the day, account 0, at once, no minimum, nothing hidden. Quantities
and prices are decimals of shares (coins) and of the currency. `at` is a time of day in UTC (14:30:00.250) or an offset
in seconds (+12.5).

All that is wrong with a file is told at once, each with file, line, column, value and what is allowed.
Worst case: a file of 100,000 parents takes about two seconds.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from datetime import time as time_of_day
from decimal import Decimal, InvalidOperation
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from engine.record.records import OrdType, Side, Tif, text16
from engine.record.units import UnitError, from_units, to_units, trading_day
from engine.run.config import Config, Instrument
from gateways.orders.parents import Parent, ParentError

COLUMNS: Final = (
    "cl_ord_id", "symbol", "side", "qty", "px", "ord_type", "tif", "account", "at", "min_qty", "display_qty",
)  # fmt: skip
REQUIRED: Final = COLUMNS[:4]
_DAY_NS: Final = 86_400_000_000_000
_MOST_PROBLEMS: Final = 20


def read_parents(path: Path | str, config: Config, start_ns: int = 0) -> list[Parent]:
    """The parents of a CSV file, in its order. `start_ns` is what offsets in `at` count from. ParentError."""
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file, strict=True)
            header = [name.strip() for name in next(rows, [])]
            _check_header(path, header)
            table = Table(path, config, header, start_ns)
            parents = [table.parent(rows.line_num, row) for row in rows if any(cell.strip() for cell in row)]
    except OSError as error:
        raise ParentError(f"{path}: cannot be read: {error.strerror}; name a CSV file of parents") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise ParentError(f"{path}: is no CSV file in UTF-8: {error}") from error
    table.complain()
    return [parent for parent in parents if parent is not None]


def write_parents(path: Path | str, parents: Iterable[Parent], config: Config) -> None:
    """Write parents as a file that `read_parents` reads back as they are; times become times of the trading day."""
    midnight_ns = trading_day(config.engine.trading_day) * _DAY_NS
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(COLUMNS)
        for p in parents:
            instrument = config.instrument[p.instrument_id]
            px = from_units(p.px, instrument.px_decimals) if p.ord_type != OrdType.MARKET else ""
            qty = from_units(p.qty, instrument.qty_decimals)
            at = _clock_text(p.at_ns - midnight_ns) if p.at_ns else ""
            parts = (from_units(n, instrument.qty_decimals) if n else "" for n in (p.min_qty, p.display_qty))
            names = (p.side.name, qty, px, p.ord_type.name, p.tif.name, p.account_id, at, *parts)
            out.writerow((p.cl_ord_id, instrument.symbol, *names))


def _clock_text(ns: int) -> str:
    seconds, fraction = divmod(ns, 1_000_000_000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction:09}"


def _check_header(path: Path, header: list[str]) -> None:
    missing = [name for name in REQUIRED if name not in header]
    strange = [name for name in header if name not in COLUMNS]
    twice = sorted({name for name in header if header.count(name) > 1})
    if missing or strange or twice:
        what = [f"{word} {', '.join(map(repr, names))}" for word, names in
                (("lacks", missing), ("has the unknown", strange), ("repeats", twice)) if names]  # fmt: skip
        raise ParentError(f"{path}:1: the header {'; '.join(what)}: allowed are {', '.join(COLUMNS)}")


class Table:
    """Turns the rows of a file into parents, and collects what is wrong with them. `line` is the row at hand."""

    def __init__(self, path: Path | str, config: Config, header: Sequence[str], start_ns: int) -> None:
        self.path, self.header, self.start_ns = path, header, start_ns
        self.problems: list[str] = []
        self.line = 0
        self._symbols = {instrument.symbol: n for n, instrument in enumerate(config.instrument)}
        self._instruments = config.instrument
        self._accounts = config.capacity.accounts
        self._midnight_ns = trading_day(config.engine.trading_day) * _DAY_NS
        self._seen: dict[str, int] = {}

    def parent(self, line: int, cells: Sequence[str]) -> Parent | None:
        """The parent of a row; None, and a problem noted, where something is wrong with it."""
        self.line, before = line, len(self.problems)
        if len(cells) != len(self.header):
            self.problems.append(f"{self.path}:{line}: {len(cells)} columns, the header has {len(self.header)}")
            return None
        values = {name: cell.strip() for name, cell in zip(self.header, cells, strict=True)}
        number = self.read("symbol", values, self.symbol)
        place: Instrument = self._instruments[number or 0]
        side = self.read("side", values, lambda text: member(Side, text))
        ord_type = self.read("ord_type", values, lambda text: member(OrdType, text), OrdType.LIMIT)
        qty = self.read("qty", values, lambda text: positive(text, place.qty_decimals))
        if ord_type == OrdType.MARKET:
            px = self.read("px", values, nothing, 0)
        else:
            px = self.read("px", values, lambda text: positive(text, place.px_decimals))
        parent = Parent(
            self.read("cl_ord_id", values, self._name),
            number,
            side,
            qty,
            px,
            ord_type,
            self.read("tif", values, lambda text: member(Tif, text), Tif.DAY),
            self.read("account", values, self.account, 0),
            self.read("at", values, self.when, 0),
            *(self.read(name, values, lambda text: _part(text, place.qty_decimals, qty), 0) for name in COLUMNS[-2:]),
        )
        return parent if len(self.problems) == before else None

    def read(self, column: str, values: dict[str, str], convert: Callable[[str], Any], default: Any = None) -> Any:
        """What a cell says; None, and a problem noted, where it cannot be. An empty one is the default, if any."""
        text = values.get(column, "")
        if not text and default is not None:
            return default
        try:
            return convert(text)
        except ValueError as error:
            self.problems.append(f"{self.path}:{self.line}: column {column} = {text!r}: {error}")
            return None

    def complain(self) -> None:
        """ParentError with all problems, where there are any."""
        if self.problems:
            more = len(self.problems) - _MOST_PROBLEMS
            rest = [f"... and {more} more"] if more > 0 else []
            raise ParentError("\n".join(self.problems[:_MOST_PROBLEMS] + rest))

    def _name(self, text: str) -> str:
        try:
            text16(text)
        except ValueError:
            text = ""
        if not text:
            raise ValueError("1 to 16 ASCII characters are allowed")
        if text in self._seen:
            raise ValueError(f"line {self._seen[text]} has it already; each parent needs its own")
        self._seen[text] = self.line
        return text

    def symbol(self, text: str) -> int:
        """The instrument of a symbol. ValueError as of all of these."""
        if text not in self._symbols:
            raise ValueError(f"allowed are the instruments of the configuration, {', '.join(self._symbols)}")
        return self._symbols[text]

    def account(self, text: str) -> int:
        """An account."""
        if not text.isascii() or not text.isdigit() or int(text) >= self._accounts:
            raise ValueError(f"an account from 0 to {self._accounts - 1} is allowed")
        return int(text)

    def when(self, text: str) -> int:
        """ns since 1970 of a time of day, or of an offset."""
        try:
            if text.startswith("+"):
                return self.start_ns + _nanoseconds(text[1:])
            clock, _, fraction = text.partition(".")
            moment = time_of_day.fromisoformat(clock)
            if moment.tzinfo is not None:
                raise ValueError("it has a zone")
            seconds = moment.hour * 3600 + moment.minute * 60 + moment.second
            return self._midnight_ns + seconds * 1_000_000_000 + _nanoseconds(f"0.{fraction or 0}")
        except (ValueError, InvalidOperation) as error:
            raise ValueError(
                "a time of day in UTC (14:30:00.250) or an offset in seconds (+12.5) is allowed"
            ) from error


def _nanoseconds(seconds: str) -> int:
    if not seconds.replace(".", "", 1).isdigit():
        raise ValueError("no number")
    return int(Decimal(seconds).scaleb(9))


def nothing(text: str) -> int:
    """The price of a market order."""
    raise ValueError("a market order has no price; leave it empty")


def positive(text: str, decimals: int) -> int:
    """A quantity or price in units. ValueError where it is none."""
    try:
        units = to_units(text, decimals)
    except UnitError as error:
        raise ValueError(str(error)) from error
    if units <= 0:
        raise ValueError("a number above 0 is needed")
    return units


def _part(text: str, decimals: int, qty: int | None) -> int:
    units = positive(text, decimals)
    if qty is not None and units > qty:
        raise ValueError("no more than qty is allowed")
    return units


def member(kind: type[IntEnum], text: str) -> Any:
    """A member by its name. ValueError where there is none."""
    try:
        return kind[text.upper()]
    except KeyError:
        raise ValueError(f"allowed are {', '.join(kind.__members__)}") from None
