"""Access log and error log."""

import json
import os
import re
import resource
import signal

import pytest

from support import models, server as servers
from support.client import request_bytes
from support.server import shown_line
from support.waiting import wait_until

COMBINED = re.compile(
    r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] '
    r'"((?:[^"\\]|\\.)*)" (\d{3}) (\d+|-) "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)" (\d+) (\d+) (\d+)')
ABORTED = " aborted"  # behind a line whose response was not sent to its end
ERROR_LOG_LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[(debug|info|notice|warn|error)\] .+")


@pytest.fixture
def start_logging(start_server, tmp_path):
    """A server with an access log; calling lines() stops it and gives what it wrote. SIGTERM has no patience with who
    is late, as on a busy machine: what such a process has not written is lost by rights (was_late)."""
    def start(model, *options):
        path = tmp_path / "access.log"
        server = start_server(model, "--access-log", str(path), *options)

        def lines(signal_number=signal.SIGQUIT):
            server.stop(signal_number)
            written = path.read_bytes().decode("latin-1").splitlines()
            path.unlink()
            return written
        return server, lines
    return start


def was_late(server, stuck=0):
    """Whether a process took longer to stop than SIGTERM allows; so many threads were in a handler by design. Where one
    is left, ThreadSanitizer waits for a second at the exit: that one is cut short, with all its lines written."""
    left = sum(map(int, re.findall(r"(\d+) threads are still in a handler", server.log())))
    return left > stuck or server.was_cut_short() and not (stuck and servers.PRESET == "tsan")


def test_every_request_has_a_whole_line(model, start_logging):
    """Batches of several workers in one file: no line is lost or mixed with another."""
    def write():
        server, lines = start_logging(model)
        clients = [server.connect() for _ in range(20)]
        for client in clients:
            client.send(request_bytes(target="/plaintext", headers=[("User-Agent", "a" * 300)]) * 50)
        for client in clients:
            for _ in range(50):
                client.read_response()
            client.close()
        written = lines(signal.SIGTERM)
        return None if was_late(server) else (written,)
    written, = wait_until(write, "all stop in time")
    assert len(written) == 1000
    assert all(COMBINED.fullmatch(line) for line in written)


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_a_log_that_may_not_grow_ends_nobody(model, start_server, tmp_path):
    """RLIMIT_FSIZE: what is beyond it is not written, and everything goes on."""
    log = tmp_path / "error.log"
    server = start_server(model, "--error-log", str(log), "--faults", "on")
    for pid in (server.pid, *server.worker_pids()):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (log.stat().st_size + 10, resource.RLIM_INFINITY))
    victim = server.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    server.wait_for_death(victim)
    server.wait_for_full_strength(without_pid=victim)
    assert server.get("/plaintext").status == 200


@pytest.mark.models(("threadpool-request-all", "hybrid-request"))
def test_no_line_is_lost_with_a_stuck_handler(model, start_logging):
    """The process leaves without the thread that is in it."""
    def write():
        server, lines = start_logging(model)
        with server.connect() as stuck, server.connect() as client:
            stuck.send(request_bytes(target="/sleep?ms=60000"))
            wait_until(lambda: server.is_running("GET /sleep?ms=60000 HTTP/1.1"), "it sleeps")
            for _ in range(20):
                assert client.get("/plaintext?counted").status == 200
            written = lines(signal.SIGTERM)
        return None if was_late(server, stuck=1) else (server, written)
    server, written = wait_until(write, "all the others stop in time")
    assert "leaving without them" in server.log()
    assert sum("counted" in line for line in written) == 20


@pytest.mark.models(models.PROTOCOL)
def test_combined_fields(model, start_logging):
    server, lines = start_logging(model)
    with server.connect() as client:
        client.get("/hello.txt?a=b", [("Referer", "http://from/"), ("User-Agent", "me/1.0")])
        client.request("HEAD", "/hello.txt")
        client.request("POST", "/echo", body=b"12345")
        client.get("/no-such-file")
    found = [COMBINED.fullmatch(line).groups() for line in lines()]
    assert found[0][:5] == ("GET /hello.txt?a=b HTTP/1.1", "200", "18", "http://from/", "me/1.0")
    assert found[1][:2] == ("HEAD /hello.txt HTTP/1.1", "200")
    assert found[1][2] in ("0", "-")
    assert found[2][:3] == ("POST /echo HTTP/1.1", "200", "5")
    assert found[3][:2] == ("GET /no-such-file HTTP/1.1", "404")


@pytest.mark.models(models.PROTOCOL)
def test_json_lines(model, start_logging):
    server, lines = start_logging(model, "--access-log-format", "json")
    with server.connect() as client:
        client.get("/hello.txt", [("User-Agent", 'a "quoted" \\ agent')])
        client.get("/no-such-file", [("User-Agent", "\xe4")])
    first, second = (json.loads(line) for line in lines())
    assert 200 in first.values()
    assert any("/hello.txt" in str(value) for value in first.values())
    assert 'a "quoted" \\ agent' in first.values()
    assert 404 in second.values()


def read_line(line, log_format):
    """(request, status, bytes, aborted) of a line."""
    if log_format == "json":
        fields = json.loads(line)
        assert fields.get("aborted") in (None, True)
        return fields["request"], fields["status"], fields["bytes"], "aborted" in fields
    request, status, size, *_ = COMBINED.fullmatch(line.removesuffix(ABORTED)).groups()
    return request, int(status), int(size), line.endswith(ABORTED)


def read_service(line, log_format):
    """(microseconds, process, slot) of a line."""
    if log_format == "json":
        fields = json.loads(line)
        return fields["duration_us"], fields["process"], fields["slot"]
    return tuple(map(int, COMBINED.fullmatch(line.removesuffix(ABORTED)).groups()[5:]))


@pytest.mark.parametrize("log_format", ["combined", "json"])
def test_who_served_it_and_how_long_it_took(model, start_logging, log_format):
    """The process as the master counts, the slot of the thread that ran the handler, and all the time from the first
    byte of the head to the last one sent: here the handler's."""
    server, lines = start_logging(model, "--access-log-format", log_format)
    with server.connect() as client:
        tid = server.whoami(client)["tid"]
        assert client.get("/sleep?ms=200").status == 200
    (slot, place), = ((i, place) for i, place in enumerate(server.status()["workers"]) if place["tid"] == tid)
    found = {name: read_service(line, log_format) for line in lines() for name in ("/whoami", "/sleep") if name in line}
    assert found["/whoami"][1:] == (place["process"], slot)
    assert 200_000 <= found["/sleep"][0] < 60_000_000


@pytest.mark.parametrize("log_format", ["combined", "json"])
def test_what_was_sent_of_an_aborted_download(model, start_logging, log_format):
    """Each of the pipelined requests has its own line; the last one says that it was not finished."""
    server, lines = start_logging(model, "--access-log-format", log_format)
    with server.connect(receive_buffer_bytes=4096) as client:
        client.send(b"".join(request_bytes(target=f"/{name}") for name in ("hello.txt", "1mib.bin", "20mib.bin")))
        assert client.read_response().status == 200
        assert client.read_response().status == 200
        client.read_exactly(100_000)
    with server.connect() as client:
        client.get("/plaintext")
    wait_until(lambda: server.status()["totals"]["requests_aborted"] == 1, "the server has noticed")
    found = [read_line(line, log_format) for line in lines()]
    found.remove(("GET /plaintext HTTP/1.1", 200, 13, False))
    assert found[:2] == [("GET /hello.txt HTTP/1.1", 200, 18, False), ("GET /1mib.bin HTTP/1.1", 200, 1 << 20, False)]
    (request, status, size, aborted), = found[2:]
    assert (request, status, aborted) == ("GET /20mib.bin HTTP/1.1", 200, True)
    assert 99_000 < size < 20 << 20


@pytest.mark.parametrize("headers, announced", [([], 20 << 20),
                                                ([("Range", "bytes=5000000-14999999")], 10_000_000),
                                                ([("Range", "bytes=0-9,5000000-14999999")], None)],
                         ids=["whole", "range", "ranges"])
def test_a_file_that_shrinks_while_it_is_sent(model, start_logging, site, tmp_path, headers, announced):
    """It is named once, with what was announced and what was sent; the access log says the same."""
    server, lines = start_logging(model)
    path = site / f"{tmp_path.name}.bin"
    path.write_bytes(bytes(20 << 20))
    with server.connect(receive_buffer_bytes=4096) as client:
        client.send(request_bytes(target=f"/{path.name}", headers=headers))
        received = client.read_exactly(1000)
        os.truncate(path, 1000)
        received += client.read_to_end()
    path.unlink()
    found, = (line for line in lines() if path.name in line)
    _, _, size, aborted = read_line(found, "combined")
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(re.search(rb"Content-Length: (\d+)", head)[1])
    assert announced in (None, length)
    assert (size, aborted) == (len(body), True)
    told = re.findall(r"\[warn\] .*cut off 127\.0\.0\.1:\d+ after (\d+) of (\d+) bytes: (\S+) has shrunk", server.log())
    assert told == [(str(len(body)), str(length), f"/{path.name}")]


@pytest.mark.models(models.PROTOCOL)
@pytest.mark.parametrize("log_format", ["combined", "json"])
def test_no_injection(model, start_logging, log_format):
    server, lines = start_logging(model, "--access-log-format", log_format)
    evil = 'x" 200 1 "forged" "line \\" \t end'
    with server.connect() as client:
        client.get("/%0a127.0.0.1%20-%20-%20forged", [("User-Agent", evil), ("Referer", evil)])
    line, = lines()
    assert "\x1b" not in line and "\t" not in line
    if log_format == "json":
        assert evil in json.loads(line).values()
    else:
        assert COMBINED.fullmatch(line)


@pytest.mark.models(models.PROTOCOL)
@pytest.mark.parametrize("log_format", ["combined", "json"])
def test_8_bit_targets_are_escaped(model, start_logging, log_format):
    """As in a URI, whatever they mean: names in UTF-8, or bytes that drive a terminal."""
    server, lines = start_logging(model, "--access-log-format", log_format)
    with server.connect() as client:
        client.get("/\xc3\xa4?\x9b\xff")
        client.request("POST", "/echo?\xe2\x82\xac", body=b"x")
        client.get("/\xc3\xa4 \xff")  # refused
    found = [json.loads(line)["request"] if log_format == "json" else COMBINED.fullmatch(line)[1]
             for line in lines()]
    assert found[:2] == ["GET /%C3%A4?%9B%FF HTTP/1.1", "POST /echo?%E2%82%AC HTTP/1.1"]
    assert len(found) == 3 and found[2].isascii()


@pytest.mark.models(models.SUPERVISED)
def test_8_bit_targets_are_escaped_in_notes(model, start_server):
    """What is in progress, in the scoreboard, and what it was when a worker died, in the error log."""
    server = start_server(model, "--faults", "on")
    with server.connect() as sleeper:
        server.send_and_see(sleeper, "/sleep?ms=3000&\xc3\xa4\xff", "/sleep?ms=3000&%C3%A4%FF")
        assert sleeper.read_response().status == 200
    with server.connect() as client:
        victim = server.whoami(client)["pid"]
        client.send(request_bytes(target="/fault/segv?\x9b\xc3\xa4"))
        client.expect_close()
    story = wait_until(lambda: (server.find_death(victim) or {}).get("crash"), "its story is told")
    assert story["request"]["line"] == shown_line("GET /fault/segv?%9B%C3%A4 HTTP/1.1")
    server.wait_for_log(r'in progress in slot \d+: "GET /fault/segv\?%9B%C3%A4 HTTP/1.1"')
    server.wait_for_log(r'SIGSEGV .* handling "GET /fault/segv\?%9B%C3%A4 HTTP/1.1"')
    assert server.stderr_path.read_bytes().isascii()


@pytest.mark.models(models.PROTOCOL)
def test_no_access_log_unless_asked_for(model, start_server):
    server = start_server(model)
    server.get("/plaintext")
    server.stop()
    assert "/plaintext" not in server.log()
    assert "/plaintext" not in server.stdout_path.read_text()


@pytest.mark.models(models.SUPERVISED)
def test_error_log_lines_have_their_form(model, start_server):
    server = start_server(model, "--log-level", "debug")
    server.get("/plaintext")
    server.stop()
    written = server.log().splitlines()
    assert written
    assert all(ERROR_LOG_LINE.fullmatch(line) for line in written)


@pytest.mark.models(models.PROTOCOL)
@pytest.mark.parametrize("level, shown", [
    ("debug", True), ("info", True), ("notice", False), ("warn", False), ("error", False),
])
def test_log_levels(model, start_server, level, shown):
    server = start_server(model, "--log-level", level)
    with server.connect() as client:
        client.send(b"nonsense\r\n\r\n")
        assert client.read_response().status == 400
    server.stop(signal.SIGQUIT)  # SIGTERM kills who is late, and that is an error
    assert ("[info]" in server.log()) == shown
    if level == "error":
        assert server.log() == ""


@pytest.mark.models(models.PROTOCOL)
def test_error_log_in_a_file(model, start_server, tmp_path):
    path = tmp_path / "error.log"
    server = start_server(model, "--error-log", str(path))
    with server.connect() as client:
        client.send(b"nonsense\r\n\r\n")
        assert client.read_response().status == 400
    wait_until(lambda: "[info]" in path.read_text(), "the line is in the file")
    server.stop()
    assert server.log() == ""
