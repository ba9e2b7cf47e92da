"""Records as rows of tables: where they are, and the names of what they point at."""

from __future__ import annotations

from engine.io.journal_format import Kind
from engine.record.records import Template
from engine.run.config import Config
from replay.compliance.context import Context
from replay.compliance.document import Cell, column
from replay.compliance.rare import Kept
from replay.compliance.runs import RunFacts


def each(c: Context, kind: Kind, template: Template) -> list[tuple[RunFacts, Kept]]:
    """The runs that have records of a kind, with them."""
    return [(r, kept) for r in c.runs if (kept := r.kept(kind, template)) is not None]


#: The first columns of such a table.
WHERE = [
    column("run", "run", "text", "the run"),
    column("seq", "frame", "int", "the frame of the journal"),
    column("time", "time", "time", "engine clock"),
]


def where(r: RunFacts, kept: Kept, n: int) -> list[Cell]:
    """Cells of WHERE."""
    return [r.label, int(kept.seq[n]), int(kept.clock_ns[n]) or int(kept.rows["ts_recv_ns"][n]) or None]


def session_name(config: Config, session: int) -> str:
    """A session's name; its number where there is none."""
    return config.session[session].name if 0 <= session < len(config.session) else str(session)


def instrument_name(config: Config, instrument: int) -> str:
    """An instrument's symbol; "all" for -1."""
    if instrument < 0:
        return "all"
    return config.instrument[instrument].symbol if instrument < len(config.instrument) else str(instrument)


def in_order(row: list[Cell]) -> tuple[int, int]:
    """Run and frame of a row that begins with WHERE: R10 is behind R9."""
    return int(str(row[0])[1:]), int(row[1] or 0)
