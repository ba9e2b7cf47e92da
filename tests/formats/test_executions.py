"""TRADEs of the executions that orders alone tell of, against slow accounts of orders and of files."""

from __future__ import annotations

import random
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from engine.record.records import Flag, Template
from gateways.feeds.names import Symbol
from gateways.formats import fit
from gateways.formats.batch import make_batch, new_clear, new_delta, new_quote
from gateways.formats.convert import convert
from gateways.formats.fit import Fitted, Target, Wanted
from gateways.formats.reader import Counts, Instrument, Reader
from gateways.formats.watch import make_feed_books
from tests.book.naive import BUY, SELL, Naive
from tests.feeds_path import feed_path
from tests.formats import itch_made
from tests.formats.itch_twin import midnight_ns
from tests.formats.test_fit import T0
from tests.formats.test_watch import best, records_of

ADD, CHANGE, DELETE, EXECUTE, REDUCE, REPLACE = range(6)
NAMES = ("side", "action", "flags", "px", "qty", "venue_order", "new_order", "exec_px", "match_id")
TARGET = Target({"N": 0, "Q": 1}, {"AA": Symbol(1, 4, 0), "BB": Symbol(0, 2, 3)}, [10**12] * 2)
#: Instrument of the file -> ours, and what makes its prices and quantities ours: multiplied, then divided.
OURS = {0: (1, (1, 100), (1, 1)), 1: (0, (100, 1), (1, 100))}
LOBSTER = "AAPL_2012-06-21_34200000_57600000_message_10.csv"


@pytest.fixture(autouse=True)
def small_books(monkeypatch):
    """A CLEAR walks through all places of orders."""
    monkeypatch.setattr(fit, "make_feed_books", lambda books: make_feed_books(books, orders=1 << 12))


class Deltas(Reader):
    """Changes of orders as given (venue, instrument, ns, values); values of None are a CLEAR of the instrument."""

    format = "made"

    def __init__(self, rows, size):
        self.path, self.rows, self.size, self.counts = Path("made"), rows, size, Counts()
        self.venues, self.instruments = ["N", "Q"], [Instrument("AA", 6, 0), Instrument("BB", 0, 5)]

    def batches(self):
        for at in range(0, len(self.rows), self.size):
            batch = make_batch(2 * self.size)
            for venue, instrument, ns, values in self.rows[at : at + self.size]:
                if values is None:
                    new_clear(batch, venue, instrument, ns, ns + 5, 0)
                    continue
                delta = batch.delta[new_delta(batch, venue, instrument, ns, ns + 5)]
                for name, value in zip(NAMES, values, strict=True):
                    delta[name] = value
            yield batch

    def close(self):
        pass


def some_rows(seed, count=700):
    """Mostly of orders that are there; prices of AA have two decimals more than ours, and some executions' a third."""
    dice = random.Random(seed)
    rows: list[tuple[int, int, int, tuple[int, ...] | None]] = []
    for n in range(count):
        venue, instrument = dice.randrange(2), dice.randrange(2)
        if dice.random() < 0.01:
            rows.append((venue, instrument, T0 + 100 * n, None))
            continue
        px, qty = dice.randint(90, 110) * (100, 1)[instrument], dice.randint(1, 6) * (1, 100)[instrument]
        action = dice.choice((ADD, ADD, ADD, ADD, CHANGE, DELETE, EXECUTE, EXECUTE, EXECUTE, REDUCE, REPLACE))
        flags, own, match = Flag.MORE if dice.random() < 0.2 else 0, 0, 0
        if action == EXECUTE:
            flags |= dice.choice(
                (Flag.PRINT, Flag.PRINT, Flag.PRINT, Flag.NOT_PRINTED, Flag.NOT_PRINTED | Flag.PRINT, 0)
            )
            own = dice.choice((0, 0, px, px, px + 1 if instrument == 0 else px))
            match = dice.choice((0, 0, 9))
            px = dice.choice((0, 0, px))
        elif dice.random() < 0.2:
            flags, match = flags | Flag.PRINT, 5  # on what is no execution they say nothing
        side = dice.choice((BUY, SELL)) if action != EXECUTE or px else 0
        numbers = [dice.randint(1, 25), dice.randint(1, 25) if action == REPLACE else 0]
        rows.append((venue, instrument, T0 + 100 * n, (side, action, flags, px, qty, *numbers, own, match)))
    return rows


class Account:
    """The slow account: (kind, venue, instrument, ns, ...) of all that is given on."""

    def __init__(self, *, deep, ours=True):
        self.deep, self.ours, self.books, self.shown = deep, ours, {}, {}
        self.given, self.untold, self.by_orders, self.made = [], 0, set(), 0

    def units(self, instrument, px, qty):
        """In our units, or None."""
        _, by_px, by_qty = OURS[instrument]
        if not self.ours:
            return px, qty
        if px * by_px[0] % by_px[1] or qty * by_qty[0] % by_qty[1]:
            return None
        return px * by_px[0] // by_px[1], qty * by_qty[0] // by_qty[1]

    def take(self, venue, instrument, ns, values):
        key, head = (venue, instrument), (venue, OURS[instrument][0] if self.ours else instrument, ns)
        book = self.books.setdefault(key, Naive())
        if values is None:
            book.clear()
            self.shown.pop(key, None)
            self.given.append(("CLEAR", *head))
            return
        side, action, flags, px, qty, number, new, own, match = values
        if self.deep and self.units(instrument, own, 0):
            self.given.append(("ORDER_DELTA", *head))
        if action == EXECUTE and not flags & Flag.NOT_PRINTED and (flags & Flag.PRINT or match):
            self.executed(book, head, instrument, values)
        book.delta(action, side, number, new, px, qty)
        top = best(book)
        at_top = (
            sum((o.side, o.px) == (s, p) for o in book.orders.values()) for s, p in ((BUY, top[0]), (SELL, top[2]))
        )
        state = (*top, *at_top)
        if flags & Flag.MORE == 0 and self.shown.get(key) != state:
            self.shown[key] = state
            bid, ask = self.units(instrument, *top[:2]), self.units(instrument, *top[2:])
            self.given.append(("QUOTE", *head, *bid, *ask))

    def executed(self, book, head, instrument, values):
        side, _, _, px, qty, number, _, own, _ = values
        order = book.orders.get(number)
        if order is not None:
            side, px, qty = order.side, order.px, min(order.qty, qty)
        units = self.units(instrument, own or px, qty)
        if units is None or not units[0]:
            self.untold += 1
            self.by_orders.add(("AA", "BB")[instrument])
            return
        took = {BUY: Flag.AGGRESSOR_SELL, SELL: Flag.AGGRESSOR_BUY, 0: 0}[side]
        self.given.append(("TRADE", *head, *units, int(Flag.PRINT | took)))


def said(record):
    """A record as the account has it."""
    kind = Template(int(record["template_id"])).name
    names = {"QUOTE": "bid_px bid_qty ask_px ask_qty", "TRADE": "px qty flags"}.get(kind, "").split()
    return (kind, *(int(record[n]) for n in ("venue_id", "instrument_id", "ts_event_ns", *names)))


@pytest.mark.kernel
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_each_execution_is_a_trade_before_its_quote(monkeypatch, seed, deep):
    rows, account = some_rows(seed), Account(deep=deep)
    for row in rows:
        account.take(*row)
    monkeypatch.setattr(fit, "open_file", lambda path, given: Deltas(rows, (7, 64, 350, 700)[seed]))
    found = Fitted("made", TARGET, depth=deep)
    assert found.told.by_orders == []
    records = [record for batch in found.batches() for record in records_of(batch)]
    assert [said(record) for record in records] == account.given
    kinds = Counter(row[0] for row in account.given)
    assert kinds["TRADE"] > 50 < kinds["QUOTE"]
    assert (found.told.untold, set(found.told.by_orders)) == (account.untold, account.by_orders)
    assert account.by_orders == {"AA", "BB"}
    assert found.told.given + found.told.deep == len(records)
    for venue in (0, 1):
        mine = [int(record["stream_seq"]) for record in records if record["venue_id"] == venue]
        assert mine == list(range(1, len(mine) + 1))


@pytest.mark.kernel
def test_what_a_recording_of_touches_keeps_of_executions(tmp_path):
    """`feed convert --quotes`: the trades stay when the orders go."""
    path = itch_made.write(tmp_path, messages := itch_made.minute(1, 400))
    convert(path, tmp_path / "day.rec", quotes=True)
    target = Target({"XNAS": 0}, {"AAPL": Symbol(0, 4, 0)})
    rows = []
    for file in (path, tmp_path / "day.rec"):
        found = Fitted(file, target)
        rows.append([said(r) for batch in found.batches() for r in records_of(batch)])
        assert (found.told.untold, found.told.by_orders) == (0, [])
    assert rows[0] == rows[1]
    assert sum(row[0] == "TRADE" for row in rows[0]) == len(itch_made.traded(messages))


@pytest.mark.kernel
def test_a_minute_of_itch_as_its_messages_say(tmp_path):
    """E, C, P and Q, each at its time, and nothing twice; what is not printed is not there."""
    path = itch_made.write(tmp_path, messages := itch_made.minute(2, 1500))
    found = Fitted(path, Target({"XNAS": 0}, {"AAPL": Symbol(0, 4, 0)}), depth=True)
    records = [record for batch in found.batches() for record in records_of(batch)]
    midnight = midnight_ns(date(2019, 12, 30))
    trades = [(int(r["ts_event_ns"]) - midnight, int(r["px"]), int(r["qty"])) for r in records
              if r["template_id"] == Template.TRADE]  # fmt: skip
    assert trades == itch_made.traded(messages)
    assert Counter(m[:1] for m in messages).keys() >= {b"%c" % c for c in b"AFECXDUPQ"}
    assert (found.told.by_orders, found.told.dangling) == ([], 0)


@pytest.mark.kernel
def test_an_execution_of_an_unknown_order_is_no_trade(tmp_path):
    messages = itch_made.minute(2, 100)
    path = itch_made.write(tmp_path, [*messages, itch_made.unknown(itch_made.OPEN_NS + 10**10)])
    found = Fitted(path, Target({"XNAS": 0}, {"AAPL": Symbol(0, 4, 0)}))
    trades = [r for batch in found.batches() for r in records_of(batch) if r["template_id"] == Template.TRADE]
    assert len(trades) == len(itch_made.traded(messages))
    assert (found.told.untold, found.told.by_orders, found.told.dangling) == (1, ["AAPL"], 1)


@pytest.mark.kernel
def test_where_its_own_quotes_are_the_touch_no_trade_is_made(monkeypatch):
    rows = [(0, 0, T0, (BUY, ADD, 0, 9000, 4, 1, 0, 0, 0)), (0, 0, T0 + 9, (0, EXECUTE, Flag.PRINT, 0, 4, 1, 0, 0, 0))]

    class Both(Deltas):
        def batches(self):
            batch = make_batch(8)
            quote = batch.quote[new_quote(batch, 0, 0, T0 - 9, T0)]
            quote.bid_px, quote.bid_qty = 8000, 1
            yield batch
            yield from super().batches()

    monkeypatch.setattr(fit, "open_file", lambda path, given: Both(rows, 9))
    for wanted, by_orders, count in ((Wanted(), ["AA"], 0), (Wanted(touch="book"), [], 1)):
        found = Fitted("made", TARGET, wanted, depth=True)
        kinds = Counter(said(r)[0] for batch in found.batches() for r in records_of(batch))
        assert (found.told.by_orders, kinds["TRADE"]) == (by_orders, count)


@pytest.mark.kernel
@pytest.mark.parametrize("alone", [False, True])
def test_lobster_as_its_rows_say(tmp_path, alone):
    """4, 5 and 6, with the opening book and without it: where an order is unknown the row says the price."""
    path = feed_path("lobster", LOBSTER)
    rows = [[int(x) for x in line.split(",")[1:]] for line in path.read_text().splitlines()]
    if alone:
        (tmp_path / LOBSTER).write_bytes(path.read_bytes())
        path = tmp_path / LOBSTER
    found = Fitted(path, Target({"XNAS": 0}, {"AAPL": Symbol(0, 4, 0)}), Wanted("XNAS", "AAPL"), depth=True)
    trades = [r for batch in found.batches() for r in records_of(batch) if r["template_id"] == Template.TRADE]
    told = [(int(r["px"]), int(r["qty"]), bool(r["flags"] & Flag.PRINT), r["flags"] & ~Flag.PRINT) for r in trades]
    took = {1: Flag.AGGRESSOR_SELL, -1: Flag.AGGRESSOR_BUY}
    assert told == [(px, qty, kind == 4, took[side]) for kind, _, qty, px, side in rows if kind in (4, 5)]
    assert {kind for kind, *_ in rows} == {1, 3, 4, 5}
    assert found.told.by_orders == []


@pytest.mark.kernel
def test_dbn_tells_its_trades_itself():
    path = feed_path("dbn", "esh4-glbx-mdp3-20231224.mbo.dbn.zst")
    found = Fitted(path, Target({"XCME": 0}, {"ESH4": Symbol(0, 2, 0)}), Wanted("XCME"), depth=True)
    kept = [r for batch in found.batches() for r in records_of(batch)]
    assert not [r for r in kept if r["template_id"] == Template.TRADE and r["flags"] & Flag.PRINT]
    assert sum(r["template_id"] == Template.ORDER_DELTA for r in kept) > 100
