"""What strangers get of a server that was started as it comes: the site, and nothing that harms others."""

import json
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from support import activation, models, observing, server as servers
from support.client import Client, request_bytes, wait_until_read
from support.waiting import LATENESS_S, wait_until

ANYWHERE = ("--listen", "0.0.0.0:0")
ACTIVATION = Path(activation.__file__)
BENCH = ("/plaintext", "/json", "/cpu", "/sleep", "/echo", "/counter", "/whoami")
SLOW = request_bytes(target="/sleep?ms=60000")


def own_address():
    """An address of this machine that is no loopback address, or None. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = probe.getsockname()[0]
        return None if address.startswith("127.") else address


NEEDS_ADDRESS = pytest.mark.skipif(own_address() is None, reason="this machine has loopback addresses alone")


def status_of(server, target, host="127.0.0.1", headers=()):
    with Client((host, server.address[1])) as client:
        return client.get(target, headers).status


def state_of(observer):
    return json.loads(observer.ask(target="/api/v1/state").body)


def assert_bench(server, served, host="127.0.0.1"):
    for target in BENCH:
        assert (status_of(server, target, host) != 404) == served, target


# ---- /sleep and its like ----

@pytest.mark.parametrize("options, served", [
    ((), True),
    (("--listen", "127.9.9.9:0"), True),
    (("--listen", "localhost:0"), True),
    (("--listen", "[::1]:0"), True),
    (ANYWHERE, False),
    (("--listen", "*:0"), False),
    (("--bench", "off"), False),
    ((*ANYWHERE, "--bench", "on"), True),
    ((*ANYWHERE, "--bench", "auto"), False),
    ((*ANYWHERE, "--faults", "on"), False),
], ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value))
@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_who_gets_the_benchmarks(model, start_server, options, served):
    if "[::1]:0" in options and not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("this machine has no IPv6")
    server = start_server(model, *options)
    host = {"127.9.9.9:0": "127.9.9.9", "[::1]:0": "::1"}.get(options[-1] if options else "", "127.0.0.1")
    assert_bench(server, served, host)
    assert status_of(server, "/hello.txt", host) == 200
    banner = server.whole_banner()
    assert ("bench      on" in banner) == served, banner
    assert ("--bench off)" if served else "--bench on)") in banner or options == ("--bench", "off")


def test_slow_requests_harm_nobody_where_all_can_ask(model, start_server):
    server = start_server(model, *ANYWHERE)
    attackers = [Client(("127.0.0.1", server.address[1])) for _ in range(4)]
    for attacker in attackers:
        attacker.send(SLOW)
    wait_until_read(attackers)
    start = time.monotonic()
    for _ in range(8):
        with Client(("127.0.0.1", server.address[1])) as client:
            assert client.get("/hello.txt").status == 200
    for attacker in attackers:
        assert attacker.read_response().status == 404
        attacker.close()
    assert time.monotonic() - start < LATENESS_S, "a slow request would take twice as long"


@pytest.mark.models(models.SUPERVISED)
def test_a_reload_judges_anew(model, start_server, tmp_path):
    settings, ports = tmp_path / "settings.yaml", set()
    while len(ports) < 3:  # who drains still holds its own
        ports.add(servers.quiet_port())
    ports = sorted(ports)
    directory = tmp_path / "server"
    directory.mkdir()

    def listen(address, port):
        settings.write_text(f'listen: "{address}:{port}"\n')
    listen("127.0.0.1", ports[0])
    server = servers.Server(model, [servers.binary(model), "--config", str(settings), *model.options], directory)
    try:
        assert_bench(server, True)
        for count, (address, port, served) in enumerate((("0.0.0.0", ports[1], False),
                                                         ("127.0.0.1", ports[2], True)), 1):
            listen(address, port)
            os.kill(server.pid, signal.SIGHUP)
            wait_until(lambda: server.log().count("the new configuration is in force") == count, "it is in force")
            server.address = ("127.0.0.1", port)
            assert_bench(server, served)
        server.stop()
    finally:
        server.clean_up()


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
@pytest.mark.parametrize("kind, served", [("tcp", True), ("tcp-anywhere", False)])
def test_sockets_that_are_passed_are_asked(model, tmp_path, site, kind, served):
    """Whatever the settings say of an address."""
    command = [sys.executable, str(ACTIVATION), kind, "--", servers.binary(model), "--listen", "127.0.0.1:1",
               "--root", str(site), *model.options]
    server = servers.Server(model, command, tmp_path)
    try:
        assert_bench(server, served)
        server.stop()
    finally:
        server.clean_up()


@pytest.mark.parametrize("setting", ["faults", "bench"])
@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_what_is_switched_on_in_the_open_is_warned_of(model, start_server, setting):
    warning = f'"{setting}" is on where not only this machine can reach the server'
    start_server(model, *ANYWHERE, f"--{setting}", "on").wait_for_log(warning)
    assert warning not in start_server(model, f"--{setting}", "on").log()
    assert warning not in start_server(model, *ANYWHERE).log()


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_the_health_check_needs_no_benchmarks(model, start_server):
    server = start_server(model, "--bench", "off")
    listen = f"127.0.0.1:{server.address[1]}"
    # It does not wait for long: a machine that is too busy may make it fail.
    wait_until(lambda: servers.run_to_end(model, "--health-check", "--listen", listen).returncode == 0, "it is healthy")


# ---- What others ask ----

def test_the_serving_port_tells_nobody_what_others_do(server):
    for target in ("/status", "/metrics", "/api/v1/state", "/events", "/live"):
        assert status_of(server, target) == 404, target


@pytest.mark.models(models.SUPERVISED)
def test_no_query_string_of_a_running_request(model, start_server):
    server = start_server(model, *observing.ON)
    observer = observing.Observer(server)
    with server.connect() as client:
        client.send(request_bytes(target="/sleep?ms=59999&token=SECRET"))
        wait_until(lambda: server.is_running("GET /sleep"), "it runs")
        told = json.dumps(state_of(observer)["processes"])
        assert "GET /sleep" in told and "?" not in told


@pytest.mark.models(models.SUPERVISED)
def test_no_query_string_and_no_address_after_a_crash(model, start_server):
    """All workers have the layout of their master, which lives on."""
    server = start_server(model, "--faults", "on", *observing.ON)
    observer = observing.Observer(server)
    mapped = _code_of(server.pid)
    for fault in ("segv", "fpe", "abort"):
        with server.connect() as client:
            victim = server.whoami(client)["pid"]
            client.send(request_bytes(target=f"/fault/{fault}?token=SECRET"))
            client.expect_close()
        server.wait_for_full_strength(without_pid=victim)
        wait_until(lambda: server.wait_for_death(victim)["crash"], "the story is told")
    wait_until(lambda: all(death["crash"] for death in state_of(observer)["deaths"]), "the observer tells it, too")
    state = state_of(observer)
    del state["time_ms"]  # a number that may be an address, too
    shown = json.dumps(state)
    assert "SECRET" not in shown
    assert '"offset": "0x' in shown, "it still tells where in a module"
    for low, high in mapped:
        assert not [number for number in _numbers(shown) if low <= number < high]


def _code_of(pid):
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        low, high = line.split()[0].split("-")
        yield int(low, 16), int(high, 16)


def _numbers(text):
    return [int(number, 16) for number in re.findall(r"0x([0-9a-f]+)", text)] + \
        [int(number) for number in re.findall(r"\b\d{9,}\b", text)]
