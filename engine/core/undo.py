"""The undo log: what a step changed, so that a failed one leaves no trace but the record that says so.

Between `begin` and `commit` (or `roll_back`) every change of the state is preceded by a copy of the row or word as it
was: the functions of the core do that themselves (`keep_*`), and `begin` keeps what every step may write: its parent's
two rows, the core's row and the counters. A step of a strategy may therefore write its parent's rows and call the
core's functions, and nothing else. Copies lie in preallocated tables (see limits.UNDO_ROWS); rows are put back newest
first, so that the oldest copy of a row is what remains.

Worst case: a step that would need more copies than there is room for is stopped by an assertion before it changes
anything more, and is undone like every other failure. Outside of a step (fills, quotes) a `keep_*` is one load.
"""

from __future__ import annotations

from engine.core.limits import UNDO_ROWS, UNDO_WORDS
from engine.core.state import Outbox, State
from engine.jit import kernel

# Tables of words.
TIMER_AT, TIMER_ARM, TIMER_OWNER, TIMER_POS, WORK, OWN, OWN_NEXT, OWN_PREV = range(8)
# Where each table's row numbers begin in `undo_at`.
_PARENTS, _CHILDREN, _INSTRUMENTS, _QUOTES = 0, UNDO_ROWS, 2 * UNDO_ROWS, 3 * UNDO_ROWS


@kernel
def begin(state: State, p: int) -> None:
    """Start logging for a step of parent p."""
    log = state.undo[0]
    log.active = 1
    log.n_parents = 0
    log.n_children = 0
    log.n_instruments = 0
    log.n_quotes = 0
    log.n_words = 0
    state.undo_core[0] = state.core[0]
    for k in range(len(state.counts)):
        state.undo_counts[k] = state.counts[k]
    state.undo_parent_orders[0] = state.parent_orders[p]
    keep_parent(state, p)


@kernel
def commit(state: State) -> None:
    """The step is good: what was kept is forgotten."""
    state.undo[0].active = 0


@kernel
def roll_back(state: State, p: int, outbox: Outbox, outputs: int) -> int:
    """Put everything back as `begin` found it, and cut the outbox back to `outputs`; returns the bytes restored."""
    log = state.undo[0]
    log.active = 0
    for k in range(log.n_quotes - 1, -1, -1):
        state.quotes[int(state.undo_at[_QUOTES + k])] = state.undo_quotes[k]
    for k in range(log.n_instruments - 1, -1, -1):
        state.instruments[int(state.undo_at[_INSTRUMENTS + k])] = state.undo_instruments[k]
    for k in range(log.n_children - 1, -1, -1):
        state.children[int(state.undo_at[_CHILDREN + k])] = state.undo_children[k]
        state.child_orders[int(state.undo_at[_CHILDREN + k])] = state.undo_child_orders[k]
        state.amends[int(state.undo_at[_CHILDREN + k])] = state.undo_amends[k]
    for k in range(log.n_parents - 1, -1, -1):
        state.parents[int(state.undo_at[_PARENTS + k])] = state.undo_parents[k]
    for k in range(log.n_words - 1, -1, -1):  # after the rows, which links changed before they were kept
        _put_word(state, k)
    state.parent_orders[p] = state.undo_parent_orders[0]
    for k in range(len(state.counts)):
        state.counts[k] = state.undo_counts[k]
    state.core[0] = state.undo_core[0]
    outbox.count[0] = outputs
    rows = 64 * int(log.n_quotes) + 256 * int(log.n_instruments) + 224 * int(log.n_children) + 128 * int(log.n_parents)
    return rows + 8 * int(log.n_words) + 128 + 8 * len(state.counts) + 112


@kernel
def _put_word(state: State, k: int) -> None:
    word = state.undo_words[k]
    table, place, value = int(word.table), int(word.place), int(word.value)
    if table == TIMER_AT:
        state.timer_at[place] = value
    elif table == TIMER_ARM:
        state.timer_arm[place] = value
    elif table == TIMER_OWNER:
        state.timer_owner[place] = value
    elif table == TIMER_POS:
        state.timer_pos[place] = value
    elif table == WORK:
        state.work[place] = value
    elif table == OWN:
        state.own[place] = value
    elif table == OWN_NEXT:
        state.children[place].own_next = value
    else:
        state.children[place].own_prev = value


@kernel
def keep_parent(state: State, p: int) -> None:
    """Keep row p of the parents before it changes."""
    log = state.undo[0]
    if log.active == 0:
        return
    k = int(log.n_parents)
    assert k < UNDO_ROWS, "a step may change so many parents"
    state.undo_at[_PARENTS + k] = p
    state.undo_parents[k] = state.parents[p]
    log.n_parents = k + 1


@kernel
def keep_child(state: State, c: int) -> None:
    """Keep the rows of child c before they change: itself, its order, what its unanswered replaces ask for."""
    log = state.undo[0]
    if log.active == 0:
        return
    k = int(log.n_children)
    assert k < UNDO_ROWS, "a step may change so many children"
    state.undo_at[_CHILDREN + k] = c
    state.undo_children[k] = state.children[c]
    state.undo_child_orders[k] = state.child_orders[c]
    state.undo_amends[k] = state.amends[c]
    log.n_children = k + 1


@kernel
def keep_instrument(state: State, instrument: int) -> None:
    """Keep an instrument's row before it changes."""
    log = state.undo[0]
    if log.active == 0:
        return
    k = int(log.n_instruments)
    assert k < UNDO_ROWS, "a step may change so many instruments"
    state.undo_at[_INSTRUMENTS + k] = instrument
    state.undo_instruments[k] = state.instruments[instrument]
    log.n_instruments = k + 1


@kernel
def keep_quote(state: State, slot: int) -> None:
    """Keep a quote's row before it changes."""
    log = state.undo[0]
    if log.active == 0:
        return
    k = int(log.n_quotes)
    assert k < UNDO_ROWS, "a step may change so many quotes"
    state.undo_at[_QUOTES + k] = slot
    state.undo_quotes[k] = state.quotes[slot]
    log.n_quotes = k + 1


@kernel
def keep_word(state: State, table: int, place: int, value: int) -> None:
    """Keep a word of a table of integers (TIMER_AT .. OWN_PREV) before it changes; `value` is what it holds."""
    log = state.undo[0]
    if log.active == 0:
        return
    k = int(log.n_words)
    assert k < UNDO_WORDS, "a step may change so many words"
    word = state.undo_words[k]
    word.table = table
    word.place = place
    word.value = value
    log.n_words = k + 1
