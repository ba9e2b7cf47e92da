"""The player over real sockets and rings to real processes: all of it arrives, in order, in time, and it ends well."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UsageError
from engine.jit import ROOT
from engine.record.records import Reason, Template, blank
from gateways.feeds import player_kernels
from gateways.feeds.names import Names
from gateways.feeds.player import Player, PlayError, Progress, _Gaps, play
from gateways.feeds.recording import Recording, build
from gateways.feeds.subscriber import Subscriber, split
from gateways.feeds.synthetic import generate

SECOND = 10**9
NAMES = Names.listed("NYB")
CLOCK_PREFIX = blank(Template.CLOCK_SAMPLE).tobytes()[:4].hex()


class Peer:
    """A process of feed_peer; `result` is the JSON that it says last."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "tests.feeds.feed_peer", *arguments]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._line() == "ready"

    def _line(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline() or "null")

    def result(self) -> Any:
        result = self._line()
        assert self.process.wait(30) == 0
        return result

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)


@pytest.fixture
def peers() -> Iterator[list[Peer]]:
    started: list[Peer] = []
    yield started
    for peer in started:
        peer.kill()
        if peer.process.stdout:
            peer.process.stdout.close()


@pytest.fixture
def ring_path() -> Iterator[Path]:
    path = Path(f"/dev/shm/tickroute-test-feed-{os.getpid()}-{time.monotonic_ns()}")
    if not path.parent.is_dir():
        pytest.skip("no /dev/shm on this system")
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def day() -> Recording:
    return generate(5, NAMES, quotes=14_000, trades=6_000, duration_ns=2 * SECOND)


@pytest.fixture(scope="module")
def small() -> Recording:
    return generate(6, NAMES, quotes=300, trades=100, duration_ns=SECOND)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def expected_sha256(day: Recording) -> str:
    """Of the day and the CLEAR of each venue behind it."""
    clears = blank(Template.CLEAR, len(day.names.venues))
    quotes, trades = day.records(Template.QUOTE), day.records(Template.TRADE)
    for venue, row in enumerate(clears):
        row["stream_id"] = row["venue_id"] = venue
        row["stream_seq"] = 1 + sum(int((rows["venue_id"] == venue).sum()) for rows in (quotes, trades))
    clears["ts_event_ns"] = day.last_ns
    clears["instrument_id"] = -1
    clears["reason"] = Reason.DAY_END
    return hashlib.sha256(day.data.tobytes() + clears.tobytes()).hexdigest()


def assert_whole(result: Any, day: Recording) -> None:
    assert result["sha256"] == expected_sha256(day)
    assert result["records"] == day.count + len(day.names.venues)
    assert result["malformed"] == 0
    for stream in result["streams"].values():
        assert stream["gaps"] == stream["missed"] == stream["duplicates"] == 0
        assert stream["ended"]


def test_a_slow_subscriber_gets_all_of_it_and_holds_the_feed_up(
    tmp_path: Path, peers: list[Peer], day: Recording
) -> None:
    endpoint = f"ipc://{tmp_path}/feed"
    peers.append(Peer("subscribe", endpoint, "0.002", "4096"))
    report = play(day, [endpoint], rate=0, tail_s=0.1, high_water=8, batch=4)
    assert report.complete
    assert report.blocked > 0
    assert report.records == day.count + 3
    assert_whole(peers[0].result(), day)


def test_two_subscribers_on_two_endpoints(tmp_path: Path, peers: list[Peer], day: Recording) -> None:
    endpoints = [f"ipc://{tmp_path}/feed", f"tcp://127.0.0.1:{free_port()}"]
    peers.extend(Peer("subscribe", endpoint) for endpoint in endpoints)
    report = play(day, endpoints, rate=0, tail_s=0.1, subscribers=2)
    assert report.subscribers == 2
    for peer in peers:
        assert_whole(peer.result(), day)


def test_rings_and_sockets_together(tmp_path: Path, ring_path: Path, peers: list[Peer], day: Recording) -> None:
    endpoints = [f"shm://{ring_path}", f"ipc://{tmp_path}/feed"]
    peers.append(Peer("subscribe", endpoints[0], "0.001"))
    peers.append(Peer("subscribe", endpoints[1]))
    report = play(day, endpoints, rate=0, tail_s=0.1, subscribers=2)
    assert report.records == day.count + 3
    for peer in peers:
        assert_whole(peer.result(), day)


@pytest.mark.parametrize("rate", [1.0, 4.0])
def test_the_pace_is_the_recorded_one_times_the_rate(
    tmp_path: Path, peers: list[Peer], day: Recording, rate: float
) -> None:
    endpoint = f"ipc://{tmp_path}/feed"
    peers.append(Peer("subscribe", endpoint))
    told: list[Progress] = []
    report = play(day, [endpoint], rate=rate, tail_s=0.4, progress=told.append)
    wanted_s = ((day.last_ns - day.first_ns) / 1e9 + 0.4) / rate
    assert wanted_s <= report.seconds < wanted_s + 1
    assert report.lag_max_s < 1
    assert_whole(peers[0].result(), day)
    playing = [p for p in told if p.phase in ("playing", "blocked")]
    assert [p.fraction for p in playing] == sorted(p.fraction for p in playing)
    assert playing[0].eta_s == pytest.approx(wanted_s, abs=0.7 * wanted_s)
    assert told[-1].phase == "done"


def test_clock_samples_fill_the_gaps_and_can_be_picked_by_prefix(tmp_path: Path, peers: list[Peer]) -> None:
    rows = blank(Template.QUOTE, 2)
    rows["ts_event_ns"] = [5 * SECOND, 6 * SECOND]
    rows["venue_id"] = 0
    endpoint = f"ipc://{tmp_path}/feed"
    until_ns = 6 * SECOND + SECOND // 2
    peers.append(Peer("subscribe", endpoint, "0", "1048576", CLOCK_PREFIX, str(until_ns)))
    report = play(build([rows], NAMES), [endpoint], rate=1, tail_s=0.5, spin=True)
    result = peers[0].result()
    clocks = result["clocks"]
    assert result["templates"] == [Template.CLOCK_SAMPLE]
    assert result["records"] == 0
    assert result["messages"] == len(clocks) == report.samples
    assert clocks == sorted(clocks)
    assert clocks[0] == 5 * SECOND
    assert clocks[-1] == until_ns
    # 3,000 in a second and a half; the machine may be busy with something else.
    assert len(clocks) > 500


def test_long_gaps_are_cut_and_the_clock_jumps(tmp_path: Path, peers: list[Peer]) -> None:
    rows = blank(Template.QUOTE, 4)
    rows["ts_event_ns"] = [0, SECOND // 10, 3600 * SECOND, 7200 * SECOND]
    rows["venue_id"] = 0
    endpoint = f"ipc://{tmp_path}/feed"
    peers.append(Peer("subscribe", endpoint, "0", "1048576", CLOCK_PREFIX, str(7200 * SECOND + SECOND // 10)))
    report = play(build([rows], NAMES), [endpoint], tail_s=0.1, skip_gaps_over_s=0.3)
    assert 0.8 <= report.seconds < 2.5
    clocks = np.array(peers[0].result()["clocks"])
    for start_s, end_s in ((0.1, 3600), (3600, 7200)):
        inside = clocks[(clocks > start_s * SECOND) & (clocks < end_s * SECOND)]
        assert (start_s + 0.2) * SECOND < inside.max() < (start_s + 0.4) * SECOND


def test_a_restarted_player_has_a_new_epoch_and_begins_at_one(
    tmp_path: Path, peers: list[Peer], day: Recording
) -> None:
    endpoint, path = f"ipc://{tmp_path}/feed", tmp_path / "day"
    day.save(path)
    peers.append(Peer("subscribe", endpoint))
    first = Peer("publish", str(path), '{"rate": 0.5}', endpoint)
    time.sleep(2)
    first.kill()
    second = Peer("publish", str(path), '{"rate": 0, "tail_s": 0.1}', endpoint)
    peers.extend([first, second])
    report = second.result()
    result = peers[0].result()
    assert result["records"] > day.count + 3
    for stream in result["streams"].values():
        assert stream["restarts"] == 1
        assert stream["gaps"] == stream["duplicates"] == 0
        assert stream["epoch"] == report["epoch"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_within_a_slice(
    tmp_path: Path, peers: list[Peer], day: Recording, number: signal.Signals
) -> None:
    endpoint, path = f"ipc://{tmp_path}/feed", tmp_path / "day"
    day.save(path)
    with Subscriber(endpoint) as feed:
        peers.append(Peer("publish", str(path), '{"rate": 0.01}', endpoint))
        while not feed.records:
            feed.receive()
        began_s = time.monotonic()
        peers[0].process.send_signal(number)
        if number == signal.SIGTERM:
            report = peers[0].result()
            assert not report["complete"]
            assert report["records"] < day.count
        else:
            assert peers[0].process.wait(30) != 0
        assert time.monotonic() - began_s < 5


@pytest.mark.kernel
@pytest.mark.parametrize("transport", ["ipc", "shm"])
def test_a_day_within_one_process(tmp_path: Path, ring_path: Path, small: Recording, transport: str) -> None:
    endpoint = f"ipc://{tmp_path}/feed" if transport == "ipc" else f"shm://{ring_path}"
    got: list[np.ndarray] = []
    with Subscriber(endpoint) as feed, Player(small, [endpoint], rate=0, tail_s=0.1, epoch=77, linger_s=0) as player:
        thread = threading.Thread(target=player.run)
        thread.start()
        while not (feed.ended and feed.clock_ns == small.last_ns + SECOND // 10):
            got.append(feed.receive().copy())
        thread.join()
        streams = feed.streams
    records = [r for batch in got for r in split(batch) if r["template_id"] != Template.CLOCK_SAMPLE]
    days = [r for r in records if r["template_id"] != Template.CLEAR]
    assert [int(r["ts_event_ns"]) for r in days] == small.times.tolist()
    assert {int(r["stream_epoch"]) for r in records} == {77}
    assert all(s.epoch == 77 and s.gaps == s.duplicates == 0 and s.ended for s in streams.values())
    assert len(streams) == 3


@pytest.mark.kernel
def test_a_stopped_player_says_that_it_is_not_complete(tmp_path: Path, small: Recording) -> None:
    with Player(small, [f"ipc://{tmp_path}/feed"], subscribers=0, rate=0.001, epoch=1) as player:
        threading.Timer(0.2, player.stop).start()
        began_s = time.monotonic()
        report = player.run()
    assert not report.complete
    assert time.monotonic() - began_s < 3


def test_subscribers_that_do_not_come_are_an_error(tmp_path: Path, ring_path: Path, small: Recording) -> None:
    for endpoint in (f"ipc://{tmp_path}/feed", f"shm://{ring_path}"):
        with pytest.raises(PlayError, match=r"0 of 2 subscribers came within 0.2 s; start"):
            play(small, [endpoint], subscribers=2, wait_s=0.2)


def test_subscribers_that_leave_are_counted_out(tmp_path: Path, small: Recording) -> None:
    endpoint = f"ipc://{tmp_path}/feed"
    with Player(small, [endpoint]) as player:
        with Subscriber(endpoint), Subscriber(endpoint):
            _until(lambda: player.count_subscribers() == 2)
        _until(lambda: player.count_subscribers() == 0)


def _until(condition: Any) -> None:
    deadline_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"rate": -1}, "rate -1"),
        ({"rate": 0.0001}, r"from 0\.001"),
        ({"rate": 5000}, "to 1000"),
        ({"batch": 0}, "batch 0"),
        ({"tail_s": -1}, "negative"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path: Path, small: Recording, options: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Player(small, [f"ipc://{tmp_path}/feed"], **options)


def test_nothing_to_play_or_nowhere_to_is_refused(tmp_path: Path, small: Recording) -> None:
    with pytest.raises(UsageError, match="0 endpoints"):
        Player(small, [])
    with pytest.raises(UsageError, match="0 records"):
        Player(build([], NAMES), [f"ipc://{tmp_path}/feed"])


@pytest.mark.kernel
@given(st.integers(0, 10**16), st.integers(1, 10**9))
def test_the_clock_does_not_drift(duration_ns: int, rate_ppm: int) -> None:
    forward = player_kernels.scaled(duration_ns, rate_ppm, 10**6)
    assert forward == duration_ns * rate_ppm // 10**6


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.integers(0, 30), st.data())
def test_time_left_with_cut_gaps(gaps: list[int], skip_ns: int, data: Any) -> None:
    times = np.cumsum([100, *gaps])
    next_i = data.draw(st.integers(1, len(gaps)))
    clock_ns = int(times[next_i - 1])
    left_ns = sum(min(gap, skip_ns) if skip_ns else gap for gap in gaps[next_i - 1 :])
    # The clock stands at the record before: the cut of the gap ahead is still to come.
    assert _Gaps(times, skip_ns).left_ns(clock_ns, next_i) == left_ns
