"""Times as people read and write them: engine clock (ns since 1970) to ISO 8601 UTC and back, and spans of time.

A time of the clock is exact to the nanosecond: it is cut nowhere and never rounded. A span has three digits.
"""

from __future__ import annotations

import datetime as dt
import re

_SECOND_NS = 1_000_000_000
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?")
_MOMENT = re.compile(r"(\d{4}-\d{2}-\d{2})[T ]([\d:.]+)(Z|[+-]\d{2}:?\d{2})?")


def utc_ns(ns: int) -> str:
    """2018-01-02T14:30:05.123456789Z; empty for 0."""
    if not ns:
        return ""
    whole, rest = divmod(int(ns), _SECOND_NS)
    return f"{dt.datetime.fromtimestamp(whole, dt.UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def clock_text(ns: int) -> str:
    """14:30:05.123456789: the time of day alone; empty for 0."""
    return utc_ns(ns)[11:-1]


def clock_text_of(utc: str) -> str:
    """The time of day of a `utc_ns` text."""
    return utc[11:-1]


def time_text(ns: float) -> str:
    """A duration with its unit: 850 ns, 12.3 µs, 4.56 ms, 1.2 s; three digits."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size * 0.9995:
            value = ns / size
            return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f} {unit}"
    return f"{ns:.0f} ns"


def span_text(ns: int) -> str:
    """A span for people: as `time_text` up to two minutes, then 12 m 30 s or 3 h 05 m."""
    seconds = abs(ns) // _SECOND_NS
    if seconds < 120:
        return time_text(abs(ns)) if ns >= 0 else f"-{time_text(-ns)}"
    text = (
        f"{seconds // 60} m {seconds % 60:02d} s"
        if seconds < 3600
        else f"{seconds // 3600} h {seconds // 60 % 60:02d} m"
    )
    return text if ns >= 0 else f"-{text}"


def parse_time(text: str, day: dt.date) -> int | None:
    """ns since 1970 of a time of day (UTC) on `day`, or of an ISO 8601 date and time; None where it is neither.

    A date and time without an offset is UTC.
    """
    found = _TIME.fullmatch(text)
    if found:
        return _at(day, found)
    found = _MOMENT.fullmatch(text)
    if not found:
        return None
    time = _TIME.fullmatch(found[2])
    try:
        moment = _at(dt.date.fromisoformat(found[1]), time) if time else None
    except ValueError:
        return None
    if moment is None or found[3] in (None, "Z"):
        return moment
    offset = found[3].replace(":", "")
    seconds = int(offset[1:3]) * 3600 + int(offset[3:5]) * 60
    return moment - (seconds if offset[0] == "+" else -seconds) * _SECOND_NS


def _at(day: dt.date, found: re.Match[str]) -> int | None:
    hour, minute, second = int(found[1]), int(found[2]), int(found[3] or 0)
    if hour > 23 or minute > 59 or second > 59:
        return None
    whole = int(dt.datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=dt.UTC).timestamp())
    return whole * _SECOND_NS + int((found[4] or "").ljust(9, "0"))
