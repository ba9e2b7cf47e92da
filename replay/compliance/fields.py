"""Where the fields of journaled records are, for kernels that read them from views of a whole segment.

A segment is seen as int64, int32, int16 and int8 arrays at once; a field is an element of one of them, its place the
record's byte offset divided by the width plus the constant given here. Nothing is decoded or copied.
"""

from __future__ import annotations

from typing import Final

from engine.io.journal_format import FRAME_HEADER
from engine.record.records import DTYPES, Template

T = Template


def place(template: Template, name: str) -> int:
    """Offset of a field from the beginning of its frame, in elements of its own width."""
    found = DTYPES[template].fields
    assert found is not None
    dtype, offset = found[name][:2]
    return (FRAME_HEADER + int(offset)) // int(dtype.base.itemsize)


TEMPLATE: Final = place(T.ACK, "template_id")
VENUE: Final = place(T.ACK, "venue_id")
STREAM: Final = place(T.ACK, "stream_id")
EVENT_NS: Final = place(T.ACK, "ts_event_ns")
RECV_NS: Final = place(T.ACK, "ts_recv_ns")
ORDER_ID: Final = place(T.ACK, "order_id")
LAST_PX: Final = place(T.ACK, "last_px")
LAST_QTY: Final = place(T.ACK, "last_qty")
CUM_QTY: Final = place(T.ACK, "cum_qty")
LEAVES_QTY: Final = place(T.ACK, "leaves_qty")
INSTRUMENT: Final = place(T.ACK, "instrument_id")
REASON: Final = place(T.ACK, "reason")
EXEC_TYPE: Final = place(T.ACK, "exec_type")
ORD_STATUS: Final = place(T.ACK, "ord_status")
LIQUIDITY: Final = place(T.ACK, "liquidity")
# Busts and corrections lay what a report has at the same places.
assert all(
    place(T.BUST, name) == place(T.ACK, name)
    for name in "order_id last_px last_qty cum_qty leaves_qty instrument_id reason exec_type ord_status".split()
)
NEW_ORDER_ID: Final = place(T.ORDER_NEW, "order_id")
NEW_PARENT_ID: Final = place(T.ORDER_NEW, "parent_id")
NEW_QTY: Final = place(T.ORDER_NEW, "qty")
NEW_ALGO: Final = place(T.ORDER_NEW, "algo_id")
NEW_INSTRUMENT: Final = place(T.ORDER_NEW, "instrument_id")
assert all(
    place(template, "order_id") == NEW_ORDER_ID for template in (T.ORDER_REPLACE, T.ORDER_CANCEL, T.STATUS_REQUEST)
)
REFUSED_TEMPLATE: Final = place(T.REFUSAL, "input_template")
REFUSED_REASON: Final = place(T.REFUSAL, "reason")
BLOCK_RULE: Final = place(T.RISK_BLOCK, "rule")
ALERT_CODE: Final = place(T.ALERT, "code")
DECISION_STALE: Final = place(T.DECISION, "stale_venues")
DECISION_OUTCOME: Final = place(T.DECISION, "outcome")
STAGE_INPUT: Final = place(T.STAGES, "input_seq")
STAGE_0: Final = place(T.STAGES, "receive_ns")
STAGE_TOTAL: Final = place(T.STAGES, "total_ns")
STAGE_CLOCK: Final = place(T.STAGES, "clock_ns")
assert [
    place(T.STAGES, f"{name}_ns") - STAGE_0 for name in "receive decode book decide risk journal encode send".split()
] == list(range(8))
DOWN_SESSION: Final = place(T.SESSION_DOWN, "session_id")
SEND_ERROR: Final = place(T.SEND_RESULT, "error")
