"""twinctl top before a real observer: what becomes of workers is seen, and it goes on whatever they do."""

import contextlib
import os
import signal

import pytest

from support import control as controls, models, processes, wrk
from support.observing import ON, Observer
from support.terminal import DOWN, ENTER, needs_picture

pytestmark = [needs_picture, pytest.mark.models(models.EACH_KIND)]


@pytest.fixture
def watched(model, start_server, tmp_path, open_top):
    """A server, and twinctl top before it."""
    path = tmp_path / "control"
    server = start_server(model, *ON, "--control", str(path), "--stuck-after-ms", "1000", "--on-stuck", "report")
    controls.Control(path).wait_for_processes(model.processes)
    terminal = open_top(Observer(server).host, "--control", path, columns=120)
    terminal.wait_for(f"{model.processes} of {model.processes} processes ready")
    return server, terminal


def rows(text):
    """The cells of each row of the grid, by slot; what belongs to the process stands in its first row alone."""
    lines = text.split("\n")
    first = next((number for number, line in enumerate(lines) if line.startswith("PROC SLOT")), len(lines)) + 1
    return [line.split() for line in lines[first:-1] if line.strip()]


def test_every_thread_has_a_row(model, watched):
    server, terminal = watched

    def is_whole(text):  # the last row may come later
        pids = {int(row[2]) for row in rows(text) if len(row) > 10}
        return len(rows(text)) == model.slots and pids == set(server.worker_pids())
    text = terminal.wait_until(is_whole, f"{model.slots} rows, and the pid of each process")
    assert text.startswith(f"{model.binary} ")
    assert f"{server.address[0]}:{server.address[1]}" in text


def test_load_is_seen(model, watched):
    server, terminal = watched
    load = wrk.start(server.url + "/plaintext")
    try:
        terminal.wait_until(lambda text: "requests 0.0/s" not in text and " 64, " in text, "a rate, and 64 connections")
    finally:
        with load:
            load.kill()


def test_a_kill_is_seen_with_its_cost(model, watched):
    server, terminal = watched
    before = server.worker_pids()
    terminal.press(b"kKILL" + ENTER)
    terminal.wait_until(lambda text: "last death " in text and "SIGKILL: 0 requests lost" in text, "the death")
    terminal.wait_until(lambda text: "replaced after" in text and set(server.worker_pids()) - set(before),
                        "its successor")
    terminal.press(b"d")
    terminal.wait_for("no crash story")
    terminal.press(b"d" + DOWN)
    server.wait_for_full_strength()


def test_it_goes_on_while_no_worker_moves(model, watched):
    server, terminal = watched
    stopped = server.worker_pids()
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        terminal.wait_until(lambda text: len([row for row in rows(text) if "stopped" in row]) == model.slots,
                            "all threads are stopped")
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    terminal.wait_until(lambda text: "stopped" not in text, "all of them go on")


def test_it_says_that_the_master_is_stopped(model, watched):
    server, terminal = watched
    os.kill(server.pid, signal.SIGSTOP)
    try:
        terminal.wait_for("the master is silent for ")
        assert server.get("/plaintext").status == 200
    finally:
        os.kill(server.pid, signal.SIGCONT)
    terminal.wait_until(lambda text: "is silent" not in text, "it is heard again")


def test_an_observer_that_was_killed_is_found_again(model, watched):
    server, terminal = watched
    first = Observer(server).pid()
    with contextlib.suppress(ProcessLookupError):  # one that is slow on a busy machine is killed as stuck
        os.kill(first, signal.SIGKILL)
    terminal.wait_until(lambda text: first not in processes.observers(server.pid) and "not reached" not in text and
                        processes.observers(server.pid), "another one")
    terminal.press(b"q")
    assert terminal.wait_for_exit() == 0
