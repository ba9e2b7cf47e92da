"""What goes over the control socket: one request a packet, then answers to it, each a JSON object.

    {"v": 1, "id": 32 hex digits, "sent_ns": ..., "command": "halt", "scope": "venue", "target": "XNYS", ...}
    {"id": ..., "state": "taken", ...}           it is on its way to the loop; `waiting`: for the second person
    {"id": ..., "state": "report", "report": {}} what the core says, a CONTROL_REPORT
    {"id": ..., "state": "done"}                 or "refused" with `why` and `text`: nothing follows

A request says nothing about who sends it. `id` is drawn anew for each, and `sent_ns` is the time of day: a request that
was seen before, or is older than REPLAY_S, is refused, so that a copy of one does nothing.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from engine.record.records import Reason, Scope

#: Bytes of one request or answer.
MESSAGE_MAX: Final = 4096
#: How old a request may be, and how far ahead its sender's clock.
REPLAY_S: Final = 30
SOCKET: Final = "control.sock"
#: The ZAP domain of the CURVE server.
DOMAIN: Final = "tickroute-control"

Command = Literal["halt", "resume", "cancel-all", "limits", "override", "approve", "pending", "enable"]
#: Scopes by the words of the command line.
SCOPES: Final = {
    "all": Scope.ALL, "venue": Scope.VENUE, "session": Scope.SESSION, "symbol": Scope.INSTRUMENT,
    "strategy": Scope.STRATEGY, "trader": Scope.TRADER, "client": Scope.CLIENT, "account": Scope.ACCOUNT,
}  # fmt: skip
ScopeWord = Literal["all", "venue", "session", "symbol", "strategy", "trader", "client", "account"]


class Why(StrEnum):
    """Why the server refuses a message."""

    NOT_AUTHORISED = "not authorised"
    SECOND_PERSON = "second person"
    REPLAYED = "replayed"
    MALFORMED = "malformed"
    OVERSIZED = "oversized"
    TOO_MANY = "too many"
    UNKNOWN = "unknown"
    NO_ENGINE = "no engine"


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A command, as it is sent."""

    v: Literal[1] = 1
    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
    sent_ns: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
    command: Command
    scope: ScopeWord = "all"
    target: Annotated[str, Meta(max_length=40)] = ""
    #: Why, in a person's words; it goes into the log.
    note: Annotated[str, Meta(max_length=200)] = ""
    #: Of halt: what lives is left alone.
    keep_orders: bool = False
    #: Of limits and override.
    rule: Annotated[str, Meta(max_length=40)] = ""
    value: Annotated[str, Meta(max_length=40)] = ""
    #: Of override: seconds until it ends.
    lasts_s: Annotated[int, Meta(ge=0, le=7 * 86_400)] = 0
    #: Of approve: the number of the override.
    number: Annotated[int, Meta(ge=0, lt=1 << 31)] = 0


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the server says."""

    id: str = ""
    state: Literal["taken", "waiting", "report", "done", "refused"]
    why: str = ""
    text: str = ""
    #: The request_id under which it is on the journal.
    request_id: int = 0
    number: int = 0
    report: dict[str, Any] | None = None


def new_request(command: Command, **fields: Any) -> Request:
    """A request with an id of its own, sent now."""
    return Request(id=secrets.token_hex(16), sent_ns=time.time_ns(), command=command, **fields)


def report_of(record: Any) -> dict[str, Any]:
    """A CONTROL_REPORT as plain data."""
    names = ("request_id", "action", "scope", "target", "rule", "value", "old_value", "live_children", "cancels",
             "acknowledged", "fills_after", "command_ns", "last_cancel_ns", "last_ack_ns", "finished", "actor_id",
             "actor_2")  # fmt: skip
    found = {name: int(record[name]) for name in names}
    return found | {"reason": Reason(int(record["reason"])).name}


class At:
    """A socket's path, however long: AF_UNIX takes 107 bytes, and a short name below an open folder is always less."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.name = f"/proc/self/fd/{self._fd}/{path.name}"

    def __enter__(self) -> str:
        return self.name

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def unix_socket() -> socket.socket:
    """A socket of packets: each message comes whole or is known to be cut."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
