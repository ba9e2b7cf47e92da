"""What a run came to, as Arrow tables and Parquet files, read from its journal: a backtest's or a live run's.

    result = Result("runs/today")
    result.fills().to_pandas()

Everything is made from the journal once, when it is first asked for. Worst case: one pass over the journal.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.io.journal_format import FRAME_HEADER, Kind
from engine.io.journal_reader import JournalReader
from engine.run import manifest
from engine.run.config import Config
from replay.backtest.outcome import Outcome
from replay.backtest.passing import Around, around, with_vwap
from replay.backtest.schemas import HORIZONS_S, SCHEMAS
from replay.backtest.tables import NEEDED, Tables, make
from replay.backtest.tape import Tape, with_markouts
from replay.backtest.terms import by_orders
from replay.report.gather import Array, Gathered, gather
from replay.report.measure import utc
from replay.report.orders import Book

#: Folder of the Parquet files in a run directory.
FOLDER: Final = "results"


class Result:
    """A run's results. `run_dir` holds the journal; `outcome` is what the backtest said of itself, None if read later.

    JournalError, ManifestError, ConfigError (from the methods): the journal cannot be read by this build.
    """

    def __init__(self, run_dir: str | Path, outcome: Outcome | None = None) -> None:
        self.run_dir = Path(run_dir)
        self.outcome = outcome

    @cached_property
    def _read(self) -> tuple[Tables, Book, Gathered]:
        found = gather(self.run_dir, NEEDED)
        run = manifest.from_bytes(found.manifest)
        tables, book = make(found, run.read_config(), run.initial_state())
        return tables, book, found

    @property
    def tables(self) -> Tables:
        """The tables that need no market data; docs/backtest.md has the columns, `schemas.SCHEMAS` types and texts."""
        return self._read[0]

    @cached_property
    def _around(self) -> Around:
        """The market around fills and orders: one more pass over the journal, in memory that does not grow with it."""
        return around(self.run_dir, self.config, self.tables.fills, self.tables.orders, HORIZONS_S)

    @property
    def config(self) -> Config:
        """The run's configuration."""
        return self._read[1].config

    def fills(self) -> pa.Table:
        """Executions, a row each, in the order in which the engine had them."""
        return self.tables.fills

    def orders(self) -> pa.Table:
        """Clients' orders: accepted ones by order id, then those that were rejected; with the market's VWAP."""
        return with_vwap(self.tables.orders, self._around.vwap, SCHEMAS["orders"])

    def children(self) -> pa.Table:
        """Orders that were sent to venues, by order id."""
        return self.tables.children

    def positions(self) -> pa.Table:
        """What each account held at the end, by instrument."""
        return self.tables.positions

    def venues(self) -> pa.Table:
        """Each venue's part, by MIC."""
        return self.tables.venues

    @cached_property
    def tape(self) -> Tape:
        """The run's market data; grows with them."""
        return Tape(self.run_dir)

    def markouts(self, horizons_s: Sequence[float] = HORIZONS_S) -> pa.Table:
        """`fills`, and where the market was some seconds later: `mid_10s`, and `markout_10s`, what a share or coin had
        gained by then, positive where the market went the order's way. Null where there was no mid-point.
        """
        fills = self.fills()
        if tuple(horizons_s) == HORIZONS_S:
            return with_markouts(fills, self._around.mids, horizons_s)
        found = around(self.run_dir, self.config, fills, self.tables.orders.slice(0, 0), horizons_s)
        return with_markouts(fills, found.mids, horizons_s)

    def against_vwap(self) -> pa.Table:
        """`orders`: the market's `vwap` until their last fill, and `against_vwap_bps`, are among its columns."""
        return self.orders()

    def files(self) -> dict[str, pa.Table]:
        """The tables that `write` writes, by name."""
        told = self.tables._asdict() | {"orders": self.orders()}
        schema = SCHEMAS["markouts"]
        return told | {"markouts": self.markouts().select(schema.names).cast(schema)}

    def write(self, folder: str | Path | None = None) -> list[Path]:
        """Write a Parquet file a table (zstd) into `folder`, by default RUN_DIR/results; the files. OSError as is."""
        target = Path(folder) if folder is not None else self.run_dir / FOLDER
        target.mkdir(parents=True, exist_ok=True)
        written = []
        for name, table in self.files().items():
            path = target / f"{name}.parquet"
            partial = path.with_suffix(".partial")
            try:
                pq.write_table(table, partial, compression="zstd")
                partial.replace(path)
            except OSError as error:
                partial.unlink(missing_ok=True)
                raise OSError(error.errno, f"cannot be written: {error.strerror or error}", str(path)) from error
            written.append(path)
        return written

    def summary(self) -> dict[str, Any]:
        """The run in numbers: plain values, as `tickroute backtest --json` writes them."""
        _, book, found = self._read
        outcome, config = book.outcome(), book.config
        quantities = {config.instrument[n].symbol: msgspec.to_builtins(book.shares(n)) for n in book.traded}
        told: dict[str, Any] = {
            "run_dir": str(self.run_dir),
            "strategy": config.routing.strategy,
            "instruments": [i.symbol for i in config.instrument],
            "from_utc": utc(found.first_ns),
            "to_utc": utc(found.last_ns),
            "parents": book.parents().by_state,
            "quantity": _quantity(quantities, msgspec.to_builtins(book.shares())),
            "quantities": quantities,
            "fills": len(book.fills),
            "children": len(book.children),
            "notional": outcome.notional,
            "fees": outcome.fees,
            "currency": outcome.currency,
            **_shortfall(self.tables.orders),
            "without_vwap": by_orders(self.run_dir),
            "venues": self.venues().to_pylist(),
            "inputs": sum(found.inputs.values()),
            "by_kind": found.inputs,
            "refusals": {f"{row.what} {row.reason}": row.count for row in outcome.refusals},
            "alerts": dict(Counter({row.reason: row.count for row in outcome.alerts})),
        }
        if self.outcome is not None:
            done = self.outcome
            told |= {"seconds": done.seconds, "events_per_s": done.events_per_s, "state_hash": done.state_hash}
            told["losses"] = done.losses._asdict() | {"broken": list(done.losses.broken)}
        return told

    def _repr_html_(self) -> str:
        """The summary as a table: what a notebook shows of a result."""
        s = self.summary()
        states = ", ".join(f"{count:,} {state}" for state, count in s["parents"].items()) or "none"
        rows = {
            "instruments": ", ".join(s["instruments"]),
            "period": f"{s['from_utc']} to {s['to_utc']}",
            "strategy": s["strategy"],
            "events": f"{s['inputs']:,}",
            "parents": states,
            "children, fills": f"{s['children']:,}, {s['fills']:,}",
            "notional": f"{s['notional']:,.2f} {s['currency']}",
            "fees": f"{s['fees']:,.2f} {s['currency']}",
            "cost against the arrival mid": _bps(s["shortfall_bps"]),
            "the same with fees": _bps(s["shortfall_with_fees_bps"]),
            "run": s["run_dir"],
        }
        cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(text))}</td></tr>" for name, text in rows.items())
        return f"<table>{cells}</table>"

    def journal_hash(self) -> str:
        """SHA-256 over what the journal says, in hex: every frame's kind, place in its batch and bytes.

        Neither the manifest is in it, which names the run directory, nor where segments begin.
        """
        digest = hashlib.sha256()
        with JournalReader(self.run_dir) as reader:
            for chunk in reader.chunks(1 << 15):
                rows = chunk.rows[~np.isin(chunk.rows["kind"], (Kind.PAD, Kind.MANIFEST))]
                for name in ("kind", "batch_index", "length"):
                    digest.update(rows[name].astype("<i8").tobytes())
                digest.update(_payloads(chunk.memory, rows).tobytes())
        return digest.hexdigest()


def _bps(value: float | None) -> str:
    return "n/a" if value is None else f"{value:+.2f} bps"


def _quantity(quantities: dict[str, dict[str, Any]], shares: dict[str, Any]) -> dict[str, Any]:
    """Quantities of the one product that was ordered; of several no sum means anything, and each is null."""
    if len(quantities) <= 1:
        return shares
    adds_up = all(row["adds_up"] for row in quantities.values())
    return dict.fromkeys(shares, None) | {"adds_up": adds_up}


def _payloads(memory: Array, rows: Array) -> Array:
    """The payloads of frames back to back, as int64 words."""
    counts = rows["length"].astype(np.int64) // 8
    starts = (rows["offset"].astype(np.int64) + FRAME_HEADER) // 8
    ends = np.cumsum(counts)
    places = np.repeat(starts - (ends - counts), counts) + np.arange(int(ends[-1]) if len(ends) else 0)
    words: Array = memory.view("<i8")[places]
    return words


def _shortfall(orders: pa.Table) -> dict[str, float | None]:
    """Shortfall of all orders that have an arrival price, in basis points weighted by money."""
    columns = [orders[name].to_numpy(zero_copy_only=False) for name in ("shortfall", "shortfall_bps", "fee")]
    cost, rate, fee = (np.asarray(column, dtype=float) for column in columns)
    good = np.isfinite(cost) & np.isfinite(rate)
    money = np.asarray(orders["notional"].to_numpy(zero_copy_only=False), dtype=float)
    sides = np.array(orders["side"].to_pylist(), dtype=object)[good]
    base = float((money[good] - np.where(sides == "BUY", 1.0, -1.0) * cost[good]).sum()) if good.any() else 0.0
    if not base:
        return {"shortfall_bps": None, "shortfall_with_fees_bps": None}
    return {
        "shortfall_bps": round(float(cost[good].sum()) / base * 1e4, 4),
        "shortfall_with_fees_bps": round(float((cost[good] + fee[good]).sum()) / base * 1e4, 4),
    }
