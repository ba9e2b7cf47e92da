"""What must hold of a state after every event, whatever happened: each rule is a function, `validate` runs them all.

Written over plain lists and dicts, from the meaning of the fields and not from the kernels. Worst case: it walks every
table; with the small tables of tests about a millisecond.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from engine.core.lifecycle import M_ACCEPTED, M_CANCEL, M_DUE
from engine.core.state import (
    COUNTERS,
    FAILED,
    FAILING,
    FREE,
    MAX_PX,
    NEVER,
    NONE,
    OWN_STATES,
    PAUSED,
    PENDING_REPLACE,
    RESTING,
    W_CHILDREN_DONE,
    W_START,
    State,
)
from engine.record.records import Liquidity, OrdStatus, Side, Template, Tif
from tests.core.invariants_own import own
from tests.core.invariants_risk import exposures, furthest, overrides, rates

UNANSWERED = {
    OrdStatus.PENDING_NEW, OrdStatus.PENDING_CANCEL, OrdStatus.PENDING_REPLACE, OrdStatus.UNKNOWN,
}  # fmt: skip
TERMINAL = {OrdStatus.FILLED, OrdStatus.CANCELED, OrdStatus.EXPIRED, OrdStatus.REJECTED}


class Booked:
    """The executions that were booked, as Python integers: what the positions must come to."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, int], Counter[str]] = {}
        self.fills = 0
        #: By place in `exposures`: the furthest long and short that a step ended at, see `invariants_risk.furthest`.
        self.reached: dict[int, tuple[int, int]] = {}
        #: Executions that stand, by venue and ExecID: (account, instrument, side, venue, price, quantity, liquidity).
        self.stand: dict[tuple[int, ...], tuple[int, ...]] = {}
        #: The ExecID of what stands for an execution now, by that of what it was before.
        self.newer: dict[tuple[int, ...], tuple[int, ...]] = {}

    def add(self, state: State, report: Any) -> None:
        """Note the FILL that was just booked."""
        slot = int(report.order_id) & (1 << 39) - 1 & len(state.children) - 1
        order = state.child_orders[slot]
        who = (int(order.account_id), int(order.instrument_id), int(order.side), int(report.venue_id))
        what = (*who, int(report.last_px), int(report.last_qty), int(report.liquidity))
        self.stand[_exec(report, "exec_id")] = what
        self.book(state, what, 1)
        self.fills += 1

    def load(self, state: State, load: Any) -> None:
        """Note the POSITION_LOAD that was just taken."""
        row, qty = state.instruments[int(load.instrument_id)], int(load.qty)
        cost = abs(qty) * int(load.px) * int(row.notional_mul) // int(row.notional_div) * (1 if qty >= 0 else -1)
        if load["flags"]:
            cost = int(load.px)
        self.rows[int(load.account_id), int(load.instrument_id)] = Counter(qty=qty, cost=cost)

    def roll(self) -> None:
        """Note a ROLL: what is summed up a day begins at zero."""
        self.rows = {key: Counter(qty=sums["qty"], cost=sums["cost"]) for key, sums in self.rows.items()}
        self.fills = 0

    def change(self, state: State, change: Any) -> None:
        """Note the BUST or CORRECT that was just taken."""
        ref, new = _exec(change, "exec_ref_id"), _exec(change, "exec_id")
        while ref in self.newer:
            ref = self.newer[ref]
        self.newer[ref] = new
        what = self.stand.pop(ref)
        self.book(state, what, -1)
        if change.template_id == Template.CORRECT:
            liquidity = int(change.liquidity) or what[6]
            self.stand[new] = (*what[:4], int(change.last_px), int(change.last_qty), liquidity)
            self.book(state, self.stand[new], 1)

    def book(self, state: State, what: tuple[int, ...], fills: int) -> None:
        """Add an execution to its position, or (fills -1) take it away again."""
        account, instrument, side, venue_id, px, qty, liquidity = what
        row, venue = state.instruments[instrument], state.venues[venue_id]
        money = px * qty * int(row.notional_mul) // int(row.notional_div) * fills
        added = liquidity == Liquidity.ADDED
        rate, ppm = (venue.make_fee, venue.make_ppm) if added else (venue.take_fee, venue.take_ppm)
        sums = self.rows.setdefault((account, instrument), Counter())
        sign = 1 if side == Side.BUY else -1
        fee = int(rate) * qty // int(row.qty_unit) + money * fills * int(ppm) // 1_000_000
        qty *= fills
        sums["qty"] += sign * qty
        sums["cost"] += sign * money
        sums["bought_qty" if sign > 0 else "sold_qty"] += qty
        sums["fee"] += fee * fills
        sums["fills"] += fills


def _exec(row: Any, name: str) -> tuple[int, ...]:
    """Venue and ExecID."""
    return (int(row.venue_id), *(int(word) for word in row[name]))


class Facts:
    """A state read once into Python numbers."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.core = _row(state.core[0])
        self.params = _row(state.params[0])
        self.counts = dict(zip(COUNTERS, state.counts.tolist(), strict=True))
        self.parents = _rows(state.parents)
        self.parent_orders = _rows(state.parent_orders)
        self.children = _rows(state.children)
        self.child_orders = _rows(state.child_orders)
        self.used = [p for p, row in enumerate(self.parents) if row["phase"] != FREE]
        self.open = [p for p in self.used if self.parents[p]["phase"] > FAILED]
        used = [n for n, order in enumerate(self.child_orders) if order["order_id"] != 0]
        self.live = [n for n in used if self.children[n]["ord_status"] not in TERMINAL]
        self.asked = _rows(state.amends)
        timers = self.core["timer_count"]
        self.timers = list(zip(state.timer_at.tolist(), state.timer_arm.tolist(), strict=True))[:timers]
        self.owners = state.timer_owner.tolist()[:timers]

    def amends(self, n: int, name: str) -> list[int]:
        """What the unanswered replaces of child n ask for, the oldest first."""
        return list(self.asked[n][name][: self.children[n]["amends"]])


def _row(record: Any) -> dict[str, Any]:
    return dict(zip(record.dtype.names, record.tolist(), strict=True))


def _rows(array: np.ndarray) -> list[dict[str, Any]]:
    names = array.dtype.names or ()
    return [dict(zip(names, row, strict=True)) for row in array.tolist()]


def validate(state: State, booked: Booked | None = None) -> Facts:
    """AssertionError where an invariant does not hold; what was read, for further questions."""
    facts = Facts(state)
    for rule in (
        live_counts, family, ids, quantities, terms, work_queue, timer_heap, timer_cover, cancels_due, rest_lists,
        quotes, own, progress, executions, exposures, rates, overrides,
    ):  # fmt: skip
        rule(facts)
    if booked is not None:
        positions(facts, booked)
        furthest(facts, booked.reached)
    return facts


def live_counts(f: Facts) -> None:
    """Counts of what lives."""
    assert f.core["live_parents"] == len(f.open)
    assert f.core["live_children"] == len(f.live)
    unknown = [n for n in f.live if f.children[n]["ord_status"] == OrdStatus.UNKNOWN]
    assert f.core["unknown_children"] == len(unknown)
    done = f.counts["parents_filled"] + f.counts["parents_canceled"] + f.counts["parents_expired"]
    assert f.counts["parents_accepted"] == len(f.open) + done


def family(f: Facts) -> None:
    """Each parent's list holds exactly its live children, and their leaves are its live quantity."""
    listed = []
    for p in f.used:
        mine, n = [], f.parents[p]["first_child"]
        while n != NONE:
            assert f.child_orders[n]["parent_id"] == f.parent_orders[p]["order_id"]
            mine.append(n)
            n = f.children[n]["next"]
            assert len(mine) <= len(f.children)
        assert f.parents[p]["live_children"] == len(mine)
        assert f.parents[p]["live_qty"] == sum(f.children[n]["leaves_qty"] for n in mine)
        assert not mine or p in f.open
        listed += mine
    assert sorted(listed) == f.live


def ids(f: Facts) -> None:
    """Ids are unique among what lives, carry their slot, and the clients' ids are found from exactly one place."""
    mask = 1 << 39
    living = [f.parent_orders[p]["order_id"] for p in f.used] + [f.child_orders[n]["order_id"] for n in f.live]
    assert len(set(living)) == len(living)
    for p in f.used:
        assert f.parent_orders[p]["order_id"] & mask == 0
        assert f.parent_orders[p]["order_id"] & (mask - 1) & (len(f.parents) - 1) == p
    for n in f.live:
        assert f.child_orders[n]["order_id"] & mask
        assert f.child_orders[n]["order_id"] & (mask - 1) & (len(f.children) - 1) == n
    entered = [p for p in f.state.id_index.tolist() if p != NONE]
    assert len(set(entered)) == len(entered)
    assert set(entered) <= set(f.used)
    for p in set(f.used) - set(entered):
        assert p not in f.open
        assert f.parent_orders[p]["order_id"] < f.params["id_base"], "only an earlier day's name may be used again"
    names = [(f.parents[p]["session"], f.parent_orders[p]["cl_ord_id"]) for p in entered]
    assert len({(s, tuple(np.ravel(words))) for s, words in names}) == len(names)


def quantities(f: Facts) -> None:
    """Nothing is lost: each child's, each parent's and all quantities add up."""
    for n in f.live:
        child, order = f.children[n], f.child_orders[n]
        assert child["leaves_qty"] == max(order["qty"] - child["cum_qty"] - child["busted_qty"], 0)
        grows = max(f.amends(n, "qty"), default=0) > child["cum_qty"] + child["busted_qty"]
        assert child["leaves_qty"] > 0 or grows, "what has nothing left has ended"
    for n, child in enumerate(f.children):
        if n not in f.live:
            assert child["leaves_qty"] == 0
        assert min(child["busted_qty"], child["cum_qty"]) >= 0
        assert child["busted_qty"] == 0 or child["cum_qty"] + child["busted_qty"] <= f.child_orders[n]["qty"]
        if child["ord_status"] == OrdStatus.FILLED:
            assert child["cum_qty"] >= f.child_orders[n]["qty"]
    still = 0
    for p in f.open:
        parent, order = f.parents[p], f.parent_orders[p]
        left = max(order["qty"] - parent["cum_qty"] - parent["busted_qty"], 0)
        still += left
        if not f.core["rolls"] and f.counts["overfills"] == f.counts["late_fills"] == 0:
            assert parent["live_qty"] <= left
    canceled = busted = overfilled = 0
    for p in f.used:
        parent, order = f.parents[p], f.parent_orders[p]
        done = parent["cum_qty"] + parent["busted_qty"]
        assert min(parent["cum_qty"], parent["busted_qty"]) >= 0
        assert parent["busted_qty"] == 0 or done <= order["qty"], "an execution is first of what was busted"
        if parent["ord_status"] == OrdStatus.FILLED:
            assert parent["cum_qty"] >= order["qty"]
        busted += parent["busted_qty"]
        overfilled += max(parent["cum_qty"] - order["qty"], 0)
        if p not in f.open:
            assert parent["live_qty"] == 0
            assert parent["ord_status"] in TERMINAL
            canceled += max(order["qty"] - done, 0)
    c = f.counts
    assert c["qty_ordered"] == (
        c["qty_filled"] - c["qty_overfilled"] + c["qty_canceled"] + c["qty_rejected"] + c["qty_busted"] + still
    ), "ordered = filled - overfilled + cancelled + rejected + busted + open"
    if f.core["rolls"]:
        return  # counters are a day's: what of an earlier day is undone may make them negative
    if c["parents_accepted"] == len(f.used):  # no slot was taken twice: the orders themselves add up to the counters
        assert (c["qty_canceled"], c["qty_busted"], c["qty_overfilled"]) == (canceled, busted, overfilled)
    assert min(c.values()) >= 0


def terms(f: Facts) -> None:
    """A child's status follows from what is known of it, and replaces are unanswered on open children alone."""
    for n, child in enumerate(f.children):
        assert child["amends"] == 0 or n in f.live
        if n not in f.live or child["ord_status"] == OrdStatus.UNKNOWN:
            continue
        true = OrdStatus.NEW if child["marks"] & M_ACCEPTED else OrdStatus.PENDING_NEW
        true = OrdStatus.PARTIALLY_FILLED if child["cum_qty"] else true
        true = OrdStatus.PENDING_REPLACE if child["amends"] else true
        true = OrdStatus.PENDING_CANCEL if child["marks"] & M_CANCEL else true
        assert child["ord_status"] == true


def executions(f: Facts) -> None:
    """Each remembered execution is found from one place; what another has taken the place of stands for nothing."""
    rows, count = _rows(f.state.execs), f.core["exec_count"]
    entered = [e for e in f.state.exec_index.tolist() if e != NONE]
    assert sorted(entered) == list(range(count))
    assert len({(row["venue"], row["word0"], row["word1"]) for row in rows[:count]}) == count
    for row in rows[:count]:
        assert row["qty"] >= 0
        if row["next"] != NONE:
            assert row["qty"] == 0
            assert rows[row["next"]]["order_id"] == row["order_id"]


def work_queue(f: Facts) -> None:
    """The queue holds each parent that says so, once."""
    work, head = f.state.work.tolist(), f.core["work_head"]
    queued = [work[(head + k) % len(work)] for k in range(f.core["work_count"])]
    assert sorted(queued) == [p for p, row in enumerate(f.parents) if row["queued"]]
    for p in f.open:
        if f.parents[p]["wake"]:
            assert p in queued


def timer_heap(f: Facts) -> None:
    """The heap is in order, each owner is in it once and knows where."""
    for place in range(1, len(f.timers)):
        assert f.timers[(place - 1) // 2] < f.timers[place]
    assert len(set(f.owners)) == len(f.owners)
    known = {owner: place for owner, place in enumerate(f.state.timer_pos.tolist()) if place != NONE}
    assert known == {owner: place for place, owner in enumerate(f.owners)}


def timer_cover(f: Facts) -> None:
    """Whatever waits for a venue has a timer, unless its session is down; a day order has one until it ends."""
    first = len(f.parents)
    for p in f.used:
        wanted = p in f.open and f.parent_orders[p]["tif"] == Tif.DAY
        if p not in f.owners and wanted:
            assert f.parents[p]["wake"] or PENDING_REPLACE <= f.parents[p]["phase"] <= FAILING, (
                "an expired day order ends"
            )
        if p in f.owners:
            own = p in f.open and f.parents[p]["phase"] >= OWN_STATES
            assert wanted or own, "a day order's end, or the time-out of a strategy's own state"
    sessions = f.state.sessions
    for n, row in enumerate(f.children):
        if n not in f.live:
            assert first + n not in f.owners
            continue
        order = f.child_orders[n]
        up = bool(sessions[int(f.state.venues[order["venue_id"]].session)].up)
        rests = order["tif"] == Tif.DAY and row["cancels"] == 0
        unanswered = row["ord_status"] in UNANSWERED
        if up and (unanswered or not rests):
            assert first + n in f.owners or row["marks"] & M_DUE, "nothing waits without end"


def cancels_due(f: Facts) -> None:
    """Cancels that wait for a session's pace are counted, found behind the session's place, and have a time."""
    due: dict[int, list[int]] = {}
    for n, row in enumerate(f.children):
        if row["marks"] & M_DUE:
            assert n in f.live
            due.setdefault(int(f.state.venues[f.child_orders[n]["venue_id"]].session), []).append(n)
    for s, line in enumerate(f.state.sessions):
        assert line.due == len(due.get(s, []))
        assert line.due_at <= min(due.get(s, [NEVER]))
    assert not due or f.core["mass_at_ns"] < NEVER


def rest_lists(f: Facts) -> None:
    """An instrument's list holds exactly its resting parents, and its best limits are the best of theirs."""
    for n, row in enumerate(_rows(f.state.instruments)):
        mine, before, p = [], NONE, row["rest_head"]
        while p != NONE:
            assert f.parents[p]["rest_prev"] == before
            mine.append(p)
            before, p = p, f.parents[p]["rest_next"]
            assert len(mine) <= len(f.parents)
        resting = [p for p in f.used if f.parents[p]["resting"] and f.parent_orders[p]["instrument_id"] == n]
        assert sorted(mine) == resting
        assert row["rest_count"] == len(mine)
        buys = [f.parent_orders[p]["px"] or MAX_PX for p in mine if f.parent_orders[p]["side"] == Side.BUY]
        sells = [f.parent_orders[p]["px"] for p in mine if f.parent_orders[p]["side"] != Side.BUY]
        assert row["rest_buy_px"] == max(buys, default=0)
        assert row["rest_sell_px"] == min(sells, default=MAX_PX)
    for p in f.used:
        if f.parents[p]["phase"] < OWN_STATES:  # a strategy's own states may watch quotes, too
            assert bool(f.parents[p]["resting"]) == (f.parents[p]["phase"] == RESTING)


def quotes(f: Facts) -> None:
    """No more is taken than is displayed."""
    for row in _rows(f.state.quotes):
        assert 0 <= row["bid_taken"] <= row["bid_qty"]
        assert 0 <= row["ask_taken"] <= row["ask_qty"]
        assert row["valid"] in (-1, 0, 1)


def progress(f: Facts) -> None:
    """No parent is forgotten: it works, rests, is paused, waits for its turn, or for a child."""
    for p in f.open:
        row = f.parents[p]
        waits = row["live_children"] > 0 or row["phase"] in (RESTING, PAUSED) or row["phase"] >= OWN_STATES
        assert waits or (row["queued"] and row["wake"] & (W_START | W_CHILDREN_DONE)), "nobody will come for it"
        if PENDING_REPLACE <= row["phase"] <= FAILING:
            assert row["live_children"] > 0 or row["queued"], "a request waits for children alone"


def positions(f: Facts, booked: Booked) -> None:
    """Each position is the sum of the executions that were booked."""
    width = len(f.state.instruments)
    for place, row in enumerate(_rows(f.state.positions)):
        sums = booked.rows.get(divmod(place, width), Counter())
        assert row == {name: sums[name] for name in row}
    assert f.counts["fills"] == booked.fills
