"""The server as process 1 of a PID namespace, as in a container."""

import os
import signal
import subprocess

import pytest

from support import models, processes
from support.waiting import wait_until

pytestmark = pytest.mark.models(models.SUPERVISED)

UNSHARE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


def can_unshare():
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def namespaced(model, start_server):
    """(server, pid outside of the namespace of the master, which is 1 inside)."""
    if not can_unshare():
        pytest.skip("unshare --pid is not permitted here")
    server = start_server(model, prefix=UNSHARE)
    master, = processes.living_children(server.pid)
    assert server.banner["pid"] == "1"
    return server, master


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT],
                         ids=["TERM", "INT", "QUIT"])
def test_signals_stop_process_1(namespaced, signal_number):
    server, master = namespaced
    assert server.get("/plaintext").status == 200
    os.kill(master, signal_number)
    assert server.wait_for_exit() == 0


def test_process_1_reaps_orphans(namespaced):
    """Orphans of others become its children; reaping them is no death of a worker."""
    server, master = namespaced
    workers = processes.living_children(master)
    inside = ["nsenter", f"--target={master}", "--pid", "--mount"]
    subprocess.run([*inside, "sh", "-c", "(sleep 0.2 &) ; (true &)"], check=True)
    wait_until(lambda: processes.living_children(master) == workers
               and processes.zombie_children(master) == [], "only the workers are left")
    assert server.status()["deaths"] == []
    os.kill(master, signal.SIGTERM)
    assert server.wait_for_exit() == 0


def test_process_1_replaces_workers(namespaced, model):
    server, master = namespaced
    victim = processes.living_children(master)[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in processes.living_children(master)
               and len(processes.living_children(master)) == model.processes, "a successor runs")
    assert server.get("/plaintext").status == 200
    os.kill(master, signal.SIGTERM)
    assert server.wait_for_exit() == 0
