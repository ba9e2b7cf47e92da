"""The kernels of this run are in the mode that was asked for; see tests/conftest.py for why that is not obvious."""

from __future__ import annotations

import numpy as np
import pytest

from tests.modes import actual_mode, flagged_mode, read_at

pytestmark = pytest.mark.kernel


def test_mode_is_the_one_asked_for():
    assert actual_mode() == flagged_mode()


def test_out_of_bounds_read_raises_unless_jitted():
    memory = np.arange(4, dtype=np.int64)
    if flagged_mode() == "jit":
        assert read_at(memory[:1], 3) == 3
    else:
        with pytest.raises(IndexError):
            read_at(memory[:1], 3)
