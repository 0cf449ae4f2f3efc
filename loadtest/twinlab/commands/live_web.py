"""`lab live`: the page, the servers' events and commands, at one address of this machine."""

import hmac
import json
import re
import socket
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable

from twinlab.base.errors import LabError
from twinlab.clients import http
from twinlab.clients.events import Block
from twinlab.commands.live_page import Page
from twinlab.commands.live_relay import Relay
from twinlab.commands.live_sides import Side

ADDRESS = "127.0.0.1"
PATIENCE_S = 30.0  # of a client that sends no request, or reads no answer
MOST_BODY_BYTES = 64 * 1024
MOST_CONNECTIONS = 96
SERVER_PATH = re.compile(r"/s/(\d{1,3})(/.*)")
PRESET_PATH = re.compile(r"/presets/([a-z0-9-]{1,32})")
JSON_TYPE, TEXT_TYPE = "application/json", "text/plain; charset=utf-8"


class Refused(Exception):
    """A request that is not granted: its status, and one line that says what to do."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Show:
    """What there is to see and to do. order(id): has a preset carried out, and tells (whether, what)."""

    page: Page
    sides: list[Side]
    description: dict[str, Any]  # servers.json
    order: Callable[[str], tuple[bool, str]]
    token: str


class Visitor(BaseHTTPRequestHandler):
    """One request; each has a connection and a thread of its own."""

    protocol_version = "HTTP/1.1"
    server_version = "twinlab"
    sys_version = ""
    timeout = PATIENCE_S
    server: "Door"

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, *_: Any) -> None:
        """The terminal is for what the user has to know."""

    def _answer(self, act: Callable[[bytes], None]) -> None:
        self.close_connection = True
        try:
            body = self._body()
            self._check_origin()
            act(body)
        except Refused as refusal:
            self._send(refusal.status, TEXT_TYPE, f"{refusal}\n".encode())
        except OSError:
            pass  # the client has gone

    def _check_origin(self) -> None:
        """A name of somebody else's that leads here, or a page of somebody else's, may neither look nor act."""
        host, own = self.headers.get("Host", ""), self.server.names
        if host not in own:
            raise Refused(403, f"Host is {host!r}: open http://{own[0]}/")
        if self.headers.get("Origin") not in (None, f"http://{host}"):
            raise Refused(403, f"a page of another origin asks: open http://{own[0]}/")

    def _get(self, _body: bytes) -> None:
        show, path = self.server.show, self._path()
        if path == "/":
            self._send(200, "text/html; charset=utf-8", show.page.text.encode())
        elif path == "/servers.json":
            self._send(200, JSON_TYPE, json.dumps(show.description).encode())
        else:
            side, rest = self._side(path)
            if rest == "/events":
                self._stream(side)
            elif rest == "/api/v1/state":
                self._pass_on(lambda: http.Reply(200, json.dumps(side.observer.state()).encode()))
            else:
                raise Refused(404, "there is no such page")

    def _post(self, body: bytes) -> None:
        path = self._path()
        self._check_token()
        preset = PRESET_PATH.fullmatch(path)
        if preset:
            done, told = self.server.show.order(preset[1])
            answer = {"ok": True, "message": told} if done else {"ok": False, "error": told}
            self._send(200, JSON_TYPE, json.dumps(answer).encode())
            return
        side, rest = self._side(path)
        if rest != "/api/v1/commands":
            raise Refused(404, "there is no such command")
        self._pass_on(lambda: side.observer.command(body))

    def _path(self) -> str:
        return self.path.partition("?")[0]

    def _side(self, path: str) -> tuple[Side, str]:
        match, sides = SERVER_PATH.fullmatch(path), self.server.show.sides
        if not match or int(match[1]) >= len(sides):
            raise Refused(404, "there is no such page")
        return sides[int(match[1])], match[2]

    def _check_token(self) -> None:
        wanted = f"Bearer {self.server.show.token}".encode()
        if not hmac.compare_digest(self.headers.get("Authorization", "").encode(), wanted):
            raise Refused(403, "commands need the token: open the address that `lab live` has printed, with #token=...")

    def _body(self) -> bytes:
        """All of it, whether or not it is granted, so that the answer is not lost in a reset."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > MOST_BODY_BYTES:
            raise Refused(413, f"a body of at most {MOST_BODY_BYTES} bytes, with its length")
        return self.rfile.read(int(length))

    def _pass_on(self, ask: Callable[[], http.Reply]) -> None:
        try:
            reply = ask()
        except (http.NoAnswer, http.RequestLost, LabError) as error:
            raise Refused(502, f"the observer does not answer: {error}") from error
        self._send(reply.status, JSON_TYPE, reply.body)

    def _stream(self, side: Side) -> None:
        self._head(200, "text/event-stream", None)
        relay = Relay(side, self._take, self.server.is_over)
        relay.run(self.headers.get("Last-Event-ID") or self._asked_last_id())

    def _asked_last_id(self) -> str:
        """`?last=...`: who opens a stream anew in a browser cannot send a header."""
        match = re.fullmatch(r"last=([0-9A-Za-z-]{1,64})", self.path.partition("?")[2])
        return match[1] if match else ""

    def _take(self, block: Block) -> None:
        self.wfile.write(block.raw)

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self._head(status, kind, len(body))
        self.wfile.write(body)

    def _head(self, status: int, kind: str, length: int | None) -> None:
        headers = {"Content-Type": kind, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
                   "Referrer-Policy": "no-referrer", "Content-Security-Policy": self.server.show.page.policy,
                   "Connection": "close"}
        self.send_response(status)
        for name, value in (headers | ({} if length is None else {"Content-Length": str(length)})).items():
            self.send_header(name, value)
        self.end_headers()


class Door(ThreadingHTTPServer):
    """Listens on a port of this machine's own address: `with Door(port, show) as door: ...`."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, port: int, show: Show) -> None:
        try:
            super().__init__((ADDRESS, port), Visitor)
        except OSError as error:
            raise LabError(f"cannot listen on port {port}: {error.strerror}; choose another with --port "
                           "(0: any)") from error
        self.show = show
        self.names = [f"{name}:{self.server_address[1]}" for name in (ADDRESS, "localhost")]
        self._room = threading.Semaphore(MOST_CONNECTIONS)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="door", daemon=True)

    @property
    def address(self) -> str:
        """What a browser has to be given."""
        return f"http://{self.names[0]}/#token={self.show.token}"

    def __enter__(self) -> "Door":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.shutdown()
        self.server_close()

    def is_over(self) -> bool:
        return self._over.is_set()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Who comes when there is no room is not served, and may come again."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: "socket.socket | tuple[bytes, socket.socket]", client_address: Any) -> None:
        """A client that leaves in the middle is nobody's mistake."""
