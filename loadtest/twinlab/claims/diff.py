"""Two runs side by side: verdicts that disagree, effects whose intervals do not overlap, and what is not shared."""

from pathlib import Path
from typing import Any, Iterator, Mapping

from twinlab.base import results
from twinlab.base.errors import understood
from twinlab.claims import report
from twinlab.claims.claim_id import ClaimId
from twinlab.claims.verdict import NOT_MEASURED, UNRESOLVED

Content = Mapping[str, Any]  # of a claims.json, or a claim or finding of it


def run(first: Path, second: Path) -> int:
    """`lab diff DIR DIR`: between two machines, or two commits. 1 when decided verdicts disagree."""
    one, other = (results.read(folder, report.JSON) for folder in (first, second))
    with understood(f"{report.JSON} of {first} or of {second}"):
        found, differ = lines(one, other), disagreements(one, other)
    for line in found:
        print(line)
    return 1 if differ else 0


def lines(first: Content, second: Content) -> list[str]:
    """What differs, in sentences; where the runs come from, first."""
    shared = _shared(first, second)
    decided = disagreements(first, second)
    unresolved, waiting = _changes(first, second, UNRESOLVED), _changes(first, second, NOT_MEASURED)
    margins = [line for one, other in shared for line in _margins(one, other)]
    effects = [line for one, other in shared for line in _effects(one, other)]
    return [f"first:  {_origin(first)}", f"second: {_origin(second)}", *_only_in(first, second), "",
            f"Decided verdicts that disagree: {len(decided)} of {len(shared)}", *decided, "",
            f"Unresolved in one of the runs: {len(unresolved)} of {len(shared)}", *unresolved, "",
            *([f"Not measured in one of the runs: {len(waiting)} of {len(shared)}", *waiting, ""] if waiting else []),
            f"Margins or expectations that differ: {len(margins)}", *margins, "",
            f"Effects whose intervals do not overlap: {len(effects)}", *effects]


def disagreements(first: Content, second: Content) -> list[str]:
    """Claims that both runs decide, and not alike."""
    return _changes(first, second, "")


def _changes(first: Content, second: Content, kind: str) -> list[str]:
    """Claims of which the runs have two verdicts: one is NOT_MEASURED, or else UNRESOLVED, or else both are decided."""
    return [f"{one['id']:>3}  {one['verdict']} -> {other['verdict']}: {one['claim']}"
            for one, other in _shared(first, second)
            if one["verdict"] != other["verdict"] and _kind({one["verdict"], other["verdict"]}) == kind]


def _kind(verdicts: set[str]) -> str:
    return next((word for word in (NOT_MEASURED, UNRESOLVED) if word in verdicts), "")


def _by_id(run: Content) -> dict[ClaimId, Content]:
    return {ClaimId.parse(claim["id"]): claim for claim in run["claims"]}


def _shared(first: Content, second: Content) -> list[tuple[Content, Content]]:
    theirs = _by_id(second)
    return [(claim, theirs[each]) for each, claim in _by_id(first).items() if each in theirs]


def _only_in(first: Content, second: Content) -> list[str]:
    """Claims that have no partner, and those whose partner says something else."""
    ids = [set(_by_id(run)) for run in (first, second)]
    reworded = [one["id"] for one, other in _shared(first, second) if one["claim"] != other["claim"]]
    listed = (("Only in the first", sorted(ids[0] - ids[1])), ("Only in the second", sorted(ids[1] - ids[0])),
              ("In other words in the second", reworded))
    return [f"{which}: {', '.join(map(str, alone))}" for which, alone in listed if alone]


def _origin(run: Content) -> str:
    facts = run["machine"]
    return (f"{facts['cpus_allowed']} CPUs ({facts['cpu_model']}), Linux {facts['kernel']}, commit "
            f"{(facts.get('git_commit') or 'unknown')[:12]}, {'quick' if run['settings']['quick'] else 'full'}")


def _same_findings(one: Content, other: Content) -> Iterator[tuple[Content, Content]]:
    theirs = {(found["source"], found["role"]): found for found in other["findings"]}
    for mine in one["findings"]:
        match = theirs.get((mine["source"], mine["role"]))
        if match:
            yield mine, match


def _margins(one: Content, other: Content) -> list[str]:
    """Where the two runs did not ask the same."""
    asked = [(mine["source"], *(f"{found['expect']} {found['margin']:g}" if found["expect"] else "always"
                                for found in (mine, match))) for mine, match in _same_findings(one, other)]
    return [f"{one['id']:>3}  {source}: {mine} -> {theirs}" for source, mine, theirs in asked if mine != theirs]


def _effects(one: Content, other: Content) -> list[str]:
    return [f"{one['id']:>3}  {mine['source']}: {_words(mine)} -> {_words(match)}"
            for mine, match in _same_findings(one, other)
            if mine["interval"] and match["interval"] and _apart(mine["interval"], match["interval"])]


def _apart(one: list[float], other: list[float]) -> bool:
    return one[0] > other[1] or other[0] > one[1]


def _words(found: Content) -> str:
    low, high = found["interval"]
    return f"{found['effect']:.3g} ({low:.3g}-{high:.3g})"
