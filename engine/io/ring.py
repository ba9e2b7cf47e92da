"""One producer, one consumer: records through shared memory, for peers on the same host.

A file (under /dev/shm, say) of 128-byte slots, one record each, behind a header. The producer owns `tail` (records
ever pushed), the consumer `head` (records ever popped); each stores its index with release ordering after it has
touched the slot, and looks at the other's only when its last known value no longer suffices. All indices live in the
file, so a restarted side goes on where it stopped: nothing is lost, nothing torn, and at most the one record that
was being popped comes twice. A record's length is that of its SBE header, so a slot needs none.

Each side holds a lock for its life, beats a clock for its peer, and counts its lives in `epoch`: a silent peer shows
by the age of its beat, a restarted one by its epoch.

    header (offsets): 0 magic, 8 version, 16 slots, 24 slot bytes | 128 + 128 s: side s: pid, epoch |
    384 + 128 s: side s: beat | 640 tail | 768 head | 896 head as the producer knows it | 1024 tail as the consumer does

Worst case: the ring is full and `ring_push` says so; what then is lost or waits is the caller's choice. The header is
trusted: a peer that scribbles over it is caught where indices become impossible, and nowhere else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import numpy as np

from engine.errors import TickrouteError
from engine.io.atomics import copy, load_acquire, load_i64, load_u16, monotonic_ns, store_i64, store_release
from engine.io.mapping import PAGE, Mapping, aligned_zeros, allocate
from engine.jit import kernel
from engine.record.records import RECORD_MAX, SBE_HEADER_SIZE

#: Sides. A side's peer is 1 - side.
PRODUCER: Final = 0
CONSUMER: Final = 1
SIDE_NAMES: Final = ("producer", "consumer")
#: Age of a peer that has never come, or has left in order.
NEVER_NS: Final = 1 << 62
#: "TICKRING" as a little-endian word; written last.
MAGIC: Final = int.from_bytes(b"TICKRING", "little")
VERSION: Final = 1
SLOTS_MAX: Final = 1 << 24

_VERSION, _SLOTS, _SLOT_BYTES = 8, 16, 24
# Lines that different sides write are 128 bytes apart: the prefetcher fetches lines in pairs.
_PID, _EPOCH, _BEAT = 128, 136, 384
_SIDE: Final = 128
_TAIL, _HEAD, _HEAD_SEEN, _TAIL_SEEN = 640, 768, 896, 1024
_SLOT: Final = RECORD_MAX
_DATA: Final = PAGE


class RingError(TickrouteError):
    """A ring that cannot be made or attached; the message names the path, what is wrong and the remedy."""


@kernel
def ring_push(ring: int, src_address: int, n: int) -> int:
    """Append the record of `n` bytes at `src_address`: 1, or 0 (full), or -1 (not one record, or a broken ring)."""
    if n > _SLOT or n != load_u16(src_address) + SBE_HEADER_SIZE:
        return -1
    tail = load_i64(ring + _TAIL)
    slots = load_i64(ring + _SLOTS)
    if tail - load_i64(ring + _HEAD_SEEN) >= slots:
        head = load_acquire(ring + _HEAD)
        if head > tail or tail - head > slots:
            return -1
        store_i64(ring + _HEAD_SEEN, head)
        if tail - head == slots:
            return 0
    copy(ring + _DATA + (tail & (slots - 1)) * _SLOT, src_address, n)
    store_release(ring + _TAIL, tail + 1)
    return 1


@kernel
def ring_pop(ring: int, dst_address: int) -> int:
    """Take the oldest record: its length (at most 128), or 0 (empty), or -1 (a broken ring).

    The length is the header's, cut to the slot: the caller checks the record as it does one from any other link.
    """
    head = load_i64(ring + _HEAD)
    slots = load_i64(ring + _SLOTS)
    if head == load_i64(ring + _TAIL_SEEN):
        tail = load_acquire(ring + _TAIL)
        if tail == head:
            return 0
        if tail < head or tail - head > slots:
            return -1
        store_i64(ring + _TAIL_SEEN, tail)
    slot = ring + _DATA + (head & (slots - 1)) * _SLOT
    n = min(load_u16(slot) + SBE_HEADER_SIZE, _SLOT)
    copy(dst_address, slot, n)
    store_release(ring + _HEAD, head + 1)
    return n


@kernel
def ring_peek(ring: int, k: int) -> int:
    """Address of the k-th waiting record (0: the oldest), which stays there; 0 where fewer wait, or a broken ring."""
    head = load_i64(ring + _HEAD)
    slots = load_i64(ring + _SLOTS)
    if head + k >= load_i64(ring + _TAIL_SEEN):
        tail = load_acquire(ring + _TAIL)
        if tail < head or tail - head > slots:
            return 0
        store_i64(ring + _TAIL_SEEN, tail)
        if head + k >= tail:
            return 0
    return ring + _DATA + ((head + k) & (slots - 1)) * _SLOT


@kernel
def ring_drop(ring: int, n: int) -> None:
    """Give back the n oldest records, all of which `ring_peek` has shown."""
    store_release(ring + _HEAD, load_i64(ring + _HEAD) + n)


@kernel
def ring_depth(ring: int) -> int:
    """Records pushed and not yet popped, as either side or an onlooker sees it."""
    head = load_acquire(ring + _HEAD)
    return max(load_acquire(ring + _TAIL) - head, 0)


@kernel
def ring_beat(ring: int, side: int, now_ns: int) -> None:
    """Tell the peer that `side` (our own) lives at `now_ns` (CLOCK_MONOTONIC)."""
    store_release(ring + _BEAT + side * _SIDE, now_ns)


@kernel
def ring_peer_age_ns(ring: int, side: int, now_ns: int) -> int:
    """Time since the peer of `side` (our own) last beat; NEVER_NS where it never came or has left in order."""
    beat_ns = load_acquire(ring + _BEAT + (1 - side) * _SIDE)
    if beat_ns == 0:
        return NEVER_NS
    return max(now_ns - beat_ns, 0)


@kernel
def ring_peer_epoch(ring: int, side: int) -> int:
    """Lives of the peer of `side` (our own): 0 before its first, larger after each restart."""
    return load_acquire(ring + _EPOCH + (1 - side) * _SIDE)


class Ring:
    """One side of a ring. `address` is what the kernels take; `epoch` counts this side's lives, from 1."""

    def __init__(self, mapping: Mapping, side: int) -> None:
        self._mapping = mapping
        self.path = mapping.path
        self.side = side
        self.address = mapping.address
        self.slots = int(load_i64(self.address + _SLOTS))
        self.epoch = int(load_i64(self.address + _EPOCH + side * _SIDE)) + 1
        # What a predecessor knew of the peer may be from before it died; the peer's own index is the truth.
        head = load_acquire(self.address + _HEAD)
        store_i64(self.address + (_HEAD_SEEN if side == PRODUCER else _TAIL_SEEN), head)
        store_i64(self.address + _PID + side * _SIDE, os.getpid())
        ring_beat(self.address, side, monotonic_ns())
        store_release(self.address + _EPOCH + side * _SIDE, self.epoch)

    @classmethod
    def create(cls, path: str | Path, slots: int, side: int) -> Ring:
        """Make the ring, or take up `side` of one that is there with the same slots, so that its peer keeps it.

        `slots` is a power of two. RingError where the path, its content or the side is not to be had.
        """
        path = Path(path)
        if slots < 2 or slots > SLOTS_MAX or slots & (slots - 1):
            raise RingError(f"{path}: {slots} slots; a ring has a power of two of them, from 2 to {SLOTS_MAX}")
        if not path.exists():
            _make(path, slots)
        ring = cls.attach(path, side)
        if ring.slots != slots:
            ring.close()
            raise RingError(f"{path}: has {ring.slots} slots, {slots} are wanted: stop both sides and remove the file")
        return ring

    @classmethod
    def attach(cls, path: str | Path, side: int) -> Ring:
        """Take up one side (PRODUCER or CONSUMER) of a ring; RingError where it is absent, no ring, or in use."""
        path = Path(path)
        if side not in (PRODUCER, CONSUMER):
            raise RingError(f"{path}: side {side}; there are {PRODUCER} (producer) and {CONSUMER} (consumer)")
        try:
            mapping = Mapping(path, write=True, populate=True)
        except OSError as error:
            remedy = "start the side that creates it first" if isinstance(error, FileNotFoundError) else "remove it"
            raise RingError(f"{path}: cannot open the ring: {error.strerror}; {remedy}") from error
        try:
            _check(mapping)
            if not mapping.try_lock(side):
                pid = load_i64(mapping.address + _PID + side * _SIDE)
                raise RingError(f"{path}: process {pid} is the {SIDE_NAMES[side]} already: stop it first")
        except RingError:
            mapping.close()
            raise
        return cls(mapping, side)

    @property
    def pushed(self) -> int:
        """Records pushed since the ring was made, by all lives of the producer."""
        return int(load_acquire(self.address + _TAIL))

    @property
    def popped(self) -> int:
        """Records popped or discarded since the ring was made, by all lives of the consumer."""
        return int(load_acquire(self.address + _HEAD))

    def discard(self) -> int:
        """Consumer: skip what is waiting, for a peer whose old orders must not be executed late. Returns how many."""
        if self.side != CONSUMER:
            raise RingError(f"{self.path}: only the consumer may discard")
        head, tail = self.popped, self.pushed
        store_i64(self.address + _TAIL_SEEN, tail)
        store_release(self.address + _HEAD, tail)
        return tail - head

    def close(self) -> None:
        """Leave in order: the peer sees NEVER_NS at once. No kernel may use the address any more."""
        if self.address:
            ring_beat(self.address, self.side, 0)
            self.address = 0
            self._mapping.close()


def private_ring(slots: int) -> np.ndarray:
    """A ring between two threads of this process, in plain memory (uint8); its `ctypes.data` is what kernels take."""
    if slots < 2 or slots > SLOTS_MAX or slots & (slots - 1):
        raise RingError(f"{slots} slots; a ring has a power of two of them, from 2 to {SLOTS_MAX}")
    memory = aligned_zeros(_DATA + slots * _SLOT, np.dtype(np.uint8))
    store_i64(int(memory.ctypes.data) + _SLOTS, slots)
    return memory


def _make(path: Path, slots: int) -> None:
    """Make the file under another name and move it into place whole, so that nobody attaches to half a ring."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    try:
        draft.unlink(missing_ok=True)
        allocate(draft, _DATA + slots * _SLOT)
        mapping = Mapping(draft, write=True)
        store_i64(mapping.address + _SLOTS, slots)
        store_i64(mapping.address + _SLOT_BYTES, _SLOT)
        store_i64(mapping.address + _VERSION, VERSION)
        store_release(mapping.address, MAGIC)
        mapping.close()
        # A link, unlike a rename, does not replace the ring of whoever was faster.
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    except OSError as error:
        what = f"{path}: cannot make a ring of {_DATA + slots * _SLOT} bytes: {error.strerror}"
        raise RingError(f"{what}; choose a folder that exists and has room") from error


def _check(mapping: Mapping) -> None:
    path = mapping.path
    if mapping.size < _DATA or load_acquire(mapping.address) != MAGIC:
        raise RingError(f"{path}: is no ring ({mapping.size} bytes, no TICKRING at its start): name another path")
    version = load_i64(mapping.address + _VERSION)
    if version != VERSION:
        raise RingError(f"{path}: is a ring of version {version}, this is {VERSION}: stop both sides and remove it")
    slots, slot_bytes = load_i64(mapping.address + _SLOTS), load_i64(mapping.address + _SLOT_BYTES)
    whole = 2 <= slots <= SLOTS_MAX and slots & (slots - 1) == 0 and slot_bytes == _SLOT
    if not whole or mapping.size != _DATA + slots * _SLOT:
        raise RingError(f"{path}: {mapping.size} bytes do not hold {slots} slots of {slot_bytes}: cut short; remove it")
