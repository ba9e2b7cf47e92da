"""The style rules are a test: sizes, docstrings, leftovers, reasons, no float that decides, units in names.

Each rule is shown a planted violation, so that a rule that finds nothing is known to be looking.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.record import records
from tests.house import tidy

ROOT = Path(__file__).resolve().parents[2]
TREES = ("cli", "engine", "gateways", "perf", "replay", "strategies", "tests")
SOURCES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for tree in TREES
    for path in sorted((ROOT / tree).rglob("*.py"))
}


@pytest.mark.parametrize("rule", tidy.RULES, ids=lambda rule: rule.__name__)
def test_tidy(rule):
    assert [line for path, source in SOURCES.items() for line in rule(path, source)] == []


def test_no_exception_outlives_its_reason():
    for path, why in tidy.LONG.items():
        assert len(SOURCES[path].splitlines()) > tidy.FILE_LINES, f"{path} is short enough now: take it off the list"
        assert why


def test_lint_settings_have_reasons():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    ignores = re.search(r"^ignore = \[\n(.*?)^\]", text, re.S | re.M)
    assert ignores is not None
    bare = [line for line in ignores[1].splitlines() if "#" not in line]
    bare += [line for line in re.findall(r'^"[^"]+" = \[.*$', text, re.M) if "#" not in line]
    overrides = text.split("[[tool.mypy.overrides]]\n")[1:]
    bare += [part.splitlines()[0] for part in overrides if not part.startswith("#")]
    assert bare == []


def test_times_in_records_carry_their_unit():
    for template, fields in records.FIELDS.items():
        for field in (*records.PREFIX, *fields):
            last = field.name.split("_")[-1]
            assert last not in tidy.TIMED | set(tidy.UNIT_SPELLINGS), f"{template.name}.{field.name}: unit last"
            if field.name.startswith("ts_"):
                assert last == "ns", f"{template.name}.{field.name}: a time stamp is in _ns"


KERNEL = "from engine.jit import kernel\n@kernel\ndef f(a, b):\n    "


@pytest.mark.parametrize(
    ("rule", "path", "source", "why"),
    [
        (tidy.lengths, "x.py", "a = 1\n" * 401, "401 lines"),
        (tidy.lengths, "x.py", "def f():\n" + "    a = 1\n" * 70, "f has 71 lines"),
        (tidy.docstring, "x.py", "a = 1", "docstring"),
        (tidy.leftovers, "x.py", "a = 1  # TO" + "DO later", "finish it"),
        (tidy.leftovers, "x.py", '"""Some\n\nFIX' + 'ME text."""', "finish it"),
        (tidy.unreasoned, "x.py", "import os  # no" + "qa: F401", "no reason"),
        (tidy.unreasoned, "x.py", "import os  # no" + "qa: F401, E402", "no reason"),
        (tidy.unreasoned, "x.py", "@pytest.mark.skip\ndef f(): pass\n@pytest.mark.xfail()\ndef g(): pass", "reason="),
        (tidy.floats, "engine/core/x.py", KERNEL + "return a * 0.5", "float literal 0.5"),
        (tidy.floats, "engine/core/x.py", KERNEL + "return a / b", "true division"),
        (tidy.floats, "strategies/x.py", KERNEL + "a /= b", "true division"),
        (tidy.floats, "engine/record/x.py", KERNEL + "return np.sqrt(a)", "sqrt()"),
        (tidy.floats, "engine/core/x.py", KERNEL + "return float(a)", "float()"),
        (tidy.unit_names, "x.py", "max_latency_nanos = 1", "_ns"),
        (tidy.unit_names, "x.py", "def f(limit_price): pass", "_px"),
        (tidy.unit_names, "x.py", "@kernel\ndef f(timeout): pass", "unit of a time"),
    ],
)
def test_planted_violation_is_found(rule, path, source, why):
    found = rule(path, source)
    assert len(found) == 1
    assert why in found[0]


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (tidy.unreasoned, "x.py", "import os  # no" + "qa: F401  the import registers a codec"),
        (tidy.unreasoned, "x.py", "@pytest.mark.skipif(True, reason='no capture here')\ndef f(): pass"),
        (tidy.floats, "engine/core/x.py", "def f(a, b):\n    return a / b * 0.5"),
        (tidy.floats, "engine/io/x.py", KERNEL + "return a / b"),
        (tidy.floats, "engine/core/x.py", KERNEL + "return a // b"),
        (tidy.unit_names, "x.py", "def f(px, latency_ns): pass\nnanos_a_second = 10"),
    ],
)
def test_tidy_source_passes(rule, path, source):
    assert rule(path, source) == []


def test_packages_say_that_they_are_typed():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    packages = re.search(r"^packages = \[(.*)\]", text.partition("[tool.hatch.build.targets.wheel]")[2], re.MULTILINE)
    names = re.findall(r"\"(\w+)\"", packages[1] if packages else "")
    assert set(names) == set(TREES) - {"tests"}
    assert [name for name in names if not (ROOT / name / "py.typed").exists()] == []
