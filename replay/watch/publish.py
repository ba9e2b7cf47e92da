"""A PUB socket that a watch binds, and that lets a subscriber ask for what it missed.

Messages of alerts have two parts: a topic (`alert.critical`, `alert.warning`, `alert.info`, `beat`) and a line of
JSON. Who subscribes to `from.N` is sent, under that topic, the lines from number N on that the log has; others hear
nothing of it. So a subscriber that finds a hole in the numbers, or has been away, reads it from the same socket.

Nobody is waited for: who does not take its messages loses them at the high-water mark, sees it, and asks.

Worst case: a request for a long log costs its reading; at most RESENT lines are sent for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import zmq

from engine.errors import TickrouteError

#: Lines that one request brings at the most; the next begins behind the last.
RESENT: Final = 10_000
_WAITING: Final = 20_000
_FROM: Final = b"from."


class PublishError(TickrouteError):
    """An endpoint that cannot be bound; the message names it and the remedy."""


class Publisher:
    """A bound XPUB. `serve` answers requests for lines; None there: this stream has none."""

    def __init__(self, key: str, endpoint: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.set(zmq.LINGER, 500)
        self._socket.set(zmq.SNDHWM, _WAITING)
        self._socket.set(zmq.MAXMSGSIZE, 256)  # what comes in are subscriptions
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            self._socket.close(linger=0)
            self._context.term()
            raise PublishError(f"{key} = {endpoint!r}: cannot be bound: {error.strerror}; name another") from error

    def send(self, *parts: bytes) -> None:
        """Send a message to whoever subscribed to how it begins."""
        self._socket.send_multipart(parts, zmq.NOBLOCK)

    def requests(self) -> Iterator[int]:
        """Numbers N of the `from.N` that were subscribed to since the last call."""
        while self._socket.poll(0):
            said = self._socket.recv()
            if said[:1] == b"\1" and said[1:].startswith(_FROM) and said[6:].isdigit() and len(said) < 26:
                yield int(said[6:])

    def serve(self, lines: Callable[[int], Iterator[bytes]]) -> None:
        """Answer the requests: `lines(n)` gives the lines from number n on."""
        for number in self.requests():
            for sent, line in enumerate(lines(number)):
                if sent == RESENT:
                    break
                self.send(_FROM + str(number).encode(), line)

    def close(self) -> None:
        """Hang up, half a second for what is on its way."""
        self._socket.close()
        self._context.term()
