"""Latencies from files: the quantiles are the file's, the kernels draw what the twin draws, nothing overtakes."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings

from engine.io.histogram import IntervalLog, empty, record, to_hdr, write_hgrm
from engine.run.config import ConfigError
from gateways.venues.latency import TABLE, quantiles
from tests.venues.days import days, rows_of
from tests.venues.test_exchange_twin import Driver, twin_run
from tests.venues.world import VENUES, config


def measured(seed=1, count=20_000):
    """A histogram of a long tail, and its values."""
    values = np.random.default_rng(seed).lognormal(10, 1, count).astype(np.int64)
    counts = empty()
    for value in values:
        record(counts, int(value))
    return counts, np.sort(values)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An .hlog of two tags in two intervals each, an .hgrm of one of them, and its histogram."""
    folder = tmp_path_factory.mktemp("latency")
    wire, other = measured()[0], measured(2, 500)[0]
    log = IntervalLog(folder / "live.hlog", 10**18)
    half = wire // 2
    for n, counts in enumerate((half, wire - half)):
        log.write("wire", counts, 10**18 + n * 10**9, 10**18 + (n + 1) * 10**9)
        log.write("total", other, 10**18 + n * 10**9, 10**18 + (n + 1) * 10**9)
    log.close()
    one = IntervalLog(folder / "one.hlog", 10**18)
    one.write("total", other, 10**18, 10**18 + 1)
    one.close()
    write_hgrm(folder / "wire.hgrm", wire)
    (folder / "empty.hlog").write_text("#[Histogram log format version 1.3]\n")
    (folder / "bad.hlog").write_text("1.0,1.0,1.0,HISTnonsense\n")
    (folder / "bad.hgrm").write_text("nothing\n")
    (folder / "wire.txt").write_text("")
    return folder


def test_quantiles_are_those_of_the_histogram(files):
    table = quantiles(files / "live.hlog", "wire")
    hdr = to_hdr(measured()[0])
    assert table.shape == (TABLE,)
    assert (np.diff(table) >= 0).all()
    for n in (0, 100, TABLE // 2, TABLE - 200, TABLE - 1):
        expected = hdr.get_value_at_percentile((n + 0.5) / TABLE * 100)
        assert abs(int(table[n]) - expected) <= max(expected // 100, 1)
    assert quantiles(files / "one.hlog")[0] == quantiles(files / "one.hlog", "total")[0]


def test_a_percentile_distribution_is_read_in_microseconds(files):
    table, exact = quantiles(files / "wire.hgrm"), quantiles(files / "live.hlog", "wire")
    middle = slice(TABLE // 8, TABLE - TABLE // 20)
    assert np.abs(table[middle] / exact[middle] - 1).max() < 0.1  # it has a row for some percentiles alone


@pytest.mark.parametrize(
    ("name", "tag", "words"),
    [
        ("live.hlog", "", "has several tags; it has total, wire; name one as venue X: latency_tag"),
        ("live.hlog", "send", 'has no tag "send"; it has total, wire'),
        ("empty.hlog", "", "has no intervals"),
        ("bad.hlog", "", "is no histogram log"),
        ("none.hlog", "", "cannot be read"),
        ("none.hgrm", "", "cannot be read"),
        ("bad.hgrm", "", "has no row of value"),
        ("wire.hgrm", "wire", "has no tags"),
        ("wire.txt", "", "neither .hlog nor .hgrm"),
    ],
)
def test_mistakes_name_file_and_tag(files, name, tag, words):
    with pytest.raises(ConfigError) as told:
        quantiles(files / name, tag, "venue X: latency")
    assert words in str(told.value)
    assert str(files / name) in str(told.value)


def drawn(files, simulation=None):
    """The first venue draws both ways, the second from two files, the third not at all."""
    live = str(files / "live.hlog")
    first = msgspec.structs.replace(VENUES[0], latency=live, latency_tag="wire")
    second = msgspec.structs.replace(
        VENUES[1], latency=live, latency_tag="total", report_latency=str(files / "wire.hgrm")
    )
    return config(simulation, venues=(first, second, VENUES[2]))


@pytest.mark.kernel
@settings(max_examples=40)
@given(day=days)
def test_the_kernels_draw_what_the_twin_draws(files, day):
    cfg = drawn(files)
    driver = Driver(cfg)
    reports = driver.run(rows_of(day))
    assert reports == twin_run(cfg, rows_of(day))
    last: dict[int, int] = {}
    for report in driver.taken:  # in the order in which they leave: so they were made
        venue, made = int(report["venue_id"]), int(report["ts_event_ns"])
        assert made >= last.get(venue, 0)
        last[venue] = made
