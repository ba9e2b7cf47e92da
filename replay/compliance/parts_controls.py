"""Part 8: blocks, commands and what they did, changes of limits, overrides, throttles, how far limits were used.

Names are those of the run's configuration, amounts are in the unit in which they are set (`replay.wording`); the
records' own numbers are beside them in the forms for programs.
"""

from __future__ import annotations

from typing import Any, Final

from engine.io.journal_format import Kind
from engine.record.records import NOBODY, Reason, RiskRule, Scope, Template
from engine.run.amounts import amount_of
from engine.run.config import Config
from engine.run.config_risk import OFF
from engine.run.control import ANY_VALUE
from replay.compliance.beside import CONTROL, ControlLine
from replay.compliance.context import Context, of
from replay.compliance.document import RAW, Cell, Column, Part, Table, column
from replay.compliance.rare import MOST, Kept
from replay.compliance.runs import RunFacts
from replay.compliance.texts import listed, said
from replay.compliance.told import WHERE, each, in_order, instrument_name, session_name, where
from replay.decode import reason_name
from replay.wording import (
    block_texts,
    command_name,
    person,
    qty_decimals,
    rule_name,
    target_name,
    target_of,
    unit_of,
)

_IN, _OUT = Kind.INPUT, Kind.OUTPUT
T = Template
#: Switches of [risk] that are no limits.
PROTECTIONS: Final = ("trade_through", "locked_crossed")
#: Blocks that table 8.2 lists of a run.
BLOCKS: Final = 200


def controls(c: Context) -> Part:
    """Part 8."""
    blocks, commands, changes, peaks = _blocks(c), _commands(c), _changes(c), _peaks(c)
    named = ((blocks, "p8.no_block"), (commands, "p8.no_command"), (changes, "p8.no_change"))
    missing = [said(key) for table, key in named if not table.rows]
    every = (blocks, _blocked(c), commands, _answers(c), changes, _throttles(c), peaks, _refused(c))
    tables = [table for table in every if table.rows]
    if not any(table is not peaks for table in tables):
        missing = [said("p8.none")]
    missing += _unprotected(c)
    silent = [r.label for r in c.runs if CONTROL not in r.beside.logs]
    if silent:
        missing.append(said("p8.no_log", runs=listed(silent)))
    without = [r.label for r, replayed in zip(c.runs, c.replayed, strict=True) if replayed is None or replayed.note]
    if without:
        missing.append(said("p8.no_peaks", runs=listed(without)))
    elif not peaks.rows:
        missing.append(said("p8.no_peak"))
    return Part(
        number=8,
        title="Controls, throttles, overrides, kills",
        texts=[said("p8.counted", most=f"{MOST:,}"), said("p8.delay")],
        tables=tables,
        figures=[],
        missing=missing,
    )


def _unprotected(c: Context) -> list[str]:
    """Runs in which a rule on protected quotations was off, by rule."""
    found = [(key, [r.label for r in c.runs if getattr(r.config.risk, key) == OFF]) for key in PROTECTIONS]
    return [said("p8.unprotected", runs=listed(runs), rule=key) for key, runs in found if runs]


def _blocks(c: Context) -> Table:
    counts = c.tally["blocks"]
    return Table(
        id="8.1",
        title="Orders blocked, by rule",
        columns=[
            column("rule", "rule", "text", "the rule of the risk gate"),
            column("n", "n", "int", "orders that it blocked"),
        ],
        rows=[[rule_name(n), int(counts[n])] for n in range(len(counts)) if counts[n]],
        source=c.source(),
    )


def _blocked(c: Context) -> Table:
    rows: list[list[Cell]] = []
    for r, kept in each(c, _OUT, T.RISK_BLOCK):
        for n in range(min(len(kept.rows), BLOCKS)):
            row = kept.rows[n]
            rule, name = int(row["rule"]), instrument_name(r.config, int(row["instrument_id"]))
            value, limit = (text or None for text in block_texts(r.config, row))
            rows.append(
                [
                    *where(r, kept, n), rule_name(rule), name, int(row["order_id"]), value, limit,
                    unit_of(rule) or None, int(row["value"]), int(row["limit"]),
                ]
            )  # fmt: skip
    return Table(
        id="8.2",
        title=f"Blocks, the first {BLOCKS} a run",
        columns=[
            *WHERE,
            column("rule", "rule", "text", "the rule"),
            column("instrument", "instrument", "text", "the instrument"),
            column("order_id", "order", "int", "the order's id"),
            column("value", "value", "text", "what broke the rule, in the unit of the rule; of collars a price"),
            column("limit", "limit", "text", "what the rule allowed"),
            _UNIT,
            column("value_units", "value", RAW, "what broke the rule, as the record has it"),
            column("limit_units", "limit", RAW, "the limit, as the record has it"),
        ],
        rows=rows,
        source=c.source(),
    )


_UNIT: Final = column("unit", "unit", "text", "the unit of both, where they have one")
_WHOM: Final[list[Column]] = [
    column("scope", "scope", "text", "whom it concerns"),
    column("target", "target", "text", "what the scope means: a MIC, a symbol, a session's name, or a number"),
    column(
        "actor",
        "actor",
        "text",
        "who gave it, as the driver saw it: the name in the configuration and the uid, a session, the engine",
    ),
    column("second", "second person", "text", "the second person, where two are needed"),
    column("target_index", "target", RAW, "the index of the target, as the record has it"),
    column("actor_uid", "actor", RAW, "uid of who gave it"),
    column("second_uid", "second person", RAW, "uid of the second person"),
]


def _whom(config: Config, row: Any) -> list[Cell]:
    """Cells of _WHOM."""
    scope, target, actor = int(row["scope"]), target_of(row), int(row["actor_id"])
    fields = row.dtype.names or ()
    second = int(row["actor_2"]) if "actor_2" in fields else NOBODY
    who = "the engine" if actor == NOBODY else person(config, actor)
    if int(row["stream_id"]) >= 0:  # a client's own, over its session
        who = f"session {session_name(config, int(row['stream_id']))}"
    return [
        reason_name(scope, Scope), target_name(config, scope, target) or None, who,
        None if second == NOBODY else person(config, second), target if scope else None,
        None if actor == NOBODY else actor, None if second == NOBODY else second,
    ]  # fmt: skip


def _commands(c: Context) -> Table:
    rows: list[list[Cell]] = []
    for template in (T.CONTROL, T.MASS_CANCEL):
        for r, kept in each(c, _IN, template):
            for n in range(len(kept.rows)):
                row = kept.rows[n]
                what = command_name(int(row["action"]), 0) if template == T.CONTROL else "mass cancel"
                expires = int(row["expires_ns"]) or None if template == T.CONTROL else None
                rows.append([*where(r, kept, n), what, *_whom(r.config, row), expires, int(row["request_id"])])
    rows.sort(key=in_order)
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
            what = command_name(int(row["action"]), int(row["rule"]))
            refused = reason_name(int(row["reason"]), Reason) if row["reason"] else None
            rows.append(
                [
                    *where(r, kept, n), int(row["request_id"]), what, *_whom(r.config, row), refused,
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
            column("to_cancel_ns", "to last cancel", "ns", "from there to the last cancel: the wait of a paced one"),
            column("to_ack_ns", "to last end", "ns", "from there to the end of the last of those orders"),
        ],
        rows=rows,
        source=c.source(),
    )


def _answer(r: RunFacts, request_id: int, seq: int) -> Any:
    """The CONTROL_REPORT to a change of a limit: the first behind it with its number; None where there is none."""
    kept = r.kept(_OUT, T.CONTROL_REPORT)
    if kept is None:
        return None
    mine = (kept.rows["request_id"] == request_id) & (kept.rows["action"] == 0) & (kept.seq > seq)
    return kept.rows[mine.argmax()] if mine.any() else None


def _outcome(answer: Any) -> tuple[int | None, str]:
    """(the value before, None where the answer does not say it; what became of the change)."""
    if answer is None:
        return None, said("p8.no_answer")
    reason, before = int(answer["reason"]), int(answer["old_value"])
    told = f"refused: {reason_name(reason, Reason)}" if reason else "made"
    return before if before != ANY_VALUE else None, told


def _changes(c: Context) -> Table:
    rows: list[list[Cell]] = []
    for r, kept in each(c, _IN, T.LIMIT_CHANGE):
        rows += [_change(r, kept, n) for n in range(len(kept.rows))]
    return Table(
        id="8.5",
        title="Changes of limits and overrides",
        columns=[
            *WHERE,
            column("kind", "kind", "text", "override: it ends by itself, and takes two people"),
            column("rule", "rule", "text", "the rule"),
            *_WHOM,
            column("outcome", "outcome", "text", "made or refused, as the engine answered"),
            column("old", "from", "text", "the limit before, as the answer has it; empty where it does not say"),
            column("new", "to", "text", "the new limit; of a refused change the one that was asked for"),
            _UNIT,
            column("expires", "ends", "time", "when an override ends"),
            column("old_units", "from", RAW, "the limit before, in the units of the record"),
            column("new_units", "to", RAW, "the new limit, in the units of the record"),
            column("request_id", "request", RAW, "its number"),
        ],
        rows=rows,
        source=c.source(),
    )


def _change(r: RunFacts, kept: Kept, n: int) -> list[Cell]:
    row = kept.rows[n]
    rule, request_id, value = int(row["rule"]), int(row["request_id"]), int(row["value"])
    old, outcome = _outcome(_answer(r, request_id, int(kept.seq[n])))
    digits = qty_decimals(r.config, int(row["instrument_id"]))
    before = amount_of(rule, old, digits) if old is not None else None
    return [
        *where(r, kept, n), "override" if row["expires_ns"] else "change", rule_name(rule), *_whom(r.config, row),
        outcome, before, amount_of(rule, value, digits), unit_of(rule) or None, int(row["expires_ns"]) or None,
        old, value, request_id,
    ]  # fmt: skip


_LATCHES: Final = {Reason.THROTTLED, Reason.LIMIT_CHANGED, Reason.OVERRIDE_EXPIRED, Reason.KILLED}


def _throttles(c: Context) -> Table:
    rows: list[list[Cell]] = []
    for r, kept in each(c, _OUT, T.ALERT):
        for n in range(len(kept.rows)):
            row = kept.rows[n]
            code, value = int(row["code"]), int(row["value"])
            if code not in _LATCHES:
                continue
            about: str | None = None
            if code == Reason.THROTTLED:
                about = f"strategy {value}"
            elif code == Reason.KILLED:
                about = "on" if value else "off"
            elif int(row["instrument_id"]) >= 0:
                about = instrument_name(r.config, int(row["instrument_id"]))
            rows.append([*where(r, kept, n), reason_name(code, Reason), about, value])
    return Table(
        id="8.6",
        title="Throttles latched, overrides ended, kill flags set",
        columns=[
            *WHERE,
            column("what", "what", "text", "what happened; a throttle is taken off by the command enable in table 8.3"),
            column("about", "about", "text", "the strategy, the instrument, or whether the kill flag is on"),
            column("value", "value", RAW, "what the alert carries"),
        ],
        rows=rows,
        source=c.source(),
    )


def _peaks(c: Context) -> Table:
    rows: list[list[Cell]] = []
    source = []
    for r, replayed in zip(c.runs, c.replayed, strict=True):
        if replayed is None or replayed.note:
            continue
        source.append(of(r))
        for peak in replayed.peaks:
            rule, digits = RiskRule[peak.rule], qty_decimals(r.config, peak.instrument)
            limit = amount_of(rule, peak.limit, digits) if peak.limit is not None else "off"
            share = peak.peak / peak.limit if peak.limit else None
            rows.append(
                [
                    r.label, rule_name(rule), peak.whom, amount_of(rule, peak.peak, digits), limit, unit_of(rule),
                    share, peak.peak, peak.limit,
                ]
            )  # fmt: skip
    return Table(
        id="8.7",
        title="Peak utilisation of limits",
        columns=[
            column("run", "run", "text", "the run"),
            column("rule", "rule", "text", "the rule"),
            column("whom", "whom", "text", "session, strategy, instrument, or account and instrument or currency"),
            column("peak", "peak", "text", "the most at any time, with what worked at venues counted before the send"),
            column("limit", "limit", "text", "the limit at the run's end; off: there was none"),
            _UNIT,
            column("share", "of the limit", "share", "peak of that limit; above 1 where a limit was lowered below it"),
            column("peak_units", "peak", RAW, "the peak in the rule's own units"),
            column("limit_units", "limit", RAW, "the limit in the rule's own units"),
        ],
        rows=rows,
        source=source,
        note=said("p8.peaks"),
    )


def _refused(c: Context) -> Table:
    """What never reached the engine: the control channel turned it away."""
    rows: list[list[Cell]] = []
    for r in c.runs:
        for line in refusals(r)[:MOST]:
            command = str(line.request.get("command", "")) or None
            cells = [line.refused, line.text or None, line.peer or None, line.person or None]
            rows.append([r.label, line.seq, line.realtime_ns or None, command, *cells])
    return Table(
        id="8.8",
        title="Commands refused before they reached the engine",
        columns=[
            column("run", "run", "text", "the run"),
            column("line", "line", "int", "line of control.log"),
            column("time", "time", "time", "when it came, UTC"),
            column("what", "command", "text", "what was asked for; empty where it could not be read"),
            column("why", "why", "text", "why it was refused"),
            column("text", "in words", "wide", "what was wrong with it"),
            column("peer", "peer", "wide", "who sent it, as the kernel or the key says"),
            column("person", "person", "text", "who that is in the configuration; empty where nobody is"),
        ],
        rows=rows,
        source=[of(r) for r in c.runs if refusals(r)],
        note=said("p8.refused", most=f"{MOST:,}"),
    )


def refusals(r: RunFacts) -> list[ControlLine]:
    """Lines of a run's control.log that tell of a refusal."""
    return [line for line in r.beside.control if line.refused]
