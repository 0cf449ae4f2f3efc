"""tests/steps/check-includes: every rule is seen failing on a small planted tree."""

import re
import subprocess
from pathlib import Path

import pytest

CHECK = Path(__file__).parent / "check-includes"

HEADERS = ["common/base/log.h", "common/config/config.h", "common/handlers/site/static_range.h",
           "common/http/parser.h", "common/net/worker.h",
           "common/handlers/handlers.h", "server/prefork/prefork.h", "server/threadpool/threadpool.h",
           "server/setup/server.h", "server/process/process.h", "server/master/master.h", "server/crash/teller.h",
           "loadtest/prober/load.h"]


def run_check(*root):
    return subprocess.run([CHECK, *root], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False)


@pytest.fixture
def plant(tmp_path):
    """Plants a tree with one more file and checks it."""
    def check(path, text):
        for name in [*HEADERS, path]:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / path).write_text(text)
        return run_check(tmp_path)
    return check


@pytest.mark.parametrize("path, bad_line", [
    # llhttp and libevent in their places only.
    ("common/http/router.c", "#include <llhttp.h>"),
    ("common/http/parser.h", "#include <llhttp.h>"),
    ("server/main/prefork_server.c", '#include "llhttp.h"'),
    ("tests/unit/http/test_parser.c", "#include <llhttp.h>"),
    ("loadtest/floor/floor.c", "#include <llhttp.h>"),
    ("common/http/router.c", "#include <event2/event.h>"),
    ("common/base/clock.c", "  #  include <event2/util.h>"),
    ("common/handlers/bench/sleep.c", "#include <event2/event.h>"),
    # The arrows.
    ("common/base/log.c", '#include "common/http/parser.h"'),
    ("common/base/log.c", '#include "common/net/worker.h"'),
    ("common/base/log.c", '#include "common/handlers/handlers.h"'),
    ("common/base/log.c", '#include "server/master/master.h"'),
    ("common/http/router.c", '#include "common/net/worker.h"'),
    ("common/http/router.c", '#include "common/handlers/handlers.h"'),
    ("common/http/router.c", '#include "server/master/master.h"'),
    ("common/net/worker.c", '#include "common/handlers/handlers.h"'),
    ("common/net/worker.c", '#include "server/master/master.h"'),
    ("common/net/worker.c", '#include "loadtest/prober/load.h"'),
    ("server/main/prefork_server.c", '#include "loadtest/prober/load.h"'),
    ("common/handlers/bench/echo.c", '#include "common/net/worker.h"'),
    ("common/handlers/bench/echo.c", '#include "server/master/master.h"'),
    ("common/handlers/lab/peek.c", '#include "common/handlers/site/static_range.h"'),
    ("common/scoreboard/slot.c", '#include "common/http/parser.h"'),
    ("common/http/router.c", '#include "common/config/config.h"'),
    # Rooms of the server.
    ("server/prefork/prefork.c", '#include "server/threadpool/threadpool.h"'),
    ("server/threadpool/threadpool.c", '#include "server/prefork/prefork.h"'),
    ("server/prefork/prefork.c", '#include "server/master/master.h"'),
    ("server/process/process.c", '#include "server/master/master.h"'),
    ("server/setup/server.c", '#include "server/process/process.h"'),
    ("server/crash/teller.c", '#include "server/setup/server.h"'),
    ("server/balance/shares.c", '#include "server/setup/server.h"'),
    # Assertions stay on.
    ("common/net/worker.c", "#include <assert.h>"),
    ("server/master/master.c", "#include <assert.h>"),
    # Processes, threads and signals belong to server.
    ("common/net/worker.c", "int child = fork();"),
    ("common/net/worker.c", "pthread_create(&thread, NULL, run, NULL);"),
    ("common/base/log.c", "sigaction (SIGTERM, &action, NULL);"),
    ("common/http/router.c", "waitpid(-1, &status, 0);"),
    ("common/handlers/lab/fault.c", "int fd = signalfd(-1, &mask, 0);"),
    ("server/process/process.c", "int child = fork();"),
    ("server/process/process.c", "clone(run, stack, CLONE_FILES, NULL);"),
    ("server/master/master.c", "syscall(SYS_clone, CLONE_FILES, NULL);"),
    ("server/adoption/keeper.c", "int child = fork();"),
    ("server/adoption/keeper.c", '#include "server/process/process.h"'),
    ("server/prefork/prefork.c", "kill(child, SIGTERM);"),
    ("server/master/master.c", "pthread_create(&thread, NULL, run, NULL);"),
    ("server/threadpool/queue.c", "signalfd(-1, &mask, 0);"),
    # No question about the model.
    ("common/net/worker.c", "if (is_threaded()) {"),
    ("common/net/worker.c", "#ifdef TWINHTTPD_THREADPOOL"),
    ("common/net/worker.c", "#if defined(PREFORK)"),
    ("common/net/worker.c", "#elif HYBRID"),
    # Paths from the repository root.
    ("common/base/clock.c", '#include "log.h"'),
    ("common/base/clock.c", '#include "base/log.h"'),
    ("common/base/clock.c", '#include "../base/log.h"'),
    ("common/base/clock.c", '#include "common/../common/base/log.h"'),
    ("common/base/clock.c", '#include "common/base/missing.h"'),
    ("common/base/clock.c", "#include <common/base/log.h>"),
])
def test_a_violation_is_named(plant, path, bad_line):
    result = plant(path, f"/* first line */\n\n{bad_line}\n")
    assert result.returncode == 1
    found = result.stdout.splitlines()
    assert len(found) == 1
    assert found[0].startswith(f"{path}:3: ")


@pytest.mark.parametrize("path, good_line", [
    ("common/http/parser.c", "#include <llhttp.h>"),
    ("common/net/worker.c", "#include <event2/event.h>"),
    ("server/main/prefork_server.c", "#include <event2/event.h>"),
    ("common/http/router.c", '#include "common/base/log.h"'),
    ("common/net/worker.c", '#include "common/http/parser.h"'),
    ("common/handlers/bench/echo.c", '#include "common/http/parser.h"'),
    ("server/main/prefork_server.c", '#include "common/handlers/handlers.h"'),
    ("server/main/prefork_server.c", '#include "server/master/master.h"'),
    ("tests/unit/test_all.c", '#include "common/net/worker.h"'),
    ("tests/unit/prober/test_load.c", '#include "loadtest/prober/load.h"'),
    ("loadtest/prober/connection.h", "#include <llhttp.h>"),
    ("loadtest/prober/load.c", "#include <event2/event.h>"),
    ("server/master/master.c", "int child = fork();"),
    ("server/crash/teller.c", "int child = fork();"),
    ("server/adoption/keeper.c", "raw_call(SYS_clone, CLONE_FILES, 0);"),
    ("server/master/master.c", '#include "server/process/process.h"'),
    ("common/net/worker.c", '#include "common/config/config.h"'),
    ("common/handlers/site/static_files.c", '#include "common/handlers/site/static_range.h"'),
    ("server/threadpool/threadpool.c", '#include "server/crash/teller.h"'),
    ("server/threadpool/threadpool.c", "pthread_create(&thread, NULL, run, NULL);"),
    ("common/net/worker.c", "struct sigaction action;"),
    ("common/net/worker.c", "int forks = my_fork(x);"),
    ("common/net/worker.c", "/* the server calls fork() before */"),
    ("common/net/worker.c", "// is_threaded() is not for us"),
    ("common/net/worker.c", 'log("fork() failed");'),
    ("common/net/worker.c", "#ifdef __linux__"),
    ("common/net/worker.c", '/* #include "common/handlers/handlers.h" */'),
])
def test_what_is_allowed_passes(plant, path, good_line):
    result = plant(path, f"{good_line}\n")
    assert (result.returncode, result.stderr) == (0, ""), result.stdout


@pytest.mark.parametrize("path", ["common/misc/log.c", "server/loose.c", "server/supervise/master.c"])
def test_a_file_without_a_room_is_named(plant, path):
    result = plant(path, "int a;\n")
    assert (result.returncode, result.stdout.splitlines()[0].split(": ")[0]) == (1, f"{path}:1")


@pytest.mark.parametrize("path, bad_line", [
    ("loadtest/twinlab/base/stats.py", "from twinlab.machine import host"),
    ("loadtest/twinlab/runs/speed.py", "from twinlab.commands.compare import rotated"),
    ("loadtest/twinlab/servers/server.py", "import twinlab.runs.speed"),
    ("loadtest/twinlab/demos/tls.py", "from twinlab import claims"),
    ("loadtest/twinlab/runs/speed.py", "from support import processes"),
    ("loadtest/twinlab/runs/speed.py", "import chaos.load"),
    ("loadtest/lab", 'exec "$here/../tests/run"'),
    ("docker/Dockerfile", "COPY tests/install-packages ."),
    ("docker/entry.sh", "tests/run --fast"),
])
def test_a_violation_of_another_language_is_named(plant, path, bad_line):
    first = "#!/bin/sh" if path == "loadtest/lab" else ""
    result = plant(path, f"{first}\n\n{bad_line}\n")
    assert (result.returncode, [line.split(": ")[0] for line in result.stdout.splitlines()]) == (1, [f"{path}:3"])


@pytest.mark.parametrize("path, good_line", [
    ("loadtest/twinlab/runs/speed.py", "from twinlab.base import stats"),
    ("loadtest/twinlab/commands/cli.py", "from twinlab.claims import command"),
    ("tests/lab/test_stats.py", "from twinlab.base import stats"),
    ("docker/entry.sh", "true # as tests/run does"),
])
def test_what_another_language_may_do_passes(plant, path, good_line):
    result = plant(path, f"{good_line}\n")
    assert (result.returncode, result.stdout.splitlines()) == (0, ["includes keep the arrows"])


def test_a_module_without_a_floor_is_named(plant):
    result = plant("loadtest/twinlab/loose.py", "A = 1\n")
    assert (result.returncode, result.stdout.split(": ")[0]) == (1, "loadtest/twinlab/loose.py:1")


def test_all_violations_are_printed(plant):
    result = plant("common/base/log.c", "#include <llhttp.h>\nint a = fork();\nis_threaded();\n")
    assert [line.split(": ")[0] for line in result.stdout.splitlines()] == \
        ["common/base/log.c:1", "common/base/log.c:2", "common/base/log.c:3"]


def test_the_project_keeps_its_arrows():
    result = run_check()
    assert result.returncode == 0, result.stdout


def test_what_a_script_reads_is_there():
    """A source by way of a variable, which no tool follows."""
    root = CHECK.parents[2]
    listed = subprocess.run(["git", "ls-files", ".ci", "docker", "loadtest", "tests"], cwd=root, text=True,
                            capture_output=True, check=True).stdout.split()
    scripts = [root / name for name in listed if Path(name).suffix in ("", ".sh") and "/corpus/" not in name]
    sourced = [name for script in scripts if script.is_file()
               for name in re.findall(r'^\. "\$root/([^"$]+)"', script.read_text(errors="replace"), re.MULTILINE)]
    assert sourced and [name for name in sourced if not (root / name).is_file()] == []
