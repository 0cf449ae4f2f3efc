"""The chart of `lab peers`: CPU time per request, a panel for each workload."""

from pathlib import Path

from twinlab.base.errors import LabError
from twinlab.commands import peers_contenders
from twinlab.commands.peers_targets import CPU, PeersSummary
from twinlab.servers.workloads import Workload

COLUMNS = 3
PANEL_INCHES = (4.2, 2.8)
COLOURS = {"own": "#1f6f8b", "peer": "#b9b9b9", "floor": "#e0a030"}


def draw(summary: PeersSummary, path: Path) -> str:
    """Write the chart, and say where it is; or why there is none."""
    try:
        from matplotlib.backends.backend_svg import FigureCanvasSVG  # only here: the rest of the laboratory needs none
        from matplotlib.figure import Figure
    except ImportError:
        return "No chart: it needs the package python3-matplotlib."
    shown = [workload for workload in summary.workloads if _bars(summary, workload)]
    if not shown:
        return "No chart: nothing was answered."
    lines = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(PANEL_INCHES[0] * min(COLUMNS, len(shown)), PANEL_INCHES[1] * lines),
                    layout="constrained")
    FigureCanvasSVG(figure)
    for number, workload in enumerate(shown, start=1):
        axes = figure.add_subplot(lines, min(COLUMNS, len(shown)), number)
        bars = _bars(summary, workload)
        drawn = axes.barh([label for label, _, _ in bars], [seconds for _, seconds, _ in bars],
                          color=[COLOURS[kind] for _, _, kind in bars])
        axes.bar_label(drawn, fmt="%.2f", padding=2, fontsize=7)
        axes.margins(x=0.15)
        axes.invert_yaxis()
        axes.tick_params(labelsize=7)
        axes.set_title(workload.label, fontsize=8)
        axes.set_xlabel("CPU seconds per 100,000 requests", fontsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    try:
        figure.savefig(path, format="svg")
    except OSError as error:
        raise LabError(f"cannot write {path}: {error.strerror}") from error
    return f"Chart: {path}"


def _bars(summary: PeersSummary, workload: Workload) -> list[tuple[str, float, str]]:
    """Label, CPU seconds per 100,000 requests, and kind of every server that was measured; the control is left out."""
    found = []
    for contender in summary.models:
        cpu_us = summary.median(contender.key, workload.key, CPU)
        if cpu_us is not None and contender.key != peers_contenders.AGAIN:
            kind = "floor" if contender.key == peers_contenders.FLOOR else "peer" if contender.is_peer else "own"
            found.append((contender.label, cpu_us / 10, kind))
    return found
