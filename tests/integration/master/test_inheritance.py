"""What a server inherits from whoever starts it: streams, signals, a terminal, limits, a directory."""

import os
import pty
import re
import resource
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support import models, processes, server as servers
from support.client import Client
from support.server import SANITIZED
from support.waiting import DEADLINE_S, wait_until

ROOT_ONLY = pytest.mark.skipif(os.getuid() != 0, reason="only root can change users")
EACH_BINARY = pytest.mark.models(models.ONE_OF_EACH_BINARY)
NULL = "/dev/null"
REAPED_BY_KERNEL = (signal.SIGCHLD,)
ALL_SIGNALS = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
STREAMS = (0, 1, 2)


def everybody(server):
    return {server.pid, *server.worker_pids()}


def target(pid, fd):
    return os.readlink(f"/proc/{pid}/fd/{fd}")


def close_streams(*closed):
    """A prefix that starts a command without these of its streams."""
    redirections = " ".join(f"{fd}>&-" for fd in closed)
    return ("sh", "-c", f'exec "$@" {redirections}', "sh")


# ---- Streams ----

def test_streams_that_are_closed_lead_nowhere(model, start_server):
    server = start_server(model, "--faults", "on", prefix=close_streams(0, 2))
    for pid in everybody(server):
        assert [target(pid, fd) for fd in (0, 2)] == [NULL, NULL]
    with server.connect() as client:
        client.send(b"BAD\r\n\r\n")  # a line of the log, which has no place to go
        assert client.read_response().status == 400
    assert server.get("/hello.txt").status == 200


@pytest.mark.models(models.SUPERVISED)
def test_a_log_without_a_place_goes_into_no_file(model, start_server, tmp_path, site):
    """The first files that are opened would have the numbers of the streams."""
    pid_file, log = tmp_path / "pid", tmp_path / "access"
    server = start_server(model, "--pid-file", str(pid_file), "--access-log", str(log), root=site,
                          prefix=close_streams(0, 2))
    victim = server.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    server.wait_for_full_strength(without_pid=victim)
    assert pid_file.read_text() == f"{server.pid}\n"
    assert server.get("/hello.txt").status == 200
    assert all(" /hello.txt " in line for line in log.read_text().splitlines())


@pytest.mark.models((*models.ONE_OF_EACH_BINARY, "threadpool-bare"))
def test_a_start_without_any_stream(model, tmp_path, site):
    pid_file, port = tmp_path / "pid", servers.quiet_port()
    command = [*close_streams(*STREAMS), servers.binary(model), "--listen", f"127.0.0.1:{port}", "--root",
               str(site), "--pid-file", str(pid_file), *model.options]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        wait_until(lambda: _answers(port), "it serves")
        pids = {process.pid, *(processes.living_children(process.pid) if model.has_master else ())}
        assert {target(pid, fd) for pid in pids for fd in STREAMS} == {NULL}
        assert pid_file.read_text() == f"{process.pid}\n"
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    finally:
        processes.kill_session(process.pid)
        process.wait(DEADLINE_S)


def _answers(port):
    try:
        with Client(("127.0.0.1", port)) as client:
            return client.get("/hello.txt").status == 200
    except OSError:
        return False


@pytest.mark.models(("prefork",))
def test_twinctl_without_streams_writes_into_no_socket(model, start_server, tmp_path):
    control = tmp_path / "control"
    start_server(model, "--control", str(control))
    command = [str(servers.BIN_DIR / "twinctl"), "--control", str(control), "list"]
    assert subprocess.run([*close_streams(*STREAMS), *command], check=False).returncode == 0
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert str(control) not in listed and "ready" in listed


# ---- Signals ----

def started_badly(*, ignored=(), blocked=()):
    def prepare():
        for number in ignored:
            if number in ALL_SIGNALS:
                signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    return {"preexec_fn": prepare, "restore_signals": False}


def signal_set(pid, field):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            bits = int(line.split()[1], 16)
            return {number for number in range(1, 65) if bits >> (number - 1) & 1}
    raise AssertionError(f"/proc/{pid}/status has no {field}")


@pytest.mark.models(models.SUPERVISED)
def test_deaths_are_told_though_the_parent_ignores_sigchld(model, start_server):
    server = start_server(model, **started_badly(ignored=REAPED_BY_KERNEL))
    victim = server.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    assert server.wait_for_death(victim)["signal"] == "SIGKILL"
    server.wait_for_full_strength(without_pid=victim)


@ROOT_ONLY
def test_a_user_can_be_become_though_the_parent_ignores_sigchld(model, start_server, public_directory,
                                                                monkeypatch):
    monkeypatch.setenv("ASAN_OPTIONS", f"{os.environ.get('ASAN_OPTIONS', '')}:detect_leaks=0")
    server = start_server(model, "--user", "nobody", root=public_directory,
                          **started_badly(ignored=REAPED_BY_KERNEL))
    assert server.get("/").status in (200, 404)


def test_no_signal_stays_ignored_or_blocked(model, start_server):
    with_all = started_badly(ignored=ALL_SIGNALS, blocked=ALL_SIGNALS)
    plain, odd = start_server(model), start_server(model, **with_all)
    for field in ("SigIgn", "SigBlk"):
        usual = [signal_set(pid, field) for pid in (plain.pid, plain.worker_pids()[0])]
        found = [signal_set(pid, field) for pid in (odd.pid, odd.worker_pids()[0])]
        assert found == usual
    assert odd.get("/hello.txt").status == 200


@pytest.mark.models(models.SUPERVISED)
def test_a_server_under_nohup_reloads(model, start_server):
    server = start_server(model, **started_badly(ignored=(signal.SIGHUP,)))
    os.kill(server.pid, signal.SIGHUP)
    server.wait_for_log("the new configuration is in force")


# ---- A terminal ----

WAITING_PARENT = """
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.exit(subprocess.run(sys.argv[1:]).returncode)
"""
CTRL_C = b"\x03"
BANNER = re.compile(rb"listening on http://127\.0\.0\.1:(\d+) .*pid (\d+)\)")


class Terminal:
    """A command in a session of its own with a terminal, which is this object's other end."""

    def __init__(self, command):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(command[0], command)
        self.shown = b""

    def _read(self):
        try:
            if select.select([self.fd], [], [], 0)[0]:
                self.shown += os.read(self.fd, 65536)
        except OSError:
            pass  # nobody has the other end open any more

    def find(self, pattern):
        def shows():
            self._read()
            return pattern.search(self.shown)
        return wait_until(shows, f"the terminal shows {pattern.pattern}")

    def press(self, key):
        os.write(self.fd, key)

    def exit_status(self):
        def has_ended():
            self._read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return (os.waitstatus_to_exitcode(status),) if pid else None
        return wait_until(has_ended, "the command has ended")[0]

    def close(self):
        processes.kill_session(self.pid)
        os.close(self.fd)


def terminal_of(pid):
    """The number of a process's controlling terminal; 0: it has none."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[4])


def can_read(pid, fd):
    flags = re.search(r"flags:\s*(\d+)", Path(f"/proc/{pid}/fdinfo/{fd}").read_text())[1]
    return int(flags, 8) & os.O_ACCMODE != os.O_WRONLY


def server_command(model, site):
    return [servers.binary(model), "--listen", "127.0.0.1:0", "--root", str(site), *model.options]


@pytest.fixture
def open_terminal():
    opened = []

    def start(command):
        opened.append(Terminal(command))
        return opened[-1]
    yield start
    for terminal in opened:
        terminal.close()


def test_no_process_can_push_input_into_the_terminal(model, site, open_terminal):
    """TIOCSTI takes the terminal as the controlling one, and reading it a descriptor for that."""
    command = [sys.executable, "-c", WAITING_PARENT, *server_command(model, site)]
    terminal = open_terminal(command)
    pid = int(terminal.find(BANNER)[2])
    workers = processes.living_children(pid) if model.has_master else [pid]
    assert terminal_of(terminal.pid) != 0
    assert {terminal_of(each) for each in (pid, *workers)} == {0}
    for worker in workers:
        assert target(worker, 0) == NULL
        assert not can_read(worker, 1) and not can_read(worker, 2)
        assert target(worker, 1).startswith("/dev/pts/"), "and still can write to it"
    terminal.press(CTRL_C)
    assert terminal.exit_status() == 0


@pytest.mark.models(models.EACH_KIND)
def test_a_server_that_leads_its_session_keeps_its_terminal(model, site, open_terminal):
    """As process 1 of a container does: Ctrl-C is to stop it."""
    terminal = open_terminal(server_command(model, site))
    pid = int(terminal.find(BANNER)[2])
    assert pid == terminal.pid
    assert terminal_of(pid) != 0
    assert {terminal_of(worker) for worker in processes.living_children(pid)} == {0}
    terminal.press(CTRL_C)
    assert terminal.exit_status() == 0


# ---- Limits, and the rest ----

@pytest.mark.skipif(SANITIZED, reason="sanitizers must be loaded first")
def test_a_huge_limit_of_descriptors_reserves_no_memory(model, start_server, build_preload):
    plain = start_server(model)
    huge = start_server(model, env=dict(os.environ, LD_PRELOAD=str(build_preload("huge_limit"))))
    assert huge.get("/hello.txt").status == 200
    assert "cannot reserve" not in huge.log()
    for pid, usual in zip(huge.worker_pids(), plain.worker_pids()):
        assert processes.status_number(pid, "FDSize") <= 16384
        assert processes.private_kib(pid) < processes.private_kib(usual) + 1024


def odd_start(**changes):
    def prepare():
        if "stack" in changes:
            resource.setrlimit(resource.RLIMIT_STACK, (changes["stack"], resource.RLIM_INFINITY))
        if "core" in changes:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if "umask" in changes:
            os.umask(changes["umask"])
    return prepare


ODD_STARTS = {
    "small-stack": {"stack": 49152},
    "endless-stack": {"stack": resource.RLIM_INFINITY},
    "huge-stack": {"stack": 1 << 33},
    "no-core-files": {"core": 0},
    "umask-0": {"umask": 0},
    "umask-077": {"umask": 0o77},
}


@pytest.mark.skipif(SANITIZED, reason="sanitizers need stacks of their own size")
@pytest.mark.parametrize("changes", ODD_STARTS.values(), ids=ODD_STARTS)
@pytest.mark.models(models.EACH_KIND)
def test_odd_limits(model, start_server, changes, tmp_path):
    log = tmp_path / "log"
    server = start_server(model, "--access-log", str(log), "--faults", "on", preexec_fn=odd_start(**changes))
    victim = server.worker_pids()[0]
    os.kill(victim, signal.SIGSEGV)
    server.wait_for_full_strength(without_pid=victim)
    wait_until(lambda: server.find_death(victim)["crash"], "the story is told")
    assert server.get("/hello.txt").status == 200
    assert log.stat().st_mode & 0o137 == 0


@EACH_BINARY
def test_an_empty_environment_and_a_directory_that_is_gone(model, start_server, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    prefix = ("sh", "-c", f'cd {gone} && rmdir {gone} && exec env -i "$@"', "sh")
    server = start_server(model, prefix=prefix)
    assert server.get("/hello.txt").status == 200
    if SANITIZED:
        return  # without its options a report would end up elsewhere
    os.kill(server.pid, signal.SIGUSR1)
    server.wait_for_log("the logs are open again")
