"""Shadow mode: the configuration that comes out, and real processes of which the configured venue hears nothing."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import msgspec
import pytest

from cli import main as cli
from engine.core.limits import MAX_SESSIONS
from engine.errors import UsageError
from engine.io.journal_reader import JournalReader
from engine.jit import JIT
from engine.run import config as c
from engine.run import manifest
from engine.run.daemon import Engine
from engine.run.shadow import check, shadowed
from gateways.orders.client import OrderClient
from tests.run.engine_peers import Peer, make_config
from tests.run.lives import ENDED, START_S, Lives


def test_venue_sessions_lead_into_the_runs_own_folder(tmp_path):
    plain = make_config(tmp_path / "run", tmp_path)
    found = shadowed(plain)
    ring = f"shm://{(tmp_path / 'run' / 'shadow' / 'sim').resolve()}"
    assert {row.name: row.endpoint for row in found.session} == {"desk": "zmq", "sim": ring}
    assert found.engine.shadow
    assert shadowed(found) == found
    back = msgspec.structs.replace(found, session=plain.session, engine=plain.engine)
    assert back == plain
    assert len(found.session) <= MAX_SESSIONS


def test_what_simulated_venues_have_of_ours_is_in_no_live_quote(tmp_path):
    plain = make_config(tmp_path / "run", tmp_path)
    plain = msgspec.structs.replace(plain, venue=[msgspec.structs.replace(row, shows_own=True) for row in plain.venue])
    assert not any(row.shows_own for row in shadowed(plain).venue)


def test_what_cannot_be_a_shadow_is_refused(tmp_path):
    with pytest.raises(UsageError, match="feed day: a ring has one reader"):
        shadowed(make_config(tmp_path / "run", tmp_path, transport="shm"))
    plain = make_config(tmp_path / "run", tmp_path)
    told = msgspec.structs.replace(plain, engine=msgspec.structs.replace(plain.engine, shadow=True))
    with pytest.raises(UsageError, match=r"engine\.shadow = true"):
        check(told)
    with pytest.raises(UsageError, match="venue sessions are not those of a shadow run"):
        Engine(told)
    assert not (tmp_path / "run").exists()
    check(plain)
    check(shadowed(told))


class Shadow(Lives):
    """The engine with `--shadow`; where its venues would be, a gateway that takes all that comes, and says hello."""

    def __enter__(self) -> Shadow:
        session = next(n for n, row in enumerate(self.config.session) if row.role == "venue")
        self.gateway = Peer(self.config, session, self.context)
        self.client = OrderClient(self.config.orders.endpoint, "desk", peer_timeout_ms=500)
        return self

    def __exit__(self, *_: object) -> None:
        self.gateway.close()
        super().__exit__()


def filled(it: Shadow) -> int:
    """Quantity that was executed, all orders together."""
    return sum(order.cum_qty for order in it.client.orders.values())


def venues_of(run_dir: Path) -> list[int]:
    """Processes that are the simulated venues of a run."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"--shadow" in words and str(run_dir).encode() in words and b"venues" in words:
                found.append(int(folder.name))
    return found


@pytest.mark.skipif(not JIT, reason="its processes are compiled ones")
@pytest.mark.timeout(900)
def test_no_byte_goes_to_the_configured_venue(tmp_path, capsys):
    with Shadow(tmp_path, seed=3) as it:
        it.start("--shadow")
        it.turn_until(lambda: filled(it) > 2000, START_S)
        (venues,) = venues_of(it.run_dir)
        it.gateway.hello()
        it.gateway.beat()
        assert cli.main(["status", str(it.run_dir)]) == 0
        assert "shadow" in capsys.readouterr().out
        os.kill(venues, 9)  # it is looked after
        it.turn_until(lambda: venues_of(it.run_dir) not in ([], [venues]), 30.0)
        fills = filled(it)
        it.turn_until(lambda: filled(it) > fills + 2000, 120.0)
        it.client.mass_cancel()
        it.turn_until(lambda: all(order.ord_status in ENDED for order in it.client.orders.values()), 60.0, orders=False)
        it.processes.stop("engine-1", 120)
        assert it.gateway._messages() == []
        assert it.told(1)["shadow"] is True
        until = time.monotonic() + 20
        while venues_of(it.run_dir):
            assert time.monotonic() < until, "the simulated venues outlive the engine"
            time.sleep(0.1)
        with JournalReader(it.run_dir) as reader:
            run = manifest.from_bytes(reader.manifest).read_config()
        assert run.engine.shadow
        assert run.orders == it.config.orders
        told, page = it.run_dir / "report.json", it.run_dir / "report.html"
        assert cli.main(["report", str(it.run_dir), "--json", str(told), "--html", str(page)]) == 0
        assert json.loads(told.read_bytes())["run"]["shadow"] is True
        assert "A shadow run" in page.read_text(encoding="utf-8")
        capsys.readouterr()
        assert cli.main(["run", str(it.toml)]) != 0
        assert "engine.shadow = False: the run has True" in capsys.readouterr().err
    assert isinstance(it.config, c.Config)
