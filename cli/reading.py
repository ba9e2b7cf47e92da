"""The progress bar of commands that read a recorded file: part of it, rate, time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


@contextmanager
def reading(out: Console, what: str) -> Iterator[Callable[[float, int], None]]:
    """A bar on a terminal, nothing elsewhere. Gives the function to call with (part done, messages so far)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    began_s = time.monotonic()
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task(what, total=1.0, rate="")

        def shown(part: float, messages: int) -> None:
            rate = messages / max(time.monotonic() - began_s, 1e-9)
            bar.update(task, completed=part, rate=f"{messages:,} messages, {rate:,.0f}/s")

        yield shown
