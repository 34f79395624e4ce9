"""What a worker has in hand: one slot per thread."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from msgspec import Struct

from kernel.delivery import Delivery


class Held(Struct, frozen=True):
    """What a slot has in hand.

    Attributes:
        batch: the messages that were received and not answered.
        current: the one that is being attended; None between two of them.
        until: monotonic time in seconds by which all of it should be done.
    """

    batch: tuple[Delivery, ...]
    current: Delivery | None
    until: float


class Slots:
    """The slots of a process. May be shared by threads."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._held: dict[int, Held] = {}

    def take(self, slot: int, batch: Sequence[Delivery], until: float) -> None:
        """A slot has received a batch."""
        with self._lock:
            self._held[slot] = Held(tuple(batch), None, until)

    def begin(self, slot: int, delivery: Delivery) -> None:
        """It comes to one of them."""
        with self._lock:
            held = self._held[slot]
            self._held[slot] = Held(held.batch, delivery, held.until)

    def free(self, slot: int) -> bool:
        """It is about to answer its batch; False if that was taken out of its hand meanwhile."""
        with self._lock:
            return self._held.pop(slot, None) is not None

    def seize(self) -> list[Held]:
        """Take everything out of everybody's hand: whoever is still at it answers no more."""
        with self._lock:
            seized = list(self._held.values())
            self._held.clear()
            return seized

    @property
    def full(self) -> bool:
        """Whether all have something in hand."""
        with self._lock:
            return len(self._held) == self._count

    @property
    def empty(self) -> bool:
        """Whether none has."""
        with self._lock:
            return not self._held

    def alive(self, now: float) -> list[Delivery]:
        """The messages in hand of all that are within their time."""
        with self._lock:
            return [each for held in self._held.values() if now <= held.until for each in held.batch]
