"""The observer's page in a real browser: how soon it is there, how soon it shows a death, and what it costs."""

import time

from twinlab.base.decide import Limits
from twinlab.base.waiting import wait_for
from twinlab.clients import http
from twinlab.clients.chromium import Chromium
from twinlab.clients.wrk import Wrk
from twinlab.runs.observing import WORKLOAD, Figure
from twinlab.runs.speed import Bench
from twinlab.servers import observer
from twinlab.servers.models import Model
from twinlab.servers.server import Server

OPENINGS = 5
BETWEEN_KILLS_S = 1.0
PAINT_DEADLINE_S = 30.0  # a page that nobody sees may be painted late
FIRST_PAINT = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
# Milliseconds from a click on the first button that matches until a text of the page has the pattern once more.
CLICK = """
const [button, list, pattern, done] = arguments;
const count = () => (document.querySelector(list).textContent.match(new RegExp(pattern, 'g')) ?? []).length;
const before = count(), began = performance.now();
const look = () => count() > before ? done(performance.now() - began) : requestAnimationFrame(look);
document.querySelector(button).click();
look();"""


def measure(bench: Bench, model: Model, kills: int, watched_s: float) -> list[Figure]:
    """Under load, as people look at it."""
    with Server(model, bench.bin_dir, bench.root, bench.scratch, (*observer.CONTROL, "--faults", "on")) as server, \
            Chromium(bench.scratch) as browser:
        page = f"http://127.0.0.1:{server.observer.port}/#token={server.observer.token}"
        paints_ms = []
        for _ in range(OPENINGS):
            browser.open(page)
            browser.wait_for(".phase", "running")
            paints_ms.append(float(wait_for(lambda: browser.run(FIRST_PAINT), "the page is painted", PAINT_DEADLINE_S)))
        sent_bytes = len(http.ask(server.observer.port, "GET", "/", {"Accept-Encoding": "gzip"}).body)
        with Wrk(server.port, WORKLOAD.path, bench.connections, 600.0) as load:
            before_us, begin_s = browser.cpu_us(), time.monotonic()
            time.sleep(watched_s)
            share = (browser.cpu_us() - before_us) / (time.monotonic() - begin_s) / 1e4
            shown_ms = [_kill(browser, "SIGKILL") for _ in range(kills)]
            back_ms = [_kill(browser, "back after") for _ in range(kills)]
            stack_ms = [_crash(browser) for _ in range(kills)]
            load.finish()
    return [
        Figure(model.key, "page: bytes that a browser is sent", "", (sent_bytes,), Limits(at_most=130_000), True),
        Figure(model.key, "page: first paint", "ms", tuple(paints_ms), Limits(at_most=300)),
        Figure(model.key, "page: Chromium's CPU, ten times a second, under load", "%", (share,), Limits(at_most=15)),
        Figure(model.key, "page: from the click to the death that is shown", "ms", tuple(shown_ms), Limits(at_most=200)),
        Figure(model.key, "page: from the click to its successor", "ms", tuple(back_ms), Limits(at_most=300)),
        Figure(model.key, "page: from the click to the names of a crash's stack", "ms", tuple(stack_ms),
               Limits(at_most=2000)),
    ]


def _kill(browser: Chromium, told: str) -> float:
    time.sleep(BETWEEN_KILLS_S)
    return float(browser.run_until_done(CLICK, ".server .acts button.kill", "#incidents", told))


def _crash(browser: Chromium) -> float:
    """The story opens by itself, and has the stack when that has been told."""
    time.sleep(BETWEEN_KILLS_S)
    browser.run("document.querySelector('#story[open] button')?.click()")
    begin_s = time.monotonic()
    browser.run("document.querySelector('.toolbar .faults button').click()")
    browser.wait_for("#incidents button", "SIGSEGV")
    browser.run("[...document.querySelectorAll('#incidents button')].find(b => b.textContent.includes('SIGSEGV')).click()")
    browser.wait_for(".stack li", "fault_segv")
    return (time.monotonic() - begin_s) * 1000
