"""The list of claims, the experiments, and evidence from stored lines to verdicts."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from twinlab.base import stats
from twinlab.base.errors import LabError
from twinlab.claims import beside, catalog, command, evidence, experiment, judge, page, report, verdict
from twinlab.claims.catalog import Claim, Finding
from twinlab.claims.claim_id import ClaimId
from twinlab.claims.experiment import CONTROL
from twinlab.claims.quotes import Quote
from twinlab.claims.store import Store
from twinlab.machine import processes
from twinlab.runs import crash

LOADTEST = Path(__file__).resolve().parents[2] / "loadtest"
CLAIMS = catalog.load(LOADTEST / "claims.yaml")
PROMISES = catalog.load(LOADTEST / "promises.yaml")


def test_no_number_of_a_claim_is_missing():
    assert sorted({claim.id.number for claim in CLAIMS}) == list(range(1, 70))
    for number in range(1, 70):
        letters = [claim.id.letter for claim in CLAIMS if claim.id.number == number]
        assert letters in ([""], list("abcdefgh"[:len(letters)])), number


def test_the_file_has_the_claims_in_their_order():
    entries = catalog.read_yaml(LOADTEST / "claims.yaml")["claims"]
    assert [str(entry["id"]) for entry in entries] == [str(claim.id) for claim in CLAIMS]


@pytest.mark.parametrize("quick", [False, True])
def test_every_finding_names_sides_and_metrics_that_its_experiment_has(quick):
    for claim in CLAIMS + PROMISES:
        for finding in claim.findings:
            if finding.kind == catalog.EXPERIMENT:
                loaded = experiment.load(LOADTEST / "experiments", finding.name, quick)
                assert set(finding.ratio or (finding.side,)) <= set(loaded.sides), (claim.id, finding)
                assert loaded.rounds >= (3 if quick else 10)
                assert finding.ratio is None or loaded.control_of
                assert set(experiment.controls(loaded.control_of)) <= set(loaded.sides)


def test_every_experiment_is_used():
    used = {finding.name for claim in CLAIMS + PROMISES for finding in claim.findings if finding.kind == catalog.EXPERIMENT}
    assert used == {path.stem for path in (LOADTEST / "experiments").glob("*.yaml")}


def test_what_is_promised_of_adoption_is_asked_of_every_load_and_model():
    cost, nothing_lost = PROMISES[0].findings, PROMISES[1].findings
    assert {finding.ratio for finding in cost} == {
        (f"{model}{load}-adopt", f"{model}{load}-cut") for model in ("prefork", "threadpool") for load in ("", "-file", "-1000")}
    assert all((finding.expect, finding.margin) == ("at-most", 1.02) for finding in cost)
    sides = experiment.load(LOADTEST / "experiments", "adopt-crash", quick=False).sides.values()
    asked = {finding.side for finding in nothing_lost if finding.key == "none_lost"}
    adopting = [side for side in sides if side.name in asked]
    assert {(side.model, side.fault) for side in adopting} == {
        (model, fault) for model in experiment.MODELS for fault in crash.FAULTS}
    assert {side.on_death for side in adopting} == {"adopt"}
    cost_sides = experiment.load(LOADTEST / "experiments", "adopt-cost", quick=False)
    assert cost_sides.pin and all(name.endswith(side.on_death) for name, side in cost_sides.sides.items()
                                  if not name.startswith("control"))


def test_quick_is_quick():
    assert command.make_plan(LOADTEST, [], quick=True).planned_s < 9.5 * 60


@pytest.mark.parametrize("entry, message", [
    ("{id: 1, section: a, notes: [], claim: b}", "either judged_by, or open"),
    ("{id: 1, section: a, notes: [], claim: b, open: c, judged_by: [{role: supports, says: x, demo: y, fact: z}]}",
     "either judged_by, or open"),
    ("{id: 1, section: a, notes: [], claim: b, open: c, colour: red}", "keys are"),
    ("{id: 1, section: a, notes: [], claim: b, open: c, quotes: [{note: '001', line: 1}]}", "a quote has note, line"),
    ("{id: 1, section: a, notes: [], claim: b, open: c, quotes: [{note: '001', line: one, phrase: p}]}", "a number"),
    ("{id: 1, section: a, notes: [], claim: b, open: c, quotes: [{note: '001', line: 0, phrase: p}]}", "a number"),
    ("{id: 1, section: a, notes: [], claim: b, open: c, quotes: [{note: '007', line: 1, phrase: p}]}",
     "there is no note 007; the list names 001"),
    ("{id: 1, section: a, notes: [], claim: b, open: c, quotes: [{note: '001', line: 1, phrase: " + 16 * "p " + "}]}",
     "the phrase of 001:1 has 16 words"),
    ("{id: 1, section: a, notes: [], claim: b, open: c, quotes: [{note: '001', line: 1, phrase: ''}]}", "0 words"),
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
    path.write_text(f"notes: ['001']\nclaims:\n- {entry}\n")
    with pytest.raises(LabError, match=message):
        catalog.load(path)


def test_a_claim_says_where_the_notes_say_it_and_what_they_mean(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text("""notes: ["001"]
claims:
- id: 3a
  section: a
  notes: ["001"]
  quotes: [{note: "001", line: 7, phrase: "b < c"}]
  claim: b
  slip: "is meant:
    d"
  open: what
""")
    claim = catalog.load(path)[0]
    assert (claim.quotes, claim.slip) == ((Quote("001", 7, "b < c"),), "is meant: d")
    row = report.as_dict(judge.judge([claim], {})[0])
    assert row["quotes"] == [{"note": "001", "line": 7, "phrase": "b < c"}] and row["slip"] == "is meant: d"
    text = page.render(judge.judge([claim], {}), {}, RUN, [])
    assert "001:7 “b &lt; c”" in text and "A slip: is meant: d" in text


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
    claim = Claim(ClaimId(1), "s", ("000",), "b is faster than a", (finding,), "")
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


@pytest.mark.parametrize("control, reason", [
    ([100.0, 101.0], "not measured often enough: 2 of at least 3"), ([100.0] * 2, "not measured often enough"),
    ([0.0, 100.0, 100.0, 100.0], "A/A control: 1 of 4 pairs have a zero"),
])
def test_a_control_that_says_too_little_decides_nothing(control, reason):
    found = judged(blocks(a=[100.0] * 4, b=[200.0] * 4, control=control))
    assert found.verdict.word == verdict.UNRESOLVED and reason in found.verdict.reason


def test_values_that_do_not_vary_are_fine_when_there_are_enough():
    assert judged(blocks(a=[100.0] * 3, b=[200.0] * 3, control=[100.0] * 3)).verdict.word == verdict.HOLDS


def test_an_experiment_may_have_several_controls(tmp_path):
    text = SWEEP.replace("control: n-1", "control: [n-8, long, n-2]")
    loaded = experiment.load(write_experiment(tmp_path / "e", text), "x", quick=False)
    assert list(loaded.sides)[4:] == ["control-of n-8", "control-of long", "control-of n-2"]
    assert loaded.sides["control-of long"].duration_s == 9 and loaded.control_of == ("n-8", "long", "n-2")
    # What quick leaves out needs no control.
    assert experiment.load(tmp_path / "e", "x", quick=True).control_of == ("n-8",)


@pytest.mark.parametrize("ratio, control", [
    (("cpu-2", "cpu-64"), "control-of cpu-2"), (("lock-64", "lock-8"), "control-of lock-2"),
    (("sleep", "cpu-64"), "control-of cpu-2"), (("lock", "other"), "control-of lock"), (("x", "y"), "control-of cpu-2"),
])
def test_the_control_of_a_figure_is_the_side_most_like_it(ratio, control):
    series = evidence.Series(controls=experiment.controls(["cpu-2", "lock-2", "lock"]))
    assert judge.control_for(series, ratio) == control


def test_each_figure_is_held_against_its_own_control():
    records = blocks(**{"a": STEADY, "b": [200.0] * 4, "z": STEADY, "control-of z": [150.0] * 4,
                        "control-of a": STEADY})
    records[0] = PLAN | {"control_of": ["z", "a"]}
    assert judged(records).verdict.word == verdict.HOLDS
    found = judged(records, replace(FIGURE, ratio=("b", "z")))
    assert found.verdict.word == verdict.UNRESOLVED and "A/A control" in found.verdict.reason


@pytest.mark.parametrize("rounds, pairs, word", [(10, 8, verdict.HOLDS), (10, 7, verdict.UNRESOLVED),
                                                 (5, 3, verdict.HOLDS)])
def test_an_experiment_in_full_asks_for_eight_pairs(rounds, pairs, word):
    records = blocks(a=[100.0] * 10, b=[200.0] * pairs, control=[100.0] * 10)
    records[0] = PLAN | {"rounds": rounds}
    assert judged(records).verdict.word == word
    records = blocks(a=[100.0] * 10, b=[200.0] * 10, control=[100.0] * pairs)
    records[0] = PLAN | {"rounds": rounds}
    assert judged(records).verdict.word == word


@pytest.mark.parametrize("quick, word", [(True, verdict.HOLDS), (False, verdict.UNRESOLVED)])
def test_a_micro_program_in_full_has_to_give_eight_values(quick, word):
    finding = Finding(verdict.SUPPORTS, "x", "micro", "m", "s", ("p", "t"), "", verdict.ABOVE, 1.25)
    found = judged([MICRO[0] | {"quick": quick}], finding)
    assert found.verdict.word == word
    assert quick or "3 of at least 8 pairs" in found.verdict.reason


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


def voided(side, number, cause, attempt, mismatch=0):
    return block(side, number, 1.0, f"{cause}: why", mismatch, attempt) | {"cause": cause, "steal_share": 0.2}


def test_one_mismatch_is_a_flag_and_two_are_a_problem():
    records = blocks(a=STEADY, b=[200.0] * 4, control=STEADY) + [voided("b", 5, "identity", 1, -7)]
    records.append(block("b", 5, 200.0, attempt=2) | {"cause": "", "steal_share": 0.01})
    assert judged(records).verdict.word == verdict.HOLDS
    assert any("-7" in flag for flag in report.flags_of(evidence.collect(records)))
    records += [voided("a", 6, "steal", 1, 2), block("a", 6, 100.0, attempt=2) | {"cause": "", "steal_share": 0.01}]
    found = judged(records)
    assert found.verdict.word == verdict.UNRESOLVED and "2 blocks" in found.verdict.reason


@pytest.mark.parametrize("causes, reason", [
    (["failed"] * 3, "requests failed in each attempt: b, round 5: failed: why"),
    (["steal", "failed", "failed"], "requests failed in 2 of 3 attempts"), (["steal"] * 3, None),
    (["laboratory"] * 3, None),
])
def test_requests_that_fail_each_time_spoil_their_experiment(causes, reason):
    records = blocks(a=STEADY, b=[200.0] * 4, control=STEADY)
    records += [voided("b", 5, cause, attempt) for attempt, cause in enumerate(causes, start=1)]
    found = judged(records)
    assert found.verdict.word == (verdict.UNRESOLVED if reason else verdict.HOLDS)
    assert not reason or reason in found.verdict.reason
    records.append(block("b", 5, 200.0, attempt=4) | {"cause": ""})
    assert judged(records).verdict.word == verdict.HOLDS


def test_what_was_void_is_counted_by_cause():
    records = blocks(a=STEADY) + [voided("b", 1, "steal", 1), voided("b", 1, "failed", 2), voided("b", 2, "steal", 1)]
    records += [block("a", 5, 1.0, "identity: old", -1), block("a", 6, 1.0, "the prober was late")]
    records.append(block("b", 1, 1.0, attempt=3) | {"cause": "", "steal_share": 0.03})
    source = evidence.collect(records)["experiment:x"]
    assert source.void_causes == {"steal": 2, "failed": 1, "identity": 1, "laboratory": 1}
    assert source.highest_steal_share == 0.03  # of what counts


def test_the_page_says_which_round_a_value_belongs_to():
    records = [PLAN, *(block("a", number, 10.0 * number) for number in (1, 2, 4)),
               *(block("b", number, 1.0) for number in (1, 2, 3, 4)), voided("a", 3, "steal", 1)]
    text = page.source_section("experiment:x", evidence.collect(records)["experiment:x"])
    head, *rows = (line.split() for line in re.search(r"<pre>( +median.*?)</pre>", text, re.DOTALL)[1].splitlines())
    assert head == ["median", "1", "2", "3", "4"]
    assert rows[0] == ["a", "20.0", "10.0", "20.0", "-", "40.0"]
    assert "1 steal" in text and "0.0 %" not in text


def test_a_row_of_claims_json_says_what_its_effect_stands_for():
    found = judged(blocks(a=[200.0] * 4, b=[100.0] * 4, control=[200.0] * 4))
    row = report.as_dict(found)
    assert (row["verdict"], row["role"], row["says"]) == ("false", "supports", "b is faster")
    assert (row["expect"], row["outcome"], row["effect"]) == ("above", "false", pytest.approx(0.5))


def test_a_side_that_is_not_what_it_claims_leaves_the_claim_unresolved():
    records = blocks(a=STEADY, b=[200.0] * 4, control=STEADY)
    records.append({"kind": "problem", "source": "experiment:x", "problem": "it says that it is threadpool"})
    found = judged(records)
    assert found.verdict.word == verdict.UNRESOLVED and "it is threadpool" in found.verdict.reason


RUN = {"machine": {"cpus_allowed": 2, "cpu_model": "c", "kernel": "k"}, "settings": {"quick": False, "ids": []},
       "took_s": 60.0, "warnings": []}
WAITING = Claim(ClaimId(2, "b"), "s", ("000",), "c is so, too", (), "how fast c is")


def with_one_that_waits():
    finding = replace(FIGURE, ratio=("b", "a"))
    claim = Claim(ClaimId(1), "s", ("000",), "b is faster than a", (finding,), "")
    return judge.judge([claim, WAITING], evidence.collect(blocks(a=STEADY, b=[200.0] * 4, control=STEADY)))


def test_what_is_not_measured_is_no_verdict_and_says_what_it_waits_for():
    judged = with_one_that_waits()
    assert [each.verdict.word for each in judged] == [verdict.HOLDS, verdict.NOT_MEASURED]
    assert verdict.NOT_MEASURED not in verdict.VERDICTS
    assert report.text_lines(judged)[-4:] == [
        "Not measured:", " 2b c is so, too To measure: how fast c is", "",
        "1 claims: 1 holds; 1 more not measured"]
    lines = report.markdown_lines(judged, RUN, [])
    assert lines[0].startswith("1 claims: 1 holds; 1 more not measured. Run in full")
    table = lines[lines.index("Not measured:"):]
    assert table[-1] == "| 2b | c is so, too | how fast c is |" and "| 1 |" in "\n".join(lines[:-len(table)])
    assert not any("| 2b |" in line for line in lines[:-len(table)])
    text = page.render(judged, evidence.collect([]), RUN, [])
    assert "<p>1 holds; 1 more not measured. In full" in text and '<tr id="claim-2b">' in text
    assert text.count("how fast c is") == 1 and 'class="verdict unresolved"' not in text


def test_a_list_of_which_nothing_is_measured_is_a_report(tmp_path):
    judged = judge.judge([WAITING], {})
    assert report.text_lines(judged)[-1] == "0 claims: no verdict; 1 more not measured"
    report.write_all(store_of(tmp_path), judged, {})
    row = next(csv.DictReader((tmp_path / "run" / "claims.csv").open()))
    assert (row["id"], row["verdict"], row["says"], row["outcome"]) == ("2b", "not measured", "how fast c is", "")
    content = json.loads((tmp_path / "run" / "claims.json").read_text())
    assert [(each["id"], each["verdict"], each["reason"]) for each in content["claims"]] == [
        ("2b", "not measured", "how fast c is")]


def store_of(folder):
    (folder / "claims.yaml").write_text("claims: []\n")
    return Store.create(folder / "run", RUN, folder / "claims.yaml")


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
        "process": [3000.0] * 3, "thread": [3000.0] * 3, "ours-process": [6000.0] * 3, "ours-thread": [3300.0] * 3,
        "control": [3000.0] * 3},
     "parameters": {"switches_per_operation": {"process": 1.0, "thread": 1.25},
                    "page_faults_per_operation": {"process": 0.01}}},
    {"key": "stress-ng-create", "unit": "ns", "unavailable": "stress-ng is not installed"}],
    "versions": {"linux-perf": "6.1.1"}}}


def test_the_fields_tools_are_a_source_and_stand_beside_ours():
    found = evidence.collect([FIELD_RECORD])
    finding = Finding("supports", "s", catalog.FIELD, "tools", "perf-sched-pipe", ("process", "thread"), "",
                      verdict.ABOVE, 1.1)
    assert judge.judge_finding(finding, found["field:tools"]).outcome.word == verdict.EQUIVALENT
    first, threads = beside.rows(found)  # only what was measured on both sides
    assert first[:6] == ("perf bench sched pipe", "switch between processes", "3,000", "6,000", "2.00 (2.00-2.00)",
                         "1.00 switches")
    assert first[6] == beside.UNEXPLAINED and threads[5] == "1.25 switches" and "the same" in threads[6]
    assert list(beside.rows({})) == []
    text = page.source_section("field:tools", found["field:tools"])
    assert "6.1.1" in text and "page_faults_per_operation" in text


@pytest.mark.parametrize("expects, interval, explained", [
    (verdict.WITHIN, (0.7, 0.79), False), (verdict.WITHIN, (0.7, 0.81), True), (verdict.WITHIN, (1.26, 2.0), False),
    (verdict.ABOVE, (0.7, 0.9), False), (verdict.ABOVE, (1.1, 1.3), True), (verdict.BELOW, (0.3, 0.5), True),
    (verdict.BELOW, (1.1, 1.3), False),
])
def test_an_explanation_that_the_figures_contradict_is_not_given(expects, interval, explained):
    assert beside.explains(expects, verdict.Interval(sum(interval) / 2, *interval, 10)) == explained


def test_a_tool_that_is_not_installed_leaves_no_claim_unresolved():
    missing = Finding(verdict.SUPPORTS, "others say so", catalog.FIELD, "tools", "stress-ng-create",
                      ("fork", "pthread"), "", verdict.ABOVE, 1.1)
    ours = Finding(verdict.SUPPORTS, "x", "micro", "m", "f")
    claim = Claim(ClaimId(1), "s", (), "c", (ours, missing), "")
    found = judge.judge([claim], evidence.collect([*MICRO, FIELD_RECORD]))[0]
    assert found.verdict.word == verdict.HOLDS
    assert found.findings[1].outcome == verdict.Outcome(verdict.UNDECIDED, "stress-ng is not installed")
    never_run = judge.judge([claim], evidence.collect(MICRO))[0]
    assert never_run.verdict.word == verdict.UNRESOLVED


@pytest.mark.parametrize("ids, runs", [([ClaimId(26)], True), ([ClaimId(27, "a")], True), ([ClaimId(64)], False),
                                       ([], True)])
def test_the_fields_tools_run_beside_what_they_measure_too(ids, runs):
    plan = command.make_plan(LOADTEST, ids, quick=True)
    assert plan.others.count(("field", "tools")) == runs


def test_every_comparison_names_what_is_measured():
    needed = {(each.series, name) for each in beside.COMPARISONS for name in (each.there, each.ours)}
    assert {key for key, _ in needed} == {"perf-sched-pipe", "stress-ng-switch", "stress-ng-create"}


def test_a_zero_is_not_dropped_in_silence():
    series = evidence.Series(runs={"a": {1: 0.0, 2: 2.0, 3: 1.0}, "b": {1: 1.0, 2: 1.0}})
    assert judge.ratio_of(series, "a", "b") is None and judge.ratio_of(series, "a", "c") is None
    found = judged(blocks(a=STEADY, b=[200.0, 200.0, 0.0, 200.0], control=STEADY))
    assert found.verdict.word == verdict.UNRESOLVED
    assert "1 of 4 pairs have a zero: a ratio cannot say it" in found.verdict.reason


def crashes(**shares):
    plan = PLAN | {"sides": {side: {"connections": 50} for side in shares}}
    return [plan, *({"kind": "block", "experiment": "x", "side": side, "round": number, "attempt": 1, "void": "",
                     "mismatch": 0, "metrics": {"lost_share": value}}
                    for side, values in shares.items() for number, value in enumerate(values, start=1))]


def test_a_lost_share_of_nothing_is_a_figure():
    finding = replace(FIGURE, key="lost_share", ratio=("b", "a"), expect=verdict.BELOW)
    found = judged(crashes(a=[0.99] * 4, b=[0.0] * 4, control=[0.99] * 4), finding)
    assert found.verdict.word == verdict.HOLDS and found.findings[0].interval.value == pytest.approx(0.01)
    assert "half a request" in found.findings[0].detail
    found = judged(crashes(a=[0.0] * 4, b=[0.0] * 4, control=[0.0] * 4), finding)
    assert found.verdict.word == verdict.EQUAL and found.findings[0].interval.value == 1


def test_the_interval_holds_the_median_and_narrows_with_agreement():
    wide = stats.paired_ratio([1.0, 4.0, 2.0, 3.0, 1.5], [1.0] * 5)
    narrow = stats.paired_ratio([2.0, 2.1, 1.9, 2.05, 1.95], [1.0] * 5)
    assert wide.low < wide.value < wide.high and narrow.high - narrow.low < wide.high - wide.low
    assert 1.9 <= narrow.low <= 2.0 <= narrow.high <= 2.1
    assert stats.paired_ratio([], []) is None


def test_a_few_blocks_that_something_slowed_down_do_not_move_the_effect():
    """As measured on a shared host: most blocks within a percent or two, and a fifth of either side a quarter slower."""
    figure = [7.74, 7.65, 9.73, 7.62, 7.84, 7.73, 7.74, 9.98, 7.99, 7.75, 7.72, 7.88]
    base = [7.67, 9.50, 7.61, 7.57, 7.76, 7.83, 7.72, 7.79, 9.77, 8.00, 7.73, 7.66]
    found = stats.paired_ratio(figure, base)
    assert 1 / 1.03 < found.low <= found.value <= found.high < 1.03


@pytest.mark.parametrize("observed, of, low, high", [(3, 3, 0.438, 1.0), (0, 3, 0.0, 0.562), (50, 100, 0.404, 0.596)])
def test_wilson(observed, of, low, high):
    assert stats.wilson(observed, of) == pytest.approx((low, high), abs=0.001)


def test_switches_and_memory_are_read_as_the_kernel_writes_them():
    text = "State:\tS\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n"
    assert processes.parse_switches(text) == processes.Switches(12, 3)
    text = ("Rss:    2000 kB\nPss:     900 kB\nPss_Dirty: 1 kB\nPrivate_Clean:   100 kB\nPrivate_Dirty:   400 kB\n"
            "VmPTE:\t      44 kB\n")
    assert processes.parse_memory(text) == processes.Memory(900, 500, 2000, 44)
