"""One short journaled day for all tests of this folder; whoever changes it works on a copy."""

from __future__ import annotations

import pytest

from tests.replay.desk import record_day


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory):
    """Directory of a run: 600 quotes, 150 trades, 30 parents, all ended."""
    path = tmp_path_factory.mktemp("runs") / "day"
    record_day(path, quotes=600, trades=150, orders=30)
    return path
