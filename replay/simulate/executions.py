"""Executions as the ledger remembers them: by (venue, ExecID), with what was busted or corrected since.

The engine remembers the newest ones only, so many as its table has places; a repetition of an older one would be booked
again. A bust or correction takes a place like an execution, and what it names may be an execution or an earlier change
of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from replay.simulate.wire import Record

if TYPE_CHECKING:
    from replay.simulate.ledger import Child

#: (venue, ExecID as it is on the wire).
Key: TypeAlias = tuple[int, bytes]


def key_of(venue: int, exec_id: bytes) -> Key:
    """The key of an ExecID."""
    return venue, exec_id.ljust(16, b"\0")


class Execution:
    """What stands of an execution; `told` is the ExecID that its client knows, `successor` what took its place."""

    def __init__(
        self, key: Key, child: Child, px: int, qty: int, liquidity: int, told: bytes = b"", changes: bool = False
    ) -> None:
        self.key, self.child = key, child
        self.px, self.qty, self.liquidity, self.told = px, qty, liquidity, told
        self.successor: Execution | None = None
        #: Whether it is a bust or correction itself.
        self.changes = changes

    def is_of(self, record: Record) -> bool:
        """Whether a bust or correction names the order that this is of."""
        same = record["instrument_id"] == self.child.order["instrument_id"]
        return bool(same and record["order_id"] == self.child.order_id)


class Executions:
    """See the module; `size` is how many the engine remembers."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._ring: list[Key] = []
        self._known: dict[Key, Execution] = {}
        self._ever: set[Key] = set()
        #: What came once more after it had been forgotten, and was booked again: executions, busts and corrections.
        self.again = [0, 0]

    def knows(self, key: Key) -> bool:
        """Whether the engine remembers it."""
        return key in self._known

    @property
    def known(self) -> tuple[Key, ...]:
        """What the engine remembers, the oldest first."""
        return tuple(self._ring)

    def ever(self, key: Key) -> bool:
        """Whether it was ever booked."""
        return key in self._ever

    def may_repeat(self, key: Key) -> bool:
        """Whether it may come (again): it never did, or is so new that it is remembered whatever is under way."""
        return key in self._ring[-self._size // 2 :] or key not in self._ever

    def enter(self, execution: Execution) -> None:
        """Remember it, and forget the oldest where there is no room."""
        self.again[execution.changes] += execution.key in self._ever
        self._ring.append(execution.key)
        if len(self._ring) > self._size:
            self._known.pop(self._ring.pop(0), None)
        self._known[execution.key] = execution
        self._ever.add(execution.key)

    def succeed(self, old: Execution, new: Execution) -> None:
        """A bust or correction takes the place of what stood."""
        old.successor, old.qty = new, 0
        self.enter(new)

    def find(self, key: Key) -> Execution | None:
        """What stands now for an execution; None where it is not remembered."""
        found = self._known.get(key)
        while found is not None and found.successor is not None:
            found = found.successor
        return found
