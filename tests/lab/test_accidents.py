"""What happens to the laboratory itself: a late or lying wrk, a full disk, a reader that leaves, a Ctrl-C."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_server import ANSWER, FakeServer, answer, hang
from patience import DEADLINE_S
from real_server import BIN_DIR, wait_for
from twinlab.base import results
from twinlab.base.errors import Accident, Interrupted, LabError, Unstartable
from twinlab.clients import wrk
from twinlab.commands import session
from twinlab.commands.session import Session
from twinlab.machine import setup
from twinlab.runs import speed
from twinlab.runs.speed import Bench
from twinlab.runs.windows import ATTEMPTS, REPEATS_IN_ALL, Windows
from twinlab.servers import workloads
from twinlab.servers.models import Model
from twinlab.servers.workloads import Workload

LAB = Path(__file__).resolve().parents[2] / "loadtest" / "lab"
REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
PREFORK = Model("prefork", "prefork", "prefork-server", ("--workers", "2"), "2 workers")
# gettimeofday() is what wrk takes its times from. $WHEN_MS after the first look, it is set by $BY_MS.
SET_CLOCK = """
#include <stdlib.h>
#include <time.h>
#include <sys/time.h>
static long long ms(int clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    static long long first;
    (void)zone;
    if (first == 0) first = ms(CLOCK_MONOTONIC);
    long long by = ms(CLOCK_MONOTONIC) - first < atoll(getenv("WHEN_MS")) ? 0 : atoll(getenv("BY_MS"));
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    long long us = t.tv_sec * 1000000LL + t.tv_nsec / 1000 + by * 1000;
    now->tv_sec = us / 1000000;
    now->tv_usec = us % 1000000;
    return 0;
}
"""


def run_lab(*arguments, **options):
    return subprocess.run([str(LAB), *arguments], capture_output=True, text=True, timeout=DEADLINE_S, check=False,
                          **options)


# wrk


@pytest.fixture
def wrk_in_the_way(tmp_path, monkeypatch):
    """Puts a program of this text before wrk on PATH."""
    folder = tmp_path / "path"
    folder.mkdir()
    real = next(Path(folder, "wrk") for folder in os.environ["PATH"].split(":") if Path(folder, "wrk").exists())
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(text):
        (folder / "wrk").write_text(text.replace("WRK", str(real)))
        (folder / "wrk").chmod(0o755)
    return put


@pytest.fixture
def server():
    with FakeServer(answer) as running:
        yield running


@pytest.mark.parametrize("late", [
    "#!/bin/sh\nsleep 0.7\nexec WRK \"$@\"\n",
    "#!/bin/bash\ntrap : INT\nsleep 0.7\nexec WRK \"$@\"\n",  # it has a handler: no sign of wrk's
    f"#!{sys.executable}\nimport os, sys, time\ntime.sleep(0.7)\nos.execv('WRK', sys.argv)\n"],
    ids=["sh", "bash-with-a-handler", "python"])
def test_a_wrk_that_is_late_is_waited_for(wrk_in_the_way, server, late):
    def once():
        answered = server.behaved[False]
        with wrk.Wrk(server.port, "/", 2, 1) as load:
            time.sleep(0.3)
            wait_for(lambda: server.behaved[False] > answered + 10, "wrk has read an answer and asked again")
            return load.finish()
    wrk_in_the_way(late)
    # A wrk that was stopped just before it took the time is measured again, as in a run of the laboratory.
    result = Windows(lambda line: None).measure("a", once)
    assert result.requests > 0 and result.duration_s >= 0.25


@pytest.mark.parametrize("program, said", [
    ("#!/bin/sh\necho broken; exit 3\n", "ended with exit status 3 before it had begun; it said: broken"),
    ("#!/bin/sh\nkill -KILL $$\n", "was killed by SIGKILL before it had begun; it said: nothing"),
    ("#!/bin/sh\nsleep 60 &\nexit 1\n", "ended with exit status 1"),  # somebody keeps its output open
])
def test_a_wrk_that_never_begins_says_why(wrk_in_the_way, server, program, said):
    wrk_in_the_way(program)
    with pytest.raises(Accident, match=said):
        wrk.Wrk(server.port, "/", 2, 1).__enter__()


def test_a_wrk_that_dies_says_how(server):
    with wrk.Wrk(server.port, "/", 2, 1) as load:
        os.kill(load._child.pid, signal.SIGKILL)
        load._child.wait()
        with pytest.raises(Accident, match="no result and was killed by SIGKILL; it said: nothing"):
            load.finish()


def test_a_wrk_that_ends_by_itself_has_measured_something_else(monkeypatch):
    monkeypatch.setattr(wrk, "SAFETY_S", 0)
    # Long enough to be seen at work, and nobody is kept busy meanwhile.
    with FakeServer(hang) as server, wrk.Wrk(server.port, "/", 2, 10) as load:
        wait_for(lambda: not load.is_running(), "wrk has ended")
        with pytest.raises(Accident, match="before it was told to"):
            load.finish()


def test_no_server_is_said_so():
    with socket.socket() as nobody:  # its port is nobody else's
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(Accident, match="unable to connect"):
            wrk.Wrk(nobody.getsockname()[1], "/", 2, 1).__enter__()


@pytest.mark.parametrize("by_ms", [-1000, -200, -30, 30, 200, 3_600_000])
def test_a_clock_that_is_set_makes_no_rate(tmp_path, wrk_in_the_way, server, monkeypatch, by_ms):
    source, library = tmp_path / "set_clock.c", tmp_path / "set_clock.so"
    source.write_text(SET_CLOCK)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    wrk_in_the_way(f"#!/bin/sh\nLD_PRELOAD={library} exec WRK \"$@\"\n")
    monkeypatch.setenv("BY_MS", str(by_ms))
    monkeypatch.setenv("WHEN_MS", "1500")  # wrk has looked at it by then, and goes on
    with wrk.Wrk(server.port, "/", 2, 1) as load:
        time.sleep(1.6)
        with pytest.raises(Accident, match="the clock was set by|wrk says that it took"):
            load.finish()


def result_of(duration_s, set_us=0, requests=100, status=0):
    errors = {"connect": 0, "read": 0, "write": 0, "timeout": 0, "status": status}
    return wrk.Result(requests, duration_s, 1.0, 2.0, errors, {"clock_set_us": set_us, "errors": errors})


@pytest.mark.parametrize("duration_s", [0.3, 0.97, 1.15, -0.6, 3601.0])
def test_a_duration_is_held_against_the_laboratorys_own_clock(duration_s):
    with pytest.raises(Accident, match="by the monotonic clock it was 1.000 to 1.100 s"):
        wrk.hold_against_clock(result_of(duration_s), wrk.Span(1.0, 1.1))


def test_a_duration_that_fits():
    for duration_s in (0.99, 1.0, 1.05, 1.11):
        wrk.hold_against_clock(result_of(duration_s, set_us=-900), wrk.Span(1.0, 1.1))


# Answers that refuse


@pytest.mark.serial
def test_refusals_are_no_speed():
    with FakeServer(lambda connection, number: connection.sendall(REFUSAL if number % 2 else ANSWER)) as refusing:
        with wrk.Wrk(refusing.port, "/", 2, 1) as load:
            time.sleep(0.3)
            result = load.finish()
    assert result.errors["status"] > 0 and result.answered == result.requests - result.errors["status"]
    assert result.requests_per_s == pytest.approx(result.requests / 2 / result.duration_s, rel=0.2)


def test_a_server_that_only_refuses_has_no_speed():
    found = speed.make_run(1, "prefork", Workload("a", "a", "/"), speed.Timed(result_of(1.0, 0, 500, 500), 10.0, [1]),
                           None, 0, 0)
    assert found.requests_per_s == 0 and found.errors == 500
    assert found.p50_us is found.p99_us is found.cpu_us_per_request is None


def test_percentiles_among_refusals_are_left_out():
    found = speed.make_run(1, "prefork", Workload("a", "a", "/"), speed.Timed(result_of(1.0, 0, 500, 100), 800.0, [1]),
                           None, 0, 0)
    assert (found.requests_per_s, found.cpu_us_per_request, found.p50_us, found.p99_us) == (400, 2, None, None)


# The server's own books


def books(finished, deaths=0):
    return {"totals": {"requests_started": 0, "requests_finished": finished, "requests_aborted": 0, "deaths": deaths},
            "deaths": []}


@pytest.mark.parametrize("counted, finished", [(100, 100), (100, 102), (100, 104)])
def test_wrk_and_the_server_agree(counted, finished):
    speed.hold_against_books(result_of(1.0, requests=counted), books(50), books(50 + finished), at_once=4)


@pytest.mark.parametrize("counted, finished", [(100, 99), (500, 100), (100, 105), (0, 100)])
def test_wrk_and_the_server_do_not_agree(counted, finished):
    with pytest.raises(Accident, match=f"wrk counted {counted} answers, the server {finished}"):
        speed.hold_against_books(result_of(1.0, requests=counted), books(50), books(50 + finished), at_once=4)


def test_the_books_of_a_process_that_died_say_nothing():
    speed.hold_against_books(result_of(1.0), books(50), books(51, deaths=1), at_once=4)


@pytest.mark.parametrize("workload", workloads.ALL, ids=lambda workload: workload.key)
def test_the_books_agree_in_a_real_window(tmp_path, workload):
    bench = Bench(BIN_DIR, workloads.make_documents(tmp_path / "www"), tmp_path, 200, 0.3, 0.1)

    def once():
        found = speed.run(bench, PREFORK, workload, 1)
        if found.requests_per_s == 0:
            raise Accident("nobody had a CPU within the window")
        return found
    # As in a run of the laboratory: on a busy machine a window may come to nothing, and is measured again.
    found = Windows(lambda line: None).measure("a", once)
    assert found.requests_per_s > 0 and found.errors == 0


# Windows


def failing(times, error=LabError("why\nand more")):
    """Fails so often, then finds something."""
    left = [times]

    def once():
        if left[0]:
            left[0] -= 1
            raise error
        return "found"
    return once


def test_a_window_that_failed_is_measured_again_and_told():
    told = []
    windows = Windows(told.append)
    assert windows.measure("a", failing(ATTEMPTS - 1)) == "found"
    assert told == windows.repeated == [f"a: why; measured again ({number} of {ATTEMPTS})" for number in (2, 3)]
    assert windows.missing == [] and windows.measured == 1


@pytest.mark.parametrize("error", [LabError("why"), OSError(28, "why"), Accident("why")])
def test_a_window_that_always_fails_is_marked_and_the_others_stay(error):
    windows = Windows(lambda line: None)
    windows.measure("a", failing(0))
    assert windows.measure("b", failing(ATTEMPTS, error)) is None
    assert len(windows.missing) == 1 and "why; left out" in windows.missing[0]
    assert windows.measure("c", failing(0)) == "found"


def test_nothing_to_lose_means_no_reason_to_go_on():
    with pytest.raises(LabError, match="why"):
        Windows(lambda line: None).measure("a", failing(ATTEMPTS))


def test_a_program_that_is_not_there_is_not_tried_again():
    windows = Windows(lambda line: None)
    windows.measure("a", failing(0))
    with pytest.raises(Unstartable):
        windows.measure("b", failing(1, Unstartable("gone")))


def test_a_run_that_fails_all_the_time_ends():
    windows = Windows(lambda line: None)
    windows.measure("a", failing(0))
    for _ in range(20):
        assert windows.measure("b", failing(ATTEMPTS)) is None
    assert len(windows.repeated) == REPEATS_IN_ALL and len(windows.missing) == 20


# What was measured


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(session.host, "warnings", list)
    return Session(tmp_path / "out", "x.json")


def conducted(run, measure):
    shown = []
    whole = run.conduct(measure, lambda found: {"warnings": found.warnings}, lambda found: shown.append(found))
    return whole, shown


def test_a_whole_run(run, capsys):
    assert conducted(run, lambda: run.windows.measure("a", failing(1)))[0] is True
    assert len(json.loads((run.output / "x.json").read_text())["warnings"]) == 1
    assert str(run.output / "x.json") in capsys.readouterr().out


def test_a_run_with_a_hole_is_not_whole(run):
    def measure():
        run.windows.measure("a", failing(0))
        run.windows.measure("b", failing(ATTEMPTS))
    assert conducted(run, measure)[0] is False
    assert "b: why; left out" in json.loads((run.output / "x.json").read_text())["warnings"]


@pytest.mark.parametrize("error", [Unstartable("gone"), Interrupted(2)])
def test_what_was_measured_outlives_the_end_of_the_run(run, error):
    def measure():
        run.windows.measure("a", failing(0))
        raise error
    with pytest.raises(type(error)):
        conducted(run, measure)
    assert json.loads((run.output / "x.json").read_text())["ended_early"] in ("gone", "interrupted")


def test_nothing_measured_leaves_no_file(run):
    with pytest.raises(Unstartable):
        conducted(run, lambda: run.windows.measure("a", failing(1, Unstartable("gone"))))
    assert list(run.output.iterdir()) == []


def test_a_report_that_cannot_be_written_is_shown(run, monkeypatch):
    def full(*_):
        raise LabError("no space left")
    monkeypatch.setattr(results, "write", full)
    shown = []
    with pytest.raises(LabError, match="no space left"):
        run.conduct(lambda: run.windows.measure("a", failing(0)), lambda found: {}, shown.append)
    assert len(shown) == 1


def test_a_file_that_does_not_fit_leaves_the_earlier_one(tmp_path):
    results.write_text(tmp_path, "x", "earlier")
    program = ("import resource, sys; from pathlib import Path; from twinlab.base import results\n"
               "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
               f"results.write_text(Path({str(tmp_path)!r}), 'x', 'y' * 100_000)\n")
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(LAB.parent)},
                          capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode != 0 and "LabError: cannot write" in done.stderr
    assert (tmp_path / "x").read_text() == "earlier" and list(tmp_path.iterdir()) == [tmp_path / "x"]


# The command


@pytest.mark.parametrize("arguments", [["--help"], ["claims", "--list"], ["demo"], ["demo", "nonsense"],
                                       ["demo", "tls", "--quick", "--bin", str(BIN_DIR)]])
def test_a_reader_that_leaves_gets_no_traceback(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([str(LAB), *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=DEADLINE_S,
                          check=False)
    os.close(writing)
    assert done.returncode in (2, 128 + signal.SIGPIPE)
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr and "Exception" not in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_no_matter(closed):
    done = subprocess.run(["sh", "-c", f"{LAB} demo tls --quick --bin {BIN_DIR} {closed}"], timeout=DEADLINE_S,
                          check=False, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["demo"], ["--help"]])
def test_a_full_disk_behind_the_output_is_one_line(arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run([str(LAB), *arguments], stdout=full, stderr=subprocess.PIPE, text=True,
                              timeout=DEADLINE_S, check=False)
    assert done.returncode == 1 and "No space left" in done.stderr
    assert done.stderr.startswith("lab: ") and done.stderr.count("\n") == 1


def test_no_room_for_temporary_files_is_one_line():
    done = run_lab("demo", "tls", "--bin", str(BIN_DIR),
                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)))
    assert done.returncode == 1 and "lab: cannot write temporary files to" in done.stderr
    assert "choose another folder with TMPDIR" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("arguments, sign", [
    (["compare", "--quick"], "round 1"), (["scale", "--quick", "--connections", "100"], "round 1"),
    (["demo", "layout"], "asking every worker")])
def test_an_interrupt_ends_all_and_is_one_line(tmp_path, arguments, sign, signum):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    output = ["--output", str(tmp_path / "out")] if arguments[0] != "demo" else []
    with (tmp_path / "said").open("w") as said:
        lab = subprocess.Popen([str(LAB), *arguments, *output, "--bin", str(BIN_DIR)], stdout=said, stderr=said,
                               env=os.environ | {"TMPDIR": str(scratch)}, start_new_session=True)
    wait_for(lambda: sign in (tmp_path / "said").read_text(), "the laboratory is at work")
    lab.send_signal(signum)
    status, text = lab.wait(DEADLINE_S), (tmp_path / "said").read_text()
    assert status == 128 + signum, text
    assert f"lab: stopped by {signum.name}; nothing is left running" in text and "Traceback" not in text
    assert list(scratch.iterdir()) == [] and not using(scratch)


def using(folder):
    """The processes that have this folder on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            pass  # it has just ended
    return found


def test_a_hang_up_that_was_ignored_stays_ignored(tmp_path):
    """As under nohup."""
    with (tmp_path / "said").open("w") as said:
        lab = subprocess.Popen([str(LAB), "demo", "tls", "--quick", "--bin", str(BIN_DIR)], stdout=said, stderr=said,
                               preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    wait_for(lambda: "tls:" in (tmp_path / "said").read_text(), "the laboratory is at work")
    lab.send_signal(signal.SIGHUP)
    assert lab.wait(DEADLINE_S) == 0, (tmp_path / "said").read_text()


@pytest.mark.parametrize("hard, connections, beside, advice", [
    (100, 64, 0, "64 connections need 164 file descriptors, and the hard limit is 100: raise it .as root: ulimit -n "
                 "164.$"),
    (164, 65, 0, "or use --connections 64 or fewer$"), (200, 15_000, 64, "or use --connections 36 or fewer$"),
    (164, 15_000, 64, "ulimit -n 15164.$")])
def test_advice_on_descriptors_can_be_followed(monkeypatch, hard, connections, beside, advice):
    monkeypatch.setattr(setup.resource, "getrlimit", lambda _: (hard, hard))
    monkeypatch.setattr(setup.resource, "setrlimit", lambda *_: None)
    with pytest.raises(LabError, match=advice):
        setup.raise_descriptor_limit(connections, beside, option="--connections")


@pytest.mark.parametrize("text", ["[]", "claims: 5", "claims: [5]", "claims: [{id: x}]", "{", "\xff",
                                  "claims: [{id: 1, section: a, notes: 5, claim: b, open: c}]"])
def test_a_list_of_claims_that_is_none_is_one_line(tmp_path, text):
    (tmp_path / "c.yaml").write_bytes(text.encode("latin-1"))
    done = run_lab("claims", "--list", "--file", str(tmp_path / "c.yaml"))
    assert done.returncode == 1 and done.stderr.startswith("lab: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["report", "diff"])
@pytest.mark.parametrize("text", ["{}", "[]", "{", ""])
def test_a_run_that_is_none_is_one_line(tmp_path, command, text):
    for name in ("run.json", "claims.json", "claims.yaml"):
        (tmp_path / name).write_text(text)
    done = run_lab(command, *[str(tmp_path)] * (2 if command == "diff" else 1))
    assert done.returncode == 1 and done.stderr.startswith("lab: ") and done.stderr.count("\n") == 1


# Whole runs

CRASH_ROUNDS = 4  # of a model: two causes, with on_death cut and adopt


@pytest.mark.serial
@pytest.mark.parametrize("nth", [4, 23])  # a window of the speed, and a crash round
def test_a_wrk_that_fails_once_costs_nothing(tmp_path, wrk_in_the_way, nth):
    count = tmp_path / "count"
    count.write_text("")
    wrk_in_the_way(f"#!/bin/sh\necho >>{count}\n[ $(wc -l <{count}) -ne {nth} ] || exit 7\nexec WRK \"$@\"\n")
    done = run_lab("compare", "--quick", "--models", "prefork", "--duration", "0.2", "--bin", str(BIN_DIR), "--output",
                   str(tmp_path / "out"))
    content = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert done.returncode == 0, done.stderr
    assert len(content["speed"]) == 2 * len(workloads.ALL) and len(content["crashes"]) == CRASH_ROUNDS
    assert sum("exit status 7" in warning and "measured again (2 of 3)" in warning
               for warning in content["warnings"]) == 1
    assert "exit status 7" in done.stderr and "exit status 7" in done.stdout


@pytest.mark.serial
def test_a_wrk_that_fails_from_then_on_leaves_what_was_measured(tmp_path, wrk_in_the_way):
    count = tmp_path / "count"
    count.write_text("")
    wrk_in_the_way(f"#!/bin/sh\necho >>{count}\n[ $(wc -l <{count}) -le 9 ] || exit 7\nexec WRK \"$@\"\n")
    done = run_lab("compare", "--quick", "--models", "prefork", "--duration", "0.2", "--bin", str(BIN_DIR), "--output",
                   str(tmp_path / "out"))
    content = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert len(content["speed"]) == 4 and content["crashes"] == []
    assert sum(warning.endswith("left out") for warning in content["warnings"]) == 2 * len(workloads.ALL) - 4 + CRASH_ROUNDS
    assert "left out" in done.stdout and "/plaintext" in done.stdout


@pytest.mark.serial
def test_thousands_of_connections_leave_a_queue_that_is_waited_for(tmp_path):
    done = run_lab("compare", "--quick", "--models", "prefork", "--connections", "2000", "--duration", "0.2", "--bin",
                   str(BIN_DIR), "--output", str(tmp_path))
    content = json.loads((tmp_path / "compare.json").read_text())
    assert "Traceback" not in done.stderr
    assert len(content["speed"]) == 2 * len(workloads.ALL), done.stderr
