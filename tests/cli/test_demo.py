"""The demonstration and the single commands as a user runs them: real processes, a short day, bounded in time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.demo_config import VENUES, demo_toml
from engine.jit import JIT
from gateways.feeds.names import Names
from gateways.feeds.synthetic import OPEN_NS, generate

pytestmark = [
    pytest.mark.skipif(not JIT, reason="live processes in plain Python are too slow for the feed's pace"),
    pytest.mark.timeout(900),
]
ROOT = Path(__file__).resolve().parents[2]
SETUP_S = 600


def tickroute(*arguments: str, timeout: float = SETUP_S) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=timeout
    )


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """Ten minutes of twelve venues, as a recording."""
    path = tmp_path_factory.mktemp("day") / "short.rec"
    names = Names.listed([code for code, *_ in VENUES])
    generate(3, names, quotes=6000, trades=1500, start_ns=OPEN_NS, duration_ns=600 * 10**9).save(path)
    return path


def test_demo_says_in_json_what_it_did(day, tmp_path):
    out, target = tmp_path / "run", tmp_path / "demo.json"
    done = tickroute(
        "demo", "--feed", str(day), "--orders", "60", "--seed", "5", "--out", str(out), "--json", str(target)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(target.read_text())
    assert said["verify"] == "identical"
    assert said["feed"]["gaps"] == 0
    assert said["feed"]["messages"] >= 7500
    assert said["parents"]["sent"] == said["parents"]["terminal"] == 60
    assert sum(said["parents"]["by_state"].values()) == 60
    shares = said["shares"]
    assert shares["ordered"] == shares["filled"] + shares["cancelled"] + shares["rejected"]
    assert shares["filled"] > 0
    assert said["latency_ns"]["total"]["count"] >= 7500
    for row in said["latency_ns"].values():
        assert 0 <= row["p50"] <= row["p99"] <= row["p99_9"] <= row["max"]
    assert Path(said["report"]).read_text(encoding="utf-8").lower().startswith("<!doctype html")
    assert "verify: identical" in done.stdout
    again = tickroute("verify", str(out))
    assert again.returncode == 0
    assert "identical" in again.stdout
    _agrees_with_the_venues_record(out, tmp_path)
    status = tickroute("status", str(out), "--json", "-")
    assert json.loads(status.stdout)["counters"]["parents_accepted"] == 60
    refused = tickroute("demo", "--feed", str(day), "--out", str(out))
    assert refused.returncode == 1
    assert "a run is there already" in refused.stderr
    assert "Traceback" not in refused.stderr
    _holds_against_a_backtest(out, tmp_path)


def _agrees_with_the_venues_record(out: Path, folder: Path) -> None:
    """What was booked is what the venues say that they executed, and one altered row is found and told."""
    agreed = tickroute("reconcile", str(out), "--venue-file", str(out / "venues.csv"), "--json", "-")
    assert agreed.returncode == 0, agreed.stdout + agreed.stderr
    told = json.loads(agreed.stdout)
    assert told["breaks"] == []
    assert told["ours"] == told["theirs"] == told["agreed"] > 20
    lines = (out / "venues.csv").read_text().splitlines()
    columns = lines[0].split(",")
    row = lines[5].split(",")
    row[columns.index("px")] = "1.0000"
    (folder / "altered.csv").write_text("\n".join([*lines[:5], ",".join(row), *lines[6:], ""]))
    broken = tickroute("reconcile", str(out), "--venue-file", str(folder / "altered.csv"))
    assert broken.returncode == 1
    assert f"PRICE_DIFFERS  {row[columns.index('mic')]}" in broken.stdout
    alerts = tickroute("alerts", str(out), "--json", "-")
    assert alerts.returncode == 0, alerts.stderr
    rows = json.loads(alerts.stdout)
    assert [row["code"] for row in rows["alerts"] if row["kind"] == "reconciliation"] == ["RECONCILIATION_BREAK"]
    assert rows["events"] == sum(row["count"] for row in rows["alerts"])


def _holds_against_a_backtest(live: Path, folder: Path) -> None:
    """A backtest of what the live run saw, with the latencies that it measured, order by order."""
    again, target, page = folder / "again", folder / "again.json", folder / "again.html"
    played = tickroute("backtest", str(live), "--out", str(again), "--json", str(target))
    assert played.returncode == 0, played.stdout + played.stderr
    told = json.loads(target.read_text())["compared"]
    assert told["orders"] == 60
    assert told["same"] >= 20, told["different"]
    assert told["same"] + len(told["different"]) == 60
    assert sum(told["causes"].values()) == len(told["different"])
    assert all(row["why"] and row["cause"] in told["causes"] for row in told["different"])
    assert told["measured"]["feed"]["count"] >= 6000
    for mic, measured in told["measured"]["order_to_answer"].items():
        assert told["played_us"][mic] == round(measured["p50_ns"] / 2000)
    assert {row["name"]: row["a"] > 0 and row["b"] > 0 for row in told["totals"]}["filled quantity"]
    assert tickroute("verify", str(again)).returncode == 0
    reported = tickroute("report", str(again), "--no-verify", "--html", str(page), "--json", str(target))
    assert reported.returncode == 0, reported.stderr
    assert json.loads(target.read_text())["compared"] == told
    assert f"Compared with {live}" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("after_s", [0.6, 6.0])
def test_a_signal_ends_the_demo_and_all_that_it_started(after_s, day, tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "demo", "--feed", str(day), "--rate", "5", "--out", str(out)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    time.sleep(after_s)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert process.returncode in (130, -signal.SIGTERM), said
    assert "Traceback" not in said
    deadline = time.monotonic() + 20
    while (left := _started_for(out)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


def _started_for(out: Path) -> list[int]:
    """Processes whose command line names the run directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(out) in line and "cli.main" in line:
                found.append(int(entry.name))
    return found


def test_each_part_by_hand(day, tmp_path, short_folder):
    """run, venues, feed and send as four processes; then verify and report."""
    out, config = tmp_path / "run", tmp_path / "desk.toml"
    text = demo_toml(
        out, short_folder, day="2018-01-02", day_end="21:00:00", orders=50, seed=1, stale_ms=5000, idle="park"
    )
    config.write_text(text)
    command = [sys.executable, "-m", "cli.main"]
    engine = subprocess.Popen([*command, "run", str(config)], cwd=ROOT, stdout=subprocess.DEVNULL)
    venues = subprocess.Popen([*command, "venues", str(config)], cwd=ROOT, stdout=subprocess.DEVNULL)
    feed = None
    try:
        feed = subprocess.Popen(
            [
                *command,
                "feed",
                str(config),
                str(day),
                "--rate",
                "10",
                "--subscribers",
                "2",
                "--wait",
                "500",
                "--tail",
                "60",
            ],
            cwd=ROOT,
        )
        parents = tmp_path / "parents.csv"
        parents.write_text(
            "cl_ord_id,symbol,side,qty,px,ord_type,tif\nA1,XXX,BUY,300,,MARKET,IOC\nA2,XXX,SELL,200,1.00,LIMIT,IOC\n"
        )
        _until_quoted(out)
        sent = tickroute("send", str(config), str(parents), "--wait", "60", "--json", "-", timeout=120)
        assert sent.returncode == 0, sent.stdout + sent.stderr
        rows = json.loads(sent.stdout)["parents"]
        assert [row["cl_ord_id"] for row in rows] == ["A1", "A2"]
        assert all(not row["open"] for row in rows)
        wrong = tickroute("send", str(config), "--symbol", "YYY", "--qty", "100")
        assert wrong.returncode == 2
        assert "YYY" in wrong.stderr
    finally:
        for process in (feed, engine, venues):
            if process is not None:
                process.send_signal(signal.SIGTERM)
        codes = [process.wait(timeout=60) for process in (feed, engine, venues) if process is not None]
    assert codes == [0, 0, 0]
    assert tickroute("verify", str(out)).returncode == 0
    page = tmp_path / "page.html"
    assert tickroute("report", str(out), "--html", str(page)).returncode == 0
    assert page.stat().st_size > 10_000


def _until_quoted(out: Path) -> None:
    """Wait until the engine has taken in some quotes."""
    from engine.io.stats_file import StatsError, StatsReader

    deadline = time.monotonic() + SETUP_S
    while time.monotonic() < deadline:
        try:
            reader = StatsReader(out / "stats")
        except StatsError:
            time.sleep(0.1)
            continue
        quotes = reader.counters()["quotes"]
        reader.close()
        if quotes > 50:
            return
        time.sleep(0.05)
    raise AssertionError("no quotes came")
