"""Parts 0 to 2: the cover, the lineage, and the points at which timestamps are taken."""

from __future__ import annotations

import json
from typing import Final

from engine.record.records import Reason
from replay.compliance.context import Context
from replay.compliance.document import Cell, Figure, Part, Table, column, moment
from replay.compliance.profile import cited
from replay.compliance.runs import RunFacts
from replay.compliance.texts import listed, said


def cover(c: Context) -> Part:
    """Part 0."""
    rules = Table(
        id="0.2",
        title=f"Rule profile {c.profile.name}, as of {c.profile.as_of}",
        columns=[
            column("rule", "rule", "text", "the rule's name in the profile"),
            column("citation", "citation", "wide", "the rule, where its text was read; else that it was not"),
            column("asks", "what it asks", "wide", "what it asks, in our words"),
            column("parts", "answered in part", "text", "the parts of this report that answer"),
        ],
        rows=[[r.id, cited(r), r.asks, ", ".join(map(str, r.parts)) or "none: not covered"] for r in c.profile.rules],
        source=[],
        note="Rules come from the profile's data file. Only what was read in its own text is cited.",
    )
    return Part(
        number=0,
        title="Cover",
        texts=[c.profile.title, *(f"Default of this profile: {text}." for text in c.profile.defaults)],
        tables=[_runs(c), rules, _hosts(c), _scope(c), *_tuning(c)],
        figures=[],
        missing=[
            *(said("p0.not_covered", id=r.id, asks=r.asks) for r in c.profile.rules if not r.parts),
            *([said("p0.no_host", runs=listed(silent))] if (silent := _without_host(c)) else []),
            *([said("p0.no_commit", runs=listed(silent))] if (silent := _without_commit(c)) else []),
        ],
    )


def _runs(c: Context) -> Table:
    rows: list[list[Cell]] = [
        [
            r.label, r.name, r.run_id, r.manifest.trading_day, r.begin_ns or None, r.end_ns or None,
            r.manifest.strategy, r.config.engine.clock, "yes" if r.config.engine.shadow else "no",
        ]
        for r in c.runs
    ]  # fmt: skip
    return Table(
        id="0.1",
        title="Runs and period",
        columns=[
            column("run", "run", "text", "the label that this report names a run by"),
            column("name", "directory", "text", "name of the run's directory"),
            column("run_id", "run id", "hash", "the run's own id, made when it began"),
            column("trading_day", "trading day", "text", "the trading day that it began with"),
            column("first", "first input", "time", "engine clock at its first input"),
            column("last", "last input", "time", "engine clock at its last input"),
            column("strategy", "strategy", "text", "the routing strategy"),
            column("clock", "clock", "text", "monotonic: live; feed: the publisher's clock, a replay"),
            column("shadow", "shadow", "text", "yes: simulated venues beside live data; no order left for a market"),
        ],
        rows=rows,
        source=c.source(),
    )


def _scope(c: Context) -> Table:
    return Table(
        id="0.4",
        title="Venues and symbols",
        columns=[
            column("run", "run", "text", "the run"),
            column("venues", "venues", "wide", "ISO 10383 codes"),
            column("symbols", "symbols", "wide", "instruments of the configuration"),
        ],
        rows=[
            [r.label, ", ".join(v.mic for v in r.config.venue), _some([i.symbol for i in r.config.instrument])]
            for r in c.runs
        ],
        source=c.source(),
    )


def _hosts(c: Context) -> Table:
    return Table(
        id="0.3",
        title="Build, configuration and host",
        columns=[
            column("run", "run", "text", "the run"),
            column("build", "build", "hash", "hash of sources, flags, libraries and CPU of the run"),
            column("source", "sources", "hash", "SHA-256 of the sources that the run's kernels were made of"),
            column(
                "commit", "commit", "hash", "commit that the sources' checkout stood at; `sources` says what they were"
            ),
            column("config_sha256", "configuration", "hash", "SHA-256 of the configuration as canonical JSON"),
            column("versions", "versions", "wide", "interpreter and libraries"),
            column("boot_id", "boot", "hash", "the machine's boot at the start; zeros where the system did not say"),
        ],
        rows=[
            [
                r.label,
                r.manifest.build_hash,
                r.manifest.source_hash,
                r.manifest.commit or None,
                r.config_sha256,
                ", ".join(f"{k} {v}" for k, v in sorted(r.manifest.versions.items())),
                r.manifest.boot_id,
            ]
            for r in c.runs
        ],
        source=c.source(),
    )


def _without_host(c: Context) -> list[str]:
    return [r.label for r in c.runs if not r.manifest.host]


def _without_commit(c: Context) -> list[str]:
    return [r.label for r in c.runs if not r.manifest.commit]


def _tuning(c: Context) -> list[Table]:
    """How the runs' machines were set up: a row a fact and value, with the runs of which it is."""
    found: dict[tuple[str, str, str], list[str]] = {}
    known = [r for r in c.runs if r.manifest.host]
    for r in known:
        for section, facts in r.manifest.host.items():
            for name, value in facts.items():
                found.setdefault((section, name, _fact(value)), []).append(r.label)
    if not known:
        return []
    return [
        Table(
            id="0.5",
            title="The hosts and their tuning, as the runs began",
            columns=[
                column("section", "section", "text", "what the fact is about"),
                column("fact", "fact", "text", "name of the fact, as in `tickroute doctor --json`"),
                column("value", "value", "wide", "its value; unknown: the system did not say"),
                column("runs", "runs", "text", "the runs of which it is"),
            ],
            rows=[[*key, "all" if len(runs) == len(c.runs) else listed(runs)] for key, runs in sorted(found.items())],
            source=c.source(),
            note=said("p0.host"),
        )
    ]


def _fact(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, str):
        return value or "not set"
    return json.dumps(value, sort_keys=True)


def lineage(c: Context) -> Part:
    """Part 1."""
    missing: list[str] = []
    texts = [said("p1.chain")]
    for r, replayed, sealed in zip(c.runs, c.replayed, c.sealed, strict=True):
        if replayed is None:
            missing.append(said("p1.no_replay", run=r.label))
        if sealed is not None and sealed.last_seq < r.last_seq:
            ends = {"first": f"{r.first_seq:,}", "last": f"{sealed.last_seq:,}", "end": f"{r.last_seq:,}"}
            missing.append(said("p1.sealed", run=r.label, **ends))
        if sealed is not None:
            word = "pinned" if sealed.pinned else "signed" if sealed.public_key else "unsigned"
            (texts if sealed.pinned else missing).append(said(f"p1.{word}", run=r.label, signer=sealed.public_key))
    if not any(c.sealed):
        missing.append(said("p1.no_seal"))
    for r in c.runs:
        if r.beside.headless:
            missing.append(said("p1.no_heads", run=r.label, logs=", ".join(r.beside.headless)))
        if r.config.retention.mib or r.config.retention.hours:
            kept = {"mib": r.config.retention.mib, "hours": r.config.retention.hours, "first": f"{r.first_seq:,}"}
            missing.append(said("p1.retention", run=r.label, **kept))
    return Part(
        number=1,
        title="Lineage",
        texts=texts,
        tables=[_chains(c), _proofs(c), _files(c), _messages(c)],
        figures=[],
        missing=missing,
    )


def _chains(c: Context) -> Table:
    return Table(
        id="1.1",
        title="Ranges and chain heads",
        columns=[
            column("run", "run", "text", "the run"),
            column("first_seq", "first frame", "int", "first frame of the journal that is kept"),
            column("last_seq", "last frame", "int", "last frame"),
            column("head_crc", "last frame's CRC", "text", "covers all frames before it"),
            column("chain_head", "chain head", "hash", "SHA-256 of the chain of closed segments"),
            column("chain", "chain", "wide", "whether files and chain agree"),
            column("ending", "ends", "text", "closed in order, open (its writer lives or was killed), or torn"),
            column("torn_bytes", "torn bytes", "int", "bytes of frames that were never finished", "bytes"),
            column("gaps", "gaps", "int", "holes that the engine found in the numbers of feeds and sessions; part 7"),
        ],
        rows=[
            [
                r.label, r.first_seq, r.last_seq, f"{r.head_crc:08x}", r.chain.head or None,
                r.chain.broken or "as its files", r.ending, r.torn_bytes, int(r.alerts[Reason.SEQUENCE_GAP]),
            ]
            for r in c.runs
        ],
        source=c.source(),
    )  # fmt: skip


def _proofs(c: Context) -> Table:
    rows: list[list[Cell]] = []
    for r, replayed, sealed in zip(c.runs, c.replayed, c.sealed, strict=True):
        hashes = sorted(set(replayed.hashes)) if replayed else []
        rows.append(
            [
                r.label, replayed.result if replayed else "not replayed", len(replayed.hashes) if replayed else 0,
                replayed.outputs if replayed else None, ", ".join(hashes) or None,
                f"{r.first_seq:,} to {min(sealed.last_seq, r.last_seq):,}" if sealed else "none",
                sealed.sha256 if sealed else None, (sealed.public_key or "not signed") if sealed else None,
            ]
        )  # fmt: skip
    return Table(
        id="1.4",
        title="Replays and seals",
        columns=[
            column("run", "run", "text", "the run"),
            column("replay", "replay", "text", "identical: every output came out byte for byte"),
            column("replays", "replays", "int", "how often it was replayed"),
            column("outputs", "outputs compared", "int", "outputs of the journal, compared each time"),
            column("state_sha256", "one hash", "hash", "SHA-256 of the state after the last input, of all replays"),
            column("sealed", "sealed frames", "text", "the range that a seal covers, and that is as it was sealed"),
            column("seal", "seal", "hash", "SHA-256 of the seal"),
            column("key", "signed by", "hash", "Ed25519 public key"),
        ],
        rows=rows,
        source=c.source(),
    )


def _files(c: Context) -> Table:
    rows: list[list[Cell]] = []
    for r in c.runs:
        rows += [[r.label, f.name, f.size, f.sha256, f.frames, f.first_ns or None, f.last_ns or None] for f in r.files]
        rows += [[r.label, g.name, g.size, g.sha256, g.lines, None, None] for g in r.beside.logs.values()]
    return Table(
        id="1.2",
        title="Input files",
        columns=[
            column("run", "run", "text", "the run"),
            column("file", "file", "text", "name within the run's directory"),
            column("bytes", "bytes", "int", "size", "bytes"),
            column("sha256", "SHA-256", "hash", "of the file"),
            column("records", "frames or lines", "int", "frames of a segment, lines of a log"),
            column("first", "first input", "time", "engine clock of its first input"),
            column("last", "last input", "time", "engine clock of its last input"),
        ],
        rows=rows,
        source=c.source(),
    )


def _messages(c: Context) -> Table:
    total: dict[str, int] = {}
    for r in c.runs:
        for name, n in r.inputs.items():
            total[name] = total.get(name, 0) + n
    frames: dict[str, int] = {}
    for r in c.runs:
        for name, n in r.frames.items():
            frames[name] = frames.get(name, 0) + n
    rows: list[list[Cell]] = [["input", name, n] for name, n in sorted(total.items())]
    rows += [["frame", name, n] for name, n in sorted(frames.items())]
    return Table(
        id="1.3",
        title="Messages",
        columns=[
            column("what", "what", "text", "input: a record taken in; frame: any frame of a kind"),
            column("kind", "kind", "text", "kind of record or frame"),
            column("n", "n", "int", "how many"),
        ],
        rows=rows,
        source=c.source(),
    )


#: (point, where exactly it is taken, by which clock, in which field). docs/clock.md has the functions that they lie
#: between, and tests/run/test_points.py holds the loop to them.
POINTS: Final = (
    ("kernel receive", "not taken: ZeroMQ does not hand it on, and a ring in shared memory has no kernel in it", "none",
     "none"),
    ("clock read", "the loop's clock, read first in a cycle, before it polls; all records of the cycle carry it",
     "engine clock", "ts_recv_ns, STAGES.clock_ns"),
    ("user receive", "the poll begins that finds the message", "time stamp counter", "STAGES.receive_ns begins"),
    ("decoded", "after admission: the record is one of ours", "time stamp counter", "STAGES.decode_ns"),
    ("booked", "after books, orders and positions have taken it", "time stamp counter", "STAGES.book_ns"),
    ("decided", "after the workflow has chosen; added up over the turns", "time stamp counter", "STAGES.decide_ns"),
    ("risk passed", "after the gate; added up over the turns", "time stamp counter", "STAGES.risk_ns"),
    ("encoded", "after the messages of the outputs are found", "time stamp counter", "STAGES.encode_ns"),
    ("sent", "after the last message was handed to ZeroMQ or the ring", "time stamp counter", "STAGES.total_ns"),
    ("acknowledged", "clock read of the venue's first answer to an order", "engine clock", "ts_recv_ns of it"),
    ("first fill", "clock read of the order's first execution", "engine clock", "ts_recv_ns of it"),
    ("last fill", "clock read of the event that filled the client's order whole", "engine clock", "ts_recv_ns of it"),
)  # fmt: skip


def points(c: Context) -> Part:
    """Part 2."""
    table = Table(
        id="2.1",
        title="Where each timestamp is taken",
        columns=[
            column("point", "point", "text", "name of the point, as in the diagram"),
            column("where", "taken", "wide", "where exactly it is taken"),
            column("clock", "clock", "text", "which clock gives it"),
            column("field", "field", "text", "where the journal has it"),
        ],
        rows=[list(row) for row in POINTS],
        source=[],
        note=said("p2.held"),
    )
    diagram = Figure(
        id="2.a",
        title="Timestamp points on an order's way",
        kind="points",
        lines=[],
        source=[],
        names=[row[0] for row in POINTS],
    )
    return Part(
        number=2,
        title="Timestamp points",
        texts=[said("p2.clocks")],
        tables=[table],
        figures=[diagram],
        missing=[said("p2.kernel")],
    )


def _some(names: list[str], most: int = 12) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def period(runs: list[RunFacts]) -> str:
    """From the first input to the last, UTC, cut to seconds."""
    times = [t for r in runs for t in (r.begin_ns, r.end_ns) if t]
    return f"{moment(min(times), 0)} to {moment(max(times), 0)} UTC" if times else "no input"
