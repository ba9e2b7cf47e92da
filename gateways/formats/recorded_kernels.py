"""Records of batches into blocks, with what the index of a recording says of a block; and out of them again.

Every record is looked at once: that its length is that of its kind, that its venue and instrument have names, when it
was, and whether it was received before it happened. A record's time is that of its event, or, where it has none, that
of its receipt.

Worst case: a record that cannot be is not copied; `fault` says what is wrong with it, and the caller refuses the feed.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.io.atomics import address_of, copy
from engine.io.mapping import aligned_zeros
from engine.jit import kernel
from engine.memory import Memory, memory, packed
from engine.record.records import DTYPES, SBE_HEADER_SIZE, SCHEMA_ID, UNIT, Template
from gateways.formats.batch import Batch
from gateways.inbox import table

Array = np.ndarray[Any, np.dtype[Any]]
OK, BAD_RECORD, BAD_NAME = 0, 1, 2
#: What is wrong with a record, by fault.
FAULTS: Final = ("", "a record has an unknown kind, schema or length", "a record's venue or instrument has no name")
#: Kinds up to this one are of an instrument, whose number is at the same place in all of them.
_LAST_WITH_INSTRUMENT: Final = int(Template.INSTRUMENT_STATUS)

#: A row of the index, as it is on the disk: 64 bytes.
ROW: Final = table("""
offset       i8  of the block, in bytes of the file
size         i8  bytes of the block as stored
units        i8  units of 64 bytes as unpacked
records      i8
first_ns     i8  least time of a record
last_ns      i8  greatest
of_all       i8  records of all instruments, or of none
crc          i8  CRC-32 of the block as stored
""")
assert ROW.itemsize == UNIT
#: What all records of a feed come to.
WHOLE: Final = table("""
records      i8
timed        i8  records with a time of their event and one of their receipt
negative     i8  of these, received before they happened
least_ns     i8  shortest time under way
first_ns     i8  least time of a record
last_ns      i8  greatest
venues       i8  that have names
instruments  i8  that have names
fault        i8
""")


@memory
class Filling(Memory):
    """What is known of a block that is being filled or read, and of all before it; see `make_filling`."""

    LAYOUT = packed(row=ROW, whole=WHOLE, kinds="<i8", marks="<u1", starts="<i8", units="<i8")
    row: Array  # one row, of this block
    whole: Array  # one row
    kinds: Array  # 64: records by template
    marks: Array  # by instrument: 1 where it is in the block
    starts: Array  # units where the block's records begin
    units: Array  # 64: units of a record by template, 0 where there is none


def make_filling(units: int, instruments: int = 64) -> Filling:
    """Nothing filled: for blocks of so many units."""
    sizes = aligned_zeros(64, np.dtype("<i8"))
    for template, dtype in DTYPES.items():
        sizes[template] = dtype.itemsize // UNIT
    return Filling(
        row=aligned_zeros(1, ROW),
        whole=aligned_zeros(1, WHOLE),
        kinds=aligned_zeros(64, np.dtype("<i8")),
        marks=aligned_zeros(instruments, np.dtype("<u1")),
        starts=aligned_zeros(units, np.dtype("<i8")),
        units=sizes,
    )


@kernel
def take(f: Filling, block: Batch, batch: Batch, at: int, skew_ns: int) -> int:
    """Copy the records of a batch from unit `at` on into a block, receive times later by `skew_ns`; where it stopped.

    It stops at the end, where the block is full, or in front of a record that cannot be (`whole.fault`).
    """
    end = int(batch.used[0])
    while at < end:
        units = units_of(f, batch, at, end)
        to = int(block.used[0])
        if units == 0 or to + units > len(block.head):
            return at
        copy(address_of(block.words) + UNIT * to, address_of(batch.words) + UNIT * at, UNIT * units)
        if skew_ns != 0 and block.head[to].ts_recv_ns != 0:
            block.head[to].ts_recv_ns += skew_ns
        block.used[0] = to + units
        _note(f, block, to, units)
        at += units
    return at


@kernel
def look(f: Filling, block: Batch) -> None:
    """Walk a block that was read: `row`, `marks` and `starts` as they were when it was filled, or `whole.fault`."""
    at, end = 0, int(block.used[0])
    while at < end:
        units = units_of(f, block, at, end)
        if units == 0:
            return
        _note(f, block, at, units)
        at += units


@kernel
def pick(f: Filling, wanted: Filling, block: Batch, out: Batch, from_ns: int, to_ns: int) -> None:
    """Copy to `out` what a block that was looked at has with from_ns <= time < to_ns, of instruments in wanted.marks.

    Records of all instruments are of each; wanted without marks wants every instrument.
    """
    for n in range(f.row[0].records):
        i = int(f.starts[n])
        when = _time(block, i)
        if when < from_ns or when >= to_ns:
            continue
        instrument = _instrument(block, i)
        if len(wanted.marks) != 0 and instrument >= 0 and wanted.marks[instrument] == 0:
            continue
        units = int(f.units[block.head[i].template_id])
        to = int(out.used[0])
        copy(address_of(out.words) + UNIT * to, address_of(block.words) + UNIT * i, UNIT * units)
        out.used[0] = to + units


@kernel
def units_of(f: Filling, batch: Batch, at: int, end: int) -> int:
    """Units of the record at unit `at`; 0, and the fault, where it cannot be."""
    head, whole = batch.head[at], f.whole[0]
    template = int(head.template_id)
    units = int(f.units[template]) if template < 64 else 0
    if units == 0 or head.schema_id != SCHEMA_ID or head.block_length + SBE_HEADER_SIZE != UNIT * units:
        whole.fault = BAD_RECORD
        return 0
    if at + units > end:
        whole.fault = BAD_RECORD
        return 0
    instrument = _instrument(batch, at)
    if not (-1 <= head.venue_id < whole.venues and -1 <= instrument < whole.instruments):
        whole.fault = BAD_NAME
        return 0
    return units


@kernel
def _instrument(batch: Batch, i: int) -> int:
    return int(batch.trade[i].instrument_id) if batch.head[i].template_id <= _LAST_WITH_INSTRUMENT else -1


@kernel
def _time(batch: Batch, i: int) -> int:
    event_ns = int(batch.head[i].ts_event_ns)
    return event_ns if event_ns != 0 else int(batch.head[i].ts_recv_ns)


@kernel
def _note(f: Filling, block: Batch, i: int, units: int) -> None:
    row, whole, head = f.row[0], f.whole[0], block.head[i]
    when = _time(block, i)
    row.first_ns = when if row.records == 0 else min(int(row.first_ns), when)
    row.last_ns = when if row.records == 0 else max(int(row.last_ns), when)
    if when != 0:
        whole.first_ns = when if whole.first_ns == 0 else min(int(whole.first_ns), when)
        whole.last_ns = max(int(whole.last_ns), when)
    f.starts[row.records] = i
    row.records += 1
    row.units += units
    whole.records += 1
    f.kinds[head.template_id] += 1
    instrument = _instrument(block, i)
    if instrument >= 0:
        f.marks[instrument] = 1
    else:
        row.of_all += 1
    if head.ts_event_ns != 0 and head.ts_recv_ns != 0:
        took = int(head.ts_recv_ns) - int(head.ts_event_ns)
        whole.least_ns = took if whole.timed == 0 else min(int(whole.least_ns), took)
        whole.timed += 1
        if took < 0:
            whole.negative += 1
