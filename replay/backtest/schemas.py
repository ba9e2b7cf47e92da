"""The columns of a run's results: their names, types and what each says.

The texts are the metadata `doc` of the Parquet files' fields, and the tables of docs/backtest.md. Prices, quantities
and money are doubles, in the currency, in shares or coins: the nearest to the exact integers of the journal, which
`journal_seq` leads to. A positive shortfall is a cost, a negative fee a rebate. What cannot be said (no two-sided
market at arrival, no fill) is null.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

_TIME = pa.timestamp("ns", tz="UTC")
_NAME = pa.dictionary(pa.int32(), pa.string())
_F, _I, _S = pa.float64(), pa.int64(), pa.string()


def _schema(rows: list[tuple[str, Any, str]]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, metadata={"doc": doc}) for name, kind, doc in rows])


#: Seconds after a fill at which `markouts` looks at the market.
HORIZONS_S: Final = (0.0, 1.0, 10.0, 60.0)
#: Columns of orders that need the market data of the run: in its file and `Result.orders`, not in `Tables`.
OF_MARKET: Final = ("vwap", "against_vwap_bps")
_MARKS: Final = [
    row
    for h in HORIZONS_S
    for row in (
        (f"mid_{h:g}s", _F, f"mid-point of the national best {h:g} s after the fill, over fresh quotes"),
        (f"markout_{h:g}s", _F, "what a share or coin had gained by then: positive where the market went its way"),
    )
]

#: Table -> columns.
SCHEMAS: Final[dict[str, pa.Schema]] = {
    "fills": _schema(
        [
            ("journal_seq", _I, "frame of the FILL in the journal"),
            ("time", _TIME, "when the engine had it"),
            ("venue_time", _TIME, "when the venue says that it happened"),
            ("cl_ord_id", _S, "the parent's ClOrdID"),
            ("parent_id", _I, "the parent's order id"),
            ("order_id", _I, "the child's order id"),
            ("exec_id", _S, "the venue's ExecID"),
            ("symbol", _NAME, "instrument"),
            ("mic", _NAME, "venue"),
            ("side", _NAME, "BUY, SELL or SELL_SHORT"),
            ("qty", _F, "executed, as it stands after busts and corrections"),
            ("px", _F, "price"),
            ("liquidity", _NAME, "ADDED or REMOVED"),
            ("notional", _F, "price x quantity x multiplier"),
            ("fee", _F, "paid to the venue"),
            ("arrival_mid", _F, "mid-point when the parent was first decided on"),
            ("shortfall", _F, "what it cost against arrival_mid, without the fee"),
        ]
    ),
    "orders": _schema(
        [
            ("journal_seq", _I, "frame of the parent's ORDER_NEW in the journal"),
            ("time", _TIME, "when the engine had it"),
            ("cl_ord_id", _S, "ClOrdID"),
            ("order_id", _I, "the engine's id; 0 where it was rejected"),
            ("account", _I, "account"),
            ("symbol", _NAME, "instrument"),
            ("side", _NAME, "BUY, SELL or SELL_SHORT"),
            ("ord_type", _NAME, "MARKET or LIMIT"),
            ("tif", _NAME, "DAY, GTC, IOC or FOK"),
            ("qty", _F, "ordered, as last replaced"),
            ("limit_px", _F, "limit as it came; null for a market order"),
            ("status", _NAME, "OrdStatus at the end"),
            ("filled_qty", _F, "executed and standing"),
            ("cancelled_qty", _F, "neither executed nor busted, of an order that has ended"),
            ("busted_qty", _F, "executed and taken back"),
            ("children", _I, "orders sent to venues for it"),
            ("fills", _I, "executions"),
            ("first_fill", _TIME, "when the engine had the first"),
            ("last_fill", _TIME, "when the engine had the last"),
            ("avg_px", _F, "average price of what was executed"),
            ("notional", _F, "sum over its fills"),
            ("fee", _F, "sum over its fills"),
            ("arrival_bid", _F, "national best bid when it was first decided on, over fresh quotes"),
            ("arrival_ask", _F, "national best offer then"),
            ("arrival_mid", _F, "mid-point of the two; null where one is missing, or they are crossed"),
            ("fresh_venues", _I, "venues with a fresh quote on the side needed; null where nothing was decided"),
            ("shortfall", _F, "what its fills cost against arrival_mid, without fees"),
            ("shortfall_bps", _F, "the same in basis points of what they would have come to at arrival_mid"),
            ("shortfall_with_fees_bps", _F, "the same with fees"),
            (
                "against_nbbo_bps",
                _F,
                "avg_px against the national best at arrival, the side that could be taken, in basis points of it",
            ),
            (
                "vwap",
                _F,
                "average price of trades on books, arrival to last fill; null where not each execution is a trade",
            ),
            ("against_vwap_bps", _F, "avg_px against vwap, in basis points of it"),
        ]
    ),
    "children": _schema(
        [
            ("journal_seq", _I, "frame of the child's ORDER_NEW in the journal"),
            ("time", _TIME, "when it left"),
            ("order_id", _I, "the child's order id"),
            ("parent_id", _I, "the parent's order id"),
            ("cl_ord_id", _S, "the parent's ClOrdID"),
            ("symbol", _NAME, "instrument"),
            ("mic", _NAME, "venue"),
            ("side", _NAME, "BUY, SELL or SELL_SHORT"),
            ("tif", _NAME, "DAY, GTC, IOC or FOK"),
            ("qty", _F, "ordered"),
            ("px", _F, "limit"),
            ("status", _NAME, "OrdStatus of the last report on it; PENDING_NEW where there was none"),
            ("filled_qty", _F, "executed and standing"),
            ("fills", _I, "executions"),
            ("avg_px", _F, "average price of what was executed"),
            ("notional", _F, "sum over its fills"),
            ("fee", _F, "sum over its fills"),
            ("first_report", _TIME, "when the engine had the first report on it"),
        ]
    ),
    "positions": _schema(
        [
            ("account", _I, "account"),
            ("symbol", _NAME, "instrument"),
            ("opening_qty", _F, "at the start of the run"),
            ("bought_qty", _F, "bought"),
            ("sold_qty", _F, "sold"),
            ("qty", _F, "at the end"),
            ("bought", _F, "money paid for what was bought"),
            ("sold", _F, "money received for what was sold"),
            ("fee", _F, "fees paid"),
        ]
    ),
    "venues": _schema(
        [
            ("mic", _NAME, "venue"),
            ("children", _I, "orders sent to it"),
            ("routed_qty", _F, "their quantity"),
            ("filled_qty", _F, "of it executed"),
            ("fill_rate", _F, "filled_qty / routed_qty"),
            ("fills", _I, "executions"),
            ("added_qty", _F, "executed while resting"),
            ("removed_qty", _F, "executed by taking"),
            ("rejects", _I, "orders that it refused"),
            ("timeouts", _I, "orders that it did not answer in time"),
            ("fee", _F, "paid to it"),
        ]
    ),
    "markouts": _schema(
        [
            ("journal_seq", _I, "frame of the FILL in the journal"),
            ("time", _TIME, "when the engine had it"),
            ("cl_ord_id", _S, "the parent's ClOrdID"),
            ("order_id", _I, "the child's order id"),
            ("symbol", _NAME, "instrument"),
            ("mic", _NAME, "venue"),
            ("side", _NAME, "BUY, SELL or SELL_SHORT"),
            ("qty", _F, "executed, as it stands after busts and corrections"),
            ("px", _F, "price"),
            ("liquidity", _NAME, "ADDED or REMOVED"),
            *_MARKS,
        ]
    ),
}
