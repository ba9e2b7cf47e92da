"""The configuration of the process beside the engine: alerts, clock samples, drop copy.

Nothing here decides what the core does, so a run may go on with other values. Worst case: none; these are types.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.run.config_types import NonNegative, Positive, Struct


class Alerts(Struct, frozen=True):
    """What the process beside the engine tells, and where; see docs/alerts.md."""

    #: Where it publishes besides RUN_DIR/alerts.jsonl, ipc:///path or tcp://host:port (it binds); empty is nowhere.
    endpoint: str = ""
    #: The same thing again within so long is counted, and told as one.
    repeat_ms: Annotated[int, Meta(gt=0, le=4000)] = 1000
    #: What is told later than this after its event is counted as late.
    late_ms: Positive = 5000
    #: A venue's market data that is silent for longer is stale; 0 watches none.
    stale_feed_ms: NonNegative = 10_000
    #: A table, a ring or the journal's disk that is so full is near its capacity.
    near_percent: Annotated[int, Meta(gt=0, le=100)] = 80


class Clock(Struct, frozen=True):
    """The clock sampler beside the engine; see docs/clock.md."""

    #: Between two samples; 0 takes none.
    every_ms: NonNegative = 1000
    #: Farther from UTC than this, by the offset or by what bounds it, is an excursion.
    tolerance_us: Positive = 100
    #: Whom to ask, in this order; the first that answers is the source.
    sources: list[Literal["ptp", "chrony", "kernel"]] = msgspec.field(
        default_factory=lambda: ["ptp", "chrony", "kernel"]
    )


class DropCopy(Struct, frozen=True):
    """Executions for whoever keeps books of his own; see docs/reconciliation.md."""

    #: Where they are published besides RUN_DIR/executions.bin, ipc:///path or tcp://host:port (the process beside the
    #: engine binds); empty is nowhere.
    endpoint: str = ""
