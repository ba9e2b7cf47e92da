"""Recordings: the order and numbering of merged streams, and files that are either right or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UsageError
from engine.record.records import DTYPES, Template, blank
from gateways.feeds import recording
from gateways.feeds.names import Names
from gateways.feeds.recording import Recording, build, load
from gateways.feeds.report import FeedError

pytestmark = pytest.mark.kernel

NAMES = Names.listed("ZAM")
EVENTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.booleans()), max_size=40)


def parts_of(events: list[tuple[int, int, bool]]) -> list[np.ndarray]:
    """A TRADE and a QUOTE array of (time, venue, is_quote); `instrument_id` holds the place in its array."""
    parts = []
    for template in (Template.TRADE, Template.QUOTE):
        chosen = [e for e in events if e[2] == (template == Template.QUOTE)]
        rows = blank(template, len(chosen))
        rows["ts_event_ns"] = [e[0] for e in chosen]
        rows["venue_id"] = [e[1] for e in chosen]
        rows["instrument_id"] = np.arange(len(chosen))
        parts.append(rows)
    return parts


def rows_of(day: Recording) -> list[tuple[int, ...]]:
    """(time, venue, seq, template, number) of each record in order, read with plain struct views."""
    out = []
    for lo, hi in zip(day.offsets[:-1], day.offsets[1:], strict=True):
        record = bytes(day.data[lo:hi])
        template = Template(int.from_bytes(record[2:4], "little"))
        row = np.frombuffer(record, dtype=DTYPES[template])[0]
        assert row["stream_id"] == row["venue_id"]
        fields = (row["ts_event_ns"], row["venue_id"], row["stream_seq"], template, row["instrument_id"])
        out.append(tuple(int(x) for x in fields))
    return out


@given(EVENTS)
def test_streams_merge_by_time_venue_code_and_order(events: list[tuple[int, int, bool]]) -> None:
    day = build(parts_of(events), NAMES)
    code_of = {0: "Z", 1: "A", 2: "M"}
    expected, counts = [], {True: 0, False: 0}
    for time, venue, is_quote in events:
        expected.append((time, code_of[venue], is_quote, counts[is_quote], venue))
        counts[is_quote] += 1
    seqs = [0, 0, 0]
    rows = []
    for time, _, is_quote, number, venue in sorted(expected):
        seqs[venue] += 1
        rows.append((time, venue, seqs[venue], Template.QUOTE if is_quote else Template.TRADE, number))
    assert rows_of(day) == rows
    assert day.times.tolist() == [r[0] for r in rows]


def test_a_saved_day_is_the_same_day(tmp_path: Path) -> None:
    day = build(parts_of([(3, 0, True), (1, 2, False), (1, 1, True), (9, 2, True)]), NAMES)
    day.save(tmp_path / "a.day")
    again = load(tmp_path / "a.day")
    assert bytes(again.data) == bytes(day.data)
    assert again.names == day.names
    assert np.array_equal(again.offsets, day.offsets)
    assert np.array_equal(again.times, day.times)
    assert not again.data.flags.writeable
    assert not day.data.flags.writeable
    assert again.data.ctypes.data % 64 == 0
    assert day.data.ctypes.data % 64 == 0


def test_an_empty_day_is_a_day(tmp_path: Path) -> None:
    build([], NAMES).save(tmp_path / "e.day")
    assert load(tmp_path / "e.day").count == 0


def test_a_cut_is_numbered_anew(tmp_path: Path) -> None:
    events = [(t, t % 3, t % 2 == 0) for t in range(30)]
    cut = build(parts_of(events), NAMES).cut(10, 20)
    assert [row[0] for row in rows_of(cut)] == list(range(10, 20))
    assert [row[2] for row in rows_of(cut) if row[1] == 0] == [1, 2, 3]
    cut.save(tmp_path / "c.day")
    assert load(tmp_path / "c.day").count == 10


def test_every_damaged_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.day"
    build(parts_of([(1, 0, True), (2, 1, False)]), NAMES).save(path)
    good = path.read_bytes()
    meta_end = recording.HEADER_SIZE + len(b'{"venues": ["Z", "A", "M"], "symbols": [["XXX", 4, 0]]}')
    checked = [*range(recording._HEADER.size + 4), *range(recording.HEADER_SIZE, meta_end), *range(4096, len(good))]
    for at in checked:
        bad = bytearray(good)
        bad[at] ^= 0x10
        path.write_bytes(bad)
        with pytest.raises(FeedError):
            load(path)
    for size in (0, 7, 60, 128, 4096, len(good) - 1):
        path.write_bytes(good[:size])
        with pytest.raises(FeedError):
            load(path)
    path.write_bytes(good + b"\0")
    with pytest.raises(FeedError, match="cut or padded"):
        load(path)


def test_missing_or_foreign_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="cannot be read"):
        load(tmp_path / "none.day")
    (tmp_path / "x").write_bytes(b"no recording" * 100)
    with pytest.raises(FeedError, match="no recording"):
        load(tmp_path / "x")


@pytest.mark.parametrize(("field", "value", "why"), [("ts_event_ns", 0, "backwards"), ("stream_seq", 9, "gap")])
def test_records_in_a_wrong_order_are_refused(tmp_path: Path, field: str, value: int, why: str) -> None:
    day = build(parts_of([(1, 0, True), (2, 0, True)]), NAMES)
    data = day.data.copy()
    data.view(DTYPES[Template.QUOTE])[field][1] = value
    Recording(data, day.offsets, day.times, NAMES).save(tmp_path / "a.day")
    with pytest.raises(FeedError, match=why):
        load(tmp_path / "a.day")


def test_unknown_records_are_refused(tmp_path: Path) -> None:
    day = build(parts_of([(1, 0, True), (2, 0, True)]), NAMES)
    for column, value in (("template_id", 63), ("template_id", 300), ("block_length", 57), ("schema_id", 1)):
        data = day.data.copy()
        data.view(DTYPES[Template.QUOTE])[column][1] = value
        Recording(data, day.offsets, day.times, NAMES).save(tmp_path / "a.day")
        with pytest.raises(FeedError, match="unknown template, schema or length"):
            load(tmp_path / "a.day")


def test_names_of_another_configuration_are_refused() -> None:
    day = build(parts_of([(1, 0, True)]), NAMES)
    day.check_names(Names.listed("ZAMQ"))
    with pytest.raises(FeedError, match="recorded with venues"):
        day.check_names(Names.listed("AZM"))
    with pytest.raises(FeedError, match="recorded with symbols"):
        day.check_names(Names.listed("ZAM", px_decimals=2))


def test_parts_must_be_of_known_venues_and_sizes() -> None:
    rows = blank(Template.QUOTE, 1)
    with pytest.raises(ValueError, match="venue_id -1"):
        build([rows], NAMES)
    with pytest.raises(ValueError, match="bytes long"):
        build([np.zeros(1, dtype=[("venue_id", "i2")])], NAMES)
    with pytest.raises(UsageError, match="each once"):
        Names({"A": 1}, {})
