"""All memory of the core: allocated once, touched once, never grown.

`State` is a Memory of one-dimensional structured arrays. `step` reads and writes these, its event and its outbox,
and nothing else. A hash over the state's bytes is therefore a hash over everything that the engine knows.

Slots: an order's slot is its id's counter modulo the table's size (a power of two), so an id finds its slot without a
hash table, and a slot keeps a finished order until its turn comes round again; a late report still finds it.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import ClassVar, Final

import numpy as np

from engine.core.limits import (
    MAX_KILLS,
    MAX_MASSES,
    MAX_PARAMETERS,
    MAX_SESSIONS,
    OUTBOX,
    TICK_ROWS,
    Limits,
    power_of_two,
)
from engine.core.rows import (
    ACCOUNT,
    AMEND,
    CHILD,
    CORE,
    EXECUTION,
    EXPOSURE,
    INSTRUMENT,
    KILL,
    MASS,
    OVERRIDE,
    PARAMS,
    PARENT,
    PERIOD,
    POSITION,
    QUOTE_SLOT,
    RATE,
    RECENT_ORDER,
    SESSION,
    UNDO,
    VENUE,
    WORD,
)
from engine.core.tables import aligned, risk_tables, undo_tables
from engine.memory import Layout, Memory, memory, packed, spaced
from engine.record import records as r
from engine.record.units import TICK_ROW

#: Counters that `step` keeps; an index of State.counts.
COUNTERS: Final = (
    "quotes trades orders_in reports_in timers controls decisions children_sent fills parents_accepted"
    " parents_rejected parents_filled parents_canceled parents_expired qty_ordered qty_filled qty_canceled"
    " qty_rejected risk_blocks refusals gaps lost_records crossed_quotes alerts overfills late_fills wakes"
    " publisher_restarts timeouts cancels_sent qty_overfilled workflow_failures qty_busted busts corrects"
    " unsolicited replaces_sent reports_ignored"
).split()
(
    C_QUOTES, C_TRADES, C_ORDERS_IN, C_REPORTS_IN, C_TIMERS, C_CONTROLS, C_DECISIONS, C_CHILDREN_SENT, C_FILLS,
    C_PARENTS_ACCEPTED, C_PARENTS_REJECTED, C_PARENTS_FILLED, C_PARENTS_CANCELED, C_PARENTS_EXPIRED, C_QTY_ORDERED,
    C_QTY_FILLED, C_QTY_CANCELED, C_QTY_REJECTED, C_RISK_BLOCKS, C_REFUSALS, C_GAPS, C_LOST_RECORDS, C_CROSSED_QUOTES,
    C_ALERTS, C_OVERFILLS, C_LATE_FILLS, C_WAKES, C_PUBLISHER_RESTARTS, C_TIMEOUTS, C_CANCELS_SENT, C_QTY_OVERFILLED,
    C_WORKFLOW_FAILURES, C_QTY_BUSTED, C_BUSTS, C_CORRECTS, C_UNSOLICITED, C_REPLACES_SENT, C_REPORTS_IGNORED,
) = range(len(COUNTERS))  # fmt: skip

# Where a record comes from; the role of a session is FROM_CLIENT or FROM_VENUE.
FROM_FEED, FROM_CLIENT, FROM_VENUE, FROM_CONTROL = range(4)

#: No deadline.
NEVER: Final = (1 << 63) - 1
MAX_PX: Final = (1 << 62) - 1
NONE: Final = -1

# Phases of a parent: the state of its workflow, one byte. These all workflows share (engine.workflow.orders declares
# them); a strategy's own states come after them. FREE is an unused slot; FILLED to FAILED are ends.
FREE, FILLED, CANCELED, EXPIRED, FAILED = range(5)
NEW, WORKING, RESTING, PAUSED = range(5, 9)
# A request waits until no child is live; a stronger one takes a weaker one's place.
PENDING_REPLACE, PENDING_PAUSE, PENDING_CANCEL, PENDING_EXPIRE, FAILING = range(9, 14)
#: The first code of a strategy's own states.
OWN_STATES: Final = 14


class Event(IntEnum):
    """What can happen to a parent's workflow. FULL: nothing is left to route and children live; COMPLETE: none do."""

    START = 0
    CHILDREN_DONE = 1
    QUOTE = 2
    TIMEOUT = 3
    EXPIRE = 4
    CANCEL = 5
    PAUSE = 6
    REPLACE = 7
    RESUME = 8
    FULL = 9
    COMPLETE = 10


# Bits of `wake`: why a parent is on the work queue.
W_START, W_CHILDREN_DONE, W_QUOTE, W_REPLACE, W_PAUSE, W_RESUME, W_CANCEL, W_EXPIRE, W_TIMEOUT = (
    1 << k for k in range(9)
)


@memory
class State(Memory):
    """The core's memory."""

    params: np.ndarray
    core: np.ndarray
    counts: np.ndarray
    refusals: np.ndarray
    instruments: np.ndarray
    venues: np.ndarray
    sessions: np.ndarray
    ticks: np.ndarray
    quotes: np.ndarray
    lots: np.ndarray
    own: np.ndarray
    parent_orders: np.ndarray
    parents: np.ndarray
    child_orders: np.ndarray
    children: np.ndarray
    amends: np.ndarray
    positions: np.ndarray
    kills: np.ndarray
    masses: np.ndarray
    work: np.ndarray
    timer_at: np.ndarray
    timer_arm: np.ndarray
    timer_owner: np.ndarray
    timer_pos: np.ndarray
    id_index: np.ndarray
    execs: np.ndarray
    exec_index: np.ndarray
    parameters: np.ndarray
    limits: np.ndarray
    permits: np.ndarray
    rates: np.ndarray
    periods: np.ndarray
    exposures: np.ndarray
    accounts: np.ndarray
    reserves: np.ndarray
    overrides: np.ndarray
    recent: np.ndarray
    recent_index: np.ndarray
    scratch: np.ndarray
    undo: np.ndarray
    undo_core: np.ndarray
    undo_counts: np.ndarray
    undo_at: np.ndarray
    undo_parents: np.ndarray
    undo_parent_orders: np.ndarray
    undo_children: np.ndarray
    undo_child_orders: np.ndarray
    undo_amends: np.ndarray
    undo_instruments: np.ndarray
    undo_quotes: np.ndarray
    undo_words: np.ndarray
    LAYOUT: ClassVar[Layout] = packed(
        params=PARAMS,
        core=CORE,
        counts="<i8",
        refusals="<i8",
        instruments=INSTRUMENT,
        venues=VENUE,
        sessions=SESSION,
        ticks=TICK_ROW,
        quotes=QUOTE_SLOT,
        lots="<i8",
        own="<i4",
        parent_orders=r.ORDER,
        parents=PARENT,
        child_orders=r.ORDER,
        children=CHILD,
        amends=AMEND,
        positions=POSITION,
        kills=KILL,
        masses=MASS,
        work="<i4",
        timer_at="<i8",
        timer_arm="<i8",
        timer_owner="<i4",
        timer_pos="<i4",
        id_index="<i4",
        execs=EXECUTION,
        exec_index="<i4",
        parameters="<i8",
        limits="<i8",
        permits="<i8",
        rates=RATE,
        periods=PERIOD,
        exposures=EXPOSURE,
        accounts=ACCOUNT,
        reserves="<i8",
        overrides=OVERRIDE,
        recent=RECENT_ORDER,
        recent_index="<i8",
        scratch="<i8",
        undo=UNDO,
        undo_core=CORE,
        undo_counts="<i8",
        undo_at="<i8",
        undo_parents=PARENT,
        undo_parent_orders=r.ORDER,
        undo_children=CHILD,
        undo_child_orders=r.ORDER,
        undo_amends=AMEND,
        undo_instruments=INSTRUMENT,
        undo_quotes=QUOTE_SLOT,
        undo_words=WORD,
    )


@memory
class Events(Memory):
    """Views of one receive buffer, one a record family; index i is the record that begins at byte 64 * i."""

    words: np.ndarray
    head: np.ndarray
    quote: np.ndarray
    trade: np.ndarray
    order: np.ndarray
    report: np.ndarray
    change: np.ndarray
    session: np.ndarray
    control: np.ndarray
    mass_cancel: np.ndarray
    timer: np.ndarray
    clock: np.ndarray
    malformed: np.ndarray
    clear: np.ndarray
    status: np.ndarray
    session_down: np.ndarray
    recovered: np.ndarray
    roll: np.ndarray
    position: np.ndarray
    limit_change: np.ndarray
    LAYOUT: ClassVar[Layout] = packed(words="<i8") | spaced(
        r.UNIT,
        head=r.HEAD,
        quote=r.QUOTE,
        trade=r.TRADE,
        order=r.ORDER,
        report=r.REPORT,
        change=r.EXEC_CHANGE,
        session=r.DTYPES[r.Template.SESSION_UP],
        control=r.DTYPES[r.Template.CONTROL],
        mass_cancel=r.DTYPES[r.Template.MASS_CANCEL],
        timer=r.DTYPES[r.Template.TIMER],
        clock=r.DTYPES[r.Template.CLOCK_SAMPLE],
        malformed=r.DTYPES[r.Template.MALFORMED],
        clear=r.DTYPES[r.Template.CLEAR],
        status=r.DTYPES[r.Template.INSTRUMENT_STATUS],
        session_down=r.DTYPES[r.Template.SESSION_DOWN],
        recovered=r.DTYPES[r.Template.RECOVERED],
        roll=r.DTYPES[r.Template.ROLL],
        position=r.DTYPES[r.Template.POSITION_LOAD],
        limit_change=r.DTYPES[r.Template.LIMIT_CHANGE],
    )


@memory
class Outbox(Memory):
    """Views of the records that a step emits, 128 bytes a slot; count[0] of them are filled."""

    count: np.ndarray
    words: np.ndarray
    head: np.ndarray
    order: np.ndarray
    report: np.ndarray
    change: np.ndarray
    refusal: np.ndarray
    decision: np.ndarray
    risk_block: np.ndarray
    alert: np.ndarray
    failure: np.ndarray
    session: np.ndarray
    control_report: np.ndarray
    mass_cancel: np.ndarray
    LAYOUT: ClassVar[Layout] = {
        **packed(count="<i8", words="<i8"),
        **spaced(
            r.RECORD_MAX,
            head=r.HEAD,
            order=r.ORDER,
            report=r.REPORT,
            change=r.EXEC_CHANGE,
            refusal=r.DTYPES[r.Template.REFUSAL],
            decision=r.DTYPES[r.Template.DECISION],
            risk_block=r.DTYPES[r.Template.RISK_BLOCK],
            alert=r.DTYPES[r.Template.ALERT],
            failure=r.DTYPES[r.Template.FAILURE],
            session=r.DTYPES[r.Template.SESSION_UP],
            control_report=r.DTYPES[r.Template.CONTROL_REPORT],
            mass_cancel=r.DTYPES[r.Template.MASS_CANCEL],
        ),
    }


def allocate(limits: Limits) -> State:
    """A zeroed, touched State with the given capacities; parents and children are rounded up to powers of two."""
    parents, children = power_of_two(limits.parents), power_of_two(limits.children)
    executions, timers = power_of_two(limits.executions), parents + children
    state = State(
        params=aligned(1, PARAMS),
        core=aligned(1, CORE),
        counts=aligned(len(COUNTERS), np.dtype("<i8")),
        refusals=aligned(r.N_REASONS, np.dtype("<i8")),
        instruments=aligned(limits.instruments, INSTRUMENT),
        venues=aligned(limits.venues, VENUE),
        sessions=aligned(MAX_SESSIONS, SESSION),
        ticks=aligned(TICK_ROWS, TICK_ROW),
        quotes=aligned(limits.instruments * limits.venues, QUOTE_SLOT),
        lots=aligned(limits.instruments * limits.venues, np.dtype("<i8")),
        own=aligned(limits.instruments * limits.venues, np.dtype("<i4")),
        parent_orders=aligned(parents, r.ORDER),
        parents=aligned(parents, PARENT),
        child_orders=aligned(children, r.ORDER),
        children=aligned(children, CHILD),
        amends=aligned(children, AMEND),
        positions=aligned(limits.accounts * limits.instruments, POSITION),
        kills=aligned(MAX_KILLS, KILL),
        masses=aligned(MAX_MASSES, MASS),
        work=aligned(parents, np.dtype("<i4")),
        timer_at=aligned(timers, np.dtype("<i8")),
        timer_arm=aligned(timers, np.dtype("<i8")),
        timer_owner=aligned(timers, np.dtype("<i4")),
        timer_pos=aligned(timers, np.dtype("<i4")),
        id_index=aligned(2 * parents, np.dtype("<i4")),
        execs=aligned(executions, EXECUTION),
        exec_index=aligned(2 * executions, np.dtype("<i4")),
        parameters=aligned(MAX_PARAMETERS, np.dtype("<i8")),
        scratch=aligned(8 * limits.venues, np.dtype("<i8")),
        **risk_tables(limits, children),
        **undo_tables(len(COUNTERS)),
    )
    state.core["mass_at_ns"] = NEVER
    state.core["mass_due_ns"] = NEVER
    state.timer_pos[:] = state.own[:] = NONE
    state.id_index[:] = NONE
    state.exec_index[:] = NONE
    for name in ("first_child", "rest_next", "rest_prev"):
        state.parents[name] = NONE
    for name in ("next", "own_next", "own_prev"):
        state.children[name] = NONE
    state.periods["low_px2"] = state.periods["past_low_px2"] = state.periods["lows"] = NEVER
    state.overrides["place"] = state.recent_index[:] = NONE
    state.core[0].override_due_ns = NEVER
    state.instruments["rest_head"] = NONE
    state.instruments["rest_sell_px"] = MAX_PX
    return state


def counted_arrays(state: State) -> dict[str, np.ndarray]:
    """The arrays that the state is, by name: all but scratch and undo log, which hold nothing between events."""
    return {name: array for name, array in state.arrays().items() if name != "scratch" and not name.startswith("undo")}


def state_hash(state: State) -> str:
    """SHA-256 over all of the state's bytes that count."""
    digest = hashlib.sha256()
    for name, array in counted_arrays(state).items():
        digest.update(name.encode())
        digest.update(array.view(np.uint8).data)
    return digest.hexdigest()


def view_events(buffer: np.ndarray) -> Events:
    """Events over a uint8 buffer. Its length is a multiple of 64 and its last 64 bytes are slack for 128-byte views.

    Shapes: each view has len(buffer) // 64 - 1 records, 64 bytes apart (they overlap; only one kind is right).
    """
    units = len(buffer) // r.UNIT - 1
    if len(buffer) % r.UNIT or units < 1:
        raise ValueError(f"event buffer of {len(buffer)} bytes: a multiple of 64 and at least 128 is needed")
    views = {
        name: np.ndarray((units,), dtype=dtype, buffer=buffer.data, strides=(stride,))
        for name, (dtype, stride) in Events.LAYOUT.items()
        if name != "words"
    }
    return Events(words=buffer.view("<i8"), **views)


def make_outbox(slots: int = OUTBOX) -> Outbox:
    """An empty outbox of `slots` slots of 128 bytes."""
    raw = aligned(slots * r.RECORD_MAX, np.dtype(np.uint8))

    def view(dtype: np.dtype[np.void]) -> np.ndarray:
        return np.ndarray((slots,), dtype=dtype, buffer=raw.data, strides=(r.RECORD_MAX,))

    views = {name: view(dtype) for name, (dtype, stride) in Outbox.LAYOUT.items() if name not in ("count", "words")}
    return Outbox(count=aligned(1, np.dtype("<i8")), words=raw.view("<i8"), **views)
