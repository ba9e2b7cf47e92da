"""Facts of machines that do not exist: a tuned one, an untuned one, and one that tells nothing."""

from __future__ import annotations

import json
import socket
import struct

import pytest

from engine.run import checks, host

TUNED = {
    "proc/cmdline": "root=/dev/secret isolcpus=domain,3 nohz_full=3 rcu_nocbs=3 irqaffinity=0-2 quiet idle=poll",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: Fast\nflags\t\t: fpu constant_tsc nonstop_tsc\n\nprocessor\t: 1\n",
    "proc/meminfo": "MemTotal:       1024 kB\nMemFree: 1 kB",
    "proc/swaps": "Filename Type Size Used Priority",
    "proc/self/status": "Name:\tx\nVmLck:\t  2048 kB\n",
    "proc/self/limits": "Limit   Soft Limit   Hard Limit   Units\nMax locked memory   unlimited   unlimited   bytes\n",
    "proc/stat": "cpu  900 0 50 49 0 0 1 0 0 0\n",
    "proc/irq/1/effective_affinity_list": "0-2",
    "proc/irq/2/effective_affinity_list": "1",
    "proc/pressure/cpu": "some avg10=0.00 avg60=9.00 avg300=9.00 total=1",
    "proc/pressure/io": "some avg10=0.50 avg60=0.00 avg300=0.00 total=1",
    "proc/pressure/memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1",
    "proc/sys/kernel/numa_balancing": "0",
    "proc/sys/kernel/sched_rt_runtime_us": "-1",
    "proc/sys/kernel/timer_migration": "0",
    "proc/sys/kernel/watchdog": "0",
    "proc/sys/kernel/nmi_watchdog": "0",
    "proc/sys/net/core/busy_read": "50",
    "proc/sys/net/core/busy_poll": "50",
    "sys/class/ptp/ptp0/clock_name": "card",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc",
    "sys/devices/system/cpu/cpu3/cpufreq/scaling_governor": "performance",
    "sys/devices/system/cpu/cpu3/cpuidle/state0/name": "POLL",
    "sys/devices/system/cpu/cpu3/cpuidle/state0/latency": "0",
    "sys/devices/system/cpu/cpu3/cpuidle/state0/disable": "0",
    "sys/devices/system/cpu/cpu3/cpuidle/state1/name": "C6",
    "sys/devices/system/cpu/cpu3/cpuidle/state1/latency": "133",
    "sys/devices/system/cpu/cpu3/cpuidle/state1/disable": "1",
    "sys/devices/system/cpu/cpu3/topology/thread_siblings_list": "3",
    "sys/devices/system/cpu/cpuidle/current_driver": "intel_idle",
    "sys/devices/system/cpu/isolated": "3",
    "sys/devices/system/cpu/smt/active": "0",
    "sys/fs/cgroup/cpu.max": "max 100000",
    "sys/fs/cgroup/cpuset.cpus.effective": "0-3",
    "sys/kernel/mm/ksm/run": "0",
    "sys/kernel/mm/transparent_hugepage/defrag": "always defer [madvise] never",
    "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
}
UNTUNED = TUNED | {
    "proc/cmdline": "quiet",
    "proc/swaps": "Filename Type Size Used Priority\n/swap file 1 0 -2",
    "proc/self/limits": "Max locked memory   65536   65536   bytes",
    "proc/irq/2/effective_affinity_list": "0-3",
    "proc/sys/kernel/sched_rt_runtime_us": "950000",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet",
    "sys/devices/system/cpu/cpu3/cpufreq/scaling_governor": "powersave",
    "sys/devices/system/cpu/cpu3/cpuidle/state1/disable": "0",
    "sys/devices/system/cpu/cpu3/topology/thread_siblings_list": "1,3",
    "sys/devices/system/cpu/isolated": "",
    "sys/devices/system/cpu/smt/active": "1",
    "sys/fs/cgroup/cpu.max": "50000 100000",
    "sys/fs/cgroup/cpuset.cpus.effective": "0-1",
    "sys/kernel/mm/transparent_hugepage/defrag": "[always] never",
    "sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never",
}


def machine(tmp_path, files):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="ascii")
    (tmp_path / "dev").mkdir(exist_ok=True)
    (tmp_path / "dev/cpu_dma_latency").write_bytes(struct.pack("<i", 0))
    return tmp_path


def verdicts(tmp_path, files, core=3):
    facts = host.host_facts(core, machine(tmp_path, files))
    return {row.name: row for row in checks.check(facts, core)}


def test_tuned_machine_is_ok_in_all_that_files_tell(tmp_path):
    found = verdicts(tmp_path, TUNED)
    not_ok = {name: row.verdict for name, row in found.items() if row.verdict != "ok"}
    assert not_ok == {"clock synchronised": "unknown", "largest clock error": "unknown", "chrony": "unknown"}


def test_untuned_machine_is_warned_of_what_differs(tmp_path):
    found = verdicts(tmp_path, UNTUNED)
    assert {name for name, row in found.items() if row.verdict == "warn"} == {
        "isolated core", "no timer tick", "RCU callbacks elsewhere", "default interrupt CPUs", "hyperthreading",
        "siblings of the core", "frequency governor", "idle states of the core", "clock source",
        "transparent huge pages", "huge page defragmentation", "swap areas", "limit of locked memory",
        "real-time throttling", "device interrupts on the core", "CPU quota", "CPUs of the container",
    }  # fmt: skip
    assert "isolcpus=managed_irq,domain,3:" in found["isolated core"].remedy
    for row in found.values():
        assert row.why
        assert row.remedy
        assert row.wanted


def test_a_machine_that_tells_nothing_is_unknown_throughout(tmp_path):
    facts = host.host_facts(0, tmp_path)
    assert {row.verdict for row in checks.check(facts, 0)} == {"unknown"}
    assert host.interrupt_counts(0, tmp_path) is None


def test_facts_are_json_and_publishable(tmp_path):
    text = json.dumps(host.host_facts(3, machine(tmp_path, TUNED)))
    assert "secret" not in text
    assert '"idle": "poll"' in text
    real = json.dumps(host.host_facts())
    assert socket.gethostname() not in json.loads(real)["machine"].values()
    assert json.loads(real)["machine"]["cpus"] >= 1


def test_tuning_is_what_does_not_move_by_itself(tmp_path):
    root = machine(tmp_path, TUNED)
    told, facts = host.tuning(3, root), host.host_facts(3, root)
    assert told["core"] == {"cpu": 3}
    for section, part in told.items():
        if section != "core":
            assert part == {name: facts[section][name] for name in part}
    left = {name for section, part in facts.items() for name in part if name not in told.get(section, {})}
    assert left == {
        "pressure_cpu_percent", "pressure_io_percent", "pressure_memory_percent", "steal_percent", "locked_kib",
        "synchronised", "offset_ns", "max_error_us", "frequency_ppm", "chrony", "busy_read", "busy_poll",
    }  # fmt: skip
    assert json.loads(json.dumps(host.tuning())) == host.tuning(), "plain values, the same twice"


def test_every_rule_looks_at_a_fact_that_exists(tmp_path):
    facts = host.host_facts(0, tmp_path)
    names = [rule.fact for rule in checks.RULES]
    assert len(set(names)) == len(names)
    for name in names:
        section, _, fact = name.partition(".")
        assert fact in facts[section], name


def test_real_facts_have_the_sections_of_another_machine(tmp_path):
    real, other = host.host_facts(), host.host_facts(0, tmp_path)
    assert {s: set(f) for s, f in real.items()} == {s: set(f) for s, f in other.items()}
    assert real["clock"]["synchronised"] in (True, False, None)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("0-2,5", [0, 1, 2, 5]), ("", []), ("3", [3]), ("managed_irq,domain,1", [1]), ("0,2-3,", [0, 2, 3]), ("none", [])],
)
def test_cpu_lists(text, cpus):
    assert host.parse_cpu_list(text) == cpus


def test_chosen():
    assert host.chosen("always [madvise] never") == "madvise"
    assert host.chosen("plain") == "plain"
    assert host.chosen(None) is None


def test_interrupts_are_counted_for_one_core(tmp_path):
    table = "           CPU0       CPU1\n  1: 5 7  IO-APIC  1-edge  keyboard\nLOC:  10  20  Local timer\nERR:  3\n"
    soft = "           CPU0       CPU1\n   TIMER:  1  2\n"
    root = machine(tmp_path, {"proc/interrupts": table, "proc/softirqs": soft})
    assert host.interrupt_counts(1, root) == {
        "interrupts 1 IO-APIC 1-edge keyboard": 7,
        "interrupts LOC Local timer": 20,
        "softirqs TIMER": 2,
    }
    assert host.interrupt_counts(9, root) is None
