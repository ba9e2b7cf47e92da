"""Prints what exploration says of a strategy, as JSON; run in a copy of the sources with something wrong in it."""

from __future__ import annotations

import json
import sys

import msgspec

from engine.run.prove import prove


def main(strategy: str, only: str, changes: str) -> None:
    """Explore and print."""
    found = prove(strategy, only, **json.loads(changes))
    print(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
