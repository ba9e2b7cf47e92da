"""The [control] section: where commands come in, who may give which.

Without a [[control.person]] the engine's own user may do everything that one person can.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated, Literal, get_args

from msgspec import Meta

from engine.run.config_types import Name, Struct

Role = Literal["halt", "resume", "cancel", "limits", "override", "enable"]
ROLES: tuple[str, ...] = get_args(Role)
_KEY = Meta(
    pattern=r"^([!-~]{40})?\Z", description="a CURVE public key, 40 letters as zmq.auth.create_certificates writes it"
)


class Person(Struct, frozen=True):
    """Somebody who may give commands."""

    name: Name
    #: The user's number on the engine's host: whose process it is that connects. Journaled with each command.
    uid: Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
    #: What commands: halt, resume, cancel (cancel-all), limits, override, enable.
    roles: list[Role]
    #: The CURVE public key by which they are known from other hosts; empty is from this host alone.
    key: Annotated[str, _KEY] = ""


class Control(Struct, frozen=True):
    """How commands reach the engine."""

    #: The AF_UNIX socket for commands on this host; empty is control.sock in the run's directory.
    socket: str = ""
    #: Permissions of the socket's file, and the group that it is given to: who may connect at all.
    mode: Annotated[str, Meta(pattern=r"^0[0-7]{3}\Z", description='permissions such as "0660"')] = "0660"
    group: str = ""
    #: tcp://host:port for commands from other hosts (CURVE); empty is none.
    curve: str = ""
    #: The server's own key: a file as zmq.auth.create_certificates writes it, readable by the engine's user alone.
    secret_key: str = ""
    #: How long the second person of an override has.
    second_person_s: Annotated[int, Meta(gt=0, le=86_400)] = 120
    #: Commands a second that one person may give; halt and cancel-all have a rate of the same size of their own.
    commands_per_s: Annotated[int, Meta(gt=0, le=10_000)] = 20
    person: list[Person] = []


def problems_of(control: Control) -> Iterator[tuple[str, str]]:
    """(key, what is wrong with it) of the section."""
    for field in ("name", "uid", "key"):
        seen: dict[object, int] = {}
        for n, person in enumerate(control.person):
            value = getattr(person, field)
            if value in seen and value != "":
                yield f"control.person[{n}].{field}", f" = {value!r}: control.person[{seen[value]}] has it already"
            seen.setdefault(value, n)
    if control.person and not any("halt" in person.roles for person in control.person):
        yield "control.person", ': nobody has the role "halt"; somebody must be able to stop the engine'
    if control.socket and not control.socket.startswith("/"):
        yield "control.socket", f" = {control.socket!r}: must name a file by its full path"
    if control.curve and not control.secret_key:
        yield "control.secret_key", ": missing; control.curve needs the server's key"
    if control.curve and not any(person.key for person in control.person):
        yield "control.curve", ": no control.person has a key, so nobody could use it; add keys, or leave it out"
    if control.secret_key and not os.path.isabs(control.secret_key):
        yield "control.secret_key", f" = {control.secret_key!r}: must name a file by its full path"
