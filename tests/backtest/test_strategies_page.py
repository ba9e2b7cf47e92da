"""The page on strategies as a newcomer types it, in a folder with the tree's strategies and docs and no recorded day.

Fast: step 4 with a few orders over a small synthetic day, kernels as plain Python. In torture: all commands of steps 3
and 4, compiled, as they stand there.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import main
from engine.jit import JIT
from gateways.feeds import synthetic

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/strategies.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.kernel


def section(step):
    """The text of a step."""
    return re.split(r"^## ", PAGE.partition(f"\n## {step}. ")[2], maxsplit=1, flags=re.MULTILINE)[0]


def commands(step):
    """Its commands, in words; those that need a recorded day left out."""
    lines = re.findall(r"^    ((?:tickroute|cp|mkdir) .*)$", section(step), re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines if "quotes.csv.gz" not in line]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The newcomer's folder behind steps 1 and 2."""
    for name in ("strategies/pounce.py", "docs/backtest.toml"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for words in commands(1):
        do(words)
    assert (tmp_path / "mine/pounce.py").exists()
    return tmp_path


def do(words):
    """A command of the page that is not ours; the configuration that is copied is edited as the page says."""
    subprocess.run(words, check=True)
    if words[0] == "cp" and words[2] == "mine.toml":
        lines = section(4).partition("```toml\n")[2].partition("```")[0].splitlines()
        text = Path("mine.toml").read_text(encoding="utf-8")
        for line in lines:
            before, routing, rest = text.partition("[routing]\n")
            rest, changed = re.subn(rf"^{line.partition(' ')[0]} = .*$", line, rest, count=1, flags=re.MULTILINE)
            assert changed == 1, line
            text = before + routing + rest
        Path("mine.toml").write_text(text, encoding="utf-8")


def compared(capsys):
    """What the page's Python prints."""
    exec(section(4).partition("```python\n")[2].partition("```")[0], {})
    return capsys.readouterr().out


def hold(orders, fills):
    """Two runs of the same orders by two strategies."""
    a, b = (json.loads(Path(f"{name}.json").read_bytes()) for name in "ab")
    assert (a["strategy"].endswith("mine/pounce.py"), b["strategy"]) == (True, "strategies.sweep")
    for told in (a, b):
        assert [row["file"] for row in told["feeds"]] == ["synthetic day, seed 7"]
        assert sum(told["parents"].values()) == orders
        assert told["quantity"]["adds_up"]
        assert told["fills"] > fills
    assert a["quantity"]["ordered"] == b["quantity"]["ordered"]
    assert a["shortfall_bps"] != b["shortfall_bps"]


@pytest.mark.skipif(JIT, reason="another strategy compiles for half a minute")
def test_the_commands_of_step_4(place, monkeypatch, capsys):
    small = functools.partial(synthetic.generate, quotes=800, trades=150, duration_ns=40 * 10**9)
    monkeypatch.setattr(synthetic, "generate", small)
    example = place / "docs/backtest.toml"
    text = example.read_text(encoding="utf-8")
    example.write_text(text.replace("\norders = 500 ", "\norders = 30 "), encoding="utf-8")
    asked = [words[1] for words in commands(4) if words[0] == "tickroute"]
    assert asked == ["backtest", "report", "backtest"]
    for words in commands(4):
        if words[0] == "tickroute":
            assert main(words[1:]) == 0, capsys.readouterr().err
        else:
            do(words)
    hold(30, 10)
    assert "verify: identical" in capsys.readouterr().out
    assert re.fullmatch(r"30 orders; pounce costs [+-]\d+\.\d{3} bps more than sweep\n", compared(capsys))


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.skipif(not JIT, reason="live processes in plain Python are too slow for the feed's pace")
def test_steps_3_and_4_as_they_are_typed(place, capsys):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    for words in [*commands(3), *commands(4)]:
        if words[0] == "tickroute":
            words = [sys.executable, "-m", "cli.main", *words[1:]]
            done = subprocess.run(words, env=env, capture_output=True, text=True)
            assert done.returncode == 0, (words, done.stdout, done.stderr)
        else:
            do(words)
    hold(500, 100)
    assert "500 orders" in compared(capsys)
