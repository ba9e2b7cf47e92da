"""Record exports: order records in the shape of RTS 24 and RTS 6, and events in the shape of CAT.

Columns are those of `replay.quality.columns`. Prices and quantities are the journal's integers as exact decimals, times
its nanoseconds; nothing is rounded. Codes come from the reference alone: what it has not is null, and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from engine.record.records import (
    Capacity,
    ExecType,
    Liquidity,
    OrdStatus,
    OrdType,
    Reason,
    ShortSale,
    Side,
    Template,
    Tif,
)
from replay.backtest.tables import texts
from replay.decode import reason_name
from replay.quality.columns import CAT_EVENTS, EXACT, ORDER_RECORDS, schema
from replay.quality.events import Events
from replay.quality.read import clients_of, strategies_of
from replay.quality.reference import Reference
from replay.report.gather import Array
from replay.times import utc_ns

T = Template
_ENDED: Final = (OrdStatus.FILLED, OrdStatus.CANCELED, OrdStatus.EXPIRED, OrdStatus.REJECTED)
_ASKED: Final = (Reason.CLIENT_REQUEST, Reason.MASS_CANCEL)
_POST_ONLY: Final = 2
_VALIDITY: Final = {Tif.DAY: "DAVY", Tif.GTC: "GTCV", Tif.IOC: "IOCV", Tif.FOK: "FOKV"}
_CAPACITY: Final = {Capacity.AGENCY: "AOTC", Capacity.PRINCIPAL: "DEAL", Capacity.RISKLESS: "MTCH"}
_CAT_CAPACITY: Final = {Capacity.AGENCY: "Agency", Capacity.PRINCIPAL: "Principal", Capacity.RISKLESS: "Riskless"}


class Tables:
    """A run's events, ready to be written; one row of `events` is a row of `order_records`."""

    def __init__(self, found: Events, reference: Reference) -> None:
        self.found, self.reference = found, reference
        self.config, self.e = found.config, found.events
        self.own = found.orders[self.e["order"]]
        # Whose it is, by the client's order: a venue's order has its parent's.
        whole = np.arange(len(found.orders))
        whole[found.first_child :] = found.parent
        self.client_order = whole[self.e["order"]]
        self.top = found.orders[self.client_order]
        self.utc = found.utc_ns(self.e["time_ns"])

    def order_records(self) -> pa.Table:
        """The shape of RTS 24, and of RTS 6, Annex II."""
        e, own, venue = self.e, self.own, self.e["venue_level"]
        change, fill = np.isin(e["template"], (T.FILL, T.CORRECT)), e["template"] == T.FILL
        names, client = clients_of(self.top, self.config)
        lei = self._codes("client", names, client, "lei", "person")
        strategies, strategy = strategies_of(self.top, self.config)
        algorithm = self._codes("strategy", strategies, strategy, "execution_code")
        child = np.where(venue, own["parent_id"], 0)
        columns = self._event_columns() | {
            "level": _chosen(venue, "venue", "client"),
            "record": _named(e["template"], Template),
            "direction": _chosen(e["input"], "in", "out"),
            "event": self._event_codes(),
            "submitting_lei": self._firm("lei"),
            "client_code": lei,
            "investment_decision": self._codes("strategy", strategies, strategy, "decision_code"),
            "execution_within_firm": _first(self._traders(), algorithm),
            "capacity": _mapped(self.top["capacity"], _CAPACITY),
            "validity": _mapped(own["tif"], _VALIDITY),
            "segment_mic": self._segments(),
            "order_book": _names(own["instrument_id"], [row.symbol for row in self.config.instrument]),
            "isin": self._isins(),
            "order_id": _ids(own["order_id"]),
            "parent_id": _ids(child),
            "cl_ord_id": texts(self.top["cl_ord_id"]),
            "order_type": _mapped(own["ord_type"], {OrdType.LIMIT: "LMTO"}),
            "order_type_class": _named(own["ord_type"], OrdType),
            "limit_px": self._px(e["px"], own["ord_type"] == OrdType.LIMIT),
            "transaction_px": self._px(e["last_px"], change),
            "currency": _names(own["instrument_id"], [row.currency for row in self.config.instrument]),
            "side": _mapped(own["side"], {Side.BUY: "BUYI", Side.SELL: "SELL", Side.SELL_SHORT: "SELL"}),
            "status": self._statuses(),
            "initial_qty": self._qty(e["qty"]),
            "remaining_qty": self._qty(e["leaves_qty"]),
            "displayed_qty": self._qty(own["display_qty"], own["display_qty"] > 0),
            "traded_qty": self._qty(e["last_qty"], change),
            "minimum_qty": self._qty(own["min_qty"], own["min_qty"] > 0),
            "passive_only": pa.array((own["flags"] & _POST_ONLY) != 0),
            "passive_aggressive": _mapped(
                np.where(fill, e["liquidity"], 0), {Liquidity.ADDED: "PASV", Liquidity.REMOVED: "AGRE"}
            ),
            "routing_strategy": _names(strategy, strategies),
            "transaction_id": exec_ids(e["exec_id"], fill),
            "account": pa.array(self.top["account_id"].astype(np.int64)),
            "trader_id": pa.array(self.top["trader_id"].astype(np.int64)),
            "desk_id": pa.array(self.top["desk_id"].astype(np.int64)),
            "reason": _reasons(e["reason"]),
            "venue_time": _times(e["venue_time_ns"], e["venue_time_ns"] > 0),
        }
        return _table(columns, schema(ORDER_RECORDS))

    def cat_events(self) -> pa.Table:
        """The shape of CAT's industry member events; what CAT does not ask for is left out."""
        kinds = self._cat_types()
        mine = kinds != ""
        e, own, top, fill = self.e, self.own, self.top, kinds == "MEOF"
        names, client = clients_of(top, self.config)
        route, ended = e["venue_level"], kinds == "MEOC"
        refused = np.unique(e["order"][e["venue_level"] & (e["template"] == T.REJECT)])
        venues = [row.mic for row in self.config.venue]
        at_venue = np.where(route & mine, own["venue_id"], -1)
        columns = self._event_columns() | {
            "type": pa.array(kinds.tolist(), type=pa.string()),
            "firm_roe_id": pa.array([f"{self.found.run_id[:16]}-{seq}" for seq in e["seq"].tolist()]),
            "cat_reporter": self._firm("cat_reporter"),
            "order_key_date": pa.array([self.found.trading_day.replace("-", "")] * len(e)),
            "order_id": _ids(top["order_id"]),
            "symbol": _names(own["instrument_id"], [row.symbol for row in self.config.instrument]),
            "event_timestamp": pa.array([cat_time(ns) for ns in self.utc.tolist()], type=pa.string()),
            "manual": pa.array(np.zeros(len(e), dtype=bool)),
            "time_in_force": _named(own["tif"], Tif),
            "side": self._cat_sides(),
            "price": self._px(e["px"], own["ord_type"] == OrdType.LIMIT),
            "quantity": self._qty(np.where(fill, e["last_qty"], e["qty"])),
            "min_qty": self._qty(own["min_qty"], own["min_qty"] > 0),
            "leaves_qty": self._qty(e["leaves_qty"]),
            "cancel_qty": self._qty(np.maximum(e["qty"] - e["cum_qty"], 0), ended),
            "order_type": _mapped(own["ord_type"], {OrdType.LIMIT: "LMT", OrdType.MARKET: "MKT"}),
            "capacity": _mapped(top["capacity"], _CAT_CAPACITY),
            "firm_designated_id": self._codes("client", names, client, "cat_account"),
            "destination": self._codes("venue", venues, at_venue, "cat_id"),
            "routed_order_id": _ids(np.where(route, own["order_id"], 0)),
            "route_rejected": _null_where(kinds != "MEOR", pa.array(np.isin(e["order"], refused))),
            "fulfillment_id": exec_ids(e["exec_id"], fill),
            "fill_price": self._px(e["last_px"], fill),
        }
        return _table(columns, schema(CAT_EVENTS)).filter(pa.array(mine))

    def _event_columns(self) -> dict[str, pa.Array]:
        return {
            "run_id": pa.array([self.found.run_id] * len(self.e), type=pa.string()),
            "journal_seq": pa.array(self.e["seq"]),
            "event_time": _times(self.utc),
            "engine_time_ns": pa.array(self.e["time_ns"]),
        }

    def _event_codes(self) -> pa.Array:
        e = self.e
        kind, said = e["template"], e["exec_type"]
        asked = np.where(e["venue_level"], e["request"] == T.ORDER_CANCEL, np.isin(e["reason"], _ASKED))
        ack, new = kind == T.ACK, kind == T.ORDER_NEW
        codes = np.select(
            [
                (new & e["refused"]) | (kind == T.REJECT) | (ack & (said == ExecType.REJECTED)),
                new,
                (kind == T.FILL) & (e["ord_status"] == OrdStatus.FILLED),
                kind == T.FILL,
                ack & (said == ExecType.REPLACED),
                ack & (said == ExecType.CANCELED) & asked,
                ack & (said == ExecType.CANCELED),
                ack & (said == ExecType.EXPIRED),
            ],
            ["REMO", "NEWO", "FILL", "PARF", "REME", "CAME", "CAMO", "EXPI"],
            "",
        )
        return _null_where(codes == "", pa.array(codes.tolist(), type=pa.string()))

    def _statuses(self) -> pa.Array:
        e = self.e
        sent = e["venue_level"] & (e["template"] == T.ORDER_NEW)
        ended = e["refused"] | np.isin(e["ord_status"], _ENDED)
        return pa.array(np.select([sent, ended], ["ROUT", "INAC"], "ACTI").tolist(), type=pa.string())

    def _cat_types(self) -> Array:
        e = self.e
        kind, said, venue = e["template"], e["exec_type"], e["venue_level"]
        ack = ~venue & (kind == T.ACK)
        kinds: Array = np.select(
            [
                ~venue & (kind == T.ORDER_NEW) & ~e["refused"],
                ack & (said == ExecType.REPLACED),
                ack & np.isin(said, (ExecType.CANCELED, ExecType.EXPIRED)),
                ~venue & (kind == T.FILL),
                venue & (kind == T.ORDER_NEW),
                venue & (kind == T.ORDER_REPLACE),
                venue & (kind == T.ORDER_CANCEL),
            ],
            ["MENO", "MEOM", "MEOC", "MEOF", "MEOR", "MEOMR", "MEOCR"],
            "",
        )
        return kinds

    def _cat_sides(self) -> pa.Array:
        own = self.own
        short = (own["side"] == Side.SELL_SHORT) | (own["short_sale"] == ShortSale.SHORT)
        sides = np.select(
            [own["side"] == Side.BUY, own["short_sale"] == ShortSale.SHORT_EXEMPT, short], ["B", "SX", "SS"], "SL"
        )
        return pa.array(sides.tolist(), type=pa.string())

    def _codes(self, table: str, names: Sequence[str], index: Array, *fields: str) -> pa.Array:
        """The first code that each entry has, by row; an index below 0 has none, and misses none."""
        counts = np.bincount(index[index >= 0], minlength=len(names)).tolist()
        told = []
        for name, count in zip(names, counts, strict=True):
            codes = [self.reference.get(table, name, field, 0) for field in fields]
            found = next((code for code in codes if code), "")
            told.append(found or self.reference.get(table, name, fields[0], count))
        return _names(index, told)

    def _firm(self, field: str) -> pa.Array:
        return _names(np.zeros(len(self.e), dtype=np.int64), [self.reference.get("firm", "", field, len(self.e))])

    def _traders(self) -> pa.Array:
        """Codes of traders; an order that names none (trader 0) misses none."""
        ids, index = np.unique(self.top["trader_id"], return_inverse=True)
        return self._codes("trader", list(map(str, ids.tolist())), np.where(ids[index] > 0, index, -1), "person")

    def _segments(self) -> pa.Array:
        """MICs: the reference's segment, else the configuration's, which is no gap."""
        mics = [row.mic for row in self.config.venue]
        told = [self.reference.get("venue", mic, "segment_mic", 0) or mic for mic in mics]
        return _names(np.where(self.e["venue_level"], self.own["venue_id"], -1), told)

    def _isins(self) -> pa.Array:
        rows = self.config.instrument
        counts = np.bincount(self.own["instrument_id"], minlength=len(rows)).tolist()
        told = [
            row.isin or self.reference.get("instrument", row.symbol, "isin", count)
            for row, count in zip(rows, counts, strict=True)
        ]
        return _names(self.own["instrument_id"], told)

    def _px(self, values: Array, where: Array | None = None) -> pa.Array:
        return self._exact(values, [row.px_decimals for row in self.config.instrument], where)

    def _qty(self, values: Array, where: Array | None = None) -> pa.Array:
        return self._exact(values, [row.qty_decimals for row in self.config.instrument], where)

    def _exact(self, values: Array, decimals: list[int], where: Array | None) -> pa.Array:
        factors = np.array([10 ** (9 - d) for d in decimals], dtype=np.int64)[self.own["instrument_id"]]
        return exact(values, factors, np.ones(len(values), dtype=bool) if where is None else where)


def exact(values: Array, factors: Array, where: Array) -> pa.Array:
    """values * factors in 1e-9 as decimals, null where not `where`; factors are from 1 to 1e9, so 96 bits hold them."""
    low = (values & 0xFFFFFFFF) * factors
    high = (values >> 32) * factors
    middle = high + (low >> 32)
    words = np.empty((len(values), 2), dtype="<i8")
    words[:, 0] = (middle << 32) | (low & 0xFFFFFFFF)
    words[:, 1] = middle >> 32
    valid = np.packbits(where.astype(np.uint8), bitorder="little")
    buffers = [pa.py_buffer(valid.tobytes()), pa.py_buffer(words.tobytes())]
    return pa.Array.from_buffers(EXACT, len(values), buffers)


def exec_ids(words: Array, where: Array) -> pa.Array:
    """ExecIDs as text: a venue's own letters; two numbers, as the engine gives its own, as N-N. Null if not `where`."""
    told: list[str | None] = []
    for row, good in zip(words, where.tolist(), strict=True):
        raw = row.tobytes().rstrip(b"\0") if good else b""
        letters = raw.isascii() and raw.decode().isprintable()
        told.append((raw.decode() if letters else "-".join(map(str, row.tolist()))) if raw else None)
    return pa.array(told, type=pa.string())


def cat_time(ns: int) -> str:
    """YYYYMMDD HHMMSS.NNNNNNNNN of ns since 1970 UTC: every digit as it is."""
    text = utc_ns(ns)
    return f"{text[:10].replace('-', '')} {text[11:19].replace(':', '')}.{text[20:29]}" if text else ""


def _table(columns: dict[str, pa.Array], wanted: pa.Schema) -> pa.Table:
    return pa.Table.from_arrays([columns[field.name].cast(field.type) for field in wanted], schema=wanted)


def _names(index: Array, names: Sequence[str]) -> pa.Array:
    """Names by index; null for an empty one, and for an index below 0."""
    given = pa.array([name or None for name in names], type=pa.string())
    return given.take(pa.array(index.astype(np.int64), mask=index < 0))


def _mapped(values: Array, names: dict[Any, str]) -> pa.Array:
    """Names of an enumeration's values; null for what has none."""
    told = [None] * 256
    for value, name in names.items():
        told[int(value)] = name  # type: ignore[call-overload]
    return pa.array(told, type=pa.string()).take(pa.array(values.astype(np.int64) & 0xFF))


def _named(values: Array, kind: Any) -> pa.Array:
    return _mapped(values, {member: member.name for member in kind})


def _reasons(values: Array) -> pa.Array:
    ids, index = np.unique(values, return_inverse=True)
    return _names(index, [reason_name(value) if value else "" for value in ids.tolist()])


def _chosen(where: Array, yes: str, no: str) -> pa.Array:
    return _names(np.where(where, 0, 1), [yes, no])


def _ids(values: Array) -> pa.Array:
    """Order ids as text; null for 0."""
    return pa.array([str(value) if value else None for value in values.tolist()], type=pa.string())


def _times(values_ns: Array, where: Array | None = None) -> pa.Array:
    return pa.array(values_ns, mask=None if where is None else ~where).cast(pa.timestamp("ns", tz="UTC"))


def _null_where(gone: Array, values: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.if_else(pa.array(gone), pa.scalar(None, type=values.type), values)


def _first(one: pa.Array, other: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.coalesce(one, other)
