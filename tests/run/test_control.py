"""The control server over its real socket: who may do what, and everything that is refused, counted and logged.

The loop is played by the test: it reads the ring and answers. With an engine: tests/run/test_commands.py.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import threading
import time
from typing import Any

import msgspec
import pytest
import zmq
import zmq.auth
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.record.records import ControlAction, RiskRule, Scope, Template
from engine.run.config_control import ROLES, Control, Person, problems_of
from engine.run.control import ControlError
from engine.run.control_client import dial
from engine.run.control_server import A_UID
from engine.run.control_wire import MESSAGE_MAX, Request, new_request, unix_socket
from tests.run.control_rig import Rig

ANN, BOB, EVE = 61_001, 61_002, 61_003
PEOPLE = [
    Person(name="ann", uid=ANN, roles=["halt", "resume", "cancel", "limits", "override", "enable"]),
    Person(name="bob", uid=BOB, roles=["cancel", "override"]),
]
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can start peers of other users")


def packet(command, **fields) -> bytes:
    """A request as bytes."""
    return msgspec.json.encode(new_request(command, **fields))


@pytest.fixture(scope="module")
def own():
    """A server without [[control.person]]: its own user may do everything."""
    rig = Rig(commands_per_s=10_000)
    yield rig
    rig.close()
    shutil.rmtree(rig.home)


@pytest.fixture(scope="module")
def house():
    """A server for ann and bob."""
    rig = Rig(mode="0666", commands_per_s=10_000, person=PEOPLE)
    yield rig
    rig.close()
    shutil.rmtree(rig.home)


def obeyed(rig, command, **fields):
    """What reaches the ring by a command, each record answered; and the states of the answers."""
    found: list[Any] = []
    states: list[str] = []

    def loop():
        until = time.monotonic() + 5
        while time.monotonic() < until and not states:
            for record in rig.seen():
                found.append(record)
                rig.answer(record)
            time.sleep(0.001)

    thread = threading.Thread(target=loop)
    thread.start()
    with dial(rig.home) as line:
        answers = list(line.ask(new_request(command, **fields), 5))
    states += [answer.state for answer in answers]
    thread.join()
    return found, states


def test_a_halt_is_two_records_with_the_peers_uid_and_both_answers_come_back(own):
    found, states = obeyed(own, "halt", scope="venue", target="XB", note="a test")
    assert [int(row.template_id) for row in found] == [Template.CONTROL, Template.MASS_CANCEL]
    assert {(int(row.scope), int(row.target), int(row.actor_id)) for row in found} == {(Scope.VENUE, 1, os.getuid())}
    assert found[0].action == ControlAction.KILL_ON
    assert found[1].request_id == found[0].request_id + 1
    assert states == ["taken", "report", "report", "done"]
    line = next(line for line in own.log() if line["outcome"] == "taken")
    assert line["request"]["note"] == "a test"
    assert f"uid {os.getuid()}" in line["peer"]


@pytest.mark.parametrize(
    ("command", "fields", "what"),
    [
        ("halt", {"keep_orders": True}, (Template.CONTROL, Scope.ALL, 0)),
        ("resume", {"scope": "symbol", "target": "BBB"}, (Template.CONTROL, Scope.INSTRUMENT, 1)),
        ("cancel-all", {"scope": "session", "target": "c2"}, (Template.MASS_CANCEL, Scope.SESSION, 1)),
        ("cancel-all", {"scope": "trader", "target": "7"}, (Template.MASS_CANCEL, Scope.TRADER, 7)),
        ("cancel-all", {"scope": "client", "target": "3"}, (Template.MASS_CANCEL, Scope.CLIENT, 3)),
        ("enable", {"scope": "strategy", "target": "3"}, (Template.CONTROL, Scope.STRATEGY, 3)),
    ],
)
def test_each_command_and_scope_becomes_its_record(own, command, fields, what):
    (row,), _ = obeyed(own, command, **fields)
    where = {Scope.INSTRUMENT: "instrument_id", Scope.CLIENT: "client_id"}.get(what[1], "target")
    assert (int(row.template_id), int(row.scope), int(row[where])) == what


def test_a_limit_is_in_the_units_of_its_rule(own):
    (row,), _ = obeyed(own, "limits", scope="symbol", target="AAA", rule="max-notional", value="1.5")
    assert (int(row.rule), int(row.value), int(row.old_value)) == (RiskRule.MAX_NOTIONAL, 1_500_000_000, -1)
    assert (int(row.actor_2), int(row.expires_ns)) == (-1, 0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"command": "halt", "scope": "venue", "target": "XNYS"}, "there are XA, XB, XC"),
        ({"command": "halt", "target": "XA"}, "the scope all has none"),
        ({"command": "cancel-all", "scope": "trader", "target": "40000"}, "a number from 0 to 32767"),
        ({"command": "halt", "scope": "strategy", "target": "16"}, "a number from 0 to 15"),
        ({"command": "halt", "scope": "account", "target": "2"}, "a number from 0 to 1"),
        ({"command": "enable", "scope": "strategy", "target": "16"}, "a number from 0 to 15"),
        ({"command": "limits", "rule": "max-gold", "value": "1"}, "rule 'max-gold'"),
        ({"command": "limits", "rule": "max-qty", "value": "1"}, "limit of a symbol"),
        ({"command": "limits", "rule": "max-qty", "value": "1.5", "scope": "symbol", "target": "AAA"}, "decimals"),
        ({"command": "enable", "scope": "venue", "target": "XA"}, "is for a strategy"),
        ({"command": "approve", "number": 77}, "no override 77"),
        ({"command": "override", "rule": "max-qty", "value": "1", "scope": "symbol", "target": "AAA"}, "must end"),
    ],
)
def test_what_means_nothing_here_is_refused_with_what_there_is(own, fields, said):
    with dial(own.home) as line:
        (answer,) = line.ask(new_request(**fields), 5)
    assert answer.state == "refused"
    assert said in answer.text
    assert own.seen() == []


def test_what_is_sent_twice_or_late_is_refused(own):
    with dial(own.home) as line:
        once = new_request("halt", keep_orders=True)
        assert next(line.ask(once, 5)).state == "taken"
        (again,) = line.ask(once, 5)
        (late,) = line.ask(msgspec.structs.replace(new_request("halt"), sent_ns=time.time_ns() - 31 * 10**9), 5)
        (early,) = line.ask(msgspec.structs.replace(new_request("halt"), sent_ns=time.time_ns() + 31 * 10**9), 5)
    assert {again.why, late.why, early.why} == {"replayed"}
    assert len(own.seen()) == 1


def test_an_oversized_packet_is_refused_and_the_next_one_taken(own):
    before = own.counts().get("refused: oversized", 0)
    with unix_socket() as peer:
        peer.connect(str(own.server.path))
        peer.settimeout(5)
        for size in (MESSAGE_MAX + 1, 100_000):
            peer.send(b"{" * size)
            assert b'"oversized"' in peer.recv(MESSAGE_MAX)
        peer.send(packet("pending"))
        assert b'"done"' in peer.recv(MESSAGE_MAX)
    assert own.counts()["refused: oversized"] == before + 2


NEAR = msgspec.to_builtins(Request(id="0" * 32, sent_ns=0, command="halt"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20), lambda x: st.lists(x, max_size=3), max_leaves=3
)


def refused(rig, raw: bytes) -> None:
    """The bytes get one refusal, are counted, and nothing reaches the ring."""
    before = sum(rig.counts().values())
    with unix_socket() as peer:
        peer.connect(str(rig.server.path))
        peer.settimeout(5)
        peer.send(raw)
        assert b'"refused"' in peer.recv(MESSAGE_MAX)
    assert sum(rig.counts().values()) == before + 1
    assert rig.seen() == []


@given(st.binary(min_size=1, max_size=MESSAGE_MAX))
@settings(max_examples=60)
def test_bytes_that_are_no_request_are_refused(own, raw):
    refused(own, raw)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys([*NEAR, "actor", "uid"], JSON)))
@settings(max_examples=30)
def test_requests_with_wrong_fields_are_refused_whoever_they_say_they_are(own, changes):
    refused(own, msgspec.json.encode({**NEAR, "uid": 0, **changes}))


@pytest.mark.torture
@given(st.data())
@settings(max_examples=20_000)
def test_many_spoiled_requests_are_refused(own, data):
    raw = bytearray(packet("halt"))
    for place, byte in data.draw(st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), min_size=1)):
        raw[place] = byte
    spoiled = bytes(raw)
    try:
        msgspec.json.decode(spoiled, type=Request)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        refused(own, spoiled)


def test_more_than_the_rate_is_refused_and_nobody_elses_is_used_up():
    rig = Rig(commands_per_s=3)
    try:
        with dial(rig.home) as line:
            states = [next(line.ask(new_request("pending"), 5)).why for _ in range(6)]
        assert states[:3] == [""] * 3
        assert "too many" in states[3:]
        rig.server.guard.within_rate(rig.server.people.on_host(1, EVE))
    finally:
        rig.close()


def test_connections_of_one_user_are_bounded(own):
    held = [dial(own.home) for _ in range(A_UID)]
    try:
        peer = unix_socket()
        peer.settimeout(5)
        peer.connect(str(own.server.path))
        assert b'"too many"' in peer.recv(MESSAGE_MAX)
        assert peer.recv(MESSAGE_MAX) == b""
        peer.close()
    finally:
        for one in held:
            one.close()


def test_who_reads_no_answers_is_hung_up_on_and_others_are_served(own):
    deaf = unix_socket()
    deaf.connect(str(own.server.path))
    deaf.settimeout(0.2)
    sent = 0
    with contextlib.suppress(OSError):  # timed out, or hung up on: the server takes no more of it
        while sent < 5000:
            deaf.send(packet("pending"))
            sent += 1
    assert sent < 5000
    with dial(own.home) as line:
        assert next(line.ask(new_request("pending"), 5)).state == "done"
    deaf.close()


def test_the_files_are_their_owners_alone(own):
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in own.home.iterdir()}
    assert modes["control.sock"] == 0o660
    assert modes["control.log"] == 0o600


@needs_root
def test_a_user_who_is_nobody_is_refused_counted_and_logged(house):
    (answer,) = house.knock(packet("halt"), uid=EVE)
    assert (answer["state"], answer["why"]) == ("refused", "not authorised")
    assert house.counts()["refused: not authorised"] >= 1
    assert any(f"uid {EVE}" in line["peer"] and line["outcome"] == "refused: not authorised" for line in house.log())
    (root,) = house.knock(packet("halt"))
    assert root["why"] == "not authorised"
    assert house.seen() == []


@needs_root
def test_a_person_may_do_what_their_roles_say(house):
    (no,) = house.knock(packet("halt"), uid=BOB)
    assert (no["why"], "has not the role halt" in no["text"]) == ("not authorised", True)
    assert house.seen() == []
    assert house.knock(packet("cancel-all"), uid=BOB, wait_s=0.3)[0]["state"] == "taken"
    (row,) = house.seen()
    assert (int(row.template_id), int(row.actor_id)) == (Template.MASS_CANCEL, BOB)


@needs_root
def test_an_override_takes_two_persons(house):
    asked = packet("override", rule="max-qty", value="500", scope="symbol", target="AAA", lasts_s=60)
    (waits,) = house.knock(asked, uid=ANN)
    assert waits["state"] == "waiting"
    number = waits["number"]
    assert house.seen() == []
    (same,) = house.knock(packet("approve", number=number), uid=ANN)
    assert same["why"] == "second person"
    (nobody,) = house.knock(packet("approve", number=number), uid=EVE)
    assert nobody["why"] == "not authorised"
    assert house.seen() == []
    assert house.knock(packet("approve", number=number), uid=BOB, wait_s=0.3)[0]["state"] == "taken"
    (row,) = house.seen()
    assert (int(row.actor_id), int(row.actor_2), int(row.value)) == (ANN, BOB, 500)
    assert int(row.expires_ns) == house.clock_ns + 60 * 10**9
    (gone,) = house.knock(packet("approve", number=number), uid=BOB)
    assert gone["why"] == "unknown"


@needs_root
def test_an_override_waits_for_the_window_only():
    rig = Rig(mode="0666", second_person_s=1, person=PEOPLE)
    try:
        asked = packet("override", rule="max-qty", value="500", scope="symbol", target="AAA", lasts_s=60)
        (waits,) = rig.knock(asked, uid=ANN)
        time.sleep(1.1)
        (late,) = rig.knock(packet("approve", number=waits["number"]), uid=BOB)
        assert late["why"] == "unknown"
        assert rig.seen() == []
    finally:
        rig.close()


def test_what_cannot_be_is_said_when_the_configuration_is_read(tmp_path):
    double = [*PEOPLE, Person(name="ann", uid=ANN, roles=["halt"])]
    keys = {key for key, _ in problems_of(Control(person=double, curve="tcp://127.0.0.1:1", socket="here"))}
    assert keys == {
        "control.person[2].name", "control.person[2].uid", "control.socket", "control.secret_key", "control.curve",
    }  # fmt: skip
    only_bob = dict(problems_of(Control(person=PEOPLE[1:])))
    assert "nobody has the role" in only_bob["control.person"]
    assert set(ROLES) == set(PEOPLE[0].roles)
    zmq.auth.create_certificates(tmp_path, "server")
    os.chmod(tmp_path / "server.key_secret", 0o644)
    with pytest.raises(OSError, match="others may read it"):
        Rig(curve="tcp://127.0.0.1:1", secret_key=str(tmp_path / "server.key_secret"), person=PEOPLE)
    with pytest.raises(ControlError, match="no such group"):
        Rig(group="no-such-group-here")
