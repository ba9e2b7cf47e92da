"""The table of subcommands: what each is, in one line, and lines to copy. `cli.main` runs them.

To add one, write `cli/NAME.py` with a function whose annotated parameters are its options (typer), and add a row. The
table imports nothing heavy, so that `tickroute --help` is quick. Worst case: none, it is data.
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """A row of the table: where the function (or typer app) is, what it does in one line, and lines to copy."""

    target: str
    summary: str
    examples: tuple[tuple[str, str], ...]


#: In the order in which the list shows them.
COMMANDS: dict[str, Command] = {
    "demo": Command(
        "cli.demo:demo",
        "a day of twelve venues, hundreds of parents, live, with a report, in a minute",
        (
            ("tickroute demo", "see it all at work, half a minute after set-up"),
            ("tickroute demo --strategy mine/pounce.py", "the same day, routed by a strategy of your own"),
        ),
    ),
    "run": Command(
        "cli.run:run",
        "the engine: take feeds and orders, route, journal, until a signal",
        (("tickroute run desk.toml", "run the engine that a configuration describes"),),
    ),
    "status": Command(
        "cli.status:status",
        "what a running engine counts and measures, without asking it",
        (("tickroute status runs/today --watch", "look at a running engine"),),
    ),
    "alerts": Command(
        "cli.alerts:alerts",
        "what went wrong in a run: limit hits, gaps, stalls, clocks, and how soon it was told",
        (
            ("tickroute alerts runs/today --follow", "see alerts as they come"),
            ("tickroute alerts runs/today --severity critical", "what wants somebody"),
        ),
    ),
    "reconcile": Command(
        "cli.reconcile:reconcile",
        "our executions against venues' own records: breaks, with their age",
        (
            ("tickroute reconcile runs/today --venue-file XNYS.csv", "against a venue's file"),
            ("tickroute reconcile runs/today --stream tcp://venue:9100", "as executions come, until Ctrl-C"),
        ),
    ),
    "halt": Command(
        "cli.halt:halt",
        "stop trading, all or a scope: no new order leaves, what lives is cancelled",
        (
            ("tickroute halt runs/today", "stop everything"),
            ("tickroute halt runs/today --venue XNYS --keep-orders", "send nothing new to a venue"),
        ),
    ),
    "resume": Command(
        "cli.resume:resume",
        "let orders of a halted scope leave again",
        (("tickroute resume runs/today", "orders may leave again"),),
    ),
    "cancel-all": Command(
        "cli.cancel_all:cancel_all",
        "cancel all orders, or those of a scope, and say what became of them",
        (("tickroute cancel-all runs/today --symbol SPY", "cancel what lives in one instrument"),),
    ),
    "limits": Command(
        "cli.limits:limits",
        "another limit of the risk gate, from now on",
        (("tickroute limits runs/today max-qty 5000 --symbol SPY", "a smaller largest order"),),
    ),
    "override": Command(
        "cli.override:override",
        "another limit for a while, by two persons",
        (
            ("tickroute override runs/today --approve 1", "be the second person of what another asked for"),
            ("tickroute override runs/today max-qty 50000 --symbol SPY --for 15m", "ask for it"),
        ),
    ),
    "enable": Command(
        "cli.enable:enable",
        "let a strategy trade again that its throttle stopped",
        (("tickroute enable runs/today --strategy 3", "somebody has looked at it"),),
    ),
    "send": Command(
        "cli.send:send",
        "parents into a running engine, from arguments or CSV, followed to their end",
        (("tickroute send desk.toml parents.csv", "send the parents of a file and follow them"),),
    ),
    "feed": Command(
        "cli.feed:feed",
        "play a recorded or synthetic day to the engine and the venues",
        (("tickroute feed desk.toml quotes.csv.gz --rate 100", "play a recorded day at a hundred times its pace"),),
    ),
    "feed inspect": Command(
        "cli.feed_inspect:inspect",
        "what a recorded file holds: messages, instruments, gaps, crossed books, clocks",
        (("tickroute feed inspect day.dbn.zst", "what is in a file, whatever its format"),),
    ),
    "feed convert": Command(
        "cli.feed_convert:convert",
        "a file of any known format to our own recording, to Parquet, or to hftbacktest's .npz",
        (
            ("tickroute feed convert day.dbn.zst day.rec", "a recording, indexed by time and instrument"),
            ("tickroute feed convert day.gz day.parquet --quotes --skew auto", "touches as Parquet, clocks corrected"),
            ("tickroute feed convert day.dbn.zst day.npz --instrument ESH4", "events for hftbacktest"),
        ),
    ),
    "feed decode": Command(
        "cli.feed_decode:decode",
        "raw packets or lines of a venue, live over ZeroMQ, into the feed that the engine takes",
        (
            (
                "tickroute feed decode desk.toml --format iex --from $TAP",
                "packets that a capture bridge publishes at $TAP",
            ),
        ),
    ),
    "record": Command(
        "cli.record:record",
        "live feeds into a recording, with receive times, until a signal",
        (("tickroute record desk.toml today.rec", "record what the feeds of a configuration send"),),
    ),
    "venues": Command(
        "cli.venues:venues",
        "the simulated venues, as a process of their own",
        (("tickroute venues desk.toml", "be the venues of a configuration"),),
    ),
    "backtest": Command(
        "cli.backtest:backtest",
        "a recorded day through the same engine in virtual time, with results as Parquet",
        (
            ("tickroute backtest desk.toml quotes.csv.gz trades.csv.gz", "route a recorded day in a second"),
            ("tickroute backtest desk.toml --synthetic 1", "the same without a recorded day"),
            ("tickroute backtest runs/demo --out runs/again", "a live run again, held against it order by order"),
            (
                "tickroute backtest desk.toml --orders 2000 --seed 7 --out runs/bt",
                "other orders, elsewhere",
            ),
        ),
    ),
    "sweep": Command(
        "cli.sweep:sweep",
        "many backtests: values of keys, days and seeds, on all cores or on Ray, compared",
        (
            ("tickroute sweep desk.toml --grid routing.stale_ms=2000,5000", "what a key costs"),
            (
                "tickroute sweep desk.toml --days feeds/ --grid venue.XNYS.latency_us=50..500:50 --out runs/latency",
                "over all days of a folder",
            ),
        ),
    ),
    "verify": Command(
        "cli.verify:verify",
        "replay a run through the core: every output must come out byte for byte",
        (
            ("tickroute verify runs/today", "identical: 0, different: 1, unreadable: 3"),
            ("tickroute verify runs/today --json -", "the verdict as JSON on standard output"),
        ),
    ),
    "repair": Command(
        "cli.repair:repair",
        "give up what follows damage in a journal: moved aside, never destroyed, and said",
        (
            ("tickroute repair runs/today --dry-run", "what a repair would give up"),
            ("tickroute repair runs/today", "do it"),
        ),
    ),
    "machine": Command(
        "cli.machine:machine",
        "a strategy's state machine: shown, drawn, and proved before it trades",
        (
            ("tickroute machine mine/pounce.py --check", "prove a strategy of your own before it trades"),
            ("tickroute machine sweep --table", "what every state does with every event"),
            ("tickroute machine sweep --diagram sweep.svg", "draw it"),
        ),
    ),
    "simulate": Command(
        "cli.simulate:simulate",
        "the core in a made-up world with faults, from seeds; failures shrink to few events",
        (
            ("tickroute simulate --seeds 0..999", "a thousand seeds with faults of all kinds"),
            (
                "tickroute simulate --strategy mine/pounce.py --profile venues",
                "your own strategy, venues that misbehave",
            ),
            ("tickroute simulate --replay simulate-failed.json", "a failing list of events again"),
        ),
    ),
    "explain": Command(
        "cli.explain:explain",
        "one order's whole story: each decision, the books it saw, why each venue was taken or left",
        (
            ("tickroute explain runs/today P000042", "why this order went where it went"),
            ("tickroute explain runs/today P000042 --html order.html", "the same as a page to hand on"),
        ),
    ),
    "state": Command(
        "cli.state:state",
        "what the engine had in memory at any input of a run: books, orders, positions, timers",
        (
            ("tickroute state runs/today --at 14:30:05", "the state at that time"),
            ("tickroute state runs/today --at 41200 --json -", "after that frame of the journal, as JSON"),
        ),
    ),
    "perf": Command(
        "cli.perf:perf",
        "benchmarks: what an event costs, on the wire and off it, and whether it stays so",
        (
            ("tickroute perf core", "what an event costs without a wire"),
            ("tickroute perf wire --json wire.json", "quote to order over ZeroMQ and shared memory, kept as JSON"),
            ("tickroute perf --list", "the benchmarks"),
        ),
    ),
    "report": Command(
        "cli.report:report",
        "what a run did: orders, cost, venues, latency by stage, lineage",
        (
            ("tickroute report runs/today --html today.html", "on the terminal, and as a page to hand on"),
            ("tickroute report runs/today --json -", "the same numbers as JSON"),
            (
                "tickroute report runs/2026-11-* --profile eu-2026 --format html,pdf --output november",
                "the compliance report of a month",
            ),
        ),
    ),
    "report verify": Command(
        "cli.report_full:verify",
        "a compliance report made again from its runs, and compared",
        (("tickroute report verify nov.html runs/2026-11-*", "identical: 0, different: 1, tampered input: 3"),),
    ),
    "seal": Command(
        "cli.seal:seal",
        "a run's chain head and digests in a file, signed, to be anchored elsewhere",
        (("tickroute seal runs/today --key seal.key", "seal a run, and sign it"),),
    ),
    "seal verify": Command(
        "cli.seal:verify",
        "a run held to its seal: every sealed byte, and the signature",
        (("tickroute seal verify today.seal runs/today", "as sealed: 0, changed: 3, with the place"),),
    ),
    "quality": Command(
        "cli.quality:quality",
        "execution quality by venue, strategy and client: spreads, markouts, Rule 605 and 606 tables",
        (
            ("tickroute quality runs/today", "how well its orders were executed"),
            ("tickroute quality runs/2026-11-* --json quality.json", "a month of runs, added up, kept as JSON"),
        ),
    ),
    "stress": Command(
        "cli.stress:stress",
        "the busiest recorded interval, faster and faster, until the engine falls behind",
        (
            ("tickroute stress quotes.csv.gz trades.csv.gz", "the headroom over a recorded day's peak"),
            ("tickroute stress runs/today --require 2 --html stress.html", "fail unless twice the peak held"),
        ),
    ),
    "doctor": Command(
        "cli.doctor:doctor",
        "what this machine would cost you: settings, and measured stalls",
        (
            ("tickroute doctor", "check the machine and measure it, four seconds"),
            ("tickroute doctor --core 3 --json host.json", "for the core the loop will have, kept as JSON"),
            ("tickroute doctor --seconds 0", "settings alone"),
        ),
    ),
}
