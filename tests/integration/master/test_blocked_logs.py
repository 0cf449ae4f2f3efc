"""Logs that cannot be written: readers that stop, or go, full pipes and disks. Service goes on; whole lines are lost,
counted, and told later."""

import fcntl
import json
import os
import pty
import re
import resource
import select
import signal
import stat
import threading
import time
from pathlib import Path

import pytest

from support import models
from support.client import request_bytes
from support.full_pipe import StoppedReader
from support.server import refusal, SANITIZED
from support.waiting import wait_until

LOST = re.compile(r"(\d+) lines? lost before this one")
ACCESS_LINES_LOST = re.compile(r"access log: (\d+) lines? lost")
ACCESS_LOG_FD = 8


def assert_master_is_well(server):
    """It replaces the dead and those of an old configuration, and is told to end by the test."""
    victim = server.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    server.wait_for_death(victim)
    server.wait_for_full_strength(without_pid=victim)
    before = set(server.worker_pids())
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: len(server.worker_pids()) == server.model.processes and not before & set(server.worker_pids()),
               "the reload is done")
    assert server.get("/plaintext").status == 200


@pytest.mark.models(models.SUPERVISED)
@pytest.mark.parametrize("log", ["stderr", "file"])
def test_the_reader_of_errors_stops(model, start_server, log):
    """Before the first line. When it reads on, the master tells at once what was lost."""
    reader = StoppedReader()
    descriptor, options = (2, ()) if log == "stderr" else (ACCESS_LOG_FD, ("--error-log", f"/dev/fd/{ACCESS_LOG_FD}"))
    server = start_server(model, *options, **reader.redirect(descriptor))
    assert_master_is_well(server)
    reader.read_on()
    # Who has just tried to tell it holds a part of the number.
    wait_until(lambda: sum(map(int, LOST.findall(reader.text()))) >= model.processes, "it is told what was lost")
    server.stop()
    assert reader.rest()[reader.filling:].startswith("20"), "no line is torn"
    assert "stopping" in reader.text()


@pytest.mark.models(models.SUPERVISED)
def test_a_server_ends_while_nobody_reads(model, start_server):
    reader = StoppedReader()
    server = start_server(model, **reader.redirect(2))
    server.stop()
    server = start_server(model, **reader.redirect(2))
    server.stop(signal.SIGQUIT)
    reader.read_on()
    assert len(reader.rest()) == reader.filling


@pytest.mark.models(models.SUPERVISED)
def test_output_that_is_stopped(model, start_server):
    """A terminal with Ctrl-S: what it shows is not read any more."""
    terminal, end = pty.openpty()
    server = start_server(model, "--error-log", f"/dev/fd/{ACCESS_LOG_FD}", "--log-level", "debug",
                          prefix=["bash", "-c", f'exec "$0" "$@" {ACCESS_LOG_FD}>&{end} {end}>&- {terminal}>&-'],
                          pass_fds=(end,))
    flags = fcntl.fcntl(end, fcntl.F_GETFL)
    assert not flags & os.O_NONBLOCK, "others share the terminal"
    fcntl.fcntl(end, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(end, b"x" * 512)
    fcntl.fcntl(end, fcntl.F_SETFL, flags)
    assert_master_is_well(server)
    server.stop()
    os.close(terminal)
    os.close(end)


def ask_much(server, count, agent):
    """Asks for count pages, twenty clients at once; every answer is awaited."""
    request = request_bytes(target="/plaintext", headers=[("User-Agent", agent)])

    def ask():
        with server.connect() as client:
            for _ in range(count // 20 // 10):
                client.send(request * 10)
                for _ in range(10):
                    assert client.read_response().status == 200
    clients = [threading.Thread(target=ask) for _ in range(20)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()


def count_lines(text):
    """Each of them is whole."""
    assert not text or text.endswith("\n")
    lines = text.splitlines()
    for line in lines:
        assert set(json.loads(line)) >= {"time", "client", "request", "status"}, line
    return len(lines)


def lost_lines(server):
    return sum(int(number) for number in ACCESS_LINES_LOST.findall(server.log()))


def wait_for_all_lines(server, text, count):
    """Each of them is written or counted. At a stop nobody waits for a slow reader, nor for a process that is late."""
    wait_until(lambda: text().count("\n") + lost_lines(server) == count, "every line is written, or told as lost")


def access_log_options():
    return "--access-log", f"/dev/fd/{ACCESS_LOG_FD}", "--access-log-format", "json"


def test_the_reader_of_the_access_log_stops(model, start_server):
    """What waits is written when it reads on, what was too much has been counted."""
    reader = StoppedReader()
    server = start_server(model, *access_log_options(), **reader.redirect(ACCESS_LOG_FD))
    ask_much(server, 1000, "a" * 3500)
    server.wait_for_log("access log: cannot be written: its reader is too slow, or has stopped")
    if model.has_master:
        assert_master_is_well(server)  # and takes away what waited in the first
    reader.read_on()
    if model.has_master:
        wait_until(lambda: len(reader.content) > reader.filling, "it is written again")
    else:
        wait_for_all_lines(server, lambda: reader.text()[reader.filling:], 1000)
    server.stop()
    text = reader.rest()[reader.filling:]
    lines = count_lines(text)
    assert lines > 0
    if not model.has_master:
        assert lines + lost_lines(server) == 1000


def test_no_line_is_torn_by_a_slow_reader(model, start_server):
    """Though the kernel takes but a page at once, of several processes in turn."""
    reader = StoppedReader(full=False)
    server = start_server(model, *access_log_options(), **reader.redirect(ACCESS_LOG_FD))
    reader.read_on(pause=lambda: time.sleep(0.0001))
    ask_much(server, 4000, "a" * 300)
    wait_for_all_lines(server, reader.text, 4000)
    server.stop()
    assert count_lines(reader.rest()) + lost_lines(server) == 4000


def test_a_line_that_is_too_long_for_a_pipe_is_cut(model, start_server):
    reader = StoppedReader(full=False)
    server = start_server(model, *access_log_options(), **reader.redirect(ACCESS_LOG_FD))
    reader.read_on()
    ask_much(server, 200, "a" * 6000)
    wait_for_all_lines(server, reader.text, 200)
    server.stop()
    text = reader.rest()
    assert count_lines(text) + lost_lines(server) == 200
    assert all(1000 < len(line) < select.PIPE_BUF for line in text.splitlines())


# FIFOs.

@pytest.mark.models(models.ONE_OF_EACH_BINARY)
@pytest.mark.parametrize("log", ["access", "error"])
def test_a_fifo_that_nobody_reads(model, tmp_path, log):
    """The start does not wait for a reader."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    message = refusal(model, "--listen", "127.0.0.1:0", f"--{log}-log", str(fifo))
    assert f"cannot open the {log} log {fifo}: it is a FIFO that nobody reads; " in message


@pytest.mark.models(models.SUPERVISED)
def test_the_reader_of_a_fifo_goes_and_comes_back(model, start_server, tmp_path):
    fifos = [tmp_path / "error.fifo", tmp_path / "access.fifo"]
    readers = []
    for fifo in fifos:
        os.mkfifo(fifo)
        readers.append(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))
    server = start_server(model, "--error-log", str(fifos[0]), "--access-log", str(fifos[1]))
    for reader in readers:
        os.close(reader)
    os.kill(server.pid, signal.SIGUSR1)
    assert_master_is_well(server)
    reader = os.open(fifos[0], os.O_RDONLY | os.O_NONBLOCK)
    got = b""

    def told():
        nonlocal got
        try:
            got += os.read(reader, 65536)
        except BlockingIOError:
            pass
        return re.search(rb"\d+ lines? lost before this one: nobody reads it", got)
    wait_until(told, "it is told what was lost")
    server.stop()
    os.close(reader)


# Full disks.

def limit_files(server, limit):
    for pid in (server.pid, *server.worker_pids()):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def all_stand_still(server):
    tasks = [task for pid in server.worker_pids() for task in Path(f"/proc/{pid}/task").iterdir()]
    return all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks)


def make_room(server, log):
    """For all at once, as a disk does, and while nobody is between the piece of a line for which there was room and its
    taking that back: somebody else would write behind it."""
    def no_line_is_torn():
        for pid in server.worker_pids():
            os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: all_stand_still(server), "all stand still")
        is_whole = log.read_text().endswith("\n")
        if is_whole:
            limit_files(server, resource.RLIM_INFINITY)
        for pid in server.worker_pids():
            os.kill(pid, signal.SIGCONT)
        return is_whole
    wait_until(no_line_is_torn, "there is room")


@pytest.mark.parametrize("log_format", ["combined", "json"])
def test_a_disk_that_is_full_for_a_while(model, start_server, tmp_path, log_format):
    """A limit stands for it. It is told, and whole lines go on as soon as there is room."""
    log = tmp_path / "access.log"
    server = start_server(model, "--access-log", str(log), "--access-log-format", log_format)
    limit_files(server, 20001)
    ask_much(server, 1000, "a" * 200)
    server.wait_for_log("access log: cannot be written: File too large")
    make_room(server, log)
    ask_much(server, 200, "b" * 200)
    wait_for_all_lines(server, log.read_text, 1200)
    server.stop()
    text = log.read_text()
    assert len(text.splitlines()) + lost_lines(server) == 1200
    if log_format == "json":
        count_lines(text)
    else:
        whole = re.compile(r'127\.0\.0\.1 - - \[[^]]*\] "GET /plaintext HTTP/1\.1" 200 13 "-" "(?:a{200}|b{200})" \d+ \d+ \d+')
        assert all(whole.fullmatch(line) for line in text.splitlines())


@pytest.mark.models(models.SUPERVISED)
def test_errors_on_a_disk_that_is_full_for_a_while(model, start_server, tmp_path):
    log = tmp_path / "error.log"
    server = start_server(model, "--error-log", str(log))
    for size in (50, 60, 70):  # some bytes of a line fit
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (log.stat().st_size + size, resource.RLIM_INFINITY))
        victim = server.worker_pids()[0]
        os.kill(victim, signal.SIGKILL)
        server.wait_for_death(victim)
        server.wait_for_full_strength(without_pid=victim)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    wait_until(lambda: LOST.search(log.read_text()), "it is told what was lost")
    server.stop()
    assert all(re.match(r"20\S+ \[\w+\] (master|process \d+|slot \d+) ", line)
               for line in log.read_text().splitlines())


# What processes share.

@pytest.mark.models(models.SUPERVISED)
@pytest.mark.skipif(SANITIZED, reason="the sanitizer's library must be loaded before any other")
def test_a_process_that_makes_others_wait(model, start_server, build_preload, tmp_path):
    """It takes O_NONBLOCK off all that it can reach but sockets."""
    environment = {**os.environ, "LD_PRELOAD": str(build_preload("make_wait")), "MAKE_WAIT": str(tmp_path / "now")}
    reader = StoppedReader()
    server = start_server(model, "--seccomp", "off", "--error-log", f"/dev/fd/{ACCESS_LOG_FD}",
                          env=environment, **reader.redirect(ACCESS_LOG_FD))
    (tmp_path / "now").touch()
    assert_master_is_well(server)
    assert_master_is_well(server)
    server.stop()


def test_no_description_is_changed_for_others(model, start_server):
    """Who shares a terminal or a pipe with the server finds it as it was."""
    reader = StoppedReader(full=False)
    server = start_server(model, **reader.redirect(2))
    assert not fcntl.fcntl(reader.write_fd, fcntl.F_GETFL) & os.O_NONBLOCK
    for pid in (server.pid, *server.worker_pids()):
        assert stat.S_ISFIFO(os.stat(f"/proc/{pid}/fd/2").st_mode)
    os.kill(server.pid, signal.SIGUSR1 if model.has_master else signal.SIGCONT)
    server.stop()
    os.close(reader.read_fd)
    os.close(reader.write_fd)
