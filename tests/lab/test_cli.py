"""Options, models at equal concurrency, the plan of a run, and one-line errors."""

import subprocess
import time
from pathlib import Path

import pytest
from patience import DEADLINE_S
from twinlab.base.progress import Progress
from twinlab.commands import cli, compare
from twinlab.servers import models, workloads

LAB = Path(__file__).resolve().parents[2] / "loadtest" / "lab"


@pytest.mark.parametrize("arguments", [
    ["nonsense"], [], ["compare", "--models", "prefork,apache"], ["compare", "--models", ""],
    ["compare", "--models", "prefork,prefork"], ["compare", "--connections", "0"], ["compare", "--duration", "soon"],
    ["compare", "--duration", "0"], ["compare", "--frobnicate"],
    ["attack", "--attacks", "flood"], ["attack", "--attacks", "read,read"], ["attack", "--duration", "0"],
    ["attack", "--duration", "1.5"], ["attack", "--models", "apache"],
    ["peers", "--servers", "iis"], ["peers", "--workloads", "plaintext,plaintext"], ["peers", "--rounds", "0"],
    ["demo", "nonsense"], ["demo", "tls", "tree"],
])
def test_bad_arguments_are_one_line_and_status_2(arguments):
    done = subprocess.run([str(LAB), *arguments], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("lab: ") and done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [["--help"], ["compare", "--help"], ["attack", "--help"], ["peers", "--help"],
                                       ["demo", "--help"]])
def test_help(arguments):
    done = subprocess.run([str(LAB), *arguments], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0 and arguments[0].strip("-") in done.stdout


def test_a_program_that_is_missing_is_one_line(tmp_path):
    done = subprocess.run([str(LAB), "compare", "--quick", "--bin", str(tmp_path), "--output", str(tmp_path)],
                          capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 1
    assert "lab: cannot start" in done.stderr and "Traceback" not in done.stderr


def test_models_are_chosen_in_the_order_given():
    arguments = cli.make_parser().parse_args(["compare", "--models", "hybrid, prefork"])
    assert arguments.models == ["hybrid", "prefork"]


@pytest.mark.parametrize("cpus, slots", [(1, 4), (2, 4), (8, 16)])
def test_every_model_has_the_same_slots(cpus, slots):
    assert models.default_slots(cpus) == slots
    made = models.make(slots, cpus)
    assert tuple(made) == models.KEYS
    assert made["prefork"].options == ("--workers", str(slots))
    assert made["hybrid"].options == ("--workers", "2", "--threads", str(slots // 2))
    for key in ("threadpool", "threadpool-request"):
        assert made[key].options[:2] == ("--threads", str(slots))


def test_models_take_turns():
    made = list(models.make(4, 2).values())
    firsts = [compare.rotated(made, turn)[0].key for turn in range(4)]
    assert sorted(firsts) == sorted(models.KEYS)
    assert len(compare.rotated(made, 7)) == len(made)


def test_planned_time_keeps_the_promise():
    assert compare.planned_s(compare.DEFAULT, len(models.KEYS)) < 180
    assert compare.planned_s(compare.QUICK, len(models.KEYS)) < 50


def test_documents_have_their_announced_size(tmp_path):
    workloads.make_documents(tmp_path / "www")
    assert (tmp_path / "www" / "1k.bin").stat().st_size == 1024
    assert (tmp_path / "www" / "100k.bin").stat().st_size == 102400
    paths = {workload.path.lstrip("/") for workload in (*workloads.ALL, *workloads.PEERS)}
    assert set(workloads.DOCUMENTS) <= paths


class Stream:
    def __init__(self, terminal):
        self.terminal, self.text = terminal, ""

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_progress_rewrites_one_line_on_a_terminal_only():
    terminal, plain = Stream(True), Stream(False)
    for stream in (terminal, plain):
        progress = Progress(10.0, stream)
        progress._last_plain_line = time.monotonic() - 60
        progress.step("first")
        progress.done(5.0)
        progress.step("second")
        progress.clear()
    assert "\n" not in terminal.text and terminal.text.count("\r") == 3
    assert plain.text.count("\n") == 1 and "\r" not in plain.text
