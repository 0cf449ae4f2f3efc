"""What an observer tells: its state, its metrics, and the stream of its events."""

import json
import re
import socket
import time
from dataclasses import dataclass

from support import observing
from support.waiting import DEADLINE_S, wait_until

_SAMPLE = re.compile(r"(\w+)(\{[^}]*\})? (\S+)")


@dataclass(frozen=True)
class Event:
    id: str
    name: str
    data: dict
    at_s: float  # time.monotonic() when it was complete


class Stream:
    """GET /events, read as it comes."""

    def __init__(self, observer, last_id=None):
        self.socket = socket.create_connection(observer.address, DEADLINE_S)
        fields = [("Last-Event-ID", last_id)] if last_id else []
        self.socket.sendall(observer.request_bytes(target="/events", headers=fields))
        self._buffer = b""
        head = self._read_up_to(b"\r\n\r\n").decode("latin-1").split("\r\n")
        self.status = int(head[0].split()[1])
        if self.status == 200:
            assert self._read_up_to(b"\n\n") == b"retry: 500"

    def _read_up_to(self, end):
        while end not in self._buffer:
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the stream has ended")
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(end)
        return text

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def next(self, *names):
        """The next event, or the next one that has one of these names."""
        deadline_s = time.monotonic() + DEADLINE_S
        while True:
            lines = dict(line.split(": ", 1) for line in self._read_up_to(b"\n\n").decode().split("\n"))
            event = Event(lines["id"], lines["event"], json.loads(lines["data"]), time.monotonic())
            if not names or event.name in names:
                return event
            assert time.monotonic() < deadline_s, f"no {names} in the stream"


class Observer(observing.Observer):
    """The observer of a server that was started with observing.ON."""

    def state(self):
        answer = self.ask(target="/api/v1/state")
        assert answer.status == 200, answer
        assert answer.header("content-type") == "application/json"
        return json.loads(answer.body)

    def serving_pids(self):
        return [process["pid"] for process in self.state()["processes"]]

    def metrics(self):
        """Each sample's value by its name and labels, as they are written."""
        text = self.ask(target="/metrics").body.decode()
        samples = (_SAMPLE.fullmatch(line) for line in text.splitlines() if not line.startswith("#"))
        return {match[1] + (match[2] or ""): float(match[3]) for match in samples}

    def watch(self, last_id=None):
        return Stream(self, last_id)

    def wait_for_full_strength(self, without=()):
        """Until as many processes as wanted are ready, and none of those is among them."""
        def is_there():
            state = self.state()
            ready = [process for process in state["processes"] if process["state"] == "ready"]
            return (len(ready) == len(state["processes"]) == state["master"]["processes_wanted"]
                    and not {process["pid"] for process in ready} & set(without))
        wait_until(is_there, "every process is ready")
