"""Facts about the machine, as `tickroute doctor`, the benchmarks and the reports need them: read, never changed.

`host_facts()` reads /proc, /sys and a few system calls into plain values that go into JSON as they are. What cannot be
read here (another kernel, a container, no permission) is None, which people are shown as "unknown"; nothing is guessed.
No name, address or path of the machine is among the facts, so that they can be published beside a figure.

All readers take the root of the file system, so that tests can give them another machine. Worst case: `chronyc` does
not answer, and is given up after a second.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

Facts = dict[str, Any]

#: Parameters of the kernel's command line that matter to a busy loop; the others are nobody's business.
BOOT_PARAMETERS = (
    "isolcpus", "nohz_full", "rcu_nocbs", "irqaffinity", "nohz", "mitigations", "idle", "nosmt", "tsc", "clocksource",
    "intel_idle.max_cstate", "processor.max_cstate", "intel_pstate", "amd_pstate", "transparent_hugepage", "skew_tick",
    "nowatchdog", "nmi_watchdog", "nosoftlockup", "rcu_nocb_poll", "preempt",
)  # fmt: skip
#: Bits of Timex.status.
STA_UNSYNC = 0x0040
STA_NANO = 0x2000


def read_text(path: Path) -> str | None:
    """A small file's text without its line end; None where it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def read_int(path: Path) -> int | None:
    """A file's integer; None where there is none."""
    text = read_text(path)
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]+", text) else None


def parse_cpu_list(text: str) -> list[int]:
    """CPU numbers of the kernel's list format: "0-2,5" is [0, 1, 2, 5]; words such as domain are none."""
    cpus: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", part.strip())
        if match:
            cpus.extend(range(int(match[1]), int(match[2] or match[1]) + 1))
    return cpus


def chosen(text: str | None) -> str | None:
    """The word in brackets of a choice such as "always [madvise] never"."""
    match = re.search(r"\[(\w+)\]", text or "")
    return match[1] if match else text


def host_facts(core: int = -1, root: Path = Path("/")) -> Facts:
    """All facts by section; `core` is the CPU of interest (-1: `default_core`). Values are JSON's own; None is unknown.

    root: another machine's /proc and /sys, for tests; what no file tells (adjtimex, chrony) is then unknown.
    """
    core = default_core(root) if core < 0 else core
    live = root == Path("/")
    return {
        "machine": _machine(root),
        "boot": _boot(root, core),
        "power": _power(root, core),
        "clock": _clock(root) | (_adjtimex() | _chrony() if live else {}),
        "memory": _memory(root),
        "kernel": _kernel(root),
        "interrupts": _interrupts(root, core),
        "network": {name: read_int(root / "proc/sys/net/core" / name) for name in ("busy_read", "busy_poll")},
        "container": _container(root),
    }


#: Facts that move by themselves: of a moment, and not of how a machine is set up.
_MOVING = ("pressure_", "steal_percent", "locked_kib", "synchronised", "offset_ns", "max_error_us", "frequency_ppm",
           "chrony")  # fmt: skip


def tuning(core: int = -1, root: Path = Path("/")) -> Facts:
    """Of these facts, how the machine is set up: what a run's latencies are to be judged by. Asks no other program."""
    core = default_core(root) if core < 0 else core
    facts = {
        "machine": _machine(root),
        "boot": _boot(root, core),
        "power": _power(root, core),
        "clock": _clock(root),
        "memory": _memory(root),
        "kernel": _kernel(root),
        "interrupts": _interrupts(root, core),
        "container": _container(root),
    }
    kept = {name: {k: v for k, v in part.items() if not k.startswith(_MOVING)} for name, part in facts.items()}
    return {"core": {"cpu": core}, **kept}


def default_core(root: Path = Path("/")) -> int:
    """The CPU that a loop would best have: the first isolated one, else the last that this process may use."""
    isolated = parse_cpu_list(read_text(root / "sys/devices/system/cpu/isolated") or "")
    usable = sorted(os.sched_getaffinity(0))
    return next((cpu for cpu in isolated if cpu in usable), usable[-1])


def _machine(root: Path) -> Facts:
    info = _cpuinfo(root)
    memory = re.search(r"MemTotal:\s+([0-9]+) kB", read_text(root / "proc/meminfo") or "")
    return {
        "system": platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpu": info.get("model name"),
        "cpus": os.cpu_count(),
        "cpus_usable": sorted(os.sched_getaffinity(0)),
        "virtual": "hypervisor" in info["flags"].split() if "flags" in info else None,
        "memory_kib": int(memory[1]) if memory else None,
        "python": platform.python_version(),
    }


def _cpuinfo(root: Path) -> dict[str, str]:
    text = read_text(root / "proc/cpuinfo") or ""
    rows = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in rows}


def _boot(root: Path, core: int) -> Facts:
    line = read_text(root / "proc/cmdline")
    given = dict(word.partition("=")[::2] for word in line.split()) if line is not None else {}
    cpu = root / "sys/devices/system/cpu"
    facts: Facts = {name: given.get(name, "") for name in BOOT_PARAMETERS[:4]} if line is not None else {}
    return {name: facts.get(name) for name in BOOT_PARAMETERS[:4]} | {
        "parameters": {name: given[name] for name in BOOT_PARAMETERS if name in given} if line is not None else None,
        "isolated_cpus": read_text(cpu / "isolated"),
        "nohz_full_cpus": read_text(cpu / "nohz_full"),
        "smt_active": read_int(cpu / "smt/active"),
        "siblings": read_text(cpu / f"cpu{core}/topology/thread_siblings_list"),
    }


def _power(root: Path, core: int) -> Facts:
    cpu = root / "sys/devices/system/cpu"
    states = [
        {
            "name": read_text(path / "name"),
            "latency_us": read_int(path / "latency"),
            "disabled": read_int(path / "disable"),
        }
        for path in sorted((cpu / f"cpu{core}/cpuidle").glob("state*"))
    ]
    return {
        "governor": read_text(cpu / f"cpu{core}/cpufreq/scaling_governor"),
        "idle_driver": read_text(cpu / "cpuidle/current_driver"),
        "idle_states": states or None,
        "cpu_dma_latency_us": _dma_latency(root / "dev/cpu_dma_latency"),
    }


def _dma_latency(path: Path) -> int | None:
    """The wake-up latency that all requests together allow; reading asks for nothing."""
    try:
        with path.open("rb", buffering=0) as file:
            raw = file.read(4)
    except OSError:
        return None
    return int(struct.unpack("<i", raw)[0]) if raw is not None and len(raw) == 4 else None


def _clock(root: Path) -> Facts:
    source = root / "sys/devices/system/clocksource/clocksource0"
    flags = _cpuinfo(root).get("flags")
    ptp = root / "sys/class/ptp"
    return {
        "source": read_text(source / "current_clocksource"),
        "available": read_text(source / "available_clocksource"),
        "constant_tsc": None if flags is None else "constant_tsc" in flags.split(),
        "nonstop_tsc": None if flags is None else "nonstop_tsc" in flags.split(),
        "ptp_clocks": [read_text(p / "clock_name") for p in sorted(ptp.iterdir())] if ptp.is_dir() else None,
        "synchronised": None,
        "offset_ns": None,
        "max_error_us": None,
        "frequency_ppm": None,
        "chrony": None,
    }


class Timex(ctypes.Structure):
    """struct timex of <sys/timex.h> on 64-bit Linux."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time_s", ctypes.c_long),
        ("time_us", ctypes.c_long),
        ("tick", ctypes.c_long),
        ("ppsfreq", ctypes.c_long),
        ("jitter", ctypes.c_long),
        ("shift", ctypes.c_int),
        ("stabil", ctypes.c_long),
        ("jitcnt", ctypes.c_long),
        ("calcnt", ctypes.c_long),
        ("errcnt", ctypes.c_long),
        ("stbcnt", ctypes.c_long),
        ("tai", ctypes.c_int),
        ("rest", ctypes.c_int * 11),
    )


def adjtimex() -> tuple[Timex, int] | None:
    """The kernel's own view of its clock, read without privileges (modes 0), and the clock's state (5: not
    synchronised); None where there is no such call."""
    row = Timex()
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(row))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else (row, state)


def _adjtimex() -> Facts:
    """What `adjtimex` says, for people; {} where there is no such call."""
    read = adjtimex()
    if read is None:
        return {}
    row, _ = read
    return {
        "synchronised": not row.status & STA_UNSYNC,
        "offset_ns": row.offset * (1 if row.status & STA_NANO else 1000),
        "max_error_us": row.maxerror,
        "frequency_ppm": round(row.freq / 65536, 3),
    }


def _chrony() -> Facts:
    """What chronyd says of its offset; {} where there is none."""
    program = shutil.which("chronyc")
    if program is None:
        return {}
    try:
        done = subprocess.run([program, "-n", "-c", "tracking"], capture_output=True, text=True, timeout=1, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    row = done.stdout.strip().split(",")
    if len(row) < 14:
        return {}
    names = {"stratum": 2, "system_offset_s": 4, "rms_offset_s": 6, "root_delay_s": 10, "leap": 13}
    return {"chrony": {name: row[place] for name, place in names.items()}}


def _memory(root: Path) -> Facts:
    huge = root / "sys/kernel/mm/transparent_hugepage"
    swaps = read_text(root / "proc/swaps")
    locked = re.search(r"VmLck:\s+([0-9]+) kB", read_text(root / "proc/self/status") or "")
    limit = re.search(r"Max locked memory\s+(\w+)", read_text(root / "proc/self/limits") or "")
    return {
        "huge_pages": chosen(read_text(huge / "enabled")),
        "huge_pages_defrag": chosen(read_text(huge / "defrag")),
        "ksm_run": read_int(root / "sys/kernel/mm/ksm/run"),
        "swap_areas": None if swaps is None else max(len(swaps.splitlines()) - 1, 0),
        "locked_kib": int(locked[1]) if locked else None,
        "lock_limit": limit[1] if limit else None,
    }


def _kernel(root: Path) -> Facts:
    names = ("numa_balancing", "sched_rt_runtime_us", "timer_migration", "watchdog", "nmi_watchdog")
    return {name: read_int(root / "proc/sys/kernel" / name) for name in names}


def _interrupts(root: Path, core: int) -> Facts:
    lists = [read_text(path) for path in (root / "proc/irq").glob("*/effective_affinity_list")]
    known = [parse_cpu_list(text) for text in lists if text is not None]
    return {"irqs": len(known) or None, "irqs_on_core": sum(core in cpus for cpus in known) if known else None}


def _container(root: Path) -> Facts:
    group = root / "sys/fs/cgroup"
    pressure = {}
    for name in ("cpu", "io", "memory"):
        match = re.search(r"some avg10=([0-9.]+)", read_text(root / "proc/pressure" / name) or "")
        pressure[f"pressure_{name}_percent"] = float(match[1]) if match else None
    ticks = re.match(r"cpu\s+([0-9 ]+)", read_text(root / "proc/stat") or "")
    counts = [int(word) for word in ticks[1].split()] if ticks else []
    steal = round(100 * counts[7] / max(sum(counts[:8]), 1), 4) if len(counts) > 7 else None
    return {
        "cpu_max": read_text(group / "cpu.max"),
        "cpuset": read_text(group / "cpuset.cpus.effective"),
        **pressure,
        "steal_percent": steal,
    }


def interrupt_counts(core: int, root: Path = Path("/")) -> dict[str, int] | None:
    """Interrupts and softirqs that `core` has served since boot, by name; None where the tables cannot be read."""
    counts: dict[str, int] = {}
    for table in ("interrupts", "softirqs"):
        lines = (read_text(root / "proc" / table) or "").splitlines()
        columns = lines[0].split() if lines else []
        if f"CPU{core}" not in columns:
            return None
        place = columns.index(f"CPU{core}")
        for line in lines[1:]:
            name, _, rest = line.partition(":")
            words = rest.split()
            if len(words) > place and words[place].isdigit():
                label = " ".join(words[len(columns) :])[:40]
                counts[f"{table} {name.strip()} {label}".strip()] = int(words[place])
    return counts
