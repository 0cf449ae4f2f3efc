"""Processes that do not start as they should, and addresses that change: whatever comes together, somebody
serves, and a new configuration is judged by its own processes alone."""

import itertools
import os
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest

from support import control, models, processes
from support.client import Client
from support.server import binary, is_free, quiet_port, refusal, SANITIZED, Server
from support.waiting import DEADLINE_S, wait_until

pytestmark = [pytest.mark.skipif(SANITIZED, reason="the sanitizer's library must be loaded before any other")]
WORKERS = 3
SILENCE_S = 1.5  # longer than the patience beyond a drain deadline
PREFORK = models.BY_NAME["prefork"]


class Supervised(Server):
    """A prefork server with a file of settings that a test changes, and a gate for its processes."""

    SETTINGS = {"workers": WORKERS, "start_timeout_ms": 60000, "upgrade_trial_ms": 60000, "drain_timeout_ms": 600000}

    def __init__(self, directory, site, gate, **settings):
        self.path = directory / "server.yaml"
        self.listen = f"127.0.0.1:{quiet_port()}"  # which nobody else gets when it is given up
        self.configure(**settings)
        super().__init__(PREFORK, [binary(PREFORK), "--root", str(site), "--config", str(self.path)], directory,
                         env=gate.environment)
        self.wait_for_workers()

    def configure(self, **settings):
        settings = {"listen": self.listen, **self.SETTINGS, **settings}
        self.path.write_text("".join(f"{name}: {value}\n" for name, value in settings.items()))

    def wait_for_workers(self):
        wait_until(lambda: [worker["state"] for worker in self.status()["workers"]] == ["ready"] * WORKERS,
                   "all workers are ready")

    def reload(self, **settings):
        self.configure(**settings)
        os.kill(self.pid, signal.SIGHUP)

    def pid_of(self, number):
        return next(worker["pid"] for worker in self.status()["workers"] if worker["process"] == number)


@pytest.fixture
def supervised(tmp_path, site, gate):
    server = Supervised(tmp_path, site, gate)
    try:
        yield server
        if processes.living_in_session(server.session):
            server.stop()
    finally:
        server.clean_up()


def is_refused(port):
    try:
        Client(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def wait_for_faults(server):
    """Until the new configuration answers: a process that has just been told to retire may still accept."""
    wait_until(lambda: server.get("/fault/leak?bytes=1").status == 200, "the faults are there")


def answers(port):
    with Client(("127.0.0.1", port)) as client:
        return client.get("/plaintext").status == 200


@pytest.mark.models(("prefork", "threadpool-connection", "hybrid"))
def test_a_server_whose_processes_do_not_become_ready_gives_up(model, gate, site):
    gate.close()
    command = [binary(model), "--listen", "127.0.0.1:0", "--root", str(site), "--start-timeout-ms", "300",
               *model.options]
    result = subprocess.run(command, env=gate.environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert result.returncode == 1
    assert "which has not become ready in time" in result.stderr
    assert "a process cannot start: giving up" in result.stderr


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="gives up a capability")
def test_a_master_that_may_not_signal_its_workers_does_not_start(public_directory):
    message = refusal(PREFORK, "--listen", "127.0.0.1:0", "--root", str(public_directory), "--user", "nobody",
                      prefix=("setpriv", "--bounding-set", "-kill"))
    assert "a signal to them takes CAP_KILL" in message


def test_a_configuration_whose_process_does_not_become_ready_is_taken_back(supervised, gate):
    pids = supervised.worker_pids()
    gate.close()
    supervised.reload(faults="on", start_timeout_ms=300)
    supervised.wait_for_log("which has not become ready in time")
    supervised.wait_for_log("no process can start with the new configuration, the old one stays")
    wait_until(lambda: supervised.worker_pids() == pids, "only the old processes are there")
    gate.open()
    supervised.reload(faults="on")
    supervised.wait_for_log("all processes have been replaced")
    wait_for_faults(supervised)


def test_a_process_of_the_old_configuration_does_not_decide_the_trial(supervised, gate):
    gate.close()
    victim = supervised.pid_of(0)
    os.kill(victim, signal.SIGKILL)
    supervised.wait_for_death(victim)
    wait_until(lambda: len(supervised.worker_pids()) == WORKERS, "the replacement is there")
    supervised.reload(faults="on")
    supervised.wait_for_log("reloading the configuration")
    gate.break_down()
    gate.open()
    supervised.wait_for_log("no process can start with the new configuration, the old one stays")
    gate.mend()
    supervised.wait_for_workers()
    assert "in force" not in supervised.log()
    assert supervised.get("/fault/leak?bytes=1").status == 404


def test_the_death_of_an_old_process_does_not_end_the_trial(supervised, gate):
    gate.close()
    victim = supervised.pid_of(0)
    others = set(supervised.worker_pids()) - {victim}
    os.kill(victim, signal.SIGKILL)
    supervised.wait_for_death(victim)
    replacement = wait_until(lambda: set(supervised.worker_pids()) - others, "the replacement is there").pop()
    supervised.reload(faults="on")
    supervised.wait_for_log("reloading the configuration")
    os.kill(replacement, signal.SIGKILL)
    supervised.wait_for_death(replacement)
    gate.open()
    supervised.wait_for_log("the new configuration is in force")
    supervised.wait_for_log("all processes have been replaced")
    supervised.wait_for_workers()
    wait_for_faults(supervised)


def test_a_successor_that_fails_is_tried_again(supervised, gate):
    gate.close()
    supervised.reload(faults="on")
    gate.let_one_pass()
    supervised.wait_for_log("the new configuration is in force")
    gate.break_down()
    gate.open()
    supervised.wait_for_log("the successor of process [12] could not start: the old one goes on")
    assert "all processes have been replaced" not in supervised.log()
    gate.mend()
    supervised.wait_for_log("all processes have been replaced")
    wait_for_faults(supervised)


def test_who_is_slow_to_fail_is_not_started_without_end(supervised, gate):
    gate.break_down()
    os.kill(supervised.pid_of(1), signal.SIGKILL)
    supervised.wait_for_log("process 1 keeps dying at once: the next one starts in")
    gate.mend()
    supervised.wait_for_workers()


def test_who_dies_beside_its_successor_leaves_no_places_behind(supervised, gate):
    old, last = set(supervised.worker_pids()), supervised.pid_of(WORKERS - 1)
    gate.close()
    supervised.reload()
    for _ in range(WORKERS - 1):
        gate.let_one_pass()
    wait_until(lambda: len(set(processes.living_children(supervised.pid)) - old) == WORKERS, "all successors are started")
    os.kill(last, signal.SIGKILL)
    wait_until(lambda: last not in processes.living_children(supervised.pid), "its predecessor is dead")
    gate.open()
    supervised.wait_for_workers()


def test_a_new_address_lives_through_a_death_and_a_removal(supervised, gate):
    """Only who listens at the old address gives it up."""
    port = quiet_port()
    gate.close()
    supervised.reload(listen=f"127.0.0.1:{port}")
    gate.let_one_pass()
    supervised.wait_for_log("the new configuration is in force")
    assert answers(port)
    os.kill(supervised.pid_of(2), signal.SIGKILL)
    wait_until(lambda: len(processes.living_children(supervised.pid)) == WORKERS + 1,
               "a replacement of 2 and a successor of 1 are there")
    gate.let_one_pass()
    gate.let_one_pass()
    supervised.wait_for_log("all processes have been replaced")
    os.kill(supervised.pid, signal.SIGTTOU)
    supervised.wait_for_log("2 processes instead of 3")
    wait_until(lambda: len(supervised.worker_pids()) == WORKERS - 1, "one process less")
    assert all(answers(port) for _ in range(20))
    assert is_free(supervised.address[1])
    supervised.address = ("127.0.0.1", port)


def test_the_old_address_is_served_until_its_last_process_goes(supervised, gate):
    port = quiet_port()
    gate.close()
    supervised.reload(listen=f"127.0.0.1:{port}")
    old = supervised.address[1]
    for _ in range(WORKERS - 1):
        gate.let_one_pass()
    assert answers(port)
    assert answers(old)
    gate.open()
    supervised.wait_for_log("all processes have been replaced")
    wait_until(lambda: is_free(old), "nobody listens at the old address")
    supervised.address = ("127.0.0.1", port)


def test_one_process_that_is_told_to_drain_leaves_the_address_to_the_others(supervised):
    victim = supervised.pid_of(1)
    os.kill(victim, signal.SIGQUIT)
    supervised.wait_for_death(victim)
    assert all(answers(supervised.address[1]) for _ in range(20))
    supervised.wait_for_workers()


# Orders that come during a reload.

def wait_for_count(server, count):
    def is_over():
        log = server.log()
        return log.rfind("all processes have been replaced") >= log.rfind("in force: ")
    wait_until(is_over, "no reload is under way")
    wait_until(lambda: len(server.worker_pids()) == count, f"there are {count} processes")


def begin_trial(server, gate, **settings):
    """A reload that is not decided; returns the process on trial."""
    before = set(server.worker_pids())
    gate.close()
    server.reload(**settings)
    return wait_until(lambda: set(server.worker_pids()) - before, "a process is on trial").pop()


def test_reloads_during_a_reload_are_done_afterwards(supervised, gate):
    """All at once, with what the file says then."""
    begin_trial(supervised, gate, workers=WORKERS + 1)
    supervised.reload(workers=WORKERS + 2)
    supervised.wait_for_log("a reload is put off until the reload under way is decided")
    supervised.reload(workers=WORKERS - 1)
    wait_until(lambda: supervised.log().count("is put off") == 2, "the third waits, too")
    gate.open()
    wait_until(lambda: supervised.log().count("in force: ") == 2, "both are done")
    wait_for_count(supervised, WORKERS - 1)
    assert supervised.log().count("reloading the configuration") == 2


@pytest.mark.parametrize("second, count", [({"workers": WORKERS + 1}, WORKERS + 1), ({"workers": "many"}, WORKERS)])
def test_a_reload_that_fails_is_followed_by_the_next(supervised, gate, second, count):
    on_trial = begin_trial(supervised, gate, workers=WORKERS + 5)
    supervised.reload(**second)
    supervised.wait_for_log("a reload is put off")
    os.kill(on_trial, signal.SIGKILL)
    supervised.wait_for_log("the old one stays; the reason stands above")
    gate.open()
    supervised.wait_for_log("in force: " if count > WORKERS else "the new configuration is refused, the old one stays")
    wait_for_count(supervised, count)


def test_an_upgrade_during_a_reload_is_done_afterwards(supervised, gate):
    begin_trial(supervised, gate, workers=WORKERS + 1)
    os.kill(supervised.pid, signal.SIGUSR2)
    supervised.wait_for_log("an upgrade is put off until the reload under way is decided")
    gate.open()
    supervised.wait_for_log("serves: retiring")
    new = wait_for_master(supervised, supervised.pid)
    wait_until(lambda: len(processes.living_children(new)) == WORKERS + 1, "it has read the same file")
    os.kill(new, signal.SIGTERM)
    wait_for_nobody(supervised)


def test_processes_more_and_fewer_during_a_reload(supervised, gate):
    begin_trial(supervised, gate)
    for number, put_off in ((signal.SIGTTIN, 1), (signal.SIGTTIN, 2), (signal.SIGTTOU, 3), (signal.SIGTTIN, 4)):
        os.kill(supervised.pid, number)
        wait_until(lambda: supervised.log().count("a change of the number of processes is put off") == put_off,
                   "it waits")
    gate.open()
    wait_for_count(supervised, WORKERS + 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_the_end_of_the_server_during_a_reload(supervised, gate, number):
    begin_trial(supervised, gate, workers=WORKERS + 1)
    supervised.reload(workers=WORKERS + 2)
    supervised.wait_for_log("a reload is put off")
    os.kill(supervised.pid, number)
    supervised.wait_for_log("stopping|draining")
    gate.open()
    assert supervised.wait_for_exit() == 0
    assert "in force: " not in supervised.log()


def test_logs_are_reopened_during_a_reload_and_the_next_one_is_kept(supervised, gate):
    begin_trial(supervised, gate, workers=WORKERS + 1)
    supervised.reload(workers=WORKERS + 2)
    supervised.wait_for_log("a reload is put off")
    os.kill(supervised.pid, signal.SIGUSR1)
    supervised.wait_for_log("the logs are open again")
    gate.open()
    wait_until(lambda: supervised.log().count("in force: ") == 2, "both are done")
    wait_for_count(supervised, WORKERS + 2)


def has_waited_for_long(answer):
    """The control socket has an answer for those who wait for seconds: also where the machine is busy."""
    return "it is put off" in answer.get("error", "")


def ask_for_reload(path, answers_so_far):
    thread = threading.Thread(target=lambda: answers_so_far.append(control.ask(path, "reload")))
    thread.start()
    return thread


@pytest.mark.parametrize("second, ok", [({"workers": WORKERS + 1}, True), ({"workers": "many"}, False)])
def test_who_asks_for_a_reload_hears_of_that_one(tmp_path, site, gate, second, ok):
    """The answer comes when what went on before is over. Others are answered meanwhile."""
    numbers = itertools.count()

    def is_heard():
        directory = tmp_path / str(next(numbers))  # short: the path of a socket may not be long
        directory.mkdir()
        path = directory / "control"
        server = Supervised(directory, site, gate, control=path)
        try:
            begin_trial(server, gate, control=path)
            server.configure(control=path, **second)
            answered = []
            threads = [ask_for_reload(path, answered) for _ in range(2)]
            wait_until(lambda: server.log().count("asked for reload: put off") == 2, "both wait")
            assert control.ask(path, "list")["state"] == "reloading"
            assert all(has_waited_for_long(answer) for answer in answered)
            gate.open()
            for thread in threads:
                thread.join(DEADLINE_S)
            if any(has_waited_for_long(answer) for answer in answered):
                return False
            assert [answer["ok"] for answer in answered] == [ok, ok]
            assert ok or all("workers" in answer["error"] for answer in answered)
            server.wait_for_log("in force: ")
            server.stop()
            return True
        finally:
            server.clean_up()
    wait_until(is_heard, "both hear in time what has come of it")


def test_who_waits_for_long_is_told_so(tmp_path, site, gate):
    path = tmp_path / "control"
    server = Supervised(tmp_path, site, gate, control=path)
    begin_trial(server, gate, control=path)
    answer = control.ask(path, "reload")
    assert not answer["ok"] and "it is put off" in answer["error"]
    gate.open()
    wait_until(lambda: server.log().count("in force: ") == 2, "it is done nevertheless")
    wait_for_count(server, WORKERS)
    server.stop()
    server.clean_up()


# Two programs: an upgrade on trial.

def wait_for_master(server, *others):
    """The first master that answers and is none of the others."""
    def find():
        pid = server.master_that_answers()
        return pid if pid not in others else None
    return wait_until(find, "the new program answers")


def begin_upgrade(server):
    """The new program's master, which serves; the old one is about to retire."""
    os.kill(server.pid, signal.SIGUSR2)
    server.wait_for_log("serves: retiring")
    return wait_for_master(server, server.pid)


def connect_to(server, master):
    """A connection to a process of this master. Those of another one that has just been told to retire may still
    accept; they answer, and close."""
    def find():
        client = server.connect()
        if server.whoami(client)["ppid"] == master:
            return client
        client.close()
        return None
    return wait_until(find, f"a process of {master} accepts")


def is_at_full_strength(server, master):
    """Whether all processes of this master are ready, and one of them answers."""
    ready = sum(worker["state"] == "ready" for worker in server.status(master)["workers"])
    return ready == WORKERS and server.master_that_answers() == master


def wait_for_nobody(server):
    wait_until(lambda: not processes.living_in_session(server.session), "nothing is left")
    assert is_free(server.address[1])


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGTERM])
def test_who_tells_the_new_program_to_end_ends_the_service(supervised, number):
    with supervised.connect() as client:
        assert client.get("/plaintext").status == 200  # would keep the old program for as long as it may drain
        os.kill(begin_upgrade(supervised), number)
        if number == signal.SIGQUIT:
            wait_until(lambda: is_free(supervised.address[1]), "the address is given up")
        else:
            client.read_to_end()
    wait_for_nobody(supervised)
    assert "serves again" not in supervised.log()


def test_the_old_program_can_be_told_to_serve_again(supervised):
    with supervised.connect() as client:
        new = begin_upgrade(supervised)
        pid = supervised.pid
        with connect_to(supervised, new) as other:
            os.kill(pid, signal.SIGHUP)
            supervised.wait_for_log("this program serves again: the new one .* is to end")
            wait_until(lambda: is_at_full_strength(supervised, pid), "it does not wait for clients of the other")
            assert all(answers(supervised.address[1]) for _ in range(20))
            wait_until(lambda: other.get("/plaintext").says_close, "the new program has heard of it")
        assert client.get("/plaintext").status == 200
    wait_until(lambda: not processes.is_alive(new), "the new program has left")
    supervised.wait_for_log("exited with status 0: this one goes on")
    assert supervised.master_that_answers() == pid
    assert all(answers(supervised.address[1]) for _ in range(20))
    supervised.wait_for_workers()  # and the one whose client has left is gone
    os.kill(supervised.worker_pids()[0], signal.SIGQUIT)  # the address is still the others'
    supervised.wait_for_workers()
    assert all(answers(supervised.address[1]) for _ in range(20))


def test_who_has_passed_its_trial_is_not_replaced_by_the_past(tmp_path, site, gate):
    server = Supervised(tmp_path, site, gate, upgrade_trial_ms=200)
    with server.connect() as client:
        assert client.get("/plaintext").status == 200  # keeps the old program
        first = begin_upgrade(server)
        time.sleep(0.3)  # its trial
        os.kill(first, signal.SIGUSR2)
        second = wait_for_master(server, server.pid, first)
        wait_until(lambda: not processes.is_alive(first), "the first one has left")
        server.wait_for_log("exited with status 0: this one leaves, too")
        assert client.get("/plaintext").status == 200
        client.expect_close()
    wait_until(lambda: server.process.poll() == 0, "the old program has left")
    assert "serves again" not in server.log()
    assert server.master_that_answers() == second
    os.kill(second, signal.SIGTERM)
    wait_for_nobody(server)
    server.clean_up()


def test_a_reload_while_a_new_program_starts_is_passed_on_to_it(supervised, gate):
    """It may have read its settings before they were changed."""
    gate.close()
    os.kill(supervised.pid, signal.SIGUSR2)
    new = int(supervised.wait_for_log(r"upgrading: started \S+ as pid (\d+)\n")[1])
    wait_until(lambda: processes.living_children(new), "it has read its settings")
    supervised.reload(workers=WORKERS + 1)
    supervised.wait_for_log("a reload is put off until the new program serves or has failed")
    gate.open()
    supervised.wait_for_log("serves: retiring")
    wait_until(lambda: len(processes.living_children(new)) == WORKERS + 1, "the settings are those of the new file")
    assert wait_for_master(supervised, supervised.pid) == new
    os.kill(new, signal.SIGTERM)
    wait_for_nobody(supervised)


def test_a_reload_while_a_new_program_fails_is_done_here(supervised, gate):
    gate.close()
    os.kill(supervised.pid, signal.SIGUSR2)
    new = int(supervised.wait_for_log(r"upgrading: started \S+ as pid (\d+)\n")[1])
    supervised.reload(workers=WORKERS + 1)
    supervised.wait_for_log("a reload is put off until")
    os.kill(new, signal.SIGKILL)
    gate.open()
    supervised.wait_for_log("in force: ")  # until it has died, the new program looks like a worker more
    wait_for_count(supervised, WORKERS + 1)


def test_a_new_program_that_does_not_become_ready_is_killed(tmp_path, site, gate):
    server = Supervised(tmp_path, site, gate)

    def is_in_force():  # a process of its own may be too late on a busy machine
        decided = len(re.findall("in force: |the old one stays", server.log()))
        server.reload(start_timeout_ms=2000)
        wait_until(lambda: len(re.findall("in force: |the old one stays", server.log())) > decided, "it is decided")
        return "in force: " in server.log()
    wait_until(is_in_force, "the time is short")
    server.wait_for_log("all processes have been replaced")
    gate.close()
    server.configure(start_timeout_ms=60000)  # the new program's
    os.kill(server.pid, signal.SIGUSR2)
    server.wait_for_log("killing the new program .*, which has not become ready in time")
    server.wait_for_log("was killed by signal 9: this one goes on")
    gate.open()
    assert server.master_that_answers() == server.pid
    server.stop()
    server.clean_up()


def test_an_upgrade_to_another_address(supervised):
    """The old address is given up in order, and served again if it comes to that."""
    old, port = supervised.address[1], quiet_port()
    supervised.configure(listen=f"127.0.0.1:{port}")
    os.kill(supervised.pid, signal.SIGUSR2)
    supervised.wait_for_log("serves: retiring")
    assert answers(port)
    wait_until(lambda: is_refused(old), "the old address refuses")
    os.kill(supervised.pid, signal.SIGHUP)
    wait_until(lambda: not is_refused(old), "the old address is back")
    supervised.wait_for_workers()
    assert all(answers(old) for _ in range(20))
    wait_until(lambda: is_free(port), "the new program has left")
    os.kill(supervised.pid_of(1), signal.SIGQUIT)
    supervised.wait_for_workers()
    assert all(answers(old) for _ in range(20))


def test_old_processes_keep_the_time_that_their_configuration_gives(supervised):
    with supervised.connect() as client:
        pid = supervised.whoami(client)["pid"]
        supervised.reload(drain_timeout_ms=1)
        supervised.wait_for_log("all processes have been replaced")
        time.sleep(SILENCE_S)  # the client takes its time: that is what is tested
        assert client.get("/whoami").status == 200
    wait_until(lambda: pid not in supervised.worker_pids(), "it has ended")
    assert "has not ended in time" not in supervised.log()
