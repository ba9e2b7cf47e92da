"""The chain of closed segments: what the writer links, what `check` finds, and journals that begin later."""

from __future__ import annotations

import hashlib

import pytest

from engine.io import journal_chain, journal_keeper
from engine.io.journal_chain import check, first_kept, let_go, manifest_path, read_chain
from engine.io.journal_format import JournalError, segment_path
from engine.io.journal_reader import JournalReader, Mark
from engine.io.journal_writer import JournalWriter
from tests.io.test_journal import put

pytestmark = pytest.mark.kernel

SIZE = 4096
MANIFEST = b'{"a": 1}'


def written(run_dir, count=200):
    """A closed journal of some segments; its run id."""
    with JournalWriter(run_dir, SIZE, MANIFEST) as writer:
        for number in range(count):
            put(writer, bytes([number % 256]) * 64)
        return writer.run_id


def prune(run_dir, first):
    let_go(run_dir, first)
    for segment in range(first):
        segment_path(run_dir, segment).unlink()


def test_every_segment_is_linked_and_the_sums_are_those_of_the_page(tmp_path):
    run_id = written(tmp_path)
    links = read_chain(tmp_path)
    segments = sorted((tmp_path / "journal").glob("*.seg"))
    assert [link.segment for link in links] == list(range(-1, len(segments)))
    before = hashlib.sha256(run_id + hashlib.sha256(MANIFEST).digest())
    assert links[0].chain == before.hexdigest()
    for link, path in zip(links[1:], segments, strict=True):
        digest = hashlib.sha256(path.read_bytes())
        before = hashlib.sha256(before.digest() + digest.digest())
        assert (link.digest, link.chain) == (digest.hexdigest(), before.hexdigest())
    assert check(tmp_path, run_id, MANIFEST) == (len(segments), links[-1].chain, None)
    assert manifest_path(tmp_path).read_bytes() == MANIFEST


def test_a_chain_goes_on_over_a_resume_and_the_open_segment_is_linked_again(tmp_path):
    run_id = written(tmp_path, 60)
    before = read_chain(tmp_path)
    with JournalWriter.resume(tmp_path) as writer:
        for _ in range(100):
            put(writer, bytes(64))
    after = read_chain(tmp_path)
    assert after[: len(before) - 1] == before[:-1]
    assert after[len(before) - 1] != before[-1]
    assert check(tmp_path, run_id, MANIFEST).broken is None
    assert len(after) > len(before)


def test_segments_that_nobody_lived_to_hash_are_hashed_by_the_next_writer(tmp_path, monkeypatch):
    run_id = written(tmp_path)
    whole = read_chain(tmp_path)
    text = (tmp_path / "journal" / "chain").read_text()
    lines = text.splitlines(keepends=True)
    for cut in ("".join(lines[:2]), "".join(lines[:3]) + lines[3][:50], "", text[:-1]):
        (tmp_path / "journal" / "chain").write_text(cut)
        JournalWriter.resume(tmp_path).close()
        assert read_chain(tmp_path)[:-1] == whole[:-1]
        assert check(tmp_path, run_id, MANIFEST).broken is None
    monkeypatch.setattr(journal_keeper, "file_digest", _full)
    with JournalWriter.resume(tmp_path) as writer:
        for _ in range(100):
            put(writer, bytes(64))
    assert len(read_chain(tmp_path)) == len(whole) - 1
    monkeypatch.setattr(journal_keeper, "file_digest", journal_chain.file_digest)
    JournalWriter.resume(tmp_path).close()
    assert len(read_chain(tmp_path)) > len(whole)
    assert check(tmp_path, run_id, MANIFEST).broken is None


def _full(path):
    raise OSError(28, "No space left on device")


def test_whatever_is_changed_is_found(tmp_path):
    run_id = written(tmp_path)
    chain = tmp_path / "journal" / "chain"
    text = chain.read_text()
    lines = text.splitlines(keepends=True)
    path = segment_path(tmp_path, 2)
    data = path.read_bytes()
    path.write_bytes(data[:3000] + bytes([data[3000] ^ 1]) + data[3001:])
    assert check(tmp_path, run_id, MANIFEST).broken == f"{path}: is not what it was when it was closed"
    # Whoever changes the file and its line has to change every line behind it.
    line = lines[3].replace(lines[3].split()[1], hashlib.sha256(path.read_bytes()).hexdigest())
    chain.write_text("".join([*lines[:3], line, *lines[4:]]))
    assert check(tmp_path, run_id, MANIFEST).broken == f"{chain} line 4: does not follow on the line before it"
    path.write_bytes(data)
    chain.write_text(text)
    assert "manifest is not the one" in str(check(tmp_path, run_id, MANIFEST + b" ").broken)
    assert "manifest is not the one" in str(check(tmp_path, bytes(16), MANIFEST).broken)
    path.unlink()
    assert check(tmp_path, run_id, MANIFEST).broken == f"{path}: is missing, and was not let go"
    path.write_bytes(data)
    chain.unlink()
    assert "there is no chain" in str(check(tmp_path, run_id, MANIFEST).broken)


def test_a_journal_whose_first_segments_were_let_go_is_read_from_the_first_that_is_kept(tmp_path):
    run_id = written(tmp_path)
    with JournalReader(tmp_path) as reader:
        whole = [(frame.seq, frame.segment, bytes(frame.payload)) for frame in reader.frames()]
    links = len(read_chain(tmp_path))
    prune(tmp_path, 2)
    assert first_kept(tmp_path) == 2
    with JournalReader(tmp_path) as reader:
        assert (reader.manifest, reader.run_id, reader.first_segment) == (MANIFEST, run_id, 2)
        kept = [(frame.seq, frame.segment, bytes(frame.payload)) for frame in reader.frames()]
    assert kept == [row for row in whole if row[1] >= 2]
    assert check(tmp_path, run_id, MANIFEST) == (links - 3, read_chain(tmp_path)[-1].chain, None)
    with JournalWriter.resume(tmp_path) as writer:
        assert writer.run_id == run_id
        put(writer, bytes(64))
    assert check(tmp_path, run_id, MANIFEST).broken is None


def test_what_was_not_let_go_or_lacks_its_manifest_is_damage(tmp_path):
    written(tmp_path)
    prune(tmp_path, 2)
    path = segment_path(tmp_path, 2)
    data = path.read_bytes()
    path.unlink()
    with pytest.raises(JournalError, match=r"000002\.seg .*: the segment is missing, and was not let go"):
        JournalReader(tmp_path)
    path.write_bytes(data)
    manifest_path(tmp_path).write_bytes(MANIFEST + b" ")
    with pytest.raises(JournalError, match="is not the manifest that this run's chain begins with"):
        JournalReader(tmp_path)
    manifest_path(tmp_path).unlink()
    with pytest.raises(JournalError, match=r"manifest\.json .*: cannot be read"):
        JournalReader(tmp_path)
    manifest_path(tmp_path).write_bytes(MANIFEST)
    (tmp_path / "journal" / "chain").unlink()
    with pytest.raises(JournalError, match="chain begins with"):
        JournalReader(tmp_path)


def test_reading_begins_behind_a_frame_that_was_noted(tmp_path):
    written(tmp_path)
    marks, seqs = [], []
    with JournalReader(tmp_path) as reader:
        while reader.read(7) is not None:
            marks.append(reader.mark)
        last = reader.end
    assert last is not None
    for mark in marks:
        with JournalReader(tmp_path, at=mark) as reader:
            assert reader.manifest == MANIFEST
            assert reader.mark == mark
            seqs = [int(row) for chunk in reader.chunks() for row in chunk.rows["seq"]]
            assert reader.end == last
        assert seqs == list(range(mark.seq + 1, last.last_seq + 1))
    mark = marks[len(marks) // 2]
    for wrong in (
        mark._replace(crc=mark.crc ^ 1),
        mark._replace(seq=mark.seq + 1),
        mark._replace(offset=mark.offset + 32),
        mark._replace(last_offset=mark.last_offset - 32),
        mark._replace(segment=mark.segment + 1),
        mark._replace(segment=99),
        Mark(0, 1 << 40, 3, 0, 1 << 40),
        Mark(0, 0, 3, 0, -64),
    ):
        with pytest.raises(JournalError):
            JournalReader(tmp_path, at=wrong)


def test_a_line_that_cannot_be_read_or_is_gone_is_named(tmp_path):
    run_id = written(tmp_path)
    chain = tmp_path / "journal" / "chain"
    text = chain.read_bytes()
    lines = text.splitlines(keepends=True)
    last = len(lines) - 2
    assert journal_chain.shortened(tmp_path, last, closed=True) is None
    for number, line in enumerate(lines, 1):
        begin = sum(map(len, lines[: number - 1]))
        for at in (begin, begin + 9, begin + len(line) - 2, begin + len(line) - 1):
            chain.write_bytes(text[:at] + b"\x0d" + text[at + 1 :])
            why = str(check(tmp_path, run_id, MANIFEST).broken)
            assert why.startswith(f"{chain} line {number}: "), (number, at, why)
    for count in range(1, len(lines)):
        chain.write_bytes(b"".join(lines[:count]))
        why = str(journal_chain.shortened(tmp_path, last, closed=True))
        assert why.startswith(f"{chain} line {count + 1}: is missing, and {count - 1:06d}.seg is closed")
        # Who was killed in the last segment has linked all before it but three.
        assert (journal_chain.shortened(tmp_path, last) is None) == (count >= max(last - 2, 1)), count
    # The line that a kill tore: none of it is held to anything, and the next writer writes it again.
    for torn in (lines[-1][:1], lines[-1][:50], lines[-1][:-1], bytes(80)):
        chain.write_bytes(b"".join(lines[:-1]) + torn)
        assert check(tmp_path, run_id, MANIFEST).broken is None
        assert journal_chain.shortened(tmp_path, last) is None
        assert f"line {len(lines)}: does not end" in str(journal_chain.shortened(tmp_path, last, closed=True))
    chain.unlink()
    assert journal_chain.shortened(tmp_path) == f"{chain}: there is no chain"
