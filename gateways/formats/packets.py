"""What readers of capture files share: the walk over a file's windows, and the counts of packets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from gateways.feeds.report import FeedError
from gateways.formats import capture as c
from gateways.formats.batch import Batch, make_batch
from gateways.formats.reader import Reader
from gateways.formats.source import head_of

#: Batches that stay in the second-level cache.
UNITS: Final = 1 << 12
_WRONG: Final = {
    c.BAD_PACKET: "a packet's length is impossible",
    c.BAD_BLOCK: "a block's length is impossible",
    c.BAD_INTERFACE: "a packet's interface is not described",
    c.BAD_SECTION: "a section of an unknown version or byte order",
}


class CaptureReader(Reader):
    """A pcap or pcapng file, being read."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.capture, self._begin = c.open_capture(head_of(path))

    @abstractmethod
    def _decode(self, window: np.ndarray, at: int, batch: Batch) -> tuple[int, bool]:
        """Decode packets from `at` on; where that stopped, and whether it was for want of room."""

    def batches(self, units: int = UNITS) -> Iterator[Batch]:
        """Batches of up to `units` units of 64 bytes; else as `Reader.batches`."""
        batch, at, state = make_batch(units), 0, self.capture.state[0]
        window = self.source.more(0)
        while window.size < self._begin and not self.source.ended:
            window = self.source.more(0)
        at = self._begin
        while True:
            full = True
            state.window_at = self.source.offset
            while full:
                at, full = self._decode(window, at, batch)
                self._count()
                if batch.used[0]:
                    yield batch
                    batch.used[0] = 0
            if int(state.status) in _WRONG:
                raise self.wrong(at)
            if self.source.ended:
                break
            window, at = self.source.more(at), 0
        if at < len(window):
            raise self.source.wrong(at, "", "the file ends within a packet", "capture or fetch it again")

    def wrong(self, at: int) -> FeedError:
        """What the capture's status says is wrong at `at` of the window."""
        why = _WRONG[int(self.capture.state[0].status)]
        return self.source.wrong(at, "", f"{why}: the file is damaged", "capture or fetch it again")

    def _count(self) -> None:
        """Bring the counts up to date."""
        for kind, name in enumerate(c.KINDS):
            number = int(self.capture.tally[kind])
            if number and kind == c.CUT:
                self.counts.skipped["a packet that is cut"] = number
                self.counts.examples["a packet that is cut"] = f"byte {self.capture.state[0].cut_at}"
            elif number and kind != c.UDP:
                self.counts.passed_over[f"{name} packet"] = number

    def _count_tally(self, tally: np.ndarray, skipped: dict[int, str], passed: dict[int, str], first_bad: int) -> None:
        """Bring the counts of a transport up to date."""
        for place, reason in skipped.items():
            if tally[place]:
                self.counts.skipped[reason] = int(tally[place])
                self.counts.examples[reason] = f"byte {first_bad}"
        for place, name in passed.items():
            if tally[place]:
                self.counts.passed_over[name] = int(tally[place])
