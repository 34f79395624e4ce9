"""Actors that take turns, and the time they take: one hub, one greenlet for each process that runs.

An actor runs until it crosses a port or waits; then the hub chooses who goes on. Code between two port calls touches
nothing that is shared, so every interleaving that can matter is one of turns at port calls.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NoReturn

from greenlet import getcurrent, greenlet

from kernel.errors import LogError, OnewriteError, StageTimedOut
from kernel.ports import RunRef
from kernel.testing.faults import Crash
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.weather import Weather

EPOCH = 1_767_225_600_000
"""When every history begins, in milliseconds: 1 January 2026."""


class Broken(Exception):
    """An invariant does not hold.

    Attributes:
        invariant: its name.
    """

    def __init__(self, invariant: str, message: str) -> None:
        """Name the invariant, and say what was seen."""
        super().__init__(f"{invariant}: {message}")
        self.invariant = invariant


class Process:
    """A process that has several actors, its threads: whatever makes one of them die ends all.

    Attributes:
        name: who it is in the logs of runs.
        threads: those of it that run.
        told_at: since when it has been told to stop; None if it has not.
        over: it is no more.
    """

    __slots__ = ("name", "over", "threads", "told_at")

    def __init__(self, name: str) -> None:
        """Without any thread."""
        self.name = name
        self.threads: list[Actor] = []
        self.told_at: int | None = None
        self.over = False

    def end(self, now: int) -> None:
        """It is no more: none of its threads does anything after this."""
        self.over = True
        for thread in self.threads:
            thread.dies_at = thread.ready_at = now


class Actor:
    """A process: an invocation of a worker, a tick, a client's request. Or a thread of one.

    Attributes:
        name: of it, the same in each replay.
        chance: what it decides by.
        offset: how far its clock is ahead, in milliseconds.
        began, ready_at: since when it runs, and when it goes on.
        dies_at: when its platform kills it, if it does.
        rings_at: when its alarm interrupts the body that it runs.
        stood: milliseconds that its monotonic clock did not count.
        frozen: it was frozen for long, and is not counted among those that work.
        read_at: when it last looked at its clock.
        calls: ports that it has crossed.
        garbled: of what it read, how much was damaged or left out.
        touches: the run that it is about, if only one; it may touch no other.
        looks_at: runs that it took, as a tick does: of which it moved ``due`` from what it saw.
        doing: the port call that it makes, for the trace.
        claims: what it started, by stage: the number of the commit, and the true time at which the lease ends.
        process: what it is a thread of, if it is one.
        hands_back: it is there to hand back what its process has under way.
        late: how many stages it has begun since its process was told to stop.
    """

    __slots__ = (
        "began",
        "calls",
        "chance",
        "claims",
        "dies_at",
        "doing",
        "frozen",
        "garbled",
        "greenlet",
        "hands_back",
        "late",
        "looks_at",
        "name",
        "offset",
        "process",
        "read_at",
        "ready_at",
        "rings_at",
        "stood",
        "touches",
    )

    def __init__(self, name: str, chance: Chance, now: int, offset: int, lasts: int | None) -> None:
        """Start at ``now``, with a clock that is ``offset`` ahead, for at most ``lasts`` milliseconds."""
        self.name = name
        self.chance = chance
        self.offset = offset
        self.began = self.ready_at = self.read_at = now
        self.dies_at = None if lasts is None else now + lasts
        self.rings_at: int | None = None
        self.stood = 0
        self.frozen = False
        self.calls = 0
        self.garbled = 0
        self.touches: RunRef | None = None
        self.looks_at: set[RunRef] = set()
        self.doing = ""
        self.claims: dict[str, tuple[int, int]] = {}
        self.process: Process | None = None
        self.hands_back = False
        self.late = 0
        self.greenlet: greenlet | None = None


class World:
    """Time, actors, and what goes wrong.

    Attributes:
        seed: what everything follows from.
        now: true time, in milliseconds.
        weather: what goes wrong.
        actors: who runs.
        acting: who runs right now.
        trace: a line for everything that happened, if anybody wants to read it.
    """

    def __init__(self, seed: int, weather: Weather, *, trace: bool = False) -> None:
        """A world without anybody in it."""
        self.seed = seed
        self.now = EPOCH
        self.weather = weather
        weather.now = lambda: self.now
        self.actors: list[Actor] = []
        self.acting: Actor | None = None
        self.trace: list[str] | None = [] if trace else None
        self._chance = Chance(seed, "world")
        self._hub = getcurrent()
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._planned = 0
        self._names: Counter[str] = Counter()
        self._broken: BaseException | None = None

    # --- what actors do --------------------------------------------------------------------------------------------

    def spawn(
        self,
        kind: str,
        work: Callable[[Actor], None],
        *,
        offset: int = 0,
        lasts: int | None = None,
        process: Process | None = None,
    ) -> Actor:
        """Let a process, or a thread of one, do ``work``; its platform kills it after ``lasts`` milliseconds."""
        self._names[kind] += 1
        name = f"{kind}-{self._names[kind]}"
        actor = Actor(name, Chance(self.seed, name), self.now, offset, lasts)

        def run() -> None:
            try:
                work(actor)
            except Crash as crash:
                self.say(actor, f"dies: {crash}")
                if process is not None and not process.over:
                    process.end(self.now)
            except BaseException as error:  # noqa: BLE001 - nothing else may get out: that is what the hub reports
                self._broken = error
            self.actors.remove(actor)
            if process is not None:
                process.threads.remove(actor)

        if process is not None:
            actor.process = process
            process.threads.append(actor)
        actor.greenlet = greenlet(run, self._hub)
        self.actors.append(actor)
        return actor

    def pause(self, actor: Actor, milliseconds: int) -> None:
        """Let others do something meanwhile. Called by the actor itself.

        Raises:
            Crash: its time is up.
            StageTimedOut: its alarm rings.
        """
        wake = self.now + milliseconds
        if actor.rings_at is not None:
            wake = min(wake, max(actor.rings_at, self.now))
        if actor.dies_at is not None:
            wake = min(wake, actor.dies_at)
        actor.ready_at = wake
        self._hub.switch()
        if actor.dies_at is not None and self.now >= actor.dies_at:
            raise Crash("its time is up")
        if actor.rings_at is not None and self.now >= actor.rings_at:
            actor.rings_at = None
            message = "the stage's time is up"
            raise StageTimedOut(message)

    def freeze(self, actor: Actor, milliseconds: int, *, clock: bool) -> None:
        """Let the process stand still, its platform's patience too, and its monotonic clock if ``clock`` says so."""
        actor.dies_at = None
        actor.frozen = True
        rings, actor.rings_at = actor.rings_at, None
        self.pause(actor, milliseconds)
        actor.rings_at = rings
        if clock:
            actor.stood += milliseconds

    def say(self, actor: Actor | None, text: str) -> None:
        """Add a line to the trace."""
        if self.trace is not None:
            who = actor.name if actor else ""
            self.trace.append(f"{(self.now - EPOCH) / 1000:12.3f}  {who:<10} {text}")

    def fail(self, invariant: str, message: str) -> NoReturn:
        """An invariant does not hold: the history ends here.

        Raises:
            Broken: always.
        """
        error = Broken(invariant, message)
        acting = self.acting
        self.say(acting, f"{acting.doing if acting else ''}   <- BREAKS {error}")
        if getcurrent() is not self._hub:
            # User code and ticks survive exceptions, so the hub is told before anything can be caught.
            self._broken = error
            self._hub.switch()
        raise error

    def judge(self, error: OnewriteError) -> None:
        """An error that the kernel raised: a log that cannot be read is only possible where reads are garbled.

        Raises:
            Broken: it is not.
        """
        if isinstance(error, LogError) and not self.weather.counts["garbled"]:
            self.fail("no-unexpected-error", repr(error))

    # --- what the hub does -----------------------------------------------------------------------------------------

    def plan(self, at: int, what: Callable[[], None]) -> None:
        """Have something happen at a time."""
        self._planned += 1
        heapq.heappush(self._agenda, (at, self._planned, what))

    def turn(self) -> bool:
        """Do what is planned for now, and let one of those go on who can. False if nobody can."""
        while self._agenda and self._agenda[0][0] <= self.now:
            heapq.heappop(self._agenda)[2]()
        ready = [actor for actor in self.actors if actor.ready_at <= self.now]
        if not ready:
            return False
        self._resume(ready[0] if len(ready) == 1 else self._chance.pick(ready))
        return True

    def _resume(self, actor: Actor) -> None:
        self.acting = actor
        if actor.greenlet is not None:
            actor.greenlet.switch()
        self.acting = None
        if self._broken is not None:
            raise self._broken

    @property
    def next_at(self) -> int | None:
        """When something happens next by itself."""
        times = [actor.ready_at for actor in self.actors]
        if self._agenda:
            times.append(self._agenda[0][0])
        return min(times, default=None)

    def end(self, actors: Sequence[Actor] | None = None) -> None:
        """Kill these processes; all, if none are named. That is no part of the history."""
        self.trace, trace = None, self.trace
        for actor in list(self.actors if actors is None else actors):
            if actor.greenlet:  # it has begun, and not ended
                actor.rings_at = actor.dies_at = None
                self._broken = None
                actor.greenlet.throw(Crash("the history ends"))
        self.trace = trace
