"""The files of a run: claims.json, CSV of verdicts, findings and raw values, a Markdown summary, the HTML page."""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any, Iterable, Mapping, Sequence

from twinlab.base import results, table
from twinlab.claims import beside, judge, page
from twinlab.claims.catalog import Claim
from twinlab.claims.evidence import Source
from twinlab.claims.judge import JudgedClaim
from twinlab.claims.store import Store
from twinlab.claims.verdict import Interval, Judged
from twinlab.claims.words import counts_line, effect_words, short, versions_words, void_words

JSON, PAGE, SUMMARY = "claims.json", "report.html", "summary.md"


def write_all(store: Store, judged: Sequence[JudgedClaim], sources: Mapping[str, Source]) -> None:
    """Every file, from what the store has."""
    run, folder = store.run, store.directory
    flags = flags_of(sources)
    results.write(folder, JSON, {
        "command": "claims", "machine": run["machine"], "settings": run["settings"], "took_s": run["took_s"],
        "steal_share": run.get("steal_share"), "warnings": run["warnings"], "flags": flags,
        "claims": [as_dict(each) for each in judged]})
    _write_csv(folder / "claims.csv",
               ("id", "verdict", "role", "outcome", "effect", "low", "high", "n", "expect", "margin", "evidence",
                "says", "claim"),
               (_claim_row(each) for each in judged))
    _write_csv(folder / "findings.csv",
               ("id", "role", "outcome", "effect", "low", "high", "n", "expect", "margin", "source", "says", "reason"),
               (_finding_row(each, found) for each in judged for found in each.findings))
    _write_csv(folder / "values.csv", ("source", "series", "variant", "number", "value", "unit"), _values(sources))
    summary = [*markdown_lines(judged, run, flags), *_beside_lines(sources)]
    results.write_text(folder, SUMMARY, "\n".join(summary) + "\n")
    results.write_text(folder, PAGE, page.render(judged, sources, run, flags))


def flags_of(sources: Mapping[str, Source]) -> list[str]:
    """What a reader has to know before believing anything."""
    flags = [f"{name}: {text}" for name, source in sources.items() for text in (source.problem, *source.flags) if text]
    return flags + [f"{name}: {void_words(source)}, the last: {source.void_blocks[-1]}"
                    for name, source in sources.items() if source.void_blocks]


def as_dict(each: JudgedClaim) -> dict[str, Any]:
    """One claim as it stands in claims.json."""
    leading = each.leading
    interval = leading.interval if leading else None
    return {
        "id": each.claim.id.plain, "section": each.claim.section, "notes": each.claim.notes, "claim": each.claim.text,
        "verdict": each.verdict.word, "reason": each.verdict.reason, **_from_the_notes(each.claim),
        "effect": interval.value if interval else None,
        "interval": [interval.low, interval.high] if interval else None,
        # What the effect stands for: a claim may well be false because a refuting finding came out as expected.
        "role": leading.role if leading else None,
        "says": leading.says if leading else None,
        "expect": leading.expect if leading else None,
        "margin": leading.margin if leading else None,
        "outcome": leading.outcome.word if leading else None,
        "evidence": leading.source if leading else None,
        "findings": [_finding_dict(found) for found in each.findings],
    }


def _from_the_notes(claim: Claim) -> dict[str, Any]:
    quotes = {"quotes": [asdict(quote) for quote in claim.quotes]} if claim.quotes else {}
    return quotes | ({"slip": claim.slip} if claim.slip else {})


def _finding_dict(found: Judged) -> dict[str, Any]:
    interval = found.interval
    return {"role": found.role, "says": found.says, "source": found.source, "expect": found.expect,
            "margin": found.margin, "outcome": found.outcome.word, "reason": found.outcome.reason,
            "skipped": found.skipped,
            "effect": interval.value if interval else None,
            "interval": [interval.low, interval.high] if interval else None, "n": interval.n if interval else 0,
            "detail": found.detail}


def _claim_row(each: JudgedClaim) -> list[Any]:
    found = each.leading
    if not found:
        waits_for = None if each.is_measured else each.verdict.reason
        return [each.claim.id, each.verdict.word, *[None] * 9, waits_for, each.claim.text]
    return [each.claim.id, each.verdict.word, found.role, found.outcome.word, *_interval_cells(found.interval),
            found.expect, found.margin, found.source, found.says, each.claim.text]


def _finding_row(each: JudgedClaim, found: Judged) -> list[Any]:
    return [each.claim.id, found.role, found.outcome.word, *_interval_cells(found.interval), found.expect, found.margin,
            found.source, found.says, found.outcome.reason]


def _interval_cells(interval: Interval | None) -> list[Any]:
    return [interval.value, interval.low, interval.high, interval.n] if interval else [None] * 4


def _values(sources: Mapping[str, Source]) -> Iterable[list[Any]]:
    for name, source in sources.items():
        for key, series in source.series.items():
            for variant, values in series.runs.items():
                for number, value in sorted(values.items()):
                    yield [name, key, variant, number, value, series.unit]


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with results.opened(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def text_lines(judged: Sequence[JudgedClaim]) -> list[str]:
    """For the terminal."""
    measured, waiting = judge.apart(judged)
    rows = [[f"{each.claim.id!s:>3} {short(each.claim.text, 70)}", each.verdict.word, effect_words(each.leading)]
            for each in measured]
    lines = [f"{each.claim.id!s:>3} {short(each.claim.text, 70)} To measure: {each.verdict.reason}" for each in waiting]
    return [*table.render(("claim", "verdict", "effect (95 %)"), rows), "",
            *(["Not measured:", *lines, ""] if lines else []),
            f"{len(measured)} claims: {counts_line(judged)}"]


def markdown_lines(judged: Sequence[JudgedClaim], run: Mapping[str, Any], flags: Sequence[str]) -> list[str]:
    """For a README: the table, and the machine in one line."""
    facts, effort = run["machine"], "quick" if run["settings"]["quick"] else "in full"
    measured, waiting = judge.apart(judged)
    lines = [f"{len(measured)} claims: {counts_line(judged)}. Run {effort} in {run['took_s'] / 60:.0f} minutes on "
             f"{facts['cpus_allowed']} CPUs ({facts['cpu_model']}), Linux {facts['kernel']}; "
             f"{(run.get('steal_share') or 0) * 100:.1f} % of the CPU time stolen.", "",
             "| # | claim | verdict | effect (95 %) |", "|--:|---|---|---|"]
    lines += [f"| {each.claim.id} | {each.claim.text} | {each.verdict.word} | {effect_words(each.leading)} |"
              for each in measured]
    if waiting:
        lines += ["", "Not measured:", "", "| # | claim | what has to be measured |", "|--:|---|---|"]
        lines += [f"| {each.claim.id} | {each.claim.text} | {each.verdict.reason} |" for each in waiting]
    return lines + ([""] + [f"- {flag}" for flag in flags] if flags else [])


def _beside_lines(sources: Mapping[str, Source]) -> list[str]:
    """The field's tools next to our programs, where they were run."""
    rows = list(beside.rows(sources))
    divider = ["---"] * len(beside.HEADER)
    if not rows:
        return []
    return ["", *("| " + " | ".join(row) + " |" for row in (beside.HEADER, divider, *rows)), "",
            versions_words(sources[beside.SOURCE].versions)]
