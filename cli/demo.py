"""`tickroute demo`: a whole day in half a minute. Feed, venues and engine as processes, hundreds of parents, a report.

Everything runs as it would in production: real sockets, real journals, one process a role. The day is the captured one
where the files are given (or lie beside the project), else a seeded synthetic one of the same shape. It is played at
a thousand times its pace on the feed's own clock: staleness, time-outs and latencies of venues are in recorded
time, the latencies measured in the engine are real.

Worst case: with an empty kernel cache the compiler comes first, about two minutes; that is set-up, and it is said.
"""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cli.demo_processes import DemoError, Processes
from cli.output import JsonOption, console, write_json

_SETUP_S = 600.0
#: Recorded seconds that the clock runs on after the day, so that everything live can end.
_TAIL_S = 1200
#: After so many of them the desk cancels what is left.
_CANCEL_AFTER_S = 300
_STALE_MS = 5000


def demo(
    json: JsonOption = None,
    feed: Annotated[
        list[Path] | None, typer.Option(help="A recorded day: a recording, or TAQ quotes and trades (give it twice).")
    ] = None,
    orders: Annotated[int, typer.Option(help="Parents to route.", min=1, max=100_000)] = 500,
    seed: Annotated[int, typer.Option(help="Seed of parents, venues and the synthetic day.", min=0)] = 1,
    out: Annotated[Path | None, typer.Option(help="Run directory to make.", show_default="runs/demo-TIME")] = None,
    rate: Annotated[float, typer.Option(help="Times the recorded pace.", min=1, max=1000)] = 1000.0,
    skip_gaps: Annotated[float, typer.Option(help="Cut silences longer than so many recorded seconds.", min=0)] = 20.0,
    strategy: Annotated[
        str, typer.Option(help="A strategy: a module, a file (mine/pounce.py), or one of ours (pounce).")
    ] = "sweep",
    parameter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An integer that the strategy declares.")
    ] = None,
) -> None:
    """Route hundreds of parents over a recorded day of twelve venues, live, and report on it.

    Example:  tickroute demo --orders 2000 --seed 7 --json demo.json
    """
    screen = console(json)
    chosen = _strategy(strategy, parameter or [])
    _stop_on_signals()
    run_dir = out or Path("runs") / f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    if (run_dir / "journal").exists():
        raise DemoError(f"{run_dir}: a run is there already; name another directory with --out")
    run_dir.mkdir(parents=True, exist_ok=True)
    run_dir = run_dir.resolve()
    try:
        _run(screen, run_dir, feed or _captured(), chosen, orders, seed, rate, skip_gaps)
    except KeyboardInterrupt:
        screen.print(f"stopped; what was journaled lies in {run_dir}")
        raise typer.Exit(130) from None
    from cli.demo_summary import summarise

    result = summarise(screen, run_dir)
    if json is not None:
        write_json(json, result)
    if result["verify"] != "identical" or result["parents"]["sent"] != result["parents"]["terminal"]:
        raise typer.Exit(1)


def _stop_on_signals() -> None:
    """SIGTERM ends the demonstration as Ctrl-C does: by leaving the contexts, which end the processes."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def _captured() -> list[Path]:
    """The captured day where it lies beside the project (or in TICKROUTE_FEEDS); none else."""
    import os

    root = Path(os.environ.get("TICKROUTE_FEEDS", Path(__file__).resolve().parents[2] / "shared" / "feeds"))
    folder = root / "taq"
    return sorted(folder.glob("*_quotes.csv.gz"))[:1] + sorted(folder.glob("*_trades.csv.gz"))[:1]


def _strategy(name: str, given: list[str]) -> tuple[str, dict[str, int]]:
    """(Strategy as the configuration names it, its parameters), verified before anything starts.

    UsageError for what is no parameter of it; BindError, MachineError.
    """
    from cli.machine import resolve
    from engine.errors import UsageError
    from engine.run.bind import machine_of

    strategy = resolve(name)
    if strategy.endswith(".py"):
        strategy = str(Path(strategy).resolve())
    declared = machine_of(strategy).parameters
    found = {}
    for text in given:
        key, mark, value = text.partition("=")
        if not mark or key not in declared:
            known = ", ".join(declared) or "none"
            raise UsageError(f"--parameter {text}: give NAME=VALUE; {name} declares: {known}")
        try:
            found[key] = int(value)
        except ValueError:
            raise UsageError(f"--parameter {text}: {value!r} is no integer") from None
    return strategy, found


def _run(
    screen: Console,
    run_dir: Path,
    files: list[Path],
    chosen: tuple[str, dict[str, int]],
    orders: int,
    seed: int,
    rate: float,
    skip_gaps: float,
) -> None:
    """Start everything, send the parents through the day, and end everything."""
    from cli.demo_config import VENUES, demo_toml
    from gateways.feeds.files import read_files
    from gateways.feeds.names import Names
    from gateways.feeds.synthetic import generate

    names = Names.listed([code for code, *_ in VENUES])
    if files:
        day, _ = read_files(files, names)
        screen.print(f"day: {day.count:,} records from {', '.join(path.name for path in files)}")
    else:
        day = generate(seed, names)
        screen.print(f"day: {day.count:,} records, synthetic with seed {seed} (--feed plays a recorded one)")
    day.save(run_dir / "day.rec")
    first, last = (datetime.fromtimestamp(ns / 1e9, UTC) for ns in (day.first_ns, day.last_ns))
    with Processes(run_dir) as processes:
        config = run_dir / "demo.toml"
        day_end = f"{min(last, last.replace(hour=21, minute=0, second=0)):%H:%M:%S}"
        text = demo_toml(
            run_dir,
            processes.sockets,
            day=f"{first:%Y-%m-%d}",
            day_end=day_end,
            orders=orders,
            seed=seed,
            stale_ms=_STALE_MS,
            idle="park",
            strategy=chosen[0],
            parameters=chosen[1],
        )
        config.write_text(text, encoding="utf-8")
        processes.start("engine", "run", str(config), "--json", str(run_dir / "engine.json"))
        venues = ("--json", str(run_dir / "venues.json"), "--drop-copy", str(run_dir / "venues.csv"))
        processes.start("venues", "venues", str(config), *venues)
        _route(screen, processes, run_dir, config, day, orders, seed, rate, skip_gaps)


def _route(
    screen: Console,
    processes: Processes,
    run_dir: Path,
    config: Path,
    day: Any,
    orders: int,
    seed: int,
    rate: float,
    skip_gaps: float,
) -> None:
    """Connect the desk, start the feed, and take turns until every parent has ended."""
    from cli.demo_desk import CLOCK_PREFIX, Desk
    from engine.run.config import load
    from gateways.feeds.subscriber import Subscriber
    from gateways.orders.client import OrderClient
    from gateways.orders.parents import generate_parents

    settings = load(config)
    parents = generate_parents(day, settings, orders, seed)
    began = time.monotonic()
    with (
        Subscriber(settings.feed[0].endpoint, prefixes=(CLOCK_PREFIX,)) as clock,
        OrderClient(
            settings.orders.endpoint,
            "desk",
            peer_timeout_ms=settings.engine.peer_timeout_ms,
            clock=lambda: clock.clock_ns or day.first_ns,
        ) as client,
    ):
        desk = Desk(client, clock, parents, day.last_ns + _CANCEL_AFTER_S * 10**9)
        with screen.status("compiling or loading kernels (a minute or two the first time) ..."):
            _until_ready(processes, run_dir, desk)
        screen.print(f"ready after {time.monotonic() - began:.1f} s; every kernel is compiled, loaded and rehearsed")
        options = ["--rate", str(rate), "--skip-gaps", str(skip_gaps), "--tail", str(_TAIL_S), "--subscribers", "3"]
        processes.start(
            "feed", "feed", str(config), str(run_dir / "day.rec"), *options, "--json", str(run_dir / "feed.json")
        )
        routed = time.monotonic()
        _watch(screen, processes, run_dir, desk)
        screen.print(f"routed in {time.monotonic() - routed:.1f} s")
        if not desk.finished:
            screen.print(f"[yellow]{desk.sent - desk.done} parents had not ended when the feed did[/]")
        processes.stop("feed")
        # The engine says goodbye to the desk's session before the venues go.
        processes.stop("engine")
        processes.stop("venues")


def _until_ready(processes: Processes, run_dir: Path, desk: Any) -> None:
    """Wait until the engine answers the desk, and the venues have dialled in."""
    from engine.io.stats_file import StatsError, StatsReader

    def ready() -> bool:
        processes.check()
        if not desk.client.up:
            return False
        try:
            reader = StatsReader(run_dir / "stats")
        except StatsError:
            return False
        try:
            return reader.counters()["sessions_up"] >= 2
        finally:
            reader.close()

    if not desk.wait(ready, _SETUP_S):
        raise DemoError(f"engine and venues did not come up within {_SETUP_S:g} s:\n{processes.said('engine')}")


def _watch(screen: Console, processes: Processes, run_dir: Path, desk: Any) -> None:
    """Route the day behind a live line: events a second, parents done, p50 and p99 now."""
    from cli.status import snapshot
    from engine.io.stats_file import StatsReader

    reader = StatsReader(run_dir / "stats")
    columns = (TextColumn("parents"), BarColumn(), TextColumn("{task.fields[said]}"), TimeRemainingColumn())
    before = snapshot(reader)
    told = time.monotonic()
    try:
        with Progress(*columns, console=screen) as bar:
            task = bar.add_task("parents", total=len(desk.parents), said="waiting for the feed")
            while not processes.ended("feed"):
                desk.turn()
                if time.monotonic() - told >= 0.25:
                    processes.check()
                    told = time.monotonic()
                    now = snapshot(reader)
                    bar.update(task, completed=desk.done, said=_line(now, before, desk))
                    before = now
            desk.wait(lambda: bool(desk.finished), 5.0)
            now = snapshot(reader)
            bar.update(task, completed=desk.done, said=_line(now, before, desk))
    finally:
        reader.close()


def _line(now: dict[str, Any], before: dict[str, Any], desk: Any) -> str:
    seconds = max((now["monotonic_ns"] - before["monotonic_ns"]) / 1e9, 1e-9)
    rate = (now["counters"]["inputs"] - before["counters"]["inputs"]) / seconds
    total = now["latency_ns"]["total"]
    latency = f"p50 {total['p50'] / 1e3:.1f} us, p99 {total['p99'] / 1e3:.1f} us" if total["count"] else ""
    return f"{desk.done}/{len(desk.parents)} done, {rate:,.0f} events/s, {latency}"
