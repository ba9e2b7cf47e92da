"""Bytes come as they are, however a file is packed and however they are taken; damage is told with its place."""

from __future__ import annotations

import gzip
import lzma

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gateways.feeds.report import FeedError
from gateways.formats.batch import Batch, make_batch, new_level, new_quote, room, taken
from gateways.formats.known import open_file
from gateways.formats.source import Source, head_of

DATA = bytes(np.random.default_rng(5).integers(0, 64, 300_000, dtype=np.uint8))
PACK = {
    "": lambda data: data,
    "gzip": gzip.compress,
    "zstd": lambda data: zstandard.compress(data[: len(data) // 2]) + zstandard.compress(data[len(data) // 2 :]),
    "xz": lzma.compress,
}


def drained(source, take):
    """All bytes of a source; `take(window size)` says how many of a window are consumed."""
    got, consumed = [], 0
    while True:
        window = source.more(consumed)
        consumed = min(take(len(window)), len(window)) if not source.ended else len(window)
        got.append(window[:consumed].tobytes())
        if source.ended:
            return b"".join(got)


@pytest.mark.parametrize("packing", PACK)
def test_a_file_is_read_whole_however_it_is_packed(tmp_path, packing):
    path = tmp_path / "file"
    path.write_bytes(PACK[packing](DATA))
    with Source(path, block=7000) as source:
        assert source.packing == packing
        assert drained(source, lambda n: n - n // 3) == DATA
        assert source.position == source.size == path.stat().st_size
    assert head_of(path, 100) == DATA[:100]


@settings(max_examples=30, deadline=None)
@given(block=st.integers(1, 400), takes=st.lists(st.integers(0, 900), min_size=1))
def test_no_byte_is_lost_or_given_twice(tmp_path_factory, block, takes):
    path = tmp_path_factory.mktemp("source") / "file"
    path.write_bytes(DATA[:3000])
    n = iter(takes * 4000)
    with Source(path, block=block) as source:
        assert drained(source, lambda _: next(n)) == DATA[:3000]
        assert source.offset + len(source._window) == 3000


@pytest.mark.parametrize("packing", ["gzip", "zstd", "xz"])
def test_a_cut_file_is_refused_with_its_place(tmp_path, packing):
    path = tmp_path / "file"
    packed = PACK[packing](DATA)
    path.write_bytes(packed[: len(packed) - 40])
    with Source(path, block=7000) as source, pytest.raises(FeedError, match=packing) as caught:
        drained(source, lambda n: n)
    assert f"at byte {caught.value.offset}" in str(caught.value)
    assert 0 < caught.value.offset <= len(DATA)
    assert f"as unpacked (within the first {caught.value.packed} bytes of the file)" in str(caught.value)
    assert 0 < caught.value.packed <= len(packed) - 40


def test_what_is_no_file_or_of_no_format_is_refused(tmp_path):
    with pytest.raises(FeedError, match="cannot be read"):
        Source(tmp_path / "none")
    (tmp_path / "text").write_bytes(b"")
    with pytest.raises(FeedError, match="is empty"):
        open_file(tmp_path / "text")
    (tmp_path / "text").write_text("hello, world")
    with pytest.raises(FeedError, match=r"at byte 0: is of no known format \(found 'hello, world'\)"):
        open_file(tmp_path / "text")


@pytest.mark.kernel
def test_a_batch_holds_whole_records_of_two_sizes_and_says_when_it_is_full():
    batch = make_batch(16)
    assert isinstance(batch, Batch)
    batch.words[:] = -1
    i = new_quote(batch, 3, 7, 100, 200)
    batch.quote[i].bid_px = 5
    k = new_level(batch, 2, 1, 101, 0)
    assert (i, k, int(batch.used[0])) == (0, 2, 3)
    assert (int(batch.head[0].template_id), int(batch.head[2].template_id)) == (1, 3)
    quote = batch.quote[0]
    shown = [
        int(quote[name]) for name in ("venue_id", "instrument_id", "ts_event_ns", "ts_recv_ns", "bid_px", "ask_px")
    ]
    assert shown == [3, 7, 100, 200, 5, 0]
    assert len(taken(batch)) == 192
    while room(batch):
        new_level(batch, 0, 0, 0, 0)
    assert 8 < int(batch.used[0]) <= 16
