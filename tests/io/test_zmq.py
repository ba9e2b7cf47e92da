"""Kernels' view of libzmq against pyzmq's: content, truncation, full sockets, unknown peers, and errors of the host."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from engine.io import zmq as link
from engine.jit import JIT, ROOT

pytestmark = pytest.mark.kernel

Opener = Callable[..., zmq.Socket[bytes]]


@pytest.fixture
def opener() -> Iterator[Opener]:
    """`open_socket` in a context of the test; closes all at its end."""
    context = link.make_context()
    sockets = []

    def open_one(role: str, where: str, **options: Any) -> zmq.Socket[bytes]:
        sockets.append(link.open_socket(context, role, where, **options))
        return sockets[-1]

    yield open_one
    for socket in sockets:
        socket.close(linger=0)
    context.term()


def receive(socket: zmq.Socket[bytes], buffer: np.ndarray, timeout_s: float = 5.0) -> int:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        n = link.recv(link.address(socket), buffer.ctypes.data, buffer.nbytes)
        if n != -link.EAGAIN:
            return int(n)
    raise TimeoutError


def endpoint(folder: Path) -> str:
    return f"ipc://{folder}/s"


def test_router_and_dealer_exchange_whole_messages(opener: Opener, tmp_path: Path) -> None:
    router = opener("router", endpoint(tmp_path), bind=True)
    dealer = opener("dealer", endpoint(tmp_path), name=b"client-1")
    out = np.arange(128, dtype=np.uint8)
    back = np.zeros(256, dtype=np.uint8)
    while link.send(link.address(dealer), out.ctypes.data, 128, 0) == -link.EAGAIN:
        time.sleep(0.001)
    assert receive(router, back) == 8
    assert back[:8].tobytes() == b"client-1"
    assert link.more(link.address(router)) == 1
    assert receive(router, back) == 128
    assert link.more(link.address(router)) == 0
    assert back[:128].tobytes() == out.tobytes()
    identity = np.frombuffer(b"client-1", dtype=np.uint8).copy()
    assert link.send(link.address(router), identity.ctypes.data, 8, 1) == 8
    assert link.send(link.address(router), out.ctypes.data, 64, 0) == 64
    assert receive(dealer, back) == 64


def test_a_peer_that_is_not_there_is_an_error_at_once(opener: Opener, tmp_path: Path) -> None:
    router = opener("router", endpoint(tmp_path), bind=True)
    name = np.frombuffer(b"nobody", dtype=np.uint8).copy()
    assert link.send(link.address(router), name.ctypes.data, 6, 1) == -link.EHOSTUNREACH
    dealer = opener("dealer", f"ipc://{tmp_path}/absent", name=b"d")
    assert link.send(link.address(dealer), name.ctypes.data, 6, 0) == -link.EAGAIN
    assert link.events(link.address(dealer)) & link.POLLOUT == 0


def test_an_empty_socket_says_eagain_and_a_sub_that_sends_its_errno(opener: Opener, tmp_path: Path) -> None:
    sub = opener("sub", endpoint(tmp_path))
    buffer = np.zeros(64, dtype=np.uint8)
    assert link.recv(link.address(sub), buffer.ctypes.data, 64) == -link.EAGAIN
    assert link.events(link.address(sub)) & link.POLLIN == 0
    assert link.send(link.address(sub), buffer.ctypes.data, 64, 0) == -zmq.ENOTSUP


def test_a_long_message_is_cut_but_its_length_is_told(opener: Opener, tmp_path: Path) -> None:
    router = opener("router", endpoint(tmp_path), bind=True)
    dealer = opener("dealer", endpoint(tmp_path), name=b"d")
    dealer.send(bytes(range(200)))
    buffer = np.full(80, 255, dtype=np.uint8)
    assert receive(router, buffer) == 1
    n = link.recv(link.address(router), buffer.ctypes.data, 64)
    assert n == 200
    assert buffer[:64].tolist() == list(range(64))
    assert buffer[64:].tolist() == [255] * 16


def test_a_message_over_the_limit_ends_the_connection(opener: Opener, tmp_path: Path) -> None:
    router = opener("router", endpoint(tmp_path), bind=True, max_message=1000)
    dealer = opener("dealer", endpoint(tmp_path), name=b"d")
    dealer.send(bytes(1001))
    buffer = np.zeros(64, dtype=np.uint8)
    with pytest.raises(TimeoutError):
        receive(router, buffer, timeout_s=0.2)


def test_sub_filters_by_the_first_bytes_and_xpub_sees_the_subscription(opener: Opener, tmp_path: Path) -> None:
    xpub = opener("xpub", endpoint(tmp_path), bind=True)
    sub = opener("sub", endpoint(tmp_path), prefixes=[b"\x38\x00\x2c\x00"])
    buffer = np.zeros(64, dtype=np.uint8)
    assert receive(xpub, buffer) == 5
    assert buffer[:5].tobytes() == b"\x01\x38\x00\x2c\x00"
    for head in (b"\x38\x00\x01\x00", b"\x38\x00\x2c\x00"):
        message = np.frombuffer(head.ljust(64, b"x"), dtype=np.uint8).copy()
        assert link.send(link.address(xpub), message.ctypes.data, 64, 0) == 64
    assert receive(sub, buffer) == 64
    assert buffer[:4].tobytes() == b"\x38\x00\x2c\x00"


def test_a_full_publisher_says_eagain_and_loses_nothing(opener: Opener, tmp_path: Path) -> None:
    xpub = opener("xpub", endpoint(tmp_path), bind=True, high_water=64)
    sub = opener("sub", endpoint(tmp_path), high_water=64)
    buffer = np.zeros(1024, dtype=np.uint8)
    receive(xpub, buffer)
    words = buffer.view(np.int64)
    total, sent, refused, taken = 20_000, 0, 0, 0
    # The reader starts late, so the publisher must meet the high-water mark (messages of 1 KiB fill the socket too).
    while taken < total:
        while sent < total:
            words[0] = sent
            n = link.send(link.address(xpub), buffer.ctypes.data, 1024, 0)
            if n < 0:
                assert n == -link.EAGAIN
                refused += 1
                break
            sent += 1
        got = np.zeros(1024, dtype=np.uint8)
        while link.recv(link.address(sub), got.ctypes.data, 1024) == 1024:
            assert got.view(np.int64)[0] == taken
            taken += 1
    assert refused > 0
    assert sent == taken == total


def test_a_restarted_dealer_takes_its_name_over(opener: Opener, tmp_path: Path) -> None:
    router = opener("router", endpoint(tmp_path), bind=True)
    buffer = np.zeros(64, dtype=np.uint8)
    for life in (b"one", b"two"):
        dealer = opener("dealer", endpoint(tmp_path), name=b"same")
        dealer.send(life)
        assert receive(router, buffer) == 4
        n = receive(router, buffer)
        assert buffer[:n].tobytes() == life


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("tcp//x", ["tcp//x", "tcp://host:port"]),
        ("udp://1", ["udp://1"]),
        ("ipc:///" + "x" * 107, ["108 bytes", "107", "shorter"]),
        ("ipc:///no/such/folder/s", ["/no/such/folder", "create it"]),
        ("tcp://203.0.113.9:5555", ["203.0.113.9", "ip address"]),
    ],
)
def test_endpoints_that_cannot_be_bound_are_explained(opener: Opener, where: str, words: list[str]) -> None:
    with pytest.raises(link.LinkError) as caught:
        opener("router", where, bind=True)
    for word in words:
        assert word in str(caught.value)


def test_an_endpoint_in_use_is_explained(opener: Opener) -> None:
    first = opener("router", "tcp://127.0.0.1:*", bind=True)
    taken = str(first.getsockopt_string(zmq.LAST_ENDPOINT)).rstrip("\0")
    with pytest.raises(link.LinkError, match="another process has it") as caught:
        opener("router", taken, bind=True)
    assert taken in str(caught.value)


def test_an_unknown_role_is_explained(opener: Opener) -> None:
    with pytest.raises(link.LinkError, match="sub, router, dealer, xpub"):
        opener("pull", "inproc://x")


def test_io_threads_are_pinned_where_told(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    before = set(os.listdir("/proc/self/task"))
    ctx = link.make_context(io_threads=1, io_cores=[core])
    # The context starts its threads with its first socket.
    router = link.open_socket(ctx, "router", endpoint(tmp_path), bind=True)
    try:
        new = {int(task) for task in set(os.listdir("/proc/self/task")) - before}
        deadline = time.monotonic() + 5
        # A thread pins itself once it runs.
        while not any(os.sched_getaffinity(task) == {core} for task in new):
            assert time.monotonic() < deadline
            time.sleep(0.001)
    finally:
        router.close()
        ctx.term()
    with pytest.raises(link.LinkError, match="-1"):
        link.make_context(io_cores=[-1])


_CHILD = """
import sys, numpy as np
from engine.io import zmq as link
context = link.make_context()
router = link.open_socket(context, "router", sys.argv[1], bind=True)
buffer = np.zeros(64, dtype=np.uint8)
assert link.recv(link.address(router), buffer.ctypes.data, 64) == -link.EAGAIN
assert link.events(link.address(router)) >= 0
router.close()
context.term()
print(sum(link.recv.stats.cache_hits.values()), sum(link.events.stats.cache_hits.values()))
"""


@pytest.mark.skipif(not JIT, reason="nothing is compiled, so nothing is cached")
def test_kernels_that_call_libzmq_are_loaded_from_the_cache(tmp_path: Path) -> None:
    env = {**os.environ, "TICKROUTE_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", _CHILD, f"ipc://{tmp_path}/cached"]
    hits = []
    for _ in range(2):
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        hits.append(done.stdout)
    assert hits == ["0 0\n", "1 1\n"]
