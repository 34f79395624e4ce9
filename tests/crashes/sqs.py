"""The queue of pokes as SQS keeps it: whoever takes messages hides them; those that are not deleted come back.

Source: SQS Developer Guide, "Visibility timeout" and "Using dead-letter queues".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from infra.pokes import encode
from kernel.ports import Clock, Poke
from tests.handlers.aws import Json, queue_record


class Message:
    """A message: since when it is visible, in milliseconds, and how often it was received."""

    __slots__ = ("body", "id", "receives", "visible")

    def __init__(self, id_: str, body: str, visible: int) -> None:
        self.id = id_
        self.body = body
        self.visible = visible
        self.receives = 0

    @property
    def record(self) -> Json:
        """As it stands in the event of a batch."""
        return queue_record(self.body, self.id, self.receives)


class Sqs:
    """Implements ``kernel.ports.Queue``.

    Attributes:
        visibility: milliseconds for which a message is hidden that was received.
        receives: after so many receptions it goes to the dead-letter queue.
        dead: the bodies of those that did.
    """

    def __init__(self, clock: Clock, visibility: int, receives: int) -> None:
        self._clock = clock
        self.visibility = visibility
        self.receives = receives
        self.dead: list[str] = []
        self._messages: list[Message] = []
        self._sent = 0

    def send(self, pokes: Sequence[tuple[Poke, int]]) -> None:
        """Keep the pokes, each for so many seconds."""
        for poke, delay in pokes:
            self.put(encode(poke), delay)

    def put(self, body: str, delay: int = 0) -> None:
        """Keep whatever somebody sends."""
        self._sent += 1
        self._messages.append(Message(f"m-{self._sent}", body, self._clock.now() + delay * 1000))

    def receive(self, most: int) -> list[Message]:
        """Take up to so many visible messages, the oldest first."""
        now = self._clock.now()
        taken: list[Message] = []
        for message in sorted(self._messages, key=lambda each: each.visible):
            if message.visible > now or len(taken) == most:
                break
            if message.receives == self.receives:
                self._messages.remove(message)
                self.dead.append(message.body)
                continue
            message.receives += 1
            message.visible = now + self.visibility
            taken.append(message)
        return taken

    def delete(self, batch: Sequence[Message], failed: Collection[str]) -> None:
        """A batch was answered: what did not fail is done, unless somebody else who received it was faster."""
        for message in batch:
            if message.id not in failed and message in self._messages:
                self._messages.remove(message)

    @property
    def next_at(self) -> int | None:
        """When the next message is visible."""
        return min((message.visible for message in self._messages), default=None)
