"""IEX TOPS 1.5, TOPS 1.6 and DEEP 1.0 in a capture file: the reader over `iex_kernels`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from gateways.formats import iex_kernels as k
from gateways.formats.batch import Batch
from gateways.formats.packets import CaptureReader
from gateways.formats.sequence import make_streams, take_counts
from gateways.formats.symbols import Names, make_symbols

PX_DECIMALS: Final = 4
_SKIPPED: Final = {
    k.UNKNOWN_TYPE: "unknown message type",
    k.WRONG_LENGTH: "wrong length for its type",
    k.NO_ROOM_FOR_SYMBOL: "too many instruments",
    k.SHORT: "a packet without a header",
    k.MISFIT: "messages that do not fit their packet",
}
_PASSED: Final = {
    k.HEARTBEATS: "heartbeat",
    k.STRANGE: "packet of another protocol",
    k.TOO_MANY: "packet of a stream too many",
}


def fits(payload: bytes) -> int:
    """2 where a UDP payload is an IEX-TP packet of a protocol that is read, else 0."""
    protocol, length = (int.from_bytes(payload[at : at + 2], "little") for at in (2, 12))
    return 2 if payload[:1] == b"\1" and protocol in k.PROTOCOLS and len(payload) == k.HEADER + length else 0


class IexReader(CaptureReader):
    """A capture of IEX-TP."""

    format = "iex-pcap"

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.venues.append("IEXG")
        self._symbols, self._streams, self._iex = make_symbols(), make_streams(), k.make_iex()
        self._names = Names(self._symbols, self.instruments, PX_DECIMALS)

    def _decode(self, window: np.ndarray, at: int, batch: Batch) -> tuple[int, bool]:
        state = self._iex.state[0]
        state.window_at = self.source.offset
        at = int(k.decode_capture(self.capture, self._iex, self._symbols, self._streams, window, at, batch))
        return at, bool(state.status == k.FULL)

    def _count(self) -> None:
        super()._count()
        for kind in np.flatnonzero(self._iex.counts):
            name = chr(kind) if 32 < kind < 127 else f"0x{kind:02x}"
            self.counts.by_type[name] = int(self._iex.counts[kind])
        take_counts(self._streams, self.counts)
        self._names.update()
        for place, reason in _SKIPPED.items():
            self._count_tally(self._iex.tally, {place: reason}, {}, int(self._iex.first[place]))
        self._count_tally(self._iex.tally, {}, _PASSED, -1)
