"""Reconciliation: breaks against a slow reading, files of all sorts, streams over sockets, the alert stream."""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.record.records import Template, blank, text16
from engine.record.units import from_units
from replay.reconcile.compare import OURS, THEIRS, Reconciler
from replay.reconcile.ledger import Entry
from replay.reconcile.run import Following, Run, against_files, tell
from replay.reconcile.venue_file import COLUMNS, VenueFileError, read
from replay.watch.summary import read_alerts
from tests.replay.desk import config

pytestmark = pytest.mark.timeout(600)
T = Template


def ours(run_dir):
    with Run(run_dir, live=False) as run:
        return list(run.ours.new()), run.config


def write_csv(path, entries, settings, columns=tuple(COLUMNS)):
    """A venue's file as a venue would write it."""
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(columns)
        for entry in entries:
            row = {
                "kind": entry.template.name, "exec_id": entry.exec_id, "exec_ref_id": entry.ref_id, "mic": entry.mic,
                "symbol": entry.symbol, "order_id": entry.order_id, "side": entry.side,
                "qty": from_units(entry.qty, settings.instrument[0].qty_decimals),
                "px": from_units(entry.px, settings.instrument[0].px_decimals), "time_ns": entry.time_ns,
            }  # fmt: skip
            out.writerow(row[name] for name in columns)
    return path


def reconciled(run_dir, path, venues=()):
    with Run(run_dir, live=False) as run:
        return against_files(run, read(path, run.config, {}, list(venues)), list(venues))


def test_a_venues_record_that_agrees_has_no_breaks(run_dir, tmp_path):
    entries, settings = ours(run_dir)
    fills = sum(entry.template == T.FILL for entry in entries)
    assert fills > 5
    found = reconciled(run_dir, write_csv(tmp_path / "venues.csv", entries, settings))
    assert found.breaks == []
    assert (found.ours, found.theirs, found.agreed) == (len(entries), len(entries), fills)
    assert not (run_dir / "alerts.jsonl").exists()


def test_each_kind_of_break_is_found_told_once_and_is_no_more_when_it_is_put_right(run_dir, tmp_path):
    entries, settings = ours(run_dir)
    fills = [n for n, entry in enumerate(entries) if entry.template == T.FILL]
    a, b, d, e, f, g = (fills[k] for k in (0, 1, 2, 3, 4, 5))
    changed = list(entries)
    changed[a] = entries[a]._replace(px=entries[a].px + 100)
    changed[b] = entries[b]._replace(qty=entries[b].qty + 1)
    changed[d] = entries[d]._replace(side="SELL" if entries[d].side == "BUY" else "BUY")
    changed[e] = entries[e]._replace(order_id=1)
    gone = changed[f]
    changed += [
        changed[g],
        entries[g]._replace(exec_id="NEW1"),
        entries[g]._replace(template=T.BUST, exec_id="NEW2", ref_id=entries[g].exec_id),
    ]
    changed += [entries[g]._replace(template=T.BUST, exec_id="NEW3", ref_id="NOWHERE")]
    del changed[f]
    path = write_csv(tmp_path / "venues.csv", changed, settings)
    found = reconciled(run_dir, path)
    wanted = {
        ("PRICE_DIFFERS", entries[a].exec_id), ("QTY_DIFFERS", entries[b].exec_id),
        ("SIDE_DIFFERS", entries[d].exec_id), ("ORDER_DIFFERS", entries[e].exec_id),
        ("MISSING_THERE", gone.exec_id), ("MISSING_HERE", "NEW1"),
        ("DUPLICATE_THERE", entries[g].exec_id), ("BUST_NOT_APPLIED", entries[g].exec_id), ("ORPHAN_THERE", "NOWHERE"),
    }  # fmt: skip
    assert {(row.kind, row.exec_id) for row in found.breaks} == wanted
    assert all(row.age_ns is not None and row.age_ns >= 0 for row in found.breaks)
    assert len({row.key for row in found.breaks}) == len(found.breaks)
    assert tell(run_dir)

    def told():
        return [row for row in read_alerts(run_dir).rows if row["code"] == "RECONCILIATION_BREAK"]

    assert sum(row["count"] for row in told()) == len(wanted)
    lines = (run_dir / "breaks.jsonl").read_bytes()
    assert reconciled(run_dir, path).breaks
    tell(run_dir)
    assert (run_dir / "breaks.jsonl").read_bytes() == lines, "what is known is not told again"
    assert sum(row["count"] for row in told()) == len(wanted)
    assert reconciled(run_dir, write_csv(path, entries, settings)).breaks == []
    gone_rows = [json.loads(line) for line in (run_dir / "breaks.jsonl").read_bytes().splitlines()[len(wanted) :]]
    assert {(row["break"], row["exec_id"]) for row in gone_rows} == wanted
    assert {row["state"] for row in gone_rows} == {"gone"}


def test_a_parquet_file_and_other_names_of_columns(run_dir, tmp_path):
    import decimal

    import pyarrow as pa
    import pyarrow.parquet as pq

    entries, _ = ours(run_dir)
    mic = entries[0].mic
    rows = [entry for entry in entries if entry.mic == mic]
    table = pa.table(
        {
            "ExecID": [entry.exec_id for entry in rows],
            "kind": [entry.template.name for entry in rows],
            "exec_ref_id": [entry.ref_id for entry in rows],
            "side": [{"BUY": "1", "SELL": "2"}[entry.side] for entry in rows],
            "qty": [entry.qty for entry in rows],
            "px": pa.array([decimal.Decimal(entry.px).scaleb(-4) for entry in rows], pa.decimal128(18, 4)),
        }
    )
    path = tmp_path / "venue.parquet"
    pq.write_table(table, path)
    with Run(run_dir, live=False) as run:
        found = against_files(run, read(path, run.config, {"exec_id": "ExecID"}, [mic]), [mic])
    assert found.breaks == []
    assert found.agreed > 0
    pq.write_table(table.set_column(5, "px", pa.array([entry.px / 1e4 for entry in rows])), path)
    with (
        Run(run_dir, live=False) as run,
        pytest.raises(VenueFileError, match=r"line 2: px .* a binary fraction is not exact"),
    ):
        read(path, run.config, {"exec_id": "ExecID"}, [mic])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column exec_id, side, qty, px; there are: "),
        ("exec_id,side,qty,px,mic\nE1,BUY,1,1\n", r"line 2: 4 columns, the header has 5"),
        ("exec_id,side,qty,px,mic\nE1,HOLD,1,1,XNYS\n", "line 2: side 'HOLD': must be one of BUY"),
        ("exec_id,side,qty,px,mic\nE1,BUY,1,1.00001,XNYS\n", "line 2: px '1.00001' has 5 decimals"),
        ("exec_id,side,qty,px,mic\nE1,BUY,-1,1,XNYS\n", "line 2: qty '-1': must be above 0"),
        ("exec_id,side,qty,px,mic\n,BUY,1,1,XNYS\n", "line 2: exec_id is empty"),
        ("exec_id,side,qty,px,mic\nE1,BUY,1,1,NONE\n", "line 2: mic 'NONE': must be one of"),
        ("exec_id,side,qty,px,mic,kind\nE1,BUY,1,1,XNYS,BUST\n", "line 2: exec_ref_id is empty: a BUST names"),
        ("exec_id,side,qty,px,mic,time_ns\nE1,BUY,1,1,XNYS,1e9\n", "line 2: time_ns '1e9': must be a whole number"),
        ('exec_id,side,qty,px\n"E1,BUY,1,1\n', "no CSV"),
        ("exec_id,side,qty,px\n\xff", "no UTF-8 at byte"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused_with_its_line(text, said, tmp_path):
    path = tmp_path / "venue.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(VenueFileError, match=said):
        read(path, config(), {}, [])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=300),
    begin=st.sampled_from([b"", b"exec_id,side,qty,px,mic\n", b"PAR1", b"\xef\xbb\xbfexec_id,side,qty,px\n"]),
)
def test_any_bytes_are_entries_or_an_error(data, begin, tmp_path):
    path = tmp_path / "fuzz"
    path.write_bytes(begin + data)
    try:
        found = read(path, config(), {}, ["XNYS"])
    except VenueFileError:
        return
    assert all(entry.mic == "XNYS" and (entry.exec_id or entry.ref_id) for entry in found)


# A slow twin: the state of each side by going through its records for each execution, and the two held together.


def made(kind, own, ref, side, qty, px):
    """An entry as a venue may send it."""
    bust = kind == T.BUST
    ref = "" if kind == T.FILL else ref
    return Entry(kind, "XNYS", own, ref, 7, "XXX", side, 0 if bust else qty, 0 if bust else px, None)


ENTRIES = st.lists(
    st.builds(
        made,
        st.sampled_from([T.FILL, T.FILL, T.BUST, T.CORRECT]),
        st.sampled_from("abcdef"),
        st.sampled_from("abcdef"),
        st.sampled_from(["BUY", "SELL"]),
        st.integers(1, 3),
        st.integers(1, 3),
    ),
    max_size=12,
)


def slow_state(entries):
    """key -> (side, qty, px, busted), keys that came twice, keys with orphans; without any table of ids."""
    fills, twice, used = {}, set(), {}
    later: list[Entry] = []
    for entry in entries:
        if entry.template == T.FILL:
            if entry.exec_id in used:
                twice.add(entry.exec_id)
            else:
                used[entry.exec_id] = entry.exec_id
                fills[entry.exec_id] = [entry.side, entry.qty, entry.px, False]
                for waiting in [w for w in later if w.ref_id == entry.exec_id]:
                    later.remove(waiting)
                    _apply(waiting, entry.exec_id, fills, used, twice)
        elif entry.ref_id in used:
            _apply(entry, used[entry.ref_id], fills, used, twice)
        else:
            later.append(entry)
    return fills, twice, {entry.ref_id for entry in later}


def _apply(entry, root, fills, used, twice):
    if entry.exec_id in used:
        twice.add(entry.exec_id)
        return
    used[entry.exec_id] = root
    if entry.template == T.BUST:
        fills[root][3] = True
    else:
        fills[root][1:3] = [entry.qty, entry.px]


def slow_breaks(one, two):
    (ours, twice, orphans), (theirs, twice_there, orphans_there) = slow_state(one), slow_state(two)
    found = {("DUPLICATE_HERE", key) for key in twice} | {("DUPLICATE_THERE", key) for key in twice_there}
    found |= {("ORPHAN_HERE", key) for key in orphans} | {("ORPHAN_THERE", key) for key in orphans_there}
    for key in ours.keys() | theirs.keys():
        if key not in theirs:
            found.add(("MISSING_THERE", key))
        elif key not in ours:
            found.add(("MISSING_HERE", key))
        else:
            (side, qty, px, busted), (side2, qty2, px2, busted2) = ours[key], theirs[key]
            if busted != busted2:
                found.add(("BUST_NOT_APPLIED" if busted2 else "BUST_UNKNOWN", key))
            if busted and busted2:
                continue
            found |= {("PRICE_DIFFERS", key)} if px != px2 else set()
            found |= {("QTY_DIFFERS", key)} if qty != qty2 else set()
            found |= {("SIDE_DIFFERS", key)} if side != side2 else set()
    return found


@settings(max_examples=100, deadline=None)
@given(one=ENTRIES, two=ENTRIES, cuts=st.integers(1, 5))
def test_breaks_are_those_of_a_slow_reading_however_the_records_come(one, two, cuts):
    """All at once, and in pieces with a look between."""
    whole, pieces = Reconciler(), Reconciler()
    for side, entries in ((OURS, one), (THEIRS, two)):
        for entry in entries:
            whole.take(side, entry, 0)
    whole.turn(0, None)
    for n in range(max(len(one), len(two))):
        for side, entries in ((OURS, one), (THEIRS, two)):
            if n < len(entries):
                pieces.take(side, entries[n], 0)
        if n % cuts == 0:
            pieces.turn(0, None)
    pieces.turn(0, None)
    wanted = slow_breaks(one, two)
    assert {(row.kind, row.exec_id) for row in whole.aged(None)} == wanted
    assert {(row.kind, row.exec_id) for row in pieces.aged(None)} == wanted


def test_what_one_side_alone_has_is_a_break_after_the_grace_time():
    entry = Entry(T.FILL, "XNYS", "E1", "", 7, "XXX", "BUY", 100, 5, 1000)
    found = Reconciler(grace_ns=50)
    found.take(OURS, entry, 10)
    assert found.turn(59, 1000) == ([], [])
    new, gone = found.turn(60, 1300)
    assert [(row.kind, row.age_ns) for row in new] == [("MISSING_THERE", 300)]
    assert gone == []
    found.take(THEIRS, entry, 70)
    new, gone = found.turn(71, 1300)
    assert (new, [row.kind for row in gone]) == ([], ["MISSING_THERE"])
    found.take(THEIRS, entry._replace(template=T.BUST, exec_id="E2", ref_id="E1"), 80)
    assert found.turn(100, 1300) == ([], []), "our bust may be on its way"
    assert [row.kind for row in found.turn(131, 1300)[0]] == ["BUST_NOT_APPLIED"]


@pytest.fixture
def sockets():
    folder = Path(tempfile.mkdtemp(prefix="tr-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def records_of(run_dir):
    """The records of venues that the core booked, as a venue would publish them."""
    from replay.watch.executions import VENUE, Executions
    from replay.watch.tail import Tail, templates

    with Tail(run_dir, live=False) as tail:
        reader = Executions()
        chunk = tail.read(1 << 20)
        assert chunk is not None
        return [x.data for x in reader.look(chunk, templates(chunk)) if x.stream == VENUE and x.template != T.ACK]


def test_a_stream_with_holes_repeats_and_rubbish_over_a_socket(run_dir, sockets):
    """A venue that publishes: the first subscription misses records, the second is sent them all."""
    data = records_of(run_dir)
    numbered = []
    for n, raw in enumerate(data, 1):
        changed = bytearray(raw)
        changed[8:12] = (5).to_bytes(4, "little")
        changed[16:24] = n.to_bytes(8, "little")
        numbered.append(bytes(changed))
    context = zmq.Context()
    venue = context.socket(zmq.XPUB)
    venue.set(zmq.XPUB_VERBOSE, 1)
    venue.bind(f"ipc://{sockets}/venue")
    with Run(run_dir, live=False) as run:
        following = Following(run, [f"ipc://{sockets}/venue"], [], grace_ms=0)
        assert venue.poll(5000)
        venue.recv()
        venue.send(b"rubbish")
        venue.send(bytes(128))
        for record in [*numbered[:3], *numbered[5:], *numbered[1:3]]:
            venue.send(record)
        until_s = time.monotonic() + 20
        asked = False
        while (following._reconciler.ledgers[THEIRS].count < len(data)) and time.monotonic() < until_s:
            following.turn()
            while venue.poll(0):
                asked = venue.recv()[:1] == b"\1" or asked
            if asked:
                asked = False
                for record in numbered:
                    venue.send(record)
            time.sleep(0.01)
        following.turn()
        found = following.close()
    venue.close()
    context.term()
    assert found.breaks == []
    assert found.stream["missing"] == 0
    assert found.stream["malformed"] == 2
    assert found.stream["repeated"] >= 2
    lines = [json.loads(line) for line in (run_dir / "breaks.jsonl").read_bytes().splitlines()]
    assert {row["state"] for row in lines} == {"open", "gone"}, "they were breaks until the venue told"


def test_records_of_no_venue_or_kind_are_no_entries():
    from replay.reconcile.ours import entry_of

    record = blank(T.FILL)
    record["venue_id"], record["instrument_id"], record["exec_id"] = 0, 0, text16("E1")
    assert entry_of(record.tobytes(), config()) is not None
    record["venue_id"] = 40
    assert entry_of(record.tobytes(), config()) is None
    assert entry_of(blank(T.ACK).tobytes(), config()) is None
    assert entry_of(np.zeros(64, np.uint8).tobytes(), config()) is None
