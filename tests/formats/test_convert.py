"""Converting: the same records as the reader gives, as a recording and as Parquet; skew, cuts, force; flat memory."""

from __future__ import annotations

import gzip
import json
import resource
import shutil
import signal
import tracemalloc

import numpy as np
import pyarrow.parquet as pq
import pytest

from cli.main import main
from engine.errors import UsageError
from engine.record.records import DTYPES, Side, Template
from gateways.feeds.report import FeedError
from gateways.formats import convert as module
from gateways.formats import known, parquet, recorded_write
from gateways.formats.convert import convert
from gateways.formats.reader import Counts
from gateways.formats.recorded import RecordedReader
from gateways.formats.watch import make_feed_books
from tests.feeds_path import feed_path
from tests.formats.reading import FIELDS, read, tuples
from tests.formats.test_fuzz import cut_of
from tests.formats.test_recorded import NAMES, all_of, made


@pytest.fixture
def orders(tmp_path_factory):
    """A LOBSTER day: orders and trades, without its opening book."""
    path = feed_path("lobster", "AAPL_2012-06-21_34200000_57600000_message_10.csv")
    return shutil.copy(path, tmp_path_factory.mktemp("lobster") / path.name)


@pytest.fixture
def behind(tmp_path):
    """Some lines of Binance, whose recorder's clock was behind."""
    path = tmp_path / "spot.gz"
    path.write_bytes(gzip.compress(cut_of("binance", 15_000).rpartition(b"\n")[0] + b"\n"))
    return path


@pytest.mark.parametrize("zstd", [False, True])
def test_a_recording_has_the_readers_records_byte_for_byte(tmp_path, orders, zstd):
    found = convert(orders, tmp_path / "day.rec", zstd=zstd)
    with known.open_file(orders) as reader, RecordedReader(tmp_path / "day.rec") as again:
        assert all_of(again.batches()) == all_of(reader.batches())
        assert (again.venues, again.instruments) == (reader.venues, reader.instruments)
        assert again.counts.by_type == found.records == {"ORDER_DELTA": 938, "TRADE": 61}
        assert again.about["file"] == orders.name
    assert (found.messages, found.bytes_out) == (999, (tmp_path / "day.rec").stat().st_size)


def rows_of(path):
    """A Parquet file's rows as tuples like those of a reader."""
    table = pq.read_table(path)
    told = json.loads(pq.read_metadata(path).metadata[b"tickroute"])
    symbols = [row["symbol"] for row in told["instruments"]]
    found = []
    columns = {name: table.column(name).cast("int64") for name in table.column_names if name.startswith("ts_")}
    lists = {name: columns.get(name, table.column(name)).to_pylist() for name in table.column_names}
    for n in range(table.num_rows):
        row = {name: values[n] for name, values in lists.items()}
        kind = Template[row["kind"]]
        assert row["venue"] == told["venues"][row["venue_id"]]
        assert row["symbol"] == (symbols[row["instrument_id"]] if row["instrument_id"] >= 0 else None)
        has = set(DTYPES[kind].names or ())
        assert all(row[name] is None for name in row if name not in has | {"kind", "venue", "symbol"})
        values = {name: row[name] or 0 for name in has & set(row)}
        values["side"] = int(Side[row["side"]]) if row["side"] else 0
        found.append((row["kind"], *(values[name] for name in FIELDS[kind])))
    return found, told


def test_parquet_reads_back_as_the_readers_records(tmp_path, orders):
    convert(orders, tmp_path / "day.parquet")
    rows, told = rows_of(tmp_path / "day.parquet")
    assert rows == read(known.open_file(orders))
    assert told["instruments"] == [{"symbol": "AAPL", "px_decimals": 4, "qty_decimals": 0, "lot_qty": 0}]


class MadeReader:
    """A reader of made-up records, `times` times over: as long as one likes, of one batch's memory."""

    format = "made"

    def __init__(self, path, given=None, count=900, times=1):
        self.path, self.counts, self.progress = path, Counts(), 0.5
        self.venues, self.instruments = NAMES
        self.source = type("Size", (), {"size": 1})()
        self._count, self._times = count, times

    def batches(self):
        if self._times == 1:
            yield from made(np.random.default_rng(5), self._count)
            return
        batch = next(made(np.random.default_rng(5), 200))
        for _ in range(self._times):
            yield batch

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_parquet_has_every_kind_over_many_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "open_file", MadeReader)
    monkeypatch.setattr(parquet, "UNITS", 128)
    found = convert("made", tmp_path / "day.parquet")
    rows, _ = rows_of(tmp_path / "day.parquet")
    assert rows == [row for batch in MadeReader("").batches() for row in tuples(batch_bytes(batch))]
    assert pq.ParquetFile(tmp_path / "day.parquet").num_row_groups == found.blocks > 5
    assert set(found.records) == {"QUOTE", "TRADE", "LEVEL", "ORDER_DELTA", "CLEAR"}


def batch_bytes(batch):
    return np.frombuffer(all_of([batch]), np.uint8)


def test_quotes_are_the_touches(tmp_path, orders, monkeypatch):
    monkeypatch.setattr(module, "make_feed_books", lambda: make_feed_books(orders=1 << 10))
    found = convert(orders, tmp_path / "day.rec", quotes=True)
    assert found.records == {"QUOTE": 481, "TRADE": 61 + 98}, "hidden orders, and executions of those that were shown"
    assert found.unfollowed == 0


def test_negative_latencies_are_never_passed_on_in_silence(tmp_path, behind):
    before = read(known.open_file(behind))
    least = min(row[4] - row[3] for row in before if row[3] and row[4])
    assert least < -(10**9)
    out = tmp_path / "day.rec"
    with pytest.raises(FeedError, match=rf"at least {-least} ns .* behind .*--skew auto \(or --skew {-least}\)"):
        convert(behind, out)
    with pytest.raises(FeedError, match=rf"after 1000 ns were added.*--skew {-least}\)"):
        convert(behind, out, skew=1000)
    assert [path.name for path in tmp_path.iterdir()] == ["spot.gz"]
    kept = convert(behind, out, skew="keep")
    assert (kept.skew_ns, kept.least_ns) == (0, least)
    assert kept.negative == sum(row[4] < row[3] for row in before if row[3] and row[4])
    assert read(known.open_file(out)) == before
    for skew in ("auto", -least):
        fixed = convert(behind, out, skew=skew, force=True)
        assert (fixed.skew_ns, fixed.least_ns, fixed.negative) == (-least, 0, 0)
        assert read(known.open_file(out)) == [(*row[:4], row[4] and row[4] - least, *row[5:]) for row in before]
    with RecordedReader(out) as reader:
        assert reader.about["skew_ns"] == -least


def test_an_npz_is_one_instrument_of_one_venue(tmp_path, monkeypatch, capsys):
    """The made-up feed has seventy instruments at two venues."""
    monkeypatch.setattr(module, "open_file", MadeReader)
    out = tmp_path / "day.npz"
    several = "an .npz holds one instrument of one venue, and the feed has S0 at XNAS and"
    for arguments, words in (
        ([], several), (["--venue", "XNYS"], "and the feed has S0 at XNYS and"),
        (["--instrument", "S3"], "and the feed has S3 at"),
        (["--instrument", "S77"], "the feed has no records of S77; it has S0, S1"),
        (["--instrument", "S3", "--venue", "XLON"], "no records of S3 at XLON; it has"),
    ):  # fmt: skip
        assert main(["feed", "convert", "made", str(out), *arguments]) == 2
        assert words in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []
    assert main(["feed", "convert", "made", str(out), "--instrument", "S3", "--venue", "XNAS", "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    rows = [row for batch in MadeReader("").batches() for row in tuples(batch_bytes(batch))]
    mine = [row for row in rows if row[1] == 0 and row[2] == 3]
    of_all = [row for row in rows if row[1] == 0 and row[2] == -1]
    assert (told["to"], told["npz"]["records"]) == ("npz", len(mine) + len(of_all))
    assert told["npz"]["others"] == len(rows) - len(mine) - len(of_all)
    assert told["npz"]["no_event_time"] == sum(row[3] == 0 for row in mine + of_all)
    data = np.load(out)["data"]
    assert len(data) == told["npz"]["rows"]
    row = NAMES.instruments[3]
    units = {round(px * 10**row.px_decimals) for px in data["px"]}
    assert {row[-2] for row in mine if row[0] == "TRADE"} <= units


@pytest.mark.parametrize("name", ["mbo", "mbp-10", "trades"])
def test_a_file_converts_to_npz_and_reads_back(tmp_path, capsys, name):
    source, out = feed_path("dbn", "fixtures", f"test_data.{name}.dbn"), tmp_path / "b.npz"
    assert main(["feed", "convert", str(source), str(out)]) == 0
    shown = capsys.readouterr().out
    assert "npz, deflate" in shown
    assert "of other instruments or venues 0" in shown
    want = read(known.open_file(source))
    got = read(known.open_file(out, known.Given(decimals=(9, 0))))
    # An event file has no actions of levels: there is something at a price, or nothing.
    got, want = ([row[:1] + row[3:5] + row[7:8] + row[9:] for row in rows] for rows in (got, want))
    assert sorted(got) == sorted(want)
    with known.open_file(out) as reader:
        assert reader.format == "hftbacktest"


def test_an_npz_of_a_recorder_that_was_behind_is_refused_or_corrected(tmp_path, behind, capsys):
    """Spot: its tickers have no time of their event, and must not be the first of the day."""
    out = tmp_path / "day.npz"
    with pytest.raises(FeedError, match="behind"):
        convert(behind, out)
    assert not out.exists()
    found = convert(behind, out, skew="auto")
    before = read(known.open_file(behind))
    assert found.npz is not None
    assert found.npz.no_event_time == sum(row[3] == 0 for row in before) > 2
    assert (found.npz.negative, found.npz.least_ns, found.npz.no_time) == (0, 0, 0)
    data = np.load(out)["data"]
    first = min(row[4] for row in before) + found.skew_ns
    assert data["exch_ts"].min() > 1_700_000_000 * 10**9
    assert data["local_ts"].min() == first
    assert (data["local_ts"] >= data["exch_ts"]).all()
    for bit, name in ((1 << 31, "exch_ts"), (1 << 30, "local_ts")):
        assert (np.diff(data[name][data["ev"] & np.uint64(bit) > 0]) >= 0).all()
    kept = convert(behind, out, skew="keep", force=True)
    assert kept.npz is not None
    assert (kept.npz.negative, kept.npz.least_ns) == (kept.negative, kept.least_ns)
    assert kept.negative > 0
    assert main(["feed", "convert", str(behind), str(out), "--skew", "auto", "--force"]) == 0
    assert f"{found.npz.no_event_time:,} records have no time of their event" in capsys.readouterr().out


def test_an_npz_on_a_full_disk_leaves_nothing(tmp_path, orders, capsys):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        assert main(["feed", "convert", str(orders), str(tmp_path / "day.npz")]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot be written: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_options_of_an_npz_and_of_others_are_not_mixed(tmp_path, orders, capsys):
    assert main(["feed", "convert", str(orders), str(tmp_path / "day.npz"), "--plain"]) == 2
    assert "an .npz is packed in its own way" in capsys.readouterr().err
    assert main(["feed", "convert", str(orders), str(tmp_path / "day.rec"), "--instrument", "AAPL"]) == 2
    assert "only an .npz does" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["day.rec", "day.parquet"])
def test_a_cut_input_leaves_no_out(tmp_path, orders, name):
    (tmp_path / "cut.csv").write_bytes(orders.read_bytes()[:20_000])
    with pytest.raises(FeedError, match=r"cut\.csv"):
        convert(tmp_path / "cut.csv", tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["cut.csv"]


@pytest.mark.parametrize("name", ["day.rec", "day.parquet"])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch, capsys, name):
    monkeypatch.setattr(module, "open_file", lambda path, given: MadeReader(path, times=300))
    monkeypatch.setattr(parquet, "UNITS", 4096)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        assert main(["feed", "convert", "made", str(tmp_path / name)]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    error = capsys.readouterr().err
    assert f"{tmp_path / name}: cannot be written: " in error
    assert "File too large" in error
    assert list(tmp_path.iterdir()) == []


def test_out_is_not_overwritten_unless_said(tmp_path, orders, capsys):
    out = tmp_path / "day.rec"
    out.write_text("mine")
    assert main(["feed", "convert", str(orders), str(out)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert main(["feed", "convert", str(orders), str(out), "--force", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == {"TRADE": 61, "ORDER_DELTA": 938}
    with pytest.raises(UsageError, match="the input itself"):
        convert(out, out, force=True)
    assert main(["feed", "convert", str(orders), str(out), "--skew", "soon"]) == 2
    assert main(["feed", "convert", str(tmp_path / "none"), str(tmp_path / "b.rec")]) == 1
    assert main(["feed", "inspect", str(out)]) == 0


@pytest.mark.parametrize("name", ["day.rec", "day.parquet"])
def test_sigterm_ends_it_as_ctrl_c_does_and_leaves_nothing(tmp_path, monkeypatch, capsys, name):
    class Slow(MadeReader):
        def batches(self):
            yield from super().batches()
            signal.raise_signal(signal.SIGTERM)
            yield from ()

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(module, "open_file", lambda path, given: Slow(path, times=300))
    assert main(["feed", "convert", "made", str(tmp_path / name)]) == 130
    assert "stopped: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before


def test_names_with_brackets_are_shown_as_they_are(tmp_path, orders, capsys):
    name, out = "a[red]b[bold].csv", "[bold].rec"
    path = tmp_path / name
    path.write_bytes(orders.read_bytes())
    assert main(["feed", "inspect", str(path)]) == 0
    assert name in capsys.readouterr().out
    assert main(["feed", "convert", str(path), str(tmp_path / out)]) == 0
    told = capsys.readouterr().out
    assert name in told
    assert out in told


@pytest.mark.parametrize("name", ["day.rec", "day.parquet"])
def test_memory_is_flat_in_the_length_of_the_feed(tmp_path, monkeypatch, name):
    monkeypatch.setattr(recorded_write, "UNITS", 4096)
    monkeypatch.setattr(parquet, "UNITS", 4096)

    def peak(times):
        monkeypatch.setattr(module, "open_file", lambda path, given: MadeReader(path, times=times))
        tracemalloc.start()
        try:
            found = convert("made", tmp_path / name, force=True)
            return tracemalloc.get_traced_memory()[1], sum(found.records.values()) * 64
        finally:
            tracemalloc.stop()

    peak(10)
    short, long = peak(100), peak(1000)
    assert long[0] - short[0] < (long[1] - short[1]) / 8
