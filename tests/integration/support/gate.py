"""Which new processes become ready is decided by a test (gate.c)."""

import os

from support.waiting import wait_until


class Gate:
    """Decides which new processes become ready."""

    def __init__(self, directory, library):
        self.directory = directory
        self.environment = {**os.environ, "LD_PRELOAD": str(library), "GATE": str(directory)}

    def close(self):
        (self.directory / "closed").touch()

    def open(self):
        (self.directory / "closed").unlink()

    def let_one_pass(self):
        (self.directory / "ticket").touch()
        wait_until(lambda: not (self.directory / "ticket").exists(), "somebody takes the ticket")

    def break_down(self):
        (self.directory / "broken").touch()

    def mend(self):
        (self.directory / "broken").unlink()
