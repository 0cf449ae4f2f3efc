"""What the threads of a process have in common, and what each has alone."""

from twinlab.base.observed import Fact
from twinlab.demos.lines import Line, to_every
from twinlab.demos.stage import Stage

TITLE = "threads share code, data and heap; stack and thread-local storage they do not"
CLAIMS = (11, 15)
MEANING = ("What one thread writes to a global variable or to the heap, all others read at the same address: they "
           "share exactly code, data and heap (and descriptors: see the demonstration resources). A note that says "
           "they share everything except these three has it the wrong way round.")

PLACES = {"data": "a global variable", "heap": "a word on the heap"}


def run(stage: Stage) -> list[Fact]:
    shared = {part: stage.tally(f"threads-share-{part}",
                                f"what one thread writes to {what}, every other one finds at the same address")
              for part, what in PLACES.items()}
    code = stage.tally("threads-share-code", "the same handler has the same address in every thread")
    own = stage.tally("threads-have-own-stack-and-tls",
                      "stack and thread-local storage lie at another address in each thread")
    for key in stage.repeated("threadpool", "hybrid"):
        with stage.start(key) as server, to_every(server) as lines:
            stage.say(f"{key}: each thread in turn writes its thread id, and all threads of its process are asked")
            pid = lines[0].pid
            together = [line for line in lines if line.pid == pid]
            for writer in together:
                _write(writer)
                for reader in together:
                    layout = reader.ask("/lab/layout")
                    for part, tally in shared.items():
                        tally.note(layout[f"{part}_value"] == writer.tid)
            layouts = [line.ask("/lab/layout") for line in together]
            for part in ("code", "data"):
                code.note(len({layout[part] for layout in layouts}) == 1)
            for part in ("stack", "tls", "stack_low"):
                own.note(len({layout[part] for layout in layouts}) == len(layouts))
            stage.show("\n".join(_seen(line, layout) for line, layout in zip(together, layouts)))
    return [*(tally.fact() for tally in shared.values()), code.fact(), own.fact()]


def _write(writer: Line) -> None:
    layout = writer.ask("/lab/layout")
    for part in PLACES:
        writer.ask(f"/lab/poke?how=pointer&address={layout[part]}&value={writer.tid}")


def _seen(line: Line, layout: dict[str, int]) -> str:
    return (f"thread {line.tid}: data {layout['data']:#x} = {layout['data_value']}, heap {layout['heap']:#x} = "
            f"{layout['heap_value']}, stack {layout['stack']:#x}, tls {layout['tls']:#x}")
