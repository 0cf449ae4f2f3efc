"""What Prometheus has of a real server while its workers are killed under load: what clients counted, and no counter
that goes back. TWINHTTPD_TEST_SCRAPE_S is how long the load lasts, TWINHTTPD_TEST_KILL_EACH_S how often a worker dies."""

import os
import random
import re
import signal
import threading
import time
import urllib.request

import pytest

from support import models, prometheus as prometheuses, wrk
from support.fake_observer import METRICS
from support.observing import ON, Observer
from support.waiting import wait_until

LOAD_S = int(os.environ.get("TWINHTTPD_TEST_SCRAPE_S", "8"))
CONNECTIONS = 64
KILLS_AT_LEAST = 3
TOLERANCE = 0.1  # what rate() guesses at the edges of its window is an interval of scrapes in it
# A process that dies within a tenth of a second of its start is held back.
KILL_EACH_S = float(os.environ.get("TWINHTTPD_TEST_KILL_EACH_S", "0.5"))

pytestmark = [pytest.mark.models(models.EACH_KIND), pytest.mark.xdist_group("prometheus")]


@pytest.fixture
def observed(model, start_server):
    """A server, and the address of its observer."""
    server = start_server(model, *ON)
    return server, Observer(server).host


def scrape(address, **headers):
    with urllib.request.urlopen(urllib.request.Request(f"http://{address}/metrics", headers=headers)) as answer:
        return answer.read().decode()


def families(text):
    """name: type"""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def test_the_fake_observer_says_what_a_real_one_says(observed):
    text = scrape(observed[1])
    assert families(text) == {name: kind for name, (kind, _, _) in METRICS.items()}
    for name, (kind, label, values) in METRICS.items():
        if label and label not in ("version", "worker"):
            assert set(re.findall(rf'^{name}{{{label}="([^"]*)"}}', text, re.MULTILINE)) == set(values), name


def test_promtool_takes_what_a_server_says(observed):
    prometheuses.skip_if_missing()
    result = prometheuses.promtool("check", "metrics", input=scrape(observed[1]))
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def names_of_counters():
    for name, (kind, _, _) in METRICS.items():
        if kind == "counter":
            yield name
        elif kind == "histogram":
            yield from (f"{name}_bucket", f"{name}_sum", f"{name}_count")


class Killer:
    """Kills a worker now and then."""

    def __init__(self, server):
        self._killed = set()
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._over.wait(KILL_EACH_S):
            try:
                pid = random.choice(self._server.worker_pids())
                os.kill(pid, signal.SIGKILL)
                self._killed.add(pid)
            except (IndexError, ProcessLookupError):
                pass  # nobody is there just now

    @property
    def kills(self):
        return len(self._killed)

    def stop(self):
        self._over.set()
        self._thread.join()


def run_load(server):
    """What wrk counted, and how many workers died meanwhile."""
    load = wrk.start(server.url + "/plaintext", connections=CONNECTIONS)
    killer = Killer(server)
    try:
        time.sleep(LOAD_S)
        wait_until(lambda: killer.kills >= KILLS_AT_LEAST, "enough have died")
        killer.stop()
        return wrk.end(load), killer.kills
    finally:
        killer.stop()
        with load:
            load.kill()


def number(text, series):
    """A value among what an observer says."""
    return float(re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)[1])


FINISHED = "twinhttpd_requests_finished_total"
READY = 'twinhttpd_processes{state="ready"}'


@pytest.mark.slow
def test_rates_are_what_clients_counted_and_no_counter_goes_back(model, observed, tmp_path):
    prometheuses.skip_if_missing()
    server, address = observed
    with prometheuses.Prometheus(tmp_path, {"twinhttpd-a": address}) as running:
        quiet_since = time.time()
        wait_until(lambda: running.value(f"count_over_time({FINISHED}[1m]) >= 3"), "it has been scraped", interval_s=0.1)
        counted, kills = run_load(server)

        def all_scraped():
            text = scrape(address)
            return (number(text, READY) == model.processes and running.value(FINISHED) == number(text, FINISHED)
                    and running.value("sum(twinhttpd_deaths_total)") == kills)  # the last one may not be noticed yet
        wait_until(all_scraped, "all of it is in Prometheus", interval_s=0.2)
        assert running.value("sum(twinhttpd_deaths_total)") == kills == server.log().count("was killed by SIGKILL")
        now = running.value(f"timestamp({FINISHED})")  # of the last scrape: rate() has nothing to guess behind it
        window = f"{round((now - quiet_since) * 1000)}ms"
        by_rate = running.value(f"rate({FINISHED}[{window}])", time=now) * (now - quiet_since)
        finished = running.value(FINISHED)
        lost = running.value("sum(twinhttpd_requests_lost_total)")
        went_back = {name: running.query(f"resets({name}[{window}]) > 0", time=now) for name in names_of_counters()}
    print(f"wrk {counted.requests} requests, {counted.read_errors} read errors; Prometheus: finished {finished:.0f}, by rate() "
          f"{by_rate:.0f} ({by_rate / counted.requests - 1:+.2%}), lost {lost:.0f}; {kills} kills")
    assert {name: found for name, found in went_back.items() if found} == {}
    # The death of a worker may cut answers that are on their way; and when wrk ends, some are.
    assert counted.requests - kills * CONNECTIONS <= finished <= counted.requests + (kills + 1) * CONNECTIONS
    doubtful = (kills + 1) * CONNECTIONS
    assert abs(by_rate - counted.requests) < TOLERANCE * counted.requests + doubtful, (by_rate, counted)
    # A connection on which wrk was silent for a second, as it had no CPU, is cut as an idle one.
    idle = sum(map(int, re.findall(r"; (\d+) idle connections cut", server.log())))
    assert lost - CONNECTIONS - kills <= counted.read_errors <= lost + idle + CONNECTIONS + kills
