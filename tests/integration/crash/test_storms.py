"""--on-death adopt, under everything at once: clients that check each byte while processes are killed, long transfers,
and what is left over after many deaths. What CI runs takes seconds. TWINHTTPD_TEST_STORM makes all of it so many times as
long, for every model (30: a minute for each load, 100 MiB, 50 deaths on the way); TWINHTTPD_TEST_STORM_DEATHS says how many deaths
in one go leave nothing over. tests/README.md has the commands."""

import hashlib
import os
import random
import re
import signal
import time

import pytest

from support import models, processes, wrk
from support.checker import KINDS, Checker, write_files
from support.server import REPOSITORY, SANITIZED
from support.waiting import wait_until

SCALE = int(os.environ.get("TWINHTTPD_TEST_STORM", "1"))
EACH_KIND = pytest.mark.models(models.EACH_KIND if SCALE == 1 else models.SUPERVISED)
UNDER_LOAD = pytest.mark.models(models.UNDER_LOAD if SCALE == 1 else models.SUPERVISED)
LOAD_S = 2 * SCALE
KILL_EVERY_S = 0.02
DEATHS = int(os.environ.get("TWINHTTPD_TEST_STORM_DEATHS", str(40 * SCALE)))
TRANSFER_BYTES = min(100, 4 * SCALE) << 20
KILLS_ON_THE_WAY = min(50, 5 * SCALE)
PATIENCE_MS = "600000"
PIPELINE = (REPOSITORY / "loadtest" / "wrk" / "pipeline.lua", "16")  # requests at once
# Handed over in the moment of a death, a connection is cut: the manual says so.
ADOPT = ("--on-death", "adopt", "--bench", "on", "--stuck-after-ms", "off", "--rebalance", "off")


@pytest.fixture
def start_adopting(start_server, site):
    write_files(site)
    return lambda model, *options: start_server(model, *ADOPT, *options)


class Reaper:
    """Kills processes that have become ready, and no other: who is killed before waits longer and longer."""

    def __init__(self, server):
        self._server = server
        self._log = open(server.stderr_path, encoding="utf-8")
        self._begun = ""  # of a line that is still being written
        self._fresh = list(server.worker_pids())
        self.kills = 0

    def _look(self):
        *lines, self._begun = (self._begun + self._log.read()).split("\n")
        for line in lines:
            ready = re.search(r"process \d+ \(pid (\d+), generation \d+\) is ready", line)
            if ready:
                self._fresh.append(int(ready[1]))

    def kill(self):
        """One of them; False: none is ready."""
        self._look()
        if not self._fresh:
            return False
        os.kill(self._fresh.pop(random.randrange(len(self._fresh))), signal.SIGKILL)
        self.kills += 1
        return True

    def wait_for_successors(self):
        """Until all processes are ready, and those that were killed are gone."""
        def are_ready():
            self._look()
            return len(self._fresh) == self._server.model.processes
        wait_until(are_ready, "all processes are ready")

    def kill_all(self):
        """All of them, when all are ready."""
        self.wait_for_successors()
        while self.kill():
            pass

    def close(self):
        self._log.close()


@pytest.fixture
def reap():
    reapers = []

    def start(server):
        reapers.append(Reaper(server))
        return reapers[-1]
    yield start
    for reaper in reapers:
        reaper.close()


@pytest.fixture
def start_checkers():
    started = []

    def start(server, **how):
        started.append(Checker(server.address, **how))
        return started[-1]
    yield start
    for checker in started:
        checker.kill()


def check_nothing_is_lost(server):
    """In the books of every death; and who is killed from outside is never suspected for long."""
    status = server.status()
    assert status["totals"]["requests_lost"] == 0
    assert all(death["left_to_successor"] for death in status["deaths"])
    adoption = status["totals"]["adoption"]
    assert (adoption["lost"], adoption["refused_500"], adoption["refused_502"]) == (0, 0, 0)


def kill_for_a_while(reaper):
    end_s = time.monotonic() + LOAD_S
    while time.monotonic() < end_s or reaper.kills < 10:
        reaper.kill()
        time.sleep(KILL_EVERY_S)


@pytest.mark.serial
@pytest.mark.slow
@UNDER_LOAD
@pytest.mark.parametrize("connections, pipeline, kinds", [(64, 1, KINDS), (16, 16, ("plaintext", "file-1k", "echo-1k"))],
                         ids=["each-kind", "pipelined"])
def test_each_answer_is_right(model, start_adopting, start_checkers, reap, connections, pipeline, kinds):
    server = start_adopting(model)
    checkers = start_checkers(server, connections=connections, pipeline=pipeline, kinds=kinds)
    kill_for_a_while(reap(server))
    server.wait_for_full_strength()
    check_nothing_is_lost(server)
    report = checkers.end()
    assert (report.cut, report.wrong) == (0, 0), report
    assert not report.statuses, report
    assert report.answers > 0


@pytest.mark.serial
@pytest.mark.slow
@UNDER_LOAD
@pytest.mark.parametrize("connections, script", [(64, ()), (1000, ()), (64, PIPELINE)], ids=["c64", "c1000", "pipelined"])
def test_no_request_of_a_load_fails(model, start_adopting, start_load, reap, connections, script):
    server = start_adopting(model)
    load = start_load(server, "/plaintext", connections=connections, script=script)
    reaper = reap(server)
    kill_for_a_while(reaper)
    server.wait_for_full_strength()
    check_nothing_is_lost(server)
    result = wrk.end(load)
    assert (result.connect_errors, result.read_errors, result.write_errors, result.bad_statuses) == (0, 0, 0, 0)
    assert result.requests > 0


@pytest.fixture
def large_file(site):
    content = random.Random(3).randbytes(TRANSFER_BYTES)
    (site / "large.bin").write_bytes(content)
    os.utime(site / "large.bin", (1e9, 1e9))
    return content


def read_body(client, length, reaper):
    """The digest of a body that comes while processes die."""
    digest, part = hashlib.sha256(), length // KILLS_ON_THE_WAY
    for i in range(KILLS_ON_THE_WAY):
        digest.update(client.read_exactly(part if i + 1 < KILLS_ON_THE_WAY else length - i * part))
        reaper.kill_all()
    return digest.digest()


@pytest.mark.slow
@EACH_KIND
@pytest.mark.parametrize("first", [None, 1000], ids=["whole", "range"])
@pytest.mark.parametrize("receive_buffer_bytes", [None, 65536], ids=["fast", "slow"])
def test_a_long_download(model, start_adopting, reap, large_file, first, receive_buffer_bytes):
    server = start_adopting(model)
    reaper = reap(server)
    right = large_file[first:]
    with server.connect(receive_buffer_bytes=receive_buffer_bytes) as client:
        wanted = b"" if first is None else b"Range: bytes=%d-\r\n" % first
        client.send(b"GET /large.bin HTTP/1.1\r\nHost: a\r\n%s\r\n" % wanted)
        head = client.read_head()
        assert b"Content-Length: %d" % len(right) in head
        assert read_body(client, len(right), reaper) == hashlib.sha256(right).digest()
        head = client.request("HEAD", "/large.bin")
        assert (head.status, head.header("Content-Length")) == (200, str(TRANSFER_BYTES))


@pytest.mark.slow
@EACH_KIND
@pytest.mark.parametrize("way", ["length", "chunked", "expect"])
def test_a_long_upload(model, start_adopting, reap, way):
    content = random.Random(4).randbytes(TRANSFER_BYTES)
    server = start_adopting(model, "--max-body-bytes", str(TRANSFER_BYTES), "--body-timeout-ms", PATIENCE_MS)
    reaper = reap(server)
    part = TRANSFER_BYTES // KILLS_ON_THE_WAY + 1
    with server.connect() as client:
        framing = b"Transfer-Encoding: chunked" if way == "chunked" else b"Content-Length: %d" % TRANSFER_BYTES
        expectation = b"Expect: 100-continue\r\n" if way == "expect" else b""
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\n%s\r\n%s\r\n" % (framing, expectation))
        if way == "expect":
            reaper.kill_all()
            assert client.read_head().startswith(b"HTTP/1.1 100 ")
        for start in range(0, TRANSFER_BYTES, part):
            piece = content[start:start + part]
            client.send(b"%x\r\n%s\r\n" % (len(piece), piece) if way == "chunked" else piece)
            reaper.kill_all()
        client.send(b"0\r\n\r\n" if way == "chunked" else b"")
        assert client.read_response().body == content
        assert client.get("/plaintext").status == 200


def holdings(server, reaper):
    """What grows with each death if it is not given back."""
    reaper.wait_for_successors()
    server.wait_for_full_strength()
    pids = wait_until(lambda: pids if len(pids := server.worker_pids()) == server.model.processes else None, "all serve")
    wait_until(lambda: len(processes.keepers(server.pid)) == len(pids), "one keeper for each process")
    wait_until(lambda: len(processes.living_in_session(server.session)) == 1 + 2 * len(pids), "nobody else is there")
    return {"descriptors": processes.open_fds(server.pid), "private KiB": processes.private_kib(server.pid),
            "slots": len(server.status()["workers"])}


@pytest.mark.slow
@EACH_KIND
def test_nothing_is_left_over_after_many_deaths(model, start_adopting, start_checkers, reap):
    server = start_adopting(model)
    checkers = start_checkers(server, connections=8)
    reaper = reap(server)

    def kill_so_many(deaths):
        while reaper.kills < deaths:
            if not reaper.kill():
                time.sleep(0.001)
    kill_so_many(DEATHS // 4)
    before = holdings(server, reaper)
    kill_so_many(DEATHS)
    after = holdings(server, reaper)
    report = checkers.end()
    assert (report.cut, report.wrong) == (0, 0), report
    print(f"{reaper.kills} deaths, {report.answers} answers; before {before}, after {after}")
    assert after["descriptors"] <= before["descriptors"] + 1  # a question that is just being answered
    assert after["slots"] == before["slots"]
    assert SANITIZED or after["private KiB"] <= before["private KiB"] + 128  # they keep what is freed
