"""Which commit the sources are of: read from the checkout that they lie in, or from what their installer wrote down.

It is a name for people. What the sources were, edited or not, `engine.jit.source_hash` says. Worst case: some files of
a few lines are read, once a process.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from engine.jit import ROOT

_ID: Final = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


@cache
def commit(root: Path = ROOT) -> str:
    """The commit of the sources below `root`, in hex digits; empty where neither a checkout nor an installer says."""
    try:
        found = _of_checkout(root)
    except (OSError, UnicodeDecodeError):
        found = ""
    found = found or (_of_installer() if root == ROOT else "")
    return found if _ID.fullmatch(found) else ""


def _of_checkout(root: Path) -> str:
    folder = root / ".git"
    if folder.is_file():  # a worktree: a line that says where its folder is
        folder = root / folder.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
    head = (folder / "HEAD").read_text(encoding="utf-8").strip()
    if not head.startswith("ref:"):
        return head
    name, shared = head.removeprefix("ref:").strip(), folder / "commondir"
    places = [folder, folder / shared.read_text(encoding="utf-8").strip()] if shared.is_file() else [folder]
    for place in places:
        if (place / name).is_file():
            return (place / name).read_text(encoding="utf-8").strip()
    packed = (places[-1] / "packed-refs").read_text(encoding="utf-8").splitlines()
    return next((line.split()[0] for line in packed if line.endswith(f" {name}")), "")


def _of_installer() -> str:
    """What `pip install git+...` wrote down (PEP 610)."""
    try:
        told = json.loads(distribution("tickroute").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return ""
    return str(told.get("vcs_info", {}).get("commit_id", ""))
