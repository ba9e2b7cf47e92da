"""What passes is looked at: books, touches, clocks, against a slow account of the same records."""

from __future__ import annotations

import random

import numpy as np
import pytest

from engine.record.records import DTYPES, UNIT, Flag, Side, Template
from gateways.formats.batch import make_batch, new_clear, new_delta, new_level, new_quote, new_trade, taken
from gateways.formats.watch import MOST_INSTRUMENTS, make_feed_books, make_watch, watch_batch
from tests.book.naive import BUY, SELL, Naive

S = 1_000_000_000


def records_of(batch):
    """The records of a batch, one by one, as numpy scalars of their kinds."""
    data, at, found = taken(batch), 0, []
    while at < len(data):
        dtype = DTYPES[Template(int(data[at + 2 : at + 4].view("<u2")[0]))]
        found.append(data[at : at + dtype.itemsize].view(dtype)[0].copy())
        at += dtype.itemsize
    return found


def best(twin):
    bids, asks = twin.levels()
    return (*(bids[0][:2] if bids else (0, 0)), *(asks[0][:2] if asks else (0, 0)))


@pytest.mark.kernel
@pytest.mark.parametrize("seed", range(3))
def test_touches_become_quotes_and_all_is_counted(seed):
    dice = random.Random(seed)
    watch, books = make_watch(), make_feed_books(orders=256)
    twins: dict[tuple[int, int], Naive] = {}
    shown: dict[tuple[int, int], tuple[int, ...]] = {}
    expected, quotes, took, crossed, trades, volume = [], [], [], 0, 0, 0
    now = 1_700_000_000 * S
    for _ in range(12):
        batch, out = make_batch(128), make_batch(256)
        for _ in range(40):
            venue, instrument = dice.randrange(2), dice.randrange(3)
            key = (venue, instrument)
            twin = twins.setdefault(key, Naive())
            now += dice.randrange(10**6)
            recv = now + dice.randint(-(10**6), 10**7)
            took.append(recv - now)
            if dice.random() < 0.1:
                i = new_trade(batch, venue, instrument, now, recv)
                batch.trade[i].px, batch.trade[i].qty = 100, 7
                trades, volume = trades + 1, volume + 7
                expected.append((Template.TRADE, key))
                continue
            if dice.random() < 0.03:
                new_clear(batch, venue, instrument, now, recv, 0)
                twin.clear()
                shown.pop(key, None)
                expected.append((Template.CLEAR, key))
                continue
            side, px, qty = dice.choice((BUY, SELL)), 10_000 + 100 * dice.randint(-9, 9), dice.randrange(4)
            more = dice.random() < 0.3
            if instrument < 2:
                i = new_level(batch, venue, instrument, now, recv)
                row = batch.level[i]
                row.side, row.px, row.qty, row.action = side, px, qty, 1
                twin.put(side, px, qty)
            else:
                i = new_delta(batch, venue, instrument, now, recv)
                row = batch.delta[i]
                row.side, row.px, row.qty, row.action = side, px, qty, 0
                row.venue_order = number = dice.randrange(1, 60)
                twin.add(side, number, px, qty)
            row["flags"] = Flag.MORE if more else 0
            if not more:
                # An order added again may leave quantity and price as they were and change the number of orders.
                orders = tuple(len([o for o in twin.orders.values() if (o.side, o.px) == (s, p)])
                               for s, p in ((BUY, best(twin)[0]), (SELL, best(twin)[2])))  # fmt: skip
                state = (*best(twin), *orders)
                if shown.get(key) != state:
                    shown[key] = state
                    expected.append((Template.QUOTE, key))
                    quotes.append(best(twin))
                    crossed += state[1] > 0 and state[3] > 0 and state[0] > state[2]
        watch_batch(watch, books, batch, out, 1)
        got = records_of(out)
        assert [(int(r["template_id"]), (int(r["venue_id"]), int(r["instrument_id"]))) for r in got] == expected
        names = ("bid_px", "bid_qty", "ask_px", "ask_qty")
        assert [tuple(int(r[n]) for n in names) for r in got if r["template_id"] == Template.QUOTE] == quotes
        expected, quotes = [], []
    seen = watch.seen[0]
    assert int(seen["crossed"]) == crossed
    assert (int(watch.kinds[Template.TRADE]), int(watch.of_book["volume"].sum())) == (trades, volume)
    assert [int(seen[n]) for n in ("timed", "negative", "least_ns", "most_ns")] == [
        len(took), sum(t < 0 for t in took), min(took), max(took)
    ]  # fmt: skip
    kept = np.sort(watch.samples[: int(seen["samples"])])
    assert kept.tolist() == sorted(took)
    assert int(books.core[0]["dangling"]) == 0


@pytest.mark.kernel
def test_what_has_no_book_is_counted():
    watch, books, batch, out = make_watch(), make_feed_books(orders=64), make_batch(32), make_batch(64)
    for instrument in (-1, 0, MOST_INSTRUMENTS):
        i = new_quote(batch, 0, instrument, S, 0)
        batch.quote[i].bid_px, batch.quote[i].bid_qty = 5, 1
    new_trade(batch, 64, 0, S - 1, 0)
    watch_batch(watch, books, batch, out, 0)
    assert int(watch.seen[0]["turned_away"]) == 2
    assert int(watch.seen[0]["late"]) == 1
    assert int(watch.seen[0]["timed"]) == 0
    assert len(taken(out)) == 0
    assert UNIT == 64
    assert int(Side.BUY) == BUY
