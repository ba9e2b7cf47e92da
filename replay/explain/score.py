"""Every venue's score at one decision, and why it was taken or left: on the quotes as they were before the decision.

The rules are those of strategies.common.collect and of sweep's allotment, written again in plain integers. Each result
is held against what went out (`agrees`), so that a story cannot tell of a choice that was not made.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from engine.core.books import HALTED
from engine.core.limits import MAX_CHILDREN_A_TURN
from engine.core.state import State
from engine.record.records import Outcome, Side, Tif
from engine.record.units import PPM, from_money
from engine.run.config import Config
from replay.explain.structs import Score
from replay.explain.words import Units

_SKIPPED: Final = ("no_quote", "void", "halted", "stale", "excluded", "down", "not_marketable", "taken", "below_lot")


class Books(NamedTuple):
    """What a decision saw: the instrument's quotes (one row a venue), which sessions were up, and the time."""

    now_ns: int
    quotes: np.ndarray
    up: list[bool]


class Terms(NamedTuple):
    """The order at the decision: price 0 is a market order; `excluded` is a set of venues as bits; `min_left` what it
    lacks of its MinQty."""

    side: int
    px: int
    tif: int
    left: int
    excluded: int
    min_left: int


class Sent(NamedTuple):
    """A child that the decision made: `rule` is why the risk gate stopped it, empty where it went out."""

    name: str
    order_id: int
    venue: int
    px: int
    qty: int
    tif: int
    rule: str


class _Venue:
    """One venue while it is looked at."""

    def __init__(self, v: int, quote: Any, buy: bool) -> None:
        self.v, self.quote = v, quote
        self.px = int(quote["ask_px"] if buy else quote["bid_px"])
        self.shown = int(quote["ask_qty"] if buy else quote["bid_qty"])
        self.left = max(self.shown - int(quote["ask_taken"] if buy else quote["bid_taken"]), 0)
        self.lot = self.lots = self.rank = self.net = self.allotted = 0
        self.verdict = self.why = ""
        self.place: int | None = None


def score(
    state: State, config: Config, instrument: int, books: Books, terms: Terms, note: Any, sent: list[Sent]
) -> tuple[list[Score], bool]:
    """(a Score a venue, whether they lead to `sent` and to the figures in `note`, the DECISION record)."""
    judge = _Judge(state, config, instrument, books, terms, note, sent)
    return judge.scores(), judge.agrees()


class _Judge:
    def __init__(
        self, state: State, config: Config, instrument: int, books: Books, terms: Terms, note: Any, sent: list[Sent]
    ) -> None:
        self.state, self.config, self.books, self.terms, self.note, self.sent = state, config, books, terms, note, sent
        self.instrument = instrument
        self.units = Units(state.instruments[instrument])
        self.buy = terms.side == Side.BUY
        self.stale_ns = int(state.params[0]["stale_ns"])
        self.fresh = self.stale = 0
        self.venues = [self._look(v) for v in range(len(books.quotes))]
        self.candidates = sorted((v for v in self.venues if not v.verdict), key=lambda v: (v.net, -v.lots, v.rank))
        self._allot()
        self._settle()

    def _look(self, v: int) -> _Venue:
        """A venue with its score, and with a verdict where it cannot be taken from."""
        row, venue = self.state.venues[v], _Venue(v, self.books.quotes[v], self.buy)
        gross = venue.px * int(self.state.instruments[self.instrument]["px_money"])
        fee = int(row["take_fee"]) + gross * int(row["take_ppm"]) // PPM
        venue.net = gross + fee if self.buy else fee - gross
        venue.rank = int(row["rank"])
        venue.lot = int(self.state.lots[self.instrument * int(self.state.params[0]["venue_stride"]) + v])
        venue.lots = venue.left // venue.lot * venue.lot
        self._refuse(venue)
        return venue

    def _refuse(self, venue: _Venue) -> None:
        side, age = "offer" if self.buy else "bid", self._age(venue)
        session = self.config.venue[venue.v].session
        px = self.units.px(venue.px)
        if venue.shown <= 0:
            quoted = int(venue.quote["ts_ns"]) > 0
            venue.verdict, venue.why = "no_quote", f"shows no {side}" if quoted else "has not quoted yet"
        elif self._standing(venue) != "fresh":
            self.stale += 1
            venue.verdict = self._standing(venue)
            venue.why = {
                "halted": "it has the instrument halted, or in an auction",
                "void": "its quote does not count: a gap, a restart, a clear or a crossed quote, and no update since",
                "stale": f"its quote is {_seconds(age or 0)} old, {_seconds(self.stale_ns)} are allowed",
            }[venue.verdict]
        else:
            self.fresh += 1
            if self.terms.excluded >> venue.v & 1:
                venue.verdict, venue.why = "excluded", "it rejected a child of this order in this round of attempts"
            elif not self.books.up[venue.v]:
                venue.verdict, venue.why = "down", f"its session {session} was down"
            elif not self._marketable(venue):
                word = "above" if self.buy else "below"
                limit = self.units.px(self.terms.px)
                venue.verdict, venue.why = "not_marketable", f"its {side} {px} is {word} the limit {limit}"
            elif venue.left == 0:
                told = self.units.amount(venue.shown)
                venue.verdict, venue.why = "taken", f"orders of ours have gone after all {told} that it shows"
            elif venue.lots == 0:
                told = f"{self.units.amount(venue.left)} left of its {side} is less than its lot"
                venue.verdict, venue.why = "below_lot", f"{told} {self.units.amount(venue.lot)}"

    def _marketable(self, venue: _Venue) -> bool:
        if self.terms.px == 0:
            return True
        return venue.px <= self.terms.px if self.buy else venue.px >= self.terms.px

    def _age(self, venue: _Venue) -> int | None:
        ts_ns = int(venue.quote["ts_ns"])
        return self.books.now_ns - ts_ns if ts_ns else None

    def _standing(self, venue: _Venue) -> str:
        valid, age = int(venue.quote["valid"]), self._age(venue)
        if valid == HALTED:
            return "halted"
        if age is None:
            return "none"
        if valid <= 0:
            return "void"
        return "fresh" if age <= self.stale_ns else "stale"

    def _allot(self) -> None:
        """What sweep gives each candidate, best first."""
        used, allotted = 0, 0
        for place, venue in enumerate(self.candidates, 1):
            venue.place = place
            qty = min(venue.lots, self.terms.left - allotted) // venue.lot * venue.lot
            venue.allotted = qty if used < MAX_CHILDREN_A_TURN else 0
            if venue.allotted:
                used += 1
                allotted += venue.allotted
            elif used == MAX_CHILDREN_A_TURN:
                venue.verdict, venue.why = "most_children", f"a decision sends {used} children at most"
            elif 0 < self.terms.left - allotted < venue.lot:
                left = self.units.amount(self.terms.left - allotted)
                venue.verdict = "lot_left"
                venue.why = f"what was left to route, {left}, is less than its lot {self.units.amount(venue.lot)}"
        self.allotted = allotted

    def _settle(self) -> None:
        """Verdicts of the candidates, by what went out."""
        mine = {child.venue: child for child in self.sent}
        last = next((v for v in reversed(self.candidates) if v.v in mine), None)
        for venue in self.candidates:
            child = mine.get(venue.v)
            if child is not None and child.tif != Tif.DAY:
                venue.verdict, venue.why = self._chosen(venue, child)
            elif not venue.verdict:
                venue.verdict, venue.why = self._left_out(venue, last)
        for child in self.sent:
            venue = self.venues[child.venue]
            if child.tif == Tif.DAY:
                venue.verdict = "posted"
                venue.why = f"{self.units.amount(child.qty)} is posted here at {self.units.px(child.px)}, to rest"
                if child.rule:
                    venue.verdict, venue.why = "blocked", f"posting here was stopped by the risk gate: {child.rule}"

    def _chosen(self, venue: _Venue, child: Sent) -> tuple[str, str]:
        if child.rule:
            return "blocked", f"chosen, and stopped by the risk gate: {child.rule}"
        of = f"{self.units.amount(child.qty)} of {self.units.amount(venue.left)} at {self.units.px(child.px)}"
        if venue.place == 1:
            return "chosen", f"best net price: takes {of}"
        return "chosen", f"next best: takes {of}"

    def _left_out(self, venue: _Venue, last: _Venue | None) -> tuple[str, str]:
        """Why a candidate got nothing."""
        outcome = int(self.note["outcome"])
        if outcome == Outcome.ROUNDS_EXHAUSTED:
            rounds = int(self.state.params[0]["max_rounds"])
            return "rounds", f"could be taken from, but the {rounds} rounds that are allowed were used up"
        if outcome == Outcome.NOT_ENOUGH_FOR_FOK:
            told = f"{self.units.amount(self.allotted)} of {self.units.amount(self.terms.left)} could be had at once"
            if self.allotted >= self.terms.left:
                told = "what came back of a fill-or-kill order is not routed again"
            return "fok", f"fill or kill: {told}"
        if outcome == Outcome.NOT_ENOUGH_FOR_MIN_QTY:
            least, had = self.units.amount(self.terms.min_left), self.units.amount(self.allotted)
            return "min_qty", f"minimum quantity: {had} could be had at once, and {least} is the least to be taken"
        if outcome == Outcome.NO_CAPACITY:
            return "capacity", "the table of child orders was full"
        if venue.allotted or last is None or (venue.place or 0) < (last.place or 0):
            return "own_rule", "the strategy chose otherwise, by a rule of its own"
        mic = self.config.venue[last.v].mic
        if venue.net != last.net:
            return (
                "enough",
                f"net price {from_money(venue.net - last.net)} worse than {mic}'s, which took the last of it",
            )
        if venue.lots != last.lots:
            return "enough", f"same net price as {mic}, which shows more and took the last of it"
        return "enough", f"same net price and size as {mic}, which comes first by MIC and took the last of it"

    def scores(self) -> list[Score]:
        """A row a venue: the candidates best first, then the others by MIC."""
        others = sorted((v for v in self.venues if v.place is None), key=lambda v: self.config.venue[v.v].mic)
        return [self._row(venue) for venue in [*self.candidates, *others]]

    def _row(self, venue: _Venue) -> Score:
        quote, units = venue.quote, self.units
        child = next((child for child in self.sent if child.venue == venue.v), None)
        return Score(
            mic=self.config.venue[venue.v].mic,
            standing=self._standing(venue),
            bid_px=units.px(quote["bid_px"]) if quote["bid_qty"] > 0 else "",
            bid_qty=units.qty(quote["bid_qty"]),
            ask_px=units.px(quote["ask_px"]) if quote["ask_qty"] > 0 else "",
            ask_qty=units.qty(quote["ask_qty"]),
            age_ns=self._age(venue),
            shown_qty=units.qty(venue.shown),
            left_qty=units.qty(venue.left),
            net=from_money(abs(venue.net), 4) if venue.shown > 0 else None,
            place=venue.place,
            child=child.name if child else None,
            order_id=child.order_id if child else None,
            sent_qty=units.qty(child.qty) if child else None,
            sent_px=units.px(child.px) if child else None,
            verdict=venue.verdict,
            why=venue.why,
        )

    def agrees(self) -> bool:
        """Whether the ranking leads to the children that were made, and the DECISION record says the same."""
        note = self.note
        if (int(note["fresh_venues"]), int(note["stale_venues"])) != (self.fresh, self.stale):
            return False
        if int(note["leaves_qty"]) != self.terms.left:
            return False
        taking = [(child.venue, child.qty, child.px) for child in self.sent if child.tif != Tif.DAY]
        if int(note["outcome"]) != Outcome.ROUTED:
            return not taking
        mine = [v for v in self.candidates if v.allotted]
        nets = (mine[0].net, mine[len(taking) - 1].net) if mine and taking else (0, 0)
        told = (int(note["best_net"]), int(note["worst_net"]))
        return [(v.v, v.allotted, v.px) for v in mine][: len(taking)] == taking and nets == told


def _seconds(ns: int) -> str:
    return f"{ns / 1e9:,.3f} s"
