"""Where the recorded feeds are: TICKROUTE_FEEDS, else `shared/feeds` beside the project. Tests skip without them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def feeds_dir() -> Path:
    """The folder of recorded feeds, whether it exists or not."""
    return Path(os.environ.get("TICKROUTE_FEEDS") or ROOT.parent / "shared" / "feeds")


def feed_path(*parts: str) -> Path:
    """A recorded file, by its path inside the folder; the test is skipped, with the reason, where it is absent."""
    path = feeds_dir().joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no recorded feed at {path}; set TICKROUTE_FEEDS to the folder that holds {parts[0]}/")
    return path
