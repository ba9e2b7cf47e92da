"""`make(runs, profile)`: the whole report as a document, from journals to figures.

Worst case: one pass and one SHA-256 of all files, and a replay of each run as often as is asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engine.jit import build_hash, source_hash
from replay.compliance import (
    parts_alerts,
    parts_clock,
    parts_controls,
    parts_front,
    parts_gaps,
    parts_latency,
    parts_method,
    parts_orders,
    sealing,
    stressed,
)
from replay.compliance.context import Context, Replayed
from replay.compliance.document import FORMAT, Input, Options, Part, Report, RunRange, canonical
from replay.compliance.profile import load
from replay.compliance.runs import Pass, Progress, Read, RunsError, TamperedError
from replay.compliance.sealing import Sealed
from replay.quality.settings import sha256_of
from replay.state.structs import Peak

#: Packages that figures, pictures and files depend on.
_LIBRARIES = ("jinja2", "matplotlib", "msgspec", "numpy", "pyarrow", "reportlab")


def make(
    paths: Sequence[Path],
    profile: str,
    *,
    replays: int = 2,
    seals: Sequence[Path] = (),
    stress: Sequence[Path] = (),
    seal_key: str = "",
    buckets: Path | None = None,
    reference: Path | None = None,
    names: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """The report of runs. `replays`: how often each is replayed; `seals`: files that `tickroute seal` wrote;
    `stress`: files that `tickroute stress --json` wrote; `seal_key`: the public key, hexadecimal, that must have
    signed the seals; `buckets`, `reference`: files of `tickroute quality`; `names`: run id -> what to call its
    directory, where not by its own name.

    JournalError, LogError, SealError, StressFileError: an input cannot be read or was changed, with the place.
    SealKeyError, RunsError, ConfigError, UsageError.
    """
    rules = load(profile)
    tests = [stressed.read(path) for path in stress]
    read = Pass(paths, rules.clock_tolerance_ns, progress).read()
    runs = [run._replace(name=(names or {}).get(run.run_id, run.name)) for run in read.runs]
    read = read._replace(runs=runs)
    sealed = _sealed(read, seals, seal_key)
    replayed = [_replay(run.path, replays, progress) for run in read.runs]
    parts = _parts(Context(read, rules, replayed, sealed, tests, buckets, reference))
    options = Options(
        profile=rules.name, replays=replays, seals=[s.sha256 for s in sealed if s is not None], seal_key=seal_key
    )
    named = (("buckets", buckets), ("reference", reference))
    files = [one.file for one in tests] + [_input(label, path) for label, path in named if path is not None]
    return _report(read, parts, options, sealed, files)


def _parts(c: Context) -> list[Part]:
    return [
        parts_front.cover(c),
        parts_front.lineage(c),
        parts_front.points(c),
        parts_latency.percentiles(c),
        parts_latency.by_time(c),
        parts_latency.omission(c),
        parts_clock.clock(c),
        parts_gaps.gaps(c),
        parts_controls.controls(c),
        parts_alerts.alerts(c),
        parts_orders.execution(c),
        parts_orders.audit(c),
        parts_orders.capacity(c),
        parts_method.method(c),
    ]


def _report(
    read: Read,
    parts: list[Part],
    options: Options,
    sealed: list[Sealed | None],
    files: list[Input],
) -> Report:
    inputs = list(files)
    for r in read.runs:
        inputs += [Input(run=r.label, name=f.name, size=f.size, sha256=f.sha256) for f in r.files]
        inputs += [
            Input(run=r.label, name=log.name, size=log.size, sha256=log.sha256) for log in r.beside.logs.values()
        ]
    symbols = sorted({i.symbol for r in read.runs for i in r.config.instrument})
    what = ", ".join(symbols[:6]) + (f" and {len(symbols) - 6:,} more" if len(symbols) > 6 else "")
    count = f"{len(read.runs)} run" + ("s" if len(read.runs) > 1 else "")
    return Report(
        format=FORMAT,
        product="tickroute",
        version=_version("tickroute"),
        build_hash=build_hash(),
        source_hash=source_hash(),
        report_hash=report_hash(),
        libraries={name: _version(name) for name in _LIBRARIES},
        options=options,
        title=f"Latency and order-routing report: {what}",
        subtitle=f"{parts_front.period(read.runs)}; {count}; rule profile {options.profile}",
        runs=[
            RunRange(
                label=r.label,
                name=r.name,
                run_id=r.run_id,
                first_seq=r.first_seq,
                last_seq=r.last_seq,
                head_crc=f"{r.head_crc:08x}",
                chain_head=r.chain.head,
                sealed_to=s.last_seq if s is not None else -1,
            )
            for r, s in zip(read.runs, sealed, strict=True)
        ],
        inputs=inputs,
        parts=parts,
        figures_sha256=hashlib.sha256(canonical(parts)).hexdigest(),
    )


def _input(label: str, path: Path) -> Input:
    """A file that a report is told of, as an input. ConfigError where it cannot be read."""
    return Input(run=label, name=path.name, size=path.stat().st_size, sha256=sha256_of(path))


def report_hash() -> str:
    """SHA-256 of the sources of `replay`: reports of one build and one such hash are the same bytes."""
    digest, folder = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".py", ".toml", ".j2", ".css"):
            digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _replay(path: Path, replays: int, progress: Progress | None) -> Replayed | None:
    """Replay a run; None where it is not to be."""
    from replay.verify import verify

    if replays < 1:
        return None
    hashes, result, outputs, peaks = list[str](), "", 0, list[Peak]()
    for n in range(replays):
        if progress is not None:
            progress(f"replay {n + 1} of {path.name}", n, replays)
        verdict = verify(path)
        result, outputs, peaks = verdict.result, verdict.outputs, verdict.peaks
        if verdict.not_compared is not None:
            return Replayed(f"{result}, not compared", outputs, [], verdict.not_compared)
        if verdict.difference is not None:
            place = f"frame {verdict.difference.seq} at byte {verdict.difference.offset} of {verdict.difference.file}"
            raise TamperedError(f"{place}: {verdict.difference.why}; `tickroute verify {path}` shows both sides")
        hashes.append(verdict.state_hash)
    if len(set(hashes)) > 1:
        raise RunsError(f"{path}: {replays} replays came to different states: this build is not deterministic")
    return Replayed(result, outputs, hashes, "", peaks)


def _sealed(read: Read, files: Sequence[Path], key: str) -> list[Sealed | None]:
    """The seal of each run that reaches farthest; the run is held to all that are given. SealError where a file is no
    seal, or a run is not as it was sealed."""
    found: dict[str, list[tuple[Path, sealing.Seal]]] = {}
    for file in files:
        one = sealing.read(file)
        if key:
            sealing.signed_by(one, file, key)
        found.setdefault(one.body.run_id, []).append((file, one))
    known = {run.run_id for run in read.runs}
    for run_id, given in found.items():
        if run_id not in known:
            file = given[0][0]
            raise sealing.SealError(f"{file}: seals run {run_id}, which is not among the runs; name its directory")
    sealed: list[Sealed | None] = []
    for run in read.runs:
        if run.run_id not in found:
            sealed.append(None)
            continue
        for file, one in found[run.run_id]:
            wrong = sealing.compare(one, run.path)
            if wrong is not None:
                why = "restore it from a copy, or find out who changed it"
                raise sealing.SealError(f"{wrong} (sealed in {file}); {why}")
        _, one = max(found[run.run_id], key=lambda given: given[1].body.last_seq)
        sealed.append(Sealed(one.body.last_seq, one.public_key, one.sha256, bool(key)))
    return sealed
