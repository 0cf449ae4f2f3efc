"""The control socket, twinctl, and SIGTTIN and SIGTTOU.
TWINHTTPD_TEST_RELOADS makes the run under load longer."""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from support import control as controls, models, processes, wrk
from support.control import OK, PATIENCE_OF_THE_MASTER_S, REFUSED, UNREACHABLE, USAGE, twinctl
from support.server import Server, binary, run_to_end
from support.waiting import at_its_pace, DEADLINE_S, wait_until

pytestmark = [pytest.mark.models(models.SUPERVISED)]
ROUNDS = int(os.environ.get("TWINHTTPD_TEST_RELOADS", "8"))
RESIZABLE = ("prefork", "hybrid", "hybrid-request")
FIXED = ("prefork-reuseport", "threadpool-connection", "threadpool-request-blocking")
CLIENTS = 8


@pytest.fixture
def start_controlled(start_server, tmp_path):
    def start(model, *options, **how):
        path = tmp_path / "control"
        return start_server(model, "--control", str(path), *options, **how), controls.Control(path)
    return start


# The socket.

def test_only_its_user_may_open_it_and_it_goes_with_the_server(model, start_controlled):
    server, control = start_controlled(model)
    status = control.path.stat()
    assert stat.S_ISSOCK(status.st_mode)
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o600, os.geteuid())
    assert [path.name for path in control.path.parent.glob("control*")] == ["control"]
    server.stop(signal.SIGQUIT)  # SIGTERM kills who is late, and that is an error in the log
    assert not control.path.exists()
    server.assert_clean_log()


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_without_the_setting_there_is_none(model, start_server, tmp_path):
    server = start_server(model)
    for signal_number in (signal.SIGTTIN, signal.SIGTTOU):
        os.kill(server.pid, signal_number)
    assert server.get("/plaintext").status == 200
    assert not [path for path in tmp_path.rglob("*") if stat.S_ISSOCK(path.lstat().st_mode)]


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_a_stale_socket_is_replaced(model, start_controlled, tmp_path):
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "control"))
    stale.close()
    _, control = start_controlled(model)
    assert control.done("list")["state"] == "running"


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_a_socket_that_is_in_use_stays(model, start_controlled):
    server, control = start_controlled(model)
    second = run_to_end(model, "--listen", "127.0.0.1:0", "--control", str(control.path))
    assert second.returncode == 1
    assert "another process listens" in second.stderr
    assert control.done("list")["master_pid"] == server.pid
    assert [path.name for path in control.path.parent.glob("control*")] == ["control"]


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
@pytest.mark.parametrize("make, reason", [
    (lambda path: path.write_text("precious"), "is no socket"),
    (lambda path: path.mkdir(), "is no socket"),
    (lambda path: path.symlink_to("elsewhere"), "is no socket"),
], ids=["file", "folder", "link"])
def test_what_is_no_socket_stays(model, tmp_path, make, reason):
    path = tmp_path / "control"
    make(path)
    before = path.lstat()
    result = run_to_end(model, "--listen", "127.0.0.1:0", "--control", str(path))
    assert (result.returncode, reason in result.stderr) == (1, True), result.stderr
    assert path.lstat() == before


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
@pytest.mark.parametrize("path, reason", [
    ("/no/such/folder/control", "cannot make the socket"), ("/tmp/" + "x" * 200, "too long"),
])
def test_a_bad_path_is_a_reason_not_to_start(model, path, reason):
    result = run_to_end(model, "--listen", "127.0.0.1:0", "--control", path)
    assert (result.returncode, reason in result.stderr) == (1, True), result.stderr


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_is_refused_even_where_the_mode_lets_him_in(model, start_server):
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        path = folder / "control"
        start_server(model, "--control", str(path))
        code = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(1000))"
        ask = [sys.executable, "-c", code, str(path)]
        kept_out = subprocess.run(ask, user=65534, capture_output=True, text=True, check=False)
        assert "PermissionError" in kept_out.stderr
        path.chmod(0o666)
        refused = subprocess.run(ask, user=65534, capture_output=True, text=True, check=False)
        assert "this user may not control the server" in refused.stdout, refused
        assert controls.ask(path, "list")["state"] == "running"
    finally:
        shutil.rmtree(folder)


# What the commands do.

def test_list_tells_what_is_there(model, start_controlled):
    server, control = start_controlled(model)
    with server.connect() as client:
        client.send(b"GET /sleep?ms=60000 HTTP/1.1\r\nHost: test\r\n\r\n")
        def currents():
            return [thread["current"] for process in control.processes()
                    for thread in process["threads"] if thread["current"]]
        wait_until(lambda: currents() == ["GET /sleep?ms=60000 HTTP/1.1"], "the request is shown")
        answer = control.done("list")
    assert (answer["server"], answer["model"]) == (model.binary, model.kind)
    assert (answer["master_pid"], answer["wanted"]) == (server.pid, model.processes)
    assert sorted(control.pids()) == server.worker_pids()
    for number, process in enumerate(answer["processes"]):
        assert (process["number"], process["state"]) == (number, "ready")
        roles = [thread["role"] for thread in process["threads"]]
        assert sorted(roles) == ["loop"] * model.loops + ["pool"] * model.pool
        assert all(Path(f"/proc/{process['pid']}/task/{thread['tid']}").exists()
                   for thread in process["threads"])
    assert sum(thread["connections"] for process in answer["processes"]
               for thread in process["threads"]) == 1


@pytest.mark.models(RESIZABLE)
def test_add_and_remove(model, start_controlled):
    server, control = start_controlled(model)
    first = control.pids()
    assert control.done("add")["wanted"] == 3
    assert control.wait_for_processes(3)[:2] == first
    assert control.done("add", count=2)["wanted"] == 5
    five = control.wait_for_processes(5)
    assert control.done("remove", count=4)["wanted"] == 1
    assert control.wait_for_processes(1) == first[:1]
    assert not any(processes.is_alive(pid) for pid in five[1:])
    assert server.status()["deaths"] == []
    assert "one of 1 must stay" in control.refusal("remove")
    assert "must stay" in control.refusal("remove", count=512)
    assert "more than the 18" in control.refusal("add", count=18)
    assert control.done("add", count=17)["wanted"] == 18
    control.wait_for_processes(18)
    assert server.get("/plaintext").status == 200
    server.stop(signal.SIGQUIT)  # SIGTERM has no patience with eighteen processes on a slow machine
    server.assert_clean_log()


@pytest.mark.models(RESIZABLE)
def test_signals_add_and_remove_and_a_reload_goes_back(model, start_controlled):
    server, control = start_controlled(model)
    for signal_number, count in ((signal.SIGTTIN, 3), (signal.SIGTTIN, 4), (signal.SIGTTOU, 3)):
        os.kill(server.pid, signal_number)
        control.wait_for_processes(count)
    control.done("reload")
    wait_until(lambda: "all processes have been replaced" in server.log(), "the reload is done")
    control.wait_for_processes(2)
    for count in (1, 1):
        os.kill(server.pid, signal.SIGTTOU)
        control.wait_for_processes(count)
    server.wait_for_log("the number of processes stays: one of 1 must stay")


@pytest.mark.models(FIXED)
def test_models_that_cannot_grow_say_so(model, start_controlled):
    server, control = start_controlled(model)
    before = control.pids()
    reason = "accept: reuseport" if model.name == "prefork-reuseport" else "one process of many threads"
    assert reason in control.refusal("add")
    assert reason in control.refusal("remove")
    os.kill(server.pid, signal.SIGTTIN)
    wait_until(lambda: server.log().count("the number of processes stays: ") == 3, "it is logged")
    assert control.pids() == before


def test_kill_shows_the_death(model, start_controlled):
    server, control = start_controlled(model)
    victim = control.pids()[0]
    assert control.done("kill", pid=victim, signal="SEGV") == {"ok": True, "pid": victim, "signal": "SIGSEGV"}
    assert server.wait_for_death(victim)["signal"] == "SIGSEGV"
    second = control.wait_for_processes(model.processes)[0]
    assert control.done("kill", pid=second, signal=int(signal.SIGKILL))["signal"] == "SIGKILL"
    assert server.wait_for_death(second)["signal"] == "SIGKILL"
    control.wait_for_processes(model.processes)


def test_kill_reaches_only_children_of_the_server(model, start_controlled):
    server, control = start_controlled(model)
    for stranger in (os.getpid(), server.pid, 1):
        assert "is no process of this server" in control.refusal("kill", pid=stranger, signal="KILL")
    assert "no \"pid\"" in control.refusal("kill", pid=-1, signal="KILL")
    pid = control.pids()[0]
    for bad in ("NOTHING", "", 0, 65, -9, None, 9.5, [9], "0"):
        assert "no such \"signal\"" in control.refusal("kill", pid=pid, signal=bad)
    assert control.pids()[0] == pid


def test_recycle(model, start_controlled):
    server, control = start_controlled(model)
    first = control.pids()
    assert control.done("recycle", number=0)["recycling"] == 1
    wait_until(lambda: first[0] not in control.wait_for_processes(model.processes), "it is another")
    assert set(first[1:]) <= set(control.pids())
    second = control.pids()
    assert control.done("recycle", number="all")["recycling"] == model.processes
    control.wait_for_replacement(second)
    assert server.status()["deaths"] == []
    assert "there is no process" in control.refusal("recycle", number=model.processes)
    assert "no \"number\"" in control.refusal("recycle", number="some")
    server.stop(signal.SIGQUIT)
    server.assert_clean_log()


def test_drain(model, start_controlled):
    server, control = start_controlled(model)
    with server.connect() as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\na")
        wait_until(lambda: sum(thread["connections"] for process in control.processes()
                               for thread in process["threads"]) == 1, "the request has begun")
        assert control.done("drain")["state"] == "draining"
        assert control.done("list")["state"] == "draining"
        assert "about to end" in control.refusal("recycle", number="all")
        assert "about to end" in control.refusal("reload")
        assert "about to end" in control.refusal("upgrade")
        client.send(b"b")
        assert client.read_response().body == b"ab"
    assert server.wait_for_exit() == 0
    assert not control.path.exists()


def test_stop(model, start_controlled):
    server, control = start_controlled(model)
    assert control.done("stop")["state"] == "stopping"
    assert server.wait_for_exit() == 0
    assert not control.path.exists()


def test_reopen_logs(model, start_controlled, tmp_path):
    error_log = tmp_path / "error.log"
    _, control = start_controlled(model, "--error-log", str(error_log))
    error_log.rename(tmp_path / "error.1")
    control.done("reopen-logs")
    wait_until(lambda: error_log.exists() and "open again" in error_log.read_text(), "it is there again")


# Reloads and upgrades.

@pytest.fixture
def start_configured(start_server, tmp_path):
    """A server with a file of its own, whose socket is where the file says."""
    def start(model, name="control"):
        path = tmp_path / "server.yaml"
        path.write_text(f"control: {tmp_path}/{name}\n")
        return start_server(model, "--config", str(path)), path, controls.Control(tmp_path / name)
    return start


def test_the_socket_outlives_a_reload(model, start_configured):
    server, _, control = start_configured(model)
    inode = control.path.stat().st_ino
    pids = control.pids()

    def ask_behind_a_reload(_pace):
        reloads = server.log().count("is in force")
        with controls.connect(control.path) as waiting:
            control.done("reload")
            wait_until(lambda: server.log().count("is in force") > reloads, "the new configuration is in force")
            waiting.sendall(b'{"command":"list"}\n')
            assert json.loads(controls.read_all(waiting))["ok"] is True
    at_its_pace(ask_behind_a_reload, PATIENCE_OF_THE_MASTER_S)  # who asks later than that is cut
    control.wait_for_replacement(pids)
    assert control.path.stat().st_ino == inode


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_a_reload_moves_the_socket(model, start_configured, tmp_path):
    server, config, control = start_configured(model)
    config.write_text(f"control: {tmp_path}/other\n")
    control.done("reload")
    other = controls.Control(tmp_path / "other")
    wait_until(other.path.exists, "the new socket is there")
    assert other.done("list")["master_pid"] == server.pid
    wait_until(lambda: not control.path.exists(), "the old one is gone")
    config.write_text("control: /no/such/folder/control\n")
    other.done("reload")
    server.wait_for_log("cannot make the socket /no/such/folder/control")
    other.wait_for_processes(model.processes)
    config.write_text("control: off\n")
    other.done("reload")
    wait_until(lambda: not other.path.exists(), "it is switched off")
    config.write_text(f"control: {tmp_path}/again\n")
    os.kill(server.pid, signal.SIGHUP)
    wait_until((tmp_path / "again").exists, "it is switched on")


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_a_bad_configuration_is_refused_with_the_reason(model, start_configured):
    _, config, control = start_configured(model)
    good = config.read_text()
    config.write_text("no_such_setting: 1\n")
    assert "unknown key \"no_such_setting\"" in control.refusal("reload")
    config.write_text(good)
    control.done("reload")


@pytest.fixture
def start_upgradable(tmp_path, site):
    started = []

    def start(model, trial_ms):
        path = tmp_path / "control"
        command = [binary(model), "--listen", "127.0.0.1:0", "--root", str(site), "--control", str(path),
                   "--upgrade-trial-ms", str(trial_ms), *model.options]
        started.append(Server(model, command, tmp_path))
        return started[-1], controls.Control(path)
    yield start
    for server in started:
        server.clean_up()


def test_an_upgrade_takes_the_socket_over(model, start_upgradable):
    server, control = start_upgradable(model, trial_ms=100)
    new = control.done("upgrade")["pid"]
    assert server.process.wait(DEADLINE_S) == 0  # before that it may be the old one that is asked, and leaves
    assert control.done("list")["master_pid"] == new
    assert [path.name for path in control.path.parent.glob("control*")] == ["control"]
    control.done("drain")  # a stop kills who is late, and that is an error in the log
    wait_until(lambda: not processes.living_in_session(server.session), "nothing is left")
    assert not control.path.exists()
    server.assert_clean_log()


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_a_program_that_dies_on_trial_gives_the_socket_back(model, start_upgradable):
    server, control = start_upgradable(model, trial_ms=60000)
    new = control.done("upgrade")["pid"]
    server.wait_for_log("serves: retiring")
    os.kill(new, signal.SIGKILL)
    server.wait_for_log("this one serves again")
    assert control.done("list")["master_pid"] == server.pid
    control.wait_for_processes(model.processes)
    server.stop()
    assert not control.path.exists()


# Clients that misbehave.

@pytest.mark.parametrize("line", [
    b"\n", b"list\n", b"{}\n", b"[]\n", b'"list"\n', b"null\n", b'{"command":null}\n', b'{"command":"list"',
    b'{"command":"list"}}\n', b'{"command":"list","command":"stop"}\n', b'{"command":["stop"]}\n',
    b'{"command":"Stop"}\n', b'{"command":"stop\\u0000"}\n', b"\0\n", b"\xff\xfe\n", b"[" * 4000 + b"\n",
    b'{"a":' * 700 + b"\n", b'{"command":"add","count":0}\n', b'{"command":"add","count":513}\n',
    b'{"command":"add","count":1e3}\n', b'{"command":"add","count":99999999999999999999}\n',
    b"GET / HTTP/1.1\r\nHost: test\r\n\r\n",
], ids=lambda line: repr(line[:24]))
@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_rubbish_is_refused(model, start_controlled, line):
    server, control = start_controlled(model)
    if line.endswith(b"\n"):
        answer = controls.ask_raw(control.path, line)
        assert answer["ok"] is False and answer["error"], answer
    else:
        with controls.connect(control.path) as connection:
            connection.sendall(line)
            connection.shutdown(socket.SHUT_WR)
            assert controls.read_all(connection) == b""
    assert control.done("list")["wanted"] == model.processes
    server.stop(signal.SIGQUIT)
    server.assert_clean_log()


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_an_endless_line_is_refused_and_cut(model, start_controlled):
    _, control = start_controlled(model)
    with controls.connect(control.path) as connection:
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while True:
                connection.sendall(b"x" * 65536)
        assert json.loads(controls.read_all(connection))["error"].startswith("the request is too long")
    assert control.done("list")["state"] == "running"


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_a_line_in_single_bytes_is_answered(model, start_controlled):
    _, control = start_controlled(model)

    def ask(_pace):
        with controls.connect(control.path) as connection:
            for byte in b'{"command":"list"}\n':
                connection.sendall(bytes([byte]))
            assert json.loads(controls.read_all(connection))["ok"] is True
    at_its_pace(ask, PATIENCE_OF_THE_MASTER_S)


def has_closed(connection):
    """Whether the master has closed; these connections get no answer."""
    return bool(select.select([connection], [], [], 0)[0])


@pytest.mark.models(models.EACH_KIND)
def test_silent_clients_are_cut_and_delay_nobody_for_long(model, start_controlled):
    server, control = start_controlled(model)

    def hold_the_master_up(_pace):
        silent = [controls.connect(control.path) for _ in range(CLIENTS)]
        for part, connection in zip((b"", b"{", b'{"command":"stop"}', b"x" * 4000), silent):
            connection.sendall(part)
        with controls.connect(control.path) as ninth:
            ninth.sendall(b'{"command":"list"}\n')
            victim = server.worker_pids()[0]
            os.kill(victim, signal.SIGKILL)
            server.wait_for_log(rf"process \d+ \(pid {victim}, generation \d+\) was killed by SIGKILL")
            server.wait_for_full_strength(without_pid=victim)
            assert not any(has_closed(connection) for connection in silent), "the master waited for them"
            assert json.loads(controls.read_all(ninth))["ok"] is True
        for connection in silent:
            assert controls.read_all(connection) == b""
            connection.close()
    at_its_pace(hold_the_master_up, PATIENCE_OF_THE_MASTER_S)  # who looks later than that sees nothing
    assert control.done("list")["state"] == "running"


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_waiting_for_silent_clients_costs_no_cpu_time(model, start_controlled):
    server, control = start_controlled(model)
    waiting = [controls.connect(control.path) for _ in range(CLIENTS + 5)]
    before = processes.cpu_ticks(server.pid)
    for connection in waiting:
        assert controls.read_all(connection) == b""
        connection.close()
    assert processes.cpu_ticks(server.pid) - before < 50
    assert control.done("list")["state"] == "running"


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_clients_that_leave_in_the_middle(model, start_controlled):
    server, control = start_controlled(model)
    before = processes.open_fds(server.pid)
    for part in (b"", b'{"comm', b'{"command":"list"}\n', b'{"command":"list"}\n' * 50) * 25:
        with controls.connect(control.path) as connection:
            try:
                connection.sendall(part)
            except (BrokenPipeError, ConnectionResetError):
                pass  # answered and closed already
    assert control.done("list")["state"] == "running"
    wait_until(lambda: processes.open_fds(server.pid) <= before, "no descriptor is left over")


def control_sockets(path, pid):
    """How many sockets bound to this path, or to its name before, a process has open."""
    lines = (line.split() for line in Path("/proc/net/unix").read_text().splitlines())
    inodes = {fields[6] for fields in lines if fields[-1].startswith(str(path))}
    links = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return sum(link in {f"socket:[{inode}]" for inode in inodes} for link in links)


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_workers_hold_none_of_its_descriptors(model, start_controlled):
    server, control = start_controlled(model)

    def have_a_successor_beside_a_client(_pace):
        with controls.connect(control.path):
            victim = control.pids()[0]
            control.done("kill", pid=victim, signal="KILL")
            wait_until(lambda: victim not in control.wait_for_processes(model.processes), "it has a successor")
            assert control_sockets(control.path, server.pid) == 2, "the master listens, and has a client"
            for pid in server.worker_pids():
                assert control_sockets(control.path, pid) == 0
    at_its_pace(have_a_successor_beside_a_client, PATIENCE_OF_THE_MASTER_S)  # it cuts the client then


# twinctl.

@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_twinctl_prints_a_table(model, start_controlled):
    server, control = start_controlled(model)
    result = twinctl("--control", control.path, "list")
    assert (result.returncode, result.stderr) == (OK, "")
    first, header, *rows = result.stdout.splitlines()
    assert first.startswith(f"{model.binary} ") and f"master {server.pid}" in first
    assert header.split()[:3] == ["process", "pid", "generation"]
    assert len(rows) == model.slots
    assert rows[0].split()[:4] == ["0", str(control.pids()[0]), "1", "ready"]


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_twinctl_json(model, start_controlled):
    _, control = start_controlled(model)
    result = twinctl("list", "--json", "--control", control.path)
    assert result.returncode == OK
    assert json.loads(result.stdout)["wanted"] == model.processes
    refused = twinctl("--json", "--control", control.path, "recycle", 99)
    assert refused.returncode == REFUSED
    assert json.loads(refused.stdout)["ok"] is False


def test_twinctl_carries_out_every_command(model, start_controlled):
    server, control = start_controlled(model)
    def done(*words, status=OK):
        result = twinctl("--control", control.path, *words)
        assert result.returncode == status, result
        return result.stdout if status == OK else result.stderr
    resizable = OK if model.name in RESIZABLE else REFUSED
    text = done("add", 1, status=resizable)
    assert text == "ok, wanted 3\n" if resizable == OK else text.startswith("twinctl: refused: ")
    done("remove", status=resizable)
    pid = control.wait_for_processes(model.processes)[0]
    assert done("kill", pid, "sigkill") == f"ok, pid {pid}, signal SIGKILL\n"
    server.wait_for_death(pid)
    pids = control.wait_for_processes(model.processes)
    assert done("recycle", "all") == f"ok, recycling {model.processes}\n"
    control.wait_for_replacement(pids)
    assert done("reopen-logs") == "ok\n"
    assert done("reload") == "ok\n"
    control.wait_for_processes(model.processes)
    assert "twinctl: refused: there is no process 99" in done("recycle", 99, status=REFUSED)
    assert done("stop") == "ok, state stopping\n"
    assert server.wait_for_exit() == 0


@pytest.mark.models(("prefork",))
@pytest.mark.parametrize("words", [
    (), ("list",), ("--control",), ("--control", "x"), ("--control", "x", "dance"), ("--control", "x", "list", "y"),
    ("--control", "x", "add", "-1"), ("--control", "x", "kill", "1"), ("--control", "x", "recycle"),
    ("--control", "x", "--bad", "list"),
], ids=str)
def test_twinctl_usage(model, words):
    result = twinctl(*words)
    assert (result.returncode, result.stdout) == (USAGE, "")
    assert result.stderr.startswith("twinctl: ") and result.stderr.count("\n") == 1


@pytest.mark.models(("prefork",))
def test_twinctl_help(model):
    result = twinctl("--help")
    assert (result.returncode, result.stderr) == (OK, "")
    assert result.stdout.startswith("Usage: twinctl --control PATH")


@pytest.mark.models(("prefork",))
def test_twinctl_says_why_it_cannot_reach_the_master(model, tmp_path):
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "stale"))
    stale.close()
    for path, fix in ((tmp_path / "none", "start the server with --control"),
                      (tmp_path / "stale", "the server has ended"), ("/" + "x" * 300, "check the path")):
        result = twinctl("--control", path, "list")
        assert (result.returncode, result.stdout) == (UNREACHABLE, "")
        assert "cannot reach the master" in result.stderr and fix in result.stderr


# Under load.

@pytest.mark.serial
@pytest.mark.slow
@pytest.mark.models(models.UNDER_LOAD)
def test_no_request_fails_while_processes_come_and_go(model, start_controlled, start_load):
    server, control = start_controlled(model)
    load = start_load(server, "/hello.txt")
    for _ in range(ROUNDS):
        if model.name in RESIZABLE:
            control.done("add", count=2)
            control.wait_for_processes(4)
            control.done("remove", count=3)
            control.wait_for_processes(1)
            control.done("add")
        pids = control.wait_for_processes(model.processes)
        control.done("recycle", number="all")
        control.wait_for_replacement(pids)
    result = wrk.end(load)
    assert result.requests > 0
    assert (result.connect_errors, result.read_errors, result.write_errors, result.timeouts,
            result.bad_statuses) == (0, 0, 0, 0, 0)
    totals = server.status()["totals"]
    assert (totals["deaths"], totals["requests_lost"]) == (0, 0)
