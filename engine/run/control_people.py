"""Who may give which command. A person is known by the uid of their process, or by their CURVE key."""

from __future__ import annotations

import os
import pwd
from typing import NamedTuple

from engine.run.config_control import ROLES, Control


class Actor(NamedTuple):
    """A person, as the configuration names them."""

    name: str
    uid: int
    roles: frozenset[str]


class Peer(NamedTuple):
    """Whoever is at the other end: what is known of them, and the person that they are, if any.

    `key` is what rates are counted by; it is nothing that a sender can choose.
    """

    key: str
    text: str
    actor: Actor | None


class People:
    """The persons of a run."""

    def __init__(self, control: Control) -> None:
        self.by_uid: dict[int, Actor] = {}
        self.by_key: dict[str, Actor] = {}
        for person in control.person:
            actor = Actor(person.name, person.uid, frozenset(person.roles))
            self.by_uid[person.uid] = actor
            if person.key:
                self.by_key[person.key] = actor
        if not control.person:
            own = os.getuid()
            self.by_uid[own] = Actor(name_of(own), own, frozenset(ROLES))

    def on_host(self, pid: int, uid: int) -> Peer:
        """The peer of a socket on this host, by what the kernel says of it."""
        actor = self.by_uid.get(uid)
        return Peer(f"uid {uid}", f"uid {uid} ({name_of(uid)}), process {pid}", actor)

    def elsewhere(self, key: str) -> Peer:
        """The peer that holds the secret key of this public one."""
        return Peer(f"key {key}", f"key {key}", self.by_key.get(key))


def name_of(uid: int) -> str:
    """The login name of a uid, or what stands for it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return "no such user"
