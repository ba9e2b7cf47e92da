"""`tickroute limits`, `override`, `enable` at an engine that works; a control thread that ends, answers that are lost.

Who gives a command is planted, since the core wants two persons and the test has one user.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path

import pytest

from cli.main import main
from engine.core.rules import OFF
from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.io.ring import Ring
from engine.jit import JIT
from engine.record import records as r
from engine.run import links
from engine.run.config_control import ROLES
from engine.run.control import control_record, mass_cancel_record
from engine.run.control_people import Actor, Peer
from replay.verify import verify
from replay.watch.chained import check
from tests.run.engine_peers import fill, order, wait_for
from tests.run.test_commands import House

pytestmark = pytest.mark.skipif(not JIT, reason="the loop needs the GIL released, which only compiled code does")
T = r.Template
ANN, BOB = (Actor(name, uid, frozenset(ROLES)) for name, uid in (("ann", 1001), ("bob", 1002)))


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    sockets = Path(tempfile.mkdtemp(prefix="tr-"))
    made = House(tmp_path_factory.mktemp("limits") / "run", sockets)
    yield made
    made.stop()
    shutil.rmtree(sockets, ignore_errors=True)


@pytest.fixture
def be(house, monkeypatch):
    """Be this person to the engine, whose quote is fresh."""
    seen = house.engine.gauge("quotes")
    house.feed.quote(0, 1_569_900, 1_570_000, 10_000)
    wait_for(lambda: house.engine.gauge("quotes") > seen, house.client, house.venue)

    def become(actor):
        people = house.engine.server.people
        monkeypatch.setattr(people, "on_host", lambda pid, uid: Peer(f"uid {actor.uid}", actor.name, actor))

    become(ANN)
    return become


def rejected(house, name, qty):
    """The reason for which an order to buy so many is refused."""
    house.client.send(order(name, r.Side.BUY, qty, 1_570_000))
    return house.take(house.client, T.REJECT)[0].reason


def executed(house, name, qty):
    """An order that a venue fills."""
    house.client.send(order(name, r.Side.BUY, qty, 1_570_000))
    (child,) = house.take(house.venue, T.ORDER_NEW)
    house.venue.send(fill(child, name))
    house.take(house.client, T.FILL)


def test_a_limit_is_changed_and_said_in_its_unit(house, be):
    code, told = house.give("limits", "max-notional", "50000.5", "--symbol", "XXX")
    assert (code, told["told"]) == (0, ["limit max-notional of symbol XXX: 50,000.50, was 100,000,000.00"])
    assert (told["reports"][0]["value"], told["reports"][0]["actor_id"]) == (50_000_500_000_000, ANN.uid)
    assert rejected(house, "L1", 400) == r.Reason.RISK
    code, told = house.give("limits", "collar", "0", "--symbol", "XXX")
    assert code == 1
    assert told["told"] == ["limit collar of symbol XXX stays (UNSUPPORTED); asked for 0 bps, in force 500 bps"]
    assert house.give("limits", "max-notional", "100000000", "--symbol", "XXX")[0] == 0


def test_an_override_waits_for_the_second_person_who_is_told_its_terms(house, be, capsys):
    code, told = house.give("override", "max-qty", "300", "--symbol", "XXX", "--for", "1h")
    assert (code, told["state"]) == (0, "waiting")
    approve = ("override", "--approve", str(told["number"]))
    assert house.give(*approve)[1]["why"] == "second person"
    executed(house, "O1", 400)
    be(BOB)
    capsys.readouterr()
    code, told = house.give(*approve)
    terms, done = told["told"]
    assert terms.startswith(f"override {approve[2]}: max-qty of symbol XXX = 300 until 20")
    assert terms.endswith(" UTC, asked by ann, approved by bob")
    assert (code, done) == (0, "limit max-qty of symbol XXX: 300, was 100,000")
    assert (told["reports"][0]["actor_id"], told["reports"][0]["actor_2"]) == (ANN.uid, BOB.uid)
    assert rejected(house, "O2", 400) == r.Reason.RISK
    assert house.give("limits", "max-qty", "100000", "--symbol", "XXX")[0] == 0, "which ends the override"


def test_a_latched_strategy_trades_when_it_was_enabled(house, be):
    code, told = house.give("limits", "repeated-execution", "1", "--strategy", "0")
    assert (code, told["told"]) == (0, ["limit repeated-execution of strategy 0: 1, was off"])
    assert told["reports"][0]["old_value"] == OFF
    executed(house, "E1", 100)
    assert rejected(house, "E2", 100) == r.Reason.THROTTLED
    code, told = house.give("enable", "--strategy", "0")
    assert (code, told["reports"][0]["old_value"]) == (0, 1)
    assert house.give("limits", "repeated-execution", "1000", "--strategy", "0")[0] == 0
    executed(house, "E3", 100)
    assert house.give("enable", "--strategy", "16")[1]["why"] == "unknown"


def commanded(run_dir):
    """(template, stream, actor_id, actor_2) of each command on the journal, in their order; -2 where there is none."""
    found = []
    with JournalReader(run_dir) as reader:
        for frame in reader.frames():
            template = int.from_bytes(frame.payload[2:4].tobytes(), "little")
            if frame.kind == Kind.INPUT and template in (T.MASS_CANCEL, T.CONTROL, T.LIMIT_CHANGE):
                row = frame.payload.view(r.DTYPES[T(template)])[0]
                second = int(row["actor_2"]) if "actor_2" in row.dtype.names else -2
                found.append((T(template), int(row["stream_id"]), int(row["actor_id"]), second))
    return found


def test_each_command_on_the_journal_names_who_gave_it_and_root_is_not_nobody(tmp_path, sockets, monkeypatch):
    """By root, by two persons, by the engine, and by a client that says it is somebody."""
    house = House(tmp_path / "run", sockets)
    people = house.engine.server.people

    def be(actor):
        monkeypatch.setattr(people, "on_host", lambda pid, uid: Peer(f"uid {actor.uid}", actor.name, actor))

    try:
        be(Actor("root", 0, frozenset(ROLES)))
        code, told = house.give("limits", "max-qty", "90000", "--symbol", "XXX")
        assert (code, told["reports"][0]["actor_id"], told["reports"][0]["actor_2"]) == (0, 0, -1)
        assert house.give("halt", "--strategy", "7")[0] == 0
        assert house.give("resume", "--strategy", "7")[0] == 0
        code, told = house.give("override", "max-qty", "300", "--symbol", "XXX", "--for", "1h")
        be(BOB)
        code, told = house.give("override", "--approve", str(told["number"]))
        assert (code, told["reports"][0]["reason"]) == (1, "SECOND_PERSON"), "root is no named person"
        house.engine.control(mass_cancel_record())
        assert house.give("resume", "--strategy", "7")[0] == 0
        mass = r.blank(T.MASS_CANCEL)
        mass["scope"], mass["client_id"], mass["instrument_id"], mass["actor_id"] = r.Scope.ALL, -1, -1, ANN.uid
        house.client.send(mass)
        pause = r.blank(T.CONTROL)
        pause["action"], pause["cl_ord_id"], pause["scope"] = r.ControlAction.PAUSE, r.text16("none"), r.Scope.ORDER
        pause["actor_id"], pause["actor_2"] = ANN.uid, BOB.uid
        house.client.send(pause)
        house.take(house.client, T.CANCEL_REJECT)
    finally:
        house.stop()
    assert commanded(house.engine.run_dir)[:9] == [
        (T.LIMIT_CHANGE, -1, 0, -1),
        (T.CONTROL, -1, 0, -1),
        (T.MASS_CANCEL, -1, 0, -2),
        (T.CONTROL, -1, 0, -1),
        (T.LIMIT_CHANGE, -1, 0, BOB.uid),
        (T.MASS_CANCEL, -1, -1, -2),
        (T.CONTROL, -1, BOB.uid, -1),
        (T.MASS_CANCEL, 0, -1, -2),
        (T.CONTROL, 0, -1, -1),
    ]


def test_a_control_thread_that_ended_is_started_again_by_whoever_looks_after_the_engine(house, be):
    server = house.engine.server
    server._stopping.set()
    wait_for(lambda: not server.alive, house.client, house.venue)
    server._stopping.clear()
    house.engine.poll()
    assert house.give("resume")[0] == 0


def test_the_log_of_commands_is_chained_with_the_run_and_the_run_replays(house):
    assert house.give("resume")[0] == 0
    house.stop()
    with JournalReader(house.engine.run_dir) as reader:
        run_id = reader.run_id.hex()
    assert check(house.engine.run_dir / "control.log", run_id).lines >= 2
    assert verify(house.engine.run_dir).result == "identical"


def test_answers_that_are_lost_are_counted_and_their_caller_hears_in_time(tmp_path, sockets, monkeypatch, capsys):
    create = Ring.create

    def few_answers(path, slots, side):
        return create(path, 4 if path.endswith(links.ANSWERS_RING) else slots, side)

    monkeypatch.setattr(Ring, "create", few_answers)
    house = House(tmp_path / "run", sockets)
    try:
        with monkeypatch.context() as deaf:
            deaf.setattr(house.engine.server, "_tell", lambda: None)
            for n in range(6):
                house.engine.control(control_record(r.ControlAction.KILL_OFF, request_id=n + 1))
            wait_for(lambda: house.engine.gauge("answers_lost") == 2, house.client, house.venue)
            code: list[int] = []
            words = ["resume", str(house.engine.run_dir), "--wait", "0.5"]
            thread = threading.Thread(target=lambda: code.append(main(words)))
            thread.start()
            wait_for(lambda: code, house.client, house.venue, seconds=5)
            thread.join()
            assert code == [1]
            assert "no last answer to resume in 0.5 s; it may have been taken" in capsys.readouterr().err
            assert house.engine.gauge("answers_lost") == 3
        assert house.give("resume")[0] == 0
    finally:
        house.stop()
