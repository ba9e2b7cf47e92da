"""Memory: annotations are held to the layout, arrays to their dtypes, and kernels read what Python wrote."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from engine.core.state import Events, Outbox, State, allocate, make_outbox, state_hash, view_events
from engine.jit import JIT, kernel
from engine.memory import Layout, Memory, memory, packed
from engine.run.reference import limits_of
from engine.run.wiring import Wiring
from tests.core.world import World, make_config


@memory
class Pair(Memory):
    """Two columns."""

    left: np.ndarray
    right: np.ndarray
    LAYOUT: ClassVar[Layout] = packed(left="<i8", right="<i4")


@kernel
def total(pair: Pair) -> int:
    """Sum of both columns; the last item of the right one is doubled in place."""
    pair.right[len(pair.right) - 1] *= 2
    return int(pair.left.sum() + pair.right.sum())


@pytest.mark.kernel
def test_kernel_reads_and_writes_the_arrays():
    pair = Pair(left=np.arange(3, dtype=np.int64), right=np.arange(4, dtype=np.int32))
    assert total(pair) == 3 + 9
    assert pair.right.tolist() == [0, 1, 2, 6]


@memory
class Outer(Memory):
    """A column, and a Memory."""

    own: np.ndarray
    pair: Pair
    LAYOUT: ClassVar[Layout] = packed(own="<i8")
    INNER: ClassVar[dict[str, type[Memory]]] = {"pair": Pair}


@kernel
def total_of_inner(outer: Outer) -> int:
    """Sum of all of it."""
    return int(outer.own.sum() + total(outer.pair))


@pytest.mark.kernel
def test_a_memory_in_a_memory():
    pair = Pair(left=np.arange(3, dtype=np.int64), right=np.arange(4, dtype=np.int32))
    outer = Outer(own=np.arange(5, dtype=np.int64), pair=pair)
    assert total_of_inner(outer) == 10 + 3 + 9
    assert pair.right.tolist() == [0, 1, 2, 6]
    assert list(outer.arrays()) == ["own"]
    with pytest.raises(ValueError, match=r"Outer\.pair: .* not as in INNER"):
        Outer(own=outer.own, pair=outer)


@pytest.mark.parametrize("cls", [State, Events, Outbox, Wiring, Pair])
def test_annotations_are_the_layout(cls):
    assert [name for name in cls.__annotations__ if name != "LAYOUT"] == list(cls.LAYOUT)


def test_annotation_that_is_missing_is_found():
    with pytest.raises(TypeError, match=r"\['left'\] are not those of LAYOUT"):

        @memory
        class _Half(Memory):
            left: np.ndarray
            LAYOUT: ClassVar[Layout] = packed(left="<i8", right="<i4")


def test_array_that_is_not_as_in_the_layout_is_refused():
    good = np.zeros(4, dtype=np.int64)
    for left in (good.astype(np.int32), good[::2], good.reshape(2, 2)):
        with pytest.raises(ValueError, match=r"Pair\.left"):
            Pair(left=left, right=np.zeros(1, dtype=np.int32))
    with pytest.raises(ValueError, match="needs"):
        Pair(left=good)


def test_event_buffer_of_a_wrong_size_is_refused():
    for size in (0, 64, 100):
        with pytest.raises(ValueError, match="a multiple of 64"):
            view_events(np.zeros(size, dtype=np.uint8))


def test_tables_begin_at_cache_lines():
    state = allocate(limits_of(make_config()))
    for name, array in state.arrays().items():
        assert array.ctypes.data % 64 == 0, name
    assert make_outbox().words.ctypes.data % 64 == 0


@pytest.mark.kernel
def test_state_hash_sees_every_byte_but_the_scratch():
    w = World()
    before = state_hash(w.state)
    w.state.scratch[0] += 1
    assert state_hash(w.state) == before
    for name, array in w.state.arrays().items():
        if name != "scratch" and not name.startswith("undo"):
            array.view(np.uint8)[-1] ^= 1
            assert state_hash(w.state) != before, name
            array.view(np.uint8)[-1] ^= 1
    assert state_hash(w.state) == before


@pytest.mark.skipif(not JIT, reason="numba alone knows types by their names")
def test_a_second_memory_of_a_name_is_refused():
    """Numba takes types of one name for one: kernels would read the members of the other."""

    class State(Memory):
        LAYOUT = packed(some="<i8")
        some: np.ndarray

    with pytest.raises(TypeError, match=r"State: there is a Memory of that name in engine\.core\.state"):
        memory(State)
