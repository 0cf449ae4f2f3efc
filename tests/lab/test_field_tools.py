"""The field's own tools: their output is understood, and a missing tool is said to be missing."""

import os
import shutil
from pathlib import Path

import pytest
from twinlab.base.errors import LabError
from twinlab.claims import field_tools

STRESS_NG_OUTPUT = """\
stress-ng: info:  [7544] dispatching hogs: 1 pthread
stress-ng: metrc: [7544] stressor       bogo ops real time  usr time  sys time   bogo ops/s     bogo ops/s
stress-ng: metrc: [7544]                           (secs)    (secs)    (secs)   (real time) (usr+sys time)
stress-ng: metrc: [7544] pthread            2048      1.05      0.02      0.51      1949.87        3872.09
stress-ng: metrc: [7544] miscellaneous metrics:
stress-ng: metrc: [7544] pthread            29054.50 nanosecs to start a pthread (geometic mean of 1 instances)
"""
BIN_DIR = Path(os.environ.get("TWINHTTPD_BIN_DIR", Path(__file__).resolve().parents[2] / "build" / "dev" / "bin"))
VARIANTS = {
    "perf-sched-pipe": {"process", "thread", "ours-process", "ours-thread", "control"},
    "perf-sched-pipe-unpinned": {"process", "thread", "control"},
    "stress-ng-switch": {"switch", "ours-process", "control"},
    "stress-ng-create": {"fork", "vfork", "pthread", "ours-process", "ours-vfork", "ours-thread", "control"},
}


def test_operations_of_stress_ng():
    assert field_tools.parse_stress_operations(STRESS_NG_OUTPUT, "pthread") == (2048, 1.05)
    with pytest.raises(LabError, match="--fork printed no operations"):
        field_tools.parse_stress_operations(STRESS_NG_OUTPUT, "fork")


def test_seconds_of_perf_bench():
    assert field_tools.parse_perf_seconds("0.464\n") == 0.464
    with pytest.raises(LabError, match="no time: perf not found"):
        field_tools.parse_perf_seconds("perf not found")


def test_value_of_a_micro_program():
    output = '{"micro": "create", "series": [{"key": "a", "unit": "us", "runs": {"process": [2.5], "thread": [1]}}]}'
    assert field_tools.parse_ours(output, "process") == 2500


def test_only_the_quick_form_measures_ours_briefly(tmp_path):
    (tmp_path / "micro-switch").touch()
    arguments = {quick: field_tools._ours(tmp_path, "switch", "pages-0", ("thread",), quick)[0].argv
                 for quick in (True, False)}
    assert set(arguments[True]) - set(arguments[False]) == {"--quick"}


def test_missing_tools_are_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    result = field_tools.measure(quick=True)
    assert [series["key"] for series in result["series"]] == list(VARIANTS)
    assert all(".ci/install-packages field" in series["unavailable"] for series in result["series"])


@pytest.mark.skipif(not (shutil.which("perf") and shutil.which("stress-ng")), reason=".ci/install-packages field")
@pytest.mark.parametrize("bin_dir", [BIN_DIR, Path("/nonexistent")], ids=["built", "not built"])
def test_both_tools(bin_dir):
    result = field_tools.measure(quick=True, bin_dir=bin_dir)
    assert [series["key"] for series in result["series"]] == list(VARIANTS)
    for series in result["series"]:
        tools = {name for name in VARIANTS[series["key"]] if not name.startswith("ours-")}
        assert set(series["runs"]) == (VARIANTS[series["key"]] if bin_dir == BIN_DIR else tools)
        lengths = {len(values) for values in series["runs"].values()}
        assert len(lengths) == 1 and lengths.pop() >= 1
        assert all(value > 0 for values in series["runs"].values() for value in values)
        assert set(series["parameters"]["switches_per_operation"]) == tools
    switches = {series["key"]: series["parameters"]["switches_per_operation"] for series in result["series"]}
    # On one CPU each message must switch: what is counted as one operation is one switch.
    assert all(0.9 < count < 1.5 for count in switches["perf-sched-pipe"].values())
    assert 0.9 < switches["stress-ng-switch"]["switch"] < 1.5
