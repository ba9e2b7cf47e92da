"""When venues trade: their calendars as moments at which continuous trading begins and ends.

`sessions` asks the `exchange-calendars` package (the extra `tickroute[calendars]`) for a venue's days, from a few days
before a run to a year after, lunch breaks left out. The kernels know only the moments: at each one an entry of the
venues' queue is due, which opens or closes the venue and arms the next.

Worst case: the package takes a second or two to be imported; it is not where no venue names a calendar.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import numpy as np

from engine.record.units import trading_day
from engine.run.config import Config, ConfigError

Array = np.ndarray[Any, np.dtype[Any]]
Hours = Sequence[tuple[int, int]]
_DAY_S: Final = 86_400
#: Days of a calendar before a run begins, and after.
BEFORE, AFTER = 7, 370


def sessions(name: str, epoch: int, key: str = "calendar") -> list[tuple[int, int]]:
    """(begin, end) of continuous trading of a calendar around `epoch` (seconds), in ns, ascending.

    ConfigError: the package is not installed, or has no such calendar; `key` is what names it in errors.
    """
    try:
        package = import_module("exchange_calendars")
    except ImportError as error:
        text = f'{key} = "{name}": needs the package exchange-calendars; pip install "tickroute[calendars]"'
        raise ConfigError(text) from error
    with warnings.catch_warnings():  # of pandas, to the package's authors
        warnings.simplefilter("ignore")
        return _sessions(package, name, epoch, key)


def _sessions(package: Any, name: str, epoch: int, key: str) -> list[tuple[int, int]]:
    first, last = (str(np.datetime64((epoch // _DAY_S) + days, "D")) for days in (-BEFORE, AFTER))
    try:
        calendar = package.get_calendar(name, start=first, end=last)
    except package.errors.InvalidCalendarName as error:
        known = ", ".join(package.get_calendar_names(include_aliases=False)[:60])
        raise ConfigError(f'{key} = "{name}": is no calendar of exchange-calendars; it has {known}') from error
    except ValueError as error:
        raise ConfigError(f'{key} = "{name}": has no days from {first} to {last}: {error}') from error
    found = []
    for row in calendar.schedule.itertuples():
        opened, closed = int(row.open.value), int(row.close.value)
        if row.break_start == row.break_start:  # not a NaT
            found.append((opened, int(row.break_start.value)))
            opened = int(row.break_end.value)
        found.append((opened, closed))
    return found


def hours_of(config: Config, epoch: int) -> list[Hours | None]:
    """The sessions of each venue; None where it names no calendar, and always trades.

    They are those around the configuration's trading day, or around `epoch` (seconds) where it has none.
    """
    if config.engine.trading_day:
        epoch = trading_day(config.engine.trading_day) * _DAY_S
    asked: dict[str, list[tuple[int, int]]] = {}
    for venue in config.venue:
        if venue.calendar and venue.calendar not in asked:
            asked[venue.calendar] = sessions(venue.calendar, epoch, f"venue {venue.mic}: calendar")
    return [asked.get(venue.calendar) for venue in config.venue]


def moments(hours: Sequence[Hours | None]) -> tuple[Array, list[tuple[int, int]]]:
    """All moments back to back (int64: begin, end, begin, …), and each venue's (first, stop) among them."""
    flat: list[int] = []
    places = []
    for rows in hours:
        first = len(flat)
        flat += [ns for row in rows or () for ns in row]
        places.append((first, len(flat)))
    return np.array([*flat, 0], dtype=np.int64), places
