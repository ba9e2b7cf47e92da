"""The one way in which a simulation fails: an invariant that does not hold, and what was seen."""

from __future__ import annotations


class Violation(Exception):
    """`rule` is what must hold, in words; `seen` is what was found instead."""

    def __init__(self, rule: str, seen: str) -> None:
        super().__init__(f"{rule}: {seen}")
        self.rule, self.seen = rule, seen
