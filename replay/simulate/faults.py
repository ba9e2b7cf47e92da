"""The faults of a simulation by family: what a run's summary counts, so that a test can see that each did occur.

An event counts when it has found something to act upon (World.apply). `RANGES` says what each family covers; the
profiles (profiles.py) say how often. What only a transport that a desk would not use can do (another order on one
connection) is simulated all the same: session numbers must hold it.
"""

from __future__ import annotations

from typing import Any, Final

#: Family -> what happens, and how far it goes.
RANGES: Final = {
    # the network
    "lost": "a record of an order session is lost on its way, up to 30 % of them",
    "twice": "a record arrives twice, up to 50 % of them",
    "reordered": "a record overtakes up to 1,000 before it",
    "delayed": "a record is late by up to seconds",
    "disconnected": "a session breaks, with or without what was in flight",
    "unnoticed": "a session breaks, and the driver does not see it before the peer is back",
    "feed lost": "a market-data record is lost, up to 30 % of them",
    "feed twice": "a market-data record arrives twice, up to 50 % of them",
    "feed late": "a market-data record arrives behind up to 1,000 later ones",
    # peers
    "silent": "a gateway or client reads nothing for up to seconds",
    "restarted": "a gateway or client begins a new life",
    "publisher": "a feed's publisher begins a new life",
    "halted": "an instrument is halted at a venue",
    # venues
    "lost ack": "a venue does what it is asked and says nothing",
    "held": "an immediate order or a cancel stays without an end",
    "late": "an execution is reported after the end of its order",
    "repeated": "a report comes again, with its own ExecID",
    "unknown": "a report names an order that is not there, or not that venue's",
    "overfill": "more is executed than was ordered",
    "bust": "an execution is taken back",
    "correct": "an execution was another: more, less, or at another price",
    "restated": "a venue changes an order's quantity or price unasked, down or up",
    "unsolicited": "an order ends that nobody asked to end",
    "reject": "an order is rejected",
    "cancel reject": "a cancel is rejected",
    # clocks
    "clock forward": "the engine's clock steps forward, up to hours",
    "clock back": "the engine's clock steps back, up to hours",
    "skew": "a peer's clock is off by up to an hour",
    "stall": "the engine's process stands still, 1 ms to 60 s",
    # the disk and the process
    "full": "no further segment can be made; the desk is cancel-only meanwhile",
    "failed": "the disk fails: the engine halts, cancels what lives, and goes on cancel-only",
    "torn": "a death leaves a part of a frame",
    "pages": "a power cut loses pages or sectors that were not synced, in any order",
    "stale": "what was lost shows bytes of an earlier segment",
    "flip": "a bit of the journal is flipped: it is refused, or cut before the flip",
    "snapshot": "a recovery begins with a snapshot",
    "snapshot damaged": "the newest snapshot is cut or flipped: an older one, or the whole journal, does",
    "killed": "the process dies, at any point between two bytes of the journal or two sends",
    "power": "the machine dies",
    "queue full": "a client reads too slowly, and its queue has no room",
    "sent again": "a client is sent again, from the journal, what it missed",
    "sequence reset": "a client is told that numbers will not come",
    "kill flag": "the control link stops all orders, and lets them go again",
}
#: Events that are one family.
_BY_EVENT: Final = {
    "lose": "lost", "silent": "silent", "publisher": "publisher", "halt": "halted", "peer": "restarted",
    "down": "disconnected", "skew": "skew", "stall": "stall", "eio": "failed", "feed": "feed late",
}  # fmt: skip
#: What a gateway's work is.
_BY_WORK: Final = {
    "late": "late", "over": "overfill", "stray": "unknown", "again": "repeated", "repeat": "repeated", "bust": "bust",
    "correct": "correct", "restate": "restated", "cancel": "unsolicited", "expire": "unsolicited",
}  # fmt: skip
_BY_FLAG: Final = {"k": "reordered", "keep": "twice", "slow": "delayed"}


def families(event: dict[str, Any]) -> list[str]:
    """The families of an event that took place; the driver and the venues count what only they know."""
    do = event["do"]
    found = [_BY_EVENT[do]] if do in _BY_EVENT else []
    if do == "work":
        found += [_BY_WORK[event["what"]]] if event["what"] in _BY_WORK else []
    elif do in ("deliver", "hear", "take"):
        found += [family for flag, family in _BY_FLAG.items() if event.get(flag)]
    elif do == "down" and not event.get("noticed"):
        found.append("unnoticed")
    elif do == "clock" and event["ns"]:
        found.append("clock forward" if event["ns"] > 0 else "clock back")
    elif do in ("disk", "control") and (event.get("full") or event.get("what") == "kill"):
        found.append("full" if do == "disk" else "kill flag")
    elif event.get("way") in ("lost", "twice"):
        found.append(f"feed {event['way']}")
    return found
