"""The chain of a journal's closed segments: each one's SHA-256, linked with all before it.

`RUN_DIR/journal/chain` is text, a line a link, in order, each ending in the link's own hash:

    manifest <SHA-256 of the manifest> <SHA-256 of the run's id (16 bytes) and that hash>
    000000.seg <SHA-256 of the file> <SHA-256 of the hash before and that hash>
    ...

All hashes are hexadecimal here and 32 bytes each where they are hashed. Whoever keeps the last line elsewhere can show
that nothing before it was changed. A segment is hashed when it is closed, by the journal's helper; the one in use is
not in the chain. `journal/manifest.json` is a copy of the first frame's payload, and `journal/kept.json` says which
segment is the first that is kept, so that a journal can be read when its oldest segments have been let go.

Worst case: a crash before a line is whole. It is dropped, and the segment is hashed again by the next writer.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from engine.io.journal_format import JournalError, segment_numbers, segment_path

_LINE = re.compile(r"(manifest|[0-9]{6,}\.seg) ([0-9a-f]{64}) ([0-9a-f]{64})")
#: Closed segments that a writer may not have linked when it is killed: two are prepared ahead of it, and one is hashed.
_BEHIND = 3


class Link(NamedTuple):
    """A line of the chain; `segment` is -1 for the manifest's."""

    segment: int
    digest: str
    chain: str


class Checked(NamedTuple):
    """What `check` found: files that are as the chain says, the first that is not, and the last link's hash."""

    segments: int
    head: str
    broken: str | None


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and durably: temporary, fsync, rename, fsync of the folder."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def manifest_path(run_dir: Path) -> Path:
    """Path of the copy of a run's manifest."""
    return run_dir / "journal" / "manifest.json"


def first_kept(run_dir: Path) -> int:
    """Number of the first segment that is not let go; 0 where none was."""
    try:
        return int(json.loads((run_dir / "journal" / "kept.json").read_bytes())["first"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0


def let_go(run_dir: Path, first: int) -> None:
    """Say that segments before `first` are let go; they may be removed after this, the oldest first."""
    write_whole(run_dir / "journal" / "kept.json", json.dumps({"first": first}).encode())


def linked(before: str, digest: str) -> str:
    """The chain's hash after a file with this SHA-256."""
    return hashlib.sha256(bytes.fromhex(before) + bytes.fromhex(digest)).hexdigest()


def manifest_link(run_id: bytes, manifest: bytes) -> Link:
    """The first line."""
    digest = hashlib.sha256(manifest).hexdigest()
    return Link(-1, digest, linked(run_id.hex(), digest))


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_chain(run_dir: Path) -> list[Link]:
    """The lines that are whole, up to the first that is not or is out of order; empty where there is no chain."""
    try:
        return _links((run_dir / "journal" / "chain").read_bytes())
    except FileNotFoundError:
        return []


def _links(data: bytes) -> list[Link]:
    links: list[Link] = []
    for line in data.decode("ascii", "replace").split("\n")[:-1]:
        match = _LINE.fullmatch(line)
        if match is None:
            break
        segment = -1 if match[1] == "manifest" else int(match[1].removesuffix(".seg"))
        if segment != len(links) - 1:
            break
        links.append(Link(segment, match[2], match[3]))
    return links


def shortened(run_dir: Path, last: int = -1, *, closed: bool = False) -> str | None:
    """Which line of the chain's file is not as a writer leaves it, or is not there; None where all are.

    `last`: number of the segment of the journal's last frame, where it is known. `closed`: it was closed in order, and
    each segment is linked. Who is killed leaves some that are not, and a last line without its end.
    """
    path = run_dir / "journal" / "chain"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return f"{path}: there is no chain"
    *lines, rest = data.split(b"\n")
    links = len(_links(data))
    where = f"{path} line {links + 1}"
    if links < len(lines):
        return f"{where}: is no line of a chain, or not the one that follows"
    whole = len(f"{links - 1:06d}.seg") + 2 * 65
    if rest and (closed or (len(rest) > whole and rest.strip(b"\0"))):
        return f"{where}: does not end as a line does"
    if links < (last + 2 if closed else max(last + 1 - _BEHIND, 1)):
        why = "; where the disk was full when the run ended, its next start links it" if closed else ""
        return f"{where}: is missing, and {segment_path(run_dir, links - 1).name} is closed{why}"
    return None


class Chain:
    """The writer's end of a run's chain: made where there is none, cut at segment `current`, which is written again."""

    def __init__(self, run_dir: Path, run_id: bytes, manifest: bytes, current: int = 0) -> None:
        self._run_dir = run_dir
        first = manifest_link(run_id, manifest)
        links = read_chain(run_dir)
        if not links or links[0] != first:
            links = []
        self._links = links[: current + 1] or [first]
        if not links and segment_numbers(run_dir)[:1] > [0]:
            why = "is missing or of another run, and the journal's first segments are let go"
            raise JournalError(self._path, 0, why, "restore it from a copy")
        text = "".join(_line(link) for link in self._links).encode()
        if not self._path.exists() or self._path.read_bytes() != text:
            write_whole(self._path, text)
        if not manifest_path(run_dir).exists():
            write_whole(manifest_path(run_dir), manifest)

    @property
    def _path(self) -> Path:
        return self._run_dir / "journal" / "chain"

    @property
    def following(self) -> int:
        """Number of the segment that is linked next."""
        return len(self._links) - 1

    def append(self, digest: str) -> None:
        """Link the next segment, whose file has this SHA-256."""
        link = Link(self.following, digest, linked(self._links[-1].chain, digest))
        with self._path.open("a", encoding="ascii") as file:
            file.write(_line(link))
            file.flush()
            os.fsync(file.fileno())
        self._links.append(link)


def _line(link: Link) -> str:
    name = "manifest" if link.segment < 0 else f"{link.segment:06d}.seg"
    return f"{name} {link.digest} {link.chain}\n"


def check(run_dir: Path, run_id: bytes, manifest: bytes, progress: Callable[[int], None] | None = None) -> Checked:
    """Hold the chain's hashes to each other and to the files that are there. `progress` is called with segments."""
    links = read_chain(run_dir)
    path = run_dir / "journal" / "chain"
    if not links:
        return Checked(0, "", shortened(run_dir))
    if links[0] != manifest_link(run_id, manifest):
        return Checked(0, "", f"{path} line 1: the manifest is not the one that the chain begins with")
    kept, files = first_kept(run_dir), 0
    for before, link in pairwise(links):
        if link.chain != linked(before.chain, link.digest):
            return Checked(
                files, before.chain, f"{path} line {link.segment + 2}: does not follow on the line before it"
            )
        file = segment_path(run_dir, link.segment)
        if file.exists():
            if file_digest(file) != link.digest:
                return Checked(files, before.chain, f"{file}: is not what it was when it was closed")
            files += 1
        elif link.segment >= kept:
            return Checked(files, before.chain, f"{file}: is missing, and was not let go")
        if progress is not None:
            progress(link.segment)
    return Checked(files, links[-1].chain, shortened(run_dir))
