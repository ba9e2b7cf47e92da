"""The largest order of each instrument that was sent to a venue, by quantity and by notional: of a journal's outputs.

New orders and replaces count, as they left: what the risk gate stopped is a RISK_BLOCK, and none. A notional is the
limit price times the quantity; it is compared in floating point, and of the largest ones worked out exactly.

Worst case: two numbers an instrument are kept, whatever the journal's length.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from engine.core.rule_limits import limit_of
from engine.core.rules import L_MAX_NOTIONAL, L_MAX_QTY
from engine.core.state import State
from engine.io.journal_format import FRAME_HEADER, Kind
from engine.io.journal_reader import Chunk
from engine.record.records import DTYPES, RECORD_MAX, Template
from engine.record.units import money_factors
from engine.run.config import Config
from replay.state.structs import Peak

#: How far a product in floating point may be from the exact one, with room to spare.
_NEAR: Final = 1 - 1e-9
_SENT: Final = (Template.ORDER_NEW, Template.ORDER_REPLACE)


class Sizes:
    """Takes a run's chunks; `peaks` tells what was the most."""

    def __init__(self, config: Config) -> None:
        self._factors = [money_factors(row.px_decimals, row.qty_decimals, row.multiplier) for row in config.instrument]
        self._symbols = [row.symbol for row in config.instrument]
        self._qty = [0] * len(self._symbols)
        self._money = [0] * len(self._symbols)

    def take(self, chunk: Chunk) -> None:
        """The orders among a chunk's outputs."""
        rows = chunk.rows
        mine = rows[(rows["kind"] == Kind.OUTPUT) & (rows["length"] == RECORD_MAX)]
        begin = mine["offset"].astype(np.int64) + FRAME_HEADER
        begin = begin[np.isin(chunk.memory.view("<u2")[begin // 2 + 1], _SENT)]
        if not begin.size:
            return
        dtype = DTYPES[Template.ORDER_NEW]
        orders = chunk.memory[begin[:, None] + np.arange(RECORD_MAX)].view(dtype)[:, 0]
        for n in np.unique(orders["instrument_id"]).tolist():
            own = orders[orders["instrument_id"] == n]
            self._qty[n] = max(self._qty[n], int(own["qty"].max()))
            about = own["px"].astype(np.float64) * own["qty"].astype(np.float64)
            near = np.unique(own[about >= about.max() * _NEAR][["px", "qty"]])
            mul, div = self._factors[n]
            most = max(int(row["px"]) * int(row["qty"]) * mul // div for row in near)
            self._money[n] = max(self._money[n], most)

    def peaks(self, state: State) -> Iterator[Peak]:
        """The peaks, those that are zero left out; `state` has the limits at the end."""
        for n, symbol in enumerate(self._symbols):
            for rule, peak, column in (
                ("MAX_QTY", self._qty[n], L_MAX_QTY),
                ("MAX_NOTIONAL", self._money[n], L_MAX_NOTIONAL),
            ):
                if peak:
                    yield Peak(rule=rule, whom=symbol, peak=peak, limit=limit_of(state, n, column), instrument=n)
