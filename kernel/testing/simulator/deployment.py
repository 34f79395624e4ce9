"""What is deployed in a history: two workflows, of which one changes on the way; limits; and what each process gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kernel.define.registry import Registry
from kernel.shell.environment import DAY, HOUR, MINUTE, SECOND, Environment, Limits, NoDefinitions
from kernel.shell.values import fetch
from kernel.testing.memory import MemoryBlobs
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.flows import Flow, make_flow
from kernel.testing.simulator.places import Unwatched, WatchedSink, WatchedStore
from kernel.testing.simulator.ports import ActorAlarm, ActorClock, Port, some_offset
from kernel.testing.simulator.stagehand import Stagehand
from kernel.testing.simulator.traffic import Traffic
from kernel.testing.simulator.watch import MADE_UP, Watch
from kernel.testing.simulator.world import EPOCH, Actor, World


class Deployment:
    """One table, one queue, one bus, two versions of the code, and the watch over them.

    Attributes:
        limits: its settings.
        watch: what looks at it.
        store: where its runs are.
        plain: an environment that meets no faults, for who looks at the end.
    """

    def __init__(self, world: World, traffic: Traffic, hand: Stagehand, further: Sequence[Flow]) -> None:
        """Deploy made-up workflows, and ``further`` ones."""
        chance = self._chance = Chance(world.seed, "deployment")
        self.limits = Limits(
            chain_cap=chance.pick((1, 2, 1_000, 1_000)),
            publish=chance.pick(("run", "run", "all", "none")),
            publish_attempts=chance.pick((1, 3, 10)),
            inline=chance.pick((120, 560)),
            data=chance.pick((400, 300_000)),
            payload=8_000,
            shards=2,
            deadline=DAY,
            retention=chance.pick((30 * DAY, 30 * DAY, 3 * HOUR)),
        )
        self._world = world
        self._traffic = traffic
        self._flows(hand, further)
        definitions = {(flow.id, flow.version): flow.definition for flow in self._both}
        self.watch = Watch(world, traffic, self.limits, definitions)
        self.store = WatchedStore(world, self.watch)
        self._sink = WatchedSink(world, self.watch)
        self._blobs = MemoryBlobs()
        still = Actor("nobody", Chance(world.seed, "nobody"), EPOCH, 0, None)
        self.plain = self.environment(still, NoDefinitions(), bare=True)
        self.watch.fetch = lambda ref, value: fetch(self.plain, ref, value)

    def _flows(self, hand: Stagehand, further: Sequence[Flow]) -> None:
        """Two workflows; one of them changes on the way, and the old version goes or stays."""
        chance, seed = self._chance, self._world.seed
        one, two = (make_flow(hand, seed, id_) for id_ in MADE_UP)
        newer = make_flow(hand, seed, one.id, 2)
        others = {(flow.id, flow.version): flow for flow in further}.values()
        self._old = Registry(one, two, *others)
        self._new = Registry(newer, two, *others, *((one,) if chance.happens(0.5) else ()))
        self._both = Registry(one, newer, two, *others)
        changes = (DAY * 9,) if self._traffic.silent else (DAY * 9, 30 * SECOND, 5 * MINUTE, HOUR)
        self._deployed_at = EPOCH + chance.pick(changes)

    def registry(self, actor: Actor) -> Registry:
        """The workflows that a process has: those of the day, or now and then those of the other version."""
        world = self._world
        if world.weather.calm:
            return self._both
        newer = world.now >= self._deployed_at
        if self._deployed_at < EPOCH + DAY and world.weather.strikes("deploy", actor.chance, actor.name):
            newer = not newer
        return self._new if newer else self._old

    def environment(self, actor: Actor, definitions: Registry | NoDefinitions, *, bare: bool = False) -> Environment:
        """The ports of a process; ``bare`` ones, at which nothing goes wrong."""
        world = self._world
        # A Port stands in for any port by forwarding to it.
        ports: dict[str, Any] = {"store": self.store, "queue": self._traffic, "blobs": self._blobs, "sink": self._sink}
        crossed = {name: Port(world, actor, name, port) for name, port in ports.items()}
        if bare:
            crossed = ports | {"store": Unwatched(self.store)}
        return Environment(
            **crossed,
            clock=ActorClock(world, actor),
            random=actor.chance,
            alarm=ActorAlarm(world, actor),
            definitions=definitions,
            limits=self.limits,
        )

    def equip(self, actor: Actor) -> tuple[Environment, Registry]:
        """A client's ports, and the workflows that its deployment has."""
        actor.offset = some_offset(self._world, actor)
        registry = self.registry(actor)
        return self.environment(actor, registry), registry
