"""The day that `perf backtest` plays: levels and trades of a perpetual, order of time, repeated; and a generated one.

The captured day (`TICKROUTE_FEEDS`) is Binance's raw websocket lines. Where it is not there, `binance_lines` writes a
file of the same format and shape: a snapshot, depth updates of some 70 levels over a thousand ticks either side of a
middle that wanders, trades at the touch, and best quotes. Nothing of it is drawn from a clock: a seed gives a file.

Both engines get the same events: the file's levels and trades (its best quotes are a second account of the same touch,
and hftbacktest's own converter leaves them out too), each at the time at which it was received, the clock corrected.

Worst case: a repetition begins as the first one did, with a book from before; levels that were gone stay shown until
the next snapshot, to both sides alike.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from engine.io.mapping import aligned_zeros
from engine.record.records import UNIT, Template
from gateways.feeds.report import FeedError
from gateways.formats.batch import Batch, batch_over, taken
from gateways.formats.known import open_file
from gateways.formats.npz_write import write_npz
from gateways.formats.reader import Instrument, Reader

Array = np.ndarray[Any, np.dtype[Any]]
CAPTURED: Final = "usdm_btcusdt_20240808.gz"
SYMBOL: Final = "BTCUSDT"
#: Words of a record: the first holds kind and length; times.
_HEAD, _EVENT, _RECV = 0, 3, 4
_KINDS: Final = (int(Template.LEVEL), int(Template.TRADE), int(Template.CLEAR))
#: Between a repetition's last event and the next one's first, ns.
_PAUSE_NS: Final = 1_000_000
_START_MS: Final = 1_723_161_256_000
_UPDATE_MS: Final = 50
#: Levels of an update, and how far from the middle they reach, in ticks.
_LEVELS, _REACH = 70, 1000
_BATCH: Final = 1 << 14


class Day(NamedTuple):
    """Events of one repetition: int64 (n, 8), a record a row; the instrument as the file has it."""

    words: Array
    instrument: Instrument
    name: str

    @property
    def span_ns(self) -> int:
        """From the beginning of one repetition to that of the next."""
        return int(self.words[-1, _EVENT] - self.words[0, _EVENT]) + _PAUSE_NS


def captured() -> Path | None:
    """The captured day, where the recorded feeds are."""
    folder = Path(os.environ.get("TICKROUTE_FEEDS", Path(__file__).resolve().parents[2] / "shared" / "feeds"))
    path = folder / "binance" / CAPTURED
    return path if path.exists() else None


def read_day(path: Path) -> Day:
    """Levels, trades and clears of a file, at the times of their receipt. FeedError where it cannot be read."""
    parts, skew_ns = [], 0
    with open_file(path) as reader:
        for batch in reader.batches():
            words = taken(batch).view("<i8").reshape(-1, UNIT // 8)
            rows = words[_starts(words)]
            parts.append(rows[np.isin(rows[:, _HEAD] >> 16 & 0xFFFF, _KINDS)].copy())
        instrument = reader.instruments[0]
    words = np.concatenate(parts)
    if not len(words):
        raise FeedError(path, 0, "", "has no levels and no trades", "name a file of depth updates")
    timed = words[words[:, _RECV] != 0]
    skew_ns = max(int((timed[:, _EVENT] - timed[:, _RECV]).max(initial=0)), 0)
    words[:, _EVENT] = np.maximum.accumulate(
        np.where(words[:, _RECV] != 0, words[:, _RECV] + skew_ns, words[:, _EVENT])
    )
    words[:, _RECV] = 0
    return Day(words, instrument, path.name)


def _starts(words: Array) -> Array:
    """Rows in which records begin: each is one or two rows long."""
    found, at = [], 0
    long = (words[:, _HEAD] & 0xFFFF) + 8 > UNIT
    while at < len(words):
        found.append(at)
        at += 2 if long[at] else 1
    return np.array(found, dtype=np.int64)


def save(day: Day, folder: Path) -> None:
    """The day for processes of their own: `day.npy` of records, `day.npz` by the npz writer, `day.json` about them."""
    np.save(folder / "day.npy", day.words)
    told = {"symbol": day.instrument.symbol, "px_decimals": day.instrument.px_decimals}
    told |= {"qty_decimals": day.instrument.qty_decimals, "span_ns": day.span_ns}
    (folder / "day.json").write_text(json.dumps(told), encoding="utf-8")
    batches = batches_of(repeated(day.words, 0, 1))
    write_npz(folder / "day.npz", batches, px_decimals=day.instrument.px_decimals,
              qty_decimals=day.instrument.qty_decimals)  # fmt: skip


def repeated(words: Array, span_ns: int, times: int) -> Array:
    """The events of so many repetitions, as bytes in one aligned piece with a unit behind them."""
    laid = aligned_zeros((len(words) * times + 1) * UNIT, np.dtype(np.uint8))
    rows = laid[:-UNIT].view("<i8").reshape(times, len(words), UNIT // 8)
    for n in range(times):
        rows[n] = words
        rows[n, :, _EVENT] += n * span_ns
    return laid


def batches_of(laid: Array) -> Iterator[Batch]:
    """The events of `repeated` as batches over its memory."""
    count = len(laid) // UNIT - 1
    for at in range(0, count, _BATCH):
        part = batch_over(laid[at * UNIT : (min(at + _BATCH, count) + 1) * UNIT])
        part.used[0] = min(_BATCH, count - at)
        yield part


class Repetitions(Reader):
    """A reader over events in memory: what a file's own reader gives, without the file."""

    format = "memory"

    def __init__(self, path: Path, parts: Sequence[Batch], instrument: Instrument) -> None:
        super().__init__(path)
        self.venues, self.instruments = ["BINANCE_USDM"], [instrument]
        self._batches = parts

    def batches(self) -> Iterator[Batch]:
        """Views of the memory."""
        return iter(self._batches)


def binance_lines(path: Path, updates: int, seed: int = 1) -> None:
    """A file of raw websocket lines (gzip) with so many depth updates, one each 50 ms."""
    drawn = np.random.default_rng(seed)
    mid, last, trade = 618_000, 5_000_000_000, 5_000_000
    shown: tuple[dict[int, int], dict[int, int]] = ({}, {})
    with gzip.open(path, "wt", compresslevel=1, encoding="ascii") as file:
        for n in range(updates):
            mid = max(mid + int(drawn.integers(-3, 4)), 10_000)
            sides = [_changes(shown[k], k, mid, drawn, 4 if n == 0 else 1) for k in (0, 1)]
            ms, first, last = _START_MS + n * _UPDATE_MS, last + 1, last + 40
            stamp = f"{ms * 1_000_000 + 20_000}"
            if n == 0:
                file.write(
                    f'{stamp} {{"lastUpdateId":{last},"E":{ms},"T":{ms},"bids":[{sides[0]}],"asks":[{sides[1]}]}}\n'
                )
                continue
            body = f'"E":{ms},"T":{ms},"s":"{SYMBOL}","U":{first},"u":{last},"pu":{first - 1}'
            file.write(
                f'{stamp} {{"stream":"btcusdt@depth@0ms","data":{{"e":"depthUpdate",{body},'
                f'"b":[{sides[0]}],"a":[{sides[1]}]}}}}\n'
            )
            bid, ask = max(shown[0]), min(shown[1])
            for _ in range(int(drawn.integers(0, 6))):
                trade += 1
                px, maker = (bid, "true") if drawn.integers(0, 2) else (ask, "false")
                file.write(
                    f'{stamp} {{"stream":"btcusdt@trade","data":{{"e":"trade","E":{ms},"T":{ms},"s":"{SYMBOL}",'
                    f'"t":{trade},"p":"{px / 10:.1f}0","q":"{int(drawn.integers(1, 400)) / 1000:.3f}","X":"MARKET",'
                    f'"m":{maker}}}}}\n'
                )


def _changes(side: dict[int, int], ask: int, mid: int, drawn: np.random.Generator, times: int) -> str:
    """Change some levels of a side (price -> quantity), and say which; what the middle has passed is gone."""
    sign = 1 if ask else -1
    told = {px: 0 for px in list(side) if (px - mid) * sign <= 0}
    away = 1 + np.minimum(drawn.geometric(0.02, size=_LEVELS * times // 2), _REACH)
    sizes = drawn.integers(1, 3000, size=len(away)) * (drawn.random(len(away)) > 0.3)
    told |= {mid + sign * int(d): int(q) for d, q in zip(away, sizes, strict=True)}
    told[mid + sign] = int(drawn.integers(1, 3000))
    for px, qty in told.items():
        if qty:
            side[px] = qty
        else:
            side.pop(px, None)
    return ",".join(f'["{px / 10:.1f}0","{qty / 1000:.3f}"]' for px, qty in told.items())
