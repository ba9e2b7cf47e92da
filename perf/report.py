"""`perf report`: the compliance report of ten million orders with a hundred million latencies, on one core.

    report make        s from the journal to the figures: one pass over its frames, one SHA-256 of its files
    report write       s from the figures to the HTML page and the JSON
    report cpu         s of CPU that the process took, from its beginning to its end
    report whole       both; baseline: the SHA-256 of the same files alone
    report memory      MiB of resident memory at the most, in a process of its own
    report rate        orders/s

No replay is part of it: it costs what `perf recovery` says, an input. The journal is written by `perf.report_journal`
on the disk that TMPDIR names: 11 GB. Kernels are compiled before. Worst case: the journal is larger than the page
cache, and the disk is what is measured; the note says how large the journal is.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from engine.errors import TickrouteError
from perf import report_journal
from perf.peers import ROOT
from perf.result import Progress, Result, Row, at_most, result

ORDERS = 10_000_000
#: Aims: seconds, and bytes.
WHOLE_S, MEMORY_MIB = 120.0, 1024.0
PROCESS_S = 3600


class ReportBenchError(TickrouteError):
    """The process that was to measure did not; the message holds what it said."""


def run(progress: Progress, *, core: int = -1, short: bool = False) -> Result:
    """Measure; `core` is the CPU to run on (-1: the last that this process may use)."""
    core = max(os.sched_getaffinity(0)) if core < 0 else core
    orders = 2_000 if short else ORDERS
    with tempfile.TemporaryDirectory(prefix="tickroute-report-") as folder:
        warm, run_dir = Path(folder) / "warm" / "run", Path(folder) / "full" / "run"
        for path, count in ((warm, 1_000), (run_dir, orders))[short:]:
            path.parent.mkdir()
            report_journal.write(path, count, progress)
        progress("report", 0.5)
        if not short:
            _process(core, warm)
        told = _process(core, run_dir)
        progress("SHA-256 alone", 0.9)
        files = sorted((run_dir / "journal").glob("*.seg"))
        began = time.perf_counter()
        for file in files:
            with file.open("rb") as data:
                hashlib.file_digest(data, "sha256")
        alone_s = time.perf_counter() - began
        size = sum(file.stat().st_size for file in files)
    make_s, write_s, memory_mib, latencies = (float(told[k]) for k in ("make_s", "write_s", "memory_mib", "latencies"))
    whole_s = make_s + write_s
    rows = [
        Row(name="report make", unit="s", p50=make_s, n=1),
        Row(name="report write", unit="s", p50=write_s, n=1),
        Row(name="report cpu", unit="s", p50=float(told["cpu_s"]), n=1),
        at_most(Row(name="report whole", unit="s", p50=whole_s, n=1, baseline=alone_s), WHOLE_S, whole_s),
        at_most(Row(name="report memory", unit="MiB", p50=memory_mib, n=1), MEMORY_MIB),
        Row(name="report rate", unit="orders/s", p50=orders / whole_s, n=orders),
    ]
    notes = [
        f"{orders:,} orders, {int(latencies):,} latencies, {size:,} bytes of journal; one core (CPU {core})",
        "no replay; kernels compiled before; the baseline of `whole` is the SHA-256 of the same files",
    ]
    return result("report", rows, notes, core)


def _process(core: int, run_dir: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "perf.report", str(core), str(run_dir)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=PROCESS_S,
        check=False,
    )
    if done.returncode:
        raise ReportBenchError(f"python -m perf.report ended with {done.returncode}: {done.stderr[-2000:]}")
    told: dict[str, float] = json.loads(done.stdout)
    return told


def main(core: int, run_dir: Path) -> None:
    """Make the report of a run on one core, and write what it took as JSON."""
    from replay.compliance.make import make
    from replay.compliance.write import rendered

    os.sched_setaffinity(0, {core})
    began = time.perf_counter()
    report = make([run_dir], "eu-2026", replays=0)
    made = time.perf_counter()
    rendered(report, "html")
    rendered(report, "json")
    write_s = time.perf_counter() - made
    segments = next(table for table in report.parts[3].tables if table.id == "3.1")
    told = {
        "make_s": made - began,
        "write_s": write_s,
        "memory_mib": _resident_mib(),
        "cpu_s": time.process_time(),
        "latencies": sum(int(row[1] or 0) for row in segments.rows),
    }
    print(json.dumps(told))


def _resident_mib() -> float:
    """Resident memory of this process at its most. Not ru_maxrss: a process inherits its parent's."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
