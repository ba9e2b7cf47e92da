"""The pass's kernels, from files whose names hash what they are made of (see `replay.written`).

numba's key of a cached kernel is the file that it is in and nothing of what that calls, so `take` and `take_frames` are
written out beside the engine's kernels under such names. Worst case: an edit compiles them anew, some ten seconds.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import Any, Final

from engine.jit import CACHE_DIR
from replay.written import write_out

#: Files of this package that the kernels' files import.
COMPANIONS: Final = ("take.py", "tally.py", "fields.py")
_HERE: Final = Path(__file__).parent


@cache
def kernels() -> tuple[Any, Any]:
    """`take` and `settle`."""
    beside = [_HERE / name for name in COMPANIONS]
    orders = write_out(CACHE_DIR, "report_take", (_HERE / "take.py").read_text(encoding="utf-8"), beside[1:])
    text = (_HERE / "take_frames.py").read_text(encoding="utf-8")
    frames = text.replace("from replay.compliance.take import", f"from {orders} import")
    module = importlib.import_module(write_out(CACHE_DIR, "report_frames", frames, beside))
    return module.take, importlib.import_module(orders).settle
