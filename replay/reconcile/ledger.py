"""One side's executions as they stand: fills, with the busts and corrections that were applied to them.

An execution is known by its venue and ExecID. A bust or a correction names it by that or by the ExecID of an earlier
correction of it. What comes twice, and what names an execution that is not there, is kept beside the fills: both are
breaks whatever the other side says.

Worst case: a bust that comes before its fill; it waits for it, and is a break for as long.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.record.records import Template

#: Venue (MIC) and ExecID.
Key = tuple[str, str]


class Entry(NamedTuple):
    """One record of a side. Prices and quantities are the instrument's units; `ref_id` is empty in a fill."""

    template: Template
    mic: str
    exec_id: str
    ref_id: str
    order_id: int | None
    symbol: str
    side: str
    qty: int
    px: int
    time_ns: int | None


class Fill(NamedTuple):
    """An execution as it stands. `px` and `qty` are the corrected ones, `busted` says that it was taken back."""

    first: Entry
    qty: int
    px: int
    busted: bool
    corrected: bool
    #: When it last changed, the side's own time.
    time_ns: int | None


class Ledger:
    """All executions of one side, and what is wrong with them by itself."""

    def __init__(self) -> None:
        self.fills: dict[Key, Fill] = {}
        #: ExecIDs that came again, fills or changes: how often, by key.
        self.repeated: dict[Key, int] = {}
        self._roots: dict[Key, Key] = {}
        #: Busts and corrections that are without their execution, by the key that they name.
        self.orphans: dict[Key, list[Entry]] = {}
        self.count = 0

    def take(self, entry: Entry) -> list[Key]:
        """Take one record in; the keys of which something changed."""
        self.count += 1
        own, named = (entry.mic, entry.exec_id), (entry.mic, entry.ref_id)
        if entry.template != Template.FILL:
            root = self._roots.get(named)
            if root is None:
                self.orphans.setdefault(named, []).append(entry)
                return [named]
            return self._change(entry, root)
        if own in self._roots:
            return self._repeat(own)
        self._roots[own] = own
        self.fills[own] = Fill(entry, entry.qty, entry.px, False, False, entry.time_ns)
        return [own, *(key for waiting in self.orphans.pop(own, []) for key in self._change(waiting, own))]

    def _repeat(self, own: Key) -> list[Key]:
        self.repeated[own] = self.repeated.get(own, 0) + 1
        return [own]

    def _change(self, entry: Entry, root: Key) -> list[Key]:
        own: Key = (entry.mic, entry.exec_id)
        if entry.exec_id and own in self._roots:
            return self._repeat(own)
        if entry.exec_id:
            self._roots[own] = root
        fill = self.fills[root]
        if entry.template == Template.BUST:
            self.fills[root] = fill._replace(busted=True, time_ns=entry.time_ns)
        else:
            self.fills[root] = fill._replace(qty=entry.qty, px=entry.px, corrected=True, time_ns=entry.time_ns)
        return [root]
