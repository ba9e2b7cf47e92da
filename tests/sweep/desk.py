"""A small sweep for tests: the example configuration, and two synthetic days of some minutes, as recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateways.feeds import synthetic
from gateways.feeds.names import Names
from replay.backtest.settings import load

SECOND = 10**9
EXAMPLE = (Path(__file__).resolve().parents[2] / "docs" / "backtest.toml").read_text(encoding="utf-8")
GRID: dict[str, list[Any]] = {"routing.sweep.max_rounds": [1, 3], "routing.sweep.rest": ["engine", "venue"]}
SEEDS = [1, 2]


def written(folder: Path, *changes: tuple[str, str]) -> Path:
    """The example, small, with parts replaced, as a file."""
    text = EXAMPLE
    small = (
        ("parents = 4096", "parents = 64"),
        ("children = 16384", "children = 512"),
        ("orders = 500", "orders = 30"),
    )
    for old, new in (*small, ("segment_mib = 16", "segment_mib = 1"), *changes):
        assert old in text, old
        text = text.replace(old, new, 1)
    path = folder / "sweep.toml"
    path.write_text(text, encoding="utf-8")
    return path


def days(folder: Path, config: Path) -> list[Path]:
    """Two days of the example's venues and stock."""
    names, files = Names.of(load(config).config), []
    for n in range(2):
        path = folder / f"day_2018-01-{2 + n:02d}.rec"
        start_ns = synthetic.OPEN_NS + n * 86_400 * SECOND
        synthetic.generate(3 + n, names, quotes=600, trades=100, start_ns=start_ns, duration_ns=240 * SECOND).save(path)
        files.append(path)
    return files
