"""The `tickroute` command: one table of subcommands, each in a file of its own that is imported only when it runs.

To add one, write `cli/NAME.py` with a function whose annotated parameters are its options (typer), and add a row to
COMMANDS. The list of commands is printed from the table, so `tickroute --help` imports neither numba nor typer.

Every error that derives from `TickrouteError` is one message on standard error and its `exit_code` (2 for wrong use, 1
for a failure); so is a missing file or a full disk. Anything else is a bug: it is said in one line with the place, and
TICKROUTE_DEBUG=1 shows the traceback. Worst case: a subcommand that needs kernels pays numba's import, under a second.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from cli.interrupts import heeded
from engine.errors import TickrouteError

DEBUG = "TICKROUTE_DEBUG"


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
            ("tickroute override runs/today max-qty 50000 --symbol SPY --for 15m", "ask for it"),
            ("tickroute override runs/today --approve 1", "be the second person"),
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
        "a file of any known format to our own recording, or to Parquet",
        (
            ("tickroute feed convert day.dbn.zst day.rec", "a recording, indexed by time and instrument"),
            ("tickroute feed convert day.gz day.parquet --quotes --skew auto", "touches as Parquet, clocks corrected"),
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


def version() -> str:
    """The installed version."""
    from importlib import metadata

    try:
        return metadata.version("tickroute")
    except metadata.PackageNotFoundError:
        return "not installed (running from its sources)"


def overview() -> str:
    """What `tickroute --help` prints."""
    width = max(len(name) for name in COMMANDS) + 2
    lines = ["tickroute routes orders over many venues, journals all it does, and can show why it did it.", ""]
    lines += ["usage: tickroute COMMAND [OPTIONS]      tickroute COMMAND --help says more", "", "commands:"]
    lines += [f"  {name:<{width}}{row.summary}" for name, row in COMMANDS.items()]
    lines += ["", "to begin with:"]
    examples = [row.examples[0] for row in COMMANDS.values() if row.examples]
    room = max(len(line) for line, _ in examples) + 2
    lines += [f"  {line:<{room}}{text}" for line, text in examples]
    lines += [
        "",
        "  --version   the version            --help, -h   this text",
        "  --json FILE writes a command's result as JSON; with - it goes to standard output, and nothing else does.",
        "  Exit codes: 0 done, 1 failed, 2 wrong use (arguments, configuration).",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit code is returned and, as the command's entry point, becomes the process's."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    first = arguments[0] if arguments else ""
    if first in ("", "-h", "--help", "help"):
        print(overview())
        return 0 if first else 2
    if first in ("-V", "--version"):
        print(f"tickroute {version()}")
        return 0
    both = " ".join(arguments[:2])
    if both in COMMANDS:
        return run(both, arguments[2:])
    if first not in COMMANDS:
        from difflib import get_close_matches

        near = get_close_matches(first, COMMANDS, n=1)
        hint = f"did you mean tickroute {near[0]}?" if near else "tickroute --help lists the commands"
        return complain(f"there is no command {first!r}; {hint}", 2)
    return run(first, arguments[1:])


def run(name: str, arguments: Sequence[str]) -> int:
    """Import one subcommand and run it; its errors become messages and exit codes."""
    try:
        with heeded():
            return call(COMMANDS[name], name, arguments)
    except TickrouteError as error:
        return complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return complain("stopped", 130)
    except BrokenPipeError:
        # The reader of our output has gone: nothing is left to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        remedy = "; free space there, or name another place" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return _unless_debugged(error, f"{where}{error.strerror or error}{remedy}", 1)
    except Exception as error:  # noqa: BLE001  whatever it is, people get a line and not a traceback
        if _interrupted(error):
            return complain("stopped", 130)
        text = f"unexpected {type(error).__name__}: {error} ({_place(error)}); this is a bug in tickroute"
        return _unless_debugged(error, f"{text}. {DEBUG}=1 shows the traceback", 1)


def call(command: Command, name: str, arguments: Sequence[str]) -> int:
    """Build the typer command behind a row of the table and run it."""
    from importlib import import_module

    import typer

    module, _, attribute = command.target.partition(":")
    target = getattr(import_module(module), attribute)
    if isinstance(target, typer.Typer):
        app = target
    else:
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        names = {"help_option_names": ["-h", "--help"]}
        app.command(help=_paragraphs(target.__doc__ or ""), epilog=_epilog(command), context_settings=names)(target)
    try:
        app(args=list(arguments), prog_name=f"tickroute {name}")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def complain(text: str, code: int) -> int:
    """Write a message to standard error, its first line marked, and return `code`."""
    mark = "\x1b[1;31merror:\x1b[0m" if sys.stderr.isatty() else "error:"
    print(f"{mark} {text}", file=sys.stderr)
    return code


def _paragraphs(doc: str) -> str:
    """A docstring with its lines joined, so that help wraps to the width of the terminal."""
    return "\n\n".join(" ".join(part.split()) for part in doc.split("\n\n"))


def _epilog(command: Command) -> str:
    return "\n\n".join(["Examples:", *(f"{line}   # {text}" for line, text in command.examples)])


def _interrupted(error: BaseException) -> bool:
    """Whether a Ctrl-C led here: one that comes while the compiler works surfaces as an error of the compiler's."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "unknown place"


def _unless_debugged(error: BaseException, text: str, code: int) -> int:
    if os.environ.get(DEBUG):
        raise error
    return complain(text, code)


if __name__ == "__main__":
    sys.exit(main())
