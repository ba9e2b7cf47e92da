"""Alerts that the journal tells of: what the core blocked, refused and alerted, what venues rejected, what stopped.

A table says which record is which alert. Records of one chunk that are the same thing are grouped before anything is
said of them, so that a flood of a million refusals is a few hundred array operations and not a million objects.

Worst case: a chunk whose records all differ in code or subject: some microseconds each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np

from engine.io.journal_format import Kind
from engine.io.journal_reader import Chunk
from engine.record.records import ControlAction, Reason, RiskRule, Template
from replay.watch.events import Event, Severity
from replay.watch.names import Names, UtcClock
from replay.watch.tail import Array, records

T = Template
R = Reason
#: Templates of inputs by their numbers, -1 where one is not known.
Causes = Callable[[Array], Array]
#: Up to which number the events of a source and key were told; -1: none.
Covered = Callable[[str, tuple[str, str, str]], int]
_INFO, _WARNING, _CRITICAL = Severity.INFO, Severity.WARNING, Severity.CRITICAL


class Rule(NamedTuple):
    """How a record becomes an alert: `code` is the field of its code, `subject` that which names what it is about."""

    kind: str
    code: str
    names: type[IntEnum]
    severity: Severity
    subject: str
    value: str = ""
    limit: str = ""
    time: str = "ts_event_ns"


_SESSION: Final = "stream_id"
#: (kind of frame, template) -> its rule.
RULES: Final[dict[tuple[Kind, Template], Rule]] = {
    (Kind.OUTPUT, T.RISK_BLOCK): Rule("limit", "rule", RiskRule, _WARNING, "instrument_id", "value", "limit"),
    (Kind.OUTPUT, T.REFUSAL): Rule("refusal", "reason", R, _WARNING, "", "value", "limit"),
    (Kind.OUTPUT, T.ALERT): Rule("alert", "code", R, _WARNING, "instrument_id", "value"),
    (Kind.OUTPUT, T.REJECT): Rule("reject", "reason", R, _INFO, _SESSION),
    (Kind.INPUT, T.REJECT): Rule("reject", "reason", R, _WARNING, "venue_id", time="ts_recv_ns"),
    (Kind.INPUT, T.CANCEL_REJECT): Rule("reject", "reason", R, _WARNING, "venue_id", time="ts_recv_ns"),
    (Kind.INPUT, T.CONTROL): Rule("kill", "action", ControlAction, _CRITICAL, "", "actor_id", time="ts_recv_ns"),
    (Kind.INPUT, T.MASS_CANCEL): Rule("kill", "template_id", T, _WARNING, _SESSION, "actor_id", time="ts_recv_ns"),
    (Kind.INPUT, T.LIMIT_CHANGE): Rule("control", "rule", RiskRule, _WARNING, "", "value", "old_value", "ts_recv_ns"),
    (Kind.OUTPUT, T.CONTROL_REPORT): Rule("control", "reason", R, _WARNING, "", "value", "old_value"),
    (Kind.INPUT, T.MALFORMED): Rule("refusal", "reason", R, _WARNING, "", "length", time="ts_recv_ns"),
    (Kind.OBSERVATION, T.SEND_RESULT): Rule("send", "template_id", T, _WARNING, "session_id", "error"),
    (Kind.OBSERVATION, T.HALTED): Rule("halt", "reason", R, _CRITICAL, "", "live_children"),
}
_ALERT_KINDS: Final = {
    R.SEQUENCE_GAP: ("gap", _WARNING),
    R.PEER_SILENT: ("session", _WARNING),
    R.PEER_RESTARTED: ("session", _WARNING),
    R.KILLED: ("kill", _CRITICAL),
    R.BROKEN_INVARIANT: ("halt", _CRITICAL),
    R.OVERFILL: ("overfill", _CRITICAL),
    R.UNKNOWN_CHILD: ("unknown", _CRITICAL),
    R.UNKNOWN_EXEC: ("unknown", _CRITICAL),
    R.STEP_FAILED: ("failure", _CRITICAL),
    R.THROTTLED: ("throttle", _CRITICAL),
    R.LIMIT_CHANGED: ("control", _WARNING),
    R.OVERRIDE_EXPIRED: ("control", _WARNING),
    R.RECOVERED: ("recovery", _WARNING),
    R.DAY_END: ("day", _INFO),
    R.BUSTED: ("bust", _WARNING),
    R.CORRECTED: ("bust", _WARNING),
    R.UNSOLICITED: ("reject", _WARNING),
    R.ORDER_TERMINAL: ("late fill", _WARNING),
}
#: Rules that limit how fast something may be done.
_RATES: Final = {
    RiskRule.SESSION_RATE, RiskRule.STRATEGY_RATE, RiskRule.INSTRUMENT_RATE, RiskRule.REPEATED_EXECUTION,
    RiskRule.CANCELS_FIRST,
}  # fmt: skip
#: What stops an engine, or lets it go on; other controls are of one order, or of a strategy.
_KILLS: Final = {ControlAction.KILL_ON, ControlAction.KILL_OFF, ControlAction.STOP}
#: What counts as market data among the causes of an alert.
_FEED_TEMPLATES: Final = 16


def told_as(rule: Rule, template: Template, number: int) -> tuple[str, str, Severity]:
    """Kind, code and severity of the alert that a record becomes; `number` is what the field of its code holds."""
    code = rule.names(number).name if number in list(rule.names) else str(number)
    kind, severity = rule.kind, rule.severity
    if template == T.ALERT:
        kind, severity = _ALERT_KINDS.get(R(number) if number in list(R) else R.NONE, (kind, severity))
    elif template == T.RISK_BLOCK:
        kind, severity = _block(number)
    elif template == T.CONTROL and number not in _KILLS:
        kind, severity = "control", _INFO
    elif template == T.MASS_CANCEL or template == T.SEND_RESULT:
        code = template.name
    return kind, code, severity


class JournalAlerts:
    """Reads alerts out of chunks. `names` and `clock` are the run's."""

    def __init__(self, names: Names, clock: UtcClock) -> None:
        self._names, self._clock = names, clock
        #: Template of the last input, for alerts whose cause is in the chunk before.
        self.causes: dict[int, int] = {}

    def look(self, chunk: Chunk, found: Array, covered: Covered) -> Iterator[Event]:
        """The events of a chunk, in no order; `found` are its templates (`tail.templates`).

        `covered` says up to which frame those of a key were told before: they are left out.
        """
        self._samples(chunk, found)
        kinds = chunk.rows["kind"]
        causes = self._inputs(chunk, found)
        for (kind, template), rule in RULES.items():
            rows = np.flatnonzero((found == template) & (kinds == kind))
            if (
                template == T.CONTROL_REPORT and rows.size
            ):  # what was done, its input tells; this tells what was refused
                rows = rows[records(chunk, rows, template)["reason"] != 0]
            if rows.size:
                yield from self._group(chunk, rows, template, rule, causes, covered)

    def _samples(self, chunk: Chunk, found: Array) -> None:
        rows = np.flatnonzero(found == T.CLOCK_SAMPLE)
        rows = rows[chunk.rows["kind"][rows] == Kind.OBSERVATION]
        if rows.size:
            last = records(chunk, rows[-1:], T.CLOCK_SAMPLE)[0]
            self._clock.sample(int(last["clock_ns"]), int(last["realtime_ns"]))

    def _inputs(self, chunk: Chunk, found: Array) -> Causes:
        """Templates of inputs by number: of this chunk, or the last of the one before; -1 where it is neither."""
        rows = np.flatnonzero(chunk.rows["kind"] == Kind.INPUT)
        seqs, kinds, before = chunk.rows["seq"][rows], found[rows], self.causes
        if rows.size:
            self.causes = {int(seqs[-1]): int(kinds[-1])}

        def templates_of(causes: Array) -> Array:
            told = np.array([before.get(seq, -1) for seq in causes.tolist()], dtype=np.int64)
            if len(seqs):
                at = np.minimum(np.searchsorted(seqs, causes), len(seqs) - 1)
                told = np.where(seqs[at] == causes, kinds[at], told)
            return told

        return templates_of

    def _group(
        self, chunk: Chunk, rows: Array, template: Template, rule: Rule, causes: Causes, covered: Covered
    ) -> Iterator[Event]:
        """One event for all records of the same code and subject."""
        data = records(chunk, rows, template)
        keys = np.zeros((len(rows), 4), dtype=np.int64)
        cause = np.full(len(rows), -1, dtype=np.int64)
        keys[:, 0] = data[rule.code]
        if rule.subject:
            keys[:, 1] = data[rule.subject]
        if template == T.ALERT:
            # Most say what they are about in `value` and have no instrument.
            keys[:, 1] = np.where(data["instrument_id"] >= 0, data["instrument_id"], -1)
            keys[:, 2] = np.where(data["instrument_id"] >= 0, 0, data["value"])
            cause = causes(chunk.rows["input_seq"][rows])
            keys[:, 3] = (cause > 0) & (cause < _FEED_TEMPLATES)
        _, inverse = np.unique(keys, axis=0, return_inverse=True)
        seqs, inverse = chunk.rows["seq"][rows], inverse.reshape(-1)
        for members in np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1]):
            first = int(members[0])
            event = self._event(data[first], template, rule, int(cause[first]))
            new = members[seqs[members] > covered("journal", event.key)]
            if not new.size:
                continue
            if int(new[0]) != first:
                event = self._event(data[int(new[0])], template, rule, int(cause[int(new[0])]))
            yield event._replace(
                first=int(seqs[new[0]]),
                last=int(seqs[new[-1]]),
                last_event_ns=self._utc(data[int(new[-1])], rule),
                times=len(new),
            )

    def _utc(self, record: Any, rule: Rule) -> int:
        return self._clock.utc_ns(int(record[rule.time]))

    def _event(self, record: Any, template: Template, rule: Rule, cause: int) -> Event:
        number = int(record[rule.code])
        kind, code, severity = told_as(rule, template, number)
        subject = self._subject(record, rule)
        value = int(record[rule.value]) if rule.value else None
        fields = record.dtype.names
        if template == T.ALERT:
            subject = self._about(number, record, cause) or subject
            value = int(record["order_id"]) if _counts_lost(number, template) else value
        event_ns = self._utc(record, rule)
        instrument = self._names.instrument(int(record["instrument_id"])) if "instrument_id" in fields else ""
        limit = int(record[rule.limit]) if rule.limit else None
        return Event(
            kind=kind,
            code=code,
            severity=severity,
            subject=subject,
            text=_text(kind, code, subject, template, value, limit),
            source="journal",
            first=0,
            last=0,
            event_ns=event_ns,
            last_event_ns=event_ns,
            clock_ns=int(record[rule.time]),
            order_id=int(record["order_id"]) if "order_id" in fields and not _counts_lost(number, template) else 0,
            instrument=instrument,
            value=value,
            limit=limit,
            seen=self._clock.seen,
        )

    def _subject(self, record: Any, rule: Rule) -> str:
        if not rule.subject:
            return ""
        index = int(record[rule.subject])
        if index < 0:
            return ""
        if rule.subject == "instrument_id":
            return f"instrument {self._names.instrument(index)}"
        if rule.subject == "venue_id":
            return f"venue {self._names.venue(index)}"
        return f"session {self._names.session(index)}"

    def _about(self, code: int, record: Any, cause: int) -> str:
        """What an ALERT without an instrument is about: a gap or a restart is of a feed's venue, or of a session."""
        if code in (R.SEQUENCE_GAP, R.PEER_RESTARTED) and 0 < cause < _FEED_TEMPLATES:
            return f"feed {self._names.venue(int(record['value']))}"
        if code in (R.SEQUENCE_GAP, R.PEER_RESTARTED, R.PEER_SILENT):
            return f"session {self._names.session(int(record['value']))}"
        return ""


def _counts_lost(code: int, template: Template) -> bool:
    """Whether `order_id` of an alert is a count: of records lost, or of numbers left out."""
    return template == T.ALERT and code in (R.SEQUENCE_GAP, R.RECOVERED)


def _block(rule: int) -> tuple[str, Severity]:
    if rule == RiskRule.KILL:
        return "kill", _WARNING
    return ("throttle" if rule in _RATES else "limit"), _WARNING


def _text(kind: str, code: str, subject: str, template: Template, value: int | None, limit: int | None) -> str:
    """One line for people."""
    what = code.lower().replace("_", " ")
    where = f" ({subject})" if subject else ""
    bounds = f": {value}" if value is not None else ""
    if limit is not None and template != T.REFUSAL:
        bounds += f", limit {limit}"
    return f"{kind}, {what}{where}{bounds}"
