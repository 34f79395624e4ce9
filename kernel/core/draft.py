"""``Draft``: a commit in the making. What a program makes of its events is added, until nothing more follows."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from msgspec import Raw
from msgspec.structs import replace

from kernel.core import commands as c
from kernel.core.definition import DATA, Definition, Given, Recall, StageSpec, recorded
from kernel.core.directives import (
    Complete,
    Depart,
    Directive,
    Enter,
    Fail,
    Listen,
    Reject,
    Schedule,
    SetTimer,
    Skip,
    Stay,
    Take,
)
from kernel.core.events import (
    COMPENSATE,
    AnyEvent,
    CompensationStarted,
    ErrorRecord,
    RunCancelled,
    RunCompleted,
    RunFailed,
    StageFailed,
    StageScheduled,
    StageSkipped,
    StageStarted,
    StateEntered,
    TimerSet,
    TransitionStarted,
    TransitionTaken,
    Value,
    WaitMatched,
    WaitStarted,
)
from kernel.core.evolve import evolve
from kernel.core.state import RunStatus, StageState, StageStatus, State

TOLD_IN_FULL = 20
"""Stages that are rejected in one commit with all that can be said of why; of further ones only the kind of error."""
IN_A_ROW = 100
"""States that a machine enters in one commit, one after the other, with nothing to wait for: a commit is one item."""


class Stale(Exception):
    """The attempt, check or look that the command speaks of is no longer current. It changes nothing."""


class Draft:
    """A commit in the making: its events, and the state with them folded in."""

    __slots__ = ("data", "definition", "entered", "events", "now", "recall", "rejected", "state")

    def __init__(self, definition: Definition | None, state: State, now: int, recall: Recall) -> None:
        self.definition = definition
        self.state = state.fork()
        self.state.seq += 1
        self.state.at = self.now = max(now, state.at)  # commit times never decrease along a log
        self.state.asleep = None
        self.recall = recall
        self.rejected = self.entered = 0
        self.data: bytes | None = None
        self.events: list[AnyEvent] = []

    def spec(self, stage: str) -> StageSpec:
        """What the workflow says of a stage."""
        assert self.definition is not None  # noqa: S101 - commands that ask for a stage carry its definition
        return self.definition.stages[stage]

    def values(self, stage: str) -> Given:
        """The outcome of a stage as of this very commit."""
        if stage == DATA and self.data is not None:
            return self.data
        found = recorded(self.state, stage)
        return self.recall(stage, found) if isinstance(found, int) else found

    def emit(self, *events: AnyEvent) -> None:
        """Add events, and all that the program makes of them, until nothing more follows."""
        program = self.definition.program if self.definition else None
        state = self.state
        waiting = deque(events)
        while waiting:
            event = waiting.popleft()
            if isinstance(event, WaitMatched) and event.event not in state.events:
                # Another wait took it in this very commit: this one looks again.
                assert program is not None  # noqa: S101 - it gave the event to the wait
                again = program.react(state, WaitStarted(event.wait, ()), self.values)
                waiting.extend(map(self.event_of, again))
                continue
            evolve(state, event)
            self.events.append(event)
            if program is not None and state.status is RunStatus.RUNNING:
                waiting.extend(map(self.event_of, program.react(state, event, self.values)))
            if not waiting and not state.status.finished and self._settled():
                waiting.extend(self._settle())

    def _settled(self) -> bool:
        """Nothing more follows by itself, and nobody is at work; of a machine, its program knows."""
        state = self.state
        if state.place is not None and state.status is RunStatus.RUNNING:
            return self.definition is not None
        return bool(state.stages) and not state.active

    def note(self, event: AnyEvent) -> None:
        """Add an event that the program has no say in, and that nothing follows from."""
        evolve(self.state, event)
        self.events.append(event)

    def event_of(self, directive: Directive) -> AnyEvent:
        """What a directive becomes. Of many failures at once only the first are told in full: a commit is one item."""
        if isinstance(directive, Reject):
            self.rejected += 1
            if self.rejected > TOLD_IN_FULL:
                directive = Reject(directive.stage, replace(directive.error, message="", traceback=""))
        if isinstance(directive, Enter):
            self.entered += 1
            if self.entered > IN_A_ROW:
                text = (
                    f"{IN_A_ROW} states were entered in a row, with nothing to wait for: let the machine wait, or end"
                )
                return RunFailed(ErrorRecord("limit", "EndlessTransitions", text, directive.transition))
        if isinstance(directive, Enter | Depart | Stay) and directive.data is not None:
            self.data = directive.data
        return _event_of(directive)

    def _settle(self) -> Sequence[AnyEvent]:
        """Nothing is active: the run is over, or something is left to undo."""
        state = self.state
        if state.status is RunStatus.COMPENSATING:
            if state.undo:
                return (StageScheduled(COMPENSATE + state.undo[0]),)
            if state.cancelling:
                return (RunCancelled(state.reason, state.compensation),)
            assert state.error is not None  # noqa: S101 - a compensation that is not a cancel's has a cause
            return (RunFailed(state.error, state.compensation),)
        assert self.definition is not None  # noqa: S101 - without it nothing is decided that ends the last stage
        return [self.event_of(directive) for directive in self.definition.program.settle(state, self.values)]

    def chain(self, chain: c.Chain) -> None:
        """Start the first stage that this very commit made ready, if there is room: one commit instead of two."""
        if self.now >= self.state.deadline or self.state.paused is not None:
            return
        for index, event in enumerate(self.events):
            if isinstance(event, StageScheduled) and self.spec(event.stage).timeout <= chain.room:
                started = self.start(event.stage, chain.grace, chain.callback)
                self.events[index] = started  # being started says that it was ready
                evolve(self.state, started)
                return

    def start(self, stage: str, grace: int, callback: str) -> StageStarted:
        """The next attempt at a stage, from now on."""
        attempt, spec = self.state.stages[stage].attempt + 1, self.spec(stage)
        return StageStarted(stage, attempt, self.now + spec.timeout + grace, callback if spec.callback else "")

    def going_on(self) -> None:
        """What would begin, be checked or fire does so only in a run that is not paused."""
        if self.state.paused is not None:
            message = "the run is paused"
            raise Stale(message)

    def current(self, stage: str, seq: int, *status: StageStatus) -> StageState:
        """The stage, if the attempt, claim or check that speaks is still about what it saw."""
        found = self.state.stages.get(stage)
        if found is None or found.seq != seq or found.status not in status or stage not in self.state.active:
            message = f"{stage}: what commit {seq} began is no longer current"
            raise Stale(message)
        return found

    def running(self, stage: str, seq: int) -> StageState | None:
        """The stage, if its attempt still counts; None, once its end is recorded, if the run was cancelled meanwhile.

        What an attempt did before it heard of the cancel cannot be taken back here: its result is discarded. But now
        that it is known to be over, undoing may begin.
        """
        found = self.current(stage, seq, StageStatus.RUNNING)
        if not self.cut_off(stage):
            return found
        text = "the run was cancelled while the stage ran: its result is discarded"
        self.emit(StageFailed(stage, found.attempt, ErrorRecord("cancelled", "Cancelled", text, stage, found.attempt)))
        return None

    def cut_off(self, stage: str) -> bool:
        """Whether the stage belongs to what is being undone: it may end, but not count."""
        return self.state.status is RunStatus.COMPENSATING and not stage.startswith(COMPENSATE)

    def fail(
        self, stage: str, attempt: int, error: ErrorRecord, roll: float, *, retryable: bool, answer: str = ""
    ) -> None:
        """Record a failed attempt: tried again later as long as the policy allows, else failed for good."""
        spec = self.spec(stage)
        again = retryable and not self.cut_off(stage) and attempt < spec.retry.attempts and not spec.at_most_once
        retry_at = self.now + spec.retry.delay(attempt, roll) if again else None
        self.emit(StageFailed(stage, attempt, error, retry_at, answer))


def _event_of(directive: Directive) -> AnyEvent:  # noqa: C901, PLR0911 - one for each directive
    match directive:
        case Schedule(stage=stage):
            return StageScheduled(stage)
        case SetTimer(timer=timer, at=at):
            return TimerSet(timer, at)
        case Listen(wait=wait, events=events, until=until):
            return WaitStarted(wait, events, until)
        case Take(wait=wait, event=event):
            return WaitMatched(wait, event)
        case Enter(state=state, transition=transition, event=event):
            return StateEntered(state, transition, event, _value(directive.data))
        case Depart(transition=transition, event=event):
            return TransitionStarted(transition, event, _value(directive.data))
        case Stay(transition=transition, event=event):
            return TransitionTaken(transition, event, _value(directive.data))
        case Skip(stage=stage):
            return StageSkipped(stage)
        case Reject(stage=stage, error=error):
            return StageFailed(stage, 0, error)
        case Complete():
            return RunCompleted()
        case Fail(error=error):
            return RunFailed(error)
        case _:
            return CompensationStarted(directive.stages, directive.error)


def _value(text: bytes | None) -> Value | None:
    return None if text is None else Value(json=Raw(text))
