"""Part 8: blocks, commands and what they did, changes of limits, overrides, throttles."""

from __future__ import annotations

from engine.io.journal_format import Kind
from engine.record.records import ControlAction, Reason, RiskRule, Scope, Template
from replay.compliance.context import Context
from replay.compliance.document import Cell, Column, Part, Table, column
from replay.compliance.rare import MOST
from replay.compliance.tally import Array
from replay.compliance.texts import said
from replay.compliance.told import WHERE, each, instrument_name, where
from replay.decode import reason_name

_IN, _OUT = Kind.INPUT, Kind.OUTPUT
T = Template


def controls(c: Context) -> Part:
    """Part 8."""
    blocks, commands, changes, answers = _blocks(c), _commands(c), _changes(c), _answers(c)
    named = ((blocks, "p8.no_block"), (commands, "p8.no_command"), (changes, "p8.no_change"))
    missing = [said(key) for table, key in named if not table.rows]
    tables = [table for table in (blocks, _blocked(c), commands, answers, changes, _throttles(c)) if table.rows]
    return Part(
        number=8,
        title="Controls, throttles, overrides, kills",
        texts=[said("p8.counted", most=f"{MOST:,}")],
        tables=tables,
        figures=[],
        missing=missing if tables else [said("p8.none")],
    )


def _blocks(c: Context) -> Table:
    counts = c.tally["blocks"]
    return Table(
        id="8.1",
        title="Orders blocked, by rule",
        columns=[
            column("rule", "rule", "text", "the rule of the risk gate"),
            column("n", "n", "int", "orders that it blocked"),
        ],
        rows=[[reason_name(n, RiskRule), int(counts[n])] for n in range(len(counts)) if counts[n]],
        source=c.source(),
    )


def _blocked(c: Context) -> Table:
    rows: list[list[Cell]] = []
    for r, kept in each(c, _OUT, T.RISK_BLOCK):
        for n in range(min(len(kept.rows), 200)):
            row = kept.rows[n]
            name = instrument_name(r.config, int(row["instrument_id"]))
            rule = reason_name(int(row["rule"]), RiskRule)
            rows.append([*where(r, kept, n), rule, name, int(row["order_id"]), int(row["value"]), int(row["limit"])])
    return Table(
        id="8.2",
        title="Blocks, the first 200 a run",
        columns=[
            *WHERE,
            column("rule", "rule", "text", "the rule"),
            column("instrument", "instrument", "text", "the instrument"),
            column("order_id", "order", "int", "the order's id"),
            column("value", "value", "int", "what broke the rule, in the rule's unit"),
            column("limit", "limit", "int", "the limit"),
        ],
        rows=rows,
        source=c.source(),
    )


_WHOM: list[Column] = [
    column("scope", "scope", "text", "whom it concerns"),
    column("target", "target", "int", "what the scope means; empty where it is all"),
    column("actor", "actor", "int", "uid of who gave it, as the driver saw it"),
    column("second", "second person", "int", "uid of the second person, where two are needed"),
]


def _whom(row: Array) -> list[Cell]:
    scope = int(row["scope"])
    names = {Scope.CLIENT: "client_id", Scope.INSTRUMENT: "instrument_id", Scope.VENUE: "venue_id"}
    field = names.get(Scope(scope), "target") if scope in list(Scope) else "target"
    target = int(row[field]) if field in (row.dtype.names or ()) else int(row["target"])
    second = int(row["actor_2"]) if "actor_2" in (row.dtype.names or ()) else 0
    return [reason_name(scope, Scope), target if scope else None, int(row["actor_id"]), second or None]


def _commands(c: Context) -> Table:
    rows: list[list[Cell]] = []
    for template in (T.CONTROL, T.MASS_CANCEL):
        for r, kept in each(c, _IN, template):
            for n in range(len(kept.rows)):
                row = kept.rows[n]
                what = reason_name(int(row["action"]), ControlAction) if template == T.CONTROL else "mass cancel"
                expires = int(row["expires_ns"]) or None if template == T.CONTROL else None
                rows.append([*where(r, kept, n), what, *_whom(row), expires, int(row["request_id"])])
    rows.sort(key=lambda row: (str(row[0]), int(row[1] or 0)))
    return Table(
        id="8.3",
        title="Commands",
        columns=[
            *WHERE,
            column("what", "command", "text", "what was asked for"),
            *_WHOM,
            column("expires", "ends", "time", "when it ends by itself; empty: never"),
            column("request_id", "request", "int", "its number"),
        ],
        rows=rows,
        source=c.source(),
    )


def _answers(c: Context) -> Table:
    rows: list[list[Cell]] = []
    for r, kept in each(c, _OUT, T.CONTROL_REPORT):
        for n in range(len(kept.rows)):
            row = kept.rows[n]
            begin = int(row["command_ns"])
            spans = [int(row[name]) - begin if row[name] else None for name in ("last_cancel_ns", "last_ack_ns")]
            action = int(row["action"])
            what = reason_name(action, ControlAction) if action else f"limit {reason_name(int(row['rule']), RiskRule)}"
            refused = reason_name(int(row["reason"]), Reason) if row["reason"] else None
            rows.append(
                [
                    *where(r, kept, n), int(row["request_id"]), what, *_whom(row), refused,
                    "final" if row["finished"] else "first", int(row["live_children"]), int(row["cancels"]),
                    int(row["acknowledged"]), int(row["fills_after"]), begin or None, *spans,
                ]
            )  # fmt: skip
    return Table(
        id="8.4",
        title="What commands did",
        columns=[
            *WHERE,
            column("request_id", "request", "int", "the command's number"),
            column("what", "command", "text", "the command"),
            *_WHOM,
            column("refused", "refused", "text", "why it was refused; empty where it was done"),
            column("report", "report", "text", "first: when it was taken in; final: when all its orders had ended"),
            column("live", "live", "int", "orders in its scope that lived at venues when it came"),
            column("cancels", "cancels", "int", "cancels sent for it"),
            column("acknowledged", "ended", "int", "of those orders, ended by then"),
            column("fills_after", "fills after", "int", "executions on them after the command"),
            column("command", "taken in", "time", "when it was taken in"),
            column("to_cancel_ns", "to last cancel", "ns", "from there to the last cancel made"),
            column("to_ack_ns", "to last end", "ns", "from there to the end of the last of those orders"),
        ],
        rows=rows,
        source=c.source(),
    )


def _changes(c: Context) -> Table:
    rows: list[list[Cell]] = []
    for r, kept in each(c, _IN, T.LIMIT_CHANGE):
        for n in range(len(kept.rows)):
            row = kept.rows[n]
            rule = reason_name(int(row["rule"]), RiskRule)
            kind = "override" if row["expires_ns"] else "change"
            values = [int(row["old_value"]), int(row["value"]), int(row["expires_ns"]) or None]
            rows.append([*where(r, kept, n), kind, rule, *_whom(row), *values])
    return Table(
        id="8.5",
        title="Changes of limits and overrides",
        columns=[
            *WHERE,
            column("kind", "kind", "text", "override: it ends by itself, and takes two people"),
            column("rule", "rule", "text", "the rule"),
            *_WHOM,
            column("old", "from", "int", "the limit before, in the rule's unit"),
            column("new", "to", "int", "the new limit"),
            column("expires", "ends", "time", "when an override ends"),
        ],
        rows=rows,
        source=c.source(),
    )


_LATCHES = {Reason.THROTTLED, Reason.LIMIT_CHANGED, Reason.OVERRIDE_EXPIRED, Reason.KILLED}


def _throttles(c: Context) -> Table:
    rows: list[list[Cell]] = []
    for r, kept in each(c, _OUT, T.ALERT):
        for n in range(len(kept.rows)):
            if int(kept.rows[n]["code"]) in _LATCHES:
                row = kept.rows[n]
                rows.append([*where(r, kept, n), reason_name(int(row["code"]), Reason), int(row["value"])])
    return Table(
        id="8.6",
        title="Throttles latched, overrides ended",
        columns=[
            *WHERE,
            column("what", "what", "text", "what happened; a throttle is taken off by the command enable in table 8.3"),
            column("value", "value", "int", "what the alert carries"),
        ],
        rows=rows,
        source=c.source(),
    )
