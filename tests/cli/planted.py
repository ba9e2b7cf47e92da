"""Subcommands that fail in each of the ways in which one can."""

from __future__ import annotations

import typer

from engine.errors import UsageError
from engine.run.config import load


def fine(word: str = "word", fail: bool = False) -> None:
    """Say a word.

    Another
    paragraph.
    """
    typer.echo(word)
    if fail:
        raise typer.Exit(3)


def wrong_use() -> None:
    """Be used wrongly."""
    raise UsageError("speed = -1: must be above 0")


def bad_config(path: str) -> None:
    """Load a configuration."""
    load(path)


def no_file() -> None:
    """Open what is not there."""
    with open("/nonexistent/file", encoding="ascii"):
        pass


def a_bug() -> None:
    """Divide by zero."""
    _ = 1 // 0


def interrupted() -> None:
    """Be stopped by Ctrl-C."""
    raise KeyboardInterrupt


app = typer.Typer()


@app.command()
def one() -> None:
    """The first of two."""
    typer.echo("one")


@app.command()
def two() -> None:
    """The second of two."""
    typer.echo("two")
