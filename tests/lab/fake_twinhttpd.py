#!/usr/bin/python3
"""A program that the laboratory takes for one of the servers: it answers, loses processes and connections, and has an
observer beside it that tells of it. Quicker to start than a real one, and it does as it is told.

Beside the commands of the control protocol its observer takes {"command":"begin-anew"}, as if it had died and another
had taken its place, and {"command":"refuse","seconds":N}: nobody gets an answer from it meanwhile.
"""

import argparse
import asyncio
import contextlib
import hmac
import json
import os
import resource
import secrets
import signal
import sys
import time
from pathlib import Path

TOKEN = "fake-token"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!"
TICK_S = 0.1


def now_ms():
    return int(time.time() * 1000)


class Workers:
    """Child processes that do nothing; who dies is replaced, and costs the connections that are said to be its own."""

    def __init__(self, count):
        self.pids = [self._start() for _ in range(count)]
        self.deaths = []
        self.lost = self.generation = 0
        self.connections = []

    @staticmethod
    def _start():
        return os.posix_spawn("/bin/sleep", ["sleep", "infinity"], {})

    def reap(self):
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                self._bury(*found)

    def _bury(self, pid, status):
        if pid not in self.pids:
            return
        number = self.pids.index(pid)
        cut = self.connections[number::len(self.pids)]
        for connection in cut:
            connection.transport.abort()
        self.lost += len(cut)
        signum = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        self.deaths.append({"number": len(self.deaths) + 1, "process": number, "pid": pid, "generation": 1,
                            "cause": "signal", "signal": signum and signal.Signals(signum).name, "in_progress": 0,
                            "requests_lost": len(cut), "recovery_ms": 1.0, "crash": None, "requests": []})
        self.pids[number] = self._start()

    def end(self):
        pids, self.pids = self.pids, []
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


class Client(asyncio.Protocol):
    """A connection to the port that serves."""

    def __init__(self, workers, totals):
        self._workers = workers
        self._totals = totals
        self._buffer = b""

    def connection_made(self, transport):
        self.transport = transport
        self._workers.connections.append(self)

    def connection_lost(self, _error):
        self._workers.connections.remove(self)

    def data_received(self, data):
        *requests, self._buffer = (self._buffer + data).split(b"\r\n\r\n")
        for request in requests:
            self._answer(request.split()[1].decode(), b"connection: close" in request.lower())

    def _answer(self, path, closes):
        self._totals["requests_started"] += 1
        if path == "/fault/segv":
            os.kill(self._workers.pids[0], signal.SIGSEGV)
            self.transport.abort()
            self._workers.lost += 1
        elif path == "/fault/deadlock":
            return
        else:
            self._totals["requests_finished"] += 1
            self.transport.write(ANSWER)
            if closes:
                self.transport.close()


class Observer:
    def __init__(self, name, workers, totals):
        self._name = name
        self._workers = workers
        self._totals = totals
        self._boot = secrets.token_hex(4)
        self._number = 0
        self._silent_until_s = 0.0
        self.address = ""

    def state(self):
        processes = [{"number": number, "pid": pid, "generation": 1, "state": "ready", "age_ms": 1,
                      "slots": [{"slot": number, "tid": pid, "role": "loop", "state": "ready", "stuck": None,
                                 "current": None}]} for number, pid in enumerate(self._workers.pids)]
        return {"api": 1, "server": {"name": self._name, "model": "prefork", "dispatch": None}, "time_ms": now_ms(),
                "interval_ms": 100, "control": True, "processes": processes,
                "master": {"pid": os.getpid(), "phase": "running", "processes_wanted": len(processes)},
                "totals": {**self._totals, "deaths": len(self._workers.deaths), "requests_lost": self._workers.lost,
                           "connections_open": len(self._workers.connections)},
                "deaths": self._workers.deaths, "stuck_processes": []}

    async def serve(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._serve(reader, writer)
        writer.close()

    async def _serve(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.splitlines()[0].split()
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head.splitlines()[1:-1])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if time.monotonic() < self._silent_until_s:
            return
        if headers["host"] != self.address:
            self._send(writer, 403, b"wrong Host\n")
        elif path == "/api/v1/state":
            self._send(writer, 200, json.dumps(self.state()).encode())
        elif path == "/events":
            await self._stream(writer, headers.get("last-event-id", ""))
        elif (method, path) == ("POST", "/api/v1/commands"):
            allowed = hmac.compare_digest(headers.get("authorization", ""), f"Bearer {TOKEN}")
            answer = self._do(json.loads(body)) if allowed else {}
            self._send(writer, 200 if allowed else 403, json.dumps(answer).encode())
        else:
            self._send(writer, 404, b"no such path\n")
        await writer.drain()

    @staticmethod
    def _send(writer, status, body):
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(body), body))

    def _do(self, command):
        if command["command"] == "kill":
            os.kill(command["pid"], signal.Signals[f"SIG{command['signal']}"])
        elif command["command"] == "begin-anew":
            self._boot = secrets.token_hex(4)
        elif command["command"] == "refuse":
            self._boot, self._silent_until_s = secrets.token_hex(4), time.monotonic() + command["seconds"]
        return {"ok": True, "message": command["command"]}

    async def _stream(self, writer, last_id):
        boot, told = self._boot, len(self._workers.deaths)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nretry: 500\n\n")
        if not last_id.startswith(boot):
            self._event(writer, "hello", self.state())
        while boot == self._boot:
            self._event(writer, "tick", {"t": now_ms(), "finished": self._totals["requests_finished"],
                                         "lost": self._workers.lost, "slots": []})
            for death in self._workers.deaths[told:]:
                self._event(writer, "death", death)
            told = len(self._workers.deaths)
            await writer.drain()
            await asyncio.sleep(TICK_S)

    def _event(self, writer, name, data):
        self._number += 1
        writer.write(f"id: {self._boot}-{self._number}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode())


async def main(arguments):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    workers = Workers(int(arguments.workers or arguments.threads or 2))
    totals = {"requests_started": 0, "requests_finished": 0}
    name = Path(sys.argv[0]).name
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGCHLD, workers.reap)
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, over.set)
    host, port = arguments.listen.split(":")
    server = await loop.create_server(lambda: Client(workers, totals), host, int(port), backlog=2000)
    told = [f"{name}: listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]} (model prefork, "
            f"{len(workers.pids)} workers, master pid {os.getpid()})"]
    if arguments.observe:
        observer = Observer(name, workers, totals)
        listening = await asyncio.start_server(observer.serve, "127.0.0.1", 0)
        observer.address = "127.0.0.1:%d" % listening.sockets[0].getsockname()[1]
        told.append(f"  observe    http://{observer.address}/#token={TOKEN}")
    print("\n".join(told), flush=True)
    await over.wait()
    workers.end()


def parse(argv):
    parser = argparse.ArgumentParser()
    for option in ("--listen", "--observe", "--workers", "--threads"):
        parser.add_argument(option)
    return parser.parse_known_args(argv)[0]


if __name__ == "__main__":
    asyncio.run(main(parse(sys.argv[1:])))
