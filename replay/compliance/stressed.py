"""Stress tests in the report: what `tickroute stress --json FILE` measured, named by `--stress FILE`.

A stress test is a measurement of its own, on a machine of its own: nothing of it follows from the journals. Its file is
an input of the report, with its SHA-256, and its figures name it in the place of a journal range.

Worst case: a file of some tens of kilobytes is read whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from engine.errors import TickrouteError
from replay.compliance.document import Cell, Input, Table, column
from replay.compliance.texts import said
from replay.stress.structs import Stress

#: What stands in the place of a run's label where a file is an input.
LABEL: Final = "stress"


class StressFileError(TickrouteError):
    """A file that is no stress test's result: which, and why."""

    exit_code = 3


class Stressed(NamedTuple):
    """A stress test and the file that it was read from."""

    file: Input
    test: Stress


def read(path: Path) -> Stressed:
    """A result of `tickroute stress --json`. StressFileError where it is none."""
    try:
        data = path.read_bytes()
        test = msgspec.json.decode(data, type=Stress)
    except OSError as error:
        raise StressFileError(f"{path}: cannot be read: {error.strerror}; name another file") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StressFileError(
            f"{path}: is no result of a stress test ({error}); `tickroute stress … --json {path}` writes one"
        ) from error
    file = Input(run=LABEL, name=path.name, size=len(data), sha256=hashlib.sha256(data).hexdigest())
    return Stressed(file, test)


def texts(tests: Sequence[Stressed], factor: float) -> list[str]:
    """A sentence a test: what it played, how far it held, and whether that is as far as the profile asks."""
    found = []
    for one in tests:
        test = one.test
        held = [rate.times for rate in test.rates if rate.held]
        enough = test.headroom is not None and test.headroom >= factor
        found.append(
            said(
                "p12.stress",
                file=one.file.name,
                interval=f"{test.interval_ms:,}",
                rate=f"{test.interval_per_s:,.0f}",
                utc=test.interval_utc,
                headroom=f"{test.headroom:g}" if test.headroom is not None else "no",
                asked=f"{factor:g}",
                verdict="reached" if enough else "not reached",
                why=test.why or test.stopped or "-",
                tried=f"{len(test.rates):,} tried, {len(held):,} held",
            )
        )
    return found


def table(tests: Sequence[Stressed]) -> Table:
    """Every rate of every test."""
    rows: list[list[Cell]] = []
    for one in tests:
        for rate in one.test.rates:
            rows.append(
                [
                    one.file.name,
                    rate.times,
                    int(rate.planned_per_s),
                    rate.records,
                    rate.taken,
                    rate.response.p50_ns,
                    rate.response.p99_ns,
                    rate.response.p99_9_ns,
                    rate.service.p99_9_ns,
                    rate.backlog_most,
                    "held" if rate.held else rate.why,
                ]
            )
    return Table(
        id="12.2",
        title="Stress: the busiest recorded interval at many times its pace",
        columns=[
            column("file", "file", "text", "the test's file, an input of part 1"),
            column("times", "times", "number", "the interval's pace, multiplied"),
            column("rate", "messages/s", "int", "as planned, cut to whole ones", "1/s"),
            column("records", "sent", "int", "records sent"),
            column("taken", "taken in", "int", "records that the engine took in"),
            column("response_p50_ns", "response p50", "ns", "from when a record was due to when it was taken in"),
            column("response_p99_ns", "p99", "ns", "the same, percentile 99"),
            column("response_p99_9_ns", "p99.9", "ns", "the same, percentile 99.9"),
            column("service_p99_9_ns", "service p99.9", "ns", "from the poll to the last send"),
            column("backlog", "backlog", "int", "records that were due and not taken in, at the most"),
            column("verdict", "verdict", "text", "held, or why it did not"),
        ],
        rows=rows,
        source=[],
        note=said("p12.stress_note"),
    )
