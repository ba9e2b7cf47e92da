"""What the tables of execution quality are divided by: sizes, kinds of orders, times; from a TOML file.

The defaults are `buckets.toml` beside this file, which explains each key. A file that is named takes its place whole,
and its SHA-256 is in the result.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from engine.run.config import ConfigError
from engine.run.config_read import Problem, read
from engine.run.config_types import Decimal, Positive, Struct

DEFAULTS: Final = Path(__file__).with_name("buckets.toml")
Placement = Literal["far", "beyond_mid", "mid", "inside", "near", "behind", "none"]
_Title = Annotated[str, Meta(min_length=1, max_length=80)]
_Few = Annotated[list[Positive], Meta(min_length=1, max_length=32)]


class Size(Struct, frozen=True):
    """A size of orders: from so many round lots on, up to the next."""

    name: _Title
    least_lots: Decimal


class Category(Struct, frozen=True):
    """A kind of orders. What is empty always holds."""

    name: _Title
    ord_type: list[Literal["MARKET", "LIMIT"]] = msgspec.field(default_factory=list)
    tif: list[Literal["DAY", "GTC", "IOC", "FOK"]] = msgspec.field(default_factory=list)
    placement: list[Placement] = msgspec.field(default_factory=list)
    #: In the currency; "" is any distance.
    within: Annotated[str, Meta(pattern=r"^([0-9]+(\.[0-9]+)?)?\Z", description="a decimal number, or empty")] = ""


class Buckets(Struct, frozen=True):
    """All divisions. Times are in milliseconds, ascending."""

    horizons_ms: _Few
    times_ms: _Few
    size: Annotated[list[Size], Meta(min_length=1, max_length=64)]
    category: Annotated[list[Category], Meta(min_length=1, max_length=64)]


#: Orders that no category takes.
OTHER: Final = "other"


def load(path: Path | None = None) -> tuple[Buckets, str]:
    """(the buckets of a file, by default the ones above; its SHA-256 in hex). ConfigError that lists what is wrong."""
    path = DEFAULTS if path is None else path
    document = read(path)
    buckets = document.convert(Buckets)
    document.complain(_problems(buckets))
    return buckets, sha256_of(path)


def sha256_of(path: Path) -> str:
    """SHA-256 of a small file, in hex. ConfigError where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; name a file that is there") from error


def _problems(buckets: Buckets) -> list[Problem]:
    found = []
    for key in ("horizons_ms", "times_ms"):
        values = getattr(buckets, key)
        if values != sorted(set(values)):
            found.append(Problem(key, f" = {values}: must ascend"))
    lots = [Fraction(row.least_lots) for row in buckets.size]
    if lots[0] != 0:
        found.append(Problem("size[0].least_lots", f' = "{buckets.size[0].least_lots}": the first size begins at "0"'))
    for n in range(1, len(lots)):
        if lots[n] <= lots[n - 1]:
            text = f' = "{buckets.size[n].least_lots}": must be above "{buckets.size[n - 1].least_lots}"'
            found.append(Problem(f"size[{n}].least_lots", text))
    for table, rows in (("size", buckets.size), ("category", buckets.category)):
        names = [row.name for row in rows]
        found += [
            Problem(f"{table}[{n}].name", f' = "{name}": is there already; names must differ')
            for n, name in enumerate(names)
            if name in names[:n] or (table == "category" and name == OTHER)
        ]
    return found
