"""Rule profiles: which rules a report cites, and the limits that it holds figures to. They are data, in profiles/.

A rule whose text was read is printed as a citation; one that is known from secondary sources only is printed as that,
without a number that somebody could take for a citation.

Worst case: rules change, and a profile is as old as its `as_of`, which the report prints.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from engine.errors import UsageError

FOLDER: Final = Path(__file__).parent / "profiles"


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule: its name, what it asks, the parts of the report that answer, and whether its text was read."""

    id: str
    citation: str
    verified: bool
    asks: str
    parts: list[int]


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A profile. Limits that come from no verified text are defaults, and `defaults` says so in the report."""

    name: str
    title: str
    as_of: str
    clock_tolerance_ns: int
    granularity_ns: int
    alert_limit_ns: int
    stress_factor: float
    defaults: list[str]
    rules: list[Rule]


def names() -> list[str]:
    """The profiles that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Profile:
    """A profile by name. UsageError where there is none such."""
    if name not in names():
        raise UsageError(f"--profile {name}: there are {', '.join(names())}")
    return msgspec.toml.decode((FOLDER / f"{name}.toml").read_bytes(), type=Profile)


def cited(rule: Rule) -> str:
    """How a rule may be printed."""
    return rule.citation if rule.verified else "secondary source; text not verified"
