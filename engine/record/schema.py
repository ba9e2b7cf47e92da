"""The records as an SBE message schema (FIX Simple Binary Encoding 1.0), for code generators in other languages.

`xml()` follows from `records.FIELDS` alone and is committed as `schema.xml` beside this file; `python -m
engine.record.schema` writes it and `docs/wire.md` again after a change of layout. A test reads the committed XML with
its own offset arithmetic and compares it with the dtypes, so a mistake here does not hide itself.

The SBE message header is the first 8 bytes of every record; SBE counts offsets from behind it, so `offset` in the XML
is 8 less than the offset in the dtype. A field that FIX knows has its FIX tag as id, any other 20000 + offset in the
record, which no later field of the same record can take.

Worst case: an enumeration in a field that is wider than the enumeration's own type (ALERT.code) stays a plain integer.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple

from engine.record import records as r

NAMESPACE: Final = "http://fixprotocol.io/2016/sbe"
PATH: Final = Path(__file__).with_name("schema.xml")
#: Ids of fields that FIX does not know start here; FIX leaves 20000-39999 to private use.
OWN_IDS: Final = 20_000

PRIMITIVES: Final = {"i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64", "u2": "uint16", "u4": "uint32"}
SIZES: Final = {"i1": 1, "i2": 2, "i4": 4, "i8": 8, "u2": 2, "u4": 4, "text16": 16, "i8x2": 16, "i8x4": 32}
#: Our field types that are arrays: SBE name, primitive type, length.
ARRAYS: Final = {
    "text16": ("text16", "char", 16),
    "i8x2": ("int64x2", "int64", 2),
    "i8x4": ("int64x4", "int64", 4),
}
#: Enumerations whose values are FIX characters.
CHARS: Final[tuple[type[IntEnum], ...]] = (r.Side, r.OrdType, r.Tif, r.OrdStatus, r.ExecType, r.Capacity)
#: Enumerations whose values are numbers, and the field type that they are held in.
NUMBERS: Final[dict[type[IntEnum], str]] = {
    r.ShortSale: "i1",
    r.Liquidity: "i1",
    r.ControlAction: "i2",
    r.Scope: "i2",
    r.RiskRule: "i2",
    r.Outcome: "i2",
    r.Reason: "i2",
}
ENUMS: Final[tuple[type[IntEnum], ...]] = (*CHARS, *NUMBERS)

_FIX_TAG = re.compile(r"^(\w+) \((\d+)\)")
_SEE = re.compile(r"\bsee (\w+)")


class Placed(NamedTuple):
    """A field with its place: byte offset in the record (header included), size in bytes, SBE id and SBE type name."""

    field: r.Field
    offset: int
    size: int
    id: int
    type: str


def message_name(template: r.Template) -> str:
    """The SBE message name of a template: ORDER_NEW is OrderNew."""
    return "".join(part.capitalize() for part in template.name.split("_"))


def placed(template: r.Template) -> list[Placed]:
    """All fields of a record in order, the SBE header's among them."""
    rows = []
    offset = 0
    for field in r.PREFIX + r.FIELDS[template]:
        tag = _FIX_TAG.match(field.doc)
        number = int(tag[2]) if tag else OWN_IDS + offset
        rows.append(Placed(field, offset, SIZES[field.type], number, type_name(field)))
        offset += SIZES[field.type]
    return rows


def enum_of(field: r.Field) -> type[IntEnum] | None:
    """The enumeration that a field holds, by its FIX tag or by "see Name" in its text; None where it holds none."""
    tag, see = _FIX_TAG.match(field.doc), _SEE.search(field.doc)
    for enum in ENUMS:
        wanted = NUMBERS.get(enum, "i1")
        text = enum.__doc__ or ""
        same_tag = tag is not None and f"({tag[2]})" in text
        if field.type == wanted and (same_tag or (see is not None and see[1] == enum.__name__)):
            return enum
    return None


def type_name(field: r.Field) -> str:
    """The SBE type of a field."""
    if field.type in ARRAYS:
        return ARRAYS[field.type][0]
    enum = enum_of(field)
    if enum is not None:
        return enum.__name__
    if field.doc == "bits, see Flag":
        return {"i2": "Flags16", "i4": "Flags32"}[field.type]
    return PRIMITIVES[field.type]


def _types(root: ET.Element) -> None:
    types = ET.SubElement(root, "types")
    header = ET.SubElement(types, "composite", name="messageHeader", description="first 8 bytes of every record")
    for name in ("blockLength", "templateId", "schemaId", "version"):
        ET.SubElement(header, "type", name=name, primitiveType="uint16")
    for name, primitive, length in ARRAYS.values():
        row = ET.SubElement(types, "type", name=name, primitiveType=primitive, length=str(length))
        if primitive == "char":
            row.set("characterEncoding", "US-ASCII")
    for size in (8, 16):
        row = ET.SubElement(types, "type", name=f"optional{size}", primitiveType=f"uint{size}", nullValue="0")
        row.set("description", "a number of an enumeration where 0 is absent")
    for enum in ENUMS:
        row = ET.SubElement(types, "enum", name=enum.__name__, encodingType=_encoding(enum))
        row.set("description", " ".join((enum.__doc__ or "").split()))
        for member in enum:
            value = ET.SubElement(row, "validValue", name=member.name)
            value.text = chr(member) if enum in CHARS else str(int(member))
    for size in (16, 32):
        row = ET.SubElement(types, "set", name=f"Flags{size}", encodingType=f"uint{size}")
        row.set("description", r.Flag.__doc__ or "")
        for flag in r.Flag:
            ET.SubElement(row, "choice", name=flag.name).text = str(int(flag).bit_length() - 1)


def _encoding(enum: type[IntEnum]) -> str:
    if enum in CHARS:
        return "char"
    size = 8 * SIZES[NUMBERS[enum]]
    return f"uint{size}" if 0 in list(enum) else f"optional{size}"


def _message(root: ET.Element, template: r.Template) -> None:
    message = ET.SubElement(root, f"{{{NAMESPACE}}}message", name=message_name(template), id=str(int(template)))
    message.set("blockLength", str(r.DTYPES[template].itemsize - r.SBE_HEADER_SIZE))
    for row in placed(template):
        if row.offset >= r.SBE_HEADER_SIZE:
            field = ET.SubElement(message, "field", name=row.field.name, id=str(row.id), type=row.type)
            field.set("offset", str(row.offset - r.SBE_HEADER_SIZE))
            field.set("description", row.field.doc)


def xml() -> str:
    """The whole schema as text, the same for the same records."""
    ET.register_namespace("sbe", NAMESPACE)
    root = ET.Element(f"{{{NAMESPACE}}}messageSchema", package="tickroute", id=str(r.SCHEMA_ID))
    root.set("version", str(r.SCHEMA_VERSION))
    root.set("semanticVersion", "FIX.5.0SP2")
    root.set("byteOrder", "littleEndian")
    root.set("description", "records of tickroute; see docs/wire.md")
    _types(root)
    for template in r.Template:
        _message(root, template)
    ET.indent(root)
    head = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!-- Generated by: python -m engine.record.schema. Do not edit. -->\n'
    )
    return head + ET.tostring(root, encoding="unicode") + "\n"


def main() -> None:
    """Write schema.xml and docs/wire.md."""
    from engine.record import wire

    PATH.write_text(xml(), encoding="utf-8")
    wire.PATH.write_text(wire.page(), encoding="utf-8")


if __name__ == "__main__":
    main()
