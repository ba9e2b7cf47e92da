"""Chained logs: one altered byte is found, wherever it is, and named; a torn end is not damage."""

from __future__ import annotations

import json
import re

import pytest

from replay.watch.chained import ChainedLog, ChainError, Head, check, link, rows, subject

RUN = "00112233445566778899aabbccddeeff"


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "clock.jsonl"
    chained = ChainedLog(path, RUN)
    for n in range(5):
        chained.append({"n": n, "text": 'a "quoted",chain:\u00e9'})
    chained.close()
    return path, chained.head


def test_lines_are_what_was_written_and_the_chain_is_as_described(log):
    path, head = log
    assert [row["n"] for row in rows(path, RUN, head)] == [0, 1, 2, 3, 4]
    chain = subject(RUN, "clock.jsonl")
    for line in path.read_bytes().splitlines():
        body, _, tail = line.partition(b',"chain":"')
        chain = link(chain, body)
        assert tail == chain.hex().encode() + b'"}'
    assert check(path, RUN, head) == head == Head(5, chain.hex())


def test_every_altered_byte_is_found_and_its_line_named(log):
    path, head = log
    data = path.read_bytes()
    for at in range(len(data)):
        for mask in (0x01, 0x20, 0x80):
            changed = bytearray(data)
            changed[at] ^= mask
            path.write_bytes(changed)
            with pytest.raises(ChainError) as found:
                check(path, RUN, head)
            line = data[:at].count(b"\n") + 1
            assert found.value.line in (line, line + 1), (at, mask, str(found.value))
            assert re.search(r"clock\.jsonl, line \d+ \(byte \d+\): ", str(found.value))


def test_a_line_that_is_gone_moved_or_another_runs_is_found(log):
    path, head = log
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[1:]))
    with pytest.raises(ChainError, match="line 1 "):
        check(path, RUN)
    path.write_bytes(b"".join([lines[0], lines[2], lines[1], *lines[3:]]))
    with pytest.raises(ChainError, match="line 2 "):
        check(path, RUN)
    path.write_bytes(b"".join(lines))
    with pytest.raises(ChainError, match="line 1 "):
        check(path, RUN.replace("0", "1"))
    path.write_bytes(b"".join(lines[:3]))
    assert check(path, RUN).lines == 3, "by itself a log does not know how long it was"
    with pytest.raises(ChainError, match="the log ends before it, and had 5 lines"):
        check(path, RUN, head)


def test_a_chain_computed_anew_is_found_against_the_head_that_was_kept(log, tmp_path):
    _, head = log
    (tmp_path / "forged").mkdir()
    forged = ChainedLog(tmp_path / "forged" / "clock.jsonl", RUN)
    for n in range(5):
        forged.append({"n": n + 1})
    forged.close()
    assert check(forged.path, RUN).lines == 5
    with pytest.raises(ChainError, match=head.chain):
        check(forged.path, RUN, head)


def test_a_torn_line_is_cut_off_and_the_chain_goes_on(log):
    path, head = log
    with path.open("ab") as file:
        file.write(b'{"seq":6,"n":')
    assert check(path, RUN, head) == head
    again = ChainedLog(path, RUN)
    assert again.head == head
    again.append({"n": 5})
    again.close()
    assert [row["seq"] for row in rows(path, RUN, again.head)] == [1, 2, 3, 4, 5, 6]
    assert all(json.loads(line) for line in path.read_bytes().splitlines())


def test_a_full_disk_leaves_the_log_as_it_was(log, monkeypatch):
    import os

    path, head = log
    chained = ChainedLog(path, RUN)
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:10]))
    with pytest.raises(OSError, match="no space left"):
        chained.append({"n": 5})
    monkeypatch.undo()
    assert chained.head == head == check(path, RUN)
    chained.append({"n": 5})
    assert check(path, RUN, chained.head).lines == 6
    chained.close()
