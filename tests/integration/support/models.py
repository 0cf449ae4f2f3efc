"""The execution models under test: how each is started and what it then looks like."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    name: str
    binary: str
    options: tuple
    kind: str  # what /whoami calls it
    processes: int
    loops: int  # event loops in each process
    pool: int = 0  # pool threads in each process
    dispatch: str | None = None
    has_master: bool = True
    accepts_anywhere: bool = True  # any worker can take any new connection

    def __str__(self):
        return self.name

    @property
    def slots(self):
        return self.processes * (self.loops + self.pool)


def _prefork(name, kind, options, **facts):
    return Model(name, "prefork-server", ("--workers", "2", *options), kind, processes=2, **facts)


def _threadpool(name, options, **facts):
    options = ("--threads", "4", *options)
    return Model(name, "threadpool-server", options, "threadpool", processes=1, **facts)


_REQUEST = ("--dispatch", "request", "--loops", "2")

_ALL = [
    _prefork("prefork", "prefork", (), loops=1),
    _prefork("prefork-reuseport", "prefork", ("--accept", "reuseport"), loops=1,
             accepts_anywhere=False),
    _threadpool("threadpool-connection", (), loops=4, dispatch="connection"),
    _threadpool("threadpool-request-blocking", _REQUEST, loops=2, pool=4, dispatch="request"),
    _threadpool("threadpool-request-all", (*_REQUEST, "--offload", "all"), loops=2, pool=4,
                dispatch="request"),
    _prefork("hybrid", "hybrid", ("--threads", "2"), loops=2, dispatch="connection"),
    _prefork("hybrid-request", "hybrid",
             ("--threads", "2", "--dispatch", "request", "--loops", "1", "--offload", "all"),
             loops=1, pool=2, dispatch="request"),
    _threadpool("threadpool-bare", ("--bare",), loops=4, dispatch="connection", has_master=False),
]

BY_NAME = {model.name: model for model in _ALL}

_BUILD = os.environ.get("TWINHTTPD_PRESET", "dev")


def _by_build(names, **fewer):
    """Sanitizers make everything slow: with them, where the code that runs is much the same, only the
    models that differ most, other ones in each such build. The build dev proves the rest."""
    return fewer.get(_BUILD.partition("-")[0], names)


# Long protocol tables run on the models whose request paths differ.
PROTOCOL = ("prefork", "threadpool-connection", "threadpool-request-all", "hybrid")
WITH_MASTER = tuple(model.name for model in _ALL if model.has_master)
# A model of each kind, for what only the master sees and decides.
EACH_KIND = ("prefork", "threadpool-connection", "hybrid-request")
# What a master does: one process or several, with threads and without, with and without a queue.
SUPERVISED = _by_build(WITH_MASTER, asan=EACH_KIND,
                       tsan=("threadpool-request-blocking", "hybrid"))
# What takes seconds of load: the ways to accept, to a handler, and to a successor.
UNDER_LOAD = _by_build(
    ("prefork", "prefork-reuseport", "threadpool-connection", "threadpool-request-all", "hybrid"),
    asan=("prefork-reuseport", "hybrid"), tsan=("threadpool-request-all", "hybrid"))
# Where a free worker takes every new connection while another is busy.
ANY_WORKER_ACCEPTS = tuple(model.name for model in _ALL if model.accepts_anywhere)
# A model of each binary, for what happens before a worker runs.
ONE_OF_EACH_BINARY = ("prefork", "threadpool-connection")


def selected(names=None):
    """The models of these names (all without names) that TWINHTTPD_MODELS leaves in the run."""
    allowed = os.environ.get("TWINHTTPD_MODELS")
    allowed = set(allowed.split(",")) if allowed else set(BY_NAME)
    unknown = allowed - set(BY_NAME)
    if unknown:
        raise ValueError(f"TWINHTTPD_MODELS names unknown models: {', '.join(sorted(unknown))}")
    return [BY_NAME[name] for name in names or BY_NAME if name in allowed]
