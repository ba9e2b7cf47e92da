"""Standing still: a loop that was kept from its core takes in what came meanwhile before it looks at the time.

After a stop (SIGSTOP, a hypervisor, a swapped page) the clock has gone on and the messages of that time still lie in
sockets and in ZeroMQ's own threads, which were stopped too. Timers that looked at the clock first would cancel orders
whose end has long been told. So for as long as the loop was away, at most PATIENCE_NS, no timer fires.
A mass cancel asks for no peer's answer, and goes on.

A loop that stalls again and again (a disk that is too slow for its feed) would be patient for ever: once it has been
so for PATIENCE_NS of its own time, timers fire. A cycle counts as AWAY_NS at most, however long the loop was away, and
one that stood still for the disk (`stand_still`) not at all. The first long stall has the whole patience again.

Worst case: a time-out is late by PATIENCE_NS after a stall, and by twice as much of the loop's own time where stalls
follow one another; never because of load alone.
"""

from __future__ import annotations

from engine.jit import kernel
from engine.run.wiring import L_STALLS, Wiring

#: A cycle that begins so long after the one before it: the loop was away.
AWAY_NS = 5_000_000
#: ZeroMQ's threads need some of it on a busy machine.
PATIENCE_NS = 100_000_000


@kernel
def watch_stall(w: Wiring, now_ns: int) -> None:
    """Note the monotonic time of a cycle's beginning."""
    line = w.line[0]
    away_ns = now_ns - line.began_ns
    if line.began_ns > 0 and away_ns > AWAY_NS:
        line.patient_until_ns = now_ns + min(away_ns, PATIENCE_NS)
        w.counters[L_STALLS] += 1
        if away_ns > PATIENCE_NS and line.long_stall == 0:
            line.long_stall = 1
            line.patience_ns = 0
    if now_ns >= line.patient_until_ns:
        line.patience_ns = 0
        line.long_stall = 0
    elif w.held[0].crowded == 0:
        line.patience_ns += min(away_ns, AWAY_NS)
        if line.patience_ns > PATIENCE_NS + AWAY_NS:
            line.patient_until_ns = now_ns
            line.patience_ns = 0
            line.long_stall = 0
    line.began_ns = now_ns


@kernel
def stand_still(w: Wiring) -> None:
    """Nothing was taken in this cycle, because what is to be sent waits for the disk: that is a stall, too."""
    line = w.line[0]
    if line.began_ns > 0:
        line.patient_until_ns = line.began_ns + PATIENCE_NS


@kernel
def patient(w: Wiring) -> bool:
    """Whether timers wait."""
    line = w.line[0]
    return bool(line.began_ns < line.patient_until_ns)
