"""Workers where messages are in SQS: invocations that are given a batch, and last as long as their platform says."""

from __future__ import annotations

from collections.abc import Sequence

from kernel.errors import OnewriteError
from kernel.shell.attend import Outcome, attend
from kernel.shell.environment import SECOND
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.deployment import Deployment
from kernel.testing.simulator.ports import some_offset
from kernel.testing.simulator.traffic import Message, Traffic
from kernel.testing.simulator.world import Actor, World

MARGIN = 2.0
"""Seconds of an invocation that a worker keeps back, as the handler does."""
LONG = 300 * SECOND
SHORT = (10 * SECOND, 23_100, 23_500, 30 * SECOND, 63_100, 63_500, 66 * SECOND, 203_500)
"""How long an invocation may last; the short ones are just enough for one stage, so that a slow call is too much."""
WORKERS = 3
"""Invocations at once, frozen ones apart."""


class Invocations:
    """Gives messages to invocations."""

    def __init__(self, world: World, deployment: Deployment, traffic: Traffic, chance: Chance) -> None:
        """Nobody works."""
        self._world = world
        self._deployment = deployment
        self._traffic = traffic
        self._chance = chance

    @property
    def free(self) -> bool:
        """Whether there is a worker for a message; where it is looked at how late things are, there always is."""
        busy = [actor for actor in self._world.actors if actor.name.startswith("job") and not actor.frozen]
        return self._traffic.silent or len(busy) < WORKERS

    def begin(self) -> None:
        """Give messages to a worker, if there are any, and one is free."""
        at = self._traffic.next_at
        if at is None or at > self._world.now or not self.free:
            return
        chance, weather = self._chance, self._world.weather
        most = 1 if self._traffic.silent else chance.pick((1, 1, 2, 3))
        batch = self._traffic.receive(most, chance.pick((70, 360)) * SECOND)
        if not batch:
            return
        cut = weather.strikes("cut-off", chance, batch[0].name)
        lasts = chance.pick(SHORT) if cut else LONG
        actor = self._world.spawn("job", lambda actor: self._job(actor, batch, lasts / SECOND - MARGIN), lasts=lasts)
        actor.offset = some_offset(self._world, actor)

    def _job(self, actor: Actor, batch: Sequence[Message], seconds: float) -> None:
        """An invocation: attend each, then say which are to come again, as the job handler does."""
        world, watch = self._world, self._deployment.watch
        env = self._deployment.environment(actor, self._deployment.registry(actor))
        until = env.clock.monotonic() + seconds
        failed: list[Message] = []
        for index, message in enumerate(batch):
            now = env.clock.monotonic()
            actor.touches = message.poke.ref
            gone = watch.gone(message.poke.ref)
            try:
                did = attend(env, message.poke, until, share=now + (until - now) / (len(batch) - index))
                if gone and did.outcome not in (Outcome.GONE, Outcome.EARLY):
                    world.fail("gone-is-gone", f"a run whose retention is over is {did.outcome}")
            except OnewriteError as error:
                world.judge(error)
                world.say(actor, f"returns {message.name}: {error}")
                failed.append(message)
        for message in batch:
            if message in failed:
                message.at = min(message.at, world.now + SECOND)
            elif not world.weather.strikes("returned", actor.chance, f"{actor.name} {message.name}"):
                self._traffic.delete(message)
