"""`lab scale`: arithmetic, judgement, the holding processes, and a tiny real run."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from patience import DEADLINE_S
from twinlab.base import interval, judged
from twinlab.base.errors import LabError
from twinlab.base.interval import Estimate
from twinlab.clients import crowd
from twinlab.clients.crowd import Crowd
from twinlab.commands import cli, scale
from twinlab.machine import processes
from twinlab.runs import accepting, idle
from twinlab.runs.accepting import Shares
from twinlab.runs.idle import IdleRound, Verdict, Window

pytestmark = pytest.mark.serial  # it measures

LAB = Path(__file__).resolve().parents[2] / "loadtest" / "lab"
BIN_DIR = Path(os.environ.get("TWINHTTPD_BIN_DIR", Path(__file__).resolve().parents[2] / "build" / "dev" / "bin"))


def idle_round(number, without=(1000, 1000), beside=(1000, 1000), grown_kib=400, model="prefork"):
    """1,000 connections; requests/s of the four windows."""
    windows = [[Window(rate, 1e4 / rate, 1) for rate in rates] for rates in (without, beside)]
    return IdleRound(number, model, 1000, *windows, 2000, 2000 + grown_kib)


# Arithmetic


def test_memory_is_divided_among_the_connections():
    assert idle_round(1, grown_kib=500).bytes_per_connection == 512


def test_a_round_is_the_mean_of_its_windows_and_the_ratio_the_median_of_the_rounds():
    rounds = [idle_round(1, (800, 1200), (900, 1000)), idle_round(2, (500, 500), (500, 500)),
              idle_round(3, (100, 100), (90, 90))]
    assert idle.figures(rounds, False, "requests_per_s") == {1: 1000, 2: 500, 3: 100}
    assert idle.figures(rounds, True, "requests_per_s") == {1: 950, 2: 500, 3: 90}
    found = idle.beside(rounds, "requests_per_s")
    assert (found.value, found.interval, found.launches) == (pytest.approx(0.95), None, 3)
    found = idle.beside([*rounds, *(idle_round(number) for number in (4, 5, 6))], "requests_per_s")
    assert (found.value, found.interval) == (pytest.approx(1.0), pytest.approx((0.9, 1.0)))
    assert idle_round(1).errors == 4


def test_shares():
    assert Shares([16, 16, 16, 16]).max_to_mean == 1
    assert Shares([64, 0, 0, 0]).max_to_mean == 4
    assert Shares([0, 0]).max_to_mean == 0


def test_the_processes_share_the_connections():
    assert crowd.shares(50) == [50]
    assert crowd.shares(crowd.PER_PROCESS) == [crowd.PER_PROCESS]
    assert crowd.shares(2 * crowd.PER_PROCESS + 1) == [crowd.PER_PROCESS, crowd.PER_PROCESS, 1]


def test_only_event_loops_count():
    status = {"workers": [{"role": "loop", "connections_open": 3}, {"role": "pool", "connections_open": 0}]}
    assert accepting.loop_figures(status, "connections_open") == [3]


# Judgement


@pytest.mark.parametrize("rate, grown_kib, words", [
    (950, 499, ["met", "met"]), (949, 499, ["missed", "met"]), (950, 500, ["met", "missed"]),
])
def test_judgement(rate, grown_kib, words):
    rounds = [idle_round(number, beside=(rate, rate), grown_kib=grown_kib) for number in range(6)]
    other = [idle_round(1, beside=(1, 1), model="threadpool")]
    verdicts = idle.judge(rounds + other, "prefork")
    assert [verdict.word for verdict in verdicts] == words
    assert judged.exit_status(verdicts) == ("missed" in words)
    met, missed = words.count("met"), words.count("missed")
    assert scale.judgement(verdicts)[-1] == f"{met} of 2 targets met, {missed} missed, 0 not decided."


def test_few_rounds_decide_nothing_and_show_no_interval():
    verdicts = idle.judge([idle_round(number, beside=(500, 500)) for number in (1, 2)], "prefork")
    assert judged.exit_status(verdicts) == 0
    lines = scale.judgement(verdicts)
    assert lines[0].endswith("0.500 (no interval), target >= 0.95: not decided")
    assert lines[-1] == "0 of 2 targets met, 0 missed, 2 not decided; an interval needs at least 6 rounds."
    json.dumps([verdict.as_dict() for verdict in verdicts], allow_nan=False)


def test_a_run_in_full_has_an_interval():
    assert scale.DEFAULT.rounds >= interval.least_launches()


@pytest.mark.parametrize("value, status", [(0.97, 0), (0.94, 1)])
def test_an_interval_across_the_limit_decides_nothing_but_its_median_counts(value, status):
    verdict = Verdict("prefork", "x", Estimate(value, 0.90, 1.0, 9), 0.95, False)
    assert (verdict.word, judged.exit_status([verdict])) == ("not decided", status)
    assert Verdict("prefork", "x", Estimate(600, 500, 700, 9), 512, True).word == "not decided"


def test_each_second_round_runs_backwards():
    assert [scale.in_turn([1, 2, 3], number) for number in (1, 2, 3)] == [[1, 2, 3], [3, 2, 1], [1, 2, 3]]


def test_options_and_help(capsys):
    arguments = cli.make_parser().parse_args(["scale", "--models", "threadpool"])
    assert (arguments.models, arguments.connections) == (["threadpool"], 15_000)
    with pytest.raises(SystemExit):
        cli.make_parser().parse_args(["scale", "--help"])
    assert "cost less than 5 % of the throughput" in " ".join(capsys.readouterr().out.split())


# The idle connections

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
listener_answer = [b""]


@pytest.fixture
def listener():
    """A server that answers every connection's first request and keeps the connection."""
    kept = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        def serve():
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                connection.recv(4096)
                connection.sendall(listener_answer[0])
                kept.append(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1], kept
        listening.shutdown(socket.SHUT_RDWR)
    for connection in kept:
        connection.close()


def test_a_crowd_is_held_and_ends(listener, monkeypatch):
    port, kept = listener
    listener_answer[0] = ANSWER
    monkeypatch.setattr(crowd, "PER_PROCESS", 4)
    with Crowd(port, 10) as held:
        sessions = [child.pid for child in held._children]
        assert len(sessions) == 3 and all(processes.session_members(session) for session in sessions)
        wait_for_count(kept, 10)
        kept[0].settimeout(0.05)
        with pytest.raises(TimeoutError):
            kept[0].recv(1)  # open, and silent
    assert not any(processes.session_members(session) for session in sessions)
    for connection in kept:
        connection.settimeout(DEADLINE_S)
        assert connection.recv(1) == b""


def test_a_crowd_that_is_not_served_is_one_line(listener):
    listener_answer[0] = b"HTTP/1.1 503 Busy\r\n\r\n"
    with pytest.raises(LabError, match="cannot hold 3 idle connections: .*503"):
        Crowd(listener[0], 3).__enter__()


def test_a_crowd_ends_with_a_laboratory_that_is_killed(listener):
    port, kept = listener
    listener_answer[0] = ANSWER
    program = f"import signal; from twinlab.clients.crowd import Crowd; Crowd({port}, 3).__enter__(); signal.pause()"
    lab = subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(LAB.parent)})
    try:
        wait_for_count(kept, 3)
        for connection in kept:
            connection.settimeout(0.05)
            with pytest.raises(TimeoutError):
                connection.recv(1)
    finally:
        lab.kill()
        lab.wait()
    for connection in kept:
        connection.settimeout(DEADLINE_S)
        assert connection.recv(1) == b""


def wait_for_count(kept, expected):
    deadline_s = time.monotonic() + DEADLINE_S
    while len(kept) < expected:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


# Real runs


def test_a_tiny_real_run(tmp_path):
    done = subprocess.run([str(LAB), "scale", "--bin", str(BIN_DIR), "--models", "threadpool", "--connections", "50",
                           "--rounds", "1", "--duration", "0.3", "--output", str(tmp_path)],
                          capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    content = json.loads((tmp_path / "scale.json").read_text())
    assert done.returncode == 0, done.stderr
    assert [target["verdict"] for target in content["targets"]] == ["not decided"] * 2
    assert [target["value"]["launches"] for target in content["targets"]] == [1, 1]
    assert "0 of 2 targets met" in done.stdout
    (found,) = content["idle"]
    windows = [*found["windows_without"], *found["windows_with"]]
    assert len(windows) == idle.WINDOWS
    assert all(window["requests_per_s"] > 0 and window["cpu_us_per_request"] > 0 for window in windows)
    assert {(each["workers"], each["way"]) for each in content["accept"]} == {(2, "shared"), (2, "reuseport"),
                                                                            (4, "shared"), (4, "reuseport")}
    for each in content["accept"]:
        assert len(each["kept"]["counts"]) == len(each["closing"]["counts"]) == each["workers"]
        assert sum(each["kept"]["counts"]) == accepting.KEPT_CONNECTIONS
        assert each["connections_per_s"] > 0 and sum(each["closing"]["counts"]) > 0
