"""The observer's page in a real browser, before servers that are played (support/play_observer.py): each button, each death,
each silence when the test wants it. test_page_live.py has it before real ones."""

import json
import os
import re
import shutil
import subprocess
import time
from hashlib import sha256
from pathlib import Path

import pytest

from support import browser as browsers, play_observer, server as servers
from support.play_observer import PRESETS, TOKEN, PlayObserver, PlayServer, three_servers
from support.waiting import DEADLINE_S, wait_until

UPLOT = play_observer.PAGE_SOURCES / "uplot"
AXE_VERSION, UPLOT_VERSION = "4.14.1", "1.6.32"
PAGE_BYTES_MOST = 130_000
HEAP_GROWTH_BYTES = 5_000_000
# One browser serves all of these: tests/run deals them to one of its processes.
pytestmark = [pytest.mark.xdist_group("browser"),
              pytest.mark.skipif(servers.SANITIZED, reason="the page is the same in every build, and a browser takes its time")]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return play_observer.assemble(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def shared_browser(tmp_path_factory):
    started = browsers.Browser(tmp_path_factory.mktemp("downloads"))
    yield started
    started.quit()


@pytest.fixture
def browser(shared_browser, play):
    """At the end the console must have nothing to complain about; a test that expects complaints takes them out. It leaves
    before the observer does: else it might ask for that once more."""
    yield shared_browser
    complaints = shared_browser.complaints()
    shared_browser.driver.get("about:blank")
    assert complaints == []


@pytest.fixture
def play(page):
    """Starts an observer that plays; play() is one prefork server with the token in hand."""
    started = []

    def start(servers=None, **how):
        started.append(PlayObserver(page, servers or [PlayServer()], PRESETS, **how))
        return started[-1]

    yield start
    for each in started:
        each.close()


def with_token(observer):
    return f"{observer.url}#token={TOKEN}"


def open_live(browser, observer, **how):
    browser.open(with_token(observer), **how)
    browser.wait_for(".phase", "running")
    wait_until(lambda: figure(browser, "rate") > 0, "requests per second")
    return browser


def first_command(observer):
    """That a click has sent: it comes after the click."""
    return json.loads(wait_until(lambda: observer.posts, "a command comes")[0][1])


def figure(browser, name, server=0):
    """A figure beside a server's name, as a number."""
    text = browser.run("return document.querySelectorAll('.figures .' + arguments[0] + ' dd')[arguments[1]].textContent", name,
                       server)
    number = re.match(r"[\d,.]+", text)
    return float(number[0].replace(",", "")) if number else 0.0


def npm_pack(name, version, folder):
    """The unpacked package, from the registry."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    try:
        done = subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=folder, capture_output=True, text=True,
                              timeout=DEADLINE_S, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm cannot fetch {name}@{version}: no answer")
    if done.returncode != 0:
        pytest.skip(f"npm cannot fetch {name}@{version}: {done.stderr.strip()[-200:]}")
    subprocess.run(["tar", "xzf", done.stdout.strip().splitlines()[-1]], cwd=folder, check=True)
    return Path(folder) / "package"


# ---- the document ----

def texts(script):
    """All literal texts of a script: of strings, and of templates what stands outside of their expressions. Comments are whole
    lines, and there is one regular expression with a quote: none."""
    found, depth, at = [], [], 0  # depth: of braces within each open template
    begin = None
    while at < len(script):
        here = script[at]
        if begin is not None:  # in a template's text
            if here == "\\":
                at += 1
            elif here == "`" or script.startswith("${", at):
                found.append(script[begin:at])
                begin = None
                if here == "`":
                    depth.pop()
                else:
                    depth[-1] = 0
                    at += 1
        elif here == '"':
            end = at + 1
            while script[end] != '"':
                end += 2 if script[end] == "\\" else 1
            found.append(script[at + 1:end])
            at = end
        elif here == "`":
            depth.append(0)
            begin = at + 1
        elif here in "{}" and depth:
            depth[-1] += 1 if here == "{" else -1
            if depth[-1] < 0:
                begin = at + 1
        at += 1
    return found


def test_the_scripts_are_shortened_and_say_the_same(page):
    sources = play_observer.PAGE_SOURCES
    order = re.search(r"set\(scripts (.*?)\)", (sources / "assemble.cmake").read_text())[1].split()
    assert sorted(order) == sorted(path.stem for path in sources.glob("*.js"))
    own = "\n".join((sources / f"{name}.js").read_text() for name in order)
    built = page.partition('<script type="module">')[2].partition("</script>")[0]
    built = built.removeprefix((UPLOT / "uPlot.iife.min.js").read_text())
    expected = texts(re.sub(r"^ *//.*$", "", own, flags=re.MULTILINE))
    assert len(expected) > 500
    assert texts(built) == expected


def test_the_page_is_one_small_document(page):
    assert len(page.encode()) <= PAGE_BYTES_MOST
    without_script = re.sub(r'<script type="module">.*?</script>', "", page, flags=re.DOTALL)
    assert re.findall(r"""(?:src|href)=["'](?!data:)[^"']*|@import|url\((?!data:)""", without_script) == []


def test_the_charts_library_is_what_its_authors_released(tmp_path):
    package = npm_pack("uplot", UPLOT_VERSION, tmp_path)
    for name, theirs in (("LICENSE", "LICENSE"), ("uPlot.iife.min.js", "dist/uPlot.iife.min.js"),
                         ("uPlot.min.css", "dist/uPlot.min.css")):
        assert (UPLOT / name).read_bytes() == (package / theirs).read_bytes(), name


def test_the_charts_library_is_pinned():
    for line in (UPLOT / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert sha256((UPLOT / name).read_bytes()).hexdigest() == digest, name
    assert f"(v{UPLOT_VERSION})" in (UPLOT / "uPlot.iife.min.js").read_text()[:80]


def test_the_document_is_valid(page, tmp_path):
    if not shutil.which("java"):
        pytest.skip("java is not installed")
    package = npm_pack("vnu-jar", "26.9.27", tmp_path)
    jar = next(package.rglob("vnu.jar"))
    (tmp_path / "page.html").write_text(page)
    done = subprocess.run(["java", "-jar", jar, "--stdout", "--format", "json", "--exit-zero-always", tmp_path / "page.html"],
                          capture_output=True, text=True, timeout=300, check=True)
    messages = [each["message"] for each in json.loads(done.stdout)["messages"]]
    # It does not compare hashes; the browser does.
    assert [each for each in messages if not each.startswith("Inline script violates Content Security Policy")] == []


# ---- live ----

def test_shows_what_the_server_does(browser, play):
    observer = play()
    open_live(browser, observer)
    assert figure(browser, "open") == 64
    assert browser.text(".who h2") == "prefork-server"
    names = browser.text(".tree tbody .name span").split("\n")
    assert names == ["master", "observer", "process 0", "process 1", "process 2", "process 3"]
    browser.wait_for(".tree td.current", "GET /plaintext HTTP/1.1")
    browser.wait_for("#totals td", "iB")  # sent
    before = browser.text("#totals")
    wait_until(lambda: browser.text("#totals") != before, "counters that go on")


def test_threads_stand_below_their_process(browser, play):
    open_live(browser, play([PlayServer("threadpool", 1, 3)]))
    names = browser.text(".tree tbody .name span").split("\n")
    assert names == ["master", "observer", "process 0", "loop 0", "loop 1", "loop 2"]


def test_a_click_kills_and_the_death_is_told(browser, play):
    observer = play()
    open_live(browser, observer)
    browser.click(".tree button.kill", "Kill")
    command = first_command(observer)
    assert command == {"command": "kill", "pid": command["pid"], "signal": "KILL"}
    browser.wait_for("#incidents li", "SIGKILL")
    browser.wait_for("#incidents li", "16 lost, back after")
    browser.wait_for(".tree td.death button", "SIGKILL, 16 lost")
    wait_until(lambda: figure(browser, "deaths") == 1 and figure(browser, "lost") == 16, "the next tick counts it")
    browser.click("#incidents button")
    assert browser.text("#story-title") == "process 0 died: SIGKILL"
    assert "16" in browser.text("#story-body")
    browser.wait_for("#announce", "process 0 died: SIGKILL, 16 lost")


def test_a_click_shows_the_death_at_once(browser, play):
    """A button, the way to the server and back, and the page: a quarter of a second, or more on a busy machine. Where the
    machine itself stood still, once more."""
    observer = play()
    open_live(browser, observer)

    def took_ms():
        return browser.driver.execute_async_script("""
            const done = arguments[arguments.length - 1];
            const seen = () => document.querySelectorAll('#incidents li').length;
            const before = seen();
            const began = performance.now();
            new MutationObserver(() => {
                if (seen() > before) done(performance.now() - began);
            }).observe(document.getElementById('incidents'), {childList: true});
            document.querySelector('.tree button.kill').click();""")
    wait_until(lambda: took_ms() < 5000 or let_it_go_on(observer, 1000), "a death that is shown at once")


def test_kill_one_tells_what_it_cost_beside_the_button(browser, play):
    observer = play([PlayServer(on_death="adopt")])
    open_live(browser, observer)
    browser.click(".server .acts button.kill", "Kill one")
    browser.wait_for(".server .acts output", "SIGKILL: 0 lost, 16 adopted, back after")


def test_a_crash_has_its_stack(browser, play):
    observer = play()
    open_live(browser, observer)
    browser.click(".toolbar .faults button")
    assert first_command(observer) == {"command": "fault", "path": "/fault/segv"}
    browser.click("#incidents button", "SIGSEGV")
    browser.wait_for(".stack li", "raise_fault")
    assert "common/handlers/lab/fault.c:61" in browser.text(".stack")
    assert "9 frames left out" in browser.text(".stack")
    assert "GET /fault/segv HTTP/1.1" in browser.text("#story-body")


def test_the_signal_can_be_chosen(browser, play):
    observer = play()
    open_live(browser, observer)
    browser.run("document.querySelector('.toolbar select').value = 'ABRT'")
    browser.click(".tree button.kill", "Kill")
    browser.wait_for("#incidents li", "SIGABRT")


def test_a_stuck_thread_is_seen_and_told(browser, play):
    observer = play()
    open_live(browser, observer)

    def is_seen():  # until the watchdog comes: then another one
        with observer.lock:
            if not any(slot["stuck"] for process in observer.streams[0].server.processes for slot in process["slots"]):
                observer.command("", {"command": "fault", "path": "/fault/deadlock"})
        return "blocked" in browser.text(".tree td.state.bad")
    wait_until(is_seen, "a thread that is blocked")
    browser.click("#incidents .stuck button", "blocked")
    assert "futex_wait_queue" in browser.text("#story-body")
    browser.wait_for("#incidents .death", "SIGABRT")  # the watchdog's


def test_what_the_master_refuses_is_told(browser, play):
    observer = play([PlayServer(processes=1)])
    open_live(browser, observer)
    browser.click(".toolbar button", "Remove")
    browser.wait_for(".toolbar output", "one process has to stay")
    browser.click(".toolbar button", "Add")
    browser.wait_for(".toolbar output", "ok, wanted 2")
    browser.wait_for(".tree .name", "process 1")


def test_draining_takes_two_clicks(browser, play):
    observer = play()
    open_live(browser, observer)
    button = ("const button = [...document.querySelectorAll('.toolbar button')]"
              ".find(each => each.textContent.startsWith('Drain'));")
    browser.wait_for(".toolbar button", "Drain")
    assert browser.run(button + "button.click(); return button.textContent") == "Drain: end the server?"
    assert observer.posts == []
    # It asks for four seconds: who is later has to click twice once more.
    browser.run(button + "if (button.textContent === 'Drain') button.click(); button.click()")
    browser.wait_for(".phase", "draining")


def test_the_token_leaves_the_address_bar(browser, play):
    observer = play()
    open_live(browser, observer)
    assert browser.driver.current_url == observer.url
    browser.driver.refresh()
    browser.wait_for(".tree button.kill", "Kill")


def test_without_a_token_there_are_no_buttons(browser, play):
    observer = play()
    browser.driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": observer.url, "storageTypes": "all"})
    browser.open(observer.url)
    browser.wait_for(".phase", "running")
    assert browser.all("button.kill") == []
    assert browser.one("#no-token").is_displayed()


def test_without_control_there_are_no_buttons(browser, play):
    open_live(browser, play([PlayServer(control=False)]))
    assert not any(each.is_displayed() for each in browser.all("button.kill"))
    assert not browser.one("#no-token").is_displayed()


def test_a_wrong_token_is_told(browser, play):
    observer = play()
    browser.open(f"{observer.url}#token=wrong")
    browser.wait_for(".phase", "running")
    browser.click(".tree button.kill", "Kill")
    browser.wait_for(".tree output", "this needs the token")
    assert all("403" in each for each in browser.complaints())


def test_three_servers_stand_side_by_side(browser, play):
    observer = play(three_servers())
    open_live(browser, observer)
    wait_until(lambda: figure(browser, "rate", 2) > 0, "the third server")
    assert browser.text(".who h2").split("\n") == ["prefork", "threadpool", "hybrid"]
    browser.click("#presets button", "kill one a second")
    browser.wait_for("#presets output", "one process of each was killed")
    browser.wait_for("#incidents li", "prefork")
    browser.wait_for("#incidents li", "threadpool")
    browser.wait_for("#incidents li", "adopted")
    wait_until(lambda: figure(browser, "wrk", 1) == figure(browser, "lost", 1) == 64, "wrk's errors beside the journal's")
    assert figure(browser, "lost", 2) == 0


def test_text_of_clients_is_only_text(browser, play):
    server = PlayServer()
    hostile = "GET /<img/src=x/onerror=alert(1)><script>alert(2)</script> HTTP/1.1"
    observer = play([server])
    open_live(browser, observer)
    with observer.lock:  # until it is dead, or it would go on to the next request
        server.processes[0]["slots"][0]["current"] = hostile
        observer.kill_one()
    browser.click("#incidents button")
    browser.wait_for(".requests code", hostile)
    assert browser.all("img, #story script") == []


# ---- time ----

def test_goes_on_where_it_was_when_its_connection_breaks(browser, play):
    observer = play()
    open_live(browser, observer)
    tries = len(observer.joined)
    observer.drop_all()
    wait_until(lambda: len(observer.joined) > tries, "the page's next try")
    assert observer.joined[tries].startswith(observer.streams[0].server.boot)
    browser.wait_for(".phase", "running")


def test_a_new_observer_is_found_and_the_history_stays(browser, play):
    observer = play()
    open_live(browser, observer)
    observer.kill_one()
    browser.wait_for("#incidents li", "SIGKILL")
    with observer.lock:
        observer.streams[0].server.deaths = []
    tries = len(observer.joined)
    observer.respawn()
    wait_until(lambda: len(observer.joined) > tries, "the page's next try")
    browser.wait_for(".phase", "running")
    assert "SIGKILL" in browser.text("#incidents")
    assert browser.all(".mark.death") != []


def test_an_observer_that_falls_silent_is_asked_again(browser, play):
    observer = play()
    open_live(browser, observer)
    tries = len(observer.joined)
    observer.is_silent = True
    browser.wait_for(".phase", "observer silent for")
    wait_until(lambda: len(observer.joined) > tries, "another try")
    observer.is_silent = False
    browser.wait_for(".phase", "running")


def test_an_observer_that_refuses_is_asked_until_it_does_not(browser, play):
    observer = play()
    open_live(browser, observer)
    observer.refuses = True
    observer.drop_all()
    browser.wait_for(".phase", "observer silent for")
    observer.refuses = False
    browser.wait_for(".phase", "running")
    assert all("503" in each for each in browser.complaints())


def test_a_silent_master_is_told(browser, play):
    server = PlayServer()
    open_live(browser, play([server]))
    server.heard_ms = 4200
    browser.wait_for(".phase", "master is silent")
    assert "master heard 4.2 s ago" in browser.text(".about")


def let_it_go_on(observer, ms):
    server = observer.streams[0].server
    end_ms = server.now_ms + ms
    wait_until(lambda: server.now_ms >= end_ms, f"{ms} ms more have been told")


def test_pausing_stops_the_picture_and_not_the_memory(browser, play):
    observer = play()
    open_live(browser, observer)
    browser.click("#pause", "Pause")
    browser.wait_for("#pause", "Go on")
    observer.kill_one()
    let_it_go_on(observer, 2000)  # so that a page that does not pause would have drawn it
    assert browser.text("#incidents") == ""
    browser.click("#pause")
    browser.wait_for("#incidents li", "SIGKILL")


@pytest.fixture
def save(browser):
    """Clicks on "Save as HTML"; returns the file."""
    def click():
        folder = browser.downloads
        for old in folder.glob("twinhttpd-*.html"):
            old.unlink()
        browser.click("#save")
        return wait_until(lambda: next(folder.glob("twinhttpd-*.html"), None), "the saved page")
    return click


def test_a_recording_replays_by_itself(browser, play, save):
    observer = play(three_servers())
    open_live(browser, observer)
    observer.kill_one(0)
    observer.kill_one(1, "SEGV")
    browser.wait_for("#incidents li", "SIGSEGV")
    let_it_go_on(observer, 1500)  # something that comes behind them
    path = save()
    observer.close()
    browser.open(path.as_uri())
    browser.wait_for("#made", "Recorded on")
    browser.wait_for("#incidents li", "SIGKILL")
    browser.wait_for("#incidents li", "SIGSEGV")
    assert browser.text(".who h2").split("\n") == ["prefork", "threadpool", "hybrid"]
    wait_until(lambda: figure(browser, "rate") > 0, "requests per second")
    assert browser.all("button.kill") == []
    browser.wait_for("#pause", "Play")  # it has come to its end
    browser.run("const slider = document.getElementById('moment'); slider.value = 0; slider.dispatchEvent(new Event('input'))")
    wait_until(lambda: browser.text("#incidents") == "", "the time before the deaths")


def test_a_recording_contains_itself_alone(browser, play, save):
    observer = play()
    open_live(browser, observer)
    observer.kill_one()
    browser.wait_for("#incidents li", "SIGKILL")
    text = save().read_text()
    recording = re.search(r'<script type="application/json" id="recording">(.*?)</script>', text)[1]
    events = json.loads(recording)["events"]
    assert events[0][2] == "hello"
    assert [each[0] for each in events] == sorted(each[0] for each in events)
    assert {"tick", "processes", "death"} <= {each[2] for each in events}
    assert TOKEN not in text


# ---- safety ----

def test_the_policy_holds(browser, play):
    open_live(browser, play())
    browser.run("""const script = document.createElement('script');
        script.textContent = 'window.broken = 1';
        document.body.append(script);
        const style = document.createElement('style');
        style.textContent = 'body { opacity: 0.5 }';
        document.body.append(style);""")
    assert browser.run("return window.broken ?? null") is None
    assert browser.run("return getComputedStyle(document.body).opacity") == "1"
    refused = browser.driver.execute_async_script("""const done = arguments[arguments.length - 1];
        fetch('http://127.0.0.2:9/').then(() => done('reached'), () => done('refused'));""")
    assert refused == "refused"
    complaints = []
    wait_until(lambda: complaints.extend(browser.complaints()) or len(complaints) >= 3, "a complaint of each")
    assert all("Content Security Policy" in each or "127.0.0.2" in each for each in complaints), complaints


def test_readable_without_scripts(page, play, tmp_path):
    observer = PlayObserver(page.replace("<!--table-->", "<table><tr><td>process 0 is ready</td></tr></table>"), [PlayServer()])
    plain = browsers.Browser(tmp_path, scripts=False)
    try:
        plain.open(observer.url)
        assert plain.one("body").text == "process 0 is ready"
    finally:
        plain.quit()
        observer.close()


# ---- eyes and hands ----

def tab_to(browser, selector, most=80):
    """Presses the tab key until what has the focus matches."""
    from selenium.webdriver.common.keys import Keys
    for _ in range(most):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        if browser.run("return document.activeElement.matches(arguments[0])", selector):
            return
    raise AssertionError(f"the tab key does not lead to {selector}")


def test_everything_is_done_by_keyboard(browser, play):
    from selenium.webdriver.common.keys import Keys
    observer = play()
    open_live(browser, observer)
    tab_to(browser, ".server .acts button.kill")
    assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    browser.wait_for("#incidents li", "SIGKILL")
    browser.wait_for("#incidents li", "back after")  # nothing more is to come of it, which would replace what has the focus
    tab_to(browser, ".mark")
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.one("#story").is_displayed()
    assert browser.run("return document.activeElement.id") == "story-title"
    browser.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not browser.one("#story").is_displayed()
    assert browser.run("return document.activeElement.matches('.mark, #incidents button')")


def test_nothing_is_wider_than_a_telephone(browser, play):
    observer = play(three_servers())
    open_live(browser, observer, size=browsers.NARROW)
    observer.kill_one()
    browser.wait_for("#incidents li", "SIGKILL")
    assert browser.run("return document.documentElement.scrollWidth") == browsers.NARROW[0]


def test_whoever_wants_less_motion_gets_it(browser, play):
    observer = play()
    open_live(browser, observer, still=True)
    drawn, passed_ms = browser.driver.execute_async_script("""const done = arguments[arguments.length - 1];
        const began = performance.now();
        let drawn = 0;
        new MutationObserver(() => drawn++).observe(document.querySelector('.tree tbody'),
            {subtree: true, childList: true, characterData: true});
        const timer = setInterval(() => {
            const passed_ms = performance.now() - began;
            if (passed_ms < 3000 || drawn === 0) return;
            clearInterval(timer);
            done([drawn, passed_ms]);
        }, 100);""")
    observer.kill_one()
    browser.wait_for("#incidents li", "SIGKILL")
    assert drawn <= 10 * passed_ms / 3000, f"{drawn} drawings in {passed_ms} ms"


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    return (npm_pack("axe-core", AXE_VERSION, tmp_path_factory.mktemp("axe")) / "axe.min.js").read_text()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [browsers.WIDE, browsers.NARROW], ids=["wide", "narrow"])
def test_a_checker_of_accessibility_finds_nothing(browser, play, axe, size, dark):
    observer = play(three_servers())
    open_live(browser, observer, size=size, dark=dark)
    observer.kill_one(0)
    observer.kill_one(1, "SEGV")
    browser.click("#incidents button", "SIGSEGV")
    browser.wait_for(".stack li")
    browser.click("#pause")
    browser.run(axe)
    for closed in (False, True):
        found = browser.driver.execute_async_script("""const done = arguments[arguments.length - 1];
            axe.run().then(result => done(result.violations.map(each =>
                each.id + ': ' + each.help + ' ' + each.nodes.slice(0, 3).map(node => node.html.slice(0, 160)).join(' | '))));""")
        assert found == [], f"story closed: {closed}"
        browser.click("#story-close")


# ---- what it costs ----

def test_ten_minutes_do_not_grow_the_heap(browser, play):
    """At 10 Hz, forty times as fast; the second ten minutes are to find the room of the first ones."""
    observer = play(three_servers(), speed=40.0)
    open_live(browser, observer)
    server = observer.streams[0].server

    def heap_after(minutes):
        wait_until(lambda: server.now_ms >= server.started_ms + minutes * 60_000, f"{minutes} minutes", 4 * DEADLINE_S, 0.2)
        browser.driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
        return browser.run("return performance.memory.usedJSHeapSize")

    begin = heap_after(1)
    end = heap_after(11)
    print(f"heap: {begin / 1e6:.1f} MB after a minute, {end / 1e6:.1f} MB after eleven")
    assert end - begin <= HEAP_GROWTH_BYTES


@pytest.mark.skipif(not os.environ.get("TWINHTTPD_SCREENSHOTS"), reason="TWINHTTPD_SCREENSHOTS names no folder for them")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [browsers.WIDE, browsers.NARROW], ids=["1280", "390"])
@pytest.mark.parametrize("count", [1, 3])
def test_screenshots(browser, play, count, size, dark):
    observer = play(three_servers() if count == 3 else [PlayServer()])
    open_live(browser, observer, size=size, dark=dark)
    name = f"{count}-{size[0]}-{'dark' if dark else 'light'}"
    for at in range(12):
        time.sleep(1)
        if at % 4 == 0:
            observer.kill_one(at % count, "SEGV" if at == 8 else "KILL")
        if at == 6:
            observer.command("", {"command": "fault", "path": "/fault/deadlock"})
    folder = Path(os.environ["TWINHTTPD_SCREENSHOTS"])
    browser.screenshot(folder / f"{name}.png")
    browser.click("#incidents .death button", "SIGSEGV")
    browser.wait_for(".stack li")
    browser.screenshot(folder / f"{name}-story.png", whole=False)
