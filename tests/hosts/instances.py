"""Instances that contend for a role while calls come late, twice or not at all, and processes stand still or die."""

from __future__ import annotations

from collections.abc import Callable
from random import Random as Dice
from typing import Any

from hosts.worker.roles import Role
from kernel.errors import Unavailable
from kernel.locks import Lock
from kernel.testing.faults import Crash
from kernel.testing.locks import MemoryLocks
from kernel.testing.memory import FakeClock, SeededRandom

TTL = 9_000
SKEW = 500
NAME = "order-poller-1-of-1"


class Body:
    """One instance: its clock, its way to the locks, its role. It may be in the middle of a call."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.offset = world.dice.randint(0, SKEW)
        self.ahead = world.dice.random() * 1000
        self.busy = False
        self.next = world.now
        self.alive = True
        self.role = Role(self, self, SeededRandom(number), NAME, ttl=TTL, alive=lambda: self.alive)

    def now(self) -> int:
        return self.world.now + self.offset

    def monotonic(self) -> float:
        return self.world.now / 1000 + self.ahead

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing sleeps")

    def acquire(self, name: str, owner: str, ttl: int) -> Lock | None:
        lock: Lock | None = self.world.call(self, "acquire", name, owner, ttl)
        return lock

    def extend(self, lock: Lock, ttl: int) -> Lock | None:
        longer: Lock | None = self.world.call(self, "extend", lock, ttl)
        return longer

    def release(self, lock: Lock) -> bool:
        return bool(self.world.call(self, "release", lock))

    def held(self, name: str) -> Lock | None:
        raise AssertionError("a role does not ask")


class At(FakeClock):
    """The time at which a call was sent."""


class World:
    """Instances that come and go, and locks that answer late, not at all, or twice; until the weather is fair."""

    def __init__(self, seed: int) -> None:
        self.dice = Dice(seed)
        self.now = 1_000_000
        self.locks = MemoryLocks(FakeClock(), max_skew_ms=SKEW)
        self.on_their_way: list[tuple[int, Callable[[], object]]] = []
        self.fair = False
        self.born = 0
        self.bodies = [self.birth() for _ in range(3)]
        self.highest = 0
        self.holder: Body | None = None
        self.holders = 0

    def birth(self) -> Body:
        self.born += 1
        return Body(self, self.born)

    def happens(self, chance: float) -> bool:
        return not self.fair and self.dice.random() < chance

    def call(self, body: Body, method: str, *given: Any) -> Any:
        """A call of an instance, with what happens to it."""
        make = getattr(self.locks.seen_by(At(body.now())), method)
        if self.happens(0.01):
            raise Crash("before")
        if self.happens(0.1):
            self.on_their_way.append((self.now + self.dice.randint(0, 2 * TTL), lambda: make(*given)))
        if self.happens(0.15):
            self.pass_time(self.dice.randint(0, TTL))
        if self.happens(0.1):
            raise Unavailable("not made")
        answer = make(*given)
        self.check()
        if self.happens(0.01):
            raise Crash("after")
        if self.happens(0.15):
            self.pass_time(self.dice.randint(0, TTL))
        if self.happens(0.1):
            raise Unavailable("the reply is lost")
        return answer

    def pass_time(self, milliseconds: int) -> None:
        """Time passes while an instance waits for an answer, and others go on."""
        end = self.now + milliseconds
        while self.now < end:
            self.turn(end)

    def turn(self, limit: int) -> None:
        """Let the next thing happen that is due, and move on to when that is."""
        free = [body for body in self.bodies if not body.busy]
        due = [body.next for body in free] + [at for at, _ in self.on_their_way] + [limit]
        self.now = max(self.now, min(due))
        self.check()
        late = [each for each in self.on_their_way if each[0] <= self.now]
        self.on_their_way = [each for each in self.on_their_way if each[0] > self.now]
        for _, make in late:
            make()
            self.check()
        for body in free:
            if body.next <= self.now and not body.busy and body in self.bodies:
                self.step(body)

    def step(self, body: Body) -> None:
        if self.happens(0.01):
            body.next = self.now + self.dice.randint(0, 3 * TTL)  # it stands still
            return
        body.alive = not self.happens(0.03)
        body.busy = True
        ends, pause = self.happens(0.02), 0.0
        try:
            pause = body.role.step()
            if ends:
                body.role.stop()
        except Crash:
            ends = True
        body.busy = False
        if ends:
            self.bodies[self.bodies.index(body)] = self.birth()
        else:
            body.next = self.now + max(1, int(pause * 1000))

    def check(self) -> None:
        """One at a time, and each later than the one before."""
        held = [(body, body.role.held) for body in self.bodies]
        holding = [(body, lock) for body, lock in held if lock is not None]
        assert len(holding) <= 1, f"two hold it at {self.now}: {holding}"
        for body, lock in holding:
            if body is not self.holder or lock.fence != self.highest:
                assert lock.fence > self.highest, "a token went back, or was given twice"
                self.highest, self.holder = lock.fence, body
                self.holders += 1


def history(seed: int) -> int:
    """Bad weather, then fair; how many holders there were."""
    world = World(seed)
    end = world.now + 100 * TTL
    while world.now < end:
        world.turn(end)
    world.fair = True
    world.on_their_way = []
    late = world.now + 4 * TTL  # who stands still or may hold it unknowingly, and the rest of somebody's time
    while world.now < late:
        world.turn(late)
    world.check()
    assert sum(body.role.held is not None for body in world.bodies) == 1, "nobody has taken over"
    return world.holders
