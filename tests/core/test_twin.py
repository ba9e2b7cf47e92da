"""The core beside its slow twin: the same events to both, the same outputs and the same knowledge after each.

Hypothesis makes lists of small numbers; each becomes an event that makes sense where the two stand (see stories.py).
After each event the invariants are walked as well.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.jit import JIT
from tests.core.both import CONFIGS
from tests.core.stories import POSTED_STORY, QUOTED, STORY, Both, posted
from tests.modes import flagged_mode

pytestmark = pytest.mark.kernel

#: Stories that are told whatever hypothesis finds, and what they have to meet.
STORIES = 120
MET = [(rule, kind) for rule in ("TRADE_THROUGH", "LOCKED_CROSSED") for kind in ("CHILD", "REPLACE")]
MET += [("TRADE_THROUGH", "again")]
MET += [(why, "exempt") for why in ("not protected", "down", "refused", "odd lot", "taken")]
EXAMPLES = {"jit": 150, "plain": 60, "boundscheck": 60}[flagged_mode()]


@given(st.sampled_from(range(len(CONFIGS))), STORY)
@settings(max_examples=EXAMPLES)
def test_core_does_what_its_twin_does(which, story):
    both = Both(CONFIGS[which])
    for kind, a, b, d in story:
        both.event(kind, a, b, d)


@pytest.mark.skipif(JIT, reason="what stories meet is the same however they run: plain Python is enough")
def test_stories_meet_protected_quotations():
    """Both rules stop something now and then, new orders and replaces, also at the second look: what stories of such
    lengths are worth for them is counted, with stories that do not change from run to run."""
    draw, met = random.Random(611), Counter[tuple[str, str]]()
    for n in range(STORIES):
        both = Both(CONFIGS[6 + n % 2])
        for _ in range(60):
            both.event(draw.choice(QUOTED), *(draw.randrange(8) for _ in range(3)))
        met.update(both.twin.met)
    assert {key for key in MET if not met[key]} == set(), met


@given(st.sampled_from((3, 4, 6, 7)), POSTED_STORY)
@settings(max_examples=EXAMPLES)
def test_replaces_of_a_posted_child_do_what_the_twin_does(which, story):
    both = posted(CONFIGS[which])
    for kind, a, b, d in story:
        both.event(kind, a, b, d)
