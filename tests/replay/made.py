"""Journals made by hand, frame by frame, for what no desk does: clocks that differ, stalls, records that cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine.core.ids import CHILD_BIT
from engine.io.journal import append
from engine.io.journal_format import LAST, Kind
from engine.io.journal_writer import JournalWriter
from engine.record.records import ExecType, OrdStatus, Side, Template, blank
from engine.run import manifest
from engine.run.config import Retention
from replay.watch.chained import ChainedLog
from tests.replay.desk import config

#: The engine's clock at the first moment of these journals.
START_NS = 1_514_903_400_000_000_000
BASE = (17_533 << 40) | 0


class Made:
    """A journal being written. `input`, `output`, `stages` append frames; `close` ends it in order."""

    def __init__(
        self,
        run_dir: Path,
        *,
        clock: str = "monotonic",
        segment_bytes: int = 1 << 16,
        host: dict[str, Any] | None = None,
        retention: Retention | None = None,
        currencies: tuple[str, ...] = ("USD",),
        **engine: Any,
    ) -> None:
        settings = config(str(run_dir))
        settings = msgspec.structs.replace(
            settings, engine=msgspec.structs.replace(settings.engine, clock=clock, **engine)
        )
        self.run_dir = run_dir
        if retention is not None:
            settings = msgspec.structs.replace(settings, retention=retention)
        (one,) = settings.instrument
        more = [msgspec.structs.replace(one, symbol=f"X{n}", currency=name) for n, name in enumerate(currencies)]
        if currencies != ("USD",):
            room = msgspec.structs.replace(settings.capacity, instruments=len(more))
            settings = msgspec.structs.replace(settings, instrument=more, capacity=room)
        first = manifest.to_bytes(manifest.make(settings, 1, 0, host=host))
        self.writer = JournalWriter(run_dir, segment_bytes, first)
        self.seq = -1

    def _append(self, kind: Kind, record: np.ndarray, input_seq: int) -> int:
        seq = -1
        while seq < 0:  # the helper that prepares segments has a moment to go
            address = int(record.ctypes.data)
            seq = append(self.writer.table, int(kind), LAST, 0, input_seq, address, record.dtype.itemsize)
        return int(seq)

    def input(self, template: Template, recv_ns: int, event_ns: int = 0, **fields: Any) -> int:
        """An input taken in at a time; its frame's number."""
        record = _record(template, recv_ns, event_ns, fields)
        self.seq = self._append(Kind.INPUT, record, -1)
        return self.seq

    def output(self, template: Template, **fields: Any) -> int:
        """An output of the last input."""
        return self._append(Kind.OUTPUT, _record(template, 0, 0, fields), self.seq)

    def observe(self, template: Template, **fields: Any) -> int:
        """An observation of the driver's."""
        return self._append(Kind.OBSERVATION, _record(template, 0, 0, fields), self.seq)

    def stages(self, total_ns: int, clock_ns: int = 0) -> None:
        """What was measured of the last input."""
        self.observe(Template.STAGES, input_seq=self.seq, total_ns=total_ns, clock_ns=clock_ns, outputs=1)

    def order(self, n: int, recv_ns: int, *, venue: int = 0, qty: int = 100, total_ns: int = 1000, **more: int) -> None:
        """A client's order n, acknowledged and sent to a venue; `more`: of both, algo_id or instrument_id."""
        self.input(Template.ORDER_NEW, recv_ns, recv_ns - 500, qty=qty, side=Side.BUY, **more)
        new = {"exec_type": ExecType.NEW, "ord_status": OrdStatus.NEW, "request": Template.ORDER_NEW}
        self.output(Template.ACK, order_id=BASE | n, leaves_qty=qty, **new)
        child = {"order_id": BASE | CHILD_BIT | n, "parent_id": BASE | n}
        self.output(Template.ORDER_NEW, venue_id=venue, qty=qty, stream_id=1, **child, **more)
        self.stages(total_ns)

    def fill(self, n: int, recv_ns: int, *, venue: int = 0, qty: int = 100, total_ns: int = 1000, **more: int) -> None:
        """Order n filled whole by its venue, and its client told."""
        done = {"last_px": 1_000_000, "last_qty": qty, "cum_qty": qty}
        done |= {"exec_type": ExecType.TRADE, "ord_status": OrdStatus.FILLED}
        self.input(Template.FILL, recv_ns, recv_ns - 300, venue_id=venue, order_id=BASE | CHILD_BIT | n, **done, **more)
        self.output(Template.FILL, order_id=BASE | n, **done)
        self.stages(total_ns)

    def close(self) -> Path:
        """Close the journal; its run's directory."""
        self.writer.close()
        return self.run_dir


def _record(template: Template, recv_ns: int, event_ns: int, fields: dict[str, Any]) -> np.ndarray:
    record = blank(template)
    record["ts_recv_ns"], record["ts_event_ns"] = recv_ns, event_ns
    for name, value in fields.items():
        record[name] = value
    return record


def small(run_dir: Path, orders: int = 40, day: int = 0) -> Path:
    """A run of some orders, one in four of them not filled; a millisecond apart."""
    made = Made(run_dir)
    for n in range(1, orders + 1):
        at_ns = START_NS + day * 86_400_000_000_000 + n * 1_000_000
        made.order(n, at_ns, venue=n % 3, total_ns=900 + 7 * n)
        if n % 4:
            made.fill(n, at_ns + 250_000 + n, venue=n % 3, total_ns=700 + 3 * n)
    return made.close()


def clock_log(run_dir: Path, run_id: str, rows: list[dict[str, Any]]) -> Path:
    """A log of clock samples beside a run, chained as the watch's are."""
    return _log(run_dir / "clock.jsonl", run_id, rows)


def alert_log(run_dir: Path, run_id: str, rows: list[dict[str, Any]]) -> Path:
    """A log of alerts beside a run."""
    return _log(run_dir / "alerts.jsonl", run_id, rows)


def _log(path: Path, run_id: str, rows: list[dict[str, Any]]) -> Path:
    log = ChainedLog(path, run_id)
    for row in rows:
        log.append(json.loads(json.dumps(row)))
    log.close()
    return path


def sample(at_ns: int, offset_ns: int | None, bound_ns: int | None = 0, **more: Any) -> dict[str, Any]:
    """A line of a clock log."""
    row = {"realtime_ns": at_ns, "clock_ns": at_ns, "source": "chrony", "synchronised": True, "step_ns": 0}
    return row | {"offset_ns": offset_ns, "error_bound_ns": bound_ns} | more
