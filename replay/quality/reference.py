"""What a run does not know of itself and a record must name: LEIs, person codes, classes, rates of exchange.

A TOML file that the caller names. Nothing of it is ever assumed: a name that has no entry is left empty and counted.

    [firm]
    lei = "529900T8BM49AURSDO55"
    cat_reporter = "ABCD"                    # Industry Member ID

    [client."desk/0"]                        # session and client_id, as `tickroute quality` names them
    lei = "..."                              # or
    person = "..."                           # national client identifier (CONCAT or the like)

    [strategy."strategies.sweep"]
    decision_code = "..."                    # algorithm or person that decides to invest
    execution_code = "..."                   # algorithm or person that executes

    [instrument.XXX]
    class = "Equities: tick size liquidity bands 5 and 6"
    isin = "..."                             # where the configuration has none
    cfi = "..."

    [venue.XNYS]
    segment_mic = "XNYS"
    cat_id = "NYSE"

    [trader.7]                               # trader_id of the orders
    person = "..."

    [fx]
    into = "EUR"
    as_of = "2026-11-25"
    rate.USD = "0.9412"                      # one unit of USD in EUR, decimal text

Worst case: a mistake in a code is carried into every record; the file's SHA-256 says which file it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from engine.run.config_read import Problem, read
from engine.run.config_types import Decimal, Struct
from replay.quality.settings import sha256_of
from replay.quality.structs import Source

#: ISO 17442.
Lei = Annotated[str, Meta(pattern=r"^([A-Z0-9]{18}[0-9]{2})?\Z", description="an LEI, 20 characters, or empty")]
Code = Annotated[str, Meta(max_length=50, pattern=r"^[ -~]*\Z", description="at most 50 printable ASCII characters")]
Isin = Annotated[str, Meta(pattern=r"^([A-Z]{2}[A-Z0-9]{9}[0-9])?\Z", description="an ISIN, 12 characters, or empty")]
Currency = Annotated[str, Meta(pattern=r"^([A-Z]{3})?\Z", description="an ISO 4217 code, such as EUR, or empty")]


class Firm(Struct, frozen=True):
    """Who reports."""

    lei: Lei = ""
    cat_reporter: Code = ""


class Client(Struct, frozen=True):
    """A client: by LEI, or a person's code."""

    lei: Lei = ""
    person: Code = ""
    cat_account: Code = ""


class Strategy(Struct, frozen=True):
    """A strategy's codes."""

    decision_code: Code = ""
    execution_code: Code = ""


class Traded(Struct, frozen=True):
    """An instrument."""

    cls: Annotated[str, Meta(max_length=120)] = msgspec.field(default="", name="class")
    isin: Isin = ""
    cfi: Code = ""


class Place(Struct, frozen=True):
    """A venue."""

    segment_mic: Code = ""
    cat_id: Code = ""


class Person(Struct, frozen=True):
    """A trader."""

    person: Code = ""


class Rates(Struct, frozen=True):
    """Rates of exchange into one currency."""

    into: Currency = ""
    as_of: Code = ""
    rate: dict[str, Decimal] = msgspec.field(default_factory=dict)


class File(Struct, frozen=True):
    """The whole file."""

    firm: Firm = Firm()
    client: dict[str, Client] = msgspec.field(default_factory=dict)
    strategy: dict[str, Strategy] = msgspec.field(default_factory=dict)
    instrument: dict[str, Traded] = msgspec.field(default_factory=dict)
    venue: dict[str, Place] = msgspec.field(default_factory=dict)
    trader: dict[str, Person] = msgspec.field(default_factory=dict)
    fx: Rates = Rates()


_NOTHING: Final = File()


class Reference:
    """Codes by name; what was asked for and is not there is empty, and counted in `missing`."""

    def __init__(self, file: File = _NOTHING, source: Source | None = None) -> None:
        self.file, self.source = file, source
        self.missing: Counter[str] = Counter()

    @classmethod
    def load(cls, path: Path | None) -> Reference:
        """Read a file; None is a reference that knows nothing. ConfigError that lists what is wrong."""
        if path is None:
            return cls()
        document = read(path)
        file = document.convert(File)
        document.complain(_problems(file))
        return cls(file, Source(path=str(path), sha256=sha256_of(path)))

    def get(self, table: str, name: str, field: str, rows: int = 1) -> str:
        """A code of an entry, for so many rows; empty, and counted, where it is not there."""
        entry: Any = getattr(self.file, table)
        if isinstance(entry, dict):
            entry = entry.get(name)
        code = str(getattr(entry, field)) if entry is not None else ""
        if not code and rows:
            self.missing[f"{table}.{name}.{field}" if name else f"{table}.{field}"] += rows
        return code

    def instrument_class(self, symbol: str) -> str:
        """The class of an instrument; empty where it is not known."""
        entry = self.file.instrument.get(symbol)
        return entry.cls if entry is not None else ""

    def rates(self, currencies: Iterable[str]) -> dict[str, Fraction]:
        """Of each currency what a unit is in `fx.into`; one without a rate is absent, and counted where others have."""
        told = self.file.fx
        found = {told.into: Fraction(1)} if told.into else {}
        for currency in sorted(set(currencies) - set(found)) if told.into else ():
            if currency in told.rate:
                found[currency] = Fraction(told.rate[currency])
            else:
                self.missing[f"fx.rate.{currency}"] += 1
        return found


def _problems(file: File) -> list[Problem]:
    found = []
    for name, text in file.fx.rate.items():
        if Fraction(text) <= 0:
            found.append(Problem(f"fx.rate.{name}", f' = "{text}": a rate is above 0'))
    if file.fx.rate and not file.fx.into:
        found.append(Problem("fx.into", ": missing; name the currency that the rates lead into"))
    for table in ("client", "firm"):
        entries = getattr(file, table)
        for name, entry in entries.items() if isinstance(entries, dict) else [("", entries)]:
            if entry.lei and not _checks(entry.lei):
                key = f"{table}.{name}.lei" if name else f"{table}.lei"
                found.append(Problem(key, f' = "{entry.lei}": its check digits are wrong; copy it again'))
    return found


def _checks(lei: str) -> bool:
    """ISO 7064 MOD 97-10 over an LEI: letters count from 10."""
    return int("".join(str(int(letter, 36)) for letter in lei)) % 97 == 1
