"""Reading /proc, and ending every program that was started."""

import os
import signal
import time

import pytest
from patience import DEADLINE_S
from twinlab.base.errors import Interrupted, LabError
from twinlab.commands import cli
from twinlab.machine import host, processes

ROLLUP = """55eb3b18a000-7fff19703000 ---p 00000000 00:00 0                          [rollup]
Rss:                1764 kB
Pss:                 372 kB
Pss_Dirty:           116 kB
"""


def test_pss_is_not_taken_from_a_line_with_a_longer_name():
    assert processes.parse_pss_kib(ROLLUP) == 372


def test_pss_missing():
    with pytest.raises(ValueError):
        processes.parse_pss_kib("Rss: 1 kB\n")


def test_tcp_memory_is_the_last_figure_of_its_line():
    assert processes.parse_tcp_pages("sockets: used 9\nTCP: inuse 35 orphan 0 tw 7 alloc 35 mem 12\nUDP: mem 4\n") == 12
    with pytest.raises(ValueError):
        processes.parse_tcp_pages("sockets: used 9\n")
    assert processes.tcp_memory_kib() is not None


def test_own_figures_are_plausible():
    assert processes.cpu_us([os.getpid()]) > 0
    assert processes.pss_kib([os.getpid()]) > 0


def test_of_who_is_not_to_be_counted_the_shared_pages_are(monkeypatch):
    """The two have 30 KiB in common, half of which each is told to have."""
    texts = {"/proc/1/smaps_rollup": "Rss: 40 kB\nPss: 25 kB\nPrivate_Dirty: 10 kB\n",
             "/proc/2/smaps_rollup": "Rss: 50 kB\nPss: 35 kB\nPrivate_Clean: 20 kB\n",
             "/proc/1/status": "VmPTE: 4 kB\n", "/proc/2/status": "VmPTE: 8 kB\n"}
    monkeypatch.setattr(processes, "_text_or_nothing", lambda path: texts[str(path)])
    assert processes.memory([1, 2]) == processes.Memory(60, 30, 90, 12)
    assert processes.memory([1], beside=[2]) == processes.Memory(40, 10, 40, 4)  # its pss as if it were alone


def test_the_same_where_every_page_is_counted_once(monkeypatch):
    monkeypatch.setattr(processes, "_shared_kib", lambda pid: pid << 30)
    assert 3 << 30 < processes.pss_kib([os.getpid()], beside=[1, 2]) < 4 << 30


def test_figures_of_a_process_that_is_gone():
    child = processes.spawn(["true"])
    child.wait()
    processes.stop(child)
    assert processes.cpu_us([child.pid]) == 0
    assert processes.pss_kib([child.pid]) is None


def test_stop_ends_descendants_that_ignore_signals():
    child = processes.spawn(["sh", "-c", "(trap '' TERM; sleep 1000 & wait; sleep 1000) & sleep 1000"])
    deadline = time.monotonic() + DEADLINE_S
    while len(processes.session_members(child.pid)) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(processes.session_members(child.pid)) >= 3
    killed = processes.stop(child)
    assert killed
    # Whom SIGKILL has reached may need a CPU to end; by themselves they last longer than this waits.
    while processes.session_members(child.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert processes.session_members(child.pid) == []


def test_stop_all_forgets_nothing():
    children = [processes.spawn(["sleep", "60"]) for _ in range(3)]
    processes.stop_all()
    assert [child.poll() is not None for child in children] == [True] * 3


def test_program_that_does_not_exist():
    with pytest.raises(LabError, match="cannot start"):
        processes.spawn(["/nonexistent/program"])


def test_run_returns_status_and_both_outputs():
    assert processes.run(["sh", "-c", "echo out; echo err >&2; exit 3"]) == (3, "out\nerr\n")


def test_cpu_clock():
    first = host.parse_cpu_clock("cpu  10 0 10 70 0 0 0 10 5 5\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    second = host.parse_cpu_clock("cpu  60 0 10 70 0 0 0 60 5 5\n")
    assert first == host.CpuClock(10, 100, 70)
    assert second.steal_share_since(first) == pytest.approx(0.5)
    assert host.parse_cpu_clock("") == host.CpuClock(0, 0)


def test_steal_counts_against_what_was_wanted():
    assert host.CpuClock(10, 1000, 800).steal_share == pytest.approx(0.05)
    # Nearly idle: 5 ticks of 10 are not half of anything.
    assert host.CpuClock(5, 1000, 990).steal_share == pytest.approx(0.05)
    whole = host.CpuClock(10, 100, 20).plus(host.CpuClock(30, 300, 20))
    assert whole == host.CpuClock(40, 400, 40) and whole.since(host.CpuClock(10, 100, 20)).stolen == 30


def test_cpu_pressure():
    text = "some avg10=69.73 avg60=21.05 avg300=25.20 total=25014985421\nfull avg10=0.00 avg60=0.00 total=7\n"
    assert host.parse_pressure(text) == 25014985421 and host.parse_pressure("") is None
    first, second = host.CpuPressure(100, 1000.0), host.CpuPressure(350, 2000.0)
    assert second.share_since(first) == pytest.approx(0.25)
    assert host.CpuPressure(None, 2000.0).share_since(first) is None


def test_sysfs_choice_and_cpuinfo():
    assert host.chosen("always [madvise] never") == "madvise"
    assert host.chosen(None) is None
    assert host.cpuinfo_field("model name\t: A CPU: fast\nflags\t\t: a b\n", "model name") == "A CPU: fast"
    assert host.cpuinfo_field("", "flags") is None


def test_an_interrupt_that_was_dropped_is_raised_by_the_next_program(monkeypatch):
    monkeypatch.setattr(processes, "_interrupts", [])
    processes.stop(processes.spawn(["true"]))
    processes.note_interrupt(2)
    with pytest.raises(Interrupted) as raised:
        processes.spawn(["sleep", "60"])
    assert raised.value.signum == 2 and not processes.stop_all()


def test_an_interrupt_at_the_fork_itself_leaves_nothing_running(monkeypatch):
    monkeypatch.setattr(processes, "_interrupts", [])
    started = []

    def popen(*arguments, **options):
        started.append(subprocess_popen(*arguments, **options))
        processes.note_interrupt(15)  # a handler that runs at the fork drops the exception
        return started[0]
    subprocess_popen = processes.subprocess.Popen
    monkeypatch.setattr(processes.subprocess, "Popen", popen)
    with pytest.raises(Interrupted):
        processes.spawn(["sleep", "60"])
    processes.stop_all()
    assert started[0].poll() is not None


def test_a_signal_while_a_program_is_started_leaves_nothing_running(monkeypatch):
    monkeypatch.setattr(processes, "_interrupts", [])
    started = []

    def popen(*arguments, **options):
        started.append(subprocess_popen(*arguments, **options))
        os.kill(os.getpid(), signal.SIGTERM)
        return started[0]
    subprocess_popen = processes.subprocess.Popen
    monkeypatch.setattr(processes.subprocess, "Popen", popen)
    before = {signum: signal.signal(signum, cli.on_signal) for signum in cli.ENDING_SIGNALS}
    try:
        with pytest.raises(Interrupted) as raised:
            processes.spawn(["sleep", "60"])
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    processes.stop_all()
    assert raised.value.signum == signal.SIGTERM and started[0].poll() is not None
