"""The engine: order, void blocks, resuming, and inputs that are broken on purpose."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from real_server import BIN_DIR
from twinlab.base.errors import Interrupted, LabError
from twinlab.base.progress import Progress
from twinlab.claims import block, catalog, command, evidence, experiment, judge, sources, verdict
from twinlab.claims.block import Block, Mislabelled
from twinlab.claims.engine import ATTEMPTS, Engine, Rules
from twinlab.claims.experiment import Experiment, Side
from twinlab.claims.store import Store
from twinlab.clients import lab_prober
from twinlab.clients.lab_prober import Latency
from twinlab.machine.host import CpuClock, CpuPressure
from twinlab.runs.speed import Bench
from twinlab.servers import books as server_books
from twinlab.servers import workloads
from twinlab.servers.server import Server

pytestmark = pytest.mark.serial  # it measures

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
    assert "steal: 20.0 %" in first["void"] and (first["cause"], second["cause"]) == ("steal", "")
    assert second["void"] == "" and second["attempt"] == 2
    assert evidence.collect(store.records)["experiment:x"].series["requests_per_s"].runs == {"a": {1: 1.0}}


def test_repeating_ends(store):
    order = []
    always = [CpuClock(number * 50, number * 100) for number in range(2 * ATTEMPTS)]
    engine(store, measured(order), clocks=always).run(experiment_of(A, rounds=1))
    assert order == ["a"] * ATTEMPTS and all(each["void"] for each in blocks_of(store))


def test_losses_that_do_not_fit_void_a_block(store):
    engine(store, lambda *_: Block({"lost": 1.0}, mismatch=-3)).run(experiment_of(A, rounds=1))
    assert len(blocks_of(store)) == ATTEMPTS and "differ by -3" in blocks_of(store)[0]["void"]
    assert {each["cause"] for each in blocks_of(store)} == {"identity"}


def test_losses_that_do_not_fit_are_no_matter_of_luck_with_the_machine(store):
    clocks = [CpuClock(number * 50, number * 100) for number in range(2 * ATTEMPTS)]
    engine(store, lambda *_: Block({"lost": 1.0}, mismatch=-3), clocks=clocks).run(experiment_of(A, rounds=1))
    assert {each["cause"] for each in blocks_of(store)} == {"identity"}


def test_a_block_keeps_how_long_others_waited_for_a_cpu(store):
    pressures = iter([CpuPressure(0, 0.0), CpuPressure(300, 1000.0), CpuPressure(None, 0.0), CpuPressure(None, 1.0)])
    Engine(store, Bench(BIN_DIR, BIN_DIR, BIN_DIR, 0, 0, 0), Progress(1.0, Silent()), measure=measured([]),
           read_clock=lambda: QUIET, read_pressure=lambda: next(pressures)).run(experiment_of(A, rounds=2))
    assert [each["cpu_pressure_share"] for each in blocks_of(store)] == [0.3, None]


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


@pytest.mark.parametrize("wrong", [Block(mismatch=1), Block(void="9 read errors", cause=block.FAILED)])
def test_a_server_that_failed_is_not_forgiven_when_the_run_goes_on(store, wrong):
    engine(store, lambda *_: wrong).run(experiment_of(A, rounds=1))
    again, rest = Store.open(store.directory), []
    engine(again, measured(rest)).run(experiment_of(A, rounds=1))
    assert rest == [] and len(blocks_of(again)) == ATTEMPTS


def test_attempts_are_counted_over_all_sessions(store):
    found = [Block(mismatch=1), Block(void="it rained"), Block(mismatch=1), Block(void="it rained"), Block(mismatch=1)]
    left = iter(found)
    for _ in range(2):
        session = Store.open(store.directory)
        engine(session, lambda *_: next(left)).run(experiment_of(A, rounds=1))
    assert [each["attempt"] for each in blocks_of(session)] == [1, 2, 3, 4, 5]
    assert [each["cause"] for each in blocks_of(session)] == ["identity", "laboratory", "identity", "laboratory",
                                                              "identity"]


def test_sessions_add_up(tmp_path):
    (tmp_path / "claims.yaml").write_text("claims: []\n")
    store = Store.create(tmp_path / "run", {"took_s": 0.0}, tmp_path / "claims.yaml")
    command.add_session(store, 60.0, CpuClock(90, 100))
    command.add_session(store, 30.0, CpuClock(0, 800))
    assert store.run["took_s"] == 90.0 and store.run["steal_share"] == 0.1


HERE = {"kernel": "6.1", "cpu_model": "c", "git_commit": "abc"}


@pytest.mark.parametrize("change, own_before, own_now, refused", [
    ({}, False, False, ""), ({"git_commit": "def"}, False, False, "git_commit abc"),
    ({"git_commit": "def"}, True, False, "git_commit abc"), ({"git_commit": "def"}, False, True, "git_commit abc"),
    ({"git_commit": "def"}, True, True, ""), ({"kernel": "6.2"}, True, True, "kernel 6.1"),
    ({"cpu_model": "d"}, True, True, "cpu_model c"),
])
def test_a_run_goes_on_with_what_it_was_begun_with(change, own_before, own_now, refused):
    run = {"machine": HERE, "own_programs": own_before}
    if not refused:
        command.refuse_other_origin(run, HERE | change, own_now)
        return
    with pytest.raises(LabError, match=f"--resume: .* {refused}, and here it is") as error:
        command.refuse_other_origin(run, HERE | change, own_now)
    assert "\n" not in str(error.value)


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
    replace(PREFORK, name="prefork-adopt", on_death="adopt"), replace(POOL, name="threadpool-adopt", on_death="adopt"),
], ids=lambda side: side.name)
def test_every_model_says_what_its_side_claims(bench, side):
    with block._start(bench, side) as server:
        block.verify(server, side)


@pytest.mark.parametrize("says, does", [("adopt", "cut"), ("cut", "adopt")])
def test_who_would_not_be_adopted_as_the_side_says_is_caught(bench, says, does, monkeypatch):
    monkeypatch.setattr(block, "READY_DEADLINE_S", 0.5)
    with block._start(bench, replace(PREFORK, on_death=does)) as server:
        with pytest.raises(Mislabelled, match=r"2 keepers\) says.*no keepers|no keepers\) says.*2 keepers"):
            block.verify(server, replace(PREFORK, on_death=says))


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


@pytest.mark.parametrize("options", [(), ("--keep-open",)], ids=["closes", "keeps-open"])
def test_a_server_that_loses_requests_silently_is_caught(store, bench, tmp_path, options):
    folder = instead_of(tmp_path / "bin", "prefork-server", SILENT_LOSER.read_text())
    side = replace(PREFORK, options=options)
    engine(store, block.measure, replace(bench, bin_dir=folder)).run(experiment_of(side, rounds=1))
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


def test_an_honest_server_with_a_second_load_passes_as_well(bench, monkeypatch):
    """The pool has requests under way at any time, until both loads are halted."""
    monkeypatch.setattr(server_books, "SETTLE_DEADLINE_S", 3.0)
    here = replace(bench, connections=4, duration_s=0.4, warmup_s=0.1)
    for side in (PREFORK, Side(name="request", model="threadpool-request", threads=4, loops=2)):
        for kind in ("load", "rate"):
            loaded = replace(side, block=kind, path="/sleep?ms=20", connections=32, rate_per_s=50,
                             beside_path="/sleep?ms=20", beside_connections=4)
            found = block.measure(here, loaded, random.Random(1))
            assert found.cause in ("", block.LABORATORY), found  # the prober may be late on a busy machine
            assert found.mismatch == 0 and found.metrics["p99_us"] > 0


def test_failed_requests_are_no_performance(store, bench, monkeypatch):
    """wrk has answers of any status in its requests per second."""
    monkeypatch.setattr(Server, "check", lambda *_: None)
    engine(store, block.measure, bench).run(experiment_of(replace(PREFORK, path="/nothing"), rounds=1))
    assert len(blocks_of(store)) == ATTEMPTS
    for each in blocks_of(store):
        assert each["cause"] == "failed" and each["void"].endswith(" status; nothing was answered")
        assert not each["mismatch"]


@pytest.mark.parametrize("failures, answered, deaths, void", [
    ({"read": 3, "status": 0}, 9, 0, "wrk: failed requests by kind: 3 read"),
    ({"status": 7, "timeout": 1}, 9, 0, "wrk: failed requests by kind: 7 status, 1 timeout"),
    ({}, 9, 1, "server: 1 process died"), ({"read": 1}, 9, 2, "1 read; server: 2 processes died"),
    ({}, 0, 0, "nothing was answered"),
])
def test_what_voids_a_window(failures, answered, deaths, void):
    found = Block({"requests_per_s": 1.0})
    block.void_if_failed(found, "wrk", failures, answered, deaths)
    assert void in found.void and found.cause == block.FAILED
    fine = Block()
    block.void_if_failed(fine, "wrk", {"read": 0}, 1, 0)
    assert (fine.void, fine.cause) == ("", "")


def probed(outcomes, warm_up=None, late=False):
    """A result of the prober in which failures took ten times as long as answers."""
    names = ("ok", "timeout", "closed_before_answer", "closed_within_answer", "reset_before_answer",
             "reset_within_answer")
    good, everything = Latency(9, 10, 10, 10, 10, 10), Latency(10, 20, 50, 100, 100, 100)
    return lab_prober.Result(1.0, 10, 0, dict.fromkeys(names, 0) | outcomes, dict.fromkeys(names, 0) | (warm_up or {}),
                            0, 0, good, everything, good, good, late, False, (), {})


def books(**changes):
    return {"deaths": [], "totals": {"deaths": 0, "requests_lost": 0, "requests_started": 10, "requests_finished": 10,
                                     "requests_aborted": 0} | changes}


def test_a_rate_counts_the_latency_of_all_requests():
    found = block.rate_block(probed({"ok": 10}), books())
    assert (found.void, found.mismatch) == ("", 0)
    assert found.metrics == {"p50_us": 20, "p90_us": 50, "p99_us": 100, "requests_per_s": 9.0}


@pytest.mark.parametrize("result, status, cause, void", [
    (probed({"ok": 9, "timeout": 1}), books(), "failed", "prober: failed requests by kind: 1 timeout"),
    (probed({"ok": 9}, {"timeout": 2}), books(), "failed", "2 timeout"),
    (probed({"ok": 9}, late=True), books(), "laboratory", "schedule"),
    (probed({"timeout": 3}, late=True), books(), "failed", "nothing was answered"),
])
def test_a_rate_with_failures_is_void(result, status, cause, void):
    found = block.rate_block(result, status)
    assert found.cause == cause and void in found.void


def test_a_rate_by_a_server_that_forgets_requests_breaks_the_identity():
    assert block.rate_block(probed({"ok": 10}), books(requests_started=12)).mismatch == -2
    assert block.rate_block(probed({"ok": 12}), books()).mismatch == -2


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
    assert order == ["control", "one", "two", "two", "one", "control"]
    assert json.loads((store.directory / "blocks.jsonl").read_text().splitlines()[0])["control_of"] == "one"
