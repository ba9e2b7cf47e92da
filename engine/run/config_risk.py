"""`[risk]`: the limits of the risk gate. All must be set, but for two switches that are on where nothing is said; "off"
is a word that must be written, and is shown.

What an instrument, a session, a strategy or an account has of its own stands in the place of what `[risk]` says for
all. docs/controls.md says what each rule does.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from engine.core.limits import MAX_STRATEGIES
from engine.run.config_types import Decimal, Name, Positive, Struct

#: A rule that is switched off, on purpose and in writing.
OFF: Final = "off"
_Bps = Annotated[int, Meta(gt=0, le=100_000)]
Bps = Annotated[
    Literal["off"] | _Bps, Meta(description='basis points, a whole number from 1 to 100000, or "off"', examples=[1000])
]
Rate = Annotated[
    Literal["off"] | Positive,
    Meta(description='messages a second, a whole number of at least 1, or "off"', examples=[1000]),
]
Count = Annotated[
    Literal["off"] | Positive, Meta(description='a whole number of at least 1, or "off"', examples=[1000])
]
Ms = Annotated[
    Literal["off"] | Positive, Meta(description='milliseconds, a whole number of at least 1, or "off"', examples=[500])
]
Switch = Annotated[
    Literal["block", "off"], Meta(description='"block", which is the default, or "off"', examples=["block"])
]
#: Quantities and money.
Amount = Annotated[
    str,
    Meta(
        max_length=40,
        pattern=r"^(off|[0-9]+(\.[0-9]+)?)\Z",
        description='a decimal number as text in quotes, such as "5000000", or "off"',
        examples=["5000000"],
    ),
]
Names = Annotated[Literal["*"] | list[Name], Meta(description='a list of names, or "*" for all', examples=["*"])]
Strategy = Annotated[int, Meta(ge=0, lt=MAX_STRATEGIES)]
Strategies = Annotated[
    Literal["*"] | list[Strategy],
    Meta(description=f'a list of algo_ids, 0 to {MAX_STRATEGIES - 1}, or "*" for all', examples=["*"]),
]


class Permission(Struct, frozen=True):
    """Who may trade what where. An order needs one permission that names all four of it."""

    #: Client sessions by name.
    client: Names
    #: By the orders' algo_id.
    strategy: Strategies
    #: Symbols.
    instrument: Names
    #: MICs.
    venue: Names


class RiskInstrument(Struct, frozen=True):
    """Limits of one instrument's own."""

    symbol: Name
    max_qty: Decimal | None = None
    max_notional: Decimal | None = None
    collar_bps: _Bps | None = None
    period_collar_bps: Bps | None = None
    fat_finger_bps: Bps | None = None
    max_position: Amount | None = None
    instrument_rate: Rate | None = None


class RiskSession(Struct, frozen=True):
    """The limit of one venue session's own."""

    name: Name
    session_rate: Rate


class RiskStrategy(Struct, frozen=True):
    """Limits of one strategy's own."""

    algo_id: Strategy
    strategy_rate: Rate | None = None
    repeated_executions: Count | None = None


class RiskAccount(Struct, frozen=True):
    """Limits of one account's own."""

    account: Annotated[int, Meta(ge=0, le=62)]
    gross_notional: Amount | None = None
    net_notional: Amount | None = None


#: The rules that may be off, off; permitted is all. For what is no desk's: the small world of a proof, old journals.
ALL_OFF: Final[dict[str, Any]] = {
    **dict.fromkeys(
        "period_collar_bps fat_finger_bps max_position gross_notional net_notional session_rate strategy_rate"
        " instrument_rate duplicate_ms repeated_executions trade_through locked_crossed".split(),
        OFF,
    ),
    "collar_period_ms": 1000,
    "repeated_executions_ms": 1000,
    "restricted": [],
    "permission": [Permission(client="*", strategy="*", instrument="*", venue="*")],
}


class Risk(Struct, frozen=True):
    """Hard limits on each order; all must be set, but for the two switches."""

    #: Of an order. Shares or coins.
    max_qty: Annotated[Decimal, Meta(examples=["20000"])]
    #: Of an order. In the instrument's currency.
    max_notional: Annotated[Decimal, Meta(examples=["5000000"])]
    #: How far a limit price may be on the other side of the reference price.
    collar_bps: Annotated[_Bps, Meta(examples=[500])]
    #: A reference older than this is none.
    reference_age_ms: Annotated[Positive, Meta(examples=[60_000])]
    #: The same, of the lowest (buys) or highest (sells) reference price of a period, and that period.
    period_collar_bps: Bps
    collar_period_ms: Annotated[Positive, Meta(examples=[300_000])]
    #: How far a limit price may be from the reference price on either side.
    fat_finger_bps: Bps
    #: Of an account in an instrument, working orders counted. Shares or coins.
    max_position: Amount
    #: Of an account over the instruments of a currency, working orders counted. In that currency.
    gross_notional: Amount
    net_notional: Amount
    #: Messages to venues a second: new orders, replaces and cancels.
    session_rate: Rate
    strategy_rate: Rate
    instrument_rate: Rate
    #: A client's order that repeats another within this is a duplicate.
    duplicate_ms: Ms
    #: A strategy that is executed so often within the period is latched until a person enables it.
    repeated_executions: Count
    repeated_executions_ms: Annotated[Positive, Meta(examples=[60_000])]
    #: Symbols in which nothing is sent.
    restricted: Annotated[list[Name], Meta(description="a list of symbols, [] for none", examples=[[]])]
    permission: list[Permission]
    #: What could execute at a price worse than another venue's protected quote; what would be displayed, and lock or
    #: cross one (SEC Rules 611 and 610(e)).
    trade_through: Switch = "block"
    locked_crossed: Switch = "block"
    instrument: list[RiskInstrument] = []
    session: list[RiskSession] = []
    strategy: list[RiskStrategy] = []
    account: list[RiskAccount] = []
