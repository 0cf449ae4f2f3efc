"""The programs of claims: each prints one JSON object of the agreed form, and what holds on every machine holds."""

import json
import os
import subprocess
import time
from functools import lru_cache
from pathlib import Path
from statistics import median

import pytest
from patience import DEADLINE_S
from twinlab.machine import processes

BIN_DIR = Path(os.environ.get("TWINHTTPD_BIN_DIR", Path(__file__).resolve().parents[2] / "build" / "dev" / "bin"))
QUICK_PAIRS = 5
CHANNELS = {"pipe", "socketpair", "mqueue", "tcp", "ring", "semaphore", "condition", "mapped-tmpfs", "mapped-disk",
            "file", "thread"}
CREATION = {"process", "thread", "vfork", "fork-exec", "spawn"}
SERVICE = {"pool-thread", "pool-process", "thread-per-request", "fork-per-request"}
SWITCH = {"process", "thread", "self"}
REREAD = {"after-process-switch", "after-thread-switch", "without-switch", "after-flush"}
GROWTH_GAMES = 5 * (QUICK_PAIRS + 1)  # of four variants and the control, and one of each unrecorded
SCALING = {"threads-1", "threads-2", "threads-4", "threads-8", "processes-2"}

# What the engine of the claims relies on: keys, units and variants; each series has a control besides.
SERIES = {
    "create": {**{f"touched-{kib}-kib": ("us", CREATION) for kib in (0, 1024, 16384, 102400)},
               **{key: ("us", SERVICE) for key in ("request", "request-touched-16384-kib")}},
    "switch": {**{f"pages-{pages}": ("ns", SWITCH) for pages in (0, 4, 64, 256, 1024)},
               "growth": ("ns", {f"{who}-{pages}-pages" for who in ("process", "thread") for pages in (0, 1024)}),
               **{key: ("ns", REREAD) for key in ("reread-256-kib", "reread-256-kib-busy-partner")}},
    "ipc": {**{f"latency-{size}": ("ns", CHANNELS) for size in ("1-kib", "64-kib", "1-mib")},
            **{key: ("ns", CHANNELS | {"signal"}) for key in ("latency-8-b", "latency-8-b-two-cpus")},
            **{f"throughput-{size}": ("MB/s", CHANNELS) for size in ("64-kib", "1-mib")},
            **{f"cpu-{size}": ("us/MB", CHANNELS) for size in ("64-kib", "1-mib")}},
    "alloc": {"small-64-b": ("ns", {"stack", "heap"}), "large-1-mib": ("ns", {"stack", "heap", "heap-mmap"}),
              "searched-2-kib": ("ns", {"tcache", "bins"}), "grow-to-1-mib": ("ns", {"once", "realloc"})},
    "sync": {"uncontended": ("ns", {"none", "atomic", "mutex", "semaphore", "process-shared-mutex", "robust-mutex"}),
             **{f"{lock}-4-workers": ("ns", {"thread", "process"}) for lock in ("atomic", "mutex", "semaphore")},
             **{f"lock-occupancy-{percent}": ("1/ms", SCALING) for percent in (0, 10, 50, 90)}},
    "race": {}, "deadlock": {}, "states": {},
}

# Always so, whatever the machine and its load.
CERTAIN_FACTS = {
    "create": (),
    "switch": (),
    "ipc": ("pipe-is-one-way", "socketpair-is-two-way", "shared-memory-needs-a-size", "named-shared-memory-works",
            "stale-name-stays", "mapped-file-is-written-to-disk", "tmpfs-is-not-written-to-disk"),
    "alloc": ("stack-overflow-kills", "malloc-beyond-ram-succeeds", "heap-grows-at-run-time",
              "large-block-returns-to-system", "small-blocks-are-kept", "trim-returns-memory", "fragments-keep-memory",
              "leak-grows", "freeing-does-not-grow"),
    "sync": (*(f"{lock}-exact-{who}" for lock in ("atomic", "mutex", "semaphore") for who in ("threads", "processes")),
             "robust-mutex-names-dead-owner", "plain-mutex-hangs-after-dead-owner", "semaphore-hangs-after-dead-owner",
             "futex-wakes-other-process"),
    "race": ("private-counter-unchanged", "unlocked-private-counter-exact-threads",
             "unlocked-private-counter-exact-processes", "single-owner-exact-threads", "single-owner-exact-processes"),
    "deadlock": ("threads-stop", "processes-stop", "threads-cpu-stands-still", "processes-cpu-stands-still",
                 "threads-wait-in-futex", "processes-wait-in-futex", "same-order-never-stops", "timeout-gets-out",
                 "killing-one-frees-the-other-if-robust"),
    "states": ("ready-is-R", "sleeping-is-S", "vfork-parent-is-D", "stopped-is-T", "zombie-is-Z",
               "zombie-has-no-memory", "zombie-keeps-its-pid", "zombie-keeps-its-exit-status", "orphan-is-adopted",
               "orphan-is-adopted-by-subreaper", "orphan-keeps-serving", "pdeathsig-ends-orphan"),
}
# How often they are observed depends on the machine.
OPEN_FACTS = {"switch": ("two-switches-per-round-trip",), "ipc": ("sleep-is-no-synchronisation",),
              "race": ("unlocked-threads-lose", "unlocked-processes-lose", "naive-start-exact",
                       "naive-start-hides-the-race", "naive-start-folded-exact")}


# A program runs once for all tests that look at what it prints, so one process of pytest-xdist has them all.


def of_program(name):
    return pytest.mark.xdist_group(f"micro-{name}")


EACH_PROGRAM = pytest.mark.parametrize("program", [pytest.param(name, marks=of_program(name)) for name in SERIES])


def run(program, *options):
    return subprocess.run([str(BIN_DIR / f"micro-{program}"), *options], capture_output=True, text=True,
                          timeout=DEADLINE_S)


def is_left_alone(session):
    """Whether all processes of a session end soon."""
    deadline_s = time.monotonic() + DEADLINE_S
    while processes.session_members(session) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return not processes.session_members(session)


@lru_cache(maxsize=None)
def quick(program):
    """What the program prints when quick: one JSON object on one line, nothing on standard error, no process left."""
    child = subprocess.Popen([str(BIN_DIR / f"micro-{program}"), "--quick"], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        output, errors = child.communicate(timeout=DEADLINE_S)
        assert (child.returncode, errors) == (0, "")
        assert is_left_alone(child.pid), "something outlived the program"
    finally:
        processes.kill_session(child.pid)
        child.wait()
    assert output.count("\n") == 1
    return json.loads(output)


@EACH_PROGRAM
def test_series(program):
    result = quick(program)
    assert result["micro"] == program
    assert {series["key"]: series["unit"] for series in result.get("series", [])} == {
        key: unit for key, (unit, _) in SERIES[program].items()}
    for series in result.get("series", []):
        if "unavailable" in series:
            assert series["unavailable"] and "runs" not in series
            continue
        _, variants = SERIES[program][series["key"]]
        missing = series.get("unavailable_variants", {})
        assert set(series["runs"]) == (variants | {"control"}) - set(missing)
        assert set(missing) < variants and all(missing.values())
        for values in series["runs"].values():
            assert len(values) == QUICK_PAIRS and all(value > 0 for value in values)


@EACH_PROGRAM
def test_facts(program):
    facts = {fact["key"]: fact for fact in quick(program).get("facts", [])}
    assert set(facts) == {*CERTAIN_FACTS[program], *OPEN_FACTS.get(program, ())}
    for fact in facts.values():
        assert fact["statement"]
        if "unavailable" in fact:
            assert fact["unavailable"] and "observed" not in fact
        else:
            assert 0 <= fact["observed"] <= fact["of"] and fact["of"] >= 3
    not_so = [fact for key in CERTAIN_FACTS[program] for fact in (facts[key],)
              if "unavailable" not in fact and fact["observed"] != fact["of"]]
    assert not_so == []


@of_program("race")
def test_unlocked_increments_get_lost():
    facts = {fact["key"]: fact for fact in quick("race")["facts"]}
    assert facts["unlocked-threads-lose"]["observed"] > 0
    assert facts["unlocked-processes-lose"]["observed"] > 0


@of_program("race")
def test_naive_starts_are_counted_one_by_one():
    """A sum that is exact now and then, not one verdict: each start counts, and each row of them."""
    facts = {fact["key"]: fact for fact in quick("race")["facts"]}
    each, rows = facts["naive-start-exact"], facts["naive-start-hides-the-race"]
    assert (each["of"], rows["of"]) == (50 * QUICK_PAIRS, QUICK_PAIRS)
    assert rows["observed"] <= each["observed"] <= 50 * rows["observed"]


def medians(series):
    return {variant: median(values) for variant, values in series["runs"].items()}


def series_of(program, key):
    [series] = [series for series in quick(program)["series"] if series["key"] == key]
    return series


def switch_is_part_of_its_turn():
    growth, turns = (medians(json.loads(run("switch", "--quick", "--series", key).stdout)["series"][0])
                     for key in ("growth", "pages-1024"))
    return all(growth[f"{who}-1024-pages"] < 0.8 * turns[who] for who in ("process", "thread"))


@of_program("switch")
def test_growth_is_of_the_switch_alone():
    """About half of a turn with 1024 touched pages; the machine may be busy in one of the two, and not each time."""
    parameters = series_of("switch", "growth")["parameters"]
    assert parameters["least_ns"] == 1 and 0 <= parameters["games_at_least_ns"] <= GROWTH_GAMES
    assert any(switch_is_part_of_its_turn() for _ in range(5))


@of_program("create")
def test_a_pool_answers_sooner_than_a_new_thread_or_process():
    request = medians(series_of("create", "request"))
    assert request["pool-thread"] < request["thread-per-request"] < request["fork-per-request"]


@of_program("alloc")
def test_a_cached_block_comes_sooner_than_a_searched_one():
    """glibc's cache of a thread ends at blocks of 1032 bytes: a larger one would be searched for as well."""
    searched = medians(series_of("alloc", "searched-2-kib"))
    assert series_of("alloc", "searched-2-kib")["parameters"]["cached_bytes"] <= 1032
    assert searched["tcache"] * 2 < searched["bins"]


def test_a_named_number_of_pairs():
    result = json.loads(run("create", "--quick", "--repetitions", "2").stdout)
    assert {len(values) for series in result["series"] for values in series["runs"].values()} == {2}


def test_one_series_alone():
    result = json.loads(run("ipc", "--quick", "--repetitions", "1", "--series", "latency-8-b").stdout)
    assert [series["key"] for series in result["series"]] == ["latency-8-b"] and "facts" not in result


def test_what_cannot_be_had_is_named():
    done = subprocess.run([str(BIN_DIR / "micro-ipc"), "--quick", "--repetitions", "1"], capture_output=True, text=True,
                          timeout=DEADLINE_S, env={**os.environ, "TMPDIR": "/nonexistent"})
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    for series in result["series"]:
        if "runs" in series:
            assert set(series["unavailable_variants"]) >= {"mapped-disk", "file"}
            assert not set(series["runs"]) & {"mapped-disk", "file"}
    [fact] = [fact for fact in result["facts"] if fact["key"] == "mapped-file-is-written-to-disk"]
    assert fact["unavailable"] and "observed" not in fact


@pytest.mark.parametrize("options", [("--repetitions", "0"), ("--repetitions", "x"), ("--repetitions",), ("--unknown",),
                                     ("extra",), ("--series", "nonsense")])
def test_mistakes_are_one_line(options):
    done = run("states", *options)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("micro-states: ") and done.stderr.count("\n") == 1
