"""What is not HTTP/1.1: the bytes that a client sends, and the statuses with which a server may refuse them. The
connection ends with that."""

HOST = b"Host: test\r\n"


def line(first, rest=HOST):
    return first + b"\r\n" + rest + b"\r\n"


def field(*fields):
    return line(b"GET /plaintext HTTP/1.1", HOST + b"".join(f + b"\r\n" for f in fields))


def post(fields, body=b""):
    return line(b"POST /echo HTTP/1.1", HOST + b"".join(f + b"\r\n" for f in fields)) + body


def chunks(body):
    return post([b"Transfer-Encoding: chunked"], body)


BAD = (400,)
UNKNOWN = (501,)
VERSION = (505,)

CASES = {
    # The request line.
    "binary": (b"\x00\x01\x02\x03\r\n\r\n", BAD),
    "tls-hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", BAD),
    "text": (b"hello there, server\r\n\r\n", (400, 501)),
    "method-alone": (line(b"GET"), BAD),
    "no-version": (line(b"GET /"), (400, 505)),
    "no-target": (line(b"GET HTTP/1.1"), BAD),
    "target-with-space": (line(b"GET /a b HTTP/1.1"), BAD),
    "target-with-tab": (line(b"GET /a\tb HTTP/1.1"), BAD),
    "target-with-nul": (line(b"GET /a\x00b HTTP/1.1"), BAD),
    "target-with-control": (line(b"GET /a\x01b HTTP/1.1"), BAD),
    "target-with-delete": (line(b"GET /a\x7fb HTTP/1.1"), BAD),
    "target-without-slash": (line(b"GET plaintext HTTP/1.1"), BAD),
    "target-is-query": (line(b"GET ?a HTTP/1.1"), BAD),
    "connect": (line(b"CONNECT test:80 HTTP/1.1"), (400, 405, 501)),
    "lower-case-method": (line(b"get / HTTP/1.1"), (400, 501)),
    "unknown-method": (line(b"FOO / HTTP/1.1"), UNKNOWN),
    "longer-known-method": (line(b"GETX / HTTP/1.1"), (400, 501)),
    "method-with-delimiter": (line(b"G@T / HTTP/1.1"), (400, 501)),
    "tab-after-method": (line(b"GET\t/ HTTP/1.1"), (400, 501)),
    "space-before-method": (line(b" GET / HTTP/1.1"), BAD),
    "version-9.9": (line(b"GET / HTTP/9.9"), VERSION),
    "version-2.0": (line(b"GET / HTTP/2.0"), VERSION),
    "version-0.9": (line(b"GET / HTTP/0.9"), (400, 505)),
    "http-2-preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 501, 505)),
    "version-two-digits": (line(b"GET / HTTP/1.10"), (400, 505)),
    "version-cut": (line(b"GET / HTTP/1"), (400, 505)),
    "version-letters": (line(b"GET / HTTP/x.y"), (400, 505)),
    "version-lower-case": (line(b"GET / http/1.1"), (400, 505)),
    "other-protocol": (line(b"GET / HTTPS/1.1"), (400, 505)),
    "ice": (line(b"GET / ICE/1.0"), (400, 505)),
    "rtsp": (line(b"GET / RTSP/1.0"), (400, 505)),
    "words-after-version": (line(b"GET / HTTP/1.1 now"), BAD),
    "bare-lf-everywhere": (b"GET / HTTP/1.1\nHost: test\n\n", BAD),
    "bare-lf-after-line": (b"GET / HTTP/1.1\nHost: test\r\n\r\n", BAD),
    "bare-cr-after-line": (b"GET / HTTP/1.1\rHost: test\r\n\r\n", BAD),
    # Header fields.
    "space-before-colon": (field(b"A : b"), BAD),
    "host-space-before-colon": (line(b"GET / HTTP/1.1", b"Host : test\r\n"), BAD),
    "tab-before-colon": (field(b"A\t: b"), BAD),
    "folded-with-space": (field(b"A: b\r\n c"), BAD),
    "folded-with-tab": (field(b"A: b\r\n\tc"), BAD),
    "first-field-folded": (line(b"GET / HTTP/1.1", b" A: b\r\n" + HOST), BAD),
    "empty-name": (field(b": b"), BAD),
    "no-colon": (field(b"A"), BAD),
    "space-in-name": (field(b"A B: c"), BAD),
    "delimiter-in-name": (field(b"A(B): c"), BAD),
    "quote-in-name": (field(b'"A": c'), BAD),
    "control-in-name": (field(b"A\x01B: c"), BAD),
    "nul-in-name": (field(b"A\x00B: c"), BAD),
    "8-bit-name": (field(b"A\xe4: c"), BAD),
    "nul-in-value": (field(b"A: b\x00c"), BAD),
    "control-in-value": (field(b"A: b\x01c"), BAD),
    "delete-in-value": (field(b"A: b\x7fc"), BAD),
    "bare-cr-in-value": (field(b"A: b\rc"), BAD),
    "bare-lf-after-value": (line(b"GET / HTTP/1.1", HOST + b"A: b\nB: c\r\n"), BAD),
    "bare-lf-at-the-end": (b"GET / HTTP/1.1\r\nHost: test\r\n\n", BAD),
    "bare-cr-before-field": (line(b"GET / HTTP/1.1", HOST + b"\rA: b\r\n"), BAD),
    "bare-cr-smuggles-a-request":
        (b"GET / HTTP/1.1\r\nHost: test\r\n\rGET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n", BAD),
    # Host.
    "no-host": (line(b"GET / HTTP/1.1", b""), BAD),
    "two-hosts": (line(b"GET / HTTP/1.1", HOST + HOST), BAD),
    "two-different-hosts": (line(b"GET / HTTP/1.1", HOST + b"Host: other\r\n"), BAD),
    "host-with-space": (line(b"GET / HTTP/1.1", b"Host: a b\r\n"), BAD),
    "host-with-slash": (line(b"GET / HTTP/1.1", b"Host: a/b\r\n"), BAD),
    "host-with-user": (line(b"GET / HTTP/1.1", b"Host: user@a\r\n"), BAD),
    # Where the body ends.
    "length-word": (post([b"Content-Length: abc"]), BAD),
    "length-empty": (post([b"Content-Length: "]), BAD),
    "length-negative": (post([b"Content-Length: -1"]), BAD),
    "length-plus": (post([b"Content-Length: +1"], b"a"), BAD),
    "length-hexadecimal": (post([b"Content-Length: 0x1"], b"a"), BAD),
    "length-two-words": (post([b"Content-Length: 1 1"], b"a"), BAD),
    "length-fraction": (post([b"Content-Length: 1.0"], b"a"), BAD),
    "length-list": (post([b"Content-Length: 1, 2"], b"ab"), BAD),
    "length-overflow": (post([b"Content-Length: 99999999999999999999"]), (400, 413)),
    "length-wraps-to-one": (post([b"Content-Length: 18446744073709551617"], b"a"), (400, 413)),
    "lengths-differ": (post([b"Content-Length: 1", b"Content-Length: 2"], b"ab"), BAD),
    "lengths-on-get-differ": (field(b"Content-Length: 1", b"Content-Length: 2"), BAD),
    "length-then-chunked":
        (post([b"Content-Length: 5", b"Transfer-Encoding: chunked"], b"0\r\n\r\n"), BAD),
    "chunked-then-length":
        (post([b"Transfer-Encoding: chunked", b"Content-Length: 5"], b"0\r\n\r\n"), BAD),
    "coding-unknown": (post([b"Transfer-Encoding: xchunked"], b"0\r\n\r\n"), (400, 501)),
    "coding-gzip": (post([b"Transfer-Encoding: gzip"]), (400, 501)),
    "coding-gzip-chunked": (post([b"Transfer-Encoding: gzip, chunked"], b"0\r\n\r\n"), UNKNOWN),
    "coding-chunked-gzip": (post([b"Transfer-Encoding: chunked, gzip"], b"0\r\n\r\n"),
                            (400, 501)),
    "coding-chunked-twice": (post([b"Transfer-Encoding: chunked, chunked"], b"0\r\n\r\n"),
                             (400, 501)),
    "coding-identity": (post([b"Transfer-Encoding: identity"]), (400, 501)),
    "coding-empty": (post([b"Transfer-Encoding: "]), (400, 501)),
    "coding-vertical-tab": (post([b"Transfer-Encoding: \x0bchunked"], b"0\r\n\r\n"), (400, 501)),
    "coding-in-http-1.0":
        (line(b"POST /echo HTTP/1.0", HOST + b"Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n",
         BAD),
    # Chunks.
    "chunk-size-word": (chunks(b"g\r\nx\r\n0\r\n\r\n"), BAD),
    "chunk-size-negative": (chunks(b"-1\r\nx\r\n0\r\n\r\n"), BAD),
    "chunk-size-prefix": (chunks(b"0x1\r\nx\r\n0\r\n\r\n"), BAD),
    "chunk-size-empty": (chunks(b"\r\nx\r\n0\r\n\r\n"), BAD),
    "chunk-size-with-space": (chunks(b" 1\r\nx\r\n0\r\n\r\n"), BAD),
    "chunk-size-overflow": (chunks(b"fffffffffffffffff\r\nx\r\n"), (400, 413)),
    "chunk-size-then-lf": (chunks(b"1\nx\r\n0\r\n\r\n"), BAD),
    "chunk-data-too-long": (chunks(b"1\r\nxx\r\n0\r\n\r\n"), BAD),
    "chunk-data-then-lf": (chunks(b"1\r\nx\n0\r\n\r\n"), BAD),
    "chunk-extension-with-lf": (chunks(b"1;a\nb\r\nx\r\n0\r\n\r\n"), BAD),
    "chunk-extension-with-cr": (chunks(b"1;a\rb\r\nx\r\n0\r\n\r\n"), BAD),
    "chunk-extension-with-nul": (chunks(b"1;a\x00b\r\nx\r\n0\r\n\r\n"), BAD),
    "trailer-space-before-colon": (chunks(b"1\r\nx\r\n0\r\nA : b\r\n\r\n"), BAD),
    "trailer-without-colon": (chunks(b"1\r\nx\r\n0\r\nA\r\n\r\n"), BAD),
    "trailer-with-nul": (chunks(b"1\r\nx\r\n0\r\nA: \x00\r\n\r\n"), BAD),
}
