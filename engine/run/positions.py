"""Opening positions: a CSV file becomes POSITION_LOAD inputs, before the first order.

    account,instrument,qty,average_px,cost
    0,XXX,1200,157.25,
    1,XXX,-300,,-47103.50

`instrument` and `qty` are needed, and of `average_px` and `cost` one a row; `account` is 0 where it is left out. A cost
is what the whole position cost, negative where money came in (a short one). Amounts are exact: what the instrument's
units cannot hold is an error, and every mistake of a file is told at once, by line.

The inputs are on the journal like all others, so a replay, a verification and a recovery need no file. A run that has
not had an order yet is given the file again when it is recovered: whoever died while loading loses nothing by it.

Worst case: an account and an instrument each have a row: some thousand inputs before the loop starts.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple

from engine.core.limits import COUNT_MAX, MAX_QTY
from engine.core.state import State
from engine.io.atomics import tsc
from engine.record.records import UNIT, PositionFlag, Template
from engine.record.units import MONEY_DECIMALS, UnitError, from_units, to_units
from engine.record.wide import mul_div
from engine.run.assemble import Loop
from engine.run.config import Config, ConfigError
from engine.run.inbox import drop_local, free_slot, put

_COLUMNS: Final = ("account", "instrument", "qty", "average_px", "cost")
_MOST_BYTES: Final = 4 << 20


class Opening(NamedTuple):
    """One position: indices, quantity in units, and `px` in price units or, with PositionFlag.COST, in 1e-9."""

    account: int
    instrument: int
    qty: int
    px: int
    flags: int


def read(config: Config, state: State) -> list[Opening]:
    """The rows of `positions.file`, none where there is no file. `state` has the instruments' units.

    ConfigError: it cannot be read, or has rows that cannot be; the message lists every one.
    """
    if not config.positions.file:
        return []
    path = Path(config.positions.file)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(f"{path}: {path.stat().st_size} bytes; {_MOST_BYTES} is the most")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; positions.file names it") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: no UTF-8 at byte {error.start}; save it as UTF-8") from error
    found, problems = _Reader(config, state).rows(text)
    if problems:
        raise ConfigError("\n".join(f"{path}:{line}: {why}" for line, why in sorted(problems)))
    return found


class _Reader:
    def __init__(self, config: Config, state: State) -> None:
        self.config, self.state = config, state
        self.symbols = [instrument.symbol for instrument in config.instrument]
        self.problems: list[tuple[int, str]] = []
        self.lines: dict[tuple[int, int], int] = {}

    def rows(self, text: str) -> tuple[list[Opening], list[tuple[int, str]]]:
        """All positions, and all problems as (line, text)."""
        lines = csv.reader(text.splitlines(), strict=True)
        found: list[Opening] = []
        try:
            names = [name.strip().lower() for name in next(lines, [])]
            if self._header(names):
                for cells in lines:
                    if any(cell.strip() for cell in cells):
                        found += self._row(lines.line_num, names, [cell.strip() for cell in cells])
        except csv.Error as error:
            self._wrong(lines.line_num, f"no CSV: {error}")
        return found, self.problems

    def _wrong(self, line: int, why: str) -> None:
        self.problems.append((line, why))

    def _header(self, names: list[str]) -> bool:
        known = f"the columns are {', '.join(_COLUMNS)}"
        for name in names:
            if name not in _COLUMNS:
                self._wrong(1, f"column {name!r} is not known; {known}")
            elif names.count(name) > 1:
                self._wrong(1, f"column {name!r} is there twice")
        for name in ("instrument", "qty"):
            if name not in names:
                self._wrong(1, f"column {name!r} is missing; {known}")
        if "average_px" not in names and "cost" not in names:
            self._wrong(1, f"average_px or cost is missing; {known}")
        return not self.problems

    def _row(self, line: int, names: list[str], cells: list[str]) -> Iterator[Opening]:
        """The position of a line; nothing where it is wrong."""
        if len(cells) != len(names):
            self._wrong(line, f"{len(cells)} cells; the header has {len(names)}")
            return
        row, before = dict(zip(names, cells, strict=True)), len(self.problems)
        account, instrument = self._account(line, row), self._instrument(line, row)
        if len(self.problems) > before:
            return
        first = self.lines.setdefault((account, instrument), line)
        if first != line:
            self._wrong(line, f"account {account} has {row['instrument']} on line {first} already")
        qty = self._number(line, "qty", row, self.config.instrument[instrument].qty_decimals)
        if len(self.problems) > before:
            return
        px, flags = self._price(line, row, instrument, qty)
        if len(self.problems) == before:
            yield Opening(account, instrument, qty, px, flags)

    def _account(self, line: int, row: dict[str, str]) -> int:
        text, most = row.get("account", "") or "0", self.config.capacity.accounts
        if not (text.isascii() and text.isdecimal() and int(text) < most):
            self._wrong(line, f"account = {text!r}: must be a whole number below capacity.accounts = {most}")
            return 0
        return int(text)

    def _instrument(self, line: int, row: dict[str, str]) -> int:
        symbol = row["instrument"]
        if symbol in self.symbols:
            return self.symbols.index(symbol)
        near = get_close_matches(symbol, self.symbols, n=1) or self.symbols[:5]
        self._wrong(line, f"instrument = {symbol!r}: there is no [[instrument]] of that symbol; {', '.join(near)} is")
        return 0

    def _number(self, line: int, name: str, row: dict[str, str], decimals: int) -> int:
        text = row[name]
        try:
            value = to_units(text, decimals)
        except UnitError:
            self._wrong(line, f"{name} = {text!r}: must be a decimal number with {decimals} decimals at most")
            return 0
        most = MAX_QTY if name == "qty" else COUNT_MAX
        if abs(value) > most:
            self._wrong(line, f"{name} = {text!r}: must be {from_units(most, decimals)} at most")
        return value

    def _price(self, line: int, row: dict[str, str], instrument: int, qty: int) -> tuple[int, int]:
        """(px, flags) of a row."""
        given = [name for name in ("average_px", "cost") if row.get(name)]
        if len(given) != 1:
            told = "both are there" if given else "neither is there"
            self._wrong(line, f"one of average_px and cost is needed, and {told}")
            return 0, 0
        if given == ["cost"]:
            cost = self._number(line, "cost", row, MONEY_DECIMALS)
            if cost * qty < 0 or (qty == 0 and cost != 0):
                self._wrong(line, f"cost = {row['cost']!r}: must have the sign of qty = {row['qty']!r}")
            return cost, int(PositionFlag.COST)
        px = self._number(line, "average_px", row, self.config.instrument[instrument].px_decimals)
        if not 0 <= px <= int(self.state.instruments[instrument].max_px):
            most = from_units(
                int(self.state.instruments[instrument].max_px), self.config.instrument[instrument].px_decimals
            )
            self._wrong(line, f"average_px = {row['average_px']!r}: must be from 0 to {most}")
            return 0, 0
        mul, div = (int(self.state.instruments[instrument][name]) for name in ("notional_mul", "notional_div"))
        if not 0 <= int(mul_div(px * mul, min(abs(qty), MAX_QTY), div)) <= COUNT_MAX:
            self._wrong(line, f"qty = {row['qty']!r} at {row['average_px']}: what it cost is beyond 63 bits of 1e-9")
        return px, 0


def enter(rows: list[Opening], loop: Loop, pump: Any) -> None:
    """Take the positions in as inputs; the loop must not run yet, and its clock must be set."""
    state, events, outbox, w = loop
    for row in rows:
        i = free_slot(w)
        assert i >= 0, "nothing else was put yet"
        put(events, w, i, int(Template.POSITION_LOAD), UNIT)
        load = events.position[i]
        load.account_id, load.instrument_id = row.account, row.instrument
        load.qty, load.px, load["flags"] = row.qty, row.px, row.flags
        pump.pump(state, events, i, outbox, w, tsc())
        drop_local(w)
        assert outbox.count[0] == 0, "the file was checked by the rules of admission"
