"""Several ranges of one file: any number up to the limit, of any length, as the tools that need them ask for them."""

import email.policy
import random
import shutil
import subprocess

import pytest

from support import models
from support.client import request_bytes

MOST_RANGES = 256
TWO_MB = random.Random(3).randbytes(2_000_000)


@pytest.fixture(scope="module")
def two_mb(site):
    """A file of two megabytes: sent from its descriptor."""
    (site / "two-mb.bin").write_bytes(TWO_MB)
    return "/two-mb.bin"


def parts_of(response):
    """(Content-Range, bytes) of each part, as any reader of multipart finds them."""
    assert response.status == 206
    head = f"Content-Type: {response.header('Content-Type')}\r\n\r\n".encode()
    message = email.message_from_bytes(head + response.body, policy=email.policy.HTTP)
    assert message.is_multipart() and not message.defects
    boundary = message.get_boundary().encode()
    found = []
    for piece in response.body.split(b"\r\n--" + boundary)[1:-1]:
        fields, _, body = piece.partition(b"\r\n\r\n")
        fields = dict(line.split(": ") for line in fields.decode().split("\r\n")[1:])
        found.append((fields["Content-Range"], body))
    assert len(found) == len(message.get_payload())
    assert response.body.endswith(b"\r\n--" + boundary + b"--\r\n")
    return found


def range_header(ranges):
    return "Range", "bytes=" + ",".join(f"{first}-{last}" for first, last in ranges)


def expected_parts(content, ranges):
    return [(f"bytes {first}-{last}/{len(content)}", content[first:last + 1]) for first, last in ranges]


def spread(count, length, size):
    """So many ranges of this length, at places that have nothing to do with each other."""
    places = random.Random(count).sample(range(0, size - length, length), count)
    return [(place, place + length - 1) for place in places]


@pytest.mark.parametrize("ranges", [
    [(0, 699_999), (1_000_000, 1_699_999)],
    [(0, 999_999), (0, 999_999)],
    [(1_999_999, 1_999_999), (0, 0)],
    spread(20, 2048, 2_000_000),
    spread(100, 10_000, 2_000_000),
    spread(MOST_RANGES, 1, 2_000_000),
    spread(MOST_RANGES, 5000, 2_000_000),
], ids=["two-large", "twice-the-same", "backwards", "twenty", "hundred", "many-small", "many"])
def test_several_ranges_of_a_file(client, two_mb, ranges):
    for _ in range(2):  # the connection goes on
        response = client.get(two_mb, [range_header(ranges)])
        assert parts_of(response) == expected_parts(TWO_MB, ranges)
    assert client.get("/hello.txt").status == 200


@pytest.mark.models(models.PROTOCOL)
@pytest.mark.parametrize("ranges", [
    [(0, 1_000_000), (500_000, 1_500_000)],
    spread(MOST_RANGES + 1, 1, 2_000_000),
    [(0, 0)] * 5000,
], ids=["longer-than-the-file", "one-too-many", "far-too-many"])
def test_what_costs_too_much_is_answered_whole(client, two_mb, ranges):
    """CVE-2011-3192; RFC 9110, 17.15."""
    response = client.get(two_mb, [range_header(ranges)])
    assert response.status == 200
    assert response.body == TWO_MB


@pytest.mark.models(models.PROTOCOL)
def test_ranges_of_a_file_in_memory(client, site, tmp_path):
    content = random.Random(4).randbytes(16_000)
    path = site / f"{tmp_path.name}.bin"
    path.write_bytes(content)
    for ranges in ([(0, 7999), (8000, 15_999)], spread(200, 20, 16_000), [(5, 5), (0, 9999), (7, 7)]):
        response = client.get(f"/{path.name}", [range_header(ranges)])
        assert parts_of(response) == expected_parts(content, ranges)
    path.unlink()


@pytest.mark.models(models.PROTOCOL)
def test_pipelined_ranges_stay_in_order(client, two_mb):
    wanted = [spread(count, 3000, 2_000_000) for count in (2, 50, 3)]
    client.send(b"".join(request_bytes(target=two_mb, headers=[range_header(ranges)])
                         + request_bytes(target="/hello.txt") for ranges in wanted))
    for ranges in wanted:
        assert parts_of(client.read_response()) == expected_parts(TWO_MB, ranges)
        assert client.read_response().status == 200


@pytest.mark.models(models.PROTOCOL)
def test_ranges_for_a_slow_reader(server, two_mb):
    """Blocked again and again, within lines and within parts."""
    ranges = spread(100, 4000, 2_000_000)
    with server.connect(receive_buffer_bytes=2304) as client:
        client.send(request_bytes(target=two_mb, headers=[range_header(ranges)]))
        assert parts_of(client.read_response()) == expected_parts(TWO_MB, ranges)


@pytest.mark.models(models.PROTOCOL)
def test_head_knows_no_ranges(client, two_mb):
    """A range has a meaning for GET alone (RFC 9110, 14.2)."""
    response = client.request("HEAD", two_mb, [range_header([(0, 4), (7, 9)])])
    assert response.status == 200
    assert response.header("Content-Length") == str(len(TWO_MB))


# Real clients.

def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, (command, done.stdout[-1000:], done.stderr[-1000:])
    return done.stdout


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
def test_curl(server, two_mb, tmp_path):
    body = run("curl", "-sf", "-r", "0-99,1000-1099,5-5", server.url + two_mb, cwd=tmp_path)
    assert TWO_MB[:100] in body and TWO_MB[1000:1100] in body
    (tmp_path / "half.bin").write_bytes(TWO_MB[:700_000])
    run("curl", "-sf", "-C", "-", "-o", "half.bin", server.url + two_mb, cwd=tmp_path)
    assert (tmp_path / "half.bin").read_bytes() == TWO_MB


@pytest.mark.models(models.ONE_OF_EACH_BINARY)
@pytest.mark.skipif(not shutil.which("zsync"), reason="zsync is not installed")
def test_zsync(server, site, two_mb, tmp_path):
    """It fetches what has changed, twenty ranges at a time, and gives up on a 200."""
    old = bytearray(TWO_MB)
    for place in range(3000, len(old), 40_000):
        old[place:place + 10] = b"an old part"[:10]
    (tmp_path / "old.bin").write_bytes(old)
    zsync = site / "two-mb.zsync"
    run("zsyncmake", "-b", "2048", "-u", server.url + two_mb, "-o", zsync, site / "two-mb.bin", cwd=tmp_path)
    run("zsync", "-i", "old.bin", "-o", "new.bin", f"{server.url}/two-mb.zsync", cwd=tmp_path)
    zsync.unlink()
    assert (tmp_path / "new.bin").read_bytes() == TWO_MB
