"""Records as people read them: name, and a text for each field; the names of enumerations where a field has one."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

import numpy as np

from engine.record import records as r
from engine.record.versions import OLDEST, VersionError, upgrade

#: Fields that hold a member of an enumeration.
_NAMED: Final[dict[str, type[IntEnum]]] = {
    "template_id": r.Template,
    "input_template": r.Template,
    "request": r.Template,
    "side": r.Side,
    "ord_type": r.OrdType,
    "tif": r.Tif,
    "ord_status": r.OrdStatus,
    "exec_type": r.ExecType,
    "capacity": r.Capacity,
    "liquidity": r.Liquidity,
    "short_sale": r.ShortSale,
    "reason": r.Reason,
    "code": r.Reason,
    "rule": r.RiskRule,
    "outcome": r.Outcome,
}
_TEXTS: Final = {field.name for fields in r.FIELDS.values() for field in fields if field.type == "text16"}


def template_name(template: int) -> str:
    """QUOTE for 1; "template 99" where there is none such."""
    return r.Template(template).name if template in list(r.Template) else f"template {template}"


def reason_name(value: int, kind: type[IntEnum] = r.Reason) -> str:
    """A member's name in small letters with spaces; the number where it has none."""
    return kind(value).name.lower().replace("_", " ") if value in list(kind) else str(value)


def decode(payload: bytes | np.ndarray) -> tuple[str, dict[str, str]]:
    """(name of the record, text by field) of a payload; an unknown or cut one is given as hex words.

    A record of an older schema version is read as the present one, field by field; `version` says which it was.
    """
    data = payload if isinstance(payload, bytes) else payload.tobytes()
    template = int.from_bytes(data[2:4], "little") if len(data) >= 4 else -1
    dtype = r.DTYPES[r.Template(template)] if template in list(r.Template) else None
    if dtype is None or dtype.itemsize != len(data):
        name = template_name(template)
        return name, {f"bytes {n}": data[n : n + 8].hex(" ") for n in range(0, len(data), 8)}
    row = np.frombuffer(data, dtype=dtype)
    version = int(row["version"][0])
    if OLDEST <= version < r.SCHEMA_VERSION:
        try:
            row = upgrade(np.frombuffer(data, dtype=np.uint8), version, r.Template(template))
            row["version"] = version
        except VersionError:
            pass  # a kind that the version did not have: shown as it is
    return r.Template(template).name, {name: _text(name, row[name][0]) for name in dtype.names or ()}


def _text(name: str, value: Any) -> str:
    if name in _TEXTS:
        words = " ".join(str(int(word)) for word in value)
        text = r.from_text16(value)
        return repr(text) if text.isprintable() and text else words
    if np.ndim(value):
        return " ".join(str(int(word)) for word in value)
    number = int(value)
    kind = _NAMED.get(name)
    if kind is not None and number in list(kind):
        return f"{number} {kind(number).name}"
    return str(number)
