"""Programs started by programs: exec replaces, fork adds, and a shell does both for each command."""

from twinlab.base.observed import Fact
from twinlab.demos.stage import Stage, death_of, end_by
from twinlab.machine import processes

TITLE = "exec: another program in the same process, and a process for each command of a shell"
CLAIMS = (54,)
MEANING = ("exec keeps the process and replaces what runs in it; a shell forks for each command first. What that costs "
           "is measured elsewhere (micro create). A server that needs neither may forbid it: with seccomp on, trying "
           "is deadly.")

COMMANDS = 5


def run(stage: Stage) -> list[Fact]:
    return [*_server(stage), *_shell(stage)]


def _server(stage: Stage) -> list[Fact]:
    replaces = stage.tally("exec-keeps-pid-and-replaces-program",
                           "a worker that calls exec(\"/bin/true\") ends under its old pid with that program's exit "
                           "status, 0, and without a signal")
    forbidden = stage.tally("seccomp-forbids-exec", "with seccomp on, the same call ends the worker by SIGSYS")
    for key in stage.repeated("prefork", "threadpool"):
        for seccomp, tally in (("off", replaces), ("on", forbidden)):
            with stage.start(key, "--seccomp", seccomp) as server:
                victim = end_by(server, "/fault/exec")
                death = death_of(server, victim) if victim else {}
                tally.note(death.get("signal") == "SIGSYS" if seccomp == "on" else death.get("exit_status") == 0)
                stage.say(f"{key}, seccomp {seccomp}: GET /fault/exec ended pid {victim} by "
                          f"{death.get('signal') or 'exit status ' + str(death.get('exit_status'))}")
    return [replaces.fact(), forbidden.fact()]


def _shell(stage: Stage) -> list[Fact]:
    each = stage.tally("shell-makes-a-process-per-command",
                       "each command that a shell runs is a process of its own, whose parent is the shell")
    none = stage.tally("builtin-makes-none",
                       "a command that is built into the shell is none: it sees the shell's own pid")
    command = "sh -c 'echo $$ $PPID'"
    script = "echo $$; " + "; ".join([command] * COMMANDS) + "; " + "; ".join(["read pid rest </proc/self/stat; echo "
                                                                               "$pid"] * 3)
    for name in stage.repeated("sh"):
        _, output = processes.run([name, "-c", script + "; true"])
        stage.note_start(output)
        lines = output.splitlines()
        shell, commands, builtins = lines[0], [line.split() for line in lines[1:COMMANDS + 1]], lines[COMMANDS + 1:]
        pids = [pid for pid, _ in commands]
        for pid, ppid in commands:
            each.note(ppid == shell and pid != shell and pids.count(pid) == 1)
        for pid in builtins:
            none.note(pid == shell)
        stage.say(f"a shell (pid {shell}) runs {COMMANDS} commands, then 3 times its built-in `read`")
        stage.show(f"commands: {', '.join(f'pid {pid} of parent {ppid}' for pid, ppid in commands)}\nread: "
                   f"{', '.join(builtins)}")
    return [each.fact(), none.fact()]
