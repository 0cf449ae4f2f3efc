"""How to add something: the steps in the documents are followed, in a copy of the tree, and what they add is used.

A step is a paragraph that says where, and the code block behind it:
    New file `PATH`:
    In `PATH`, behind `TEXT`:       below the line that contains it
    At the end of `PATH`:
A block of shell commands (```sh) is run at the root.
"""

import fcntl
import os
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest

from test_documents import section, wait_until

pytestmark = pytest.mark.timeout(3600)  # all is built anew
ROOT = Path(__file__).resolve().parents[2]
HANDLERS, SERVER, LOADTEST = "common/handlers/README.md", "server/README.md", "loadtest/README.md"
STEPS = ((HANDLERS, "Add a handler"), (HANDLERS, "Test a handler"), (SERVER, "Add a setting"), (SERVER, "Add a model"),
         (LOADTEST, "Add a demonstration"), (LOADTEST, "Add an experiment"), (LOADTEST, "Add a claim"))
WRITTEN_TO = ("common/handlers/handlers.h", "common/handlers/bench/hello.c", "common/config/config.h",
              "common/config/config_settings.c", "server/hello/hello.h", "server/hello/hello.c",
              "server/main/hello_server.c", "tests/unit/handlers/test_handlers.c")
LEFT_OUT = shutil.ignore_patterns("build", ".git", "results", "2026-*", "corpus", "__pycache__")

STEP_BEGINS = re.compile(r"In `\S+`, behind ")
STEP = re.compile(r"^New file `(?P<new>\S+)`:\n\n```\w*\n(?P<text>.*?)^```$"
                  r"|^In `(?P<old>\S+)`, behind [`\"](?P<behind>[^\n]+)[`\"]:\n\n```\w*\n(?P<line>.*?)^```$"
                  r"|^At the end of `(?P<end>\S+)`:\n\n```\w*\n(?P<more>.*?)^```$"
                  r"|^```sh\n(?P<commands>.*?)^```$", re.MULTILINE | re.DOTALL)


def insert_behind(path, mark, text):
    lines = path.read_text().splitlines(keepends=True)
    found = [number for number, line in enumerate(lines) if mark in line and not STEP_BEGINS.match(line)]
    assert len(found) == 1, f"{path}: {mark!r} stands in {len(found)} lines"
    lines.insert(found[0] + 1, text)
    path.write_text("".join(lines))


def follow(tree, document, heading):
    """Does what the section says. The text is read before it may change itself."""
    steps = list(STEP.finditer(section((tree / document).read_text(), heading)))
    assert steps
    for step in steps:
        if step["new"]:
            (tree / step["new"]).write_text(step["text"])
        elif step["old"]:
            insert_behind(tree / step["old"], step["behind"], step["line"])
        elif step["end"]:
            with (tree / step["end"]).open("a") as file:
                file.write(step["more"])
        else:
            subprocess.run(["sh", "-e", "-c", step["commands"]], cwd=tree, check=True)


def build(tree, *targets):
    """Without optimisation: what counts here is that it is built at all."""
    options = ("-G", "Ninja", "-DCMAKE_BUILD_TYPE=None", "-DTWINHTTPD_WERROR=ON", "-DTWINHTTPD_TESTS=ON",
               "-DTWINHTTPD_LOADTEST=ON")
    for command in (["cmake", "-S", tree, "-B", tree / "build/dev", *options],
                    ["cmake", "--build", tree / "build/dev", "-j", "2", "--target", *targets]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def make_tree(copy):
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT, symlinks=True)
    for document, heading in STEPS:
        follow(copy, document, heading)
    build(copy, "prefork-server", "threadpool-server", "test_handlers", "hello-server")


@pytest.fixture(scope="module")
def tree(tmp_path_factory, request):
    """A copy of the project in which every section has been followed, and the servers built: by whoever comes first,
    where several processes run the tests."""
    is_shared = hasattr(request.config, "workerinput")
    folder = tmp_path_factory.getbasetemp().parent if is_shared else tmp_path_factory.getbasetemp()
    copy = folder / "how-to-add"
    with (folder / "how-to-add.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (copy / "build/dev/bin/hello-server").exists():
            shutil.rmtree(copy, ignore_errors=True)
            make_tree(copy)
    return copy


def bin_of(tree):
    return tree / "build/dev/bin"


def output_of(tree, *command):
    environment = {**os.environ, "TWINHTTPD_PRESET": "dev", "TWINHTTPD_BIN_DIR": str(bin_of(tree)),
                   "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=tree, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ask(tree, tmp_path, server, path):
    """What a server of the copy answers."""
    output = tmp_path / "output"
    command = [bin_of(tree) / server, "--listen", "127.0.0.1:0", "--workers", "1"]
    with output.open("w") as file, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file) as run:
        try:
            url = wait_until(lambda: re.search(r"listening on (\S+)", output.read_text()))[1]
            with urllib.request.urlopen(url + path, timeout=300) as answer:
                return answer.read().decode()
        finally:
            run.terminate()


def test_a_handler_answers(tree, tmp_path):
    assert ask(tree, tmp_path, "prefork-server", "/hello?name=you") == "Hello, you!\n"


def test_a_handler_takes_two_places(tree):
    text = section((tree / HANDLERS).read_text(), "Add a handler")
    assert len(STEP.findall(text)) == 2


def test_a_handler_is_tested(tree):
    assert "[       OK ] test_hello" in output_of(tree, bin_of(tree) / "test_handlers")


def test_what_is_added_has_the_layout_of_the_rest(tree):
    output_of(tree, "clang-format-19", "--dry-run", "--Werror", *WRITTEN_TO)


def test_a_setting_is_listed_taken_and_limited(tree):
    server = bin_of(tree) / "threadpool-server"
    assert "--hello-ms VALUE" in output_of(tree, server, "--help")
    output_of(tree, server, "--hello-ms", "1000", "--listen", "127.0.0.1:0", "--test-config")
    output_of(tree, server, "--config", "config/twinhttpd.yaml", "--listen", "127.0.0.1:0", "--test-config")
    refused = subprocess.run([server, "--hello-ms", "1001"], capture_output=True, text=True)
    assert "a number from 0 to 1000" in refused.stderr


def test_a_setting_stands_in_the_reference(tree):
    output_of(tree, "/usr/bin/python3", "-m", "pytest", "-q", "tests/steps/test_documents.py", "-k", "setting")


def test_a_model_answers(tree, tmp_path):
    assert ask(tree, tmp_path, "hello-server", "/plaintext") == "Hello, World!"


def test_a_model_keeps_the_arrows(tree):
    output_of(tree, "tests/steps/check-includes")


def test_a_model_is_tested(tree):
    output_of(tree, "/usr/bin/python3", "-m", "pytest", "-q", "tests/integration/observe/test_telling.py",
              "-k", "hello and test_state")


def test_a_demonstration_is_listed(tree):
    assert "hello" in output_of(tree, "loadtest/lab", "demo").split()


def test_demonstration_and_experiment_are_run_for_a_claim(tree, tmp_path):
    assert re.search(r"^ 70  Concurrency: ", output_of(tree, "loadtest/lab", "claims", "--list"), re.MULTILINE)
    output_of(tree, "loadtest/lab", "claims", "70", "--quick", "--bin", bin_of(tree), "--output", tmp_path / "run")
    findings = (tmp_path / "run" / "findings.csv").read_text()
    assert "experiment:hello requests_per_s" in findings
    assert re.search(r"^70,limits,true,.*demo:hello another-process-answers", findings, re.MULTILINE)
