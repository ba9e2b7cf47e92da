"""What must hold between the keys of `[risk]` and those of the rest: names that exist, amounts that are exact and fit.

The three helpers at the top serve `config_check` as well. Worst case: rows of [risk] x names, at start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.core.rules import CURRENCIES, EXPOSURE_DECIMALS, EXPOSURE_MAX, MAX_PERMISSIONS
from engine.record.units import UnitError, from_units, to_units
from engine.run.config import Config
from engine.run.config_read import Problem, shown
from engine.run.config_risk import OFF

#: Exposures are held in cents of the currency.


def unique(key: str, field: str, values: Sequence[str]) -> Iterator[Problem]:
    """A problem for each value that an earlier row has already."""
    first: dict[str, int] = {}
    for n, value in enumerate(values):
        if value and value in first:
            yield Problem(
                f"{key}[{n}].{field}", f" = {shown(value)}: {key}[{first[value]}] has it already; give each its own"
            )
        first.setdefault(value, n)


def among(key: str, value: str, known: Sequence[str], what: str) -> Iterator[Problem]:
    """A problem where a name is none of those that are known."""
    if value not in known:
        listed = ", ".join(filter(None, known)) or "none"
        yield Problem(key, f" = {shown(value)}: must be the name of {what}; there are: {listed}")


def exact(key: str, text: str, decimals: int, why: str) -> tuple[int, list[Problem]]:
    """The text in units, and no problem; or 0 and the problem."""
    try:
        return to_units(text, decimals), []
    except UnitError:
        return 0, [Problem(key, f" = {shown(text)}: must have {decimals} decimals at most, and 63 bits: {why}")]


def risk_problems(config: Config) -> Iterator[Problem]:
    """All that is wrong between [risk] and the rest."""
    risk = config.risk
    yield from _names(config)
    yield from _permissions(config)
    rows = [("risk", risk), *((f"risk.account[{n}]", row) for n, row in enumerate(risk.account))]
    for key, row in rows:
        for name in ("gross_notional", "net_notional"):
            yield from _amount(f"{key}.{name}", getattr(row, name), EXPOSURE_DECIMALS, "it is held in cents")
    for instrument in config.instrument:
        why = f"qty_decimals of {instrument.symbol}"
        yield from _amount("risk.max_position", risk.max_position, instrument.qty_decimals, why)
        for n, own in enumerate(risk.instrument):
            if own.symbol == instrument.symbol:
                yield from _amount(f"risk.instrument[{n}].max_position", own.max_position, instrument.qty_decimals, why)
    currencies = sorted({row.currency for row in config.instrument})
    if len(currencies) > CURRENCIES:
        listed = ", ".join(currencies)
        yield Problem(
            "instrument", f": {len(currencies)} currencies ({listed}); {CURRENCIES} is the most of one engine"
        )


def _amount(key: str, text: str | None, decimals: int, why: str) -> Iterator[Problem]:
    if text is None or text == OFF:
        return
    value, bad = exact(key, text, decimals, why)
    yield from bad
    if not bad and not 0 < value <= EXPOSURE_MAX:
        most = from_units(EXPOSURE_MAX, decimals)
        yield Problem(key, f" = {shown(text)}: must be above 0, and {most} at most")


def _names(config: Config) -> Iterator[Problem]:
    risk = config.risk
    symbols = [row.symbol for row in config.instrument]
    lines = [row.name for row in config.session if row.role == "venue"]
    for n, own in enumerate(risk.instrument):
        yield from among(f"risk.instrument[{n}].symbol", own.symbol, symbols, "an instrument (its symbol)")
    for n, line in enumerate(risk.session):
        yield from among(f"risk.session[{n}].name", line.name, lines, 'a [[session]] with role = "venue"')
    for n, symbol in enumerate(risk.restricted):
        yield from among(f"risk.restricted[{n}]", symbol, symbols, "an instrument (its symbol)")
    yield from unique("risk.instrument", "symbol", [row.symbol for row in risk.instrument])
    yield from unique("risk.session", "name", [row.name for row in risk.session])
    yield from unique("risk.strategy", "algo_id", [str(row.algo_id) for row in risk.strategy])
    yield from unique("risk.account", "account", [str(row.account) for row in risk.account])
    for n, account in enumerate(risk.account):
        if account.account >= config.capacity.accounts:
            most = f"must be below capacity.accounts = {config.capacity.accounts}"
            yield Problem(f"risk.account[{n}].account", f" = {account.account}: {most}")


def _permissions(config: Config) -> Iterator[Problem]:
    rows = config.risk.permission
    if not rows:
        every = "client, strategy, instrument and venue"
        yield Problem(
            "risk.permission", f": there is none, so nobody may trade; add a [[risk.permission]] with {every}"
        )
    if len(rows) > MAX_PERMISSIONS:
        yield Problem("risk.permission", f": there are {len(rows)}; {MAX_PERMISSIONS} is the most")
    known = {
        "client": ([row.name for row in config.session if row.role == "client"], 'a [[session]] with role = "client"'),
        "instrument": ([row.symbol for row in config.instrument], "an instrument (its symbol)"),
        "venue": ([row.mic for row in config.venue], "a venue (its mic)"),
    }
    for n, row in enumerate(rows):
        for key, (names, what) in known.items():
            named = getattr(row, key)
            for name in [] if named == "*" else named:
                yield from among(f"risk.permission[{n}].{key}", name, names, what)
