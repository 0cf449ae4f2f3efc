"""Clients that keep asking on keep-alive connections, and note everything that goes wrong.

A client never repeats a request, never gives one up, and never closes a connection of its own accord. So each connection
that a dying process held costs exactly one client exactly one request: the one that was under way, or the
next one, which the client sends into a connection that is gone.
"""

import random
import threading
import time
from dataclasses import dataclass

from support.client import Client, ConnectionLost
from support.waiting import DEADLINE_S, wait_until

TARGETS = ("/plaintext", "/plaintext", "/json", "/hello.txt", "/cpu?us=100", "/sleep?ms=2")
LONGEST_PAUSE_S = 0.004
# One request in so many asks for the connection's end: so the connections spread again after a death.
REQUESTS_A_CONNECTION = 50
CLOSE = (("Connection", "close"),)
PATIENCE_S = DEADLINE_S  # longer than any fault lasts: whoever is not answered by then never is
RECONNECT_PAUSE_S = 0.005
PROBE_INTERVAL_S = 0.003
SHORTEST_QUIET_S = 0.01


@dataclass(frozen=True)
class Failure:
    """A request that got no complete answer, or one that names an error."""

    at_s: float  # monotonic
    kind: str  # cut, refused, unanswered, status NNN
    target: str


class Journal:
    """What all clients saw, in the order in which they saw it."""

    def __init__(self):
        self._lock = threading.Lock()
        self.failures = []
        self.answers = 0
        self.closing_answers = 0

    def note_answer(self, response, target):
        with self._lock:
            self.answers += 1
            self.closing_answers += response.says_close
            if response.status >= 400:
                kind = f"status {response.status}"
                self.failures.append(Failure(time.monotonic(), kind, target))

    def note_given_up(self):
        """An answer that names an error, to a request that was to have it."""
        with self._lock:
            self.answers += 1

    def note_failure(self, kind, target):
        with self._lock:
            self.failures.append(Failure(time.monotonic(), kind, target))


def ask_once(address, target, journal):
    """One GET on a connection of its own; the response, or None."""
    try:
        with Client(address, timeout_s=PATIENCE_S) as client:
            response = client.get(target, CLOSE)
            client.read_to_end()  # the server closes first, once it has booked the answer
    except ConnectionRefusedError:
        journal.note_failure("refused", target)
    except TimeoutError:
        journal.note_failure("unanswered", target)
    except (ConnectionLost, OSError):
        journal.note_failure("cut", target)
    else:
        journal.note_answer(response, target)
        return response
    return None


class LoadClient(threading.Thread):
    """A closed loop on one connection; after a failure, on a new one."""

    def __init__(self, address, journal, seed):
        super().__init__(daemon=True)
        self._address = address
        self._journal = journal
        self._rng = random.Random(seed)
        self._client = None
        self._may_run = threading.Event()
        self._may_run.set()
        self._stopped = False
        self.resting = False
        self.answered_asked_s = 0.0  # when the newest request that was answered was sent

    def run(self):
        while not self._stopped:
            if not self._may_run.is_set():
                self.resting = True
                self._may_run.wait()
                self.resting = False
            elif self._client is None:
                self._connect()
            else:
                is_last = self._rng.randrange(REQUESTS_A_CONNECTION) == 0
                self._ask(self._rng.choice(TARGETS), CLOSE if is_last else ())
                time.sleep(self._rng.uniform(0, LONGEST_PAUSE_S))
        self._drop()

    def pause(self):
        self._may_run.clear()

    def resume(self):
        self._may_run.set()

    def stop(self):
        self._stopped = True
        self._may_run.set()

    def _connect(self):
        try:
            self._client = Client(self._address, timeout_s=PATIENCE_S)
        except OSError as error:
            refused = isinstance(error, ConnectionRefusedError)
            self._journal.note_failure("refused" if refused else "cut", "(connect)")
            time.sleep(RECONNECT_PAUSE_S)

    def _ask(self, target, headers=()):
        asked_s = time.monotonic()
        try:
            response = self._client.get(target, headers)
        except TimeoutError:
            self._fail("unanswered", target)
        except (ConnectionLost, OSError):
            self._fail("cut", target)
        else:
            self._journal.note_answer(response, target)
            self.answered_asked_s = asked_s
            if response.says_close:
                self._drop()

    def _fail(self, kind, target):
        self._journal.note_failure(kind, target)
        self._drop()

    def _drop(self):
        if self._client is not None:
            self._client.close()
        self._client = None


class Load:
    """All clients together."""

    def __init__(self, address, journal, count, rng):
        self._clients = [LoadClient(address, journal, rng.random()) for _ in range(count)]

    def __enter__(self):
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_):
        for client in self._clients:
            client.stop()
        for client in self._clients:
            client.join(PATIENCE_S)

    def wait_until_all_answered(self, since_s, timeout_s):
        """Until each client has the answer to a request that it sent after that moment."""
        wait_until(lambda: all(c.answered_asked_s > since_s for c in self._clients),
                   "every client has an answer again", timeout_s)

    def pause(self):
        """Every client has its answer, and asks nothing more before resume()."""
        for client in self._clients:
            client.pause()
        wait_until(lambda: all(client.resting for client in self._clients), "the clients rest")

    def resume(self):
        for client in self._clients:
            client.resume()


class Prober(threading.Thread):
    """Asks on new connections from a fault on; tells when the first of them was answered well."""

    def __init__(self, address, journal):
        super().__init__(daemon=True)
        self._address = address
        self._journal = journal
        self._stopped = threading.Event()
        self._asking = threading.Lock()
        self._hushed = False
        self.first_answer_s = None

    def run(self):
        while not self._stopped.is_set():
            with self._asking:
                response = ask_once(self._address, "/whoami", self._journal)
            if response is not None and response.status == 200 and self.first_answer_s is None:
                self.first_answer_s = time.monotonic()
            self._stopped.wait(PROBE_INTERVAL_S)

    def hush(self, timeout_s=0.2):
        """No probe is under way or begins (but one that waits at a process that is stuck goes on waiting)."""
        self._hushed = self._asking.acquire(timeout=timeout_s)
        time.sleep(SHORTEST_QUIET_S)

    def go_on(self):
        if self._hushed:
            self._asking.release()

    def stop(self):
        self._stopped.set()
        self.join(PATIENCE_S)
