"""Records of earlier schema versions, read as the present ones: field by field, by name.

Every released version can be read for ever. What a version had otherwise than its successor is a `Change` here: the
kinds of record that it did not have, fields that had another name, values that meant something else. `upgrade` goes
through all changes from a record's version to the present one. A field that a version did not have is zero.

The rules of the core are another thing: what a build made of its inputs only a core with the same rules makes again,
see docs/decisions/052-journals-of-older-versions.md. Worst case: upgrading copies each record once.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from engine.errors import TickrouteError
from engine.record.records import DTYPES, FIELDS, NOBODY, PREFIX, SCHEMA_VERSION, Field, Template, dtype_of

T = Template
#: The first version that was released.
OLDEST: Final = 1


class VersionError(TickrouteError):
    """A record that its own version does not have."""


class Change(NamedTuple):
    """What a version had otherwise than the next one."""

    #: Kinds of record that came with the next version.
    absent: frozenset[Template]
    #: Kind -> {present name: the name that it had}.
    names: dict[Template, dict[str, str]]
    #: (kind, present name of the field) -> {value that it had: present value}.
    values: dict[tuple[Template, str], dict[int, int]]


#: Version -> what it had otherwise than the version after it.
CHANGES: Final[dict[int, Change]] = {
    1: Change(
        absent=frozenset({T.SEQUENCE_RESET, T.ROLL, T.FAILURE, T.HALTED}),
        names={T.RECOVERED: {"skip": "reserved"}},
        # What led to a decision was a bit of the parent's wake: started, children done, quote.
        # Version 1 had 0 for root and for nobody alike: what it does not tell, it is not made to tell.
        values={
            (T.DECISION, "event"): {1: 0, 2: 1, 4: 2},
            (T.MASS_CANCEL, "actor_id"): {0: NOBODY},
            (T.CONTROL, "actor_id"): {0: NOBODY},
            (T.CONTROL, "actor_2"): {0: NOBODY},
            (T.LIMIT_CHANGE, "actor_id"): {0: NOBODY},
            (T.LIMIT_CHANGE, "actor_2"): {0: NOBODY},
        },
    ),
}
assert sorted(CHANGES) == list(range(OLDEST, SCHEMA_VERSION)), "each earlier version has its change"


def fields_of(version: int, template: Template) -> tuple[Field, ...]:
    """Fields of a kind of record in a version, after the prefix. VersionError where it had none such."""
    if not OLDEST <= version <= SCHEMA_VERSION:
        raise VersionError(f"schema version {version}: this build reads {OLDEST} to {SCHEMA_VERSION}")
    fields = FIELDS[template]
    for earlier in range(SCHEMA_VERSION - 1, version - 1, -1):
        change = CHANGES[earlier]
        if template in change.absent:
            raise VersionError(f"schema version {version} has no {template.name}")
        names = change.names.get(template, {})
        fields = tuple(field._replace(name=names.get(field.name, field.name)) for field in fields)
    return fields


def dtype_in(version: int, template: Template) -> np.dtype[Any]:
    """Structured dtype of a kind of record in a version. VersionError where it had none such."""
    if version == SCHEMA_VERSION:
        return DTYPES[template]
    return dtype_of(PREFIX + fields_of(version, template))


def upgrade(raw: np.ndarray, version: int, template: Template) -> np.ndarray:
    """Records of one kind in a version (uint8 array of count x size) as records of the present version, copied.

    VersionError where the version had no such records, or theirs had another size.
    """
    rows = np.ascontiguousarray(raw).reshape(-1)
    dtype = dtype_in(version, template)
    if len(rows) % dtype.itemsize:
        raise VersionError(f"{len(rows)} bytes are no whole {template.name} of schema version {version}")
    old: np.ndarray = rows.view(dtype)
    for earlier in range(version, SCHEMA_VERSION):
        old = _step(old, earlier, template)
    return old


def _step(old: np.ndarray, version: int, template: Template) -> np.ndarray:
    """Records of a version as those of the next one."""
    change = CHANGES[version]
    names = change.names.get(template, {})
    made = np.zeros(len(old), dtype=dtype_in(version + 1, template))
    for name in made.dtype.names or ():
        was = names.get(name, name)
        if was not in (old.dtype.names or ()):
            continue
        made[name] = old[was]
        for before, after in change.values.get((template, name), {}).items():
            made[name][old[was] == before] = after
    made["version"] = version + 1
    made["block_length"] = made.dtype.itemsize - 8
    return made
