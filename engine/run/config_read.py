"""From a TOML file to `Config`, with every mistake named by file, line, key, value and what is allowed.

The types in `config` are walked beside the parsed file, so that all unknown keys (with the likely one), missing keys
and wrong values are found in one pass. tomllib keeps no positions; lines are found by a second look at the text, for
table headers and keys. Worst case: a key inside a multi-line string gets a wrong line number, never a wrong name.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import inspect

from engine.run.config import ConfigError
from engine.run.config_types import Struct

C = TypeVar("C", bound=Struct)
MAX_BYTES = 4 << 20
_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")


class Problem(NamedTuple):
    """What is wrong: the full key, and a text that names value and what is allowed."""

    key: str
    text: str


class Document:
    """A parsed TOML file that can say where its keys stand."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._lines = lines_of(text)
        try:
            self._raw = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConfigError(f"{path}: no TOML: {error}") from error

    def convert(self, kind: type[C]) -> C:
        """The typed configuration; ConfigError with all unknown, missing and wrong keys."""
        self.complain(walk(kind, self._raw, ""))
        try:
            return msgspec.convert(self._raw, kind)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{self.path}: {error}") from error

    def complain(self, problems: Iterable[Problem]) -> None:
        """Raise one ConfigError that lists the problems by line, each once; do nothing where there are none."""
        found = sorted({(self.line_of(p.key), f"{p.key}{p.text}") for p in problems})
        if found:
            rows = [f"{self.path}:{line}: {text}" if line else f"{self.path}: {text}" for line, text in found]
            raise ConfigError("\n".join(rows))

    def line_of(self, key: str) -> int:
        """Line of a key, else of the table that it belongs in, else 0."""
        while key:
            if key in self._lines:
                return self._lines[key]
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return 0


def read(path: Path) -> Document:
    """Parse a file. ConfigError: not there, not readable, too large, no UTF-8, no TOML."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: {path.stat().st_size} bytes; a configuration has {MAX_BYTES} at most")
        return Document(path, path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}; docs/example.toml is one to begin with"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: no UTF-8 at byte {error.start}; save it as UTF-8") from error


def lines_of(text: str) -> dict[str, int]:
    """Full key -> line, for every table header and key that stands at the beginning of a line."""
    found: dict[str, int] = {}
    counts: dict[str, int] = {}
    prefix = ""
    for number, line in enumerate(text.splitlines(), 1):
        header, key = _HEADER.match(line), _KEY.match(line)
        if header:
            prefix = _resolve(_plain(header[2]), counts)
            if header[1] == "[[":
                counts[prefix] = counts.get(prefix, -1) + 1
                prefix = f"{prefix}[{counts[prefix]}]"
            found.setdefault(prefix, number)
        elif key:
            found.setdefault(f"{prefix}.{_plain(key[1])}".lstrip("."), number)
    return found


def _plain(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))


def _resolve(key: str, counts: dict[str, int]) -> str:
    """A header's full key: [venue.simulation] below the third [[venue]] is venue[2].simulation."""
    parts = key.split(".")
    done = parts[0]
    for part in parts[1:]:
        done = f"{done}[{counts[done]}].{part}" if done in counts else f"{done}.{part}"
    return done


def walk(kind: type[msgspec.Struct], raw: object, key: str) -> Iterator[Problem]:
    """All problems of a table against its struct type, below `key`."""
    if not isinstance(raw, dict):
        yield Problem(key, f" = {shown(raw)}: must be a table, [{key}]")
        return
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    place = f"{key}." if key else ""
    for name in raw:
        if name not in fields:
            yield Problem(f"{place}{name}", f": unknown key; {_suggestion(name, list(fields), place)}")
    for name, field in fields.items():
        if name in raw:
            yield from _value(field.type, raw[name], f"{place}{name}")
        elif field.required:
            yield Problem(f"{place}{name}", f": missing; {_wanted(f'{place}{name}', inspect.type_info(field.type))}")


def _wanted(key: str, info: inspect.Type) -> str:
    """What a missing key must be, with an example where its type has one."""
    if isinstance(info, inspect.ListType) and isinstance(info.item_type, inspect.StructType):
        rows = [(field.encode_name, _example(field.type)) for field in info.item_type.fields if field.required]
        lines = ", ".join(f"{name} = {text}" for name, text in rows if text)
        return f"add a [[{key}]] table" + (f", for example with {lines}" if lines else "")
    example = _example(info)
    return f"it must be {describe(info)}" + (f"; for example: {key.rpartition('.')[2]} = {example}" if example else "")


def _example(info: inspect.Type) -> str:
    """A value that a type allows, as it stands in a file; empty where it declares none."""
    found = (info.extra_json_schema or {}).get("examples") if isinstance(info, inspect.Metadata) else None
    return shown(found[0]) if found else ""


def _value(annotation: Any, value: object, key: str) -> Iterator[Problem]:
    info = inspect.type_info(annotation)
    members = info.types if isinstance(info, inspect.UnionType) else (info,)
    struct = next((m for m in members if isinstance(m, inspect.StructType)), None)
    if struct is not None:
        yield from walk(struct.cls, value, key)
    elif isinstance(info, inspect.ListType) and isinstance(info.item_type, inspect.StructType):
        if not isinstance(value, list):
            yield Problem(key, f" = {shown(value)}: must be a list of tables, [[{key}]]")
            return
        for index, item in enumerate(value):
            yield from walk(info.item_type.cls, item, f"{key}[{index}]")
    else:
        try:
            msgspec.convert(value, annotation)
        except msgspec.ValidationError:
            yield Problem(key, f" = {shown(value)}: must be {describe(info)}")


def _suggestion(name: str, known: list[str], place: str) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {place}{near[0]}?" if near else f"known here are {', '.join(sorted(known))}"


def shown(value: object) -> str:
    """A value as it stands in the file, cut where it is long."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def describe(info: inspect.Type) -> str:
    """What a type allows, in words."""
    if isinstance(info, inspect.Metadata):
        text = (info.extra_json_schema or {}).get("description")
        return text or describe(info.type)
    if isinstance(info, inspect.IntType):
        return _describe_int(info)
    if isinstance(info, inspect.UnionType):
        return " or ".join(describe(one) for one in info.types if not isinstance(one, inspect.NoneType))
    if isinstance(info, inspect.LiteralType):
        return "one of " + ", ".join(f'"{value}"' for value in info.values)
    if isinstance(info, inspect.ListType):
        return f"a list, each {describe(info.item_type)}"
    if isinstance(info, inspect.TupleType):
        return f"a list of {len(info.item_types)}, each {describe(info.item_types[0])}"
    if isinstance(info, inspect.StructType):
        return "a table"
    return {"BoolType": "true or false", "StrType": "text in quotes"}.get(type(info).__name__, type(info).__name__)


def _describe_int(info: inspect.IntType) -> str:
    low = info.ge if info.ge is not None else None if info.gt is None else info.gt + 1
    high = info.le if info.le is not None else None if info.lt is None else info.lt - 1
    if low is not None and high is not None:
        return f"a whole number from {low} to {high}"
    return "a whole number" + (f" of at least {low}" if low is not None else "")
