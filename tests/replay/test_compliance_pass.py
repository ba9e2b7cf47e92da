"""The pass's kernels against a slow reading of the same frames: any sequence of records, in all three modes."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.ids import CHILD_BIT
from engine.core.lifecycle import PRECEDENCE
from engine.io.histogram import LENGTH, record
from engine.io.journal_format import FRAME, FRAME_HEADER, Kind
from engine.record.records import DTYPES, ExecType, OrdStatus, Template, blank
from replay.compliance import tally as y
from replay.compliance.kernels import kernels
from replay.compliance.quantiles import at
from replay.compliance.tally import Tally

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(600)]
T, BASE, ORIGIN_NS = Template, 17_533 << 40, 1_514_903_400_000_000_000
FIXED = {"total": y.TOTAL, "loop": y.IN_LOOP, "response": y.RESPONSE, "answer": y.ANSWER, "fill": y.FIRST_FILL}
FIXED |= {"complete": y.COMPLETE, "inside": y.INSIDE, "unknown": y.UNKNOWN_INSIDE}
ENDED = {OrdStatus.FILLED, OrdStatus.CANCELED, OrdStatus.EXPIRED, OrdStatus.REJECTED}
EXCURSION = (ORIGIN_NS + 2_000_000, ORIGIN_NS + 60_000_000)
LATER = (EXCURSION[1], ORIGIN_NS + 5_000_000_000_000)


def laid_out(frames):
    """(memory, rows of FRAME) of (kind, input_seq, record)."""
    size = sum(FRAME_HEADER + len(data) for _, _, data in frames)
    memory, rows = np.zeros(size, dtype=np.uint8), np.zeros(len(frames), dtype=FRAME)
    offset = 0
    for seq, (kind, input_seq, data) in enumerate(frames):
        memory[offset + FRAME_HEADER : offset + FRAME_HEADER + len(data)] = data
        rows["seq"][seq], rows["input_seq"][seq], rows["offset"][seq] = seq, input_seq, offset
        rows["length"][seq], rows["kind"][seq] = len(data), kind
        offset += FRAME_HEADER + len(data)
    memory.flags.writeable = False  # as a segment that is read
    return memory, rows


def raw(template, **fields):
    row = blank(template)
    for name, value in fields.items():
        row[name] = value
    return row.view(np.uint8)


def empty():
    """A tally for three venues on one session and one instrument."""
    arrays = y.lasting()
    run = arrays["run"][0]
    run["run"], run["live_clock"], run["first_parent"], run["first_child"] = 1, 1, -1, -1
    run["currencies"] = 2
    run["bin_ns"], run["bin_origin_ns"], run["excursions"] = 1_000_000, ORIGIN_NS, 2
    zeros = {"parent_recv_ns": "<i8", "parent_cum": "<i8", "parent_status": "i1", "parent_marks": "i1"}
    zeros |= {
        "child_sent_ns": "<i8",
        "child_cum": "<i8",
        "child_status": "i1",
        "child_marks": "i1",
        "child_venue": "<i2",
        "child_group": "<i2",
        "parent_algo": "i1",
    }
    tables = {name: np.zeros(16, dtype=kind) for name, kind in zeros.items()}
    sizes = {"templates": 448, "refusals": 64 * y.REASONS, "blocks": 128, "alerts": 128, "outcomes": 32, "live": 2}
    sizes |= {
        "rejects": y.VENUES * y.REASONS,
        "checks": 16,
        "by_venue": y.VENUES * y.ALGOS * 2 * y.V_COLUMNS,
        "routed": 3 * y.ALGOS,
        "filled": 3 * y.ALGOS,
        "currency": 1,
    }
    sizes |= {"venue_session": 3, "take_ppm": 3, "make_ppm": 3}
    tables |= {name: np.zeros(size, dtype=np.int64) for name, size in sizes.items()}
    tables |= {"venue_place": np.array([2, 0, 1]), "take_fee": np.array([3, 5, 7]), "make_fee": np.array([-2, 0, 1])}
    stretches = np.array([*EXCURSION, y.OUTSIDE, *LATER, y.UNKNOWN])
    tables |= {"money_mul": np.array([10]), "money_div": np.array([1]), "excursions": stretches}
    return Tally(**arrays, **tables)


class Slow:
    """The same figures, one record at a time, from lists and dicts."""

    def __init__(self, frames):
        self.values: dict[str, list[int]] = defaultdict(list)
        self.transitions: Counter[tuple[Any, ...]] = Counter()
        self.checks: Counter[str] = Counter()
        self.rates: Counter[int] = Counter()
        self.bins: Counter[int] = Counter()
        self.filled: Counter[tuple[int, int]] = Counter()
        self.routed: Counter[tuple[int, int]] = Counter()
        self.by_algo: Counter[int] = Counter()
        self.algo = y.NO_ALGO
        self.parents: dict[int, dict[str, Any]] = {}
        self.children: dict[int, dict[str, Any]] = {}
        self.inputs: list[int] = []
        self.sends: list[int] = []
        self.first_parent: Any = None
        self.first_child: Any = None
        self.now: Any = None
        self.pending: Any = None
        self.queue_ns = self.busy_ns = 0
        for seq, (kind, input_seq, data) in enumerate(frames):
            row = data.view(DTYPES[Template(int(data.view("<u2")[1]))])[0]
            {Kind.INPUT: self.input, Kind.OUTPUT: self.output, Kind.OBSERVATION: self.observe}[kind](
                seq, input_seq, row
            )
        self.settle()

    def input(self, seq, _, row):
        self.settle()
        at_ns = int(row["ts_recv_ns"])
        same = self.now is not None and at_ns == self.now[1]
        self.queue_ns, self.busy_ns = (self.queue_ns + self.busy_ns if same else 0), 0
        self.now = seq, at_ns, int(row["ts_event_ns"])
        self.inputs.append(at_ns)
        self.algo = int(row["algo_id"]) if row["template_id"] == Template.ORDER_NEW else y.NO_ALGO
        if Template.ACK <= row["template_id"] <= Template.CORRECT:
            self.pending = row
            child = self.children.get(int(row["order_id"]))
            self.algo = child["algo"] if child is not None else self.algo

    def settle(self):
        row, self.pending = self.pending, None
        if row is None:
            return
        self.checks["reports"] += 1
        child = self.children.get(int(row["order_id"]))
        if child is None:
            self.checks["orphans"] += 1
            return
        at_ns, before, after = self.now[1], child["status"], int(row["ord_status"])
        self.transitions[1, before, after, int(row["exec_type"])] += 1
        if not child["answered"]:
            child["answered"] = True
            self.values["answer"].append(at_ns - child["sent"])
        if row["template_id"] == Template.FILL:
            if not child["filled"]:
                child["filled"] = True
                self.values["fill"].append(at_ns - child["sent"])
            self.checks["late"] += before in ENDED
            self.filled[child["venue"], child["algo"]] += int(row["last_qty"])
            child["cum"] += int(row["last_qty"])
        child["status"] = after
        child["differs"] = int(row["cum_qty"]) != child["cum"]

    def output(self, seq, input_seq, row):
        template = Template(int(row["template_id"]))
        if template == Template.REFUSAL:
            if self.pending is not None and row["input_template"] == self.pending["template_id"]:
                self.pending = None
        elif template == Template.ORDER_NEW:
            self.sends.append(self.now[1])
            number = int(row["order_id"]) & (CHILD_BIT - 1)
            self.first_child = number if self.first_child is None else self.first_child
            if number - self.first_child not in range(16):
                return
            child = {"status": OrdStatus.PENDING_NEW, "sent": self.now[1], "venue": int(row["venue_id"])}
            child["algo"] = int(row["algo_id"])
            self.algo = child["algo"] if self.algo == y.NO_ALGO else self.algo
            old = self.children.get(int(row["order_id"]))
            assert old is None
            self.children[int(row["order_id"])] = child | {
                "answered": False,
                "filled": False,
                "cum": 0,
                "differs": False,
            }
            self.transitions[1, None, OrdStatus.PENDING_NEW, 0] += 1
            self.routed[child["venue"], child["algo"]] += int(row["qty"])
            self.checks["unknown parent"] += int(row["parent_id"]) not in self.parents
        elif template in (Template.ACK, Template.FILL):
            self.told(row, template)

    def told(self, row, template):
        order_id, cum, status = int(row["order_id"]), int(row["cum_qty"]), int(row["ord_status"])
        number = order_id & (CHILD_BIT - 1)
        self.first_parent = number if self.first_parent is None else self.first_parent
        if number - self.first_parent not in range(16):
            return
        known = self.parents.get(order_id)
        parent = self.parents.setdefault(order_id, {"recv": self.now[1], "cum": 0, "status": None, "algo": self.algo})
        self.algo = parent["algo"] if self.algo == y.NO_ALGO else self.algo
        self.transitions[0, known and known["status"], status, int(row["exec_type"])] += 1
        if cum < parent["cum"]:
            self.checks["fell"] += 1
        elif template == Template.FILL and cum != parent["cum"] + int(row["last_qty"]):
            self.checks["jumped"] += 1
        if template == Template.FILL and status == OrdStatus.FILLED != parent["status"]:
            self.values["complete"].append(self.now[1] - parent["recv"])
        parent["cum"], parent["status"] = cum, status

    def observe(self, seq, _, row):
        if int(row["input_seq"]) != self.now[0]:
            return
        total, (_, at_ns, event_ns) = int(row["total_ns"]), self.now
        self.values["total"].append(total)
        self.by_algo[self.algo] += 1
        self.values["loop"].append(self.queue_ns + total)
        if event_ns > 0:
            self.values["response"].append(at_ns - event_ns + self.queue_ns + total)
        if EXCURSION[0] <= at_ns < EXCURSION[1]:
            self.values["inside"].append(total)
        if LATER[0] <= at_ns < LATER[1]:
            self.values["unknown"].append(total)
        slot = at_ns // 10_000_000
        recent = sum(slot - 10 < time_ns // 10_000_000 <= slot for time_ns in self.inputs)
        self.rates[(recent * 10).bit_length() - 1] += 1
        self.bins[at_ns - ORIGIN_NS] += 1
        self.busy_ns = total


def most(times, window_ns):
    return max((sum(t - window_ns < u <= t for u in times[: n + 1]) for n, t in enumerate(times)), default=0)


STATUSES = st.sampled_from([OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED, OrdStatus.FILLED, OrdStatus.CANCELED])
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["order", "answer", "fill", "refused", "told", "quote"]),
        st.integers(0, 11),
        st.sampled_from([0, 0, 0, 900, 5_000_000, 700_000_000, 5_000_000_000_000]),
        st.integers(-50, 4_000),
        STATUSES,
    ),
    min_size=12,
    max_size=40,
)


def framed(events):
    """Frames of a sequence of events; an order's number may come once, as the engine gives them."""
    frames: list[tuple[Kind, int, np.ndarray]] = []
    at_ns, sent = ORIGIN_NS, 0
    for what, n, step_ns, amount, status in events:
        at_ns += step_ns
        times = {"ts_recv_ns": at_ns, "ts_event_ns": at_ns - amount * 1_000}
        child, parent = BASE | CHILD_BIT | (n + 1), BASE | (n + 1)
        report = {"last_qty": abs(amount), "cum_qty": abs(amount), "ord_status": status, "last_px": 100}
        seq = len(frames)
        if what == "order" and sent < 16:
            sent += 1
            frames.append((Kind.INPUT, -1, raw(T.ORDER_NEW, qty=10, algo_id=n % 4, **times)))
            told = {"order_id": BASE | sent, "exec_type": ExecType.NEW, "ord_status": OrdStatus.NEW}
            frames.append((Kind.OUTPUT, seq, raw(T.ACK, **told)))
            ids = {"order_id": BASE | CHILD_BIT | sent, "parent_id": BASE | sent if amount % 7 else BASE | 99}
            frames.append((Kind.OUTPUT, seq, raw(T.ORDER_NEW, qty=abs(amount), venue_id=n % 3, algo_id=n % 4, **ids)))
        elif what == "quote" or what == "order":
            frames.append((Kind.INPUT, -1, raw(T.QUOTE, venue_id=n % 3, **times)))
        elif what == "told":
            frames.append((Kind.INPUT, -1, raw(T.QUOTE, **times)))
            frames.append((Kind.OUTPUT, seq, raw(T.FILL, order_id=parent, exec_type=ExecType.TRADE, **report)))
        else:
            template = T.ACK if what == "answer" else T.FILL
            kind = ExecType.NEW if what == "answer" else ExecType.TRADE
            frames.append((Kind.INPUT, -1, raw(template, order_id=child, exec_type=kind, **times, **report)))
            if what == "refused":
                frames.append((Kind.OUTPUT, seq, raw(T.REFUSAL, input_template=template, reason=21)))
        frames.append((Kind.OBSERVATION, seq, raw(T.STAGES, input_seq=seq if amount % 5 else seq - 1, total_ns=amount)))
    return frames


@settings(max_examples=25)
@given(EVENTS, st.integers(1, 7))
def test_the_pass_is_the_slow_reading(events, cut):
    frames = framed(events)
    slow, fast = Slow(frames), empty()
    take, settle = kernels()
    memory, rows = laid_out(frames)
    views = [memory.view(kind) for kind in ("<i8", "<i4", "<i2", "i1")]
    for begin in range(0, len(rows), cut):
        fast.run[0]["rare"] = 0
        take(fast, *views, rows[begin : begin + cut])
    settle(fast)
    tally = fast.arrays()
    for name, place in FIXED.items():
        counts, found = np.zeros(LENGTH, dtype=np.int64), at(tally, place)
        good = [v for v in slow.values[name] if 0 <= v <= 3_600_000_000_000]
        for value in good:
            record(counts, value)
        assert found.cells.tolist() == counts[: y.CELLS].tolist(), name
        assert found.negative == sum(v < 0 for v in slow.values[name])
        assert found.over == len(slow.values[name]) - len(good) - found.negative
        if slow.values[name]:
            assert (found.lowest, found.highest) == (min(slow.values[name]), max(0, *slow.values[name], 0))
    checks = tally["checks"]
    places = {"reports": y.C_REPORTS, "orphans": y.C_ORPHANS, "fell": y.C_CUM_FELL, "jumped": y.C_CUM_JUMPED}
    places |= {"late": y.C_LATE_FILLS, "unknown parent": y.C_UNKNOWN_PARENT}
    assert {name: int(checks[place]) for name, place in places.items()} == {name: slow.checks[name] for name in places}
    pairs = [(venue, algo) for venue in range(3) for algo in range(y.ALGOS)]
    assert tally["filled"].tolist() == [slow.filled[pair] for pair in pairs]
    assert tally["routed"].tolist() == [slow.routed[pair] for pair in pairs]
    algos = [at(tally, y.STRATEGY_0 + algo).n for algo in range(y.ALGOS)]
    assert algos == [slow.by_algo[algo] for algo in range(y.ALGOS)]
    differs = sum(child["differs"] for child in slow.children.values())
    assert int((tally["child_marks"] & y.CUM_DIFFERS != 0).sum()) == differs
    _same_transitions(tally, slow)
    _same_times(tally, slow)


def _same_transitions(tally, slow):
    grid = tally["transitions"].reshape(2, y.STATUSES, y.STATUSES, y.EXECS)
    wanted = np.zeros_like(grid)
    for (side, before, after, kind), n in slow.transitions.items():
        names = [PRECEDENCE.index(OrdStatus(s)) if s is not None else y.NO_STATUS for s in (before, after)]
        wanted[side, names[0], names[1], tally["exec_place"][kind]] += n
    assert grid.tolist() == wanted.tolist()


def _same_times(tally, slow):
    peaks = tally["peaks"].reshape(2, 3, 4)[:, :, 0]
    assert peaks.tolist() == [[most(times, w) for w in y.WINDOWS_NS] for times in (slow.inputs, slow.sends)]
    rates = [at(tally, y.RATE_0 + n).n for n in range(y.RATES)]
    assert rates == [slow.rates[n] for n in range(y.RATES)]
    bin_ns = int(tally["run"][0]["bin_ns"])
    bins: Counter[int] = Counter()
    for time_ns, n in slow.bins.items():
        bins[time_ns // bin_ns] += n
    assert [at(tally, y.BIN_0 + n).n for n in range(y.BINS)] == [bins[n] for n in range(y.BINS)]


def test_bins_of_time_are_merged_exactly():
    slow, fast = [], empty()
    take, _ = kernels()
    frames = []
    for n in range(400):
        at_ns = ORIGIN_NS + n * n * 1_000_000
        frames.append((Kind.INPUT, -1, raw(T.QUOTE, ts_recv_ns=at_ns)))
        frames.append((Kind.OBSERVATION, len(frames) - 1, raw(T.STAGES, input_seq=len(frames) - 1, total_ns=n)))
        slow.append((n * n * 1_000_000, n))
    memory, rows = laid_out(frames)
    take(fast, *[memory.view(kind) for kind in ("<i8", "<i4", "<i2", "i1")], rows)
    tally = fast.arrays()
    bin_ns = int(tally["run"][0]["bin_ns"])
    assert bin_ns > 1_000_000
    for b in range(y.BINS):
        values = [value for time_ns, value in slow if time_ns // bin_ns == b]
        found = at(tally, y.BIN_0 + b)
        assert found.n == len(values)
        if values:
            assert (found.lowest, found.highest) == (min(values), max(values))
