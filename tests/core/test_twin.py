"""The core beside its slow twin: the same events to both, the same outputs and the same knowledge after each.

Hypothesis makes lists of small numbers; each becomes an event that makes sense where the two stand (see stories.py).
After each event the invariants are walked as well.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.both import CONFIGS
from tests.core.stories import POSTED_STORY, STORY, Both, posted
from tests.modes import flagged_mode

pytestmark = pytest.mark.kernel

EXAMPLES = {"jit": 150, "plain": 60, "boundscheck": 60}[flagged_mode()]


@given(st.sampled_from(range(len(CONFIGS))), STORY)
@settings(max_examples=EXAMPLES)
def test_core_does_what_its_twin_does(which, story):
    both = Both(CONFIGS[which])
    for kind, a, b, d in story:
        both.event(kind, a, b, d)


@given(st.sampled_from((3, 4)), POSTED_STORY)
@settings(max_examples=EXAMPLES)
def test_replaces_of_a_posted_child_do_what_the_twin_does(which, story):
    both = posted(CONFIGS[which])
    for kind, a, b, d in story:
        both.event(kind, a, b, d)
