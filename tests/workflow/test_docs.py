"""What the docs say of strategies is so: the listing, the mistakes and their messages, the drawings, the commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli.main import COMMANDS, main
from engine.run.bind import machine_of
from engine.workflow.diagram import mermaid
from engine.workflow.drawing import svg

ROOT = Path(__file__).resolve().parents[2]
TEACHING = (ROOT / "docs/strategies.md").read_text(encoding="utf-8")
POUNCE = (ROOT / "strategies/pounce.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["sweep", "pounce"])
@pytest.mark.parametrize("draw", [svg, mermaid])
def test_drawings_are_those_of_the_machines(name, draw):
    target = ROOT / "docs/machines" / f"{name}.{'svg' if draw is svg else 'mmd'}"
    drawn = draw(machine_of(f"strategies.{name}"))
    assert target.read_text(encoding="utf-8") == drawn, f"tickroute machine {name} --diagram {target.relative_to(ROOT)}"


def test_the_listing_is_the_file():
    listing = TEACHING.partition("```python\n")[2].partition("```")[0]
    assert listing == POUNCE[POUNCE.index("from __future__") :]


@pytest.mark.parametrize("wrong", ["timeout=after_ms(250), ", "machine.compensate(take, by=recall)\n"])
def test_the_mistakes_are_told_as_the_docs_say(wrong, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine").mkdir()
    # A text that this process has loaded before would be told with the place where it was then.
    (tmp_path / "mine/pounce.py").write_text(POUNCE.replace(wrong, "") + "# a text of its own\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["machine", "mine/pounce.py", "--check"]) == 1
    said = capsys.readouterr().err.rstrip().replace("\n", "\n    ")
    assert f"    $ tickroute machine mine/pounce.py --check\n    {said}\n" in TEACHING


@pytest.mark.parametrize("page", ["strategies.md", "machines.md"])
def test_commands_and_links_of_a_page_are_there(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    names = set(re.findall(r"(?:^    |`)\$? ?tickroute (\w+)", text, re.MULTILINE))
    assert names
    assert names <= COMMANDS.keys()
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / "docs" / link).exists(), link
