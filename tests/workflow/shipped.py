"""The strategies that are shipped: every file of strategies/ that declares a machine."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "strategies"
SHIPPED = sorted(
    f"strategies.{path.stem}" for path in FOLDER.glob("*.py") if "order_machine(" in path.read_text(encoding="utf-8")
)
assert len(SHIPPED) >= 2
