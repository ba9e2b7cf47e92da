"""Part 7: sessions, gaps, outages, stale books, orders in flight, halts, refusals."""

from __future__ import annotations

from engine.io.journal_format import Kind
from engine.record.records import Reason, Template
from replay.compliance import tally as y
from replay.compliance.context import Context
from replay.compliance.document import Cell, Part, Table, column
from replay.compliance.rare import MOST
from replay.compliance.tally import Array
from replay.compliance.texts import said
from replay.compliance.told import WHERE, each, in_order, instrument_name, session_name, where
from replay.decode import reason_name, template_name

_IN, _OUT = Kind.INPUT, Kind.OUTPUT
T = Template


def gaps(c: Context) -> Part:
    """Part 7."""
    tables = [_sessions(c), _alerts(c), _feeds(c), _stale(c), _halts(c), _refusals(c)]
    full = [table for table in tables if table.rows]
    return Part(
        number=7,
        title="Gaps, outages, stale books, orders in flight",
        texts=[said("p7.in_flight")],
        tables=full,
        figures=[],
        missing=[] if full else [said("p7.none")],
    )


def _sessions(c: Context) -> Table:
    rows: list[list[Cell]] = []
    for template, what in ((T.SESSION_DOWN, "down"), (T.SESSION_UP, "up"), (T.SEQUENCE_RESET, "sequence reset")):
        for r, kept in each(c, _IN, template):
            for n in range(len(kept.rows)):
                row = kept.rows[n]
                reason = reason_name(int(row["reason"]), Reason) if template != T.SESSION_UP else None
                name = session_name(r.config, int(row["stream_id"]))
                rows.append([*where(r, kept, n), name, what, reason, int(kept.live[n])])
    rows.sort(key=in_order)
    return Table(
        id="7.1",
        title="Sessions",
        columns=[
            *WHERE,
            column("session", "session", "text", "the session by its name in the configuration"),
            column("what", "what", "text", "up, down, or numbers that were given up"),
            column("reason", "reason", "text", "why"),
            column("in_flight", "orders in flight", "int", "orders live at the session's venues when it came"),
        ],
        rows=rows,
        source=c.source(),
        note=said("p8.counted", most=f"{MOST:,}"),
    )


_OUTAGES = {
    Reason.SEQUENCE_GAP, Reason.PEER_SILENT, Reason.PEER_RESTARTED, Reason.VENUE_DOWN, Reason.STALE_FEED,
    Reason.RECORDS_GONE, Reason.DISK_FULL, Reason.DISK_ERROR, Reason.RECOVERED, Reason.UNKNOWN_CHILD,
}  # fmt: skip


def _alerts(c: Context) -> Table:
    rows: list[list[Cell]] = []
    for r, kept in each(c, _OUT, T.ALERT):
        for n in range(len(kept.rows)):
            row = kept.rows[n]
            if int(row["code"]) in _OUTAGES:
                name = reason_name(int(row["code"]), Reason)
                rows.append([*where(r, kept, n), name, int(row["order_id"]), int(row["value"])])
    return Table(
        id="7.2",
        title="Gaps and outages",
        columns=[
            *WHERE,
            column("what", "what", "text", "what was noticed"),
            column("about", "about", "int", "order, or how many records are missing"),
            column("value", "value", "int", "what the alert carries"),
        ],
        rows=rows,
        source=c.source(),
        note=said("p8.counted", most=f"{MOST:,}"),
    )


def _feeds(c: Context) -> Table:
    rows: list[list[Cell]] = []
    for template in (T.CLEAR, T.INSTRUMENT_STATUS):
        for r, kept in each(c, _IN, template):
            for n in range(min(len(kept.rows), 200)):
                row = kept.rows[n]
                venue = int(row["venue_id"])
                mic = r.config.venue[venue].mic if 0 <= venue < len(r.config.venue) else None
                what = "books void" if template == T.CLEAR else _STATUS.get(int(row["status"]), str(int(row["status"])))
                name = instrument_name(r.config, int(row["instrument_id"]))
                rows.append([*where(r, kept, n), mic, name, what, reason_name(int(row["reason"]), Reason)])
    return Table(
        id="7.3",
        title="Books void, halts and auctions",
        columns=[
            *WHERE,
            column("venue", "venue", "text", "the venue"),
            column("instrument", "instrument", "text", "the instrument"),
            column("what", "what", "text", "what its feed said"),
            column("reason", "reason", "text", "why"),
        ],
        rows=rows,
        source=c.source(),
        note="The first 200 of a kind a run.",
    )


_STATUS = {0: "open", 1: "halted", 2: "closed", 3: "auction"}


def _stale(c: Context) -> Table:
    decisions = int(c.tally["outcomes"].sum())
    stale, none = (int(c.tally["checks"][k]) for k in (y.C_STALE_VENUES, y.C_NO_FRESH))
    rows: list[list[Cell]] = [
        ["decisions", decisions, None],
        ["with a venue whose quote was too old", stale, stale / decisions if decisions else None],
        ["with no fresh venue", none, none / decisions if decisions else None],
    ]
    return Table(
        id="7.4",
        title="Stale books at decisions",
        columns=[
            column("what", "what", "text", "decisions of the routing strategy"),
            column("n", "n", "int", "how many"),
            column("share", "share", "share", "of all decisions"),
        ],
        rows=rows if decisions else [],
        source=c.source(),
    )


def _halts(c: Context) -> Table:
    rows: list[list[Cell]] = []
    for r, kept in each(c, Kind.OBSERVATION, T.HALTED):
        for n in range(len(kept.rows)):
            row = kept.rows[n]
            why = reason_name(int(row["reason"]), Reason)
            rows.append([*where(r, kept, n), "halted itself", why, int(row["live_children"])])
    for kind in (Kind.RECOVERED, Kind.INPUT):
        for r, kept in each(c, kind, T.RECOVERED):
            for n in range(len(kept.rows)):
                torn = f"{int(kept.rows[n]['torn_bytes']):,} torn bytes set aside"
                rows.append([*where(r, kept, n), "recovered", torn, None])
    for r, kept in each(c, _OUT, T.FAILURE):
        for n in range(len(kept.rows)):
            why = reason_name(int(kept.rows[n]["reason"]), Reason)
            rows.append([*where(r, kept, n), "workflow failed", why, None])
    return Table(
        id="7.5",
        title="Halts, recoveries and failures",
        columns=[
            *WHERE,
            column("what", "what", "text", "what happened"),
            column("why", "why", "text", "why, or what was set aside"),
            column("in_flight", "orders in flight", "int", "orders live at venues then"),
        ],
        rows=rows,
        source=c.source(),
    )


def _refusals(c: Context) -> Table:
    counts: Array = c.tally["refusals"].reshape(-1, y.REASONS)
    rows: list[list[Cell]] = [
        [template_name(template), reason_name(reason, Reason), int(counts[template, reason])]
        for template in range(len(counts))
        for reason in range(y.REASONS)
        if counts[template, reason]
    ]
    return Table(
        id="7.6",
        title="Refused inputs",
        columns=[
            column("record", "record", "text", "kind of record"),
            column("reason", "reason", "text", "why it was refused"),
            column("n", "n", "int", "how many"),
        ],
        rows=sorted(rows, key=lambda row: (-int(row[2] or 0), str(row[0]), str(row[1]))),
        source=c.source(),
    )
