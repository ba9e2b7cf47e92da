"""Nasdaq TotalView-ITCH 5.0 messages as records, decoded in place: one kernel a message, whatever brought it.

`take` has a message's address and length, no more; `decode` is the loop over a file's two-byte lengths. Every load
lies within a message whose length was found right for its type, so nothing beyond the data is ever touched.

What becomes of the 23 types (specification of 2023, section 1):
  A F   add                  ORDER_DELTA add
  E     execution            ORDER_DELTA execute, PRINT; price and side are the order's, and 0 here
  C     execution at a price ORDER_DELTA execute with exec_px, PRINT; NOT_PRINTED where the printable flag is N
  X     partial cancel       ORDER_DELTA reduce by the cancelled quantity: what is left only the book knows
  D     delete               ORDER_DELTA delete
  U     replace              ORDER_DELTA replace: venue_order goes, new_order comes at px and qty, side unchanged
  P Q   hidden trade, cross  TRADE, a cross with the flag AUCTION; a cross of no shares is none
  H h   halts                INSTRUMENT_STATUS: halted by either of them is halted
  R     directory            the instrument with its round lot
  S     system event         CLEAR of all books at the end of messages (C)
  B     broken trade         none: it concerns a print, by its match number, and no book
  Y L V W K J I N O          none: nothing of them is in a book (docs/feeds.md says of each what it is)
All are counted by type.

Worst case: stock locates are good for one session (a day of one market), so each session has a table of 65,536.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.io.atomics import address_of, load_i32, load_i64, load_i64_be, load_u8, load_u16_be, load_u32_be
from engine.jit import inlined, kernel
from engine.memory import Memory, memory, packed
from engine.record.records import Flag, Reason, Side
from gateways.formats.batch import Batch, new_clear, new_status, new_trade, put_delta, room
from gateways.formats.symbols import Symbols, add_nameless, instrument_of, named, set_lot

Array = np.ndarray[Any, np.dtype[Any]]
#: Length of a message by its type.
LENGTHS: Final = {
    "S": 12, "R": 39, "H": 25, "Y": 20, "L": 26, "V": 35, "W": 12, "K": 28, "J": 35, "h": 21, "A": 36, "F": 40,
    "E": 31, "C": 36, "X": 23, "D": 19, "U": 35, "P": 44, "Q": 40, "B": 19, "I": 50, "N": 20, "O": 48,
}  # fmt: skip
#: Where the order messages have their fields: action; then at which byte side, quantity, price, new number, match
#: number, own price, printable flag and stock begin. 0 where a type has none: at 0 is the type itself.
_ORDERS: Final = {
    "A": (0, 19, 20, 32, 0, 0, 0, 0, 24),
    "F": (0, 19, 20, 32, 0, 0, 0, 0, 24),
    "D": (2, 0, 0, 0, 0, 0, 0, 0, 0),
    "E": (3, 0, 19, 0, 0, 23, 0, 0, 0),
    "C": (3, 0, 19, 0, 0, 23, 32, 31, 0),
    "X": (4, 0, 19, 0, 0, 0, 0, 0, 0),
    "U": (5, 0, 27, 31, 19, 0, 0, 0, 0),
}
_FIELDS: Final = ("side", "qty", "px", "new", "match", "own_px", "print", "stock")
#: A message of an unknown type that is longer than this is a length that is none.
MOST_LENGTH: Final = 255
LOCATES: Final = 1 << 16
#: Answers of `take`.
TAKEN, UNKNOWN_TYPE, WRONG_LENGTH, NO_ROOM_FOR_SYMBOL, BAD_VALUE = 0, 1, 2, 3, 4
#: `Itch.state` status after `decode`.
MORE, FULL, BAD_MESSAGE, END_MARK = 0, 1, 2, 3
#: What is skipped, places in `Itch.skipped` and, of the first, `Itch.first`.
SKIPS: Final = (
    "",
    "unknown message type",
    "wrong length for its type",
    "too many instruments",
    "a side or quantity that cannot be",
)
_STATE = np.dtype(
    (
        np.record,
        [(name, "<i8") for name in "midnight_ns recv_ns seq venue locates market status window_at mute".split()],
    )
)
_KIND = np.dtype(
    (
        np.record,
        [(name, "<i8") for name in ("length", "action", "what", "unprinted")]
        + [(f"{f}{end}", "<i8") for f in _FIELDS for end in ("_at", "_mask")],
    )
)
_NS48: Final = 0xFFFF_FFFF_FFFF
_NO_ORDER: Final = -1
_OPEN, _HALTED, _AUCTION = 0, 1, 3
#: In `Itch.halts`, beside the status: the market's own halt.
_OPERATIONAL: Final = 128
_OF_AUCTION = int(Flag.AUCTION)
_PRINT, _NOT_PRINTED, _DAY_END = int(Flag.PRINT), int(Flag.NOT_PRINTED), int(Reason.DAY_END)
_EXECUTE: Final = 3
_UNMET: Final = -(1 << 31)
_C, _H, _N, _P, _Q, _R, _S, _T, _h = (ord(c) for c in "CHNPQRSTh")


@memory
class Itch(Memory):
    """What decoding needs and keeps.

    state (1): New York's midnight, receive time and number of the message at hand, venue, place of the session's
    locates, the market's letter in operational halts, status, place of the window in the file, whether messages are
    only counted. kinds (256): a row a type, see `_KIND`. counts (256): by type. sides (256): by letter. instrument:
    by session and locate, ~n where n has no symbol yet. halts the same. skipped, first (5): how many were, and the
    place of the first.
    """

    LAYOUT = packed(
        state=_STATE, kinds=_KIND, counts="<i8", sides="<i8", instrument="<i4", halts="u1", skipped="<i8", first="<i8"
    )
    state: Array
    kinds: Array
    counts: Array
    sides: Array
    instrument: Array
    halts: Array
    skipped: Array
    first: Array


def make_itch(sessions: int, market: str) -> Itch:
    """Tables for `sessions` sessions; `market` is the market's letter: Q Nasdaq, B BX, X PSX."""
    kinds = np.zeros(256, dtype=_KIND)
    kinds["action"] = _NO_ORDER
    for letter, length in LENGTHS.items():
        kinds[ord(letter)].length = length
    for letter, (action, *places) in _ORDERS.items():
        row = kinds[ord(letter)]
        row.action = action
        # The word of a record's action and flags: as it is, and where the message says that it is not printed.
        row.what = action << 40 | (_PRINT << 48 if action == _EXECUTE else 0)
        row.unprinted = action << 40 | _NOT_PRINTED << 48
        for name, place in zip(_FIELDS, places, strict=True):
            row[f"{name}_at"], row[f"{name}_mask"] = place, -1 if place else 0
    sides = np.full(256, -1, dtype="<i8")
    sides[0], sides[ord("B")], sides[_S] = 0, Side.BUY, Side.SELL
    itch = Itch(
        state=np.zeros(1, dtype=_STATE),
        kinds=kinds,
        counts=np.zeros(256, dtype="<i8"),
        sides=sides,
        instrument=np.full(sessions * LOCATES, _UNMET, dtype="<i4"),
        halts=np.zeros(sessions * LOCATES, dtype="u1"),
        skipped=np.zeros(len(SKIPS), dtype="<i8"),
        first=np.full(len(SKIPS), -1, dtype="<i8"),
    )
    itch.state[0].market = ord(market)
    return itch


@kernel
def _meet(itch: Itch, symbols: Symbols, place: int, word: int) -> int:
    """The instrument of a locate that is new, or that has no symbol yet and may have one now; -1 without room."""
    entry = int(itch.instrument[place])
    if entry == _UNMET:
        locate = place & (LOCATES - 1)
        instrument = instrument_of(symbols, word, locate) if word else add_nameless(symbols, locate)
        if instrument < 0:
            return -1
    else:
        instrument = named(symbols, ~entry, word) if word else ~entry
    itch.instrument[place] = instrument if word else ~instrument
    return instrument


@kernel
def _instrument(itch: Itch, symbols: Symbols, address: int, word: int) -> int:
    """The instrument of a message; `word` is its stock field, 0 in messages without."""
    place = itch.state[0].locates + load_u16_be(address + 1)
    instrument = int(itch.instrument[place])
    return instrument if instrument >= 0 else _meet(itch, symbols, place, word)


@inlined
def _order(itch: Itch, symbols: Symbols, kind: int, address: int, batch: Batch) -> int:
    """A, F, D, E, C, X, U without a branch between them, for which of them comes next cannot be foreseen.

    Inlined with `take`: the loop around them then keeps the tables' addresses in registers, a third of the time.
    """
    row = itch.kinds[kind]
    state = itch.state[0]
    instrument = int(itch.instrument[state.locates + load_u16_be(address + 1)])
    if instrument < 0:
        instrument = _instrument(itch, symbols, address, load_i64(address + row.stock_at) & row.stock_mask)
        if instrument < 0:
            return NO_ROOM_FOR_SYMBOL
    side = itch.sides[load_u8(address + row.side_at) & row.side_mask]
    if side < 0:
        return BAD_VALUE
    event_ns = state.midnight_ns + (load_i64_be(address + 3) & _NS48)
    what = row.what
    if load_u8(address + row.print_at) & row.print_mask == _N:
        what = row.unprinted
    put_delta(
        batch,
        state.venue,
        state.seq,
        event_ns,
        state.recv_ns,
        what | side << 32 | instrument,
        load_u32_be(address + row.px_at) & row.px_mask,
        load_u32_be(address + row.qty_at) & row.qty_mask,
        load_i64_be(address + 11),
        load_i64_be(address + row.new_at) & row.new_mask,
        load_u32_be(address + row.own_px_at) & row.own_px_mask,
        load_i64_be(address + row.match_at) & row.match_mask,
    )
    return TAKEN


@kernel
def _trade(itch: Itch, symbols: Symbols, kind: int, address: int, batch: Batch) -> int:
    """P, Q."""
    cross = kind == _Q
    instrument = _instrument(itch, symbols, address, load_i64(address + (19 if cross else 24)))
    if instrument < 0:
        return NO_ROOM_FOR_SYMBOL
    qty = load_i64_be(address + 11) if cross else load_u32_be(address + 20)
    if qty <= 0:
        return BAD_VALUE if qty else TAKEN
    state = itch.state[0]
    event_ns = state.midnight_ns + (load_i64_be(address + 3) & _NS48)
    i = new_trade(batch, state.venue, instrument, event_ns, state.recv_ns)
    batch.head[i].stream_seq = state.seq
    batch.trade[i].px = load_u32_be(address + (27 if cross else 32))
    batch.trade[i].qty = qty
    if cross:
        batch.trade[i].flags = _OF_AUCTION
    return TAKEN


@kernel
def _halt(itch: Itch, symbols: Symbols, kind: int, address: int, batch: Batch) -> int:
    """H, h. The reason is the message's own four letters (none in h), the first lowest."""
    state = itch.state[0]
    instrument = _instrument(itch, symbols, address, load_i64(address + 11))
    if instrument < 0:
        return NO_ROOM_FOR_SYMBOL
    place = state.locates + load_u16_be(address + 1)
    before = int(itch.halts[place])
    reason = 0
    if kind == _h:
        if load_u8(address + 19) != state.market:
            return TAKEN
        after = before & 127 | (_OPERATIONAL if load_u8(address + 20) == _H else 0)
    else:
        mark = load_u8(address + 19)
        reason = load_i32(address + 21) & 0xFFFF_FFFF
        after = before & _OPERATIONAL | (_OPEN if mark == _T else _AUCTION if mark == _Q else _HALTED)
    itch.halts[place] = after
    event_ns = state.midnight_ns + (load_i64_be(address + 3) & _NS48)
    status = _HALTED if after & _OPERATIONAL else after
    i = new_status(batch, state.venue, instrument, event_ns, state.recv_ns, status)
    batch.head[i].stream_seq = state.seq
    batch.status[i].reason = reason
    return TAKEN


@kernel
def _other(itch: Itch, symbols: Symbols, kind: int, address: int, batch: Batch) -> int:
    """The directory, the system's events, and what gives no record."""
    if kind == _R:
        instrument = _instrument(itch, symbols, address, load_i64(address + 11))
        if instrument < 0:
            return NO_ROOM_FOR_SYMBOL
        set_lot(symbols, instrument, load_u32_be(address + 21))
    elif kind == _S and load_u8(address + 11) == _C:
        state = itch.state[0]
        event_ns = state.midnight_ns + (load_i64_be(address + 3) & _NS48)
        i = new_clear(batch, state.venue, -1, event_ns, state.recv_ns, _DAY_END)
        batch.head[i].stream_seq = state.seq
    return TAKEN


@inlined
def take(itch: Itch, symbols: Symbols, address: int, length: int, batch: Batch) -> int:
    """Decode the message of `length` >= 1 bytes at an address into a batch with room; TAKEN, or why it gave nothing."""
    kind = load_u8(address)
    row = itch.kinds[kind]
    itch.counts[kind] += 1
    if length != row.length:
        return UNKNOWN_TYPE if row.length == 0 else WRONG_LENGTH
    if itch.state[0].mute != 0:
        return TAKEN
    if row.action != _NO_ORDER:
        return _order(itch, symbols, kind, address, batch)
    if kind == _P or kind == _Q:
        return _trade(itch, symbols, kind, address, batch)
    if kind == _H or kind == _h:
        return _halt(itch, symbols, kind, address, batch)
    return _other(itch, symbols, kind, address, batch)


@kernel
def skip(itch: Itch, code: int, at: int) -> None:
    """Count a message that gave nothing, at `at` in the window."""
    itch.skipped[code] += 1
    if itch.first[code] < 0:
        itch.first[code] = itch.state[0].window_at + at


@kernel
def decode(itch: Itch, symbols: Symbols, data: Array, at: int, end: int, batch: Batch) -> int:
    """Decode messages with a two-byte length in front of each; where the first one that was not taken begins.

    `status` is MORE where the data end within it, FULL where the batch has no room, END_MARK after the length 0 that
    ends a file, and BAD_MESSAGE where the lengths cannot be trusted any more.
    """
    base = address_of(data)
    state = itch.state[0]
    state.status = MORE
    while end - at >= 2:
        length = load_u16_be(base + at)
        if length == 0:
            state.status = END_MARK
            return at + 2
        if end - at - 2 < length:
            break
        if not room(batch):
            state.status = FULL
            break
        code = take(itch, symbols, base + at + 2, length, batch)
        if code != TAKEN:
            if code == WRONG_LENGTH or length > MOST_LENGTH:
                itch.counts[load_u8(base + at + 2)] -= 1
                state.status = BAD_MESSAGE
                break
            skip(itch, code, at)
        at += 2 + length
    return at
