"""Whether a worker is well: what it is told, and what it answers. No sockets, no I/O; time is asked of a clock.

Unhealthy is what a restart helps against, and only that. A transport or a table that cannot be reached makes a worker
degraded: another process could not reach them either.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import StrEnum
from threading import Lock

from msgspec import Struct

from kernel.ports import Clock


class Status(StrEnum):
    """How a worker is."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """It goes on as well as it can; a restart would not help."""
    UNHEALTHY = "unhealthy"
    """It is stuck: restart it."""


class Part(StrEnum):
    """What a worker cannot do without."""

    TRANSPORT = "transport"
    TABLE = "table"


class Bounds(Struct, frozen=True, kw_only=True):
    """How long is too long, in seconds.

    Attributes:
        round: without the receive loop coming round.
        grace: past the timeout of a stage, or past the time that a run may be attended, for a slot.
        failure: after which a failed call tells nothing of the present.
        behind: that a run has been due.
        tick: without a tick where the tick is held; several of its intervals, and the longest tick.
    """

    round: float = 120.0
    grace: float = 30.0
    failure: float = 120.0
    behind: float = 600.0
    tick: float = 360.0


class Report(Struct, frozen=True, kw_only=True):
    """How a worker is.

    Attributes:
        status: in a word.
        reasons: why it is not healthy, in plain words.
        worker: which one.
        ready: it takes messages.
        unready: why it does not, in plain words.
        slots, busy, stuck: runs that it may attend at a time, that it does, and in which a stage does not end.
        leader: it holds the tick.
    """

    status: Status
    reasons: tuple[str, ...]
    worker: str
    ready: bool
    unready: tuple[str, ...]
    slots: int
    busy: int
    stuck: int
    leader: bool


class Health:
    """Is told what a worker does, and says how it is. Shared by threads; each call takes microseconds.

    Args:
        clock: only its monotonic time counts.
        worker: its name.
        slots: how many runs it may attend at a time.
        bounds: how long is too long.
    """

    def __init__(self, clock: Clock, worker: str, slots: int, bounds: Bounds | None = None) -> None:
        self._clock = clock
        self._worker = worker
        self._slots = slots
        self._bounds = bounds or Bounds()
        self._lock = Lock()
        self._round = clock.monotonic()
        self._composed = self._draining = False
        self._reached: set[Part] = set()
        self._failures: dict[tuple[Part, str], tuple[float, str]] = {}
        self._busy: dict[Hashable, float] = {}
        self._ticked: float | None = None
        self._oldest_due = 0.0
        self._overdue = 0

    # --- what it is told ----------------------------------------------------------------------------------------------

    def composed(self) -> None:
        """Settings, workflows and clients are there."""
        with self._lock:
            self._composed = True

    def came_round(self) -> None:
        """The receive loop has come round, whatever came of it; also when all slots are busy."""
        with self._lock:
            self._round = self._clock.monotonic()

    def reached(self, part: Part, by: str = "") -> None:
        """A call succeeded. ``by`` names one of several callers whose successes do not make up for each other."""
        with self._lock:
            self._reached.add(part)
            self._failures.pop((part, by), None)

    def failed(self, part: Part, why: str, by: str = "") -> None:
        """A call failed, and no other of that caller has succeeded since."""
        with self._lock:
            self._failures[part, by] = self._clock.monotonic(), why

    def began(self, slot: Hashable, end: float) -> None:
        """A slot attends a run, until the monotonic time ``end`` at most."""
        with self._lock:
            self._busy[slot] = end

    def ended(self, slot: Hashable) -> None:
        """A slot is free again."""
        with self._lock:
            self._busy.pop(slot, None)

    def draining(self) -> None:
        """No more messages are taken: the worker is about to end."""
        with self._lock:
            self._draining = True

    def leads(self) -> None:
        """The tick was taken over. Telling it again changes nothing."""
        with self._lock:
            if self._ticked is None:
                self._ticked = self._clock.monotonic()

    def ticked(self) -> None:
        """A tick has ended, whatever it found."""
        with self._lock:
            if self._ticked is not None:
                self._ticked = self._clock.monotonic()

    def follows(self) -> None:
        """The tick was given up, or lost."""
        with self._lock:
            self._ticked = None

    def overdue(self, slots: int) -> None:
        """So many slots are in a stage whose timeout was over long ago, and that has not come back."""
        with self._lock:
            self._overdue = slots

    def oldest_due(self, seconds: float) -> None:
        """For how long the run has been due that has waited longest; 0 for none, or not known."""
        with self._lock:
            self._oldest_due = seconds

    # --- what it answers ----------------------------------------------------------------------------------------------

    def report(self) -> Report:
        """How the worker is now."""
        with self._lock:
            now = self._clock.monotonic()
            late = sum(now > end + self._bounds.grace for end in self._busy.values())
            stuck = max(late, self._overdue)
            fatal, poor = self._fatal(now, stuck), self._poor(now, stuck)
            unready = self._unready()
            return Report(
                status=Status.UNHEALTHY if fatal else Status.DEGRADED if poor else Status.HEALTHY,
                reasons=(*fatal, *poor),
                worker=self._worker,
                ready=not unready,
                unready=tuple(unready),
                slots=self._slots,
                busy=len(self._busy),
                stuck=stuck,
                leader=self._ticked is not None,
            )

    def _fatal(self, now: float, stuck: int) -> list[str]:
        if self._draining:  # it ends soon, one way or the other: whoever restarts it now cuts off what still runs
            return []
        found = []
        if (silent := now - self._round) > self._bounds.round:
            found.append(f"the receive loop has not come round for {silent:.0f} s")
        if stuck and stuck >= self._slots:
            found.append(f"all {self._slots} slots are in a stage that does not end")
        if self._ticked is not None and (late := now - self._ticked) > self._bounds.tick:
            found.append(f"the tick is held here, and has not ended for {late:.0f} s")
        return found

    def _poor(self, now: float, stuck: int) -> list[str]:
        found = [
            f"the {part} failed {now - at:.0f} s ago: {why}"
            for (part, _), (at, why) in self._failures.items()
            if now - at <= self._bounds.failure
        ]
        if stuck and (self._draining or stuck < self._slots):
            found.append(f"{stuck} of {self._slots} slots are in a stage that does not end")
        if self._oldest_due > self._bounds.behind:
            found.append(f"a run has been due for {self._oldest_due:.0f} s: ticks do not keep up, or there are none")
        return found

    def _unready(self) -> list[str]:
        found = [] if self._composed else ["not composed yet"]
        found += [f"has not reached the {part} yet" for part in Part if part not in self._reached]
        return [*found, "draining"] if self._draining else found
