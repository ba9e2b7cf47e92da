"""From one run's columns to its cells: children by venue, and clients' orders by kind and size.

Worst case: as `replay.quality.read`; the cells themselves are few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np

from replay.decode import reason_name
from replay.quality import sums
from replay.quality.classify import categories, sizes
from replay.quality.read import Orders, Run
from replay.quality.settings import OTHER, Buckets
from replay.quality.sums import Cell, Columns, Key
from replay.report.gather import Array
from replay.report.orders import places

#: Dimensions of a child's and of an order's cell.
CHILD: Final = ("venue", "strategy", "client", "symbol", "currency", "category")
ORDER: Final = ("strategy", "client", "symbol", "currency", "category", "size")


class Cells(NamedTuple):
    """Cells by key, in the order of the dimensions above."""

    children: dict[Key, Cell]
    orders: dict[Key, Cell]


def collect(run: Run, buckets: Buckets) -> Cells:
    """The cells of one run."""
    return Cells(_children(run, buckets), _orders(run, buckets))


def _keys(parts: Sequence[tuple[Array, list[str]]]) -> tuple[list[Key], Array]:
    """(the combinations that occur, the index of each row's); parts are (index of each row, names)."""
    flat = np.zeros(len(parts[0][0]), dtype=np.int64)
    for index, names in parts:
        flat = flat * max(len(names), 1) + index
    values, place = np.unique(flat, return_inverse=True)
    keys = []
    for value in values.tolist():
        told = []
        for _, names in reversed(parts):
            value, at = divmod(value, max(len(names), 1))
            told.append(names[at])
        keys.append(tuple(reversed(told)))
    return keys, place


def _who(run: Run, orders: Orders, buckets: Buckets) -> list[tuple[Array, list[str]]]:
    """Strategy, client, symbol, currency and kind of orders."""
    instruments = run.config.instrument
    currencies = sorted({row.currency for row in instruments})
    currency = np.array([currencies.index(row.currency) for row in instruments], dtype=np.int64)
    kinds = [*(row.name for row in buckets.category), OTHER]
    return [
        (orders.strategy, run.strategies),
        (orders.client, run.clients),
        (orders.instrument, [row.symbol for row in instruments]),
        (currency[orders.instrument], currencies),
        (categories(orders, buckets, instruments), kinds),
    ]


def _cells(run: Run, keys: list[Key], symbol: int, parts: list[Columns]) -> dict[Key, Cell]:
    """Sums in shares or coins and the currency; `symbol` is the place of the symbol in a key."""
    units = {row.symbol: (10**row.px_decimals, 10**row.qty_decimals) for row in run.config.instrument}
    cells = {}
    for n, key in enumerate(keys):
        px, qty = units[key[symbol]]
        scale = {"n": 1, "q": qty, "v": px * qty, "m": 10**9, "t": qty}
        cell = cells[key] = Cell()
        for part in parts:
            cell.sums |= {name: Fraction(value, scale[name[0]]) for name, value in part.of(n)}
    return cells


def _children(run: Run, buckets: Buckets) -> dict[Key, Cell]:
    c, f = run.children, run.fills
    mics = [row.mic for row in run.config.venue]
    keys, cell = _keys([(run.venue.astype(np.int64), mics), *_who(run, c, buckets)])
    sent = Columns(cell, len(keys))
    sent.add("n_orders", 1)
    sent.add("q_ordered", c.qty)
    sent.add("n_filled", 1, np.bincount(f.child, minlength=len(cell)) > 0)
    late, (refused, reasons) = run.book.timeouts(), _refused(run)
    sent.add("n_timeouts", np.bincount(late, minlength=len(cell)))
    sent.add("n_rejects", np.bincount(refused, minlength=len(cell)))
    done = _executed(run, f.child, c, cell[f.child], len(keys))
    cells = _cells(run, keys, CHILD.index("symbol"), [sent, done])
    for place, reason in zip(cell[refused].tolist(), reasons, strict=True):
        cells[keys[place]].rejects[reason] += 1
    _times(cells, keys, cell, f.child, f.at_ns - c.at_ns[f.child])
    return cells


def _orders(run: Run, buckets: Buckets) -> dict[Key, Cell]:
    p, f, book = run.parents, run.fills, run.book
    names = [row.name for row in buckets.size]
    keys, cell = _keys([*_who(run, p, buckets), (sizes(p, buckets, run.config.instrument), names)])
    sent = Columns(cell, len(keys))
    sent.add("n_orders", 1)
    sent.add("q_ordered", book.ordered)
    sent.add("n_filled", 1, np.bincount(f.parent, minlength=len(cell)) > 0)
    sent.add("q_cancelled", np.where(book.done, np.maximum(book.ordered - book.cum - book.busted, 0), 0))
    done = _executed(run, f.parent, p, cell[f.parent], len(keys))
    waits = f.at_ns - p.at_ns[f.parent]
    bounds = np.array([0, *buckets.times_ms], dtype=np.int64) * 1_000_000
    within = np.searchsorted(bounds, waits, side="right") - 1
    for n in range(len(bounds)):
        done.add(f"q_within_{n}", f.qty, np.maximum(within, 0) == n)
    cells = _cells(run, keys, ORDER.index("symbol"), [sent, done])
    _times(cells, keys, cell, f.parent, waits)
    return cells


def _executed(run: Run, own: Array, orders: Orders, cell: Array, cells: int) -> Columns:
    """Sums over executions; `own` is the order of each, `cell` its cell."""
    f, done = run.fills, Columns(cell, cells)
    done.add("n_fills", 1)
    done.add("q_filled", f.qty)
    done.add("q_added", f.qty, f.added)
    done.add("q_removed", f.qty, ~f.added)
    done.add("m_notional", f.money)
    done.add("m_fees", f.fee)
    waits = f.at_ns - orders.at_ns[own]
    done.add("t_fill", sums.product(waits, f.qty))
    quote = orders.bid[own], orders.ask[own]
    sums.spreads(done, orders.sign[own], f.px, f.qty, quote, f.later)
    return done


def _times(cells: dict[Key, Cell], keys: list[Key], cell: Array, own: Array, waits: Array) -> None:
    """Time to the first execution of each order that had one."""
    orders, first = np.unique(own, return_index=True)  # executions are in the journal's order
    pairs, counts = np.unique(np.stack([cell[orders], sums.buckets_of(waits[first])]), axis=1, return_counts=True)
    for place, bucket, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
        cells[keys[place]].times[bucket] += count


def _refused(run: Run) -> tuple[Array, list[str]]:
    """(children that a venue refused, why)."""
    rows = run.book.venue_rejects()
    place, known = places(run.book.children["order_id"], rows["order_id"])
    return place[known], [reason_name(reason) for reason in rows["reason"][known].tolist()]


def rolled_up(cells: dict[Key, Cell], dimensions: Sequence[str], wanted: Sequence[str]) -> Iterator[tuple[Key, Cell]]:
    """Cells added up over all dimensions but the wanted ones, by key in order."""
    at = [dimensions.index(name) for name in wanted]
    found: dict[Key, Cell] = {}
    for key, cell in cells.items():
        found.setdefault(tuple(key[n] for n in at), Cell()).add(cell)
    yield from sorted(found.items())
