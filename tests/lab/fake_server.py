"""A server that misbehaves as it is told, for clients that must say what they saw."""

import socket
import struct
import threading
import time
from collections import Counter

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class FakeServer:
    """Reads a request, then does what `behave(connection, number)` does; closes the connection when that is true."""

    def __init__(self, behave):
        self.behaved = Counter()
        self._behave = behave
        self._requests = 0
        self._lock = threading.Lock()
        self._connections = set()
        self._socket = self._listen(0)
        self.port = self._socket.getsockname()[1]

    def _listen(self, port):
        listening = socket.create_server(("127.0.0.1", port), backlog=512)
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()
        return listening

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.go_down()

    def go_down(self):
        """Nobody listens any more, and all connections are closed."""
        # close() alone would leave the port open for as long as accept() runs in the other thread.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the client was quicker

    def come_back(self):
        self._socket = self._listen(self.port)

    def _accept(self, listening):
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            if not self._keep(connection, listening):
                connection.close()
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _keep(self, connection, listening):
        """Whether the server is still up; if so, go_down() will find the connection."""
        with self._lock:
            is_up = listening.fileno() >= 0  # closed by go_down() before it takes the lock
            if is_up:
                self._connections.add(connection)
        return is_up

    def _serve(self, connection):
        try:
            while self._one_request(connection):
                pass
        except OSError:
            pass  # the client has gone
        with self._lock:
            self._connections.discard(connection)
        connection.close()

    def _one_request(self, connection):
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            chunk = connection.recv(4096)
            if not chunk:
                return False
            received += chunk
        with self._lock:
            self._requests += 1
            number = self._requests
        ends = self._behave(connection, number)
        with self._lock:
            self.behaved[bool(ends)] += 1
        return not ends


def answer(connection, _number):
    connection.sendall(ANSWER)


def send_and_end(data):
    """Sends something and closes: as in order, whatever is missing."""
    def behave(connection, _number):
        connection.sendall(data)
        return True
    return behave


def send_and_reset(data):
    """The same, but with a reset."""
    def behave(connection, _number):
        connection.sendall(data)
        time.sleep(0.02)  # a reset overtakes what has not been read
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return True
    return behave


def hang(connection, _number):
    connection.recv(1)
    return True


def close_silently_every(count):
    """Each so many'th request gets no answer, but a closed connection."""
    def behave(connection, number):
        if number % count == 0:
            return True
        connection.sendall(ANSWER)
        return False
    return behave


def close_when_idle(connection, _number):
    """Answers, and closes without a word a moment later, when the client has its answer."""
    connection.sendall(ANSWER)
    time.sleep(0.005)
    return True
