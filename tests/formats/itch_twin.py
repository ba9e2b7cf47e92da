"""ITCH 5.0 read slowly with `struct`: what the kernel's records must say, message for message."""

from __future__ import annotations

import struct
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from engine.record.records import DTYPES, Template

HEAD = ">cHH6s"
#: type -> the fields after the head, as the specification lists them.
BODIES = {
    "S": ">c", "R": ">8sccIcc2scccccIc", "H": ">8scc4s", "Y": ">8sc", "L": ">4s8sccc", "V": ">QQQ", "W": ">c",
    "K": ">8sIcI", "J": ">8sIIII", "h": ">8scc", "A": ">QcI8sI", "F": ">QcI8sI4s", "E": ">QIQ", "C": ">QIQcI",
    "X": ">QI", "D": ">Q", "U": ">QQII", "P": ">QcI8sIQ", "Q": ">Q8sIQc", "B": ">Q", "I": ">QQc8sIIIcc", "N": ">8sc",
    "O": ">8scIIIQII",
}  # fmt: skip

#: type -> what the twin does with it; the others give nothing.
ACTS = {
    "A": "add", "F": "add", "E": "execute", "C": "execute_at", "X": "reduce", "D": "delete", "U": "replace",
    "P": "trade", "Q": "cross", "H": "action", "h": "operational", "R": "directory", "S": "event",
}  # fmt: skip


def split(data):
    """The messages of a length-framed file."""
    at, found = 0, []
    while at < len(data):
        (length,) = struct.unpack_from(">H", data, at)
        found.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    return found


def midnight_ns(day):
    """New York's midnight by the time zone database."""
    local = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo("America/New_York"))
    return (local - datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC"))) // timedelta(microseconds=1) * 1000


class Twin:
    """Records as tuples (template, instrument, ns, field, ...), and the symbols and lots by instrument."""

    def __init__(self, midnight, market="Q"):
        self.midnight, self.market = midnight, market
        self.by_locate, self.symbols, self.lots = {}, [], {}
        self.records, self.halted = [], {}

    def _instrument(self, locate, stock):
        stock = stock.decode().rstrip() if stock else None
        if locate not in self.by_locate:
            if stock in self.symbols:
                self.by_locate[locate] = self.symbols.index(stock)
            else:
                self.by_locate[locate] = len(self.symbols)
                self.symbols.append(stock or f"#{locate}")
        elif stock and self.symbols[self.by_locate[locate]].startswith("#"):
            if stock in self.symbols:
                self.by_locate[locate] = self.symbols.index(stock)
            else:
                self.symbols[self.by_locate[locate]] = stock
        return self.by_locate[locate]

    def take(self, message):
        """One message."""
        kind, locate, _, time = struct.unpack_from(HEAD, message)
        kind, ns = kind.decode(), self.midnight + int.from_bytes(time, "big")
        assert len(message) == 11 + struct.calcsize(BODIES[kind])
        values = struct.unpack_from(BODIES[kind], message, 11)
        if kind in ACTS:
            getattr(self, f"_{ACTS[kind]}")(locate, ns, *values)

    def _delta(self, instrument, ns, **fields):
        names = "side action flags px qty venue_order new_order exec_px match_id".split()
        self.records.append((Template.ORDER_DELTA, instrument, ns, *(fields.get(n, 0) for n in names)))

    def _add(self, locate, ns, ref, side, qty, stock, px, *_):
        side = {b"B": ord("1"), b"S": ord("2")}[side]
        self._delta(self._instrument(locate, stock), ns, side=side, px=px, qty=qty, venue_order=ref)

    def _execute(self, locate, ns, ref, qty, match):
        self._delta(self._instrument(locate, None), ns, action=3, venue_order=ref, qty=qty, match_id=match, flags=512)

    def _execute_at(self, locate, ns, ref, qty, match, printable, px):
        flags = 16 if printable == b"N" else 512
        which = {"action": 3, "venue_order": ref, "qty": qty, "match_id": match, "flags": flags, "exec_px": px}
        self._delta(self._instrument(locate, None), ns, **which)

    def _reduce(self, locate, ns, ref, qty):
        self._delta(self._instrument(locate, None), ns, action=4, venue_order=ref, qty=qty)

    def _delete(self, locate, ns, ref):
        self._delta(self._instrument(locate, None), ns, action=2, venue_order=ref)

    def _replace(self, locate, ns, old, new, qty, px):
        self._delta(self._instrument(locate, None), ns, action=5, venue_order=old, new_order=new, qty=qty, px=px)

    def _trade(self, locate, ns, ref, side, qty, stock, px, match, flags=0):
        instrument = self._instrument(locate, stock)
        if qty:
            self.records.append((Template.TRADE, instrument, ns, flags, px, qty))

    def _cross(self, locate, ns, qty, stock, px, match, cross):
        self._trade(locate, ns, 0, b"", qty, stock, px, match, flags=256)

    def _status(self, locate, ns, stock, reason):
        instrument = self._instrument(locate, stock)
        operational, status = self.halted[locate]
        self.records.append((Template.INSTRUMENT_STATUS, instrument, ns, 1 if operational else status, 0, reason))

    def _action(self, locate, ns, stock, state, _, reason):
        operational = self.halted.get(locate, (False, 0))[0]
        self.halted[locate] = operational, {b"T": 0, b"Q": 3}.get(state, 1)
        self._status(locate, ns, stock, int.from_bytes(reason, "little"))

    def _operational(self, locate, ns, stock, market, action):
        self._instrument(locate, stock)
        if market.decode() == self.market:
            self.halted[locate] = action == b"H", self.halted.get(locate, (False, 0))[1]
            self._status(locate, ns, stock, 0)

    def _directory(self, locate, ns, stock, category, status, lot, *_):
        self.lots[self._instrument(locate, stock)] = lot

    def _event(self, locate, ns, event):
        if event == b"C":
            self.records.append((Template.CLEAR, -1, ns, 0, 33))


FIELDS = {
    Template.ORDER_DELTA: "side action flags px qty venue_order new_order exec_px match_id".split(),
    Template.TRADE: "flags px qty".split(),
    Template.INSTRUMENT_STATUS: "status flags reason".split(),
    Template.CLEAR: "flags reason".split(),
    Template.QUOTE: "flags bid_px bid_qty ask_px ask_qty".split(),
    Template.LEVEL: "side action flags px qty".split(),
}


def records_of(data):
    """Records of a byte string as tuples in the twin's form, and each one's (sequence, receive time)."""
    found, rest, at = [], [], 0
    while at < len(data):
        template = Template(int(np.frombuffer(data, "<u2", 1, at + 2)[0]))
        row = np.frombuffer(data, DTYPES[template], 1, at)[0]
        assert (row["version"], row["schema_id"], row["stream_epoch"]) == (2, 7717, 0)
        assert row["venue_id"] == row["stream_id"]
        assert "reserved" not in row.dtype.names or not np.any(row["reserved"])
        fields = tuple(int(row[name]) for name in FIELDS[template])
        found.append((template, int(row["instrument_id"]), int(row["ts_event_ns"]), *fields))
        rest.append((int(row["stream_seq"]), int(row["ts_recv_ns"])))
        at += row.dtype.itemsize
    return found, rest
