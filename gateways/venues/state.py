"""The memory of the simulated venues: every table, its row, and `create`, which allocates all of it from a Config.

One `Exchange` serves any number of venues. A *pair* is a venue's market in one instrument, at
`venue_id * instruments + instrument_id`. Orders are kept for the whole day, ended ones too, because a status request
and a repeated order must get a true answer; at capacity a new order is refused (TABLE_FULL).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import ClassVar, Final, NamedTuple

import numpy as np

from engine.book.memory import Books, make_books, window_width
from engine.io.mapping import aligned_zeros
from engine.memory import Memory, memory, packed
from engine.record.records import DTYPES, ORDER, REPORT, Template
from engine.record.units import TICK_ROW, to_units
from engine.run.config import Config, ConfigError, Faults
from gateways.inbox import Array, table
from gateways.venues.hours import Hours, hours_of, moments
from gateways.venues.ids import splitmix64
from gateways.venues.latency import quantiles

#: No time is later than this.
NEVER: Final = 2**62
#: Slots of messages under way that are kept for the reports on one request: acknowledged, filled, remainder cancelled.
RESERVE: Final = 3
#: An order that joined a price which was not shown: the queue before it is taken from the first quote that shows it.
QUEUE_UNKNOWN: Final = -1
#: What a pair's market was told by: quotes alone, levels, orders. See gateways.venues.depth.
TOUCH, LEVELS, ORDERS = 0, 1, 2
#: The `state` of a book whose touch nobody was shown yet: none of engine.book.view's.
UNSHOWN: Final = -1
#: How a resting order comes forward in its queue, see gateways.venues.queue; by the names of [simulation] queue.
WORST, PROPORTIONAL, EXACT = 0, 1, 2
QUEUES: Final = {"worst": WORST, "proportional": PROPORTIONAL, "exact": EXACT}


class Depth(NamedTuple):
    """Room for recorded depth, all pairs together; pages are used as they are needed."""

    #: Live orders, and levels far from the touch.
    orders: int = 1 << 20
    far: int = 1 << 18
    #: Levels of which our fills have taken something.
    taken: int = 1 << 14


CORE: Final = table("""
clock_ns      i8  venue time: never falls
sweeping      i8  1: a mass cancellation waits for free message slots
arrivals      i8  messages queued so far, the tie-break of the latency queue
instruments   i8  instruments a venue
count         i8  orders in the table
queued        i8  entries of the queue
free          i8  free message slots
free_head     i8  first of them; a free slot holds the next in `order_id`
reserved      i8  of those, kept for reports on requests that are under way
out_count     i8  reports in the out-buffer; the caller sets it to 0 when it has taken them
ignored       i8  records of no concern: other venues, other kinds
refused       i8  records that could not be answered: unknown venue, a kind that venues do not take
postponed     i8  fills of resting orders put off because no message slot was free
second_head   i8  first free row of the second thoughts; a free row holds the next in `row`, -1 is none
taken_head    i8  first free row of `taken`; -1 is none
queue         i8  WORST, PROPORTIONAL or EXACT
deep          i8  1: there is room for depth
prints        i8  prints so far
curbed        i8  orders that took fewer levels than there were: no message slots, or no rows of `taken`
""")

VENUE: Final = table("""
latency_ns    i8  one way
order_table   i8  its table in `latencies` for requests; -1 takes latency_ns
report_table  i8  the same for reports
last_in_ns    i8  when the last request with a drawn latency arrives: none overtakes another
last_out_ns   i8  the same of reports
seed          i8  of this venue's dice
reject_ppm    i8  see Faults
partial_ppm   i8  see Faults
lost_order_ppm i8 see Faults
lost_ack_ppm  i8  see Faults
unsolicited_ppm i8 see Faults
bust_ppm      i8  see Faults
correct_ppm   i8  see Faults
closed        i8  1: outside its trading hours
hour_at       i8  its next moment in `hours` …
hour_stop     i8  … and where they end
served        i8  1: this process speaks for the venue
session       i8  index of its order session
sweep_at      i8  next order that the running mass cancellation looks at; -1 is none running
sweep_end     i8  where it stops
sweep_kind    i8  1 day orders expire, 2 all are cancelled
mass_at       i8  as sweep_at, of a MASS_CANCEL
mass_end      i8  where it stops
mass_scope    i8  its scope
mass_target   i8  what that means
next_exec     i8  counter of ExecIDs
next_order    i8  counter of OrderIDs
exec_prefix   i8  first bytes of an ExecID
order_prefix  i8  first bytes of an OrderID
prefix_length i8  how many bytes
orders        i8  counted: new orders that came
acks          i8  counted: ACK of all kinds
fills         i8  counted
filled_qty    i8  counted, quantity units
rejects       i8  counted: REJECT
cancel_rejects i8 counted
lost          i8  counted: orders lost on the way in
muted         i8  counted: orders whose acknowledgements are lost
phantoms      i8  counted: quotes of which a part was gone
unsolicited   i8  counted: orders cancelled unasked
busts         i8  counted: BUST
corrects      i8  counted: CORRECT
spared        i8  counted: executions and orders that kept their peace because the table of second thoughts was full
""")

PAIR: Final = table("""
bid_px        i8  last recorded best bid
bid_shown     i8  its recorded size
bid_qty       i8  what our fills have left of it
ask_px        i8  last recorded best offer
ask_shown     i8  its recorded size
ask_qty       i8  what our fills have left of it
lot_qty       i8  an order's quantity is a multiple of it
tick_table    i8  its table in `ticks`; -1 is any price
bids          i8  first of our resting buys (best price, then arrival); -1 is none
asks          i8  first of our resting sells
status        i8  of INSTRUMENT_STATUS: 0 open, 1 halted, 2 closed, 3 auction
told_by       i8  TOUCH, LEVELS or ORDERS
print_px      i8  price of the last TRADE; executions of orders at its price and time are the same ones …
print_ns      i8  … its time …
print_qty     i8  … and what of it is still to be told by them
broke         i8  counted: books that had found no room, when they were cleared
waits         i8  1: an order of its lists may wait, see `waits` of an order
""")

WORKING: Final = table("""
order_id      i8  tickroute's id
peer_id       text16  our OrderID
px            i8  limit; 0 at a market order
qty           i8  OrderQty after replaces
first_px      i8  limit as it came, to know a repetition
first_qty     i8  quantity as it came
cum_qty       i8  filled
leaves_qty    i8  still open
busted_qty    i8  filled, and taken back
executions    i8  how often it was filled
min_qty       i8  MinQty
display_qty   i8  DisplayQty; 0 shows all
first_min     i8  MinQty as it came
first_display i8  DisplayQty as it came
shown_qty     i8  displayed of a resting order, and not filled
queue_ahead   i8  displayed size still before a resting order at its price
printed       i8  number of the last print that it was looked at for
joined        i8  stamp of the book's last order when it came to rest: what came later is behind it
traded_qty    i8  traded at its price since the level was shown last
expire_ns     i8  last moment at which it may execute; NEVER is without end
next          i8  next resting order of the pair and side; -1 is the last
prev          i8  the one before; -1 is the first
pair          i8  the market it is in
instrument_id i4  as in ORDER
venue_id      i2  as in ORDER
client_id     i2  as in ORDER
account_id    i2  as in ORDER
trader_id     i2  as in ORDER
algo_id       i2  as in ORDER
side          i1  Side (54)
ord_type      i1  OrdType (40)
tif           i1  TimeInForce (59)
exec_inst     i1  `flags` of ORDER, a name that np.record keeps for itself
ord_status    i1  OrdStatus (39)
resting       i1  1: in the list of its pair
waits         i1  1: it came to rest while its market did not trade or showed nothing, and has not met it
muted         i1  1: of its reports only executions leave
""")

#: What a venue thinks better of some time after it has told it; see gateways.venues.second.
SECOND: Final = table("""
row           i8  row of the order
kind          i8  template id: BUST, CORRECT, or ORDER_CANCEL of an order that nobody asked to cancel
exec_id       text16  the execution that it is about
px            i8  its price
qty           i8  its quantity
liquidity     i8  LastLiquidityInd (851)
dice          i8  what decides how it is corrected
""")

#: What our fills have taken of a displayed level, in a list a side.
TAKEN: Final = table("""
rank          i8  of the level, see engine.book.memory
qty           i8  what is displayed of it and gone
next          i8  next of its side, or next free row; -1 is the last
""")
#: An entry of the queue: `slot` is a message slot, or -1 - the row of an order that then expires, or beyond those
#: -1 - (orders in the table) - the row of a second thought, or beyond those the index of a venue that opens or closes.
ENTRY: Final = table("""
due_ns        i8
arrival       i8
slot          i8
""")


@memory
class Exchange(Memory):
    """All state of the simulated venues, see `create`; `reports` has one scratch slot at its end."""

    LAYOUT = packed(
        core=CORE,
        venues=VENUE,
        pairs=PAIR,
        orders=WORKING,
        buckets="<i8",
        ticks=TICK_ROW,
        queue=ENTRY,
        requests=ORDER,
        reports=REPORT,
        changes=DTYPES[Template.BUST],
        seconds=SECOND,
        taken=TAKEN,
        taken_of="<i8",
        latencies="<i8",
        hours="<i8",
    )
    INNER: ClassVar[dict[str, type[Memory]]] = {"books": Books}
    core: Array  # one row
    venues: Array  # as in the configuration
    pairs: Array  # venues * instruments
    orders: Array  # in the order in which they came
    buckets: Array  # a power of two: order id -> row + 1, open addressing
    ticks: Array
    queue: Array  # a heap by (due_ns, arrival): messages under way, orders that expire, second thoughts
    requests: Array  # the message slots, as requests …
    reports: Array  # … and as reports; the last one is scratch, for reports that are never sent
    changes: Array  # … and as busts and corrections
    seconds: Array  # two for each order of the table
    taken: Array
    taken_of: Array  # by side, as in `books`: first row of `taken`; -1 is none
    latencies: Array  # latency.TABLE quantiles a table, ns
    hours: Array  # moments at which venues open and close, see gateways.venues.hours
    books: Books  # recorded depth; the book of a pair has the pair's index


def create(
    config: Config,
    sessions: Collection[str] | None = None,
    *,
    epoch: int = 0,
    flight: int = 1 << 15,
    depth: Depth | None = None,
    trading_hours: Sequence[Hours | None] | None = None,
) -> Exchange:
    """Allocate and fill in the state of all venues of `config`; what their kernels are called by is settled too.

    sessions: names of the order sessions that this exchange answers for; None is all venue sessions.
    epoch: start in seconds; it sets where the id counters begin, so that a restart on the same day repeats none.
    flight: message slots (128 bytes each) for requests and reports under way.
    depth: room for recorded depth; without it levels and orders of the feed are ignored.
    trading_hours: by venue, (begin, end) in ns or None for always, in the place of the venues' calendars.
    """
    sim, n_venues, n_instruments = config.simulation, len(config.venue), len(config.instrument)
    messages = aligned_zeros(flight + 1, REPORT)
    messages["order_id"] = np.arange(1, flight + 2)
    room, n_pairs = depth or Depth(1, 1, 1), n_venues * n_instruments
    latencies, tables = _latencies(config)
    width = window_width(n_pairs) if depth is not None else 256
    hours, places = moments(hours_of(config, epoch) if trading_hours is None else trading_hours)
    tick_rows = sum(len(table.rows) for table in config.tick_table)
    exchange = Exchange(
        core=aligned_zeros(1, CORE),
        venues=aligned_zeros(n_venues, VENUE),
        pairs=aligned_zeros(n_pairs, PAIR),
        orders=aligned_zeros(sim.orders, WORKING),
        buckets=aligned_zeros(1 << (2 * sim.orders - 1).bit_length(), np.dtype("<i8")),
        ticks=aligned_zeros(1 + n_instruments * tick_rows, TICK_ROW),
        queue=aligned_zeros(flight + 3 * sim.orders + n_venues, ENTRY),
        requests=messages.view(ORDER),
        reports=messages,
        changes=messages.view(DTYPES[Template.BUST]),
        seconds=aligned_zeros(2 * sim.orders, SECOND),
        taken=aligned_zeros(room.taken, TAKEN),
        taken_of=aligned_zeros(2 * n_pairs, np.dtype("<i8")),
        latencies=latencies,
        hours=hours,
        books=make_books([1] * n_instruments, n_venues, width=width, far=room.far, orders=room.orders, present=False),
    )
    exchange.taken_of[:] = -1
    exchange.taken["next"] = np.arange(1, room.taken + 1)
    exchange.taken["next"][-1] = -1
    exchange.seconds["row"] = np.arange(1, 2 * sim.orders + 1)
    exchange.seconds["row"][-1] = -1
    for array in exchange.arrays().values():  # make their pages present
        array.view(np.uint8)[::4096] |= 0
    exchange.core["instruments"] = n_instruments
    exchange.core["free"] = flight
    exchange.core["queue"], exchange.core["deep"] = QUEUES[sim.queue], int(depth is not None)
    exchange.pairs["bids"] = exchange.pairs["asks"] = -1
    _fill_venues(exchange.venues, config, sessions, epoch)
    exchange.venues["order_table"], exchange.venues["report_table"] = tables
    _fill_pairs(exchange, config)
    _arm_hours(exchange, places, [venue.code for venue in config.venue])
    from gateways.venues.apart import settle  # its kernels are of the Exchange, which is declared here

    settle()
    return exchange


def _arm_hours(exchange: Exchange, places: list[tuple[int, int]], codes: list[str]) -> None:
    """Venues with hours begin closed; the first moment of each is due, at one time by the venues' codes."""
    first_slot = -1 - len(exchange.orders) - len(exchange.seconds)
    due = []
    for v, (first, stop) in enumerate(places):
        if first < stop:
            venue = exchange.venues[v]
            venue["closed"], venue["hour_at"], venue["hour_stop"] = 1, first, stop
            due.append((int(exchange.hours[first]), codes[v], v))
    for k, (due_ns, _, v) in enumerate(sorted(due)):  # what is sorted is a heap
        exchange.queue[k] = (due_ns, k + 1, first_slot - v)
    exchange.core["queued"] = exchange.core["arrivals"] = len(due)


def _latencies(config: Config) -> tuple[Array, tuple[list[int], list[int]]]:
    """All tables that venues name, back to back, each once; and each venue's for orders and for reports, -1 is none."""
    wanted: dict[tuple[str, str], int] = {}
    found: list[Array] = []
    columns: tuple[list[int], list[int]] = ([], [])
    for venue in config.venue:
        orders = ("latency", venue.latency, venue.latency_tag)
        reports = ("report_latency", venue.report_latency, venue.report_latency_tag) if venue.report_latency else orders
        for column, (key, file, tag) in zip(columns, (orders, reports), strict=True):
            if file and (file, tag) not in wanted:
                wanted[file, tag] = len(found)
                found.append(quantiles(file, tag, f"venue {venue.mic}: {key}"))
            column.append(wanted[file, tag] if file else -1)
    return np.concatenate([*found, np.zeros(1, dtype=np.int64)]), columns


def _fill_venues(rows: Array, config: Config, sessions: Collection[str] | None, epoch: int) -> None:
    names = [s.name for s in config.session]
    for row, venue in zip(rows, config.venue, strict=True):
        faults: Faults = venue.simulation or config.simulation
        code = venue.code[:4].encode("ascii")
        row["latency_ns"] = venue.latency_us * 1000
        seed = int.from_bytes(hashlib.sha256(venue.mic.encode()).digest()[:7], "little")
        row["seed"] = splitmix64(config.simulation.seed ^ seed)
        row["reject_ppm"] = faults.reject_ppm
        row["partial_ppm"] = faults.partial_ppm
        row["lost_order_ppm"] = faults.lost_order_ppm
        row["lost_ack_ppm"] = faults.lost_ack_ppm
        row["unsolicited_ppm"] = faults.unsolicited_ppm
        row["bust_ppm"] = faults.bust_ppm
        row["correct_ppm"] = faults.correct_ppm
        if venue.session not in names:
            raise ConfigError(f"venue {venue.mic}: session = {venue.session!r} is no [[session]]; there are {names}")
        row["session"] = names.index(venue.session)
        row["served"] = sessions is None or venue.session in sessions
        row["sweep_at"] = row["mass_at"] = -1
        row["next_exec"] = row["next_order"] = epoch % 86400 * 1_000_000 + 1
        row["exec_prefix"] = int.from_bytes(code + b"E", "little")
        row["order_prefix"] = int.from_bytes(code + b"O", "little")
        row["prefix_length"] = len(code) + 1


def _fill_pairs(exchange: Exchange, config: Config) -> None:
    tables = {table.name: table.rows for table in config.tick_table}
    numbers: dict[tuple[str, int], int] = {}  # a table in the price units of its instruments
    used = 0
    for v, venue in enumerate(config.venue):
        for i, instrument in enumerate(config.instrument):
            pair = exchange.pairs[v * len(config.instrument) + i]
            where = f"venue {venue.mic}, instrument {instrument.symbol}"
            lot_qty = to_units(venue.lot, instrument.qty_decimals, f"{where}: lot")
            pair["lot_qty"] = 1 if venue.odd_lots else lot_qty
            name = venue.tick_table or instrument.tick_table
            if name and name not in tables:
                raise ConfigError(f"{where}: tick_table = {name!r} is not among {sorted(tables)}")
            if name and (name, instrument.px_decimals) not in numbers:
                number = numbers[name, instrument.px_decimals] = len(numbers)
                for texts in tables[name]:
                    row = [to_units(text, instrument.px_decimals, f"tick table {name}") for text in texts]
                    exchange.ticks[used] = (number, *row)
                    used += 1
            pair["tick_table"] = numbers[name, instrument.px_decimals] if name else -1
