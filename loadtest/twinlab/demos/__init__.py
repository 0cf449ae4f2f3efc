"""The demonstrations: what is better seen than measured, on the real servers. A new one is a new entry in DEMOS."""

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Protocol

from twinlab.base.observed import Fact
from twinlab.demos import (cache, canary, cluster, counter, deadlock, exec_, frames, heap, ids, isolation, layout,
                           recover, registers, resources, stack_overflow, states, threads, threads_share, tls, tree,
                           usage)
from twinlab.demos.stage import Stage
from twinlab.machine import scratch
from twinlab.servers import workloads


class Demo(Protocol):
    """What the module of a demonstration has."""

    @property
    def TITLE(self) -> str: ...

    @property
    def CLAIMS(self) -> tuple[int, ...]: ...

    @property
    def MEANING(self) -> str: ...

    def run(self, stage: Stage) -> list[Fact]:
        """Show it, and count what was seen."""


DEMOS: dict[str, Demo] = {
    # memory
    "layout": layout, "frames": frames, "stack-overflow": stack_overflow, "isolation": isolation,
    "threads-share": threads_share, "registers": registers, "tls": tls, "heap": heap, "cache": cache,
    # concurrency
    "counter": counter, "deadlock": deadlock, "threads": threads,
    # failure
    "recover": recover, "cluster": cluster, "canary": canary, "tree": tree,
    # life cycle and usage
    "ids": ids, "exec": exec_, "states": states, "resources": resources, "usage": usage,
}


@dataclass(frozen=True)
class Outcome:
    """What a demonstration has found, the evidence that it showed, and the fresh starts that it made for it."""

    facts: list[Fact]
    shown: list[str]
    starts: int


def run(name: str, bin_dir: Path, quick: bool, write: Callable[[str], None] = lambda text: None) -> Outcome:
    """Run one with servers of its own; each line that it shows goes to write, too."""
    with scratch.folder() as folder:
        stage = Stage(bin_dir, folder, workloads.make_documents(folder / "www"), quick, write)
        return Outcome(DEMOS[name].run(stage), stage.shown, stage.starts)
