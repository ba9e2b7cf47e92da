"""Capture files (pcap, pcapng): which feed is in one, found by its UDP payloads, and that feed's reader.

The first payload that can be only one feed's decides; where there is none among 10,000, one that may be. A capture
without market data, such as order entry's, is refused with what was found in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Final

from engine.errors import UsageError
from gateways.feeds.report import FeedError
from gateways.formats import capture as c
from gateways.formats import iex, mold
from gateways.formats.itch import known_market
from gateways.formats.packets import CaptureReader
from gateways.formats.reader import Reader
from gateways.formats.source import Source

#: What a capture of ITCH can be told, as `known.Given` names it.
TAKES: Final = ("day", "market")
_MOST_PAYLOADS: Final = 10_000


def recognises(head: bytes) -> bool:
    """Whether a file begins as a capture does."""
    return c.is_capture(head)


def open_file(path: str | Path, day: date | None = None, market: str | None = None) -> Reader:
    """The reader of the feed in a capture; FeedError where there is none that is known.

    `day` is that of the first session of ITCH, by which its market is named. UsageError where they are said of IEX.
    """
    reader = _feed_of(path)
    if reader is mold.MoldReader:
        return mold.MoldReader(path, day, known_market(path, market or "XNAS"))
    if day is not None or market is not None:
        raise UsageError(f"{path}: day {day}, market {market}: a capture of IEX tells both itself; leave them out")
    return reader(path)


def _feed_of(path: str | Path) -> type[CaptureReader]:
    """The class of reader."""
    with Source(path) as source:
        window = source.more(0)
        capture, at = c.open_capture(window[:4096].tobytes())
        perhaps: type[CaptureReader] | None = None
        for payload in _payloads(source, capture, window, at):
            for module, reader in ((iex, iex.IexReader), (mold, mold.MoldReader)):
                sure = module.fits(payload)
                if sure == 2:
                    return reader
                perhaps = perhaps or (reader if sure else None)
        if perhaps:
            return perhaps
        kinds = [f"{int(n)} {name}" for name, n in zip(c.KINDS, capture.tally, strict=True) if n]
        found = ", ".join(kinds) or "no packets"
        raise FeedError(
            path,
            0,
            found,
            "this capture holds no market data that is known",
            "name a capture of ITCH 5.0 over MoldUDP64, or of IEX TOPS or DEEP",
            offset=0,
        )


def _payloads(source: Source, capture: c.Capture, window: c.Array, at: int) -> Iterator[bytes]:
    """The first payloads of a capture. What is damaged ends them: whoever reads the file tells it."""
    for _ in range(_MOST_PAYLOADS):
        while True:
            at = int(c.next_payload(capture, window, at, len(window)))
            state = capture.state[0]
            if state.status != c.MORE or source.ended:
                break
            window, at = source.more(at), 0
        if state.status == c.PAYLOAD:
            yield window[at : at + int(state.left)].tobytes()
            at += int(state.left + state.rest)
        elif state.status == c.MORE and at == len(window):
            return
        else:
            why = "the file ends within a packet" if state.status == c.MORE else "the file is damaged here"
            raise source.wrong(at, "", why, "capture or fetch it again")
