"""The faults. Each is a function that does it to a running session, and gives back whatever it has taken."""

import os
import signal
from dataclasses import dataclass

from chaos.limits import NoDescriptors, Stopped, wait_for
from support.client import Client, ConnectionLost, request_bytes

LEAK_BYTES = 1 << 20
OOM_HEADROOM_BYTES = 48 << 20
OOM_LEAK_BYTES = 512 << 20
GIVEN_UP = 500  # so is a request answered under which one process after the other has died
NO_PROCESSES = 1
REPLACED = "all processes have been replaced"


@dataclass(frozen=True)
class Fault:
    name: str
    act: object
    loses: bool  # requests may be lost; else no client may notice more than a delay
    unsettles: bool = False  # several processes come and go at once: see the tolerance in account.py
    statuses: tuple = ()  # which answers may name an error
    is_repeated: bool = False  # it is a request, and a successor that goes on with connections tries it, too
    unavailable: object = None  # tells why it cannot be done to this session, or None


ALL = {}


def fault(name, **facts):
    def register(act):
        ALL[name] = Fault(name, act, **facts)
        return act
    return register


# A worker process dies by a signal from outside.

def _kill(number):
    def act(session, step):
        victim = step.choose(session.worker_pids())
        session.begin()
        os.kill(victim, number)
        session.expect_gone({victim})
    return act


for _number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT):
    fault(f"{_number.name} from outside", loses=True)(_kill(_number))


@fault("SIGKILL of all workers", loses=True, unsettles=True)
def kill_all(session, _step):
    victims = session.worker_pids()
    session.begin()
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    session.expect_gone(set(victims))


# A request ends its process.

def _send_fault(session, target):
    """Sends the request on a connection of its own; returns the client and the process that has it. All but its end is
    sent before: a connection on which a request has begun is not handed to another process meanwhile."""
    client = Client(session.address)
    request = request_bytes(target=target)
    client.send(request_bytes(target="/whoami") + request[:-1])
    pid = session.read_whoami_pid(client)
    session.begin()
    client.send(request[-1:])
    return client, pid


def _read_last(session, client, target):
    """What becomes of the request under which processes die: cut, or given up by a successor, who says so."""
    try:
        response = client.read_response()
    except (ConnectionLost, OSError):
        session.seen.note_failure("cut", target)
        return
    if session.adopts and response.status == GIVEN_UP:
        session.seen.note_given_up()
    else:
        session.seen.note_answer(response, target)


def _crash(target):
    def act(session, _step):
        client, pid = _send_fault(session, target)
        with client:
            _read_last(session, client, target)
        session.expect_gone({pid})
    return act


for _path in ("segv", "abort", "stack-overflow", "exit?status=3"):
    fault(f"GET /fault/{_path.partition('?')[0]}", loses=True, is_repeated=True)(_crash(f"/fault/{_path}"))


# A request gets a thread stuck, until its process is killed: by a watchdog, or in its place.

def _stick(target):
    def act(session, step):
        client, pid = _send_fault(session, target)
        others = set(session.worker_pids()) - {pid}
        with client:
            if session.has_watchdog:
                session.watch_until_answered()
                session.hush()
                wait_for(lambda: pid not in session.worker_pids(), "the watchdog ends what is stuck")
                session.go_on()
            else:
                session.hold(step.hold_s)
                session.hush()
                os.kill(pid, signal.SIGKILL)
                session.go_on()
            if session.adopts:
                _end_whoever_repeats_it(session, client, {pid, *others}, step)
            _read_last(session, client, target)
        session.expect_gone({pid})
    return act


def _end_whoever_repeats_it(session, client, known, step):
    """The successors try the request, too, and are stuck as well, until one gives it up. known: who is none, or was
    killed."""
    while not client.has_answer():
        wait_for(lambda: client.has_answer() or set(session.worker_pids()) - known, "a successor")
        session.hold(step.hold_s)
        for successor in set(session.worker_pids()) - known:
            if not session.has_watchdog and not client.has_answer():
                os.kill(successor, signal.SIGKILL)
                session.expect_gone({successor})
                known.add(successor)


for _path in ("hang", "deadlock"):
    fault(f"GET /fault/{_path}", loses=True, is_repeated=True)(_stick(f"/fault/{_path}"))


# Nobody dies: everything is late at most.

@fault("SIGSTOP of a worker", loses=False)
def stop_worker(session, step):
    victim = step.choose(session.worker_pids())
    session.begin()
    with Stopped(victim):
        session.hold(step.hold_s)


@fault("SIGSTOP of the master", loses=False)
def stop_master(session, step):
    session.begin()
    with Stopped(session.master):
        session.hold(step.hold_s)


@fault("SIGKILL while master stands", loses=True)
def kill_under_stopped_master(session, step):
    victim = step.choose(session.worker_pids())
    with Stopped(session.master):
        session.begin()
        os.kill(victim, signal.SIGKILL)
        session.hold(step.hold_s)
    session.expect_gone({victim})


@fault("GET /fault/leak", loses=False)
def leak(session, _step):
    session.begin()
    session.get(f"/fault/leak?bytes={LEAK_BYTES}")


# A file that is not in the worker's cache cannot be opened: 503 says so.
@fault("no descriptors", loses=False, statuses=("status 503",))
def no_descriptors(session, step):
    with NoDescriptors(step.choose(session.worker_pids())):
        session.begin()
        session.hold(step.hold_s)


# Memory and processes are taken away.

def _without_memory_limit(session):
    if session.sanitized:
        return "a sanitizer's memory is not limited in a useful way"
    return session.why_no_memory_limit


@fault("out of memory", loses=True, is_repeated=True, unavailable=_without_memory_limit)
def out_of_memory(session, _step):
    target = f"/fault/leak?bytes={OOM_LEAK_BYTES}"
    before = set(session.worker_pids())
    group = session.memory
    session.be_quiet()
    group.limit(group.read("memory.usage_in_bytes") + OOM_HEADROOM_BYTES)
    try:
        with Client(session.address) as client:
            session.whoami_pid(client)
            client.send(request_bytes(target=target))
            _read_last(session, client, target)
        session.begin(quiet=False)  # only now it is known when the kernel struck
    finally:
        group.unlimit()
    session.expect_gone(before - set(session.worker_pids()))


def _without_process_limit(session):
    return session.why_no_process_limit


@fault("fork fails", loses=True, unavailable=_without_process_limit)
def fork_fails(session, step):
    victim = step.choose(session.worker_pids())
    session.processes.limit(NO_PROCESSES)
    try:
        session.begin()
        os.kill(victim, signal.SIGKILL)
        session.hold(step.hold_s)
    finally:
        session.processes.unlimit()
    session.expect_gone({victim})


def _without_threads(session):
    if session.model.loops + session.model.pool < 2:
        return "its processes have one thread each"
    return session.why_no_process_limit


@fault("threads cannot start", loses=True, unsettles=True, unavailable=_without_threads)
def threads_fail(session, step):
    victim = step.choose(session.worker_pids())
    left = sum(len(os.listdir(f"/proc/{pid}/task")) for pid in
               {session.master, *session.worker_pids()} - {victim})
    # A keeper is a process, too: the successor's is to start before the thread that cannot.
    session.processes.limit(left + 1 + (len(session.keeper_pids()) + 1 if session.adopts else 0))
    try:
        session.begin()
        os.kill(victim, signal.SIGKILL)
        session.hold(step.hold_s)
    finally:
        session.processes.unlimit()
    session.expect_gone({victim})


# The disk is full.

def _without_disk(session):
    return session.why_no_disk


@fault("disk full", loses=False, unavailable=_without_disk)
def disk_full(session, step):
    session.begin()
    try:
        session.disk.fill()
        session.hold(step.hold_s)
    finally:
        session.disk.free()


@fault("SIGKILL while disk is full", loses=True, unavailable=_without_disk)
def kill_with_full_disk(session, step):
    victim = step.choose(session.worker_pids())
    try:
        session.disk.fill()
        session.begin()
        os.kill(victim, signal.SIGKILL)
        session.hold(step.hold_s)
    finally:
        session.disk.free()
    session.expect_gone({victim})


# Orders to the master.

@fault("SIGHUP", loses=False)
def reload(session, _step):
    before = set(session.worker_pids())
    mark = session.error_log_mark()
    session.begin()
    os.kill(session.master, signal.SIGHUP)
    session.wait_for_error_log(REPLACED, mark)
    session.expect_gone(before)


@fault("SIGKILL during SIGHUP", loses=True, unsettles=True)
def kill_during_reload(session, step):
    mark = session.error_log_mark()
    session.begin()
    os.kill(session.master, signal.SIGHUP)
    session.hold(step.hold_s / 50)
    victim = step.choose(session.worker_pids())
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it retired just now
    session.wait_for_error_log(f"{REPLACED}|no process can start", mark)
    session.expect_gone({victim})


@fault("SIGUSR1", loses=False)
def rotate_logs(session, _step):
    session.begin()
    session.rotate_logs()


def available(session):
    """The faults that can be done here, and a reason for each other one."""
    reasons = {name: f.unavailable(session) if f.unavailable else None for name, f in ALL.items()}
    return ([name for name, reason in reasons.items() if reason is None],
            {name: reason for name, reason in reasons.items() if reason is not None})
