"""A gateway for market data: raw packets or lines in over ZeroMQ, the engine's own records out.

It subscribes to whoever captures a venue's feed (one message is one packet, or one line), decodes what comes with the
kernels and books that read files of the format (`gateways.formats.live`), fits it to a configuration as a backtest does
(`gateways.formats.fit`: names, units, levels and orders as their book's touch), numbers it, and publishes it as the
player publishes a day: streams a venue, dense numbers, an epoch a life, XPUB without drops.

Nothing is corrected. A hole in the source's numbers voids the venue's books, and leaves out a number of its stream: the
engine sees a gap, and takes no quote of the venue until it quotes again. When the gateway ends each venue's quotes are
void (CLEAR, reason PEER_SILENT).

Worst case: a subscriber that does not read stops the gateway; what comes meanwhile waits in ZeroMQ, 65,536 messages,
and is lost beyond that: a hole that is counted. Levels and orders of before it began are not known: a book is right
when all of its orders have come since.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import zmq

from engine.book.memory import make_books
from engine.io.atomics import address_of, realtime_ns
from engine.io.zmq import EAGAIN, EINTR, LinkError, address, make_context, open_socket, send
from engine.jit import kernel
from engine.record.records import UNIT, Reason, Template, blank
from engine.run.config import Config
from gateways.feeds.player import PlayError
from gateways.formats import fit_kernels as k
from gateways.formats.batch import Batch, make_batch
from gateways.formats.fit import REASONS, NameTables, Target, Wanted
from gateways.formats.fit_pass import fit_pass
from gateways.formats.live import Arriving
from gateways.formats.watch import MOST_BOOKS, make_feed_books

#: Units of a message: what a subscriber takes at once.
_MESSAGE_UNITS: Final = 32
_HIGH_WATER: Final = 1 << 16
_WAIT_MS: Final = 20
#: Seconds for which what has come already is still taken, and handed on, when it is to end.
_REST_S: Final = 2.0
_TOLD_EVERY_S: Final = 0.2
_NAP_S: Final = 0.0005


@dataclass
class Decoded:
    """What came and what became of it, as `tickroute feed decode --json` writes it."""

    format: str
    sources: list[str]
    endpoints: list[str]
    #: Messages of the socket, and their bytes.
    arrived: int
    arrived_bytes: int
    #: Messages of the format, by its own name of their type.
    messages: int
    by_type: dict[str, int]
    #: Records published, by kind.
    records: dict[str, int]
    seconds: float
    epoch: int
    subscribers: int
    #: Holes in the source's numbers, the numbers that are missing, and messages that came before.
    gaps: int = 0
    lost: int = 0
    repeated: int = 0
    #: Changes of orders that were never added; beside these, of orders that had replaced such ones; orders that came
    #: twice; touches that were crossed when they changed.
    dangling: int = 0
    dangling_after_replace: int = 0
    repeated_orders: int = 0
    crossed: int = 0
    #: Executions that orders alone tell of and that became no TRADE: of unknown orders without a price, or too fine.
    untold: int = 0
    #: Records received before they happened: the clock here is behind the source's.
    negative: int = 0
    #: Records that took the time of one before them.
    clamped: int = 0
    #: Levels and orders that found no room in the books.
    unfollowed: int = 0
    #: Quotes beside a book, levels and orders beside quotes.
    beside: int = 0
    #: Times, and seconds, that a subscriber made it wait; records that it did not take at the end.
    blocked: int = 0
    blocked_s: float = 0.0
    undelivered: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    #: What carries no message of the format, by what it is.
    passed_over: dict[str, int] = field(default_factory=dict)
    #: Records of venues and instruments that are not configured, and what does not fit their units.
    left_out: dict[str, int] = field(default_factory=dict)


class Decoder:
    """A reader of messages, the sockets on its two sides, and what is between. A context manager; `run` runs once.

    touch: what shows an instrument's touch: `book`, `quotes`, or `auto`, its own quotes from the first one on, and the
    book until then. orders: live ones, all books together. LinkError where an endpoint is not to be had; UsageError,
    FeedError as of `fit`.
    """

    def __init__(
        self,
        config: Config,
        reader: Arriving,
        sources: Sequence[str],
        endpoints: Sequence[str],
        *,
        wanted: Wanted | None = None,
        touch: Literal["auto", "quotes", "book"] = "auto",
        epoch: int | None = None,
        orders: int = 1 << 21,
    ) -> None:
        self.reader, self.sources, self.endpoints = reader, list(sources), list(endpoints)
        self.epoch = int(time.time()) + 1 if epoch is None else epoch
        self._not_before_s = self.epoch if epoch is None else 0
        target = Target.of(config)
        self._fit = k.make_fit(len(config.venue), len(config.instrument))
        self._books = make_books([1], width=32, far=1, orders=1)  # quotes alone: nothing is followed
        if touch != "quotes":
            self._books = make_feed_books(min(len(config.venue) * len(config.instrument), MOST_BOOKS), orders=orders)
        self._fit.use[:] = k.QUOTES if touch == "quotes" else k.BOOK
        line = self._fit.line[0]
        line.live, line.adopts, line.epoch = 1, int(touch == "auto"), self.epoch
        self._names = NameTables(target, wanted or Wanted(), self._fit, reader)
        self._out = make_batch(3 * (1 << 12))
        self._sent = np.zeros(64, np.int64)
        self._stopped, self._subscriptions = False, 0
        self._blocked, self._blocked_s, self._undelivered, self._stop_s = 0, 0.0, 0, 0.0
        self._sub: zmq.Socket[bytes] | None = None
        self._context = make_context()
        try:
            self._pub = open_socket(self._context, "xpub", self.endpoints[0], bind=True, heartbeat_ms=0)
            self._pub.set(zmq.XPUB_VERBOSER, 1)  # each subscription counts, also a second one to the same prefix
            for endpoint in self.endpoints[1:]:
                self._pub.bind(endpoint)
            # Compiles the kernels, or loads them: not while a feed waits.
            fit_pass(self._fit, self._books, make_batch(8), self._out)
            publish(address(self._pub), self._out, 0, self._sent)
            idle = self._context.socket(zmq.SUB)
            try:
                list(reader.round(address(idle)))
            finally:
                idle.close(linger=0)
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """End `run` once what has come already is out. May be called by a signal's handler."""
        self._stopped = True

    def count_subscribers(self) -> int:
        """Subscriptions on the publishing side, now."""
        while True:
            try:
                message = self._pub.recv(zmq.NOBLOCK)
            except zmq.Again:
                return self._subscriptions
            self._subscriptions += {1: 1, 0: -1}.get(message[0] if message else -1, 0)

    def run(
        self,
        *,
        subscribers: int = 0,
        wait_s: float = 60.0,
        progress: Callable[[Decoded], None] | None = None,
    ) -> Decoded:
        """Wait for so many subscribers, subscribe, decode and publish until `stop`; what was done.

        progress: called now and then with what was done so far. PlayError where too few come in time.
        """
        self._wait(subscribers, wait_s)
        began_s = told_s = time.monotonic()
        self._subscribe()
        while True:
            now_s = time.monotonic()
            if self._stopped and not self._stop_s:
                self._stop_s = now_s
            came = self._round()
            if self._stop_s and (not came or now_s > self._stop_s + _REST_S):
                break
            if not came and self._sub is not None:
                self._sub.poll(_WAIT_MS)
            if progress is not None and now_s - told_s > _TOLD_EVERY_S:
                told_s = now_s
                progress(self.found(now_s - began_s))
        self._end()
        return self.found(time.monotonic() - began_s)

    def _wait(self, subscribers: int, wait_s: float) -> None:
        """Until so many have subscribed and the epoch's second has begun."""
        deadline_s = time.monotonic() + wait_s
        while (found := self.count_subscribers()) < subscribers and not self._stopped:
            if time.monotonic() > deadline_s:
                raise PlayError(
                    f"{', '.join(self.endpoints)}: {found} of {subscribers} subscribers came within {wait_s:g} s; "
                    "start the others, wait longer, or ask for fewer"
                )
            time.sleep(0.02)
        while (early_s := self._not_before_s - time.time()) > 0 and not self._stopped:
            time.sleep(min(early_s, 0.05))

    def _subscribe(self) -> None:
        self._sub = open_socket(
            self._context,
            "sub",
            self.sources[0],
            high_water=_HIGH_WATER,
            max_message=self.reader.MOST,
            heartbeat_ms=0,
        )
        for source in self.sources[1:]:
            self._sub.connect(source)

    def _round(self) -> bool:
        """Take, fit and publish once; whether anything came."""
        assert self._sub is not None
        before = int(self.reader.arriving[0]["messages"])
        for batch in self.reader.round(address(self._sub)):
            self._names.update()
            if len(self._out.head) < 3 * len(batch.head):
                self._out = make_batch(3 * len(batch.head))
            fit_pass(self._fit, self._books, batch, self._out)
            self._publish(self._out)
        return int(self.reader.arriving[0]["messages"]) != before

    def _publish(self, out: Batch) -> None:
        """Hand on what is in a batch; a subscriber that is full is waited for, at the end for a while."""
        at, began_s = 0, 0.0
        while at < int(out.used[0]):
            done = int(publish(address(self._pub), out, at, self._sent))
            if done < 0:
                why = f"cannot be written to: {os.strerror(-done)}; restart both sides"
                raise LinkError(f"{', '.join(self.endpoints)}: {why}")
            if done == at:
                if not began_s:
                    began_s, self._blocked = time.monotonic(), self._blocked + 1
                if self._stopped and not self._stop_s:
                    self._stop_s = time.monotonic()
                if self._stop_s and time.monotonic() > self._stop_s + _REST_S:
                    self._undelivered += count_records(out, at)
                    break
                time.sleep(_NAP_S)
            at = done
        if began_s:
            self._blocked_s += time.monotonic() - began_s

    def _end(self) -> None:
        """Say that nothing more comes: each venue's quotes are void."""
        venues = np.flatnonzero(self._fit.seqs)
        if not len(venues):
            return
        clears = blank(Template.CLEAR, len(venues))
        clears["stream_id"] = clears["venue_id"] = venues
        clears["stream_epoch"] = self.epoch
        clears["stream_seq"] = self._fit.seqs[venues] + 1
        clears["ts_event_ns"] = clears["ts_recv_ns"] = realtime_ns()
        clears["instrument_id"] = -1
        clears["reason"] = Reason.PEER_SILENT
        out = make_batch(len(venues) + 1)
        out.words[: 8 * len(venues)] = clears.view(np.int64)
        out.used[0] = len(venues)
        self._publish(out)

    def found(self, seconds: float) -> Decoded:
        """What was done so far."""
        line, counts, core = self._fit.line[0], self.reader.counts, self._books.core[0]
        arriving = self.reader.arriving[0]
        skipped = dict(counts.skipped)
        if arriving["too_long"]:
            skipped["a message that is too long"] = int(arriving["too_long"])
        rows = {words: int(self._fit.skipped[reason]["count"]) for reason, words in REASONS.items()}
        return Decoded(
            format=self.reader.format,
            sources=self.sources,
            endpoints=self.endpoints,
            arrived=int(arriving["messages"]),
            arrived_bytes=int(arriving["octets"]),
            messages=counts.messages,
            by_type=dict(counts.by_type),
            records={Template(n).name: int(count) for n, count in enumerate(self._sent) if count},
            seconds=seconds,
            epoch=self.epoch,
            subscribers=self.count_subscribers(),
            gaps=counts.gaps,
            lost=counts.lost,
            repeated=counts.repeated,
            dangling=int(core["dangling"] - line["of_ghosts"]),
            dangling_after_replace=int(line["of_ghosts"]),
            repeated_orders=int(core["repeated"]),
            crossed=int(line["crossed"]),
            untold=int(line["untold"]),
            negative=int(line["negative"]),
            clamped=int(line["clamped"]),
            unfollowed=int(line["unfollowed"] + core["full"]),
            beside=int(self._fit.skipped[k.BESIDE]["count"]),
            blocked=self._blocked,
            blocked_s=self._blocked_s,
            undelivered=self._undelivered,
            skipped=skipped,
            examples=dict(counts.examples),
            passed_over=dict(counts.passed_over),
            left_out={words: count for words, count in rows.items() if count},
        )

    def close(self, linger_s: float = 2.0) -> None:
        """Hang up, after what is on its way. Idempotent."""
        for socket in (self._sub, getattr(self, "_pub", None)):
            if socket is not None and not socket.closed:
                socket.close(linger=0 if socket is self._sub else int(linger_s * 1000))
        self._context.term()
        self.reader.close()

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close(0.0 if kind else 2.0)


@kernel
def publish(socket: int, out: Batch, at: int, sent: np.ndarray) -> int:
    """Send the records of a batch from unit `at` on, some at a time: where it stopped, full or done; or -errno.

    sent: int64 (64), counts of what was sent by template.
    """
    base, end = address_of(out.words), int(out.used[0])
    while at < end:
        to = at
        while to < end and to - at < _MESSAGE_UNITS:
            to += k.units_of(out, to)
        done = send(socket, base + UNIT * at, UNIT * (to - at), 0)
        if done == -EAGAIN or done == -EINTR:
            return at
        if done < 0:
            return done
        while at < to:
            sent[out.head[at].template_id] += 1
            at += k.units_of(out, at)
    return at


@kernel
def count_records(out: Batch, at: int) -> int:
    """Records of a batch from unit `at` on."""
    n = 0
    while at < out.used[0]:
        at += k.units_of(out, at)
        n += 1
    return n
