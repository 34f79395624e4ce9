"""The books on one run's log, apart from the kernel's own fold: what is known of its stages, and of its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from msgspec import Struct

from kernel.core.definition import Definition, StageSpec, Strategy
from kernel.core.events import COMPENSATE

if TYPE_CHECKING:
    from kernel.testing.simulator.moves import Moves

Fail = Callable[[str, str], NoReturn]
"""Told the invariant's name and what was seen."""

LEISURE = 28_800_000
"""Milliseconds that the stages of a run may wait for in all, if its deadline, a day, is to be ample."""


HELD = frozenset({"scheduled", "waiting", "suspended", "set", "awaits"})
"""What a pause holds back."""


class Stage(Struct):
    """What is known of a stage since it was last reset.

    Attributes:
        starts: how often it was started.
        claim: number of the commit that started the attempt that runs or has suspended itself.
        by: who wrote that commit.
        status: "", scheduled, running, expired, waiting (for a retry), suspended, set (a timer), awaits (events),
            completed, failed, skipped; left, if the run is undone before the stage got anywhere.
        due: true time since when it needs somebody; its retry, its check or the end of its lease must not happen
            before.
        limit: true time after which no callback may answer it any more.
    """

    starts: int = 0
    claim: int = 0
    by: str = ""
    status: str = ""
    due: int = 0
    limit: int = 0


class Books(Struct):
    """What is known of a run.

    Attributes:
        builds: its workflow, with the policies of each deployment that has it.
        fail: called with the invariant that does not hold, and what was seen.
        began: true time since when it can begin: at which it was created, or resumed before it had begun.
        deadline: by when it must end, as recorded.
        stages: what is known of each stage.
        lives: signs of life, by claim: when they were written, and the true time until which they hold.
        done: completed stages, in order of completion.
        undo: what is to be undone, in order; None as long as nothing is.
        undone: how much of that is over, one way or the other.
        cancelled: the run was cancelled, or is being undone for it.
        waiting: external events that were accepted and are not settled, with the true time since when.
        received: external events that the run has received.
        taken: those that a wait has taken, by wait.
        spent: those that a wait had taken which was forgotten since.
        slept: milliseconds for which timers were set or the run was paused, all added up.
        paused: true time since when nothing of it may start; None if it may.
        resumes: true time before which it must not go on by itself; None if it never does.
        over: it has ended.
        moves: where it is, if it is a machine.
    """

    builds: tuple[Definition, ...]
    fail: Fail
    began: int
    deadline: int
    stages: dict[str, Stage]
    lives: dict[int, tuple[int, int]]
    done: list[str]
    undo: tuple[str, ...] | None = None
    undone: int = 0
    cancelled: bool = False
    slept: int = 0
    waiting: dict[str, int] = {}
    received: set[str] = set()
    taken: dict[str, str] = {}
    spent: set[str] = set()
    paused: int | None = None
    resumes: int | None = None
    over: bool = False
    moves: Moves | None = None

    @property
    def begun(self) -> bool:
        """Something of it was begun."""
        return bool(self.stages) or (self.moves is not None and bool(self.moves.state))

    @property
    def is_told(self) -> bool:
        """It is a machine that takes events."""
        return self.moves is not None and any(each.event for each in self.moves.rules.ways)

    @property
    def definition(self) -> Definition:
        """Its workflow, but for its policies."""
        return self.builds[0]

    def of(self, id_: str) -> Stage:
        """What is known of a stage."""
        return self.stages.setdefault(id_, Stage())

    def spec(self, id_: str) -> StageSpec:
        """What its workflow says of a stage, but for what its failure means."""
        return self.definition.stages[id_]

    def passed(self, id_: str) -> bool:
        """Whether what depends on a stage may go on, by the policies of any deployment."""
        return any(self._passed(build, id_) for build in self.builds)

    def surely_passed(self, id_: str) -> bool:
        """Whether what depends on a stage may go on, by the policies of every deployment."""
        return all(self._passed(build, id_) for build in self.builds)

    def _passed(self, build: Definition, id_: str) -> bool:
        status = self.of(id_).status
        return status in {"completed", "skipped"} or (
            status == "failed" and build.stages[id_].on_failure is Strategy.PROCEED
        )

    def failed(self) -> list[set[Strategy]]:
        """What is to happen for the stages that have failed for good and do not let the run go on, by each build."""
        ids = [id_ for id_, stage in self.stages.items() if stage.status == "failed"]
        return [{build.stages[id_].on_failure for id_ in ids} - {Strategy.PROCEED} for build in self.builds]

    def to_undo(self) -> list[str]:
        """What would be undone, if the run were undone now."""
        return [id_ for id_ in reversed(self.done) if self.spec(id_).compensated]

    def closure(self, stages: set[str]) -> set[str]:
        """These stages, and all that depend on them."""
        found, size = set(stages), -1
        while size != len(found):
            size = len(found)
            found |= {
                id_
                for id_ in self.definition.stages
                if not id_.startswith(COMPENSATE) and found.intersection(self.definition.program.needs(id_))
            }
        return found

    def goes_on(self, when: int) -> None:
        """It is paused no more: what waited for that needs somebody from now on."""
        if self.paused is None:
            return
        lasted = when - self.paused
        self.slept += lasted
        self.paused = self.resumes = None
        self.began = max(self.began, when)
        for stage in self.stages.values():
            if stage.status == "suspended":
                stage.due += lasted if stage.due == stage.limit else 0
                stage.limit += lasted
            if stage.status == "awaits" and stage.due:
                stage.due += lasted
            if stage.status in HELD and (stage.due or stage.status != "awaits"):  # for ever, if it has no time-out
                stage.due = max(stage.due, when)

    @property
    def at_leisure(self) -> bool:
        """The run has the default deadline, and its stages cannot wait for even a third of that."""
        visits = 1 if self.moves is None else self.moves.taken + 1
        if self.moves is not None and not self.moves.leads_on:
            return False  # until somebody sends what it waits for
        waits = sum(
            (spec.poll.limit if spec.poll else 0)
            + (spec.callback.limit * spec.retry.attempts if spec.callback else 0)
            + sum(spec.retry.delay(failed, 0.0) for failed in range(1, spec.retry.attempts))
            for spec in self.definition.stages.values()
        )
        return self.definition.deadline is None and waits * visits + self.slept < LEISURE
