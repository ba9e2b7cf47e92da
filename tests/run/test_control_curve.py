"""Commands from other hosts, over CURVE: who is who, what is too large, who hangs up. Real sockets."""

from __future__ import annotations

import os
import socket
import time

import pytest
import zmq
import zmq.auth

from engine.run.config_control import Person
from engine.run.control import ControlError
from engine.run.control_client import dial_curve
from engine.run.control_curve import MOST_BYTES
from engine.run.control_wire import MESSAGE_MAX, new_request
from tests.run.control_rig import Rig
from tests.run.test_control import ANN, packet


@pytest.fixture(scope="module")
def curve(tmp_path_factory):
    """A server with CURVE: ann's key is known, mallory's is not."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("server", "ann", "mallory"):
        zmq.auth.create_certificates(folder, name)
    os.chmod(folder / "server.key_secret", 0o600)
    ann, _ = zmq.auth.load_certificate(folder / "ann.key")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    person = Person(name="ann", uid=ANN, roles=["halt", "override"], key=ann.decode())
    rig = Rig(curve=endpoint, secret_key=str(folder / "server.key_secret"), person=[person])
    yield rig, endpoint, folder
    rig.close()


def test_a_known_key_is_a_person_elsewhere(curve):
    rig, endpoint, folder = curve
    with dial_curve(endpoint, folder / "ann.key_secret", folder / "server.key") as line:
        once = new_request("halt", keep_orders=True)
        answers = line.ask(once, 5)
        assert next(answers).state == "taken"
        (row,) = rig.seen()
        assert int(row.actor_id) == ANN
        rig.answer(row)
        assert [answer.state for answer in answers] == ["report", "done"]
        (again,) = line.ask(once, 5)
        assert again.why == "replayed"
        (no,) = line.ask(new_request("resume"), 5)
        assert no.why == "not authorised"
        line._send(b"x" * (MESSAGE_MAX + 1))
        assert b'"oversized"' in (line._receive(5) or b"")


@pytest.mark.parametrize("size", [MESSAGE_MAX + 1, 1 << 16, (1 << 16) + 1, MOST_BYTES - 100])
def test_a_large_message_over_curve_is_refused_and_the_connection_stays(curve, size):
    rig, endpoint, folder = curve
    before = rig.counts().get("refused: oversized", 0)
    with dial_curve(endpoint, folder / "ann.key_secret", folder / "server.key") as line:
        line._send(b"x" * size)
        assert b'"oversized"' in (line._receive(5) or b"")
        (answer,) = line.ask(new_request("pending"), 5)
        assert answer.state == "done"
    last = [row for row in rig.log() if row["outcome"] == "refused: oversized"][-1]
    assert rig.counts()["refused: oversized"] == last["count"] == before + 1
    assert (last["person"], last["peer"].endswith("from 127.0.0.1")) == ("ann", True)


@pytest.mark.parametrize("size", [MOST_BYTES + 1, 8 * MOST_BYTES])
def test_a_message_that_libzmq_drops_over_curve_is_refused_counted_and_logged_with_its_peer(curve, size):
    rig, endpoint, folder = curve
    before = rig.counts().get("refused: oversized", 0)
    with dial_curve(endpoint, folder / "ann.key_secret", folder / "server.key") as line:
        list(line.ask(new_request("pending"), 5))
        line._send(b"x" * size)
        until = time.monotonic() + 5
        while rig.counts().get("refused: oversized", 0) == before and time.monotonic() < until:
            time.sleep(0.01)
    last = [row for row in rig.log() if row["outcome"] == "refused: oversized"][-1]
    assert last["count"] == before + 1
    assert last["peer"].startswith("a peer of 127.0.0.1:")
    with dial_curve(endpoint, folder / "ann.key_secret", folder / "server.key") as line:
        assert [answer.state for answer in line.ask(new_request("pending"), 5)] == ["done"]
    assert rig.seen() == []


def test_who_hangs_up_over_curve_is_counted_and_not_told(curve):
    rig, endpoint, folder = curve
    lines, before = len(rig.log()), rig.counts().get("hung up", 0)
    with dial_curve(endpoint, folder / "ann.key_secret", folder / "server.key") as line:
        list(line.ask(new_request("pending"), 5))
    until = time.monotonic() + 5
    while rig.counts().get("hung up", 0) == before and time.monotonic() < until:
        time.sleep(0.01)
    assert rig.counts()["hung up"] == before + 1
    assert [row["outcome"] for row in rig.log()[lines:] if row["outcome"] in ("dropped", "refused: oversized")] == []


def test_a_key_that_is_not_on_the_list_is_let_nowhere(curve, monkeypatch):
    rig, endpoint, folder = curve
    monkeypatch.setattr("engine.run.control_client._CONNECT_S", 1.0)
    line = dial_curve(endpoint, folder / "mallory.key_secret", folder / "server.key")
    with line, pytest.raises(ControlError, match="no connection"):
        list(line.ask(new_request("halt"), 1))
    mallory, _ = zmq.auth.load_certificate(folder / "mallory.key")
    assert any(mallory.decode() in text["peer"] for text in rig.log())
    assert rig.seen() == []


def test_who_does_not_speak_curve_is_let_nowhere(curve):
    rig, endpoint, _ = curve
    before = rig.counts().get("refused: not authorised", 0)
    context = zmq.Context()
    plain = context.socket(zmq.DEALER)
    plain.linger = 0
    plain.connect(endpoint)
    plain.send(packet("halt"))
    until = time.monotonic() + 5
    while rig.counts().get("refused: not authorised", 0) == before and time.monotonic() < until:
        time.sleep(0.01)
    assert plain.poll(50) == 0
    context.destroy()
    assert rig.counts()["refused: not authorised"] > before
    assert rig.seen() == []
