"""What goes wrong at the control server keeps nobody from stopping the engine: peers that hang up, errors, threads that
end, files in the way, people who want too much.

Who connects is planted (`seen_as`), so that one user can be many; real users are in tests/run/test_control.py.
"""

from __future__ import annotations

import shutil
import time

import msgspec
import pytest

from engine.io.chained import Head
from engine.run import control_guard
from engine.run.config_control import ROLES
from engine.run.control import ControlError
from engine.run.control_client import dial
from engine.run.control_guard import Bucket, Guard, Refused
from engine.run.control_people import Actor, Peer
from engine.run.control_server import A_UID, MAX_CONNECTIONS, STRANGERS
from engine.run.control_wire import MESSAGE_MAX, At, new_request, unix_socket
from replay.watch.chained import check
from tests.run.control_rig import RUN_ID, Rig
from tests.run.test_control import packet

ANN, BOB = (Actor(name, uid, frozenset(ROLES)) for name, uid in (("ann", 61_001), ("bob", 61_002)))


@pytest.fixture
def rig():
    made = Rig(commands_per_s=10_000)
    yield made
    made.close()
    shutil.rmtree(made.home)


def until(condition, seconds=5.0):
    """Wait for it."""
    end_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.001)


def connected(rig):
    """A peer that is connected, as soon as the server has heard of it."""
    peer = unix_socket()
    peer.settimeout(5)
    peer.connect(str(rig.server.path))
    return peer


def seen_as(monkeypatch, rig, key, actor=None):
    """Who connects from now on is this one to the server."""
    monkeypatch.setattr(rig.server.people, "on_host", lambda pid, uid: Peer(key, f"{key}, planted", actor))


def asked(rig, command, **fields):
    """The first answer to a command over a connection of its own."""
    with dial(rig.home) as line:
        return next(line.ask(new_request(command, **fields), 5))


def numbers(rig):
    """Descriptors of the server's connections."""
    return list(rig.server._connections)


def test_who_has_hung_up_takes_nobody_along_when_their_answer_comes(rig):
    gone = connected(rig)
    gone.send(packet("cancel-all"))
    assert b'"taken"' in gone.recv(MESSAGE_MAX)
    (command,) = rig.seen()
    before = numbers(rig)
    gone.close()
    until(lambda: not numbers(rig))
    other = connected(rig)
    until(lambda: numbers(rig))
    assert numbers(rig) == before, "the descriptor is used again, or this test shows nothing"
    rig.answer(command)
    until(lambda: rig.counts().get("finished") == 1)
    other.send(packet("halt"))
    assert b'"taken"' in other.recv(MESSAGE_MAX)
    assert len(rig.seen()) == 2
    other.close()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("keep me")
    with pytest.raises(ControlError, match=r"notes\.txt': a file is there that is no socket"):
        Rig(socket=str(path))
    assert path.read_text() == "keep me"


def test_a_socket_that_an_engine_left_behind_is_replaced_and_what_takes_its_place_stays(tmp_path):
    path = tmp_path / "here.sock"
    with unix_socket() as left, At(path) as name:
        left.bind(name)
    rig = Rig(socket=str(path))
    with pytest.raises(ControlError, match="another process listens there"):
        Rig(socket=str(path))
    with dial(rig.home, path) as line:
        assert next(line.ask(new_request("pending"), 5)).state == "done"
    path.unlink()
    path.write_text("somebody else's")
    rig.close()
    assert path.read_text() == "somebody else's"
    shutil.rmtree(rig.home)


def test_an_error_costs_its_connection_and_is_counted_and_logged(rig, monkeypatch):
    def broken(actor, request):
        raise ZeroDivisionError("planted")

    hurt, other = connected(rig), connected(rig)
    with monkeypatch.context() as planted:
        planted.setattr(rig.server.commands, "allowed", broken)
        hurt.send(packet("pending"))
        assert hurt.recv(MESSAGE_MAX) == b""
    other.send(packet("pending"))
    assert b'"done"' in other.recv(MESSAGE_MAX)
    assert rig.counts()["error"] == 1
    (line,) = [line for line in rig.log() if line["outcome"] == "error"]
    assert line["text"] == "ZeroDivisionError: planted"
    assert line["peer"].startswith("uid ")
    hurt.close()
    other.close()


def test_an_error_that_is_nobodys_is_logged_and_the_next_command_heard(rig, monkeypatch):
    def broken():
        raise KeyError("planted")

    with monkeypatch.context() as planted:
        planted.setattr(rig.server, "_forget", broken)
        until(lambda: rig.counts().get("error", 0) >= 2)
    assert rig.server.alive
    assert asked(rig, "pending").state == "done"


class Unstartable:
    """A thread where there can be no more."""

    def is_alive(self):
        return False

    def start(self):
        raise RuntimeError("can't start new thread")


def test_a_thread_that_has_ended_is_started_again_and_said_to_have_ended(rig, monkeypatch, capsys):
    rig.server._stopping.set()
    until(lambda: not rig.server.alive)
    rig.server._stopping.clear()
    with monkeypatch.context() as planted:
        planted.setattr(rig.server, "_new_thread", Unstartable)
        rig.server.revive()
        rig.server.revive()  # too soon after the first
        assert capsys.readouterr().err.count("cannot be started again, nobody can halt") == 1
    rig.server._again_s = 0.0
    rig.server.revive()
    assert rig.server.alive
    rig.server.revive()
    assert asked(rig, "halt", keep_orders=True).state == "taken"
    told = [line["text"] for line in rig.log() if line["outcome"] == "thread ended"]
    assert ["cannot" in text for text in told] == [False, True, False]


def test_a_server_that_was_stopped_is_not_revived(rig):
    rig.server.stop()
    rig.server.revive()
    assert not rig.server.alive


def test_strangers_keep_no_person_out(rig, monkeypatch):
    monkeypatch.setattr("engine.run.control_server._STRANGER_S", 60)
    strangers = []
    for n in range(MAX_CONNECTIONS):
        seen_as(monkeypatch, rig, f"uid {70_000 + n}")
        strangers.append(connected(rig))
        if n < STRANGERS:
            until(lambda n=n: len(numbers(rig)) == n + 1)
        else:
            assert b'"too many"' in strangers[-1].recv(MESSAGE_MAX)
    seen_as(monkeypatch, rig, "uid 61001", ANN)
    persons = []
    for n in range(A_UID):
        persons.append(connected(rig))
        until(lambda n=n: len(numbers(rig)) == STRANGERS + n + 1)
    persons[-1].send(packet("halt", keep_orders=True))
    assert b'"taken"' in persons[-1].recv(MESSAGE_MAX)
    strangers[0].send(packet("halt"))
    assert b'"not authorised"' in strangers[0].recv(MESSAGE_MAX)
    assert rig.counts()["refused: too many"] == MAX_CONNECTIONS - STRANGERS
    for one in strangers + persons:
        one.close()


def test_a_stranger_is_hung_up_on_soon_however_much_they_say(rig, monkeypatch):
    monkeypatch.setattr("engine.run.control_server._STRANGER_S", 0.2)
    seen_as(monkeypatch, rig, "uid 70000")
    stranger = connected(rig)
    end_s = time.monotonic() + 5
    try:
        while stranger.send(packet("halt")) and stranger.recv(MESSAGE_MAX):
            assert time.monotonic() < end_s
            time.sleep(0.02)
    except (BrokenPipeError, ConnectionResetError):
        pass
    until(lambda: not numbers(rig))
    stranger.close()


@pytest.mark.parametrize("urgent", ["halt", "cancel-all"])
def test_what_stops_trading_has_a_rate_of_its_own(urgent):
    rig = Rig(commands_per_s=3)
    try:
        with dial(rig.home) as line:
            assert "too many" in [next(line.ask(new_request("pending"), 5)).why for _ in range(8)]
            assert next(line.ask(new_request(urgent), 5)).state == "taken"
            assert "too many" in [next(line.ask(new_request(urgent), 5)).why for _ in range(8)], "which has an end"
    finally:
        rig.close()
        shutil.rmtree(rig.home)


def test_many_requests_that_are_remembered_keep_no_halt_out(monkeypatch):
    monkeypatch.setattr(control_guard, "_IDS", 4)
    guard = Guard(100)
    for _ in range(4):
        guard.first_time(new_request("pending"))
    with pytest.raises(Refused, match="more than 4 requests"):
        guard.first_time(new_request("pending"))
    guard.first_time(new_request("halt"))


def test_a_clock_that_is_set_keeps_no_halt_out_and_makes_no_old_request_new(monkeypatch):
    """Server and person are on one host: both see the clock that was set."""
    told, off = time.time_ns, [0]
    monkeypatch.setattr(time, "time_ns", lambda: told() + off[0] * 1_000_000_000)
    before = new_request("halt")
    guard = Guard(100)
    once = new_request("halt")
    guard.first_time(once)
    for seconds in (-3600, 3600, -5, 0):
        off[0] = seconds
        guard.first_time(new_request("halt"))
    with pytest.raises(Refused, match="has been used"):
        guard.first_time(once)
    early = msgspec.structs.replace(before, sent_ns=before.sent_ns - 2_000_000_000)
    with pytest.raises(Refused, match="not before this server"):
        guard.first_time(early)


def test_the_log_is_chained_and_a_flood_of_refusals_keeps_no_command_out_of_it(rig, monkeypatch):
    monkeypatch.setattr(rig.server.log, "_bucket", Bucket(5))
    with unix_socket() as peer:
        peer.connect(str(rig.server.path))
        peer.settimeout(5)
        for _ in range(80):
            peer.send(b"no request")
            assert b'"malformed"' in peer.recv(MESSAGE_MAX)
    assert asked(rig, "halt", keep_orders=True).state == "taken"
    lines = rig.log()
    assert lines[-1]["outcome"] == "taken"
    left_out = sum(line.get("lines_left_out", 0) for line in lines)
    assert len(lines) - 1 + left_out == 80
    assert left_out > 0
    assert check(rig.home / "control.log", RUN_ID) == Head(len(lines), lines[-1]["chain"])


def test_a_line_that_the_disk_has_no_room_for_is_counted_and_the_command_taken(rig, monkeypatch):
    def full(row):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as planted:
        planted.setattr(rig.server.log._log, "append", full)
        assert asked(rig, "halt", keep_orders=True).state == "taken"
    assert asked(rig, "resume").state == "taken"
    (line,) = rig.log()
    assert (line["request"]["command"], line["lines_left_out"]) == ("resume", 1)


LIMIT = {"rule": "max-qty", "value": "500", "scope": "symbol", "target": "AAA", "lasts_s": 60}


def test_one_person_cannot_keep_the_others_from_overrides(rig, monkeypatch):
    seen_as(monkeypatch, rig, "uid 61001", ANN)
    answers = [asked(rig, "override", **LIMIT) for _ in range(5)]
    assert [answer.state for answer in answers] == ["waiting"] * 4 + ["refused"]
    assert (answers[-1].why, "4 overrides of ann" in answers[-1].text) == ("too many", True)
    seen_as(monkeypatch, rig, "uid 61002", BOB)
    assert asked(rig, "override", **LIMIT).state == "waiting"
    assert asked(rig, "approve", number=answers[0].number).state == "taken"
    seen_as(monkeypatch, rig, "uid 61001", ANN)
    assert asked(rig, "override", **LIMIT).state == "waiting"


def test_an_override_has_a_number_that_the_next_engine_does_not_give_again(rig, monkeypatch):
    again = Rig()
    try:
        found = []
        for one in (rig, again):
            seen_as(monkeypatch, one, "uid 61001", ANN)
            found += [asked(one, "override", **LIMIT).number for _ in range(3)]
        assert len(set(found)) == 6
        assert all(0 < number < 1 << 31 for number in found)
    finally:
        again.close()
        shutil.rmtree(again.home)


def test_who_approves_is_told_what(rig, monkeypatch):
    seen_as(monkeypatch, rig, "uid 61001", ANN)
    waits = asked(rig, "override", **LIMIT | {"rule": "max-notional", "value": "1000000.5"})
    assert "max-notional of symbol AAA = 1,000,000.50 for 60 s, asked by ann" in waits.text
    seen_as(monkeypatch, rig, "uid 61002", BOB)
    assert waits.text.partition(", asked")[0] in asked(rig, "pending").text
    approved = asked(rig, "approve", number=waits.number)
    terms = "max-notional of symbol AAA = 1,000,000.50 until 1970-01-01 00:01:00 UTC, asked by ann, approved by bob"
    assert (approved.state, approved.text) == ("taken", f"override {waits.number}: {terms}")
    assert rig.log()[-1]["text"] == approved.text
