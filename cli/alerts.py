"""`tickroute alerts RUN_DIR`: what the process beside an engine told, and how soon: from the log, live with --follow.

Worst case: a log of millions of lines is read whole, some 200,000 lines a second.
"""

from __future__ import annotations

import json as jsons
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.output import JsonOption, wide_console, write_json

_COLOURS = {"critical": "bold red", "warning": "yellow", "info": "dim"}
_POLL_S = 0.05


def alerts(
    run_dir: Annotated[Path, typer.Argument(help="The run's directory.", show_default=False)],
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes, until Ctrl-C.")] = False,
    last: Annotated[int, typer.Option(help="Show so many of the last alerts.", min=0)] = 20,
    severity: Annotated[str, typer.Option(help="The least that is shown: info, warning, critical.")] = "info",
    seconds: Annotated[float, typer.Option(help="With --follow: stop after this long; 0 runs until Ctrl-C.")] = 0.0,
    json: JsonOption = None,
) -> None:
    """Show a run's alerts, which conditions hold, and the time from each event to its sending.

    The log is held against its chain: an altered line is an error that names it. With --follow --json - each alert is
    one line of JSON as it was written.

    Example:  tickroute alerts runs/today --follow
    """
    from engine.errors import UsageError
    from replay.watch.summary import read_alerts, summary

    if severity not in _COLOURS:
        raise UsageError(f"--severity {severity}: must be one of {', '.join(reversed(_COLOURS))}")
    found = read_alerts(run_dir)
    screen = wide_console(json)
    shown = [row for row in found.rows if _at_least(row, severity)]
    if follow:
        if json is None:
            for row in shown[-last:] if last else []:
                _print(screen, row)
        _follow(screen, found.path, found.size, severity, json, seconds)
        return
    result = summary(found.rows)
    if json is not None:
        write_json(json, result | {"run_dir": str(run_dir), "alerts": shown})
    if json == "-":
        return
    for row in shown[-last:] if last else []:
        _print(screen, row)
    _print_summary(screen, result, len(shown))


def _at_least(row: dict[str, Any], severity: str) -> bool:
    order = list(reversed(_COLOURS))
    return order.index(row["severity"]) >= order.index(severity)


def _print(screen: Console, row: dict[str, Any]) -> None:
    """One alert on one line."""
    from replay.times import time_text, utc_ns

    colour = _COLOURS[row["severity"]]
    count = f" ×{row['count']:,}" if row["count"] > 1 else ""
    frame = f", frame {row['journal_seq']}" if row["journal_seq"] is not None else ""
    order = f", order {row['order_id']}" if row["order_id"] else ""
    told = time_text(abs(row["sent_ns"] - row["event_ns"]))
    late = ", [red]late[/]" if row["late"] else ""
    since = " it was seen" if row["seen"] else ""
    screen.print(
        f"{utc_ns(row['event_ns'])} [{colour}]{row['severity']:<8}[/] {escape(row['code'])}{count}: "
        f"{escape(row['text'])}{order}{frame} [dim](told {told} after{since}{late})[/]",
        soft_wrap=True,
    )


def _print_summary(screen: Console, result: dict[str, Any], count: int) -> None:
    from replay.times import time_text

    table = Table(
        box=None, header_style="dim", title=f"{count:,} alerts of {result['events']:,} events", title_justify="left"
    )
    for title in ("kind", "code", "severity", "alerts", "events"):
        table.add_column(title, justify="right" if title in ("alerts", "events") else "left")
    for row in result["codes"]:
        table.add_row(row["kind"], row["code"], row["severity"], f"{row['alerts']:,}", f"{row['events']:,}")
    screen.print(table)
    for row in result["conditions"]:
        screen.print(f"[yellow]holds[/]: {escape(row['code'])} {escape(row['subject'])}: {escape(row['text'])}")
    told = result["event_to_sent_ns"]
    if told["count"]:
        figures = ", ".join(f"{name} {time_text(told[name])}" for name in ("p50", "p99", "max"))
        screen.print(
            f"event to sending: {figures}; {told['late']:,} of {told['count']:,} later than {told['rule_s']:g} s"
        )


def _follow(screen: Console, path: Path, size: int, severity: str, json: str | None, seconds: float) -> None:
    """Show what is appended."""
    until_s = time.monotonic() + seconds if seconds else float("inf")
    counts: Counter[str] = Counter()
    try:
        for line in _appended(path, size, until_s):
            row = jsons.loads(line)
            if not _at_least(row, severity):
                continue
            counts[row["severity"]] += 1
            if json is not None:
                with (
                    open(1, "w", encoding="utf-8", closefd=False)
                    if json == "-"
                    else open(json, "a", encoding="utf-8") as out
                ):
                    out.write(line)
            else:
                _print(screen, row)
    except KeyboardInterrupt:
        return


def _appended(path: Path, size: int, until_s: float) -> Iterator[str]:
    with path.open("rb") as file:
        file.seek(size)
        rest = b""
        while time.monotonic() < until_s:
            rest += file.read()
            whole, newline, rest = rest.rpartition(b"\n")
            yield from (whole + newline).decode().splitlines(keepends=True)
            if not newline:
                time.sleep(_POLL_S)
