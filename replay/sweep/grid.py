"""The grid of a sweep: keys of a configuration and the values that each takes, held to the configuration's own types.

    routing.sweep.max_rounds=1,2,4     simulation.reject_ppm=0,10000     routing.stale_ms=1000..5000:1000
    venue.XNYS.latency_us=100,500      venue.*.make_fee="-0.0020",0      routing.parameters.patience_ms=5,50

A key is written as it stands in the file; a table of a list goes by its name ([[venue]] by MIC or code), `*` is all of
them. Every combination is read and checked by the reader of configurations before anything runs, and every mistake
names key, value and what is allowed.

Worst case: the product of all values; each combination is checked by itself, some milliseconds.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import msgspec
from msgspec import inspect

from engine.errors import UsageError
from engine.run.bind import machine_of
from engine.run.config_read import Document, Problem, describe, read, shown
from replay.backtest.settings import Settings, Whole, settled_in

#: Combinations of a grid, at the most.
MOST: Final = 100_000
#: Keys that a sweep sets by itself, and what sets them.
_OWN: Final = {
    "engine.run_dir": "each cell has a directory of its own (--out)",
    "backtest.feeds": "name the days with --days",
    "backtest.feed": "name the days with --days",
    "backtest.seed": "name the seeds with --seeds",
    "simulation.seed": "name the seeds with --seeds",
}
#: What tells the tables of a list apart, the first that a table has.
_NAMES: Final = ("mic", "code", "symbol", "name", "file")
_RANGE: Final = re.compile(r"(-?\d+)\.\.(-?\d+)(?::(\d+))?")
_SHOWN: Final = 20

Value = int | float | str | bool
Step = str | int


class GridError(UsageError):
    """A grid that cannot be; the message names key, value and what is allowed."""


class Axis(NamedTuple):
    """One key, the values that it takes, and where they go: steps from the file's root."""

    key: str
    values: tuple[Any, ...]
    places: tuple[tuple[Step, ...], ...]


class Variant(NamedTuple):
    """One combination: a value a key, in the order of the grid, and the settings that it makes."""

    values: tuple[Any, ...]
    settings: Settings


def pairs(texts: Iterable[str]) -> dict[str, list[str]]:
    """KEY=V1,V2 texts as key -> values, still texts. GridError."""
    found: dict[str, list[str]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        key = key.strip()
        if not equals or not key or not values.strip():
            raise GridError(f"--grid {text}: write it as KEY=V1,V2, such as routing.sweep.max_rounds=1,2,4")
        if key in found:
            raise GridError(f"--grid {text}: {key} has its values already; give them in one --grid")
        found[key] = list(_split(values))
    return found


def _split(text: str) -> Iterator[str]:
    """Parts between commas that are in no quotes and no brackets."""
    depth, quote, part = 0, "", ""
    for letter in text:
        if letter == "," and not depth and not quote:
            yield part.strip()
            part = ""
            continue
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        depth += (letter in "[{") - (letter in "]}") if not quote else 0
        part += letter
    yield part.strip()


def axes(raw: dict[str, Any], grid: Mapping[str, Sequence[Any]]) -> list[Axis]:
    """The axes of a grid (key -> texts or values) for a file's content. GridError with everything that is wrong."""
    found, wrong, taken = [], [], dict[tuple[Step, ...], str]()
    for key, given in grid.items():
        try:
            places, annotation = _find(Whole, raw, key, ())
            values = _values(key, list(given), annotation)
        except GridError as error:
            wrong.append(str(error))
            continue
        for place in places:
            other = taken.setdefault(place, key)
            if other != key:
                wrong.append(f"--grid {key}: {other} sets the same; leave one of them out")
                break
        found.append(Axis(key, values, tuple(places)))
    if wrong:
        raise GridError("\n".join(wrong))
    return found


def variants(path: str | Path, grid: Mapping[str, Sequence[Any]]) -> tuple[list[Axis], list[Variant]]:
    """Every combination of a grid, the last key's values changing first, read and checked.

    ConfigError: the file itself cannot be used. GridError: the grid cannot, or a combination of it.
    """
    document = read(Path(path))
    plain = settled_in(document)
    raw = tomllib.loads(document.path.read_text(encoding="utf-8"))
    found = axes(raw, grid)
    count = 1
    for axis in found:
        count *= len(axis.values)
    if count > MOST:
        raise GridError(f"--grid: {count:,} combinations; {MOST:,} are the most: give fewer values")
    made: list[Variant] = []
    wrong: list[str] = []
    for values in product(*(axis.values for axis in found)):
        try:
            made.append(Variant(values, _settled(document.path, raw, found, values) if found else plain))
        except UsageError as error:
            wrong.extend(line for line in str(error).splitlines() if line not in wrong)
    if wrong:
        more = f"\nand {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise GridError("\n".join(wrong[:_SHOWN]) + more)
    return found, made


class _Varied(Document):
    """A file with values of a grid in it; what is wrong then is told as the grid's mistake."""

    def __init__(self, path: Path, raw: dict[str, Any], found: Sequence[Axis], values: Sequence[Any]) -> None:
        self.path, self._lines = path, {}
        self._told = " ".join(f"--grid {axis.key}={_text(value)}" for axis, value in zip(found, values, strict=True))
        self._raw = copy.deepcopy(raw)
        for axis, value in zip(found, values, strict=True):
            for place in axis.places:
                _put(self._raw, place, value)

    def complain(self, problems: Iterable[Problem]) -> None:
        """Raise one GridError that lists the problems; do nothing where there are none."""
        rows = sorted({f"{self._told}: {p.key}{p.text}" for p in problems})
        if rows:
            raise GridError("\n".join(rows))


def _settled(path: Path, raw: dict[str, Any], found: Sequence[Axis], values: Sequence[Any]) -> Settings:
    varied = _Varied(path, raw, found, values)
    settings = settled_in(varied)
    routing = settings.config.routing
    declared = _parameters(routing.strategy)
    unknown = [name for name in routing.parameters if name not in declared]
    known = f"it has: {', '.join(declared) or 'none'}"
    where = f": {routing.strategy} declares no such parameter; {known}"
    varied.complain(Problem(f"routing.parameters.{name}", where) for name in unknown)
    return settings


@cache
def _parameters(strategy: str) -> tuple[str, ...]:
    return tuple(machine_of(strategy).parameters)


def _put(raw: Any, place: tuple[Step, ...], value: Any) -> None:
    for step in place[:-1]:
        raw = raw[step] if isinstance(step, int) else raw.setdefault(step, {})
    raw[place[-1]] = value


def _find(kind: type[Any], raw: Any, key: str, done: tuple[Step, ...]) -> tuple[list[tuple[Step, ...]], Any]:
    """Where `key` leads below a table of type `kind`, and the type of what is there. GridError."""
    prefix = _shown_place(done)
    whole = f"{prefix}.{key}" if prefix else key
    if whole in _OWN:
        raise GridError(f"--grid {whole}: {_OWN[whole]}")
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    name, _, more = key.partition(".")
    if name not in fields:
        near = difflib.get_close_matches(name, fields, n=1)
        place = f"{prefix}." if prefix else ""
        hint = f"did you mean {place}{near[0]}?" if near else f"known here are {', '.join(sorted(fields))}"
        raise GridError(f"--grid {whole}: unknown key; {hint}")
    annotation = fields[name].type
    info = inspect.type_info(annotation)
    members = info.types if isinstance(info, inspect.UnionType) else (info,)
    table = next((member for member in members if isinstance(member, inspect.StructType)), None)
    here = (*done, name)
    below = raw.get(name) if isinstance(raw, dict) else None
    if table is not None and more:
        return _find(table.cls, below, more, here)
    if isinstance(info, inspect.ListType) and isinstance(info.item_type, inspect.StructType) and more:
        return _in_rows(info.item_type.cls, below or [], more, here)
    if isinstance(info, inspect.DictType) and more:
        return [(*here, more)], get_args(annotation)[1]
    if more:
        raise GridError(f"--grid {whole}: {_shown_place(here)} is no table; leave .{more} out")
    if table is not None or isinstance(info, inspect.ListType | inspect.DictType):
        raise GridError(f"--grid {whole}: is a table or a list; name a key in it that has one value")
    return [here], annotation


def _in_rows(kind: type[Any], rows: list[Any], key: str, done: tuple[Step, ...]) -> tuple[list[tuple[Step, ...]], Any]:
    """The same in a list of tables: the one whose name the key begins with, or all."""
    names = [[str(row[name]) for name in _NAMES if name in row] for row in rows]
    picked, more = [], ""
    if key.startswith("*."):
        picked, more = list(range(len(rows))), key[2:]
    else:
        fitting = [name for told in names for name in told if key.startswith(f"{name}.")]
        if fitting:
            name = max(fitting, key=len)
            picked, more = [n for n, told in enumerate(names) if name in told][:1], key[len(name) + 1 :]
    if not picked:
        known = ", ".join(told[0] for told in names if told) or "none"
        here = _shown_place(done)
        raise GridError(f"--grid {here}.{key}: there is no such {here}; known are {known}, and * for all of them")
    places: list[tuple[Step, ...]] = []
    annotation: Any = None
    for n in picked:
        found, annotation = _find(kind, rows[n], more, (*done, n))
        places += found
    return places, annotation


def _shown_place(steps: tuple[Step, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")


def _values(key: str, given: list[Any], annotation: Any) -> tuple[Any, ...]:
    """Values of the key's own type, each once. GridError."""
    info = inspect.type_info(annotation)
    members = info.types if isinstance(info, inspect.UnionType) else (info,)
    whole_numbers = any(isinstance(member, inspect.IntType) for member in members)
    found: list[Any] = []
    for one in given:
        numbers = _RANGE.fullmatch(one) if whole_numbers and isinstance(one, str) else None
        for item in _numbers(key, one, numbers) if numbers else [one]:
            value = _typed(key, item, annotation, info)
            if value in found:
                raise GridError(f"--grid {key}: {_text(value)} is there twice; give each value once")
            found.append(value)
    if not found:
        raise GridError(f"--grid {key}: there is no value; give at least one")
    return tuple(found)


def _numbers(key: str, text: str, found: re.Match[str]) -> list[int]:
    low, high, by = int(found[1]), int(found[2]), int(found[3] or 1)
    if low > high or by < 1:
        raise GridError(f"--grid {key}={text}: a range is LOW..HIGH or LOW..HIGH:STEP, from low to high")
    if (high - low) // by >= MOST:
        raise GridError(f"--grid {key}={text}: {(high - low) // by + 1:,} values; {MOST:,} are the most")
    return list(range(low, high + 1, by))


def _typed(key: str, given: Any, annotation: Any, info: inspect.Type) -> Any:
    """A value (or the text of one) as the key's type has it."""
    tried = [given]
    if isinstance(given, str):
        with contextlib.suppress(tomllib.TOMLDecodeError, RecursionError):
            tried.insert(0, tomllib.loads(f"v = {given}")["v"])
    for value in tried:
        try:
            msgspec.convert(value, annotation)
        except msgspec.ValidationError:
            continue
        return value
    raise GridError(f"--grid {key} = {shown(tried[0])}: must be {describe(info)}")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)
