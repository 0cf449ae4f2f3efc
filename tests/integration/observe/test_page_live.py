"""The observer's page before real servers: how it is served, and what it shows of them in a real browser (as test_page.py does
before servers that are played)."""

import gzip
import json
import os
import re
import signal

import pytest

from support import browser as browsers, models, observing, server as servers
from support.waiting import wait_until

pytestmark = pytest.mark.xdist_group("browser")
BOTH = pytest.mark.models(models.ONE_OF_EACH_BINARY)


@pytest.fixture
def observed(start_server):
    """start(model, *options): a server and its observer, with commands and faults."""
    def start(model, *options):
        server = start_server(model, *observing.WITH_COMMANDS, "--faults", "on", *options)
        return server, observing.Observer(server)
    return start


@pytest.fixture(scope="module")
def shared_browser(tmp_path_factory):
    if servers.SANITIZED:
        pytest.skip("the page is the same in every build, and a browser takes its time")
    started = browsers.Browser(tmp_path_factory.mktemp("downloads"))
    yield started
    started.quit()


@pytest.fixture
def browser(shared_browser, observed):
    """It leaves before the observer does: else it might ask for that once more, and complain."""
    yield shared_browser
    complaints = shared_browser.complaints()
    shared_browser.driver.get("about:blank")
    assert complaints == []


def open_page(browser, observer):
    browser.open(f"http://{observer.host}/#token={observer.token}")
    browser.wait_for(".phase", "running")


# ---- how it is served ----

def without_table(page):
    return re.sub(rb"<noscript>.*?</noscript>", b"", page, count=1, flags=re.DOTALL)


@BOTH
def test_the_page_is_served_plain_and_compressed(observed, model):
    _, observer = observed(model)
    plain, compressed = observer.ask(), observer.ask(headers=[("Accept-Encoding", "br, gzip;q=0.5")])
    assert plain.status == compressed.status == 200
    assert plain.header("content-type") == "text/html; charset=utf-8"
    assert plain.header("content-encoding") is None
    assert compressed.header("content-encoding") == "gzip"
    assert len(compressed.body) < len(plain.body) / 2
    assert without_table(gzip.decompress(compressed.body)) == without_table(plain.body)


@BOTH
def test_the_page_is_guarded(observed, model):
    _, observer = observed(model)
    policy = observer.ask().header("content-security-policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert policy.endswith("; frame-ancestors 'none'")
    assert "unsafe" not in policy
    assert observer.ask(host="evil.example").status == 403
    assert observer.ask().header("cache-control") == "no-store"


@BOTH
def test_without_scripts_there_is_a_table(observed, model):
    server, observer = observed(model)
    table = re.search(r"<noscript>(.*?)</noscript>", observer.ask().body.decode(), re.DOTALL)[1]
    for pid in server.worker_pids():
        assert f"<td>{pid}</td>" in table


@BOTH
def test_an_observer_shows_itself_alone(observed, model):
    _, observer = observed(model)
    answer = observer.ask(target="/servers.json")
    assert json.loads(answer.body) == {"servers": [{"name": "", "base": "", "wrk": False}], "presets": []}


# ---- what it shows ----

@pytest.mark.models(models.EACH_KIND)
def test_a_click_kills_a_real_process(browser, observed, start_load, model):
    server, observer = observed(model)
    start_load(server, "/plaintext")
    open_page(browser, observer)
    wait_until(lambda: re.match(r"[1-9]", browser.text(".figures .rate dd")), "requests per second")
    pids = server.worker_pids()
    browser.click(".server .acts button.kill", "Kill one")
    browser.wait_for("#incidents li", "SIGKILL")
    browser.wait_for(".server .acts output", "back after")
    death = json.loads(observer.ask(target="/api/v1/state").body)["deaths"][0]
    assert death["pid"] in pids
    assert f"SIGKILL: {death['requests_lost']} lost" in browser.text(".server .acts output")
    browser.click(".server .acts output button")
    assert str(death["pid"]) in browser.text("#story-body")
    assert f"{death['awaited']} awaited on open connections" in browser.text("#story-body")


@pytest.mark.models(models.EACH_KIND)
def test_a_fault_shows_its_real_stack(browser, observed, model):
    _, observer = observed(model)
    open_page(browser, observer)
    browser.click(".toolbar .faults button")
    browser.click("#incidents button", "SIGSEGV")
    browser.wait_for("#story-body", "GET /fault/segv HTTP/1.1")
    browser.wait_for(".stack li", "fault_segv")


@BOTH
def test_the_page_outlives_its_observer(browser, observed, model):
    _, observer = observed(model)
    open_page(browser, observer)
    browser.click(".tree button.kill", "Kill")
    browser.wait_for("#incidents li", "SIGKILL")
    before = observer.pid()
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: observer.pid() != before, "another observer")
    browser.wait_for(".tree .observer small", str(observer.pid()))
    browser.wait_for(".phase", "running")
    assert "SIGKILL" in browser.text("#incidents")
    browser.complaints()  # of a request that the observer's death has cut


@BOTH
def test_commands_change_the_grid(browser, observed, model):
    server, observer = observed(model)
    open_page(browser, observer)
    before = set(server.worker_pids())
    browser.click(".tree .acts button", "Recycle")
    successor = wait_until(lambda: (set(server.worker_pids()) - before), "a successor").pop()
    browser.wait_for(".tree .process small", str(successor))
