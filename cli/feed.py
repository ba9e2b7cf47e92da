"""`tickroute feed CONFIG.toml [FILE ...]`: plays a recorded day, or a seeded synthetic one, to its subscribers."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cli.output import JsonOption, console, write_json


def feed(
    config: Annotated[Path, typer.Argument(help="The run's TOML configuration: venues, instruments, feed endpoints.")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="TAQ quotes and trades, or a recording; none is the synthetic day."),
    ] = None,
    rate: Annotated[float, typer.Option(help="Times the recorded pace; 0 is as fast as it goes.", min=0)] = 1.0,
    subscribers: Annotated[int, typer.Option(help="Start when so many have subscribed.", min=0)] = 1,
    wait: Annotated[float, typer.Option(help="Seconds to wait for them.", min=0)] = 60.0,
    skip_gaps: Annotated[
        float, typer.Option(help="Cut silences longer than so many recorded seconds; 0 cuts none.", min=0)
    ] = 0.0,
    tail: Annotated[float, typer.Option(help="Recorded seconds that the clock runs on after the end.", min=0)] = 5.0,
    seed: Annotated[int, typer.Option(help="Seed of the synthetic day.", min=0)] = 1,
    json: JsonOption = None,
) -> None:
    """Play a day over ZeroMQ (or shared memory) to the engine and the venues.

    Nothing is dropped: a subscriber that is full makes everybody wait. Ctrl-C ends it cleanly.

    Example:  tickroute feed desk.toml quotes.csv.gz trades.csv.gz --rate 100 --subscribers 2
    """
    from engine.run.config import load
    from gateways.feeds.files import read_files
    from gateways.feeds.names import Names
    from gateways.feeds.player import Player
    from gateways.feeds.synthetic import generate
    from gateways.formats.day import in_blocks, read_blocks
    from gateways.formats.fit import Target

    settings = load(config)
    names = Names.of(settings)
    screen = console(json)
    if files and len(files) == 1 and in_blocks(files[0]):
        day, told = read_blocks(files[0], Target.of(settings), names)
        left_out = f", {sum(told.skipped.values())} records left out" if told.skipped else ""
        screen.print(f"{told.given} records read from {files[0]}{left_out}")
    elif files:
        day, report = read_files(files, names)
        screen.print(f"{report.quotes} quotes, {report.trades} trades read from {', '.join(map(str, files))}")
    else:
        day = generate(seed, names)
        screen.print(f"synthetic day, seed {seed}: {day.count} records")
    endpoints = [row.endpoint for row in settings.feed]
    with Player(
        day,
        endpoints,
        rate=rate,
        subscribers=subscribers,
        wait_s=wait,
        tail_s=tail,
        skip_gaps_over_s=skip_gaps,
    ) as player:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: player.stop())
        result = _play(player, screen)
    state = "complete" if result.complete else "stopped before its end"
    screen.print(
        f"{state}: {result.records} records in {result.messages} messages, {result.records_per_s:,.0f} records/s, "
        f"waited {result.blocked_s:.3f} s for subscribers, epoch {result.epoch}"
    )
    if json is not None:
        write_json(json, msgspec.to_builtins(result))


def _play(player: Any, screen: Console) -> Any:
    """Run the player behind a progress bar with rate and time left."""
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("waiting", total=1.0, rate="")

        def shown(now: Any) -> None:
            waits = f" for {now.waits_for}" if now.waits_for else ""
            text = f"{now.records_per_s:,.0f} records/s, {now.subscribers} subscribers{waits}"
            bar.update(task, completed=now.fraction, description=now.phase, rate=text)

        return player.run(shown)
