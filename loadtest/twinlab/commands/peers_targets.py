"""What the two servers are to reach beside the floor and the peers, and whether they do."""

from dataclasses import asdict, dataclass
from typing import Any, Mapping

from twinlab.base import interval
from twinlab.base.decide import Limits
from twinlab.base.interval import Estimate
from twinlab.base.judged import Judged
from twinlab.commands import peers_contenders
from twinlab.commands.peers_contenders import Contender
from twinlab.commands.summary import Summary
from twinlab.servers import packaged
from twinlab.servers.workloads import PeerWorkload

CPU, RATE, P99, PSS = "cpu_us_per_request", "requests_per_s", "p99_us", "pss_kib"
FIGURE_NAMES = {CPU: "CPU per request", RATE: "requests/s", P99: "p99", PSS: "PSS"}
BEST_PEER = "best peer"
SLEEP_LIMIT = f"{peers_contenders.SLEEPER_THREADS} threads / 5 ms"
SLEEP_LIMIT_PER_S = peers_contenders.SLEEPER_THREADS / 0.005
SPEED_WORKLOADS = ("plaintext", "file-1k", "file-1k-1000", "file-1m", "close", "pipeline", "file-100k", "log")
TWO = ("prefork", "threadpool")
PeersSummary = Summary[Contender, PeerWorkload]


@dataclass(frozen=True)
class Target:
    """One figure of one server on one workload, as a multiple of somebody else's."""

    workload: str
    server: str
    figure: str
    base: str
    limit: float

    @property
    def is_upper_limit(self) -> bool:
        """More is better for requests/s only."""
        return self.figure != RATE


@dataclass(frozen=True)
class Verdict(Judged):
    """A target and what was measured; base_key is who the base turned out to be, label the server's."""

    target: Target
    label: str
    base_key: str
    ratio: Estimate

    @property
    def measured(self) -> Estimate:
        return self.ratio

    @property
    def limits(self) -> Limits:
        limit = self.target.limit
        return Limits(at_most=limit) if self.target.is_upper_limit else Limits(at_least=limit)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"verdict": self.word}


def _targets() -> list[Target]:
    floor_limits = {"plaintext": 1.08, "file-1k": 1.10, "file-1k-1000": 1.10, "file-1m": 0.9}
    pss_limits = {"prefork": 1.5, "threadpool": 1.0}
    found = []
    for workload in SPEED_WORKLOADS:
        for server in TWO:
            if workload in floor_limits:
                found.append(Target(workload, server, CPU, peers_contenders.FLOOR, floor_limits[workload]))
            if workload in floor_limits or workload == "close":
                found.append(Target(workload, server, CPU, BEST_PEER, 1.0))
            if workload == "pipeline":
                found.append(Target(workload, server, RATE, peers_contenders.FLOOR, 0.8))
                found.append(Target(workload, server, RATE, "nginx", 6.0))
            found.append(Target(workload, server, P99, BEST_PEER, 1.0))
            found.append(Target(workload, server, PSS, "lighttpd", pss_limits[server]))
    found.append(Target("plaintext", "threadpool-all", RATE, "threadpool", 0.65))
    found.append(Target("sleep", peers_contenders.SLEEPERS, RATE, SLEEP_LIMIT, 0.97))
    return found


TARGETS = _targets()


def best_peer(summary: PeersSummary, workload: str, figure: str) -> str | None:
    """The peer with the best median; None when no peer took part."""
    medians = {key: value for key in packaged.PACKAGES
               if (value := summary.median(key, workload, figure)) is not None}
    if not medians:
        return None
    return (max if figure == RATE else min)(medians, key=lambda key: medians[key])


def ratio_to(summary: PeersSummary, workload: str, server: str, figure: str, base_key: str) -> Estimate | None:
    """A server's figure as a multiple of another's, paired by round."""
    own = summary.by_round(server, workload, figure)
    base: Mapping[int, float] = (dict.fromkeys(own, SLEEP_LIMIT_PER_S) if base_key == SLEEP_LIMIT
                                 else summary.by_round(base_key, workload, figure))
    return interval.by_round(own, base)


def judge(summary: PeersSummary) -> list[Verdict]:
    """Every target for which there are figures."""
    verdicts = []
    for target in TARGETS:
        base_key = (best_peer(summary, target.workload, target.figure) if target.base == BEST_PEER else target.base)
        found = base_key and ratio_to(summary, target.workload, target.server, target.figure, base_key)
        if base_key and found:
            verdicts.append(Verdict(target, summary.label(target.server), base_key, found))
    return verdicts
