"""The second check of a run: it agrees with what the laboratory wrote, and sees what was changed afterwards."""

import ast
import gzip
import importlib.machinery
import importlib.util
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest
from patience import DEADLINE_S
from twinlab.claims import command
from twinlab.claims.store import Store

LOADTEST = Path(__file__).resolve().parents[2] / "loadtest"
RECHECK = LOADTEST / "recheck"
STORED = LOADTEST / "reports" / "2026-11-21-epyc-2cpu"


def load_recheck():
    """The program as a module."""
    loader = importlib.machinery.SourceFileLoader("recheck", str(RECHECK))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("recheck", loader))
    sys.modules["recheck"] = module  # dataclasses look there
    loader.exec_module(module)
    return module


def recheck(*arguments):
    return subprocess.run([str(RECHECK), *map(str, arguments)], capture_output=True, text=True, timeout=DEADLINE_S,
                          check=False)


def test_it_imports_nothing_of_the_laboratory():
    tree = ast.parse(RECHECK.read_text())
    modules = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    modules |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert modules and all(module.split(".")[0] in sys.stdlib_module_names for module in modules)


@pytest.mark.parametrize("run", ["2026-11-21-epyc-2cpu", "2026-11-21-epyc-2cpu-row-38"])
def test_it_agrees_with_the_stored_runs(run):
    done = recheck(LOADTEST / "reports" / run)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("differences between the report and the blocks: 0\n")


def test_it_tells_what_it_has_found_for_a_row():
    done = recheck(STORED, "26", "31")
    assert "26  micro:create touched-0-kib process/thread: 3.8" in done.stdout
    assert "31  experiment:switches some_involuntary on prefork-busy: 1 of 10, as reported" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("rows: 2, findings: 10,")


@pytest.mark.parametrize("arguments, words", [
    ([], "usage"), (["--nothing"], "usage"), ([STORED, "99"], "no row 99"), (["/nowhere"], "cannot read"),
    ([STORED.with_name("2026-11-21-epyc-2cpu-before")], "no blocks.jsonl"),
])
def test_what_it_cannot_do_is_one_line_or_the_usage(arguments, words):
    done = recheck(*arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert words in done.stderr or "DIR [ROW]" in done.stderr


# A copy in which something was changed


@pytest.fixture
def copy(tmp_path):
    """Of what it reads."""
    for name in ("claims.json", "blocks.jsonl.gz"):
        shutil.copyfile(STORED / name, tmp_path / name)
    return tmp_path


def change_report(folder, row, source, **changes):
    """One finding of the report."""
    report = json.loads((folder / "claims.json").read_text())
    claim = next(claim for claim in report["claims"] if claim["id"] == row)
    next(found for found in claim["findings"] if found["source"] == source).update(changes)
    (folder / "claims.json").write_text(json.dumps(report))


SPEED = "experiment:speed cpu_us_per_request prefork-file/threadpool-file"
CREATE = "micro:create touched-0-kib process/thread"


@pytest.mark.parametrize("row, source, changes, words", [
    (26, CREATE, {"effect": 3.9}, "the report has 3.9 as effect, the blocks give 3.88"),
    (26, CREATE, {"effect": None}, "the report has none as effect, the blocks give 3.88"),
    (26, CREATE, {"n": 19}, "the report counts 19 pairs or trials, the blocks have 20"),
    (26, CREATE, {"interval": [3.5, 4.0517]}, "the report has 3.5 as lower end of the interval"),
    (26, CREATE, {"interval": None}, "the report calls it true, its interval says nothing"),
    (26, CREATE, {"detail": "process 276.6 us, thread 40.7 us"}, "the report has 276.6 as median of process"),
    (38, SPEED, {"outcome": "true"}, "the report calls it true, its interval says equivalent"),
    (38, SPEED, {"interval": [0.975, 1.04]}, "the report has 1.04 as upper end of the interval"),
    (10, "demo:isolation pointer-finds-own-memory-only", {"effect": 0.9}, "the report has 0.9 as effect"),
    (31, "experiment:switches mostly_voluntary on prefork", {"n": 9}, "the report counts 9 pairs or trials"),
])
def test_a_report_that_was_changed_does_not_agree(copy, row, source, changes, words):
    change_report(copy, row, source, **changes)
    done = recheck(copy)
    assert done.returncode == 1
    assert f"{row}  {source}: {words}" in done.stdout, done.stdout
    assert recheck(copy, 12).returncode == 0  # another row


def change_blocks(folder, change):
    """change gets each line, and returns what is to stand in its place."""
    lines = gzip.decompress((folder / "blocks.jsonl.gz").read_bytes()).decode().splitlines()
    changed = [line for line in map(change, map(json.loads, lines)) if line is not None]
    (folder / "blocks.jsonl.gz").unlink()
    (folder / "blocks.jsonl").write_text("".join(json.dumps(line) + "\n" for line in changed))


def is_block(line, side, number):
    return line["kind"] == "block" and (line["experiment"], line["side"], line["round"]) == ("slots", side, number)


SLOTS = "experiment:slots requests_per_s prefork-cpu-2/threadpool-cpu-2"


@pytest.mark.parametrize("change, words", [
    (lambda line: None if is_block(line, "prefork-cpu-2", 3) else line, "counts 10 pairs or trials, the blocks have 9"),
    (lambda line: line | {"void": "steal"} if is_block(line, "prefork-cpu-2", 3) else line, "the blocks have 9"),
    (lambda line: line | {"metrics": line["metrics"] | {"requests_per_s": 4000.0}}
     if line["kind"] == "block" and line["side"] == "prefork-cpu-2" else line, "as effect, the blocks give 2.0"),
])
def test_blocks_that_were_changed_do_not_agree(copy, change, words):
    change_blocks(copy, change)
    done = recheck(copy, 34)
    assert done.returncode == 1
    assert f"34  {SLOTS}: the report" in done.stdout and words in done.stdout


# A run as the laboratory writes it today

CLAIMS = """
claims:
- id: 1
  section: Tests
  notes: []
  claim: b is faster than a, and loses less.
  judged_by:
  - {role: supports, experiment: x, series: requests_per_s, ratio: b/a, expect: above, margin: 1.1, says: faster}
  - {role: supports, experiment: x, series: lost_share, ratio: b/a, expect: below, margin: 1.1, says: loses less}
  - {role: supports, experiment: x, series: silence_ms, ratio: b/a, expect: at-most, margin: 2, says: a zero}
  - {role: limits, experiment: x, fact: seen on b, says: seen mostly}
  - {role: supports, micro: m, series: s, ratio: p/t, expect: within, margin: 9, says: about the same}
  - {role: supports, demo: d, fact: there, says: it is there}
  - {role: supports, demo: d, fact: not-here, says: this machine has it}
  - {role: supports, demo: never-run, fact: x, says: it was run}
"""


def written_run(folder):
    """Blocks that are void, repeated, zero or missing, judged and reported by the laboratory."""
    catalog = folder / "given" / "claims.yaml"
    catalog.parent.mkdir()
    catalog.write_text(CLAIMS)
    store = Store.create(folder / "run", {
        "settings": {"ids": [], "quick": False}, "took_s": 1, "warnings": [],
        "machine": {"kernel": "k", "cpu_model": "m", "cpus_allowed": 2, "cpus_online": 2, "memory_kib": 1,
                    "system": "s", "git_commit": "c", "versions": {}}}, catalog)
    store.append({"kind": "plan", "experiment": "x", "title": "t", "rounds": 10, "control_of": "a", "chart": [],
                  "sides": {"a": {"connections": 32}, "b": {"connections": 64}}})
    draw = random.Random(1)
    for number in range(1, 12):
        for side, rate in (("a", 100), ("b", 150), ("control", 100)):
            metrics = {"requests_per_s": rate * draw.uniform(0.9, 1.1), "lost_share": 0.5 * (side != "b" or number > 9),
                       "silence_ms": float(number != 4), "seen": float(number != 2)}
            block = {"kind": "block", "experiment": "x", "side": side, "round": number, "attempt": 1, "void": "",
                     "cause": "", "mismatch": 0, "steal_share": 0.0, "metrics": metrics}
            if number == 11 and side == "b":
                block |= {"void": "steal: 20 %", "cause": "steal"}
            if number == 5:
                store.append(block | {"void": "steal: 9 %", "cause": "steal", "metrics": {"requests_per_s": 1.0}})
                block |= {"attempt": 2}
            store.append(block)
    outputs = {"micro": ("m", {"series": [{"key": "s", "unit": "us", "runs": {
        "p": [draw.uniform(1, 2) for _ in range(9)], "t": [1e4 * draw.random() for _ in range(9)],
        "control": [draw.uniform(1, 2) for _ in range(9)]}}]}),
               "demo": ("d", {"title": "t", "facts": [
                   {"key": "there", "statement": "s", "observed": 9, "of": 10, "detail": ""},
                   {"key": "not-here", "statement": "s", "observed": 0, "of": 0, "detail": "no such thing"}]})}
    for kind, (name, output) in outputs.items():
        store.append({"kind": kind, "name": name, "quick": False, "attempt": 1, "void": "", "steal_share": 0.0,
                      "output": output})
    command.write_report(store)
    return folder / "run"


def test_it_agrees_with_what_is_written_today(tmp_path):
    folder = written_run(tmp_path)
    done = recheck(folder, "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("rows: 1, findings: 8,")
    assert "requests_per_s b/a: 1.5" in done.stdout and "of 10, as reported" in done.stdout
    assert "silence_ms b/a: none of 0" in done.stdout and "demo:d there: 0.9 of 10" in done.stdout
    assert "experiment:x seen on b: 0.9 of 10" in done.stdout


def test_a_line_that_was_being_written_is_none(tmp_path):
    folder = written_run(tmp_path)
    with (folder / "blocks.jsonl").open("a") as lines:
        lines.write('{"kind": "block", "exp')
    assert recheck(folder).returncode == 0


# Its arithmetic


@pytest.mark.parametrize("n", [3, 4, 9, 10])
def test_all_resamples_are_counted(n):
    draw = random.Random(n)
    values = [1.5 ** draw.gauss(0, 1) for _ in range(n)]
    module = load_recheck()
    counted = module.resampled_medians(values)
    assert sum(p for _, p in counted) == pytest.approx(1)
    # Of what a computer draws, so many are at most each of some values.
    medians = [module.middle([draw.choice(values) for _ in range(n)]) for _ in range(20_000)]
    for value in (values[0], median(values), values[-1]):
        drawn = sum(found <= value * (1 + 1e-9) for found in medians) / len(medians)
        assert sum(p for found, p in counted if found <= value * (1 + 1e-9)) == pytest.approx(drawn, abs=0.015)
