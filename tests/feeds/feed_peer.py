"""The other process of the player's tests: a subscriber or a player that says "ready", and at the end JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.record.records import Template
from gateways.feeds.player import Player
from gateways.feeds.recording import load
from gateways.feeds.subscriber import Subscriber, split


def say(value: Any) -> None:
    print(json.dumps(value), flush=True)


def without_epochs(data: np.ndarray) -> bytes:
    """Bytes of the records in a batch, without clock samples, with every epoch 0."""
    out = data.copy()
    keep = np.ones(len(out) // 64, dtype=bool)
    for record in split(out):
        at = (record.__array_interface__["data"][0] - out.ctypes.data) // 64
        record["stream_epoch"] = 0
        keep[at] = record["template_id"] != Template.CLOCK_SAMPLE
    return out.reshape(-1, 64)[keep].tobytes()


def subscribe(
    endpoint: str, nap_s: str = "0", capacity: str = "1048576", prefix: str = "", until_ns: str = "0"
) -> None:
    """Read until all streams have ended and nothing more comes, or the clock is at `until_ns`; then tell what came."""
    prefixes = (bytes.fromhex(prefix),)
    digest, templates = hashlib.sha256(), set()
    # A small high-water mark makes a slow reader felt at once.
    with Subscriber(endpoint, prefixes=prefixes, capacity=int(capacity), high_water=8) as feed:
        say("ready")
        quiet_s, clocks = 0.0, []
        while not (feed.clock_ns >= int(until_ns) > 0 if prefix else feed.ended and quiet_s > 0.5):
            began_s = time.monotonic()
            data = feed.receive(0.1)
            quiet_s = 0.0 if len(data) else quiet_s + time.monotonic() - began_s
            digest.update(without_epochs(data))
            if prefix:
                templates |= {int(r["template_id"]) for r in split(data)}
                clocks += [int(r["clock_ns"]) for r in split(data)]
            time.sleep(float(nap_s))
        say(
            {
                "sha256": digest.hexdigest(),
                "records": feed.records,
                "messages": feed.messages,
                "malformed": feed.malformed,
                "clock_ns": feed.clock_ns,
                "templates": sorted(templates),
                "clocks": clocks,
                "streams": {i: dataclasses.asdict(s) for i, s in feed.streams.items()},
            }
        )


def publish(path: str, options: str, *endpoints: str) -> None:
    """Play a recording with JSON options; SIGTERM stops it, SIGINT interrupts it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have background jobs ignore it
    with Player(load(path), endpoints, **json.loads(options)) as player:
        signal.signal(signal.SIGTERM, lambda *_: player.stop())
        say("ready")
        say(dataclasses.asdict(player.run()))


if __name__ == "__main__":
    role: Callable[..., None] = subscribe if sys.argv[1] == "subscribe" else publish
    role(*sys.argv[2:])
