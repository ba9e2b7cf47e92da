"""Messages that are lost, repeated and out of order: books are right again after them, executions count once."""

from __future__ import annotations

import random
from typing import Any

import pytest

from engine.jit import JIT
from engine.record import records as r
from tests.run.engine_peers import ack, fill, order

pytestmark = pytest.mark.skipif(not JIT, reason="the engine is a compiled process")
T, S, X = r.Template, r.OrdStatus, r.ExecType
VENUES = 12
SHAPES = ((0.0, 0.0, 1), (0.3, 0.0, 1), (0.0, 0.5, 1), (0.1, 0.1, 50), (0.3, 0.5, 1000))


def hurt(dice: random.Random, messages: list[Any], loss: float, twice: float, reach: int) -> list[Any]:
    """Lose, repeat and move messages: each at most `reach` places from its own."""
    kept = []
    for n, message in enumerate(messages):
        if dice.random() < loss:
            continue
        kept.append((n + dice.uniform(0, reach - 1), message))
        if dice.random() < twice:
            kept.append((n + dice.uniform(0, reach - 1), message))
    return [message for _, message in sorted(kept, key=lambda item: item[0])]


def quote(feed: Any, venue: int, bid: int, ask: int, qty: int) -> bytes:
    """The next quote of a venue, not sent."""
    sent: list[bytes] = []
    raw, feed.raw = feed.raw, sent.append
    try:
        feed.quote(venue, bid, ask, qty)
    finally:
        feed.raw = raw
    return sent[0]


def test_books_are_the_reference_again_after_loss_repetition_and_disorder(bench):
    """After each kind of damage what is routed to is what every venue last said, to the share."""
    it, dice = bench(), random.Random(7)
    it.start()
    assert it.feed is not None
    sent = 0
    for number, (loss, twice, reach) in enumerate(SHAPES):
        prices = [1_569_000 + 100 * dice.randrange(9) for _ in range(3000)]
        messages = [
            quote(it.feed, dice.randrange(VENUES), px, px + 100 * dice.randint(1, 9), 100 * dice.randint(1, 9))
            for px in prices
        ]
        for message in hurt(dice, messages, loss, twice, reach):
            it.feed.raw(message)
            sent += 1
        # What every venue says next is what it has: the reference.
        last = {v: (1_560_000 + 100 * v, 1_570_000 + 100 * (v + number), 100 * (v + 1 + number)) for v in range(VENUES)}
        for venue, (bid, ask, qty) in last.items():
            it.feed.raw(quote(it.feed, venue, bid, ask, qty))
        sent += VENUES
        it.wait(lambda: it.gauge("quotes") + it.gauge("refusals") >= sent)  # noqa: B023  it is called at once
        it.pause(0.05)
        whole = sum(qty for _, _, qty in last.values())
        it.client.send(order(f"L{number}", r.Side.BUY, whole, max(ask for _, ask, _ in last.values())))
        children = it.take(it.venue, T.ORDER_NEW, VENUES)
        routed = {int(child.venue_id): (int(child.px), int(child.qty)) for child in children}
        assert routed == {venue: (ask, qty) for venue, (_, ask, qty) in last.items()}
        for child in children:
            it.venue.send(ack(child, X.CANCELED, S.CANCELED))
        it.wait(lambda: it.gauge("live_parents") == 0)
    figures = it.stop()
    assert figures["gaps"] > 0
    assert figures["refusals"] > 0
    state = it.state()
    for venue, (bid, ask, qty) in last.items():
        book = state.quotes[venue]
        assert (int(book.bid_px), int(book.ask_px), int(book.bid_qty), int(book.ask_qty)) == (bid, ask, qty, qty)


def test_executions_count_once_whatever_their_order_and_however_often(bench):
    """Idempotent on venue and exec id: each report up to four times, in any order within a venue's stream."""
    it, dice = bench(), random.Random(3)
    it.start()
    repeated = 0
    for number in range(12):
        it.quote(0, qty=300)
        it.client.send(order(f"A{number}", r.Side.BUY, 300, 1_570_000))
        child = it.take(it.venue, T.ORDER_NEW)[0]
        reports = [fill(child, 10 * number + n, 100) for n in range(3)]
        again = [reports[dice.randrange(3)] for _ in range(dice.randrange(9))]
        repeated += len(again)
        mixed = [*reports, *again]
        dice.shuffle(mixed)
        for report in mixed:
            it.venue.send(report.copy())
        it.venue.send(ack(child, X.CANCELED, S.CANCELED, 300))
        it.wait(lambda: it.gauge("qty_filled") >= 300 * (number + 1))  # noqa: B023  it is called at once
        it.wait(lambda: it.gauge("live_parents") == 0)
        it.pause(0.005)
        assert it.gauge("qty_filled") == 300 * (number + 1)
    figures = it.stop()
    assert (figures["fills"], figures["parents_filled"]) == (36, 12)
    state = it.state()
    assert repeated > 12
    assert int(state.refusals[int(r.Reason.DUPLICATE_EXEC)]) == repeated, "each repetition is refused, and counted"
    assert sum(int(x) for x in state.parents["cum_qty"]) == 3600
