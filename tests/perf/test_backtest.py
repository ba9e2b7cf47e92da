"""The events that `perf backtest` plays are a valid day, and the same for both sides; what a run hands back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.jit import JIT
from engine.record.records import DTYPES, Template
from gateways.formats.batch import taken
from gateways.formats.known import open_file
from perf import backtest
from perf.backtest_feed import Repetitions, batches_of, binance_lines, read_day, repeated, save

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    path = tmp_path_factory.mktemp("day") / "generated.gz"
    binance_lines(path, 40)
    return read_day(path)


def test_the_generated_file_is_whole(tmp_path):
    path, again = tmp_path / "a.gz", tmp_path / "b.gz"
    binance_lines(path, 40)
    binance_lines(again, 40)
    with open_file(path) as reader:
        assert reader.format == "binance"
        kinds = [int(head["template_id"]) for batch in reader.batches() for head in batch.head[: int(batch.used[0])]]
        assert (reader.counts.gaps, reader.counts.skipped) == (0, {})
        assert reader.counts.by_type["depthUpdate"] == 39
    assert kinds.count(Template.LEVEL) > 1_000
    assert kinds.count(Template.TRADE) > 20
    assert np.array_equal(read_day(path).words, read_day(again).words)


def test_both_sides_get_the_same_events(day, tmp_path):
    save(day, tmp_path)
    rows = np.load(tmp_path / "day.npz")["data"]
    levels = (
        day.words[(day.words[:, 0] >> 16) & 0xFFFF == Template.LEVEL].copy().view(DTYPES[Template.LEVEL]).reshape(-1)
    )
    theirs = rows[np.isin(rows["ev"] & np.uint64(255), (1, 4))]
    assert len(rows) == len(day.words)
    assert np.array_equal(theirs["exch_ts"], levels["ts_event_ns"])
    assert np.allclose(theirs["px"], levels["px"] / 10.0**day.instrument.px_decimals)
    assert np.allclose(
        theirs["qty"], np.where(levels["action"] == 2, 0, levels["qty"]) / 10.0**day.instrument.qty_decimals
    )
    assert np.array_equal(rows["exch_ts"], rows["local_ts"])


def test_a_repetition_begins_where_the_one_before_ended(day):
    laid = repeated(day.words, day.span_ns, 3)
    with Repetitions(Path("/dev/null"), list(batches_of(laid)), day.instrument) as reader:
        found = [taken(batch).copy() for batch in reader.batches()]
    rows = np.concatenate(found).view("<i8").reshape(3, *day.words.shape)
    assert np.all(np.diff(rows[:, :, 3].reshape(-1)) >= 0)
    assert np.array_equal(np.delete(rows[2], 3, axis=1), np.delete(day.words, 3, axis=1))
    assert int(rows[1, 0, 3] - rows[0, 0, 3]) == day.span_ns


def test_an_absent_peer_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("TICKROUTE_PEERS", str(tmp_path))
    assert backtest.why_not() == f"hftbacktest is not installed: {backtest.get()}"
    assert f"pip install hftbacktest=={backtest.HFTBACKTEST}" in backtest.get()


@pytest.mark.skipif(not JIT, reason="its processes are compiled ones")
def test_rows(monkeypatch):
    monkeypatch.setattr(backtest, "SHORT", 20_000)
    monkeypatch.setattr(backtest, "MODES", ("routing touch",))
    found = backtest.run(lambda *_: None, short=True)
    assert [row.name for row in found.rows] == ["backtest routing touch", "backtest memory"]
    assert found.rows[0].p50 is not None
    assert found.rows[0].p50 > 0
    assert (found.rows[0].baseline is None) == (backtest.why_not() is not None)
    assert 0.5 < (found.rows[1].ratio or 0) < 2


@pytest.mark.torture
@pytest.mark.skipif(not JIT, reason="its processes are compiled ones")
def test_memory_is_flat_in_the_length_of_the_feed(tmp_path):
    row = backtest.memory_row(tmp_path, backtest.UPDATES)
    assert row.met, row
