"""Starting: banner, options, configuration file, and every way to refuse to start."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from support import models, processes, server as servers
from support.client import Client
from support.full_pipe import StoppedReader
from support.server import refusal
from support.waiting import DEADLINE_S, wait_until

EACH_BINARY = pytest.mark.models(models.ONE_OF_EACH_BINARY)


@pytest.fixture
def config_file(tmp_path):
    def write(text):
        path = tmp_path / "server.yaml"
        path.write_text(text)
        return path
    return write


def test_the_banner_tells_the_model(model, start_server):
    server = start_server(model)
    assert server.banner["binary"] == model.binary
    assert server.banner["model"] == model.kind
    assert int(server.banner["pid"]) == server.pid
    assert len(server.whole_banner().splitlines()) > 1, "says what it serves and more"


def test_it_serves_when_the_banner_is_out(model, start_server):
    server = start_server(model)
    assert server.get("/plaintext").status == 200
    assert len(server.worker_pids()) == model.processes
    assert all(worker["state"] == "ready" for worker in server.status()["workers"])


@pytest.fixture
def turn_on_port_8080():
    """There is one such port, and tests of several builds may run side by side: who has this name has the turn."""
    with socket.socket(socket.AF_UNIX) as turn:
        def is_mine():
            try:
                turn.bind("\0twinhttpd-test-port-8080")
            except OSError:
                return False
            return True
        wait_until(is_mine, "it is this test's turn")
        yield


@EACH_BINARY
def test_no_arguments_serve_the_bundled_root_on_port_8080(model, tmp_path, turn_on_port_8080):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8080))
        except OSError:
            pytest.skip("port 8080 is in use on this machine")
    server = servers.Server(model, [servers.binary(model)], tmp_path)
    try:
        assert server.address == ("127.0.0.1", 8080)
        assert server.get("/").status == 200
        assert server.get("/fault/segv").status == 404
        server.stop()
    finally:
        server.clean_up()


@EACH_BINARY
def test_as_many_workers_as_the_affinity_mask_has_cpus(model, tmp_path, site):
    one_cpu = {min(os.sched_getaffinity(0))}
    command = [servers.binary(model), "--listen", "127.0.0.1:0", "--root", str(site)]
    server = servers.Server(model, command, tmp_path,
                            preexec_fn=lambda: os.sched_setaffinity(0, one_cpu))
    try:
        assert len(server.status()["workers"]) == 1
        server.stop()
    finally:
        server.clean_up()


# The hierarchy that can limit CPU time, and the file and value that leave half a CPU (cgroups v1, v2).
HALF_A_CPU = (("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "50000"),
              ("/sys/fs/cgroup", "cpu.max", "50000 100000"))


@pytest.fixture
def group_with_half_a_cpu():
    """A group without a limit of its own, in one that has half a CPU."""
    if os.getuid() != 0:
        pytest.skip("only root can make control groups")
    for hierarchy, name, value in HALF_A_CPU:
        outer = Path(hierarchy, f"twinhttpd-test-{os.getpid()}")
        inner = outer / "inner"
        with contextlib.ExitStack() as undo:
            try:
                outer.mkdir()
                undo.callback(outer.rmdir)
                inner.mkdir()
                undo.callback(inner.rmdir)
                if (outer / name).exists():
                    (outer / name).write_text(value)
                    yield inner
                    return
            except OSError:
                continue
    pytest.skip("no cgroup hierarchy here in which CPU time can be limited")


@EACH_BINARY
def test_as_many_workers_as_the_control_group_has_cpus(model, tmp_path, site,
                                                       group_with_half_a_cpu):
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("this machine has one CPU anyway")
    command = [servers.binary(model), "--listen", "127.0.0.1:0", "--root", str(site)]

    def join():
        (group_with_half_a_cpu / "cgroup.procs").write_text(str(os.getpid()))
    server = servers.Server(model, command, tmp_path, preexec_fn=join)
    try:
        assert len(server.status()["workers"]) == 1
        server.stop()
    finally:
        server.clean_up()


@EACH_BINARY
@pytest.mark.parametrize("option, expected", [
    ("--help", "--listen"),
    ("--version", "0.1.0"),
    ("--test-config", ""),
])
def test_options_that_only_print(model, option, expected):
    result = servers.run_to_end(model, option)
    assert result.returncode == 0, result
    assert expected in result.stdout
    assert result.stderr == ""


@EACH_BINARY
def test_health_check(model, start_server):
    listen = f"127.0.0.1:{servers.quiet_port()}"  # which nobody else gets afterwards
    server = start_server(model, "--listen", listen)
    # It does not wait for long: a machine that is too busy may make it fail.
    wait_until(lambda: servers.run_to_end(model, "--health-check", "--listen", listen).returncode == 0, "it is healthy")
    server.stop()
    assert servers.run_to_end(model, "--health-check", "--listen", listen).returncode == 1


@EACH_BINARY
def test_a_server_that_hangs_is_not_healthy(model):
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        listen = f"127.0.0.1:{hangs.getsockname()[1]}"
        check = servers.run_to_end(model, "--health-check", "--listen", listen)
    assert check.returncode == 1
    assert check.stderr == f"{listen}: not healthy: no answer in time\n"


@EACH_BINARY
@pytest.mark.parametrize("options, culprit", [
    (["--no-such-option"], "no-such-option"),
    (["--listen", "nonsense"], "nonsense"),
    (["--listen", "127.0.0.1:99999"], "99999"),
    (["--listen", "127.0.0.1:-1"], "-1"),
    (["--threads", "many"], "many"),
    (["--threads", "-1"], "-1"),
    (["--threads", "999999999"], "999999999"),
    (["--threads", "2x"], "2x"),
    (["--threads", ""], "threads"),
    (["--accept", "sometimes"], "sometimes"),
    (["--dispatch", "x"], "dispatch"),
    (["--offload", "x"], "offload"),
    (["--faults", "maybe"], "maybe"),
    (["--log-level", "loud"], "loud"),
    (["--access-log-format", "xml"], "xml"),
    (["--idle-timeout-ms", "1s"], "1s"),
    (["--max-headers", "99999999999999999999999"], "max-headers"),
    (["--listen"], "listen"),
    (["stray-argument"], "stray-argument"),
    (["--config", "/no/such/file.yaml"], "/no/such/file.yaml"),
    (["--config", "/"], "/"),
    (["--root", "/no/such/directory"], "/no/such/directory"),
    (["--root", "/etc/passwd"], "/etc/passwd"),
    (["--access-log", "/no/such/directory/log"], "/no/such/directory/log"),
    (["--error-log", "/no/such/directory/log"], "/no/such/directory/log"),
    (["--pid-file", "/no/such/directory/pid"], "/no/such/directory/pid"),
])
def test_bad_options(model, options, culprit):
    assert culprit in refusal(model, "--listen", "127.0.0.1:0", *options)


@EACH_BINARY
@pytest.mark.parametrize("text, line, key", [
    ("listen: 127.0.0.1:0\nnonsense: 1\n", 2, "nonsense"),
    ("listen: 127.0.0.1:0\n\nthreads: many\n", 3, "threads"),
    ("threads: -1\n", 1, "threads"),
    ("threads: 999999999\n", 1, "threads"),
    ("# a comment\nidle_timeout_ms: [1, 2]\n", 2, "idle_timeout_ms"),
    ("faults: maybe\n", 1, "faults"),
    ("log_level: loud\n", 1, "log_level"),
    ("idle-timeout-ms: 5\n", 1, "idle-timeout-ms"),
])
def test_bad_configuration_names_file_line_and_key(model, config_file, text, line, key):
    path = config_file(text)
    message = refusal(model, "--config", str(path))
    assert f"{path}:{line}" in message
    assert key in message


@EACH_BINARY
@pytest.mark.parametrize("text", ["listen: [", "just text\n", "\x00\x01", "- a\n- b\n"])
def test_a_configuration_that_is_no_mapping(model, config_file, text):
    assert str(config_file(text)) in refusal(model, "--config", str(config_file(text)))


REFUSED_AT_START = {
    "root": ["--root", "/no/such/directory"],
    "user": ["--user", "no-such-user"],
    "group": ["--user", "nobody:no-such-group"],
    "root-user": ["--user", "0"],
    "user-and-root": ["--user", "nobody", "--root", "CLOSED"],
    "address": ["--listen", "192.0.2.1:8080"],
    "access-log": ["--access-log", "/no/such/directory/log"],
    "access-log-directory": ["--access-log", "/"],
    "error-log": ["--error-log", "/no/such/directory/log"],
    "pid-file": ["--pid-file", "/no/such/directory/pid"],
    "no-pid-file": ["--pid-file", "TEXT"],
    "control": ["--control", "/no/such/directory/control"],
    "no-control": ["--control", "TEXT"],
    "limit": ["--max-connections", "1000000"],
    "pool": ["--on-fault", "recover"],
}


@EACH_BINARY
@pytest.mark.parametrize("options", REFUSED_AT_START.values(), ids=REFUSED_AT_START)
def test_test_config_refuses_what_the_start_refuses(model, tmp_path, site, options):
    closed, text = tmp_path / "closed", tmp_path / "text"
    closed.mkdir(mode=0o700)
    text.write_text("some text\n")
    options = [{"CLOSED": str(closed), "TEXT": str(text)}.get(word, word) for word in options]
    if "--user" in options and "nobody" in options and os.getuid() != 0:
        pytest.skip("only root can change users")
    command = ("--listen", "127.0.0.1:0", "--root", str(site), *options)
    tried = refusal(model, "--test-config", *command)
    started = servers.run_to_end(model, *command)
    assert started.returncode == 1
    if "--control" in options:  # the master's own words, in the log
        assert options[1] in tried and options[1] in started.stderr
    else:
        assert tried == started.stderr.rstrip("\n")
    assert text.read_text() == "some text\n"


@EACH_BINARY
def test_test_config_changes_nothing(model, tmp_path, start_server):
    """Also beside a server that has it all."""
    files = [tmp_path / name for name in ("access", "error", "pid", "control")]
    listen = f"127.0.0.1:{servers.quiet_port()}"
    options = ["--listen", listen, "--access-log", str(files[0]), "--error-log", str(files[1]),
               "--pid-file", str(files[2]), "--control", str(files[3])]
    assert servers.run_to_end(model, "--test-config", *options).returncode == 0
    assert list(tmp_path.iterdir()) == []
    server = start_server(model, *options)
    assert server.get("/hello.txt").status == 200
    wait_until(lambda: "/hello.txt" in files[0].read_text(), "its line is written")
    before = [(path.stat().st_ino, path.stat().st_size) for path in files]
    result = servers.run_to_end(model, "--test-config", *options)
    assert result.returncode == 0, result
    assert f"{listen} is in use now" in result.stdout
    assert [(path.stat().st_ino, path.stat().st_size) for path in files] == before
    assert server.get("/hello.txt").status == 200


IDLE = {
    "queue_length": ["--queue-length", "9"],
    "offload": ["--offload", "all"],
    "loops": ["--loops", "2"],
    "access_log_format": ["--access-log-format", "json"],
    "max_spare_threads": ["--max-spare-threads", "2"],
}


@EACH_BINARY
@pytest.mark.parametrize("name, options", IDLE.items(), ids=IDLE)
def test_settings_without_effect_are_named(model, start_server, name, options):
    """At the start and by --test-config; not with its defaults, and not by a reload that changes nothing."""
    tried = servers.run_to_end(model, "--test-config", *model.options, *options)
    assert tried.returncode == 0
    assert f"warning: {name} has no effect: " in tried.stderr
    assert " has no effect" not in start_server(model).log()
    server = start_server(model, *options)
    server.wait_for_log(rf"\[warn\] master pid {server.pid}: {name} has no effect: ")
    os.kill(server.pid, signal.SIGHUP)
    server.wait_for_log("the new configuration is in force")
    assert server.log().count("has no effect") == 1


@pytest.mark.models(("threadpool-bare",))
def test_what_a_master_would_do_is_named(model, start_server, tmp_path):
    server = start_server(model, "--control", str(tmp_path / "control"), "--recycle-after-s", "60")
    for name in ("control", "recycle_after_s"):
        server.wait_for_log(f"{name} has no effect: that is for a master to do")


@EACH_BINARY
def test_test_config_reads_the_file(model, config_file):
    good = config_file("threads: 2\nfaults: on\naccess_log: off\n")
    assert servers.run_to_end(model, "--test-config", "--config", str(good)).returncode == 0
    bad = config_file("nonsense: 2\n")
    assert "nonsense" in refusal(model, "--test-config", "--config", str(bad))


@EACH_BINARY
def test_the_command_line_wins_over_the_file(model, config_file, start_server):
    path = config_file("faults: on\nmax_body_bytes: 10\naccess_log: off\n")
    server = start_server(model, "--config", str(path), "--max-body-bytes", "20")
    assert server.get("/fault/exit?status=x").status == 400, "the file turns faults on"
    with server.connect() as client:
        assert client.request("POST", "/echo", body=b"x" * 20).status == 200
    with server.connect() as client:
        assert client.request("POST", "/echo", body=b"x" * 21).status == 413


@EACH_BINARY
def test_port_in_use(model, start_server):
    port = start_server(model).address[1]
    assert str(port) in refusal(model, "--listen", f"127.0.0.1:{port}")


@EACH_BINARY
def test_too_few_file_descriptors(model, site):
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
    message = refusal(model, "--listen", "127.0.0.1:0", "--root", str(site), preexec_fn=limit)
    assert "descriptor" in message


def test_a_shared_table_of_descriptors_need_not_grow(model, start_server):
    """The kernel would stop every accepting thread for milliseconds each time it grows."""
    for options in (), ("--on-death", "adopt"):  # which has a keeper share it
        server = start_server(model, "--max-connections", "1000", *options)
        is_shared = model.dispatch is not None or bool(options)
        for pid in server.worker_pids():
            table = processes.status_number(pid, "FDSize")
            assert (table >= 1000 * model.loops) == is_shared


def test_a_refused_start_leaves_no_process(model, site, start_server):
    port = start_server(model).address[1]
    command = [servers.binary(model), "--listen", f"127.0.0.1:{port}", "--root", str(site)]
    process = subprocess.Popen([*command, *model.options], stdin=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
    assert process.wait(DEADLINE_S) == 1
    assert processes.living_in_session(process.pid) == []


@pytest.mark.parametrize("listen, connect_to", [("[::1]:0", "::1"), ("*:0", "127.0.0.1")])
@EACH_BINARY
def test_other_addresses(model, tmp_path, site, listen, connect_to):
    if ":" in connect_to and not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("this machine has no IPv6")
    command = [servers.binary(model), "--listen", listen, "--root", str(site)]
    server = servers.Server(model, command, tmp_path)
    try:
        with Client((connect_to, server.address[1])) as client:
            assert client.get("/hello.txt").status == 200
        server.stop()
    finally:
        server.clean_up()


@EACH_BINARY
@EACH_BINARY
def test_a_banner_that_nobody_reads(model, site):
    """Standard output is a pipe that is full: the server serves, and ends when it is told to."""
    reader, port = StoppedReader(), servers.quiet_port()
    command = [servers.binary(model), "--listen", f"127.0.0.1:{port}", "--root", str(site), *model.options]
    with subprocess.Popen(command, stdout=reader.write_fd, stderr=subprocess.DEVNULL) as server:
        try:
            wait_until(lambda: not servers.is_free(port), "it listens")
            with Client(("127.0.0.1", port)) as client:
                assert client.get("/plaintext").status == 200
            server.terminate()
            assert server.wait(DEADLINE_S) == 0
        finally:
            server.kill()


@EACH_BINARY
@pytest.mark.skipif(servers.SANITIZED, reason="the sanitizer's library must be loaded before any other")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_an_end_during_a_slow_start(model, site, build_preload, number):
    """The user database does not answer."""
    command = [servers.binary(model), "--listen", "127.0.0.1:0", "--root", str(site), "--user", "nobody"]
    environment = {**os.environ, "LD_PRELOAD": str(build_preload("slow_start"))}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True) as server:
        try:
            assert server.stderr.readline() == b"asked for nobody\n"
            server.send_signal(number)
            assert server.wait(DEADLINE_S) == 0
        finally:
            server.kill()


def test_stopping_frees_the_port(model, start_server):
    listen = ("--listen", f"127.0.0.1:{servers.quiet_port()}")
    server = start_server(model, *listen)
    with server.connect() as client:
        assert client.get("/plaintext").status == 200
        server.stop()
    assert start_server(model, *listen).get("/plaintext").status == 200


@pytest.mark.models(models.SUPERVISED)
def test_who_serves_goes_before_the_master_when_memory_runs_out(model, start_server):
    server = start_server(model)
    def score(pid):
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())
    assert score(server.pid) == score("self")
    assert all(score(pid) == min(score("self") + 100, 1000) for pid in server.worker_pids())
