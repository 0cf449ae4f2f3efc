"""The facts about this machine that belong beside every number, and warnings when they would spoil the numbers.

Steal share: the CPU time that the hypervisor gave to other guests, of the CPU time that somebody here wanted (all that
was not idle; stolen time is wanted time). Of the whole time, a load that keeps one CPU of eight busy would hide that
half of its own time was stolen. A machine that is nearly idle would turn a few stolen ticks into a large share, so the
base is a tenth of the whole time at least.

CPU pressure: the share of the time in which some task was ready and waited for a CPU (PSI, /proc/pressure/cpu). It
tells nothing against a server that has more workers than CPUs, and much about a neighbour on the machine.
"""

import os
import platform
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinlab.machine import processes

HIGH_LOAD_PER_CPU = 0.5


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return None


def _first_line_of(argv: list[str]) -> str | None:
    """What a program says about its version; None when it is not there."""
    if not shutil.which(argv[0]):
        return None
    lines = processes.run(argv)[1].strip().splitlines()
    return lines[0] if lines else None


def cpus() -> int:
    """CPUs that this process may use; a container may allow fewer than the machine has."""
    return len(os.sched_getaffinity(0))


def halves() -> tuple[frozenset[int], frozenset[int]] | None:
    """The CPUs that this process may use, in two halves; None when there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    middle = len(allowed) // 2
    return (frozenset(allowed[:middle]), frozenset(allowed[middle:])) if middle else None


def cpuinfo_field(cpuinfo: str, name: str) -> str | None:
    """The first value of a field of /proc/cpuinfo."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def chosen(text: str | None) -> str | None:
    """`always [madvise] never` -> `madvise`: how sysfs marks the setting in force."""
    return text.partition("[")[2].partition("]")[0] if text and "[" in text else text


def package_version(name: str) -> str | None:
    if not shutil.which("dpkg-query"):
        return None
    status, output = processes.run(["dpkg-query", "-W", "-f", "${Version}", name])
    return output.strip() if status == 0 else None


def git_commit(directory: Path) -> str | None:
    """The commit that was measured, marked when the files differ from it."""
    if not shutil.which("git"):
        return None
    status, commit = processes.run(["git", "-C", str(directory), "rev-parse", "HEAD"])
    if status != 0:
        return None
    changes = processes.run(["git", "-C", str(directory), "status", "--porcelain"])[1]
    return commit.strip() + (" with uncommitted changes" if changes.strip() else "")


def facts(project: Path) -> dict[str, Any]:
    """Everything that a reader needs to judge or repeat the measurement."""
    cpuinfo = _read("/proc/cpuinfo") or ""
    flags = (cpuinfo_field(cpuinfo, "flags") or "").split()
    vulnerabilities = Path("/sys/devices/system/cpu/vulnerabilities")
    return {
        "kernel": platform.release(),
        "system": (platform.freedesktop_os_release().get("PRETTY_NAME") if os.path.exists("/etc/os-release") else None),
        "cpu_model": cpuinfo_field(cpuinfo, "model name"),
        "cpus_online": os.cpu_count(),
        "cpus_allowed": cpus(),
        "memory_kib": int((cpuinfo_field(_read("/proc/meminfo") or "", "MemTotal") or "0").split()[0]),
        "hypervisor": "hypervisor" in flags,
        "pcid": "pcid" in flags,
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "mitigations": {entry.name: _read(str(entry)) for entry in sorted(vulnerabilities.glob("*"))},
        "somaxconn": _read("/proc/sys/net/core/somaxconn"),
        "tcp_migrate_req": _read("/proc/sys/net/ipv4/tcp_migrate_req"),
        "transparent_hugepage": chosen(_read("/sys/kernel/mm/transparent_hugepage/enabled")),
        "loadavg_at_start": _read("/proc/loadavg"),
        "git_commit": git_commit(project),
        "versions": {
            "wrk": _first_line_of(["wrk", "-v"]),
            "gcc": _first_line_of(["gcc", "--version"]),
            "libevent": package_version("libevent-dev"),
            "llhttp": package_version("libllhttp-dev") or package_version("node-llhttp"),
            "python": platform.python_version(),
        },
    }


LEAST_BUSY_SHARE = 0.1  # what is taken for busy of a machine that is nearly idle


@dataclass(frozen=True)
class CpuClock:
    """Ticks of the machine's CPU accounting: a reading, or what passed between two. Idle: waiting for a disk, too."""

    stolen: int
    total: int
    idle: int = 0

    @staticmethod
    def read() -> "CpuClock":
        return parse_cpu_clock(_read("/proc/stat") or "")

    def since(self, earlier: "CpuClock") -> "CpuClock":
        return CpuClock(self.stolen - earlier.stolen, self.total - earlier.total, self.idle - earlier.idle)

    def plus(self, other: "CpuClock") -> "CpuClock":
        return CpuClock(self.stolen + other.stolen, self.total + other.total, self.idle + other.idle)

    @property
    def steal_share(self) -> float:
        """Of what passed between two readings."""
        busy = max(self.total - self.idle, self.total * LEAST_BUSY_SHARE)
        return self.stolen / busy if busy > 0 else 0.0

    def steal_share_since(self, earlier: "CpuClock") -> float:
        return self.since(earlier).steal_share


def parse_cpu_clock(stat: str) -> CpuClock:
    """The `cpu` line of /proc/stat: user nice system idle iowait irq softirq steal (guest time is inside user)."""
    for line in stat.splitlines():
        if line.startswith("cpu "):
            ticks = [int(field) for field in line.split()[1:9]]
            return CpuClock(ticks[7] if len(ticks) > 7 else 0, sum(ticks), sum(ticks[3:5]))
    return CpuClock(0, 0)


@dataclass(frozen=True)
class CpuPressure:
    """How long some task had waited for a CPU at a time; None where the kernel does not say."""

    waited_us: int | None
    at_us: float

    @staticmethod
    def read() -> "CpuPressure":
        return CpuPressure(parse_pressure(_read("/proc/pressure/cpu") or ""), time.monotonic() * 1e6)

    def share_since(self, earlier: "CpuPressure") -> float | None:
        passed_us = self.at_us - earlier.at_us
        if self.waited_us is None or earlier.waited_us is None or passed_us <= 0:
            return None
        return (self.waited_us - earlier.waited_us) / passed_us


def parse_pressure(text: str) -> int | None:
    """`some avg10=0.00 avg60=0.00 avg300=0.00 total=4711` -> 4711"""
    for line in text.splitlines():
        kind, *fields = line.split()
        totals = [field.partition("=")[2] for field in fields if field.startswith("total=")]
        if kind == "some" and totals:
            return int(totals[0])
    return None


def warnings() -> list[str]:
    """What would disturb the measurement, in one line each."""
    found = []
    load = os.getloadavg()[0]
    if load > HIGH_LOAD_PER_CPU * cpus():
        found.append(f"the load average is {load:.2f} on {cpus()} CPUs: other programs are at work and will disturb "
                     "the figures")
    if shutil.which("nft"):
        status, tables = processes.run(["nft", "list", "tables"])
        if status == 0 and tables.strip():
            found.append("packet filter rules are loaded (nft list tables): they slow the loopback interface down")
    return found
