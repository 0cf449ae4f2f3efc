"""A worker that writes anything anywhere into the memory that it shares with the master and its siblings: the master
decides by nothing that stands there, and what it shows there is true again when the worker is gone.

By default a worker scribbles for two seconds. TWINHTTPD_SCRIBBLE_S=60 makes it a minute, TWINHTTPD_SCRIBBLE_SEED=N
chooses what is written."""

import contextlib
import itertools
import math
import os
import re
import signal
import threading
import time

import pytest

from support import models, peek, processes, server as servers
from support.client import ConnectionLost
from support.control import ask
from support.waiting import wait_until

SCRIBBLE_S = float(os.environ.get("TWINHTTPD_SCRIBBLE_S", "2"))
SEED = int(os.environ.get("TWINHTTPD_SCRIBBLE_SEED", "1"))
TELLERS = 2
BURST_MS = 200
LOG_BYTES_A_SECOND = 1 << 20
pytestmark = [
    pytest.mark.models(models.SUPERVISED), pytest.mark.timeout(300 + 10 * SCRIBBLE_S),
    pytest.mark.skipif(servers.PRESET == "tsan", reason="what it does is a data race, and ThreadSanitizer says so"),
]


def kill_if_alive(pid, signal_number):
    """A process that is being replaced, or a teller that has no name yet, may just have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal_number)


class Scribbled:
    """A server, one of whose workers scribbles now: asked again and again, on one connection; should it be replaced, the
    next one does."""

    def __init__(self, server, control, seconds=SCRIBBLE_S):
        self.server = server
        self.control = control
        self.begin_s = time.monotonic()
        self.end_s = math.inf
        self.scribblers = []
        self._numbers = itertools.count(SEED)
        self._thread = threading.Thread(target=self._have_it_scribble, daemon=True)
        self._thread.start()
        wait_until(lambda: self.scribblers, "somebody scribbles")
        self.end_s = time.monotonic() + seconds

    @property
    def scribbler(self):
        return self.scribblers[-1]

    def is_going_on(self):
        return time.monotonic() < self.end_s

    def _have_it_scribble(self):
        while self.is_going_on() and not self.server.is_stopped():
            try:
                with self.server.connect() as client:
                    self.scribblers.append(self.server.whoami(client)["pid"])
                    while self.is_going_on():
                        client.get(f"/fault/scribble?ms={BURST_MS}&seed={next(self._numbers)}")
            except (OSError, ConnectionLost):
                pass

    def end(self):
        self.end_s = 0
        self._thread.join()

    def check_meanwhile(self):
        """The master is there, and has no more than its tellers and its processes."""
        server = self.server
        assert not server.is_stopped(), server.log()
        assert len(processes.tellers(server.pid)) <= TELLERS
        listed = ask(self.control, "list")
        assert listed["ok"] and listed["master_pid"] == server.pid
        peek.look(server.pid)  # it stays JSON

    def check_afterwards(self):
        """As if nothing had been."""
        server, model = self.server, self.server.model
        lasted_s = time.monotonic() - self.begin_s
        self.end()
        for pid in set(self.scribblers) & set(server.worker_pids()):
            kill_if_alive(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: pid not in server.worker_pids(), f"{pid} has ended")
        server.wait_for_full_strength()
        before = server.worker_pids()
        wait_until(lambda: ask(self.control, "reload")["ok"], "a reload is begun")
        wait_until(lambda: not set(before) & set(server.worker_pids()), "a reload replaces all processes")
        server.wait_for_full_strength()
        assert server.get("/plaintext").status == 200
        status = server.status()
        assert status["master_pid"] == server.pid
        assert len(status["workers"]) == model.slots
        assert {worker["process"] for worker in status["workers"]} == set(range(model.processes))
        # A crash teller has its name only a moment after it was forked.
        wait_until(lambda: {worker["pid"] for worker in server.status()["workers"]} == set(server.worker_pids()),
                   "those who serve are those who are shown")
        log = server.log()
        deaths = re.findall(r"was killed by (\w+)", log)
        assert status["totals"]["deaths"] == len(deaths) + log.count("exited with status")
        assert not {"SIGSEGV", "SIGBUS", "SIGFPE", "SIGSYS"} & set(deaths), log[-4000:]
        assert len(log) < lasted_s * LOG_BYTES_A_SECOND, f"{len(log)} bytes of log"
        server.stop()


@pytest.fixture
def start_scribbling(start_server, tmp_path):
    def start(model, *options, **how):
        control = tmp_path / "control"
        server = start_server(model, "--faults", "on", "--control", str(control), *options)
        return Scribbled(server, control, **how)
    return start


def test_a_scribbler(model, start_scribbling):
    scribbled = start_scribbling(model)
    while scribbled.is_going_on():
        scribbled.check_meanwhile()
    scribbled.check_afterwards()


def test_a_scribbler_while_others_die(model, start_scribbling):
    """The master buries, tells of it, and starts anew, all the while."""
    scribbled = start_scribbling(model)
    while scribbled.is_going_on():
        scribbled.check_meanwhile()
        others = [pid for pid in scribbled.server.worker_pids() if pid != scribbled.scribbler]
        for pid in others[:1]:
            kill_if_alive(pid, signal.SIGABRT)
            wait_until(lambda pid=pid: pid not in scribbled.server.worker_pids(), f"{pid} has ended")
        wait_until(lambda: len(scribbled.server.worker_pids()) >= model.processes, "no seat is empty")
    scribbled.check_afterwards()


def test_a_scribbler_and_the_watchdog(model, start_scribbling):
    """It makes the master believe of anybody that he is stuck; who is replaced for it has a successor."""
    scribbled = start_scribbling(model, "--stuck-after-ms", "1000")
    while scribbled.is_going_on():
        scribbled.check_meanwhile()
    scribbled.check_afterwards()


def test_a_reload_while_one_scribbles(model, start_scribbling):
    """No process can say of another that it is not ready yet."""
    patience = ("--start-timeout-ms", "600000", "--drain-timeout-ms", "600000")  # who is waited for is not killed
    scribbled = start_scribbling(model, *patience, seconds=max(SCRIBBLE_S, 5))
    before = scribbled.server.worker_pids()
    assert ask(scribbled.control, "reload")["ok"]
    wait_until(lambda: not set(before) & set(scribbled.server.worker_pids()), "a reload replaces all")
    scribbled.check_afterwards()


def test_a_stop_while_one_scribbles(model, start_scribbling):
    scribbled = start_scribbling(model, seconds=60)
    scribbled.check_meanwhile()
    scribbled.server.stop()
    scribbled.end()


def test_a_drain_while_one_scribbles(model, start_scribbling):
    scribbled = start_scribbling(model, "--drain-timeout-ms", "1000", seconds=60)
    scribbled.check_meanwhile()
    scribbled.server.stop(signal.SIGQUIT)
    scribbled.end()
