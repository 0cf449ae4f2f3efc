"""Micro programs, demonstrations and the field's tools: run once each for a run, and stored as they come."""

import json
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from twinlab import demos
from twinlab.base.errors import LabError
from twinlab.claims import field_tools
from twinlab.claims.catalog import DEMO, FIELD, MICRO
from twinlab.claims.engine import ATTEMPTS, Rules
from twinlab.claims.store import Store
from twinlab.machine import host, processes
from twinlab.runs.windows import FAILURES, first_line

PLANNED_S = {MICRO: (4.0, 40.0), DEMO: (2.0, 10.0), FIELD: (25.0, 130.0)}  # quick, and in full
MICRO_DEADLINE_S = 300.0
FIELD_TOOLS = "tools"
# What the field's tools measure, too: they run whenever one of these does, and stand beside it in the report.
HAVE_FIELD_TOOLS = {(MICRO, "create"), (MICRO, "switch")}


def with_field_tools(needed: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The sources of some claims, and the field's tools if they have something to set beside them."""
    beside = [(FIELD, FIELD_TOOLS)] if HAVE_FIELD_TOOLS & set(needed) else []
    return list(dict.fromkeys([*needed, *beside]))


def planned_s(kind: str, quick: bool) -> float:
    return PLANNED_S[kind][0 if quick else 1]


def run(store: Store, kind: str, name: str, bin_dir: Path, quick: bool, rules: Rules = Rules()) -> None:
    """Run one, again if too much CPU time was stolen meanwhile; what cannot run says why and stops nothing else."""
    for attempt in range(1, ATTEMPTS + 1):
        if store.done(kind=kind, name=name):
            return
        clock = host.CpuClock.read()
        try:
            output = RUNNERS[kind](bin_dir, name, quick)
        except FAILURES as error:
            store.append({"kind": "problem", "source": f"{kind}:{name}", "problem": first_line(error),
                          "whole": str(error)})
            return
        steal = host.CpuClock.read().steal_share_since(clock)
        # The facts of a demonstration are not timed.
        void = f"steal: {steal * 100:.1f} % of the CPU time" if kind != DEMO and steal > rules.steal_limit else ""
        store.append({"kind": kind, "name": name, "quick": quick, "attempt": attempt, "void": void,
                      "steal_share": round(steal, 4), "output": output})


def _run_micro(bin_dir: Path, name: str, quick: bool) -> dict[str, Any]:
    program = bin_dir / f"micro-{name}"
    if not program.exists():
        raise LabError(f"there is no program micro-{name}")
    child = processes.spawn([str(program), *(["--quick"] if quick else [])], stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE)
    try:
        output, errors = child.communicate(timeout=MICRO_DEADLINE_S)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"micro-{name} did not end within {MICRO_DEADLINE_S:.0f} s") from error
    finally:
        processes.stop(child)
    if child.returncode != 0:
        raise LabError(f"micro-{name} failed: {errors.decode(errors='replace').strip()}")
    try:
        return json.loads(output)
    except ValueError as error:
        raise LabError(f"micro-{name} printed no JSON: {error}") from error


def _run_demo(bin_dir: Path, name: str, quick: bool) -> dict[str, Any]:
    if name not in demos.DEMOS:
        raise LabError(f"there is no demonstration {name}")
    outcome = demos.run(name, bin_dir, quick)
    return {"title": demos.DEMOS[name].TITLE, "facts": [asdict(fact) for fact in outcome.facts],
            "shown": outcome.shown}


def _run_field(bin_dir: Path, name: str, quick: bool) -> dict[str, Any]:
    if name != FIELD_TOOLS:
        raise LabError(f"the field's tools are called {FIELD_TOOLS}, not {name}")
    return field_tools.measure(quick, bin_dir)


RUNNERS = {MICRO: _run_micro, DEMO: _run_demo, FIELD: _run_field}
