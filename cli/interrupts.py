"""A Ctrl-C that is swallowed comes again.

Python raises KeyboardInterrupt wherever the main thread is. Where that is in a function that C code called (the
compiler's notice of a new object file is one), there is nobody to raise it to: it is printed as ignored, and the
command goes on as if nobody had asked it to stop. `heeded` sees that and has it raised again a moment later, until it
arrives.

Worst case: as many moments as there are such calls in a row. SIGALRM and the process's real timer are used for that,
and only then.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: How long after a swallowed interrupt the next one comes.
_AGAIN_S = 0.05


@contextmanager
def heeded() -> Iterator[None]:
    """Inside, in the main thread, an interrupt that was swallowed is raised again."""
    before = sys.unraisablehook
    armed = False

    def told(what: sys.UnraisableHookArgs) -> None:
        nonlocal armed
        if what.exc_type is KeyboardInterrupt:
            armed = True
            signal.signal(signal.SIGALRM, signal.default_int_handler)
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        else:
            before(what)

    sys.unraisablehook = told
    try:
        yield
    finally:
        sys.unraisablehook = before
        if armed:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
