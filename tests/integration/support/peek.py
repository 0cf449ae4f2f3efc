"""A look at a server's scoreboard from outside: by the memory of its process, so that nobody is asked, nobody has to answer, and
the look counts as no request (tests/peek)."""

import json
import os
import subprocess
import threading
from pathlib import Path

from support.processes import living_in_session

REPOSITORY = Path(__file__).resolve().parents[3]
# Tests copy the servers to other folders, but not this.
BIN_DIR = Path(os.environ.get("TWINHTTPD_BIN_DIR", REPOSITORY / "build" / os.environ.get("TWINHTTPD_PRESET", "dev") / "bin"))

_lock = threading.Lock()
_peeks: list[subprocess.Popen[str]] = []


def _start():
    return subprocess.Popen([BIN_DIR / "scoreboard_peek"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                            start_new_session=True)


def look(pid):
    """What the scoreboard of this process says; None: it has none, or has ended."""
    with _lock:
        if not _peeks:
            _peeks.append(_start())
        peek = _peeks[0]
        peek.stdin.write(f"{pid}\n")
        peek.stdin.flush()
        answer = peek.stdout.readline()
    assert answer, "scoreboard_peek has ended"
    return json.loads(answer)


def look_into_session(session):
    """The same, of whoever is left of this session and has one."""
    return next(filter(None, map(look, living_in_session(session))), None)
