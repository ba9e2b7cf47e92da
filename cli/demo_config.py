"""The demonstration's configuration: twelve US equity venues, one stock, one desk, as TOML to be read.

Fees are of the kind and size that such venues publish (maker-taker, inverted, flat): an example, not a price list.
"""

from __future__ import annotations

import json
from pathlib import Path

#: Feed code, ISO 10383 MIC, take fee and make fee a share in USD, one-way latency in microseconds.
VENUES = (
    ("N", "XNYS", "0.0030", "-0.0020", 180),
    ("Y", "BATY", "-0.0002", "0.0010", 120),
    ("B", "XBOS", "-0.0002", "0.0014", 150),
    ("P", "ARCX", "0.0030", "-0.0020", 180),
    ("T", "XNAS", "0.0030", "-0.0020", 150),
    ("Z", "BATS", "0.0030", "-0.0020", 120),
    ("K", "EDGX", "0.0030", "-0.0020", 120),
    ("X", "XPHL", "0.0029", "-0.0019", 150),
    ("V", "IEXG", "0.0009", "0.0000", 350),
    ("J", "EDGA", "-0.0002", "0.0008", 120),
    ("A", "XASE", "0.0020", "-0.0010", 180),
    ("M", "XCHI", "0.0030", "-0.0020", 700),
)

_HEAD = """\
# The configuration of a demonstration run. Every key is explained in docs/example.toml.
[engine]
run_dir = "{run_dir}"
idle = "{idle}"
clock = "feed"             # a replay: the feed's clock is everybody's
trading_day = "{day}"
threshold_us = 1000
peer_timeout_ms = 2000     # processes of a shared machine wait for each other

[orders]
endpoint = "ipc://{sockets}/orders"

[capacity]
parents = {parents}
children = {children}

[journal]
segment_mib = 16

[routing]
strategy = {strategy}
parameters = {{ {parameters} }}
stale_ms = {stale_ms}
child_timeout_ms = 60000   # recorded time: 60 ms at a thousand times the recorded pace
day_end = "{day_end}"

[routing.sweep]
max_rounds = 4
rest = "engine"

[risk]
max_qty = "50000"
max_notional = "20000000"
collar_bps = 300
reference_age_ms = 300000
period_collar_bps = 5000
collar_period_ms = 300000
fat_finger_bps = 5000
max_position = "2000000"
gross_notional = "400000000"
net_notional = "400000000"
session_rate = 5000
strategy_rate = 5000
instrument_rate = 5000
duplicate_ms = 10
repeated_executions = 20000
repeated_executions_ms = 60000
restricted = []

[[risk.permission]]
client = "*"
strategy = "*"
instrument = "*"
venue = "*"

[simulation]
seed = {seed}
reject_ppm = 10000
partial_ppm = 30000

[[feed]]
name = "day"
endpoint = "ipc://{sockets}/feed"

[[session]]
name = "desk"
role = "client"

[[session]]
name = "venues"
role = "venue"

[[tick_table]]
name = "reg-nms"
rows = [["0", "0.0001"], ["1", "0.01"]]

[[instrument]]
symbol = "XXX"
mic = "XNYS"
currency = "USD"
px_decimals = 4
lot = "100"
tick_table = "reg-nms"
"""

_VENUE = """
[[venue]]
mic = "{mic}"
code = "{code}"
session = "venues"
take_fee = "{take}"
make_fee = "{make}"
latency_us = {latency}
lot = "100"
"""


def demo_toml(
    run_dir: Path,
    sockets: Path,
    *,
    day: str,
    day_end: str,
    orders: int,
    seed: int,
    stale_ms: int,
    idle: str,
    strategy: str = "strategies.sweep",
    parameters: dict[str, int] | None = None,
) -> str:
    """The configuration's text. `sockets` is a folder with a short path, because ipc endpoints are limited."""
    head = _HEAD.format(
        run_dir=run_dir,
        sockets=sockets,
        day=day,
        day_end=day_end,
        parents=max(1024, 2 * orders),
        children=max(16384, 16 * orders),
        seed=seed,
        stale_ms=stale_ms,
        idle=idle,
        strategy=json.dumps(strategy, ensure_ascii=False),
        parameters=", ".join(f"{name} = {value}" for name, value in (parameters or {}).items()),
    )
    rows = [
        _VENUE.format(code=code, mic=mic, take=take, make=make, latency=latency)
        for code, mic, take, make, latency in VENUES
    ]
    return head + "".join(rows)
