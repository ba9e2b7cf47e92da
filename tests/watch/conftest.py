"""A journaled day for all tests of the watch and of reconciliation, made once; each test has a copy."""

from __future__ import annotations

import shutil

import pytest

from engine.jit import JIT
from tests.replay.desk import record_day


@pytest.fixture(scope="session")
def day(tmp_path_factory):
    path = tmp_path_factory.mktemp("watched") / "day"
    record_day(
        path, **({"quotes": 1500, "trades": 300, "orders": 120} if JIT else {"quotes": 60, "trades": 15, "orders": 40})
    )
    return path


@pytest.fixture
def run_dir(day, tmp_path):
    return shutil.copytree(day, tmp_path / "run")
