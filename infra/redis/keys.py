"""Names of what the transport keeps in Redis, and how Redis knows its messages."""

from __future__ import annotations

from kernel.ports import HIGH

GROUP = "workers"
"""The one consumer group of both streams."""
BODY = b"m"
"""The field of a stream's entry that holds a message's body."""


class Keys:
    """The keys of one transport: all in one slot of a cluster, by their common hash tag, so that a script may use all.

    Attributes:
        normal, high: the streams, by priority. They hold what is unread or in hand: what is acknowledged is deleted.
        delayed, delayed_high: sorted sets of what is not to be received yet, by the server's time in milliseconds.
        dead: the stream of dead letters.
    """

    def __init__(self, prefix: str) -> None:
        """Keys that begin with ``{prefix}``."""
        self.normal = f"{{{prefix}}}:pokes"
        self.high = f"{{{prefix}}}:pokes:high"
        self.delayed = f"{{{prefix}}}:delayed"
        self.delayed_high = f"{{{prefix}}}:delayed:high"
        self.dead = f"{{{prefix}}}:dead"

    @property
    def all(self) -> list[str]:
        """Every key, in the order in which every script takes them."""
        return [self.high, self.normal, self.delayed_high, self.delayed, self.dead]

    def which(self, priority: str) -> int:
        """Number of the stream for a priority, as scripts know it: its place in ``all``, from 1."""
        return 1 if priority == HIGH else 2

    def number(self, stream: str) -> int:
        """Number of a stream, as scripts know it."""
        return 1 if stream == self.high else 2

    def stream(self, number: int) -> str:
        """The stream of a number."""
        return self.all[number - 1]
