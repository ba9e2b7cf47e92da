"""The formats that are known, and which of them a file is: by its content, never by its name.

A module of a format has `recognises(head: bytes) -> bool`, which is shown the first 4,096 bytes, unpacked, and
`open_file(path) -> Reader`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final

from gateways.feeds.report import FeedError
from gateways.formats.reader import Reader
from gateways.formats.source import head_of

#: Asked in this order: the surest mark first.
MODULES: Final[tuple[str, ...]] = (
    "recorded", "dbn", "npz", "pcap", "itch", "taq", "tardis", "binance", "bitstamp", "lobster",
)  # fmt: skip


def open_file(path: str | Path) -> Reader:
    """A reader of a file; FeedError where it is of no known format, or cannot be read."""
    head = head_of(path)
    for name in MODULES:
        module = import_module(f"gateways.formats.{name}")
        if module.recognises(head):
            reader: Reader = module.open_file(path)
            return reader
    if not head:
        raise FeedError(path, 0, "", "is empty", "fetch it again, or name another file", offset=0)
    shown = head[:40].decode("ascii", errors="replace")
    known = ", ".join(MODULES)
    raise FeedError(path, 0, shown, "is of no known format", f"name a file of one of: {known}", offset=0)
