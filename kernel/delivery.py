"""The receiving end of a transport: what takes pokes out of it and hands them to workers.

Where something else does that, as Lambda's event source mapping does for SQS, nothing implements it. A host that polls
for itself, or a function that does, uses ``Consumer``; ``kernel.testing.conformance`` says what it must be true to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from kernel.ports import Poke


class Delivery(Struct, frozen=True, kw_only=True):
    """A message in somebody's hand. It comes again, to anybody, unless it is acknowledged in time.

    Attributes:
        id: what the transport knows this delivery by.
        poke: what it says; None if it is no poke of ours.
        problem: why it is none, in words.
        source: of several streams or queues, the one that it came from.
        count: how often it was delivered, this time included; 0 if the transport does not say.
    """

    id: str
    poke: Poke | None
    problem: str = ""
    source: str = ""
    count: int = 0


class Backlog(Struct, frozen=True, kw_only=True):
    """What a transport holds.

    Attributes:
        waiting: messages that can be received now.
        in_hand: delivered, and not acknowledged yet.
        delayed: not to be received before their time.
        dead: dead letters.
        oldest: seconds since the oldest message that waits could first be received, 0 if none waits; None if the
            transport does not say.
    """

    waiting: int
    in_hand: int
    delayed: int
    dead: int
    oldest: float | None = None


class Consumer(Protocol):
    """Takes messages out of a transport. May be shared by threads.

    A message that was received is hidden from others for the consumer's *visibility*, a setting of the transport, and
    comes again after that. One that was delivered too often without being acknowledged or released becomes a dead
    letter, with its body as it was. All methods raise ``Unavailable`` or ``Missing`` when the transport fails; what was
    to be acknowledged then may come again, which does no harm.
    """

    @property
    def visibility(self) -> float:
        """Seconds for which a message that was received or kept is hidden from others."""
        ...

    def receive(self, most: int, wait: float) -> Sequence[Delivery]:
        """Take up to ``most`` messages, those of high priority first, but never only those.

        Waits for up to so many seconds while there is none.
        """
        ...

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """They are dealt with: they never come again."""
        ...

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        """Give them back undone, through no fault of theirs: they come again after so many seconds, to anybody."""
        ...

    def keep(self, deliveries: Sequence[Delivery]) -> None:
        """They are still in hand: hide them from others for the visibility once more."""
        ...

    def backlog(self) -> Backlog:
        """What there is, for whoever watches. May be approximate."""
        ...

    def close(self) -> None:
        """Receive no more; give back what was received and not handed out. Closing twice is no error."""
        ...
