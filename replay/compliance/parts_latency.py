"""Parts 3 to 5: percentiles, latency by time and rate, and coordinated omission."""

from __future__ import annotations

from collections.abc import Sequence

from replay.compliance import tally as y
from replay.compliance.context import SPREAD_COLUMNS, Context, spread_cells
from replay.compliance.document import Cell, Column, Figure, Line, Part, Table, column, moment
from replay.compliance.quantiles import Histogram, at, corrected, curve, spread
from replay.compliance.rare import CLOCKS
from replay.compliance.texts import listed, said
from replay.quality.read import strategy_name

SEGMENTS = (
    [(n, f"stage: {name}") for n, name in enumerate(y.STAGES[: y.TOTAL])]
    + [(y.TOTAL, "service: poll to last send"), (y.ANSWER, "order sent to the venue's first answer")]
    + [(y.FIRST_FILL, "order sent to its first fill"), (y.COMPLETE, "client's order taken in to filled whole")]
)


def percentiles(c: Context) -> Part:
    """Part 3."""
    kinds = ((y.VENUE_0, "service"), (y.VENUE_ANSWER_0, "first answer"), (y.VENUE_FILL_0, "first fill"))
    venues = [(base + v, mic, what) for v, mic in enumerate(c.read.venues) for base, what in kinds]
    tables = [
        _table(c, "3.1", "By segment", [(place, (name,)) for place, name in SEGMENTS], [_name("segment")]),
        _table(c, "3.2", "By venue", [(p, (mic, what)) for p, mic, what in venues], [_name("venue"), _name("what")]),
        _table(
            c, "3.3", "By strategy",
            [
                (y.STRATEGY_0 + n * y.ALGOS + algo, (strategy_of(name, algo),))
                for n, name in enumerate(c.read.strategies)
                for algo in range(y.ALGOS)
            ],
            [_name("strategy")], note=said("p3.strategies"),
        ),
        _table(
            c, "3.4", "By half-hour of the day (UTC, engine clock)",
            [(y.HALF_0 + n, (f"{n // 2:02d}:{n % 2 * 30:02d}",)) for n in range(y.HALVES)], [_name("half-hour")],
        ),
    ]  # fmt: skip
    missing = [] if at(c.tally, y.TOTAL).n else [said("p3.nothing")]
    feeds = feed_clocks(c)
    texts = [said("p3.sampled"), said("p3.interval")]
    if feeds:
        texts.append(said("p3.feed_clock", runs=listed(feeds)))
    return Part(number=3, title="Latency percentiles", texts=texts, tables=tables, figures=[], missing=missing)


def strategy_of(strategy: str, algo: int) -> str:
    """How a run's strategy with an order's algo_id is called."""
    return "of no order" if algo == y.NO_ALGO else strategy_name(strategy, algo)


def feed_clocks(c: Context) -> list[str]:
    """Labels of the runs whose clock was the feed's."""
    return [r.label for r in c.runs if r.config.engine.clock == "feed"]


def _name(label: str) -> Column:
    return column(label.replace("-", "_"), label, "text", f"the {label}")


def _table(
    c: Context, key: str, title: str, places: Sequence[tuple[int, tuple[str, ...]]], names: list[Column], note: str = ""
) -> Table:
    """A row of percentiles for each histogram that has a value."""
    rows: list[list[Cell]] = []
    for place, cells in places:
        found = at(c.tally, place)
        if found.n:
            rows.append([*cells, *spread_cells(spread(found))])
    return Table(id=key, title=title, columns=[*names, *SPREAD_COLUMNS], rows=rows, source=c.source(), note=note)


def by_time(c: Context) -> Part:
    """Part 4."""
    if not at(c.tally, y.TOTAL).n:
        return Part(
            number=4, title="Latency by time and rate", texts=[], tables=[], figures=[], missing=[said("p3.nothing")]
        )
    origin_ns, bin_ns = c.read.bin_origin_ns, c.read.bin_ns
    rows: list[list[Cell]] = []
    for b in range(y.BINS):
        found = at(c.tally, y.BIN_0 + b)
        if found.n:
            rows.append([origin_ns + b * bin_ns, *spread_cells(spread(found, (50.0, 99.0, 99.9)))])
    time_columns = [SPREAD_COLUMNS[n] for n in (0, 1, 2, 4, 5, 7, 8, 9)]
    over_time = Table(
        id="4.1",
        title=f"Service time by time, bins of {bin_ns // 1_000_000_000:,} s",
        columns=[column("begin", "from", "time", "engine clock at the bin's beginning"), *time_columns],
        rows=rows,
        source=c.source(),
    )
    rates = [
        (y.RATE_0 + n, (f"{1 << n if n else 0:,} to {(2 << n) - 1:,}",)) for n in range(y.RATES)
    ]  # fmt: skip
    by_rate = _table(c, "4.2", "Service time by message rate (inputs/s over the last 100 ms)", rates, [_name("rate")])
    return Part(
        number=4,
        title="Latency by time and rate",
        texts=[said("p4.bins")],
        tables=[over_time, by_rate],
        figures=[_time_figure(c, over_time), _rate_figure(c, by_rate), _curve_figure(c)],
        missing=[],
    )


def _first(cell: Cell) -> float | None:
    """The value of a percentile's cell."""
    return float(cell.split()[0]) if isinstance(cell, str) else None


def _time_figure(c: Context, table: Table) -> Figure:
    x = [(int(row[0] or 0) - c.read.bin_origin_ns + c.read.bin_ns / 2) / 1e9 for row in table.rows]
    lines = [
        Line(name=name, x=x, y=[_first(row[k]) if k < 6 else float(row[k] or 0) for row in table.rows])
        for name, k in (("p50", 3), ("p99", 4), ("p99.9", 5), ("max", 6))
    ]
    return Figure(
        id="4.a", title="Service time by time", kind="lines", lines=lines, source=c.source(),
        x_label=f"seconds since {moment(c.read.bin_origin_ns, 0)} UTC, engine clock", y_scale="log", y_kind="ns",
    )  # fmt: skip


def _rate_figure(c: Context, table: Table) -> Figure:
    x = [float(max(int(str(row[0]).split(" to ")[0].replace(",", "")), 1)) for row in table.rows]
    lines = [
        Line(name=name, x=x, y=[_first(row[k]) for row in table.rows])
        for name, k in (("p50", 3), ("p99", 5), ("p99.9", 6))
    ]
    return Figure(
        id="4.b", title="Service time by message rate", kind="lines", lines=lines, source=c.source(),
        x_label="inputs/s over the last 100 ms", x_scale="log", y_scale="log", y_kind="ns",
    )  # fmt: skip


def _curve_figure(c: Context) -> Figure:
    lines = []
    for place, name in ((y.TOTAL, "service"), (y.RESPONSE, "response"), (y.ANSWER, "venue's first answer")):
        points = curve(at(c.tally, place))
        if points:
            lines.append(Line(name=name, x=[x for x, _ in points], y=[float(max(ns, 1)) for _, ns in points]))
    return Figure(
        id="4.c", title="Latency by percentile (HDR)", kind="lines", lines=lines, source=c.source(),
        x_label="percentile", x_scale="log", y_scale="log", x_kind="percentile", y_kind="ns",
    )  # fmt: skip


def omission(c: Context) -> Part:
    """Part 5."""
    service = at(c.tally, y.TOTAL)
    if not service.n:
        return Part(
            number=5,
            title="Coordinated omission",
            texts=[said("p5.service"), said("p5.corrected")],
            tables=[],
            figures=[],
            missing=[said("p3.nothing")],
        )
    missing = []
    rows: list[tuple[str, Histogram]] = [("service: poll to last send", service)]
    for place, name in (
        (y.IN_LOOP, "service and wait in the loop's cycle"),
        (y.RESPONSE, "response: made to last send"),
    ):
        found = at(c.tally, place)
        if found.n:
            rows.append((name, found))
    feeds = feed_clocks(c)
    if feeds:
        missing.append(said("p5.feed_clock", runs=listed(feeds)))
    interval_ns = _interval_ns(c)
    if interval_ns:
        rows.append((f"service, corrected for an input each {interval_ns:,} ns", corrected(service, interval_ns)))
    table = Table(
        id="5.1",
        title="Service and response time",
        columns=[_name("measure"), *SPREAD_COLUMNS],
        rows=[[name, *spread_cells(spread(found))] for name, found in rows],
        source=c.source(),
    )
    halves = [(y.HALF_RESPONSE_0 + n, (f"{n // 2:02d}:{n % 2 * 30:02d}",)) for n in range(y.HALVES)]
    tables = [table]
    if not feeds or len(feeds) < len(c.runs):
        tables.append(_table(c, "5.2", "Response time by half-hour of the day", halves, [_name("half-hour")]))
    lines = [
        Line(name=name, x=[x for x, _ in points], y=[float(max(ns, 1)) for _, ns in points])
        for name, found in rows
        if (points := curve(found))
    ]
    figure = Figure(
        id="5.a", title="Service and response time by percentile", kind="lines", lines=lines, source=c.source(),
        x_label="percentile", x_scale="log", y_scale="log", x_kind="percentile", y_kind="ns",
    )  # fmt: skip
    return Part(
        number=5,
        title="Coordinated omission",
        texts=[said("p5.service"), said("p5.corrected")],
        tables=tables,
        figures=[figure],
        missing=missing,
    )


def _interval_ns(c: Context) -> int:
    """Mean real time between inputs, of each run from its first to its last sample of both clocks; 0 where there are
    none."""
    span_ns = inputs = 0
    for r in c.runs:
        kept = r.kept(*CLOCKS)
        if kept is not None:
            times = kept.rows["realtime_ns"]
            span_ns += int(times[-1]) - int(times[0])
            inputs += int(kept.inputs[-1]) - int(kept.inputs[0])
    return span_ns // inputs if inputs else 0
