"""From a request to the records that the loop takes: names become indices, decimal text becomes integers.

What a person may do is asked here, once, for each command. An override is asked for by one person and approved by
another: only then is there a record, with both. It has a number that nobody can know before: what is approved is what
was read, also where the engine was started again in between.
"""

from __future__ import annotations

import datetime as dt
import secrets
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from engine.core.limits import MAX_STRATEGIES
from engine.core.rules import CHANGEABLE, EXPOSURE_DECIMALS
from engine.record.records import NOBODY, ControlAction, RiskRule, Scope
from engine.record.units import MONEY_DECIMALS, UnitError, to_units
from engine.run.amounts import MS_DECIMALS, amount_of
from engine.run.config import Config
from engine.run.control import control_record, limit_record, mass_cancel_record
from engine.run.control_guard import Refused
from engine.run.control_people import Actor
from engine.run.control_wire import SCOPES, Request, Why

#: The role that a command needs.
ROLE_OF: Final = {
    "halt": "halt", "resume": "resume", "cancel-all": "cancel", "limits": "limits", "override": "override",
    "approve": "override", "pending": "override", "enable": "enable",
}  # fmt: skip
_QTY, _MONEY, _EXPOSURE, _COUNT, _MS = range(5)
#: What the value of a rule's limit is in, where it is not a count.
_UNITS: Final = {
    RiskRule.MAX_QTY: _QTY,
    RiskRule.MAX_POSITION: _QTY,
    RiskRule.MAX_NOTIONAL: _MONEY,
    RiskRule.GROSS_NOTIONAL: _EXPOSURE,
    RiskRule.NET_NOTIONAL: _EXPOSURE,
    RiskRule.DUPLICATE: _MS,
}
#: Rules by the words of the command line: max-qty.
RULES: Final = {rule.name.lower().replace("_", "-"): rule for rule in CHANGEABLE}
_WORDS: Final = {scope: word for word, scope in SCOPES.items()}
#: Overrides that wait for a second person, at the most, and those of one person among them.
_WAITING: Final = 16
_OF_ONE: Final = 4
#: Numbers of overrides are below this: an int32 in a request.
_NUMBERS: Final = 1 << 31
#: The last trader and client: int16 in an order.
_NUMBER_MAX: Final = (1 << 15) - 1


class Waiting(NamedTuple):
    """An override that one person has asked for. `terms`: the limit, whose it is, and its value."""

    number: int
    by: Actor
    request: Request
    terms: str
    until_s: float

    def text(self) -> str:
        """For people."""
        left_s = max(self.until_s - time.monotonic(), 0)
        return f"{self.number}: {self.terms} for {self.request.lasts_s} s, asked by {self.by.name}, {left_s:.0f} s left"


class Commands:
    """Makes records of requests. `clock` is the engine's clock, ns."""

    def __init__(self, config: Config, clock: Callable[[], int]) -> None:
        self._config, self._clock = config, clock
        self._next_id = time.time_ns()
        self.waiting: dict[int, Waiting] = {}

    def next_id(self) -> int:
        """A request_id that no command of this run had."""
        self._next_id += 1
        return self._next_id

    def allowed(self, actor: Actor | None, request: Request) -> Actor:
        """The actor, where they may give this command; Refused."""
        role = ROLE_OF[request.command]
        if actor is None:
            raise Refused(Why.NOT_AUTHORISED, "not among [[control.person]] of this run's configuration")
        if role not in actor.roles:
            raise Refused(Why.NOT_AUTHORISED, f"{actor.name} has not the role {role}: {request.command} needs it")
        return actor

    def records(self, actor: Actor, request: Request) -> list[np.ndarray]:
        """The records of a command that one person gives; Refused where it means nothing here."""
        if request.command in ("limits", "override"):
            return [self._limit(actor, NOBODY, request)]
        scope = SCOPES[request.scope]
        target = self.target(scope, request.target)
        uid = actor.uid
        if request.command == "enable":
            if scope is not Scope.STRATEGY:
                raise Refused(Why.UNKNOWN, "enable is for a strategy; name it with --strategy")
            return [control_record(ControlAction.ENABLE, scope, target, request_id=self.next_id(), actor=uid)]
        if request.command == "resume":
            return [control_record(ControlAction.KILL_OFF, scope, target, request_id=self.next_id(), actor=uid)]
        made = []
        if request.command == "halt":
            made.append(control_record(ControlAction.KILL_ON, scope, target, request_id=self.next_id(), actor=uid))
        if request.command == "cancel-all" or not request.keep_orders:
            made.append(mass_cancel_record(scope, target, request_id=self.next_id(), actor=uid))
        return made

    # ---- overrides

    def ask(self, actor: Actor, request: Request) -> Waiting:
        """Keep an override for the second person; Refused."""
        self._forget()
        if request.lasts_s <= 0:
            raise Refused(Why.MALFORMED, "an override must end; say when with --for")
        terms = self._terms(self._limit(actor, NOBODY, request))
        if len(self.waiting) == _WAITING:
            raise Refused(Why.TOO_MANY, f"{_WAITING} overrides wait for their second person already")
        if sum(row.by.uid == actor.uid for row in self.waiting.values()) == _OF_ONE:
            raise Refused(Why.TOO_MANY, f"{_OF_ONE} overrides of {actor.name} wait for their second person already")
        number = 0
        while number == 0 or number in self.waiting:
            number = secrets.randbelow(_NUMBERS)
        until_s = time.monotonic() + self._config.control.second_person_s
        self.waiting[number] = Waiting(number, actor, request, terms, until_s)
        return self.waiting[number]

    def approve(self, actor: Actor, number: int) -> tuple[str, np.ndarray]:
        """What another person asked for and is approved now, in words, and its record; Refused."""
        self._forget()
        found = self.waiting.get(number)
        if found is None:
            raise Refused(Why.UNKNOWN, f"no override {number} waits for a second person; see --pending")
        if actor.uid == found.by.uid:
            raise Refused(
                Why.SECOND_PERSON, f"{actor.name} asked for override {number}; another person must approve it"
            )
        record = self._limit(found.by, actor.uid, found.request)
        del self.waiting[number]
        until = dt.datetime.fromtimestamp(int(record["expires_ns"][0]) // 1_000_000_000, dt.UTC)
        people = f"asked by {found.by.name}, approved by {actor.name}"
        return f"override {number}: {found.terms} until {until:%Y-%m-%d %H:%M:%S} UTC, {people}", record

    def _forget(self) -> None:
        now_s = time.monotonic()
        for number in [n for n, row in self.waiting.items() if row.until_s < now_s]:
            del self.waiting[number]

    def _limit(self, actor: Actor, second: int, request: Request) -> np.ndarray:
        rule = RULES.get(request.rule)
        if rule is None:
            raise Refused(Why.UNKNOWN, f"rule {request.rule!r}: there are {', '.join(RULES)}")
        scope, unit = CHANGEABLE[rule].scope, _UNITS.get(rule, _COUNT)
        if SCOPES[request.scope] is not scope:
            raise Refused(
                Why.UNKNOWN, f"{request.rule} is a limit of a {_WORDS[scope]}: name it with --{_WORDS[scope]}"
            )
        target = self.target(scope, request.target)
        expires_ns = self._clock() + request.lasts_s * 1_000_000_000 if request.command == "override" else 0
        return limit_record(
            rule, scope, target, self._value(request.value, unit, target), request_id=self.next_id(),
            actors=(actor.uid, second), expires_ns=expires_ns,
        )  # fmt: skip

    def _value(self, text: str, unit: int, target: int) -> int:
        decimals = {_COUNT: 0, _MS: MS_DECIMALS, _MONEY: MONEY_DECIMALS, _EXPOSURE: EXPOSURE_DECIMALS}.get(unit)
        if decimals is None:
            decimals = self._config.instrument[target].qty_decimals
        try:
            return to_units(text, decimals)
        except (UnitError, ValueError) as error:
            raise Refused(Why.MALFORMED, f"value {text!r}: {error}") from error

    # ---- words

    def told(self, report: dict[str, Any]) -> str:
        """What the core says of a limit, in the units in which limits are set."""
        rule, scope, target = RiskRule(report["rule"]), Scope(report["scope"]), int(report["target"])
        asked, other = self._amount(rule, target, report["value"]), self._amount(rule, target, report["old_value"])
        if report["reason"] != "NONE":
            told = f"limit {self._of(rule, scope, target)} stays ({report['reason']})"
            return f"{told}; asked for {asked}, in force {other}"
        return f"limit {self._of(rule, scope, target)}: {asked}, was {other}"

    def _terms(self, record: np.ndarray) -> str:
        """max-qty of symbol SPY = 500"""
        row = record[0]
        rule, scope = RiskRule(int(row["rule"])), Scope(int(row["scope"]))
        target = int(row["instrument_id"] if scope is Scope.INSTRUMENT else row["target"])
        return f"{self._of(rule, scope, target)} = {self._amount(rule, target, int(row['value']))}"

    def _of(self, rule: RiskRule, scope: Scope, target: int) -> str:
        word = rule.name.lower().replace("_", "-")
        if scope is Scope.ALL:
            return word
        names = self._names(scope)
        return f"{word} of {_WORDS[scope]} {names[target] if names is not None else target}"

    def _amount(self, rule: RiskRule, target: int, value: int) -> str:
        instrument = CHANGEABLE[rule].scope is Scope.INSTRUMENT
        return amount_of(rule, value, self._config.instrument[target].qty_decimals if instrument else 0)

    # ---- names

    def _names(self, scope: Scope) -> list[str] | None:
        """The names of a scope by their indices; None where it has numbers."""
        config = self._config
        return {
            Scope.VENUE: [row.mic for row in config.venue],
            Scope.SESSION: [row.name for row in config.session],
            Scope.INSTRUMENT: [row.symbol for row in config.instrument],
        }.get(scope)

    def target(self, scope: Scope, text: str) -> int:
        """The index that a name means in a scope; Refused where there is no such."""
        if scope is Scope.ALL:
            if text:
                raise Refused(Why.MALFORMED, f"target {text!r}: the scope all has none")
            return 0
        names = self._names(scope)
        if names is None:
            bounds = {Scope.STRATEGY: MAX_STRATEGIES - 1, Scope.ACCOUNT: self._config.capacity.accounts - 1}
            most = bounds.get(scope, _NUMBER_MAX)
            if not text.isascii() or not text.isdigit() or int(text) > most:
                raise Refused(Why.UNKNOWN, f"{_WORDS[scope]} {text!r}: must be a number from 0 to {most}")
            return int(text)
        if text not in names:
            known = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            raise Refused(Why.UNKNOWN, f"{_WORDS[scope]} {text!r}: there are {known}")
        return names.index(text)
