"""What must hold between the keys of a configuration: references, uniqueness, room in the tables, products that fit.

Each check yields a `Problem` for each mistake; all checks run, so that a file is told everything at once. After them
every name that is used exists, every decimal text is exact in the units it will be held in, and a price times a
quantity within the limits can be computed in 63 bits. Worst case: venues x instruments comparisons, at start.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from engine.core.limits import MAX_SESSIONS
from engine.record.units import MONEY_DECIMALS, UnitError, from_units, money_factors, trading_day
from engine.run.config import Config, Tier, Venue
from engine.run.config_check_risk import among, exact, risk_problems, unique
from engine.run.config_control import problems_of
from engine.run.config_read import Problem, shown

#: Money limits leave one bit of an int64, so that the sum of two of them still fits.
MONEY_BOUND = 1 << 62
#: struct sockaddr_un has 108 bytes for the path, the last one NUL.
IPC_PATH_MAX = 107
BPS_DECIMALS = 2
#: A million a share; prices and fees of a share then add up within 63 bits.
MOST_FEE = 1_000_000 * 10**MONEY_DECIMALS

_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.*-]+):([0-9]{1,5})")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def problems(config: Config, *, host: bool) -> Iterator[Problem]:
    """All that is wrong between the keys of a configuration whose single values are right."""
    checks: list[Callable[[Config], Iterator[Problem]]] = [
        _counts, _names, _references, _sessions, _control, _endpoints, _times, _tick_tables, _lots, _fees, _limits,
        risk_problems,
    ]  # fmt: skip
    for check in [*checks, _cores] if host else checks:
        yield from check(config)


def _counts(config: Config) -> Iterator[Problem]:
    for name in ("feed", "session", "venue", "instrument"):
        if not getattr(config, name):
            yield Problem(name, f": there is none; add a [[{name}]] table")
    room = (("instruments", config.instrument), ("venues", config.venue))
    for name, rows in room:
        most = getattr(config.capacity, name)
        if len(rows) > most:
            yield Problem(f"capacity.{name}", f" = {most}: must be at least {len(rows)}, there are that many {name}")
    if len(config.session) > MAX_SESSIONS:
        yield Problem("session", f": there are {len(config.session)}; {MAX_SESSIONS} is the most")
    for n, session in enumerate(config.session):
        for account in session.accounts:
            if account >= config.capacity.accounts:
                yield Problem(
                    f"session[{n}].accounts",
                    f" = {account}: must be below capacity.accounts = {config.capacity.accounts}",
                )


def _names(config: Config) -> Iterator[Problem]:
    yield from unique("feed", "name", [row.name for row in config.feed])
    yield from unique("session", "name", [row.name for row in config.session])
    yield from unique("venue", "mic", [row.mic for row in config.venue])
    yield from unique("venue", "code", [row.code for row in config.venue])
    yield from unique("instrument", "symbol", [row.symbol for row in config.instrument])
    yield from unique("instrument", "isin", [row.isin for row in config.instrument])
    yield from unique("tick_table", "name", [row.name for row in config.tick_table])


def _references(config: Config) -> Iterator[Problem]:
    venues = [row.name for row in config.session if row.role == "venue"]
    tables = ["", *(row.name for row in config.tick_table)]
    for n, venue in enumerate(config.venue):
        yield from among(f"venue[{n}].session", venue.session, venues, 'a [[session]] with role = "venue"')
        yield from among(f"venue[{n}].tick_table", venue.tick_table, tables, "a [[tick_table]]")
    for n, instrument in enumerate(config.instrument):
        yield from among(f"instrument[{n}].tick_table", instrument.tick_table, tables, "a [[tick_table]]")
    mics = ["", *(row.mic for row in config.venue)]
    yield from among("routing.sweep.post_venue", config.routing.sweep.post_venue, mics, "a venue (its mic)")
    if not _MODULE.fullmatch(config.routing.strategy) and not config.routing.strategy.endswith(".py"):
        value = shown(config.routing.strategy)
        yield Problem(
            "routing.strategy",
            f" = {value}: must be a Python module, such as strategies.sweep, or a file ending in .py",
        )


def _sessions(config: Config) -> Iterator[Problem]:
    for n, session in enumerate(config.session):
        if session.cancel_on_disconnect and session.role != "client":
            yield Problem(f"session[{n}].cancel_on_disconnect", ": is for clients; this session is a venue's")
        if session.messages_per_s and session.role != "venue":
            yield Problem(f"session[{n}].messages_per_s", ": is what a venue allows; this session is a client's")


def _control(config: Config) -> Iterator[Problem]:
    for key, text in problems_of(config.control):
        yield Problem(key, text)
    if config.control.curve:
        yield from _endpoint("control.curve", config.control.curve, ("tcp",))


def _endpoint(key: str, text: str, schemes: Sequence[str]) -> Iterator[Problem]:
    scheme, separator, rest = text.partition("://")
    why = None
    if not separator or scheme not in schemes:
        forms = {"ipc": "ipc:///path", "tcp": "tcp://host:port", "shm": "shm:///path", "zmq": "zmq"}
        why = "must be " + " or ".join(forms[s] for s in schemes)
    elif scheme == "tcp":
        match = _HOST_PORT.fullmatch(rest)
        if match is None or not 0 < int(match[2]) < 65536:
            why = "must be tcp://host:port, the port from 1 to 65535"
    elif not rest.startswith("/") or rest.endswith("/"):
        why = f"must name a file by its full path, {scheme}:///path"
    elif scheme == "ipc" and len(os.fsencode(rest)) > IPC_PATH_MAX:
        why = f"has a path of {len(os.fsencode(rest))} bytes; the system allows {IPC_PATH_MAX}: use a shorter folder"
    if why:
        yield Problem(key, f" = {shown(text)}: {why}")


def _endpoints(config: Config) -> Iterator[Problem]:
    used = {config.orders.endpoint: "orders.endpoint"}
    yield from _endpoint("orders.endpoint", config.orders.endpoint, ("ipc", "tcp"))
    rows: list[tuple[str, str, tuple[str, ...]]]
    rows = [(f"feed[{n}].endpoint", row.endpoint, ("ipc", "tcp", "shm")) for n, row in enumerate(config.feed)]
    for n, session in enumerate(config.session):
        if session.endpoint != "zmq":
            rows.append((f"session[{n}].endpoint", session.endpoint, ("zmq", "shm")))
    beside = (("alerts.endpoint", config.alerts.endpoint), ("drop_copy.endpoint", config.drop_copy.endpoint))
    rows += [(key, text, ("ipc", "tcp")) for key, text in beside if text]
    for key, text, schemes in rows:
        yield from _endpoint(key, text, schemes)
        if text in used:
            yield Problem(key, f" = {shown(text)}: {used[text]} is the same; give each its own")
        used.setdefault(text, key)


def _times(config: Config) -> Iterator[Problem]:
    try:
        trading_day(config.engine.trading_day)
    except UnitError as error:
        yield Problem("engine.trading_day", f": {error}")
    for key, text in (("routing.day_end", config.routing.day_end), ("day.roll", config.day.roll)):
        try:
            datetime.time.fromisoformat(text or "00:00:00")
        except ValueError:
            yield Problem(key, f" = {shown(text)}: must be a time of day, 00:00:00 to 23:59:59")
    least = 2 * config.engine.heartbeat_ms
    if config.engine.peer_timeout_ms < least:
        value = config.engine.peer_timeout_ms
        yield Problem(
            "engine.peer_timeout_ms", f" = {value}: must be at least {least}, twice heartbeat_ms: a beat may be late"
        )


def _tick_tables(config: Config) -> Iterator[Problem]:
    on_all = {row.tick_table for row in config.venue}
    for n, table in enumerate(config.tick_table):
        key = f"tick_table[{n}].rows"
        users = [i for i in config.instrument if table.name in on_all or i.tick_table == table.name]
        decimals = {i.px_decimals for i in users} or {MONEY_DECIMALS}
        if len(decimals) > 1:
            yield Problem(
                key, f": used with px_decimals {sorted(decimals)}; give instruments with others their own table"
            )
            continue
        places = decimals.pop()
        rows: list[tuple[int, int]] = []
        for from_px, tick_px in table.rows:
            why = "px_decimals of the instruments that use it"
            start, bad_start = exact(key, from_px, places, why)
            tick, bad_tick = exact(key, tick_px, places, why)
            yield from bad_start + bad_tick
            rows.append((start, tick))
        yield from _tick_rows(key, rows, places)


def _tick_rows(key: str, rows: list[tuple[int, int]], places: int) -> Iterator[Problem]:
    if not rows or rows[0][0] != 0:
        yield Problem(key, ': the first row must begin at price "0", so that every price has an increment')
    for start, tick in rows:
        at = from_units(start, places)
        if tick <= 0:
            yield Problem(key, f": the increment from {at} on must be above 0")
        elif start % tick:
            yield Problem(key, f": the row from {at} on must begin at a whole number of its increments")
    for (start, tick), (following, _) in pairwise(rows):
        at = from_units(following, places)
        if following <= start:
            yield Problem(key, f": rows must ascend, and {at} comes after {from_units(start, places)}")
        elif tick > 0 and following % tick:
            yield Problem(key, f": the row from {at} on must begin at a whole number of the increments before it")


def _lots(config: Config) -> Iterator[Problem]:
    for i, instrument in enumerate(config.instrument):
        places = instrument.qty_decimals
        why = f"qty_decimals of {instrument.symbol}"
        lot, bad = exact(f"instrument[{i}].lot", instrument.lot, places, why)
        yield from bad
        if not bad and lot <= 0:
            yield Problem(f"instrument[{i}].lot", f" = {shown(instrument.lot)}: must be above 0")
        for v, venue in enumerate(config.venue):
            theirs, bad = exact(f"venue[{v}].lot", venue.lot, places, why)
            yield from bad
            if not bad and theirs <= 0:
                yield Problem(f"venue[{v}].lot", f" = {shown(venue.lot)}: must be above 0")
            elif lot > 0 and theirs > 0 and max(lot, theirs) % min(lot, theirs):
                other = f"the lot of {instrument.symbol}, {instrument.lot}"
                yield Problem(f"venue[{v}].lot", f" = {shown(venue.lot)}: must be a multiple of {other}, or divide it")


def _fees(config: Config) -> Iterator[Problem]:
    for n, venue in enumerate(config.venue):
        yield from _fees_of(f"venue[{n}]", venue)
        for k, tier in enumerate(venue.tier):
            yield from _fees_of(f"venue[{n}].tier[{k}]", tier)
            if k and tier.least <= venue.tier[k - 1].least:
                text = f" = {tier.least}: must be above that of the tier before, {venue.tier[k - 1].least}"
                yield Problem(f"venue[{n}].tier[{k}].from", text)


def _fees_of(where: str, row: Venue | Tier) -> Iterator[Problem]:
    for name in ("take_fee", "make_fee"):
        text, key = getattr(row, name), f"{where}.{name}"
        value, bad = exact(key, text, MONEY_DECIMALS, "a fee is held in 1e-9 of the currency a share or coin")
        yield from bad
        if abs(value) > MOST_FEE:
            yield Problem(key, f" = {shown(text)}: must be from -1000000 to 1000000 for one share or coin")
    for name in ("take_bps", "make_bps"):
        text, key = getattr(row, name), f"{where}.{name}"
        value, bad = exact(key, text, BPS_DECIMALS, "it is held in parts per million")
        yield from bad
        if abs(value) > 10_000 * 10**BPS_DECIMALS:
            yield Problem(key, f" = {shown(text)}: must be from -10000 to 10000 basis points")


def _limits(config: Config) -> Iterator[Problem]:
    risk = config.risk
    most = from_units(MONEY_BOUND - 1, MONEY_DECIMALS)
    notionals = [("risk.max_notional", risk.max_notional)]
    notionals += [
        (f"risk.instrument[{n}].max_notional", row.max_notional or "1") for n, row in enumerate(risk.instrument)
    ]
    for key, text in notionals:
        money, bad = exact(key, text, MONEY_DECIMALS, "money is held in 1e-9")
        yield from bad
        if not bad and not 0 < money < MONEY_BOUND:
            yield Problem(key, f" = {shown(text)}: must be above 0, and {most} at most")
    pairs = [(row, ("risk.max_qty", risk.max_qty)) for row in config.instrument]
    pairs += [(row, own) for row, general in pairs if (own := _own(config, row.symbol, "max_qty")) != general]
    for instrument, (key, text) in pairs:
        why = f"qty_decimals of {instrument.symbol}"
        money = exact("", _own(config, instrument.symbol, "max_notional")[1], MONEY_DECIMALS, "")[0]
        qty, bad = exact(key, text, instrument.qty_decimals, why)
        yield from bad
        if bad:
            continue
        lot = exact("", instrument.lot, instrument.qty_decimals, "")[0]
        if qty <= 0 or qty < lot:
            floor = f"the lot of {instrument.symbol}, {instrument.lot}"
            yield Problem(key, f" = {shown(text)}: must be above 0, and no less than {floor}")
            continue
        mul, div = money_factors(instrument.px_decimals, instrument.qty_decimals, instrument.multiplier)
        # One unit of price beyond the limit must still be computed, or it could not be seen to be beyond.
        if money * div + qty * mul >= MONEY_BOUND or 10**instrument.px_decimals * qty * mul >= MONEY_BOUND:
            units = f"{instrument.symbol}, px_decimals {instrument.px_decimals}, qty_decimals {instrument.qty_decimals}"
            where = "at max_notional, or at a price of 1, is beyond 63 bits: lower it, or the decimals"
            yield Problem(key, f" = {shown(text)}: this quantity ({units}) {where}")


def _own(config: Config, symbol: str, name: str) -> tuple[str, str]:
    """(key, text) of a limit of an instrument: its own, else that of all."""
    for n, row in enumerate(config.risk.instrument):
        if row.symbol == symbol and getattr(row, name) is not None:
            return f"risk.instrument[{n}].{name}", getattr(row, name)
    return f"risk.{name}", getattr(config.risk, name)


def _cores(config: Config) -> Iterator[Problem]:
    usable = sorted(os.sched_getaffinity(0))
    rows = [("engine.core", config.engine.core), *(("engine.io_cores", core) for core in config.engine.io_cores)]
    for key, core in rows:
        if core >= 0 and core not in usable:
            yield Problem(key, f" = {core}: must be a CPU that this process may use: {', '.join(map(str, usable))}")
    if config.engine.core >= 0 and config.engine.core in config.engine.io_cores:
        yield Problem("engine.io_cores", f" = {config.engine.core}: is the loop's own CPU; name others, or none")
