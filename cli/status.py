"""`tickroute status RUN_DIR [--watch]`: what a running (or ended) engine counts and measures, read from its stats file.

Nothing is asked of the loop: the file is mapped read-only. Worst case: an engine that was killed shows as silent.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table

from cli.output import JsonOption, console, write_json

_FIGURES = (
    "inputs outputs sent decisions children_sent fills live_parents live_children unknown_children parents_accepted"
    " parents_filled parents_canceled parents_expired parents_rejected refusals risk_blocks gaps alerts timeouts"
    " journal_next_seq journal_stalls feed_waits durable_seq held_for_disk sync_stalls sync_last_ns sync_longest_ns"
    " free_mib send_errors longest_cycle_ns cycles_over_threshold"
).split()


def status(
    run_dir: Annotated[Path, typer.Argument(help="The run's directory.")],
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every half second until Ctrl-C.")] = False,
    json: JsonOption = None,
) -> None:
    """Show an engine's counters and latencies while it runs, or after.

    Example:  tickroute status runs/today --watch
    """
    from engine.io.stats_file import StatsReader
    from engine.run.shadow import is_shadow

    reader = StatsReader(run_dir / "stats")
    shadow = {"shadow": is_shadow(run_dir), "rules_off": _rules_off(run_dir)}
    try:
        if json is not None:
            write_json(json, snapshot(reader) | shadow)
        if json == "-":
            return
        screen = console(json)
        if not watch:
            screen.print(_shown(snapshot(reader) | shadow, None))
            return
        before = snapshot(reader) | shadow
        with Live(_shown(before, None), console=screen, auto_refresh=False) as live:
            while True:
                time.sleep(0.5)
                now = snapshot(reader) | shadow
                live.update(_shown(now, before), refresh=True)
                before = now
    except KeyboardInterrupt:
        return
    finally:
        reader.close()


def _rules_off(run_dir: Path) -> list[str]:
    """Keys of [risk] that the run's manifest has "off"; none where it has no journal that can be read."""
    from engine.errors import TickrouteError
    from engine.io.journal_reader import JournalReader
    from engine.run import manifest
    from engine.run.reference_risk import rules_off

    try:
        with JournalReader(run_dir) as journal:
            return rules_off(manifest.from_bytes(journal.manifest).read_config())
    except (TickrouteError, OSError):
        return []


def snapshot(reader: Any) -> dict[str, Any]:
    """Counters, latencies (ns) a stage and the age of the last heartbeat, at one moment."""
    from engine.io import histogram

    latencies = {}
    for stage in reader.stages:
        found = histogram.summary(reader.histogram(stage), (50.0, 99.0, 99.9, 100.0))
        values: list[int | None] = [row.value_ns for row in found.rows] or [None] * 4
        latencies[stage] = dict(zip(("p50", "p99", "p99_9", "max"), values, strict=True)) | {"count": found.total}
    age, counters = reader.age_ns(time.monotonic_ns()), reader.counters()
    return {
        "pid": reader.pid,
        "state": "ended" if age is None else ("running" if age < 2_000_000_000 else "silent"),
        "heartbeat_age_ms": None if age is None else age / 1e6,
        "monotonic_ns": time.monotonic_ns(),
        "durability": "disk" if counters.get("durable_seq", -1) >= 0 else "process",
        "kill_flag": killed_text(counters.get("killed", 0)),
        "halted": halted_text(counters.get("halted", 0)),
        "counters": counters,
        "latency_ns": latencies,
    }


def killed_text(value: int) -> str:
    """What the kill flag says: off, on, or why it is on."""
    if value == 0:
        return "off"
    return "on" if value == 1 else f"on ({_reason(value)})"


def halted_text(value: int) -> str | None:
    """Why an engine stopped itself; None where it did not."""
    return _reason(value) if value else None


def _reason(value: int) -> str:
    from engine.record.records import Reason

    return Reason(value).name


def _shown(now: dict[str, Any], before: dict[str, Any] | None) -> Group:
    counters = now["counters"]
    figures = Table(box=None, header_style="dim")
    for title in ("counter", "value", "per second"):
        figures.add_column(title, justify="left" if title == "counter" else "right")
    for name in [name for name in _FIGURES if name in counters]:  # an older run has fewer
        rate = ""
        if before is not None:
            seconds = (now["monotonic_ns"] - before["monotonic_ns"]) / 1e9
            gained = counters[name] - before["counters"][name]
            # The core's counters are a trading day's: where one has fallen, the day has rolled over.
            rate = f"{(gained if gained >= 0 else counters[name]) / seconds:,.0f}"
        figures.add_row(name.replace("_", " "), f"{counters[name]:,}", rate)
    stages = Table(box=None, header_style="dim")
    for title in ("stage", "n", "p50 ns", "p99 ns", "p99.9 ns", "max ns"):
        stages.add_column(title, justify="left" if title == "stage" else "right")
    for stage, row in now["latency_ns"].items():
        cells = (f"{row[key]:,}" if row[key] is not None else "" for key in ("p50", "p99", "p99_9", "max"))
        stages.add_row(stage, f"{row['count']:,}", *cells)
    return Group(*_alarms(now), figures, "", stages)


def _alarms(now: dict[str, Any]) -> list[str]:
    """Whose figures these are, and what somebody must act upon."""
    lines = [f"process {now['pid']}: {now['state']}, durability {now['durability']}"]
    if now["shadow"]:
        lines.append("[bold yellow]shadow[/]: simulated venues; no order leaves for the configured ones")
    if now["rules_off"]:
        lines.append(f"[yellow]pre-trade rules that are off[/]: {', '.join(now['rules_off'])}")
    if now["kill_flag"] != "off":
        lines.append(f"[bold red]kill flag {now['kill_flag']}[/]: no new order leaves until `tickroute resume RUN_DIR`")
    if now["halted"] is not None:
        lines.append(f"[bold red]halted: {now['halted']}[/]; RUN_DIR/halted.txt says why")
    return [*lines, ""]
