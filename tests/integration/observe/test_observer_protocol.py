"""The observer speaks HTTP/1.1 as the server does: what is malformed is refused with the same statuses, and nothing that a
client sends ends it."""

import random
import re

import pytest

from support import conformance_cases, models, observing
from support.client import ConnectionLost
from support.malformed_cases import CASES
from support.observing import Observer

pytestmark = pytest.mark.models(models.ONE_OF_EACH_BINARY)
ROUNDS = 200


@pytest.fixture
def observer(model, shared_servers):
    """That of a server which tests share; after each it is the same, and well."""
    shared = Observer(shared_servers.get(model, observing.ON))
    pid = shared.pid()
    yield shared
    shared.wait_until_says("/live", 200, "the master is alive")
    assert shared.pid() == pid
    shared_servers.check(model, observing.ON)


def for_observer(observer, data):
    """What is meant for any server, with the observer's name."""
    return data.replace(b"Host: test\r\n", f"Host: {observer.host}\r\n".encode())


@pytest.mark.parametrize("case", CASES)
def test_malformed(observer, case):
    request, statuses = CASES[case]
    with observer.connect() as client:
        client.send(observer.request_bytes(target="/ready") + for_observer(observer, request))
        assert client.read_response().status == 200
        response = client.read_response()
        assert response.status in statuses
        assert response.says_close
        client.expect_close()


def ends_within_a_message(case):
    return case.id.startswith("half-close-incomplete-") or case.id == "chunk-end-last-then-cr"


def test_what_conforms(observer):
    """The inputs of the table, whatever they ask for."""
    for case in conformance_cases.CASES:
        if callable(case.input):
            continue
        with observer.connect() as client:
            client.send_reluctantly(for_observer(observer, case.input))
            client.half_close()
            text = client.read_to_end()
            answers = re.findall(rb"(?:^|\n)HTTP/1\.1 (\d{3}) ", text)
            assert b"500" not in answers, case
            assert answers or ends_within_a_message(case), case


def test_random_bytes(observer):
    generator = random.Random(20)
    for _ in range(ROUNDS):
        with observer.connect() as client:
            client.send_reluctantly(generator.randbytes(generator.randrange(1, 2000)) + b"\r\n\r\n")
            client.half_close()
            client.read_to_end()


def test_requests_behind_each_other(observer):
    with observer.connect() as client:
        client.send(20 * observer.request_bytes(target="/ready"))
        for _ in range(20):
            assert client.read_response().status == 200
        client.send(observer.request_bytes(target="/ready", headers=[("Connection", "close")]))
        assert client.read_response().says_close
        client.expect_close()


def test_a_client_that_leaves_meanwhile(observer):
    request = observer.request_bytes("POST", "/api/v1/commands", body=b"x" * 100)
    for length in range(0, len(request), 7):
        with observer.connect() as client:
            client.send(request[:length])
    with pytest.raises(ConnectionLost), observer.connect() as client:
        client.half_close()
        client.read_response()
