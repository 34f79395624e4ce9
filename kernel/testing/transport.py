"""The receiving end of the queue in memory: true to the same suite as the real transports."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from kernel.delivery import Backlog, Delivery
from kernel.ports import Clock, Poke
from kernel.testing.memory import MemoryQueue

STEP = 0.05
"""Seconds between two looks while a consumer waits."""


class Foreign(Poke, frozen=True):
    """What stands for a message that is no poke, in a queue that holds nothing else: ``Foreign("", "", body="…")``."""

    body: str = ""


class MemoryConsumer:
    """``Consumer`` of a ``MemoryQueue``. Those that share a queue compete for its messages.

    Args:
        queue: where pokes are sent. It keeps what is in hand, and what is dead.
        clock: the queue's.
        visibility: seconds.
        deliveries: after so many without being acknowledged or released a message becomes a dead letter. What is
            released counts from the start.
    """

    def __init__(self, queue: MemoryQueue, clock: Clock, visibility: float, deliveries: int = 5) -> None:
        """Receive nothing yet."""
        self._queue = queue
        self._clock = clock
        self._visibility = visibility
        self._deliveries = deliveries
        self._closed = threading.Event()

    @property
    def visibility(self) -> float:
        """Seconds for which a message that was received or kept is hidden from others."""
        return self._visibility

    def receive(self, most: int, wait: float) -> Sequence[Delivery]:
        """Take up to ``most`` messages; wait on the clock for up to so many seconds while there is none."""
        end = self._clock.monotonic() + wait
        while not self._closed.is_set():
            found = self._take(most)
            left = end - self._clock.monotonic()
            if found or left <= 0:
                return found
            self._clock.sleep(min(left, STEP))
        return []

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """They are dealt with: they never come again."""
        for each in deliveries:
            self._queue.settle(int(each.id))

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        """Give them back undone: they come again after so many seconds, to anybody."""
        for each in deliveries:
            self._queue.hide(int(each.id), each.count, round(delay * 1000), taken=False)

    def keep(self, deliveries: Sequence[Delivery]) -> None:
        """They are still in hand: hide them from others for the visibility once more."""
        for each in deliveries:
            self._queue.hide(int(each.id), each.count, self._hidden, taken=True)

    def backlog(self) -> Backlog:
        """What there is."""
        ages = self._queue.ages()
        due = [age for age, _ in ages if age >= 0]
        return Backlog(
            waiting=len(due),
            in_hand=sum(taken for age, taken in ages if age < 0),
            delayed=sum(not taken for age, taken in ages if age < 0),
            dead=len(self._queue.dead),
            oldest=max(due, default=0) / 1000,
        )

    def close(self) -> None:
        """Receive no more. It hands out all that it takes, so there is nothing to give back."""
        self._closed.set()

    @property
    def _hidden(self) -> int:
        return round(self._visibility * 1000)

    def _take(self, most: int) -> list[Delivery]:
        found: list[Delivery] = []
        while len(found) < most and (taken := self._queue.take(self._hidden, self._deliveries)):
            number, count, poke = taken
            problem = f"not a poke: {poke.body}" if isinstance(poke, Foreign) else ""
            found.append(Delivery(id=str(number), poke=None if problem else poke, problem=problem, count=count))
        return found
