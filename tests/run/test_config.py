"""Every mistake in a configuration is told with file, line, key, value and what is allowed; the example has none."""

from __future__ import annotations

import datetime as dt
import os
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import TickrouteError
from engine.run import config as c
from engine.run.config_read import lines_of
from engine.run.reference import build_state
from engine.run.reference_risk import rules_off

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "example.toml"
TEXT = EXAMPLE.read_text(encoding="utf-8")


def complaint(tmp_path, text, **options):
    """The message that a configuration of this text is refused with."""
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(c.ConfigError) as caught:
        c.load(path, **options)
    return str(caught.value).replace(str(tmp_path) + os.sep, "")


def changed(old, new):
    assert old in TEXT, old
    return TEXT.replace(old, new, 1)


def test_example_loads_and_shows_every_section():
    config = c.load(EXAMPLE)
    assert [venue.code for venue in config.venue] == ["N", "P", "T", "Y"]
    assert config.venue[3].simulation == c.Faults(reject_ppm=1000)
    sections = {field.name for field in msgspec.structs.fields(c.Config)}
    named = set(re.findall(r"^\[\[?(\w+)", TEXT, re.M))
    assert named == sections


REQUIRED = [field.encode_name for field in msgspec.structs.fields(c.Risk) if field.required]


@pytest.mark.parametrize("key", [key for key in REQUIRED if key != "permission"])
def test_an_unset_limit_refuses_to_start_and_shows_an_example(tmp_path, key):
    text = re.sub(rf"^{key} = [^\n]*\n", "", TEXT, count=1, flags=re.M)
    said = complaint(tmp_path, text)
    assert f"risk.{key}: missing; it must be" in said
    assert f"; for example: {key} = " in said


def test_without_a_permission_nobody_starts(tmp_path):
    head, tail = TEXT.split("[[risk.permission]]", 1)
    text = head + tail[tail.index("\n[[risk.instrument]]") :]
    assert "risk.permission: missing; add a [[risk.permission]] table, for example with client = " in complaint(
        tmp_path, text
    )


def test_off_is_a_word_and_is_known(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(changed("duplicate_ms = 200 ", 'duplicate_ms = "off" '), encoding="utf-8")
    assert rules_off(c.load(path)) == ["risk.duplicate_ms"]
    assert rules_off(c.load(EXAMPLE)) == []
    own = 'max_qty = "10000"\nmax_position = "off"\nfat_finger_bps = "off"'
    path.write_text(changed('max_qty = "10000"', own), encoding="utf-8")
    assert rules_off(c.load(path)) == ["risk.instrument XXX.fat_finger_bps", "risk.instrument XXX.max_position"] or (
        rules_off(c.load(path)) == ["risk.instrument XXX.max_position", "risk.instrument XXX.fat_finger_bps"]
    )


def test_a_configuration_of_before_the_rules_has_them_off():
    raw = msgspec.json.decode(c.to_canonical_json(c.load(EXAMPLE)))
    raw["risk"] = {key: raw["risk"][key] for key in ("max_qty", "max_notional", "collar_bps", "reference_age_ms")}
    old = c.from_json(msgspec.json.encode(raw))
    assert len(rules_off(old)) == 12
    assert old.risk.max_qty == "20000"


def test_protected_quotations_are_on_where_nothing_is_said_and_were_off_before_they_were_rules(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(re.sub(r"^(trade_through|locked_crossed|protected) = [^\n]*\n", "", TEXT, flags=re.M), "utf-8")
    config = c.load(path)
    assert (config.risk.trade_through, config.risk.locked_crossed) == ("block", "block")
    assert all(venue.protected for venue in config.venue)
    state = build_state(config, dt.date(2018, 1, 2), 1)
    assert (state.params[0].trade_through, state.params[0].locked_crossed) == (1, 1)
    assert state.venues["protected"].tolist()[:5] == [1, 1, 1, 1, 0]
    path.write_text(changed('locked_crossed = "block"', 'locked_crossed = "off"'), encoding="utf-8")
    assert rules_off(c.load(path)) == ["risk.locked_crossed"]
    raw = msgspec.json.decode(c.to_canonical_json(config))
    del raw["risk"]["trade_through"], raw["risk"]["locked_crossed"]
    assert rules_off(c.from_json(msgspec.json.encode(raw))) == ["risk.trade_through", "risk.locked_crossed"]


def test_canonical_json_is_the_configuration():
    config = c.load(EXAMPLE)
    data = c.to_canonical_json(config)
    assert c.from_json(data) == config
    assert c.to_canonical_json(c.from_json(data)) == data
    assert list(msgspec.json.decode(data)) == sorted(msgspec.json.decode(data))


def test_canonical_json_does_not_depend_on_order_or_defaults(tmp_path):
    head, routing = TEXT.split("[routing]", 1)
    other = tmp_path / "other.toml"
    other.write_text(head.replace("threshold_us = 100", "") + "[routing]" + routing, encoding="utf-8")
    assert c.to_canonical_json(c.load(other)) == c.to_canonical_json(c.load(EXAMPLE))


def test_damaged_manifest_is_refused():
    data = c.to_canonical_json(c.load(EXAMPLE))
    for damaged in (data[:-2], data.replace(b'"shard":0', b'"shard":999'), data.replace(b'"shard"', b'"shart"')):
        with pytest.raises(c.ConfigError, match="manifest"):
            c.from_json(damaged)


def test_config_error_is_wrong_use():
    assert issubclass(c.ConfigError, TickrouteError)
    assert c.ConfigError("x").exit_code == 2


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "threshold_us = 100",
            "treshold_us = 100",
            "engine.treshold_us: unknown key; did you mean engine.threshold_us?",
        ),
        ("[risk]", "[rsik]", "rsik: unknown key; did you mean risk?"),
        ("shard = 0", "shard = 128", "engine.shard = 128: must be a whole number from 0 to 127"),
        ("shard = 0", "shard = true", "engine.shard = true: must be a whole number"),
        ('idle = "yield"', 'idle = "sleep"', 'engine.idle = "sleep": must be one of "park", "spin", "yield"'),
        ("[0, 1]", "[0, -1]", "session[0].accounts = [0, -1]: must be a list, each a whole number from 0"),
        ('take_fee = "-0.0005"', "take_fee = 0.003", "venue[3].take_fee = 0.003: must be a decimal number as text"),
        ('take_fee = "-0.0005"', 'take_fee = "1e-3"', 'venue[3].take_fee = "1e-3": must be a decimal number as text'),
        ('take_fee = "-0.0005"', 'take_fee = "1\\n"', "venue[3].take_fee"),
        (
            "reject_ppm = 1000",
            "reject_ppm = 2000000",
            "venue[3].simulation.reject_ppm = 2000000: must be a whole number",
        ),
        ('code = "N"', 'code = "N Y"', 'venue[0].code = "N Y": must be 1 to 15 letters'),
        ('max_qty = "20000"', "", "risk.max_qty: missing; it must be a decimal number as text"),
        ("duplicate_ms = 200", "duplicate_ms = 0", "risk.duplicate_ms = 0: must be milliseconds, a whole number"),
        ("session_rate = 2000", 'session_rate = "none"', 'risk.session_rate = "none": must be messages a second'),
        ('gross_notional = "50000000"', 'gross_notional = "-1"', "risk.gross_notional"),
        (
            'trade_through = "block"',
            'trade_through = "on"',
            'risk.trade_through = "on": must be "block", which is the default, or "off"',
        ),
        ('locked_crossed = "block"', "locked_crossed = false", "risk.locked_crossed = false: must be"),
        ("protected = true", 'protected = "no"', 'venue[1].protected = "no": must be true or false'),
        ("strategy = [0] ", "strategy = [16] ", "risk.permission[0].strategy = [16]: must be a list of algo_ids"),
        (
            '[["0", "0.0001"], ["1", "0.01"]]',
            '[["0"]]',
            'tick_table[0].rows = [["0"]]: must be a list, each a list of 2',
        ),
        ("[orders] ", "[[orders]]", "orders = [{"),
        ("[[feed]]", "[feed]", "must be a list of tables, [[feed]]"),
        ("odd_lots = true", 'odd_lots = "yes"', 'instrument[0].odd_lots = "yes": must be true or false'),
        ('currency = "USD"', 'currency = "usd"', "must be an ISO 4217 code"),
        ('trading_day = "2018-01-02"', 'trading_day = "2.1.2018"', "must be a date, YYYY-MM-DD"),
        ('trading_day = "2018-01-02"', "trading_day = 2018-01-02", "must be a date, YYYY-MM-DD"),
    ],
)
def test_wrong_value(tmp_path, old, new, said):
    text = complaint(tmp_path, changed(old, new))
    assert said in text
    assert re.match(r"run\.toml(:\d+)?: ", text)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('code = "P"', 'code = "N"', 'venue[1].code = "N": venue[0] has it already'),
        ('mic = "ARCX"', 'mic = "XNYS"', 'venue[1].mic = "XNYS": venue[0] has it already'),
        ('name = "venues"', 'name = "desk"', 'session[1].name = "desk": session[0] has it already'),
        ('session = "venues"', 'session = "desk"', 'role = "venue"; there are: venues'),
        ('session = "venues"', 'session = "nyse"', 'venue[0].session = "nyse": must be the name of a [[session]]'),
        (
            'tick_table = "us"',
            'tick_table = "eu"',
            'instrument[0].tick_table = "eu": must be the name of a [[tick_table]]',
        ),
        ('post_venue = ""', 'post_venue = "XLON"', "there are: XNYS, ARCX, XNAS, BATY"),
        ('strategy = "strategies.sweep"', 'strategy = "sweep.py!"', "must be a Python module"),
        ("venues = 16", "venues = 3", "capacity.venues = 3: must be at least 4, there are that many venues"),
        ("[0, 1]", "[0, 4]", "session[0].accounts = 4: must be below capacity.accounts = 4"),
        ('["1", "0.01"]', '["0", "0.01"]', "rows must ascend"),
        ('["0", "0.0001"]', '["1", "0.0001"]', 'must begin at price "0"'),
        ('["1", "0.01"]', '["1", "0"]', "the increment from 1.0000 on must be above 0"),
        ('["1", "0.01"]', '["1", "0.00001"]', "must have 4 decimals at most"),
        ('["1", "0.01"]', '["1.005", "0.01"]', "must begin at a whole number of its increments"),
        ('["0", "0.0001"]', '["0", "0.3"]', "must begin at a whole number of the increments before it"),
        ('lot = "1"', 'lot = "0"', 'instrument[0].lot = "0": must be above 0'),
        ('lot = "1"', 'lot = "0.5"', "must have 0 decimals at most"),
        ('code = "P"', 'code = "P"\nlot = "-1"', 'venue[1].lot = "-1": must be above 0'),
        ('make_fee = "0.0018"', 'make_fee = "0.0000000001"', "venue[3].make_fee"),
        ('make_fee = "0.0018"', 'make_bps = "0.001"', 'venue[3].make_bps = "0.001": must have 2 decimals'),
        ('make_fee = "0.0018"', 'make_bps = "10001"', "must be from -10000 to 10000 basis points"),
        ('max_notional = "5000000"', 'max_notional = "0"', 'risk.max_notional = "0": must be above 0'),
        ('max_notional = "5000000"', 'max_notional = "4611686018.5"', "4611686018.427387903 at most"),
        ('max_qty = "20000"', 'max_qty = "0"', 'risk.max_qty = "0": must be above 0'),
        ('max_qty = "10000"', 'max_qty = "0"', 'risk.instrument[0].max_qty = "0": must be above 0'),
        ('max_qty = "10000"', 'max_position = "0.5"', 'risk.instrument[0].max_position = "0.5": must have 0 decimals'),
        ('client = ["desk"]', 'client = ["venues"]', 'risk.permission[0].client = "venues": must be the name of'),
        ("restricted = []", 'restricted = ["YYY"]', 'risk.restricted[0] = "YYY": must be the name of'),
        ('net_notional = "20000000"', 'net_notional = "0.001"', "must have 2 decimals at most"),
        ('max_qty = "20000"', 'max_qty = "99999999999"', "beyond 63 bits"),
        ("heartbeat_ms = 50", "heartbeat_ms = 200", "engine.peer_timeout_ms = 300: must be at least 400"),
        ('trading_day = "2018-01-02"', 'trading_day = "2018-02-30"', "engine.trading_day: trading day '2018-02-30'"),
        ('day_end = "21:00:00"', 'day_end = "24:00:00"', "must be a time of day"),
    ],
)
def test_wrong_together(tmp_path, old, new, said):
    text = complaint(tmp_path, changed(old, new))
    assert said in text
    assert re.match(r"run\.toml:\d+: ", text)


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("tcp://localhost", "the port from 1 to 65535"),
        ("tcp://localhost:0", "the port from 1 to 65535"),
        ("tcp://localhost:65536", "the port from 1 to 65535"),
        ("tcp://:5555", "the port"),
        ("udp://localhost:5555", "must be ipc:///path or tcp://host:port or shm:///path"),
        ("/tmp/feed", "must be ipc:///path"),
        ("ipc://feed", "must name a file by its full path"),
        ("shm:///dev/shm/", "must name a file by its full path"),
        ("ipc:///" + "x" * 107, "has a path of 108 bytes; the system allows 107"),
        ("ipc:///tmp/tickroute-orders", "orders.endpoint is the same"),
    ],
)
def test_wrong_endpoint(tmp_path, endpoint, said):
    text = complaint(tmp_path, changed("ipc:///tmp/tickroute-feed", endpoint))
    assert "feed[0].endpoint" in text
    assert said in text


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1:5555", "tcp://[::1]:1", "shm:///dev/shm/f", "ipc:///" + "x" * 106]
)
def test_right_endpoint(tmp_path, endpoint):
    path = tmp_path / "run.toml"
    path.write_text(changed("ipc:///tmp/tickroute-feed", endpoint), encoding="utf-8")
    assert c.load(path).feed[0].endpoint == endpoint


def test_two_sessions_cannot_share_a_ring(tmp_path):
    ring = 'endpoint = "shm:///dev/shm/ring"\n'
    text = TEXT.replace('role = "client"', f'role = "client"\n{ring}').replace(
        'role = "venue"', f'role = "venue"\n{ring}'
    )
    assert "session[1].endpoint" in complaint(tmp_path, text)


def test_cores_are_checked_on_this_machine_alone(tmp_path):
    text = changed("core = -1 ", "core = 9999 ").replace("io_cores = []", "io_cores = [9998]")
    said = complaint(tmp_path, text)
    assert "engine.core = 9999: must be a CPU that this process may use" in said
    assert "engine.io_cores = 9998" in said
    assert c.load(tmp_path / "run.toml", host=False).engine.core == 9999


def test_loop_and_io_do_not_share_a_core(tmp_path):
    core = min(os.sched_getaffinity(0))
    text = changed("core = -1 ", f"core = {core} ").replace("io_cores = []", f"io_cores = [{core}]")
    assert "is the loop's own CPU" in complaint(tmp_path, text)


def test_all_mistakes_are_told_at_once_in_order(tmp_path):
    text = (
        changed("threshold_us", "treshold_us")
        .replace('take_fee = "0.0030"', "take_fee = 3", 2)
        .replace("shard = 0", "shard = -1")
    )
    said = complaint(tmp_path, text).splitlines()
    assert len(said) == 4
    numbers = [int(line.split(":")[1]) for line in said]
    assert numbers == sorted(numbers)
    for line, number in zip(said, numbers, strict=True):
        name = re.search(r"\.(\w+)[: ]", line.split(": ", 1)[1])
        assert name is not None
        assert name[1] in text.splitlines()[number - 1]


def test_a_mistake_is_told_once(tmp_path):
    text = changed('code = "P"', 'code = "P"\nlot = "0"') + '[[instrument]]\nsymbol = "YYY"\n'
    assert complaint(tmp_path, text).splitlines() == ['run.toml:72: venue[1].lot = "0": must be above 0']


def test_nothing_at_all(tmp_path):
    said = complaint(tmp_path, "")
    for section in ("engine", "orders", "risk", "feed", "session", "venue", "instrument"):
        assert f"run.toml: {section}: missing" in said


def test_empty_lists(tmp_path):
    head = TEXT.split("[[feed]]")[0]
    tail = "[risk]" + TEXT.split("[risk]")[1]
    text = (
        "feed = []\nsession = []\nvenue = []\ninstrument = []\n" + head + '[orders]\nendpoint = "tcp://*:5555"\n' + tail
    )
    said = complaint(tmp_path, text)
    assert "run.toml:1: feed: there is none; add a [[feed]] table" in said
    assert len(said.splitlines()) == 6, "and two names in [risk] that are nobody's now"


def test_files_that_are_no_configuration(tmp_path):
    with pytest.raises(c.ConfigError, match=r"none\.toml: cannot be read: No such file"):
        c.load(tmp_path / "none.toml")
    with pytest.raises(c.ConfigError, match="cannot be read"):
        c.load(tmp_path)
    assert "no TOML" in complaint(tmp_path, "[engine\n")
    assert "line 2" in complaint(tmp_path, "a = 1\na = 2\n")
    assert "no TOML" in complaint(tmp_path, "a = " + "[" * 100_000)
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe4"\n')
    with pytest.raises(c.ConfigError, match="no UTF-8 at byte 8"):
        c.load(tmp_path / "latin.toml")
    with (tmp_path / "large.toml").open("wb") as file:
        file.truncate(5 << 20)
    with pytest.raises(c.ConfigError, match="4194304 at most"):
        c.load(tmp_path / "large.toml")


def test_lines_of_nested_tables():
    text = "[a]\nb = 1\nc.d = 2\n[[v]]\nx = 1\n[[v]] # two\n'x' = 2\n[v.s]\ny = 1\n"
    assert lines_of(text) == {
        "a": 1,
        "a.b": 2,
        "a.c.d": 3,
        "v[0]": 4,
        "v[0].x": 5,
        "v[1]": 6,
        "v[1].x": 7,
        "v[1].s": 8,
        "v[1].s.y": 9,
    }


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
def test_no_value_anywhere_makes_anything_but_a_config_error(data):
    """Replace one random leaf or branch of a good document by anything: it loads, or it is refused with a message."""
    from engine.run.config_check import problems
    from engine.run.config_read import walk

    raw = msgspec.json.decode(c.to_canonical_json(c.load(EXAMPLE)))
    place = raw
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not (isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans())):
            break
        place = place[key]
    place[key] = data.draw(values)
    found = list(walk(c.Config, raw, ""))
    if found:
        assert all(problem.key and problem.text for problem in found)
    else:
        list(problems(msgspec.convert(raw, c.Config), host=True))
