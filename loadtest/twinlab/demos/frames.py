"""What a function call puts on the stack, and what an optimising compiler leaves of it."""

import platform
import re
import shutil

from twinlab.base.observed import Fact, unavailable
from twinlab.demos.lines import to_every
from twinlab.demos.stage import Stage
from twinlab.machine import processes, procfs

TITLE = "stack frames: return address, locals, parameters, and that they go by themselves"
CLAIMS = (7,)
MEANING = ("A frame has a return address and the locals, is stacked on its caller's, and is gone with the return, "
           "without anybody's doing. That parameters and the old frame pointer stand in it, too, is how compilers work "
           "with -O0; with -O2 both stay in registers.")

LESSONS = tuple(f"int callee(int first, int second) {{ int local = {value}; return local; }}\n"
                for value in ("first * 3 + second", "first - 5 * second", "(first ^ second) & first"))


def run(stage: Stage) -> list[Fact]:
    return [*_live_frames(stage), *_compiled(stage)]


def _live_frames(stage: Stage) -> list[Fact]:
    returns = stage.tally("return-address-lies-in-code",
                          "the return address of each frame points into the code of the program")
    below = stage.tally("callee-lies-below-caller", "a called function's frame lies below its caller's")
    reused = stage.tally("frame-is-reused",
                         "the next call finds the same place free again: the frames of 100 calls take the space of "
                         "one, and the stack does not grow")
    for key in stage.repeated("prefork", "threadpool"):
        with stage.start(key) as server, to_every(server) as lines:
            for line in lines:
                layout, mappings = line.ask("/lab/layout"), procfs.maps(line.pid)
                frames = layout["frames"]
                for frame, callee in zip(frames, frames[1:]):
                    below.note(callee["local"] < frame["local"])
                for frame in frames:
                    found = procfs.find(mappings, frame["return"])
                    returns.note(found is not None and found == procfs.find(mappings, layout["code"]))
                before_kib = procfs.smaps_kib(line.pid, layout["stack"])["Rss"]
                later = [line.ask("/lab/layout")["frames"] for _ in range(100)]
                after_kib = procfs.smaps_kib(line.pid, layout["stack"])["Rss"]
                reused.note(all(again == frames for again in later) and after_kib <= before_kib + 16)
                if line is lines[0]:
                    stage.say(f"{key}: four nested calls in thread {line.tid}")
                    stage.show("\n".join(f"local at {frame['local']:#x}, returns to {frame['return']:#x}"
                                         for frame in frames))
    return [returns.fact(), below.fact(), reused.fact()]


def _compiled(stage: Stage) -> list[Fact]:
    plain = ("unoptimised-keeps-parameters-and-frame-pointer-on-stack",
             "-O0 saves the old frame pointer and stores both parameters in the frame")
    fast = ("optimised-keeps-them-in-registers", "-O2 does neither: nothing of the same function's is in memory")
    compiler = shutil.which("cc")
    if compiler is None or platform.machine() != "x86_64":
        reason = "this lesson reads the assembler of x86-64" if compiler else "there is no C compiler (cc)"
        return [unavailable(*plain, reason), unavailable(*fast, reason)]
    on_stack, in_registers = stage.tally(*plain), stage.tally(*fast)
    stage.say("C functions with -O0 and with -O2")
    for lesson in LESSONS:
        stage.note_start(lesson)
        unoptimised, optimised = (_assembler(stage, compiler, level, lesson) for level in ("-O0", "-O2"))
        stage.show(f"{lesson}-O0:  {'; '.join(unoptimised)}\n-O2:  {'; '.join(optimised)}")
        for register in ("%edi", "%esi"):
            on_stack.note(any(re.fullmatch(rf"movl {register}, -\d+\(%rbp\)", line) for line in unoptimised))
        on_stack.note("pushq %rbp" in unoptimised and "movq %rsp, %rbp" in unoptimised)
        in_registers.note(not any(part in line for line in optimised for part in ("(%rbp)", "(%rsp)", "pushq")))
    return [on_stack.fact(), in_registers.fact()]


def _assembler(stage: Stage, compiler: str, level: str, lesson: str) -> list[str]:
    """The instructions of a lesson, without directives."""
    source = stage.scratch() / "lesson.c"
    source.write_text(lesson)
    _, output = processes.run([compiler, level, "-fcf-protection=none", "-S", "-o", "-", str(source)])
    lines = (" ".join(line.split()) for line in output.splitlines() if line.startswith("\t"))
    return [line for line in lines if not line.startswith(".")]
