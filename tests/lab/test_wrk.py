"""wrk's command line and the result line of loadtest/wrk/report.lua."""

import pytest
from twinlab.base.errors import LabError
from twinlab.clients import wrk

OUTPUT = """Running 2s test @ http://127.0.0.1:1/plaintext
  2 threads and 64 connections
  Socket errors: connect 0, read 16, write 1, timeout 0
{"requests":1500,"bytes":9000,"duration_us":1500000,"p50_us":275,"p90_us":300,"p99_us":5239,"max_us":6655,\
"errors":{"connect":0,"read":16,"write":1,"timeout":0,"status":2}}
"""


def test_result_is_read_from_the_json_line():
    result = wrk.parse(OUTPUT)
    assert result.requests_per_s == 1498 / 1.5, "what was refused is no speed"
    assert (result.p50_us, result.p99_us) == (275, 5239)
    assert result.errors["status"] == 2


def test_cut_requests_are_read_and_write_errors_only():
    assert wrk.parse(OUTPUT).cut_requests == 17


def test_output_without_result_is_shown_to_the_user():
    with pytest.raises(LabError, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:1 Connection refused\n")


def test_no_time_means_no_rate():
    assert wrk.parse(OUTPUT.replace('"duration_us":1500000', '"duration_us":0')).requests_per_s == 0.0


@pytest.mark.parametrize("connections, threads", [(64, 2), (2, 2), (1, 1), (33, 1)])
def test_threads_divide_the_connections_evenly(connections, threads):
    assert wrk.threads_for(connections) == threads
    assert connections % threads == 0


def test_command_asks_for_whole_seconds():
    argv = wrk.command("http://127.0.0.1:1/x", 64, 1.2)
    assert "-d2s" in argv and "-c64" in argv and "--latency" in argv
    assert argv[argv.index("--timeout") + 1] == "10s"
    assert wrk.REPORT_SCRIPT.is_file()
