"""Every demonstration runs, leaves nothing behind, and finds what must be so on any machine."""

import os
from pathlib import Path

import pytest
from twinlab import demos, proc

REPOSITORY = Path(__file__).resolve().parents[2]
BIN_DIR = Path(os.environ.get("TWINHTTPD_BIN_DIR", REPOSITORY / "build" / "dev" / "bin"))
CLAIMS_TO_SHOW = {*range(1, 8), *range(9, 18), 19, 39, 40, 43, 46, *range(49, 59), 60}
# Up to chance, to the number of CPUs, or to the C library's allocator.
MAY_DIFFER = {"balance-is-uneven", "unlocked-threads-lose", "unlocked-shared-memory-loses", "freed-memory-returns",
              "fragments-keep-memory", "ready-shows-R", "frame-is-reused", "top-of-user-addresses-is-stack"}
# Up to the kernel's settings, to rights, and to the processor.
MAY_BE_UNAVAILABLE = {"debugger-may-write-code", "addresses-differ-between-starts", "process-vm-readv-reads-sibling",
                      "unoptimised-keeps-parameters-and-frame-pointer-on-stack", "optimised-keeps-them-in-registers",
                      "stack-pointer-of-its-own", "program-counter-of-its-own", "restored-after-switches",
                      "memory-limit-kills-the-unbounded", "memory-limit-spares-the-lru",
                      "out-of-memory-costs-prefork-one-worker", "out-of-memory-costs-threadpool-all-threads",
                      "stuck-worker-uses-no-cpu", "stuck-worker-waits-in-futex", "cpu-time-belongs-to-threads",
                      "process-does-not-write-sibling-stack"}


@pytest.mark.parametrize("name", demos.DEMOS)
def test_demo(name):
    shown = []
    outcome = demos.run(name, BIN_DIR, quick=True, write=shown.append)
    assert proc.stop_all() == [], "nothing is left"
    assert shown and outcome.shown == shown
    keys = [fact.key for fact in outcome.facts]
    assert len(set(keys)) == len(keys)
    for fact in outcome.facts:
        assert fact.is_available or fact.key in MAY_BE_UNAVAILABLE, fact
        assert fact.is_available or fact.detail, "a reason why it cannot be observed"
        assert fact.holds or not fact.is_available or fact.key in MAY_DIFFER, f"{fact}\n" + "\n".join(shown)
        assert not fact.is_available or fact.of >= 3, f"{fact.key}: too few cases to mean anything"


def test_every_claim_that_is_seen_has_a_demonstration():
    assert {claim for demo in demos.DEMOS.values() for claim in demo.CLAIMS} == CLAIMS_TO_SHOW


def test_every_demonstration_says_what_it_means():
    for name, demo in demos.DEMOS.items():
        assert demo.TITLE and demo.MEANING.endswith("."), name
