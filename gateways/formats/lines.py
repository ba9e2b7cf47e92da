"""What decoders of text keep between lines, and the reader that feeds them: one message a line, whatever the format.

A decoder is `decode(lines, data, at, end, batch) -> at`: it takes whole lines until the batch is full, the last newline
is behind it, or `lines.cursor[ERROR]` says what is wrong with the line at `at` and where (LOW, HIGH). The code NEW_NAME
asks for a row of `rows` for the name at LOW, HIGH; then the same line is decoded again. Whatever it wrote of a line
that it did not finish it takes back.

Worst case: a name that is new is added in Python, about 10 µs, once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from engine.jit import kernel
from engine.memory import Memory, memory, packed
from gateways.formats.batch import Batch, make_batch
from gateways.formats.reader import Reader
from gateways.formats.text import NEWLINE, same

Array = np.ndarray[Any, np.dtype[Any]]

#: Words of `Lines.cursor`. LINE is how many lines were taken; from FREE on they are the format's own.
LINE: Final = 0
ERROR: Final = 1
LOW: Final = 2
HIGH: Final = 3
GAPS: Final = 4
LOST: Final = 5
REPEATED: Final = 6
LAST_NS: Final = 7
HIT: Final = 8
NAMES: Final = 9
FREE: Final = 10
#: Codes in ERROR that are no errors: a name is new, the batch is full.
NEW_NAME: Final = 1
FULL: Final = 2
#: First code of a format's own errors.
OWN: Final = 8
#: Words of a row of `Lines.rows`; from OWN_WORD on they are the format's own.
ROW: Final = 16
VENUE: Final = 0
INSTRUMENT: Final = 1
PX_DECIMALS: Final = 2
QTY_DECIMALS: Final = 3
OWN_WORD: Final = 4
NAME_MAX: Final = 64
#: Levels a side that a ladder holds.
DEPTH: Final = 256
#: Words of a ladder: for each side how many, then price and quantity of each, best first.
SIDE_WORDS: Final = 1 + 2 * DEPTH
#: Fields of a row (a line of CSV), or slots for the members of an object, begin and end of each.
CUTS: Final = 4 * DEPTH + 64
REASONS: Final = 16
#: Words of a row of `Lines.tally`: how many, and line, begin and end of the first.
TALLY: Final = 4


@memory
class Lines(Memory):
    """All int64 but `names`, flat: by_type 32; tally REASONS x TALLY; cuts; names (n x 64, NUL-padded); index (hash of
    a name -> row + 1); rows (n x ROW); ladders (n x 2 x SIDE_WORDS); held: the format's own store."""

    LAYOUT = packed(
        cursor="<i8",
        by_type="<i8",
        tally="<i8",
        cuts="<i8",
        names="u1",
        index="<i8",
        rows="<i8",
        ladders="<i8",
        held="<i8",
    )
    cursor: Array
    by_type: Array
    tally: Array
    cuts: Array
    names: Array
    index: Array
    rows: Array
    ladders: Array
    held: Array


def make_lines(names: int = 8, held: int = 1) -> Lines:
    """Nothing read yet; room for `names` names and `held` words."""
    sizes = {"cursor": 32, "by_type": 32, "tally": REASONS * TALLY, "cuts": CUTS, "index": 4 * names, "held": held}
    sizes |= {"rows": names * ROW, "ladders": names * 2 * SIDE_WORDS}
    return Lines(names=np.zeros(names * NAME_MAX, np.uint8), **{n: np.zeros(k, np.int64) for n, k in sizes.items()})


def grown(lines: Lines) -> Lines:
    """The same with room for twice as many names."""
    count = len(lines.rows) // ROW
    more = make_lines(2 * count, len(lines.held))
    for name, old in lines.arrays().items():
        if name != "index":
            getattr(more, name)[: len(old)] = old
    for row in range(count):
        _enter(more, row)
    return more


def _enter(lines: Lines, row: int) -> None:
    name = lines.names[row * NAME_MAX : (row + 1) * NAME_MAX]
    size = int(np.count_nonzero(name))
    lines.index[place_of(lines, name, 0, size)] = row + 1


def add_name(lines: Lines, name: bytes) -> tuple[Lines, int]:
    """Give a name a row of zeros: what to use from now on, and the row."""
    row = int(lines.cursor[NAMES])
    if row == len(lines.rows) // ROW:
        lines = grown(lines)
    lines.names[row * NAME_MAX : row * NAME_MAX + len(name)] = np.frombuffer(name, np.uint8)
    _enter(lines, row)
    lines.cursor[NAMES] = row + 1
    return lines, row


@kernel
def place_of(lines: Lines, text: np.ndarray, low: int, high: int) -> int:
    """Where in the index a name is, or would be."""
    mixed = 5381
    for at in range(low, high):
        mixed = (mixed * 33 + int(text[at])) & 0x7FFFFFFF
    size = len(lines.index)
    place = mixed % size
    while lines.index[place] != 0:
        begin = (int(lines.index[place]) - 1) * NAME_MAX
        if same(text, low, high, lines.names[begin : begin + NAME_MAX]):
            return place
        place = place + 1 if place + 1 < size else 0
    return place


@kernel
def row_of(lines: Lines, text: np.ndarray, low: int, high: int) -> int:
    """Where in `rows` a name's row begins; -1 where the name is new. The last hit is tried first."""
    hit = int(lines.cursor[HIT])
    if hit < lines.cursor[NAMES] and same(text, low, high, lines.names[hit * NAME_MAX : (hit + 1) * NAME_MAX]):
        return hit * ROW
    row = int(lines.index[place_of(lines, text, low, high)]) - 1
    if row < 0:
        return -1
    lines.cursor[HIT] = row
    return row * ROW


@kernel
def fail(lines: Lines, error: int, low: int, high: int) -> bool:
    """Leave what is wrong with the line at hand, and where. False, for the caller to hand on."""
    lines.cursor[ERROR] = error
    lines.cursor[LOW] = low
    lines.cursor[HIGH] = high
    return False


@kernel
def skip(lines: Lines, reason: int, low: int, high: int) -> bool:
    """Count a line that gives no record; keep the place of the first of a reason. True: the line is done."""
    at = reason * TALLY
    if lines.tally[at] == 0:
        lines.tally[at + 1] = lines.cursor[LINE] + 1
        lines.tally[at + 2] = low
        lines.tally[at + 3] = high
    lines.tally[at] += 1
    return True


class LineReader(Reader):
    """A reader of lines. A format gives its names of types, reasons and errors, and the two methods below."""

    TYPES: ClassVar[tuple[str, ...]]
    SKIPS: ClassVar[Mapping[int, str]]
    #: Whether a last line that no newline ends is seen to be whole, or not, by what it says.
    WHOLE_WITHOUT_NEWLINE: ClassVar[bool] = True
    #: What is wrong, and the remedy.
    ERRORS: ClassVar[Mapping[int, tuple[str, str]]]

    def __init__(self, path: str | Path, units: int = 1 << 14) -> None:
        super().__init__(path)
        self.lines = make_lines()
        self._units = units

    @abstractmethod
    def decode(self, data: Array, at: int, end: int, batch: Batch) -> int:
        """Decode whole lines: where the first line that was not taken begins."""

    def add(self, name: bytes) -> None:
        """Give a new name its row. Formats of one instrument do it before the first line."""
        raise NotImplementedError(name)

    def batches(self) -> Iterator[Batch]:
        """As `Reader.batches`. A line that the end of the file cuts is refused, after all that is before it."""
        batch, at, ended = make_batch(self._units), 0, False
        while not ended:
            window = self.source.more(at)
            at, cut, ended = 0, False, self.source.ended
            if ended and len(window):
                cut = window[-1] != NEWLINE
                if cut and self.WHOLE_WITHOUT_NEWLINE:
                    window = np.append(window, np.uint8(NEWLINE))
            while True:
                at, code = self._decode(window, at, batch)
                if code == FULL and batch.used[0] == 0:
                    batch = make_batch(2 * len(batch.head))
                elif code != NEW_NAME:
                    if batch.used[0]:
                        yield batch
                        batch.used[0] = 0
                    if code != FULL:
                        break
            if cut and at < len(window):
                value = window[at:].tobytes()
                raise self._wrong(at, value, "the file ends in the middle of a line: it was cut", "fetch it again")
            if code:
                low, high = int(self.lines.cursor[LOW]), int(self.lines.cursor[HIGH])
                raise self._wrong(low, window[low:high].tobytes(), *self.ERRORS[code])

    def _decode(self, window: Array, at: int, batch: Batch) -> tuple[int, int]:
        """Decode, and settle what is left behind: where the next line begins, and the code."""
        seen = self.lines.tally[::TALLY].copy()
        at = self.decode(window, at, len(window), batch)
        code = int(self.lines.cursor[ERROR])
        self.lines.cursor[ERROR] = 0
        self._settle(window, seen)
        if code == NEW_NAME:
            self._add(window)
        return at, code

    def _add(self, window: Array) -> None:
        low, high = int(self.lines.cursor[LOW]), int(self.lines.cursor[HIGH])
        name = window[low:high].tobytes()
        if not 0 < len(name) <= NAME_MAX or b"\0" in name:
            why = f"a name must have 1 to {NAME_MAX} characters"
            raise self._wrong(low, name, why, "name the right file")
        self.add(name)

    def _wrong(self, at: int, value: bytes, why: str, remedy: str) -> Exception:
        error = self.source.wrong(at, _shown(value), why, remedy)
        return type(error)(self.path, int(self.lines.cursor[LINE]) + 1, error.value, why, remedy, offset=error.offset)

    def _settle(self, window: Array, seen: Array) -> None:
        """Bring the kernel's counts into `counts`."""
        lines, counts = self.lines, self.counts
        counts.by_type = {name: int(n) for name, n in zip(self.TYPES, lines.by_type, strict=False) if n}
        counts.gaps, counts.lost = int(lines.cursor[GAPS]), int(lines.cursor[LOST])
        counts.repeated = int(lines.cursor[REPEATED])
        for code in np.flatnonzero(lines.tally[::TALLY] - seen):
            count, line, low, high = (int(x) for x in lines.tally[code * TALLY : (code + 1) * TALLY])
            value = _shown(window[low:high].tobytes())
            counts.skip(self.SKIPS[int(code)], f"{self.path.name}:{line}: {value}", count - int(seen[code]))


def _shown(raw: bytes) -> str:
    return raw[:80].decode("ascii", errors="replace")
