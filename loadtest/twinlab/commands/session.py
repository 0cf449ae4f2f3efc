"""One run of a command that measures: its windows, the facts around them, and a file of results whatever ends it."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Sequence

from twinlab.base import results
from twinlab.base.errors import Interrupted, LabError
from twinlab.machine import host, setup
from twinlab.runs.windows import FAILURES, Windows, first_line, tell


@dataclass(frozen=True)
class Circumstances:
    """Where and how a run was made, for its report."""

    facts: dict[str, Any]
    warnings: list[str]
    took_s: float

    @property
    def machine(self) -> str:
        return f"{self.facts['cpus_allowed']} CPUs ({self.facts['cpu_model']}), Linux {self.facts['kernel']}"

    @property
    def span(self) -> str:
        return f"{self.took_s:.0f} s in all, {self.facts['steal_share'] * 100:.1f} % of CPU time stolen"

    def as_dict(self, command: str) -> dict[str, Any]:
        """What the results of every command begin with."""
        return {"command": command, "machine": self.facts, "warnings": self.warnings, "took_s": round(self.took_s, 1)}


class Session:
    """Begins when it is made: the machine is looked at then, and again when the circumstances are asked for."""

    def __init__(self, output: Path | None, name: str, warnings: Sequence[str] = ()) -> None:
        self.windows = Windows()
        self.output = results.prepare(output or results.default_dir(setup.PROJECT))
        self._name = name
        self._warnings = [*host.warnings(), *warnings]
        for warning in self._warnings:
            tell(f"warning: {warning}")
        self._facts = host.facts(setup.PROJECT)
        self._began_s, self._clock = time.monotonic(), host.CpuClock.read()

    def circumstances(self) -> Circumstances:
        facts = self._facts | {"steal_share": host.CpuClock.read().steal_share_since(self._clock),
                               "load_average_at_end": os.getloadavg()[0]}
        warnings = [*self._warnings, *self.windows.repeated, *self.windows.missing]
        return Circumstances(facts, warnings, time.monotonic() - self._began_s)

    def conduct(self, measure: Callable[[], None], as_json: Callable[[Circumstances], dict[str, Any]],
                show: Callable[[Circumstances], None]) -> bool:
        """Measure, write, show; True when nothing is missing.

        What was measured before a failure or an interrupt is written (and after a failure shown), then the failure goes
        on. The report is shown even where it cannot be written.
        """
        try:
            measure()
        except Interrupted:
            self._save_what_there_is(as_json, "interrupted")
            raise
        except FAILURES as error:
            if self.windows.measured == 0:
                raise
            self._save_what_there_is(as_json, first_line(error))
            show(self.circumstances())
            raise
        self._finish(as_json, show)
        return not self.windows.missing

    def _finish(self, as_json: Callable[[Circumstances], dict[str, Any]],
                show: Callable[[Circumstances], None]) -> None:
        found = self.circumstances()
        try:
            path = results.write(self.output, self._name, as_json(found))
        except LabError:
            show(found)
            raise
        show(found)
        print(f"\nEvery round, and the facts of this machine: {path}")

    def _save_what_there_is(self, as_json: Callable[[Circumstances], dict[str, Any]], ended_by: str) -> None:
        """Whatever hinders it: the reason why the run ended is what has to be told."""
        if self.windows.measured == 0:
            return
        try:
            path = results.write(self.output, self._name, as_json(self.circumstances()) | {"ended_early": ended_by})
            tell(f"what was measured until then: {path}")
        except FAILURES as error:
            tell(f"what was measured is lost: {first_line(error)}")
