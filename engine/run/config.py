"""The configuration of a run: typed, validated, and written whole into the journal's first frame.

`load(path)` reads a TOML file into `Config`. Every error is a `ConfigError` that names file, line, key, value and what
is allowed; all errors of a file are told at once. Amounts of money and prices are decimal text ("0.0030"), because a
TOML float is not exact; they become integers in `engine.run.reference`. Reading is in `config_read`, what must hold
between keys in `config_check`, the limits of the risk gate in `config_risk`. Worst case: a file of a thousand
sections takes some tens of milliseconds, at start.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from engine.errors import UsageError
from engine.run.config_beside import Alerts, Clock, DropCopy
from engine.run.config_control import Control
from engine.run.config_risk import ALL_OFF, Permission, Risk, RiskAccount, RiskInstrument, RiskSession, RiskStrategy
from engine.run.config_types import Decimal, Name, NonNegative, Positive, Ppm, Struct

if TYPE_CHECKING:
    from engine.run.config_read import Document

#: What comes from the files beside this one and is used as a part of it.
__all__ = (
    "ALL_OFF", "Alerts", "Clock", "Decimal", "DropCopy", "Name", "NonNegative", "Permission", "Positive", "Ppm", "Risk",
    "RiskAccount", "RiskInstrument", "RiskSession", "RiskStrategy", "Struct",
)  # fmt: skip


class Engine(Struct, frozen=True):
    """How the loop runs."""

    run_dir: str
    #: CPU of the loop; -1 leaves it to the scheduler.
    core: Annotated[int, Meta(ge=-1)] = -1
    #: CPUs of ZeroMQ's I/O threads; empty leaves them to the scheduler.
    io_cores: list[NonNegative] = []
    idle: Literal["spin", "yield", "park"] = "spin"
    #: monotonic: live. feed: the publisher's clock (replays), see docs/decisions/001-replay-clock.md.
    clock: Literal["monotonic", "feed"] = "monotonic"
    #: Live data, and simulated venues in the place of the configured ones: as `tickroute run --shadow`.
    shadow: bool = False
    shard: Annotated[int, Meta(ge=0, le=127)] = 0
    #: ISO date; empty is today (UTC).
    trading_day: Annotated[
        str, Meta(pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?\Z", description="a date, YYYY-MM-DD; empty is today (UTC)")
    ] = ""
    #: Cycles longer than this are counted.
    threshold_us: Positive = 100
    #: A peer that is silent for longer is down.
    peer_timeout_ms: Positive = 300
    heartbeat_ms: Positive = 50


class Capacity(Struct, frozen=True):
    """Sizes of the preallocated tables; see engine/core/limits.py for what each costs."""

    instruments: Annotated[int, Meta(gt=0, le=65536)] = 64
    venues: Annotated[int, Meta(gt=0, le=32)] = 16
    parents: Annotated[int, Meta(gt=0, le=1 << 20)] = 4096
    children: Annotated[int, Meta(gt=0, le=1 << 22)] = 16384
    executions: Annotated[int, Meta(gt=0, le=1 << 22)] = 65536
    #: The accounts of a client session are one bit mask.
    accounts: Annotated[int, Meta(gt=0, le=63)] = 16


class Journal(Struct, frozen=True):
    """Where and how the journal is written."""

    segment_mib: Annotated[int, Meta(gt=0, le=1024)] = 64
    #: What a record must survive before it is sent: "process" the end of the process, "disk" the loss of power.
    durability: Literal["process", "disk"] = "process"
    #: With less free on its disk, no new order leaves (cancel-only); 0 watches for a full disk alone.
    min_free_mib: NonNegative = 256


class Snapshots(Struct, frozen=True):
    """How often the follower, a process of its own, writes the state; see engine/run/follow.py."""

    #: Seconds between snapshots, and before the first; 0 writes none.
    every_s: NonNegative = 300
    #: How many are kept.
    keep: Annotated[int, Meta(ge=2, le=1000)] = 2


class Retention(Struct, frozen=True):
    """Which segments of the journal are kept beyond what the snapshots need; both 0: all of them."""

    #: The newest so many MiB.
    mib: NonNegative = 0
    #: Those that were closed so many hours ago, or less.
    hours: NonNegative = 0


class Feed(Struct, frozen=True):
    """One market-data connection: the engine connects to it."""

    name: Name
    #: ipc:///path, tcp://host:port or shm:///path
    endpoint: str


class Orders(Struct, frozen=True):
    """Where clients and venue gateways dial in (the engine binds)."""

    #: ipc:///path or tcp://host:port; peers set their session name as ZeroMQ routing id.
    endpoint: str


class Session(Struct, frozen=True):
    """One order session: a client or a venue gateway, known by its name."""

    name: Name
    role: Literal["client", "venue"]
    #: "zmq" dials into [orders]; "shm:///path" is a pair of rings that this engine creates.
    endpoint: str = "zmq"
    #: Accounts that a client session may use; empty is account 0 alone.
    accounts: list[NonNegative] = []
    #: Whether all that a client session has is cancelled when it goes down.
    cancel_on_disconnect: bool = False
    #: Messages a second that a venue allows on its session, and how many of them at once: mass cancels, and cancels of
    #: orders whose venue is silent, keep to it. 0 is no limit.
    messages_per_s: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    burst: Annotated[int, Meta(gt=0, le=10_000)] = 1


class TickTable(Struct, frozen=True):
    """Price increments by price: rows of [from price, increment], ascending."""

    name: Name
    rows: list[tuple[Decimal, Decimal]]


class Faults(Struct, frozen=True):
    """How often a simulated venue misbehaves, in parts per million of the orders that reach it, or of executions."""

    #: Refused with REJECT, reason SIMULATED.
    reject_ppm: Ppm = 0
    #: The displayed size is partly or wholly gone when the order comes: a random part of it is left.
    partial_ppm: Ppm = 0
    #: Lost on the way in: never answered, never executed, unknown when asked about.
    lost_order_ppm: Ppm = 0
    #: Worked as any other, but of its reports only executions arrive, and then the answer to a status request.
    lost_ack_ppm: Ppm = 0
    #: Cancelled by the venue some milliseconds after it came to rest, without anybody having asked.
    unsolicited_ppm: Ppm = 0
    #: Of executions: taken back some milliseconds later (BUST). The order does not get the quantity again.
    bust_ppm: Ppm = 0
    #: Of executions that are not busted: corrected some milliseconds later (CORRECT), in price or in quantity.
    correct_ppm: Ppm = 0


class Simulation(Faults, frozen=True):
    """The simulated venues (`tickroute venues`); a venue's own `simulation` table replaces the faults."""

    #: The same seed, orders and feed give the same reports; each venue draws numbers of its own.
    seed: Annotated[int, Meta(ge=0, lt=1 << 62)] = 0
    #: Orders that all simulated venues together can remember; more are refused with TABLE_FULL.
    orders: Annotated[int, Meta(gt=0, le=1 << 24)] = 1 << 16
    #: A venue whose session goes down cancels the orders that rest there.
    cancel_on_disconnect: bool = False
    #: A venue says in its hello that it takes MASS_CANCEL, and does.
    mass_cancel: bool = False
    #: How resting orders come forward: "worst" by trades alone, "proportional" also by a share of what is cancelled,
    #: "exact" by the orders before them, which a feed of orders alone shows.
    queue: Literal["worst", "proportional", "exact"] = "worst"
    #: Match against the feed's levels and orders where it has them, not against its best bid and offer alone.
    depth: bool = True


class Tier(Struct, frozen=True):
    """Fees of a venue for those who have traded much there; as in Venue."""

    #: From so many shares, coins or contracts, or so much of the currency: what tier_traded counts in.
    least: Annotated[int, Meta(gt=0, le=1 << 62)] = msgspec.field(name="from")
    take_fee: Decimal = "0"
    make_fee: Decimal = "0"
    take_bps: Decimal = "0"
    make_bps: Decimal = "0"


class Venue(Struct, frozen=True):
    """One venue: identity, order session, fees, lot, latency."""

    mic: Name
    #: The feed's code for it, e.g. the letter of a TAQ file.
    code: Name
    session: Name
    #: Per quantity unit of one share or coin, in the currency; negative is a rebate.
    take_fee: Decimal = "0"
    make_fee: Decimal = "0"
    #: On the notional, in basis points.
    take_bps: Decimal = "0"
    make_bps: Decimal = "0"
    #: Other fees from certain amounts on, ascending, and the amount of the venue's period (a month to date, say) that
    #: was traded when the run begins: the last tier that it reaches holds for the run.
    tier: list[Tier] = []
    tier_traded: Annotated[int, Meta(ge=0, le=1 << 62)] = 0
    latency_us: NonNegative = 0
    #: When it is simulated: a file of HdrHistogram's (.hlog or .hgrm, relative to this one) from which each order's
    #: latency is drawn in the place of latency_us, and the tag (stage) of an .hlog; reports may have their own.
    latency: str = ""
    latency_tag: str = ""
    report_latency: str = ""
    report_latency_tag: str = ""
    #: When it is simulated: its trading hours, a name of the exchange-calendars package, "XNYS"; empty is always open.
    calendar: Annotated[str, Meta(max_length=40, description='a calendar of exchange-calendars, such as "XNYS"')] = ""
    #: In shares or coins.
    lot: Decimal = "1"
    tick_table: str = ""
    odd_lots: bool = False
    #: Its quotes have our own resting orders' size in them, as a real venue's have and a recorded day's have not: what
    #: is ours there is not routed to.
    shows_own: bool = False
    #: Its quotes are protected quotations, which nothing may trade through, lock or cross ([risk] trade_through and
    #: locked_crossed). False for what reports trades of off-exchange venues, and where quotes are not firm.
    protected: bool = True
    #: Faults of this venue when it is simulated; absent are those of [simulation].
    simulation: Faults | None = None

    @property
    def fees(self) -> Venue | Tier:
        """What has the fees that hold: the venue itself, or the tier that was reached."""
        reached = [tier for tier in self.tier if tier.least <= self.tier_traded]
        return reached[-1] if reached else self


class Instrument(Struct, frozen=True):
    """One instrument: identity, units, lot."""

    symbol: Name
    isin: Annotated[
        str, Meta(pattern=r"^([A-Z]{2}[A-Z0-9]{9}[0-9])?\Z", description="an ISIN, 12 characters, or empty")
    ] = ""
    #: ISO 10383 code of the primary market.
    mic: Annotated[str, Meta(pattern=r"^[A-Z0-9]{0,4}\Z", description="a MIC, 4 capitals or digits, or empty")] = ""
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z", description="an ISO 4217 code, such as USD")] = "USD"
    px_decimals: Annotated[int, Meta(ge=0, le=9)] = 4
    qty_decimals: Annotated[int, Meta(ge=0, le=9)] = 0
    lot: Decimal = "1"
    multiplier: Positive = 1
    tick_table: str = ""
    odd_lots: bool = False


class Sweep(Struct, frozen=True):
    """Parameters of the sweep workflow."""

    max_rounds: Annotated[int, Meta(gt=0, le=1000)] = 4
    #: Where a remainder rests: in the engine (it watches the book) or at a venue (it is posted).
    rest: Literal["engine", "venue"] = "engine"
    #: MIC of the venue where remainders are posted; empty is the one with the best make fee.
    post_venue: str = ""


class Routing(Struct, frozen=True):
    """What every workflow obeys."""

    #: A module, such as strategies.sweep, or a file, relative to this one, such as mine/pounce.py.
    strategy: str = "strategies.sweep"
    #: Integers that the strategy declares, by name; absent ones have its defaults.
    parameters: dict[str, Annotated[int, Meta(ge=-(1 << 62), le=1 << 62)]] = {}
    #: A quote older than this is not routed to.
    stale_ms: Positive = 1000
    #: A child without a terminal report after this is cancelled (and nothing else).
    child_timeout_ms: Positive = 1000
    #: Times that an unanswered cancel is sent again before the child is left UNKNOWN.
    max_cancels: Annotated[int, Meta(gt=0, le=100)] = 3
    #: End of the session, UTC, "21:00:00": day orders expire then; empty is never.
    day_end: Annotated[
        str, Meta(pattern=r"^([0-9]{2}:[0-9]{2}:[0-9]{2})?\Z", description="a time UTC, HH:MM:SS; empty is never")
    ] = ""
    sweep: Sweep = Sweep()


class Day(Struct, frozen=True):
    """When a trading day follows on another without a restart."""

    #: UTC, "22:00:00": the trading day ends then (on the day after, where that is not after routing.day_end); empty is
    #: never.
    roll: Annotated[
        str, Meta(pattern=r"^([0-9]{2}:[0-9]{2}:[0-9]{2})?\Z", description="a time UTC, HH:MM:SS; empty is never")
    ] = ""
    #: Whether Saturdays and Sundays are trading days.
    weekends: bool = False


class Positions(Struct, frozen=True):
    """What accounts hold before the first order."""

    #: A CSV file, relative to this one; see engine/run/positions.py. Empty is none.
    file: str = ""


class Config(Struct, frozen=True):
    """A whole run."""

    engine: Engine
    orders: Orders
    risk: Risk
    feed: list[Feed]
    session: list[Session]
    venue: list[Venue]
    instrument: list[Instrument]
    tick_table: list[TickTable] = []
    capacity: Capacity = Capacity()
    journal: Journal = Journal()
    snapshots: Snapshots = Snapshots()
    retention: Retention = Retention()
    simulation: Simulation = Simulation()
    routing: Routing = Routing()
    day: Day = Day()
    positions: Positions = Positions()
    alerts: Alerts = Alerts()
    clock: Clock = Clock()
    drop_copy: DropCopy = DropCopy()
    control: Control = Control()


class ConfigError(UsageError):
    """A configuration that cannot be used; the message names file, key, value and what is allowed."""


def load(path: Path | str, *, host: bool = True) -> Config:
    """Read, validate and cross-check a TOML file.

    host=False leaves out what holds on this machine alone (CPU numbers). ConfigError: the file cannot be read, is no
    TOML, or says something that cannot be; the message lists every problem.
    """
    from engine.run.config_read import read

    document = read(Path(path))
    return settled(document, document.convert(Config), host=host)


def settled(document: Document, config: Config, *, host: bool = True) -> Config:
    """A configuration of `document`, cross-checked, the files that it names relative to it in full. See `load`."""
    from engine.run.config_check import problems

    document.complain(problems(config, host=host))
    folder = document.path.resolve().parent
    if config.positions.file:
        config = msgspec.structs.replace(config, positions=Positions(file=str(folder / config.positions.file)))
    if config.routing.strategy.endswith(".py"):
        routing = msgspec.structs.replace(config.routing, strategy=str(folder / config.routing.strategy))
        config = msgspec.structs.replace(config, routing=routing)
    return msgspec.structs.replace(config, venue=[_with_paths(row, folder) for row in config.venue])


def _with_paths(venue: Venue, folder: Path) -> Venue:
    """Its latency files in full."""
    named = {key: str(folder / name) for key in ("latency", "report_latency") if (name := getattr(venue, key))}
    return msgspec.structs.replace(venue, **named) if named else venue


def to_canonical_json(config: Config) -> bytes:
    """The whole configuration, defaults written out, as JSON with sorted keys: equal configurations, equal bytes."""
    return msgspec.json.encode(config, order="sorted")


def from_json(data: bytes) -> Config:
    """The configuration that a manifest holds. ConfigError where it is none; nothing about this machine is checked."""
    try:
        return msgspec.convert(_as_now(msgspec.json.decode(data)), Config)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"the configuration in the manifest cannot be read: {error}; was it edited?") from error


def _as_now(raw: Any) -> Any:
    """A configuration of before there were so many rules, in today's words: what it did not have was off."""
    risk = raw.get("risk") if isinstance(raw, dict) else None
    if isinstance(risk, dict) and "trade_through" not in risk:
        return {**raw, "risk": {**msgspec.to_builtins(ALL_OFF), **risk}}
    return raw
