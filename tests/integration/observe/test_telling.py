"""What the observer tells: that it is true, complete, and there in time."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest

from support import models
from support.client import ConnectionLost, request_bytes
from support.observing import ON
from support.server import REPOSITORY, SANITIZED
from support.waiting import at_its_pace, LATENESS_S, wait_until
from support.watching import Observer

SUPERVISED = pytest.mark.models(models.SUPERVISED)
EACH_KIND = pytest.mark.models(models.EACH_KIND)
PROMETHEUS_ACCEPTS = ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
                      "text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
COUNTERS = {"requests_started", "requests_finished", "requests_aborted", "requests_handled", "bytes_sent",
            "connections_accepted", "connections_adopted", "connections_refused", "faults_recovered"}
CONNECTIONS = {"connections_open", "connections_busy", "connections_idle"}
TOTALS = COUNTERS | CONNECTIONS | {"deaths", "requests_lost", "in_progress_lost", "stuck_incidents", "adoption"}
WINDOW = {"seconds", "count", "per_second", "mean_us", "p50_us", "p90_us", "p99_us", "p999_us", "max_us"}
PROCESS = {"number", "pid", "generation", "state", "age_ms", "inherits", "memory", "cpu_ms", "cpu_share",
           "waiting_share", "switches_voluntary", "switches_involuntary", "slots"}
SLOT = COUNTERS | CONNECTIONS | {"slot", "tid", "role", "state", "stuck", "heartbeat_age_ms", "deaths", "current",
                                 "per_second", "p50_us", "p99_us"}
STATE = {"api", "server", "time_ms", "uptime_ms", "interval_ms", "control", "observer", "master", "totals", "latency",
         "stalls", "processes", "deaths", "stuck_processes"}
TICK = {"t", "dt_ms", "finished", "started", "aborted", "lost", "deaths", "open", "busy", "heard_ms", "p50_us", "p99_us",
        "p999_us", "stall_max_us", "slots"}
LINGER_S = 10.0  # for so long events are made for who was cut off
README = REPOSITORY / "server" / "observe" / "README.md"


@pytest.fixture
def start_observed(start_server):
    """Starts a server with an observer."""
    def start(model, *options, **how):
        server = start_server(model, *ON, "--bench", "on", *options, **how)
        observer = Observer(server)
        observer.wait_for_full_strength()
        return server, observer
    return start


def kill(pid, signal_number=signal.SIGKILL):
    os.kill(pid, signal_number)
    return time.monotonic()


@SUPERVISED
def test_state(model, start_observed):
    server, observer = start_observed(model)
    state = observer.state()
    assert set(state) == STATE
    assert state["api"] == 1
    assert state["server"] == {"name": model.binary, "version": state["server"]["version"], "model": model.kind,
                               "dispatch": model.dispatch, "listen": "%s:%d" % server.address, "on_death": "cut",
                               "bench": True, "faults": False}
    assert state["control"] is False
    assert state["master"]["pid"] == server.pid and state["master"]["phase"] == "running"
    assert set(state["totals"]) == TOTALS
    for kind in ("latency", "stalls"):
        assert set(state[kind]) == {"1s", "10s", "60s"}
        assert all(set(window) == WINDOW for window in state[kind].values())
    assert {process["number"] for process in state["processes"]} == set(range(model.processes))
    for process in state["processes"]:
        assert set(process) == PROCESS
        assert process["memory"]["rss_kib"] > 100
        assert process["switches_voluntary"] >= 0
        assert len(process["slots"]) == model.loops + model.pool
        assert all(set(slot) == SLOT for slot in process["slots"])
    assert state["deaths"] == state["stuck_processes"] == []
    assert abs(state["time_ms"] / 1000 - time.time()) < LATENESS_S


@EACH_KIND
def test_counters_are_those_of_the_serving_port(model, start_observed):
    """What the observer is asked itself does not count."""
    server, observer = start_observed(model)
    with server.connect() as client:
        for _ in range(50):
            client.get("/plaintext")
        wait_until(lambda: observer.state()["totals"]["requests_finished"] == 50, "all are counted")
        assert observer.state()["totals"]["requests_started"] == 50
        assert observer.state()["totals"]["connections_accepted"] == 1
        wait_until(lambda: observer.state()["latency"]["60s"]["count"] == 50, "all are measured")
        window = observer.state()["latency"]["60s"]
        assert window["p50_us"] <= window["p99_us"] <= window["max_us"]
        metrics = observer.metrics()
        assert metrics["twinhttpd_requests_finished_total"] == 50
        assert metrics["twinhttpd_request_duration_seconds_count"] == 50


@EACH_KIND
def test_durations_are_those_of_requests(model, start_observed):
    server, observer = start_observed(model)
    with server.connect() as client:
        for _ in range(5):
            client.get("/sleep?ms=300")
        wait_until(lambda: observer.state()["latency"]["60s"]["count"] == 5, "all are measured")
        window = observer.state()["latency"]["60s"]
        assert 300_000 <= window["p50_us"] < 300_000 + LATENESS_S * 1e6
        assert observer.metrics()['twinhttpd_request_duration_seconds_bucket{le="0.268435456"}'] == 0


@SUPERVISED
def test_what_it_works_on(model, start_observed):
    server, observer = start_observed(model)
    with server.connect() as client:
        client.send(request_bytes(target="/sleep?ms=60000&token=secret"))

        def current():
            slots = [slot for process in observer.state()["processes"] for slot in process["slots"]]
            return next((slot["current"] for slot in slots if slot["current"]), None)
        assert wait_until(current, "the request is shown") == {"line": "GET /sleep", "client": client.name}
        wait_until(lambda: observer.state()["totals"]["connections_busy"] == 1, "its connection is busy")
    server.process.send_signal(signal.SIGTERM)


class Clients:
    """Some that ask one after the other, and count what they get."""

    def __init__(self, server, count):
        self.server = server
        self.answered = self.failed = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self, client):
        while not self._ended.is_set():
            response = client.get("/plaintext")
            assert response.status == 200
            with self._lock:
                self.answered += 1
            if response.says_close:
                return

    def _run(self):
        while not self._ended.is_set():
            try:
                with self.server.connect() as client:
                    self._ask(client)
            except (ConnectionLost, OSError):
                with self._lock:
                    self.failed += 1

    def end(self):
        self._ended.set()
        for thread in self._threads:
            thread.join()


def counters_of(state):
    totals = state["totals"]
    adoption = totals["adoption"]
    names = (COUNTERS | {"deaths", "requests_lost", "in_progress_lost", "stuck_incidents"})
    return {name: totals[name] for name in names} | {f"adoption.{name}": adoption[name] for name in adoption}


class NeverBack:
    """Asks for the counters again and again, and remembers each that went back."""

    def __init__(self, observer):
        self.observer = observer
        self.wrong = []
        self.readings = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        before, before_metrics = {}, {}
        while not self._ended.is_set():
            now = counters_of(self.observer.state())
            metrics = {name: value for name, value in self.observer.metrics().items()
                       if re.search(r"_(total|count|sum|bucket)\b", name) and "_worker_" not in name}
            for last, next_ in ((before, now), (before_metrics, metrics)):
                self.wrong += [(name, last[name], next_.get(name)) for name in last
                               if next_.get(name, -1) < last[name]]
            before, before_metrics = now, metrics
            self.readings += 1

    def end(self):
        self._ended.set()
        self._thread.join()
        assert self.readings > 10
        assert not self.wrong, self.wrong[:20]


def kill_one(server, observer):
    """One of those that serve. Who is recycled may have ended by itself before the signal comes: then another one."""
    while True:
        pid = observer.serving_pids()[0]
        with contextlib.suppress(ProcessLookupError):
            kill(pid)
        wait_until(lambda: pid not in observer.serving_pids(), "its end is noticed")
        if re.search(rf"\(pid {pid}, generation \d+\) was killed by SIGKILL", server.log()):
            return


@pytest.mark.models(models.UNDER_LOAD)
@pytest.mark.parametrize("on_death", ("cut", "adopt"))
def test_counters_over_deaths_reloads_and_recycling(model, start_observed, on_death):
    """They never go back, and in the end they are what the clients have counted."""
    server, observer = start_observed(model, "--on-death", on_death, "--recycle-after-requests", "500",
                                      "--stuck-after-ms", "off")
    clients, watcher = Clients(server, 4), NeverBack(observer)
    kills = 0
    try:
        for _ in range(4):
            kill_one(server, observer)
            kills += 1
            observer.wait_for_full_strength()
            generation = max(process["generation"] for process in observer.state()["processes"])
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: min(process["generation"] for process in observer.state()["processes"]) > generation,
                       "all are replaced")
            observer.wait_for_full_strength()
    finally:
        clients.end()
        watcher.end()
    wait_until(lambda: observer.state()["totals"]["connections_open"] == 0, "all connections have ended")
    totals = observer.state()["totals"]
    assert totals["deaths"] == kills
    # A process may die between the last byte of an answer and its booking: one request for each of its connections.
    doubtful = kills * 4
    assert abs(totals["requests_finished"] - clients.answered) <= doubtful, (totals, clients.answered)
    assert clients.failed <= totals["requests_lost"] + doubtful, (totals, clients.failed)
    if on_death == "adopt":
        assert clients.failed == 0
    assert totals["requests_started"] - (totals["requests_finished"] + totals["requests_aborted"]
                                         + totals["in_progress_lost"]) <= doubtful


@SUPERVISED
def test_a_kill_is_seen(model, start_observed):
    """Within a fifth of a second, on a machine that is not ten times as slow."""
    _, observer = start_observed(model)
    delays_s = []
    with observer.watch() as stream:
        hello = stream.next()
        assert hello.name == "hello" and set(hello.data) == STATE
        for number in range(4):
            pid = observer.serving_pids()[0]
            killed_s = kill(pid)
            death = stream.next("death")
            while death.data["pid"] != pid:  # one that was told before comes again when more is known
                death = stream.next("death")
            delays_s.append(death.at_s - killed_s)
            assert (death.data["number"], death.data["pid"], death.data["signal"]) == (number, pid, "SIGKILL")
            recovered = stream.next("recovered")
            assert recovered.data["number"] == number and recovered.data["recovery_ms"] > 0
            observer.wait_for_full_strength()
    assert min(delays_s) < 2, delays_s
    assert max(delays_s) < LATENESS_S, delays_s


@EACH_KIND
def test_ticks(model, start_observed):
    server, observer = start_observed(model)
    with observer.watch() as stream, server.connect() as client:
        first = stream.next("tick")
        assert set(first.data) == TICK
        assert len(first.data["slots"]) == model.slots
        for _ in range(20):
            client.get("/plaintext")
        told = first.data["finished"]
        while told < 20:
            tick = stream.next("tick").data
            assert tick["finished"] >= told
            told = tick["finished"]
        assert told == 20
        seen = stream.next("processes").data
        assert set(seen) == {"t", "master", "totals", "latency", "stalls", "processes"}
        assert {role for process in seen["processes"] for _, _, role in process["slots"]} <= {"loop", "pool"}


@EACH_KIND
def test_coming_back(model, start_observed):
    """Who was cut off gets what it missed, once each, and no hello: if it does not stay away for too long."""
    _, observer = start_observed(model)

    def come_back(pace):
        observer.wait_for_full_strength()
        with observer.watch() as stream:
            last = stream.next("tick")
            pace.step()
        pid = observer.serving_pids()[0]
        kill(pid)
        wait_until(lambda: pid not in observer.serving_pids(), "its end is noticed")
        with observer.watch(last.id) as stream:
            events = [stream.next()]
            pace.step()
            while events[-1].name != "death":
                assert events[-1].name != "hello"
                events.append(stream.next())
            assert events[-1].data["pid"] == pid
            boot, number = last.id.rsplit("-", 1)
            assert [event.id for event in events] == [f"{boot}-{int(number) + i + 1}" for i in range(len(events))]
    at_its_pace(come_back, LINGER_S / 2)
    with observer.watch("somebody-1") as stream:
        assert stream.next().name == "hello"


@SUPERVISED
def test_every_worker_stopped(model, start_observed):
    """The observer needs none of them, and says so."""
    server, observer = start_observed(model, "--stuck-after-ms", "off")
    pids = observer.serving_pids()
    for pid in pids:
        kill(pid, signal.SIGSTOP)
    try:
        delays_s = []
        for _ in range(100):
            began_s = time.monotonic()
            state = observer.state()
            delays_s.append(time.monotonic() - began_s)
        assert [process["pid"] for process in state["processes"]] == pids
        # On a busy machine each may be late; if it waited for any of those, each would be.
        assert sorted(delays_s)[9] < (0.5 if SANITIZED else 0.1), sorted(delays_s)

        def heartbeats_ms():
            return [slot["heartbeat_age_ms"] for process in observer.state()["processes"] for slot in process["slots"]
                    if slot["role"] == "loop"]
        wait_until(lambda: min(heartbeats_ms()) > 1500, "none of them beats")
        with observer.watch() as stream:
            assert stream.next().name == "hello"
            assert stream.next("tick").data["slots"]
        assert observer.metrics()["twinhttpd_processes_wanted"] == model.processes
    finally:
        for pid in pids:
            kill(pid, signal.SIGCONT)
    assert server.get("/plaintext").status == 200


@EACH_KIND
def test_a_thread_that_is_stuck(model, start_observed):
    server, observer = start_observed(model, "--faults", "on", "--stuck-after-ms", "1000")

    def is_of_hang(record):  # on a busy machine others may be taken for stuck, too
        return any((thread["request"] or {}).get("line", "").startswith("GET /fault/hang")
                   and thread["stuck"] in ("blocked", "spinning") for thread in record["threads"])

    def is_told():
        try:
            with observer.watch() as stream, server.connect() as client:
                client.send(request_bytes(target="/fault/hang"))
                record = stream.next("stuck").data
                while not is_of_hang(record):
                    record = stream.next("stuck").data
                state = observer.state()
        except (ConnectionLost, ConnectionError):
            assert "killing the observer" in server.log()
            return False  # it was taken for stuck itself: another hang, before the next observer
        assert state["totals"]["stuck_incidents"] >= 1
        assert record in state["stuck_processes"]
        return True
    wait_until(is_told, "a thread that hangs is told of")
    server.process.send_signal(signal.SIGTERM)


@EACH_KIND
def test_the_master_is_stopped(model, start_observed):
    server, observer = start_observed(model)
    server.process.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: observer.state()["master"]["heard_ms"] > 2000, "it is not heard")
        assert server.get("/plaintext").status == 200
        wait_until(lambda: observer.state()["totals"]["requests_finished"] >= 1, "others are seen as before")
    finally:
        server.process.send_signal(signal.SIGCONT)
    wait_until(lambda: observer.state()["master"]["heard_ms"] < 2000, "it is heard again")


@EACH_KIND
def test_a_new_observer_goes_on(model, start_observed):
    server, observer = start_observed(model)
    for _ in range(5):
        server.get("/plaintext")
    kill(observer.serving_pids()[0])
    wait_until(lambda: observer.state()["deaths"], "the death is told")
    observer.wait_for_full_strength()
    wait_until(lambda: observer.state()["totals"]["requests_finished"] == 5, "all are counted")
    before, pid = counters_of(observer.state()), observer.state()["observer"]["pid"]
    with observer.watch() as stream:
        last = stream.next("tick")
    kill(pid)

    def other():
        try:
            return observer.state()["observer"]["pid"] != pid
        except (ConnectionLost, OSError):
            return False
    wait_until(other, "another observer answers")
    assert counters_of(observer.state()) == before
    assert len(observer.state()["deaths"]) == 1
    assert observer.metrics()["twinhttpd_observer_deaths_total"] == 1
    with observer.watch(last.id) as stream:
        assert stream.next().name == "hello"


@EACH_KIND
@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (package prometheus) is missing")
def test_metrics_are_as_prometheus_wants_them(model, start_observed):
    server, observer = start_observed(model)
    server.get("/plaintext")
    kill(observer.serving_pids()[0])
    observer.wait_for_full_strength()
    text = observer.ask(target="/metrics", headers=(("Accept", "text/plain"),))
    assert text.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    checked = subprocess.run(["promtool", "check", "metrics"], input=text.body, capture_output=True, check=False)
    assert checked.returncode == 0 and not checked.stderr, checked
    open_text = observer.ask(target="/metrics", headers=(("Accept", PROMETHEUS_ACCEPTS),))
    assert open_text.header("content-type") == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert open_text.body.endswith(b"\n# EOF\n") and open_text.body.count(b"# EOF") == 1


@EACH_KIND
def test_openmetrics_can_be_parsed(model, start_observed):
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    _, observer = start_observed(model)
    text = observer.ask(target="/metrics", headers=(("Accept", PROMETHEUS_ACCEPTS),)).body.decode()
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    assert families["twinhttpd_requests_finished"].type == "counter"
    assert families["twinhttpd_request_duration_seconds"].type == "histogram"


@pytest.mark.models(("prefork",))
@pytest.mark.skipif(SANITIZED, reason="sanitizers keep notes about memory in memory")
def test_many_viewers(model, start_observed):
    """A hundred and one that reads nothing need little memory; there is an end to how many may watch."""
    _, observer = start_observed(model)
    pid = observer.state()["observer"]["pid"]
    streams = [observer.watch() for _ in range(128)]
    try:
        assert [stream.status for stream in streams] == [200] * 128
        with observer.watch() as refused:
            assert refused.status == 503
        for _ in range(5):
            for stream in streams[:100]:
                stream.next("tick")
        pss_kib = int(re.search(r"^Pss: +(\d+) kB", open(f"/proc/{pid}/smaps_rollup").read(), re.MULTILINE)[1])
        assert pss_kib < 10 * 1024, pss_kib
        assert observer.state()["observer"]["viewers"] == 128
    finally:
        for stream in streams:
            stream.socket.close()
    wait_until(lambda: observer.state()["observer"]["viewers"] == 0, "all have gone")


def paths_of(value, path=""):
    """Each member of an object, and of those in it, as the documents write it."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield path + key
            yield from paths_of(member, f"{path}{key}.")
    elif isinstance(value, list):
        for member in value:
            yield from paths_of(member, path)


@pytest.mark.models(("hybrid-request",))
def test_each_field_is_documented(model, start_observed):
    server, observer = start_observed(model)
    with server.connect() as client, observer.watch() as stream:
        client.send(request_bytes(target="/sleep?ms=60000"))
        wait_until(lambda: observer.state()["totals"]["connections_busy"], "it is busy")
        documented = set(re.findall(r"`([\w.]+)`", README.read_text()))
        state = observer.state()
        told = {path.split(".")[-1] for part in (state, stream.next("tick").data, stream.next("processes").data)
                for path in paths_of(part)}
        in_status = set(re.findall(r"`([\w.]+)`", (REPOSITORY / "server" / "README.md").read_text()))
        documented |= {name.split(".")[-1] for name in documented}
        assert not told - documented - in_status, told - documented - in_status
        metrics = {re.sub(r"_(bucket|sum|count)$", "", name.partition("{")[0]) for name in observer.metrics()}
        assert not metrics - documented, metrics - documented
    server.process.send_signal(signal.SIGTERM)
