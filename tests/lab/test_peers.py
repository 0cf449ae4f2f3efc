"""`lab peers`: who takes part and in which order, configurations, ratios, judgement, and a small real run."""

import json
import os
import subprocess
import tempfile
import time
import xml.etree.ElementTree as xml
from dataclasses import replace
from pathlib import Path

import pytest
from patience import DEADLINE_S
from twinlab.base import interval
from twinlab.base.errors import LabError
from twinlab.base.interval import Estimate
from twinlab.clients import wrk
from twinlab.commands import peers, peers_chart, peers_contenders, peers_tables, peers_targets
from twinlab.commands.peers_targets import Target, Verdict
from twinlab.commands.summary import Summary
from twinlab.machine import processes
from twinlab.runs.speed import Bench, SpeedRun
from twinlab.servers import packaged, workloads
from twinlab.servers.packaged import PACKAGES, Site

pytestmark = pytest.mark.serial  # it measures

LAB = Path(__file__).resolve().parents[2] / "loadtest" / "lab"
BIN_DIR = Path(os.environ.get("TWINHTTPD_BIN_DIR", Path(__file__).resolve().parents[2] / "build" / "dev" / "bin"))
NO_ERRORS = {"connect": 0, "read": 0, "write": 0, "timeout": 0, "status": 0}
BY_KEY = {workload.key: workload for workload in workloads.PEERS}
INSTALLED = [key for key, package in PACKAGES.items() if package.is_installed()]


def peer_run(server, workload, cpu_us, round_number=1, rate=1000.0, p99_us=900.0, pss_kib=1000, errors=NO_ERRORS):
    return SpeedRun(round_number, server, workload, rate, 100.0, p99_us, cpu_us, pss_kib, 3, 0, 0, {"errors": errors})


def summary_of(runs, keys=peers_contenders.KEYS):
    made = peers_contenders.make(2, 2)
    found = Summary([made[key] for key in keys], [BY_KEY[key] for key in dict.fromkeys(run.workload for run in runs)],
                    0)
    found.speed = runs
    return found


# Who takes part, and when


def test_each_second_round_runs_backwards_and_pairs_start_elsewhere():
    items = list(peers_contenders.make(2, 2).values())
    order = [[item.key for item in peers.turn_order(items, number)] for number in (1, 2, 3, 4)]
    assert order[1] == order[0][::-1] and order[3] == order[2][::-1]
    assert order[2][0] != order[0][0]
    assert all(sorted(keys) == sorted(order[0]) for keys in order)


def test_only_the_sleepers_sleep():
    made = peers_contenders.make(2, 2)
    assert [key for key, found in made.items() if peers.takes_part(found, BY_KEY["sleep"])] == [peers_contenders.SLEEPERS]
    assert {key for key, found in made.items() if peers.takes_part(found, BY_KEY["close"])} == set(peers_contenders.KEYS)


def test_everybody_has_the_same_workers():
    made = peers_contenders.make(3, 2)
    assert made["prefork"].model.options == ("--workers", "3") == made["prefork-again"].model.options
    assert made["threadpool"].model.options[:2] == ("--threads", "3")
    assert made["hybrid"].model.options == ("--workers", "3", "--threads", "1")
    assert "all" in made["threadpool-all"].model.options
    assert made["floor"].workers == made["nginx"].workers == 3


def test_a_peer_that_is_not_installed_is_left_out(monkeypatch):
    options = peers.Options(effort=peers.QUICK, workers=2, servers=["floor", "nginx", "h2o"], workloads=["close"])
    monkeypatch.setattr(packaged.Package, "is_installed", lambda package: package.package != "h2o")
    assert peers.absent_peers(options) == ["h2o"]


def test_no_server_at_all_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(packaged.Package, "is_installed", lambda package: False)
    monkeypatch.setattr(peers.study.setup, "install_packages", lambda *groups: None)
    with pytest.raises(LabError, match="nginx, h2o"):
        peers.run(peers.Options(effort=peers.QUICK, workers=2, servers=["nginx", "h2o"], workloads=["close"],
                                output=tmp_path, bin_dir=BIN_DIR))


def test_the_floor_answers_as_many_bytes_as_the_others(tmp_path):
    bench = Bench(Path("/bin"), tmp_path, tmp_path, 64, 1, 1)
    floor = peers_contenders.make(2, 2)["floor"]
    argv = {key: floor.make(bench, BY_KEY[key], tmp_path)._argv for key in ("pipeline", "file-1m", "close")}
    assert argv["pipeline"][-2:] == ["--bytes", "13"]
    assert argv["file-1m"][-2:] == ["--file", str(tmp_path / "1m.bin")]
    assert argv["close"][-1] == "--close"


def test_every_document_has_the_size_that_is_checked(tmp_path):
    workloads.make_documents(tmp_path)
    for workload in workloads.PEERS:
        if not workload.only:
            assert (tmp_path / workload.path.lstrip("/")).stat().st_size == workload.body_bytes


def test_wrk_closes_or_pipelines_when_the_workload_says_so():
    assert "Connection: close" in wrk.command("http://a/", 64, 1, BY_KEY["close"].style)
    argv = wrk.command("http://a/", 64, 1, BY_KEY["pipeline"].style)
    assert argv[-3:] == ["http://a/", "--", "16"] and str(wrk.PIPELINE_SCRIPT) in argv
    assert wrk.PIPELINE_SCRIPT.is_file()


# Configurations


def site(folder, **changes):
    return replace(Site(Path("/documents"), folder, 4711, 3, 1000, False), **changes)


@pytest.mark.parametrize("key", PACKAGES)
@pytest.mark.parametrize("access_log", [False, True])
def test_configuration_names_all_that_a_run_decides(key, access_log, tmp_path):
    lines = packaged.render(PACKAGES[key], site(tmp_path, access_log=access_log)).splitlines()
    active = "\n".join(line.strip() for line in lines if not line.strip().startswith("#"))
    assert "4711" in active and "/documents" in active and "${" not in active
    assert (f"{tmp_path}/access.log" in active) == access_log
    if not key.startswith("apache"):
        assert "3" in active


def test_only_nginx_has_to_be_told_to_log_nothing(tmp_path):
    assert "    access_log off;" in packaged.render(PACKAGES["nginx"], site(tmp_path)).splitlines()
    assert "    # access_log off;" in packaged.render(PACKAGES["nginx"], site(tmp_path, access_log=True)).splitlines()


def test_apache_has_room_for_every_connection(tmp_path):
    slots = 1000 + packaged.SPARE_SLOTS
    prefork, event = (packaged.render(PACKAGES[f"apache-{mpm}"], site(tmp_path)) for mpm in ("prefork", "event"))
    assert "LoadModule mpm_prefork_module" in prefork and "LoadModule mpm_event_module" in event
    assert f"    StartServers {slots}\n" in prefork
    assert f"    ThreadsPerChild {slots}\n" in event and f"    MaxRequestWorkers {3 * slots}\n" in event
    assert PACKAGES["apache-prefork"].processes(site(tmp_path)) == slots + 1


def test_the_user_is_given_up_by_root_only(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "# user www-data;" in packaged.render(PACKAGES["nginx"], site(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "\nuser www-data;" in packaged.render(PACKAGES["nginx"], site(tmp_path))


# Judgement


@pytest.mark.parametrize("figure, ratio, word", [
    (peers_targets.CPU, (1.05, 1.0, 1.07), "met"), (peers_targets.CPU, (1.05, 1.0, 1.2), "not decided"),
    (peers_targets.CPU, (1.1, 1.0, 1.2), "not decided"), (peers_targets.CPU, (1.1, 1.09, 1.2), "missed"),
    (peers_targets.RATE, (1.1, 1.09, 1.2), "met"), (peers_targets.RATE, (1.0, 0.9, 1.2), "not decided"),
    (peers_targets.RATE, (1.0, None, None), "not decided"), (peers_targets.RATE, (1.08, 1.08, 1.08), "met"),
])
def test_a_verdict_looks_at_the_whole_interval(figure, ratio, word):
    target = Target("plaintext", "prefork", figure, "floor", 1.08)
    assert Verdict(target, "prefork", "floor", Estimate(*ratio, 9)).word == word


def test_a_run_in_full_has_an_interval():
    assert peers.DEFAULT.rounds >= interval.least_launches()


def test_best_peer_is_the_cheapest_or_the_fastest_and_never_the_floor_or_our_own():
    summary = summary_of([peer_run("floor", "close", 1.0, rate=9.0), peer_run("prefork", "close", 2.0, rate=8.0),
                          peer_run("nginx", "close", 3.0, rate=5.0), peer_run("h2o", "close", 4.0, rate=6.0)])
    assert peers_targets.best_peer(summary, "close", peers_targets.CPU) == "nginx"
    assert peers_targets.best_peer(summary, "close", peers_targets.RATE) == "h2o"
    assert peers_targets.best_peer(summary, "plaintext", peers_targets.CPU) is None


def in_each_round(*runs):
    """The same in as many rounds as an interval needs."""
    return [replace(run, round=number) for number in range(interval.least_launches()) for run in runs]


def test_judgement_by_hand():
    runs = in_each_round(
        peer_run("floor", "file-1m", 10.0), peer_run("lighttpd", "file-1m", 8.0, p99_us=500.0, pss_kib=2000),
        peer_run("nginx", "file-1m", 9.0, p99_us=400.0), peer_run("prefork", "file-1m", 8.5, pss_kib=2900),
        peer_run("threadpool", "file-1m", 7.0, p99_us=300.0, pss_kib=2100))
    found = {(verdict.target.server, verdict.target.figure, verdict.target.base): (verdict.word, verdict.base_key)
             for verdict in peers_targets.judge(summary_of(runs))}
    assert found == {
        ("prefork", peers_targets.CPU, "floor"): ("met", "floor"),
        ("prefork", peers_targets.CPU, peers_targets.BEST_PEER): ("missed", "lighttpd"),
        ("prefork", peers_targets.P99, peers_targets.BEST_PEER): ("missed", "nginx"),
        ("prefork", peers_targets.PSS, "lighttpd"): ("met", "lighttpd"),
        ("threadpool", peers_targets.CPU, "floor"): ("met", "floor"),
        ("threadpool", peers_targets.CPU, peers_targets.BEST_PEER): ("met", "lighttpd"),
        ("threadpool", peers_targets.P99, peers_targets.BEST_PEER): ("met", "nginx"),
        ("threadpool", peers_targets.PSS, "lighttpd"): ("missed", "lighttpd"),
    }


def test_pipelining_and_offloading_and_sleeping_are_judged_by_requests():
    runs = in_each_round(
        peer_run("floor", "pipeline", 1.0, rate=100.0), peer_run("nginx", "pipeline", 1.0, rate=10.0),
        peer_run("prefork", "pipeline", 1.0, rate=79.0), peer_run("threadpool", "plaintext", 1.0, rate=100.0),
        peer_run("threadpool-all", "plaintext", 1.0, rate=66.0),
        peer_run(peers_contenders.SLEEPERS, "sleep", 1.0, rate=12_500.0))
    found = {(verdict.target.server, verdict.base_key): verdict.word
             for verdict in peers_targets.judge(summary_of(runs, [*peers_contenders.KEYS, peers_contenders.SLEEPERS]))
             if verdict.target.figure == peers_targets.RATE}
    assert found == {("prefork", "floor"): "missed", ("prefork", "nginx"): "met",
                     ("threadpool-all", "threadpool"): "met", (peers_contenders.SLEEPERS, peers_targets.SLEEP_LIMIT): "met"}


def test_targets_name_workloads_and_servers_that_exist():
    known = {*peers_contenders.KEYS, peers_contenders.SLEEPERS}
    for target in peers_targets.TARGETS:
        assert target.workload in BY_KEY and target.server in known
        assert target.base in {*known, peers_targets.BEST_PEER, peers_targets.SLEEP_LIMIT}


# Report


@pytest.fixture
def summary():
    return summary_of(in_each_round(
        peer_run("floor", "plaintext", 7.0), peer_run("prefork", "plaintext", 7.7),
        peer_run("prefork-again", "plaintext", 8.47), peer_run("h2o", "plaintext", 14.0),
        peer_run("nginx", "plaintext", 15.4, errors=NO_ERRORS | {"status": 2})))


def test_table(summary):
    lines = peers_tables.tables(summary)
    assert lines[1] == "13 bytes, 64 connections (best peer: h2o)"
    rows = {line[2:].split("  ")[0]: line.split() for line in lines[2:]}
    assert list(rows) == ["floor", "prefork", "nginx !", "h2o", "prefork again"]
    assert rows["prefork"][1:] == ["1,000", "0.10", "0.90", "0.770", "1.10", "1.10-1.10", "0.55", "0.55-0.55", "1,000",
                                   "0"]
    assert rows["nginx !"][-1] == "12"


def test_few_rounds_have_no_interval():
    rounds = [peer_run(server, "plaintext", cpu_us, number) for number in (1, 2)
              for server, cpu_us in (("floor", 7.0), ("prefork", 7.7))]
    summary = summary_of(rounds)
    row = next(line for line in peers_tables.tables(summary) if line.startswith("  prefork"))
    assert row.split()[5:9] == ["1.10", "-", "-", "-"]
    lines = peers_tables.judgement(peers_targets.judge(summary), summary.workloads)
    assert lines[-1] == "0 of 1 targets met, 0 missed, 1 not decided; an interval needs at least 6 rounds."


def test_control(summary):
    assert "CPU per request 1.10 to 1.10" in peers_tables.control(summary)
    assert peers_tables.control(summary_of([peer_run("floor", "close", 1.0)])).startswith("No A/A control")


def test_judgement_lines(summary):
    lines = peers_tables.judgement(peers_targets.judge(summary), summary.workloads)
    line = next(line for line in lines if "/ floor" in line)
    assert line.split()[-5:] == ["1.10", "1.10-1.10", "<=", "1.08", "missed"]
    assert lines[-1] == "2 of 3 targets met, 1 missed, 0 not decided."
    assert "No target" in peers_tables.judgement([], summary.workloads)[0]


def test_chart(summary, tmp_path):
    pytest.importorskip("matplotlib")
    assert peers_chart.draw(summary, tmp_path / "peers.svg") == f"Chart: {tmp_path}/peers.svg"
    assert xml.parse(tmp_path / "peers.svg").getroot().tag.endswith("svg")


def test_no_chart_without_its_package(summary, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert "python3-matplotlib" in peers_chart.draw(summary, tmp_path / "peers.svg")


# Real runs


@pytest.fixture
def open_folder():
    """A folder that workers which run as another user may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("key", INSTALLED)
def test_a_packaged_server_serves_logs_and_ends(key, open_folder):
    scratch = open_folder
    workloads.make_documents(scratch / "www")
    bench = Bench(BIN_DIR, scratch / "www", scratch, 4, 1, 1)
    workload = replace(BY_KEY["log"], connections=4)
    with peers_contenders.make(2, 2)[key].running(bench, workload) as server:
        server.check("/1k.bin", 1024)
        server.check("/plaintext", 13)
        session = server._child.pid
        log = next(scratch.glob("run-*/access.log"))
        deadline_s = time.monotonic() + DEADLINE_S  # lighttpd writes every few seconds
        while "/1k.bin" not in log.read_text() and time.monotonic() < deadline_s:
            time.sleep(0.02)
        assert "/1k.bin" in log.read_text()
    assert processes.session_members(session) == []
    assert [entry.name for entry in scratch.iterdir()] == ["www"]


def test_a_real_run(tmp_path):
    done = subprocess.run([str(LAB), "peers", "--bin", str(BIN_DIR), "--servers", "floor,prefork", "--workloads",
                           "plaintext", "--rounds", "1", "--duration", "0.5", "--output", str(tmp_path)],
                          capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "peers.json").read_text())
    assert [(run["model"], run["workload"]) for run in content["runs"]] == [("floor", "plaintext"),
                                                                          ("prefork", "plaintext")]
    assert all(run["requests_per_s"] > 0 and run["cpu_us_per_request"] > 0 and run["pss_kib"] > 0
               for run in content["runs"])
    assert content["targets"][0]["verdict"] and content["machine"]["versions"]["wrk"]
    assert "CPU per request / floor" in done.stdout
