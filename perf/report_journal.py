"""The journal of `perf report`: so many orders, each filled at one of twelve venues, as the engine's frames have them.

An order is seven frames: taken in, acknowledged to its client, sent to a venue, measured (STAGES, nine latencies),
filled, told to the client, measured. They are appended by the engine's own writer, so CRCs, chain and segments are a
what the records say is made up, from the order's number. Worst case: 1.1 KB an order, on the disk that TMPDIR names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.core.ids import CHILD_BIT
from engine.io.atomics import cpu_pause
from engine.io.journal import NOT_READY, append
from engine.io.journal_format import LAST, Kind
from engine.io.journal_writer import JournalWriter
from engine.jit import kernel
from engine.record.records import ExecType, OrdStatus, OrdType, Side, Template, Tif, blank
from engine.run import manifest
from perf import desk
from perf.result import Progress

#: Latencies of an order in its journal: two events of nine stages.
SAMPLES = 18
FRAMES = 7
_INPUT, _OUTPUT, _OBSERVATION = int(Kind.INPUT), int(Kind.OUTPUT), int(Kind.OBSERVATION)
_LAST = LAST
_STEP_NS = 2_000
_CHUNK = 100_000


def write(run_dir: Path, orders: int, progress: Progress) -> None:
    """Write the journal of a run of so many orders. JournalError where the disk is full."""
    config = desk.read(desk.write(run_dir.parent, clock="monotonic"))
    run = manifest.make(config, 1, 0)
    base = int(run.initial_state().params[0].id_base)
    writer = JournalWriter(run_dir, config.journal.segment_mib << 20, manifest.to_bytes(run))
    rows = _records()
    try:
        for begin in range(0, orders, _CHUNK):
            _fill(writer.table, rows, base, begin, min(begin + _CHUNK, orders), len(config.venue))
            progress("write a journal", begin / orders)
    finally:
        writer.close()


def _records() -> tuple[Any, ...]:
    """A record of each kind, with what all orders share."""
    order, ack = blank(Template.ORDER_NEW), blank(Template.ACK)
    fill, stages = blank(Template.FILL), blank(Template.STAGES)
    order["side"], order["ord_type"], order["tif"], order["px"] = Side.BUY, OrdType.LIMIT, Tif.DAY, 1_000_000
    for report in (ack, fill):
        report["side"], report["last_px"] = Side.BUY, 1_000_000
    ack["exec_type"], ack["ord_status"] = ExecType.NEW, OrdStatus.NEW
    fill["exec_type"], fill["ord_status"] = ExecType.TRADE, OrdStatus.FILLED
    stages["outputs"] = 1
    return order, ack, fill, stages


@kernel
def _put(table: Any, kind: int, flags: int, index: int, input_seq: int, record: Any) -> int:
    """Append a record of 128 bytes; waits for a prepared segment."""
    seq = append(table, kind, flags, index, input_seq, record.ctypes.data, 128)
    while seq == NOT_READY:
        cpu_pause()
        seq = append(table, kind, flags, index, input_seq, record.ctypes.data, 128)
    return int(seq)


@kernel
def _measure(table: Any, stages: Any, seq: int, now_ns: int, word: int) -> None:
    """A STAGES observation of input `seq`: eight stages from the bits of `word`, one in 1,024 of them long."""
    note = stages[0]
    note.input_seq, note.clock_ns = seq, now_ns
    slow = 40 if word & 1023 == 0 else 1
    note.receive_ns = (200 + (word & 255)) * slow
    note.decode_ns = 60 + (word >> 8 & 63)
    note.book_ns = 90 + (word >> 14 & 127)
    note.decide_ns = 300 + (word >> 21 & 511)
    note.risk_ns = 40 + (word >> 30 & 31)
    note.journal_ns = 120 + (word >> 35 & 127)
    note.encode_ns = 20 + (word >> 42 & 15)
    note.send_ns = (2000 + (word >> 46 & 4095)) * slow
    note.total_ns = int(note.receive_ns) + int(note.decode_ns) + int(note.decide_ns) + int(note.send_ns) + 400
    _put(table, _OBSERVATION, _LAST, 0, seq, stages)


@kernel
def _fill(table: Any, records: Any, base: int, begin: int, end: int, venues: int) -> None:
    """Append orders begin .. end - 1."""
    order, ack, fill, stages = records
    word = begin * 2862933555777941757 + 3037000493
    for n in range(begin, end):
        word = (word * 6364136223846793005 + 1442695040888963407) & 0x7FFFFFFFFFFFFFFF
        now_ns = 1_514_903_400_000_000_000 + n * _STEP_NS
        qty, venue, id_ = 100 + (word >> 8 & 1023), word >> 20 & 15, base | (n + 1)
        venue = venue if venue < venues else 0
        parent, child = order[0], base | CHILD_BIT | (n + 1)
        parent.order_id, parent.parent_id, parent.qty, parent.venue_id, parent.stream_id = 0, 0, qty, -1, 0
        parent.ts_event_ns, parent.ts_recv_ns = now_ns - 500 - (word & 511), now_ns
        seq = _put(table, _INPUT, _LAST, 0, -1, order)
        told = ack[0]
        told.order_id, told.leaves_qty, told.ts_event_ns = id_, qty, now_ns
        _put(table, _OUTPUT, 0, 0, seq, ack)
        parent.order_id, parent.parent_id, parent.venue_id, parent.stream_id = child, id_, venue, 1
        _put(table, _OUTPUT, _LAST, 1, seq, order)
        _measure(table, stages, seq, now_ns, word)
        then_ns = now_ns + 900
        done = fill[0]
        done.order_id, done.last_qty, done.cum_qty, done.venue_id, done.stream_id = child, qty, qty, venue, 1
        done.ts_event_ns, done.ts_recv_ns = then_ns - 300, then_ns
        seq = _put(table, _INPUT, _LAST, 0, -1, fill)
        done.order_id, done.venue_id, done.stream_id = id_, -1, 0
        _put(table, _OUTPUT, _LAST, 0, seq, fill)
        _measure(table, stages, seq, then_ns, word >> 1)
