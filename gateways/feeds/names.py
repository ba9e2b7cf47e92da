"""What a feed's own names mean here: venue codes and symbols to the indices of the engine's reference data.

The order of `[[venue]]` and `[[instrument]]` in the configuration is the order of the indices. Ties between venues are
broken by their code and never by their index, so a configuration in another order gives the same order of events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.run.config import Config

#: The twelve exchanges of the TAQ capture. D, the off-exchange prints, is no venue that one could route to.
TAQ_CODES = ("N", "Y", "B", "P", "T", "Z", "K", "X", "V", "J", "A", "M")


class Symbol(NamedTuple):
    """One instrument: its index in the reference data, and the decimals of its price and quantity units."""

    instrument_id: int
    px_decimals: int = 4
    qty_decimals: int = 0


@dataclass(frozen=True)
class Names:
    """Venue code -> index and symbol -> `Symbol`. UsageError where indices are not 0, 1, 2, … without a gap."""

    venues: Mapping[str, int]
    symbols: Mapping[str, Symbol]

    def __post_init__(self) -> None:
        _must_be_dense("venue", list(self.venues.values()))
        _must_be_dense("instrument", [symbol.instrument_id for symbol in self.symbols.values()])

    @classmethod
    def of(cls, config: Config) -> Names:
        """Names as a run's configuration gives them."""
        symbols = {
            row.symbol: Symbol(index, row.px_decimals, row.qty_decimals) for index, row in enumerate(config.instrument)
        }
        return cls({row.code: index for index, row in enumerate(config.venue)}, symbols)

    @classmethod
    def listed(cls, codes: Iterable[str] = TAQ_CODES, symbols: Iterable[str] = ("XXX",), px_decimals: int = 4) -> Names:
        """Names in the order given, all instruments with the same price decimals and whole shares."""
        return cls(
            {code: index for index, code in enumerate(codes)},
            {symbol: Symbol(index, px_decimals) for index, symbol in enumerate(symbols)},
        )

    def codes(self) -> list[str]:
        """Venue codes by index."""
        return sorted(self.venues, key=lambda code: self.venues[code])

    def ranks(self) -> list[int]:
        """Rank of each venue, by index, when codes are sorted: the key that breaks ties of time."""
        order = sorted(self.venues)
        return [order.index(code) for code in self.codes()]

    def as_meta(self) -> dict[str, Any]:
        """As plain JSON data; `from_meta` is its inverse."""
        symbols = sorted(self.symbols.items(), key=lambda item: item[1].instrument_id)
        return {"venues": self.codes(), "symbols": [[name, *symbol[1:]] for name, symbol in symbols]}

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> Names:
        """Names from what `as_meta` gave; KeyError, TypeError or ValueError where it is something else."""
        symbols = {str(row[0]): Symbol(index, int(row[1]), int(row[2])) for index, row in enumerate(meta["symbols"])}
        return cls({str(code): index for index, code in enumerate(meta["venues"])}, symbols)


def _must_be_dense(what: str, indices: list[int]) -> None:
    if sorted(indices) != list(range(len(indices))):
        raise UsageError(f"{what} indices are {sorted(indices)}; they must be 0 to {len(indices) - 1}, each once")
