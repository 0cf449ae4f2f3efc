"""Every demonstration runs, leaves nothing behind, and finds what must be so on any machine."""

import os
from pathlib import Path

import pytest
from twinlab import demos
from twinlab.base.observed import Fact
from twinlab.demos import stage as stages
from twinlab.demos.stage import Stage
from twinlab.machine import processes

pytestmark = pytest.mark.serial  # it measures

REPOSITORY = Path(__file__).resolve().parents[2]
BIN_DIR = Path(os.environ.get("TWINHTTPD_BIN_DIR", REPOSITORY / "build" / "dev" / "bin"))
CLAIMS_TO_SHOW = {*range(1, 8), *range(9, 18), 19, 39, 40, 43, 46, *range(49, 59), 60}
# Up to chance, to the number of CPUs, to the C library's allocator, to whether init reaps, or to what else is running.
MAY_DIFFER = {"balance-is-uneven", "unlocked-threads-lose", "unlocked-shared-memory-loses", "freed-memory-returns",
              "fragments-keep-memory", "frame-is-reused", "top-of-user-addresses-is-stack", "orphan-ends-normally",
              "process-of-this-machine-has-several-threads"}
# Up to the kernel's settings, to rights, and to the processor.
MAY_BE_UNAVAILABLE = {"debugger-may-write-code", "addresses-differ-between-starts", "process-vm-readv-reads-sibling",
                      "unoptimised-keeps-parameters-and-frame-pointer-on-stack", "optimised-keeps-them-in-registers",
                      "stack-pointer-of-its-own", "program-counter-of-its-own", "restored-after-switches",
                      "memory-limit-kills-the-unbounded", "memory-limit-spares-the-lru",
                      "out-of-memory-costs-prefork-one-worker", "out-of-memory-costs-threadpool-all-threads",
                      "stuck-worker-uses-no-cpu", "stuck-worker-waits-in-futex", "cpu-time-belongs-to-threads",
                      "process-does-not-write-sibling-stack", "process-of-this-machine-has-several-threads"}
# Their cases are processes that the laboratory has not started.
OF_OTHERS = {"process-of-this-machine-has-several-threads"}


@pytest.fixture
def stage(tmp_path):
    return Stage(BIN_DIR, tmp_path, tmp_path, quick=True)


@pytest.mark.parametrize("name", demos.DEMOS)
def test_demo(name):
    shown = []
    outcome = demos.run(name, BIN_DIR, quick=True, write=shown.append)
    assert processes.stop_all() == [], "nothing is left"
    assert shown and outcome.shown == shown
    keys = [fact.key for fact in outcome.facts]
    assert len(set(keys)) == len(keys)
    for fact in outcome.facts:
        assert fact.is_available or fact.key in MAY_BE_UNAVAILABLE, fact
        assert fact.is_available or fact.detail, "a reason why it cannot be observed"
        assert fact.holds or not fact.is_available or fact.key in MAY_DIFFER, f"{fact}\n" + "\n".join(shown)
        assert not fact.is_available or fact.of >= 3, f"{fact.key}: too few cases to mean anything"
        assert fact.of <= outcome.starts or fact.key in OF_OTHERS, f"{fact.key}: more cases than starts"


def test_every_claim_that_is_seen_has_a_demonstration():
    assert {claim for demo in demos.DEMOS.values() for claim in demo.CLAIMS} == CLAIMS_TO_SHOW


def test_every_demonstration_says_what_it_means():
    for name, demo in demos.DEMOS.items():
        assert demo.TITLE and demo.MEANING.endswith("."), name


class Told:
    """A server with two places, one or two threads in each, that tells one account after the other."""

    def __init__(self, *accounts):
        self._accounts = iter(accounts)

    def status(self):
        processes, threads = next(self._accounts)
        return {"processes_wanted": 2, "processes": [{"pid": pid, "state": state} for pid, state in processes],
                "workers": [{"pid": pid, "state": state} for pid, state in threads]}


BOTH = [(7, "ready"), (8, "ready")]


@pytest.mark.parametrize("processes, threads", [
    ([], []), ([(7, "ready")], [(7, "ready")]), ([(7, "ready"), (8, "starting")], BOTH),
    (BOTH, [*BOTH, (8, "dead")]), ([*BOTH, (9, "draining")], BOTH), ([(7, "ready"), (6, "ready")], [(7, "ready")])])
def test_a_server_is_at_full_strength_when_every_place_is_taken(processes, threads):
    assert stages.full_strength(Told((processes, threads), (BOTH, BOTH)), without_pid=6) == [7, 8]


def test_the_parts_of_a_start_are_one_case(stage):
    tally = stage.tally("key", "statement")
    for parts in ((True, True), (True, False), (True,)):
        stage.note_start(object())
        assert [tally.note(seen) for seen in parts] == list(parts)
    assert tally.fact("detail") == Fact("key", "statement", 2, 3, "4 of 5 parts in 3 starts; detail")
    assert stage.starts == 3


def test_a_part_can_be_noted_when_another_start_was_the_latest(stage):
    tally, first, second = stage.tally("key", "statement"), object(), object()
    stage.note_start(first)
    stage.note_start(second)
    tally.note(True, first)
    tally.note(False)
    tally.note(True)
    assert (tally.fact().observed, tally.fact().of) == (1, 2)


def test_one_part_for_each_start_needs_no_words(stage):
    tally = stage.tally("key", "statement")
    stage.note_start(object())
    tally.note(True)
    assert tally.fact() == Fact("key", "statement", 1, 1)


def test_rounds_are_repeated_and_only_the_first_is_shown(stage):
    seen = []
    for name in stage.repeated("one", "two"):
        seen.append(name)
        stage.say(name)
    stage.say("after")
    assert seen == ["one", "two"] * 3
    assert stage.shown == ["- one", "- two", "- after"]
