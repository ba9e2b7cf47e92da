"""A run's quotes as its engine counted them, and the trades on books, from what a pass over its journal keeps.

The engine takes a venue's quotes for void after a CLEAR, after a gap in its stream or a restart of its publisher, and
while it has the instrument halted, closed or in an auction. Here each of these is a row as a QUOTE's without a
quantity on either side, of all instruments where `instrument_id` is -1, and a quote that came during a halt is one
too: the last row of a venue then says what holds. What the engine refused (repeated, or impossible) is left out. Gaps
and refusals are the engine's own, from the alerts and refusals that it journaled.

Worst case: the last input of a part waits for the next part, as what the engine said of it may lie there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import numpy as np

from engine.io.journal_format import Kind
from engine.record.records import Flag, Reason, Template
from replay.report.gather import Array, Kept

#: What a row says: of a QUOTE, and of what voids one.
QUOTES: Final = "venue_id instrument_id bid_px bid_qty ask_px ask_qty flags ts_recv_ns"
_QUOTE, _TRADE = (Kind.INPUT, Template.QUOTE), (Kind.INPUT, Template.TRADE)
_CLEAR, _STATUS = (Kind.INPUT, Template.CLEAR), (Kind.INPUT, Template.INSTRUMENT_STATUS)
_ALERT, _REFUSAL = (Kind.OUTPUT, Template.ALERT), (Kind.OUTPUT, Template.REFUSAL)
#: What a pass has to keep for it, without the trades.
OF_QUOTES: Final[Kept] = {
    _QUOTE: QUOTES,
    _CLEAR: "venue_id instrument_id ts_recv_ns",
    _STATUS: "venue_id instrument_id status ts_recv_ns",
    _ALERT: "code value ts_event_ns",
    _REFUSAL: "",
}
#: The same with the trades.
NEEDED: Final[Kept] = OF_QUOTES | {_TRADE: "instrument_id px qty flags ts_recv_ns"}
#: The rows, with their place in the journal, and what they are: a gap comes before the record that showed it.
ROW: Final = np.dtype(
    [
        ("seq", "<i8"),
        ("what", "<i2"),
        ("status", "<i2"),
        ("venue_id", "<i4"),
        ("instrument_id", "<i4"),
        ("flags", "<i4"),
    ]
    + [(name, "<i8") for name in ("bid_px", "bid_qty", "ask_px", "ask_qty", "ts_recv_ns")]
)
_IS_GAP, _IS_CLEAR, _IS_QUOTE, _IS_STATUS = range(4)
_GAPS: Final = (Reason.SEQUENCE_GAP, Reason.PEER_RESTARTED)
_LAST_NS: Final = np.iinfo(np.int64).max


def counted(parts: Iterable[Mapping[tuple[Kind, Template], Array]]) -> Iterator[tuple[Array, Array, int]]:
    """(rows, trades on books, time before which there will be no more), part by part of what `gather_parts` keeps."""
    held, halted = np.zeros(0, dtype=ROW), np.zeros(0, dtype=np.int64)
    traded: Array | None = None
    for found in parts:
        rows = np.concatenate([held, _rows(found)])
        trades = found.get(_TRADE)
        if trades is not None:
            traded = trades if traded is None else np.concatenate([traded, trades])
        refused = found[_REFUSAL]["input_seq"]
        rows = rows[~np.isin(rows["seq"], refused) | (rows["what"] == _IS_GAP)]
        rows = rows[np.lexsort((rows["what"], rows["seq"]))]
        if traded is not None:
            traded = traded[~np.isin(traded["seq"], refused)]
        last = max((int(r["seq"][-1]) for r in (rows, traded) if r is not None and len(r)), default=0)
        ready, held = rows[rows["seq"] < last], rows[rows["seq"] == last]
        now, traded = (None, None) if traded is None else (traded[traded["seq"] < last], traded[traded["seq"] == last])
        waiting = [int(r["ts_recv_ns"][0]) for r in (held, traded) if r is not None and len(r)]
        if waiting:
            ready, halted = _settled(ready, halted)
            yield ready, _on_books(now), min(waiting)
    rows, _ = _settled(held, halted)
    yield rows, _on_books(traded), _LAST_NS


def of_instrument(rows: Array, instrument: int) -> Array:
    """The rows that say something of one instrument."""
    mine: Array = rows[(rows["instrument_id"] == instrument) | (rows["instrument_id"] < 0)]
    return mine


def _rows(found: Mapping[tuple[Kind, Template], Array]) -> Array:
    """The rows of a part, in no order."""
    alerts = found[_ALERT]
    alerts = alerts[np.isin(alerts["code"], _GAPS) & (alerts["cause"] <= Template.VENUE_DEF)]
    gaps = np.zeros(len(alerts), dtype=ROW)
    gaps["seq"], gaps["venue_id"], gaps["ts_recv_ns"] = alerts["input_seq"], alerts["value"], alerts["ts_event_ns"]
    gaps["instrument_id"], gaps["what"] = -1, _IS_GAP
    parts = [gaps]
    for key, what in ((_QUOTE, _IS_QUOTE), (_CLEAR, _IS_CLEAR), (_STATUS, _IS_STATUS)):
        table = found[key]
        part = np.zeros(len(table), dtype=ROW)
        for name in table.dtype.names or ():
            if name in (ROW.names or ()):
                part[name] = table[name]
        part["what"] = what
        parts.append(part)
    return np.concatenate(parts)


def _settled(rows: Array, halted: Array) -> tuple[Array, Array]:
    """Rows with the quotes that came during halts as void, without the ends of halts; and the pairs halted then.

    A pair is venue * 2^32 + instrument. After the end of a halt a quote has to come, so that its end changes nothing.
    """
    states = rows["what"] == _IS_STATUS
    if not (len(halted) or states.any()):
        return rows, halted
    pairs = rows["venue_id"].astype(np.int64) << 32 | rows["instrument_id"]
    void, kept, now = np.zeros(len(rows), dtype=bool), ~states, []
    for pair in np.union1d(halted, pairs[states]):
        mine = np.flatnonzero((pairs == pair) & (rows["what"] >= _IS_QUOTE))
        said = np.maximum.accumulate(np.where(states[mine], np.arange(len(mine)), -1))
        shut = np.where(said >= 0, rows["status"][mine][said] != 0, bool(np.isin(pair, halted)))
        void[mine], kept[mine] = shut, shut | ~states[mine]
        if not len(mine) or shut[-1]:
            now.append(int(pair))
    rows = rows.copy()
    rows["bid_qty"][void] = rows["ask_qty"][void] = 0
    return rows[kept], np.array(now, dtype=np.int64)


def _on_books(trades: Array | None) -> Array:
    if trades is None:
        return np.zeros(0, dtype=ROW)
    on_books: Array = trades[(trades["flags"] & Flag.OFF_BOOK) == 0]
    return on_books
