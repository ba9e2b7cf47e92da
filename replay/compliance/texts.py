"""The report's own words, read from texts.toml: prose is data, and is looked at as prose."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any


@cache
def _texts() -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "texts.toml").read_text(encoding="utf-8"))


def said(key: str, **values: Any) -> str:
    """A text by its key ("p5.service"), with its names filled in."""
    part, _, name = key.partition(".")
    return str(_texts()[part][name]).format(**values)


def list_said(key: str, **values: Any) -> list[str]:
    """A list of texts."""
    part, _, name = key.partition(".")
    return [str(text).format(**values) for text in _texts()[part][name]]


def listed(names: list[str]) -> str:
    """Names in a row; of many the first and the last."""
    return ", ".join(names) if len(names) <= 6 else f"{names[0]} to {names[-1]} ({len(names)} of them)"
