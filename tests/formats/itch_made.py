"""ITCH messages of a made minute in one stock, and what was traded in it, read slowly."""

from __future__ import annotations

import random
import struct
from pathlib import Path

STOCK = b"AAPL    "
OPEN_NS = 34_200 * 10**9
#: Names the day of what is in it.
NAME = "12302019.NASDAQ_ITCH50"


def _message(kind: str, ns: int, body: bytes) -> bytes:
    return struct.pack(">cHH6s", kind.encode(), 1, 0, ns.to_bytes(6, "big")) + body


def minute(seed: int, count: int = 3000) -> list[bytes]:
    """Messages 20 ms apart from the opening on: a cent a tick, bids below 300.00, offers above."""
    dice = random.Random(seed)
    orders: dict[int, tuple[bytes, int, int]] = {}
    made, newest, ns = [_message("R", OPEN_NS - 10**9, STOCK + bytes(20))], 1000, OPEN_NS

    def px_of(side: bytes) -> int:
        return 3_000_000 + (-100 if side == b"B" else 100) * dice.choice((1, 1, 1, 2, 2, 3, 4, 5))

    for n in range(count):
        ns += 20_000_000
        match, kind = n + 1, dice.choice("AAAAFEEEECCCXDUPQ") if len(orders) > 12 else "A"
        number = dice.choice(sorted(orders)) if orders else 0
        if kind in "EC":  # what is executed stands at the touch, and came first
            side = dice.choice((b"B", b"S"))
            mine = [(px if side == b"S" else -px, number) for number, (s, px, _) in orders.items() if s == side]
            number = min(mine)[1] if mine else number
        if kind in "AF":
            newest, side, qty = newest + 1, dice.choice((b"B", b"S")), 100 * dice.randint(1, 5)
            orders[newest] = (side, px_of(side), qty)
            body = struct.pack(">QcI8sI", newest, side, qty, STOCK, orders[newest][1])
            made.append(_message(kind, ns, body + (b"MPID" if kind == "F" else b"")))
            continue
        if kind in "PQ":
            px, qty = 3_000_000 + 50 * dice.randint(-1, 1), 100 * dice.randint(1, 9)
            hidden = struct.pack(">QcI8sIQ", 0, b"B", qty, STOCK, px, match)
            made.append(
                _message(kind, ns, hidden if kind == "P" else struct.pack(">Q8sIQc", qty, STOCK, px, match, b"H"))
            )
            continue
        side, px, left = orders[number]
        some = min(left, 50 * dice.randint(1, 6))
        if kind == "U":
            newest, (_, _, qty) = newest + 1, orders.pop(number)
            orders[newest] = (side, px_of(side), qty)
            made.append(_message("U", ns, struct.pack(">QQII", number, newest, qty, orders[newest][1])))
            continue
        if kind == "E":
            body = struct.pack(">QIQ", number, some, match)
        elif kind == "C":
            own = px + (100 if side == b"B" else -100)
            body = struct.pack(">QIQcI", number, some, match, dice.choice((b"Y", b"N")), dice.choice((px, own)))
        else:
            body = struct.pack(">QI", number, some) if kind == "X" else struct.pack(">Q", number)
        made.append(_message(kind, ns, body))
        del orders[number]
        if kind != "D" and some < left:
            orders[number] = (side, px, left - some)
    return made


def unknown(ns: int, qty: int = 100) -> bytes:
    """An execution of an order that nobody added."""
    return _message("E", ns, struct.pack(">QIQ", 7, qty, 1))


def traded(messages: list[bytes]) -> list[tuple[int, int, int]]:
    """(ns, price, quantity) of all that was traded and printed: E, C, P and Q; unknown orders of E are left out."""
    orders: dict[int, list[int]] = {}
    found = []
    for message in messages:
        kind, ns, body = message[:1].decode(), int.from_bytes(message[5:11], "big"), message[11:]
        if kind in "AF":
            number, _, qty, _, px = struct.unpack(">QcI8sI", body[:25])
            orders[number] = [px, qty]
        elif kind in "EC":
            number, qty = struct.unpack(">QI", body[:12])
            own = struct.unpack(">cI", body[20:25]) if kind == "C" else None
            if number in orders:
                qty = min(qty, orders[number][1])
                orders[number][1] -= qty
                if own is None or own[0] == b"Y":
                    found.append((ns, own[1] if own else orders[number][0], qty))
        elif kind == "X":
            number, qty = struct.unpack(">QI", body)
            orders[number][1] -= qty
        elif kind == "U":
            old, number, qty, px = struct.unpack(">QQII", body)
            orders.pop(old)
            orders[number] = [px, qty]
        elif kind == "P":
            _, _, qty, _, px, _ = struct.unpack(">QcI8sIQ", body)
            found.append((ns, px, qty))
        elif kind == "Q":
            qty, _, px, _, _ = struct.unpack(">Q8sIQc", body)
            found.append((ns, px, qty))
    return found


def write(folder: Path, messages: list[bytes]) -> Path:
    """The file of these messages."""
    path = folder / NAME
    path.write_bytes(b"".join(struct.pack(">H", len(m)) + m for m in messages))
    return path
