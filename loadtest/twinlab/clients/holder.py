"""Holds idle connections: `holder.py PORT COUNT`. A program of its own: one process may not have descriptors enough.

Each connection asks once, so that the server has seen a request and waits for the next. A line "held COUNT" says that
all are open; they stay so until this process is ended. Nothing of the package is imported: it starts at once.
"""

import signal
import socket
import sys

REQUEST = b"GET /plaintext HTTP/1.1\r\nHost: lab\r\n\r\n"
TIMEOUT_S = 20.0


def open_idle(port: int) -> socket.socket:
    """A connection that has had one answer. The answer is small: it comes in one piece."""
    connection = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
    connection.sendall(REQUEST)
    answer = connection.recv(4096)
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise OSError(f"the server answered {answer[:40]!r}")
    return connection


def main(port: int, count: int) -> int:
    try:
        held = [open_idle(port) for _ in range(count)]
    except OSError as error:
        print(error, flush=True)
        return 1
    print(f"held {len(held)}", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
