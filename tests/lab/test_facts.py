"""Counted facts, and what /proc shows of a process."""

import os

import pytest
from twinlab.base.observed import Fact, Tally, unavailable
from twinlab.commands.demo import fact_line
from twinlab.machine import procfs
from twinlab.servers import memory_limit

MAPS = """55d0c0000000-55d0c0021000 r-xp 00002000 fe:00 1234                       /usr/bin/a b
7ffc1000-7ffc3000 rw-p 00000000 00:00 0
"""


def test_a_tally_counts_what_it_is_told():
    tally = Tally("key", "statement")
    assert [tally.note(seen) for seen in (True, False, True)] == [True, False, True]
    fact = tally.fact("detail")
    assert fact == Fact("key", "statement", 2, 3, "detail")
    assert not fact.holds and fact.is_available


@pytest.mark.parametrize("observed, of, holds, line", [
    (3, 3, True, "       3 of 3  key: statement (why)"), (0, 3, False, "       0 of 3  key: statement (why)"),
    (0, 0, False, "  unavailable  key: statement (why)"),
])
def test_what_holds(observed, of, holds, line):
    fact = Fact("key", "statement", observed, of, "why")
    assert (fact.holds, fact_line(fact)) == (holds, line)


def test_without_a_case_there_is_a_reason():
    assert Tally("key", "statement").fact("detail", without="root only") == unavailable("key", "statement", "root only")


def test_maps():
    code, anonymous = procfs.parse_maps(MAPS)
    assert code == procfs.Mapping(0x55D0C0000000, 0x55D0C0021000, "r-xp", 0x2000, "/usr/bin/a b")
    assert anonymous.name == "" and anonymous.line == "00007ffc1000-00007ffc3000 rw-p"
    assert procfs.find([code, anonymous], 0x7FFC2FFF) is anonymous
    assert procfs.find([code, anonymous], 0x7FFC3000) is None


def test_this_process_in_proc():
    pid = os.getpid()
    assert pid in procfs.tids(pid)
    assert procfs.parent(pid) == os.getppid() and pid in procfs.children(os.getppid())
    assert procfs.state(pid) == "R"
    assert procfs.status(pid)["Pid"] == str(pid)
    start, end = procfs.heap(pid)
    assert start < end and procfs.smaps_kib(pid, start)["Rss"] > 0
    assert procfs.cpu_ns(pid, pid) > 0


def test_a_process_that_is_gone():
    gone = 2**22 + 1  # above the kernel's largest pid
    assert procfs.tids(gone) == [] and procfs.status(gone) == {}
    assert procfs.state(gone) is procfs.parent(gone) is None
    assert procfs.registers(gone, gone) is procfs.cpu_ns(gone, gone) is None


@pytest.mark.parametrize("text, controller, place", [
    ("9:name=systemd:/\n4:cpu,memory:/a/b\n0::/\n", "memory", "/a/b"), ("4:memory:/a\n0::/c:d\n", "", "/c:d"),
    ("0::/\n", "memory", None),
])
def test_own_group(text, controller, place):
    assert memory_limit.parse_own_group(text, controller) == place
