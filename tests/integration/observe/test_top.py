"""twinctl top: the grid in a terminal and as plain text, of an observer that does well, badly, or is not there."""

import json
import signal
import subprocess
import time

import pytest

from support import control as controls, fake_observer, models
from support.control import OK, twinctl, UNREACHABLE, USAGE
from support.fake_observer import a_death, a_process, a_slot, a_state, FakeObserver
from support.server import BIN_DIR, quiet_port
from support.terminal import BACKSPACE, DOWN, ENTER, ESCAPE, needs_picture
from support.waiting import DEADLINE_S, wait_until

TITLES = "PROC SLOT     PID STATE      BEAT  REQ/S   P50   P99   MEM  CPU WAIT REQUEST"
WIDE_TITLES = "PROC SLOT     PID STATE     STUCK      BEAT  REQ/S   P50   P99   MEM  CPU WAIT REQUEST"


def two_processes():
    return [a_process(0, 5000, [a_slot(0, 5000)]),
            a_process(1, 5001, [a_slot(1, 5001, per_second=3.0, stuck="blocked", heartbeat_age_ms=1500,
                                       current={"line": "GET /sleep HTTP/1.1", "client": "127.0.0.1:1"})])]


@pytest.fixture
def observer():
    with FakeObserver(a_state(two_processes())) as fake:
        yield fake


# ---- the grid ----

@needs_picture
def test_the_grid_fits_a_terminal_of_80_by_24(observer, open_top):
    terminal = open_top(observer.address)
    lines = terminal.wait_until(lambda text: TITLES in text and "? help" in text and "not reached" not in text,
                                "all of it").split("\n")
    assert lines[0] == "prefork-server 0.1.0, prefork, 127.0.0.1:8080, on_death cut, up 123m"
    assert lines[1] == "master 10 running, heard 3.0ms ago; 2 of 2 processes ready; 0 deaths, 0 stuck"
    assert lines[2] == "requests 28540/s: 1,234,567 finished, 4 aborted, 29 lost; connections 64, 2 idle"
    assert lines[3].split() == ["latency", "req/s", "mean", "p50", "p90", "p99", "p99.9", "max"]
    assert lines[4].split() == ["1s", "28540", "2.1ms", "2.0ms", "3.0ms", "4.5ms", "8.9ms", "12ms"]
    assert lines[7] == "no process has died"
    assert lines[9:12] == [
        TITLES,
        "   0    0    5000 ready      12ms    100  87us 2.1ms  5.0M  25% 1.0% -",
        "   1    1    5001 !blocked   1.5s    3.0  87us 2.1ms  5.0M  25% 1.0% GET /sleep"]
    assert lines[23] == "q quit  s sort  d deaths  k signal  space pause  ? help"
    assert {host for _, host in observer.requests} == {observer.address}


@needs_picture
def test_it_goes_with_the_size_of_the_terminal(observer, open_top):
    terminal = open_top(observer.address)
    terminal.wait_for(TITLES)
    terminal.resize(50, 132)
    terminal.wait_until(lambda text: WIDE_TITLES in text and text.split("\n")[49].startswith("q quit"), "the large one")
    terminal.resize(12, 60)
    terminal.wait_until(lambda text: "q quit" in text.split("\n")[11] and TITLES[:60].strip() in text and
                        "latency" not in text and "   0    0    5000 ready" in text, "the small one")
    for lines, columns in ((1, 1), (2, 200), (24, 3), (200, 300)):
        terminal.resize(lines, columns)
        before = len(observer.requests)
        wait_until(lambda: len(observer.requests) > before + 2, "it goes on")
    assert WIDE_TITLES in terminal.wait_for("? help")
    terminal.press(b"q")
    assert terminal.wait_for_exit() == OK


@needs_picture
def test_what_does_not_fit_is_reached_by_the_mark(observer, open_top):
    observer.state = a_state([a_process(0, 70, [a_slot(number, 70) for number in range(100)])])
    terminal = open_top(observer.address)
    assert "   99 " not in terminal.wait_for("   0    0      70 ready")
    terminal.press(b"\x1b[F")  # End
    terminal.wait_until(lambda text: text.split("\n")[22].startswith("       99 "), "the last slot on the last line")


@needs_picture
def test_it_is_sorted_by_column(observer, open_top):
    terminal = open_top(observer.address)
    terminal.wait_for(TITLES)
    order = {"   0    0": 10, "   1    1": 11}

    def is_reversed(text):
        return [text.split("\n")[line][:9] for line in (10, 11)] == sorted(order, reverse=True)
    terminal.press(b"s")  # who is stuck
    terminal.wait_until(is_reversed, "the stuck one first")
    terminal.press(b"ss")  # heartbeat, requests a second
    terminal.wait_until(lambda text: not is_reversed(text), "the busiest one first")


@needs_picture
def test_the_deaths_have_their_stories(observer, open_top):
    observer.state = a_state(two_processes(), [a_death(1, 4001), a_death(2, 4002, signal="SIGKILL", crash=None,
                                                                         requests=[])])
    terminal = open_top(observer.address)
    text = terminal.wait_for("last death 23:42:43 process 1, SIGKILL: 29 requests lost, replaced after 892us")
    assert "2 deaths" in text
    terminal.press(b"d")
    lines = terminal.wait_for("no crash story").split("\n")
    assert lines[1].split() == ["23:42:43", "1", "4002", "SIGKILL", "2.2s", "29", "0", "892us", "-"]
    assert lines[2].split()[2:4] == ["4001", "SIGSEGV"]
    terminal.press(DOWN)
    terminal.wait_until(lambda text: "#1 fault_segv at common/handlers/lab/fault.c:61" in text and
                        'in progress in slot 1: "GET /fault/segv HTTP/1.1" of 127.0.0.1:4242' in text, "its story")
    terminal.press(b"d")
    terminal.wait_for(TITLES)


@needs_picture
def test_help_and_pause(observer, open_top):
    terminal = open_top(observer.address)
    terminal.wait_for(TITLES)
    terminal.press(b"?")
    terminal.wait_for("share of the time for which the process waits for a CPU")
    terminal.press(ESCAPE)
    terminal.wait_for(TITLES)
    terminal.press(b" ")
    terminal.wait_for("go on (paused)")

    def is_quiet():  # what was asked before may only now be noted
        before = len(observer.requests)
        time.sleep(1)
        return len(observer.requests) == before
    wait_until(is_quiet, "nothing is asked for")
    before = len(observer.requests)
    terminal.press(b" ")
    wait_until(lambda: len(observer.requests) > before + 2, "it goes on")


@needs_picture
def test_clients_cannot_drive_the_terminal(observer, open_top):
    line = "GET /\x1b[2J\x07\x9b?1049l\u202e HTTP/1.1"
    slot = a_slot(0, 5000, current={"line": line, "client": "127.0.0.1:1"})
    observer.state = a_state([a_process(0, 5000, [slot])])
    terminal = open_top(observer.address, columns=132)
    terminal.wait_for("GET /?[2J????1049l???")  # UTF-8 has several bytes


# ---- an observer that goes and comes ----

@needs_picture
def test_it_survives_an_observer_that_goes_and_comes_back(open_top):
    first = FakeObserver(a_state(two_processes()), quiet_port())
    terminal = open_top(first.address)
    terminal.wait_for(TITLES)
    first.close()
    reason = f"observer {first.address} not reached: Connection refused; start the server"
    terminal.wait_until(lambda text: reason in text.replace("\n", " ") and TITLES in text, "the last picture stays")
    with FakeObserver(a_state([a_process(7, 9000, [a_slot(9, 9000)])]), first.port):
        terminal.wait_until(lambda text: "   7    9    9000 ready" in text and "not reached" not in text, "the new picture")
    terminal.wait_for("not reached")
    terminal.press(b"q")
    assert terminal.wait_for_exit() == OK


@needs_picture
def test_it_waits_for_an_observer_that_is_not_there_yet(open_top):
    port = quiet_port()
    terminal = open_top(f"127.0.0.1:{port}")
    terminal.wait_for("trying again")
    with FakeObserver(a_state(two_processes()), port):
        terminal.wait_for(TITLES)


@needs_picture
def test_it_says_that_the_master_is_silent(observer, open_top):
    terminal = open_top(observer.address)
    terminal.wait_for(TITLES)
    observer.state["master"]["heard_ms"] = 7400
    terminal.wait_for("the master is silent for 7 s")


# ---- the end ----

@needs_picture
@pytest.mark.parametrize("end", [lambda top: top.press(b"q"), lambda top: top.press(b"\x03"),
                                 lambda top: top.process.send_signal(signal.SIGTERM)], ids=["q", "ctrl-c", "SIGTERM"])
def test_it_gives_the_terminal_back(observer, open_top, end):
    terminal = open_top(observer.address)
    terminal.wait_for(TITLES)
    assert terminal.screen.is_other
    end(terminal)
    terminal.wait_for_exit()
    assert not terminal.screen.is_other


@needs_picture
def test_it_ends_with_its_terminal(observer, open_top):
    terminal = open_top(observer.address)
    terminal.wait_for(TITLES)
    terminal.hang_up()
    terminal.process.wait(DEADLINE_S)


@needs_picture
@pytest.mark.parametrize("name", ["xterm-256color", "vt100", "linux", "screen"])
def test_usual_terminals(observer, open_top, name):
    if subprocess.run(["infocmp", name], capture_output=True, check=False).returncode != 0:
        pytest.skip(f"terminfo does not know {name}")
    terminal = open_top(observer.address, environment={"TERM": name})
    terminal.screen.feed = lambda data: None  # it speaks more than the screen understands
    terminal.wait_until(lambda _: b"REQUEST" in terminal.written, "the titles")
    terminal.press(b"q")
    assert terminal.wait_for_exit() == OK


@pytest.mark.parametrize("name", ["dumb", "", "no-such-terminal"])
def test_a_terminal_that_cannot_show_it(observer, open_top, name):
    terminal = open_top(observer.address, environment={"TERM": name})
    assert terminal.wait_for_exit() == USAGE
    assert b"use --batch" in terminal.written


def test_without_a_terminal_it_says_what_to_do(observer):
    result = twinctl("top", "--observe", observer.address)
    assert (result.returncode, result.stdout) == (USAGE, "")
    assert "--batch" in result.stderr


# ---- signals ----

@pytest.fixture
def controlled(start_server, tmp_path):
    """A prefork server with a control socket, an observer that shows its workers, and the options for top."""
    model = models.BY_NAME["prefork"]
    path = tmp_path / "control"
    server = start_server(model, "--control", str(path))
    pids = controls.Control(path).wait_for_processes(model.processes)
    with FakeObserver(a_state([a_process(number, pid, [a_slot(number, pid)]) for number, pid in enumerate(pids)])) as fake:
        yield server, fake, pids, ("--control", path)


@needs_picture
def test_k_asks_for_a_signal_and_sends_it(controlled, open_top):
    server, fake, pids, options = controlled
    terminal = open_top(fake.address, *options)
    terminal.wait_for(TITLES)
    terminal.press(DOWN + b"k")
    terminal.wait_for(f"signal for process 1, pid {pids[1]} (Enter alone: TERM, Esc: none): _")
    terminal.press(b"killx" + BACKSPACE)
    terminal.wait_for("none): KILL_")
    terminal.press(ENTER)
    terminal.wait_for(f"KILL was sent to pid {pids[1]}")
    assert server.wait_for_death(pids[1])["signal"] == "SIGKILL"
    assert server.find_death(pids[0]) is None
    server.wait_for_full_strength(pids[1])


@needs_picture
def test_a_refusal_comes_with_its_reason(controlled, open_top):
    server, fake, pids, options = controlled
    fake.state["processes"][0]["pid"] = 1
    terminal = open_top(fake.address, *options)
    terminal.wait_for(TITLES)
    terminal.press(b"k" + ENTER)
    terminal.wait_for("refused: 1 is no process of this server")
    terminal.press(b"k")
    terminal.wait_for("Esc: none): _")
    terminal.press(ESCAPE)
    terminal.wait_for("q quit")
    assert server.status()["totals"]["deaths"] == 0


@needs_picture
def test_without_a_control_socket_nothing_is_sent(observer, open_top, tmp_path):
    terminal = open_top(observer.address)
    terminal.wait_for(TITLES)
    terminal.press(b"k")
    terminal.wait_for("to send signals, start twinctl top with --control PATH")
    terminal = open_top(observer.address, "--control", tmp_path / "none")
    terminal.wait_for(TITLES)
    terminal.press(b"k" + ENTER)
    reason = "cannot reach the master: No such file or directory; start the server with --control and this path"
    terminal.wait_until(lambda text: reason in text.replace("\n", " "), reason)


# ---- plain text ----

def batch(observer, *options):
    return twinctl("top", "--observe", observer.address, "--batch", *options)


def prompt_batch(observer, *options):
    """Of an observer that answers in time: on a busy machine the one that is played may not, and then again."""
    def in_time():
        observer.requests.clear()
        result = batch(observer, *options)
        return None if "timed out" in result.stderr else result
    return wait_until(in_time, "each answer comes in time")


def test_a_batch_is_a_table(observer):
    observer.state = a_state(two_processes(), [a_death(1, 4001)])
    result = prompt_batch(observer)
    assert (result.returncode, result.stderr) == (OK, "")
    lines = result.stdout.splitlines()
    assert lines[7].startswith("last death 23:42:43 process 1, SIGSEGV: 29 requests lost, replaced after 892us; GET")
    assert lines[8:] == [
        WIDE_TITLES,
        "   0    0    5000 ready     -          12ms    100  87us 2.1ms  5.0M  25% 1.0% -",
        "   1    1    5001 ready     blocked    1.5s    3.0  87us 2.1ms  5.0M  25% 1.0% GET /sleep"]
    assert len(observer.requests) == 1


def test_a_batch_of_several_tables(observer):
    result = prompt_batch(observer, "-n", 3, "--interval-ms", 100)
    assert result.returncode == OK
    assert result.stdout.count(WIDE_TITLES) == 3 == len(observer.requests)
    assert result.stdout.count("\n\n") == 2


def test_an_endless_batch_ends_with_its_reader(observer):
    command = [BIN_DIR / "twinctl", "top", "--observe", observer.address, "--batch", "-n", "0", "--interval-ms", "100"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(40)]
        process.stdout.close()
        assert process.wait(DEADLINE_S) in (-signal.SIGPIPE, UNREACHABLE)
    assert lines.count(WIDE_TITLES + "\n") >= 3


def test_a_batch_goes_on_when_the_observer_is_back(observer):
    def away_at_first(handler):
        if len(observer.requests) > 2:
            handler.give(200, json.dumps(observer.state).encode(), "application/json")
        handler.close_connection = True
    observer.answer = away_at_first
    result = prompt_batch(observer, "-n", 3, "--interval-ms", 100)
    assert result.returncode == OK, "the last one counts"
    assert result.stdout.count(WIDE_TITLES) == 1
    assert len(result.stderr.splitlines()) == 2


@pytest.mark.parametrize("answer, reason", [
    (fake_observer.silent, "Connection timed out; it is busy"),
    (fake_observer.dripping, "Connection timed out; it is busy"),
    (fake_observer.saying(b""), "does not speak HTTP"),
    (fake_observer.saying(b"SSH-2.0-OpenSSH\r\n\r\n"), "does not speak HTTP"),
    (fake_observer.saying(b"HTTP/1.1 200 OK\r\n\r\n{\"api\":1"), "no whole state"),
    (fake_observer.saying(b"HTTP/1.1 200 OK\r\n\r\n[]"), "no whole state"),
    (fake_observer.saying(b"HTTP/1.1 200 OK\r\n\r\n{\"api\":2}"), "another version"),
    (fake_observer.saying(b"HTTP/1.1 403 No\r\n\r\nask for it by its\x1b[2J address\r\nmore"),
     "it answers 403: ask for it by its?[2J address"),
])
def test_a_bad_observer_is_told(observer, answer, reason):
    observer.answer = answer
    result = (batch if "timed out" in reason else prompt_batch)(observer)
    assert (result.returncode, result.stdout) == (UNREACHABLE, "")
    assert len(result.stderr.splitlines()) == 1
    assert f"observer {observer.address} not reached: " in result.stderr and reason in result.stderr


def test_nobody_there(observer):
    with FakeObserver(port=quiet_port()) as gone:
        pass
    result = batch(gone)
    assert result.returncode == UNREACHABLE
    assert "Connection refused; start the server with --observe" in result.stderr


def test_a_whole_house(observer):
    """As many threads as a scoreboard may have, and all the deaths that are remembered."""
    processes = [a_process(number, 5000 + number, [a_slot(number * 8 + i, 5000) for i in range(8)])
                 for number in range(64)]
    observer.state = a_state(processes, [a_death(number, 4000 + number) for number in range(64)])
    result = prompt_batch(observer)
    assert result.returncode == OK
    assert len(result.stdout.splitlines()) == 9 + 512


def test_help_names_it():
    text = twinctl("--help").stdout
    for word in ("top", "--observe HOST:PORT", "--batch", "-n N", "--interval-ms MS"):
        assert word in text
