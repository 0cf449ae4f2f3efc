"""Thread-local storage beside a plain global variable."""

from twinlab.base.observed import Fact
from twinlab.demos.lines import to_every
from twinlab.demos.stage import Stage

TITLE = "thread-local variables never collide; plain global ones do, unless each worker is a process"
CLAIMS = (14,)
MEANING = ("A thread-local variable exists once for each thread, with the initial value in each that has not written "
           "yet; in C no thread is without one, the main thread neither. Where each worker is a process, a plain "
           "global variable does the same.")


def run(stage: Stage) -> list[Fact]:
    local = stage.tally("tls-never-collides",
                        "after all workers have written, each finds its own value in the thread-local variable")
    fresh = stage.tally("untouched-thread-has-the-initial-value",
                        "a thread that has not written yet reads the initial value, although others have written")
    collides = stage.tally("plain-global-collides-between-threads",
                           "all threads of a process find the value of the last writer in the plain global variable")
    private = stage.tally("plain-global-is-private-to-a-process",
                          "each worker process finds its own value in the plain global variable")
    for key in stage.repeated("threadpool", "prefork", "hybrid"):
        with stage.start(key) as server, to_every(server) as lines:
            stage.say(f"{key}: every worker writes its thread id to both variables, then all are asked again")
            last: dict[int, int] = {}
            for line in lines:
                fresh.note(line.ask("/lab/tls")["thread_local"] == 0)
                line.ask(f"/lab/tls?set={line.tid}")
                last[line.pid] = line.tid
            for line in lines:
                seen = line.ask("/lab/tls")
                local.note(seen["thread_local"] == line.tid)
                if key == "prefork":
                    private.note(seen["global"] == line.tid)
                else:
                    collides.note(seen["global"] == last[line.pid])
                stage.show(f"pid {line.pid} thread {line.tid}: thread-local {seen['thread_local']}, global "
                           f"{seen['global']}")
    return [local.fact(), fresh.fact(), collides.fact(), private.fact()]
