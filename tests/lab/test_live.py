"""`lab live`: counters that are read while wrk runs, the page's address, relayed events, presets, the recording."""

import base64
import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from fake_server import ANSWER, FakeServer, close_silently_every
from patience import DEADLINE_S
from real_server import BIN_DIR, wait_for
from twinlab.base.errors import LabError
from twinlab.clients import events, http, wrk_live
from twinlab.clients.wrk_live import Counts, LiveWrk
from twinlab.commands import live, live_page, live_presets, live_record, live_sides, live_web
from twinlab.commands.live_page import RECORDING, Page
from twinlab.machine import processes, procfs
from twinlab.servers import observer
from twinlab.servers.models import Model

HERE = Path(__file__).resolve().parent
LAB = HERE.parents[1] / "loadtest" / "lab"
POLICY = "default-src 'none'; script-src 'sha256-abc='"
PAGE = Page(f'<!doctype html><meta http-equiv="Content-Security-Policy" content="{POLICY}">{RECORDING}<p>page')
TOKEN = "the-token"


# ---- wrk's counters ----

@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """The page's limits are for a user who looks on."""
    for module, name in ((observer, "STATE_TIMEOUT_S"), (observer, "COMMAND_TIMEOUT_S"), (events, "CONNECT_TIMEOUT_S")):
        monkeypatch.setattr(module, name, DEADLINE_S)


def behave_until(count, then):
    """Answers so many requests, and then does something else."""
    def behave(connection, number):
        if number > count:
            return then(connection, number)
        connection.sendall(ANSWER)
        return False
    return behave


def never(connection, _number):
    connection.recv(1)
    return True


def test_what_is_read_while_wrk_runs_is_what_wrk_counts():
    with FakeServer(behave_until(500, never)) as server, LiveWrk(server.port, "/", 3) as load:
        wait_for(lambda: load.counts().requests == 500, "all answers were counted")
        latencies = load.latencies()
        # wrk counts an answer first, and then how long it took.
        wait_for(lambda: latencies.update(load.latencies()) or sum(latencies.values()) >= 500, "all were timed")
        assert sum(latencies.values()) == 500 and min(latencies) > 0
        assert not load.latencies(), "nothing is new"
        result = load.finish()
    assert Counts.of(result) == Counts(requests=500)
    with pytest.raises(OSError):
        load.counts()


def test_the_counters_are_found_at_each_start():
    """Where they lie differs from start to start, and what lies before them."""
    with FakeServer(never) as server:
        for number in range(40):
            with LiveWrk(server.port, "/", 1 + number) as load:
                assert load.counts() == Counts() and not load.latencies()


def test_errors_are_read_by_kind():
    with FakeServer(close_silently_every(10)) as server, LiveWrk(server.port, "/", 4) as load:
        wait_for(lambda: load.counts().read >= 20, "cut requests")
        before = load.counts()
        result = load.finish()
    assert before.cut == before.read + before.write >= 20 and before.connect == before.timeout == before.status == 0
    assert before.requests <= result.requests and before.read <= result.errors["read"]


def test_refused_requests_are_errors_but_not_cut():
    refusal = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    with FakeServer(lambda connection, _number: connection.sendall(refusal)) as server, \
            LiveWrk(server.port, "/", 1) as load:
        counts = wait_for(lambda: (now := load.counts()).status >= 5 and now, "refusals")
    assert counts.cut == 0 and counts.errors == counts.status


def test_a_wrk_that_is_gone_is_told():
    with FakeServer(close_silently_every(10)) as server, LiveWrk(server.port, "/", 1) as load:
        os.kill(load._child.pid, signal.SIGKILL)
        load._child.wait()
        with pytest.raises(OSError):
            load.counts()


@pytest.mark.parametrize("places, are", [
    ([{"counters": 1, "connections": 64, "histogram": 2}], True),
    ([{"counters": 1, "connections": 7, "histogram": 2}], False),
    ([{"counters": 1, "connections": 64, "histogram": 0}], False),
])
def test_records_that_cannot_be_wrks_are_not_read(places, are):
    assert wrk_live.are_plausible(places, 64) is are


def test_percentiles():
    assert wrk_live.percentile({100: 99, 5000: 1}, 0.99) == 100
    assert wrk_live.percentile({100: 98, 5000: 2}, 0.99) == 5000
    assert wrk_live.percentile({}, 0.99) is None


# ---- the stream ----

def test_events_are_parsed():
    block = events.parse(b'id: 4f-2\nevent: tick\ndata: {"t":1}\n\n')
    assert (block.id, block.event, block.data) == ("4f-2", "tick", '{"t":1}')
    assert events.parse(b": nothing\n\n").event == events.parse(b"retry: 500\n\n").event == ""
    own = events.block("wrk", {"t": 1})
    assert events.parse(own.raw) == own


@pytest.mark.parametrize("answer", [b"HTTP/1.1 503 No room\r\nContent-Length: 0\r\n\r\n", b"nonsense\r\n\r\n", b""])
def test_what_is_no_stream_is_no_answer(answer):
    def behave(connection, _number):
        connection.sendall(answer)
        return True
    with FakeServer(behave) as server, pytest.raises(http.NoAnswer):
        events.Stream(server.port, "/events")


# ---- the address of an observer ----

def test_the_banner_names_the_observer():
    banner = ("prefork-server: listening on http://127.0.0.1:8080 (model prefork, 2 workers, master pid 2)\n"
              "  observe    http://127.0.0.1:9090/#token=aB_c-1\n  faults     off (--faults on)\n")
    assert observer.find(banner) == observer.Observer(9090, "aB_c-1")
    assert observer.find(banner.replace("#token=aB_c-1", "")) == observer.Observer(9090, "")
    assert observer.find("  observe    off (--observe 127.0.0.1:8090: a page that shows all this live)\n") is None


# ---- servers that misbehave at will, and a page ----

@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A folder with programs that pass for the servers."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("prefork-server", "threadpool-server"):
        (folder / name).symlink_to(HERE / "fake_twinhttpd.py")
    return folder


@pytest.fixture
def side(programs, tmp_path):
    model = Model("prefork", "prefork", "prefork-server", ("--workers", "4"), "4 worker processes")
    with live_sides.started(model, programs, tmp_path, tmp_path, "cut") as started:
        yield started


@pytest.fixture
def ordered():
    return []


@pytest.fixture
def door(side, ordered):
    def order(preset):
        ordered.append(preset)
        return (True, "done") if preset == "kill" else (False, "there is no such preset")
    description = {"servers": [{"name": "prefork", "base": "s/0", "wrk": True}], "presets": []}
    with live_web.Door(0, live_web.Show(PAGE, [side], description, order, TOKEN)) as opened:
        yield opened


def ask(door, method, path, body=b"", **headers):
    names = {"Authorization": f"Bearer {TOKEN}"} if method == "POST" else {}
    names |= {name.replace("_", "-"): value for name, value in headers.items()}
    return http.ask(door.server_address[1], method, path, names, body, DEADLINE_S)


def test_the_page_says_what_a_browser_may_do(door):
    with socket.create_connection(door.server_address) as connection:
        connection.sendall(http.request("GET", "/", {"Host": door.names[1]}))
        raw = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    head, _, body = raw.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200") and body == PAGE.text
    assert f"Content-Security-Policy: {POLICY}; frame-ancestors 'none'" in head
    assert "nosniff" in head and "no-store" in head and "no-referrer" in head


def test_the_servers_are_listed(door):
    assert ask(door, "GET", "/servers.json").json()["servers"][0]["base"] == "s/0"


def test_a_servers_state_is_passed_on(door, side):
    assert ask(door, "GET", "/s/0/api/v1/state").json()["processes"] == side.observer.state()["processes"]


@pytest.mark.parametrize("path", ["/favicon.ico", "/s/1/events", "/s/0/metrics", "/s/0", "/s//events", "/../etc/hosts"])
def test_what_is_not_there_is_404(door, path):
    assert ask(door, "GET", path).status == 404


@pytest.mark.parametrize("method, path", [("GET", "/"), ("GET", "/servers.json"), ("GET", "/s/0/events"),
                                          ("POST", "/presets/kill"), ("POST", "/s/0/api/v1/commands")])
@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Host": "127.0.0.1"}, {"Host": ""},
                                     {"Origin": "http://evil.example"}, {"Origin": "null"}])
def test_nobody_else_gets_in(door, ordered, method, path, headers):
    reply = ask(door, method, path, b"{}" if method == "POST" else b"", **headers)
    assert reply.status == 403 and b"open http://127.0.0.1:" in reply.body and reply.body.count(b"\n") == 1
    assert ordered == []


@pytest.mark.parametrize("path", ["/presets/kill", "/s/0/api/v1/commands"])
@pytest.mark.parametrize("authorization", ["", "Bearer ", "Bearer wrong", TOKEN])
def test_nothing_is_done_without_the_token(door, side, ordered, path, authorization):
    pids = side.observer.state()["processes"]
    body = json.dumps({"command": "kill", "pid": pids[0]["pid"], "signal": "KILL"}).encode()
    reply = ask(door, "POST", path, body, Authorization=authorization)
    assert reply.status == 403 and b"token" in reply.body
    assert ordered == [] and side.observer.state()["processes"] == pids


def test_presets_are_ordered(door, ordered):
    origin = {"Origin": f"http://{door.names[0]}"}
    assert ask(door, "POST", "/presets/kill", **origin).json() == {"ok": True, "message": "done"}
    assert ask(door, "POST", "/presets/nonsense").json() == {"ok": False, "error": "there is no such preset"}
    assert ordered == ["kill", "nonsense"]


def test_a_body_that_is_too_long_is_refused(door):
    request = http.request("POST", "/s/0/api/v1/commands", {"Host": door.names[0]}, bytes(live_web.MOST_BODY_BYTES + 1))
    with socket.create_connection(door.server_address, DEADLINE_S) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it need not be read to its end
            connection.sendall(request)
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_command_goes_to_the_server_with_its_own_token(door, side):
    victim = side.observer.state()["processes"][0]["pid"]
    body = json.dumps({"command": "kill", "pid": victim, "signal": "KILL"}).encode()
    assert ask(door, "POST", "/s/0/api/v1/commands", body).json()["ok"]
    wait_for(lambda: [death["pid"] for death in side.observer.state()["deaths"]] == [victim], "the death is told")


class Viewer:
    """What a browser would see."""

    def __init__(self, door, last_id=""):
        self._stream = events.Stream(door.server_address[1], "/s/0/events", last_id)
        self.seen = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stream.__exit__()

    def wait_for(self, event):
        """The next of this name."""
        def look():
            block = self._stream.next(0.1)
            if block:
                self.seen.append(block)
            return block if block and block.event == event else None
        return wait_for(look, event)


def test_events_are_passed_on_with_the_laboratorys_own_between_them(door, side):
    with Viewer(door) as viewer:
        hello = viewer.wait_for("hello")
        assert hello.id and json.loads(hello.data)["server"]["name"] == "prefork-server"
        viewer.wait_for("tick")
        side.feed.publish(events.block("wrk", {"requests": 5}))
        own = viewer.wait_for("wrk")
        assert own.data == '{"requests":5}' and own.id == ""
        viewer.wait_for("tick")
    with Viewer(door) as late:
        assert late.wait_for("wrk").data == '{"requests":5}', "whoever comes later is told the latest at once"


def test_an_event_id_is_passed_on(door):
    with Viewer(door) as viewer:
        last_id = viewer.wait_for("tick").id
    with Viewer(door, last_id) as again:
        again.wait_for("tick")
    assert "hello" not in [block.event for block in again.seen], "it knew where it was"
    stream = events.Stream(door.server_address[1], f"/s/0/events?last={last_id}")
    with stream:
        names = [block.event for block in (stream.next(DEADLINE_S) for _ in range(3)) if block]
    assert "hello" not in names


@pytest.mark.parametrize("command", [{"command": "begin-anew"}, {"command": "refuse", "seconds": 0.5}])
def test_a_stream_outlives_the_observer(door, side, command):
    with Viewer(door) as viewer:
        first = viewer.wait_for("hello")
        viewer.wait_for("tick")
        side.observer.command(json.dumps(command).encode())
        again = viewer.wait_for("hello")
        viewer.wait_for("tick")
    assert again.id.partition("-")[0] != first.id.partition("-")[0]


# ---- a side under load ----

def test_a_kill_is_seen_by_wrk_and_by_the_journal(side):
    side.put_load(8)
    wait_for(lambda: side.observer.state()["totals"]["connections_open"] >= 8, "all connections are open")
    assert side.kill_one(live.random.Random(1))
    lost = wait_for(lambda: side.observer.state()["totals"]["requests_lost"], "the death is booked")

    def told():
        side.look(True)
        _, (*_, newest) = side.feed.since(0)
        return json.loads(newest.data)
    seen = wait_for(lambda: (now := told())["cut"] >= lost and now, "wrk has noticed")
    assert seen["killing"] is True and seen["cut"] == lost
    wait_for(lambda: (now := told())["per_second"] > 0 and now["p99_us"], "answers between two looks")


def test_more_connections_and_back_lose_no_count(side):
    side.put_load(4)
    for connections in (16, 4):
        wait_for(lambda: side.look(False) or side.counts.requests > 100, "answers")
        before = side.counts
        side.put_load(connections)
        assert side.counts.requests >= before.requests
        wait_for(lambda: side.observer.state()["totals"]["connections_open"] == connections, "the others are closed")
    side.end_load()
    finished = side.observer.state()["totals"]["requests_finished"]
    looks = 1  # what started() asked
    assert 0 <= finished - looks - side.counts.requests <= 24, "but for answers that wrk had not read at its ends"


def test_a_wrk_that_ends_is_replaced(side):
    side.put_load(4)
    wait_for(lambda: side.look(False) or side.counts.requests > 100, "answers")
    before, gone = side.counts, side.load
    os.kill(gone._child.pid, signal.SIGKILL)
    gone._child.wait()
    side.look(False)
    assert side.load is not gone and side.load.connections == 4
    wait_for(lambda: side.look(False) or side.counts.requests > before.requests, "more answers")


def test_a_server_that_ends_is_asked_no_more(side):
    side.put_load(4)
    os.kill(side.server._child.pid, signal.SIGTERM)
    side.server._child.wait()
    side.look(False)
    assert side.load is None
    assert not side.kill_one(live.random.Random(1))


def test_who_is_not_the_servers_is_not_killed(side):
    bystander = subprocess.Popen(["sleep", "infinity"], start_new_session=True)
    try:
        state = side.observer.state()
        for process in state["processes"]:
            process["pid"] = bystander.pid

        class Liar:
            def state(self):
                return state
        side.observer = Liar()
        assert not side.kill_one(live.random.Random(1))
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


# ---- presets ----

def test_presets_go_back_to_the_connections_asked_for():
    presets = live_presets.make(64)
    assert {"kill", "stop", "segv", "hang", "leak", "crowd", "calm"} == set(presets)
    assert (presets["crowd"].connections, presets["calm"].connections) == (1000, 64)
    assert presets["crowd"].label == "64 -> 1,000 connections"


def test_a_fault_of_ours_that_is_lost_is_counted(side):
    live_presets.apply(live_presets.make(4)["segv"], [side])
    wait_for(lambda: side.own_lost == 1, "the request is lost")
    wait_for(lambda: len(side.observer.state()["deaths"]) == 1, "somebody has died of it")


def test_something_regular_does_not_catch_up(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    regular = live.Regular(1.0)
    due = []
    for at in (0.0, 0.5, 1.0, 7.3, 7.8, 8.3, 8.4):
        now[0] = at
        due.append(regular.is_due())
    assert due == [True, False, True, True, False, True, False]


# ---- the recording ----

class Clock:
    def __init__(self):
        self.ms = 0

    def __call__(self):
        return self.ms


def recorder_of(count=1):
    clock = Clock()
    return live_record.Recorder([None] * count, lambda: True, clock), clock


def tick(text="{}"):
    return events.Block(b"", "tick", text)


def test_a_recording_begins_with_all_that_was_known():
    recorder, clock = recorder_of(2)
    recorder.take(0, tick())
    recorder.take(0, events.Block(b"", "hello", '{"first":1}'))
    recorder.take(1, events.Block(b"", "hello", '{"second":1}'))
    clock.ms = 100
    recorder.take(0, tick('{"t":100}'))
    recorder.take(0, events.Block(b": remark\n\n"))
    recorder.note_state(0, {"state": 2})
    recorder.take(0, events.Block(b"", "hello", '{"anew":1}'))
    found = json.loads(recorder.as_json([{"name": "a"}]))
    assert found["recording"] == 1 and found["servers"] == [{"name": "a"}]
    assert found["events"] == [[0, 0, "hello", {"first": 1}], [0, 1, "hello", {"second": 1}],
                               [100, 0, "tick", {"t": 100}], [100, 0, "hello", {"anew": 1}]]


def test_a_recording_has_the_last_ten_minutes():
    recorder, clock = recorder_of()
    recorder.take(0, events.Block(b"", "hello", "{}"))
    for second in range(1, 1801):
        clock.ms = second * 1000
        recorder.take(0, tick(str(second)))
        if second % 60 == 0:
            recorder.note_state(0, {"second": second})
    found = json.loads(recorder.as_json([]))["events"]
    assert found[0][2] == "hello" and [event[2] for event in found[1:]] == ["tick"] * (len(found) - 1)
    assert found[-1][0] == 1_800_000
    assert 600_000 <= found[-1][0] - found[0][0] <= 661_000


def test_a_recording_cannot_break_out_of_its_element(tmp_path):
    text = json.dumps({"line": "GET /</script><script>alert(1)</script><!-- HTTP/1.1"})
    path = tmp_path / "show.html"
    live_record.write(path, PAGE, text)
    page = path.read_text()
    assert page.count("</script>") == PAGE.text.count("</script>") == 1 and "<!--" not in page
    assert json.loads(re.search(r'id="recording">(.*?)</script>', page)[1]) == json.loads(text)
    assert os.listdir(tmp_path) == ["show.html"]


def test_a_recording_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(LabError, match="cannot write the recording to .*No such file"):
        live_record.write(tmp_path / "missing" / "show.html", PAGE, "{}")


def test_a_page_without_its_places_is_told():
    with pytest.raises(LabError, match="no place for a recording"):
        Page("<p>").with_recording("{}")
    with pytest.raises(LabError, match="content security policy"):
        Page("<p>").policy


# ---- the command ----

@pytest.mark.parametrize("arguments", [["--port", "65536"], ["--seconds", "0"], ["--models", "apache"],
                                       ["--on-death", "mourn"], ["--connections", "0"]])
def test_bad_arguments_are_one_line_and_status_2(arguments):
    done = subprocess.run([str(LAB), "live", *arguments], capture_output=True, text=True, timeout=DEADLINE_S,
                          check=False)
    assert done.returncode == 2 and done.stderr.startswith("lab: ") and done.stderr.count("\n") == 1


class Command:
    """`lab live` in the background."""

    def __init__(self, programs, *arguments):
        self._child = subprocess.Popen([str(LAB), "live", "--port", "0", "--connections", "4", "--bin", str(programs),
                                        *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.opening = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._child.kill()
        self._child.communicate()

    def address(self):
        """The port and the token of the page, once all is there."""
        while "Ctrl-C" not in (line := self._child.stdout.readline()):
            assert line, self._child.stderr.read()
            self.opening.append(line)
        return re.fullmatch(r"lab live: http://127\.0\.0\.1:(\d+)/#token=(\S+)\n", self.opening[0]).groups()

    def sessions(self):
        """Of the servers and the loads that it has started."""
        return procfs.children(self._child.pid)

    def has_recorded(self, path, *events):
        """Whether there are these events of each of the three servers in what is recorded up to now."""
        self._child.send_signal(signal.SIGUSR1)
        wait_for(path.exists, "the recording")
        kinds, _ = kinds_of(path)
        path.unlink()
        return kinds >= {(number, event) for number in range(3) for event in events}

    def end(self, signum=None):
        if signum:
            self._child.send_signal(signum)
        said, complaints = self._child.communicate(timeout=DEADLINE_S)
        return self._child.returncode, said, complaints


def post(address, path):
    port, token = address
    return http.ask(int(port), "POST", path, {"Authorization": f"Bearer {token}"}, timeout_s=DEADLINE_S).json()


def state_of(address, number):
    """What the observer of this server tells; nothing while it does not answer."""
    reply = http.ask(int(address[0]), "GET", f"/s/{number}/api/v1/state", timeout_s=DEADLINE_S)
    return reply.json() if reply.status == 200 else {"totals": Counter(), "deaths": []}


def lost_of(address, number):
    return wait_for(lambda: state_of(address, number)["totals"]["requests_lost"], "lost requests")


def newest_counts(address, number):
    """Those of wrk: whoever comes is told them at once."""
    with wait_for(lambda: open_stream(int(address[0]), f"/s/{number}/events"), "a stream") as stream:
        block = wait_for(lambda: (block := stream.next(0.1)) and block.event == "wrk" and block, "wrk's counts")
    return json.loads(block.data)


KINDS = ("hello", "tick", "death", "wrk")


def kinds_of(path):
    """Whose events there are in a recording."""
    recording = json.loads(re.search(r'id="recording">(.*?)</script>', path.read_text())[1])
    return {(number, event) for _, number, event, _ in recording["events"]}, recording


def rows_of(said):
    """label: cells, of the table at the end."""
    lines = said.splitlines()
    at = next(number for number, line in enumerate(lines) if "wrk errors" in line)
    cells = [re.split(r"  +", line.strip()) for line in lines[at + 1:at + 4]]
    return {label: [int(cell.replace(",", "")) if cell.replace(",", "").isdigit() else cell for cell in rest]
            for label, *rest in cells}


def open_stream(port, target):
    """As a browser does, which tries again; None where there is none yet."""
    try:
        return events.Stream(port, target)
    except http.NoAnswer:
        return None


@pytest.mark.parametrize("are_real", [False, True], ids=["fake", "real"])
def test_a_performance(programs, tmp_path, are_real):
    path = tmp_path / "show.html"
    with Command(BIN_DIR if are_real else programs, "--record", str(path)) as command:
        address = command.address()
        wait_for(lambda: command.has_recorded(path, "hello", "tick", "wrk"), "all events come")
        for number in range(3):
            wait_for(lambda: state_of(address, number)["totals"]["connections_open"] >= 4, "wrk's connections")
        assert post(address, "/presets/kill")["ok"]
        for number in range(3):
            wait_for(lambda: state_of(address, number)["totals"]["deaths"], "a death")
        assert post(address, "/presets/stop")["ok"] and post(address, "/presets/segv")["ok"]
        assert not post(address, "/presets/nonsense")["ok"]
        sessions = command.sessions()
        assert len(sessions) == 6 and all(processes.session_members(session) for session in sessions)
        for number in range(3):
            wait_for(lambda: "SIGSEGV" in {death["signal"] for death in state_of(address, number)["deaths"]},
                     "a crash")
            # The table at the end is about what wrk has noticed by then. One request was ours.
            wait_for(lambda: are_real or newest_counts(address, number)["cut"] >= lost_of(address, number) - 1,
                     "wrk has noticed")
        wait_for(lambda: newest_counts(address, 1)["cut"] > 0, "wrk has noticed")
        wait_for(lambda: command.has_recorded(path, *KINDS), "all is in the recording")
        status, said, complaints = command.end(signal.SIGINT)
    assert status == 0, complaints
    rows = rows_of(said)
    assert list(rows) == ["prefork", "threadpool", "hybrid"]
    for requests, _, _, errors, cut, deaths, lost, ours in rows.values():
        assert requests > 0 and deaths >= 2 and errors >= cut
        # A real server calls a connection idle that was silent for a second, as all are on a busy machine; and a
        # process that dies may have had none.
        assert are_real or errors == cut == lost - ours > 0 and ours == 1
    assert rows["threadpool"][4] > 0, "its one process had all of them"
    assert not any(processes.session_members(session) for session in sessions), "nothing is left running"
    kinds, recording = kinds_of(path)
    assert [server["base"] for server in recording["servers"]] == ["s/0", "s/1", "s/2"]
    assert kinds >= {(number, event) for number in range(3) for event in KINDS}


def test_it_ends_by_itself(programs):
    began_s = time.monotonic()
    with Command(programs, "--seconds", "1", "--models", "prefork") as command:
        status, said, _ = command.end()
    assert status == 0 and "wrk errors" in said and time.monotonic() - began_s > 1


def test_a_port_in_use_is_one_line(programs):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run([str(LAB), "live", "--port", str(taken.getsockname()[1]), "--bin", str(programs)],
                              capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 1
    assert "cannot listen on port" in done.stderr and "--port" in done.stderr and "Traceback" not in done.stderr


def test_a_recording_needs_a_folder(programs):
    done = subprocess.run([str(LAB), "live", "--record", "/nonexistent/show.html", "--bin", str(programs)],
                          capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 1 and "there is no folder /nonexistent" in done.stderr


def test_the_page_of_the_sources_has_its_places(tmp_path):
    page = live_page.load(tmp_path / "page")
    for text in (page.text, page.with_recording('{"line":"</script>"}')):
        script, = re.findall(r'<script type="module">(.*?)</script>', text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in page.policy, "a browser runs no other script than the one that was meant"
