"""The observer's process: whatever becomes of the workers or of the master it answers, whatever becomes of it the server
goes on; who may ask, and what it may do."""

import contextlib
import json
import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from support import models, observing, processes, server as servers
from support.client import Client, ConnectionLost, request_bytes
from support.control import Control
from support.observing import Observer
from support.server import quiet_port, refusal, run_to_end
from support.waiting import DEADLINE_S, LATENESS_S, wait_until

pytestmark = [pytest.mark.models(models.SUPERVISED)]
BACK_WITHIN_S = 2.0
SILENCE_S = 3.0
CONNECTIONS = 256
# The master waits for so long for an observer that is to leave.
LEAVING_S = 3.0
EARLY_PART, LATE_PART = request_bytes("POST", "/echo", [("Content-Length", "2")]) + b"a", b"b"
PATIENT = ("--drain-timeout-ms", "600000", "--body-timeout-ms", "600000")


@pytest.fixture
def start_observed(start_server):
    def start(model, *options, on=observing.ON, **how):
        return Observer(start_server(model, *on, *options, **how))
    return start


def state_of(observer):
    return json.loads(observer.ask(target="/api/v1/state").body)


def begin_request(observer, client):
    """One that lasts until LATE_PART is sent."""
    before = state_of(observer)["totals"]["requests_started"]
    client.send(EARLY_PART)
    wait_until(lambda: state_of(observer)["totals"]["requests_started"] > before, "the request has begun")


# What it says.

def test_it_tells_that_the_server_is_well(model, start_observed):
    observer = start_observed(model)
    observer.wait_until_says("/live", 200, "the master is alive")
    observer.wait_until_says("/ready", 200, "ready")
    answer = observer.ask(target="/ready")
    assert answer.header("Cache-Control") == "no-store"
    assert answer.header("X-Content-Type-Options") == "nosniff"
    assert answer.header("Cross-Origin-Resource-Policy") == "same-origin"
    assert observer.ask("HEAD", "/ready").status == 200
    assert observer.ask("POST", "/live").status == 405
    assert observer.ask(target="/nothing").status == 404
    assert observer.ask(target="/status").status == 404
    assert observer.ask(target="/plaintext").status == 404


def test_its_requests_are_not_the_servers(model, start_observed):
    observer = start_observed(model)
    before = observer.server.status()["totals"]
    for _ in range(20):
        assert observer.ask(target="/ready").status == 200
    after = observer.server.status()["totals"]
    assert after["requests_started"] == before["requests_started"]
    assert after["connections_accepted"] == before["connections_accepted"]
    assert observer.pid() not in {worker["pid"] for worker in observer.server.status()["workers"]}


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_without_the_setting_there_is_none(model, start_server):
    server = start_server(model)
    assert "\n  observe    off (--observe 127.0.0.1:8090: " in server.whole_banner()
    assert processes.observers(server.pid) == []


@pytest.mark.models(("threadpool-bare",))
def test_without_a_master_it_is_refused(model, start_server):
    line = refusal(model, "--bare", "--listen", "127.0.0.1:0", *observing.ON)
    assert "observe needs a master" in line
    server = start_server(model)
    assert "\n  observe    off (it takes a master)\n" in server.whole_banner()


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_a_bad_address_is_a_reason_not_to_start(model):
    for value in ("example.com:8090", "127.0.0.1", "8090", "127.0.0.1:65536", "127.0.0.1:1,127.0.0.1:2"):
        assert "HOST being localhost, a number or *" in refusal(model, "--observe", value)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        line = refusal(model, "--listen", "127.0.0.1:0", "--observe", f"127.0.0.1:{port}")
        assert f"cannot listen on 127.0.0.1:{port}" in line and line.endswith("with --observe")
        tested = run_to_end(model, "--test-config", "--listen", "127.0.0.1:0", "--observe", f"127.0.0.1:{port}")
        assert f"127.0.0.1:{port} is in use now" in tested.stdout


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_a_setting_that_has_no_effect_is_named(model):
    tested = run_to_end(model, "--test-config", "--listen", "127.0.0.1:0", "--observe-control", "on")
    assert tested.returncode == 0
    assert "observe_control has no effect: there is no observer" in tested.stderr


# Who may ask.

@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_who_may_ask(model, start_observed):
    observer = start_observed(model)
    own, port = observer.host, observer.address[1]
    origin = [("Origin", f"http://{own}")]
    for host, headers in ((own, ()), (f"localhost:{port}", ()), ("localhost:18090", ()), ("192.0.2.1", ()), (own, origin),
                          (f"localhost:{port}", [("Origin", f"http://localhost:{port}")])):
        assert observer.ask(target="/api/v1/state", host=host, headers=headers).status == 200
    for host, headers in (("example.com", ()), (f"example.com:{port}", ()),
                          (own, [("Origin", "http://example.com")]), (own, [("Origin", "null")]),
                          (own, [("Origin", f"http://localhost:{port}")]),
                          (own, [("Origin", f"https://{own}")])):
        for target in ("/live", "/ready", "/", "/api/v1/commands", "/nothing"):
            answer = observer.ask(target=target, host=host, headers=headers)
            assert answer.status == (405 if target == "/api/v1/commands" else 403), (host, headers, target)
            assert answer.body.count(b"\n") == 1
    with observer.connect() as client:
        client.send(b"GET /api/v1/state HTTP/1.0\r\n\r\n")
        assert client.read_response().status == 200


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_names_that_it_answers_to(model, start_observed):
    observer = start_observed(model, "--observe-names", "web,web.example")
    port = observer.address[1]
    for host in ("web", f"WEB:{port}", "web.example:80", f"localhost:{port}", observer.host):
        assert observer.ask(target="/live", host=host).status == 200, host
    for host in ("web.example.com", "example", "we"):
        assert observer.ask(target="/live", host=host).status == 403, host
    same = [("Origin", f"http://web:{port}")]
    assert observer.ask(target="/live", host=f"web:{port}", headers=same).status == 200
    assert observer.ask(target="/live", host=f"web:{port}", headers=[("Origin", "http://web.example")]).status == 403


# Commands.

@pytest.mark.models(models.EACH_KIND)
def test_commands(model, start_observed):
    observer = start_observed(model, on=observing.WITH_COMMANDS)
    listed = observer.done("list")
    assert listed["master_pid"] == observer.server.pid
    victim = listed["processes"][0]["pid"]
    assert observer.done("kill", pid=victim, signal="KILL")["signal"] == "SIGKILL"
    observer.server.wait_for_full_strength(without_pid=victim)
    observer.server.wait_for_log("control: the observer asked for kill: done")
    status, answer = observer.command("kill", pid=1, signal="KILL")
    assert (status, answer["ok"]) == (409, False) and "no process of this server" in answer["error"]
    before = observer.server.worker_pids()
    observer.done("recycle", number="all")
    wait_until(lambda: not set(before) & set(observer.server.worker_pids()), "all processes are replaced")
    observer.server.wait_for_full_strength()
    with observer.server.connect() as client:
        begin_request(observer, client)  # at the server's end the observer has but a moment for the answer
        observer.done("drain")
        client.send(LATE_PART)
        assert client.read_response().status == 200
    assert observer.server.wait_for_exit() == 0


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_a_command_takes_the_token(model, start_observed):
    observer = start_observed(model, on=observing.WITH_COMMANDS)
    body = b'{"command":"list"}'
    good = f"Bearer {observer.token}"
    wrong = good[:-1] + ("0" if good[-1] != "0" else "1")
    for header in (None, "", "Bearer", f"Basic {observer.token}", wrong, good[:-1], good + "0"):
        headers = [("Authorization", header)] if header is not None else []
        answer = observer.ask("POST", "/api/v1/commands", headers, body)
        assert answer.status == 403 and json.loads(answer.body)["ok"] is False, header
    answer = observer.ask("POST", "/api/v1/commands", [("Authorization", good), ("Origin", "http://example.com")], body)
    assert answer.status == 403
    assert observer.ask("POST", "/api/v1/commands", [("Authorization", good)], body, host="example.com").status == 403
    answer = observer.ask("POST", "/api/v1/commands", [("Authorization", good)], body)
    assert answer.status == 200 and answer.header("Content-Type") == "application/json"
    assert "asked for" not in observer.server.log()


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_what_is_no_command(model, start_observed):
    observer = start_observed(model, on=observing.WITH_COMMANDS)
    headers = [("Authorization", f"Bearer {observer.token}")]
    for body, status in ((b"", 400), (b"{}", 400), (b"list", 400), (b'{"command":"dance"}', 400), (b'"\n"', 400),
                         (b'{"command":"list"}\n{"command":"stop"}', 400), (b"x" * 4096, 413), (b"x" * 20000, 413)):
        answer = observer.ask("POST", "/api/v1/commands", headers, body)
        assert answer.status == status, (body[:40], answer)
    assert observer.ask("POST", "/api/v1/commands", headers, b'{\r\n  "command":\n "list"\n}\n').status == 200


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_without_the_setting_no_command_is_taken(model, start_observed):
    observer = start_observed(model)
    assert observer.token is None
    answer = observer.ask("POST", "/api/v1/commands", [("Authorization", "Bearer 0")], b'{"command":"stop"}')
    assert answer.status == 404 and "--observe-control on" in json.loads(answer.body)["error"]


@pytest.mark.models(models.EACH_KIND)
def test_a_fault(model, start_observed):
    observer = start_observed(model, "--faults", "on", on=observing.WITH_COMMANDS)
    before = observer.server.worker_pids()
    assert observer.done("fault", path="/fault/segv")["path"] == "/fault/segv"
    wait_until(lambda: set(before) != set(observer.server.worker_pids()), "a process has died of it")
    death = wait_until(lambda: state_of(observer)["deaths"], "the death is told")[0]  # no worker is asked: it may die, too
    assert death["signal"] == "SIGSEGV"
    assert [request["line"] for request in death["requests"]] == ["GET /fault/segv HTTP/1.1"]
    for path in ("/", "/fault/a b", "/fault/\r\nX: y", "/fault/" + "x" * 100):
        assert observer.command("fault", path=path)[0] == 400


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_no_fault_without_the_setting(model, start_observed):
    observer = start_observed(model, on=observing.WITH_COMMANDS)
    status, answer = observer.command("fault", path="/fault/segv")
    assert status == 409 and "--faults on" in answer["error"]


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_a_reload_that_is_put_off_is_answered_when_it_is_its_turn(model, start_observed, tmp_path):
    config = tmp_path / "my.yaml"
    config.write_text("gzip: on\n")
    observer = start_observed(model, "--config", str(config), on=observing.WITH_COMMANDS)
    assert observer.done("reload")["ok"]
    answers = [observer.command("reload") for _ in range(3)]
    assert [status for status, _ in answers] == [200, 200, 200], answers
    wait_until(lambda: observer.server.log().count("the new configuration is in force") >= 2, "two reloads at least")


# Its end, and the next one.

def test_another_one_follows_a_dead_one(model, start_observed):
    """While others ask, and the workers do not notice."""
    observer = start_observed(model, on=observing.WITH_COMMANDS)
    server = observer.server
    workers = server.worker_pids()
    first = observer.pid()
    with observer.connect() as idle, observer.connect() as client:
        client.send(observer.request_bytes(target="/ready"))
        assert client.read_response().status == 200
        os.kill(first, signal.SIGKILL)
        idle.expect_close()
    killed_s = time.monotonic()
    wait_until(lambda: (answer := observer.try_to_ask("/live")) and answer.status == 200, "another one answers",
               timeout_s=BACK_WITHIN_S + LATENESS_S)
    back_s = time.monotonic() - killed_s
    assert observer.pid() != first
    assert server.worker_pids() == workers
    assert server.status()["deaths"] == []
    assert observer.done("list")["master_pid"] == server.pid  # the token is the same
    server.wait_for_log(rf"the observer \(pid {first}\) was killed by SIGKILL; the next one starts in 0 ms")
    assert back_s < BACK_WITHIN_S + LATENESS_S


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_a_crash_is_told(model, start_observed):
    observer = start_observed(model)
    first = observer.pid()
    os.kill(first, signal.SIGSEGV)
    observer.server.wait_for_log(r"observer: SIGSEGV ")
    wait_until(lambda: processes.observers(observer.server.pid) not in ([], [first]), "another one is there")
    observer.wait_until_says("/live", 200, "the master is alive")


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_a_restart_by_hand(model, start_observed):
    """SIGTERM ends it in order, and there is another one."""
    observer = start_observed(model)
    first = observer.pid()
    os.kill(first, signal.SIGTERM)
    wait_until(lambda: processes.observers(observer.server.pid) not in ([], [first]), "another one is there")
    observer.wait_until_says("/ready", 200, "ready")


@pytest.mark.models(models.EACH_KIND)
def test_one_that_hangs_is_replaced(model, start_observed):
    observer = start_observed(model, "--stuck-after-ms", "1000")
    first = observer.pid()
    with contextlib.suppress(ProcessLookupError):  # on a busy machine it was not heard before, either
        os.kill(first, signal.SIGSTOP)
    observer.server.wait_for_log(rf"killing the observer \(pid {first}\), which has not been heard")
    wait_until(lambda: (answer := observer.try_to_ask("/live")) and answer.status == 200, "another one answers")
    assert observer.pid() != first


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_one_that_hangs_does_not_keep_the_server_from_its_end(model, start_observed):
    observer = start_observed(model)
    os.kill(observer.pid(), signal.SIGSTOP)
    observer.server.stop()


def _descriptors(pid):
    """What they lead to; those that come and go while it answers and looks at others may be among them."""
    found = {}
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[each.name] = os.readlink(each)
    return found


def _descriptors_of_logs(pid, folder):
    return {fd for fd, to in _descriptors(pid).items() if to.startswith(f"{folder}/")}


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_logs_that_are_opened_again_take_no_descriptor_of_its_own(model, start_observed, tmp_path):
    logs = [tmp_path / name for name in ("access.log", "error.log")]
    observer = start_observed(model, "--access-log", str(logs[0]), "--error-log", str(logs[1]))
    pid = observer.pid()
    before = _descriptors_of_logs(pid, tmp_path)
    for log in logs:
        log.rename(log.with_suffix(".1"))
    os.kill(observer.server.pid, signal.SIGUSR1)
    wait_until(lambda: str(logs[1]) in _descriptors(pid).values(), "it has opened its log again")
    wait_until(lambda: _descriptors_of_logs(pid, tmp_path) <= before, "the new one has the number of the old one")
    observer.wait_until_says("/live", 200, "the master is alive")


def test_it_lives_until_the_servers_end(model, start_observed):
    observer = start_observed(model, *PATIENT)
    server = observer.server
    with server.connect() as client:
        begin_request(observer, client)
        os.kill(server.pid, signal.SIGQUIT)
        observer.wait_until_says("/ready", 503, "draining")
        observer.wait_until_says("/live", 200, "the master is alive")
        client.send(LATE_PART)
        assert client.read_response().status == 200
    assert server.wait_for_exit() == 0
    server.assert_clean_log()


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_it_dies_with_its_master(model, start_observed):
    observer = start_observed(model)
    pid = observer.pid()
    os.kill(observer.server.pid, signal.SIGKILL)
    wait_until(lambda: not processes.is_alive(pid), "it ends with its master")
    observer.server.clean_up()


# The workers and the master hang.

def test_it_answers_when_the_master_is_stopped(model, start_observed):
    observer = start_observed(model, on=observing.WITH_COMMANDS)
    server = observer.server
    os.kill(server.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: observer.says("/live")[0] == 503, "it says that the master is silent",
                   timeout_s=SILENCE_S + LATENESS_S)
        assert re.fullmatch(r"the master has not been heard for \d{4,} ms", observer.says("/live")[1])
        assert observer.says("/ready") == (200, "ready")
        status, answer = observer.command("list")
        assert status == 504 and "does not answer" in answer["error"]
    finally:
        os.kill(server.pid, signal.SIGCONT)
    wait_until(lambda: observer.says("/live")[0] == 200, "the master is heard again")
    assert observer.done("list")["master_pid"] == server.pid


@pytest.mark.parametrize("how", ["stopped", "deadlocked"])
def test_it_answers_when_every_worker_hangs(model, start_observed, how):
    observer = start_observed(model, "--faults", "on", "--stuck-after-ms", "off")
    server = observer.server
    clients = []
    if how == "stopped":
        for pid in server.worker_pids():
            os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: all(processes.read_process(pid).state == "T" for pid in server.worker_pids()), "they are stopped")
    else:
        for _ in range(8 * model.slots):
            clients.append(server.connect())
            clients[-1].send(b"GET /fault/deadlock HTTP/1.1\r\nHost: test\r\n\r\n")
        wait_until(lambda: "GET /fault/deadlock" in observer.ask(target="/api/v1/state").body.decode(), "they hang")
    for _ in range(50):
        observer.wait_until_says("/live", 200, "the master is alive")
        observer.wait_until_says("/ready", 200, "ready")
    server.stop()  # kills those that do not hear
    for client in clients:
        client.close()


@pytest.mark.skipif(servers.PRESET == "tsan", reason="what it does is a data race, and ThreadSanitizer says so")
@pytest.mark.models(models.EACH_KIND)
def test_a_scoreboard_full_of_garbage(model, start_observed):
    observer = start_observed(model, "--faults", "on")
    server = observer.server
    first = observer.pid()
    end_s = time.monotonic() + 2
    seed = 0
    while time.monotonic() < end_s:
        seed += 1
        with contextlib.ExitStack() as stack:
            client = None
            with contextlib.suppress(OSError):  # who scribbles may be replaced
                client = stack.enter_context(Client(server.address, timeout_s=5))
                client.send(f"GET /fault/scribble?ms=200&seed={seed} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
            while client and not client.has_answer() and time.monotonic() < end_s:
                assert observer.ask(target="/ready").status in (200, 503)
                observer.wait_until_says("/live", 200, "the master is alive")
    assert observer.pid() == first


# Its clients.

@pytest.mark.models(models.EACH_KIND)
def test_idle_connections_make_room(model, start_observed):
    observer = start_observed(model)
    idle = [observer.connect() for _ in range(2 * CONNECTIONS)]
    try:
        observer.wait_until_says("/live", 200, "the master is alive")
    finally:
        for client in idle:
            client.close()
    observer.wait_until_says("/live", 200, "the master is alive")


@pytest.mark.models(models.EACH_KIND)
def test_slow_requests_do_not_keep_it(model, start_observed):
    observer = start_observed(model, "--header-timeout-ms", "600000")
    slow = [observer.connect() for _ in range(50)]
    for client in slow:
        client.send(observer.request_bytes(target="/ready")[:-1])
    for _ in range(20):
        observer.wait_until_says("/ready", 200, "ready")
    for client in slow:
        client.send(b"\n")
        assert client.read_response().status == 200
        client.close()


# What it may do.

def _inodes(pid):
    """Of the sockets that a process has open."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except FileNotFoundError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def _shared_mappings(pid, rights):
    """Mappings that others may have, too: (inode, path)."""
    found = set()
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split(None, 5)
        if fields[1] == rights:
            found.add(tuple(fields[4:]))
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into all processes")
@pytest.mark.parametrize("user", ["keep", "nobody"])
def test_what_it_has_and_what_it_has_not(model, start_observed, public_directory, user, tmp_path):
    (public_directory / "site").mkdir()
    folder = public_directory / "logs"
    folder.mkdir()
    control = public_directory / "control"
    observer = start_observed(model, "--user", user, "--control", str(control), "--access-log", str(folder / "access"),
                              on=observing.WITH_COMMANDS, root=public_directory / "site")
    server, pid = observer.server, observer.pid()
    uid = 65534 if user == "nobody" else os.geteuid()
    assert processes.status_number(pid, "Uid") == uid
    assert processes.status_number(pid, "NoNewPrivs") == 1
    assert processes.status_number(pid, "Seccomp") == (2 if servers.SECCOMP == "on" else 0)
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert int(re.search(r"Max open files +(\d+)", limits)[1]) < 1000
    workers = [worker for worker in server.worker_pids()]
    masters = _inodes(server.pid)
    for worker in workers:
        assert not _inodes(pid) & _inodes(worker), "it shares a socket with a worker"
    own = wait_until(lambda: len(found := _inodes(pid)) == 2 and found, "it has two sockets and no client")
    assert len(own & masters) == 1, "of the master's sockets it has the one at which it listens; the other is to the master"
    assert not processes.has_open(pid, folder / "access")
    if not servers.SANITIZED:
        seen = _shared_mappings(pid, "r--s")
        assert len(seen) >= 2  # the scoreboard and the bulletin
        bulletin = [mapping for mapping in seen
                    if all(mapping not in _shared_mappings(worker, rights)
                           for worker in workers for rights in ("r--s", "rw-s"))]
        assert len(bulletin) == 1, "one of them is no worker's"
        # What it loses of its log is counted together with the others; and that it is there it says in a page of its own.
        shared = _shared_mappings(pid, "rw-s") & _shared_mappings(server.pid, "rw-s")
        assert len(shared) == 2
        assert len(shared & _shared_mappings(workers[0], "rw-s")) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read another's memory")
@pytest.mark.models(models.EACH_KIND)
def test_no_worker_has_the_token_in_its_memory(model, start_observed):
    observer = start_observed(model, on=observing.WITH_COMMANDS)
    server = observer.server
    for pid in server.worker_pids():  # their successors are forked after the token was printed
        os.kill(pid, signal.SIGKILL)
        server.wait_for_full_strength(without_pid=pid)
    observer.done("list")
    token = observer.token.encode()
    assert _has_in_memory(observer.pid(), token)
    for pid in server.worker_pids():
        assert not _has_in_memory(pid, token)


def _has_in_memory(pid, text):
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_, name = line.split(None, 5) if line.count(" ") > 5 else (*line.split(None, 4), "")
            begin, end = (int(number, 16) for number in span.split("-"))
            if "r" not in rights or name.strip().startswith(("[v", "/usr", "/lib")) or end - begin > 1 << 28:
                continue
            try:
                memory.seek(begin)
                if text in memory.read(end - begin):
                    return True
            except (OSError, ValueError):
                pass
    return False


# Reloads.

@pytest.fixture
def start_with_file(start_server, tmp_path):
    """An observer by a file of settings, and a function that changes it and reloads."""
    def start(model, settings):
        config = tmp_path / "my.yaml"
        config.write_text(settings)
        server = start_server(model, "--config", str(config), "--control", str(tmp_path / "control"))

        def reload(changed):
            count = server.log().count("the new configuration is ")
            config.write_text(changed)
            assert Control(tmp_path / "control").ask("reload")["ok"]
            wait_until(lambda: server.log().count("the new configuration is ") > count, "the reload is decided")
        return server, reload
    return start


@pytest.mark.models(models.EACH_KIND)
def test_a_reload_keeps_the_socket_and_the_token(model, start_with_file):
    settings = 'observe: "127.0.0.1:0"\nobserve_control: on\n'
    server, reload = start_with_file(model, settings)
    observer = Observer(server)
    failed = []
    stop = threading.Event()

    def keep_asking():
        while not stop.is_set():
            answer = observer.try_to_ask("/ready")
            if answer is None or answer.status != 200:
                failed.append(answer)
    thread = threading.Thread(target=keep_asking)
    thread.start()
    try:
        for number in range(3):
            first = observer.pid()
            reload(settings + f"queue_length: {100 + number}\n")
            wait_until(lambda first=first: processes.observers(server.pid) not in ([], [first]) and
                       first not in processes.observers(server.pid), "another one observes")
    finally:
        stop.set()
        thread.join()
    assert failed == []
    assert observer.done("list")["master_pid"] == server.pid
    assert len(re.findall("^  observe ", server.stdout_path.read_text(), re.MULTILINE)) == 1
    server.assert_clean_log()


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_a_reload_moves_it_switches_it_off_and_on(model, start_with_file):
    first, second = quiet_port(), quiet_port()
    server, reload = start_with_file(model, f'observe: "127.0.0.1:{first}"\n')
    observer = Observer(server)
    assert observer.address[1] == first
    reload(f'observe: "127.0.0.1:{second}"\nobserve_control: on\n')
    observer.move(2)
    assert observer.address[1] == second
    observer.wait_until_says("/ready", 200, "ready")
    token = observer.token
    assert observer.done("list")
    wait_until(lambda: servers.is_free(first), "nobody listens where it was")
    reload("observe: off\n")
    wait_until(lambda: processes.observers(server.pid) == [], "nobody observes")
    wait_until(lambda: servers.is_free(second), "nobody listens where it was")
    reload(f'observe: "127.0.0.1:{first}"\nobserve_control: on\n')
    observer.move(3)
    assert observer.token == token
    assert observer.done("list")
    server.assert_clean_log()


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_a_reload_to_an_address_that_is_taken_changes_nothing(model, start_with_file):
    server, reload = start_with_file(model, 'observe: "127.0.0.1:0"\n')
    observer = Observer(server)
    first = observer.pid()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        count = server.log().count("is refused")
        with pytest.raises(AssertionError):
            reload(f'observe: "127.0.0.1:{other.getsockname()[1]}"\n')
        assert server.log().count("is refused") == count + 1
    assert observer.pid() == first
    observer.wait_until_says("/ready", 200, "ready")


# Upgrades.

def _upgraded(observer, control):
    """Upgrades, and waits until the new program serves; the pid of its master."""
    Control(control).done("upgrade")
    observer.server.wait_for_log(r"the new program \(pid \d+\) serves: retiring")
    return int(re.findall(r"the new program \(pid (\d+)\) serves", observer.server.log())[-1])


@pytest.mark.models(models.EACH_KIND)
def test_an_upgrade_refuses_nobody(model, start_observed, tmp_path):
    control = tmp_path / "control"
    trial_ms = str(round(1000 * LEAVING_S) + 500)  # at its end the old program cuts whoever is with its observer
    observer = start_observed(model, "--control", str(control), "--upgrade-trial-ms", trial_ms, on=observing.WITH_COMMANDS)
    server = observer.server
    old = observer.pid()
    token = observer.token
    failed, refused = [], []
    stop = threading.Event()

    def is_late(text):
        silent = re.fullmatch(r"the master has not been heard for (\d+) ms", text)
        return silent and int(silent[1]) < 1000 * (SILENCE_S + LATENESS_S)

    def keep_asking():
        while not stop.is_set():
            try:
                status, text = observer.says("/live")
                if status != 200 and not is_late(text):
                    failed.append(text)
            except ConnectionRefusedError as error:
                refused.append(error)
            except (OSError, ConnectionLost) as error:
                failed.append(error)
    thread = threading.Thread(target=keep_asking)
    thread.start()
    try:
        new_master = _upgraded(observer, control)
        wait_until(lambda: not processes.is_alive(old), "the old one has gone")
        wait_until(lambda: len(processes.observers(new_master)) == 1, "the new program observes")
        server.process.wait(DEADLINE_S)
    finally:
        stop.set()
        thread.join()
    assert (refused, failed) == ([], [])
    observer.move(2)
    assert observer.token != token
    assert observer.command("list", token=token)[0] == 403
    assert observer.done("list")["master_pid"] == new_master
    os.kill(new_master, signal.SIGTERM)
    wait_until(lambda: not processes.living_in_session(server.session), "all have ended")


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_when_a_new_program_fails_the_old_one_is_seen_to_again(model, start_observed, tmp_path):
    control = tmp_path / "control"
    observer = start_observed(model, "--control", str(control), "--upgrade-trial-ms", "600000", on=observing.WITH_COMMANDS)
    old = observer.pid()
    new_master = _upgraded(observer, control)
    wait_until(lambda: not processes.is_alive(old), "the old observer has gone")
    os.kill(new_master, signal.SIGKILL)
    observer.server.wait_for_log("this one serves again")
    observer.pid()
    wait_until(lambda: (answer := observer.try_to_ask("/ready")) and answer.status == 200, "it observes again")
    assert observer.command("list")[0] == 200  # with the token that the old program has printed
