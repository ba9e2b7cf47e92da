"""Benchmarks; `tickroute perf` runs them. Outside the house: they may import any floor."""

#: Name -> what it measures. A benchmark is the module of that name with `run(progress, ...) -> Result`.
BENCHES = {
    "core": "an event through decode, book, decide, risk, journal and encode, without a wire: ns an event, events/s",
    "risk": "all pre-trade controls on, beside the gate without them: ns an order, and what they add to an event",
    "wire": "quote in to child order out over ZeroMQ ipc and tcp and over shared memory, beside a bare forwarder",
    "machine": "a transition of a verified machine, beside transitions, python-statemachine and xstate: ns",
    "recovery": "a million journaled events: from exec to ready, the replay alone, and with a snapshot",
    "journal": "an append: p50 to p99.99; what journaling adds to an event, beside the same engine without a journal",
    "memory": "bytes an open order, a workflow and a child take: computed, and measured by what the state grows",
    "book": "ITCH messages to records, and to full order books, beside a C++ -O3 loop over the same file: ns a message",
    "backtest": "a backtest over ten million events: events/s beside hftbacktest's; its memory as the feed gets longer",
    "report": "a compliance report of ten million orders and a hundred million latencies on one core: seconds, memory",
    "kill": "a mass cancel of 10,000 live orders while the loop is saturated: command to last cancel, paced or not",
    "steady": "ten million events, then 1,000 a second: page faults, allocations, memory, p99 beside a busy GIL",
}
