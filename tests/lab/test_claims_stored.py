"""Runs that are kept: they are judged again as they were judged, whatever the list of claims has become since."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from patience import DEADLINE_S
from twinlab.claims import command, diff, report
from twinlab.claims.store import Store

LOADTEST = Path(__file__).resolve().parents[2] / "loadtest"
RUNS = sorted(path.parent for path in (LOADTEST / "reports").glob("*/run.json"))
WITH_BLOCKS = [run for run in RUNS if list(run.glob("blocks.jsonl*"))]
WITHOUT = [run for run in RUNS if run not in WITH_BLOCKS]

of_each_run = pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)


def stored(run):
    return json.loads((run / "claims.json").read_text())


def test_there_are_runs_of_both_kinds():
    assert WITH_BLOCKS and WITHOUT


@pytest.mark.parametrize("run", WITH_BLOCKS, ids=lambda run: run.name)
def test_a_stored_run_is_judged_again_as_it_was(run):
    judged, _ = command.judge_store(Store.open(run))
    again = [report.as_dict(each) for each in judged]
    assert [(each["id"], each["verdict"], each["reason"]) for each in again] == [
        (each["id"], each["verdict"], each["reason"]) for each in stored(run)["claims"]]
    assert [[found["outcome"] for found in each["findings"]] for each in again] == [
        [found["outcome"] for found in each["findings"]] for each in stored(run)["claims"]]
    first = (run / "summary.md").read_text().partition("\n")[0]
    assert report.markdown_lines(judged, Store.open(run).run, [])[0] == first


@pytest.mark.parametrize("run", WITHOUT, ids=lambda run: run.name)
def test_a_run_without_blocks_keeps_its_report(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    done = subprocess.run([str(LOADTEST / "lab"), "report", str(copy)], capture_output=True, text=True,
                          timeout=DEADLINE_S, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "has no blocks to judge, in blocks.jsonl: its report stays as it is" in done.stderr
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == {
        path.name: path.read_bytes() for path in run.iterdir()}


@of_each_run
def test_a_stored_run_does_not_differ_from_itself(run):
    lines = diff.lines(stored(run), stored(run))
    count = len(stored(run)["claims"])
    assert f"Decided verdicts that disagree: 0 of {count}" in lines
    assert not any(line.startswith(("Only in", "In other words", "Not measured")) for line in lines)


def with_letters(content):
    """As a later run has it: claim 1 in two, 2 in other words, 3 not measured, two new ones, the rest as it was."""
    first, second, third, *others = content["claims"]
    return content | {"claims": [first | {"id": "1a"}, first | {"id": "1b"}, second | {"claim": "something else"},
                                 third | {"verdict": "not measured"}, *others, first | {"id": 70},
                                 first | {"id": "10a"}]}


def test_an_old_run_is_held_against_one_with_letters():
    old = stored(next(run for run in WITH_BLOCKS if len(stored(run)["claims"]) > 3))
    lines = diff.lines(old, with_letters(old))
    assert lines[2:5] == ["Only in the first: 1", "Only in the second: 1a, 1b, 10a, 70",
                          "In other words in the second: 2"]
    shared = len(old["claims"]) - 1
    assert f"Decided verdicts that disagree: 0 of {shared}" in lines
    assert f"Unresolved in one of the runs: 0 of {shared}" in lines
    at = lines.index(f"Not measured in one of the runs: 1 of {shared}")
    assert lines[at + 1].startswith(f"  3  {old['claims'][2]['verdict']} -> not measured: ")


def test_a_run_for_some_claims_is_judged_for_those():
    only = next(run for run in WITH_BLOCKS if stored(run)["settings"]["ids"])
    assert [each["id"] for each in stored(only)["claims"]] == stored(only)["settings"]["ids"]
