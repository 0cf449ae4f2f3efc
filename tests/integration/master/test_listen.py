"""Where a server listens: several addresses, all addresses, and what a reload, an upgrade and a service manager
change about it."""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading

import pytest

from support import activation, models, processes, server as servers
from support.client import Client, ConnectionLost
from support.server import SECCOMP, Server, binary, is_free, quiet_port, refusal, run_to_end
from support.waiting import at_its_pace, DEADLINE_S, wait_until

SUPERVISED = pytest.mark.models(models.SUPERVISED)
EACH_BINARY = pytest.mark.models(models.ONE_OF_EACH_BINARY)
TRIAL_MS = 1000
LOOKUP_PATIENCE_S = 10.0
needs_ipv6 = pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="this machine has no IPv6")
needs_preload = pytest.mark.skipif(servers.SANITIZED, reason="what is preloaded must come before a sanitizer")
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can make network namespaces")


def answers(host, port):
    """Whether it does, on a new connection."""
    try:
        with Client((host, port)) as client:
            return client.get("/").status == 200
    except (ConnectionError, ConnectionLost):
        return False


def assert_answers(port, *hosts):
    for host in hosts:
        for _ in range(8):
            assert answers(host, port), f"{host}:{port}"


def addresses(server):
    """The lines of the banner that tell the addresses, where there is more than one line's worth."""
    lines = server.whole_banner().splitlines()
    return [line.split(None, 1)[1] for line in lines if line.startswith("  address ")]


@pytest.fixture
def start_listening(tmp_path, site):
    """Starts a server with a file of settings that holds its "listen"; calling change() writes another one."""
    started = []
    path = tmp_path / "server.yaml"

    def change(listen, more=""):
        path.write_text(f"listen: {listen}\n{more}")

    def start(model, listen, *options, prefix=(), **popen):
        change(listen)
        directory = tmp_path / f"server-{len(started)}"
        directory.mkdir()
        command = [*prefix, binary(model), "--config", str(path), "--root", str(site), "--seccomp", SECCOMP,
                   *model.options, *options]
        started.append(Server(model, command, directory, **popen))
        return started[-1], change

    yield start
    try:
        for server in started:
            if not server.is_stopped():
                server.stop()
    finally:
        for server in started:
            server.clean_up()


def reload(server):
    done = server.log().count("all processes have been replaced")
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: server.log().count("all processes have been replaced") > done, "the reload is done")


# At the start.

@needs_ipv6
def test_all_addresses(model, start_server, tmp_path):
    log = tmp_path / "access.log"
    server = start_server(model, "--listen", "*:0", "--access-log", str(log))
    port = server.address[1]
    assert server.address[0] == "localhost", "what is printed can be asked"
    assert addresses(server) == [f"*:{port} (every IPv4 and IPv6 address)"]
    assert_answers(port, "localhost", "127.0.0.1", "127.0.0.2", "::1")
    wait_until(lambda: "127.0.0.1 - -" in log.read_text() and "::1 - -" in log.read_text(), "the lines are written")
    assert "ffff" not in log.read_text(), "an IPv4 client is one of IPv4"


@needs_ipv6
def test_ipv4_clients_of_all_addresses_are_counted_each(model, start_server):
    server = start_server(model, "--listen", "*:0", "--max-connections-per-client", "1")
    with Client(("127.0.0.1", server.address[1])) as one:
        assert one.get("/").status == 200
        with Client(("127.0.0.1", server.address[1]), source="127.0.0.9") as other:
            assert other.get("/").status == 200


@needs_ipv6
@pytest.mark.parametrize("options", [("--listen", "127.0.0.1:{0},[::1]:{0},127.0.0.1:{1}"),
                                     ("--listen", "127.0.0.1:{0}", "--listen", "[::1]:{0},127.0.0.1:{1}")])
def test_several_addresses(model, start_server, options):
    first, second = quiet_port(), quiet_port()
    server = start_server(model, *(option.format(first, second) for option in options))
    assert server.address == ("127.0.0.1", first)
    assert addresses(server) == [f"127.0.0.1:{first}", f"[::1]:{first}", f"127.0.0.1:{second}"]
    assert_answers(first, "127.0.0.1", "::1")
    assert_answers(second, "127.0.0.1")
    server.stop(signal.SIGQUIT)
    assert is_free(first) and is_free(second)


@EACH_BINARY
def test_a_list_in_the_file(model, start_listening):
    first, second = quiet_port(), quiet_port()
    start_listening(model, f"\n  - 127.0.0.1:{first}\n  - 127.0.0.1:{second}")
    assert_answers(first, "127.0.0.1")
    assert_answers(second, "127.0.0.1")


@EACH_BINARY
def test_one_port_for_all_addresses_of_a_name(model, start_server):
    server = start_server(model, "--listen", "localhost:0")
    assert_answers(server.address[1], "localhost", *{found[4][0] for found in socket.getaddrinfo("localhost", None)})


@needs_ipv6
@EACH_BINARY
def test_ipv6_wildcard_beside_ipv4(model, start_server):
    port = quiet_port()
    server = start_server(model, "--listen", f"0.0.0.0:{port},[::]:{port}")
    assert addresses(server) == [f"0.0.0.0:{port} (every IPv4 address)", f"[::]:{port} (every IPv6 address)"]
    assert_answers(port, "127.0.0.1", "::1")


@EACH_BINARY
def test_what_is_covered_is_left_out(model, start_server):
    port = quiet_port()
    server = start_server(model, "--listen", f"127.0.0.1:{port},*:{port},127.0.0.1:{port}")
    assert addresses(server) == [f"*:{port} (every IPv4 and IPv6 address)"]
    assert_answers(port, "127.0.0.1", "127.0.0.2")


@EACH_BINARY
def test_one_that_is_taken_keeps_the_server_from_starting(model, start_server):
    port, taken = quiet_port(), start_server(model).address[1]
    message = refusal(model, "--listen", f"127.0.0.1:{port},127.0.0.1:{taken}")
    assert f"127.0.0.1:{taken}: Address already in use" in message
    assert is_free(port)


@EACH_BINARY
def test_the_health_check_asks_all_of_them(model, start_server):
    server = start_server(model, "--listen", "127.0.0.1:0,127.0.0.2:0")
    first, second = (line for line in addresses(server))
    # It waits two seconds for an answer, which may be too little on a busy machine.
    wait_until(lambda: run_to_end(model, "--health-check", "--listen", f"{first},{second}").returncode == 0,
               "both are healthy")
    assert run_to_end(model, "--health-check", "--listen", f"{first},127.0.0.1:1").returncode == 1


@needs_root
@needs_ipv6
@EACH_BINARY
@pytest.mark.parametrize("listen", ["*:8080", "localhost:8080", "localhost:0"])
def test_where_ipv6_is_switched_off(model, tmp_path, site, listen):
    script = ("ip link set lo up && echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 && "
              "echo 1 >/proc/sys/net/ipv6/conf/lo/disable_ipv6 && exec \"$@\"")
    command = ["unshare", "-n", "sh", "-c", script, "sh", binary(model), "--listen", listen, "--root", str(site)]
    if subprocess.run(["unshare", "-n", "sh", "-c", script, "sh", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no network namespace can be made here")
    server = Server(model, command, tmp_path)
    try:
        check = ("--health-check", "--listen", f"127.0.0.1:{server.address[1]}")
        inside = ("nsenter", "-n", "-t", str(server.pid))
        wait_until(lambda: run_to_end(model, *check, prefix=inside).returncode == 0, "it is healthy")
        server.stop()
    finally:
        server.clean_up()


# A reload.

class Asker:
    """Opens one connection after the other, and counts what fails."""

    def __init__(self, *places):
        self._places = places
        self._ends = threading.Event()
        self.answers = 0
        self.failures = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self._ends.is_set():
            for host, port in self._places:
                try:
                    with Client((host, port)) as client:
                        assert client.get("/").status == 200
                    self.answers += 1
                except (OSError, ConnectionLost) as failure:
                    self.failures.append(failure)

    def __enter__(self):
        self._thread.start()
        wait_until(lambda: self.answers > 0, "the first answer")
        return self

    def __exit__(self, *_):
        self._ends.set()
        self._thread.join(DEADLINE_S)


def was_reset(failure):
    """Before anything was answered, as seen by connect(), send() or recv()."""
    lost = isinstance(failure, ConnectionLost) and not failure.received
    return isinstance(failure.__cause__ if lost else failure, ConnectionResetError)


def assert_at_most_a_handshake_is_lost(model, asker):
    """Where an address gives way to one that covers it: who is in the middle of TCP's handshake with the old socket at
    that moment is reset. Loops that have sockets of their own give them up one after the other."""
    sockets = 1 if model.accepts_anywhere else model.processes * model.loops
    assert len(asker.failures) <= sockets and all(was_reset(failure) for failure in asker.failures), asker.failures


@SUPERVISED
def test_addresses_that_overlap_follow_each_other(model, start_listening):
    port = quiet_port()
    server, change = start_listening(model, f"127.0.0.1:{port}")
    for listen in (f"localhost:{port}", f'"*:{port}"', f"0.0.0.0:{port}", f"127.0.0.1:{port}", f'"*:{port}"'):
        old = set(server.worker_pids())
        with Asker(("127.0.0.1", port)) as asker:
            change(listen)
            reload(server)
            before = asker.answers
            wait_until(lambda: asker.answers > before + 8, "it goes on answering")
        assert_at_most_a_handshake_is_lost(model, asker)
        # Who has just been told to leave may answer once more.
        wait_until(lambda: not old & set(server.worker_pids()), "the old processes are gone")
        assert answers("127.0.0.2", port) == (not listen.startswith(("127.0.0.1", "localhost")))
    assert "refused" not in server.log()


@SUPERVISED
def test_addresses_come_and_go(model, start_listening):
    kept, old, new = quiet_port(), quiet_port(), quiet_port()
    server, change = start_listening(model, f"[127.0.0.1:{kept}, 127.0.0.1:{old}]")
    with Asker(("127.0.0.1", kept)) as asker:
        change(f"[127.0.0.1:{new}, 127.0.0.1:{kept}]")
        reload(server)
        wait_until(lambda: is_free(old), "nobody listens at the address that is gone")
        assert_answers(new, "127.0.0.1")
    assert asker.failures == []
    assert f"in force: {model.processes} processes, listening on 127.0.0.1:{new}, 127.0.0.1:{kept}" in server.log()


@SUPERVISED
def test_a_client_of_an_address_that_is_gone_is_answered(model, start_listening):
    kept, old = quiet_port(), quiet_port()
    server, change = start_listening(model, f"[127.0.0.1:{kept}, 127.0.0.1:{old}]")
    with Client(("127.0.0.1", old)) as client:
        assert client.get("/").status == 200
        change(f"127.0.0.1:{kept}")
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: is_free(old), "nobody listens there any more")
        assert client.get("/").status == 200


@SUPERVISED
def test_a_port_of_the_kernels_choice_is_kept(model, start_listening):
    server, _ = start_listening(model, "127.0.0.1:0,127.0.0.2:0")
    first, second = (int(line.rsplit(":", 1)[1]) for line in addresses(server))
    reload(server)
    assert_answers(first, "127.0.0.1")
    assert_answers(second, "127.0.0.2")


@SUPERVISED
def test_what_only_a_restart_can_change(model, start_listening):
    port = quiet_port()
    server, change = start_listening(model, f"127.0.0.1:{port}")
    change(f"127.0.0.1:{port}", "accept: reuseport\n" if model.accepts_anywhere else "accept: shared\n")
    os.kill(server.pid, signal.SIGHUP)
    if "--accept" in model.options:
        return  # the command line wins: nothing has changed
    server.wait_for_log(r"the new configuration is refused, the old one stays: .*needs a restart")
    assert "stop the server" not in server.log()
    assert_answers(port, "127.0.0.1")


@EACH_BINARY
def test_an_address_of_somebody_else_is_refused(model, start_listening):
    port = quiet_port()
    server, change = start_listening(model, f"127.0.0.1:{port}")
    taken = quiet_port()  # which no client has by the time it is free
    with socket.create_server(("127.0.0.1", taken)):
        change(f"127.0.0.1:{port},127.0.0.1:{taken}")
        os.kill(server.pid, signal.SIGHUP)
        server.wait_for_log(rf"127\.0\.0\.1:{taken}: Address already in use; stop the server that listens there")
    assert_answers(port, "127.0.0.1")
    reload(server)
    assert_answers(taken, "127.0.0.1")


@SUPERVISED
def test_an_overlap_that_comes_to_nothing(model, start_listening):
    """The first process of the new configuration cannot start: the old address is served as before."""
    port = quiet_port()
    server, change = start_listening(model, f"127.0.0.1:{port}")
    before = set(server.worker_pids())
    change(f'"*:{port}"', "start_timeout_ms: 1\n")
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: "the old one stays" in server.log() or "is in force" in server.log(), "it is decided")
    if "is in force" not in server.log():
        assert set(server.worker_pids()) >= before
    assert_answers(port, "127.0.0.1")


# Names.

@pytest.fixture
def slow_names(build_preload, monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", str(build_preload("slow_names")))


@needs_preload
@EACH_BINARY
def test_a_name_at_the_start(model, start_listening, slow_names):
    server, _ = start_listening(model, "here.example:0")
    assert server.address[0] == "127.0.0.1"
    assert_answers(server.address[1], "127.0.0.1")


@needs_preload
@EACH_BINARY
def test_a_name_that_nobody_has(model, slow_names):
    message = refusal(model, "--listen", "127.0.0.1:0,lost.example:80")
    assert 'cannot listen on "lost.example:80": Name or service not known; ' in message


@needs_preload
@pytest.mark.slow
@EACH_BINARY
def test_a_name_that_is_not_answered(model, slow_names):
    assert 'cannot look up "slow.example:80": no answer within 10 s' in refusal(model, "--listen", "slow.example:80")


@needs_preload
@EACH_BINARY
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_start_that_waits_for_a_name_can_be_stopped(model, slow_names, end):
    process = subprocess.Popen([binary(model), "--listen", "slow.example:80"], stdin=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        wait_until(lambda: processes.living_children(process.pid), "somebody asks")
        process.send_signal(end)
        assert process.wait(DEADLINE_S) == 0
        assert "told to stop while looking up" in process.stderr.read()
        wait_until(lambda: not processes.living_in_session(process.pid), "nothing is left")
    finally:
        process.stderr.close()
        processes.kill_session(process.pid)


@needs_preload
@pytest.mark.slow
@SUPERVISED
def test_nothing_waits_for_a_name(model, start_listening, slow_names):
    """Neither a successor nor a signal; and the reload that is asked for meanwhile follows."""
    port, other = quiet_port(), quiet_port()
    server, change = start_listening(model, f"127.0.0.1:{port}")
    victim = server.worker_pids()[0]  # later, one that asks for the name looks like them
    change(f"slow.example:{port}")
    os.kill(server.pid, signal.SIGHUP)
    server.wait_for_log("reloading the configuration")
    os.kill(victim, signal.SIGKILL)
    server.wait_for_log("after the death of its predecessor")
    assert_answers(port, "127.0.0.1")
    change(f"here.example:{port},127.0.0.1:{other}")
    os.kill(server.pid, signal.SIGHUP)
    server.wait_for_log("after the death of its predecessor(.*\n)+.*no answer within 10 s")
    server.wait_for_log("the new configuration is in force")
    assert_answers(other, "127.0.0.1")
    assert_answers(port, "127.0.0.1")


@needs_preload
@EACH_BINARY
def test_twinctl_does_not_wait_for_a_name(model, start_listening, slow_names, tmp_path):
    control = str(tmp_path / "control")
    server, change = start_listening(model, "127.0.0.1:0", "--control", control)
    workers = server.worker_pids()
    change("slow.example:0")
    twinctl = [str(servers.BIN_DIR / "twinctl"), "--control", control]

    def ask(command):
        result = subprocess.run([*twinctl, command], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        return result.stdout + result.stderr

    def ask_meanwhile(_pace):
        wait_until(lambda: server.worker_pids() == workers, "nobody looks a name up")
        refused = server.log().count("no answer")
        for command, answer in (("reload", "ok"), ("list", "reloading"), ("upgrade", "reloading")):
            assert answer in ask(command)
        assert server.log().count("no answer") == refused
    at_its_pace(ask_meanwhile, LOOKUP_PATIENCE_S)  # who is slower asks when the name is not looked up any more
    assert re.search("put off|ok", ask("reload")), "its turn comes after the first"


@needs_preload
@SUPERVISED
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGQUIT])
def test_a_stop_does_not_wait_for_a_name(model, start_listening, slow_names, end):
    port = quiet_port()
    server, change = start_listening(model, f"127.0.0.1:{port}")
    change(f"slow.example:{port}")
    os.kill(server.pid, signal.SIGHUP)
    server.wait_for_log("reloading the configuration")
    server.process.send_signal(end)
    assert server.wait_for_exit() == 0
    assert "no answer" not in server.log(), "it has waited for 10 s"


@needs_preload
@EACH_BINARY
def test_who_asks_may_be_killed(model, start_listening, slow_names):
    port = quiet_port()
    server, change = start_listening(model, f"127.0.0.1:{port}")
    workers = server.worker_pids()
    change(f"slow.example:{port}")
    os.kill(server.pid, signal.SIGHUP)
    asker, = wait_until(lambda: set(processes.living_children(server.pid)) - set(workers), "somebody asks")
    os.kill(asker, signal.SIGKILL)
    server.wait_for_log("is refused, the old one stays: .*the process that asks has died")
    assert server.worker_pids() == workers


# An upgrade.

@pytest.fixture
def start_upgradable(model, tmp_path, site):
    """A server that runs from a copy of the binary, which a test may replace."""
    program, path = tmp_path / model.binary, tmp_path / "server.yaml"
    shutil.copy(binary(model), program)
    directory = tmp_path / "server"
    directory.mkdir()
    started = []

    def change(listen):
        path.write_text(f"listen: {listen}\nupgrade_trial_ms: {TRIAL_MS}\n")

    def start(listen):
        change(listen)
        started.append(Server(model, [str(program), "--config", str(path), "--root", str(site), *model.options],
                              directory))
        return started[0], change

    yield start
    started[0].clean_up()


def upgrade(server):
    os.kill(server.pid, signal.SIGUSR2)
    wait_until(server.is_stopped, "the old program has left")


def end(server):
    os.kill(server.status()["master_pid"], signal.SIGTERM)  # the old one has left
    wait_until(lambda: not processes.living_in_session(server.session), "nothing is left")
    server.assert_no_sanitizer_report()


@SUPERVISED
def test_an_upgrade_keeps_all_addresses(model, start_upgradable):
    server, _ = start_upgradable("127.0.0.1:0,127.0.0.2:0")
    first, second = (int(line.rsplit(":", 1)[1]) for line in addresses(server))
    with Asker(("127.0.0.1", first), ("127.0.0.2", second)) as asker:
        upgrade(server)
        before = asker.answers
        wait_until(lambda: asker.answers > before + 8, "it goes on answering")
    assert asker.failures == []
    end(server)


@SUPERVISED
def test_an_upgrade_changes_some_addresses(model, start_upgradable):
    kept, old, new = quiet_port(), quiet_port(), quiet_port()
    server, change = start_upgradable(f"127.0.0.1:{old},127.0.0.1:{kept}")
    change(f"127.0.0.1:{kept},127.0.0.1:{new}")
    with Asker(("127.0.0.1", kept)) as asker:
        os.kill(server.pid, signal.SIGUSR2)
        wait_until(lambda: is_free(old), "nobody listens at the address that is gone")
        assert_answers(new, "127.0.0.1")
        wait_until(server.is_stopped, "the old program has left")
        assert_answers(new, "127.0.0.1")
    assert asker.failures == []
    end(server)


@SUPERVISED
def test_an_upgrade_widens_an_address(model, start_upgradable):
    port = quiet_port()
    server, change = start_upgradable(f"127.0.0.1:{port}")
    change(f'"*:{port}"')
    with Asker(("127.0.0.1", port)) as asker:
        upgrade(server)
        assert_answers(port, "127.0.0.1", "127.0.0.2")
    assert_at_most_a_handshake_is_lost(model, asker)
    end(server)


@SUPERVISED
def test_what_an_upgrade_has_left_is_served_again(model, start_upgradable):
    kept, old = quiet_port(), quiet_port()
    server, change = start_upgradable(f"127.0.0.1:{old},127.0.0.1:{kept}")
    change(f"127.0.0.1:{kept}")
    os.kill(server.pid, signal.SIGUSR2)
    server.wait_for_log("serves: retiring")
    os.kill(server.pid, signal.SIGHUP)
    if "this program serves again" not in server.log():  # the trial may be over
        wait_until(lambda: "this program serves again" in server.log() or server.is_stopped(), "it is decided")
    if not server.is_stopped():
        wait_until(lambda: answers("127.0.0.1", old), "the old program serves where it did")
        assert_answers(kept, "127.0.0.1")
        server.stop()
    else:
        end(server)


# A service manager.

def passed_for(model, count):
    """So many addresses, as the model needs them."""
    if model.accepts_anywhere:
        return ["tcp"] * count
    return [kind for number in range(count) for kind in [f"reuseport{number}"] * model.slots]


def test_several_passed_addresses(model, start_server):
    server = start_server(model, prefix=[activation.__file__, *passed_for(model, 2), "--"])
    ports = [int(line.rsplit(":", 1)[1]) for line in addresses(server)]
    assert len(set(ports)) == 2
    for port in ports:
        assert_answers(port, "127.0.0.1")


@SUPERVISED
def test_passed_addresses_win_in_a_reload_too(model, start_listening):
    spare = quiet_port()
    server, change = start_listening(model, f"127.0.0.1:{spare}",
                                     prefix=[activation.__file__, *passed_for(model, 2), "--"])
    ports = [int(line.rsplit(":", 1)[1]) for line in addresses(server)]
    reload(server)
    for port in ports:
        assert_answers(port, "127.0.0.1")
    change(f"127.0.0.1:{quiet_port()}")
    reload(server)
    server.wait_for_log('"listen" has changed, and has no effect')
    for port in ports:
        assert_answers(port, "127.0.0.1")
    assert is_free(spare)
