"""The base of every error that tickroute raises on purpose, so that the command can answer with one clear message.

A subclass says in its own name what is wrong; its text names the thing, the value, the limit and what to do. Errors
that do not derive from this one are bugs, and show their traceback.
"""

from __future__ import annotations


class TickrouteError(Exception):
    """Something that its reader can act on: the text says what, where, and what to do about it."""

    #: What the command exits with: 1 is a failure, 2 is wrong use (arguments, configuration).
    exit_code = 1


class UsageError(TickrouteError):
    """The caller asked for something that cannot be: wrong arguments, values out of range."""

    exit_code = 2
