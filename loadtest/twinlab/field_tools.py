"""What the field's own tools say about switches and creation, in the form of a micro program's results.

perf bench sched pipe is what the kernel's developers measure switches with, stress-ng what most others take. Both come
from packages (tests/install-packages field); what is missing is said to be unavailable.
"""

import os
import re
import resource
import shutil
from dataclasses import dataclass
from statistics import median
from typing import Any, Callable, Sequence

from twinlab import machine, proc
from twinlab.errors import LabError

QUICK_PAIRS = 3
FULL_PAIRS = 10
QUICK_ROUND_TRIPS = 20_000
FULL_ROUND_TRIPS = 100_000
STRESS_SECONDS = 1  # the least that stress-ng takes
NOT_INSTALLED = "{} is not installed: tests/install-packages field"


@dataclass(frozen=True)
class Reading:
    """One run of a tool: its figure, and the context switches and page faults of all its processes per operation."""

    value: float
    switches: float
    faults: float


@dataclass(frozen=True)
class Variant:
    """A way to run a tool; operations: how many of them a figure counts as one."""

    name: str
    argv: tuple[str, ...]
    read: Callable[[str], tuple[float, float]]
    cpus: frozenset[int] | None


def parse_perf_seconds(output: str) -> float:
    """`perf bench -f simple` prints the seconds of the whole run and nothing else."""
    match = re.search(r"^\s*([\d.]+)\s*$", output, re.MULTILINE)
    if not match:
        raise LabError(f"perf bench printed no time: {output.strip()[:200]}")
    return float(match[1])


def parse_stress_operations(output: str, stressor: str) -> tuple[float, float]:
    """The operations and seconds from the line of stress-ng's --metrics: `[123] fork 1318 1.00 0.27 ...`."""
    match = re.search(rf"\] {re.escape(stressor)}\s+(\d+)\s+([\d.]+)\s", output)
    if not match or int(match[1]) == 0 or float(match[2]) == 0:
        raise LabError(f"stress-ng --{stressor} printed no operations: {output.strip()[:200]}")
    return float(match[1]), float(match[2])


def _perf_variant(name: str, round_trips: int, options: Sequence[str], cpus: frozenset[int] | None) -> Variant:
    argv = ("perf", "bench", "-f", "simple", "sched", "pipe", "-l", str(round_trips), *options)
    return Variant(name, argv, lambda output: (2 * round_trips, parse_perf_seconds(output)), cpus)


def _stress_variant(stressor: str, cpus: frozenset[int] | None) -> Variant:
    argv = ("stress-ng", f"--{stressor}", "1", "--timeout", str(STRESS_SECONDS), "--metrics")
    return Variant(stressor, argv, lambda output: parse_stress_operations(output, stressor), cpus)


def _counters() -> tuple[int, int]:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_nvcsw + usage.ru_nivcsw, usage.ru_minflt


def _run(variant: Variant, per_second: float) -> Reading:
    """One run; its figure is time per operation, in a unit of which a second has so many."""
    switches_before, faults_before = _counters()
    status, output = proc.run(list(variant.argv), cpus=variant.cpus)
    if status != 0:
        raise LabError(f"{' '.join(variant.argv)} failed: {output.strip()[:200]}")
    operations, seconds = variant.read(output)
    switches, faults = _counters()
    return Reading(seconds / operations * per_second, (switches - switches_before) / operations,
                   (faults - faults_before) / operations)


def _series(key: str, unit: str, variants: Sequence[Variant], pairs: int) -> dict[str, Any]:
    """Measures the variants forwards, then backwards, and so on, as the micro programs do."""
    per_second = {"ns": 1e9, "us": 1e6}[unit]
    readings: dict[str, list[Reading]] = {variant.name: [] for variant in variants}
    for pair in range(pairs):
        for variant in variants if pair % 2 == 0 else reversed(variants):
            readings[variant.name].append(_run(variant, per_second))
    return {
        "key": key, "unit": unit,
        "runs": {name: [reading.value for reading in of] for name, of in readings.items()},
        "parameters": {
            "switches_per_operation": {name: round(median(r.switches for r in of), 3) for name, of in readings.items()},
            "page_faults_per_operation": {name: round(median(r.faults for r in of), 3) for name, of in readings.items()},
        },
    }


def _unavailable(key: str, unit: str, reason: str) -> dict[str, Any]:
    return {"key": key, "unit": unit, "unavailable": reason}


def _one_cpu() -> frozenset[int]:
    return frozenset({max(os.sched_getaffinity(0))})


def _perf_series(quick: bool) -> list[dict[str, Any]]:
    places = {"perf-sched-pipe": _one_cpu(), "perf-sched-pipe-unpinned": None}
    if not shutil.which("perf"):
        return [_unavailable(key, "ns", NOT_INSTALLED.format("perf")) for key in places]
    pairs = QUICK_PAIRS if quick else FULL_PAIRS
    round_trips = QUICK_ROUND_TRIPS if quick else FULL_ROUND_TRIPS
    return [_series(key, "ns", [_perf_variant("process", round_trips, (), cpus),
                                _perf_variant("thread", round_trips, ("-T",), cpus)], pairs)
            for key, cpus in places.items()]


def _stress_series(quick: bool) -> list[dict[str, Any]]:
    stressors = {"stress-ng-switch": ("switch",), "stress-ng-create": ("fork", "vfork", "pthread")}
    if not shutil.which("stress-ng"):
        return [_unavailable(key, "us", NOT_INSTALLED.format("stress-ng")) for key in stressors]
    pairs = 1 if quick else FULL_PAIRS
    return [_series(key, "us", [_stress_variant(name, _one_cpu()) for name in names], pairs)
            for key, names in stressors.items()]


def measure(quick: bool) -> dict[str, Any]:
    """All series, as of a micro program called "field". Takes 7 s when quick, about a minute else."""
    return {"micro": "field", "series": [*_perf_series(quick), *_stress_series(quick)],
            "versions": {"linux-perf": machine.package_version("linux-perf"),
                         "stress-ng": machine.package_version("stress-ng")}}
