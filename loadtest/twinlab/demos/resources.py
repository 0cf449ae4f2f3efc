"""Resources belong to the process: descriptors and memory. Threads use them, all of them the same."""

import contextlib
import os
import resource
import select
import socket
import time

from twinlab.base.observed import Fact
from twinlab.demos.lines import Line, to_every
from twinlab.demos.stage import Stage, worker_pids
from twinlab.machine import procfs
from twinlab.servers.server import Server

TITLE = "who owns descriptors and memory, and who starves when one leaks"
CLAIMS = (58,)
MEANING = ("Descriptors and memory are the process's: each thread sees the same ones, and a leak of descriptors in one "
           "thread leaves none for its siblings, so that the pool can hardly take a connection any more. In prefork "
           "the leaking worker alone is deaf. CPU time the kernel gives to threads.")

LIMIT = 128
CLIENTS = 8
PATIENCE_S = 0.5


def run(stage: Stage) -> list[Fact]:
    return [*_ownership(stage), *_leak(stage)]


def _ownership(stage: Stage) -> list[Fact]:
    descriptors = stage.tally("threads-share-descriptors", "each thread of a process has the same open descriptors")
    memory = stage.tally("threads-share-memory",
                         "after one thread has allocated, the kernel books the same memory for each of them")
    cpu = stage.tally("cpu-time-belongs-to-threads", "a thread that computes is booked CPU time, its siblings are not")
    for key in stage.repeated("threadpool", "hybrid"):
        with stage.start(key) as server, to_every(server) as lines:
            pid = lines[0].pid
            together = [line for line in lines if line.pid == pid]
            lines[0].ask("/lab/heap?kib=16384&keep_every=1")
            tables = [_descriptors(pid, tid) for tid in procfs.tids(pid)]
            sizes = [procfs.status(tid)["RssAnon"] for tid in procfs.tids(pid)]
            for table, size in zip(tables, sizes):
                descriptors.note(table == tables[0])
                memory.note(size == sizes[0])
            for worker in together[:2]:
                before = {line.tid: procfs.cpu_ns(pid, line.tid) for line in together}
                worker.ask_status("/cpu?us=50000")
                used = {tid: (procfs.cpu_ns(pid, tid) or 0) - (ns or 0) for tid, ns in before.items()}
                if None not in before.values():
                    cpu.note(used.pop(worker.tid) >= 45_000_000 and max(used.values()) < 20_000_000)
            stage.say(f"{key}, pid {pid}: of each of its threads, descriptors and memory")
            stage.show("\n".join(f"tid {tid}: {len(table)} descriptors, RssAnon {size}"
                                 for tid, table, size in zip(procfs.tids(pid), tables, sizes)))
    return [descriptors.fact(), memory.fact(), cpu.fact(without="no schedstat here")]


def _descriptors(pid: int, tid: int) -> dict[str, str]:
    directory = f"/proc/{pid}/task/{tid}/fd"
    return {name: os.readlink(f"{directory}/{name}") for name in os.listdir(directory)}


def _leak(stage: Stage) -> list[Fact]:
    starves = stage.tally("fd-leak-starves-the-threadpool",
                          f"after a leak in one thread of the pool, no more than 2 of {CLIENTS} clients that keep "
                          "their connections in use are answered")
    spares = stage.tally("fd-leak-spares-other-workers",
                         f"after the same leak in one prefork worker, all {CLIENTS} are answered")
    for key in stage.repeated("threadpool", "prefork", at_most=5):
        with stage.start(key) as server:
            for pid in worker_pids(server):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
            line = Line(server)
            leaked = line.ask(f"/lab/fdleak?count={2 * LIMIT}")
            line.close()
            answered = _busy_clients_answered(server)
            if key == "threadpool":
                starves.note(answered <= 2)
            else:
                spares.note(answered == CLIENTS)
        stage.say(f"{key}: thread {leaked['tid']} leaks {leaked['leaked']} descriptors, then: {leaked['error']}; "
                  f"{answered} of {CLIENTS} busy clients answered")
    return [starves.fact(), spares.fact()]


def _busy_clients_answered(server: Server) -> int:
    """How many clients at a time get an answer. Each has begun its next request: else a server that lacks descriptors
    would close idle connections to make room, one for the other."""
    with contextlib.ExitStack() as clients:
        waiting = []
        for _ in range(CLIENTS):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", server.port), 1.0))
            client.sendall(b"GET /plaintext HTTP/1.1\r\nHost: lab\r\n\r\nGET /plaintext HTTP/1.1\r\n")
            waiting.append(client)
        answered, end_s = 0, time.monotonic() + PATIENCE_S
        while waiting and (left_s := end_s - time.monotonic()) > 0:
            for client in select.select(waiting, [], [], left_s)[0]:
                waiting.remove(client)
                answered += _is_answer(client)
    return answered


def _is_answer(client: socket.socket) -> bool:
    try:
        return client.recv(4096).startswith(b"HTTP/1.1 200")
    except ConnectionError:
        return False
