"""Messages in Redis Streams: in order, hidden while in hand, dead after too many deliveries; and all gone at times."""

from __future__ import annotations

from collections.abc import Sequence

from kernel.ports import Poke
from kernel.testing.memory import MemoryQueue
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.traffic import Message
from kernel.testing.simulator.world import World

EVERY = 3
"""Of so many seeds, one has its messages in streams."""


def has_streams(seed: int) -> bool:
    """Whether the messages of a history are in streams, unless all are lost there but those of the tick."""
    return seed % EVERY == EVERY - 1


class Streams(MemoryQueue):
    """``Transport`` that is polled, by ``kernel.testing.transport.MemoryConsumer``.

    Both are held to the suite of the real transports: oldest first and those of high priority before the others, one
    look in four apart; hidden for the visibility, which workers prolong; given back at once or later; dead letters.
    """

    silent = False

    def __init__(self, world: World) -> None:
        """Nothing under way."""
        super().__init__(lambda: world.now)
        self._world = world
        self._weather_of = Chance(world.seed, "streams")
        self._sent = 0

    def send(self, pokes: Sequence[tuple[Poke, int]]) -> None:
        """Take messages; some are lost on the way to the server, and some are sent twice."""
        world = self._world
        for poke, delay in pokes:
            self._sent += 1
            name = f"message-{self._sent}"
            if world.weather.strikes("lost", self._weather_of, name):
                continue
            twice = world.weather.strikes("doubled", self._weather_of, name)
            super().send([(poke, delay)] * (2 if twice else 1))

    def plan_losses(self, begins: int, lasts: int) -> None:
        """Have everything vanish at some times, as by a restart without persistence, if the weather says so."""
        for number in range(self._weather_of.below(6)):
            at = begins + self._weather_of.below(self._weather_of.pick((lasts, 60_000, 20_000)))
            self._world.plan(at, lambda number=number: self._empty(number))  # type: ignore[misc]  # a bound argument

    def _empty(self, number: int) -> None:
        if self._world.weather.strikes("emptied", self._weather_of, f"loss-{number}"):
            self._world.say(None, "all messages are gone")
            self.clear()

    def about(self, run: str) -> list[Message]:
        """The messages about a run that wait, are delayed or are in hand."""
        return [Message(str(number), poke, at) for at, number, poke in self._messages if poke.run == run]
