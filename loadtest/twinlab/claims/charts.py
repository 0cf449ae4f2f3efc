"""Charts as SVG text for the page: intervals of a claim's findings, and the curves of a sweep."""

import hashlib
import io
import re
from statistics import median
from typing import Any, Sequence

from twinlab.claims import verdict
from twinlab.claims.evidence import Series
from twinlab.claims.verdict import Judged

WIDTH_INCHES = 8.0
COLOURS = {verdict.TRUE: "#2a7f4f", verdict.FALSE: "#b3362b", verdict.EQUIVALENT: "#2f6690",
           verdict.UNDECIDED: "#8a8a8a"}
MARGIN_COLOUR = "#d9c27a"
MIN_SWEEP = 3  # fewer points are no curve
STEP = re.compile(r"^(?P<group>.+)-(?P<step>\d+)$")


def intervals(findings: Sequence[Judged], salt: str) -> str:
    """One line for each finding with an interval; ratios on a logarithmic axis with their margins, facts as shares."""
    figures = [found for found in findings if found.interval and not found.is_fact]
    facts = [found for found in findings if found.interval and found.is_fact]
    panels = [(kind, rows) for kind, rows in (("ratio", figures), ("fact", facts)) if rows]
    if not panels:
        return ""
    figure, axes = _panels([len(rows) for _, rows in panels])
    for (kind, rows), axis in zip(panels, axes):
        _draw_intervals(axis, rows)
        if kind == "ratio":
            _ratio_axis(axis, rows)
        else:
            axis.set_xlim(-0.03, 1.03)
            axis.set_xlabel("share of the trials in which it was observed, with 95 % interval", fontsize=8)
    return _svg(figure, salt)


def _panels(rows: list[int]) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # only here: whoever wants no charts needs no matplotlib

    heights = [0.7 + 0.32 * count for count in rows]
    figure = Figure(figsize=(WIDTH_INCHES, sum(heights)), layout="constrained")
    axes = figure.subplots(len(rows), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    return figure, axes


def _draw_intervals(axis: Any, rows: Sequence[Judged]) -> None:
    for place, found in enumerate(rows):
        interval = found.interval
        assert interval
        colour = COLOURS[found.outcome.word]
        if found.margin:
            axis.barh(place, found.margin - 1 / found.margin, left=1 / found.margin, height=0.8, color=MARGIN_COLOUR,
                      alpha=0.45)
        axis.plot([interval.low, interval.high], [place, place], color=colour, linewidth=3, solid_capstyle="butt")
        axis.plot([interval.value], [place], "o", color=colour, markersize=6)
    axis.set_yticks(range(len(rows)), [_wrapped(found.says) for found in rows], fontsize=7)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.tick_params(axis="x", labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def _ratio_axis(axis: Any, rows: Sequence[Judged]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_xscale("log")
    axis.axvline(1, color="#444444", linewidth=0.8)
    ends = [end for found in rows if found.interval for end in (found.interval.low, found.interval.high)]
    margins = [found.margin for found in rows if found.margin]
    low, high = min([*ends, 1 / min(margins)]) / 1.1, max([*ends, min(margins)]) * 1.1
    axis.set_xlim(low, high)
    axis.set_xticks(_round_ratios(low, high))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("ratio with 95 % interval; the band is the margin around 1", fontsize=8)


def _round_ratios(low: float, high: float) -> list[float]:
    """A few ticks that people read easily."""
    steps = (1, 2, 5) if high / low < 200 else (1,)
    decades = [step * 10.0 ** power for power in range(-4, 7) for step in steps]
    fine = [0.8, 0.9, 1.0, 1.1, 1.2, 1.5] if high / low < 4 else []
    return sorted({value for value in (*decades, *fine) if low <= value <= high})


def _wrapped(text: str, width: int = 48) -> str:
    """Broken into lines at spaces."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def sweep_groups(series: Series) -> dict[str, dict[int, list[float]]]:
    """Sides named `cpu-1`, `cpu-2`, ... are points of one curve `cpu`; a curve has at least three points."""
    groups: dict[str, dict[int, list[float]]] = {}
    for name, values in series.runs.items():
        match = STEP.match(name)
        if match and name not in series.controls:
            groups.setdefault(match["group"], {})[int(match["step"])] = list(values.values())
    return {name: dict(sorted(points.items())) for name, points in groups.items() if len(points) >= MIN_SWEEP}


def sweep(metric: str, series: Series, salt: str) -> str:
    """Medians over the sweep, with bars from the least to the greatest round."""
    groups = sweep_groups(series)
    if not groups:
        return ""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, ScalarFormatter, StrMethodFormatter

    figure = Figure(figsize=(WIDTH_INCHES / 2, 2.8), layout="constrained")
    axis = figure.subplots()
    for name, points in groups.items():
        middles = [median(values) for values in points.values()]
        below = [middle - min(values) for middle, values in zip(middles, points.values())]
        above = [max(values) - middle for middle, values in zip(middles, points.values())]
        axis.errorbar(list(points), middles, yerr=[below, above], marker="o", markersize=4, capsize=2, label=name)
    axis.set_xscale("log")
    axis.set_xticks(sorted({step for points in groups.values() for step in points}))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:,.7g}"))  # not 1e6 in a corner
    axis.set_title(f"{metric} {f'[{series.unit}]' if series.unit else ''}".strip(), fontsize=9)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=7)
    axis.spines[["top", "right"]].set_visible(False)
    return _svg(figure, salt)


def _svg(figure: Any, salt: str) -> str:
    """Only the svg element. The salt keeps the ids of different charts on one page apart."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None})
    return _shorter(_with_own_ids(text.getvalue(), salt))


def _shorter(svg: str) -> str:
    """A third of its size: a hundredth of a point is enough, one name of a font, no ids but those in use, no groups that
    group nothing."""
    svg = re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), svg)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "sans-serif", svg)
    used = set(re.findall(r"#([\w.-]+)", svg))
    svg = re.sub(r' id="([\w.-]+)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", svg)
    svg = re.sub(r'(<use [^>]*) style="stroke: #000000; stroke-width: 0\.[68]"', r"\1", svg)  # as the mark that it uses
    lines, kept = [], []  # for each group that is open: whether it says anything
    for line in re.sub(r"\s*\n\s*", "\n", svg).split("\n"):
        if line.startswith("<g"):
            kept.append(line != "<g>")
        if (line != "</g>" or kept.pop()) and line != "<g>":
            lines.append(line)
    return "\n".join(lines)


def _with_own_ids(svg: str, salt: str) -> str:
    """Without heading and metadata, and with short ids that no other chart of the page has."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg"):], flags=re.DOTALL)
    own = hashlib.sha256(salt.encode()).hexdigest()[:8]
    numbers: dict[str, int] = {}
    return re.sub(r'( id="|href="#|url\(#)([\w.]+)',
                  lambda found: f"{found[1]}c{own}-{numbers.setdefault(found[2], len(numbers))}", svg)
