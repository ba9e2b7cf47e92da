"""Broken invariants: the engine cancels what lives, writes why and stops; its journal verifies and recovers."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import zmq

from engine.core.halt import A_STEP
from engine.core.state import state_hash
from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.io.stats_file import StatsReader
from engine.jit import JIT
from engine.record import records as r
from engine.run import halt as halting
from engine.run.assemble import Loop
from engine.run.recover import RecoveryError, recover
from replay.verify import verify
from tests.replay.desk import Desk, config, parents
from tests.run.engine_peers import Feed, Peer, ack, make_config, order, wait_for

T = r.Template


def frames(run_dir, kind, template):
    """Payloads of the frames of one kind and template."""
    with JournalReader(run_dir) as reader:
        return [
            np.frombuffer(frame.payload.tobytes(), r.DTYPES[template])[0]
            for frame in reader.frames()
            if frame.kind == kind and frame.payload.view("<u2")[1] == template
        ]


def spoiled_day(run_dir):
    """A journaled day with a strategy that spoils the core; the desk, and how it halted."""
    from gateways.feeds import synthetic
    from gateways.feeds.names import Names

    settings = config(str(run_dir), strategy="tests.core.spoiling")
    day = synthetic.generate(seed=1, names=Names.of(settings), quotes=200, trades=40)
    desk = Desk(settings, run_dir)
    with pytest.raises(AssertionError, match="executed less than nothing") as caught:
        desk.play(day, parents(day, 60))
    loop = Loop(desk.state, desk.events, desk.outbox, desk.wiring)
    lived = int(np.count_nonzero(desk.state.children["leaves_qty"]))
    found = halting.halt(loop, desk.bound.pump, r.Reason.BROKEN_INVARIANT, caught.value)
    desk.close()
    return desk, found, lived


@pytest.mark.skipif(JIT, reason="a strategy of its own takes half a minute to compile, and shows nothing more")
def test_an_input_at_which_the_core_raises_has_no_outputs_in_any_replay(tmp_path):
    run_dir = tmp_path / "run"
    desk, found, lived = spoiled_day(run_dir)
    assert (found.cancels, found.live_children, found.journaled) == (lived, lived, True)
    assert lived > 0
    (note,) = frames(run_dir, Kind.OBSERVATION, T.HALTED)
    assert (note.reason, note.input_seq, note.live_children) == (r.Reason.BROKEN_INVARIANT, found.input_seq, lived)
    (stop,) = frames(run_dir, Kind.INPUT, T.CONTROL)[-1:]
    assert stop.action == r.ControlAction.STOP
    verdict = verify(run_dir)
    assert verdict.result == "identical", verdict.difference
    assert verdict.state_hash == state_hash(desk.state)
    settings = config(str(run_dir), strategy="tests.core.spoiling")
    with pytest.raises(RecoveryError, match=r"halted itself.*--after-halt"):
        recover(settings)
    recovery = recover(settings, halted=True)
    assert state_hash(recovery.state) == state_hash(desk.state)
    assert recovery.state.core[0].killed == r.Reason.BROKEN_INVARIANT
    assert recovery.start.watch.given_up == 0


@pytest.mark.kernel
def test_more_children_than_one_step_takes_are_cancelled_in_several(tmp_path):
    desk = Desk(config(str(tmp_path / "run")), tmp_path / "run")
    many = 2 * A_STEP + 3
    rows = desk.state.children
    rows["leaves_qty"][:many] = 100
    desk.state.child_orders[:many] = r.blank(T.ORDER_NEW)
    desk.state.child_orders["venue_id"][:many] = 0
    rows["ord_status"][:many] = 77  # no status at all: a stop believes none
    desk.state.core[0].live_children = many
    loop = Loop(desk.state, desk.events, desk.outbox, desk.wiring)
    found = halting.halt(loop, desk.bound.pump, r.Reason.DISK_ERROR, "as planned")
    desk.close()
    assert (found.cancels, found.input_seq) == (many, -1)
    assert len(frames(tmp_path / "run", Kind.INPUT, T.CONTROL)) == 3
    assert len(frames(tmp_path / "run", Kind.OUTPUT, T.ORDER_CANCEL)) == many


class Spoiled:
    """An engine as a process of its own, whose memory can be spoiled, with its peers here."""

    def __init__(self, run_dir, sockets):
        self.run_dir, self.sockets = run_dir, sockets
        self.config = make_config(run_dir, sockets)
        self.context = zmq.Context()
        self.peers: list[Peer] = []
        self.feed: Any = None

    def start(self, *options):
        command = [sys.executable, "-m", "tests.run.spoiled_engine", str(self.run_dir), str(self.sockets), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.feed is None:
            self.feed = Feed(self.config, self.context, wait_s=240)
            self.client, self.venue = Peer(self.config, 0, self.context), Peer(self.config, 1, self.context)
            self.peers = [self.client, self.venue]

    def venue_gets(self, template, count=1, seconds=240.0):
        """Wait for `count` records of a kind at the venue."""
        found: list[Any] = []

        def there():
            found.extend(x for x in self.venue.got() if x.template_id == template)
            return len(found) >= count

        wait_for(there, *self.peers, seconds=seconds)
        return found

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for peer in (*self.peers, self.feed):
            peer.close()
        self.context.term()


@pytest.mark.skipif(not JIT, reason="an engine as a process is compiled")
def test_a_spoiled_engine_cancels_what_lives_says_why_and_ends_with_1(tmp_path, sockets):
    run_dir = tmp_path / "run"
    desk = Spoiled(run_dir, sockets)
    try:
        desk.start()
        assert wait_for(lambda: desk.client.got(), *desk.peers, seconds=60)
        for venue in range(3):
            desk.feed.quote(venue, 1_569_900, 1_570_000 + 100 * venue)
        with contextlib.closing(StatsReader(run_dir / "stats")) as stats:  # the order comes on another link
            wait_for(lambda: stats.counters()["quotes"] >= 3 and stats.counters()["sessions_up"] == 2, *desk.peers)
        desk.client.send(order("A1", r.Side.BUY, 900, 1_570_200))
        children = desk.venue_gets(T.ORDER_NEW, 3)
        (run_dir / "spoil").touch()
        wait_for(lambda: not (run_dir / "spoil").exists(), *desk.peers)
        desk.venue.send(ack(children[0], r.ExecType.NEW, r.OrdStatus.NEW))
        cancels = desk.venue_gets(T.ORDER_CANCEL, 3, seconds=30)
        assert {x.order_id for x in cancels} == {x.order_id for x in children}
        _, said = desk.process.communicate(timeout=60)
        assert desk.process.returncode == 1
        assert "halted at input" in said
        assert "BROKEN_INVARIANT: AssertionError: a child executed less than nothing" in said
        assert "3 orders lived at venues, 3 of 3 cancels left" in said
        assert "--after-halt" in said
        assert "check_report" in (run_dir / halting.HALTED_FILE).read_text()
        # What spoiled the memory is not on the journal, and verify says so.
        verdict = verify(run_dir)
        assert verdict.result == "different"
        assert verdict.difference is not None
        assert "its memory was not as the journal says" in verdict.difference.why
        with pytest.raises(RecoveryError, match="--after-halt"):
            recover(desk.config)
        recovery = recover(desk.config, halted=True)
        assert recovery.start.watch.given_up == 4, "an alert and three cancels"
        assert recovery.state.core[0].live_children == 3
        go_on(desk)
    finally:
        desk.close()


def go_on(desk):
    """A second life: everything is asked about, and nothing is routed before the kill flag is lifted."""
    desk.start("--after-halt")
    desk.venue.hello()
    questions = desk.venue_gets(T.STATUS_REQUEST, 3)
    for question in questions:
        desk.venue.send(ack(question, r.ExecType.ORDER_STATUS, r.OrdStatus.CANCELED))
    desk.client.hello()
    desk.client.send(order("A2", r.Side.BUY, 100, 1_570_200))
    wait_for(
        lambda: [x for x in desk.client.got() if x.template_id == T.REJECT and x.reason == r.Reason.KILLED],
        *desk.peers,
        seconds=30,
    )
    desk.process.terminate()
    desk.process.communicate(timeout=60)
    assert desk.process.returncode == 0
    assert recover(desk.config).state.core[0].live_children == 0
