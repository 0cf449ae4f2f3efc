"""A server under test: start, ask, watch, stop, and prove that nothing is left."""

import collections
import json
import os
import random
import re
import signal
import socket
import subprocess
from pathlib import Path

from support import peek, processes
from support.client import Client, request_bytes
from support.waiting import DEADLINE_S, wait_until

REPOSITORY = Path(__file__).resolve().parents[3]
PRESET = os.environ.get("TWINHTTPD_PRESET", "dev")
BIN_DIR = Path(os.environ.get("TWINHTTPD_BIN_DIR", REPOSITORY / "build" / PRESET / "bin"))
SANITIZED = PRESET in ("asan-ubsan", "tsan")
# The whole suite proves what the filter of system calls lets pass. Instrumented builds make calls of
# their own.
SECCOMP = "off" if SANITIZED or PRESET == "coverage" else "on"

_BANNER = re.compile(
    r"(?P<binary>\w+-server): listening on http://(?P<host>[^/]+):(?P<port>\d+)"
    r" \(model (?P<model>\w+), (?P<details>.*?),? ?(?:master )?pid (?P<pid>\d+)\)"
)
_SANITIZER_REPORT = re.compile(
    r"(ERROR|WARNING): (Address|Leak|Thread|Memory)Sanitizer|runtime error:|SUMMARY: \w+Sanitizer"
)


def binary(model):
    path = BIN_DIR / model.binary
    assert path.exists(), f"{path} is missing: build it, or set TWINHTTPD_BIN_DIR"
    return str(path)


def run_to_end(model, *options, timeout_s=DEADLINE_S, prefix=(), **popen):
    """Runs the binary for a command that ends by itself."""
    return subprocess.run([*prefix, binary(model), *options], stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=timeout_s, check=False, **popen)


def refusal(model, *options, **popen):
    """The one line with which the binary refuses to start."""
    result = run_to_end(model, *options, start_new_session=True, **popen)
    assert result.returncode == 1, result
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith(f"{model.binary}: ")
    assert "; " in lines[0], f"no cause and fix: {lines[0]}"
    return lines[0]


def shown_line(line):
    """A request line as the scoreboard shows it: up to its query string."""
    return line.partition("?")[0]


class Server:
    def __init__(self, model, command, directory, **popen):
        """Starts command and waits for its banner; output goes to files in directory."""
        self.model = model
        self.stdout_path = directory / "stdout"
        self.stderr_path = directory / "stderr"
        with open(self.stdout_path, "wb") as stdout, open(self.stderr_path, "wb") as stderr:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout,
                                            stderr=stderr, cwd=directory, start_new_session=True,
                                            **popen)
        self.session = self.process.pid
        self._clean_bytes = 0  # of the log, up to which nothing bad was found
        try:
            self.banner = wait_until(self._find_banner, "the first line of the server")
        except BaseException:
            processes.kill_session(self.session)
            raise
        self.address = (self.banner["host"], int(self.banner["port"]))
        self.url = f"http://{self.address[0]}:{self.address[1]}"

    def _find_banner(self):
        assert self.process.poll() is None, f"the server ended at start: {self.log()}"
        first, newline, _ = self.stdout_path.read_text().partition("\n")
        if not newline:
            return None
        match = _BANNER.fullmatch(first)
        assert match, f"not the first line of the contract: {first!r}"
        return match

    def whole_banner(self):
        """What the server says at its start. It serves as soon as the first line is out: the rest may still come."""
        return wait_until(lambda: text if "\n  drain " in (text := self.stdout_path.read_text()) else None,
                          "the whole banner")

    @property
    def pid(self):
        """The master (the only process of a server without one)."""
        return self.process.pid

    def worker_pids(self):
        if not self.model.has_master:
            return [self.pid]
        return processes.living_children(self.pid)

    # Requests.

    def connect(self, **options):
        return Client(self.address, **options)

    def get(self, target, headers=()):
        """One GET on a connection of its own."""
        with self.connect() as client:
            return client.get(target, headers)

    def status(self, master=None):
        """What the scoreboard says: of this master, by default of the program that was started first as long as it lives."""
        return wait_until(lambda: self._try_status(master), "a look at the scoreboard")

    def _try_status(self, master):
        seen = peek.look(master or self.pid)
        return seen if seen or master else peek.look_into_session(self.session)

    def master_that_answers(self):
        """Of two programs, in an upgrade, one of those that serve at the address just now."""
        with self.connect() as client:
            return self.whoami(client)["ppid"]

    def is_running(self, line):
        """Whether a worker is busy with the request that has this request line."""
        return any(worker["current"] == shown_line(line) for worker in self.status()["workers"])

    def send_and_see(self, client, target, shown=None):
        """Sends a request that takes its time, until the scoreboard shows it (as it is, or so): again if it was over before
        anybody looked."""
        client.send(request_bytes(target=target))

        def is_seen():
            if client.has_answer():
                assert client.read_response().status == 200
                client.send(request_bytes(target=target))
            return self.is_running(f"GET {shown or target} HTTP/1.1")
        wait_until(is_seen, f"{target} runs")

    def whoami(self, client):
        return json.loads(client.get("/whoami").body)

    # What it wrote.

    def log(self):
        return self.stderr_path.read_text(errors="backslashreplace")

    def wait_for_log(self, pattern):
        try:
            return wait_until(lambda: re.search(pattern, self.log()), f"log line {pattern}")
        except AssertionError as late:
            raise AssertionError(f"{late}; the last lines are:\n" + "\n".join(self.log().splitlines()[-20:])) from None

    def assert_clean_log(self):
        """No sanitizer report and no line of level error since it was clean the last time."""
        with open(self.stderr_path, "rb") as file:
            file.seek(self._clean_bytes)
            new = file.read()
        whole_lines = new[:new.rfind(b"\n") + 1]
        assert not _SANITIZER_REPORT.search(new.decode(errors="backslashreplace")), self.log()
        errors = [line for line in new.splitlines() if b"[error]" in line]
        assert not errors, self.log()
        self._clean_bytes += len(whole_lines)

    def assert_no_sanitizer_report(self):
        assert not _SANITIZER_REPORT.search(self.log()), self.log()

    # Deaths.

    def find_death(self, pid):
        """The record of the end of this process, or None."""
        return next((death for death in self.status()["deaths"] if death["pid"] == pid), None)

    def wait_for_death(self, pid):
        return wait_until(lambda: self.find_death(pid), f"the scoreboard tells of the death of {pid}")

    def wait_for_recovery_ms(self, pid):
        """The time from the death of this process to a ready successor, as the master noted it."""
        wait_until(lambda: (self.find_death(pid) or {}).get("recovery_ms"),
                   f"the successor of {pid} is ready")
        return self.find_death(pid)["recovery_ms"]

    def wait_for_full_strength(self, without_pid=None):
        """Waits until as many workers as configured run, none of them without_pid."""
        def at_full_strength():
            pids = self.worker_pids()
            return len(pids) == self.model.processes and without_pid not in pids
        wait_until(at_full_strength, "every dead worker has a successor")
        wait_until(lambda: all(worker["state"] == "ready" for worker in self.status()["workers"]),
                   "every worker is ready")

    # The end.

    def wait_for_exit(self, timeout_s=DEADLINE_S):
        """The exit status, once the whole session is gone."""
        status = self.process.wait(timeout_s)
        wait_until(lambda: not processes.living_in_session(self.session),
                   "no process of the server is left")
        self.assert_no_sanitizer_report()
        return status

    def stop(self, signal_number=signal.SIGTERM):
        """Stops it and proves a good end."""
        self.process.send_signal(signal_number)
        assert self.wait_for_exit() == 0, self.log()

    def is_stopped(self):
        return self.process.poll() is not None

    def was_cut_short(self):
        """Whether somebody had no CPU for so long that the master's patience of a second at the end was over: who is
        killed counts as dead, and the log has an error."""
        return "killing the processes that have not stopped in time" in self.log()

    def clean_up(self):
        """Kills whatever is left, for a test that failed in the middle."""
        processes.kill_session(self.session)
        self.process.wait(DEADLINE_S)


# The newest are those of tests that still run.
_kept_ports: collections.deque[socket.socket] = collections.deque(maxlen=50)


def _keep_port(port):
    """Whether no other process that tests has this port: an abstract name is let go by the kernel when its owner ends."""
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0twinhttpd-tests-port-{port}")
    except OSError:
        name.close()
        return False
    _kept_ports.append(name)
    return True


def quiet_port():
    """A free port that no client gets by chance (it is outside of ip_local_port_range), and no other test, for a test
    that listens on it twice."""
    for port in random.sample(range(20000, 30000), 100):
        if _keep_port(port) and is_free(port):
            return port
    raise AssertionError("no free port between 20000 and 30000")


def is_free(port):
    """Whether nobody listens there any more: the last thread of a dying process takes its time."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def start(model, options, directory, root, prefix=(), **popen):
    """Starts a model, without an address in its options on a port that the kernel chooses."""
    listen = () if "--listen" in options else ("--listen", "127.0.0.1:0")
    command = [*prefix, binary(model), *listen, "--root", str(root), "--seccomp", SECCOMP, *model.options, *options]
    return Server(model, command, directory, **popen)


class SharedServers:
    """One running server for each (model, options), started when first asked for."""

    def __init__(self, new_directory, root):
        self._new_directory = new_directory
        self._root = root
        self._running = {}

    def get(self, model, options=()):
        key = (model, options)
        if key not in self._running:
            server = start(model, options, self._new_directory(), self._root)
            if "--observe" in options:  # until it has its name it looks like a serving process
                wait_until(lambda: processes.observers(server.pid), "the observer has its name")
            self._running[key] = (server, server.worker_pids())
        return self._running[key][0]

    def check(self, model, options=()):
        """After a test: the same processes still run, and nothing bad was logged."""
        server, pids = self._running[(model, options)]
        try:
            assert not server.is_stopped(), f"the server has ended: {server.log()}"
            assert server.worker_pids() == pids, f"a worker was replaced: {server.log()}"
            server.assert_clean_log()
        except AssertionError:
            del self._running[(model, options)]
            server.clean_up()
            raise

    def stop_all(self):
        for server, _ in self._running.values():
            try:
                server.stop()
            finally:
                server.clean_up()
