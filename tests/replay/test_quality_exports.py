"""The exports of records: every row held to its journaled record, exact and untruncated; CSV and Parquet alike."""

from __future__ import annotations

import csv
import datetime as dt
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.main import main
from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.record.records import DTYPES, ExecType, OrdStatus, Template
from replay.quality import columns as c
from replay.quality.events import Events
from replay.quality.records import cat_time, exact, exec_ids

# The first test of a worker compiles the core where the cache is empty.
pytestmark = pytest.mark.timeout(600)
DOCS = Path(__file__).resolve().parents[2] / "docs"
REFERENCE = """
[firm]
lei = "529900T8BM49AURSDO55"
cat_reporter = "TICK"
[client."desk/0"]
person = "GB19700101JANE#SMITH"
[strategy."strategies.sweep"]
execution_code = "ALGO1"
[venue.XNYS]
cat_id = "NYSE"
"""


@pytest.fixture(scope="module")
def exported(run_dir, tmp_path_factory):
    """(folder, exit code) of one export."""
    folder = tmp_path_factory.mktemp("exports")
    (folder / "codes.toml").write_text(REFERENCE)
    where = ["--csv", str(folder), "--parquet", str(folder), "--reference", str(folder / "codes.toml")]
    assert main(["quality", str(run_dir), *where, "--json", str(folder / "q.json")]) == 0
    return folder


@pytest.fixture(scope="module")
def frames(run_dir):
    """seq -> (kind, template, record) of the run."""
    with JournalReader(run_dir) as reader:
        return {
            frame.seq: (
                frame.kind,
                t := Template(int(frame.payload.view("<u2")[1])),
                frame.payload.view(DTYPES[t])[0].copy(),
            )
            for frame in reader.frames()
            if frame.kind in (Kind.INPUT, Kind.OUTPUT)
        }


def test_files_have_the_columns_of_the_dictionary(exported):
    for name in (*c.RECORDS, *c.ROWS, "top_venues"):
        table = pq.read_table(exported / f"{name}.parquet")
        for field in table.schema:
            assert field.metadata[b"meaning"]
        with (exported / f"{name}.csv").open(newline="") as file:
            rows = list(csv.reader(file))
        assert rows[0] == table.column_names
        assert len(rows) - 1 == table.num_rows > 0, name
    assert not [path for path in exported.iterdir() if path.name.startswith(".")]


def test_csv_says_what_parquet_says(exported):
    table = pq.read_table(exported / "order_records.parquet")
    with (exported / "order_records.csv").open(newline="") as file:
        told = list(csv.DictReader(file))
    for name in ("journal_seq", "event_time", "limit_px", "traded_qty", "event"):
        for text, value in zip((row[name] for row in told), table[name].to_pylist(), strict=True):
            if value is None:
                assert text == ""
            elif name == "event_time":
                assert text == f"{value:%Y-%m-%dT%H:%M:%S}.{value.value % 10**9:09d}Z"
            elif isinstance(value, Decimal):
                assert text == f"{value:f}"
                assert len(text.partition(".")[2]) == 9
            else:
                assert text == str(value)


def test_order_records_are_the_journals(exported, frames):
    rows = pq.read_table(exported / "order_records.parquet").drop_columns(["event_time", "venue_time"]).to_pylist()
    limit = {}
    for row in rows:
        kind, template, record = frames[row["journal_seq"]]
        assert row["record"] == template.name
        assert row["direction"] == ("in" if kind == Kind.INPUT else "out")
        time_ns = int(record["ts_recv_ns" if kind == Kind.INPUT else "ts_event_ns"])
        assert row["engine_time_ns"] == time_ns
        if template == Template.FILL:
            assert row["transaction_px"] == Decimal(int(record["last_px"])).scaleb(-4)
            assert row["traded_qty"] == int(record["last_qty"])
            assert row["remaining_qty"] == int(record["leaves_qty"])
            assert row["event"] == ("FILL" if record["ord_status"] == OrdStatus.FILLED else "PARF")
            assert row["passive_aggressive"] == {1: "PASV", 2: "AGRE", 0: None}[int(record["liquidity"])]
        else:
            assert row["transaction_px"] is None
        if template == Template.ORDER_NEW:
            limit[row["order_id"]] = Decimal(int(record["px"])).scaleb(-4)
            assert row["initial_qty"] == int(record["qty"])
        if template == Template.ACK and record["exec_type"] == ExecType.REPLACED and row["level"] == "client":
            limit[row["order_id"]] = Decimal(int(record["last_px"])).scaleb(-4)
            assert row["event"] == "REME"
            assert row["initial_qty"] == int(record["cum_qty"] + record["leaves_qty"])
        if row["level"] == "client" and row["order_id"]:
            assert row["limit_px"] == limit[row["order_id"]]
        assert (row["submitting_lei"], row["client_code"]) == ("529900T8BM49AURSDO55", "GB19700101JANE#SMITH")
        assert (row["execution_within_firm"], row["investment_decision"]) == ("ALGO1", None)
    sent = sum((k, t) == (Kind.OUTPUT, Template.ORDER_NEW) for k, t, _ in frames.values())
    assert sum(row["status"] == "ROUT" for row in rows) == sent
    filled = sum((k, t) == (Kind.INPUT, Template.FILL) for k, t, _ in frames.values())
    assert sum(row["record"] == "FILL" and row["level"] == "venue" for row in rows) == filled
    assert {"NEWO", "REMO", "REME", "CAME", "CAMO", "EXPI", "PARF", "FILL", None} >= {row["event"] for row in rows}


def test_cat_events_hang_together(exported, frames):
    rows = pq.read_table(exported / "cat_events.parquet").to_pylist()
    new = {row["order_id"] for row in rows if row["type"] == "MENO"}
    routes = {row["routed_order_id"] for row in rows if row["type"] == "MEOR"}
    assert len({row["firm_roe_id"] for row in rows}) == len(rows)
    for row in rows:
        assert row["order_id"] in new
        assert row["cat_reporter"] == "TICK"
        if row["type"] in ("MEOR", "MEOMR", "MEOCR"):
            assert row["routed_order_id"] in routes
            assert row["destination"] in ("NYSE", None)
        if row["type"] == "MEOC":
            assert row["cancel_qty"] > 0
        time = row["event_time"]
        assert row["event_timestamp"] == f"{time:%Y%m%d %H%M%S}.{time.value % 10**9:09d}"
    rejected = {int(r["order_id"]) for k, t, r in frames.values() if (k, t) == (Kind.INPUT, Template.REJECT)}
    assert {int(row["routed_order_id"]) for row in rows if row["route_rejected"]} == rejected
    done = [r for k, t, r in frames.values() if (k, t) == (Kind.OUTPUT, Template.FILL)]
    assert sum(row["quantity"] for row in rows if row["type"] == "MEOF") == sum(int(r["last_qty"]) for r in done)


def test_what_the_reference_has_not_is_counted(exported):
    text = (exported / "q.json").read_text()
    assert "rows without strategy.strategies.sweep.decision_code" in text
    assert "rows without firm.lei" not in text


@given(st.lists(st.tuples(st.integers(-(1 << 62), 1 << 62), st.integers(0, 9), st.booleans()), max_size=20))
def test_decimals_are_exact(rows):
    values, digits, good = (np.array(column) for column in (zip(*rows, strict=True) if rows else ((), (), ())))
    told = exact(values.astype(np.int64), 10 ** (9 - digits.astype(np.int64)), good.astype(bool))
    told.validate(full=True)
    expected = [Decimal(v).scaleb(-d, context=None) if g else None for v, d, g in rows]
    assert [None if v is None else v.as_tuple() for v in told.to_pylist()] == [
        None if v is None else v.quantize(Decimal("1e-9")).as_tuple() for v in expected
    ]


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (1_514_902_951_999_999_999, "20180102 142231.999999999"),
        (1_514_902_951_000_000_001, "20180102 142231.000000001"),
        (1_514_851_199_999_999_999, "20180101 235959.999999999"),
    ],
)
def test_times_are_never_rounded(ns, text):
    assert cat_time(ns) == text
    day = dt.datetime.fromtimestamp(ns // 10**9, dt.UTC)
    assert text.startswith(f"{day:%Y%m%d %H%M%S}.")


def test_clock_samples_move_times():
    events = Events("", "", None, None, None, 0, None, 0, (np.array([100, 200]), np.array([7, -5])))  # type: ignore[arg-type]
    assert events.utc_ns(np.array([50, 100, 199, 200, 900])).tolist() == [57, 107, 206, 195, 895]
    bare = events._replace(clock=(np.zeros(0, np.int64), np.zeros(0, np.int64)))
    assert bare.utc_ns(np.array([50])).tolist() == [50]


def test_exec_ids_are_readable():
    words = np.frombuffer(b"E1".ljust(16, b"\0") + (5).to_bytes(8, "little") + (9).to_bytes(8, "little"), "<i8")
    assert exec_ids(words.reshape(2, 2), np.ones(2, dtype=bool)).to_pylist() == ["E1", "5-9"]
    assert exec_ids(words.reshape(2, 2), np.zeros(2, dtype=bool)).to_pylist() == [None, None]


def test_the_dictionarys_page_is_made_from_it():
    assert (DOCS / "quality-columns.md").read_text(encoding="utf-8") == c.page(), "python -m replay.quality.columns"


def test_a_folder_that_cannot_be_is_refused_before_the_work(run_dir, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["quality", str(run_dir), "--csv", str(tmp_path / "file")]) == 2
    assert "is a file" in capsys.readouterr().err
