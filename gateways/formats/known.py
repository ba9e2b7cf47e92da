"""The formats that are known, and which of them a file is: by its content, never by its name.

A module of a format has `recognises(head: bytes) -> bool`, which is shown the first 4,096 bytes, unpacked, and
`open_file(path, **told) -> Reader`. Its `TAKES` names what it can be told of a file: fields of `Given`.
"""

from __future__ import annotations

from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

from engine.errors import UsageError
from gateways.feeds.report import FeedError
from gateways.formats.reader import Reader
from gateways.formats.source import head_of

#: Asked in this order: the surest mark first.
MODULES: Final[tuple[str, ...]] = (
    "recorded", "dbn", "npz", "pcap", "itch", "taq", "tardis", "binance", "bitstamp", "lobster",
)  # fmt: skip


class Given(NamedTuple):
    """What a person says of a file that its content does not; None where nothing is said."""

    #: The trading day in New York, where messages have times of day alone.
    day: date | None = None
    #: XNAS, XBOS or XPSX, where a feed is that of several markets.
    market: str | None = None
    #: The one instrument of a file that does not name it.
    symbol: str | None = None
    #: Those of prices and of quantities, where a file has numbers of any length.
    decimals: tuple[int, int] | None = None
    #: spot, usdm or coinm, where lines of Binance are of either.
    product: str | None = None


UNTOLD: Final = Given()


def open_file(path: str | Path, given: Given = UNTOLD) -> Reader:
    """A reader of a file; FeedError where it is of no known format, or cannot be read.

    UsageError where something is said of it that its format says itself.
    """
    head = head_of(path)
    for name in MODULES:
        module = import_module(f"gateways.formats.{name}")
        if module.recognises(head):
            reader: Reader = module.open_file(path, **_told(path, name, module, given))
            return reader
    if not head:
        raise FeedError(path, 0, "", "is empty", "fetch it again, or name another file", offset=0)
    shown = head[:40].decode("ascii", errors="replace")
    known = ", ".join(MODULES)
    raise FeedError(path, 0, shown, "is of no known format", f"name a file of one of: {known}", offset=0)


def _told(path: str | Path, name: str, module: Any, given: Given) -> dict[str, Any]:
    """What is said of a file, by name; UsageError where the format takes no such thing."""
    told = {what: value for what, value in given._asdict().items() if value is not None}
    takes: tuple[str, ...] = getattr(module, "TAKES", ())
    for what in told:
        if what not in takes:
            known = f"only {', '.join(takes)} can be said of it" if takes else "nothing can be said of it"
            raise UsageError(f"{path}: {what} {told[what]}: a file of {name} tells that itself; {known}")
    return told
