"""What all threads of a stuck process are doing is told, with their stacks, before anything is done about it."""

import ctypes
import os
import re
import signal
import threading
import time

import pytest

from support.client import request_bytes
from support.server import PRESET, SANITIZED
from support.waiting import DEADLINE_S, wait_until

STUCK_AFTER_MS = 2000 if SANITIZED else 1000
OPTIONS = ("--faults", "on", "--stuck-after-ms", str(STUCK_AFTER_MS))
# Of each way in which a thread can be asked: the only one of its process, one of many loops, one of a pool.
MODELS = pytest.mark.models(("prefork", "threadpool-connection", "threadpool-request-blocking", "hybrid"))
# ThreadSanitizer keeps a signal from a thread that spins, waits for a lock or sleeps.
TELLS_WHEN_STUCK = PRESET != "tsan"


def get_stuck(server, client, fault):
    pid = server.whoami(client)["pid"]
    client.send(request_bytes(target=f"/fault/{fault}"))
    return pid


def wait_for_record(server, pid):
    def find():
        return next((record for record in server.status()["stuck_processes"] if record["pid"] == pid), None)
    return wait_until(find, f"it is told what {pid} was stuck in")


def get_record(model, start_server, fault):
    """A server with a process that is stuck, the client who waits for it, and what is told of the process. Where
    a thread has no CPU meanwhile, it does not tell its stack in time: once more then."""
    def try_once():
        server = start_server(model, *OPTIONS)
        client = server.connect()
        record = wait_for_record(server, get_stuck(server, client, fault))
        if TELLS_WHEN_STUCK and not all(one["frames"] for one in record["threads"] if one["slot"] is not None):
            server.wait_for_log("it has not told its stack in time")
            client.close()
            server.stop()
            return None
        return server, client, record
    return wait_until(try_once, "every thread that is asked tells its stack in time")


def functions(thread):
    return [frame["function"] for frame in thread["frames"]]


def frame_of(thread, function):
    return thread["frames"][functions(thread).index(function)]


def assert_stuck_thread(thread, fault, kind, client):
    assert (thread["stuck"], thread["request"]) == (kind, {"line": f"GET /fault/{fault} HTTP/1.1", "client": client})
    assert thread["slot"] is not None
    if not TELLS_WHEN_STUCK:
        assert thread["frames"] == []
        return
    handler = frame_of(thread, f"fault_{fault}")
    assert (handler["file"], handler["line"] > 0) == ("common/handlers/lab/fault.c", True)
    assert "http_exchange_run" in functions(thread)
    assert thread["frames_left_out"] == 0


def assert_waits_for_a_lock(thread):
    inner = [name for name in functions(thread) if name is not None]
    if TELLS_WHEN_STUCK:
        assert any("mutex_lock" in name for name in inner[:inner.index("fault_deadlock")])


@MODELS
def test_who_waits_for_a_lock_shows_it(model, start_server):
    server, client, record = get_record(model, start_server, "deadlock")
    with client:
        pid = record["pid"]
        stuck, *others = record["threads"]
        assert_stuck_thread(stuck, "deadlock", "blocked", client.name)
        assert_waits_for_a_lock(stuck)
        assert stuck["state"] == "S"
        assert len([one for one in record["threads"] if one["slot"] is not None]) == model.slots // model.processes
        for other in others:
            assert other["stuck"] is None
            assert other["request"] is None
            # The main thread of a thread pool serves nobody, and is not asked.
            assert other["slot"] is not None or not other["frames"]
            if not TELLS_WHEN_STUCK and not other["frames"]:
                continue  # the sanitizer has held the question back for too long
            assert bool(other["frames"]) == (other["slot"] is not None)
            waits_in = {"loop": "worker_run", "pool": "queue_pop", None: None}[other["role"]]
            assert waits_in is None or waits_in in functions(other)
        server.wait_for_log(rf"watchdog: pid {pid} thread {stuck['tid']} \(slot {stuck['slot']}\): state S.*, "
                            rf"stuck, in \"GET /fault/deadlock HTTP/1.1\" from {re.escape(client.name)}")
        if TELLS_WHEN_STUCK:
            server.wait_for_log(rf"watchdog: thread {stuck['tid']}: #\d+ fault_deadlock at "
                                r"common/handlers/lab/fault.c:\d+\n")


@MODELS
def test_who_spins_shows_where(model, start_server):
    server, client, record = get_record(model, start_server, "hang")
    with client:
        stuck = record["threads"][0]
        assert_stuck_thread(stuck, "hang", "spinning", client.name)
        if TELLS_WHEN_STUCK:
            assert functions(stuck)[0] == "fault_hang"
        else:
            server.wait_for_log(rf"thread {stuck['tid']} \(slot .*; it has not told its stack in time\n")


@pytest.mark.models(("prefork",))
def test_it_is_told_before_the_process_is_aborted(model, start_server):
    def try_once():
        server, client, record = get_record(model, start_server, "deadlock")
        with client:
            assert_stuck_thread(record["threads"][0], "deadlock", "blocked", client.name)
            death = server.wait_for_death(record["pid"])
        if death["signal"] == "SIGKILL":  # it had no CPU to end by itself: once more
            server.wait_for_log(rf"killing process \d \(pid {record['pid']}\), which has not ended in time")
            server.stop()
            return False
        assert death["signal"] == "SIGABRT"
        return True
    wait_until(try_once, "it ends by the signal that aborts it")


def threads_beside_a_sleeper(server):
    """What is told of a process in which one is stuck while another sleeps. The question interrupts his system call, and
    he must not notice."""
    sleep_ms = 2 * STUCK_AFTER_MS - 200  # so that he sleeps when the other one is found
    with server.connect() as client, server.connect() as sleeper:
        pid = get_stuck(server, client, "deadlock")
        wait_until(lambda: server.is_running("GET /fault/deadlock HTTP/1.1"), "it is stuck")
        start = time.monotonic()
        assert sleeper.get(f"/sleep?ms={sleep_ms}").status == 200
        assert (time.monotonic() - start) * 1000 >= sleep_ms
        threads = wait_for_record(server, pid)["threads"]
        assert server.get("/plaintext").status == 200
    return threads


@pytest.mark.models(("threadpool-request-blocking",))
def test_who_sleeps_is_asked_and_sleeps_on(model, start_server):
    def try_once():
        """Where this process has no CPU meanwhile, the other one is found before he sleeps: once more then."""
        server = start_server(model, *OPTIONS, "--on-stuck", "report")
        threads = threads_beside_a_sleeper(server)
        server.stop()
        return not TELLS_WHEN_STUCK or any("sleep_handler" in functions(thread) for thread in threads)
    wait_until(try_once, "he is asked while he sleeps")


def threads_of(pid):
    return [int(name) for name in os.listdir(f"/proc/{pid}/task")]


def test_the_signal_changes_nothing(model, start_server):
    """Hundreds of interruptions, in whatever each thread is just doing."""
    server = start_server(model)
    threads = [(pid, tid) for pid in server.worker_pids() for tid in threads_of(pid)]
    tgkill = ctypes.CDLL(None).tgkill
    enough = threading.Event()

    def disturb():
        while not enough.wait(0.002):
            for pid, tid in threads:
                tgkill(pid, tid, signal.SIGURG)

    disturber = threading.Thread(target=disturb, daemon=True)
    disturber.start()
    try:
        with server.connect() as client:
            start = time.monotonic()
            assert client.get("/sleep?ms=300").status == 200
            assert time.monotonic() - start >= 0.3
            for _ in range(100):
                assert client.get("/hello.txt").status == 200
        for _ in range(20):
            assert server.get("/plaintext").status == 200
    finally:
        enough.set()
        disturber.join(DEADLINE_S)
    server.assert_clean_log()
    server.stop()
