"""Grids: keys and values held to the configuration's types before anything runs, every mistake named; days by date."""

from __future__ import annotations

import pytest

from cli.main import main
from cli.sweep import numbers
from engine.errors import UsageError
from gateways.feeds.report import FeedError
from replay.backtest.settings import Backtest, FeedFile, load
from replay.sweep.days import find, told
from replay.sweep.grid import GridError, pairs, variants
from replay.sweep.run import plan
from tests.sweep import desk


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return desk.written(tmp_path_factory.mktemp("grid"))


def made(config, *texts):
    return variants(config, pairs(texts))


def test_values_are_typed_as_their_keys_are(config):
    axes, found = made(
        config,
        "routing.sweep.max_rounds=1..3",
        "routing.sweep.rest=venue",
        "venue.XNYS.take_fee=0.0010,'-0.0002'",
        "routing.day_end=20:00:00",
        "backtest.feed_latency_us=10..30:20",
    )
    assert [axis.values for axis in axes] == [(1, 2, 3), ("venue",), ("0.0010", "-0.0002"), ("20:00:00",), (10, 30)]
    assert len(found) == 12
    assert [one.values[0] for one in found] == [1] * 4 + [2] * 4 + [3] * 4
    last = found[-1].settings
    assert last.config.routing.sweep.max_rounds == 3
    assert last.config.routing.sweep.rest == "venue"
    assert [v.take_fee for v in last.config.venue][:2] == ["-0.0002", "-0.0002"]
    assert found[0].settings.config.venue[0].take_fee == "0.0010"
    assert last.backtest.feed_latency_us == 30


def test_rows_of_lists_go_by_name_and_all_of_them_by_a_star(config):
    _, found = made(config, "venue.*.latency_us=7", "venue.T.make_fee=0.5", "venue.BATY.simulation.reject_ppm=5")
    venues = {venue.mic: venue for venue in found[0].settings.config.venue}
    assert {venue.latency_us for venue in venues.values()} == {7}
    assert [mic for mic, venue in venues.items() if venue.make_fee == "0.5"] == ["XNAS"]
    assert [mic for mic, venue in venues.items() if venue.simulation is not None] == ["BATY"]


def test_without_a_grid_there_is_the_file_itself(config):
    axes, found = variants(config, {})
    assert axes == []
    assert [(one.values, one.settings) for one in found] == [((), load(config))]


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        (
            "simulation.reject_ppm=0,2000000",
            "simulation.reject_ppm = 2000000: must be a whole number from 0 to 1000000",
        ),
        ("simulation.reject_ppm=many", 'simulation.reject_ppm = "many": must be a whole number'),
        ("simulation.rejct_ppm=0", "simulation.rejct_ppm: unknown key; did you mean simulation.reject_ppm?"),
        ("routing.sweep.rest=moon", 'routing.sweep.rest = "moon": must be one of "engine", "venue"'),
        ("venue.XNYX.latency_us=0", "venue.XNYX.latency_us: there is no such venue; known are XNYS, BATY"),
        ("routing.parameters.speed=1", "routing.parameters.speed: strategies.sweep declares no such parameter"),
        ("risk.max_qty=0", '--grid risk.max_qty=0: risk.max_qty = "0": must be above 0'),
        ("backtest.from=25:00:00", 'backtest.from = "25:00:00": hour must be in 0..23'),
        ("engine.run_dir=x", "engine.run_dir: each cell has a directory of its own"),
        ("simulation.seed=1", "simulation.seed: name the seeds with --seeds"),
        ("venue=3", "venue: is a table or a list; name a key in it"),
        ("routing.stale_ms.x=3", "routing.stale_ms is no table; leave .x out"),
        ("routing.stale_ms=5,5", "routing.stale_ms: 5 is there twice"),
        ("routing.stale_ms=9..1", "a range is LOW..HIGH or LOW..HIGH:STEP"),
        ("routing.stale_ms=1..900000", "900,000 values; 100,000 are the most"),
        ("routing.stale_ms", "write it as KEY=V1,V2"),
    ],
)
def test_mistakes_of_a_grid(config, tmp_path, capsys, grid, said):
    assert main(["sweep", str(config), "--grid", grid, "--out", str(tmp_path / "out")]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_all_mistakes_are_told_at_once(config):
    with pytest.raises(GridError) as told:
        made(config, "routing.stale_ms=-1", "venue.*.latency_us=1,2", "venue.XNYS.latency_us=3", "nothing=1")
    lines = str(told.value).splitlines()
    assert len(lines) == 3
    assert "venue.*.latency_us sets the same" in lines[1]
    with pytest.raises(GridError, match="has its values already"):
        made(config, "routing.stale_ms=1", "routing.stale_ms=2")


def test_files_of_one_date_are_a_day(tmp_path):
    files = [tmp_path / name for name in ("a_2018-01-02.rec", "b_20180102.rec", "a_2018_01_03.rec", "odd.rec")]
    for path in files:
        path.write_bytes(b"TRDAY\r\n\x1a")
    names = [day.name for day in find([tmp_path], Backtest())]
    assert names == ["2018-01-02", "2018-01-03", "odd"]
    days = find([str(tmp_path / "*.rec")], Backtest())
    assert [len(day.files) for day in days] == [2, 1, 1]
    assert days[0].kinds == ("recording",)
    [one] = find([f"{files[3]},{files[0]}"], Backtest())
    assert (one.name, len(one.files)) == ("odd", 2)
    with pytest.raises(UsageError, match="there is no such file, folder or pattern"):
        find([str(tmp_path / "*.none")], Backtest())
    with pytest.raises(UsageError, match="there is no day: name its files with --days"):
        find([], Backtest())
    (tmp_path / "readme").write_text("nothing that is known")
    with pytest.raises(FeedError, match="is of no known format"):
        find([tmp_path], Backtest())


def test_what_is_said_of_a_file_is_said_of_its_name_on_every_date(tmp_path):
    path = tmp_path / "x_2018-01-03.rec"
    path.write_bytes(b"TRDAY\r\n\x1a")
    said = Backtest(feed=[FeedFile("/elsewhere/x_2018-01-02.rec", venue="XNYS", skew=5)])
    [day] = find([path], said)
    assert told(said, day).feed == [FeedFile(str(path), venue="XNYS", skew=5)]


def test_seeds_and_what_cannot_be_one(config, tmp_path):
    assert numbers("0..3") == [0, 1, 2, 3]
    assert numbers("5,7..8") == [5, 7, 8]
    for text in ("x", "3..1", "-1", "0..9999999"):
        with pytest.raises(UsageError, match="--seeds"):
            numbers(text)
    (tmp_path / "day.rec").write_bytes(b"TRDAY\r\n\x1a")
    with pytest.raises(UsageError, match="give each once"):
        plan(config, {}, [tmp_path / "day.rec"], [1, 1])
