"""The end of a simulation: faults cease, everything that is under way comes to rest, and all accounts are compared.

The engine is started again where it is dead, sessions come back, records arrive in order, venues answer and fill
nothing more, clients repeat what was not answered and then cancel what is open. After that nothing may live, nothing
may be unknown, and the venues', the clients', the feeds' and the engine's accounts must be one.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from engine.core.state import COUNTERS, FAILED
from engine.record.records import OrdStatus
from replay.simulate.clients import TERMINAL
from replay.simulate.setup import CLIENTS, MS, START_NS
from replay.simulate.violation import Violation, must
from replay.simulate.world import World

#: Rounds of delivering everything, and how far ahead a deadline is waited for.
_ROUNDS: Final = 2000
_PATIENCE_NS: Final = 20_000_000_000
#: How often clients may have to ask until they have all.
_QUESTIONS: Final = 40


def settle(world: World) -> None:
    """Bring the world to rest and compare all accounts. Violation where they differ, or it does not come to rest."""
    _mend(world)
    rest(world)
    _books(world)
    for client in world.clients:
        for cl, view in client.views.items():
            if view.status == OrdStatus.PENDING_NEW:
                _do(world, {"do": "ask", "client": client.session, "what": "again", "cl": cl})
    _ask_status(world)
    for gateway in world.gateways:
        gateway.now_ns = START_NS + world.now
        gateway.tell_missed(world.ledger.was_booked)
    rest(world)
    world.ledger.whole(world.engine.state)
    for client in world.clients:
        for cl, view in client.views.items():
            if view.open:
                _do(world, {"do": "ask", "client": client.session, "what": "cancel", "cl": cl})
    rest(world)
    _ask_status(world)
    world.ledger.whole(world.engine.state)
    _nothing_lives(world)
    _venues(world)
    _clients(world)


def _ask_status(world: World) -> None:
    """Each client asks where its orders stand."""
    for client in world.clients:
        for cl in client.views:
            _do(world, {"do": "ask", "client": client.session, "what": "status", "cl": cl})
    rest(world)


def _do(world: World, event: dict[str, object]) -> None:
    world.apply({"at": world.now, **event})


def _mend(world: World) -> None:
    """No more faults: what was broken is whole again, and a clock that fell back has caught up."""
    behind_ns = world.engine.clock_ns - START_NS - world.now - world.skew_ns
    _do(world, {"do": "clock", "ns": max(behind_ns, 0)})
    _do(world, {"do": "disk", "full": 0})
    world.engine.death = None
    _do(world, {"do": "sync"})
    if not world.engine.alive:
        _do(world, {"do": "restart"})
    for publisher in world.publishers:
        publisher.flight.clear()
    for session in range(world.setup.sessions):
        _do(world, {"do": "up", "session": session})


def rest(world: World) -> None:
    """Deliver, answer and let time pass until nothing is under way."""
    asked = 0
    for _ in range(_ROUNDS):
        busy = False
        for session, wire in enumerate(world.wires):
            while wire.to_engine:
                busy = True
                _do(world, {"do": "deliver", "session": session})
            while wire.to_peer:
                busy = True
                _do(world, {"do": "hear" if session < CLIENTS else "take", "session": session})
        if world.setup.durability == "disk":
            _do(world, {"do": "sync"})
        if busy or any(wire.to_engine or wire.to_peer for wire in world.wires):
            continue
        if _behind(world):
            asked += 1
            must(asked <= _QUESTIONS, "a client is sent what it missed", f"asked {asked} times")
            continue
        due = world.engine.deadline_ns() - START_NS - world.skew_ns
        if due > world.now + _PATIENCE_NS:
            return
        world.pass_time(max(due, world.now, world.patient_until))
    raise Violation("everything comes to rest", f"{len(world.ledger.live)} children live after {_ROUNDS} rounds")


def _behind(world: World) -> bool:
    """Let clients that have not seen all that the engine said, as its heartbeat tells them, ask for it."""
    state, behind = world.engine.state, False
    for client in world.clients:
        if client.seen_seq < int(state.sessions[client.session].seq_out):
            behind = True
            world.pass_time(world.now + 30 * MS)
            client.now_ns = START_NS + world.now + world.skews[client.session]
            client.wonder()
    return behind


def _books(world: World) -> None:
    """Each venue says again where its books are; the engine's must be the same."""
    for publisher in world.publishers:
        for instrument, book in list(publisher.books.items()):
            where = {"venue": publisher.venue, "instrument": instrument}
            _do(world, {"do": "open", **where})
            _do(world, {"do": "quote", **where, **book})
            row = world.engine.state.quotes[instrument * world.setup.venues + publisher.venue]
            same = all(int(row[name]) == value for name, value in book.items())
            crossed = book["bid_qty"] > 0 and book["ask_qty"] > 0 and book["bid_px"] > book["ask_px"]
            good = same and (int(row.valid) == 1) != crossed
            must(good, "books are as published", f"venue {publisher.venue}, instrument {instrument}: {row}, {book}")
    rest(world)


def _nothing_lives(world: World) -> None:
    """Every parent has ended, every child has a terminal report, every venue's order too."""
    state, ledger = world.engine.state, world.ledger
    must(not ledger.live, "every child ends", ", ".join(str(ledger.children[order_id]) for order_id in ledger.live))
    for name in ("live_children", "unknown_children", "live_parents", "work_count"):
        must(int(state.core[0][name]) == 0, "every order ends", f"{name} is {state.core[0][name]}")
    must(all(int(row.phase) <= FAILED for row in state.parents), "every parent ends", "one has not")
    for gateway in world.gateways:
        live = [order for order in gateway.orders.values() if order.live and not order.raised]
        must(not live, "no order is left at a venue", f"{len(live)} at session {gateway.session}")


def _venues(world: World) -> None:
    """What venues executed is what the engine booked, and no order came twice or from nowhere."""
    ledger, state = world.ledger, world.engine.state
    booked = changed = 0
    for gateway in world.gateways:
        must(not gateway.repeated, "no order comes to a venue twice", str(gateway.repeated))
        for order in gateway.orders.values():
            child = ledger.children.get(order.order_id)
            must(child is not None, "a venue's order is the engine's", str(order.order_id))
            assert child is not None
            for execution in order.executions:
                if ledger.was_booked(order.venue, execution.exec_id):
                    booked += not execution.ref
                    changed += bool(execution.ref)
                else:
                    seen = f"{execution.qty} of {child}, {execution.exec_id.decode()}"
                    lost = ledger.holds_child(child) if not execution.ref else ledger.stands(order.venue, execution.ref)
                    must(not lost, "no execution is lost", seen)
    fills, busts, corrects = (int(state.counts[COUNTERS.index(name)]) for name in ("fills", "busts", "corrects"))
    again = ledger.executions.again
    told = f"{fills}, {busts}, {corrects} booked; {booked}, {changed} told, {again} again"
    must(booked + again[0] == fills, "what is booked was executed", told)
    must(changed + again[1] == busts + corrects, "what is undone was busted", told)


def _clients(world: World) -> None:
    """What a client believes of its orders is so."""
    # A repetition that arrives when the order was forgotten is a new order under the same ClOrdID.
    named = Counter((parent.session, str(parent)) for parent in world.ledger.parents.values())
    for client in world.clients:
        kept = world.engine.stream(client.session)
        wrong = [seq for seq in kept if any(first <= seq < after for first, after in client.gone)]
        must(not wrong, "what is said to be gone is gone", f"number {wrong[:1]} of session {client.session} is not")
        for parent in world.ledger.parents.values():
            if named[parent.session, str(parent)] > 1:
                continue
            if parent.session != client.session or not world.ledger.holds_parent(parent):
                continue
            view = client.views[str(parent).split()[1]]
            seen = f"{parent}: status {view.status}, cum {view.cum}, leaves {view.leaves}; executed {parent.cum}"
            must(view.cum == parent.cum and view.leaves == 0 and view.status in TERMINAL, "a client knows", seen)
            heard = sum(view.executions.values())
            if client.gone:  # the outputs of a step that a death cut off were never sent, and are not made again
                continue
            must(heard == parent.cum, "a client hears each execution once", f"{seen}, heard of {heard}")
