"""Static files: content, names, conditionals, ranges, and no way out of the document root."""

import ctypes
import gzip
import os
import tempfile
import time
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path

import pytest

from support import models, site as sites
from support.client import request_bytes
from support.restless_writer import restless_writer
from support.waiting import wait_until

pytestmark = pytest.mark.models(models.PROTOCOL)

HELLO = sites.HELLO
LONG_AGO = formatdate(0, usegmt=True)
TRUSTED_DATE_S = 5  # a date that is younger may stand for two versions
FAR_FUTURE = "Fri, 01 Jan 2100 00:00:00 GMT"


@pytest.fixture
def new_file(site, request, tmp_path):
    """Writes a file of this test's own into the document root; returns its path and target."""
    def write(content):
        path = site / f"{tmp_path.name}.bin"
        path.write_bytes(content)
        request.addfinalizer(path.unlink)
        return path, f"/{path.name}"
    return write


@pytest.mark.parametrize("target, name, content_type", [
    ("/", "index.html", "text/html"),
    ("/index.html", "index.html", "text/html"),
    ("/directory/", "directory/index.html", "text/html"),
    ("/directory/inner.txt", "directory/inner.txt", "text/plain"),
    ("/hello.txt", "hello.txt", "text/plain"),
    ("/hello.txt?query=ignored", "hello.txt", "text/plain"),
    ("/%68ello.txt", "hello.txt", "text/plain"),
    ("/with%20space.txt", "with space.txt", "text/plain"),
    ("/./hello.txt", "hello.txt", "text/plain"),
    ("/directory/../hello.txt", "hello.txt", "text/plain"),
    ("/inside.txt", "hello.txt", "text/plain"),
    ("/empty.txt", "empty.txt", "text/plain"),
    ("/style.css", "style.css", "text/css"),
    ("/script.js", "script.js", "text/javascript"),
    ("/data.json", "data.json", "application/json"),
    ("/picture.svg", "picture.svg", "image/svg+xml"),
    ("/picture.png", "picture.png", "image/png"),
    ("/blob.unknown-extension", "blob.unknown-extension", "application/octet-stream"),
    ("/1mib.bin", "1mib.bin", "application/octet-stream"),
    ("/20mib.bin", "20mib.bin", "application/octet-stream"),
])
def test_files(client, target, name, content_type):
    response = client.get(target)
    assert response.status == 200
    assert response.body == sites.FILES[name]
    assert response.header("Content-Length") == str(len(sites.FILES[name]))
    assert response.header("Content-Type").split(";")[0] == content_type
    assert response.header("ETag").startswith('"')
    assert response.header("Accept-Ranges") == "bytes"
    modified = parsedate_to_datetime(response.header("Last-Modified"))
    assert modified <= parsedate_to_datetime(response.header("Date"))
    head = client.request("HEAD", target)
    assert (head.status, head.header("Content-Length")) == (200, str(len(sites.FILES[name])))


@pytest.mark.parametrize("target, location", [
    ("/directory", "/directory/"),
    ("/directory?a=b&c", "/directory/?a=b&c"),
    ("/%64irectory", "/directory/"),
])
def test_a_directory_without_its_slash_is_redirected(client, target, location):
    response = client.get(target)
    assert response.status in (301, 308)
    assert response.header("Location").removeprefix("http://test") == location


def test_a_redirect_never_names_another_host(client):
    location = client.get("//directory").header("Location")
    assert location is None or not location.startswith("//")


@pytest.mark.parametrize("target", [
    "/no-such-file", "/directory/no-such-file", "/no-such-directory/", "/hello.txt/",
    "/hello.txt/more", "/fifo", "/no-index/",
    pytest.param("/" + "x" * 300, id="long-name"), pytest.param("/" + "x/" * 2000, id="deep"),
])
def test_what_is_not_there(client, target):
    assert client.get(target).status in (403, 404)
    assert client.get("/plaintext").status == 200


@pytest.mark.parametrize("target", [
    "/.hidden", "/%2ehidden", "/.git/config", "/.git/", "/.git", "/directory/../.hidden",
])
def test_hidden_files(client, target):
    response = client.get(target)
    assert response.status in (403, 404)
    assert b"hidden" not in response.body


@pytest.mark.parametrize("target", [
    "/../secret.txt", "/../../../../../../etc/passwd", "/directory/../../secret.txt",
    "/./../secret.txt", "//../secret.txt", "/..//secret.txt", "/%2e%2e/secret.txt",
    "/.%2e/secret.txt", "/%2e./secret.txt", "/%2E%2E/secret.txt", "/..%2fsecret.txt",
    "/..%2Fsecret.txt", "/%2e%2e%2fsecret.txt", "/directory%2f..%2f..%2fsecret.txt",
    "/..%5csecret.txt", "/..\\secret.txt", "/%252e%252e/secret.txt", "/%c0%ae%c0%ae/secret.txt",
    "/%e0%80%ae%e0%80%ae/secret.txt", "/..;/secret.txt", "/...//secret.txt",
    "/escape/secret.txt", "/escape.txt", "/escape/www/hello.txt", "/escape/../secret.txt",
    "//etc/passwd", "/%2fetc/passwd", "/hello.txt%00.html", "/..%00/secret.txt",
    "http://test/../secret.txt", "/proc/self/environ", "/hello.txt/../../secret.txt",
])
def test_no_way_out_of_the_document_root(client, target):
    client.send(f"GET {target} HTTP/1.1\r\nHost: test\r\n\r\n".encode("latin-1"))
    response = client.read_response()
    assert response.status in (400, 403, 404)
    assert sites.SECRET not in response.body
    assert b"root:" not in response.body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_other_methods(client, method):
    response = client.request(method, "/hello.txt", body=b"x")
    assert response.status == 405
    allowed = {word.strip() for word in response.header("Allow").split(",")}
    assert {"GET", "HEAD"} <= allowed
    assert method not in allowed


# Conditionals: ETAG and MODIFIED stand for what the server said before.

@pytest.mark.parametrize("headers, status", [
    ({"If-None-Match": "ETAG"}, 304),
    ({"If-None-Match": "W/ETAG"}, 304),
    ({"If-None-Match": '"other", ETAG'}, 304),
    ({"If-None-Match": "*"}, 304),
    ({"If-None-Match": '"other"'}, 200),
    ({"If-Modified-Since": "MODIFIED"}, 304),
    ({"If-Modified-Since": FAR_FUTURE}, 304),
    ({"If-Modified-Since": LONG_AGO}, 200),
    ({"If-Modified-Since": "not a date"}, 200),
    ({"If-None-Match": '"other"', "If-Modified-Since": "MODIFIED"}, 200),
    ({"If-None-Match": "ETAG", "If-Modified-Since": LONG_AGO}, 304),
    ({"If-Match": "ETAG"}, 200),
    ({"If-Match": '"other", ETAG'}, 200),
    ({"If-Match": "*"}, 200),
    ({"If-Match": '"other"'}, 412),
    ({"If-Match": "W/ETAG"}, 412),
    ({"If-Match": "ETAG", "If-None-Match": "ETAG"}, 304),
    ({"If-Unmodified-Since": "MODIFIED"}, 200),
    ({"If-Unmodified-Since": LONG_AGO}, 412),
    ({"If-Match": "ETAG", "If-Unmodified-Since": LONG_AGO}, 200),
])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditionals(client, method, headers, status):
    known = client.get("/hello.txt")
    etag, modified = known.header("ETag"), known.header("Last-Modified")
    sent = [(name, value.replace("ETAG", etag).replace("MODIFIED", modified))
            for name, value in headers.items()]
    response = client.request(method, "/hello.txt", sent)
    assert response.status == status
    if status in (200, 304):
        assert response.header("ETag") == etag
    if status == 200 and method == "GET":
        assert response.body == HELLO
    assert client.get("/plaintext").body == b"Hello, World!", "304 carries no stray body"


@pytest.mark.parametrize("range_, status, start, end", [
    ("bytes=0-0", 206, 0, 0),
    ("bytes=0-4", 206, 0, 4),
    ("bytes=5-", 206, 5, len(HELLO) - 1),
    ("bytes=-3", 206, len(HELLO) - 3, len(HELLO) - 1),
    ("bytes=-9999", 206, 0, len(HELLO) - 1),
    ("bytes=3-9999", 206, 3, len(HELLO) - 1),
    ("bytes=3-99999999999999999999999", 206, 3, len(HELLO) - 1),
    ("bytes=0-17", 206, 0, 17),
    ("bytes=18-", 416, None, None),
    ("bytes=18-20", 416, None, None),
    ("bytes=99999999999999999999999-", 416, None, None),
    ("bytes=-0", 416, None, None),
    ("bytes=4-2", 200, None, None),
    ("bytes=a-b", 200, None, None),
    ("bytes=", 200, None, None),
    ("bytes=-", 200, None, None),
    ("lines=0-4", 200, None, None),
    ("nonsense", 200, None, None),
])
def test_ranges(client, range_, status, start, end):
    response = client.get("/hello.txt", [("Range", range_)])
    if status == 200:  # a Range that makes no sense is ignored, or refused
        assert response.status in (200, 416)
        assert response.status == 416 or response.body == HELLO
        return
    assert response.status == status
    if status == 416:
        assert response.header("Content-Range") == f"bytes */{len(HELLO)}"
    else:
        assert response.header("Content-Range") == f"bytes {start}-{end}/{len(HELLO)}"
        assert response.body == HELLO[start:end + 1]


@pytest.mark.parametrize("if_range, status", [
    ("ETAG", 206), ('"other"', 200), ("W/ETAG", 200), (LONG_AGO, 200),
])
def test_if_range(client, if_range, status):
    etag = client.get("/hello.txt").header("ETag")
    headers = [("Range", "bytes=0-4"), ("If-Range", if_range.replace("ETAG", etag))]
    assert client.get("/hello.txt", headers).status == status


def test_a_range_of_a_large_file(client):
    response = client.get("/20mib.bin", [("Range", "bytes=10000000-12000000")])
    assert response.body == sites.FILES["20mib.bin"][10000000:12000001]


def test_a_range_of_an_empty_file(client):
    assert client.get("/empty.txt", [("Range", "bytes=0-0")]).status in (200, 416)


def test_a_range_that_fails_its_condition(client):
    headers = [("Range", "bytes=0-4"), ("If-None-Match", "*")]
    assert client.get("/hello.txt", headers).status == 304


# Files that change.

def test_a_replaced_file_is_seen_at_once(client, new_file, tmp_path):
    path, target = new_file(b"first version")
    for version in (b"other content", b"other length of content", b"third version"):
        old = client.get(target)
        replacement = path.with_name(path.name + ".new")
        replacement.write_bytes(version)
        os.rename(replacement, path)
        new = client.get(target)
        assert new.body == version
        assert new.header("ETag") != old.header("ETag")


def test_a_rewritten_file_is_seen_at_once(client, new_file):
    path, target = new_file(b"version 0")
    for number in range(1, 20):
        old = client.get(target)
        path.write_bytes(b"version %d" % number)
        new = client.get(target)
        assert new.body == b"version %d" % number
        assert new.header("ETag") != old.header("ETag")


def test_every_worker_sees_a_new_file(server, new_file):
    clients = [server.connect() for _ in range(16)]
    path, target = new_file(b"old")
    for content in (b"old", b"new", b"newest"):
        path.write_bytes(content)
        assert {client.get(target).body for client in clients} == {content}
    for client in clients:
        client.close()


@pytest.mark.parametrize("way", ["rewrite", "append", "truncate", "rename"])
def test_a_file_that_is_written_all_the_time(server, new_file, way):
    """As a status file or a log: it is served as it is at some moment, and never refused."""
    path, target = new_file(b"%08d" % 0)
    with restless_writer(way, path):
        clients = [server.connect() for _ in range(4)]
        for _ in range(250):
            for client in clients:
                response = client.get(target)
                assert response.status == 200
                assert len(response.body) % 8 == 0 and response.body.strip(b"0123456789") == b""
                assert response.body or way == "truncate"
    for client in clients:
        client.close()


def test_a_file_that_has_less_than_its_size(model, start_server):
    """Those of sysfs claim to have a page."""
    folder = Path("/sys/kernel")
    found = [path for path in folder.iterdir() if path.is_file() and os.access(path, os.R_OK)
             and path.stat().st_size > 100 and path.stat().st_mode & 0o444]
    if not found:
        pytest.skip("no such file")
    server = start_server(model, root=folder)
    for path in found[:3]:
        try:
            path.read_bytes()
        except OSError:
            continue

        def is_served():
            content = path.read_bytes()
            response = server.get(f"/{path.name}")
            assert response.status == 200
            # The kernel counts in some of them, and may have done so meanwhile.
            assert response.body == content or path.read_bytes() != content
            return response.body == content
        wait_until(is_served, f"{path} is served as it is")


def test_a_removed_file_is_gone_at_once(client, site, tmp_path):
    path = site / f"{tmp_path.name}.txt"
    path.write_bytes(b"here")
    assert client.get(f"/{path.name}").status == 200
    path.unlink()
    assert client.get(f"/{path.name}").status == 404
    path.write_bytes(b"again")
    assert client.get(f"/{path.name}").body == b"again"
    path.unlink()


def dates(server, target, connections=8):
    """Last-Modified as several workers tell it; never later than Date."""
    found = set()
    for _ in range(connections):
        response = server.get(target)
        modified = response.header("Last-Modified")
        assert parsedate_to_datetime(modified) <= parsedate_to_datetime(response.header("Date"))
        found.add(modified)
    return found


def test_last_modified_is_the_same_in_every_worker(server, new_file):
    """However soon after the change a worker has opened the file, and whenever."""
    path, target = new_file(b"new")
    found = set()
    wait_until(lambda: found.update(dates(server, target)) or time.time() > path.stat().st_mtime + 2.5,
               "the file is not new any more")
    assert found == {formatdate(int(path.stat().st_mtime), usegmt=True)}


def test_date_has_reached_what_has_just_been_written(client, new_file):
    """Date comes from a tick: behind the begin of a second it may be of the one before."""
    path, target = new_file(b"0")
    start = int(time.time())

    def write_and_ask():
        path.write_bytes(b"%.6f" % time.time())
        response = client.get(target)
        modified = parsedate_to_datetime(response.header("Last-Modified"))
        assert modified <= parsedate_to_datetime(response.header("Date"))
        return time.time() > start + 2.2
    wait_until(write_and_ask, "two seconds have begun")


@pytest.mark.parametrize("ahead_s", [3600, 10**9])
def test_a_time_in_the_future_is_not_told(server, new_file, ahead_s):
    path, target = new_file(b"from the future")
    os.utime(path, (time.time() + ahead_s,) * 2)
    start = path.stat().st_ctime
    found = set()
    wait_until(lambda: found.update(dates(server, target)) or time.time() > start + 1.5, "a second later")
    assert found == {formatdate(int(start), usegmt=True)}
    with server.connect() as client:
        tell = client.get(target).header
        assert client.get(target, [("If-Modified-Since", tell("Last-Modified"))]).status == 304
        assert client.get(target, [("If-Modified-Since", LONG_AGO)]).status == 200
        by_date = [("Range", "bytes=0-3"), ("If-Range", tell("Last-Modified"))]
        assert client.get(target, by_date).status == 200, "the date is not the file's"


@pytest.mark.parametrize("age_s", [0, 1, 2])
def test_two_versions_of_one_second_are_not_mixed(server, new_file, age_s):
    """A client that continues by date what it has of the first version gets the whole of the second."""
    second = int(time.time()) - age_s
    path, target = new_file(b"first version")
    os.utime(path, ns=(second * 10**9 + 1,) * 2)
    modified = server.get(target).header("Last-Modified")
    path.write_bytes(b"other content")
    os.utime(path, ns=(second * 10**9 + 2,) * 2)
    for _ in range(8):
        response = server.get(target, [("Range", "bytes=5-"), ("If-Range", modified)])
        if time.time() >= second + TRUSTED_DATE_S:
            break  # a machine as slow as that proves nothing
        assert (response.status, response.body) == (200, b"other content")


def test_an_old_file_is_continued_by_date(server, new_file):
    path, target = new_file(b"long there")
    os.utime(path, (10**9, 10**9))
    modified = server.get(target).header("Last-Modified")
    for date, status in ((modified, 206), (formatdate(10**9 - 1, usegmt=True), 200),
                         (formatdate(10**9 + 1, usegmt=True), 200)):
        assert server.get(target, [("Range", "bytes=5-"), ("If-Range", date)]).status == status


def test_equal_copies_have_equal_tags(model, start_server, tmp_path):
    """On two hosts: a client keeps what it has from either. Large files were copied with their times."""
    tags = []
    for replica in (1, 2):
        root = tmp_path / f"{replica}"
        root.mkdir()
        (root / "other").write_bytes(b"takes an inode")
        for name in ("large.txt", "large.txt.br", "small.txt", "small.txt.br", "page.txt"):
            (root / name).write_bytes(TEXT[:5000] if "small" in name else TEXT)
            os.utime(root / name, ns=(10**18 * (replica if "small" in name else 1) + 123456789,) * 2)
        server = start_server(model, "--gzip", "on", root=root)
        tags.append([server.get(f"/{name}.txt", [("Accept-Encoding", coding)]).header("ETag")
                     for name in ("large", "small", "page") for coding in ("identity", "br", "gzip")])
    assert tags[0] == tags[1]
    assert not any(tag.startswith("W/") for tag in tags[0])
    for plain, brotli in (tags[0][0:2], tags[0][3:5]):
        assert plain != brotli
    assert tags[0][6] == tags[0][7] != tags[0][8], "there is no page.txt.br"


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_tag_names_one_content(server, new_file, size):
    """However quickly a file is written: small ones are told by content, large ones by time, or weakly."""
    path, target = new_file(b"x" * size)
    contents = {}
    for number in range(200):
        with open(path, "r+b") as file:
            file.write(b"%08d" % number)
        response = server.get(target)
        if response.header("ETag").startswith('"'):
            contents.setdefault(response.header("ETag"), set()).add(response.body)
    assert all(len(bodies) == 1 for bodies in contents.values())
    assert len(contents) == 200 or size > 10
    wait_until(lambda: server.get(target).header("ETag").startswith('"'), "it is settled")


def test_what_tags_are_made_of(model, start_server, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"same")
        os.utime(tmp_path / name, (10**9, 10**9))
    by_inode = start_server(model, "--etag", "inode", root=tmp_path)
    tags = [by_inode.get(target).header("ETag") for target in ("/a", "/b")]
    assert tags[0] != tags[1] and f"{(tmp_path / 'a').stat().st_ino:x}-" in tags[0]
    without = start_server(model, "--etag", "off", root=tmp_path)
    response = without.get("/a")
    assert response.header("ETag") is None
    modified = [("If-Modified-Since", response.header("Last-Modified"))]
    assert without.get("/a", modified).status == 304
    assert without.get("/a", [("If-None-Match", tags[0]), *modified]).status == 200
    assert without.get("/a", [("If-None-Match", "*")]).status == 304
    assert without.get("/a", [("If-Match", tags[0])]).status == 412
    assert without.get("/a", [("Range", "bytes=1-"), ("If-Range", tags[0])]).status == 200
    assert without.get("/a", [("Range", "bytes=1-")]).body == b"ame"


@pytest.fixture
def any_time(tmp_path):
    """A folder on a file system that keeps any 64 bits of seconds."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


EXTREMES = {
    "lowest": (-2**63, None), "half": (-2**62, None), "milliseconds-end": (-2**63 // 1000 - 1, None),
    "year-0": (-62135596801, None), "year-1": (-62135596800, "Mon, 01 Jan 0001 00:00:00 GMT"),
    "1969": (-1, "Wed, 31 Dec 1969 23:59:59 GMT"), "1970": (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
    "year-9999": (253402300799, "future"), "year-10000": (253402300800, "future"),
    "milliseconds-more": (2**63 // 1000 + 1, "future"), "more": (2**62, "future"),
    "highest": (2**63 - 1, "future"),
}


def test_extreme_times(model, start_server, any_time):
    libc = ctypes.CDLL(None, use_errno=True)
    for name, (seconds, _) in EXTREMES.items():
        (any_time / name).write_bytes(TEXT[:500])
        times = (ctypes.c_long * 4)(seconds, 999_999_999, seconds, 999_999_999)
        assert libc.utimensat(-100, os.fsencode(any_time / name), times, 0) == 0
    server = start_server(model, "--gzip", "on", root=any_time)
    tags = set()
    for name, (_, date) in EXTREMES.items():
        response = server.get(f"/{name}")
        modified = response.header("Last-Modified")
        assert response.body == TEXT[:500]
        tags.add(response.header("ETag"))
        if date != "future":
            assert modified == date, name
        elif modified is not None:
            assert parsedate_to_datetime(modified) <= parsedate_to_datetime(response.header("Date"))
        for field in ("If-Modified-Since", "If-Unmodified-Since", "If-Range"):
            for value in (LONG_AGO, FAR_FUTURE, "Mon, 01 Jan 0001 00:00:00 GMT",
                          "Fri, 31 Dec 9999 23:59:59 GMT", "Friday, 31-Dec-99 23:59:59 GMT"):
                headers = [(field, value), ("Range", "bytes=0-3"), *ACCEPT_GZIP]
                assert server.get(f"/{name}", headers).status in (200, 206, 304, 412)
    assert len(tags) == 1, "they have one content"


def test_a_file_that_shrinks_while_it_is_sent(server, new_file):
    """The connection closes early: a length that was promised is kept, or the response is cut."""
    content = sites.FILES["20mib.bin"]
    path, target = new_file(content)
    with server.connect(receive_buffer_bytes=4096) as client:
        client.send(request_bytes(target=target))
        start = client.read_exactly(1000)
        os.truncate(path, 1000)
        received = start + client.read_to_end()
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(content) in head
    assert len(body) < len(content)
    assert server.get("/plaintext").status == 200


def test_a_client_that_leaves_in_the_middle_of_a_file(server):
    for _ in range(10):
        with server.connect(receive_buffer_bytes=4096) as client:
            client.send(request_bytes(target="/20mib.bin"))
            client.read_exactly(1000)
    assert server.get("/hello.txt").body == HELLO


def test_pipelined_files_stay_in_order(client):
    names = ["20mib.bin", "hello.txt", "empty.txt", "1mib.bin", "hello.txt"]
    client.send(b"".join(request_bytes(target=f"/{name}") for name in names))
    for name in names:
        assert client.read_response().body == sites.FILES[name]


def test_names_that_are_not_utf8(client, site):
    path = os.fsencode(site) + b"/latin-\xe4.txt"
    with open(path, "wb") as file:
        file.write(b"latin")
    try:
        assert client.get("/latin-%e4.txt").body == b"latin"
    finally:
        os.unlink(path)


TEXT = b"".join(b"line %d of a text that is worth it\n" % i for i in range(3000))
ACCEPT_GZIP = [("Accept-Encoding", "gzip")]


@pytest.fixture
def gzip_client(model, start_server):
    with start_server(model, "--gzip", "on").connect() as client:
        yield client


@pytest.fixture(params=[500, 10_000, len(TEXT)])
def new_text(site, request, tmp_path):
    path = site / f"{tmp_path.name}.txt"
    path.write_bytes(TEXT[:request.param])
    os.utime(path, (10**9, 10**9))
    request.addfinalizer(path.unlink)
    return path, f"/{path.name}"


def test_gzip_on_the_fly(gzip_client, new_text):
    path, target = new_text
    plain = gzip_client.get(target)
    packed = gzip_client.get(target, ACCEPT_GZIP)
    assert plain.body == path.read_bytes() == gzip.decompress(packed.body)
    assert len(packed.body) < len(plain.body)
    assert plain.header("Content-Encoding") is None
    assert packed.header("Content-Encoding") == "gzip"
    assert plain.header("Vary") == packed.header("Vary") == "Accept-Encoding"
    assert plain.header("Content-Type") == packed.header("Content-Type")
    assert plain.header("ETag") != packed.header("ETag")
    head = gzip_client.request("HEAD", target, ACCEPT_GZIP)
    assert head.lasting_headers == packed.lasting_headers and not head.body


def test_gzip_has_validators_and_ranges_of_its_own(gzip_client, new_text):
    _, target = new_text
    plain = gzip_client.get(target)
    packed = gzip_client.get(target, ACCEPT_GZIP)
    for response in (plain, packed):
        tag = ("If-None-Match", response.header("ETag"))
        assert gzip_client.get(target, [tag, *ACCEPT_GZIP]).status == (304 if response is packed
                                                                      else 200)
        assert gzip_client.get(target, [tag]).status == (304 if response is plain else 200)
    part = gzip_client.get(target, [("Range", "bytes=10-19"), *ACCEPT_GZIP])
    assert (part.status, part.body) == (206, packed.body[10:20])
    assert part.header("Content-Range") == f"bytes 10-19/{len(packed.body)}"
    parts = gzip_client.get(target, [("Range", "bytes=0-3,20-29"), *ACCEPT_GZIP])
    assert parts.status == 206
    assert packed.body[:4] in parts.body and packed.body[20:30] in parts.body


def decoded(response):
    packed = response.header("Content-Encoding") == "gzip"
    return gzip.decompress(response.body) if packed else response.body


def test_gzip_follows_the_file(gzip_client, new_text):
    path, target = new_text
    gzip_client.get(target, ACCEPT_GZIP)
    for content in (TEXT[:700][::-1], TEXT[:701]):
        path.write_bytes(content)
        assert decoded(gzip_client.get(target, ACCEPT_GZIP)) == content
        path.write_bytes(content[::-1])  # maybe within one tick of the file system's clock
        assert decoded(gzip_client.get(target, ACCEPT_GZIP)) == content[::-1]
        # A file that has just changed is not compressed: it may be about to change again.
        wait_until(lambda: gzip_client.get(target, ACCEPT_GZIP).header("Content-Encoding"), "gzip")
        assert decoded(gzip_client.get(target, ACCEPT_GZIP)) == content[::-1]


def test_gzip_leaves_alone_what_does_not_suit(gzip_client):
    for target in ("/hello.txt", "/1mib.bin", "/picture.png", "/plaintext"):
        response = gzip_client.get(target, ACCEPT_GZIP)
        assert response.header("Content-Encoding") is response.header("Vary") is None, target


def test_gzip_is_off_by_default(client, new_text):
    _, target = new_text
    response = client.get(target, ACCEPT_GZIP)
    assert response.header("Content-Encoding") is response.header("Vary") is None
