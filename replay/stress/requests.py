"""What clients asked for within an interval, to be asked again: from a run's journal, or from a list of parents.

A request that names an order of before the interval brings that order along: it is sent as the interval begins, with
the terms that it was first given. Each time that the interval is played every order has a ClOrdID of its own; requests
of one order keep naming the same. What names an order by the engine's id alone cannot be asked again, and is counted.

Worst case: times of all requests of the day are in memory (8 bytes each), the records of the interval alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from engine.io.journal_format import FRAME_HEADER, Kind
from engine.io.journal_reader import JournalReader
from engine.record.records import DTYPES, ORDER, RECORD_MAX, Scope, Template
from engine.run.config import Config
from gateways.orders import requests as records
from gateways.orders.parents import Parent
from gateways.orders.status import Order
from replay.report.gather import Array

#: What a client may ask for.
KINDS: Final = (
    Template.ORDER_NEW, Template.ORDER_REPLACE, Template.ORDER_CANCEL, Template.MASS_CANCEL, Template.STATUS_REQUEST,
    Template.CONTROL,
)  # fmt: skip
_WORDS: Final = RECORD_MAX // 8
#: Word of a record in which its ClOrdID begins; 0 where it has none.
_NAME: Final = np.zeros(64, dtype=np.int64)
for _template in KINDS:
    if "cl_ord_id" in (DTYPES[_template].names or ()):
        _NAME[_template] = DTYPES[_template].fields["cl_ord_id"][1] // 8  # type: ignore[index]
#: Words of a record's prefix, and that of its order_id (the engine's own).
_HEAD, _STREAM, _RECV, _ORDER_ID = 0, 1, 4, 5
_ROWS: Final = 1 << 14
_DIGITS: Final = np.frombuffer(b"0123456789ABCDEF", dtype=np.uint8)


class Requests(NamedTuple):
    """Requests in the order of their times: records of 16 words, the sessions (of the configuration) that they came
    on, and which order of the interval each names, by number; -1: none.
    """

    times: Array
    sessions: Array
    words: Array
    orders: Array
    #: Of these, orders of before the interval, which are sent as it begins.
    opening: int
    left_out: int

    @property
    def recorded(self) -> int:
        """How many the interval had."""
        return len(self.times) - self.opening


class Load(NamedTuple):
    """Requests as they are sent: records, when each is due (ns from the origin of their times), and its session."""

    rows: Array
    due_ns: Array
    sessions: Array


def none() -> Requests:
    """No requests."""
    empty = np.zeros(0, dtype=np.int64)
    return Requests(empty, empty, np.zeros((0, _WORDS), dtype=np.int64), empty, 0, 0)


def times_of_run(run_dir: Path, config: Config) -> Array:
    """When a run's engine had each request of a client, ns. JournalError."""
    found = [times for times, _, _ in _records(run_dir, config, 0, 1 << 62)]
    return np.concatenate([np.zeros(0, dtype=np.int64), *found])


def of_run(run_dir: Path, config: Config, begin_ns: int, end_ns: int) -> Requests:
    """The requests of an interval of a run, at the times at which its engine had them."""
    empty = none()
    found = [(empty.times, empty.sessions, empty.words), *_records(run_dir, config, begin_ns, end_ns)]
    times, sessions, words = (np.concatenate(parts) for parts in zip(*found, strict=True))
    named = _NAME[_kinds(words)] > 0
    nameless = named & (_names(words)[:, 0] == 0)
    times, sessions, words, named = (part[~nameless] for part in (times, sessions, words, named))
    early = _opening(run_dir, config, begin_ns, _unknown(sessions, words, named))
    opening = len(early)
    if opening:
        times = np.concatenate([np.full(opening, begin_ns), times])
        sessions = np.concatenate([np.array([key[0] for key in early]), sessions])
        words = np.concatenate([np.stack(list(early.values())), words])
        named = np.concatenate([np.ones(opening, dtype=bool), named])
    return Requests(times, sessions, words, _numbered(sessions, words, named), opening, int(nameless.sum()))


def of_parents(parents: Sequence[Parent], session: int, begin_ns: int, end_ns: int) -> Requests:
    """The orders among parents whose time is in an interval, all on one session."""
    chosen = sorted((p for p in parents if begin_ns <= p.at_ns < end_ns), key=lambda parent: parent.at_ns)
    if not chosen:
        return none()
    words = np.stack([records.new_order(_order(parent), 0).view("<i8") for parent in chosen])
    times = np.array([parent.at_ns for parent in chosen], dtype=np.int64)
    return Requests(times, np.full(len(chosen), session), words, np.arange(len(chosen)), 0, 0)


def _order(p: Parent) -> Order:
    terms = (p.cl_ord_id, p.instrument_id, p.side, p.qty, p.px, p.ord_type, p.tif, p.account_id, 0)
    return Order(*terms, p.min_qty, p.display_qty, leaves_qty=p.qty)


def _records(run_dir: Path, config: Config, begin_ns: int, end_ns: int) -> Iterator[tuple[Array, Array, Array]]:
    """(times, sessions, records) of clients' requests, some thousand frames of a journal at a time."""
    clients = [n for n, row in enumerate(config.session) if row.role == "client"]
    with JournalReader(run_dir) as reader:
        for chunk in reader.chunks(_ROWS):
            rows = chunk.rows[chunk.rows["kind"] == Kind.INPUT]
            starts = (rows["offset"].astype(np.int64) + FRAME_HEADER) // 8
            words = chunk.memory.view("<i8")
            times, sessions = words[starts + _RECV], words[starts + _STREAM] << 16 >> 48
            picked = np.isin(words[starts] >> 16 & 0xFFFF, KINDS) & np.isin(sessions, clients)
            picked &= (times >= begin_ns) & (times < end_ns)
            if picked.any():
                yield times[picked], sessions[picked], _whole(words, starts[picked], rows["length"][picked] // 8)


def _whole(words: Array, starts: Array, counts: Array) -> Array:
    """Records of `counts` words as rows of 16, zeros behind the shorter ones."""
    places = starts[:, None] + np.arange(_WORDS)
    found: Array = np.where(np.arange(_WORDS) < counts[:, None], words[np.minimum(places, len(words) - 1)], 0)
    return found


def _kinds(words: Array) -> Array:
    found: Array = words[:, _HEAD] >> 16 & 0xFFFF
    return found


def _names(words: Array) -> Array:
    """The two words of each record's ClOrdID; zeros where its kind has none."""
    at = _NAME[_kinds(words)]
    both = np.take_along_axis(words, np.stack([at, at + 1], axis=1), axis=1) if len(words) else words[:, :2]
    found: Array = np.where(at[:, None] > 0, both, 0)
    return found


def _keys(sessions: Array, words: Array) -> list[tuple[int, int, int]]:
    found: list[Any] = np.column_stack([sessions, _names(words)]).tolist()
    return [tuple(row) for row in found]


def _unknown(sessions: Array, words: Array, named: Array) -> set[tuple[int, int, int]]:
    """Orders that are named before the interval has them."""
    known: set[tuple[int, int, int]] = set()
    missing: set[tuple[int, int, int]] = set()
    for key, kind, has in zip(_keys(sessions, words), _kinds(words).tolist(), named.tolist(), strict=True):
        if kind == Template.ORDER_NEW:
            known.add(key)
        elif has and key not in known:
            missing.add(key)
    return missing


def _opening(
    run_dir: Path, config: Config, begin_ns: int, wanted: set[tuple[int, int, int]]
) -> dict[tuple[int, int, int], Array]:
    """The orders of these names, as they were last sent before a time."""
    found: dict[tuple[int, int, int], Array] = {}
    if not wanted:
        return found
    for _, sessions, words in _records(run_dir, config, 0, begin_ns):
        new = _kinds(words) == Template.ORDER_NEW
        for key, row in zip(_keys(sessions[new], words[new]), words[new], strict=True):
            if key in wanted:
                found[key] = row
    return found


def _numbered(sessions: Array, words: Array, named: Array) -> Array:
    """The order that each request names, by number."""
    numbers: dict[tuple[int, int, int], int] = {}
    keys = _keys(sessions, words)
    found = [
        numbers.setdefault(key, len(numbers)) if has else -1 for key, has in zip(keys, named.tolist(), strict=True)
    ]
    return np.array(found, dtype=np.int64)


def faster(asked: Requests, span: tuple[int, int], rate: float, copies: int, first: int) -> Load:
    """An interval's requests, `copies` times one after another, at `rate` times its pace; due times count from its
    begin. Orders are named from number `first` on.
    """
    begin_ns, end_ns = span
    count, each = len(asked.times), int(asked.orders.max(initial=-1)) + 1
    copy = np.repeat(np.arange(copies), count)
    since = np.tile(asked.times - begin_ns, copies) + copy * (end_ns - begin_ns)
    words = np.tile(asked.words, (copies, 1))
    orders = np.tile(asked.orders, copies)
    named = np.flatnonzero(orders >= 0)
    at = _NAME[_kinds(words[named])]
    for k, word in enumerate(_ids(orders[named] + copy[named] * each + first).T):
        words[named, at + k] = word
    words[named, _ORDER_ID] = 0
    words[:, _RECV] = 0
    rows = np.ascontiguousarray(words).view(ORDER).reshape(-1)
    return Load(rows, (since / rate).astype(np.int64), np.tile(asked.sessions, copies))


def _ids(numbers: Array) -> Array:
    """Numbers as ClOrdIDs, 16 hexadecimal digits: two words each."""
    digits = numbers[:, None] >> np.arange(60, -4, -4) & 15
    return np.ascontiguousarray(_DIGITS[digits]).view("<i8")


def cancel_all(sessions: Sequence[int]) -> Load:
    """One request a session: all that it has is to be cancelled, at once."""
    row = records.mass_cancel(None)
    assert row["scope"][0] == Scope.ALL
    words = np.zeros((len(sessions), _WORDS), dtype=np.int64)
    words[:, : row.nbytes // 8] = row.view("<i8")
    return Load(words.view(ORDER).reshape(-1), np.zeros(len(sessions), dtype=np.int64), np.array(sessions))
