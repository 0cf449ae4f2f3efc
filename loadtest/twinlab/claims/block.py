"""One block: one side of an experiment, measured once on a fresh server whose identity is checked first."""

import random
import selectors
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import mean
from typing import Any, Callable, Mapping, Sequence

from twinlab.base.errors import LabError
from twinlab.claims.evidence import FAILED, LABORATORY
from twinlab.claims.experiment import Side
from twinlab.clients import http, lab_prober, wrk
from twinlab.clients.kept import KeptConnection
from twinlab.machine import processes, procfs
from twinlab.runs import crash, identity, speed
from twinlab.runs.speed import Bench
from twinlab.servers import books
from twinlab.servers.server import Server
from twinlab.servers.workloads import Workload

READY_DEADLINE_S = 20.0
POLL_S = 0.01
# A slot is kept busy for so long, and whoever is not answered within the shorter time waits for it.
HANG_MS = 1500
PATIENCE_S = 0.6
NEW_CONNECTIONS = 8
NEARLY_ALL = 0.9


class Mislabelled(LabError):
    """The server that runs is not the one that the side names: nothing that it does may be counted."""


@dataclass
class Block:
    """What a block gave. void: why it must not be counted, and cause which kind of reason that is.

    What a server did wrong (IDENTITY, FAILED) is told from what the machine or the laboratory did (STEAL, LABORATORY):
    only the latter can be blamed on bad luck.

    mismatch: requests on which clients and journal disagree. Above zero: the journal counts more lost than the clients
    saw; below: requests went astray that the journal does not know of.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    void: str = ""
    mismatch: int = 0
    cause: str = ""


def measure(bench: Bench, side: Side, rng: random.Random) -> Block:
    """Start the side's server, check that it is what the side says, and do to it what the side says."""
    kinds: dict[str, Callable[[Bench, Side, random.Random], Block]] = {
        "load": _load, "rate": _rate, "memory": _memory, "crash": _crash, "hung": _hung}
    return kinds[side.block](bench, side, rng)


def _start(bench: Bench, side: Side) -> Server:
    server = Server(side.start, bench.bin_dir, bench.root, bench.scratch, ("--on-death", side.on_death))
    server.cpus = bench.server_cpus
    return server


def verify(server: Server, side: Side) -> None:
    """Compare with the side what the server says of itself (model, dispatch, processes, slots) and what the kernel says:
    a process whose connections are to be adopted has a keeper. Waits until all are ready."""
    deadline_s = time.monotonic() + READY_DEADLINE_S
    while True:
        status = server.status()
        found, expected = (*shape_of(status), keepers_of(server)), expected_shape(side)
        if found == expected:
            return
        if found[:2] != expected[:2] or time.monotonic() > deadline_s:
            raise Mislabelled(f"the server that should be {side.name} ({_words(expected)}) says that it is "
                              f"{_words(found)}")
        time.sleep(POLL_S)


Shape = tuple[str, str, int, int, int, int]  # model, dispatch, processes, event loops, pool threads, keepers


def keepers_of(server: Server) -> int:
    """How many processes keep the descriptors of another one."""
    return sum(procfs.status(pid).get("Name") == "keeper" for pid in server.pids())


def shape_of(status: dict[str, Any]) -> tuple[str, str, int, int, int]:
    """What a server says of itself; only what is ready counts."""
    ready = [worker for worker in status["workers"] if worker["state"] == "ready"]
    roles = [worker["role"] for worker in ready]
    return (status["model"], status["dispatch"] or "connection", len({worker["pid"] for worker in ready}),
            roles.count("loop"), roles.count("pool"))


def expected_shape(side: Side) -> Shape:
    """What a server of this side has to be."""
    shape = {
        "prefork": ("prefork", "connection", side.workers, side.workers, 0),
        "threadpool": ("threadpool", "connection", 1, side.threads, 0),
        "threadpool-request": ("threadpool", "request", 1, side.loops, side.threads),
        "hybrid": ("hybrid", "connection", side.workers, side.workers * side.threads, 0),
    }[side.model]
    return (*shape, shape[2] if side.on_death == "adopt" else 0)


def _words(shape: Shape) -> str:
    model, dispatch, count, loops, pool, keepers = shape
    return (f"{model}, {dispatch} dispatch, {count} processes, {loops} loops, {pool} pool threads, "
            f"{keepers or 'no'} keepers")


def _load(bench: Bench, side: Side, _rng: random.Random) -> Block:
    """A timed window under wrk, with the memory read before it and the switches counted around it."""
    workload = Workload(side.name, side.name, side.path)
    with _start(bench, side) as server, ExitStack() as others:
        server.check(side.path)
        verify(server, side)
        second = beside(bench, side, server, others)
        pss_kib, before = _warm_up(bench, side, server, second)
        switches_before = processes.switches(server.pids())
        timed = speed.measure_at_once(bench, server, workload)
        switched = processes.switches(timed.pids).since(switches_before)
        others.close()
        status = server.settled_status()
    result = timed.result
    block = Block({"requests_per_s": result.requests_per_s})
    if result.answered:
        block.metrics |= {
            "p50_us": result.p50_us, "p99_us": result.p99_us,
            "cpu_us_per_request": timed.cpu_us / result.answered,
            "voluntary_per_request": switched.voluntary / result.answered,
            "involuntary_per_request": switched.involuntary / result.answered,
            "mostly_voluntary": float(switched.voluntary > switched.involuntary),
            "some_involuntary": float(switched.involuntary > 0),
        }
    if pss_kib:
        block.metrics["pss_kib"] = pss_kib
    void_if_failed(block, "wrk", result.errors, result.answered, deaths_of(status))
    finished_before = books.Books.of(before).finished
    block.mismatch = (identity.check(status, result).difference or -books.unexplained(before)
                      or -books.unexplained(status, finished_before + result.requests))
    return block


def _warm_up(bench: Bench, side: Side, server: Server, second: wrk.Wrk | None) -> tuple[int | None, dict[str, Any]]:
    """Load outside the timed window: the memory then, since reading it holds the server up, and a settled account.

    wrk is halted for the latter, not ended: an ending load cuts requests, and would cover those that were swallowed.
    What is left in queues would delay the window's first requests, too.
    """
    with wrk.Wrk(server.port, side.path, bench.connections, bench.warmup_s, cpus=bench.wrk_cpus) as load:
        time.sleep(bench.warmup_s)
        pss_kib = server.pss_kib()
        return pss_kib, _settled_while_halted(server, [load] + ([second] if second else []))


def _settled_while_halted(server: Server, loads: Sequence[wrk.Wrk]) -> dict[str, Any]:
    with ExitStack() as halted:
        for load in loads:
            halted.enter_context(load.halted())
        status = server.settled_status()
    return status


def deaths_of(status: Mapping[str, Any]) -> int:
    return int(status["totals"]["deaths"])


def void_if_failed(block: Block, client: str, failures: Mapping[str, int], answered: int, deaths: int) -> None:
    """Failed requests are no performance, and what a server does that loses a process is not that of one at work."""
    reasons = [f"{count} {kind}" for kind, count in failures.items() if count]
    said = [f"{client}: failed requests by kind: {', '.join(reasons)}"] if reasons else []
    if deaths:
        said.append(f"server: {deaths} {'process' if deaths == 1 else 'processes'} died")
    if not answered:
        said.append("nothing was answered")
    if said:
        block.void, block.cause = "; ".join(said), FAILED


def beside(bench: Bench, side: Side, server: Server, stack: ExitStack) -> wrk.Wrk | None:
    """The second load, until the stack is closed."""
    if not side.beside_path:
        return None
    return stack.enter_context(wrk.Wrk(server.port, side.beside_path, side.beside_connections, side.planned_s,
                                       cpus=bench.wrk_cpus))


def _rate(bench: Bench, side: Side, _rng: random.Random) -> Block:
    """The same offered rate for every side: latency counts from when a request was due, whoever was late."""
    plan = lab_prober.Plan(side.rate_per_s, side.path, side.connections, side.duration_s, side.warmup_s)
    with _start(bench, side) as server, ExitStack() as others:
        server.check(side.path)
        verify(server, side)
        second = beside(bench, side, server, others)
        with lab_prober.OpenLoop(bench.bin_dir, server.port, plan, bench.wrk_cpus) as probing:
            result = probing.wait()
        status = _settled_while_halted(server, [second] if second else [])
    return rate_block(result, status)


def rate_block(result: lab_prober.Result, status: Mapping[str, Any]) -> Block:
    """The latency is that of all requests: without the failed ones, a server would gain by failing the slow ones."""
    block = Block(mismatch=(identity.check(status, probed=[result]).difference
                            or -books.unexplained(status, result.answered)))
    latency = result.latency_with_failures
    figures = {"p50_us": latency.p50_us, "p90_us": latency.p90_us, "p99_us": latency.p99_us,
               "requests_per_s": result.latency.count / result.measured_s}
    known = {key: value for key, value in figures.items() if value is not None}
    if len(known) == len(figures):
        block.metrics = known
    if result.late:
        block.void, block.cause = "the prober itself could not keep its schedule", LABORATORY
    void_if_failed(block, "prober", result.failures, result.answered, deaths_of(status))
    return block


def _memory(bench: Bench, side: Side, _rng: random.Random) -> Block:
    """Memory while all workers serve; reading it disturbs, so nothing is timed."""
    with _start(bench, side) as server:
        server.check(side.path)
        verify(server, side)
        with wrk.Wrk(server.port, side.path, side.connections, side.warmup_s, cpus=bench.wrk_cpus):
            time.sleep(side.warmup_s)
            used = server.memory()
    if not used.pss:
        return Block(void="the memory of the server's processes could not be read", cause=LABORATORY)
    return Block({"pss_kib": used.pss, "uss_kib": used.uss, "rss_sum_kib": used.rss,
                  "page_tables_kib": used.page_tables, "rss_sum_over_pss": used.rss / used.pss})


def _crash(bench: Bench, side: Side, rng: random.Random) -> Block:
    """A process dies once a second; what each death cost, by the server's journal, held against wrk's errors."""
    return crash_block(crash.run(bench, side.start, crash.Breakage(side.fault, side.on_death), side.crashes, rng,
                                 inspect=lambda server: verify(server, side)))


def crash_block(found: crash.CrashRound) -> Block:
    """A sibling that dies too, and a recovery that fails, are what was asked for: they count, and void nothing.

    A server that a crash has silenced tells no account that could be held against the clients'.
    """
    block = Block({"recovered": float(all(each.recovered for each in found.crashes)),
                   "none_lost": float(found.books_known and not found.balance.wrk_cut
                                      and not any(each.lost for each in found.crashes))},
                  mismatch=found.balance.mismatch if found.books_known else 0)
    lost = [each.lost for each in found.crashes if each.lost is not None]
    if lost:
        shares = [each / found.connections for each in lost]
        block.metrics |= {"lost_per_crash": mean(lost), "lost_share": mean(shares),
                          "all_lost": float(min(shares) >= NEARLY_ALL)}
    survived = others_survive(found)
    if survived is not None:
        block.metrics["others_survive"] = float(survived)
    for name in ("recovery_ms", "silence_ms"):
        values = [getattr(each, name) for each in found.crashes]
        if block.metrics["recovered"] and None not in values:
            block.metrics[name] = mean(values)
    return block


def others_survive(found: crash.CrashRound) -> bool | None:
    """Did only the connections of the processes that were killed suffer? None: no other process had any.

    No crash may cost more requests than the dead process had connections open just before, plus one: a connection may
    be accepted between the two. The journal books losses by the dead process's own slots, so the account of the clients
    has to stay within the same bound: it knows no slots, and has every connection that was cut.
    """
    if found.unexpected_deaths > 0 or not found.books_known:
        return False
    costs = [(each.lost, each.victim_connections) for each in found.crashes
             if each.lost is not None and each.victim_connections is not None]
    if not any(held < found.connections for _, held in costs):
        return None
    return (all(lost <= held + 1 for lost, held in costs)
            and found.balance.wrk_cut <= sum(held + 1 for _, held in costs))


def _hung(bench: Bench, side: Side, _rng: random.Random) -> Block:
    """Some slots are kept busy; who is answered meanwhile, among connections that are open and new ones?"""
    with _start(bench, side) as server, ExitStack() as stack:
        server.check(side.path)
        verify(server, side)
        kept = [stack.enter_context(KeptConnection(server.port)) for _ in range(side.connections)]
        try:
            owners = {connection: connection.ask("/whoami", READY_DEADLINE_S).json()["slot"] for connection in kept}
        except (OSError, http.RequestLost) as error:
            return Block(void=f"a connection was not answered before anything hung: {error}", cause=FAILED)
        holders = {worker: connection for connection, worker in owners.items()}
        if len(holders) < side.hung:
            return Block(void=f"the connections lie on {len(holders)} slots only", cause=LABORATORY)
        hung = dict(sorted(holders.items())[:side.hung])
        for connection in hung.values():
            connection.send(f"/sleep?ms={HANG_MS}")
        time.sleep(0.05)  # an answer that comes before the hang would count as one during it
        waiting = [connection for connection in kept if connection not in hung.values()]
        waiting += [stack.enter_context(KeptConnection(server.port)) for _ in range(NEW_CONNECTIONS)]
        answered = _answered(waiting, side.path)
    return Block(hung_metrics(owners, set(hung), waiting, answered))


def _answered(connections: list[KeptConnection], path: str) -> set[KeptConnection]:
    """Ask on all at once; those that are answered before patience ends."""
    found: set[KeptConnection] = set()
    deadline_s = time.monotonic() + PATIENCE_S
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            connection.send(path)
            selector.register(connection, selectors.EVENT_READ, connection)
        while len(found) < len(connections) and (left_s := deadline_s - time.monotonic()) > 0:
            for key, _ in selector.select(left_s):
                found.add(key.data)
                selector.unregister(key.data)
    return found


def hung_metrics(owners: dict[Any, int], hung: set[int], waiting: list[Any], answered: set[Any]) -> dict[str, float]:
    """Apart: connections of hung slots, of the other slots, and new ones."""
    own = [each for each in waiting if owners.get(each) in hung]
    others = [each for each in waiting if each in owners and owners[each] not in hung]
    new = [each for each in waiting if each not in owners]
    metrics = {"answered_share": len(answered) / len(waiting), "nobody_answers": float(not answered)}
    if own:
        metrics["own_share_waits"] = float(not any(each in answered for each in own))
    if others:
        metrics["others_answer"] = float(all(each in answered for each in others))
    if new:
        metrics["new_answered_share"] = sum(each in answered for each in new) / len(new)
    return metrics
