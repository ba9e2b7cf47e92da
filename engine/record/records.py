"""Every record of tickroute: one layout for the wire, the memory and the disk.

A record is 64 or 128 bytes (one or two cache lines), little-endian, without padding, and begins with the same 40-byte
prefix: an SBE message header, the stream it came on (epoch, id, sequence), the venue, and two times. Reading a
record is taking a view of its bytes; nothing is ever encoded or decoded between stages.

`FIELDS` below is the one source: the dtypes, `schema.xml` (for SBE code generators) and `docs/wire.md` follow from it,
and a test holds them together. A change of layout is a new `SCHEMA_VERSION`; every released version stays readable.

Prices and quantities are integers in the instrument's own decimal units (see `INSTRUMENT_DEF.px_decimals` and
`qty_decimals`), the same at every venue. Money is in 1e-9 of the instrument's currency. Times are nanoseconds.
Identifiers of other parties are 16 bytes of text, NUL-padded, held as two words so that comparing them is two loads.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np

SCHEMA_ID: Final = 7717
#: 2: ROLL, FAILURE, HALTED and SEQUENCE_RESET; a record of version 1 is read as it is.
SCHEMA_VERSION: Final = 2
SBE_HEADER_SIZE: Final = 8
RECORD_MAX: Final = 128
#: Fields that say who gave a command, and what they say where no person did. Root is 0.
ACTORS: Final = ("actor_id", "actor_2")
NOBODY: Final = -1
#: Granularity of records in a message and in the receive buffer, in bytes.
UNIT: Final = 64


class Template(IntEnum):
    """SBE template ids. Market data below 16, orders 16-23, reports 24-31, session and housekeeping from 32."""

    QUOTE = 1
    TRADE = 2
    LEVEL = 3
    ORDER_DELTA = 4
    CLEAR = 5
    INSTRUMENT_DEF = 6
    INSTRUMENT_STATUS = 7
    VENUE_DEF = 8
    ORDER_NEW = 16
    ORDER_REPLACE = 17
    ORDER_CANCEL = 18
    MASS_CANCEL = 19
    STATUS_REQUEST = 20
    ACK = 24
    FILL = 25
    REJECT = 26
    CANCEL_REJECT = 27
    BUST = 28
    CORRECT = 29
    SESSION_UP = 32
    SESSION_DOWN = 33
    HEARTBEAT = 34
    SEQUENCE_RESET = 35
    TIMER = 40
    CONTROL = 41
    LIMIT_CHANGE = 42
    POSITION_LOAD = 43
    CLOCK_SAMPLE = 44
    MALFORMED = 45
    ROLL = 46
    REFUSAL = 48
    DECISION = 49
    RISK_BLOCK = 50
    ALERT = 51
    FAILURE = 52
    CONTROL_REPORT = 54
    STAGES = 56
    SEND_RESULT = 57
    RECOVERED = 58
    HALTED = 59


class Field(NamedTuple):
    """One field of a record: its name (unit last), its numpy type (`text16` for a foreign id) and what it says."""

    name: str
    type: str
    doc: str


def _f(text: str) -> tuple[Field, ...]:
    rows = [line.split(None, 2) for line in text.strip().splitlines()]
    return tuple(Field(name, kind, doc) for name, kind, doc in rows)


#: The prefix that all records share, at the same offsets.
PREFIX: Final = _f("""
block_length  u2  SBE header: bytes after the header (56 or 120)
template_id   u2  SBE header: the kind of record, see Template
schema_id     u2  SBE header: 7717
version       u2  SBE header: schema version
stream_epoch  i4  start of the sender's life: a restarted publisher has a larger one, so its numbers are no duplicates
stream_id     i2  publisher (market data) or session (orders, reports) within this engine; -1 where there is none
venue_id      i2  index of the venue in the engine's reference data; -1 where there is none
stream_seq    i8  number of the record on its stream, dense from 1
ts_event_ns   i8  when it happened at its source, ns since 1970 UTC on the source's clock
ts_recv_ns    i8  when the engine took it in, ns on the engine's clock; 0 on the wire
""")

_INSTRUMENT = Field("instrument_id", "i4", "index of the instrument in the engine's reference data")
_FLAGS = Field("flags", "i4", "bits, see Flag")

_ORDER = _f("""
order_id      i8  tickroute's id of the order: shard, trading day, counter; 0 until the engine gives one
parent_id     i8  order id of the parent; 0 on a client's order
cl_ord_id     text16  ClOrdID (11) as the client gave it
px            i8  Price (44), limit price in price units
qty           i8  OrderQty (38), in quantity units
min_qty       i8  MinQty (110), in quantity units; 0 is none
display_qty   i8  DisplayQty (1138), in quantity units; 0 shows all
instrument_id i4  index of the instrument in the engine's reference data
ttl_ms        i4  the venue must not execute it later than this after ts_event_ns; 0 is without end
side          i1  Side (54)
ord_type      i1  OrdType (40)
tif           i1  TimeInForce (59)
capacity      i1  OrderCapacity (528)
short_sale    i1  short-sale mark, see ShortSale
flags         i1  bits: 1 intermarket sweep (ISO), 2 post only
client_id     i2  client, an index of the configuration
account_id    i2  account, an index of the configuration
trader_id     i2  trader
desk_id       i2  desk
algo_id       i2  algorithm: the strategy's index in the configuration
""")

_REPORT = _f("""
order_id      i8  tickroute's id of the order reported on
peer_id       text16  the other party's own id: ClOrdID towards a client, OrderID (37) from a venue
exec_id       text16  ExecID (17), unique a venue and day
last_px       i8  LastPx (31), price units; limit price where there is no execution
last_qty      i8  LastQty (32), quantity units
cum_qty       i8  CumQty (14)
leaves_qty    i8  LeavesQty (151)
instrument_id i4  index of the instrument in the engine's reference data
reason        i2  why, see Reason
side          i1  Side (54)
exec_type     i1  ExecType (150)
ord_status    i1  OrdStatus (39)
liquidity     i1  LastLiquidityInd (851): 1 added, 2 removed
client_id     i2  client, an index of the configuration
request       i4  template id of the request this answers; 0 where it answers none
""")

_EXEC_CHANGE = _f("""
order_id      i8  tickroute's id of the order
exec_id       text16  ExecID (17) of this message
exec_ref_id   text16  ExecRefID (19): the execution that is busted or corrected
last_px       i8  corrected price, price units; 0 in a bust
last_qty      i8  corrected quantity, quantity units; 0 in a bust
cum_qty       i8  CumQty (14) after it
leaves_qty    i8  LeavesQty (151) after it
instrument_id i4  index of the instrument in the engine's reference data
reason        i2  why, see Reason
side          i1  Side (54)
exec_type     i1  ExecType (150): trade cancel H, trade correct G
ord_status    i1  OrdStatus (39)
liquidity     i1  LastLiquidityInd (851)
client_id     i2  client
request       i4  template id of the request this answers; 0 where it answers none
""")

#: template -> the fields after the prefix.
FIELDS: Final[dict[Template, tuple[Field, ...]]] = {
    Template.QUOTE: (
        _INSTRUMENT,
        _FLAGS,
        *_f("""
bid_px        i8  best bid, price units; 0 with bid_qty 0 where there is no bid
bid_qty       i8  size at the best bid, quantity units; 0 is no bid
ask_px        i8  best offer, price units; 0 with ask_qty 0 where there is no offer
ask_qty       i8  size at the best offer, quantity units; 0 is no offer
source_seq    i8  the source's own sequence number; 0 where it has none
bid_orders    i4  orders at the best bid; 0 where unknown
ask_orders    i4  orders at the best offer; 0 where unknown
ts_source_ns  i8  the source's second time stamp (participant time); 0 where it has none
user_tag      i8  free for the publisher: benchmarks mark quotes with it; never read by the core
reserved      i8x2  zero
"""),
    ),
    Template.TRADE: (
        _INSTRUMENT,
        _FLAGS,
        *_f("""
px            i8  price, price units
qty           i8  quantity, quantity units
"""),
    ),
    Template.LEVEL: (
        _INSTRUMENT,
        *_f("""
side          i1  Side (54) of the level: 1 bid, 2 offer
action        i1  0 new, 1 change, 2 delete
flags         i2  bits, see Flag
px            i8  price of the level, price units
qty           i8  quantity now at the level, quantity units
"""),
    ),
    Template.ORDER_DELTA: (
        _INSTRUMENT,
        *_f("""
side          i1  Side (54) of the order; 0 where the source does not repeat it
action        i1  0 add, 1 change (qty is left), 2 delete, 3 execute, 4 reduce (by qty), 5 replace (by new_order)
flags         i2  bits, see Flag
px            i8  price, price units; 0 where the source does not repeat it
qty           i8  quantity, quantity units, as action says
venue_order   i8  the venue's number of the order
new_order     i8  the number that replaces it, at px and qty, last in its queue; 0 where none does
exec_px       i8  execution price where it differs; 0 where it does not
match_id      i8  the venue's number of the match; 0 where it has none
reserved      i8x4  zero
"""),
    ),
    Template.CLEAR: (
        _INSTRUMENT,
        _FLAGS,
        *_f("""
reason        i8  why the books are void, see Reason
reserved      i8  zero
"""),
    ),
    Template.INSTRUMENT_DEF: (
        _INSTRUMENT,
        *_f("""
currency      i4  ISO 4217 letters, little-endian in the low three bytes
symbol        text16  symbol
isin          text16  ISO 6166, 12 letters; NUL where there is none
mic           text16  ISO 10383 of the primary market
lot_qty       i8  round lot, quantity units
multiplier    i8  contract multiplier (1 for shares)
px_decimals   i2  a price unit is 10^-px_decimals of the currency
qty_decimals  i2  a quantity unit is 10^-qty_decimals of a share or coin
tick_table_id i2  index of the tick table
flags         i2  bits: 1 odd lots allowed
reserved      i8  zero
"""),
    ),
    Template.INSTRUMENT_STATUS: (
        _INSTRUMENT,
        *_f("""
status        i2  0 open, 1 halted, 2 closed, 3 auction
flags         i2  zero
reason        i8  the venue's reason code
reserved      i8  zero
"""),
    ),
    Template.VENUE_DEF: _f("""
mic           text16  ISO 10383 code, or the feed's own letter
take_fee      i8  fee a quantity unit removed, 1e-9 of the currency; negative is a rebate
make_fee      i8  fee a quantity unit added, 1e-9 of the currency; negative is a rebate
take_ppm      i8  fee on the notional removed, parts per million
make_ppm      i8  fee on the notional added, parts per million
latency_ns    i8  expected one-way latency of an order
lot_qty       i8  the venue's lot, quantity units
session_id    i2  order session that reaches it
tick_table_id i2  index of the tick table; -1 is the instrument's own
flags         i4  bits: 1 odd lots allowed
reserved      i8x2  zero
"""),
    Template.ORDER_NEW: _ORDER,
    Template.ORDER_REPLACE: _ORDER,
    Template.ORDER_CANCEL: _ORDER,
    Template.STATUS_REQUEST: _ORDER,
    Template.MASS_CANCEL: _f("""
scope         i2  see Scope
client_id     i2  client; -1 is all
instrument_id i4  instrument; -1 is all
request_id    i8  given back in the answer
target        i4  what the scope means: venue, session, strategy, trader or account; 0 otherwise
actor_id      i4  who: the peer's uid (0 is root), set by the driver; -1 is no person: a client's session, the engine
"""),
    Template.ACK: _REPORT,
    Template.FILL: _REPORT,
    Template.REJECT: _REPORT,
    Template.CANCEL_REJECT: _REPORT,
    Template.BUST: _EXEC_CHANGE,
    Template.CORRECT: _EXEC_CHANGE,
    Template.SESSION_UP: _f("""
last_seen_seq i8  the last stream_seq that the sender saw from its peer
last_seen_epoch i4  the epoch of that stream
session_id    i4  session it speaks of
capability    i8  bits, see SessionFlag
"""),
    Template.SESSION_DOWN: _f("""
reason        i8  why, see Reason
session_id    i4  session it speaks of
flags         i4  zero
reserved      i8  zero
"""),
    Template.HEARTBEAT: _f("""
last_seen_seq i8  the last stream_seq that the sender saw from its peer
last_seen_epoch i4  the epoch of that stream
session_id    i4  session it speaks of
reserved      i8  zero
"""),
    Template.SEQUENCE_RESET: _f("""
new_seq_no    i8  NewSeqNo (36): the number of the next record on the stream; what lay before it will not come
begin_seq_no  i8  BeginSeqNo (7): the first number that was asked for and will not come
session_id    i4  session it speaks of
reason        i4  why, see Reason
"""),
    Template.TIMER: _f("""
deadline_ns   i8  the deadline that fell due, engine clock
cancels_only  i8  1: the next cancels of mass cancels alone, and no timer fires; 0: all that is due
reserved      i8  zero
"""),
    Template.CONTROL: _f("""
order_id      i8  order it speaks of; 0 where cl_ord_id or none is meant
cl_ord_id     text16  ClOrdID of the order it speaks of
action        i2  see ControlAction
scope         i2  see Scope
client_id     i2  client; -1 is all
flags         i2  zero
instrument_id i4  instrument; -1 is all
actor_id      i4  who: the peer's uid (0 is root), set by the driver; -1 is no person: a client's session, the engine
value         i8  argument of the action
request_id    i8  given back in the answer
target        i4  what the scope means: venue, session, strategy, trader or account; 0 otherwise
actor_2       i4  the second person's uid where two are needed, set by the driver; -1 otherwise
expires_ns    i8  engine time at which it ends by itself; 0 is never
reserved      i8x2  zero
"""),
    Template.LIMIT_CHANGE: _f("""
rule          i2  see RiskRule
scope         i2  see Scope
instrument_id i4  instrument; -1 is all
value         i8  the new limit in the rule's unit
old_value     i8  the limit that it replaces
actor_id      i4  who: the peer's uid (0 is root), set by the driver; -1 is no person: a client's session, the engine
client_id     i2  client; -1 is all
flags         i2  zero
request_id    i8  given back in the answer
target        i4  what the scope means: venue, session, strategy, trader or account; 0 otherwise
actor_2       i4  the second person's uid where two are needed, set by the driver; -1 otherwise
expires_ns    i8  engine time at which an override ends; 0 is a change that stays
reserved      i8x4  zero
"""),
    Template.POSITION_LOAD: _f("""
instrument_id i4  instrument
account_id    i2  account
flags         i2  bits, see PositionFlag
qty           i8  opening position, quantity units, short is negative
px            i8  average price, price units; with the flag COST the whole position's cost, 1e-9 of the currency
"""),
    Template.CLOCK_SAMPLE: _f("""
clock_ns      i8  the engine's (or the feed's) clock
realtime_ns   i8  CLOCK_REALTIME at the same moment; 0 where not sampled
tsc           i8  time stamp counter at the same moment; 0 where not sampled
"""),
    Template.MALFORMED: _f("""
link_id       i4  link it came on
length        i4  its length in bytes
reason        i8  see Reason
head          i8  its first eight bytes
"""),
    Template.ROLL: _f("""
trading_day   i4  the day that begins, days since 1970-01-01
flags         i4  zero
day_end_ns    i8  when its day orders expire, engine clock; the largest int64 is never
reserved      i8  zero
"""),
    Template.REFUSAL: _f("""
input_template i4  template id of the refused record
reason        i4  see Reason
value         i8  the value that was refused
limit         i8  what is allowed
"""),
    Template.DECISION: _f("""
parent_id     i8  the parent
leaves_qty    i8  what was left to route
routed_qty    i8  what this round sent
bid_px        i8  national best bid over fresh venues, price units; 0 where there is none
ask_px        i8  national best offer over fresh venues, price units; 0 where there is none
best_net      i8  net price of the first venue taken, 1e-9 of the currency a quantity unit
worst_net     i8  net price of the last venue taken
instrument_id i4  instrument
round_no      i2  round of the parent, from 1
fresh_venues  i2  venues with a fresh quote on the needed side
stale_venues  i2  venues with a quote on the needed side that is too old
venues_used   i2  children sent
outcome       i2  see Outcome
event         i2  the workflow event that led here, see engine.core.orders
venue_mask    i8  bit v set: venue v was sent a child
reserved      i8  zero
"""),
    Template.RISK_BLOCK: _f("""
order_id      i8  the order that was blocked
parent_id     i8  its parent
value         i8  the value that broke the rule
limit         i8  the limit
reference_px  i8  reference price used, price units; 0 where there was none
px            i8  the order's price
qty           i8  the order's quantity
instrument_id i4  instrument
rule          i2  see RiskRule
side          i1  Side (54)
flags         i1  zero
client_id     i2  client
account_id    i2  account
reserved_2    i4  zero
reserved      i8x2  zero
"""),
    Template.ALERT: _f("""
code          i4  see Reason
instrument_id i4  instrument; -1 where none is meant
order_id      i8  order; 0 where none is meant
value         i8  what it is about
"""),
    Template.FAILURE: _f("""
parent_id     i8  the order whose workflow failed
reason        i2  why the step failed, see Reason
outcome       i2  the outcome that it returned; -1 where it raised
workflow_state i1  code of the state it was in, an index of the machine's states
event         i1  code of the event, see engine.workflow
step          i1  code of the step in the machine's tables
compensations i1  compensations that ran
undone_bytes  i4  bytes of state that were restored
cut_outputs   i2  outputs of the step that were taken back
flags         i2  zero
"""),
    Template.CONTROL_REPORT: _f("""
request_id    i8  request_id of the command this answers
value         i8  the value in force now, or what the command asked for
old_value     i8  the value before it
live_children i4  orders within the scope that lived at venues when it came
cancels       i4  cancels sent for it
acknowledged  i4  of those orders: ended by now
fills_after   i4  executions on those orders after the command
command_ns    i8  when the command was taken in, engine clock
last_cancel_ns i8  when the last cancel was made, engine clock; 0 where none was
last_ack_ns   i8  when the last of those orders ended, engine clock; 0 where none did
action        i2  see ControlAction; 0 for a change of a limit
scope         i2  see Scope
reason        i2  why it was refused, see Reason; 0 where it was done
finished      i2  1: nothing follows; 0: the final report comes once all those orders have ended
target        i4  what the scope means: venue, session, strategy, trader, client, account or instrument
rule          i4  see RiskRule, for a change of a limit
actor_id      i4  who: the peer's uid (0 is root); -1 is no person
actor_2       i4  the second person's uid; -1 where one was enough
"""),
    Template.STAGES: _f("""
input_seq     i8  journal sequence of the input
receive_ns    i4  from the poll to the message in our buffer
decode_ns     i4  framing and admission checks
book_ns       i4  state update
decide_ns     i4  workflows
risk_ns       i4  the risk gate
journal_ns    i4  both appends: the input and the batch of outputs
encode_ns     i4  gathering outputs into messages
send_ns       i4  handing them to the transport
total_ns      i8  the whole, from the poll to the last send
input_template i4  template id of the input
outputs       i4  records sent
clock_ns      i8  engine clock at the input
realtime_ns   i8  zero
reserved      i8x2  zero
"""),
    Template.SEND_RESULT: _f("""
output_seq    i8  journal sequence of the output
session_id    i4  session it was for
error         i4  errno; 0 where it was sent
retries       i8  attempts after the first
"""),
    Template.RECOVERED: _f("""
last_seq      i8  last good journal sequence
torn_bytes    i8  bytes set aside
skip          i8  numbers left out of every outgoing stream and order counter, so that nothing lost is used again
"""),
    Template.HALTED: _f("""
reason        i8  why the engine stopped itself, see Reason
input_seq     i8  journal sequence of the input at which it stopped; -1 where it was none's fault
live_children i4  children that were live then
flags         i4  zero
"""),
}

_NUMPY = {"text16": ("<i8", (2,)), "i8x2": ("<i8", (2,)), "i8x4": ("<i8", (4,))}


def dtype_of(fields: tuple[Field, ...]) -> np.dtype[np.void]:
    """Structured dtype (np.record scalars) of fields in order, little-endian, packed."""
    rows: list[tuple[object, ...]] = []
    for field in fields:
        if field.type in _NUMPY:
            base, shape = _NUMPY[field.type]
            rows.append((field.name, base, shape))
        else:
            rows.append((field.name, "<" + field.type))
    return np.dtype((np.record, rows))


#: template -> structured dtype of the whole record (prefix and fields).
DTYPES: Final[dict[Template, np.dtype[np.void]]] = {t: dtype_of(PREFIX + f) for t, f in FIELDS.items()}

for _template, _dtype in DTYPES.items():
    assert _dtype.itemsize in (UNIT, RECORD_MAX), f"{_template.name}: {_dtype.itemsize} bytes, must be 64 or 128"
    for _name in _dtype.names or ():
        _sub, _offset = _dtype.fields[_name][:2]  # type: ignore[index]
        assert _name == "flags" or not hasattr(np.record, _name), f"{_template.name}.{_name} hides behind np.record's"
        assert _offset % _sub.base.itemsize == 0, f"{_template.name}.{_name} at {_offset} is not aligned"

HEAD: Final = dtype_of(PREFIX)
QUOTE: Final = DTYPES[Template.QUOTE]
TRADE: Final = DTYPES[Template.TRADE]
ORDER: Final = DTYPES[Template.ORDER_NEW]
REPORT: Final = DTYPES[Template.ACK]
EXEC_CHANGE: Final = DTYPES[Template.BUST]


class Side(IntEnum):
    """Side (54)."""

    BUY = ord("1")
    SELL = ord("2")
    SELL_SHORT = ord("5")


class OrdType(IntEnum):
    """OrdType (40)."""

    MARKET = ord("1")
    LIMIT = ord("2")


class Tif(IntEnum):
    """TimeInForce (59)."""

    DAY = ord("0")
    GTC = ord("1")
    IOC = ord("3")
    FOK = ord("4")


class OrdStatus(IntEnum):
    """OrdStatus (39). UNKNOWN is ours: a child without a terminal report that did not answer."""

    NEW = ord("0")
    PARTIALLY_FILLED = ord("1")
    FILLED = ord("2")
    CANCELED = ord("4")
    PENDING_CANCEL = ord("6")
    REJECTED = ord("8")
    SUSPENDED = ord("9")
    PENDING_NEW = ord("A")
    EXPIRED = ord("C")
    PENDING_REPLACE = ord("E")
    UNKNOWN = ord("U")


class ExecType(IntEnum):
    """ExecType (150)."""

    NEW = ord("0")
    CANCELED = ord("4")
    REPLACED = ord("5")
    PENDING_CANCEL = ord("6")
    REJECTED = ord("8")
    SUSPENDED = ord("9")
    PENDING_NEW = ord("A")
    EXPIRED = ord("C")
    RESTATED = ord("D")
    PENDING_REPLACE = ord("E")
    TRADE = ord("F")
    TRADE_CORRECT = ord("G")
    TRADE_CANCEL = ord("H")
    ORDER_STATUS = ord("I")


class Capacity(IntEnum):
    """OrderCapacity (528)."""

    AGENCY = ord("A")
    PRINCIPAL = ord("P")
    RISKLESS = ord("R")


class ShortSale(IntEnum):
    """Short-sale mark of a sell order."""

    NONE = 0
    SHORT = 1
    SHORT_EXEMPT = 2


class Liquidity(IntEnum):
    """LastLiquidityInd (851)."""

    ADDED = 1
    REMOVED = 2


class Flag(IntEnum):
    """Bits of market-data flags."""

    SNAPSHOT = 1
    CLOSED = 2
    OFF_BOOK = 4
    ODD_LOT = 8
    #: An execution that is not printed: its volume is told by another record, as a cross's is.
    NOT_PRINTED = 16
    #: More records of the same event follow: the book is between two states.
    MORE = 32
    #: AggressorSide (2446) of a trade, where the source says it: who took.
    AGGRESSOR_BUY = 64
    AGGRESSOR_SELL = 128
    #: A trade of an auction or a cross: orders that were not in it had no part of it.
    AUCTION = 256
    #: An execution of an order that no TRADE of its feed tells of: this record alone is its print. Of a TRADE:
    #: it was made from such a record.
    PRINT = 512


class PositionFlag(IntEnum):
    """Bits of POSITION_LOAD.flags."""

    #: `px` is what the whole position cost, negative where money came in.
    COST = 1


class SessionFlag(IntEnum):
    """Bits of SESSION_UP.capability: what a peer can do, or asks for."""

    CANCELS_ON_DISCONNECT = 1
    MASS_CANCEL = 2
    #: With last_seen_epoch 0: send our stream from its first record.
    FROM_START = 4


class ControlAction(IntEnum):
    """What a CONTROL record asks for."""

    PAUSE = 1
    RESUME = 2
    KILL_ON = 3
    KILL_OFF = 4
    STOP = 5
    #: A strategy that its repeated-execution throttle latched may trade again: a named person says so.
    ENABLE = 6
    #: A mass cancel, in the CONTROL_REPORT that answers it.
    CANCEL = 7


class Scope(IntEnum):
    """Whom a control, a mass cancel or a limit change concerns."""

    ALL = 0
    CLIENT = 1
    INSTRUMENT = 2
    VENUE = 3
    ORDER = 4
    SESSION = 5
    STRATEGY = 6
    TRADER = 7
    ACCOUNT = 8


class RiskRule(IntEnum):
    """Rules of the risk gate."""

    NONE = 0
    KILL = 1
    MAX_QTY = 2
    MAX_NOTIONAL = 3
    COLLAR = 4
    NO_REFERENCE = 5
    VENUE_DOWN = 6
    #: The collar over a rolling period: against the lowest or highest reference of the period.
    PERIOD_COLLAR = 7
    SESSION_RATE = 8
    STRATEGY_RATE = 9
    INSTRUMENT_RATE = 10
    MAX_POSITION = 11
    GROSS_NOTIONAL = 12
    NET_NOTIONAL = 13
    DUPLICATE = 14
    REPEATED_EXECUTION = 15
    PERMISSION = 16
    RESTRICTED = 17
    INSTRUMENT_HALTED = 18
    FAT_FINGER = 19
    #: Cancels wait for the session's pace (`messages_per_s`): nothing new leaves there before them.
    CANCELS_FIRST = 20
    #: A price that is worse than another venue's protected quote, or one that would be displayed and lock or cross it.
    TRADE_THROUGH = 21
    LOCKED_CROSSED = 22


class Outcome(IntEnum):
    """How a routing decision ended."""

    ROUTED = 1
    NOTHING_MARKETABLE = 2
    NO_FRESH_VENUE = 3
    ROUNDS_EXHAUSTED = 4
    NOT_ENOUGH_FOR_FOK = 5
    POSTED = 6
    RESTED = 7
    CANCELED = 8
    NO_CAPACITY = 9
    NOT_ENOUGH_FOR_MIN_QTY = 10


class Reason(IntEnum):
    """Why something was refused, rejected, cancelled or alerted. FIX's OrdRejReason values where FIX has one + 100."""

    NONE = 0
    UNKNOWN_TEMPLATE = 1
    WRONG_LENGTH = 2
    WRONG_SCHEMA = 3
    IMPOSSIBLE_PRICE = 4
    IMPOSSIBLE_QTY = 5
    UNKNOWN_INSTRUMENT = 6
    UNKNOWN_VENUE = 7
    UNKNOWN_SESSION = 8
    DUPLICATE_RECORD = 9
    SEQUENCE_GAP = 10
    OLD_EPOCH = 11
    TABLE_FULL = 12
    DUPLICATE_ORDER = 13
    ODD_LOT = 14
    BAD_SIDE = 15
    BAD_ORD_TYPE = 16
    BAD_TIF = 17
    BAD_TICK = 18
    UNKNOWN_ORDER = 19
    ORDER_TERMINAL = 20
    DUPLICATE_EXEC = 21
    OVERFILL = 22
    KILLED = 23
    RISK = 24
    NOT_SENT = 25
    VENUE_DOWN = 26
    TIMEOUT = 27
    UNKNOWN_CHILD = 28
    PEER_SILENT = 29
    PEER_RESTARTED = 30
    NOT_MARKETABLE = 31
    CLIENT_REQUEST = 32
    DAY_END = 33
    ROUNDS_EXHAUSTED = 34
    NO_FRESH_VENUE = 35
    FOK_NOT_FILLABLE = 36
    UNKNOWN_CLIENT = 37
    UNKNOWN_ACCOUNT = 38
    OVERFLOW = 39
    CROSSED_QUOTE = 40
    UNSUPPORTED = 41
    TTL_EXPIRED = 42
    SIMULATED = 43
    NOT_IN_ORDER = 44
    PAUSED = 45
    MASS_CANCEL = 46
    MISSING_ID = 47
    WRONG_DIRECTION = 48
    REQUEST_PENDING = 49
    STEP_FAILED = 50
    BROKEN_INVARIANT = 51
    WORKFLOW_TIMEOUT = 52
    DISK_FULL = 53
    DISK_ERROR = 54
    UNKNOWN_EXEC = 55
    BUSTED = 56
    CORRECTED = 57
    RECOVERED = 58
    UNSOLICITED = 59
    RECORDS_GONE = 60
    #: Outside the venue's trading hours (OrdRejReason 2), or the instrument is closed there.
    MARKET_CLOSED = 61
    #: Halted, or in an auction: nothing is executed at once.
    TRADING_HALTED = 62
    #: A command whose sender may not give it.
    NOT_AUTHORISED = 63
    #: A command that needs a second person, and has one only.
    SECOND_PERSON = 64
    #: A strategy latched by its repeated-execution throttle.
    THROTTLED = 65
    #: A limit that was changed, or an override that ended.
    LIMIT_CHANGED = 66
    OVERRIDE_EXPIRED = 67
    #: Our executions and the other side's records differ.
    RECONCILIATION_BREAK = 68
    CLOCK_EXCURSION = 69
    NEAR_CAPACITY = 70
    STALE_FEED = 71
    #: Less than the order's MinQty could be had.
    MIN_QTY_NOT_FILLABLE = 72


N_REASONS: Final = 96


def text16(text: str | bytes) -> tuple[int, int]:
    """The two words of a foreign id; ValueError where it is longer than 16 bytes or not ASCII."""
    raw = text.encode("ascii") if isinstance(text, str) else text
    if len(raw) > 16:
        raise ValueError(f"id {raw!r} is {len(raw)} bytes long; 16 is the most")
    padded = raw.ljust(16, b"\0")
    return int.from_bytes(padded[:8], "little", signed=True), int.from_bytes(padded[8:], "little", signed=True)


def from_text16(words: object) -> str:
    """The text of a foreign id held as two int64 words."""
    raw = np.asarray(words, dtype="<i8").tobytes()
    return raw.rstrip(b"\0").decode("ascii", errors="replace")


def blank(template: Template, count: int = 1) -> np.ndarray:
    """`count` records of one kind with the SBE header filled in and all else zero (stream, venue and actors -1)."""
    rows = np.zeros(count, dtype=DTYPES[template])
    rows["block_length"] = rows.dtype.itemsize - SBE_HEADER_SIZE
    rows["template_id"] = template
    rows["schema_id"] = SCHEMA_ID
    rows["version"] = SCHEMA_VERSION
    rows["stream_id"] = -1
    rows["venue_id"] = -1
    for name in ACTORS:
        if name in (rows.dtype.names or ()):
            rows[name] = NOBODY
    return rows
