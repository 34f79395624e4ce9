"""One history: from a seed to a verdict."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from kernel.define.registry import Registry
from kernel.errors import OnewriteError
from kernel.ports import RunRef
from kernel.shell.attend import attend
from kernel.shell.environment import DAY, HOUR, MINUTE, SECOND, Environment, Limits, NoDefinitions
from kernel.shell.logs import log
from kernel.shell.tick import tick
from kernel.shell.values import fetch
from kernel.testing.faults import Crash
from kernel.testing.memory import MemoryBlobs
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.flows import Flow, Ticket, make_flow
from kernel.testing.simulator.mistakes import blunder
from kernel.testing.simulator.people import ASKS, Order, People
from kernel.testing.simulator.places import WatchedSink, WatchedStore
from kernel.testing.simulator.ports import ActorAlarm, ActorClock, Port, some_offset
from kernel.testing.simulator.traffic import Message, Traffic
from kernel.testing.simulator.watch import MADE_UP, Watch
from kernel.testing.simulator.weather import Weather
from kernel.testing.simulator.world import EPOCH, Actor, Broken, World

PATIENCE = 4 * DAY
"""How long the world goes on in calm before a run that is not over counts as stuck."""
MARGIN = 2.0
"""Seconds of an invocation that a worker keeps back, as the handler does."""
TURNS = 100_000
"""Turns after which a history counts as one that never ends."""
LONG = 300 * SECOND
SHORT = (10 * SECOND, 23_100, 23_500, 30 * SECOND, 63_100, 63_500, 66 * SECOND, 203_500)
"""How long an invocation may last; the short ones are just enough for one stage, so that a slow call is too much."""
WORKERS = 3
"""Invocations at once, frozen ones apart."""


class Verdict(Struct):
    """What became of a history.

    Attributes:
        seed: of it.
        faults: what went wrong, by kind.
        states: abstract states that were reached, as digests.
        runs: runs that were accepted or created.
        invariant: the one that does not hold, if one does not; ``quiet-at-last`` if a run did not end.
        message: what was seen of that.
        happened: every fault, by name.
        trace: a line for everything, if asked for.
    """

    seed: int
    faults: Counter[str]
    states: set[int]
    runs: int
    invariant: str
    message: str
    happened: list[str]
    trace: list[str]


def play(
    seed: int,
    *,
    keep: Container[str] | None = None,
    trace: bool = False,
    further: Sequence[tuple[Flow, object]] = (),
    often: float = 0.15,
) -> Verdict:
    """Play the history of a seed.

    Args:
        seed: what everything follows from.
        keep: leave out every fault but these.
        trace: keep a line for everything that happens.
        further: workflows to choose from besides those that are made up, each with an input.
        often: the share of runs that are of those.
    """
    history = _History(seed, Weather(seed, keep), further, often, trace=trace)
    invariant = message = ""
    with _logs_read(history.world):
        try:
            history.play()
        except Broken as broken:
            invariant, message = broken.invariant, str(broken)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding, and the seed must be told
            invariant, message = "no-unexpected-error", f"no-unexpected-error: {error!r}"
        finally:
            history.world.end()
    return Verdict(
        seed=seed,
        faults=history.weather.counts,
        states=history.watch.states,
        runs=len(history.watch.runs),
        invariant=invariant,
        message=message,
        happened=history.weather.happened,
        trace=history.world.trace or [],
    )


class _History:
    """The whole of it: a world, a deployment in it, and people who use it. Also the hand that its bodies reach for."""

    def __init__(
        self, seed: int, weather: Weather, further: Sequence[tuple[Flow, object]], often: float, *, trace: bool
    ) -> None:
        chance = self._chance = Chance(seed, "history")
        self.weather = weather
        self.world = World(seed, self.weather, trace=trace)
        self.traffic = Traffic(self.world)
        if chance.happens(0.04):
            self.traffic.silent = True
            self.weather.clear()
        self._limits = Limits(
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
        self._further = further
        self._often = often
        self._deploy()
        self.watch = Watch(self.world, self.traffic, self._limits, self._definitions)
        self.store = WatchedStore(self.world, self.watch)
        self.sink = WatchedSink(self.world, self.watch)
        self.blobs = MemoryBlobs()
        self.people = People(self.world, self.watch, self._equip_client)
        still = Actor("nobody", Chance(seed, "nobody"), EPOCH, 0, None)
        self._plain = self._environment(still, NoDefinitions(), bare=True)
        self.watch.fetch = lambda ref, value: fetch(self._plain, ref, value)
        self._turns = 0
        self._mistakes = Chance(seed, "mistakes")
        self._bodies: set[tuple[RunRef, int]] = set()
        self._next_tick = EPOCH + self._limits.tick
        self._tick_always = chance.happens(0.1)

    # --- the deployment --------------------------------------------------------------------------------------------

    def _deploy(self) -> None:
        """Two workflows; one of them changes on the way, and the old version goes or stays."""
        chance, seed = self._chance, self.world.seed
        one, two = (make_flow(self, seed, id_) for id_ in MADE_UP)
        newer = make_flow(self, seed, one.id, 2)
        others = {(flow.id, flow.version): flow for flow, _ in self._further}.values()
        self._old = Registry(one, two, *others)
        self._new = Registry(newer, two, *others, *((one,) if chance.happens(0.5) else ()))
        self._both = Registry(one, newer, two, *others)
        changes = (DAY * 9,) if self.traffic.silent else (DAY * 9, 30 * SECOND, 5 * MINUTE, HOUR)
        self._deployed_at = EPOCH + chance.pick(changes)
        self._definitions = {(flow.id, flow.version): flow.definition for flow in self._both}

    def _registry(self, actor: Actor) -> Registry:
        if self.weather.calm:
            return self._both
        newer = self.world.now >= self._deployed_at
        if self._deployed_at < EPOCH + DAY and self.weather.strikes("deploy", actor.chance, actor.name):
            newer = not newer
        return self._new if newer else self._old

    def _environment(self, actor: Actor, definitions: Registry | NoDefinitions, *, bare: bool = False) -> Environment:
        world = self.world
        # A Port stands in for any port by forwarding to it.
        ports: dict[str, Any] = {"store": self.store, "queue": self.traffic, "blobs": self.blobs, "sink": self.sink}
        crossed = ports if bare else {name: Port(world, actor, name, port) for name, port in ports.items()}
        return Environment(
            **crossed,
            clock=ActorClock(world, actor),
            random=actor.chance,
            alarm=ActorAlarm(world, actor),
            definitions=definitions,
            limits=self._limits,
        )

    def _equip_client(self, actor: Actor) -> tuple[Environment, Registry]:
        actor.offset = some_offset(self.world, actor)
        registry = self._registry(actor)
        return self._environment(actor, registry), registry

    # --- the course of things --------------------------------------------------------------------------------------

    def play(self) -> None:
        """Storm, then calm, until all is over and nobody is left."""
        chance = self._chance
        crowd = chance.happens(0.004)
        lasts = chance.pick((MINUTE, 10 * MINUTE, 30 * MINUTE, 3 * HOUR, 10 * HOUR)[: 2 if crowd else None])
        self._plan(lasts, crowd=crowd)
        self._go_on(EPOCH + lasts, lambda: False)
        self.world.say(None, "--- calm ---")
        self.weather.calm = True
        self.weather.wild = False
        end = self.world.now + PATIENCE
        for actor in self.world.actors:
            actor.offset = 0
        if not self._go_on(end, self._quiet):
            self.world.fail("quiet-at-last", f"after {PATIENCE // DAY} days of calm it is not over")
        for ref in self.people.accepted:
            if ref not in self.watch.runs:
                self.world.fail("accepted-is-kept", f"{ref} is gone")
        for ref in self.watch.runs:
            self.watch.finish(self._plain, ref)

    def _plan(self, lasts: int, *, crowd: bool) -> None:
        """What people will ask for, and when."""
        chance, world = self._chance, self.world
        for number in range(120 if crowd else 0):  # more than a tick reads of a shard at a time
            order = Order("acme", "one", f"key-{number}", Ticket(), None)
            world.plan(EPOCH + chance.below(MINUTE), partial(self.people.place, order))
        for number in range(chance.pick((1, 1, 2, 3))):
            order = Order(
                tenant=chance.pick(("acme", "acme", "globex")),
                workflow=chance.pick(MADE_UP),
                key=None if chance.happens(0.1) else f"key-{chance.below(2)}",
                input=Ticket(text="x" * chance.pick((0, 10, 300, 900))),
                preset=chance.pick((None, "big")),
            )
            if self._further and chance.happens(self._often):
                flow, given = chance.pick(self._further)
                order = replace(order, workflow=flow.id, input=given, preset=None)
            at = EPOCH + chance.below(10 * SECOND if not number else lasts)
            for _ in range(chance.pick((1, 1, 2))):
                world.plan(at + chance.below(3 * SECOND), partial(self.people.place, order))
        for _ in range(2):
            world.plan(EPOCH + chance.below(lasts), self._blunder)
        for _ in range(chance.below(9)):
            what = chance.pick(ASKS)
            world.plan(EPOCH + chance.below(chance.pick((lasts, MINUTE))), partial(self.people.ask, what, chance))

    def _blunder(self) -> None:
        """Somebody writes a workflow, and makes a mistake."""
        if happened := blunder(self._mistakes):
            self.world.fail("mistakes-are-refused", happened)

    def _quiet(self) -> bool:
        return not self.world.actors and self.store.earliest is None

    def _go_on(self, end: int, done: Callable[[], bool]) -> bool:
        """Let things happen until it is done (true), or until a time (false)."""
        world = self.world
        while True:
            self._turns += 1
            if self._turns > TURNS:
                world.fail("quiet-at-last", f"{TURNS} turns, and no end")
            self._receive()
            if world.turn():
                continue
            if done():
                return True
            self._advance(end)
            if world.now >= end:
                return False
            if world.now >= self._next_tick:
                self._tick()

    def _advance(self, end: int) -> None:
        """Let time pass until something happens."""
        world = self.world
        times = [end, self._tick_at()]
        if (at := world.next_at) is not None:
            times.append(at)
        if (at := self.traffic.next_at) is not None and self._free():
            times.append(at)
        world.now = max(world.now, min(times))

    def _tick_at(self) -> int:
        """When the next tick comes that finds anything: the others are left out, unless this history wants them all."""
        earliest, tick = self.store.earliest, self._limits.tick
        if not self._tick_always:
            if earliest is None:
                return 1 << 60
            if earliest > self._next_tick:
                self._next_tick += -(-(earliest - self._next_tick) // tick) * tick
        return self._next_tick

    # --- workers and ticks -----------------------------------------------------------------------------------------

    def _free(self) -> bool:
        busy = [actor for actor in self.world.actors if actor.name.startswith("job") and not actor.frozen]
        return len(busy) < WORKERS

    def _receive(self) -> None:
        at = self.traffic.next_at
        if at is None or at > self.world.now or not self._free():
            return
        chance = self._chance
        batch = self.traffic.receive(chance.pick((1, 1, 2, 3)), chance.pick((70, 360)) * SECOND)
        if not batch:
            return
        cut = self.weather.strikes("cut-off", chance, batch[0].name)
        lasts = chance.pick(SHORT) if cut else LONG
        actor = self.world.spawn("job", lambda actor: self._job(actor, batch, lasts / SECOND - MARGIN), lasts=lasts)
        actor.offset = some_offset(self.world, actor)

    def _job(self, actor: Actor, batch: Sequence[Message], seconds: float) -> None:
        """An invocation: attend each, then say which are to come again, as the job handler does."""
        registry = self._registry(actor)
        env = self._environment(actor, registry)
        until = env.clock.monotonic() + seconds
        failed: list[Message] = []
        for index, message in enumerate(batch):
            now = env.clock.monotonic()
            actor.touches = message.poke.ref
            try:
                attend(env, message.poke, until, share=now + (until - now) / (len(batch) - index))
            except OnewriteError as error:
                self.world.judge(error)
                self.world.say(actor, f"returns {message.name}: {error}")
                failed.append(message)
        for message in batch:
            if message in failed:
                message.at = min(message.at, self.world.now + SECOND)
            elif not self.weather.strikes("returned", actor.chance, f"{actor.name} {message.name}"):
                self.traffic.delete(message)

    def _tick(self) -> None:
        chance, at = self._chance, self._next_tick
        self._next_tick = at + self._limits.tick
        if self.weather.strikes("missed", chance, f"tick at {at - EPOCH}"):
            return
        extra = self.weather.strikes("extra", chance, f"tick at {at - EPOCH}")
        for _ in range(2 if extra else 1):
            actor = self.world.spawn("tick", self._maintain, lasts=60 * SECOND)
            actor.offset = some_offset(self.world, actor)

    def _maintain(self, actor: Actor) -> None:
        env = self._environment(actor, NoDefinitions())
        tick(env, env.clock.monotonic() + 50)

    # --- what bodies reach for -------------------------------------------------------------------------------------

    @property
    def calm(self) -> bool:
        """Nothing goes wrong any more."""
        return self.weather.calm

    def claim(self, stage: str) -> int:
        """Number of the commit by which the process that runs started the stage."""
        acting = self.world.acting
        return acting.claims.get(stage, (0, 0))[0] if acting else 0

    def enter(self, stage: str, timeout: int) -> None:
        """A body begins: once for each claim, within its lease, and with time enough to end."""
        world, actor = self.world, self.world.acting
        assert actor is not None  # noqa: S101 - bodies run in actors
        assert actor.touches is not None  # noqa: S101 - which are about one run
        claim, lease = actor.claims.get(stage, (0, 0))
        if not claim:
            world.fail("stale-cannot-run", f"the body of {stage} runs without a claim")
        if (actor.touches, claim) in self._bodies:
            world.fail("stale-cannot-run", f"the body of {stage} runs twice for claim {claim}")
        self._bodies.add((actor.touches, claim))
        if world.now > lease and not actor.stood:
            world.fail("stale-cannot-run", f"the body of {stage} begins {world.now - lease} ms after its lease")
        if actor.dies_at is not None and world.now + timeout > actor.dies_at:
            world.fail(
                "stages-fit-their-invocation", f"{stage} may take {timeout} ms, {actor.dies_at - world.now} are left"
            )

    def wait(self, milliseconds: int) -> None:
        """Time passes in a body; now and then somebody makes use of that."""
        if not self.calm and self._chance.happens(0.06):
            at = self.world.now + self._chance.below(milliseconds + 1)
            self.world.plan(at, partial(self.people.ask, self._chance.pick(ASKS), self._chance))
        if self.world.acting is not None:
            self.world.pause(self.world.acting, milliseconds)

    def die(self) -> None:
        """A body takes its process with it."""
        actor = self.world.acting
        if actor is not None and self.weather.strikes("body-crash", actor.chance, f"{actor.name}.{actor.calls}"):
            raise Crash("body-crash")


class _Reader(logging.Handler):
    """Reads what the kernel logs: an error that is not one of its own is a finding, whoever survives it."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, OnewriteError):
            self._world.judge(error)
        elif error is not None:
            self._world.fail("no-unexpected-error", repr(error))


@contextmanager
def _logs_read(world: World) -> Iterator[None]:
    reader, propagate = _Reader(world), log.propagate
    log.addHandler(reader)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(reader)
        log.propagate = propagate
