"""Ctrl-C and SIGTERM end a command in one way: by leaving its contexts, which remove what is half done.

Worst case: within a call into compiled code a signal waits until that returns, a second at the most.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import typer


def stop_on_signals() -> None:
    """From now on SIGTERM raises KeyboardInterrupt, as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


@contextmanager
def stoppable(left: str) -> Iterator[None]:
    """Either signal ends what is in it with exit code 130, and says what is `left`. SIGTERM is as before afterwards."""
    before = signal.getsignal(signal.SIGTERM)
    stop_on_signals()
    try:
        yield
    except KeyboardInterrupt:
        print(f"stopped: {left}", file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        signal.signal(signal.SIGTERM, before)
