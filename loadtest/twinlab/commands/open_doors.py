"""The last attack of `lab attack`: a stranger asks a server for what keeps its workers busy.

Benchmarks want handlers that sleep or burn CPU time for as long as a client asks; a few such requests would take every
worker of a public server away. So each model listens at all addresses, otherwise as it comes, and four clients ask for
a minute of /sleep.
"""

import contextlib
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from twinlab.base import table
from twinlab.clients.visitor import Visitor
from twinlab.machine import host, setup
from twinlab.runs import siege
from twinlab.runs.siege import GOOD_BELOW_MS, Service
from twinlab.servers import models, workloads
from twinlab.servers.models import Model
from twinlab.servers.server import Server

ATTACKERS = 4
REQUEST = b"GET /sleep?ms=60000 HTTP/1.1\r\nHost: lab\r\n\r\n"
WATCHED_S = 2.0
ANSWER_DEADLINE_S = 5.0
REFUSAL = "404"

HEADER = ("", "p50 ms", "max ms", "failed", "the four got", "verdict")


@dataclass(frozen=True)
class Visited:
    """How an ordinary client of one model fared, and what the attackers were answered."""

    label: str
    client: Service
    answers: list[str]

    @property
    def good(self) -> bool:
        return (set(self.answers) == {REFUSAL} and self.client.failed == 0 and self.client.max_ms is not None
                and self.client.max_ms < GOOD_BELOW_MS)

    def row(self) -> list[str]:
        return [f"  {self.label}", table.number(self.client.p50_ms), table.number(self.client.max_ms),
                table.count(self.client.failed), " ".join(sorted(set(self.answers))), "good" if self.good else "BAD"]


def run(keys: list[str], bin_dir: Path | None) -> int:
    """Attack each of these models, print a table. 1 when an ordinary request failed or was slow."""
    bin_dir = bin_dir or setup.build()
    with tempfile.TemporaryDirectory(prefix="twinlab-") as scratch:
        root = Path(scratch) / "www"
        workloads.make_documents(root)
        found = [visit(model, bin_dir, root, Path(scratch)) for model in models.choose(keys, host.cpus())]
    print(f"\n{ATTACKERS} requests for a minute of /sleep to a server that all can reach (--listen 0.0.0.0), otherwise as "
          "it comes")
    for line in table.render(HEADER, [each.row() for each in found]):
        print(line)
    return 0 if all(each.good for each in found) else 1


def visit(model: Model, bin_dir: Path, root: Path, scratch: Path) -> Visited:
    """Start a server, let the attackers ask, then ordinary clients."""
    with Server(model, bin_dir, root, scratch, listen="0.0.0.0:0", bench="auto") as server, \
            contextlib.ExitStack() as stack:
        attackers = [stack.enter_context(_ask(server.port)) for _ in range(ATTACKERS)]
        with Visitor(server.port) as client:
            time.sleep(WATCHED_S)
        answers = [_answer(attacker) for attacker in attackers]
    return Visited(model.label, siege.service(client.visits), answers)


def _ask(port: int) -> socket.socket:
    attacker = socket.create_connection(("127.0.0.1", port), ANSWER_DEADLINE_S)
    attacker.sendall(REQUEST)
    return attacker


def _answer(attacker: socket.socket) -> str:
    """The status that came; "nothing" while the server sleeps."""
    try:
        head = attacker.recv(4096)
    except TimeoutError:
        return "nothing"
    return head.split(b" ")[1].decode() if head.count(b" ") > 1 else "nothing"
