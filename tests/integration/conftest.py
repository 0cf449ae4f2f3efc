"""Fixtures: a test that takes `server` or `model` runs once for each execution model."""

import itertools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from support import gate as gates, models, server as servers, site as sites, wrk


def pytest_generate_tests(metafunc):
    if "model" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("models")
        chosen = models.selected(*(marker.args if marker else ()))
        metafunc.parametrize("model", chosen, ids=str)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    return sites.build(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def shared_servers(tmp_path_factory, site):
    shared = servers.SharedServers(lambda: tmp_path_factory.mktemp("server"), site)
    yield shared
    shared.stop_all()


@pytest.fixture
def server_options():
    """Options of the shared server; a test module overrides it when defaults do not fit."""
    return ()


@pytest.fixture
def server(model, server_options, shared_servers):
    """A server that tests share; after each test it must still be in good health."""
    yield shared_servers.get(model, server_options)
    shared_servers.check(model, server_options)


@pytest.fixture
def client(server):
    with server.connect() as connected:
        yield connected


@pytest.fixture
def start_server(tmp_path, site):
    """Starts servers that belong to one test; those still running at its end must stop well."""
    started = []
    numbers = itertools.count()

    def start(model, *options, root=site, **how):
        directory = tmp_path / f"server-{next(numbers)}"
        directory.mkdir()
        started.append(servers.start(model, options, directory, root, **how))
        return started[-1]

    yield start
    try:
        for running in started:
            if not running.is_stopped():
                running.stop()
    finally:
        for running in started:
            running.clean_up()


@pytest.fixture(scope="session")
def build_preload(tmp_path_factory):
    """Makes a library to preload (LD_PRELOAD) of a source in support/. Servers under sanitizers take none: theirs
    must come first."""
    def build(name):
        library = tmp_path_factory.mktemp(name) / f"{name}.so"
        source = Path(__file__).parent / "support" / f"{name}.c"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        return library
    return build


@pytest.fixture(scope="session")
def gate_library(build_preload):
    return build_preload("gate")


@pytest.fixture
def gate(gate_library, tmp_path):
    directory = tmp_path / "gate"
    directory.mkdir()
    return gates.Gate(directory, gate_library)


@pytest.fixture
def start_load():
    """Starts a load that lasts until wrk.end(), and waits until it is under way."""
    started = []

    def start(server, path, **how):
        started.append(wrk.start(server.url + path, **how))
        wrk.wait_until_under_way(server)
        return started[-1]

    yield start
    for load in started:
        with load:
            load.kill()


@pytest.fixture
def public_directory(monkeypatch):
    """A document root that every user may read, with copies of the binaries, which are run from
    there."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        for binary in {model.binary for model in models.selected()}:
            shutil.copy(servers.BIN_DIR / binary, directory)
        monkeypatch.setattr(servers, "BIN_DIR", directory)
        yield directory
