"""IEX-TP packets of TOPS 1.5, TOPS 1.6 and DEEP 1.0 messages, in place.

What becomes of the messages (TOPS 1.66 and DEEP 1.08 specifications):
  Q       quote update            QUOTE; CLOSED where the stock is not active at IEX
  T       trade report            TRADE; ODD_LOT where it says so, AUCTION where a single-price cross made it
  8 5     price level, buy, sell  LEVEL change, or delete where nothing is left; MORE while the event goes on
  H O     trading status, halt    INSTRUMENT_STATUS: halted by either of them is halted
  D       directory               the instrument with its round lot
  S       system event            CLEAR of all books at the end of messages (C)
  B       trade break             none: it concerns a print, by its number, and no book
  A E I P X                       none: nothing of them is in a book
All are counted by type. Prices have four decimals, times are ns UTC.

A packet is left when the batch is full, and gone on with. Messages that came before are counted and give no record.
A stream is a protocol, channel and session; its numbers and its bytes tell what is missing.

Worst case: 16 streams a capture; the packets of further ones are counted and passed over.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.io.atomics import address_of, load_i32, load_i64, load_u8, load_u16
from engine.jit import kernel
from engine.memory import Memory, memory, packed
from engine.record.records import Flag, Reason, Side
from gateways.formats.batch import Batch, new_clear, new_level, new_quote, new_status, new_trade, room
from gateways.formats.capture import PAYLOAD, Capture, next_payload
from gateways.formats.sequence import GAPS, MOST_SEQ, Streams, advance, advance_bytes, stream_of
from gateways.formats.symbols import MOST as INSTRUMENTS
from gateways.formats.symbols import Symbols, instrument_of, set_lot

Array = np.ndarray[Any, np.dtype[Any]]
HEADER: Final = 40
#: Protocols of IEX-TP that are read.
PROTOCOLS: Final = {0x8002: "TOPS 1.5", 0x8003: "TOPS 1.6", 0x8004: "DEEP 1.0"}
#: Length of a message by its type.
LENGTHS: Final = {
    "S": 10, "D": 31, "H": 22, "I": 18, "O": 18, "P": 19, "E": 18, "Q": 42, "T": 38, "X": 26, "B": 38, "A": 80,
    "8": 30, "5": 30,
}  # fmt: skip
#: Status after decoding, and answers of `take`.
MORE, FULL = 0, 1
TAKEN, UNKNOWN_TYPE, WRONG_LENGTH, NO_ROOM_FOR_SYMBOL = 0, 1, 2, 3
#: Places in `Iex.tally` beside those: packets without messages, of other protocols, damaged, of a stream too many.
HEARTBEATS, STRANGE, SHORT, MISFIT, TOO_MANY = 5, 6, 7, 8, 9
_STATE = np.dtype(
    (np.record, [(name, "<i8") for name in "status reading left muted seq recv_ns window_at venue".split()])
)
_OPEN, _HALTED, _AUCTION, _OPERATIONAL = 0, 1, 3, 128
_BUY, _SELL = int(Side.BUY), int(Side.SELL)
_CLOSED, _ODD_LOT, _MORE, _DAY_END = int(Flag.CLOSED), int(Flag.ODD_LOT), int(Flag.MORE), int(Reason.DAY_END)
_OF_AUCTION = int(Flag.AUCTION)
#: Sale condition flags of a trade report: an odd lot, a single-price cross.
_OF_ODD_LOT, _OF_CROSS = 32, 8
_C, _D, _H, _O, _P, _Q, _S, _T, _5, _8 = (ord(letter) for letter in "CDHOPQST58")


@memory
class Iex(Memory):
    """state (1); lengths, counts (256) by type; halts by instrument; tally and first (16): how many, and where."""

    LAYOUT = packed(state=_STATE, lengths="<i8", counts="<i8", halts="u1", tally="<i8", first="<i8")
    state: Array
    lengths: Array
    counts: Array
    halts: Array
    tally: Array
    first: Array


def make_iex() -> Iex:
    """No packet seen."""
    lengths = np.zeros(256, dtype="<i8")
    for letter, length in LENGTHS.items():
        lengths[ord(letter)] = length
    return Iex(
        state=np.zeros(1, dtype=_STATE),
        lengths=lengths,
        counts=np.zeros(256, dtype="<i8"),
        halts=np.zeros(INSTRUMENTS, dtype="u1"),
        tally=np.zeros(16, dtype="<i8"),
        first=np.full(16, -1, dtype="<i8"),
    )


@kernel
def _u32(address: int) -> int:
    """The little-endian uint32."""
    return load_i32(address) & 0xFFFF_FFFF


@kernel
def _tell(iex: Iex, kind: int, at: int) -> None:
    """Count what gave nothing, at `at` in the window."""
    iex.tally[kind] += 1
    if iex.first[kind] < 0:
        iex.first[kind] = iex.state[0].window_at + at


@kernel
def _market(iex: Iex, kind: int, address: int, instrument: int, batch: Batch) -> int:
    """Q, T, 8, 5."""
    state = iex.state[0]
    marks, event_ns = load_u8(address + 1), load_i64(address + 2)
    if kind == _Q:
        i = new_quote(batch, state.venue, instrument, event_ns, state.recv_ns)
        quote = batch.quote[i]
        quote.flags = _CLOSED if marks & 128 else 0
        quote.bid_qty = _u32(address + 18)
        quote.bid_px = load_i64(address + 22) if quote.bid_qty else 0
        quote.ask_qty = _u32(address + 38)
        quote.ask_px = load_i64(address + 30) if quote.ask_qty else 0
        quote.source_seq = state.seq
    elif kind == _T:
        i = new_trade(batch, state.venue, instrument, event_ns, state.recv_ns)
        trade = batch.trade[i]
        trade.flags = (_ODD_LOT if marks & _OF_ODD_LOT else 0) | (_OF_AUCTION if marks & _OF_CROSS else 0)
        trade.qty = _u32(address + 18)
        trade.px = load_i64(address + 22)
    else:
        i = new_level(batch, state.venue, instrument, event_ns, state.recv_ns)
        level = batch.level[i]
        level.side = _BUY if kind == _8 else _SELL
        level.flags = 0 if marks & 1 else _MORE
        level.qty = _u32(address + 18)
        level.action = 1 if level.qty else 2
        level.px = load_i64(address + 22)
    batch.head[i].stream_seq = state.seq
    return TAKEN


@kernel
def _status(iex: Iex, kind: int, address: int, instrument: int, batch: Batch) -> int:
    """H, O. The reason is the message's own four letters (none in O), the first lowest."""
    state = iex.state[0]
    before, mark = int(iex.halts[instrument]), load_u8(address + 1)
    reason = 0
    if kind == _O:
        after = before & 127 | (_OPERATIONAL if mark == _O else 0)
    else:
        reason = _u32(address + 18)
        after = before & _OPERATIONAL | (_OPEN if mark == _T else _AUCTION if mark == _O or mark == _P else _HALTED)
    iex.halts[instrument] = after
    status = _HALTED if after & _OPERATIONAL else after
    i = new_status(batch, state.venue, instrument, load_i64(address + 2), state.recv_ns, status)
    batch.head[i].stream_seq = state.seq
    batch.status[i].reason = reason
    return TAKEN


@kernel
def take(iex: Iex, symbols: Symbols, address: int, length: int, batch: Batch) -> int:
    """Decode the message of `length` >= 1 bytes at an address into a batch with room; TAKEN, or why it gave nothing."""
    kind, state = load_u8(address), iex.state[0]
    right = iex.lengths[kind]
    iex.counts[kind] += 1
    if length != right:
        return UNKNOWN_TYPE if right == 0 else WRONG_LENGTH
    if state.muted > 0:
        return TAKEN
    if kind == _S:
        if load_u8(address + 1) == _C:
            i = new_clear(batch, state.venue, -1, load_i64(address + 2), state.recv_ns, _DAY_END)
            batch.head[i].stream_seq = state.seq
        return TAKEN
    instrument = instrument_of(symbols, load_i64(address + 10), 0)
    if instrument < 0:
        return NO_ROOM_FOR_SYMBOL
    if kind == _Q or kind == _T or kind == _8 or kind == _5:
        return _market(iex, kind, address, instrument, batch)
    if kind == _H or kind == _O:
        return _status(iex, kind, address, instrument, batch)
    if kind == _D:
        set_lot(symbols, instrument, _u32(address + 18))
    return TAKEN


@kernel
def _begin(iex: Iex, streams: Streams, base: int, at: int, stop: int) -> bool:
    """Take a packet's header; False where no messages follow."""
    state, address = iex.state[0], base + at
    if stop - at < HEADER:
        _tell(iex, SHORT, at)
        return False
    protocol = load_u16(address + 2)
    if load_u8(address) != 1 or protocol < 0x8002 or protocol > 0x8004:
        _tell(iex, STRANGE, at)
        return False
    length, count = load_u16(address + 12), load_u16(address + 14)
    offset, seq = load_i64(address + 16), load_i64(address + 24)
    if length != stop - at - HEADER or offset < 0 or offset > MOST_SEQ or seq < 0 or seq > MOST_SEQ:
        _tell(iex, MISFIT, at)
        return False
    stream = stream_of(streams, protocol << 32 | _u32(address + 4), _u32(address + 8))
    if stream < 0:
        _tell(iex, TOO_MANY, at)
        return False
    gaps = streams.tally[GAPS]
    state.muted = advance(streams, stream, seq, count)
    if not advance_bytes(streams, stream, offset, length) and streams.tally[GAPS] == gaps:
        streams.tally[GAPS] += 1
    if count == 0:
        iex.tally[HEARTBEATS] += 1
    state.left = count
    state.seq = seq
    return bool(count > 0)


@kernel
def decode_packet(iex: Iex, symbols: Symbols, streams: Streams, data: Array, at: int, stop: int, batch: Batch) -> int:
    """Decode the packet (or what is left of it) at `at` .. `stop` of the data; `stop`, or where it had to be left.

    It is left with status FULL before a message that the batch has no room for.
    """
    base, state = address_of(data), iex.state[0]
    state.status = MORE
    if state.reading == 0:
        if not _begin(iex, streams, base, at, stop):
            return stop
        state.reading = 1
        at += HEADER
    while state.left > 0:
        if not room(batch):
            state.status = FULL
            return at
        length = load_u16(base + at) if stop - at >= 2 else 0
        if length == 0 or length > stop - at - 2:
            _tell(iex, MISFIT, at)
            break
        code = take(iex, symbols, base + at + 2, length, batch)
        if code != TAKEN:
            _tell(iex, code, at)
        at += 2 + length
        state.left -= 1
        state.muted -= 1
        state.seq += 1
    else:
        if at != stop:
            _tell(iex, MISFIT, at)
    state.reading = 0
    return stop


@kernel
def decode_capture(
    capture: Capture, iex: Iex, symbols: Symbols, streams: Streams, data: Array, at: int, batch: Batch
) -> int:
    """Decode the packets of a capture's window; where it stopped, with `Iex.state` status FULL, or MORE and
    `Capture.state` telling why there is no further packet."""
    taken, end = capture.state[0], len(data)
    while True:
        if taken.left == 0:
            at = next_payload(capture, data, at, end)
            iex.state[0].status = MORE
            if taken.status != PAYLOAD:
                return at
        iex.state[0].recv_ns = taken.recv_ns
        after = decode_packet(iex, symbols, streams, data, at, at + taken.left, batch)
        taken.left -= after - at
        at = after
        if taken.left > 0:
            return at
        at += taken.rest
