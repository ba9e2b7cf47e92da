"""Recordings in blocks: what comes out is what went in, what is damaged is told, what is not asked for is not read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.record.records import Side, Template
from gateways.feeds.names import Names, Symbol
from gateways.feeds.recording import build, load
from gateways.feeds.report import FeedError
from gateways.formats import known
from gateways.formats.batch import make_batch, new_clear, new_delta, new_level, new_quote, new_trade, taken
from gateways.formats.blocks import Blocks, Named
from gateways.formats.day import in_blocks, read_blocks
from gateways.formats.fit import Target
from gateways.formats.reader import Instrument
from gateways.formats.recorded import RecordedReader
from gateways.formats.recorded_write import RecordingWriter
from tests.formats.reading import tuples

pytestmark = pytest.mark.kernel
NAMES = Named(["XNAS", "XNYS"], [Instrument(f"S{n}", 4 + n % 3, n % 2, 100) for n in range(70)])
#: Instruments that are asked for.
CHOICES: tuple[list[int | str] | None, ...] = (None, ["S3"], ["S3", 20], [69], [])
MAKERS = (new_quote, new_trade, new_level, new_delta)


def made(draw, count, instruments=70):
    """Batches of records of all kinds; times run on, not always forwards."""
    batch, now = make_batch(64), 10**18
    for n in range(count):
        if int(batch.used[0]) > 60:
            yield batch
            batch.used[0] = 0
        now += int(draw.integers(-3, 50))
        event = 0 if n % 17 == 0 else now
        # Instruments come one after the other, so that most blocks have few of them.
        instrument = (n // 40 + int(draw.integers(2))) % instruments
        if n % 297 == 5:
            new_clear(batch, 1, -1, event, now + 9, 3)
            continue
        i = MAKERS[int(draw.integers(4))](batch, n % 2, instrument, event, now + 9)
        batch.head[i].stream_seq = n + 1
    yield batch


def written(path, count, *, zstd, units=64, seed=3, batches=None):
    """Write a recording; the bytes of its records."""
    data = []
    with RecordingWriter(path, zstd=zstd) as writer:
        blocks = Blocks(writer, units)
        for batch in batches or made(np.random.default_rng(seed), count):
            data.append(taken(batch).tobytes())
            blocks.take(batch, NAMES)
        blocks.flush()
        writer.finish(NAMES, {"gaps": 2, "lost": 5})
    return b"".join(data)


def all_of(batches):
    return b"".join(taken(batch).tobytes() for batch in batches)


@pytest.mark.parametrize("zstd", [False, True])
@pytest.mark.parametrize("count", [0, 1, 900])
def test_what_went_in_comes_out(tmp_path, zstd, count):
    data = written(tmp_path / "day.rec", count, zstd=zstd)
    with known.open_file(tmp_path / "day.rec") as reader:
        assert isinstance(reader, RecordedReader)
        assert all_of(reader.batches()) == data
        assert (reader.venues, reader.instruments) == (NAMES.venues, NAMES.instruments)
        assert reader.counts.messages == len(tuples(np.frombuffer(data, np.uint8))) == reader.index.records
        assert (reader.counts.gaps, reader.counts.lost) == (2, 5)
        assert reader.progress == 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["day.rec"]


def test_plain_blocks_are_views_of_the_file_and_never_change_it(tmp_path):
    data = written(tmp_path / "day.rec", 300, zstd=False)
    with RecordedReader(tmp_path / "day.rec") as reader:
        for batch in reader.batches():
            assert np.shares_memory(batch.words, reader._raw)
            batch.words[:8] = 7
    with RecordedReader(tmp_path / "day.rec") as reader:
        assert all_of(reader.batches()) == data


@pytest.mark.parametrize("zstd", [False, True])
def test_between_is_a_filter_that_reads_few_blocks(tmp_path, zstd):
    data = written(tmp_path / "day.rec", 900, zstd=zstd)
    rows = tuples(np.frombuffer(data, np.uint8))
    times = [row[3] or row[4] for row in rows]
    first, last = min(times), max(times)
    third = (last - first) // 3
    with RecordedReader(tmp_path / "day.rec") as reader:
        for lo, hi in ((first, last + 1), (first + third, last - third), (last + 1, last + 9), (first, first + 1)):
            for wanted in CHOICES:
                numbers = None if wanted is None else {int(str(one).lstrip("S")) for one in wanted}
                before = reader.blocks_read
                found = [r for b in reader.between(lo, hi, wanted) for r in tuples(taken(b))]
                assert found == [
                    row
                    for row, when in zip(rows, times, strict=True)
                    if lo <= when < hi and (numbers is None or row[2] == -1 or row[2] in numbers)
                ]
                if wanted == ["S3"]:
                    assert reader.blocks_read - before < len(reader.index.rows) / 2
        with pytest.raises(ValueError, match="no instrument 'S99'; it has 70"):
            next(reader.between(instruments=["S99"]))


@pytest.mark.parametrize("zstd", [False, True])
def test_each_byte_is_under_a_crc(tmp_path, zstd):
    path, bad = tmp_path / "day.rec", tmp_path / "bad.rec"
    written(path, 60, zstd=zstd)
    data = path.read_bytes()

    def refused(changed):
        bad.write_bytes(changed)
        with pytest.raises(FeedError) as caught, known.open_file(bad) as reader:
            all_of(reader.batches())
        assert str(bad) in str(caught.value)

    @settings(max_examples=150, deadline=None, database=None, derandomize=True)
    @given(st.integers(0, 8 * len(data) - 1), st.integers(1, 255))
    def flipped(bit, with_value):
        for value in (1 << bit % 8, with_value):
            changed = bytearray(data)
            changed[bit // 8] ^= value
            refused(bytes(changed))

    flipped()
    for at in {0, 7, 12, 100, 127, 128, len(data) // 2, len(data) - 1}:
        refused(data[:at])
    refused(data + b"\0")


def test_a_writer_that_is_left_leaves_nothing(tmp_path):
    (tmp_path / "day.rec").write_bytes(b"before")
    with RecordingWriter(tmp_path / "day.rec") as writer:
        blocks = Blocks(writer, 64)
        for batch in made(np.random.default_rng(1), 200):
            blocks.take(batch, NAMES)
        assert len(list(tmp_path.iterdir())) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["day.rec"]
    assert (tmp_path / "day.rec").read_bytes() == b"before"


def test_records_that_cannot_be_are_refused(tmp_path):
    for field, value, why in (
        ("template_id", 9, "unknown kind"),
        ("schema_id", 1, "unknown kind"),
        ("block_length", 57, "unknown kind"),
        ("venue_id", 2, "no name"),
    ):
        batch = make_batch(8)
        new_trade(batch, 0, 0, 1, 1)
        new_trade(batch, 0, 0, 1, 1)
        batch.head[1][field] = value
        with pytest.raises(ValueError, match=f"record 1: .*{why}"):
            Blocks(None, 64).take(batch, NAMES)


def test_a_recording_in_blocks_is_a_day_of_touches_to_the_player(tmp_path):
    batch = make_batch(64)
    for n in range(12):
        i = new_trade(batch, n % 2, 3, 10**18 + n, 10**18 + 5 + n)
        batch.trade[i].px, batch.trade[i].qty = 10_000, 3
        i = new_level(batch, 0, 3, 10**18 + n, 10**18 + 5 + n)
        batch.level[i].side, batch.level[i].px, batch.level[i].qty = Side.BUY, 9_000 + n, 5
    written(tmp_path / "day.rec", 0, zstd=True, batches=[batch])
    names = Names.listed(["XNYS", "XNAS"], ["S4", "S3"])
    target = Target({"XNYS": 0, "XNAS": 1}, {"S3": Symbol(1, 4, 1)})
    assert in_blocks(tmp_path / "day.rec")
    day, told = read_blocks(tmp_path / "day.rec", target, names)
    quotes, trades = day.records(Template.QUOTE), day.records(Template.TRADE)
    assert (told.given, day.count) == (24, 24)
    assert quotes["bid_px"].tolist() == [9_000 + n for n in range(12)]
    assert set(zip(quotes["venue_id"].tolist(), quotes["instrument_id"].tolist(), strict=True)) == {(1, 1)}
    assert day.times.tolist() == [10**18 + 5 + n // 2 for n in range(24)]
    assert [sorted(trades["stream_seq"][trades["venue_id"] == 0]), sorted(quotes["stream_seq"])] == [
        list(range(1, 7)), [seq for seq in range(1, 19) if seq not in trades["stream_seq"][trades["venue_id"] == 1]]
    ]  # fmt: skip
    day.save(tmp_path / "day.v1")
    assert load(tmp_path / "day.v1").data.tobytes() == day.data.tobytes()
    with pytest.raises(FeedError, match="a recording in blocks; read it by its own reader"):
        load(tmp_path / "day.rec")


def test_a_recording_of_version_1_is_read_too(tmp_path):
    batch = make_batch(64)
    for n in range(40):
        new_trade(batch, n % 2, 0, n + 1, 0)
    day = build([batch.trade[:40]], Names.listed(["A", "B"], ["X"]))
    day.save(tmp_path / "day.rec")
    with known.open_file(tmp_path / "day.rec") as reader:
        assert reader.format == "tickroute, version 1"
        assert all_of(reader.batches()) == day.data.tobytes()
        assert reader.counts.messages == day.count
        assert reader.instruments == [Instrument("X", 4, 0)]
