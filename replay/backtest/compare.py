"""A run again as a backtest, and the two held against each other order by order.

`again` takes configuration and orders from a run's journal, a live one's above all; played over the feed that it saw,
`compare` says of each order whether it came out the same, and where the two first went apart: what was seen at
arrival, what was sent, what the venues made of it. Processes cross in a live run: an order may meet the quote before or
the quote after, which a backtest, with one order of things, does not reproduce.

Worst case: cancels and replaces of clients are not taken over; orders that had them will differ.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from engine.io.journal_format import Kind
from engine.record.records import OrdType, Side, Template, Tif
from engine.run import manifest
from gateways.orders.parents import Parent
from replay.backtest.results import Result
from replay.backtest.settings import Backtest, Settings
from replay.report.gather import KEPT, gather
from replay.report.structs import Compared, Different, Measured, Total
from replay.times import time_text

_NEW: Final = (Kind.INPUT, Template.ORDER_NEW)
_NEEDED: Final = KEPT | {
    _NEW: "cl_ord_id account_id instrument_id side ord_type tif qty px ts_recv_ns min_qty display_qty"
}
_TOLD: Final = ("symbol", "side", "status", "filled_qty", "avg_px", "fee", "arrival_bid", "arrival_ask")

#: Columns of `compare`: `a` is the first run, `b` the second.
SCHEMA: Final = pa.schema(
    [
        pa.field(name, kind, metadata={"doc": doc})
        for name, kind, doc in (
            ("cl_ord_id", pa.string(), "ClOrdID"),
            ("symbol", pa.string(), "instrument"),
            ("side", pa.string(), "BUY, SELL or SELL_SHORT"),
            ("same", pa.bool_(), "same status, quantity, price and venues"),
            ("cause", pa.string(), "what kind of difference came first; empty where there was none"),
            ("why", pa.string(), "where the two first went apart; empty where they did not"),
            ("status_a", pa.string(), "OrdStatus in a"),
            ("status_b", pa.string(), "OrdStatus in b"),
            ("filled_qty_a", pa.float64(), "executed in a"),
            ("filled_qty_b", pa.float64(), "executed in b"),
            ("avg_px_a", pa.float64(), "average price in a"),
            ("avg_px_b", pa.float64(), "average price in b"),
            ("fee_a", pa.float64(), "fees in a"),
            ("fee_b", pa.float64(), "fees in b"),
            ("venues_a", pa.string(), "quantity executed by venue in a"),
            ("venues_b", pa.string(), "quantity executed by venue in b"),
        )
    ]
)


#: Kinds of difference.
ARRIVAL: Final = "the market at arrival"
ROUTING: Final = "what was sent"
EXECUTION: Final = "what a venue executed"
PRICE: Final = "prices"
MISSING: Final = "in one of them only"


class _Child(NamedTuple):
    """A child: what was sent, what of it was executed, its last status, and ns until it was first heard of."""

    mic: str
    qty: float
    px: float
    filled: float
    status: str
    answer_ns: int | None


def again(run_dir: str | Path) -> tuple[Settings, list[Parent]]:
    """Settings and parents of a run, to be played again: each order once, at the time at which the engine had it.

    JournalError, ManifestError: it cannot be read by this build.
    """
    found = gather(run_dir, _NEEDED)
    config = manifest.from_bytes(found.manifest).read_config()
    rows = found.table(*_NEW)
    rows = rows[(rows["instrument_id"] >= 0) & (rows["instrument_id"] < len(config.instrument))]
    names = np.ascontiguousarray(rows["cl_ord_id"]).view("S16").reshape(-1)
    _, first = np.unique(names, return_index=True)
    parents = [
        Parent(
            names[n].decode("ascii"),
            int(row["instrument_id"]),
            Side(int(row["side"])),
            int(row["qty"]),
            int(row["px"]),
            OrdType(int(row["ord_type"])),
            Tif(int(row["tif"])),
            int(row["account_id"]),
            int(row["ts_recv_ns"]),
            int(row["min_qty"]),
            int(row["display_qty"]),
        )
        for n, row in ((n, rows[n]) for n in np.sort(first).tolist())
    ]
    return Settings(config, Backtest()), parents


def compare(a: str | Path | Result, b: str | Path | Result) -> pa.Table:
    """A row for each order of either run, in the order of their ClOrdIDs; see SCHEMA."""
    runs = [run if isinstance(run, Result) else Result(run) for run in (a, b)]
    orders, sent, done = list(map(_orders, runs)), list(map(_sent, runs)), list(map(_done, runs))
    rows = []
    for name in sorted(orders[0].keys() | orders[1].keys()):
        here, there = (told.get(name) for told in orders)
        row: dict[str, Any] = {"cl_ord_id": name}
        for mark, told, fills in zip("ab", (here, there), done, strict=True):
            for key in ("status", "filled_qty", "avg_px", "fee"):
                row[f"{key}_{mark}"] = told[key] if told is not None else None
            row[f"venues_{mark}"] = _by_venue(fills.get(name, []))
        known = here or there
        assert known is not None
        row["symbol"], row["side"] = known["symbol"], known["side"]
        if here is None or there is None:
            row["cause"], row["why"] = MISSING, f"only in {'b' if here is None else 'a'}"
        else:
            row["cause"], row["why"] = _why(row, here, there, sent[0].get(name, []), sent[1].get(name, []))
        row["same"] = not row["why"]
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def summary(table: pa.Table, a: str | Path, b: Result, found: Measured) -> Compared:
    """What a table of `compare` comes to. `found` is what run a measured."""
    causes = Counter(cause for cause in table["cause"].to_pylist() if cause)
    rows = zip(*(table[name].to_pylist() for name in ("cl_ord_id", "cause", "why")), strict=True)
    told = [Result(a).summary(), b.summary()]
    names = ("fills", "children", "notional", "fees", "shortfall_bps", "shortfall_with_fees_bps")
    symbols = list(dict.fromkeys([*told[0]["quantities"], *told[1]["quantities"]]))
    filled = [[one["quantities"].get(symbol, {}).get("filled", 0) for one in told] for symbol in symbols]
    of = [f" of {symbol}" if len(symbols) > 1 else "" for symbol in symbols]
    totals = [Total(name=f"filled quantity{text}", a=a, b=b) for text, (a, b) in zip(of, filled, strict=True)]
    totals += [Total(name=name.replace("_", " "), a=told[0][name], b=told[1][name]) for name in names]
    terms = msgspec.json.decode((b.run_dir / "backtest.json").read_bytes())
    return Compared(
        run_dir=str(a),
        orders=len(table),
        same=sum(table["same"].to_pylist()),
        causes=dict(causes.most_common()),
        totals=totals,
        different=[Different(cl_ord_id=name, cause=cause, why=why) for name, cause, why in rows if why],
        measured=found,
        played_us={venue.mic: venue.latency_us for venue in b.config.venue},
        played_feed_us=int(terms["feed_latency_us"]),
    )


def _why(
    row: dict[str, Any], a: dict[str, Any], b: dict[str, Any], sent_a: list[_Child], sent_b: list[_Child]
) -> tuple[str, str]:
    """Where two lives of an order went apart: (cause, text)."""
    if all(row[f"{key}_a"] == row[f"{key}_b"] for key in ("status", "filled_qty", "avg_px", "venues")):
        return "", ""
    markets = [(told["arrival_bid"], told["arrival_ask"]) for told in (a, b)]
    if markets[0] != markets[1]:
        shown = " and ".join(f"{_px(bid)} / {_px(ask)}" for bid, ask in markets)
        return ARRIVAL, f"saw another market at arrival: {shown}"
    for n, (one, other) in enumerate(zip(sent_a, sent_b, strict=False)):
        if one[:3] != other[:3]:
            return ROUTING, f"child {n + 1} was another: {_child(one)} and {_child(other)}"
        if one.filled != other.filled:
            text = f"{one.mic} executed {one.filled:g} and {other.filled:g} of child {n + 1} ({_child(one)})"
            return EXECUTION, f"{text}: {_end(one)}, and {_end(other)}"
    if len(sent_a) != len(sent_b):
        return ROUTING, f"{len(sent_a)} and {len(sent_b)} children"
    return PRICE, "the venues executed at other prices"


def _end(child: _Child) -> str:
    """How a child ended, and when the engine first heard of it."""
    return child.status + (" without an answer" if child.answer_ns is None else f" after {time_text(child.answer_ns)}")


def _px(px: float | None) -> str:
    return "none" if px is None else f"{px:g}"


def _child(child: _Child) -> str:
    return f"{child.qty:g} at {child.px:g} to {child.mic}"


def _by_venue(fills: list[tuple[str, float]]) -> str:
    sums: dict[str, float] = defaultdict(float)
    for mic, qty in fills:
        sums[mic] += qty
    return ", ".join(f"{mic} {qty:g}" for mic, qty in sorted(sums.items()) if qty)


def _orders(result: Result) -> dict[str, dict[str, Any]]:
    table = result.tables.orders
    columns = [table[name].to_pylist() for name in _TOLD]
    rows = (dict(zip(_TOLD, values, strict=True)) for values in zip(*columns, strict=True))
    return dict(zip(table["cl_ord_id"].to_pylist(), rows, strict=True))


def _sent(result: Result) -> dict[str, list[_Child]]:
    """Children of each order as they left."""
    found: dict[str, list[_Child]] = defaultdict(list)
    table = result.children()
    names = ("cl_ord_id", "mic", "qty", "px", "filled_qty", "status")
    columns = [table[column].to_pylist() for column in names]
    times = [table[column].cast(pa.int64()).to_pylist() for column in ("time", "first_report")]
    for name, mic, qty, px, filled, status, sent_ns, heard_ns in zip(*columns, *times, strict=True):
        found[name].append(_Child(mic, qty, px, filled, status, None if heard_ns is None else heard_ns - sent_ns))
    return found


def _done(result: Result) -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = defaultdict(list)
    table = result.fills()
    for name, mic, qty in zip(*(table[column].to_pylist() for column in ("cl_ord_id", "mic", "qty")), strict=True):
        found[name].append((mic, qty))
    return found
