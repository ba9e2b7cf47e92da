"""Seals: the head of a run's chain in a file of its own, to be anchored elsewhere, signed where a key is given.

A seal holds, for every file of a run, its size, SHA-256, and the SHA-256 of each BLOCK bytes of it, so that a later
change is found and placed; the number and CRC of the last frame, which covers all frames before it; and the head of the
chain. Who recomputes every CRC and every hash of a run after a change still cannot have the old ones come out. The
signature is Ed25519 over the canonical JSON of what is sealed.

Worst case: a seal says what a run was when it was sealed. A run that goes on is sealed up to a frame; what follows is
not, and is said not to be.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from engine.errors import TickrouteError
from engine.io import journal_chain
from engine.io.journal_format import JournalError, segment_path
from engine.io.journal_reader import CHUNK_ROWS, JournalReader
from replay.compliance.beside import LOGS
from replay.compliance.document import canonical

FORMAT: Final = 1
BLOCK: Final = 1 << 16
#: Where a segment's header says where it ends; eight bytes, written when it is closed.
_END: Final = 56
#: Names that a seal may have: files of the journal, and logs beside it.
_NAME: Final = re.compile("|".join([r"journal/[0-9]{6,}\.seg", *map(re.escape, LOGS)]))


class SealError(TickrouteError):
    """A seal that cannot be read, whose signature is not one of the key, or that a run is not as."""

    exit_code = 3


class SealKeyError(TickrouteError):
    """A seal that another key signed than the one asked for, or none."""


class SealedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it was. `used`: its first bytes, which will not change, where it is still written to; else its size.

    `growing`: a segment that was not closed; its header's last eight bytes, which say where it ends, count as zero.
    """

    name: str
    used: Annotated[int, msgspec.Meta(ge=0)]
    growing: bool
    sha256: str
    blocks: list[str]


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What is sealed. Frames `first_seq` to `last_seq`; `head_crc` is the last one's CRC."""

    format: int
    run_id: str
    first_seq: int
    last_seq: int
    head_crc: str
    chain_head: str
    manifest_sha256: str
    ending: str
    block_bytes: int
    files: list[SealedFile]


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """A seal. `public_key` and `signature` are hexadecimal; None where it is not signed."""

    body: Body
    sha256: str
    public_key: str | None = None
    signature: str | None = None


class Sealed(NamedTuple):
    """A seal that a run was held to and is as: how far it reaches, the key that signed it, whether that key was asked
    for, and the seal's own hash."""

    last_seq: int
    public_key: str | None
    sha256: str
    pinned: bool


def seal(run_dir: Path) -> Seal:
    """The seal of a run as it is now. JournalError where the journal is damaged."""
    with JournalReader(run_dir) as reader:
        used: dict[int, int] = {}
        last_seq = first_seq = -1
        for chunk in reader.chunks():
            first_seq = int(chunk.rows["seq"][0]) if first_seq < 0 else first_seq
            last_seq = int(chunk.rows["seq"][-1])
            used[chunk.segment] = 0
        end = reader.end
        assert end is not None
        closed = end.ending.name == "CLOSED"
        if not closed:
            used[end.segment] = end.offset
        files = [
            _file(segment_path(run_dir, n), f"journal/{n:06d}.seg", size, growing=bool(size))
            for n, size in used.items()
        ]
        run_id, manifest = reader.run_id, reader.manifest
    for name in LOGS:
        if (run_dir / name).exists():
            files.append(_file(run_dir / name, name, 0, growing=False))
    links = journal_chain.read_chain(run_dir)
    body = Body(
        format=FORMAT,
        run_id=run_id.hex(),
        first_seq=first_seq,
        last_seq=last_seq,
        head_crc=f"{end.prev_crc:08x}",
        chain_head=links[-1].chain if links else "",
        manifest_sha256=hashlib.sha256(manifest).hexdigest(),
        ending=end.ending.name.lower(),
        block_bytes=BLOCK,
        files=files,
    )
    return Seal(body=body, sha256=hashlib.sha256(canonical(body)).hexdigest())


def _file(path: Path, name: str, used: int, *, growing: bool) -> SealedFile:
    """A file's digests; `used` 0: all of it."""
    size = used or path.stat().st_size
    whole = hashlib.sha256()
    blocks: list[str] = []
    with path.open("rb") as file:
        left = size
        while left > 0 and (data := file.read(min(BLOCK, left))):
            left -= len(data)
            if growing and not blocks:
                data = data[:_END] + bytes(8) + data[_END + 8 :]
            whole.update(data)
            blocks.append(hashlib.sha256(data).hexdigest())
    return SealedFile(name=name, used=size - left, growing=growing, sha256=whole.hexdigest(), blocks=blocks)


def sign(unsigned: Seal, key_file: Path) -> Seal:
    """The seal signed with an Ed25519 private key (PEM, unencrypted). SealError where the file holds none."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        key: Any = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise SealError(f"{key_file}: no private key that can be read ({error}); {_MAKE}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SealError(f"{key_file}: is not an Ed25519 key; {_MAKE}")
    public = key.public_key().public_bytes_raw().hex()
    return msgspec.structs.replace(unsigned, public_key=public, signature=key.sign(canonical(unsigned.body)).hex())


_MAKE: Final = "make one with: openssl genpkey -algorithm ed25519 -out seal.key"


def public_key(key_file: Path) -> str:
    """An Ed25519 public key (PEM) as hexadecimal. SealError where the file holds none."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = serialization.load_pem_public_key(key_file.read_bytes())
    except (OSError, ValueError) as error:
        raise SealError(f"{key_file}: no public key that can be read ({error})") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SealError(f"{key_file}: is not an Ed25519 key")
    return key.public_bytes_raw().hex()


def to_bytes(made: Seal) -> bytes:
    """A seal as it is written: canonical JSON and a line end."""
    return canonical(made) + b"\n"


def read(path: Path) -> Seal:
    """Read a seal, and hold its hash and signature to what it says. SealError where they are not."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Seal)
    except (OSError, msgspec.MsgspecError) as error:
        raise SealError(f"{path}: cannot be read as a seal: {error}") from error
    if found.body.format != FORMAT:
        raise SealError(f"{path}: is a seal of format {found.body.format}; this build reads {FORMAT}")
    if hashlib.sha256(canonical(found.body)).hexdigest() != found.sha256:
        raise SealError(f"{path}: the seal was changed: its hash is not that of what it says")
    wrong = _malformed(found.body)
    if wrong:
        raise SealError(f"{path}: is no seal that this build makes: {wrong}; name another file")
    if (found.signature is None) != (found.public_key is None):
        raise SealError(f"{path}: the seal was changed: half a signature")
    if found.signature is not None and not _signed(found):
        raise SealError(f"{path}: the signature is not one of this key over this seal")
    return found


def _malformed(body: Body) -> str:
    """What a seal cannot say, whoever signed it: the names are joined to a run's directory, the blocks are counted."""
    if body.block_bytes != BLOCK:
        return f"block_bytes is {body.block_bytes:,}; {BLOCK:,} it must be"
    for file in body.files:
        if not _NAME.fullmatch(file.name):
            return f"{file.name!r} is no file of a run"
        blocks = -(-file.used // BLOCK)
        if len(file.blocks) != blocks:
            return f"{file.name} has {len(file.blocks):,} blocks; {file.used:,} bytes are {blocks:,}"
    return ""


def signed_by(found: Seal, path: Path, key: str) -> None:
    """Hold a seal to the public key (hexadecimal) that must have signed it. SealKeyError."""
    if found.public_key != key:
        raise SealKeyError(
            f"{path}: is signed by {found.public_key or 'nobody'}, and not by {key}, the key that was asked for "
            "(--seal-key); find out who made it"
        )


def _signed(found: Seal) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(found.public_key or ""))
        key.verify(bytes.fromhex(found.signature or ""), canonical(found.body))
    except (ValueError, InvalidSignature):
        return False
    return True


def compare(found: Seal, run_dir: Path) -> str | None:
    """What of a run is not as it was sealed: the first file and place; None where all is. A run may have gone on."""
    try:
        with JournalReader(run_dir) as reader:
            run_id = reader.run_id.hex()
    except JournalError as error:
        return compare_files(found, run_dir) or str(error)
    if run_id != found.body.run_id:
        return f"{run_dir}: is run {run_id}, and the seal is of run {found.body.run_id}"
    return compare_files(found, run_dir) or _claimed(found.body, run_dir)


def _claimed(body: Body, run_dir: Path) -> str | None:
    """What a seal says of frames, manifest and chain that its files do not bear out; they are as they were sealed."""
    with JournalReader(run_dir) as reader:
        if hashlib.sha256(reader.manifest).hexdigest() != body.manifest_sha256:
            return f"{run_dir}: its manifest is not the one that was sealed"
        seq, segments = -1, list[int]()
        while seq < body.last_seq:
            chunk = reader.read(1 if seq < 0 else min(body.last_seq - seq, CHUNK_ROWS))
            if chunk is None:
                return f"{run_dir}: ends with frame {seq:,}; frames up to {body.last_seq:,} were sealed"
            first, before = int(chunk.rows["seq"][0]), seq
            seq = int(chunk.rows["seq"][-1])
            if before < 0 and first > body.first_seq:
                return f"{run_dir}: begins with frame {first:,}; frames from {body.first_seq:,} on were sealed"
            if seq >= body.first_seq and chunk.segment not in segments:
                segments.append(chunk.segment)
        mark = reader.mark if seq >= 0 else None
    used = {file.name: file.used for file in body.files}
    for number in segments:
        if f"journal/{number:06d}.seg" not in used:
            return f"{segment_path(run_dir, number)}: has frames of the range that was sealed, and is not in the seal"
    if mark is None or seq != body.last_seq or used[f"journal/{mark.segment:06d}.seg"] < mark.offset:
        return f"{run_dir}: the files in the seal do not reach to frame {body.last_seq:,}, as it says"
    if f"{mark.crc:08x}" != body.head_crc:
        return f"{run_dir}: frame {seq:,} has CRC {mark.crc:08x}; {body.head_crc} was sealed"
    # The line of a segment that is still written to may be another one later.
    heads = {link.chain for link in journal_chain.read_chain(run_dir)}
    if body.ending == "closed" and body.chain_head and body.chain_head not in heads:
        return f"{run_dir / 'journal' / 'chain'}: has no line with the chain's head that was sealed"
    return None


def compare_files(found: Seal, run_dir: Path) -> str | None:
    """As `compare`, of the files' bytes alone: the journal need not be one that can be read."""
    for sealed in found.body.files:
        wrong = _changed(run_dir / sealed.name, sealed, found.body.block_bytes)
        if wrong is not None:
            return wrong
    return None


def _changed(path: Path, sealed: SealedFile, block_bytes: int) -> str | None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return f"{path}: was sealed, and is missing"
    if size < sealed.used:
        return f"{path}: has {size:,} bytes; {sealed.used:,} were sealed"
    if not sealed.used:
        return None
    try:
        now = _file(path, sealed.name, sealed.used, growing=sealed.growing)
    except OSError as error:
        return f"{path}: was sealed, and cannot be read: {error.strerror}"
    for n, (was, has) in enumerate(zip(sealed.blocks, now.blocks, strict=True)):
        if was != has:
            first, last = n * block_bytes, min((n + 1) * block_bytes, sealed.used) - 1
            return f"{path}: bytes {first:,} to {last:,} are not what was sealed"
    return None
