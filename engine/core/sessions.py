"""Order sessions: their numbers, and the coming and going of peers.

A session numbers its records. A repeated number is refused, a gap is counted and alerted (what was lost is the peer's
to send again), and a larger epoch begins anew: the peer restarted. A record moves its session's numbers when it is
whole, whether or not what it says is then refused, because it did arrive.
"""

from __future__ import annotations

from engine.core.books import void_venue
from engine.core.children import lose_session, regain_session
from engine.core.emit import alert, new_record
from engine.core.limits import MAX_STREAM_SEQ
from engine.core.mass_cancel import cancel_session
from engine.core.resting import wake_for_session
from engine.core.state import C_GAPS, C_LOST_RECORDS, FROM_VENUE, Events, Outbox, State
from engine.jit import kernel
from engine.record.records import UNIT, Reason, Template

_SESSION_UP, _SESSION_DOWN = int(Template.SESSION_UP), int(Template.SESSION_DOWN)
_R_GAP, _R_REPEATED, _R_RESTARTED = (
    int(Reason.SEQUENCE_GAP),
    int(Reason.DUPLICATE_RECORD),
    int(Reason.PEER_RESTARTED),
)
_R_OLD_EPOCH, _R_SILENT, _R_ORDER = int(Reason.OLD_EPOCH), int(Reason.PEER_SILENT), int(Reason.NOT_IN_ORDER)
_R_RECOVERED = int(Reason.RECOVERED)


@kernel
def follow_session(state: State, events: Events, i: int, outbox: Outbox) -> int:
    """Follow the numbers of the session that record i came on; 0 to go on, else the Reason to refuse it."""
    head = events.head[i]
    line = state.sessions[int(head.stream_id)]
    epoch, seq = int(head.stream_epoch), int(head.stream_seq)
    if seq == 0 and head.template_id == _SESSION_DOWN:
        return 0  # the driver's own word that a peer is silent has no number on the peer's stream
    if seq < 1 or seq > MAX_STREAM_SEQ:
        return _R_ORDER
    if epoch < line.epoch_in:
        return _R_OLD_EPOCH
    if epoch > line.epoch_in:
        if line.up != 0 and line.epoch_in != 0:
            _restarted(state, outbox, int(head.stream_id), bool(head.template_id == _SESSION_UP))
        line.epoch_in = epoch
        line.seq_in = seq - 1 if head.template_id == _SESSION_UP else 0
    if seq <= line.seq_in:
        return _R_REPEATED
    lost = seq - line.seq_in - 1
    line.seq_in = seq
    if lost > 0:
        line.gaps += 1
        state.counts[C_GAPS] += 1
        state.counts[C_LOST_RECORDS] += lost
        alert(state, outbox, _R_GAP, -1, lost, int(head.stream_id))
    return 0


@kernel
def _restarted(state: State, outbox: Outbox, session: int, hello: bool) -> None:
    """The peer came back before it was missed: what lived there is as UNKNOWN as after a silence.

    Its hello asks for what is UNKNOWN; where it begins with something else, the question goes out all the same.
    """
    alert(state, outbox, _R_RESTARTED, -1, 0, session)
    if state.sessions[session].role == FROM_VENUE:
        lose_session(state, outbox, session)
        if not hello:
            regain_session(state, session)


@kernel
def on_session_up(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """A peer says hello: its session is up, and what was UNKNOWN there is asked for."""
    session = int(events.head[i].stream_id)
    line = state.sessions[session]
    back = line.up == 0
    line.up = 1
    line.capability = events.session[i].capability
    k = new_record(state, outbox, _SESSION_UP, UNIT)
    hello = outbox.session[k]
    hello.stream_id = session
    hello.last_seen_seq = line.seq_in
    hello.last_seen_epoch = line.epoch_in
    hello.session_id = session
    if line.role == FROM_VENUE:
        regain_session(state, session)
        if back:
            wake_for_session(state, session)


@kernel
def on_session_down(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """A peer is silent or says goodbye: nothing is routed to it, and what lives there is UNKNOWN."""
    session = int(events.head[i].stream_id)
    if state.sessions[session].up == 0:
        return
    state.sessions[session].up = 0
    alert(state, outbox, _R_SILENT, -1, 0, session)
    if state.sessions[session].role == FROM_VENUE:
        lose_session(state, outbox, session)
    elif state.sessions[session].cancels_on_down != 0:
        cancel_session(state, outbox, session)


@kernel
def on_recovered(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """The engine was away: every session is down, what lives at venues is UNKNOWN, and no quote counts any more.

    The peers' hellos then lead to status requests, as after a silence. `skip` numbers are left out of every outgoing
    stream and both order counters: what may have been sent and is no longer known is never used again.
    """
    core, skip = state.core[0], int(events.recovered[i].skip)
    core.next_parent += skip
    core.next_child += skip
    alert(state, outbox, _R_RECOVERED, -1, skip, int(core.live_children))
    for session in range(state.params[0].n_sessions):
        line = state.sessions[session]
        line.seq_out += skip
        line.up = 0
        if line.role == FROM_VENUE:
            lose_session(state, outbox, session)
    for v in range(state.params[0].n_venues):
        void_venue(state, v)
