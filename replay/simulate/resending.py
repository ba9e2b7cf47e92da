"""Sending again, in the simulation: the engine's own kernels and thread's work over the simulated journal's bytes.

Which records a client gets next is settled by `follow_client` when it says hello; what it missed is looked for by
`Backlog` in files that hold the journal as it is now, and handed over by `resend`, a message a turn, through a ring so
short that it fills up. Nothing here runs beside anything: a turn is taken when the world says so.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.core.state import State
from engine.io.journal_format import segment_path
from engine.io.ring import private_ring, ring_pop
from engine.record.records import RECORD_MAX
from engine.run.assemble import Figures, assemble, nowhere
from engine.run.backlog import Backlog
from engine.run.config import Config
from engine.run.resend import catch_up, follow_client, go_live, resend
from engine.run.wiring import FLAG_STOP, L_RESENT, L_RESETS, PROGRESS, SHM
from replay.simulate.disk import Disk
from replay.simulate.setup import CLIENTS

#: Records that a client's transport and the backlog's ring hold.
_SLOTS: Final = 4


class Resending:
    """What one life of the engine sends again. `close` it."""

    def __init__(self, config: Config, state: State, disk: Disk, epoch: int) -> None:
        self._state, self._disk = state, disk
        links = nowhere(config)
        links["up"] = 0
        self._rings = [private_ring(_SLOTS) for _ in range(CLIENTS)]
        for session, ring in enumerate(self._rings):
            links["transport"][session], links["tx"][session] = SHM, ring.ctypes.data
        nobody = np.zeros(1, dtype=np.int64)
        figures = Figures(published=nobody, hist=nobody, progress=np.zeros(1, dtype=PROGRESS), progress_lock=nobody)
        self._loop = assemble(
            config, state, disk.table, stream_epoch=epoch, clock_offset_ns=0, tsc_mul=1, links=links, figures=figures
        )
        self._w = self._loop.wiring
        self._w.flags[FLAG_STOP] = 1  # a journal without a segment is not waited for
        self._folder = tempfile.TemporaryDirectory(prefix="tickroute-simulate-")
        self._run_dir = Path(self._folder.name)
        segment_path(self._run_dir, 0).parent.mkdir()
        self._written = 0
        self._backlog = Backlog(self._run_dir, self._w, _SLOTS)
        self._slot = np.zeros(RECORD_MAX, dtype=np.uint8)

    def close(self) -> None:
        """Unmap and remove the files. Twice is once."""
        self._backlog.stop()
        self._folder.cleanup()

    def link(self, session: int) -> Any:
        """The link of a client."""
        return self._w.links[session]

    @property
    def busy(self) -> bool:
        """Whether somebody is being caught up with."""
        return bool(self._w.line[0].catching_up)

    @property
    def counted(self) -> tuple[int, int]:
        """(records sent again, sequence resets)."""
        return int(self._w.counters[L_RESENT]), int(self._w.counters[L_RESETS])

    def hello(self, session: int, data: bytes, clock_ns: int) -> None:
        """A client says what it saw last; the core takes the record after this."""
        self._loop.events.words.view(np.uint8)[: len(data)] = np.frombuffer(data, dtype=np.uint8)
        self._w.line[0].clock_ns = clock_ns
        self.link(session).up = 1
        follow_client(self._state, self._loop.events, self._w, session, 0)

    def down(self, session: int) -> None:
        """A client is gone: until it says what it saw last, nothing is looked for."""
        self.link(session).up = 0
        go_live(self._w, session)

    def deferred(self, session: int) -> bool:
        """Whether a new record to a client stays on the journal for now."""
        return bool(self.link(session).up == 0 or self.link(session).catching_up == 1)

    def full(self, session: int, seq: int) -> None:
        """A client's queue has no room for the record with this number."""
        catch_up(self._w, session, seq)

    def turn(self) -> list[tuple[int, bytes]]:
        """One cycle: (session, record) that leave again, in order."""
        if not self.busy:
            return []
        self._write()
        self._w.line[0].housekeeping_ns += 1
        self._backlog.turn()
        resend(self._state, self._w)
        left = []
        for session, ring in enumerate(self._rings):
            while size := int(ring_pop(ring.ctypes.data, self._slot.ctypes.data)):
                left.append((session, self._slot[:size].tobytes()))
        return left

    def _write(self) -> None:
        """Have the files hold the journal as it is now; in place, since they may be mapped."""
        for number, data in enumerate(self._disk.digest_source()):
            path = segment_path(self._run_dir, number)
            if number > self._written or not path.exists():
                path.write_bytes(data)
            elif number == self._written:
                with path.open("r+b") as file:
                    file.write(data)
        self._written = len(self._disk.digest_source()) - 1
