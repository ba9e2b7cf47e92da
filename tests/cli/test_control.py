"""`tickroute control`: what it says where no engine listens. With an engine: tests/run/test_disk.py."""

from __future__ import annotations

import pytest

from cli.main import main
from cli.status import halted_text, killed_text
from engine.io.ring import CONSUMER, PRODUCER, Ring
from engine.io.run_lock import RunLock
from engine.io.stats_file import StatsWriter
from engine.record.records import ControlAction, Reason, Template
from engine.run.control import WAIT_S, ControlError, cancel_all_record, kill_record, push
from engine.run.links import CONTROL_RING


@pytest.mark.parametrize("action", ["kill-on", "kill-off", "cancel-all"])
def test_a_run_without_an_engine_is_told(tmp_path, capsys, action):
    assert main(["control", str(tmp_path), action]) == 1
    assert "there is no run; start it" in capsys.readouterr().err
    (tmp_path / "journal").mkdir()
    RunLock(tmp_path).close()
    assert main(["control", str(tmp_path), action]) == 1
    assert "no engine works on this run" in capsys.readouterr().err


def test_an_engine_that_is_not_ready_is_told(tmp_path, capsys):
    with RunLock(tmp_path):
        assert main(["control", str(tmp_path), "kill-on"]) == 1
    assert "the engine is not ready yet" in capsys.readouterr().err


def test_another_word_is_wrong_use(tmp_path):
    assert main(["control", str(tmp_path), "kill"]) == 2


def test_a_loop_that_takes_nothing_is_an_error_and_one_that_does_is_seen(tmp_path, monkeypatch):
    ring = Ring.create(tmp_path / CONTROL_RING, 8, CONSUMER)
    monkeypatch.setattr("engine.run.control.WAIT_S", 0.1)
    with pytest.raises(ControlError, match="has not taken the record"):
        push(tmp_path, kill_record(ControlAction.KILL_ON, Reason.DISK_FULL), taken=True)
    for _ in range(7):
        push(tmp_path, cancel_all_record())
    with pytest.raises(ControlError, match="is full"):
        push(tmp_path, cancel_all_record())
    assert ring.pushed == 8
    holder = Ring.attach(tmp_path / CONTROL_RING, PRODUCER)
    with pytest.raises(Exception, match="is the producer already"):
        push(tmp_path, cancel_all_record())
    holder.close()
    ring.close()
    assert WAIT_S > 1
    assert cancel_all_record()["template_id"] == Template.MASS_CANCEL


def test_flags_in_words():
    assert [killed_text(n) for n in (0, 1, Reason.DISK_FULL)] == ["off", "on", "on (DISK_FULL)"]
    assert (halted_text(0), halted_text(Reason.BROKEN_INVARIANT)) == (None, "BROKEN_INVARIANT")


def test_status_says_what_somebody_must_act_upon_and_reads_an_older_run(tmp_path, capsys):
    names = {name: name for name in ("killed", "halted", "durable_seq", "inputs")}
    with_flags = StatsWriter(tmp_path / "stats", names, {}, ["total"])
    for name, value in (("killed", Reason.DISK_FULL), ("halted", Reason.DISK_ERROR), ("durable_seq", 7)):
        with_flags.counters[with_flags.counter_index[name]]["value"] = value
    with_flags.close()
    assert main(["status", str(tmp_path)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "durability disk" in told
    assert "kill flag on (DISK_FULL): no new order leaves until `tickroute control RUN_DIR kill-off`" in told
    assert "halted: DISK_ERROR; RUN_DIR/halted.txt says why" in told
    older = tmp_path / "older"
    older.mkdir()
    StatsWriter(older / "stats", {"inputs": "inputs"}, {}, ["total"]).close()
    assert main(["status", str(older)]) == 0
    assert "durability process" in capsys.readouterr().out
