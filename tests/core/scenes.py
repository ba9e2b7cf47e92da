"""Situations that many tests begin with, and short ways to look at outputs."""

from __future__ import annotations

from engine.core.state import RESTING
from engine.record.records import Template
from tests.core.world import World, children, make_config, of


def resting(**more):
    """A world in which parent "a" rests in the engine."""
    w = World()
    w.quote(0, 9_900, 100, 10_100, 100)
    w.new("a", **more)
    assert w.parent("a")[1].phase == RESTING
    return w


def posted(qty=100, acknowledge=True):
    """A world in which parent "a" is posted at a venue, and its child, which the venue has accepted."""
    w = World(make_config(sweep={"rest": "venue"}))
    w.quote(0, 9_900, 100, 10_100, 100)
    (child,) = children(w.new("a", qty=qty))
    if acknowledge:
        w.ack(child)
    return w, child


def taking(qty=100, **more):
    """A world in which parent "a" has an immediate child for all of it, and the child."""
    w = World()
    w.offers((0, 10_000, qty))
    (child,) = children(w.new("a", qty=qty, **more))
    return w, child


def last_report(outputs):
    rows = [row for row in outputs if Template.ACK <= row.template_id <= Template.CANCEL_REJECT]
    return rows[-1]


def sent(outputs):
    """(venue, quantity, price) of each child order."""
    return [(int(row.venue_id), int(row.qty), int(row.px)) for row in children(outputs)]


def decision(outputs):
    (row,) = of(outputs, Template.DECISION)
    return row
