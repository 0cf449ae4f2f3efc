"""SIGUSR2 when what lies in the place of the program is none: an error with its cause, and the service goes on."""

import os
import shutil
import signal

import pytest

from support import models, processes, server as servers
from support.waiting import wait_until

pytestmark = pytest.mark.models(models.SUPERVISED)

ELF_OF_NO_MACHINE = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xff\xff\x01\x00\x00\x00" + bytes(200)


HALF_BYTES = 8192  # the rest of what is to be mapped is missing
TRIAL = ("--upgrade-trial-ms", "100")


@pytest.fixture
def program(model, tmp_path, monkeypatch):
    """The file that the server is started from, which the test may replace."""
    directory = tmp_path / "programs"
    directory.mkdir()
    shutil.copy(servers.BIN_DIR / model.binary, directory)
    monkeypatch.setattr(servers, "BIN_DIR", directory)
    return directory / model.binary


def put(program, content, mode=0o755):
    """Replaced by a rename: a running program cannot be written to."""
    new = program.with_suffix(".new")
    new.write_bytes(content)
    new.chmod(mode)
    new.rename(program)


def assert_goes_on(server, workers):
    server.wait_for_log(r"the new program \(pid \d+\) (exited with status|was killed by signal) \d+: this one goes on")
    assert server.get("/hello.txt").status == 200
    assert server.worker_pids() == workers


NO_PROGRAMS = {
    "text": (b"echo ran > %s\n", 0o755, "Exec format error; it is no program for this machine"),
    "empty": (b"", 0o755, "Exec format error; it is no program for this machine"),
    "other-machine": (ELF_OF_NO_MACHINE, 0o755, "Exec format error; it is no program for this machine"),
    "not-executable": (b"\x7fELF", 0o644, "Permission denied; make it an executable file"),
    "no-interpreter": (b"#!/no/such/interpreter\n", 0o755, "the interpreter that it names is missing"),
}


@pytest.mark.parametrize("content, mode, reason", NO_PROGRAMS.values(), ids=NO_PROGRAMS)
def test_what_is_no_program_is_told_and_not_run(model, start_server, program, tmp_path, content, mode, reason):
    ran = tmp_path / "ran"
    server = start_server(model)
    workers = server.worker_pids()
    put(program, content % bytes(ran) if b"%s" in content else content, mode)
    os.kill(server.pid, signal.SIGUSR2)
    server.wait_for_log(rf"\[error\] .*cannot start the new program {program}: .*{reason}")
    assert_goes_on(server, workers)
    assert not ran.exists(), "a shell took it"


def test_half_a_program(model, start_server, program):
    server = start_server(model)
    workers = server.worker_pids()
    whole = program.read_bytes()
    put(program, whole[:HALF_BYTES])
    os.kill(server.pid, signal.SIGUSR2)
    assert_goes_on(server, workers)


def test_no_file_at_all(model, start_server, program):
    server = start_server(model)
    workers = server.worker_pids()
    program.unlink()
    os.kill(server.pid, signal.SIGUSR2)
    server.wait_for_log(rf"cannot start the new program {program}: No such file or directory; put the new program there")
    assert_goes_on(server, workers)


def assert_upgrades(server):
    os.kill(server.pid, signal.SIGUSR2)
    wait_until(server.is_stopped, "the old program has left")
    assert server.get("/hello.txt").status == 200
    os.kill(server.master_that_answers(), signal.SIGTERM)
    wait_until(lambda: not processes.living_in_session(server.session), "nothing is left")


def test_a_script_with_an_interpreter_is_a_program(model, start_server, program, tmp_path):
    server = start_server(model, *TRIAL)
    elsewhere = tmp_path / "elsewhere"
    shutil.move(program, elsewhere)
    put(program, b'#!/bin/sh\nexec %s "$@"\n' % bytes(elsewhere))
    assert_upgrades(server)


@pytest.mark.models(("prefork",))
@pytest.mark.parametrize("name", ["", "prefork-server", "-sh", "/bin/true", "./sh"])
def test_the_name_that_it_was_started_by_does_not_matter(model, start_server, name):
    """bash lends a program another argv[0]."""
    server = start_server(model, *TRIAL, prefix=("bash", "-c", f'exec -a "{name}" "$@"', "bash"))
    assert_upgrades(server)
    assert f"upgrading: started {servers.binary(model)} as pid" in server.log()
