"""The HTML page of a run: one file that needs no other. The verdicts first, then each claim, the data, the method."""

import json
from html import escape
from typing import Any, Mapping, Sequence

from twinlab.base import stats, table
from twinlab.claims import beside, charts, judge
from twinlab.claims.catalog import Claim
from twinlab.claims.catalog import sources as sources_of
from twinlab.claims.evidence import Series, Source
from twinlab.claims.judge import JudgedClaim
from twinlab.claims.verdict import LIMITS, SUPPORTS, Judged
from twinlab.claims.words import counts_line, effect_words, number, versions_words, void_words

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .5rem; border-bottom: 1px solid var(--line); }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.verdict { display: inline-block; padding: 0 .5rem; border-radius: .6rem; color: #fff; white-space: nowrap; }
.holds { background: #2a7f4f } .holds-with-limits { background: #6b7f2a } .equivalent { background: #2f6690 }
.false { background: #b3362b } .unresolved { background: #777 }
th.number { text-align: right; } td.name { white-space: nowrap; }
svg { max-width: 100%; height: auto; background: #fff; border-radius: .3rem; }
section { margin-top: 2.2rem; } .charts svg { width: 24rem; }
pre { background: var(--soft); padding: .6rem; overflow-x: auto; font-size: 12px; }
.flag { border-left: 4px solid #b3362b; padding-left: .6rem; } summary { cursor: pointer; }
"""

WORDS, NUMBER = ' class="name"', ' class="number"'
BESIDE_CELLS = (WORDS, "", NUMBER, NUMBER, NUMBER, NUMBER, "")

METHOD = """
<p>Each <em>experiment</em> starts the servers with the sides that it compares. A <em>block</em> is one side on a fresh
server; a <em>round</em> is one block of each side, and every second round runs backwards (ABBA), so that a slow drift
cancels. The k-th values of two sides are a pair; if one of any pair is zero, there is no ratio. Of the share of
connections that a crash loses none is a result: half a request is added to each such value. An effect is the median
of the ratios of all pairs, which single blocks that something slowed down do not move; its interval is a 95 % bootstrap
(10,000 resamples, percentiles) of the median logarithm of the ratios. A fact is observed so many times out of so many; its interval is Wilson's.</p>
<p>The <em>margin</em> of a finding is the smallest effect that means anything, stated in claims.yaml before the run. A
ratio is decided only if its whole interval lies on one side of the margin, and equivalent only if it lies within. The
<em>control</em> measures one side twice under two names: if the control is not within the margin, the noise is larger
than the effect that is looked for, and the finding stays undecided. Of several controls a finding is held against that
of a side that it compares, else against the one named most like. Fewer than 3 pairs decide nothing, 8 in full, of the
control as well.</p>
<p>A block is void, and repeated twice at most, if other guests of the machine took more than the stated share of its
CPU time, or if the requests that the server's journal counts as lost are not those that the clients saw fail. If they
differ twice in an experiment, or requests of a block fail in each attempt, nothing of it is decided. A server that does
not say of itself what its side claims ends its experiment.</p>
<p>A fact is true if it was observed each time and false if never; a limit, whose point is that it exists, is also true
if it was seen more often than not with 95 % confidence. A claim <em>holds</em> if every supporting finding came out
true and no limit did; it holds <em>with limits</em> if one did, or if some of its supports are within the margin. It is
<em>equivalent</em> if all of them are, <em>false</em> if a support came out to the contrary or a refuting finding true,
and <em>unresolved</em> in all other cases, for the reason given. Ratios belong to this machine; times more so.</p>
"""


def render(judged: Sequence[JudgedClaim], sources: Mapping[str, Source], run: Mapping[str, Any],
           flags: Sequence[str]) -> str:
    """The whole page."""
    measured, waiting = judge.apart(judged)
    parts = [
        "<!doctype html>", '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">', "<title>twinhttpd: processes and threads</title>",
        f"<style>{STYLE}</style></head><body>", "<h1>Processes and threads, statement by statement</h1>",
        f"<p>{escape(counts_line(judged))}. {escape(_origin(run))}</p>",
        *(f'<p class="flag">{escape(text)}</p>' for text in (*run["warnings"], *flags)),
        _verdict_table(measured) + _waiting_table(waiting), *(_claim_section(each) for each in measured),
        "<h2>Data</h2>", *(source_section(name, source) for name, source in sources.items()),
        f'<h2 id="method">Method</h2>{METHOD}', "<h2>Machine</h2>", _machine(run), "</body></html>"]
    return "\n".join(parts) + "\n"


def _origin(run: Mapping[str, Any]) -> str:
    facts = run["machine"]
    effort = "Quick: few and short rounds." if run["settings"]["quick"] else "In full."
    return (f"{effort} {facts['cpus_allowed']} CPUs ({facts['cpu_model']}), Linux {facts['kernel']}, commit "
            f"{facts.get('git_commit') or 'unknown'}; {run['took_s'] / 60:.0f} minutes, "
            f"{(run.get('steal_share') or 0) * 100:.1f} % of the CPU time stolen.")


def _verdict_table(judged: Sequence[JudgedClaim]) -> str:
    rows = []
    for each in judged:
        number_of = each.claim.id
        says = f"<br><small>{_leading_words(each.leading)}</small>" if each.leading else ""
        data = " ".join(f'<a href="#{_anchor(f"{kind}:{name}")}">{escape(name)}</a>'
                        for kind, name in sources_of([each.claim]))
        rows.append(f'<tr><td class="number">{number_of}</td><td><a href="#claim-{number_of}">'
                    f"{escape(each.claim.text)}</a></td><td>{_badge(each.verdict.word)}</td>"
                    f'<td>{escape(effect_words(each.leading))}{says}</td>'
                    f'<td><a href="#chart-{number_of}">chart</a></td><td>{data}</td></tr>')
    return ("<table><thead><tr><th>#</th><th>claim</th><th>verdict</th><th>effect (95 %)</th><th>chart</th>"
            f"<th>data</th></tr></thead><tbody>{''.join(rows)}</tbody></table>")


def _waiting_table(waiting: Sequence[JudgedClaim]) -> str:
    """What has no verdict, and what has to be measured for one."""
    if not waiting:
        return ""
    rows = "".join(f'<tr id="claim-{each.claim.id}"><td class="number">{each.claim.id}</td>'
                   f"<td>{escape(each.claim.text)}{_from_the_notes(each.claim)}</td>"
                   f"<td>{escape(each.verdict.reason)}</td></tr>" for each in waiting)
    return ("<h2>Not measured</h2><table><thead><tr><th>#</th><th>claim</th><th>what has to be measured</th></tr>"
            f"</thead><tbody>{rows}</tbody></table>")


def _from_the_notes(claim: Claim) -> str:
    """Where the notes say it, and what they mean where they are misprinted."""
    said = [f"{quote.place} “{quote.phrase}”" for quote in claim.quotes]
    said += [f"A slip: {claim.slip}"] if claim.slip else []
    return f"<br><small>{'; '.join(map(escape, said))}</small>" if said else ""


def _leading_words(found: Judged) -> str:
    """A finding that does not support the claim says so: what is expected of it is bad for the claim."""
    return escape(found.says if found.role == SUPPORTS else f"{found.role}: {found.says}")


def _badge(word: str) -> str:
    return f'<span class="verdict {word.replace(" ", "-")}">{escape(word)}</span>'


def _anchor(source: str) -> str:
    return "data-" + source.replace(":", "-")


def _claim_section(each: JudgedClaim) -> str:
    claim = each.claim
    chart = charts.intervals(each.findings, f"claim{claim.id}") or "<p>No chart: nothing was measured.</p>"
    reason = f"<p>{escape(each.verdict.reason)}</p>" if each.verdict.reason else ""
    return (f'<section id="claim-{claim.id}"><h3>{claim.id}. {escape(claim.text)}</h3>'
            f"<p>{_badge(each.verdict.word)} {escape(claim.section)}; notes {', '.join(map(escape, claim.notes))}"
            f"{_from_the_notes(claim)}</p>"
            f'{reason}<div id="chart-{claim.id}">{chart}</div>{_finding_table(each.findings)}</section>')


def _finding_table(findings: Sequence[Judged]) -> str:
    if not findings:
        return ""
    rows = "".join(
        f"<tr><td>{found.role}</td><td>{escape(found.says)}<br><small>{_link(found.source)}"
        f"{': ' + escape(found.detail) if found.detail else ''}</small></td>"
        f'<td class="number">{_expectation(found)}</td><td class="number">{escape(effect_words(found))}</td>'
        f'<td class="number">{found.interval.n if found.interval else 0}</td>'
        f"<td>{'judged without it' if found.skipped else found.outcome.word}"
        f"{': ' + escape(found.outcome.reason) if found.outcome.reason else ''}</td></tr>"
        for found in findings)
    return ("<table><thead><tr><th>role</th><th>finding</th><th>expected</th><th>effect (95 %)</th><th>n</th>"
            f"<th>outcome</th></tr></thead><tbody>{rows}</tbody></table>")


def _expectation(found: Judged) -> str:
    if found.is_fact:
        return "mostly" if found.role == LIMITS else "always"
    return f"{found.expect} {found.margin:g}×"


def _link(where: str) -> str:
    source, _, rest = where.partition(" ")
    return f'<a href="#{_anchor(source)}">{escape(source)}</a> {escape(rest)}'


def source_section(name: str, source: Source) -> str:
    """All that a source gave, and how it went."""
    problem = "".join(f'<p class="flag">{escape(text)}</p>' for text in (source.problem, *source.flags) if text)
    void = "".join(f"<li>{escape(text)}</li>" for text in source.void_blocks)
    shown = f"<details><summary>what it showed</summary><pre>{escape(chr(10).join(source.shown))}</pre></details>"
    return (f'<section id="{_anchor(name)}"><h3>{escape(name)}</h3><p>{escape(source.title)}</p>{_went(source)}'
            f"{problem}{_curves(name, source)}{_beside(name, source)}{_fact_table(source)}"
            f"{_series_tables(source)}"
            f"{'<details><summary>void blocks</summary><ul>' + void + '</ul></details>' if void else ''}"
            f"{shown if source.shown else ''}"
            f"{_sides(source)}</section>")


def _went(source: Source) -> str:
    """What disturbed it, and with what versions it was measured."""
    said = [f"Highest steal share of what counts: {source.highest_steal_share * 100:.1f} %."
            if source.highest_steal_share is not None else "",
            f"{void_words(source)}." if source.void_blocks else "",
            f"{versions_words(source.versions)}." if source.versions else ""]
    text = " ".join(filter(None, said))
    return f"<p><small>{escape(text)}</small></p>" if text else ""


def _curves(name: str, source: Source) -> str:
    drawn = [charts.sweep(metric, source.series[metric], _anchor(name) + metric.replace("_", ""))
             for metric in source.plan.get("chart", ()) if metric in source.series]
    return f'<div class="charts">{"".join(drawn)}</div>' if any(drawn) else ""


def _beside(name: str, source: Source) -> str:
    """The field's tools next to our programs; nothing for any other source."""
    rows = "".join(
        "<tr>" + "".join(f"<td{attribute}>{escape(cell)}</td>" for attribute, cell in zip(BESIDE_CELLS, row)) + "</tr>"
        for row in beside.rows({name: source}))
    heads = "".join(f"<th{attribute}>{escape(head)}</th>" for attribute, head in zip(BESIDE_CELLS, beside.HEADER))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>" if rows else ""


def _fact_table(source: Source) -> str:
    if not source.facts:
        return ""
    rows = "".join(f"<tr><td>{escape(key)}</td><td>{escape(fact.statement)}</td>"
                   f'<td class="number">{fact.observed} of {fact.of}</td>'
                   f"<td>{escape(fact.unavailable or fact.detail)}</td></tr>"
                   for key, fact in source.facts.items())
    return ("<table><thead><tr><th>fact</th><th>statement</th><th>observed</th><th>detail</th></tr></thead>"
            f"<tbody>{rows}</tbody></table>")


def _series_tables(source: Source) -> str:
    if not source.series:
        return ""
    tables = "".join(f"<h4>{escape(key)} {escape(series.unit)}</h4>{_controls(series)}{_parameters(series)}"
                     f"{_values_table(series)}" for key, series in source.series.items())
    return f"<details><summary>values of every pair</summary><p><small>values.csv has them, too</small></p>{tables}</details>"


def _values_table(series: Series) -> str:
    """A column for each round, so that what stands above each other is a pair; a dash where nothing was counted."""
    if not series.runs:
        return f"<p>{escape(series.unavailable or 'Nothing was measured.')}</p>"
    rounds = sorted({place for values in series.runs.values() for place in values})
    rows = [[variant, *map(_value, [stats.median_or_none(list(values.values())), *map(values.get, rounds)])]
            for variant, values in series.runs.items()]
    lines = table.render(["", "median", *map(str, rounds)], rows)
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def _value(value: float | None) -> str:
    return table.MISSING if value is None else number(value)


def _controls(series: Series) -> str:
    found = [(side, judge.ratio_of(series, name, side)) for name, side in series.controls.items()]
    said = [f"{side} {ratio.value:.3f} ({ratio.low:.3f}-{ratio.high:.3f})" for side, ratio in found if ratio]
    return f"<p>A/A control, the same twice: {escape(', '.join(said))}</p>" if said else ""


def _parameters(series: Series) -> str:
    return f"<p><small>{escape(_plain(series.parameters))}</small></p>" if series.parameters else ""


def _sides(source: Source) -> str:
    sides = source.plan.get("sides")
    if not sides:
        return ""
    text = "\n".join(json.dumps(side) for side in sides.values())
    return f"<details><summary>what was started and done</summary><pre>{escape(text)}</pre></details>"


def _machine(run: Mapping[str, Any]) -> str:
    rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(_plain(value))}</td></tr>"
                   for key, value in (*run["machine"].items(), *run["settings"].items()))
    return f"<table><tbody>{rows}</tbody></table>"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_plain(item)}" for key, item in value.items())
    return str(value)
