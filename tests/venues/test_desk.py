"""The venues' loop: what becomes of reports while the engine acknowledges, is away, or never answers."""

from __future__ import annotations

import pytest

from engine.record.records import REPORT
from gateways.session import make_sessions
from gateways.venues.desk import LOG, file_reports, make_desk, send_reports
from gateways.venues.state import create
from tests.venues.world import config

pytestmark = pytest.mark.kernel


class Log:
    """The log of session 1 (alpha), and an exchange that has reports for it."""

    def __init__(self):
        self.ex = create(config())
        self.sessions = make_sessions(3, epoch=5, heartbeat_ms=50, timeout_ms=300)
        self.desk, _ = make_desk(3, 1)
        self.row, self.link = self.desk.logs[1], self.sessions.links[1]

    def report(self, count=1):
        """Reports come out of the exchange; whether they could be filed."""
        at = int(self.ex.core["out_count"][0])
        self.desk.out[at : at + count] = 0
        self.desk.out["order_id"][at : at + count] = range(count)
        self.ex.core["out_count"] += count
        return bool(file_reports(self.ex, self.desk))

    def fill(self, sent):
        """Set the counts of a full log."""
        self.row.appended, self.row.acked, self.row.sent = LOG, 0, sent


def test_reports_wait_until_the_session_is_up():
    log = Log()
    assert log.report(3)
    assert send_reports(log.sessions, log.desk, 1) == 0
    assert (log.row.appended, log.row.sent) == (3, 0)


def test_acknowledged_reports_leave_the_log():
    log = Log()
    log.report(3)
    log.row.sent = 3
    log.desk.slots["stream_seq"][LOG : LOG + 3] = [11, 12, 13]
    log.link.acked_seq = 12
    send_reports(log.sessions, log.desk, 1)
    assert (log.row.acked, log.row.sent) == (2, 3)


def test_after_a_loss_sending_starts_again_at_what_was_not_acknowledged():
    log = Log()
    log.report(3)
    log.row.sent, log.row.acked = 3, 1
    log.link.downs = 1
    log.link.acked_seq = 1000
    send_reports(log.sessions, log.desk, 1)
    assert (log.row.acked, log.row.sent, log.row.downs) == (1, 1, 1)


def test_a_full_log_of_unsent_reports_stops_the_venues():
    log = Log()
    log.fill(sent=0)
    assert not log.report(2)
    assert log.ex.core["out_count"][0] == 2
    log.row.acked = log.row.sent = 2
    assert file_reports(log.ex, log.desk)
    assert (log.ex.core["out_count"][0], log.row.appended) == (0, LOG + 2)
    assert log.desk.slots["order_id"][LOG + 1] == 1


def test_a_full_log_of_sent_reports_forgets_the_oldest():
    log = Log()
    log.fill(sent=LOG)
    assert log.report(2)
    assert (log.row.forgotten, log.row.acked, log.row.appended) == (2, 2, LOG + 2)


def test_slots_hold_whole_reports():
    assert Log().desk.slots.dtype == REPORT
