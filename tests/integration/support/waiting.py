"""Waiting with a deadline: the suite polls for a fact and never sleeps for luck."""

import time

# Only a test that fails waits so long: on a machine that has much else to do, everything comes in the end.
DEADLINE_S = 120.0
# By how much a server, and a test that looks at a clock, may be late there. What takes longer by design, a handler that
# sleeps for a minute, is still told from it.
LATENESS_S = 30.0


# What comes at once is seen at once, and who waits for long leaves the CPU to those for whom all the others wait.
SHORTEST_INTERVAL_S, LONGEST_INTERVAL_S = 0.005, 0.03
INTERVAL_PER_WAIT = 0.05


def wait_until(condition, what, timeout_s=DEADLINE_S, interval_s=None):
    """Polls condition() until it is true and returns its value; fails the test at the deadline."""
    begin_s = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        waited_s = time.monotonic() - begin_s
        if waited_s > timeout_s:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(interval_s or min(max(SHORTEST_INTERVAL_S, INTERVAL_PER_WAIT * waited_s), LONGEST_INTERVAL_S))


class Pace:
    """How long a client was silent at most. On a busy machine it may be late itself, and then it is cut by rights."""

    def __init__(self):
        self.longest_s = 0.0
        self._last_s = time.monotonic()

    def step(self):
        """The client has just done something."""
        now_s = time.monotonic()
        self.longest_s = max(self.longest_s, now_s - self._last_s)
        self._last_s = now_s

    def rest(self, seconds):
        time.sleep(seconds)
        self.step()


def at_its_pace(attempt, limit_s):
    """Runs attempt(pace). What fails counts only if the client itself was never silent for limit_s; else again."""
    deadline_s = time.monotonic() + DEADLINE_S
    while True:
        pace = Pace()
        try:
            return attempt(pace)
        except Exception:
            pace.step()
            if pace.longest_s < limit_s or time.monotonic() > deadline_s:
                raise
