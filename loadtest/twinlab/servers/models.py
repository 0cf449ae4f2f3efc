"""The process models that are compared, each with the same number of slots: requests that can run at one time."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    """One way to run the servers."""

    key: str
    label: str
    binary: str
    options: tuple[str, ...]
    shape: str

    def command(self, bin_dir: str, extra: list[str]) -> list[str]:
        return [os.path.join(bin_dir, self.binary), *self.options, *extra]


KEYS = ("prefork", "threadpool", "threadpool-request", "hybrid")


def default_slots(cpus: int) -> int:
    """Two for each CPU, so that a blocked slot does not idle a CPU; even, so that the hybrid can split them in two."""
    return max(4, 2 * cpus)


def make(slots: int, cpus: int) -> dict[str, Model]:
    """All models with equal slots. Request dispatch hands over only what blocks, and needs loops beside its pool."""
    loops = max(2, cpus)
    models = (
        Model("prefork", "prefork", "prefork-server", ("--workers", str(slots)),
              f"{slots} worker processes"),
        Model("threadpool", "threadpool", "threadpool-server",
              ("--threads", str(slots), "--dispatch", "connection"),
              f"one process, {slots} threads, a connection belongs to one thread"),
        Model("threadpool-request", "threadpool request", "threadpool-server",
              ("--threads", str(slots), "--dispatch", "request", "--loops", str(loops), "--offload", "blocking"),
              f"one process, {loops} loops answer what is quick, {slots} pool threads take /cpu and /sleep"),
        Model("hybrid", "hybrid", "prefork-server", ("--workers", "2", "--threads", str(slots // 2)),
              f"2 worker processes of {slots // 2} threads each"),
    )
    return {model.key: model for model in models}


def choose(keys: list[str], cpus: int) -> list[Model]:
    """These models, in this order, with the slots that suit so many CPUs."""
    made = make(default_slots(cpus), cpus)
    return [made[key] for key in keys]
