"""What a person says of a recorded file that it does not say itself: options of `feed inspect` and `feed convert`."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from engine.errors import UsageError

if TYPE_CHECKING:
    from gateways.formats.known import Given

_MARKETS = ("XNAS", "XBOS", "XPSX")
_PRODUCTS = ("spot", "usdm", "coinm")
_DAY = "The trading day of ITCH or LOBSTER whose file name does not say it."
_DECIMALS = "Decimals of prices and quantities, 0 to 9, of Tardis, Binance and .npz (so unless said: 8,8)."

DayOption = Annotated[str | None, typer.Option("--day", metavar="YYYY-MM-DD", help=_DAY)]
MarketOption = Annotated[
    str | None, typer.Option("--market", metavar="|".join(_MARKETS), help="The market of ITCH (else the file name's).")
]
SymbolOption = Annotated[
    str | None, typer.Option("--symbol", help="The instrument of LOBSTER, Bitstamp or .npz (else the file name's).")
]
DecimalsOption = Annotated[str | None, typer.Option("--decimals", metavar="PX,QTY", help=_DECIMALS)]
ProductOption = Annotated[
    str | None,
    typer.Option("--product", metavar="|".join(_PRODUCTS), help="Whose Binance's lines are, where they do not say it."),
]


def given_of(
    day: str | None, market: str | None, symbol: str | None, decimals: str | None, product: str | None
) -> Given:
    """The options as readers take them. UsageError where one of them cannot be."""
    from gateways.formats.known import Given

    _one_of("--market", market, _MARKETS)
    _one_of("--product", product, _PRODUCTS)
    if symbol is not None and not symbol:
        raise UsageError("--symbol '': is empty; name the instrument, or leave it out")
    return Given(_day(day), market, symbol, _decimals(decimals), product)


def _one_of(option: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise UsageError(f"{option} {value!r}: must be one of {', '.join(known)}")


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--day {text!r}: is no day; write it as 2019-12-30") from error


def _decimals(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 2 or not all(len(part) == 1 and part in "0123456789" for part in parts):
        raise UsageError(f"--decimals {text!r}: must be two numbers from 0 to 9, of prices and of quantities, as 2,8")
    return int(parts[0]), int(parts[1])
