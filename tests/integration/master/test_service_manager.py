"""Under a service manager: messages, watchdog, sockets, and the unit files."""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from contextlib import ExitStack

import pytest

from support import activation, models, processes, server as servers
from support.client import Client
from support.server import refusal
from support.waiting import DEADLINE_S, wait_until

EACH_BINARY = pytest.mark.models(models.ONE_OF_EACH_BINARY)
SUPERVISED = pytest.mark.models(models.SUPERVISED)
UNITS = servers.REPOSITORY / "config" / "systemd"
MOST_EXPOSURE = "20"  # 2.0 of 10
BEAT_MS = 50
QUIET_S = 1.0


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed")


class ServiceManager:
    """Hears what a server tells."""

    def __init__(self, path):
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(DEADLINE_S)

    def hear(self):
        """The next message, as a dictionary."""
        message = self._socket.recv(4096).decode()
        return dict(line.split("=", 1) for line in message.splitlines())

    def hear_state(self):
        """The next message that is no sign of life."""
        while (message := self.hear()) == {"WATCHDOG": "1"}:
            pass
        return message

    def hear_sign_of_life(self):
        """One that is sent from now on."""
        self.throw_away()
        assert self.hear() == {"WATCHDOG": "1"}

    def hear_beat(self):
        """The next sign of life. What else was told at a slow start may come later, or never: the kernel keeps ten
        messages that nobody has fetched."""
        while self.hear() != {"WATCHDOG": "1"}:
            pass

    def throw_away(self):
        """What waits already."""
        self._socket.setblocking(False)
        try:
            while self._socket.recv(4096):
                pass
        except BlockingIOError:
            pass
        self._socket.settimeout(DEADLINE_S)

    def hears_nothing(self, during_s):
        """Whether no message comes; those that wait already are thrown away."""
        self.throw_away()
        self._socket.settimeout(during_s)
        try:
            self._socket.recv(4096)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(DEADLINE_S)
        return False

    def close(self):
        self._socket.close()


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """The servers that the test starts tell it."""
    heard = ServiceManager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(heard.path))
    yield heard
    heard.close()


# Messages.

def test_it_tells_when_it_serves(model, start_server, manager):
    server = start_server(model)
    message = manager.hear()
    assert message["READY"] == "1"
    assert message["STATUS"].startswith(f"serving {server.url} with ")


@SUPERVISED
@pytest.mark.parametrize("signal_number, status", [(signal.SIGTERM, "stopping"),
                                                   (signal.SIGQUIT, "draining")])
def test_it_tells_when_it_stops(model, start_server, manager, signal_number, status):
    server = start_server(model)
    manager.hear()
    server.stop(signal_number)
    assert manager.hear() == {"STOPPING": "1", "STATUS": status}


@SUPERVISED
def test_it_tells_of_reloads(model, start_server, manager, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("log_level: info\n")
    server = start_server(model, "--config", str(settings))
    serving = manager.hear()
    for text in ("log_level: notice\n", "log_level: loud\n"):
        settings.write_text(text)
        os.kill(server.pid, signal.SIGHUP)
        message = manager.hear()
        assert message["RELOADING"] == "1" and int(message["MONOTONIC_USEC"]) > 0
        assert manager.hear() == serving, "done, or refused"


@SUPERVISED
def test_it_tells_who_it_is_after_an_upgrade(model, start_server, manager, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    server = start_server(model, "--upgrade-trial-ms", "1")
    manager.hear_state()
    os.kill(server.pid, signal.SIGUSR2)
    states = [manager.hear_state(), manager.hear_state()]
    assert {"READY", "STATUS"} in [set(state) for state in states]
    named, = [state for state in states if "MAINPID" in state]
    successor = int(named["MAINPID"])
    wait_until(server.is_stopped, "the old program has left")
    manager.hear_sign_of_life()
    os.kill(successor, signal.SIGTERM)
    assert manager.hear_state()["STOPPING"] == "1"
    wait_until(lambda: not processes.living_in_session(server.session), "nothing is left")


@EACH_BINARY
def test_a_service_manager_that_is_gone_does_no_harm(model, start_server, manager):
    manager.close()
    server = start_server(model)
    assert "cannot reach the service manager" in server.log()
    assert server.get("/plaintext").status == 200


# Watchdog.

@SUPERVISED
def test_signs_of_life(model, start_server, manager, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", str(BEAT_MS * 2 * 1000))
    server = start_server(model)
    for _ in range(5):
        manager.hear_beat()
    os.kill(server.pid, signal.SIGSTOP)
    wait_until(lambda: processes.read_process(server.pid).state == "T", "the master is stopped")
    assert server.get("/plaintext").status == 200, "its workers go on"
    assert manager.hears_nothing(QUIET_S), "only the master itself gives signs of life"
    os.kill(server.pid, signal.SIGCONT)
    manager.hear_beat()


# Sockets.

def passing(*kinds):
    return [activation.__file__, *kinds, "--"]


def sockets_of(model):
    return ["reuseport"] * model.slots if not model.accepts_anywhere else ["tcp"]


def test_it_serves_on_a_socket_that_was_passed(model, start_server):
    server = start_server(model, "--listen", "127.0.0.1:1", prefix=passing(*sockets_of(model)))
    assert server.address[1] > 1, "what was passed wins over the settings"
    for _ in range(20):
        assert server.get("/plaintext").status == 200
    assert os.readlink(f"/proc/{server.pid}/fd/{activation.FIRST_SOCKET}").startswith("socket:")


@SUPERVISED
def test_successors_serve_on_the_passed_socket(model, start_server):
    server = start_server(model, prefix=passing(*sockets_of(model)))
    victim = server.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    server.wait_for_full_strength(without_pid=victim)
    assert server.get("/plaintext").status == 200


@pytest.fixture
def keep(tmp_path, monkeypatch):
    """keep(): the sockets that were passed to the server, as the service manager holds them."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as waiting, ExitStack() as kept:
        waiting.bind(str(tmp_path / "keeper"))
        waiting.listen()
        waiting.settimeout(DEADLINE_S)
        monkeypatch.setenv(activation.KEEPER_VARIABLE, str(tmp_path / "keeper"))

        def take():
            with waiting.accept()[0] as sender:
                _, descriptors, _, _ = socket.recv_fds(sender, 1, 64)
            return [kept.enter_context(socket.socket(fileno=fd)) for fd in descriptors]

        yield take


def assert_listening(sockets):
    assert sockets
    for one in sockets:
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


@pytest.mark.parametrize("end", [signal.SIGQUIT, signal.SIGTERM])
def test_passed_sockets_outlive_the_server(model, start_server, keep, end):
    """Else nobody could connect while the manager restarts it, nor could it be started again."""
    server = start_server(model, prefix=passing(*sockets_of(model)))
    sockets = keep()
    os.kill(server.pid, end)
    wait_until(server.is_stopped, "it has ended")
    assert_listening(sockets)


@SUPERVISED
def test_passed_sockets_outlive_an_upgraded_server(model, start_server, keep, manager):
    server = start_server(model, "--upgrade-trial-ms", "1", prefix=passing(*sockets_of(model)))
    sockets = keep()
    manager.hear_state()
    os.kill(server.pid, signal.SIGUSR2)
    states = [manager.hear_state(), manager.hear_state()]
    successor = next(int(state["MAINPID"]) for state in states if "MAINPID" in state)
    wait_until(server.is_stopped, "the old program has left")
    assert_listening(sockets)
    os.kill(successor, signal.SIGQUIT)
    wait_until(lambda: not processes.living_in_session(server.session), "nothing is left")
    assert_listening(sockets)


@EACH_BINARY
@pytest.mark.parametrize("kinds, cause", [
    (["udp"], "it is no stream socket"),
    (["unix"], "it is no TCP socket"),
    (["idle"], "it does not listen"),
    (["reuseport", "reuseport"], 'passes 2 sockets, and "accept: shared" takes 1'),
])
def test_sockets_that_cannot_be_used(model, site, kinds, cause):
    assert cause in refusal(model, "--root", str(site), prefix=passing(*kinds))


@pytest.mark.models(("prefork-reuseport",))
def test_too_few_sockets(model, site):
    message = refusal(model, *model.options, "--root", str(site), prefix=passing("reuseport"))
    assert 'passes 1 sockets, and "accept: reuseport" takes 2' in message


@needs("systemd-socket-activate")
@EACH_BINARY
def test_systemd_passes_a_socket(model, tmp_path, site, manager):
    """It listens, starts the server with the first connection, and leaves that to it."""
    port = servers.quiet_port()
    command = ["systemd-socket-activate", f"--listen=127.0.0.1:{port}", "--setenv=NOTIFY_SOCKET",
               "--fdname=http", servers.binary(model), "--root", str(site), *model.options]
    answers = []

    def ask():
        def connected():
            try:
                return Client(("127.0.0.1", port))
            except ConnectionRefusedError:
                return None
        with wait_until(connected, "systemd listens") as client:
            answers.append(client.get("/plaintext").status)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    server = servers.Server(model, command, tmp_path)
    try:
        assert server.address == ("127.0.0.1", port)
        assert manager.hear()["READY"] == "1"
        asking.join(DEADLINE_S)
        assert answers == [200]
        server.stop()
    finally:
        server.clean_up()


# Unit files.

@pytest.fixture
def units(tmp_path):
    """The unit files, with the binaries of this build and a configuration that is there."""
    for path in UNITS.iterdir():
        text = path.read_text().replace("/usr/local/bin/", f"{servers.BIN_DIR}/")
        (tmp_path / path.name).write_text(text)
    return tmp_path


@needs("systemd-analyze")
def test_systemd_understands_the_units(units):
    """It says so on standard error, and has no exit status for it."""
    files = sorted(str(path) for path in units.glob("*-server.*"))
    assert len(files) == 4
    result = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True,
                            timeout=DEADLINE_S, check=True)
    assert result.stdout + result.stderr == ""


@needs("systemd-analyze")
@pytest.mark.parametrize("name", ["prefork-server", "threadpool-server"])
def test_the_units_are_hardened(units, name):
    subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager",
                    f"--threshold={MOST_EXPOSURE}", str(units / f"{name}.service")],
                   stdout=subprocess.DEVNULL, timeout=DEADLINE_S, check=True)


def calls_of_group(group):
    """The system calls of one of systemd's groups."""
    output = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True,
                            text=True, timeout=DEADLINE_S, check=True).stdout
    names = [line.strip() for line in output.splitlines()[1:]]
    calls = {name for name in names if name and name[0] not in "@#"}
    return calls.union(*(calls_of_group(name) for name in names if name.startswith("@")))


@needs("systemd-analyze")
@pytest.mark.parametrize("name", ["prefork-server", "threadpool-server"])
def test_the_units_allow_what_the_server_allows_itself(name):
    unit = (UNITS / f"{name}.service").read_text()
    allowed = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", unit, re.MULTILINE):
        calls = set()
        for word in line.lstrip("~").split():
            calls |= calls_of_group(word) if word.startswith("@") else {word}
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    table = (servers.REPOSITORY / "server" / "process" / "sandbox.c").read_text()
    own = set(re.findall(r'^    \{"(\w+)", "', table, re.MULTILINE))
    assert len(own) > 40
    assert own | {"seccomp"} <= allowed
