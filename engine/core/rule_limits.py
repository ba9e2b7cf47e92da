"""Looking limits and permissions up: kernels over `State.limits` and `State.permits` (see rules.py). A load or four."""

from __future__ import annotations

from engine.core.rules import INSTRUMENTS, LIMIT_STRIDE, P_INSTRUMENTS, P_SESSIONS, P_STRATEGIES, P_VENUES
from engine.core.state import NONE, State
from engine.jit import kernel


@kernel
def limit_of(state: State, instrument: int, column: int) -> int:
    """An instrument's limit by its column (L_*); OFF where the rule is switched off."""
    return int(state.limits[INSTRUMENTS + instrument * LIMIT_STRIDE + column])


@kernel
def permitted(state: State, session: int, strategy: int, instrument: int, venue: int) -> bool:
    """Whether one permission names all of a client session, a strategy, an instrument and a venue (NONE: any)."""
    all_three = (
        state.permits[P_SESSIONS + session]
        & state.permits[P_STRATEGIES + strategy]
        & state.permits[P_INSTRUMENTS + instrument]
    )
    if venue != NONE:
        all_three &= state.permits[P_VENUES + venue]
    return bool(all_three != 0)
