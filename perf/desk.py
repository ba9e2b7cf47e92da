"""The desk that the benchmarks run: twelve venues behind one session, one stock, one client, limits wide enough.

`write` puts the configuration into a TOML file, as a user would have it, and `read` takes that file in as `tickroute
run` does, so a benchmark cannot measure an engine that could not be configured.
"""

from __future__ import annotations

import os
from pathlib import Path

from engine.run.config import Config, load
from gateways.feeds.names import TAQ_CODES, Names
from gateways.feeds.recording import Recording
from gateways.feeds.synthetic import generate
from gateways.feeds.taq import read_day

CLIENT, VENUES = 0, 1
SYMBOL = "XXX"
_EXCHANGES = ("XNYS", "BATY", "XBOS", "ARCX", "XNAS", "BATS", "EDGX", "XPHL", "IEXG", "EDGA", "XASE", "XCHI")
_MICS = dict(zip(TAQ_CODES, _EXCHANGES, strict=True))


#: Every rule of the risk gate on, with limits that the benchmarks' orders keep to.
CONTROLS = """\
period_collar_bps = 5000
collar_period_ms = 300000
fat_finger_bps = 5000
max_position = "1000000000"
gross_notional = "100000000000"
net_notional = "100000000000"
session_rate = 100000000
strategy_rate = 100000000
instrument_rate = 100000000
duplicate_ms = 1
repeated_executions = 100000000
repeated_executions_ms = 60000
restricted = []

[[risk.permission]]
client = "*"
strategy = "*"
instrument = "*"
venue = "*"
"""
#: The oldest rules alone: kill flag, quantity, notional, venue down, reference, collar.
CONTROLS_OFF = """\
period_collar_bps = "off"
collar_period_ms = 300000
fat_finger_bps = "off"
max_position = "off"
gross_notional = "off"
net_notional = "off"
session_rate = "off"
strategy_rate = "off"
instrument_rate = "off"
duplicate_ms = "off"
repeated_executions = "off"
repeated_executions_ms = 60000
restricted = []
trade_through = "off"
locked_crossed = "off"

[[risk.permission]]
client = "*"
strategy = "*"
instrument = "*"
venue = "*"
"""

_TOML = """
[engine]
run_dir = "{folder}/run"
clock = "{clock}"
core = {core}
io_cores = {io_cores}
idle = "{idle}"
heartbeat_ms = {heartbeat_ms}
peer_timeout_ms = {peer_timeout_ms}
trading_day = "2018-01-02"
[journal]
segment_mib = {segment_mib}
[[feed]]
name = "feed"
endpoint = "{feed}"
[orders]
endpoint = "{orders}"
[[session]]
name = "desk"
role = "client"
endpoint = "{desk}"
[[session]]
name = "venues"
role = "venue"
endpoint = "{venues}"
[routing]
stale_ms = {stale_ms}
child_timeout_ms = 5000
[risk]
max_qty = "20000"
max_notional = "50000000"
collar_bps = 1000
reference_age_ms = 3600000
{controls}"""
_DEFAULTS: dict[str, object] = {
    "clock": "feed",
    "core": -1,
    "io_cores": "[]",
    "idle": "spin",
    "heartbeat_ms": 100,
    "peer_timeout_ms": 5000,
    "segment_mib": 64,
    "desk": "zmq",
    "venues": "zmq",
    "stale_ms": 5000,
    "controls": CONTROLS,
}


def write(folder: Path, instruments: int = 1, **settings: object) -> Path:
    """Write the configuration of a run in `folder` and return the file's path; `settings` are the blanks of _TOML."""
    ends = {"feed": f"ipc://{folder}/feed", "orders": f"ipc://{folder}/orders"}
    text = _TOML.format(**(_DEFAULTS | ends | settings | {"folder": folder}))
    for number in range(instruments):
        symbol = f"{SYMBOL}{number}" if number else SYMBOL
        text += f'[[instrument]]\nsymbol = "{symbol}"\nodd_lots = true\n'
    for code, mic in _MICS.items():
        text += f'[[venue]]\nmic = "{mic}"\ncode = "{code}"\nsession = "venues"\ntake_fee = "0.003"\nodd_lots = true\n'
    path = folder / "desk.toml"
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path) -> Config:
    """The configuration of a file of `write`."""
    return load(path)


def captured_day(names: Names) -> Recording | None:
    """The captured TAQ day, where the folder of recorded feeds is: TICKROUTE_FEEDS, else beside the project."""
    root = Path(__file__).resolve().parent.parent
    folder = Path(os.environ.get("TICKROUTE_FEEDS") or root.parent / "shared" / "feeds") / "taq"
    quotes, trades = (sorted(folder.glob(f"*_{kind}.csv.gz")) for kind in ("quotes", "trades"))
    if not quotes or not trades:
        return None
    return read_day(quotes[0], trades[0], names)[0]


def synthetic_day(names: Names, quotes: int = 100_000, trades: int = 40_000) -> Recording:
    """The seeded day of the same shape."""
    return generate(1, names, quotes, trades)
