"""What became of each order, event by event, as columns: what the exports of records are made from.

An event is a journaled record about an order: a client's order as it came in and what the client was told of it; an
order to a venue as it left and what the venue said of it. Repeated orders and reports that the engine refused are no
events. Times are the engine's; as UTC they are moved by the run's last clock sample before them, in integers.

Worst case: memory grows with orders and reports, some 300 bytes each.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from engine.io.journal_format import Kind
from engine.record.records import ExecType, Template
from engine.run import manifest
from engine.run.config import Config
from replay.report.gather import KEPT, Array, Kept, gather
from replay.report.orders import Book, places

if TYPE_CHECKING:
    from replay.verify import Progress

T = Template
_ORDER: Final = (
    "order_id parent_id cl_ord_id px qty min_qty display_qty instrument_id side ord_type tif capacity short_sale flags"
    " client_id account_id trader_id desk_id algo_id stream_id venue_id ts_event_ns ts_recv_ns"
)
_SAID: Final = (
    "order_id exec_id last_px last_qty cum_qty leaves_qty reason exec_type ord_status liquidity request ts_event_ns"
    " ts_recv_ns venue_id instrument_id"
)
_REPORTS: Final = (T.ACK, T.FILL, T.REJECT)
_CHANGES: Final = (T.BUST, T.CORRECT)
_NEEDED: Final[Kept] = (
    KEPT
    | {(kind, template): _SAID for kind in (Kind.INPUT, Kind.OUTPUT) for template in (*_REPORTS, *_CHANGES)}
    | {(Kind.INPUT, template): f"{_SAID} exec_ref_id" for template in _CHANGES}
    | {(Kind.INPUT, T.ORDER_NEW): _ORDER}
    | {(Kind.OUTPUT, template): _ORDER for template in (T.ORDER_NEW, T.ORDER_REPLACE, T.ORDER_CANCEL)}
)
#: One event. `order` is the row of its order in `Events.orders`; -1 is none that is known.
EVENT: Final = np.dtype(
    [
        ("seq", "<i8"), ("template", "<i4"), ("input", "?"), ("venue_level", "?"), ("order", "<i8"), ("time_ns", "<i8"),
        ("venue_time_ns", "<i8"), ("exec_id", "<i8", (2,)), ("last_px", "<i8"), ("last_qty", "<i8"), ("cum_qty", "<i8"),
        ("leaves_qty", "<i8"), ("reason", "<i4"), ("exec_type", "<i4"), ("ord_status", "<i4"), ("liquidity", "<i4"),
        ("request", "<i4"), ("px", "<i8"), ("qty", "<i8"), ("refused", "?"),
    ]
)  # fmt: skip


class Events(NamedTuple):
    """A run's events in the journal's order; `px` and `qty` of each are the order's limit and quantity as they then
    stood. `orders`: clients' orders, those refused, then orders to venues (`first_child` on).
    """

    run_id: str
    trading_day: str
    config: Config
    events: Array
    orders: Array
    first_child: int
    #: Of each order to a venue: the row of its parent.
    parent: Array
    #: Orders to venues that are left out: the journal begins after their clients' orders.
    orphans: int
    #: UTC less engine clock: (from engine time, offset), ascending.
    clock: tuple[Array, Array]

    def utc_ns(self, times_ns: Array) -> Array:
        """Engine times as UTC, ns."""
        at, offset = self.clock
        if not len(at):
            return times_ns
        told: Array = times_ns + offset[np.maximum(np.searchsorted(at, times_ns, side="right") - 1, 0)]
        return told


def read_events(run_dir: Path, progress: Progress | None = None) -> Events:
    """Read a run. JournalError, ManifestError, ConfigError: it cannot be read by this build."""
    found = gather(run_dir, _NEEDED, progress)
    run = manifest.from_bytes(found.manifest)
    config = run.read_config()
    book = Book(found, config, run.initial_state())
    orphans = book.drop_orphans()
    known = book.rejected["instrument_id"]
    rejected = book.rejected[(known >= 0) & (known < len(config.instrument))]
    orders = np.concatenate([book.orders, rejected, book.children])
    orders["order_id"][: len(book.ids)] = book.ids
    first_child = len(book.ids) + len(rejected)
    parent, _ = places(book.ids, book.children["parent_id"])
    parts = [_received(book, rejected), *_told(book), *_sent(book, first_child), *_answered(book, first_child)]
    events = np.concatenate(parts)
    events = events[np.argsort(events["seq"], kind="stable")]
    _as_they_stood(events, orders)
    samples = found.table(Kind.OBSERVATION, T.CLOCK_SAMPLE)
    samples = samples[(samples["realtime_ns"] > 0) & (config.engine.clock != "feed")]
    at, first = np.unique(samples["clock_ns"], return_index=True)
    return Events(
        run_id=found.run_id,
        trading_day=run.trading_day,
        config=config,
        events=events,
        orders=orders,
        first_child=first_child,
        parent=parent,
        orphans=orphans,
        clock=(at, samples["realtime_ns"][first] - at),
    )


def _events(rows: Array, **values: Any) -> Array:
    """Events of records: what they have by the same name, and `values`."""
    told = np.zeros(len(rows), dtype=EVENT)
    for name in set(EVENT.names or ()) & set(rows.dtype.names or ()):
        told[name] = rows[name]
    for name, value in values.items():
        told[name] = value
    return told


def _received(book: Book, rejected: Array) -> Array:
    """Clients' orders as they came in."""
    rows = np.concatenate([book.orders, rejected])
    refused = np.arange(len(rows)) >= len(book.orders)
    left = np.where(refused, 0, rows["qty"])
    return _events(
        rows, template=T.ORDER_NEW, input=True, order=np.arange(len(rows)), time_ns=rows["ts_recv_ns"], refused=refused,
        leaves_qty=left,
    )  # fmt: skip


def _told(book: Book) -> list[Array]:
    """What clients were told of orders that were accepted."""
    parts = []
    for template in (*_REPORTS, *_CHANGES):
        rows = book.found.table(Kind.OUTPUT, template)
        place, known = places(book.ids, rows["order_id"])
        news = rows["exec_type"] != ExecType.NEW  # the order's own row says that it came
        rows, place = rows[known & news], place[known & news]
        parts.append(_events(rows, template=template, order=place, time_ns=rows["ts_event_ns"]))
    return parts


def _sent(book: Book, first_child: int) -> list[Array]:
    """Orders, replaces and cancels to venues."""
    parts = []
    for template in (T.ORDER_NEW, T.ORDER_REPLACE, T.ORDER_CANCEL):
        rows = book.found.table(Kind.OUTPUT, template)
        place, known = places(book.children["order_id"], rows["order_id"])
        rows, place = rows[known], place[known]
        left = rows["qty"] if template == T.ORDER_NEW else 0
        parts.append(
            _events(
                rows, template=template, venue_level=True, order=first_child + place, time_ns=rows["ts_event_ns"],
                leaves_qty=left,
            )
        )  # fmt: skip
    return parts


def _answered(book: Book, first_child: int) -> list[Array]:
    """What venues said, and the engine took."""
    refused = book.found.table(Kind.OUTPUT, T.REFUSAL)["input_seq"]
    parts = []
    for template in (*_REPORTS, *_CHANGES):
        rows = book.found.table(Kind.INPUT, template)
        place, known = places(book.children["order_id"], rows["order_id"])
        known &= ~np.isin(rows["seq"], refused)
        rows, place = rows[known], place[known]
        parts.append(
            _events(
                rows, template=template, input=True, venue_level=True, order=first_child + place,
                time_ns=rows["ts_recv_ns"], venue_time_ns=rows["ts_event_ns"],
            )
        )  # fmt: skip
    return parts


def _as_they_stood(events: Array, orders: Array) -> None:
    """Fill in `px` and `qty`: the order's own, or those of its last accepted replace."""
    order = np.lexsort((events["seq"], events["order"]))
    own = events["order"][order]
    replaced = (events["template"][order] == T.ACK) & (events["exec_type"][order] == ExecType.REPLACED)
    last = np.maximum.accumulate(np.where(replaced, np.arange(len(own)), -1))
    mine = (last >= 0) & (own[np.maximum(last, 0)] == own)
    at = order[np.maximum(last, 0)] if len(order) else order
    qty = events["cum_qty"][at] + events["leaves_qty"][at]
    px = events["last_px"][at]  # a venue that does not repeat the limit price leaves it as it was
    events["px"][order] = np.where(mine & (px != 0), px, orders["px"][own])
    events["qty"][order] = np.where(mine, qty, orders["qty"][own])
