"""The run again, at full speed up to each input that concerns one order, and slowly there: what was, what is now.

Each stop keeps the order's rows before and after the step, the books before each event of its workflow, and the step's
outputs. All outputs on the way are held to the journal's, as `verify` does; at the first that differs the walk ends,
and says so.

Worst case: a stop costs about a millisecond; an order that was woken ten thousand times takes ten seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from engine.core.emit import left_of
from engine.core.ids import CHILD_BIT
from engine.io.journal_format import Kind
from engine.io.journal_reader import Chunk, Ending, JournalReader
from engine.record.records import RECORD_MAX, SBE_HEADER_SIZE
from engine.run import drive
from engine.run.rerun import Rerun, Stop
from engine.run.shown import shown
from replay.explain import names
from replay.explain.index import Index
from replay.explain.score import Books
from replay.verify import WHY

if TYPE_CHECKING:
    from pathlib import Path

    from replay.verify import Progress

_CHUNK: Final = 16384
_COUNTER: Final = CHILD_BIT - 1


class Face(NamedTuple):
    """The order's rows at one moment, copied: parent and its order, and each child's row by its id."""

    workflow: str
    parent: Any
    order: Any
    children: dict[int, tuple[Any, Any]]


class Fired(NamedTuple):
    """One event of the order's workflow. `first` to `stop` are its outputs; `excluded`, `order` are as it left them."""

    event: str
    before: str
    after: str
    first: int
    stop: int
    books: Books
    left_qty: int
    excluded: int
    order: Any


class Step(NamedTuple):
    """One input at which the walk stopped. A face is None where the order was not in the state."""

    seq: int
    now_ns: int
    payload: bytes
    before: Face | None
    after: Face | None
    fired: list[Fired]
    outputs: list[bytes]
    committed: bool


class Walk(NamedTuple):
    """The steps, and the first frame that this build makes otherwise (None: none did)."""

    steps: list[Step]
    inputs: int
    outputs: int
    difference: str | None


def walk(run_dir: Path, rerun: Rerun, found: Index, progress: Progress | None) -> Walk:
    """Replay a run, with a rerun that has taken nothing yet, up to the last of `found.stops`."""
    with JournalReader(run_dir) as reader:
        walker = _Walker(rerun, found)
        difference = None
        while difference is None and walker.busy and (chunk := reader.read(_CHUNK)) is not None:
            difference = walker.take(chunk)
            if progress is not None:
                progress(chunk.segment, int(chunk.rows["offset"][-1]))
        if difference is None and walker.rerun.outstanding and reader.end is not None:
            if reader.end.ending is Ending.CLOSED:
                difference = f"the journal ends, and {WHY[drive.MISSING]}"
            else:
                walker.drop()
    return Walk(walker.steps, rerun.inputs, rerun.outputs, difference)


class _Walker:
    def __init__(self, rerun: Rerun, found: Index) -> None:
        self.rerun, self.target = rerun, found.target
        self.children = found.children
        self.stops = found.stops
        self.workflow = names.Workflow(rerun.bound.machine)
        self._step = shown(rerun.bound, self._look)
        self.next = 0
        self.steps: list[Step] = []
        self._fired: list[Fired] = []

    @property
    def busy(self) -> bool:
        """Whether stops are ahead, or outputs of the last one have not been found in the journal yet."""
        return self.next < len(self.stops) or self.rerun.outstanding > 0

    def take(self, chunk: Chunk) -> str | None:
        """Take a chunk; the first difference as a sentence, None where there is none."""
        seqs = chunk.rows["seq"]
        at = 0
        while self.next < len(self.stops) and self.stops[self.next] <= seqs[-1]:
            row = int(np.searchsorted(seqs, self.stops[self.next]))
            stop = self._feed(chunk, at, row) or self._stop(chunk, row)
            if stop is not None:
                return self._told(chunk, stop)
            at = row + 1
        last = len(seqs)
        if self.next == len(self.stops):  # no further than the outputs of the last stop
            inputs = np.flatnonzero(chunk.rows["kind"][at:] == Kind.INPUT)
            last = at + int(inputs[0]) if len(inputs) else last
        stop = self._feed(chunk, at, last)
        return self._told(chunk, stop) if stop is not None else None

    def _feed(self, chunk: Chunk, first: int, stop: int) -> Stop | None:
        dropped = self.rerun.dropped
        found = self.rerun.feed(Chunk(chunk.segment, chunk.memory, chunk.rows[first:stop]))
        if self.rerun.dropped > dropped and self._fresh():
            self.drop()
        return None if found is None else Stop(found.why, found.row + first)

    def _fresh(self) -> bool:
        """Whether the input that was taken last is the last step here."""
        return bool(self.steps) and self.steps[-1].seq == self.rerun.input_seq

    def drop(self) -> None:
        """The last step's outputs never left."""
        if self._fresh():
            self.steps[-1] = self.steps[-1]._replace(committed=False)

    def _told(self, chunk: Chunk, stop: Stop) -> str:
        frame = chunk.rows[min(stop.row, len(chunk.rows) - 1)]
        return f"{WHY[stop.why]} (frame {int(frame['seq'])}, after input {self.rerun.input_seq})"

    def _stop(self, chunk: Chunk, row: int) -> Stop | None:
        """Take the input at `row` slowly."""
        self.next += 1
        payload = chunk.payload(row).tobytes()
        before, self._fired = self.face(), []
        stop = self.rerun.take(chunk, row, self._step)
        if stop is not None:
            return stop
        outputs = [self._output(k) for k in range(self.rerun.outstanding)]
        now_ns = int(self.rerun.state.core[0]["now_ns"])
        seq = int(chunk.rows["seq"][row])
        self.steps.append(Step(seq, now_ns, payload, before, self.face(), self._fired, outputs, True))
        return None

    def _output(self, k: int) -> bytes:
        length = int(self.rerun.outbox.head[k]["block_length"]) + SBE_HEADER_SIZE
        return self.rerun.outbox.words.view(np.uint8)[k * RECORD_MAX : k * RECORD_MAX + length].tobytes()

    def _look(self, p: int, event: int, fired: bool) -> None:
        state, count = self.rerun.state, int(self.rerun.outbox.count[0])
        if not self.target.order_id or int(state.parent_orders[p]["order_id"]) != self.target.order_id:
            return
        name = self.workflow.of(state, p)
        if not fired:
            books = self._books(int(state.parent_orders[p]["instrument_id"]))
            event_name, left = self.workflow.event(event), int(left_of(state, p))
            self._fired.append(Fired(event_name, name, name, count, count, books, left, 0, None))
            return
        excluded, order = int(state.parents[p]["excluded"]), state.parent_orders[p].copy()
        last = self._fired.pop()._replace(after=name, stop=count, excluded=excluded, order=order)
        if last.before != last.after or last.stop > last.first:  # else it was ignored
            self._fired.append(last)

    def _books(self, instrument: int) -> Books:
        """The quotes of the order's instrument now, and which venues' sessions are up."""
        state = self.rerun.state
        first, venues = instrument * int(state.params[0]["venue_stride"]), int(state.params[0]["n_venues"])
        up = [bool(state.sessions[int(state.venues[v]["session"])]["up"]) for v in range(venues)]
        return Books(int(state.core[0]["now_ns"]), state.quotes[first : first + venues].copy(), up)

    def face(self) -> Face | None:
        """The order's rows now; None where its slot is not (or no longer) its own."""
        state, order_id = self.rerun.state, self.target.order_id
        p = order_id & _COUNTER & (len(state.parents) - 1)
        if not order_id or int(state.parent_orders[p]["order_id"]) != order_id:
            return None
        children = {}
        for child in self.children:
            c = child & _COUNTER & (len(state.children) - 1)
            if int(state.child_orders[c]["order_id"]) == child:
                children[child] = (state.children[c].copy(), state.child_orders[c].copy())
        workflow = self.workflow.of(state, p)
        return Face(workflow, state.parents[p].copy(), state.parent_orders[p].copy(), children)
