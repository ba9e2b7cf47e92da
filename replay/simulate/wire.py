"""Records as bytes and as plain dicts: what the simulated peers read and write.

Independent of numpy views: `struct` formats made from the record definitions, so that a peer and the core do not share
one mistake of layout. Foreign ids are their 16 bytes. Worst case: about 2 us a record either way.
"""

from __future__ import annotations

import struct
from typing import Any, Final, TypeAlias

from engine.record.records import FIELDS, PREFIX, SBE_HEADER_SIZE, SCHEMA_ID, SCHEMA_VERSION, Template

#: A record's fields by name.
Record: TypeAlias = dict[str, Any]

_CODES = {
    "u2": "H", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "text16": "16s", "i8x2": "16s", "i8x4": "32s", "i8x6": "48s"
}  # fmt: skip
_NAMES: Final[dict[int, tuple[str, ...]]] = {}
_FORMATS: Final[dict[int, struct.Struct]] = {}
_BLANKS: Final[dict[int, Record]] = {}
for _template, _fields in FIELDS.items():
    _all = (*PREFIX, *_fields)
    _NAMES[_template] = tuple(field.name for field in _all)
    _FORMATS[_template] = struct.Struct("<" + "".join(_CODES[field.type] for field in _all))
    _blank: Record = {field.name: b"" if _CODES[field.type].endswith("s") else 0 for field in _all}
    _blank.update(
        block_length=_FORMATS[_template].size - SBE_HEADER_SIZE,
        template_id=int(_template),
        schema_id=SCHEMA_ID,
        version=SCHEMA_VERSION,
        stream_id=-1,
        venue_id=-1,
    )
    _BLANKS[_template] = _blank

_TEMPLATE = struct.Struct("<xxH")
_RECEIVED = struct.Struct("<q")
_RECEIVED_AT = 32


def pack(template: int, **fields: Any) -> bytes:
    """A record's bytes: blank but for the fields named; ids are bytes."""
    values = {**_BLANKS[template], **fields}
    return _FORMATS[template].pack(*values.values())


def unpack(data: bytes) -> Record:
    """A record's fields; KeyError where its template is none of ours."""
    (template,) = _TEMPLATE.unpack_from(data)
    return dict(zip(_NAMES[template], _FORMATS[template].unpack_from(data), strict=True))


def repack(record: Record) -> bytes:
    """The bytes of a record that `unpack` gave."""
    return _FORMATS[record["template_id"]].pack(*record.values())


def stamped(data: bytes, now_ns: int) -> bytes:
    """The record with its time of receipt."""
    return data[:_RECEIVED_AT] + _RECEIVED.pack(now_ns) + data[_RECEIVED_AT + 8 :]


def text(data: bytes) -> str:
    """A foreign id for people."""
    return data.rstrip(b"\0").decode("ascii", errors="replace")


def name(template: int) -> str:
    """A template's name."""
    return Template(template).name
