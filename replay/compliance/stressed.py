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
from replay.compliance.document import Cell, Input, Table, column, moment, span
from replay.compliance.texts import said
from replay.stress.structs import Rate, Stress

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


class Recorded(NamedTuple):
    """The most messages that the report's runs took in: within each length of window, ns; and from when to when."""

    most: dict[int, int]
    begin_ns: int
    end_ns: int


#: A span of recordings that counts as the six months that rules speak of.
SIX_MONTHS_NS: Final = 181 * 86_400_000_000_000


def texts(tests: Sequence[Stressed], factor: float, recorded: Recorded) -> list[str]:
    """A sentence or two a test: what it played, how far it held, and whether that is the factor that the profile asks
    for above the most that the report's own runs took in; where they are of less than six months, of how long."""
    found = []
    for one in tests:
        test = one.test
        held = [rate.times for rate in test.rates if rate.held]
        found.append(
            said(
                "p12.stress",
                file=one.file.name,
                interval=f"{test.interval_ms:,}",
                rate=f"{test.interval_per_s:,.0f}",
                utc=test.interval_utc,
                headroom=f"{test.headroom:g}" if test.headroom is not None else "no",
                orders=said(
                    "p12.stress_orders" if test.venues else "p12.stress_alone", n=f"{test.interval_requests:,}"
                ),
                why=test.why or test.stopped or "-",
                tried=f"{len(test.rates):,} tried, {len(held):,} held",
            )
            + " "
            + _verdict(test, factor, recorded)
        )
    return found


def _verdict(test: Stress, factor: float, recorded: Recorded) -> str:
    """What was held beside what is asked for. The window is the test's interval, or the next shorter one of part 12."""
    windows = sorted(recorded.most)
    window_ns = max((w for w in windows if w <= test.interval_ms * 1_000_000), default=windows[0])
    peak = recorded.most[window_ns] * 1_000_000_000 // window_ns
    if not peak:
        return said("p12.no_peak", asked=f"{factor:g}")
    most = test.headroom or 0
    held = max((_taken_per_s(rate) for rate in test.rates if rate.held and rate.times <= most), default=0.0)
    told = said(
        "p12.verdict",
        window=span(window_ns),
        peak=f"{peak:,}",
        asked=f"{factor:g}",
        wanted=f"{factor * peak:,.0f}",
        held=f"{held:,.0f}",
        verdict="reached" if held >= factor * peak else "not reached",
    )
    if recorded.end_ns - recorded.begin_ns >= SIX_MONTHS_NS:
        return told
    ends = {"begin": moment(recorded.begin_ns, 0), "end": moment(recorded.end_ns, 0)}
    return told + " " + said("p12.short", span=span(recorded.end_ns - recorded.begin_ns), **ends)


def _taken_per_s(rate: Rate) -> float:
    """Messages a second that the engine took in at a rate, as table 12.1 counts them: venues' reports among them."""
    return rate.planned_per_s * (rate.records + rate.reports) / max(rate.records, 1)


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
                    rate.requests,
                    rate.request_response.p99_9_ns if rate.request_response else None,
                    rate.reports,
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
            column("requests", "requests", "int", "of the records, clients' requests"),
            column("request_p99_9_ns", "their p99.9", "ns", "the same of clients' requests alone"),
            column("reports", "reports", "int", "venues' reports that the engine took in beside them"),
            column("service_p99_9_ns", "service p99.9", "ns", "from the poll to the last send"),
            column("backlog", "backlog", "int", "records that were due and not taken in, at the most"),
            column("verdict", "verdict", "text", "held, or why it did not"),
        ],
        rows=rows,
        source=[],
        note=said("p12.stress_note"),
    )
