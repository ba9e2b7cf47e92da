"""Which kind and size an order is, by the buckets of `replay.quality.settings`."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Final

import numpy as np

from engine.record.records import OrdType, Tif
from engine.run.config import Instrument
from replay.quality.read import Orders
from replay.quality.settings import Buckets, Category
from replay.report.gather import Array

#: Where a limit price may lie, from the best for the other side to the worst.
PLACEMENTS: Final = ("none", "far", "beyond_mid", "mid", "inside", "near", "behind")


def placements(orders: Orders) -> Array:
    """Index in PLACEMENTS of each order's price against its reference; a market order's is `far` where there is one."""
    known, double = orders.bid > 0, orders.sign * (2 * orders.px - orders.bid - orders.ask)
    buys = orders.sign > 0
    far = orders.sign * (orders.px - np.where(buys, orders.ask, orders.bid)) >= 0
    near = orders.sign * (orders.px - np.where(buys, orders.bid, orders.ask))
    told: Array = np.select(
        [~known, far | (orders.ord_type == OrdType.MARKET), double > 0, double == 0, near > 0, near == 0],
        [0, 1, 2, 3, 4, 5],
        6,
    )
    return told


def categories(orders: Orders, buckets: Buckets, instruments: list[Instrument]) -> Array:
    """Index in `buckets.category` of each order's kind; its length where none takes the order."""
    place = placements(orders)
    told = np.full(len(place), len(buckets.category))
    for n, row in reversed(list(enumerate(buckets.category))):
        told[_takes(row, orders, place, instruments)] = n
    return told


def _takes(row: Category, orders: Orders, place: Array, instruments: list[Instrument]) -> Array:
    good = np.ones(len(place), dtype=bool)
    if row.ord_type:
        good &= np.isin(orders.ord_type, [OrdType[name] for name in row.ord_type])
    if row.tif:
        good &= np.isin(orders.tif, [Tif[name] for name in row.tif])
    if row.placement:
        good &= np.isin(place, [PLACEMENTS.index(name) for name in row.placement])
    if row.within:
        near = orders.sign * (np.where(orders.sign > 0, orders.bid, orders.ask) - orders.px)
        units = [int(Fraction(row.within) * 10**i.px_decimals) for i in instruments]
        good &= near <= np.array(units, dtype=np.int64)[orders.instrument]
    return good


def sizes(orders: Orders, buckets: Buckets, instruments: list[Instrument]) -> Array:
    """Index in `buckets.size` of each order's quantity."""
    told = np.zeros(len(orders.qty), dtype=np.int64)
    for at, row in enumerate(instruments):
        lot = Fraction(row.lot) * 10**row.qty_decimals
        least = np.array([ceil(Fraction(size.least_lots) * lot) for size in buckets.size])
        mine = orders.instrument == at
        told[mine] = np.searchsorted(least, orders.qty[mine], side="right") - 1
    return told
