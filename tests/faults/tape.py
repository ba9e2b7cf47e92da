"""The end of a journal while another process writes it: whole frames, and the one that is not whole yet.

The reader of the product sees what is whole. `Tape` looks at the same pages beside it, so that a test can say between
which two stores of the writer it is. What the bytes are: `engine.io.journal_format`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.io.journal_format import ALIGN, FRAME_HEADER, SEGMENT_HEADER, Kind, segment_numbers, segment_path
from engine.io.mapping import Mapping

_MASK32 = 0xFFFF_FFFF


class Seen(NamedTuple):
    """A frame, whole or not; `template` is 0 until the payload is there."""

    seq: int
    kind: int
    template: int
    batch_index: int
    last: bool


NOTHING = Seen(-1, 0, 0, 0, False)


class Tape:
    """A run's journal from here on; `look` takes in what is there. Close it."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        #: The last whole frame, and what has been begun behind it.
        self.whole = self.begun = NOTHING
        #: Whether the segment before this place says that the journal goes on, and how far the next one has come.
        self.ended = self.in_header = False
        #: Segments that were begun since.
        self.rolls = 0
        self._mappings: list[Mapping] = []
        begun = [number for number in segment_numbers(run_dir) if self._begun(number)]
        self._enter(begun[-1])
        self.look()

    def _begun(self, number: int) -> bool:
        with segment_path(self.run_dir, number).open("rb") as file:
            return file.read(8) != bytes(8)

    def _words(self, number: int) -> np.ndarray:
        mapping = Mapping(segment_path(self.run_dir, number), write=False)
        self._mappings.append(mapping)
        return mapping.memory.view("<i8")

    def _enter(self, number: int) -> None:
        self.segment, self.at = number, SEGMENT_HEADER
        self._here = self._words(number)
        self.size = 8 * len(self._here)
        self._next: np.ndarray | None = None
        self.ended = self.in_header = False

    @property
    def room(self) -> int:
        """Bytes behind the last whole frame of this segment."""
        return self.size - self.at

    def _frame(self) -> Seen:
        n = self.at // 8
        tags = int(self._here[n + 2])
        kind = tags >> 32 & 0xFF
        template = int(self._here[n + 4]) >> 16 & 0xFFFF if kind != Kind.PAD and self.room > FRAME_HEADER else 0
        return Seen(int(self._here[n + 1]), kind, template, tags >> 48 & 0xFFFF, bool(tags >> 40 & 1))

    def look(self) -> None:
        """Take in what has been written."""
        while self.room > 0:
            n = self.at // 8
            length = int(self._here[n]) & _MASK32
            if length == 0:
                self.begun = self._frame() if self._here[n + 2] != 0 else NOTHING
                return
            self.whole, self.begun = self._frame(), NOTHING
            self.at += (length + ALIGN - 1) & -ALIGN
        self._look_behind()

    def _look_behind(self) -> None:
        """This segment is full."""
        if not self.ended:
            self.ended = bool(self._here[7] != 0)
            if not self.ended:
                return
        if self._next is None:
            if not segment_path(self.run_dir, self.segment + 1).exists():
                return
            self._next = self._words(self.segment + 1)
        self.in_header = bool(self._next[1] != 0)
        if self._next[0] != 0:
            self.rolls += 1
            self._enter(self.segment + 1)
            self.look()

    def close(self) -> None:
        del self._here, self._next
        for mapping in self._mappings:
            mapping.close()
