"""Waiting that takes no time: a thread's pauses, as a fake clock passes them."""

from __future__ import annotations

import threading

from kernel.testing.memory import FakeClock


class Rounds:
    """Waits for no time at all but moves the clock, so many times; after that, until it is set."""

    def __init__(self, clock: FakeClock, count: int) -> None:
        self._clock = clock
        self._count = count
        self._event = threading.Event()
        self.waited: list[float] = []
        self.done = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        if len(self.waited) == self._count:
            self.done.set()
            assert self._event.wait(30), "nobody stopped it"
            return True
        assert timeout is not None
        self.waited.append(timeout)
        self._clock.sleep(timeout)
        return self._event.is_set()

    def set(self) -> None:
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()
