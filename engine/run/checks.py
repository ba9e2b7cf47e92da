"""What a machine should be like for a loop that spins on one core, as rules over the facts of `host`.

A rule has a name, the fact it looks at, what is wanted, why it matters and what to do. Its verdict is ok, warn, or
unknown where the fact could not be read: a doctor that guesses is worse than none. Nothing here changes the machine.

Worst case: a rule that does not fit a machine (a laptop needs no isolated core) warns; it never stops a run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from engine.run.host import Facts, parse_cpu_list


class Check(NamedTuple):
    """One verdict: ok, warn or unknown on a value, with what is wanted, why, and what to do."""

    section: str
    name: str
    value: Any
    wanted: str
    verdict: str
    why: str
    remedy: str


class Rule(NamedTuple):
    """How one verdict is come by. `fact` is section.name in the facts; `good` sees (value, core)."""

    fact: str
    name: str
    wanted: str
    good: Callable[[Any, int], bool]
    why: str
    remedy: str


def _holds(value: Any, core: int) -> bool:
    """Whether a CPU list of the kernel holds the core."""
    return core in parse_cpu_list(str(value))


def _is(*wanted: Any) -> Callable[[Any, int], bool]:
    return lambda value, core: value in wanted


def _shallow(states: Any, core: int) -> bool:
    """Whether no idle state that takes longer than 10 us to leave is enabled."""
    return all(row["disabled"] or (row["latency_us"] or 0) <= 10 for row in states)


_BOOT = "add it to the kernel's command line and restart"
RULES: Final = (
    Rule("boot.isolated_cpus", "isolated core", "holds the loop's core", _holds,
         "other tasks on the loop's core stop it for milliseconds", f"isolcpus=managed_irq,domain,CORE: {_BOOT}"),
    Rule("boot.nohz_full", "no timer tick", "holds the loop's core", _holds,
         "the tick stops the loop up to 1000 times a second, for 2 to 10 us each", f"nohz_full=CORE: {_BOOT}"),
    Rule("boot.rcu_nocbs", "RCU callbacks elsewhere", "holds the loop's core", _holds,
         "the kernel frees memory on whichever core it likes, in bursts", f"rcu_nocbs=CORE: {_BOOT}"),
    Rule("boot.irqaffinity", "default interrupt CPUs", "names the other CPUs",
         lambda v, core: v != "" and not _holds(v, core),
         "new devices interrupt any core", f"irqaffinity=OTHER-CORES: {_BOOT}"),
    Rule("boot.smt_active", "hyperthreading", "0, or the sibling left idle", _is(0),
         "the other thread of the core shares its execution units and caches", "nosmt, or leave the sibling unused"),
    Rule("boot.siblings", "siblings of the core", "itself alone", lambda v, core: parse_cpu_list(str(v)) == [core],
         "a busy sibling takes up to half of the core", "take the sibling offline, or pin nothing to it"),
    Rule("power.governor", "frequency governor", "performance", _is("performance"),
         "a core that has to speed up first answers late", "cpupower frequency-set -g performance"),
    Rule("power.idle_states", "idle states of the core", "none enabled above 10 us", _shallow,
         "I/O threads and parked loops wake from deep sleep in 100 us and more", "cpupower idle-set -D 10"),
    Rule("power.cpu_dma_latency_us", "allowed wake-up latency", "at most 10 us", lambda v, core: 0 <= v <= 10,
         "it keeps all cores out of deep sleep while somebody holds it", "hold /dev/cpu_dma_latency open with 0 in it"),
    Rule("clock.source", "clock source", "tsc", _is("tsc", "arch_sys_counter"),
         "any other makes each clock reading a microsecond, or a system call", "clocksource=tsc tsc=reliable"),
    Rule("clock.constant_tsc", "TSC of constant rate", "true", _is(True),
         "stage times are TSC differences: a changing rate makes them wrong", "another CPU, or trust no stage times"),
    Rule("clock.nonstop_tsc", "TSC that does not stop", "true", _is(True),
         "a TSC that halts in sleep loses time", "another CPU, or disable deep idle states"),
    Rule("clock.synchronised", "clock synchronised", "true", _is(True),
         "time stamps that a regulator reads must be near UTC", "run chronyd, or ptp4l with phc2sys"),
    Rule("clock.max_error_us", "largest clock error", "at most 100 us", lambda v, core: v <= 100,
         "100 us to UTC is the usual tolerance for high-frequency trading", "PTP, or a nearer time server"),
    Rule("clock.ptp_clocks", "hardware clocks", "at least one", lambda v, core: bool(v),
         "without one in the network card, PTP is software and tens of us off", "a card with hardware time stamps"),
    Rule("clock.chrony", "chrony", "leap Normal", lambda v, core: v["leap"] == "Normal",
         "it shows how far the clock is off, which a report must cite", "install and start chronyd"),
    Rule("memory.huge_pages", "transparent huge pages", "never or madvise", _is("never", "madvise"),
         "the kernel stops a process to put its pages together",
         "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"),
    Rule("memory.huge_pages_defrag", "huge page defragmentation", "not always", lambda v, core: v != "always",
         "a page fault may compact memory for milliseconds",
         "echo madvise > /sys/kernel/mm/transparent_hugepage/defrag"),
    Rule("memory.ksm_run", "page merging (KSM)", "0", _is(0),
         "a merged page faults at the next write", "echo 0 > /sys/kernel/mm/ksm/run"),
    Rule("memory.swap_areas", "swap areas", "0", _is(0),
         "a page that was swapped out comes back in milliseconds", "swapoff -a"),
    Rule("memory.lock_limit", "limit of locked memory", "unlimited, or 1 GiB",
         lambda v, core: v == "unlimited" or int(v) >= 1 << 30,
         "journal and state can be locked in memory only up to it", "ulimit -l unlimited, or LimitMEMLOCK="),
    Rule("kernel.numa_balancing", "NUMA balancing", "0", _is(0),
         "it unmaps pages to see who uses them: page faults on the loop", "sysctl kernel.numa_balancing=0"),
    Rule("kernel.sched_rt_runtime_us", "real-time throttling", "-1", _is(-1),
         "a real-time loop is stopped for 50 ms of each second", "sysctl kernel.sched_rt_runtime_us=-1"),
    Rule("kernel.timer_migration", "timer migration", "0", _is(0),
         "timers of idle cores move to the busy one: the loop's", "sysctl kernel.timer_migration=0"),
    Rule("kernel.watchdog", "soft-lockup watchdog", "0", _is(0),
         "it wakes a thread on each core every few seconds", "sysctl kernel.watchdog=0"),
    Rule("kernel.nmi_watchdog", "hard-lockup watchdog", "0", _is(0),
         "it interrupts each core, and takes a performance counter", "sysctl kernel.nmi_watchdog=0"),
    Rule("interrupts.irqs_on_core", "device interrupts on the core", "0", _is(0),
         "each costs the loop 1 to 20 us when it comes",
         "write other CPUs to /proc/irq/*/smp_affinity_list; stop irqbalance"),
    Rule("network.busy_read", "busy polling, reads", "50", lambda v, core: v > 0,
         "a socket read sleeps for an interrupt where it could poll the card", "sysctl net.core.busy_read=50"),
    Rule("network.busy_poll", "busy polling, poll", "50", lambda v, core: v > 0,
         "poll sleeps for an interrupt where it could poll the card", "sysctl net.core.busy_poll=50"),
    Rule("container.cpu_max", "CPU quota", "none", lambda v, core: str(v).startswith("max"),
         "a quota stops a spinning loop for the rest of each period", "no CPU limit for this container"),
    Rule("container.cpuset", "CPUs of the container", "holds the loop's core", _holds,
         "the loop cannot be pinned to a core outside", "give the container the core"),
    Rule("container.pressure_cpu_percent", "waiting for a CPU", "below 1 %", lambda v, core: v < 1,
         "tasks on this machine have to wait for a core", "fewer tasks, or more cores"),
    Rule("container.pressure_io_percent", "waiting for the disk", "below 1 %", lambda v, core: v < 1,
         "the journal's pages go to this disk", "a disk of its own for the journal"),
    Rule("container.pressure_memory_percent", "waiting for memory", "below 0.1 %", lambda v, core: v < 0.1,
         "reclaiming memory stops whoever needs a page", "more memory"),
    Rule("container.steal_percent", "stolen by the host", "below 0.1 %", lambda v, core: v < 0.1,
         "another guest ran in our time, since boot", "a dedicated host"),
)  # fmt: skip


#: As RULES, over what `probe.measure` found.
MEASURED: Final = (
    Rule("clock_gaps.longest_ns", "longest stall of a spinning loop, ns", "at most 100000", lambda v, core: v <= 10**5,
         "for so long no message was looked at", "isolate the core; see what interrupted it"),
    Rule("clock_gaps.lost_percent", "time lost in stalls, %", "at most 0.1", lambda v, core: v <= 0.1,
         "the share of time in which something else had the core", "isolate the core; see what interrupted it"),
    Rule("clock_gaps.read_ns", "reading the clock, ns", "at most 60", lambda v, core: v <= 60,
         "the loop reads it each cycle", "clock source tsc"),
    Rule("system_call.p50_ns", "a system call, ns", "at most 500", lambda v, core: v <= 500,
         "a poll and a send are at least one each", "mitigations=off where nobody else runs code, or a newer CPU"),
    Rule("fsync.p50_ns", "fsync of a 4 KiB write, ns", "at most 2000000", lambda v, core: v <= 2_000_000,
         "it bounds what durability on disk costs", "a disk with power-loss protection"),
    Rule("zmq_round_trip.p50_ns", "ZeroMQ round trip over ipc, ns", "at most 150000", lambda v, core: v <= 150_000,
         "four wake-ups and four copies: what a message costs beside the decision", "shm:// for peers on the host"),
)  # fmt: skip


def check(facts: Facts, core: int, rules: tuple[Rule, ...] = RULES) -> list[Check]:
    """A verdict for each rule, in the order of the rules; a section that is not there is unknown."""
    found = []
    cpus = facts.get("machine", {}).get("cpus") or 0
    others = ",".join(str(cpu) for cpu in range(cpus) if cpu != core)
    for rule in rules:
        section, _, name = rule.fact.partition(".")
        value = facts.get(section, {}).get(name)
        if value is None:
            verdict = "unknown"
        else:
            verdict = "ok" if rule.good(value, core) else "warn"
        remedy = rule.remedy.replace("OTHER-CORES", others or "none").replace("CORE", str(core))
        found.append(Check(section, rule.name, value, rule.wanted, verdict, rule.why, remedy))
    return found
