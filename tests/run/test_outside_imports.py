"""What a strategy from outside may import: its folder's files, which are part of it, and what the build's hash is over.

Nothing else: a change of it would be seen neither by the kernel cache nor by a replay.
"""

from __future__ import annotations

import json
import sys

import pytest

from cli import main as cli
from engine.run.outside import BindError, find

STRATEGY = "from helper import ANSWER\nmachine = ANSWER\n"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The folder of a strategy give.py; beside it a package `elsewhere` that can be imported."""
    for name in ("mine", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "elsewhere/__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "elsewhere/helper.py").write_text("ANSWER = 0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "mine"
    for name in [name for name in sys.modules if name.partition(".")[0] == "elsewhere"]:
        del sys.modules[name]


def write(folder, **texts):
    """Files by name, without .py; the strategy's own."""
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder / "give.py"


@pytest.mark.parametrize(
    ("text", "line", "name"),
    [
        ("import elsewhere.helper", 1, "elsewhere.helper"),
        ("import math\nfrom elsewhere import helper", 2, "elsewhere"),
        ("def f():\n    from elsewhere.helper import ANSWER", 2, "elsewhere.helper"),
        ("try:\n    import elsewhere\nexcept ImportError:\n    pass", 2, "elsewhere"),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import elsewhere", 4, "elsewhere"),
        ("import msgspec", 1, "msgspec"),
        ("from replay.verify import verify", 1, "replay.verify"),
        ("import folder.helper", 1, "folder.helper"),
    ],
)
def test_what_lies_elsewhere_is_refused_with_file_line_and_remedy(mine, text, line, name):
    (mine / "folder").mkdir()
    own = write(mine, give=text)
    with pytest.raises(BindError) as caught:
        find(str(own))
    said = str(caught.value)
    assert said.startswith(f"routing.strategy: {own}:{line}: import {name}: lies outside the strategy's folder (")
    assert said.endswith(f"; copy what it needs into a file of {mine} and import that: its text is then part of the "
                         "strategy")  # fmt: skip


def test_what_a_helper_imports_is_held_to_the_same(mine, capsys):
    own = write(mine, give=STRATEGY, helper="\nfrom elsewhere.helper import ANSWER\n")
    assert cli.main(["machine", str(own)]) == 1
    assert f"{mine}/helper.py:2: import elsewhere.helper: lies outside" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ({"give": "from .helper import ANSWER"}, "give.py:1: import .helper: is relative"),
        ({"give": "from . import helper"}, "give.py:1: import .: is relative"),
        ({"give": "import json", "json": ""}, "give.py:1: import json: json.py of its folder has the name of a module"),
        ({"give": "import numpy", "numpy": ""}, "import numpy: numpy.py of its folder has the name of a module"),
        ({"give": "import msgspec", "msgspec": ""}, "import msgspec: msgspec.py of its folder has the name of"),
        ({"give": "import strategies.common", "strategies": ""}, "strategies.py of its folder has the name of"),
        ({"give": STRATEGY, "helper": "import give"}, "helper.py:1: import give: is the strategy itself"),
    ],
)
def test_names_that_would_be_taken_for_another_are_refused(mine, texts, why):
    with pytest.raises(BindError) as caught:
        find(str(write(mine, **texts)))
    assert why in str(caught.value)


def test_the_folders_files_our_sources_numpy_numba_and_the_standard_library_can_be_imported(mine):
    text = """
from __future__ import annotations
import math, os.path
from typing import TYPE_CHECKING
import numba
import numpy as np
from llvmlite import ir
from engine.jit import kernel
from strategies.common import take_best
import gateways.session
import helper
if TYPE_CHECKING:
    import elsewhere
"""
    own = write(mine, give=text, helper="def f():\n    import more\n", more="", other="")
    assert find(str(own)).sources == {"give.py": text, "helper.py": "def f():\n    import more\n", "more.py": ""}


def test_a_module_that_the_configuration_names_is_held_to_the_same(mine):
    """Its package is nowhere in the copy that is compiled; a file beside it is, and editing that counts."""
    package = mine.parent / "elsewhere"
    (package / "strategy.py").write_text("from elsewhere.helper import ANSWER\nmachine = ANSWER\n", encoding="utf-8")
    with pytest.raises(BindError, match=r"strategy\.py:1: import elsewhere\.helper: lies outside"):
        find("elsewhere.strategy")
    (package / "strategy.py").write_text(STRATEGY, encoding="utf-8")
    before = find("elsewhere.strategy")
    assert (before.sources, before.load().machine) == ({"strategy.py": STRATEGY, "helper.py": "ANSWER = 0\n"}, 0)
    (package / "helper.py").write_text("ANSWER = 1\n", encoding="utf-8")
    after = find("elsewhere.strategy")
    assert after.folder != before.folder, "what is compiled of it is not found again"
    assert (after.sources["helper.py"], after.load().machine) == ("ANSWER = 1\n", 1)


def test_a_manifest_whose_files_are_sorted_by_name_gives_the_same_strategy(mine):
    own = write(mine, give="from aid import ANSWER\nmachine = ANSWER\n", aid="ANSWER = 7\n")
    live = find(str(own))
    kept = json.loads(json.dumps(live.sources, sort_keys=True))
    assert next(iter(kept)) == "aid.py"
    again = find(str(own), kept)
    assert (again.module, again.folder) == (live.module, live.folder)
    assert again.load().machine == 7


def test_helpers_of_one_name_are_each_strategys_own_whatever_was_loaded_before(mine, monkeypatch):
    text = f"import os\n{STRATEGY}assert 'LOADS' in os.environ, 'not yet'\n"
    first = find(str(write(mine, give=text, helper="ANSWER = 1\n")))
    with pytest.raises(BindError, match="not yet"):
        first.load()
    monkeypatch.setenv("LOADS", "1")
    second = find(str(write(mine, helper="ANSWER = 2\n")))
    assert second.load().machine == 2
    assert first.load().machine == 1
