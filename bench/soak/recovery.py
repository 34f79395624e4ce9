"""How long runs take to go on after a kill.

**Recovery time of a run**: from the kill of a process to the next commit on the run, for each run that the kill hit:
one that was not over then, and of which the process was running a stage or had a message in hand. It includes waiting
for leases, ticks and retries, and for whatever else the run had to wait for, such as another kill.

**Recovery time of a stage**: the same for each stage whose body the process was in the middle of, to the next commit
that says something of that very stage, or that ends the run.

Kills that hit nothing, such as that of an idle process, have no recovery time; nor have those of ticks and intakes,
whose work is not about one run; nor has a worker that is told to stop.

**Recovery time after a loss**: from the time at which Redis lost its data to the next commit on the run, for each run
that was not over then and of which a message vanished that nobody had in hand.
"""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections.abc import Mapping, Sequence

from msgspec import Struct

from bench.soak.account import Account
from bench.soak.chaos import Kill
from bench.soak.effects import Effect, unfinished
from bench.soak.losses import Loss

ATTEND = ("job", "worker")
"""What kinds of process run stages."""


class Times(Struct, frozen=True):
    """Recovery times, in seconds.

    Attributes:
        count: how many there are.
        median, p95, maximum: of them; 0 without any.
    """

    count: int
    median: float
    p95: float
    maximum: float

    @classmethod
    def of(cls, milliseconds: Sequence[int]) -> Times:
        """What these times come to."""
        if not milliseconds:
            return cls(0, 0.0, 0.0, 0.0)
        ordered = sorted(milliseconds)
        p95 = ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)]
        return cls(len(ordered), *(round(each / 1000, 2) for each in (statistics.median(ordered), p95, ordered[-1])))


class Recovery(Struct, frozen=True):
    """Recovery times of runs and of stages, and how many kills were in the middle of a body, and of how many bodies."""

    runs: Times
    stages: Times
    in_stage: int
    bodies: int


def by_process(effects: Sequence[Effect]) -> dict[int, list[Effect]]:
    """What the bodies of each process did, in order."""
    found: dict[int, list[Effect]] = {}
    for each in effects:
        found.setdefault(each.pid, []).append(each)
    return found


def running(done: Sequence[Effect], at: int) -> list[Effect]:
    """The bodies that a process was in the middle of at this time, given what its bodies did."""
    return unfinished(done[: bisect_right(done, at, key=lambda effect: effect.at)])


def recovery(kills: Sequence[Kill], effects: Sequence[Effect], accounts: Mapping[str, Account]) -> Recovery:
    """The recovery times after these kills."""
    processes = by_process(effects)
    runs: list[int] = []
    stages: list[int] = []
    in_stage = in_all = 0
    for kill in kills:
        bodies = running(processes.get(kill.pid, ()), kill.at) if kill.function in ATTEND else []
        in_stage += bool(bodies)
        in_all += len(bodies)
        for body in bodies:
            stages += _after(kill.at, accounts.get(body.run), body.stage)
        for run in {*kill.holding, *(body.run for body in bodies)}:
            runs += _after(kill.at, accounts.get(run))
    return Recovery(Times.of(runs), Times.of(stages), in_stage, in_all)


def recovery_after(losses: Sequence[Loss], accounts: Mapping[str, Account]) -> Times:
    """The recovery times after these losses."""
    return Times.of([time for loss in losses for run in {*loss.runs} for time in _after(loss.at, accounts.get(run))])


def _after(at: int, account: Account | None, stage: str = "") -> list[int]:
    """Milliseconds until the next commit of a run (about a stage, if one is given); none if it was over."""
    if account is None:
        return []
    over = False
    for entry in account.log:
        if entry.at <= at:
            over = entry.over
        elif over:
            return []
        elif not stage or entry.over or any(getattr(event, "stage", "") == stage for event in entry.events):
            return [entry.at - at]
    return []
