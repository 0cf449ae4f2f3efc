"""`lab claims`, `lab report` and `lab diff`, step by step."""

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from twinlab.base import progress, results
from twinlab.base.errors import Interrupted, LabError, understood
from twinlab.base.progress import Progress
from twinlab.claims import catalog, evidence, experiment, judge, report, sources, verdict
from twinlab.claims.catalog import EXPERIMENT, FIELD, Claim
from twinlab.claims.claim_id import ClaimId
from twinlab.claims.engine import Engine, Rules
from twinlab.claims.experiment import Experiment
from twinlab.claims.judge import JudgedClaim
from twinlab.claims.store import CATALOG, EXPERIMENTS, LINES, Store
from twinlab.machine import host, scratch, setup
from twinlab.runs.speed import Bench
from twinlab.servers import workloads

CLAIMS_FILE = setup.PROJECT / "loadtest" / "claims.yaml"


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    ids: list[ClaimId]
    quick: bool
    output: Path | None
    resume: Path | None
    bin_dir: Path | None
    seed: int
    steal_limit: float
    claims_file: Path


@dataclass(frozen=True)
class Plan:
    """What has to run for the claims that were chosen."""

    claims: list[Claim]
    experiments: list[Experiment]
    others: list[tuple[str, str]]
    quick: bool

    @property
    def planned_s(self) -> float:
        return (sum(each.planned_s for each in self.experiments)
                + sum(sources.planned_s(kind, self.quick) for kind, _ in self.others))


def make_plan(folder: Path, ids: list[ClaimId], quick: bool) -> Plan:
    """Reads all files before anything runs, so that a mistake in them costs no time."""
    claims = catalog.choose(catalog.load(folder / CATALOG), ids)
    needed = sources.with_field_tools(catalog.sources(claims))
    experiments = [experiment.load(folder / EXPERIMENTS, name, quick) for kind, name in needed if kind == EXPERIMENT]
    return Plan(claims, experiments, [each for each in needed if each[0] != EXPERIMENT], quick)


def run(options: Options) -> int:
    """Prepare, measure what is missing, judge, report. The verdicts do not change the exit status: they are results."""
    setup.install_packages("build", "load")
    store = _open_store(options)
    settings = store.run["settings"]
    plan = make_plan(store.directory, chosen_ids(settings), settings["quick"])
    setup.raise_descriptor_limit(max((side.connections for each in plan.experiments for side in each.sides.values()),
                                     default=0))
    if any(kind == FIELD for kind, _ in plan.others):
        _install_field_tools()
    bin_dir = options.bin_dir or setup.build()
    for warning in store.run["warnings"]:
        print(f"lab: warning: {warning}", file=sys.stderr)
    try:
        measure(store, plan, bin_dir)
    except Interrupted:
        print(f"\nlab: what is finished is kept; go on with: lab claims --resume {store.directory}", file=sys.stderr)
        raise
    judged = write_report(store)
    print_summary(store, judged)
    return 0


def _install_field_tools() -> None:
    """They are a second opinion: without them the run says that they are missing, and goes on."""
    try:
        setup.install_packages("field")
    except LabError as error:
        print(f"lab: warning: goes on without the field's tools: {error}", file=sys.stderr)


def _open_store(options: Options) -> Store:
    if options.resume:
        store = Store.open(options.resume)
        refuse_other_origin(store.run, host.facts(setup.PROJECT), options.bin_dir is not None)
        return store
    catalog.choose(catalog.load(options.claims_file), options.ids)  # a mistake leaves no folder behind
    directory = options.output or results.default_dir(setup.PROJECT)
    return Store.create(directory, {
        "command": "claims",
        "settings": settings_of(options),
        "open_word": verdict.NOT_MEASURED,
        "own_programs": options.bin_dir is not None,
        "machine": host.facts(setup.PROJECT),
        "warnings": host.warnings(),
        "took_s": 0.0,
        "cpu_ticks": asdict(host.CpuClock(0, 0)),
    }, options.claims_file)


def settings_of(options: Options) -> dict[str, Any]:
    """What a run keeps of them."""
    return {"ids": [each.plain for each in options.ids], "quick": options.quick, "seed": options.seed,
            "steal_limit": options.steal_limit}


def chosen_ids(settings: dict[str, Any]) -> list[ClaimId]:
    """The claims that a run was started for; none: all."""
    return [ClaimId.parse(each) for each in settings["ids"]]


def refuse_other_origin(run: dict[str, Any], now: dict[str, Any], own_programs: bool) -> None:
    """Blocks of two builds or of two machines must not become pairs.

    With --bin, both times, the programs are the user's own affair: the project's commit does not tell what they are.
    """
    keys = ["kernel", "cpu_model"] + ([] if own_programs and run.get("own_programs") else ["git_commit"])
    for key in keys:
        if run["machine"].get(key) != now.get(key):
            raise LabError(f"--resume: this run was measured with {key} {run['machine'].get(key)}, and here it is "
                           f"{now.get(key)}; begin a new run")


def measure(store: Store, plan: Plan, bin_dir: Path) -> None:
    """Everything that the run lacks."""
    settings = store.run["settings"]
    rules = Rules(settings["steal_limit"])
    began_s, clock = time.monotonic(), host.CpuClock.read()
    shown = progress.make(plan.planned_s)
    try:
        with scratch.folder() as folder:
            root = workloads.make_documents(folder / "www")
            _run_others(store, plan, bin_dir, rules, shown)
            bench = Bench(bin_dir, root, folder, 0, 0, 0)
            engine = Engine(store, bench, shown, rules, settings["seed"])
            for each in plan.experiments:
                engine.run(each)
    finally:
        shown.clear()
        add_session(store, time.monotonic() - began_s, host.CpuClock.read().since(clock))


def add_session(store: Store, took_s: float, ticks: host.CpuClock) -> None:
    """What a run took is the sum over its sessions, the stolen time as well."""
    run = store.run
    whole = host.CpuClock(**run.get("cpu_ticks", {"stolen": 0, "total": 0})).plus(ticks)
    store.update_run(took_s=round(run["took_s"] + took_s, 1), cpu_ticks=asdict(whole),
                     steal_share=round(whole.steal_share, 4))


def _run_others(store: Store, plan: Plan, bin_dir: Path, rules: Rules, shown: Progress) -> None:
    for kind, name in plan.others:
        shown.step(f"{kind} {name}")
        sources.run(store, kind, name, bin_dir, plan.quick, rules)
        shown.done(sources.planned_s(kind, plan.quick))


def judge_store(store: Store) -> tuple[list[JudgedClaim], dict[str, evidence.Source]]:
    """The verdicts that follow from what a run has stored, by the claims as they were when it began."""
    run = store.run
    claims = catalog.choose(catalog.load(store.directory / CATALOG), chosen_ids(run["settings"]))
    found = evidence.collect(store.records)
    # Runs of older versions do not say the word: what was open was called unresolved.
    return judge.judge(claims, found, run.get("open_word", verdict.UNRESOLVED)), found


def write_report(store: Store) -> list[JudgedClaim]:
    judged, found = judge_store(store)
    report.write_all(store, judged, found)
    return judged


def print_summary(store: Store, judged: list[JudgedClaim]) -> None:
    for line in report.text_lines(judged):
        print(line)
    print(f"\nThe whole report: {store.directory / report.PAGE}")


def run_report(directory: Path) -> int:
    """`lab report DIR`: judge what is stored again, and write the report anew."""
    setup.install_packages("load")
    store = Store.open(directory)
    if not store.records:
        raise LabError(f"{directory} has no blocks to judge, in {LINES}: its report stays as it is")
    with understood(f"the run in {directory}"):
        judged = write_report(store)
    print_summary(store, judged)
    return 0


def list_claims(claims_file: Path) -> int:
    setup.install_packages("load")
    for claim in catalog.load(claims_file):
        print(f"{claim.id!s:>3}  {claim.section}: {claim.text}{' (not measured)' if claim.still_open else ''}")
    return 0


def default_options(**changes: Any) -> Options:
    values: dict[str, Any] = {"ids": [], "quick": False, "output": None, "resume": None, "bin_dir": None, "seed": 1,
                              "steal_limit": Rules().steal_limit, "claims_file": CLAIMS_FILE}
    if changes.get("resume") and (changes.get("ids") or changes.get("output")):
        raise LabError("--resume goes on with what that run was started with; name no claims and no --output")
    return Options(**(values | changes))
