"""What the commands to a running engine share: their scopes, how they reach it, and what they say in the end.

Exit code 0 where the engine did what was asked, 1 where it was refused, is not there, or not all of it is done.
"""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.output import console, write_json
from engine.errors import TickrouteError, UsageError

RunDir = Annotated[Path, typer.Argument(help="The run's directory (or --connect).", show_default=False)]
Venue = Annotated[str, typer.Option(help="Only this venue, by its MIC.", show_default=False)]
Session = Annotated[str, typer.Option(help="Only this session, by its name.", show_default=False)]
Symbol = Annotated[str, typer.Option(help="Only this instrument, by its symbol.", show_default=False)]
Strategy = Annotated[str, typer.Option(help="Only this strategy, by its number (algo_id).", show_default=False)]
Trader = Annotated[str, typer.Option(help="Only this trader, by their number.", show_default=False)]
Client = Annotated[str, typer.Option(help="Only this client, by its number.", show_default=False)]
Account = Annotated[str, typer.Option(help="Only this account, by its number.", show_default=False)]
Note = Annotated[str, typer.Option("--reason", help="Why, for the log.", show_default=False)]
Wait = Annotated[float, typer.Option("--wait", min=0.1, max=3600, help="Seconds to wait for the last answer.")]
Connect = Annotated[str, typer.Option("--connect", metavar="tcp://HOST:PORT", help="An engine elsewhere (CURVE).")]
Key = Annotated[Path | None, typer.Option("--key", help="Your key, a .key_secret file, for --connect.")]
ServerKey = Annotated[Path | None, typer.Option("--server-key", help="The engine's .key file, for --connect.")]
Socket = Annotated[Path | None, typer.Option("--socket", help="The socket, where [control] socket names one.")]


class NotDoneError(TickrouteError):
    """The engine did not do it, or not all of it; the message says why."""


def scope_of(**options: str) -> dict[str, str]:
    """The scope that options name: at most one of them; {} is all."""
    named = {name: value for name, value in options.items() if value}
    if len(named) > 1:
        raise UsageError(f"--{' and --'.join(named)}: one scope at a time; give a command for each")
    return {"scope": next(iter(named)), "target": next(iter(named.values()))} if named else {}


def give(
    run_dir: Path, command: Any, fields: dict[str, Any], *, wait_s: float, json: str | None, connect: str = "",
    key: Path | None = None, server_key: Path | None = None, socket: Path | None = None,
) -> None:  # fmt: skip
    """Give a command, wait for its last answer, and say what was done; NotDoneError where it was not."""
    from engine.run.control_client import dial, dial_curve
    from engine.run.control_wire import new_request

    request = new_request(command, **fields)
    if connect:
        if key is None or server_key is None:
            raise UsageError("--connect needs --key and --server-key")
        line = dial_curve(connect, key, server_key)
    else:
        line = dial(run_dir, socket)
    with line:
        answers = list(line.ask(request, wait_s))
    last = answers[-1]
    finished = [answer for answer in answers if answer.report is not None and answer.report["finished"]]
    reports = [answer.report for answer in finished if answer.report is not None]
    whole = last.state != "refused" and all(report["reason"] == "NONE" for report in reports)
    terms = [answer.text for answer in answers if answer.state == "taken" and answer.text]
    lines = [*terms, *([_told(answer, fields) for answer in finished] or [last.text])]
    if json is not None:
        shown = {"command": command, "state": last.state, "why": last.why, "text": last.text, "number": last.number}
        told = {"told": lines, "reports": reports}
        write_json(json, {"run_dir": str(run_dir), "done": whole, **fields, **shown, **told})
    if last.state == "refused":
        who = f" ({getpass.getuser()})" if last.why == "not authorised" and not connect else ""
        raise NotDoneError(f"{command}: refused{who}, {last.why}: {last.text}")
    for text in lines:
        console(json).print(text, markup=False, soft_wrap=True)
    if not whole:
        raise NotDoneError(f"{command}: not all was done; see above, control.log and the journal")


def _told(answer: Any, fields: dict[str, Any]) -> str:
    """What one CONTROL_REPORT says, in words; of a limit, the server's."""
    report = answer.report
    where = f"{fields['scope']} {fields['target']}" if "scope" in fields else "all"
    because = f" ({report['reason']})" if report["reason"] != "NONE" else ""
    if report["action"] == "CANCEL":
        return f"cancelled {where}{because}: {_cancelled(report)}"
    if report["action"] == "LIMIT_CHANGE":
        return str(answer.text)
    did = {"KILL_ON": "halted", "KILL_OFF": "resumed", "ENABLE": "enabled"}[report["action"]]
    if because:
        return f"{where}: not {did}{because}"
    after = {"KILL_ON": "no new order leaves; cancels do", "KILL_OFF": "orders may leave", "ENABLE": "it may trade"}
    before = ""
    if report["action"] != "ENABLE" and bool(report["old_value"]) == (report["action"] == "KILL_ON"):
        before = ", as before"
    return f"{did} {where}{before}: {after[report['action']]}"


def _cancelled(report: dict[str, Any]) -> str:
    live = report["live_children"]
    if live == 0:
        return "no order lived at a venue"
    sent = f", the last {_ms(report['last_cancel_ns'] - report['command_ns'])} after the command"
    ended = f", the last after {_ms(report['last_ack_ns'] - report['command_ns'])}"
    return (
        f"{live} orders lived; {report['cancels']} cancels sent{sent if report['cancels'] else ''}; "
        f"{report['acknowledged']} ended{ended if report['acknowledged'] else ''}; "
        f"{report['fills_after']} executions after the command"
    )


def _ms(ns: int) -> str:
    return f"{ns / 1e6:.3f} ms"
