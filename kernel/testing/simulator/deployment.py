"""What is deployed in a history: two workflows and maybe a machine, some of which change on the way; limits; ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kernel.define.registry import Registry
from kernel.shell.environment import DAY, HOUR, MINUTE, SECOND, Environment, Limits, NoDefinitions
from kernel.shell.values import fetch
from kernel.testing.memory import MemoryBlobs
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.flows import Flow, make_flow
from kernel.testing.simulator.machines import make_machine
from kernel.testing.simulator.places import Unwatched, WatchedSink, WatchedStore
from kernel.testing.simulator.ports import ActorAlarm, ActorClock, Port, some_offset
from kernel.testing.simulator.stagehand import Stagehand
from kernel.testing.simulator.traffic import Transport
from kernel.testing.simulator.watch import GRAPHS, MACHINE, Watch
from kernel.testing.simulator.world import EPOCH, Actor, World


class Deployment:
    """One table, one queue, one bus, two versions of the code, and the watch over them.

    Attributes:
        limits: its settings.
        watch: what looks at it.
        store: where its runs are.
        plain: an environment that meets no faults, for who looks at the end.
    """

    def __init__(
        self, world: World, traffic: Transport, hand: Stagehand, further: Sequence[Flow], *, machines: bool = False
    ) -> None:
        """Deploy made-up workflows, a made-up machine if any are wanted, and ``further`` ones."""
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
        self._machines = machines
        self.watch = Watch(world, traffic, self.limits, self._flows(hand, further))
        self.store = WatchedStore(world, self.watch)
        self._sink = WatchedSink(world, self.watch)
        self._blobs = MemoryBlobs()
        still = Actor("nobody", Chance(world.seed, "nobody"), EPOCH, 0, None)
        self.plain = self.environment(still, NoDefinitions(), bare=True)
        self.watch.fetch = lambda ref, value: fetch(self.plain, ref, value)

    def _flows(self, hand: Stagehand, further: Sequence[Flow]) -> Mapping[tuple[str, int], tuple[Flow, ...]]:
        """Two workflows, maybe a machine; one of each changes, its old version goes or stays. Policies may, too."""
        chance, seed = self._chance, self._world.seed
        silent = self._traffic.silent
        others = {(flow.id, flow.version): flow for flow in further}.values()
        keeps = chance.happens(0.5)
        changes = (DAY * 9,) if silent else (DAY * 9, 30 * SECOND, 5 * MINUTE, HOUR)
        self._deployed_at = EPOCH + chance.pick(changes)
        policies = Chance(seed, "policies")
        self._rebuilt_at = EPOCH + policies.pick((30 * SECOND, 5 * MINUTE, HOUR))
        self._builds: list[tuple[Registry, Registry, Registry]] = []
        builds: dict[tuple[str, int], tuple[Flow, ...]] = {}
        for build in range(2 if not silent and policies.happens(0.3) else 1):
            one, two = (make_flow(hand, seed, id_, build=build) for id_ in GRAPHS)
            newer = make_flow(hand, seed, one.id, 2, build)
            old_machine, new_machine = (
                [make_machine(hand, seed, MACHINE, version, build)] if self._machines else [] for version in (1, 2)
            )
            both = Registry(one, newer, two, *old_machine, *new_machine, *others)
            new = Registry(newer, two, *new_machine, *others, *((one, *old_machine) if keeps else ()))
            self._builds.append((Registry(one, two, *old_machine, *others), new, both))
            for flow in both:
                key = (flow.id, flow.version)
                builds[key] = (*builds.get(key, ()), flow)
        return builds

    @property
    def listens(self) -> bool:
        """Whether any of the workflows that were made up waits for events."""
        return any(flow.definition.events for build in self._builds for flow in build[0] if flow.id in GRAPHS)

    def registry(self, actor: Actor) -> Registry:
        """The workflows that a process has: those of the day, or now and then those of the other version or build."""
        world = self._world
        build = 0
        if len(self._builds) > 1:
            build = world.now >= self._rebuilt_at
            if not world.weather.calm and actor.chance.happens(0.5):
                build = not build
        old, new, both = self._builds[build]
        if world.weather.calm:
            return both
        newer = world.now >= self._deployed_at
        if self._deployed_at < EPOCH + DAY and world.weather.strikes("deploy", actor.chance, actor.name):
            newer = not newer
        return new if newer else old

    @property
    def edition(self) -> tuple[bool, ...]:
        """Which code is deployed now: a worker that has another one is to be replaced."""
        now = self._world.now
        return self._world.weather.calm, now >= self._deployed_at, len(self._builds) > 1 and now >= self._rebuilt_at

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
