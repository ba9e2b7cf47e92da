"""explain in words: busts, corrections, changes that nobody asked for, a day that rolls over, the kill flag."""

from __future__ import annotations

import json
import shutil

import msgspec
import numpy as np
import pytest

from cli.main import main
from engine.core.day import day_now
from engine.core.state import NEVER, Event
from engine.jit import JIT
from engine.record import records as r
from engine.run.control import limit_record, mass_cancel_record
from engine.workflow.table import FIRST_STEP
from gateways.feeds import synthetic
from gateways.feeds.names import Names
from replay.explain import names
from replay.explain.pages import page
from replay.explain.story import explain
from replay.explain.words import Speaker, Units
from replay.state.reach import reach
from replay.verify import verify
from tests.core import failing, twofold
from tests.replay.desk import Desk, config, parents
from tests.run.test_recover import shoot

pytestmark = pytest.mark.timeout(600)

T = r.Template


def order(name, tif):
    """A client's ORDER_NEW far from the market."""
    record = r.blank(T.ORDER_NEW)
    record["cl_ord_id"] = r.text16(name)
    record["side"], record["qty"], record["px"] = r.Side.BUY, 300, 1_500_000
    record["ord_type"], record["tif"] = r.OrdType.LIMIT, tif
    return record


def roll(desk):
    record = r.blank(T.ROLL)
    record["trading_day"], record["day_end_ns"] = day_now(desk.state) + 1, NEVER
    desk.take(record)


def control(desk, action, value=0):
    record = r.blank(T.CONTROL)
    record["action"], record["value"] = action, value
    desk.take(record)


@pytest.fixture(scope="module")
def eventful(tmp_path_factory):
    """A run whose venues bust, correct and cancel by themselves; then orders that live through two rolls and a kill."""
    path = tmp_path_factory.mktemp("eventful") / "run"
    settings = config(str(path))
    faults = msgspec.structs.replace(settings.simulation, bust_ppm=250_000, correct_ppm=400_000)
    settings = msgspec.structs.replace(settings, simulation=faults)
    day = synthetic.generate(seed=1, names=Names.of(settings), quotes=600, trades=150)
    desk = Desk(settings, path)
    desk.play(day, parents(day, 30))
    roll(desk)
    desk.take(order("LIVES", r.Tif.GTC), 0)
    desk.take(order("DAY", r.Tif.DAY), 0)
    control(desk, r.ControlAction.KILL_ON, int(r.Reason.DISK_FULL))
    control(desk, r.ControlAction.KILL_OFF)
    desk.take(
        limit_record(
            r.RiskRule.GROSS_NOTIONAL, r.Scope.ACCOUNT, 0, 5_000_000_25, request_id=7, actors=(1001, 1002),
            expires_ns=desk.now_ns + 10**15,
        )
    )  # fmt: skip
    desk.take(mass_cancel_record(r.Scope.VENUE, 1, request_id=8, actor=1001))
    roll(desk)
    desk.close()
    return path


@pytest.fixture(scope="module")
def stories(eventful):
    return {name: explain(eventful, name) for name in [*(f"P{n:06d}" for n in range(30)), "LIVES", "DAY"]}


def said(story):
    return [m.text for m in story.moments] + [o.text for m in story.moments for o in m.outputs] + story.notes


def test_busts_and_corrections_are_told_in_both_directions(stories):
    texts = [text for story in stories.values() for text in said(story)]
    for needle in (" busts execution ", " was busted: ", " corrects execution ", " now: ", "busted: child"):
        assert any(needle in text for text in texts), needle
    assert not [text for text in texts if text in ("bust", "correct")]
    standings = {fill.standing.split()[0] for story in stories.values() for fill in story.fills}
    assert {"booked", "busted", "corrected"} <= standings


def test_busted_quantity_is_neither_filled_nor_given_back(stories):
    hit = [story for story in stories.values() if story.order.busted_qty != "0"]
    assert hit
    for story in stories.values():
        o = story.order
        if o.order_id is not None:
            assert int(o.qty) == sum(int(q) for q in (o.cum_qty, o.canceled_qty, o.busted_qty, o.leaves_qty))


def test_a_roll_and_the_kill_flag_are_said_of_who_lived_then(stories):
    lives, day = said(stories["LIVES"]), said(stories["DAY"])
    assert stories["LIVES"].order.ord_status == "NEW"
    assert stories["LIVES"].lineage.trading_day == "2018-01-03"
    assert stories["P000001"].lineage.trading_day == "2018-01-02"
    assert (stories["DAY"].order.ord_status, stories["DAY"].order.reason) == ("EXPIRED", "day end")
    assert any("the trading day 2018-01-04 begins" in text for text in day)
    assert any("the trading day 2018-01-04 begins" in text for text in lives), "it lived through it"
    assert any("kill flag on (disk full)" in text for text in lives)
    assert any("kill flag off" in text for text in lives)


def test_commands_are_said_with_who_gave_them_and_what_they_did(stories):
    lives = " | ".join(said(stories["LIVES"]))
    assert "uid 1001 and uid 1002 set the limit gross notional of account 0 to 5,000,000.25 until" in lives
    assert f"cancel of venue {config().venue[1].mic}: 0 cancels sent, 0 of 0 ended, 0 executions since" in lives
    assert f"asks to cancel every order of venue {config().venue[1].mic}" in lives
    assert "limit gross notional of account 0: 5,000,000.25" in lives


def test_text_json_and_page_have_it(eventful, stories, tmp_path, capsys):
    name = next(name for name, story in stories.items() if story.order.busted_qty != "0")
    html = tmp_path / "order.html"
    assert main(["explain", str(eventful), name, "--html", str(html)]) == 0
    shown = capsys.readouterr().out
    assert " busted" in shown
    assert "busts execution" in " ".join(shown.split())
    assert "was busted" in html.read_text(encoding="utf-8")
    assert page(stories["DAY"]).count("2018-01-04") >= 1
    assert main(["explain", str(eventful), name, "--json", "-"]) == 0
    assert int(json.loads(capsys.readouterr().out)["order"]["busted_qty"]) > 0
    assert verify(eventful).rolls == 2


def test_a_snapshot_behind_a_roll_gives_the_day_that_it_is(eventful, tmp_path):
    copied = shutil.copytree(eventful, tmp_path / "copy")
    whole = reach(copied)
    shoot(copied, whole.rerun.input_seq - 6)
    again = reach(copied)
    assert again.header is not None
    assert (again.rerun.hash(), day_now(again.rerun.state)) == (whole.rerun.hash(), day_now(whole.rerun.state))
    assert int(again.rerun.state.core[0]["rolls"]) == 2


@pytest.mark.kernel
def test_words_of_records_that_are_rare():
    say = Speaker.__new__(Speaker)
    say.config, say.children = config(), {5: "child 1"}
    row = np.zeros(1, dtype=np.dtype([("px_decimals", "i2"), ("qty_decimals", "i2")]))[0]
    say.units = Units(row)
    restated = r.blank(T.ACK)[0]
    restated["exec_type"], restated["order_id"], restated["venue_id"] = r.ExecType.RESTATED, 5, 0
    restated["leaves_qty"], restated["last_px"] = 40, 12
    assert say.input(T.ACK, restated) == "the engine changes unasked child 1: 40 left at 12"
    stop = r.blank(T.CONTROL)[0]
    stop["action"] = r.ControlAction.STOP
    assert say.input(T.CONTROL, stop).startswith("the engine stops itself")
    replace = r.blank(T.ORDER_REPLACE)[0]
    replace["order_id"], replace["venue_id"], replace["qty"], replace["px"] = 5, 0, 70, 11
    replace["side"], replace["tif"] = r.Side.BUY, r.Tif.DAY
    assert say.output(T.ORDER_REPLACE, replace) == "replace child 1 at XNYS: 70 at 11"
    say.workflow = names.Workflow(twofold.machine)
    failure = r.blank(T.FAILURE)[0]
    failure["workflow_state"], failure["event"], failure["outcome"] = twofold.ONE.code, Event.PAUSE, -1
    failure["step"] = twofold.machine.steps().index(twofold.look) + FIRST_STEP
    failure["cut_outputs"], failure["compensations"] = 1, 2
    assert say.output(T.FAILURE, failure) == (
        "step look failed on PAUSE in ONE (it raised) and was undone: 1 outputs taken back; 2 compensations ran"
    )
    failure["outcome"] = twofold.WAITED
    failure["step"] = twofold.machine.steps().index(twofold.first) + FIRST_STEP
    assert "step first failed on PAUSE in ONE (its outcome WAITED leads nowhere)" in say.output(T.FAILURE, failure)
    failure["outcome"], failure["step"] = 9, 99
    assert "step 99 failed on PAUSE in ONE (its outcome 9 leads nowhere)" in say.output(T.FAILURE, failure)


@pytest.mark.kernel
@pytest.mark.skipif(JIT, reason="a strategy of its own compiles for a minute; as plain Python it runs at once")
def test_a_rollback_is_told_with_its_step_and_outcome(tmp_path):
    settings = config(str(tmp_path / "run"), strategy="tests.core.failing")
    desk = Desk(settings, tmp_path / "run")
    for name, mode in (("RAISES", failing.RAISES), ("LOST", failing.UNDECLARED)):
        asked = order(name, r.Tif.DAY)
        asked["qty"] = 300 + mode
        desk.take(asked, 0)
    desk.close()
    for name, why in (("RAISES", "it raised"), ("LOST", "its outcome LOST leads nowhere")):
        story = explain(tmp_path / "run", name)
        (told,) = [o.text for m in story.moments for o in m.outputs if o.record == "FAILURE"]
        assert told.startswith(f"step route failed on START in NEW ({why}) and was undone: ")
        assert told.endswith("outputs taken back; 0 compensations ran")
        assert (story.order.ord_status, story.order.reason) == ("CANCELED", "step failed")
        (changes,) = [t for m in story.moments for t in m.transitions if t.of == "workflow" and t.after == "FAILED"]
        assert changes.event == "START"
