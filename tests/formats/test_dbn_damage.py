"""Damaged DBN: every cut, flipped bits, wrong versions; what is whole is given, then the error with its place."""

from __future__ import annotations

import struct
from typing import Any

import pytest
import zstandard
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from engine.jit import JIT
from gateways.feeds.report import FeedError
from gateways.formats import dbn
from tests.formats.dbn_made import mbo, packed, preamble, read, written
from tests.formats.dbn_twin import given

pytestmark = pytest.mark.kernel
GOOD = preamble(mappings=[("ES", [(20231101, 20231201, "5")])]) + b"".join(packed(mbo(order_id=n)) for n in range(4))
FIRST = len(GOOD) - 4 * 56


def test_every_cut_is_told_with_its_place(tmp_path):
    for cut in range(8, len(GOOD)):
        path = written(tmp_path, GOOD[:cut])
        whole = max(cut - FIRST, 0) // 56
        if cut >= FIRST and (cut - FIRST) % 56 == 0:
            assert len(read(path)[0]) == whole
            continue
        got: list[tuple[Any, ...]] = []
        reader = dbn.open_file(path)
        with reader, pytest.raises(FeedError, match="ends") as caught:
            got.extend(row for batch in reader.batches() for row in given([batch])[0])
        assert len(got) == reader.counts.messages == whole
        assert 0 < caught.value.offset <= cut


def test_a_cut_packed_file_gives_what_is_whole_and_then_the_error(tmp_path):
    data = zstandard.compress(GOOD[:FIRST]) + zstandard.compress(GOOD[FIRST:])
    for cut in range(4, len(data)):
        if cut == len(zstandard.compress(GOOD[:FIRST])):
            continue
        with pytest.raises(FeedError):
            read(written(tmp_path, data[:cut]))


@settings(max_examples=200 if JIT else 60)
@drawn(st.integers(3 * 8, len(GOOD) * 8 - 1), st.integers(1, 400))
def test_a_flipped_bit_is_an_error_or_is_counted(tmp_path_factory, bit, block):
    data = bytearray(GOOD)
    data[bit // 8] ^= 1 << bit % 8
    path = written(tmp_path_factory.mktemp("dbn"), bytes(data))
    error = None
    try:
        got, _, reader = read(path, block=block)
    except FeedError as caught:
        error = caught
    if error is not None:
        assert error.offset >= 0
        assert str(path) in str(error)
        return
    assert reader.counts.messages == 4
    assert len(got) + sum(reader.counts.skipped.values()) + (data[bit // 8] in b"NFC") >= 4


def test_what_is_no_dbn_is_refused(tmp_path):
    with pytest.raises(FeedError, match=r"unknown version of DBN \(found '4'\)"):
        read(written(tmp_path, b"DBN\x04" + GOOD[4:]))
    with pytest.raises(
        FeedError, match=f"at byte {FIRST}: no record of DBN is like this .found 'rtype 7 .unknown., 56"
    ):
        read(written(tmp_path, GOOD[: FIRST + 1] + b"\7" + GOOD[FIRST + 2 :]))
    with pytest.raises(FeedError, match="is no date"):
        read(written(tmp_path, GOOD.replace(struct.pack("<I", 20231101), struct.pack("<I", 20231301))))
    with pytest.raises(ValueError, match="px_decimals is 10"):
        dbn.open_file(tmp_path / "file.dbn", px_decimals=10)
