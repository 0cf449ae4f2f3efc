"""The sentences and tables come from the figures, and say so when they do not agree."""

import json

import pytest
from twinlab.commands import compare, compare_reading, compare_table
from twinlab.commands.session import Circumstances
from twinlab.commands.summary import Summary
from twinlab.runs.crash import Crash, CrashRound
from twinlab.runs.journal import Balance
from twinlab.runs.speed import SpeedRun
from twinlab.servers import models, workloads

NO_ERRORS = {"connect": 0, "read": 0, "write": 0, "timeout": 0, "status": 0}


def speed_run(model, rate, round_number, errors=NO_ERRORS, deaths=0):
    return SpeedRun(round_number, model, "plaintext", rate, 100.0, 900.0, 1e6 / rate, 2048, 3, deaths, 0,
                    {"errors": errors})


def crash_round(model, fault, wrk_cut, journal_lost, lost=(16,)):
    crashes = [Crash(0.9, 1.0, 4, {"requests_lost": n, "recovery_ms": 1.5}, 0, 9.0, 4.0, 6.0) for n in lost]
    return CrashRound(model, fault, 64, crashes, Balance(wrk_cut, journal_lost, 0), 0, {"errors": NO_ERRORS})


@pytest.fixture
def summary():
    made = models.make(4, 2)
    found = Summary([made["prefork"], made["threadpool"]], [workloads.ALL[0]], 64)
    found.speed = [speed_run(model, rate + n, n) for n in (1, 2, 3)
                   for model, rate in (("prefork", 1000.0), ("threadpool", 1200.0))]
    found.crashes = [crash_round("prefork", "sigkill", 31, 31, (15, 16)),
                     crash_round("threadpool", "sigkill", 64, 64, (64,))]
    return found


def test_real_difference_is_named_with_its_size(summary):
    text = "\n".join(compare_reading.sentences(summary))
    assert "requests/s, threadpool against prefork: 20 % more for /plaintext." in text
    assert "CPU per request, threadpool against prefork: 17 % less for /plaintext." in text


def test_noise_is_called_noise(summary):
    summary.speed.append(speed_run("prefork", 700.0, 4))
    assert "no difference beyond the noise for /plaintext" in "\n".join(compare_reading.sentences(summary))


def test_cost_of_a_crash_side_by_side(summary):
    assert "prefork 15 to 16 of 64, threadpool 64 of 64" in "\n".join(compare_reading.sentences(summary))


def test_accounts_that_agree_and_that_do_not(summary):
    assert "agree in all 2 crash rounds" in compare_reading.balance_sentence(summary)
    summary.crashes.append(crash_round("threadpool", "segv", 64, 66))
    assert "threadpool segv +2" in compare_reading.balance_sentence(summary)
    assert "+2" in "\n".join(compare_table.crash_lines(summary))


def test_trouble_in_a_round_is_not_hidden(summary):
    assert compare_reading.warnings(summary) == []
    summary.speed.append(speed_run("prefork", 1000.0, 4, NO_ERRORS | {"read": 3}, deaths=1))
    assert any("1 workers died" in line for line in compare_reading.warnings(summary))
    assert any("3 read" in line for line in compare_reading.warnings(summary))


def test_a_crash_without_recovery_still_has_a_row(summary):
    summary.crashes = [CrashRound("prefork", "sigkill", 64, [Crash(0.9, 1.0, 4)], Balance(0, 0, 0), 0,
                                  {"errors": NO_ERRORS}, ["no successor was ready"])]
    assert any(line.startswith("  prefork") for line in compare_table.crash_lines(summary))
    assert any("no successor" in line for line in compare_reading.warnings(summary))
    assert compare_reading.sentences(summary)


def test_every_section_has_every_model(summary):
    lines = compare_table.speed_lines(summary)
    assert [line.split()[0] for line in lines[1:]] == ["/plaintext", "prefork", "threadpool"]
    assert len({len(line) for line in lines if line.startswith("  ")}) == 1


def test_json_holds_every_raw_round(summary):
    options = compare.Options(effort=compare.DEFAULT, connections=64, models=["prefork", "threadpool"], seed=1)
    content = json.loads(json.dumps(compare.as_json(options, summary, Circumstances({}, [], 1.0))))
    assert len(content["speed"]) == 6
    assert content["crashes"][0]["balance"]["wrk_cut"] == 31
    assert content["crashes"][0]["mismatch"] == 0
