"""A cache without a limit, a cache of the 500 that were used last, and how many caches there are."""

import http.client

from twinlab.base.errors import LabError
from twinlab.base.observed import Fact
from twinlab.demos.lines import Line, to_every
from twinlab.demos.stage import Stage, full_strength, next_death, worker_pids
from twinlab.demos.tally import StartTally
from twinlab.machine import processes
from twinlab.servers import memory_limit
from twinlab.servers.server import Server

TITLE = "a cache that only grows, and one that forgets"
CLAIMS = (17,)
MEANING = ("Without a limit a cache takes all the memory there is, and then its server goes; 500 entries are a "
           "plateau. Worker processes have a cache each: as many times the memory and the misses. When memory runs "
           "out, the kernel kills a process: one worker of many, or the pool with all its threads.")

ENTRY_KIB = 16
ROUND_KEYS = 1000
ROUNDS = 4
LIMIT_BYTES = 64 << 20
NO_LIMIT = "no memory cgroup can be made here (it takes root, and a version 1 or delegated version 2 hierarchy)"


def run(stage: Stage) -> list[Fact]:
    return [*_growth(stage), *_misses(stage), *_limited(stage)]


def _growth(stage: Stage) -> list[Fact]:
    grows = stage.tally("unbounded-cache-grows",
                        f"without a limit, each round of {ROUND_KEYS} new keys makes the process larger by what they "
                        "need")
    plateau = stage.tally("lru-reaches-a-plateau",
                          "with a limit of 500 entries, it does not grow any more from the second round on")
    needed_kib = ROUND_KEYS * ENTRY_KIB
    for key in stage.repeated("prefork", "threadpool", at_most=5):
        for mode, tally in (("none", grows), ("lru", plateau)):
            with stage.start(key) as server, to_every(server) as lines:
                sizes = _sizes_kib(lines[0], mode)
                growths_kib = [after - before for before, after in zip(sizes, sizes[1:])]
                if mode == "none":
                    _note_all(tally, [growth > needed_kib * 0.9 for growth in growths_kib])
                else:
                    _note_all(tally, [growth < needed_kib * 0.1 for growth in growths_kib[1:]])
                stage.say(f"{key}, {mode}: Pss of the process after each {ROUND_KEYS} keys of {ENTRY_KIB} KiB: "
                          + ", ".join(f"{size:,} KiB" for size in sizes))
    return [grows.fact(), plateau.fact()]


def _note_all(tally: StartTally, cases: list[bool]) -> None:
    for case in cases:
        tally.note(case)


def _sizes_kib(line: Line, mode: str) -> list[int]:
    sizes = [processes.pss_kib([line.pid]) or 0]
    for number in range(ROUNDS):
        line.ask(f"/lab/cache?mode={mode}&key={number * ROUND_KEYS}&count={ROUND_KEYS}")
        sizes.append(processes.pss_kib([line.pid]) or 0)
    return sizes


def _misses(stage: Stage) -> list[Fact]:
    each = stage.tally("prefork-misses-once-per-worker",
                       "every worker process misses a key that its siblings have in their caches")
    once = stage.tally("threadpool-misses-once", "in a thread pool only the first thread misses it")
    for key in stage.repeated("prefork", "threadpool"):
        with stage.start(key) as server, to_every(server) as lines:
            misses = sum(_missed(line) for line in lines)
            if key == "prefork":
                each.note(misses == len(lines))
            else:
                once.note(misses == 1)
            stage.say(f"{key}: the same key asked of each of {len(lines)} workers: {misses} misses")
    return [each.fact(), once.fact()]


def _missed(line: Line) -> int:
    before = line.ask("/lab/cache?count=0")["misses"]
    return line.ask("/lab/cache?key=1")["misses"] - before


def _limited(stage: Stage) -> list[Fact]:
    mib = LIMIT_BYTES >> 20
    dies = stage.tally("memory-limit-kills-the-unbounded",
                       f"within {mib} MiB for the whole server, the cache without a limit has a process killed "
                       "(SIGKILL, by the kernel)")
    lives = stage.tally("memory-limit-spares-the-lru",
                        "within the same limit, the same requests to a cache of 500 entries kill nobody")
    one = stage.tally("out-of-memory-costs-prefork-one-worker",
                      "prefork then loses one worker process, and the others live on")
    everyone = stage.tally("out-of-memory-costs-threadpool-all-threads", "the thread pool then loses all its threads")
    for key in stage.repeated("prefork", "threadpool", at_most=5):
        for mode in ("lru", "none"):
            with memory_limit.group(LIMIT_BYTES) as group:
                if group is None:
                    return [tally.fact(without=NO_LIMIT) for tally in (dies, lives, one, everyone)]
                with stage.start(key) as server:
                    memory_limit.add(group, server.pids())
                    before = set(worker_pids(server))
                    _fill(server, mode)
                    if mode == "lru":
                        lives.note(not server.status()["deaths"])
                        continue
                    victim = next_death(server, set())
                    after = set(full_strength(server, victim))
                    signal_name = server.status()["deaths"][0]["signal"]
                    dies.note(signal_name == "SIGKILL")
                    if key == "prefork":
                        one.note(before - after == {victim})
                    else:
                        everyone.note(before.isdisjoint(after))
                    stage.say(f"{key}, {mib} MiB: pid {victim} was killed by {signal_name}; "
                              f"{len(before & after)} of {len(before)} processes live on")
    return [dies.fact(), lives.fact(), one.fact(), everyone.fact()]


def _fill(server: Server, mode: str) -> None:
    """Ask one worker for ever more keys, until that has taken twice the limit or killed it."""
    with to_every(server) as lines:
        for number in range(2 * LIMIT_BYTES // (ROUND_KEYS * ENTRY_KIB * 1024)):
            try:
                lines[0].ask(f"/lab/cache?mode={mode}&key={number * ROUND_KEYS}&count={ROUND_KEYS}")
            except (OSError, LabError, http.client.HTTPException):
                return
