"""The micro-benchmark of the hand-over: it runs, and no queue loses a request or hands one out twice."""

import json
import os
import subprocess
from pathlib import Path
from patience import DEADLINE_S

BIN_DIR = Path(os.environ.get("TWINHTTPD_BIN_DIR", Path(__file__).resolve().parents[2] / "build" / "dev" / "bin"))
PROGRAM = str(BIN_DIR / "queue_contention")
CONFIGURATIONS = [(producers, chain, threads)
                  for producers in (1, 2) for chain in (1, 8) for threads in (1, 2, 8, 64, 512)]
SHORT = ("--repetitions", "2", "--duration-ms", "5")


def run(*options):
    return subprocess.run([PROGRAM, *options], capture_output=True, text=True, timeout=DEADLINE_S)


def test_each_queue_in_each_configuration():
    done = run("--json", *SHORT)
    # status 1 and a line on standard error: requests lost or handed out twice
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    queues = {line["queue"] for line in lines}
    assert queues in ({"mutex"}, {"mutex", "ck"})  # built without libck, or with it
    for queue in queues:
        of_queue = [line for line in lines if line["queue"] == queue]
        assert [(line["producers"], line["chain"], line["threads"]) for line in of_queue] == CONFIGURATIONS
        for line in of_queue:
            assert line["wall_ns"] > 0 and line["cpu_ns"] > 0 and line["voluntary_switches"] >= 0
            assert 0 <= line["fairness"] <= 1
            assert line["wall_ratio_least"] <= line["wall_ratio"] <= line["wall_ratio_most"]


def test_the_table_has_the_same_lines():
    done = run(*SHORT)
    assert (done.returncode, done.stderr) == (0, "")
    header, *rows = done.stdout.splitlines()
    assert header.startswith("producers chain threads")
    shown = [tuple(map(int, row.split()[:3])) for row in rows if row.split()[3] == "mutex"]
    assert shown == CONFIGURATIONS


def test_wrong_options_are_refused():
    for options in (("--repetitions", "0"), ("--duration-ms", "1x"), ("--unknown",)):
        assert run(*options).returncode == 2
