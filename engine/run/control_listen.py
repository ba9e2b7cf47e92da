"""The socket on which the control server listens on its host: made with its permissions, and taken away at the end."""

from __future__ import annotations

import grp
import os
import socket
import stat
from pathlib import Path

from engine.errors import TickrouteError
from engine.run.config_control import Control
from engine.run.control import ControlError
from engine.run.control_wire import At, unix_socket


def listen(path: Path, control: Control) -> socket.socket:
    """The listening socket, its file with the permissions of the configuration before anybody can connect.

    ControlError where it cannot be; a file of another kind that is there is left alone.
    """
    sock = unix_socket()
    try:
        with At(path) as name:
            _make_way(path, name)
            sock.bind(name)
            os.chmod(path, int(control.mode, 8))
            if control.group:
                os.chown(path, -1, grp.getgrnam(control.group).gr_gid)
        sock.setblocking(False)
        sock.listen(16)
    except KeyError as error:
        sock.close()
        raise ControlError(f"control.group = {control.group!r}: there is no such group") from error
    except OSError as error:
        sock.close()
        raise ControlError(f"{path}: cannot be a socket: {error.strerror}; see [control] socket") from error
    except TickrouteError:
        sock.close()
        raise
    return sock


def _make_way(path: Path, name: str) -> None:
    """Remove the socket that an engine left behind. ControlError where something else is there, or somebody listens."""
    if not (path.exists() or path.is_symlink()):
        return
    if not _is_socket(path):
        raise ControlError(
            f"control.socket = {str(path)!r}: a file is there that is no socket, and it was left alone; name another, "
            "or move it away"
        )
    with unix_socket() as probe:
        if probe.connect_ex(name) == 0:
            raise ControlError(f"control.socket = {str(path)!r}: another process listens there; name another file")
    path.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Take the socket's file away, where it is one."""
    if _is_socket(path):
        path.unlink(missing_ok=True)


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except OSError:
        return False
