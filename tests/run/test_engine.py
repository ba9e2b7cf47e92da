"""A whole engine over real sockets and rings: routing, silence, restarts, full queues, bad messages, control."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from engine.io.run_lock import RunLockedError
from engine.jit import JIT
from engine.record import records as r
from engine.run import links
from engine.run.config import Config
from engine.run.daemon import Engine
from tests.run.engine_peers import Feed, Peer, ack, fill, make_config, order, wait_for

pytestmark = pytest.mark.skipif(not JIT, reason="the loop needs the GIL released, which only compiled code does")
T = r.Template


class Desk:
    """An engine with its feed, venue and client, all up."""

    def __init__(
        self, run_dir: Path, sockets: Path, transport: str, *, config: Config | None = None, **routing: Any
    ) -> None:
        self.context = zmq.Context()
        self.config = config or make_config(run_dir, sockets, transport=transport, **routing)
        self.engine = Engine(self.config)
        self.engine.start()
        self.feed = Feed(self.config, self.context)
        self.client, self.venue = Peer(self.config, 0, self.context), Peer(self.config, 1, self.context)
        self.figures: dict[str, int] = {}
        wait_for(lambda: self.engine.gauge("sessions_up") == 2, self.client, self.venue)
        self.seen: dict[int, list[object]] = {0: [], 1: []}

    def take(self, peer: Peer, template: T, count: int = 1) -> list[Any]:
        """Wait until a peer has had `count` records of a kind; returns and forgets these."""

        def there() -> list[object]:
            self.seen[peer.session] += peer.got()
            found = [x for x in self.seen[peer.session] if x.template_id == template]  # type: ignore[attr-defined]
            return found if len(found) >= count else []

        found = wait_for(there, self.client, self.venue)
        self.seen[peer.session] = [x for x in self.seen[peer.session] if x.template_id != template]  # type: ignore[attr-defined]
        return list(found)

    def stop(self) -> dict[str, int]:
        if not self.figures:
            self.figures = self.engine.stop(cancel=False)
            for peer in (self.client, self.venue, self.feed):
                peer.close()
            self.context.term()
        return self.figures


@pytest.fixture(params=["zmq", "shm"])
def desk(request, tmp_path, sockets):
    made = Desk(tmp_path / "run", sockets, request.param)
    yield made
    made.stop()


def test_routes_an_order_to_its_fill(desk):
    desk.feed.quote(0, 1_569_900, 1_570_000)
    desk.feed.quote(1, 1_569_900, 1_570_100)
    wait_for(lambda: desk.engine.gauge("quotes") == 2, desk.client, desk.venue)
    desk.client.send(order("A1", r.Side.BUY, 500, 1_570_100))
    children = desk.take(desk.venue, T.ORDER_NEW, 2)
    assert [(c.venue_id, c.qty, c.px) for c in children] == [(0, 300, 1_570_000), (1, 200, 1_570_100)]
    for number, child in enumerate(children):
        desk.venue.send(fill(child, number))
    fills = desk.take(desk.client, T.FILL, 2)
    assert [f.last_qty for f in fills] == [300, 200]
    assert fills[-1].ord_status == r.OrdStatus.FILLED
    assert r.from_text16(fills[-1].peer_id) == "A1"
    final = desk.stop()
    assert final["parents_filled"] == 1
    assert final["qty_filled"] == 500
    assert final["refusals"] == 0


def test_a_silent_venue_is_down_and_is_not_routed_to(desk):
    desk.feed.quote(0, 1_569_900, 1_570_000)
    wait_for(lambda: desk.engine.gauge("quotes") == 1, desk.client, desk.venue)
    desk.client.send(order("A1", r.Side.BUY, 300, 1_570_000, r.Tif.DAY))
    desk.take(desk.venue, T.ORDER_NEW)
    silent = time.monotonic()
    wait_for(lambda: desk.engine.gauge("sessions_up") == 1, desk.client)
    assert time.monotonic() - silent < 3
    assert desk.engine.gauge("unknown_children") == 1
    assert desk.engine.gauge("live_children") == 1, "nothing is released by silence"
    desk.client.send(order("A2", r.Side.BUY, 100, 1_570_000))
    report = desk.take(desk.client, T.ACK, 3)[-1]
    assert report.ord_status == r.OrdStatus.CANCELED
    assert desk.engine.gauge("children_sent") == 1


def test_a_restarted_venue_is_asked_and_its_answer_ends_the_child(desk):
    desk.feed.quote(0, 1_569_900, 1_570_000)
    wait_for(lambda: desk.engine.gauge("quotes") == 1, desk.client, desk.venue)
    desk.client.send(order("A1", r.Side.BUY, 300, 1_570_000))
    child = desk.take(desk.venue, T.ORDER_NEW)[0]
    desk.venue.epoch, desk.venue.seq = 2, 0
    desk.venue.hello()
    question = desk.take(desk.venue, T.STATUS_REQUEST)[0]
    assert question.order_id == child.order_id
    wait_for(lambda: desk.engine.gauge("live_children") == 1, desk.client, desk.venue)
    answer = r.blank(T.REJECT)
    for name in ("order_id", "venue_id", "instrument_id"):
        answer[name] = child[name]
    answer["reason"] = r.Reason.UNKNOWN_ORDER
    desk.venue.send(answer)
    wait_for(lambda: desk.engine.gauge("live_children") == 0, desk.client, desk.venue)
    wait_for(lambda: desk.engine.gauge("live_parents") == 0, desk.client, desk.venue)
    assert desk.engine.gauge("unknown_children") == 0


def test_what_a_child_answers_after_a_restart_is_taken_back_if_it_lives(desk):
    desk.feed.quote(0, 1_569_900, 1_570_000)
    wait_for(lambda: desk.engine.gauge("quotes") == 1, desk.client, desk.venue)
    desk.client.send(order("A1", r.Side.BUY, 300, 1_570_000))
    child = desk.take(desk.venue, T.ORDER_NEW)[0]
    desk.venue.epoch, desk.venue.seq = 2, 0
    desk.venue.hello()
    desk.take(desk.venue, T.STATUS_REQUEST)
    desk.venue.send(ack(child, r.ExecType.ORDER_STATUS, r.OrdStatus.NEW))
    assert desk.take(desk.venue, T.ORDER_CANCEL)[0].order_id == child.order_id
    desk.venue.send(ack(child, r.ExecType.CANCELED, r.OrdStatus.CANCELED))
    wait_for(lambda: desk.engine.gauge("live_parents") == 0, desk.client, desk.venue)


def test_bad_messages_are_counted_and_change_nothing(desk):
    desk.feed.quote(0, 1_569_900, 1_570_000)
    unknown = r.blank(T.QUOTE)
    unknown["venue_id"], unknown["stream_epoch"], unknown["stream_seq"] = 99, 1, 1
    desk.feed.raw(unknown.tobytes())
    desk.client.raw(r.blank(T.FILL).tobytes())
    if desk.config.session[0].endpoint == "zmq":
        desk.client.raw(b"short")
        desk.client.raw(r.blank(T.ORDER_NEW).tobytes()[:100])
        desk.client.raw(b"")
        expected = 5
    else:
        expected = 2
    wait_for(lambda: desk.engine.gauge("refusals") == expected, desk.client, desk.venue)
    desk.client.send(order("A1", r.Side.BUY, 150, 1_570_000))
    assert desk.take(desk.client, T.REJECT)[0].reason == r.Reason.ODD_LOT
    desk.client.send(order("A2", r.Side.BUY, 300, 1_570_000))
    assert len(desk.take(desk.venue, T.ORDER_NEW)) == 1


def test_a_venue_that_takes_nothing_gets_no_more_and_the_children_come_back(tmp_path, sockets, monkeypatch):
    monkeypatch.setattr(links, "RING_SLOTS", 4)
    desk = Desk(tmp_path / "run", sockets, "shm")
    try:
        desk.feed.quote(0, 1_569_900, 1_570_000, 10_000)
        wait_for(lambda: desk.engine.gauge("quotes") == 1, desk.client, desk.venue)
        for number in range(12):
            desk.client.send(order(f"A{number}", r.Side.BUY, 100, 1_570_000))
            _wait_for_parents(desk, number + 1)
            desk.client.got()
        wait_for(lambda: desk.engine.gauge("send_errors") >= 6, desk.client, desk.venue)
        wait_for(lambda: desk.engine.gauge("live_parents") <= 5, desk.client, desk.venue)
        assert desk.engine.gauge("live_children") == desk.engine.gauge("live_parents")
    finally:
        desk.stop()


def _wait_for_parents(desk: Desk, count: int) -> None:
    wait_for(lambda: desk.engine.gauge("parents_accepted") == count, desk.client, desk.venue)


def test_kill_and_cancel_all_reach_the_loop(desk):
    desk.feed.quote(0, 1_569_900, 1_570_000)
    wait_for(lambda: desk.engine.gauge("quotes") == 1, desk.client, desk.venue)
    desk.client.send(order("A1", r.Side.BUY, 300, 1_500_000, r.Tif.DAY))
    wait_for(lambda: desk.engine.gauge("live_parents") == 1, desk.client, desk.venue)
    kill = r.blank(T.CONTROL)
    kill["action"] = r.ControlAction.KILL_ON
    desk.engine.control(kill)
    wait_for(lambda: desk.engine.gauge("killed") == 1, desk.client, desk.venue)
    desk.client.send(order("A2", r.Side.BUY, 300, 1_570_000))
    assert desk.take(desk.client, T.REJECT)[0].reason == r.Reason.KILLED
    desk.engine.cancel_all()
    wait_for(lambda: desk.engine.gauge("live_parents") == 0, desk.client, desk.venue)


def test_the_loop_measures_itself_and_writes_histograms(desk):
    for number in range(200):
        desk.feed.quote(number % 3, 1_569_900, 1_570_000 + number)
    wait_for(lambda: desk.engine.gauge("quotes") == 200, desk.client, desk.venue)
    desk.engine.poll()
    final = desk.stop()
    assert final["cycles"] > 0
    assert final["empty_polls"] > 0
    assert final["longest_cycle_ns"] > 0
    assert (desk.engine.run_dir / "latency.hlog").read_text().count("Tag=total") == 1
    assert "Percentile" in (desk.engine.run_dir / "total.hgrm").read_text()


@pytest.mark.parametrize("idle", ["spin", "yield", "park"])
def test_each_idle_strategy_starts_and_stops(idle, tmp_path, sockets):
    import msgspec

    config = make_config(tmp_path / "run", sockets)
    config = msgspec.structs.replace(config, engine=msgspec.structs.replace(config.engine, idle=idle, core=0))
    cores = os.sched_getaffinity(0)
    engine = Engine(config)
    engine.start()
    wait_for(lambda: engine.gauge("cycles") > 10)
    assert engine.running
    if len(cores) > 1:
        assert os.sched_getaffinity(0) == cores - {0}, "the main thread and its helpers leave the loop's core to it"
    began = time.monotonic()
    final = engine.stop()
    assert time.monotonic() - began < 3
    assert engine.pinned
    assert final["cycles"] > 10
    assert os.sched_getaffinity(0) == cores


def test_a_run_directory_serves_one_engine(tmp_path, sockets):
    config = make_config(tmp_path / "run", sockets)
    engine = Engine(config)
    with pytest.raises(RunLockedError, match=f"run: process {os.getpid()} works on this run .*; stop it first"):
        Engine(config)
    engine.stop()


def test_nothing_leaves_before_the_rehearsal(tmp_path, sockets):
    """The kernels run on scratch memory first: at start the run's own state, numbers and journal are untouched."""
    engine = Engine(make_config(tmp_path / "run", sockets))
    assert engine.rehearsed > 100
    assert engine.journal.next_seq == 1, "the manifest alone"
    assert int(engine.loop.state.core[0].now_ns) == 0
    assert not np.any(engine.loop.state.counts)
    engine.stop()
