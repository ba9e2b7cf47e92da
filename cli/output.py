"""What all subcommands share in their output: the console for people, and JSON for programs.

With `--json -` standard output carries the JSON alone, so that it can be piped; text for people then goes to standard
error. A JSON file is written whole or not at all: to a temporary name beside it, then renamed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

#: The option that every subcommand with a result has.
JsonOption = Annotated[
    str | None,
    typer.Option(
        "--json", metavar="FILE", help="Write the result as JSON to FILE; - is standard output.", show_default=False
    ),
]


def console(json_target: str | None = None) -> Console:
    """The console for people: standard output, or standard error where JSON has standard output."""
    return Console(stderr=json_target == "-", highlight=False)


def to_json(result: Any) -> bytes:
    """A result as indented JSON with a line end; msgspec structs, dataclasses and dicts of plain values."""
    return msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n"


def write_json(target: str, result: Any) -> None:
    """Write a result to a file, whole or not at all, or to standard output where the target is "-". OSError as is."""
    data = to_json(result)
    if target == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    write_whole(Path(target), data)


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8), whole or not at all. OSError as is."""
    write_whole(path, text.encode())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: to a temporary name beside it, then renamed. OSError as is."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
