"""Clients that believe nothing: each keeps one connection, asks on and on, and compares every answer to the byte. As a
program of its own it does not stand in the way of a test that kills meanwhile:

    checker.py HOST PORT CONNECTIONS PIPELINE KIND...

It ends when its standard input does, and prints what it has seen as JSON."""

import json
import os
import random
import re
import selectors
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

KIB = 1024
FILE_BYTES = {"file-13": 13, "file-1k": KIB, "file-100k": 100 * KIB}
ECHO_BYTES = {"echo-13": 13, "echo-1k": KIB, "echo-100k": 100 * KIB}
CHUNKED_BYTES = {"chunked-1k": KIB, "chunked-100k": 100 * KIB}
KINDS = ("plaintext", *FILE_BYTES, *ECHO_BYTES, *CHUNKED_BYTES)

_RECEIVE_BYTES = 1 << 18
_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ")
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_SAMPLES = 10  # of what went wrong


def file_content(name):
    return random.Random(name).randbytes(FILE_BYTES[name])


def write_files(root):
    """Those that checkers ask for, with a time that does not look new: else their validators change a moment later."""
    for name in FILE_BYTES:
        (root / name).write_bytes(file_content(name))
        os.utime(root / name, (1e9, 1e9))


@dataclass
class Report:
    answers: int = 0
    cut: int = 0  # connections
    wrong: int = 0  # answers with another body than the right one
    statuses: dict = field(default_factory=dict)  # other than 200
    samples: list = field(default_factory=list)
    longest_s: float = 0.0

    @property
    def is_clean(self):
        return not (self.cut or self.wrong or self.statuses)


class Asker:
    """One connection, with so many requests on their way at once."""

    def __init__(self, address, kinds, pipeline, seed, report):
        self._random = random.Random(seed)
        self._kinds = kinds
        self._pipeline = pipeline
        self._report = report
        self._awaited = []  # (kind, body, when it was asked)
        self._to_send = bytearray()
        self._received = bytearray()
        self.socket = socket.create_connection(address)
        self.socket.setblocking(False)
        self.is_open = True

    # Asking.

    def _ask(self):
        kind = self._random.choice(self._kinds)
        if kind == "plaintext":
            body, request = b"Hello, World!", b"GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n"
        elif kind in FILE_BYTES:
            body, request = file_content(kind), b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % kind.encode()
        elif kind in ECHO_BYTES:
            body = self._random.randbytes(ECHO_BYTES[kind])
            request = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        else:
            body = self._random.randbytes(CHUNKED_BYTES[kind])
            request = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + self._in_chunks(body)
        self._to_send += request
        self._awaited.append((kind, body, time.monotonic()))

    def _in_chunks(self, body):
        out = bytearray()
        start = 0
        while start < len(body):
            piece = body[start:start + self._random.randint(1, 20_000)]
            out += b"%x\r\n%s\r\n" % (len(piece), piece)
            start += len(piece)
        return bytes(out) + b"0\r\n\r\n"

    def go_on(self, asks):
        """Asks anew when everything is answered, and sends what the kernel takes. True: there is more to send."""
        if asks and not self._awaited:
            for _ in range(self._pipeline):
                self._ask()
        while self._to_send:
            try:
                del self._to_send[:self.socket.send(self._to_send)]
            except BlockingIOError:
                return True
            except OSError as error:
                self._cut(error)
                return False
        return False

    @property
    def is_owed(self):
        return self.is_open and bool(self._awaited)

    # What comes.

    def read(self):
        try:
            data = self.socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._cut(error)
            return
        if not data:
            self._cut("closed")
            return
        self._received += data
        while self._take_answer():
            pass

    def _take_answer(self):
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or not self.is_open:
            return False
        head = bytes(self._received[:end + 4])
        status, length = _STATUS.match(head), _LENGTH.search(head)
        if not status or not length or not self._awaited:
            self._report.wrong += 1
            self._cut(f"no answer to anything: {head[:200]!r}")
            return False
        after = end + 4 + int(length[1])
        if len(self._received) < after:
            return False
        self._judge(int(status[1]), bytes(self._received[end + 4:after]))
        del self._received[:after]
        return True

    def _judge(self, status, body):
        kind, right, since_s = self._awaited.pop(0)
        self._report.answers += 1
        self._report.longest_s = max(self._report.longest_s, time.monotonic() - since_s)
        if status != 200:
            self._report.statuses[str(status)] = self._report.statuses.get(str(status), 0) + 1
            self._sample(f"{kind}: {status}")
        elif body != right:
            self._report.wrong += 1
            self._sample(f"{kind}: {len(body)} bytes, {body[:40]!r}")

    def _cut(self, why):
        self._report.cut += 1
        awaited = ", ".join(kind for kind, _, _ in self._awaited)
        self._sample(f"cut: {why}; awaited {awaited}; unsent {len(self._to_send)}, received {len(self._received)}")
        self.is_open = False

    def _sample(self, text):
        if len(self._report.samples) < _SAMPLES:
            self._report.samples.append(text)


def _watch(selector, asker, asks):
    wants = selectors.EVENT_READ | (selectors.EVENT_WRITE if asker.go_on(asks) else 0)
    if not asker.is_open:
        selector.unregister(asker.socket)
        asker.socket.close()
    elif selector.get_key(asker.socket).events != wants:
        selector.modify(asker.socket, wants, asker)


def check(address, connections, pipeline, kinds, has_ended, patience_s=120.0):
    """Asks until has_ended(), and then waits for what is owed."""
    report = Report()
    askers = [Asker(address, kinds, pipeline, seed, report) for seed in range(connections)]
    with selectors.DefaultSelector() as selector:
        for asker in askers:
            selector.register(asker.socket, selectors.EVENT_READ, asker)
            _watch(selector, asker, True)
        give_up_s = None
        while True:
            asks = not has_ended()
            if not asks:
                give_up_s = give_up_s or time.monotonic() + patience_s
                owed = sum(asker.is_owed for asker in askers)
                if not owed or time.monotonic() > give_up_s:
                    report.cut += owed
                    return report
            for key, events in selector.select(0.1):
                asker = key.data
                if events & selectors.EVENT_READ:
                    asker.read()
                _watch(selector, asker, asks)


class Checker:
    """Checkers in a process of their own."""

    def __init__(self, address, connections=16, pipeline=1, kinds=KINDS):
        command = [sys.executable, Path(__file__), address[0], str(address[1]), str(connections), str(pipeline), *kinds]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def end(self):
        output, _ = self._process.communicate()
        assert self._process.returncode == 0, output
        return Report(**json.loads(output))

    def kill(self):
        with self._process:
            self._process.kill()


def main():
    host, port, connections, pipeline, *kinds = sys.argv[1:]
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    report = check((host, int(port)), int(connections), int(pipeline), kinds, ended.is_set)
    print(json.dumps(asdict(report)))


if __name__ == "__main__":
    main()
