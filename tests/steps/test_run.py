"""tests/run in a small tree, with stand-ins for what it calls: what it counts, and what is left when it is stopped."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
DEADLINE_S = 600  # only a run that hangs takes so long
# A tool that has started a server, in a session of its own, and is then interrupted: it stops the server, or leaves it.
TOOL = """#!/usr/bin/python3
import signal, subprocess, sys, time
from pathlib import Path
server = subprocess.Popen(["sleep", "1000"], start_new_session=True)
Path("pid").write_text(str(server.pid))
try:
    Path("ready").touch()
    time.sleep(1000)
except KeyboardInterrupt:
    time.sleep(0.2)
    if {stops}:
        server.kill()
    Path("orderly").touch()
"""
PASSES = "def test_good():\n    pass\n"
SERIAL = "import pytest\n\n\n@pytest.mark.serial\ndef test_alone():\n    assert {expression}\n"


def write_program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in ("run", "pytest.ini"):
        (tmp_path / "tests").mkdir(exist_ok=True)
        shutil.copy(TESTS / name, tmp_path / "tests")
    for name in ("cmake", "ctest"):
        write_program(tmp_path / "path" / name, "#!/bin/sh\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:{os.environ['PATH']}")
    write_program(tmp_path / "path" / "nproc", "#!/bin/sh\necho 1\n")
    for name in ("tests/steps/lint", "tests/chaos/run", ".ci/install-packages"):
        write_program(tmp_path / name, "#!/bin/sh\n")
    for name in ("integration", "lab", "steps"):
        write_program(tmp_path / "tests" / name / f"test_{name}.py", PASSES)
    for name in ("integration", "lab"):
        write_program(tmp_path / "tests" / name / f"test_{name}_alone.py", SERIAL.format(expression=True))
    return tmp_path


def run(tree, *arguments):
    done = subprocess.run((tree / "tests" / "run", *arguments), text=True, stdin=subprocess.DEVNULL, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=DEADLINE_S)
    return done.returncode, done.stdout


def wait_until(condition):
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_all_is_counted(tree):
    status, said = run(tree, "--preset", "dev")
    assert (status, said.splitlines()[-1]) == (0, "5 passed, 0 failed"), said
    for name in ("build dev", "unit tests, dev", "integration tests, dev", "tests of the steps", "laboratory tests",
                 "serial integration tests, dev", "serial laboratory tests"):
        assert f"\n== {name}: ok, " in said, name
    assert said.index("== tests of the steps: ok") < said.index("== serial integration tests, dev: begins")


def test_a_failed_test_is_counted_and_the_others_are_run(tree):
    write_program(tree / "tests" / "integration" / "test_integration_alone.py", SERIAL.format(expression=False))
    status, said = run(tree, "--preset", "dev")
    assert (status, said.splitlines()[-1]) == (1, "4 passed, 1 failed"), said
    assert "\nfailed: serial integration tests, dev\n" in said and "assert False" in said


def test_what_does_not_build_is_not_tested(tree):
    write_program(tree / "path" / "cmake", "#!/bin/sh\ncase $* in *tsan*) echo no; exit 1;; esac\n")
    status, said = run(tree, "--preset", "tsan", "--preset", "asan-ubsan")
    assert (status, said.splitlines()[-1]) == (1, "2 passed, 1 failed"), said
    assert "\nfailed: build tsan\n" in said and "integration tests, tsan" not in said


def test_a_step_that_fails_without_results_is_counted(tree):
    write_program(tree / "tests" / "steps" / "lint", "#!/bin/sh\nexit 1\n")
    status, said = run(tree, "--lint")
    assert (status, said.splitlines()[-1]) == (1, "0 passed, 1 failed"), said


def hear_of_all():
    """Whoever runs these tests may ignore signals, as under nohup: a shell cannot undo that."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_DFL)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("stops", [True, False], ids=["orderly", "careless"])
def test_nothing_outlives_a_run_that_is_stopped(tree, signum, stops):
    write_program(tree / "tests" / "steps" / "lint", TOOL.format(stops=stops))
    running = subprocess.Popen((tree / "tests" / "run", "--lint"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True, preexec_fn=hear_of_all)
    try:
        wait_until((tree / "ready").exists)
        running.send_signal(signum)
        assert running.wait(DEADLINE_S) == -signum
        assert (tree / "orderly").exists(), "it was given the time to stop in order"
        # Whom SIGKILL has reached takes a moment to end; by itself the server lasts longer than this waits.
        wait_until(lambda: not is_alive((tree / "pid").read_text()))
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((tree / "pid").read_text()), signal.SIGKILL)
