"""The committed hash of a seeded day: the same outputs on every machine, jitted or not, with bounds checks or without.

A change of this hash is a change of what the engine does: say in the commit why, and what changed for users. The day is
small because plain Python must play it too.
"""

from __future__ import annotations

import pytest

from gateways.feeds import synthetic
from gateways.feeds.names import Names
from tests.replay.desk import Desk, config, parents

#: SHA-256 over every output record of the day, in order.
OUTPUTS = "ed15f8b1a72cff6c1b3f0b8fe78cebd7f039394e94ccfe3f0b5c89994de6f1d0"
#: How many inputs and outputs that were: a first hint where to look.
COUNTED = (3626, 965)


@pytest.mark.kernel
@pytest.mark.timeout(600)
def test_the_outputs_of_the_seeded_day():
    settings = config()
    day = synthetic.generate(seed=2, names=Names.of(settings), quotes=2400, trades=600)
    desk = Desk(settings)
    found = desk.play(day, parents(day, 96, seed=2))
    assert (desk.inputs, desk.outputs, found) == (*COUNTED, OUTPUTS)
    assert desk.state.core[0]["live_children"] == 0
