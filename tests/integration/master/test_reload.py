"""SIGHUP, SIGUSR1, SIGUSR2: a new configuration, new log files, a new program - and no client notices.
TWINHTTPD_TEST_RELOADS makes the runs under load longer."""

import os
import re
import shutil
import signal
import time

import pytest

from support import models, processes, wrk
from support.client import Client
from support.server import binary, is_free, quiet_port, Server
from support.waiting import DEADLINE_S, wait_until

pytestmark = [pytest.mark.models(models.SUPERVISED)]
RELOADS = int(os.environ.get("TWINHTTPD_TEST_RELOADS", "8"))
TRIAL_MS = 300
# So long may a client stay silent and still be answered by the process that it is connected to.
SILENCE_S = 1.5


@pytest.fixture
def start_configured(start_server, tmp_path):
    """A server with a file of its own; calling change() writes other settings into it."""
    path = tmp_path / "server.yaml"

    def change(text):
        path.write_text(text)

    def start(model, text="log_level: info\n", **how):
        change(text)
        return start_server(model, "--config", str(path), **how), change
    return start


def reload(server):
    """Asks for a reload, and waits until every process is a new one."""
    before = set(server.worker_pids())
    done = server.log().count("all processes have been replaced")
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: server.log().count("all processes have been replaced") > done, "the reload is done")
    wait_until(lambda: not before & set(server.worker_pids()), "the old processes are gone")


def test_every_process_is_replaced(model, start_configured):
    server, _ = start_configured(model)
    generation = server.status()["generation"]
    reload(server)
    server.wait_for_full_strength()
    status = server.status()
    assert status["generation"] == generation + model.processes
    assert len(status["workers"]) == model.slots
    assert status["deaths"] == []
    assert server.get("/plaintext").status == 200
    server.assert_clean_log()
    server.stop()
    if not server.was_cut_short():
        server.assert_clean_log()


def test_the_new_configuration_is_in_force(model, start_configured):
    server, change = start_configured(model)
    assert server.get("/fault/exit?status=0").status == 404
    change("faults: on\nmax_headers: 3\n")
    reload(server)
    assert server.get("/plaintext", [("A", "1"), ("B", "2"), ("C", "3"), ("D", "4")]).status == 431
    assert server.get("/fault/leak?bytes=1").status == 200


def test_the_last_of_several_reloads_is_in_force(model, start_configured):
    """Whenever it comes: also while the one before is on trial."""
    server, change = start_configured(model)
    client_headers = [("A", "1"), ("B", "2"), ("C", "3"), ("D", "4")]
    for number in range(RELOADS):
        change("max_headers: 50\n")
        os.kill(server.pid, signal.SIGHUP)
        time.sleep(0.0005 * number)  # the moment is what is tried
        change("max_headers: 3\n")
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: server.get("/plaintext", client_headers).status == 431, "the second is in force")
        change("max_headers: 50\n")
        reload(server)
    assert "not reloading" not in server.log()


@pytest.mark.parametrize("text, reason", [
    ("threads: many\n", "threads"), ("no_such_setting: 1\n", "no_such_setting"), ("access_log: /no/such/place/log\n", "access log"),
    ("error_log: /no/such/place/log\n", "error log"),
])
def test_a_bad_configuration_changes_nothing(model, start_configured, text, reason):
    server, change = start_configured(model)
    pids = server.worker_pids()
    change(text)
    os.kill(server.pid, signal.SIGHUP)
    server.wait_for_log(rf"\[error\] master .*refused.*{reason}")
    assert server.get("/plaintext").status == 200
    assert server.worker_pids() == pids
    change("log_level: info\n")
    reload(server)


def test_an_open_connection_gets_its_answer_and_then_the_close(model, start_configured):
    server, _ = start_configured(model)
    with server.connect() as client:
        pid = server.whoami(client)["pid"]
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: "all processes have been replaced" in server.log(), "the reload is done")
        time.sleep(SILENCE_S)  # the client takes its time: that is what is tested
        response = client.get("/whoami")
        assert response.status == 200
        assert f'"pid":{pid}' in response.body.decode().replace(" ", "")
        assert response.says_close
        client.expect_close()
    wait_until(lambda: pid not in server.worker_pids(), "the old process has ended")


def test_who_stays_silent_is_cut_at_the_drain_deadline(model, start_configured):
    server, _ = start_configured(model, "drain_timeout_ms: 1000\n")

    def ends_by_itself():
        with server.connect() as client:
            pid = server.whoami(client)["pid"]
            os.kill(server.pid, signal.SIGHUP)
            client.expect_close()
        wait_until(lambda: all(worker["pid"] != pid for worker in server.status()["workers"]), "the old process is gone")
        # Who has no CPU for a second after its deadline is killed by rights: then another one is to show it.
        late = re.findall(r"killing process \d+ \(pid (\d+)\), which has not ended in time", server.log())
        assert {str(death["pid"]) for death in server.status()["deaths"]} <= set(late)
        return str(pid) not in late
    wait_until(ends_by_itself, "it ends at its deadline")


def test_the_dead_that_nobody_follows_are_not_on_show(model, start_configured):
    server, _ = start_configured(model)
    with server.connect() as client:
        pid = server.whoami(client)["pid"]  # it cannot end before this client asks again
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: "all processes have been replaced" in server.log(), "the reload is done")
        os.kill(pid, signal.SIGKILL)
        server.wait_for_death(pid)
    wait_until(lambda: [worker["state"] for worker in server.status()["workers"]] == ["ready"] * model.slots,
               "only workers that live are on show")


@pytest.mark.models(("prefork", "hybrid", "hybrid-request"))
def test_more_and_fewer_workers(model, start_server, tmp_path, site):
    path = tmp_path / "server.yaml"
    path.write_text("workers: 2\n")
    options = [option for option in model.options if option not in ("--workers", "2")]
    if "--threads" in model.options:
        options = [*model.options[2:]]
    command = [binary(model), "--listen", "127.0.0.1:0", "--root", str(site), "--config", str(path), *options]
    server = Server(model, command, tmp_path)
    try:
        for count in (5, 1, 3):
            path.write_text(f"workers: {count}\n")
            os.kill(server.pid, signal.SIGHUP)
            wait_until(lambda: len(server.worker_pids()) == count and len(server.status()["workers"])
                       == count * (model.loops + model.pool), f"{count} workers")
        assert server.status()["deaths"] == []
        server.stop()
    finally:
        server.clean_up()


def test_another_address(model, start_server, tmp_path, site):
    first, second = quiet_port(), quiet_port()
    path = tmp_path / "server.yaml"
    path.write_text(f"listen: 127.0.0.1:{first}\n")
    command = [binary(model), "--root", str(site), "--config", str(path), *model.options]
    server = Server(model, command, tmp_path)
    try:
        path.write_text(f"listen: 127.0.0.1:{second}\n")
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: "all processes have been replaced" in server.log(), "the reload is done")
        with Client(("127.0.0.1", second)) as client:
            assert client.get("/plaintext").status == 200
        wait_until(lambda: is_free(first), "nobody listens at the old address")
        server.stop()
    finally:
        server.clean_up()


def test_the_counters_go_on(model, start_configured):
    server, _ = start_configured(model)
    for _ in range(10):
        assert server.get("/plaintext").status == 200
    before = server.status()["totals"]["requests_finished"]
    reload(server)
    # While the master moves what one of the old ones has counted, that may be missing.
    wait_until(lambda: server.status()["totals"]["requests_finished"] >= before, "what was counted is there")
    assert server.status()["totals"]["requests_lost"] == 0


# Under load.

def assert_nothing_failed(result):
    assert result.requests > 0
    assert (result.connect_errors, result.read_errors, result.write_errors, result.timeouts,
            result.bad_statuses) == (0, 0, 0, 0, 0)


@pytest.mark.serial
@pytest.mark.slow
@pytest.mark.models(models.UNDER_LOAD)
def test_no_request_fails_during_reloads(model, start_configured, start_load):
    server, _ = start_configured(model)
    load = start_load(server, "/hello.txt")
    for _ in range(RELOADS):
        reload(server)
    assert_nothing_failed(wrk.end(load))
    totals = server.status()["totals"]
    assert (totals["deaths"], totals["requests_lost"]) == (0, 0)
    # wrk leaves without waiting for the answers that are under way.
    wait_until(lambda: server.status()["totals"]["connections_open"] == 0, "wrk is gone")


# SIGUSR1.

def test_logs_are_opened_again(model, start_server, tmp_path):
    access, error = tmp_path / "access.log", tmp_path / "error.log"
    server = start_server(model, "--access-log", str(access), "--error-log", str(error))
    assert server.get("/plaintext?before").status == 200
    wait_until(lambda: "before" in access.read_text(), "the line is written")
    access.rename(tmp_path / "access.1")
    error.rename(tmp_path / "error.1")
    os.kill(server.pid, signal.SIGUSR1)
    wait_until(lambda: access.exists() and error.exists() and "open again" in error.read_text(),
               "the files are there again")

    def lines_arrive():
        assert server.get("/plaintext?after").status == 200
        return "after" in access.read_text()
    wait_until(lines_arrive, "a worker writes to the new file")
    wait_until(lambda: all(processes.has_open(pid, access) for pid in server.worker_pids()), "every process has it open")
    old = (tmp_path / "access.1").read_text()
    for _ in range(20):
        assert server.get("/plaintext?late").status == 200
    wait_until(lambda: access.read_text().count("late") >= 20, "the lines are written")
    server.stop()
    assert access.read_text().count("late") == 20
    assert "late" not in (tmp_path / "access.1").read_text()[len(old):]


# SIGUSR2.

@pytest.fixture
def start_copied(model, tmp_path, site):
    """A server that runs from a copy of the binary, which a test may replace."""
    program = tmp_path / model.binary
    shutil.copy(binary(model), program)
    directory = tmp_path / "server"
    directory.mkdir()
    command = [str(program), "--listen", "127.0.0.1:0", "--root", str(site), "--upgrade-trial-ms", str(TRIAL_MS),
               *model.options]
    server = Server(model, command, directory)
    yield server, program
    server.clean_up()


def upgrade(server, pid):
    """Asks the master for an upgrade; returns the new master when the old one has left."""
    os.kill(pid, signal.SIGUSR2)
    wait_until(lambda: not processes.is_alive(pid) or server.process.poll() is not None and pid == server.pid,
               "the old program has left")
    return wait_until(server.master_that_answers, "the new program answers")


def end(server, pid):
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not processes.living_in_session(server.session), "nothing is left")
    server.assert_no_sanitizer_report()


def test_a_new_program_takes_over(model, start_copied):
    server, _ = start_copied
    old = server.pid
    workers = server.worker_pids()
    new = upgrade(server, old)
    assert new != old
    assert server.process.wait(DEADLINE_S) == 0
    assert not any(processes.is_alive(pid) for pid in workers)
    assert server.get("/plaintext").status == 200
    end(server, new)


def test_an_old_connection_gets_its_answer_from_the_old_program(model, start_copied):
    server, _ = start_copied
    with server.connect() as client:
        pid = server.whoami(client)["pid"]
        os.kill(server.pid, signal.SIGUSR2)
        wait_until(lambda: "serves: retiring" in server.log(), "the new program serves")

        def is_told_to_close():
            response = client.get("/whoami")
            assert f'"pid":{pid}' in response.body.decode().replace(" ", "")
            return response.says_close
        wait_until(is_told_to_close, "the old process says that it leaves")  # it may not have heard of it yet
    wait_until(server.is_stopped, "the old program has left")
    end(server, server.master_that_answers())


def test_a_program_that_cannot_start_changes_nothing(model, start_copied):
    server, program = start_copied
    program.unlink()
    shutil.copy("/bin/false", program)
    os.kill(server.pid, signal.SIGUSR2)
    server.wait_for_log(r"the new program \(pid \d+\) exited with status 1: this one goes on")
    assert server.master_that_answers() == server.pid
    program.unlink()
    shutil.copy(binary(model), program)
    end(server, upgrade(server, server.pid))


@pytest.mark.models(("prefork", "threadpool-connection"))
def test_a_stop_also_ends_a_program_that_is_not_ready(model, start_copied):
    """Otherwise it would serve later, when everybody thinks that the server is down."""
    server, program = start_copied
    program.unlink()
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    os.kill(server.pid, signal.SIGUSR2)
    server.wait_for_log("upgrading: started")
    server.stop()


def test_nothing_of_the_old_address_stays_open(model, start_configured):
    """The sockets of a configuration on trial are the master's alone."""
    server, _ = start_configured(model)
    fds = max(processes.open_fds(pid) for pid in server.worker_pids())
    for _ in range(3):
        reload(server)
    server.wait_for_full_strength()
    wait_until(lambda: max(processes.open_fds(pid) for pid in server.worker_pids()) <= fds,
               "no more descriptors than before")


@pytest.mark.models(("prefork", "threadpool-connection"))
def test_a_program_that_dies_on_trial_gives_the_service_back(model, tmp_path, site):
    command = [binary(model), "--listen", "127.0.0.1:0", "--root", str(site), "--upgrade-trial-ms", "60000",
               *model.options]
    server = Server(model, command, tmp_path)
    try:
        os.kill(server.pid, signal.SIGUSR2)
        wait_until(lambda: "serves: retiring" in server.log(), "the new program serves")
        # A worker of the old program may answer still: so the other master is the one that is meant.
        new = wait_until(lambda: next((pid for pid in [server.master_that_answers()] if pid != server.pid), None),
                         "it is asked")
        os.kill(new, signal.SIGKILL)
        server.wait_for_log("this one serves again")
        wait_until(lambda: server.master_that_answers() == server.pid, "the old program answers")
        server.wait_for_full_strength()
        server.stop()
    finally:
        server.clean_up()


@pytest.mark.serial
@pytest.mark.slow
@pytest.mark.models(models.UNDER_LOAD)
def test_no_request_fails_during_upgrades(model, start_copied, start_load):
    server, _ = start_copied
    load = start_load(server, "/hello.txt")
    pid = server.pid
    for _ in range(RELOADS):
        pid = upgrade(server, pid)
    assert_nothing_failed(wrk.end(load))
    end(server, pid)
