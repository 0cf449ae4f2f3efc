"""The table of a comparison."""

from twinlab.base import stats, table
from twinlab.commands.summary import Summary, crash_figure, crash_values, median_of_crashes
from twinlab.runs import crash
from twinlab.runs.crash import CrashRound

SPEED_HEADER = ("", "requests/s", "± spread", "p50 ms", "p99 ms", "CPU µs/request", "PSS KiB", "errors")
CRASH_HEADER = ("", "crashes", "lost by each", "stalled by each", "wrk errors", "journal", "mismatch", "stall ms",
                "worst", "calm", "ready ms", "served ms", "silent ms", "worst", "calm")


def speed_lines(summary: Summary) -> list[str]:
    """One section per workload, one line per model."""
    rows: list[list[str] | str] = []
    for workload in summary.workloads:
        rows.append(workload.label)
        rows += [_speed_row(summary, model.key, workload.key) for model in summary.models]
    return table.render(SPEED_HEADER, rows)


def _speed_row(summary: Summary, model: str, workload: str) -> list[str]:
    rates = summary.values(model, workload, "requests_per_s")
    return [
        "  " + summary.label(model),
        table.count(stats.median_or_none(rates)),
        table.percent(stats.spread(rates) / 2 if len(rates) > 1 else None),
        table.ms_from_us(summary.median(model, workload, "p50_us")),
        table.ms_from_us(summary.median(model, workload, "p99_us")),
        table.number(summary.median(model, workload, "cpu_us_per_request")),
        table.count(summary.median(model, workload, "pss_kib")),
        table.count(sum(run.errors for run in summary.runs(model, workload))),
    ]


def crash_lines(summary: Summary) -> list[str]:
    """One section per fault; of each model one line for each way to go on with connections, beside each other."""
    rows: list[list[str] | str] = []
    for fault, description in crash.FAULTS.items():
        rows.append(description)
        rows += [_crash_row(summary, crash_round) for crash_round in summary.crash_rounds(fault)]
    return table.render(CRASH_HEADER, rows)


def _crash_row(summary: Summary, crash_round: CrashRound) -> list[str]:
    balance = crash_round.balance
    stalls = crash_values(crash_round, "stalls_ms")
    silences = crash_figure(crash_round, "silence_ms")
    return [
        f"  {summary.label(crash_round.model)}, {crash_round.on_death}",
        table.count(len(crash_round.crashes)),
        _share(crash_round, "lost"),
        _share(crash_round, "left"),
        table.count(balance.wrk_cut),
        table.count(balance.journal_without_lab),
        f"{balance.mismatch:+d}" if balance.mismatch else "none",
        table.number(stats.median_or_none(stalls)),
        table.number(max(stalls, default=None)),
        table.number(stats.median_or_none(crash_values(crash_round, "calm_waits_ms"))),
        table.number(stats.median_or_none(crash_figure(crash_round, "recovery_ms"))),
        table.number(stats.median_or_none(crash_figure(crash_round, "new_process_answers_ms"))),
        table.number(stats.median_or_none(silences)),
        table.number(max(silences, default=None)),
        table.number(stats.median_or_none(crash_figure(crash_round, "calm_silence_ms"))),
    ]


def _share(crash_round: CrashRound, figure: str) -> str:
    """The median, of the connections that wrk has open."""
    found = median_of_crashes(crash_round, figure)
    return table.MISSING if found is None else f"{found:.0f} of {crash_round.connections}"


SPEED_LEGEND = """\
± spread: half the distance between the best and the worst round. CPU: user and system time of all server processes.
PSS: memory of master and workers under load, shared pages split among all users, other programs too.
requests/s, CPU: of good answers. p50, p99: wrk's own figures, of runs without a refusal. errors: wrk's, of all kinds,
answers of 400 and above too."""

CRASH_LEGEND = """\
cut, adopt: --on-death, what becomes of the connections of a process that dies. lost by each: requests of wrk's that one
crash cost (median). stalled by each: connections of wrk's that were left to a successor (median). wrk errors: its read
and write errors. journal: lost requests by the server's own count, without the lab's. stall: from a death to the first
answer on a connection of the dead process, as seen by a client that always asks on all of its own and counts none that
was cut (median of all, worst; calm: from any moment before to the next answer). A request that crashes is tried once
more with adopt: two deaths. ready: death to successor ready, by the server. served: crash to the first answer by the
successor, silent: longest time without any answer from the crash on, both as seen by a client that asks on a new
connection every 2 ms (medians; worst of all crashes; calm: the same before it)."""
