"""Warm processes for a session, and benches made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.bench import Bench
from tests.faults.kills import Hatchery, desk_toml, make_sockets


@pytest.fixture(scope="session")
def hatchery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hatchery]:
    """Forks `tickroute` processes that have every kernel loaded."""
    folder = tmp_path_factory.mktemp("warm")
    with make_sockets() as sockets, Hatchery(desk_toml(folder, sockets.sockets, 0)) as it:
        yield it


@pytest.fixture
def bench(tmp_path: Path, hatchery: Hatchery) -> Iterator[Callable[..., Bench]]:
    """Makes an engine as a process with plain peers; `changes` are old and new texts of its configuration."""
    made: list[Bench] = []

    def make(*changes: tuple[str, str], **options: Any) -> Bench:
        made.append(Bench(tmp_path / str(len(made)), hatchery, changes, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
