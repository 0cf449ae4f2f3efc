"""The comparison of tests/steps/differential: made-up answers, and what it must find in them."""

import xml.etree.ElementTree as xml
from itertools import product

import pytest

from support import answers, conformance_cases as table, differences, models
from support.client import Response

GOOD = "HTTP/1.1 200 OK; 2 bytes, SHA-256 0123456789abcdef | kept"
OTHER = GOOD.replace("kept", "closed")
KEYS = list(product(("one", "two"), ("prefork", "hybrid"), ("whole", "byte by byte")))


@pytest.fixture
def recorded():
    """Two runs in which every case has the same answer."""
    return {version: dict.fromkeys(KEYS, GOOD) for version in ("8.1.0", "9.2.1")}


def test_same_answers(recorded):
    assert differences.compare(recorded, KEYS) == (
        [], "2 cases x 2 models x 2 deliveries x 2 parsers: 16 answers, 0 differences")


@pytest.mark.parametrize("version, key", product(("8.1.0", "9.2.1"), KEYS))
def test_one_different_answer(recorded, version, key):
    recorded[version][key] = OTHER
    lines, summary = differences.compare(recorded, KEYS)
    assert summary.endswith(": 16 answers, 1 differences")
    case, model, delivery = key
    assert lines == [f"different: {case}: (made in the test)", f"  most: {GOOD}",
                     f"  other: {OTHER}", f"    {model}, {delivery}, llhttp {version}"]


def test_versions_that_disagree_on_a_case(recorded):
    for key in KEYS[:4]:
        recorded["9.2.1"][key] = OTHER
    lines, summary = differences.compare(recorded, KEYS)
    assert summary.endswith(": 16 answers, 4 differences")
    assert lines[1:3] == [f"  most: {GOOD}", f"  other: {OTHER}"]
    assert lines[3:] == sorted(f"    {model}, {delivery}, llhttp 9.2.1"
                               for _, model, delivery in KEYS[:4])


def test_input_of_a_known_case_is_shown():
    known = next(case for case in table.CASES if case.id == "version-1.0")
    key = (known.id, "prefork", "whole")
    lines, _ = differences.compare({"8": {key: GOOD}, "9": {key: OTHER}}, [key])
    assert lines[0] == rf"different: version-1.0: {known.input!r}"


@pytest.mark.parametrize("version", ["8.1.0", "9.2.1"])
def test_missing_answer(recorded, version):
    del recorded[version]["two", "hybrid", "whole"]
    lines, summary = differences.compare(recorded, KEYS)
    assert lines == [f"missing: two: hybrid, whole, llhttp {version}"]
    assert summary.endswith(": 15 answers, 0 differences, 1 missing")


def test_case_that_is_missing_everywhere(recorded):
    lines, summary = differences.compare(recorded, [*KEYS, ("three", "prefork", "whole")])
    assert len(lines) == 2 and all(line.startswith("missing: three:") for line in lines)
    assert summary.endswith("2 missing")


def test_empty_run(recorded):
    recorded["9.2.1"] = {}
    keys = [(f"case {number}", "prefork", "whole") for number in range(50)]
    recorded["8.1.0"] = dict.fromkeys(keys, GOOD)
    lines, summary = differences.compare(recorded, keys)
    assert lines[-1] == "missing: 30 more" and summary.endswith("50 missing")


# The way through the files.

@pytest.fixture
def record(monkeypatch):
    """Records an answer as the conformance tests do, from two processes by turns."""
    def record_one(folder, number, key, status=200):
        monkeypatch.setenv("TWINHTTPD_ANSWERS", str(folder))
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{number % 2}")
        response = Response("HTTP/1.1", status, "Said", (("content-length", "2"),), b"ab")
        answers.record(*key, [response], "kept")
    return record_one


@pytest.fixture
def compare_files(record, tmp_path, monkeypatch, capsys):
    """Records two runs of three cases, the second one with these changes, and compares them."""
    monkeypatch.setattr(table, "CASES", table.CASES[:3])
    monkeypatch.delenv("TWINHTTPD_MODELS", raising=False)
    keys = differences.expected_keys()
    assert len(keys) == 3 * len(models.PROTOCOL) * 2

    def compare(change=lambda number: 200):
        arguments = ["--junitxml", str(tmp_path / "result.xml")]
        for name in ("8.1.0", "9.2.1"):
            for number, key in enumerate(keys):
                status = 200 if name == "8.1.0" else change(number)
                if status:
                    record(tmp_path / name, number, key, status)
            arguments.append(f"{name}={tmp_path / name}")
        status = differences.main(arguments)
        return status, capsys.readouterr().out, xml.parse(tmp_path / "result.xml").find("testcase")
    return compare


def test_files_with_the_same_answers(compare_files, tmp_path):
    status, out, case = compare_files()
    assert status == 0 and out.endswith(": 48 answers, 0 differences\n")
    assert len(case) == 0
    assert len(list((tmp_path / "8.1.0").iterdir())) == 2


def test_files_with_a_difference(compare_files):
    status, out, case = compare_files(lambda number: 400 if number == 7 else 200)
    assert status == 1 and "HTTP/1.1 400" in out and ": 48 answers, 1 differences\n" in out
    assert "HTTP/1.1 400" in case.find("failure").text


def test_files_with_a_missing_answer(compare_files):
    status, out, case = compare_files(lambda number: None if number == 7 else 200)
    assert status == 1 and out.endswith("1 missing\n")
    assert case.find("failure").text.startswith("missing:")


def test_skipped(tmp_path):
    assert differences.main(["--junitxml", str(tmp_path / "x.xml"), "--skipped", "no mirror"]) == 0
    assert xml.parse(tmp_path / "x.xml").find("testcase/skipped").get("message") == "no mirror"


def test_answers_recorded_twice(record, tmp_path):
    for number in range(2):
        record(tmp_path, number, KEYS[0])
    with pytest.raises(AssertionError, match="recorded twice"):
        answers.read(tmp_path)


# What is the same answer.

def form(status=200, reason="OK", body=b"", **fields):
    headers = tuple((name.replace("_", "-"), value) for name, value in fields.items())
    return answers.normal_form(Response("HTTP/1.1", status, reason, headers, body))


@pytest.mark.parametrize("name", ["date", "etag", "last_modified"])
def test_what_varies_is_the_same(name):
    assert form(**{name: "1"}) == form(**{name: "2"})
    assert form(**{name: "1"}) != form()


def test_boundaries_are_the_same():
    first, second = (form(content_type=f"multipart/byteranges; boundary={name}",
                          body=f"--{name}\r\nab\r\n--{name}--".encode()) for name in ("x1", "y2"))
    assert first == second


@pytest.mark.parametrize("other", [
    {"status": 206}, {"reason": "Fine"}, {"body": b"ac"}, {"body": b"abc"}, {"allow": "GET, HEAD"},
    {"connection": "keep-alive"}, {"content_range": "bytes 0-1/3"},
], ids=str)
def test_other_answers_differ(other):
    usual = {"body": b"ab", "allow": "GET", "connection": "close", "content_range": "bytes 0-1/2"}
    assert form(**usual) != form(**{**usual, **other})
