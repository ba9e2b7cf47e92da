"""Runs read for a report: each journal once, in order of time, into one `Tally`; and what is kept of each run.

What is kept of a run does not grow with its length: files, counts, and of records that people look at one by one the
first MOST of a kind (all are counted); but alerts, breaks and commands of the logs beside it are kept to the end.
Damage is an error that names file and byte; nothing of a damaged run is told.

Worst case: the order tables' pages, some 41 bytes an order of the largest run; files are read twice, for the frames
and for their SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from engine.errors import TickrouteError
from engine.io import journal_chain
from engine.io.journal_format import FRAME_HEADER, Kind, segment_path
from engine.io.journal_reader import Chunk, JournalReader
from engine.record.records import RECORD_MAX, UNIT, Template
from engine.record.units import money_factors, to_money, to_units
from engine.run import manifest
from engine.run.config import Config
from engine.run.manifest import Manifest
from replay.compliance import tally as y
from replay.compliance.beside import Beside, beside
from replay.compliance.files import File, chain_of
from replay.compliance.kernels import kernels
from replay.compliance.rare import Kept, Rare
from replay.compliance.tally import Array, Tally

_FRAME_BYTES: Final = FRAME_HEADER + UNIT
_CHUNK: Final = 1 << 15
#: What is done, and bytes done of all.
Progress = Callable[[str, int, int], None]


class RunsError(TickrouteError):
    """Runs that cannot be in one report: which, why, and what to do."""

    exit_code = 2


class TamperedError(TickrouteError):
    """A run whose files contradict each other: the file, the place, and what to do."""

    exit_code = 3


class Sent(NamedTuple):
    """Orders of a venue, strategy and currency: the counters V_* of `tally`, quantities in shares or coins."""

    counts: list[int]
    routed: Decimal
    filled: Decimal


class RunFacts(NamedTuple):
    """A run as a report tells it. `tables`: (kind of frame, template) -> Kept."""

    label: str
    name: str
    path: Path
    run_id: str
    manifest: Manifest
    config: Config
    config_sha256: str
    first_seq: int
    last_seq: int
    head_crc: int
    chain: journal_chain.Checked
    ending: str
    torn_bytes: int
    begin_ns: int
    end_ns: int
    frames: dict[str, int]
    inputs: dict[str, int]
    files: list[File]
    beside: Beside
    tables: dict[tuple[Kind, Template], Kept]
    parents: dict[int, int]
    children: dict[int, int]
    #: What was sent, by venue (its place in `Read.venues`), strategy (`algo_id`, or NO_ALGO) and currency.
    sent: dict[tuple[int, int, str], Sent]
    #: Records of this run: alerts by code, blocks by rule, refusals by template and reason.
    alerts: Array
    blocks: Array
    refusals: Array
    #: Orders at venues without a client's order on the journal.
    orphans: int
    overflow: int
    #: Orders at venues whose venue's last CumQty is not what was executed.
    cum_differs: int

    def kept(self, kind: Kind, template: Template) -> Kept | None:
        """The records of a kind; None where there are none."""
        return self.tables.get((kind, template))


class Read(NamedTuple):
    """All that a pass found."""

    tally: dict[str, Array]
    runs: list[RunFacts]
    venues: list[str]
    strategies: list[str]
    bin_origin_ns: int
    bin_ns: int


class Pass:
    """One pass over runs. `add` each in order, then `read`."""

    def __init__(self, paths: Sequence[Path], tolerance_ns: int, progress: Progress | None = None) -> None:
        """`tolerance_ns`: beyond it a clock is outside. RunsError for no runs, or the same run twice."""
        if not paths:
            raise RunsError("no run: name at least one run directory")
        self.progress = progress or (lambda *_: None)
        self.tolerance_ns = tolerance_ns
        self.paths = ordered(paths)
        self.total = sum(path.stat().st_size for p, _ in self.paths for path in sorted((p / "journal").glob("*.seg")))
        self.done = 0
        self.lasting = y.lasting()
        self.venues: list[str] = []
        self.strategies: list[str] = []
        self.runs: list[RunFacts] = []
        run = self.lasting["run"][0]
        run["bin_ns"], run["bin_origin_ns"] = 1_000_000_000, min((first for _, first in self.paths), default=0)

    def read(self) -> Read:
        """Read all runs."""
        for path, first_ns in self.paths:
            self._run(path, first_ns)
        run = self.lasting["run"][0]
        return Read(
            self.lasting, self.runs, self.venues, self.strategies, int(run["bin_origin_ns"]), int(run["bin_ns"])
        )

    def _run(self, path: Path, first_ns: int) -> None:
        label = f"R{len(self.runs) + 1}"
        with JournalReader(path) as reader:
            facts = manifest.from_bytes(reader.manifest)
            config = facts.read_config()
            aside = beside(path, reader.run_id.hex(), self.tolerance_ns, config.clock.every_ms, first_ns)
            tally = self._tally(path, config, aside)
            before = {name: self.lasting[name].copy() for name in ("alerts", "blocks", "refusals", "checks")}
            take, settle = kernels()
            rare, segments = Rare(facts.schema_version), _Segments()
            kinds = np.zeros(len(Kind) + 1, dtype=np.int64)
            first_seq = -1
            for chunk in reader.chunks(_CHUNK):
                views = [chunk.memory.view(kind) for kind in ("<i8", "<i4", "<i2", "i1")]
                tally.run[0]["rare"] = 0
                take(tally, views[0], views[1], views[2], views[3], chunk.rows)
                if tally.run[0]["rare"]:
                    rare.take(chunk, tally.rare[: int(tally.run[0]["rare"])])
                kinds += np.bincount(chunk.rows["kind"], minlength=len(kinds))
                segments.take(chunk, tally)
                first_seq = int(chunk.rows["seq"][0]) if first_seq < 0 else first_seq
                self.progress(f"reading {path.name}", self.done + int(chunk.rows["offset"][-1]), 2 * self.total)
                if segments.finished:
                    self.done += reader.segment_bytes * segments.finished
                    segments.finished = 0
            settle(tally)
            end = reader.end
            assert end is not None
            files = self._files(path, segments)
            chain = chain_of(path, reader, files)
            # Journals of earlier versions may have none.
            chainless = facts.older and not (path / "journal" / "chain").exists()
            if chain.broken is not None and not chainless:
                remedy = "restore it from a copy, or find out who changed it"
                raise TamperedError(f"{chain.broken}; no report is made of it: {remedy}")
        run = tally.run[0]
        self.runs.append(
            RunFacts(
                label=label,
                name=path.resolve().name,
                path=path,
                run_id=reader.run_id.hex(),
                manifest=facts,
                config=config,
                config_sha256=hashlib.sha256(_canonical(facts.config)).hexdigest(),
                first_seq=max(first_seq, 0),
                last_seq=end.last_seq,
                head_crc=end.prev_crc,
                chain=chain,
                ending=end.ending.name.lower(),
                torn_bytes=end.torn_bytes,
                begin_ns=int(run["begin_ns"]),
                end_ns=int(run["end_ns"]),
                frames={kind.name.lower(): int(kinds[kind]) for kind in Kind if kinds[kind]},
                inputs={t.name: int(n) for t in Template if (n := tally.templates[Kind.INPUT * 64 + t])},
                files=files,
                beside=aside,
                tables=rare.tables(),
                parents=_statuses(tally.parent_status, tally.parent_marks, int(run["parents"])),
                children=_statuses(tally.child_status, tally.child_marks, int(run["children"])),
                sent=_sent(tally, config),
                alerts=tally.alerts - before["alerts"],
                blocks=tally.blocks - before["blocks"],
                refusals=tally.refusals - before["refusals"],
                orphans=int((tally.checks - before["checks"])[y.C_UNKNOWN_PARENT]),
                overflow=int(run["overflow"]),
                cum_differs=int((tally.child_marks[: int(run["children"])] & y.CUM_DIFFERS != 0).sum()),
            )
        )

    def _tally(self, path: Path, config: Config, aside: Beside) -> Tally:
        """The tally for a run: what lasts, and its own tables."""
        places = [self._place(self.venues, venue.mic, y.VENUES, "venues") for venue in config.venue]
        strategy = self._place(self.strategies, config.routing.strategy, y.STRATEGIES, "strategies")
        sessions = {session.name: n for n, session in enumerate(config.session)}
        size = sum(file.stat().st_size for file in (path / "journal").glob("*.seg"))
        rows = size // _FRAME_BYTES + 4096
        run = self.lasting["run"][0]
        for name in "parents children overflow rare begin_ns end_ns rate_slot rate_sum excursion inputs".split():
            run[name] = 0
        run["run"], run["strategy"] = len(self.runs) + 1, strategy
        run["live_clock"] = config.engine.clock == "monotonic"
        run["first_parent"] = run["first_child"] = -1
        run["excursions"] = len(aside.excursions)
        self.lasting["now"][:] = 0
        self.lasting["rate"][:] = 0
        self.lasting["ends"][:] = 0
        tables = {
            name: y.reserved(rows, "<i8") for name in ("parent_recv_ns", "parent_cum", "child_sent_ns", "child_cum")
        }
        tables |= {
            name: y.reserved(rows, "i1") for name in ("parent_status", "parent_marks", "child_status", "child_marks")
        }
        counters = {"templates": 7 * 64, "refusals": 64 * y.REASONS, "blocks": 128, "alerts": 128, "outcomes": 32}
        counters |= {"rejects": y.VENUES * y.REASONS, "checks": 16}
        if not self.runs:
            self.lasting |= {name: np.zeros(n, dtype=np.int64) for name, n in counters.items() if name != "templates"}
        pairs = max(len(config.venue), 1) * y.ALGOS * max(len(config.instrument), 1)
        currencies = _currencies(config)
        run["currencies"] = len(currencies)
        return Tally(
            **self.lasting,
            **tables,
            **_money(config),
            child_venue=y.reserved(rows, "<i2"),
            child_group=y.reserved(rows, "<i2"),
            parent_algo=y.reserved(rows, "i1"),
            currency=np.array([currencies.index(row.currency) for row in config.instrument] or [0], dtype=np.int64),
            templates=np.zeros(counters["templates"], dtype=np.int64),
            venue_place=np.array(places, dtype=np.int64),
            venue_session=np.array([sessions[venue.session] for venue in config.venue], dtype=np.int64),
            live=np.zeros(len(config.session) + 1, dtype=np.int64),
            excursions=np.append(aside.excursions, np.zeros((1, 3), dtype=np.int64)),
            by_venue=np.zeros(y.VENUES * y.ALGOS * len(currencies) * y.V_COLUMNS, dtype=np.int64),
            routed=y.reserved(pairs, "<i8"),
            filled=y.reserved(pairs, "<i8"),
        )

    def _place(self, names: list[str], name: str, most: int, what: str) -> int:
        if name not in names:
            if len(names) == most:
                raise RunsError(f"the runs have more than {most} {what} together; report on fewer runs at a time")
            names.append(name)
        return names.index(name)

    def _files(self, path: Path, segments: _Segments) -> list[File]:
        """The journal's files with their SHA-256."""
        files = []
        for number, (frames, first_ns, last_ns) in segments.found.items():
            file = segment_path(path, number)
            self.progress(f"hashing {path.name}", self.total + self.done, 2 * self.total)
            size = file.stat().st_size
            files.append(File(f"journal/{file.name}", size, journal_chain.file_digest(file), frames, first_ns, last_ns))
        return files


class _Segments:
    """Frames and times of each segment, as chunks come."""

    def __init__(self) -> None:
        self.found: dict[int, tuple[int, int, int]] = {}
        self.finished = 0
        self._before_ns = 0

    def take(self, chunk: Chunk, tally: Tally) -> None:
        if self.found and chunk.segment not in self.found:
            self.finished += 1
        frames, first_ns, last_ns = self.found.get(chunk.segment, (0, 0, 0))
        now_ns = int(tally.run[0]["end_ns"])
        first = first_ns or _first_ns(chunk)
        self.found[chunk.segment] = frames + len(chunk.rows), first, max(last_ns, now_ns if first else 0)


def _first_ns(chunk: Chunk) -> int:
    """Engine time of the first input of a chunk; 0 where it has none."""
    mine = chunk.rows[(chunk.rows["kind"] == Kind.INPUT) & np.isin(chunk.rows["length"], (UNIT, RECORD_MAX))]
    times = chunk.memory.view("<i8")[(mine["offset"] + FRAME_HEADER) // 8 + 4] if len(mine) else np.zeros(0)
    times = times[times > 0]
    return int(times[0]) if len(times) else 0


def ordered(paths: Sequence[Path]) -> list[tuple[Path, int]]:
    """(run, engine time of its first input), by time and then run id. RunsError where a run is there twice."""
    found: dict[bytes, tuple[int, bytes, Path]] = {}
    for path in paths:
        with JournalReader(path) as reader:
            first_ns = 0
            while not first_ns and (chunk := reader.read(4096)) is not None:
                first_ns = _first_ns(chunk)
            if reader.run_id in found:
                raise RunsError(f"{path}: is the same run as {found[reader.run_id][2]}; name each run once")
            found[reader.run_id] = first_ns, reader.run_id, path
    return [(path, first_ns) for first_ns, _, path in sorted(found.values())]


def _money(config: Config) -> dict[str, Array]:
    """Fees of venues and factors of instruments, as the engine's reference data has them."""
    columns: dict[str, list[int]] = {
        name: [] for name in ("take_fee", "make_fee", "take_ppm", "make_ppm", "money_mul", "money_div")
    }
    for venue in config.venue:
        columns["take_fee"].append(to_money(venue.fees.take_fee, "take_fee"))
        columns["make_fee"].append(to_money(venue.fees.make_fee, "make_fee"))
        columns["take_ppm"].append(to_units(venue.fees.take_bps, 2, "take_bps"))
        columns["make_ppm"].append(to_units(venue.fees.make_bps, 2, "make_bps"))
    for row in config.instrument:
        mul, div = money_factors(row.px_decimals, row.qty_decimals, row.multiplier)
        columns["money_mul"].append(mul)
        columns["money_div"].append(div)
    return {name: np.array(values or [0], dtype=np.int64) for name, values in columns.items()}


def _currencies(config: Config) -> list[str]:
    """Currencies of a configuration, then the empty one of orders whose instrument it does not have."""
    return [*sorted({row.currency for row in config.instrument}), ""]


def _sent(tally: Tally, config: Config) -> dict[tuple[int, int, str], Sent]:
    """What a run sent, without what is zero."""
    currencies = _currencies(config)
    counts = tally.by_venue.reshape(y.VENUES, y.ALGOS, len(currencies), y.V_COLUMNS)
    amounts: dict[tuple[int, int, str], list[Decimal]] = {}
    for n, units in enumerate((tally.routed, tally.filled)):
        for at in np.flatnonzero(units).tolist():
            pair, instrument = divmod(at, max(len(config.instrument), 1))
            venue, algo = divmod(pair, y.ALGOS)
            row = config.instrument[instrument]
            key = int(tally.venue_place[venue]), algo, row.currency
            amounts.setdefault(key, [Decimal(0), Decimal(0)])[n] += Decimal(int(units[at])).scaleb(-row.qty_decimals)
    found = {}
    for place, algo, currency in np.argwhere(counts[:, :, :, y.V_CHILDREN]).tolist():
        key = place, algo, currencies[currency]
        routed, filled = amounts.get(key, [Decimal(0), Decimal(0)])
        found[key] = Sent(counts[place, algo, currency].tolist(), routed, filled)
    return found


def _statuses(status: Array, marks: Array, rows: int) -> dict[int, int]:
    """Status -> orders whose last it was."""
    shown = status[:rows][marks[:rows] & y.SHOWN != 0]
    counts = np.bincount(shown.view(np.uint8), minlength=128)
    return {int(n): int(counts[n]) for n in np.flatnonzero(counts)}


def _canonical(config: dict[str, Any]) -> bytes:
    import json

    return json.dumps(config, sort_keys=True, separators=(",", ":")).encode()
