"""Books of recorded days beside naive ones: their states' hashes, on orders (Bitstamp, ITCH) and levels (Binance)."""

from __future__ import annotations

import hashlib

import pytest

from engine.book.apply import DELETE
from engine.record.records import Template
from gateways.formats.batch import make_batch
from gateways.formats.known import open_file
from gateways.formats.watch import MOST_INSTRUMENTS, make_feed_books, make_watch, watch_batch
from tests.book.naive import Naive, levels_of
from tests.feeds_path import feed_path
from tests.formats.test_watch import records_of

DAYS = {
    "bitstamp/2015-05-01.log.xz": 3_000,
    "binance/usdm_btcusdt_20240808.gz": 6_000,
    "itch/12302019_first1000.NASDAQ_ITCH50": 1_000,
}


def take(twins: dict[tuple[int, int], Naive], record) -> None:
    """What a record does to the naive books."""
    key, template = (int(record["venue_id"]), int(record["instrument_id"])), int(record["template_id"])
    if template == Template.CLEAR:
        for at, twin in twins.items():
            if at[0] == key[0] and key[1] in (-1, at[1]):
                twin.clear()
    elif template == Template.LEVEL:
        qty = 0 if record["action"] == DELETE else int(record["qty"])
        twins.setdefault(key, Naive()).put(int(record["side"]), int(record["px"]), qty)
    elif template == Template.ORDER_DELTA:
        twin, action = twins.setdefault(key, Naive()), int(record["action"])
        side, number = int(record["side"]), int(record["venue_order"])
        px, qty = int(record["px"]), int(record["qty"])
        twin.delta(action, side, number, int(record["new_order"]), px, qty)


def state_hash(levels) -> str:
    return hashlib.sha256(repr(levels).encode()).hexdigest()


@pytest.mark.parametrize("name", DAYS)
def test_books_are_in_the_state_of_naive_ones(name):
    watch, books, out = make_watch(), make_feed_books(orders=1 << 16), make_batch(3)
    twins: dict[tuple[int, int], Naive] = {}
    seen = compared = 0
    with open_file(feed_path(*name.split("/"))) as reader:
        for batch in reader.batches():
            records = records_of(batch)[: DAYS[name] - seen]
            batch.used[0] = sum(record.nbytes // 64 for record in records)
            watch_batch(watch, books, batch, out, 0)
            for record in records:
                take(twins, record)
            seen += len(records)
            for (venue, instrument), twin in twins.items():
                book = int(watch.index[venue * MOST_INSTRUMENTS + instrument]) - 1
                assert state_hash(levels_of(books, book)) == state_hash(twin.levels())
                compared += 1
            if seen == DAYS[name]:
                break
    assert seen > 900
    assert compared
    core, found = books.core[0], watch.seen[0]
    assert int(core["dangling"]) == sum(twin.dangling for twin in twins.values())
    assert int(core["repeated"]) == sum(twin.repeated for twin in twins.values())
    if name.startswith("itch"):
        assert (int(core["dangling"]) - int(found["of_ghosts"]), int(found["of_ghosts"])) == (394, 5)
