"""The simulated venues' own record: a file that reads back, a socket that gives the whole day to whoever comes."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from engine.errors import UsageError
from engine.record.records import EXEC_CHANGE, Side, Template, blank, text16
from gateways.venues.desk import LOG, make_desk
from gateways.venues.record import VenueRecord
from replay.reconcile.ours import entry_of
from replay.reconcile.stream import VenueStream
from replay.reconcile.venue_file import read
from tests.replay.desk import config


def report(template, number, **fields):
    """A report as the exchange puts it into a session's log."""
    record = blank(template)
    record["exec_id"], record["order_id"], record["side"] = text16(f"E{number}"), 77, Side.SELL
    record["venue_id"], record["instrument_id"], record["ts_event_ns"] = 1, 0, 1_000 + number
    for name, value in fields.items():
        record[name] = value
    return record


@pytest.fixture
def reports():
    fill, bust, correct = Template.FILL, Template.BUST, Template.CORRECT
    return [
        report(fill, 1, last_qty=300, last_px=1_570_001),
        report(Template.ACK, 2),
        report(fill, 3, last_qty=100, last_px=1_570_002),
        report(correct, 4, exec_ref_id=text16("E1"), last_qty=200, last_px=1_569_900),
        report(bust, 5, exec_ref_id=text16("E3")),
    ]


def file(desk, session, rows):
    """Append reports to a session's log, as the loop does."""
    for row in rows:
        n = int(desk.logs[session]["appended"])
        desk.slots[session * LOG + (n & (LOG - 1))] = row.view(desk.slots.dtype)[0]
        desk.logs[session]["appended"] = n + 1


def test_a_file_holds_executions_and_reads_back_as_entries(reports, tmp_path):
    settings, (desk, _) = config(), make_desk(2, 1)
    path = tmp_path / "venues.csv"
    record = VenueRecord(str(path), settings, 5)
    desk.logs[1]["appended"] = LOG - 2  # the log goes round
    record._seen[1] = LOG - 2
    file(desk, 1, reports[:3])
    record.look(desk)
    file(desk, 1, reports[3:])
    record.look(desk)
    record.look(desk)
    assert path.read_text().splitlines()[1] == f"FILL,E1,,{settings.venue[1].mic},XXX,77,SELL,300,157.0001,1001"
    record.close()
    assert record.count == 4
    assert read(path, settings, {}, []) == [
        entry_of(row.tobytes(), settings) for row in reports if row["template_id"] != Template.ACK
    ]


def test_a_socket_gives_everyone_the_whole_day(reports):
    settings, (desk, _) = config(), make_desk(2, 1)
    sockets = Path(tempfile.mkdtemp(prefix="tr-"))
    endpoint = f"ipc://{sockets}/venue"
    record = VenueRecord(endpoint, settings, 5)

    def heard(stream, count):
        found: list[bytes] = []
        until_s = time.monotonic() + 20
        while len(found) < count and time.monotonic() < until_s:
            record.look(desk)
            found += stream.new()
            time.sleep(0.002)
        return [np.frombuffer(data, dtype=EXEC_CHANGE)[0] for data in found]

    early = VenueStream(endpoint)
    file(desk, 1, reports[:3])
    assert [row["stream_seq"] for row in heard(early, 2)] == [1, 2]
    late = VenueStream(endpoint)
    assert [row["stream_seq"] for row in heard(late, 2)] == [1, 2]
    file(desk, 1, reports[3:])
    assert [row["stream_seq"] for row in heard(late, 2)] == [3, 4]
    assert [row["stream_seq"] for row in heard(early, 2)] == [3, 4]
    third = VenueStream(endpoint)
    assert {int(row["stream_epoch"]) for row in heard(third, 4)} == {5}
    assert heard(early, 0) == []
    early.new()
    assert early.repeated >= 2, "it was sent again for the second, and known by its numbers"
    record.close()
    for stream in (early, late, third):
        stream.close()
    shutil.rmtree(sockets, ignore_errors=True)


@pytest.mark.parametrize("target", ["/nowhere/at/all.csv", "ipc:///nowhere/at/all", "tcp://192.0.2.1:1"])
def test_a_place_that_cannot_be_had_is_said(target):
    with pytest.raises(UsageError, match=f"--drop-copy {target}: cannot be had: .*; name another"):
        VenueRecord(target, config(), 5)
