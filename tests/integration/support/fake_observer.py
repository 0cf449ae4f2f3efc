"""An observer without a server: it says what a test has it say, and misbehaves as it is told."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WINDOW = {"seconds": 10.0, "count": 10, "per_second": 28540.0, "mean_us": 2100, "p50_us": 2000, "p90_us": 3000,
          "p99_us": 4500, "p999_us": 8900, "max_us": 12000}
TOTALS = {"requests_started": 1234600, "requests_finished": 1234567, "requests_aborted": 4, "requests_handled": 1234570,
          "bytes_sent": 99, "connections_accepted": 70, "connections_adopted": 3, "connections_refused": 0,
          "faults_recovered": 0, "connections_open": 64, "connections_idle": 2, "deaths": 0, "requests_lost": 29,
          "in_progress_lost": 0, "stuck_incidents": 0, "adoption": {}}


def a_slot(number, pid, **members):
    return {"slot": number, "tid": pid + number, "role": "loop", "state": "ready", "stuck": None,
            "heartbeat_age_ms": 12, "requests_started": 5, "requests_finished": 5, "requests_aborted": 0,
            "requests_handled": 5, "bytes_sent": 1, "connections_accepted": 1, "connections_adopted": 0,
            "connections_refused": 0, "faults_recovered": 0, "connections_open": 1, "connections_busy": 0,
            "connections_idle": 0, "deaths": 0, "current": None, "per_second": 100.5, "p50_us": 87, "p99_us": 2100,
            **members}


def a_process(number, pid, slots, **members):
    return {"number": number, "pid": pid, "generation": number + 1, "state": "ready", "age_ms": 1000,
            "inherits": False, "memory": {"pss_kib": 5120, "rss_kib": 8000, "private_kib": None}, "cpu_ms": 12,
            "cpu_share": 0.25, "waiting_share": 0.01, "switches_voluntary": 1, "switches_involuntary": 0,
            "slots": slots, **members}


def a_death(number, pid, **members):
    frames = [{"frame": 0, "function": "raise", "file": "./signal/raise.c", "line": 1, "module": "libc.so.6",
               "offset": "0x1"},
              {"frame": 1, "function": "fault_segv", "file": "common/handlers/lab/fault.c", "line": 61,
               "module": "prefork-server", "offset": "0x2"}]
    crash = {"signal": "SIGSEGV", "code": "SEGV_MAPERR", "address": "0x0", "stack_overflow": False, "assertion": None,
             "sender": None, "tid": pid, "slot": 0, "worker": 0,
             "request": {"line": "GET /fault/segv HTTP/1.1", "client": "127.0.0.1:4242"}, "frames_left_out": 0,
             "frames": frames}
    return {"number": number, "time": "2026-11-29T23:42:43.913Z", "process": 1, "pid": pid, "generation": 2,
            "cause": "signal", "signal": "SIGSEGV", "exit_status": None, "lived_ms": 2250, "requests_lost": 29,
            "in_progress": 1, "awaited": 28, "idle_cut": 0, "in_progress_lost": 1, "left_to_successor": False,
            "adoption": None, "recovery_ms": 0.892,
            "requests": [{"slot": 1, "worker": 1, "line": "GET /fault/segv HTTP/1.1", "client": "127.0.0.1:4242"}],
            "crash": crash, **members}


def a_state(processes, deaths=(), **members):
    """What GET /api/v1/state answers."""
    return {"api": 1,
            "server": {"name": "prefork-server", "version": "0.1.0", "model": "prefork", "dispatch": None,
                       "listen": "127.0.0.1:8080", "on_death": "cut", "bench": True, "faults": False},
            "time_ms": 1790000000000, "uptime_ms": 7_380_000, "interval_ms": 100, "control": False,
            "observer": {"pid": 12, "uptime_ms": 34, "viewers": 1},
            "master": {"pid": 10, "phase": "running", "heard_ms": 3, "processes_wanted": len(processes),
                       "restarted": 0},
            "totals": {**TOTALS, "deaths": len(deaths)},
            "latency": {"1s": WINDOW, "10s": WINDOW, "60s": WINDOW},
            "stalls": {"1s": WINDOW, "10s": WINDOW, "60s": WINDOW},
            "processes": list(processes), "deaths": list(deaths), "stuck_processes": [], **members}


# ---- metrics ----

CAUSES = ("SIGABRT", "SIGBUS", "SIGKILL", "SIGSEGV", "SIGTERM", "exit", "other")
OUTCOMES = ("repeated", "resumed", "skipped", "refused_500", "refused_502")
PROCESS_STATES = ("starting", "ready", "draining")
BUCKETS = ("0.0001", "0.0002", "0.0005", "0.001", "0.002", "0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1.0",
           "2.0", "5.0", "10.0", "30.0", "60.0")
# name: (type, the label that it has beside none, its values)
METRICS = {
    "twinhttpd_requests_started_total": ("counter", None, ()),
    "twinhttpd_requests_finished_total": ("counter", None, ()),
    "twinhttpd_requests_aborted_total": ("counter", None, ()),
    "twinhttpd_requests_handled_total": ("counter", None, ()),
    "twinhttpd_sent_bytes_total": ("counter", None, ()),
    "twinhttpd_connections_accepted_total": ("counter", None, ()),
    "twinhttpd_connections_moved_total": ("counter", None, ()),
    "twinhttpd_connections_refused_total": ("counter", None, ()),
    "twinhttpd_faults_recovered_total": ("counter", None, ()),
    "twinhttpd_deaths_total": ("counter", "cause", CAUSES),
    "twinhttpd_requests_lost_total": ("counter", "kind", ("in_progress", "awaited")),
    "twinhttpd_adopted_connections_total": ("counter", None, ()),
    "twinhttpd_adoption_lost_connections_total": ("counter", None, ()),
    "twinhttpd_adoption_requests_total": ("counter", "outcome", OUTCOMES),
    "twinhttpd_stuck_incidents_total": ("counter", None, ()),
    "twinhttpd_observer_deaths_total": ("counter", None, ()),
    "twinhttpd_request_duration_seconds": ("histogram", None, ()),
    "twinhttpd_loop_turn_seconds": ("histogram", None, ()),
    "twinhttpd_recovery_seconds": ("histogram", None, ()),
    "twinhttpd_info": ("gauge", "version", ("0.1.0",)),
    "twinhttpd_up_seconds": ("gauge", None, ()),
    "twinhttpd_processes": ("gauge", "state", PROCESS_STATES),
    "twinhttpd_processes_wanted": ("gauge", None, ()),
    "twinhttpd_connections": ("gauge", "state", ("open", "busy", "idle")),
    "twinhttpd_stuck_threads": ("gauge", None, ()),
    "twinhttpd_master_heard_seconds": ("gauge", None, ()),
    "twinhttpd_worker_resident_bytes": ("gauge", "worker", ("0", "1")),
    "twinhttpd_worker_cpu_seconds_total": ("counter", "worker", ("0", "1")),
    "twinhttpd_worker_waiting_seconds_total": ("counter", "worker", ("0", "1")),
    "twinhttpd_worker_connections": ("gauge", "worker", ("0", "1")),
    "twinhttpd_worker_busy": ("gauge", "worker", ("0", "1")),
}


def _labels(label, value):
    if label == "version":
        return f'{{version="{value}",model="prefork",dispatch=""}}'
    return f'{{{label}="{value}"}}' if label else ""


def _histogram(name, count):
    yield from (f'{name}_bucket{{le="{edge}"}} {count * (place + 1) // len(BUCKETS)}'
                for place, edge in enumerate(BUCKETS))
    yield f'{name}_bucket{{le="+Inf"}} {count}'
    yield f"{name}_sum {count * 0.01:.6f}"
    yield f"{name}_count {count}"


def metrics_text(age, **gauges):
    """What GET /metrics answers: every series there is, and counters that have grown with age. A gauge is 2, or what
    it is said to be: name=number."""
    lines = []
    for name, (kind, label, values) in METRICS.items():
        lines += [f"# HELP {name} A fact.", f"# TYPE {name} {kind}"]
        if kind == "histogram":
            lines += _histogram(name, 100 * age)
        else:
            number = 10 * age if kind == "counter" else gauges.get(name, 2)
            lines += [f"{name}{_labels(label, value)} {number}" for value in values or ("",)]
    return "\n".join(lines) + "\n"


# ---- the server ----

class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        fake = self.server.fake
        fake.requests.append((self.path, self.headers.get("Host")))
        if fake.answer is not None:
            fake.answer(self)
        elif self.path == "/api/v1/state":
            self.give(200, json.dumps(fake.state).encode(), "application/json")
        elif self.path == "/metrics":
            fake.scrapes += 1
            self.give(200, metrics_text(fake.scrapes, **fake.gauges).encode(), "text/plain; version=0.0.4")
        else:
            self.give(404, b"not found\n", "text/plain")

    def give(self, status, body, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port, fake):
        self.fake = fake
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, *_):
        pass  # a client that went away


class FakeObserver:
    """Listens until closed. answer(handler), if there is one, says something else than the state."""

    def __init__(self, state=None, port=0):
        self.state = state
        self.answer = None
        self.requests = []
        self.scrapes = 0
        self.gauges = {}
        self._server = _Server(port, self)
        self.port = self._server.server_address[1]
        self.address = f"127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self):
        if self._thread.is_alive():
            self._end()

    def _end(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# ---- bad manners: what answer may be ----

def silent(handler):
    """Takes the request, and never answers."""
    handler.close_connection = True
    handler.connection.recv(1)  # until the client goes away


def dripping(handler):
    """A byte now and then, for as long as somebody reads."""
    handler.close_connection = True
    try:
        while True:
            handler.wfile.write(b"H")
            time.sleep(0.1)
    except OSError:
        pass


def saying(raw):
    def answer(handler):
        handler.close_connection = True
        handler.wfile.write(raw)
    return answer
