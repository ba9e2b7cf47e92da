"""The explorer's own account of one parent: what was ordered, what the venues did, what may still happen.

A `Ghost` is some bytes. The first ones speak of the parent and of what may still go wrong on this path (each kind of
trouble has a budget, so that there are finitely many paths); then come the children, `CHILD_BYTES` each, in the order
in which they were sent. It is written from the events and from the records that leave the core, never from the core's
own figures: that is what makes it a judge of them.

Quantities are in lots. A venue is honest but for one budgeted lie: what it executes it reports sooner or later, and an
end that it reports says how much it executed. Its silence is unlimited.
"""

from __future__ import annotations

from typing import Final

import msgspec

from engine.record.records import OrdStatus, Side, Tif

#: Bytes of the parent's part, by place.
(
    ORDERED,  # as the client last heard
    LIED,  # lots that a venue executed although it may not
    BUSTED,
    TOLD,  # the terminal OrdStatus that the client heard; 0 is none
    CANCEL,  # requests of the client: 0 never made, OPEN, ANSWERED
    REPLACE,
    NEW_QTY,
    CONTROLS,  # pauses and resumes that are not answered yet
    RESUMES_LEFT,
    CHILDREN,
    # Budgets: what may still happen on this path.
    PAUSES_LEFT,
    REPLACES_LEFT,
    CANCELS_LEFT,
    LIES_LEFT,
    DUPLICATES_LEFT,
    BUSTS_LEFT,
    DOWNS_LEFT,
    RESTARTS_LEFT,
    GOOD_QUOTES_LEFT,
    BAD_QUOTES_LEFT,
    CLEARS_LEFT,
    TROUBLES_LEFT,
    EXPIRIES_LEFT,
) = range(23)
HEAD_BYTES: Final = 24
OPEN, ANSWERED = 1, 2
#: Order statuses that end an order.
TERMINAL: Final = frozenset({OrdStatus.FILLED, OrdStatus.CANCELED, OrdStatus.EXPIRED, OrdStatus.REJECTED})

#: Bytes of a child, from the first of its own.
(QTY, VENUE, NUMBER, ASKED, ENDED, HEARD, LAST, OWED, GONE, UNDONE) = range(10)
CHILD_BYTES: Final = 10
# Bits of ASKED: what the engine was told or asked for.
ACKED, CANCEL_ASKED, STATUS_ASKED = 1, 2, 4
# ENDED: how the order ended at its venue; 0 is not yet.
LIVE, E_FILLED, E_CANCELED, E_EXPIRED, E_REJECTED = range(5)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What is explored: the parent, the books, and how often each thing may happen on one path."""

    name: str = ""
    side: int = int(Side.BUY)
    tif: int = int(Tif.DAY)
    qty: int = 3
    limit_px: int = 10_001
    #: A first quote a venue: (price, lots) on the side that the parent takes from.
    quotes: tuple[tuple[int, int], ...] = ((10_000, 2), (10_001, 1))
    #: Price that the parent cannot take.
    far_px: int = 10_050
    #: Lots of a later quote that it can take.
    good_lots: tuple[int, ...] = (1,)
    new_qtys: tuple[int, ...] = (2, 4)
    #: Paths that would have more children are cut there.
    children: int = 3
    pauses: int = 1
    replaces: int = 1
    cancels: int = 1
    lies: int = 1
    duplicates: int = 1
    busts: int = 1
    #: Sessions that go down, and that restart without having been missed; of all venues together.
    downs: int = 1
    restarts: int = 1
    good_quotes: int = 1
    bad_quotes: int = 1
    clears: int = 1
    #: Immediate children that expire. One that rests may at any time, which costs none.
    expiries: int = 1
    #: Of all the budgets above together (the children are not one of them).
    troubles: int = 0
    #: Stop, incomplete, after so many transitions.
    max_transitions: int = 20_000_000

    def ghost(self) -> bytearray:
        """The account before the first child."""
        g = bytearray(HEAD_BYTES + self.children * CHILD_BYTES)
        g[ORDERED] = self.qty
        g[PAUSES_LEFT], g[REPLACES_LEFT], g[CANCELS_LEFT] = self.pauses, self.replaces, self.cancels
        g[LIES_LEFT], g[DUPLICATES_LEFT], g[BUSTS_LEFT] = self.lies, self.duplicates, self.busts
        g[DOWNS_LEFT], g[RESTARTS_LEFT], g[CLEARS_LEFT] = self.downs, self.restarts, self.clears
        g[GOOD_QUOTES_LEFT], g[BAD_QUOTES_LEFT] = self.good_quotes, self.bad_quotes
        g[EXPIRIES_LEFT], g[TROUBLES_LEFT] = self.expiries, self.troubles
        return g


def spend(g: bytearray, budget: int) -> None:
    """One of a budget, and one of all troubles, has happened."""
    g[budget] -= 1
    g[TROUBLES_LEFT] -= 1


def child_at(n: int) -> int:
    """Place of child n's bytes."""
    return HEAD_BYTES + n * CHILD_BYTES


def exposure(g: bytearray) -> int:
    """Lots that are executed, or that a venue still may execute."""
    total = 0
    for n in range(g[CHILDREN]):
        at = child_at(n)
        done = g[at + HEARD] + g[at + OWED]
        total += done if g[at + ENDED] else max(done, g[at + QTY])
    return total


def undo(g: bytearray, at: int, qty: int) -> None:
    """A venue takes back `qty` of the child's last execution."""
    g[at + UNDONE] += qty
    g[BUSTED] += qty
    spend(g, BUSTS_LEFT)


def heard(g: bytearray) -> int:
    """Lots whose execution was reported, busted ones too."""
    return sum(g[child_at(n) + HEARD] for n in range(g[CHILDREN]))
