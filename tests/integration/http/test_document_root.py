"""The document root while it changes, and where the kernel does not help to stay beneath it."""

import errno
import os
import pwd
import shutil
import signal
import socket
import threading
from pathlib import Path

import pytest

from support import models, site as sites
from support.client import request_bytes
from support.no_openat2 import refuse_openat2
from support.waiting import wait_until

ROOT_ONLY = pytest.mark.skipif(os.getuid() != 0, reason="only root can change users")
USER = pwd.getpwnam("nobody")
PROTOCOL = pytest.mark.models(models.PROTOCOL)
ONE_OF_EACH_BINARY = pytest.mark.models(models.ONE_OF_EACH_BINARY)
FILES = 5  # of a release, each with the release's name


@pytest.fixture
def releases(tmp_path):
    """A function that makes releases/NAME; returns its path."""
    def make(name):
        path = tmp_path / "releases" / name
        (path / "assets").mkdir(parents=True)
        for number in range(FILES):
            (path / "assets" / f"{number}.txt").write_text(f"release {name}\n")
        (path / "index.html").write_text(f"<title>{name}</title>")
        (path / f"only-{name}.txt").write_text(name)
        (path / "large.bin").write_bytes(sites.FILES["20mib.bin"] if name == "1" else name.encode())
        return path
    return make


def switch(link, target):
    """As ln -sfn and a rename do it: at no time there is no link."""
    new = link.with_name(link.name + ".new")
    new.symlink_to(target)
    new.rename(link)


def answers(server, target, connections=12):
    """What several connections, and so several workers, get."""
    found = set()
    for _ in range(connections):
        response = server.get(target)
        found.add(response.body.decode() if response.status == 200 else response.status)
    return found


def wait_for(server, target, answer):
    wait_until(lambda: answers(server, target) == {answer}, f"every worker answers {answer!r}")


def open_files(server):
    """What the serving processes have open."""
    found = []
    for pid in server.worker_pids():
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                found.append(os.readlink(link))
            except FileNotFoundError:
                pass
    return found


def wait_until_left(server, tree):
    """A few answers from the new tree are no proof: each process looks for itself, twice a second."""
    wait_until(lambda: not any(f"/releases/{tree}" in name for name in open_files(server)),
               f"no process has anything of tree {tree} open")


def test_a_link_that_is_switched(model, start_server, releases, tmp_path):
    link = tmp_path / "current"
    first, second = releases("1"), releases("2")
    switch(link, first)
    # So that a slow machine cuts neither who does not read for a while, nor who asks late.
    server = start_server(model, "--send-timeout-ms", "600000", "--min-send-bytes-per-s", "0",
                          "--header-timeout-ms", "600000", root=link)
    assert answers(server, "/assets/0.txt") == {"release 1\n"}
    with server.connect(receive_buffer_bytes=65536) as downloading, server.connect() as client:
        downloading.send(request_bytes(target="/large.bin"))
        downloading.socket.recv(1, socket.MSG_PEEK)
        switch(link, second)
        wait_for(server, "/assets/0.txt", "release 2\n")
        wait_until(lambda: client.get("/assets/1.txt").body == b"release 2\n",
                   "a connection that was open before")
        wait_for(server, "/only-1.txt", 404)
        wait_for(server, "/only-2.txt", "2")
        wait_until(lambda: server.get("/large.bin").body == b"2", "the new large file")
        under_way = downloading.read_response()
        assert under_way.body == sites.FILES["20mib.bin"], "it goes on from the old file"
    switch(link, first)
    wait_for(server, "/assets/0.txt", "release 1\n")


def test_nothing_of_the_old_tree_stays_open(model, start_server, releases, tmp_path):
    """Not even in a worker that nobody asks for anything: it could not be removed, or unmounted."""
    link = tmp_path / "current"
    switch(link, releases("1"))
    server = start_server(model, root=link)
    for number in range(FILES):
        answers(server, f"/assets/{number}.txt")
    assert any("/releases/1" in name for name in open_files(server))
    switch(link, releases("2"))
    wait_until_left(server, "1")


@pytest.mark.models(models.SUPERVISED)
def test_a_process_that_starts_later(model, start_server, releases, tmp_path):
    """The master has the old directory still: what it starts must not serve that for a moment."""
    link = tmp_path / "current"
    switch(link, releases("1"))
    server = start_server(model, root=link)
    switch(link, releases("2"))
    wait_for(server, "/assets/0.txt", "release 2\n")
    former = server.worker_pids()
    for pid in former:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(set(server.worker_pids()) - set(former)) == model.processes, "all are replaced")
    assert answers(server, "/assets/0.txt") == {"release 2\n"}


@PROTOCOL
def test_each_answer_is_of_one_tree(model, start_server, releases, tmp_path):
    """While it is switched to and fro: length, validators and content belong together."""
    link = tmp_path / "current"
    trees = [releases("1"), releases("a-longer-name")]
    for tree in trees:
        (tree / "file.txt").write_text(tree.name)
        (tree / "file.txt.gz").write_text(f"{tree.name}, packed")
    switch(link, trees[0])
    server = start_server(model, root=link)
    enough = threading.Event()

    def switch_all_the_time():
        for number in range(10**6):
            if enough.wait(0.05):
                break
            switch(link, trees[number % 2])

    thread = threading.Thread(target=switch_all_the_time)
    thread.start()
    try:
        seen = {}
        def ask():
            for coding in ("identity", "gzip"):
                response = server.get("/file.txt", [("Accept-Encoding", coding)])
                assert response.status == 200
                seen.setdefault(response.header("ETag"), set()).add(response.body)
            return len(seen) == 4
        wait_until(ask, "both trees are seen, plain and packed")
    finally:
        enough.set()
        thread.join()
    assert all(len(bodies) == 1 for bodies in seen.values()), seen


@PROTOCOL
def test_a_root_that_is_removed_and_made_again(model, start_server, releases, tmp_path):
    root = releases("1")
    server = start_server(model, root=root)
    assert answers(server, "/assets/0.txt") == {"release 1\n"}
    shutil.rmtree(root)
    wait_for(server, "/assets/0.txt", 404)
    releases("1")
    wait_for(server, "/assets/0.txt", "release 1\n")
    wait_until_left(server, "1 (deleted)")  # who had not seen it come back would go on with what was removed
    root.rename(tmp_path / "old")
    assert answers(server, "/assets/1.txt") == {"release 1\n"}, "what it was is served meanwhile"
    server.wait_for_log("cannot look up the document root .*No such file or directory")
    releases("2").rename(root)
    wait_for(server, "/assets/1.txt", "release 2\n")
    server.wait_for_log("is another directory now")


@ONE_OF_EACH_BINARY
def test_a_relative_root(model, tmp_path, start_server, releases):
    """It starts at the directory in which the server was started."""
    (tmp_path / "server-0").mkdir(parents=True)  # where the first server is started
    (tmp_path / "server-0").rmdir()
    first, second = releases("1"), releases("2")
    switch(tmp_path / "current", first)
    server = start_server(model, root="../current")
    assert answers(server, "/assets/0.txt") == {"release 1\n"}
    switch(tmp_path / "current", second)
    wait_for(server, "/assets/0.txt", "release 2\n")


@ROOT_ONLY
@ONE_OF_EACH_BINARY
def test_a_user_that_cannot_look_the_path_up(model, start_server, releases, tmp_path, monkeypatch):
    monkeypatch.setenv("ASAN_OPTIONS", f"{os.environ.get('ASAN_OPTIONS', '')}:detect_leaks=0")
    link = tmp_path / "current"
    first, second = releases("1"), releases("2")
    switch(link, first)
    tmp_path.chmod(0o700)
    server = start_server(model, "--user", USER.pw_name, root=link)
    warning = f"user {USER.pw_name} cannot look up the document root {link}: Permission denied"
    assert server.log().count(warning) == 1
    switch(link, second)
    assert answers(server, "/assets/0.txt") == {"release 1\n"}
    os.kill(server.pid, signal.SIGHUP)
    wait_for(server, "/assets/0.txt", "release 2\n")
    assert server.log().count(warning) == 2


@ROOT_ONLY
@ONE_OF_EACH_BINARY
def test_a_new_root_that_is_closed_to_the_user(model, start_server, releases, public_directory,
                                               monkeypatch):
    monkeypatch.setenv("ASAN_OPTIONS", f"{os.environ.get('ASAN_OPTIONS', '')}:detect_leaks=0")
    for name in ("1", "2"):
        shutil.copytree(releases(name), public_directory / name)
    (public_directory / "2").chmod(0o700)
    link = public_directory / "current"
    switch(link, public_directory / "1")
    server = start_server(model, "--user", USER.pw_name, root=link)
    switch(link, public_directory / "2")
    server.wait_for_log("cannot look up the document root .*Permission denied")
    assert answers(server, "/assets/0.txt") == {"release 1\n"}
    (public_directory / "2").chmod(0o755)
    wait_for(server, "/assets/0.txt", "release 2\n")


# Without openat2.

@pytest.fixture(params=[errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
def unhelped_server(model, start_server, request):
    server = start_server(model, preexec_fn=refuse_openat2(request.param))
    server.wait_for_log("names below the document root are looked up step by step")
    return server


@PROTOCOL
def test_openat2_is_refused(unhelped_server, site):
    found = {"/": "index.html", "/hello.txt": "hello.txt", "/inside.txt": "hello.txt",
             "/directory/": "directory/index.html", "/directory/inner.txt": "directory/inner.txt",
             "/empty.txt": "empty.txt", "/20mib.bin": "20mib.bin", "/%68ello.txt": "hello.txt"}
    missing = ["/no-such-file", "/directory/no-such-file", "/hello.txt/", "/hello.txt/more", "/fifo",
               "/no-index/", "/escape/secret.txt", "/escape.txt", "/escape/www/hello.txt", "/.hidden",
               f"/{'x' * 300}", f"/{'x/' * 2000}"]
    assert (site / "escape.txt").read_bytes() == sites.SECRET, "there is something to be found"
    with unhelped_server.connect() as client:
        for target, name in found.items():
            assert client.get(target).body == sites.FILES[name], target
        for target in missing:
            assert client.get(target).status in (403, 404), target
        assert client.get("/directory").status == 301
        assert client.get("/../secret.txt").status == 400


@ONE_OF_EACH_BINARY
def test_openat2_is_refused_and_the_root_switched(model, start_server, releases, tmp_path):
    link = tmp_path / "current"
    switch(link, releases("1"))
    server = start_server(model, root=link, preexec_fn=refuse_openat2(errno.EPERM))
    assert answers(server, "/assets/0.txt") == {"release 1\n"}
    switch(link, releases("2"))
    wait_for(server, "/assets/0.txt", "release 2\n")
    wait_until_left(server, "1")  # a process that retires may still answer
    os.kill(server.pid, signal.SIGHUP)
    server.wait_for_log("all processes have been replaced")
    assert answers(server, "/assets/0.txt") == {"release 2\n"}


@ONE_OF_EACH_BINARY
@pytest.mark.parametrize("refused", [False, True], ids=["openat2", "steps"])
def test_no_way_out_while_folders_are_swapped(model, start_server, tmp_path, refused):
    """A folder changes places with a link that leads out, and an ancestor its name."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "in", outside, root / "x" / "y"):
        folder.mkdir(parents=True)
    (root / "in" / "f.txt").write_bytes(b"inside")
    (outside / "f.txt").write_bytes(sites.SECRET)
    (root / "evil").symlink_to("../outside")
    (root / "good.txt").symlink_to("in/f.txt")
    (root / "x" / "y" / "up.txt").symlink_to("../../in/f.txt")
    how = {"preexec_fn": refuse_openat2(errno.EPERM)} if refused else {}
    server = start_server(model, root=root, **how)
    enough = threading.Event()

    def swap_all_the_time():
        while not enough.is_set():
            (root / "in").rename(root / "spare")
            (root / "evil").rename(root / "in")
            (root / "spare").rename(root / "evil")
            (root / "x" / "y").rename(root / "x" / "z")
            (root / "x" / "z").rename(root / "x" / "y")

    thread = threading.Thread(target=swap_all_the_time)
    thread.start()
    try:
        found = 0
        with server.connect() as client:
            for _ in range(500):
                for target in ("/in/f.txt", "/evil/f.txt", "/good.txt", "/x/y/up.txt"):
                    response = client.get(target)
                    assert response.status in (200, 404), response
                    assert response.status == 404 or response.body == b"inside"
                    found += response.status == 200
    finally:
        enough.set()
        thread.join()
    assert found
