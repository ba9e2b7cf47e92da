"""What the values of a configuration are made of: the base of its sections, and the kinds of their fields.

Each kind says in words what is allowed, for the message about a value that is not. Its sections are in `config`, and in
files of their own where they are of one subject (`config_beside`). Worst case: none; these are types.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

# Wide enough for any sensible setting, and small enough that milliseconds become nanoseconds within an int64.
_MOST = 10**9
Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=15,
        pattern=r"^[A-Za-z0-9_.\-]+\Z",
        description="1 to 15 letters, digits or any of _ . -",
    ),
]
Positive = Annotated[int, Meta(gt=0, le=_MOST)]
NonNegative = Annotated[int, Meta(ge=0, le=_MOST)]
#: Probability in parts per million.
Ppm = Annotated[int, Meta(ge=0, le=1_000_000)]
Decimal = Annotated[
    str,
    Meta(
        max_length=40,
        pattern=r"^-?[0-9]+(\.[0-9]+)?\Z",
        description='a decimal number as text in quotes, such as "0.0030"',
    ),
]


class Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections: immutable, and an unknown key is an error."""
