"""What a backtest says and leaves behind when it cannot go on, what it holds in memory, and a day that rolls over."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from engine.io.journal_reader import JournalReader
from engine.record.records import UNIT, Template, blank
from engine.run import config as c
from replay.backtest.course import LINE
from replay.backtest.host import BacktestError, Feed, Host, Terms
from replay.backtest.window import Window, chunks_of
from replay.verify import verify
from tests.backtest import desk


def host_of(tmp_path, chunks, day):
    return Host(desk.config(tmp_path / "run"), Feed(iter(chunks), day.first_ns, 1), [], Terms(0, desk.SECOND))


def test_a_feed_that_runs_backwards(tmp_path):
    day = desk.day_of(desk.config(tmp_path), 100, 20)
    chunks = list(chunks_of(day, 2000))
    assert len(chunks) > 2
    with host_of(tmp_path, [chunks[1], chunks[0]], day) as host, pytest.raises(BacktestError, match="runs backwards"):
        host.run()
    with JournalReader(tmp_path / "run") as reader:  # what was played is a whole journal
        assert sum(len(chunk.rows) for chunk in reader.chunks()) > 10


def test_a_core_that_raises_is_written_down(tmp_path):
    day = desk.day_of(desk.config(tmp_path), 50, 10)

    def broken(*arguments):
        if arguments[-1] > 0:
            raise AssertionError("planted")
        return host_drive.go(*arguments)

    with host_of(tmp_path, chunks_of(day), day) as host:
        host_drive = host.drive
        names = {name: getattr(host_drive, name) for name in dir(host_drive) if not name.startswith("__")}
        host.drive = SimpleNamespace(**(names | {"go": broken}))
        with pytest.raises(BacktestError, match=r"the core raised .*planted"):
            host.run()
    assert "planted" in (tmp_path / "run" / "halted.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("there", [False, True])
def test_one_that_is_stopped_leaves_no_run(tmp_path, there):
    day = desk.day_of(desk.config(tmp_path), 50, 10)
    if there:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "mine.txt").write_text("mine", encoding="utf-8")

    def stopped(*arguments):
        raise KeyboardInterrupt

    def played():
        with host_of(tmp_path, chunks_of(day), day) as host:
            names = {name: getattr(host.drive, name) for name in dir(host.drive) if not name.startswith("__")}
            host.drive = SimpleNamespace(**(names | {"go": stopped}))
            host.run()

    with pytest.raises(KeyboardInterrupt):
        played()
    assert [path.name for path in tmp_path.rglob("run/*")] == ["mine.txt"] * there
    assert (tmp_path / "run").exists() == there


def test_an_empty_feed(tmp_path):
    day = desk.day_of(desk.config(tmp_path), 50, 10)
    with host_of(tmp_path, [], day) as host:
        done = host.run()
    assert done.market == 4, "a CLEAR of each venue"


@pytest.mark.parametrize("behind", [0, 5])
def test_the_window_holds_what_the_engine_has_not_seen(behind):
    """Memory is that of the chunks between the venues' and the engine's place, not of the feed."""
    chunk = blank(Template.CLEAR, 20_000).view(np.uint8)
    window = Window(iter([chunk] * 60), lambda _: blank(Template.CLEAR).view(np.uint8))
    line = np.zeros(1, dtype=LINE)[0]
    size = 0
    for n in range(62):
        window.refill(line)
        line.venue_at = line.stop
        line.engine_at = max(int(line.stop) - behind * 20_000, 0)
        size = max(size, len(window._buffer))
        assert line.ended == int(n == 61)
    assert window.taken == 60 * len(chunk) + UNIT
    assert size <= 4 * (behind + 1) * len(chunk) + (2 << 20)


def test_a_day_that_rolls_over_and_opens_with_positions(tmp_path):
    (tmp_path / "p.csv").write_text("account,instrument,qty,average_px,cost\n0,AAA,1200,157.25,\n1,BBB,-300,,-100\n")
    settings = msgspec.structs.replace(
        desk.config(tmp_path / "run"),
        day=c.Day(roll="14:32:00"),
        positions=c.Positions(file=str(tmp_path / "p.csv")),
    )
    result = desk.play(settings)
    kinds = result.summary()["by_kind"]
    assert (kinds["ROLL"], kinds["POSITION_LOAD"]) == (1, 2)
    rows = {(row["account"], row["symbol"]): row for row in result.positions().to_pylist()}
    assert rows[0, "AAA"]["opening_qty"] == 1200
    assert rows[1, "BBB"] == rows[1, "BBB"] | {"opening_qty": -300.0, "qty": -300.0, "bought_qty": 0.0}
    for row in rows.values():
        assert row["qty"] == row["opening_qty"] + row["bought_qty"] - row["sold_qty"]
    orders = result.orders().select(["status", "tif"]).to_pylist()
    assert any(row == {"status": "EXPIRED", "tif": "DAY"} for row in orders)
    verdict = verify(tmp_path / "run")
    assert (verdict.result, verdict.rolls) == ("identical", 1)
