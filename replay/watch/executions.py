"""Executions as a journal has them: what venues reported and the core booked, and what clients were told.

A venue's report counts where the core did not refuse it; that stands on the journal behind it. A report without
outputs is known to be booked when another input follows, or the loop says that it has gone on (`settle`). What clients
were told counts when its batch is whole. Both come in the order of the journal, as records of 128 bytes.

    stream 0, venue   FILL, BUST, CORRECT, and ACK that ends an order (cancelled, expired), as the venue sent it
    stream 1, client  the same of parents, as the client was told

Worst case: the loop stands still right behind an input: that one waits until it goes on.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from engine.io.journal_format import FRAME_HEADER, LAST, Kind
from engine.io.journal_reader import Chunk
from engine.record.records import DTYPES, RECORD_MAX, ExecType, Template
from replay.watch.tail import Array, column

VENUE, CLIENT = 0, 1
STREAMS: Final = ("venue", "client")
_EXECUTIONS: Final = (Template.FILL, Template.BUST, Template.CORRECT)
_ENDS: Final = (ExecType.CANCELED, ExecType.EXPIRED)


def _offset(name: str) -> int:
    fields = DTYPES[Template.ACK].fields
    assert fields is not None
    return int(fields[name][1])


_EXEC_TYPE_AT: Final = _offset("exec_type")


class Execution(NamedTuple):
    """One record of a stream, and the frame that it was read from."""

    stream: int
    seq: int
    data: bytes

    @property
    def template(self) -> int:
        """Its template."""
        return int.from_bytes(self.data[2:4], "little")


class Executions:
    """Reads executions out of chunks, in order. One for each pass over a journal."""

    def __init__(self) -> None:
        #: The last input, where it is a venue's report that is not known to be booked yet, and whether it was refused.
        self._input: Execution | None = None
        self._refused = False
        #: What clients were told in a batch that is not whole yet, and the input that it answers.
        self._outputs: list[Execution] = []
        self._cause = -1

    @property
    def waiting(self) -> bool:
        """Whether something is not settled: a reader that goes on from here would not see it again."""
        return self._input is not None or bool(self._outputs)

    def look(self, chunk: Chunk, found: Array) -> list[Execution]:
        """What is settled by a chunk, in order; `found` are its templates (`tail.templates`)."""
        rows, kinds = chunk.rows, chunk.rows["kind"]
        named = np.isin(found, _EXECUTIONS)
        acks = np.flatnonzero(found == Template.ACK)
        named[acks] = np.isin(column(chunk, acks, _EXEC_TYPE_AT, "i1"), _ENDS)
        outputs = kinds == Kind.OUTPUT
        begins = rows["seq"][np.isin(kinds, (Kind.INPUT, Kind.RECOVERED))]
        newest = int(begins[-1]) if len(begins) else -1
        whole = set(rows["input_seq"][outputs & (rows["flag_bits"] & LAST != 0)].tolist())
        refused = set(rows["input_seq"][outputs & (found == Template.REFUSAL)].tolist())
        done = self._carried(newest, whole, refused)
        for row in np.flatnonzero(named & (kinds == Kind.INPUT)).tolist():
            report = _execution(chunk, row, VENUE)
            if report.seq == newest and report.seq not in whole:
                self._input, self._refused = report, report.seq in refused
            elif report.seq not in refused:
                done.append(report)
        for row in np.flatnonzero(named & outputs).tolist():
            cause = int(rows["input_seq"][row])
            if cause in whole:
                done.append(_execution(chunk, row, CLIENT))
            elif newest in (-1, cause):  # a batch with no end, and an input behind it, was never sent
                self._outputs.append(_execution(chunk, row, CLIENT))
                self._cause = cause
        return sorted(done, key=lambda execution: execution.seq)

    def _carried(self, newest: int, whole: set[int], refused: set[int]) -> list[Execution]:
        """What a chunk settles of what was open before it."""
        done: list[Execution] = []
        if self._input is not None:
            self._refused = self._refused or self._input.seq in refused
            if newest >= 0 or self._input.seq in whole:
                done += self.settle()
        if self._outputs and (newest >= 0 or self._cause in whole):
            done += self._outputs if self._cause in whole else []
            self._outputs = []
        return done

    def settle(self, before_seq: int = 1 << 62) -> list[Execution]:
        """The open report, where it was taken in before frame `before_seq` was written and was not refused."""
        if self._input is None or self._input.seq >= before_seq:
            return []
        found, self._input = self._input, None
        return [] if self._refused else [found]


def _execution(chunk: Chunk, row: int, stream: int) -> Execution:
    begin = int(chunk.rows["offset"][row]) + FRAME_HEADER
    return Execution(stream, int(chunk.rows["seq"][row]), chunk.memory[begin : begin + RECORD_MAX].tobytes())
