"""`lab live --record`: the last ten minutes of all servers, as one page that needs no other and plays them again."""

import json
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from twinlab.base.errors import LabError
from twinlab.clients.events import Block
from twinlab.commands.live_page import Page
from twinlab.commands.live_relay import Relay
from twinlab.commands.live_sides import Side

KEPT_MS = 600_000
# A recording of a server begins with all that is known at a time; what comes later says only what has changed.
FULL_STATE_EVERY_S = 60.0
HELLO = "hello"
EVENTS = (HELLO, "tick", "processes", "death", "stuck", "recovered", "wrk")


@dataclass(frozen=True)
class Entry:
    """One event of one server. is_ours: a state that the laboratory asked for, and no viewer was told."""

    t_ms: int
    number: int
    event: str
    data: str
    is_ours: bool = False


class Recorder:
    """Watches all servers as a viewer would, and keeps what it saw."""

    def __init__(self, sides: list[Side], is_over: Callable[[], bool], now_ms: Callable[[], int] | None = None) -> None:
        self._sides = sides
        self._is_over = is_over
        began_ms = time.time() * 1000 - time.monotonic() * 1000  # whoever sets the clock later
        self._now_ms = now_ms or (lambda: int(began_ms + time.monotonic() * 1000))
        self._entries: deque[Entry] = deque()
        self._lock = threading.Lock()

    def start(self) -> None:
        for number in range(len(self._sides)):
            threading.Thread(target=self._watch, args=(number,), name="recorder", daemon=True).start()

    def _watch(self, number: int) -> None:
        Relay(self._sides[number], lambda block: self.take(number, block), self._is_over).run()

    def take(self, number: int, block: Block, is_ours: bool = False) -> None:
        """An event of a server."""
        if block.event not in EVENTS:
            return
        now_ms = self._now_ms()
        with self._lock:
            self._entries.append(Entry(now_ms, number, block.event, block.data, is_ours))
            # A server's part begins with a full state, of which there is one in each such time.
            limit_ms = now_ms - KEPT_MS - int(FULL_STATE_EVERY_S * 1000)
            while self._entries[0].t_ms < limit_ms:
                self._entries.popleft()

    def note_state(self, number: int, state: dict[str, Any]) -> None:
        """All that is known now, so that what came before can be forgotten."""
        self.take(number, Block(b"", HELLO, json.dumps(state, separators=(",", ":"))), is_ours=True)

    def entries(self) -> list[Entry]:
        """In the order of time; of each server, from a full state on."""
        with self._lock:
            kept = list(self._entries)
        begun: set[int] = set()
        found = []
        for entry in kept:
            is_first = entry.number not in begun
            if entry.event == HELLO and (is_first or not entry.is_ours) or not is_first and entry.event != HELLO:
                begun.add(entry.number)
                found.append(entry)
        return found

    def as_json(self, servers: list[dict[str, Any]]) -> str:
        """The recording; what was told as JSON is written as it came."""
        events = ",".join(f'[{entry.t_ms},{entry.number},"{entry.event}",{entry.data}]' for entry in self.entries())
        return f'{{"recording":1,"made_ms":{self._now_ms()},"servers":{json.dumps(servers)},"events":[{events}]}}'


def write(path: Path, page: Page, recording: str) -> int:
    """The page with a recording in it; its size in bytes. Whoever looks sees all of it, or the file from before."""
    text = page.with_recording(recording)
    beside = path.with_name(path.name + ".part")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise LabError(f"cannot write the recording to {path}: {error.strerror}") from error
    return len(text.encode())
