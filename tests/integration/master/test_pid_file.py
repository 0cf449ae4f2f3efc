"""The pid file: written when the server starts, one server a file, removed when it stops."""

import os
import signal

import pytest

from support import models, processes
from support.server import refusal
from support.waiting import DEADLINE_S, wait_until

SUPERVISED = pytest.mark.models(models.SUPERVISED)


@pytest.fixture
def pid_file(tmp_path):
    return tmp_path / "server.pid"


@SUPERVISED
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGQUIT], ids=["TERM", "QUIT"])
def test_it_lives_as_long_as_the_server(model, start_server, pid_file, signal_number):
    server = start_server(model, "--pid-file", str(pid_file))
    assert pid_file.read_text() == f"{server.pid}\n"
    victim = server.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    server.wait_for_full_strength(without_pid=victim)
    assert pid_file.read_text() == f"{server.pid}\n", "workers leave it alone"
    server.stop(signal_number)
    assert not pid_file.exists()


@SUPERVISED
def test_it_is_open_in_the_master_alone(model, start_server, pid_file):
    """A worker may be another user: it could write to the file through the descriptor."""
    server = start_server(model, "--pid-file", str(pid_file))
    victim = server.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    server.wait_for_full_strength(without_pid=victim)
    assert processes.has_open(server.pid, pid_file)
    assert not any(processes.has_open(pid, pid_file) for pid in server.worker_pids())


def test_a_second_server_is_refused(model, start_server, pid_file):
    server = start_server(model, "--pid-file", str(pid_file))
    message = refusal(model, "--listen", "127.0.0.1:0", "--pid-file", str(pid_file))
    assert f"{pid_file} belongs to a running server, pid {server.pid}" in message
    assert pid_file.read_text() == f"{server.pid}\n"


def test_what_a_killed_server_left_is_replaced(model, start_server, pid_file):
    server = start_server(model, "--pid-file", str(pid_file))
    os.kill(server.pid, signal.SIGKILL)
    server.process.wait(DEADLINE_S)
    wait_until(lambda: not processes.living_in_session(server.session), "the workers are gone")
    assert pid_file.read_text() == f"{server.pid}\n"
    successor = start_server(model, "--pid-file", str(pid_file))
    assert pid_file.read_text() == f"{successor.pid}\n"


@SUPERVISED
def test_a_refused_start_leaves_no_file(model, start_server, pid_file):
    port = start_server(model).address[1]
    refusal(model, "--listen", f"127.0.0.1:{port}", "--pid-file", str(pid_file))
    assert not pid_file.exists()


@SUPERVISED
@pytest.mark.parametrize("program_dies", [False, True], ids=["it stays", "it dies on trial"])
def test_an_upgrade_hands_it_over(model, start_server, pid_file, program_dies):
    server = start_server(model, "--pid-file", str(pid_file), "--upgrade-trial-ms",
                          "60000" if program_dies else "100")
    os.kill(server.pid, signal.SIGUSR2)
    wait_until(lambda: pid_file.read_text() != f"{server.pid}\n", "the new program has the file")
    successor = int(pid_file.read_text())
    if program_dies:
        server.wait_for_log("serves: retiring")
        os.kill(successor, signal.SIGKILL)
        server.wait_for_log("this one serves again")
        wait_until(lambda: pid_file.read_text() == f"{server.pid}\n", "the old one has it back")
        server.wait_for_full_strength()
        server.stop()
    else:
        wait_until(server.is_stopped, "the old program has left")
        assert pid_file.read_text() == f"{successor}\n"
        os.kill(successor, signal.SIGTERM)
        wait_until(lambda: not processes.living_in_session(server.session), "nothing is left")
    assert not pid_file.exists()


def test_the_bare_server_leaves_a_file_that_nobody_holds(start_server, pid_file):
    for model in models.selected(("threadpool-bare",)):
        for _ in range(2):
            server = start_server(model, "--pid-file", str(pid_file))
            server.stop()
            assert pid_file.read_text() == f"{server.pid}\n"
