"""A failure is made short: what is left still fails, by the same rule, and no event of it can go."""

from __future__ import annotations

import msgspec
import pytest

from cli import main as cli
from engine.jit import JIT
from replay.simulate.run import Result, replay, simulate
from replay.simulate.shrink import shrink
from replay.simulate.story import lines
from tests.simulate.plant import planted
from tests.simulate.planted import BUGS

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(JIT, reason="a planted bug needs kernels that are plain Python")]
_BY_NAME = {bug.name: bug for bug in BUGS}
#: Bugs whose failures are made short, and how many events may be left.
SHORT = {
    "a repeated execution is booked again": 12,
    "a displayed quantity is used twice": 8,
}


@pytest.mark.parametrize("name", SHORT)
def test_a_failure_is_made_short(name):
    bug = _BY_NAME[name]
    with planted(bug):
        found = simulate(bug.seed, bug.faults)
        short = shrink(found)
        assert short.failed
        assert short.rule == found.rule
        assert len(short.events) <= SHORT[name], "\n".join(lines(short))
        assert replay(short.setup, short.events).rule == found.rule
        for n in range(len(short.events)):
            without = short.events[:n] + short.events[n + 1 :]
            assert replay(short.setup, without).rule != found.rule, f"event {n} of {len(short.events)} is not needed"
    assert not replay(short.setup, short.events).failed, "without the bug it is a good run"


def test_the_command_tells_a_failure(tmp_path, capsys):
    """Exit 1, with the events, the file that runs them again, and the command that runs the seed again."""
    bug, kept, told = _BY_NAME["the leaves are not updated by a fill"], tmp_path / "kept.json", tmp_path / "told.json"
    arguments = ["simulate", "--seed", str(bug.seed), "--profile", bug.faults, "--keep", str(kept)]
    with planted(bug):
        assert cli.main([*arguments, "--json", str(told)]) == 1
        text = capsys.readouterr().out
        assert f"tickroute simulate --seed {bug.seed} --profile {bug.faults}" in text
        assert "must hold:" in text
        again = msgspec.json.decode(kept.read_bytes(), type=Result)
        assert again.failed
        assert len(again.events) <= 12
        assert msgspec.json.decode(told.read_bytes())["events"] == again.events
        assert cli.main(["simulate", "--replay", str(kept), "--keep", str(kept)]) == 1
    assert cli.main(["simulate", "--replay", str(kept)]) == 0
    assert "all invariants held" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seeds", "9..3"], "--seeds 9..3"),
        (["--seeds", "many"], "--seeds many"),
        (["--profile", "storm"], "--profile storm"),
        (["--replay", "/nonexistent/kept.json"], "/nonexistent/kept.json"),
    ],
)
def test_a_wrong_use_is_told(arguments, says, capsys):
    assert cli.main(["simulate", *arguments]) == 2
    assert says in capsys.readouterr().err
