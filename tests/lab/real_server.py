"""The servers of this build, started through the laboratory."""

import os
from pathlib import Path

from patience import DEADLINE_S
from twinlab.base import waiting
from twinlab.servers.models import Model
from twinlab.servers.server import Server

BIN_DIR = Path(os.environ.get("TWINHTTPD_BIN_DIR", Path(__file__).resolve().parents[2] / "build" / "dev" / "bin"))


def prefork(tmp_path, workers, *options):
    """To be used as a context manager."""
    model = Model("prefork", "prefork", "prefork-server", ("--workers", str(workers)), f"{workers} workers")
    return Server(model, BIN_DIR, tmp_path, tmp_path, options)


def wait_for(condition, what):
    """The first true value of a condition."""
    return waiting.wait_for(condition, what, DEADLINE_S)
