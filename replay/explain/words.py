"""Records in a sentence: what an input says, what an output says, in the instrument's units and the desk's names."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.core.state import State
from engine.record import records as r
from engine.record.records import Template
from engine.record.units import day_text, from_units
from engine.run.amounts import COLLARS, amount_of, commas, trimmed
from engine.run.config import Config
from replay.decode import template_name
from replay.explain import names
from replay.times import clock_text
from replay.wording import AMOUNTS, PROTECTIONS, command_name, rule_name, scope_text

T = Template


class Units:
    """Prices, quantities and money of one instrument as text."""

    def __init__(self, row: Any) -> None:
        self.px_decimals, self.qty_decimals = int(row["px_decimals"]), int(row["qty_decimals"])

    def px(self, units: Any) -> str:
        """A price, exact, with two decimals at least where it has any."""
        return trimmed(from_units(int(units), self.px_decimals), 2)

    def half_px(self, units2: int) -> str:
        """Half of a doubled price, exact."""
        return trimmed(from_units(5 * units2, self.px_decimals + 1), 2)

    def qty(self, units: Any) -> str:
        """A quantity, exact."""
        return trimmed(from_units(int(units), self.qty_decimals))

    def amount(self, units: Any) -> str:
        """A quantity in a sentence: with commas."""
        return commas(self.qty(units))

    def mean_px(self, money: int, qty: int, mul: int, div: int) -> str | None:
        """Average price of a quantity that came to `money`, to two decimals more than a price has."""
        if not qty:
            return None
        scaled = (money * div * 100 * 2 + mul * qty) // (2 * mul * qty)
        return trimmed(from_units(scaled, self.px_decimals + 2), 2)


def record_of(payload: bytes | np.ndarray) -> tuple[Template | None, Any]:
    """(template, row) of a payload; (None, None) where it is no whole record of a known kind."""
    data = payload if isinstance(payload, bytes) else payload.tobytes()
    number = int.from_bytes(data[2:4], "little")
    if number not in list(Template) or len(data) != r.DTYPES[Template(number)].itemsize:
        return None, None
    return Template(number), np.frombuffer(data, dtype=r.DTYPES[Template(number)])[0]


class Speaker:
    """Says what records of one order mean. `children` maps the order's child ids to their short names."""

    def __init__(
        self, state: State, config: Config, workflow: names.Workflow, instrument: int, children: dict[int, str]
    ) -> None:
        self.state, self.config, self.workflow, self.children = state, config, workflow, children
        self.units = Units(state.instruments[instrument])

    def venue(self, v: int) -> str:
        """A venue's MIC."""
        return self.config.venue[v].mic if 0 <= v < len(self.config.venue) else f"venue {v}"

    def session(self, s: int) -> str:
        """A session's name; "journal" where there is none."""
        return self.config.session[s].name if 0 <= s < len(self.config.session) else "journal"

    def order(self, order_id: int) -> str:
        """The short name of a child, or "the order"."""
        return self.children.get(int(order_id), "the order")

    def source(self, template: Template, row: Any) -> str:
        """Whence an input came."""
        if template <= T.VENUE_DEF:
            return f"feed {self.venue(int(row['venue_id']))}"
        session = int(row["stream_id"])
        if session >= 0:
            return self.session(session)
        return "control" if template in (T.CONTROL, T.MASS_CANCEL, T.LIMIT_CHANGE) else "engine"

    def terms(self, row: Any) -> str:
        """BUY 300 at 157.01 IOC."""
        px = f"at {self.units.px(row['px'])}" if int(row["px"]) else "at the market"
        side, tif = _name(r.Side, row["side"]).replace("_", " "), _name(r.Tif, row["tif"])
        return f"{side} {self.units.amount(row['qty'])} {px} {tif}"

    def input(self, template: Template | None, row: Any) -> str:
        """What an input says."""
        if template is None:
            return "a record that is not whole"
        if template == T.QUOTE:
            bid = (
                f"{self.units.px(row['bid_px'])} x {self.units.amount(row['bid_qty'])}" if row["bid_qty"] else "no bid"
            )
            ask = (
                f"{self.units.px(row['ask_px'])} x {self.units.amount(row['ask_qty'])}"
                if row["ask_qty"]
                else "no offer"
            )
            return f"{self.venue(int(row['venue_id']))} quotes {bid} / {ask}"
        if template == T.ORDER_NEW:
            return f"new order: {self.terms(row)}"
        if template == T.ORDER_REPLACE:
            return f"asks for {self.units.amount(row['qty'])} at {self.units.px(row['px'])} instead"
        if T.ACK <= template <= T.CANCEL_REJECT:
            return self._report(template, row)
        if template in (T.BUST, T.CORRECT):
            return self._change(template, row)
        if template == T.TIMER:
            rest = "; after a stall, so only a mass cancel went on" if int(row["cancels_only"]) else ""
            return f"a timer fell due at {clock_text(int(row['deadline_ns']))}{rest}"
        if template == T.CONTROL:
            return self._control(row)
        if template == T.MASS_CANCEL:
            return f"asks to cancel every order of {self.scope(row)}"
        if template == T.LIMIT_CHANGE:
            return self._limit(row)
        if template in (T.SESSION_UP, T.SESSION_DOWN):
            word = "is up" if template == T.SESSION_UP else "is down"
            return f"session {self.session(int(row['stream_id']))} {word}"
        plain = {
            T.ORDER_CANCEL: "asks to cancel",
            T.STATUS_REQUEST: "asks for the status",
            T.RECOVERED: "the engine was started again after it died: what lived at venues is unknown",
        }
        if template == T.ROLL:
            return f"the trading day {day_text(int(row['trading_day']))} begins: day orders of the day before expire"
        return plain.get(template, template_name(int(template)).lower().replace("_", " "))

    def _level(self, px: Any, qty: Any) -> str:
        return f"{self.units.px(px)} x {self.units.amount(qty)}" if qty else ""

    def _control(self, row: Any) -> str:
        """A pause or a resume of a client's, or what the driver or people do to all orders."""
        why = f" ({names.reason(int(row['value']))})" if int(row["value"]) > 1 else ""
        told: dict[int, str] = {
            r.ControlAction.PAUSE: "asks to pause",
            r.ControlAction.RESUME: "asks to go on",
            r.ControlAction.KILL_ON: f"kill flag on{why}: nothing new of {self.scope(row)} leaves",
            r.ControlAction.KILL_OFF: f"kill flag off: orders of {self.scope(row)} may be sent again",
            r.ControlAction.STOP: "the engine stops itself, and cancels what lives at venues",
            r.ControlAction.ENABLE: f"{self.scope(row)} may trade again after its throttle",
        }
        return told.get(int(row["action"]), f"action {int(row['action'])}")

    def scope(self, row: Any) -> str:
        """Whom a command or its answer is for: everybody, venue XNAS, account 3."""
        return scope_text(self.config, row)

    def _limit(self, row: Any) -> str:
        """A limit's change, or an override, and who is behind it."""
        rule = int(row["rule"])
        first, second = int(row["actor_id"]), int(row["actor_2"])
        people = "nobody" if first == r.NOBODY else f"uid {first}"
        people += f" and uid {second}" if second != r.NOBODY else ""
        ends = f" until {clock_text(int(row['expires_ns']))}" if int(row["expires_ns"]) else ""
        limit = self.amount_of(rule, int(row["value"]))
        return f"{people} set the limit {rule_name(rule)} of {self.scope(row)} to {limit}{ends}"

    def _answered(self, row: Any) -> str:
        """What became of a command."""
        action, why = int(row["action"]), names.reason(int(row["reason"]))
        told = f"{command_name(action, int(row['rule']))} of {self.scope(row)}"
        if action == r.ControlAction.CANCEL:
            counts = ("cancels", "acknowledged", "live_children", "fills_after")
            sent, ended, live, fills = (f"{int(row[name]):,}" for name in counts)
            told += f": {sent} cancels sent, {ended} of {live} ended, {fills} executions since"
        elif not action:
            told += f": {self.amount_of(int(row['rule']), int(row['value']))}"
        if why:
            return f"{told}; refused: {why}" if action != r.ControlAction.CANCEL else f"{told}; {why}"
        return told

    def _report(self, template: Template, row: Any) -> str:
        """What a venue says of a child."""
        venue, child = self.venue(int(row["venue_id"])), self.order(int(row["order_id"]))
        if int(row["stream_id"]) < 0:
            venue = "the engine"
        why = names.reason(int(row["reason"]))
        why = f": {why}" if why else ""
        if template == T.FILL:
            added = _name(r.Liquidity, row["liquidity"]).lower()
            told = f"{venue} fills {child}: {self.units.amount(row['last_qty'])} at {self.units.px(row['last_px'])}"
            return f"{told}, {added} liquidity" if added in ("added", "removed") else told
        if template == T.ACK:
            kind = int(row["exec_type"])
            if kind == r.ExecType.NEW:
                return f"{venue} accepts {child}"
            if kind in (r.ExecType.CANCELED, r.ExecType.EXPIRED):
                word = "cancels" if kind == r.ExecType.CANCELED else "expires"
                return f"{venue} {word} what is left of {child}{why}"
            if kind == r.ExecType.ORDER_STATUS:
                return f"{venue} says that {child} is {names.status_name(int(row['ord_status']))}"
            if kind in (r.ExecType.REPLACED, r.ExecType.RESTATED):
                word = "replaces" if kind == r.ExecType.REPLACED else "changes unasked"
                leaves = self.units.amount(row["leaves_qty"])
                return f"{venue} {word} {child}: {leaves} left at {self.units.px(row['last_px'])}{why}"
            return f"{venue} says {_name(r.ExecType, row['exec_type']).lower().replace('_', ' ')} of {child}"
        if template == T.REJECT:
            return (
                f"{venue} rejects {child}{why}" if int(row["reason"]) != r.Reason.NOT_SENT else f"{child} was not sent"
            )
        word = "replace" if int(row["request"]) == T.ORDER_REPLACE else "cancel"
        return f"{venue} refuses to {word} {child}{why}"

    def _change(self, template: Template, row: Any) -> str:
        venue, child = self.venue(int(row["venue_id"])), self.order(int(row["order_id"]))
        ref = exec_text(row["exec_ref_id"])
        if template == T.BUST:
            return f"{venue} busts execution {ref} of {child}"
        new = f"{self.units.amount(row['last_qty'])} at {self.units.px(row['last_px'])}"
        return f"{venue} corrects execution {ref} of {child} to {new}"

    def output(self, template: Template | None, row: Any) -> str:
        """What an output says."""
        if template is None:
            return "a record that is not whole"
        if template == T.ORDER_NEW:
            return f"{self.order(int(row['order_id']))} to {self.venue(int(row['venue_id']))}: {self.terms(row)}"
        if template in (T.ORDER_CANCEL, T.STATUS_REQUEST, T.ORDER_REPLACE):
            word = {T.ORDER_CANCEL: "cancel", T.STATUS_REQUEST: "status of", T.ORDER_REPLACE: "replace"}[template]
            told = f"{word} {self.order(int(row['order_id']))} at {self.venue(int(row['venue_id']))}"
            if template == T.ORDER_REPLACE:
                return f"{told}: {self.units.amount(row['qty'])} at {self.units.px(row['px'])}"
            return told
        if T.ACK <= template <= T.CANCEL_REJECT:
            return self._answer(template, row)
        if template in (T.BUST, T.CORRECT):
            return self._told(template, row)
        if template == T.DECISION:
            outcome = _name(r.Outcome, row["outcome"]).lower().replace("_", " ")
            return f"decision, round {int(row['round_no'])}: {outcome}"
        if template == T.RISK_BLOCK:
            return f"{self.order(int(row['order_id']))} stopped by the risk gate: {self.block(row)}"
        if template == T.ALERT:
            return self._alert(row)
        if template == T.CONTROL_REPORT:
            return self._answered(row)
        if template == T.REFUSAL:
            limit = int(row["limit"])
            told = f"refused: {names.reason(int(row['reason']))} ({int(row['value'])}"
            return f"{told}, allowed {limit})" if limit else f"{told})"
        if template == T.FAILURE:
            return self._failed(row)
        return template_name(int(template)).lower().replace("_", " ")

    def _failed(self, row: Any) -> str:
        """Which step failed, with what outcome, and what was done about it."""
        flow, outcome = self.workflow, int(row["outcome"])
        state, event, step = flow.state(row["workflow_state"]), flow.event(row["event"]), flow.step(row["step"])
        why = f"its outcome {flow.outcome(row['step'], outcome)} leads nowhere" if outcome != -1 else "it raised"
        undone = f"{int(row['cut_outputs'])} outputs taken back; {int(row['compensations'])} compensations ran"
        return f"step {step} failed on {event} in {state} ({why}) and was undone: {undone}"

    def _alert(self, row: Any) -> str:
        """What was alerted, of those that a number explains with it."""
        code, order, amount = int(row["code"]), self.order(int(row["order_id"])), int(row["value"])
        qty = self.units.amount(abs(amount))
        told = {
            r.Reason.BUSTED: f"busted: {order} has executed {qty} less"
            if amount < 0
            else f"busted before: {order} executes {qty} beyond what is left of it",
            r.Reason.CORRECTED: f"corrected: {order} has executed {qty} {'less' if amount < 0 else 'more'}"
            if amount
            else f"corrected: {order}, in price",
            r.Reason.UNSOLICITED: f"unasked: {order} was ended or changed by its venue, {qty} were left",
            r.Reason.OVERFILL: f"overfill: {order} executes {qty}, beyond what was ordered",
            r.Reason.ORDER_TERMINAL: f"late: {order} executes {qty} after its end",
        }
        return told.get(code, f"{names.reason(code)}: {order}")  # type: ignore[call-overload,no-any-return]

    def _told(self, template: Template, row: Any) -> str:
        """A bust or correction as the client is told."""
        done = f"cum {self.units.amount(row['cum_qty'])}, leaves {self.units.amount(row['leaves_qty'])}"
        told = f"execution {exec_text(row['exec_ref_id'])}"
        if template == T.BUST:
            return f"{told} was busted: {names.status_name(int(row['ord_status']))}, {done}"
        new = f"{self.units.amount(row['last_qty'])} at {self.units.px(row['last_px'])}"
        return f"{told} is {new} now: {names.status_name(int(row['ord_status']))}, {done}"

    def _answer(self, template: Template, row: Any) -> str:
        """What the client is told."""
        status, why = names.status_name(int(row["ord_status"])), names.reason(int(row["reason"]))
        why = f" ({why})" if why else ""
        done = f"cum {self.units.amount(row['cum_qty'])}, leaves {self.units.amount(row['leaves_qty'])}"
        if template == T.FILL:
            return f"fill {self.units.amount(row['last_qty'])} at {self.units.px(row['last_px'])}: {status}, {done}"
        if template == T.ACK:
            kind = _name(r.ExecType, row["exec_type"])
            return f"{kind}, {done}{why}" if kind == status else f"{kind}: {status}, {done}{why}"
        return f"{template.name}{why}: {status}"

    def amount_of(self, rule: int, value: int) -> str:
        """A value of a rule in the unit that its limit is set in."""
        return amount_of(rule, value, self.units.qty_decimals)

    def block(self, row: Any) -> str:
        """A RISK_BLOCK's rule with value and limit in the unit that the rule is in."""
        rule = int(row["rule"])
        value, limit = int(row["value"]), int(row["limit"])
        name = rule_name(rule)
        if rule in AMOUNTS:
            return f"{name}: {self.amount_of(rule, value)}, allowed {self.amount_of(rule, limit)}"
        if rule in COLLARS:
            half = [self.units.half_px(n) for n in (value, limit)]
            return f"{name}: {half[0]}, allowed {half[1]} (reference {self.units.px(row['reference_px'])})"
        if rule in (r.RiskRule.VENUE_DOWN, r.RiskRule.INSTRUMENT_HALTED):
            return f"{name}: {self.venue(value)}"
        if rule in (r.RiskRule.SESSION_RATE, r.RiskRule.STRATEGY_RATE, r.RiskRule.INSTRUMENT_RATE):
            return f"{name}: {value:,} messages in a second, allowed {limit:,}"
        if rule == r.RiskRule.REPEATED_EXECUTION:
            return f"{name}: latched at {value:,} executions, allowed {limit:,}; a named person has to enable it"
        if rule == r.RiskRule.DUPLICATE:
            if value < 0:
                return f"{name}: too many orders within {limit / 1e6:g} ms to know"
            return f"{name}: the same order came {value / 1e6:g} ms before, within {limit / 1e6:g} ms"
        if rule == r.RiskRule.CANCELS_FIRST:
            return f"{name}: {value:,} cancels wait for the session's messages_per_s"
        if rule in PROTECTIONS:
            px, best = self.units.px(value) if value else "any price", self.units.px(limit)
            return f"{name}: {px}, another venue's protected quote is at {best}"
        if rule == r.RiskRule.PERMISSION:
            return f"{name}: strategy {value} may not trade this instrument there for this client"
        return name


def exec_text(words: Any) -> str:
    """An execution id: its text where it is one, else its two words."""
    text = r.from_text16(words)
    return text if text and text.isprintable() and text.isascii() else "/".join(str(int(w)) for w in words)


def _name(kind: Any, value: Any) -> str:
    number = int(value)
    return str(kind(number).name) if number in list(kind) else str(number)
