"""Parts 10 to 12: execution by venue, the audit of order states, and capacity."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from engine.core.lifecycle import PRECEDENCE
from engine.record.records import ExecType, OrdStatus, Reason
from replay.compliance import stressed
from replay.compliance import tally as y
from replay.compliance.beside import BREAKS
from replay.compliance.context import Context, of
from replay.compliance.document import Cell, Figure, Line, Part, Table, column, span
from replay.compliance.parts_latency import feed_clocks, strategy_of
from replay.compliance.quality import quality, why_not
from replay.compliance.quality import tables as quality_tables
from replay.compliance.rare import MOST
from replay.compliance.texts import listed, said
from replay.decode import reason_name

_STATUS_NAMES: Final = [status.name.lower().replace("_", " ") for status in PRECEDENCE] + ["none"]
_EXEC_NAMES: Final = [kind.name.lower().replace("_", " ") for kind in ExecType]
ENDED: Final = {OrdStatus.FILLED, OrdStatus.CANCELED, OrdStatus.EXPIRED, OrdStatus.REJECTED}
_ENDED_NAMES: Final = {status.name.lower().replace("_", " ") for status in ENDED}


def execution(c: Context) -> Part:
    """Part 10."""
    table, rejects = _venues(c), _rejects(c)
    bars = [
        Line(name=name, x=[float(n) for n in range(len(table.rows))], y=[float(row[k] or 0) for row in table.rows])
        for name, k in (("routed", 4), ("filled", 5))
    ]
    figure = Figure(
        id="10.a", title="Quantity by venue, strategy and currency", kind="bars", lines=bars, source=c.source(),
        y_label="quantity", names=[f"{row[0]} {row[1]} {row[2] or ''}".rstrip() for row in table.rows],
    )  # fmt: skip
    found = quality(c)
    missing = [] if table.rows else ["No order was sent to a venue."]
    missing += why_not(c)
    more = quality_tables(c, found) if found is not None else []
    return Part(
        number=10,
        title="Execution by venue",
        texts=[said("p10.money"), said("p10.quality")],
        tables=[told for told in (table, rejects, *more) if told.rows],
        figures=[figure] if table.rows else [],
        missing=missing,
    )


def _venues(c: Context) -> Table:
    """A row a venue and strategy, of all runs."""
    sums: dict[tuple[str, str, str], list[Decimal]] = {}
    for r in c.runs:
        for (place, algo, currency), sent in r.sent.items():
            counts = [Decimal(n) for n in sent.counts]
            money, fee = (
                (counts[high] * 2**32 + counts[high + 1]) / Decimal(10**9) for high in (y.V_MONEY_HIGH, y.V_FEE_HIGH)
            )
            new = [sent.routed, sent.filled, *counts[: y.V_FIRST_FILLS + 1], money, fee, counts[y.V_LATE]]
            key = c.read.venues[place], strategy_of(r.config.routing.strategy, algo), currency
            old = sums.setdefault(key, [Decimal(0)] * len(new))
            sums[key] = [a + b for a, b in zip(old, new, strict=True)]
    rows: list[list[Cell]] = []
    for (mic, strategy, currency), s in sorted(sums.items()):
        routed, filled, children, fills, added, rejects, cancels, first, money, fee, late = s
        rows.append(
            [
                mic, strategy, currency or None, int(children), float(routed), float(filled),
                float(filled / routed) if routed else None, int(fills), float(filled / fills) if fills else None,
                int(first), int(rejects), int(cancels), int(added), int(fills - added), float(money), float(fee),
                int(late),
            ]
        )  # fmt: skip
    return Table(
        id="10.1",
        title="By venue, strategy and currency",
        columns=[
            column("venue", "venue", "text", "ISO 10383 code"),
            column("strategy", "strategy", "text", "the strategy, with the orders' algo_id where it is not 0"),
            column("currency", "currency", "text", "the currency of money and fees"),
            column("orders", "orders", "int", "orders sent there"),
            column("routed", "routed", "qty", "their quantity", "shares or coins"),
            column("filled", "filled", "qty", "quantity executed, before busts", "shares or coins"),
            column("fill_rate", "fill rate", "share", "filled of routed"),
            column("fills", "fills", "int", "executions"),
            column("average", "average fill", "qty1", "quantity an execution", "shares or coins"),
            column("orders_filled", "orders filled", "int", "orders with an execution"),
            column("rejects", "rejects", "int", "orders rejected there"),
            column("cancels", "cancelled", "int", "orders cancelled there"),
            column("added", "added", "int", "executions that added liquidity"),
            column("removed", "removed", "int", "executions that removed liquidity"),
            column("money", "traded", "money", "price times quantity, as executed before busts", "currency"),
            column("fees", "fees", "money", "by the configuration's rates; negative is a rebate", "currency"),
            column("late", "late fills", "int", "executions after the order's end: booked and alerted"),
        ],
        rows=rows,
        source=c.source(),
        note="Executions are counted as they came: filled, fill rate, money and fees are before busts and corrections. "
        "Times to the first answer and to the first fill are in table 3.2.",
    )


def _rejects(c: Context) -> Table:
    counts = c.tally["rejects"].reshape(-1, y.REASONS)
    rows: list[list[Cell]] = [
        [mic, reason_name(reason, Reason), int(counts[v, reason])]
        for v, mic in enumerate(c.read.venues)
        for reason in range(y.REASONS)
        if counts[v, reason]
    ]
    return Table(
        id="10.2",
        title="Rejects by reason",
        columns=[
            column("venue", "venue", "text", "ISO 10383 code"),
            column("reason", "reason", "text", "why, as the venue said"),
            column("n", "n", "int", "how many"),
        ],
        rows=rows,
        source=c.source(),
    )


def legal(before: str, after: str, why: str) -> bool:
    """Whether an order may go from one status to another with a report of that kind. FIX illustrates and does not
    forbid; this is what docs/report.md says, and why."""
    if before == "none":
        return after in ("new", "pending new", "rejected")
    if why in ("trade", "trade cancel", "trade correct", "order status") and before in _ENDED_NAMES:
        # A late execution is booked; a bust ends a filled order as cancelled; a status may be told again.
        return after in _ENDED_NAMES
    if before in _ENDED_NAMES:
        return after == before
    if before == "partially filled":
        return after not in ("new", "pending new", "rejected") or why in ("trade cancel", "trade correct", "replaced")
    return not (before == "new" and after == "pending new")


def audit(c: Context) -> Part:
    """Part 11."""
    counts = c.tally["transitions"].reshape(2, y.STATUSES, y.STATUSES, y.EXECS)
    rows: list[list[Cell]] = []
    illegal = 0
    for side, name in enumerate(("client", "venue")):
        for before, after, kind in zip(*counts[side].nonzero(), strict=True):
            names = _STATUS_NAMES[before], _STATUS_NAMES[after]
            why = _EXEC_NAMES[kind] if kind < len(_EXEC_NAMES) else ("sent" if names[0] == "none" else "other")
            n, good = int(counts[side, before, after, kind]), legal(*names, why)
            illegal += 0 if good else n
            rows.append([name, *names, why, n, "yes" if good else "NO"])
    transitions = Table(
        id="11.1",
        title="Transitions",
        columns=[
            column("side", "side", "text", "client: as clients were told; venue: as venues' accepted reports say"),
            column("before", "from", "text", "status before"),
            column("after", "to", "text", "status after"),
            column("by", "by", "text", "ExecType (150) of the report"),
            column("n", "n", "int", "how many"),
            column("legal", "legal", "text", "whether such a transition may be"),
        ],
        rows=rows,
        source=c.source(),
    )
    late = [r.label for r in c.runs if r.first_seq > 0]
    missing = [said("p11.begins_late", runs=listed(late))] if late else []
    without = [r.label for r in c.runs if BREAKS not in r.beside.logs]
    if without:
        missing.append(said("p11.no_breaks", runs=listed(without)))
    return Part(
        number=11,
        title="Order-state audit",
        texts=[said("p11.legal"), said("p11.orphans")],
        tables=[_summary(c, illegal), transitions, _ends(c), _breaks(c), *_reconciled(c)],
        figures=[],
        missing=missing,
    )


def _summary(c: Context, illegal: int) -> Table:
    checks = c.tally["checks"]
    rows: list[list[Cell]] = [
        ["illegal transitions", illegal],
        ["orphans: reports of unknown orders", int(checks[y.C_ORPHANS])],
        ["orphans: orders at venues without a client's order", int(checks[y.C_UNKNOWN_PARENT])],
        ["breaks: CumQty fell without a bust or correction", int(checks[y.C_CUM_FELL])],
        ["breaks: CumQty is not the one before and LastQty", int(checks[y.C_CUM_JUMPED])],
        ["breaks: a venue's last CumQty is not the sum of its executions", sum(r.cum_differs for r in c.runs)],
        ["executions after the end of an order (booked and alerted)", int(checks[y.C_LATE_FILLS])],
        ["reports of venues booked", int(checks[y.C_REPORTS])],
        ["orders without a last report at the end", sum(_open(r.children) for r in c.runs)],
    ]
    return Table(
        id="11.0",
        title="Findings",
        columns=[column("what", "what", "text", "what was looked for"), column("n", "n", "int", "how many")],
        rows=rows,
        source=c.source(),
    )


def _open(statuses: dict[int, int]) -> int:
    return sum(n for status, n in statuses.items() if status not in ENDED)


def _ends(c: Context) -> Table:
    sums: dict[tuple[str, str], int] = {}
    for r in c.runs:
        for side, statuses in (("client", r.parents), ("venue", r.children)):
            for status, n in statuses.items():
                key = side, reason_name(status, OrdStatus)
                sums[key] = sums.get(key, 0) + n
    return Table(
        id="11.2",
        title="Last status of every order",
        columns=[
            column("side", "side", "text", "client: clients' orders; venue: orders at venues"),
            column("status", "status", "text", "OrdStatus (39) of the last report"),
            column("n", "n", "int", "orders"),
        ],
        rows=[[side, status, n] for (side, status), n in sorted(sums.items())],
        source=c.source(),
        note=said("p11.open"),
    )


_KINDS = {y.ORPHAN: "orphan", y.CUM_FELL: "CumQty fell", y.CUM_JUMPED: "CumQty jumped"}


def _breaks(c: Context) -> Table:
    found = c.tally["listed"][: int(c.tally["run"][0]["listed"])]
    return Table(
        id="11.3",
        title="Orphans and breaks, listed",
        columns=[
            column("run", "run", "text", "the run"),
            column("seq", "frame", "int", "the frame"),
            column("what", "what", "text", "what is wrong"),
            column("order_id", "order", "int", "the order's id"),
            column("value", "value", "int", "the difference, or the record's template"),
        ],
        rows=[
            [f"R{row['run']}", int(row["seq"]), _KINDS[int(row["kind"])], int(row["what"]), int(row["value"])]
            for row in found
            if int(row["kind"]) in _KINDS
        ],
        source=c.source(),
        note="None." if not len(found) else "",
    )


def _reconciled(c: Context) -> list[Table]:
    """Breaks of reconciliations, with their age; nothing where no run has a log of them."""
    rows: list[list[Cell]] = []
    for r in c.runs:
        for line in r.beside.breaks:
            rows.append([r.label, line.seq, line.state, line.kind, line.mic, line.exec_id, line.age_ns, line.found_ns])
    table = Table(
        id="11.4",
        title="Breaks against the venues' own records",
        columns=[
            column("run", "run", "text", "the run"),
            column("seq", "line", "int", "line of breaks.jsonl"),
            column("state", "state", "text", "open: it was found; gone: it is no more"),
            column("kind", "break", "text", "what differs"),
            column("venue", "venue", "text", "ISO 10383 code"),
            column("exec_id", "ExecID", "text", "the execution"),
            column("age_ns", "age", "ns", "since it was executed or changed; empty where nobody knows"),
            column("found", "found", "time", "when it was found, UTC"),
        ],
        rows=rows[:MOST],
        source=[of(r) for r in c.runs if BREAKS in r.beside.logs],
        note=f"The first {MOST:,} of {len(rows):,}." if rows else "No break was found.",
    )
    return [table] if table.source else []


def _recorded(c: Context) -> stressed.Recorded:
    """The most messages that the runs took in, by window, and from when to when they ran."""
    peaks = c.tally["peaks"].reshape(2, len(y.WINDOWS_NS), 4)
    times = [time_ns for r in c.runs for time_ns in (r.begin_ns, r.end_ns) if time_ns]
    most = {window_ns: int(peaks[0, w, 0]) for w, window_ns in enumerate(y.WINDOWS_NS)}
    return stressed.Recorded(most, min(times, default=0), max(times, default=0))


def capacity(c: Context) -> Part:
    """Part 12."""
    peaks = c.tally["peaks"].reshape(2, len(y.WINDOWS_NS), 4)
    rows: list[list[Cell]] = []
    for side, name in enumerate(("messages in", "orders, replaces and cancels out")):
        for w, window_ns in enumerate(y.WINDOWS_NS):
            count, time_ns, run, seq = (int(n) for n in peaks[side, w])
            if count:
                rate = count * 1_000_000_000 // window_ns
                rows.append([name, span(window_ns), count, rate, f"R{run}", seq, time_ns])
    feeds = feed_clocks(c)
    table = Table(
        id="12.1",
        title="Peaks",
        columns=[
            column("what", "what", "text", "which messages"),
            column("window", "window", "text", "length of the window"),
            column("n", "most", "int", f"most messages within it; windows of more than {y.RING:,} count as that"),
            column("rate", "as a rate", "int", "messages/s", "1/s"),
            column("run", "run", "text", "the run"),
            column("seq", "frame", "int", "the frame that completed it"),
            column("time", "time", "time", "engine clock then"),
        ],
        rows=rows,
        source=c.source(),
    )
    missing = [] if c.stressed else [said("p12.no_stress")]
    if feeds:
        missing.append(said("p12.feed_clock", runs=listed(feeds)))
    return Part(
        number=12,
        title="Capacity",
        texts=[said("p12.windows"), *stressed.texts(c.stressed, c.profile.stress_factor, _recorded(c))],
        tables=[*([table] if rows else []), *([stressed.table(c.stressed)] if c.stressed else [])],
        figures=[],
        missing=missing if rows else ["No message was taken in.", *missing],
    )
