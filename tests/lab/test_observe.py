"""`lab observe`: judgement, counters that go back, and a tiny real run."""

import json
import os
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest
from patience import DEADLINE_S
from twinlab.base import interval
from twinlab.base.decide import Limits
from twinlab.base.interval import Estimate, counted
from twinlab.commands import observe
from twinlab.runs import observing
from twinlab.runs.observing import Figure, Finding, Watch
from twinlab.runs.speed import Bench

pytestmark = pytest.mark.serial  # it measures

LAB = Path(__file__).resolve().parents[2] / "loadtest" / "lab"
BIN_DIR = Path(os.environ.get("TWINHTTPD_BIN_DIR", Path(__file__).resolve().parents[2] / "build" / "dev" / "bin"))


AROUND_ONE = Limits(0.995, 1.005)


@pytest.mark.parametrize("value, limits, cells", [
    (Estimate(5, 4.5, 5, 9), Limits(at_most=5), ["5 ms", "4.500-5", "at most 5", "met"]),
    (Estimate(6, 5.1, 6, 9), Limits(at_most=5), ["6 ms", "5.100-6", "at most 5", "missed"]),
    (Estimate(4, None, None, 2), Limits(at_most=5), ["4 ms", "-", "at most 5", "not decided"]),
    (Estimate(1, 0.99, 1.01, 9), AROUND_ONE, ["1 ms", "0.990-1.010", "0.995 to 1.005", "not decided"]),
    (Estimate(0.99, 0.98, 0.994, 9), AROUND_ONE, ["0.990 ms", "0.980-0.994", "0.995 to 1.005", "missed"]),
    (counted(30), Limits(30, 30), ["30 ms", "30", "30", "met"]),
    (counted(29), Limits(30, 30), ["29 ms", "29", "30", "missed"]),
])
def test_judgement(value, limits, cells):
    finding = Finding("prefork", "a figure", "ms", value, limits)
    assert observe.row(finding)[1:] == cells
    json.dumps(finding.as_dict(), allow_nan=False)


def test_each_server_is_one_launch_whatever_it_has_shown():
    figures = [Figure("prefork", what, "x", (number, number + 2.0), Limits(), what == "counted")
               for number in range(6) for what in ("measured", "counted")]
    measured, all_counted = observing.findings(figures)
    assert (measured.what, measured.value) == ("measured", Estimate(3.5, 1.0, 6.0, 6))
    assert (all_counted.what, all_counted.value.interval) == ("counted", (0, 7.0))
    assert observing.findings(figures[:2])[0].value.interval is None


def test_a_run_in_full_has_an_interval_and_every_round_a_server_of_each_kind():
    assert observe.DEFAULT.effort.rounds >= interval.least_launches()
    bench = Bench(BIN_DIR, Path("/"), Path("/"), 64, 1.0, 1.0)
    options = observe.Options(scale=observe.QUICK, models=["prefork", "threadpool"])
    words = [what for what, _, _ in observe.plan(options, bench)]
    assert words[0] == "prefork: all are stopped, round 1" and words[8] == "threadpool: all are stopped, round 2"
    assert words[-2:] == ["prefork: 30 kills", "threadpool: 30 kills"] and len(words) == 2 * 2 * 4 + 2


def test_a_counter_that_goes_back_is_noted():
    looks = [{"finished": 1, "lost": 5}, {"finished": 2, "lost": 4, "connections_open": 9}, {"finished": 3, "lost": 6, "connections_open": 1}]

    class Server:
        """Tells these, and then ends the watch."""

        def status(self):
            totals = looks.pop(0)
            if not looks:
                watch._over.set()
            return {"totals": totals, "deaths": [{"number": 4 - len(looks), "idle_cut": 2}]}

    watch = Watch(Server())
    watch._run()
    assert watch.gone_back == ["lost"]
    assert watch.idle_cut == {2: 2, 3: 2, 4: 2}


def test_what_it_costs_is_measured_there_and_back(monkeypatch):
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
    found = observing.cost(None, observe.of_slots("prefork", 2))
    assert order == ["stopped", "runs", "viewed", "viewed", "runs", "stopped"]
    assert [figure.values for figure in found] == [pytest.approx((1.01, 1.01)), pytest.approx((1.1, 1.1))]


def test_a_tiny_real_run(tmp_path):
    done = subprocess.run([str(LAB), "observe", "--quick", "--bin", str(BIN_DIR), "--models", "threadpool", "--rounds", "1",
                           "--duration", "0.2", "--kills", "3", "--output", str(tmp_path)],
                          capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    found = {finding["what"]: finding for finding in json.loads((tmp_path / "observe.json").read_text())["findings"]}
    assert done.returncode == 0, done.stderr
    assert len(found) == 15 and "5 of 15 limits met, 0 missed, 10 not decided" in done.stdout
    # What does not depend on time is so on any machine.
    for what in ("deaths told after 3 kills", "counters that went back meanwhile", "told: finished and lost, less what wrk counted",
                 "64 slots, a scrape: bytes", "64 slots, a scrape: series"):
        assert found[what]["verdict"] == "met", found[what]
