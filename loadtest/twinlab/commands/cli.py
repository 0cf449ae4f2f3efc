"""The commands of the laboratory and their options. A new command is a new entry in COMMANDS."""

import argparse
import os
import signal
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Callable, NoReturn, Sequence

from twinlab import demos
from twinlab.base import interval
from twinlab.base.errors import Interrupted, LabError
from twinlab.claims import diff
from twinlab.claims import command as claims
from twinlab.claims.claim_id import ClaimId
from twinlab.clients import slowhttptest
from twinlab.commands import attack, compare, demo, live, live_presets, observe, open_doors, peers, peers_contenders, scale
from twinlab.machine import processes
from twinlab.runs import crash, idle, siege
from twinlab.runs.windows import FAILURES, first_line
from twinlab.servers import models, workloads

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RAISE_AGAIN_S = 0.01
READER_GONE = 128 + signal.SIGPIPE  # what a shell says of a program that SIGPIPE has ended
LIMITS_STATUS = (f"Exit status: 1 when a limit is missed or, with {interval.least_launches()} rounds or more, a median "
                 "lies beyond one, when a round failed three times and is left out, or the laboratory failed; 2 for a "
                 "mistake in the arguments; else 0, also when nothing is decided.")


class OneLineParser(argparse.ArgumentParser):
    """An argument error is one line that names the cause and where to look, not a page of usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"lab: {message}; see {self.prog} --help\n")


def seconds(text: str) -> float:
    value = float(text)
    if not 0.2 <= value <= 600:
        raise argparse.ArgumentTypeError("must be from 0.2 to 600 seconds")
    return value


def count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 100_000:
        raise argparse.ArgumentTypeError("must be from 1 to 100000")
    return value


def claim_id(text: str) -> ClaimId:
    try:
        return ClaimId.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def whole_seconds(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 3600:
        raise argparse.ArgumentTypeError("must be from 1 to 3600 whole seconds")
    return value


def list_of(choices: Sequence[str]) -> Callable[[str], list[str]]:
    """A type of option: some of these, separated by commas, in the order given."""

    def parse(text: str) -> list[str]:
        keys = [key.strip() for key in text.split(",") if key.strip()]
        unknown = [key for key in keys if key not in choices]
        if unknown or not keys or len(set(keys)) != len(keys):
            raise argparse.ArgumentTypeError(f"choose each at most once, among {','.join(choices)}")
        return keys

    return parse


def add_models(parser: OneLineParser, keys: Sequence[str]) -> None:
    parser.add_argument("--models", type=list_of(keys), default=list(keys), metavar="LIST",
                        help=f"comma-separated, among {','.join(keys)} (default: all)")


def add_output(parser: OneLineParser, what: str) -> None:
    parser.add_argument("--output", type=Path, metavar="DIR", help=f"{what} (default loadtest/results/<UTC time>)")


def add_bin(parser: OneLineParser) -> None:
    parser.add_argument("--bin", type=Path, metavar="DIR", help="use the servers in DIR instead of building them")


def add_compare(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    parser = commands.add_parser(
        "compare", help="run every model under load and under crashes, and print one table",
        description="Runs prefork, threadpool (connection and request dispatch) and hybrid in turn: five workloads "
                    "with wrk, then rounds in which a worker process dies once a second, its connections cut or "
                    "adopted by its successor. Installs missing packages (apt) and builds first if needed. Traffic stays on 127.0.0.1.",
        epilog="Exit status: 0 when all was measured, 1 when a window failed three times and is left out, or the "
               "laboratory failed, 2 for a mistake in the arguments.")
    parser.add_argument("--quick", action="store_true", help="a first look in under 50 s; more noise")
    parser.add_argument("--duration", type=seconds, metavar="S", help="seconds of each timed run")
    parser.add_argument("--connections", type=count, default=64, metavar="N",
                        help="connections that wrk keeps open (default 64)")
    add_models(parser, models.KEYS)
    add_output(parser, "folder for compare.json")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="chooses which workers are killed (default 1)")
    add_bin(parser)
    parser.set_defaults(run=run_compare)


def run_compare(arguments: argparse.Namespace) -> int:
    effort = compare.QUICK if arguments.quick else compare.DEFAULT
    if arguments.duration:
        effort = replace(effort, duration_s=arguments.duration)
    return compare.run(compare.Options(effort=effort, connections=arguments.connections, models=arguments.models,
                                       seed=arguments.seed, output=arguments.output, bin_dir=arguments.bin))


ATTACKS = (*slowhttptest.KEYS, "sleep")


def add_attack(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    parser = commands.add_parser(
        "attack", help="attack every model with slow clients, and see how an ordinary client fares",
        description="Runs slowhttptest (slow headers, slow bodies, ranges, slow reading) against every model at its "
                    "default settings, each time with a fresh server, while an ordinary client asks ten times a "
                    "second on new connections and on one kept open; then asks for a minute of /sleep where all "
                    "can ask (sleep). Installs missing packages (apt) and builds first "
                    "if needed. Traffic stays on 127.0.0.1.",
        epilog="Exit status: 0 when every ordinary request was answered in less than "
               f"{siege.GOOD_BELOW_MS:.0f} ms, 1 when one was not, a run failed three times and is left out, or the "
               "laboratory failed, 2 for a mistake in the arguments.")
    parser.add_argument("--quick", action="store_true",
                        help=f"{attack.QUICK_DURATION_S} s for each attack: over before most of the servers' timeouts")
    parser.add_argument("--duration", type=whole_seconds, metavar="S",
                        help=f"seconds of each attack (default {attack.DURATION_S})")
    parser.add_argument("--connections", type=count, default=1000, metavar="N",
                        help="connections that the attacker opens (default 1000)")
    add_models(parser, models.KEYS)
    parser.add_argument("--attacks", type=list_of(ATTACKS), default=list(ATTACKS), metavar="LIST",
                        help=f"comma-separated, among {','.join(ATTACKS)} (default: all)")
    add_output(parser, "folder for attack.json")
    add_bin(parser)
    parser.set_defaults(run=run_attack)


def run_attack(arguments: argparse.Namespace) -> int:
    duration_s = arguments.duration or (attack.QUICK_DURATION_S if arguments.quick else attack.DURATION_S)
    attacks = [key for key in arguments.attacks if key in slowhttptest.KEYS]
    options = attack.Options(duration_s=duration_s, connections=arguments.connections, models=arguments.models,
                             attacks=attacks, output=arguments.output, bin_dir=arguments.bin)
    status = attack.run(options) if attacks else 0
    return max(status, open_doors.run(arguments.models, arguments.bin) if "sleep" in arguments.attacks else 0)


def add_peers(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    workload_keys = [workload.key for workload in workloads.PEERS]
    parser = commands.add_parser(
        "peers", help="hold the servers against nginx, lighttpd, h2o, Apache and a floor program",
        description="Loads the project's servers, a floor program that does nothing but a server's system calls, and "
                    "the servers of Debian's packages in turn, then judges the project's targets. Installs missing "
                    "packages (apt; their services are neither started nor enabled) and builds first if needed. "
                    "Takes 40 minutes; --quick, fewer servers or fewer workloads take less. Traffic stays on "
                    "127.0.0.1.",
        epilog="Exit status: 0 when all was measured, 1 when a window failed three times and is left out, or the "
               "laboratory failed, 2 for a mistake in the arguments. Missed targets do not count.")
    parser.add_argument("--quick", action="store_true",
                        help="2 rounds of 1 s instead of 9 of 2 s: a first look, which decides nothing")
    parser.add_argument("--rounds", type=count, metavar="N", help="how often everything is measured")
    parser.add_argument("--duration", type=seconds, metavar="S", help="seconds of each timed run")
    parser.add_argument("--servers", type=list_of(peers_contenders.KEYS), default=list(peers_contenders.KEYS), metavar="LIST",
                        help=f"comma-separated, among {','.join(peers_contenders.KEYS)} (default: all)")
    parser.add_argument("--workloads", type=list_of(workload_keys), default=workload_keys, metavar="LIST",
                        help=f"comma-separated, among {','.join(workload_keys)} (default: all)")
    parser.add_argument("--workers", type=count, default=2, metavar="N",
                        help="worker processes or threads of each server (default 2)")
    parser.add_argument("--pin", action="store_true",
                        help="wrk on one half of the CPUs, the servers on the other: steadier CPU figures, but "
                             "requests/s of half a machine")
    add_output(parser, "folder for peers.json and peers.svg")
    parser.add_argument("--bin", type=Path, metavar="DIR", help="use the programs in DIR instead of building them")
    parser.set_defaults(run=run_peers)


def run_peers(arguments: argparse.Namespace) -> int:
    effort = peers.QUICK if arguments.quick else peers.DEFAULT
    effort = replace(effort, rounds=arguments.rounds or effort.rounds,
                     duration_s=arguments.duration or effort.duration_s)
    return peers.run(peers.Options(effort=effort, workers=arguments.workers, servers=arguments.servers,
                                   workloads=arguments.workloads, output=arguments.output, bin_dir=arguments.bin,
                                   pin=arguments.pin))


def add_scale(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    parser = commands.add_parser(
        "scale", help="what idle connections cost, and how evenly new ones are shared",
        description="Holds idle connections to one worker while wrk keeps others busy, and measures what the idle ones "
                    "cost in throughput, CPU and memory; then how fast connections are accepted and how evenly, with "
                    "one listening socket and with one for each event loop. Installs missing packages (apt) and builds "
                    "first if needed. Traffic stays on 127.0.0.1.",
        epilog=f"The targets: idle connections cost less than {(1 - idle.RATE_LIMIT) * 100:.0f} % of the throughput "
               f"and less than {idle.MEMORY_LIMIT_BYTES} bytes each. {LIMITS_STATUS}")
    parser.add_argument("--quick", action="store_true",
                        help="2 rounds of 0.5 s instead of 9 of 1 s: a first look, which decides nothing")
    parser.add_argument("--rounds", type=count, metavar="N", help="how often everything is measured")
    parser.add_argument("--duration", type=seconds, metavar="S", help="seconds of each timed window")
    parser.add_argument("--connections", type=count, default=scale.CONNECTIONS, metavar="N",
                        help=f"idle connections (default {scale.CONNECTIONS})")
    add_models(parser, scale.KEYS)
    add_output(parser, "folder for scale.json")
    add_bin(parser)
    parser.set_defaults(run=run_scale)


def run_scale(arguments: argparse.Namespace) -> int:
    effort = scale.QUICK if arguments.quick else scale.DEFAULT
    effort = replace(effort, rounds=arguments.rounds or effort.rounds,
                     duration_s=arguments.duration or effort.duration_s)
    return scale.run(scale.Options(effort=effort, connections=arguments.connections, models=arguments.models,
                                   output=arguments.output, bin_dir=arguments.bin))


def add_observe(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    parser = commands.add_parser(
        "observe", help="what an observer costs, and whether it tells the truth when things go badly",
        description="Runs both servers with an observer: asks it while every worker is stopped or deadlocked, measures "
                    "what it needs by itself, with a viewer and with a hundred, what it costs the workers, and whether "
                    "its counters agree with wrk's over a thousand kills. Installs missing packages (apt) and builds "
                    "first if needed. Traffic stays on 127.0.0.1.",
        epilog=LIMITS_STATUS)
    parser.add_argument("--quick", action="store_true",
                        help="a first look: 2 rounds, which decide only what is counted, and 30 kills")
    parser.add_argument("--rounds", type=count, metavar="N", help="servers that are started for each figure")
    parser.add_argument("--duration", type=seconds, metavar="S", help="seconds of each timed window")
    parser.add_argument("--page", action="store_true", help="also how the page fares in Chromium, which is installed for it")
    parser.add_argument("--kills", type=count, metavar="N", help="how many processes are killed")
    add_models(parser, observe.KEYS)
    add_output(parser, "folder for observe.json")
    add_bin(parser)
    parser.set_defaults(run=run_observe)


def run_observe(arguments: argparse.Namespace) -> int:
    scale = observe.QUICK if arguments.quick else observe.DEFAULT
    effort = replace(scale.effort, rounds=arguments.rounds or scale.effort.rounds,
                     duration_s=arguments.duration or scale.effort.duration_s)
    scale = replace(scale, effort=effort, kills=arguments.kills or scale.kills)
    return observe.run(observe.Options(scale=scale, models=arguments.models, page=arguments.page, output=arguments.output,
                                       bin_dir=arguments.bin))


def add_demo(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    parser = commands.add_parser(
        "demo", help="show on the running servers what processes and threads share, own and survive",
        description="Runs one demonstration with servers of its own: says what it does, shows what the kernel and the "
                    "servers say about it, and counts what was observed. Without a name: the list. Installs missing "
                    "packages (apt) and builds first if needed. Traffic stays on 127.0.0.1.",
        epilog="Exit status: 0 whatever was observed, 1 when the demonstration could not be run, 2 for a mistake in "
               "the arguments.")
    parser.add_argument("name", nargs="?", choices=tuple(demos.DEMOS), metavar="NAME", help="which one")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: a few seconds")
    parser.add_argument("--bin", type=Path, metavar="DIR", help="use the programs in DIR instead of building them")
    parser.set_defaults(run=run_demo)


def run_demo(arguments: argparse.Namespace) -> int:
    return demo.run(demo.Options(arguments.name, arguments.quick, arguments.bin))


def port_number(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError("must be from 0 to 65535")
    return value


def add_live(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    parser = commands.add_parser(
        "live", help="the servers side by side under load, on one page that shows them and breaks them",
        description="Starts prefork, thread pool and hybrid with the same number of threads, an observer and faults "
                    "on, puts wrk on each, and serves one page for a browser on this machine: it shows all of them at "
                    "ten times a second, and has buttons that kill, crash and hang. Goes on until Ctrl-C, then prints "
                    "a table. A SIGUSR1 writes the recording at once. Installs missing packages (apt) and builds first "
                    "if needed. Traffic stays on 127.0.0.1.",
        epilog="Exit status: 0 when it was ended by Ctrl-C, SIGTERM or --seconds, 1 when the laboratory failed, 2 for "
               "a mistake in the arguments.")
    parser.add_argument("--port", type=port_number, default=live.PORT, metavar="N",
                        help=f"of the page; 0: any (default {live.PORT})")
    parser.add_argument("--seconds", type=whole_seconds, metavar="N", help="end after so long (default: go on)")
    parser.add_argument("--connections", type=count, default=64, metavar="N",
                        help=f"connections that each wrk keeps open (default 64); a button makes it "
                             f"{live_presets.CROWD:,}")
    parser.add_argument("--models", type=list_of(models.KEYS), default=list(live.KEYS), metavar="LIST",
                        help=f"comma-separated, among {','.join(models.KEYS)} (default {','.join(live.KEYS)})")
    parser.add_argument("--on-death", choices=crash.ON_DEATH, default=crash.CUT,
                        help="what becomes of the connections of a process that dies (default cut)")
    parser.add_argument("--record", type=Path, metavar="FILE",
                        help="write the last ten minutes as a page that plays them again")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="chooses which workers are killed (default 1)")
    add_bin(parser)
    parser.set_defaults(run=run_live)


def run_live(arguments: argparse.Namespace) -> int:
    return live.run(live.Options(port=arguments.port, seconds=arguments.seconds, connections=arguments.connections,
                                 models=arguments.models, on_death=arguments.on_death, record=arguments.record,
                                 seed=arguments.seed, bin_dir=arguments.bin))


def share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError("must be from 0 (not included) to 100 per cent")
    return value / 100


def add_claims(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    parser = commands.add_parser(
        "claims", help="judge each statement about processes and threads, and write a report",
        description="Runs experiments on the servers, micro programs and demonstrations for the statements of "
                    "loadtest/claims.yaml, judges each, and writes claims.json, CSV, summary.md and report.html. "
                    "Installs missing packages (apt) and builds first if needed. Traffic stays on 127.0.0.1.",
        epilog="Exit status: 0 when everything was judged, whatever the verdicts; 1 when the laboratory failed, 2 for "
               "a mistake in the arguments. An interrupted run goes on with --resume.")
    parser.add_argument("ids", nargs="*", type=claim_id, metavar="ID",
                        help="claims: 12a, or 12 for all its letters (default: all claims)")
    parser.add_argument("--quick", action="store_true",
                        help="fewer and shorter rounds, in under 10 minutes: more of the verdicts stay unresolved")
    parser.add_argument("--list", action="store_true", help="print the claims, and stop")
    parser.add_argument("--file", type=Path, default=claims.CLAIMS_FILE, metavar="FILE",
                        help="another list of claims; the experiments that it names lie in `experiments` beside it")
    parser.add_argument("--output", type=Path, metavar="DIR",
                        help="folder of the run (default loadtest/results/<UTC time>)")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run in this folder")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="chooses which workers are killed (default 1)")
    parser.add_argument("--steal-limit", type=share, default=0.05, metavar="PERCENT",
                        help="void a block of which more CPU time was stolen by other guests (default 5)")
    parser.add_argument("--bin", type=Path, metavar="DIR", help="use the programs in DIR instead of building them")
    parser.set_defaults(run=run_claims)


def run_claims(arguments: argparse.Namespace) -> int:
    if arguments.list:
        return claims.list_claims(arguments.file)
    return claims.run(claims.default_options(ids=arguments.ids, quick=arguments.quick, output=arguments.output,
                                             resume=arguments.resume, bin_dir=arguments.bin, seed=arguments.seed,
                                             steal_limit=arguments.steal_limit, claims_file=arguments.file))


def add_report(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    parser = commands.add_parser("report", help="judge a run of lab claims again, and write its report anew")
    parser.add_argument("directory", type=Path, metavar="DIR", help="folder of the run")
    parser.set_defaults(run=lambda arguments: claims.run_report(arguments.directory))


def add_diff(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    parser = commands.add_parser(
        "diff", help="what differs between two runs of lab claims",
        description="Two machines or two commits: decided verdicts that disagree, those unresolved in one run, claims "
                    "and margins that the runs do not share, and effects whose intervals do not overlap.",
        epilog="Exit status: 0 when no decided verdicts disagree, 1 when some do or the laboratory failed, 2 for a "
               "mistake in the arguments.")
    parser.add_argument("first", type=Path, metavar="DIR")
    parser.add_argument("second", type=Path, metavar="DIR")
    parser.set_defaults(run=lambda arguments: diff.run(arguments.first, arguments.second))


COMMANDS: tuple[Callable[..., None], ...] = (add_compare, add_attack, add_peers, add_scale, add_observe, add_demo,
                                             add_live, add_claims, add_report, add_diff)


def make_parser() -> OneLineParser:
    parser = OneLineParser(prog="lab", description="The laboratory of twinhttpd: compares process models honestly.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=OneLineParser)
    for add in COMMANDS:
        add(commands)
    return parser


def on_signal(signum: int, _frame: FrameType | None) -> None:
    """The first signal ends the work in order; later ones must not disturb the cleaning up."""
    for each in ENDING_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    processes.interrupt(signum)


def raise_later(dropped: "sys.UnraisableHookArgs") -> None:
    """Python drops an exception that is raised where none can be, as in what runs at a fork, and prints it."""
    interrupt = dropped.exc_value
    if not isinstance(interrupt, Interrupted):
        sys.__unraisablehook__(dropped)
        return
    processes.note_interrupt(interrupt.signum)

    def again(_signum: int, _frame: FrameType | None) -> None:
        processes.raise_if_interrupted()
    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, RAISE_AGAIN_S)


def ignore_signals() -> None:
    for signum in (*ENDING_SIGNALS, signal.SIGALRM):
        signal.signal(signum, signal.SIG_IGN)


def catch_signals() -> None:
    """But for the hang-up that nohup has made harmless."""
    sys.unraisablehook = raise_later
    for signum in ENDING_SIGNALS:
        if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, on_signal)


def main(argv: Sequence[str]) -> int:
    """Run a command. Whatever way it ends, nothing that it started stays behind, and what went wrong is told in words.
    """
    try:
        return _run(argv)
    except BrokenPipeError:
        return READER_GONE
    except Interrupted as interrupt:
        ignore_signals()
        processes.stop_all()
        print(f"\nlab: stopped by {signal.Signals(interrupt.signum).name}; nothing is left running", file=sys.stderr)
        return 128 + interrupt.signum
    except FAILURES as error:
        print(f"lab: {error}", file=sys.stderr)
    except Exception as error:  # a mistake of the laboratory's own
        if os.environ.get("TWINLAB_TRACEBACK"):
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        print(f"lab: a fault of the laboratory's own: {type(error).__name__}: {first_line(error)} ({place.name}, "
              f"{Path(place.filename).name}:{place.lineno}); TWINLAB_TRACEBACK=1 shows more", file=sys.stderr)
    finally:
        ignore_signals()
        processes.stop_all()
    return 1


def _run(argv: Sequence[str]) -> int:
    """The command itself, with all that it has printed sent off: whether anybody reads it shows only then."""
    arguments = make_parser().parse_args(argv)
    catch_signals()
    status = arguments.run(arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LabError(f"cannot write the output: {error.strerror}; free some room, or print it elsewhere") from error
    return status
