"""Databento DBN, versions 1 to 3, plain or packed, with metadata or without (a fragment).

    mbo                      ORDER_DELTA, TRADE, CLEAR (see `dbn_orders`)
    mbp-1, tbbo, cmbp-1      QUOTE, TRADE, CLEAR
    mbp-10                   LEVEL, TRADE, CLEAR (see `dbn_levels`)
    trades                   TRADE
    status                   INSTRUMENT_STATUS
    definition, symbol mapping   symbols and decimals of instruments
    all else                 counted

`ts_event` becomes ts_event_ns, `ts_recv` ts_recv_ns, `sequence` stream_seq, the flag SNAPSHOT ours. Levels and orders
carry MORE until the record that ends their event (LAST), or one of another time. `ts_recv` is passed
on where DBN's BAD_TS_RECV says that it is no time of receipt: that is so in snapshots, which are marked. Gaps are
counted where an instrument's records begin to say that the book may be bad (MAYBE_BAD_BOOK). A venue is a publisher's,
an instrument an instrument id while it has one symbol.

Prices have 9 decimals, as DBN's; a definition that comes before the first of an instrument's records says of how many
the instrument has need by its price increment, and `px_decimals` says it of all.

Worst case: each order that rests takes 48 to 192 bytes; more than `MOST_ORDERS` at once are taken for damage.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from gateways.feeds.report import FeedError
from gateways.formats.batch import Batch, make_batch
from gateways.formats.dbn_kernels import carry, decode, end_events, held_from
from gateways.formats.dbn_layout import (
    DEFINITION,
    MAGIC,
    MAPPED_AT,
    MBP_1,
    PRELUDE,
    PX_DECIMALS,
    RTYPES,
    SCHEMA_TBBO,
    SYMBOL_AT,
    UNDEF_PRICE,
    VERSIONS,
    WORD,
    Mapping,
    Metadata,
    MetadataError,
    base_size,
    looks_like_records,
    read_metadata,
    venue_name,
)
from gateways.formats.dbn_orders import move_orders
from gateways.formats.dbn_state import (
    DAMAGED,
    FULL,
    HEADS,
    LADDER,
    LATEST_NS,
    MORE,
    NEW_LADDER,
    NEW_ORDERS,
    NEW_SLOT,
    NOW,
    ORDER,
    REASONS,
    SKIP,
    SLOT,
    DbnState,
    find_slot,
    slot_key,
)
from gateways.formats.reader import Instrument, Reader, last_of

Array = np.ndarray[Any, np.dtype[Any]]
MOST_VENUES: Final = 1000
MOST_INSTRUMENTS: Final = 1 << 22
MOST_ORDERS: Final = 1 << 23
_ALWAYS: Final = (-(2**63), 2**63 - 1)
#: A legacy file: a skippable zstd frame that holds this, then records like a fragment's.
_DBZ: Final = b"DBZ"


def recognises(head: bytes) -> bool:
    """Whether a file that begins so is DBN: by its magic, or by whole records of known sizes one after another."""
    return head.startswith(MAGIC) or looks_like_records(head)


def open_file(path: str | Path, *, px_decimals: int | None = None, fragment: bool | None = None) -> DbnReader:
    """A reader; `fragment` says that there are no metadata (True) or that there are, else it is seen.

    FeedError where the file cannot be read, or is of the legacy encoding DBZ.
    """
    if px_decimals is not None and not 0 <= px_decimals <= PX_DECIMALS:
        raise ValueError(f"px_decimals is {px_decimals}; DBN's prices have 0 to {PX_DECIMALS}")
    return DbnReader(path, px_decimals, fragment)


def _row(dtype: np.dtype[Any], count: int) -> Array:
    return np.zeros(count, dtype)


def _sizes() -> Array:
    sizes = np.full(256, -1, dtype="<i8")
    for rtype, (_, known) in RTYPES.items():
        sizes[rtype] = known[0] if len(known) == 1 else 0
    return sizes


def _decimals_of(increment: int) -> int:
    """Decimals that multiples of a 1e-9 price increment need."""
    if increment <= 0 or increment == UNDEF_PRICE:
        return PX_DECIMALS
    return next(d for d in range(PX_DECIMALS + 1) if increment % 10 ** (PX_DECIMALS - d) == 0)


class DbnReader(Reader):
    """One DBN file. `metadata` is there once the first batch was asked for; None in a fragment."""

    format: ClassVar[str] = "dbn"

    def __init__(self, path: str | Path, px_decimals: int | None = None, fragment: bool | None = None) -> None:
        super().__init__(path)
        self._refuse_legacy()
        self.metadata: Metadata | None = None
        self.batch = make_batch()
        self._px_decimals, self._fragment = px_decimals, fragment
        self._venue_of: dict[int, int] = {}
        self._numbers: dict[tuple[int, str], int] = {}
        self._taken: set[str] = set()
        self._told: dict[int, tuple[str, int]] = {}
        self._slots_used = 0
        self._parts: dict[str, Array] = {
            "heads": _row(HEADS, 1), "now": _row(NOW, 1), "types": np.zeros(256, "<i8"), "sizes": _sizes(),
            "skips": _row(SKIP, len(REASONS)), "slots": _row(SLOT, 64), "orders": _row(ORDER, 1024),
            "ladders": np.zeros(0, "<i8"), "scratch": np.zeros(LADDER, "<i8"),
        }  # fmt: skip
        self._state = DbnState(**self._parts)

    def _refuse_legacy(self) -> None:
        with self.path.open("rb") as file:
            head = file.read(16)
        if self.source.packing == "zstd" and head[8:11] == _DBZ:
            self.close()
            raise FeedError(
                self.path, 0, "DBZ", "is of the legacy encoding DBZ", "convert it with Databento's `dbn` tool", offset=0
            )

    def batches(self) -> Iterator[Batch]:
        """Batches of records; see the module for what becomes what. FeedError, after the good part, at damage."""
        batch = self.batch
        try:
            window, at = self._begin()
            while True:
                at = self._step(window, at)
                code = int(self._state.heads[0].code)
                if code == FULL:
                    used, first = int(batch.used[0]), int(held_from(self._state, batch))
                    batch.used[0] = first
                    yield self._given()
                    carry(self._state, first, batch, used)
                elif code == MORE and self.source.ended:
                    break
                elif code == MORE:
                    window, at = self.source.more(at), 0
                else:
                    at = self._serve(code, window, at)
            if at < len(window):
                raise self.source.wrong(
                    at, window[at : at + 16].tobytes().hex(), "the file ends within a record", "fetch it again"
                )
        except FeedError:
            end_events(self._state, batch)
            yield from last_of(batch, self._given)
            raise
        end_events(self._state, batch)
        yield from last_of(batch, self._given)

    def _step(self, window: Array, at: int) -> int:
        self._state.heads[0].origin = self.source.offset
        return int(decode(self._state, window, at, len(window), self.batch))

    def _given(self) -> Batch:
        """The batch, once the counts are those of all that was read."""
        tbbo = self.metadata is not None and self.metadata.schema == SCHEMA_TBBO
        for rtype in np.flatnonzero(self._state.types):
            name = "tbbo" if tbbo and rtype == MBP_1 else RTYPES[int(rtype)][0]
            self.counts.by_type[name] = int(self._state.types[rtype])
        for reason, row in zip(REASONS, self._state.skips, strict=True):
            if int(row.times):
                self.counts.skipped[reason] = int(row.times)
                self.counts.examples[reason] = f"byte {int(row.first_at)}: {int(row.first_value)}"
        self.counts.gaps = int(self._state.heads[0].gaps)
        return self.batch

    def _begin(self) -> tuple[Array, int]:
        """The first window, and where its records begin."""
        window = self.source.more(0)
        marked = window[:3].tobytes() == MAGIC
        if self._fragment or (self._fragment is None and not marked and len(window)):
            return window, 0
        while len(window) < PRELUDE and not self.source.ended:
            window = self.source.more(0)
        if len(window) < PRELUDE or not marked:
            raise self.source.wrong(
                0, window[:PRELUDE].tobytes().hex(), "has no prelude of DBN", "name a DBN file, or say it is a fragment"
            )
        version = int(window[3])
        if version not in VERSIONS:
            raise self.source.wrong(3, str(version), "is of an unknown version of DBN", "write it as version 1, 2 or 3")
        size = PRELUDE + int.from_bytes(window[4:PRELUDE].tobytes(), "little")
        while len(window) < size and not self.source.ended:
            window = self.source.more(0)
        if len(window) < size:
            raise self.source.wrong(
                len(window), "", f"ends within its metadata, which are {size} bytes long", "fetch it again"
            )
        try:
            self.metadata = read_metadata(window[:size].tobytes())
        except MetadataError as error:
            raise self.source.wrong(error.at, "", str(error), "fetch it again") from error
        return window, size

    def _serve(self, code: int, window: Array, at: int) -> int:
        """What the kernel stopped for; where to go on."""
        if code == DAMAGED:
            size, rtype = int(window[at]) * WORD, int(window[at + 1])
            name = RTYPES[rtype][0] if rtype in RTYPES else "unknown"
            raise self.source.wrong(
                at, f"rtype {rtype} ({name}), {size} bytes", "no record of DBN is like this", "fetch the file again"
            )
        publisher, instrument = (
            int.from_bytes(window[at + n : at + m].tobytes(), "little") for n, m in ((2, 4), (4, 8))
        )
        if code == NEW_SLOT:
            self._make_slot(window, at, publisher, instrument)
        elif code == NEW_LADDER:
            i = find_slot(self._state.slots, slot_key(publisher, instrument))
            self._state.slots[i].ladder = len(self._parts["ladders"])
            self._renew(ladders=np.concatenate((self._state.ladders, np.zeros(LADDER, "<i8"))))
        elif code == NEW_ORDERS:
            self._grow_orders(at)
        else:
            at = self._learn(window, at, instrument)
        return at

    def _renew(self, **parts: Array) -> None:
        self._parts |= parts
        self._state = DbnState(**self._parts)

    def _grow_orders(self, at: int) -> None:
        """A larger table, without the orders of books that were cleared."""
        old, slots = self._state.orders, self._state.slots
        kept = old[(old["tag"] != 0) & np.isin(old["tag"], slots["tag"][slots["key"] != 0])]
        if len(kept) > MOST_ORDERS:
            raise self.source.wrong(at, str(len(kept)), f"more than {MOST_ORDERS} orders rest", "fetch the file again")
        new = _row(ORDER, max(1024, 1 << (4 * (len(kept) + 1) - 1).bit_length()))
        move_orders(kept, new)
        self._state.heads[0].orders = len(kept)
        self._renew(orders=new)

    def _make_slot(self, window: Array, at: int, publisher: int, instrument: int) -> None:
        """A slot for an instrument at a publisher, or the one there is for another span of time."""
        i = self._slot_for(publisher, instrument, at)
        now_ns = self._index_ns(window, at)
        begin_ns, end_ns, symbol = self._symbol_at(instrument, now_ns)
        row = self._state.slots[i]
        dense = self._number(instrument, symbol, at)
        if int(row.tag) == 0 or int(row.dense) != dense:
            self._state.heads[0].tag += 1
            row.tag = int(self._state.heads[0].tag)
            row.ladder = -1
        row.dense, row.venue = dense, self._venue(publisher, at)
        row.unit = 10 ** (PX_DECIMALS - self.instruments[dense].px_decimals)
        row.begin_ns, row.end_ns = begin_ns, end_ns

    def _slot_for(self, publisher: int, instrument: int, at: int) -> int:
        key = slot_key(publisher, instrument)
        i = int(find_slot(self._state.slots, key))
        if int(self._state.slots[i].key) == key:
            return i
        if 2 * (self._slots_used + 1) > len(self._state.slots):
            old = self._state.slots
            if len(old) > MOST_INSTRUMENTS:
                raise self.source.wrong(
                    at,
                    str(len(old) // 2),
                    f"names more than {MOST_INSTRUMENTS // 2} instruments",
                    "fetch the file again",
                )
            new = _row(SLOT, 2 * len(old))
            for row in old[old["key"] != 0]:
                new[find_slot(new, int(row["key"]))] = row
            self._renew(slots=new)
            i = int(find_slot(self._state.slots, key))
        self._slots_used += 1
        self._state.slots[i].key = key
        return i

    @staticmethod
    def _index_ns(window: Array, at: int) -> int:
        """The time that the kernel looks a symbol up by: of receipt, else of the event."""
        recv_at = {160: 40, 18: 16}.get(int(window[at + 1]), 32)
        times = (int.from_bytes(window[at + n : at + n + 8].tobytes(), "little", signed=True) for n in (recv_at, 8))
        return min(next((t for t in times if t > 0), 0), LATEST_NS)

    def _symbol_at(self, instrument: int, now_ns: int) -> Mapping:
        begin_ns, end_ns = _ALWAYS
        for mapping in (self.metadata.mappings if self.metadata else {}).get(instrument, ()):
            if mapping.begin_ns <= now_ns < mapping.end_ns:
                return mapping
            if mapping.end_ns <= now_ns:
                begin_ns = max(begin_ns, mapping.end_ns)
            else:
                end_ns = min(end_ns, mapping.begin_ns)
        return Mapping(begin_ns, end_ns, self._told.get(instrument, ("", 0))[0])

    def _number(self, instrument: int, symbol: str, at: int) -> int:
        """The dense number of an instrument id under a symbol; "#" and the id where it has none."""
        key = (instrument, symbol)
        if key not in self._numbers:
            if len(self.instruments) >= MOST_INSTRUMENTS:
                raise self.source.wrong(at, symbol, f"names more than {MOST_INSTRUMENTS} instruments", "fetch it again")
            name = symbol if symbol and symbol not in self._taken else f"{symbol}#{instrument}"
            self._taken.add(name)
            told = self._told.get(instrument, ("", PX_DECIMALS))[1]
            self._numbers[key] = len(self.instruments)
            self.instruments.append(Instrument(name, told if self._px_decimals is None else self._px_decimals))
        return self._numbers[key]

    def _venue(self, publisher: int, at: int) -> int:
        if publisher not in self._venue_of:
            name = venue_name(publisher)
            if name not in self.venues:
                if len(self.venues) >= MOST_VENUES:
                    raise self.source.wrong(
                        at, str(publisher), f"names more than {MOST_VENUES} publishers", "fetch it again"
                    )
                self.venues.append(name)
            self._venue_of[publisher] = self.venues.index(name)
        return self._venue_of[publisher]

    def _learn(self, window: Array, at: int, instrument: int) -> int:
        """Take a definition or a symbol mapping."""
        size, rtype = int(window[at]) * WORD, int(window[at + 1])
        base = base_size(rtype, size)
        if not base:
            raise self.source.wrong(at, f"{size} bytes", f"no {RTYPES[rtype][0]} has that size", "fetch the file again")
        raw = window[at : at + size].tobytes()
        begin, length = (SYMBOL_AT if rtype == DEFINITION else MAPPED_AT)[base]
        symbol = raw[begin : begin + length].split(b"\0")[0].decode("utf-8", errors="replace")
        decimals = self._told.get(instrument, ("", PX_DECIMALS))[1]
        if rtype == DEFINITION:
            decimals = _decimals_of(int.from_bytes(raw[24:32], "little", signed=True))
        known = self._told.get(instrument, ("", 0))[0]
        self._told[instrument] = (symbol or known, decimals)
        if symbol and symbol != known:
            self._rename(instrument, symbol)
        if rtype == DEFINITION:
            self._venue(int.from_bytes(raw[2:4], "little"), at)
            self._number(instrument, self._symbol_at(instrument, self._told_ns(raw)).symbol, at)
        self._state.types[rtype] += 1
        return at + size

    def _rename(self, instrument: int, symbol: str) -> None:
        """An instrument that had no symbol has one now; under another symbol it is another instrument."""
        nameless = self._numbers.pop((instrument, ""), -1)
        if nameless >= 0 and symbol not in self._taken:
            self._numbers[instrument, symbol] = nameless
            self._taken.add(symbol)
            self.instruments[nameless] = self.instruments[nameless]._replace(symbol=symbol)
        slots = self._state.slots
        slots["end_ns"][(slots["key"] - 1) & 0xFFFFFFFF == instrument] = _ALWAYS[0]

    @staticmethod
    def _told_ns(raw: bytes) -> int:
        times = (int.from_bytes(raw[n : n + 8], "little", signed=True) for n in (16, 8))
        return next((t for t in times if t > 0), 0)
