"""The attacker's result, the ordinary client's latencies, the judgement of a row, and one very short real attack."""

import http.server
import json
import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from patience import DEADLINE_S
from twinlab.base.errors import LabError
from twinlab.base.stats import percentile
from twinlab.clients import slowhttptest
from twinlab.clients.slowhttptest import Result
from twinlab.clients.visitor import INTERVAL_S, KEPT, NEW, Visit, Visitor
from twinlab.commands import attack, cli, open_doors
from twinlab.runs import siege
from twinlab.servers import models
from twinlab.servers.server import count_levels

pytestmark = pytest.mark.serial  # it measures

BIN_DIR = Path(os.environ.get("TWINHTTPD_BIN_DIR", "/nonexistent"))

TABLE = """Seconds,Closed,Pending,Connected,Service Available
0,0,1,0,50
1,0,0,50,50
2,40,0,10,0
3,47,0,3,50
"""
# As slowhttptest prints it, with the colours of a terminal.
OUTPUT = """\x1b[0mSat Nov 21 04:37:33 2026:\x1b[1;32m
slow HTTP test status on \x1b[0;32m0\x1b[1;32mth second:

\x1b[1;32mconnected:   \x1b[1;32m        0
\x1b[1;32merror:       \x1b[1;32m        0
\x1b[1;32mservice available:\x1b[1;32m   \x1b[1;32mYES\x1b[0m
\x1b[0mSat Nov 21 04:37:38 2026:\x1b[H\x1b[2JSat Nov 21 04:37:38 2026:\x1b[1;32m
slow HTTP test status on \x1b[0;32m5\x1b[1;32mth second:

\x1b[1;32merror:       \x1b[1;32m        3
\x1b[0mSat Nov 21 04:37:42 2026:\x1b[0;36m
Test ended on 3th second
Exit status:\x1b[1;36m No open connections left
\x1b[0m\x1b[0;36mCSV report saved to \x1b[1;36mslow.csv
"""


def test_the_attackers_result():
    result = slowhttptest.parse(TABLE, OUTPUT)
    assert result == Result(runs=1, closed=47, most_connected=50, errors=3, seconds=4, unavailable_s=1,
                            endings=("No open connections left",))
    assert not result.available
    assert slowhttptest.parse(TABLE.replace("10,0\n", "10,50\n"), OUTPUT).available


def test_runs_of_the_attacker_add_up():
    one = slowhttptest.parse(TABLE, OUTPUT)
    both = slowhttptest.add([one, one])
    assert (both.runs, both.closed, both.most_connected, both.errors, both.unavailable_s) == (2, 94, 50, 6, 2)
    assert slowhttptest.add([]).available


@pytest.mark.parametrize("table, output, cause", [
    ("", "Non-option argument\n", "Non-option argument"), (TABLE, "killed", "killed"),
    ("Seconds,Closed\n1,2\n", OUTPUT, "not understood"), (TABLE.replace("47", "many"), OUTPUT, "not understood"),
])
def test_an_attacker_without_result_is_shown_to_the_user(table, output, cause):
    with pytest.raises(LabError, match=cause):
        slowhttptest.parse(table, output)


def test_lines_of_the_error_log_by_level():
    log = ("2026-11-21T04:40:08.643Z [notice] master pid 1: stopping\n"
           "2026-11-21T04:40:08.643Z [info] slot 1 pid 2: refused a request of 127.0.0.1 with 408: [error] slow\n"
           "2026-11-21T04:40:08.644Z [info] slot 1 pid 2: again\nno level [info] here\n")
    assert count_levels(log) == {"notice": 1, "info": 2}


def test_percentile():
    assert percentile([], 0.5) is None
    assert percentile([3, 1, 2], 0.5) == 2
    assert percentile(list(range(1, 101)), 0.99) == 99
    assert percentile([7], 0.99) == 7


def visits(latencies_ms, failure=None):
    return [Visit(NEW, 1.0, 1.0, 1.0 + ms / 1000, failure) for ms in latencies_ms]


def made_siege(new_ms, kept_ms, failure=None, failed_ms=()):
    return siege.Siege("prefork", "header", 60.0, siege.service(visits(new_ms) + visits(failed_ms, failure)),
                       siege.service(visits(kept_ms)), siege.service(visits([1])), slowhttptest.add([]), 1, 2, 3, 0.1,
                       {"info": 5, "warn": 2}, 7, {"deaths": 0}, 0, 0.5)


@pytest.mark.parametrize("new_ms, kept_ms, failure, failed_ms, good", [
    ([1, 99], [1], None, [], True),
    ([1, 101], [1], None, [], False),
    ([1], [101], None, [], False),
    ([1], [1], "timed out", [2], False),
    ([], [], None, [], False),
])
def test_a_row_is_good_when_all_was_answered_in_time(new_ms, kept_ms, failure, failed_ms, good):
    row = made_siege(new_ms, kept_ms, failure, failed_ms)
    assert row.good == good
    assert attack.exit_status([made_siege([1], [1]), row]) == (0 if good else 1)


def test_a_failed_request_has_no_latency_and_a_cause():
    found = siege.service(visits([1, 2]) + visits([5000], "timed out"))
    assert (found.requests, found.failed, found.failures) == (3, 1, {"timed out": 1})
    assert found.max_ms == pytest.approx(2)


def test_the_row_and_the_remark():
    bad = made_siege([1], [250], "timed out", [5000])
    header, title, line = attack.table_lines([slowhttptest.ALL[0]], [bad], {"prefork": "prefork"})
    assert title == "slow headers (slowloris)"
    assert line.split()[0] == "prefork" and line.endswith("BAD") and len(line) == len(header)
    (remark,) = attack.remarks([bad], {"prefork": "prefork"})
    assert "1 of 3 requests failed (timed out)" in remark and "250 ms" in remark
    assert attack.remarks([made_siege([1], [1])], {"prefork": "prefork"}) == []


def wait_for(condition):
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def of_kind(client, kind):
    return [visit for visit in list(client.visits) if visit.kind == kind]


class StallingHandler(http.server.BaseHTTPRequestHandler):
    """Answers nothing until it is told to."""

    protocol_version = "HTTP/1.1"
    may_answer = threading.Event()

    def do_GET(self):
        self.may_answer.wait(DEADLINE_S)
        self.send_response(200)
        self.send_header("Content-Length", "1")
        self.end_headers()
        self.wfile.write(b"x")

    def log_message(self, *_):
        pass


def test_a_stall_is_not_hidden():
    """All requests that were due while the server stood still are slow, not only those that it held."""
    StallingHandler.may_answer.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), StallingHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Timer(10 * INTERVAL_S, StallingHandler.may_answer.set).start()
    with Visitor(server.server_port) as client:
        wait_for(lambda: all(len(of_kind(client, kind)) > 12 for kind in (NEW, KEPT)))
    server.shutdown()
    server.server_close()
    for kind in (NEW, KEPT):
        asked = of_kind(client, kind)
        slow = [visit for visit in asked if visit.latency_ms > INTERVAL_S * 1000]
        assert all(visit.failure is None for visit in asked)
        assert len(slow) >= 5


def test_a_refused_connection_is_a_failure():
    with Visitor(1) as client:
        wait_for(lambda: all(of_kind(client, kind) for kind in (NEW, KEPT)))
    assert all(visit.failure for visit in client.visits)


def test_options():
    arguments = cli.make_parser().parse_args(["attack", "--attacks", "read,header", "--models", "hybrid"])
    assert (arguments.attacks, arguments.models, arguments.connections) == (["read", "header"], ["hybrid"], 1000)


def test_help_tells_the_exit_status(capsys):
    with pytest.raises(SystemExit):
        cli.make_parser().parse_args(["attack", "--help"])
    assert "Exit status" in capsys.readouterr().out


@pytest.mark.skipif(not shutil.which("slowhttptest"), reason="needs slowhttptest")
@pytest.mark.skipif(not BIN_DIR.is_dir(), reason="needs the servers (TWINHTTPD_BIN_DIR)")
@pytest.mark.parametrize("kind", slowhttptest.ALL, ids=slowhttptest.KEYS)
def test_a_very_short_attack(tmp_path, kind):
    root = tmp_path / "www"
    siege.make_documents(root)
    place = siege.Field(BIN_DIR, root, tmp_path, connections=10, per_s=50, duration_s=2)
    samples = []
    found = siege.run(place, models.make(4, 2)["prefork"], kind, lambda: samples.append(1))
    assert samples and found.failed == 0 and found.status_failures == 0
    assert found.new.requests > 5 and found.kept.requests > 5 and found.twin.requests > 10
    assert found.attacker.available and found.attacker.runs >= 1 and found.attacker.seconds >= 2
    assert found.pss_peak_kib > 0 and found.cpu_s > 0
    ordinary = found.new.requests + 1  # the kept one's
    assert found.status_totals["connections_accepted"] >= ordinary + 10
    # Ranges are answered at once; the other attacks hold their connections, and the servers' deadlines are far away.
    assert (found.connections_open_peak >= 10) == (kind.key != "range")
    assert found.attacker.runs > 1 if kind.key == "range" else found.attacker.closed == 0
    json.dumps(found.as_dict())


@pytest.mark.parametrize("answers, new_ms, failed_ms, good", [
    (["404"] * 4, [1, 99], [], True),
    (["404"] * 4, [1, 101], [], False),
    (["404"] * 4, [1], [5000], False),
    (["404", "nothing"], [1], [], False),
    (["200"] * 4, [1], [], False),
    ([], [1], [], False),
])
def test_a_server_that_sleeps_for_strangers_is_bad(answers, new_ms, failed_ms, good):
    service = siege.service(visits(new_ms) + visits(failed_ms, "timed out"))
    found = open_doors.Visited("prefork", service, answers)
    assert found.good == good
    assert found.row()[-1] == ("good" if good else "BAD")


@pytest.mark.skipif(not BIN_DIR.is_dir(), reason="needs the servers (TWINHTTPD_BIN_DIR)")
@pytest.mark.parametrize("model", models.KEYS)
@pytest.mark.parametrize("bench, answers", [("auto", ["404"] * 4), ("on", ["nothing"] * 4)])
def test_strangers_who_ask_for_sleep(tmp_path, monkeypatch, model, bench, answers):
    """The other way round it is what the attack would find: all that sleep, for a minute, are waited for in vain."""
    monkeypatch.setattr(open_doors, "ANSWER_DEADLINE_S", 0.2 if bench == "on" else 20.0)
    if bench == "on":
        monkeypatch.setattr(open_doors, "WATCHED_S", 0.2)
        monkeypatch.setattr("twinlab.servers.server.STOP_GRACE_S", 0.5)
        monkeypatch.setattr(open_doors, "Server", lambda *place, **how: siege.Server(*place, **how | {"bench": "on"}))
    (tmp_path / "www").mkdir()
    siege.make_documents(tmp_path / "www")
    found = open_doors.visit(models.make(4, 2)[model], BIN_DIR, tmp_path / "www", tmp_path)
    assert found.answers == answers
    assert bench == "on" or found.client.failed == 0 and found.client.requests > 5
