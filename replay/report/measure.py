"""`measure(run_dir)`: every number of a report, from the journal (and the stats file, where there is one).

Four passes over the journal: three that gather columns, one that verifies. Worst case: memory grows with the number of
orders and observations (about 100 bytes each), and with the market data up to a limit (`replay.report.trading`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from engine.io.journal_format import Kind, segment_path
from engine.io.stats_file import StatsError, StatsReader, boot_id
from engine.record.records import Reason, Template
from engine.run import manifest
from engine.run.config import Config
from engine.run.host import host_facts
from engine.run.manifest import Manifest
from engine.run.wiring import LOOP_COUNTERS
from replay.report import structs as s
from replay.report.gather import Gathered, gather
from replay.report.latency import curve, histograms, latency, series
from replay.report.orders import Book
from replay.verify import Progress, Verdict, verify

if TYPE_CHECKING:
    from replay.report.trading import Drawn


def measure(run_dir: str | Path, *, check: bool = True, progress: Progress | None = None) -> s.Measures:
    """Measure a run. `check=False` leaves the verification out (`verify` is then None); `progress` is its.

    JournalError: the journal cannot be read. ManifestError, ConfigError, BindError: this build cannot replay it.
    """
    return measure_and_draw(run_dir, check=check, progress=progress)[0]


def measure_and_draw(
    run_dir: str | Path, *, check: bool = True, progress: Progress | None = None
) -> tuple[s.Measures, Drawn]:
    """As `measure`, with what the page's pictures of trading are drawn from."""
    from replay.report.trading import count_of, look

    path = Path(run_dir)
    found = gather(path)
    run = manifest.from_bytes(found.manifest)
    config = run.read_config()
    verdict: Verdict | None = verify(path, progress) if check else None
    book = Book(found, config, run.initial_state())
    counts, source, counters = histograms(path, found)
    cost, shares = book.cost(), book.shares()
    trading, drawn = look(path, count_of(found.inputs))
    measures = s.Measures(
        run=_run(path, found, run, config),
        feed=_feed(found),
        parents=book.parents(),
        shares=shares,
        latency_ns={stage: latency(cells) for stage, cells in counts.items()},
        latency_source=source,
        series=series(found, feed_clock=config.engine.clock == "feed"),
        curves={stage: curve(cells) for stage, cells in counts.items()},
        cost_bps=cost.touch_bps,
        cost=cost,
        outcome=book.outcome(),
        agrees_with_core=_agrees(book, shares, verdict) if verdict is not None else None,
        loop={name: counters[name] for name in LOOP_COUNTERS if name in counters} if counters is not None else None,
        lineage=_lineage(path, found),
        verify=verdict,
        trading=trading,
        compared=_compared(path),
        played=_played(path),
    )
    return measures, drawn


def _compared(path: Path) -> s.Compared | None:
    """What `tickroute backtest` said of a run that was played again; None where there is nothing, or it is cut."""
    try:
        return msgspec.json.decode((path / "results" / "compared.json").read_bytes(), type=s.Compared)
    except (OSError, msgspec.MsgspecError):
        return None


class _Terms(msgspec.Struct):
    """What is wanted of a backtest's backtest.json."""

    feeds: list[s.Played] = msgspec.field(default_factory=list)


def _played(path: Path) -> list[s.Played]:
    """The files that a backtest played, by their names alone; none where there is nothing, or it is cut."""
    try:
        found = msgspec.json.decode((path / "backtest.json").read_bytes(), type=_Terms)
    except (OSError, msgspec.MsgspecError):
        return []
    return [msgspec.structs.replace(row, file=Path(row.file).name) for row in found.feeds]


def _agrees(book: Book, shares: s.Shares, verdict: Verdict) -> bool | None:
    """Whether the core's counters say what the records do; None where they do not go so far back."""
    if verdict.not_compared is not None or verdict.rolls:
        return None
    counts = verdict.counters
    told = [book.amount(counts["qty_filled"]), book.amount(counts["qty_canceled"])]
    return told == [shares.filled, shares.cancelled]


def utc(ns: int) -> str:
    """ISO 8601 of ns since 1970, truncated (never rounded) to microseconds; empty for 0."""
    if not ns:
        return ""
    whole, rest = divmod(ns, 1_000_000_000)
    return f"{dt.datetime.fromtimestamp(whole, dt.UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"


def _run(path: Path, found: Gathered, run: Manifest, config: Config) -> s.Run:
    samples = found.table(Kind.OBSERVATION, Template.CLOCK_SAMPLE)
    samples = samples[samples["realtime_ns"] > 0]
    real = samples["realtime_ns"]
    first, last = (int(real[0]), int(real[-1])) if len(real) else (0, 0)
    # The time of day may have been set meanwhile; the engine's clock is not.
    passed = real if config.engine.clock == "feed" else samples["clock_ns"]
    return s.Run(
        run_dir=str(path),
        run_id=found.run_id,
        trading_day=run.trading_day,
        strategy=run.strategy,
        instruments=[i.symbol for i in config.instrument],
        venues=[v.mic for v in config.venue],
        clock=config.engine.clock,
        shadow=config.engine.shadow,
        engine_period=[utc(found.first_ns), utc(found.last_ns)],
        period_utc=[utc(first), utc(last)] if first else [run.started_utc],
        seconds=round(int(passed[-1] - passed[0]) / 1e9, 3) if len(passed) else 0.0,
        source_hash=run.source_hash,
        build_hash=run.build_hash,
        versions=run.versions,
        host=_host(path),
    )


def _host(path: Path) -> str:
    """The CPU that the run was on, where that is certain: the stats file is of this machine's present boot."""
    try:
        reader = StatsReader(path / "stats")
    except StatsError:
        return "not recorded"
    same = reader.boot_id == boot_id() != bytes(16)
    reader.close()
    if not same:
        return "not recorded (the run was on another machine, or before its last boot)"
    machine = host_facts()["machine"]
    kind = "virtual machine" if machine["virtual"] else "machine"
    return f"{machine['cpu'] or machine['architecture']}, {machine['cpus']} CPUs, {kind}"


def _feed(found: Gathered) -> s.Feed:
    kinds = {name: n for name, n in found.inputs.items() if Template[name] <= Template.VENUE_DEF}
    alerts = found.table(Kind.OUTPUT, Template.ALERT)
    gaps = alerts[(alerts["code"] == Reason.SEQUENCE_GAP) & (alerts["cause"] <= Template.VENUE_DEF)]
    return s.Feed(messages=sum(kinds.values()), gaps=len(gaps), lost=int(gaps["order_id"].sum()), by_kind=kinds)


def _lineage(path: Path, found: Gathered) -> s.Lineage:
    rows = []
    for segment in found.segments:
        file = segment_path(path, segment.number)
        with file.open("rb") as data:
            digest = hashlib.file_digest(data, "sha256").hexdigest()
        rows.append(
            s.SegmentFile(
                file=f"journal/{file.name}",
                bytes=file.stat().st_size,
                sha256=digest,
                frames=segment.frames,
                first=utc(segment.first_ns),
                last=utc(segment.last_ns),
            )
        )
    assert found.end is not None, "the journal was read to its end"
    return s.Lineage(
        segments=rows,
        frames=found.frames,
        inputs=found.inputs,
        ending=found.end.ending.name.lower(),
        last_seq=found.end.last_seq,
        chain_head=f"{np.uint32(found.end.prev_crc):08x}",
    )
