"""`lab claims`, `lab report` and `lab diff` as they are called, with small claims of the tests' own."""

import csv
import json
import re
import shutil
import os
import signal
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from patience import DEADLINE_S
from real_server import BIN_DIR, wait_for
from twinlab.claims import catalog, diff
from twinlab.machine import processes

pytestmark = pytest.mark.serial  # it measures

LAB = Path(__file__).resolve().parents[2] / "loadtest" / "lab"
CLAIMS = """
claims:
- id: 1
  section: Tests
  notes: ["000"]
  claim: Two processes answer < & >.
  judged_by:
  - {role: supports, experiment: small, fact: mostly_voluntary on prefork, says: "they switch, mostly by themselves"}
  - {role: supports, experiment: small, series: requests_per_s, ratio: threadpool/prefork, expect: above, margin: 1000, says: "threads answer a thousand times more"}
- id: 7a
  section: Tests
  notes: ["001"]
  claim: A zombie shows Z.
  judged_by:
  - {role: supports, micro: states, fact: zombie-is-Z, says: "it shows Z"}
- id: 7b
  section: Tests
  notes: ["001"]
  claim: A zombie is hungry.
  open: what a zombie eats
"""
EXPERIMENT = """
title: two processes and two threads
defaults: {connections: 8, duration_s: 0.1, warmup_s: 0.02}
sides:
  prefork: {model: prefork, workers: 2}
  threadpool: {model: threadpool, threads: 2}
control: prefork
quick: {rounds: ROUNDS}
chart: [requests_per_s]
"""


def small_claims(folder, rounds):
    (folder / "experiments").mkdir()
    (folder / "experiments" / "small.yaml").write_text(EXPERIMENT.replace("ROUNDS", str(rounds)))
    path = folder / "claims.yaml"
    path.write_text(CLAIMS)
    return ["claims", "--quick", "--file", str(path), "--bin", str(BIN_DIR), "--steal-limit", "100"]


def lab(*arguments):
    return subprocess.run([str(LAB), *map(str, arguments)], capture_output=True, text=True, timeout=DEADLINE_S,
                          check=False)


class Page(HTMLParser):
    """Collects ids and references, and sees that elements are closed."""

    VOID = {"meta", "br", "path", "use", "image"}

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.note(attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.note(attrs)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def note(self, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "xlink:href", "src"):
                self.links.append(value)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole run."""
    folder = tmp_path_factory.mktemp("claims")
    done = lab(*small_claims(folder, 3), "--output", folder / "run")
    assert done.returncode == 0, done.stderr
    return folder / "run", done


def test_a_run_judges_and_writes_every_file(finished):
    folder, done = finished
    assert "2 claims: 1 holds" in done.stdout
    content = json.loads((folder / "claims.json").read_text())
    first, second, third = content["claims"]
    assert (first["id"], second["id"], second["verdict"]) == (1, "7a", "holds")
    assert (third["id"], third["verdict"], third["reason"]) == ("7b", "not measured", "what a zombie eats")
    assert "1 more not measured" in done.stdout
    assert first["verdict"] in ("holds with limits", "unresolved") and first["reason"]
    ratio = first["findings"][1]
    low, high = ratio["interval"]
    assert (ratio["margin"], ratio["n"], ratio["outcome"]) == (1000, 3, "equivalent") and low <= ratio["effect"] <= high
    assert content["machine"]["kernel"] and content["settings"]["quick"] is True
    rows = list(csv.DictReader((folder / "values.csv").open()))
    assert {row["variant"] for row in rows if row["series"] == "requests_per_s"} == {"prefork", "threadpool", "control"}
    assert len(list(csv.DictReader((folder / "claims.csv").open()))) == 3
    assert "| 7a | A zombie shows Z. | holds |" in (folder / "summary.md").read_text()


def test_the_page_needs_no_other_file_and_its_links_lead_somewhere(finished):
    text = (finished[0] / "report.html").read_text()
    page = Page(text)
    # matplotlib draws a marker that occurs twice in a chart from either of two equal definitions.
    ids = [name for name in page.ids if not re.fullmatch(r".+-m[0-9a-f]{10}", name)]
    assert not page.open and len(ids) == len(set(ids))
    assert all(link.startswith("data:") or link[1:] in page.ids for link in page.links if not link.startswith("http"))
    assert not [link for link in page.links if link.startswith("http")] and "<script" not in text
    assert set(re.findall(r"url\(#([\w-]+)\)", text)) <= set(page.ids)
    assert "answer &lt; &amp; &gt;" in text
    assert {"claim-1", "chart-7a", "claim-7b", "data-experiment-small", "method"} <= set(page.ids)


def test_a_report_is_made_anew_from_what_is_stored(finished):
    folder = finished[0]
    written = (".json", ".csv", ".md", ".html")
    before = {path.name: path.read_text() for path in folder.iterdir() if path.suffix in written}
    for name in set(before) - {"run.json"}:
        (folder / name).unlink()
    assert lab("report", folder).returncode == 0
    assert {path.name: path.read_text() for path in folder.iterdir() if path.name in before} == before


def test_a_run_that_is_packed_is_judged_and_not_continued(finished, tmp_path):
    packed = tmp_path / "packed"
    shutil.copytree(finished[0], packed)
    before = (packed / "claims.json").read_text()
    subprocess.run(["gzip", packed / "blocks.jsonl"], check=True)
    (packed / "claims.json").unlink()
    assert lab("report", packed).returncode == 0
    assert (packed / "claims.json").read_text() == before
    done = lab("claims", "--resume", packed, "--bin", BIN_DIR)
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr
    (packed / "blocks.jsonl.gz").write_bytes(b"no archive")
    done = lab("report", packed)
    assert done.returncode == 1 and "cannot read" in done.stderr


def test_a_run_does_not_differ_from_itself(finished):
    done = lab("diff", finished[0], finished[0])
    assert done.returncode == 0 and "Decided verdicts that disagree: 0 of 3" in done.stdout


def test_runs_that_disagree_are_an_exit_status(finished, tmp_path):
    content = json.loads((finished[0] / "claims.json").read_text())
    content["claims"][1]["verdict"] = "false"
    (tmp_path / "claims.json").write_text(json.dumps(content))
    done = lab("diff", finished[0], tmp_path)
    assert done.returncode == 1 and "Decided verdicts that disagree: 1 of 3" in done.stdout


def test_an_interrupted_run_says_how_to_go_on_and_goes_on(tmp_path):
    run = tmp_path / "run"
    child = subprocess.Popen([str(LAB), *small_claims(tmp_path, 6), "--output", str(run)], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
    lines = run / "blocks.jsonl"
    wait_for(lambda: lines.exists() and lines.read_text().count('"block"') >= 2, "two blocks")
    before = lines.read_text().rpartition("\n")[0].splitlines()  # whole lines: one may be half written
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 130 and f"--resume {run}" in errors and "nothing is left running" in errors
    done = lab("claims", "--resume", run, "--bin", BIN_DIR)
    assert done.returncode == 0, done.stderr
    after = lines.read_text().splitlines()
    assert after[:len(before)] == before
    counted = [(record["side"], record["round"]) for record in map(json.loads, after)
               if record["kind"] == "block" and not record["void"]]
    assert len(counted) == len(set(counted)) == 18
    assert not [pid for pid in processes.all_pids() if str(BIN_DIR) in command_of(pid)]


def command_of(pid):
    """A server of this run, by its document root, which lies in a folder that has gone."""
    try:
        if os.readlink(f"/proc/{pid}/root") != "/":
            return ""  # of another run of these tests, in a root of its own
        command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return ""
    root = command[command.index("--root") + 1] if "--root" in command else ""
    return " ".join(command) if "twinlab-" in root and not Path(root).exists() else ""


@pytest.mark.parametrize("arguments, message", [
    (["claims", "1a"], "no claim 1a"), (["claims", "--resume", "/nonexistent"], "holds no run"),
    (["claims", "1", "--resume", "/nonexistent"], "--resume goes on"), (["report", "/nonexistent"], "holds no run"),
    (["diff", "/nonexistent", "/nonexistent"], "cannot read"),
])
def test_a_mistake_is_one_line(tmp_path, arguments, message):
    output = ["--output", str(tmp_path / "run")] if arguments == ["claims", "1a"] else []
    done = lab(*arguments, *output)
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_the_claims_are_listed():
    done = lab("claims", "--list")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == len(catalog.load(LAB.parent / "claims.yaml"))
    assert "  1  Memory: " in lines[0] and lines[-1].startswith(" 69  ")
    assert any(line.startswith(" 4b  ") and line.endswith(" (not measured)") for line in lines)


def run_of(verdict, interval, source="experiment:x m a/b", margin=1.1, number=4):
    effect = sum(interval) / 2
    return {"machine": {"cpus_allowed": 2, "cpu_model": "c", "kernel": "k"}, "settings": {"quick": False},
            "claims": [{"id": number, "claim": "it is so", "verdict": verdict,
                        "findings": [{"source": source, "role": "supports", "expect": "above", "margin": margin,
                                      "effect": effect, "interval": interval}]}]}


@pytest.mark.parametrize("second, disagree, unresolved, effects", [
    (run_of("holds", [1.1, 1.3]), 0, 0, 0), (run_of("false", [1.1, 1.3]), 1, 0, 0),
    (run_of("holds", [1.31, 1.5]), 0, 0, 1), (run_of("unresolved", [0.5, 1.09]), 0, 1, 1),
    (run_of("holds", [2.0, 3.0], "experiment:other m a/b"), 0, 0, 0),
])
def test_what_two_runs_differ_in(second, disagree, unresolved, effects):
    first = run_of("holds", [1.1, 1.3])
    lines = diff.lines(first, second)
    assert f"Decided verdicts that disagree: {disagree} of 1" in lines
    assert len(diff.disagreements(first, second)) == disagree
    assert f"Unresolved in one of the runs: {unresolved} of 1" in lines
    assert f"Effects whose intervals do not overlap: {effects}" in lines


def test_what_two_runs_do_not_share_is_named():
    first, second = run_of("holds", [1.1, 1.3]), run_of("holds", [1.1, 1.3], margin=1.2)
    assert "  4  experiment:x m a/b: above 1.1 -> above 1.2" in diff.lines(first, second)
    lines = diff.lines(first, run_of("false", [1.1, 1.3], number=5))
    assert "Only in the first: 4" in lines and "Only in the second: 5" in lines
    assert not any(line.startswith("Only in") for line in diff.lines(first, second))
