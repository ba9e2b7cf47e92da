"""A run's events and the engine's inputs and outputs as people read them: what a failure prints."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from engine.record.records import ExecType, OrdStatus, Reason, Side, Template
from replay.simulate.ledger import CHILD_BIT
from replay.simulate.run import RAISED, Result
from replay.simulate.settle import settle
from replay.simulate.violation import Violation
from replay.simulate.wire import Record, name, text, unpack
from replay.simulate.world import Event, World

_COUNTER = CHILD_BIT - 1
#: Lines of the end that are shown at most.
_LAST = 200
_SHOWN = ("venue_id", "px", "qty", "last_px", "last_qty", "cum_qty", "leaves_qty")
_QUOTE = ("bid_px", "bid_qty", "ask_px", "ask_qty")


def lines(result: Result) -> Iterator[str]:
    """The events in order, each with what the engine took in because of it and what it made of that."""
    told: list[str] = []

    class Told(World):
        def _note(self, seq: int, data: bytes, outputs: list[bytes]) -> None:
            told.append(f"    {seq:>5} {brief(data)}")
            told.extend(f"          > {brief(out)}" for out in outputs)
            super()._note(seq, data, outputs)

    world = Told(result.setup)
    for event in result.events:
        with contextlib.suppress(Violation, *RAISED):
            world.apply(event)
        yield f"{event['at'] / 1e6:10.3f} ms  {_event(event)}"
        yield from told
        told.clear()
    with contextlib.suppress(Violation, *RAISED):
        settle(world)
    world.close()
    if told:
        yield "and then, with no more faults:"
        yield from told[-_LAST:]


def _event(event: Event) -> str:
    rest = " ".join(f"{key}={value}" for key, value in event.items() if key not in ("at", "do"))
    return f"{event['do']} {rest}".rstrip()


def brief(data: bytes) -> str:
    """A record in a line."""
    record = unpack(data)
    parts = [name(record["template_id"])]
    for key in ("order_id", "parent_id"):
        if record.get(key):
            kind = "child" if record[key] & CHILD_BIT else "parent"
            parts.append(f"{kind} {record[key] & _COUNTER}")
    parts += [text(record[key]) for key in ("cl_ord_id", "peer_id") if record.get(key)]
    if record.get("exec_id") and record["stream_id"] >= 0 and record["venue_id"] >= 0:
        parts.append(text(record["exec_id"]))
    parts += [f"{key.removesuffix('_qty')} {record[key]}" for key in _SHOWN if record.get(key, -1) > 0]
    if record["template_id"] == Template.QUOTE:
        parts.append(" ".join(str(record[key]) for key in _QUOTE))
    parts += _named(record)
    if record["stream_id"] >= 0:
        parts.append(f"[{record['stream_id']}: {record['stream_epoch']}/{record['stream_seq']}]")
    return " ".join(parts)


def _named(record: Record) -> list[str]:
    kinds: tuple[tuple[str, Any], ...] = (
        ("side", Side),
        ("exec_type", ExecType),
        ("ord_status", OrdStatus),
        ("reason", Reason),
        ("code", Reason),
    )
    return [kind(record[key]).name.lower() for key, kind in kinds if record.get(key) and record[key] in list(kind)]
