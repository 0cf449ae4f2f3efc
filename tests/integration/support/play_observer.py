"""An observer that plays servers nobody started: live figures, deaths that a page's buttons cause, bad manners on request.

By hand, to look at the page: python3 tests/integration/support/play_observer.py [--servers 3] [--port 8090]
"""

import argparse
import contextlib
import json
import math
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

REPOSITORY = Path(__file__).resolve().parents[3]
PAGE_SOURCES = REPOSITORY / "server" / "observe" / "page"
TOKEN = "a-token_of.the~play"
RING = 600  # events that a client can catch up on
FATAL_WITH_STORY = {"SEGV": "SEGV_MAPERR", "ABRT": "SI_TKILL", "BUS": "BUS_ADRERR", "FPE": "FPE_INTDIV", "ILL": "ILL_ILLOPN"}
FAULT_SIGNALS = {"segv": "SEGV", "abort": "ABRT", "check": "ABRT", "fpe": "FPE", "bus": "BUS", "ill": "ILL",
                 "stack-overflow": "SEGV", "segv-holding-lock": "SEGV"}
LINES = ("GET /plaintext HTTP/1.1", "GET /json HTTP/1.1", "GET /cpu HTTP/1.1", "POST /echo HTTP/1.1",
         "GET /documents/a-rather-long-name-of-a-file-in-a-folder.html HTTP/1.1")


def assemble(folder):
    """Puts the page together, as the build does; returns its text."""
    subprocess.run(["cmake", "-D", f"INTO={folder}", "-P", PAGE_SOURCES / "assemble.cmake"], check=True, timeout=300)
    return (Path(folder) / "page.html").read_text()


def iso(time_ms):
    moment = datetime.fromtimestamp(time_ms / 1000, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03d}Z"


def stack(fault):
    told = [("raise_fault", "common/handlers/lab/fault.c", 61), (f"fault_{fault}", "common/handlers/lab/fault.c", 71),
            ("http_exchange_run", "common/http/exchange.c", 187), ("run_or_die", "server/threadpool/threadpool.c", 147),
            ("run_batch", "server/threadpool/threadpool.c", 162), ("start_thread", "./nptl/pthread_create.c", 442),
            ("clone3", "../sysdeps/unix/sysv/linux/x86_64/clone3.S", 81)]
    return [{"frame": number if number < 5 else number + 9, "function": function, "file": file, "line": line,
             "module": "prefork-server", "offset": hex(0x1200 + 77 * number)}
            for number, (function, file, line) in enumerate(told)]


class PlayServer:
    """One server, and the events that its observer makes. step() is a tenth of a second."""

    def __init__(self, model="prefork", processes=4, threads=1, rate=12000, control=True, on_death="cut", wrk=False, seed=1):
        self.random = random.Random(seed)
        self.model, self.threads, self.rate, self.control, self.on_death, self.wrk = model, threads, rate, control, on_death, wrk
        self.wanted = processes
        self.boot = f"{self.random.getrandbits(64):016x}"
        self.started_ms = self.now_ms = int(time.time() * 1000)
        self.next_pid = self.random.randrange(2000, 9000)
        self.master_pid = self._pid()
        self.generation = self.restarted = self.steps = 0
        self.deaths, self.stuck, self.processes = [], [], []
        self.later = []  # (time, function) of what is still to happen
        self.totals = dict.fromkeys(("requests_started", "requests_finished", "requests_aborted", "requests_handled",
                                     "bytes_sent", "connections_accepted", "connections_adopted", "connections_refused",
                                     "faults_recovered", "connections_open", "connections_idle", "deaths", "requests_lost",
                                     "in_progress_lost", "stuck_incidents"), 0)
        self.totals["adoption"] = dict.fromkeys(("connections", "lost", "repeated", "resumed", "skipped", "refused_500",
                                                 "refused_502"), 0)
        self.wrk_errors = 0
        self.phase, self.heard_ms, self.connections = "running", 3, 64
        for number in range(processes):
            self._start(number)
        self.latency = self.stalls = None
        self._note_windows(0, 0)

    def _pid(self):
        self.next_pid += self.random.randrange(1, 9)
        return self.next_pid

    def _start(self, number):
        self.generation += 1
        pid = self._pid()
        first = number * self.threads
        slots = [{"slot": first + at, "tid": pid if self.threads == 1 else self._pid(), "role": "loop", "state": "ready",
                  "stuck": None, "heartbeat_age_ms": 12, "finished": 0, "open": 0, "busy": 0, "p99": None, "current": None}
                 for at in range(self.threads)]
        process = {"number": number, "pid": pid, "generation": self.generation, "state": "ready", "born_ms": self.now_ms,
                   "slots": slots, "rss_kib": self.random.randrange(4200, 5200) + 300 * self.threads, "cpu_ms": 0,
                   "voluntary": 0, "involuntary": 0, "cpu_share": 0.0, "waiting_share": 0.0}
        self.processes.append(process)
        self.processes.sort(key=lambda each: each["number"])

    # What the observer tells.

    def _process(self, process, whole):
        slots = [self._slot(each) if whole else [each["slot"], each["tid"], each["role"]] for each in process["slots"]]
        return {"number": process["number"], "pid": process["pid"], "generation": process["generation"],
                "state": process["state"], "age_ms": self.now_ms - process["born_ms"], "inherits": False,
                "memory": {"pss_kib": process["rss_kib"] * 6 // 10, "rss_kib": process["rss_kib"], "private_kib": None},
                "cpu_ms": process["cpu_ms"], "cpu_share": process["cpu_share"], "waiting_share": process["waiting_share"],
                "switches_voluntary": process["voluntary"], "switches_involuntary": process["involuntary"], "slots": slots}

    def _slot(self, slot):
        zeros = dict.fromkeys(("requests_aborted", "bytes_sent", "connections_accepted", "connections_adopted",
                               "connections_refused", "faults_recovered", "connections_idle", "deaths"), 0)
        current = {"line": slot["current"], "client": "127.0.0.1:4711"} if slot["current"] else None
        return {"slot": slot["slot"], "tid": slot["tid"], "role": slot["role"], "state": slot["state"], "stuck": slot["stuck"],
                "heartbeat_age_ms": slot["heartbeat_age_ms"], "requests_started": slot["finished"],
                "requests_finished": slot["finished"], "requests_handled": slot["finished"], **zeros,
                "connections_open": slot["open"], "connections_busy": slot["busy"], "current": current,
                "per_second": 0.0, "p50_us": None, "p99_us": slot["p99"]}

    def _master(self):
        return {"pid": self.master_pid, "phase": self.phase, "heard_ms": self.heard_ms, "processes_wanted": self.wanted,
                "restarted": self.restarted}

    def state(self):
        name = "threadpool-server" if self.model == "threadpool" else "prefork-server"
        return {"api": 1, "server": {"name": name, "version": "0.1.0", "model": self.model,
                                     "dispatch": "connection" if self.threads > 1 else None, "listen": "127.0.0.1:8080",
                                     "on_death": self.on_death, "bench": True, "faults": True},
                "time_ms": self.now_ms, "uptime_ms": self.now_ms - self.started_ms + 7_380_000, "interval_ms": 100,
                "control": self.control, "observer": {"pid": self.master_pid + 1, "uptime_ms": 34, "viewers": 1},
                "master": self._master(), "totals": self.totals, "latency": self.latency, "stalls": self.stalls,
                "processes": [self._process(each, True) for each in self.processes], "deaths": self.deaths[-64:],
                "stuck_processes": self.stuck[-4:]}

    def processes_event(self):
        return "processes", {"t": self.now_ms, "master": self._master(), "totals": self.totals, "latency": self.latency,
                             "stalls": self.stalls, "processes": [self._process(each, False) for each in self.processes]}

    # What happens.

    def step(self, now_ms):
        """Events of a tenth of a second."""
        events = []
        self.now_ms = now_ms
        self.steps += 1
        due = [each for each in self.later if each[0] <= now_ms]
        self.later = [each for each in self.later if each[0] > now_ms]
        for _, happen in sorted(due, key=lambda each: each[0]):
            events += happen()
        events.append(self._tick())
        if self.steps % 10 == 0:
            events.append(self.processes_event())
        if self.wrk and self.steps % 5 == 0:
            events.append(self._wrk())
        return events

    def _tick(self):
        slots = [slot for process in self.processes for slot in process["slots"]]
        moving = [slot for slot in slots if not slot["stuck"]]
        wave = 1 + 0.06 * math.sin(self.now_ms / 9000 + len(self.model)) + self.random.gauss(0, 0.02)
        whole = self.wanted * self.threads
        done = int(self.rate / 10 * wave * len(moving) / max(1, whole))
        p50 = self.connections * 1e6 / max(self.rate, 1) * self.random.uniform(0.7, 0.8)
        p99 = p50 * self.random.uniform(2.2, 3.1) * (6 if self.random.random() < 0.01 else 1) * (1.5 if len(moving) < whole else 1)
        for slot in slots:
            self._move(slot, done, len(moving), p99, whole)
        for process in self.processes:
            self._spend(process)
        self.totals["requests_finished"] += done
        self.totals["requests_started"] += done
        self.totals["requests_handled"] += done
        self.totals["bytes_sent"] += done * 165
        self.totals["connections_open"] = sum(slot["open"] for slot in slots)
        self._note_windows(p50, p99)
        changed = [[slot["slot"], slot["state"], slot["stuck"], slot["heartbeat_age_ms"], slot["finished"], slot["open"],
                    slot["busy"], slot["p99"], slot["current"]] for slot in slots]
        return "tick", {"t": self.now_ms, "dt_ms": 100, "finished": self.totals["requests_finished"],
                        "started": self.totals["requests_started"], "aborted": 0, "lost": self.totals["requests_lost"],
                        "deaths": self.totals["deaths"], "open": self.totals["connections_open"],
                        "busy": sum(slot["busy"] for slot in slots), "heard_ms": self.heard_ms,
                        "p50_us": int(p50) if done else None, "p99_us": int(p99) if done else None,
                        "p999_us": int(p99 * 1.6) if done else None, "stall_max_us": int(p99 * 0.8), "slots": changed}

    def _move(self, slot, done, moving, p99, whole):
        slot["open"] = self.connections // max(1, whole)
        if slot["stuck"]:
            slot["heartbeat_age_ms"] += 100
            return
        slot["heartbeat_age_ms"] = self.random.randrange(0, 40)
        slot["finished"] += done // max(1, moving)
        slot["busy"] = min(slot["open"], self.random.randrange(0, 5)) if done else 0
        slot["p99"] = int(p99 * self.random.uniform(0.9, 1.1)) if done else None
        slot["current"] = self.random.choice(LINES) if done and self.random.random() < 0.7 else None

    def _spend(self, process):
        moving = sum(1 for slot in process["slots"] if slot["stuck"] != "blocked")
        process["cpu_share"] = round(min(2, moving * self.random.uniform(0.38, 0.46)), 3)
        process["waiting_share"] = round(self.random.uniform(0.02, 0.3), 3)
        process["cpu_ms"] += int(process["cpu_share"] * 100)
        process["voluntary"] += self.random.randrange(40, 90) * moving
        process["involuntary"] += self.random.randrange(0, 4)

    def _note_windows(self, p50, p99):
        def window(seconds, factor):
            count = int(self.rate * seconds)
            known = p99 > 0
            return {"seconds": float(seconds), "count": count, "per_second": count / seconds if known else 0.0,
                    **{field: int(value * factor) if known else None
                       for field, value in (("mean_us", p50 * 1.1), ("p50_us", p50), ("p90_us", p50 * 1.7), ("p99_us", p99),
                                            ("p999_us", p99 * 1.5), ("max_us", p99 * 2.7))}}
        self.latency = {f"{seconds}s": window(seconds, 1 + seconds / 200) for seconds in (1, 10, 60)}
        self.stalls = {f"{seconds}s": window(seconds, 0.3 + seconds / 300) for seconds in (1, 10, 60)}

    def _wrk(self):
        return "wrk", {"t": self.now_ms, "requests": self.totals["requests_finished"], "errors": self.wrk_errors,
                       "cut": self.wrk_errors, "per_second": self.rate, "p99_us": self.latency["1s"]["p99_us"],
                       "connections": self.connections, "killing": False}

    # What is done to it.

    def kill(self, pid, name, fault=None, line=None):
        """A death: events of now; recovery, and for a crash the story, come later."""
        process = next((each for each in self.processes if each["pid"] == pid), None)
        if process is None:
            return None, f"{pid} is no process of this server; list shows them"
        if name in ("STOP", "CONT", "USR1", "HUP", "WINCH", "CHLD", "URG"):
            for slot in process["slots"]:
                slot["stuck"] = "stopped" if name == "STOP" else None
            return [], None
        self.processes.remove(process)
        adopts = self.on_death == "adopt"
        awaited = sum(slot["open"] for slot in process["slots"])
        at_work = sum(slot["busy"] for slot in process["slots"])
        lost = 0 if adopts else awaited
        record = {
            "number": len(self.deaths) + 1, "time": iso(self.now_ms), "process": process["number"], "pid": pid,
            "generation": process["generation"], "cause": "signal", "signal": f"SIG{name}", "exit_status": None,
            "lived_ms": self.now_ms - process["born_ms"], "requests_lost": lost, "in_progress": at_work,
            "awaited": awaited - at_work, "idle_cut": 0, "in_progress_lost": 0 if adopts else at_work,
            "left_to_successor": adopts, "recovery_ms": None, "crash": None,
            "adoption": {"connections": awaited, "lost": 0, "repeated": at_work, "resumed": 0, "skipped": 0, "refused_500": 0,
                         "refused_502": 0} if adopts else None,
            "requests": [{"slot": slot["slot"], "worker": slot["slot"], "line": slot["current"], "client": "127.0.0.1:4711"}
                         for slot in process["slots"] if slot["current"]][:16]}
        self.deaths.append(record)
        self.totals["deaths"] += 1
        self.totals["requests_lost"] += lost
        self.totals["in_progress_lost"] += record["in_progress_lost"]
        self.wrk_errors += lost
        if adopts:
            self.totals["adoption"]["connections"] += awaited
            self.totals["adoption"]["repeated"] += at_work
        recovery_ms = round(self.random.uniform(0.7, 2.4) * (1 if self.threads == 1 else 4), 3)
        self.later.append((self.now_ms + recovery_ms, lambda: self._recover(process, record, recovery_ms)))
        if name in FATAL_WITH_STORY:
            self.later.append((self.now_ms + 700, lambda: self._tell(process, record, name, fault, line)))
        return [("death", dict(record)), self.processes_event()], None

    def _recover(self, process, record, recovery_ms):
        self.restarted += 1
        self._start(process["number"])
        record["recovery_ms"] = recovery_ms
        return [("recovered", {"t": self.now_ms, "number": record["number"], "recovery_ms": recovery_ms}), self.processes_event()]

    def _tell(self, process, record, name, fault, line):
        sender = None if fault else {"pid": self.master_pid, "uid": 0}
        request = {"line": line, "client": "127.0.0.1:40264"} if line else None
        record["crash"] = {"signal": f"SIG{name}", "code": FATAL_WITH_STORY[name] if fault else "SI_USER",
                           "address": "0x0" if fault == "segv" else None, "stack_overflow": fault == "stack-overflow",
                           "assertion": "`connections_open >= 0` at common/handlers/lab/fault.c:48" if fault == "check" else None,
                           "sender": sender, "tid": process["slots"][0]["tid"], "slot": process["slots"][0]["slot"],
                           "worker": process["slots"][0]["slot"], "request": request, "frames_left_out": 9 if fault else 0,
                           "frames": stack(fault) if fault else stack("loop")[2:]}
        return [("death", dict(record))]

    def fault(self, path):
        word = path.partition("?")[0].rpartition("/")[2]
        line = f"GET {path.partition('?')[0]} HTTP/1.1"
        process = self.random.choice(self.processes)
        if word in FAULT_SIGNALS:
            return self.kill(process["pid"], FAULT_SIGNALS[word], word, line)[0]
        if word in ("hang", "deadlock"):
            slot = process["slots"][0]
            slot.update(stuck="spinning" if word == "hang" else "blocked", current=line)
            self.later.append((self.now_ms + 1500, lambda: self._find_stuck(process, slot, line)))
        elif word == "leak":
            process["rss_kib"] += 16384
        return []

    def _find_stuck(self, process, slot, line):
        self.totals["stuck_incidents"] += 1
        record = {"time": iso(self.now_ms), "process": process["number"], "pid": process["pid"],
                  "generation": process["generation"],
                  "threads": [{"tid": slot["tid"], "slot": slot["slot"], "worker": slot["slot"], "role": "loop",
                               "stuck": slot["stuck"], "state": "R" if slot["stuck"] == "spinning" else "S",
                               "wait_channel": None if slot["stuck"] == "spinning" else "futex_wait_queue",
                               "request": {"line": line, "client": "127.0.0.1:40264"}, "frames_left_out": 0,
                               "frames": stack("hang")}]}
        self.stuck.append(record)
        self.later.append((self.now_ms + 4000, lambda: self.kill(process["pid"], "ABRT", "hang", line)[0] or []))
        return [("stuck", record)]

    def obey(self, command):
        """(answer, events) of a line of the control protocol."""
        word = command.get("command")
        if word == "kill":
            events, error = self.kill(command.get("pid"), str(command.get("signal")))
            return ({"ok": False, "error": error}, []) if error else ({"ok": True}, events)
        if word == "fault":
            return {"ok": True}, self.fault(command.get("path", ""))
        if word in ("add", "remove"):
            return self._resize(1 if word == "add" else -1)
        if word == "drain":
            self.phase = "draining"
            return {"ok": True}, [self.processes_event()]
        return {"ok": True, **({"recycling": self.wanted} if word == "recycle" else {})}, []

    def _resize(self, by):
        if self.wanted + by < 1:
            return {"ok": False, "error": "one process has to stay; drain or stop ends the server"}, []
        self.wanted += by
        if by > 0:
            self._start(self.wanted - 1)
        else:
            self.processes.pop()
        return {"ok": True, "wanted": self.wanted}, [self.processes_event()]


class _Stream:
    """The events of one server, for all who listen, with those of the last minute to catch up on."""

    def __init__(self, server):
        self.server, self.number, self.ring, self.readers = server, 0, [], set()

    def say(self, kind, data):
        numbered = kind != "wrk"
        self.number += numbered
        identity = f"id: {self.server.boot}-{self.number}\n" if numbered else ""
        text = f"{identity}event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
        if numbered:
            self.ring = [*self.ring[1 - RING:], (self.number, text)]
        for reader in self.readers:
            reader.put(text)

    def join(self, last):
        """A queue of what is to be sent: what was missed, or everything from the beginning."""
        reader = queue.Queue()
        boot, _, number = (last or "").rpartition("-")
        if boot == self.server.boot and number.isdigit() and self.ring and int(number) >= self.ring[0][0] - 1:
            for known, text in self.ring:
                if known > int(number):
                    reader.put(text)
        else:
            hello = json.dumps(self.server.state(), separators=(",", ":"))
            reader.put(f"retry: 500\nid: {self.server.boot}-{self.number}\nevent: hello\ndata: {hello}\n\n".encode())
        self.readers.add(reader)
        return reader


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urlsplit(self.path)
        play = self.server.play
        base, _, route = url.path[1:].rpartition("events") if url.path.endswith("/events") else ("", "", url.path[1:])
        if url.path == "/":
            self.give(200, play.page.encode(), "text/html; charset=utf-8", [("Content-Security-Policy", play.policy)])
        elif url.path == "/servers.json":
            self.give_json(play.servers_json())
        elif url.path.endswith("/events"):
            self.stream(play, base.strip("/"), self.headers.get("Last-Event-ID") or parse_qs(url.query).get("last", [None])[0])
        elif url.path.endswith("/api/v1/state"):
            with play.lock:
                self.give_json(play.at(url.path.removesuffix("api/v1/state").strip("/")).server.state())
        else:
            self.give(404, f"not found: {route}\n".encode(), "text/plain")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        play = self.server.play
        play.posts.append((self.path, body))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.give(403, b"this needs the token that the server printed at its start\n", "text/plain")
        elif self.path.startswith("/presets/"):
            self.give_json(play.run_preset(self.path.removeprefix("/presets/")))
        else:
            self.give_json(play.command(self.path.removesuffix("api/v1/commands").strip("/"), json.loads(body)))

    def stream(self, play, base, last):
        self.close_connection = True
        with play.lock:
            if play.refuses:
                return self.give(503, b"too many viewers\n", "text/plain")
            stream = play.at(base)
            reader = stream.join(last)
            play.joined.append(last)
            play.sockets.add(self.connection)
        try:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Cache-Control", "no-store")
            self.send_header("Connection", "close")
            self.end_headers()
            while not play.is_over:
                try:
                    self.wfile.write(reader.get(timeout=0.5))
                except queue.Empty:
                    continue
        except OSError:
            pass
        finally:
            with play.lock:
                stream.readers.discard(reader)
                play.sockets.discard(self.connection)

    def give_json(self, value):
        self.give(200, json.dumps(value).encode(), "application/json")

    def give(self, status, body, kind, headers=()):
        self.send_response(status)
        for name, value in [("Content-Type", kind), ("Content-Length", str(len(body))), ("X-Content-Type-Options", "nosniff"),
                            ("Cache-Control", "no-store"), *headers]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_):
        pass  # a browser that went away


class PlayObserver:
    """Serves the page and plays the servers in real time, until closed. speed: so many times as fast."""

    def __init__(self, page, servers, presets=(), port=0, speed=1.0):
        self.page, self.presets, self.speed = page, presets, speed
        self.policy = page.partition('http-equiv="Content-Security-Policy" content="')[2].partition('"')[0]
        self.policy += "; frame-ancestors 'none'"
        self.lock = threading.RLock()
        self.streams = [_Stream(each) for each in servers]
        self.posts, self.joined, self.sockets = [], [], set()
        self.is_over = self.is_silent = self.refuses = False
        self._http = _Http(("127.0.0.1", port), _Handler)
        self._http.play = self
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/"
        self._threads = [threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True),
                         threading.Thread(target=self._play, daemon=True)]
        for thread in self._threads:
            thread.start()

    def servers_json(self):
        if len(self.streams) == 1:
            return {"servers": [{"name": "", "base": "", "wrk": self.streams[0].server.wrk}], "presets": []}
        names = [{"name": each.server.model, "base": f"s/{at}", "wrk": each.server.wrk} for at, each in enumerate(self.streams)]
        return {"servers": names, "presets": [{"id": key, "label": label} for key, label in self.presets]}

    def at(self, base):
        return self.streams[int(base.rpartition("/")[2] or 0)]

    def _play(self):
        begin_s, began_ms, number = time.monotonic(), int(time.time() * 1000), 0
        while not self.is_over:
            number += 1
            wait_s = begin_s + number * 0.1 / self.speed - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)
            with self.lock:
                for stream in self.streams:
                    events = stream.server.step(began_ms + number * 100)
                    for kind, data in () if self.is_silent else events:
                        stream.say(kind, data)

    def command(self, base, command):
        with self.lock:
            stream = self.at(base)
            answer, events = stream.server.obey(command)
            for kind, data in events:
                stream.say(kind, data)
        return answer

    def kill_one(self, at=0, name="KILL"):
        with self.lock:
            pid = self.streams[at].server.processes[0]["pid"]
        return self.command(str(at), {"command": "kill", "pid": pid, "signal": name})

    def run_preset(self, key):
        if key != "kill":
            return {"ok": True, "message": f"{key}: done"}
        for at in range(len(self.streams)):
            self.kill_one(at)
        return {"ok": True, "message": "one process of each was killed"}

    def drop_all(self):
        """Ends all streams, as an observer does that dies."""
        with self.lock:
            for connection in self.sockets:
                with contextlib.suppress(OSError):  # who watched has left
                    connection.shutdown(2)

    def respawn(self):
        """Another observer of the same server: nobody can go on where the last one was."""
        with self.lock:
            for stream in self.streams:
                stream.server.boot = f"{random.getrandbits(64):016x}"
                stream.ring = []
        self.drop_all()

    def close(self):
        self.is_over = True
        self.drop_all()
        self._http.shutdown()
        self._http.server_close()
        for thread in self._threads:
            thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


PRESETS = (("kill", "kill one a second"), ("stop", "stop that"), ("hang", "hang one"), ("leak", "leak"),
           ("crowd", "64 \u2192 1,000 connections"))


def three_servers():
    return [PlayServer("prefork", 4, 1, 12400, wrk=True, seed=1), PlayServer("threadpool", 1, 4, 12900, wrk=True, seed=2),
            PlayServer("hybrid", 2, 2, 12100, wrk=True, seed=3, on_death="adopt")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--servers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--port", type=int, default=8090)
    options = parser.parse_args()
    servers = three_servers() if options.servers == 3 else [PlayServer()]
    with tempfile.TemporaryDirectory() as folder, PlayObserver(assemble(folder), servers, PRESETS, options.port) as play:
        print(f"{play.url}#token={TOKEN}")
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            sys.exit(0)


if __name__ == "__main__":
    main()
