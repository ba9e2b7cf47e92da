"""What all subcommands share in their output: the console for people, and JSON for programs.

With `--json -` standard output carries the JSON alone, so that it can be piped; text for people then goes to standard
error. A JSON file is written whole or not at all: to a temporary name beside it, then renamed.

Every option that names a file to write is declared with `checked` as its callback: a place that cannot be written to is
refused before the work, not after it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from engine.errors import UsageError


def checked(target: Any) -> Any:
    """The file that an option names, its folder made where it was missing; None and "-" as they are.

    UsageError where it cannot be written. A disk that fills up later is an OSError of the writing.
    """
    if target is None or str(target) == "-":
        return target
    path = Path(target)
    if path.is_dir():
        raise UsageError(f"{path}: is a directory; name a file to write")
    probe = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}; name another file") from error
    return target


#: The option that every subcommand with a result has.
JsonOption = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help="Write the result as JSON to FILE; - is standard output.",
        show_default=False,
        callback=checked,
    ),
]


def console(json_target: str | None = None) -> Console:
    """The console for people: standard output, or standard error where JSON has standard output."""
    return Console(stderr=json_target == "-", highlight=False)


def wide_console(json_target: str | None = None) -> Console:
    """As `console`, for wide tables: into a file or a pipe, which have no width, rows are up to 160 letters long."""
    out = console(json_target)
    if not out.is_terminal:
        out.width = 160
    return out


def table(out: Console, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column to the left, numbers to the right."""
    from rich.table import Table

    shown = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for n, head in enumerate(heads):
        shown.add_column(head, justify="right" if n else "left", no_wrap=True)
    for row in rows:
        shown.add_row(*row)
    out.print(shown)
    out.print()


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
    """Write a file whole or not at all: to a temporary name beside it, then renamed. OSError with its name."""
    temporary = _beside(path)
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, f"cannot be written: {error.strerror or error}", str(path)) from error


def _beside(path: Path) -> Path:
    """A name beside a file's, of this process alone."""
    return path.with_name(f".{path.name}.{os.getpid()}")
