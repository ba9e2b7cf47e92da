"""pounce: wait a quarter of a second for a better price, then take, whatever it is.

An order first waits for an offer (a seller's for a bid) that is better by `improvement` price units than the best was
when it came. Then, or when its time is over, it takes what is displayed, best net price first, with immediate children,
and routes again what comes back, `rounds` times. What is left after that is given back, or rests until a quote is
marketable, as the order's time in force says. This is the example of docs/strategies.md.
"""

from __future__ import annotations

from engine.core.books import renew_best
from engine.core.emit import left_of
from engine.core.parents import parameter
from engine.core.state import Outbox, State
from engine.jit import kernel
from engine.record.records import Outcome, Side, Tif
from engine.workflow.machine import after_ms
from engine.workflow.orders import CANCELED, NEW, RESTING, WORKING, Event, order_machine, recall
from strategies.common import take_best

WAIT, SENT, RESTED, GIVEN_UP = 0, 1, 2, 3
_BUY, _IOC, _FOK, _ROUTED = int(Side.BUY), int(Tif.IOC), int(Tif.FOK), int(Outcome.ROUTED)

machine = order_machine("pounce")
IMPROVEMENT = machine.parameter("improvement", 1)
ROUNDS = machine.parameter("rounds", 3)
WAITING = machine.state("WAITING", timeout=after_ms(250), watch=True)


@kernel
def look(state: State, p: int, event: int, outbox: Outbox) -> int:
    """Take if the best price has become better by enough, else wait. A price of 0 is none."""
    parent, order = state.parents[p], state.parent_orders[p]
    best, ask = renew_best(state, int(order.instrument_id))
    was = parent.arrival_bid_px
    if order.side == _BUY:
        was, best = -parent.arrival_ask_px, -ask
    if best == 0 or (was != 0 and best - was < parameter(state, IMPROVEMENT)):
        return WAIT
    return take(state, p, event, outbox)


@kernel
def take(state: State, p: int, event: int, outbox: Outbox) -> int:
    """Send immediate children for what is left."""
    if take_best(state, p, event, left_of(state, p), parameter(state, ROUNDS), outbox) == _ROUTED:
        return SENT
    tif = state.parent_orders[p].tif
    return GIVEN_UP if tif == _IOC or tif == _FOK else RESTED


TAKEN = {SENT: WORKING, RESTED: RESTING, GIVEN_UP: CANCELED}
machine.on(NEW, Event.START, look, {WAIT: WAITING, **TAKEN})
machine.on(WAITING, Event.QUOTE, look, {WAIT: WAITING, **TAKEN})
machine.on(WAITING, Event.TIMEOUT, take, TAKEN)
machine.on(WORKING, Event.CHILDREN_DONE, take, TAKEN)
machine.on(RESTING, Event.QUOTE, take, TAKEN)
machine.ignore(WAITING, Event.CHILDREN_DONE, why="no child is live in it")
machine.compensate(look, by=recall)
machine.compensate(take, by=recall)
