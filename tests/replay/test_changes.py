"""A day on which venues bust, correct and cancel unasked: reports and stories are of what stands."""

from __future__ import annotations

import io
import re

import msgspec
import numpy as np
import pytest
from rich.console import Console

from cli.report import show
from engine.core.state import COUNTERS
from engine.run.config import Sweep
from gateways.feeds import synthetic
from gateways.feeds.names import Names
from replay.explain.story import explain
from replay.report.changed import STEP, settle
from replay.report.measure import measure
from replay.report.pages import page
from tests.replay.desk import Desk, config, parents

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """(the closed desk, its run directory, its measures)."""
    run_dir = tmp_path_factory.mktemp("runs") / "changed"
    settings = config(str(run_dir), sweep=Sweep(rest="venue"))
    faults = {"bust_ppm": 200_000, "correct_ppm": 300_000, "unsolicited_ppm": 300_000}
    settings = msgspec.structs.replace(settings, simulation=msgspec.structs.replace(settings.simulation, **faults))
    desk = Desk(settings, run_dir)
    day = synthetic.generate(seed=1, names=Names.of(settings), quotes=600, trades=150)
    desk.play(day, parents(day, 30))
    desk.close()
    return desk, run_dir, measure(run_dir)


def test_figures_are_of_what_stands(changed):
    desk, _, m = changed
    state = desk.state
    counted = {name: int(state.counts[COUNTERS.index(name)]) for name in ("busts", "corrects", "qty_busted")}
    assert (m.outcome.busts, m.outcome.corrects) == (counted["busts"], counted["corrects"])
    assert min(m.outcome.busts, m.outcome.corrects, m.outcome.unsolicited) > 0
    assert m.shares.adds_up
    assert m.agrees_with_core
    assert m.shares.busted == counted["qty_busted"] > 0
    assert m.outcome.fees == pytest.approx(int(state.positions["fee"].sum()) / 1e9)
    assert m.shares.filled == sum(venue.filled for venue in m.outcome.venues)
    money = int(state.parents["notional"].sum())
    assert m.outcome.notional == pytest.approx(money / 1e9)


def test_they_are_told(changed):
    _, _, m = changed
    console = Console(record=True, width=160, file=io.StringIO())
    show(console, m)
    said = console.export_text()
    assert re.search(r"quantity .* busted.*adds up", said)
    assert re.search(r"changes +\d+ executions busted by venues \([\d,]+ taken back\), \d+ corrected, \d+ orders", said)
    html = page(m)
    assert "executed and busted" in html
    assert f"Venues busted {m.outcome.busts} executions" in html


def test_a_story_tells_them_in_words(changed):
    desk, run_dir, _ = changed
    state = desk.state
    busted = int(np.flatnonzero(state.parents["busted_qty"] > 0)[0])
    name = state.parent_orders["cl_ord_id"][busted].tobytes().rstrip(b"\0").decode()
    story = explain(run_dir, name)
    said = "\n".join(text for moment in story.moments for text in (moment.text, *(o.text for o in moment.outputs)))
    assert re.search(r"\w+ busts execution \S+ of child \d+", said) or "corrects execution" in said
    assert re.search(r"execution \d+/\d+ (was busted|is [\d,]+ at [\d.]+ now): \w+", said)
    assert re.search(r"(busted|corrected): child \d+ has executed [\d,]+ less", said)
    assert any(fill.standing == "busted" or fill.standing.startswith("corrected to ") for fill in story.fills)
    whole = sum(int(c.busted_qty) for c in story.children)
    assert whole == int(state.parents["busted_qty"][busted])


def steps(*rows):
    """(ExecType, CumQty, LeavesQty) of one order, in order."""
    made = np.zeros(len(rows), dtype=STEP)
    for n, (kind, cum, leaves) in enumerate(rows):
        made[n] = (n, 0, ord(kind), cum, leaves)
    return made


@pytest.mark.parametrize(
    ("rows", "ordered", "busted"),
    [
        ([("F", 40, 60), ("H", 0, 60)], 100, 40),
        ([("F", 40, 60), ("H", 0, 60), ("F", 60, 0), ("F", 90, 0)], 100, 10),
        ([("F", 120, 0), ("G", 90, 0)], 100, 10),
        ([("F", 40, 60), ("H", 0, 60), ("5", 0, 100)], 140, 40),
        ([("F", 40, 60), ("G", 55, 45)], 100, 0),
    ],
)
def test_busted_quantity_of_an_order_follows_from_its_reports(rows, ordered, busted):
    qty = np.array([100], dtype=np.int64)
    assert settle(qty, steps(*rows)).tolist() == [busted]
    assert qty.tolist() == [ordered]
