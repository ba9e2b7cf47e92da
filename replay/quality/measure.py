"""`measure(runs)`: execution quality by venue, strategy and client, of one run or of many, from their journals.

Runs are read one after another and added up exactly; nothing of a run stays but its sums. What is measured against
what is in docs/quality.md.

Worst case: memory is that of the run with the most orders (`replay.quality.read`); two passes over each journal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.record.records import Template
from replay.decode import reason_name
from replay.quality import rows
from replay.quality.collect import CHILD, Cells, collect
from replay.quality.read import Run, read
from replay.quality.reference import Reference
from replay.quality.settings import DEFAULTS, load
from replay.quality.structs import Quality, Source, Used
from replay.times import utc_ns

if TYPE_CHECKING:
    from replay.verify import Progress

#: Called with each run's directory before it is read; gives the progress to read it with.
Begin = Callable[[Path], "Progress | None"]


def measure(
    runs: Sequence[str | Path],
    *,
    buckets: Path | None = None,
    reference: Path | None = None,
    begin: Begin | None = None,
) -> Quality:
    """Measure runs. `buckets`, `reference`: files of `replay.quality.settings` and `replay.quality.reference`.

    JournalError, ManifestError, ConfigError: a run or a file cannot be read; the message names it.
    """
    settings, digest = load(buckets)
    known = Reference.load(reference)
    total, used = Cells({}, {}), []
    refused: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    for name in runs:
        path = Path(name)
        run = read(path, settings.horizons_ms, begin(path) if begin is not None else None)
        for into, cells in zip(total, collect(run, settings), strict=True):
            for key, cell in cells.items():
                if key in into:
                    into[key].add(cell)
                else:
                    into[key] = cell
        used.append(_used(run))
        refused.update(_refusals(run))
        missing.update(_missing(run, settings.horizons_ms))
    symbols = {key[CHILD.index("symbol")] for key in total.children}
    classes = {symbol: known.instrument_class(symbol) for symbol in sorted(symbols)}
    missing["instruments without a class in the reference"] = sum(not name for name in classes.values())
    rates = known.rates(key[CHILD.index("currency")] for key in total.children)
    missing.update({f"amounts without a rate of {name}": n for name, n in known.missing.items()})
    return Quality(
        runs=used,
        buckets=Source(path=str(buckets) if buckets is not None else DEFAULTS.name, sha256=digest),
        reference=known.source,
        horizons_ms=settings.horizons_ms,
        times_ms=settings.times_ms,
        converted_into=known.file.fx.into,
        converted_as_of=known.file.fx.as_of,
        venues=rows.children(total, ("venue", "currency"), settings, rates),
        venue_strategies=rows.children(total, ("venue", "strategy", "currency"), settings, rates),
        venue_clients=rows.children(total, ("venue", "client", "currency"), settings, rates),
        strategies=rows.orders(total, ("strategy", "currency"), settings, rates),
        clients=rows.orders(total, ("client", "currency"), settings, rates),
        covered=rows.covered(total, settings, rates),
        routed=rows.children(total, ("category", "venue", "currency"), settings, rates),
        top_venues=rows.top_venues(total, classes),
        refused_orders=dict(sorted(refused.items())),
        missing={name: count for name, count in missing.items() if count},
    )


def _used(run: Run) -> Used:
    end = run.found.end
    assert end is not None, "the journal was read to its end"
    return Used(
        run_dir=str(run.path),
        run_id=run.found.run_id,
        trading_day=run.trading_day,
        strategy=run.config.routing.strategy,
        first_seq=_first_seq(run.path),
        last_seq=end.last_seq,
        chain_head=f"{np.uint32(end.prev_crc):08x}",
        period=[utc_ns(run.found.first_ns), utc_ns(run.found.last_ns)],
        no_market=run.no_market,
    )


def _first_seq(path: Path) -> int:
    """The first frame that is there: not 0 where older segments were let go."""
    with JournalReader(path) as reader:
        chunk = reader.read(1)
    assert chunk is not None, "a journal has a frame"
    return int(chunk.rows["seq"][0])


def _refusals(run: Run) -> Counter[str]:
    """Why clients' orders were refused: what the client was told, else what was journaled."""
    told: dict[int, str] = {}
    for template in (Template.REFUSAL, Template.REJECT):
        rows_ = run.found.table(Kind.OUTPUT, template)
        rows_ = rows_[np.isin(rows_["input_seq"], run.book.rejected["seq"])]
        told |= zip(rows_["input_seq"].tolist(), map(reason_name, rows_["reason"].tolist()), strict=True)
    return Counter(told.get(seq, "not said") for seq in run.book.rejected["seq"].tolist())


def _missing(run: Run, horizons_ms: Sequence[int]) -> Counter[str]:
    """Executions that are in no figure of a kind."""
    fills, found = run.fills, Counter[str]()
    found["orders at venues whose client's order is before the journal's beginning"] = run.orphans
    if not len(fills.qty):
        return found
    found["executions of children without a two-sided market at their decision"] = int(
        (run.children.bid[fills.child] == 0).sum()
    )
    found["executions of orders without a two-sided market at their first decision"] = int(
        (run.parents.bid[fills.parent] == 0).sum()
    )
    for n, horizon_ms in enumerate(horizons_ms):
        gone = len(fills.qty) if run.no_market else int((fills.later[n].bid == 0).sum())
        found[f"executions without a two-sided market {horizon_ms:,} ms later"] = gone
    return found
