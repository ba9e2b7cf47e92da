"""Timers: a binary heap in preallocated memory, one timer an owner, ties in arming order.

An owner is a parent's slot, or the number of parents plus a child's slot. `timer_pos` finds an owner's place in the
heap, so that arming again and disarming are O(log n). The heap's size is the number of owners: it cannot overflow.
Worst case: 2 log2(n) moves of four words for one arm or disarm; n is parents + children.
"""

from __future__ import annotations

from engine.core import undo
from engine.core.state import NEVER, NONE, State
from engine.jit import kernel


@kernel
def _before(state: State, a: int, b: int) -> bool:
    """Whether heap place a is due before place b."""
    if state.timer_at[a] != state.timer_at[b]:
        return bool(state.timer_at[a] < state.timer_at[b])
    return bool(state.timer_arm[a] < state.timer_arm[b])


@kernel
def _swap(state: State, a: int, b: int) -> None:
    _keep(state, a)
    _keep(state, b)
    state.timer_at[a], state.timer_at[b] = state.timer_at[b], state.timer_at[a]
    state.timer_arm[a], state.timer_arm[b] = state.timer_arm[b], state.timer_arm[a]
    state.timer_owner[a], state.timer_owner[b] = state.timer_owner[b], state.timer_owner[a]
    state.timer_pos[state.timer_owner[a]] = a
    state.timer_pos[state.timer_owner[b]] = b


@kernel
def _keep(state: State, place: int) -> None:
    """Let the undo log keep the heap's entry at `place`, and where its owner was."""
    if state.undo[0].active != 0:
        owner = int(state.timer_owner[place])
        undo.keep_word(state, undo.TIMER_AT, place, state.timer_at[place])
        undo.keep_word(state, undo.TIMER_ARM, place, state.timer_arm[place])
        undo.keep_word(state, undo.TIMER_OWNER, place, owner)
        undo.keep_word(state, undo.TIMER_POS, owner, state.timer_pos[owner])


@kernel
def _settle(state: State, place: int) -> None:
    """Move the entry at `place` up or down until the heap is in order again."""
    while place > 0 and _before(state, place, (place - 1) // 2):
        _swap(state, place, (place - 1) // 2)
        place = (place - 1) // 2
    count = state.core[0].timer_count
    while True:
        least = place
        for side in range(2 * place + 1, 2 * place + 3):
            if side < count and _before(state, side, least):
                least = side
        if least == place:
            return
        _swap(state, place, least)
        place = least


@kernel
def arm(state: State, owner: int, at_ns: int) -> None:
    """Set the owner's timer to `at_ns` (engine clock), in place of any that it had."""
    core = state.core[0]
    place = int(state.timer_pos[owner])
    if place == NONE:
        place = int(core.timer_count)
        core.timer_count += 1
        _keep(state, place)
        undo.keep_word(state, undo.TIMER_POS, owner, NONE)
        state.timer_owner[place] = owner
        state.timer_pos[owner] = place
    core.arm_seq += 1
    _keep(state, place)
    state.timer_at[place] = at_ns
    state.timer_arm[place] = core.arm_seq
    _settle(state, place)


@kernel
def disarm(state: State, owner: int) -> None:
    """Take the owner's timer away; nothing happens where it has none."""
    place = int(state.timer_pos[owner])
    if place == NONE:
        return
    core = state.core[0]
    last = int(core.timer_count) - 1
    core.timer_count = last
    if place != last:
        _swap(state, place, last)
    undo.keep_word(state, undo.TIMER_POS, owner, state.timer_pos[owner])
    state.timer_pos[owner] = NONE
    if place < last:
        _settle(state, place)


@kernel
def first_due(state: State) -> int:
    """Engine time of the earliest timer; NEVER where none is armed."""
    if state.core[0].timer_count == 0:
        return NEVER
    return int(state.timer_at[0])
