"""A run's files: their digests, and whether they and the chain of closed segments agree.

Worst case: each file is read once for its SHA-256.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from engine.io import journal_chain
from engine.io.journal_format import segment_path
from engine.io.journal_reader import Ending, JournalReader


class File(NamedTuple):
    """A file that a report follows from; times are ns of the engine's clock of its first and last input, 0: none."""

    name: str
    size: int
    sha256: str
    frames: int
    first_ns: int
    last_ns: int


def chain_of(path: Path, reader: JournalReader, files: list[File]) -> journal_chain.Checked:
    """What the run's chain of closed segments says, held to the digests that were just taken. `reader` is at its end.

    Each line of the file must be one of the chain, and each segment linked that must be.
    """
    links = journal_chain.read_chain(path)
    where = path / "journal" / "chain"
    end = reader.end
    assert end is not None
    short = journal_chain.shortened(path, end.segment, closed=end.ending is Ending.CLOSED)
    if not links:
        return journal_chain.Checked(0, "", short)
    if links[0] != journal_chain.manifest_link(reader.run_id, reader.manifest):
        return journal_chain.Checked(0, "", f"{where} line 1: the manifest is not the one that the chain begins with")
    digests = {file.name: file.sha256 for file in files}
    count, before = 0, links[0]
    for link in links[1:]:
        if link.chain != journal_chain.linked(before.chain, link.digest):
            broken = f"{where} line {link.segment + 2}: does not follow on the line before it"
            return journal_chain.Checked(count, before.chain, broken)
        name = f"journal/{link.segment:06d}.seg"
        if name in digests and digests[name] != link.digest:
            broken = f"{segment_path(path, link.segment)}: is not what it was when it was closed"
            return journal_chain.Checked(count, before.chain, broken)
        if name not in digests and link.segment >= reader.first_segment:
            broken = f"{segment_path(path, link.segment)}: is missing, and was not let go"
            return journal_chain.Checked(count, before.chain, broken)
        count += name in digests
        before = link
    return journal_chain.Checked(count, links[-1].chain, short)
