"""What a serving process can still do: the filter of system calls, and what keeps it from the others of its user.
Every other test of the build dev runs with it, too."""

import ctypes
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from support import models, processes, server as servers
from support.client import Client, ConnectionLost, request_bytes
from support.waiting import DEADLINE_S, wait_until

NOT_SANITIZED = pytest.mark.skipif(servers.SECCOMP == "off",
                                   reason="instrumented builds make calls of their own")
SUPERVISED = pytest.mark.models(models.SUPERVISED)
FILTERED = "2"


def seccomp_modes(pid):
    """What /proc says of each thread of a process."""
    return {re.search(r"^Seccomp:\s*(\d)", (task / "status").read_text(), re.MULTILINE)[1]
            for task in Path(f"/proc/{pid}/task").iterdir()}


def exec_in_worker(server):
    """Asks a worker to become another program; returns its pid."""
    with server.connect() as client:
        victim = server.whoami(client)["pid"]
        client.send(request_bytes(target="/fault/exec"))
        client.expect_close()
    return victim


@NOT_SANITIZED
def test_every_serving_thread_is_filtered(model, start_server):
    server = start_server(model, "--seccomp", "on")
    for pid in server.worker_pids():
        assert seccomp_modes(pid) == {FILTERED}
    if model.has_master:
        assert FILTERED not in seccomp_modes(server.pid)


@NOT_SANITIZED
@SUPERVISED
def test_a_forbidden_call_is_deadly_and_told(model, start_server):
    server = start_server(model, "--faults", "on", "--seccomp", "on")
    victim = exec_in_worker(server)
    death = server.wait_for_death(victim)
    assert (death["cause"], death["signal"], death["requests_lost"]) == ("signal", "SIGSYS", 1)
    assert death["requests"][0]["line"] == "GET /fault/exec HTTP/1.1"
    server.wait_for_log(rf"pid {victim}, generation \d+\) was killed by SIGSYS")
    server.wait_for_full_strength(without_pid=victim)
    assert server.get("/plaintext").status == 200


@NOT_SANITIZED
@pytest.mark.models(("threadpool-bare",))
def test_a_forbidden_call_ends_the_bare_threadpool(model, start_server):
    server = start_server(model, "--faults", "on", "--seccomp", "on")
    with server.connect() as client, pytest.raises((ConnectionLost, OSError)):
        client.get("/fault/exec")
    assert server.wait_for_exit() == -signal.SIGSYS


@NOT_SANITIZED
@pytest.mark.models(("threadpool-bare",))
@pytest.mark.parametrize("stdout", ["/dev/null", "/dev/ptmx"])
def test_a_bare_server_may_write_to_a_device(model, stdout):
    """The C library asks whether it is a terminal, once the process is confined already."""
    port = servers.quiet_port()
    with open(stdout, "r+b", buffering=0) as output, subprocess.Popen(
            [servers.binary(model), "--bare", "--threads", "2", "--seccomp", "on", "--listen", f"127.0.0.1:{port}"],
            stdin=subprocess.DEVNULL, stdout=output) as process:
        try:
            wait_until(lambda: process.poll() is not None or not servers.is_free(port), "it listens")
            with Client(("127.0.0.1", port)) as client:
                assert client.get("/plaintext").status == 200
        finally:
            process.terminate()
        assert process.wait(DEADLINE_S) == 0


@SUPERVISED
@pytest.mark.parametrize("mode", ["off", "log"])
def test_the_other_modes_let_it_pass(model, start_server, mode):
    server = start_server(model, "--faults", "on", "--seccomp", mode)
    death = server.wait_for_death(exec_in_worker(server))
    assert (death["cause"], death["exit_status"]) == ("exit", 0)


# What is left for who has taken a worker over. Master and workers have one user, as in the systemd units.

USER = pwd.getpwnam("nobody")
AS_USER = [] if os.getuid() != 0 else ["setpriv", f"--reuid={USER.pw_uid}", f"--regid={USER.pw_gid}",
                                       "--clear-groups"]
DENIED = "EACCES"
SYS_LANDLOCK_CREATE_RULESET, LANDLOCK_VERSION = 444, 1
HAS_LANDLOCK = ctypes.CDLL(None).syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_VERSION) > 0


@pytest.fixture
def start_of_one_user(start_server, public_directory, build_preload, monkeypatch):
    """Starts a server as an ordinary user, with an intruder in each of its processes."""
    intruder = Path(shutil.copy(build_preload("intruder"), public_directory))
    intruder.chmod(0o755)

    def start(model, *options, seccomp="on", landlock=True):
        with monkeypatch.context() as environment:
            environment.setenv("LD_PRELOAD", str(intruder))
            if not landlock:
                environment.setenv("WITHOUT_LANDLOCK", "1")
            return start_server(model, "--seccomp", seccomp, *options, root=public_directory, prefix=AS_USER)
    return start


def intrude(server, what):
    """Has the intruder in a worker do something. Returns the worker's pid, and what became of it: "" is death."""
    with server.connect() as client:
        pid = server.whoami(client)["pid"]
        client.send(what.encode())
        received = b""
        try:
            while piece := client.socket.recv(4096):
                received += piece
        except ConnectionResetError:
            pass
    return pid, received.decode().strip()


def opened(server, path):
    """What becomes of an attempt to open for writing, and of one to open for reading."""
    return intrude(server, f"INTRUDE-OPEN {path}")[1].split()


WITH_LANDLOCK_AND_WITHOUT = pytest.mark.parametrize("landlock", [True, False], ids=["landlock", "no-landlock"])


@NOT_SANITIZED
@SUPERVISED
@WITH_LANDLOCK_AND_WITHOUT
def test_the_master_is_out_of_reach(model, start_of_one_user, landlock):
    server = start_of_one_user(model, landlock=landlock)
    for secret in ("mem", "environ", "maps", "fd/2", "auxv"):
        assert opened(server, f"/proc/{server.pid}/{secret}") == [DENIED, DENIED]


def opened_memories(server):
    """What a worker finds when it opens the memory of each: {True: of its own, False: of siblings}."""
    found = {}
    for pid in server.worker_pids():
        own, answer = intrude(server, f"INTRUDE-OPEN /proc/{pid}/mem")
        found.setdefault(own == pid, set()).add(answer)
    return found


@NOT_SANITIZED
@pytest.mark.models(("prefork", "hybrid"))
@WITH_LANDLOCK_AND_WITHOUT
def test_siblings_are_out_of_reach(model, start_of_one_user, landlock):
    server = start_of_one_user(model, landlock=landlock)
    # Who takes the connection cannot be chosen: until a worker was asked for another one's.
    found = wait_until(lambda: opened_memories(server).get(False), "a worker is asked for a sibling's memory")
    assert found == {f"{DENIED} {DENIED}"}


@NOT_SANITIZED
@pytest.mark.models(("prefork",))
def test_core_files_without_landlock_leave_siblings_open(model, start_of_one_user):
    """As the documentation says; the master stays out of reach."""
    server = start_of_one_user(model, "--core-files", "on", landlock=False)
    wait_until(lambda: opened_memories(server).get(False) == {"open open"}, "a sibling's memory is open")
    assert opened(server, f"/proc/{server.pid}/mem") == [DENIED, DENIED]


@NOT_SANITIZED
@SUPERVISED
@pytest.mark.skipif(not HAS_LANDLOCK, reason="this kernel has no Landlock")
def test_other_processes_of_the_user_are_out_of_reach(model, start_of_one_user):
    server = start_of_one_user(model)
    with subprocess.Popen([*AS_USER, "sleep", "600"]) as stranger:
        try:
            wait_until(lambda: processes.read_process(stranger.pid).name == "sleep", "it has become the user")
            assert opened(server, f"/proc/{stranger.pid}/mem") == [DENIED, DENIED]
        finally:
            stranger.kill()


@NOT_SANITIZED
@pytest.mark.models(("prefork",))
def test_without_the_sandbox_nothing_is_out_of_reach(model, start_of_one_user):
    """As the documentation says; and so that the tests above do not pass by chance."""
    server = start_of_one_user(model, seccomp="off")
    assert opened(server, f"/proc/{server.pid}/mem") == ["open", "open"]


@NOT_SANITIZED
@SUPERVISED
def test_no_connection_is_opened(model, start_of_one_user):
    server = start_of_one_user(model)
    with socket.create_server(("127.0.0.1", 0)) as service:
        service.setblocking(False)
        victim, answer = intrude(server, f"INTRUDE-CONNECT {service.getsockname()[1]}")
        assert answer == ""
        server.wait_for_log(rf"pid {victim}, generation \d+\) was killed by SIGSYS")
        with pytest.raises(BlockingIOError):
            service.accept()


@NOT_SANITIZED
@SUPERVISED
def test_who_stays_root_traces_nobody(model, start_server):
    if os.getuid() != 0:
        pytest.skip("only root can stay root")
    server = start_server(model, "--seccomp", "on")
    cap_sys_ptrace = 1 << 19
    for pid in server.worker_pids():
        status = Path(f"/proc/{pid}/status").read_text()
        assert not int(re.search(r"CapEff:\s*(\w+)", status)[1], 16) & cap_sys_ptrace
        assert not int(re.search(r"CapPrm:\s*(\w+)", status)[1], 16) & cap_sys_ptrace


# What the master, without privileges, sees of its workers all the same.

@NOT_SANITIZED
@pytest.mark.models(models.EACH_KIND)
@WITH_LANDLOCK_AND_WITHOUT
def test_the_master_looks_into_a_stuck_worker(model, start_of_one_user, landlock):
    wanted = r"waits in \w*futex\w*, system call" if landlock and HAS_LANDLOCK else "state S"

    def is_seen():
        """On a busy machine the thread may be found before it waits, or not tell its stack in the time that it has:
        then another server's is to be seen."""
        server = start_of_one_user(model, "--faults", "on", "--stuck-after-ms", "1000", "--on-stuck", "report",
                                   landlock=landlock)
        with server.connect() as client:
            client.send(request_bytes(target="/fault/deadlock"))
            server.wait_for_log(r"is stuck, ")
            wait_until(lambda: server.status()["stuck_processes"], "all is told of it")
        return all(re.search(pattern, server.log())
                   for pattern in (r"is stuck, blocked", wanted, r"#\d+ fault_deadlock at "))
    wait_until(is_seen, "the master tells where it waits")


@NOT_SANITIZED
@pytest.mark.models(models.EACH_KIND)
@pytest.mark.skipif(not HAS_LANDLOCK, reason="without Landlock workers are closed to their master, too")
def test_the_master_reads_the_memory_of_its_workers(model, start_of_one_user):
    server = start_of_one_user(model, "--recycle-above-pss-kib", "102400", "--faults", "on")
    with server.connect() as client:
        leaking = server.whoami(client)["pid"]
        assert client.get(f"/fault/leak?bytes={160 << 20}").status == 200
    wait_until(lambda: leaking not in server.worker_pids(), "it is recycled")
    assert "cannot read" not in server.log()
