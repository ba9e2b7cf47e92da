"""Kernels outside the hashed source trees are only ever run from files whose name hashes what they are made of."""

from __future__ import annotations

from pathlib import Path

from engine.jit import ROOT
from replay.backtest import host
from replay.compliance import kernels
from replay.written import write_out

#: Files in replay/ with kernels, all written out by `replay.written`.
WRITTEN = {"replay/backtest/drive.py", "replay/compliance/take.py", "replay/compliance/take_frames.py"}


def test_kernels_of_replay_are_written_out():
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "replay").rglob("*.py")
        if "\n@kernel" in path.read_text(encoding="utf-8")
    }
    assert found == WRITTEN


def test_what_the_backtests_kernel_imports_of_replay_is_part_of_its_name():
    text = (ROOT / "replay/backtest/drive.py").read_text(encoding="utf-8")
    imported = {line.split()[1] for line in text.splitlines() if line.startswith("from replay.")}
    assert imported == set(host.COMPANIONS)


def test_what_the_reports_kernels_import_of_replay_is_part_of_their_names():
    for file in ("take.py", "take_frames.py"):
        text = (ROOT / "replay/compliance" / file).read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line.startswith("from replay.")]
        named = [name for line in lines for name in (line.split()[1], f"{line.split()[1]}.{line.split()[3]}")]
        imported = {f"{name.removeprefix('replay.compliance.')}.py" for name in named if name.count(".") == 2}
        assert imported
        assert imported <= set(kernels.COMPANIONS)


def test_another_text_or_companion_is_another_module(tmp_path: Path):
    beside = tmp_path / "beside.py"
    beside.write_text("A = 1\n")
    first = write_out(tmp_path, "x", "B = 2\n", [beside])
    assert write_out(tmp_path, "x", "B = 2\n", [beside]) == first
    assert write_out(tmp_path, "x", "B = 3\n", [beside]) != first
    beside.write_text("A = 2\n")
    assert write_out(tmp_path, "x", "B = 2\n", [beside]) != first
