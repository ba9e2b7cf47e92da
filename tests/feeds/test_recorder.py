"""`tickroute record` as a process of its own, fed by a player over a real socket: all of it, in order, once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import zmq

from cli.demo_config import demo_toml
from cli.main import main
from engine.jit import ROOT
from engine.record.records import Template, blank
from engine.run.config import load
from gateways.feeds.names import Names
from gateways.feeds.player import Player
from gateways.feeds.recorder import Recorder
from gateways.feeds.synthetic import generate
from gateways.formats.batch import taken
from gateways.formats.recorded import RecordedReader


@pytest.fixture
def desk(tmp_path):
    """A configuration's file."""
    path = tmp_path / "desk.toml"
    settings: dict[str, Any] = {
        "day": "2018-01-02",
        "day_end": "",
        "orders": 100,
        "seed": 1,
        "stale_ms": 500,
        "idle": "yield",
    }
    path.write_text(demo_toml(tmp_path / "run", tmp_path, **settings))
    return path


def words_of(path):
    """A recording's records as words (n), and its reader's names and receive times."""
    with RecordedReader(path) as reader:
        data = np.concatenate([taken(batch).copy() for batch in reader.batches()])
        return data.view(np.int64), reader


@pytest.mark.parametrize("ends", ["day", "signal"])
def test_all_that_a_player_sends_is_recorded(tmp_path, desk, ends):
    config = load(desk)
    day = generate(3, Names.of(config), 60_000, 20_000)
    out = tmp_path / "day.rec"
    options = ["--until-day-end", "--plain"] if ends == "day" else []
    command = [sys.executable, "-m", "cli.main", "record", str(desk), str(out), "--json", str(tmp_path / "r.json")]
    process = subprocess.Popen([*command, *options], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        with Player(day, [row.endpoint for row in config.feed], rate=0, wait_s=120, tail_s=0.01) as player:
            report = player.run()
            if ends == "signal":
                process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait(30)
    found = json.loads((tmp_path / "r.json").read_bytes())
    assert report.complete
    assert (found["gaps"], found["lost"], found["repeated"], found["malformed"], found["left_out"]) == (0, 0, 0, 0, 0)
    assert found["records"] == {"QUOTE": 60_000, "TRADE": 20_000, "CLEAR": len(config.venue)}
    assert (found["ended"], found["passed_over"] > 0) == (True, True)
    words, reader = words_of(out)
    assert reader.venues == Names.of(config).codes()
    compare(words, day)
    assert sorted(p.name for p in tmp_path.glob("*day.rec*")) == ["day.rec"]


def compare(words, day):
    """What was recorded is the day, but for epochs and receive times, and then the day's ends."""
    sent = day.data.view(np.int64)
    part = words[: len(sent)].reshape(-1, 8).copy()
    must = sent.reshape(-1, 8).copy()
    starts = day.offsets[:-1] // 64
    assert (part[starts, 4] > 10**18).all()
    assert (np.diff(part[starts, 4]) >= 0).all()
    for rows in (part, must):
        rows[starts, 1] &= ~np.int64(0xFFFFFFFF)
        rows[starts, 4] = 0
    assert np.array_equal(part, must)


def test_gaps_and_what_cannot_be_are_counted(tmp_path, desk):
    config = load(desk)
    with Recorder(config, tmp_path / "day.rec") as recorder, zmq.Context() as context:
        socket = context.socket(zmq.XPUB)
        socket.bind(config.feed[0].endpoint)
        good = blank(Template.TRADE, 7)
        good["stream_epoch"], good["stream_seq"] = 9, [1, 2, 5, 5, 6, 7, 8]
        good["stream_id"], good["venue_id"], good["instrument_id"] = 0, 0, 0
        good["venue_id"][5], good["instrument_id"][6] = 99, 7
        sample = blank(Template.CLOCK_SAMPLE)
        assert socket.poll(10_000), "the recorder does not subscribe"
        socket.recv()
        for message in (good.tobytes(), sample.tobytes(), b"nothing"):
            socket.send(message)

        def stop(count, seconds):
            if count == 5:
                recorder.stop()

        found = recorder.run(progress=stop)
        socket.close(linger=0)
    assert (found.records, found.gaps, found.lost, found.repeated) == ({"TRADE": 5}, 1, 2, 1)
    assert (found.left_out, found.malformed, found.passed_over) == (2, 1, 1)
    with RecordedReader(tmp_path / "day.rec") as reader:
        assert [int(n) for b in reader.batches() for n in b.head["stream_seq"]] == [1, 2, 5, 5, 6]
        assert (reader.counts.gaps, reader.counts.lost) == (1, 2)


def test_a_recording_that_is_there_is_not_overwritten(tmp_path, desk, capsys):
    (tmp_path / "day.rec").write_text("mine")
    assert main(["record", str(desk), str(tmp_path / "day.rec")]) == 2
    assert "is there already" in capsys.readouterr().err
