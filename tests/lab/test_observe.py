"""`lab observe`: judgement, counters that go back, and a tiny real run."""

import json
import os
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest
from patience import DEADLINE_S
from twinlab.base.errors import LabError
from twinlab.base.stats import Ratio
from twinlab.commands import observe
from twinlab.runs import observing
from twinlab.runs.observing import Finding, Watch

pytestmark = pytest.mark.serial  # it measures

LAB = Path(__file__).resolve().parents[2] / "loadtest" / "lab"
BIN_DIR = Path(os.environ.get("TWINHTTPD_BIN_DIR", Path(__file__).resolve().parents[2] / "build" / "dev" / "bin"))


@pytest.mark.parametrize("value, at_least, at_most, limit, word", [
    (Ratio(5, 5, 5), float("-inf"), 5, "at most 5", "met"), (Ratio(5.1, 5.1, 5.1), float("-inf"), 5, "at most 5", "missed"),
    (Ratio(1, 0.99, 1), 0.995, 1.005, "0.995 to 1.005", "met?"), (Ratio(0.99, 0.98, 0.994), 0.995, 1.005, "0.995 to 1.005", "missed"),
    (Ratio(30, 30, 30), 30, 30, "30", "met"), (Ratio(29, 29, 29), 30, 30, "30", "missed"),
])
def test_judgement(value, at_least, at_most, limit, word):
    finding = Finding("prefork", "a figure", "ms", value, at_most, at_least)
    assert finding.word == word
    assert observe.row(finding)[3:] == [limit, word]
    json.dumps(finding.as_dict(), allow_nan=False)


def test_a_counter_that_goes_back_is_noted():
    looks = [{"finished": 1, "lost": 5}, {"finished": 2, "lost": 4, "connections_open": 9}, {"finished": 3, "lost": 6, "connections_open": 1}]

    class Server:
        """Tells these, and then ends the watch."""

        def status(self):
            totals = looks.pop(0)
            if not looks:
                watch._over.set()
            return {"totals": totals}

    watch = Watch(Server())
    watch._run()
    assert watch.gone_back == ["lost"]


def test_nothing_measured_is_no_figure():
    with pytest.raises(LabError):
        observing._paired([], [])


def test_each_second_round_runs_backwards(monkeypatch):
    order = []

    def one_slice(_bench, _server, _pid, _pids, state):
        order.append(state)
        return {"stopped": 10.0, "runs": 10.1, "viewed": 11.0}[state]

    class Server:
        """One that is asked for nothing but its processes."""

        def check(self, _path):
            pass

        def status(self):
            return {"processes": []}

    monkeypatch.setattr(observing, "observed", lambda *_: nullcontext(Server()))
    monkeypatch.setattr(observing, "observer_pid", lambda _server: 1)
    monkeypatch.setattr(observing.speed, "warm_up", lambda *_: None)
    monkeypatch.setattr(observing, "_one_slice", one_slice)
    found = observing.cost(None, observe.of_slots("prefork", 2), 2)
    assert order == ["stopped", "runs", "viewed", "viewed", "runs", "stopped"]
    assert [round(finding.value.value, 3) for finding in found] == [1.01, 1.1]


def test_a_tiny_real_run(tmp_path):
    done = subprocess.run([str(LAB), "observe", "--quick", "--bin", str(BIN_DIR), "--models", "threadpool", "--rounds", "1",
                           "--duration", "0.2", "--kills", "3", "--output", str(tmp_path)],
                          capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    found = {finding["what"]: finding for finding in json.loads((tmp_path / "observe.json").read_text())["findings"]}
    # Whether a busy machine keeps the limits says nothing; that the status tells it, does.
    missed = any(finding["verdict"].startswith("missed") for finding in found.values())
    assert done.returncode == (1 if missed else 0), done.stderr
    assert len(found) == 15 and "limits kept" in done.stdout
    # What does not depend on time is so on any machine.
    for what in ("deaths told after 3 kills", "counters that went back meanwhile", "told: finished and lost, less what wrk counted",
                 "64 slots, a scrape: bytes", "64 slots, a scrape: series"):
        assert found[what]["verdict"] == "met", found[what]
