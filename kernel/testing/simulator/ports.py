"""The kernel's ports, as one actor has them: every call is a turn of the others, and may go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from msgspec.structs import replace

from kernel.errors import CorruptLog, InfrastructureError, Unavailable
from kernel.ports import Commit, Data, Dead, Head, Inbox, Key, Live, Snapshot, Unreadable
from kernel.testing.faults import Crash
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.describe import call_line
from kernel.testing.simulator.world import EPOCH, Actor, World

FREEZES = (10_000, 66_500, 66_500, 130_000, 130_000, 400_000, 1_300_000, 9_000_000)
"""Milliseconds that a process may stand still: within a lease, past it, past a nap, past a sleep."""
SLOW = (400, 2_500, 12_000, 40_000)
HANGS = 6_000
"""Milliseconds after which a client gives up on a service that does not answer."""
WILD = 300_000
"""How far a wild clock may be off, in milliseconds."""


class Port:
    """A port, seen by one actor."""

    def __init__(self, world: World, actor: Actor, name: str, port: object) -> None:
        """Wrap ``port``."""
        self._world = world
        self._actor = actor
        self._name = name
        self._port = port

    def __getattr__(self, method: str) -> Callable[..., Any]:
        """A method of the port; kept, so that it is made once."""
        function = getattr(self._port, method)

        def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - forwards any port's calls
            return self._cross(method, function, arguments, named)

        setattr(self, method, call)
        return call

    def _cross(
        self,
        method: str,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        named: dict[str, Any],
    ) -> Any:  # noqa: ANN401 - whatever the port answers
        world, actor = self._world, self._actor
        actor.calls += 1
        where = f"{actor.name}.{actor.calls}"
        chance, weather = actor.chance, world.weather
        if weather.calm:
            world.pause(actor, 3)
            self._doing(method, arguments)
            answer = function(*arguments, **named)
            self._say(method, arguments, answer, "")
            return answer
        self._wait(where, 3.0 if method in _WRITES else 0.7)
        if weather.out(self._name, world.now - EPOCH):
            self._say(method, arguments, "not made", "outage")
            world.pause(actor, HANGS)
            raise Unavailable(where)
        fault = next((kind for kind in _FATES if weather.strikes(kind, chance, where)), "")
        if fault == "crash-before":
            self._say(method, arguments, "not made", fault)
            raise Crash(fault)
        if fault == "unavailable":
            self._say(method, arguments, "not made", fault)
            raise Unavailable(where)
        if fault == "failing":
            self._say(method, arguments, "not made", fault)
            raise InfrastructureError(where)
        self._doing(method, arguments)
        answer = function(*arguments, **named)
        if method in _READS and weather.strikes("garbled", chance, where):
            answer, fault = garble(answer, chance), "garbled"
            actor.garbled += 1
        self._say(method, arguments, answer, fault)
        if fault == "crash-after":
            raise Crash(fault)
        if fault == "lost-reply":
            raise Unavailable(where)
        world.pause(actor, 1 + chance.below(8))
        return answer

    def _wait(self, where: str, often: float) -> None:
        """The way to the service, and what may come between."""
        world, actor = self._world, self._actor
        chance, weather = actor.chance, world.weather
        if weather.strikes("clock", chance, where):
            actor.offset = some_offset(world, actor)
            world.say(actor, f"its clock jumps: {actor.offset:+} ms")
        if weather.strikes("frozen", chance, where, often=often):
            length = chance.pick(FREEZES)
            clock = chance.happens(0.3)
            world.say(actor, f"stands still for {length / 1000:g} s{', its clock too' if clock else ''}")
            world.freeze(actor, length, clock=clock)
        elif weather.strikes("slow", chance, where, often=often):
            world.pause(actor, chance.pick(SLOW))
        else:
            world.pause(actor, 1 + chance.below(15))

    def _doing(self, method: str, arguments: tuple[Any, ...]) -> None:
        """For the trace, if the call breaks an invariant, and so never answers."""
        if self._world.trace is not None:
            self._actor.doing = call_line(self._name, method, arguments, None, "")

    def _say(self, method: str, arguments: tuple[Any, ...], answer: object, fault: str) -> None:
        if self._world.trace is not None:
            self._world.say(self._actor, call_line(self._name, method, arguments, answer, fault))


_WRITES = frozenset({"put", "put_all", "update"})
"""Calls in front of which it matters most what others do meanwhile."""
_READS = frozenset({"get", "range"})
_FATES = ("crash-before", "unavailable", "failing", "crash-after", "lost-reply")


def some_offset(world: World, actor: Actor) -> int:
    """How far a clock is off: any two within max skew, unless they are wild."""
    if world.weather.wild:
        return actor.chance.between(-WILD, WILD)
    return actor.chance.pick((-499, -499, 499, 499, actor.chance.between(-499, 500)))


def garble(answer: object, chance: Chance) -> object:  # noqa: PLR0911 - one case for each kind of thing
    """What was read, damaged: cut off, in a format that nobody knows, unreadable, not there."""
    match answer:
        case Commit():
            broken = (replace(answer, v=99), replace(answer, v=0), replace(answer, events=answer.events[:-1]))
            return chance.pick((*broken, _unreadable(answer.key), None))
        case Snapshot():
            broken_snapshot = (replace(answer, body=answer.body[:-1]), replace(answer, fold=0))
            return chance.pick((*broken_snapshot, _unreadable(answer.key)))
        case Data():
            return chance.pick((replace(answer, body=answer.body[:-1]), _unreadable(answer.key), None))
        case Head() | Dead() | Inbox() | Key():
            return chance.pick((_unreadable(answer.key), None))
        case bytes():
            return chance.pick((answer[:-1], None))
        case [] | Live():
            return answer
        case list():
            place = chance.below(len(answer))
            one = garble(answer[place], chance)
            return [*answer[:place], *([] if one is None else [one]), *answer[place + 1 :]]
        case _:
            return None


def _unreadable(key: str) -> Unreadable:
    return Unreadable(key, CorruptLog(f"{key} is damaged"))


class ActorClock:
    """``Clock`` of an actor."""

    def __init__(self, world: World, actor: Actor) -> None:
        """True time, as far off as the actor's clock is."""
        self._world = world
        self._actor = actor

    def now(self) -> int:
        """What the actor takes for the time."""
        self._actor.read_at = self._world.now
        return self._world.now + self._actor.offset

    def monotonic(self) -> float:
        """Seconds that never go back, and that stand still with the process, if it is frozen so."""
        return (self._world.now - self._actor.stood) / 1000

    def sleep(self, seconds: float) -> None:
        """Let others do something meanwhile."""
        self._world.pause(self._actor, max(1, int(seconds * 1000)))


class ActorAlarm:
    """``Alarm`` of an actor: rings at its next turn."""

    def __init__(self, world: World, actor: Actor) -> None:
        """Not set."""
        self._world = world
        self._actor = actor

    @contextmanager
    def limit(self, seconds: float) -> Iterator[Self]:
        """Interrupt what takes longer."""
        self.extend(seconds)
        try:
            yield self
        finally:
            self._actor.rings_at = None

    def extend(self, seconds: float) -> None:
        """Start the time anew."""
        self._actor.rings_at = self._world.now + int(seconds * 1000)
