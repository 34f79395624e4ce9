"""What the bodies of simulated stages reach for: time that passes, processes that die, and who they are."""

from __future__ import annotations

from collections.abc import Callable

from kernel.ports import RunRef
from kernel.testing.faults import Crash
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.world import Actor, World


class Stagehand:
    """The world, as bodies see it. Judges when bodies run, too.

    Attributes:
        meddle: has somebody ask for something at a time.
        give: gives somebody a callback token, for so long, with so long between heartbeats.
        waits: is told of each process in which a body is about to let so many milliseconds pass.
        visit: tells by which visit of a machine's state a commit was made.
    """

    def __init__(self, world: World) -> None:
        """No body has run."""
        self.meddle: Callable[[int], None] = lambda _at: None
        self.give: Callable[[str, int, int | None], None] = lambda _token, _limit, _heartbeat: None
        self.waits: Callable[[Actor, int], None] = lambda _actor, _milliseconds: None
        self._world = world
        self._chance = Chance(world.seed, "stagehand")
        self.visit: Callable[[RunRef, int], int] = lambda _ref, _seq: 0
        self._bodies: set[tuple[RunRef, int]] = set()
        self._keys: dict[str, int] = {}

    @property
    def calm(self) -> bool:
        """Nothing more shall go wrong."""
        return self._world.weather.calm

    def claim(self, stage: str) -> int:
        """Number of the commit by which the process that runs started the stage; 0 for a check."""
        acting = self._world.acting
        return acting.claims.get(stage, (0, 0))[0] if acting else 0

    def enter(self, stage: str, timeout: int, key: str) -> None:
        """A body begins: once for each claim, within its lease, with time enough to end, and with a key of its own."""
        world, actor = self._world, self._world.acting
        assert actor is not None  # noqa: S101 - bodies run in actors
        assert actor.touches is not None  # noqa: S101 - which are about one run
        claim, lease = actor.claims.get(stage, (0, 0))
        if not claim:
            world.fail("stale-cannot-run", f"the body of {stage} runs without a claim")
        if (actor.touches, claim) in self._bodies:
            world.fail("stale-cannot-run", f"the body of {stage} runs twice for claim {claim}")
        self._bodies.add((actor.touches, claim))
        visit = self.visit(actor.touches, claim)
        if self._keys.setdefault(key, visit) != visit:
            world.fail("keys-tell-visits-apart", f"{key} is that of an earlier visit, too")
        if world.now > lease and not actor.stood:
            world.fail("stale-cannot-run", f"the body of {stage} begins {world.now - lease} ms after its lease")
        if actor.dies_at is not None and world.now + timeout > actor.dies_at:
            world.fail(
                "stages-fit-their-invocation", f"{stage} may take {timeout} ms, {actor.dies_at - world.now} are left"
            )

    def wait(self, milliseconds: int) -> None:
        """Time passes in a body; now and then somebody makes use of that."""
        if not self.calm and self._chance.happens(0.06):
            self.meddle(self._world.now + self._chance.below(milliseconds + 1))
        if self._world.acting is not None:
            self.waits(self._world.acting, milliseconds)
            self._world.pause(self._world.acting, milliseconds)

    def die(self) -> None:
        """A body takes its process with it, if the weather says so."""
        actor = self._world.acting
        if actor is not None and self._world.weather.strikes("body-crash", actor.chance, f"{actor.name}.{actor.calls}"):
            raise Crash("body-crash")
