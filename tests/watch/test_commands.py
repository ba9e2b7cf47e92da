"""Commands that were refused are alerts, each told once; so is a control channel in trouble, and an altered log."""

from __future__ import annotations

from collections import Counter

import pytest

from engine.run.control_guard import LOG, Bucket, Log
from engine.run.control_people import Actor, Peer
from engine.run.control_wire import new_request
from replay.watch import checkpoint
from replay.watch.commands import commands
from tests.watch.test_watch import run_id_of, watched

pytestmark = pytest.mark.timeout(600)
EVE = Peer("uid 61003", "uid 61003 (eve), process 7", None)
ANN = Peer("uid 61001", "uid 61001 (ann), process 8", Actor("ann", 61_001, frozenset({"halt"})))


@pytest.fixture
def log(run_dir):
    made = Log(run_dir, run_id_of(run_dir))
    yield made
    made.close()


def told(run_dir):
    """Alerts about commands: (code, subject, severity) and how often."""
    found: Counter[tuple[str, str, str]] = Counter()
    for row in watched(run_dir):
        if row["kind"] == "command":
            found[row["code"], row["subject"], row["severity"]] += row["count"]
    return found


def test_each_refusal_is_told_once_and_what_was_done_is_not(run_dir, log):
    assert not told(run_dir), "a log without a line"
    for _ in range(3):
        log.write("refused: not authorised", EVE, "not among [[control.person]]", new_request("halt"))
    log.write("refused: replayed", ANN, "id has been used", new_request("resume"))
    for n in range(3):
        log.write("refused: not authorised", Peer(f"key {n}", f"key {n} from 192.0.2.1", None), "a key")
    log.write("taken", ANN, "", new_request("halt"))
    log.write("error", None, "ValueError: planted")
    log.write("thread ended", None, "the thread that takes commands had ended, and was started again")
    wanted = {
        ("NOT_AUTHORISED", "uid 61003", "warning"): 3,
        ("NOT_AUTHORISED", "elsewhere", "warning"): 3,
        ("REPLAYED", "ann", "warning"): 1,
        ("CONTROL_ERROR", "", "warning"): 1,
        ("CONTROL_THREAD_ENDED", "", "critical"): 1,
    }
    assert told(run_dir) == wanted
    assert told(run_dir) == wanted, "by another watch"
    (first,) = [row for row in watched(run_dir) if row["subject"] == "ann"]
    assert first["text"] == "resume of uid 61001 (ann), process 8 refused, replayed: id has been used"
    assert not first["seen"]
    assert checkpoint.heads(run_dir)[LOG] == log._log.head


def test_lines_that_were_left_out_are_told(run_dir, log, monkeypatch):
    monkeypatch.setattr(log, "_bucket", Bucket(2))
    for _ in range(10):
        log.write("refused: malformed", EVE, "no request")
    log.write("taken", ANN, "", new_request("halt"))
    found = told(run_dir)
    assert sum(found.values()) == 10
    assert found["LINES_LEFT_OUT", "", "warning"] >= 5


def test_a_log_that_was_altered_or_may_not_be_read_is_told(run_dir, log):
    log.write("taken", ANN, "", new_request("halt"))
    path = run_dir / LOG
    path.write_bytes(path.read_bytes().replace(b'"outcome":"taken"', b'"outcome":"taken."'))
    assert told(run_dir) == {("LOG_ALTERED", "", "critical"): 1}
    (run_dir / "other").mkdir()
    (run_dir / "other" / LOG).mkdir()  # what nobody can read, root neither
    followed = commands(run_dir / "other", run_id_of(run_dir))
    assert [event.code for event in followed.look()] == ["LOG_UNREADABLE"]
    assert list(followed.look()) == []
