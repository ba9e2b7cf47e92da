"""The UDP payloads of a capture file, found in place: pcap and pcapng of either byte order, Ethernet to UDP.

`next_payload` walks from packet to packet. It reads microseconds and nanoseconds (pcap) and any `if_tsresol` and
`if_tsoffset` (pcapng); Ethernet with VLAN tags, raw IP, Linux cooked and loopback links; IPv4 with options and IPv6
with extension headers. Every other packet is counted by what it is and passed over.

A payload is at the returned place and `left` bytes long; its reader takes bytes off `left`, and asks again when there
are none. So a payload may be left and gone on with, whatever became of the window meanwhile.

Worst case: fragments of IP packets are not put together (no known feed sends any); they are counted.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.io.atomics import address_of, load_i32, load_u8, load_u16, load_u16_be
from engine.jit import kernel
from engine.memory import Memory, memory, packed

Array = np.ndarray[Any, np.dtype[Any]]
#: Longest packet, and longest block of a pcapng file, in bytes: beyond these it is damage.
MOST_PACKET: Final = 1 << 20
MOST_BLOCK: Final = 1 << 24
MOST_INTERFACES: Final = 256
#: `Capture.state` status: what ended `next_payload`.
PAYLOAD, MORE = 0, 1
BAD_PACKET, BAD_BLOCK, BAD_INTERFACE, BAD_SECTION = 2, 3, 4, 5
#: Kinds of packets, places in `Capture.tally`.
UDP, TCP, OTHER_PROTOCOL, NOT_IP, FRAGMENT, CUT, LINK, EMPTY = 0, 1, 2, 3, 4, 5, 6, 7
KINDS: Final = ("UDP", "TCP", "other IP", "not IP", "IP fragment", "cut", "link of another type", "empty UDP")

_STATE = np.dtype(
    (
        np.record,
        [(name, "<i8") for name in "pcapng swapped left rest recv_ns status interfaces cut_at window_at".split()],
    )
)
_SECTION, _INTERFACE, _PACKET, _SIMPLE, _ENHANCED = 0x0A0D_0D0A, 1, 2, 3, 6
_MAGIC, _MAGIC_SWAPPED = 0x1A2B_3C4D, 0x4D3C_2B1A
_ETHERNET, _NULL, _LOOP, _COOKED, _COOKED_2 = 1, 0, 108, 113, 276
_RAW: Final = (12, 14, 101, 228, 229)
_IP4, _IP6 = 0x0800, 0x86DD
_BILLION: Final = 1_000_000_000
#: Seconds since 1970 beyond which a time in ns is no int64.
_MOST_S: Final = 7_000_000_000
#: Magic words of pcap as the file's first four bytes: swapped?, ticks a second.
_PCAP: Final = {
    b"\xd4\xc3\xb2\xa1": (0, 1_000_000),
    b"\xa1\xb2\xc3\xd4": (1, 1_000_000),
    b"\x4d\x3c\xb2\xa1": (0, _BILLION),
    b"\xa1\xb2\x3c\x4d": (1, _BILLION),
}


@memory
class Capture(Memory):
    """`state` (1): see `_STATE`; a row an interface of `link`, `ticks` (a second), `since_s`; `tally` by kind."""

    LAYOUT = packed(state=_STATE, link="<i8", ticks="<i8", since_s="<i8", tally="<i8")
    state: Array
    link: Array
    ticks: Array
    since_s: Array
    tally: Array


def is_capture(head: bytes) -> bool:
    """Whether a file that begins so is a pcap or pcapng file."""
    if head[:4] in _PCAP:
        return len(head) >= 24
    return head[:4] == b"\x0a\x0d\x0d\x0a" and head[8:12] in (b"\x4d\x3c\x2b\x1a", b"\x1a\x2b\x3c\x4d")


def open_capture(head: bytes) -> tuple[Capture, int]:
    """The state for a file that `is_capture`, and where its first packet or block is."""
    rows = {name: np.zeros(MOST_INTERFACES, dtype="<i8") for name in ("link", "ticks", "since_s")}
    capture = Capture(state=np.zeros(1, dtype=_STATE), tally=np.zeros(len(KINDS), dtype="<i8"), **rows)
    state = capture.state[0]
    state.cut_at = -1
    if head[:4] not in _PCAP:
        state.pcapng = 1
        return capture, 0
    state.swapped, capture.ticks[0] = _PCAP[head[:4]]
    capture.link[0] = int.from_bytes(head[20:24], "big" if state.swapped else "little") & 0xFFFF
    state.interfaces = 1
    return capture, 24


@kernel
def _u32(capture: Capture, address: int) -> int:
    """The uint32 of the file's byte order."""
    word = load_i32(address) & 0xFFFF_FFFF
    if capture.state[0].swapped != 0:
        word = (word >> 24) | (word >> 8 & 0xFF00) | (word << 8 & 0xFF_0000) | (word << 24 & 0xFF00_0000)
    return word


@kernel
def _u16(capture: Capture, address: int) -> int:
    """The uint16 of the file's byte order."""
    return load_u16(address) if capture.state[0].swapped == 0 else load_u16_be(address)


@kernel
def _ns(ticks: int, ticks_per_s: int) -> int:
    """Ticks since 1970 as ns, rounded down; exact for powers of ten, and of two up to 2^33. 0 beyond the year 2191."""
    whole, part = ticks // ticks_per_s, ticks % ticks_per_s
    if whole > _MOST_S:
        return 0
    if ticks_per_s > _BILLION and ticks_per_s % _BILLION == 0:
        return whole * _BILLION + part // (ticks_per_s // _BILLION)
    while ticks_per_s > 1 << 33:
        ticks_per_s >>= 1
        part >>= 1
    return whole * _BILLION + part * _BILLION // ticks_per_s


@kernel
def _count(capture: Capture, kind: int, at: int) -> int:
    """Count a packet that gives no payload, at `at` in the file; 0."""
    capture.tally[kind] += 1
    if kind == CUT and capture.state[0].cut_at < 0:
        capture.state[0].cut_at = at
    return 0


@kernel
def _ether_type(link: int, address: int, size: int) -> tuple[int, int]:
    """The ether type of a packet and where its network layer begins; type -1 where it is cut, -2 of another link."""
    if link == _ETHERNET:
        at = 14
        kind = load_u16_be(address + 12) if size >= at else -1
        while kind == 0x8100 or kind == 0x88A8 or kind == 0x9100:
            kind = load_u16_be(address + at + 2) if size >= at + 4 else -1
            at += 4
        return kind, at
    at = 0
    if link == _NULL or link == _LOOP:
        at = 4
    elif link == _COOKED:
        return load_u16_be(address + 14) if size >= 16 else -1, 16
    elif link == _COOKED_2:
        return load_u16_be(address) if size >= 20 else -1, 20
    elif link not in _RAW:
        return -2, 0
    if size <= at:
        return -1, at
    version = load_u8(address + at) >> 4
    return _IP4 if version == 4 else _IP6 if version == 6 else 0, at


@kernel
def _transport_4(address: int, size: int) -> tuple[int, int, int]:
    """Of an IPv4 packet the protocol (-1 cut, -2 a fragment), where its payload begins, and where it ends."""
    head = (load_u8(address) & 15) * 4 if size >= 20 else 0
    if head < 20 or size < head:
        return -1, 0, 0
    length = load_u16_be(address + 2)
    if load_u16_be(address + 6) & 0x3FFF:
        return -2, 0, 0
    return load_u8(address + 9), head, length if length else size


@kernel
def _transport_6(address: int, size: int) -> tuple[int, int, int]:
    """The same of an IPv6 packet."""
    if size < 40:
        return -1, 0, 0
    length = 40 + load_u16_be(address + 4)
    protocol, at = load_u8(address + 6), 40
    while protocol == 0 or protocol == 43 or protocol == 60 or protocol == 51:
        if size < at + 8:
            return -1, 0, 0
        units = load_u8(address + at + 1)
        authentication = protocol == 51
        protocol = load_u8(address + at)
        at += (units + 2) * 4 if authentication else (units + 1) * 8
    return -2 if protocol == 44 else protocol, at, length


@kernel
def _payload(capture: Capture, base: int, at: int, stop: int, link: int) -> int:
    """Where the UDP payload of the packet at `at` .. `stop` begins; `left` is its length, 0 where there is none."""
    state = capture.state[0]
    kind, network = _ether_type(link, base + at, stop - at)
    begin = at + network
    protocol, head, length = -1, 0, 0
    if kind == _IP4:
        protocol, head, length = _transport_4(base + begin, stop - begin)
    elif kind == _IP6:
        protocol, head, length = _transport_6(base + begin, stop - begin)
    elif kind != -1:
        return _count(capture, LINK if kind == -2 else NOT_IP, state.window_at + at)
    if protocol == -2:
        return _count(capture, FRAGMENT, state.window_at + at)
    if protocol != -1 and protocol != 17:
        return _count(capture, TCP if protocol == 6 else OTHER_PROTOCOL, state.window_at + at)
    network_end = begin + length
    begin += head
    if protocol == -1 or stop - begin < 8:
        return _count(capture, CUT, state.window_at + at)
    end = begin + load_u16_be(base + begin + 4)
    if end < begin + 8 or end > stop or end > network_end:
        return _count(capture, CUT, state.window_at + at)
    if end == begin + 8:
        return _count(capture, EMPTY, state.window_at + at)
    capture.tally[UDP] += 1
    state.left = end - begin - 8
    return begin + 8


@kernel
def _options(capture: Capture, base: int, at: int, stop: int, interface: int) -> None:
    """Read the time options of an interface's block."""
    while stop - at >= 4:
        code, length = _u16(capture, base + at), _u16(capture, base + at + 2)
        at += 4
        if code == 0 or length > stop - at:
            return
        if code == 9 and length >= 1:
            resolution = load_u8(base + at)
            power = min(resolution & 127, 62 if resolution & 128 else 18)
            ticks = 1
            for _ in range(power):
                ticks *= 2 if resolution & 128 else 10
            capture.ticks[interface] = ticks
        elif code == 14 and length >= 8:
            low = 4 if capture.state[0].swapped != 0 else 0
            high = _u32(capture, base + at + 4 - low)
            seconds = (high - (high >> 31 << 32)) << 32 | _u32(capture, base + at + low)
            capture.since_s[interface] = seconds if abs(seconds) < 1 << 31 else 0
        at += (length + 3) & ~3


@kernel
def _section(capture: Capture, base: int, at: int) -> bool:
    """Begin a section: its byte order, and no interfaces. False where it is of no known version."""
    state = capture.state[0]
    magic = load_i32(base + at + 8) & 0xFFFF_FFFF
    state.swapped = 1 if magic == _MAGIC_SWAPPED else 0
    state.interfaces = 0
    return bool((magic == _MAGIC or magic == _MAGIC_SWAPPED) and _u16(capture, base + at + 12) == 1)


@kernel
def _block(capture: Capture, base: int, at: int, size: int) -> int:
    """Take one block of a pcapng file; where the payload in it begins."""
    state = capture.state[0]
    kind = _u32(capture, base + at)
    if kind == _INTERFACE:
        interface = state.interfaces
        if interface == MOST_INTERFACES or size < 20:
            state.status = BAD_INTERFACE
            return at
        state.interfaces = interface + 1
        capture.link[interface] = _u16(capture, base + at + 8)
        capture.ticks[interface] = 1_000_000
        capture.since_s[interface] = 0
        _options(capture, base, at + 16, at + size - 4, interface)
        return at
    if kind == _SIMPLE and size >= 16:
        length = min(_u32(capture, base + at + 8), size - 16)
        state.recv_ns = 0
        return _payload(capture, base, at + 12, at + 12 + length, capture.link[0]) if state.interfaces else at
    if (kind != _ENHANCED and kind != _PACKET) or size < 32:
        return at
    interface = _u32(capture, base + at + 8) if kind == _ENHANCED else _u16(capture, base + at + 8)
    length = _u32(capture, base + at + 20)
    if interface >= state.interfaces or length > size - 32:
        state.status = BAD_INTERFACE if interface >= state.interfaces else BAD_PACKET
        return at
    high = _u32(capture, base + at + 12)
    ticks = high << 32 | _u32(capture, base + at + 16) if high >> 31 == 0 else 0
    state.recv_ns = _ns(ticks, capture.ticks[interface]) + capture.since_s[interface] * _BILLION if ticks else 0
    return _payload(capture, base, at + 28, at + 28 + length, capture.link[interface])


@kernel
def _next_block(capture: Capture, base: int, at: int, end: int) -> tuple[int, int]:
    """The payload in the block at `at`, and the block's end; the status says where there is none."""
    state = capture.state[0]
    state.status = MORE
    if end - at < 12:
        return at, at
    if load_i32(base + at) == _SECTION:
        if end - at < 28:
            return at, at
        if not _section(capture, base, at):
            state.status = BAD_SECTION
            return at, at
    size = _u32(capture, base + at + 4)
    if size < 12 or size % 4 or size > MOST_BLOCK:
        state.status = BAD_BLOCK
        return at, at
    if end - at < size:
        return at, at
    if _u32(capture, base + at + size - 4) != size:
        state.status = BAD_BLOCK
        return at, at
    state.status = PAYLOAD
    return _block(capture, base, at, size), at + size


@kernel
def _next_packet(capture: Capture, base: int, at: int, end: int) -> tuple[int, int]:
    """The same of a pcap file's packet."""
    state = capture.state[0]
    state.status = MORE
    if end - at < 16:
        return at, at
    length = _u32(capture, base + at + 8)
    if length > MOST_PACKET:
        state.status = BAD_PACKET
        return at, at
    stop = at + 16 + length
    if stop > end:
        return at, at
    state.status = PAYLOAD
    state.recv_ns = _u32(capture, base + at) * _BILLION + _ns(_u32(capture, base + at + 4), capture.ticks[0])
    return _payload(capture, base, at + 16, stop, capture.link[0]), stop


@kernel
def next_payload(capture: Capture, data: Array, at: int, end: int) -> int:
    """Where the next UDP payload of the window begins, `left` bytes of it, received at `recv_ns`.

    data uint8; `rest` is how far its packet goes on behind it. Without one `left` is 0, and `status` says why: MORE
    where the window ends within a packet, a BAD code where the returned place cannot be a packet.
    """
    base = address_of(data)
    state = capture.state[0]
    state.left = 0
    while True:
        if state.pcapng != 0:
            begin, stop = _next_block(capture, base, at, end)
        else:
            begin, stop = _next_packet(capture, base, at, end)
        if state.status != PAYLOAD:
            return at
        if state.left > 0:
            state.rest = stop - begin - state.left
            return begin
        at = stop
