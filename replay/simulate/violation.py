"""The one way in which a simulation fails: an invariant that does not hold, and what was seen."""

from __future__ import annotations

from typing import Any


class Violation(Exception):
    """`rule` is what must hold, in words; `seen` is what was found instead."""

    def __init__(self, rule: str, seen: str) -> None:
        super().__init__(f"{rule}: {seen}")
        self.rule, self.seen = rule, seen


def must(holds: Any, rule: str, seen: str) -> None:
    """Violation where a rule does not hold."""
    if not holds:
        raise Violation(rule, seen)
