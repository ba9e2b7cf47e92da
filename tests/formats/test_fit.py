"""Fitting: names, decimals, times and numbers against a slow account of the same records; clocks that are behind."""

from __future__ import annotations

import gzip
import json
import os
import random
from decimal import Decimal
from typing import Any

import pytest

from engine.errors import UsageError
from engine.record.records import Flag, Template
from gateways.feeds.names import Symbol
from gateways.feeds.report import FeedError
from gateways.formats import fit
from gateways.formats.batch import make_batch, new_clear, new_delta, new_level, new_quote, new_status, new_trade
from gateways.formats.fit import Fitted, Target, Wanted
from gateways.formats.fit_kernels import MAX_QTY, MOST_BACK_NS
from gateways.formats.reader import Counts, Instrument, Reader
from tests.book.naive import BUY, SELL, Naive
from tests.feeds_path import feed_path
from tests.formats.test_watch import best, records_of

S = 1_000_000_000
T0 = 1_700_000_000 * S
MAX_PX = 10**12
TARGET = Target({"N": 1, "XNYS": 1, "Q": 0}, {"AA": Symbol(2, 4, 0), "BB": Symbol(0, 2, 3)}, [MAX_PX] * 3)


class Made(Reader):
    """Records as given, in batches of so many; instruments are met as they come."""

    format = "made"

    def __init__(self, path, rows, size=7):
        self.path, self.rows, self.size, self.counts = path, rows, size, Counts()
        self.venues, self.instruments = ["N", "Q", "elsewhere"], []

    def batches(self):
        for at in range(0, len(self.rows), self.size):
            batch = make_batch(2 * len(self.rows) + 8)
            for row in self.rows[at : at + self.size]:
                write(batch, row)
            if at >= self.size:
                self.instruments[:] = [Instrument("AA", 6, 0), Instrument("BB", 0, 5), Instrument("CC", 2, 0)]
            else:
                self.instruments[:] = [Instrument("AA", 6, 0), Instrument("BB", 0, 5)]
            yield batch

    def close(self):
        pass


def write(batch, row):
    kind, venue, instrument, event, recv, values = row
    if kind == "quote":
        i = new_quote(batch, venue, instrument, event, recv)
        batch.quote[i].bid_px, batch.quote[i].bid_qty, batch.quote[i].ask_px, batch.quote[i].ask_qty = values
        batch.head[i].stream_seq = 77
    elif kind == "trade":
        i = new_trade(batch, venue, instrument, event, recv)
        batch.trade[i].px, batch.trade[i].qty = values
    elif kind == "level":
        i = new_level(batch, venue, instrument, event, recv)
        level = batch.level[i]
        level.side, level.px, level.qty, level["flags"] = values
        level.action = 1
    elif kind == "delta":
        i = new_delta(batch, venue, instrument, event, recv)
        delta = batch.delta[i]
        delta.side, delta.px, delta.qty, delta.venue_order = values
    elif kind == "clear":
        new_clear(batch, venue, instrument, event, recv, 3)
    else:
        new_status(batch, venue, instrument, event, recv, 1)


@pytest.fixture
def made(monkeypatch):
    """Make `Fitted` read these records."""

    def use(rows, size=7):
        monkeypatch.setattr(fit, "open_file", lambda path, given: Made(path, rows, size))

    return use


def fitted(target=TARGET, wanted=fit.AS_IT_IS, **options):
    found = Fitted("made.bin", target, wanted, **options)
    return found, [record for batch in found.batches() for record in records_of(batch)]


def plain(record):
    """What a fitted record says, but its numbers."""
    kind = Template(int(record["template_id"]))
    names = {Template.QUOTE: "bid_px bid_qty ask_px ask_qty", Template.TRADE: "px qty"}.get(kind, "")
    head = [int(record[name]) for name in ("venue_id", "instrument_id", "ts_event_ns", "ts_recv_ns")]
    return (kind, *head, *(int(record[name]) for name in names.split()))


def scaled(value, file_decimals, decimals, most):
    exact = Decimal(value).scaleb(decimals - file_decimals)
    if value < 0:
        raise ValueError(fit.REASONS[4])
    if exact != int(exact):
        raise ValueError(fit.REASONS[2])
    if exact > most:
        raise ValueError(fit.REASONS[3])
    return int(exact)


def worst(prices, quantities):
    """All of a record scaled; of several reasons against it the last in the list."""
    found, against = [], []
    for asked in [*prices, *((*row, MAX_QTY) for row in quantities)]:
        try:
            found.append(scaled(*asked))
        except ValueError as error:
            against.append(str(error))
    if against:
        raise ValueError(max(against, key=list(fit.REASONS.values()).index))
    return found


class Twin:
    """The slow account."""

    def __init__(self, skew_ns):
        self.skew_ns, self.last, self.given, self.skipped, self.clamped = skew_ns, 0, [], {}, 0
        self.rounded = 0
        self.books, self.shown = {}, {}

    def take(self, row):
        try:
            self._take(*row)
        except ValueError as error:
            self.skipped[str(error)] = self.skipped.get(str(error), 0) + 1

    def _take(self, kind, venue, instrument, event, recv, values):
        if venue == 2:
            raise ValueError(fit.REASONS[0])
        if instrument == 2:
            raise ValueError(fit.REASONS[1])
        ours, px_from, px_to, qty_from, qty_to = {0: (2, 6, 4, 0, 0), 1: (0, 0, 2, 5, 3), -1: (-1,) * 5}[instrument]
        key = (venue, instrument)
        template = {"trade": Template.TRADE, "clear": Template.CLEAR, "status": Template.INSTRUMENT_STATUS}.get(kind)
        if kind == "clear":
            for at, book in self.books.items():
                if at[0] == venue and instrument in (-1, at[1]):
                    book.clear()
                    self.shown.pop(at, None)
        if kind == "level":
            side, px, qty, flags = values
            book = self.books.setdefault(key, Naive())
            book.put(side, px, qty)
            state = best(book)
            if flags & Flag.MORE or self.shown.get(key) == state:
                return
            self.shown[key] = values = state
            kind = "quote"
        if kind == "quote":
            template = Template.QUOTE
            bid, bid_qty, ask, ask_qty = values
            sides = ((bid if bid_qty else 0, bid_qty), (ask if ask_qty else 0, ask_qty))
            over = [q % 10 ** max(qty_from - qty_to, 0) for _, q in sides]
            floored = [(q - more, qty_from, qty_to) for (_, q), more in zip(sides, over, strict=True)]
            values = worst([(px, px_from, px_to, MAX_PX) for px, _ in sides], floored)
            values = [values[0] if values[2] else 0, values[2], values[1] if values[3] else 0, values[3]]
            self.rounded += any(over)
        elif kind == "trade":
            values = worst([(values[0], px_from, px_to, MAX_PX)], [(values[1], qty_from, qty_to)])
            if not all(values):
                raise ValueError(fit.REASONS[4])
        else:
            values = []
        if not event and not recv:
            raise ValueError(fit.REASONS[5])
        at = recv + self.skew_ns if recv else event
        self.clamped += at < self.last
        self.last = at = max(at, self.last)
        self.given.append((template, {0: 1, 1: 0}[venue], ours, event or (recv + self.skew_ns), at, *values))


def some_rows(seed, *, levels):
    values: tuple[int, ...]
    dice, now, rows = random.Random(seed), T0, []
    for _ in range(200):
        now += dice.choice((0, 100, dice.randrange(10**6)))
        venue, instrument = dice.choice((0, 0, 1, 2)), dice.choice((0, 0, 1, 1, 2))
        event = dice.choice((0, now - dice.randrange(1000), now + 500))
        recv = dice.choice((0, now))
        px, qty = (100 * dice.randint(90, 110), 1) if instrument == 0 else (dice.randint(90, 110), 100)
        if dice.random() < 0.1:
            px += 1
        if dice.random() < 0.05:
            px = dice.choice((1 << 61, -5))
        kind = dice.choice(("level",) * 6 + ("trade", "clear") if levels else ("quote", "trade", "status", "clear"))
        if kind == "clear" and dice.random() < 0.3:
            instrument = -1
        if kind == "level":
            px = 100 * dice.randint(90, 110) if instrument == 0 else dice.randint(90, 110)
            size = qty * dice.randrange(3) + (dice.randrange(qty) if dice.random() < 0.3 else 0)
            values = (dice.choice((BUY, SELL)), px, size, Flag.MORE if dice.random() < 0.3 else 0)
        elif kind == "quote":
            size = qty * dice.randrange(4) + (dice.randrange(qty) if dice.random() < 0.3 else 0)
            values = (px, size, px + 100, qty * dice.choice((0, 3, 1 << 54)))
        else:
            values = (px, qty * dice.randrange(3))
        rows.append((kind, venue, instrument, event, recv, values))
    return rows


@pytest.mark.kernel
@pytest.mark.parametrize("levels", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_fitting_is_the_slow_account(made, seed, levels):
    rows = some_rows(seed, levels=levels)
    made(rows, size=(7, 31, 120)[seed])
    skew_ns = max(
        [e - r for _, v, n, e, r, _ in rows if e and r and v < 2 and n < 2 and (n >= 0 or v < 2)] + [0]
    )  # fmt: skip
    twin = Twin(skew_ns)
    for row in rows:
        twin.take(row)
    found, records = fitted(wanted=Wanted(skew="auto"))
    assert found.skew_ns == skew_ns == 500
    assert [plain(record) for record in records] == twin.given
    told = found.told
    assert told.skipped == twin.skipped
    assert told.rounded == twin.rounded > 0
    assert set(told.examples) == set(told.skipped)
    assert (told.clamped, told.negative, told.given, told.records) == (twin.clamped, 0, len(records), len(rows))
    assert twin.clamped > 0
    for venue in (0, 1):
        mine = [record for record in records if record["venue_id"] == venue]
        assert [int(record["stream_seq"]) for record in mine] == list(range(1, len(mine) + 1))
        assert {(int(r["stream_id"]), int(r["stream_epoch"])) for r in mine} <= {(venue, found.first_ns // S)}


@pytest.mark.kernel
@pytest.mark.parametrize("seed", range(4))
def test_levels_fitted_in_runs_are_those_fitted_one_by_one(made, seed):
    """Without the derived touches: a batch of one record has no run."""
    rows, dice, found = some_rows(seed, levels=True), random.Random(seed), []
    rows = [row for row in rows for _ in range(dice.choice((1, 1, 2, 9)))]
    for n in range(0, len(rows), 11):
        if rows[n][0] == "level":
            side, px, qty, flags = rows[n][5]
            values = dice.choice(((side, -px, qty, flags), (side, px << 44, qty, flags), (side, px, -qty, flags)))
            rows[n] = (*rows[n][:5], values)
    for size in (1, 13, len(rows)):
        made(rows, size)
        file = Fitted("made.bin", TARGET, Wanted(skew="auto"), play=True, depth=True)
        given = [record.tobytes() for batch in file.batches(follow=False) for record in records_of(batch)]
        file.told.examples.clear()  # their names are met with the batches
        found.append((b"".join(given), file.told))
    assert found[0] == found[1] == found[2]
    assert found[0][1].clamped > 0 < len(found[0][1].skipped)


@pytest.mark.kernel
def test_a_level_that_is_finer_than_the_units_is_rounded_down_and_never_left_as_it_was(made):
    """BB has 5 decimals of quantity in the file, and 3 here: 250 is 2, and 60 is nothing."""
    rows = [("level", 0, 1, T0 + n, 0, (BUY, 40, qty, 0)) for n, qty in enumerate((500, 250, 60, 300))]
    made(rows)
    found, records = fitted(depth=True)
    levels = [r for r in records if r["template_id"] == Template.LEVEL]
    assert [(int(r["action"]), int(r["qty"])) for r in levels] == [(1, 5), (1, 2), (2, 0), (1, 3)]
    quotes = [r for r in records if r["template_id"] == Template.QUOTE]
    assert [(int(r["bid_px"]), int(r["bid_qty"])) for r in quotes] == [(4000, 5), (4000, 2), (0, 0), (4000, 3)]
    assert (found.told.rounded, found.told.skipped) == (4, {})
    assert found.told.rounded_first == "record 2: BB, 40"


@pytest.mark.kernel
def test_what_is_beyond_the_tables_is_told_to_be(made):
    made([("trade", 0, 0, T0, 0, (100, 1)), ("trade", 64, 0, T0, 0, (100, 1)), ("trade", 0, 1 << 16, T0, 0, (100, 1))])
    found, records = fitted()
    assert len(records) == 1
    assert found.told.skipped == {
        "venue is beyond the first 64 of the file, which is the limit": 1,
        "instrument is beyond the first 65,536 of the file, which is the limit": 1,
    }
    made([("trade", 64, 0, T0, 0, (100, 1))])
    with pytest.raises(FeedError, match=r"nothing in it is configured; venue is beyond the first 64 of the file"):
        fitted()


@pytest.mark.kernel
def test_played_records_have_one_time(made):
    made([("quote", 0, 0, T0 + 5, T0 + 9, (100, 1, 200, 1)), ("trade", 0, 0, T0 + 6, 0, (100, 1))])
    _, records = fitted(play=True)
    assert [int(r["ts_event_ns"]) for r in records] == [T0 + 9, T0 + 9]
    assert [int(r["ts_recv_ns"]) for r in records] == [0, 0]
    assert (int(records[0]["ts_source_ns"]), int(records[0]["source_seq"])) == (T0 + 5, 77)


def test_a_clock_that_is_behind_is_refused_and_corrected_when_asked(made):
    rows = [("trade", 0, 0, T0 + n, T0 + n - 1200 + 100 * n, (100, 1)) for n in range(20)]
    made(rows)
    with pytest.raises(FeedError) as refused:
        fitted()
    assert "12 of 20 records were received before they happened" in str(refused.value)
    assert 'skew = 1200 (ns) or "auto"' in str(refused.value)
    asked: list[tuple[Any, int, int]]
    asked = [("auto", 0, T0), (1000, 2, T0 - 200), (0, 12, T0 - 1200), (5000, 0, T0 + 3800)]
    for skew, negative, first in asked:
        found, records = fitted(wanted=Wanted(skew=skew))
        assert (found.told.negative, found.first_ns) == (negative, first)
        assert int(records[0]["ts_recv_ns"]) == first
        assert int(records[0]["ts_event_ns"]) == T0


def test_times_that_run_far_backwards_end_the_file(made):
    made([("trade", 0, 0, T0 + n, 0, (100, 1)) for n in (0, MOST_BACK_NS + 1, 1, 0)], size=1)
    found = Fitted("made.bin", TARGET)
    given: list[int] = []
    with pytest.raises(FeedError, match=r"run backwards by 10\.000 s"):
        given.extend(int(r["ts_event_ns"]) for batch in found.batches() for r in records_of(batch))
    assert given == [T0, T0 + MOST_BACK_NS + 1, T0 + 1]
    assert found.told.clamped == 1


def test_quotes_of_the_source_or_those_of_its_book(made):
    rows = [
        ("quote", 0, 0, T0, 0, (100, 1, 300, 1)),
        ("level", 0, 0, T0, 0, (BUY, 200, 4, 0)),
        ("delta", 1, 1, T0, 0, (SELL, 7, 500, 42)),
    ]
    made(rows)
    auto, records = fitted()
    assert [plain(r)[1:3] + plain(r)[5:] for r in records] == [(1, 2, 1, 1, 3, 1), (0, 0, 0, 0, 700, 5)]
    book, records = fitted(wanted=Wanted(touch="book"))
    assert [plain(r)[1:3] + plain(r)[5:] for r in records] == [(1, 2, 2, 4, 0, 0), (0, 0, 0, 0, 700, 5)]
    assert (auto.told.beside, book.told.beside) == (1, 1)


@pytest.mark.parametrize(
    ("wanted", "error", "words"),
    [
        (Wanted(venue="W"), UsageError, "venue 'W' is not configured; N, XNYS, Q are"),
        (Wanted(symbol="ZZ"), UsageError, "symbol 'ZZ' is not configured; AA, BB are"),
        (Wanted(symbols={"CC": "ZZ"}), UsageError, "symbol 'ZZ'"),
        (Wanted(symbol="AA"), FeedError, "more instruments than AA alone"),
        (Wanted(symbols={"AA": "BB"}), FeedError, "two instruments of other decimals become one"),
    ],
)
def test_names_that_cannot_be(made, wanted, error, words):
    made([("trade", 0, 0, T0, 0, (100, 1))])
    with pytest.raises(error, match=words):
        fitted(wanted=wanted)


def test_a_file_of_other_names_says_which(made):
    made([("trade", 2, 0, T0, 0, (100, 1))])
    with pytest.raises(FeedError, match="nothing in it is configured") as refused:
        fitted()
    assert "elsewhere" in str(refused.value)
    found, records = fitted(wanted=Wanted(venue="XNYS", symbols={"AA": "AA"}))
    assert (int(records[0]["venue_id"]), found.told.given) == (1, 1)


def test_binance_as_its_lines_say(tmp_path):
    lines = gzip.decompress(feed_path("binance", "usdm_btcusdt_20240808.gz").read_bytes()).split(b"\n")[:1500]
    (tmp_path / "part").write_bytes(b"\n".join(lines) + b"\n")
    target = Target({"USDM": 0}, {"PERP": Symbol(0, 1, 3)})
    with pytest.raises(FeedError, match=r"clock is behind the source's by at least 1\.2"):
        Fitted(tmp_path / "part", target, Wanted("USDM", "PERP"))
    found = Fitted(tmp_path / "part", target, Wanted("USDM", "PERP", skew=1_272_402_468), play=True)
    got = [r for batch in found.batches() for r in records_of(batch)]
    expected = []
    for line in lines:
        recv, _, text = line.partition(b" ")
        data = json.loads(text, parse_float=Decimal).get("data", {})
        if data.get("e") == "bookTicker":
            row = [Decimal(data[name]) for name in "bBaA"]
            values = [int(row[0] * 10), int(row[1] * 1000), int(row[2] * 10), int(row[3] * 1000)]
            expected.append((int(recv) + 1_272_402_468, data["T"] * 10**6, *values))
    names = ("ts_event_ns", "ts_source_ns", "bid_px", "bid_qty", "ask_px", "ask_qty")
    quotes = [tuple(int(r[name]) for name in names) for r in got if r["template_id"] == Template.QUOTE]
    assert quotes == expected
    assert len(quotes) > 500
    assert found.told.clamped == found.told.negative == 0


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="a whole day of orders; plain Python takes long")
def test_a_day_of_orders_ends_at_its_touch():
    path = feed_path("dbn", "esh4-glbx-mdp3-20231225.mbo.dbn.zst")
    found = Fitted(path, Target({"XCME": 0}, {"ESH4": Symbol(0, 2, 0)}), Wanted("XCME"), play=True)
    last = None
    for batch in found.batches():
        last = [r for r in records_of(batch) if r["template_id"] == Template.QUOTE][-1:] or last
    assert last is not None
    assert (int(last[0]["bid_px"]), int(last[0]["ask_px"])) == (481000, 481025)
    assert (found.told.negative, found.told.clamped, found.told.unfollowed) == (0, 0, 0)
