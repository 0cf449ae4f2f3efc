"""The facts about this machine that belong beside every number, and warnings when they would spoil the numbers."""

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinlab import proc

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
    lines = proc.run(argv)[1].strip().splitlines()
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
    status, output = proc.run(["dpkg-query", "-W", "-f", "${Version}", name])
    return output.strip() if status == 0 else None


def git_commit(directory: Path) -> str | None:
    """The commit that was measured, marked when the files differ from it."""
    if not shutil.which("git"):
        return None
    status, commit = proc.run(["git", "-C", str(directory), "rev-parse", "HEAD"])
    if status != 0:
        return None
    changes = proc.run(["git", "-C", str(directory), "status", "--porcelain"])[1]
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


@dataclass(frozen=True)
class CpuClock:
    """A reading of the machine's CPU accounting, to see later how much was stolen by other guests."""

    stolen: int
    total: int

    @staticmethod
    def read() -> "CpuClock":
        return parse_cpu_clock(_read("/proc/stat") or "")

    def steal_share_since(self, earlier: "CpuClock") -> float:
        total = self.total - earlier.total
        return (self.stolen - earlier.stolen) / total if total > 0 else 0.0


def parse_cpu_clock(stat: str) -> CpuClock:
    """The `cpu` line of /proc/stat: user nice system idle iowait irq softirq steal (guest time is inside user)."""
    for line in stat.splitlines():
        if line.startswith("cpu "):
            ticks = [int(field) for field in line.split()[1:9]]
            return CpuClock(ticks[7] if len(ticks) > 7 else 0, sum(ticks))
    return CpuClock(0, 0)


def warnings() -> list[str]:
    """What would disturb the measurement, in one line each."""
    found = []
    load = os.getloadavg()[0]
    if load > HIGH_LOAD_PER_CPU * cpus():
        found.append(f"the load average is {load:.2f} on {cpus()} CPUs: other programs are at work and will disturb "
                     "the figures")
    if shutil.which("nft"):
        status, tables = proc.run(["nft", "list", "tables"])
        if status == 0 and tables.strip():
            found.append("packet filter rules are loaded (nft list tables): they slow the loopback interface down")
    return found
