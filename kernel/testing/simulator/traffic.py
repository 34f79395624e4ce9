"""Messages on their way: at least once, in no order, with a visibility time-out and a dead-letter queue, as SQS has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kernel.ports import Poke
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.world import World

RECEIVES = 5
"""A message that was received so often goes to the dead-letter queue, as good as lost."""


class Message:
    """A poke on its way.

    Attributes:
        name: the same in each replay.
        poke: what it says.
        at: when it can be received (again), in milliseconds.
        receives: how often it was.
    """

    __slots__ = ("at", "name", "poke", "receives")

    def __init__(self, name: str, poke: Poke, at: int) -> None:
        """On its way until ``at``."""
        self.name = name
        self.poke = poke
        self.at = at
        self.receives = 0


class Transport(Protocol):
    """``Queue``, and what may be known of what is under way in it."""

    @property
    def silent(self) -> bool:
        """Messages of workers and clients are all lost; only those of the tick arrive."""
        ...

    @property
    def next_at(self) -> int | None:
        """When the next message can be received."""
        ...

    def send(self, pokes: Sequence[tuple[Poke, int]]) -> None:
        """Take messages, each with a delay in seconds."""
        ...

    def about(self, run: str) -> Sequence[Message]:
        """The messages about a run that are under way."""
        ...


class Traffic:
    """``Transport``, and the other end of it.

    Attributes:
        silent: messages of workers and clients are all lost; only those of the tick arrive.
    """

    def __init__(self, world: World, *, silent: bool = False) -> None:
        """Nothing under way."""
        self.silent = silent
        self.messages: list[Message] = []
        self._world = world
        self._chance = Chance(world.seed, "traffic")
        self._count = 0

    def send(self, pokes: Sequence[tuple[Poke, int]]) -> None:
        """Take messages, and do to them what the weather does."""
        world, chance = self._world, self._chance
        for poke, delay in pokes:
            self._count += 1
            name = f"message-{self._count}"
            if world.weather.strikes("lost", chance, name) or self._hushed():
                continue
            late = chance.pick((5_000, 40_000, 200_000)) if world.weather.strikes("late", chance, name) else 0
            at = world.now + delay * 1000 + 2 + chance.below(60)
            self.messages.append(Message(name, poke, at + late))
            if world.weather.strikes("doubled", chance, name):
                self.messages.append(Message(f"{name}b", poke, at + chance.pick((0, 30, 3_000, 90_000))))

    def _hushed(self) -> bool:
        acting = self._world.acting
        return self.silent and acting is not None and not acting.name.startswith("tick")

    @property
    def next_at(self) -> int | None:
        """When the next message can be received."""
        return min((message.at for message in self.messages), default=None)

    def receive(self, most: int, visibility: int) -> list[Message]:
        """Take some messages; unless they are deleted, they come again after ``visibility`` milliseconds."""
        found = [message for message in self.messages if message.at <= self._world.now]
        found.sort(key=lambda message: message.at)
        taken: list[Message] = []
        for message in found[:most]:
            message.receives += 1
            message.at = self._world.now + visibility
            if message.receives > RECEIVES:
                self.delete(message)
            else:
                taken.append(message)
        return taken

    def delete(self, message: Message) -> None:
        """It was dealt with."""
        if message in self.messages:
            self.messages.remove(message)

    def about(self, run: str) -> list[Message]:
        """The messages about a run that are under way."""
        return [message for message in self.messages if message.poke.run == run]
