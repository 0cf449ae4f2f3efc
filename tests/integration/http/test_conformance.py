"""HTTP as the RFCs have it: each case of one table, on every model.

TWINHTTPD_TEST_CASE=open-chunk runs only the cases whose name contains that.
A small request is sent twice, as a whole with a probe right behind it, and byte by byte: how the
bytes arrive must not matter. The answers are recorded for tests/steps/differential.
"""

import os
import re
import sys
import time
from email.utils import parsedate_to_datetime

import pytest

from support import answers, conformance_cases as table, models, site as sites
from support.client import ConnectionLost, request_bytes
from support.conformance_cases import End
from support.waiting import LATENESS_S

pytestmark = pytest.mark.models(models.PROTOCOL)

# The cases whose name contains this.
ONLY = os.environ.get("TWINHTTPD_TEST_CASE", "")
MOST_FAILURES = 10  # whoever waits in vain waits long
PROBE = request_bytes(target="/plaintext", headers=[("Connection", "close")])


@pytest.fixture(scope="module", autouse=True)
def conformance_files(site):
    table.populate(site)


def send_whole(client, data):
    client.send_reluctantly(data)


def send_byte_by_byte(client, data):
    for byte in data:
        client.send_reluctantly(bytes([byte]))


SEND = {"whole": send_whole, "byte by byte": send_byte_by_byte}


def check_every_answer(response):
    """What holds for every answer but 1xx, whatever was asked."""
    assert response.version == "HTTP/1.1"
    date = response.header("Date")
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", date or ""), date
    date_s = parsedate_to_datetime(date).timestamp()
    assert abs(date_s - time.time()) < LATENESS_S
    if response.header("Last-Modified"):
        assert parsedate_to_datetime(response.header("Last-Modified")).timestamp() <= date_s
    if response.status == 204:
        assert response.header("Content-Length") is None
    elif response.status != 304:
        assert response.header("Content-Length") or response.header("Transfer-Encoding")
    assert not (response.header("Content-Length") and response.header("Transfer-Encoding"))
    if response.status == 405:
        assert response.header("Allow")
    if response.status >= 400 and response.status != 404:
        assert response.header("Cache-Control") == "no-store"
    location = response.header("Location")
    assert location is None or re.match(r"/(?![/\\])|http://(test|evil\.example)/", location)
    assert sites.SECRET not in response.body and b"root:" not in response.body


def check_end(response, end):
    """What the answer says about the connection; converse() proves that it is so."""
    if end is End.OPEN:
        assert not response.says_close
    elif end is End.CLOSED:
        assert response.says_close
    elif end is End.CLOSED_UNLESS_OK and response.status != 200:
        assert response.says_close


def read_answer(client, expected, seen):
    """Reads one answer and checks it; returns whether the server says that it closes."""
    try:
        response = client.read_response(expected.method)
        if response.status == 100 and expected.or_interim:
            response = client.read_response(expected.method)
    except ConnectionLost as lost:
        assert expected.or_silence and not lost.received, lost
        return True
    assert response.status in expected.statuses, response
    seen.append(response)
    if response.status >= 200:
        check_every_answer(response)
        check_end(response, expected.end)
    for check in expected.checks:
        check(seen)
    return response.says_close


def converse(case, server, delivery):
    """Plays the case, then proves that the connection is in sync, or closed and silent."""
    send = SEND[delivery]
    known = table.Known(server)
    steps = [case.input(known) if callable(case.input) else case.input, *case.then]
    last_send = max(i for i, step in enumerate(steps) if isinstance(step, bytes))
    probed = not any(isinstance(step, table.Act) for step in steps)
    seen = []
    closed = False
    with server.connect() as client:
        for number, step in enumerate(steps):
            assert not closed, f"closed before step {number} of {case.id}: {seen}"
            if isinstance(step, bytes):
                send(client, step)
                if number == last_send and probed:
                    client.send_reluctantly(PROBE)
            elif step is table.HALF_CLOSE:
                client.half_close()
            elif step is not table.WAIT:
                closed = read_answer(client, step, seen)
        if not closed and probed:
            probe = client.read_response()
            assert (probe.status, probe.body) == (200, b"Hello, World!"), probe
        client.expect_close()
    end = "closed" if closed else "kept" if probed else "not probed"
    answers.record(case.id, server.model.name, delivery, seen, end)
    return [response.status for response in seen]


def check_case(server, case):
    pids = server.worker_pids()
    statuses = [converse(case, server, delivery) for delivery in case.deliveries]
    assert all(other == statuses[0] for other in statuses), statuses
    assert server.worker_pids() == pids, f"a worker was replaced: {server.log()}"
    server.assert_clean_log()


@pytest.mark.parametrize("chapter", table.CHAPTERS)
def test_conformance(server, chapter):
    """All cases of a chapter, since a test of pytest for each would cost more time than the cases themselves."""
    failures = []
    for case in table.CHAPTERS[chapter]:
        if ONLY not in case.id or len(failures) == MOST_FAILURES:
            continue
        try:
            check_case(server, case)
        except Exception as failure:
            failure.add_note(f"case {case.id}, RFC {case.rfc}")
            failures.append(failure)
    if failures:
        raise ExceptionGroup(f"{chapter} on {server.model}", failures)


def test_the_table(capsys):
    """Prints its size, so that a run says how much it has shown."""
    cases = table.CASES
    with capsys.disabled():
        # Not to stdout: a process of pytest-xdist has none that anybody sees.
        print(f"\nconformance: {len(cases)} cases on each of {len(models.PROTOCOL)} models",
              file=sys.stderr)
    assert len({case.id for case in cases}) == len(cases)
    assert all(re.match(r"(\d{4}|WHATWG \w+) [\dC]", case.rfc) for case in cases)
    assert len(cases) >= 300
