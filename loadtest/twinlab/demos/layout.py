"""Where the parts of a program lie: code, data, heap and stack, in the kernel's map of the process."""

import struct
from pathlib import Path

from twinlab.base.observed import Fact
from twinlab.demos.lines import Line, to_every
from twinlab.demos.stage import Stage, ask, end_by, story_of
from twinlab.demos.tally import StartTally
from twinlab.machine import procfs
from twinlab.servers.server import Server

TITLE = "where code, data, heap and stack lie, and who may write to them"
CLAIMS = (1, 2, 3, 4, 5, 6)
MEANING = ("The four parts are there, in the order of the books, beside much that the books leave out. What looks like "
           "the kernel's half at 0x7f.. is the process's own stack. Every process has its own page tables, so one "
           "address holds different values; the pages of the code lie in memory once, for all of them.")

PARTS = {"code": ("r-x", None), "rodata": ("r--", None), "data": ("rw-", None), "bss": ("rw-", None),
         "heap": ("rw-", "[heap]"), "large": ("rw-", ""), "vdso": ("r-x", "[vdso]")}
DATA_VALUE = 0x7477696E64617461
MARK = 1_000_000


def run(stage: Stage) -> list[Fact]:
    return [*_regions(stage), *_order(stage), *_starts(stage), *_own_values(stage), *_faults(stage),
            *_shared_code(stage), *_file(stage)]


def _lies_as_said(part: str, layout: dict[str, int], mappings: list[procfs.Mapping], binary: str) -> bool:
    found = procfs.find(mappings, layout[part])
    permissions, name = PARTS[part]
    if found is None or not found.permissions.startswith(permissions):
        return False
    if part == "bss":  # behind the part that the file fills
        return True
    return found.name == name if name is not None else Path(found.name).name == binary


def _regions(stage: Stage) -> list[Fact]:
    kinds = stage.tally("each-kind-in-its-region",
                        "code, constants, data, zeroed data, heap, a large block and the vDSO lie in regions of their "
                        "own, with the permissions of their kind")
    more = stage.tally("map-has-more-regions",
                       "the map also has shared libraries, anonymous memory, the vDSO and inaccessible guard regions: "
                       "more than code, data, heap and stack")
    mapped = stage.tally("thread-stack-is-mapped",
                         "a pool thread's stack is no part of [stack], but a mapping of its own below it")
    for key in stage.repeated("prefork", "threadpool", "hybrid"):
        with stage.start(key) as server, to_every(server) as lines:
            stage.say(f"{key}: asking every worker for the addresses of its parts, and looking them up in "
                      "/proc/PID/maps")
            for number, line in enumerate(lines):
                layout, mappings = line.ask("/lab/layout"), procfs.maps(line.pid)
                for part in PARTS:
                    kinds.note(_lies_as_said(part, layout, mappings, server.model.binary))
                names = {mapping.name for mapping in mappings}
                more.note("[vdso]" in names and "" in names and any(".so" in name for name in names)
                          and any(mapping.permissions.startswith("---") for mapping in mappings))
                stack = procfs.find(mappings, layout["stack"])
                if line.tid != line.pid:
                    mapped.note(stack is not None and stack.name != "[stack]")
                if number == 0:
                    stage.show("\n".join(_drawn(layout, mappings)))
    return [kinds.fact(), more.fact(), mapped.fact()]


def _drawn(layout: dict[str, int], mappings: list[procfs.Mapping]) -> list[str]:
    """The lines of the map that the parts lie in, highest first."""
    parts = sorted(((layout[part], part) for part in (*PARTS, "stack", "tls")), reverse=True)
    return [f"{part:7} {address:#014x}  in {found.line if found else 'no region'}"
            for address, part in parts for found in [procfs.find(mappings, address)]]


def _name_at(pid: int, address: int) -> str | None:
    found = procfs.find(procfs.maps(pid), address)
    return found.name if found else None


def _order(stage: Stage) -> list[Fact]:
    order = stage.tally("order-of-regions", "code < data < heap < stack in a single-threaded process")
    grows = stage.tally("heap-grows-up", "[heap] becomes larger at its upper end while its start stays")
    down = stage.tally("stack-grows-down", "the frame of a called function lies below its caller's")
    large = stage.tally("large-allocation-is-mapped", "a block of 1 MiB from malloc does not lie in [heap]")
    top = stage.tally("top-of-user-addresses-is-stack",
                      "above the stack there is nothing but the vDSO and its data: the top of a process's addresses "
                      "is its own readable stack, not the kernel")
    for key in stage.repeated("prefork"):
        with stage.start(key) as server, to_every(server) as lines:
            for line in lines:
                layout, before = line.ask("/lab/layout"), procfs.heap(line.pid)
                order.note(layout["code"] < layout["data"] < layout["heap"] < layout["stack"])
                frames = [frame["local"] for frame in layout["frames"]]
                down.note(frames == sorted(frames, reverse=True))
                large.note(_name_at(line.pid, layout["large"]) not in (None, "[heap]"))
                above = [m for m in procfs.maps(line.pid) if m.start > layout["stack"]]
                top.note(all(m.name in ("[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]") for m in above))
                line.ask("/lab/heap?kib=20480&keep_every=1")
                after = procfs.heap(line.pid)
                grows.note(after[0] == before[0] and after[1] > before[1])
                if line is lines[0]:
                    stage.say("the heap of a worker before and after 20 MiB of small blocks, then what lies above its "
                              "stack")
                    stage.show("\n".join([*(f"{start:012x}-{end:012x} [heap]" for start, end in (before, after)),
                                          *(m.line for m in above)]))
    return [order.fact(), grows.fact(), down.fact(), large.fact(), top.fact()]


def _starts(stage: Stage) -> list[Fact]:
    tally = stage.tally("addresses-differ-between-starts",
                        "code and stack lie elsewhere than in the start before (ASLR)")
    if Path("/proc/sys/kernel/randomize_va_space").read_text().strip() == "0":
        return [tally.fact(without="kernel.randomize_va_space is 0 here")]
    stage.say("the same function and the same kind of stack, in one start after the other")
    before = _code_and_stack(stage)
    for _ in stage.repeated("threadpool"):
        after = _code_and_stack(stage)
        tally.note(before[0] != after[0] and before[1] != after[1])
        stage.show("\n".join(f"code {code:#x}  stack {stack:#x}" for code, stack in (before, after)))
        before = after
    return [tally.fact()]


def _code_and_stack(stage: Stage) -> tuple[int, int]:
    """Where they lie in a fresh start."""
    with stage.start("threadpool") as server:
        layout = ask(server, "/lab/layout")
    return layout["code"], layout["stack"]


def _own_values(stage: Stage) -> list[Fact]:
    tally = stage.tally("same-address-different-values", "one address holds a value of its own in each worker process")
    for key in stage.repeated("prefork"):
        with stage.start(key) as server, to_every(server) as lines:
            stage.say("every worker process writes its pid to the same global variable, then all are asked again")
            addresses = {line.ask("/lab/layout")["data"] for line in lines}
            for line in lines:
                line.ask(f"/lab/poke?how=pointer&address={line.ask('/lab/layout')['data']}&value={line.pid}")
            for line in lines:
                layout = line.ask("/lab/layout")
                tally.note(len(addresses) == 1 and layout["data_value"] == line.pid)
                stage.show(f"pid {line.pid}: at {layout['data']:#x} stands {layout['data_value']}")
    return [tally.fact()]


def _faults(stage: Stage) -> list[Fact]:
    null = stage.tally("null-read-faults", "reading address 0 ends the process with SIGSEGV")
    code = stage.tally("code-is-read-only",
                       "writing to the address of a function ends the process with SIGSEGV, for lack of permission "
                       "(SEGV_ACCERR) and not of memory")
    debugger = stage.tally("debugger-may-write-code",
                           "through /proc/PID/mem another process of the same user can write to the same address "
                           "(here it puts back what stood there)")
    for key in stage.repeated("prefork", "threadpool"):
        with stage.start(key) as server:
            _fault(stage, server, "/lab/peek?how=pointer&address=0", null, "SEGV_MAPERR")
            layout = ask(server, "/lab/layout")
            _fault(stage, server, f"/lab/poke?how=pointer&address={layout['code']}&value=0", code, "SEGV_ACCERR")
            layout = ask(server, "/lab/layout")
            written = _rewrite(layout["pid"], layout["code"])
            if written is not None:
                debugger.note(written)
    return [null.fact(), code.fact(), debugger.fact(without="/proc/PID/mem may not be opened here")]


def _fault(stage: Stage, server: Server, path: str, tally: StartTally, code: str) -> None:
    victim = end_by(server, path)
    story = story_of(server, victim) if victim else {}
    if tally.note(story.get("signal") == "SIGSEGV" and story["code"] == code):
        stage.show(f"GET {path.partition('&')[0]}..: {story['signal']} ({story['code']}) at {story['address']}")


def _rewrite(pid: int, address: int) -> bool | None:
    """Write one byte of code back to where it stands. None: not allowed to try."""
    try:
        with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(address)
            byte = memory.read(1)
            memory.seek(address)
            return memory.write(byte) == 1
    except PermissionError:
        return None
    except OSError:
        return False


def _shared_code(stage: Stage) -> list[Fact]:
    tally = stage.tally("code-is-shared-between-processes",
                        "a worker process shares the pages of its code with the others: all resident, none private, "
                        "and its share of them (Pss) is smaller")
    for key in stage.repeated("prefork"):
        with stage.start(key) as server, to_every(server) as lines:
            stage.say("the code of each worker process in /proc/PID/smaps")
            for line in lines:
                figures = procfs.smaps_kib(line.pid, line.ask("/lab/layout")["code"])
                private = figures["Private_Clean"] + figures["Private_Dirty"]
                tally.note(figures["Pss"] < figures["Rss"] and private == 0)
                stage.show(f"pid {line.pid}: Rss {figures['Rss']} kB, Pss {figures['Pss']} kB, private "
                           f"{private} kB")
    return [tally.fact()]


def _file(stage: Stage) -> list[Fact]:
    from_file = stage.tally("data-comes-from-file",
                            "the initial value of a global variable stands in the program's file, at the place that "
                            "is mapped to its address")
    only_size = stage.tally("bss-is-only-a-size",
                            "a variable without an initial value lies behind the end of what the file fills, and "
                            "starts as zero")
    to_exit = stage.tally("globals-live-to-exit", "both keep what was written to them, over many requests")
    for key in stage.repeated("prefork", "threadpool"):
        with stage.start(key) as server, to_every(server, "pid") as lines:
            binary = Path(f"/proc/{lines[0].pid}/exe").resolve()
            for line in lines:
                layout, mappings = line.ask("/lab/layout"), procfs.maps(line.pid)
                base = min(m.start for m in mappings if m.name == str(binary))
                from_file.note(_word_in_file(binary, layout["data"] - base) == DATA_VALUE == layout["data_value"])
                only_size.note(_word_in_file(binary, layout["bss"] - base) is None and layout["bss_value"] == 0)
                _write_marks(line, layout)
                for _ in range(20 if stage.quick else 200):
                    line.ask("/whoami")
                later = line.ask("/lab/layout")
                to_exit.note((later["data_value"], later["bss_value"]) == (MARK, MARK + 1))
    stage.say("global variables: in the program's file, or only counted there")
    stage.show(f"{binary.name} at {layout['data'] - base:#x}: {DATA_VALUE:#x} (initial value); "
               f"at {layout['bss'] - base:#x}: not in the file")
    return [from_file.fact(), only_size.fact(), to_exit.fact()]


def _write_marks(line: Line, layout: dict[str, int]) -> None:
    line.ask(f"/lab/poke?how=pointer&address={layout['data']}&value={MARK}")
    line.ask(f"/lab/poke?how=pointer&address={layout['bss']}&value={MARK + 1}")


def _word_in_file(path: Path, virtual_address: int) -> int | None:
    """The word that the file has for an address, by its program headers; None when the file does not fill it."""
    content = path.read_bytes()
    headers_at, = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    for number in range(count):
        header = struct.unpack_from("<IIQQQQ", content, headers_at + number * size)
        kind, _, offset, start, _, file_bytes = header
        if kind == 1 and start <= virtual_address < start + file_bytes:
            return struct.unpack_from("<Q", content, offset + virtual_address - start)[0]
    return None
