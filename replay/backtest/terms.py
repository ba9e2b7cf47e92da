"""What a backtest played: RUN_DIR/backtest.json, and what of the market its feeds do not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

#: What a backtest played, in its run directory.
TERMS_FILE: Final = "backtest.json"


def feeds_of(run_dir: str | Path) -> list[dict[str, Any]]:
    """What a backtest played, as its backtest.json has it: `file`, `bytes`, and of fitted files all of `Told`."""
    told = msgspec.json.decode((Path(run_dir) / TERMS_FILE).read_bytes())
    return list(told["feeds"])


def by_orders(run_dir: str | Path) -> list[str]:
    """Symbols of whose executions orders alone tell, not each of them by a trade; of a live run nobody knows: none."""
    if not (Path(run_dir) / TERMS_FILE).is_file():
        return []
    return sorted({symbol for row in feeds_of(run_dir) for symbol in row.get("by_orders", ())})
