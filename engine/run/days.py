"""The driver's calendar: when the trading day rolls over, and the ROLL input that says so.

A trading day D ends at `day.roll` (UTC) on the calendar day D; where that is not after `routing.day_end`, on the day
after. The next trading day is the next calendar day, Saturdays and Sundays left out unless `day.weekends`. An engine
that was away for days rolls once, to the day that it is now.

All is integers: `step` is given the day and when its day orders expire, and never asks a calendar. Worst case: a ROLL
looks at every parent once; it is one input among others.
"""

from __future__ import annotations

from typing import Any

from engine.core.day import day_now
from engine.core.state import NEVER, Events, State
from engine.jit import kernel
from engine.record.records import UNIT, Template
from engine.record.units import MAX_DAY
from engine.run.config import Config
from engine.run.inbox import free_slot, put
from engine.run.wiring import Wiring

DAY_NS = 86_400_000_000_000
_ROLL = int(Template.ROLL)


def time_of_day_ns(text: str) -> int:
    """ns since midnight of HH:MM:SS; -1 where the text is empty."""
    if not text:
        return -1
    hours, minutes, seconds = (int(part) for part in text.split(":"))
    return ((hours * 60 + minutes) * 60 + seconds) * 1_000_000_000


def set_calendar(config: Config, state: State, line: Any) -> None:
    """Fill the calendar's fields of LINE; the day is the state's."""
    line.roll_ns = time_of_day_ns(config.day.roll)
    line.day_end_ns = time_of_day_ns(config.routing.day_end)
    line.weekends = int(config.day.weekends)
    line.roll_at_ns = roll_at(day_now(state), int(line.roll_ns), int(line.day_end_ns))


@kernel
def roll_at(day: int, roll_ns: int, day_end_ns: int) -> int:
    """Engine time at which trading day `day` ends; NEVER where it does not. Times of day in ns, -1 is none."""
    if roll_ns < 0 or day >= MAX_DAY:
        return NEVER
    later = 1 if roll_ns <= max(day_end_ns, 0) else 0
    return (day + later) * DAY_NS + roll_ns


@kernel
def next_day(day: int, weekends: int) -> int:
    """The trading day after `day`. Day 0, 1970-01-01, was a Thursday."""
    day += 1
    while weekends == 0 and (day + 3) % 7 >= 5:
        day += 1
    return min(day, MAX_DAY)


@kernel
def put_roll(state: State, events: Events, w: Wiring) -> bool:
    """Put a ROLL to the day that it is now, which is due, into the inbox; False where there is no room yet."""
    line = w.line[0]
    day, end_ns = day_now(state), int(line.day_end_ns)
    while roll_at(day, int(line.roll_ns), end_ns) <= line.clock_ns:
        day = next_day(day, int(line.weekends))
    i = free_slot(w)
    if i < 0:
        return False
    put(events, w, i, _ROLL, UNIT)
    events.roll[i].trading_day = day
    events.roll[i].day_end_ns = day * DAY_NS + end_ns if end_ns >= 0 else NEVER
    line.roll_at_ns = roll_at(day, int(line.roll_ns), end_ns)
    return True
