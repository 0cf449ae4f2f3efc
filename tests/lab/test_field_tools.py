"""The field's own tools: their output is understood, and a missing tool is said to be missing."""

import shutil

import pytest
from twinlab import field_tools
from twinlab.errors import LabError

STRESS_NG_OUTPUT = """\
stress-ng: info:  [7544] dispatching hogs: 1 pthread
stress-ng: metrc: [7544] stressor       bogo ops real time  usr time  sys time   bogo ops/s     bogo ops/s
stress-ng: metrc: [7544]                           (secs)    (secs)    (secs)   (real time) (usr+sys time)
stress-ng: metrc: [7544] pthread            2048      1.05      0.02      0.51      1949.87        3872.09
stress-ng: metrc: [7544] miscellaneous metrics:
stress-ng: metrc: [7544] pthread            29054.50 nanosecs to start a pthread (geometic mean of 1 instances)
"""
KEYS = {"perf-sched-pipe": "ns", "perf-sched-pipe-unpinned": "ns", "stress-ng-switch": "us", "stress-ng-create": "us"}


def test_operations_of_stress_ng():
    assert field_tools.parse_stress_operations(STRESS_NG_OUTPUT, "pthread") == (2048, 1.05)
    with pytest.raises(LabError, match="--fork printed no operations"):
        field_tools.parse_stress_operations(STRESS_NG_OUTPUT, "fork")


def test_seconds_of_perf_bench():
    assert field_tools.parse_perf_seconds("0.464\n") == 0.464
    with pytest.raises(LabError, match="no time: perf not found"):
        field_tools.parse_perf_seconds("perf not found")


def test_missing_tools_are_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    result = field_tools.measure(quick=True)
    assert {series["key"]: series["unit"] for series in result["series"]} == KEYS
    assert all("tests/install-packages field" in series["unavailable"] for series in result["series"])


@pytest.mark.skipif(not (shutil.which("perf") and shutil.which("stress-ng")), reason="tests/install-packages field")
def test_both_tools():
    result = field_tools.measure(quick=True)
    assert {series["key"]: series["unit"] for series in result["series"]} == KEYS
    for series in result["series"]:
        lengths = {len(values) for values in series["runs"].values()}
        assert len(lengths) == 1 and lengths.pop() >= 1
        assert all(value > 0 for values in series["runs"].values() for value in values)
        assert set(series["parameters"]["switches_per_operation"]) == set(series["runs"])
    [pinned] = [series for series in result["series"] if series["key"] == "perf-sched-pipe"]
    # Pinned to one CPU each message must switch, so that half a round trip is one switch.
    assert all(0.9 < switches < 1.5 for switches in pinned["parameters"]["switches_per_operation"].values())
