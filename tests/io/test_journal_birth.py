"""A journal that died before its first frame is moved aside, and nothing else is."""

from __future__ import annotations

import pytest

from engine.io.journal_birth import set_unborn_aside, unborn
from engine.io.journal_format import segment_path
from engine.io.journal_writer import JournalWriter
from tests.io.test_journal import put

pytestmark = pytest.mark.kernel


def test_what_never_held_a_frame_goes_aside_and_a_run_can_begin(tmp_path):
    assert not unborn(tmp_path)
    assert set_unborn_aside(tmp_path) is None
    JournalWriter(tmp_path / "born", 4096, b'{"a": 1}').close()
    data = segment_path(tmp_path / "born", 0).read_bytes()
    run_dir = tmp_path / "run"
    # The folder alone; a file without blocks, of zeros, with a header, with a part of the first frame.
    for n, begun in enumerate((None, b"", bytes(4096), data[:64] + bytes(4032), data[:100] + bytes(3996))):
        (run_dir / "journal").mkdir(parents=True)
        (run_dir / "journal" / "manifest.json").write_bytes(b"{}")
        if begun is not None:
            segment_path(run_dir, 0).write_bytes(begun)
        assert unborn(run_dir)
        assert set_unborn_aside(run_dir) == run_dir / f"journal-{n}.unborn"
        assert not (run_dir / "journal").exists()
    with JournalWriter(run_dir, 4096, b"{}") as writer:
        put(writer, bytes(64))
        assert not unborn(run_dir)


@pytest.mark.parametrize("count", [0, 1, 100])
def test_whatever_holds_a_frame_stays(tmp_path, count):
    with JournalWriter(tmp_path, 4096, b"{}") as writer:
        for _ in range(count):
            put(writer, bytes(64))
    assert not unborn(tmp_path)
    path = segment_path(tmp_path, 0)
    data = bytearray(path.read_bytes())
    data[64 + 10] ^= 1  # the first frame is damaged
    path.write_bytes(data)
    (tmp_path / "journal" / "chain").unlink()
    assert unborn(tmp_path) == (count == 0)
    path.unlink()
    assert unborn(tmp_path) == (count < 100), "a whole frame in a later segment makes it a journal"


def test_a_chain_of_closed_segments_makes_it_a_journal(tmp_path):
    with JournalWriter(tmp_path, 4096, b"{}") as writer:
        put(writer, bytes(64))
    segment_path(tmp_path, 0).unlink()
    assert not unborn(tmp_path), "its only segment was lost, and that is damage"
