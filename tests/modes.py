"""Which way kernels run in this process: compiled, as plain Python, or compiled with bounds checks.

Found by doing, not by reading flags: a kernel reads past the end of a view whose memory goes on. Compiled code reads
on, plain Python and bounds-checked code raise, and only compiled code has signatures.
"""

from __future__ import annotations

import numpy as np

from engine.jit import BOUNDSCHECK, JIT, kernel


@kernel
def read_at(values, index):
    """values[index], whatever the length of `values`."""
    return values[index]


def flagged_mode() -> str:
    """The mode that the NUMBA_* flags of this process ask for."""
    if not JIT:
        return "plain"
    return "boundscheck" if BOUNDSCHECK else "jit"


def actual_mode() -> str:
    """The mode that kernels are in: jit, plain or boundscheck."""
    memory = np.arange(8, dtype=np.int64)
    try:
        raised = int(read_at(memory[:2], 5)) != 5
    except IndexError:
        raised = True
    if not getattr(read_at, "signatures", None):
        return "plain"
    return "boundscheck" if raised else "jit"
