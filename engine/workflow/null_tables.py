"""The machine null as tables and calls; written by engine.workflow.table."""

from __future__ import annotations

import numpy as np

from engine.core.parents import apply_replace as step_10
from engine.core.parents import begin_episode as action_4
from engine.core.parents import complete as step_7
from engine.core.parents import end_canceled as action_1
from engine.core.parents import end_expired as action_2
from engine.core.parents import end_failed as action_3
from engine.core.parents import end_filled as action_0
from engine.core.parents import hold_cancel as step_4
from engine.core.parents import hold_expire as step_5
from engine.core.parents import hold_pause as step_3
from engine.core.parents import hold_replace as step_2
from engine.core.parents import nothing_more as step_13
from engine.core.parents import recall as step_6
from engine.core.parents import replace_paused as step_9
from engine.core.parents import resume as step_8
from engine.core.parents import resume_early as step_12
from engine.core.parents import suspend as step_11
from engine.core.parents import unwatch as action_6
from engine.core.parents import watch as action_5
from engine.core.state import Outbox, State
from engine.jit import kernel
from engine.workflow.null import give_back as step_14

# fmt: off
STEP = np.frombuffer(bytes.fromhex(
    "0000000000000000000000"
    "0000000000000000000000"
    "0000000000000000000000"
    "0000000000000000000000"
    "0000000000000000000000"
    "0e00000005040302010007"
    "000e000005040302010607"
    "00000e0005040302010007"
    "0000000005040309080007"
    "000a00000504030101060a"
    "000b0000050401010c0607"
    "000d000005010101010607"
    "000d000000010101010607"
    "000d000000010101010607"
), dtype=np.uint8)
NEXT = np.frombuffer(bytes.fromhex(
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
    "02ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff0cffffffffffffff0bffffffffffffff"
    "0affffffffffffff09ffffffffffffffffffffffffffffffffffffffffffffffff0102ffffffffff"
    "ffffffffffffffff02ffffffffffffffffffffffffffffffffffffffffffffff0cffffffffffffff0bffffffffffffff"
    "0affffffffffffff09ffffffffffffffffffffffffffffff06ffffffffffffffff0102ffffffffff"
    "ffffffffffffffffffffffffffffffff02ffffffffffffffffffffffffffffff0cffffffffffffff0bffffffffffffff"
    "0affffffffffffff09ffffffffffffffffffffffffffffffffffffffffffffffff0102ffffffffff"
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff0cffffffffffffff0bffffffffffffff"
    "0affffffffffffff080102ffffffffff05ffffffffffffffffffffffffffffffff0102ffffffffff"
    "ffffffffffffffff050102ffffffffffffffffffffffffffffffffffffffffff0cffffffffffffff0bffffffffffffff"
    "0affffffffffffffffffffffffffffffffffffffffffffff09ffffffffffffff050102ffffffffff"
    "ffffffffffffffff08ffffffffffffffffffffffffffffffffffffffffffffff0cffffffffffffff0bffffffffffffff"
    "ffffffffffffffffffffffffffffffff06ffffffffffffff0affffffffffffffff0102ffffffffff"
    "ffffffffffffffff02ffffffffffffffffffffffffffffffffffffffffffffff0cffffffffffffffffffffffffffffff"
    "ffffffffffffffffffffffffffffffffffffffffffffffff0bffffffffffffffff0102ffffffffff"
    "ffffffffffffffff03ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
    "ffffffffffffffffffffffffffffffffffffffffffffffff0cffffffffffffffff0102ffffffffff"
    "ffffffffffffffff04ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
    "ffffffffffffffffffffffffffffffffffffffffffffffff0dffffffffffffffff0104ffffffffff"
), dtype=np.uint8)
REASON = np.frombuffer(bytes.fromhex(
    "0000000000000000000000"
    "0000000000000000000000"
    "0000000000000000000000"
    "0000000000000000000000"
    "0000000000000000000000"
    "00000000000000002c0000"
    "00000000000000002c0000"
    "00000000000000002c0000"
    "0000000000000000000000"
    "00000000000000312c0000"
    "0000000000003131000000"
    "00000000003131312c0000"
    "00000000003131312c0000"
    "0000000000323232320000"
), dtype=np.uint8)
TIMEOUT_NS = np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], dtype=np.int64)
FOR_CHILDREN = np.frombuffer(bytes.fromhex(
    "0000000000000100000101"
    "010101"
), dtype=np.uint8)
EFFECT = np.frombuffer(bytes.fromhex(
    "0000000000000000000000"
    "00000000"
), dtype=np.uint8)
COMPENSATION = np.frombuffer(bytes.fromhex(
    "0000000000000000"
), dtype=np.uint8)
# fmt: on


@kernel
def run_step(step: int, state: State, p: int, event: int, outbox: Outbox) -> int:
    """Run a step by its number; its outcome."""
    if step == 14:  # give_back
        return int(step_14(state, p, event, outbox))
    if step == 13:  # nothing_more
        return int(step_13(state, p, event, outbox))
    if step == 12:  # resume_early
        return int(step_12(state, p, event, outbox))
    if step == 11:  # suspend
        return int(step_11(state, p, event, outbox))
    if step == 10:  # apply_replace
        return int(step_10(state, p, event, outbox))
    if step == 9:  # replace_paused
        return int(step_9(state, p, event, outbox))
    if step == 8:  # resume
        return int(step_8(state, p, event, outbox))
    if step == 7:  # complete
        return int(step_7(state, p, event, outbox))
    if step == 6:  # recall
        return int(step_6(state, p, event, outbox))
    if step == 5:  # hold_expire
        return int(step_5(state, p, event, outbox))
    if step == 4:  # hold_cancel
        return int(step_4(state, p, event, outbox))
    if step == 3:  # hold_pause
        return int(step_3(state, p, event, outbox))
    if step == 2:  # hold_replace
        return int(step_2(state, p, event, outbox))
    return -1


@kernel
def enter(code: int, state: State, p: int, outbox: Outbox) -> None:
    """What a state does when a workflow enters it."""
    if code == 1:
        action_0(state, p, outbox)
    if code == 2:
        action_1(state, p, outbox)
    if code == 3:
        action_2(state, p, outbox)
    if code == 4:
        action_3(state, p, outbox)
    if code == 5:
        action_4(state, p, outbox)
    if code == 7:
        action_5(state, p, outbox)


@kernel
def leave(code: int, state: State, p: int, outbox: Outbox) -> None:
    """What a state does when a workflow leaves it."""
    if code == 7:
        action_6(state, p, outbox)
