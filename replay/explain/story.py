"""`explain(run_dir, order)`: one order's whole story, put together from an index of its inputs and a walk to each.

Two passes over the journal: one that finds the inputs that concern the order (index), one that runs them through the
core again (walk). Worst case: some seconds for a run of a hundred thousand inputs, and a millisecond a stop.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import TickrouteError
from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.jit import build_hash
from engine.record import records as r
from engine.record.records import Template, from_text16
from engine.record.units import day_of, day_text, from_money, unpack_currency
from engine.run import manifest
from engine.run.rerun import Rerun
from replay.explain import names
from replay.explain import structs as s
from replay.explain.index import Index, index
from replay.explain.lives import children_of, fills_of
from replay.explain.score import Sent, Terms, score
from replay.explain.walk import Face, Fired, Step, Walk, walk
from replay.explain.words import Speaker, record_of
from replay.times import utc_ns

if TYPE_CHECKING:
    from replay.verify import Progress

T = Template
#: Inputs that are noted where they led to nothing of the order's: they reached it all the same.
_NOTED = (
    T.SESSION_UP, T.SESSION_DOWN, T.CONTROL, T.MASS_CANCEL, T.LIMIT_CHANGE, T.RECOVERED, T.ROLL,
)  # fmt: skip
_TERMINAL = (r.OrdStatus.FILLED, r.OrdStatus.CANCELED, r.OrdStatus.EXPIRED, r.OrdStatus.REJECTED)


def explain(
    run_dir: str | Path, order: str, *, session: str | None = None, progress: Progress | None = None
) -> s.Story:
    """The story of an order, by its id, a child's id, or its ClOrdID (with the session's name where two used it).

    UnknownOrder: there is none such. NotReached: the replay parts from the journal before it came. JournalError: the
    journal cannot be read. ManifestError, ConfigError, BindError: this build cannot replay it.
    """
    path = Path(run_dir)
    with JournalReader(path) as reader:
        run, run_id = manifest.from_bytes(reader.manifest), reader.run_id.hex()
    rerun = Rerun(run)
    found = index(path, run.read_config(), int(rerun.state.params[0]["day_end_ns"]), order, session, progress)
    walked = walk(path, rerun, found, progress)
    if not any(step.seq == found.target.born for step in walked.steps):
        raise NotReached(
            f"{path}: before that order came, this build does otherwise than the journal says: {walked.difference}; "
            f"`tickroute verify {path}` shows it. The build that wrote it can explain"
        )
    lineage = s.Lineage(
        run_dir=str(path),
        run_id=run_id,
        trading_day=day_text(day_of(found.target.order_id)) if found.target.order_id else run.trading_day,
        strategy=run.strategy,
        clock=run.read_config().engine.clock,
        schema_version=run.schema_version,
        inputs=walked.inputs,
        outputs=walked.outputs,
        same_build=run.build_hash == build_hash(),
        difference=walked.difference,
    )
    return _Teller(run, rerun, found, walked).story(lineage)


class NotReached(TickrouteError):
    """The replay parts from the journal before the order came: this build cannot know what was decided on."""


class _Teller:
    """Puts a story together."""

    def __init__(self, run: manifest.Manifest, rerun: Rerun, found: Index, walked: Walk) -> None:
        self.config, self.state, self.found, self.walked = run.read_config(), rerun.state, found, walked
        self.workflow = names.Workflow(rerun.bound.machine)
        faces = [step.after for step in walked.steps if step.after is not None]
        self.face: Face | None = faces[-1] if faces else None
        self.first = record_of(next(step.payload for step in walked.steps if step.seq == found.target.born))[1]
        self.instrument = int(self.first["instrument_id"])
        if not 0 <= self.instrument < len(self.config.instrument):
            self.instrument = 0  # refused for that; the units of the first are as good as any
        children = {order_id: f"child {n}" for n, order_id in enumerate(found.children, 1)}
        self.say = Speaker(self.state, self.config, self.workflow, self.instrument, children)
        self.arrived_ns = int(self.first["ts_recv_ns"])
        self.decisions: list[s.Decision] = []

    def story(self, lineage: s.Lineage) -> s.Story:
        """The whole."""
        moments = []
        for n, step in enumerate(self.walked.steps):
            moment = self._moment(step, self.walked.steps[n - 1] if n else None)
            if step.seq in self.found.named or moment.transitions:
                moments.append(moment)
        return s.Story(
            order=self._order(),
            moments=moments,
            children=children_of(self.walked.steps, self.say, self.decisions),
            fills=fills_of(self.walked.steps, self.say),
            notes=list(self._notes({moment.seq for moment in moments})),
            lineage=lineage,
        )

    def _moment(self, step: Step, last: Step | None) -> s.Moment:
        template, row = record_of(step.payload)
        decisions = [found for fired in step.fired for found in self._decide(fired, step)]
        return s.Moment(
            seq=step.seq,
            ts_ns=step.now_ns,
            at=utc_ns(step.now_ns),
            since_ns=step.now_ns - self.arrived_ns,
            record=template.name if template is not None else "unknown",
            source=self.say.source(template, row) if template is not None else "",
            text=self.say.input(template, row),
            transitions=list(self._transitions(step, last, _event(template, row))),
            decisions=decisions,
            outputs=list(self._outputs(step)),
            committed=step.committed,
            stages_ns=self.found.stages.get(step.seq),
            quantities=self._quantities(step.after),
        )

    def _quantities(self, face: Face | None) -> s.Quantities | None:
        if face is None:
            return None
        units = self.say.units
        return s.Quantities(
            qty=units.qty(face.order["qty"]),
            cum_qty=units.qty(face.parent["cum_qty"]),
            live_qty=units.qty(face.parent["live_qty"]),
        )

    def _transitions(self, step: Step, last: Step | None, event: str) -> Any:
        """What changed: since the step before (by what no record names), and in this one."""
        if last is not None and last.after is not None and step.before is not None:
            yield from self._changes(last.after, step.before, f"after input {last.seq}")
            if last.after.workflow != step.before.workflow:
                yield s.Transition(
                    of="workflow",
                    before=last.after.workflow,
                    event=f"after input {last.seq}",
                    after=step.before.workflow,
                )
        changes = list(self._changes(step.before, step.after, event)) if step.after is not None else []
        yield from (change for change in changes if change.event != "decision")
        for fired in step.fired:
            yield s.Transition(of="workflow", before=fired.before, event=fired.event, after=fired.after)
        yield from (change for change in changes if change.event == "decision")

    def _changes(self, before: Face | None, after: Face, event: str) -> Any:
        """Changed statuses of the order and its children."""
        was = names.status_name(int(before.parent["ord_status"])) if before is not None else "none"
        now = names.status_name(int(after.parent["ord_status"]))
        if was != now:
            yield s.Transition(of="order", before=was, event=event, after=now)
        known = before.children if before is not None else {}
        for order_id, (row, _) in after.children.items():
            old = known.get(order_id)
            was = names.status_name(int(old[0]["ord_status"])) if old is not None else "none"
            now = names.status_name(int(row["ord_status"]))
            if was != now:
                why = "decision" if old is None else event
                yield s.Transition(of=self.say.order(order_id), before=was, event=why, after=now)

    def _decide(self, fired: Fired, step: Step) -> Any:
        """The decisions that an event led to."""
        notes: list[tuple[Any, list[Sent]]] = []
        for payload in step.outputs[fired.first : fired.stop]:
            template, row = record_of(payload)
            if template == T.DECISION:
                notes.append((row, []))
            elif template in (T.ORDER_NEW, T.RISK_BLOCK) and notes and int(row["order_id"]) in self.say.children:
                notes[-1][1].append(self._sent(template, row, step))
        for note, sent in notes:
            order = fired.order
            least = min(int(order["min_qty"]), int(order["qty"])) - (int(order["qty"]) - fired.left_qty)
            asked = (int(order["side"]), int(order["px"]), int(order["tif"]))
            terms = Terms(*asked, fired.left_qty, fired.excluded, max(least, 0))
            venues, agrees = score(self.state, self.config, self.instrument, fired.books, terms, note, sent)
            units = self.say.units
            decision = s.Decision(
                number=len(self.decisions) + 1,
                round_no=int(note["round_no"]),
                event=self.workflow.event(int(note["event"])),
                outcome=r.Outcome(int(note["outcome"])).name.lower().replace("_", " "),
                leaves_qty=units.qty(note["leaves_qty"]),
                routed_qty=units.qty(note["routed_qty"]),
                limit_px=units.px(order["px"]) if int(order["px"]) else None,
                bid_px=units.px(note["bid_px"]) if int(note["bid_px"]) else None,
                ask_px=units.px(note["ask_px"]) if int(note["ask_px"]) else None,
                fresh_venues=int(note["fresh_venues"]),
                stale_venues=int(note["stale_venues"]),
                agrees=agrees,
                venues=venues,
            )
            self.decisions.append(decision)
            yield decision

    def _sent(self, template: Template, row: Any, step: Step) -> Sent:
        order_id = int(row["order_id"])
        rule = self.say.block(row) if template == T.RISK_BLOCK else ""
        order = step.after.children.get(order_id) if step.after is not None else None
        tif = int(order[1]["tif"]) if order is not None else int(r.Tif.IOC)
        return Sent(
            self.say.order(order_id), order_id, int(row["venue_id"]), int(row["px"]), int(row["qty"]), tif, rule
        )

    def _outputs(self, step: Step) -> Any:
        """The step's outputs that concern the order."""
        ids = {self.found.target.order_id, *self.say.children} - {0}
        answers = step.seq in self.found.named and not step.fired
        for k, payload in enumerate(step.outputs):
            template, row = record_of(payload)
            fields = row.dtype.names if row is not None else ()
            mine = any(int(row[name]) in ids for name in ("order_id", "parent_id") if name in fields)
            if "peer_id" in fields:
                words = (int(row["peer_id"][0]), int(row["peer_id"][1]))
                mine |= words == self.found.target.words and int(row["stream_id"]) == self.found.target.session
            mine |= template == T.CONTROL_REPORT
            if not (mine or (answers and template in (T.REFUSAL, T.RISK_BLOCK))):
                continue
            assert template is not None
            yield s.Output(
                batch_index=k,
                record=template.name,
                to=self.say.session(int(row["stream_id"])),
                text=self.say.output(template, row),
            )

    def _notes(self, told: set[int]) -> Any:
        """What else a reader should know."""
        born, last = self.found.target.born, self.walked.steps[-1].seq
        for row in self.found.found.table(Kind.RECOVERED, T.RECOVERED):
            if born < int(row["seq"]) <= last:
                yield (
                    f"The engine died and recovered during the order's life: frame {int(row['seq'])}, "
                    f"{int(row['torn_bytes'])} bytes of unfinished frames were set aside."
                )
        for row in self.found.found.table(Kind.OBSERVATION, T.HALTED):
            if born < int(row["seq"]):
                yield f"The engine stopped itself at frame {int(row['seq'])}: {names.reason(int(row['reason']))}."
        for step in self.walked.steps:
            template, record = record_of(step.payload)
            if step.seq not in told and template in _NOTED:
                found = [record_of(output) for output in step.outputs]
                answers = [self.say.output(*output) for output in found if output[0] == T.CONTROL_REPORT]
                said = "; ".join([self.say.input(template, record), *answers])
                yield f"{utc_ns(step.now_ns)}, input {step.seq}: {said}."
            if not step.committed:
                yield (
                    f"The engine died before the outputs of input {step.seq} were whole on the journal: "
                    "they were never sent."
                )

    def _order(self) -> s.Order:
        """What the order was and what became of it."""
        face, first, units = self.face, self.first, self.say.units
        row = self.state.instruments[self.instrument]
        order = face.order if face is not None else first
        cum = int(face.parent["cum_qty"]) if face is not None else 0
        money = int(face.parent["notional"]) if face is not None else 0
        status = int(face.parent["ord_status"]) if face is not None else int(r.OrdStatus.REJECTED)
        over = status in _TERMINAL
        busted = int(face.parent["busted_qty"]) if face is not None else 0
        left = max(int(order["qty"]) - cum - busted, 0)
        mul, div = int(row["notional_mul"]), int(row["notional_div"])
        bid, ask = self._arrival()
        return s.Order(
            order_id=self.found.target.order_id or None,
            cl_ord_id=from_text16(self.found.target.words),
            session=self.say.session(self.found.target.session),
            **{name: int(first[name]) for name in ("client_id", "account_id", "trader_id", "desk_id")},
            symbol=self.config.instrument[self.instrument].symbol,
            currency=unpack_currency(int(row["currency"])),
            side=_name(r.Side, first["side"]),
            ord_type=_name(r.OrdType, first["ord_type"]),
            tif=_name(r.Tif, first["tif"]),
            capacity=_name(r.Capacity, first["capacity"]),
            first_qty=units.qty(first["qty"]),
            first_px=units.px(first["px"]) if int(first["px"]) else None,
            qty=units.qty(order["qty"]),
            px=units.px(order["px"]) if int(order["px"]) else None,
            arrived_ns=self.arrived_ns,
            arrived_at=utc_ns(self.arrived_ns),
            ended_ns=self._ended_ns(),
            ord_status=names.status_name(status),
            reason=self._reason(),
            workflow_state=face.workflow if face is not None else "never accepted",
            cum_qty=units.qty(cum),
            leaves_qty=units.qty(0 if over else left),
            canceled_qty=units.qty(left if over and face is not None else 0),
            busted_qty=units.qty(busted),
            notional=from_money(money),
            average_px=units.mean_px(money, cum, mul, div),
            fees=from_money(int(face.parent["fee"]) if face is not None else 0),
            arrival_bid_px=units.px(bid) if bid else None,
            arrival_ask_px=units.px(ask) if ask else None,
            cost_bps=_cost_bps(first, bid, ask, money * div / mul / cum) if cum else None,
        )

    def _arrival(self) -> tuple[int, int]:
        if self.face is None:
            return 0, 0
        return int(self.face.parent["arrival_bid_px"]), int(self.face.parent["arrival_ask_px"])

    def _ended_ns(self) -> int | None:
        """When the order became terminal; a refused one at its arrival."""
        if self.face is None:
            return self.arrived_ns
        for step in self.walked.steps:
            if step.after is not None and int(step.after.parent["ord_status"]) in _TERMINAL:
                return step.now_ns
        return None

    def _reason(self) -> str:
        """The last reason that the client was given."""
        for step in reversed(self.walked.steps):
            for payload in reversed(step.outputs):
                template, row = record_of(payload)
                if template not in (T.ACK, T.REJECT):
                    continue
                words = (int(row["peer_id"][0]), int(row["peer_id"][1]))
                if words == self.found.target.words and int(row["ord_status"]) in _TERMINAL:
                    return names.reason(int(row["reason"]))
        return ""


def _event(template: Template | None, row: Any) -> str:
    """What an input is as an event."""
    if template == T.ACK:
        return f"ACK {_name(r.ExecType, row['exec_type'])}"
    return template.name if template is not None else "unknown"


def _name(kind: Any, value: Any) -> str:
    number = int(value)
    return str(kind(number).name) if number in list(kind) else str(number)


def _cost_bps(first: Any, bid: int, ask: int, average_px: float) -> float | None:
    """Average price against the touch at arrival; None where the side had none."""
    buy = int(first["side"]) == r.Side.BUY
    touch = ask if buy else bid
    if not touch:
        return None
    return round((average_px - touch) / touch * 1e4 * (1 if buy else -1), 4)
