"""How many threads the processes of each model have."""

from twinlab import procfs
from twinlab.demos.stage import Stage
from twinlab.facts import Fact, Tally

TITLE = "every process has at least one thread"
CLAIMS = (46,)
MEANING = ("A process is what threads run in: a prefork worker has exactly one, the pool has many. Neither can do "
           "without.")


def run(stage: Stage) -> list[Fact]:
    least = Tally("every-process-has-a-thread", "each process of a server, the master too, has at least one thread, "
                                                "whose first has the process's own number")
    single = Tally("prefork-worker-has-one-thread", "a prefork worker has no other thread")
    many = Tally("threadpool-has-many-threads", "a process of the thread pool or of the hybrid has several")
    for key in ("prefork", "threadpool", "threadpool-request", "hybrid"):
        with stage.start(key) as server:
            stage.say(f"{key}: Threads in /proc/PID/status, and /proc/PID/task")
            master = server.status()["master_pid"]
            for pid in server.pids():
                tids = procfs.tids(pid)
                least.note(pid in tids and int(procfs.status(pid)["Threads"]) == len(tids) >= 1)
                if pid != master:
                    if key == "prefork":
                        single.note(len(tids) == 1)
                    else:
                        many.note(len(tids) > 1)
                role = "master" if pid == master else "serves"
                stage.show(f"pid {pid} ({role}): Threads {len(tids)}: {' '.join(map(str, tids))}")
    return [least.fact(), single.fact(), many.fact()]
