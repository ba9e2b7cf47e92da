"""Sizes of the preallocated tables, with the sum behind each, and the assertions that tie them together.

`Limits` comes from the `[capacity]` section of the configuration; what is not there is a constant here. Nothing grows
after start. At capacity a new order is refused (`Reason.TABLE_FULL`, counted and journaled); an execution is never
refused: the oldest remembered execution id is forgotten instead.
"""

from __future__ import annotations

from typing import Final, NamedTuple

#: Records that one step may emit. A workflow turn needs at most TURN_OUTPUTS, so at least seven turns fit; the rest
#: of a larger wave (a mass cancel, a quote that wakes hundreds) goes on at the next TIMER input, which is due at once.
OUTBOX: Final = 256
#: One decision, a child and a risk block a venue, and four reports to the client.
TURN_OUTPUTS: Final = 1 + 2 * 14 + 4
#: Venues one engine knows; a venue set is one bit mask.
MAX_VENUES: Final = 32
#: Children one decision may send: as many as TURN_OUTPUTS has room for.
MAX_CHILDREN_A_TURN: Final = 14
#: Replaces of one child that may be unanswered at a time; rows.AMEND has room for them.
MAX_AMENDS: Final = 2
#: Rows of all tick tables together.
TICK_ROWS: Final = 64
#: Order sessions (clients and venue gateways).
MAX_SESSIONS: Final = 64
#: Strategies that orders may name (`algo_id`): each has limits of its own.
MAX_STRATEGIES: Final = 16
#: No stream has as many records in a day: a higher number is damaged, and following it would lose the stream.
MAX_STREAM_SEQ: Final = 1 << 40
#: No quantity has as many units. Sums of quantities stop at COUNT_MAX: a year of impossible orders overflows nothing.
MAX_QTY: Final = 1 << 53
COUNT_MAX: Final = 1 << 62
#: Scopes that may be killed at a time, besides all; one more is refused.
MAX_KILLS: Final = 64
#: Mass cancels whose orders are waited for at a time; one more ends the oldest's waiting.
MAX_MASSES: Final = 8
#: Timers that one TIMER input may fire; the rest fire at the next, which is due at once.
TIMERS_A_STEP: Final = 32

#: Integers that a strategy may take from the configuration.
MAX_PARAMETERS: Final = 16
#: Rows of one table that a step may change: itself, its children, and what it does to each of them.
UNDO_ROWS: Final = 4 * (MAX_CHILDREN_A_TURN + 2)
#: Words of the timer heap and the work queue that a step may change: each child arms one timer, which moves four words
#: at each of 24 levels of the heap, twice. A child that rests changes four links when it begins, and five at its end.
UNDO_WORDS: Final = 8192

assert UNDO_WORDS >= (MAX_CHILDREN_A_TURN + 4) * (24 * 2 * 8 + 12), "and is in a list of what rests at its venue"
assert TURN_OUTPUTS * 7 <= OUTBOX
assert TIMERS_A_STEP * 3 + TURN_OUTPUTS <= OUTBOX, "each fired timer emits at most an alert and two messages"
assert MAX_VENUES <= 62, "venue sets are int64 masks"


class Limits(NamedTuple):
    """Capacities of one engine's state.

    Bytes: instruments x (venues x 72 + 256), parents x 292, children x 256, executions x 72.
    """

    instruments: int = 64
    venues: int = 16
    parents: int = 4096
    children: int = 16384
    executions: int = 65536
    accounts: int = 16


def power_of_two(at_least: int) -> int:
    """The smallest power of two that is `at_least` or more; tables indexed by mask have such sizes."""
    return 1 << max(0, at_least - 1).bit_length()
