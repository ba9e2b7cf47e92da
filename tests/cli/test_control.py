"""The commands to an engine where none listens, and what `tickroute status` says of its flags.

With a server: tests/run/test_control.py; with an engine: tests/run/test_commands.py.
"""

from __future__ import annotations

import pytest

from cli.main import main
from cli.status import halted_text, killed_text
from engine.io.run_lock import RunLock
from engine.io.stats_file import StatsWriter
from engine.record.records import Reason

COMMANDS = (
    ["halt"], ["resume"], ["cancel-all"], ["limits", "max-qty", "5"], ["override", "max-qty", "5", "--for", "1m"],
    ["enable", "--strategy", "1"],
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_run_without_an_engine_is_told(tmp_path, capsys, command):
    name, *rest = command
    assert main([name, str(tmp_path), *rest]) == 1
    assert "there is no run; start it" in capsys.readouterr().err
    (tmp_path / "journal").mkdir()
    RunLock(tmp_path).close()
    assert main([name, str(tmp_path), *rest]) == 1
    assert "no engine works on this run" in capsys.readouterr().err


def test_an_engine_that_is_not_ready_is_told(tmp_path, capsys):
    with RunLock(tmp_path):
        assert main(["halt", str(tmp_path)]) == 1
    assert "the engine is not ready yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["halt", "RUN", "--venue", "XA", "--trader", "3"], "one scope at a time"),
        (["enable", "RUN"], "name the strategy"),
        (["override", "RUN", "max-qty", "5"], "how long"),
        (["override", "RUN", "max-qty", "5", "--approve", "3"], "stands alone"),
        (["halt", "RUN", "--connect", "tcp://127.0.0.1:1"], "needs --key and --server-key"),
        (["halt", "RUN", "--nonsense"], "No such option"),
        (["control", "RUN", "kill-on"], "control"),
    ],
)
def test_wrong_use_is_told(tmp_path, capsys, words, said):
    assert main([word.replace("RUN", str(tmp_path)) for word in words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


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
    assert "kill flag on (DISK_FULL): no new order leaves until `tickroute resume RUN_DIR`" in told
    assert "halted: DISK_ERROR; RUN_DIR/halted.txt says why" in told
    older = tmp_path / "older"
    older.mkdir()
    StatsWriter(older / "stats", {"inputs": "inputs"}, {}, ["total"]).close()
    assert main(["status", str(older)]) == 0
    assert "durability process" in capsys.readouterr().out
