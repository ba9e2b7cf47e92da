"""Raw packets and lines over a real socket, decoded and published: the records that the file's reader gives."""

from __future__ import annotations

import gzip
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from datetime import date
from itertools import islice
from typing import Any

import numpy as np
import pytest
import zmq

from cli.main import main
from engine.jit import JIT, ROOT
from engine.record.records import Flag, Reason, Template
from engine.run import config as c
from gateways.feeds.decoder import Decoder
from gateways.feeds.subscriber import Subscriber, split
from gateways.formats import pcap as captures
from gateways.formats.batch import taken
from gateways.formats.capture import open_capture
from gateways.formats.fit import Fitted, Target, Wanted
from gateways.formats.known import open_file
from gateways.formats.live import BinanceMessages, BitstampMessages, IexMessages, MoldMessages
from gateways.formats.source import Source
from tests.feeds_path import feed_path
from tests.formats import itch_made
from tests.formats.packets_twin import pcap, udp

pytestmark = pytest.mark.kernel
T0 = 1_577_716_200_000_000_000
DAY = date(2019, 12, 30)


def desk(tmp_path, venue, instruments):
    """A configuration of one venue and these (symbol, price decimals, quantity decimals)."""
    return c.Config(
        engine=c.Engine(run_dir=str(tmp_path / "run"), clock="monotonic"),
        orders=c.Orders(endpoint="ipc:///unused"),
        risk=c.Risk(**c.ALL_OFF, max_qty="20000", max_notional="20000000", collar_bps=500, reference_age_ms=600_000),
        feed=[c.Feed(name="made", endpoint=f"ipc://{tmp_path}/feed")],
        session=[c.Session(name="desk", role="client"), c.Session(name="venue", role="venue")],
        venue=[c.Venue(mic=venue, code="T", session="venue")],
        instrument=[c.Instrument(symbol=s, px_decimals=px, qty_decimals=qty) for s, px, qty in instruments],
    )


def plain(record):
    """A record's bytes without what a life and a clock of ours gave it."""
    out = record.copy()
    out["stream_epoch"] = out["ts_recv_ns"] = 0
    return out.tobytes()


def of_file(path, config, **wanted):
    """What the file's reader gives, fitted."""
    fitted = Fitted(path, Target.of(config), Wanted(skew=0, **wanted))
    return [plain(record) for batch in fitted.batches() for record in split(taken(batch))], fitted.told


class Bridge:
    """Publishes raw messages on loopback, to whoever has subscribed."""

    def __init__(self):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.XPUB)
        self.socket.set(zmq.XPUB_NODROP, 1)
        self.socket.set(zmq.SNDTIMEO, 60_000)
        self.socket.bind("tcp://127.0.0.1:*")
        self.endpoint = bytes(self.socket.get(zmq.LAST_ENDPOINT)).decode().rstrip("\0")

    def send(self, messages):
        assert self.socket.poll(120_000), "nobody subscribes"
        self.socket.recv()
        for message in messages:
            self.socket.send_multipart(message if isinstance(message, list) else [message])

    def close(self):
        self.socket.close(linger=0)
        self.context.term()


@pytest.fixture
def bridge():
    made = Bridge()
    yield made
    made.close()


def through(bridge, config, reader, messages, **options):
    """Play messages to a decoder: the records that a subscriber has, its streams, and the decoder's account."""
    told = {}
    feed = config.feed[0].endpoint
    decoder = Decoder(config, reader, [bridge.endpoint], [feed], orders=1 << 12, **options)

    def serve():
        with decoder:
            told["found"] = decoder.run(subscribers=1)

    thread = threading.Thread(target=serve)
    got = []
    with Subscriber(feed) as subscriber:
        thread.start()
        bridge.send(messages)
        until_s = time.monotonic() + 120
        got.append(subscriber.receive(0.05).copy())
        while int(reader.arriving[0]["messages"]) < len(messages) and time.monotonic() < until_s:
            got.append(subscriber.receive(0.05).copy())
        decoder.stop()
        while thread.is_alive() or len(got[-1]):
            got.append(subscriber.receive(0.2).copy())
        thread.join()
        streams = subscriber.streams
    return [record for part in got for record in split(part)], streams, told["found"]


def ended(records):
    """The records without the CLEAR that says that the gateway has ended."""
    last = records[-1]
    assert (last["template_id"], last["instrument_id"], last["reason"]) == (Template.CLEAR, -1, Reason.PEER_SILENT)
    return records[:-1]


def itch_messages():
    raw, at = feed_path("itch", "12302019_first1000.NASDAQ_ITCH50").read_bytes(), 0
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 2], "big")
        yield raw[at + 2 : at + 2 + size]
        at += 2 + size


def mold(seq, messages, session=b"000010059B"):
    body = b"".join(struct.pack(">H", len(m)) + m for m in messages)
    return struct.pack(">10sQH", session, seq, len(messages)) + body


@pytest.fixture
def day(tmp_path):
    """The recorded ITCH messages as packets of three, the file of these packets, and a configuration of all of it.

    A directory comes first: the recorded part begins within the day, when a feed tells no names any more.
    """
    recorded = list(itch_messages())
    names_of = {message[1:3]: message[24:32] for message in recorded if message[:1] in (b"A", b"F")}
    messages = [b"R" + locate + bytes(8) + stock + bytes(20) for locate, stock in names_of.items()] + recorded
    packets = [mold(1 + n, messages[n : n + 3]) for n in range(0, len(messages), 3)]
    path = tmp_path / "day.pcap"
    path.write_bytes(pcap([(T0 + n, udp(packet)) for n, packet in enumerate(packets)]))
    with open_file(path) as reader:
        for _ in reader.batches():
            pass
        names = [(row.symbol, 4, 0) for row in reader.instruments]
    return packets, path, desk(tmp_path, "XNAS", names)


def test_itch_packets_are_what_the_capture_of_them_is(day, bridge):
    packets, path, config = day
    expected, fitted = of_file(path, config)
    records, streams, found = through(bridge, config, MoldMessages(DAY), packets)
    assert [plain(record) for record in ended(records)] == expected
    assert len(expected) > 150
    assert (found.arrived, found.gaps, found.skipped) == (len(packets), 0, {})
    assert found.messages - found.by_type["R"] == 1000
    assert (found.dangling, found.dangling_after_replace) == (394, 5)
    assert (fitted.dangling, fitted.dangling_after_replace) == (394, 5)
    assert found.untold == fitted.untold == 28, "all of its executions are of orders from before it"
    assert sum(found.records.values()) == len(records)
    assert (streams[0].gaps, streams[0].seq, streams[0].epoch) == (0, len(records), found.epoch)
    assert found.left_out == {}


def test_what_itch_executes_on_the_book_comes_as_trades(tmp_path, bridge):
    """A made minute, all orders of which are known; what was printed in it, read slowly."""
    messages = itch_made.minute(3, 1200)
    packets = [mold(1 + n, messages[n : n + 3]) for n in range(0, len(messages), 3)]
    config, path = desk(tmp_path, "XNAS", [("AAPL", 4, 0)]), tmp_path / "minute.pcap"
    path.write_bytes(pcap([(T0 + n, udp(packet)) for n, packet in enumerate(packets)]))
    expected, _ = of_file(path, config)
    records, _, found = through(bridge, config, MoldMessages(DAY), packets)
    assert [plain(record) for record in ended(records)] == expected
    trades = [r for r in records if r["template_id"] == Template.TRADE]
    assert [(int(r["px"]), int(r["qty"])) for r in trades] == [row[1:] for row in itch_made.traded(messages)]
    assert 100 < sum(bool(r["flags"] & Flag.PRINT) for r in trades) < len(trades)
    assert (found.records["TRADE"], found.untold) == (len(trades), 0)


def test_a_packet_that_is_missing_is_a_gap_that_is_told(day, bridge):
    packets, path, config = day
    missing = len(packets) - 90
    records, streams, found = through(
        bridge, config, MoldMessages(DAY), packets[:missing] + packets[missing + 1 :] + packets[missing : missing + 1]
    )
    path.write_bytes(pcap([(T0 + n, udp(packet)) for n, packet in enumerate(packets[:missing])]))
    before, _ = of_file(path, config)
    got = ended(records)
    assert [plain(record) for record in got[: len(before)]] == before
    hole = got[len(before)]
    assert (hole["template_id"], hole["instrument_id"], hole["reason"]) == (Template.CLEAR, -1, Reason.SEQUENCE_GAP)
    assert hole["stream_seq"] == got[len(before) - 1]["stream_seq"] + 2, "a number is left out: the engine sees a gap"
    assert [int(r["stream_seq"]) for r in got[len(before) :]] == list(
        range(int(hole["stream_seq"]), int(hole["stream_seq"]) + len(got) - len(before))
    )
    assert (found.gaps, found.lost, found.repeated) == (1, 3, 3)
    assert len(got) > len(before) + 5
    assert (streams[0].gaps, streams[0].missed) == (1, 1)
    assert found.dangling > 394, "what rests from before the hole is not known after it"


def test_packets_that_cannot_be_and_parts(day, bridge):
    packets, _, config = day
    messages = [[b"topic", packets[0]], b"", b"short", packets[1][:-2], *packets[2:9]]
    _, _, found = through(bridge, config, MoldMessages(DAY), messages)
    assert found.arrived == len(messages)
    assert found.skipped == {"a packet without a header": 2, "messages that do not fit their packet": 1}
    assert found.gaps == 0
    # The cut packet's messages but the last one are whole.
    assert found.messages == 3 * 9 - 1


def payloads(path, most):
    """The first UDP payloads of a capture."""
    with Source(path) as source:
        window = source.more(0)
        capture, at = open_capture(window[:4096].tobytes())
        return list(islice(captures._payloads(source, capture, window, at), most))


def test_the_recorded_iex_day_packet_by_packet(tmp_path, bridge):
    path = feed_path("iex", "TOPS16.pcapng.gz")
    packets = payloads(path, 9000 if JIT else 150)
    part = tmp_path / "part.pcap"
    part.write_bytes(pcap([(T0, udp(packet)) for packet in packets]))
    with open_file(part) as reader:
        for _ in reader.batches():
            pass
        names = [(row.symbol, 4, 0) for row in reader.instruments][::2]
    config = desk(tmp_path, "IEXG", names)
    expected, fitted = of_file(part, config)
    records, _, found = through(bridge, config, IexMessages(), packets)
    assert [plain(record) for record in ended(records)] == expected
    assert len(expected) > 50
    assert (found.arrived, found.gaps, found.beside, found.crossed) == (len(packets), 0, 0, fitted.crossed)
    assert found.left_out == {"instrument is not configured": fitted.skipped["instrument is not configured"]}
    again = packets[:40] + packets[41:]
    _, streams, found = through(bridge_again(bridge), config, IexMessages(), again)
    assert (found.gaps, streams[0].gaps) == (1, 1)


def bridge_again(bridge):
    """The same bridge, once its first subscriber has gone."""
    while bridge.socket.poll(1000):
        if bridge.socket.recv()[0] == 0:
            break
    return bridge


@pytest.fixture(scope="module")
def lines():
    """The first lines of a recorded file of Binance."""
    with gzip.open(feed_path("binance", "spot_btcusdt_20240808.gz")) as file:
        return [line for line, _ in zip(file, range(4000 if JIT else 400), strict=False)]


@pytest.mark.parametrize("touch", ["quotes", "book"])
def test_binance_lines_are_what_the_file_of_them_is(tmp_path, bridge, lines, touch):
    path = tmp_path / "lines"
    path.write_bytes(b"".join(lines))
    config = desk(tmp_path, "SPOT", [("BTCUSDT", 2, 5)])
    names = {"venue": "SPOT", "symbol": "BTCUSDT"}
    expected, fitted = of_file(path, config, touch=touch, **names)
    sent = [line.rstrip(b"\n") if n % 2 else line for n, line in enumerate(lines)]
    records, _, found = through(bridge, config, BinanceMessages(), sent, wanted=Wanted("SPOT", "BTCUSDT"), touch=touch)
    assert [plain(record) for record in ended(records)] == expected
    assert len(expected) > 20
    assert (found.gaps, found.lost, found.messages) == (fitted.gaps, fitted.lost, len(lines))
    assert found.crossed == fitted.crossed
    assert found.negative > 0, "the recorder of these lines was behind"


def test_bare_messages_bad_lines_and_quotes_from_the_first_on(tmp_path, bridge, lines):
    config = desk(tmp_path, "SPOT", [("BTCUSDT", 2, 5)])
    bare = [line.split(b" ", 1)[1] for line in lines]
    bare[20:20] = [b"no line", b'{"e":"trade","s":"' + b"A" * 80 + b'","t":1,"p":"1","q":"1","T":1,"m":true}', b"{}{"]
    names = Wanted(venue="SPOT", symbols={"BTCUSDT": "BTCUSDT"})
    records, _, found = through(bridge, config, BinanceMessages(), bare, wanted=names)
    got = ended(records)
    assert sum(found.skipped[why] for why in found.skipped if "time" in why or "JSON" in why) >= 2
    assert found.skipped["a name must have 1 to 64 characters"] == 1
    assert found.messages >= len(lines)
    now_ns = time.time_ns()
    assert all(now_ns - 600 * 10**9 < int(r["ts_recv_ns"]) <= now_ns for r in got)
    prints = [line for line in lines if b'"e":"trade"' in line]
    trades = [r for r in got if r["template_id"] == Template.TRADE]
    assert [int(r["px"]) for r in trades] == [
        round(float(json.loads(line.split(b" ", 1)[1].strip())["data"]["p"]) * 100) for line in prints
    ]
    quotes = [r for r in got if r["template_id"] == Template.QUOTE]
    tickers = sum(b"bookTicker" in line for line in lines)
    assert len(quotes) >= tickers > 0


def test_bitstamp_lines(tmp_path, bridge):
    import lzma

    with lzma.open(feed_path("bitstamp", "2015-05-01.log.xz")) as file:
        lines = [line for line, _ in zip(file, range(2000 if JIT else 200), strict=False)]
    path = tmp_path / "lines"
    path.write_bytes(b"".join(lines))
    config = desk(tmp_path, "BITSTAMP", [("BTCUSD", 2, 8)])
    expected, fitted = of_file(path, config)
    records, _, found = through(bridge, config, BitstampMessages(), lines)
    assert [plain(record) for record in ended(records)] == expected
    assert (found.dangling, found.repeated_orders) == (fitted.dangling, fitted.repeated_orders)
    assert len(expected) > 20


def test_the_command_ends_cleanly(tmp_path, bridge):
    packets = [mold(1 + n, [message]) for n, message in enumerate(list(itch_messages())[:300])]
    del packets[200]
    feed, told = f"ipc://{tmp_path}/feed", tmp_path / "told.json"
    text = (ROOT / "docs" / "example.toml").read_text(encoding="utf-8")
    config = tmp_path / "desk.toml"
    config.write_text(text.replace("ipc:///tmp/tickroute-feed", feed), encoding="utf-8")
    command = [sys.executable, "-m", "cli.main", "feed", "decode", str(config), "--format", "mold-itch"]
    options = ["--from", bridge.endpoint, "--day", "2019-12-30", "--subscribers", "1", "--json", str(told)]
    process = subprocess.Popen(
        [*command, *options], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    )
    try:
        with Subscriber(feed) as subscriber:
            bridge.send(packets)
            streams: dict[int, Any] = {}
            until_s = time.monotonic() + 60
            while not streams and time.monotonic() < until_s:
                subscriber.receive(0.2)
                streams = subscriber.streams
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait(30)
    assert process.returncode == 0, said
    found = json.loads(told.read_bytes())
    assert (found["arrived"], found["messages"], found["gaps"], found["lost"]) == (299, 299, 1, 1)
    assert "gaps 1 (1 messages lost)" in said
    assert found["format"] == "mold-itch"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--format", "iex", "--day", "2019-12-30"], "--day 2019-12-30: is no option of --format iex"),
        (["--format", "mold-itch", "--day", "30.12."], "--day 30.12.: "),
        (["--format", "mold-itch", "--market", "XNYS"], "market 'XNYS': there are XNAS, XBOS, XPSX"),
        (["--format", "binance", "--product", "swap"], "product 'swap': there are spot, usdm, coinm"),
        (["--format", "iex", "--symbol", "A", "--symbol", "B=C"], "give one symbol, or NAME=SYMBOL"),
        (["--format", "iex", "--to", "nowhere"], "endpoint 'nowhere' is not of the form"),
    ],
)
def test_what_is_asked_wrongly(tmp_path, capsys, options, said):
    config = str(ROOT / "docs" / "example.toml")
    to = [] if "--to" in options else ["--to", f"ipc://{tmp_path}/feed"]
    assert main(["feed", "decode", config, "--from", "ipc:///tmp/none", *to, *options]) in (1, 2)
    assert said in capsys.readouterr().err


def test_a_subscriber_that_does_not_read_is_waited_for(day, bridge, monkeypatch):
    _, _, config = day
    from gateways.feeds import decoder as module

    answers = iter([0, 0, 0])
    real = module.publish

    def full(socket, out, at, sent):
        return at if len(sent) and next(answers, None) is not None else real(socket, out, at, sent)

    made = Decoder(config, MoldMessages(DAY), [bridge.endpoint], [config.feed[0].endpoint], epoch=1)
    monkeypatch.setattr(module, "publish", full)
    with made:
        out = made._out
        out.used[0] = 0
        assert np.count_nonzero(made._sent) == 0
        from gateways.formats.batch import new_trade

        new_trade(out, 0, 0, T0, T0)
        made._publish(out)
        found = made.found(1.0)
    assert (found.blocked, found.undelivered, found.records) == (1, 0, {"TRADE": 1})
    assert found.blocked_s > 0
