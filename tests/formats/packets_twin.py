"""Capture files made with `struct`: packets of several kinds, in pcap and pcapng of either byte order."""

from __future__ import annotations

import struct


def udp(payload, *, tags=0, six=False, options=0, protocol=17, fragment=0):
    """An Ethernet packet that carries a payload."""
    segment = struct.pack(">HHHH", 9, 9, 8 + len(payload), 0) + payload
    ether = b"\1\0\x5e\0\0\1" + bytes(6) + b"\x81\0\0\x05" * tags
    if six:
        head = struct.pack(">IHBB", 6 << 28, 8 + len(segment), 0, 9) + bytes(32)
        return ether + b"\x86\xdd" + head + bytes([protocol, 0]) + bytes(6) + segment
    length = 20 + 4 * options + len(segment)
    head = struct.pack(">BBHHHBBH", 0x45 + options, 0, length, 1, fragment, 9, protocol, 0) + bytes(8 + 4 * options)
    return ether + b"\x08\0" + head + segment


def pcap(packets, order="<", ns=True):
    """A pcap file of (ns, packet)."""
    unit = 1 if ns else 1000
    out = struct.pack(order + "IHHiIII", 0xA1B23C4D if ns else 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for time, packet in packets:
        out += struct.pack(order + "IIII", time // 10**9, time % 10**9 // unit, len(packet), len(packet)) + packet
    return out


def _block(order, kind, body):
    body += bytes(-len(body) % 4)
    return struct.pack(order + "II", kind, 12 + len(body)) + body + struct.pack(order + "I", 12 + len(body))


def pcapng(packets, order="<", resolution=9):
    """A pcapng file of (ns, packet); resolution as in if_tsresol, a power of ten or (with bit 7) of two."""
    ticks = 2 ** (resolution & 127) if resolution & 128 else 10**resolution
    out = _block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    options = struct.pack(order + "HHB3xHH", 9, 1, resolution, 0, 0)
    out += _block(order, 1, struct.pack(order + "HHI", 1, 0, 0) + options) + _block(order, 5, bytes(12))
    for time, packet in packets:
        tick = time * ticks // 10**9
        head = struct.pack(order + "IIIII", 0, tick >> 32, tick & 0xFFFFFFFF, len(packet), len(packet))
        out += _block(order, 6, head + packet)
    return out
