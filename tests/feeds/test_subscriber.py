"""The account that a subscriber keeps: against a plain twin, and over messages that are none."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from engine.record.records import Reason, Template, blank
from gateways.feeds import subscriber as module
from gateways.feeds.subscriber import Account, Stream, Subscriber, split

pytestmark = pytest.mark.kernel

#: (epoch, seq, ends the day)
EVENTS = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 6), st.booleans()), min_size=1, max_size=30)


def records_of(events: list[tuple[int, int, bool]], stream: int) -> np.ndarray:
    rows = blank(Template.CLEAR, len(events))
    rows["stream_id"] = stream
    rows["stream_epoch"], rows["stream_seq"], ends = zip(*events, strict=True)
    rows["reason"] = [Reason.DAY_END if end else Reason.NONE for end in ends]
    rows["ts_event_ns"] = np.arange(len(events))
    return rows


def naive_stream(events: list[tuple[int, int, bool]]) -> Stream:
    epoch, seq, ended, seen = 0, 0, False, {"gaps": 0, "missed": 0, "duplicates": 0, "restarts": 0}
    for event_epoch, event_seq, ends in events:
        if event_epoch > epoch:
            seen["restarts"] += epoch > 0
            epoch, seq, ended = event_epoch, 0, False
        if event_epoch < epoch or event_seq <= seq:
            seen["duplicates"] += 1
            continue
        seen["gaps"] += event_seq > seq + 1
        seen["missed"] += event_seq - seq - 1
        seq, ended = event_seq, ended or ends
    return Stream(epoch, seq, len(events), **seen, ended=ended)


@given(EVENTS, EVENTS)
def test_streams_are_followed_as_a_plain_twin_does(one, other) -> None:
    account = Account(np.zeros((256, 8), dtype=np.int64), np.zeros(4, dtype=np.int64))
    sample = blank(Template.CLOCK_SAMPLE)
    sample["clock_ns"] = 40
    data = np.concatenate([rows.view(np.uint8) for rows in (records_of(one, 0), sample, records_of(other, 255))])
    assert module.whole(data, 0, len(data))
    module.follow(data, 0, len(data), account)
    assert module._stream(account.streams[0].tolist()) == naive_stream(one)
    assert module._stream(account.streams[255].tolist()) == naive_stream(other)
    assert account.totals.tolist() == [40, 0, len(one) + len(other), 0]


def test_messages_that_are_no_records_are_left_out(tmp_path: Path) -> None:
    good = blank(Template.QUOTE, 2)
    good["stream_id"], good["stream_seq"], good["stream_epoch"] = 3, [1, 2], 9
    raw = good.tobytes()
    wrong_schema, wrong_stream, wrong_length = (bytearray(raw) for _ in range(3))
    wrong_schema[4] ^= 1
    wrong_stream[12:14] = (256).to_bytes(2, "little")
    wrong_length[0] = 56
    bad = [b"", raw[:-1], raw[:100], raw + b"\0" * 64, bytes(wrong_schema), bytes(wrong_stream), bytes(wrong_length)]
    context = zmq.Context()
    socket = context.socket(zmq.PUB)
    socket.bind(f"ipc://{tmp_path}/feed")
    try:
        with Subscriber(f"ipc://{tmp_path}/feed") as feed:
            deadline_s = time.monotonic() + 10
            # The subscription takes a moment to arrive: what is sent before goes nowhere.
            while not len(feed.receive(0.01)) and time.monotonic() < deadline_s:
                socket.send(raw)
            while len(feed.receive(0.1)):
                pass
            before = feed.records
            for message in bad:
                socket.send(message)
            socket.send(raw)
            data = feed.receive(5.0)
            while feed.records == before:
                data = feed.receive(5.0)
            assert feed.malformed == len(bad)
            assert [int(r["stream_seq"]) for r in split(data)] == [1, 2]
            assert feed.streams[3].duplicates == feed.records - 2
            assert not feed.ended
            assert len(feed.receive(0)) == 0
    finally:
        socket.close(linger=0)
        context.term()
