"""The simulated venues' own record of executions: into a CSV file, or published, whatever becomes of the reports.

A report is taken from its session's log when the exchange has made it, before it is sent; whether it arrives anywhere
is another matter. In the file are FILL, BUST and CORRECT, a row each, prices and quantities as decimals:

    kind,exec_id,exec_ref_id,mic,symbol,order_id,side,qty,px,time_ns

On a socket the same are records of 128 bytes as the engine is sent them, numbered from 1 in an epoch of the process; to
each new subscriber all of them are sent again, so that one who comes late has the day. Who was there before knows them
by their numbers.

Worst case: a subscription sends all records of the day again, some 3 million a second.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Final

import numpy as np
import zmq

from engine.errors import UsageError
from engine.record.records import EXEC_CHANGE, Side, Template, from_text16
from engine.record.units import from_units
from engine.run.config import Config
from gateways.venues.desk import LOG, Desk

COLUMNS: Final = ("kind", "exec_id", "exec_ref_id", "mic", "symbol", "order_id", "side", "qty", "px", "time_ns")
_KEPT: Final = (Template.FILL, Template.BUST, Template.CORRECT)
_SCHEMES: Final = ("ipc://", "tcp://")


class VenueRecord:
    """Where executions are written down. `look` after each slice of the loop; `close` at the end.

    target: a file, or an endpoint ipc:// or tcp://, which is bound. UsageError where it cannot be had.
    """

    def __init__(self, target: str, config: Config, epoch: int) -> None:
        self._config, self._epoch = config, epoch
        self._seen = [0] * len(config.session)
        self.count = 0
        self._file: Any = None
        self._socket: zmq.Socket[bytes] | None = None
        self._sent: list[bytes] = []
        try:
            if target.startswith(_SCHEMES):
                self._context = zmq.Context()
                self._socket = self._context.socket(zmq.XPUB)
                self._socket.set(zmq.XPUB_VERBOSE, 1)  # also who subscribes as another did
                self._socket.set(zmq.SNDHWM, 0)
                self._socket.set(zmq.LINGER, 500)
                self._socket.bind(target)
            else:
                self._file = Path(target).open("w", encoding="ascii", newline="", buffering=1)  # noqa: SIM115  see close
                self._rows = csv.writer(self._file, lineterminator="\n")
                self._rows.writerow(COLUMNS)
        except (OSError, zmq.ZMQError) as error:
            self.close()
            raise UsageError(f"--drop-copy {target}: cannot be had: {error.strerror}; name another") from error

    def look(self, desk: Desk) -> None:
        """Take what was reported since the last look. AssertionError where a log has overwritten some of it."""
        if self._socket is not None:
            self._welcome(self._socket)
        for session, row in enumerate(desk.logs):
            appended = int(row["appended"])
            assert appended - self._seen[session] <= LOG, "a slice of the loop makes fewer reports than a log holds"
            for n in range(self._seen[session], appended):
                report = desk.slots[session * LOG + (n & (LOG - 1))]
                if int(report["template_id"]) in _KEPT:
                    self._take(report)
            self._seen[session] = appended

    def _take(self, report: Any) -> None:
        self.count += 1
        if self._socket is not None:
            record = report.copy()
            record["stream_epoch"], record["stream_id"], record["stream_seq"] = self._epoch, 0, self.count
            data = record.tobytes()
            self._sent.append(data)
            self._socket.send(data)
        else:
            self._rows.writerow(self._row(report))

    def _row(self, report: Any) -> tuple[Any, ...]:
        template = Template(int(report["template_id"]))
        changed = template != Template.FILL
        # A BUST and a CORRECT name what they are of where a report has no second id.
        row = np.frombuffer(report.tobytes(), dtype=EXEC_CHANGE)[0] if changed else report
        instrument = self._config.instrument[int(report["instrument_id"])]
        return (
            template.name,
            from_text16(row["exec_id"]),
            from_text16(row["exec_ref_id"]) if changed else "",
            self._config.venue[int(report["venue_id"])].mic,
            instrument.symbol,
            int(report["order_id"]),
            Side(int(row["side"])).name,
            from_units(int(row["last_qty"]), instrument.qty_decimals),
            from_units(int(row["last_px"]), instrument.px_decimals),
            int(report["ts_event_ns"]),
        )

    def _welcome(self, socket: zmq.Socket[bytes]) -> None:
        """Send a new subscriber the day so far."""
        new = False
        while socket.poll(0):
            new = socket.recv()[:1] == b"\1" or new
        if new:
            for data in self._sent:
                socket.send(data)

    def close(self) -> None:
        """Close the file, or hang up."""
        if self._file is not None:
            self._file.close()
        if self._socket is not None:
            self._socket.close()
            self._context.term()
            self._socket = None
