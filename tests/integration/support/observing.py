"""The observer of a server under test: where it is, and what it says."""

import json
import re
import time

from support import processes
from support.client import Client, ConnectionLost
from support.waiting import wait_until

ON = ("--observe", "127.0.0.1:0")
WITH_COMMANDS = (*ON, "--observe-control", "on")
# One that leaves for another waits a second for what those ask who are connected.
PATIENCE_S = 1.0

_LINE = re.compile(r"^  observe    http://(?P<host>\S+):(?P<port>\d+)/(?:#token=(?P<token>[0-9a-f]{32}))?$", re.MULTILINE)


class Observer:
    def __init__(self, server):
        self.server = server
        self.move()

    def move(self, times=1):
        """Reads where it is, from the line that was printed so many times, and waits until it answers."""
        self.server.whole_banner()
        lines = wait_until(lambda: len(found := list(_LINE.finditer(self.server.stdout_path.read_text()))) >= times and found,
                           f"the observer's line is printed {times} times")
        self.address = (lines[-1]["host"], int(lines[-1]["port"]))
        self.token = lines[-1]["token"]
        wait_until(lambda: self.try_to_ask("/live"), "it answers")  # before that it looks like any process of the server

    @property
    def host(self):
        return f"{self.address[0]}:{self.address[1]}"

    def pid(self):
        """Its process, once there is one and no more."""
        return wait_until(lambda: len(found := processes.observers(self.server.pid)) == 1 and found, "one process observes")[0]

    def connect(self, **options):
        return Client(self.address, **options)

    def request_bytes(self, method="GET", target="/", headers=(), body=b"", host=None):
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.host if host is None else host}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body

    def ask(self, method="GET", target="/", headers=(), body=b"", host=None):
        """One request on a connection of its own; again if it was cut by rights, since it came late itself."""
        while True:
            begin_s = time.monotonic()
            with self.connect() as client:
                client.send(self.request_bytes(method, target, headers, body, host))
                was_late = time.monotonic() - begin_s > PATIENCE_S / 2
                try:
                    return client.read_response(method)
                except ConnectionLost as lost:
                    if not was_late or lost.received or method == "POST":
                        raise

    def try_to_ask(self, target):
        """The answer, or None where there is none just now."""
        try:
            return self.ask(target=target)
        except (OSError, ConnectionLost):
            return None

    def says(self, target):
        """Status and text."""
        answer = self.ask(target=target)
        return answer.status, answer.body.decode().rstrip("\n")

    def wait_until_says(self, target, status, text):
        """On a busy machine the master may be late, and meanwhile it is told so."""
        wait_until(lambda: self.says(target) == (status, text), f"{target} says {status}: {text}")

    def command(self, command, token=None, **members):
        """Status and answer of a command, with the token that was printed."""
        body = json.dumps({"command": command, **members}).encode()
        answer = self.ask("POST", "/api/v1/commands", [("Authorization", f"Bearer {token or self.token}")], body)
        return answer.status, json.loads(answer.body)

    def done(self, command, **members):
        status, answer = self.command(command, **members)
        assert (status, answer["ok"]) == (200, True), answer
        return answer
