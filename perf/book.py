"""`perf book`: ITCH messages to records, and to full order books, beside a C++ loop written for this benchmark.

    book parse    every message of the file made into one of our records, and nothing done with it
    book build    every message to its record, and from there into an order book of 500 stocks, order by order

Both sides read the same bytes from memory: a synthetic day of ten million messages (perf/itch_feed.py), written once.
The peer (perf/book_peer.cpp, g++ -O3 -march=native) makes the same 128-byte records in the first row; in the second it
goes straight from the message to its books and makes none. Rounds take turns; `p50` and `baseline` are medians of them.
Both end with the same levels, which is checked.

Worst case: without g++ the rows have no baseline, and a note says so.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from engine.book.memory import Books, make_books
from engine.errors import TickrouteError
from gateways.formats.batch import make_batch
from gateways.formats.itch_kernels import make_itch
from gateways.formats.symbols import make_symbols
from perf.book_kernels import build_all, parse_all
from perf.itch_feed import STOCKS, itch_day
from perf.result import Progress, Result, Row, at_most, result

MESSAGES: Final = 10_000_000
SHORT: Final = 500_000
ROUNDS: Final = 5
PARSE_REACH: Final = 1.1
BUILD_REACH: Final = 0.9
#: Units of the batch between decoding and books.
_UNITS: Final = 256
_WIDTH: Final = 256
_TICK: Final = 100
_PEER_S: Final = 600
SOURCE: Final = Path(__file__).with_name("book_peer.cpp")


class BookBenchError(TickrouteError):
    """The C++ peer does not compile, fails, or ends with other books; the message says which."""


def run(progress: Progress, short: bool = False) -> Result:
    """Measure; `short` reads half a million messages."""
    count = SHORT if short else MESSAGES
    progress("write the day", 0.0)
    data, highest = itch_day(count)
    ours: dict[str, list[float]] = {"parse": [], "book": []}
    theirs: dict[str, list[float]] = {"parse": [], "book": []}
    with tempfile.TemporaryDirectory(prefix="tickroute-book-") as folder:
        peer = _compile(Path(folder))
        file = Path(folder) / "day"
        data.tofile(file)
        _ours(data[: data.size // 50], count // 50)  # compiled and warm
        for n in range(ROUNDS):
            progress(f"round {n + 1} of {ROUNDS}", n / ROUNDS)
            parse, build, made, check = _ours(data, count)
            ours["parse"].append(parse)
            ours["book"].append(build)
            if peer is not None:
                found = _theirs(peer, file, highest, count)
                theirs["parse"] += found["parse"]
                theirs["book"] += found["book"]
                if (found["made"], found["check"]) != (made, check):
                    theirs_are = f"made {found['made']} units of records and books that sum to {found['check']}"
                    raise BookBenchError(f"the peer {theirs_are}; ours {made}, {check}")
    rows = [_row(name, ours[part], theirs[part], reach) for name, part, reach in
            (("parse", "parse", PARSE_REACH), ("build", "book", BUILD_REACH))]  # fmt: skip
    notes = [f"{count:,} messages, {data.nbytes:,} bytes, {STOCKS} stocks, {highest:,} orders; {ROUNDS} rounds"]
    if peer is None:
        notes.append("no g++ here: nothing to compare with")
    return result("book", rows, notes)


def _row(name: str, ours: list[float], theirs: list[float], reach: float) -> Row:
    row = Row(name=f"book {name}", unit="ns", p50=float(np.median(ours)), max=max(ours), n=len(ours))
    if not theirs:
        return row
    base = float(np.median(theirs))
    return at_most(msgspec.structs.replace(row, baseline=base, ratio=float(np.median(ours)) / base), reach)


def _ours(data: np.ndarray, count: int) -> tuple[float, float, int, int]:
    """(ns a message for records, ns for books, units of records, checksum of the books)."""
    itch, symbols, batch = make_itch(1, "Q"), make_symbols(), make_batch(_UNITS)
    began = time.perf_counter_ns()
    made = int(parse_all(itch, symbols, data, len(data), batch))
    parse = (time.perf_counter_ns() - began) / count
    itch, symbols = make_itch(1, "Q"), make_symbols()
    books = make_books([_TICK] * STOCKS, width=_WIDTH, far=1 << 18, orders=1 << 22)
    began = time.perf_counter_ns()
    build_all(itch, symbols, data, len(data), batch, books)
    build = (time.perf_counter_ns() - began) / count
    return parse, build, made, checksum(books)


def checksum(books: Books) -> int:
    """What the peer computes of its levels: 31 * rank + 7 * quantity, summed in 64 bits."""
    width = int(books.core[0]["width_mask"]) + 1
    total = 0
    for n, side in enumerate(books.sides):
        cells = books.levels[n * width : (n + 1) * width]["qty"]
        slots = np.flatnonzero(cells)
        low = int(side["low"])
        ranks = (low + (slots - low) % width) * int(side["tick"])
        total += int(31 * ranks.sum() + 7 * cells[slots].sum())
    for far in books.far[_in_far(books)]:
        total += 31 * int(far["rank"]) + 7 * int(far["qty"])
    total &= (1 << 64) - 1
    return total - (1 << 64) if total >> 63 else total


def _in_far(books: Books) -> list[int]:
    found = []
    for side in books.sides:
        k = int(side["first"])
        while k >= 0:
            found.append(k)
            k = int(books.far[k]["next"])
    return found


def _compile(folder: Path) -> Path | None:
    compiler = shutil.which("g++")
    if compiler is None:
        return None
    peer = folder / "peer"
    command = [compiler, "-O3", "-march=native", "-std=c++17", "-o", str(peer), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PEER_S, check=False)
    if done.returncode:
        raise BookBenchError(f"{SOURCE.name} does not compile: {done.stderr[-2000:]}")
    return peer


def _theirs(peer: Path, file: Path, highest: int, count: int) -> dict[str, Any]:
    command = [str(peer), str(file), str(highest), str(count), "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PEER_S, check=False)
    if done.returncode:
        raise BookBenchError(f"the C++ peer ended with {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
