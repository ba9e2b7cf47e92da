"""Bugs that are planted, one at a time: the simulation must find each. See plant.py for how they are written.

A bug belongs here when somebody could make it: a forgotten line, a comparison that is one off, a check that seemed
needless, an order of two things.
"""

from __future__ import annotations

from typing import Final

from tests.simulate.plant import bugs_of

CORE: Final = r"""
# the leaves are not updated by a fill
@ engine.core.reports:book_child; venues 0
- child.leaves_qty -= taken
+ pass
# the parent's live quantity forgets a fill
@ engine.core.reports:book_child; venues 0
- .live_qty -= taken
+ .live_qty -= 0
# a repeated execution is booked again
@ engine.core.reports:on_fill; venues 0
- int(report.exec_id[1])) != NONE:
+ int(report.exec_id[1])) == 5:
# an end is believed before its executions
@ engine.core.reports:end_child; sessions 3
- report.cum_qty > child.cum_qty
+ False
# a report of another venue is believed
@ engine.core.reports:_named_child; venues 0
- order.venue_id == report.venue_id and
+
# a child that is filled goes on living
@ engine.core.reports:after_booking; venues 0
- child.leaves_qty == 0 and
+ child.leaves_qty < 0 and
# an overfill is not counted
@ engine.core.reports:book_parent; all 2
- state.counts[C_QTY_OVERFILLED] += qty - taken - again
+ pass
# a rejected child keeps its parent's quantity
@ engine.core.children:finish_child; venues 0
- parent.live_qty -= child.leaves_qty
+ pass
# the last child's end wakes nobody
@ engine.core.children:finish_child; hostile 14
- parent.live_children == 0 and
+ parent.live_children < 0 and
# a timer outlives its child
@ engine.core.children:finish_child; venues 0
- timers.disarm(state, len(state.parents) + c)
+ pass
# fees are those of the other side
@ engine.core.positions:fee_of; venues 0
- added = liquidity == _ADDED
+ added = liquidity != _ADDED
# a short sale is a purchase
@ engine.core.positions:move_position; venues 0
- sign = 1 if side == _BUY else -1
+ sign = -1 if side == 2 else 1
# a bust is routed again
@ engine.core.emit:left_of; venues 0
- - state.parents[p].busted_qty
+
# a bust comes back to the leaves
@ engine.core.changes:_unbook_child; venues 0
- renew_status(state, c)
+ child.leaves_qty += qty if child.leaves_qty > 0 else 0
# a bust keeps its fee
@ engine.core.changes:_unbook_parent; venues 0
- parent.fee += fee
+ pass
# a correction of a correction is lost
@ engine.core.changes:_find; venues 0
- while row.next != NONE:
+ while False:
# a repeated bust is taken again
@ engine.core.changes:on_change; venues 4
- find_execution(state, venue, word0, word1) != NONE
+ False
# a bust names another execution to the client
@ engine.core.reports:on_fill; venues 0
- row.told_seq = number_of(state, outbox, k)
+ row.told_seq = number_of(state, outbox, k) + 1
# silence is taken for an end
@ engine.core.children:on_child_timer; sessions 0
-     mark_unknown(state, outbox, c)
-     ask_status(state, outbox, c)
+     finish_child(state, outbox, c, _S_CANCELED, _R_TIMEOUT)
+     return
# what lives at a lost venue is thought to be known
@ engine.core.children:lose_session; hostile 0
- child.ord_status = _S_UNKNOWN
+ pass
# nobody asks when a venue is back
@ engine.core.children:regain_session; hostile 0
- timers.arm(state, len(state.parents) + c, state.core[0].now_ns)
+ pass
# what was read late clears UNKNOWN
@ engine.core.children:hear; reports 3
- was == _S_UNKNOWN and not reachable(state, c)
+ False
# a record that comes twice counts twice
@ engine.core.sessions:follow_session; sessions 0
- seq <= line.seq_in
+ seq < line.seq_in
# a new life's numbers go on
@ engine.core.sessions:follow_session; hostile 1
- line.seq_in = seq - 1 if head.template_id == _SESSION_UP else 0
+ pass
# sessions outlive a recovery
@ engine.core.sessions:on_recovered; all 0
- line.up = 0
+ pass
# quotes outlive a recovery
@ engine.core.sessions:on_recovered; all 1
- void_venue(state, v)
+ pass
# a gap leaves the quotes good
@ engine.core.books:admit_stream; hostile 4
- state.counts[C_LOST_RECORDS] += lost
-         void_venue(state, v)
+ state.counts[C_LOST_RECORDS] += lost
# a halted instrument is open with its next quote
@ engine.core.books:on_quote; hostile 7
- if slot.valid != HALTED:
+ if True:
# a displayed quantity is used twice
@ engine.core.books:take; venues 0
- quote.ask_taken += qty
+ pass
# an old quote is fresh
@ engine.core.books:fresh; venues 2
- <= state.params[0].stale_ns
+ >= 0
# the kill flag stops new parents alone
@ engine.core.risk:_check; hostile 0
- rule, value, limit = _killed(state, outbox, k)
+ rule, value, limit = 0, 0, 0
# a timer goes up the heap only
@ engine.core.timers:_settle; sessions 0
- if least == place:
+ if True:
# what was armed last fires first
@ engine.core.timers:_before; venues 0
- state.timer_arm[a] < state.timer_arm[b]
+ state.timer_arm[a] > state.timer_arm[b]
# a living child's slot is given away
@ engine.core.children:new_child; sessions 1
- terminal(int(state.children[slot].ord_status))
+ True
# a hole hides what was probed past it
@ engine.core.ids:_close_hole; venues 0
- other == NONE
+ True
# an order that is said again is a new one
@ engine.core.requests:_on_new; venues 1
- if p != NONE:
+ if p == -2:
# a replace goes below what is executed
@ engine.core.parents:_replace; sessions 1
- max(int(parent.new_qty), int(parent.cum_qty) + int(parent.busted_qty))
+ int(parent.new_qty)
# a cancel does not reach what rests
@ engine.core.parents:recall; venues 0
- cancel_child(state, outbox, c)
+ pass
# a cancelled order gives nothing back
@ engine.core.parents:end_canceled; venues 0
- state.counts[C_QTY_CANCELED] += leaves_of(state, p)
+ pass
# a halt lets new orders go
@ engine.core.halt:on_stop; disk 0
- core.killed = _HALTED
+ pass
# a halt cancels what has ended, and not what it has asked for
@ engine.core.halt:on_stop; disk 0
- if child.leaves_qty <= 0
+ if state.child_orders[c].order_id == 0 or child.cancels > 0
"""
LIFE: Final = r"""
# a venue's word on an end is ignored
@ UNKNOWN x STATUS_DONE = IGNORE; sessions 1
# a cancel's confirmation is ignored
@ PENDING_CANCEL x CANCELED = IGNORE; venues 0
# an expiry is an acceptance
@ NEW x EXPIRED = ACCEPT; venues 0
# a rejected cancel ends the child
@ PENDING_CANCEL x CANCEL_REJECT = END; sessions 0
# a lost session is ignored
@ PENDING_NEW x SESSION_LOST = IGNORE; hostile 0
# a fill of an ended child is not booked
@ CANCELED x FULL_FILL = REFUSE; venues 1
# a restatement is ignored
@ NEW x RESTATED = IGNORE; reports 0
"""
ROUTE: Final = r"""
# each venue gets the whole order
@ strategies.common:allot; venues 0
- left - allotted
+ left
# the limit holds for buyers
@ engine.core.books:marketable; venues 0
- px >= limit_px
+ True
# what rests is posted while a part is away
@ engine.run.turn:turn; venues 0
- if parent.live_children > 0:
+ if parent.live_children > 1:
# fill or kill goes out in part
@ strategies.common:take_best; venues 0
- parent.rounds > 1 or allotted < qty
+ parent.rounds > 1
# stale venues are candidates
@ strategies.common:collect; sessions 0
- if not fresh(state, slot):
+ if False:
"""
DISK: Final = r"""
# a frame does not name the one before it
@ engine.io.journal:_write; sessions 0
- row.prev_crc = crc
+ pass
# a number is used twice
@ engine.io.journal:_write; all 0
- row.next_seq = seq + 1
+ row.next_seq = seq + (kind != _PAD)
# a frame's CRC is not looked at
@ engine.io.journal_scan:check_frame; all 0
- frame_crc(frame, segment, length) != (word >> 32) & _MASK32
+ False
# damage in the middle is a torn tail
@ engine.io.journal_scan:find_frame; disk 2
- if check_frame(
+ if 1 + check_frame(
# the torn tail stays
@ engine.io.journal_writer:set_aside; hostile 0
- file.write(bytes(used - end.offset))
+ pass
# a batch that a death cut off is missing
@ engine.run.drive:drive; hostile 0
- at.seen, at.raised = at.due, 0
+ at.raised = 0
# a damaged snapshot is taken
@ engine.run.snapshot:load; hostile 0
- state_hash(state) != header.state_hash
+ False
# a snapshot's last input is run again
@ engine.run.snapshot:begin; all 0
- placed = JournalReader(run_dir, live=live, at=Mark(*header.mark))
+ placed = JournalReader(run_dir, live=live)
# a closed segment has no end
@ engine.io.journal:_turn; all 0
- store_release(int(row.address) + 56, end_word(int(row.address), size | CONTINUES))
+ pass
"""
SENT: Final = r"""
# a client is sent again all but the first
@ engine.run.resend:follow_client; sessions 0
- int(said.last_seen_seq) + 1
+ int(said.last_seen_seq) + 2
# a client is live one record too early
@ engine.run.resend:resend; hostile 0
- link.next_seq > state.sessions[int(link.session)].seq_out
+ link.next_seq >= state.sessions[int(link.session)].seq_out
# a client that is behind gets what is new first
@ engine.run.resend:catch_up; sessions 0
- link.catching_up = 1
+ link.catching_up = 0
# another client's records are sent again
@ engine.run.backlog:push_outputs; sessions 1
- load_u16(payload + _STREAM_ID) != at.session
+ load_u16(payload + _STREAM_ID) == 65535
# what is sent again begins with the newest segment
@ engine.run.backlog:Backlog._find; all 0
- 0 < first[session] <= wanted
+ 0 < first[session]
"""

BUGS: Final = [bug for text in (CORE, LIFE, ROUTE, DISK, SENT) for bug in bugs_of(text)]
