"""What is wrong with a recorded file is told by its backtest and by the report, as `feed inspect` tells it."""

from __future__ import annotations

import json
import struct
from collections import Counter
from pathlib import Path

import pytest

from cli.main import main
from engine.record.records import Template
from gateways.feeds.names import Symbol
from gateways.feeds.subscriber import split
from gateways.formats.batch import taken
from gateways.formats.fit import Fitted, Target, Wanted
from gateways.formats.inspection import inspect
from gateways.formats.known import open_file
from gateways.venues.state import Depth, create
from replay.backtest import host
from replay.backtest.outcome import Losses, losses_of
from tests.feeds_path import feed_path
from tests.formats.packets_twin import pcap, udp
from tests.venues import world

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "backtest.toml"
T0 = 1_577_716_200_000_000_000


@pytest.fixture
def thousand():
    """The recorded ITCH messages: their file, and each of them."""
    path = feed_path("itch", "12302019_first1000.NASDAQ_ITCH50")
    raw, at, messages = path.read_bytes(), 0, []
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 2], "big")
        messages.append(raw[at + 2 : at + 2 + size])
        at += 2 + size
    return path, messages


def symbols_of(path):
    """The file's instruments, the one with most order messages first."""
    seen: Counter[int] = Counter()
    with open_file(path) as reader:
        for batch in reader.batches():
            rows = (row for row in split(taken(batch)) if row["template_id"] == Template.ORDER_DELTA)
            seen.update(int(row["instrument_id"]) for row in rows)
        return [reader.instruments[n].symbol for n, _ in seen.most_common()]


def test_dangling_references_are_those_that_inspect_counts(thousand):
    path, _ = thousand
    with open_file(path) as reader:
        for _ in reader.batches():
            pass
        names = {row.symbol: Symbol(n) for n, row in enumerate(reader.instruments)}
    fitted = Fitted(path, Target({"XNAS": 0}, names), Wanted())
    for _ in fitted.batches():
        pass
    told, seen = fitted.told, inspect(path)
    assert (told.dangling, told.dangling_after_replace) == (394, 5) == (seen.dangling, seen.dangling_after_replace)
    assert told.crossed == seen.crossed
    assert told.repeated_orders == seen.repeated - told.repeated


def test_a_hole_in_a_capture_is_in_the_backtest_and_in_the_report(thousand, tmp_path, capsys):
    _, messages = thousand
    packets = [
        struct.pack(">10sQH", b"000010059B", 1 + n, len(messages[n : n + 3]))
        + b"".join(struct.pack(">H", len(m)) + m for m in messages[n : n + 3])
        for n in range(0, len(messages), 3)
    ]
    capture = tmp_path / "day.pcap"
    capture.write_bytes(
        pcap([(T0 + 10**6 * n, udp(packet)) for n, packet in enumerate(packets) if n not in (100, 101, 200)])
    )
    symbol = next(name for name in symbols_of(capture) if name[0] != "#")
    text = EXAMPLE.read_text(encoding="utf-8").replace('symbol = "XXX"', f'symbol = "{symbol}"')
    config, run = tmp_path / "bt.toml", tmp_path / "run"
    config.write_text(text.replace('trading_day = "2018-01-02"', 'trading_day = "2019-12-30"'), encoding="utf-8")
    told = tmp_path / "told.json"
    assert main(["backtest", str(config), str(capture), "--out", str(run), "--orders", "0", "--json", str(told)]) == 0
    assert "gaps 2 (9 lost), repeated 0, orders never added " in capsys.readouterr().out
    [row] = json.loads(told.read_bytes())["feeds"]
    assert (row["gaps"], row["lost"], row["repeated"]) == (2, 9, 0)
    assert row["dangling"] > 0
    page, figures = tmp_path / "r.html", tmp_path / "r.json"
    assert main(["report", str(run), "--html", str(page), "--json", str(figures)]) == 0
    assert "feed      day.pcap: gaps 2 (9 lost)" in capsys.readouterr().out
    [played] = json.loads(figures.read_bytes())["played"]
    names = ("gaps", "lost", "dangling", "dangling_after_replace", "repeated_orders", "crossed")
    assert [played[name] for name in names] == [row[name] for name in names]
    shown = page.read_text(encoding="utf-8")
    assert "2 gaps in the recorded feed" in shown
    assert "<td>day.pcap</td>" in shown
    assert main(["verify", str(run)]) == 0


def test_a_book_without_room_is_told(thousand, tmp_path, capsys, monkeypatch):
    path, _ = thousand
    monkeypatch.setattr(host, "Depth", lambda: Depth(2, 2, 2))
    symbol = next(name for name in symbols_of(path) if name[0] != "#")
    text = EXAMPLE.read_text(encoding="utf-8").replace('symbol = "XXX"', f'symbol = "{symbol}"')
    config, run, told = tmp_path / "bt.toml", tmp_path / "run", tmp_path / "told.json"
    config.write_text(text.replace('trading_day = "2018-01-02"', 'trading_day = "2019-12-30"'), encoding="utf-8")
    assert main(["backtest", str(config), str(path), "--out", str(run), "--orders", "0", "--json", str(told)]) == 0
    losses = json.loads(told.read_bytes())["losses"]
    assert losses["broken"] == [f"XNAS {symbol}"]
    assert json.loads((run / "backtest.json").read_bytes())["losses"] == losses
    shown = " ".join(capsys.readouterr().out.split())
    assert f"no room for all orders and levels of these books: XNAS {symbol}. Nothing could be taken there" in shown


def test_every_loss_of_the_venues_is_told():
    config = world.config()
    exchange = create(config)
    for n, name in enumerate(("curbed", "postponed", "refused", "ignored")):
        exchange.core[name] = n + 1
    exchange.books.books["broken"][1] = exchange.pairs["broke"][2] = 1
    assert losses_of(exchange, config) == Losses(1, 2, 3, 4, ("XNYS YYY", "BATS XXX"))


def test_crossed_touches_and_orders_that_came_twice(tmp_path, monkeypatch):
    from gateways.formats import fit
    from gateways.formats.batch import make_batch, new_delta, new_quote
    from gateways.formats.reader import Counts, Instrument, Reader

    class Made(Reader):
        format = "made"

        def __init__(self, path, given):
            self.path, self.counts = Path(path), Counts()
            self.venues, self.instruments = ["N"], [Instrument("AA", 4), Instrument("BB", 4)]

        def batches(self):
            batch = make_batch(64)
            for side, px, number in ((49, 100, 1), (49, 100, 1), (50, 99, 2), (50, 101, 3)):
                i = new_delta(batch, 0, 0, T0, T0)
                delta = batch.delta[i]
                delta["side"], delta["px"], delta["qty"], delta["venue_order"] = side, px, 10, number
            i = new_delta(batch, 0, 0, T0, T0)
            batch.delta[i]["action"], batch.delta[i]["venue_order"] = 2, 77
            for bid in (100, 102):
                i = new_quote(batch, 0, 1, T0, T0)
                quote = batch.quote[i]
                quote["bid_px"], quote["bid_qty"], quote["ask_px"], quote["ask_qty"] = bid, 1, 101, 1
            yield batch

        def close(self):
            pass

    monkeypatch.setattr(fit, "open_file", Made)
    found = Fitted("made", Target({"N": 0}, {"AA": Symbol(0), "BB": Symbol(1)}))
    for _ in found.batches():
        pass
    told = found.told
    assert (told.repeated_orders, told.dangling, told.dangling_after_replace) == (1, 1, 0)
    assert told.crossed == 2, "one of the book, one of the quotes"
