"""Who the serving processes are, and what they have given up."""

import os
import pwd
import signal
import subprocess
from pathlib import Path

import pytest

from support import models, processes, server as servers
from support.client import request_bytes
from support.full_pipe import StoppedReader
from support.server import refusal
from support.waiting import DEADLINE_S, wait_until

EACH_BINARY = pytest.mark.models(models.ONE_OF_EACH_BINARY)
ROOT_ONLY = pytest.mark.skipif(os.getuid() != 0, reason="only root can change users")
USER = pwd.getpwnam("nobody")
PID_LIMIT = 1 << 22  # the kernel never counts that far
CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")


@pytest.fixture(autouse=True)
def no_leak_checker(monkeypatch):
    """It attaches to the process as a debugger, which a process that changed its user refuses."""
    options = os.environ.get("ASAN_OPTIONS", "")
    monkeypatch.setenv("ASAN_OPTIONS", f"{options}:detect_leaks=0")


def fields_of_threads(pid):
    """/proc/PID/status of each thread of a process, as dictionaries, the main thread's first."""
    # In the order of their start: behind the highest number the kernel begins again with the low ones.
    tasks = sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda task: (int(task.name) - pid) % PID_LIMIT)
    if servers.PRESET == "tsan":
        del tasks[1:2]  # ThreadSanitizer's own thread, which it starts before all others
    return [dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines()
                 if ":\t" in line) for task in tasks]


def assert_is_user(pid):
    for fields in fields_of_threads(pid):
        assert fields["Uid"].split() == [str(USER.pw_uid)] * 4
        assert fields["Gid"].split() == [str(USER.pw_gid)] * 4
        assert fields["Groups"].split() == [str(USER.pw_gid)]
        assert {int(fields[name], 16) for name in (*CAPABILITY_SETS, "CapBnd")} == {0}
        assert fields["NoNewPrivs"] == "1"


def limit(pid, resource, soft):
    """Sets a soft limit of a process of the user; returns what it was. As the user: for others it
    takes a capability that containers lack."""
    def prlimit(*options):
        command = ["prlimit", "--pid", str(pid), *options]
        return subprocess.run(command, check=True, text=True, capture_output=True, user=USER.pw_uid,
                              group=USER.pw_gid, extra_groups=[]).stdout.strip()
    before = prlimit(f"--{resource}", "--output", "SOFT", "--noheadings")
    prlimit(f"--{resource}={soft}:")
    return before


def test_serving_processes_can_gain_no_privileges(model, start_server):
    server = start_server(model)
    for pid in server.worker_pids():
        assert all(fields["NoNewPrivs"] == "1" for fields in fields_of_threads(pid))
    if model.has_master:
        assert fields_of_threads(server.pid)[0]["NoNewPrivs"] == "0"


@ROOT_ONLY
def test_serving_processes_become_the_user(model, start_server, tmp_path):
    logs = [tmp_path / "access.log", tmp_path / "error.log"]
    server = start_server(model, "--user", USER.pw_name, "--access-log", str(logs[0]),
                          "--error-log", str(logs[1]))
    assert server.get("/hello.txt").status == 200
    for pid in server.worker_pids():
        assert_is_user(pid)
    assert [path.stat().st_uid for path in logs] == [USER.pw_uid] * 2
    if model.has_master:
        assert fields_of_threads(server.pid)[0]["Uid"].split() == ["0"] * 4
    server.stop(signal.SIGQUIT)  # SIGTERM kills who is late, with the lines that it has not written
    assert "GET /hello.txt" in logs[0].read_text()


@ROOT_ONLY
def test_a_user_by_number_needs_no_entry(model, start_server):
    server = start_server(model, "--user", "4123456:4123457")
    assert server.get("/hello.txt").status == 200
    for pid in server.worker_pids():
        for fields in fields_of_threads(pid):
            assert fields["Uid"].split() == ["4123456"] * 4
            assert fields["Gid"].split() == ["4123457"] * 4
            assert fields["Groups"].split() == ["4123457"]
    assert "stay root" not in server.log()


@ROOT_ONLY
def test_who_stays_root_is_warned_once(model, start_server):
    server = start_server(model)
    server.wait_for_log(r"\[warn\] .* serving processes stay root: whoever takes one over has the whole machine; name")
    assert server.log().count("[warn]") == 1
    if model.has_master:
        os.kill(server.pid, signal.SIGHUP)
        server.wait_for_log("the new configuration is in force")
        assert server.log().count("stay root") == 1


@ROOT_ONLY
@pytest.mark.models(models.SUPERVISED)
def test_successors_become_the_user(model, start_server):
    server = start_server(model, "--user", USER.pw_name)
    victim = server.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    server.wait_for_full_strength(without_pid=victim)
    for pid in server.worker_pids():
        assert_is_user(pid)


@ROOT_ONLY
@pytest.mark.models(models.SUPERVISED)
def test_they_still_die_with_their_master(model, start_server):
    """A change of the user makes the kernel forget that they are to."""
    server = start_server(model, "--user", USER.pw_name)
    with server.connect() as client:
        client.send(request_bytes(target="/sleep?ms=60000"))
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait(DEADLINE_S)
        wait_until(lambda: not processes.living_in_session(server.session), "the workers are gone")


@ROOT_ONLY
@pytest.mark.models(models.SUPERVISED)
def test_the_user_can_reopen_logs(model, start_server, public_directory):
    log = public_directory / "access.log"
    server = start_server(model, "--user", USER.pw_name, "--access-log", str(log),
                          root=public_directory)
    log.rename(public_directory / "access.log.1")
    os.kill(server.pid, signal.SIGUSR1)
    server.wait_for_log("the logs are open again")
    assert log.stat().st_uid == USER.pw_uid

    def is_written():
        assert server.get("/plaintext").status == 200
        return log.read_text()
    wait_until(is_written, "the new file is written to")
    server.assert_clean_log()


@ROOT_ONLY
@pytest.mark.models(models.SUPERVISED)
def test_logs_that_the_user_cannot_reach(model, start_server, tmp_path):
    """Only the master can open the new file: its workers get it with their fork."""
    log = tmp_path / "closed" / "access.log"
    log.parent.mkdir(mode=0o700)
    server = start_server(model, "--user", USER.pw_name, "--access-log", str(log))
    rotated = log.rename(tmp_path / "access.log.1")
    os.kill(server.pid, signal.SIGUSR1)
    wait_until(lambda: len(server.worker_pids()) == model.processes
               and all(processes.has_open(pid, log) for pid in server.worker_pids()),
               "every worker writes to the new file")
    assert not any(processes.has_open(pid, rotated) for pid in (server.pid, *server.worker_pids()))
    cause = f"user {USER.pw_name} cannot open the log {log}: Permission denied; "
    assert server.log().count(cause) == 1
    assert server.log().count("[error]") == 1


@ROOT_ONLY
@pytest.mark.models(models.SUPERVISED)
def test_a_refused_reload_leaves_the_logs_alone(model, start_server, tmp_path):
    """Giving a log to the user comes last."""
    config = tmp_path / "server.yaml"
    logs = [tmp_path / "access.log", tmp_path / "error.log"]
    config.write_text("log_level: info\n")
    server = start_server(model, "--user", USER.pw_name, "--config", str(config),
                          prefix=["setpriv", "--bounding-set=-chown"])
    config.write_text(f"access_log: {logs[0]}\nerror_log: {logs[1]}\nlog_level: error\n")
    os.kill(server.pid, signal.SIGHUP)
    server.wait_for_log(r"\[error\] master .* is refused, .* cannot give the log")
    assert not any(processes.has_open(server.pid, log) for log in logs)
    config.write_text("log_level: info\n")
    os.kill(server.pid, signal.SIGHUP)
    server.wait_for_log(r"\[notice\] .*all processes have been replaced")
    assert logs[1].read_text() == ""


@ROOT_ONLY
@pytest.mark.models(models.SUPERVISED)
def test_logs_are_opened_again_during_a_trial(model, start_server, public_directory):
    """Both servers' are, since one of them will go. No process can be forked at first: that makes
    the trial last. Then the first one cannot start."""
    config, log = public_directory / "server.yaml", public_directory / "logs" / "access.log"
    errors = log.with_name("error.log")
    log.parent.mkdir()
    os.chown(log.parent, USER.pw_uid, USER.pw_gid)
    text = f"access_log: {log}\nerror_log: {errors}\n"
    config.write_text(text)
    server = start_server(model, "--config", str(config), root=public_directory, user=USER.pw_uid,
                          group=USER.pw_gid, extra_groups=[])
    processes_before = limit(server.pid, "nproc", 1)
    config.write_text(text + "log_level: error\n")
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: "cannot fork process" in errors.read_text(), "the trial lasts")
    rotated = [path.rename(f"{path}.1") for path in (log, errors)]
    os.kill(server.pid, signal.SIGUSR1)
    wait_until(lambda: log.exists() and errors.exists()
               and not any(processes.has_open(server.pid, path) for path in rotated),
               "the logs of both servers are open again")
    descriptors_before = limit(server.pid, "nofile", 4)  # the master polls four
    limit(server.pid, "nproc", processes_before)
    wait_until(lambda: "the old one stays" in errors.read_text(), "the trial is over")
    limit(server.pid, "nofile", descriptors_before)
    victim = server.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    server.wait_for_full_strength(without_pid=victim)

    def is_in_the_new_logs(pid):
        return (processes.has_open(pid, log) and processes.has_open(pid, errors)
                and not any(processes.has_open(pid, path) for path in rotated))
    wait_until(lambda: all(is_in_the_new_logs(pid) for pid in (server.pid, *server.worker_pids())),
               "everybody has the new logs")
    wait_until(lambda: "after the death of its predecessor" in errors.read_text(), "the old level is in force")


# Logs in a folder of the user's: its names lead where the user wants.

@pytest.fixture
def their_folder(public_directory):
    """A folder of the user's, beside one of root's that the user cannot look into."""
    folder = public_directory / "theirs"
    folder.mkdir()
    os.chown(folder, USER.pw_uid, USER.pw_gid)
    (public_directory / "closed").mkdir(mode=0o700)
    return folder


def lead_elsewhere(log, way, closed):
    """What the user, or a serving process that was taken over, can put in the place of the log."""
    log.unlink()
    if way == "link":
        log.symlink_to(closed / "created")
    elif way == "link to a file":
        log.symlink_to(closed / "secret")
    elif way == "hard link":
        log.hardlink_to(closed / "secret")
    elif way == "fifo":
        os.mkfifo(log)
        os.chown(log, USER.pw_uid, USER.pw_gid)
    elif way == "folder":
        log.parent.rename(log.parent.with_name("aside"))
        log.parent.symlink_to(closed)


@ROOT_ONLY
@pytest.mark.models(models.SUPERVISED)
@pytest.mark.parametrize("way", ["link", "link to a file", "hard link", "fifo", "folder"])
def test_root_does_not_open_what_the_user_names(model, start_server, their_folder, way):
    closed = their_folder.with_name("closed")
    secret = closed / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    folder = their_folder / "logs"
    folder.mkdir()
    os.chown(folder, USER.pw_uid, USER.pw_gid)
    log = folder / "access.log"
    server = start_server(model, "--user", USER.pw_name, "--access-log", str(log), root=their_folder.parent)
    assert log.stat().st_uid == USER.pw_uid
    names = set(os.listdir(closed))
    lead_elsewhere(log, way, closed)
    os.kill(server.pid, signal.SIGUSR1)
    server.wait_for_log(f"master .*cannot open the access log {log}: .*; it goes on in the old one")
    server.wait_for_log("the logs are open again")
    for _ in range(10):
        assert server.get("/plaintext", [("User-Agent", "lead astray")]).status == 200
    server.stop()
    assert secret.read_text() == "secret" and secret.stat().st_uid == 0
    assert set(os.listdir(closed)) == names


@ROOT_ONLY
@EACH_BINARY
@pytest.mark.parametrize("way", ["link", "link to a file", "hard link", "fifo"])
def test_no_start_with_a_log_that_leads_elsewhere(model, their_folder, way):
    closed, log = their_folder.with_name("closed"), their_folder / "access.log"
    (closed / "secret").touch(mode=0o600)
    log.touch()
    lead_elsewhere(log, way, closed)
    message = refusal(model, "--listen", "127.0.0.1:0", "--root", str(their_folder.parent), "--user", USER.pw_name,
                      "--access-log", str(log))
    cause = "FIFO that nobody reads" if way == "fifo" else "root does not open what others can change"
    assert f"cannot open the access log {log}: " in message and cause in message
    assert os.listdir(closed) == ["secret"]
    assert (closed / "secret").stat().st_uid == 0


@ROOT_ONLY
@pytest.mark.models(models.SUPERVISED)
def test_standard_streams_as_logs(model, start_server):
    """As in a container: pipes that the user could not open."""
    reader = StoppedReader(full=False)
    server = start_server(model, "--user", USER.pw_name, "--access-log", "/dev/fd/8", "--error-log", "/dev/stderr",
                          **reader.redirect(8))
    reader.read_on()
    server.get("/plaintext?before")
    os.kill(server.pid, signal.SIGUSR1)
    server.wait_for_log("the logs are open again")
    server.get("/plaintext?after")
    server.stop(signal.SIGQUIT)  # SIGTERM kills who is late, and that is an error
    server.assert_clean_log()
    assert "before" in reader.rest() and "after" in reader.text()


@ROOT_ONLY
@EACH_BINARY
def test_a_group_of_its_own(model, start_server):
    server = start_server(model, "--user", f"{USER.pw_name}:daemon")
    for pid in server.worker_pids():
        for fields in fields_of_threads(pid):
            assert fields["Gid"].split() == ["1"] * 4


@ROOT_ONLY
@EACH_BINARY
def test_files_closed_to_the_user_are_forbidden(model, start_server, tmp_path):
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "secret.txt").write_text("secret")
    (tmp_path / "www" / "secret.txt").chmod(0o600)
    assert start_server(model, root=tmp_path / "www").get("/secret.txt").status == 200
    server = start_server(model, "--user", USER.pw_name, root=tmp_path / "www")
    assert server.get("/secret.txt").status == 403


@ROOT_ONLY
@EACH_BINARY
def test_capabilities_of_an_ordinary_user_stay_with_the_master(model, start_server,
                                                               public_directory):
    prefix = ["setpriv", f"--reuid={USER.pw_uid}", f"--regid={USER.pw_gid}", "--clear-groups",
              "--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service"]
    server = start_server(model, root=public_directory, prefix=prefix)
    assert int(fields_of_threads(server.pid)[0]["CapEff"], 16) != 0
    for pid in server.worker_pids():
        for fields in fields_of_threads(pid):
            assert {int(fields[name], 16) for name in CAPABILITY_SETS} == {0}


# Refusals.

@EACH_BINARY
@pytest.mark.parametrize("user, cause", [
    ("no-such-user", 'no user "no-such-user"'),
    ("nobody:no-such-group", 'no group "no-such-group"'),
    ("root", "user root would keep every privilege"),
])
def test_users_that_cannot_be(model, user, cause):
    assert cause in refusal(model, "--listen", "127.0.0.1:0", "--user", user)


@ROOT_ONLY
@EACH_BINARY
def test_a_document_root_that_is_closed_to_the_user(model, tmp_path):
    tmp_path.chmod(0o700)
    message = refusal(model, "--listen", "127.0.0.1:0", "--root", str(tmp_path), "--user",
                      USER.pw_name)
    assert f"user {USER.pw_name} cannot search the document root {tmp_path}" in message


@ROOT_ONLY
@EACH_BINARY
def test_only_root_can_become_another(model, public_directory, start_server):
    ordinary = {"user": USER.pw_uid, "group": USER.pw_gid, "extra_groups": []}
    listen = ("--listen", "127.0.0.1:0", "--root", str(public_directory))
    assert "only root can" in refusal(model, *listen, "--user", "daemon", **ordinary)
    server = start_server(model, "--user", USER.pw_name, root=public_directory, **ordinary)
    assert server.get("/plaintext").status == 200, "it is that user already"


@ROOT_ONLY
@EACH_BINARY
def test_root_without_the_capability(model, site):
    prefix = ["setpriv", "--bounding-set=-setuid"]
    message = refusal(model, "--listen", "127.0.0.1:0", "--root", str(site), "--user",
                      USER.pw_name, prefix=prefix)
    assert "CAP_SETUID" in message
