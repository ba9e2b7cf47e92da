"""From a request to the records that the loop takes: names become indices, decimal text becomes integers.

What a person may do is asked here, once, for each command. An override is asked for by one person and approved by
another: only then is there a record, with both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from engine.core.rules import CHANGEABLE, EXPOSURE_DECIMALS
from engine.record.records import ControlAction, RiskRule, Scope
from engine.record.units import MONEY_DECIMALS, UnitError, to_units
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
#: Overrides that wait for a second person, at the most.
_WAITING: Final = 16
_NUMBER_MAX: Final = (1 << 15) - 1


class Waiting(NamedTuple):
    """An override that one person has asked for."""

    number: int
    by: Actor
    request: Request
    until_s: float

    def text(self) -> str:
        """For people."""
        r = self.request
        scope = "" if r.scope == "all" else f" of {r.scope} {r.target}"
        left_s = max(self.until_s - time.monotonic(), 0)
        what = f"{r.rule}{scope} = {r.value} for {r.lasts_s} s"
        return f"{self.number}: {what}, asked by {self.by.name}, {left_s:.0f} s left"


class Commands:
    """Makes records of requests. `clock` is the engine's clock, ns."""

    def __init__(self, config: Config, clock: Callable[[], int]) -> None:
        self._config, self._clock = config, clock
        self._next_id = time.time_ns()
        self._number = 0
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
            return [self._limit(actor, 0, request)]
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
        self._limit(actor, 0, request)
        if len(self.waiting) == _WAITING:
            raise Refused(Why.TOO_MANY, f"{_WAITING} overrides wait for their second person already")
        self._number += 1
        until_s = time.monotonic() + self._config.control.second_person_s
        self.waiting[self._number] = Waiting(self._number, actor, request, until_s)
        return self.waiting[self._number]

    def approve(self, actor: Actor, number: int) -> tuple[Waiting, np.ndarray]:
        """The override that another person asked for, and its record; Refused."""
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
        return found, record

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
        decimals = {_COUNT: 0, _MS: 6, _MONEY: MONEY_DECIMALS, _EXPOSURE: EXPOSURE_DECIMALS}.get(unit)
        if decimals is None:
            decimals = self._config.instrument[target].qty_decimals
        try:
            return to_units(text, decimals)
        except (UnitError, ValueError) as error:
            raise Refused(Why.MALFORMED, f"value {text!r}: {error}") from error

    # ---- names

    def target(self, scope: Scope, text: str) -> int:
        """The index that a name means in a scope; Refused where there is no such."""
        config = self._config
        names = {
            Scope.VENUE: [row.mic for row in config.venue],
            Scope.SESSION: [row.name for row in config.session],
            Scope.INSTRUMENT: [row.symbol for row in config.instrument],
        }.get(scope)
        if scope is Scope.ALL:
            if text:
                raise Refused(Why.MALFORMED, f"target {text!r}: the scope all has none")
            return 0
        if names is None:
            if not text.isascii() or not text.isdigit() or int(text) > _NUMBER_MAX:
                raise Refused(Why.UNKNOWN, f"{_WORDS[scope]} {text!r}: must be a number from 0 to {_NUMBER_MAX}")
            return int(text)
        if text not in names:
            known = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            raise Refused(Why.UNKNOWN, f"{_WORDS[scope]} {text!r}: there are {known}")
        return names.index(text)
