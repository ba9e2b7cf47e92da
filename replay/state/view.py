"""The core's memory as typed values: what stands in the state's rows, in the desk's names and the instruments' units.

Nothing is computed that the core would compute otherwise, but for the national best, which is read off the same quotes
by the same rule. Open orders are shown; with `ended`, those whose slots were not taken again as well.

Worst case: every row of the tables is looked at once: some tens of milliseconds for the largest tables.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.core.emit import leaves_of
from engine.core.limits import MAX_STRATEGIES
from engine.core.rule_limits import limit_of
from engine.core.rules import L_COLLAR, L_MAX_NOTIONAL, L_MAX_QTY, L_RESTRICTED, REPEATS
from engine.core.state import COUNTERS, FAILED, FREE, NEVER, NONE, State
from engine.jit import build_hash
from engine.record import records as r
from engine.record.records import from_text16
from engine.record.units import day_of, day_text, from_money, unpack_currency
from engine.run.config import Config
from engine.run.reference_risk import rules_off
from replay.explain import names
from replay.explain.words import Units
from replay.state import structs as s
from replay.state.peaks import peaks
from replay.state.reach import Reached
from replay.times import utc_ns

_ROLES: Final = {1: "client", 2: "venue"}


def past(reached: Reached, run_dir: str, *, ended: bool = False) -> s.Past:
    """The state that was reached, with ended parents too where they are wanted."""
    return _View(reached).past(run_dir, ended=ended)


class _View:
    def __init__(self, reached: Reached) -> None:
        self.reached = reached
        self.state: State = reached.rerun.state
        self.config: Config = reached.run.read_config()
        self.workflow = names.Workflow(reached.rerun.bound.machine)
        self.now_ns = int(self.state.core[0]["now_ns"])
        self.units = [Units(row) for row in self.state.instruments[: len(self.config.instrument)]]

    def past(self, run_dir: str, *, ended: bool) -> s.Past:
        """All of it."""
        core, reached = self.state.core[0], self.reached
        return s.Past(
            input_seq=reached.rerun.input_seq,
            clock_ns=self.now_ns,
            at=utc_ns(self.now_ns),
            trading_day=day_text(day_of(int(self.state.params[0]["id_base"]))),
            inputs=reached.inputs,
            outputs=reached.outputs,
            torn=reached.torn,
            state_hash=reached.rerun.hash(),
            live_parents=int(core["live_parents"]),
            live_children=int(core["live_children"]),
            unknown_children=int(core["unknown_children"]),
            waiting=int(core["work_count"]),
            next_parent=int(core["next_parent"]),
            next_child=int(core["next_child"]),
            limits=self._limits(),
            instruments=[self._instrument(n) for n in range(len(self.config.instrument))],
            parents=[self._parent(int(p)) for p in self._parents(ended)],
            positions=list(self._positions()),
            sessions=[self._session(n) for n in range(len(self.config.session))],
            feeds=[self._feed(n) for n in range(len(self.config.venue))],
            timers=list(self._timers()),
            counters={name: int(value) for name, value in zip(COUNTERS, self.state.counts, strict=True)},
            refusals={names.reason(n): int(count) for n, count in enumerate(self.state.refusals) if count},
            lineage=s.Lineage(
                run_dir=run_dir,
                run_id=reached.run_id,
                strategy=reached.run.strategy,
                schema_version=reached.run.schema_version,
                same_build=reached.run.build_hash == build_hash(),
                from_snapshot=reached.header.seq if reached.header is not None else None,
                live=reached.live,
            ),
        )

    def _limits(self) -> s.Limits:
        params = self.state.params[0]
        end = int(params["day_end_ns"])
        return s.Limits(
            killed=(killed := int(self.state.core[0]["killed"])) != 0,
            kill_reason=names.reason(killed) if killed > 1 else "",
            **{
                name: int(params[name])
                for name in "reference_age_ns stale_ns child_timeout_ns max_cancels max_rounds".split()
            },
            day_end_ns=end if end != NEVER else None,
            day_end_at=utc_ns(end) if end != NEVER else None,
            latched=[n for n in range(MAX_STRATEGIES) if int(self.state.rates[REPEATS + n]["latched"])],
            overrides=list(self._overrides()),
            rules_off=rules_off(self.config),
            peaks=list(peaks(self.state, self.config)),
        )

    def _overrides(self) -> Any:
        """Limits that are others for a while."""
        for row in self.state.overrides:
            if int(row["place"]) != NONE:
                yield s.Override(
                    rule=r.RiskRule(int(row["rule"])).name,
                    scope=r.Scope(int(row["scope"])).name,
                    **{key: int(row[key]) for key in ("target", "value", "restore", "actor_id", "actor_2")},
                    until=utc_ns(int(row["expires_ns"])),
                )

    def _age(self, ts_ns: Any) -> int | None:
        return self.now_ns - int(ts_ns) if int(ts_ns) else None

    def _instrument(self, n: int) -> s.Instrument:
        row, units = self.state.instruments[n], self.units[n]
        first = n * int(self.state.params[0]["venue_stride"])
        quotes = self.state.quotes[first : first + len(self.config.venue)]
        fresh = quotes[[self._standing(quote) == "fresh" for quote in quotes]]
        bids = fresh["bid_px"][fresh["bid_qty"] > 0]
        asks = fresh["ask_px"][fresh["ask_qty"] > 0]
        reference = int(row["reference_px2"])
        return s.Instrument(
            symbol=self.config.instrument[n].symbol,
            currency=unpack_currency(int(row["currency"])),
            bid_px=units.px(bids.max()) if len(bids) else None,
            ask_px=units.px(asks.min()) if len(asks) else None,
            reference_px=units.half_px(reference) if reference else None,
            reference_age_ns=self._age(row["reference_ns"]),
            trade_px=units.px(row["trade_px"]) if int(row["trade_px"]) else None,
            trade_age_ns=self._age(row["trade_ns"]),
            resting=int(row["rest_count"]),
            max_qty=units.qty(limit_of(self.state, n, L_MAX_QTY)),
            max_notional=from_money(limit_of(self.state, n, L_MAX_NOTIONAL)),
            collar_bps=limit_of(self.state, n, L_COLLAR),
            restricted=limit_of(self.state, n, L_RESTRICTED) != 0,
            books=[self._book(v, quote, units) for v, quote in enumerate(quotes)],
        )

    def _standing(self, quote: Any) -> str:
        if not int(quote["ts_ns"]):
            return "none"
        if int(quote["valid"]) < 0:
            return "halted"
        if not int(quote["valid"]):
            return "void"
        return "fresh" if self.now_ns - int(quote["ts_ns"]) <= int(self.state.params[0]["stale_ns"]) else "stale"

    def _book(self, v: int, quote: Any, units: Units) -> s.Book:
        return s.Book(
            mic=self.config.venue[v].mic,
            standing=self._standing(quote),
            bid_px=units.px(quote["bid_px"]) if int(quote["bid_qty"]) else None,
            ask_px=units.px(quote["ask_px"]) if int(quote["ask_qty"]) else None,
            **{name: units.qty(quote[name]) for name in ("bid_qty", "ask_qty", "bid_taken", "ask_taken")},
            age_ns=self._age(quote["ts_ns"]),
        )

    def _parents(self, ended: bool) -> Any:
        """Slots of the parents to show, by their ids."""
        phases, ids = self.state.parents["phase"], self.state.parent_orders["order_id"]
        slots = np.flatnonzero(phases != FREE if ended else phases > FAILED)
        return slots[np.argsort(ids[slots], kind="stable")]

    def _parent(self, p: int) -> s.Parent:
        row, order = self.state.parents[p], self.state.parent_orders[p]
        units = self.units[int(order["instrument_id"])]
        children, c = [], int(row["first_child"])
        while c != NONE:
            children.append(self._child(c, units))
            c = int(self.state.children[c]["next"])
        return s.Parent(
            order_id=int(order["order_id"]),
            cl_ord_id=from_text16(order["cl_ord_id"]),
            session=self.config.session[int(row["session"])].name,
            symbol=self.config.instrument[int(order["instrument_id"])].symbol,
            side=_name(r.Side, order["side"]),
            ord_type=_name(r.OrdType, order["ord_type"]),
            tif=_name(r.Tif, order["tif"]),
            account_id=int(order["account_id"]),
            qty=units.qty(order["qty"]),
            px=units.px(order["px"]) if int(order["px"]) else None,
            **{name: units.qty(row[name]) for name in ("cum_qty", "live_qty", "busted_qty")},
            leaves_qty=units.qty(leaves_of(self.state, p)),
            notional=from_money(int(row["notional"])),
            fee=from_money(int(row["fee"])),
            ord_status=names.status_name(int(row["ord_status"])),
            workflow_state=self.workflow.of(self.state, p),
            reason=names.reason(int(row["reason"])),
            rounds=int(row["rounds"]),
            excluded=[venue.mic for v, venue in enumerate(self.config.venue) if int(row["excluded"]) >> v & 1],
            arrived_at=utc_ns(int(order["ts_recv_ns"])),
            children=sorted(children, key=lambda child: child.order_id),
        )

    def _child(self, c: int, units: Units) -> s.Child:
        row, order = self.state.children[c], self.state.child_orders[c]
        return s.Child(
            order_id=int(order["order_id"]),
            mic=self.config.venue[int(order["venue_id"])].mic,
            ord_status=names.status_name(int(row["ord_status"])),
            qty=units.qty(order["qty"]),
            px=units.px(order["px"]) if int(order["px"]) else None,
            tif=_name(r.Tif, order["tif"]),
            **{name: units.qty(row[name]) for name in ("cum_qty", "leaves_qty", "busted_qty")},
            sent_at=utc_ns(int(order["ts_event_ns"])),
            cancels=int(row["cancels"]),
            replaces=int(row["amends"]),
        )

    def _positions(self) -> Any:
        width = len(self.state.instruments)
        for place, row in enumerate(self.state.positions):
            account, n = divmod(place, width)
            if not any(int(row[name]) for name in row.dtype.names):
                continue
            units = self.units[n]
            yield s.Position(
                account_id=account,
                symbol=self.config.instrument[n].symbol,
                currency=unpack_currency(int(self.state.instruments[n]["currency"])),
                **{name: units.qty(row[name]) for name in ("qty", "bought_qty", "sold_qty")},
                cost=from_money(int(row["cost"])),
                fee=from_money(int(row["fee"])),
                fills=int(row["fills"]),
            )

    def _session(self, n: int) -> s.Session:
        row = self.state.sessions[n]
        numbers = {name: int(row[name]) for name in ("epoch_in", "seq_in", "seq_out", "gaps")}
        return s.Session(name=self.config.session[n].name, role=_ROLES[int(row["role"])], up=bool(row["up"]), **numbers)

    def _feed(self, v: int) -> s.Feed:
        row = self.state.venues[v]
        numbers = {name: int(row[f"feed_{name}"]) for name in ("epoch", "seq", "gaps", "lost")}
        return s.Feed(mic=self.config.venue[v].mic, **numbers)

    def _timers(self) -> Any:
        count, parents = int(self.state.core[0]["timer_count"]), len(self.state.parents)
        rows = zip(
            self.state.timer_at[:count].tolist(),
            self.state.timer_arm[:count].tolist(),
            self.state.timer_owner[:count].tolist(),
            strict=True,
        )
        for at_ns, _, owner in sorted(rows):
            order = self.state.parent_orders[owner] if owner < parents else self.state.child_orders[owner - parents]
            yield s.Timer(
                deadline_ns=at_ns if at_ns != NEVER else None,
                at=utc_ns(at_ns) if at_ns != NEVER else "never",
                in_ns=at_ns - self.now_ns if at_ns != NEVER else None,
                owner="parent" if owner < parents else "child",
                order_id=int(order["order_id"]),
            )


def _name(kind: Any, value: Any) -> str:
    number = int(value)
    return str(kind(number).name) if number in list(kind) else str(number)
