"""The way of a request, as README.md tells it, is the way that it goes: callgrind traces GET /plaintext on a new
connection, with an access log, from the accept to the line in the log.

What counts: the source files (.c) above common/base that the request enters, but for the leaves. A leaf calls no other
such file and moves none of the connection's bytes: a word to look up, and no stop on the way. The handler is a stop,
whatever it calls. Headers hold accessors of a line or two and are no stops.
"""

import os
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BINARIES = Path(os.environ.get("TWINHTTPD_BIN_DIR", ROOT / "build/dev/bin"))
DEADLINE_S = 600  # only a test that hangs takes so long
# Where the event loops and the pool threads pass the request on: what is called from there is its way.
ENTRANCES = ("on_acceptable", "on_event", "on_turn_end", "on_wake", "run_batch")
MOVES_BYTES = {"accept4", "recv", "send", "sendmsg", "sendfile"}
HANDLERS = "common/handlers/"
MOST, MOST_IN_DISPATCH = 10, 12


def wait_for(condition, what):
    until = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < until, f"waited {DEADLINE_S} s in vain: {what}"
        time.sleep(0.05)
    return found


# ---- The trace ----

class Profile:
    """Of a callgrind output: which functions of which files ran, and whom each file called."""

    def __init__(self, text):
        self.entered = {}  # path -> names of functions
        self.calls = {}  # path -> (path or None, name of a function)
        self.names = {"file": {}, "function": {}}
        self.read(text)

    def name(self, kind, text):
        """Of "(3) name", or of "(3)" where it was named before."""
        number, _, name = text.partition(" ")
        return self.names[kind].setdefault(number, name)

    def read(self, text):
        here = function = callee_file = callee = None
        is_inclusive = False  # the next line is what a call cost, not what ran here
        for line in text.splitlines():
            key, _, value = line.partition("=")
            if key in ("fl", "fi", "fe"):
                here = self.name("file", value)
            elif key == "fn":
                function = self.name("function", value)
                callee_file = None
            elif key in ("cfi", "cfl"):
                callee_file = self.name("file", value)
            elif key == "cfn":
                callee = self.name("function", value)
            elif key == "calls":
                self.calls.setdefault(ours(here), set()).add((ours(callee_file or here), callee))
                callee_file, is_inclusive = None, True
            elif re.match(r"[\d+*-]", line):
                if not is_inclusive:
                    self.entered.setdefault(ours(here), set()).add(function)
                is_inclusive = False


def ours(path):
    """From the root, of a source file of ours above base; None: it is not."""
    match = re.search(r"(?:^|/)((?:common|server)/.+\.c)$", path or "")
    is_above_base = match and not match[1].startswith("common/base/") and (ROOT / match[1]).is_file()
    return match[1] if is_above_base else None


def stops(profile):
    """The source files that the request enters, and that are no leaves."""
    def is_stop(path):
        calls = profile.calls.get(path, set())
        return path.startswith(HANDLERS) or any(
            other not in (None, path) or (other is None and name.lstrip("_") in MOVES_BYTES) for other, name in calls)
    return {path for path in profile.entered if path and is_stop(path)}


def trace(folder, program, *options):
    """Serves one request under callgrind, which writes when the connection ends."""
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out.%p", "--collect-atstart=no",
               "--dump-before=connection_destroy", *(f"--toggle-collect={name}" for name in ENTRANCES),
               BINARIES / program, "--listen", "127.0.0.1:0", "--access-log", folder / "access.log", *options]
    with open(folder / "stdout", "wb") as stdout, open(folder / "stderr", "wb") as stderr:
        server = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=os.environ | {"LD_BIND_NOW": "1"})
    try:
        banner = wait_for(lambda: re.search(r"http://127\.0\.0\.1:(\d+)", (folder / "stdout").read_text()),
                          f"{program} listens")
        with socket.create_connection(("127.0.0.1", int(banner[1])), timeout=DEADLINE_S) as client:
            client.sendall(b"GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
        return Profile(wait_for(lambda: next((text for path in folder.glob("out.*.1")
                                              if "\ntotals:" in (text := path.read_text())), None), "the trace"))
    finally:
        server.terminate()
        server.wait(DEADLINE_S)


# ---- What README.md says ----

def told_way():
    """The files of the list, in its order, and those that request dispatch adds."""
    section = (ROOT / "README.md").read_text().partition("## A request's way\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^((?:common|server)/\S+\.c) ", section, re.MULTILINE)
    return listed, re.findall(r"`((?:common|server)/\S+\.c)`", section)


@pytest.mark.parametrize("program, options, in_dispatch", [
    ("prefork-server", ("--workers", "1"), False),
    ("threadpool-server", ("--threads", "1", "--loops", "1", "--dispatch", "request", "--offload", "all"), True),
], ids=["prefork", "request dispatch"])
def test_the_way_is_as_told(tmp_path, program, options, in_dispatch):
    listed, added = told_way()
    told = [*listed, *added] if in_dispatch else listed
    profile = trace(tmp_path, program, *options)
    leaves = sorted(set(filter(None, profile.entered)) - stops(profile))
    print(f"{program}: {len(stops(profile))} files, and the leaves {', '.join(leaves)}")
    assert sorted(told) == sorted(stops(profile))
    assert len(told) <= (MOST_IN_DISPATCH if in_dispatch else MOST)


def test_a_trace_is_read():
    profile = Profile("""fl=(1) build/dev/common/net/acceptor.c
fn=(1) accept_one
10 3
cfi=(2) common/net/connection.c
cfn=(2) connection_create
calls=1 5
11 400
fi=(3) /x/common/base/span.h
4 1
fe=(1)
12 1
fl=(2)
fn=(2)
5 8
cfi=(4) /build/glibc/socket/recv.c
cfn=(3) recv
calls=1 1
6 20
fl=(5) common/http/router.c
fn=(4) router_find
1 9
cfi=(6) common/base/memory.c
cfn=(5) memory_alloc
calls=1 1
2 2
fl=(7) common/handlers/bench/plaintext.c
fn=(6) plaintext
1 1
totals: 445
""")
    assert profile.entered["common/net/acceptor.c"] == {"accept_one"}
    assert stops(profile) == {"common/net/acceptor.c", "common/net/connection.c", "common/handlers/bench/plaintext.c"}
    assert "common/http/router.c" in profile.entered
