"""Handing whole records to one peer's transport: a ROUTER's message, slots of a ring, or nowhere."""

from __future__ import annotations

from engine.io import ring, zmq
from engine.io.atomics import load_u16
from engine.jit import kernel
from engine.record.records import RECORD_MAX, SBE_HEADER_SIZE
from engine.run.wiring import LINK, NOWHERE, SHM, Wiring

assert LINK.fields is not None
_ID_OFFSET = int(LINK.fields["id0"][1])
_LINK_SIZE = LINK.itemsize
_EAGAIN = zmq.EAGAIN


@kernel
def length_in(address: int) -> int:
    """Bytes of the record at an address, as its header says."""
    return load_u16(address) + SBE_HEADER_SIZE


@kernel
def hand_over(w: Wiring, row: int, address: int, count: int) -> tuple[int, int]:
    """Send `count` records that lie RECORD_MAX apart from `address` on to the peer of link `row`: (sent, errno).

    Over ZeroMQ they are one message, so all but the last have 128 bytes, and all leave or none.
    """
    link = w.links[row]
    if link.transport == NOWHERE:
        return count, 0
    if link.transport == SHM:
        for k in range(count):
            record = address + k * RECORD_MAX
            if ring.ring_push(link.tx, record, length_in(record)) != 1:
                return k, _EAGAIN
        return count, 0
    error = send_to_peer(w, row, address, (count - 1) * RECORD_MAX + length_in(address + (count - 1) * RECORD_MAX))
    return (0, error) if error != 0 else (count, 0)


@kernel
def send_to_peer(w: Wiring, row: int, address: int, size: int) -> int:
    """Send one message to the peer of ROUTER link `row`: 0, or the errno."""
    line = w.line[0]
    name = int(line.links_address) + row * _LINK_SIZE + _ID_OFFSET
    result = zmq.send(line.router, name, w.links[row].id_bytes, 1)
    if result >= 0:
        result = zmq.send(line.router, address, size, 0)
    return -result if result < 0 else 0
