"""Which inputs concern an order: one pass over the journal's records, before anything is replayed.

An order is named by its id (its own, or a child's) or by the client's ClOrdID. An input concerns it when it names it,
when an output that names it came of it, or when it is one of the few that reach many orders at once (a session's coming
and going, a mass cancel, the kill flag, a recovery, the day's end) during its life.

Worst case: the whole journal is read once, at the speed of memory; what is kept are columns of orders and reports.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from engine.core.ids import CHILD_BIT
from engine.errors import TickrouteError
from engine.io.journal_format import Kind
from engine.record.records import ControlAction, ExecType, OrdStatus, Template, from_text16, text16
from engine.run.config import Config
from replay.report.gather import Array, Gathered, Kept, gather

if TYPE_CHECKING:
    from pathlib import Path

    from replay.verify import Progress

T = Template
_ORDERS: Final = (T.ORDER_NEW, T.ORDER_REPLACE, T.ORDER_CANCEL, T.STATUS_REQUEST)
_REPORTS: Final = (T.ACK, T.FILL, T.REJECT, T.CANCEL_REJECT)
_CHANGES: Final = (T.BUST, T.CORRECT)
#: They reach many orders at once and name none.
_BROAD: Final = (T.SESSION_UP, T.SESSION_DOWN, T.MASS_CANCEL, T.RECOVERED, T.ROLL, T.TIMER, T.CONTROL, T.LIMIT_CHANGE)
_TERMINAL: Final = (OrdStatus.FILLED, OrdStatus.CANCELED, OrdStatus.EXPIRED, OrdStatus.REJECTED)
STAGE_FIELDS: Final = "receive decode book decide risk journal encode send total".split()
_KEPT: Final[Kept] = {
    **{(Kind.INPUT, t): "order_id cl_ord_id stream_id ts_recv_ns" for t in _ORDERS},
    **{(Kind.OUTPUT, t): "order_id parent_id" for t in _ORDERS},
    **{(Kind.INPUT, t): "order_id ts_recv_ns" for t in (*_REPORTS, *_CHANGES)},
    **{(Kind.OUTPUT, t): "order_id peer_id stream_id exec_type ord_status request" for t in _REPORTS},
    **{(Kind.OUTPUT, t): "order_id" for t in (*_CHANGES, T.ALERT)},
    (Kind.OUTPUT, T.DECISION): "parent_id",
    (Kind.OUTPUT, T.FAILURE): "parent_id",
    (Kind.OUTPUT, T.RISK_BLOCK): "order_id parent_id",
    (Kind.INPUT, T.CONTROL): "order_id cl_ord_id stream_id action",
    (Kind.INPUT, T.SESSION_UP): "stream_id",
    (Kind.INPUT, T.SESSION_DOWN): "stream_id",
    (Kind.INPUT, T.MASS_CANCEL): "scope",
    (Kind.INPUT, T.LIMIT_CHANGE): "rule",
    (Kind.INPUT, T.TIMER): "deadline_ns",
    (Kind.INPUT, T.RECOVERED): "last_seq",
    (Kind.INPUT, T.ROLL): "trading_day day_end_ns",
    (Kind.RECOVERED, T.RECOVERED): "last_seq torn_bytes",
    (Kind.OBSERVATION, T.HALTED): "reason",
    (Kind.OBSERVATION, T.STAGES): " ".join(f"{name}_ns" for name in STAGE_FIELDS),
}


class UnknownOrder(TickrouteError):
    """No order of that name, or more than one; the message says which there are."""


class Target(NamedTuple):
    """The order that is meant: its id (0: never accepted), who sent it under which ClOrdID, and at which inputs."""

    order_id: int
    session: int
    words: tuple[int, int]
    #: Journal number of the ORDER_NEW, and of the next one of that name, which is another order's (or the end).
    born: int
    until: int


class Index(NamedTuple):
    """What the pass found. `children` are ids in the order of their making; `stops` are journal numbers, ascending."""

    target: Target
    children: list[int]
    #: Inputs that name the order or led to outputs that do.
    named: frozenset[int]
    #: `named`, and the broad ones during its life.
    stops: list[int]
    stages: dict[int, dict[str, int]]
    found: Gathered


def index(
    run_dir: Path, config: Config, day_end_ns: int, order: str, session: str | None, progress: Progress | None
) -> Index:
    """Find an order in a run. UnknownOrder; JournalError where the journal is damaged."""
    found = gather(run_dir, _KEPT, progress)
    target = _Finder(found, config).find(order, session)
    children = _children(found, target.order_id)
    ids = np.array([target.order_id, *children] if target.order_id else [], dtype=np.int64)
    named = frozenset(_named(found, target, ids))
    last = max(named)
    if target.order_id and not _ended(found, target.order_id):
        last = target.until
    stops = sorted(named | set(_broad(found, target.born, last, day_end_ns)))
    wanted = np.isin(found.table(Kind.OBSERVATION, T.STAGES)["input_seq"], stops)
    stages = {
        int(row["input_seq"]): {name: int(row[f"{name}_ns"]) for name in STAGE_FIELDS}
        for row in found.table(Kind.OBSERVATION, T.STAGES)[wanted]
    }
    return Index(target, children, named, stops, stages, found)


class _Finder:
    """Which order a text means."""

    def __init__(self, found: Gathered, config: Config) -> None:
        self.found, self.names = found, [session.name for session in config.session]
        self.new = found.table(Kind.INPUT, T.ORDER_NEW)
        acks = found.table(Kind.OUTPUT, T.ACK)
        born = acks[(acks["exec_type"] == ExecType.NEW) & (acks["request"] == T.ORDER_NEW)]
        self.ids = dict(zip(born["input_seq"].tolist(), born["order_id"].tolist(), strict=True))
        self.seqs = {order_id: seq for seq, order_id in self.ids.items()}

    def find(self, order: str, session: str | None) -> Target:
        """The target; UnknownOrder where the text means none, or more than one."""
        if session is not None and session not in self.names:
            raise UnknownOrder(f"there is no session {session!r} in this run; it has {', '.join(self.names)}")
        if order.isdecimal() and session is None:
            target = self._by_id(int(order))
            if target is not None:
                return target
        return self._by_name(order, session)

    def _by_id(self, order_id: int) -> Target | None:
        if order_id & CHILD_BIT:
            for template in (T.ORDER_NEW, T.RISK_BLOCK):
                rows = self.found.table(Kind.OUTPUT, template)
                rows = rows[rows["order_id"] == order_id]
                if len(rows):
                    order_id = int(rows["parent_id"][0])
                    break
        seq = self.seqs.get(order_id)
        return None if seq is None else self._target(seq)

    def _by_name(self, name: str, session: str | None) -> Target:
        rows = self._rows(name)
        if session is not None:
            rows = rows[rows["stream_id"] == self.names.index(session)]
        senders = sorted({self.names[n] for n in rows["stream_id"].tolist()})
        if len(senders) > 1:
            raise UnknownOrder(f"ClOrdID {name!r} came from {' and '.join(senders)}; say which with --session")
        accepted = [seq for seq in rows["seq"].tolist() if seq in self.ids]
        if len(accepted) > 1:
            told = ", ".join(str(self.ids[seq]) for seq in accepted)
            raise UnknownOrder(f"ClOrdID {name!r} was used again for another order; name one by its id: {told}")
        if accepted:
            return self._target(accepted[0])
        if len(rows):
            return self._target(int(rows["seq"][0]))
        raise UnknownOrder(self._unknown(name, session))

    def _rows(self, name: str) -> Array:
        try:
            words = text16(name)
        except ValueError:
            return self.new[:0]
        rows: Array = self.new[(self.new["cl_ord_id"] == np.array(words)).all(axis=1)]
        return rows

    def _target(self, seq: int) -> Target:
        row = self.new[np.searchsorted(self.new["seq"], seq)]
        words = (int(row["cl_ord_id"][0]), int(row["cl_ord_id"][1]))
        same = self.new[(self.new["cl_ord_id"] == row["cl_ord_id"]).all(axis=1)]
        same = same[(same["stream_id"] == row["stream_id"]) & (same["seq"] > seq)]
        later = [n for n in same["seq"].tolist() if n in self.ids]
        return Target(self.ids.get(seq, 0), int(row["stream_id"]), words, seq, later[0] if later else 1 << 62)

    def _unknown(self, name: str, session: str | None) -> str:
        """What to say of a name that nothing has."""
        where = f" from session {session!r}" if session is not None else ""
        names = [from_text16(words) for words in self.new["cl_ord_id"]]
        near = get_close_matches(name, names, n=3) or names[:3]
        if not names:
            return f"there is no order {name!r}{where}: the run took no orders"
        ids = [self.ids.get(int(self.new["seq"][names.index(one)])) for one in near]
        told = ", ".join(f"{one} ({order_id or 'refused'})" for one, order_id in zip(near, ids, strict=True))
        return f"there is no order {name!r}{where} among the run's {len(names):,}; for example {told}"


def _children(found: Gathered, parent_id: int) -> list[int]:
    """Ids of a parent's children, those that the risk gate stopped too, in the order of their making."""
    if not parent_id:
        return []
    ids: set[int] = set()
    for template in (T.ORDER_NEW, T.RISK_BLOCK):
        rows = found.table(Kind.OUTPUT, template)
        ids |= set(rows["order_id"][rows["parent_id"] == parent_id].tolist())
    return sorted(ids - {0})


def _named(found: Gathered, target: Target, ids: Array) -> Iterator[int]:
    """Numbers of the inputs that name the order, and of those whose outputs do."""
    yield target.born
    for (kind, _), rows in found.tables.items():
        if kind not in (Kind.INPUT, Kind.OUTPUT) or not len(rows):
            continue
        names = rows.dtype.names or ()
        hit = np.zeros(len(rows), dtype=bool)
        for name in ("order_id", "parent_id"):
            if name in names:
                hit |= np.isin(rows[name], ids)
        for name in ("cl_ord_id", "peer_id"):
            if name in names:
                same = (rows[name] == np.array(target.words)).all(axis=1) & (rows["stream_id"] == target.session)
                hit |= same & (rows["seq"] >= target.born) & (rows["seq"] < target.until)
        yield from rows["seq" if kind == Kind.INPUT else "input_seq"][hit].tolist()


def _ended(found: Gathered, order_id: int) -> bool:
    """Whether the last report on the order that left the core was a terminal one."""
    last = (-1, 0)
    for template in (T.ACK, T.FILL):
        rows = found.table(Kind.OUTPUT, template)
        rows = rows[rows["order_id"] == order_id]
        if len(rows):
            last = max(last, (int(rows["seq"][-1]), int(rows["ord_status"][-1])))
    return last[1] in _TERMINAL


def _day_ends(found: Gathered, seqs: Array, first_ns: int) -> Array:
    """When the day orders of the day expire that it is at each of these frames."""
    rolls = found.table(Kind.INPUT, T.ROLL)
    ends: Array = np.concatenate([[first_ns], rolls["day_end_ns"]])
    found_at: Array = ends[np.searchsorted(rolls["seq"], seqs)]
    return found_at


def _broad(found: Gathered, first: int, last: int, day_end_ns: int) -> Iterator[int]:
    """Numbers of the inputs between `first` and `last` that reach many orders at once."""
    for template in _BROAD:
        rows: Any = found.table(Kind.INPUT, template)
        rows = rows[(rows["seq"] >= first) & (rows["seq"] <= last)]
        if template == T.CONTROL:
            rows = rows[np.isin(rows["action"], [ControlAction.KILL_ON, ControlAction.KILL_OFF, ControlAction.STOP])]
        elif template == T.TIMER:
            rows = rows[rows["deadline_ns"] >= _day_ends(found, rows["seq"], day_end_ns)]
        yield from rows["seq"].tolist()
