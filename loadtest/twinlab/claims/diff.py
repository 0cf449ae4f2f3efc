"""Two runs side by side: verdicts that differ, and effects whose intervals do not overlap."""

from typing import Any, Mapping


def lines(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """What differs, in sentences; where the runs come from, first."""
    by_id = {claim["id"]: claim for claim in second["claims"]}
    shared = [(claim, by_id[claim["id"]]) for claim in first["claims"] if claim["id"] in by_id]
    found = [f"first:  {_origin(first)}", f"second: {_origin(second)}", ""]
    verdicts = [f"{one['id']:>3}  {one['verdict']} -> {other['verdict']}: {one['claim']}"
                for one, other in shared if one["verdict"] != other["verdict"]]
    effects = [line for one, other in shared for line in _effects(one, other)]
    found += [f"Verdicts that differ: {len(verdicts)} of {len(shared)}", *verdicts, ""]
    found += [f"Effects whose intervals do not overlap: {len(effects)}", *effects]
    return found


def _origin(run: Mapping[str, Any]) -> str:
    facts = run["machine"]
    return (f"{facts['cpus_allowed']} CPUs ({facts['cpu_model']}), Linux {facts['kernel']}, commit "
            f"{(facts.get('git_commit') or 'unknown')[:12]}, {'quick' if run['settings']['quick'] else 'full'}")


def _effects(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    theirs = {(found["source"], found["role"]): found for found in other["findings"]}
    found = []
    for mine in one["findings"]:
        match = theirs.get((mine["source"], mine["role"]))
        if match and mine["interval"] and match["interval"] and _apart(mine["interval"], match["interval"]):
            found.append(f"{one['id']:>3}  {mine['source']}: {_words(mine)} -> {_words(match)}")
    return found


def _apart(one: list[float], other: list[float]) -> bool:
    return one[0] > other[1] or other[0] > one[1]


def _words(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['effect']:.3g} ({low:.3g}-{high:.3g})"
