"""explain: every decision held to a slow reading of the same journal, and the ways in which an order can be asked for.

The slow reading knows no state: it builds the books from the QUOTE inputs alone, takes off what child orders were sent
after since, and ranks venues with plain numbers from the configuration.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from cli.main import main
from engine.errors import TickrouteError
from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.record.records import (
    DTYPES,
    ExecType,
    OrdStatus,
    Outcome,
    Side,
    Template,
    Tif,
    from_text16,
)
from engine.run import manifest
from replay.explain.pages import page
from replay.explain.story import explain
from tests.replay.test_verify import frames_of, write

# The first test of a worker compiles the core where the cache is empty.
pytestmark = pytest.mark.timeout(600)

ORDERS = 30


def records(run_dir):
    """(kind, seq or cause, template, record) of every input and output, in order."""
    with JournalReader(run_dir) as reader:
        for frame in reader.frames():
            if frame.kind in (Kind.INPUT, Kind.OUTPUT):
                template = Template(int(frame.payload.view("<u2")[1]))
                seq = frame.seq if frame.kind == Kind.INPUT else frame.input_seq
                yield frame.kind, seq, template, frame.payload.view(DTYPES[template])[0].copy()


class Naive:
    """Books from quotes alone, and the ranking of venues for one order at one decision."""

    def __init__(self, run_dir):
        with JournalReader(run_dir) as reader:
            self.config = manifest.from_bytes(reader.manifest).read_config()
        self.quotes = {}
        self.taken = {}
        self.void = set()
        self.now = 0

    def input(self, template, row):
        self.now = max(self.now, int(row["ts_recv_ns"]))
        if template == Template.QUOTE:
            v = int(row["venue_id"])
            self.quotes[v] = row
            self.taken[v] = {"ask": 0, "bid": 0}
            self.void.discard(v)
            if row["bid_qty"] and row["ask_qty"] and row["bid_px"] > row["ask_px"]:
                self.void.add(v)
        elif template == Template.CLEAR:
            self.void.add(int(row["venue_id"]))

    def sent(self, row):
        side = "ask" if row["side"] == Side.BUY else "bid"
        if row["tif"] in (Tif.IOC, Tif.FOK):
            self.taken[int(row["venue_id"])][side] += int(row["qty"])

    def rank(self, side, limit, excluded):
        """[(net, quantity, MIC, price)] of the venues that can be taken from, best first."""
        word = "ask" if side == "BUY" else "bid"
        found = []
        for v, venue in enumerate(self.config.venue):
            row = self.quotes.get(v)
            if row is None or v in self.void or venue.mic in excluded or row[f"{word}_qty"] == 0:
                continue
            if self.now - int(row["ts_recv_ns"]) > self.config.routing.stale_ms * 1_000_000:
                continue
            left = int(row[f"{word}_qty"]) - self.taken[v][word]
            px = Decimal(int(row[f"{word}_px"])) / 10_000
            beyond = limit is not None and (px > limit if side == "BUY" else px < limit)
            if left > 0 and not beyond:
                net = px + Decimal(venue.take_fee) if side == "BUY" else px - Decimal(venue.take_fee)
                found.append((net, left, venue.mic, px))
        sign = 1 if side == "BUY" else -1
        return sorted(found, key=lambda row: (sign * row[0], -row[1], row[2]))


@pytest.fixture(scope="module")
def stories(run_dir):
    """ClOrdID -> story of every order of the day."""
    return {f"P{n:06d}": explain(run_dir, f"P{n:06d}") for n in range(ORDERS)}


def test_every_decision_is_that_of_a_slow_reading(run_dir, stories):
    by_seq: dict[int, list[Any]] = {}
    for story in stories.values():
        for moment in story.moments:
            by_seq.setdefault(moment.seq, []).extend((story.order, decision) for decision in moment.decisions)
    naive, seen = Naive(run_dir), 0
    rejected: dict[int, str] = {}
    for kind, seq, template, row in records(run_dir):
        if kind == Kind.INPUT:
            naive.input(template, row)
            if template == Template.REJECT:
                rejected.setdefault(int(row["order_id"]), naive.config.venue[int(row["venue_id"])].mic)
        elif template == Template.DECISION:
            order, decision = next((o, d) for o, d in by_seq[seq] if o.order_id == int(row["parent_id"]))
            _compare(naive, order, decision, row)
            story = stories[order.cl_ord_id]
            mine = {rejected[c.order_id] for c in story.children if c.order_id in rejected}
            assert {v.mic for v in decision.venues if v.verdict == "excluded"} <= mine
            seen += 1
        elif template == Template.ORDER_NEW:
            naive.sent(row)
    assert seen == sum(len(rows) for rows in by_seq.values()) > 30


def _compare(naive, order, decision, note):
    excluded = {v.mic for v in decision.venues if v.verdict == "excluded"}
    limit = Decimal(decision.limit_px) if decision.limit_px else None
    ranked = naive.rank(order.side, limit, excluded)
    told = [v for v in decision.venues if v.place is not None]
    assert [v.place for v in told] == list(range(1, len(told) + 1))
    assert [(Decimal(v.net or 0), int(v.left_qty), v.mic) for v in told] == [row[:3] for row in ranked]
    left, wanted = int(decision.leaves_qty), []
    for net, shown, mic, px in ranked if int(note["outcome"]) == Outcome.ROUTED else []:
        qty = min(shown, left)
        if qty:
            wanted.append((mic, qty, px, net))
            left -= qty
    chosen = [v for v in decision.venues if v.verdict in ("chosen", "blocked")]
    assert [(v.mic, int(v.sent_qty or 0), Decimal(v.sent_px or 0), Decimal(v.net or 0)) for v in chosen] == wanted
    assert decision.agrees
    assert (decision.fresh_venues, decision.stale_venues) == (int(note["fresh_venues"]), int(note["stale_venues"]))
    assert all(v.why for v in decision.venues)


def test_the_chosen_venues_are_the_children_that_went_out(run_dir, stories):
    went = {}
    for kind, _, template, row in records(run_dir):
        if kind == Kind.OUTPUT and template in (Template.ORDER_NEW, Template.RISK_BLOCK) and row["parent_id"]:
            went[int(row["order_id"])] = (int(row["parent_id"]), int(row["venue_id"]), int(row["qty"]), int(row["px"]))
    told, config = {}, Naive(run_dir).config
    mics = [venue.mic for venue in config.venue]
    for story in stories.values():
        for venue in (v for m in story.moments for d in m.decisions for v in d.venues if v.order_id):
            px = int(Decimal(venue.sent_px or 0) * 10_000)
            told[venue.order_id] = (story.order.order_id, mics.index(venue.mic), int(venue.sent_qty or 0), px)
        assert [c.order_id for c in story.children] == sorted(c.order_id for c in story.children)
    assert told == went


def test_quantities_fills_and_ends_are_those_of_the_reports(run_dir, stories):
    last: dict[str, Any] = {}
    fills: dict[int, list[int]] = {}
    for kind, _, template, row in records(run_dir):
        if kind == Kind.OUTPUT and template in (Template.ACK, Template.FILL):
            last[from_text16(row["peer_id"])] = row
        if kind == Kind.INPUT and template == Template.FILL:
            fills.setdefault(int(row["order_id"]), []).append(int(row["last_qty"]))
    for name, story in stories.items():
        order, row = story.order, last.get(name)
        booked = sum(int(f.qty) for f in story.fills if f.standing == "booked")
        assert booked == int(order.cum_qty) == sum(int(c.cum_qty) for c in story.children)
        assert len(story.fills) == sum(len(fills.get(c.order_id, [])) for c in story.children)
        if row is None:
            assert order.ord_status == "REJECTED"
            assert order.order_id is None
            continue
        assert order.ord_status == OrdStatus(int(row["ord_status"])).name
        assert int(order.cum_qty) == int(row["cum_qty"])
        assert int(order.qty) == int(order.cum_qty) + int(order.canceled_qty) + int(order.leaves_qty)
        if booked:
            paid = sum(Decimal(f.px) * int(f.qty) for f in story.fills if f.standing == "booked")
            assert Decimal(order.notional) == paid
            assert abs(Decimal(order.average_px or 0) - Decimal(paid) / booked) < Decimal("0.000001")


def test_states_follow_on_each_other(stories):
    for story in stories.values():
        stand: dict[str, str] = {}
        for change in (t for m in story.moments for t in m.transitions):
            assert not change.event.startswith("after input"), "something changed between the stops"
            assert stand.get(change.of, change.before) == change.before
            stand[change.of] = change.after
        if story.order.order_id is not None:
            assert stand["workflow"] == story.order.workflow_state
            assert stand["order"] == story.order.ord_status
        for child in story.children:
            assert stand[child.name] == child.ord_status


def test_a_replaced_a_paused_and_a_refused_order(stories):
    texts = [o.text for story in stories.values() for m in story.moments for o in m.outputs]
    assert any(text.startswith("REPLACED") for text in texts)
    assert any("SUSPENDED" in text for text in texts)
    tick, risk = stories["P000011"], stories["P000012"]
    assert (tick.order.ord_status, tick.order.reason) == ("REJECTED", "bad tick")
    assert [o.record for o in tick.moments[0].outputs] == ["REFUSAL", "REJECT"]
    assert "max qty: 30,000, allowed 20,000" in risk.moments[0].outputs[0].text


def test_a_child_names_its_parent_and_so_does_an_id(run_dir, stories):
    story = next(story for story in stories.values() if len(story.children) > 2)
    assert explain(run_dir, str(story.order.order_id)) == story
    assert explain(run_dir, str(story.children[1].order_id)) == story
    assert explain(run_dir, story.order.cl_ord_id, session="desk") == story


def test_timings_are_the_observations(run_dir, stories):
    observed = {}
    with JournalReader(run_dir) as reader:
        for frame in reader.frames():
            if frame.kind == Kind.OBSERVATION and int(frame.payload.view("<u2")[1]) == Template.STAGES:
                observed[frame.input_seq] = int(frame.payload.view(DTYPES[Template.STAGES])["total_ns"][0])
    measured = [m for story in stories.values() for m in story.moments if m.stages_ns]
    assert len(measured) > 100
    assert all(m.stages_ns["total"] == observed[m.seq] for m in measured if m.stages_ns)


def test_an_unknown_order_says_which_there_are(run_dir):
    with pytest.raises(TickrouteError, match=r"no order 'P99'.*30.*P0000"):
        explain(run_dir, "P99")
    with pytest.raises(TickrouteError, match="it has desk, venues"):
        explain(run_dir, "P000001", session="nobody")
    with pytest.raises(TickrouteError, match="no order 'a name of more than sixteen letters'"):
        explain(run_dir, "a name of more than sixteen letters")


def test_a_name_of_two_sessions_needs_the_session(run_dir, tmp_path):
    frames = frames_of(run_dir)
    kind = DTYPES[Template.ORDER_NEW]
    at = next(n for n, f in enumerate(frames) if f[0] == Kind.INPUT and f[4].view("<u2")[1] == Template.ORDER_NEW)
    other = [*frames[at][:4], frames[at][4].copy()]
    other[4].view(kind)["stream_id"] = 1
    path = write(tmp_path / "two", [*frames, other])
    name = from_text16(frames[at][4].view(kind)["cl_ord_id"][0])
    with pytest.raises(TickrouteError, match="desk and venues; say which with --session"):
        explain(path, name)
    assert explain(path, name, session="desk").order.order_id is not None


def test_a_build_that_makes_other_outputs_says_so(run_dir, tmp_path, stories, capsys):
    story = next(story for story in stories.values() if story.order.ord_status == "FILLED")
    frames = frames_of(run_dir)
    first = story.moments[0].seq
    at = next(n for n, f in enumerate(frames) if f[0] == Kind.OUTPUT and f[3] > first)
    frames[at][4][48] ^= 1
    path = write(tmp_path / "changed", frames)
    told = explain(path, story.order.cl_ord_id)
    assert told.lineage.difference is not None
    assert "other content" in told.lineage.difference
    assert "Do not rely" in page(told)
    assert main(["explain", str(path), story.order.cl_ord_id]) == 1
    assert "tickroute verify shows it" in capsys.readouterr().out


def test_outputs_that_never_left_are_said(run_dir, tmp_path, stories):
    story = next(story for story in stories.values() if story.children)
    seq = next(m.seq for m in story.moments if any(o.record == "ORDER_NEW" for o in m.outputs))
    frames = frames_of(run_dir)
    at = next(n for n, f in enumerate(frames) if f[0] == Kind.OUTPUT and f[3] == seq)
    frames[at][1] = 0
    recovered: list[Any] = [Kind.RECOVERED, 1, 0, -1, np.zeros(64, dtype=np.uint8)]
    recovered[4].view("<u2")[:4] = (56, Template.RECOVERED, 7717, 2)
    told = explain(write(tmp_path / "recovered", [*frames[: at + 1], recovered]), story.order.cl_ord_id)
    assert [m.committed for m in told.moments if m.seq == seq] == [False]
    assert any("never sent" in note for note in told.notes)


def test_the_page_needs_nothing_else_and_is_the_same_each_time(stories):
    for story in (next(s for s in stories.values() if len(s.children) > 3), stories["P000012"]):
        text = page(story)
        assert text == page(story)
        assert not re.search(r"""(src|href)\s*=\s*["'](?!#)""", text)
        assert not re.search(r"url\((?!#)", text)
        ids = re.findall(r'\bid="([^"]+)"', text)
        assert len(ids) == len(set(ids))
        assert set(re.findall(r'href="#(decision-\d+)"', text)) == {i for i in ids if i.startswith("decision-")}
        assert text.count("<svg") == (2 if story.children else 0)
        assert "replayed: identical" in text


def test_the_command(run_dir, tmp_path, stories, capsys):
    story = next(story for story in stories.values() if story.order.ord_status == "FILLED")
    html, name = tmp_path / "order.html", story.order.cl_ord_id
    assert main(["explain", str(run_dir), name, "--json", "-", "--html", str(html)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["order"]["cum_qty"] == story.order.cum_qty
    assert html.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert main(["explain", str(run_dir), name]) == 0
    said = capsys.readouterr().out
    assert "as in the journal" in said
    assert "WORKING -> COMPLETE -> FILLED" in said
    assert main(["explain", str(run_dir), "P99"]) == 1
    assert main(["explain", str(run_dir)]) == 2
    assert main(["explain", str(tmp_path / "nothing"), name]) == 3


def test_a_refusal_of_an_execution_is_no_fill(run_dir, tmp_path, stories):
    """The same execution told twice: the second is refused, and the story says so."""
    story = next(story for story in stories.values() if story.fills)
    frames = frames_of(run_dir)
    at = next(n for n, f in enumerate(frames) if f[0] == Kind.INPUT and n == story.fills[0].seq)
    again: Any = frames[at][4].copy()
    again.view(DTYPES[Template.FILL])["stream_seq"] = 1 << 20
    path = write(tmp_path / "twice", [*frames, [Kind.INPUT, 1, 0, -1, again]])
    told = explain(path, story.order.cl_ord_id)
    assert told.fills[-1].standing == "refused"
    assert told.order.cum_qty == story.order.cum_qty
    refusal = told.moments[-1].outputs[-1]
    assert refusal.record == "REFUSAL"
    assert refusal.text.startswith("refused: duplicate exec")


def test_reports_of_the_fixture_are_worth_explaining(stories):
    verdicts = {v.verdict for s in stories.values() for m in s.moments for d in m.decisions for v in d.venues}
    assert {"chosen", "not_marketable", "taken", "enough", "stale", "no_quote"} <= verdicts
    kinds = {t.event for s in stories.values() for m in s.moments for t in m.transitions}
    assert {f"ACK {ExecType.NEW.name}", "FILL", "REJECT", "START", "CHILDREN_DONE", "QUOTE"} <= kinds
