"""Waiting with a deadline: the suite polls for a fact and never sleeps for luck."""

import time

DEADLINE_S = 20.0


def wait_until(condition, what, timeout_s=DEADLINE_S, interval_s=0.005):
    """Polls condition() until it is true and returns its value; fails the test at the deadline."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(interval_s)
