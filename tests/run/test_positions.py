"""Opening positions from a file: every mistake by line, the inputs that they become, and runs that need no file."""

from __future__ import annotations

import shutil

import msgspec
import pytest

from engine.core.state import state_hash
from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.jit import JIT
from engine.record import records as r
from engine.run import config as c
from engine.run import positions
from engine.run.assemble import assemble
from engine.run.bind import bind
from engine.run.daemon import Engine
from engine.run.reference import build_state, trading_day
from engine.run.rehearse import scratch_journal
from replay.state.reach import reach
from replay.state.view import past
from replay.verify import verify
from tests.replay.desk import config as desk_config
from tests.run.engine_peers import make_config
from tests.run.test_config import TEXT

TWO = [
    c.Instrument(symbol="XXX", px_decimals=4),
    c.Instrument(symbol="COIN", px_decimals=2, qty_decimals=8, lot="0.01"),
]


def settings(file):
    """The tests' desk with two instruments, two accounts and this file."""
    base = desk_config()
    capacity = msgspec.structs.replace(base.capacity, instruments=2, accounts=2)
    positions_of = c.Positions(file=str(file))
    return msgspec.structs.replace(base, instrument=TWO, capacity=capacity, positions=positions_of)


def opened(tmp_path, text):
    """What a file of this text says."""
    file = tmp_path / "opening.csv"
    file.write_text(text, encoding="utf-8")
    config = settings(file)
    return positions.read(config, build_state(config, trading_day(config), 1))


def complaint(tmp_path, text):
    with pytest.raises(c.ConfigError) as caught:
        opened(tmp_path, text)
    return str(caught.value).replace(f"{tmp_path}/opening.csv:", "").splitlines()


@pytest.mark.kernel
def test_rows_are_read_in_the_instruments_units(tmp_path):
    text = "account,instrument,qty,average_px,cost\n0,XXX,1200,157.25,\n\n1, COIN ,-0.5,,-12345.678901234\n"
    assert opened(tmp_path, text) == [
        positions.Opening(0, 0, 1200, 1_572_500, 0),
        positions.Opening(1, 1, -50_000_000, -12_345_678_901_234, 1),
    ]
    assert opened(tmp_path, "qty,instrument,average_px\n1,XXX,2\n") == [positions.Opening(0, 0, 1, 20_000, 0)]
    assert opened(tmp_path, "instrument,qty,cost\n") == []


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("2,XXX,1,1,", "2: account = '2': must be a whole number below capacity.accounts = 2"),
        ("-1,XXX,1,1,", "2: account = '-1': must be a whole number"),
        ("0,XXY,1,1,", "2: instrument = 'XXY': there is no [[instrument]] of that symbol; XXX is"),
        ("0,XXX,1.5,1,", "2: qty = '1.5': must be a decimal number with 0 decimals at most"),
        ("0,XXX,,1,", "2: qty = '': must be a decimal number"),
        ("0,XXX,1e3,1,", "2: qty = '1e3': must be a decimal number"),
        ("0,XXX,9007199254740993,1,", "2: qty = '9007199254740993': must be 9007199254740992 at most"),
        ("0,XXX,1,1.00001,", "2: average_px = '1.00001': must be a decimal number with 4 decimals at most"),
        ("0,XXX,1,-1,", "2: average_px = '-1': must be from 0 to"),
        ("0,XXX,1,,", "2: one of average_px and cost is needed, and neither is there"),
        ("0,XXX,1,1,1", "2: one of average_px and cost is needed, and both are there"),
        ("0,XXX,1,,-1", "2: cost = '-1': must have the sign of qty = '1'"),
        ("0,XXX,0,,1", "2: cost = '1': must have the sign of qty = '0'"),
        ("0,XXX,9007199254740992,5000,", "2: qty = '9007199254740992' at 5000: what it cost is beyond 63 bits"),
        ("0,XXX,1", "2: 3 cells; the header has 5"),
        ('0,"XXX,1,1,', "2: no CSV"),
        ("0,XXX,1,1,\n0,XXX,2,1,", "3: account 0 has XXX on line 2 already"),
    ],
)
def test_a_row_that_cannot_be_is_told_by_line(tmp_path, row, why):
    found = complaint(tmp_path, f"account,instrument,qty,average_px,cost\n{row}\n")
    assert len(found) == 1
    assert found[0].startswith(why)


@pytest.mark.kernel
def test_all_mistakes_are_told_at_once(tmp_path):
    found = complaint(tmp_path, "instrument,qty,cost\nNO,1,1\nXXX,x,1\nXXX,1,1\n")
    assert [line.split(":")[0] for line in found] == ["2", "3", "4"]


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("instrument,qty,price", "column 'price' is not known"),
        ("qty,cost", "column 'instrument' is missing"),
        ("instrument,cost", "column 'qty' is missing"),
        ("instrument,qty", "average_px or cost is missing"),
        ("instrument,qty,qty,cost", "column 'qty' is there twice"),
        ("", "column 'instrument' is missing"),
    ],
)
def test_a_header_that_cannot_be(tmp_path, header, why):
    assert any(why in line for line in complaint(tmp_path, header + "\n1,2,3\n"))


def test_a_file_that_cannot_be_read(tmp_path):
    config = settings(tmp_path / "nowhere.csv")
    with pytest.raises(c.ConfigError, match=r"nowhere\.csv: cannot be read: No such file"):
        positions.read(config, build_state(config, trading_day(config), 1))
    (tmp_path / "opening.csv").write_bytes(b"\xff\xfe\x00")
    config = settings(tmp_path / "opening.csv")
    with pytest.raises(c.ConfigError, match="no UTF-8 at byte 0"):
        positions.read(config, build_state(config, trading_day(config), 1))


def test_the_file_is_named_relative_to_the_configuration(tmp_path, monkeypatch):
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / "run.toml").write_text(TEXT.replace('file = ""', 'file = "opening.csv"'), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert c.load("desk/run.toml", host=False).positions.file == str(folder / "opening.csv")


@pytest.mark.kernel
def test_the_inputs_make_the_positions(tmp_path):
    rows = opened(tmp_path, "account,instrument,qty,average_px,cost\n0,XXX,1200,157.25,\n1,COIN,-0.5,,-12345.67\n")
    config = settings(tmp_path / "opening.csv")
    table, memory = scratch_journal()
    state = build_state(config, trading_day(config), 1)
    loop = assemble(config, state, table, stream_epoch=1, clock_offset_ns=0, tsc_mul=1)
    positions.enter(rows, loop, bind(config.routing.strategy).pump)
    once = state_hash(state)
    assert [(int(p["qty"]), int(p["cost"])) for p in state.positions if p["qty"]] == [
        (1200, 188_700 * 10**9),
        (-50_000_000, -12_345_670_000_000),
    ]
    positions.enter(rows, loop, bind(config.routing.strategy).pump)
    assert state_hash(state) == once, "the file may be given again"
    assert len(memory)


@pytest.mark.skipif(not JIT, reason="the loop needs the GIL released, which only compiled code does")
def test_a_run_with_positions_needs_no_file_afterwards(tmp_path, sockets):
    file = tmp_path / "opening.csv"
    file.write_text("instrument,qty,average_px\nXXX,-700,12.5\n", encoding="utf-8")
    config = msgspec.structs.replace(make_config(tmp_path / "run", sockets), positions=c.Positions(file=str(file)))
    for _ in range(2):  # the second one finds the run, which had no order yet
        engine = Engine(config)
        engine.start()
        engine.stop()
    file.unlink()
    assert verify(tmp_path / "run").result == "identical"
    (row,) = past(reach(tmp_path / "run"), "").positions
    assert (row.symbol, row.qty, row.cost, row.fills) == ("XXX", "-700", "-8750.00", 0)
    with JournalReader(tmp_path / "run") as reader:
        inputs = [int(f.payload.view("<u2")[1]) for f in reader.frames() if f.kind == Kind.INPUT]
    assert inputs.count(r.Template.POSITION_LOAD) == 2
    without = msgspec.structs.replace(config, positions=c.Positions())
    Engine(without).stop()
    with pytest.raises(c.ConfigError, match="cannot be read"):
        Engine(config)
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(c.ConfigError, match="cannot be read"):
        Engine(config)
    assert not (tmp_path / "run" / "journal").exists()
