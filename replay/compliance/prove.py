"""`verify`: a report made again from its runs, and compared; what differs is told with its place.

Under the same build (sources, libraries, CPU) the bytes are compared. What a report says of its build is its own word,
so it is put into what was made again before that is rendered, and the bytes are compared all the same: a report whose
build differs in nothing that shows comes out byte for byte. Where it does not, everything that people and programs can
read in it is held to what was made (`readable`), and the result is never "identical". Each input's SHA-256 is held to
the one that the report names, so that a changed input is told as that.

Worst case: as making the report. A PDF of another build whose bytes differ holds only its figures' hash: that is
compared, its pages cannot be, and the note says so.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from engine.errors import TickrouteError
from replay.compliance import sealing
from replay.compliance.document import Options, Part, Report, canonical
from replay.compliance.make import make
from replay.compliance.readable import readable
from replay.compliance.runs import Progress
from replay.compliance.write import read_report, rendered


class ReportError(TickrouteError):
    """A report that cannot be read as one: the place, and why."""

    exit_code = 3


class Claim(NamedTuple):
    """What a report says of itself. `report` is None for a PDF, which holds the figures' hash alone.

    `build`: the fields of BUILD, those that the form holds.
    """

    form: str
    build: dict[str, Any]
    figures_sha256: str
    options: Options
    names: dict[str, str]
    report: Report | None


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification found. `result`: identical (bytes), same figures (it says that another build made it), or
    different."""

    result: str
    report: str
    form: str
    same_build: bool
    figures_sha256: str
    #: What differs, the first places, each with where it is.
    differences: list[str]
    note: str = ""


def verify(
    path: Path,
    runs: Sequence[Path],
    seals: Sequence[Path] = (),
    stress: Sequence[Path] = (),
    seal_key: str = "",
    *,
    buckets: Path | None = None,
    reference: Path | None = None,
    progress: Progress | None = None,
) -> Proof:
    """Make a report again and compare. ReportError where it is none; other errors as `make`. `seal_key`: the key that
    must have signed the seals, whether the report was made with one or not."""
    claim = claimed(path)
    for file in seals if seal_key else ():
        sealing.signed_by(sealing.read(file), file, seal_key)
    made = make(
        runs,
        claim.options.profile,
        replays=claim.options.replays,
        seals=seals,
        stress=stress,
        seal_key=claim.options.seal_key,
        buckets=buckets,
        reference=reference,
        names=claim.names,
        progress=progress,
    )
    return compare(path, claim, made, lambda told: rendered(told, claim.form))


#: What a report says of the build that made it; the rest of it follows from its runs and options.
BUILD: Final = ("build_hash", "source_hash", "report_hash", "libraries", "version")
_DECIDES: Final = ("build_hash", "report_hash", "libraries")


def compare(path: Path, claim: Claim, made: Report, files: Callable[[Report], dict[str, bytes]]) -> Proof:
    """A report held to what was made again; `files` renders a report in the form of the one at `path`."""
    same_build = all(getattr(made, name) == claim.build[name] for name in _DECIDES if name in claim.build)
    told = made if same_build else msgspec.structs.replace(made, **claim.build)
    differences = _inputs(claim, made)
    if claim.report is not None:
        differences += figures(claim.report.parts, made.parts)
        if hashlib.sha256(canonical(claim.report.parts)).hexdigest() != claim.figures_sha256:
            differences.append("the report's figures are not those of its own figures_sha256")
    elif claim.figures_sha256 != made.figures_sha256:
        differences.append(f"figures_sha256 is {claim.figures_sha256}; made again it is {made.figures_sha256}")
    rendering = files(told)
    places = _bytes(path, rendering)
    if same_build:
        return _proof(path, claim, same_build, differences + places, "identical", "")
    if not places:
        note = "it says that another build made it; but for that, this build makes the same bytes"
        return _proof(path, claim, same_build, differences, "same figures", note)
    differences += readable(path, claim.form, rendering)
    note = "it says that another build made it: figures and texts were compared, and not the bytes and the pictures"
    if claim.form == "pdf":
        note = "it says that another build made it: its figures' hash was compared, and not what its pages show"
    return _proof(path, claim, same_build, differences, "same figures", note)


def _proof(path: Path, claim: Claim, same_build: bool, differences: list[str], good: str, note: str) -> Proof:
    return Proof(
        result="different" if differences else good,
        report=str(path),
        form=claim.form,
        same_build=same_build,
        figures_sha256=claim.figures_sha256,
        differences=list(dict.fromkeys(differences)),
        note=note,
    )


def claimed(path: Path) -> Claim:
    """What a report says of itself. ReportError where it cannot be read."""
    try:
        if path.is_dir():
            return _claim("parquet", read_report(path))
        head = path.read_bytes()[:64].lstrip()
        if head.startswith(b"%PDF"):
            return _pdf_claim(path)
        return _claim("json" if head.startswith(b"{") else "html", read_report(path))
    except OSError as error:
        raise ReportError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise ReportError(f"{error}; it was changed, or is no report of `tickroute report --profile`") from error


def _claim(form: str, report: Report) -> Claim:
    names = {run.run_id: run.name for run in report.runs}
    build = {name: getattr(report, name) for name in BUILD}
    return Claim(form, build, report.figures_sha256, report.options, names, report)


def _pdf_claim(path: Path) -> Claim:
    data = path.read_bytes()
    found = re.search(rb"/Keywords \((.*?)(?<!\\)\)", data, re.S)
    if found is None:
        raise ValueError(f"{path}: is a PDF that holds no report of tickroute's")
    text = re.sub(rb"\\([()\\])", rb"\1", found[1]).replace(b"\\\n", b"")
    try:
        marks = json.loads(text)
        options = msgspec.convert(marks["options"], Options)
        build = {name: str(marks[name]) for name in BUILD if name != "libraries"}
        return Claim("pdf", build, marks["figures_sha256"], options, marks["names"], None)
    except (KeyError, TypeError, ValueError, msgspec.MsgspecError) as error:
        raise ValueError(f"{path} at byte {found.start()}: its keywords cannot be read: {error}") from error


def _inputs(claim: Claim, made: Report) -> list[str]:
    """Inputs whose SHA-256 is not the one that the report names."""
    if claim.report is None:
        return []
    told = {(file.run, file.name): file for file in claim.report.inputs}
    now = {(file.run, file.name): file for file in made.inputs}
    found = []
    for key in sorted(told.keys() | now.keys()):
        where = f"input {key[0]} {key[1]}"
        if key not in now:
            found.append(f"{where}: the report follows from it, and it is missing")
        elif key not in told:
            found.append(f"{where}: was not there when the report was made")
        elif told[key] != now[key]:
            found.append(f"{where}: SHA-256 is {now[key].sha256}; the report follows from {told[key].sha256}")
    return found


def figures(told: list[Part], made: list[Part], most: int = 20) -> list[str]:
    """Where two reports' figures differ, the first places."""
    found: list[str] = []
    for old, new in zip(told, made, strict=False):
        found += [f"part {new.number}, {where}" for where in _part(old, new)]
    if len(told) != len(made):
        found.append(f"the report has {len(told)} parts, and made again {len(made)}")
    more = [f"and {len(found) - most:,} more places"] if len(found) > most else []
    return found[:most] + more


def _part(old: Part, new: Part) -> list[str]:
    if old == new:
        return []
    found = []
    tables = {table.id: table for table in old.tables}
    for table in new.tables:
        was = tables.pop(table.id, None)
        if was is None:
            found.append(f"table {table.id} is missing")
        elif was != table:
            found += [f"table {table.id}, {where}" for where in _rows(was, table)]
    found += [f"table {name} should not be there" for name in tables]
    pictures = {figure.id: figure for figure in old.figures}
    found += [f"figure {f.id}: its numbers differ" for f in new.figures if pictures.get(f.id) != f]
    if (old.number, old.title, old.texts, old.missing) != (new.number, new.title, new.texts, new.missing):
        found.append("its texts differ")
    return found


def _rows(old: Any, new: Any) -> list[str]:
    found = []
    for n, (a, b) in enumerate(zip(old.rows, new.rows, strict=False), 1):
        for column, x, y in zip(new.columns, a, b, strict=False):
            if x != y:
                name = " ".join(str(cell) for cell in b[:2])
                found.append(f"row {n} ({name}), {column.label}: the report says {x!r}, made again it is {y!r}")
    if len(old.rows) != len(new.rows):
        found.append(f"{len(old.rows)} rows, and made again {len(new.rows)}")
    return found or ["its heading, note or source differs"]


def _bytes(path: Path, files: dict[str, bytes]) -> list[str]:
    """The first differing byte of each file of a report."""
    found = []
    for name, data in files.items():
        file = path / name if name else path
        try:
            old = file.read_bytes()
        except OSError:
            found.append(f"{file}: is missing")
            continue
        if old != data:
            found.append(f"{file}: {_first(old, data)}")
    if path.is_dir():
        found += [f"{file}: should not be there" for file in sorted(path.iterdir()) if file.name not in files]
    return found


def _first(old: bytes, new: bytes) -> str:
    size = min(len(old), len(new))
    step = 1 << 12
    block = next((n for n in range(0, size, step) if old[n : n + step] != new[n : n + step]), size)
    at = next((n for n in range(block, min(block + step, size)) if old[n] != new[n]), size)
    if at == size:
        return f"is {len(old):,} bytes long, and made again {len(new):,}; they differ from byte {size:,} on"
    section = re.findall(rb'<section id="part(\d+)">', new[:at])
    place = f" (part {section[-1].decode()})" if section and b"tickroute-report" not in new[:at] else ""
    return f"byte {at:,}{place} is {old[at : at + 16]!r}, and made again {new[at : at + 16]!r}"
