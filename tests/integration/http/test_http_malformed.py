"""Input that is not HTTP/1.1: refused with the right status, logged, and never a crash."""

import random
import re

import pytest

from support import models
from support.client import request_bytes
from support.malformed_cases import CASES
from support.waiting import wait_until

pytestmark = pytest.mark.models(models.PROTOCOL)

# Where the message ends is beyond doubt: closing is allowed, going on is too.
BAD_TARGETS = ["*", "/%zz", "/a%", "/a%0", "/a%00b", "/a%0ab", "/%7f"]


@pytest.mark.parametrize("target", BAD_TARGETS)
def test_bad_targets(client, target):
    response = client.get(target)
    assert response.status == 400
    if response.says_close:
        client.expect_close()
    else:
        assert client.get("/plaintext").body == b"Hello, World!"


@pytest.mark.parametrize("case", CASES)
def test_malformed(server, case):
    request, statuses = CASES[case]
    with server.connect() as client:
        client.send(request)
        response = client.read_response()
        assert response.status in statuses
        if response.status == 200:
            return
        assert response.header("Date")
        assert response.says_close
        client.expect_close()
    assert server.get("/plaintext").status == 200


@pytest.mark.parametrize("case", CASES)
def test_malformed_after_a_good_request(server, case):
    """What came before the fault is answered, in order; what comes after it never is."""
    request, statuses = CASES[case]
    with server.connect() as client:
        client.send(request_bytes(target="/json") + request)
        assert client.read_response().body == server.get("/json").body
        assert client.read_response().status in statuses
        if 200 not in statuses:
            client.expect_close()


def test_a_malformed_request_is_logged_at_info(model, start_server):
    server = start_server(model)
    with server.connect() as client:
        client.send(CASES["empty-name"][0])
        assert client.read_response().status == 400
        server.wait_for_log(r"\[info\] .*400.*" + re.escape(client.name)
                            + r"|\[info\] .*" + re.escape(client.name) + ".*400")


def test_a_client_that_goes_away_in_the_middle_costs_nothing(server):
    request = request_bytes("POST", "/echo", body=b"x" * 100)
    for length in range(0, len(request), 7):
        with server.connect() as client:
            client.send(request[:length])
    assert server.get("/plaintext").status == 200
    wait_until(lambda: server.status()["totals"]["connections_open"] == 0,
               "the connections are closed")


def test_random_bytes_never_kill(server):
    generator = random.Random(20)
    for _ in range(200):
        with server.connect() as client:
            client.send_reluctantly(generator.randbytes(generator.randrange(1, 2000)) + b"\r\n\r\n")
            client.half_close()
            client.read_to_end()
    assert server.get("/plaintext").status == 200
