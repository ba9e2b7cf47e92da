"""ITCH 5.0 over MoldUDP64 in a capture file: sessions, their numbers, and the messages of `itch_kernels`.

The first session is the market's (XNAS where none is given); each further one is a venue `XNAS-SESSION`. A session's
day is that of its first packet's receive time in New York.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np

from gateways.formats.batch import Batch
from gateways.formats.itch import MARKETS, PX_DECIMALS, new_york_day, new_york_midnight_ns, take_counts
from gateways.formats.itch_kernels import FULL, LENGTHS, make_itch
from gateways.formats.mold_kernels import (
    ENDS,
    HEADER,
    HEARTBEATS,
    MISFIT,
    NEW_SESSION,
    SHORT,
    STRANGE,
    decode_capture,
    make_mold,
)
from gateways.formats.packets import CaptureReader
from gateways.formats.sequence import MOST as SESSIONS
from gateways.formats.sequence import make_streams
from gateways.formats.sequence import take_counts as take_numbers
from gateways.formats.symbols import Names, make_symbols

_SKIPPED = {SHORT: "a packet without a header", MISFIT: "messages that do not fit their packet"}
_PASSED = {HEARTBEATS: "heartbeat", ENDS: "end of session", STRANGE: "packet of a session too many"}


def fits(payload: bytes) -> int:
    """2 where a UDP payload is a packet of ITCH messages, 1 where it may be a heartbeat of them, 0 where it is not."""
    if len(payload) < HEADER:
        return 0
    count, at = int.from_bytes(payload[18:20], "big"), HEADER
    if count in (0, 0xFFFF):
        name = payload[:10].strip(b"\0")
        return int(len(payload) == HEADER and (not name or (name.isascii() and name.decode().isprintable())))
    for _ in range(count):
        length = int.from_bytes(payload[at : at + 2], "big")
        if at + 2 + length > len(payload) or length == 0:
            return 0
        if LENGTHS.get(chr(payload[at + 2]), length) != length:
            return 0
        at += 2 + length
    return 2 if at == len(payload) and chr(payload[HEADER + 2]) in LENGTHS else 0


class MoldReader(CaptureReader):
    """A capture of MoldUDP64. `day` and `market` are those of the first session where they are given."""

    format = "itch-pcap"

    def __init__(self, path: str | Path, day: date | None = None, market: str = "XNAS") -> None:
        super().__init__(path)
        self._market, self._day = market, day
        self._symbols = make_symbols()
        self._names = Names(self._symbols, self.instruments, PX_DECIMALS)
        self._itch, self._streams = make_itch(SESSIONS, MARKETS[market][0]), make_streams()
        self._mold = make_mold(SESSIONS)

    def _decode(self, window: np.ndarray, at: int, batch: Batch) -> tuple[int, bool]:
        state = self._itch.state[0]
        state.window_at = self.source.offset
        while True:
            at = int(
                decode_capture(self.capture, self._itch, self._symbols, self._streams, self._mold, window, at, batch)
            )
            if state.status != NEW_SESSION:
                return at, bool(state.status == FULL)
            self._begin_session()

    def _begin_session(self) -> None:
        """A session's venue and midnight."""
        n = len(self.venues)
        name = int(self._streams.high[n]).to_bytes(8, "big", signed=True) + int(self._streams.low[n]).to_bytes(2, "big")
        text = name.strip(b" \0").decode("ascii", errors="replace")
        self.venues.append(f"{self._market}-{text or n}" if n else self._market)
        day = self._day if self._day and n == 0 else new_york_day(int(self.capture.state[0].recv_ns))
        self._mold.midnight_ns[n] = new_york_midnight_ns(day)
        self._mold.state[0].sessions = n + 1

    def _count(self) -> None:
        super()._count()
        take_counts(self._itch, self.counts)
        take_numbers(self._streams, self.counts)
        self._names.update()
        self._count_tally(self._mold.tally, _SKIPPED, _PASSED, int(self._mold.state[0].first_bad))
