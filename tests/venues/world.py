"""What the tests of the simulated venues share: a small configuration, and records made by keyword."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.record.records import OrdType, Side, Template, Tif, blank
from engine.run.config import (
    ALL_OFF,
    Config,
    Engine,
    Faults,
    Instrument,
    Orders,
    Risk,
    Session,
    Simulation,
    TickTable,
    Venue,
)
from gateways.inbox import Array, Inbox, view_inbox

#: Two venues of one session (cent ticks, lots of 10 at the second) and one of another; two instruments.
VENUES = (
    Venue(mic="XNYS", code="N", session="alpha", latency_us=1),
    Venue(mic="BATS", code="Z", session="alpha", latency_us=3, lot="10"),
    Venue(mic="IEXG", code="V", session="beta", latency_us=0, odd_lots=True, tick_table="dimes"),
)
TABLES = [TickTable(name="dimes", rows=[("0", "0.01"), ("1", "0.10")])]


def config(simulation: Simulation | None = None, venues: tuple[Venue, ...] = VENUES, **more: Any) -> Config:
    """A configuration with the venues above, prices in cents."""
    return Config(
        engine=more.pop("engine", Engine(run_dir="unused")),
        orders=more.pop("orders", Orders(endpoint="ipc:///unused")),
        risk=Risk(**ALL_OFF, max_qty="1000000", max_notional="1000000", collar_bps=1000, reference_age_ms=1000),
        feed=[],
        session=[
            Session(name="client", role="client"),
            Session(name="alpha", role="venue"),
            Session(name="beta", role="venue"),
        ],
        venue=list(venues),
        instrument=[Instrument(symbol="XXX", px_decimals=2), Instrument(symbol="YYY", px_decimals=2)],
        tick_table=TABLES,
        simulation=simulation or Simulation(orders=64),
        **more,
    )


def faulty(ppm: int, seed: int = 1, orders: int = 64) -> Simulation:
    """A simulation in which every fault has the same probability."""
    faults = Faults(**dict.fromkeys(Faults.__struct_fields__, ppm))
    return Simulation(orders=orders, seed=seed, **{name: getattr(faults, name) for name in faults.__struct_fields__})


def record(template: Template, **fields: Any) -> Array:
    """One record (array of one) with fields set by name; times and ids as given, venue 0."""
    rows = blank(template)
    rows["venue_id"] = 0
    for name, value in fields.items():
        rows[name] = value
    return rows


def quote(bid_px: int, bid_qty: int, ask_px: int, ask_qty: int, ts_event_ns: int = 0, **more: Any) -> Array:
    """A QUOTE."""
    sides = {"bid_px": bid_px, "bid_qty": bid_qty, "ask_px": ask_px, "ask_qty": ask_qty}
    return record(Template.QUOTE, **sides, ts_event_ns=ts_event_ns, **more)


def order(order_id: int, px: int, qty: int, ts_event_ns: int = 0, **more: Any) -> Array:
    """An ORDER_NEW: by default an IOC limit order to buy."""
    fields = {"side": Side.BUY, "ord_type": OrdType.LIMIT, "tif": Tif.IOC, **more}
    return record(Template.ORDER_NEW, order_id=order_id, px=px, qty=qty, ts_event_ns=ts_event_ns, **fields)


def packed(rows: list[Array]) -> tuple[Inbox, int]:
    """Records back to back, as an Inbox and the number of 64-byte units."""
    data = b"".join(row.tobytes() for row in rows)
    buffer = np.zeros(max(len(data), 64) + 64, dtype=np.uint8)
    buffer[: len(data)] = np.frombuffer(data, np.uint8)
    return view_inbox(buffer), len(data) // 64
