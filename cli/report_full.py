"""`tickroute report RUN_DIR... --profile`: the compliance report; `report verify`: it made again and compared.

The report is `replay.compliance`'s. Exit codes: 0; 1 where a verified report differs, or another key signed a seal than
the one asked for; 3 where an input cannot be read, or was changed, with the place; 4 where a report says that another
build made it: its figures are the same, and its bytes were not shown to be. Worst case: two passes over all files, and
a replay of each run as often as asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.console import Console

from cli.output import JsonOption, checked, wide_console, write_json, write_whole
from cli.verify import DIFFERENT, readable
from engine.errors import UsageError

if TYPE_CHECKING:
    from replay.compliance.document import Report
    from replay.compliance.runs import Progress

RunDirs = Annotated[
    list[Path], typer.Argument(metavar="RUN_DIR...", help="Directories of runs; one, or months of them.")
]
SealOption = Annotated[
    list[Path] | None,
    typer.Option("--seal", help="A file that `tickroute seal` wrote; give it again for each run.", show_default=False),
]
StressOption = Annotated[
    list[Path] | None,
    typer.Option("--stress", help="A file that `tickroute stress --json` wrote, for part 12.", show_default=False),
]
SealKeyOption = Annotated[
    Path | None,
    typer.Option("--seal-key", help="Ed25519 public key (PEM) that must have signed the seals.", show_default=False),
]
BucketsOption = Annotated[
    Path | None,
    typer.Option("--buckets", help="Divisions of execution quality, as `tickroute quality` takes.", show_default=False),
]
ReferenceOption = Annotated[
    Path | None,
    typer.Option("--reference", help="Reference data, as `tickroute quality` takes them.", show_default=False),
]


class Given(NamedTuple):
    """Files that a report is made with besides its runs."""

    seals: Sequence[Path] = ()
    stress: Sequence[Path] = ()
    seal_key: Path | None = None
    buckets: Path | None = None
    reference: Path | None = None

    def check(self) -> None:
        """A mistake in a file is wrong use, and said before the work. ConfigError."""
        from replay.quality.reference import Reference
        from replay.quality.settings import load

        load(self.buckets)
        Reference.load(self.reference)

    def key(self) -> str:
        """The public key that must have signed the seals, hexadecimal; empty where none was named."""
        from replay.compliance.sealing import public_key

        if self.seal_key is None:
            return ""
        if not self.seals:
            raise UsageError(f"--seal-key {self.seal_key}: there is no seal to hold to it; name one with --seal")
        return public_key(self.seal_key)


def compliance(
    out: Console,
    runs: Sequence[Path],
    profile: str,
    formats: Sequence[str],
    output: Path | None,
    replays: int,
    given: Given,
    json: str | None,
) -> None:
    """Make the report of runs and write it in each format."""
    from replay.compliance.write import FORMATS, rendered

    wanted = list(dict.fromkeys(name for text in formats for name in text.split(",")))
    for name in wanted:
        if name not in FORMATS:
            raise UsageError(f"--format {name}: there are {', '.join(FORMATS)}")
    given.check()
    targets = {name: _target(runs, profile, name, output, len(wanted) > 1) for name in wanted}
    with readable(), shown_progress(out) as progress:
        from replay.compliance.make import make

        report = make(
            runs, profile, replays=replays, seals=given.seals, stress=given.stress, seal_key=given.key(),
            buckets=given.buckets, reference=given.reference, progress=progress,
        )  # fmt: skip
        for name, target in targets.items():
            progress(f"writing {name}", 0, 0)
            for part, data in rendered(report, name).items():
                write_whole(target / part if part else target, data)
    if json is not None:
        write_json(json, summary(report, targets))
    if json != "-":
        _show(out, report)
        for name, target in targets.items():
            out.print(f"{name:<8} {target}", soft_wrap=True, markup=False)


def _target(runs: Sequence[Path], profile: str, form: str, output: Path | None, many: bool) -> Path:
    """Where a format goes: `output` itself where it is the only one, else its name with the format's ending."""
    folder = runs[0] if len(runs) == 1 else Path()
    path = output if output is not None else folder / f"report-{profile}.{form}"
    if many and output is not None:
        path = output.with_name(f"{output.stem if output.suffix[1:] in _ENDINGS else output.name}.{form}")
    if form != "parquet":
        checked(path)
        return path
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path}: is a file; --format parquet writes a folder: name another")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path}: cannot be made: {error.strerror}; name another folder") from error
    return path


#: Exit code of a verification that could not compare the bytes.
OTHER_BUILD = 4
_ENDINGS = {"html", "pdf", "json", "parquet"}


def summary(report: Report, targets: dict[str, Path]) -> dict[str, object]:
    """What programs are told of a report that was written."""
    return {
        "profile": report.options.profile,
        "figures_sha256": report.figures_sha256,
        "runs": report.runs,
        "inputs": report.inputs,
        "files": {name: str(path) for name, path in targets.items()},
    }


def _show(out: Console, report: Report) -> None:
    out.print(f"[bold]{report.title}[/]\n{report.subtitle}", soft_wrap=True)
    for run in report.runs:
        sealed = f"sealed to frame {run.sealed_to:,}" if run.sealed_to >= 0 else "not sealed"
        out.print(
            f"{run.label:<8} {run.name}: frames {run.first_seq:,} to {run.last_seq:,}, head {run.head_crc}, {sealed}",
            soft_wrap=True,
            markup=False,
        )
    missing = [(part, text) for part in report.parts for text in part.missing]
    for part, text in missing:
        out.print(f"part {part.number:<3} {text}", soft_wrap=True, markup=False)
    out.print(f"figures  SHA-256 {report.figures_sha256}")


@contextmanager
def shown_progress(out: Console) -> Iterator[Progress]:
    """A progress bar with rate and time left, gone when it is done; nothing where no person watches."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, TimeRemainingColumn(), console=out, transient=True, disable=not out.is_terminal) as bars:
        task = bars.add_task("compiling", total=None)

        def told(what: str, done: int, total: int) -> None:
            bars.update(task, description=what, completed=done, total=total or None)

        yield told


def verify(
    report: Annotated[Path, typer.Argument(help="A report: HTML, PDF, JSON, or the folder of Parquet.")],
    run_dirs: RunDirs,
    *,
    seal: SealOption = None,
    seal_key: SealKeyOption = None,
    stress: StressOption = None,
    buckets: BucketsOption = None,
    reference: ReferenceOption = None,
    json: JsonOption = None,
) -> None:
    """Make a report again from its runs and compare: bytes under the same build, figures under another.

    Exits 0 where the bytes are the same, 1 where something differs (each place is told), 3 where an input cannot be
    read or was changed, 4 where the report says that another build made it: then all that can be read is compared,
    and the bytes of its pictures are not. Seals, stress tests and files of execution quality that the report was made
    with are to be given again.
    """
    out = wide_console(json)
    given = Given(seal or [], stress or [], seal_key, buckets, reference)
    given.check()
    with readable(), shown_progress(out) as progress:
        from replay.compliance.prove import verify as prove

        proof = prove(
            report, run_dirs, given.seals, given.stress, given.key(), buckets=buckets, reference=reference,
            progress=progress,
        )  # fmt: skip
    if json is not None:
        write_json(json, proof)
    if json != "-":
        colour = {"identical": "green", "same figures": "yellow"}.get(proof.result, "red")
        out.print(f"report verify: [bold {colour}]{proof.result}[/]")
        for text in [*proof.differences, *([proof.note] if proof.note else [])]:
            out.print(f"  {text}", soft_wrap=True, markup=False)
    if proof.differences:
        raise typer.Exit(DIFFERENT)
    if proof.result != "identical":
        raise typer.Exit(OTHER_BUILD)
