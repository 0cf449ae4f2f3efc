"""Which model is for what? Both serve everything, so the usual split is a convention."""

import os
from pathlib import Path

from twinlab.base.observed import Fact
from twinlab.clients import http, wrk
from twinlab.demos.lines import to_every
from twinlab.demos.stage import Stage, worker_pids
from twinlab.machine import procfs

TITLE = "what each model can serve, and what separate programs are"
CLAIMS = (60,)
MEANING = ("Programs that are started separately are processes of their own. Within one program it is a choice: every "
           "model answers every kind of request, and prefork-server is a web server of processes. That web servers "
           "take threads is a convention with reasons (isolation, memory, habit), and no limit of either model.")

KINDS = {"/plaintext": "text", "/json": "JSON", "/1k.bin": "file", "/1m.bin": "large file", "/cpu?us=1000": "computing",
         "/sleep?ms=1": "waiting", "/counter": "shared state", "/whoami": "who answers"}


def run(stage: Stage) -> list[Fact]:
    return [_serves_everything(stage), _programs(stage), *_workers(stage)]


def _serves_everything(stage: Stage) -> Fact:
    tally = stage.tally("both-models-serve-everything", "every model answers every kind of request")
    rows = [" " * 20 + "  ".join(KINDS.values())]
    for key in stage.repeated("prefork", "threadpool", "threadpool-request", "hybrid"):
        with stage.start(key) as server:
            cells = []
            for path, kind in KINDS.items():
                reply = http.get(server.port, path, 5.0)
                tally.note(reply.status == 200 and len(reply.body) > 0)
                cells.append(f"{'yes' if reply.status == 200 else reply.status:<{len(kind)}}")
        if not any(row.startswith(f"{key} ") for row in rows):
            rows.append(f"{key:20}" + "  ".join(cells))
    stage.say("every model, every kind of request")
    stage.show("\n".join(rows))
    return tally.fact("a demonstration can refute that one of them cannot; which one fits is for the figures to say")


def _programs(stage: Stage) -> Fact:
    tally = stage.tally("separate-programs-are-separate-processes",
                        "two servers and a load tool that run at the same time have no process in common, and no "
                        "process runs the program of another")
    for key in stage.repeated("prefork"):
        with (stage.start("threadpool") as other, stage.start(key) as server,
              wrk.Wrk(server.port, "/plaintext", 2, 5) as load):
            tools = [pid for pid in procfs.children(os.getpid()) if pid not in (*server.pids(), *other.pids())]
            programs = {"prefork-server": server.pids(), "threadpool-server": other.pids(), "wrk": tools}
            pids = [pid for each in programs.values() for pid in each]
            tally.note(len(pids) == len(set(pids)))
            for program, each in programs.items():
                tally.note(bool(each) and all(_program(pid) == program for pid in each))
            load.finish()
            stage.say("two servers and wrk, at the same time")
            stage.show("\n".join(f"{program}: pids {', '.join(map(str, each))}" for program, each in programs.items()))
    return tally.fact()


def _program(pid: int) -> str:
    return Path(f"/proc/{pid}/exe").resolve().name


def _workers(stage: Stage) -> list[Fact]:
    threads = stage.tally("a-web-server-may-use-threads",
                          "the workers that answer of threadpool-server are threads of one process")
    processes = stage.tally("a-web-server-may-use-processes",
                            "the workers that answer of prefork-server are a process each")
    for key in stage.repeated("threadpool", "prefork"):
        with stage.start(key) as server, to_every(server) as lines:
            pids, tids = {line.pid for line in lines}, {line.tid for line in lines}
            if key == "threadpool":
                threads.note(len(pids) == 1 and len(tids) == len(lines) > 1)
            else:
                processes.note(len(pids) == len(worker_pids(server)) == len(lines) > 1)
            stage.say(f"{key}: {len(lines)} workers answer, in {len(pids)} process(es)")
    return [threads.fact(), processes.fact()]
