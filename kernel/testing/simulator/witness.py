"""One run's log, event by event: what may follow on what. Keeps books of its own, apart from the kernel's fold."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from msgspec import Struct

from kernel.core.codec import from_json
from kernel.core.definition import Definition, StageSpec, Strategy
from kernel.core.events import (
    COMPENSATE,
    AnyEvent,
    Closed,
    CompensationStarted,
    LeaseExpired,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunReopened,
    Slept,
    StageChecked,
    StageCompleted,
    StageFailed,
    StageScheduled,
    StageSkipped,
    StageStarted,
    StageSuspended,
    Value,
)
from kernel.ports import Commit

Fail = Callable[[str, str], NoReturn]
"""Told the invariant's name and what was seen."""

EXPECTED_ERRORS = frozenset(
    {
        "ValueError",
        "OSError",
        "PermanentError",
        "SystemExit",
        "KeyError",
        "StageTimedOut",
        "LeaseLost",
        "WaitLimitReached",
        "DeadlineExceeded",
        "Cancelled",
        "InvalidOutput",
        "InvalidInput",
        "InvalidStageInput",
        "NotUpstream",
        "Unavailable",
        "InfrastructureError",
        "Unspeakable",
    }
)
"""Errors that a stage can fail with here. Any other would be the kernel's own."""
LEISURE = 28_800_000
"""Milliseconds that the stages of a run may wait for in all, if its deadline, a day, is to be ample."""
GARBLED = frozenset({"CorruptLog", "NewerFormat"})
"""The same, where what is read may be damaged."""


class Stage(Struct):
    """What is known of a stage since it was last reset.

    Attributes:
        starts: how often it was started.
        claim: number of the commit that started the attempt that runs or has suspended itself.
        status: "", scheduled, running, expired, waiting (for a retry), suspended, completed, failed, skipped; left, if
            the run is undone before the stage got anywhere.
        due: true time before which its retry, its check or the end of its lease must not happen.
    """

    starts: int = 0
    claim: int = 0
    status: str = ""
    due: int = 0


class Witness:
    """Sees a run's events in order.

    Attributes:
        over: the run has ended.
        cancelled: it was cancelled, or is being undone for it.
        deadline: by when it must end, as recorded.
        stages: what is known of each stage.
        lives: signs of life, by claim: when they were written, and the true time until which they hold.
    """

    def __init__(
        self,
        definition: Definition,
        deadline: int,
        fail: Fail,
        fetch: Callable[[Value], bytes],
        *,
        timers: bool,
        latest: int | None,
        errors: frozenset[str] | None = EXPECTED_ERRORS,
    ) -> None:
        """Nothing was seen.

        Args:
            definition: the run's workflow.
            deadline: by when it must end, as recorded.
            fail: called with the invariant that does not hold, and what was seen.
            fetch: gives the text of a recorded value.
            timers: clocks are good enough to hold timers against them.
            latest: how late a timer may be, in milliseconds, if that is to be looked at.
            errors: what a stage can fail with; None for a workflow that the simulator did not make.
        """
        self._errors = errors
        self._definition = definition
        self._fail = fail
        self._fetch = fetch
        self._timers = timers
        self._latest = latest
        self.over = False
        self.cancelled = False
        self.deadline = deadline
        self.stages: dict[str, Stage] = {}
        self.lives: dict[int, tuple[int, int]] = {}
        self._done: list[str] = []
        self._undo: tuple[str, ...] | None = None
        self._undone = 0

    @property
    def at_leisure(self) -> bool:
        """The run has the default deadline, and its stages cannot wait for even a third of that."""
        waits = sum(
            (spec.poll.limit if spec.poll else 0)
            + sum(spec.retry.delay(failed, 0.0) for failed in range(1, spec.retry.attempts))
            for spec in self._definition.stages.values()
        )
        return self._definition.deadline is None and waits < LEISURE

    def see(self, commit: Commit, event: AnyEvent, when: int, since: int) -> None:  # noqa: C901, PLR0912 - one case for each event
        """The next event.

        Args:
            commit: which it is part of.
            event: it.
            when: the true time at which the commit was decided, in milliseconds.
            since: true time since when its writer runs.
        """
        if self.over and not isinstance(event, RunReopened | Closed):
            self._fail("cancel-wins-whole", f"{event} after the end")
        match event:
            case StageScheduled(stage=stage):
                self._scheduled(stage)
            case StageStarted():
                self._scheduled(event.stage, started=True)
                self._started(event, commit, when)
            case StageCompleted():
                self._completed(event, when)
            case StageFailed():
                self._failed(event, commit, when)
            case StageSuspended(stage=id_, check_at=at):
                self._running(id_, "suspended").status = "suspended"
                self._sets(id_, at, commit, when)
            case StageChecked(stage=id_, check_at=at):
                self._checked(id_, when)
                self._sets(id_, at, commit, when)
            case StageSkipped(stage=id_):
                self._end(id_, "skipped")
            case LeaseExpired(stage=id_):
                self._expired(id_, when, since)
            case CompensationStarted():
                self._compensate(event)
            case RunReopened():
                self._reopened(event)
            case Closed():
                if not self.over:
                    self._fail("cancel-wins-whole", "a run that goes on was closed")
            case RunCompleted() | RunFailed() | RunCancelled():
                self._ends(event, when)
            case Slept(until=until):
                self._sleeps(until)
            case _:
                self._fail("replay-equals-live", f"{event} after the first commit")

    def _of(self, id_: str) -> Stage:
        return self.stages.setdefault(id_, Stage())

    def _spec(self, id_: str) -> StageSpec:
        return self._definition.stages[id_]

    def _scheduled(self, id_: str, *, started: bool = False) -> None:
        stage = self._of(id_)
        if started and stage.status in {"scheduled", "waiting"}:
            return
        if stage.status:
            name = "stale-cannot-commit" if started else "order-holds"
            self._fail(name, f"{id_}, which is {stage.status}, is scheduled or started")
        if id_.startswith(COMPENSATE):
            if self._undo is None or id_ != COMPENSATE + self._undo[self._undone]:
                self._fail("order-holds", f"{id_} is undone out of order: {self._undo}")
            busy = [other for other, known in self.stages.items() if known.status == "running" and ":" not in other]
            if busy:
                self._fail("order-holds", f"{id_} while {', '.join(busy)} may still run")
        else:
            if self._undo is not None:
                self._fail("cancel-wins-whole", f"{id_} while the run is undone")
            for needed in self._definition.program.needs(id_):
                if not self._passed(needed):
                    self._fail("order-holds", f"{id_} before {needed}, which is {self._of(needed).status or 'unknown'}")
        stage.status = "scheduled"

    def _passed(self, id_: str) -> bool:
        """Whether what depends on a stage may go on."""
        status = self._of(id_).status
        return status in {"completed", "skipped"} or (
            status == "failed" and self._spec(id_).on_failure is Strategy.PROCEED
        )

    def _started(self, event: StageStarted, commit: Commit, when: int) -> None:
        stage, spec = self._of(event.stage), self._spec(event.stage)
        if stage.status == "waiting":
            self._due(event.stage, "a retry", when)
        if self.cancelled and not event.stage.startswith(COMPENSATE):
            self._fail("cancel-wins-whole", f"{event.stage} starts after the cancel")
        stage.starts += 1
        allowed = 1 if spec.at_most_once else spec.retry.attempts
        if stage.starts > allowed:
            self._fail("attempts-are-bounded", f"{event.stage} is started for the {stage.starts}th time")
        if event.attempt != stage.starts:
            self._fail("attempts-are-bounded", f"{event.stage}: attempt {event.attempt} is start {stage.starts}")
        stage.status, stage.claim = "running", commit.seq
        self._sets(event.stage, event.lease, commit, when)

    def _completed(self, event: StageCompleted, when: int) -> None:
        stage = self._of(event.stage)
        if stage.status == "suspended":
            self._due(event.stage, "a check", when, self._spec(event.stage).timeout)
        else:
            self._running(event.stage, "completed")
        by = self._author(event.output)
        if by and by != f"{event.stage}@{stage.claim}":
            self._fail("stale-cannot-commit", f"{event.stage}, started by commit {stage.claim}, completes with {by}")
        self._end(event.stage, "completed")
        if not event.stage.startswith(COMPENSATE):
            self._done.append(event.stage)

    def _failed(self, event: StageFailed, commit: Commit, when: int) -> None:
        stage = self._of(event.stage)
        if self._errors is None and event.error.kind == "AssertionError":
            self._fail("what-stages-assert", f"{event.stage}: {event.error.message}")
        if self._errors is not None and event.error.kind not in self._errors:
            self._fail("no-unexpected-error", f"{event.stage}: {event.error.kind}: {event.error.message}")
        if stage.status == "suspended":
            self._due(event.stage, "a check", when, self._spec(event.stage).timeout)
        elif event.attempt and stage.status not in {"running", "expired"}:
            self._fail("stale-cannot-commit", f"{event.stage}, which is {stage.status}, fails")
        if event.retry_at is None:
            self._end(event.stage, "failed")
        else:
            stage.status = "waiting"
            self._sets(event.stage, event.retry_at, commit, when)

    def _running(self, id_: str, what: str) -> Stage:
        stage = self._of(id_)
        if stage.status != "running":
            name = "recorded-is-immutable" if stage.status == "completed" else "stale-cannot-commit"
            self._fail(name, f"{id_}, which is {stage.status or 'unknown'}, is {what}")
        return stage

    def _checked(self, id_: str, when: int) -> None:
        if self._of(id_).status != "suspended":
            self._fail("stale-cannot-commit", f"{id_}, which is {self._of(id_).status}, is checked")
        self._due(id_, "a check", when, self._spec(id_).timeout)

    def _expired(self, id_: str, when: int, since: int) -> None:
        stage = self._running(id_, "reaped")
        written, until = self.lives.get(stage.claim, (0, 0))
        if written < since:  # else whoever reaps it may not have seen it
            stage.due = max(stage.due, until)
        self._due(id_, "the end of a lease", when)
        stage.status = "expired"

    def _sets(self, id_: str, at: int, commit: Commit, when: int) -> None:
        """A time was set: so long after the commit's own."""
        self._of(id_).due = when + at - commit.at

    def _due(self, id_: str, what: str, when: int, takes: int = 0) -> None:
        """What happened was due; it may take a while, once begun."""
        early = self._of(id_).due - when
        if self._timers and early > 0:
            self._fail("timers-are-never-early", f"{what} of {id_} is {early} ms early")
        if self._latest is not None and -early > self._latest + takes:
            self._fail("timers-are-hardly-late", f"{what} of {id_} is {-early} ms late")

    def _end(self, id_: str, how: str) -> None:
        stage = self._of(id_)
        if stage.status in {"completed", "failed", "skipped"}:
            self._fail("recorded-is-immutable", f"{id_}, which is {stage.status}, is {how}")
        stage.status = how
        if id_.startswith(COMPENSATE):
            self._undone += 1

    def _compensate(self, event: CompensationStarted) -> None:
        expected = [each for each in reversed(self._done) if self._spec(each).compensated]
        if list(event.stages) != expected:
            self._fail("order-holds", f"{event.stages} are undone, not {expected}")
        self._undo = event.stages
        self.cancelled = event.cancelled is not None
        for stage in self.stages.values():
            if stage.status in {"scheduled", "waiting", "suspended"}:
                stage.status = "left"

    def _reopened(self, event: RunReopened) -> None:
        if not self.over:
            self._fail("cancel-wins-whole", "a run that goes on was reopened")
        self._resets(event)
        self.over = self.cancelled = False
        self.deadline = event.deadline
        self._undo, self._undone = None, 0
        for id_ in event.reset:
            self.stages.pop(id_, None)
        self._done = [id_ for id_ in self._done if id_ not in event.reset]

    def _resets(self, event: RunReopened) -> None:
        """What has an outcome that stands is kept: all but what depends on what has none, or on one named stage."""
        stages = {id_: stage for id_, stage in self.stages.items() if stage.status and not id_.startswith(COMPENSATE)}
        undone = {id_.removeprefix(COMPENSATE) for id_ in self.stages if id_.startswith(COMPENSATE)}
        needed = self._closure({id_ for id_ in stages if id_ in undone or not self._passed(id_)})
        reset = {id_ for id_ in event.reset if not id_.startswith(COMPENSATE)}
        if missing := (needed & stages.keys()) - reset:
            self._fail("recorded-is-immutable", f"{missing} have no outcome that stands, and are not run again")
        extra = reset - needed
        named = not event.reason  # who retries gives a reason here, who reruns from a stage gives none
        if extra and not (named and any(extra <= self._closure({id_}) for id_ in extra)):
            self._fail("recorded-is-immutable", f"{extra} have an outcome that stands, and are run again")

    def _closure(self, stages: set[str]) -> set[str]:
        """These stages, and all that depend on them."""
        found, size = set(stages), -1
        while size != len(found):
            size = len(found)
            found |= {
                id_
                for id_ in self._definition.stages
                if not id_.startswith(COMPENSATE) and found.intersection(self._definition.program.needs(id_))
            }
        return found

    def _ends(self, event: RunCompleted | RunFailed | RunCancelled, when: int) -> None:
        self.over = True
        late = isinstance(event, RunFailed) and event.error.kind == "DeadlineExceeded"
        if late and self._timers and when < self.deadline:
            self._fail("timers-are-never-early", f"the run is failed {self.deadline - when} ms before its deadline")
        if isinstance(event, RunCompleted):
            if self.cancelled:
                self._fail("cancel-wins-whole", "a cancelled run completes")
            left = [id_ for id_ in self._definition.stages if not id_.startswith(COMPENSATE) and not self._passed(id_)]
            if left:
                self._fail("order-holds", f"the run completes without {', '.join(left)}")
        elif not late:
            self._undone_or_not(event)

    def _undone_or_not(self, event: RunFailed | RunCancelled) -> None:
        """A run fails because a stage has, and only once everything is undone that is to be."""
        if self._undo is not None:
            if self._undone != len(self._undo):
                self._fail("what-is-to-be-undone-is", f"the run ends with {self._undone} of {self._undo} undone")
            return
        if isinstance(event, RunCancelled):
            return
        failed = [
            self._spec(id_).on_failure
            for id_, stage in self.stages.items()
            if stage.status == "failed" and self._spec(id_).on_failure is not Strategy.PROCEED
        ]
        if not failed:
            self._fail("order-holds", "the run fails, though no stage has")
        if Strategy.COMPENSATE in failed and any(self._spec(id_).compensated for id_ in self._done):
            self._fail("what-is-to-be-undone-is", f"the run fails, and nothing of {self._done} is undone")

    def _sleeps(self, until: int) -> None:
        for id_, stage in self.stages.items():
            if stage.status in {"scheduled", "running", "expired"}:
                self._fail("no-run-is-forgotten", f"the run sleeps until {until}, but {id_} is {stage.status}")

    def _author(self, value: Value) -> str:
        """Which claim wrote an output, as it says itself; empty if it does not say, or is not of our making."""
        if self._errors is None:
            return ""
        said = from_json(self._fetch(value))
        return str(said.get("by", "")) if isinstance(said, dict) else ""
