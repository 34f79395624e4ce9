"""One run's log, event by event: what may follow on what for each stage. How a run ends is for ``ending`` to judge."""

from __future__ import annotations

from collections.abc import Callable

from kernel.core.codec import from_json
from kernel.core.events import (
    COMPENSATE,
    AnyEvent,
    Closed,
    CompensationStarted,
    EventReceived,
    LeaseExpired,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunReopened,
    RunResumed,
    Slept,
    StageChecked,
    StageCompleted,
    StageFailed,
    StageScheduled,
    StageSkipped,
    StageStarted,
    StageSuspended,
    StateEntered,
    TimerFired,
    TimerSet,
    TransitionStarted,
    TransitionTaken,
    WaitMatched,
    WaitStarted,
)
from kernel.ports import Commit
from kernel.shell.environment import SECOND
from kernel.testing.simulator import ending, pausing
from kernel.testing.simulator.books import LEISURE, Books, Stage

EXPECTED_ERRORS = frozenset(
    {
        "ValueError",
        "OSError",
        "PermanentError",
        "SystemExit",
        "KeyError",
        "BeyondDeadline",
        "TransitionQuota",
        "WaitTimedOut",
        "StageTimedOut",
        "LeaseLost",
        "WaitLimitReached",
        "HeartbeatMissed",
        "CallbackFailed",
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
GARBLED = frozenset({"CorruptLog", "NewerFormat"})
"""The same, where what is read may be damaged."""


class Witness:
    """Sees a run's events in order, and keeps its books."""

    def __init__(
        self,
        books: Books,
        text: Callable[[str, int], bytes],
        *,
        timers: bool,
        errors: frozenset[str] | None = EXPECTED_ERRORS,
    ) -> None:
        """Nothing was seen.

        Args:
            books: of the run, empty.
            text: gives the output that a stage has in the commit of that number.
            timers: clocks are good enough to hold timers against them.
            errors: what a stage can fail with; None for a workflow that the simulator did not make.
        """
        self.books = books
        self._fail = books.fail
        self._text = text
        self._timers = timers
        self._errors = errors

    def see(self, commit: Commit, event: AnyEvent, when: int, since: int, handing: str = "") -> None:  # noqa: C901, PLR0912, PLR0915 - one case for each event
        """The next event.

        Args:
            commit: which it is part of.
            event: it.
            when: the true time at which the commit was decided, in milliseconds.
            since: true time since when its writer runs.
            handing: who the writer is, if it is a worker that hands back what it has under way.
        """
        if self.books.over and not isinstance(event, RunReopened | Closed):
            self._fail("cancel-wins-whole", f"{event} after the end")
        pausing.holds(self.books, event)
        match event:
            case StageScheduled(stage=stage):
                self._scheduled(stage, when)
            case StageStarted():
                self._scheduled(event.stage, when, started=True)
                self._started(event, commit, when)
            case StageCompleted():
                self._completed(event, commit, when)
            case StageFailed():
                self._failed(event, commit, when)
            case StageSuspended(stage=id_, check_at=at, give_up_at=limit):
                self._running(id_, "suspended").status = "suspended"
                self.books.of(id_).limit = when + limit - commit.at
                self._sets(id_, at, commit, when)
                self._counts_from(id_, when)
            case StageChecked(stage=id_, check_at=at):
                self._checked(id_, when)
                self._sets(id_, at, commit, when)
            case StageSkipped(stage=id_):
                self._end(id_, "skipped")
            case TimerSet(timer=id_, at=at):
                self._scheduled(id_, when)
                if self.books.moves is not None:
                    self.books.moves.sets(event)
                self.books.of(id_).status = "set"
                self.books.slept += max(0, at - commit.at)
                self._sets(id_, max(at, commit.at), commit, when)  # nobody is late for what had passed before
            case TimerFired(timer=id_):
                self._fires(id_, when)
            case WaitStarted():
                self._awaits(event, commit, when)
            case EventReceived(event=id_):
                self._receives(id_)
                if self.books.moves is not None:
                    self.books.moves.receives(event)
            case WaitMatched():
                self._takes(event)
            case StateEntered() | TransitionStarted() | TransitionTaken():
                self._moves(event, commit)
            case LeaseExpired(stage=id_):
                self._expired(id_, when, since, handing)
            case Slept(until=until):
                self._sleeps(until)
            case CompensationStarted():
                ending.undoing(self.books, event, when)
            case RunReopened():
                ending.reopened(self.books, event)
            case RunPaused():
                pausing.pauses(self.books, event, commit, when)
            case RunResumed():
                pausing.resumes(self.books, commit, when, timers=self._timers)
            case Closed():
                if not self.books.over:
                    self._fail("cancel-wins-whole", "a run that goes on was closed")
            case RunCompleted() | RunFailed() | RunCancelled():
                ending.ends(self.books, event, when, timers=self._timers)
            case _:
                self._fail("replay-equals-live", f"{event} after the first commit")

    def seen(self) -> None:
        """All of a commit was seen."""
        if self.books.moves is not None:
            self.books.moves.settled()

    def _moves(self, event: StateEntered | TransitionStarted | TransitionTaken, commit: Commit) -> None:
        moves = self.books.moves
        if moves is None:
            self._fail("transitions-fit", f"{event} in a run of what is no machine")
        match event:
            case StateEntered():
                moves.entered(event, commit)
            case TransitionStarted():
                moves.started(event, commit.seq)
            case _:
                moves.stayed(event)

    def _scheduled(self, id_: str, when: int, *, started: bool = False) -> None:
        books, stage = self.books, self.books.of(id_)
        if started and stage.status in {"scheduled", "waiting"}:
            return
        if stage.status:
            name = "stale-cannot-commit" if started else "order-holds"
            self._fail(name, f"{id_}, which is {stage.status}, is scheduled or started")
        if id_.startswith(COMPENSATE):
            if books.undo is None or id_ != COMPENSATE + books.undo[books.undone]:
                self._fail("order-holds", f"{id_} is undone out of order: {books.undo}")
            busy = [other for other, known in books.stages.items() if known.status == "running" and ":" not in other]
            if busy:
                self._fail("order-holds", f"{id_} while {', '.join(busy)} may still run")
        else:
            if books.undo is not None:
                self._fail("cancel-wins-whole", f"{id_} while the run is undone")
            if books.moves is not None and not books.moves.owns(id_):
                self._fail("stale-cannot-commit", f"{id_} is no part of {books.moves.transition or books.moves.state}")
            for needed in books.definition.program.needs(id_):
                if not books.passed(needed):
                    status = books.of(needed).status or "unknown"
                    self._fail("order-holds", f"{id_} before {needed}, which is {status}")
        stage.status, stage.due = "scheduled", when

    def _started(self, event: StageStarted, commit: Commit, when: int) -> None:
        stage, spec = self.books.of(event.stage), self.books.spec(event.stage)
        if stage.status == "waiting":
            self._due(event.stage, "a retry", when)
        if self.books.cancelled and not event.stage.startswith(COMPENSATE):
            self._fail("cancel-wins-whole", f"{event.stage} starts after the cancel")
        stage.starts += 1
        allowed = 1 if spec.at_most_once else spec.retry.attempts
        if stage.starts > allowed:
            self._fail("attempts-are-bounded", f"{event.stage} is started for the {stage.starts}th time")
        if event.attempt != stage.starts:
            self._fail("attempts-are-bounded", f"{event.stage}: attempt {event.attempt} is start {stage.starts}")
        stage.status, stage.claim, stage.by = "running", commit.seq, commit.by
        self._sets(event.stage, event.lease, commit, when)

    def _completed(self, event: StageCompleted, commit: Commit, when: int) -> None:
        stage = self.books.of(event.stage)
        if event.answer:
            self._answered(event.stage, when)
        elif stage.status == "suspended":
            self._due(event.stage, "a check", when)
        else:
            self._running(event.stage, "completed")
        by = self._author(event.stage, commit.seq)
        if by and by != f"{event.stage}@{stage.claim}":
            name = "answers-are-current" if event.answer else "stale-cannot-commit"
            self._fail(name, f"{event.stage}, started by commit {stage.claim}, completes with {by}")
        self._end(event.stage, "completed")
        if self.books.moves is not None:
            self.books.moves.outcomes[event.stage] = self._text(event.stage, commit.seq)
        if not event.stage.startswith(COMPENSATE):
            self.books.done.append(event.stage)

    def _failed(self, event: StageFailed, commit: Commit, when: int) -> None:
        stage = self.books.of(event.stage)
        if self._errors is None and event.error.kind == "AssertionError":
            self._fail("what-stages-assert", f"{event.stage}: {event.error.message}")
        if self._errors is not None and event.error.kind not in self._errors:
            self._fail("no-unexpected-error", f"{event.stage}: {event.error.kind}: {event.error.message}")
        if event.answer:
            self._answered(event.stage, when)
        elif stage.status == "suspended":
            self._due(event.stage, "a check", when)
        elif event.attempt and stage.status not in {"running", "expired"}:
            self._fail("stale-cannot-commit", f"{event.stage}, which is {stage.status}, fails")
        if event.retry_at is None:
            self._end(event.stage, "failed")
        else:
            stage.status = "waiting"
            self._sets(event.stage, event.retry_at, commit, when)

    def _answered(self, id_: str, when: int) -> None:
        """A third party answered: the attempt is under way, the run is not being undone, the limit has not passed."""
        stage = self.books.of(id_)
        if stage.status not in {"running", "suspended"}:
            self._fail("answers-are-current", f"{id_}, which is {stage.status or 'unknown'}, is answered")
        if self.books.undo is not None:
            self._fail("cancel-wins-whole", f"{id_} is answered while the run is undone")
        self._in_time(id_, when)

    def _in_time(self, id_: str, when: int) -> None:
        stage = self.books.of(id_)
        paused = self.books.paused is not None  # which is not counted
        if self._timers and stage.status == "suspended" and when > stage.limit + SECOND and not paused:
            self._fail("answers-are-current", f"{id_} is answered {when - stage.limit} ms after its limit")

    def _running(self, id_: str, what: str) -> Stage:
        stage = self.books.of(id_)
        if stage.status != "running":
            name = "recorded-is-immutable" if stage.status == "completed" else "stale-cannot-commit"
            self._fail(name, f"{id_}, which is {stage.status or 'unknown'}, is {what}")
        return stage

    def _checked(self, id_: str, when: int) -> None:
        if self.books.of(id_).status != "suspended":
            self._fail("stale-cannot-commit", f"{id_}, which is {self.books.of(id_).status}, is checked")
        if self.books.spec(id_).callback is None:
            self._due(id_, "a check", when)
        else:
            self._in_time(id_, when)

    def _fires(self, id_: str, when: int) -> None:
        stage = self.books.of(id_)
        if stage.status not in {"set", "awaits"} or not stage.due:
            self._fail("timers-fire-once", f"{id_}, which is {stage.status}, fires")
        self._due(id_, "a timer", when)
        if stage.status == "awaits":
            stage.due = 0  # in the same commit it fails, or is skipped
        else:
            self._end(id_, "completed")
            if self.books.moves is not None:
                self.books.moves.fires(id_)

    def _awaits(self, event: WaitStarted, commit: Commit, when: int) -> None:
        self._scheduled(event.wait, when)
        stage = self.books.of(event.wait)
        stage.status, stage.due = "awaits", 0
        if event.until is not None:
            self._sets(event.wait, event.until, commit, when)
            self._counts_from(event.wait, when)
        self.books.slept += LEISURE if event.until is None else event.until - commit.at

    def _counts_from(self, id_: str, when: int) -> None:
        """Of a pause in which a stage begins to wait, only the rest does not count against its limit."""
        if self.books.paused is None:
            return
        stage, before = self.books.of(id_), when - self.books.paused
        if stage.status == "awaits" or stage.due == stage.limit:
            stage.due -= before
        stage.limit -= before if stage.limit else 0

    def _receives(self, id_: str) -> None:
        if id_ in self.books.received:
            self._fail("applied-once", f"{id_} is received twice")
        self.books.received.add(id_)

    def _takes(self, event: WaitMatched) -> None:
        """An event that was received goes to one wait."""
        books, status = self.books, self.books.of(event.wait).status
        if status != "awaits":
            self._fail("stale-cannot-commit", f"{event.wait}, which is {status}, takes {event.event}")
        if event.event not in books.received or event.event in {*books.taken.values(), *books.spent}:
            self._fail("applied-once", f"{event.wait} takes {event.event}, which never came, or which another one took")
        books.taken[event.wait] = event.event
        self._end(event.wait, "completed")

    def _expired(self, id_: str, when: int, since: int, handing: str) -> None:
        """An attempt is over: its lease is, or it was handed back, by nobody but the worker that had begun it."""
        stage = self._running(id_, "reaped")
        if handing and handing == stage.by:
            stage.status, stage.due = "expired", when
            return
        written, until = self.books.lives.get(stage.claim, (0, 0))
        if written < since:  # else whoever reaps it may not have seen it
            stage.due = max(stage.due, until)
        self._due(id_, "the end of a lease", when)
        stage.status, stage.due = "expired", when

    def _sets(self, id_: str, at: int, commit: Commit, when: int) -> None:
        """A time was set: so long after the commit's own."""
        self.books.of(id_).due = when + at - commit.at

    def _due(self, id_: str, what: str, when: int) -> None:
        """What happened was due."""
        early = self.books.of(id_).due - when
        if self._timers and early > 0:
            self._fail("timers-are-never-early", f"{what} of {id_} is {early} ms early")

    def _end(self, id_: str, how: str) -> None:
        stage = self.books.of(id_)
        moves = self.books.moves
        if stage.status in {"completed", "failed", "skipped"} and (moves is None or not moves.just_fired(id_)):
            self._fail("recorded-is-immutable", f"{id_}, which is {stage.status}, is {how}")
        stage.status = how
        if id_.startswith(COMPENSATE):
            self.books.undone += 1

    def _sleeps(self, until: int) -> None:
        for id_, stage in self.books.stages.items():
            if stage.status in {"running", "expired"} or (stage.status == "scheduled" and self.books.paused is None):
                self._fail("no-run-is-forgotten", f"the run sleeps until {until}, but {id_} is {stage.status}")

    def _author(self, id_: str, seq: int) -> str:
        """Which claim wrote an output, as it says itself; empty if it does not say, or is not of our making."""
        if self._errors is None:
            return ""
        said = from_json(self._text(id_, seq))
        return str(said.get("by", "")) if isinstance(said, dict) else ""
