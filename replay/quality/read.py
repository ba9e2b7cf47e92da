"""One run as columns: what each child and each client's order was, what was executed of it, and the market around.

References are the core's own: a child's is the national best bid and offer of the decision that sent it (DECISION, over
fresh venues), an order's that of its first decision. Executions count as they stand after busts and corrections.

Worst case: memory grows with orders, children and executions (some 300 bytes each), not with the market data, which
go by in chunks.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from engine.io.journal_format import Kind
from engine.record.records import Liquidity, Side, Template
from engine.run import manifest
from engine.run.config import Config
from replay.quality.market import Touches, touches
from replay.report.gather import KEPT, Array, Gathered, Kept, gather
from replay.report.orders import Book, places

if TYPE_CHECKING:
    from replay.verify import Progress

NEEDED: Final[Kept] = KEPT | {
    (Kind.INPUT, Template.ORDER_NEW): KEPT[Kind.INPUT, Template.ORDER_NEW]
    + " ord_type tif client_id algo_id stream_id",
    (Kind.OUTPUT, Template.ORDER_NEW): KEPT[Kind.OUTPUT, Template.ORDER_NEW] + " px ord_type tif",
    (Kind.OUTPUT, Template.DECISION): KEPT[Kind.OUTPUT, Template.DECISION] + " instrument_id",
}
NO_MARKET: Final = "the run took in no market data"


class Orders(NamedTuple):
    """Orders in columns, in price and quantity units; `bid` and `ask` are the reference, 0 where there is none."""

    instrument: Array
    #: 1 buys, -1 sells.
    sign: Array
    ord_type: Array
    tif: Array
    px: Array
    qty: Array
    #: When it was received, or left.
    at_ns: Array
    bid: Array
    ask: Array
    #: Strategy and client, as indices of `Run.strategies` and `Run.clients`.
    strategy: Array
    client: Array


class Fills(NamedTuple):
    """Executions in columns."""

    child: Array
    parent: Array
    px: Array
    qty: Array
    added: Array
    at_ns: Array
    money: Array
    fee: Array
    #: By horizon: national best bid and offer so long after it; 0 where there was none.
    later: list[Touches]


class Run(NamedTuple):
    """A run."""

    path: Path
    found: Gathered
    book: Book
    config: Config
    trading_day: str
    parents: Orders
    children: Orders
    venue: Array
    fills: Fills
    strategies: list[str]
    clients: list[str]
    #: Why there is no market data; empty where there is.
    no_market: str
    #: Orders at venues that are in nothing here: the journal begins after their clients' orders.
    orphans: int


def read(path: Path, horizons_ms: list[int], progress: Progress | None = None) -> Run:
    """Read a run. JournalError, ManifestError, ConfigError: it cannot be read by this build."""
    found = gather(path, NEEDED, progress)
    run = manifest.from_bytes(found.manifest)
    config = run.read_config()
    book = Book(found, config, run.initial_state())
    orphans = book.drop_orphans()
    strategies, strategy = strategies_of(book.orders, config)
    clients, client = clients_of(book.orders, config)
    parents = _orders(book.orders, book.orders["ts_recv_ns"], (book.bid, book.ask), strategy, client)
    own, _ = places(book.ids, book.children["parent_id"])
    references = _references(book)
    children = _orders(book.children, book.children["ts_event_ns"], references, strategy[own], client[own])
    no_market = "" if found.inputs.get(Template.QUOTE.name) else NO_MARKET
    return Run(
        path=path,
        found=found,
        book=book,
        config=config,
        trading_day=run.trading_day,
        parents=parents,
        children=children,
        venue=book.children["venue_id"],
        fills=_fills(book, [] if no_market else _later(path, book, horizons_ms, config, progress)),
        strategies=strategies,
        clients=clients,
        no_market=no_market,
        orphans=orphans,
    )


def _orders(rows: Array, at_ns: Array, quote: tuple[Array, Array], strategy: Array, client: Array) -> Orders:
    good = (quote[0] > 0) & (quote[0] <= quote[1])
    return Orders(
        instrument=rows["instrument_id"],
        sign=np.where(rows["side"] == Side.BUY, 1, -1),
        ord_type=rows["ord_type"],
        tif=rows["tif"],
        px=rows["px"],
        qty=rows["qty"],
        at_ns=at_ns,
        bid=np.where(good, quote[0], 0),
        ask=np.where(good, quote[1], 0),
        strategy=strategy,
        client=client,
    )


def _references(book: Book) -> tuple[Array, Array]:
    """Bid and offer of the decision that sent each child: its parent's last one before it, of the same input."""
    rows, children = book.found.table(Kind.OUTPUT, Template.DECISION), book.children
    if not len(rows):
        return np.zeros((2, len(children)), dtype=np.int64)[0], np.zeros(len(children), dtype=np.int64)
    order = np.lexsort((rows["seq"], rows["parent_id"]))
    rows = rows[order]
    # One key of (parent, number): the parents by rank, so that it stays within an int64.
    names, rank = np.unique(rows["parent_id"], return_inverse=True)
    mine, known = places(names, children["parent_id"])
    top = int(max(rows["seq"][-1], rows["seq"].max(), children["seq"].max(initial=0))) + 1
    place = np.searchsorted(rank * top + rows["seq"], mine * top + children["seq"]) - 1
    last = rows[np.maximum(place, 0)]
    same = known & (place >= 0) & (last["parent_id"] == children["parent_id"])
    same &= last["input_seq"] == children["input_seq"]
    return np.where(same, last["bid_px"], 0), np.where(same, last["ask_px"], 0)


def _fills(book: Book, later: list[Touches]) -> Fills:
    rows = book.fills
    return Fills(
        child=book.fill_child,
        parent=book.fill_parent,
        px=rows["last_px"],
        qty=rows["last_qty"],
        added=rows["liquidity"] == Liquidity.ADDED,
        at_ns=rows["ts_recv_ns"],
        money=book.fill_money,
        fee=book.fill_fee,
        later=later,
    )


def _later(path: Path, book: Book, horizons_ms: list[int], config: Config, progress: Progress | None) -> list[Touches]:
    """Where the market was so long after each execution."""
    rows, n = book.fills, len(horizons_ms)
    steps = np.array(horizons_ms, dtype=np.int64) * 1_000_000
    wanted = rows["ts_recv_ns"][:, None] + steps[None, :]
    bid, ask = np.zeros((2, len(rows), n), dtype=np.int64)
    mine = {at: rows["instrument_id"] == at for at in np.unique(rows["instrument_id"]).tolist()}
    told = touches(path, config, {at: wanted[here].reshape(-1) for at, here in mine.items()}, progress)
    for at, found in told.items():
        bid[mine[at]], ask[mine[at]] = found.bid.reshape(-1, n), found.ask.reshape(-1, n)
    return [Touches(bid[:, h], ask[:, h]) for h in range(n)]


def strategies_of(orders: Array, config: Config) -> tuple[list[str], Array]:
    """Names, and the index of each order's: the run's strategy, with the order's algo_id where it has one."""
    ids, index = np.unique(orders["algo_id"], return_inverse=True)
    return [strategy_name(config.routing.strategy, at) for at in ids.tolist()], index


def strategy_name(strategy: str, algo_id: int) -> str:
    """How a run's strategy (`[routing] strategy`) is called for orders of an algo_id; of 0 without it."""
    name = Path(strategy).stem if strategy.endswith(".py") else strategy
    return f"{name}#{algo_id}" if algo_id else name


def clients_of(orders: Array, config: Config) -> tuple[list[str], Array]:
    """Names, and the index of each order's: the session that it came on, with the order's client_id."""
    keys = orders["stream_id"].astype(np.int64) << 16 | orders["client_id"].astype(np.int64) & 0xFFFF
    ids, index = np.unique(keys, return_inverse=True)
    names = []
    for key in ids.tolist():
        session, client = key >> 16, key & 0xFFFF
        known = 0 <= session < len(config.session)
        names.append(f"{config.session[session].name if known else session}/{client}")
    return names, index
