"""The table of a sweep: a row a cell, as Arrow and as one Parquet file.

Two sweeps of one grid over one feed give the same bytes but for the columns TIMING, whatever the number of workers:
rows are in the grid's order, then by day and seed. A histogram is a text, as HdrHistogram's tools encode it.

Worst case: a kilobyte a row, most of it histograms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from engine.io.histogram import to_hdr
from replay.sweep.cell import HISTOGRAMS, dense
from replay.sweep.grid import Axis
from replay.sweep.local import Ended

_F, _I, _S = pa.float64(), pa.int64(), pa.string()
#: Columns that two sweeps need not have in common.
TIMING: Final = ("seconds", "attempts")
#: Columns beside those of the grid's keys, which stand between `cell` and `day`.
COLUMNS: Final = (
    ("cell", _I, "number of the cell, from 0"),
    ("day", _S, "the day: the date in its files' names, or their name"),
    ("seed", _I, "seed of the parents and of the venues' faults"),
    ("status", _S, "done or failed"),
    ("error", _S, "why it failed; null where it did not"),
    ("inputs", _I, "records on the journal that the engine took in"),
    ("parents", _I, "clients' orders"),
    ("children", _I, "orders sent to venues"),
    ("fills", _I, "executions"),
    ("ordered_qty", _F, "quantity of the clients' orders; null where they are in several instruments"),
    ("filled_qty", _F, "of it executed and standing"),
    ("fill_rate", _F, "filled_qty / ordered_qty"),
    ("notional", _F, "traded, in the currency"),
    ("fees", _F, "paid to venues; negative is a rebate"),
    ("shortfall_bps", _F, "what fills cost against the mid-point at arrival, weighted by money"),
    ("shortfall_with_fees_bps", _F, "the same with fees"),
    ("rejects", _I, "orders that venues refused"),
    ("timeouts", _I, "orders that venues did not answer in time"),
    ("curbed", _I, "orders that took fewer levels than there were, for want of room at their venue"),
    ("postponed", _I, "fills of resting orders that waited for a message slot"),
    ("refused", _I, "requests that no venue could answer"),
    ("ignored", _I, "records that were of no concern to the venues"),
    ("broken", _S, "MIC and symbol of the books that had no room for all orders and levels; null where all had"),
    ("order_to_fill_p50_ns", _I, "virtual time from an order's arrival to its fills, median over fills"),
    ("order_to_fill_p99_ns", _I, "the same, 99th percentile"),
    ("order_to_fill_hdr", _S, "histogram of the same, ns, as HdrHistogram encodes it"),
    ("slippage_cost_hdr", _S, "histogram of what fills lost against the mid-point at arrival, 0.001 bps"),
    ("slippage_gain_hdr", _S, "histogram of what fills gained against it, 0.001 bps"),
    ("journal_hash", _S, "SHA-256 of what the journal says"),
    ("state_hash", _S, "hash of the engine's state at the end"),
    ("seconds", _F, "time that the cell took; differs between sweeps"),
    ("attempts", _I, "times that it was begun: more than 1 where a worker died; differs between sweeps"),
)


def make(axes: Sequence[Axis], rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The table of rows, each column -> value; what a row leaves out is null."""
    first, *rest = [(name, kind, doc, name) for name, kind, doc in COLUMNS]
    keys = [(axis.key, _kind(axis.values), f"value of {axis.key}", axis.key) for axis in axes]
    fields, columns = [], []
    for name, kind, doc, key in (first, *keys, *rest):
        fields.append(pa.field(name, kind, metadata={"doc": doc}))
        columns.append(pa.array([_as(kind, row.get(key)) for row in rows], type=kind))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def row_of(axes: Sequence[Axis], values: Sequence[Any], day: str, seed: int, ended: Ended) -> dict[str, Any]:
    """A cell's row."""
    done = ended.done
    row: dict[str, Any] = {axis.key: value for axis, value in zip(axes, values, strict=True)}
    row |= {"cell": done.number, "day": day, "seed": seed, "status": "failed" if done.error else "done"}
    row |= {"error": done.error or None, "seconds": done.seconds, "attempts": ended.attempts, **done.figures}
    for name in HISTOGRAMS:
        if name in done.histograms:
            row[f"{name}_hdr"] = to_hdr(dense(done.histograms[name])).encode().decode("ascii")
    return row


def write(table: pa.Table, path: Path) -> None:
    """Write the file whole or not at all (zstd). OSError as is."""
    partial = path.with_suffix(".partial")
    pq.write_table(table, partial, compression="zstd")
    partial.replace(path)


def _kind(values: Sequence[Any]) -> Any:
    kinds = {type(value) for value in values}
    return {bool: pa.bool_(), int: _I, float: _F}.get(kinds.pop(), _S) if len(kinds) == 1 else _S


def _as(kind: Any, value: Any) -> Any:
    return str(value) if kind == _S and value is not None and not isinstance(value, str) else value
