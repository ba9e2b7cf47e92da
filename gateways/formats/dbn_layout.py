"""What a DBN file looks like: its metadata, the kinds of its records and their sizes, and who publishes them.

Databento Binary Encoding, versions 1 to 3: a prelude of 8 bytes ("DBN", version, length), metadata, then records, all
little-endian. A record begins with its length in words of 4 bytes, its rtype, publisher, instrument and time of event.
Prices are in 1e-9. See https://databento.com/docs/standards-and-conventions/databento-binary-encoding.
"""

from __future__ import annotations

import datetime
import struct
from collections import defaultdict
from typing import Final, NamedTuple

MAGIC: Final = b"DBN"
VERSIONS: Final = (1, 2, 3)
PRELUDE: Final = 8
HEADER: Final = 16
WORD: Final = 4
PX_DECIMALS: Final = 9
UNDEF_PRICE: Final = 2**63 - 1

MBP_0, MBP_1, MBP_10, DEFINITION, STATUS, SYMBOL_MAPPING = 0, 1, 10, 19, 18, 22
MBO, CMBP_1, TCBBO, TBBO = 160, 177, 194, 197
#: rtype -> (name of the schema, sizes of the record that are known; none: any).
RTYPES: Final[dict[int, tuple[str, tuple[int, ...]]]] = {
    MBP_0: ("trades", (48,)),
    MBP_1: ("mbp-1", (80,)),
    MBP_10: ("mbp-10", (368,)),
    17: ("ohlcv", ()),
    STATUS: ("status", (40,)),
    DEFINITION: ("definition", (360, 400, 520)),
    20: ("imbalance", ()),
    21: ("error", ()),
    SYMBOL_MAPPING: ("symbol mapping", (80, 176)),
    23: ("system", ()),
    24: ("statistics", ()),
    32: ("ohlcv-1s", ()),
    33: ("ohlcv-1m", ()),
    34: ("ohlcv-1h", ()),
    35: ("ohlcv-1d", ()),
    36: ("ohlcv-eod", ()),
    MBO: ("mbo", (56,)),
    CMBP_1: ("cmbp-1", (80,)),
    192: ("cbbo-1s", ()),
    193: ("cbbo-1m", ()),
    TCBBO: ("tcbbo", (80,)),
    195: ("bbo-1s", ()),
    196: ("bbo-1m", ()),
    TBBO: ("tbbo", (80,)),
}
#: A record may carry the time it was sent at behind it.
TS_OUT: Final = 8
#: Number of the schema tbbo in metadata: its records have the rtype of mbp-1.
SCHEMA_TBBO: Final = 3

#: Size of a definition -> (offset of the raw symbol, its length).
SYMBOL_AT: Final = {360: (200, 22), 400: (200, 71), 520: (238, 71)}
#: Size of a symbol mapping -> (offset of the symbol that it gives, its length).
MAPPED_AT: Final = {80: (38, 22), 176: (89, 71)}

#: Venues by publisher, from 1 on.
_VENUES: Final = (
    "GLBX XNAS XBOS XPSX BATS BATY EDGA EDGX XNYS XCIS XASE XCHI XCIS XCIS MEMX EPRL FINN FINC FINY AMXO "
    "XBOX XCBO EMLD EDGO GMNI XISX MCRY XMIO ARCO OPRA MPRL XNDQ XBXO C2OX XPHL BATO MXOP IEXG XCHI XCIS "
    "IEXG EPRL ARCX XNYS XNYS XNAS XNAS XCHI XCIS IEXG EPRL XNAS XNYS FINN FINY FINC IFEU NDEX DBEQ EQUS "
    "SPHR"
).split()
_STYPE_INSTRUMENT_ID: Final = 0
_NULL: Final = 0xFFFF
#: No record is of before 1990 or after 2100, in ns: what a fragment is known by.
_EARLIEST, _LATEST = 631_152_000 * 10**9, 4_102_444_800 * 10**9


class Mapping(NamedTuple):
    """A symbol of an instrument id from `begin_ns` until before `end_ns`."""

    begin_ns: int
    end_ns: int
    symbol: str


class Metadata(NamedTuple):
    """What stands before the records. `mappings` are by instrument id."""

    version: int
    dataset: str
    schema: int
    start_ns: int
    end_ns: int
    ts_out: bool
    symbols: tuple[str, ...]
    mappings: dict[int, list[Mapping]]


class MetadataError(ValueError):
    """Metadata that cannot be read; `at` is the byte in the file."""

    def __init__(self, at: int, why: str) -> None:
        super().__init__(why)
        self.at = at


def venue_name(publisher: int) -> str:
    """The venue of a publisher; "P" and its number where it is not in the table."""
    return _VENUES[publisher - 1] if 1 <= publisher <= len(_VENUES) else f"P{publisher}"


def base_size(rtype: int, size: int) -> int:
    """Size of a record without the time it was sent at; 0 where a record of this rtype has no such size."""
    known = RTYPES[rtype][1] if rtype in RTYPES else (0,)
    return next((n for n in known if size in (n, n + TS_OUT)), 0) if known else size * (size >= HEADER)


def looks_like_records(head: bytes) -> bool:
    """Whether bytes are DBN records without metadata: one whole record or more, all of known sizes and fit times."""
    at = found = 0
    while at + HEADER <= len(head):
        words, rtype, publisher, _, event_ns = struct.unpack_from("<BBHIQ", head, at)
        dated = event_ns == 2**64 - 1 or _EARLIEST < event_ns < _LATEST
        if not base_size(rtype, words * WORD) or not dated or not 0 < publisher < 1000:
            return False
        at += words * WORD
        found += at <= len(head)
    return found > 0


class _Cursor:
    """Reads metadata from the front, and says where it ends too early."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def take(self, form: str) -> tuple[int, ...]:
        size = struct.calcsize(form)
        self.need(size)
        values = struct.unpack_from(form, self.data, self.at)
        self.at += size
        return values

    def need(self, size: int) -> None:
        if self.at + size > len(self.data):
            raise MetadataError(self.at, f"the metadata end, but {size} bytes more are announced")

    def text(self, size: int) -> str:
        self.need(size)
        raw = self.data[self.at : self.at + size].split(b"\0")[0]
        try:
            value = raw.decode()
        except UnicodeDecodeError as error:
            raise MetadataError(self.at, "a text in the metadata is no UTF-8") from error
        self.at += size
        return value

    def texts(self, size: int) -> tuple[str, ...]:
        (count,) = self.take("<I")
        self.need(count * size)
        return tuple(self.text(size) for _ in range(count))

    def day_ns(self) -> int:
        at = self.at
        (date,) = self.take("<I")
        try:
            day = datetime.date(date // 10_000, date // 100 % 100, date % 100)
        except ValueError as error:
            raise MetadataError(at, f"{date} is no date as YYYYMMDD") from error
        return (day - datetime.date(1970, 1, 1)).days * 86_400 * 10**9


def read_metadata(data: bytes) -> Metadata:
    """The metadata of a file from its whole prelude and metadata; MetadataError where they do not hold together."""
    version = data[3]
    cursor = _Cursor(data, PRELUDE)
    dataset = cursor.text(16)
    schema, start_ns, end_ns, _ = cursor.take("<HQQQ")
    if version == 1:
        cursor.take("<Q")
    stype_in, stype_out, ts_out = cursor.take("<BBB")
    length = 22 if version == 1 else cursor.take("<H")[0]
    if not 1 <= length <= 1000:
        raise MetadataError(cursor.at - 2, f"a symbol of {length} bytes is announced")
    reserved = 47 if version == 1 else 53
    cursor.need(reserved)
    cursor.at += reserved
    (definition,) = cursor.take("<I")
    cursor.need(definition)
    cursor.at += definition
    symbols = cursor.texts(length)
    for _ in ("partial", "not found"):
        cursor.texts(length)
    mappings: dict[int, list[Mapping]] = defaultdict(list)
    for _ in range(cursor.take("<I")[0]):
        given = cursor.text(length)
        (intervals,) = cursor.take("<I")
        cursor.need(intervals * (8 + length))
        for _ in range(intervals):
            begin_ns, end_ns_of = cursor.day_ns(), cursor.day_ns()
            other = cursor.text(length)
            number, symbol = (given, other) if stype_in == _STYPE_INSTRUMENT_ID else (other, given)
            named = stype_in == _STYPE_INSTRUMENT_ID or stype_out == _STYPE_INSTRUMENT_ID
            if named and number.isascii() and number.isdecimal() and symbol:
                mappings[int(number)].append(Mapping(begin_ns, end_ns_of, symbol))
    return Metadata(version, dataset, schema, start_ns, end_ns, bool(ts_out), symbols, dict(mappings))
