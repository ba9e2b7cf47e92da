"""A stress test's orders: what a journal has against a slow reading, how it is played again, and who sends it."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq

from cli.main import main
from cli.stress_run import open_market
from engine.io.journal_format import FRAME_HEADER, Kind
from engine.io.journal_reader import JournalReader
from engine.record.records import DTYPES, OrdType, Scope, Side, Template, Tif, blank, from_text16
from engine.run import config as c
from gateways.feeds import synthetic
from gateways.feeds.names import Names
from gateways.orders.parents import Parent
from gateways.orders.parents_file import write_parents
from replay.stress import requests
from replay.stress.desk import Desk
from replay.stress.settings import as_toml, settings_of
from tests.replay.desk import config

pytestmark = pytest.mark.timeout(900)
MS, SECOND = 1_000_000, 1_000_000_000
FOLLOW = (Template.ORDER_REPLACE, Template.ORDER_CANCEL, Template.STATUS_REQUEST, Template.CONTROL)


def asked_in(run_dir):
    """(time, template, ClOrdID, record) of each request of a run's client, one frame after the other."""
    found = []
    with JournalReader(run_dir) as reader:
        for chunk in reader.chunks(64):
            for row in chunk.rows[chunk.rows["kind"] == Kind.INPUT].tolist():
                named = dict(zip(chunk.rows.dtype.names or (), row, strict=True))
                first = named["offset"] + FRAME_HEADER
                raw = chunk.memory[first : first + named["length"]].tobytes()
                template = int.from_bytes(raw[2:4], "little")
                if template not in requests.KINDS:
                    continue
                record = np.frombuffer(raw, DTYPES[Template(template)])[0]
                if record["stream_id"] == 0:
                    name = from_text16(record["cl_ord_id"]) if "cl_ord_id" in record.dtype.names else ""
                    found.append((int(record["ts_recv_ns"]), template, name, record))
    return found


def names_of(rows):
    """The ClOrdIDs of rows of 16 words."""
    found = []
    for row in rows:
        template = Template(int(row.template_id))
        record = np.frombuffer(row.tobytes(), np.uint8)[: DTYPES[template].itemsize].view(DTYPES[template])[0]
        found.append(from_text16(record["cl_ord_id"]) if "cl_ord_id" in record.dtype.names else "")
    return found


@pytest.fixture(scope="module")
def wanted(run_dir):
    return asked_in(run_dir)


def test_a_runs_requests_are_those_of_a_slow_reading(run_dir, wanted):
    settings = config()
    assert {template for _, template, *_ in wanted} >= {Template.ORDER_NEW, Template.ORDER_CANCEL, Template.CONTROL}
    times = [at for at, *_ in wanted]
    assert requests.times_of_run(run_dir, settings).tolist() == times
    begin, end = times[len(times) // 4], times[len(times) // 2]
    inside = [row for row in wanted if begin <= row[0] < end]
    found = requests.of_run(run_dir, settings, begin, end)
    assert (found.recorded, found.left_out) == (len(inside), 0)
    assert found.times[found.opening :].tolist() == [at for at, *_ in inside]
    mine = zip(found.words[found.opening :], inside, strict=True)
    assert all(words.tobytes()[: record.itemsize] == record.tobytes() for words, (*_, record) in mine)
    assert set(found.sessions.tolist()) == {0}


def test_orders_of_before_that_an_interval_names_are_sent_as_it_begins(run_dir, wanted):
    """The interval begins with a request that follows an order; the order comes along, as it was first sent."""
    known, begin = {}, 0
    for at, template, name, record in wanted:
        if template == Template.ORDER_NEW:
            known[name] = record
        elif name in known and at > min(row[0] for row in wanted):
            begin = at
            break
    inside = [row for row in wanted if row[0] >= begin]
    fresh = {name for _, template, name, _ in inside if template == Template.ORDER_NEW}
    before = {name for _, _, name, _ in inside} - fresh
    found = requests.of_run(run_dir, config(), begin, 1 << 62)
    assert found.opening == len(before) > 0
    early = names_of(requests.faster(found, (begin, begin + SECOND), 1.0, 1, 0).rows[: found.opening])
    assert len(set(early)) == found.opening
    assert found.times[: found.opening].tolist() == [begin] * found.opening
    assert sorted(words.tobytes() for words in found.words[: found.opening]) == sorted(
        known[name].tobytes() for name in before
    )


def test_each_copy_has_orders_of_its_own_and_its_requests_name_them(run_dir, wanted):
    times = [at for at, *_ in wanted]
    begin, end = times[3], times[-3]
    found = requests.of_run(run_dir, config(), begin, end)
    load = requests.faster(found, (begin, end), 4.0, 3, 1000)
    assert len(load.rows) == 3 * len(found.times)
    span = end - begin
    due = [int((at - begin + n * span) / 4.0) for n in range(3) for at in found.times.tolist()]
    assert load.due_ns.tolist() == due
    old = [from_text16(row) if row[0] else "" for row in requests._names(found.words)]
    new = names_of(load.rows)
    copies = [dict(zip(old, new[n * len(old) : (n + 1) * len(old)], strict=True)) for n in range(3)]
    for n, copy in enumerate(copies):
        assert new[n * len(old) : (n + 1) * len(old)] == [copy[name] for name in old], "one name stays one name"
    names = [name for copy in copies for key, name in copy.items() if key]
    assert len(set(names)) == len(names) == 3 * (max(found.orders) + 1)
    assert min(int(name, 16) for name in names) == 1000
    assert not load.rows["order_id"].any()
    again = requests.faster(found, (begin, end), 4.0, 1, 1000 + len(names))
    assert not set(names_of(again.rows)) - {""} & set(names)


def test_what_names_an_order_by_the_engines_id_alone_is_left_out(run_dir, wanted, monkeypatch):
    real = requests._records

    def nameless(*terms):
        for times, sessions, words in real(*terms):
            words[np.isin(words[:, 0] >> 16 & 0xFFFF, FOLLOW), 6:9] = 0
            yield times, sessions, words

    monkeypatch.setattr(requests, "_records", nameless)
    found = requests.of_run(run_dir, config(), 0, 1 << 62)
    assert found.left_out == sum(template in FOLLOW for _, template, *_ in wanted) > 0
    assert found.recorded == len(wanted) - found.left_out


def parent(n, at_ns, **more):
    terms = {
        "cl_ord_id": f"P{n}",
        "instrument_id": 0,
        "side": Side.SELL_SHORT,
        "qty": 300,
        "px": 1_560_000,
        "tif": Tif.IOC,
    }
    return Parent(**{**terms, "ord_type": OrdType.LIMIT, "at_ns": at_ns, **more})


def test_parents_of_a_file_are_played_in_their_interval():
    listed = [parent(3, 900), parent(1, 500), parent(2, 100), parent(4, 1000)]
    found = requests.of_parents(listed, 1, 500, 1000)
    assert found.times.tolist() == [500, 900]
    load = requests.faster(found, (500, 1000), 1.0, 1, 7)
    assert names_of(load.rows) == [f"{7:016X}", f"{8:016X}"]
    assert [(int(row.template_id), int(row.side), int(row.qty), int(row.px), int(row.tif)) for row in load.rows] == [
        (Template.ORDER_NEW, Side.SELL_SHORT, 300, 1_560_000, Tif.IOC)
    ] * 2
    assert load.sessions.tolist() == [1, 1]
    assert len(requests.faster(requests.none(), (0, 1), 1.0, 5, 0).rows) == 0


def test_files_are_played_with_the_orders_beside_them(tmp_path, capsys):
    settings = config()
    names = Names.of(settings)
    day = synthetic.generate(3, names, quotes=300, trades=50)
    day.save(tmp_path / "day.rec")
    toml = tmp_path / "desk.toml"
    toml.write_text(toml_of(settings))
    at_ns = int(day.times[100])
    write_parents(tmp_path / "p.csv", [parent(n, at_ns + n) for n in range(5)], settings)
    market = open_market([tmp_path / "day.rec"], toml, tmp_path / "p.csv")
    assert len(market.times_ns) == day.count + 5
    assert (np.diff(market.times_ns) >= 0).all()
    assert market.asked is not None
    assert market.asked(at_ns, at_ns + 3).recorded == 3
    assert open_market([tmp_path / "day.rec"], toml).asked is None
    write_parents(tmp_path / "p.csv", [parent(1, 0)], settings)
    arguments = [str(tmp_path / "day.rec"), "--config", str(toml), "--orders", str(tmp_path / "p.csv")]
    assert main(["stress", *arguments]) == 2
    assert "no order has a time" in " ".join(capsys.readouterr().err.split())


def toml_of(settings):
    return as_toml(msgspec.structs.replace(settings, feed=[c.Feed(name="day", endpoint="ipc:///day")]))


def test_limits_on_what_adds_up_are_out_of_the_way_and_those_of_one_order_stay(tmp_path):
    told = config()
    risk = msgspec.structs.replace(
        told.risk, session_rate=5, repeated_executions=3, max_position="100", gross_notional="off", duplicate_ms=500,
        instrument=[c.RiskInstrument(symbol="XXX", max_qty="200", max_position="7", instrument_rate=2)],
        strategy=[c.RiskStrategy(algo_id=1, strategy_rate=2)], restricted=["XXX"],
    )  # fmt: skip
    found = settings_of(msgspec.structs.replace(told, risk=risk), tmp_path, tmp_path, -1).risk
    assert (found.session_rate, found.repeated_executions) == (10**9, 10**9)
    assert int(found.max_position) >= 10**18
    assert (found.duplicate_ms, found.gross_notional, found.strategy) == ("off", "off", [])
    (own,) = found.instrument
    assert (own.max_qty, own.max_position, own.instrument_rate) == ("200", None, None)
    for name in ("max_qty", "max_notional", "collar_bps", "permission", "restricted"):
        assert getattr(found, name) == getattr(risk, name)


def test_a_desk_sends_each_request_on_its_session_when_it_is_due(tmp_path):
    """Against a bare socket in the place of an engine; it says hello once, so that sessions come up."""
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    endpoint = f"ipc://{tmp_path}/orders"
    router.bind(endpoint)
    listed = [parent(n, n * 20 * MS) for n in range(10)]
    load = requests.faster(requests.of_parents(listed, 0, 0, SECOND), (0, SECOND), 1.0, 1, 0)
    load = load._replace(sessions=np.arange(10) % 2)
    came: dict[bytes, list[Any]] = defaultdict(list)
    with Desk(endpoint, ["c1", "c2"], heartbeat_ms=50, peer_timeout_ms=60_000) as desk:
        until = time.monotonic() + 60
        while not desk.up and time.monotonic() < until:
            if router.poll(10):
                peer, _ = router.recv_multipart()
                router.send_multipart([peer, hello(desk.epoch)])
        assert desk.up
        before, origin = desk.numbers, time.monotonic_ns() + 50 * MS
        desk.play(load, lambda: origin, offset_ns=1000)
        while not (desk.finished and sum(len(rows) for rows in came.values()) == 10) and time.monotonic() < until:
            if router.poll(1):
                peer, raw = router.recv_multipart()
                if int.from_bytes(raw[2:4], "little") == Template.ORDER_NEW:
                    came[peer].append((time.monotonic_ns(), np.frombuffer(raw, DTYPES[Template.ORDER_NEW])[0]))
        desk.check()
        assert desk.numbers == [number + 5 for number in before]
        desk.play(requests.cancel_all(range(2)), time.monotonic_ns)
        cancelled: set[bytes] = set()
        while len(cancelled) < 2 and time.monotonic() < until:
            if router.poll(10):
                peer, raw = router.recv_multipart()
                if int.from_bytes(raw[2:4], "little") == Template.MASS_CANCEL:
                    assert np.frombuffer(raw, DTYPES[Template.MASS_CANCEL])[0]["scope"] == Scope.ALL
                    cancelled.add(peer)
        assert cancelled == {b"c1", b"c2"}
    router.close(linger=0)
    context.term()
    for line, peer in enumerate((b"c1", b"c2")):
        assert [int(row["stream_seq"]) for _, row in came[peer]] == [before[line] + 1 + n for n in range(5)]
        assert {int(row["stream_epoch"]) for _, row in came[peer]} == {desk.epoch}
        for n, (at_ns, row) in enumerate(came[peer]):
            due = origin + (2 * n + line) * 20 * MS
            assert int(row["ts_event_ns"]) == due + 1000, "the time at which it was due, on the engine's clock"
            assert at_ns >= due


def hello(epoch):
    """What an engine says to a peer's hello."""
    row = blank(Template.SESSION_UP)
    row["stream_epoch"], row["stream_seq"], row["last_seen_epoch"], row["last_seen_seq"] = 5, 1, epoch, 1
    return row.tobytes()
