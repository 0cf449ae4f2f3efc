"""The control socket of a server: raw, and by twinctl."""

import json
import socket
import subprocess

from support.server import BIN_DIR
from support.waiting import at_its_pace, DEADLINE_S, wait_until

OK, REFUSED, USAGE, UNREACHABLE = range(4)
PATIENCE_OF_THE_MASTER_S = 3.0


def connect(path):
    """A raw connection; what it sends and when is the test's business."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))  # waits for its turn, which it would not with a timeout
    connection.settimeout(DEADLINE_S)
    return connection


def read_all(connection):
    data = b""
    try:
        while piece := connection.recv(1 << 16):
            data += piece
    except ConnectionResetError:
        pass  # the master closes without reading all that was sent
    return data


def ask_raw(path, line):
    def ask_once(_pace):
        with connect(path) as connection:
            connection.sendall(line)
            data = read_all(connection)
        assert data.endswith(b"\n") and data.count(b"\n") == 1, data
        return json.loads(data)
    return at_its_pace(ask_once, PATIENCE_OF_THE_MASTER_S)  # who was so slow to ask was cut, and nothing was done


def ask(path, command, **members):
    return ask_raw(path, json.dumps({"command": command, **members}).encode() + b"\n")


def twinctl(*arguments):
    return subprocess.run([BIN_DIR / "twinctl", *map(str, arguments)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=DEADLINE_S, check=False)


class Control:
    """The socket of one server."""

    def __init__(self, path):
        self.path = path

    def ask(self, command, **members):
        return ask(self.path, command, **members)

    def done(self, command, **members):
        """The answer to a command that must be carried out."""
        answer = self.ask(command, **members)
        assert answer["ok"] is True, answer
        return answer

    def refusal(self, command, **members):
        answer = self.ask(command, **members)
        assert answer["ok"] is False and set(answer) == {"ok", "error"}, answer
        return answer["error"]

    def processes(self):
        return self.done("list")["processes"]

    def pids(self):
        return [process["pid"] for process in self.processes()]

    def wait_for_processes(self, count):
        """Waits until so many processes are there, all of them ready; returns their pids."""
        def ready():
            processes = self.processes()
            states = {process["state"] for process in processes}
            return len(processes) == count and states == {"ready"} and processes
        return [process["pid"] for process in wait_until(ready, f"{count} processes are ready")]

    def wait_for_replacement(self, old):
        """Waits until as many others are ready as there were."""
        return wait_until(lambda: not set(old) & set(self.wait_for_processes(len(old))),
                          "all processes are others")
