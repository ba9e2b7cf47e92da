"""Parent orders and their times, and a generator of them for a recorded day. (`parents_file` reads them from CSV.)

`generate_parents` spreads orders evenly over the time in which the market is open: at least two venues show both sides,
not older than `routing.stale_ms`, and the national best is not crossed. Limits lie through, at, inside and behind that
best; sizes are multiples of what is usually shown; IOC, FOK and DAY, buys and sells are mixed. Nothing is left to
floats or to a clock: the same day, configuration, count and seed give the same parents everywhere.

Worst case: a day on which the market is rarely open takes up to a few hundred tries a parent (about 20 ms); one on
which it never is, is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from engine.errors import UsageError
from engine.record.records import Flag, OrdType, Side, Template, Tif
from engine.record.units import TICK_ROW, tick_down, tick_of, tick_up, to_units, trading_day
from engine.run.config import Config
from gateways.feeds.draws import below, draw
from gateways.feeds.recording import Recording
from gateways.inbox import Array

_NS_PER_DAY: Final = 86_400_000_000_000
#: Venues that must show a fresh quote on both sides (or all, where there are fewer).
_VENUES: Final = 2
#: Instants that are tried in a parent's own part of the day, and then in the whole of it.
_TRIES: Final = (16, 400)
#: Sizes, in halves of the usual one.
_SIZES: Final = (1, 2, 2, 2, 3, 4, 4, 6, 8, 12, 20, 40)
#: Lane of the dice that parents are drawn from.
_LANE: Final = 0x50415245
THROUGH, AT, INSIDE, NEAR, BEHIND = range(5)
#: Where limits lie: so many of twenty.
_PLACES: Final = (THROUGH,) * 6 + (AT,) * 5 + (INSIDE,) * 3 + (NEAR,) * 3 + (BEHIND,) * 3
_TIFS: Final = (Tif.IOC,) * 10 + (Tif.DAY,) * 7 + (Tif.FOK,) * 3


class ParentError(UsageError):
    """Parents that cannot be read or made; each line says where, which value, and what is allowed."""


@dataclass(frozen=True)
class Parent:
    """A parent order and when to send it. Price and quantity in the instrument's units; at_ns 0 is at once."""

    cl_ord_id: str
    instrument_id: int
    side: Side
    qty: int
    px: int = 0
    ord_type: OrdType = OrdType.LIMIT
    tif: Tif = Tif.DAY
    account_id: int = 0
    at_ns: int = 0
    min_qty: int = 0
    display_qty: int = 0


class Best(NamedTuple):
    """The national best bid and offer at an instant."""

    bid_px: int
    ask_px: int


class Market:
    """The recorded quotes of one instrument: what was the best, and fresh, at any instant."""

    def __init__(self, quotes: Array, venues: int, stale_ns: int) -> None:
        """quotes: QUOTE records of one instrument in time order."""
        self.times = np.ascontiguousarray(quotes["ts_event_ns"])
        self.stale_ns = stale_ns
        by_venue = [quotes[quotes["venue_id"] == v] for v in range(venues)]
        self._quotes = [(np.ascontiguousarray(rows["ts_event_ns"]), rows) for rows in by_venue if len(rows)]
        shown = np.concatenate([quotes["bid_qty"], quotes["ask_qty"]])
        shown = np.sort(shown[shown > 0])
        #: The median of all displayed sizes.
        self.usual_qty = int(shown[len(shown) // 2]) if len(shown) else 0

    def best(self, at_ns: int) -> Best | None:
        """The best at an instant; None while the market is not open (see the module)."""
        bids, asks = [], []
        for times, rows in self._quotes:
            n = int(np.searchsorted(times, at_ns, side="right")) - 1
            if n < 0 or at_ns - int(times[n]) > self.stale_ns:
                continue
            row = rows[n]
            if int(row["flags"]) & Flag.CLOSED or row["bid_qty"] <= 0 or row["ask_qty"] <= 0:
                continue
            bids.append(int(row["bid_px"]))
            asks.append(int(row["ask_px"]))
        if len(bids) < min(_VENUES, len(self._quotes)) or max(bids) >= min(asks):
            return None
        return Best(max(bids), min(asks))


def generate_parents(recording: Recording, config: Config, count: int, seed: int) -> list[Parent]:
    """`count` parents for a recorded day, in the order of their times, named P000001 and so on.

    Prices are on the instruments' ticks, quantities whole lots, both within [risk]. ParentError where the recording has
    no quotes of the configuration's instruments, their market is never open, or a lot is more than [risk] allows.
    """
    makers = _makers(recording, config)
    if not makers:
        raise ParentError("the recording has no quotes of the configuration's instruments; record one that has")
    low_ns, high_ns = _open_hours(recording, config, makers)
    width_ns = max((high_ns - low_ns) // max(count, 1), 1)
    parents = []
    for n in range(count):
        maker = makers[below(draw(seed, _LANE, n, 0)[0], len(makers))]
        at_ns, best = maker.instant(seed, n, low_ns + n * width_ns, width_ns, (low_ns, high_ns))
        parents.append(maker.parent(seed, n, at_ns, best))
    parents.sort(key=lambda parent: parent.at_ns)
    return [_named(parent, n + 1) for n, parent in enumerate(parents)]


def _named(parent: Parent, number: int) -> Parent:
    values = {name: getattr(parent, name) for name in Parent.__dataclass_fields__}
    return Parent(**{**values, "cl_ord_id": f"P{number:06d}"})


def _makers(recording: Recording, config: Config) -> list[_Maker]:
    quotes = recording.records(Template.QUOTE)
    makers = []
    # By symbol: the order of the configuration decides nothing.
    for number in sorted(range(len(config.instrument)), key=lambda n: config.instrument[n].symbol):
        mine = quotes[quotes["instrument_id"] == number]
        if len(mine):
            makers.append(_Maker(config, number, mine))
    return makers


def _open_hours(recording: Recording, config: Config, makers: Sequence[_Maker]) -> tuple[int, int]:
    """From when to when most quotes come: the first and last two hundredths are left out, and what is after day_end."""
    times = np.sort(np.concatenate([maker.market.times for maker in makers]))
    low_ns, high_ns = int(times[len(times) // 200]), int(times[-1 - len(times) // 200])
    if config.routing.day_end:
        hours, minutes, seconds = (int(part) for part in config.routing.day_end.split(":"))
        day_ns = trading_day(config.engine.trading_day) * _NS_PER_DAY
        end_ns = day_ns + (hours * 3600 + minutes * 60 + seconds) * 1_000_000_000
        high_ns = min(high_ns, end_ns) if end_ns > low_ns else high_ns
    return low_ns, max(high_ns, low_ns + 1)


class _Maker:
    """Makes parents in one instrument."""

    def __init__(self, config: Config, number: int, quotes: Array) -> None:
        instrument = config.instrument[number]
        self.number, self.symbol = number, instrument.symbol
        self.market = Market(quotes, len(config.venue), config.routing.stale_ms * 1_000_000)
        digits = instrument.px_decimals
        rows = next((table.rows for table in config.tick_table if table.name == instrument.tick_table), [])
        self._ticks = np.zeros(max(len(rows), 1), dtype=TICK_ROW)
        for n, (start, tick) in enumerate(rows):
            self._ticks[n] = (0, to_units(start, digits), to_units(tick, digits))
        self._lot_qty = to_units(instrument.lot, instrument.qty_decimals)
        self._max_qty = to_units(config.risk.max_qty, instrument.qty_decimals)
        notional = to_units(config.risk.max_notional, 9)
        self._max_px_qty = notional * 10 ** (digits + instrument.qty_decimals) // (10**9 * instrument.multiplier)

    def instant(self, seed: int, n: int, low_ns: int, width_ns: int, day: tuple[int, int]) -> tuple[int, Best]:
        """A moment at which the market is open: in the parent's own part of the day, else anywhere in it."""
        for turn, (start_ns, length_ns) in enumerate(((low_ns, width_ns), (day[0], day[1] - day[0]))):
            for k in range(_TRIES[turn]):
                high, low = draw(seed, _LANE, n, 16 + 1024 * turn + k)
                at_ns = start_ns + ((high << 31) | (low >> 1)) * length_ns // (1 << 63)
                best = self.market.best(at_ns)
                if best is not None:
                    return at_ns, best
        raise ParentError(
            f"{self.symbol}: no moment with fresh quotes of {_VENUES} venues on both sides was found; use another day, "
            f"or raise routing.stale_ms (it is {self.market.stale_ns // 1_000_000})"
        )

    def parent(self, seed: int, n: int, at_ns: int, best: Best) -> Parent:
        """The parent of a moment."""
        first, second = draw(seed, _LANE, n, 1)
        third, fourth = draw(seed, _LANE, n, 2)
        fifth, sixth = draw(seed, _LANE, n, 3)
        side = Side.BUY if below(first, 2) == 0 else Side.SELL
        place = _PLACES[below(second, len(_PLACES))]
        px = self._px(side, place, best, 1 + below(third, 4))
        halves = _SIZES[below(fourth, len(_SIZES))]
        tif = Tif.DAY if place in (NEAR, BEHIND) and below(sixth, 4) > 0 else _TIFS[below(fifth, len(_TIFS))]
        return Parent("", self.number, side, self._qty(halves, px), px, OrdType.LIMIT, tif, 0, at_ns)

    def _px(self, side: Side, place: int, best: Best, steps: int) -> int:
        """A limit on a tick, `steps` ticks through or behind."""
        buys = side == Side.BUY
        far, near = (best.ask_px, best.bid_px) if buys else (best.bid_px, best.ask_px)
        better = 1 if buys else -1
        tick_px = max(tick_of(self._ticks, 0, far), 1)
        px = {
            THROUGH: far + better * steps * tick_px,
            AT: far,
            INSIDE: (best.bid_px + best.ask_px) // 2,
            NEAR: near,
            BEHIND: near - better * steps * tick_px,
        }[place]
        px = max(px, tick_px)
        rounded = tick_up(self._ticks, 0, px) if buys == (place in (THROUGH, AT)) else tick_down(self._ticks, 0, px)
        return max(int(rounded), tick_px)

    def _qty(self, halves: int, px: int) -> int:
        """So many halves of the usual size in whole lots, within the limits of [risk]."""
        most = min(self._max_qty, self._max_px_qty // px)
        qty = min(max(self.market.usual_qty * halves // 2, self._lot_qty), most)
        qty -= qty % self._lot_qty
        if qty <= 0:
            raise ParentError(f"{self.symbol}: one lot of {self._lot_qty} at {px} is more than [risk] allows ({most})")
        return int(qty)
