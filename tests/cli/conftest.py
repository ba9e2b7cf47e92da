"""Fixtures of the command tests."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def short_folder():
    """A folder with a path short enough for ipc endpoints."""
    folder = Path(tempfile.mkdtemp(prefix="tr-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
