"""What people really run: clients and proxies of other projects, from Debian's packages, before the servers.

A client is a row of a table: what it is called, and its command for a task. They come with the group clients of
.ci/install-packages; whose program is missing is skipped. Only Chromium does not: it weighs as much as a Debian.
"""

import getpass
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from urllib.parse import quote

import pytest

from support import models, processes, server as servers, site as sites
from support.client import Client
from support.waiting import wait_until

PATIENCE_S = 90
FOLDER, NAME = "grüße", "ναι-€.txt"
CONTENT = "Grüße\n".encode()
LARGE, LARGE_CONTENT = "/20mib.bin", sites.FILES["20mib.bin"]
UPLOAD = random.Random(3).randbytes(sites.ONE_MIB // 2)
TOO_LARGE = b"x" * (10 * sites.ONE_MIB)  # ten times max_body_bytes
# How long the server waits for a client that is refused and stops in the middle of what it sends: a busy machine may
# stop it for a while.
LINGER = ("--linger-timeout-ms", "30000")
SHORT_LINGER = ("--linger-timeout-ms", "8000")
EACH = pytest.mark.models(models.EACH_KIND)
BOTH = pytest.mark.models(models.ONE_OF_EACH_BINARY)


def environment():
    """Without proxies of this machine, and without anybody's settings."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")} | {
        "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}


def need(*programs):
    for program in programs:
        if not shutil.which(program, path=environment()["PATH"]):
            pytest.skip(f"{program} is not installed: .ci/install-packages clients")


def run(*command, cwd=None, **more_environment):
    """What the command prints; it must end well."""
    need(command[0])
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, timeout=PATIENCE_S,
                          stdin=subprocess.DEVNULL, env=environment() | more_environment, check=False)
    assert done.returncode == 0, f"{command[0]}: {done.returncode} {done.stdout[-500:]} {done.stderr[-500:]}"
    return done.stdout


@pytest.fixture
def server_options(request):
    """Slow tests are about senders that take longer than the server waits."""
    return SHORT_LINGER if request.node.get_closest_marker("slow") else LINGER


@pytest.fixture(scope="module", autouse=True)
def names(site):
    (site / FOLDER).mkdir()
    for name in (NAME, "index.html"):
        (site / FOLDER / name).write_bytes(CONTENT)


@pytest.fixture
def start_logging(start_server, tmp_path):
    """A server with an access log, and what gives the statuses of the requests for a path."""
    def start(model, root):
        log = tmp_path / "access.log"
        server = start_server(model, "--access-log", str(log), root=root)

        def statuses(path):
            line = re.compile(rf'"GET {re.escape(path)} HTTP/1\.[01]" (\d+) ')
            return [int(status) for status in line.findall(log.read_text())]
        return server, statuses
    return start


# ---- Clients that fetch a file ----

# Node takes a path's bytes as characters, of which there are 256.
NODE_GET = """
const [, base, path] = process.argv[1].match(/^(http:..[^/]+)(.*)$/);
const {hostname, port} = new URL(base);
require("http").get({hostname, port, path: Buffer.from(path).toString("latin1")}, answer => {
  process.exitCode = answer.statusCode == 200 ? 0 : 1;
  answer.pipe(process.stdout);
});
"""
PYTHON_GET = """
import http.client, sys
_, _, address, path = sys.argv[1].split("/", 3)
connection = http.client.HTTPConnection(address)
connection._encode_request = str.encode
connection.request("GET", "/" + path)
answer = connection.getresponse()
sys.stdout.buffer.write(answer.read())
sys.exit(answer.status != 200)
"""
PHP_GET = '($in = fopen($argv[1], "r")) && fpassthru($in) !== false || exit(1);'
LFTP = "set net:max-retries 1; set net:timeout 30; "


def fill_in(command, url, file):
    return [part.replace("@URL", url).replace("@FILE", str(file)) for part in command]


@dataclass(frozen=True)
class Fetcher:
    """How a program fetches a URL: @URL and @FILE in its command stand for these. Without @FILE the content is what it
    prints."""
    name: str
    command: tuple
    wants_uri: bool = False  # what it makes of other bytes is no request
    follows: bool = True  # redirects

    def __str__(self):
        return self.name

    def fetch(self, url, file):
        url = quote(url, safe=":/?&=") if self.wants_uri else url
        output = run(*fill_in(self.command, url, file))
        return file.read_bytes() if file.exists() else output


FETCHERS = [
    Fetcher("curl", ("curl", "--fail", "--silent", "--show-error", "--location", "@URL")),
    Fetcher("curl-1.0", ("curl", "--fail", "--silent", "--http1.0", "--path-as-is", "--location", "@URL")),
    Fetcher("wget", ("wget", "--quiet", "--tries=1", "--output-document=-", "@URL")),
    Fetcher("lftp", ("lftp", "-c", LFTP + "get1 '@URL' -o @FILE")),
    Fetcher("axel", ("axel", "--quiet", "--num-connections=1", "--output", "@FILE", "@URL"), wants_uri=True),
    Fetcher("node", ("node", "-e", NODE_GET, "@URL"), follows=False),
    Fetcher("php", ("php", "-r", PHP_GET, "@URL")),
    Fetcher("python", (sys.executable, "-c", PYTHON_GET, "@URL"), follows=False),
]
each_fetcher = pytest.mark.parametrize("fetcher", FETCHERS, ids=str)


@each_fetcher
def test_names_in_utf_8(server, fetcher, tmp_path):
    """In path and query, as they are where the client sends them so."""
    assert fetcher.fetch(f"{server.url}/{FOLDER}/{NAME}?q=ä&x=ü", tmp_path / "file") == CONTENT


@BOTH
@pytest.mark.parametrize("fetcher", [fetcher for fetcher in FETCHERS if fetcher.follows], ids=str)
def test_redirect_to_a_name_in_utf_8(server, fetcher, tmp_path):
    assert fetcher.fetch(f"{server.url}/{FOLDER}?q=ä", tmp_path / "file") == CONTENT


@BOTH
@each_fetcher
def test_large_file(server, fetcher, tmp_path):
    assert fetcher.fetch(server.url + LARGE, tmp_path / "file") == LARGE_CONTENT


# ---- Clients that ask for parts ----

PART_FETCHERS = [
    Fetcher("axel-4", ("axel", "--quiet", "--num-connections=4", "--output", "@FILE", "@URL")),
    Fetcher("lftp-pget-4", ("lftp", "-c", LFTP + "pget -n 4 '@URL' -o @FILE")),
]
RESUMERS = [
    Fetcher("curl", ("curl", "--fail", "--silent", "--continue-at", "-", "--output", "@FILE", "@URL")),
    Fetcher("wget", ("wget", "--quiet", "--continue", "--output-document", "@FILE", "@URL")),
    Fetcher("lftp", ("lftp", "-c", LFTP + "get1 -c '@URL' -o @FILE")),
]


@EACH
@pytest.mark.parametrize("fetcher", PART_FETCHERS, ids=str)
def test_download_in_parts(model, start_logging, site, fetcher, tmp_path):
    server, statuses = start_logging(model, site)
    assert fetcher.fetch(server.url + LARGE, tmp_path / "file") == LARGE_CONTENT
    wait_until(lambda: statuses(LARGE).count(206) >= 3, "each part is in the log")


@EACH
@pytest.mark.parametrize("fetcher", RESUMERS, ids=str)
def test_download_goes_on(model, start_logging, site, fetcher, tmp_path):
    server, statuses = start_logging(model, site)
    file = tmp_path / "file"
    file.write_bytes(LARGE_CONTENT[:7_654_321])
    assert fetcher.fetch(server.url + LARGE, file) == LARGE_CONTENT
    wait_until(lambda: 206 in statuses(LARGE), "the part is in the log")


@EACH
def test_zsync(model, start_logging, tmp_path):
    """It has an older version, and fetches what differs: many ranges in a request."""
    need("zsyncmake", "zsync")
    root = tmp_path / "www"
    root.mkdir()
    new = bytearray(random.Random(4).randbytes(2 * sites.ONE_MIB))
    (root / "file.bin").write_bytes(new)
    run("zsyncmake", "-b", "2048", "-u", "file.bin", "-o", root / "file.bin.zsync", root / "file.bin")
    old = new[:]
    for at in range(10_000, len(old), 50_000):
        old[at:at + 10] = b"x" * 10
    (tmp_path / "old").write_bytes(old)
    server, statuses = start_logging(model, root)
    run("zsync", "-q", "-i", tmp_path / "old", "-o", tmp_path / "file", f"{server.url}/file.bin.zsync", cwd=tmp_path)
    assert (tmp_path / "file").read_bytes() == new
    wait_until(lambda: statuses("/file.bin"), "it is in the log")
    assert set(statuses("/file.bin")) == {206}


# ---- Clients that send ----

NODE_POST = """
const request = require("http").request(process.argv[1], {method: "POST"}, answer => {
  process.stdout.write(answer.statusCode + "\\n");
  answer.pipe(process.stdout);
});
require("fs").createReadStream(process.argv[2]).pipe(request);
"""
PYTHON_POST = """
import http.client, sys, time
_, _, address, path = sys.argv[1].split("/", 3)
content, pieces, interval_s = open(sys.argv[2], "rb").read(), int(sys.argv[3]), float(sys.argv[4])
size = -(-len(content) // pieces)

def body():
    for at in range(0, len(content), size):
        time.sleep(interval_s)
        yield content[at:at + size]

connection = http.client.HTTPConnection(address)
connection._encode_request = str.encode
connection.request("POST", "/" + path, body(), {} if "chunked" in sys.argv else {"Content-Length": str(len(content))})
answer = connection.getresponse()
sys.stdout.buffer.write(b"%d\\n%s" % (answer.status, answer.read()))
"""
PHP_POST = """
$options = ["method" => "POST", "content" => file_get_contents($argv[2]), "ignore_errors" => true,
            "header" => "Content-Type: application/octet-stream"];
$content = file_get_contents($argv[1], false, stream_context_create(["http" => $options]));
echo explode(" ", $http_response_header[0])[1], "\\n", $content;
"""
def curl_post(*options):
    script = 'curl --silent --show-error --output - --write-out "%{stderr}%{http_code}" "$@" 2>status >body && ' \
             "cat status && echo && cat body"
    return ("sh", "-c", script, "sh", *options, "@URL")


@dataclass(frozen=True)
class Sender:
    """How a program posts the content of @FILE to @URL, and prints the status and, below it, the answer."""
    name: str
    command: tuple

    def __str__(self):
        return self.name

    def send(self, url, content, folder):
        (folder / "content").write_bytes(content)
        output = run(*fill_in(self.command, url, folder / "content"), cwd=folder)
        status, _, body = output.partition(b"\n")
        return int(status), body


BINARY = ("--data-binary", "@@FILE")
SENDERS = [
    Sender("curl", curl_post(*BINARY)),
    Sender("curl-expecting", curl_post(*BINARY, "--header", "Expect: 100-continue")),
    Sender("curl-not-expecting", curl_post(*BINARY, "--header", "Expect:")),
    Sender("curl-chunked", curl_post(*BINARY, "--header", "Transfer-Encoding: chunked")),
    Sender("curl-1.0", curl_post(*BINARY, "--http1.0")),
    Sender("node", ("node", "-e", NODE_POST, "@URL", "@FILE")),
    Sender("php", ("php", "-r", PHP_POST, "@URL", "@FILE")),
    Sender("python", (sys.executable, "-c", PYTHON_POST, "@URL", "@FILE", "1", "0")),
    Sender("python-chunked", (sys.executable, "-c", PYTHON_POST, "@URL", "@FILE", "9", "0", "chunked")),
]
# For longer than the server waits without a byte; they read when they have sent everything.
SLOW_SENDERS = [
    Sender("python", (sys.executable, "-c", PYTHON_POST, "@URL", "@FILE", "40", "0.3")),
    Sender("python-chunked", (sys.executable, "-c", PYTHON_POST, "@URL", "@FILE", "40", "0.3", "chunked")),
    Sender("curl", curl_post(*BINARY, "--header", "Expect:", "--limit-rate", "4M")),
]


@BOTH
@pytest.mark.parametrize("sender", SENDERS, ids=str)
def test_upload(server, sender, tmp_path):
    assert sender.send(f"{server.url}/echo?ä", UPLOAD, tmp_path) == (200, UPLOAD)


@EACH
@pytest.mark.parametrize("sender", SENDERS, ids=str)
def test_upload_that_is_too_large(server, sender, tmp_path):
    """Refused at once, and still every client gets the answer, however much it sends before it reads."""
    assert sender.send(f"{server.url}/echo", TOO_LARGE, tmp_path)[0] == 413


@BOTH
@pytest.mark.slow
@pytest.mark.parametrize("sender", SLOW_SENDERS, ids=str)
def test_slow_upload_that_is_too_large(server, sender, tmp_path):
    assert sender.send(f"{server.url}/echo", TOO_LARGE, tmp_path)[0] == 413


# ---- Load generators ----

def test_ab(server):
    report = run("ab", "-q", "-n", "200", "-c", "4", "-k", f"{server.url}/{FOLDER}/{NAME}?ä").decode()
    counts = {name: int(count) for name, count in re.findall(r"^([A-Z][\w -]+): +(\d+)$", report, re.M)}
    assert counts["Complete requests"] == 200
    assert counts["Failed requests"] == 0
    assert counts["Keep-Alive requests"] == 200
    assert "Non-2xx responses" not in counts


def test_httperf(server):
    host, port = server.address
    report = run("httperf", "--hog", f"--server={host}", f"--port={port}", f"--uri=/{FOLDER}/{NAME}?ä",
                 "--num-conns=20", "--num-calls=10").decode()
    assert "Reply status: 1xx=0 2xx=200 3xx=0 4xx=0 5xx=0" in report
    assert "Errors: total 0 " in report


# ---- Programs that use HTTP for something ----

def test_git_clone(model, start_server, tmp_path):
    """The dumb protocol: files, and a redirect that git takes for a no."""
    git = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_TERMINAL_PROMPT": "0",
           **{f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}}
    work, root = tmp_path / "work", tmp_path / "www"
    run("git", "init", "-q", work, **git)
    for number in range(5):
        (work / "file").write_text(f"{number}\n" * 1000)
        run("git", "add", "file", cwd=work, **git)
        run("git", "commit", "-q", "-m", f"commit {number}", cwd=work, **git)
    run("git", "clone", "-q", "--bare", work, root / "größe.git", **git)
    run("git", "gc", "-q", cwd=root / "größe.git", **git)
    run("git", "update-server-info", cwd=root / "größe.git", **git)
    server = start_server(model, root=root)
    run("git", "clone", "-q", f"{server.url}/größe.git", tmp_path / "clone", **git)
    run("git", "fsck", "--strict", cwd=tmp_path / "clone", **git)
    assert run("git", "log", "--format=%H", cwd=tmp_path / "clone", **git) == \
        run("git", "log", "--format=%H", cwd=work, **git)


def build_package(folder, content):
    """A package of Debian's with this content; returns its file."""
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text("Package: example\nVersion: 1\nArchitecture: all\n"
                                             "Maintainer: a <a@example.org>\nDescription: example\n")
    (tree / "content").write_bytes(content)
    run("dpkg-deb", "-Znone", "--root-owner-group", "--build", tree, folder / "example_1_all.deb")
    return folder / "example_1_all.deb"


def own_apt(folder, url):
    """An apt that knows this one archive, and nothing of this machine; returns the file of its configuration."""
    for name in ("lists/partial", "archives/partial", "empty"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(f"deb [trusted=yes] {url} ./\n")
    settings = {"Dir::Etc": folder / "empty", "Dir::Etc::SourceList": folder / "sources.list",
                "Dir::Etc::SourceParts": "-", "Dir::State::Lists": folder / "lists",
                "Dir::State::Status": folder / "status", "Dir::Cache": folder, "Dir::Cache::Archives": "archives",
                "Dir::Log": folder, "APT::Sandbox::User": "root", "APT::Get::AllowUnauthenticated": "true",
                "Acquire::Languages": "none", "Debug::NoLocking": "true"}
    (folder / "apt.conf").write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()) +
                                     "#clear APT::Update::Post-Invoke;\n#clear DPkg::Post-Invoke;\n")
    return folder / "apt.conf"


@EACH
def test_apt_resumes(model, start_logging, tmp_path):
    """An archive of ours, and half of a package from an attempt before: apt asks for the rest, If-Range by date."""
    need("apt-get", "dpkg-deb")
    root, apt = tmp_path / "www", tmp_path / "apt"
    root.mkdir()
    package = build_package(root, random.Random(5).randbytes(3 * sites.ONE_MIB))
    content = package.read_bytes()
    (root / "Packages").write_text(
        "Package: example\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: example\n"
        f"Filename: ./{package.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n")
    os.utime(package, (1_500_000_000, 1_500_000_000))
    server, statuses = start_logging(model, root)
    config = own_apt(apt, server.url)
    partial = apt / "archives" / "partial" / package.name
    partial.write_bytes(content[:len(content) // 2])
    os.utime(partial, (1_500_000_000, 1_500_000_000))
    run("apt-get", "-q", "-c", config, "update", APT_CONFIG=str(config))
    run("apt-get", "-q", "-y", "-c", config, "--download-only", "install", "example", APT_CONFIG=str(config))
    assert (apt / "archives" / package.name).read_bytes() == content
    wait_until(lambda: statuses(f"/./{package.name}"), "it is in the log")
    assert statuses(f"/./{package.name}") == [206]


CHROMIUM = next((name for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)), None)


@EACH
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: 300 MB are too much for a test")
def test_chromium(model, start_server, tmp_path):
    root = tmp_path / "www"
    (root / "größe").mkdir(parents=True)
    (root / "größe" / "€.html").write_text('<!doctype html><meta charset="utf-8"><p id="p"></p><script src="ä.js?ö"></script>')
    (root / "größe" / "ä.js").write_text('document.getElementById("p").textContent = "loaded";')
    server = start_server(model, root=root)
    page = run(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
               "--dump-dom", f"{server.url}/größe/€.html?ü", HOME=str(tmp_path))
    assert b'<p id="p">loaded</p>' in page


# ---- Proxies in front ----

NGINX = """
user {user}; daemon off; pid {folder}/pid; error_log {folder}/error; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off; client_max_body_size 0;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream server {{ server {host}:{port}; keepalive 4; }}
  server {{
    listen 127.0.0.1:{own_port};
    location / {{ proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""
HAPROXY = """
defaults
  mode http
  timeout connect 20s
  timeout client 20s
  timeout server 20s
  option http-keep-alive
  http-reuse always
  option accept-invalid-http-request
frontend f
  bind 127.0.0.1:{own_port}
  default_backend b
backend b
  server s {host}:{port}
"""


@dataclass(frozen=True)
class Proxy:
    """A program that stands before {host}:{port}; its command and its file of settings know {folder} and {own_port}."""
    name: str
    command: tuple
    settings: str = ""

    def __str__(self):
        return self.name


PROXIES = [
    Proxy("nginx", ("nginx", "-c", "{folder}/settings", "-e", "{folder}/error"), NGINX),
    Proxy("haproxy", ("haproxy", "-db", "-f", "{folder}/settings"), HAPROXY),
    Proxy("varnish", ("varnishd", "-F", "-j", "none", "-n", "{folder}/varnish", "-a", "127.0.0.1:{own_port}",
                      "-b", "{host}:{port}", "-s", "malloc,64m", "-p", "vsl_space=1M")),
]


@pytest.fixture
def start_proxy(tmp_path):
    started = []

    def start(proxy, server):
        need(proxy.command[0])
        own_port = servers.quiet_port()
        facts = {"folder": tmp_path, "user": getpass.getuser(), "own_port": own_port, "host": server.address[0], "port": server.address[1]}
        (tmp_path / "settings").write_text(proxy.settings.format(**facts))
        with open(tmp_path / "output", "wb") as output:
            started.append(subprocess.Popen([part.format(**facts) for part in proxy.command], stdin=subprocess.DEVNULL,
                                            stdout=output, stderr=output, env=environment(), start_new_session=True))

        def answers():
            assert started[-1].poll() is None, (tmp_path / "output").read_text(errors="replace")
            try:
                with Client(("127.0.0.1", own_port)) as client:
                    return client.get("/plaintext").status == 200
            except OSError:
                return False
        wait_until(answers, f"{proxy} answers", PATIENCE_S, 0.05)
        return "127.0.0.1", own_port

    yield start
    for process in started:
        process.terminate()
        process.wait(PATIENCE_S)
        processes.kill_session(process.pid)


RAW_TARGET = f"/{FOLDER}/{NAME}?ä".encode().decode("latin-1")


def check_answers(client):
    """On one connection, which stays open."""
    hello = client.get("/hello.txt")
    assert (hello.status, hello.body) == (200, sites.HELLO)
    assert client.get(RAW_TARGET).body == CONTENT
    assert client.get("/hello.txt", [("If-None-Match", hello.header("ETag"))]).status == 304
    assert client.get("/hello.txt", [("If-Modified-Since", hello.header("Last-Modified"))]).status == 304
    assert client.request("HEAD", "/hello.txt").header("Content-Length") == str(len(sites.HELLO))
    part = client.get("/hello.txt", [("Range", "bytes=6-9")])
    assert (part.status, part.body) == (206, sites.HELLO[6:10])
    assert client.get("/no-such-file").status == 404
    assert client.get(f"/{FOLDER}".encode().decode("latin-1")).header("Location") == quote(f"/{FOLDER}/")
    assert client.request("POST", "/echo", [("Content-Type", "a/b")], UPLOAD).body == UPLOAD
    assert client.request("POST", "/echo", body=b"").status == 200
    assert client.request("PUT", "/hello.txt", body=b"x").status == 405
    assert client.get(LARGE).body == LARGE_CONTENT
    assert client.get("/empty.txt").body == b""
    assert client.get("/plaintext").body == b"Hello, World!"


def check_nothing_is_kept(client):
    """What changes is asked for anew, although the proxy keeps files."""
    counter = "/counter?mode=atomic&cell=shared&n=1"
    first, second = client.get(counter), client.get(counter)
    assert first.body != second.body
    assert all(answer.header("Age") in (None, "0") for answer in (first, second))


@EACH
@pytest.mark.parametrize("proxy", PROXIES, ids=str)
def test_behind_a_proxy(model, start_server, start_proxy, proxy):
    server = start_server(model, *LINGER)
    address = start_proxy(proxy, server)
    with Client(address, timeout_s=PATIENCE_S) as client:
        check_answers(client)
        check_nothing_is_kept(client)
    with Client(address, timeout_s=PATIENCE_S) as client:
        client.send_reluctantly(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % len(TOO_LARGE) +
                                TOO_LARGE)
        assert client.read_response().status == 413
    # Few connections carried all that.
    assert server.status()["totals"]["connections_accepted"] < 20
