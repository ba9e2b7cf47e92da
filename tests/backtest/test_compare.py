"""A run played again as a backtest: its orders are taken from its journal, and each difference has a reason."""

from __future__ import annotations

import json

import pytest

from cli.main import main
from engine.run.config import ConfigError
from gateways.feeds import synthetic
from gateways.feeds.names import Names
from replay.backtest.compare import ARRIVAL, EXECUTION, PRICE, ROUTING, again, compare
from replay.backtest.host import Feed, Host, Terms
from replay.backtest.journaled import JournalFeed
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


def test_every_difference_has_a_cause_and_a_reason(live, tmp_path):
    replayed(live, tmp_path / "again")
    table = compare(live, tmp_path / "again")
    causes = table["cause"].to_pylist()
    assert [bool(cause) for cause in causes] == [not same for same in table["same"].to_pylist()]
    assert set(causes) <= {"", ARRIVAL, ROUTING, EXECUTION, PRICE}


def test_a_backtest_again_is_the_same_whatever_its_feed_was(tmp_path, capsys):
    """Its journal is its feed; what it measured are the latencies that it had; its orders come when they came."""
    small.play(small.config(tmp_path / "a"), latency_us=50)
    target, page = tmp_path / "told.json", tmp_path / "page.html"
    assert main(["backtest", str(tmp_path / "a"), "--out", str(tmp_path / "b"), "--json", str(target)]) == 0
    told = json.loads(target.read_bytes())["compared"]
    assert (told["orders"], told["same"], told["different"], told["causes"]) == (40, 40, [], {})
    assert told["played_feed_us"] == 50
    assert told["played_us"] == {venue.mic: venue.latency_us for venue in small.VENUES}
    assert told["measured"]["order_to_answer"]["XNYS"]["p50_ns"] == 360_000
    assert all(row["a"] == row["b"] for row in told["totals"])
    assert "40 of 40 orders came out the same" in capsys.readouterr().out
    assert main(["report", str(tmp_path / "b"), "--no-verify", "--html", str(page), "--json", str(target)]) == 0
    assert json.loads(target.read_bytes())["compared"] == told
    assert f"Compared with {tmp_path / 'a'}" in page.read_text(encoding="utf-8")
    again = ["backtest", str(tmp_path / "a"), "--out", str(tmp_path / "c"), "--latency", "configured", "--seed", "8"]
    assert main([*again, "--json", str(target)]) == 0
    other = json.loads(target.read_bytes())["compared"]
    assert other["played_feed_us"] == 0
    assert other["same"] < 40
    assert sum(other["causes"].values()) == len(other["different"]) == 40 - other["same"]
    assert all(row["why"] and row["cause"] in other["causes"] for row in other["different"])


def test_a_journal_of_other_instruments_is_no_feed(live, tmp_path):
    small.play(small.config(tmp_path / "a"), orders=0)
    with pytest.raises(ConfigError, match="its venues and instruments are others"):
        JournalFeed(tmp_path / "a", again(live)[0].config, 0)
