"""The timer heap and the id tables against the obvious: sorted lists and dicts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core import timers
from engine.core.ids import (
    add_client_id,
    child_slot,
    drop_client_id,
    find_client_id,
    find_execution,
    mix,
    parent_slot,
    remember_execution,
)
from engine.core.limits import Limits, power_of_two
from engine.core.state import NEVER, NONE, allocate
from tests.core.invariants import Facts, timer_heap

pytestmark = pytest.mark.kernel

SMALL = Limits(instruments=1, venues=1, parents=8, children=8, executions=8, accounts=1)


# ---- timers


@given(st.lists(st.tuples(st.integers(0, 15), st.one_of(st.none(), st.integers(0, 20))), max_size=60))
def test_timers_are_a_sorted_list(operations):
    """arm (at a time) and disarm (None) of owners, then all that is due in order."""
    state = allocate(SMALL)
    wanted: dict[int, tuple[int, int]] = {}
    for number, (owner, at_ns) in enumerate(operations):
        if at_ns is None:
            timers.disarm(state, owner)
            wanted.pop(owner, None)
        else:
            timers.arm(state, owner, at_ns)
            wanted[owner] = (at_ns, number)
        timer_heap(Facts(state))
        assert timers.first_due(state) == min(wanted.values(), default=(NEVER, 0))[0]
    fired = []
    while timers.first_due(state) != NEVER:
        owner = int(state.timer_owner[0])
        fired.append((int(state.timer_at[0]), owner))
        timers.disarm(state, owner)
    assert fired == [(at_ns, owner) for owner, (at_ns, _) in sorted(wanted.items(), key=lambda item: item[1])]


def test_heap_holds_every_owner_at_once():
    state = allocate(SMALL)
    for owner in range(16):
        timers.arm(state, owner, 100 - owner)
    assert state.core[0].timer_count == 16
    assert timers.first_due(state) == 85
    timers.arm(state, 15, NEVER)
    assert timers.first_due(state) == 86


# ---- clients' ids

#: Few names and sessions, so that they meet; words of all sizes and signs.
WORDS = st.sampled_from([1, 2, 3, -1, 1 << 62, -(1 << 63), (1 << 63) - 1])
NAMES = st.tuples(st.integers(0, 1), WORDS, st.sampled_from([0, 7, -7]))


@given(st.lists(st.tuples(st.booleans(), NAMES), max_size=60))
def test_client_ids_are_a_dict(operations):
    state = allocate(SMALL)
    known: dict[tuple[int, int, int], int] = {}
    free = list(range(8))
    for add, name in operations:
        session, *words = name
        if add and name not in known and free:
            p = known[name] = free.pop()
            state.parent_orders[p]["cl_ord_id"] = words
            state.parents[p]["session"] = session
            add_client_id(state, p)
        elif not add and name in known:
            p = known.pop(name)
            drop_client_id(state, p)
            free.append(p)
        for other, slot in known.items():
            assert find_client_id(state, *other) == slot
        if name not in known:
            assert find_client_id(state, *name) == NONE
    assert sum(int(p) != NONE for p in state.id_index) == len(known)


def test_dropping_what_is_not_there_changes_nothing():
    state = allocate(SMALL)
    state.parent_orders[3]["cl_ord_id"] = (1, 1)
    drop_client_id(state, 3)
    add_client_id(state, 3)
    drop_client_id(state, 3)
    drop_client_id(state, 3)
    assert (state.id_index == NONE).all()


# ---- executions


@given(st.lists(st.tuples(st.integers(0, 1), WORDS, st.integers(0, 4)), max_size=80))
@settings(max_examples=60)
def test_executions_are_the_newest_of_a_list(seen):
    state = allocate(SMALL)
    newest: list[tuple[int, int, int]] = []
    for execution in seen:
        e = find_execution(state, *execution)
        assert (e == NONE) == (execution not in newest)
        if e == NONE:
            e = remember_execution(state, *execution)
            newest = [*newest, execution][-8:]
        row = state.execs[e]
        assert (row.venue, row.word0, row.word1, row.next) == (*execution, NONE)
    index = [int(e) for e in state.exec_index if e != NONE]
    assert len(index) == len(set(index)) == len(newest)


# ---- our ids


def test_our_ids_carry_their_slot():
    state = allocate(SMALL)
    child = 1 << 39
    state.parent_orders[5]["order_id"] = (9 << 40) | 13
    state.child_orders[5]["order_id"] = (9 << 40) | child | 21
    assert parent_slot(state, (9 << 40) | 13) == 5
    assert child_slot(state, (9 << 40) | child | 21) == 5
    for other in (0, -1, 13, (9 << 40) | 5, (9 << 40) | 21, (9 << 40) | child | 13, (9 << 40) | child | 21 | 1 << 62):
        assert parent_slot(state, other) == NONE
        assert child_slot(state, other) == NONE


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), min_size=3, max_size=3))
def test_hash_is_not_negative_and_sees_each_word(words):
    a, b, c = words
    value = mix(a, b, c & 0x7FFF)
    assert 0 <= value < 1 << 46
    assert mix(a, b, (c & 0x7FFF) ^ 1) != value


def test_hash_spreads_numbered_names():
    """Names that differ in one digit, as clients number them, hardly meet: the longest run in the table stays short."""
    places = sorted(mix(int.from_bytes(f"ORD{n:05}".encode(), "little"), 0, 0) & 8191 for n in range(4096))
    assert len(set(places)) > 3000
    longest = max(places.count(place) for place in set(places))
    assert longest <= 8


@pytest.mark.parametrize(("at_least", "size"), [(0, 1), (1, 1), (2, 2), (3, 4), (4096, 4096), (4097, 8192)])
def test_table_sizes(at_least, size):
    assert power_of_two(at_least) == size
