"""`lab attack`: how an ordinary client fares while the servers are attacked; one table."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from twinlab.base import table
from twinlab.clients import slowhttptest
from twinlab.clients.slowhttptest import Attack
from twinlab.commands import study
from twinlab.commands.session import Circumstances, Session
from twinlab.commands.study import Course
from twinlab.machine import host, scratch
from twinlab.runs import siege
from twinlab.runs.siege import GOOD_BELOW_MS, Siege
from twinlab.runs.windows import Windows
from twinlab.servers import models

DURATION_S = 60
QUICK_DURATION_S = 10
# All connections are to be open soon, and the attacker to leave the machine to the servers.
CONNECTIONS_PER_S = 200
# What a run costs beside the attack: the start and stop of two servers, slowhttptest's end.
RUN_OVERHEAD_S = 2

HEADER = ("", "new p50", "p99", "max", "kept p99", "max", "failed", "twin max", "PSS KiB", "TCP MiB", "CPU s",
          "log info", "above", "open", "closed", "judged", "load", "verdict")
LEGEND = f"""\
new, kept: ms of an ordinary client's requests on new connections and on one kept open, ten a second each, from the
moment when each was due. failed: how many of both were not answered with 200. twin max: slowest answer, in the same
time, of an equal server that was not attacked: what the machine itself took. PSS: highest memory of all processes; TCP:
the most that the kernel booked for the buffers of all sockets; CPU: of all processes. log: lines at level info (the
default level writes them) and above it. open: most connections at a time, by its observer. closed: connections that the
server ended, as slowhttptest saw it; answered ranges are among them. judged: whether slowhttptest's own probe was
always answered. load: the machine's load average. good: no request failed or took {GOOD_BELOW_MS:.0f} ms or more."""


@dataclass(frozen=True, kw_only=True)
class Options(study.Options):
    """What the user asked for."""

    duration_s: int
    connections: int
    models: list[str]
    attacks: list[str]


def run(options: Options) -> int:
    """Prepare, attack, report. 1 when an ordinary request failed or was slow."""
    bin_dir = study.prepare(options, "attack", connections=options.connections, option="--connections")
    session = Session(options.output, "attack.json")
    sieges: list[Siege] = []
    whole = session.conduct(lambda: measure(options, bin_dir, sieges, session.windows),
                            lambda found: as_json(options, sieges, found),
                            lambda found: print_report(options, sieges, found))
    return exit_status(sieges) if whole else 1


def exit_status(sieges: list[Siege]) -> int:
    return 0 if all(found.good for found in sieges) else 1


def chosen_attacks(options: Options) -> list[Attack]:
    return [attack for key in options.attacks for attack in slowhttptest.ALL if attack.key == key]


def measure(options: Options, bin_dir: Path, sieges: list[Siege], windows: Windows) -> None:
    """Every attack on every model."""
    chosen, attacks = models.choose(options.models, host.cpus()), chosen_attacks(options)
    run_s = options.duration_s + RUN_OVERHEAD_S
    with scratch.folder() as folder:
        place = siege.Field(bin_dir, siege.make_documents(folder / "www"), folder, options.connections,
                            CONNECTIONS_PER_S, options.duration_s)
        with Course(windows, run_s * len(chosen) * len(attacks)) as course:
            for attack in attacks:
                for model in chosen:
                    text = f"{model.label}: {attack.label}"
                    course.take(text, run_s, partial(siege.run, place, model, attack, partial(course.say, text)), sieges)


def print_report(options: Options, sieges: list[Siege], found: Circumstances) -> None:
    """The table, its legend, and every row that is not good in plain words."""
    chosen = models.choose(options.models, host.cpus())
    print(f"twinhttpd: {len(chosen)} process models, {found.machine}")
    for model in chosen:
        print(f"  {model.label}: {model.shape}")
    print(f"slowhttptest with {options.connections} connections, {CONNECTIONS_PER_S} new ones a second, for "
          f"{options.duration_s} s on a fresh server with default settings;\n{found.span}\n")
    labels = {model.key: model.label for model in chosen}
    for line in [*table_lines(chosen_attacks(options), sieges, labels), LEGEND, *remarks(sieges, labels),
                 *(f"! {warning}" for warning in found.warnings)]:
        print(line)


def table_lines(attacks: list[Attack], sieges: list[Siege], labels: dict[str, str]) -> list[str]:
    rows: list[list[str] | str] = []
    for attack in attacks:
        rows.append(attack.label)
        rows.extend(row(found, labels[found.model]) for found in sieges if found.attack == attack.key)
    return table.render(HEADER, rows)


def row(found: Siege, label: str) -> list[str]:
    return [f"  {label}", table.number(found.new.p50_ms), table.number(found.new.p99_ms),
            table.number(found.new.max_ms), table.number(found.kept.p99_ms), table.number(found.kept.max_ms),
            table.count(found.failed), table.number(found.twin.max_ms), table.count(found.pss_peak_kib),
            table.count(None if found.tcp_peak_kib is None else found.tcp_peak_kib / 1024), table.number(found.cpu_s),
            table.count(found.log_lines.get("info", 0)), table.count(found.log_lines_above_info),
            table.count(found.connections_open_peak),
            table.count(found.attacker.closed), "YES" if found.attacker.available else "NO",
            table.number(found.load_average), "good" if found.good else "BAD"]


def remarks(sieges: list[Siege], labels: dict[str, str]) -> list[str]:
    """What is wrong with each row that is not good, with what tells the server's fault from the machine's."""
    found = []
    for bad in (each for each in sieges if not each.good):
        reasons = bad.new.failures.keys() | bad.kept.failures.keys()
        found.append(f"! {labels[bad.model]}, {bad.attack}: {bad.failed} of {bad.new.requests + bad.kept.requests} "
                     f"requests failed{' (' + '; '.join(sorted(reasons)) + ')' if reasons else ''}, the slowest took "
                     f"{table.number(bad.slowest_ms)} ms, {table.number(bad.twin.max_ms)} ms on the twin that was not "
                     f"attacked")
    for each in sieges:
        if each.status_totals.get("deaths"):
            found.append(f"! {labels[each.model]}, {each.attack}: {each.status_totals['deaths']} worker deaths")
        if not each.attacker.available:
            found.append(f"! {labels[each.model]}, {each.attack}: slowhttptest judged the service unavailable for "
                         f"{each.attacker.unavailable_s} of {each.attacker.seconds} s")
    return found


def as_json(options: Options, sieges: list[Siege], found: Circumstances) -> dict[str, Any]:
    """Everything that was measured and decided."""
    return found.as_dict("attack") | {
        "settings": {"duration_s": options.duration_s, "connections": options.connections,
                     "connections_per_s": CONNECTIONS_PER_S, "good_below_ms": GOOD_BELOW_MS},
        "models": {model.key: [model.binary, *model.options]
                   for model in models.choose(options.models, host.cpus())},
        "attacks": {attack.key: [*attack.options, attack.path] for attack in chosen_attacks(options)},
        "sieges": [each.as_dict() for each in sieges],
    }
