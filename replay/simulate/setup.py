"""What a simulated desk looks like: a few venues, sessions and instruments, and tables so small that they fill up.

`Setup` is data: it is drawn from the seed, and stands beside the events in a failing run's file, so that the run can be
had again without the seed. `config` makes the engine's own configuration of it.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, Literal

import msgspec

from engine.run import config as c

DAY: Final = dt.date(2018, 1, 2)
#: 14:30 UTC of the day: the virtual clock's zero.
START_NS: Final = int(dt.datetime(2018, 1, 2, 14, 30, tzinfo=dt.UTC).timestamp()) * 1_000_000_000
MS: Final = 1_000_000
CLIENTS: Final = 2


class Setup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The desk of one run. Times are ms, prices cents."""

    strategy: str = "strategies.sweep"
    venues: int = 3
    gateways: int = 2
    instruments: int = 2
    parents: int = 16
    children: int = 32
    executions: int = 32
    max_rounds: int = 3
    rest: Literal["engine", "venue"] = "engine"
    stale_ms: int = 200
    child_timeout_ms: int = 50
    max_cancels: int = 2
    collar_bps: int = 300
    #: Day orders expire so long after the start.
    day_end_s: int = 3600
    fees: bool = True
    durability: Literal["process", "disk"] = "process"
    segment_bytes: int = 16384

    @property
    def sessions(self) -> int:
        """Clients, then gateways."""
        return CLIENTS + self.gateways

    def session_of(self, venue: int) -> int:
        """The session that reaches a venue."""
        return CLIENTS + venue % self.gateways


def config(setup: Setup) -> c.Config:
    """The engine's configuration."""
    end = dt.datetime.combine(DAY, dt.time(14, 30)) + dt.timedelta(seconds=setup.day_end_s)
    venues = [
        c.Venue(
            mic=f"X{chr(65 + n)}",
            code=chr(65 + n),
            session=f"v{n % setup.gateways}",
            take_fee=f"0.00{30 - n}" if setup.fees else "0",
            make_fee=f"-0.00{20 + n}" if setup.fees else "0",
        )
        for n in range(setup.venues)
    ]
    return c.Config(
        engine=c.Engine(run_dir="simulation", trading_day=DAY.isoformat()),
        orders=c.Orders(endpoint="ipc:///simulation"),
        risk=c.Risk(
            **c.ALL_OFF, max_qty="5000", max_notional="400000", collar_bps=setup.collar_bps, reference_age_ms=1000
        ),
        feed=[],
        session=[
            *(c.Session(name=f"c{n}", role="client", accounts=[0, 1]) for n in range(CLIENTS)),
            *(c.Session(name=f"v{n}", role="venue") for n in range(setup.gateways)),
        ],
        venue=venues,
        instrument=[
            c.Instrument(symbol=3 * chr(65 + n), px_decimals=2, tick_table="cents") for n in range(setup.instruments)
        ],
        tick_table=[c.TickTable(name="cents", rows=[("0", "0.01")])],
        capacity=c.Capacity(
            instruments=setup.instruments,
            venues=setup.venues,
            parents=setup.parents,
            children=setup.children,
            executions=setup.executions,
            accounts=2,
        ),
        routing=c.Routing(
            strategy=setup.strategy,
            stale_ms=setup.stale_ms,
            child_timeout_ms=setup.child_timeout_ms,
            max_cancels=setup.max_cancels,
            day_end=end.strftime("%H:%M:%S"),
            sweep=c.Sweep(max_rounds=setup.max_rounds, rest=setup.rest),
        ),
    )
