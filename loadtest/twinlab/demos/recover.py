"""on_fault: a thread that faults takes its process along, or another thread takes over."""

from twinlab.base.observed import Fact
from twinlab.base.waiting import comes_true, wait_for
from twinlab.demos.lines import Line
from twinlab.demos.stage import Stage, ask, end_by, full_strength, is_answered, ready_workers
from twinlab.servers.server import Server

TITLE = "a fault in a thread: die with the process, or recover in another thread"
CLAIMS = (49,)
MEANING = ("A thread that only read a null pointer can be replaced, and costs one request. That is a bet: when it held "
           "a lock, whoever wants it waits for ever, and when it had damaged the heap, the process dies a little "
           "later, in a thread that has done nothing wrong. To die at once gives both back.")

MODEL = "threadpool-request"
POOL = ("--offload", "all", "--stuck-after-ms", "off")
RECOVER = (*POOL, "--on-fault", "recover")


def run(stage: Stage) -> list[Fact]:
    return [_die(stage), *_recover(stage), *_held_lock(stage), _damaged_heap(stage)]


def _pool(server: Server) -> dict[int, int]:
    """The pool threads by slot, once every place is taken."""
    full_strength(server)
    return {worker["slot"]: worker["tid"] for worker in ready_workers(server) if worker["role"] == "pool"}


def _die(stage: Stage) -> Fact:
    tally = stage.tally("die-ends-every-thread", "with on_fault: die, a null write in one thread ends all of them")
    for _ in stage.repeated(MODEL):
        with stage.start(MODEL, *POOL) as server:
            before = set(_pool(server).values())
            end_by(server, "/fault/segv")
            after = set(_pool(server).values())
            tally.note(not before & after)
        stage.say(f"die: pool threads before {sorted(before)}, after {sorted(after)}")
    return tally.fact()


def _recover(stage: Stage) -> list[Fact]:
    one = stage.tally("recover-costs-one-request",
                      "with on_fault: recover, the same request is answered 500, and the process lives on")
    another = stage.tally("another-thread-takes-over",
                          "the thread is replaced by a new one in the same slot, the others stay")
    for _ in stage.repeated(MODEL):
        with stage.start(MODEL, *RECOVER) as server:
            before = _pool(server)
            line = Line(server)
            answer = line.ask_status("/fault/segv")
            line.close()
            changed = wait_for(lambda: [slot for slot, tid in _pool(server).items() if tid != before[slot]],
                               "a new thread")
            one.note(answer == 500 and not server.status()["deaths"])
            another.note(len(changed) == 1)
            stage.say(f"recover: pool threads before {sorted(before.values())}, after "
                      f"{sorted(_pool(server).values())}; faults recovered: "
                      f"{server.status()['totals']['faults_recovered']}")
    return [one.fact(), another.fact()]


def _held_lock(stage: Stage) -> list[Fact]:
    hangs = stage.tally("recover-with-a-lock-held-hangs",
                        "when the thread held a lock, recovering leaves it locked: who asks for it gets no answer, "
                        "while the server says nothing")
    freed = stage.tally("die-gives-the-lock-back",
                        "when the process dies instead, its successor has a lock of its own, and answers")
    for _ in stage.repeated(MODEL, at_most=5):
        with stage.start(MODEL, *RECOVER) as server:
            is_answered(server, "/fault/segv-holding-lock")
            hangs.note(not is_answered(server, "/counter?mode=mutex", 0.3) and is_answered(server, "/plaintext"))
        with stage.start(MODEL, *POOL) as server:
            end_by(server, "/fault/segv-holding-lock")
            freed.note("process" in ask(server, "/counter?mode=mutex"))
    stage.say("a fault while the thread held a lock: with recover /counter?mode=mutex is never answered again, with "
              "die it is")
    return [hangs.fact(), freed.fact()]


def _damaged_heap(stage: Stage) -> Fact:
    tally = stage.tally("recover-does-not-survive-heap-damage",
                        "when the thread had damaged the heap, the recovered process dies of it within a few requests")
    for _ in stage.repeated(MODEL, at_most=5):
        with stage.start(MODEL, *RECOVER) as server:
            is_answered(server, "/fault/segv-damaged-heap")

            def ends() -> list[object]:
                is_answered(server, "/lab/heap?kib=1024")
                return server.status()["deaths"]
            if tally.note(comes_true(ends, 5.0)):
                death = server.status()["deaths"][0]
    stage.say(f"after damage to the heap: pid {death['pid']} was killed by {death['signal']}" if tally.fact().observed
              else "the damaged heap killed nobody")
    return tally.fact()
