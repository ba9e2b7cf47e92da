"""What became of an order's children: each one's life and executions, read off the steps of the walk."""

from __future__ import annotations

from typing import Any

from engine.record import records as r
from engine.record.records import Template, from_text16
from replay.explain import names
from replay.explain.structs import Child, Decision, Fill
from replay.explain.walk import Step
from replay.explain.words import Speaker, exec_text, record_of
from replay.times import utc_ns

T = Template
_TERMINAL = (r.OrdStatus.FILLED, r.OrdStatus.CANCELED, r.OrdStatus.EXPIRED, r.OrdStatus.REJECTED)


def refused(step: Step) -> bool:
    """Whether the step refused its input."""
    template, _ = record_of(step.payload)
    kinds = (record_of(payload) for payload in step.outputs)
    return any(kind == T.REFUSAL and int(row["input_template"]) == template for kind, row in kinds)


def fills_of(steps: list[Step], say: Speaker) -> list[Fill]:
    """Every execution that venues reported on the children, in order."""
    found: list[Fill] = []
    #: Venue and ExecID, its own or a correction's, -> its place in `found`.
    known: dict[tuple[int, bytes], int] = {}
    for step in steps:
        template, row = record_of(step.payload)
        if template == T.FILL and int(row["order_id"]) in say.children:
            fill = Fill(
                seq=step.seq,
                ts_ns=step.now_ns,
                at=utc_ns(step.now_ns),
                child=say.order(row["order_id"]),
                mic=say.venue(int(row["venue_id"])),
                qty=say.units.qty(row["last_qty"]),
                px=say.units.px(row["last_px"]),
                liquidity=_liquidity(int(row["liquidity"])),
                exec_id=exec_text(row["exec_id"]),
                standing="refused" if refused(step) else "booked",
            )
            if fill.standing == "booked":
                known[int(row["venue_id"]), row["exec_id"].tobytes()] = len(found)
            found.append(fill)
        elif template in (T.BUST, T.CORRECT) and int(row["order_id"]) in say.children and not refused(step):
            n = known.get((int(row["venue_id"]), row["exec_ref_id"].tobytes()))
            if n is not None:
                known[int(row["venue_id"]), row["exec_id"].tobytes()] = n
                found[n] = _restated(found[n], _standing(template, row, say))
    return found


def _standing(template: Template, row: Any, say: Speaker) -> str:
    """What a bust or correction made of an execution."""
    if template == T.BUST:
        return "busted"
    return f"corrected to {say.units.amount(row['last_qty'])} at {say.units.px(row['last_px'])}"


def _restated(fill: Fill, standing: str) -> Fill:
    import msgspec

    return msgspec.structs.replace(fill, standing=standing)


def _liquidity(value: int) -> str:
    return r.Liquidity(value).name.lower() if value in list(r.Liquidity) else ""


class _Life:
    """One child while the steps are read."""

    def __init__(self) -> None:
        self.sent: Any = None
        self.sent_ns = 0
        self.row: Any = None
        self.acked_ns: int | None = None
        self.first_fill_ns: int | None = None
        self.ended_ns: int | None = None
        self.cancels = self.replaces = self.status_requests = 0
        self.blocked = ""


def children_of(steps: list[Step], say: Speaker, decisions: list[Decision]) -> list[Child]:
    """Each child's life, in the order of their making."""
    lives = {order_id: _Life() for order_id in say.children}
    for step in steps:
        _inputs(step, lives)
        for payload in step.outputs:
            _output(step, *record_of(payload), lives, say)
        for order_id, (row, _) in (step.after.children if step.after else {}).items():
            life = lives[order_id]
            life.row = row
            if int(row["ord_status"]) in _TERMINAL and life.ended_ns is None:
                life.ended_ns = step.now_ns
    numbers: dict[int | None, int] = {venue.order_id: d.number for d in decisions for venue in d.venues}
    return [_child(order_id, life, say, numbers) for order_id, life in lives.items() if life.sent is not None]


def _inputs(step: Step, lives: dict[int, _Life]) -> None:
    template, row = record_of(step.payload)
    if template not in (T.ACK, T.FILL) or int(row["order_id"]) not in lives or refused(step):
        return
    life = lives[int(row["order_id"])]
    if template == T.FILL:
        life.first_fill_ns = life.first_fill_ns or step.now_ns
    if template == T.FILL or int(row["exec_type"]) == r.ExecType.NEW:
        life.acked_ns = life.acked_ns or step.now_ns


def _output(step: Step, template: Template | None, row: Any, lives: dict[int, _Life], say: Speaker) -> None:
    if template not in (T.ORDER_NEW, T.ORDER_CANCEL, T.ORDER_REPLACE, T.STATUS_REQUEST, T.RISK_BLOCK):
        return
    life = lives.get(int(row["order_id"]))
    if life is None:
        return
    if template in (T.ORDER_NEW, T.RISK_BLOCK):
        life.sent, life.sent_ns = row, step.now_ns
        life.blocked = say.block(row) if template == T.RISK_BLOCK else ""
    elif template == T.ORDER_CANCEL:
        life.cancels += 1
    elif template == T.ORDER_REPLACE:
        life.replaces += 1
    else:
        life.status_requests += 1


def _child(order_id: int, life: _Life, say: Speaker, numbers: dict[int | None, int]) -> Child:
    sent, row = life.sent, life.row
    status = int(row["ord_status"]) if row is not None else r.OrdStatus.REJECTED
    blocked = f"risk gate: {life.blocked}" if life.blocked else ""
    return Child(
        name=say.order(order_id),
        order_id=order_id,
        mic=say.venue(int(sent["venue_id"])),
        decision=numbers.get(order_id),
        px=say.units.px(sent["px"]),
        qty=say.units.qty(sent["qty"]),
        tif="" if life.blocked else r.Tif(int(sent["tif"])).name,
        sent_ns=life.sent_ns,
        sent_at=utc_ns(life.sent_ns),
        acked_ns=life.acked_ns,
        first_fill_ns=life.first_fill_ns,
        ended_ns=life.ended_ns,
        ord_status=names.status_name(int(status)),
        reason=blocked or (names.reason(int(row["reason"])) if row is not None else ""),
        cum_qty=say.units.qty(row["cum_qty"] if row is not None else 0),
        venue_order_id=from_text16(row["venue_order"]) if row is not None else "",
        busted_qty=say.units.qty(row["busted_qty"] if row is not None else 0),
        cancels=life.cancels,
        replaces=life.replaces,
        status_requests=life.status_requests,
    )
