"""The engine: order, void blocks, resuming, and inputs that are broken on purpose."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from real_server import BIN_DIR
from twinlab import workloads
from twinlab.claims import block, catalog, evidence, experiment, judge, sources, verdict
from twinlab.claims.block import Block, Mislabelled
from twinlab.claims.engine import ATTEMPTS, Engine, Rules
from twinlab.claims.experiment import Experiment, Side
from twinlab.claims.store import Store
from twinlab.errors import Interrupted, LabError
from twinlab.machine import CpuClock
from twinlab.progress import Progress
from twinlab.speed import Bench

A, B = Side(name="a", workers=1), Side(name="b", workers=2)
QUIET = CpuClock(0, 0)
SILENT_LOSER = Path(__file__).parent / "silent_loser"


class Silent:
    """A stream for progress that nobody reads."""

    def isatty(self):
        return False

    def write(self, text):
        pass

    def flush(self):
        pass


@pytest.fixture
def store(tmp_path):
    (tmp_path / "claims.yaml").write_text("claims: []\n")
    return Store.create(tmp_path / "run", {"settings": {}}, tmp_path / "claims.yaml")


@pytest.fixture
def bench(tmp_path):
    root, scratch = tmp_path / "www", tmp_path / "scratch"
    scratch.mkdir()
    workloads.make_documents(root)
    return Bench(BIN_DIR, root, scratch, 0, 0, 0)


def experiment_of(*sides, rounds=4):
    return Experiment("x", "t", {side.name: side for side in sides}, "", rounds, False, ())


def engine(store, measure, bench=None, clocks=None):
    ticks = iter(clocks or ())
    place = bench or Bench(BIN_DIR, BIN_DIR, BIN_DIR, 0, 0, 0)
    return Engine(store, place, Progress(1.0, Silent()), Rules(0.05), measure=measure,
                  read_clock=lambda: next(ticks, QUIET))


def measured(order):
    """Measures nothing, and keeps the order."""
    def measure(_bench, side, _rng):
        order.append(side.name)
        return Block({"requests_per_s": 1.0})
    return measure


def blocks_of(store):
    return [record for record in store.records if record["kind"] == "block"]


def test_blocks_run_abba(store):
    order = []
    engine(store, measured(order)).run(experiment_of(A, B))
    assert order == ["a", "b", "b", "a", "a", "b", "b", "a"]


def test_a_block_with_much_steal_is_void_and_repeated(store):
    order = []
    clocks = [CpuClock(0, 0), CpuClock(20, 100), CpuClock(20, 100), CpuClock(20, 200)]
    engine(store, measured(order), clocks=clocks).run(experiment_of(A, rounds=1))
    first, second = blocks_of(store)
    assert "steal: 20.0 %" in first["void"] and second["void"] == "" and second["attempt"] == 2
    assert evidence.collect(store.records)["experiment:x"].series["requests_per_s"].runs == {"a": {1: 1.0}}


def test_repeating_ends(store):
    order = []
    always = [CpuClock(number * 50, number * 100) for number in range(2 * ATTEMPTS)]
    engine(store, measured(order), clocks=always).run(experiment_of(A, rounds=1))
    assert order == ["a"] * ATTEMPTS and all(each["void"] for each in blocks_of(store))


def test_losses_that_do_not_fit_void_a_block(store):
    engine(store, lambda *_: Block({"lost": 1.0}, mismatch=-3)).run(experiment_of(A, rounds=1))
    assert len(blocks_of(store)) == ATTEMPTS and "differ by -3" in blocks_of(store)[0]["void"]


def test_all_sides_of_a_round_are_dealt_the_same_luck(store):
    luck = {}

    def measure(_bench, side, rng):
        luck.setdefault(side.name, []).append(rng.random())
        return Block({"x": 1.0})
    engine(store, measure).run(experiment_of(A, B))
    assert luck["a"] == luck["b"] and len(set(luck["a"])) == 4


def test_an_experiment_that_fails_says_so_once_and_stops(store):
    def fail(*_):
        raise LabError("cannot start prefork-server\nand more")
    engine(store, fail).run(experiment_of(A, B))
    assert evidence.collect(store.records)["experiment:x"].problem == "cannot start prefork-server"
    assert not blocks_of(store)


def test_an_interrupted_run_goes_on_without_losing_or_repeating_a_block(store):
    order = []

    def measure(bench, side, rng):
        if len(order) == 3:
            raise Interrupted(2)
        return measured(order)(bench, side, rng)
    with pytest.raises(Interrupted):
        engine(store, measure).run(experiment_of(A, B))
    assert len(blocks_of(store)) == 3
    again = Store.open(store.directory)
    assert blocks_of(again) == blocks_of(store)
    rest = []
    engine(again, measured(rest)).run(experiment_of(A, B))
    assert order + rest == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert sum(record["kind"] == "plan" for record in again.records) == 1


def test_a_line_that_was_cut_is_measured_again(store):
    engine(store, measured([])).run(experiment_of(A, B, rounds=1))
    lines = store.directory / "blocks.jsonl"
    lines.write_text(lines.read_text()[:-20])
    again, rest = Store.open(store.directory), []
    engine(again, measured(rest)).run(experiment_of(A, B, rounds=1))
    assert rest == ["b"]
    assert [record["side"] for record in blocks_of(Store.open(store.directory))] == ["a", "b"]


def test_a_block_that_stayed_void_is_tried_again_when_the_run_goes_on(store):
    engine(store, lambda *_: Block(void="it rained")).run(experiment_of(A, rounds=1))
    again, rest = Store.open(store.directory), []
    engine(again, measured(rest)).run(experiment_of(A, rounds=1))
    assert rest == ["a"]


def test_a_line_that_is_broken_in_the_middle_is_refused(store):
    (store.directory / "blocks.jsonl").write_text('{"kind": \n{"kind": "plan"}\n')
    with pytest.raises(LabError, match="line 1 is not JSON"):
        Store.open(store.directory)


def test_a_folder_with_a_run_is_not_overwritten(store, tmp_path):
    store.append({"kind": "plan", "experiment": "x"})
    with pytest.raises(LabError, match="--resume"):
        Store.create(store.directory, {}, tmp_path / "claims.yaml")


SHORT = {"duration_s": 0.2, "warmup_s": 0.05, "connections": 4}
PREFORK = Side(name="prefork", model="prefork", workers=2, **SHORT)
POOL = Side(name="threadpool", model="threadpool", threads=2, **SHORT)


def instead_of(folder, name, text):
    """A folder of programs in which one is another."""
    folder.mkdir()
    for program in ("prefork-server", "threadpool-server"):
        (folder / program).symlink_to(BIN_DIR / program)
    (folder / name).unlink()
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize("side", [
    PREFORK, POOL, Side(name="hybrid", model="hybrid", workers=2, threads=2, **SHORT),
    Side(name="request", model="threadpool-request", threads=3, loops=2, **SHORT),
], ids=lambda side: side.name)
def test_every_model_says_what_its_side_claims(bench, side):
    with block._start(bench, side) as server:
        block.verify(server, side)


def test_swapped_labels_are_caught(store, bench, tmp_path):
    swapped = instead_of(tmp_path / "bin", "prefork-server",
                         f'#!/bin/sh\nshift 2\nexec {BIN_DIR}/threadpool-server --threads 2 "$@"\n')
    engine(store, block.measure, replace(bench, bin_dir=swapped)).run(experiment_of(PREFORK, POOL, rounds=1))
    problem = evidence.collect(store.records)["experiment:x"].problem
    assert "should be prefork" in problem and "says that it is threadpool" in problem
    assert not blocks_of(store)


@pytest.mark.parametrize("kind", ["load", "memory", "rate", "crash", "hung"])
def test_every_kind_of_block_looks_at_the_label(bench, kind):
    wrong = replace(PREFORK, block=kind, options=("--threads", "2"), fault="sigkill", hung=1)
    with pytest.raises(Mislabelled, match="says that it is hybrid"):
        block.measure(replace(bench, connections=4, duration_s=0.2, warmup_s=0.05), wrong, random.Random(1))


def test_a_server_that_loses_requests_silently_is_caught(store, bench, tmp_path):
    folder = instead_of(tmp_path / "bin", "prefork-server", SILENT_LOSER.read_text())
    engine(store, block.measure, replace(bench, bin_dir=folder)).run(experiment_of(PREFORK, rounds=1))
    found = evidence.collect(store.records)["experiment:x"]
    assert "identity check fails" in found.problem
    assert len(blocks_of(store)) == ATTEMPTS and all(each["mismatch"] < 0 for each in blocks_of(store))
    finding = catalog.Finding(verdict.SUPPORTS, "s", "experiment", "x", "mostly_voluntary", side="prefork")
    assert judge.judge_finding(finding, found).outcome.word == verdict.UNDECIDED


def test_an_honest_server_passes_the_same_check(store, bench):
    engine(store, block.measure, bench).run(experiment_of(PREFORK, rounds=1))
    (found,) = blocks_of(store)
    assert found["void"] == "" and found["mismatch"] == 0
    assert found["metrics"]["requests_per_s"] > 0 and found["metrics"]["cpu_us_per_request"] > 0


def test_hung_slots_are_told_from_the_others():
    owners = {"a": 0, "b": 0, "c": 1, "d": 1}
    found = block.hung_metrics(owners, {0}, ["b", "c", "d", "new"], {"c", "d"})
    assert found == {"answered_share": 0.5, "nobody_answers": 0.0, "own_share_waits": 1.0, "others_answer": 1.0,
                     "new_answered_share": 0.0}
    assert block.hung_metrics(owners, {0, 1}, ["b"], set()) == {"answered_share": 0.0, "nobody_answers": 1.0,
                                                                "own_share_waits": 1.0}


def test_a_program_that_is_missing_or_fails_is_a_reason(store, tmp_path):
    for name, text in (("bad", "#!/bin/sh\necho it broke >&2\nexit 1\n"), ("noise", "#!/bin/sh\necho hello\n")):
        program = tmp_path / f"micro-{name}"
        program.write_text(text)
        program.chmod(0o755)
    for name in ("bad", "noise", "absent"):
        sources.run(store, "micro", name, tmp_path, True)
    sources.run(store, "demo", "no-such-demo", tmp_path, True)
    problems = {name: source.problem for name, source in evidence.collect(store.records).items()}
    assert "it broke" in problems["micro:bad"] and "no JSON" in problems["micro:noise"]
    assert "no program micro-absent" in problems["micro:absent"] and problems["demo:no-such-demo"]


def test_an_experiment_file_becomes_what_the_engine_runs(tmp_path, store):
    (tmp_path / "x.yaml").write_text("title: t\nsides: {one: {}, two: {}}\ncontrol: one\nrounds: 2\n")
    order = []
    engine(store, measured(order)).run(experiment.load(tmp_path, "x", quick=False))
    assert order == ["one", "two", "control", "control", "two", "one"]
    assert json.loads((store.directory / "blocks.jsonl").read_text().splitlines()[0])["control_of"] == "one"
