"""A run played again as a backtest: its orders are taken from its journal, and each difference has a reason."""

from __future__ import annotations

import pytest

from gateways.feeds import synthetic
from gateways.feeds.names import Names
from replay.backtest.compare import again, compare
from replay.backtest.host import Feed, Host, Terms
from replay.backtest.merge import merged
from tests.backtest import desk as small
from tests.replay import desk


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A journaled run that another driver made, in which clients also cancel and replace."""
    run_dir = tmp_path_factory.mktemp("live") / "run"
    desk.record_day(run_dir, quotes=900, trades=200, orders=40)
    return run_dir


def replayed(live, run_dir):
    settings, parents = again(live)
    config = small.elsewhere(settings.config, run_dir)
    day = synthetic.generate(seed=1, names=Names.of(config), quotes=900, trades=200)
    feed = Feed(merged([day]), day.first_ns, int(day.offsets[-1]))
    with Host(config, feed, parents, Terms(0, small.SECOND)) as host:
        host.run()
    return parents


def test_a_run_again(live, tmp_path):
    parents = replayed(live, tmp_path / "again")
    assert len(parents) == len({parent.cl_ord_id for parent in parents}) == 40
    table = compare(live, tmp_path / "again")
    assert table["cl_ord_id"].to_pylist() == sorted(parent.cl_ord_id for parent in parents)
    same, why = table["same"].to_pylist(), table["why"].to_pylist()
    # What clients asked for afterwards was not played: every fourth is replaced, every fifth cancelled.
    assert sum(same) > 20
    assert [bool(text) for text in why] == [not one for one in same]
    # The others compete with those for quotes, and the venues' dice go by order numbers.
    untouched = [n for n in range(40) if n % 4 and n % 5 and n % 7]
    assert sum(same[n] for n in untouched) >= 0.7 * len(untouched)


def test_a_run_is_itself(live):
    assert all(compare(live, live)["same"].to_pylist())
