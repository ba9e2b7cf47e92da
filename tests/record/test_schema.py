"""The committed schema.xml says what the dtypes are, by its own arithmetic; schema and page are up to date.

The XML is read here as a stranger would: primitive sizes from the SBE specification, offsets and lengths summed here,
nothing taken from the generator. A record of distinct bytes is then decoded both ways and compared field by field.
"""

from __future__ import annotations

import re
import struct
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from engine.record import records as r
from engine.record import schema, wire

#: Sizes and struct codes of SBE's primitive types (SBE 1.0, section 2.4.1).
PRIMITIVE = {
    "char": (1, "c"), "int8": (1, "b"), "int16": (2, "h"), "int32": (4, "i"), "int64": (8, "q"),
    "uint8": (1, "B"), "uint16": (2, "H"), "uint32": (4, "I"), "uint64": (8, "Q"),
}  # fmt: skip
NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")
#: Attributes that SBE 1.0 knows: required ones, then the others that we may use (sbe.xsd of the specification).
ATTRIBUTES = {
    "messageSchema": ({"version"}, {"package", "id", "semanticVersion", "description", "byteOrder"}),
    "composite": ({"name"}, {"description"}),
    "type": ({"name", "primitiveType"}, {"length", "nullValue", "characterEncoding", "description"}),
    "enum": ({"name", "encodingType"}, {"description"}),
    "set": ({"name", "encodingType"}, {"description"}),
    "validValue": ({"name"}, {"description"}),
    "choice": ({"name"}, {"description"}),
    "message": ({"name", "id"}, {"blockLength", "description"}),
    "field": ({"name", "id", "type"}, {"offset", "description"}),
    "types": (set[str](), set[str]()),
}
REMEDY = "run: python -m engine.record.schema"

ROOT = ET.parse(schema.PATH).getroot()
MESSAGES = {m.get("name", ""): m for m in ROOT.findall("{http://fixprotocol.io/2016/sbe}message")}
HEADER = 8


def encodings() -> dict[str, tuple[str, int]]:
    """Type name -> (primitive type, count), every named encoding of the schema resolved."""
    found = {name: (name, 1) for name in PRIMITIVE}
    types = ROOT.find("types")
    assert types is not None
    for row in types.findall("type"):
        found[row.get("name", "")] = (row.get("primitiveType", ""), int(row.get("length", "1")))
    for kind in ("enum", "set"):
        for row in types.findall(kind):
            found[row.get("name", "")] = found[row.get("encodingType", "")]
    return found


ENCODINGS = encodings()


def laid_out(message: ET.Element) -> dict[str, tuple[int, str, int]]:
    """Field name -> (offset in the record, primitive type, count)."""
    place = {}
    for field in message.findall("field"):
        primitive, count = ENCODINGS[field.get("type", "")]
        place[field.get("name", "")] = (HEADER + int(field.get("offset", "-1")), primitive, count)
    return place


def message_of(template: r.Template) -> ET.Element:
    return MESSAGES[template.name.title().replace("_", "")]


def test_committed_files_are_up_to_date():
    assert schema.PATH.read_text(encoding="utf-8") == schema.xml(), REMEDY
    assert wire.PATH.read_text(encoding="utf-8") == wire.page(), REMEDY


def test_header_is_four_uint16_and_ours():
    composite = ROOT.find("types/composite[@name='messageHeader']")
    assert composite is not None
    assert [(t.get("name"), t.get("primitiveType")) for t in composite] == [
        ("blockLength", "uint16"),
        ("templateId", "uint16"),
        ("schemaId", "uint16"),
        ("version", "uint16"),
    ]
    assert (ROOT.get("id"), ROOT.get("version"), ROOT.get("byteOrder")) == (
        "7717",
        str(r.SCHEMA_VERSION),
        "littleEndian",
    )


def test_every_template_is_a_message_and_no_other():
    assert {(m.get("id"), name) for name, m in MESSAGES.items()} == {
        (str(int(t)), t.name.title().replace("_", "")) for t in r.Template
    }


@pytest.mark.parametrize("template", list(r.Template), ids=lambda t: t.name)
def test_dtype_is_the_schema(template):
    message = message_of(template)
    dtype = r.DTYPES[template]
    place = laid_out(message)
    assert int(message.get("blockLength", "0")) == dtype.itemsize - HEADER
    assert list(place) == list(dtype.names or ())[4:]
    end = HEADER
    for name, (offset, primitive, count) in place.items():
        size = PRIMITIVE[primitive][0]
        assert offset == end, f"{name}: a hole or an overlap at {end}"
        assert offset % size == 0
        assert dtype[name].itemsize == size * count
        assert dtype.fields is not None
        assert dtype.fields[name][1] == offset
        end = offset + size * count
    assert end == dtype.itemsize


@pytest.mark.parametrize("template", list(r.Template), ids=lambda t: t.name)
def test_same_bytes_read_the_same_both_ways(template):
    dtype = r.DTYPES[template]
    raw = bytes((7 * i + 3) % 251 for i in range(dtype.itemsize))
    row = np.frombuffer(raw, dtype=dtype)[0]
    for name, (offset, primitive, count) in laid_out(message_of(template)).items():
        ours = np.asarray(row[name])
        theirs = struct.unpack_from(f"<{count}{PRIMITIVE[primitive][1]}", raw, offset)
        if primitive == "char":
            assert ours.tobytes() == b"".join(theirs)
        else:
            bits = (1 << 8 * PRIMITIVE[primitive][0]) - 1
            assert [int(x) & bits for x in ours.reshape(-1)] == [x & bits for x in theirs]


def test_blank_header_says_what_the_schema_says():
    for template in r.Template:
        raw = r.blank(template).tobytes()
        message = message_of(template)
        assert struct.unpack("<4H", raw[:8]) == (
            int(message.get("blockLength", "0")),
            int(message.get("id", "0")),
            7717,
            r.SCHEMA_VERSION,
        )


def test_elements_and_attributes_are_sbe():
    assert [child.tag for child in ROOT] == ["types"] + ["{http://fixprotocol.io/2016/sbe}message"] * len(r.Template)
    for element in ROOT.iter():
        required, known = ATTRIBUTES[element.tag.split("}")[-1]]
        assert required <= set(element.keys()) <= required | known, element.attrib


def test_sbe_rules():
    """Names and ids are valid and unique in their scope, types resolve, enumerations fit their encoding."""
    names = [row.get("name", "") for row in ROOT.findall("types/*")]
    assert len(set(names)) == len(names)
    assert len({m.get("id") for m in MESSAGES.values()}) == len(MESSAGES)
    for element in ROOT.iter():
        if element.get("name") is not None:
            assert NAME.match(element.get("name", "")), element.get("name")
        if element.get("id") is not None:
            assert 0 < int(element.get("id", "")) < 65536
    for message in MESSAGES.values():
        ids = [field.get("id") for field in message.findall("field")]
        assert len(set(ids)) == len(ids), f"{message.get('name')}: two fields with one id: {ids}"
    for row in ROOT.findall("types/enum"):
        primitive, count = ENCODINGS[row.get("encodingType", "")]
        values = [value.text or "" for value in row]
        assert count == 1
        assert len(set(values)) == len(values)
        assert len({value.get("name") for value in row}) == len(values)
        if primitive == "char":
            assert all(len(value) == 1 for value in values)
        else:
            null = next(
                t
                for t in [*ROOT.findall("types/type"), row]
                if t.get("name") in (row.get("encodingType"), row.get("name"))
            )
            assert all(0 <= int(value) < 2 ** (8 * PRIMITIVE[primitive][0]) - 1 for value in values)
            assert null.get("nullValue") not in values


@pytest.mark.parametrize("enum", [*schema.ENUMS, r.Flag], ids=lambda e: e.__name__)
def test_values_are_the_enumerations_of_records(enum):
    if enum is r.Flag:
        choices = ROOT.findall("types/set[@name='Flags16']/choice")
        assert {c.get("name"): 1 << int(c.text or "") for c in choices} == {m.name: int(m) for m in enum}
        return
    row = ROOT.find(f"types/enum[@name='{enum.__name__}']")
    assert row is not None
    is_char = row.get("encodingType") == "char"
    values = {v.get("name"): ord(v.text or "") if is_char else int(v.text or "") for v in row}
    assert values == {m.name: int(m) for m in enum}


def test_every_coded_field_names_its_enumeration():
    """A field whose text names an enumeration or a FIX code of ours is not left a bare number."""
    for message in MESSAGES.values():
        for field in message.findall("field"):
            if field.get("name") in ("side", "ord_type", "tif", "capacity", "exec_type", "ord_status", "liquidity"):
                assert field.get("type") not in PRIMITIVE, f"{message.get('name')}.{field.get('name')}"


def test_page_dumps_the_example():
    raw = wire.example().tobytes()
    lines = [line for line in wire.page().split("## An example")[1].splitlines() if line.startswith("    ")]
    dumped = bytes.fromhex("".join(re.findall(r"(?:[0-9a-f]{2} ){7}[0-9a-f]{2}", "\n".join(lines))))
    assert dumped == raw
    assert struct.unpack_from("<4q", raw, 48) == (1_570_100, 300, 1_570_200, 100)
