"""Where each time stamp is taken (docs/clock.md): every point lies between the two functions that the page names.

Records are driven through the loop in plain Python, with a counter in the place of the time stamp counter and a note of
each function that begins or ends. A stamp that is moved, left out, or taken twice changes the order of the notes.
"""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
import pytest

import engine.run.send
import tests.replay.desk as desk_module
from engine.jit import JIT
from engine.record.records import DTYPES, Template
from gateways.feeds import synthetic
from gateways.feeds.names import Names
from tests.replay.desk import Desk, config, parents

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(JIT, reason="compiled code has no functions to put in its place")]

#: (module, function) -> the name of its beginning and end among the notes.
WATCHED = {
    ("pump", "journal"): "journal",
    ("pump", "commit"): "commit",
    ("pump", "send_all"): "send",
    ("pump", "note_stages"): "note",
    ("bound", "begin"): "admit",
    ("bound", "apply"): "book",
    ("bound", "turn"): "decide",
    ("bound", "gate"): "risk",
    ("bound", "end"): "end",
}


class Notes:
    """What happened, in order: the counter's readings by who read it, and functions that began and ended."""

    def __init__(self):
        self.ticks = 0
        self.rows: list[str] = []
        self.events: list[list[str]] = []

    def tsc(self):
        self.ticks += 1000
        caller = sys._getframe(1).f_code.co_name
        if caller in ("pump", "_measured", "step_staged"):
            self.rows.append(f"stamp:{caller}")
        return self.ticks

    def around(self, name, function):
        def noted(*arguments):
            self.rows.append(f"{name}(")
            found = function(*arguments)
            self.rows.append(f"){name}")
            return found

        return noted


@pytest.fixture(scope="module")
def driven(tmp_path_factory):
    """Notes of each measured event of a small day, and its STAGES records."""
    notes = Notes()
    settings = config(str(tmp_path_factory.mktemp("points") / "run"))
    desk = Desk(settings, tmp_path_factory.mktemp("points") / "day")
    pump = desk.bound.pump
    bound = sys.modules[pump.__name__.replace(".pump", ".bound")]
    patched = pytest.MonkeyPatch()
    modules = {"pump": pump, "bound": bound}
    for other in (desk_module, engine.run.send):
        patched.setattr(other, "tsc", notes.tsc)
    for (module, name), note in WATCHED.items():
        patched.setattr(modules[module], name, notes.around(note, getattr(modules[module], name)))
    for module in modules.values():
        patched.setattr(module, "tsc", notes.tsc)
    measured = pump._measured

    def one(*arguments):
        # `pump` has stamped the receipt and journaled the input by now.
        before, notes.rows = notes.rows[-3:], []
        found = measured(*arguments)
        notes.events.append(before + notes.rows)
        return found

    patched.setattr(pump, "_measured", one)
    stages: list[np.ndarray] = []
    note_stages = pump.note_stages

    def kept(w, *arguments):
        found = note_stages(w, *arguments)
        stages.append(w.stages.copy())
        return found

    patched.setattr(pump, "note_stages", kept)
    try:
        day = synthetic.generate(seed=1, names=Names.of(settings), quotes=40, trades=10)
        desk.play(day, parents(day, 20))
        desk.close()
    finally:
        patched.undo()
    return notes.events, stages


def without(rows, *names):
    """The notes without those of some functions, and of what they call."""
    found, depth = [], 0
    for row in rows:
        if row[:-1] in names and row.endswith("("):
            depth += 1
        if depth == 0:
            found.append(row)
        if row[1:] in names and row.startswith(")"):
            depth -= 1
    return found


def test_every_point_lies_where_the_page_says(driven):
    events, _ = driven
    kinds: Counter[str] = Counter()
    for rows in events:
        turns = rows.count("decide(")
        wanted = ["stamp:pump", "journal(", ")journal", "stamp:_measured"]  # received, journaled
        wanted += ["admit(", ")admit", "stamp:step_staged"]  # decoded
        if "book(" in rows:
            wanted += ["book(", ")book", "stamp:step_staged"]  # booked
            wanted += ["decide(", ")decide", "stamp:step_staged", "risk(", ")risk", "stamp:step_staged"] * turns
        wanted += ["end(", ")end", "stamp:_measured"]  # stepped
        if "commit(" in rows:
            wanted += ["commit(", ")commit", "stamp:_measured"]  # committed
        if "send(" in rows:
            wanted += ["send(", ")send"]
        wanted += ["stamp:_measured"]  # sent
        if "note(" in rows:
            wanted += ["note(", ")note", "journal(", ")journal", "stamp:_measured"]
        found = without(rows, "commit") if "commit(" not in rows else rows_with(rows, without(rows, "commit"))
        assert found == wanted
        kinds[f"turns {min(turns, 2)}"] += 1
        kinds["sent"] += "send(" in rows
        kinds["refused"] += "book(" not in rows
    assert kinds["turns 1"] > 5
    assert kinds["sent"] > 5
    assert kinds["refused"] > 0


def rows_with(rows, commits):
    """`commits` with the mere begin and end of the commit put back."""
    at = next(n for n, row in enumerate(rows) if row == "commit(")
    return [*commits[:at], "commit(", ")commit", *commits[at:]]


def test_stages_are_in_order_and_add_up_to_the_total(driven):
    _, stages = driven
    assert len(stages) > 5
    names = ("receive_ns", "decode_ns", "book_ns", "decide_ns", "risk_ns", "journal_ns", "encode_ns", "send_ns")
    for record in stages:
        row = record[0]
        assert all(int(row[name]) >= 0 for name in names)
        parts = sum(int(row[name]) for name in names)
        assert parts <= int(row["total_ns"])
        assert int(row["clock_ns"]) == int(row["ts_event_ns"])
    assert DTYPES[Template.STAGES].itemsize == 128
