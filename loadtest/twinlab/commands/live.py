"""`lab live`: the servers side by side under load, on one page that shows them and breaks them."""

import contextlib
import queue
import random
import secrets
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from twinlab.base.errors import Interrupted, LabError
from twinlab.commands import live_page, live_presets, live_record, live_sides, live_summary, study
from twinlab.commands.live_page import Page
from twinlab.commands.live_presets import Preset
from twinlab.commands.live_record import Recorder
from twinlab.commands.live_sides import Side
from twinlab.commands.live_web import Door, Show
from twinlab.machine import host, scratch
from twinlab.runs.windows import FAILURES, first_line, tell
from twinlab.servers import models, workloads

KEYS = ("prefork", "threadpool", "hybrid")
PORT = 8095
LOOK_EVERY_S = 0.5
KILL_EVERY_S = 1.0
ORDER_PATIENCE_S = 60.0
# After the last kill, until clients and journals have noticed.
SETTLE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user asked for. seconds: until it ends by itself, None: never."""

    port: int
    seconds: float | None
    connections: int
    models: list[str]
    on_death: str
    record: Path | None
    seed: int
    bin_dir: Path | None = None


class Order:
    """A preset that somebody wants, and what came of it."""

    def __init__(self, preset: Preset) -> None:
        self.preset = preset
        self.done = threading.Event()
        self.error = ""


class Regular:
    """Something that is due again and again."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self.due_s = time.monotonic()

    def is_due(self) -> bool:
        """Once each time. Who comes late does not catch up."""
        now_s = time.monotonic()
        if now_s < self.due_s:
            return False
        next_s = self.due_s + self._every_s
        self.due_s = next_s if next_s > now_s else now_s + self._every_s
        return True


class Director:
    """Does all that is done to the servers, in one thread: a program dies with the thread that has started it."""

    def __init__(self, sides: list[Side], presets: dict[str, Preset], seed: int) -> None:
        self._sides = sides
        self._presets = presets
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._rng = random.Random(seed)
        self._is_killing = False
        self._look = Regular(LOOK_EVERY_S)
        self._kill = Regular(KILL_EVERY_S)

    def order(self, preset_id: str) -> tuple[bool, str]:
        """Have a preset carried out; from any thread. Whether it was, and what there is to say."""
        preset = self._presets.get(preset_id)
        if preset is None:
            return False, f"there is no preset {preset_id}; there are {', '.join(self._presets)}"
        order = Order(preset)
        self._orders.put(order)
        if not order.done.wait(ORDER_PATIENCE_S):
            return False, "it has not been done yet: the machine has much to do"
        return not order.error, order.error or preset.told

    def work(self) -> None:
        """Whatever is due until something has been done or looked at."""
        with contextlib.suppress(queue.Empty):
            self._carry_out(self._orders.get(timeout=max(0.0, self._look.due_s - time.monotonic())))
        if self._look.is_due():
            for side in self._sides:
                side.look(self._is_killing)
        if self._is_killing and self._kill.is_due():
            for side in self._sides:
                side.kill_one(self._rng)

    def _carry_out(self, order: Order) -> None:
        try:
            live_presets.apply(order.preset, self._sides)
        except FAILURES as error:
            order.error = first_line(error)
        if order.preset.killing is not None:
            self._is_killing = order.preset.killing
        order.done.set()


class Performance:
    """The servers, the page and who watches, from the start to the table at the end."""

    def __init__(self, options: Options, page: Page, sides: list[Side]) -> None:
        presets = live_presets.make(options.connections)
        self._options = options
        self._page = page
        self._sides = sides
        self._director = Director(sides, presets, options.seed)
        self._servers = [{"name": side.model.label, "base": f"s/{number}", "wrk": True, "shape": side.model.shape}
                         for number, side in enumerate(sides)]
        description = {"servers": self._servers,
                       "presets": [{"id": preset.id, "label": preset.label} for preset in presets.values()]}
        self._door = Door(options.port, Show(page, sides, description, self._director.order, secrets.token_urlsafe(24)))
        self._recorder = Recorder(sides, self._door.is_over)
        self._record_wanted = threading.Event()

    def give(self) -> None:
        """Until the time is over or somebody ends it; the table is shown in any case."""
        signal.signal(signal.SIGUSR1, lambda *_: self._record_wanted.set())
        with self._door:
            try:
                self._begin()
                self._go_on()
            except Interrupted:
                print()  # the terminal has shown ^C
            self._end()

    def _begin(self) -> None:
        for side in self._sides:
            side.put_load(self._options.connections)
        if self._options.record:
            self._recorder.start()
        print("\n".join(self._opening()), flush=True)

    def _opening(self) -> Iterator[str]:
        yield f"lab live: {self._door.address}"
        for side in self._sides:
            yield (f"  {side.model.label}: {side.model.shape}, http://127.0.0.1:{side.server.port}, "
                   f"observer http://127.0.0.1:{side.observer.port}/#token={side.observer.token}")
        yield (f"  wrk with {self._options.connections} connections and one thread on each; on a death: "
               f"{self._options.on_death}")
        if self._options.record:
            yield f"  the last ten minutes go to {self._options.record} at the end, and at a SIGUSR1"
        yield "  Ctrl-C ends it"

    def _go_on(self) -> None:
        full_state = Regular(live_record.FULL_STATE_EVERY_S)
        end_s = time.monotonic() + self._options.seconds if self._options.seconds else None
        while end_s is None or time.monotonic() < end_s:
            self._director.work()
            if not any(side.server.is_running() for side in self._sides):
                tell("all servers have ended")
                return
            if self._options.record and full_state.is_due():
                self._note_states()
            if self._record_wanted.is_set():
                self._record_wanted.clear()
                try:
                    self._write_recording()
                except LabError as error:
                    tell(first_line(error))  # the show goes on

    def _note_states(self) -> None:
        for number, side in enumerate(self._sides):
            with contextlib.suppress(*FAILURES):
                self._recorder.note_state(number, side.observer.state())

    def _end(self) -> None:
        time.sleep(SETTLE_S)
        for side in self._sides:
            side.end_load()
        print("\n".join(live_summary.lines([live_summary.row_of(side) for side in self._sides])))
        self._write_recording()

    def _write_recording(self) -> None:
        if not self._options.record:
            return
        size_bytes = live_record.write(self._options.record, self._page, self._recorder.as_json(self._servers))
        print(f"{self._options.record}: {size_bytes / 1e6:.1f} MB", flush=True)


def run(options: Options) -> int:
    """Prepare, play, tell."""
    if options.record and not options.record.parent.is_dir():
        raise LabError(f"there is no folder {options.record.parent} for the recording")
    bin_dir = study.prepare(study.Options(bin_dir=options.bin_dir), "load",
                            connections=max(live_presets.CROWD, options.connections), option="--connections")
    chosen = models.choose(options.models, host.cpus())
    with scratch.folder() as folder, contextlib.ExitStack() as stack:
        page = live_page.load(folder / "page")
        root = workloads.make_documents(folder / "www")
        sides = [stack.enter_context(live_sides.started(model, bin_dir, root, folder, options.on_death))
                 for model in chosen]
        Performance(options, page, sides).give()
    return 0
