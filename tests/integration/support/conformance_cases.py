"""The conformance table: what a client sends, which RFC rules on it, which answers it accepts.

A case is a conversation. Its input is sent first; `then` holds the answers in their order, and
between them what the client does next. After the last answer the runner proves in what state the
connection is, so a case says only what it wants of it: OPEN, CLOSED, or neither.
"""

import os
import re
from dataclasses import dataclass
from enum import Enum, auto
from itertools import product

from support import site as sites
from support.client import chunked


class End(Enum):
    """What an answer must do to the connection."""
    ANY = auto()
    OPEN = auto()
    CLOSED = auto()
    CLOSED_UNLESS_OK = auto()  # whoever refuses a message whose end is in doubt must close


class Act(Enum):
    """What a client does between two answers, other than sending."""
    HALF_CLOSE = auto()
    WAIT = auto()  # it sends nothing at all until the answer is there


# Longer inputs are sent only as a whole: a byte at a time would take too long.
BYTE_BY_BYTE_LIMIT = 1000
ANY, OPEN, CLOSED = End.ANY, End.OPEN, End.CLOSED
HALF_CLOSE, WAIT = Act.HALF_CLOSE, Act.WAIT


@dataclass(frozen=True)
class Answer:
    statuses: tuple
    checks: tuple = ()  # each takes the answers so far, the newest last
    end: End = ANY
    method: str = "GET"  # HEAD: no body follows
    or_silence: bool = False  # closing without an answer is right, too
    or_interim: bool = False  # a 100 may come before it


@dataclass(frozen=True)
class Case:
    id: str
    rfc: str
    input: object  # bytes, or a builder: takes what is Known of the site and returns bytes
    then: tuple

    def __str__(self):
        return self.id

    @property
    def deliveries(self):
        """The ways in which it is sent."""
        short = callable(self.input) or len(self.input) <= BYTE_BY_BYTE_LIMIT
        return ("whole", "byte by byte") if short else ("whole",)


# Answers.

def answer(*statuses, checks=(), **how):
    return Answer(statuses, tuple(checks), **how)


def ok(*checks, end=ANY, method="GET"):
    return Answer((200,), checks, end, method)


def refused(*statuses):
    """Nobody can know where this message ends, so nothing after it may be answered."""
    return Answer(statuses, (), CLOSED)


def doubtful(*statuses):
    """Served by a reading that the RFC allows, or refused for good."""
    return Answer((200, *statuses), (), End.CLOSED_UNLESS_OK)


# Checks.

def _expect(condition, what, response):
    assert condition, f"{what}: {response.status} {response.headers} {response.body[:200]!r}"


def body(expected):
    def check(seen):
        _expect(seen[-1].body == expected, f"body is not {expected[:50]!r}", seen[-1])
    return check


def header(name, expected):
    """expected None: the field is absent; a pattern: the whole value matches."""
    def check(seen):
        value = seen[-1].header(name)
        if isinstance(expected, re.Pattern):
            _expect(value is not None and expected.fullmatch(value), f"{name} is wrong", seen[-1])
        else:
            _expect(value == expected, f"{name} is not {expected}", seen[-1])
    return check


def allows(*methods):
    """Allow names exactly these methods."""
    def check(seen):
        listed = {word.strip() for word in (seen[-1].header("Allow") or "").split(",")}
        _expect(listed == set(methods), f"Allow is not {methods}", seen[-1])
    return check


def lacks(secret):
    def check(seen):
        _expect(secret not in seen[-1].body, f"{secret!r} is in the answer", seen[-1])
        _expect(secret.decode() not in str(seen[-1].headers), f"{secret!r} is sent", seen[-1])
    return check


def same_headers_as_before(seen):
    before, now = (response.lasting_headers for response in seen[-2:])
    _expect(before == now, f"header fields differ from {before}", seen[-1])


def etag_is_new(seen):
    etags = [response.header("ETag") for response in seen]
    _expect(None not in etags and len(set(etags)) == len(etags), f"ETags {etags}", seen[-1])


def varies(seen):
    listed = (seen[-1].header("Vary") or "").lower()
    _expect("accept-encoding" in listed, "Vary is wrong", seen[-1])


def no_longer_than(limit_bytes):
    def check(seen):
        _expect(len(seen[-1].body) <= limit_bytes, f"more than {limit_bytes} bytes", seen[-1])
    return check


HELLO_WORLD = body(b"Hello, World!")
STRONG_ETAG = header("ETag", re.compile(r'"[\x21\x23-\x7e]+"'))


# Messages.

def _bytes(text):
    return text if isinstance(text, bytes) else text.encode("latin-1")


def bare(first, *fields, content=b""):
    """A request line and these fields, nothing else."""
    return b"\r\n".join(map(_bytes, (first, *fields, "", ""))) + _bytes(content)


def message(first, *fields, content=b""):
    return bare(first, "Host: test", *fields, content=content)


def _raw(text):
    """The text whose bytes, as a message carries them, are this text's in UTF-8."""
    return text.encode().decode("latin-1")


def get(target, *fields):
    return message(f"GET {target} HTTP/1.1", *fields)


def head(target, *fields):
    return message(f"HEAD {target} HTTP/1.1", *fields)


def post(*fields, content=b""):
    return message("POST /echo HTTP/1.1", *fields, content=content)


def post_chunks(content):
    return post("Transfer-Encoding: chunked", content=content)


def field(line):
    return get("/plaintext", line)


PLAINTEXT = get("/plaintext")


def rows(prefix, rfc, then, inputs):
    """Cases that accept the same answers."""
    return [Case(f"{prefix}-{name}", rfc, input_, _conversation(then))
            for name, input_ in inputs.items()]


def row(name, rfc, input_, *then):
    return Case(name, rfc, input_, then)


def _conversation(then):
    return then if isinstance(then, tuple) else (then,)


# The files that the cases ask for.

FOLDER = "conformance"
MODIFIED_S = 1582979696
MODIFIED = "Sat, 29 Feb 2020 12:34:56 GMT"
EARLIER = "Sat, 29 Feb 2020 12:34:55 GMT"
LATER = "Sat, 29 Feb 2020 12:34:57 GMT"
FUTURE_S = 4102444800  # 2100
PLAIN = f"/{FOLDER}/plain.txt"
CONTENT = b"".join(b"%03d\n" % number for number in range(250))
PAGE = f"/{FOLDER}/page.html"
IDENTITY, GZIP, BR, ZSTD = (b"<!doctype html>", b"(as gzip)" * 3, b"(as br)" * 5, b"(as zstd)" * 7)

FILES = {
    "plain.txt": CONTENT, "empty.txt": b"",
    "page.html": IDENTITY, "page.html.gz": GZIP, "page.html.br": BR, "page.html.zst": ZSTD,
    "only-gzip.css": IDENTITY, "only-gzip.css.gz": GZIP,
    "folder.css": IDENTITY, "folder.css.gz/x": b"", "pipe.css": IDENTITY,
    "escape.css": IDENTITY, "home/index.html": IDENTITY, "home/index.html.gz": GZIP,
    "future.txt": b"future", "UPPER.TXT": b"upper",
    "odd %?#/index.html": IDENTITY, "%41.txt": b"percent", "a+b.txt": b"plus", "q?x.txt": b"query",
    "#.txt": b"hash", "ä.txt": b"umlaut", "semi;colon.txt": b"semicolon", "a&b=c.txt": b"and",
    "größe/index.html": IDENTITY, "größe/€ \u4f60\u597d.txt": b"euro",
    ".env": b"hidden", "sub/.hidden/x.txt": b"hidden", "sub/x.txt": b"sub", "..txt": b"hidden",
    "...": b"hidden", "x..y.txt": b"dots", "no-suffix": b"", "two.tar.gz": b"gz",
    **{f"kind.{suffix}": b"kind" for suffix in
       ("html", "htm", "css", "js", "mjs", "txt", "csv", "xml", "json", "svg", "png", "wasm",
        "woff2", "pdf", "nothing-known")},
}


def populate(root):
    """Adds the table's files to the document root."""
    for name, content in FILES.items():
        path = root / FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (MODIFIED_S, MODIFIED_S))
    os.utime(root / FOLDER / "future.txt", (FUTURE_S, FUTURE_S))
    os.mkfifo(root / FOLDER / "pipe.css.gz")
    (root / FOLDER / "escape.css.gz").symlink_to(root.parent / "secret.txt")
    (root / FOLDER / "socket-like").symlink_to("/dev/zero")
    (root / ".well-known").mkdir()
    (root / ".well-known" / "known.txt").write_bytes(b"known")
    (root / ".well-known" / ".hidden").write_bytes(b"hidden")
    (root / "\\evil.example").mkdir()


class Known:
    """What a client has learned from earlier answers."""

    def __init__(self, server):
        self._server = server

    def etag(self, target, coding="identity"):
        return self._server.get(target, [("Accept-Encoding", coding)]).header("ETag")


# The request line.

REQUEST_LINE = [
    *rows("absolute-form", "9112 3.2.2", ok(HELLO_WORLD), {
        "plain": message("GET http://test/plaintext HTTP/1.1"),
        "other-than-host": bare("GET http://test/plaintext HTTP/1.1", "Host: other"),
        "scheme-upper-case": message("GET HTTP://test/plaintext HTTP/1.1"),
        "port": message("GET http://test:8080/plaintext HTTP/1.1"),
        "empty-port": message("GET http://test:/plaintext HTTP/1.1"),
        "ipv4": message("GET http://127.0.0.1:80/plaintext HTTP/1.1"),
        "ipv6": message("GET http://[::1]:80/plaintext HTTP/1.1"),
        "query": message("GET http://test/plaintext?http://x/ HTTP/1.1"),
        "http-1.0": bare("GET http://test/plaintext HTTP/1.0"),
    }),
    *rows("absolute-form-empty-path", "9110 4.2.3", ok(body(sites.FILES["index.html"])), {
        "bare": message("GET http://test HTTP/1.1"),
        "query": message("GET http://test?a=b HTTP/1.1"),
    }),
    *rows("absolute-form-bad", "9110 4.2.1, 4.2.4; 9112 3.2", answer(400), {
        "no-host-in-it": message("GET http:///plaintext HTTP/1.1"),
        "only-port": message("GET http://:80/plaintext HTTP/1.1"),
        "user": message("GET http://user@test/plaintext HTTP/1.1"),
        "user-and-password": message("GET http://user:word@test/plaintext HTTP/1.1"),
        "backslash": message("GET http://test\\@evil/plaintext HTTP/1.1"),
        "quote": message("GET http://te\"st/plaintext HTTP/1.1"),
        "fragment": message("GET http://test/plaintext#x HTTP/1.1"),
        "fragment-at-once": message("GET http://test#/plaintext HTTP/1.1"),
        "one-slash": message("GET http:/plaintext HTTP/1.1"),
        "no-slash": message("GET http:plaintext HTTP/1.1"),
        "no-host-field": bare("GET http://test/plaintext HTTP/1.1"),
        "two-host-fields": message("GET http://test/plaintext HTTP/1.1", "Host: test"),
        "bad-host-field": bare("GET http://test/plaintext HTTP/1.1", "Host: a/b"),
    }),
    row("absolute-form-other-scheme", "9110 7.4", message("GET ftp://test/plaintext HTTP/1.1"),
        answer(400, 404, 421)),
    row("absolute-form-options", "9112 3.2.4", message("OPTIONS http://test HTTP/1.1"),
        answer(200, 204, checks=[header("Allow", re.compile(".+"))])),
    row("origin-form-like-authority", "9112 3.2.1", get("//test/plaintext"), answer(400, 404)),
    row("asterisk", "9110 9.3.7", message("OPTIONS * HTTP/1.1"), answer(200, 204, end=OPEN)),
    row("asterisk-1.0", "9110 9.3.7", bare("OPTIONS * HTTP/1.0"), answer(200, 204, end=CLOSED)),
    row("asterisk-with-body", "9110 9.3.7",
        message("OPTIONS * HTTP/1.1", "Content-Length: 4", content="GET "), answer(200, 204)),
    *rows("asterisk-bad", "9112 3.2.4", answer(400, 405), {
        **{method: message(f"{method} * HTTP/1.1")
           for method in ("GET", "POST", "DELETE", "PATCH", "TRACE")},
        "query": message("OPTIONS *?a HTTP/1.1"), "path": message("OPTIONS */plaintext HTTP/1.1"),
        "twice": message("OPTIONS ** HTTP/1.1"),
    }),
    *rows("connect", "9110 9.3.6", answer(400, 405, 501, end=CLOSED), {
        "authority": message("CONNECT test:80 HTTP/1.1"),
        "ip": message("CONNECT 127.0.0.1:22 HTTP/1.1"),
        "no-port": message("CONNECT test HTTP/1.1"),
        "path": message("CONNECT /plaintext HTTP/1.1"),
        "absolute": message("CONNECT http://test/plaintext HTTP/1.1"),
        "1.0": bare("CONNECT test:80 HTTP/1.0"),
        "with-body": message("CONNECT test:80 HTTP/1.1", "Content-Length: 5", content="hello"),
    }),
    *rows("target-bad", "9112 3.2; 3986 2", answer(400), {
        "authority-with-get": message("GET test:80 HTTP/1.1"),
        "relative": get("plaintext"), "query-alone": get("?a"), "fragment": get("/plaintext#x"),
        "fragment-alone": get("#x"), "asterisk-and-path": get("*/plaintext"),
        "percent-alone": get("/%"), "percent-one-digit": get("/%4"), "percent-letters": get("/%zz"),
        "percent-second-letter": get("/%4g"), "percent-space": get("/%+1"),
        "percent-nul": get("/hello.txt%00"), "percent-nul-inside": get("/hello%00.txt"),
        "percent-cr": get("/%0d"), "percent-lf": get("/%0a"), "percent-crlf": get("/a%0d%0aX:b"),
        "percent-delete": get("/%7f"), "percent-control": get("/%1f"),
    }),
    *rows("target-odd-byte", "9112 3.2; 3986 2", answer(200, 400, 404), {
        f"{ord(byte):02x}": get(f"/x{byte}y") for byte in '"<>\\^`{|}'}),
    *rows("target-control", "9112 3; 9110 5.5", refused(400), {
        f"{byte:02x}": b"GET /x%cy HTTP/1.1\r\nHost: test\r\n\r\n" % byte
        for byte in (*range(0x21), 0x7f)}),
    *rows("target-8-bit", "9112 3.2; 3986 2", answer(404, end=OPEN), {
        f"{byte:02x}": b"GET /x%cy HTTP/1.1\r\nHost: test\r\n\r\n" % byte
        for byte in (0x80, 0x85, 0x9b, 0xa0, 0xc3, 0xe4, 0xfe, 0xff)}),
    *rows("target-8-bit-query", "9112 3.2; 3986 3.4", ok(HELLO_WORLD, end=OPEN), {
        "utf-8": get(_raw("/plaintext?ä=ü")), "latin-1": get("/plaintext?\xe4"),
        "only": get("/plaintext?\xff"), "absolute-form": get("http://test/plaintext?\x80\xff"),
        "http-1.0": bare("GET /plaintext?\x80 HTTP/1.0", "Connection: keep-alive"),
        "http-1.2": message("GET /plaintext?\x80 HTTP/1.2"),
        "tab-in-a-field": get("/plaintext?\x80", "A:\tb\t")}),
    row("target-8-bit-query-behind-another", "9112 9.3.2; 3986 3.4", get("/plaintext?\xc3\xa4") * 2,
        ok(HELLO_WORLD, end=OPEN), ok(HELLO_WORLD, end=OPEN)),
    *rows("target-8-bit-length", "9112 6; 3986 2", ok(body(b"hello"), end=OPEN), {
        "length": message("POST /echo?\xe2\x82\xac HTTP/1.1", "Content-Length: 5", content="hello"),
        "chunked": message("POST /echo?\xff HTTP/1.1", "Transfer-Encoding: chunked",
                           content=chunked(b"he", b"llo"))}),
    *rows("target-8-bit-authority", "9110 4.2; 3986 3.2.2", answer(400), {
        "utf-8": message("GET http://\xc3\xa4/plaintext HTTP/1.1"),
        "latin-1": message("GET http://t\xe4st/plaintext HTTP/1.1"),
        "port": message("GET http://test:\xb2/plaintext HTTP/1.1")}),
    *rows("target-8-bit-and-control", "9112 3; 9110 5.5", refused(400), {
        f"{byte:02x}": b"GET /\xc3\xa4%c\xc3\xa4 HTTP/1.1\r\nHost: test\r\n\r\n" % byte
        for byte in (0x00, 0x09, 0x0b, 0x0d, 0x1b, 0x20, 0x7f)}),
    *rows("line-8-bit", "9112 3", refused(400), {
        "method": message("G\xcbT / HTTP/1.1"), "method-after": message("GET\xa0 / HTTP/1.1"),
        "no-break-space": message("GET\xa0/\xa0HTTP/1.1"), "version": message("GET / HTTP/1.\xb9"),
        "version-name": message("GET / H\xd4TP/1.1"), "before": message("\xef\xbb\xbfGET / HTTP/1.1")}),
    *rows("line-bad", "9112 3", refused(400), {
        "two-spaces-after-method": message("GET  /plaintext HTTP/1.1"),
        "two-spaces-after-target": message("GET /plaintext  HTTP/1.1"),
        "space-before": message(" GET /plaintext HTTP/1.1"),
        "space-after": message("GET /plaintext HTTP/1.1 "),
        "tab-after": message("GET /plaintext HTTP/1.1\t"),
        "tab-after-method": message("GET\t/plaintext HTTP/1.1"),
        "tab-after-target": message("GET /plaintext\tHTTP/1.1"),
        "vertical-tab": message("GET\x0b/plaintext HTTP/1.1"),
        "form-feed": message("GET\x0c/plaintext HTTP/1.1"),
        "space-in-target": message("GET /plain text HTTP/1.1"),
        "method-alone": message("GET"), "method-and-space": message("GET "),
        "no-target": message("GET HTTP/1.1"), "empty-target": message("GET  HTTP/1.1"),
        "words-after": message("GET /plaintext HTTP/1.1 HTTP/1.1"),
        "no-method": message("/plaintext HTTP/1.1"), "version-first": message("HTTP/1.1 GET /"),
        "response": message("HTTP/1.1 200 OK"), "field-first": b"Host: test\r\n\r\n",
        "colon-in-method": message("GE:T /plaintext HTTP/1.1"),
        "at-in-method": message("G@T /plaintext HTTP/1.1"),
        "brackets-in-method": message("(GET) /plaintext HTTP/1.1"),
        "8-bit-method": message("G\xcbT /plaintext HTTP/1.1"),
        "nul-in-method": message("G\0T /plaintext HTTP/1.1"),
        "nul-first": message("\0GET /plaintext HTTP/1.1"),
        "byte-order-mark": b"\xef\xbb\xbf" + PLAINTEXT,
        "tls": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(100),
        "socks": b"\x05\x01\x00", "nul": b"\0", "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
        "json": b'{"jsonrpc": "2.0"}\r\n\r\n',
    }),
    *rows("line-end", "9112 2.2", refused(400), {
        "lf": b"GET /plaintext HTTP/1.1\nHost: test\r\n\r\n",
        "lf-everywhere": PLAINTEXT.replace(b"\r\n", b"\n"),
        "cr": b"GET /plaintext HTTP/1.1\rHost: test\r\n\r\n",
        "cr-everywhere": PLAINTEXT.replace(b"\r\n", b"\r") + b"\r\n\r\n",
        "cr-cr-lf": b"GET /plaintext HTTP/1.1\r\r\nHost: test\r\n\r\n",
        "lf-cr": b"GET /plaintext HTTP/1.1\n\rHost: test\r\n\r\n",
        "leading-lf": b"\n" + PLAINTEXT, "leading-cr": b"\r" + PLAINTEXT,
        "leading-cr-cr-lf": b"\r\r\n" + PLAINTEXT, "leading-lf-after-crlf": b"\r\n\n" + PLAINTEXT,
        "leading-space": b" \r\n" + PLAINTEXT,
    }),
    *rows("leading-crlf", "9112 2.2", ok(HELLO_WORLD), {
        "one": b"\r\n" + PLAINTEXT, "two": b"\r\n\r\n" + PLAINTEXT}),
    row("leading-crlf-without-end", "9112 2.2", b"\r\n" * 100_000 + PLAINTEXT,
        answer(400, 414, 431, end=CLOSED)),
    row("leading-crlf-between-requests", "9112 2.2", PLAINTEXT + b"\r\n" + PLAINTEXT,
        ok(HELLO_WORLD), ok(HELLO_WORLD)),
    row("leading-crlf-after-a-body", "9112 2.2",
        post("Content-Length: 2", content="ab\r\n") + PLAINTEXT,
        ok(body(b"ab")), ok(HELLO_WORLD)),
    row("version-1.0", "9112 2.3", bare("GET /plaintext HTTP/1.0"), ok(HELLO_WORLD, end=CLOSED)),
    *rows("version-minor", "9110 2.5", ok(HELLO_WORLD), {
        f"1.{minor}": message(f"GET /plaintext HTTP/1.{minor}") for minor in (2, 3, 9)}),
    row("version-minor-with-body", "9110 2.5",
        b"POST /echo HTTP/1.2\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        ok(body(b"ab"))),
    *rows("version-minor-needs-host", "9112 3.2", refused(400), {
        f"1.{minor}": bare(f"GET /plaintext HTTP/1.{minor}") for minor in (2, 9)}),
    *rows("version-major", "9110 15.6.6", refused(400, 505), {
        version: message(f"GET /plaintext HTTP/{version}")
        for version in ("0.0", "0.9", "2.0", "2.1", "3.0", "9.9")}),
    row("version-http-2-preface", "9113 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        refused(400, 501, 505)),
    *rows("version-malformed", "9112 2.3", refused(400, 505), {
        "none": message("GET /plaintext"), "none-and-alone": b"GET /plaintext\r\n\r\n",
        "lower-case": message("GET /plaintext http/1.1"),
        "mixed-case": message("GET /plaintext Http/1.1"),
        "no-minor": message("GET /plaintext HTTP/1"), "no-minor-dot": message("GET / HTTP/1."),
        "no-major": message("GET /plaintext HTTP/.1"), "no-number": message("GET / HTTP/"),
        "no-slash": message("GET /plaintext HTTP1.1"), "comma": message("GET / HTTP/1,1"),
        "two-digits": message("GET /plaintext HTTP/1.10"),
        "three-parts": message("GET /plaintext HTTP/1.1.1"),
        "leading-zero": message("GET /plaintext HTTP/01.1"),
        "leading-zero-minor": message("GET /plaintext HTTP/1.01"),
        "plus": message("GET /plaintext HTTP/+1.1"), "minus": message("GET / HTTP/-1.1"),
        "letters": message("GET /plaintext HTTP/a.b"), "hexadecimal": message("GET / HTTP/1.a"),
        "space": message("GET /plaintext HTTP/ 1.1"), "space-in": message("GET / HTTP/1. 1"),
        "space-before-slash": message("GET /plaintext HTTP /1.1"),
        "https": message("GET /plaintext HTTPS/1.1"), "rtsp": message("GET / RTSP/1.0"),
        "ice": message("GET /plaintext ICE/1.0"), "xhttp": message("GET / XHTTP/1.1"),
        "8-bit": message("GET /plaintext HTTP/1.\xb9"),
        "nul": message("GET /plaintext HTTP/1.1\0"),
    }),
    row("head-refused-without-body", "9110 9.3.2", message("HEAD /plaintext HTTP/1.1", "A : b"),
        answer(400, end=CLOSED, method="HEAD")),
]


# Methods.

UNKNOWN_METHODS = ("GETX", "GE", "G", "get", "Get", "gEt", "FOO", "FOO-BAR", "M!#$%&'*+.^_`|~9",
                   "PROPFIND", "MKCOL", "LOCK", "SEARCH", "PURGE", "M-SEARCH", "QUERY", "X" * 1000)

METHODS = [
    *rows("method-unknown", "9110 9.1, 15.6.2", answer(501), {
        method[:20]: message(f"{method} /plaintext HTTP/1.1") for method in UNKNOWN_METHODS}),
    row("method-unknown-with-body", "9110 9.1",
        message("FOO /plaintext HTTP/1.1", "Content-Length: 31",
                content=b"GET /plaintext HTTP/1.1\r\n"
                b"Host: "), answer(501)),
    *rows("method-on-file", "9110 10.2.1, 15.5.6",
          answer(405, checks=[allows("GET", "HEAD", "OPTIONS")]), {
              method: message(f"{method} /hello.txt HTTP/1.1")
              for method in ("POST", "PUT", "DELETE", "PATCH", "TRACE")}),
    *rows("method-on-file-with-body", "9110 10.2.1; 9112 9.3",
          answer(405, checks=[allows("GET", "HEAD", "OPTIONS")]), {
              "length": message("PUT /hello.txt HTTP/1.1", "Content-Length: 5", content="hello"),
              "chunked": message("PUT /hello.txt HTTP/1.1", "Transfer-Encoding: chunked",
                                 content=chunked(b"hello"))}),
    *rows("method-on-route", "9110 10.2.1, 15.5.6",
          answer(405, checks=[allows("GET", "HEAD", "OPTIONS")]), {
              method: message(f"{method} /plaintext HTTP/1.1")
              for method in ("POST", "PUT", "DELETE", "PATCH", "TRACE")}),
    *rows("method-on-echo", "9110 10.2.1, 15.5.6",
          answer(405, checks=[allows("POST", "OPTIONS")]), {
              method: message(f"{method} /echo HTTP/1.1")
              for method in ("GET", "PUT", "DELETE", "PATCH", "TRACE")}),
    row("method-on-echo-HEAD", "9110 9.3.2, 15.5.6", head("/echo"),
        answer(405, checks=[allows("POST", "OPTIONS")], method="HEAD")),
    *rows("options", "9110 9.3.7", answer(200, 204, checks=[allows("GET", "HEAD", "OPTIONS")]), {
        target: message(f"OPTIONS {target} HTTP/1.1") for target in ("/plaintext", "/hello.txt")}),
    row("options-echo", "9110 9.3.7", message("OPTIONS /echo HTTP/1.1"),
        answer(200, 204, checks=[allows("POST", "OPTIONS")])),
    row("options-with-condition", "9110 13.2.1",
        message("OPTIONS /hello.txt HTTP/1.1", 'If-Match: "other"'), answer(200, 204)),
    *rows("trace-reflects-nothing", "9110 9.3.8, 17.6", answer(405, 501, checks=[lacks(b"s3cr")]), {
        "file": message("TRACE /hello.txt HTTP/1.1", "Cookie: s3cr", "Authorization: s3cr"),
        "target": message("TRACE /plaintext?s3cr HTTP/1.1"),
        "max-forwards": message("TRACE /plaintext HTTP/1.1", "Max-Forwards: 0", "X: s3cr"),
        "body": message("TRACE /plaintext HTTP/1.1", "Content-Length: 4", content="s3cr"),
    }),
    *rows("head", "9110 9.3.2", (answer(200, 301, 404, 405),
                                 answer(200, 301, 404, 405, checks=[same_headers_as_before],
                                        method="HEAD")), {
        target: get(target) + head(target)
        for target in ("/plaintext", "/json", "/", "/hello.txt", "/empty.txt", "/20mib.bin",
                       "/directory", "/no-such-file", "/echo", PLAIN)}),
    row("head-with-body", "9110 9.3.2", message("HEAD /plaintext HTTP/1.1", "Content-Length: 5",
                                               content="hello"), ok(method="HEAD")),
    row("get-with-body", "9110 9.3.1", message("GET /plaintext HTTP/1.1", "Content-Length: 5",
                                              content="hello"), ok(HELLO_WORLD)),
    row("get-with-chunks", "9110 9.3.1", message("GET /plaintext HTTP/1.1",
                                                "Transfer-Encoding: chunked",
                                                content=chunked(b"hello")), ok(HELLO_WORLD)),
]


# Header fields.

CONTROLS = [byte for byte in (*range(0x20), 0x7f) if byte not in b"\t"]
NAME_DELIMITERS = b'"(),/;<=>?@[\\]{}'

FIELDS = [
    *rows("value-control", "9110 5.5", refused(400), {
        f"{byte:02x}": field(b"A: b%cc" % byte) for byte in CONTROLS}),
    *rows("value-control-at-edge", "9110 5.5", refused(400), {
        "first-nul": field("A: \0"), "last-nul": field("A: b\0"), "first-cr": field("A: \rb"),
        "last-cr": field("A: b\r"), "vertical-tab": field("A: \x0bb"), "delete": field("A: b\x7f"),
        "before-space": field("A:\x0c b")}),
    *rows("name-control", "9110 5.1; 9112 5", refused(400), {
        f"{byte:02x}": field(b"A%cB: c" % byte) for byte in (*CONTROLS, 9, 0x20)}),
    *rows("name-delimiter", "9110 5.1, 5.6.2", refused(400), {
        f"{byte:02x}": field(b"A%cB: c" % byte) for byte in NAME_DELIMITERS}),
    *rows("name-8-bit", "9110 5.1, 5.6.2", refused(400), {
        f"{byte:02x}": field(b"A%cB: c" % byte) for byte in (0x80, 0xa0, 0xc3, 0xff)}),
    *rows("value-fine", "9110 5.5", ok(HELLO_WORLD), {
        "empty": field("A:"), "only-white-space": field("A: \t "), "tab": field("A:\tb\tc\t"),
        "no-space": field("A:b"), "many-spaces": field("A:      b      "),
        "8-bit": field("A: \x80\xa0\xe4\xff"), "utf-8": field("A: Grüße".encode()),
        "every-visible-byte": field("A: " + "".join(map(chr, range(0x21, 0x7f)))),
        "colons": field("A:: b:"), "tchar-name": field("!#$%&'*+-.^_`|~09AZaz: b"),
        "same-name-twice": get("/plaintext", "A: b", "a: c"),
        "upper-case-host": bare("GET /plaintext HTTP/1.1", "HOST: test"),
        "lower-case-host": bare("GET /plaintext HTTP/1.1", "host: test"),
        "host-last": bare("GET /plaintext HTTP/1.1", "A: b", "Host: test"),
        "no-space-before-host": bare("GET /plaintext HTTP/1.1", "Host:test"),
    }),
    *rows("space-before-colon", "9112 5.1", refused(400), {
        "space": field("A : b"), "tab": field("A\t: b"), "spaces": field("A  : b"),
        "host": bare("GET /plaintext HTTP/1.1", "Host : test"),
        "length": post("Content-Length : 5", content="hello"),
        "coding": post("Transfer-Encoding : chunked", content=chunked(b"x")),
        "connection": field("Connection : close"), "first": bare("GET / HTTP/1.1", " Host: test"),
    }),
    *rows("obs-fold", "9112 5.2", refused(400), {
        "space": field("A: b\r\n c"), "tab": field("A: b\r\n\tc"), "empty": field("A:\r\n b"),
        "only-space": field("A: b\r\n "), "colon": field("A: b\r\n C: d"),
        "host": bare("GET /plaintext HTTP/1.1", "Host:\r\n test"),
        "length": post("Content-Length:\r\n 5", content="hello"),
        "coding": post("Transfer-Encoding:\r\n chunked", content=chunked(b"x")),
        "hides-length": post("A: b\r\n Content-Length: 5", content="hello"),
        "hides-coding": post("A: b\r\n Transfer-Encoding: chunked", content=chunked(b"x")),
        "last": message("GET /plaintext HTTP/1.1", "A: b\r\n \r\n"),
    }),
    *rows("space-before-first-field", "9112 2.2", refused(400), {
        "space": b"GET /plaintext HTTP/1.1\r\n A: b\r\nHost: test\r\n\r\n",
        "tab": b"GET /plaintext HTTP/1.1\r\n\tA: b\r\nHost: test\r\n\r\n",
        "only-space": b"GET /plaintext HTTP/1.1\r\n \r\nHost: test\r\n\r\n",
    }),
    *rows("field-malformed", "9112 5", refused(400), {
        "empty-name": field(": b"), "empty-name-and-value": field(":"), "no-colon": field("A"),
        "no-colon-words": field("A b"), "equals": field("A=b"), "space": field(" "),
        "request-line-again": field("GET /other HTTP/1.1"),
        "lf-inside": field("A: b\nC: d"), "lf-only": field("\n"),
        "lf-at-the-end": b"GET /plaintext HTTP/1.1\r\nHost: test\r\n\n",
        "lf-lf-at-the-end": b"GET /plaintext HTTP/1.1\r\nHost: test\n\n",
        "cr-inside": field("A: b\rC: d"), "cr-cr-lf": field("A: b\r"),
        "cr-before": field("\rA: b"), "cr-in-name": field("A\rB: c"),
        "cr-at-the-end": b"GET /plaintext HTTP/1.1\r\nHost: test\r\n\r" + PLAINTEXT,
        "lf-cr": field("A: b\n\rC: d"), "lf-hides-coding": post("A: b\nTransfer-Encoding: chunked",
                                                             content=chunked(b"x")),
        "cr-hides-length": post("A: b\rContent-Length: 5", content="hello"),
        "nul-hides-length": post("A: b\0Content-Length: 5", content="hello"),
    }),
]


# Host.

def host(value):
    return bare("GET /plaintext HTTP/1.1", b"Host: " + _bytes(value))


HOSTS = [
    *rows("host", "9110 7.2; 3986 3.2", ok(HELLO_WORLD), {
        value: host(value) for value in (
            "test", "TEST", "test:80", "test:", "te-st.example", "te_st", "test.", "127.0.0.1",
            "127.0.0.1:8080", "[::1]", "[::1]:8080", "[2001:db8::1]", "[::ffff:1.2.3.4]",
            "xn--bcher-kva.example", "a!$&'()*+,;=~b", "t%65st")}),
    *rows("host-odd", "9110 7.2; 9112 3.3", answer(200, 400), {
        "empty": host(""), "only-port": host(":80"), "port-out-of-range": host("test:99999"),
        "future-ip": host("[v1.fe80::a]"), "label-of-64": host("x" * 64 + ".example"),
        "long": host("x" * 1000), "ipv4-with-five-parts": host("1.2.3.4.5"),
        "zone": host("[fe80::1%25eth0]"),
    }),
    *rows("host-missing", "9112 3.2", answer(400), {
        "1.1": bare("GET /plaintext HTTP/1.1"),
        "with-fields": bare("GET /plaintext HTTP/1.1", "A: b", "Hosts: test"),
        "post": bare("POST /echo HTTP/1.1", "Content-Length: 0"),
        "options": bare("OPTIONS * HTTP/1.1"),
    }),
    row("host-missing-1.0", "9112 3.2", bare("GET /plaintext HTTP/1.0"), ok(HELLO_WORLD)),
    *rows("host-twice", "9112 3.2", answer(400), {
        "same": message("GET /plaintext HTTP/1.1", "Host: test"),
        "other": message("GET /plaintext HTTP/1.1", "Host: other"),
        "empty-first": bare("GET /plaintext HTTP/1.1", "Host:", "Host: test"),
        "empty-last": bare("GET /plaintext HTTP/1.1", "Host: test", "Host:"),
        "apart": bare("GET /plaintext HTTP/1.1", "Host: test", "A: b", "hOST: test"),
        "1.0": bare("GET /plaintext HTTP/1.0", "Host: test", "Host: test"),
        "three": message("GET /plaintext HTTP/1.1", "Host: a", "Host: b"),
    }),
    *rows("host-invalid", "9112 3.2; 3986 3.2", answer(400), {
        "space": host("te st"), "tab": host("te\tst"), "list": host("test, other"),
        "slash": host("test/"), "path": host("test/plaintext"), "query": host("test?a"),
        "fragment": host("test#a"), "user": host("user@test"), "user-empty": host("@test"),
        "password": host("user:word@test"), "url": host("http://test"), "slashes": host("//test"),
        "backslash": host("te\\st"), "quote": host('"test"'), "less": host("<test>"),
        "brace": host("{test}"), "pipe": host("te|st"), "caret": host("te^st"),
        "backtick": host("te`st"), "8-bit": host("t\xe4st"), "utf-8": host("tést".encode()),
    }),
    *rows("host-control", "9112 3.2; 9110 5.5", refused(400), {
        f"{byte:02x}": host(b"te%cst" % byte) for byte in (0, 1, 0x0a, 0x0b, 0x0d, 0x1f, 0x7f)}),
]


# Limits of the defaults.

LINE_BYTES, HEADER_BYTES, HEADER_FIELDS, BODY_BYTES = 8192, 32768, 100, sites.ONE_MIB


def line_of(size):
    """A request line, CRLF included, of this size."""
    start, end = "GET /plaintext?", " HTTP/1.1\r\n"
    return message(start + "x" * (size - len(start) - len(end)) + end[:-2])


def head_of(size):
    """Request line, fields and the empty line together of this size."""
    fields = ["A: " + "x" * 998] * ((size - 1000) // 1003)
    filler = size - len(get("/plaintext", *fields, "B: "))
    return get("/plaintext", *fields, "B: " + "x" * filler)


def fields_of(count):
    return get("/plaintext", *["A: b"] * (count - 1))


LIMITS = [
    *rows("line-size", "9112 3; 9110 4.1", ok(HELLO_WORLD), {
        str(size): line_of(size) for size in (8000, LINE_BYTES - 1, LINE_BYTES)}),
    *rows("line-too-long", "9110 15.5.15", refused(414), {
        str(size): line_of(size) for size in (LINE_BYTES + 3, 10_000, 100_000)}),
    *rows("line-too-long-shape", "9110 15.5.15; 9112 3", refused(400, 414, 501), {
        "no-end": b"GET /" + b"x" * 20_000, "method": b"X" * 20_000,
        "version": b"GET / " + b"1" * 20_000, "absolute": b"GET http://" + b"x" * 20_000}),
    *rows("head-size", "6585 5; 9110 5.4", ok(HELLO_WORLD), {
        str(size): head_of(size) for size in (16_000, HEADER_BYTES - 100, HEADER_BYTES)}),
    *rows("head-too-large", "6585 5", refused(431), {
        str(size): head_of(size) for size in (HEADER_BYTES + 1, 40_000, 1_000_000)}),
    *rows("head-too-large-shape", "6585 5", refused(400, 431), {
        "name": field("x" * 40_000 + ": a"), "no-end": PLAINTEXT[:-2] + b"A: " + b"x" * 40_000,
        "host": host("x" * 40_000), "empty-values": get("/plaintext", *["A:"] * 20_000)}),
    *rows("field-count", "6585 5", ok(HELLO_WORLD), {
        str(count): fields_of(count) for count in (1, 50, HEADER_FIELDS)}),
    *rows("too-many-fields", "6585 5", refused(431), {
        str(count): fields_of(count) for count in (HEADER_FIELDS + 1, 200, 5000)}),
    row("body-size-fits", "9110 15.5.14",
        post(f"Content-Length: {BODY_BYTES}", content=b"x" * BODY_BYTES),
        ok(body(b"x" * BODY_BYTES))),
    row("body-size-fits-chunked", "9110 15.5.14", post_chunks(chunked(b"x" * BODY_BYTES)),
        ok(body(b"x" * BODY_BYTES))),
    *rows("body-too-large", "9110 15.5.14", refused(413), {
        "length": post(f"Content-Length: {BODY_BYTES + 1}"),
        "length-get": get("/plaintext", f"Content-Length: {BODY_BYTES + 1}"),
        "chunk": post_chunks(b"%x\r\n" % (BODY_BYTES + 1)),
        "chunks": post_chunks(chunked(b"x" * BODY_BYTES)[:-5] + b"1\r\nx\r\n0\r\n\r\n"),
    }),
]


# Where a body ends.

def length(value, content="hello"):
    return post(b"Content-Length: " + _bytes(value), content=content)


def coding(value, content=chunked(b"hello")):
    return post(b"Transfer-Encoding: " + _bytes(value), content=content)


BOTH = {
    "length-first": ("Content-Length: 5", "Transfer-Encoding: chunked"),
    "coding-first": ("Transfer-Encoding: chunked", "Content-Length: 5"),
    "length-zero": ("Content-Length: 0", "Transfer-Encoding: chunked"),
    "length-of-the-chunks": ("Content-Length: 15", "Transfer-Encoding: chunked"),
    "length-bad": ("Content-Length: x", "Transfer-Encoding: chunked"),
    "length-empty": ("Content-Length:", "Transfer-Encoding: chunked"),
    "coding-empty": ("Content-Length: 5", "Transfer-Encoding:"),
    "coding-upper-case": ("Content-Length: 5", "TRANSFER-ENCODING: CHUNKED"),
    "coding-unknown": ("Content-Length: 5", "Transfer-Encoding: x"),
    "coding-identity": ("Content-Length: 5", "Transfer-Encoding: identity"),
    "twice-each": ("Content-Length: 5", "Transfer-Encoding: chunked") * 2,
}
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"

LENGTHS = [
    *rows("length", "9110 8.6", ok(body(b"hello")), {
        "plain": length("5"), "leading-zeros": length("0005"), "trailing-space": length("5   "),
        "leading-tab": length("\t5"), "many-zeros": length("0" * 30 + "5"),
        "lower-case": post("content-length: 5", content="hello"),
        "no-space": post("Content-Length:5", content="hello")}),
    *rows("length-zero", "9110 8.6", ok(body(b"")), {
        "plain": length("0", ""), "many": length("0" * 40, ""), "none": post()}),
    *rows("length-same-again", "9110 8.6", doubtful(400), {
        "lines": post("Content-Length: 5", "Content-Length: 5", content="hello"),
        "list": length("5, 5"), "list-without-space": length("5,5"),
        "list-of-three": length("5,5,5"),
        "trailing-comma": length("5,"), "leading-comma": length(",5"),
        "leading-zero-differs": length("5, 05")}),
    *rows("length-differs", "9110 8.6; 9112 6.3", refused(400), {
        "lines": post("Content-Length: 5", "Content-Length: 6", content="hello!"),
        "lines-zero-first": post("Content-Length: 0", "Content-Length: 5", content="hello"),
        "lines-zero-last": post("Content-Length: 5", "Content-Length: 0", content="hello"),
        "lines-empty-first": post("Content-Length:", "Content-Length: 5", content="hello"),
        "lines-empty-last": post("Content-Length: 5", "Content-Length:", content="hello"),
        "lines-on-get": get("/plaintext", "Content-Length: 0", "Content-Length: 5") + b"hello",
        "list": length("5, 6"), "list-without-space": length("5,6"), "list-zero": length("0, 5"),
        "list-smuggles": length(f"{len(SMUGGLED)}, 0", SMUGGLED),
        "1.0": bare("POST /echo HTTP/1.0", "Content-Length: 5", "Content-Length: 6")}),
    *rows("length-invalid", "9110 8.6; 9112 6.3", refused(400), {
        "empty": length(""), "spaces": length("   "), "word": length("five"), "plus": length("+5"),
        "minus": length("-5"), "minus-zero": length("-0"), "minus-one": length("-1"),
        "hexadecimal": length("0x5"), "hexadecimal-digits": length("a"), "octal": length("0o5"),
        "fraction": length("5.0"), "point": length("5."), "exponent": length("5e0"),
        "space-inside": length("5 5"), "tab-inside": length("1\t1"), "underscore": length("0_5"),
        "semicolon": length("5;"), "parameter": length("5;q=1"), "quoted": length('"5"'),
        "single-quoted": length("'5'"), "letter-after": length("5x"), "letter-before": length("x5"),
        "only-comma": length(","), "superscript": length("\xb2"), "percent": length("%35"),
        "arabic-digit": length("٥".encode()), "full-width-digit": length("５".encode()),
        "on-get": get("/plaintext", "Content-Length: x"),
        "on-1.0": bare("POST /echo HTTP/1.0", "Content-Length: -1")}),
    row("length-invalid-on-head", "9110 9.3.2", head("/plaintext", "Content-Length: -1"),
        answer(400, end=CLOSED, method="HEAD")),
    *rows("length-control", "9110 5.5, 8.6", refused(400), {
        "nul": length("5\0"), "vertical-tab": length("\x0b5"), "form-feed": length("5\x0c"),
        "cr": length("5\r"), "lf": length("5\n"), "delete": length("5\x7f")}),
    *rows("length-overflow", "9110 8.6; 9112 6.3", refused(400, 413), {
        "2^31": length("2147483648"), "2^32": length("4294967296"), "2^32+5": length("4294967301"),
        "2^63-1": length("9223372036854775807"), "2^63": length("9223372036854775808"),
        "2^64-1": length("18446744073709551615"), "2^64": length("18446744073709551616"),
        "2^64+1": length("18446744073709551617"), "2^64+5": length("18446744073709551621"),
        "2^65+5": length("36893488147419103237"), "2^128+5": length(str(2**128 + 5)),
        "100-digits": length("9" * 100), "1000-digits": length("1" + "0" * 1000)}),
    *rows("length-and-coding", "9112 6.1, 6.3", refused(400, 501), {
        name: post(*fields, content=chunked(b"hello")) for name, fields in BOTH.items()}),
    row("length-and-coding-smuggles-te", "9112 11.2",
        post("Content-Length: 6", "Transfer-Encoding: chunked", content=b"0\r\n\r\n" + SMUGGLED),
        refused(400)),
    row("length-and-coding-smuggles-cl", "9112 11.2",
        post(f"Content-Length: {5 + len(SMUGGLED)}", "Transfer-Encoding: chunked",
             content=b"0\r\n\r\n" + SMUGGLED), refused(400)),
    row("length-and-coding-on-get", "9112 6.1",
        get("/plaintext", "Content-Length: 5", "Transfer-Encoding: chunked") + chunked(b""),
        refused(400)),
    *rows("length-look-alike", "9110 5.1", ok(body(b"")), {
        "underscore": post("Content_Length: 5"), "prefix": post("X-Content-Length: 5"),
        "suffix": post("Content-Lengths: 5"),
        "coding-underscore": post("Transfer_Encoding: chunked"),
        "coding-prefix": post("X-Transfer-Encoding: chunked")}),
]

CODINGS = [
    *rows("coding", "9112 7.1", ok(body(b"hello")), {
        "plain": coding("chunked"), "upper-case": coding("CHUNKED"), "mixed": coding("cHuNkEd"),
        "spaces": coding("   chunked   "), "tab": coding("\tchunked"),
        "field-lower-case": post("transfer-encoding: chunked", content=chunked(b"hello")),
        "no-space": post("Transfer-Encoding:chunked", content=chunked(b"hello")),
        "te-ignored": post("TE: trailers, gzip;q=0.5", "Transfer-Encoding: chunked",
                           content=chunked(b"hello"))}),
    *rows("coding-without-end", "9112 6.3", refused(400), {
        value: coding(value) for value in (
            "xchunked", "chunkedx", "chunk", "chunke", "gzip", "deflate", "compress", "br",
            "identity", "chunked, identity", "chunked, gzip", "chunked, gzip, br", "x-foo",
            "gzip, identity", "'chunked'", "chunked-1", "cow", "gzip;q=1", "chunked, x;a=b")}),
    row("coding-without-end-on-get", "9112 6.3", get("/plaintext", "Transfer-Encoding: gzip"),
        refused(400)),
    row("coding-without-end-expecting", "9112 6.3; 9110 10.1.1",
        post("Transfer-Encoding: gzip", "Expect: 100-continue"), refused(400)),
    *rows("coding-before-chunked", "9112 6.1", refused(501), {
        value: coding(value) for value in (
            "gzip, chunked", "gzip,chunked", "deflate, chunked", "foo, chunked",
            "gzip, br, chunked", "identity, chunked", "gzip \t,\t CHUNKED", "x;a=b, chunked")}),
    *rows("coding-before-chunked-in-lines", "9112 6.1; 9110 5.3", refused(501), {
        value: post(f"Transfer-Encoding: {value}", "A: b", "transfer-encoding: chunked",
                    content=chunked(b"hello")) for value in ("gzip", "identity", "gzip, br")}),
    *rows("coding-doubled", "9112 6.1, 7.1", refused(400), {
        "list-with-another": coding("chunked, gzip, chunked"),
        "list": coding("chunked, chunked"), "list-without-space": coding("chunked,chunked"),
        "list-of-three": coding("chunked, chunked, chunked"),
        "lines": post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked",
                      content=chunked(b"hello")),
        "lines-gzip-last": post("Transfer-Encoding: chunked", "Transfer-Encoding: gzip",
                                content=chunked(b"hello")),
        "lines-empty-last": post("Transfer-Encoding: chunked", "Transfer-Encoding:",
                                 content=chunked(b"hello"))}),
    *rows("coding-malformed", "9112 6.1, 6.3, 7", refused(400), {
        "empty": coding(""), "spaces": coding("  "), "comma": coding(","),
        "quoted": coding('"chunked"'),
        "parameter": coding("chunked;a=b"), "semicolon": coding("chunked;"),
        "two-words": coding("chunked chunked"), "slash": coding("chunked/1"),
        "8-bit": coding("chunked\xa0"), "8-bit-before": coding("\xa0chunked"),
        "long-s": coding("chun\xbfed"), "kelvin": coding("chun\u212aed".encode()),
        "equals": coding("chunked=1"), "brackets": coding("(chunked)")}),
    *rows("coding-empty-members", "9110 5.6.1.2, 15.5.1", doubtful(400, 501), {
        "leading": coding(", chunked"), "trailing": coding("chunked,"),
        "both": coding(",chunked,")}),
    *rows("coding-control", "9110 5.5", refused(400, 501), {
        "vertical-tab": coding("\x0bchunked"), "vertical-tab-after": coding("chunked\x0b"),
        "form-feed": coding("\x0cchunked"), "nul": coding("chunked\0"), "cr": coding("chunked\r"),
        "cr-before": coding("\rchunked"), "lf": coding("\nchunked"),
        "delete": coding("chunked\x7f")}),
    *rows("coding-in-1.0", "9112 6.1", refused(400), {
        "plain": bare("POST /echo HTTP/1.0", "Transfer-Encoding: chunked", content=chunked(b"x")),
        "keep-alive": bare("POST /echo HTTP/1.0", "Transfer-Encoding: chunked",
                           "Connection: keep-alive", content=chunked(b"x")),
        "with-length": bare("POST /echo HTTP/1.0", "Transfer-Encoding: chunked",
                            "Content-Length: 3", content=chunked(b"x")),
        "get": bare("GET /plaintext HTTP/1.0", "Transfer-Encoding: chunked",
                    content=chunked(b""))}),
    row("coding-in-1.0-unknown", "9112 6.1",
        bare("POST /echo HTTP/1.0", "Transfer-Encoding: gzip"), refused(400, 501)),
]


# Chunks.

def hello_chunk(size="5", data="hello", end="\r\n", rest="0\r\n\r\n"):
    return post_chunks(_bytes(size) + b"\r\n" + _bytes(data) + _bytes(end) + _bytes(rest))


def extension(text):
    return hello_chunk(b"5" + _bytes(text))


def trailer(*lines):
    return post_chunks(b"5\r\nhello\r\n0\r\n" + b"".join(_bytes(line) + b"\r\n" for line in lines)
                       + b"\r\n")


CHUNKS = [
    *rows("chunk", "9112 7.1", ok(body(b"hello")), {
        "plain": hello_chunk(), "leading-zeros": hello_chunk("0005"),
        "many-zeros": hello_chunk("0" * 20 + "5"),
        "last-many-zeros": hello_chunk(rest="0000\r\n\r\n"),
        "one-byte-each": post_chunks(b"".join(
            b"1\r\n%c\r\n" % byte for byte in b"hello") + b"0\r\n\r\n")}),
    *rows("chunk-hexadecimal", "9112 7.1", ok(body(b"0123456789")), {
        size: post_chunks(b"%s\r\n0123456789\r\n0\r\n\r\n" % size.encode())
        for size in ("a", "A", "0a", "000A")}),
    row("chunk-binary-data", "9112 7.1", post_chunks(chunked(bytes(range(256)))),
        ok(body(bytes(range(256))))),
    row("chunk-data-like-chunks", "9112 7.1", post_chunks(chunked(b"\r\n0\r\n\r\n" + SMUGGLED)),
        ok(body(b"\r\n0\r\n\r\n" + SMUGGLED))),
    row("chunk-none", "9112 7.1", post_chunks(b"0\r\n\r\n"), ok(body(b""))),
    *rows("chunk-extension", "9112 7.1.1", ok(body(b"hello")), {
        "name": extension(";a"), "value": extension(";a=b"), "quoted": extension(';a="b c;d"'),
        "two-names": extension(";a;b"), "quoted-then-name": extension(';a="b";c'),
        "quoted-8-bit": extension(';a="\xe4"'), "quoted-tab": extension(';a="\t"'),
        "empty-quoted": extension(';a=""'), "200-bytes": extension(";a=" + "x" * 200),
        "tchar": extension(";!#$%&'*+-.^_`|~0=1"), "on-last": hello_chunk(rest="0;a=b\r\n\r\n")}),
    *rows("chunk-extension-legal", "9112 7.1.1; 9110 5.6.3, 5.6.4", ok(body(b"hello")), {
        "escaped-quote": extension(';a="b\\"c"'), "escaped-backslash": extension(';a="\\\\"'),
        "several": extension(";a;b=c;d"), "two-values": extension(";a=b;c=d"),
        "space-before": extension(" ;a"), "space-after": extension("; a"),
        "spaces-around-equals": extension(";a = b"), "tab": extension("\t;\ta"),
        "spaces-everywhere": extension(' ; a = "b" ; c = d')}),
    *rows("chunk-extension-malformed", "9112 7.1.1", refused(400), {
        "no-name": extension(";"), "no-name-before-value": extension(";=a"),
        "two-semicolons": extension(";;a"), "no-value": extension(";a="),
        "space-at-the-end": extension(";a "), "space-only": extension(" "),
        "two-words": extension(";a b"), "word-behind-quotes": extension(';a="b"c'),
        "quote-in-name": extension(';"a"=b'), "open-quote": extension(';a="b'),
        "no-semicolon": extension(" a")}),
    *rows("chunk-extension-control", "9112 7.1.1; 9110 5.6.4", refused(400), {
        "lf": extension(";a\n"), "lf-inside": extension(";a\nb"), "cr": extension(";a\rb"),
        "nul": extension(";a\0"), "control": extension(";a=\x01"), "delete": extension(";a=\x7f"),
        "lf-in-quotes": extension(';a="\n"'), "crlf-in-quotes": extension(';a="\r\n"'),
        "cr-in-quotes": extension(';a="\r"'), "nul-in-quotes": extension(';a="\0"')}),
    *rows("chunk-extension-too-long", "9112 7.1.1", refused(400, 413, 431), {
        "name": extension(";" + "x" * 100_000), "value": extension(";a=" + "x" * 100_000),
        "quoted": extension(';a="' + "x" * 100_000 + '"'), "many": extension(";a" * 50_000),
        "no-end": post_chunks(b"5;" + b"x" * 100_000),
        "in-all": post_chunks(b"".join(b"1;%s\r\nx\r\n" % (b"x" * 1000) for _ in range(100)))}),
    *rows("chunk-size-invalid", "9112 7.1", refused(400), {
        "word": hello_chunk("five"), "g": hello_chunk("g"), "empty": hello_chunk(""),
        "plus": hello_chunk("+5"), "minus": hello_chunk("-5"), "prefix": hello_chunk("0x5"),
        "prefix-upper-case": hello_chunk("0X5"), "suffix": hello_chunk("5h"),
        "leading-space": hello_chunk(" 5"), "leading-tab": hello_chunk("\t5"),
        "point": hello_chunk("5."), "comma": hello_chunk("5,"), "two": hello_chunk("5 5"),
        "underscore": hello_chunk("0_5"), "quoted": hello_chunk('"5"'), "nul": hello_chunk("5\0"),
        "nul-before": hello_chunk("\0005"), "8-bit": hello_chunk("5\xa0"),
        "colon": hello_chunk("5:"),
        "vertical-tab": hello_chunk("5\x0b"), "only-extension": hello_chunk(";a"),
        "full-width": hello_chunk("５".encode()), "no-chunks": post_chunks(SMUGGLED),
        "last-minus": hello_chunk(rest="-0\r\n\r\n"), "last-word": hello_chunk(rest="x\r\n\r\n"),
        "last-missing": hello_chunk(rest="\r\n")}),
    *rows("chunk-size-overflow", "9112 7.1", refused(400, 413), {
        "2^31": hello_chunk("80000000"), "2^32": hello_chunk("100000000"),
        "2^32+5": hello_chunk("100000005"), "2^63-1": hello_chunk("7fffffffffffffff"),
        "2^63": hello_chunk("8000000000000000"), "2^63+5": hello_chunk("8000000000000005"),
        "2^64-1": hello_chunk("ffffffffffffffff"), "2^64": hello_chunk("10000000000000000"),
        "2^64+5": hello_chunk("10000000000000005"), "2^68+5": hello_chunk("100000000000000005"),
        "17-f": hello_chunk("f" * 17), "1000-f": hello_chunk("f" * 1000),
        "second": hello_chunk(rest="ffffffffffffffff\r\nx"),
        "second-wraps": hello_chunk(rest="fffffffffffffffb\r\nx")}),
    *rows("chunk-end", "9112 7.1", refused(400), {
        "none": hello_chunk(end=""), "lf": hello_chunk(end="\n"), "cr": hello_chunk(end="\r"),
        "cr-cr-lf": hello_chunk(end="\r\r\n"), "space": hello_chunk(end=" \r\n"),
        "data-too-long": hello_chunk(data="hello!"),
        "data-far-too-long": hello_chunk(data="hello" * 9),
        "size-lf": post_chunks(b"5\nhello\r\n0\r\n\r\n"),
        "size-cr": post_chunks(b"5\rhello\r\n0\r\n\r\n"),
        "size-cr-cr-lf": post_chunks(b"5\r\r\nhello\r\n0\r\n\r\n"),
        "last-lf": hello_chunk(rest="0\n\r\n"), "last-lf-lf": hello_chunk(rest="0\n\n"),
        "last-cr": hello_chunk(rest="0\r\r\n"), "last-then-lf": hello_chunk(rest="0\r\n\n"),
        "last-then-cr": hello_chunk(rest="0\r\n\r" + "x"),
        "last-then-request": hello_chunk(rest=b"0\r\n" + SMUGGLED)}),
    *rows("trailer", "9112 7.1.2", ok(body(b"hello"), header("X-Trailer", None)), {
        "one": trailer("X-Trailer: a"), "two": trailer("X-Trailer: a", "B: c"),
        "empty-value": trailer("X-Trailer:"), "8-bit": trailer("X-Trailer: \xe4"),
        "announced": post("Trailer: X-Trailer", "Transfer-Encoding: chunked",
                          content=b"5\r\nhello\r\n0\r\nX-Trailer: a\r\n\r\n"),
        "connection-close-is-dropped": trailer("X-Trailer: a", "X-Connection: close")}),
    *rows("trailer-forbidden-field", "9110 6.5.1", doubtful(400), {
        "length": trailer("Content-Length: 5"), "coding": trailer("Transfer-Encoding: chunked"),
        "host": trailer("Host: other"), "length-bad": trailer("Content-Length: x"),
        "connection": trailer("Connection: close"), "expect": trailer("Expect: 100-continue"),
        "content-type": trailer("Content-Type: text/html")}),
    *rows("trailer-malformed", "9112 5, 7.1.2", refused(400), {
        "no-colon": trailer("A"), "space-before-colon": trailer("A : b"),
        "empty-name": trailer(": b"),
        "fold": trailer("A: b", " c"), "fold-first": trailer(" A: b"), "nul": trailer("A: \0"),
        "control": trailer("A: \x01"), "delete": trailer("A: \x7f"), "cr": trailer("A: b\rc"),
        "lf": trailer("A: b\nc: d"), "lf-last": post_chunks(b"0\r\nA: b\n\r\n"),
        "lf-end": post_chunks(b"0\r\nA: b\r\n\n"), "name-space": trailer("A B: c"),
        "name-delimiter": trailer("A(B): c"), "name-8-bit": trailer("\xe4: c"),
        "request": trailer("GET /smuggled HTTP/1.1", "Host: test")}),
    *rows("trailer-too-much", "9112 7.1.2; 6585 5", refused(400, 413, 431), {
        "long": trailer("A: " + "x" * 100_000), "no-end": trailer("A: " + "x" * 100_000)[:-4],
        "many": trailer(*["A: b"] * 200), "far-too-many": trailer(*["A: b"] * 20_000),
        "name": trailer("x" * 100_000 + ": a")}),
]


# Connections.

def with_connection(version, *values, target="/plaintext"):
    fields = [f"Connection: {value}" for value in values]
    return message(f"GET {target} HTTP/{version}", *fields)


STAYS = ok(HELLO_WORLD, end=OPEN)
STAYS_1_0 = ok(HELLO_WORLD, header("Connection", re.compile("keep-alive", re.I)), end=OPEN)
CLOSES = ok(HELLO_WORLD, end=CLOSED)
EITHER = ok(HELLO_WORLD)

CONNECTIONS = [
    *rows("connection-1.1-stays", "9112 9.3", STAYS, {
        "none": PLAINTEXT, "keep-alive": with_connection("1.1", "keep-alive"),
        "other": with_connection("1.1", "foo"), "empty": with_connection("1.1", ""),
        "commas": with_connection("1.1", " , ,"), "te": with_connection("1.1", "TE"),
        "closed": with_connection("1.1", "closed"), "not-close": with_connection("1.1", "x-close"),
        "proxy-connection": field("Proxy-Connection: close"),
        "keep-alive-field": field("Keep-Alive: 1")}),
    *rows("connection-1.1-closes", "9112 9.6", CLOSES, {
        "close": with_connection("1.1", "close"), "upper-case": with_connection("1.1", "CLOSE"),
        "first": with_connection("1.1", "close, foo"), "last": with_connection("1.1", "foo, close"),
        "no-space": with_connection("1.1", "foo,close"),
        "tabs": with_connection("1.1", "foo,\tclose\t"),
        "empty-members": with_connection("1.1", ",, close,,"),
        "with-keep-alive": with_connection("1.1", "keep-alive, close"),
        "before-keep-alive": with_connection("1.1", "close, keep-alive"),
        "second-line": with_connection("1.1", "foo", "close"),
        "first-line": with_connection("1.1", "close", "foo"),
        "keep-alive-line-first": with_connection("1.1", "keep-alive", "close"),
        "keep-alive-line-last": with_connection("1.1", "close", "keep-alive"),
        "third-line": with_connection("1.1", "a", "b", "c, close")}),
    *rows("connection-1.1-lines", "9110 5.3; 9112 9.3", STAYS, {
        "two": with_connection("1.1", "foo", "bar"),
        "keep-alive-twice": with_connection("1.1", "keep-alive", "keep-alive")}),
    *rows("connection-1.0-closes", "9112 9.3", CLOSES, {
        "none": bare("GET /plaintext HTTP/1.0"), "other": with_connection("1.0", "foo"),
        "close": with_connection("1.0", "close"),
        "both": with_connection("1.0", "keep-alive, close"),
        "both-lines": with_connection("1.0", "keep-alive", "close"),
        "keep-alive-field": bare("GET /plaintext HTTP/1.0", "Keep-Alive: timeout=5")}),
    *rows("connection-1.0-stays", "9112 9.3, C.2.2", STAYS_1_0, {
        "keep-alive": with_connection("1.0", "keep-alive"),
        "mixed-case": with_connection("1.0", "Keep-Alive"),
        "in-list": with_connection("1.0", "foo, keep-alive")}),
    row("connection-1.0-pipelined", "9112 9.3", with_connection("1.0", "keep-alive") * 2,
        STAYS_1_0, STAYS_1_0),
    row("connection-1.0-post", "9112 9.3",
        bare("POST /echo HTTP/1.0", "Connection: keep-alive", "Content-Length: 5", content="hello"),
        ok(body(b"hello"), end=OPEN)),
    row("connection-1.0-then-1.1", "9112 9.3", with_connection("1.0", "keep-alive") + PLAINTEXT,
        STAYS_1_0, STAYS),
    row("connection-1.1-then-1.0", "9112 9.3", PLAINTEXT + bare("GET /plaintext HTTP/1.0"),
        STAYS, CLOSES),
    *rows("close-on-error", "9112 9.6", answer(400, 404, 405, 501, end=CLOSED), {
        "404": with_connection("1.1", "close", target="/no-such-file"),
        "400": with_connection("1.1", "close", target="/%zz"),
        "405": message("DELETE /plaintext HTTP/1.1", "Connection: close"),
        "501": message("FOO /plaintext HTTP/1.1", "Connection: close")}),
    row("close-on-file", "9112 9.6", get("/20mib.bin", "Connection: close"),
        WAIT, ok(body(sites.FILES["20mib.bin"]), end=CLOSED)),
    row("close-on-head", "9112 9.6", head("/20mib.bin", "Connection: close"),
        ok(end=CLOSED, method="HEAD")),
    row("close-nothing-after", "9112 9.6", with_connection("1.1", "close") + PLAINTEXT * 3, CLOSES),
    row("close-with-body", "9112 9.6",
        post("Connection: close", "Content-Length: 5", content="hello") + PLAINTEXT,
        ok(body(b"hello"), end=CLOSED)),
    *rows("errors-keep-the-connection", "9112 9.3", answer(404, 405, end=OPEN), {
        "404": get("/no-such-file"), "405": message("DELETE /plaintext HTTP/1.1"),
        "405-with-body": message("DELETE /plaintext HTTP/1.1", "Content-Length: 5",
                                 content="hello")}),
    *rows("upgrade-is-ignored", "9110 7.8", STAYS, {
        "websocket": get("/plaintext", "Connection: Upgrade", "Upgrade: websocket"),
        "h2c": get("/plaintext", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
                   "HTTP2-Settings: AAMAAABkAAQAAP__"),
        "without-connection": get("/plaintext", "Upgrade: h2c")}),
    row("upgrade-with-body", "9110 7.8",
        post("Connection: Upgrade", "Upgrade: h2c", "Content-Length: 5", content="hello"),
        ok(body(b"hello"), end=OPEN)),
    row("upgrade-with-chunks", "9110 7.8",
        post("Connection: Upgrade", "Upgrade: h2c", "Transfer-Encoding: chunked",
             content=chunked(b"hello")), ok(body(b"hello"), end=OPEN)),
    row("pipeline-mixed", "9112 9.3.2",
        get("/json") + head("/hello.txt") + post("Content-Length: 2", content="ab")
        + message("OPTIONS * HTTP/1.1") + get("/no-such-file")
        + message("DELETE /hello.txt HTTP/1.1", "Content-Length: 1", content="x")
        + post_chunks(chunked(b"cd")) + get("/1mib.bin") + get("/sleep?ms=1") + PLAINTEXT,
        ok(), ok(method="HEAD"), ok(body(b"ab")), answer(200, 204), answer(404), answer(405),
        ok(body(b"cd")), ok(body(sites.FILES["1mib.bin"])), ok(), STAYS),
    row("pipeline-of-100", "9112 9.3.2", PLAINTEXT * 100, *[STAYS] * 100),
    row("pipeline-files-and-conditions", "9112 9.3.2",
        get(PLAIN, "If-None-Match: *") + get(PLAIN, "Range: bytes=0-3") + get(PLAIN,
                                                                              "Range: bytes=-4")
        + get(PLAIN), answer(304), answer(206, checks=[body(CONTENT[:4])]),
        answer(206, checks=[body(CONTENT[-4:])]), ok(body(CONTENT))),
    *rows("pipeline-ends-with-the-fault", "9112 9.3.2, 11.2",
          (ok(), ok(method="HEAD"), refused(400, 501, 505)), {
              "field": get("/json") + head("/") + field("A : b") + PLAINTEXT,
              "version": get("/json") + head("/") + message("GET / HTTP/7.7") + PLAINTEXT,
              "length": get("/json") + head("/") + length("5, 6") + PLAINTEXT,
              "chunk": get("/json") + head("/") + hello_chunk("x") + PLAINTEXT,
              "coding": get("/json") + head("/") + coding("gzip, chunked") + PLAINTEXT,
              "binary": get("/json") + head("/") + b"\0\1\2" + PLAINTEXT}),
    row("half-close", "9112 9.6", PLAINTEXT, HALF_CLOSE, EITHER),
    row("half-close-pipeline", "9112 9.6",
        get("/1mib.bin") + post("Content-Length: 2", content="ab")
        + PLAINTEXT, HALF_CLOSE, ok(body(sites.FILES["1mib.bin"])), ok(body(b"ab")), EITHER),
    row("half-close-slow", "9112 9.6", get("/sleep?ms=50") + PLAINTEXT, HALF_CLOSE, ok(), EITHER),
    *rows("half-close-incomplete", "9112 8",
          (HALF_CLOSE, answer(400, 408, end=CLOSED, or_silence=True)), {
        "line": b"GET /plain", "field": PLAINTEXT[:-5], "no-end": PLAINTEXT[:-2],
        "half-an-end": PLAINTEXT[:-1], "body": length("10"), "chunk": post_chunks(b"a\r\nhello"),
        "chunk-size": post_chunks(b"a"), "no-last-chunk": post_chunks(b"5\r\nhello\r\n"),
        "no-trailer-end": post_chunks(b"0\r\n"), "nothing": b"", "crlf": b"\r\n"}),
    row("half-close-after-good-one", "9112 8", PLAINTEXT + length("10"), HALF_CLOSE, STAYS,
        answer(400, 408, end=CLOSED, or_silence=True)),
]

GO_ON = answer(100)
EXPECTING = ("Content-Length: 5", "Expect: 100-continue")

EXPECTATIONS = [
    row("expect-continue", "9110 10.1.1", post(*EXPECTING), GO_ON, b"hello", ok(body(b"hello"))),
    row("expect-continue-mixed-case", "9110 10.1.1",
        post("Content-Length: 5", "Expect: 100-Continue"), GO_ON, b"hello", ok(body(b"hello"))),
    row("expect-continue-chunked", "9110 10.1.1",
        post("Transfer-Encoding: chunked", "Expect: 100-continue"), GO_ON, chunked(b"hello"),
        ok(body(b"hello"))),
    *rows("expect-continue-list", "9110 10.1.1, 5.6.1", (GO_ON, b"hello", ok(body(b"hello"))), {
        "leading": post("Content-Length: 5", "Expect: , 100-continue"),
        "trailing": post("Content-Length: 5", "Expect: 100-continue ,,"),
        "both": post("Content-Length: 5", "Expect: , 100-continue,"),
        "same-again": post("Content-Length: 5", "Expect: 100-continue,\t100-CONTINUE"),
        "lines": post("Expect: 100-continue", "Content-Length: 5", "Expect: 100-continue"),
        "lines-empty": post("Expect:", "Content-Length: 5", "Expect: ,100-continue")}),
    *rows("expect-nothing", "9110 10.1.1, 5.6.1", ok(body(b"hello"), end=OPEN), {
        "empty": post("Content-Length: 5", "Expect:", content="hello"),
        "commas": post("Content-Length: 5", "Expect: , ,", content="hello"),
        "lines": post("Content-Length: 5", "Expect:", "Expect: ,", content="hello")}),
    row("expect-continue-list-refused", "9110 10.1.1, 5.6.1",
        message("PUT /hello.txt HTTP/1.1", "Content-Length: 5", "Expect: ,100-continue,"),
        WAIT, answer(405, end=CLOSED)),
    row("expect-continue-twice", "9110 10.1.1", post(*EXPECTING), GO_ON,
        b"hello" + post(*EXPECTING), ok(body(b"hello")), GO_ON, b"again", ok(body(b"again"))),
    row("expect-continue-behind-another", "9110 10.1.1", PLAINTEXT + post(*EXPECTING),
        STAYS, GO_ON, b"hello", ok(body(b"hello"))),
    row("expect-continue-body-is-there", "9110 10.1.1", post(*EXPECTING, content="hello"),
        answer(200, checks=[body(b"hello")], or_interim=True)),
    row("expect-continue-no-body", "9110 10.1.1", field("Expect: 100-continue"), STAYS),
    row("expect-continue-empty-body", "9110 10.1.1",
        post("Content-Length: 0", "Expect: 100-continue"), ok(body(b""))),
    row("expect-continue-http-1.0", "9110 10.1.1",
        bare("POST /echo HTTP/1.0", *EXPECTING, content="hello"), ok(body(b"hello"), end=CLOSED)),
    *rows("expect-continue-refused", "9110 10.1.1", (WAIT, answer(400, 405, 413, 501, end=CLOSED)),
          {
        "too-large": post(f"Content-Length: {BODY_BYTES + 1}", "Expect: 100-continue"),
        "method": message("PUT /hello.txt HTTP/1.1", *EXPECTING),
        "unknown-method": message("FOO /hello.txt HTTP/1.1", *EXPECTING),
        "length": post("Content-Length: x", "Expect: 100-continue"),
        "target": message("POST /%zz HTTP/1.1", *EXPECTING)}),
    *rows("expect-other", "9110 10.1.1, 15.5.18", answer(417), {
        "word": field("Expect: foo"), "list": field("Expect: 100-continue, foo"),
        "list-first": field("Expect: foo, 100-continue"), "list-empty": field("Expect: ,,foo,"),
        "lines": field("Expect: 100-continue\r\nExpect: foo"),
        "lines-first": field("Expect: foo\r\nA: b\r\nexpect: 100-continue"),
        "two-words": field("Expect: 100-continue 100-continue"),
        "quoted": field('Expect: "100-continue"'),
        "parameter": field("Expect: 100-continue;a=b"), "prefix": field("Expect: 100-continued"),
        "body": post("Content-Length: 5", "Expect: foo")}),
    *rows("expect-other-http-1.0", "9110 10.1.1", answer(200, 417), {
        "word": bare("GET /plaintext HTTP/1.0", "Expect: foo")}),
]


# Files: names.

NOT_FOUND = answer(403, 404, checks=[lacks(b"hidden")])
NO_WAY_OUT = answer(400, 403, 404)
DOTS = {"plain": "..", "encoded": "%2e%2e", "upper-case": "%2E%2E", "first": "%2e.",
        "second": ".%2e",
        "twice": "%252e%252e", "overlong": "%c0%ae%c0%ae", "overlong-3": "%e0%80%ae%e0%80%ae",
        "unicode": "%u002e%u002e", "semicolon": "..;", "nul": "..%00", "space": "..%20",
        "full-width": "%ef%bc%8e%ef%bc%8e", "three": "...", "backslash-dot": "..%5c.."}
SLASHES = {"slash": "/", "encoded": "%2f", "twice": "%252f", "backslash": "\\",
           "encoded-backslash": "%5c", "overlong": "%c0%af", "double": "//", "dot": "/./"}

NAMES = [
    *rows("path", "3986 2.1, 6.2.2", ok(body(CONTENT)), {
        "plain": get(PLAIN), "encoded": get("/%63onformance/plain%2Etxt"),
        "all-encoded": get("/" + "".join(f"%{byte:02X}" for byte in f"{FOLDER}".encode())
                           + "/plain.txt"),
        "query": get(PLAIN + "?a=b&c"), "empty-query": get(PLAIN + "?"),
        "query-with-slashes": get(PLAIN + "?/../../x"), "query-marks": get(PLAIN + "???"),
        "dot": get(f"/./{FOLDER}/./plain.txt"), "dots": get(f"/{FOLDER}/sub/../plain.txt"),
        "dots-encoded": get(f"/{FOLDER}/sub/%2e%2e/plain.txt"),
        "dots-at-root": get(f"/directory/../{FOLDER}/plain.txt"),
        "absolute-form": get(f"http://test{PLAIN}"),
    }),
    *rows("path-double-slash", "3986 3.3", answer(200, 301, 404), {
        "first": get(f"/{PLAIN}"), "inside": get(f"/{FOLDER}//plain.txt"), "many": get("/" * 50)}),
    *rows("path-query-undecoded", "3986 3.4", answer(200, 400), {
        "percent": get(PLAIN + "?%zz"), "percent-nul": get(PLAIN + "?%00"),
        "percent-crlf": get(PLAIN + "?%0d%0aX:y")}),
    row("path-decoded-once", "3986 2.4", get(f"/{FOLDER}/%2541.txt"), ok(body(b"percent"))),
    row("path-decoded-once-not-twice", "3986 2.4", get(f"/{FOLDER}/%2570lain.txt"), answer(404)),
    row("path-plus-is-no-space", "3986 2.2", get(f"/{FOLDER}/a+b.txt"), ok(body(b"plus"))),
    row("path-plus-encoded", "3986 2.2", get(f"/{FOLDER}/a%2bb.txt"), ok(body(b"plus"))),
    row("path-question-mark-encoded", "3986 2.2", get(f"/{FOLDER}/q%3fx.txt"), ok(body(b"query"))),
    row("path-question-mark-is-query", "3986 3.4", get(f"/{FOLDER}/q?x.txt"), answer(404)),
    row("path-hash-encoded", "3986 2.2", get(f"/{FOLDER}/%23.txt"), ok(body(b"hash"))),
    row("path-semicolon", "3986 3.3", get(f"/{FOLDER}/semi;colon.txt"), ok(body(b"semicolon"))),
    row("path-sub-delimiters", "3986 3.3", get(f"/{FOLDER}/a&b=c.txt"), ok(body(b"and"))),
    row("path-utf-8", "3986 2.5", get(f"/{FOLDER}/%c3%a4.txt"), ok(body(b"umlaut"))),
    *rows("path-8-bit", "3986 2.5", ok(body(b"umlaut")), {
        "utf-8": get(_raw(f"/{FOLDER}/ä.txt")), "query": get(_raw(f"/{FOLDER}/ä.txt?ö")),
        "half-encoded": get(f"/{FOLDER}/\xc3%a4.txt"), "other-half": get(f"/{FOLDER}/%C3\xa4.txt"),
        "dots": get(_raw(f"/größe/.././{FOLDER}//ä.txt")),
        "absolute-form": get(_raw(f"http://test/{FOLDER}/ä.txt"))}),
    row("path-8-bit-head", "3986 2.5", head(_raw(f"/{FOLDER}/ä.txt")),
        ok(header("Content-Length", "6"), method="HEAD")),
    row("path-8-bit-1.0", "3986 2.5", bare(_raw(f"GET /{FOLDER}/ä.txt HTTP/1.0").encode("latin-1")),
        ok(body(b"umlaut"), end=CLOSED)),
    row("path-8-bit-and-encoded", "3986 2.4", get(_raw(f"/{FOLDER}/größe/€%20你好.txt")), ok(body(b"euro"))),
    row("path-8-bit-same-etag", "3986 6.2.2", get(f"/{FOLDER}/%c3%a4.txt") + get(_raw(f"/{FOLDER}/ä.txt")),
        ok(), ok(same_headers_as_before)),
    *rows("path-8-bit-no-way-out", "3986 2.4; 3629 10", NO_WAY_OUT, {
        "overlong-dots": get("/\xc0\xae\xc0\xae/secret.txt"),
        "overlong-slash": get("/..\xc0\xafsecret.txt"),
        "full-width-dots": get(_raw("/．．/secret.txt")), "dots-behind": get(_raw("/ä/../../secret.txt"))}),
    *rows("path-8-bit-other-name", "3986 6.2.2", answer(404), {
        "latin-1": get(f"/{FOLDER}/\xe4.txt"), "decomposed": get(_raw(f"/{FOLDER}/a\u0308.txt")),
        "half": get(f"/{FOLDER}/\xc3.txt")}),
    row("path-has-case", "3986 6.2.2.1", get(f"/{FOLDER}/upper.txt"), answer(404)),
    row("path-dots-in-a-name", "3986 3.3", get(f"/{FOLDER}/x..y.txt"), ok(body(b"dots"))),
    *rows("path-encoded-slash", "3986 2.2", answer(400, 404), {
        "lower": get(f"/{FOLDER}%2fplain.txt"), "upper": get(f"/{FOLDER}%2Fplain.txt"),
        "first": get(f"/%2f{FOLDER}/plain.txt"), "last": get(f"/{FOLDER}%2f")}),
    *rows("no-way-out", "9110 17.3", NO_WAY_OUT, {
        f"{dots}-{slash}": get(f"/{DOTS[dots]}{SLASHES[slash]}secret.txt")
        for dots, slash in product(DOTS, SLASHES)}),
    *rows("no-way-out-deep", "9110 17.3", NO_WAY_OUT, {
        f"{dots}-{slash}": get(f"/{FOLDER}/sub" + (SLASHES[slash] + DOTS[dots]) * 12
                               + SLASHES[slash] + "etc" + SLASHES[slash] + "passwd")
        for dots, slash in product(("plain", "encoded", "twice", "overlong"),
                                   ("slash", "encoded", "encoded-backslash", "double"))}),
    *rows("no-way-out-by", "9110 17.3", NO_WAY_OUT, {
        "absolute-form": message("GET http://test/../secret.txt HTTP/1.1"),
        "absolute-form-encoded": message("GET http://test/%2e%2e/secret.txt HTTP/1.1"),
        "file-scheme": message("GET file:///etc/passwd HTTP/1.1"),
        "through-file": get("/hello.txt/../../secret.txt"), "link": get("/escape.txt"),
        "folder-link": get("/escape/secret.txt"),
        "folder-link-and-back": get("/escape/www/hello.txt"),
        "device-link": get(f"/{FOLDER}/socket-like"), "proc": get("/proc/self/environ"),
        "double-slash": get("//etc/passwd"), "drive": get("/c:/windows/win.ini"),
        "only-dots": get("/.."), "only-dots-slash": get("/../"),
        "host": bare("GET /secret.txt HTTP/1.1",
                                                                            "Host: ..")}),
    *rows("hidden", "9110 17.3", NOT_FOUND, {
        "file": get("/.hidden"), "folder": get("/.git/config"), "folder-alone": get("/.git"),
        "folder-slash": get("/.git/"), "encoded": get("/%2ehidden"),
        "below": get(f"/{FOLDER}/.env"),
        "inside": get(f"/{FOLDER}/sub/.hidden/x.txt"), "double-slash": get("//.hidden"),
        "dot-segment": get("/./.hidden"), "by-way-of": get("/directory/../.hidden"),
        "two-dots": get(f"/{FOLDER}/..txt"), "three-dots": get(f"/{FOLDER}/..."),
        "head": get("/.git/HEAD"), "case": get("/.GIT/config"),
        "in-well-known": get("/.well-known/.hidden"), "like-well-known": get("/.well-knownx"),
        "query": get("/.hidden?x"), "absolute-form": get("http://test/.hidden")}),
    row("well-known", "8615 3", get("/.well-known/known.txt"), ok(body(b"known"))),
    *rows("not-a-file", "9110 15.5.5, 17.3", answer(403, 404), {
        "missing": get("/no-such-file"), "missing-folder": get("/no/such/folder/"),
        "fifo": get("/fifo"), "fifo-slash": get("/fifo/"), "device": get(f"/{FOLDER}/socket-like"),
        "file-slash": get("/hello.txt/"), "file-below": get("/hello.txt/x"),
        "file-dot": get("/hello.txt/."), "folder-without-index": get("/no-index/"),
        "long-name": get("/" + "x" * 300), "long-path": get("/x" * 2000),
        "index-of-index": get("/index.html/index.html")}),
    row("fifo-head", "9110 17.3", head("/fifo"), answer(403, 404, method="HEAD")),
    *rows("redirect", "9110 15.4.2, 10.2.2", answer(301, 308, checks=[
        header("Location", re.compile("(http://test)?/directory/"))]), {
        "plain": get("/directory"), "encoded": get("/%64irectory"), "dots": get("/x/../directory"),
        "two-slashes": get("//directory"), "many-slashes": get("////directory"),
        "inside": get(f"/{FOLDER}/../directory"), "absolute": get("http://test//directory"),
        "empty-query": get("/directory?")}),
    *rows("redirect-query", "9110 10.2.2", answer(301, 308, checks=[
        header("Location", re.compile(r"(http://test)?/directory/\?a=b&c=%20//x"))]), {
        "plain": get("/directory?a=b&c=%20//x"), "slashes": get("//directory?a=b&c=%20//x")}),
    row("redirect-encodes", "3986 2.1", get(f"/{FOLDER}/odd%20%25%3f%23"), answer(301, 308, checks=[
        header("Location", re.compile(f"(http://test)?/{FOLDER}/odd%20%25%3[fF]%23/"))])),
    row("redirect-leads-there", "9110 10.2.2", get(f"/{FOLDER}/odd%20%25%3F%23/"),
        ok(body(IDENTITY))),
    *rows("redirect-8-bit", "9110 10.2.2; 3986 2.1", answer(301, 308, checks=[
        header("Location", re.compile(f"(http://test)?/{FOLDER}/gr%C3%B6%C3%9Fe/"))]), {
        "raw": get(_raw(f"/{FOLDER}/größe")), "encoded": get(f"/{FOLDER}/gr%c3%b6%c3%9fe"),
        "absolute-form": get(_raw(f"http://test/{FOLDER}/größe"))}),
    *rows("redirect-8-bit-query", "9110 10.2.2; 3986 2.1", answer(301, 308, checks=[
        header("Location", re.compile(r"(http://test)?/directory/\?a=%C3%A4%c3&%22%FF"))]), {
        "raw": get("/directory?a=\xc3\xa4%c3&\"\xff"),
        "absolute-form": get("http://test/directory?a=\xc3\xa4%c3&\"\xff")}),
    *rows("redirect-to-no-other-host", "9110 17.9; 3986 4.2", answer(200, 301, 308, 400, 404), {
        "slashes": get("//evil.example/%2e%2e"),
        "slashes-folder": get("//evil.example/../directory"),
        "backslash": get("/%5cevil.example"), "raw-backslash": get("/\\evil.example"),
        "slash-backslash": get("//%5cevil.example"), "encoded-slash": get("/%2fevil.example/.."),
        "host-field": bare("GET /directory HTTP/1.1", "Host: evil.example"),
        "tab": get("/%09/evil.example"), "dot": get("/.//evil.example/..//directory"),
        "crlf": get("/directory%0d%0aLocation:%20http://evil.example")}),
    row("redirect-ignores-conditions", "9110 13.2.1",
        get("/directory", 'If-Match: "x"', "Range: bytes=0-1"),
        answer(301, 308)),
]


# Files: what is said about them.

TYPES = {"html": "text/html", "htm": "text/html", "css": "text/css", "js": "text/javascript",
         "mjs": "text/javascript", "txt": "text/plain", "csv": "text/csv"}
OTHER_TYPES = {"json": "application/json", "svg": r"image/svg\+xml", "png": "image/png",
               "wasm": "application/wasm", "woff2": "font/woff2", "pdf": "application/pdf",
               "xml": "(text|application)/xml.*", "nothing-known": "application/octet-stream"}
NOSNIFF = header("X-Content-Type-Options", "nosniff")

DESCRIPTIONS = [
    *[row(f"type-{suffix}", "9110 8.3; 2046 4.1.2", get(f"/{FOLDER}/kind.{suffix}"),
          ok(header("Content-Type", re.compile(f"{type_}; ?charset=utf-8", re.I)), NOSNIFF))
      for suffix, type_ in TYPES.items()],
    *[row(f"type-{suffix}", "9110 8.3", get(f"/{FOLDER}/kind.{suffix}"),
          ok(header("Content-Type", re.compile(type_)), NOSNIFF))
      for suffix, type_ in OTHER_TYPES.items()],
    row("type-none", "9110 8.3", get(f"/{FOLDER}/no-suffix"),
        ok(header("Content-Type", "application/octet-stream"), NOSNIFF)),
    row("type-upper-case", "9110 8.3", get(f"/{FOLDER}/UPPER.TXT"),
        ok(header("Content-Type", re.compile("text/plain; ?charset=utf-8")))),
    row("type-index", "9110 8.3", get("/"),
        ok(header("Content-Type", re.compile("text/html; ?charset=utf-8")), NOSNIFF)),
    row("type-of-range", "9110 15.3.7", get(PLAIN, "Range: bytes=0-3"),
        answer(206,
               checks=[header("Content-Type", re.compile("text/plain; ?charset=utf-8")), NOSNIFF])),
    row("nosniff-head", "WHATWG Fetch 3.6", head(PLAIN), ok(NOSNIFF, method="HEAD")),
    row("etag-strong", "9110 8.8.3", get(PLAIN), ok(STRONG_ETAG)),
    row("etag-strong-empty", "9110 8.8.3", get(f"/{FOLDER}/empty.txt"), ok(STRONG_ETAG, body(b""))),
    row("etag-same-again", "9110 8.8.3", get(PLAIN) + get(PLAIN), ok(), ok(same_headers_as_before)),
    row("etag-differs-by-file", "9110 8.8.3", get(PLAIN) + get("/hello.txt") + get("/"),
        ok(), ok(), ok(etag_is_new)),
    row("accept-ranges", "9110 14.3", get(PLAIN), ok(header("Accept-Ranges", "bytes"))),
    row("last-modified", "9110 8.8.2", get(PLAIN), ok(header("Last-Modified", MODIFIED))),
    *rows("date", "9110 6.6.1", answer(200, 204, 301, 304, 400, 404, 405, 412, 416, 501, 505,
                                       checks=[header("Date", re.compile(".+ GMT"))]), {
        "200": PLAINTEXT, "204": message("OPTIONS * HTTP/1.1"), "301": get("/directory"),
        "304": get(PLAIN, "If-None-Match: *"), "400": field(": x"), "400-first-byte": b"\0",
        "404": get("/no-such-file"), "405": message("PUT / HTTP/1.1"),
        "412": get(PLAIN, 'If-Match: "x"'), "416": get(PLAIN, "Range: bytes=9999-"),
        "501": message("FOO / HTTP/1.1"), "505": message("GET / HTTP/9.9")}),
]


# Conditions.

def conditional(*fields, method="GET", target=PLAIN):
    """ETAG stands for the entity tag of the file, MODIFIED and others for its dates."""
    words = {"MODIFIED": MODIFIED, "EARLIER": EARLIER, "LATER": LATER}

    def build(known):
        values = {"ETAG": known.etag(target), **words}
        pattern = re.compile("|".join(values))
        return message(f"{method} {target} HTTP/1.1", "Accept-Encoding: identity",
                       *(pattern.sub(lambda match: values[match[0]], line) for line in fields))
    return build


WHOLE = ok(body(CONTENT), STRONG_ETAG)
NOT_MODIFIED = answer(304, checks=[body(b""), STRONG_ETAG, header("Content-Type", None)], end=OPEN)
FAILED = answer(412, checks=[lacks(b"000\n")], end=OPEN)

CONDITIONS = [
    *rows("if-none-match", "9110 13.1.2", NOT_MODIFIED, {
        "same": conditional("If-None-Match: ETAG"), "weak": conditional("If-None-Match: W/ETAG"),
        "any": conditional("If-None-Match: *"),
        "list-first": conditional('If-None-Match: ETAG, "x"'),
        "list-last": conditional('If-None-Match: "x", ETAG'),
        "list-weak": conditional('If-None-Match: W/"x", W/ETAG'),
        "list-no-space": conditional('If-None-Match: "x",ETAG,"y"'),
        "list-empty-members": conditional('If-None-Match: , "x",, ETAG,'),
        "list-comma-inside": conditional('If-None-Match: "a,b", ETAG'),
        "list-tabs": conditional('If-None-Match:\t"x"\t,\tETAG\t'),
        "list-8-bit": conditional('If-None-Match: "\xe4", ETAG'),
        "lines": conditional('If-None-Match: "x"', "If-None-Match: ETAG"),
        "lines-first": conditional("If-None-Match: ETAG", 'If-None-Match: "x"'),
        "lines-three": conditional('If-None-Match: "x"', 'if-none-match: "y", "z"',
                                   "If-None-Match: ETAG"),
        "many": conditional("If-None-Match: " + '"x", ' * 500 + "ETAG"),
        "beats-earlier-date": conditional("If-None-Match: ETAG", "If-Modified-Since: EARLIER"),
        "after-match": conditional("If-Match: ETAG", "If-None-Match: ETAG"),
        "before-range": conditional("If-None-Match: ETAG", "Range: bytes=0-3"),
        "before-bad-range": conditional("If-None-Match: ETAG", "Range: bytes=9999-")}),
    *rows("if-none-match-other", "9110 13.1.2", WHOLE, {
        "other": conditional('If-None-Match: "x"'), "list": conditional('If-None-Match: "x", "y"'),
        "empty-tag": conditional('If-None-Match: ""'),
        "lower-w": conditional("If-None-Match: w/ETAG"),
        "no-quotes": conditional("If-None-Match: x"), "empty": conditional("If-None-Match:"),
        "half-quoted": conditional('If-None-Match: "x'),
        "quoted-star": conditional('If-None-Match: "*"'),
        "prefix": conditional('If-None-Match: "x-ETAG"'),
        "beats-same-date": conditional('If-None-Match: "x"', "If-Modified-Since: MODIFIED"),
        "lines-beat-date": conditional('If-None-Match: "x"', 'If-None-Match: "y"',
                                       "If-Modified-Since: MODIFIED"),
        "bad-beats-date": conditional("If-None-Match: x", "If-Modified-Since: LATER")}),
    *rows("if-match", "9110 13.1.1", WHOLE, {
        "same": conditional("If-Match: ETAG"), "any": conditional("If-Match: *"),
        "list": conditional('If-Match: "x", ETAG'),
        "list-weak-other": conditional('If-Match: W/"x", ETAG'),
        "lines": conditional('If-Match: "x"', "If-Match: ETAG"),
        "lines-first": conditional("If-Match: ETAG", 'If-Match: "x"'),
        "beats-date": conditional("If-Match: ETAG", "If-Unmodified-Since: EARLIER"),
        "any-beats-date": conditional("If-Match: *", "If-Unmodified-Since: EARLIER")}),
    *rows("if-match-fails", "9110 13.1.1, 15.5.13", FAILED, {
        "other": conditional('If-Match: "x"'), "weak": conditional("If-Match: W/ETAG"),
        "list": conditional('If-Match: "x", "y"'),
        "list-weak": conditional('If-Match: "x", W/ETAG'),
        "lines": conditional('If-Match: "x"', 'If-Match: "y"'),
        "empty-tag": conditional('If-Match: ""'), "quoted-star": conditional('If-Match: "*"'),
        "beats-good-date": conditional('If-Match: "x"', "If-Unmodified-Since: MODIFIED"),
        "before-none-match": conditional('If-Match: "x"', "If-None-Match: ETAG"),
        "before-modified-since": conditional('If-Match: "x"', "If-Modified-Since: MODIFIED"),
        "before-range": conditional('If-Match: "x"', "Range: bytes=0-3"),
        "before-bad-range": conditional('If-Match: "x"', "Range: bytes=9999-")}),
    *rows("if-match-malformed", "9110 13.1.1", answer(400, 412), {
        "empty": conditional("If-Match:"), "no-quotes": conditional("If-Match: x"),
        "half-quoted": conditional('If-Match: "x'), "no-comma": conditional('If-Match: "x" "y"')}),
    *rows("if-modified-since", "9110 13.1.3", NOT_MODIFIED, {
        "same": conditional("If-Modified-Since: MODIFIED"),
        "later": conditional("If-Modified-Since: LATER"),
        "rfc-850": conditional("If-Modified-Since: Saturday, 29-Feb-20 12:34:56 GMT"),
        "asctime": conditional("If-Modified-Since: Sat Feb 29 12:34:56 2020"),
        "asctime-one-digit": conditional("If-Modified-Since: Sun Mar  1 00:00:00 2020"),
        "rfc-850-last-century-no": conditional("If-Modified-Since: Friday, 31-Dec-21 23:59:59 GMT"),
        "after-unmodified": conditional("If-Unmodified-Since: MODIFIED",
                                        "If-Modified-Since: MODIFIED"),
        "after-match": conditional("If-Match: ETAG", "If-Modified-Since: MODIFIED"),
        "before-range": conditional("If-Modified-Since: MODIFIED", "Range: bytes=0-3"),
        "trailing-space": conditional("If-Modified-Since: MODIFIED  ")}),
    row("if-modified-since-in-the-future", "9110 13.1.3",
        conditional("If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT"), answer(200, 304)),
    *rows("if-modified-since-modified", "9110 13.1.3", WHOLE, {
        "earlier": conditional("If-Modified-Since: EARLIER"),
        "epoch": conditional("If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT"),
        "rfc-850-last-century": conditional("If-Modified-Since: Monday, 31-Dec-90 23:59:59 GMT"),
        "asctime": conditional("If-Modified-Since: Sat Feb 29 12:34:55 2020")}),
    *rows("if-modified-since-invalid", "9110 13.1.3, 5.6.7", WHOLE, {
        "empty": conditional("If-Modified-Since:"),
        "words": conditional("If-Modified-Since: today"),
        "number": conditional("If-Modified-Since: 4000000000"),
        "iso": conditional("If-Modified-Since: 2030-01-01T00:00:00Z"),
        "31-february": conditional("If-Modified-Since: Mon, 31 Feb 2022 00:00:00 GMT"),
        "hour-25": conditional("If-Modified-Since: Sat, 29 Feb 2020 25:34:56 GMT"),
        "minute-60": conditional("If-Modified-Since: Sat, 29 Feb 2020 12:60:56 GMT"),
        "month-name": conditional("If-Modified-Since: Sat, 29 Foo 2020 12:34:56 GMT"),
        "no-zone": conditional("If-Modified-Since: Sat, 29 Feb 2020 12:34:57"),
        "other-zone": conditional("If-Modified-Since: Sat, 29 Feb 2020 12:34:57 CET"),
        "list": conditional("If-Modified-Since: MODIFIED, MODIFIED"),
        "words-after": conditional("If-Modified-Since: MODIFIED; length=1000"),
        "quoted": conditional('If-Modified-Since: "MODIFIED"')}),
    *rows("if-unmodified-since", "9110 13.1.4", WHOLE, {
        "same": conditional("If-Unmodified-Since: MODIFIED"),
        "later": conditional("If-Unmodified-Since: LATER"),
        "words": conditional("If-Unmodified-Since: today"),
        "empty": conditional("If-Unmodified-Since:"),
        "list": conditional("If-Unmodified-Since: EARLIER, EARLIER"),
        "rfc-850": conditional("If-Unmodified-Since: Saturday, 29-Feb-20 12:34:56 GMT")}),
    *rows("if-unmodified-since-fails", "9110 13.1.4", FAILED, {
        "earlier": conditional("If-Unmodified-Since: EARLIER"),
        "asctime": conditional("If-Unmodified-Since: Sat Feb 29 12:34:55 2020"),
        "before-none-match": conditional("If-Unmodified-Since: EARLIER", "If-None-Match: ETAG"),
        "before-modified-since": conditional("If-Unmodified-Since: EARLIER",
                                             "If-Modified-Since: MODIFIED"),
        "before-range": conditional("If-Unmodified-Since: EARLIER", "Range: bytes=0-3")}),
    *rows("condition-head", "9110 13.2.2, 9.3.2",
          answer(304, checks=[STRONG_ETAG], end=OPEN, method="HEAD"), {
              "tag": conditional("If-None-Match: ETAG", method="HEAD"),
              "any": conditional("If-None-Match: *", method="HEAD"),
              "date": conditional("If-Modified-Since: MODIFIED", method="HEAD")}),
    row("condition-head-fails", "9110 13.2.2", conditional('If-Match: "x"', method="HEAD"),
        answer(412, method="HEAD")),
    *rows("condition-on-error", "9110 13.2.1", answer(404, 405), {
        "missing-match": get("/no-such-file", 'If-Match: "x"'),
        "missing-none-match": get("/no-such-file", "If-None-Match: *"),
        "missing-range": get("/no-such-file", "Range: bytes=0-"),
        "method-match": message("PUT /hello.txt HTTP/1.1", 'If-Match: "x"'),
        "method-none-match": message("PUT /hello.txt HTTP/1.1", "If-None-Match: *")}),
]


# Ranges.

SIZE = len(CONTENT)


def part(first, last):
    """One part, as the only one."""
    return answer(206, end=OPEN, checks=[
        body(CONTENT[first:last + 1]), header("Content-Range", f"bytes {first}-{last}/{SIZE}"),
        STRONG_ETAG, header("Content-Type", re.compile("text/plain.*"))])


def parse_parts(response):
    """(Content-Type, Content-Range, bytes) of each part of multipart/byteranges (RFC 2046, 5.1)."""
    type_ = re.fullmatch(r'multipart/byteranges; ?boundary="?([0-9A-Za-z\'()+_,./:=?-]{1,70})"?',
                         response.header("Content-Type") or "")
    _expect(type_, "not multipart/byteranges", response)
    _, *parts, end = (b"\r\n" + response.body).split(b"\r\n--" + type_[1].encode())
    _expect(end.startswith(b"--"), "no final boundary", response)
    parsed = []
    for text in parts:
        lines, _, data = text.partition(b"\r\n\r\n")
        _expect(lines.startswith(b"\r\n"), "no line end behind a boundary", response)
        fields = dict(line.lower().split(b": ", 1) for line in lines.split(b"\r\n")[1:])
        parsed.append((fields[b"content-type"], fields[b"content-range"].decode(), data))
    return parsed


def has_parts(*wanted, content=CONTENT):
    """Exactly these (first, last), in any order, each with its bytes."""
    def check(seen):
        _expect(seen[-1].header("Content-Range") is None, "Content-Range beside parts", seen[-1])
        parts = parse_parts(seen[-1])
        found = sorted((range_, data) for _, range_, data in parts)
        expected = sorted((f"bytes {first}-{last}/{len(content)}", content[first:last + 1])
                          for first, last in wanted)
        _expect(found == expected, f"parts are not {expected}", seen[-1])
    return check


def has_part_types(type_):
    def check(seen):
        types = {part_[0] for part_ in parse_parts(seen[-1])}
        _expect(types == {type_}, f"the parts are of {types}", seen[-1])
    return check


def parts_of(*wanted):
    return answer(206, end=OPEN, checks=[has_parts(*wanted), STRONG_ETAG])


def covers(*wanted):
    """206 with these bytes in whatever parts, or the whole file."""
    def check(seen):
        if seen[-1].status == 200:
            return body(CONTENT)(seen)
        if seen[-1].header("Content-Range"):
            found = [("", seen[-1].header("Content-Range"), seen[-1].body)]
        else:
            found = parse_parts(seen[-1])
        sent = set()
        for _, range_, data in found:
            first, last = map(int, re.fullmatch(r"bytes (\d+)-(\d+)/\d+", range_).groups())
            _expect(data == CONTENT[first:last + 1], f"wrong bytes in {range_}", seen[-1])
            sent |= set(range(first, last + 1))
        _expect(all(set(range(first, last + 1)) <= sent for first, last in wanted),
                f"{wanted} are not all sent", seen[-1])
    return check


UNSATISFIABLE = answer(416, end=OPEN, checks=[header("Content-Range", f"bytes */{SIZE}"),
                                              lacks(b"000\n")])


def ranges(value, *fields, target=PLAIN):
    return get(target, f"Range: bytes={value}", *fields)


RANGES = [
    *[row(f"range-{value}", "9110 14.1.2, 15.3.7.1", ranges(value), part(first, last))
      for value, first, last in (
          ("0-0", 0, 0), ("0-3", 0, 3), ("4-7", 4, 7), ("999-999", 999, 999), ("0-", 0, 999),
          ("996-", 996, 999), ("999-", 999, 999), ("-1", 999, 999), ("-4", 996, 999),
          ("-1000", 0, 999), ("-1001", 0, 999), ("-99999999999999999999999", 0, 999),
          ("0-999", 0, 999), ("0-1000", 0, 999), ("990-99999", 990, 999), ("00-03", 0, 3),
          ("5-18446744073709551615", 5, 999), ("5-18446744073709551616", 5, 999),
          ("5-18446744073709551626", 5, 999), ("5-9223372036854775807", 5, 999),
          ("-18446744073709551615", 0, 999), ("-18446744073709551617", 0, 999),
          ("0-3,", 0, 3), (",0-3", 0, 3))],
    *rows("range-unsatisfiable", "9110 14.1.2, 15.5.17", UNSATISFIABLE, {
        value: ranges(value) for value in (
            "1000-", "1000-1000", "1000-2000", "-0", "9223372036854775807-", "9223372036854775808-",
            "18446744073709551615-", "18446744073709551616-", "18446744073709551617-",
            "99999999999999999999999-99999999999999999999999", "1000-,2000-", "-0,-0")}),
    *rows("range-invalid", "9110 14.1.1, 14.2",
          answer(200, 400, 416, checks=[lacks(b"Content-Range: bytes 0")]), {
        value or "empty": ranges(value) for value in (
            "", "-", "3-0", "999-0", "a-b", "0-b", "0x0-0x3", "0--3", "--3", "+0-3", "0-+3",
            "0-3-5",
            "0-3;", "0-3x", "0 - 3", "0- 3", "0 3", "0", "*", "0-3,x", "0-3,5-4", "0.0-3", ",",
            "0-3/1000",
            "18446744073709551617-1")}),
    *rows("range-ignored", "9110 14.2", WHOLE, {
        "unit": get(PLAIN, "Range: lines=0-3"), "no-unit": get(PLAIN, "Range: 0-3"),
        "no-equals": get(PLAIN, "Range: bytes 0-3"), "nonsense": get(PLAIN, "Range: x"),
        "empty": get(PLAIN, "Range:"), "prefix": get(PLAIN, "Range: xbytes=0-3"),
        "kibibytes": get(PLAIN, "Range: kbytes=0-3")}),
    row("range-unit-has-no-case", "9110 14.1", get(PLAIN, "Range: BYTES=0-3"), part(0, 3)),
    row("range-on-head", "9110 14.2", head(PLAIN, "Range: bytes=0-3"),
        ok(header("Content-Length", str(SIZE)), header("Content-Range", None), method="HEAD")),
    row("range-on-route", "9110 14.2", get("/plaintext", "Range: bytes=0-3"), ok(HELLO_WORLD)),
    row("range-in-1.0", "9110 14.2", bare(f"GET {PLAIN} HTTP/1.0", "Range: bytes=0-3"),
        answer(206, checks=[body(CONTENT[:4])])),
    *rows("range-of-empty-file", "9110 14.1.2", answer(200, 416, checks=[lacks(b"bytes 0-")]), {
        value: ranges(value, target=f"/{FOLDER}/empty.txt") for value in ("0-0", "0-", "-1",
                                                                          "-0")}),
    *rows("range-lines", "9110 5.3, 14.2",
          answer(200, 400, 416, checks=[header("Content-Range", None)]), {
        "two": get(PLAIN, "Range: bytes=0-3", "Range: bytes=4-7"),
        "same": get(PLAIN, "Range: bytes=0-3", "Range: bytes=0-3")}),
    row("range-large-file", "9110 14.1.2", get("/20mib.bin", "Range: bytes=20971000-"),
        answer(206, checks=[body(sites.FILES["20mib.bin"][20971000:])])),
    *rows("ranges", "9110 14.6, 15.3.7.2", parts_of((0, 3), (8, 11)), {
        "plain": ranges("0-3,8-11"), "space": ranges("0-3, 8-11"), "tabs": ranges("0-3\t,\t8-11"),
        "reverse": ranges("8-11,0-3"), "empty-members": ranges(",0-3,,8-11,"),
        "one-unsatisfiable": ranges("0-3,5000-,8-11"), "suffix-zero": ranges("0-3,8-11,-0")}),
    row("ranges-suffix", "9110 14.6", ranges("0-3,-4"), parts_of((0, 3), (996, 999))),
    row("ranges-open", "9110 14.6", ranges("0-3,996-"), parts_of((0, 3), (996, 999))),
    row("ranges-of-sixteen", "9110 14.6",
        ranges(",".join(f"{n * 8}-{n * 8 + 1}" for n in range(16))),
        answer(200, 206, checks=[covers(*[(n * 8, n * 8 + 1) for n in range(16)])])),
    row("ranges-part-types", "9110 14.6", ranges("0-3,8-11"),
        answer(206, checks=[has_part_types(b"text/plain; charset=utf-8")])),
    *rows("ranges-one-left", "9110 15.3.7.2", answer(206, checks=[covers((0, 3))]), {
        "unsatisfiable": ranges("0-3,5000-"), "suffix-zero": ranges("-0,0-3")}),
    *rows("ranges-overlap", "9110 14.2, 15.3.7.2", answer(200, 206, 416, checks=[
        no_longer_than(2 * SIZE)]), {
        "same": ranges("0-3,0-3"), "overlap": ranges("0-7,4-11"), "adjacent": ranges("0-3,4-7"),
        "whole-twice": ranges("0-,0-"), "whole-and-part": ranges("0-,0-0"),
        "suffixes": ranges("-999,-998,-997")}),
    *rows("ranges-amplification", "9110 14.2, 17.15", answer(200, 206, 400, 416, 431, checks=[
        no_longer_than(4 * SIZE)]), {
        "many-bytes": ranges(",".join(f"{n}-{n}" for n in range(900))),
        "many-wholes": ranges(",".join(["0-"] * 1000)),
        "growing": ranges(",".join(f"0-{n}" for n in range(500))),
        "commas": ranges("," * 8000 + "0-3"),
        "many-unsatisfiable": ranges(",".join(["5000-"] * 1000))}),
    *rows("ranges-amplification-large", "9110 17.15", answer(200, 206, 416, checks=[
        no_longer_than(2 * sites.ONE_MIB)]), {
        "wholes": ranges(",".join(["0-"] * 10), target="/1mib.bin"),
        "halves": ranges(",".join(["0-524287"] * 10), target="/1mib.bin")}),
    row("ranges-on-head", "9110 14.2", head(PLAIN, "Range: bytes=0-3,8-11"),
        ok(header("Content-Length", str(SIZE)), method="HEAD")),
    *rows("if-range", "9110 13.1.5", part(0, 3), {
        "tag": conditional("Range: bytes=0-3", "If-Range: ETAG"),
        "tag-first": conditional("If-Range: ETAG", "Range: bytes=0-3"),
        "date": conditional("Range: bytes=0-3", "If-Range: MODIFIED"),
        "with-match": conditional("Range: bytes=0-3", "If-Range: ETAG", "If-Match: ETAG")}),
    *rows("if-range-other", "9110 13.1.5", WHOLE, {
        "tag": conditional("Range: bytes=0-3", 'If-Range: "x"'),
        "weak": conditional("Range: bytes=0-3", "If-Range: W/ETAG"),
        "earlier": conditional("Range: bytes=0-3", "If-Range: EARLIER"),
        "later": conditional("Range: bytes=0-3", "If-Range: LATER"),
        "words": conditional("Range: bytes=0-3", "If-Range: x"),
        "star": conditional("Range: bytes=0-3", "If-Range: *"),
        "list": conditional("Range: bytes=0-3", 'If-Range: ETAG, "x"'),
        "empty": conditional("Range: bytes=0-3", "If-Range:"),
        "unsatisfiable": conditional("Range: bytes=5000-", 'If-Range: "x"'),
        "several": conditional("Range: bytes=0-3,8-11", 'If-Range: "x"'),
        "without-range": conditional('If-Range: "x"'), "alone": conditional("If-Range: ETAG")}),
    row("if-range-unsatisfiable", "9110 13.1.5",
        conditional("Range: bytes=5000-", "If-Range: ETAG"),
        UNSATISFIABLE),
    row("if-range-several", "9110 13.1.5", conditional("Range: bytes=0-3,8-11", "If-Range: ETAG"),
        parts_of((0, 3), (8, 11))),
    row("if-range-after-none-match", "9110 13.2.2",
        conditional("Range: bytes=0-3", "If-Range: ETAG", "If-None-Match: ETAG"), NOT_MODIFIED),
]


# Stored variants.

BODIES = {None: IDENTITY, "gzip": GZIP, "br": BR, "zstd": ZSTD}


def coded(*names):
    """200 in one of these codings (None: none), and marked as depending on Accept-Encoding."""
    def check(seen):
        name = seen[-1].header("Content-Encoding")
        _expect(name in names, f"coding is none of {names}", seen[-1])
        _expect(seen[-1].body == BODIES[name], "body of another coding", seen[-1])
        _expect(seen[-1].header("Content-Type") == "text/html; charset=utf-8", "type", seen[-1])
    return ok(check, varies, STRONG_ETAG, NOSNIFF)


def accepting(*values, target=PAGE, method="GET", fields=()):
    return message(f"{method} {target} HTTP/1.1",
                   *(f"Accept-Encoding: {value}" for value in values), *fields)


def of_variant(coding_, *fields, method="GET"):
    """ETAG-X stands for the entity tag of the variant X."""
    def build(known):
        tags = {f"ETAG-{name}": known.etag(PAGE, name) for name in ("gzip", "br", "identity")}
        pattern = re.compile("|".join(tags))
        return accepting(coding_, method=method,
                         fields=[pattern.sub(lambda match: tags[match[0]],
                                             line) for line in fields])
    return build


ANY_CODING = (None, "gzip", "br", "zstd")

VARIANTS = [
    *[row(f"coding-of-content-{name}", "9110 12.5.3, 8.4", accepting(*values), coded(*accepted))
      for name, values, accepted in (
          ("none", (), (None,)), ("empty", ("",), (None,)), ("gzip", ("gzip",), ("gzip",)),
          ("br", ("br",), ("br",)), ("zstd", ("zstd",), ("zstd",)),
          ("identity", ("identity",), (None,)), ("other", ("compress, foo",), (None,)),
          ("x-gzip", ("x-gzip",), ("gzip",)), ("upper-case", ("GZIP",), ("gzip",)),
          ("any", ("*",), ANY_CODING),
          ("browser", ("gzip, deflate, br, zstd",), ("gzip", "br", "zstd")),
          ("q-prefers-gzip", ("br;q=0.5, gzip",), ("gzip",)),
          ("q-prefers-br", ("gzip;q=0.9, br;q=0.91",), ("br",)),
          ("q-prefers-zstd", ("gzip;q=0.001, zstd;q=0.002",), ("zstd",)),
          ("q-prefers-identity", ("gzip;q=0.5, identity",), (None,)),
          ("q-identity-less", ("gzip, identity;q=0.5",), ("gzip",)),
          ("q-zero", ("gzip;q=0",), (None,)), ("q-zero-point", ("gzip;q=0.000",), (None,)),
          ("q-zero-of-three", ("br;q=0, zstd;q=0, gzip",), ("gzip",)),
          ("q-upper-case", ("gzip;Q=0",), (None,)), ("q-spaces", ("gzip ; q=0",), (None,)),
          ("q-tab", ("br\t;\tq=0, gzip",), ("gzip",)), ("q-one", ("gzip;q=1.000",), ("gzip",)),
          ("any-but-br", ("br;q=0, *",), (None, "gzip", "zstd")),
          ("any-but-gzip-wanted", ("*;q=0, gzip;q=1",), ("gzip",)),
          ("any-low", ("*;q=0.1, gzip;q=0.5",), ("gzip",)),
          ("identity-and-no-other", ("identity, *;q=0",), (None,)),
          ("none-but-identity", ("*;q=0, identity",), (None,)),
          ("empty-members", (", gzip,, ",), ("gzip",)), ("no-spaces", ("foo,gzip,bar",), ("gzip",)),
          ("lines", ("foo", "gzip"), ("gzip",)), ("lines-first", ("gzip", "foo"), ("gzip",)),
          ("lines-q", ("br;q=0.1", "gzip;q=0.2"), ("gzip",)),
          ("lines-zero", ("br", "br;q=0, gzip"), ("br", "gzip")),
          ("prefix-is-no-match", ("gzi, gzipp, b, brr",), (None,)),
          ("long-list", (", ".join(f"x{n}" for n in range(1000)) + ", gzip",), ("gzip",)))],
    *rows("coding-of-content-malformed", "9110 12.4.2, 12.5.3",
          answer(200, 400, 406, checks=[varies]), {
        value: accepting(value) for value in (
            "gzip;q=2", "gzip;q=1.1", "gzip;q=-1", "gzip;q=", "gzip;q", "gzip;q=x", "gzip;q=0.0000",
            "gzip;q=.5", "gzip;", "gzip;a=b", ";q=1", "gzip;q=1;q=0", "gzip;q=0,5", '"gzip"',
            "gz ip", "**")}),
    *rows("coding-of-content-no-identity", "9110 12.5.3", answer(200, 406), {
        value: accepting(value, target=PLAIN) for value in (
            "identity;q=0", "*;q=0", "identity;q=0, gzip", "*;q=0, br")}),
    row("coding-of-content-no-identity-but-gzip", "9110 12.5.3", accepting("identity;q=0, gzip"),
        coded("gzip")),
    *rows("coding-of-content-not-stored", "9110 12.5.3",
          ok(body(IDENTITY), header("Content-Encoding", None)), {
        "br": accepting("br", target=f"/{FOLDER}/only-gzip.css"),
        "folder": accepting("gzip", target=f"/{FOLDER}/folder.css"),
        "fifo": accepting("gzip", target=f"/{FOLDER}/pipe.css"),
        "link-out": accepting("gzip", target=f"/{FOLDER}/escape.css")}),
    row("coding-of-content-only-gzip", "9110 12.5.3",
        accepting("br, gzip;q=0.1", target=f"/{FOLDER}/only-gzip.css"),
        ok(body(GZIP), header("Content-Encoding", "gzip"), varies)),
    row("coding-of-content-no-variants", "9110 12.5.3", accepting("gzip, br", target=PLAIN),
        ok(body(CONTENT), header("Content-Encoding", None))),
    row("coding-of-content-index", "9110 12.5.3", accepting("gzip", target=f"/{FOLDER}/home/"),
        ok(body(GZIP), header("Content-Encoding", "gzip"), varies,
           header("Content-Type", re.compile("text/html.*")))),
    *rows("coding-of-content-by-name", "9110 8.4", ok(header("Content-Encoding", None)), {
        "gz": accepting("gzip", target=f"{PAGE}.gz"),
        "tar.gz": accepting("gzip", target=f"/{FOLDER}/two.tar.gz"),
        "br": accepting("br", target=f"{PAGE}.br")}),
    row("variant-etags-differ", "9110 8.8.3.3", b"".join(accepting(name) for name in
                                                        ("identity", "gzip", "br", "zstd")),
        ok(), ok(), ok(), ok(etag_is_new)),
    row("variant-etag-same-again", "9110 8.8.3", accepting("gzip") * 2, ok(),
        ok(same_headers_as_before)),
    *rows("variant-head", "9110 9.3.2", (ok(), ok(same_headers_as_before, method="HEAD")), {
        name: accepting(name) + accepting(name, method="HEAD")
        for name in ("identity", "gzip", "br", "zstd", "*", "foo")}),
    *rows("variant-not-modified", "9110 13.1.2, 15.4.5", answer(304, checks=[varies, STRONG_ETAG]),
          {
        "gzip": of_variant("gzip", "If-None-Match: ETAG-gzip"),
        "br": of_variant("br", "If-None-Match: ETAG-br"),
        "identity": of_variant("identity", "If-None-Match: ETAG-identity"),
        "list": of_variant("gzip", "If-None-Match: ETAG-identity, ETAG-gzip"),
        "any": of_variant("gzip", "If-None-Match: *")}),
    *rows("variant-other-tag", "9110 13.1.2, 8.8.3.3", coded("gzip"), {
        "identity": of_variant("gzip", "If-None-Match: ETAG-identity"),
        "br": of_variant("gzip", "If-None-Match: W/ETAG-br")}),
    row("variant-other-tag-for-identity", "9110 13.1.2",
        of_variant("identity", "If-None-Match: ETAG-gzip"),
        coded(None)),
    row("variant-match", "9110 13.1.1", of_variant("gzip", "If-Match: ETAG-gzip"), coded("gzip")),
    row("variant-match-fails", "9110 13.1.1", of_variant("gzip", "If-Match: ETAG-identity"),
        answer(412, checks=[header("Content-Encoding", None)])),
    *rows("variant-range", "9110 14.2, 8.4", answer(206, checks=[
        body(GZIP[2:6]), header("Content-Range", f"bytes 2-5/{len(GZIP)}"),
        header("Content-Encoding", "gzip"), varies, STRONG_ETAG]), {
        "plain": of_variant("gzip", "Range: bytes=2-5"),
        "if-range": of_variant("gzip", "Range: bytes=2-5", "If-Range: ETAG-gzip")}),
    row("variant-range-of-identity", "9110 14.2", accepting("foo", fields=["Range: bytes=2-5"]),
        answer(206, checks=[body(IDENTITY[2:6]), header("Content-Encoding", None), varies])),
    row("variant-range-other-tag", "9110 13.1.5",
        of_variant("gzip", "Range: bytes=2-5", "If-Range: ETAG-identity"), coded("gzip")),
    row("variant-range-unsatisfiable", "9110 15.5.17",
        accepting("gzip", fields=["Range: bytes=5000-"]),
        answer(416,
               checks=[header("Content-Range", f"bytes */{len(GZIP)}"),
                       header("Content-Encoding", None)])),
    row("variant-ranges", "9110 14.6", accepting("gzip", fields=["Range: bytes=0-1,4-5"]),
        answer(206,
               checks=[has_parts((0, 1), (4, 5), content=GZIP),
                       header("Content-Encoding", "gzip")])),
]

# Found wrong by this table, and mended since.

MENDED = [
    # A chunk's data must end with CRLF; here any two bytes do.
    *rows("open-chunk-end", "9112 7.1, 11.2", refused(400), {
        "two-bytes": hello_chunk(end="xx"), "lf-cr": hello_chunk(end="\n\r"),
        "lf-lf": hello_chunk(end="\n\n"), "cr-cr": hello_chunk(end="\r\r"),
        "nul": hello_chunk(end="\0\0"), "space-lf": hello_chunk(end=" \n"),
        "second": post_chunks(b"1\r\na\r\n1\r\nbxx0\r\n\r\n")}),
    row("open-chunk-end-smuggles", "9112 11.2", hello_chunk(end="xx") + SMUGGLED, refused(400)),
    # What arrives while the last answer is sent makes the kernel reset the connection.
    row("open-close-on-file", "9112 9.6", get("/20mib.bin", "Connection: close"),
        ok(body(sites.FILES["20mib.bin"]), end=CLOSED)),
    # Date comes from a tick, Last-Modified from the clock.
    row("open-last-modified-not-in-the-future", "9110 8.8.2.1", get(f"/{FOLDER}/future.txt"),
        ok(header("Last-Modified", re.compile(".+")))),
    # Only the bytes of Host are checked, not its grammar.
    *rows("open-host-invalid", "9112 3.2; 3986 3.2", answer(400), {
        value: host(value) for value in (
            "test:x", "test:80:80", "test:-1", "test:+80", "a:b:c", "[::1", "::1", "::1]", "[]",
            "[::1]x", "[::1]80", "[::1]:x", "[g::1]", "[1.2.3.4]", "[::1::2]", "[1:2:3]", "[:::]",
            "te[st", "te]st", "[[::1]]", "[12345::1]", "%", "%4", "%zz", "test%", "user:word:80")}),
    *rows("open-absolute-form-bad", "9110 4.2.1; 3986 3.2", answer(400), {
        value: message(f"GET http://{value}/plaintext HTTP/1.1")
        for value in ("test:x", "test:80:80", "te[st", "[::1", "[]", "[::1]x", "te%zzst")}),
    # An https resource must not be served in the clear: 421.
    row("open-absolute-form-https", "9110 7.4", message("GET https://test/plaintext HTTP/1.1"),
        answer(400, 421)),
    # Several lines of a field that is no list: the first one is used.
    *rows("open-if-modified-since-lines", "9110 13.1.3", WHOLE, {
        "same": conditional("If-Modified-Since: MODIFIED", "If-Modified-Since: MODIFIED"),
        "differ": conditional("If-Modified-Since: MODIFIED", "If-Modified-Since: EARLIER")}),
    *rows("open-if-unmodified-since-lines", "9110 13.1.4", WHOLE, {
        "same": conditional("If-Unmodified-Since: EARLIER", "If-Unmodified-Since: EARLIER"),
        "differ": conditional("If-Unmodified-Since: EARLIER", "If-Unmodified-Since: LATER")}),
    row("open-if-range-lines", "9110 13.1.5, 5.3",
        conditional("Range: bytes=0-3", "If-Range: ETAG", 'If-Range: "x"'), WHOLE),
    # HEAD is answered with a body when the fault is in the request line.
    *rows("open-head-refused", "9110 9.3.2", answer(400, 505, end=CLOSED, method="HEAD"), {
        "version": message("HEAD /plaintext HTTP/9.9"),
        "version-malformed": message("HEAD /plaintext HTTP/x"),
        "target": message("HEAD /plain text HTTP/1.1")}),
]

CHAPTERS = {
    "request-line": REQUEST_LINE, "methods": METHODS, "fields": FIELDS, "hosts": HOSTS, "limits": LIMITS,
    "lengths": LENGTHS, "codings": CODINGS, "chunks": CHUNKS, "connections": CONNECTIONS, "expectations": EXPECTATIONS,
    "names": NAMES, "descriptions": DESCRIPTIONS, "conditions": CONDITIONS, "ranges": RANGES, "variants": VARIANTS,
    "mended": MENDED,
}
CASES = [case for chapter in CHAPTERS.values() for case in chapter]
