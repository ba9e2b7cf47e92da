"""Two ledgers held against each other: breaks, by what was executed, with their age.

    MISSING_HERE        the venue has it, we do not            MISSING_THERE     we have it, the venue does not
    PRICE_DIFFERS, QTY_DIFFERS, SIDE_DIFFERS, ORDER_DIFFERS, SYMBOL_DIFFERS
    BUST_NOT_APPLIED    the venue took it back, we did not     BUST_UNKNOWN      we took it back, the venue did not
    DUPLICATE_HERE, DUPLICATE_THERE    an ExecID that came twice on one side
    ORPHAN_HERE, ORPHAN_THERE          a bust or a correction of an execution that the side does not have

An execution that only one side has is a break once it is older than the grace time: the other side's record may be on
its way. What does not concern the chosen venues is left out on both sides.

Worst case: both sides hold every execution of the day in memory, about a kilobyte a pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from replay.reconcile.ledger import Entry, Fill, Key, Ledger

OURS, THEIRS = 0, 1


class Break(NamedTuple):
    """One difference. `since_ns`: when it was executed or changed, by whoever has it; `age_ns` from then on."""

    kind: str
    mic: str
    exec_id: str
    order_id: int | None
    symbol: str
    ours: str
    theirs: str
    since_ns: int | None
    age_ns: int | None

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes two breaks the same."""
        return self.kind, self.mic, self.exec_id


class Reconciler:
    """Takes entries of both sides; `turn` says which breaks there are."""

    def __init__(self, grace_ns: int = 0) -> None:
        self.ledgers = (Ledger(), Ledger())
        self._grace_ns = grace_ns
        #: Keys that changed, or wait for their other side, with the time at which they came.
        self._open: dict[Key, int] = {}
        self.breaks: dict[tuple[str, str, str], Break] = {}
        self._of: dict[Key, list[tuple[str, str, str]]] = {}

    def take(self, side: int, entry: Entry, now_ns: int) -> None:
        """Take a record of OURS or THEIRS in; `now_ns` is when it came, for the grace time."""
        for key in self.ledgers[side].take(entry):
            self._open.setdefault(key, now_ns)

    def turn(self, now_ns: int, as_of_ns: int | None) -> tuple[list[Break], list[Break]]:
        """(Breaks that are new, breaks that are no more). Ages are up to `as_of_ns`."""
        new, gone = [], []
        for key, came_ns in list(self._open.items()):
            # What is a break already stays one until it is no more: only what is new has time.
            patient = now_ns - came_ns < self._grace_ns and key not in self._of
            if not (patient and self._unsettled(key)):
                del self._open[key]
            found = list(self._look(key, not patient))
            before = self._of.pop(key, [])
            now = {row.key: row for row in (_aged(row, as_of_ns) for row in found)}
            gone += [self.breaks.pop(name) for name in before if name not in now]
            new += [row for name, row in now.items() if name not in before]
            self.breaks |= now
            if now:
                self._of[key] = list(now)
        return new, gone

    def aged(self, as_of_ns: int | None) -> list[Break]:
        """All breaks that there are, the oldest first."""
        rows = [_aged(row, as_of_ns) for row in self.breaks.values()]
        return sorted(rows, key=lambda row: (row.since_ns is None, row.since_ns or 0, row.key))

    @property
    def agreed(self) -> int:
        """Executions that both sides have, and the same."""
        ours, theirs = self.ledgers
        return sum(1 for key in ours.fills.keys() & theirs.fills.keys() if key not in self._of)

    def _unsettled(self, key: Key) -> bool:
        """Whether what one side still has to tell may make both the same."""
        ours, theirs = (ledger.fills.get(key) for ledger in self.ledgers)
        if any(key in ledger.orphans for ledger in self.ledgers):
            return True
        return ours is None or theirs is None or _changed(ours, theirs)

    def _look(self, key: Key, due: bool) -> Iterator[Break]:
        """The breaks of one execution."""
        ours, theirs = (ledger.fills.get(key) for ledger in self.ledgers)
        for side, ledger in enumerate(self.ledgers):
            where = ("HERE", "THERE")[side]
            if key in ledger.repeated:
                fill = ledger.fills.get(key)
                yield _break(f"DUPLICATE_{where}", key, ours, theirs, fill.time_ns if fill else None)
            if due:
                for orphan in ledger.orphans.get(key, ()):
                    yield _orphan(f"ORPHAN_{where}", key, orphan, side)
        if ours is None or theirs is None:
            present = ours or theirs
            if present is not None and due:
                kind = "MISSING_HERE" if ours is None else "MISSING_THERE"
                yield _break(kind, key, ours, theirs, present.time_ns)
            return
        if due or not _changed(ours, theirs):
            yield from _differences(key, ours, theirs)


def _changed(ours: Fill, theirs: Fill) -> bool:
    """Whether one side was told of a bust or a correction and the other was not yet."""
    return ours.busted != theirs.busted or ours.corrected != theirs.corrected


def _differences(key: Key, ours: Fill, theirs: Fill) -> Iterator[Break]:
    later_ns = max(filter(None, (ours.time_ns, theirs.time_ns)), default=None)
    if ours.busted != theirs.busted:
        kind = "BUST_NOT_APPLIED" if theirs.busted else "BUST_UNKNOWN"
        yield _break(kind, key, ours, theirs, theirs.time_ns if theirs.busted else ours.time_ns)
    if ours.busted and theirs.busted:
        return
    if ours.px != theirs.px:
        yield _break("PRICE_DIFFERS", key, ours, theirs, later_ns)
    if ours.qty != theirs.qty:
        yield _break("QTY_DIFFERS", key, ours, theirs, later_ns)
    if ours.first.side != theirs.first.side:
        yield _break("SIDE_DIFFERS", key, ours, theirs, later_ns)
    if theirs.first.order_id is not None and ours.first.order_id != theirs.first.order_id:
        yield _break("ORDER_DIFFERS", key, ours, theirs, later_ns)
    if ours.first.symbol != theirs.first.symbol:
        yield _break("SYMBOL_DIFFERS", key, ours, theirs, later_ns)


def _break(kind: str, key: Key, ours: Fill | None, theirs: Fill | None, since_ns: int | None) -> Break:
    first = (ours or theirs).first if ours or theirs else None  # type: ignore[union-attr]
    return Break(
        kind, *key, first.order_id if first else None, first.symbol if first else "", _said(ours), _said(theirs),
        since_ns, None,
    )  # fmt: skip


def _orphan(kind: str, key: Key, entry: Entry, side: int) -> Break:
    said = f"{entry.template.name.lower()} {entry.exec_id} of an execution that is not there"
    texts = (said, "") if side == OURS else ("", said)
    return Break(kind, *key, entry.order_id, entry.symbol, *texts, entry.time_ns, None)


def _said(fill: Fill | None) -> str:
    """One side's words, in units."""
    if fill is None:
        return ""
    marks = (" busted" if fill.busted else "") + (" corrected" if fill.corrected else "")
    return f"{fill.first.side} {fill.qty} at {fill.px}{marks}"


def _aged(row: Break, as_of_ns: int | None) -> Break:
    known = as_of_ns is not None and row.since_ns is not None
    return row._replace(age_ns=as_of_ns - row.since_ns if known else None)  # type: ignore[operator]
