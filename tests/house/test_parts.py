"""What `engine.parts` promises of the numba that is pinned. Each case runs in processes with a cache of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.jit import JIT, ROOT

pytestmark = pytest.mark.skipif(not JIT, reason="about compiled code")

KERNELS = """
from engine.jit import kernel

@kernel
def third(x):
    if x == 13:
        raise ValueError("thirteen")
    return x * 3

@kernel
def second(x):
    return third(x) + 1

@kernel
def first(x):
    total = 0
    for i in range(x):
        total += second(i)
    return total
"""

SAY = """
import json, sys
sys.path.insert(0, sys.argv[1])
import kernels
from numba.core import codegen
made = []
emit = codegen.JITCodeLibrary._finalize_specific
def counted(library):
    made.append(library.name)
    emit(library)
codegen.JITCodeLibrary._finalize_specific = counted
said = {"first": kernels.first(10)}
ours = ("first", "second", "third", "first__part", "second__part", "third__part")
said["machine code"] = sorted(name for name in made if name in ours)
try:
    kernels.first(20)
except ValueError as error:
    said["error"] = str(error)
said["second"] = kernels.second(4)
said["hits"] = sum(kernels.first.stats.cache_hits.values())
print(json.dumps(said))
"""


def run(folder: Path) -> dict[str, object]:
    environment = {**os.environ, "TICKROUTE_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    told = subprocess.run(
        [sys.executable, "-c", SAY, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    answer: dict[str, object] = json.loads(told.stdout)
    return answer


def test_only_what_python_calls_becomes_machine_code_and_errors_come_out_of_parts(tmp_path):
    (tmp_path / "kernels.py").write_text(KERNELS, encoding="utf-8")
    fresh = run(tmp_path)
    assert fresh == {
        "first": 145,
        "machine code": ["first"],
        "error": "thirteen",
        "second": 13,
        "hits": 0,
    }
    again = run(tmp_path)
    assert again == {**fresh, "hits": 1}


def test_a_part_that_was_cached_by_one_kernel_serves_another(tmp_path):
    """The second process compiles `first` against the bitcode of `second` that the first one left."""
    (tmp_path / "kernels.py").write_text(KERNELS, encoding="utf-8")
    run(tmp_path)
    for name in (tmp_path / "cache").rglob("kernels.first-*"):
        name.unlink()
    assert list((tmp_path / "cache").rglob("kernels.second__part-*.nbc"))
    assert run(tmp_path)["first"] == 145
