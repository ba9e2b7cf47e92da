"""Slow twin of gateways.formats.npz_rows: the rows of records, one by one."""

from __future__ import annotations

from engine.record.records import DTYPES, UNIT, Flag, Side, Template
from gateways.formats.batch import taken
from gateways.formats.npz_kernels import (
    ADD,
    BBO,
    BUY,
    CANCEL,
    CLEAR,
    DEPTH,
    FILL,
    MODIFY,
    SELL,
    SNAPSHOT,
    TRADE,
)
from gateways.formats.npz_write import NpzTold

_SIDES = {int(Side.BUY): BUY, int(Side.SELL): SELL}


class Twin:
    """Makes rows of the records of an instrument at a venue, and keeps what is left of each order that has a number."""

    def __init__(self, px_decimals, qty_decimals, instrument, venue, latency_ns=0, skew_ns=0):
        self._instrument, self._venue = instrument, venue
        self._latency_ns, self._skew_ns = latency_ns, skew_ns
        self._px, self._qty = 10.0**px_decimals, 10.0**qty_decimals
        self._left = {}
        self.told = NpzTold()

    def rows(self, batch):
        """The rows of a batch, as tuples of EVENT's fields."""
        return list(self._of(batch))

    def _of(self, batch):
        memory, at = taken(batch), 0
        while at < len(memory):
            template = Template(int(memory[at + 2]) | int(memory[at + 3]) << 8)
            dtype = DTYPES[template]
            row = memory[at : at + dtype.itemsize].view(dtype)[0]
            at += max(dtype.itemsize, UNIT)
            if int(row["venue_id"]) != self._venue or int(row["instrument_id"]) not in (self._instrument, -1):
                self.told.others += 1
                continue
            self.told.records += 1
            times = self._times(row)
            if times is not None:
                for ev, px, qty, number in self._events(template, row):
                    yield (ev, *times, px / self._px, qty / self._qty, number % 2**64, 0, 0.0)

    def _times(self, row):
        """exch_ts and local_ts; None where a record has no time at all."""
        told, event_ns, recv_ns = self.told, int(row["ts_event_ns"]), int(row["ts_recv_ns"])
        if recv_ns:
            recv_ns += self._skew_ns
        if event_ns and recv_ns:
            took = recv_ns - event_ns
            told.least_ns = min(told.least_ns, took) if told.timed else took
            told.timed += 1
            told.negative += took < 0
            return event_ns, recv_ns
        if not event_ns and not recv_ns:
            told.no_time += 1
            return None
        if recv_ns:
            told.no_event_time += 1
            return recv_ns, recv_ns
        told.no_receive_time += 1
        return event_ns, event_ns + self._latency_ns

    def _events(self, template, row):
        """(ev, price, quantity, order number) of the rows that a record becomes."""
        if template == Template.QUOTE:
            for bit, side in ((BUY, "bid"), (SELL, "ask")):
                yield BBO | bit, int(row[f"{side}_px"]), int(row[f"{side}_qty"]), 0
        elif template == Template.TRADE:
            flags = int(row["flags"])
            took = BUY if flags & Flag.AGGRESSOR_BUY else SELL if flags & Flag.AGGRESSOR_SELL else 0
            yield TRADE | took, int(row["px"]), int(row["qty"]), 0
        elif template == Template.LEVEL:
            kind = SNAPSHOT if int(row["flags"]) & Flag.SNAPSHOT else DEPTH
            qty = 0 if int(row["action"]) == 2 else int(row["qty"])
            yield kind | _SIDES.get(int(row["side"]), 0), int(row["px"]), qty, 0
        elif template == Template.CLEAR:
            self._left.clear()
            yield CLEAR, 0, 0, 0
        elif template == Template.ORDER_DELTA:
            yield from self._orders(row)
        else:
            self.told.other_kind += 1

    def _orders(self, row):
        number, action, px, qty = (int(row[n]) for n in ("venue_order", "action", "px", "qty"))
        side, old_px, left = self._left.get(number, (int(row["side"]), px, 0))
        bit = _SIDES.get(side, 0)
        if action == 0:
            yield self._keep(ADD, number, (int(row["side"]), px, qty))
        elif action == 1:
            yield self._keep(MODIFY, number, (side, px or old_px, qty))
        elif action == 5:
            self._left.pop(number, None)
            yield CANCEL | bit, old_px, left, number
            yield self._keep(ADD, int(row["new_order"]), (side, px, qty))
        else:
            if action == 3:
                yield FILL | bit, int(row["exec_px"]) or old_px, qty, number
            rest = 0 if action == 2 else max(left - qty, 0)
            if rest:
                yield self._keep(MODIFY, number, (side, old_px, rest))
            else:
                self._left.pop(number, None)
                yield CANCEL | bit, old_px, left or qty, number

    def _keep(self, kind, number, order):
        if number:
            self._left[number] = order
        return kind | _SIDES.get(order[0], 0), order[1], order[2], number
