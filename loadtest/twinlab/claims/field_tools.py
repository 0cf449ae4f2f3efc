"""What the field's own tools say about switches and creation, and the micro programs in turns with them.

perf bench sched pipe is what the kernel's developers measure switches with, stress-ng what most others take. Both come
from packages (.ci/install-packages field); what is missing is said to be unavailable. The results have the form of a
micro program's.
"""

import json
import os
import re
import resource
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Callable, Sequence

from twinlab.base.errors import LabError
from twinlab.machine import host, processes
from twinlab.machine.setup import PROJECT

QUICK_PAIRS = 3
FULL_PAIRS = 10
QUICK_ROUND_TRIPS = 20_000
FULL_ROUND_TRIPS = 50_000
UNPINNED_SHARE = 5  # so many times fewer round trips, since waking another CPU takes nine times as long
STRESS_SECONDS = 1  # the least that stress-ng takes


@dataclass(frozen=True)
class Outcome:
    """The figure of one run of a tool; operations: how many it made, None when it does not count them."""

    ns: float
    operations: float | None


@dataclass(frozen=True)
class Variant:
    """A way to run a tool, and how its output is read."""

    name: str
    argv: tuple[str, ...]
    read: Callable[[str], Outcome]
    cpus: frozenset[int] | None


@dataclass(frozen=True)
class Reading:
    """An outcome, and what the kernel counted for each operation, of all processes of the tool."""

    ns: float
    switches: float | None
    faults: float | None


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


def _perf(name: str, round_trips: int, options: Sequence[str], cpus: frozenset[int] | None) -> Variant:
    """A round trip is two operations: what a switch there and a switch back cost."""

    def read(output: str) -> Outcome:
        return Outcome(parse_perf_seconds(output) * 1e9 / (2 * round_trips), 2 * round_trips)

    argv = ("perf", "bench", "-f", "simple", "sched", "pipe", "-l", str(round_trips), *options)
    return Variant(name, argv, read, cpus)


def _stress(stressor: str, per_operation: int = 1) -> Variant:
    """per_operation: of what we count as one in each of the tool's operations."""

    def read(output: str) -> Outcome:
        operations, seconds = parse_stress_operations(output, stressor)
        return Outcome(seconds * 1e9 / (operations * per_operation), operations * per_operation)

    argv = ("stress-ng", f"--{stressor}", "1", "--timeout", str(STRESS_SECONDS), "--metrics")
    return Variant(stressor, argv, read, _one_cpu())


def _ours(bin_dir: Path, program: str, series: str, names: Sequence[str], quick: bool) -> list[Variant]:
    """Variants of a micro program's series, one pair for each run; none where it is not built."""

    def variant(name: str) -> Variant:
        return Variant(f"ours-{name}", argv, lambda output: Outcome(parse_ours(output, name), None), _one_cpu())

    options = ("--quick",) if quick else ()
    argv = (str(bin_dir / f"micro-{program}"), *options, "--series", series, "--repetitions", "1")
    return [variant(name) for name in names] if Path(argv[0]).exists() else []


def parse_ours(output: str, variant: str) -> float:
    """Nanoseconds: the only value of this variant in the only series."""
    [series] = json.loads(output)["series"]
    [value] = series["runs"][variant]
    return value * {"ns": 1, "us": 1000}[series["unit"]]


def _counters() -> tuple[int, int]:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_nvcsw + usage.ru_nivcsw, usage.ru_minflt


def _run(variant: Variant) -> Reading:
    switches_before, faults_before = _counters()
    status, output = processes.run(list(variant.argv), cpus=variant.cpus)
    if status != 0:
        raise LabError(f"{' '.join(variant.argv)} failed: {output.strip()[:200]}")
    outcome = variant.read(output)
    switches, faults = _counters()
    if outcome.operations is None:
        return Reading(outcome.ns, None, None)
    return Reading(outcome.ns, (switches - switches_before) / outcome.operations,
                   (faults - faults_before) / outcome.operations)


def _series(key: str, variants: Sequence[Variant], pairs: int) -> dict[str, Any]:
    """Measures the variants, and the first once more as control, forwards, then backwards, as the micro programs do."""
    variants = [*variants, replace(variants[0], name="control")]
    readings: dict[str, list[Reading]] = {variant.name: [] for variant in variants}
    for pair in range(pairs):
        for variant in variants if pair % 2 == 0 else reversed(variants):
            readings[variant.name].append(_run(variant))
    return {
        "key": key, "unit": "ns",
        "runs": {name: [reading.ns for reading in of] for name, of in readings.items()},
        "parameters": {
            "switches_per_operation": _medians({name: [r.switches for r in of] for name, of in readings.items()}),
            "page_faults_per_operation": _medians({name: [r.faults for r in of] for name, of in readings.items()}),
        },
    }


def _medians(counts: dict[str, list[float | None]]) -> dict[str, float]:
    counted = {name: [value for value in values if value is not None] for name, values in counts.items()}
    return {name: round(median(values), 3) for name, values in counted.items() if values}


def _unavailable(key: str, tool: str) -> dict[str, Any]:
    return {"key": key, "unit": "ns", "unavailable": f"{tool} is not installed: .ci/install-packages field"}


def _one_cpu() -> frozenset[int]:
    return frozenset({max(os.sched_getaffinity(0))})


def _perf_series(quick: bool, bin_dir: Path) -> list[dict[str, Any]]:
    pairs = QUICK_PAIRS if quick else FULL_PAIRS
    round_trips = QUICK_ROUND_TRIPS if quick else FULL_ROUND_TRIPS
    ours = _ours(bin_dir, "switch", "pages-0", ("process", "thread"), quick)
    found = []
    for key, cpus, trips in (("perf-sched-pipe", _one_cpu(), round_trips),
                             ("perf-sched-pipe-unpinned", None, round_trips // UNPINNED_SHARE)):
        variants = [_perf("process", trips, (), cpus), _perf("thread", trips, ("-T",), cpus), *(ours if cpus else [])]
        found.append(_series(key, variants, pairs) if shutil.which("perf") else _unavailable(key, "perf"))
    return found


def _stress_series(quick: bool, bin_dir: Path) -> list[dict[str, Any]]:
    pairs = QUICK_PAIRS if quick else FULL_PAIRS
    variants = {
        # Each of its operations switches to the reader and back, by the kernel's count.
        "stress-ng-switch": [_stress("switch", per_operation=2),
                             *_ours(bin_dir, "switch", "pages-0", ("process",), quick)],
        "stress-ng-create": [_stress("fork"), _stress("vfork"), _stress("pthread"),
                             *_ours(bin_dir, "create", "touched-0-kib", ("process", "vfork", "thread"), quick)],
    }
    return [_series(key, of, pairs) if shutil.which("stress-ng") else _unavailable(key, "stress-ng")
            for key, of in variants.items()]


def measure(quick: bool, bin_dir: Path = PROJECT / "build" / "release" / "bin") -> dict[str, Any]:
    """All series, as of a micro program called "field". Takes 25 s when quick, else under 130 s."""
    return {"micro": "field", "title": "perf bench and stress-ng, in turns with the micro programs",
            "series": [*_perf_series(quick, bin_dir), *_stress_series(quick, bin_dir)],
            "versions": {"linux-perf": host.package_version("linux-perf"),
                         "stress-ng": host.package_version("stress-ng")}}
