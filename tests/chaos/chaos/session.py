"""A server under load to which faults are done, one after the other, and what is checked after each."""

import contextlib
import json
import os
import random
import re
import signal
import time
from dataclasses import dataclass

from chaos import account, faults
from chaos.limits import Cgroup, SmallDisk, Unavailable, wait_for
from chaos.load import SHORTEST_QUIET_S, Journal, Load, Prober, ask_once
from support import processes
from support import server as servers
from support.client import request_bytes
from support.waiting import DEADLINE_S, wait_until

CONNECTIONS = 8
CALM_S = 0.12  # a worker that dies younger counts as one that cannot start
REST_DEADLINE_S = 30.0
ROTATE_AT_BYTES = 8 << 20
MASTER_KILL = "SIGKILL of the master"
DRAIN_TIMEOUT_MS = 60000  # longer than any client keeps a connection without asking, however busy the machine is
EVIDENCE_BYTES = 4000


class Violation(Exception):
    """Something that must hold does not."""


@dataclass(frozen=True)
class Step:
    """One entry of the schedule: all chance is in here."""

    fault: str
    chance: float
    hold_s: float

    def choose(self, candidates):
        return candidates[int(self.chance * len(candidates))]


@dataclass(frozen=True)
class Outcome:
    """What one fault did."""

    step: Step
    account: account.Account
    first_answer_ms: float
    full_strength_ms: float

    def as_dict(self):
        return {"fault": self.step.fault, "chance": self.step.chance, "hold_ms": self.step.hold_s * 1000,
                "first_answer_ms": self.first_answer_ms, "full_strength_ms": self.full_strength_ms,
                **self.account.as_dict()}


def shared_memory():
    return set(os.listdir("/dev/shm"))


class Session:
    """Use as a context: leaves no process, mount, control group or file."""

    def __init__(self, model, directory, root, seed, options=(), has_watchdog=False, adopts=False):
        self.model = model
        self.has_watchdog = has_watchdog
        self.adopts = adopts
        self.sanitized = servers.SANITIZED
        self.seen = Journal()
        self.last_fault = "start"
        self.port = servers.quiet_port()
        self.address = ("127.0.0.1", self.port)
        self.server = None
        self._directory = directory
        self._root = root
        self._rng = random.Random(seed)
        self._options = options
        self._shared_memory = shared_memory()
        self._numbers = 0
        self._deaths = []
        self._prober = None
        self._begun_s = None
        self._gone = set()
        self._resources = []
        self._server_directory = None
        self._last_workers = []
        self._counted_before = (0, 0)  # answers, cut requests: those of earlier servers
        self.memory, self.why_no_memory_limit = self._take(lambda: Cgroup("memory"), "remove")
        self.processes, self.why_no_process_limit = self._take(lambda: Cgroup("pids"), "remove")
        self.logs = directory / "logs"
        self.disk, self.why_no_disk = self._take(lambda: SmallDisk(self.logs), "unmount")
        self.access_log = self.logs / "access.log"
        self.error_log = self.logs / "error.log"

    def _take(self, make, give_back):
        try:
            made = make()
        except Unavailable as reason:
            return None, str(reason)
        self._resources.append(getattr(made, give_back))
        return made, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            if self.server is not None:
                self.server.clean_up()
        finally:
            for give_back in reversed(self._resources):
                give_back()

    # The server.

    @property
    def master(self):
        return self.server.pid

    def worker_pids(self):
        return processes.living_children(self.master)

    def keeper_pids(self):
        """Of processes that keep the descriptors of others."""
        return processes.keepers(self.master)

    def start(self):
        """Starts a server on the session's port; it dies with this process, and lives in its groups."""
        self._numbers += 1
        self._server_directory = self._directory / f"server-{self._numbers}"
        self._server_directory.mkdir()
        self._counted_before = (self.seen.answers, self._cut_so_far())
        groups = [str(group.members_file) for group in (self.memory, self.processes) if group]
        join = "".join(f"echo $$ >{group} && " for group in groups)
        command = ["setpriv", "--pdeathsig", "KILL", "sh", "-c", f'{join}exec "$@"', "sh",
                   servers.binary(self.model), "--listen", f"127.0.0.1:{self.port}", "--root",
                   str(self._root), "--faults", "on", "--access-log", str(self.access_log),
                   "--error-log", str(self.error_log), "--drain-timeout-ms", str(DRAIN_TIMEOUT_MS),
                   *self.model.options, *self._options]
        self.server = servers.Server(self.model, command, self._server_directory)
        self._deaths = []
        self._wait_for_full_strength()

    def get(self, target):
        return ask_once(self.address, target, self.seen)

    def status(self):
        return self.server.status()

    def whoami_pid(self, client):
        client.send(request_bytes(target="/whoami"))
        return self.read_whoami_pid(client)

    def read_whoami_pid(self, client):
        response = client.read_response()
        self.seen.note_answer(response, "/whoami")
        return json.loads(response.body)["pid"]

    def error_log_mark(self):
        return self.error_log.stat().st_size

    def wait_for_error_log(self, pattern, mark):
        def written():
            with open(self.error_log, "rb") as file:
                file.seek(mark)
                return re.search(pattern.encode(), file.read())
        wait_for(written, f"the error log says {pattern}", DEADLINE_S)

    def rotate_logs(self):
        """Moves the logs away and waits until no process writes to the old ones."""
        moved = [path.rename(path.with_suffix(".old")) for path in (self.access_log, self.error_log)]
        os.kill(self.master, signal.SIGUSR1)
        wait_for(lambda: not any(self._has_open(pid, moved) for pid in
                                 (self.master, *self.worker_pids())), "the logs are open again")
        for path in moved:
            path.unlink()

    @staticmethod
    def _has_open(pid, paths):
        try:
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            return False
        return any(str(path) in links for path in paths)

    def evidence(self):
        """The ends of both logs and what the server says of its workers, for a report of what went wrong."""
        found = [self.server.log()[-EVIDENCE_BYTES:]] if self.server else []
        found += [json.dumps(worker) for worker in self._last_workers]
        if self.error_log.exists():
            found.append(self.error_log.read_text(errors="backslashreplace")[-EVIDENCE_BYTES:])
        return "\n".join(found)

    # What a fault calls.

    def be_quiet(self):
        """Only the load asks now: the session's own connections are closed and booked."""
        time.sleep(SHORTEST_QUIET_S)

    def begin(self, quiet=True):
        """The fault is done right after this."""
        if quiet:
            self.be_quiet()
        self._begun_s = time.monotonic()

    def watch(self):
        """From here on somebody asks on new connections."""
        if self._prober is None:
            self._prober = Prober(self.address, self.seen)
            self._prober.start()

    def watch_until_answered(self):
        self.watch()
        wait_for(lambda: self._prober.first_answer_s, "a good answer on a new connection",
                 DEADLINE_S)

    def hold(self, duration_s):
        self.watch()
        time.sleep(duration_s)

    def hush(self):
        self._prober.hush()

    def go_on(self):
        self._prober.go_on()

    def expect_gone(self, pids):
        self._gone |= pids

    # One fault.

    def do(self, step, load, on_outcome):
        """Does the fault, waits until everything is as before, and checks that it is."""
        fault = faults.ALL[step.fault]
        self.last_fault = step.fault
        failures_before = len(self.seen.failures)
        closing_before = self.seen.closing_answers
        self._gone = set()
        self._prober = None
        descriptors = processes.open_fds(self.master)
        try:
            fault.act(self, step)
            self.watch_until_answered()
            strong_s = self._wait_for_full_strength()
        finally:
            if self._prober is not None:
                self._prober.stop()
        load.wait_until_all_answered(time.monotonic(), DEADLINE_S)
        wait_for(lambda: not processes.tellers(self.master), "every story has been told", DEADLINE_S)
        deaths = self._new_deaths()
        failures = self.seen.failures[failures_before:]
        balance = account.balance(fault, deaths, failures, self.seen.closing_answers - closing_before,
                                  self.model, self.adopts)
        outcome = Outcome(step, balance, self._since_ms(self._prober.first_answer_s),
                          self._since_ms(strong_s))
        on_outcome(outcome)
        if self.access_log.stat().st_size > ROTATE_AT_BYTES:
            self.rotate_logs()
        time.sleep(CALM_S)
        self._check(balance.complaints(fault) + self._lastingly_unsound(descriptors))

    def _since_ms(self, moment_s):
        return (moment_s - self._begun_s) * 1000

    def _wait_for_full_strength(self):
        """As many processes as configured, none of those that were to go, and every slot is ready."""
        def processes_right():
            pids = self.worker_pids()
            return len(pids) == self.model.processes and not self._gone & set(pids)

        def slots_ready():
            self._last_workers = workers = self.status()["workers"]
            return (processes_right() and len(workers) == self.model.slots
                    and all(worker["state"] == "ready" for worker in workers))
        wait_for(processes_right, "as many processes as configured", DEADLINE_S)
        wait_for(slots_ready, "every worker is ready", DEADLINE_S)
        return time.monotonic()

    def _new_deaths(self):
        known = {(death["pid"], death["generation"]) for death in self._deaths}
        new = [death for death in self.status()["deaths"]
               if (death["pid"], death["generation"]) not in known]
        account.check_records(new)
        self._deaths += new
        return new

    def _lastingly_unsound(self, descriptors):
        """What is wrong and stays so. A master that has much to do tells a story late, by one more process."""
        found = []

        def at_rest():
            found[:] = self._unsound(descriptors)
            return not found
        with contextlib.suppress(AssertionError):
            wait_until(at_rest, "all is at rest", REST_DEADLINE_S)
        return found

    def _unsound(self, descriptors):
        """What is wrong with the processes, when all should be at rest."""
        found = []
        if zombies := processes.zombie_children(self.master):
            found.append(f"zombies: {zombies}")
        keepers = self.keeper_pids()
        if len(keepers) != (self.model.processes if self.adopts else 0):
            found.append(f"keepers: {keepers}")
        expected = sorted({self.master, *self.worker_pids(), *keepers})
        if (members := processes.living_in_session(self.server.session)) != expected:
            found.append(f"processes of the session: {members}, expected: {expected}")
        if (now := processes.open_fds(self.master)) != descriptors:
            found.append(f"descriptors of the master: {descriptors} before, {now} now")
        try:
            self.server.assert_no_sanitizer_report()
        except AssertionError as report:
            found.append(str(report))
        return found

    @staticmethod
    def _check(complaints):
        if complaints:
            raise Violation("; ".join(complaints))

    # The life of the servers.

    def run(self, steps, faults_per_server, until_s, on_outcome, on_violation):
        """Does all steps, as far as time allows; what is wrong after a fault does not end it. After each
        faults_per_server of them the master is killed, and the next server takes the port; the last one is
        stopped."""
        self.start()
        with Load(self.address, self.seen, CONNECTIONS, self._rng) as load:
            for first in range(0, len(steps), faults_per_server):
                if time.monotonic() > until_s:
                    break
                load.wait_until_all_answered(time.monotonic(), DEADLINE_S)
                for step in steps[first:first + faults_per_server]:
                    if time.monotonic() > until_s:
                        break
                    self._go_through(lambda: self.do(step, load, on_outcome), on_violation)
                self._go_through(lambda: self._check_books(load), on_violation)
                self._go_through(lambda: self._kill_master(load, on_outcome), on_violation)
        self.server.stop()
        self._check_nothing_left()

    @staticmethod
    def _go_through(part, on_violation):
        try:
            part()
        except Violation as violation:
            on_violation(violation)

    def _cut_so_far(self):
        return sum(failure.kind == "cut" for failure in self.seen.failures)

    def _check_books(self, load):
        load.pause()
        try:
            answers, cut = self._counted_before
            totals = self.status()["totals"]
            self._check(account.check_books(totals, self._deaths, self.seen.answers - answers,
                                            self._cut_so_far() - cut, CONNECTIONS))
        finally:
            load.resume()

    def _kill_master(self, load, on_outcome):
        """All die with it, the port is free, and the next server starts there at once."""
        load.wait_until_all_answered(time.monotonic(), DEADLINE_S)
        self.last_fault = MASTER_KILL
        failures_before = len(self.seen.failures)
        session = self.server.session
        self._prober = None
        self.begin()
        os.kill(self.master, signal.SIGKILL)
        try:
            self.watch()
            self.server.process.wait(DEADLINE_S)
            wait_for(lambda: not processes.living_in_session(session), "all workers die with their master")
            wait_for(lambda: servers.is_free(self.port), "the port is free")
            self._check_nothing_left()
            self.start()
            strong_s = time.monotonic()
            wait_for(lambda: self._prober.first_answer_s, "a good answer on a new connection",
                     DEADLINE_S)
        finally:
            self._prober.stop()
        load.wait_until_all_answered(strong_s, DEADLINE_S)
        outcome = Outcome(Step(MASTER_KILL, 0.0, 0.0),
                          account.of_master_kill(self.seen.failures[failures_before:]),
                          self._since_ms(self._prober.first_answer_s), self._since_ms(strong_s))
        on_outcome(outcome)
        # Nobody is left who could say what was lost. Whoever is cut asks again, and may meet the next process
        # that is about to die, or the queue that dies with the last: so often, and the probes too.
        most = (CONNECTIONS + 1) * (self.model.processes + 1)
        self._check([f"{outcome.account.cut} requests were cut by the death of the master, more than {most}"]
                    if outcome.account.cut > most else [])

    def _left_in_shared_memory(self):
        """What is new there and stays: other tests, which run at the same time, put there what soon goes."""
        new = shared_memory() - self._shared_memory

        def has_gone():
            new.intersection_update(shared_memory())
            return not new
        with contextlib.suppress(AssertionError):
            wait_until(has_gone, "what is new has gone")
        return new

    def _check_nothing_left(self):
        found = []
        if new := self._left_in_shared_memory():
            found.append(f"new in /dev/shm: {sorted(new)}")
        if new := set(os.listdir(self._server_directory)) - {"stdout", "stderr"}:
            found.append(f"new files: {sorted(new)}")
        self._check(found)
