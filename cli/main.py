"""The `tickroute` command: one table of subcommands, each in a file of its own that is imported only when it runs.

The table is in `cli.commands`. The list of commands is printed from it, so `tickroute --help` imports neither numba
nor typer.

Every error that derives from `TickrouteError` is one message on standard error and its `exit_code` (2 for wrong use, 1
for a failure); so is a missing file or a full disk. Anything else is a bug: it is said in one line with the place, and
TICKROUTE_DEBUG=1 shows the traceback. Worst case: a subcommand that needs kernels pays numba's import, under a second.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from cli.commands import COMMANDS, Command
from cli.interrupts import heeded
from engine.errors import TickrouteError

__all__ = ("COMMANDS", "Command", "main")
DEBUG = "TICKROUTE_DEBUG"


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
