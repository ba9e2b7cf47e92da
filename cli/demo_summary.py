"""What the demonstration says at its end: the report on its own run, as a table, as a page, and as its JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from cli.report import show, write_page
from cli.verify import progress_bar, readable


def summarise(screen: Console, run_dir: Path) -> dict[str, Any]:
    """Verify and measure the run, show it, write RUN_DIR/report.html; returns the demonstration's JSON."""
    with readable(), progress_bar(screen, run_dir) as progress:
        from replay.report.measure import measure_and_draw

        found, drawn = measure_and_draw(run_dir, progress=progress)
    report = run_dir / "report.html"
    write_page(report, found, drawn)
    show(screen, found)
    screen.print(f"\nrun      {run_dir}", soft_wrap=True, markup=False)
    screen.print(f"report   {report}", soft_wrap=True, markup=False)
    verdict = found.verify.result if found.verify is not None else "left out"
    screen.print(f"verify: {verdict}")
    stages = {
        stage: {"count": row.count, "p50": row.p50, "p99": row.p99, "p99_9": row.p99_9, "max": row.max}
        for stage, row in found.latency_ns.items()
    }
    return {
        "feed": {"messages": found.feed.messages, "gaps": found.feed.gaps},
        "parents": {
            "sent": found.parents.sent,
            "terminal": found.parents.terminal,
            "by_state": found.parents.by_state,
            "fresh_venues": found.parents.fresh,
        },
        "shares": {
            "ordered": found.shares.ordered,
            "filled": found.shares.filled,
            "cancelled": found.shares.cancelled,
            "rejected": found.shares.rejected,
        },
        "latency_ns": stages,
        "cost_bps": found.cost_bps,
        "cost": msgspec.to_builtins(found.cost),
        "fees": found.outcome.fees,
        "verify": verdict,
        "run_dir": str(run_dir),
        "report": str(report),
    }
