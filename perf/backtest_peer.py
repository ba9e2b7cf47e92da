"""hftbacktest's side of `perf backtest`, run by the interpreter that it is installed for; it imports nothing of ours.

    python backtest_peer.py FOLDER noop|routing REPETITIONS CORE

FOLDER holds `day.npz`. When all is compiled and warm it prints a line of JSON, and another one for each line that it
reads. `noop` lets time pass and does nothing. `routing` does each 100 ms what our side's client does: in turn an
immediate buy and sell through the touch, and a resting buy and sell behind it that it cancels 100 ms later.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from hftbacktest import GTC, LIMIT, BacktestAsset, HashMapMarketDepthBacktest
from hftbacktest.order import IOC
from numba import njit

STEP_NS = 100_000_000
AWAY = 0.5
LATENCY_NS = 2_000_000


@njit  # type: ignore[untyped-decorator]
def noop(hbt: Any) -> int:
    """Let time pass."""
    while hbt.elapse(1_000_000_000) == 0:
        pass
    return 0


@njit  # type: ignore[untyped-decorator]
def routing(hbt: Any) -> int:
    """An order a step, and the cancellation of the one before where it rests."""
    sent, resting = 0, 0
    while hbt.elapse(STEP_NS) == 0:
        hbt.clear_inactive_orders(0)
        if resting > 0:
            if resting in hbt.orders(0):
                hbt.cancel(0, resting, False)
            resting = 0
        depth = hbt.depth(0)
        sent += 1
        turn = sent % 4
        if turn == 0:
            hbt.submit_buy_order(0, sent, depth.best_ask + AWAY, 0.001, IOC, LIMIT, False)
        elif turn == 1:
            hbt.submit_sell_order(0, sent, depth.best_bid - AWAY, 0.001, IOC, LIMIT, False)
        elif turn == 2:
            hbt.submit_buy_order(0, sent, depth.best_bid - AWAY, 0.001, GTC, LIMIT, False)
        else:
            hbt.submit_sell_order(0, sent, depth.best_ask + AWAY, 0.001, GTC, LIMIT, False)
        if turn >= 2:
            resting = sent
    return sent


def repeated(rows: np.ndarray, span_ns: int, times: int) -> np.ndarray:
    """The events of so many repetitions in one piece."""
    parts = np.tile(rows, times).reshape(times, len(rows))
    for n in range(times):
        parts["exch_ts"][n] += n * span_ns
        parts["local_ts"][n] += n * span_ns
    return parts.reshape(-1)


def play(rows: np.ndarray, strategy: Any) -> dict[str, Any]:
    """All events once. The library reads `rows` where they are: they are kept until it is closed."""
    asset = (
        BacktestAsset()
        .data(rows)
        .linear_asset(1.0)
        .constant_order_latency(LATENCY_NS, LATENCY_NS)
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(0.0002, 0.0005)
        .tick_size(0.1)
        .lot_size(0.001)
        .last_trades_capacity(0)
    )
    hbt = HashMapMarketDepthBacktest([asset])
    wall, cpu = time.perf_counter(), time.process_time()
    orders = int(strategy(hbt))
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
    depth = hbt.depth(0)
    found = {
        "events": len(rows), "cpu_s": cpu_s, "wall_s": wall_s, "orders": orders,
        "fills": int(hbt.state_values(0).num_trades), "bid": round(float(depth.best_bid), 4),
        "ask": round(float(depth.best_ask), 4),
    }  # fmt: skip
    hbt.close()
    return found


def main() -> None:
    """See the module."""
    folder, mode, times, core = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if core >= 0:
        os.sched_setaffinity(0, {core})
    strategy = {"noop": noop, "routing": routing}[mode]
    rows = np.load(folder / "day.npz")["data"]
    span_ns = int(json.loads((folder / "day.json").read_bytes())["span_ns"])
    few = rows[: min(len(rows), 50_000)].copy()
    print(json.dumps(play(few, strategy)), flush=True)
    data = repeated(rows, span_ns, times)
    for _ in sys.stdin:
        print(json.dumps(play(data, strategy)), flush=True)


if __name__ == "__main__":
    main()
