"""A server's observer: the process beside those that serve, which tells what they do and passes on commands."""

import re
from dataclasses import dataclass
from typing import Any

from twinlab.base.errors import LabError
from twinlab.clients import events, http

BANNER = re.compile(r"^  observe +http://127\.0\.0\.1:(?P<port>\d+)/(?:#token=(?P<token>\S+))?", re.MULTILINE)
NAME = "observer"  # of its process, as ps shows it
OPTIONS = ("--observe", "127.0.0.1:0")
CONTROL = ("--observe-control", "on")
STATE_PATH, EVENTS_PATH, COMMANDS_PATH = "/api/v1/state", "/events", "/api/v1/commands"
STATE_TIMEOUT_S = 2.0
COMMAND_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Observer:
    """Where it listens, and the token that commands need."""

    port: int
    token: str

    def state(self) -> dict[str, Any]:
        """All that it tells, now."""
        reply = http.ask(self.port, "GET", STATE_PATH, timeout_s=STATE_TIMEOUT_S)
        if reply.status != 200:
            raise LabError(f"its observer answered {STATE_PATH} with {reply.status}")
        return reply.json()

    def events(self, last_id: str = "") -> events.Stream:
        """What it tells from now on, or from an earlier event on."""
        return events.Stream(self.port, EVENTS_PATH, last_id)

    def command(self, body: bytes) -> http.Reply:
        """Its answer to a line of the control protocol."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        return http.ask(self.port, "POST", COMMANDS_PATH, headers, body, COMMAND_TIMEOUT_S)


def find(banner: str) -> Observer | None:
    """The observer that a server names in the lines that it prints at its start; None: it names none (yet)."""
    match = BANNER.search(banner)
    return Observer(int(match["port"]), match["token"] or "") if match else None
