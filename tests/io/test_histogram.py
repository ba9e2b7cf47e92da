"""Histograms against the hdrhistogram package: the same cells, percentiles, encodings and files; clamps counted."""

from __future__ import annotations

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.io import histogram
from engine.io.histogram import CLAMPED, COUNTS_LEN, HIGHEST, NEGATIVE

pytestmark = pytest.mark.kernel

values_ns = st.integers(0, HIGHEST) | st.integers(0, 41).flatmap(
    lambda bits: st.integers(max(2**bits - 2, 0), min(2**bits + 2, HIGHEST))
)


def recorded(values) -> np.ndarray:
    counts = histogram.empty()
    for value in values:
        histogram.record(counts, value)
    return counts


def package(values) -> HdrHistogram:
    hdr = HdrHistogram(histogram.LOWEST, HIGHEST, histogram.DIGITS)
    for value in values:
        assert hdr.record_value(value)
    return hdr


def test_the_sizes_are_those_of_the_package():
    hdr = package([])
    assert (hdr.counts_len, hdr.bucket_count, hdr.sub_bucket_count) == (
        COUNTS_LEN,
        histogram.BUCKETS,
        histogram.SUB_BUCKETS,
    )
    assert (histogram.LENGTH * 8) % 64 == 0


@settings(max_examples=25)  # the package reads percentiles at 50 ms an example
@given(st.lists(values_ns, min_size=1, max_size=60))
def test_cells_and_percentiles_are_those_of_the_package(values):
    counts, hdr = recorded(values), package(values)
    assert counts[:COUNTS_LEN].tolist() == list(hdr.counts)
    assert not counts[COUNTS_LEN:].any()
    points = (0.0, 1.0, 50.0, 90.0, 99.0, 99.9, 100.0)
    summary = histogram.summary(counts, points)
    # The package clips nothing, so its 100th percentile is a cell's highest value too.
    assert dict(summary.rows) == hdr.get_percentile_to_value_dict(list(points))
    assert (summary.total, summary.negative, summary.clamped) == (len(values), 0, 0)
    assert summary.mean_ns == pytest.approx(hdr.get_mean_value())


@given(values_ns)
def test_a_cell_holds_its_value_to_three_digits(value):
    (index,) = np.flatnonzero(recorded([value]))
    low, high = histogram.lowest_of(int(index)), histogram.highest_of(int(index))
    assert low <= value <= high
    assert high - low <= value / 1000
    hdr = package([value])
    assert low == hdr.get_lowest_equivalent_value(value)
    assert high == hdr.get_highest_equivalent_value(value)


@pytest.mark.parametrize(
    ("value", "slot", "kept"),
    [(-1, NEGATIVE, 0), (-(2**63), NEGATIVE, 0), (HIGHEST + 1, CLAMPED, HIGHEST), (2**63 - 1, CLAMPED, HIGHEST)],
)
def test_values_out_of_range_are_clamped_and_counted(value, slot, kept):
    counts = recorded([value, 5])
    assert counts[slot] == 1
    expected = recorded([kept, 5])
    assert counts[:COUNTS_LEN].tolist() == expected[:COUNTS_LEN].tolist()
    assert not expected[COUNTS_LEN:].any()


@given(st.lists(values_ns, max_size=30), st.lists(values_ns, max_size=30))
def test_histograms_add_up_and_intervals_are_differences(first, second):
    before, both = recorded(first), recorded([*first, *second])
    assert np.array_equal(histogram.merge([before, recorded(second)]), both)
    assert np.array_equal(both - before, recorded(second))


@given(st.lists(values_ns, max_size=40))
def test_the_encoding_is_read_back_by_the_package(values):
    counts = recorded(values)
    hdr = histogram.to_hdr(counts)
    decoded = HdrHistogram.decode(hdr.encode())
    assert list(decoded.counts) == counts[:COUNTS_LEN].tolist()
    assert decoded.get_total_count() == len(values)
    if values:
        # The package keeps the exact extremes, we their cells.
        assert package(values).get_max_value() == hdr.get_max_value()
        assert hdr.encode() == package(values).encode()


def test_an_empty_histogram_has_no_percentiles():
    assert histogram.summary(histogram.empty()) == (0, 0, 0, 0.0, ())


def test_an_interval_log_is_read_by_the_package_stage_by_stage(tmp_path):
    start_ns = 1_700_000_000_123_000_000
    values = {"decode": [100, 200, 3_000_000], "send": [5_000], "idle": []}
    with histogram.IntervalLog(tmp_path / "run.hlog", start_ns) as log:
        for number in range(2):
            for tag, rows in values.items():
                begin_ns = start_ns + number * 10**9
                log.write(tag, recorded(rows), begin_ns, begin_ns + 10**9)
        with pytest.raises(ValueError, match="without commas"):
            log.write("a,b", histogram.empty(), start_ns, start_ns + 1)
    reader = HistogramLogReader(str(tmp_path / "run.hlog"), package([]))
    for number in range(2):
        for tag, rows in values.items():
            interval = reader.get_next_interval_histogram()
            assert interval.get_tag() == tag
            assert list(interval.counts) == recorded(rows)[:COUNTS_LEN].tolist()
            assert interval.get_start_time_stamp() == pytest.approx(start_ns / 1e6 + number * 1000, abs=1)
            assert interval.get_end_time_stamp() - interval.get_start_time_stamp() == pytest.approx(1000, abs=1)
    assert reader.get_next_interval_histogram() is None
    reader.input_file.close()
    lines = (tmp_path / "run.hlog").read_text().splitlines()
    assert lines[0] == "#[Histogram log format version 1.3]"
    assert lines[4].startswith("Tag=decode,0.000,1.000,3.0")


def test_a_percentile_distribution_is_the_packages(tmp_path):
    values = [1_000, 2_000, 2_000, 50_000]
    histogram.write_hgrm(tmp_path / "a.hgrm", recorded(values))
    with (tmp_path / "b.hgrm").open("wb") as file:
        package(values).output_percentile_distribution(file, 1000.0)
    assert (tmp_path / "a.hgrm").read_bytes() == (tmp_path / "b.hgrm").read_bytes()
    assert b"TotalCount" in (tmp_path / "a.hgrm").read_bytes()
