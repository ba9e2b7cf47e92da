"""`tickroute feed decode CONFIG.toml`: a venue's raw packets or lines, live over ZeroMQ, as the engine's feed."""

from __future__ import annotations

import datetime as dt
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from cli.output import JsonOption, console, write_json
from engine.errors import UsageError

if TYPE_CHECKING:
    from gateways.feeds.decoder import Decoded
    from gateways.formats.fit import Wanted
    from gateways.formats.live import Arriving

#: Options that a format has of its own.
_OWN = {"mold-itch": ("day", "market"), "iex": (), "binance": ("product",), "bitstamp": ()}


def decode(
    config: Annotated[Path, typer.Argument(help="The run's TOML configuration: venues, instruments, feed endpoints.")],
    format_: Annotated[
        Literal["mold-itch", "iex", "binance", "bitstamp"], typer.Option("--format", help="What the messages are.")
    ],
    source: Annotated[
        list[str], typer.Option("--from", help="ZeroMQ endpoint of the raw messages; repeat it for a second line.")
    ],
    to: Annotated[
        list[str] | None,
        typer.Option("--to", help="Endpoints to publish on.", show_default="those of the \\[\\[feed]]"),
    ] = None,
    venue: Annotated[str, typer.Option(help="Code or MIC of the venue that all of it is of.")] = "",
    symbol: Annotated[
        list[str] | None,
        typer.Option(help="Symbol of the feed's one instrument; or NAME=SYMBOL, repeated.", show_default=False),
    ] = None,
    touch: Annotated[
        Literal["auto", "quotes", "book"],
        typer.Option(help="What shows the touch: the feed's quotes, its book, or quotes once there are any."),
    ] = "auto",
    day: Annotated[str, typer.Option(help="mold-itch: the day, YYYY-MM-DD; else that of the first packet.")] = "",
    market: Annotated[str, typer.Option(help="mold-itch: XNAS (so unless said), XBOS or XPSX.")] = "",
    product: Annotated[str, typer.Option(help="binance: spot (so unless said), usdm or coinm.")] = "",
    subscribers: Annotated[int, typer.Option(help="Begin when so many have subscribed.", min=0)] = 0,
    wait: Annotated[float, typer.Option(help="Seconds to wait for them.", min=0)] = 60.0,
    json: JsonOption = None,
) -> None:
    """Subscribe to raw packets or lines, decode them, and publish them as the feed that the engine takes.

    One message is one UDP payload (MoldUDP64, IEX-TP) or one line (Binance, Bitstamp). Ends at Ctrl-C or SIGTERM.

    Example:  tickroute feed decode desk.toml --format mold-itch --from tcp://127.0.0.1:9000
    """
    from engine.run.config import load
    from gateways.feeds.decoder import Decoder

    own = {name: value for name, value in (("day", day), ("market", market), ("product", product)) if value}
    settings = load(config)
    endpoints = to or [row.endpoint for row in settings.feed]
    screen = console(json)
    names = _wanted(venue, symbol or [])
    decoder = Decoder(settings, _reader(format_, own), source, endpoints, wanted=names, touch=touch)
    with decoder, screen.status("waiting") as line:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: decoder.stop())
        screen.print(f"{format_} from {', '.join(source)}, to {', '.join(endpoints)}", soft_wrap=True, markup=False)

        if settings.engine.clock == "feed":
            hint = 'engine.clock = "feed" follows a player; an engine that takes a live feed wants "monotonic"'
            screen.print(f"[bold yellow]clock[/]: {hint}", soft_wrap=True)

        def shown(now: Decoded) -> None:
            marks = f", gaps {now.gaps:,} ({now.lost:,} lost)" if now.gaps else ""
            rate = now.arrived / max(now.seconds, 1e-9)
            line.update(f"{now.arrived:,} messages, {rate:,.0f}/s, {sum(now.records.values()):,} records{marks}")

        found = decoder.run(subscribers=subscribers, wait_s=wait, progress=shown)
    if json is not None:
        write_json(json, found)
    _show(screen, found)


def _reader(name: str, own: dict[str, str]) -> Arriving:
    from gateways.formats.live import FORMATS

    for option in own:
        if option not in _OWN[name]:
            raise UsageError(f"--{option} {own[option]}: is no option of --format {name}; leave it out")
    if "day" not in own:
        return FORMATS[name](**own)
    try:
        day = dt.date.fromisoformat(own["day"])
    except ValueError as error:
        raise UsageError(f"--day {own['day']}: {error}; give YYYY-MM-DD") from error
    return FORMATS[name](**own | {"day": day})


def _wanted(venue: str, symbols: list[str]) -> Wanted:
    from gateways.formats.fit import Wanted

    pairs = dict(text.split("=", 1) for text in symbols if "=" in text)
    single = [text for text in symbols if "=" not in text]
    if len(single) > 1 or (single and pairs):
        raise UsageError(f"--symbol {' '.join(symbols)}: give one symbol, or NAME=SYMBOL for each of several")
    return Wanted(venue, single[0] if single else "", pairs)


def _show(out: Console, found: Decoded) -> None:
    records = ", ".join(f"{name} {count:,}" for name, count in found.records.items()) or "none"
    out.print(f"{found.arrived:,} messages, {found.arrived_bytes:,} bytes: {found.messages:,} of {found.format}")
    out.print(f"records {sum(found.records.values()):,}: {records}; epoch {found.epoch}")
    out.print(f"gaps {found.gaps:,} ({found.lost:,} messages lost), repeated {found.repeated:,}")
    later = f", of orders that replaced one of these {found.dangling_after_replace:,}"
    twice = f"added twice {found.repeated_orders:,}"
    out.print(f"changes of orders that were never added {found.dangling:,}{later}; {twice}", soft_wrap=True)
    out.print(f"crossed touches {found.crossed:,}, waited {found.blocked_s:.3f} s for subscribers")
    if found.negative:
        out.print(f"[bold yellow]clock skew[/]: {found.negative:,} records were received before they happened")
    if found.untold:
        out.print(f"[bold yellow]without a trade[/]: {found.untold:,} executions of unknown orders, or too fine")
    if found.undelivered:
        out.print(f"[bold yellow]not delivered[/]: {found.undelivered:,} records at the end: a subscriber was full")
    if found.unfollowed:
        out.print(f"[bold yellow]not followed[/]: {found.unfollowed:,} levels and orders found no room in the books")
    for reason, count in found.skipped.items():
        out.print(f"skipped {count:,}: {reason}, first {found.examples.get(reason, '?')}", markup=False)
    for reason, count in found.left_out.items():
        out.print(f"left out {count:,}: {reason}", markup=False)
    if found.passed_over:
        passed = ", ".join(f"{name} {count:,}" for name, count in found.passed_over.items())
        out.print(f"passed over, as no messages of the format: {passed}", markup=False)
