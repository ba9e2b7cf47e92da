"""The lowest and the highest reference price of a rolling period, for the collar over a period.

A period is PERIOD_SLOTS - 1 whole slots and the one that runs. Each quote that moves the reference is noted, by two
comparisons; when a slot is over, what the earlier ones come to is worked out once, from the slots that still count.

Worst case: a quote after a slot's end: PERIOD_SLOTS loads and stores. A rule that is off notes nothing.
"""

from __future__ import annotations

from typing import Final

from engine.core.rule_limits import limit_of
from engine.core.rules import L_PERIOD_COLLAR, OFF, PERIOD_SLOTS
from engine.core.state import NEVER, State
from engine.jit import kernel

_MASK: Final = PERIOD_SLOTS - 1


@kernel
def note_reference(state: State, instrument: int) -> None:
    """Note the reference price of an instrument, where it was taken now."""
    row = state.instruments[instrument]
    if limit_of(state, instrument, L_PERIOD_COLLAR) == OFF or row.reference_ns != state.core[0].now_ns:
        return
    _turn(state, instrument)
    period = state.periods[instrument]
    if row.reference_px2 < period.low_px2:
        period.low_px2 = row.reference_px2
    if row.reference_px2 > period.high_px2:
        period.high_px2 = row.reference_px2


@kernel
def _turn(state: State, instrument: int) -> None:
    """Where the running slot is over: put it away, begin the one that is now, forget what is older than the period."""
    now, period = int(state.core[0].now_ns), state.periods[instrument]
    if now < period.until_ns:
        return
    width = int(state.params[0].collar_slot_ns)
    slot = now // width
    last = int(period.until_ns) // width - 1
    period.lows[last & _MASK] = period.low_px2
    period.highs[last & _MASK] = period.high_px2
    for n in range(max(last + 1, slot - _MASK), slot + 1):
        period.lows[n & _MASK] = NEVER
        period.highs[n & _MASK] = 0
    low, high = NEVER, 0
    for n in range(PERIOD_SLOTS):
        low = min(low, int(period.lows[n]))
        high = max(high, int(period.highs[n]))
    period.past_low_px2 = low
    period.past_high_px2 = high
    period.low_px2 = NEVER
    period.high_px2 = 0
    period.until_ns = (slot + 1) * width


@kernel
def extremes(state: State, instrument: int, ref2: int) -> tuple[int, int]:
    """(lowest, highest) of twice the reference price within the period that ends now; `ref2` is that of now."""
    _turn(state, instrument)
    period = state.periods[instrument]
    low = min(int(period.low_px2), int(period.past_low_px2), ref2)
    return low, max(int(period.high_px2), int(period.past_high_px2), ref2)
