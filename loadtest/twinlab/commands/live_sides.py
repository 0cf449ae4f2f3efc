"""`lab live`: the servers that stand side by side, each with its observer and a load of its own."""

import contextlib
import random
import signal
import threading
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any, Iterator

from twinlab.base.errors import Accident
from twinlab.clients import http
from twinlab.clients.events import Block, block
from twinlab.clients.wrk_live import Counts, LiveWrk, percentile
from twinlab.machine import processes
from twinlab.runs.windows import FAILURES, first_line, tell
from twinlab.servers import observer
from twinlab.servers.models import Model
from twinlab.servers.server import Server

PATH = "/plaintext"
# Long enough to be seen as stuck, short enough to be waited for.
STUCK_AFTER_MS = 5000
# Servers and loads together want more than the machine has. The browser that shows them comes first.
NICENESS = 10
FAULT_PATIENCE_S = 90.0  # until the watchdog, or at last the drain deadline, ends what hangs
P99_LOOKS = 2
KEPT_EVENTS = 64


class Feed:
    """What the laboratory adds to a server's own events; whoever relays them asks for what is new."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: deque[tuple[int, Block]] = deque(maxlen=KEPT_EVENTS)
        self._count = 0

    def publish(self, new: Block) -> None:
        with self._lock:
            self._count += 1
            self._blocks.append((self._count, new))

    def since(self, number: int) -> tuple[int, list[Block]]:
        """The number of the newest, and all after that number."""
        with self._lock:
            return self._count, [each for at, each in self._blocks if at > number]


class Side:
    """One server under load."""

    def __init__(self, model: Model, server: Server) -> None:
        self.model = model
        self.server = server
        self.observer = server.observer
        self.feed = Feed()
        self.own_lost = 0  # requests that carried a fault of ours, and were lost by it
        self.load: LiveWrk | None = None
        self._wanted = 0  # connections of a load that could not be started
        self._ended = Counts()  # by loads that are over
        self._seen = Counts()  # by the one that goes on, when it was last looked at
        self._looked_s = self._begun_s = time.monotonic()
        self._recent: deque[Counter[int]] = deque(maxlen=P99_LOOKS)
        self.latencies: Counter[int] = Counter()
        self._lock = threading.Lock()

    # ---- its load ----

    @property
    def counts(self) -> Counts:
        """All that wrk has counted here."""
        return self._ended + self._seen

    @property
    def loaded_s(self) -> float:
        return self._looked_s - self._begun_s

    def put_load(self, connections: int) -> None:
        """wrk with so many connections. It begins before the one that was there ends, so that somebody always asks."""
        with contextlib.ExitStack() as stack:
            new = stack.enter_context(LiveWrk(self.server.port, PATH, connections, NICENESS))
            self.end_load()
            self.load = new
            stack.pop_all()

    def end_load(self) -> None:
        """Whatever happens to wrk at its end, what it was last seen to have counted stays."""
        load, self.load = self.load, None
        if load is None:
            return
        with contextlib.ExitStack() as stack:
            stack.push(load)
            try:
                self._look_at(load)
                self._seen = Counts.of(load.finish())
            except (Accident, OSError) as error:
                tell(f"{self.model.label}: {first_line(error)}; its counts are those of the last look")
        self._ended, self._seen = self._ended + self._seen, Counts()

    def look(self, is_killing: bool) -> None:
        """What wrk has counted since the last look, for all who watch. A server that has ended is asked no more."""
        if not self.server.is_running():
            self.end_load()
        if self.load is None and self._wanted and self.server.is_running():
            self._try_load()
        if self.load is None:
            return
        before, before_s = self.counts, self._looked_s
        try:
            self._look_at(self.load)
        except OSError:
            self._replace(self.load)
            return
        took_s = max(1e-6, self._looked_s - before_s)
        self.feed.publish(block("wrk", self._event(before, took_s, is_killing)))

    def _look_at(self, load: LiveWrk) -> None:
        self._seen, added = load.counts(), load.latencies()
        self._looked_s = time.monotonic()
        self._recent.append(added)
        self.latencies.update(added)

    def _event(self, before: Counts, took_s: float, is_killing: bool) -> dict[str, Any]:
        now = self.counts
        recent: Counter[int] = sum(self._recent, Counter())
        return {"t": int(time.time() * 1000), "requests": now.requests, "errors": now.errors, "cut": now.cut,
                "per_second": round((now.requests - before.requests) / took_s, 1), "p99_us": percentile(recent, 0.99),
                "connections": self.load.connections if self.load else 0, "killing": is_killing}

    def _replace(self, gone: LiveWrk) -> None:
        tell(f"{self.model.label}: wrk has ended by itself, and is started anew")
        self.end_load()
        self._wanted = gone.connections
        self._try_load()

    def _try_load(self) -> None:
        """The next look tries again: a show goes on without one of its loads."""
        try:
            self.put_load(self._wanted)
            self._wanted = 0
        except FAILURES as error:
            tell(f"{self.model.label}: no wrk: {first_line(error)}")

    # ---- what is done to it ----

    def kill_one(self, rng: random.Random) -> bool:
        """SIGKILL to one of the processes that serve; False when there is none, or the observer does not answer."""
        try:
            ready = [each["pid"] for each in self.observer.state()["processes"] if each["state"] == "ready"]
        except (*FAILURES, KeyError, TypeError):
            return False
        victims = [pid for pid in ready if self.server.has(pid)]
        return bool(victims) and processes.kill_quietly(rng.choice(victims), signal.SIGKILL)

    def send_fault(self, path: str) -> None:
        """A request that does harm. Nobody waits for its answer, which may never come."""
        threading.Thread(target=self._send, args=(path,), name="fault", daemon=True).start()

    def _send(self, path: str) -> None:
        try:
            http.get(self.server.port, path, FAULT_PATIENCE_S)
        except http.RequestLost:
            with self._lock:
                self.own_lost += 1
        except http.NoAnswer:
            pass  # it hangs, as it was asked to


@contextlib.contextmanager
def started(model: Model, bin_dir: Path, root: Path, folder: Path, on_death: str) -> Iterator[Side]:
    """A fresh server with faults on and an observer that takes commands; its load ends before it does."""
    scratch = folder / model.key
    scratch.mkdir()
    options = (*observer.CONTROL, "--faults", "on", "--on-death", on_death, "--stuck-after-ms", str(STUCK_AFTER_MS))
    server = Server(model, bin_dir, root, scratch, options)
    server.niceness = NICENESS
    with server:
        server.check(PATH)
        side = Side(model, server)
        try:
            yield side
        finally:
            side.end_load()
