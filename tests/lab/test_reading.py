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
    crashes = [Crash(0.9, 1.0, 4, [{"requests_lost": n, "recovery_ms": 1.5}], 0, 9.0, 4.0, 6.0) for n in lost]
    return CrashRound(model, fault, 64, crashes, Balance(wrk_cut, journal_lost, 0), 0, {"errors": NO_ERRORS})


def adopting_round(model, fault, left, stalls_ms, lost=0):
    death = {"requests_lost": lost, "recovery_ms": 1.5, "left_to_successor": True, "in_progress": 2, "awaited": left}
    crash = Crash(0.9, 1.0, 4, [death], 0, 9.0, 4.0, 6.0, stalls_ms=stalls_ms, calm_waits_ms=[0.4], lab_left=2)
    return CrashRound(model, fault, 64, [crash], Balance(lost, lost, 0), 0, {"errors": NO_ERRORS}, on_death="adopt")


@pytest.fixture
def summary():
    made = models.make(4, 2)
    found = Summary([made["prefork"], made["threadpool"]], [workloads.ALL[0]], 64)
    found.speed = [speed_run(model, rate + n, n) for n in (1, 2, 3)
                   for model, rate in (("prefork", 1000.0), ("threadpool", 1200.0))]
    found.crashes = [crash_round("prefork", "sigkill", 31, 31, (15, 16)),
                     adopting_round("prefork", "sigkill", 16, [2.0, 3.0, 9.0]),
                     crash_round("threadpool", "sigkill", 64, 64, (64,)),
                     adopting_round("threadpool", "sigkill", 64, [5.0, 5.5, 21.0])]
    return found


def test_real_difference_is_named_with_its_size(summary):
    text = "\n".join(compare_reading.sentences(summary))
    assert "requests/s, threadpool against prefork: 20 % more for /plaintext." in text
    assert "CPU per request, threadpool against prefork: 17 % less for /plaintext." in text


def test_noise_is_called_noise(summary):
    summary.speed.append(speed_run("prefork", 700.0, 4))
    assert "no difference beyond the noise for /plaintext" in "\n".join(compare_reading.sentences(summary))


def test_cost_of_a_crash_side_by_side(summary):
    text = "\n".join(compare_reading.sentences(summary))
    assert "With cut, one crash cost, of the requests that wrk had open: prefork 15 to 16 of 64, threadpool 64 of" in text
    assert "With adopt, no crash cost one of the requests that wrk had open." in text


def test_who_waits_side_by_side(summary):
    assert ("SIGKILL from outside stalled connections of wrk's: prefork 16 of 64, for 3.00 ms (median; worst 9.00 ms); "
            "threadpool 64 of 64, for 5.50 ms (median; worst 21.0 ms); in the calm before, an answer was 0.40 ms away"
            ) in compare_reading.stall_sentence(summary, "sigkill")
    assert compare_reading.stall_sentence(summary, "segv") is None
    assert [line.split()[:9] for line in compare_table.crash_lines(summary) if ", adopt" in line] == [
        "prefork, adopt 1 0 of 64 16 of 64".split(), "threadpool, adopt 1 0 of 64 64 of 64".split()]


def test_the_asymmetry_moves_only_if_the_figures_say_so(summary):
    moved = compare_reading.asymmetry_sentence(summary)
    assert "with cut a crash of threadpool cost 4.1 times as many requests as one of prefork;" in moved
    assert "4.0 times as many connections wait" in moved
    summary.crashes[-1] = adopting_round("threadpool", "sigkill", 64, [5.0], lost=1)
    assert compare_reading.asymmetry_sentence(summary) is None
    assert "With adopt, one crash cost, of the requests that wrk had open: prefork 0 of 64, threadpool 1 of 64." in \
        compare_reading.sentences(summary)
    summary.crashes = [each for each in summary.crashes if each.on_death == "cut"]
    assert compare_reading.asymmetry_sentence(summary) is None


def test_fewer_deaths_than_faults_are_told(summary):
    summary.crashes[1].unexpected_deaths = -1
    assert compare_reading.warnings(summary) == ["prefork, sigkill, adopt: 1 deaths fewer than were caused"]


def test_accounts_that_agree_and_that_do_not(summary):
    assert "agree in all 4 crash rounds" in compare_reading.balance_sentence(summary)
    summary.crashes.append(crash_round("threadpool", "segv", 64, 66))
    assert "threadpool, segv, cut +2" in compare_reading.balance_sentence(summary)
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
