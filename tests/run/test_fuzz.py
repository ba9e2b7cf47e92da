"""Malformed messages, by the ten thousand here, by the ten million in `make torture`: nothing crashes, nothing moves.

Messages are random bytes, and valid records with bytes turned over, cut short or glued together; they go the loop's own
way: framing, stamps, `step`. A refused one must leave orders, positions, timers and tables as they were, and every
refusal must be counted once. Numbers of the sessions' streams are kept in order, so that what is refused is refused for
what it says (tests/core holds the streams' own rules).
"""

from __future__ import annotations

import os

import msgspec
import numpy as np
import pytest

from engine.core.state import C_REFUSALS
from engine.io.atomics import copy, crc32c
from engine.jit import JIT, kernel
from engine.record import records as r
from engine.run.assemble import assemble, calibrate_tsc
from engine.run.bind import bind
from engine.run.receive import framed, take_in
from engine.run.reference import build_state, trading_day
from engine.run.rehearse import scratch_journal
from engine.run.wiring import LINK, NOWHERE, ZMQ_SUB
from tests.core.invariants import validate
from tests.run.engine_peers import make_config

pytestmark = pytest.mark.kernel
T = r.Template
STEP = bind("strategies.sweep").step
_REFUSAL, _UP, _FIRST_SESSION = int(T.REFUSAL), int(T.SESSION_UP), 1
#: Tables that a refused message must not touch. The rest counts, follows streams, or tells the time.
TABLES = (
    "parent_orders parents child_orders children positions work timer_at"
    " timer_owner timer_pos id_index execs limits overrides masses kills"
)
_MARKET = (T.QUOTE, T.TRADE, T.CLEAR, T.LEVEL, T.INSTRUMENT_STATUS)
_CLIENT = (T.ORDER_NEW, T.ORDER_REPLACE, T.ORDER_CANCEL, T.STATUS_REQUEST, T.MASS_CANCEL, T.CONTROL)
_VENUE = (T.ACK, T.FILL, T.REJECT, T.CANCEL_REJECT, T.BUST, T.CORRECT)
KINDS = (*_MARKET, *_CLIENT, *_VENUE, T.SESSION_UP, T.SESSION_DOWN)
ROW_BYTES = 512


@kernel
def sum_of(places: np.ndarray) -> int:
    """CRC32C over memory ranges: places is int64 (ranges, 2), address and bytes."""
    crc = 0
    for k in range(len(places)):
        crc = crc32c(crc, places[k, 0], places[k, 1])
    return crc


@kernel
def feed_in(state, events, outbox, w, messages, sizes, rows, places, tally):
    """Send messages the loop's way. tally: messages, records in, REFUSAL records, refused ones that moved a table."""
    for m in range(len(sizes)):
        copy(w.line[0].event_address, messages.ctypes.data + m * ROW_BYTES, ROW_BYTES)
        w.line[0].sender = rows[m]
        tally[0] += 1
        at = 0
        while at < sizes[m]:
            size = framed(events, w, rows[m], at, sizes[m])
            if take_in(state, events, w, at):
                head = events.head[at // 64]
                if head.stream_id >= 0 and rows[m] >= _FIRST_SESSION:
                    head.stream_epoch = 1
                    head.stream_seq = state.sessions[head.stream_id].seq_in + 1
                before = sum_of(places)
                count = STEP(state, events, at // 64, outbox)
                refusals = 0
                for k in range(count):
                    if outbox.head[k].template_id == _REFUSAL:
                        refusals += 1
                tally[1] += 1
                tally[2] += refusals
                if refusals > 0 and sum_of(places) != before:
                    tally[3] += 1
            at += size


def make_loop(tmp_path):
    config = make_config(tmp_path / "run", tmp_path)
    small = msgspec.structs.replace(config.capacity, parents=64, children=128, executions=64, accounts=4)
    config = msgspec.structs.replace(config, capacity=small)
    links = np.zeros(3, dtype=LINK)
    links["transport"] = (ZMQ_SUB, NOWHERE, NOWHERE)
    links["source"], links["session"], links["up"] = (0, 1, 2), (-1, 0, 1), 1
    table, memory = scratch_journal()
    state = build_state(config, trading_day(config), 1)
    loop = assemble(config, state, table, stream_epoch=1, clock_offset_ns=0, tsc_mul=calibrate_tsc(0.001), links=links)
    loop.wiring.line[0].first_session = _FIRST_SESSION
    loop.wiring.line[0].clock_ns = 10**18
    arrays = state.arrays()
    places = np.array([[arrays[name].ctypes.data, arrays[name].nbytes] for name in TABLES.split()], dtype=np.int64)
    return loop, places, memory


def valid(draw, template, known):
    """A record that could pass: small numbers, one of a few ids, one of the orders that are known."""
    record = r.blank(template)[0]
    names = record.dtype.names
    record["stream_id"] = record["venue_id"] = draw.integers(0, 3)
    record["stream_epoch"], record["stream_seq"] = 1, draw.integers(1, 400)
    choices = {
        "bid_px": 1_569_900, "ask_px": 1_570_000 + 100 * int(draw.integers(0, 3)), "bid_qty": 300, "ask_qty": 300,
        "px": 1_570_100, "qty": 100 * int(draw.integers(1, 5)), "side": int(draw.choice([49, 50])), "ord_type": 50,
        "tif": int(draw.choice([48, 49, 51, 52])), "last_px": 1_570_000, "last_qty": 100,
        "exec_type": int(draw.choice([48, 52, 67, 73])), "ord_status": int(draw.choice([48, 50, 52])),
        "action": int(draw.integers(1, 3)), "order_id": int(draw.choice(known)),
    }  # fmt: skip
    for name, value in choices.items():
        if name in names:
            record[name] = value
    if template == T.ORDER_NEW:
        record["order_id"] = 0
    for name in ("cl_ord_id", "exec_id"):
        if name in names:
            record[name][0] = draw.integers(1, 500)
    return record.tobytes()


def spoil(draw, data):
    """Turn bytes over, cut, glue, or leave it."""
    raw = bytearray(data)
    how = draw.integers(0, 6)
    if how <= 2:
        for _ in range(int(draw.integers(1, 5))):
            raw[int(draw.integers(0, len(raw)))] = int(draw.integers(0, 256))
    elif how == 3:
        raw = raw[: int(draw.integers(0, len(raw)))]
    elif how == 4:
        raw += raw[: int(draw.integers(0, len(raw) + 1))]
    return bytes(raw)


def make_messages(draw, count, known):
    """(bytes, sizes, links): one in eight is noise, the rest are spoiled records on the link that may send them."""
    messages, sizes = np.zeros((count, ROW_BYTES), dtype=np.uint8), np.zeros(count, dtype=np.int64)
    rows = np.zeros(count, dtype=np.int64)
    for m in range(count):
        template = KINDS[int(draw.integers(0, len(KINDS)))]
        data = draw.bytes(int(draw.integers(1, 256))) if draw.integers(0, 8) == 0 else valid(draw, template, known)
        data = spoil(draw, data) or b"\0"
        messages[m, : len(data)] = np.frombuffer(data, dtype=np.uint8)
        sizes[m] = len(data)
        home = 0 if template < T.ORDER_NEW else 2 if T.ACK <= template <= T.CORRECT else 1
        rows[m] = home if draw.integers(0, 10) else draw.integers(0, 3)
    return messages, sizes, rows


def play(tmp_path, total, batch, seed):
    loop, places, memory = make_loop(tmp_path)
    state, events, outbox, w = loop
    draw, tally = np.random.default_rng(seed), np.zeros(4, dtype=np.int64)
    hellos = np.zeros((2, ROW_BYTES), dtype=np.uint8)
    hellos[:, :64] = np.frombuffer(r.blank(T.SESSION_UP).tobytes(), dtype=np.uint8)
    messages, sizes, rows = make_messages(draw, batch, [0, 1])
    while tally[0] < total:
        known = [0, *state.child_orders["order_id"].tolist(), *state.parent_orders["order_id"].tolist()]
        fresh, fresh_sizes, fresh_rows = make_messages(draw, max(batch // 50, 50), known)
        at = int(draw.integers(0, batch - len(fresh_sizes)))
        part = slice(at, at + len(fresh_sizes))
        messages[part], sizes[part], rows[part] = fresh, fresh_sizes, fresh_rows
        order = draw.permutation(batch)
        feed_in(state, events, outbox, w, hellos, np.array([64, 64]), np.array([1, 2]), places, tally)
        feed_in(state, events, outbox, w, messages[order], sizes[order], rows[order], places, tally)
        w.line[0].clock_ns += 1_000_000
        validate(state)
    assert len(memory)
    assert tally[3] == 0, "a refused message moved a table"
    assert state.counts[C_REFUSALS] == tally[2] == state.refusals.sum(), "each refusal is counted once"
    assert tally[2] > tally[0] // 10, "the messages were not bad enough to show anything"
    assert tally[1] > tally[2], "and some must have passed"
    assert len(outbox.head) > 0
    assert len(events.head) > 0
    return tally


def test_bad_messages_change_nothing(tmp_path):
    play(tmp_path, 20_000 if JIT else 400, 2_000 if JIT else 200, seed=11)


@pytest.mark.torture
def test_ten_million_bad_messages_change_nothing(tmp_path):
    total = int(os.environ.get("TICKROUTE_FUZZ_MESSAGES", "10000000"))
    tally = play(tmp_path, total, 20_000, seed=12)
    print(f"{tally[0]:,} messages, {tally[1]:,} records, {tally[2]:,} refusals, {tally[3]} that moved a table")
