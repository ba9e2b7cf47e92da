"""A TAQ file that is read as it is played: the records of the file read whole, in memory that does not grow with it."""

from __future__ import annotations

import gzip
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

from engine.jit import JIT
from gateways.feeds import taq
from gateways.feeds.files import kind_of, read_files
from gateways.feeds.names import Names
from gateways.feeds.report import FeedError
from replay import backtest
from replay.backtest import taq as taq_feed
from replay.backtest.settings import load
from replay.backtest.taq import TaqFeed
from tests.backtest.desk import frames
from tests.feeds_path import feed_path
from tests.sweep.desk import written

KINDS = ("quotes", "trades")
NAMES = Names.listed("NYBPTZKXVJAM", ("XXX",))
#: Some minutes of the day.
ROWS = 3_000


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The first rows of the captured day, and of some of them three of one time."""
    folder = tmp_path_factory.mktemp("taq")
    for kind in KINDS:
        with gzip.open(feed_path("taq", f"XXX_2018-01-02_{kind}.csv.gz"), "rt") as file:
            lines = [line for line, _ in zip(file, range(ROWS), strict=False)]
        for n in range(10, ROWS - 3, 7):
            for k in (1, 2):
                lines[n + k] = lines[n].partition(",")[0] + "," + lines[n + k].partition(",")[2]
        (folder / f"{kind}.csv").write_text("".join(lines), encoding="ascii")
    return [folder / f"{kind}.csv" for kind in KINDS]


def laid(feed):
    """All records of a feed, and their times: (uint8, int64)."""
    parts = list(feed.parts())
    for one, other in pairwise(parts):
        assert one.times[-1] < other.times[0]
    for part in parts:
        assert int(part.offsets[-1]) == len(part.data)
    return np.concatenate([part.data for part in parts]), np.concatenate([part.times for part in parts])


@pytest.mark.parametrize("block", [700, 20_000, 1 << 22])
def test_its_records_are_those_of_the_file_read_whole(files, monkeypatch, block):
    monkeypatch.setattr(taq, "_BLOCK", block)
    for path in files:
        feed, (day, report) = TaqFeed(path, kind_of(path), NAMES), read_files([path], NAMES)
        data, times = laid(feed)
        assert np.array_equal(data, day.data)
        assert np.array_equal(times, day.times)
        assert (feed.count, feed.first_ns, feed.last_ns) == (day.count, day.first_ns, day.last_ns)
        assert (feed.report.rows, feed.report.records, feed.report.skipped, feed.report.examples) == (
            report.rows, report.records, report.skipped, report.examples,
        )  # fmt: skip
        assert (feed.size, feed.report.crossed) == (len(day.data), report.crossed)
        low, high = day.count // 3, 2 * day.count // 3
        feed.begin_ns, feed.end_ns = int(day.times[low]), int(day.times[high])
        _, times = laid(feed)
        assert np.array_equal(times, day.times[(day.times >= feed.begin_ns) & (day.times < feed.end_ns)])
        if "quotes" in path.name:
            assert feed.quotes()["ts_event_ns"].tolist() == times.tolist()


@pytest.mark.skipif(not JIT, reason="a hundred thousand rows; other tests have some thousand in every mode")
def test_the_captured_day_whole():
    for kind in KINDS:
        path = feed_path("taq", f"XXX_2018-01-02_{kind}.csv.gz")
        day, _ = read_files([path], NAMES)
        data, _ = laid(TaqFeed(path, f"taq {kind}", NAMES))
        assert np.array_equal(data, day.data)


def test_a_backtest_of_it_is_that_of_the_recording(files, tmp_path, monkeypatch):
    """Frame for frame, parents drawn from the same quotes."""
    path = written(tmp_path)
    names = Names.of(load(path).config)
    recorded = [tmp_path / "1.rec", tmp_path / "2.rec"]
    for file, csv in zip(recorded, files[::-1], strict=True):
        read_files([csv], names)[0].save(file)
    monkeypatch.setattr(taq, "_BLOCK", 30_000)
    found = []
    for name, feeds in (("csv", files), ("recordings", recorded)):
        result = backtest.run(path, feeds, run_dir=tmp_path / name, orders=20)
        assert result.fills().num_rows > 0
        found.append(frames(tmp_path / name))
    assert found[0] == found[1]


def test_memory_does_not_grow_with_the_file(files, tmp_path, monkeypatch):
    """Beside a file that is a tenth as long: gone through once beforehand, and then as it is played."""
    monkeypatch.setattr(taq, "_BLOCK", 1 << 16)
    header, *rows = files[0].read_text(encoding="ascii").splitlines(keepends=True)
    peaks = []
    for times in (1, 10):
        path = tmp_path / f"{times}.csv"
        with path.open("w", encoding="ascii") as out:
            out.write(header)
            for day in range(2, 2 + times):
                out.writelines(row.replace("2018-01-02", f"2018-01-{day:02d}", 1) for row in rows)
        tracemalloc.start()
        feed = TaqFeed(path, "taq quotes", NAMES)
        assert feed.count == sum(len(part.times) for part in feed.parts()) == times * len(rows)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_what_is_wrong_with_it_is_known_before_it_is_played(files, tmp_path):
    """At its end, too, and no run directory is made."""
    text = files[0].read_text(encoding="ascii")
    (tmp_path / "cut.csv").write_text(text[:-20], encoding="ascii")
    with pytest.raises(FeedError, match="ends in the middle of a row"):
        backtest.run(written(tmp_path), [tmp_path / "cut.csv"], run_dir=tmp_path / "run", orders=1)
    assert not (tmp_path / "run").exists()


def test_parents_are_drawn_from_a_bounded_number_of_quotes(files, monkeypatch):
    monkeypatch.setattr(taq_feed, "MOST_QUOTES", 500)
    feed = TaqFeed(files[0], "taq quotes", NAMES)
    assert feed.quotes()["ts_event_ns"].tolist() == laid(feed)[1][::8].tolist()
