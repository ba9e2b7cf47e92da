"""Parts of the simulated venues: what `create` refuses, the dice, the ids, the views of the buffers."""

from __future__ import annotations

import numpy as np
import pytest

from engine.record.records import Template, from_text16
from engine.record.units import UnitError
from engine.run.config import ConfigError, Venue
from gateways.inbox import MARKET, view_inbox, whole
from gateways.venues.ids import splitmix64, write_id
from gateways.venues.state import create
from tests.venues.world import config, order, packed, record

pytestmark = pytest.mark.kernel


def test_create_names_what_is_wrong():
    strange = Venue(mic="XNYS", code="N", session="nowhere")
    with pytest.raises(ConfigError, match=r"XNYS: session = 'nowhere'"):
        create(config(venues=(strange,)))
    with pytest.raises(ConfigError, match="tick_table = 'fine'"):
        create(config(venues=(Venue(mic="XNYS", code="N", session="alpha", tick_table="fine"),)))
    with pytest.raises(UnitError, match=r"instrument XXX: lot '0\.5'"):
        create(config(venues=(Venue(mic="XNYS", code="N", session="alpha", lot="0.5"),)))


def test_splitmix64_is_the_published_one():
    """First outputs of the reference generator for seed 1234567, halved (we drop the lowest bit)."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    golden = 0x9E3779B97F4A7C15
    states = [(1234567 + n * golden) % 2**64 for n in range(3)]
    signed = [state - 2**64 if state >= 2**63 else state for state in states]
    assert [splitmix64(state) for state in signed] == [value >> 1 for value in published]


def test_write_id():
    words = np.zeros(2, dtype=np.int64)
    write_id(words, int.from_bytes(b"ABCDE", "little"), 5, 123456789012)
    assert from_text16(words) == "ABCDE23456789012"


def test_whole_records():
    rows = [order(1, 100, 20), record(Template.TRADE)]
    inbox, units = packed(rows)
    assert (units, whole(inbox, 0, 192), whole(inbox, 2, 64)) == (3, True, True)
    assert not any(whole(inbox, 0, size) for size in (0, 64, 129))
    rows[0]["schema_id"] = 1
    assert not whole(packed(rows)[0], 0, 192)
    rows[0]["schema_id"], rows[0]["block_length"] = 7717, 88
    assert not whole(packed(rows)[0], 0, 192)


def test_market_view_has_the_fields_where_the_records_have_them():
    rows = [
        record(Template.TRADE, px=5, qty=6),
        record(Template.CLEAR, reason=33),
        record(Template.CLOCK_SAMPLE, clock_ns=77),
    ]
    inbox, _ = packed(rows)
    m = inbox.market
    assert (m[0].trade_px, m[0].trade_qty, m[1].clear_reason, m[2].clock_ns) == (5, 6, 33, 77)
    assert MARKET.itemsize == 128
    with pytest.raises(ValueError, match="multiple of 64"):
        view_inbox(np.zeros(100, dtype=np.uint8))
