"""The documents say what is so: their links and paths lead somewhere, server/README.md lists every setting, and
server/observe/README.md every field of /api/v1/state, and none more."""

import functools
import json
import math
import os
import re
import subprocess
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN_DIR = Path(os.environ.get("TWINHTTPD_BIN_DIR", ROOT / "build/dev/bin"))
MANUAL = ROOT / "server/README.md"
FOLDERS = ("common", "server", "loadtest", "tests", "config", "docker", ".ci")
UNREAD = re.compile(r"^(build|\.git|loadtest/results|loadtest/reports/2026[^/]*)(/|$)")

# What a document names without there being such a file in the tree: what a reader makes, or the laboratory.
ELSEWHERE = {"site.yaml", "my.yaml", "foo.c", "summary.md"}

CODE_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
PATH = re.compile(rf"(?<![\w./<-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w.*/-]*[\w*]")
SOURCE = re.compile(r"`((?:[\w.-]+/)*[\w-]+\.(?:c|h|py|lua|yaml|md|sh))`")
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", re.MULTILINE)


def is_read(path):
    return not UNREAD.match(str(path.relative_to(ROOT)))


def all_paths():
    """What is not read is not entered either: somebody may build there meanwhile, and remove what was just seen."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if is_read(Path(folder, name))]
        yield from (path for name in (*folders, *files) if is_read(path := Path(folder, name)))


DOCUMENTS = sorted(path for path in all_paths() if path.suffix == ".md")
of_each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def without_code_blocks(text):
    return CODE_BLOCK.sub("", text)


def slug(heading):
    """The anchor that GitHub makes of a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-")


def anchors(path):
    text = without_code_blocks(path.read_text())
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def test_the_first_page_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@of_each_document
def test_tables_fit_100_columns(document):
    """As they are read: without the targets of links."""
    rows = [re.sub(r"\]\([^)]*\)", "]", line) for line in document.read_text().splitlines() if line.startswith("|")]
    assert [row for row in rows if len(row) > 100] == []


@of_each_document
def test_links_lead_to_files_and_headings(document):
    broken = []
    for match in LINK.finditer(without_code_blocks(document.read_text())):
        target = match[1] or match[2]
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name) if name else document
        if not path.exists() or anchor and anchor not in anchors(path):
            broken.append(target)
    assert broken == []


@functools.cache
def all_files():
    return [str(path.relative_to(ROOT)) for path in all_paths()]


def exists(name, document):
    """Whether there is what a document calls that: from the root, from its folder, or by its last parts."""
    return ((ROOT / name).exists() or (document.parent / name).exists() or
            any(path.endswith("/" + name) for path in all_files()))


def is_pattern(name):
    """loadtest/results is made by the laboratory; what a reader adds is called NAME, or hello."""
    return any(word in name for word in ("*", "NAME", "hello")) or name.startswith("loadtest/results")


@of_each_document
def test_the_files_that_are_named_exist(document):
    text = document.read_text()
    names = {match[0] for match in PATH.finditer(text)}
    names |= {match[1] for match in SOURCE.finditer(without_code_blocks(text))} - ELSEWHERE
    assert [name for name in sorted(names) if not is_pattern(name) and not exists(name, document)] == []


@of_each_document
def test_outputs_do_not_tell_where_the_project_lay(document):
    assert str(ROOT) + "/" not in document.read_text()


# ---- the settings ----

def settings_of(server):
    """key: (values, default), as --help has them; a flag has none of its own."""
    text = subprocess.run([BIN_DIR / server, "--help"], capture_output=True, text=True, check=True).stdout
    found = {}
    for option, rest in re.findall(r"^  --(\S+)(?: VALUE)?\n((?:      .*\n)+)", text.split("\nSettings:\n")[1], re.M):
        values = re.search(r"VALUE: (.*); default: (.*)$", rest, re.MULTILINE)
        found[option.replace("-", "_")] = values.groups() if values else ("on|off", "off")
    return found


def documented_setting(key, prefork, threadpool):
    """How the reference begins the entry of a setting."""
    only = "; threadpool-server alone" if prefork is None else "; prefork-server alone" if threadpool is None else ""
    values, default = prefork or threadpool
    if prefork and threadpool and prefork != threadpool:
        values = f"prefork-server: {prefork[0]}; threadpool-server: {threadpool[0]}"
    return f"- `{key}` ({values}; default {default}{only}): "


def test_every_setting_is_documented_with_its_values_and_default():
    prefork, threadpool = settings_of("prefork-server"), settings_of("threadpool-server")
    wanted = [documented_setting(key, prefork.get(key), threadpool.get(key)) for key in prefork | threadpool]
    reference = section(MANUAL.read_text(), "Every setting")
    entries = [re.sub(r"\n  ", " ", entry) for entry in re.findall(r"^- .*(?:\n  .*)*", reference, re.MULTILINE)]
    assert sorted(wanted) == sorted(re.match(r"- `\w+` \(.*?\): ", entry)[0] for entry in entries)


def section(text, heading):
    """What stands below a heading of the second level."""
    return re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]


# ---- the fields of /api/v1/state ----

def fields_in(value, path=""):
    """The paths of all members that are neither objects nor lists: deaths[].crash.frames[].line."""
    if isinstance(value, dict):
        return {found for key, member in value.items() for found in fields_in(member, f"{path}.{key}".lstrip("."))}
    if isinstance(value, list):
        return {found for member in value for found in fields_in(member, path + "[]")}
    return {re.sub(r"\.\d+s\.", ".*.", path)}  # latency.60s.count


def innermost(fields):
    """Without objects and lists, which have members: a row may tell of one, and one that is null looks like a field."""
    return {field for field in fields if not any(other.startswith((field + ".", field + "[]")) for other in fields)}


def documented_fields():
    """A section of the reference names the objects in its heading, and their members in a table."""
    found = set()
    reference = section((ROOT / "server/observe/README.md").read_text(), "Fields of /api/v1/state")
    for part in re.split(r"^### ", reference, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        prefixes = [f"{name}." for name in re.findall(r"`([^`]+)`", heading)] or [""]
        found |= {prefix + name for prefix in prefixes for name in re.findall(r"^\| `([^`]+)` \|", body, re.MULTILINE)}
    return innermost(found)


def wait_until(condition):
    deadline = time.monotonic() + 600
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.fixture
def server(tmp_path):
    """The URLs of a server in which a worker may crash or get stuck, and of its observer."""
    output = tmp_path / "output"
    command = [BIN_DIR / "prefork-server", "--listen", "127.0.0.1:0", "--workers", "2", "--faults", "on",
               "--stuck-after-ms", "1000", "--on-death", "adopt", "--observe", "127.0.0.1:0"]
    with output.open("w") as file, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                                                    start_new_session=True) as run:
        def address_behind(words):
            return wait_until(lambda: re.search(rf"{words} +(http://[\w.:]+)", output.read_text()))[1]
        try:
            yield address_behind("listening on"), address_behind("\n  observe")
        finally:
            run.terminate()


def get(url):
    with urllib.request.urlopen(url, timeout=300) as answer:
        return answer.read()


def fields_now(observer):
    try:
        return fields_in(json.loads(get(observer + "/api/v1/state")))
    except OSError:  # who was asked was taken for stuck
        return set()


def provoke_deaths(url):
    """Of a fault, and of being stuck."""
    for path in ("/fault/segv", "/fault/deadlock"):
        with pytest.raises(OSError):
            get(url + path)


def test_every_field_of_the_state_is_documented(server):
    url, observer = server
    documented, shown = documented_fields(), set()

    def are_shown():
        """A request is shown while its process is stuck; what follows a death is told later. A thread that gets no CPU
        does not tell its stack in time: then there must be another one, and what was shown of the first may be forgotten
        by then."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            deaths = pool.submit(provoke_deaths, url)
            patience_s = math.inf
            while documented - shown and time.monotonic() < patience_s:
                shown.update(fields_now(observer))
                time.sleep(0.05)
                if deaths.done():
                    deaths.result()
                    patience_s = min(patience_s, time.monotonic() + 5)
        return not documented - shown
    wait_until(are_shown)
    assert innermost(shown) == documented


# ---- handlers and demonstrations ----

def test_every_path_of_a_handler_is_documented():
    """/fault/segv by its whole name, or as `segv` beside others of its kind."""
    sources = (path.read_text() for path in (ROOT / "common/handlers").rglob("*.c"))
    paths = [path for source in sources for path in re.findall(r'\.path = "([^"]+)"', source)]
    words = set(re.findall(r"[`/ ]([\w-]+)(?=[`?])", (ROOT / "common/handlers/README.md").read_text()))
    assert len(paths) > 30
    assert [path for path in paths if path.rsplit("/", 1)[1] not in words] == []


def test_every_demonstration_is_documented():
    listed = subprocess.run([ROOT / "loadtest/lab", "demo"], capture_output=True, text=True, check=True).stdout
    table = section((ROOT / "loadtest/README.md").read_text(), "See what they share")
    assert [line.split()[0] for line in listed.splitlines()] == re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)
