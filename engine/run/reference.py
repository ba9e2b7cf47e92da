"""From a configuration to the state before the first event: instruments, venues, sessions, tick tables, limits.

Decimal text becomes exact integers here, once. A value that its units cannot hold exactly is an error, as is a limit
that would let a product leave 63 bits: after this, kernels multiply without checks.
"""

from __future__ import annotations

import datetime as dt

from engine.core.limits import Limits
from engine.core.state import NEVER, State, allocate
from engine.record.records import text16
from engine.record.units import MONEY_DECIMALS, money_factors, pack_currency, to_money, to_units
from engine.run.bind import machine_of
from engine.run.config import Config, ConfigError
from engine.run.reference_risk import own, set_risk

_PRODUCT_MAX = 1 << 62
#: No price above this many price units is believed, whatever the limits.
_PX_CEILING = 1 << 50


def limits_of(config: Config) -> Limits:
    """The capacities that a configuration asks for."""
    c = config.capacity
    return Limits(c.instruments, c.venues, c.parents, c.children, c.executions, c.accounts)


def trading_day(config: Config) -> dt.date:
    """The run's trading day; today (UTC) where the configuration names none."""
    text = config.engine.trading_day
    return dt.date.fromisoformat(text) if text else dt.datetime.now(dt.UTC).date()


def build_state(config: Config, day: dt.date, stream_epoch: int, sources: dict[str, str] | None = None) -> State:
    """A State ready for its first event. `stream_epoch` is the engine's own epoch on its sessions, in seconds.

    `sources` are the texts of a strategy from outside, where a journal holds them. ConfigError, BindError,
    MachineError.
    """
    state = allocate(limits_of(config))
    _set_ticks(config, state)
    _set_sessions(config, state)
    _set_venues(config, state)
    _set_lots(config, state)
    for index in range(len(config.instrument)):
        _set_instrument(config, state, index)
    set_risk(config, state)
    _set_params(config, state, day, stream_epoch)
    _set_parameters(config, state, sources)
    return state


def _set_parameters(config: Config, state: State, sources: dict[str, str] | None) -> None:
    """The strategy's own parameters: what the configuration says, else what the strategy declares."""
    declared = machine_of(config.routing.strategy, sources).parameters
    for name in config.routing.parameters:
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise ConfigError(
                f"routing.parameters.{name}: {config.routing.strategy} declares no such parameter; it has: {known}"
            )
    for name, (index, default) in declared.items():
        state.parameters[index] = config.routing.parameters.get(name, default)


def _set_params(config: Config, state: State, day: dt.date, stream_epoch: int) -> None:
    params, routing = state.params[0], config.routing
    days = (day - dt.date(1970, 1, 1)).days
    params.id_base = (config.engine.shard << 56) | (days << 40)
    params.stream_epoch = stream_epoch
    params.stale_ns = routing.stale_ms * 1_000_000
    params.child_timeout_ns = routing.child_timeout_ms * 1_000_000
    params.max_cancels = routing.max_cancels
    params.max_rounds = routing.sweep.max_rounds
    params.rest_at = 1 if routing.sweep.rest == "venue" else 0
    params.post_venue = _post_venue(config, state)
    params.reference_age_ns = config.risk.reference_age_ms * 1_000_000
    params.day_end_ns = NEVER
    if routing.day_end:
        end = dt.datetime.combine(day, dt.time.fromisoformat(routing.day_end), dt.UTC)
        params.day_end_ns = int(end.timestamp()) * 1_000_000_000
    params.n_instruments = len(config.instrument)
    params.n_venues = len(config.venue)
    params.n_sessions = len(config.session)
    params.venue_stride = config.capacity.venues
    params.n_accounts = config.capacity.accounts
    state.core[0].next_parent = 1
    state.core[0].next_child = 1


def _post_venue(config: Config, state: State) -> int:
    """Index of the venue where remainders are posted: the one named, else the one with the best make fee."""
    wanted = config.routing.sweep.post_venue
    if wanted:
        return next(n for n, venue in enumerate(config.venue) if venue.mic == wanted)
    order = sorted(range(len(config.venue)), key=lambda n: (int(state.venues["make_fee"][n]), config.venue[n].mic))
    return order[0]


def _set_ticks(config: Config, state: State) -> None:
    """Rows of all tables, in the finest price units of any instrument that uses the table."""
    row = 0
    for number, table in enumerate(config.tick_table):
        decimals = {i.px_decimals for i in config.instrument if i.tick_table == table.name}
        decimals |= {i.px_decimals for i in config.instrument for v in config.venue if v.tick_table == table.name}
        if len(decimals) > 1:
            raise ConfigError(
                f"tick_table {table.name!r}: used with px_decimals {sorted(decimals)}; "
                "give instruments with other decimals a table of their own"
            )
        digits = min(decimals, default=0)
        for from_px, tick_px in table.rows if decimals else ():
            if row >= len(state.ticks):
                raise ConfigError(f"tick_table {table.name!r}: more than {len(state.ticks)} rows in all tables")
            key = f"tick_table {table.name!r}"
            state.ticks[row].table = number
            state.ticks[row].from_px = to_units(from_px, digits, key)
            state.ticks[row].tick_px = to_units(tick_px, digits, key)
            row += 1


def _table_index(config: Config, name: str) -> int:
    return next((n for n, table in enumerate(config.tick_table) if table.name == name), -1)


def _set_sessions(config: Config, state: State) -> None:
    for index, session in enumerate(config.session):
        line = state.sessions[index]
        line.role = 1 if session.role == "client" else 2
        line.cancels_on_down = int(session.cancel_on_disconnect)
        if session.messages_per_s:
            line.pace_ns = -(-1_000_000_000 // session.messages_per_s)
            line.burst_ns = (session.burst - 1) * line.pace_ns
        for account in session.accounts or [0]:
            line.account_mask = int(line.account_mask) | (1 << account)


def _set_venues(config: Config, state: State) -> None:
    sessions = {session.name: index for index, session in enumerate(config.session)}
    by_mic = sorted(venue.mic for venue in config.venue)
    for index, venue in enumerate(config.venue):
        line, key = state.venues[index], f"venue {venue.mic!r}"
        line.mic[:] = text16(venue.mic)
        line.take_fee = to_money(venue.fees.take_fee, f"{key} take_fee")
        line.make_fee = to_money(venue.fees.make_fee, f"{key} make_fee")
        line.take_ppm = to_units(venue.fees.take_bps, 2, f"{key} take_bps")
        line.make_ppm = to_units(venue.fees.make_bps, 2, f"{key} make_bps")
        line.latency_ns = venue.latency_us * 1000
        line.rank = by_mic.index(venue.mic)
        line.session = sessions[venue.session]
        line.tick_table = _table_index(config, venue.tick_table)
        line.shows_own = int(venue.shows_own)
        line.protected = int(venue.protected)


def _set_lots(config: Config, state: State) -> None:
    """Smallest quantity step of each instrument at each venue, quantity units: the larger lot, or a unit where both
    deal in odd lots."""
    for i, instrument in enumerate(config.instrument):
        own = to_units(instrument.lot, instrument.qty_decimals, f"instrument {instrument.symbol!r} lot")
        for v, venue in enumerate(config.venue):
            lot = max(own, to_units(venue.lot, instrument.qty_decimals, f"venue {venue.mic!r} lot"))
            state.lots[i * config.capacity.venues + v] = 1 if venue.odd_lots and instrument.odd_lots else lot


def _set_instrument(config: Config, state: State, index: int) -> None:
    instrument, row = config.instrument[index], state.instruments[index]
    key = f"instrument {instrument.symbol!r}"
    digits = instrument.qty_decimals
    row.symbol[:] = text16(instrument.symbol)
    row.isin[:] = text16(instrument.isin)
    row.mic[:] = text16(instrument.mic)
    row.currency = pack_currency(instrument.currency)
    row.px_decimals = instrument.px_decimals
    row.qty_decimals = digits
    row.lot_qty = to_units(instrument.lot, digits, f"{key} lot")
    row.odd_lots = int(instrument.odd_lots)
    row.tick_table = _table_index(config, instrument.tick_table)
    row.px_money = 10 ** (MONEY_DECIMALS - instrument.px_decimals) * instrument.multiplier
    row.qty_unit = 10**digits
    row.notional_mul, row.notional_div = money_factors(instrument.px_decimals, digits, instrument.multiplier)
    max_qty = own(config, "instrument", "symbol", instrument.symbol, "max_qty")
    row.safe_qty = to_units(max_qty, digits, "risk.max_qty")
    widest = max((abs(int(v.take_ppm)) + abs(int(v.make_ppm)) for v in state.venues), default=0)
    row.max_px = min(
        _PRODUCT_MAX // (int(row.safe_qty) * int(row.notional_mul)),
        _PRODUCT_MAX // (int(row.px_money) * max(widest, 1)),
        _PX_CEILING,
    )
    if row.max_px < 10**instrument.px_decimals:
        raise ConfigError(
            f"{key}: with max_qty {max_qty} and px_decimals {instrument.px_decimals} no price of 1 would "
            "fit 63 bits; lower risk.max_qty or the decimals"
        )
