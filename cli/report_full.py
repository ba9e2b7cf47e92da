"""`tickroute report RUN_DIR... --profile`: the compliance report; `report verify`: it made again and compared.

The report is `replay.compliance`'s. Exit codes: 0; 1 where a verified report differs; 3 where an input cannot be read,
or was changed, with the place. Worst case: two passes over all files, and a replay of each run as often as asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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


def compliance(
    out: Console,
    runs: Sequence[Path],
    profile: str,
    formats: Sequence[str],
    output: Path | None,
    replays: int,
    seals: Sequence[Path],
    stress: Sequence[Path],
    json: str | None,
) -> None:
    """Make the report of runs and write it in each format."""
    from replay.compliance.write import FORMATS, rendered

    wanted = list(dict.fromkeys(name for text in formats for name in text.split(",")))
    for name in wanted:
        if name not in FORMATS:
            raise UsageError(f"--format {name}: there are {', '.join(FORMATS)}")
    targets = {name: _target(runs, profile, name, output, len(wanted) > 1) for name in wanted}
    with readable(), shown_progress(out) as progress:
        from replay.compliance.make import make

        report = make(runs, profile, replays=replays, seals=seals, stress=stress, progress=progress)
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
    stress: StressOption = None,
    json: JsonOption = None,
) -> None:
    """Make a report again from its runs and compare: bytes under the same build, figures under another.

    Exits 0 where nothing differs, 1 where something does (each place is told), 3 where an input cannot be read or was
    changed. Seals and stress tests that the report was made with are to be given again.
    """
    out = wide_console(json)
    with readable(), shown_progress(out) as progress:
        from replay.compliance.prove import verify as prove

        proof = prove(report, run_dirs, seal or [], stress or [], progress)
    if json is not None:
        write_json(json, proof)
    if json != "-":
        good = not proof.differences
        out.print(f"report verify: [bold {'green' if good else 'red'}]{proof.result}[/]")
        for text in [*proof.differences, *([proof.note] if proof.note else [])]:
            out.print(f"  {text}", soft_wrap=True, markup=False)
    if proof.differences:
        raise typer.Exit(DIFFERENT)
