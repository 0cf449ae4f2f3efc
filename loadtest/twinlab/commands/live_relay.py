"""`lab live`: a server's events as they come, with the laboratory's own between them."""

import time
from typing import Callable

from twinlab.clients import http
from twinlab.clients.events import Block, Stream
from twinlab.commands.live_sides import Side

# How soon an event of the laboratory's own follows; the observer's come at their own pace.
POLL_S = 0.1
AGAIN_S = 0.25
# An observer tells something ten times a second.
SILENCE_S = 5.0
WAITING = Block(b": the observer does not answer\n\n")


class Relay:
    """Hands on blocks until `take` raises or all is over. An observer that goes away is asked again, for what followed
    the last event: whoever takes the blocks notices nothing, or sees it say hello again."""

    def __init__(self, side: Side, take: Callable[[Block], None], is_over: Callable[[], bool]) -> None:
        self._side = side
        self._take = take
        self._is_over = is_over
        self._last_id = ""
        self._number, _ = side.feed.since(0)
        self._number -= 1  # the newest of our own comes at once

    def run(self, last_id: str = "") -> None:
        self._last_id = last_id
        while not self._is_over():
            try:
                with self._side.observer.events(self._last_id) as stream:
                    self._follow(stream)
            except (http.NoAnswer, http.RequestLost):
                self._take(WAITING)
                time.sleep(AGAIN_S)

    def _follow(self, stream: Stream) -> None:
        heard_s = time.monotonic()
        while not self._is_over():
            block = stream.next(POLL_S)
            if not block and time.monotonic() - heard_s > SILENCE_S:
                raise http.RequestLost(f"the observer is silent for {SILENCE_S:.0f} s")
            if block:
                heard_s = time.monotonic()
                self._last_id = block.id or self._last_id
                self._take(block)
            self._number, own = self._side.feed.since(self._number)
            for each in own:
                self._take(each)
