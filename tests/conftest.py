"""What every test run starts with: the proof that kernels run in the mode that was asked for.

numba looks a kernel up in its cache without regard to NUMBA_BOUNDSCHECK, so a run with bounds checks can silently be
a run without. Each worker therefore first runs a kernel that must raise, or must not, and stops if it does otherwise.
TICKROUTE_TEST_MODE names the mode that the Makefile means (jit, plain, boundscheck); without it, the flags say.

Worst case: one small kernel is compiled a worker, about half a second with an empty cache.
"""

from __future__ import annotations

import os

import hypothesis
import pytest

from tests.modes import actual_mode, flagged_mode

# Bounded in time and the same on every machine; `make torture` looks further.
hypothesis.settings.register_profile("test", deadline=None, max_examples=100, derandomize=True, database=None)
hypothesis.settings.register_profile("torture", deadline=None, max_examples=5000, database=None)


def pytest_sessionstart(session: pytest.Session) -> None:
    hypothesis.settings.load_profile(os.environ.get("TICKROUTE_HYPOTHESIS", "test"))
    wanted = os.environ.get("TICKROUTE_TEST_MODE") or flagged_mode()
    if actual_mode() != wanted:
        pytest.exit(f"kernels run in mode {actual_mode()!r}, but {wanted!r} was asked for: see tests/modes.py", 4)


def pytest_report_header(config: pytest.Config) -> str:
    return f"kernels: {actual_mode()}"
