"""Readers of a live feed: raw packets or lines that arrive as ZeroMQ messages, decoded as a file of them would be.

Each is the reader of its format over no file: names, sessions, books that ids make void, counts and kernels are its
own, and only what brings the bytes is another. `round` decodes what is there; a packet or a line that cannot be is
counted and left out, with the first of each reason, and the next one is taken.

Receive times: of packets and of bare messages CLOCK_REALTIME when they were taken from the socket; of lines, which
begin with a time, that one.

Worst case: a round is one batch of packets, or 4 MiB of lines.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.errors import UsageError
from engine.io.zmq import EAGAIN, EINTR, LinkError
from gateways.feeds.report import FeedError
from gateways.formats import drain
from gateways.formats.batch import Batch, make_batch
from gateways.formats.binance import PRODUCTS, Binance
from gateways.formats.bitstamp import Bitstamp
from gateways.formats.iex import IexReader
from gateways.formats.itch import MARKETS
from gateways.formats.lines import FULL, LINE, LOW, NEW_NAME, LineReader
from gateways.formats.mold import MoldReader
from gateways.formats.packets import UNITS
from gateways.formats.reader import Reader
from gateways.formats.text import NEWLINE

Array = np.ndarray[Any, np.dtype[Any]]
#: The longest message: of packets, which UDP bounds, and of lines.
MOST_PACKET: Final = 1 << 16
MOST_LINE: Final = 1 << 20
_LINES: Final = 1 << 22


class Arriving(Reader):
    """A reader whose bytes come by socket."""

    #: Bytes of the longest message that the socket may let through.
    MOST: int

    def begin(self) -> None:
        """Once, after the format's own reader: there is no file."""
        self.close()
        self.path = Path("message")
        self.arriving = drain.make_arriving()

    @abstractmethod
    def round(self, socket: int) -> Iterator[Batch]:
        """Decode what is there, a bounded part of it: batches, each good until the next is asked for.

        socket: address of a SUB. To be gone through to its end. LinkError where the socket fails.
        """


class _Packets(Arriving):
    """Packets: a format gives its kernel and what to do when it comes back."""

    MOST = MOST_PACKET

    def begin(self) -> None:
        super().begin()
        self._buffer = np.zeros(MOST_PACKET, np.uint8)
        self._header, self._batch = make_batch(1), make_batch(UNITS)

    @abstractmethod
    def _drain(self, socket: int) -> int:
        """Fill the batch; why that ended."""

    @abstractmethod
    def _count(self) -> None:
        """Bring the counts up to date."""

    def round(self, socket: int) -> Iterator[Batch]:
        """As `Arriving.round`."""
        self._batch.used[0] = 0
        code = self._drain(socket)
        if code < 0 and -code not in (EAGAIN, EINTR):
            raise LinkError(f"the socket of the packets cannot be read: {os.strerror(-code)}; restart both sides")
        self._count()
        if self._batch.used[0]:
            yield self._batch


class MoldMessages(MoldReader, _Packets):
    """MoldUDP64 packets of ITCH 5.0. day: of the first session, New York's of its first packet where none is given."""

    format = "mold-itch"

    def __init__(self, day: date | None = None, market: str = "XNAS") -> None:
        if market not in MARKETS:
            raise UsageError(f"market {market!r}: there are {', '.join(MARKETS)}")
        MoldReader.__init__(self, os.devnull, day, market)
        self.begin()

    def _drain(self, socket: int) -> int:
        while True:
            code = int(
                drain.drain_mold(
                    socket,
                    self._buffer,
                    self.arriving,
                    self._itch,
                    self._symbols,
                    self._streams,
                    self._mold,
                    self._header,
                    self._batch,
                )
            )
            if code != drain.NEW_SESSION:
                return code
            self.capture.state[0].recv_ns = self.arriving[0].recv_ns
            self._begin_session()


class IexMessages(IexReader, _Packets):
    """IEX-TP packets of TOPS 1.5 and 1.6 and DEEP 1.0."""

    format = "iex"

    def __init__(self) -> None:
        IexReader.__init__(self, os.devnull)
        self.begin()

    def _drain(self, socket: int) -> int:
        return int(
            drain.drain_iex(
                socket, self._buffer, self.arriving, self._iex, self._symbols, self._streams, self._header, self._batch
            )
        )


class _Lines(Arriving, LineReader):
    """Lines, gathered and decoded by their format's kernel."""

    MOST = MOST_LINE
    #: Whether a bare message may come, without the time in front.
    STAMPED = 0

    def begin(self) -> None:
        super().begin()
        self._buffer = np.zeros(_LINES, np.uint8)
        self._batch = make_batch(1 << 14)

    def round(self, socket: int) -> Iterator[Batch]:
        """As `Arriving.round`."""
        n = int(drain.drain_lines(socket, self._buffer, MOST_LINE, self.arriving, self.STAMPED))
        yield from self.lines_of(self._buffer[:n])

    def lines_of(self, window: Array) -> Iterator[Batch]:
        """Decode whole lines; one that cannot be is counted and left out."""
        at = 0
        self._batch.used[0] = 0
        while True:
            try:
                at, code = self._decode(window, at, self._batch)
            except FeedError as error:  # a name that is none
                at = self._leave_out(window, int(self.lines.cursor[LOW]), error.why)
                continue
            if code == FULL and not self._batch.used[0]:
                self._batch = make_batch(2 * len(self._batch.head))
            elif code not in (0, FULL, NEW_NAME):
                at = self._leave_out(window, at, self.ERRORS[code][0])
            elif code != NEW_NAME:
                if self._batch.used[0]:
                    yield self._batch
                    self._batch.used[0] = 0
                if code != FULL:
                    return

    def _leave_out(self, window: Array, low: int, why: str) -> int:
        """Count the line at, or around, a place; where the next one begins."""
        end = low + int(np.argmax(window[low:] == NEWLINE))
        number = int(self.lines.cursor[LINE]) + 1
        self.lines.cursor[LINE] = number
        shown = window[low:end][:80].tobytes().decode("ascii", errors="replace")
        self.counts.skip(why, f"message:{number}: {shown}")
        return end + 1


class BinanceMessages(Binance, _Lines):
    """Binance's streams of one product: lines as recorders write them, or bare messages."""

    STAMPED = 1

    def __init__(self, product: str = "spot") -> None:
        if product not in PRODUCTS:
            raise UsageError(f"product {product!r}: there are {', '.join(PRODUCTS)}")
        Binance.__init__(self, os.devnull, product=product)
        self.begin()


class BitstampMessages(Bitstamp, _Lines):
    """Bitstamp's channels as lines."""

    def __init__(self, symbol: str = "BTCUSD") -> None:
        Bitstamp.__init__(self, os.devnull, symbol)
        self.begin()


#: Format -> what makes its reader, given the options that it has.
FORMATS: Final[dict[str, Callable[..., Arriving]]] = {
    "mold-itch": MoldMessages,
    "iex": IexMessages,
    "binance": BinanceMessages,
    "bitstamp": BitstampMessages,
}
