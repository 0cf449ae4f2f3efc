"""Fixtures of those who read an observer."""

import pytest

from support.server import BIN_DIR
from support.terminal import make_terminfo, Terminal


@pytest.fixture(scope="session")
def terminfo(tmp_path_factory):
    return make_terminfo(tmp_path_factory.mktemp("terminfo"))


@pytest.fixture
def open_top(terminfo):
    """Starts twinctl top in a terminal; its screen is asked for ten times a second."""
    opened = []

    def start(address, *options, lines=24, columns=80, environment=None):
        command = [BIN_DIR / "twinctl", "top", "--observe", address, "--interval-ms", "100", *options]
        opened.append(Terminal(command, environment or terminfo, lines, columns))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.__exit__()
