"""The list of claims, the experiments, and evidence from stored lines to verdicts."""

from pathlib import Path

import pytest
from twinlab import proc, stats
from twinlab.claims import beside, catalog, command, evidence, experiment, judge, verdict
from twinlab.claims.catalog import Claim, Finding
from twinlab.claims.experiment import CONTROL
from twinlab.errors import LabError

LOADTEST = Path(__file__).resolve().parents[2] / "loadtest"
CLAIMS = catalog.load(LOADTEST / "claims.yaml")


def test_all_sixty_claims_are_there():
    assert [claim.id for claim in CLAIMS] == list(range(1, 61))
    assert [claim.id for claim in CLAIMS if claim.still_open] == [59]


@pytest.mark.parametrize("quick", [False, True])
def test_every_finding_names_sides_and_metrics_that_its_experiment_has(quick):
    for claim in CLAIMS:
        for finding in claim.findings:
            if finding.kind == catalog.EXPERIMENT:
                loaded = experiment.load(LOADTEST / "experiments", finding.name, quick)
                assert set(finding.ratio or (finding.side,)) <= set(loaded.sides), (claim.id, finding)
                assert loaded.rounds >= (3 if quick else 10)
                assert finding.ratio is None or loaded.control_of


def test_every_experiment_is_used():
    used = {finding.name for claim in CLAIMS for finding in claim.findings if finding.kind == catalog.EXPERIMENT}
    assert used == {path.stem for path in (LOADTEST / "experiments").glob("*.yaml")}


def test_quick_is_quick():
    assert command.make_plan(LOADTEST, [], quick=True).planned_s < 9.5 * 60


@pytest.mark.parametrize("entry, message", [
    ("{id: 1, section: a, notes: [], claim: b}", "judged_by"),
    ("{id: 1, section: a, notes: [], claim: b, judged_by: [{role: helps, says: x, demo: y, fact: z}]}", "role"),
    ("{id: 1, section: a, notes: [], claim: b, judged_by: [{role: supports, says: x, demo: y, micro: y, fact: z}]}",
     "one of"),
    ("{id: 1, section: a, notes: [], claim: b, judged_by: [{role: supports, says: x, micro: y, series: z, ratio: a/b, "
     "expect: above, margin: 0.9}]}", "margin above 1"),
    ("{id: 1, section: a, notes: [], claim: b, judged_by: [{role: supports, says: x, micro: y, series: z, ratio: a, "
     "expect: above}]}", "ratio a/b"),
    ("{id: 1, section: a, notes: [], claim: b, judged_by: [{role: supports, says: x, demo: y, fact: z, margin: 2}]}",
     "no series"),
])
def test_a_mistake_in_the_list_is_told(tmp_path, entry, message):
    path = tmp_path / "claims.yaml"
    path.write_text(f"claims:\n- {entry}\n")
    with pytest.raises(LabError, match=message):
        catalog.load(path)


def write_experiment(folder, text):
    folder.mkdir(exist_ok=True)
    (folder / "x.yaml").write_text(text)
    return folder


SWEEP = """
title: a sweep
defaults: {path: /json, duration_s: 4}
sides:
  "n-{n}": {for: {n: [1, 2, 8]}, quick_for: {n: [1, 8]}, model: prefork, workers: "{n}"}
  long: {duration_s: 9}
control: n-1
rounds: 6
quick: {rounds: 3, duration_s: 1, without: [long]}
"""


def test_a_sweep_becomes_a_side_for_each_value(tmp_path):
    loaded = experiment.load(write_experiment(tmp_path / "e", SWEEP), "x", quick=False)
    assert list(loaded.sides) == ["n-1", "n-2", "n-8", "long", CONTROL]
    assert loaded.sides["n-8"].start.options == ("--workers", "8")
    assert loaded.sides[CONTROL].start.options == loaded.sides["n-1"].start.options
    assert (loaded.rounds, loaded.sides["n-2"].duration_s, loaded.sides["n-2"].path) == (6, 4.0, "/json")


def test_quick_replaces_what_it_names(tmp_path):
    loaded = experiment.load(write_experiment(tmp_path / "e", SWEEP), "x", quick=True)
    assert list(loaded.sides) == ["n-1", "n-8", CONTROL]
    assert (loaded.rounds, loaded.sides["n-8"].duration_s) == (3, 1.0)


def test_every_second_round_runs_backwards(tmp_path):
    loaded = experiment.load(write_experiment(tmp_path / "e", SWEEP), "x", quick=True)
    orders = [[side.name for side in loaded.order(number)] for number in (1, 2, 3)]
    assert orders[0] == orders[2] == orders[1][::-1]


@pytest.mark.parametrize("text, message", [
    ("title: a\nsides: {a: {colour: red}}", "unknown colour"), ("title: a\nsides: {a: {model: apache}}", "model"),
    ("title: a\nsides: {a: {workers: two}}", "side a"), ("title: a\nsides: {a: {}}\ncontrol: b", "control"),
    ("title: a\nsides: {a: {}}\nrepeat: 3", "keys are"), ("sides: {a: {}}", "title"), ("title: [", "not YAML"),
])
def test_a_mistake_in_an_experiment_is_told(tmp_path, text, message):
    with pytest.raises(LabError, match=message):
        experiment.load(write_experiment(tmp_path / "e", text), "x", quick=False)


PLAN = {"kind": "plan", "experiment": "x", "title": "t", "control_of": "a", "chart": [], "sides": {}}


def block(side, number, value, void="", mismatch=0, attempt=1):
    return {"kind": "block", "experiment": "x", "side": side, "round": number, "attempt": attempt, "void": void,
            "mismatch": mismatch, "metrics": {"requests_per_s": value, "seen": 1.0}}


def blocks(**sides):
    return [PLAN] + [block(side, number, value) for side, values in sides.items()
                     for number, value in enumerate(values, start=1)]


FIGURE = Finding(verdict.SUPPORTS, "b is faster", "experiment", "x", "requests_per_s", ("b", "a"), "", verdict.ABOVE,
                 1.1)
STEADY = [100.0, 101.0, 99.0, 100.0]


def judged(records, finding=FIGURE):
    claim = Claim(1, "s", ("000",), "b is faster than a", (finding,), "")
    return judge.judge([claim], evidence.collect(records))[0]


def test_pairs_are_values_of_the_same_round():
    found = judged(blocks(a=[100, 200, 400, 800], b=[150, 300, 600, 1200], control=[100, 200, 400, 800]))
    interval = found.findings[0].interval
    assert interval.n == 4 and interval.value == pytest.approx(1.5)
    assert (interval.low, interval.high) == pytest.approx((1.5, 1.5))  # the drift of all sides together cancels
    assert found.verdict.word == verdict.HOLDS


def test_a_control_outside_the_margin_leaves_the_claim_unresolved():
    found = judged(blocks(a=STEADY, b=[200.0] * 4, control=[130.0, 125.0, 128.0, 131.0]))
    assert found.verdict.word == verdict.UNRESOLVED and "A/A control" in found.verdict.reason


def test_an_experiment_whose_control_is_missing_decides_nothing():
    found = judged(blocks(a=STEADY, b=[200.0] * 4))
    assert found.verdict.word == verdict.UNRESOLVED and "control was not measured" in found.verdict.reason


def test_void_blocks_do_not_count_and_too_few_pairs_decide_nothing():
    records = blocks(a=STEADY, b=[200.0] * 2, control=STEADY)
    records += [block("b", number, 9999.0, void="steal: 20 %") for number in (3, 4)]
    found = judged(records)
    assert found.findings[0].interval.n == 2 and found.verdict.word == verdict.UNRESOLVED


def test_a_block_whose_losses_never_fit_spoils_its_experiment():
    records = blocks(a=STEADY, b=[200.0] * 4, control=STEADY)
    records += [block("b", 5, 1.0, "identity: -7", -7, attempt) for attempt in (1, 2, 3)]
    found = judged(records)
    assert found.verdict.word == verdict.UNRESOLVED
    assert "identity check fails: journal minus clients is -7" in found.verdict.reason


def test_a_block_whose_losses_fit_when_repeated_spoils_nothing():
    records = blocks(a=STEADY, b=[200.0] * 4, control=STEADY)
    records += [block("b", 5, 1.0, "identity: -7", -7, 1), block("b", 5, 200.0, attempt=2)]
    assert judged(records).verdict.word == verdict.HOLDS


def test_a_side_that_is_not_what_it_claims_leaves_the_claim_unresolved():
    records = blocks(a=STEADY, b=[200.0] * 4, control=STEADY)
    records.append({"kind": "problem", "source": "experiment:x", "problem": "it says that it is threadpool"})
    found = judged(records)
    assert found.verdict.word == verdict.UNRESOLVED and "it is threadpool" in found.verdict.reason


def test_what_was_not_run_is_the_reason():
    assert "has not been run" in judged([]).verdict.reason


def test_an_experiment_observes_facts():
    finding = Finding(verdict.SUPPORTS, "seen", "experiment", "x", "seen", side="b")
    assert judged(blocks(a=STEADY, b=STEADY, control=STEADY), finding).verdict.word == verdict.HOLDS
    assert "not among" in judged(blocks(a=STEADY), finding).verdict.reason


OUTPUT = {"micro": "m", "series": [
    {"key": "s", "unit": "us", "runs": {"p": [20.0, 21.0, 19.0], "t": [10.0] * 3, "control": [20.0, 20.5, 19.0]}},
    {"key": "gone", "unavailable": "this kernel has none"}],
    "facts": [{"key": "f", "statement": "it is", "observed": 3, "of": 3, "detail": "d"},
              {"key": "not-here", "statement": "it is", "observed": 0, "of": 0, "detail": "root only"}]}
MICRO = [{"kind": "micro", "name": "m", "void": "", "output": OUTPUT}]


@pytest.mark.parametrize("finding, word, reason", [
    (Finding(verdict.SUPPORTS, "x", "micro", "m", "s", ("p", "t"), "", verdict.ABOVE, 1.25), verdict.HOLDS, ""),
    (Finding(verdict.SUPPORTS, "x", "micro", "m", "s", ("t", "p"), "", verdict.ABOVE, 1.25), verdict.IS_FALSE, "x"),
    (Finding(verdict.SUPPORTS, "x", "micro", "m", "s", ("q", "t"), "", verdict.ABOVE, 1.25), verdict.UNRESOLVED,
     "for q"),
    (Finding(verdict.SUPPORTS, "x", "micro", "m", "gone", ("p", "t"), "", verdict.ABOVE, 1.25), verdict.UNRESOLVED,
     "this kernel has none"),
    (Finding(verdict.SUPPORTS, "x", "micro", "m", "f"), verdict.HOLDS, ""),
    (Finding(verdict.SUPPORTS, "x", "micro", "m", "not-here"), verdict.UNRESOLVED, "root only"),
    (Finding(verdict.SUPPORTS, "x", "micro", "m", "typo"), verdict.UNRESOLVED, "not among"),
])
def test_micro_programs_and_demonstrations(finding, word, reason):
    found = judged(MICRO, finding)
    assert found.verdict.word == word and reason in found.verdict.reason


FIELD_RECORD = {"kind": "field", "name": "tools", "void": "", "output": {"title": "t", "series": [
    {"key": "perf-sched-pipe", "unit": "ns", "runs": {
        "process": [3000.0] * 3, "thread": [3000.0] * 3, "ours-process": [6000.0] * 3, "control": [3000.0] * 3}},
    {"key": "stress-ng-create", "unit": "ns", "unavailable": "stress-ng is not installed"}]}}


def test_the_fields_tools_are_a_source_and_stand_beside_ours():
    found = evidence.collect([FIELD_RECORD])
    finding = Finding("supports", "s", catalog.FIELD, "tools", "perf-sched-pipe", ("process", "thread"), "",
                      verdict.ABOVE, 1.1)
    assert judge.judge_finding(finding, found["field:tools"]).outcome.word == verdict.EQUIVALENT
    [row] = beside.rows(found)  # only what was measured on both sides
    assert row[:5] == ("perf bench sched pipe", "switch between processes", "3,000", "6,000", "2.00 (2.00-2.00)")
    assert list(beside.rows({})) == []


def test_every_comparison_names_what_is_measured():
    needed = {(each.series, name) for each in beside.COMPARISONS for name in (each.there, each.ours)}
    assert ("field", "tools") in catalog.sources(CLAIMS)
    assert {key for key, _ in needed} == {"perf-sched-pipe", "stress-ng-switch", "stress-ng-create"}


def test_a_ratio_of_something_that_was_zero_has_fewer_pairs():
    series = evidence.Series(runs={"a": {1: 0.0, 2: 2.0}, "b": {1: 1.0, 2: 1.0}})
    assert judge.ratio_of(series, "a", "b").n == 1
    assert judge.ratio_of(series, "a", "c") is None


def test_the_interval_holds_the_mean_and_narrows_with_agreement():
    wide = stats.paired_ratio([1.0, 4.0, 2.0, 3.0, 1.5], [1.0] * 5)
    narrow = stats.paired_ratio([2.0, 2.1, 1.9, 2.05, 1.95], [1.0] * 5)
    assert wide.low < wide.value < wide.high and narrow.high - narrow.low < wide.high - wide.low
    assert 1.9 < narrow.low <= 2.0 <= narrow.high < 2.1
    assert stats.paired_ratio([], []) is None


@pytest.mark.parametrize("observed, of, low, high", [(3, 3, 0.438, 1.0), (0, 3, 0.0, 0.562), (50, 100, 0.404, 0.596)])
def test_wilson(observed, of, low, high):
    assert stats.wilson(observed, of) == pytest.approx((low, high), abs=0.001)


def test_switches_and_memory_are_read_as_the_kernel_writes_them():
    text = "State:\tS\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n"
    assert proc.parse_switches(text) == proc.Switches(12, 3)
    text = ("Rss:    2000 kB\nPss:     900 kB\nPss_Dirty: 1 kB\nPrivate_Clean:   100 kB\nPrivate_Dirty:   400 kB\n"
            "VmPTE:\t      44 kB\n")
    assert proc.parse_memory(text) == proc.Memory(900, 500, 2000, 44)
