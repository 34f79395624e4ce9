"""One history: from a seed to a verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Sequence
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from kernel.ports import RunRef
from kernel.shell.environment import DAY, HOUR, MINUTE, SECOND, NoDefinitions
from kernel.shell.tick import tick
from kernel.testing.simulator import kernel_log
from kernel.testing.simulator.bodies import Ticket
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.deployment import Deployment
from kernel.testing.simulator.flows import Flow
from kernel.testing.simulator.invocations import Invocations
from kernel.testing.simulator.mistakes import blunder
from kernel.testing.simulator.parties import Parties
from kernel.testing.simulator.people import ASKS, PAUSING, Order, People
from kernel.testing.simulator.ports import some_offset
from kernel.testing.simulator.stagehand import Stagehand
from kernel.testing.simulator.streams import Streams, has_streams
from kernel.testing.simulator.traffic import Traffic, Transport
from kernel.testing.simulator.watch import GRAPHS, MACHINE, MADE_UP
from kernel.testing.simulator.weather import Weather
from kernel.testing.simulator.workers import Workers
from kernel.testing.simulator.world import EPOCH, Actor, Broken, World

PATIENCE = 4 * DAY
"""How long the world goes on in calm before a run that is not over counts as stuck."""
TURNS = 100_000
"""Turns after which a history counts as one that never ends."""
LASTS = 10 * HOUR
"""The longest that a history lasts before the calm; longer than some runs are kept."""
OFF = 5 * HOUR
"""How long no tick comes, when none comes for long; longer than some runs are kept."""
NEVER = 1 << 60
MACHINES = 0.35
"""Share of histories with a machine."""


class Verdict(Struct):
    """What became of a history.

    Attributes:
        seed: of it.
        streams: its messages were in streams, and not in SQS.
        faults: what went wrong, by kind.
        states: abstract states that were reached, as digests.
        runs: runs that were accepted or created.
        invariant: the one that does not hold, if one does not; ``quiet-at-last`` if a run did not end.
        message: what was seen of that.
        happened: every fault, by name.
        trace: a line for everything, if asked for.
    """

    seed: int
    streams: bool
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
    with kernel_log.read_by(history.world):
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
        streams=history.over_streams,
        faults=history.weather.counts,
        states=history.watch.states,
        runs=len(history.watch.runs),
        invariant=invariant,
        message=message,
        happened=history.weather.happened,
        trace=history.world.trace or [],
    )


class _History:
    """The course of things: a deployment, people who use it, workers and ticks that come and go."""

    def __init__(
        self, seed: int, weather: Weather, further: Sequence[tuple[Flow, object]], often: float, *, trace: bool
    ) -> None:
        chance = self._chance = Chance(seed, "history")
        self.weather = weather
        self.world = World(seed, weather, trace=trace)
        silent = chance.happens(0.04)
        if silent:
            weather.clear(crashes=chance.happens(0.5))
        self._streams = Streams(self.world) if has_streams(seed) and not silent else None
        traffic = Traffic(self.world, silent=silent)
        self._traffic: Transport = self._streams or traffic
        self._further = further
        self._often = often
        hand = Stagehand(self.world)
        machines = Chance(seed, "machines")
        self._machines = machines if machines.happens(MACHINES) else None
        flows = [flow for flow, _ in further]
        self._deployment = Deployment(self.world, self._traffic, hand, flows, machines=self._machines is not None)
        self.watch = self._deployment.watch
        self._workers: Workers | Invocations
        if self._streams is None:
            self._workers = Invocations(self.world, self._deployment, traffic, chance)
        else:
            self._workers = Workers(self.world, self._deployment, self._streams)
            hand.waits = self._workers.body_waits
        hand.visit = self.watch.visit
        hand.give = Parties(self.world, self.watch, self._deployment.equip, self._cancel).given
        self._people = People(self.world, self.watch, self._traffic, self._deployment.equip)
        self._pauses = Chance(seed, "pauses") if Chance(seed, "paused").happens(0.5) else None
        hand.meddle = self._meddle
        self.watch.overdue = self._insist
        self._turns = 0
        self._mistakes = Chance(seed, "mistakes")
        self._next_tick = EPOCH + self._deployment.limits.tick
        self._tick_always = chance.happens(0.25)
        # Who simulates workflows that may take longer wants to see them through.
        longest = max((flow.definition.deadline or 0 for flow, _ in further), default=0)
        self._longest = longest if often == 1 and longest > LASTS else 0
        if self._longest:
            self._tick_always = False

    @property
    def over_streams(self) -> bool:
        """Whether messages are in streams."""
        return self._streams is not None

    # --- the course of things --------------------------------------------------------------------------------------

    def play(self) -> None:
        """Storm, then calm, until all is over and nobody is left."""
        chance = self._chance
        crowd = chance.happens(0.004)
        lasts = chance.pick((MINUTE, 10 * MINUTE, 30 * MINUTE, 3 * HOUR, LASTS)[: 2 if crowd else None])
        if self._deployment.limits.retention < LASTS and not crowd:
            lasts = chance.pick((lasts, LASTS))
        if self._longest:
            lasts = chance.pick((lasts, self._longest, self._longest))
        self._plan(lasts, crowd=crowd)
        self._go_on(EPOCH + lasts, lambda: False)
        self.world.say(None, "--- calm ---")
        self.weather.calm = True
        self.weather.wild = False
        end = self.world.now + PATIENCE + self._longest
        for actor in self.world.actors:
            actor.offset = 0
        if not self._go_on(end, self._quiet):
            self.world.fail("quiet-at-last", f"after {(PATIENCE + self._longest) // DAY} days of calm it is not over")
        for ref in self._people.accepted:
            if ref not in self.watch.runs:
                self.world.fail("accepted-is-kept", f"{ref} is gone")
        for ref in self.watch.runs:
            self.watch.finish(self._deployment.plain, ref)

    def _plan(self, lasts: int, *, crowd: bool) -> None:
        """What people will ask for, and when."""
        chance, world = self._chance, self.world
        for number in range(120 if crowd else 0):  # more than a tick reads of a shard at a time
            order = Order("acme", "one", f"key-{number}", Ticket(), None)
            world.plan(EPOCH + chance.below(MINUTE), partial(self._people.place, order))
        for number in range(chance.pick((1, 1, 2, 3))):
            order = self._order()
            at = EPOCH + chance.below(10 * SECOND if not number else lasts)
            for _ in range(chance.pick((1, 1, 2))):
                world.plan(at + chance.below(3 * SECOND), partial(self._people.place, order))
        self._plan_events(lasts)
        self._plan_keys(lasts)
        if self._streams:
            self._streams.plan_losses(EPOCH, lasts)
        for _ in range(2):
            world.plan(EPOCH + chance.below(lasts), self._blunder)
        for _ in range(chance.below(9)):
            self._ask(EPOCH + chance.below(chance.pick((lasts, MINUTE))))
        if pauses := self._pauses:
            for _ in range(pauses.below(16)):
                self._pause(EPOCH + pauses.below(pauses.pick((lasts, MINUTE, 20 * SECOND))), pauses)
        for _ in range(3 if self._deployment.limits.retention < lasts else 0):  # about what is gone by then
            self._ask(EPOCH + lasts - chance.below(HOUR))

    def _order(self) -> Order:
        """What somebody will start."""
        chance = self._chance
        order = Order(
            tenant=chance.pick(("acme", "acme", "globex")),
            workflow=chance.pick(GRAPHS),
            key=None if chance.happens(0.1) else f"key-{chance.below(2)}",
            input=Ticket(text="x" * chance.pick((0, 10, 300, 900))),
            preset=chance.pick((None, "big")),
        )
        if self._further and chance.happens(self._often):
            flow, given = chance.pick(self._further)
            return replace(order, workflow=flow.id, input=given, preset=None)
        if self._machines and self._machines.happens(0.8):
            return replace(order, workflow=MACHINE)
        return order

    def _plan_events(self, lasts: int) -> None:
        """What is sent to runs from outside, if any of them may wait for it; and in some histories, more cancels."""
        cancels = Chance(self.world.seed, "cancels")
        for _ in range(3 if cancels.happens(0.2) else 0):
            at = EPOCH + cancels.below(cancels.pick((20 * SECOND, 20 * SECOND, MINUTE)))
            self.world.plan(at, partial(self._people.ask, "cancel", cancels))
        chance = Chance(self.world.seed, "events")
        for _ in range(chance.below(12) if self._deployment.listens else 0):
            at = EPOCH + chance.below(chance.pick((lasts, lasts, MINUTE)))
            self.world.plan(at, partial(self._people.send, chance))
        if machines := self._machines:
            for number in range(machines.below(100)):
                at = EPOCH + machines.below(machines.pick((lasts, lasts, 10 * MINUTE, MINUTE)))
                self.world.plan(at, partial(self._people.tell, number))

    def _plan_keys(self, lasts: int) -> None:
        """In some histories, starts with business keys of a small set, and what lets such runs end and go on again."""
        chance = Chance(self.world.seed, "business keys")
        if not chance.happens(0.3) or self._often == 1:  # who simulates workflows of their own wants to see those
            return
        tenant, workflow = chance.pick(("acme", "globex")), chance.pick(MADE_UP)
        for number in range(2 + chance.below(4)):
            order = Order(
                tenant=tenant,
                workflow=workflow,
                key=None if chance.happens(0.3) else f"key-of-{number}",
                input=Ticket(text="x" * chance.pick((0, 10, 900))),
                preset=None,
                business_key=chance.pick(("o-1", "o-1", "o-1", "o-2")),
            )
            at = EPOCH + chance.below(chance.pick((3 * SECOND, MINUTE, lasts)))
            for _ in range(chance.pick((1, 1, 2))):
                self.world.plan(at + chance.below(3 * SECOND), partial(self._people.place, order))
        for _ in range(chance.below(8)):
            at = EPOCH + chance.below(chance.pick((MINUTE, lasts)))
            what = chance.pick(("rerun", "rerun", "revive", "revive", "retry", "cancel"))
            self.world.plan(at, partial(self._people.ask, what, chance))

    def _ask(self, at: int) -> None:
        """Have somebody ask for something at a time."""
        self.world.plan(at, partial(self._people.ask, self._chance.pick(ASKS), self._chance))

    def _cancel(self, ref: RunRef, chance: Chance) -> None:
        self._people.ask("cancel", chance, ref)

    def _pause(self, at: int, chance: Chance) -> None:
        """Have somebody pause a run at a time, or let one go on."""
        self.world.plan(at, partial(self._people.ask, chance.pick(PAUSING), chance))

    def _meddle(self, at: int) -> None:
        """Have somebody ask for something while a body runs."""
        if self._pauses and self._pauses.happens(0.3):
            self._pause(at, self._pauses)
        else:
            self._ask(at)

    def _insist(self, ref: RunRef) -> None:
        """A run was failed by its deadline; now and then, whoever wants it has it tried again at once."""
        if not self.weather.calm and self._chance.happens(0.5):
            at = self.world.now + self._chance.below(self._chance.pick((2 * SECOND, MINUTE)))
            self.world.plan(at, partial(self._people.ask, "retry", self._chance, ref))

    def _blunder(self) -> None:
        """Somebody writes a workflow, and makes a mistake."""
        if happened := blunder(self._mistakes):
            self.world.fail("mistakes-are-refused", happened)

    def _quiet(self) -> bool:
        return not self.world.actors and self._deployment.store.earliest is None

    def _go_on(self, end: int, done: Callable[[], bool]) -> bool:
        """Let things happen until it is done (true), or until a time (false)."""
        world = self.world
        while True:
            self._turns += 1
            if self._turns > TURNS:
                world.fail("quiet-at-last", f"{TURNS} turns, and no end")
            self._workers.begin()
            if world.turn():
                continue
            if done():
                return True
            self._advance(end)
            if world.now >= end:
                return False
            if world.now >= self._tick_at():
                self._tick()

    def _advance(self, end: int) -> None:
        """Let time pass until something happens."""
        world = self.world
        times = [end, self._tick_at()]
        if (at := world.next_at) is not None:
            times.append(at)
        if (at := self._traffic.next_at) is not None and self._workers.free:
            times.append(at)
        world.now = max(world.now, min(times))

    def _tick_at(self) -> int:
        """When the next tick comes that finds anything: the others are left out, unless this history wants them all."""
        earliest, tick = self._deployment.store.earliest, self._deployment.limits.tick
        if self._tick_always:
            return self._next_tick
        if earliest is None:
            return NEVER
        return max(self._next_tick, EPOCH - (EPOCH - max(earliest, self.world.now)) // tick * tick)

    # --- ticks ---------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self.watch.time_passed()
        chance, at, every = self._chance, self._tick_at(), self._deployment.limits.tick
        self._next_tick = at + every
        name = f"tick at {at - EPOCH}"
        if self.weather.strikes("missed", chance, name):
            if Chance(self.world.seed, name).happens(0.03):  # the schedule is off for hours
                self._next_tick = at + OFF // every * every
            return
        extra = self.weather.strikes("extra", chance, name)
        for _ in range(2 if extra else 1):
            actor = self.world.spawn("tick", self._maintain, lasts=60 * SECOND)
            actor.offset = some_offset(self.world, actor)

    def _maintain(self, actor: Actor) -> None:
        env = self._deployment.environment(actor, NoDefinitions())
        tick(env, env.clock.monotonic() + 50)
