"""The records that a client sends about its orders. Each function gives an array of one record, not yet numbered.

ValueError, with the field and its value, where something does not fit its field.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.record.records import Capacity, ControlAction, Scope, ShortSale, Side, Template, blank, text16
from gateways.orders.status import Order

Record = np.ndarray[Any, np.dtype[Any]]


def _named(template: Template, cl_ord_id: str, **fields: int) -> Record:
    row = blank(template)
    for name, value in fields.items():
        try:
            row[name] = value
        except (OverflowError, TypeError, ValueError) as error:
            raise ValueError(f"{name} = {value!r}: an integer that its field can hold is needed") from error
    try:
        row["cl_ord_id"] = text16(cl_ord_id)
    except ValueError as error:
        raise ValueError(f"cl_ord_id = {cl_ord_id!r}: 1 to 16 ASCII characters are allowed") from error
    if not cl_ord_id:
        raise ValueError("cl_ord_id = '': 1 to 16 ASCII characters are allowed")
    return row


def new_order(order: Order, client_id: int) -> Record:
    """ORDER_NEW of an order that has not been sent yet."""
    short = ShortSale.SHORT if order.side == Side.SELL_SHORT else ShortSale.NONE
    return _about(Template.ORDER_NEW, order, client_id, capacity=Capacity.AGENCY, short_sale=short)


def cancel(order: Order, client_id: int) -> Record:
    """ORDER_CANCEL."""
    return _about(Template.ORDER_CANCEL, order, client_id)


def replace(order: Order, client_id: int, qty: int | None, px: int | None) -> Record:
    """ORDER_REPLACE to another total quantity or limit price; None leaves it as it is."""
    changes = {name: value for name, value in (("qty", qty), ("px", px)) if value is not None}
    return _about(Template.ORDER_REPLACE, order, client_id, **changes)


def status(order: Order, client_id: int) -> Record:
    """STATUS_REQUEST."""
    return _about(Template.STATUS_REQUEST, order, client_id)


def control(action: ControlAction, order: Order, client_id: int) -> Record:
    """CONTROL of one order: PAUSE or RESUME."""
    where = {"scope": Scope.ORDER, "client_id": client_id, "instrument_id": -1}
    return _named(Template.CONTROL, order.cl_ord_id, action=action, **where)


def mass_cancel(instrument_id: int | None) -> Record:
    """MASS_CANCEL of all orders of the session, or of those in one instrument."""
    row = blank(Template.MASS_CANCEL)
    row["scope"] = Scope.ALL if instrument_id is None else Scope.INSTRUMENT
    row["client_id"] = -1
    row["instrument_id"] = -1 if instrument_id is None else instrument_id
    return row


def _about(template: Template, order: Order, client_id: int, **changes: int) -> Record:
    """An order's terms, with `changes`."""
    names = ("instrument_id", "side", "qty", "px", "ord_type", "tif", "account_id", "min_qty", "display_qty")
    terms = {name: getattr(order, name) for name in names}
    return _named(template, order.cl_ord_id, **{**terms, "client_id": client_id, **changes})
