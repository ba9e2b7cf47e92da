"""DBN: each record as Databento's own decoder has it, on every file; made-up records of each kind; damage."""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any

import databento_dbn
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from sortedcontainers import SortedDict

from engine.jit import JIT
from engine.record.records import Flag
from gateways.feeds.report import FeedError
from gateways.formats import dbn, known
from gateways.formats.source import Source
from tests.feeds_path import feed_path, feeds_dir
from tests.formats.dbn_made import (
    NANO,
    consolidated,
    ladders,
    mbo,
    orders,
    other,
    packed,
    preamble,
    quotes,
    read,
    trades,
    written,
)
from tests.formats.dbn_twin import UNDEF, Twin, given, msg_of, sides_of

pytestmark = pytest.mark.kernel
FIXTURES = sorted(p.name for p in feeds_dir().glob("dbn/fixtures/*"))
DAY = "esh4-glbx-mdp3-20231225.mbo.dbn.zst"
FILLS = "a fill of an order that does not rest"
#: Plain Python reads so many bytes of the real days; compiled code all.
CUT = 1 << 60 if JIT else 8 + 198 + 56 * 9_500


def unmarked(records):
    """Without Flag.MORE: an event that is longer than a batch is taken for over where the batch ends."""
    return [(*record[:4], record[4] & ~int(Flag.MORE), *record[5:]) for record in records]


def unpacked(path):
    with Source(path, block=1 << 24) as source:
        data = b""
        while not source.ended:
            window = source.more(0)
            data = window.tobytes()
        return data


def oracle(data):
    """What Databento's decoder makes of unpacked bytes, as it stands in the file."""
    metadata = data.startswith(b"DBN")
    policy: Any = databento_dbn.VersionUpgradePolicy.AS_IS
    decoder = databento_dbn.DBNDecoder(has_metadata=metadata, upgrade_policy=policy)
    decoder.write(data)
    records = decoder.decode()
    return (records[0], records[1:]) if metadata else (None, records)


@pytest.mark.parametrize("name", FIXTURES)
def test_every_fixture_as_databentos_decoder_has_it(name):
    path = feed_path("dbn", "fixtures", name)
    if name.endswith(".dbz"):
        with pytest.raises(FeedError, match=r"legacy encoding DBZ.*convert it"):
            known.open_file(path)
        return
    metadata, records = oracle(unpacked(path))
    with known.open_file(path) as reader:
        got, _ = given(reader.batches())
    assert reader.counts.messages == len(records)
    assert not reader.counts.skipped
    if metadata is not None:
        assert isinstance(reader, dbn.DbnReader)
        ours = reader.metadata
        assert ours is not None
        assert (ours.version, ours.dataset, ours.start_ns) == (metadata.version, metadata.dataset, metadata.start)
        assert ours.symbols == tuple(metadata.symbols)
        assert {m.symbol for ms in ours.mappings.values() for m in ms} == set(metadata.mappings)
    if "definition" in name:
        shown = [(r.raw_symbol, r.min_price_increment) for r in records]
        assert [i.symbol.split("#")[0] for i in reader.instruments] == [s for s, _ in shown]
        for instrument, (_, increment) in zip(reader.instruments, shown, strict=True):
            d = instrument.px_decimals
            if increment != UNDEF:
                assert increment % 10 ** (9 - d) == 0
                assert d == 0 or increment % 10 ** (10 - d)
        return
    twin = Twin()
    for record in records:
        twin.take(msg_of(record))
    assert got == twin.marked()
    assert [i.symbol for i in reader.instruments] == ["ESH1"]
    assert reader.venues == ["GLBX"]


def test_all_fixtures_are_there():
    feed_path("dbn", "fixtures")
    assert len(FIXTURES) >= 38


@pytest.mark.parametrize("day", ["esh4-glbx-mdp3-20231224.mbo.dbn.zst", DAY])
def test_a_day_of_orders_as_databentos_decoder_has_it(tmp_path, day):
    data = unpacked(feed_path("dbn", day))[:CUT]
    _, records = oracle(data)
    with known.open_file(written(tmp_path, data)) as reader:
        got, where = given(reader.batches())
    twin = Twin()
    for record in records:
        twin.take(msg_of(record))
    assert got == twin.marked()
    assert reader.counts.by_type == {"mbo": len(records)}
    assert reader.counts.skipped == twin.skipped
    assert set(where) == {(0, 0)}
    assert [i.symbol for i in reader.instruments] == ["ESH4"]
    if JIT:
        assert len(records) == (68792 if day == DAY else 8725)


@pytest.mark.skipif(not JIT, reason="plain Python takes 20 s for the whole day")
def test_the_day_builds_a_book_without_a_missing_reference():
    with known.open_file(feed_path("dbn", DAY)) as reader:
        got, _ = given(reader.batches())
    sides = (SortedDict(), SortedDict())
    orders: dict[int, tuple[int, int, int]] = {}

    def move(side, px, qty):
        levels = sides[side != ord("1")]
        levels[px] = levels.get(px, 0) + qty
        assert levels[px] >= 0
        if levels[px] == 0:
            del levels[px]

    for name, _, _, _, mark, *own in got:
        assert name in ("ORDER_DELTA", "TRADE")
        if name == "TRADE":
            continue
        side, action, px, qty, number, _ = own
        if action == 0:
            assert number not in orders
        else:
            assert not mark & int(Flag.SNAPSHOT)
            old_side, old_px, left = orders.pop(number)
            move(old_side, old_px, -left)
            assert side == old_side
            qty = {1: qty, 2: 0, 3: left - qty}[action]
            assert action != 3 or px == old_px
        if qty:
            orders[number] = (side, px, qty)
            move(side, px, qty)
    assert (sides[0].peekitem(-1)[0], sides[1].peekitem(0)[0]) == (4810 * 10**9, 4810_250_000_000)
    # At the opening auction, orders were filled that never rested in the book; no cancel of them follows.
    assert reader.counts.skipped == {FILLS: 7}


@settings(max_examples=100 if JIT else 25)
@drawn(
    st.lists(st.one_of(orders, orders, orders, trades, quotes, consolidated, ladders()), max_size=40),
    st.sampled_from([9, 2]),
)
def test_made_up_records_as_the_slow_twin_has_them(tmp_path_factory, messages, decimals):
    data = preamble() + b"".join(packed(m, b"\0" * 8 * (n % 3 == 0)) for n, m in enumerate(messages))
    path = written(tmp_path_factory.mktemp("dbn"), data)
    twin = Twin(10 ** (9 - decimals))
    for message in messages:
        twin.take(message)
    got, where, reader = read(path, px_decimals=decimals)
    assert got == twin.marked()
    assert reader.counts.skipped == twin.skipped
    assert reader.counts.messages == len(messages)
    small = read(path, block=7, units=64, px_decimals=decimals)
    if len(set(where)) == 1:
        assert small[0] == got, "what is held back of an event does not depend on the batches"
    assert (unmarked(small[0]), small[1]) == (unmarked(got), where)
    assert set(reader.venues) <= {"GLBX", "XNAS", "P900"}


@settings(max_examples=60 if JIT else 15)
@drawn(st.lists(ladders(), min_size=1, max_size=12))
def test_levels_make_the_ten_that_are_shown(tmp_path_factory, messages):
    messages = [m._replace(publisher_id=1, instrument_id=5, action="A") for m in messages]
    data = preamble() + b"".join(map(packed, messages))
    got, _, _ = read(written(tmp_path_factory.mktemp("dbn"), data))
    book: tuple[dict[int, int], dict[int, int]] = ({}, {})
    for name, _, _, _, _, side, action, px, qty in (row for row in got if row[0] == "LEVEL"):
        levels = book[side != ord("1")]
        assert name == "LEVEL"
        assert (px in levels) == (action != 0)
        levels[px] = qty
        if action == 2:
            del levels[px]
    assert book == tuple({px: qty for px, qty in side if qty} for side in sides_of(messages[-1]))


def test_levels_out_of_order_are_counted_and_change_nothing(tmp_path):
    levels = tuple((10**9 * n, UNDEF, 1, 0, 0, 0) for n in range(1, 11))
    message = mbo(rtype=10, levels=levels)
    got, _, reader = read(written(tmp_path, preamble() + packed(message)))
    assert got == []
    assert reader.counts.skipped == {"levels that are not in order": 1}
    assert reader.counts.examples["levels that are not in order"].startswith(f"byte {len(preamble()) + 80}:")


def test_symbols_follow_the_mappings_and_their_dates(tmp_path):
    day = 86_400 * 10**9
    spans = [
        ("ESH4", [(20231114, 20231116, "5")]),
        ("ESM4", [(20231116, 20231117, "5")]),
        ("ZN", [(20231101, 20231201, "6")]),
    ]
    times = [NANO, NANO + day, NANO + 2 * day, NANO + 20 * day, NANO]
    data = preamble(mappings=spans) + b"".join(packed(mbo(order_id=n, ts_recv=t)) for n, t in enumerate(times))
    data += packed(mbo(instrument_id=6)) + packed(mbo(instrument_id=7))
    _, where, reader = read(written(tmp_path, data))
    assert [reader.instruments[i].symbol for _, i in where] == ["ESH4", "ESH4", "ESM4", "#5", "ESH4", "ZN", "#7"]
    inverse = [("5", [(20231114, 20231116, "ESH4")])]
    _, _, reader = read(written(tmp_path, preamble(1, inverse, stype=(0, 1)) + packed(mbo())))
    assert [i.symbol for i in reader.instruments] == ["ESH4"]


def test_definitions_and_symbol_mappings_name_instruments_and_say_their_decimals(tmp_path):
    increment = bytearray(other(19, 400, 5, b"ESH4", 200))
    increment[24:32] = struct.pack("<q", 250_000_000)
    data = (
        preamble() + bytes(increment) + packed(mbo(price=4810_250_000_000)) + packed(mbo(price=10**9 + 1, order_id=2))
    )
    data += packed(mbo(instrument_id=8)) + other(22, 176, 8, b"NQH4", 89) + packed(mbo(instrument_id=8, order_id=3))
    got, where, reader = read(written(tmp_path, data))
    assert [i[:3] for i in reader.instruments] == [("ESH4", 2, 0), ("NQH4", 9, 0)]
    assert got[0][7] == 481_025
    assert where == [(0, 0), (0, 1), (0, 1)]
    assert reader.counts.skipped == {"a price finer than the instrument's decimals": 1}
    assert reader.counts.by_type == {"mbo": 4, "definition": 1, "symbol mapping": 1}


def test_status_becomes_a_status_and_the_rest_is_counted(tmp_path):
    data = preamble(3)
    for action in range(20):
        data += other(18, 40, text=struct.pack("<QHH", NANO + 1, action, 7))
    data += other(32, 56) + other(24, 80) + other(20, 112) + other(21, 320) + other(23, 320) + other(195, 80)
    got, _, reader = read(written(tmp_path, data))
    assert Counter(row[5] for row in got) == {3: 4, 0: 1, 1: 3, 2: 3}
    assert all(row[:5] == ("INSTRUMENT_STATUS", NANO, NANO + 1, 0, 0) and row[6] == 7 for row in got)
    assert reader.counts.messages == 26
    assert not reader.counts.skipped


def test_gaps_are_counted_where_a_book_begins_to_be_doubtful(tmp_path):
    data = preamble() + b"".join(packed(mbo(flags=f, order_id=n)) for n, f in enumerate((0, 4, 132, 0, 4)))
    _, _, reader = read(written(tmp_path, data))
    assert reader.counts.gaps == 2


def test_many_orders_and_instruments_make_the_tables_grow(tmp_path):
    rows = [mbo(order_id=n * 7919, instrument_id=n % 90, size=5) for n in range(1500)]
    rows += [mbo(action="R", instrument_id=n) for n in range(45)]
    rows += [mbo(order_id=n * 7919, instrument_id=n % 90, action="C", size=2) for n in range(1500)]
    twin = Twin()
    for row in rows:
        twin.take(row)
    got, _, reader = read(written(tmp_path, preamble() + b"".join(map(packed, rows))))
    assert got == twin.marked()
    assert len(reader.instruments) == 90


def test_an_event_is_marked_up_to_its_last_record_even_where_that_gives_none(tmp_path):
    rows = [mbo(order_id=1, size=5, flags=128), mbo(order_id=2, size=5, flags=128)]
    rows += [mbo(action="F", order_id=n, size=5, ts_event=9, flags=0) for n in (1, 2)]
    rows += [mbo(action="C", order_id=n, size=5, ts_event=9, flags=128 * (n == 2)) for n in (1, 2)]
    rows += [mbo(order_id=3, size=5, ts_event=10, flags=0), mbo(order_id=4, size=5, ts_event=11, flags=0)]
    got, _, _ = read(written(tmp_path, preamble() + b"".join(map(packed, rows))))
    assert [(row[6], row[4] & int(Flag.MORE) != 0) for row in got] == [
        (0, False), (0, False), (3, True), (3, False), (0, False), (0, False),
    ]  # fmt: skip


def test_fragments_are_known_or_named(tmp_path):
    rows = b"".join(packed(mbo(order_id=n)) for n in range(3))
    path = written(tmp_path, rows)
    assert dbn.recognises(rows)
    assert not dbn.recognises(rows[:55])
    assert not dbn.recognises(rows[8:])
    got, _, reader = read(path)
    assert len(got) == 3
    assert reader.metadata is None
    with pytest.raises(FeedError, match="no prelude"):
        read(path, fragment=False)
    odd = written(tmp_path, packed(mbo(ts_event=5, ts_recv=6)))
    with pytest.raises(FeedError, match="no known format"):
        known.open_file(odd)
    assert len(read(odd, fragment=True)[0]) == 1
