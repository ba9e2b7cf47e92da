"""`tickroute record` as a process of its own, fed by a player over a real socket: all of it, in order, once."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
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
from gateways.formats.batch import make_batch, new_trade, taken
from gateways.formats.blocks import Blocks, Named
from gateways.formats.reader import Instrument
from gateways.formats.recorded import RecordedReader
from gateways.formats.recorded_write import RecordingWriter


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


def started(desk, out, *options):
    """`tickroute record` as a process of its own."""
    command = [sys.executable, "-m", "cli.main", "record", str(desk), str(out), *options]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE)


def sent_part(words, day):
    """That these records are the first of the day, but for epochs and receive times."""
    rows = words.reshape(-1, 8).copy()
    must = day.data.view(np.int64).reshape(-1, 8)[: len(rows)].copy()
    starts = day.offsets[:-1] // 64
    starts = starts[starts < len(rows)]
    for part in (rows, must):
        part[starts, 1] &= ~np.int64(0xFFFFFFFF)
        part[starts, 4] = 0
    assert np.array_equal(rows, must)
    return len(starts)


@pytest.mark.parametrize("packing", ["--zstd", "--plain"])
def test_a_recorder_that_is_killed_leaves_what_it_had_written(tmp_path, desk, packing, capsys):
    config = load(desk)
    day = generate(3, Names.of(config), 60_000, 20_000)
    out = tmp_path / "day.rec"
    process = started(desk, out, packing)
    try:
        with Player(day, [row.endpoint for row in config.feed], rate=0, wait_s=120, tail_s=0.01) as player:
            report = player.run()
            [partial] = tmp_path.glob("day.rec.*.partial")
            until_s = time.monotonic() + 60
            enough = 2_100_000 if packing == "--plain" else 290_000
            while (size := partial.stat().st_size) < enough and time.monotonic() < until_s:
                time.sleep(0.05)
            process.kill()
    finally:
        process.kill()
        process.wait(30)
        process.stdout.close()
    assert report.complete
    assert size >= enough
    assert not out.exists()
    assert main(["feed", "inspect", str(partial), "--json", str(tmp_path / "seen.json")]) == 0
    assert "the recording was not finished" in capsys.readouterr().out
    assert main(["feed", "convert", str(partial), str(out), "--json", str(tmp_path / "made.json")]) == 0
    seen, made = (json.loads((tmp_path / name).read_bytes()) for name in ("seen.json", "made.json"))
    assert "the recording was not finished: it ends with its last whole block" in made["skipped"]
    assert (seen["gaps"], seen["lost"], seen["repeated"], made["gaps"]) == (0, 0, 0, 0)
    words, reader = words_of(out)
    assert reader.venues == Names.of(config).codes()
    sent = len(day.data) // 8
    records = sent_part(words[:sent], day)
    assert 10_000 < records <= day.count
    assert sum(seen["records"].values()) == sum(made["records"].values()) >= records
    # A block that was torn, and one byte of it that is another, are left out, and counted.
    data = partial.read_bytes()
    torn = tmp_path / "torn.partial"
    for changed in (data[:-100], data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]):
        torn.write_bytes(changed)
        with RecordedReader(torn) as reader:
            count = sum(len(b.head[: int(b.used[0])]) for b in reader.batches())
            left = reader.counts.skipped["bytes behind the last whole block of a recording that was not finished"]
            whole = reader.index.records
        assert 0 < left <= 1 << 20
        assert count > 5_000
        assert whole < sum(seen["records"].values())
    # The next recording for this place says so.
    with Recorder(config, tmp_path / "other.rec"):
        assert list(tmp_path.glob("other.rec.*.partial"))
    assert not list(tmp_path.glob("other.rec*")), "nothing came: nothing is left"


def test_a_hole_in_what_a_killed_recorder_wrote_is_counted(tmp_path, desk):
    config = load(desk)
    names = Named(["N"], [Instrument("AA", 4, 0)])
    writer = RecordingWriter(tmp_path / "day.rec", names=names)
    blocks = Blocks(writer, 64)
    batch = make_batch(64)
    for seq in (1, 2, 5, 5):
        i = new_trade(batch, 0, 0, 10**18, 10**18)
        batch.head[i].stream_seq, batch.head[i].stream_epoch = seq, 9
    blocks.take(batch, names)
    blocks.flush()
    writer.leave()
    writer.leave()
    with RecordedReader(writer.partial) as reader:
        assert [int(n) for b in reader.batches() for n in b.head["stream_seq"][:4]] == [1, 2, 5, 5]
        assert (reader.counts.gaps, reader.counts.lost, reader.counts.repeated) == (1, 2, 1)
        assert [len(list(b.trade[: int(b.used[0])])) for b in reader.between(instruments=["AA"])] == [4]
    assert config.feed


@pytest.mark.parametrize("packing", ["--zstd", "--plain"])
def test_a_full_disk_keeps_what_it_took(tmp_path, desk, packing):
    config = load(desk)
    day = generate(3, Names.of(config), 60_000, 20_000)
    out, told = tmp_path / "day.rec", tmp_path / "r.json"
    process = started(desk, out, packing, "--json", str(told))
    try:
        with Player(day, [row.endpoint for row in config.feed], rate=0, wait_s=120, tail_s=0.01) as player:
            size = 3_000_000 if packing == "--plain" else 600_000

            def limit(now):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

            limit(None)
            player.run(limit)
            said = process.communicate(timeout=120)[0].decode()
    finally:
        process.kill()
        process.wait(30)
    assert process.returncode == 1
    assert "ended early" in said
    found = json.loads(told.read_bytes())
    assert found["failed"].startswith("cannot be written: ")
    assert found["unwritten"] > 0
    assert out.stat().st_size <= size
    words, reader = words_of(out)
    records = sent_part(words, day)
    assert records == sum(found["records"].values()) - found["unwritten"] > 1000
    assert reader.counts.skipped == {}
    assert reader.about["failed"] == found["failed"]
    assert sorted(p.name for p in tmp_path.glob("*day.rec*")) == ["day.rec"]


def test_where_not_even_the_index_fits_the_blocks_stay(tmp_path, desk, monkeypatch, capsys):
    config = load(desk)
    recorder = Recorder(config, tmp_path / "day.rec")
    batch = make_batch(64)
    new_trade(batch, 0, 0, 10**18, 10**18)

    def take(wait_s):
        recorder._blocks.take(batch, recorder._names)
        recorder._blocks.flush()
        raise OSError(errno.EIO, "Input/output error")

    def broken(names, about):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(recorder, "_take", take)
    monkeypatch.setattr(recorder._writer, "finish", broken)
    with recorder, pytest.raises(OSError, match="feed convert") as caught:
        recorder.run()
    assert caught.value.filename == str(recorder._writer.partial)
    with RecordedReader(recorder._writer.partial) as reader:
        assert [int(b.used[0]) for b in reader.batches()] == [1]
