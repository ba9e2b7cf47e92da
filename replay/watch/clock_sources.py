"""Who knows how far the machine's clock is from UTC: PTP, chrony, the kernel. Each is asked, none is trusted silently.

    ptp     ptp4l by `pmc`: master_offset; else /dev/ptp*, a hardware clock that the system clock is held against
    chrony  `chronyc tracking`: the system clock's offset; bounded by |offset| + root dispersion + root delay / 2
    kernel  adjtimex: the offset that is being corrected, and maxerror, which grows while nobody corrects

`offset_ns` is this machine's clock minus UTC, so that a clock that is fast has a positive one. A source that says
nothing of a figure gives None: an unknown bound is unknown, never small.

Worst case: a program that does not answer is given up after PROGRAM_S. Alerts are told by another thread.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final, NamedTuple

from engine.run.host import STA_NANO, STA_UNSYNC, Timex, adjtimex

#: How long `chronyc` and `pmc` may take.
PROGRAM_S: Final = 0.8
_TIME_ERROR: Final = 5
#: PTP hardware clocks mostly count TAI. A difference of about the kernel's TAI offset is that offset.
_TAI_SLACK_NS: Final = 400_000_000
_SECOND_NS: Final = 1_000_000_000


class Reading(NamedTuple):
    """What one source says; None is unknown. `detail` is for people."""

    source: str
    offset_ns: int | None
    error_bound_ns: int | None
    synchronised: bool
    detail: str


class Kernel(NamedTuple):
    """The kernel's own view: `freq_ppb` is the rate it applies, `tai_s` what it was told of TAI (0: nothing)."""

    reading: Reading
    freq_ppb: int
    tai_s: int


def kernel_clock() -> Kernel | None:
    """adjtimex with modes 0, which needs no privilege; None where there is no such call."""
    read = adjtimex()
    return None if read is None else kernel_reading(*read)


def kernel_reading(row: Timex, state: int) -> Kernel:
    """What a struct timex and the call's result say."""
    synchronised = not row.status & STA_UNSYNC and state != _TIME_ERROR
    offset_ns = -row.offset * (1 if row.status & STA_NANO else 1000)  # what is still to be added
    detail = f"status {row.status:#06x}, esterror {row.esterror} us"
    reading = Reading("kernel", offset_ns if synchronised else None, row.maxerror * 1000, synchronised, detail)
    return Kernel(reading, row.freq * 1000 // 65536, row.tai)


def chrony_clock() -> Reading | None:
    """What chronyd says; None where it is not there or does not answer."""
    said = _run("chronyc", "-n", "-c", "tracking")
    return None if said is None else chrony_reading(said)


def chrony_reading(said: str) -> Reading | None:
    """From the line of `chronyc -c tracking`; None where it is none. Its correction is positive for a slow clock."""
    row = said.strip().split(",")
    try:
        offset_ns, root_delay_ns, dispersion_ns = (_ns(row[n]) for n in (4, 10, 11))
        leap = row[13]
    except (IndexError, ValueError):
        return None
    bound_ns = abs(offset_ns) + dispersion_ns + root_delay_ns // 2
    synchronised = leap != "Not synchronised" and row[2] not in ("", "0")
    detail = f"stratum {row[2]}, leap {leap}, reference {row[1] or row[0]}"
    return Reading("chrony", -offset_ns if synchronised else None, bound_ns, synchronised, detail)


def _ns(seconds: str) -> int:
    """Nanoseconds of a decimal number of seconds; ValueError. No float: 1 ns of an offset is not to be rounded."""
    match = re.fullmatch(r"([+-]?)([0-9]+)(?:\.([0-9]+))?", seconds.strip())
    if match is None:
        raise ValueError(f"{seconds!r} is no number of seconds")
    value = int(match[2]) * _SECOND_NS + int((match[3] or "").ljust(9, "0")[:9])
    return -value if match[1] == "-" else value


def ptp_clock(tai_s: int, folder: Path = Path("/dev")) -> Reading | None:
    """ptp4l's view, else that of the first hardware clock; None where there is neither."""
    said = _run("pmc", "-u", "-b", "0", "GET TIME_STATUS_NP", "GET PORT_DATA_SET")
    found = None if said is None else ptp_reading(said)
    if found is not None:
        return found
    for path in sorted(folder.glob("ptp[0-9]*")):
        reading = _hardware(path, tai_s)
        if reading is not None:
            return reading
    return None


def ptp_reading(said: str) -> Reading | None:
    """From the answers of `pmc`; None where they hold no offset."""
    offset = re.search(r"master_offset\s+(-?[0-9]+)", said)
    if offset is None:
        return None
    present = re.search(r"gmPresent\s+(\w+)", said)
    state = re.search(r"portState\s+(\w+)", said)
    follows = state is not None and state[1] in ("SLAVE", "UNCALIBRATED", "MASTER", "GRAND_MASTER")
    good = follows and state is not None and state[1] != "UNCALIBRATED" and (present is None or present[1] == "true")
    detail = f"port {state[1] if state else 'unknown'}"
    # ptp4l gives no bound of its own: the offset is what is known, and the rest is unknown.
    return Reading("ptp", int(offset[1]), None, good, detail)


def _hardware(path: Path, tai_s: int) -> Reading | None:
    """The system clock against a PTP hardware clock: the closest of five bracketed readings."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        clock = (~fd << 3) | 3  # FD_TO_CLOCKID of <linux/posix-timers.h>
        rows = []
        for _ in range(5):
            before_ns = time.time_ns()
            there_ns = time.clock_gettime_ns(clock)
            after_ns = time.time_ns()
            rows.append((after_ns - before_ns, (before_ns + after_ns) // 2 - there_ns))
    except OSError:
        return None
    finally:
        os.close(fd)
    width_ns, offset_ns = min(rows)
    if tai_s and abs(offset_ns + tai_s * _SECOND_NS) < _TAI_SLACK_NS:
        offset_ns += tai_s * _SECOND_NS
    # Whether the hardware clock itself follows anybody, it does not say.
    return Reading("ptp", offset_ns, None, True, f"{path.name}, read within {width_ns} ns")


def _run(program: str, *arguments: str) -> str | None:
    found = shutil.which(program)
    if found is None:
        return None
    try:
        done = subprocess.run(
            [found, *arguments], capture_output=True, text=True, timeout=PROGRAM_S, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return None
    return done.stdout
