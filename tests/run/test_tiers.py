"""Fees by tier: the last one that was reached when the run begins has the fees of the run."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest

from engine.run import config as c
from engine.run.reference import build_state
from tests.backtest import desk
from tests.run.test_config import EXAMPLE, complaint

TIERS = """
tier_traded = {traded}
[[venue.tier]]
from = 1000000
take_fee = "0.0025"
make_fee = "-0.0024"
[[venue.tier]]
from = 5000000
take_bps = "1.5"
"""


def text(traded=0, tiers=TIERS):
    """The example with tiers at its last venue."""
    example = EXAMPLE.read_text(encoding="utf-8")
    head, tail = example.split("[venue.simulation]")
    return head + tiers.format(traded=traded) + "[venue.simulation]" + tail


@pytest.mark.parametrize(
    ("traded", "fees"),
    [
        (0, None),
        (999_999, None),
        (1_000_000, (2_500_000, -2_400_000, 0, 0)),
        (4_999_999, (2_500_000, -2_400_000, 0, 0)),
        (5_000_000, (0, 0, 150, 0)),
        (1 << 62, (0, 0, 150, 0)),
    ],
)
def test_the_tier_that_was_reached(tmp_path, traded, fees):
    (tmp_path / "run.toml").write_text(text(traded), encoding="utf-8")
    config = c.load(tmp_path / "run.toml", host=False)
    plain = c.load(EXAMPLE, host=False)
    names = ("take_fee", "make_fee", "take_ppm", "make_ppm")
    state, before = (build_state(row, dt.date(2018, 1, 2), 1) for row in (config, plain))
    last = len(config.venue) - 1
    expected = fees or tuple(int(before.venues[name][last]) for name in names)
    assert tuple(int(state.venues[name][last]) for name in names) == expected
    for name in names:
        assert state.venues[name][:last].tolist() == before.venues[name][:last].tolist()
    assert c.from_json(c.to_canonical_json(config)) == config


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("from = 5000000", "from = 1000000", ".tier[1].from = 1000000: must be above that of the tier before, 1000000"),
        ("from = 1000000", "from = 0", ".tier[0].from = 0: must be a whole number"),
        ('take_bps = "1.5"', 'take_bps = "20000"', ".tier[1].take_bps"),
        ('take_fee = "0.0025"', 'take_fee = "0.00250000001"', ".tier[0].take_fee"),
        ("tier_traded = {traded}", "tier_traded = -1", ".tier_traded = -1: must be a whole number"),
    ],
)
def test_mistakes_name_the_tier(tmp_path, old, new, words):
    assert words in complaint(tmp_path, text(tiers=TIERS.replace(old, new)))


def test_a_backtest_takes_the_tiers_fees(tmp_path):
    """Routing, books and tables are those of a venue that has these fees outright."""
    plain = desk.config(tmp_path / "plain")
    fees = {"take_fee": "0.0001", "make_fee": "-0.0030", "take_bps": "0.25"}
    cheap = msgspec.structs.replace(plain.venue[0], **fees)
    reached = msgspec.structs.replace(plain.venue[0], tier=[c.Tier(least=10, **fees)], tier_traded=10)
    runs = []
    for n, venue in enumerate((cheap, reached, plain.venue[0])):
        config = msgspec.structs.replace(desk.elsewhere(plain, tmp_path / str(n)), venue=[venue, *plain.venue[1:]])
        runs.append(desk.play(config))
    assert runs[0].journal_hash() == runs[1].journal_hash() != runs[2].journal_hash()
    assert runs[0].fills()["fee"].to_pylist() == runs[1].fills()["fee"].to_pylist()
