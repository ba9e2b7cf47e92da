"""repair: what is given up is said and kept, numbers are left out for it, and nobody goes on with half a repair."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from cli.main import main
from engine.core.state import state_hash
from engine.io.journal_format import JournalError, Kind, segment_path
from engine.io.journal_reader import Ending, JournalReader
from engine.io.journal_writer import JournalWriter
from engine.io.run_lock import RunLock
from engine.record.records import DTYPES, Template
from engine.run import recover as recovery
from engine.run import snapshot
from engine.run.recover import RecoveryError, recover, skip_of
from replay import repair as repairs
from replay.repair import repair
from replay.verify import verify
from tests.replay.desk import config, record_day
from tests.replay.test_verify import frames_of, write
from tests.run.test_recover import shoot

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """A closed run of some small segments."""
    folder = tmp_path_factory.mktemp("repair")
    record_day(folder / "whole", quotes=120, trades=20, orders=12)
    return write(folder / "day", frames_of(folder / "whole"), 1 << 15)


@pytest.fixture
def hurt(day, tmp_path):
    """A copy with one bit flipped in segment 1; the place of the frame that it is in, as a row."""
    run_dir = shutil.copytree(day, tmp_path / "hurt")
    row = rows_of(day, 1)[20]
    flip(run_dir, 1, int(row["offset"]) + 45)
    return run_dir, row


def rows_of(run_dir, segment):
    with JournalReader(run_dir) as reader:
        return np.concatenate([chunk.rows for chunk in reader.chunks() if chunk.segment == segment])


def flip(run_dir, segment, offset):
    path = segment_path(run_dir, segment)
    data = bytearray(path.read_bytes())
    data[offset] ^= 16
    path.write_bytes(data)


def files_of(run_dir):
    return {
        str(path): path.read_bytes() for path in sorted(run_dir.rglob("*")) if path.is_file() and path.name != "lock"
    }


def settings(run_dir):
    return config(str(run_dir))


def test_a_dry_run_says_all_that_would_be_given_up_and_changes_nothing(day, hurt, capsys):
    run_dir, row = hurt
    before = files_of(run_dir)
    assert main(["repair", str(run_dir), "--dry-run", "--json", "-"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert (told["result"], told["damage"]["offset"]) == ("damaged", int(row["offset"]))
    assert told["damage"]["file"].endswith("000001.seg")
    assert told["last_seq"] == int(row["seq"]) - 1
    with JournalReader(day) as reader:
        behind = [frame for frame in reader.frames() if frame.seq > row["seq"]]
        lost = told["lost"]
        assert (lost["frames"], lost["first_seq"], lost["last_seq"]) == (len(behind), row["seq"] + 1, behind[-1].seq)
        new = [
            (frame.kind, frame.payload.view(DTYPES[Template.ORDER_NEW])["order_id"][0])
            for frame in behind
            if frame.kind in (Kind.INPUT, Kind.OUTPUT) and frame.payload.view("<u2")[1] == Template.ORDER_NEW
        ]
        assert lost["orders_at_venues"] == [order for kind, order in new if kind == Kind.OUTPUT] != []
        assert len(lost["orders_of_clients"]) == sum(kind == Kind.INPUT for kind, _ in new)
        assert sum(lost["records"].values()) == len(behind)
        assert lost["records"]["output ORDER_NEW"] == len(lost["orders_at_venues"])
    assert files_of(run_dir) == before
    assert main(["repair", str(run_dir), "--dry-run"]) == 3
    said = capsys.readouterr().out
    assert "cancel there what lives" in said
    assert "nothing was changed" in said


def test_a_repaired_run_goes_on_behind_the_last_good_frame_and_gives_no_id_again(day, hurt, capsys):
    run_dir, row = hurt
    before = {number: segment_path(run_dir, number).read_bytes() for number in range(1, 20)
              if segment_path(run_dir, number).exists()}  # fmt: skip
    with pytest.raises(JournalError, match=rf"tickroute repair {run_dir} --dry-run|tickroute repair RUN_DIR --dry-run"):
        recover(settings(run_dir))
    assert main(["repair", str(run_dir), "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["result"], told["life"]) == ("repaired", 2)
    aside = {path.rpartition("/")[2]: path for path in told["aside"]}
    kept = (run_dir / "journal" / f"000001-{int(row['offset'])}-0.torn").read_bytes()
    assert kept == before[1][int(row["offset"]) :].rstrip(b"\0")
    for number in range(2, max(before) + 1):
        assert (run_dir / "journal" / f"{number:06d}-0-0.torn").read_bytes() == before[number]
    assert (run_dir / "journal" / "chain-0.torn").read_bytes() == (day / "journal" / "chain").read_bytes()
    assert len(aside) == max(before) + 1
    found = recover(settings(run_dir))
    assert found.end.ending is Ending.CLOSED
    assert found.life.cut
    with JournalReader(day) as reader:
        outputs = sum(frame.kind == Kind.OUTPUT and frame.seq >= row["seq"] for frame in reader.frames())
    assert skip_of(found) >= outputs > 0
    assert verify(run_dir).result == "identical"
    assert main(["repair", str(run_dir)]) == 0
    assert "repair: sound" in capsys.readouterr().out


@pytest.mark.parametrize("stage", ["resume", "write_life"])
def test_a_repair_that_was_cut_short_keeps_the_run_from_going_on_and_is_finished_by_the_next(
    hurt, monkeypatch, stage, capsys
):
    run_dir, _ = hurt

    def dies(*_: object, **__: object):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(JournalWriter if stage == "resume" else repairs, stage, dies)
        assert main(["repair", str(run_dir)]) == 1
    with pytest.raises(RecoveryError, match=f"a repair was cut short; finish it with `tickroute repair {run_dir}`"):
        recover(settings(run_dir))
    assert main(["repair", str(run_dir), "--dry-run"]) == 3
    assert main(["repair", str(run_dir)]) == 0
    assert "a repair was cut short, and is finished now" in capsys.readouterr().out
    assert not (run_dir / recovery.UNFINISHED).exists()
    assert skip_of(recover(settings(run_dir))) > 100


def test_damage_before_the_newest_good_snapshot_is_no_reason_to_give_anything_up(day, tmp_path, capsys):
    run_dir = shutil.copytree(day, tmp_path / "shot")
    wanted = state_hash(recover(settings(run_dir)).state)
    rows = rows_of(run_dir, 1)
    shoot(run_dir, int(rows["seq"][5]), int(rows["seq"][40]))
    flip(run_dir, 1, int(rows["offset"][20]) + 45)
    before = files_of(run_dir)
    assert main(["repair", str(run_dir)]) == 0
    assert "behind a snapshot" in capsys.readouterr().out
    assert files_of(run_dir) == before
    assert state_hash(recover(settings(run_dir)).state) == wanted
    newest = snapshot.snapshots(run_dir)[0]
    data = bytearray(newest.read_bytes())
    data[-5000] ^= 1
    newest.write_bytes(data)
    told = repair(run_dir)
    assert (told.result, told.snapshot_seq) == ("repaired", int(snapshot.snapshots(run_dir)[-1].stem))
    assert "its state is damaged" in told.bad_snapshots[0]
    assert told.last_seq == int(rows["seq"][20]) - 1
    assert [path for path in told.aside if path.endswith(".ahead")] == [str(newest.with_suffix(".ahead"))]
    assert recover(settings(run_dir)).life.cut


def test_a_torn_tail_is_sound_and_a_living_engine_and_a_lost_manifest_are_refused(day, tmp_path, capsys):
    run_dir = shutil.copytree(day, tmp_path / "torn")
    with RunLock(run_dir):
        assert main(["repair", str(run_dir), "--dry-run"]) == 1
        assert "works on this run" in capsys.readouterr().err
    last = max(number for number in range(50) if segment_path(run_dir, number).exists())
    path = segment_path(run_dir, last)
    data, offset = path.read_bytes(), int(rows_of(run_dir, last)["offset"][-1])
    path.write_bytes(data[:56] + bytes(8) + data[64 : offset + 40] + bytes(len(data) - offset - 40))
    assert repair(run_dir).result == "sound"
    assert main(["repair", str(run_dir)]) == 0
    assert "the next start sets them aside" in capsys.readouterr().out
    flip(run_dir, 0, 64 + 40)
    assert main(["repair", str(run_dir)]) == 1
    assert "000000.seg at byte 64: " in capsys.readouterr().err
    assert main(["repair", str(tmp_path / "nothing")]) == 1
    assert "there is no journal" in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()
