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


def write(folder: Path, *, clock: str, stale_ms: int, core: int = -1, **more: str) -> Path:
    """Write the configuration of a run in `folder` and return the file's path.

    `feed` and `orders` in `more` are endpoints, `venues` the venue session's ("zmq" or "shm:///path"), `io` a list of
    CPUs as TOML, `idle` a strategy, `segment_mib` a number.
    """
    ipc = f"ipc://{folder}/"
    lines = [
        f'[engine]\nrun_dir = "{folder}/run"\nclock = "{clock}"\ncore = {core}\nio_cores = {more.get("io", "[]")}',
        f'idle = "{more.get("idle", "spin")}"\nheartbeat_ms = 100\npeer_timeout_ms = 5000\ntrading_day = "2018-01-02"',
        f"[journal]\nsegment_mib = {more.get('segment_mib', '64')}",
        f'[[feed]]\nname = "feed"\nendpoint = "{more.get("feed", ipc + "feed")}"',
        f'[orders]\nendpoint = "{more.get("orders", ipc + "orders")}"',
        '[[session]]\nname = "desk"\nrole = "client"',
        f'[[session]]\nname = "venues"\nrole = "venue"\nendpoint = "{more.get("venues", "zmq")}"',
        f'[[instrument]]\nsymbol = "{SYMBOL}"\nodd_lots = true',
    ]
    for code, mic in _MICS.items():
        lines.append(
            f'[[venue]]\nmic = "{mic}"\ncode = "{code}"\nsession = "venues"\ntake_fee = "0.003"\nodd_lots = true'
        )
    lines.append(f"[routing]\nstale_ms = {stale_ms}\nchild_timeout_ms = 5000")
    lines.append('[risk]\nmax_qty = "20000"\nmax_notional = "50000000"\ncollar_bps = 1000\nreference_age_ms = 3600000')
    path = folder / "desk.toml"
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
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
