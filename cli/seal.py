"""`tickroute seal RUN_DIR`: a run's chain head and digests in a file; `seal verify` holds a run to it.

Exit codes: 0; 3 where the run is not as it was sealed, or cannot be read, with the file and the place. Worst case: one
pass over the run's files for their frames, and one for their digests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.output import JsonOption, checked, console, write_json, write_whole
from cli.verify import Unreadable, readable
from engine.errors import UsageError


def seal(
    run_dir: Annotated[Path, typer.Argument(help="Directory of a run (it holds journal/).", show_default=False)],
    *,
    output: Annotated[
        Path | None, typer.Option(help="File to write (RUN_DIR.seal.json).", show_default=False, callback=checked)
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Ed25519 private key (PEM) to sign with.", show_default=False)
    ] = None,
    json: JsonOption = None,
) -> None:
    """Write what a run is now: its last frame's CRC, its chain's head, and digests of all its files and blocks.

    Keep the file where who can write to the run cannot: a change after it is then found and placed, even one that made
    every CRC and hash anew. A run may go on; frames after the seal are said not to be sealed. Make a key with: openssl
    genpkey -algorithm ed25519 -out seal.key
    """
    out = console(json)
    target = output or checked(run_dir.resolve().with_name(f"{run_dir.resolve().name}.seal.json"))
    with readable():
        from replay.compliance import sealing

        made = sealing.seal(run_dir)
        if key is not None:
            made = sealing.sign(made, key)
    write_whole(target, sealing.to_bytes(made))
    if json is not None:
        write_json(json, made)
    if json != "-":
        body = made.body
        out.print(f"sealed   frames {body.first_seq:,} to {body.last_seq:,}, {len(body.files)} files ({body.ending})")
        out.print(f"head     {body.head_crc}  chain {body.chain_head or 'none'}", soft_wrap=True)
        out.print(f"seal     SHA-256 {made.sha256}", soft_wrap=True)
        out.print(f"key      {made.public_key or 'none: the seal is not signed'}", soft_wrap=True)
        out.print(f"file     {target}", soft_wrap=True, markup=False)


def verify(
    seal_file: Annotated[Path, typer.Argument(metavar="SEAL", help="A file that `tickroute seal` wrote.")],
    run_dir: Annotated[Path, typer.Argument(help="Directory of the run.")],
    *,
    key: Annotated[
        Path | None,
        typer.Option(help="Ed25519 public key (PEM) that must have signed it.", show_default=False),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Hold a run to its seal: every sealed byte, and the signature. Without --key any key will do, and is named."""
    out = console(json)
    with readable():
        from replay.compliance import sealing

        found = sealing.read(seal_file)
        if key is not None and found.public_key != sealing.public_key(key):
            signer = found.public_key or "nobody"
            raise UsageError(f"{seal_file}: is signed by {signer}, and not by the key of {key}")
        wrong = sealing.compare(found, run_dir)
    if json is not None:
        write_json(json, {"sealed": found.body, "public_key": found.public_key, "wrong": wrong})
    if wrong is not None:
        raise Unreadable(f"{wrong}; restore it from a copy, or find out who changed it")
    if json != "-":
        body = found.body
        out.print(f"seal verify: [bold green]as sealed[/], frames {body.first_seq:,} to {body.last_seq:,}")
        out.print(f"  signed by {found.public_key or 'nobody'}", soft_wrap=True)
