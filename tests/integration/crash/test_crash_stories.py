"""What a worker that dies of a fault says about it: in the log and in the scoreboard."""

import os
import re
import resource
import signal
from pathlib import Path

import pytest

from support import models, processes, server as servers
from support.client import request_bytes
from support.waiting import wait_until

SUPERVISED = pytest.mark.models(models.SUPERVISED)
BARE = pytest.mark.models(("threadpool-bare",))

# fault: signal, si_code, function that faults, function of the handler
FAULTS = {
    "segv": ("SIGSEGV", "SEGV_MAPERR", "write_to_null", "fault_segv"),
    "abort": ("SIGABRT", "SI_TKILL", None, "fault_abort"),
    "check": ("SIGABRT", "SI_TKILL", None, "fault_check"),
    "fpe": ("SIGFPE", "FPE_INTDIV", "divide", "fault_fpe"),
    "bus": ("SIGBUS", "BUS_ADRERR", "read_beyond_the_file", "fault_bus"),
    "ill": ("SIGILL", "ILL_ILLOPN", "run_no_instruction", "fault_ill"),
    "stack-overflow": ("SIGSEGV", None, "recurse", "fault_stack_overflow"),
}


def crash_by_request(server, fault):
    """The crash story of the scoreboard, of a worker that was asked to die, and what it should say."""
    with server.connect() as client:
        who = server.whoami(client)
        client.send(request_bytes(target=f"/fault/{fault}"))
        client.expect_close()
        return who, client.name, wait_for_story(server, who["pid"])


def wait_for_story(server, pid):
    """The teller needs a moment after the death."""
    return wait_until(lambda: (server.find_death(pid) or {}).get("crash"),
                      f"the scoreboard tells the crash of {pid}")


def functions(story):
    return [frame["function"] for frame in story["frames"]]


@SUPERVISED
@pytest.mark.parametrize("fault", FAULTS)
def test_the_story_in_status(model, start_server, fault):
    server = start_server(model, "--faults", "on")
    tids = {worker["slot"]: worker["tid"] for worker in server.status()["workers"]}
    signal_name, code, culprit, handler = FAULTS[fault]
    who, client, story = crash_by_request(server, fault)
    assert story["signal"] == signal_name
    assert story["code"] == code or code is None
    assert story["tid"] == tids[story["slot"]]
    assert story["request"] == {"line": f"GET /fault/{fault} HTTP/1.1", "client": client}
    assert story["stack_overflow"] == (fault == "stack-overflow")
    assert story["sender"] == ({"pid": who["pid"], "uid": os.getuid()} if signal_name == "SIGABRT" else None)
    assert (story["assertion"] is not None) == (fault == "check")
    assert (story["address"] is None) == (fault != "segv"), "where code and data lie is nobody's business"
    assert handler in functions(story)
    assert functions(story)[0] == culprit or culprit is None
    frame = story["frames"][functions(story).index(handler)]
    assert frame["file"] == "common/handlers/lab/fault.c"
    assert frame["module"] == model.binary
    source = (servers.REPOSITORY / frame["file"]).read_text().splitlines()
    assert 0 < frame["line"] <= len(source)
    assert (story["frames_left_out"] > 1000) == (fault == "stack-overflow")


@SUPERVISED
def test_the_line_of_the_fault(model, start_server):
    server = start_server(model, "--faults", "on")
    _, _, story = crash_by_request(server, "segv")
    culprit = story["frames"][0]
    source = (servers.REPOSITORY / culprit["file"]).read_text().splitlines()
    assert "*nowhere = 1;" in source[culprit["line"] - 1]
    assert story["address"] == "0x0"


FAILED_CHECK = r"`connections_open >= 0` at common/handlers/lab/fault\.c:(\d+)"


def assert_names_the_check(match):
    source = (servers.REPOSITORY / "common/handlers/lab/fault.c").read_text().splitlines()
    assert "CHECK(connections_open >= 0)" in source[int(match[1]) - 1]


@SUPERVISED
def test_a_failed_assertion(model, start_server):
    server = start_server(model, "--faults", "on")
    _, client, story = crash_by_request(server, "check")
    assert_names_the_check(re.fullmatch(FAILED_CHECK, story["assertion"]))
    assert_names_the_check(server.wait_for_log(rf"\[error\] slot \d+ pid \d+: assertion failed: {FAILED_CHECK}\n"))
    assert_names_the_check(server.wait_for_log(
        rf"process \d+: SIGABRT \(SI_TKILL\), assertion failed: {FAILED_CHECK}, in thread \d+ \(slot \d+\), handling "
        + re.escape(f'"GET /fault/check HTTP/1.1" from {client}\n')))


@BARE
def test_a_failed_assertion_without_a_master(model, start_server):
    server = start_server(model, "--faults", "on", "--seccomp", "off")
    with server.connect() as client:
        client.send(request_bytes(target="/fault/check"))
        client.expect_close()
    assert server.wait_for_exit() == -signal.SIGABRT
    assert_names_the_check(server.wait_for_log(rf"process 0: SIGABRT .*assertion failed: {FAILED_CHECK}, in thread"))


def assert_logged(server, worker, fault, client):
    """One line that says it all, and the frames, all found by the name of the worker; others write between them."""
    head = server.wait_for_log(
        rf"process {worker}: SIGSEGV \(SEGV_MAPERR\) at 0x0 in thread \d+ \(slot \d+\), handling "
        + re.escape(f'"GET /fault/{fault} HTTP/1.1" from {client}\n'))
    frames = server.wait_for_log(
        rf"process {worker}: #0 write_to_null at common/handlers/lab/fault.c:\d+\n(?:.*\n)*?"
        rf".*process {worker}: #1 fault_segv at common/handlers/lab/fault.c:\d+\n(?:.*\n)*?"
        rf".*process {worker}: #2 http_exchange_run at common/http/exchange.c:\d+\n")
    assert head.start() < frames.start()


@SUPERVISED
def test_the_story_in_the_log(model, start_server):
    server = start_server(model, "--faults", "on")
    processes_of = {worker["pid"]: worker["process"] for worker in server.status()["workers"]}
    who, client, _ = crash_by_request(server, "segv")
    assert_logged(server, processes_of[who["pid"]], "segv", client)


@BARE
def test_a_server_without_a_master_tells_its_own(model, start_server):
    server = start_server(model, "--faults", "on", "--seccomp", "off")
    with server.connect() as client:
        client.send(request_bytes(target="/fault/segv"))
        client.expect_close()
        assert server.wait_for_exit() == -signal.SIGSEGV
        assert_logged(server, 0, "segv", client.name)


@BARE
def test_a_stack_overflow_without_a_master(model, start_server):
    server = start_server(model, "--faults", "on", "--seccomp", "off")
    with server.connect() as client:
        client.send(request_bytes(target="/fault/stack-overflow"))
        client.expect_close()
    assert server.wait_for_exit() == -signal.SIGSEGV
    server.wait_for_log(r"process 0: SIGSEGV \(SEGV_\w+\) at 0x\w+ \(stack overflow\) in thread")
    server.wait_for_log(r"process 0: #\d{4,} fault_stack_overflow at common/handlers/lab/fault.c:\d+")


@BARE
@pytest.mark.skipif(servers.SANITIZED, reason="sanitizers make system calls of their own")
def test_without_a_master_and_confined_it_has_no_names(model, start_server):
    """Looking names up takes a process, which a confined one may not start."""
    server = start_server(model, "--faults", "on", "--seccomp", "on")
    with server.connect() as client:
        client.send(request_bytes(target="/fault/segv"))
        client.expect_close()
    assert server.wait_for_exit() == -signal.SIGSEGV
    server.wait_for_log(r"process 0: SIGSEGV \(SEGV_MAPERR\) at 0x0 in thread")


@SUPERVISED
def test_a_killed_worker_tells_nothing(model, start_server):
    """But the journal names what was lost (test_crash.py)."""
    server = start_server(model)
    victim = server.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    server.wait_for_recovery_ms(victim)
    assert server.find_death(victim)["crash"] is None
    assert "SIGKILL (" not in server.log()


@SUPERVISED
def test_a_signal_from_outside_names_its_sender(model, start_server):
    server = start_server(model)
    victim = server.worker_pids()[0]
    os.kill(victim, signal.SIGSEGV)
    wait_until(lambda: not processes.is_alive(victim), "it no longer takes connections")
    story = wait_for_story(server, victim)
    assert (story["signal"], story["code"]) == ("SIGSEGV", "SI_USER")
    assert story["sender"] == {"pid": os.getpid(), "uid": os.getuid()}
    assert story["request"] is None
    assert story["address"] is None
    server.wait_for_log(rf"SIGSEGV \(SI_USER\) sent by pid {os.getpid()} of user {os.getuid()} in "
                        r"thread \d+ .*, handling no request")


@pytest.mark.models(("threadpool-connection", "threadpool-request-blocking",
                     "threadpool-request-all", "hybrid", "hybrid-request"))
def test_threads_that_crash_at_once(model, start_server):
    """One of them tells; the process dies of its signal, and no successor inherits anything."""
    server = start_server(model, "--faults", "on")
    clients = [server.connect() for _ in range(8)]
    pids = {client: server.whoami(client)["pid"] for client in clients}
    for client in clients:
        client.send(request_bytes(target="/fault/segv"))
    for client in clients:
        client.read_to_end()
        client.close()
    for pid in set(pids.values()):
        story = wait_for_story(server, pid)
        assert (story["signal"], functions(story)[:2]) == ("SIGSEGV",
                                                           ["write_to_null", "fault_segv"])
        assert server.find_death(pid)["signal"] == "SIGSEGV"
    server.wait_for_full_strength()
    assert server.get("/plaintext").status == 200


@SUPERVISED
def test_two_crashes_have_two_stories(model, start_server):
    server = start_server(model, "--faults", "on")
    first, _, first_story = crash_by_request(server, "fpe")
    server.wait_for_full_strength(without_pid=first["pid"])
    second, _, second_story = crash_by_request(server, "segv")
    assert first["pid"] != second["pid"]
    assert (first_story["signal"], second_story["signal"]) == ("SIGFPE", "SIGSEGV")
    assert server.find_death(first["pid"])["crash"] == first_story


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_a_request_cannot_forge_the_log(model, start_server):
    server = start_server(model, "--faults", "on")
    target = '/fault/segv?"%20from%2010.0.0.1:1"'
    with server.connect() as client:
        pid = server.whoami(client)["pid"]
        client.send(request_bytes(target=target))
        answer = client.read_to_end()
    if not answer:  # quotes are let through
        wait_for_story(server, pid)
        server.wait_for_log(r'handling "GET /fault/segv\?\\"%20from%2010\.0\.0\.1:1\\" HTTP/1\.1" from')


# Core files.

def limit_of_core_files(pid):
    line = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
                if line.startswith("Max core file size"))
    return line.split()[4:6]


@pytest.mark.skipif(servers.SANITIZED, reason="sanitizers have a limit of core files of their own")
@pytest.mark.parametrize("setting, soft", [("on", "hard"), ("off", "0")])
def test_core_files(model, start_server, setting, soft):
    before = resource.getrlimit(resource.RLIMIT_CORE)
    some = 1 << 20 if before[1] == resource.RLIM_INFINITY else before[1]
    server = start_server(model, "--core-files", setting,
                          prefix=("prlimit", f"--core={some // 2}:{some}"))
    for pid in server.worker_pids():
        assert limit_of_core_files(pid) == [str(some) if soft == "hard" else "0", str(some)]


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
@pytest.mark.skipif(servers.SANITIZED, reason="the core file of a sanitizer takes terabytes")
@pytest.mark.skipif(not Path("/proc/sys/kernel/core_pattern").read_text().startswith("core"),
                    reason="the kernel sends core files elsewhere")
def test_a_core_file_is_left(model, start_server, tmp_path):
    server = start_server(model, "--faults", "on", "--core-files", "on")
    crash_by_request(server, "segv")
    directory = server.stderr_path.parent
    wait_until(lambda: list(directory.glob("core*")), "a core file")
    server.wait_for_full_strength()
    wait_until(lambda: processes.zombie_children(server.pid) == [], "the teller is reaped")
